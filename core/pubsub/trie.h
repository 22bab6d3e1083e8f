/*
 * trie: which subscriptions match a topic; one per node, shared by all shards.
 *
 *     root ──"plant"──> node ──"+"──> node ──"temp"──> node ── leaf of "plant/+/temp"
 *                                                                │
 *           shard 0: [sub, sub]   shard 1: []   shard 2: [sub]   └── shards = 0b101
 *
 * A leaf keeps one array of subscribers per shard, touched by that shard only, and a bitmap of the
 * shards whose array is not empty. A publisher's shard walks the trie, serves its own array, and
 * mails the message once to every other shard of the bitmap; that shard matches for itself.
 *
 * Floor:  pubsub.
 * Thread: trie_match() by any online shard without locks, inside its epoch; leaf_subs(shard) and
 *         the subscribe/unsubscribe calls of a shard by that shard only. Writers are serialised by
 *         a lock inside, build aside and publish by one release store.
 * Memory: a struct sub belongs to the caller and stays in place while it hangs in the trie. Nodes
 *         and leaves without holders are unlinked and retired to the epoch.
 */
#ifndef TERN_PUBSUB_TRIE_H
#define TERN_PUBSUB_TRIE_H

#include "core/base/epoch.h"
#include "core/base/err.h"
#include "core/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

enum { SHARD_COUNT_MAX = 64 };

struct trie;
struct leaf;
struct node;

/* Whose it is: what owner points to. */
enum sub_kind {
    SUB_SESSION,
    SUB_SHARE, /* a share group */
    SUB_ROUTE, /* partitions that are led on other nodes */
};

/* One subscription as the trie sees it: embedded in the caller's own record. */
struct sub {
    struct leaf *leaf; /* NULL: does not hang */
    uint32_t index;    /* in the array of its shard: removal is O(1) */
    uint32_t id;       /* v5 Subscription Identifier; 0: none */
    uint8_t qos;
    bool no_local, retain_as_published;
    uint8_t kind;      /* enum sub_kind */
    uint8_t partition; /* free for the broker */
    void *owner;       /* the broker's */
};

struct leaf_view {
    struct sub *const *subs;
    uint32_t count;
};

/*
 * Matched leaves, in no order; the caller's scratch, zero-initialised, grown as needed, freed by
 * leaf_set_deinit().
 */
struct leaf_set {
    struct leaf **leaves;
    uint32_t count, capacity;
    struct node **frontier[2]; /* trie_match()'s own: nodes of two neighbouring levels */
    uint32_t frontier_capacity[2];
};

/*
 * epoch outlives the trie; its slot s is that of shard s. shard_count is that of the node, 1 to
 * SHARD_COUNT_MAX. NULL: memory is exhausted.
 */
struct trie *trie_new(struct epoch *epoch, uint32_t shard_count, uint64_t seed);

/* No subscription may hang, no reader be online. Accepts NULL. */
void trie_free(struct trie *trie);

/*
 * Hang sub under filter (checked by topic_filter_parse, without $share) in shard's array.
 * When it returns OK every trie_match() that starts later, on any shard, sees it.
 * The caller is shard's thread, online in the epoch. ERR_NOMEM: nothing changed.
 */
enum err trie_subscribe(struct trie *trie, uint32_t shard, struct slice filter, struct sub *sub);

/*
 * Take it off: O(1), but for the last one of shard on that leaf. Another sub of the shard may move
 * to its index. The caller is shard's thread.
 */
void trie_unsubscribe(struct trie *trie, uint32_t shard, struct sub *sub);

/*
 * Add every leaf whose filter matches the name to out (which is emptied first). A leaf may have
 * no subscribers any more. Leaves stay valid until the caller's epoch_quiescent(), or, in a cache,
 * as long as trie_version() has not changed, looked at anew each turn. ERR_NOMEM.
 */
enum err trie_match(const struct trie *trie, struct slice name, struct leaf_set *out);

/* Grows with every change of the tree or of a leaf's bitmap. Acquire. */
uint64_t trie_version(const struct trie *trie);

/*
 * The subscribers of shard, whose thread is the caller. What the view shows changes with the next
 * subscribe or unsubscribe of the shard on this leaf; its memory stays until epoch_quiescent().
 */
struct leaf_view leaf_subs(const struct leaf *leaf, uint32_t shard);
uint64_t leaf_shards(const struct leaf *leaf); /* bitmap of shards with subscribers */

void leaf_set_deinit(struct leaf_set *set);

/* Filters with subscribers, nodes under the root, and the memory of both; retired not included. */
struct trie_stats {
    uint64_t filter_count, node_count, bytes;
};
void trie_stats(const struct trie *trie, struct trie_stats *out);

#endif
