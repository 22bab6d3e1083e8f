#include "cluster/mesh_msg.h"

#include "core/base/assert.h"
#include "core/limits.h"
#include "core/session/session.h"
#include "storage/record_shapes.h"

#include <stddef.h>

static const struct {
    enum err err;
    enum mesh_verdict verdict;
} verdicts[] = {
    {OK, MESH_DONE},
    {ERR_UNAVAILABLE, MESH_NOT_HERE},
    {ERR_NO_SPACE, MESH_NO_SPACE},
    {ERR_QUOTA, MESH_NO_QUOTA},
    {ERR_NOMEM, MESH_NO_MEMORY},
    {ERR_IO, MESH_REFUSED},
};
enum { VERDICT_COUNT = sizeof(verdicts) / sizeof(verdicts[0]) };

enum mesh_verdict mesh_verdict_of(enum err err)
{
    for (uint32_t i = 0; i < VERDICT_COUNT; i++) {
        if (verdicts[i].err == err) {
            return verdicts[i].verdict;
        }
    }
    return MESH_REFUSED;
}

enum err mesh_verdict_err(enum mesh_verdict verdict)
{
    for (uint32_t i = 0; i < VERDICT_COUNT; i++) {
        if (verdicts[i].verdict == verdict) {
            return verdicts[i].err;
        }
    }
    return ERR_IO;
}

/* clang-format off */
#define NUMBER(type, member, form_, max_) {form_, offsetof(struct type, member), 0, max_, NULL}
#define BYTES(type, member, max_)         {FIELD_BYTES, offsetof(struct type, member), 0, max_, NULL}
#define RECORD(type, member, shape_)      {FIELD_RECORD, offsetof(struct type, member), 0, 0, shape_}
#define SHAPE(fields) {fields, sizeof(fields) / sizeof(fields[0])}

static const struct field errand_fields[] = {
    NUMBER(mesh_errand_msg, number,           FIELD_U64, UINT64_MAX),
    NUMBER(mesh_errand_msg, partitions,       FIELD_FIXED64, UINT64_MAX),
    NUMBER(mesh_errand_msg, kind,             FIELD_U32, MESH_GROUP),
    RECORD(mesh_errand_msg, message,          &shape_message),
    BYTES (mesh_errand_msg, group,            RECORD_TEXT_BYTES_MAX),
    NUMBER(mesh_errand_msg, origin.number,    FIELD_U64, UINT64_MAX),
    NUMBER(mesh_errand_msg, origin.behind,    FIELD_U32, UINT32_MAX),
    NUMBER(mesh_errand_msg, origin.partition, FIELD_U8, PARTITION_COUNT - 1),
    NUMBER(mesh_errand_msg, origin.is_again,  FIELD_U8, 1),
    NUMBER(mesh_errand_msg, restarts,         FIELD_FIXED64, UINT64_MAX),
    NUMBER(mesh_errand_msg, open,             FIELD_U64, UINT64_MAX),
};
static const struct field answer_fields[] = {
    NUMBER(mesh_answer_msg, number,     FIELD_U64, UINT64_MAX),
    NUMBER(mesh_answer_msg, partitions, FIELD_FIXED64, UINT64_MAX),
    NUMBER(mesh_answer_msg, verdict,    FIELD_U32, MESH_VERDICT_END - 1),
    NUMBER(mesh_answer_msg, incarnation, FIELD_U64, UINT64_MAX),
};
static const struct field seen_fields[] = {
    NUMBER(mesh_seen_msg, partition, FIELD_U32, PARTITION_COUNT - 1),
    NUMBER(mesh_seen_msg, term,      FIELD_U64, UINT64_MAX),
    NUMBER(mesh_seen_msg, sequence,  FIELD_U64, UINT64_MAX),
    NUMBER(mesh_seen_msg, is_lost,   FIELD_U8,  1),
};
static const struct shape errand_shape = SHAPE(errand_fields);
static const struct shape answer_shape = SHAPE(answer_fields);
static const struct shape seen_shape = SHAPE(seen_fields);
/* clang-format on */

static enum err put(const struct shape *shape, const void *record, struct buf *out)
{
    size_t count = wire_size(shape, record);
    TRY(buf_reserve(out, count));
    uint8_t *at = buf_tail(out);
    uint8_t *end = wire_put(shape, record, at);
    ASSERT(end == at + count);
    buf_commit(out, count);
    return OK;
}

enum err mesh_errand_encode(const struct mesh_errand_msg *errand, struct buf *out)
{
    return put(&errand_shape, errand, out);
}

enum err mesh_answer_encode(const struct mesh_answer_msg *answer, struct buf *out)
{
    return put(&answer_shape, answer, out);
}

enum err mesh_seen_encode(const struct mesh_seen_msg *seen, struct buf *out)
{
    return put(&seen_shape, seen, out);
}

enum err mesh_errand_decode(struct slice bytes, struct mesh_errand_msg *out)
{
    *out = (struct mesh_errand_msg){0};
    TRY(wire_read(&errand_shape, bytes, false, NULL, out));
    bool is_group = out->kind == MESH_GROUP;
    bool is_one = out->partitions != 0 && (out->partitions & (out->partitions - 1)) == 0;
    if (out->partitions == 0 || out->message.topic.count == 0 ||
        is_group != (out->group.count > 0) || (out->kind != MESH_PUBLISH && !is_one) ||
        (out->restarts & ~out->partitions) != 0 || out->open > out->number) {
        return ERR_CORRUPT;
    }
    return OK;
}

enum err mesh_answer_decode(struct slice bytes, struct mesh_answer_msg *out)
{
    *out = (struct mesh_answer_msg){0};
    TRY(wire_read(&answer_shape, bytes, false, NULL, out));
    return out->number == 0 || out->verdict == 0 ? ERR_CORRUPT : OK;
}

enum err mesh_seen_decode(struct slice bytes, struct mesh_seen_msg *out)
{
    *out = (struct mesh_seen_msg){0};
    return wire_read(&seen_shape, bytes, false, NULL, out);
}

/* ---- routes: a list, by hand ------------------------------------------------------------------ */

enum {
    ROUTES_PARTITION = 1,
    ROUTES_TERM,
    ROUTES_SEQUENCE,
    ROUTES_PART,
    ROUTES_DIGEST,
    ROUTES_WANTED,
    ROUTES_UNWANTED,
};
enum { ROUTES_HEAD_MAX = 48, VARINT_MAX = 10 };

static uint8_t *number_put(uint8_t *at, uint32_t field, uint64_t value)
{
    return value == 0 ? at : wire_put_varint(wire_put_tag(at, field, WIRE_VARINT), value);
}

enum err mesh_routes_encode(const struct mesh_routes_msg *routes, struct buf *out)
{
    TRY(buf_reserve(out, ROUTES_HEAD_MAX));
    uint8_t *begin = buf_tail(out), *at = begin;
    at = number_put(at, ROUTES_PARTITION, routes->partition);
    at = number_put(at, ROUTES_TERM, routes->term);
    at = number_put(at, ROUTES_SEQUENCE, routes->sequence);
    at = number_put(at, ROUTES_PART, routes->part);
    at = wire_put_fixed64(wire_put_tag(at, ROUTES_DIGEST, WIRE_FIXED64), routes->digest);
    ASSERT(at <= begin + ROUTES_HEAD_MAX);
    buf_commit(out, (size_t)(at - begin));
    return OK;
}

enum err mesh_routes_add(struct slice filter, bool is_wanted, struct buf *out)
{
    TRY(buf_reserve(out, 2 * VARINT_MAX + filter.count));
    uint8_t *begin = buf_tail(out);
    uint8_t *at = wire_put_tag(begin, is_wanted ? ROUTES_WANTED : ROUTES_UNWANTED, WIRE_BYTES);
    at = wire_put_varint(at, filter.count);
    memcpy(at, filter.data, filter.count);
    buf_commit(out, (size_t)(at - begin) + filter.count);
    return OK;
}

static bool routes_take(struct mesh_routes_msg *out, const struct wire_item *item)
{
    switch (item->number) {
    case ROUTES_PARTITION:
        out->partition = (uint32_t)item->value;
        return item->value < PARTITION_COUNT;
    case ROUTES_TERM:
        out->term = item->value;
        return true;
    case ROUTES_SEQUENCE:
        out->sequence = item->value;
        return true;
    case ROUTES_PART:
        out->part = (uint32_t)item->value;
        return item->value < MESH_PART_END;
    case ROUTES_DIGEST:
        out->digest = item->value;
        return item->type == WIRE_FIXED64;
    case ROUTES_WANTED:
    case ROUTES_UNWANTED:
        return item->type == WIRE_BYTES && item->bytes.count > 0 &&
               item->bytes.count <= RECORD_TEXT_BYTES_MAX;
    default:
        return true;
    }
}

enum err mesh_routes_decode(struct slice bytes, struct mesh_routes_msg *out)
{
    struct slice rest = bytes;
    struct wire_item item;
    *out = (struct mesh_routes_msg){.filters = bytes};
    while (rest.count > 0) {
        TRY(wire_next(&rest, &item));
        bool is_bytes = item.number == ROUTES_WANTED || item.number == ROUTES_UNWANTED;
        if ((item.number <= ROUTES_UNWANTED && is_bytes != (item.type == WIRE_BYTES)) ||
            !routes_take(out, &item)) {
            return ERR_CORRUPT;
        }
    }
    return OK;
}

bool mesh_routes_next(struct slice *filters, struct slice *filter, bool *is_wanted)
{
    struct wire_item item;
    while (filters->count > 0 && wire_next(filters, &item) == OK) {
        if (item.number == ROUTES_WANTED || item.number == ROUTES_UNWANTED) {
            *filter = item.bytes;
            *is_wanted = item.number == ROUTES_WANTED;
            return true;
        }
    }
    return false;
}
