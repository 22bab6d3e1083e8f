/*
 * machine_shared: how many items share a message, by its number: what the C keys of a partition say.
 *
 * Floor:  storage; for the machine.
 * Thread: the machine's.
 * Memory: 16 bytes a place; an eighth to three quarters of them are taken.
 */
#ifndef TERN_STORAGE_MACHINE_SHARED_H
#define TERN_STORAGE_MACHINE_SHARED_H

#include "core/base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct share {
    uint64_t number; /* 0: the place is free */
    uint32_t count;
    bool is_touched; /* free for the machine */
};

/* Open addressing, linear probing. A zeroed one is empty. */
struct shared {
    struct share *places;
    uint32_t place_count; /* a power of two, or 0 */
    uint32_t count;
};

void shared_deinit(struct shared *shared);

/* Room for so many more; gives back what is far too much. ERR_NOMEM: nothing changed. */
enum err shared_reserve(struct shared *shared, uint32_t more);

/* NULL: not there. Valid until the next add or remove. */
struct share *shared_get(const struct shared *shared, uint64_t number);

/* number is not 0 and not there, and there is room for it; its count is 0. */
struct share *shared_add(struct shared *shared, uint64_t number);

void shared_remove(struct shared *shared, struct share *share);

#endif
