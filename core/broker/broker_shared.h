/*
 * broker_shared: the insides of struct broker, for the files of this room.
 *
 * Floor:  broker.
 */
#ifndef TERN_BROKER_BROKER_SHARED_H
#define TERN_BROKER_BROKER_SHARED_H

#include "core/broker/broker.h"
#include "core/broker/limits.h"
#include "core/broker/mailbox.h"
#include "core/broker/shard.h"
#include "core/io/workers.h"
#include "core/limits.h"

#include <pthread.h>
#include <stddef.h>

struct taken;

enum stop_request { STOP_NONE, STOP_DRAIN, STOP_NOW };

/* What changes while running, as one. */
struct broker_settings {
    const struct config *config;
    const struct security *security;
};

struct broker {
    struct broker_ports ports;
    struct broker_settings settings[2]; /* the one in use, and the next; see broker_reconfigure() */
    uint32_t settings_index;
    struct workers *hashers, *signers; /* slow work: password checks; RSA signatures */
    const struct config *boot_config;
    uint32_t shard_count, stream_count_max;
    bool pin;
    uint64_t seed, start_wall_ms;
    _Atomic uint64_t
        wall_floor_ms; /* the latest time any disk has seen; shards raise it at start */
    struct epoch *epoch;
    struct trie *trie;
    struct retain *retain;
    struct mail_rings *mail_rings;
    struct taken *taken;
    _Atomic uint32_t settling_count; /* shards that wait until groups know their members; relaxed */
    _Atomic uint64_t led;  /* partitions that any shard leads, a bit each: see partition.h */
    _Atomic uint32_t view; /* another one whenever that changes */
    struct limits limits;
    struct shard *shards[SHARD_COUNT_MAX];
    struct metrics *metrics[SHARD_COUNT_MAX];

    /* Where listeners listen: written by shard 0 before the others look. */
    struct address listening[LIMIT_CONFIG_LISTENERS][LIMIT_LISTENER_ADDRESSES];

    /* Shared by all shards, relaxed: how many connections there are. Nothing else is that any shard
     * writes while it serves. */
    _Alignas(LIMIT_APART_BYTES) _Atomic uint32_t conn_count;
    _Atomic uint32_t listener_conn_count[LIMIT_CONFIG_LISTENERS];

    /* enum stop_request: release by who asks, acquire by shards, in every turn */
    _Alignas(LIMIT_APART_BYTES) _Atomic int stop;

    pthread_t threads[SHARD_COUNT_MAX];
    uint32_t thread_count;
    pthread_barrier_t barrier; /* of the shards' threads and the one that starts them */
    bool has_barrier;
    enum err start_err[SHARD_COUNT_MAX];
    struct broker_failure start_failure[SHARD_COUNT_MAX];
    _Atomic uint32_t done_count; /* shards that have taken their last turn: release, acquire */
    bool go;                     /* written by one thread between two barriers */
};

_Static_assert(offsetof(struct broker, conn_count) % LIMIT_APART_BYTES == 0 &&
                   offsetof(struct broker, stop) % LIMIT_APART_BYTES == 0,
               "clients who come and go disturb no turn");

/* memory_limit, or what stands for 0, without what the store may take of it; half of it at least. */
uint64_t broker_memory_limit(const struct config *config);

#endif
