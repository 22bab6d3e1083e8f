/*
 * inside: a client that lives in this process comes in, by a listener without an address.
 *
 * Floor:  broker.
 * Thread: that of the shard.
 */
#ifndef TERN_BROKER_INSIDE_H
#define TERN_BROKER_INSIDE_H

#include "core/base/err.h"
#include "core/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

struct config;
struct shard;

/*
 * handle: one end of a pair (core/io/pair.h); it is the shard's from here on, also on an error. Limits
 * of connections do not concern it. ERR_SHUTDOWN: nobody is let in any more. ERR_NOMEM, ERR_LIMIT.
 */
enum err inside_enter(struct shard *shard, uint32_t listener_index, int64_t handle);

/* Is it the client id of a bridge's session? Others would get what waits in it, and are refused. */
bool inside_owns(const struct config *config, struct slice client_id);

#endif
