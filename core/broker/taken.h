/*
 * taken: which messages of the outboxes had been taken for which share groups before the restart.
 *
 * What is still in an outbox then is routed again (outbox.h), and nobody but the disk knows which
 * member of a group had it: its partition noted so, in one entry with the message.
 *
 * Floor:  broker.
 * Thread: taken_add() while shards load, all at once; taken_has() when all have.
 */
#ifndef TERN_BROKER_TAKEN_H
#define TERN_BROKER_TAKEN_H

#include "core/base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct taken;

/* NULL: memory is exhausted. */
struct taken *taken_new(uint64_t seed);
void taken_free(struct taken *taken); /* accepts NULL */

/* group: hash_bytes() of its name. A message more than once counts once. ERR_NOMEM. */
enum err taken_add(struct taken *taken, uint32_t source, uint64_t number, uint64_t group);
bool taken_has(const struct taken *taken, uint32_t source, uint64_t number, uint64_t group);

#endif
