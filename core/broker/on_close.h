/*
 * on_close: what happens to a session when its connection ends, and how a session ends.
 *
 * Floor:  broker.
 */
#ifndef TERN_BROKER_ON_CLOSE_H
#define TERN_BROKER_ON_CLOSE_H

#include "core/base/err.h"
#include "core/session/session.h"

struct conn;
struct shard;

enum will_fate {
    WILL_PUBLISH,
    WILL_DROP,
    WILL_STAYS, /* with the session, as both are on disk: it is destroyed next */
};

/* The connection lets go of its session: expiry and will delay begin to count, or it ends. */
void session_leave(struct conn *conn, enum will_fate will);

/* The session ends, with everything it holds; a will still pending is published [MQTT-3.1.2-8]. */
void session_end(struct session *session);

/* A session for this client id, in the shard's map, away. NULL: memory is exhausted. */
struct session *session_open(struct shard *shard, struct slice client_id);

/* The same, of an earlier start: it has its key already. */
struct session *session_restore(struct shard *shard, struct slice client_id, uint64_t key);

/* Room for its will and its timers. ERR_NOMEM: nothing changed. */
enum err session_prepare_afterlife(struct session *session);

/* Its time is over: the next turn ends it, unless a CONNECT comes first. */
bool session_has_expired(const struct session *session);

/* It is taken up again: nothing runs out any more. A pending will is dropped [MQTT-3.1.3-9]. */
void session_resume(struct session *session);

/* It is away: its expiry begins to count. */
void session_wait(struct session *session);

/* Only the memory: when the broker ends, or its partition goes. */
void session_destroy(struct session *session);

#endif
