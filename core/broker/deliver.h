/*
 * deliver: session queue -> inflight -> connection.
 *
 * Floor:  broker.
 * Thread: the shard of the session.
 */
#ifndef TERN_BROKER_DELIVER_H
#define TERN_BROKER_DELIVER_H

#include "core/base/err.h"
#include "core/base/trail.h"
#include "core/pubsub/msg.h"
#include "core/session/session.h"

#include <stdbool.h>
#include <stdint.h>

struct shard;
struct conn;

/* A message for one session, as matching found it. */
struct offer {
    struct msg *msg;
    const uint32_t *ids; /* Subscription Identifiers */
    uint32_t id_count;
    uint64_t share; /* 0: not by a shared subscription */
    uint64_t group; /* hash_bytes() of its group's name */
    uint8_t qos;
    bool retain;
};

/*
 * The encoded packet of a QoS 0 message, made once for all receivers that get the same bytes: one
 * for 3.x, one for 5.0. Lives for one walk over the subscribers.
 */
struct frame_cache {
    struct cached_frame {
        uint8_t *bytes; /* head, and payload unless it goes by reference */
        uint32_t count;
        bool retain;
    } frames[2];
    uint8_t memory[2][192]; /* small frames need no heap */
};
void frame_cache_init(struct frame_cache *cache);
void frame_cache_deinit(struct frame_cache *cache);

/*
 * Deliver at once, or queue, or drop by policy (counted). cache may be NULL.
 * ERR_QUOTA: the session's policy refuses the publisher; ERR_NOMEM. Else OK, dropped or not.
 */
enum err deliver_offer(struct session *session, const struct offer *offer,
                       struct frame_cache *cache);

/* OP_ENQUEUE of that message was logged: it is sent when that is committed. */
void deliver_run_add(struct session *session, uint64_t sequence);

/* Send what can be sent now: resend, then queue, then retained messages still owed. */
void deliver_pump(struct session *session);

/* A new connection is there: everything in flight has to be sent again [MQTT-4.4.0-1]. */
void deliver_resume(struct session *session);

/* A delivery is over or given up: tell the share group it came by; give back what it holds. */
void deliver_settled(struct session *session, struct delivery *delivery);

/* A message for it is dropped: counted and told. */
void deliver_drop(struct session *session, enum trail_what what, enum err why,
                  const struct msg *msg);

#endif
