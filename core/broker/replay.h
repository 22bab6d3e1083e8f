/*
 * replay: the retained messages that a new subscription is owed, a bounded step at a time.
 *
 * Floor:  broker.
 * Memory: one cursor per filter; messages are looked up only as fast as the client takes them, so
 *         a subscription to a million retained topics costs no memory, but for a page of those that
 *         are on disk alone (recall.h), which it waits for.
 */
#ifndef TERN_BROKER_REPLAY_H
#define TERN_BROKER_REPLAY_H

#include "core/base/err.h"
#include "core/session/session.h"

struct conn;
struct shard;

/* Owe the connection what is retained under that subscription's filter. ERR_NOMEM. */
enum err replay_add(struct conn *conn, struct subscription *subscription, bool has_wildcard);

/* The subscription goes: what was still owed for it is not sent any more [MQTT-3.10.4-2]. */
void replay_cancel(struct subscription *subscription);

/* Deliver as much as the connection takes now; what is left goes on with the next turn or ack. */
void replay_pump(struct conn *conn);

/* Once a turn: connections whose lookup was cut short by the bound, not by the client. */
void replays_run(struct shard *shard);

void replays_free(struct conn *conn);

#endif
