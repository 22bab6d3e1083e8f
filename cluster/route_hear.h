/*
 * route_hear: what the leaders of partitions tell of their filters (route_tell.h) becomes marks in our trie.
 *
 * What does not follow what was heard before, or does not come to the same digest, is answered with "lost",
 * and all is told anew. Marks are taken off only when all of a list has come: too many are harmless.
 *
 * Floor:  cluster.
 * Thread: the shard's: for the partitions of this shard.
 */
#ifndef TERN_CLUSTER_ROUTE_HEAR_H
#define TERN_CLUSTER_ROUTE_HEAR_H

#include "cluster/mesh_msg.h"

#include <stdbool.h>
#include <stdint.h>

struct route_hear;

struct route_hear_host {
    /* A LINK_KIND_RECEIPT of route_tell's. If it does not arrive the next check asks again. */
    enum err (*send)(void *context, uint32_t node, uint32_t partition, struct slice body);
    /* Those of core/broker/routes.h, of the shard. */
    enum err (*put)(void *context, uint32_t partition, struct slice filter);
    void (*drop)(void *context, uint32_t partition, struct slice filter);
    void (*renew)(void *context, uint32_t partition);
    void (*renewed)(void *context, uint32_t partition);
    uint64_t (*digest)(void *context, uint32_t partition);
    void *context;
};

/* NULL: memory is exhausted. */
struct route_hear *route_hear_new(const struct route_hear_host *host);
void route_hear_free(struct route_hear *hear); /* accepts NULL */

/* A node that says it leads that partition tells this. ERR_CORRUPT: it is no such message; dropped. */
enum err route_hear(struct route_hear *hear, uint32_t node, struct slice body);

/* Led here from now on: whatever others say of an older term is not heard. */
void route_hear_lead(struct route_hear *hear, uint32_t partition, uint64_t term);

/* Has all been heard that the leader of that term or a later one has? Of one led here, yes. */
bool route_hear_is_complete(const struct route_hear *hear, uint32_t partition, uint64_t term);

#endif
