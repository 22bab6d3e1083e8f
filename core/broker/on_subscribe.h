/*
 * suback: a SUBACK that waits until every filter of its SUBSCRIBE is in force.
 *
 * Floor:  broker.
 */
#ifndef TERN_BROKER_ON_SUBSCRIBE_H
#define TERN_BROKER_ON_SUBSCRIBE_H

#include "core/base/err.h"

#include <stdint.h>

struct suback;
struct conn;
struct shard;

/* Filter number index was subscribed, or refused. Accepts NULL: nobody had asked. */
void suback_done(struct suback *suback, uint32_t index, enum err err);

/* The connection goes: what is pending will not be answered, but other shards still know of it. */
void subacks_orphan(struct conn *conn);

/* The shard ends: nobody asks for those any more. */
void subacks_free(struct shard *shard);

#endif
