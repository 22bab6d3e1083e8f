/*
 * The children of a node: one table, built in place while it has room, else anew.
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

size_t kids_bytes(const struct kids *kids)
{
    return bytes_for(kids->slot_count);
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

void kids_put(struct kids *kids, struct node *child, uint64_t hash)
{
    put_slot(kids, slot_make(child, hash), (uint32_t)hash);
}

static uint32_t child_hash(const struct trie *trie, const struct node *child)
{
    return (uint32_t)level_hash(node_level(child), trie->seed);
}

static uint32_t hash_at(const struct trie *trie, struct kids *kids, uint32_t at)
{
    return has_hashes(kids) ? hashes_of(kids)[at] : child_hash(trie, slot_node(slot_at(kids, at)));
}

/* A copy with another number of slots, without the BURIED ones; published, the old one retired. */
static struct kids *rebuild(struct trie *trie, uint32_t shard, struct node *node,
                            uint32_t slot_count)
{
    struct kids *old = atomic_load_explicit(&node->kids, memory_order_relaxed);
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
    trie_count_bytes(trie, (int64_t)kids_bytes(kids) - (int64_t)kids_bytes(old));
    /* Release: pairs with acquire in the readers, N1 N3. */
    atomic_store_explicit(&node->kids, kids, memory_order_release);
    epoch_retire(trie->epoch, shard, old, free);
    return kids;
}

struct kids *kids_make_room(struct trie *trie, uint32_t shard, struct node *node, bool is_literal)
{
    struct kids *kids = atomic_load_explicit(&node->kids, memory_order_relaxed);

    if (kids == NULL) {
        kids = kids_new(is_literal ? 1 : 0);
        if (kids != NULL) {
            trie_count_bytes(trie, (int64_t)kids_bytes(kids));
            /* Release: pairs with acquire in the readers, N1. */
            atomic_store_explicit(&node->kids, kids, memory_order_release);
        }
        return kids;
    }
    if (!is_literal ||
        kids->count + (has_hashes(kids) ? kids->buried : 0) < room_of(kids->slot_count)) {
        return kids;
    }
    uint32_t slot_count = kids->slot_count;
    if (kids->count * 2 >= room_of(slot_count)) { /* else it is the BURIED ones that fill it */
        slot_count = slot_count == 0 ? 1 : slot_count * 2;
    }
    if (slot_count > UINT32_C(1) << 30) {
        return NULL;
    }
    return rebuild(trie, shard, node, slot_count);
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

void kids_remove(struct trie *trie, uint32_t shard, struct node *node, struct node *child)
{
    struct kids *kids = atomic_load_explicit(&node->kids, memory_order_relaxed);
    uint32_t at = child_hash(trie, child) & (kids->slot_count - 1), steps = 0;

    while (slot_node(slot_at(kids, at)) != child) {
        steps++;
        ASSERT(steps < kids->slot_count);
        at = (at + 1) & (kids->slot_count - 1);
    }
    kids->count--;
    bury(kids, at);
    if (kids->slot_count > SLOTS_FULL_MAX && kids->count > 0 &&
        kids->count <= kids->slot_count / 8) {
        (void)rebuild(trie, shard, node, kids->slot_count / 4); /* without memory it stays large */
    }
    kids_drop_if_empty(trie, shard, node);
}

void kids_drop_if_empty(struct trie *trie, uint32_t shard, struct node *node)
{
    struct kids *kids = atomic_load_explicit(&node->kids, memory_order_relaxed);

    if (kids->count > 0 || atomic_load_explicit(&kids->plus, memory_order_relaxed) != NULL ||
        atomic_load_explicit(&kids->rest, memory_order_relaxed) != NULL) {
        return;
    }
    /* Release: what readers may still find in the old table was unlinked before. */
    atomic_store_explicit(&node->kids, NULL, memory_order_release);
    trie_count_bytes(trie, -(int64_t)kids_bytes(kids));
    epoch_retire(trie->epoch, shard, kids, free);
}
