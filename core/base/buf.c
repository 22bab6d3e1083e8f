/*
 * Invariants
 *   I1  begin <= end <= capacity.
 *   I2  after commit and consume, an empty buf has no memory.
 *   I3  waiting bytes are moved to the front only over at least as many consumed ones, so each byte
 *       is moved once on average, however small the steps are.
 */
#include "core/base/buf.h"

#include <stdlib.h>

enum { CAPACITY_MIN = 256 };

void buf_deinit(struct buf *buf)
{
    free(buf->data);
    *buf = (struct buf){0};
}

/* The next power of two; count <= PTRDIFF_MAX, so there is one. */
static size_t capacity_for(size_t count)
{
    size_t capacity = CAPACITY_MIN;
    while (capacity < count) {
        capacity *= 2;
    }
    return capacity;
}

enum err buf_reserve(struct buf *buf, size_t count)
{
    size_t waiting = buf_count(buf), needed;

    if (buf->capacity - buf->end >= count && buf->data != NULL) {
        return OK;
    }
    if (__builtin_add_overflow(waiting, count, &needed) || needed > PTRDIFF_MAX) {
        return ERR_NOMEM;
    }
    if (buf->data != NULL && buf->begin >= waiting && needed <= buf->capacity) {
        memmove(buf->data, buf->data + buf->begin, waiting); /* I3 */
    } else {
        size_t capacity = capacity_for(needed);
        uint8_t *data = malloc(capacity);
        if (data == NULL) {
            return ERR_NOMEM;
        }
        if (waiting > 0) {
            memcpy(data, buf->data + buf->begin, waiting);
        }
        free(buf->data);
        buf->data = data;
        buf->capacity = capacity;
    }
    buf->begin = 0;
    buf->end = waiting;
    return OK;
}

void buf_commit(struct buf *buf, size_t count)
{
    ASSERT(count <= buf->capacity - buf->end);
    buf->end += count;
    if (buf->end == buf->begin) {
        buf_deinit(buf); /* I2 */
    }
}

/* Bytes of the buf itself: they move with it, so remember where they begin, not where they are. */
static bool is_own(const struct buf *buf, struct slice bytes)
{
    uintptr_t at = (uintptr_t)bytes.data, base = (uintptr_t)buf->data;
    return buf->data != NULL && at >= base && at < base + buf->capacity;
}

enum err buf_append(struct buf *buf, struct slice bytes)
{
    if (bytes.count == 0) {
        return OK;
    }
    bool own = is_own(buf, bytes);
    size_t offset = own ? (size_t)(bytes.data - (buf->data + buf->begin)) : 0;
    TRY(buf_reserve(buf, bytes.count));
    memcpy(buf->data + buf->end, own ? buf->data + buf->begin + offset : bytes.data, bytes.count);
    buf->end += bytes.count;
    return OK;
}

void buf_consume(struct buf *buf, size_t count)
{
    ASSERT(count <= buf_count(buf));
    buf->begin += count;
    if (buf->begin == buf->end) {
        buf_deinit(buf); /* I2 */
    }
}
