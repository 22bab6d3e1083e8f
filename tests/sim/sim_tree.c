#include "tests/sim/sim_tree.h"

#include "core/base/map.h"

#include <stdlib.h>

static void *take(size_t bytes)
{
    void *memory = malloc(bytes);
    ASSERT(memory != NULL);
    return memory;
}

static int compare(struct slice a, struct slice b)
{
    size_t common = a.count < b.count ? a.count : b.count;
    int order = common == 0 ? 0 : memcmp(a.data, b.data, common);
    return order != 0 ? order : (a.count > b.count) - (a.count < b.count);
}

/* ---- items ---------------------------------------------------------------------------------- */

struct slice tree_key(const struct tree_item *item)
{
    return slice_of(item->bytes, item->key_count);
}

struct slice tree_value(const struct tree_item *item)
{
    return slice_of(item->bytes + item->key_count, item->value_count);
}

static struct tree_item *item_new(struct slice key, struct slice value, bool is_damaged)
{
    struct tree_item *item = take(sizeof *item + key.count + value.count);
    *item = (struct tree_item){.refs = 1,
                               .is_damaged = is_damaged,
                               .priority = hash_bytes(key),
                               .key_count = key.count,
                               .value_count = value.count};
    if (key.count > 0) {
        memcpy(item->bytes, key.data, key.count);
    }
    if (value.count > 0) {
        memcpy(item->bytes + key.count, value.data, value.count);
    }
    return item;
}

static struct tree_item *item_ref(struct tree_item *item)
{
    item->refs++;
    return item;
}

static void item_unref(struct tree_item *item)
{
    ASSERT(item->refs > 0);
    item->refs--;
    if (item->refs == 0) {
        free(item);
    }
}

/* ---- trees ---------------------------------------------------------------------------------- */

uint64_t tree_count(const struct tree *tree)
{
    return tree == NULL ? 0 : tree->count;
}

struct tree *tree_ref(struct tree *tree)
{
    if (tree != NULL) {
        tree->refs++;
    }
    return tree;
}

void tree_unref(struct tree *tree)
{
    while (tree != NULL) {
        ASSERT(tree->refs > 0);
        tree->refs--;
        if (tree->refs > 0) {
            return;
        }
        struct tree *right = tree->right;
        tree_unref(tree->left);
        item_unref(tree->item);
        free(tree);
        tree = right;
    }
}

/* A node over both, whose references it takes, as that of the item. */
static struct tree *node(struct tree *left, struct tree_item *item, struct tree *right)
{
    struct tree *tree = take(sizeof *tree);
    *tree = (struct tree){.refs = 1,
                          .count = tree_count(left) + 1 + tree_count(right),
                          .left = left,
                          .right = right,
                          .item = item};
    return tree;
}

/* What is below the key, and what is not, as two trees; the reference to tree is taken. */
static void split(struct tree *tree, struct slice key, struct tree **below, struct tree **rest)
{
    struct tree *middle;
    if (tree == NULL) {
        *below = *rest = NULL;
        return;
    }
    if (compare(tree_key(tree->item), key) < 0) {
        split(tree_ref(tree->right), key, &middle, rest);
        *below = node(tree_ref(tree->left), item_ref(tree->item), middle);
    } else {
        split(tree_ref(tree->left), key, below, &middle);
        *rest = node(middle, item_ref(tree->item), tree_ref(tree->right));
    }
    tree_unref(tree);
}

static bool is_above(const struct tree_item *a, const struct tree_item *b)
{
    return a->priority != b->priority ? a->priority > b->priority
                                      : compare(tree_key(a), tree_key(b)) > 0;
}

/* One tree of two, every key of left below every key of right; both references are taken. */
static struct tree *join(struct tree *left, struct tree *right)
{
    if (left == NULL || right == NULL) {
        return left == NULL ? right : left;
    }
    struct tree *joined;
    if (is_above(left->item, right->item)) {
        joined = node(tree_ref(left->left), item_ref(left->item),
                      join(tree_ref(left->right), right));
        tree_unref(left);
    } else {
        joined = node(join(left, tree_ref(right->left)), item_ref(right->item),
                      tree_ref(right->right));
        tree_unref(right);
    }
    return joined;
}

/* Take one key out of a tree that begins with it, or does not have it. */
static struct tree *without_first(struct tree *tree, struct slice key)
{
    if (tree == NULL) {
        return NULL;
    }
    struct tree *rest;
    if (tree->left != NULL) {
        rest = node(without_first(tree_ref(tree->left), key), item_ref(tree->item),
                    tree_ref(tree->right));
    } else if (slice_equal(tree_key(tree->item), key)) {
        rest = tree_ref(tree->right);
    } else {
        return tree;
    }
    tree_unref(tree);
    return rest;
}

struct tree *tree_put(struct tree *tree, struct slice key, struct slice value, bool is_damaged)
{
    struct tree *below, *rest;
    struct tree_item *item = item_new(key, value, is_damaged);
    split(tree, key, &below, &rest);
    return join(join(below, node(NULL, item, NULL)), without_first(rest, key));
}

struct tree *tree_delete(struct tree *tree, struct slice key)
{
    struct tree *below, *rest;
    if (tree_get(tree, key) == NULL) {
        return tree;
    }
    split(tree, key, &below, &rest);
    return join(below, without_first(rest, key));
}

struct tree *tree_delete_range(struct tree *tree, struct slice from, struct slice to)
{
    struct tree *below, *inside, *above, *rest;
    if (compare(from, to) >= 0) {
        return tree;
    }
    split(tree, from, &below, &rest);
    split(rest, to, &inside, &above);
    tree_unref(inside);
    return join(below, above);
}

const struct tree_item *tree_from(const struct tree *tree, struct slice key, bool above)
{
    const struct tree_item *found = NULL;
    while (tree != NULL) {
        int order = compare(tree_key(tree->item), key);
        bool fits = above ? order > 0 : order >= 0;
        found = fits ? tree->item : found;
        tree = fits ? tree->left : tree->right;
    }
    return found;
}

const struct tree_item *tree_get(const struct tree *tree, struct slice key)
{
    const struct tree_item *item = tree_from(tree, key, false);
    return item != NULL && slice_equal(tree_key(item), key) ? item : NULL;
}

const struct tree_item *tree_at(const struct tree *tree, uint64_t index)
{
    ASSERT(index < tree_count(tree));
    while (index != tree_count(tree->left)) {
        if (index < tree_count(tree->left)) {
            tree = tree->left;
        } else {
            index -= tree_count(tree->left) + 1;
            tree = tree->right;
        }
    }
    return tree->item;
}
