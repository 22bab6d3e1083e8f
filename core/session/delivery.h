/*
 * delivery: one message on its way to one client, and a double-ended queue of them.
 *
 * Floor:  session; knows msg.
 * Thread: the shard that owns the session.
 * Memory: a delivery holds one reference to its message and owns its list of ids; the deque owns
 *         its array, which grows by doubling and is given back when the deque runs empty.
 */
#ifndef TERN_SESSION_DELIVERY_H
#define TERN_SESSION_DELIVERY_H

#include "core/base/err.h"
#include "core/pubsub/msg.h"

#include <stdbool.h>
#include <stdint.h>

/* Subscription identifiers beyond the first: overlapping subscriptions have one each. */
struct delivery_ids {
    uint32_t count;
    uint32_t ids[];
};

/* A copy of count ids; it belongs to the delivery it is put into. NULL: memory is exhausted. */
struct delivery_ids *delivery_ids_new(const uint32_t *ids, uint32_t count);

struct delivery;

/* All Subscription Identifiers of a delivery, borrowed from it. */
const uint32_t *delivery_id_list(const struct delivery *delivery, uint32_t *count);

enum delivery_state { DELIVERY_FREE, WAIT_PUBACK, WAIT_PUBREC, WAIT_PUBCOMP, DELIVERY_STATE_COUNT };

struct delivery {
    struct msg *msg;
    uint64_t sequence; /* of the session, for QoS 1 and 2; 0: QoS 0 */
    uint64_t share;    /* the shared subscription it came by; 0: none */
    uint64_t stored;   /* the number of its message on disk, see journal_log() */
    struct delivery_ids *more_ids;
    uint32_t id; /* Subscription Identifier; 0: none */
    uint8_t qos;
    bool retain;      /* the RETAIN flag to send */
    bool is_dup;      /* was sent before */
    bool must_resend; /* in flight, and not sent yet on the present connection */
    uint8_t state;
};

/* Give back what the delivery holds. */
void delivery_deinit(struct delivery *delivery);

struct deque {
    struct delivery *slots; /* NULL while empty */
    uint32_t capacity;      /* 0 or a power of two */
    uint32_t head, count;
};

/* Zero-initialised is empty. deque_deinit gives back what all its deliveries hold. */
void deque_deinit(struct deque *deque);

/* The deque takes over what the delivery holds on OK. ERR_NOMEM. */
enum err deque_push(struct deque *deque, const struct delivery *delivery);

/* 0 is the oldest; index < count. Valid until the next push or pop. */
struct delivery *deque_at(const struct deque *deque, uint32_t index);

/* Remove the oldest; the caller takes over what it holds. The deque is not empty. */
struct delivery deque_pop(struct deque *deque);

/* Remove the newest. */
struct delivery deque_pop_back(struct deque *deque);

#endif
