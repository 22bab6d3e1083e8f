#include "core/pubsub/msg.h"

#include "core/base/blocks.h"
#include "core/base/ledger.h"
#include "core/base/map.h"

#include <stdatomic.h>

/* Relaxed: who takes a reference has one already, and got the object with it. */
static void refs_take(_Atomic uint32_t *refs)
{
    uint32_t before = atomic_fetch_add_explicit(refs, 1, memory_order_relaxed);
    ASSERT(before > 0 && before < UINT32_MAX);
}

/*
 * True: that was the last one. Release pairs with acquire in whoever comes last: all that others
 * did with the object happened before it is freed. Holding the only reference nobody can take
 * another, so that the common case needs no locked instruction.
 */
static bool refs_give(_Atomic uint32_t *refs)
{
    if (atomic_load_explicit(refs, memory_order_acquire) == 1) {
        return true;
    }
    uint32_t before = atomic_fetch_sub_explicit(refs, 1, memory_order_acq_rel);
    ASSERT(before > 0);
    return before == 1;
}

struct blob *blob_new(uint32_t capacity)
{
    struct blob *blob = blocks_take(sizeof(*blob) + (size_t)capacity);
    if (blob == NULL) {
        return NULL;
    }
    atomic_init(&blob->refs, 1);
    blob->capacity = capacity;
    ledger_add(LEDGER_MESSAGES, (int64_t)sizeof(*blob) + capacity);
    return blob;
}

struct blob *blob_ref(struct blob *blob)
{
    refs_take(&blob->refs);
    return blob;
}

void blob_unref(struct blob *blob)
{
    if (blob == NULL || !refs_give(&blob->refs)) {
        return;
    }
    size_t bytes = sizeof(*blob) + (size_t)blob->capacity;
    ledger_add(LEDGER_MESSAGES, -(int64_t)bytes);
    blocks_give(blob, bytes);
}

/* Of the one allocation: header, topic, properties, and payload if it was copied. */
static size_t block_bytes(const struct msg *msg)
{
    return sizeof(*msg) + msg->topic.count + msg->props.count +
           (msg->blob == NULL ? msg->payload.count : 0);
}

static struct slice copy_to(uint8_t **at, struct slice bytes)
{
    struct slice copy = slice_of(*at, bytes.count);
    if (bytes.count > 0) {
        memcpy(*at, bytes.data, bytes.count);
    }
    *at += bytes.count;
    return copy;
}

struct msg_spec msg_spec_of(const struct msg *msg)
{
    return (struct msg_spec){.qos = msg->qos,
                             .retain = msg->retain,
                             .publisher = msg->publisher,
                             .expires_wall_ms = msg->expires_wall_ms,
                             .expiry_s = msg->expiry_s,
                             .topic = msg->topic,
                             .props = msg->props,
                             .payload = msg->payload};
}

struct msg *msg_new(const struct msg_spec *spec)
{
    size_t copied = spec->blob == NULL ? spec->payload.count : 0;
    struct msg *msg = blocks_take(sizeof(*msg) + spec->topic.count + spec->props.count + copied);
    if (msg == NULL) {
        return NULL;
    }
    uint8_t *at = (uint8_t *)(msg + 1);
    *msg = (struct msg){
        .qos = spec->qos,
        .retain = spec->retain,
        .topic_hash = hash_bytes(spec->topic),
        .publisher = spec->publisher,
        .expires_wall_ms = spec->expires_wall_ms,
        .expiry_s = spec->expiry_s,
    };
    atomic_init(&msg->refs, 1);
    msg->topic = copy_to(&at, spec->topic);
    msg->props = copy_to(&at, spec->props);
    if (spec->blob == NULL) {
        msg->payload = copy_to(&at, spec->payload);
    } else {
        const uint8_t *begin = spec->blob->bytes;
        ASSERT(spec->payload.count <= spec->blob->capacity);
        ASSERT(spec->payload.count == 0 ||
               (spec->payload.data >= begin &&
                spec->payload.data + spec->payload.count <= begin + spec->blob->capacity));
        msg->payload = spec->payload;
        msg->blob = blob_ref(spec->blob);
    }
    ledger_add(LEDGER_MESSAGES, (int64_t)block_bytes(msg));
    return msg;
}

struct msg *msg_ref(struct msg *msg)
{
    refs_take(&msg->refs);
    return msg;
}

void msg_unref(struct msg *msg)
{
    if (msg == NULL || !refs_give(&msg->refs)) {
        return;
    }
    size_t bytes = block_bytes(msg);
    ledger_add(LEDGER_MESSAGES, -(int64_t)bytes);
    blob_unref(msg->blob);
    blocks_give(msg, bytes);
}

static uint32_t weight(struct slice topic, struct slice props, struct slice payload)
{
    size_t bytes = sizeof(struct msg) + topic.count + props.count + payload.count;
    ASSERT(bytes <= UINT32_MAX); /* a packet has at most 2^28 bytes */
    return (uint32_t)bytes;
}

uint32_t msg_bytes(const struct msg *msg)
{
    return weight(msg->topic, msg->props, msg->payload);
}

uint32_t msg_spec_bytes(const struct msg_spec *spec)
{
    return weight(spec->topic, spec->props, spec->payload);
}
