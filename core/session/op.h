/*
 * op: the lasting changes, listed. Whatever must survive is one of these, handed to the journal.
 * There is no second way to change a session that outlives its connection.
 *
 * Floor:  session.
 * Memory: an op borrows what it points to until journal_log() returns.
 *
 * The shard that leads a partition decides (which sequence, which victim of a full queue) and changes
 * its own view at once; an op says what became of it. So applying one needs no decision, and is
 * nothing but writing: every replica, and every replay, comes to the same state (cluster.md 5.12).
 *
 * What a reply promises, and therefore when it leaves:
 *
 *   CONNACK   OP_OPEN is committed, or OP_END of the session before it; no other connection owns it
 *   (close)   after DISCONNECT: OP_CLOSE, OP_WILL or OP_END is committed
 *   SUBACK    every OP_SUBSCRIBE is committed and the trie shows it on every shard
 *   UNSUBACK  every OP_UNSUBSCRIBE is committed
 *   PUBACK    every OP_ENQUEUE and OP_RETAIN of the message is committed in its partition
 *   PUBREC    OP_SEEN and OP_SEND are committed in the publisher's partition; of a publisher whose
 *             session ends with its connection: as PUBACK
 *   PUBREL    OP_SETTLE to WAIT_PUBCOMP is committed: from then on the client forgets the message
 *   PUBCOMP   OP_RELEASE is committed
 *
 * A message leaves for a session that outlives its connection when its OP_ENQUEUE is committed. A
 * subscriber's PUBACK and PUBCOMP are OP_SETTLE too, but nobody waits for it: losing it means one
 * duplicate after a crash, which QoS 1 allows; so it is in no hurry (cluster/journal_raft.c).
 *
 * A session that ends with its connection and has no will costs no op; neither does a QoS 0
 * message that is not retained.
 */
#ifndef TERN_SESSION_OP_H
#define TERN_SESSION_OP_H

#include "core/base/slice.h"
#include "core/pubsub/msg.h"

#include <stdbool.h>
#include <stdint.h>

/* clang-format off */
#define OP_TABLE(X)                                                                               \
    /* name           code  what it changes */                                                    \
    X(OP_OPEN,        1,  "a session is there: who, until when, with which will")                 \
    X(OP_CLOSE,       2,  "its connection is gone: expiry and will delay begin to count")         \
    X(OP_END,         3,  "the session and all it held are gone")                                 \
    X(OP_SUBSCRIBE,   4,  "a subscription is there, or has new settings")                         \
    X(OP_UNSUBSCRIBE, 5,  "a subscription is gone")                                               \
    X(OP_ENQUEUE,     6,  "a message is owed to a session")                                       \
    X(OP_SETTLE,      7,  "a message is owed no more: taken over by the client, or given up")     \
    X(OP_SEEN,        8,  "a QoS 2 packet id of the client is taken")                             \
    X(OP_RELEASE,     9,  "a QoS 2 packet id of the client is free again")                        \
    X(OP_RETAIN,      10, "the retained message of a topic is set or cleared")                    \
    X(OP_WILL,        11, "the will is gone: published (by an OP_SEND beside it) or dropped")     \
    X(OP_SEND,        12, "a message waits in the partition's outbox for all who want it, or for one group") \
    X(OP_SENT,        13, "all who want it have it: it leaves the outbox")                        \
    X(OP_RECEIVED,    14, "messages of that outbox have come, up to that number")
/* clang-format on */

/* The codes are on disk: a row may be added, none may change. */
#define OP_NAME(name, code, what) name = code,
enum op_kind { OP_TABLE(OP_NAME) OP_KIND_END };
#undef OP_NAME

/* The will as it lasts. */
struct op_will {
    struct msg_spec message; /* topic.count 0: there is none */
    uint32_t delay_s;
    bool has_expiry;
    uint32_t expiry_s; /* counted from when it is published */
};

struct op_open {
    struct slice client_id;
    struct slice username; /* data NULL: nobody's */
    uint64_t password_stamp;
    uint32_t listener_index;
    uint32_t expiry_s; /* counted from the end of the connection; EXPIRY_NEVER */
    struct op_will will;
};

struct op_close {
    uint32_t expiry_s;      /* a DISCONNECT may have changed it */
    uint64_t sent_sequence; /* messages up to this one may have been sent: again means DUP */
};

struct op_subscribe {
    struct slice text; /* the filter as the client wrote it */
    struct slice share_name, filter;
    struct slice prefix; /* mount point: goes before filter */
    uint32_t id;         /* Subscription Identifier; 0: none */
    uint8_t qos;
    bool no_local, retain_as_published;
};

struct op_enqueue {
    const struct msg *msg; /* the same pointer in a row is written once per partition and entry */
    uint64_t sequence;     /* of the session: nothing else that is owed to it has that one */
    const uint32_t *ids;   /* Subscription Identifiers */
    uint32_t id_count;
    uint8_t qos;
    bool retain; /* the RETAIN flag to send */
    struct slice
        share_text; /* the shared subscription it came by, as in op_subscribe.text; or empty */
};

struct op_settle {
    uint64_t sequence;
    uint64_t message;    /* what journal_log() gave for its OP_ENQUEUE */
    bool awaits_pubcomp; /* the message is gone, its packet id is still taken */
};

struct op_received {
    uint32_t partition; /* whose outbox */
    uint64_t number;
    uint64_t
        group; /* that one message, for this group (its name's hash_bytes()); 0: all up to it */
    uint64_t done_below; /* only with a group: what was noted of lower numbers may be forgotten */
};

struct op {
    enum op_kind kind;
    uint32_t partition;
    uint64_t session; /* its key; 0 for OP_RETAIN, OP_SEND, OP_SENT, OP_RECEIVED */
    union {
        struct op_open open;
        struct op_close close;
        bool has_more; /* OP_END: it may have subscriptions, messages or packet ids */
        struct op_subscribe subscribe;
        struct slice unsubscribe; /* text */
        struct op_enqueue enqueue;
        struct op_settle settle;
        uint16_t packet_id;       /* OP_SEEN, OP_RELEASE */
        const struct msg *retain; /* an empty payload clears */
        struct {
            uint64_t number; /* in the outbox of the partition, from 1, growing */
            const struct msg *msg;
            struct slice group; /* "name/filter" of a shared subscription; empty: for all */
        } send;
        uint64_t sent; /* number */
        struct op_received received;
    };
};

#endif
