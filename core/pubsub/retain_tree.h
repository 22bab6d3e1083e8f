/*
 * retain_tree: retained messages hung up by the levels of their topics; private to retain.c.
 *
 * A node with one child points to it: most topics end in levels of their own. More than one lie in one table, in the order of (hash of the level, level). The home of
 * a child is the upper bits of its hash, so that the order of the table is the order of the keys,
 * whatever its size: a scan may stop at a child and go on behind it, after others came, went, or
 * made the table grow, and meets every child that stayed exactly once.
 *
 *      hash   0...  2...       7... 7... 8...  d...
 *           ┌─────┬─────┬─────┬─────┬─────┬─────┬─────┬──╌╌─┐
 *           │  a  │  b  │     │  c  │  d  │  e  │  f  │ tail│   4 homes would be 0 2 4 6; who
 *           └─────┴─────┴─────┴─────┴─────┴─────┴─────┴──╌╌─┘   finds his taken is pushed right
 *
 * Floor:  pubsub; private.
 * Thread: whoever holds the lock of the retain.
 *
 * Invariants
 *   T1  children are strictly ascending from left to right.
 *   T2  a child is at its home or right of it, and between the two there is no empty place.
 *   T3  a node that hangs has a message, children or a pin; root excepted.
 */
#ifndef TERN_PUBSUB_RETAIN_TREE_H
#define TERN_PUBSUB_RETAIN_TREE_H

#include "core/base/err.h"
#include "core/pubsub/level.h"
#include "core/pubsub/msg.h"

struct topic_node {
    struct topic_node *parent;   /* NULL: root */
    union {                      /* children: */
        struct topic_node *only; /* CHILD_ONLY */
        struct branch *branch;   /* CHILD_MANY: two or more */
    };
    union {              /* retained for the topic that ends here: */
        struct msg *msg; /* NODE_HERE */
        struct {
            uint32_t stamp, bytes; /* NODE_AWAY: on disk alone */
        };
    };
    uint32_t pins; /* scans that stand here */
    uint16_t level_bytes;
    uint8_t kind;     /* enum node_kind */
    uint8_t children; /* enum child_kind */
    uint8_t level[];
};

enum node_kind { NODE_EMPTY, NODE_HERE, NODE_AWAY };
enum child_kind { CHILD_NONE, CHILD_ONLY, CHILD_MANY };

/* A root: a node with an empty level and no parent. NULL: memory is exhausted. */
struct topic_node *topic_node_new_root(void);

/* The whole tree with its references to messages; no scan stands in it. Accepts NULL. */
void topic_node_free(struct topic_node *root);

/* The node of exactly this topic, or NULL. */
struct topic_node *topic_node_find(struct topic_node *root, struct slice topic, uint64_t seed);

/*
 * The node of this topic, made with all that leads to it if need be: it holds nothing yet, and goes
 * with topic_node_prune(). NULL: memory is exhausted, nothing changed.
 */
struct topic_node *topic_node_make(struct topic_node *root, struct slice topic, uint64_t seed);

/* From node upwards, remove what holds nothing (T3). */
void topic_node_prune(struct topic_node *node, uint64_t seed);

/* The child with that level, or NULL. */
struct topic_node *topic_node_child(const struct topic_node *node, struct slice level,
                                    uint64_t seed);

/* The first child, and the one that follows `child` in its parent's order; NULL: there is none. */
struct topic_node *topic_node_first(const struct topic_node *node);
struct topic_node *topic_node_after(const struct topic_node *child, uint64_t seed);

static inline struct slice topic_node_level(const struct topic_node *node)
{
    return slice_of(node->level, node->level_bytes);
}

#endif
