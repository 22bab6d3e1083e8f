/*
 * What hangs below a node: nothing, one child alone, or kids with a table, which is changed in place
 * while it has room and else built anew.
 *
 *               a second child, or "#"          ┌─ grows, shrinks ─┐
 *      nothing ──> one child ──> kids           └────── kids <─────┘
 *         └───────── "#" ─────────^             two children less one, or "#" alone less it:
 *                                               back to one child, or to nothing
 *
 * A table:
 *
 *      home                     found here
 *        v                          v
 *   ┌───────┬────────┬───────┬───────┬───────┐     A search goes right until the child or EMPTY.
 *   │ other │ BURIED │ other │ child │ EMPTY │     Removing leaves BURIED behind, unless EMPTY
 *   └───────┴────────┴───────┴───────┴───────┘     follows: then nobody's search leads over it (N2).
 *
 * A reader in the midst of a search meets each slot as it was before or after a change, and every
 * order of the two keeps N2, so that a child that hangs all the while is found.
 */
#include "core/pubsub/trie_node.h"

#include <stdlib.h>

/* Small tables may be full; a search is bounded by the slots. Large ones keep a quarter free. */
enum { SLOTS_FULL_MAX = 4 };

static uint32_t room_of(uint32_t slot_count)
{
    return slot_count <= SLOTS_FULL_MAX ? slot_count : slot_count / 4 * 3;
}

/*
 * Large tables keep the hashes of their children behind the slots, so that growing reads and writes
 * in straight lines and does not visit a million children.
 */
static bool has_hashes(const struct kids *kids)
{
    return kids->slot_count > SLOTS_FULL_MAX;
}

static uint32_t *hashes_of(struct kids *kids)
{
    return (uint32_t *)(void *)&kids->slots[kids->slot_count];
}

static size_t bytes_for(uint32_t slot_count)
{
    size_t hash_bytes_each = slot_count > SLOTS_FULL_MAX ? sizeof(uint32_t) : 0;
    return sizeof(struct kids) + slot_count * (sizeof(uint64_t) + hash_bytes_each);
}

static int64_t kids_weight(const struct kids *kids)
{
    return ledger_block(bytes_for(kids->slot_count));
}

static struct kids *kids_new(uint32_t slot_count)
{
    struct kids *kids = calloc(1, bytes_for(slot_count)); /* all slots are EMPTY */
    if (kids == NULL) {
        return NULL;
    }
    kids->slot_count = slot_count;
    return kids;
}

/* Nobody but the writer stores: it may read its own stores relaxed. */
static uint64_t slot_at(const struct kids *kids, uint32_t at)
{
    return atomic_load_explicit(&kids->slots[at], memory_order_relaxed);
}

static void slot_store(struct kids *kids, uint32_t at, uint64_t slot)
{
    /* Release: pairs with acquire in kids_find(), N1. */
    atomic_store_explicit(&kids->slots[at], slot, memory_order_release);
}

/* Store into the first slot from home that holds nobody. */
static void put_slot(struct kids *kids, uint64_t slot, uint32_t hash)
{
    for (uint32_t i = 0; i < kids->slot_count; i++) {
        uint32_t at = (hash + i) & (kids->slot_count - 1);
        uint64_t old = slot_at(kids, at);
        if (old == SLOT_EMPTY || old == SLOT_BURIED) {
            kids->buried -= old == SLOT_BURIED;
            if (has_hashes(kids)) {
                hashes_of(kids)[at] = hash;
            }
            kids->count++;
            slot_store(kids, at, slot);
            return;
        }
    }
    ASSERT(!"a table without room");
}

static uint32_t child_hash(const struct trie *trie, const struct node *child)
{
    return (uint32_t)level_hash(node_level(child), trie->seed);
}

static uint32_t hash_at(const struct trie *trie, struct kids *kids, uint32_t at)
{
    return has_hashes(kids) ? hashes_of(kids)[at] : child_hash(trie, slot_node(slot_at(kids, at)));
}

static void below_store(struct node *node, uintptr_t word)
{
    /* Release: pairs with acquire in node_below(), N1. */
    atomic_store_explicit(&node->below, word, memory_order_release);
}

/* Replace old (which hangs, or NULL) by kids. Readers of the old ones go on with them (N3). */
static void publish(struct trie *trie, uint32_t shard, struct node *node, struct kids *kids,
                    struct kids *old)
{
    trie_count_bytes(trie, kids_weight(kids) - (old == NULL ? 0 : kids_weight(old)));
    below_store(node, (uintptr_t)kids);
    if (old != NULL) {
        epoch_retire(trie->epoch, shard, old, free);
    }
}

/* Into kids with room for it: the one pointer by which the child is reached. */
static void put_child(const struct trie *trie, struct kids *kids, struct node *child)
{
    if (node_is_plus(child)) {
        /* Release: pairs with acquire in below_plus(), N1. */
        atomic_store_explicit(&kids->plus, child, memory_order_release);
        return;
    }
    uint64_t hash = level_hash(node_level(child), trie->seed);
    put_slot(kids, slot_make(child, hash), (uint32_t)hash);
}

/* The same children in another number of slots, without the BURIED ones. Not yet published. */
static struct kids *kids_copy(const struct trie *trie, struct kids *old, uint32_t slot_count)
{
    struct kids *kids = kids_new(slot_count);
    if (kids == NULL) {
        return NULL;
    }
    ASSERT(old->count <= room_of(slot_count));
    atomic_init(&kids->plus, atomic_load_explicit(&old->plus, memory_order_relaxed));
    atomic_init(&kids->rest, atomic_load_explicit(&old->rest, memory_order_relaxed));
    for (uint32_t at = 0; at < old->slot_count; at++) {
        uint64_t slot = slot_at(old, at);
        if (slot != SLOT_EMPTY && slot != SLOT_BURIED) {
            put_slot(kids, slot, hash_at(trie, old, at));
        }
    }
    ASSERT(kids->count == old->count);
    return kids;
}

static bool has_room(struct kids *kids)
{
    uint32_t used = kids->count + (has_hashes(kids) ? kids->buried : 0);
    return used < room_of(kids->slot_count);
}

/* One literal child more, in a larger table or in one without BURIED slots. */
static enum err put_in_copy(struct trie *trie, uint32_t shard, struct node *node, struct kids *old,
                            struct node *child)
{
    uint32_t slot_count = old->slot_count;
    if (old->count * 2 >= room_of(slot_count)) { /* else it is the BURIED ones that fill it */
        slot_count = slot_count == 0 ? 1 : slot_count * 2;
    }
    struct kids *kids = slot_count > UINT32_C(1) << 30 ? NULL : kids_copy(trie, old, slot_count);
    if (kids == NULL) {
        return ERR_NOMEM;
    }
    put_child(trie, kids, child);
    publish(trie, shard, node, kids, old);
    return OK;
}

/* The first kids of a node: its only child if it has one, another if any, or the leaf of "#". */
static enum err start_kids(struct trie *trie, uint32_t shard, struct node *node, struct node *only,
                           struct node *child, struct leaf *rest)
{
    uint32_t literal_count = (only != NULL && !node_is_plus(only)) +
                             (child != NULL && !node_is_plus(child)); /* 0, 1 or 2 */
    struct kids *kids = kids_new(literal_count);
    if (kids == NULL) {
        return ERR_NOMEM;
    }
    if (only != NULL) {
        put_child(trie, kids, only);
    }
    if (child != NULL) {
        put_child(trie, kids, child);
    }
    atomic_init(&kids->rest, rest);
    publish(trie, shard, node, kids, NULL);
    return OK;
}

enum err node_hang(struct trie *trie, uint32_t shard, struct node *node, struct node *child)
{
    struct below below = node_below(node);

    if (below.kids == NULL && below.child == NULL) {
        below_store(node, (uintptr_t)child + BELOW_IS_CHILD);
        return OK;
    }
    if (below.kids == NULL) {
        return start_kids(trie, shard, node, below.child, child, NULL);
    }
    if (node_is_plus(child) || has_room(below.kids)) {
        put_child(trie, below.kids, child);
        return OK;
    }
    return put_in_copy(trie, shard, node, below.kids, child);
}

enum err node_hang_rest(struct trie *trie, uint32_t shard, struct node *node, struct leaf *leaf)
{
    struct below below = node_below(node);

    if (below.kids == NULL) {
        return start_kids(trie, shard, node, below.child, NULL, leaf);
    }
    /* Release: pairs with acquire in below_rest(), N1. */
    atomic_store_explicit(&below.kids->rest, leaf, memory_order_release);
    return OK;
}

/* N2 holds without the BURIED slots that have EMPTY behind them. */
static void bury(struct kids *kids, uint32_t at)
{
    uint32_t mask = kids->slot_count - 1;

    if (slot_at(kids, (at + 1) & mask) != SLOT_EMPTY) {
        slot_store(kids, at, SLOT_BURIED);
        kids->buried++;
        return;
    }
    slot_store(kids, at, SLOT_EMPTY);
    for (at = (at - 1) & mask; slot_at(kids, at) == SLOT_BURIED; at = (at - 1) & mask) {
        slot_store(kids, at, SLOT_EMPTY);
        kids->buried--;
    }
}

static void take_from_table(const struct trie *trie, struct kids *kids, const struct node *child)
{
    uint32_t at = child_hash(trie, child) & (kids->slot_count - 1), steps = 0;

    while (slot_node(slot_at(kids, at)) != child) {
        steps++;
        ASSERT(steps < kids->slot_count);
        at = (at + 1) & (kids->slot_count - 1);
    }
    kids->count--;
    bury(kids, at);
}

/* The child of kids that have only one, and no leaf of "#". */
static struct node *last_child(const struct kids *kids)
{
    struct node *child = atomic_load_explicit(&kids->plus, memory_order_relaxed);
    for (uint32_t at = 0; child == NULL; at++) {
        ASSERT(at < kids->slot_count);
        uint64_t slot = slot_at(kids, at);
        child = slot == SLOT_BURIED ? NULL : slot_node(slot);
    }
    return child;
}

/* Something was taken out of kids: keep them, with fewer slots, or do without (N4). */
static void settle(struct trie *trie, uint32_t shard, struct node *node, struct kids *kids)
{
    bool has_plus = atomic_load_explicit(&kids->plus, memory_order_relaxed) != NULL;
    bool has_rest = atomic_load_explicit(&kids->rest, memory_order_relaxed) != NULL;
    uint32_t child_count = kids->count + has_plus;

    if (has_rest || child_count > 1) {
        if (has_hashes(kids) && kids->count <= kids->slot_count / 8) {
            struct kids *smaller = kids_copy(trie, kids, kids->slot_count / 4);
            if (smaller != NULL) { /* else they stay large */
                publish(trie, shard, node, smaller, kids);
            }
        }
        return;
    }
    below_store(node,
                child_count == 0 ? BELOW_NOTHING : (uintptr_t)last_child(kids) + BELOW_IS_CHILD);
    trie_count_bytes(trie, -kids_weight(kids));
    epoch_retire(trie->epoch, shard, kids, free);
}

void node_unhang(struct trie *trie, uint32_t shard, struct node *child)
{
    struct node *node = child->parent;
    struct below below = node_below(node);

    if (below.kids == NULL) {
        ASSERT(below.child == child);
        below_store(node, BELOW_NOTHING);
        return;
    }
    if (node_is_plus(child)) {
        /* Release: who finds it gone also sees what was done before. */
        atomic_store_explicit(&below.kids->plus, NULL, memory_order_release);
    } else {
        take_from_table(trie, below.kids, child);
    }
    settle(trie, shard, node, below.kids);
}

void node_unhang_rest(struct trie *trie, uint32_t shard, struct node *node)
{
    struct kids *kids = node_below(node).kids;
    /* Release: as above. */
    atomic_store_explicit(&kids->rest, NULL, memory_order_release);
    settle(trie, shard, node, kids);
}

void node_drop_kids(struct trie *trie, struct node *node)
{
    struct kids *kids = node_below(node).kids;
    if (kids != NULL) {
        trie_count_bytes(trie, -kids_weight(kids));
        free(kids);
    }
}
