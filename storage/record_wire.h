/*
 * record_wire: structs <-> the bytes of protobuf messages, by tables.
 *
 * Floor:  storage; for record.c, record_entry.c and the machine.
 * Source: "Encoding", protobuf.dev; proto3. Records are written in the order of their fields, each
 *         number as short as it goes: equal structs give equal bytes, on every replica.
 *
 * A shape lists the fields of a message: row i is field number i + 1. protobuf-c reads and writes the
 * same bytes (tests/unit/test_record.c), but takes 2.5 to 4 times as long to write an op, and cannot
 * read one without copying every field that has bytes (bench/micro/bench_record.c).
 */
#ifndef TERN_STORAGE_RECORD_WIRE_H
#define TERN_STORAGE_RECORD_WIRE_H

#include "core/base/arena.h"
#include "core/base/err.h"
#include "core/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

enum field_form {
    FIELD_U8, /* bool too */
    FIELD_U16,
    FIELD_U32,
    FIELD_U64,
    FIELD_FIXED64, /* uint64_t that is no small number, as a hash */
    /* From here on what has bytes: */
    FIELD_BYTES,      /* struct slice; empty is absent */
    FIELD_BYTES_NONE, /* struct slice; data NULL is absent, empty is not */
    FIELD_JOINED,     /* struct slice, written with the one at `beside` before it */
    FIELD_LIST,       /* const uint32_t *; how many stands at `beside`, a uint32_t */
    FIELD_RECORD,     /* another struct; absent when all of it is */
};

struct field {
    enum field_form form;
    uint32_t offset, beside; /* in the struct */
    uint64_t max;            /* value, or count of bytes or items: beyond it is ERR_CORRUPT */
    const struct shape *shape;
};

struct shape {
    const struct field *fields;
    uint32_t count;
};

/* Bytes that wire_put() will write. */
size_t wire_size(const struct shape *shape, const void *record);
/* Returns where it ended. */
uint8_t *wire_put(const struct shape *shape, const void *record, uint8_t *at);

/*
 * out is zeroed by the caller and holds anything after an error; slices point into bytes, lists into
 * the arena. A field that is not known is skipped, or ERR_UNSUPPORTED where is_strict. ERR_CORRUPT,
 * ERR_NOMEM.
 */
enum err wire_read(const struct shape *shape, struct slice bytes, bool is_strict,
                   struct arena *arena, void *out);

/* ---- by hand: what has no shape ----------------------------------------------------------------- */

enum wire_type { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

size_t wire_varint_size(uint64_t value);
uint8_t *wire_put_varint(uint8_t *at, uint64_t value);
uint8_t *wire_put_fixed64(uint8_t *at, uint64_t value);

static inline uint8_t *wire_put_tag(uint8_t *at, uint32_t number, enum wire_type type)
{
    return wire_put_varint(at, (uint64_t)number << 3 | type);
}

struct wire_item {
    uint32_t number;
    enum wire_type type;
    uint64_t value;     /* of numbers */
    struct slice bytes; /* of WIRE_BYTES */
};
/* The first field of *rest, and *rest behind it; *rest is not empty. ERR_CORRUPT. */
enum err wire_next(struct slice *rest, struct wire_item *out);

#endif
