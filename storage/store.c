#include "core/base/assert.h"
#include "core/base/log.h"
#include "storage/migrate.h"
#include "storage/store_own.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* What a setting of 0 stands for. */
enum {
    MEMORY_BYTES = 256 << 20,
    MEMORY_BYTES_MIN = 8 << 20,
    /*
     * What was admitted still has to fit when no more is: what waits for the lanes, and the buffers of
     * the state when they are flushed. A share of the disk alone would keep gigabytes of a large one
     * idle; of a small one an eighth, so that there is something left to use.
     */
    SPACE_FREE_MIN = 64 << 20,
    SPACE_FREE_SHARE = 8,
    /* Read and applied again at the next start after a crash. */
    FLUSH_BYTES = 64 << 20,
    BACKLOG_BYTES = 32 << 20,
};

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void set_defaults(struct store *store)
{
    struct store_config *config = &store->config;
    uint64_t disk_bytes = folder_disk_bytes(&store->folder);
    if (config->memory_bytes == 0) {
        config->memory_bytes = MEMORY_BYTES;
    } else if (config->memory_bytes < MEMORY_BYTES_MIN) {
        config->memory_bytes = MEMORY_BYTES_MIN;
    }
    uint64_t free_usual = disk_bytes == 0 ? SPACE_FREE_MIN
                                          : least(SPACE_FREE_MIN, disk_bytes / SPACE_FREE_SHARE);
    if (config->space_free_min == 0) {
        config->space_free_min = free_usual;
    }
    if (config->space_back_min == 0) {
        uint64_t most = config->space_free_min > free_usual ? config->space_free_min : free_usual;
        config->space_back_min = most + most / 4;
    }
    if (config->flush_bytes == 0) {
        config->flush_bytes = FLUSH_BYTES;
    }
    if (config->backlog_bytes == 0) {
        config->backlog_bytes = least(BACKLOG_BYTES, config->memory_bytes / 4);
    }
}

static enum err open_maps(struct store *store, struct kv_failure *failure)
{
    const struct kv_config log = {.folder = store->log_folder,
                                  .way = KV_LOGGED,
                                  .cache_bytes = store->config.memory_bytes / 32,
                                  .buffer_bytes = store->config.memory_bytes / 8};
    const struct kv_config state = {.folder = store->state_folder,
                                    .way = KV_UNLOGGED,
                                    .cache_bytes = store->config.memory_bytes / 2,
                                    .buffer_bytes = store->config.memory_bytes / 4,
                                    .is_read_first = true};
    struct kv_figures figures;
    TRY(kv_open(&log, &store->log, failure));
    TRY(kv_open(&state, &store->state, failure));
    TRY(folder_sync(&store->folder, failure)); /* the names of two new maps */
    /* What a crash left behind counts too: else a broker that crashes often never cuts its log. */
    kv_look(store->log, &figures);
    atomic_store(&store->gathered_bytes, figures.disk_bytes);
    return OK;
}

static enum err open_lanes(struct store *store)
{
    const struct lane_config log = {store_log_run, store, store_log_wake_ns, "tern log",
                                    store->config.has_threads};
    const struct lane_config state = {store_state_run, store, store_state_wake_ns, "tern state",
                                      store->config.has_threads};
    store->state_side.writes = write_set_new();
    store->state_side.cut.batch = kv_batch_new();
    if (store->state_side.writes == NULL || store->state_side.cut.batch == NULL) {
        return ERR_NOMEM;
    }
    TRY(lane_new(&log, &store->log_lane));
    lane_desk_init(&store->state_side.cut_desk, store->log_lane, NULL);
    return lane_new(&state, &store->state_lane);
}

static struct store *store_new(const struct store_config *config)
{
    struct store *store = calloc(1, sizeof(*store));
    if (store == NULL) {
        return NULL;
    }
    store->config = *config;
    store->config.steps = config->steps != NULL ? config->steps : migrate_steps;
    store->folder.handle = -1;
    store->log_side.waiting.last = &store->log_side.waiting.first;
    store->log_side.retry_ns = UINT64_MAX;
    store->log_side.unsynced_ns = UINT64_MAX;
    store->state_side.retry_ns = UINT64_MAX;
    store->log_side.looked_bytes = UINT64_MAX / 2; /* look at the first run */
    store->state_side.waiting.last = &store->state_side.waiting.first;
    store->state_side.applied.last = &store->state_side.applied.first;
    for (uint32_t i = 0; i < STORE_PARTITIONS; i++) {
        atomic_init(&store->keep_from[i], UINT64_MAX);
    }
    pthread_rwlock_init(&store->log_gate, NULL);
    pthread_mutex_init(&store->cut_lock, NULL);
    pthread_mutex_init(&store->place_lock, NULL);
    return store;
}

enum err store_open(const struct store_config *config, struct store **out,
                    struct kv_failure *failure)
{
    struct store *store = store_new(config);
    enum err err = store == NULL ? ERR_NOMEM : OK;

    failure->text[0] = '\0';
    if (err == OK) {
        err = folder_open(config->folder, STORE_FORMAT, false, &store->folder, failure);
    }
    if (err == OK) {
        set_defaults(store);
        snprintf(store->log_folder, sizeof(store->log_folder), "%s/log", store->folder.path);
        snprintf(store->state_folder, sizeof(store->state_folder), "%s/state", store->folder.path);
        err = migrate(&store->folder, STORE_FORMAT, store->config.steps, failure);
    }
    err = err == OK ? open_maps(store, failure) : err;
    err = err == OK ? open_lanes(store) : err;
    if (err != OK) {
        if (failure->text[0] == '\0') {
            snprintf(failure->text, sizeof(failure->text), "cannot open the store in %.700s: %s",
                     config->folder, err_text(err));
        }
        store_discard(store);
        return err;
    }
    *out = store;
    return OK;
}

void store_loaded(struct store *store)
{
    kv_merge(store->state);
}

void store_close_soon(struct store *store)
{
    atomic_store(&store->is_closing, true);
    lane_wake(store->log_lane);
    lane_wake(store->state_lane);
}

void store_close(struct store *store)
{
    if (store == NULL) {
        return;
    }
    if (store->state_lane != NULL) {
        store_close_soon(store);
        lane_free(store->state_lane); /* applies what waits */
        lane_desk_close(&store->state_side.cut_desk);
    }
    bool was_open = store->state_lane != NULL;
    lane_free(store->log_lane);
    if (was_open && !store->is_unwanted) {
        store_state_end(store);
    }
    write_set_free(store->state_side.writes);
    kv_batch_free(store->state_side.cut.batch);
    store_log_forget_kept(store);
    kv_close(store->state);
    kv_close(store->log);
    store->is_unwanted ? folder_discard(&store->folder) : folder_close(&store->folder);
    pthread_rwlock_destroy(&store->log_gate);
    pthread_mutex_destroy(&store->cut_lock);
    pthread_mutex_destroy(&store->place_lock);
    free(store);
}

bool store_discard(struct store *store)
{
    bool is_new = store != NULL && store->folder.is_new;
    if (store != NULL) {
        store->is_unwanted = is_new;
    }
    store_close(store);
    return is_new;
}

struct kv *store_log(struct store *store)
{
    return store->log;
}

struct kv *store_state(struct store *store)
{
    return store->state;
}

struct lane *store_log_lane(struct store *store)
{
    return store->log_lane;
}

struct lane *store_state_lane(struct store *store)
{
    return store->state_lane;
}

void store_append(struct lane_desk *log_desk, struct store_append *append)
{
    struct store *store = lane_owner(log_desk->lane);
    append->bytes = kv_batch_bytes(append->batch);
    store_count(&store->log_waiting_bytes, append->bytes);
    lane_submit(log_desk, &append->job);
}

enum err store_admits(const struct store *store)
{
    if (store_is_fenced(store)) {
        return ERR_IO;
    }
    return atomic_load_explicit(&store->has_no_space, memory_order_relaxed) ? ERR_NO_SPACE : OK;
}

bool store_is_congested(const struct store *store)
{
    uint64_t bytes_max = store->config.backlog_bytes;
    return atomic_load_explicit(&store->log_waiting_bytes, memory_order_relaxed) >= bytes_max ||
           atomic_load_explicit(&store->state_waiting_bytes, memory_order_relaxed) >= bytes_max;
}

enum err store_read_log(struct store *store, uint32_t partition, uint64_t index, raftlog_walk entry,
                        void *context, struct kv_failure *failure)
{
    pthread_rwlock_rdlock(&store->log_gate);
    enum err err = raftlog_read(store->log, partition, index, entry, context, failure);
    pthread_rwlock_unlock(&store->log_gate);
    return err;
}

void store_look(struct store *store, struct store_figures *out)
{
    store_look_quickly(store, out);
    pthread_rwlock_rdlock(&store->log_gate);
    kv_look(store->log, &out->log);
    pthread_rwlock_unlock(&store->log_gate);
    kv_look(store->state, &out->state);
}

void store_look_quickly(const struct store *store, struct store_figures *out)
{
    *out = (struct store_figures){.admits = store_admits(store)};
#define READ(field) out->field = atomic_load_explicit(&store->field, memory_order_relaxed)
    READ(sync_count);
    READ(sync_ns_total);
    READ(sync_ns_max);
    READ(append_bytes);
    READ(append_count);
    READ(apply_count);
    READ(flush_count);
    READ(cut_count);
    READ(free_bytes);
    READ(log_waiting_bytes);
    READ(state_waiting_bytes);
#undef READ
}
