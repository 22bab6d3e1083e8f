/*
 * give_back: what a member of a shared subscription does not finish goes to another of its group:
 * everything that still waits when the member goes, and with its session's end what is in flight at
 * QoS 1, but not at QoS 2 [MQTT-4.8.2-5]. What waits at QoS 2 and may have been sent before a crash counts
 * as in flight: with another it could come twice.
 *
 *     on disk     OP_SETTLE of what it was owed and OP_SEND for the group are in one entry of its
 *                 partition: the message lies in one place at any time, and the outbox hands it on
 *                 when that is committed, once (outbox.h)
 *     in memory   the rest, at once: QoS 0, and what a session had that ends with its connection
 *
 * What waits on disk alone (spill.h) ends with the session.
 *
 * Floor:  broker.
 * Thread: the shard of the session.
 */
#ifndef TERN_BROKER_GIVE_BACK_H
#define TERN_BROKER_GIVE_BACK_H

#include "core/session/session.h"

/*
 * What waits by that share group, or by any (0); and of a session that ends everything: what nobody
 * else is to have is dropped and counted. What goes by memory is put into rest, which is the caller's:
 * it is offered by give_back_rest() when the session has left its groups, so that others get it.
 */
void give_back_waiting(struct session *session, uint64_t share, struct deque *rest);
void give_back_all(struct session *session, struct deque *rest);

/* rest is empty afterwards. */
void give_back_rest(struct session *session, struct deque *rest);

#endif
