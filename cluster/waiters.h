/*
 * waiters: who waits until entries of some partitions are committed, and is told in order.
 *
 * Floor:  cluster.
 * Thread: the shard's.
 * Memory: a waiter is a block, from waiters_add() until it is told.
 */
#ifndef TERN_CLUSTER_WAITERS_H
#define TERN_CLUSTER_WAITERS_H

#include "core/session/journal.h"
#include "storage/store.h"

struct link;

struct waiters {
    struct {
        struct link *first, **last;
        uint64_t committed; /* entries of it, which have the numbers 1, 2, ... */
    } queues[STORE_PARTITIONS];
    uint64_t ready; /* partitions whose first link may count */
};

void waiters_init(struct waiters *waiters);

/*
 * Wait until of each of these partitions (a bit each, one at least) the entry numbers[partition] is
 * committed. done is called by waiters_tell(), in the order of these calls where they share a
 * partition. ERR_NOMEM.
 */
enum err waiters_add(struct waiters *waiters, uint64_t partitions,
                     const uint64_t numbers[STORE_PARTITIONS], journal_done done, void *context);
bool waiters_any(const struct waiters *waiters, uint32_t partition);

/* The next entry of a partition is committed. */
void waiters_commit(struct waiters *waiters, uint32_t partition);

/* Tell OK to all who have what they wait for, as long as *is_over is false: done may set that, as it
 * may add others. */
void waiters_tell(struct waiters *waiters, const bool *is_over);

/*
 * Tell everybody who waits for that partition, for others, too. Then what is still to come of it counts
 * from `number`: the entries up to that one are as good as committed. Nobody may be added to it meanwhile.
 */
void waiters_tell_partition(struct waiters *waiters, uint32_t partition, enum err err,
                            uint64_t number);

/* Tell everybody, once. Nobody may be added meanwhile. */
void waiters_tell_all(struct waiters *waiters, enum err err);

#endif
