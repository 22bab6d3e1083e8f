/*
 * Changing the trie: one writer at a time. What is new is built aside and hung up by one release
 * store; what nobody needs any more is unlinked from the leaf upwards and retired.
 *
 *      hangs already        built aside                  subscribe "plant/+/temp": the store of
 *      root ── "plant" ╌╌╌> "+" ── "temp" ── leaf        the dashed arrow makes it visible
 */
#include "core/pubsub/trie_node.h"

#include <stdlib.h>

struct trie *trie_new(struct epoch *epoch, uint32_t shard_count, uint64_t seed)
{
    ASSERT(shard_count >= 1);
    ASSERT(shard_count <= SHARD_COUNT_MAX);
    struct trie *trie = aligned_alloc(_Alignof(struct trie), sizeof(*trie));
    struct node *root = calloc(1, sizeof(*root));
    if (trie == NULL || root == NULL) {
        free(trie);
        free(root);
        return NULL;
    }
    memset(trie, 0, sizeof(*trie));
    trie->epoch = epoch;
    trie->root = root;
    trie->seed = seed;
    trie->shard_count = shard_count;
    pthread_mutex_init(&trie->lock, NULL);
    return trie;
}

void trie_free(struct trie *trie)
{
    if (trie == NULL) {
        return;
    }
    ASSERT(atomic_load_explicit(&trie->node_count, memory_order_relaxed) == 0);
    ASSERT(atomic_load_explicit(&trie->filter_count, memory_order_relaxed) == 0);
    pthread_mutex_destroy(&trie->lock);
    free(trie->root);
    free(trie);
}

static void version_grow(struct trie *trie)
{
    /* Release: pairs with acquire in trie_version(), N5. */
    atomic_fetch_add_explicit(&trie->version, 1, memory_order_release);
}

static void count_leaves(struct trie *trie, int64_t count)
{
    atomic_fetch_add_explicit(&trie->filter_count, (uint64_t)count, memory_order_relaxed);
    trie_count_bytes(trie, count * ledger_block(sizeof(struct leaf)));
}

static size_t node_bytes(size_t level_bytes)
{
    return sizeof(struct node) + level_bytes;
}

/* --- one leaf ------------------------------------------------------------------------------- */

static uint64_t bit_of(uint32_t shard)
{
    return UINT64_C(1) << shard;
}

static enum err leaf_add_sub(struct trie *trie, struct subs *subs, uint32_t shard,
                             struct leaf *leaf, struct sub *sub)
{
    struct subs_memory memory = {.epoch = trie->epoch, .shard = shard};
    TRY(subs_add(subs, &memory, sub));
    trie_count_bytes(trie, memory.bytes_added);
    sub->leaf = leaf;
    return OK;
}

static struct subs *subs_of(struct leaf *leaf, uint32_t shard)
{
    if (leaf->first.shard == shard) {
        return &leaf->first;
    }
    /* Acquire: without the lock, another shard may have brought the array. */
    struct subs *other = atomic_load_explicit(&leaf->other, memory_order_acquire);
    return other == NULL ? NULL : &other[shard];
}

/* The array of shard, which may have to be brought first. With the lock. NULL: no memory. */
static struct subs *subs_bring(struct trie *trie, struct leaf *leaf, uint32_t shard)
{
    struct subs *subs = subs_of(leaf, shard);
    if (subs != NULL) {
        return subs;
    }
    struct subs *other = calloc(trie->shard_count, sizeof(other[0]));
    if (other == NULL) {
        return NULL;
    }
    trie_count_bytes(trie, ledger_block(trie->shard_count * sizeof(other[0])));
    /* Release: pairs with acquire in subs_of() and leaf_subs(). */
    atomic_store_explicit(&leaf->other, other, memory_order_release);
    return &other[shard];
}

/* A leaf with its first subscriber, not yet hung. NULL: memory is exhausted. */
static struct leaf *leaf_new(struct trie *trie, uint32_t shard, struct sub *sub)
{
    struct leaf *leaf = calloc(1, sizeof(*leaf));
    if (leaf == NULL) {
        return NULL;
    }
    leaf->first.shard = (uint8_t)shard;
    atomic_init(&leaf->shards, bit_of(shard));
    enum err err = leaf_add_sub(trie, &leaf->first, shard, leaf, sub);
    ASSERT(err == OK); /* the first one needs no memory */
    return leaf;
}

/* The leaf hangs: the shard joins it, or has been there. With the lock. */
static enum err leaf_join(struct trie *trie, struct leaf *leaf, uint32_t shard, struct sub *sub)
{
    struct subs *subs = subs_bring(trie, leaf, shard);
    if (subs == NULL) {
        return ERR_NOMEM;
    }
    TRY(leaf_add_sub(trie, subs, shard, leaf, sub));
    /* Release: pairs with acquire in leaf_shards(). */
    atomic_fetch_or_explicit(&leaf->shards, bit_of(shard), memory_order_release);
    version_grow(trie);
    return OK;
}

/* --- a chain of new nodes -------------------------------------------------------------------- */

/* Built aside; hung by one store under `node`, the last one that was there. */
struct chain {
    struct node *head, *tail; /* NULL: the leaf itself is what hangs under node */
    struct leaf *leaf;
    uint32_t count;
    int64_t bytes;
};

static struct node *node_new(struct node *parent, struct slice level)
{
    struct node *node = calloc(1, node_bytes(level.count));
    if (node == NULL) {
        return NULL;
    }
    ASSERT(level.count <= UINT16_MAX);
    node->parent = parent;
    node->level_bytes = (uint16_t)level.count;
    if (level.count > 0) {
        memcpy(node->level, level.data, level.count);
    }
    return node;
}

/* Nobody has seen it. */
static void chain_free(struct trie *trie, struct chain *chain)
{
    struct node *node = chain->tail;
    while (node != NULL) {
        struct node *parent = node == chain->head ? NULL : node->parent;
        node_drop_kids(trie, node);
        free(node);
        node = parent;
    }
    free(chain->leaf);
}

/* One more node at the lower end. */
static enum err chain_extend(struct trie *trie, uint32_t shard, struct chain *chain,
                             struct node *parent, struct slice level)
{
    struct node *node = node_new(parent, level);
    if (node == NULL) {
        return ERR_NOMEM;
    }
    if (chain->tail == NULL) {
        chain->head = node;
    } else {
        enum err err = node_hang(trie, shard, chain->tail, node);
        ASSERT(err == OK); /* nothing else is below the tail */
    }
    chain->tail = node;
    chain->count++;
    chain->bytes += ledger_block(node_bytes(level.count));
    return OK;
}

/* Hang leaf under node: as "#" or as the filter that ends there. */
static enum err leaf_hang(struct trie *trie, uint32_t shard, struct node *node, struct leaf *leaf,
                          bool is_rest)
{
    leaf->node = node;
    if (is_rest) {
        return node_hang_rest(trie, shard, node, leaf);
    }
    /* Release: pairs with acquire in trie_read.c, N1. */
    atomic_store_explicit(&node->leaf, leaf, memory_order_release);
    return OK;
}

/*
 * Build what is missing of the filter below node and hang it. `walk` stands before the levels that
 * are missing. The one fallible step that touches what hangs comes last but for the store.
 */
static enum err build(struct trie *trie, uint32_t shard, struct node *node, struct level_walk *walk,
                      struct sub *sub)
{
    struct chain chain = {0};
    struct slice level;
    struct node *under = node;
    bool is_rest = false;

    chain.leaf = leaf_new(trie, shard, sub);
    if (chain.leaf == NULL) {
        goto fail;
    }
    while (level_next(walk, &level)) {
        if (level_is(level, '#')) {
            is_rest = true;
            break;
        }
        if (chain_extend(trie, shard, &chain, under, level) != OK) {
            goto fail;
        }
        under = chain.tail;
    }
    if (leaf_hang(trie, shard, under, chain.leaf, is_rest) != OK) {
        goto fail;
    }
    if (chain.head != NULL && node_hang(trie, shard, node, chain.head) != OK) {
        goto fail;
    }
    atomic_fetch_add_explicit(&trie->node_count, chain.count, memory_order_relaxed);
    trie_count_bytes(trie, chain.bytes);
    count_leaves(trie, 1);
    version_grow(trie);
    return OK;
fail:
    chain_free(trie, &chain);
    sub->leaf = NULL;
    return ERR_NOMEM;
}

/* The deepest node on the way of the filter; walk stands before the level that it lacks. */
static struct node *descend(const struct trie *trie, struct level_walk *walk)
{
    struct node *node = trie->root;
    struct slice level;

    for (struct level_walk ahead = *walk; level_next(&ahead, &level); *walk = ahead) {
        if (level_is(level, '#')) {
            break;
        }
        struct below below = node_below(node);
        struct node *child = level_is(level, '+')
                                 ? below_plus(below)
                                 : below_literal(below, level, level_hash(level, trie->seed));
        if (child == NULL) {
            break;
        }
        node = child;
    }
    return node;
}

/* The leaf of the filter if node is where it hangs, or NULL; walk as descend() left it. */
static struct leaf *leaf_under(const struct node *node, struct level_walk walk)
{
    struct slice level;
    if (!level_next(&walk, &level)) {
        return atomic_load_explicit(&node->leaf, memory_order_relaxed);
    }
    return level_is(level, '#') ? below_rest(node_below(node)) : NULL;
}

static enum err subscribe_locked(struct trie *trie, uint32_t shard, struct slice filter,
                                 struct sub *sub)
{
    struct level_walk walk = level_walk_of(filter);
    struct node *node = descend(trie, &walk);
    struct leaf *leaf = leaf_under(node, walk);
    return leaf == NULL ? build(trie, shard, node, &walk, sub) : leaf_join(trie, leaf, shard, sub);
}

enum err trie_subscribe(struct trie *trie, uint32_t shard, struct slice filter, struct sub *sub)
{
    ASSERT(shard < trie->shard_count);
    ASSERT(sub->leaf == NULL);
    ASSERT(filter.count > 0);

    /*
     * The way without the lock: a leaf on which this shard has subscribers cannot go, as only this
     * shard takes them off; and of its array nobody else knows. Neither tree nor bitmap changes.
     */
    struct leaf *leaf = trie_find_leaf(trie, filter);
    if (leaf != NULL && (leaf_shards(leaf) & bit_of(shard)) != 0) {
        return leaf_add_sub(trie, subs_of(leaf, shard), shard, leaf, sub);
    }
    pthread_mutex_lock(&trie->lock);
    enum err err = subscribe_locked(trie, shard, filter, sub);
    pthread_mutex_unlock(&trie->lock);
    return err;
}

/* --- taking off ------------------------------------------------------------------------------ */

/* Unlink node from its parent and retire it. */
static void node_remove(struct trie *trie, uint32_t shard, struct node *node)
{
    node_unhang(trie, shard, node);
    atomic_fetch_sub_explicit(&trie->node_count, 1, memory_order_relaxed);
    trie_count_bytes(trie, -ledger_block(node_bytes(node->level_bytes)));
    epoch_retire(trie->epoch, shard, node, free);
}

/* From node upwards, remove what holds nothing, N4. */
static void prune(struct trie *trie, uint32_t shard, struct node *node)
{
    while (node != trie->root && atomic_load_explicit(&node->leaf, memory_order_relaxed) == NULL &&
           atomic_load_explicit(&node->below, memory_order_relaxed) == BELOW_NOTHING) {
        struct node *parent = node->parent;
        node_remove(trie, shard, node);
        node = parent;
    }
}

/* Nobody holds the leaf any more: unlink, tell the caches, retire (N5). */
static void leaf_remove(struct trie *trie, uint32_t shard, struct leaf *leaf)
{
    struct node *node = leaf->node;
    if (atomic_load_explicit(&node->leaf, memory_order_relaxed) == leaf) {
        atomic_store_explicit(&node->leaf, NULL, memory_order_release);
    } else {
        ASSERT(below_rest(node_below(node)) == leaf);
        node_unhang_rest(trie, shard, node);
    }
    version_grow(trie);
    struct subs *other = atomic_load_explicit(&leaf->other, memory_order_relaxed);
    if (other != NULL) {
        trie_count_bytes(trie, -ledger_block(trie->shard_count * sizeof(other[0])));
        epoch_retire(trie->epoch, shard, other, free);
    }
    count_leaves(trie, -1);
    epoch_retire(trie->epoch, shard, leaf, free);
    prune(trie, shard, node);
}

void trie_unsubscribe(struct trie *trie, uint32_t shard, struct sub *sub)
{
    struct leaf *leaf = sub->leaf;
    ASSERT(shard < trie->shard_count);
    ASSERT(leaf != NULL);

    struct subs *subs = subs_of(leaf, shard);
    struct subs_memory memory = {.epoch = trie->epoch, .shard = shard};
    ASSERT(subs != NULL);
    subs_remove(subs, &memory, sub);
    trie_count_bytes(trie, memory.bytes_added);
    sub->leaf = NULL;
    if (subs->count > 0) {
        return;
    }
    pthread_mutex_lock(&trie->lock);
    uint64_t before = atomic_fetch_and_explicit(&leaf->shards, ~bit_of(shard),
                                                memory_order_acq_rel);
    ASSERT((before & bit_of(shard)) != 0);
    if (before == bit_of(shard)) {
        leaf_remove(trie, shard, leaf);
    } else {
        version_grow(trie);
    }
    pthread_mutex_unlock(&trie->lock);
}
