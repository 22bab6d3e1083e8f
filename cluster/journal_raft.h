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

struct journal_raft_config {
    struct store *store;
    struct io *io; /* of the shard: woken by the lanes; its clocks stamp the entries */
    uint32_t shard, shard_count; /* partitions p with p % shard_count == shard are its own */
    uint64_t seed;
};

/* Opens its replicas; blocks. failure as kv.h. */
enum err journal_raft_new(const struct journal_raft_config *config, struct journal **out,
                          struct kv_failure *failure);
/* The machines of its partitions, to load the shard from: 0 to 63, NULL: another shard's. */
struct machine *journal_raft_machine(struct journal *journal, uint32_t partition);
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
