/*
 * withhold: 3.1 and 3.1.1 have no word for "no room": the acknowledgement is withheld (promise P6).
 *
 * Floor:  broker.
 * Thread: the shard of the connection.
 *
 * Such a client sends a message again when it comes again, and not before. What it had sent behind that
 * message must not be acknowledged before it [v3:MQTT-4.6.0-2] [v3:MQTT-4.6.0-3], so:
 *
 *     a PUBLISH is refused ──> no other one of QoS 1 and 2 is taken ──> there is room again: the connection
 *                              QoS 0, PUBREL, what is delivered        is ended, the client comes again
 *                              to it: all the rest goes on             and sends all of it in order
 */
#ifndef TERN_BROKER_WITHHOLD_H
#define TERN_BROKER_WITHHOLD_H

#include "core/base/err.h"
#include "core/base/list.h"

#include <stdbool.h>
#include <stdint.h>

struct conn;
struct shard;

/* What one connection needs for it. Zero-initialised, with its link initialised, nothing is withheld. */
struct withheld {
    struct list link; /* in shard->withholding */
    enum err why;     /* OK: nothing is */
    uint64_t due_ns;  /* it is not ended before */
    bool is_silent;   /* the turn of that acknowledgement has come: none leaves behind it */
};

/* A PUBLISH of this connection is refused, and why cannot be said. The first reason counts. */
void withhold_begin(struct conn *conn, enum err why);

/* OK, or why no other PUBLISH of QoS 1 and 2 is taken on it. */
enum err withhold_why(const struct conn *conn);

/* The connection is over. */
void withhold_drop(struct conn *conn);

void withhold_init(struct shard *shard);

#endif
