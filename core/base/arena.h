/*
 * arena: scratch memory of one turn: taken piece by piece, gone all at once.
 *
 * Floor:  base.
 * Thread: the owner.
 * Memory: blocks from the heap; arena_reset() keeps the first, so a usual turn allocates nothing.
 *         Under ASan, what was taken before the reset is poisoned.
 */
#ifndef TERN_BASE_ARENA_H
#define TERN_BASE_ARENA_H

#include "core/base/slice.h"

#include <stddef.h>

struct arena;

/*
 * block_bytes: what a usual turn needs, 256 or more. bytes_max: what a turn may need at most, over
 * all blocks. NULL: memory is exhausted.
 */
struct arena *arena_new(size_t block_bytes, size_t bytes_max);
void arena_free(struct arena *arena); /* accepts NULL */

/*
 * Memory until the next arena_reset(), aligned to 16, not zeroed. bytes may be 0.
 * NULL: bytes_max is reached or memory is exhausted.
 */
void *arena_take(struct arena *arena, size_t bytes);

/* A copy of text with a NUL after it, until the next arena_reset(). NULL as above. */
char *arena_text(struct arena *arena, struct slice text);

void arena_reset(struct arena *arena);

/* Of this turn, rounded up to 16 each. */
size_t arena_taken_bytes(const struct arena *arena);

#endif
