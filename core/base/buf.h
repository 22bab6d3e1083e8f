/*
 * buf: bytes that wait: written at the end, read from the front.
 *
 * Floor:  base.
 * Thread: the owner.
 * Memory: heap, and none at all while it is empty: an idle connection's buf costs its 32 bytes.
 *         A zeroed struct buf is an empty one.
 *
 *      [ consumed | waiting: buf_bytes() | room: buf_tail() ]
 *      0          begin                  end                capacity
 *
 * What buf_bytes() and buf_tail() give is borrowed until the next call on this buf that may write.
 * A buf has no bound of its own: who fills it from outside checks buf_count() first.
 */
#ifndef TERN_BASE_BUF_H
#define TERN_BASE_BUF_H

#include "core/base/err.h"
#include "core/base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
    uint8_t *data; /* NULL exactly when capacity is 0 */
    size_t begin, end, capacity;
};

/* Gives the memory back; the buf is empty and may be used again. */
void buf_deinit(struct buf *buf);

static inline size_t buf_count(const struct buf *buf)
{
    return buf->end - buf->begin;
}

static inline struct slice buf_bytes(const struct buf *buf)
{
    return slice_of(buf_count(buf) == 0 ? NULL : buf->data + buf->begin, buf_count(buf));
}

/* Room for count more bytes at buf_tail(). ERR_NOMEM: nothing changed. */
enum err buf_reserve(struct buf *buf, size_t count);

/* Where to write after buf_reserve(); NULL when there was never room. */
static inline uint8_t *buf_tail(struct buf *buf)
{
    return buf->data == NULL ? NULL : buf->data + buf->end;
}

/* count bytes were written at buf_tail(); no more than were reserved. 0 on an empty buf frees. */
void buf_commit(struct buf *buf, size_t count);

/* ERR_NOMEM: nothing changed. bytes may be of this buf itself. */
enum err buf_append(struct buf *buf, struct slice bytes);

/* The first count bytes are done with; count <= buf_count(). The last one's memory goes back. */
void buf_consume(struct buf *buf, size_t count);

#endif
