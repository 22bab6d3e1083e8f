#include "core/broker/topic_cache.h"

#include "core/base/blocks.h"
#include "core/limits.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* What a way holds, apart from what is compared first. */
struct slot {
    struct leaf **block; /* the leaves, and behind them the topic: one line less to fetch */
    uint64_t shards;
    uint32_t leaf_count, block_bytes;
    uint32_t topic_bytes;
    uint32_t next; /* of the first slot: who is pushed out when all four ways hold */
};

/* Hashes and versions fill one line; two slots lie in one. */
struct topic_set {
    _Alignas(LIMIT_CACHE_LINE_BYTES) uint64_t hash[TOPIC_CACHE_WAYS];
    uint64_t version[TOPIC_CACHE_WAYS]; /* 0: empty */
    struct slot slots[TOPIC_CACHE_WAYS];
};
_Static_assert(offsetof(struct topic_set, slots) == LIMIT_CACHE_LINE_BYTES, "one line to look at");
_Static_assert(sizeof(struct slot) * 2 == LIMIT_CACHE_LINE_BYTES, "two slots to a line");

static uint8_t *topic_of(const struct slot *slot)
{
    return (uint8_t *)(slot->block + slot->leaf_count);
}

static struct topic_set *set_of(const struct topic_cache *cache, const struct msg *msg)
{
    return &cache->sets[msg->topic_hash % cache->set_count];
}

static void sets_free(struct topic_cache *cache)
{
    for (uint32_t i = 0; cache->sets != NULL && i < cache->set_count; i++) {
        for (uint32_t way = 0; way < TOPIC_CACHE_WAYS; way++) {
            blocks_give(cache->sets[i].slots[way].block, cache->sets[i].slots[way].block_bytes);
        }
    }
    free(cache->sets);
}

void topic_cache_deinit(struct topic_cache *cache)
{
    sets_free(cache);
    *cache = (struct topic_cache){0};
}

bool topic_cache_find(const struct topic_cache *cache, const struct msg *msg, uint64_t version,
                      struct topic_match *out)
{
    if (cache->sets == NULL) {
        return false;
    }
    const struct topic_set *set = set_of(cache, msg);
    for (uint32_t way = 0; way < TOPIC_CACHE_WAYS; way++) {
        const struct slot *slot = &set->slots[way];
        if (set->hash[way] == msg->topic_hash && set->version[way] == version &&
            slot->topic_bytes == msg->topic.count &&
            memcmp(topic_of(slot), msg->topic.data, msg->topic.count) == 0) {
            *out = (struct topic_match){slot->block, slot->leaf_count, slot->shards};
            return true;
        }
    }
    return false;
}

/* Nothing is carried over: what is still in use comes back with its next message. */
static void grow(struct topic_cache *cache)
{
    uint32_t set_count = cache->sets == NULL ? TOPIC_CACHE_SETS_MIN : cache->set_count * 4;
    struct topic_set *sets = aligned_alloc(LIMIT_CACHE_LINE_BYTES, set_count * sizeof(*sets));
    cache->pushed_out = 0;
    if (sets != NULL) {
        memset(sets, 0, set_count * sizeof(*sets));
        sets_free(cache);
        cache->sets = sets;
        cache->set_count = set_count;
    }
}

/* A way that does not hold any more, or the next in turn. */
static uint32_t way_for(struct topic_cache *cache, struct topic_set *set, uint64_t version)
{
    for (uint32_t way = 0; way < TOPIC_CACHE_WAYS; way++) {
        if (set->version[way] != version) {
            return way;
        }
    }
    cache->pushed_out++;
    return set->slots[0].next++ % TOPIC_CACHE_WAYS;
}

void topic_cache_put(struct topic_cache *cache, const struct msg *msg, uint64_t version,
                     const struct topic_match *match)
{
    size_t leaves_bytes = match->leaf_count * sizeof(struct leaf *);
    size_t bytes = leaves_bytes + msg->topic.count;
    if (cache->sets == NULL ||
        (cache->pushed_out > cache->set_count && cache->set_count < TOPIC_CACHE_SETS_MAX)) {
        grow(cache);
    }
    if (cache->sets == NULL || msg->topic.count > TOPIC_CACHE_TOPIC_MAX || bytes > UINT32_MAX) {
        return;
    }
    struct topic_set *set = set_of(cache, msg);
    uint32_t way = way_for(cache, set, version);
    struct slot *slot = &set->slots[way];
    set->version[way] = 0;
    if (bytes > slot->block_bytes) {
        struct leaf **block = blocks_take(bytes);
        if (block == NULL) {
            return;
        }
        blocks_give(slot->block, slot->block_bytes);
        slot->block = block;
        slot->block_bytes = (uint32_t)bytes;
    }
    slot->leaf_count = match->leaf_count;
    slot->topic_bytes = (uint32_t)msg->topic.count;
    if (leaves_bytes > 0) {
        memcpy(slot->block, match->leaves, leaves_bytes);
    }
    memcpy(topic_of(slot), msg->topic.data, msg->topic.count);
    slot->shards = match->shards;
    set->hash[way] = msg->topic_hash;
    set->version[way] = version;
}
