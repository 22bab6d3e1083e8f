/*
 * broker: what the shards of a node share, and the node seen as one thing.
 *
 * Floor:  broker.
 * Thread: made and freed by one thread; while it runs, shards belong to their threads and the calls
 *         marked "any thread" are the only ones others may make.
 *
 *     broker_new ──> broker_start (may fail: nobody was let in) ──> broker_stop ──> broker_join ──> broker_free
 *
 * The simulator builds a broker too, with broker_new(), and takes the turns of its shards itself
 * (shard.h).
 */
#ifndef TERN_BROKER_BROKER_H
#define TERN_BROKER_BROKER_H

#include "core/access/auth.h"
#include "core/base/config.h"
#include "core/base/epoch.h"
#include "core/base/metrics.h"
#include "core/base/ring.h"
#include "core/pubsub/retain.h"
#include "core/pubsub/trie.h"
#include "core/session/journal.h"
#include "core/session/mesh.h"

#include <stdbool.h>
#include <stdint.h>

struct bans;
struct broker;
struct security;
struct shard;
struct io;
struct wheel;
struct address;

struct broker_failure {
    char text[1024]; /* one line for people */
};

/* What the floors above hand down. */
struct broker_ports {
    /*
     * The journal of one shard, which may wake its io; *wall_ms is the latest time its disk has seen.
     * journal_load: tell the shard what the disk holds, see restore.h. journal_free: tell all who wait
     * ERR_SHUTDOWN, when what was logged is written. All in the shard's thread. journal_new NULL: what
     * lasts is kept in memory, and lasts as long as the process.
     */
    enum err (*journal_new)(void *context, struct io *io, uint32_t shard, struct journal **out,
                            uint64_t *wall_ms, struct broker_failure *failure);
    enum err (*journal_load)(void *context, struct journal *journal, struct shard *shard,
                             struct broker_failure *failure);
    /* Once a turn, after journal_collect(): bring a part of what came since. true: there is more.
     * NULL: nothing ever comes. */
    bool (*journal_load_more)(void *context, struct journal *journal, struct shard *shard);
    void (*journal_free)(struct journal *journal);
    /*
     * What leads to the other nodes, for one shard; mesh_free when it is about to go: who waits is told
     * ERR_SHUTDOWN. In the shard's thread. mesh_new NULL: a lone node.
     */
    enum err (*mesh_new)(void *context, struct io *io, struct shard *shard, struct mesh **out,
                         struct broker_failure *failure);
    void (*mesh_free)(struct mesh *mesh);
    /*
     * In the thread of shard 0: when its ring stands and before it serves; on an error the broker
     * does not start. stopped: its io is gone, its wheel is not; only if started was called.
     */
    enum err (*started)(void *context, struct io *io, struct wheel *wheel,
                        struct broker_failure *failure);
    void (*stopped)(void *context);
    /* There too: this configuration is in use from now on, the one before may go. NULL: no matter. */
    void (*renewed)(void *context, const struct config *config);
    void *context;
};

struct broker_config {
    const struct config *config;      /* outlives the broker; see broker_reconfigure */
    const struct security *security;  /* as config: outlives its use; NULL: nothing is guarded */
    const struct broker_ports *ports; /* copied */
    uint32_t shard_count;             /* 1 to SHARD_COUNT_MAX */
    bool pin;                         /* one core per shard */
    uint64_t seed;                    /* of all chance in it */
    uint32_t stream_count_max;        /* per shard */
    uint32_t worker_count; /* threads for each kind of slow work; 0: it is done in the turn */
};

/* ERR_NOMEM. */
enum err broker_new(const struct broker_config *config, struct broker **out);
void broker_free(struct broker *broker); /* accepts NULL; no thread runs any more */

/*
 * Start the threads and open every listener. Returns when all of them serve, or with the first
 * error; then nothing runs any more and failure tells which address or resource it was.
 */
enum err broker_start(struct broker *broker, struct broker_failure *failure);

/* Ask it to stop. drain: say goodbye to clients first (at most a few seconds). Any thread. */
void broker_stop(struct broker *broker, bool drain);

/* Every shard has taken its last turn. Any thread. */
bool broker_has_stopped(const struct broker *broker);

/* Wait until all threads have ended. */
void broker_join(struct broker *broker);

/*
 * A new configuration, and what goes with it, for everything that can change while running; either
 * may be the one in use. Returns when all shards use both: the old ones may then be freed, but for
 * the first configuration (listeners keep pointing there). Any one thread that is no shard.
 */
void broker_reconfigure(struct broker *broker, const struct config *config,
                        const struct security *security);

uint32_t broker_shard_count(const struct broker *broker);
struct shard *broker_shard(const struct broker *broker, uint32_t index);

/* The metrics of all shards, for admin. Any thread. Valid as long as the broker. */
struct metrics *const *broker_metrics(const struct broker *broker);
bool broker_is_draining(const struct broker *broker);

/* Who is not let in, for admin. Any thread. Valid as long as the broker. */
struct bans *broker_bans(struct broker *broker);

/* Where listener number index (of the configuration), address number nth, listens. After start. */
bool broker_listener_address(const struct broker *broker, uint32_t index, uint32_t nth,
                             struct address *out);

/* What the store may take for buffers and caches: storage_memory, or what stands for 0. Bytes. */
uint64_t broker_storage_memory(const struct config *config);

#endif
