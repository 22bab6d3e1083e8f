/*
 * op: the lasting changes, listed. Whatever must survive is one of these, handed to the journal,
 * and applied when the journal says it is committed. There is no second way to change a session.
 *
 * Floor:  session.
 * Memory: an op borrows what it points to until journal_submit() returns its verdict.
 *
 * What a reply promises, and therefore when it leaves:
 *
 *   CONNACK  OP_OPEN is committed; no other connection owns the session
 *   SUBACK   every OP_SUBSCRIBE is committed and the trie shows it on every shard
 *   PUBACK   every OP_ENQUEUE and OP_RETAIN of the message is committed
 *   PUBREC   as PUBACK, and OP_SEEN is committed
 *   PUBCOMP  OP_RELEASE is committed
 *
 * A session that ends with its connection and has no will costs no op; neither does a QoS 0
 * message that is not retained.
 */
#ifndef TERN_SESSION_OP_H
#define TERN_SESSION_OP_H

#include "core/session/session.h"

/* clang-format off */
#define OP_TABLE(X)                                                                               \
    /* name           what it changes */                                                          \
    X(OP_OPEN,        "a session exists; expiry and will are set; a clean start emptied it")      \
    X(OP_CLOSE,       "the connection is gone: expiry and will delay begin to count")             \
    X(OP_END,         "the session and all it held are gone")                                     \
    X(OP_SUBSCRIBE,   "a subscription is there, or has new settings")                             \
    X(OP_UNSUBSCRIBE, "a subscription is gone")                                                   \
    X(OP_ENQUEUE,     "a message is owed to a session, or given up by its policy")                \
    X(OP_SETTLE,      "the client took over a message (PUBACK, PUBREC, PUBCOMP)")                 \
    X(OP_SEEN,        "a QoS 2 packet id of the client is taken")                                 \
    X(OP_RELEASE,     "a QoS 2 packet id of the client is free again")                            \
    X(OP_RETAIN,      "the retained message of a topic is set or cleared")                        \
    X(OP_WILL,        "the will was published or dropped")
/* clang-format on */

#define OP_NAME(name, what) name,
enum op_kind { OP_TABLE(OP_NAME) OP_COUNT };
#undef OP_NAME

struct op {
    enum op_kind kind;
    struct session *session; /* NULL for OP_RETAIN */
    union {
        struct {
            uint32_t expiry_s;
            const struct will *will; /* taken over when applied */
        } open;
        struct {
            struct slice text, share_name, filter, prefix;
            uint32_t id;
            uint8_t qos;
            bool no_local, retain_as_published;
        } subscribe;
        struct subscription *unsubscribe;
        const struct delivery *enqueue; /* taken over when applied */
        struct {
            uint16_t packet_id;
            enum inflight_event event;
            bool *send_pubrel; /* written when applied */
        } settle;
        uint16_t packet_id; /* OP_SEEN, OP_RELEASE */
        struct msg *retain;
    };
};

#endif
