/*
 * meta: REG on its raft group: commands in, on every node the same state out.
 *
 *     meta_propose ──> entry ──> log lane, peers ──> committed ──> registry_apply ──> done, changed()
 *
 * The group is number 64; all nodes belong to it. Its state is small: it is in memory, and now and then in the
 * log (replica_state), whose beginning goes then.
 *
 * Floor:  cluster.
 * Thread: that of shard 0.
 */
#ifndef TERN_CLUSTER_META_H
#define TERN_CLUSTER_META_H

#include "cluster/consensus.h"
#include "cluster/registry_state.h"
#include "core/base/buf.h"
#include "storage/store.h"

enum { META_GROUP = STORE_PARTITIONS };

struct io;
struct meta;
struct replica_look;

/* result is borrowed for the call; NULL unless OK. ERR_UNAVAILABLE: it may or may not have been done, as
 * another node leads by now. ERR_SHUTDOWN. */
typedef void (*meta_done)(void *context, enum err err, const struct registry_result *result);

struct meta_events {
    /* bytes, borrowed for the call, to that group of the peer: meta_receive() there. */
    void (*send)(void *context, uint64_t peer, struct slice bytes);
    void (*changed)(void *context); /* meta_state() is another one; NULL: no matter */
    /* What this node lacks is cut from all logs: bring meta_image() of that peer, and meta_install() it. Asked
     * again when another leads. */
    void (*fetch)(void *context, uint64_t peer);
    void *context;
};

struct meta_config {
    struct store *store;
    struct io *io; /* woken by the log lane; NULL: nobody is */
    uint64_t node_id;
    bool is_joiner; /* without a log it waits until others add it; else it begins one, alone */
    uint64_t seed;
    uint32_t election_ms, heartbeat_ms; /* 0: as in consensus.h */
    uint32_t keep_every;                /* entries from one snapshot to the next; 0: 256 */
    uint32_t trailing; /* behind a snapshot that stay for followers (E4); 0: 4096 */
    struct meta_events events;
};

/* Reads the log; blocks. failure as kv.h. */
enum err meta_new(const struct meta_config *config, uint64_t now_ms, struct meta **out,
                  struct kv_failure *failure);
/* Waits for the log lane; who waits is told ERR_SHUTDOWN. Accepts NULL. */
void meta_free(struct meta *meta);

/* What is committed, as far as this node knows. Borrowed until the next call that is not a question. */
const struct registry_state *meta_state(const struct meta *meta);
bool meta_leads(const struct meta *meta);
uint64_t meta_leader(const struct meta *meta); /* 0: unknown */
void meta_look(const struct meta *meta, struct replica_look *out);

/* Of the leader. ERR_UNAVAILABLE: it is not, or the disk does not take it; ERR_NOMEM: done is not called. */
enum err meta_propose(struct meta *meta, uint64_t now_ms, const struct registry_command *command,
                      meta_done done, void *context);

/* Who should belong to the group: as journal_raft_want(). */
void meta_want(struct meta *meta, uint64_t now_ms, const uint64_t *members, uint32_t count);

/* As journal_raft_receive(). */
enum err meta_receive(struct meta *meta, uint64_t now_ms, uint64_t peer, uint64_t generation,
                      struct slice bytes);

/*
 * The state as a whole, for a peer that lacks what is cut; bytes are appended. ERR_AGAIN: not now. And what
 * came of it there: ERR_AGAIN: it is not wanted (any more), ERR_CORRUPT, ERR_UNSUPPORTED, ERR_NOMEM.
 */
enum err meta_image(const struct meta *meta, struct consensus_snapshot *out, struct buf *bytes);
enum err meta_install(struct meta *meta, uint64_t now_ms, const struct consensus_snapshot *image,
                      struct slice bytes);

/* Early in a turn: what the disk has by now, and timers. Late in it: what is to be written leaves. */
void meta_collect(struct meta *meta, uint64_t now_ms);
void meta_flush(struct meta *meta);
bool meta_has_news(const struct meta *meta);
uint64_t meta_wake_ms(const struct meta *meta);
void meta_leave_io(struct meta *meta);

#endif
