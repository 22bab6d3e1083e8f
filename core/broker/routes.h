/*
 * routes: what hangs in the trie for the partitions of this shard: subscriptions of those that are led
 * here, and of those that are led on other nodes a mark for each filter, so that messages find the way.
 *
 *                     here: counted by filter                      elsewhere: told by who leads it
 *     routes_hang ──> 0 to 1 ──> mesh_route(wanted)                routes_put, routes_drop
 *     routes_unhang ─> 1 to 0 ──> mesh_route(not wanted)           routes_renew ... routes_renewed
 *            │                                                           │
 *            └── routes_give_up: led here no more ──────────────────────>│
 *                              led here now: routes_take_up <────────────┘
 *
 * A mark is a subscriber of its own kind (SUB_ROUTE) of this shard, so a message comes here as for any
 * other subscriber, and route.c finds it. What is taken off late is harmless: a message goes out for
 * nobody. What is put late loses messages; so a partition that is given up leaves marks for all that it
 * had, before its subscriptions go, and SUBACK waits for the other nodes (mesh_await).
 *
 * On a lone node nothing is counted: hang and unhang are those of the trie.
 *
 * Floor:  broker.
 * Thread: the shard's.
 * Memory: of each filter and partition one block, and nothing on a lone node.
 */
#ifndef TERN_BROKER_ROUTES_H
#define TERN_BROKER_ROUTES_H

#include "core/base/err.h"
#include "core/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

struct routes;
struct shard;
struct sub;

/* For a node among others. NULL: memory is exhausted. */
struct routes *routes_new(uint64_t seed);
void routes_free(struct routes *routes,
                 struct shard *shard); /* takes all marks off; accepts NULL */

/* ---- led here --------------------------------------------------------------------------------- */

/* trie_subscribe() and trie_unsubscribe() for something of that partition; sub->partition is set. */
enum err routes_hang(struct shard *shard, uint32_t partition, struct slice filter, struct sub *sub);
void routes_unhang(struct shard *shard, struct slice filter, struct sub *sub);

/* The filters that hang for it, for who tells them to others: *cursor 0 at first; false: no more.
 * Whatever is put or taken meanwhile may be missed, or seen. */
bool routes_next(const struct shard *shard, uint32_t partition, uint64_t *cursor,
                 struct slice *filter);

/*
 * Led here no more: each of its filters is marked, then it counts as gone from here; whoever unhangs its
 * subscriptions is heard no more. ERR_NOMEM: some are not marked (they lead nowhere until the next renewal).
 */
enum err routes_give_up(struct shard *shard, uint32_t partition);
/* Led here now, and its subscriptions hang: the marks go. */
void routes_take_up(struct shard *shard, uint32_t partition);

/* ---- led elsewhere ---------------------------------------------------------------------------- */

/* Marked from now on, for every shard. ERR_NOMEM. Nothing happens for a partition that is led here. */
enum err routes_put(struct shard *shard, uint32_t partition, struct slice filter);
void routes_drop(struct shard *shard, uint32_t partition, struct slice filter);

/* All of its filters are going to be put; when they were, what was not among them goes. */
void routes_renew(struct shard *shard, uint32_t partition);
void routes_renewed(struct shard *shard, uint32_t partition);

/* XOR of the filters' hashes, here or elsewhere: equal at both ends of a link when the filters are. */
uint64_t routes_digest(const struct shard *shard, uint32_t partition);

#endif
