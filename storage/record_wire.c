#include "storage/record_wire.h"

#include "core/base/assert.h"

#include <endian.h>
#include <string.h>

enum { VARINT_BYTES_MAX = 10 };

/* ---- numbers -------------------------------------------------------------------------------- */

size_t wire_varint_size(uint64_t value)
{
    uint32_t bits = 64 - (uint32_t)__builtin_clzll(value | 1);
    return (bits * 9 + 64) / 64; /* bits / 7, rounded up, for 1 to 64 */
}

uint8_t *wire_put_varint(uint8_t *at, uint64_t value)
{
    while (value >= 0x80) {
        *at++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *at++ = (uint8_t)value;
    return at;
}

uint8_t *wire_put_fixed64(uint8_t *at, uint64_t value)
{
    uint64_t bytes = htole64(value);
    memcpy(at, &bytes, sizeof(bytes));
    return at + sizeof(bytes);
}

static enum err read_varint(struct slice *rest, uint64_t *out)
{
    uint64_t value = 0;
    if (rest->count > 0 && rest->data[0] < 0x80) { /* nearly every one */
        *out = rest->data[0];
        *rest = slice_skip(*rest, 1);
        return OK;
    }
    for (uint32_t i = 0; i < rest->count && i < VARINT_BYTES_MAX; i++) {
        uint8_t byte = rest->data[i];
        if (i == VARINT_BYTES_MAX - 1 && byte > 1) {
            return ERR_CORRUPT; /* more than 64 bits */
        }
        value |= (uint64_t)(byte & 0x7F) << 7 * i;
        if (byte < 0x80) {
            *rest = slice_skip(*rest, i + 1);
            *out = value;
            return OK;
        }
    }
    return ERR_CORRUPT;
}

static enum err read_fixed(struct slice *rest, uint32_t count, uint64_t *out)
{
    uint64_t bytes = 0;
    if (rest->count < count) {
        return ERR_CORRUPT;
    }
    memcpy(&bytes, rest->data, count);
    *rest = slice_skip(*rest, count);
    *out = le64toh(bytes);
    return OK;
}

static enum err read_bytes(struct slice *rest, struct slice *out)
{
    uint64_t count;
    TRY(read_varint(rest, &count));
    if (count > rest->count) {
        return ERR_CORRUPT;
    }
    *out = slice_head(*rest, (size_t)count);
    *rest = slice_skip(*rest, (size_t)count);
    return OK;
}

enum err wire_next(struct slice *rest, struct wire_item *out)
{
    uint64_t tag;
    TRY(read_varint(rest, &tag));
    if (tag >> 3 == 0 || tag > UINT32_MAX) {
        return ERR_CORRUPT;
    }
    *out = (struct wire_item){.number = (uint32_t)(tag >> 3), .type = tag & 7};
    switch (out->type) {
    case WIRE_VARINT:
        return read_varint(rest, &out->value);
    case WIRE_FIXED64:
        return read_fixed(rest, 8, &out->value);
    case WIRE_FIXED32:
        return read_fixed(rest, 4, &out->value);
    case WIRE_BYTES:
        return read_bytes(rest, &out->bytes);
    }
    return ERR_CORRUPT; /* groups, which proto3 does not have, and what is nothing */
}

/* ---- members of structs --------------------------------------------------------------------- */

/* How each form travels. */
static const enum wire_type type_of[] = {
    [FIELD_U8] = WIRE_VARINT,        [FIELD_U16] = WIRE_VARINT,      [FIELD_U32] = WIRE_VARINT,
    [FIELD_U64] = WIRE_VARINT,       [FIELD_FIXED64] = WIRE_FIXED64, [FIELD_BYTES] = WIRE_BYTES,
    [FIELD_BYTES_NONE] = WIRE_BYTES, [FIELD_JOINED] = WIRE_BYTES,    [FIELD_LIST] = WIRE_BYTES,
    [FIELD_RECORD] = WIRE_BYTES,
};

static void set_number(const struct field *field, void *member, uint64_t value)
{
    switch (field->form) {
    case FIELD_U8:
        *(uint8_t *)member = (uint8_t)value;
        return;
    case FIELD_U16:
        *(uint16_t *)member = (uint16_t)value;
        return;
    case FIELD_U32:
        *(uint32_t *)member = (uint32_t)value;
        return;
    default:
        *(uint64_t *)member = value;
        return;
    }
}

static struct slice slice_at(const void *record, uint32_t offset)
{
    return *(const struct slice *)((const uint8_t *)record + offset);
}

static const uint32_t *list_at(const struct field *field, const void *record, uint32_t *count)
{
    const uint8_t *base = record;
    *count = *(const uint32_t *)(base + field->beside);
    return *(const uint32_t *const *)(base + field->offset);
}

static size_t list_size(const struct field *field, const void *record)
{
    uint32_t count;
    const uint32_t *list = list_at(field, record, &count);
    size_t size = 0;
    for (uint32_t i = 0; i < count; i++) {
        size += wire_varint_size(list[i]);
    }
    return size;
}

/* ---- writing -------------------------------------------------------------------------------- */

/* A number as it travels, or of what has bytes how many follow its length; false: it is absent. */
static inline bool look_at(const struct field *field, const uint8_t *record, uint64_t *out)
{
    const uint8_t *member = record + field->offset;
    switch (field->form) {
    case FIELD_U8:
        *out = *member;
        return *out != 0;
    case FIELD_U16:
        *out = *(const uint16_t *)member;
        return *out != 0;
    case FIELD_U32:
        *out = *(const uint32_t *)member;
        return *out != 0;
    case FIELD_U64:
    case FIELD_FIXED64:
        *out = *(const uint64_t *)member;
        return *out != 0;
    case FIELD_BYTES:
        *out = ((const struct slice *)member)->count;
        return *out != 0;
    case FIELD_BYTES_NONE:
        *out = ((const struct slice *)member)->count;
        return ((const struct slice *)member)->data != NULL;
    case FIELD_JOINED:
        *out = ((const struct slice *)member)->count + slice_at(record, field->beside).count;
        return *out != 0;
    case FIELD_LIST:
        *out = list_size(field, record);
        return *out != 0;
    case FIELD_RECORD:
        *out = wire_size(field->shape, member);
        return *out != 0;
    }
    return false;
}

size_t wire_size(const struct shape *shape, const void *record)
{
    size_t size = 0;
    for (uint32_t i = 0; i < shape->count; i++) {
        const struct field *field = &shape->fields[i];
        uint64_t value;
        if (!look_at(field, record, &value)) {
            continue;
        }
        size += 1 + (field->form == FIELD_FIXED64 ? 8 : wire_varint_size(value));
        size += field->form >= FIELD_BYTES ? value : 0;
    }
    return size;
}

static inline uint8_t *put_slice(uint8_t *at, struct slice bytes)
{
    if (bytes.count > 0) {
        memcpy(at, bytes.data, bytes.count);
    }
    return at + bytes.count;
}

static uint8_t *put_list(const struct field *field, const void *record, uint8_t *at)
{
    uint32_t count;
    const uint32_t *list = list_at(field, record, &count);
    for (uint32_t i = 0; i < count; i++) {
        at = wire_put_varint(at, list[i]);
    }
    return at;
}

static inline uint8_t *put_content(const struct field *field, const uint8_t *record, uint8_t *at)
{
    switch (field->form) {
    case FIELD_JOINED:
        at = put_slice(at, slice_at(record, field->beside));
        return put_slice(at, slice_at(record, field->offset));
    case FIELD_LIST:
        return put_list(field, record, at);
    case FIELD_RECORD:
        return wire_put(field->shape, record + field->offset, at);
    default:
        return put_slice(at, slice_at(record, field->offset));
    }
}

uint8_t *wire_put(const struct shape *shape, const void *record, uint8_t *at)
{
    ASSERT(shape->count <= 15); /* so that a tag is one byte */
    for (uint32_t i = 0; i < shape->count; i++) {
        const struct field *field = &shape->fields[i];
        uint64_t value;
        if (!look_at(field, record, &value)) {
            continue;
        }
        *at++ = (uint8_t)((i + 1) << 3 | type_of[field->form]);
        if (field->form == FIELD_FIXED64) {
            at = wire_put_fixed64(at, value);
            continue;
        }
        at = wire_put_varint(at, value);
        if (field->form >= FIELD_BYTES) {
            at = put_content(field, record, at);
        }
    }
    return at;
}

/* ---- reading -------------------------------------------------------------------------------- */

static enum err read_list(const struct field *field, struct slice bytes, struct arena *arena,
                          uint8_t *record)
{
    const uint32_t **list_out = (const uint32_t **)(record + field->offset);
    uint32_t *count_out = (uint32_t *)(record + field->beside);
    uint64_t count = 0, value;

    for (size_t i = 0; i < bytes.count; i++) {
        count += bytes.data[i] < 0x80;
    }
    if (count > field->max || *list_out != NULL) {
        return ERR_CORRUPT; /* a list in pieces is legal, and none of ours */
    }
    uint32_t *list = arena_take(arena, (size_t)count * sizeof(*list));
    if (list == NULL) {
        return ERR_NOMEM;
    }
    for (uint64_t i = 0; i < count; i++) {
        TRY(read_varint(&bytes, &value));
        if (value > UINT32_MAX) {
            return ERR_CORRUPT;
        }
        list[i] = (uint32_t)value;
    }
    if (bytes.count > 0) {
        return ERR_CORRUPT; /* one that has no end */
    }
    *list_out = list;
    *count_out = (uint32_t)count;
    return OK;
}

static enum err read_member(const struct field *field, const struct wire_item *item, bool is_strict,
                            struct arena *arena, uint8_t *record)
{
    void *member = record + field->offset;
    if (item->type != type_of[field->form]) {
        return ERR_CORRUPT;
    }
    switch (field->form) {
    case FIELD_RECORD:
        return wire_read(field->shape, item->bytes, is_strict, arena, member);
    case FIELD_LIST:
        return read_list(field, item->bytes, arena, record);
    case FIELD_BYTES:
    case FIELD_BYTES_NONE:
    case FIELD_JOINED:
        if (item->bytes.count > field->max) {
            return ERR_CORRUPT;
        }
        *(struct slice *)member = item->bytes;
        return OK;
    default:
        if (item->value > field->max) {
            return ERR_CORRUPT;
        }
        set_number(field, member, item->value);
        return OK;
    }
}

enum err wire_read(const struct shape *shape, struct slice bytes, bool is_strict,
                   struct arena *arena, void *out)
{
    while (bytes.count > 0) {
        struct wire_item item;
        TRY(wire_next(&bytes, &item));
        if (item.number <= shape->count) {
            TRY(read_member(&shape->fields[item.number - 1], &item, is_strict, arena, out));
        } else if (is_strict) {
            return ERR_UNSUPPORTED;
        }
    }
    return OK;
}
