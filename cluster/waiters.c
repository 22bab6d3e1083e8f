/*
 * Invariant
 *   I1  who waits has a link in the queue of each partition it waits for, in the order of the calls. A
 *       link counts once its number is committed and it stands first; a waiter all of whose links
 *       count stands first everywhere and is told. So those that share a partition are told in order.
 *   I2  who was told by waiters_tell_partition() is_over: links of it that stand in other queues stay
 *       there until they come first, and hold up nobody.
 */
#include "cluster/waiters.h"

#include "core/base/assert.h"
#include "core/base/blocks.h"

struct waiter;

/* One in the queue of a partition. */
struct link {
    struct link *next;
    struct waiter *waiter;
    uint64_t number; /* of the entry it waits for */
    uint32_t partition;
    bool counts; /* I1 */
};

struct waiter {
    journal_done done;
    void *context;
    uint32_t link_count, open_count; /* links; those that do not count yet */
    uint32_t held_count;             /* links that stand in a queue */
    bool is_over;                    /* I2 */
    struct link links[];
};

static uint64_t bit(uint32_t partition)
{
    return UINT64_C(1) << partition;
}

static size_t waiter_bytes(uint32_t link_count)
{
    return sizeof(struct waiter) + link_count * sizeof(struct link);
}

void waiters_init(struct waiters *waiters)
{
    *waiters = (struct waiters){.ready = 0};
    for (uint32_t i = 0; i < STORE_PARTITIONS; i++) {
        waiters->queues[i].last = &waiters->queues[i].first;
    }
}

enum err waiters_add(struct waiters *waiters, uint64_t partitions,
                     const uint64_t numbers[STORE_PARTITIONS], journal_done done, void *context)
{
    uint32_t count = (uint32_t)__builtin_popcountll(partitions);
    struct waiter *waiter = blocks_take(waiter_bytes(count));

    ASSERT(count > 0);
    if (waiter == NULL) {
        return ERR_NOMEM;
    }
    *waiter = (struct waiter){done, context, count, count, count, false};
    for (uint32_t i = 0; i < count; i++, partitions &= partitions - 1) {
        uint32_t partition = (uint32_t)__builtin_ctzll(partitions);
        struct link *link = &waiter->links[i];
        *link = (struct link){
            .waiter = waiter, .number = numbers[partition], .partition = partition};
        *waiters->queues[partition].last = link;
        waiters->queues[partition].last = &link->next;
    }
    return OK;
}

bool waiters_any(const struct waiters *waiters, uint32_t partition)
{
    return waiters->queues[partition].first != NULL;
}

void waiters_commit(struct waiters *waiters, uint32_t partition)
{
    waiters->queues[partition].committed++;
    waiters->ready |= bit(partition);
}

/* Its first link is the queue's no more. The waiter may go with it: one that is told once. */
static void link_pop(struct waiters *waiters, uint32_t partition)
{
    struct link **first = &waiters->queues[partition].first;
    struct waiter *waiter = (*first)->waiter;

    *first = (*first)->next;
    if (*first == NULL) {
        waiters->queues[partition].last = first;
    }
    if (--waiter->held_count == 0) {
        blocks_give(waiter, waiter_bytes(waiter->link_count));
    }
}

/* All its links stand first: take them out, and look at who stands behind each. */
static void release(struct waiters *waiters, struct waiter *waiter)
{
    journal_done done = waiter->done;
    void *context = waiter->context;

    for (uint32_t i = 0, count = waiter->link_count; i < count; i++) {
        uint32_t partition = waiter->links[i].partition;
        ASSERT(waiters->queues[partition].first == &waiter->links[i]); /* I1 */
        waiters->ready |= bit(partition);
        link_pop(waiters, partition);
    }
    done(context, OK);
}

void waiters_tell(struct waiters *waiters, const bool *is_over)
{
    while (waiters->ready != 0 && !*is_over) {
        uint32_t partition = (uint32_t)__builtin_ctzll(waiters->ready);
        struct link *link = waiters->queues[partition].first;
        waiters->ready &= ~bit(partition);
        if (link != NULL && link->waiter->is_over) {
            link_pop(waiters, partition);
            waiters->ready |= bit(partition);
            continue;
        }
        if (link == NULL || link->counts || link->number > waiters->queues[partition].committed) {
            continue;
        }
        link->counts = true;
        if (--link->waiter->open_count == 0) {
            release(waiters, link->waiter);
        }
    }
}

void waiters_tell_partition(struct waiters *waiters, uint32_t partition, enum err err,
                            uint64_t number)
{
    while (waiters->queues[partition].first != NULL) {
        struct waiter *waiter = waiters->queues[partition].first->waiter;
        journal_done done = waiter->is_over ? NULL : waiter->done;
        void *context = waiter->context;
        for (uint32_t i = 0; i < waiter->link_count; i++) {
            waiters->ready |= bit(waiter->links[i].partition); /* it may hold up others there: I2 */
        }
        waiter->is_over = true;
        link_pop(waiters, partition);
        if (done != NULL) {
            done(context, err);
        }
    }
    waiters->queues[partition].committed = number;
}

/* In the order of the calls, as far as they share a partition: each with its last link. */
void waiters_tell_all(struct waiters *waiters, enum err err)
{
    for (uint32_t partition = 0; partition < STORE_PARTITIONS; partition++) {
        while (waiters->queues[partition].first != NULL) {
            struct waiter *waiter = waiters->queues[partition].first->waiter;
            bool is_told = waiter->held_count == 1 && !waiter->is_over;
            journal_done done = waiter->done;
            void *context = waiter->context;
            link_pop(waiters, partition);
            if (is_told) {
                done(context, err);
            }
        }
    }
}
