/*
 * ends: sessions that have ended and are still on disk, as their OP_END is not committed yet. Whoever
 * comes by such a client id is told that there is no session when that will stay so.
 *
 * Floor:  broker.
 * Thread: the shard's.
 * Memory: one small block for each, until then. Where it lacks, nobody waits.
 */
#ifndef TERN_BROKER_ENDS_H
#define TERN_BROKER_ENDS_H

#include "core/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

struct ends;
struct shard;

/* Only where there is a journal, which it outlives. NULL: memory is exhausted. */
struct ends *ends_new(uint64_t seed);
void ends_free(struct ends *ends); /* accepts NULL */

/* OP_END of this client's session has just been logged in that partition. */
void ends_add(struct shard *shard, struct slice client_id, uint32_t partition);

/* That partition is led here no more: so it goes as it goes. Nobody waits for the journal there. */
void ends_forget(struct shard *shard, uint32_t partition);

/* Of such a client. With a fenced journal for good: the next start may find the session again. */
bool ends_has(const struct shard *shard, struct slice client_id);

#endif
