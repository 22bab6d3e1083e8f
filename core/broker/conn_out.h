/*
 * conn_out: what waits to be written to one connection; corked until the end of the turn.
 *
 *     [chunk: small frames copied one after the other] -> [payload by reference] -> [chunk] ...
 *      \________ in flight, not to be touched _______/     \__ leaves with the next flush __/
 *
 * Floor:  broker.
 * Memory: chunks come from the shard's pool of three sizes and go back when they were sent: an idle
 *         connection has none. A payload of OUT_REFERENCE_BYTES or more is not copied, its message
 *         is referenced.
 */
#ifndef TERN_BROKER_CONN_OUT_H
#define TERN_BROKER_CONN_OUT_H

#include "core/base/slice.h"
#include "core/io/io.h"
#include "core/pubsub/msg.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    OUT_REFERENCE_BYTES = 2048,
    OUT_CLASS_COUNT = 3,
};

struct out_segment {
    struct out_segment *next;
    struct msg *msg; /* by reference: data points into it; NULL: a chunk */
    const uint8_t *data;
    uint32_t count, capacity; /* capacity 0: by reference */
    uint8_t class;            /* of the pool; OUT_CLASS_COUNT: from the heap */
    uint8_t bytes[];
};

/* One per shard. Zero-initialised is empty. */
struct out_pool {
    struct out_segment *free[OUT_CLASS_COUNT];
    uint32_t free_count[OUT_CLASS_COUNT];
    uint64_t bytes; /* waiting in all connections of the shard */
};
void out_pool_deinit(struct out_pool *pool);

/* Zero-initialised is empty. */
struct conn_out {
    struct out_segment *first, *last;
    uint32_t segment_count;
    uint32_t flying_count; /* segments from the first on that are in flight */
    uint32_t hint;         /* bytes of the last flush: how large a chunk to start with */
    uint64_t bytes;        /* all of them */
};

/* Room for count contiguous bytes, to be written at once. NULL: memory is exhausted. */
uint8_t *out_reserve(struct conn_out *out, struct out_pool *pool, uint32_t count);

/* The payload of msg, by reference or by copy. false: memory is exhausted. */
bool out_payload(struct conn_out *out, struct out_pool *pool, struct msg *msg);

/* What is to be sent next: fills parts, marks segments as in flight. Nothing may be in flight. */
uint32_t out_take(struct conn_out *out, struct slice *parts, uint32_t parts_max, uint64_t *bytes);

/* What was in flight has been sent. */
void out_sent(struct conn_out *out, struct out_pool *pool);

/* Forget all; nothing is in flight any more. */
void out_clear(struct conn_out *out, struct out_pool *pool);

#endif
