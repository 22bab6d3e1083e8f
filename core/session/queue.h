/*
 * queue: messages that wait for one client, bounded, with a policy for the bound.
 *
 *     waiting (in memory)         on disk alone
 *     [ oldest ... ] spilled_from [ ... newest ]
 *
 * Of a session that is kept on disk the memory need not hold all: from some message on they are only
 * counted here, and read back when it is their turn. Bounds count them all.
 *
 * Floor:  session.
 * Thread: the shard that owns the session.
 */
#ifndef TERN_SESSION_QUEUE_H
#define TERN_SESSION_QUEUE_H

#include "core/base/config.h"
#include "core/session/delivery.h"

#include <stdbool.h>
#include <stdint.h>

struct queue_bounds {
    uint32_t count_max;              /* 0: no bound */
    uint64_t bytes_max;              /* 0: no bound */
    enum config_queue_policy policy; /* what happens at the bound */
};

/* What all queues of a shard hold together; kept up to date by the queues. */
struct queue_totals {
    uint64_t count, bytes;
};

/* Zero-initialised is empty; totals must be set before the first use. */
struct queue {
    struct deque waiting;
    uint64_t bytes;              /* of all, also those on disk alone */
    struct queue_totals *totals; /* the shard's */
    uint64_t spilled_from;       /* the first sequence that is on disk alone, while any is */
    uint64_t spilled_bytes;
    uint32_t spilled_count;
    bool is_loading; /* the broker's: some of them are being read */
};

/* How many wait, in memory and on disk. */
static inline uint64_t queue_count(const struct queue *queue)
{
    return (uint64_t)queue->waiting.count + queue->spilled_count;
}

void queue_deinit(struct queue *queue);

/* Could this message be queued without breaking a bound? */
bool queue_has_room(const struct queue *queue, const struct queue_bounds *bounds,
                    const struct msg *msg);

/*
 * Queue a delivery; on OK the queue takes over what it holds, and *victim, if its msg is not NULL,
 * is the delivery itself, which had to give way: the caller counts and deinits it.
 * ERR_AGAIN: *victim is the oldest one, which gave way: the caller counts and deinits it, and
 * offers again. ERR_QUOTA: the policy is to reject; nothing changed. ERR_NOMEM: nothing changed.
 */
enum err queue_offer(struct queue *queue, const struct queue_bounds *bounds,
                     const struct delivery *delivery, struct delivery *victim);

/* One more that is on disk alone; its sequence is greater than that of all others. */
void queue_spill(struct queue *queue, uint64_t sequence, uint32_t bytes);

/* Many of them at once: count messages from that sequence on. */
void queue_spill_many(struct queue *queue, uint64_t from, uint32_t count, uint64_t bytes);

/*
 * The oldest of those on disk was read back: takes over what it holds on OK. ERR_NOMEM: nothing
 * changed.
 */
enum err queue_unspill(struct queue *queue, const struct delivery *delivery);

/* Nothing is on disk, or nobody will ask for it any more: forget what was counted. */
void queue_forget_spilled(struct queue *queue);

/* The oldest in memory, or NULL. */
struct delivery *queue_peek(const struct queue *queue);

/* Remove the oldest: the caller takes it over. The queue is not empty. */
struct delivery queue_pop(struct queue *queue);

/* Put back at the end what queue_pop() gave, whatever the bounds say. ERR_NOMEM: the caller keeps it. */
enum err queue_put_back(struct queue *queue, const struct delivery *delivery);

/* Remove the oldest, whose message weighed that much, after what it held was taken over. */
void queue_forget(struct queue *queue, uint32_t bytes);

#endif
