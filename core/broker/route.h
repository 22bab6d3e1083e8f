/*
 * route: who wants this message? Match once, then group by shard and node.
 *
 * Floor:  broker.
 * Thread: a struct route belongs to a shard.
 *
 * On a match, found in the shard's topic cache or by a walk of the trie, a shard serves its own
 * subscribers and mails the message once to each other shard that has any; that one matches for
 * itself, out of its own cache. What partitions of its own want that are led elsewhere goes there by
 * the mesh (routes.h).
 */
#ifndef TERN_BROKER_ROUTE_H
#define TERN_BROKER_ROUTE_H

#include "core/broker/topic_cache.h"
#include "core/pubsub/msg.h"
#include "core/pubsub/trie.h"

#include <stdbool.h>
#include <stdint.h>

struct shard;
struct session;
struct receipt;

/* One receiver of a match in which filters overlap. */
struct target {
    struct session *session;
    uint8_t qos;
    bool retain_as_published;
    uint32_t id_count;
    uint32_t id_first, id_last; /* a chain in route->ids, 1 for the first link; 0: none */
};

/* One Subscription Identifier of a target. */
struct id_link {
    uint32_t id, next;
};

struct route {
    struct topic_cache topics;
    struct leaf_set leaves; /* of the last walk of the trie */
    struct target *targets;
    uint32_t target_capacity;
    struct id_link *ids; /* of all targets of the match */
    uint32_t *id_row;    /* those of one target, in a row; as long as ids */
    uint32_t id_count, id_capacity;
    uint64_t match_turn;
    uint64_t only;      /* partitions that the message is for, a bit each */
    uint64_t elsewhere; /* those that are led on other nodes and want it, as they were met */
};

void route_deinit(struct route *route);

/* With which QoS a message goes to a subscription: the lower one, or that of the subscription. */
uint8_t route_qos(const struct shard *shard, const struct msg *msg, uint8_t qos);

/*
 * Deliver msg to all who want it, on all shards; false: nobody subscribed to it. Promises to others
 * than this shard's QoS 0 receivers are added to receipt, which may be NULL.
 */
bool route_publish(struct shard *shard, struct msg *msg, struct receipt *receipt);

/* Would route_publish() find anybody now? */
bool route_is_wanted(struct shard *shard, const struct msg *msg);

/* Only to this shard's own subscribers: mail from another shard. Returns the first refusal. */
enum err route_local(struct shard *shard, struct msg *msg, struct receipt *receipt);

/* Only to subscribers of these partitions of this shard, which are led here: from another node. */
enum err route_partitions(struct shard *shard, struct msg *msg, uint64_t partitions,
                          struct receipt *receipt);

#endif
