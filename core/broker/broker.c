#include "core/broker/broker.h"

#include "core/base/assert.h"
#include "core/base/blocks.h"
#include "core/base/log.h"
#include "core/broker/broker_shared.h"
#include "core/broker/taken.h"
#include "core/io/cpu.h"
#include "core/io/sys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Of a machine, or a container, the broker leaves a fifth to kernel and neighbours. */
static uint64_t memory_limit(const struct config *config)
{
    return config->memory_limit > 0 ? config->memory_limit : sys_memory_bytes() / 5 * 4;
}

/* The store takes no less than the minimum. */
#define STORAGE_BYTES_MIN (UINT64_C(8) << 20)
#define STORAGE_BYTES_MAX (UINT64_C(256) << 20)

uint64_t broker_storage_memory(const struct config *config)
{
    uint64_t bytes = config->storage_memory;
    if (bytes == 0) {
        bytes = memory_limit(config) / 8;
        bytes = bytes < STORAGE_BYTES_MAX ? bytes : STORAGE_BYTES_MAX;
    }
    return bytes > STORAGE_BYTES_MIN ? bytes : STORAGE_BYTES_MIN;
}

uint64_t broker_memory_limit(const struct config *config)
{
    uint64_t limit = memory_limit(config);
    uint64_t storage = config->persistence ? broker_storage_memory(config) : 0;
    return storage < limit / 2 ? limit - storage : limit / 2;
}

/* Zeroed, and on cache lines that nothing else is on: shards write to what is theirs all the time. */
static void *alone(size_t bytes)
{
    bytes = (bytes + LIMIT_APART_BYTES - 1) / LIMIT_APART_BYTES * LIMIT_APART_BYTES;
    void *memory = aligned_alloc(LIMIT_APART_BYTES, bytes);
    return memory != NULL ? memset(memory, 0, bytes) : NULL;
}

static enum err build(struct broker *broker, uint32_t worker_count)
{
    const struct config *config = broker->boot_config;
    broker->epoch = epoch_new(broker->shard_count);
    if (broker->epoch == NULL) {
        return ERR_NOMEM;
    }
    broker->trie = trie_new(broker->epoch, broker->shard_count, broker->seed);
    broker->retain = retain_new(config->retained_max, config->retained_bytes_max, broker->seed);
    broker->mail_rings = mail_rings_new(broker->shard_count);
    broker->taken = taken_new(broker->seed);
    TRY(limits_init(&broker->limits, broker->seed, config, (uint64_t)time(NULL) * 1000));
    if (broker->trie == NULL || broker->retain == NULL || broker->mail_rings == NULL ||
        broker->taken == NULL) {
        return ERR_NOMEM;
    }
    for (uint32_t i = 0; i < broker->shard_count; i++) {
        struct shard *shard = alone(sizeof(*shard));
        if (shard == NULL) {
            return ERR_NOMEM;
        }
        broker->shards[i] = shard;
        shard->broker = broker;
        shard->index = i;
        shard->broker_shard_count = broker->shard_count;
        shard->metrics = metrics_new();
        broker->metrics[i] = shard->metrics;
        if (shard->metrics == NULL) {
            return ERR_NOMEM;
        }
        atomic_store_explicit(&shard->settings_next, &broker->settings[0], memory_order_release);
    }
    broker->hashers = workers_new(worker_count, LIMIT_HASHES_WAITING, true);
    broker->signers = workers_new(worker_count, LIMIT_SIGNATURES_WAITING, true);
    return broker->hashers == NULL || broker->signers == NULL ? ERR_NOMEM : OK;
}

enum err broker_new(const struct broker_config *config, struct broker **out)
{
    ASSERT(config->shard_count >= 1);
    ASSERT(config->shard_count <= SHARD_COUNT_MAX);
    struct broker *broker = alone(sizeof(*broker));
    if (broker == NULL) {
        return ERR_NOMEM;
    }
    broker->ports = *config->ports;
    broker->boot_config = config->config;
    broker->settings[0] = (struct broker_settings){config->config, config->security};
    broker->shard_count = config->shard_count;
    broker->stream_count_max = config->stream_count_max;
    broker->pin = config->pin;
    broker->seed = config->seed;
    bool is_kept = config->ports->journal_new != NULL; /* then it is to be loaded first */
    atomic_store_explicit(&broker->led, is_kept ? 0 : UINT64_MAX, memory_order_relaxed);
    atomic_store_explicit(&broker->view, is_kept ? PARTITION_COUNT : 0, memory_order_relaxed);
    enum err err = build(broker, config->worker_count);
    if (err != OK) {
        broker_free(broker);
        return err;
    }
    *out = broker;
    return OK;
}

void broker_free(struct broker *broker)
{
    if (broker == NULL) {
        return;
    }
    workers_free(broker->hashers);
    workers_free(broker->signers);
    mail_rings_free(broker->mail_rings);
    taken_free(broker->taken);
    limits_deinit(&broker->limits);
    trie_free(broker->trie);
    retain_free(broker->retain);
    epoch_free(broker->epoch);
    for (uint32_t i = 0; i < broker->shard_count && broker->shards[i] != NULL; i++) {
        metrics_free(broker->shards[i]->metrics);
        free(broker->shards[i]);
    }
    if (broker->has_barrier) {
        pthread_barrier_destroy(&broker->barrier);
    }
    free(broker);
}

/* ---- threads ------------------------------------------------------------------------------- */

static void meet(struct broker *broker)
{
    pthread_barrier_wait(&broker->barrier);
}

static void pin(const struct shard *shard)
{
    uint32_t cpus[CPU_COUNT_MAX];
    uint32_t count = cpu_usable(cpus, CPU_COUNT_MAX);
    if (shard->broker->pin && shard->broker->shard_count <= count) {
        cpu_pin(cpus[shard->index]);
    }
}

static enum err open_in_thread(struct shard *shard, struct broker_failure *failure)
{
    struct broker *broker = shard->broker;
    failure->text[0] = 0;
    enum err err = shard_open(shard, failure);
    if (err != OK && failure->text[0] == 0) {
        snprintf(failure->text, sizeof(failure->text), "cannot start a shard: %s",
                 err == ERR_LIMIT
                     ? "too many open files: raise 'ulimit -n' or LimitNOFILE=, or lower threads"
                     : err_text(err));
    }
    if (err == OK && shard->index == 0 && broker->ports.started != NULL) {
        shard->has_guest = true;
        err = broker->ports.started(broker->ports.context, shard->io, shard->wheel, failure);
    }
    return err;
}

static enum err load_in_thread(struct shard *shard, struct broker_failure *failure)
{
    enum err err = shard_load(shard, failure);
    if (err != OK && failure->text[0] == 0) {
        snprintf(failure->text, sizeof(failure->text), "cannot load what is on disk: %s",
                 err_text(err));
    }
    return err;
}

static void serve(struct shard *shard)
{
    while (shard_turn(shard, UINT64_MAX)) {
    }
    atomic_fetch_add_explicit(&shard->broker->done_count, 1, memory_order_release);
}

static enum err start_err(const struct broker *broker)
{
    enum err err = OK;
    for (uint32_t i = 0; i < broker->shard_count && err == OK; i++) {
        err = broker->start_err[i];
    }
    return err;
}

/*
 * The steps are taken together: all shards open, all load what is on disk, share groups hear of
 * their members, shard 0 listens (it learns the ports), the others listen, the starter looks at the results, all serve or none. Nobody is let in
 * by one shard while another may still find its part of the disk damaged. At the end nobody closes its
 * ring while another may still wake it.
 */
static void *thread_main(void *context)
{
    struct shard *shard = context;
    struct broker *broker = shard->broker;
    struct broker_failure *failure = &broker->start_failure[shard->index];
    enum err *err = &broker->start_err[shard->index];
    pin(shard);
    *err = open_in_thread(shard, failure);
    meet(broker);
    if (*err == OK) {
        *err = load_in_thread(shard, failure);
    }
    meet(broker);
    bool is_loaded = start_err(broker) == OK;
    while (is_loaded && !shard_settle(shard)) {
    }
    meet(broker);
    if (shard->index == 0 && start_err(broker) == OK) {
        *err = shard_listen(shard, failure);
        broker->go = *err == OK;
    }
    meet(broker);
    if (shard->index > 0 && broker->go) {
        *err = shard_listen(shard, failure);
    }
    meet(broker);
    meet(broker); /* the starter has looked */
    if (broker->go) {
        serve(shard);
    }
    meet(broker);
    shard_close(shard);
    blocks_thread_end();
    return NULL;
}

enum err broker_start(struct broker *broker, struct broker_failure *failure)
{
    broker->start_wall_ms = (uint64_t)time(NULL) * 1000;
    if (pthread_barrier_init(&broker->barrier, NULL, broker->shard_count + 1) != 0) {
        snprintf(failure->text, sizeof(failure->text), "cannot start threads");
        return ERR_NOMEM;
    }
    broker->has_barrier = true;
    for (uint32_t i = 0; i < broker->shard_count; i++) {
        if (pthread_create(&broker->threads[i], NULL, thread_main, broker->shards[i]) != 0) {
            /* The others wait for one that will never come: there is nothing to go back to. */
            fprintf(stderr, "tern: cannot start a thread: raise the limit of processes\n");
            exit(69);
        }
        broker->thread_count++;
    }
    for (int step = 0; step < 5; step++) { /* opened, loaded, settled, one listens, all do */
        meet(broker);
    }
    enum err err = OK;
    for (uint32_t i = 0; i < broker->shard_count && err == OK; i++) {
        err = broker->start_err[i];
        *failure = broker->start_failure[i];
    }
    broker->go = err == OK;
    meet(broker);
    if (err != OK) {
        broker_join(broker);
    }
    return err;
}

void broker_stop(struct broker *broker, bool drain)
{
    int wish = drain ? STOP_DRAIN : STOP_NOW;
    int now = atomic_load_explicit(&broker->stop, memory_order_relaxed);
    if (wish > now) {
        atomic_store_explicit(&broker->stop, wish, memory_order_release);
    }
    for (uint32_t i = 0; i < broker->thread_count; i++) {
        io_wake(NULL, broker->shards[i]->io);
    }
}

bool broker_has_stopped(const struct broker *broker)
{
    return atomic_load_explicit(&broker->done_count, memory_order_acquire) == broker->shard_count;
}

void broker_join(struct broker *broker)
{
    meet(broker);
    for (uint32_t i = 0; i < broker->thread_count; i++) {
        pthread_join(broker->threads[i], NULL);
    }
    broker->thread_count = 0;
}

void broker_reconfigure(struct broker *broker, const struct config *config,
                        const struct security *security)
{
    /* The other place is free: all shards have left it when the last call returned. */
    broker->settings_index ^= 1;
    struct broker_settings *settings = &broker->settings[broker->settings_index];
    *settings = (struct broker_settings){config, security};
    if (limits_configure(&broker->limits, config, (uint64_t)time(NULL) * 1000) != OK) {
        log_event(LOG_ERROR, "memory is exhausted: the limits stay as they were");
    }
    for (uint32_t i = 0; i < broker->shard_count; i++) {
        atomic_store_explicit(&broker->shards[i]->settings_next, settings, memory_order_release);
        io_wake(NULL, broker->shards[i]->io);
    }
    for (uint32_t i = 0; i < broker->shard_count; i++) {
        const struct timespec pause = {.tv_nsec = 1000000};
        while (atomic_load_explicit(&broker->shards[i]->settings_seen, memory_order_acquire) !=
               settings) {
            nanosleep(&pause, NULL);
        }
    }
}

/* ---- looking at it ------------------------------------------------------------------------- */

uint32_t broker_shard_count(const struct broker *broker)
{
    return broker->shard_count;
}

struct shard *broker_shard(const struct broker *broker, uint32_t index)
{
    ASSERT(index < broker->shard_count);
    return broker->shards[index];
}

struct metrics *const *broker_metrics(const struct broker *broker)
{
    return broker->metrics;
}

struct bans *broker_bans(struct broker *broker)
{
    return broker->limits.bans;
}

bool broker_is_draining(const struct broker *broker)
{
    return atomic_load_explicit(&broker->stop, memory_order_acquire) != STOP_NONE;
}

bool broker_listener_address(const struct broker *broker, uint32_t index, uint32_t nth,
                             struct address *out)
{
    if (index >= LIMIT_CONFIG_LISTENERS || nth >= LIMIT_LISTENER_ADDRESSES ||
        broker->listening[index][nth].kind == ADDRESS_NONE) {
        return false;
    }
    *out = broker->listening[index][nth];
    return true;
}
