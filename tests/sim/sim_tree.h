/*
 * sim_tree: an ordered map that keeps its past: each change makes a new tree and leaves the old one
 * as it was, with all that did not change shared between them.
 *
 * Floor:  tests.
 * Thread: one.
 * Memory: nodes and items are counted. A tree is its root, NULL an empty one; who keeps a root holds
 *         a reference to it. Memory that is exhausted ends the program: this is for tests.
 *
 * So a walk stands on the tree of its moment, and what a disk may hold after a crash is a choice among
 * roots. The shape depends on the keys alone (a treap, its priorities are their hashes): equal
 * contents are equal trees, however they came about.
 */
#ifndef TERN_SIM_SIM_TREE_H
#define TERN_SIM_SIM_TREE_H

#include "core/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

struct tree_item {
    uint32_t refs;
    bool is_damaged; /* who reads it is told */
    uint64_t priority;
    size_t key_count, value_count;
    uint8_t bytes[]; /* key, value */
};

struct tree {
    uint32_t refs;
    uint64_t count; /* items in it */
    struct tree *left, *right;
    struct tree_item *item;
};

struct slice tree_key(const struct tree_item *item);
struct slice tree_value(const struct tree_item *item);

struct tree *tree_ref(struct tree *tree);
void tree_unref(struct tree *tree);

/* Each takes the reference to tree and gives one to the tree that came of it. */
struct tree *tree_put(struct tree *tree, struct slice key, struct slice value, bool is_damaged);
struct tree *tree_delete(struct tree *tree, struct slice key);
struct tree *tree_delete_range(struct tree *tree, struct slice from, struct slice to);

/* Borrowed from the tree; NULL: not there. */
const struct tree_item *tree_get(const struct tree *tree, struct slice key);
/* The first item whose key is not below this one; is_above: above it. NULL: none. */
const struct tree_item *tree_from(const struct tree *tree, struct slice key, bool is_above);
/* The item at that place, from 0, in order; index < tree_count. */
const struct tree_item *tree_at(const struct tree *tree, uint64_t index);
uint64_t tree_count(const struct tree *tree);

#endif
