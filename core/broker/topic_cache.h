/*
 * topic_cache: from a topic to the leaves it matches, so that a device that publishes to its usual
 * topic does not walk the trie.
 *
 * Entries hold while the trie's version stands. A topic has its place in one of four slots of a
 * set; the cache begins small and grows while topics in use push each other out, up to
 * TOPIC_CACHE_SETS_MAX sets (64 Ki topics, about 9 MiB).
 *
 * Floor:  broker.
 * Thread: the shard it belongs to, online in the trie's epoch.
 * Memory: a slot keeps its block from one topic to the next.
 */
#ifndef TERN_BROKER_TOPIC_CACHE_H
#define TERN_BROKER_TOPIC_CACHE_H

#include "core/pubsub/msg.h"
#include "core/pubsub/trie.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    TOPIC_CACHE_WAYS = 4,
    TOPIC_CACHE_SETS_MIN = 256,
    TOPIC_CACHE_SETS_MAX = 16384,
    TOPIC_CACHE_TOPIC_MAX = 512, /* longer ones are not kept */
};

struct topic_set;

/* Zero-initialised is empty. */
struct topic_cache {
    struct topic_set *sets; /* NULL until first used */
    uint32_t set_count;
    uint32_t pushed_out; /* entries that still held, since the last growth */
};

/* What a topic matches. Valid until the next call, and as long as the version stands. */
struct topic_match {
    struct leaf *const *leaves;
    uint32_t leaf_count;
    uint64_t shards; /* union of the leaves' bitmaps */
};

void topic_cache_deinit(struct topic_cache *cache);

/* false: not known, or not for this version. */
bool topic_cache_find(const struct topic_cache *cache, const struct msg *msg, uint64_t version,
                      struct topic_match *out);

/*
 * Remember what msg's topic matched; version was read before the match, so that a change meanwhile
 * makes the entry stale, never wrong. Without memory nothing is kept: the cache is only a shortcut.
 */
void topic_cache_put(struct topic_cache *cache, const struct msg *msg, uint64_t version,
                     const struct topic_match *match);

#endif
