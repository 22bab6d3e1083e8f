/*
 * queue: messages that wait for one client, bounded, with a policy for the bound.
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
    uint64_t bytes;
    struct queue_totals *totals; /* the shard's */
};

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

/* The oldest, or NULL. */
struct delivery *queue_peek(const struct queue *queue);

/* Remove the oldest: the caller takes it over. The queue is not empty. */
struct delivery queue_pop(struct queue *queue);

/* Put back at the end what queue_pop() gave, whatever the bounds say. ERR_NOMEM: the caller keeps it. */
enum err queue_put_back(struct queue *queue, const struct delivery *delivery);

/* Remove the oldest, whose message weighed that much, after what it held was taken over. */
void queue_forget(struct queue *queue, uint32_t bytes);

#endif
