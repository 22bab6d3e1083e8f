/*
 * trail: why was this dropped, refused, closed? The last reasons, per shard, for `ternctl explain`.
 *
 * Floor:  base.
 * Thread: the shard that owns it.
 * Memory: a ring of fixed records, allocated in trail_new(); the oldest are overwritten.
 */
#ifndef TERN_BASE_TRAIL_H
#define TERN_BASE_TRAIL_H

#include "core/base/err.h"
#include "core/base/slice.h"

#include <stdint.h>

/* What happened to a message, a packet or a connection; exported as `reason` labels too. */
/* clang-format off */
#define TRAIL_TABLE(X)                                                                            \
    X(TRAIL_CONNECT_REFUSED,     "connect_refused")                                               \
    X(TRAIL_DISCONNECTED,        "disconnected")                                                  \
    X(TRAIL_PUBLISH_REFUSED,     "publish_refused")                                               \
    X(TRAIL_SUBSCRIBE_REFUSED,   "subscribe_refused")                                             \
    X(TRAIL_DROP_QUEUE_FULL,     "queue_full")                                                    \
    X(TRAIL_DROP_QUEUE_OLDEST,   "queue_full_oldest")                                             \
    X(TRAIL_DROP_OUTPUT_FULL,    "output_full")                                                   \
    X(TRAIL_DROP_EXPIRED,        "expired")                                                       \
    X(TRAIL_DROP_TOO_LARGE,      "packet_too_large")                                              \
    X(TRAIL_DROP_OFFLINE_QOS0,   "offline_qos0")                                                  \
    X(TRAIL_DROP_MEMORY,         "memory_limit")                                                  \
    X(TRAIL_DROP_MAIL_FULL,      "mail_full")                                                     \
    X(TRAIL_DROP_SESSION_ENDED,  "session_ended")                                                 \
    X(TRAIL_DROP_NO_MEMBER,      "shared_no_member")                                              \
    X(TRAIL_DROP_QOS2_STATE,     "qos2_state_full")                                               \
    X(TRAIL_DROP_RETAINED_LIMIT, "retained_limit")
/* clang-format on */

#define TRAIL_NAME(name, text) name,
enum trail_what { TRAIL_TABLE(TRAIL_NAME) TRAIL_COUNT };
#undef TRAIL_NAME

enum { TRAIL_CLIENT_MAX = 64, TRAIL_TOPIC_MAX = 64 };

struct trail_record {
    uint64_t wall_ms;
    enum trail_what what;
    enum err why;
    uint8_t client_bytes, topic_bytes; /* longer ones are cut */
    char client[TRAIL_CLIENT_MAX], topic[TRAIL_TOPIC_MAX];
};

struct trail;

struct trail *trail_new(uint32_t record_count);
void trail_free(struct trail *trail);

void trail_add(struct trail *trail, uint64_t wall_ms, enum trail_what what, enum err why,
               struct slice client, struct slice topic);

/* Newest first: index 0 is the last one added. NULL: no such record any more. */
const struct trail_record *trail_at(const struct trail *trail, uint32_t index);

const char *trail_name(enum trail_what what);

#endif
