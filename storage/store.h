/*
 * store: the disk of a node: its folder, its two maps, and the two lanes that write them.
 *
 *     FORMAT          version of all that lies here (folder.h)
 *     log/            the raft log of all partitions (raftlog.h), KV_LOGGED
 *     state/          what the entries came to (machine.h), KV_UNLOGGED
 *
 *     shard ── store_append ──> log lane:   one sync for all who wait
 *           <── done ─────────
 *           ── store_apply ───> state lane: machines; now and then kv_flush(), then the log is cut
 *
 * Two maps and not one with two families: a write that waits for the disk holds up every write of its
 * map, also those that do not (and a flush of one family of several is not atomic).
 *
 * A full disk: nothing more is acknowledged, what was handed in waits and is written again when there
 * is space; store_admits() says so meanwhile, and earlier already, while what was admitted still
 * fits. A disk that fails a write or a sync: fenced, and never tried a second time, as nobody can
 * tell what of the earlier writes it has forgotten.
 *
 * Floor:  storage.
 * Thread: open and close by one; the rest as marked.
 */
#ifndef TERN_STORAGE_STORE_H
#define TERN_STORAGE_STORE_H

#include "core/base/err.h"
#include "storage/kv.h"
#include "storage/lane.h"
#include "storage/machine.h"
#include "storage/raftlog.h"

#include <stdbool.h>
#include <stdint.h>

enum { STORE_PARTITIONS = 64, STORE_FORMAT = 1 };
/* gather_ns of a broker: some syncs and answers long, also on a slow disk. */
enum { STORE_GATHER_NS = 500 * 1000 * 1000 };

struct migrate_step;
struct store;

enum store_durability {
    STORE_FSYNC,   /* acknowledged when the disk has it: nothing is lost */
    STORE_QUORUM,  /* when the system has it: the loss of power loses the last second */
    STORE_RELAXED, /* when we have it: that, or the end of the process, loses the last 100 ms */
};

struct store_config {
    const char *folder; /* made when missing, 0700 */
    enum store_durability durability;
    uint64_t memory_bytes;   /* for caches and buffers of both maps; 0: a default */
    uint64_t space_free_min; /* below this durable work is refused; 0: a default */
    /* Until there is so much again. 0: a quarter more than that, so that the answer does not flutter, or than
     * its default: on a disk that is really full a half-written file of our own makes room when it is given
     * up, and who is admitted for that would meet the same end, unanswered. */
    uint64_t space_back_min;
    uint64_t flush_bytes;   /* of log, after which state is flushed and the log cut; 0: a default */
    uint64_t backlog_bytes; /* waiting for one lane: congested; 0: a default */
    /* So long may what was applied gather before the state map has it: much of it is undone by then, and
     * never written (write_set.h). 0: not at all. Reads, flushes and the end do not wait. */
    uint64_t gather_ns;
    bool has_threads;                 /* false: store_lanes() and the simulator takes their turns */
    const struct migrate_step *steps; /* NULL: those of migrate.c; a test brings its own */
};

/*
 * Open, upgrade an older format step by step (a newer one is refused), and start the lanes.
 * ERR_BUSY, ERR_CORRUPT, ERR_UNSUPPORTED, ERR_NO_SPACE, ERR_PERMISSION, ERR_NOT_FOUND, ERR_EXISTS
 * (other files are in that folder), ERR_IO, ERR_NOMEM.
 */
enum err store_open(const struct store_config *config, struct store **out,
                    struct kv_failure *failure);
/* Whoever wanted to read all of it at the start has done so: only now its files are merged. */
void store_loaded(struct store *store);
/* Applies and flushes what was handed in, if it can. No desk is open. Accepts NULL. */
void store_close(struct store *store);
/* The same of a store that nobody wants: one that was new when it was opened is removed. Was it? */
bool store_discard(struct store *store);
/* It is going to be closed: what cannot be written for lack of space is given back (ERR_NO_SPACE)
 * instead of waiting. Any thread; before the desks are closed. */
void store_close_soon(struct store *store);

/* For who loads the partitions, before the first store_append(): later the log map may be another. */
struct kv *store_log(struct store *store);
struct kv *store_state(struct store *store);
struct lane *store_log_lane(struct store *store);
struct lane *store_state_lane(struct store *store);

/* ---- from shards ---------------------------------------------------------------------------- */

/* Write this batch to the log; done says when it is as durable as the setting asks for. */
struct store_append {
    struct job job;
    struct kv_batch *batch; /* the submitter's; untouched until done */
    bool must_sync; /* on stable storage, whatever the setting is: a vote, who is a member */
    uint64_t bytes; /* private */
};
void store_append(struct lane_desk *log_desk, struct store_append *append);

/*
 * Apply an entry that is committed and was appended here; of each partition in order. done may come
 * much later: it gives the memory back. How far the log may be cut the replica tells apart from
 * this, by store_keep_from().
 */
struct store_apply {
    struct job job;
    struct machine *machine;
    uint32_t partition;
    uint64_t index, term;
    struct slice bytes; /* the submitter's until done */
    /* Not NULL: there is no entry; called in the lane instead, to read the machine when the map has all
     * that was handed in before. What it returns is what done is told. */
    enum err (*read)(struct store_apply *apply);
};
void store_apply(struct lane_desk *state_desk, struct store_apply *apply);

/* A partition is loaded: its state has this entry already (0: none). State is flushed, and the log cut,
 * from when all of them are. Any thread. */
void store_applied(struct store *store, uint32_t partition, uint64_t index, uint64_t term);

/*
 * After a flush: the state lane cuts the log of partition p below what is flushed, but keeps what
 * replica p still wants, which it says here (UINT64_MAX: nothing). Any thread.
 */
void store_keep_from(struct store *store, uint32_t partition, uint64_t index);

/* raftlog_read() of a store whose lanes are at work. Blocks: a lane's job, of store_apply.read. */
enum err store_read_log(struct store *store, uint32_t partition, uint64_t index, raftlog_walk entry,
                        void *context, struct kv_failure *failure);

/* OK, ERR_NO_SPACE (it recovers by itself), ERR_IO (fenced for good). Any thread, cheap. */
enum err store_admits(const struct store *store);

/* Too many bytes wait for either lane. Any thread, cheap. */
bool store_is_congested(const struct store *store);

/* ---- a partition that is replaced by an image (install.h) ------------------------------------ */

/* It begins; it is over: meanwhile no backup is taken. Any thread. */
void store_replace(struct store *store, uint32_t partition, bool is_replaced);
/* In the state lane, called by store_apply.read: its state is of that entry now. Flushed; and its log is taken
 * to be cut there. Errors of kv_flush(). */
enum err store_place_flush(struct store *store, uint32_t partition, uint64_t index, uint64_t term);

/* ---- for people ----------------------------------------------------------------------------- */

struct store_figures {
    struct kv_figures log, state;
    uint64_t sync_count, sync_ns_total, sync_ns_max, append_bytes, append_count, apply_count;
    uint64_t flush_count, cut_count, free_bytes;
    uint64_t log_waiting_bytes, state_waiting_bytes;
    enum err admits;
};
/* Any thread; may block a little. */
void store_look(struct store *store, struct store_figures *out);
/* The same without the figures of the maps, and without blocking. */
void store_look_quickly(const struct store *store, struct store_figures *out);

/*
 * A consistent copy in a new folder while it runs: state, then the log from there on, FORMAT, and a
 * file SUMS with the XXH3 of each file, as `xxhsum -c` reads it. Blocks: a thread of the caller's.
 * failure: what to do; then nothing is left of it.
 */
enum err store_backup(struct store *store, const char *folder, struct kv_failure *failure);

/* Is a backup what it was? ERR_CORRUPT: failure names the file; ERR_NOT_FOUND: no backup; ERR_IO. */
enum err store_backup_verify(const char *folder, struct kv_failure *failure);

#endif
