#include "core/session/queue.h"

#include "core/base/assert.h"

void queue_deinit(struct queue *queue)
{
    while (queue->waiting.count > 0) {
        struct delivery delivery = queue_pop(queue);
        delivery_deinit(&delivery);
    }
    deque_deinit(&queue->waiting);
    queue_forget_spilled(queue);
}

static void count_in(struct queue *queue, uint32_t bytes)
{
    queue->bytes += bytes;
    queue->totals->count++;
    queue->totals->bytes += bytes;
}

static void count_out(struct queue *queue, uint32_t bytes)
{
    ASSERT(queue->bytes >= bytes);
    queue->bytes -= bytes;
    queue->totals->count--;
    queue->totals->bytes -= bytes;
}

bool queue_has_room(const struct queue *queue, const struct queue_bounds *bounds,
                    const struct msg *msg)
{
    if (bounds->count_max > 0 && queue_count(queue) >= bounds->count_max) {
        return false;
    }
    return bounds->bytes_max == 0 || queue->bytes + msg_bytes(msg) <= bounds->bytes_max;
}

/* A message that would not fit even into an empty queue cannot make room for itself. */
static bool can_make_room(const struct queue *queue, const struct queue_bounds *bounds,
                          const struct msg *msg)
{
    return queue->waiting.count > 0 &&
           (bounds->bytes_max == 0 || msg_bytes(msg) <= bounds->bytes_max);
}

enum err queue_offer(struct queue *queue, const struct queue_bounds *bounds,
                     const struct delivery *delivery, struct delivery *victim)
{
    *victim = (struct delivery){0};
    bool has_room = queue_has_room(queue, bounds, delivery->msg);
    if (!has_room && bounds->policy == QUEUE_REJECT) {
        return ERR_QUOTA;
    }
    if (!has_room &&
        (bounds->policy == QUEUE_DROP_NEWEST || !can_make_room(queue, bounds, delivery->msg))) {
        *victim = *delivery;
        return OK;
    }
    if (!has_room) {
        *victim = queue_pop(queue);
        return ERR_AGAIN; /* a large newcomer may need the room of many */
    }
    return queue_put_back(queue, delivery);
}

enum err queue_put_back(struct queue *queue, const struct delivery *delivery)
{
    TRY(deque_push(&queue->waiting, delivery));
    count_in(queue, msg_bytes(delivery->msg));
    return OK;
}

void queue_spill(struct queue *queue, uint64_t sequence, uint32_t bytes)
{
    queue_spill_many(queue, sequence, 1, bytes);
}

void queue_spill_many(struct queue *queue, uint64_t from, uint32_t count, uint64_t bytes)
{
    if (queue->spilled_count == 0) {
        queue->spilled_from = from;
    }
    queue->spilled_count += count;
    queue->spilled_bytes += bytes;
    queue->bytes += bytes;
    queue->totals->count += count;
    queue->totals->bytes += bytes;
}

enum err queue_unspill(struct queue *queue, const struct delivery *delivery)
{
    uint32_t bytes = msg_bytes(delivery->msg);
    ASSERT(delivery->sequence >= queue->spilled_from);
    TRY(deque_push(&queue->waiting, delivery));
    queue->spilled_from = delivery->sequence + 1;
    /* It was counted when it came, and is from now on as one in memory. */
    uint32_t counted = queue->spilled_bytes < bytes ? (uint32_t)queue->spilled_bytes : bytes;
    if (queue->spilled_count > 0) {
        queue->spilled_count--;
        queue->spilled_bytes -= counted;
        count_out(queue, counted);
    }
    count_in(queue, bytes);
    if (queue->spilled_count == 0) {
        queue_forget_spilled(queue); /* what rounding may have left */
    }
    return OK;
}

void queue_forget_spilled(struct queue *queue)
{
    if (queue->totals == NULL) {
        return;
    }
    queue->bytes -= queue->spilled_bytes;
    queue->totals->bytes -= queue->spilled_bytes;
    queue->totals->count -= queue->spilled_count;
    queue->spilled_count = 0;
    queue->spilled_bytes = 0;
}

struct delivery *queue_peek(const struct queue *queue)
{
    return queue->waiting.count == 0 ? NULL : deque_at(&queue->waiting, 0);
}

struct delivery queue_pop(struct queue *queue)
{
    struct delivery delivery = deque_pop(&queue->waiting);
    count_out(queue, msg_bytes(delivery.msg));
    return delivery;
}

void queue_forget(struct queue *queue, uint32_t bytes)
{
    deque_pop(&queue->waiting);
    count_out(queue, bytes);
}
