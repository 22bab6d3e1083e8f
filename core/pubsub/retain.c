#include "core/pubsub/retain.h"

#include "core/base/blocks.h"
#include "core/pubsub/retain_tree.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

struct retain {
    pthread_mutex_t lock; /* over everything but what is atomic */
    struct topic_node *root;
    uint64_t seed;
    uint64_t count_max, bytes_max;
    uint32_t stamp_last;
    _Atomic uint64_t count, bytes;                   /* messages kept, msg_bytes() of them all */
    _Atomic uint64_t memory_bytes, memory_bytes_max; /* of those in memory; what there may be */
};

struct retain *retain_new(uint64_t count_max, uint64_t bytes_max, uint64_t seed)
{
    struct retain *retain = calloc(1, sizeof(*retain));
    struct topic_node *root = topic_node_new_root();
    if (retain == NULL || root == NULL) {
        free(retain);
        free(root);
        return NULL;
    }
    retain->root = root;
    retain->seed = seed;
    retain->count_max = count_max;
    retain->bytes_max = bytes_max;
    retain->memory_bytes_max = UINT64_MAX;
    pthread_mutex_init(&retain->lock, NULL);
    return retain;
}

void retain_free(struct retain *retain)
{
    if (retain == NULL) {
        return;
    }
    topic_node_free(retain->root);
    pthread_mutex_destroy(&retain->lock);
    free(retain);
}

void retain_set_limits(struct retain *retain, uint64_t count_max, uint64_t bytes_max)
{
    pthread_mutex_lock(&retain->lock);
    retain->count_max = count_max;
    retain->bytes_max = bytes_max;
    pthread_mutex_unlock(&retain->lock);
}

void retain_set_memory_max(struct retain *retain, uint64_t memory_bytes_max)
{
    atomic_store_explicit(&retain->memory_bytes_max, memory_bytes_max, memory_order_relaxed);
}

/* Relaxed throughout: statistics; what must be exact is decided under the lock. */
uint64_t retain_count(const struct retain *retain)
{
    return atomic_load_explicit(&retain->count, memory_order_relaxed);
}

uint64_t retain_bytes(const struct retain *retain)
{
    return atomic_load_explicit(&retain->bytes, memory_order_relaxed);
}

uint64_t retain_memory_bytes(const struct retain *retain)
{
    return atomic_load_explicit(&retain->memory_bytes, memory_order_relaxed);
}

bool retain_is_crowded(const struct retain *retain)
{
    return retain_memory_bytes(retain) >
           atomic_load_explicit(&retain->memory_bytes_max, memory_order_relaxed);
}

/* ---- what a node holds ----------------------------------------------------------------------- */

static uint32_t weight(const struct topic_node *node)
{
    if (node == NULL || node->kind == NODE_EMPTY) {
        return 0;
    }
    return node->kind == NODE_HERE ? msg_bytes(node->msg) : node->bytes;
}

/* Only who holds the lock writes them: no locked instruction is needed. */
static void add(_Atomic uint64_t *total, int64_t difference)
{
    uint64_t now = atomic_load_explicit(total, memory_order_relaxed);
    atomic_store_explicit(total, now + (uint64_t)difference, memory_order_relaxed);
}

static void count(struct retain *retain, const struct topic_node *node, int sign)
{
    int64_t bytes = (int64_t)sign * weight(node);
    add(&retain->count, sign);
    add(&retain->bytes, bytes);
    add(&retain->memory_bytes, node->kind == NODE_HERE ? bytes : 0);
}

/* It holds nothing any more. What it held in memory the caller now owns, or NULL. Not pruned. */
static struct msg *node_empty(struct retain *retain, struct topic_node *node)
{
    struct msg *msg = node->kind == NODE_HERE ? node->msg : NULL;
    if (node->kind != NODE_EMPTY) {
        count(retain, node, -1);
        node->kind = NODE_EMPTY;
    }
    return msg;
}

static void node_hold(struct retain *retain, struct topic_node *node, struct msg *msg)
{
    node->kind = NODE_HERE;
    node->msg = msg_ref(msg);
    count(retain, node, +1);
}

static void node_hold_away(struct retain *retain, struct topic_node *node, uint32_t bytes)
{
    retain->stamp_last += retain->stamp_last == UINT32_MAX ? 2 : 1; /* 0 is none */
    node->kind = NODE_AWAY;
    node->stamp = retain->stamp_last;
    node->bytes = bytes;
    count(retain, node, +1);
}

static bool is_expired(const struct msg *msg, uint64_t wall_ms)
{
    return msg->expires_wall_ms != 0 && msg->expires_wall_ms <= wall_ms;
}

/* ---- one topic ------------------------------------------------------------------------------- */

/* May so many bytes take the place of what node (NULL: none) has? What makes it less always may. */
static bool fits(const struct retain *retain, const struct topic_node *node, uint32_t bytes)
{
    bool is_new = node == NULL || node->kind == NODE_EMPTY;
    uint32_t old_bytes = weight(node);

    if (is_new && retain->count_max > 0 && retain_count(retain) >= retain->count_max) {
        return false;
    }
    return retain->bytes_max == 0 || bytes <= old_bytes ||
           retain_bytes(retain) + (bytes - old_bytes) <= retain->bytes_max;
}

static void clear_locked(struct retain *retain, struct slice topic, struct msg **old)
{
    struct topic_node *node = topic_node_find(retain->root, topic, retain->seed);
    if (node != NULL) {
        *old = node_empty(retain, node);
        topic_node_prune(node, retain->seed);
    }
}

/* The node of a topic, emptied, to hold so many bytes. ERR_QUOTA, ERR_NOMEM: nothing changed. */
static enum err make_room(struct retain *retain, struct slice topic, uint32_t bytes,
                          struct topic_node **out, struct msg **old)
{
    struct topic_node *node = topic_node_find(retain->root, topic, retain->seed);
    if (!fits(retain, node, bytes)) {
        return ERR_QUOTA;
    }
    if (node == NULL) {
        node = topic_node_make(retain->root, topic, retain->seed);
    }
    if (node == NULL) {
        return ERR_NOMEM;
    }
    *old = node_empty(retain, node);
    *out = node;
    return OK;
}

enum err retain_set(struct retain *retain, struct msg *msg)
{
    struct topic_node *node;
    struct msg *old = NULL;
    enum err err = OK;

    ASSERT(msg->topic.count > 0);
    pthread_mutex_lock(&retain->lock);
    if (msg->payload.count == 0) {
        clear_locked(retain, msg->topic, &old); /* [MQTT-3.3.1-6] [MQTT-3.3.1-7] */
    } else {
        err = make_room(retain, msg->topic, msg_bytes(msg), &node, &old); /* [MQTT-3.3.1-5] */
        if (err == OK) {
            node_hold(retain, node, msg);
        }
    }
    pthread_mutex_unlock(&retain->lock);
    msg_unref(old); /* may free megabytes: not under the lock */
    return err;
}

enum err retain_set_away(struct retain *retain, struct slice topic, uint32_t bytes)
{
    struct topic_node *node;
    struct msg *old = NULL;

    ASSERT(topic.count > 0);
    pthread_mutex_lock(&retain->lock);
    enum err err = make_room(retain, topic, bytes, &node, &old);
    if (err == OK) {
        node_hold_away(retain, node, bytes);
    }
    pthread_mutex_unlock(&retain->lock);
    msg_unref(old);
    return err;
}

void retain_let_go(struct retain *retain, const struct msg *msg)
{
    struct msg *old = NULL;

    pthread_mutex_lock(&retain->lock);
    struct topic_node *node = topic_node_find(retain->root, msg->topic, retain->seed);
    if (node != NULL && node->kind == NODE_HERE && node->msg == msg) {
        old = node_empty(retain, node);
        node_hold_away(retain, node, msg_bytes(msg));
    }
    pthread_mutex_unlock(&retain->lock);
    msg_unref(old);
}

void retain_drop_away(struct retain *retain, struct slice topic, uint32_t stamp)
{
    pthread_mutex_lock(&retain->lock);
    struct topic_node *node = topic_node_find(retain->root, topic, retain->seed);
    if (node != NULL && node->kind == NODE_AWAY && node->stamp == stamp) {
        node_empty(retain, node);
        topic_node_prune(node, retain->seed);
    }
    pthread_mutex_unlock(&retain->lock);
}

void retain_drop(struct retain *retain, struct slice topic)
{
    struct msg *old = NULL;

    pthread_mutex_lock(&retain->lock);
    clear_locked(retain, topic, &old);
    pthread_mutex_unlock(&retain->lock);
    msg_unref(old);
}

struct retained retain_look(struct retain *retain, struct slice topic, uint64_t wall_ms)
{
    struct retained retained = {0};

    pthread_mutex_lock(&retain->lock);
    const struct topic_node *node = topic_node_find(retain->root, topic, retain->seed);
    if (node != NULL && node->kind == NODE_AWAY) {
        retained.stamp = node->stamp;
    } else if (node != NULL && node->kind == NODE_HERE && !is_expired(node->msg, wall_ms)) {
        retained.msg = msg_ref(node->msg);
    }
    pthread_mutex_unlock(&retain->lock);
    return retained;
}

/* --- scans ----------------------------------------------------------------------------------- */

/*
 * A walk in preorder over the nodes that the filter admits. Between two calls the scan stands on a
 * node and pins it, so that it hangs until the scan moves on, however empty: from there parent,
 * children and the sibling behind it are found whatever has come and gone (retain_tree.h).
 */
struct retain_scan {
    struct retain *retain;
    struct topic_node *node; /* pinned; root: also where the walk ends */
    uint32_t depth;          /* of node: levels of its topic */
    bool is_leaving;         /* node and all below it are done */
    bool is_whole;           /* nothing is hidden from it */
    bool has_rest;           /* the filter ends with "#" */
    uint32_t level_count;    /* of the filter, without "#" */
    uint32_t *starts;        /* of the levels in the filter, and one behind the last */
    uint8_t filter[];
};

static struct slice scan_level(const struct retain_scan *scan, uint32_t depth)
{
    uint32_t start = scan->starts[depth];
    return slice_of(scan->filter + start, scan->starts[depth + 1] - start - 1);
}

/* Does the filter admit any child of a node at this depth, or only that of scan_level()? */
static bool admits_any(const struct retain_scan *scan, uint32_t depth)
{
    return depth >= scan->level_count ? scan->has_rest : level_is(scan_level(scan, depth), '+');
}

/* [MQTT-4.7.2-1]: a wildcard in the first level does not reach topics that begin with '$'. */
static bool is_hidden(const struct retain_scan *scan)
{
    return !scan->is_whole && scan->depth == 1 && scan->node->level_bytes > 0 &&
           scan->node->level[0] == '$' && admits_any(scan, 0);
}

static void split_filter(struct retain_scan *scan, struct slice filter)
{
    struct level_walk walk = level_walk_of(filter);
    struct slice level;

    scan->starts[0] = 0;
    while (level_next(&walk, &level)) {
        scan->has_rest = level_is(level, '#');
        if (!scan->has_rest) {
            scan->starts[++scan->level_count] = (uint32_t)walk.start;
        }
    }
}

static void pin(struct topic_node *node)
{
    node->pins++;
    ASSERT(node->pins > 0);
}

static void unpin(struct retain *retain, struct topic_node *node)
{
    ASSERT(node->pins > 0);
    node->pins--;
    topic_node_prune(node, retain->seed);
}

struct retain_scan *retain_scan_new(struct retain *retain, struct slice filter)
{
    uint32_t level_count = 1;
    ASSERT(filter.count <= UINT16_MAX);
    for (size_t i = 0; i < filter.count; i++) {
        level_count += filter.data[i] == '/';
    }
    struct retain_scan *scan = calloc(1, sizeof(*scan) + filter.count);
    uint32_t *starts = calloc(level_count + 1, sizeof(starts[0]));
    if (scan == NULL || starts == NULL) {
        free(scan);
        free(starts);
        return NULL;
    }
    if (filter.count > 0) {
        memcpy(scan->filter, filter.data, filter.count);
    }
    scan->retain = retain;
    scan->starts = starts;
    scan->node = retain->root;
    split_filter(scan, filter);
    pthread_mutex_lock(&retain->lock);
    pin(scan->node);
    pthread_mutex_unlock(&retain->lock);
    return scan;
}

struct retain_scan *retain_scan_new_whole(struct retain *retain)
{
    struct retain_scan *scan = retain_scan_new(retain, slice_text("#"));
    if (scan != NULL) {
        scan->is_whole = true;
    }
    return scan;
}

void retain_scan_free(struct retain_scan *scan)
{
    if (scan == NULL) {
        return;
    }
    pthread_mutex_lock(&scan->retain->lock);
    unpin(scan->retain, scan->node);
    pthread_mutex_unlock(&scan->retain->lock);
    free(scan->starts);
    free(scan);
}

static void stand_on(struct retain_scan *scan, struct topic_node *node, uint32_t depth)
{
    struct topic_node *before = scan->node;
    pin(node);
    scan->node = node;
    scan->depth = depth;
    unpin(scan->retain, before); /* an empty one goes now, and never the one we stand on */
}

/* The child by which the walk goes down, or NULL. */
static struct topic_node *way_down(const struct retain_scan *scan)
{
    if (is_hidden(scan)) {
        return NULL;
    }
    if (admits_any(scan, scan->depth)) {
        return topic_node_first(scan->node);
    }
    return scan->depth >= scan->level_count
               ? NULL
               : topic_node_child(scan->node, scan_level(scan, scan->depth), scan->retain->seed);
}

/* One step: down, to the next sibling, or up. False: the walk is over. */
static bool scan_move(struct retain_scan *scan)
{
    if (!scan->is_leaving) {
        struct topic_node *child = way_down(scan);
        scan->is_leaving = child == NULL;
        if (child != NULL) {
            stand_on(scan, child, scan->depth + 1);
        }
        return true;
    }
    if (scan->depth == 0) {
        return false;
    }
    struct topic_node *next = admits_any(scan, scan->depth - 1)
                                  ? topic_node_after(scan->node, scan->retain->seed)
                                  : NULL;
    if (next != NULL) {
        scan->is_leaving = false;
        stand_on(scan, next, scan->depth);
    } else {
        stand_on(scan, scan->node->parent, scan->depth - 1);
    }
    return true;
}

/* Is the topic of the node that the scan has just come to one that the filter matches? */
static bool is_match(const struct retain_scan *scan)
{
    if (scan->is_leaving || scan->node->kind == NODE_EMPTY || is_hidden(scan)) {
        return false;
    }
    return scan->depth == scan->level_count || (scan->has_rest && scan->depth > scan->level_count);
}

/* A message without payload that has the topic of the node, or NULL: memory is exhausted. */
static struct msg *stand_in(const struct topic_node *last)
{
    size_t count = 0;
    for (const struct topic_node *node = last; node->parent != NULL; node = node->parent) {
        count += (size_t)node->level_bytes + 1;
    }
    uint8_t *topic = blocks_take(count), *at = topic + count;
    if (topic == NULL) {
        return NULL;
    }
    for (const struct topic_node *node = last; node->parent != NULL; node = node->parent) {
        *--at = '/'; /* the last one is one too many */
        at -= node->level_bytes;
        memcpy(at, node->level, node->level_bytes);
    }
    struct msg *msg = msg_new(&(struct msg_spec){.topic = slice_of(topic, count - 1)});
    blocks_give(topic, count);
    return msg;
}

/* What the scan stands on. false: memory is exhausted. */
static bool found(struct retain_scan *scan, uint64_t wall_ms, struct retained *out, uint32_t *count)
{
    struct topic_node *node = scan->node;
    struct retained retained = {0};
    if (node->kind == NODE_AWAY) {
        retained = (struct retained){stand_in(node), node->stamp};
    } else if (is_expired(node->msg, wall_ms)) {
        msg_unref(node_empty(scan->retain, node)); /* the node goes when the scan moves on */
        return true;
    } else {
        retained.msg = msg_ref(node->msg);
    }
    if (retained.msg != NULL) {
        out[(*count)++] = retained;
    }
    return retained.msg != NULL;
}

uint32_t retain_scan_next(struct retain_scan *scan, uint64_t wall_ms, struct retained *out,
                          uint32_t max, bool *is_done)
{
    struct retain *retain = scan->retain;
    uint32_t count = 0;
    bool is_over = false;

    pthread_mutex_lock(&retain->lock);
    for (uint32_t step = 0; step < RETAIN_SCAN_STEPS && count < max && !is_over; step++) {
        is_over = !scan_move(scan);
        if (!is_over && is_match(scan)) {
            is_over = !found(scan, wall_ms, out, &count);
        }
    }
    pthread_mutex_unlock(&retain->lock);
    *is_done = is_over;
    return count;
}
