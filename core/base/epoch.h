/*
 * epoch: when may memory that a lock-free reader might still see be freed?
 *
 * Quiescent-state based reclamation (P. McKenney, J. Slingwine, "Read-Copy Update", 1998; QSBR).
 * Each *shard object* has one slot. Between turns a shard holds no pointer into shared structures:
 * it says so with epoch_quiescent(). Before it may sleep it goes offline, after it online.
 * What was unlinked is retired and freed once every online slot has been quiescent since.
 *
 * Floor:  base.
 * Thread: a slot is used by one thread at a time; epoch_retire() and epoch_collect() by the owner
 *         of that slot; threads without a slot may not read.
 * Memory: a retired item is freed by its own function, in the thread of the slot that retired it.
 */
#ifndef TERN_BASE_EPOCH_H
#define TERN_BASE_EPOCH_H

#include "core/base/err.h"

#include <stdint.h>

struct epoch;

/* slot_count readers, 1 to 256, numbered from 0; all start offline. NULL: memory is exhausted. */
struct epoch *epoch_new(uint32_t slot_count);

/* Frees everything still retired, then itself. No slot may be online. Accepts NULL. */
void epoch_free(struct epoch *epoch);

void epoch_online(struct epoch *epoch, uint32_t slot);
void epoch_offline(struct epoch *epoch, uint32_t slot);

/* "I hold no shared pointer now." Once a turn; a load and a store. */
void epoch_quiescent(struct epoch *epoch, uint32_t slot);

/*
 * Free object with free_object(object) when no reader can see it any more. The object was already
 * unlinked by a release store. Never fails, never blocks.
 */
void epoch_retire(struct epoch *epoch, uint32_t slot, void *object, void (*free_object)(void *));

/* Free what is due of this slot's retired objects; returns how many are still waiting. */
uint32_t epoch_collect(struct epoch *epoch, uint32_t slot);

#endif
