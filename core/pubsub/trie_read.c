/*
 * Reading the trie: no locks, no stores.
 *
 * A match goes down level by level with all nodes that fit so far (the frontier), so that a level
 * is hashed once and the depth of a topic costs no stack. Each node gives at most two nodes of the
 * next level, the literal child and "+", and the leaf of "#".
 */
#include "core/pubsub/trie_node.h"

#include <stdlib.h>

static enum err leaf_set_add(struct leaf_set *set, struct leaf *leaf)
{
    if (set->count == set->capacity) {
        uint32_t capacity = set->capacity == 0 ? 16 : set->capacity * 2;
        struct leaf **leaves = realloc(set->leaves, capacity * sizeof(leaves[0]));
        if (leaves == NULL) {
            return ERR_NOMEM;
        }
        set->leaves = leaves;
        set->capacity = capacity;
    }
    set->leaves[set->count++] = leaf;
    return OK;
}

void leaf_set_deinit(struct leaf_set *set)
{
    free(set->leaves);
    free(set->frontier[0]);
    free(set->frontier[1]);
    *set = (struct leaf_set){0};
}

static enum err frontier_reserve(struct leaf_set *set, uint32_t which, uint32_t count)
{
    if (count <= set->frontier_capacity[which]) {
        return OK;
    }
    uint32_t capacity = count < 16 ? 16 : count * 2;
    struct node **nodes = realloc(set->frontier[which], capacity * sizeof(nodes[0]));
    if (nodes == NULL) {
        return ERR_NOMEM;
    }
    set->frontier[which] = nodes;
    set->frontier_capacity[which] = capacity;
    return OK;
}

static enum err add_if_any(struct leaf_set *set, struct leaf *leaf)
{
    return leaf == NULL ? OK : leaf_set_add(set, leaf);
}

/* What fits below node, for one more level of the name: up to two nodes to next, "#" to out. */
static enum err step(const struct node *node, struct slice level, uint64_t hash, bool may_be_wild,
                     struct leaf_set *out, struct node **next, uint32_t *next_count)
{
    struct below below = node_below(node);
    if (may_be_wild) {
        TRY(add_if_any(out, below_rest(below)));
        struct node *plus = below_plus(below);
        if (plus != NULL) {
            next[(*next_count)++] = plus;
        }
    }
    struct node *child = below_literal(below, level, hash);
    if (child != NULL) {
        next[(*next_count)++] = child;
    }
    return OK;
}

/* The name ends at this node: its own filter matches, and so does "node/#" (4.7.1.2). */
static enum err finish(const struct node *node, struct leaf_set *out)
{
    /* Acquire: pairs with the release in trie_write.c, N1. */
    TRY(add_if_any(out, atomic_load_explicit(&node->leaf, memory_order_acquire)));
    return add_if_any(out, below_rest(node_below(node)));
}

enum err trie_match(const struct trie *trie, struct slice name, struct leaf_set *out)
{
    struct level_walk walk = level_walk_of(name);
    struct slice level;
    uint32_t which = 0, count = 1;

    out->count = 0;
    if (name.count == 0) {
        return OK;
    }
    TRY(frontier_reserve(out, which, 1));
    out->frontier[which][0] = trie->root;
    /* [MQTT-4.7.2-1]: of a name that begins with '$' the first level must be met literally. */
    bool may_be_wild = name.data[0] != '$';
    while (count > 0 && level_next(&walk, &level)) {
        uint64_t hash = level_hash(level, trie->seed);
        uint32_t next_count = 0;
        TRY(frontier_reserve(out, !which, count * 2));
        for (uint32_t i = 0; i < count; i++) {
            TRY(step(out->frontier[which][i], level, hash, may_be_wild, out, out->frontier[!which],
                     &next_count));
        }
        may_be_wild = true;
        which = !which;
        count = next_count;
    }
    for (uint32_t i = 0; i < count; i++) {
        TRY(finish(out->frontier[which][i], out));
    }
    return OK;
}

struct leaf *trie_find_leaf(const struct trie *trie, struct slice filter)
{
    struct level_walk walk = level_walk_of(filter);
    const struct node *node = trie->root;
    struct slice level;

    while (level_next(&walk, &level)) {
        struct below below = node_below(node);
        if (level_is(level, '#')) {
            return below_rest(below);
        }
        node = level_is(level, '+') ? below_plus(below)
                                    : below_literal(below, level, level_hash(level, trie->seed));
        if (node == NULL) {
            return NULL;
        }
    }
    return atomic_load_explicit(&node->leaf, memory_order_acquire);
}

uint64_t trie_version(const struct trie *trie)
{
    /* Acquire: pairs with the release in trie_write.c, N5. */
    return atomic_load_explicit(&trie->version, memory_order_acquire);
}

uint64_t leaf_shards(const struct leaf *leaf)
{
    /* Acquire: pairs with the release in trie_write.c. */
    return atomic_load_explicit(&leaf->shards, memory_order_acquire);
}

struct leaf_view leaf_subs(const struct leaf *leaf, uint32_t shard)
{
    if (leaf->first.shard == shard) {
        return subs_view(&leaf->first);
    }
    /* Acquire: pairs with the release of whichever shard brought the array. */
    const struct subs *other = atomic_load_explicit(&leaf->other, memory_order_acquire);
    return other == NULL ? (struct leaf_view){0} : subs_view(&other[shard]);
}

void trie_stats(const struct trie *trie, struct trie_stats *out)
{
    /* Relaxed: statistics, each right by itself. */
    *out = (struct trie_stats){
        .filter_count = atomic_load_explicit(&trie->filter_count, memory_order_relaxed),
        .node_count = atomic_load_explicit(&trie->node_count, memory_order_relaxed),
        .bytes = atomic_load_explicit(&trie->bytes, memory_order_relaxed),
    };
}
