/*
 * slice: bytes that belong to somebody else.
 *
 * Floor:  base.
 * Memory: always borrowed; the header that hands one out says until when.
 */
#ifndef TERN_BASE_SLICE_H
#define TERN_BASE_SLICE_H

#include "core/base/assert.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
    const uint8_t *data; /* NULL only when count is 0 */
    size_t count;
};

/* A slice over a string literal, for tables: static const struct slice x = SLICE("text"); */
#define SLICE(literal)                                     \
    {                                                      \
        (const uint8_t *)("" literal), sizeof(literal) - 1 \
    }

static inline struct slice slice_of(const void *data, size_t count)
{
    return (struct slice){(const uint8_t *)data, count};
}

static inline struct slice slice_text(const char *text)
{
    return (struct slice){(const uint8_t *)text, strlen(text)};
}

static inline bool slice_equal(struct slice a, struct slice b)
{
    return a.count == b.count && (a.count == 0 || memcmp(a.data, b.data, a.count) == 0);
}

static inline bool slice_is(struct slice a, const char *text)
{
    return slice_equal(a, slice_text(text));
}

static inline bool slice_starts_with(struct slice a, struct slice prefix)
{
    return a.count >= prefix.count &&
           (prefix.count == 0 || memcmp(a.data, prefix.data, prefix.count) == 0);
}

/* What is left after the first count bytes; count <= a.count. */
static inline struct slice slice_skip(struct slice a, size_t count)
{
    ASSERT(count <= a.count);
    return a.count == 0 ? a : slice_of(a.data + count, a.count - count);
}

/* The first count bytes; count <= a.count. */
static inline struct slice slice_head(struct slice a, size_t count)
{
    ASSERT(count <= a.count);
    return slice_of(a.data, count);
}

/* Index of the first such byte, or a.count. */
static inline size_t slice_find(struct slice a, uint8_t byte)
{
    const uint8_t *hit = a.count == 0 ? NULL : memchr(a.data, byte, a.count);
    return hit == NULL ? a.count : (size_t)(hit - a.data);
}

#endif
