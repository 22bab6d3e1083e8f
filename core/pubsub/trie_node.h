/*
 * trie_node: what the trie is made of; private to trie_*.c and subs.c.
 *
 *      node ── leaf                  subscribers of the filter that ends here
 *       └───── below                 nothing, or one child alone, or:
 *               kids ── plus         the child "+"
 *                ├───── rest         leaf of "#": nothing can hang below it, so it has no node
 *                └───── slots[]      children with a literal level, by hash
 *
 * Most nodes of a fleet have one child ("dev/<id>/cmd"): it costs neither memory nor a look.
 *
 * Floor:  pubsub; private.
 * Thread: what is _Atomic is read without locks and stored by the writer that holds trie->lock;
 *         everything else in a node is written before it is published, or belongs to writers.
 *
 * Invariants
 *   N1  a pointer is published by a release store and read by an acquire load: who sees a node sees
 *       all of it.
 *   N2  between the home slot of a child and its own slot no slot is EMPTY, as long as it hangs.
 *       So a reader that meets EMPTY may stop, whatever writers do meanwhile.
 *   N3  a table that is replaced is not written any more; who still reads it began before its
 *       successor was published.
 *   N4  a node that hangs has a leaf or something below; root excepted. Kids that hang hold at least
 *       two children, or the leaf of "#".
 *   N5  version grows after a change is visible and before what was unlinked is retired.
 */
#ifndef TERN_PUBSUB_TRIE_NODE_H
#define TERN_PUBSUB_TRIE_NODE_H

#include "core/base/ledger.h"
#include "core/limits.h"
#include "core/pubsub/level.h"
#include "core/pubsub/subs.h"
#include "core/pubsub/trie.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

struct leaf {
    _Atomic uint64_t shards; /* who has subscribers: bit s is changed by the thread of shard s */
    _Atomic(struct subs *) other; /* one per shard, from the day a second shard comes */
    struct node *node;            /* where it hangs, as leaf or as rest; for writers */
    struct subs first;            /* of the shard that came first: most filters have only one */
};

struct node {
    _Atomic uintptr_t below;     /* 0, or the only child + BELOW_IS_CHILD, or kids */
    _Atomic(struct leaf *) leaf; /* NULL: the filter that ends here has no subscribers */
    struct node *parent;         /* for writers; NULL: root */
    uint16_t level_bytes;
    uint8_t level[];
};

/*
 * An open-addressing table. A slot is the child's address with 16 bits of the level's hash above it:
 * a search reads one line of the table and touches only the child that it wants.
 */
struct kids {
    _Atomic(struct node *) plus;
    _Atomic(struct leaf *) rest;
    uint32_t count;      /* literal children; for writers */
    uint32_t buried;     /* slots that are BURIED; for writers */
    uint32_t slot_count; /* 0 or a power of two; never changes */
    _Atomic uint64_t slots[];
};

enum { BELOW_NOTHING = 0, BELOW_IS_CHILD = 1 };
enum { SLOT_EMPTY = 0, SLOT_BURIED = 1, SLOT_TAG_SHIFT = 48 };
_Static_assert(sizeof(void *) == 8, "a slot is an address of 48 bits and a tag of 16");

struct trie {
    struct epoch *epoch;
    struct node *root;
    uint64_t seed;
    uint32_t shard_count;
    _Alignas(LIMIT_APART_BYTES) _Atomic uint64_t version; /* read for each message */
    _Alignas(LIMIT_APART_BYTES) pthread_mutex_t lock;     /* one writer at a time */
    _Atomic uint64_t filter_count, node_count, bytes;
};
_Static_assert(
    offsetof(struct trie, version) >= LIMIT_APART_BYTES &&
        offsetof(struct trie, lock) - offsetof(struct trie, version) >= LIMIT_APART_BYTES,
    "who subscribes writes beside the version once, and never beside what a match reads");
_Static_assert(sizeof(struct leaf) <= 40, "a leaf of one shard stays within 40 bytes");

static inline uint64_t slot_make(struct node *node, uint64_t hash)
{
    uint64_t address = (uint64_t)(uintptr_t)node;
    ASSERT(address >> SLOT_TAG_SHIFT == 0); /* user space of Linux, unless asked for more */
    return address | (hash >> SLOT_TAG_SHIFT << SLOT_TAG_SHIFT);
}

static inline struct node *slot_node(uint64_t slot)
{
    return (struct node *)(uintptr_t)(slot & ((UINT64_C(1) << SLOT_TAG_SHIFT) - 1));
}

static inline struct slice node_level(const struct node *node)
{
    return slice_of(node->level, node->level_bytes);
}

static inline bool node_is_plus(const struct node *node)
{
    return level_is(node_level(node), '+'); /* no literal level of a filter looks like that */
}

/* The child with that literal level, or NULL. Any reader or the writer. */
static inline struct node *kids_find(const struct kids *kids, struct slice level, uint64_t hash)
{
    for (uint32_t i = 0; i < kids->slot_count; i++) {
        uint32_t at = ((uint32_t)hash + i) & (kids->slot_count - 1);
        /* Acquire: pairs with the release in slot_store(), N1. */
        uint64_t slot = atomic_load_explicit(&kids->slots[at], memory_order_acquire);
        if (slot == SLOT_EMPTY) {
            return NULL; /* N2 */
        }
        if (slot != SLOT_BURIED && slot >> SLOT_TAG_SHIFT == hash >> SLOT_TAG_SHIFT &&
            slice_equal(node_level(slot_node(slot)), level)) {
            return slot_node(slot);
        }
    }
    return NULL;
}

/* What is below a node, as one look saw it; not both, perhaps neither. Any reader or the writer. */
struct below {
    struct kids *kids;
    struct node *child; /* the only one */
};

static inline struct below node_below(const struct node *node)
{
    /* Acquire: pairs with the release in below_store(), N1. */
    uintptr_t word = atomic_load_explicit(&node->below, memory_order_acquire);
    return (word & BELOW_IS_CHILD) != 0
               ? (struct below){.child = (struct node *)(word - BELOW_IS_CHILD)}
               : (struct below){.kids = (struct kids *)word};
}

static inline struct node *below_literal(struct below below, struct slice level, uint64_t hash)
{
    if (below.kids != NULL) {
        return kids_find(below.kids, level, hash);
    }
    return below.child != NULL && slice_equal(node_level(below.child), level) ? below.child : NULL;
}

static inline struct node *below_plus(struct below below)
{
    if (below.kids != NULL) {
        return atomic_load_explicit(&below.kids->plus, memory_order_acquire); /* N1 */
    }
    return below.child != NULL && node_is_plus(below.child) ? below.child : NULL;
}

static inline struct leaf *below_rest(struct below below)
{
    return below.kids == NULL ? NULL
                              : atomic_load_explicit(&below.kids->rest, memory_order_acquire);
}

/*
 * The rest of this file is for the writer, which holds trie->lock and retires through `shard`, its
 * slot of the epoch; trie_hang.c.
 */

/*
 * Hang a child, or the leaf of "#", below node: readers see it from here on. ERR_NOMEM: nothing
 * changed; cannot be for a child below a node that has nothing there.
 */
enum err node_hang(struct trie *trie, uint32_t shard, struct node *node, struct node *child);
enum err node_hang_rest(struct trie *trie, uint32_t shard, struct node *node, struct leaf *leaf);

/* Unlink them; what held them shrinks or goes. The child itself is the caller's to retire. */
void node_unhang(struct trie *trie, uint32_t shard, struct node *child);
void node_unhang_rest(struct trie *trie, uint32_t shard, struct node *node);

/* Free the kids of a node that never hung; its children are not touched. */
void node_drop_kids(struct trie *trie, struct node *node);

/* The tree's own memory, for trie_stats() and the ledger. */
static inline void trie_count_bytes(struct trie *trie, int64_t bytes)
{
    ledger_add(LEDGER_SUBSCRIPTIONS, bytes);
    /* Relaxed: a statistic. */
    atomic_fetch_add_explicit(&trie->bytes, (uint64_t)bytes, memory_order_relaxed);
}

/* The leaf of exactly this filter, or NULL. Any reader or the writer; trie_read.c. */
struct leaf *trie_find_leaf(const struct trie *trie, struct slice filter);

#endif
