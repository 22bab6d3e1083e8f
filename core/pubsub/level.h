/*
 * level: the words between the slashes, one after the other; private to the trie and the retained
 * messages.
 *
 * Floor: pubsub; pure.
 *
 * Levels are hashed with a seed, so that nobody outside can choose collisions. The hash is compiled
 * in (XXH_INLINE_ALL): most levels have less than 16 bytes, where the call costs more than the work.
 */
#ifndef TERN_PUBSUB_LEVEL_H
#define TERN_PUBSUB_LEVEL_H

#define XXH_INLINE_ALL
#include "core/base/slice.h"

#include <xxhash.h>

/* "a/b" gives "a" and "b"; "/" gives two empty levels; "" gives one. */
struct level_walk {
    struct slice text;
    size_t start; /* of the next level; beyond text: the walk is over */
};

static inline struct level_walk level_walk_of(struct slice text)
{
    return (struct level_walk){.text = text};
}

static inline bool level_next(struct level_walk *walk, struct slice *level)
{
    if (walk->start > walk->text.count) {
        return false;
    }
    struct slice rest = slice_skip(walk->text, walk->start);
    *level = slice_head(rest, slice_find(rest, '/'));
    walk->start += level->count + 1;
    return true;
}

static inline bool level_is(struct slice level, uint8_t byte)
{
    return level.count == 1 && level.data[0] == byte;
}

static inline uint64_t level_hash(struct slice level, uint64_t seed)
{
    return XXH3_64bits_withSeed(level.data, level.count, seed);
}

#endif
