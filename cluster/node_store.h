/*
 * node_store: the disk of a node, between the broker, which asks for journals, and the store.
 *
 * Floor:  cluster.
 * Thread: open and close by the main thread, before and after the broker's; the ports by its shards.
 */
#ifndef TERN_CLUSTER_NODE_STORE_H
#define TERN_CLUSTER_NODE_STORE_H

#include "core/base/config.h"
#include "core/base/err.h"
#include "core/base/wheel.h"
#include "core/broker/broker.h"
#include "core/limits.h"

#include <stdatomic.h>

struct machine_walk;
struct restore;
struct store;

/* What a shard is being told of its partitions. In the shard's thread. */
struct node_load {
    uint64_t waiting;        /* a bit each: led, and not begun */
    struct restore *restore; /* of the one under way; NULL: none is */
    struct machine_walk *walk;
    uint32_t partition;
    struct timer timer; /* set: what failed is tried again then */
};

struct node_store {
    struct store *store; /* NULL: persistence false */
    char folder[4096];   /* where it lies */
    uint32_t shard_count;
    uint64_t seed;
    _Atomic uint32_t loaded_count; /* shards that have read what is theirs */
    uint32_t load_keys_max;        /* in one turn, while the broker runs */
    uint32_t
        will_grace_ms; /* as restore_begin(), of what is led while the broker runs; at a start 0 */
    struct node_load loads[SHARD_COUNT_MAX];
};

/*
 * Open what the configuration names (where mosquitto's file lies already, a folder "tern" in there, so
 * that its configuration does for both); nothing where it says persistence false. To be called by a
 * thread that is not pinned: those that are made here run where it may run. failure: one line.
 */
enum err node_store_open(const struct config *config, uint32_t shard_count, uint64_t seed,
                         struct node_store *out, struct broker_failure *failure);
void node_store_close(struct node_store *self);

/* What shards were in the middle of loading is loaded no more; before the store closes, and after them. */
void node_store_load_stop(struct node_store *self);

/* For /metrics and /health; cheap. */
struct admin_storage;
void node_store_tell(const struct node_store *self, struct admin_storage *out);

/* The ports of struct broker_ports; context is the struct node_store. */
enum err node_store_journal_new(void *context, struct io *io, uint32_t shard, struct journal **out,
                                uint64_t *wall_ms, struct broker_failure *failure);
enum err node_store_journal_load(void *context, struct journal *journal, struct shard *shard,
                                 struct broker_failure *failure);
/* A part of what node_store_led() has begun; true: there is more. */
bool node_store_journal_load_more(void *context, struct journal *journal, struct shard *shard);
void node_store_journal_free(struct journal *journal);

/*
 * What the journal says of a partition of that shard, from inside journal_collect(): it is led here from now
 * on, all of it is committed and in the map of the state; or it is led here no more, and all who waited
 * for it have been told.
 */
void node_store_led(struct node_store *self, struct shard *shard, uint32_t partition);
void node_store_lost(struct node_store *self, struct shard *shard, uint32_t partition);

#endif
