/*
 * Any bytes as an entry of the log, or as a record of the state: read or refused, and what was read
 * and is written again reads the same. The first byte picks which.
 */
#include "storage/record.h"
#include "tests/lib/record_random.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ARENA_BYTES = 1 << 16, ARENA_BYTES_MAX = 1 << 28 };

static struct msg *msg_of(const struct msg_spec *spec)
{
    struct msg *msg = msg_new(spec);
    ASSERT(msg != NULL);
    return msg;
}

/* ---- an entry ------------------------------------------------------------------------------- */

/* The op that comes to this; messages: of the entry. *own: to let go of. */
static struct op op_of(const struct entry_op *from, struct msg *const *messages, struct msg **own)
{
    struct op op = {.kind = from->kind, .session = from->session};
    *own = NULL;
    switch (from->kind) {
    case OP_OPEN:
        op.open = from->open;
        break;
    case OP_CLOSE:
        op.close = from->close;
        break;
    case OP_END:
        op.has_more = from->has_more;
        break;
    case OP_SUBSCRIBE:
        op.subscribe = from->subscribe;
        break;
    case OP_UNSUBSCRIBE:
        op.unsubscribe = from->unsubscribe;
        break;
    case OP_ENQUEUE:
        op.enqueue.msg = messages[from->enqueue.message];
        op.enqueue.sequence = from->enqueue.sequence;
        op.enqueue.ids = from->enqueue.ids;
        op.enqueue.id_count = from->enqueue.id_count;
        op.enqueue.qos = from->enqueue.qos;
        op.enqueue.retain = from->enqueue.retain;
        op.enqueue.share_text = from->enqueue.share_text;
        break;
    case OP_SETTLE:
        op.settle = from->settle;
        break;
    case OP_SEEN:
    case OP_RELEASE:
        op.packet_id = from->packet_id;
        break;
    case OP_RETAIN:
        op.retain = *own = msg_of(&from->retain);
        break;
    case OP_SEND:
        op.send.number = from->send.number;
        op.send.msg = *own = msg_of(&from->send.message);
        op.send.group = from->send.group;
        break;
    case OP_SENT:
        op.sent = from->sent;
        break;
    case OP_RECEIVED:
        op.received = from->received;
        break;
    default:
        ASSERT(from->kind == OP_WILL);
    }
    return op;
}

static void *take(struct arena *arena, size_t bytes)
{
    void *memory = arena_take(arena, bytes);
    ASSERT(memory != NULL);
    return memory;
}

static void check_entry(struct slice bytes, struct arena *arena)
{
    struct entry_writer writer = {.op_count = 0};
    struct entry entry, again;
    if (entry_read(bytes, arena, &entry) != OK) {
        return;
    }
    struct msg **messages = take(arena, entry.message_count * sizeof(struct msg *));
    struct msg **owned = take(arena, entry.op_count * sizeof(struct msg *));
    struct op *ops = take(arena, entry.op_count * sizeof(*ops));
    for (uint32_t i = 0; i < entry.message_count; i++) {
        messages[i] = msg_of(&entry.messages[i]);
    }
    for (uint32_t i = 0; i < entry.op_count; i++) {
        uint32_t place;
        ops[i] = op_of(&entry.ops[i], messages, &owned[i]);
        ASSERT(entry_put(&writer, &ops[i], &place) == OK);
    }
    /* A message that many name, but not in a row, is there more often now: numbers must not run out. */
    uint64_t message_first = entry.message_first / 2;
    ASSERT(entry_close(&writer, entry.wall_ms, message_first) == OK);
    ASSERT(entry_read(buf_bytes(&writer.bytes), arena, &again) == OK);
    ASSERT(again.wall_ms == entry.wall_ms && again.message_first == message_first);
    ASSERT(again.op_count == entry.op_count);
    for (uint32_t i = 0; i < entry.op_count; i++) {
        check_entry_op(&ops[i], &again, &again.ops[i]);
        msg_unref(owned[i]);
    }
    for (uint32_t i = 0; i < entry.message_count; i++) {
        msg_unref(messages[i]);
    }
    entry_writer_deinit(&writer);
}

/* ---- records -------------------------------------------------------------------------------- */

static void check_session(struct slice bytes, struct arena *arena)
{
    struct session_record a, b;
    struct buf buf = {.data = NULL};
    if (record_get_session(bytes, arena, &a) == OK) {
        ASSERT(record_put_session(&buf, &a) == OK);
        ASSERT(record_get_session(buf_bytes(&buf), arena, &b) == OK);
        check_open(&a.open, &b.open);
        ASSERT(a.is_closed == b.is_closed && a.closed_wall_ms == b.closed_wall_ms);
        ASSERT(a.opened_wall_ms == b.opened_wall_ms && a.sent_sequence == b.sent_sequence);
    }
    buf_deinit(&buf);
}

static void check_will(struct slice bytes, struct arena *arena)
{
    struct op_will a, b;
    struct buf buf = {.data = NULL};
    if (record_get_will(bytes, arena, &a) == OK) {
        ASSERT(record_put_will(&buf, &a) == OK);
        ASSERT(record_get_will(buf_bytes(&buf), arena, &b) == OK);
        check_spec(&a.message, &b.message);
        ASSERT(a.delay_s == b.delay_s && a.has_expiry == b.has_expiry && a.expiry_s == b.expiry_s);
    }
    buf_deinit(&buf);
}

static void check_subscription(struct slice bytes, struct arena *arena)
{
    struct op_subscribe a, b;
    struct buf buf = {.data = NULL};
    if (record_get_subscription(bytes, arena, &a) == OK) {
        ASSERT(record_put_subscription(&buf, &a) == OK);
        ASSERT(record_get_subscription(buf_bytes(&buf), arena, &b) == OK);
        check_subscribe(&a, &b);
    }
    buf_deinit(&buf);
}

static void check_item(struct slice bytes, struct arena *arena)
{
    struct item_record a, b;
    struct buf buf = {.data = NULL};
    if (record_get_item(bytes, arena, &a) == OK) {
        ASSERT(record_put_item(&buf, &a) == OK);
        ASSERT(record_get_item(buf_bytes(&buf), arena, &b) == OK);
        check_spec(&a.spec, &b.spec);
        check_ids(a.ids, a.id_count, b.ids, b.id_count);
        ASSERT(a.message == b.message && a.is_shared == b.is_shared && a.qos == b.qos);
        ASSERT(a.retain == b.retain && a.awaits_pubcomp == b.awaits_pubcomp);
        check_slice(a.share_text, b.share_text);
    }
    buf_deinit(&buf);
}

static void check_message(struct slice bytes, struct arena *arena)
{
    struct msg_spec a, b;
    struct buf buf = {.data = NULL};
    if (record_get_message(bytes, arena, &a) == OK) {
        ASSERT(record_put_message(&buf, &a) == OK);
        ASSERT(record_get_message(buf_bytes(&buf), arena, &b) == OK);
        check_spec(&a, &b);
    }
    buf_deinit(&buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const checks[])(struct slice bytes, struct arena * arena) = {
        check_entry, check_session, check_will, check_subscription, check_item, check_message,
    };
    if (size == 0) {
        return 0;
    }
    struct arena *arena = arena_new(ARENA_BYTES, ARENA_BYTES_MAX);
    ASSERT(arena != NULL);
    checks[data[0] % (sizeof(checks) / sizeof(checks[0]))](slice_of(data + 1, size - 1), arena);
    arena_free(arena);
    return 0;
}
