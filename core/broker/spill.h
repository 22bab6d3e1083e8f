/*
 * spill: of a long queue only the beginning is in memory (session/queue.h); the rest is on disk alone,
 * and is read back page by page when the client takes what comes before it.
 *
 * Floor:  broker.
 * Thread: the shard of the session.
 */
#ifndef TERN_BROKER_SPILL_H
#define TERN_BROKER_SPILL_H

#include "core/base/err.h"
#include "core/session/session.h"

#include <stdbool.h>

/* Should this message of a session that is kept wait on disk alone? What came later always does. */
bool spill_wants(const struct session *session, const struct delivery *delivery);

/* The same for one that lies there already, when the session is loaded. is_shared: it, or one that
 * comes behind it, is of a shared subscription. */
bool spill_wants_restored(const struct session *session, bool is_shared);

/* It waits there. Takes over what it holds on OK. ERR_QUOTA: the policy is to reject. */
enum err spill(struct session *session, const struct delivery *delivery,
               const struct queue_bounds *bounds);

/* The client is there and little is left in memory: read on. */
void spill_load(struct session *session);

#endif
