#include "bench/limit/feed.h"

#include "core/base/assert.h"

#include <stdlib.h>

enum {
    SPANS_AT_FIRST = 16,
    SPANS_FULL = 1024,
    BYTES_FULL = 4 * 1024 * 1024,
};

static void grow(struct feed *feed)
{
    uint32_t size = feed->size == 0 ? SPANS_AT_FIRST : feed->size * 2;
    struct span *spans = calloc(size, sizeof(spans[0]));
    ASSERT(spans != NULL); /* a measurement without memory is over */
    for (uint64_t i = feed->head; i < feed->tail; i++) {
        spans[i & (size - 1)] = *feed_span(feed, i);
    }
    free(feed->spans);
    feed->spans = spans;
    feed->size = size;
}

void feed_append(struct feed *feed, struct pool *pool, const struct span *span)
{
    if (feed->readers.count == 0) {
        return;
    }
    feed->bytes += span->bytes;
    if (feed->tail > feed->head && feed->tail > feed->sealed) {
        struct span *last = feed_span(feed, feed->tail - 1);
        if (last->data + last->bytes == span->data && last->buffer == span->buffer) {
            last->bytes += span->bytes;
            return;
        }
    }
    if (feed->tail - feed->head == feed->size) {
        grow(feed);
    }
    struct span *next = feed_span(feed, feed->tail++);
    *next = *span;
    next->readers_left = feed->readers.count;
    pool_ref(pool, span->buffer);
}

void feed_pass(struct feed *feed, struct pool *pool, uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i < to; i++) {
        feed_span(feed, i)->readers_left--;
    }
    while (feed->head < feed->tail && feed_span(feed, feed->head)->readers_left == 0) {
        struct span *gone = feed_span(feed, feed->head++);
        feed->bytes -= gone->bytes;
        pool_unref(pool, gone->buffer);
    }
}

bool feed_is_full(const struct feed *feed)
{
    return feed->bytes > BYTES_FULL || feed->tail - feed->head > SPANS_FULL;
}

bool feed_is_low(const struct feed *feed)
{
    return feed->bytes < BYTES_FULL / 2 && feed->tail - feed->head < SPANS_FULL / 2;
}
