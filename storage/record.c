#include "storage/record.h"

#include "core/base/assert.h"
#include "core/base/map.h"
#include "storage/record_shapes.h"

#include <stddef.h>

/* Rows in the order of the numbers in proto/store.proto. */
/* clang-format off */
#define AT(member) offsetof(OF, member)
#define SHAPE(name) \
    const struct shape shape_##name = {name##_fields, sizeof(name##_fields) / sizeof(struct field)}

#define MESSAGE_ROWS(base)                                                         \
    {FIELD_BYTES,   AT(base topic),           0, RECORD_TEXT_BYTES_MAX, NULL},      \
    {FIELD_BYTES,   AT(base payload),         0, RECORD_BYTES_MAX,      NULL},      \
    {FIELD_BYTES,   AT(base props),           0, RECORD_BYTES_MAX,      NULL},      \
    {FIELD_U8,      AT(base qos),             0, RECORD_QOS_MAX,        NULL},      \
    {FIELD_U8,      AT(base retain),          0, RECORD_FLAG_MAX,       NULL},      \
    {FIELD_FIXED64, AT(base publisher),       0, UINT64_MAX,            NULL},      \
    {FIELD_U64,     AT(base expires_wall_ms), 0, UINT64_MAX,            NULL},      \
    {FIELD_U32,     AT(base expiry_s),        0, UINT32_MAX,            NULL}

#define OF struct msg_spec
static const struct field message_fields[] = {MESSAGE_ROWS()};
SHAPE(message);
#undef OF

#define OF struct outgoing_record
static const struct field outgoing_fields[] = {
    MESSAGE_ROWS(message.),
    {FIELD_BYTES, AT(group), 0, RECORD_TEXT_BYTES_MAX, NULL},
};
static SHAPE(outgoing);
#undef OF

#define OF struct op_will
static const struct field will_fields[] = {
    {FIELD_RECORD, AT(message),    0, 0,               &shape_message},
    {FIELD_U32,    AT(delay_s),    0, UINT32_MAX,      NULL},
    {FIELD_U8,     AT(has_expiry), 0, RECORD_FLAG_MAX, NULL},
    {FIELD_U32,    AT(expiry_s),   0, UINT32_MAX,      NULL},
};
SHAPE(will);
#undef OF

#define OPEN_ROWS(base)                                                            \
    {FIELD_BYTES,      AT(base client_id),      0, LIMIT_TEXT_BYTES_MAX, NULL},     \
    {FIELD_BYTES_NONE, AT(base username),       0, LIMIT_TEXT_BYTES_MAX, NULL},     \
    {FIELD_FIXED64,    AT(base password_stamp), 0, UINT64_MAX,           NULL},     \
    {FIELD_U32,        AT(base listener_index), 0, UINT32_MAX,           NULL},     \
    {FIELD_U32,        AT(base expiry_s),       0, UINT32_MAX,           NULL},     \
    {FIELD_RECORD,     AT(base will),           0, 0,                    &shape_will}

#define OF struct op_open
static const struct field open_fields[] = {OPEN_ROWS()};
SHAPE(open);
#undef OF

#define OF struct op_subscribe
static const struct field subscribe_fields[] = {
    {FIELD_BYTES,  AT(text),                0,          RECORD_TEXT_BYTES_MAX, NULL},
    {FIELD_BYTES,  AT(share_name),          0,          RECORD_TEXT_BYTES_MAX, NULL},
    {FIELD_JOINED, AT(filter),              AT(prefix), RECORD_TEXT_BYTES_MAX, NULL},
    {FIELD_U32,    AT(id),                  0,          UINT32_MAX,            NULL},
    {FIELD_U8,     AT(qos),                 0,          RECORD_QOS_MAX,        NULL},
    {FIELD_U8,     AT(no_local),            0,          RECORD_FLAG_MAX,       NULL},
    {FIELD_U8,     AT(retain_as_published), 0,          RECORD_FLAG_MAX,       NULL},
};
SHAPE(subscribe);
#undef OF

#define OF struct session_record
static const struct field session_fields[] = {
    OPEN_ROWS(open.),
    {FIELD_U64, AT(opened_wall_ms), 0, UINT64_MAX,      NULL},
    {FIELD_U8,  AT(is_closed),      0, RECORD_FLAG_MAX, NULL},
    {FIELD_U64, AT(closed_wall_ms), 0, UINT64_MAX,      NULL},
    {FIELD_U64, AT(sent_sequence),  0, UINT64_MAX,      NULL},
};
static SHAPE(session);
#undef OF

#define OF struct item_record
static const struct field item_fields[] = {
    {FIELD_U64,    AT(message),        0,            UINT64_MAX,            NULL},
    {FIELD_U8,     AT(is_shared),      0,            RECORD_FLAG_MAX,       NULL},
    {FIELD_RECORD, AT(spec),           0,            0,                     &shape_message},
    {FIELD_LIST,   AT(ids),            AT(id_count), UINT32_MAX,            NULL},
    {FIELD_U8,     AT(qos),            0,            RECORD_QOS_MAX,        NULL},
    {FIELD_U8,     AT(retain),         0,            RECORD_FLAG_MAX,       NULL},
    {FIELD_U8,     AT(awaits_pubcomp), 0,            RECORD_FLAG_MAX,       NULL},
    {FIELD_BYTES,  AT(share_text),     0,            RECORD_TEXT_BYTES_MAX, NULL},
};
static SHAPE(item);
#undef OF
/* clang-format on */

_Static_assert(sizeof(bool) == sizeof(uint8_t), "FIELD_U8 stands for both");

/* ---- what is kept --------------------------------------------------------------------------- */

static enum err put(struct buf *out, const struct shape *shape, const void *record)
{
    size_t size = wire_size(shape, record);
    TRY(buf_reserve(out, size));
    if (size > 0) {
        uint8_t *end = wire_put(shape, record, buf_tail(out));
        ASSERT(end == buf_tail(out) + size);
        buf_commit(out, size);
    }
    return OK;
}

enum err record_put_session(struct buf *out, const struct session_record *record)
{
    return put(out, &shape_session, record);
}

enum err record_put_will(struct buf *out, const struct op_will *record)
{
    return put(out, &shape_will, record);
}

enum err record_put_subscription(struct buf *out, const struct op_subscribe *record)
{
    return put(out, &shape_subscribe, record);
}

enum err record_put_item(struct buf *out, const struct item_record *record)
{
    return put(out, &shape_item, record);
}

enum err record_put_message(struct buf *out, const struct msg_spec *record)
{
    return put(out, &shape_message, record);
}

enum err record_put_outgoing(struct buf *out, const struct outgoing_record *record)
{
    return put(out, &shape_outgoing, record);
}

enum err record_get_session(struct slice bytes, struct arena *arena, struct session_record *out)
{
    struct session_record record = {.key = 0};
    TRY(wire_read(&shape_session, bytes, false, arena, &record));
    *out = record;
    return OK;
}

enum err record_get_will(struct slice bytes, struct arena *arena, struct op_will *out)
{
    struct op_will record = {.delay_s = 0};
    TRY(wire_read(&shape_will, bytes, false, arena, &record));
    *out = record;
    return OK;
}

enum err record_get_subscription(struct slice bytes, struct arena *arena, struct op_subscribe *out)
{
    struct op_subscribe record = {.id = 0};
    TRY(wire_read(&shape_subscribe, bytes, false, arena, &record));
    *out = record;
    return OK;
}

enum err record_get_item(struct slice bytes, struct arena *arena, struct item_record *out)
{
    struct item_record record = {.message = 0};
    TRY(wire_read(&shape_item, bytes, false, arena, &record));
    *out = record;
    return OK;
}

enum err record_get_message(struct slice bytes, struct arena *arena, struct msg_spec *out)
{
    struct msg_spec record = {.qos = 0};
    TRY(wire_read(&shape_message, bytes, false, arena, &record));
    *out = record;
    return OK;
}

enum err record_get_outgoing(struct slice bytes, struct arena *arena, struct outgoing_record *out)
{
    struct outgoing_record record = {.message.qos = 0};
    TRY(wire_read(&shape_outgoing, bytes, false, arena, &record));
    *out = record;
    return OK;
}

struct msg_spec record_spec_of(const struct msg *msg)
{
    return (struct msg_spec){
        .qos = msg->qos,
        .retain = msg->retain,
        .publisher = msg->publisher,
        .expires_wall_ms = msg->expires_wall_ms,
        .expiry_s = msg->expiry_s,
        .topic = msg->topic,
        .props = msg->props,
        .payload = msg->payload,
    };
}

/* ---- sums ----------------------------------------------------------------------------------- */

enum err record_seal(struct buf *buf, size_t begin)
{
    ASSERT(begin <= buf_count(buf));
    struct slice bytes = slice_skip(buf_bytes(buf), begin);
    uint64_t sum = hash_bytes(bytes);
    size_t count = bytes.count;

    TRY(buf_reserve(buf, RECORD_SUM_BYTES));
    buf_commit(buf, RECORD_SUM_BYTES);
    uint8_t *at = buf->data + buf->begin + begin;
    memmove(at + RECORD_SUM_BYTES, at, count);
    wire_put_fixed64(at, sum);
    return OK;
}

enum err record_unseal(struct slice bytes, struct slice *out)
{
    uint64_t sum = 0;
    if (bytes.count < RECORD_SUM_BYTES) {
        return ERR_CORRUPT;
    }
    for (int i = 0; i < RECORD_SUM_BYTES; i++) {
        sum |= (uint64_t)bytes.data[i] << 8 * i;
    }
    struct slice rest = slice_skip(bytes, RECORD_SUM_BYTES);
    if (hash_bytes(rest) != sum) {
        return ERR_CORRUPT;
    }
    *out = rest;
    return OK;
}
