/*
 * mailbox: shard <-> shard, on bounded rings, one per direction and pair.
 *
 * Floor:  broker.
 * Thread: mailbox_post() by the sending shard, mailbox_read() by the receiving one.
 * Memory: rings are allocated when a broker is made. What does not fit into a ring waits in the
 *         sender's own overflow list, in order; while there is overflow the sender's connections
 *         that cause mail are not read, which bounds it.
 *
 * A shard that has posted wakes its sleeping receivers once, at the end of its turn.
 */
#ifndef TERN_BROKER_MAILBOX_H
#define TERN_BROKER_MAILBOX_H

#include "core/base/err.h"
#include "core/base/ring.h"
#include "core/broker/outbox.h"
#include "core/pubsub/trie.h"

#include <stdbool.h>
#include <stdint.h>

struct shard;
struct conn;
struct msg;
struct receipt;
struct passport;
struct share_mail;
struct explain_part;
struct banishment;

/* clang-format off */
#define MAIL_TABLE(X)                                                                             \
    /* kind              what it says; who owns what */                                           \
    X(MAIL_PUBLISH,      "match and deliver msg; one reference comes along")                      \
    X(MAIL_RECEIPT,      "your receipt: one shard less to wait for")                              \
    X(MAIL_CONN,         "a connection moves to you; the passport comes along")                   \
    X(MAIL_SHARE_JOIN,   "a session wants to join (or change its place in) a share group")        \
    X(MAIL_SHARE_JOINED, "it has joined; its SUBACK may leave")                                   \
    X(MAIL_SHARE_LEAVE,  "a session left a share group")                                          \
    X(MAIL_SHARE_STATE,  "a member is present or away")                                           \
    X(MAIL_SHARE_OFFER,  "deliver msg to this member; one reference comes along")                 \
    X(MAIL_SHARE_SETTLE, "a member finished a message")                                           \
    X(MAIL_SHARE_RETURN, "a member gives a message back; one reference comes along")              \
    X(MAIL_SHARE_SEND,   "an outbox has msg for a group; its name is lent until the receipt is done") \
    X(MAIL_RETAIN,       "you own msg's topic: write down what is retained; one reference comes along") \
    X(MAIL_ARRIVES,      "partitions (a, a bit each) have come to me: join their groups, and say so")  \
    X(MAIL_ARRIVED,      "so I have")                                                             \
    X(MAIL_LED,          "I lead those partitions now")                                           \
    X(MAIL_LOST,         "I lead them no more: nobody is in their groups")                        \
    X(MAIL_EXPLAIN,      "tell what you know of a client; the part to fill comes along")          \
    X(MAIL_EXPLAINED,    "the part is filled and goes back to who asked")                         \
    X(MAIL_BANISH,       "end the connections of whom a new ban concerns; the banishment comes along")
/* clang-format on */

#define MAIL_NAME(kind, what) kind,
enum mail_kind { MAIL_TABLE(MAIL_NAME) MAIL_COUNT };
#undef MAIL_NAME

struct mail {
    uint8_t kind; /* enum mail_kind */
    uint8_t from; /* shard */
    uint8_t qos;
    bool retain;
    uint32_t id;   /* Subscription Identifier */
    uint64_t a, b; /* keys of sessions and share groups */
    union {
        struct msg *msg;
        struct passport *passport;
        struct share_mail *share;      /* heap, goes to the receiver */
        struct explain_part *explain;  /* the same */
        struct banishment *banishment; /* the same */
    };
    struct receipt *receipt; /* whose shard is `from`; NULL: nobody waits */
    struct origin origin;    /* of msg */
    enum err err;
    uint32_t view; /* of the sender, see partition.h */
};
_Static_assert(sizeof(struct mail) == 64, "an item is copied in and out: keep it to a line");
_Static_assert(SHARD_COUNT_MAX <= UINT8_MAX + 1 && MAIL_COUNT <= UINT8_MAX, "from and kind");

/* The rings of all shards. NULL: memory is exhausted. */
struct mail_rings;
struct mail_rings *mail_rings_new(uint32_t shard_count);
void mail_rings_free(struct mail_rings *rings);

struct mailbox *mailbox_new(struct shard *shard, struct mail_rings *rings);

/* Overflow that was not posted is dropped with what it owns. Accepts NULL. */
void mailbox_free(struct mailbox *mailbox);

/* Post to another shard. Never fails: see overflow above. */
void mailbox_post(struct mailbox *mailbox, uint32_t target, const struct mail *mail);

/* Some target's ring is full: whoever causes more mail should wait. */
bool mailbox_is_stalled(const struct mailbox *mailbox);

/* Handle what has arrived, at most a bounded number; returns how many were handled. */
uint32_t mailbox_read(struct mailbox *mailbox, void (*handle)(struct shard *, struct mail *));

/* Post overflow again if there is room now, then wake who sleeps over new mail. */
void mailbox_flush(struct mailbox *mailbox);

/* Nothing waits for this shard to read. */
bool mailbox_is_empty(const struct mailbox *mailbox);

/* Raise the flag "I may sleep", then look whether mail came in between: false: do not sleep. */
bool mailbox_may_sleep(struct mailbox *mailbox);
void mailbox_awake(struct mailbox *mailbox);

#endif
