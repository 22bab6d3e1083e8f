/*
 * The log lane: all who wait are written one after another, synced once, and answered together.
 *
 *     jobs ──> write each ──> sync ──> give back all
 *                │ no space               ▲
 *                ▼                        │
 *            is_full ── there is space ──> open the map anew, write again what was kept and what waits
 *
 * Invariants
 *   L1  a job is given back OK only when its batch and all before it are as durable as the setting
 *       says.
 *   L2  what is kept and then what waits is a row without gaps of the newest batches. Writing such a row
 *       again over any part of itself comes to the same map, as the last word on each key is the same.
 *       So a full disk needs no undoing.
 *   L3  after the first error that is not ERR_NO_SPACE nothing is written any more. Pages that the
 *       system failed to write may count as clean from then on, so a second sync would lie.
 *   L4  kept are copies of all that was given back OK and is not synced: a map that found no space has
 *       lost what it had not handed to the system, and the system may lose the rest.
 */
#include "core/base/assert.h"
#include "core/base/list.h"
#include "core/base/log.h"
#include "storage/store_own.h"

enum {
    LOOK_NS = 100 * 1000 * 1000,   /* free space is looked at as often as that while it is used, */
    LOOK_BYTES = 16 * 1024 * 1024, /* or when that much was written, */
    LOOK_SHARE = 4,                /* or such a part of what has to be free */
};

static struct store_append *append_of(struct job *job)
{
    return CONTAINER_OF(job, struct store_append, job);
}

static void give_back_all(struct store *store, enum err err)
{
    struct store_waiting *waiting = &store->log_side.waiting;
    while (waiting->first != NULL) {
        struct store_append *append = append_of(store_wait_pop(waiting));
        atomic_fetch_sub_explicit(&store->log_waiting_bytes, append->bytes, memory_order_relaxed);
        lane_give_back(&append->job, err);
    }
}

void store_fence(struct store *store, const char *what, enum err err)
{
    if (atomic_exchange(&store->is_fenced, true)) {
        return;
    }
    log_event(
        LOG_ERROR,
        "the disk failed: nothing durable is accepted any more: look at the disk (dmesg), then "
        "start tern again: what was acknowledged before is there",
        LOG_TEXT("folder", store->folder.path), LOG_TEXT("what", what),
        LOG_TEXT("error", err_text(err)));
}

/* ---- space ---------------------------------------------------------------------------------- */

static void tell_space(struct store *store)
{
    const struct store_log_side *side = &store->log_side;
    bool has_none = side->is_full || side->is_low;
    if (atomic_exchange_explicit(&store->has_no_space, has_none, memory_order_relaxed) ==
        has_none) {
        return;
    }
    uint64_t free_bytes = atomic_load_explicit(&store->free_bytes, memory_order_relaxed);
    if (has_none) {
        log_event(
            LOG_ERROR,
            "the disk is full: durable messages and sessions are refused until there is space",
            LOG_TEXT("folder", store->folder.path), LOG_U64("free_bytes", free_bytes),
            LOG_U64("needed_bytes", store->config.space_back_min));
    } else {
        log_event(LOG_NOTICE, "the disk has space again: durable work is accepted",
                  LOG_TEXT("folder", store->folder.path), LOG_U64("free_bytes", free_bytes));
    }
}

static void look_at_space(struct store *store)
{
    struct store_log_side *side = &store->log_side;
    uint64_t now_ns = lane_now_ns(store->log_lane), free_bytes;
    uint64_t free_min = store->config.space_free_min;

    if (now_ns < side->looked_ns + LOOK_NS && side->looked_bytes < LOOK_BYTES &&
        side->looked_bytes < free_min / LOOK_SHARE) {
        return;
    }
    side->looked_ns = now_ns;
    side->looked_bytes = 0;
    if (kv_free_bytes(store->log_folder, &free_bytes) != OK) {
        return; /* the next write tells more than a guess */
    }
    atomic_store_explicit(&store->free_bytes, free_bytes, memory_order_relaxed);
    side->is_low = free_bytes < (side->is_low ? store->config.space_back_min : free_min);
    tell_space(store);
}

static void became_full(struct store *store)
{
    struct store_log_side *side = &store->log_side;
    side->is_full = true;
    /* The file system may call itself not quite empty: wait for as much as would be refused at. */
    side->is_low = true;
    tell_space(store);
}

/* ---- writing -------------------------------------------------------------------------------- */

static enum err sync_log(struct store *store, bool is_durable)
{
    uint64_t begin_ns = lane_clock_ns(store->log_lane);
    enum err err = kv_sync(store->log, is_durable);
    uint64_t took_ns = lane_clock_ns(store->log_lane) - begin_ns;
    if (err == OK && is_durable) {
        store->log_side.unsynced_ns = UINT64_MAX;
        store_log_forget_kept(store);
        store_count(&store->sync_count, 1);
        store_count(&store->sync_ns_total, took_ns);
        if (took_ns > atomic_load_explicit(&store->sync_ns_max, memory_order_relaxed)) {
            atomic_store_explicit(&store->sync_ns_max, took_ns, memory_order_relaxed);
        }
    }
    return err;
}

/* false: there is no room for a copy. */
static bool keep(struct store_log_side *side, const struct store_append *append)
{
    if (side->kept_count == STORE_KEPT_COUNT ||
        append->bytes > STORE_KEPT_BYTES - side->kept_bytes) {
        return false;
    }
    struct kv_batch *copy = kv_batch_copy(append->batch);
    if (copy == NULL) {
        return false;
    }
    side->kept[side->kept_count++] = copy;
    side->kept_bytes += append->bytes;
    return true;
}

/* L4, before it is given back: what cannot be kept is synced instead. */
static enum err keep_waiting(struct store *store)
{
    struct store_log_side *side = &store->log_side;
    for (struct job *job = side->waiting.first; job != NULL; job = job->next) {
        if (!keep(side, append_of(job))) {
            return sync_log(store, true);
        }
    }
    if (side->unsynced_ns == UINT64_MAX) {
        side->unsynced_ns = lane_now_ns(store->log_lane);
    }
    return OK;
}

void store_log_forget_kept(struct store *store)
{
    struct store_log_side *side = &store->log_side;
    while (side->kept_count > 0) {
        kv_batch_free(side->kept[--side->kept_count]);
    }
    side->kept_bytes = 0;
}

static bool must_sync(const struct store *store)
{
    for (struct job *job = store->log_side.waiting.first; job != NULL; job = job->next) {
        if (append_of(job)->must_sync) {
            return true;
        }
    }
    return false;
}

/* As durable as the setting asks for, or who waits, before anybody is answered. */
static enum err sync_as_set(struct store *store)
{
    if (store->config.durability != STORE_FSYNC && must_sync(store)) {
        return sync_log(store, true);
    }
    switch (store->config.durability) {
    case STORE_FSYNC:
        return sync_log(store, true);
    case STORE_QUORUM:
        TRY(sync_log(store, false));
        return keep_waiting(store);
    case STORE_RELAXED:
        return keep_waiting(store);
    }
    ASSERT(false);
    return ERR_INVALID;
}

static enum err write_waiting(struct store *store)
{
    uint64_t bytes = 0, count = 0;
    for (struct job *job = store->log_side.waiting.first; job != NULL; job = job->next) {
        TRY(kv_write(store->log, append_of(job)->batch));
        bytes += append_of(job)->bytes;
        count++;
    }
    TRY(sync_as_set(store));
    store->log_side.looked_bytes += bytes;
    store_count(&store->append_bytes, bytes);
    store_count(&store->append_count, count);
    store_count(&store->gathered_bytes, bytes);
    return OK;
}

/* ---- after a full disk ---------------------------------------------------------------------- */

static enum err write_kept(struct store *store)
{
    const struct store_log_side *side = &store->log_side;
    for (uint32_t i = 0; i < side->kept_count; i++) {
        TRY(kv_write(store->log, side->kept[i]));
    }
    return side->kept_count == 0 ? OK : sync_log(store, true);
}

/* The map takes nothing more after ERR_NO_SPACE (kv.h). OK: it does again, and nothing that was
 * answered is missing; nobody sees it before. */
static enum err open_again(struct store *store)
{
    struct kv_failure failure = {""};
    pthread_rwlock_wrlock(&store->log_gate);
    enum err opened = kv_reopen(store->log, &failure);
    enum err err = opened == OK ? write_kept(store) : opened;
    pthread_rwlock_unlock(&store->log_gate);
    if (err == OK || err == ERR_NO_SPACE || err == ERR_NOMEM) {
        return err;
    }
    if (opened != OK) {
        log_event(LOG_ERROR, "the log cannot be opened again", LOG_TEXT("reason", failure.text));
    }
    store_fence(store, opened != OK ? "opening the log again" : "writing the log", err);
    return err;
}

/* false: it still is full. */
static bool recover(struct store *store)
{
    struct store_log_side *side = &store->log_side;
    if (!side->is_full) {
        return true;
    }
    if (side->is_low || open_again(store) != OK) {
        return false;
    }
    side->is_full = false;
    side->is_low = true; /* unless there is enough after what opening took */
    side->looked_bytes = UINT64_MAX;
    look_at_space(store);
    return true;
}

/* ---- the lane's turn ------------------------------------------------------------------------ */

/* When what is written, but not synced, has to be. */
static uint64_t sync_due_ns(const struct store *store)
{
    uint64_t since_ns = store->log_side.unsynced_ns;
    if (since_ns == UINT64_MAX) {
        return UINT64_MAX;
    }
    return since_ns +
           (store->config.durability == STORE_RELAXED ? STORE_SYNC_SOON_NS : STORE_SYNC_LATER_NS);
}

/* Everything there is to do now. OK: what waited may be answered, ERR_NO_SPACE: it waits on. */
static enum err work(struct store *store)
{
    if (!recover(store)) {
        return ERR_NO_SPACE;
    }
    if (store->log_side.waiting.first != NULL) {
        TRY(write_waiting(store));
    }
    if (sync_due_ns(store) <= lane_now_ns(store->log_lane)) {
        TRY(sync_log(store, true));
    }
    return OK;
}

void store_log_run(void *context, struct job *jobs)
{
    struct store *store = context;
    struct store_log_side *side = &store->log_side;
    enum err err = ERR_IO;

    if (jobs != NULL) {
        store_wait(&side->waiting, jobs);
    }
    look_at_space(store);
    if (!store_is_fenced(store)) {
        err = work(store);
        if (err == ERR_NO_SPACE && !side->is_full) {
            became_full(store);
        } else if (err != OK && err != ERR_NO_SPACE) {
            store_fence(store, "writing the log", err);
        }
    }
    if (store_is_fenced(store)) {
        give_back_all(store, ERR_IO); /* L3 */
    } else if (err == OK) {
        give_back_all(store, OK); /* L1 */
    } else if (store_is_closing(store)) {
        give_back_all(store, ERR_NO_SPACE);
    }
    side->retry_ns = store_is_fenced(store) || !(side->is_full || side->is_low)
                         ? UINT64_MAX
                         : lane_now_ns(store->log_lane) + STORE_RETRY_NS;
}

uint64_t store_log_wake_ns(void *context)
{
    const struct store *store = context;
    bool can_sync = !store_is_fenced(store) && !store->log_side.is_full;
    uint64_t sync_ns = can_sync ? sync_due_ns(store) : UINT64_MAX;
    return sync_ns < store->log_side.retry_ns ? sync_ns : store->log_side.retry_ns;
}
