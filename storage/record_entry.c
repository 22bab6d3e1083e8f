/*
 * The entries of the raft log: struct op -> bytes -> struct entry_op. An entry is the concatenation of
 * its fields, so that it grows op by op and is complete at any time.
 */
#include "storage/record.h"
#include "storage/record_shapes.h"

#include <stddef.h>

/* Of Entry and Op in proto/store.proto. The number of a change is its op's code. */
enum {
    ENTRY_MESSAGE = 1,
    ENTRY_OP = 2,
    ENTRY_WALL_MS = 3,
    ENTRY_MESSAGE_FIRST = 4,
    OP_SESSION = 15
};
_Static_assert((int)OP_KIND_END == (int)OP_SESSION,
               "15 is taken by the session: the code of the next op is 16");

enum { ENTRY_SOURCE_MAX = 255, TAG_BYTES = 1, FIXED64_BYTES = 8 };

/* Rows in the order of the numbers in proto/store.proto. */
/* clang-format off */
#define AT(member) offsetof(struct entry_op, member)
#define SHAPE(name) \
    static const struct shape shape_##name = {name##_fields, sizeof(name##_fields) / sizeof(struct field)}

static const struct field close_fields[] = {
    {FIELD_U32, AT(close.expiry_s),      0, UINT32_MAX, NULL},
    {FIELD_U64, AT(close.sent_sequence), 0, UINT64_MAX, NULL},
};
static const struct field end_fields[] = {
    {FIELD_U8, AT(has_more), 0, RECORD_FLAG_MAX, NULL},
};
static const struct field unsubscribe_fields[] = {
    {FIELD_BYTES, AT(unsubscribe), 0, RECORD_TEXT_BYTES_MAX, NULL},
};
static const struct field enqueue_fields[] = {
    {FIELD_U32,   AT(enqueue.message),    0,                    UINT32_MAX,            NULL},
    {FIELD_U64,   AT(enqueue.sequence),   0,                    UINT64_MAX,            NULL},
    {FIELD_LIST,  AT(enqueue.ids),        AT(enqueue.id_count), UINT32_MAX,            NULL},
    {FIELD_U8,    AT(enqueue.qos),        0,                    RECORD_QOS_MAX,        NULL},
    {FIELD_U8,    AT(enqueue.retain),     0,                    RECORD_FLAG_MAX,       NULL},
    {FIELD_BYTES, AT(enqueue.share_text), 0,                    RECORD_TEXT_BYTES_MAX, NULL},
};
static const struct field settle_fields[] = {
    {FIELD_U64, AT(settle.sequence),       0, UINT64_MAX,      NULL},
    {FIELD_U64, AT(settle.message),        0, UINT64_MAX,      NULL},
    {FIELD_U8,  AT(settle.awaits_pubcomp), 0, RECORD_FLAG_MAX, NULL},
};
static const struct field packet_id_fields[] = {
    {FIELD_U16, AT(packet_id), 0, UINT16_MAX, NULL},
};
static const struct field retain_fields[] = {
    {FIELD_RECORD, AT(retain), 0, 0, &shape_message},
};
static const struct field send_fields[] = {
    {FIELD_U64,    AT(send.number),  0, UINT64_MAX,            NULL},
    {FIELD_RECORD, AT(send.message), 0, 0,                     &shape_message},
    {FIELD_BYTES,  AT(send.group),   0, RECORD_TEXT_BYTES_MAX, NULL},
};
static const struct field sent_fields[] = {
    {FIELD_U64, AT(sent), 0, UINT64_MAX, NULL},
};
static const struct field received_fields[] = {
    {FIELD_U32,     AT(received.partition),  0, ENTRY_SOURCE_MAX, NULL},
    {FIELD_U64,     AT(received.number),     0, UINT64_MAX,       NULL},
    {FIELD_FIXED64, AT(received.group),      0, UINT64_MAX,       NULL},
    {FIELD_U64,     AT(received.done_below), 0, UINT64_MAX,       NULL},
};
SHAPE(close);
SHAPE(end);
SHAPE(unsubscribe);
SHAPE(enqueue);
SHAPE(settle);
SHAPE(packet_id);
SHAPE(retain);
SHAPE(send);
SHAPE(sent);
SHAPE(received);
static const struct shape shape_nothing = {NULL, 0};

static const struct {
    const struct shape *shape;
    uint32_t offset;
} changes[OP_KIND_END] = {
    [OP_OPEN]        = {&shape_open,        AT(open)},
    [OP_CLOSE]       = {&shape_close,       0},
    [OP_END]         = {&shape_end,         0},
    [OP_SUBSCRIBE]   = {&shape_subscribe,   AT(subscribe)},
    [OP_UNSUBSCRIBE] = {&shape_unsubscribe, 0},
    [OP_ENQUEUE]     = {&shape_enqueue,     0},
    [OP_SETTLE]      = {&shape_settle,      0},
    [OP_SEEN]        = {&shape_packet_id,   0},
    [OP_RELEASE]     = {&shape_packet_id,   0},
    [OP_RETAIN]      = {&shape_retain,      0},
    [OP_WILL]        = {&shape_nothing,     0},
    [OP_SEND]        = {&shape_send,        0},
    [OP_SENT]        = {&shape_sent,        0},
    [OP_RECEIVED]    = {&shape_received,    0},
};
/* clang-format on */

/* ---- written -------------------------------------------------------------------------------- */

/* out: the members of its kind alone are set. */
static void change_of(const struct op *op, uint32_t message, struct entry_op *out)
{
    out->kind = op->kind;
    out->session = op->session;
    switch (op->kind) {
    case OP_OPEN:
        out->open = op->open;
        return;
    case OP_CLOSE:
        out->close = op->close;
        return;
    case OP_END:
        out->has_more = op->has_more;
        return;
    case OP_SUBSCRIBE:
        out->subscribe = op->subscribe;
        return;
    case OP_UNSUBSCRIBE:
        out->unsubscribe = op->unsubscribe;
        return;
    case OP_ENQUEUE:
        out->enqueue.message = message;
        out->enqueue.sequence = op->enqueue.sequence;
        out->enqueue.ids = op->enqueue.ids;
        out->enqueue.id_count = op->enqueue.id_count;
        out->enqueue.qos = op->enqueue.qos;
        out->enqueue.retain = op->enqueue.retain;
        out->enqueue.share_text = op->enqueue.share_text;
        return;
    case OP_SETTLE:
        out->settle = op->settle;
        return;
    case OP_SEEN:
    case OP_RELEASE:
        out->packet_id = op->packet_id;
        return;
    case OP_RETAIN:
        out->retain = record_spec_of(op->retain);
        return;
    case OP_WILL:
        return;
    case OP_SEND:
        out->send.number = op->send.number;
        out->send.message = record_spec_of(op->send.msg);
        out->send.group = op->send.group;
        return;
    case OP_SENT:
        out->sent = op->sent;
        return;
    case OP_RECEIVED:
        out->received = op->received;
        return;
    case OP_KIND_END:
        break;
    }
    ASSERT(!"an op of no kind");
}

static size_t framed_size(size_t content)
{
    return TAG_BYTES + wire_varint_size(content) + content;
}

static uint8_t *put_frame(uint8_t *at, uint32_t number, size_t content)
{
    return wire_put_varint(wire_put_tag(at, number, WIRE_BYTES), content);
}

static void keep_last(struct entry_writer *writer, const struct msg *msg)
{
    msg_unref(writer->msg_last);
    writer->msg_last = msg == NULL ? NULL : msg_ref((struct msg *)msg);
}

enum err entry_put(struct entry_writer *writer, const struct op *op, uint32_t *message_out)
{
    ASSERT(op->kind > 0 && op->kind < OP_KIND_END);
    const struct shape *shape = changes[op->kind].shape;
    bool has_message = op->kind == OP_ENQUEUE && op->enqueue.msg != writer->msg_last;
    struct msg_spec spec;
    struct entry_op change;
    size_t message_size = 0, size = 0;

    change_of(op, writer->message_count - (has_message ? 0 : 1), &change);
    const void *record = (const uint8_t *)&change + changes[op->kind].offset;
    size_t change_size = wire_size(shape, record);
    size_t op_size = framed_size(change_size) + (op->session == 0 ? 0 : TAG_BYTES + FIXED64_BYTES);
    size += framed_size(op_size);
    if (has_message) {
        spec = record_spec_of(op->enqueue.msg);
        message_size = wire_size(&shape_message, &spec);
        size += framed_size(message_size);
    }
    TRY(buf_reserve(&writer->bytes, size));

    uint8_t *at = buf_tail(&writer->bytes);
    uint8_t *end = at + size;
    if (has_message) {
        at = put_frame(at, ENTRY_MESSAGE, message_size);
        at = wire_put(&shape_message, &spec, at);
        keep_last(writer, op->enqueue.msg);
        writer->message_count++;
    }
    at = put_frame(at, ENTRY_OP, op_size);
    at = put_frame(at, (uint32_t)op->kind, change_size);
    at = wire_put(shape, record, at);
    if (op->session != 0) {
        at = wire_put_fixed64(wire_put_tag(at, OP_SESSION, WIRE_FIXED64), op->session);
    }
    ASSERT(at == end);
    buf_commit(&writer->bytes, size);
    writer->op_count++;
    if (op->kind == OP_ENQUEUE) {
        *message_out = change.enqueue.message;
    }
    return OK;
}

enum err entry_close(struct entry_writer *writer, uint64_t wall_ms, uint64_t message_first)
{
    size_t size = TAG_BYTES + wire_varint_size(wall_ms);
    size += TAG_BYTES + wire_varint_size(message_first);
    TRY(buf_reserve(&writer->bytes, size));
    uint8_t *at = buf_tail(&writer->bytes);
    at = wire_put_varint(wire_put_tag(at, ENTRY_WALL_MS, WIRE_VARINT), wall_ms);
    wire_put_varint(wire_put_tag(at, ENTRY_MESSAGE_FIRST, WIRE_VARINT), message_first);
    buf_commit(&writer->bytes, size);
    keep_last(writer, NULL);
    return OK;
}

void entry_writer_deinit(struct entry_writer *writer)
{
    keep_last(writer, NULL);
    buf_deinit(&writer->bytes);
    *writer = (struct entry_writer){.op_count = 0};
}

/* ---- read ----------------------------------------------------------------------------------- */

static enum err read_op(struct slice bytes, struct arena *arena, struct entry_op *op)
{
    *op = (struct entry_op){.session = 0};
    while (bytes.count > 0) {
        struct wire_item item;
        TRY(wire_next(&bytes, &item));
        if (item.number == OP_SESSION && item.type == WIRE_FIXED64) {
            op->session = item.value;
        } else if (item.number >= OP_KIND_END || changes[item.number].shape == NULL) {
            return ERR_UNSUPPORTED;
        } else if (item.type != WIRE_BYTES || op->kind != 0) {
            return ERR_CORRUPT; /* an op is one change */
        } else {
            op->kind = (enum op_kind)item.number;
            void *record = (uint8_t *)op + changes[op->kind].offset;
            TRY(wire_read(changes[op->kind].shape, item.bytes, true, arena, record));
        }
    }
    return op->kind == 0 ? ERR_CORRUPT : OK;
}

/* How many there are of each, so that they can lie in arrays. */
static enum err count(struct slice bytes, struct entry *entry)
{
    while (bytes.count > 0) {
        struct wire_item item;
        TRY(wire_next(&bytes, &item));
        if (item.number > ENTRY_MESSAGE_FIRST) {
            return ERR_UNSUPPORTED;
        }
        bool is_bytes = item.number <= ENTRY_OP;
        if (item.type != (is_bytes ? WIRE_BYTES : WIRE_VARINT)) {
            return ERR_CORRUPT;
        }
        entry->message_count += item.number == ENTRY_MESSAGE;
        entry->op_count += item.number == ENTRY_OP;
    }
    return OK;
}

static enum err read_fields(struct slice bytes, struct arena *arena, struct entry *entry,
                            struct msg_spec *message, struct entry_op *op)
{
    while (bytes.count > 0) {
        struct wire_item item;
        TRY(wire_next(&bytes, &item));
        switch (item.number) {
        case ENTRY_MESSAGE:
            *message = (struct msg_spec){.qos = 0};
            TRY(wire_read(&shape_message, item.bytes, true, arena, message));
            message++;
            break;
        case ENTRY_OP:
            TRY(read_op(item.bytes, arena, op));
            op++;
            break;
        case ENTRY_WALL_MS:
            entry->wall_ms = item.value;
            break;
        default:
            entry->message_first = item.value;
        }
    }
    return OK;
}

enum err entry_read(struct slice bytes, struct arena *arena, struct entry *out)
{
    struct entry entry = {.wall_ms = 0};

    TRY(count(bytes, &entry));
    struct msg_spec *messages = arena_take(arena, entry.message_count * sizeof(*messages));
    struct entry_op *ops = arena_take(arena, entry.op_count * sizeof(*ops));
    if (messages == NULL || ops == NULL) {
        return ERR_NOMEM;
    }
    TRY(read_fields(bytes, arena, &entry, messages, ops));
    for (uint32_t i = 0; i < entry.op_count; i++) {
        if (ops[i].kind == OP_ENQUEUE && ops[i].enqueue.message >= entry.message_count) {
            return ERR_CORRUPT;
        }
    }
    if (entry.message_first > UINT64_MAX - entry.message_count) {
        return ERR_CORRUPT; /* numbers end where they could not be counted on */
    }
    entry.messages = messages;
    entry.ops = ops;
    *out = entry;
    return OK;
}
