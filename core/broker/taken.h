/*
 * taken: which messages of the outboxes have been taken for which share groups.
 *
 * What is in an outbox is routed again after a restart, and when somebody it was for was not there
 * (outbox.h), and nobody but who took it for a group knows which member has it: its partition notes so, on
 * disk in one entry with the message, and here.
 *
 * Floor:  broker.
 * Thread: any shard; one lock inside.
 * Memory: a block for each note, until taken_forget_below(), or its partition goes.
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

/* partition: whose session has it. group: hash_bytes() of its name. A message more than once counts
 * once. ERR_NOMEM. */
enum err taken_add(struct taken *taken, uint32_t partition, uint32_t source, uint64_t number,
                   uint64_t group);
bool taken_has(struct taken *taken, uint32_t source, uint64_t number, uint64_t group);

/* Of that partition: the lower ones have left the source for good; or all, as it is led here no more. */
void taken_forget_below(struct taken *taken, uint32_t partition, uint32_t source, uint64_t number);
void taken_forget(struct taken *taken, uint32_t partition);

#endif
