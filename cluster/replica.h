/*
 * replica: our member of the raft group of one partition: propose, step, store, send, apply.
 *
 * Floor:  cluster.
 * Thread: the shard of its partition.
 *
 * replica_turn (in replica.c) feeds the engine one event, takes one update, and carries it out: the
 * only loop to understand. Alone (R = 1) there are no messages and no timer:
 *
 *     replica_propose ──> host.batch() ──> replica_persisted ──> host.committed() ──> replica_applied
 *                         (log, then the disk)                   (acknowledge, apply)
 */
#ifndef TERN_CLUSTER_REPLICA_H
#define TERN_CLUSTER_REPLICA_H

#include "cluster/consensus_members.h"
#include "core/base/err.h"
#include "core/base/slice.h"
#include "storage/store.h"

#include <stdbool.h>
#include <stdint.h>

struct replica;

/* What a replica asks of the shard's journal, which carries many of them. No call may call back into
 * the replica. */
struct replica_host {
    /* Of the current turn: what is put here is appended as one (store_append), in the order of the
     * turns, after which the journal calls replica_persisted() once for each replica that asked.
     * must_sync: whatever durability is set (store_append.must_sync). */
    struct kv_batch *(*batch)(void *context, struct replica *replica, bool must_sync);
    /* An entry is committed and stored here: in order, each told once. bytes are valid until
     * replica_applied() says that index or a later one; count 0: the engine's own, the state has
     * nothing to do. */
    void (*committed)(void *context, struct replica *replica, uint64_t index, uint64_t term,
                      struct slice bytes);
    /* It leads, in that term; 0: no more. Told before anything of that term is committed; not told of
     * what replica_open() began with. */
    void (*leads)(void *context, struct replica *replica, uint64_t term);
    /* A message to a peer; not called while alone. Borrowed for the call. */
    void (*send)(void *context, struct replica *replica, uint64_t peer, struct slice message);
    /* The leader, that peer, has cut from its log what we lack: bring an image of its state, of index or
     * later, and say so by replica_installed(). All that was committed is applied, and nothing more will
     * be until then (E6). Told again while that is so and the leader asks again. NULL: fenced instead. */
    void (*fetch)(void *context, struct replica *replica, uint64_t peer, uint64_t index);
    void *context;
};

/*
 * A state that is not a machine's: a small one that its owner keeps in memory, and gives to the log now and
 * then (replica_keep). While the replica is being opened it is brought to where it was; later entries are
 * told by host.committed(), as ever.
 */
struct replica_state {
    enum err (*restore)(void *context, uint64_t index, uint64_t term, struct slice bytes);
    enum err (*apply)(void *context, uint64_t index, uint64_t term, struct slice bytes);
    void *context;
};

struct replica_config {
    uint32_t partition; /* STORE_PARTITIONS and above: a group with a state of its owner's */
    uint64_t node_id;   /* of ours; 1 on a lone node */
    bool is_joiner; /* of a partition it has nothing: others add it. Else it begins one, alone */
    uint64_t seed;
    uint32_t election_ms, heartbeat_ms; /* 0: as in consensus.h */
    const struct replica_host *host;
    const struct replica_state *state; /* NULL: a machine of the store's; outlives the replica */
    struct store *store;
    /* In memory and in the log, beyond what is needed: for followers that are behind. 0: 1 MiB, 8 MiB. */
    uint64_t window_bytes, tail_bytes;
    struct lane_desk *state_desk; /* reads what has left memory; NULL: it is not read, for a test */
};

/*
 * Load term, vote and log, apply to the machine whatever the state has not seen yet, start the engine;
 * a new partition is made with this node as its only voter, unless it joins. Blocks: at start only, and does not call
 * the host. What it writes to the log is durable with the next append. failure as kv.h.
 */
enum err replica_open(const struct replica_config *config, uint64_t now_ms, struct replica **out,
                      struct kv_failure *failure);
/* Bytes that the host was told of are freed too: the lanes are done with them. Accepts NULL. */
void replica_close(struct replica *replica);

uint32_t replica_partition(const struct replica *replica);
struct machine *replica_machine(struct replica *replica);
bool replica_is_leader(const struct replica *replica);
bool replica_is_alone(const struct replica *replica);
/* Leads, and is not about to hand over: replica_propose() may work. */
bool replica_accepts(const struct replica *replica);
uint64_t replica_leader(const struct replica *replica); /* whom it knows; 0: nobody */
uint64_t replica_term(const struct replica *replica);

/*
 * Propose an entry; bytes (malloc'ed, 1 or more) are the replica's from OK on. *index_out is its place
 * in the log. ERR_UNAVAILABLE: not the leader, or fenced; ERR_NOMEM. On an error bytes stay the
 * caller's.
 */
enum err replica_propose(struct replica *replica, uint64_t now_ms, struct slice bytes,
                         uint64_t *index_out);

/*
 * The oldest batch that is still under way and that this replica put something into is durable, or is
 * not: then the replica is fenced. Calls host.committed().
 */
void replica_persisted(struct replica *replica, uint64_t now_ms, enum err err);

/* The state has every entry up to index: their bytes are given back. */
void replica_applied(struct replica *replica, uint64_t index);

/*
 * Is that the image to have? Asked before anything is changed; from true on it is the only one that may
 * come, unless this is asked again. Who belongs to the group as of it is put into the log at once.
 */
struct consensus_snapshot;
bool replica_may_install(struct replica *replica, uint64_t now_ms,
                         const struct consensus_snapshot *image);
/* The state is that image, on stable storage, and the log is cut at it. machine is the replica's from here
 * on. ERR_NOMEM: fenced. */
enum err replica_installed(struct replica *replica, uint64_t now_ms,
                           const struct consensus_snapshot *image, struct machine *machine);
/* The last entry that was told, and its term. */
uint64_t replica_told(const struct replica *replica, uint64_t *term);
/* Who belonged to the group as of an entry that is applied here; false: ask for a later one. */
bool replica_members_at(const struct replica *replica, uint64_t index,
                        struct consensus_members *out);

/* When the engine wants its timer, monotonic ms; UINT64_MAX: never (alone). And when it is due. */
uint64_t replica_timeout_ms(const struct replica *replica);
void replica_timeout(struct replica *replica, uint64_t now_ms);

/*
 * A message of a peer, by a link of that generation: what comes by an older one than was seen before
 * is dropped (E5). ERR_MALFORMED, ERR_PROTOCOL: the peer speaks nonsense; dropped too.
 */
enum err replica_receive(struct replica *replica, uint64_t now_ms, uint64_t peer,
                         uint64_t generation, struct slice message);

/*
 * Of a group with a state of its owner's: that state is this now, as of the last entry that was told. It goes
 * into the batch of the turn, and the log is cut to it but for `trailing` entries, for followers that are a
 * little behind (E4). ERR_NOMEM; ERR_AGAIN: nothing was told since the last time.
 */
enum err replica_keep(struct replica *replica, struct slice state, uint32_t trailing);

/* ---- who belongs to it (replica_members.c) ---------------------------------------------------- */

/* Who should hold the partition, and who should lead it (0: any of them); count 0: leave it as it is. */
struct replica_want {
    uint64_t ids[CONSENSUS_MEMBERS_MAX];
    uint32_t count;
    uint64_t preferred;
};

/*
 * Remembered, and worked on whenever this member leads: one step at a time, each of which the group can
 * bear with those it hears of now. A later leader that wants the same goes on from where this one was.
 */
void replica_want(struct replica *replica, uint64_t now_ms, const struct replica_want *want);

struct replica_look {
    enum { REPLICA_FOLLOWS, REPLICA_LEADS, REPLICA_WAITS_TO_BE_ADDED, REPLICA_FENCED } role;
    uint64_t leader, term; /* leader 0: unknown */
    uint64_t last_index, commit_index, applied_index;
    struct consensus_members members;
    uint64_t match[CONSENSUS_MEMBERS_MAX]; /* of a leader: what each has */
    const char *waits_for; /* of a leader, in words; "": everything is as it should be */
};
void replica_look(const struct replica *replica, struct replica_look *out);

/* It takes part no more: an error of its disk, or a log that contradicts itself. For good. */
bool replica_is_fenced(const struct replica *replica);

#endif
