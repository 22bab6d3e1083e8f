/*
 * subs: the subscribers that one shard has on one leaf; private to the trie.
 *
 * Floor:  pubsub; private.
 * Thread: the shard that owns them, without locks.
 * Memory: one subscriber needs none; an array that is replaced is retired to the epoch, so that a
 *         view taken earlier in the turn can still be read.
 */
#ifndef TERN_PUBSUB_SUBS_H
#define TERN_PUBSUB_SUBS_H

#include "core/pubsub/trie.h"

struct subs {
    union {
        struct sub *one;   /* capacity 1 */
        struct sub **many; /* capacity 2 and more */
    };
    uint32_t count;
    uint8_t capacity_log2;
    uint8_t
        shard; /* in leaf->first: whose it is; set before the leaf is published, then constant */
};
_Static_assert(sizeof(struct subs) == 16, "a leaf of one shard stays within 40 bytes");
_Static_assert(SHARD_COUNT_MAX <= UINT8_MAX, "subs.shard");

struct subs_memory {
    struct epoch *epoch;
    uint32_t shard;      /* slot of the epoch */
    int64_t bytes_added; /* out: what the call took from the heap, negative: gave back */
};

/* Append; sub->index is set. ERR_NOMEM: nothing changed. */
enum err subs_add(struct subs *subs, struct subs_memory *memory, struct sub *sub);

/* Take sub out; the last one moves to its place. Memory shrinks as subscribers go. */
void subs_remove(struct subs *subs, struct subs_memory *memory, struct sub *sub);

struct leaf_view subs_view(const struct subs *subs);

#endif
