/*
 * journal_raft: core's journal port on replicas: the ops of a turn become one entry per partition.
 *
 *     journal_log ──> open entry ── flush ──> replica ──> round ──> log lane
 *     journal_await ──> waits                                         │
 *          ▲                                                          ▼
 *          └── told <── committed <── replica <── collect <── the disk has it
 *                           └──> state lane
 *
 * Of each partition at most one entry is on its way and one is open: what comes while the disk is
 * busy gathers, and leaves together (at 64 KiB an open one leaves at once). Who waits is told when
 * every partition it named has committed what was logged before.
 *
 * Floor:  cluster.
 * Thread: the shard's; open in the shard's thread before it serves.
 */
#ifndef TERN_CLUSTER_JOURNAL_RAFT_H
#define TERN_CLUSTER_JOURNAL_RAFT_H

#include "core/session/journal.h"
#include "storage/store.h"

struct io;

/*
 * What the owner is told, and asked for. led and lost come from inside journal_collect(), in turn: of a
 * partition that was led since the start lost is the first. What was logged and not committed by then is
 * nobody's any more: it may be found again, or not.
 *
 *     led      it leads, and the state has all that was committed before: machine_read() may be used in
 *              the shard's thread, and ops may be logged
 *     lost     it leads no more. Who waited for that partition has been told ERR_UNAVAILABLE; what is
 *              logged is ignored, and journal_admit() and journal_await() say ERR_UNAVAILABLE
 *     send     bytes, borrowed for the call, to that group of the peer: journal_raft_receive() there.
 *              At most once, in order, or not at all
 *     fetch    that peer leads, and we lack what all logs have cut off: bring an image of its state, of
 *              index or later, and say so by journal_raft_may_install() and journal_raft_installed(). Told
 *              again when another one leads. NULL: fenced instead
 *
 * NULL: nobody wants to know; send is needed where there are peers.
 */
struct journal_raft_events {
    void (*led)(void *context, uint32_t partition);
    void (*lost)(void *context, uint32_t partition);
    void (*send)(void *context, uint64_t peer, uint32_t group, struct slice bytes);
    void (*fetch)(void *context, uint32_t partition, uint64_t peer, uint64_t index);
    void *context;
};

struct journal_raft_config {
    struct store *store;
    struct io *io; /* of the shard: woken by the lanes; its clocks stamp the entries */
    uint32_t shard, shard_count; /* partitions p with p % shard_count == shard are its own */
    uint64_t seed;
    uint64_t node_id;                   /* 0: 1, a lone node */
    bool is_joiner;                     /* of partitions it has nothing of: others add it to them */
    uint32_t election_ms, heartbeat_ms; /* 0: 500 (to twice that), 100 */
    uint64_t window_bytes, tail_bytes;  /* of each partition, for followers: replica.h */
    struct journal_raft_events events;
};

/* Opens its replicas; blocks. failure as kv.h. */
enum err journal_raft_new(const struct journal_raft_config *config, struct journal **out,
                          struct kv_failure *failure);
/* The machines of its partitions, to load the shard from: 0 to 63, NULL: another shard's. */
struct machine *journal_raft_machine(struct journal *journal, uint32_t partition);

/*
 * A message of a peer for that group, by a link of that generation: what comes by an older one than
 * was seen of that peer is dropped. ERR_NOT_FOUND: not a group of this shard. ERR_MALFORMED,
 * ERR_PROTOCOL: the peer speaks nonsense. ERR_UNAVAILABLE: fenced.
 */
enum err journal_raft_receive(struct journal *journal, uint64_t peer, uint64_t generation,
                              uint32_t group, struct slice bytes);
/* Who leads the partition, as far as is known here; 0: nobody. */
uint64_t journal_raft_leader(const struct journal *journal, uint32_t partition);

/*
 * Who should hold a partition of this shard, and lead it (preferred 0: any of them): its leader changes
 * that, one server at a time, and so does any later one that wants the same. To be said again after a
 * start. count 0: nothing changes any more.
 */
void journal_raft_want(struct journal *journal, uint32_t partition, const uint64_t *members,
                       uint32_t count, uint64_t preferred);
/*
 * As replica_may_install(), replica_installed() and replica_members_at(), for what brings images
 * (cluster/transfer.h). image: index, term, members.
 */
struct consensus_members;
struct consensus_snapshot;
bool journal_raft_may_install(struct journal *journal, uint32_t partition,
                              const struct consensus_snapshot *image);
void journal_raft_installed(struct journal *journal, uint32_t partition,
                            const struct consensus_snapshot *image, struct machine *machine);
bool journal_raft_members_at(const struct journal *journal, uint32_t partition, uint64_t index,
                             struct consensus_members *out);

/* For people and for tests. ERR_NOT_FOUND: another shard's. */
struct replica_look;
enum err journal_raft_look(const struct journal *journal, uint32_t partition,
                           struct replica_look *out);

/*
 * The time that its entries are stamped with is wall_ms now, and goes on by the monotonic clock: the
 * shard's own idea of time, which nobody can set. Before: the wall clock at journal_raft_new().
 */
void journal_raft_set_clock(struct journal *journal, uint64_t wall_ms);
/*
 * What was logged is given to the disk and waited for (on a full disk it is not, and may be lost; it
 * was promised to nobody); who still waits then is told ERR_SHUTDOWN: what they hold is theirs to
 * free. Its io may be gone, if journal_leave_io() was called before. Accepts NULL.
 */
void journal_raft_free(struct journal *journal);

#endif
