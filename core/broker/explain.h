/*
 * explain: a client's story, collected from the trails of all shards; and how connections tell it.
 *
 * Floor:  broker.
 * Thread: the shard whose connection or desk it is.
 */
#ifndef TERN_BROKER_EXPLAIN_H
#define TERN_BROKER_EXPLAIN_H

#include "core/base/trail.h"

struct conn;

/*
 * shard_tell() with client and peer of this connection where the event names none. Its client id is
 * known once it has a session; before that (a refused CONNECT, a will) the caller names it.
 */
void conn_tell(struct conn *conn, const struct trail_event *event);

#endif
