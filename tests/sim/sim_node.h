/*
 * sim_node: the node in the world: a broker whose shards are actors, and its end and new beginning.
 *
 * Floor:  tests; stands on core/ as cluster/ does.
 *
 *     new ──start──> UP ──crash──> DOWN ──start──> UP ...      free, in any state
 *                     └──stop (it knows)──> DOWN
 *
 * A crash may come between any two turns: shards rest inside io_turn(). Nothing of the node runs any
 * more, its memory is taken away (sim_heap.h), and its links break.
 */
#ifndef TERN_SIM_SIM_NODE_H
#define TERN_SIM_SIM_NODE_H

#include "core/broker/broker.h"
#include "core/broker/shard.h"
#include "tests/sim/sim.h"

enum { SIM_NODE_SHARDS_MAX = 3 };

struct fiber;
struct sim_store;

struct sim_node {
    struct sim *sim;
    struct broker *broker;   /* NULL: it is down */
    struct sim_store *store; /* NULL: it has no disk */
    uint32_t actor_count;    /* the first ones of the world's are its own */
    struct sim_shard {
        struct sim_node *node;
        struct shard *shard; /* NULL: it is down */
        struct io *io;
        struct fiber *fiber;
        struct sim_actor *actor;
        bool has_rested; /* in io_turn() */
        bool has_ended;
    } shards[SHARD_COUNT_MAX];
    uint32_t shard_count;
    struct sim_shard *current; /* whose fiber runs */
};

/* What clients see of it: what was sent still comes, or nothing does. */
enum sim_crash { SIM_KILLED, SIM_POWER_LOST };

struct sim_node *sim_node_new(struct sim *sim);
void sim_node_free(struct sim_node *node); /* accepts NULL */

/* While it is down: how many shards it will have. */
void sim_node_reshard(struct sim_node *node, uint32_t shard_count);

/* Not OK: it cannot; failure says why, and nothing of it is left. */
enum err sim_node_start(struct sim_node *node, struct broker_failure *failure);

/* How far the clock that expiry goes by is ahead of the world's. It is up. */
int64_t sim_node_ahead_ns(const struct sim_node *node);
void sim_node_crash(struct sim_node *node, enum sim_crash how);

/* Ask its shards to stop, and close them when they have. The other actors rest meanwhile. */
void sim_node_stop(struct sim_node *node, bool drain);

#endif
