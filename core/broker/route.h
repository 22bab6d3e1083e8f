/*
 * route: who wants this message? Match once, then group by shard and node.
 *
 * Floor:  broker.
 * Thread: a struct route belongs to a shard.
 *
 * Each shard keeps a cache from topic to matched leaves, valid while the trie's version stands: a
 * device that publishes to its usual topic does not walk the trie at all. On a match a shard serves
 * its own subscribers and mails the message once to each other shard that has any; that one matches
 * for itself, out of its own cache.
 */
#ifndef TERN_BROKER_ROUTE_H
#define TERN_BROKER_ROUTE_H

#include "core/pubsub/msg.h"
#include "core/pubsub/trie.h"

#include <stdbool.h>
#include <stdint.h>

struct shard;
struct session;
struct receipt;

/* The cache: a topic has its place in one of four slots. */
enum { ROUTE_CACHE_SETS = 1024, ROUTE_CACHE_WAYS = 4, ROUTE_TOPIC_MAX = 512 };

struct route_slot {
    uint64_t hash, version; /* version 0: empty */
    uint64_t shards;        /* union of the leaves' bitmaps */
    struct leaf **leaves;
    uint8_t *topic;
    uint32_t leaf_count, leaf_capacity;
    uint16_t topic_bytes, topic_capacity; /* at most ROUTE_TOPIC_MAX */
};

struct route_set {
    struct route_slot slots[ROUTE_CACHE_WAYS];
    uint32_t next; /* the slot that is given up when all four are in use */
};

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
    struct route_set *sets; /* NULL until first used */
    struct leaf_set leaves; /* of the last match */
    struct target *targets;
    uint32_t target_capacity;
    struct id_link *ids; /* of all targets of the match */
    uint32_t *id_row;    /* those of one target, in a row; as long as ids */
    uint32_t id_count, id_capacity;
    uint64_t match_turn;
};

void route_deinit(struct route *route);

/* With which QoS a message goes to a subscription: the lower one, or that of the subscription. */
uint8_t route_qos(const struct shard *shard, const struct msg *msg, uint8_t qos);

/*
 * Deliver msg to all who want it, on all shards; false: nobody subscribed to it. Promises to others
 * than this shard's QoS 0 receivers are added to receipt, which may be NULL.
 */
bool route_publish(struct shard *shard, struct msg *msg, struct receipt *receipt);

/* As route_publish, for a message of the broker's own (wills, $SYS): stored first if retained. */
void route_own(struct shard *shard, struct msg *msg);

/* Only to this shard's own subscribers: mail from another shard. Returns the first refusal. */
enum err route_local(struct shard *shard, struct msg *msg);

#endif
