/*
 * route_tell: the leader of a partition tells all nodes to which filters it has subscriptions.
 *
 *     route_tell_lead ──> all of them, in parts ──> changes, numbered, as they come ──> a check, each second
 *                              ^                              │
 *                              └── a node has lost the thread, or its link is new
 *
 * A node is in step when it has said that it has all up to the last change; SUBACK waits until every node
 * that may serve publishers is (cluster.md 5.4). Changes of one turn leave as one message.
 *
 * Floor:  cluster; the host below brings routes, nodes and links.
 * Thread: the shard's: for the partitions of this shard.
 * Memory: of each other node a few words for each partition.
 */
#ifndef TERN_CLUSTER_ROUTE_TELL_H
#define TERN_CLUSTER_ROUTE_TELL_H

#include "cluster/mesh_msg.h"
#include "core/session/mesh.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    ROUTE_CHECK_MS = 1000,
    ROUTE_PART_BYTES = 32 * 1024,    /* of a part of all that there are */
    ROUTE_AHEAD_BYTES = 1024 * 1024, /* so much may wait on a link before further parts do */
};

struct route_tell;

struct route_tell_host {
    /* A LINK_KIND_ROUTES. On an error the link is down, or about to be: route_tell_link() follows. */
    enum err (*send)(void *context, uint32_t node, uint32_t partition, struct slice body);
    /* Bytes that wait on the link to it. */
    uint64_t (*waiting)(void *context, uint32_t node);
    /* routes_next() and routes_digest() of the shard. */
    bool (*next)(void *context, uint32_t partition, uint64_t *cursor, struct slice *filter);
    uint64_t (*digest)(void *context, uint32_t partition);
    void *context;
};

/* NULL: memory is exhausted. */
struct route_tell *route_tell_new(const struct route_tell_host *host);
/* Whoever waits is told ERR_SHUTDOWN. Accepts NULL. */
void route_tell_free(struct route_tell *tell);

/* ---- nodes -------------------------------------------------------------------------------------- */

/* Another node that has, or may get, a lease to serve publishers; or has none any more. ERR_NOMEM. */
enum err route_tell_node(struct route_tell *tell, uint32_t node, bool is_live);
/* The link to it is new, or gone. */
void route_tell_link(struct route_tell *tell, uint32_t node, bool is_up);
/* What it said it has. ERR_CORRUPT: it said nothing of that kind. */
enum err route_tell_seen(struct route_tell *tell, uint32_t node, struct slice body);

/* ---- partitions --------------------------------------------------------------------------------- */

void route_tell_lead(struct route_tell *tell, uint32_t partition, uint64_t term);
/* Who waits for it is told ERR_UNAVAILABLE. */
void route_tell_give_up(struct route_tell *tell, uint32_t partition);

/* mesh_route() and mesh_await() of the port. */
void route_tell_change(struct route_tell *tell, uint32_t partition, struct slice filter,
                       bool is_wanted);
enum err route_tell_await(struct route_tell *tell, uint32_t partition, mesh_done done,
                          void *context);

/* At the end of a turn: what changed leaves, and further parts. */
void route_tell_flush(struct route_tell *tell, uint64_t now_ms);
/* When it wants to be called at the latest; UINT64_MAX: never. */
uint64_t route_tell_wake_ms(const struct route_tell *tell);

#endif
