#include "cluster/link_msg.h"

#include "core/base/assert.h"
#include "storage/record_wire.h"

#include <lz4.h>

/*
 * Greetings are rare: they go by tables. A frame is the hot path: its head and its messages are
 * written by hand, in the same encoding.
 */
enum { FRAME_CREDIT = 1, FRAME_MESSAGES = 2, FRAME_UNPACKED_BYTES = 3, FRAME_PACKED = 4 };
enum { MESSAGE_KIND = 1, MESSAGE_TO = 2, MESSAGE_BODY = 3 };
enum { PACKS_FROM = 256, PACKS_PART = 8 }; /* it pays from here on, and by that part at least */

/* ---- greetings ---------------------------------------------------------------------------------- */

/* clang-format off */
#define NUMBER(type, member, form_, max_) {form_, offsetof(struct type, member), 0, max_, NULL}
#define BYTES(type, member, max_)         {FIELD_BYTES, offsetof(struct type, member), 0, max_, NULL}

static const struct field hello_fields[] = {
    NUMBER(link_hello, version,     FIELD_U32, UINT32_MAX),
    BYTES (link_hello, cluster,     LINK_CLUSTER_BYTES),
    NUMBER(link_hello, node,        FIELD_U32, UINT32_MAX),
    BYTES (link_hello, name,        LINK_NAME_MAX),
    NUMBER(link_hello, meant,       FIELD_U32, UINT32_MAX),
    NUMBER(link_hello, incarnation, FIELD_U64, UINT64_MAX),
    NUMBER(link_hello, generation,  FIELD_U64, UINT64_MAX),
    NUMBER(link_hello, shard,       FIELD_U32, LIMIT_THREADS_MAX - 1),
    NUMBER(link_hello, shard_count, FIELD_U32, LIMIT_THREADS_MAX),
    NUMBER(link_hello, is_bulk,     FIELD_U8,  1),
    NUMBER(link_hello, level_min,   FIELD_U32, UINT32_MAX),
    NUMBER(link_hello, level_max,   FIELD_U32, UINT32_MAX),
};
static const struct field welcome_fields[] = {
    NUMBER(link_welcome, version,     FIELD_U32, UINT32_MAX),
    NUMBER(link_welcome, incarnation, FIELD_U64, UINT64_MAX),
    NUMBER(link_welcome, shard_count, FIELD_U32, LIMIT_THREADS_MAX),
    NUMBER(link_welcome, level_min,   FIELD_U32, UINT32_MAX),
    NUMBER(link_welcome, level_max,   FIELD_U32, UINT32_MAX),
    NUMBER(link_welcome, window,      FIELD_U64, UINT64_MAX),
};
static const struct field refusal_fields[] = {
    NUMBER(link_refusal, reason, FIELD_U32, UINT32_MAX),
    BYTES (link_refusal, text,   LINK_TEXT_MAX),
};
#define SHAPE(fields) {fields, sizeof(fields) / sizeof(fields[0])}
static const struct shape shapes[] = {
    [LINK_PACKET_HELLO]   = SHAPE(hello_fields),
    [LINK_PACKET_WELCOME] = SHAPE(welcome_fields),
    [LINK_PACKET_REFUSAL] = SHAPE(refusal_fields),
};
/* clang-format on */

static uint8_t *length_put(uint8_t *at, size_t length)
{
    for (uint32_t i = 0; i < LINK_LENGTH_BYTES; i++) {
        at[i] = (uint8_t)(length >> 8 * i);
    }
    return at + LINK_LENGTH_BYTES;
}

static size_t bytes_size(size_t count)
{
    return 1 + wire_varint_size(count) + count;
}

/* The tag and the length of a field that has bytes. */
static uint8_t *bytes_head_put(uint8_t *at, uint32_t number, size_t count)
{
    return wire_put_varint(wire_put_tag(at, number, WIRE_BYTES), count);
}

static size_t number_size(uint64_t value)
{
    return value == 0 ? 0 : 1 + wire_varint_size(value);
}

static uint8_t *number_put(uint8_t *at, uint32_t number, uint64_t value)
{
    return value == 0 ? at : wire_put_varint(wire_put_tag(at, number, WIRE_VARINT), value);
}

enum err link_greeting_encode(const struct link_packet *packet, struct buf *out)
{
    ASSERT(packet->kind >= LINK_PACKET_HELLO && packet->kind <= LINK_PACKET_REFUSAL);
    const struct shape *shape = &shapes[packet->kind];
    size_t size = wire_size(shape, &packet->hello), total = bytes_size(size);

    ASSERT(total <= LINK_GREETING_BYTES_MAX);
    TRY(buf_reserve(out, LINK_LENGTH_BYTES + total));
    uint8_t *begin = buf_tail(out), *at = length_put(begin, total);
    at = bytes_head_put(at, packet->kind, size);
    at = wire_put(shape, &packet->hello, at);
    ASSERT((size_t)(at - begin) == LINK_LENGTH_BYTES + total);
    buf_commit(out, LINK_LENGTH_BYTES + total);
    return OK;
}

/* ---- frames ------------------------------------------------------------------------------------- */

enum err link_message_encode(const struct link_message *message, struct buf *out)
{
    ASSERT(message->body.count <= LINK_BODY_BYTES_MAX);
    size_t size = number_size(message->kind) + number_size(message->to) +
                  bytes_size(message->body.count);
    size_t total = bytes_size(size);

    TRY(buf_reserve(out, total));
    uint8_t *begin = buf_tail(out), *at = bytes_head_put(begin, FRAME_MESSAGES, size);
    at = number_put(at, MESSAGE_KIND, message->kind);
    at = number_put(at, MESSAGE_TO, message->to);
    at = bytes_head_put(at, MESSAGE_BODY, message->body.count);
    if (message->body.count > 0) {
        memcpy(at, message->body.data, message->body.count);
    }
    ASSERT((size_t)(at - begin) + message->body.count == total);
    buf_commit(out, total);
    return OK;
}

size_t link_frame_head(uint64_t credit, size_t messages_bytes, size_t unpacked_bytes,
                       size_t packed_bytes, uint8_t out[LINK_FRAME_HEAD_MAX])
{
    size_t size = number_size(credit) + number_size(unpacked_bytes) +
                  (packed_bytes == 0 ? 0 : bytes_size(packed_bytes)) + messages_bytes;
    uint8_t *at = length_put(out, bytes_size(size));

    at = bytes_head_put(at, LINK_PACKET_FRAME, size);
    at = number_put(at, FRAME_CREDIT, credit);
    at = number_put(at, FRAME_UNPACKED_BYTES, unpacked_bytes);
    if (packed_bytes > 0) {
        at = bytes_head_put(at, FRAME_PACKED, packed_bytes);
    }
    ASSERT(at - out <= LINK_FRAME_HEAD_MAX);
    return (size_t)(at - out);
}

bool link_messages_pack(struct slice messages, struct buf *out)
{
    ASSERT(messages.count <= LINK_FRAME_BYTES);
    size_t bytes_max = messages.count - messages.count / PACKS_PART;

    if (messages.count < PACKS_FROM || buf_reserve(out, bytes_max) != OK) {
        return false;
    }
    int packed = LZ4_compress_default((const char *)messages.data, (char *)buf_tail(out),
                                      (int)messages.count, (int)bytes_max);
    if (packed <= 0) {
        return false; /* lz4 gives up where it gets beyond the bound */
    }
    buf_commit(out, (size_t)packed);
    return true;
}

/* ---- read ----------------------------------------------------------------------------------------- */

enum err link_packet_next(struct slice bytes, size_t bytes_max, struct slice *packet,
                          size_t *total_bytes)
{
    uint32_t length = 0;

    if (bytes.count < LINK_LENGTH_BYTES) {
        return ERR_MORE;
    }
    for (uint32_t i = 0; i < LINK_LENGTH_BYTES; i++) {
        length |= (uint32_t)bytes.data[i] << 8 * i;
    }
    if (length > bytes_max) {
        return ERR_TOO_LARGE;
    }
    if (bytes.count - LINK_LENGTH_BYTES < length) {
        return ERR_MORE;
    }
    *packet = slice_of(bytes.data + LINK_LENGTH_BYTES, length);
    *total_bytes = LINK_LENGTH_BYTES + length;
    return OK;
}

static enum err message_get(struct slice bytes, struct link_message *out)
{
    struct wire_item item;

    *out = (struct link_message){0};
    while (bytes.count > 0) {
        TRY(wire_next(&bytes, &item));
        if (item.number == MESSAGE_KIND && item.type == WIRE_VARINT) {
            out->kind = item.value > UINT32_MAX ? UINT32_MAX : (uint32_t)item.value;
        } else if (item.number == MESSAGE_TO && item.type == WIRE_VARINT) {
            out->to = item.value > UINT32_MAX ? UINT32_MAX : (uint32_t)item.value;
        } else if (item.number == MESSAGE_BODY && item.type == WIRE_BYTES) {
            out->body = item.bytes;
        }
    }
    return out->kind < LINK_KIND_COUNT && out->body.count <= LINK_BODY_BYTES_MAX ? OK : ERR_CORRUPT;
}

bool link_message_next(struct slice *messages, struct link_message *out)
{
    struct wire_item item;

    while (messages->count > 0) {
        if (wire_next(messages, &item) != OK) {
            return false;
        }
        if (item.number == FRAME_MESSAGES && item.type == WIRE_BYTES) {
            return message_get(item.bytes, out) == OK;
        }
    }
    return false;
}

/* All of a frame is looked at before any message of it counts. */
static enum err frame_get(struct slice bytes, struct link_frame *out)
{
    struct link_message message;
    struct wire_item item;

    *out = (struct link_frame){.messages = bytes};
    while (bytes.count > 0) {
        TRY(wire_next(&bytes, &item));
        if (item.number == FRAME_MESSAGES && item.type == WIRE_BYTES) {
            TRY(message_get(item.bytes, &message));
        } else if (item.number == FRAME_CREDIT && item.type == WIRE_VARINT) {
            out->credit = item.value;
        } else if (item.number == FRAME_UNPACKED_BYTES && item.type == WIRE_VARINT) {
            out->unpacked_bytes = item.value;
        } else if (item.number == FRAME_PACKED && item.type == WIRE_BYTES) {
            out->packed = item.bytes;
        }
    }
    bool is_packed = out->packed.count > 0;
    return is_packed == (out->unpacked_bytes > 0) && out->unpacked_bytes <= LINK_FRAME_BYTES
               ? OK
               : ERR_CORRUPT;
}

static enum err greeting_get(struct slice bytes, struct link_packet *out)
{
    TRY(wire_read(&shapes[out->kind], bytes, false, NULL, &out->hello));
    if (out->kind == LINK_PACKET_HELLO) {
        const struct link_hello *hello = &out->hello;
        return hello->cluster.count == LINK_CLUSTER_BYTES && hello->shard < hello->shard_count
                   ? OK
                   : ERR_CORRUPT;
    }
    return OK;
}

enum err link_packet_decode(struct slice bytes, struct link_packet *out)
{
    struct link_packet packet = {0};
    struct slice body = {0};
    struct wire_item item;

    while (bytes.count > 0) {
        if (wire_next(&bytes, &item) != OK) {
            return ERR_MALFORMED;
        }
        if (item.type == WIRE_BYTES && item.number <= LINK_PACKET_FRAME) {
            packet.kind = (enum link_packet_kind)item.number;
            body = item.bytes;
        }
    }
    if (packet.kind == 0) {
        return ERR_MALFORMED;
    }
    enum err err = packet.kind == LINK_PACKET_FRAME ? frame_get(body, &packet.frame)
                                                    : greeting_get(body, &packet);
    if (err != OK) {
        return ERR_MALFORMED;
    }
    *out = packet;
    return OK;
}

enum err link_messages_unpack(const struct link_frame *frame, struct buf *out)
{
    int wanted = (int)frame->unpacked_bytes;
    struct link_message message;

    ASSERT(frame->unpacked_bytes > 0 && frame->unpacked_bytes <= LINK_FRAME_BYTES);
    if (frame->packed.count > LINK_FRAME_BYTES) {
        return ERR_MALFORMED; /* it would not have been packed */
    }
    TRY(buf_reserve(out, (size_t)wanted));
    if (LZ4_decompress_safe((const char *)frame->packed.data, (char *)buf_tail(out),
                            (int)frame->packed.count, wanted) != wanted) {
        return ERR_MALFORMED;
    }
    struct slice rest = slice_of(buf_tail(out), (size_t)wanted);
    while (rest.count > 0) {
        if (!link_message_next(&rest, &message)) {
            return ERR_MALFORMED;
        }
    }
    buf_commit(out, (size_t)wanted);
    return OK;
}
