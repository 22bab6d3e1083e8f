/*
 * record_random: ops and records by chance, and what is compared of them.
 *
 * Floor:  tests; for unit tests, fuzzers and benches. What differs ends the program.
 * Memory: what is made borrows from tables here, but for messages: msg_unref().
 */
#ifndef TERN_TESTS_RECORD_RANDOM_H
#define TERN_TESTS_RECORD_RANDOM_H

#include "core/base/rng.h"
#include "storage/record.h"

enum { RANDOM_IDS_MAX = 5, RANDOM_TEXTS_BYTES = 4096 };

static inline uint64_t random_number(struct rng *rng, uint64_t max)
{
    uint64_t value = rng_u64(rng) >> rng_below(rng, 64); /* of every length */
    return rng_below(rng, 4) == 0 ? 0 : value > max ? max : value;
}

static inline struct slice random_text(struct rng *rng)
{
    static uint8_t texts[RANDOM_TEXTS_BYTES];
    for (int i = 0; texts[0] == 0 && i < RANDOM_TEXTS_BYTES; i++) {
        texts[RANDOM_TEXTS_BYTES - 1 - i] = (uint8_t)(1 + i % 251);
    }
    size_t count = rng_below(rng, 3) == 0 ? rng_below(rng, 300) : rng_below(rng, 5);
    size_t at = rng_below(rng, RANDOM_TEXTS_BYTES - count);
    return slice_of(texts + at, count);
}

static inline struct msg_spec random_spec(struct rng *rng)
{
    return (struct msg_spec){
        .qos = (uint8_t)rng_below(rng, 3),
        .retain = rng_below(rng, 2),
        .publisher = rng_u64(rng),
        .expires_wall_ms = random_number(rng, UINT64_MAX),
        .expiry_s = (uint32_t)random_number(rng, UINT32_MAX),
        .topic = random_text(rng),
        .props = random_text(rng),
        .payload = random_text(rng),
    };
}

static inline struct msg *random_message(struct rng *rng)
{
    struct msg_spec made = random_spec(rng);
    struct msg *msg = msg_new(&made);
    ASSERT(msg != NULL);
    return msg;
}

static inline struct op_open random_open(struct rng *rng)
{
    struct op_open open = {
        .client_id = random_text(rng),
        .password_stamp = random_number(rng, UINT64_MAX),
        .listener_index = (uint32_t)random_number(rng, UINT32_MAX),
        .expiry_s = (uint32_t)random_number(rng, UINT32_MAX),
    };
    if (rng_below(rng, 2) == 0) {
        open.username = slice_of("name", rng_below(rng, 5)); /* an empty one is one */
    }
    if (rng_below(rng, 2) == 0) {
        open.will = (struct op_will){
            .message = random_spec(rng),
            .delay_s = (uint32_t)random_number(rng, UINT32_MAX),
            .has_expiry = rng_below(rng, 2),
            .expiry_s = (uint32_t)random_number(rng, UINT32_MAX),
        };
    }
    return open;
}

static inline struct op_subscribe random_subscribe(struct rng *rng)
{
    return (struct op_subscribe){
        .text = random_text(rng),
        .share_name = random_text(rng),
        .filter = random_text(rng),
        .prefix = random_text(rng),
        .id = (uint32_t)random_number(rng, UINT32_MAX),
        .qos = (uint8_t)rng_below(rng, 3),
        .no_local = rng_below(rng, 2),
        .retain_as_published = rng_below(rng, 2),
    };
}

/* An op of that kind; of those with a message it is msg. */
static inline struct op random_op(struct rng *rng, enum op_kind kind, struct msg *msg,
                                  uint32_t *ids)
{
    struct op op = {.kind = kind, .session = random_number(rng, UINT64_MAX)};
    for (int i = 0; i < RANDOM_IDS_MAX; i++) {
        ids[i] = (uint32_t)random_number(rng, UINT32_MAX);
    }
    switch (kind) {
    case OP_OPEN:
        op.open = random_open(rng);
        return op;
    case OP_CLOSE:
        op.close.expiry_s = (uint32_t)random_number(rng, UINT32_MAX);
        op.close.sent_sequence = random_number(rng, UINT64_MAX);
        return op;
    case OP_END:
        op.has_more = rng_below(rng, 2);
        return op;
    case OP_SUBSCRIBE:
        op.subscribe = random_subscribe(rng);
        return op;
    case OP_UNSUBSCRIBE:
        op.unsubscribe = random_text(rng);
        return op;
    case OP_ENQUEUE:
        op.enqueue.msg = msg;
        op.enqueue.sequence = random_number(rng, UINT64_MAX);
        op.enqueue.ids = ids;
        op.enqueue.id_count = (uint32_t)rng_below(rng, RANDOM_IDS_MAX + 1);
        op.enqueue.qos = (uint8_t)rng_below(rng, 3);
        op.enqueue.retain = rng_below(rng, 2);
        op.enqueue.share_text = random_text(rng);
        return op;
    case OP_SETTLE:
        op.settle.sequence = random_number(rng, UINT64_MAX);
        op.settle.message = random_number(rng, UINT64_MAX);
        op.settle.awaits_pubcomp = rng_below(rng, 2);
        return op;
    case OP_SEEN:
    case OP_RELEASE:
        op.packet_id = (uint16_t)random_number(rng, UINT16_MAX);
        return op;
    case OP_RETAIN:
        op.retain = msg;
        return op;
    case OP_SEND:
        op.send.number = random_number(rng, UINT64_MAX);
        op.send.msg = msg;
        op.send.group = rng_below(rng, 2) == 0 ? slice_of(NULL, 0) : slice_text("name/filter");
        return op;
    case OP_SENT:
        op.sent = random_number(rng, UINT64_MAX);
        return op;
    case OP_RECEIVED:
        op.received.partition = (uint32_t)rng_below(rng, 256);
        op.received.number = random_number(rng, UINT64_MAX);
        op.received.group = random_number(rng, UINT64_MAX);
        op.received.done_below = random_number(rng, UINT64_MAX);
        return op;
    default:
        return op;
    }
}

/* ---- compared ------------------------------------------------------------------------------- */

static inline void check_slice(struct slice a, struct slice b)
{
    ASSERT(slice_equal(a, b));
}

static inline void check_spec(const struct msg_spec *a, const struct msg_spec *b)
{
    ASSERT(a->qos == b->qos);
    ASSERT(a->retain == b->retain);
    ASSERT(a->publisher == b->publisher);
    ASSERT(a->expires_wall_ms == b->expires_wall_ms);
    ASSERT(a->expiry_s == b->expiry_s);
    check_slice(a->topic, b->topic);
    check_slice(a->props, b->props);
    check_slice(a->payload, b->payload);
}

static inline void check_msg(const struct msg *msg, const struct msg_spec *b)
{
    struct msg_spec a = record_spec_of(msg);
    check_spec(&a, b);
}

static inline void check_open(const struct op_open *a, const struct op_open *b)
{
    check_slice(a->client_id, b->client_id);
    check_slice(a->username, b->username);
    ASSERT((a->username.data == NULL) == (b->username.data == NULL));
    ASSERT(a->password_stamp == b->password_stamp);
    ASSERT(a->listener_index == b->listener_index);
    ASSERT(a->expiry_s == b->expiry_s);
    check_spec(&a->will.message, &b->will.message);
    ASSERT(a->will.delay_s == b->will.delay_s);
    ASSERT(a->will.has_expiry == b->will.has_expiry);
    ASSERT(a->will.expiry_s == b->will.expiry_s);
}

/* a as written, b as read: there the prefix stands in the filter. */
static inline void check_subscribe(const struct op_subscribe *a, const struct op_subscribe *b)
{
    check_slice(a->text, b->text);
    check_slice(a->share_name, b->share_name);
    ASSERT(b->prefix.count == 0);
    ASSERT(a->prefix.count + a->filter.count == b->filter.count);
    check_slice(a->prefix, slice_head(b->filter, a->prefix.count));
    check_slice(a->filter, slice_skip(b->filter, a->prefix.count));
    ASSERT(a->id == b->id);
    ASSERT(a->qos == b->qos);
    ASSERT(a->no_local == b->no_local);
    ASSERT(a->retain_as_published == b->retain_as_published);
}

static inline void check_ids(const uint32_t *a, uint32_t a_count, const uint32_t *b,
                             uint32_t b_count)
{
    ASSERT(a_count == b_count);
    for (uint32_t i = 0; i < a_count; i++) {
        ASSERT(a[i] == b[i]);
    }
}

/* a as put, b as read from that entry. */
static inline void check_entry_op(const struct op *a, const struct entry *entry,
                                  const struct entry_op *b)
{
    ASSERT(a->kind == b->kind && a->session == b->session);
    switch (a->kind) {
    case OP_OPEN:
        check_open(&a->open, &b->open);
        break;
    case OP_CLOSE:
        ASSERT(a->close.expiry_s == b->close.expiry_s);
        ASSERT(a->close.sent_sequence == b->close.sent_sequence);
        break;
    case OP_END:
        ASSERT(a->has_more == b->has_more);
        break;
    case OP_SUBSCRIBE:
        check_subscribe(&a->subscribe, &b->subscribe);
        break;
    case OP_UNSUBSCRIBE:
        check_slice(a->unsubscribe, b->unsubscribe);
        break;
    case OP_ENQUEUE:
        check_msg(a->enqueue.msg, &entry->messages[b->enqueue.message]);
        check_ids(a->enqueue.ids, a->enqueue.id_count, b->enqueue.ids, b->enqueue.id_count);
        ASSERT(a->enqueue.sequence == b->enqueue.sequence && a->enqueue.qos == b->enqueue.qos);
        ASSERT(a->enqueue.retain == b->enqueue.retain);
        check_slice(a->enqueue.share_text, b->enqueue.share_text);
        break;
    case OP_SETTLE:
        ASSERT(a->settle.sequence == b->settle.sequence);
        ASSERT(a->settle.message == b->settle.message);
        ASSERT(a->settle.awaits_pubcomp == b->settle.awaits_pubcomp);
        break;
    case OP_SEEN:
    case OP_RELEASE:
        ASSERT(a->packet_id == b->packet_id);
        break;
    case OP_RETAIN:
        check_msg(a->retain, &b->retain);
        break;
    case OP_SEND:
        ASSERT(a->send.number == b->send.number);
        check_msg(a->send.msg, &b->send.message);
        ASSERT(slice_equal(a->send.group, b->send.group));
        break;
    case OP_SENT:
        ASSERT(a->sent == b->sent);
        break;
    case OP_RECEIVED:
        ASSERT(a->received.partition == b->received.partition);
        ASSERT(a->received.number == b->received.number);
        ASSERT(a->received.group == b->received.group);
        ASSERT(a->received.done_below == b->received.done_below);
        break;
    default:
        ASSERT(a->kind == OP_WILL);
    }
}

#endif
