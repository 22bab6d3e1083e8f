/*
 * opening: a connection that has its session and waits until that is on disk: then CONNACK leaves.
 *
 * Floor:  broker.
 * Thread: the shard's.
 */
#ifndef TERN_BROKER_OPENING_H
#define TERN_BROKER_OPENING_H

#include "core/base/err.h"
#include "core/wire/connect.h"

#include <stdint.h>

struct conn;

/*
 * OK: it is there already. ERR_AGAIN: the connection is in CONN_COMMIT, and everything further
 * happens when it is. ERR_NOMEM, ERR_UNAVAILABLE.
 */
enum err opening_await(struct conn *conn, const struct mqtt_connack *connack, uint16_t keepalive_s);

#endif
