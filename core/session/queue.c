#include "core/session/queue.h"

#include "core/base/assert.h"

void queue_deinit(struct queue *queue)
{
    while (queue->waiting.count > 0) {
        struct delivery delivery = queue_pop(queue);
        delivery_deinit(&delivery);
    }
    deque_deinit(&queue->waiting);
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
    if (bounds->count_max > 0 && queue->waiting.count >= bounds->count_max) {
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
