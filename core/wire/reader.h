/*
 * reader, writer: a cursor over bytes from the network, and one over memory of our own.
 *
 * Floor:  wire; pure.
 * Memory: a reader borrows; the slices it hands out live as long as the bytes it reads.
 *         A writer fills memory of the caller.
 *
 * A reader believes nothing: each read_ checks what is left and answers ERR_MALFORMED when the
 * bytes end too early. A writer believes everything: the caller has asked the matching _size
 * function before, so running over the end is our bug and an ASSERT.
 */
#ifndef TERN_WIRE_READER_H
#define TERN_WIRE_READER_H

#include "core/base/assert.h"
#include "core/base/err.h"
#include "core/base/slice.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct reader {
    const uint8_t *at, *end; /* at <= end, always */
};

struct writer {
    uint8_t *at, *end; /* at <= end, always */
};

enum {
    VARINT_MAX = 268435455, /* four bytes of seven bits, 1.5.5 */
    VARINT_BYTES_MAX = 4,
};

static inline struct reader reader_of(struct slice bytes)
{
    return (struct reader){bytes.data, bytes.count == 0 ? bytes.data : bytes.data + bytes.count};
}

static inline size_t reader_left(const struct reader *r)
{
    return (size_t)(r->end - r->at);
}

static inline enum err read_u8(struct reader *r, uint8_t *out)
{
    if (reader_left(r) < 1) {
        return ERR_MALFORMED;
    }
    *out = *r->at++;
    return OK;
}

static inline enum err read_u16(struct reader *r, uint16_t *out)
{
    if (reader_left(r) < 2) {
        return ERR_MALFORMED;
    }
    *out = (uint16_t)(r->at[0] << 8 | r->at[1]);
    r->at += 2;
    return OK;
}

static inline enum err read_u32(struct reader *r, uint32_t *out)
{
    if (reader_left(r) < 4) {
        return ERR_MALFORMED;
    }
    *out = (uint32_t)r->at[0] << 24 | (uint32_t)r->at[1] << 16 | (uint32_t)r->at[2] << 8 | r->at[3];
    r->at += 4;
    return OK;
}

/* count bytes as they are. */
static inline enum err read_bytes(struct reader *r, size_t count, struct slice *out)
{
    if (reader_left(r) < count) {
        return ERR_MALFORMED;
    }
    *out = slice_of(r->at, count);
    if (count > 0) {
        r->at += count;
    }
    return OK;
}

/* Binary Data: two bytes of length, then the bytes, 1.5.6. */
static inline enum err read_binary(struct reader *r, struct slice *out)
{
    uint16_t count;
    TRY(read_u16(r, &count));
    return read_bytes(r, count, out);
}

/* All that is left, possibly nothing. */
static inline struct slice read_rest(struct reader *r)
{
    struct slice rest = slice_of(r->at, reader_left(r));
    r->at = r->end;
    return rest;
}

/* ERR_MALFORMED unless everything has been read: a packet has no bytes after its last field. */
static inline enum err read_end(const struct reader *r)
{
    return reader_left(r) == 0 ? OK : ERR_MALFORMED;
}

/* UTF-8 Encoded String; ERR_MALFORMED when it is not one [MQTT-1.5.4-1] [MQTT-1.5.4-2]. */
enum err read_text(struct reader *r, struct slice *out);

/*
 * Variable Byte Integer of one to four bytes. ERR_MALFORMED when it is longer, ends early, or is
 * not encoded in the fewest bytes [MQTT-1.5.5-1].
 */
enum err read_varint(struct reader *r, uint32_t *out);

/* Bytes that writer_varint() will use; value <= VARINT_MAX. */
static inline size_t varint_size(size_t value)
{
    ASSERT(value <= VARINT_MAX);
    return value < 128 ? 1 : value < 16384 ? 2 : value < 2097152 ? 3 : 4;
}

static inline struct writer writer_of(void *memory, size_t count)
{
    return (struct writer){memory, count == 0 ? memory : (uint8_t *)memory + count};
}

static inline size_t writer_left(const struct writer *w)
{
    return (size_t)(w->end - w->at);
}

static inline void writer_u8(struct writer *w, uint8_t value)
{
    ASSERT(writer_left(w) >= 1);
    *w->at++ = value;
}

static inline void writer_u16(struct writer *w, uint16_t value)
{
    ASSERT(writer_left(w) >= 2);
    w->at[0] = (uint8_t)(value >> 8);
    w->at[1] = (uint8_t)value;
    w->at += 2;
}

static inline void writer_u32(struct writer *w, uint32_t value)
{
    writer_u16(w, (uint16_t)(value >> 16));
    writer_u16(w, (uint16_t)value);
}

static inline void writer_bytes(struct writer *w, struct slice bytes)
{
    ASSERT(writer_left(w) >= bytes.count);
    if (bytes.count > 0) {
        memcpy(w->at, bytes.data, bytes.count);
        w->at += bytes.count;
    }
}

/* Binary Data or UTF-8 Encoded String, with its two bytes of length; bytes.count <= 65535. */
static inline void writer_binary(struct writer *w, struct slice bytes)
{
    ASSERT(bytes.count <= UINT16_MAX);
    writer_u16(w, (uint16_t)bytes.count);
    writer_bytes(w, bytes);
}

/* Variable Byte Integer in the fewest bytes [MQTT-1.5.5-1]; value <= VARINT_MAX. */
static inline void writer_varint(struct writer *w, size_t value)
{
    ASSERT(value <= VARINT_MAX);
    while (value >= 128) {
        writer_u8(w, (uint8_t)(value | 0x80));
        value >>= 7;
    }
    writer_u8(w, (uint8_t)value);
}

/* Bytes of Binary Data or of a string on the wire. */
static inline size_t binary_size(struct slice bytes)
{
    return 2 + bytes.count;
}

#endif
