#include "core/pubsub/retain_tree.h"

#include "core/base/ledger.h"

#include <stdlib.h>

struct place {
    uint64_t hash;
    struct topic_node *node; /* NULL: empty */
};

struct branch {
    uint32_t count;
    uint32_t place_count; /* the homes and a tail for who is pushed beyond the last of them */
    uint8_t home_bits;    /* 2^home_bits homes */
    struct place places[];
};

enum { HOME_BITS_MAX = 30 };

static uint32_t home_count(uint8_t home_bits)
{
    return UINT32_C(1) << home_bits;
}

static uint32_t place_count_for(uint8_t home_bits)
{
    /* One child is common and gets one place. The tail need not suffice: without it we grow. */
    return home_count(home_bits) + (home_bits < 4 ? home_bits : 4u * home_bits);
}

static uint32_t room_of(const struct branch *branch)
{
    uint32_t homes = home_count(branch->home_bits);
    return branch->home_bits < 3 ? homes : homes / 4 * 3;
}

static uint32_t home_of(const struct branch *branch, uint64_t hash)
{
    return branch->home_bits == 0 ? 0 : (uint32_t)(hash >> (64 - branch->home_bits));
}

static size_t branch_bytes(uint8_t home_bits)
{
    return sizeof(struct branch) + place_count_for(home_bits) * sizeof(struct place);
}

static struct branch *branch_new(uint8_t home_bits)
{
    struct branch *branch = calloc(1, branch_bytes(home_bits));
    if (branch != NULL) {
        ledger_add(LEDGER_RETAINED, ledger_block(branch_bytes(home_bits)));
        branch->place_count = place_count_for(home_bits);
        branch->home_bits = home_bits;
    }
    return branch;
}

static void branch_free(struct branch *branch)
{
    ledger_add(LEDGER_RETAINED, -ledger_block(branch_bytes(branch->home_bits)));
    free(branch);
}

/* Below, at or above the key (hash, level): as with memcmp. */
static int place_compare(const struct place *place, uint64_t hash, struct slice level)
{
    if (place->hash != hash) {
        return place->hash < hash ? -1 : 1;
    }
    struct slice own = topic_node_level(place->node);
    if (own.count != level.count) {
        return own.count < level.count ? -1 : 1;
    }
    return own.count == 0 ? 0 : memcmp(own.data, level.data, own.count);
}

/* Where the key is, or would be put: the first place from its home that is empty or not below. */
static uint32_t place_of(const struct branch *branch, uint64_t hash, struct slice level)
{
    uint32_t at = home_of(branch, hash);
    while (at < branch->place_count && branch->places[at].node != NULL &&
           place_compare(&branch->places[at], hash, level) < 0) {
        at++;
    }
    return at;
}

static bool is_at(const struct branch *branch, uint32_t at, uint64_t hash, struct slice level)
{
    return at < branch->place_count && branch->places[at].node != NULL &&
           place_compare(&branch->places[at], hash, level) == 0;
}

/* The first child at a place or right of it. */
static struct topic_node *first_from(const struct branch *branch, uint32_t at)
{
    while (at < branch->place_count && branch->places[at].node == NULL) {
        at++;
    }
    return at < branch->place_count ? branch->places[at].node : NULL;
}

/* A copy with another number of homes. NULL: no memory, or its tail is too short. */
static struct branch *branch_copy(const struct branch *old, uint8_t home_bits)
{
    struct branch *branch = branch_new(home_bits);
    uint32_t next = 0; /* T1 */
    if (branch == NULL) {
        return NULL;
    }
    for (uint32_t i = 0; i < old->place_count; i++) {
        if (old->places[i].node == NULL) {
            continue;
        }
        uint32_t home = home_of(branch, old->places[i].hash);
        uint32_t at = home > next ? home : next; /* T2 */
        if (at >= branch->place_count) {
            branch_free(branch);
            return NULL;
        }
        branch->places[at] = old->places[i];
        next = at + 1;
    }
    branch->count = old->count;
    return branch;
}

/* Put child where the order wants it, moving others right. False: no room, nothing changed. */
static bool branch_insert(struct branch *branch, struct topic_node *child, uint64_t hash)
{
    uint32_t at = place_of(branch, hash, topic_node_level(child)), free_at = at;

    if (branch->count >= room_of(branch)) {
        return false;
    }
    while (free_at < branch->place_count && branch->places[free_at].node != NULL) {
        free_at++;
    }
    if (free_at == branch->place_count) {
        return false;
    }
    memmove(&branch->places[at + 1], &branch->places[at],
            (free_at - at) * sizeof(branch->places[0]));
    branch->places[at] = (struct place){.hash = hash, .node = child};
    branch->count++;
    return true;
}

/* The only child moves into a table. */
static enum err spread(struct topic_node *node, uint64_t seed)
{
    struct branch *branch = branch_new(1);
    if (branch == NULL) {
        return ERR_NOMEM;
    }
    bool is_in = branch_insert(branch, node->only, level_hash(topic_node_level(node->only), seed));
    ASSERT(is_in);
    node->branch = branch;
    node->children = CHILD_MANY;
    return OK;
}

/* The table of node shrinks, or goes, with its children. */
static void branch_shrink(struct topic_node *node)
{
    struct branch *branch = node->branch;

    if (branch->count == 1) {
        node->only = first_from(branch, 0);
        node->children = CHILD_ONLY;
        branch_free(branch);
        return;
    }
    if (branch->home_bits >= 3 && branch->count <= home_count(branch->home_bits) / 8) {
        struct branch *smaller = branch_copy(branch, branch->home_bits - 2);
        if (smaller != NULL) { /* else it stays large */
            node->branch = smaller;
            branch_free(branch);
        }
    }
}

static enum err add_child(struct topic_node *node, struct topic_node *child, uint64_t seed)
{
    if (node->children == CHILD_NONE) {
        node->only = child;
        node->children = CHILD_ONLY;
        return OK;
    }
    if (node->children == CHILD_ONLY) {
        TRY(spread(node, seed));
    }
    uint64_t hash = level_hash(topic_node_level(child), seed);
    while (!branch_insert(node->branch, child, hash)) {
        uint8_t home_bits = node->branch->home_bits + 1;
        struct branch *larger = home_bits > HOME_BITS_MAX ? NULL
                                                          : branch_copy(node->branch, home_bits);
        if (larger == NULL) {
            branch_shrink(node); /* it may have been made for a child that never came */
            return ERR_NOMEM;
        }
        branch_free(node->branch);
        node->branch = larger;
    }
    return OK;
}

static void remove_child(struct topic_node *node, struct topic_node *child, uint64_t seed)
{
    if (node->children == CHILD_ONLY) {
        ASSERT(node->only == child);
        node->children = CHILD_NONE;
        return;
    }
    struct branch *branch = node->branch;
    struct slice level = topic_node_level(child);
    uint64_t hash = level_hash(level, seed);
    uint32_t at = place_of(branch, hash, level);

    ASSERT(is_at(branch, at, hash, level));
    /* T2: who was pushed moves back until somebody is at home. */
    for (at++; at < branch->place_count && branch->places[at].node != NULL &&
               home_of(branch, branch->places[at].hash) < at;
         at++) {
        branch->places[at - 1] = branch->places[at];
    }
    branch->places[at - 1] = (struct place){0};
    branch->count--;
    branch_shrink(node);
}

static size_t node_bytes(size_t level_bytes)
{
    return offsetof(struct topic_node, level) + level_bytes;
}

static struct topic_node *node_new(struct topic_node *parent, struct slice level)
{
    struct topic_node *node = calloc(1, node_bytes(level.count));
    if (node == NULL) {
        return NULL;
    }
    ledger_add(LEDGER_RETAINED, ledger_block(node_bytes(level.count)));
    ASSERT(level.count <= UINT16_MAX);
    node->parent = parent;
    node->level_bytes = (uint16_t)level.count;
    if (level.count > 0) {
        memcpy(node->level, level.data, level.count);
    }
    return node;
}

/* Accepts NULL. */
static void node_free(struct topic_node *node)
{
    if (node != NULL) {
        ledger_add(LEDGER_RETAINED, -ledger_block(node_bytes(node->level_bytes)));
        free(node);
    }
}

struct topic_node *topic_node_new_root(void)
{
    return node_new(NULL, slice_of("", 0));
}

struct topic_node *topic_node_child(const struct topic_node *node, struct slice level,
                                    uint64_t seed)
{
    if (node->children == CHILD_ONLY) {
        return slice_equal(topic_node_level(node->only), level) ? node->only : NULL;
    }
    if (node->children == CHILD_NONE) {
        return NULL;
    }
    uint64_t hash = level_hash(level, seed);
    uint32_t at = place_of(node->branch, hash, level);
    return is_at(node->branch, at, hash, level) ? node->branch->places[at].node : NULL;
}

struct topic_node *topic_node_find(struct topic_node *root, struct slice topic, uint64_t seed)
{
    struct level_walk walk = level_walk_of(topic);
    struct topic_node *node = root;
    struct slice level;

    while (node != NULL && level_next(&walk, &level)) {
        node = topic_node_child(node, level, seed);
    }
    return node;
}

struct topic_node *topic_node_make(struct topic_node *root, struct slice topic, uint64_t seed)
{
    struct level_walk walk = level_walk_of(topic);
    struct topic_node *node = root;
    struct slice level;

    while (level_next(&walk, &level)) {
        struct topic_node *child = topic_node_child(node, level, seed);
        if (child == NULL) {
            child = node_new(node, level);
            if (child == NULL || add_child(node, child, seed) != OK) {
                node_free(child);
                topic_node_prune(node, seed);
                return NULL;
            }
        }
        node = child;
    }
    return node;
}

void topic_node_prune(struct topic_node *node, uint64_t seed)
{
    while (node->parent != NULL && node->kind == NODE_EMPTY && node->children == CHILD_NONE &&
           node->pins == 0) {
        struct topic_node *parent = node->parent;
        remove_child(parent, node, seed);
        node_free(node);
        node = parent;
    }
}

struct topic_node *topic_node_first(const struct topic_node *node)
{
    if (node->children == CHILD_ONLY) {
        return node->only;
    }
    return node->children == CHILD_MANY ? first_from(node->branch, 0) : NULL;
}

struct topic_node *topic_node_after(const struct topic_node *child, uint64_t seed)
{
    if (child->parent->children == CHILD_ONLY) {
        ASSERT(child->parent->only == child); /* a pinned node hangs, T3 */
        return NULL;
    }
    const struct branch *branch = child->parent->branch;
    struct slice level = topic_node_level(child);
    uint64_t hash = level_hash(level, seed);
    uint32_t at = place_of(branch, hash, level);

    ASSERT(is_at(branch, at, hash, level)); /* the same */
    return first_from(branch, at + 1);
}

/* Take the last child out of a tree that is being freed: its table is only cut from the right. */
static struct topic_node *pop_child(struct topic_node *node)
{
    struct branch *branch = node->branch;
    if (node->children != CHILD_MANY) {
        struct topic_node *only = node->children == CHILD_ONLY ? node->only : NULL;
        node->children = CHILD_NONE;
        return only;
    }
    while (branch->place_count > 0) {
        struct topic_node *child = branch->places[--branch->place_count].node;
        if (child != NULL) {
            return child;
        }
    }
    branch_free(branch);
    node->children = CHILD_NONE;
    return NULL;
}

void topic_node_free(struct topic_node *root)
{
    struct topic_node *node = root;
    while (node != NULL) {
        struct topic_node *child = pop_child(node);
        if (child != NULL) {
            node = child;
            continue;
        }
        struct topic_node *parent = node == root ? NULL : node->parent;
        ASSERT(node == root || node->pins == 0); /* a scan is still there */
        msg_unref(node->kind == NODE_HERE ? node->msg : NULL);
        node_free(node);
        node = parent;
    }
}
