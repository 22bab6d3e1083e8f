/*
 * rights: the rules of a session's listener, asked for each thing it does; and every denial told.
 *
 *     publish    on_publish: a name with the mount point in front, as mosquitto has it
 *     will       at CONNECT, and once more when it is published
 *     subscribe  on_subscribe
 *     read       each message on its way out: live, retained, from the queue, sent again
 *
 * Floor:  broker.
 * Thread: the shard of the session.
 * Memory: one object per session whose listener has an acl_file; none else. Looked up anew after a
 *         reload, so what was allowed once is not allowed for ever.
 */
#ifndef TERN_BROKER_RIGHTS_H
#define TERN_BROKER_RIGHTS_H

#include "core/base/slice.h"
#include "core/pubsub/msg.h"
#include "core/session/session.h"

#include <stdbool.h>

struct conn;

/* May it publish this? Asked with the message as it will be routed. */
bool rights_may_publish(struct session *session, const struct msg *msg);

/* May it be sent this message, which one of its subscriptions brings? */
bool rights_may_read(struct session *session, const struct msg *msg);

/* The same of one that waited, or is sent again: what brought it may be gone. */
bool rights_may_still_read(struct session *session, const struct msg *msg);

/* Tell of a publish (or a will, without a connection) that was denied, and by which rule. */
void rights_denied_publish(struct session *session, const struct msg *msg, bool is_will);

/* The same of a message that was not delivered. */
void rights_denied_read(struct session *session, const struct msg *msg);

/* May it subscribe to this filter (mount point and $share left out)? A denial is told. */
bool rights_may_subscribe(struct conn *conn, struct slice filter);

/* It subscribed: what comes by this filter has to be looked at, or not. */
void rights_subscribed(struct session *session, const struct subscription *subscription);

/* Before there is a session: may this user have that will? A denial is told. topic: as published. */
bool rights_may_have_will(struct conn *conn, bool has_username, struct slice username,
                          struct slice client_id, struct slice topic);

/* Another connection, perhaps another listener: what was known of it is stale. */
void rights_forget(struct session *session);
void rights_free(struct session *session);

#endif
