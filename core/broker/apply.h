/*
 * apply: the only place where what lasts of a session changes: its view in memory at once, and for a
 * session that outlives its connection the journal beside it (core/session/op.h).
 *
 * Floor:  broker.
 * Thread: the shard of the session.
 *
 * An error means that nothing has changed: ERR_NOMEM, or what journal_admit() says. What is told to
 * others about a change waits until it is committed: shard->touched gathers the partitions in which
 * something was logged.
 */
#ifndef TERN_BROKER_APPLY_H
#define TERN_BROKER_APPLY_H

#include "core/base/err.h"
#include "core/session/op.h"
#include "core/session/session.h"

struct shard;

/* May something of this session change now that lasts? */
enum err apply_admit(const struct session *session);

/*
 * Session and will as a CONNECT wants them; user, listener and password stamp stand in the session
 * already. Takes over what the will holds on OK. ERR_NOMEM and what apply_admit() says.
 */
enum err apply_open(struct session *session, uint32_t expiry_s, struct will *will);

/* The connection is gone; expiry_s and will stand in the session. */
void apply_close(struct session *session);

/* The session is gone; its memory is still there. */
void apply_end(struct session *session);

/* Subscribe, or change the settings; *out is the subscription. text and so on as in op.h. */
enum err apply_subscribe(struct session *session, const struct op_subscribe *wanted,
                         struct subscription **out);
/* On a full disk, too, as everything that makes room: it is told when there is space. */
enum err apply_unsubscribe(struct subscription *subscription);

/* The same as it comes from the disk, where it is already; prefix is empty. */
enum err apply_subscription_restore(struct session *session, const struct op_subscribe *record,
                                    struct subscription **out);

/* This delivery, just put into the session's queue or window, is owed to it. */
void apply_enqueue(struct session *session, struct delivery *delivery);

/* A delivery with a sequence is owed no more. Called by deliver_settled() alone. */
void apply_settled(struct session *session, const struct delivery *delivery);

/* The client answered, see inflight_ack(). What is over is given back. */
enum err apply_ack(struct session *session, uint16_t packet_id, enum inflight_event event,
                   bool *send_pubrel);

/* A QoS 2 packet id of the client is taken (ERR_EXISTS: it was), or free again. */
enum err apply_seen(struct session *session, uint16_t packet_id);
void apply_release(struct session *session, uint16_t packet_id);

/* The will is gone from the session; what it held goes to the caller. */
struct will apply_will(struct session *session);

#endif
