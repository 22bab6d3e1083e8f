/*
 * trail: what happened to whom, and why: the story that `ternctl explain` tells of a client.
 *
 * Floor:  base.
 * Thread: the shard that owns it.
 * Memory: TRAIL_RECORDS fixed records, some 1.5 MiB per shard, allocated in trail_new() and touched
 *         as they fill; texts are copied and cut.
 *
 * A noisy client must not push everybody else's story out, so records are not one ring:
 *   - What repeats within TRAIL_REPEAT_MS (same client, address, what, why, topic) is counted on the
 *     record that is there; lives are told step by step, as their order is what counts.
 *   - There are three shelves: what strangers do at the door (whoever has not proved yet who it is:
 *     its address pays), the lives of clients (connected, disconnected), and what they were denied
 *     or lost. A storm in one leaves the others alone.
 *   - A shelf is made of small sets. All records that one client (at the door: one IPv4 address, one
 *     IPv6 /64) pays for lie in one set, of which it holds half at most; then its own oldest goes.
 */
#ifndef TERN_BASE_TRAIL_H
#define TERN_BASE_TRAIL_H

#include "core/base/err.h"
#include "core/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * Rows that count are values of the label `reason` of tern_dropped_total. Those from
 * TRAIL_DROP_QUEUE_FULL to TRAIL_DROP_LAST happened to a message: $SYS counts them as dropped.
 */
/* clang-format off */
#define TRAIL_TABLE(X)                                                                             \
    /* name                      as a label           counts shelf   for people                 */ \
    X(TRAIL_CONNECT_REFUSED,     "connect_refused",   true,  DOOR,   "connection refused")         \
    X(TRAIL_TLS_FAILED,          "tls_failed",        true,  DOOR,   "TLS handshake failed")       \
    X(TRAIL_BANNED,              "banned",            true,  DOOR,   "banned")                     \
    X(TRAIL_DISCONNECTED,        "disconnected",      true,  LIFE,   "disconnected")               \
    X(TRAIL_PUBLISH_REFUSED,     "publish_refused",   true,  DENIED, "publish refused")            \
    X(TRAIL_PUBLISH_DENIED,      "publish_denied",    true,  DENIED, "publish denied")             \
    X(TRAIL_SUBSCRIBE_REFUSED,   "subscribe_refused", true,  DENIED, "subscription refused")       \
    X(TRAIL_SUBSCRIBE_DENIED,    "subscribe_denied",  true,  DENIED, "subscription denied")        \
    X(TRAIL_WILL_DENIED,         "will_denied",       true,  DENIED, "will denied")                \
    X(TRAIL_DROP_QUEUE_FULL,     "queue_full",        true,  DENIED, "message dropped, queue full") \
    X(TRAIL_DROP_QUEUE_OLDEST,   "queue_full_oldest", true,  DENIED, "oldest message dropped, queue full") \
    X(TRAIL_DROP_OUTPUT_FULL,    "output_full",       true,  DENIED, "message dropped, the client reads too slowly") \
    X(TRAIL_DROP_EXPIRED,        "expired",           true,  DENIED, "message expired")            \
    X(TRAIL_DROP_TOO_LARGE,      "packet_too_large",  true,  DENIED, "message dropped, larger than the client takes") \
    X(TRAIL_DROP_OFFLINE_QOS0,   "offline_qos0",      true,  DENIED, "message of QoS 0 dropped, the client is away") \
    X(TRAIL_DROP_MEMORY,         "memory_limit",      true,  DENIED, "message dropped, memory limit") \
    X(TRAIL_DROP_MAIL_FULL,      "mail_full",         true,  DENIED, "message dropped between shards") \
    X(TRAIL_DROP_SESSION_ENDED,  "session_ended",     true,  DENIED, "message dropped, the session ended") \
    X(TRAIL_DROP_NO_MEMBER,      "shared_no_member",  true,  DENIED, "message dropped, the share has no member") \
    X(TRAIL_DROP_QOS2_STATE,     "qos2_state_full",   true,  DENIED, "message dropped, too many of QoS 2 are open") \
    X(TRAIL_DROP_RETAINED_LIMIT, "retained_limit",    true,  DENIED, "message not retained, limit reached") \
    X(TRAIL_DROP_READ_DENIED,    "read_denied",       true,  DENIED, "message not delivered, reading it is denied") \
    X(TRAIL_DROP_UNREADABLE,     "unreadable",        true,  DENIED, "message not delivered, it cannot be read from disk") \
    X(TRAIL_CONNECTED,           "connected",         false, LIFE,   "connected")                  \
    X(TRAIL_CLEAN_END,           "goodbye",           false, LIFE,   "said goodbye")               \
    X(TRAIL_SESSION_ENDED,       "session_expired",   false, LIFE,   "session ended")              \
    X(TRAIL_REAUTHENTICATED,     "reauthenticated",   false, LIFE,   "authenticated again")        \
    X(TRAIL_FLAPPING,            "flapping",          false, DENIED, "connects and goes again and again") \
    X(TRAIL_THROTTLED,           "throttled",         false, DENIED, "slowed down")                \
    X(TRAIL_WITHHELD,            "withheld",          false, DENIED, "acknowledgements withheld")
/* clang-format on */

#define TRAIL_NAME(name, label, counts, shelf, text) name,
enum trail_what { TRAIL_TABLE(TRAIL_NAME) TRAIL_COUNT };
#undef TRAIL_NAME
enum { TRAIL_DROP_LAST = TRAIL_DROP_UNREADABLE };

enum {
    TRAIL_RECORDS = 4096,
    TRAIL_REPEAT_MS = 10000,
    TRAIL_CLIENT_MAX = 64, /* a text that is cut ends in an ellipsis */
    TRAIL_USER_MAX = 32,
    TRAIL_TOPIC_MAX = 96,
    TRAIL_DETAIL_MAX = 96,
};

/* Who was at the other end; the same numbers as in a struct address of core/io/sock.h. */
struct trail_peer {
    uint8_t kind; /* enum address_kind; 0: nobody */
    uint16_t port;
    uint32_t scope_id;
    uint8_t ip[16]; /* network order; 4 bytes used for IPv4 */
};

/* What happened. All but `what` may be left out; texts are borrowed for the call. */
struct trail_event {
    enum trail_what what;
    enum err why;
    struct slice client; /* as it says it is called, at the door too */
    struct slice user;
    struct slice topic;  /* or the filter */
    struct slice detail; /* "acl.conf:12 topic deny secret/#": never a secret */
    struct trail_peer peer;
    uint16_t packet_id; /* 0: none */
    uint8_t qos;
};

struct trail_record {
    uint64_t first_ms, last_ms; /* wall clock; count: how often between */
    uint64_t sequence;          /* of the last time, to order what has the same time */
    uint32_t count;
    uint16_t what, why;
    struct trail_peer peer; /* this and what follows: of the last time */
    uint16_t packet_id;
    uint8_t qos;
    uint8_t client_bytes, user_bytes, topic_bytes, detail_bytes;
    char client[TRAIL_CLIENT_MAX], user[TRAIL_USER_MAX];
    char topic[TRAIL_TOPIC_MAX], detail[TRAIL_DETAIL_MAX];
};

struct trail;

/* seed: from chance, so that nobody outside can choose with whom he shares a set. NULL: memory. */
struct trail *trail_new(uint64_t seed);
void trail_free(struct trail *trail);

void trail_add(struct trail *trail, uint64_t wall_ms, const struct trail_event *event);

/* Of whom: a client, or else an address (of which the port does not matter). */
struct trail_query {
    struct slice client; /* whole, however long */
    struct trail_peer peer;
};

/* The last records_max of them, newest first; returns how many were written to records. */
uint32_t trail_find(const struct trail *trail, const struct trail_query *query,
                    struct trail_record *records, uint32_t records_max);

const char *trail_name(enum trail_what what); /* "queue_full" */
const char *trail_text(enum trail_what what); /* "message dropped, queue full" */
bool trail_counts(enum trail_what what);

#endif
