/*
 * feed: what was published and not yet sent to everyone who is to have it: a log with readers.
 *
 *      writers ──append──>  [span][span][span][span]
 *                            head    │           tail
 *                                    └ a reader's place: what is before it, it has
 *
 * A span is a piece of a receive buffer with whole frames, or a part of a large one. A pair has a
 * feed of its own with one writer and one reader; a fan has one feed with many of either. So frames
 * are copied nowhere, the same bytes serve all readers, and how far the slowest reader is behind is
 * one number: the writers are not received from while it is above a bound.
 *
 * Floor:  bench.
 * Thread: the owner.
 * Memory: the log grows with what the bound lets in, and does not shrink.
 *
 * Invariants
 *   F1  a span holds a reference to its buffer from feed_append() until the last of the readers
 *       that were there at that time has passed it.
 *   F2  a span that a reader has begun to send does not grow any more.
 *   F3  the tail is the end of a frame, always.
 */
#ifndef TERN_BENCH_LIMIT_FEED_H
#define TERN_BENCH_LIMIT_FEED_H

#include "bench/limit/pool.h"

struct span {
    const uint8_t *data;
    uint32_t bytes;
    uint32_t readers_left; /* F1 */
    uint16_t buffer;
    bool begins_frame;
};

struct client;

/* The clients at one side of a feed; each knows its place in the array. */
struct crowd {
    struct client **clients;
    uint32_t count, size;
};

struct feed {
    struct span *spans;
    uint32_t size; /* a power of two, or 0 */
    uint64_t head, tail;
    uint64_t sealed; /* F2: spans before this one do not grow */
    uint64_t bytes;
    struct crowd readers, writers;
    bool is_dirty, is_paused;
};

/* Bytes of a buffer on which the caller has a reference; nobody reads: they are dropped. */
void feed_append(struct feed *feed, struct pool *pool, const struct span *span);

/* A reader has sent the spans from..to, or leaves and will not. */
void feed_pass(struct feed *feed, struct pool *pool, uint64_t from, uint64_t to);

/* So much is held back that writers must wait; so little that they may go on. */
bool feed_is_full(const struct feed *feed);
bool feed_is_low(const struct feed *feed);

static inline struct span *feed_span(const struct feed *feed, uint64_t number)
{
    return &feed->spans[number & (feed->size - 1)];
}

#endif
