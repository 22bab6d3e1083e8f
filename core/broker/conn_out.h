/*
 * conn_out: what waits to be written to one connection; corked until the end of the turn.
 *
 *     [chunk: small frames copied one after the other] -> [payload by reference] -> [chunk] ...
 *      \________ in flight, not to be touched _______/     \__ leaves with the next flush __/
 *
 * Floor:  broker.
 * Memory: chunks of three sizes are blocks, let go when they were sent: an idle connection has none.
 *         A payload of OUT_REFERENCE_BYTES or more is not copied, its message is referenced.
 *
 * output_bytes, of most functions, is what waits in all connections of the shard: kept up to date.
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
};

struct out_segment {
    struct out_segment *next;
    struct msg *msg; /* by reference: data points into it; NULL: a chunk */
    const uint8_t *data;
    uint32_t count, capacity; /* capacity 0: by reference */
    uint8_t bytes[];
};

/* Zero-initialised is empty. */
struct conn_out {
    struct out_segment *first, *last;
    uint32_t segment_count;
    uint32_t flying_count; /* segments from the first on that are in flight */
    uint32_t hint;         /* bytes of the last flush: how large a chunk to start with */
    uint64_t bytes;        /* all of them */
};

/* Room for count contiguous bytes, to be written at once. NULL: memory is exhausted. */
uint8_t *out_reserve(struct conn_out *out, uint64_t *output_bytes, uint32_t count);

/* The payload of msg, by reference or by copy. false: memory is exhausted. */
bool out_payload(struct conn_out *out, uint64_t *output_bytes, struct msg *msg);

/* What is to be sent next: fills parts, marks segments as in flight. Nothing may be in flight. */
uint32_t out_take(struct conn_out *out, struct slice *parts, uint32_t parts_max, uint64_t *bytes);

/*
 * What comes next, at most about bytes_max of it, to be read now: nothing is in flight. A chunk is
 * shown whole. out_consume() then forgets exactly these bytes.
 */
uint32_t out_peek(const struct conn_out *out, struct slice *parts, uint32_t parts_max,
                  uint64_t bytes_max, uint64_t *bytes);
void out_consume(struct conn_out *out, uint64_t *output_bytes, uint64_t bytes);

/* What was in flight has been sent. */
void out_sent(struct conn_out *out, uint64_t *output_bytes);

/* Forget all; nothing is in flight any more. */
void out_clear(struct conn_out *out, uint64_t *output_bytes);

#endif
