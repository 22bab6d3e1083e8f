/*
 * link_msg: what two nodes say to each other over a link <-> bytes (proto/link.proto).
 *
 *     length4 | Packet: Hello, Welcome, Refusal, or Frame { credit, messages, packed messages }
 *
 * Floor:  cluster; pure.
 * Memory: what is decoded points into the bytes that it came from.
 *
 * A message's body is bytes: what it means is its kind's matter, and nothing in here looks inside.
 */
#ifndef TERN_CLUSTER_LINK_MSG_H
#define TERN_CLUSTER_LINK_MSG_H

#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/base/link_reason.h"
#include "core/limits.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    LINK_VERSION = 1,
    LINK_CLUSTER_BYTES = 16,
    LINK_NAME_MAX = 64,             /* of a node or a cluster */
    LINK_TEXT_MAX = 256,            /* of a refusal */
    LINK_LENGTH_BYTES = 4,          /* before a packet */
    LINK_GREETING_BYTES_MAX = 1024, /* of any packet but a frame: of who is not known yet */
    LINK_FRAME_BYTES = 256 * 1024,  /* a frame is closed when it has so much: raft does not wait */
    /* A whole MQTT packet fits into a message, with what a kind puts around it. */
    LINK_BODY_BYTES_MAX = LIMIT_PACKET_BYTES_MAX + 128 * 1024,
    LINK_PACKET_BYTES_MAX = LINK_BODY_BYTES_MAX + 2 * LINK_FRAME_BYTES,
    LINK_FRAME_HEAD_MAX = 64, /* of what stands in a frame beside its messages */
};

/*
 * Who goes first, and who is bounded by what the receiver has room for. A link is of one class of
 * streams: bulk has a stream of its own, so that nothing waits behind it.
 */
enum link_class { LINK_RAFT, LINK_CONTROL, LINK_DATA, LINK_BULK, LINK_CLASS_COUNT };

/*
 * Kinds of messages, LINK_KINDS_PER_CLASS for each class, so that the class of a kind of a later
 * version is known, too. Whoever adds a kind adds a row.
 */
enum { LINK_KINDS_PER_CLASS = 16, LINK_KIND_COUNT = LINK_KINDS_PER_CLASS * LINK_CLASS_COUNT };
enum link_kind {
    LINK_KIND_CONSENSUS = LINK_RAFT * LINK_KINDS_PER_CLASS, /* consensus_msg.h; to: its group */
    LINK_KIND_LEASE = LINK_CONTROL * LINK_KINDS_PER_CLASS,
    LINK_KIND_REGISTRY,
    LINK_KIND_ROUTES,
    LINK_KIND_RECEIPT, /* answers are not bounded by credit: else two nodes could wait for each other */
    LINK_KIND_PUBLISH = LINK_DATA * LINK_KINDS_PER_CLASS,
    LINK_KIND_CHANNEL,
    LINK_KIND_TRANSFER = LINK_BULK * LINK_KINDS_PER_CLASS,
};

static inline enum link_class link_class_of(uint32_t kind)
{
    return (enum link_class)(kind / LINK_KINDS_PER_CLASS);
}

struct link_message {
    uint32_t kind, to;
    struct slice body;
};

struct link_hello {
    uint32_t version;
    struct slice cluster; /* LINK_CLUSTER_BYTES */
    uint32_t node;
    struct slice name;
    uint32_t meant;
    uint64_t incarnation, generation;
    uint32_t shard, shard_count;
    bool is_bulk;
    uint32_t level_min, level_max;
};

struct link_welcome {
    uint32_t version;
    uint64_t incarnation;
    uint32_t shard_count, level_min, level_max;
    uint64_t window;
};

struct link_refusal {
    uint32_t reason;
    struct slice text;
};

struct link_frame {
    uint64_t credit;
    struct slice messages; /* for link_message_next(); all of them are whole */
    uint64_t unpacked_bytes;
    struct slice packed;
};

struct link_packet {
    enum link_packet_kind {
        LINK_PACKET_HELLO = 1,
        LINK_PACKET_WELCOME,
        LINK_PACKET_REFUSAL,
        LINK_PACKET_FRAME,
    } kind;
    union {
        struct link_hello hello;
        struct link_welcome welcome;
        struct link_refusal refusal;
        struct link_frame frame;
    };
};

/* ---- written ---------------------------------------------------------------------------------- */

/* Append a hello, a welcome or a refusal, with its length. ERR_NOMEM. */
enum err link_greeting_encode(const struct link_packet *packet, struct buf *out);

/* Append a message, as it stands in a frame. body at most LINK_BODY_BYTES_MAX. ERR_NOMEM. */
enum err link_message_encode(const struct link_message *message, struct buf *out);

/*
 * What stands before the messages of a frame, its length included: returns how many bytes of out.
 * messages_bytes: what link_message_encode() made; packed_bytes 0: nothing is packed. The packed
 * bytes, if any, come first behind it, then the messages.
 */
size_t link_frame_head(uint64_t credit, size_t messages_bytes, size_t unpacked_bytes,
                       size_t packed_bytes, uint8_t out[LINK_FRAME_HEAD_MAX]);

/* As lz4, at most LINK_FRAME_BYTES of messages. false: they get no shorter, by an eighth at least. */
bool link_messages_pack(struct slice messages, struct buf *out);

/* ---- read --------------------------------------------------------------------------------------- */

/*
 * The packet that bytes begin with, and with its length how many bytes it takes. ERR_MORE: it is not
 * whole. ERR_TOO_LARGE: it says to be longer than bytes_max.
 */
enum err link_packet_next(struct slice bytes, size_t bytes_max, struct slice *packet,
                          size_t *total_bytes);

/* ERR_MALFORMED: no such packet, or one with a value beyond its bound. */
enum err link_packet_decode(struct slice bytes, struct link_packet *out);

/* The first message of *messages, and *messages behind it. false: there is none, or what follows is
 * no message (which link_packet_decode() and link_messages_unpack() have excluded). */
bool link_message_next(struct slice *messages, struct link_message *out);

/* The packed messages of a frame, appended to out. ERR_MALFORMED, ERR_NOMEM. */
enum err link_messages_unpack(const struct link_frame *frame, struct buf *out);

#endif
