/*
 * window: the entries of a raft log that are in memory: a run of indexes, with their bytes.
 *
 * Floor:  cluster.
 * Thread: the owner's.
 * Memory: owns the bytes (malloc'ed). A zeroed struct is an empty window that begins nowhere.
 */
#ifndef TERN_CLUSTER_WINDOW_H
#define TERN_CLUSTER_WINDOW_H

#include "cluster/consensus.h"

struct window {
    struct consensus_entry *ring;
    uint32_t capacity; /* a power of two, or 0 */
    uint32_t count;
    uint64_t first; /* index of the first entry, if there is one */
    uint64_t bytes; /* of all entries */
};

void window_deinit(struct window *window);

/* So that count more can be put without failing. ERR_NOMEM. */
enum err window_reserve(struct window *window, uint32_t count);

/* Append; takes entry->bytes. Room was reserved, and index is the one after the last, or any when
 * there is none. */
void window_put(struct window *window, uint64_t index, const struct consensus_entry *entry);

/* NULL: not here. Borrowed until the next change. */
const struct consensus_entry *window_get(const struct window *window, uint64_t index);

static inline uint64_t window_end(const struct window *window)
{
    return window->first + window->count; /* the index behind the last */
}

/* Free all entries from index on; and all up to and with index. */
void window_truncate(struct window *window, uint64_t index);
void window_cut(struct window *window, uint64_t index);

#endif
