/*
 * Invariants
 *   T1  sequence[p] is of the last change that left; what has changed since stands in `changes`.
 *   T2  a listener of p is silent (knows nothing), in parts (is being told all, and every change between
 *       them), or told (all and every change up to sequence[p] was sent on this link).
 *   T3  who waits for p names the sequence that its change has, or will have.
 */
#include "cluster/route_tell.h"

#include "core/base/assert.h"
#include "core/base/blocks.h"
#include "core/base/buf.h"
#include "core/base/list.h"
#include "core/session/session.h"

#include <stdlib.h>

/* What a node knows of a partition. */
struct listener {
    enum { SILENT, IN_PARTS, TOLD } state;
    uint64_t cursor; /* IN_PARTS */
    uint64_t seen;   /* the last change that it said it has; 0: none */
    bool has_seen;   /* and all before */
};

struct node {
    struct list link;
    uint32_t id;
    bool is_live, is_up;
    struct listener listeners[PARTITION_COUNT];
};

struct waiter {
    struct list link;
    uint64_t sequence;
    mesh_done done;
    void *context;
};

struct partition {
    bool is_led;
    uint64_t term, sequence;
    struct buf changes;
    struct list waiters; /* in the order of their sequences */
};

struct route_tell {
    struct route_tell_host host;
    struct list nodes;
    uint64_t changed; /* partitions with changes that have not left */
    uint64_t
        unsure; /* partitions of which a listener is silent or in parts, on a link that is up */
    uint64_t check_ms;
    struct partition partitions[PARTITION_COUNT];
    struct buf scratch;
};

static uint64_t bit(uint32_t partition)
{
    return UINT64_C(1) << partition;
}

struct route_tell *route_tell_new(const struct route_tell_host *host)
{
    struct route_tell *tell = calloc(1, sizeof(*tell));
    if (tell == NULL) {
        return NULL;
    }
    tell->host = *host;
    list_init(&tell->nodes);
    for (uint32_t i = 0; i < PARTITION_COUNT; i++) {
        list_init(&tell->partitions[i].waiters);
    }
    return tell;
}

/* ---- who waits ---------------------------------------------------------------------------------- */

static void waiters_end(struct partition *partition, enum err err)
{
    struct list *link;
    while ((link = list_pop_front(&partition->waiters)) != NULL) {
        struct waiter waiter = *CONTAINER_OF(link, struct waiter, link);
        blocks_give(CONTAINER_OF(link, struct waiter, link), sizeof(waiter));
        waiter.done(waiter.context, err);
    }
}

/* The last change that all who are live have. */
static uint64_t seen_by_all(const struct route_tell *tell, uint32_t p)
{
    uint64_t seen = UINT64_MAX;
    LIST_EACH (&tell->nodes, link) {
        const struct node *node = CONTAINER_OF(link, struct node, link);
        const struct listener *listener = &node->listeners[p];
        if (!node->is_live) {
            continue;
        }
        if (!listener->has_seen) {
            return 0;
        }
        seen = listener->seen < seen ? listener->seen : seen;
    }
    return seen;
}

static bool is_known(const struct route_tell *tell, uint32_t p, uint64_t sequence)
{
    LIST_EACH (&tell->nodes, link) {
        const struct node *node = CONTAINER_OF(link, struct node, link);
        if (node->is_live && !node->listeners[p].has_seen) {
            return false;
        }
    }
    return seen_by_all(tell, p) >= sequence;
}

static void waiters_look(struct route_tell *tell, uint32_t p)
{
    struct partition *partition = &tell->partitions[p];
    while (!list_is_empty(&partition->waiters)) {
        struct waiter *first = CONTAINER_OF(partition->waiters.next, struct waiter, link);
        if (!is_known(tell, p, first->sequence)) {
            return;
        }
        struct waiter waiter = *first;
        list_remove(&first->link);
        blocks_give(first, sizeof(*first));
        waiter.done(waiter.context, OK);
    }
}

enum err route_tell_await(struct route_tell *tell, uint32_t p, mesh_done done, void *context)
{
    struct partition *partition = &tell->partitions[p];
    uint64_t sequence = partition->sequence + ((tell->changed & bit(p)) != 0); /* T3 */
    if (!partition->is_led) {
        return ERR_UNAVAILABLE;
    }
    if (is_known(tell, p, sequence)) {
        return OK;
    }
    struct waiter *waiter = blocks_take(sizeof(*waiter));
    if (waiter == NULL) {
        return ERR_NOMEM;
    }
    *waiter = (struct waiter){.sequence = sequence, .done = done, .context = context};
    list_push_back(&partition->waiters, &waiter->link);
    return ERR_AGAIN;
}

/* ---- nodes -------------------------------------------------------------------------------------- */

static struct node *node_find(const struct route_tell *tell, uint32_t id)
{
    LIST_EACH (&tell->nodes, link) {
        struct node *node = CONTAINER_OF(link, struct node, link);
        if (node->id == id) {
            return node;
        }
    }
    return NULL;
}

static void look_again(struct route_tell *tell)
{
    for (uint32_t i = 0; i < PARTITION_COUNT; i++) {
        waiters_look(tell, i);
    }
}

enum err route_tell_node(struct route_tell *tell, uint32_t id, bool is_live)
{
    struct node *node = node_find(tell, id);
    if (node == NULL && !is_live) {
        return OK;
    }
    if (node == NULL) {
        node = calloc(1, sizeof(*node));
        if (node == NULL) {
            return ERR_NOMEM;
        }
        node->id = id;
        list_push_back(&tell->nodes, &node->link);
    }
    node->is_live = is_live;
    if (!is_live && !node->is_up) {
        list_remove(&node->link);
        free(node);
    }
    look_again(tell);
    return OK;
}

void route_tell_link(struct route_tell *tell, uint32_t id, bool is_up)
{
    struct node *node = node_find(tell, id);
    if (node == NULL) {
        return;
    }
    node->is_up = is_up;
    for (uint32_t i = 0; i < PARTITION_COUNT; i++) {
        node->listeners[i] = (struct listener){.state = SILENT}; /* T2 */
    }
    tell->unsure |= is_up ? UINT64_MAX : 0;
    if (!is_up && !node->is_live) {
        list_remove(&node->link);
        free(node);
    }
}

enum err route_tell_seen(struct route_tell *tell, uint32_t id, struct slice body)
{
    struct mesh_seen_msg seen;
    TRY(mesh_seen_decode(body, &seen));
    struct node *node = node_find(tell, id);
    struct partition *partition = &tell->partitions[seen.partition];
    if (node == NULL || !partition->is_led || seen.term != partition->term) {
        return OK; /* of another time */
    }
    struct listener *listener = &node->listeners[seen.partition];
    if (seen.is_lost) {
        *listener = (struct listener){.state = SILENT};
        tell->unsure |= bit(seen.partition);
        return OK;
    }
    if (seen.sequence > partition->sequence) {
        return ERR_CORRUPT;
    }
    listener->seen = seen.sequence;
    listener->has_seen = true;
    waiters_look(tell, seen.partition);
    return OK;
}

/* ---- telling ------------------------------------------------------------------------------------ */

void route_tell_lead(struct route_tell *tell, uint32_t p, uint64_t term)
{
    struct partition *partition = &tell->partitions[p];
    ASSERT(!partition->is_led);
    partition->is_led = true;
    partition->term = term;
    partition->sequence = 0;
    LIST_EACH (&tell->nodes, link) {
        CONTAINER_OF(link, struct node, link)->listeners[p] = (struct listener){.state = SILENT};
    }
    tell->unsure |= bit(p);
}

void route_tell_give_up(struct route_tell *tell, uint32_t p)
{
    struct partition *partition = &tell->partitions[p];
    partition->is_led = false;
    tell->changed &= ~bit(p);
    tell->unsure &= ~bit(p);
    buf_deinit(&partition->changes);
    waiters_end(partition, ERR_UNAVAILABLE);
}

/* Without memory for it all nodes are told everything anew. */
void route_tell_change(struct route_tell *tell, uint32_t p, struct slice filter, bool is_wanted)
{
    struct partition *partition = &tell->partitions[p];
    if (!partition->is_led) {
        return; /* it is being loaded: all will be told */
    }
    tell->changed |= bit(p);
    if (mesh_routes_add(filter, is_wanted, &partition->changes) == OK) {
        return;
    }
    LIST_EACH (&tell->nodes, link) {
        CONTAINER_OF(link, struct node, link)->listeners[p] = (struct listener){.state = SILENT};
    }
    tell->unsure |= bit(p);
}

static bool send(struct route_tell *tell, struct node *node, uint32_t p, enum mesh_part part,
                 struct slice filters)
{
    const struct partition *partition = &tell->partitions[p];
    struct mesh_routes_msg msg = {.partition = p,
                                  .part = part,
                                  .term = partition->term,
                                  .sequence = partition->sequence,
                                  .digest = tell->host.digest(tell->host.context, p)};
    struct buf body = {0};
    bool is_sent = mesh_routes_encode(&msg, &body) == OK && buf_append(&body, filters) == OK &&
                   tell->host.send(tell->host.context, node->id, p, buf_bytes(&body)) == OK;
    buf_deinit(&body);
    if (!is_sent) {
        node->listeners[p] = (struct listener){.state = SILENT};
        tell->unsure |= bit(p);
    }
    return is_sent;
}

/* A change has a number, and goes to all who have heard the beginning. */
static void changes_send(struct route_tell *tell, uint32_t p)
{
    struct partition *partition = &tell->partitions[p];
    partition->sequence++;
    LIST_EACH (&tell->nodes, link) {
        struct node *node = CONTAINER_OF(link, struct node, link);
        if (node->is_up && node->listeners[p].state != SILENT) {
            send(tell, node, p, MESH_CHANGE, buf_bytes(&partition->changes));
        }
    }
    buf_deinit(&partition->changes);
    tell->changed &= ~bit(p);
    waiters_look(tell, p); /* there may be nobody to wait for */
}

/* Some of all that there are: as many as make a part. false: there are no more. */
static bool part_fill(struct route_tell *tell, uint32_t p, uint64_t *cursor)
{
    struct slice filter;
    buf_consume(&tell->scratch, buf_count(&tell->scratch));
    while (buf_count(&tell->scratch) < ROUTE_PART_BYTES) {
        if (!tell->host.next(tell->host.context, p, cursor, &filter)) {
            return false;
        }
        if (mesh_routes_add(filter, true, &tell->scratch) != OK) {
            return true; /* less than it might be */
        }
    }
    return true;
}

/* To a node whose link has room. true: it is told. */
static bool parts_send(struct route_tell *tell, struct node *node, uint32_t p)
{
    struct listener *listener = &node->listeners[p];
    while (tell->host.waiting(tell->host.context, node->id) < ROUTE_AHEAD_BYTES) {
        enum mesh_part part = MESH_MORE;
        if (listener->state == SILENT) {
            *listener = (struct listener){.state = IN_PARTS};
            part = MESH_FIRST;
        }
        bool has_more = part_fill(tell, p, &listener->cursor);
        if (!send(tell, node, p, part, buf_bytes(&tell->scratch))) {
            return false;
        }
        if (!has_more) {
            listener->state = TOLD;
            return send(tell, node, p, MESH_LAST, slice_of(NULL, 0));
        }
    }
    return false;
}

/* Is everyone told whom a link leads to? */
static bool tell_all(struct route_tell *tell, uint32_t p)
{
    bool is_told = true;
    LIST_EACH (&tell->nodes, link) {
        struct node *node = CONTAINER_OF(link, struct node, link);
        if (node->is_up && node->listeners[p].state != TOLD && !parts_send(tell, node, p)) {
            is_told = false;
        }
    }
    return is_told;
}

static void check(struct route_tell *tell)
{
    LIST_EACH (&tell->nodes, link) {
        struct node *node = CONTAINER_OF(link, struct node, link);
        for (uint32_t p = 0; p < PARTITION_COUNT; p++) {
            if (tell->partitions[p].is_led && node->is_up && node->listeners[p].state == TOLD) {
                send(tell, node, p, MESH_CHECK, slice_of(NULL, 0));
            }
        }
    }
}

void route_tell_flush(struct route_tell *tell, uint64_t now_ms)
{
    for (uint64_t left = tell->changed; left != 0; left &= left - 1) {
        changes_send(tell, (uint32_t)__builtin_ctzll(left));
    }
    for (uint64_t left = tell->unsure; left != 0; left &= left - 1) {
        uint32_t p = (uint32_t)__builtin_ctzll(left);
        if (!tell->partitions[p].is_led || tell_all(tell, p)) {
            tell->unsure &= ~bit(p);
        }
    }
    if (now_ms >= tell->check_ms) {
        tell->check_ms = now_ms + ROUTE_CHECK_MS;
        check(tell);
    }
}

uint64_t route_tell_wake_ms(const struct route_tell *tell)
{
    return list_is_empty(&tell->nodes) ? UINT64_MAX : tell->check_ms;
}

void route_tell_free(struct route_tell *tell)
{
    if (tell == NULL) {
        return;
    }
    for (uint32_t i = 0; i < PARTITION_COUNT; i++) {
        waiters_end(&tell->partitions[i], ERR_SHUTDOWN);
        buf_deinit(&tell->partitions[i].changes);
    }
    LIST_EACH_SAFE (&tell->nodes, link) {
        free(CONTAINER_OF(link, struct node, link));
    }
    buf_deinit(&tell->scratch);
    free(tell);
}
