/*
 * The state lane: entries become state, batch by batch; from time to time what is in memory is
 * flushed, and the log is cut to it.
 *
 *     jobs ──> machines ──> batch ──> write ──> give back
 *                                       │ enough log has gathered
 *                                       ▼
 *                                     flush ──> cut ──> log lane
 *
 * Invariants
 *   S1  the first in_batch of the waiting ones are in the batch; it is written before anything of a
 *       later one can be, and before they are given back.
 *   S2  flushed[p] is on stable storage; the log of p is never cut beyond it, nor beyond what its
 *       replica wants to keep, nor while a backup lies between its two checkpoints.
 *   S3  the log map has one writer, the log lane: a cut is a batch handed to it like any other.
 */
#include "core/base/assert.h"
#include "core/base/list.h"
#include "core/base/log.h"
#include "storage/store_own.h"

#include <inttypes.h>
#include <stdio.h>

enum { BATCH_BYTES_MAX = 1024 * 1024, BATCH_ENTRIES_MAX = 4096 };

static struct store_apply *apply_of(struct job *job)
{
    return CONTAINER_OF(job, struct store_apply, job);
}

static uint64_t bytes_of(const struct store_apply *apply)
{
    return sizeof(*apply) + apply->bytes.count;
}

void store_apply(struct lane_desk *state_desk, struct store_apply *apply)
{
    struct store *store = lane_owner(state_desk->lane);
    ASSERT(apply->partition < STORE_PARTITIONS);
    store_count(&store->state_waiting_bytes, bytes_of(apply));
    lane_submit(state_desk, &apply->job);
}

static void note_written(struct store *store, uint32_t partition, uint64_t index, uint64_t term)
{
    pthread_mutex_lock(&store->place_lock);
    store->written[partition] = (struct store_place){index, term};
    pthread_mutex_unlock(&store->place_lock);
}

void store_applied(struct store *store, uint32_t partition, uint64_t index, uint64_t term)
{
    ASSERT(partition < STORE_PARTITIONS);
    note_written(store, partition, index, term);
    /* release: who sees all of them sees all places. */
    uint64_t loaded = atomic_fetch_or_explicit(&store->loaded, UINT64_C(1) << partition,
                                               memory_order_release);
    if ((loaded | UINT64_C(1) << partition) == UINT64_MAX) {
        lane_wake(store->state_lane); /* a crash may have left a long log */
    }
}

void store_keep_from(struct store *store, uint32_t partition, uint64_t index)
{
    ASSERT(partition < STORE_PARTITIONS);
    atomic_store_explicit(&store->keep_from[partition], index, memory_order_relaxed);
}

static void give_back_first(struct store *store, enum err err)
{
    struct store_apply *apply = apply_of(store_wait_pop(&store->state_side.waiting));
    atomic_fetch_sub_explicit(&store->state_waiting_bytes, bytes_of(apply), memory_order_relaxed);
    lane_give_back(&apply->job, err);
}

/* ---- applying ------------------------------------------------------------------------------- */

/* Something that passes: space or memory may come. Anything else is final. */
static bool may_pass(enum err err)
{
    return err == ERR_NO_SPACE || err == ERR_NOMEM;
}

static enum err write_batch(struct store *store)
{
    struct store_state_side *side = &store->state_side;
    if (kv_batch_bytes(side->batch) > 0) {
        TRY(kv_write(store->state, side->batch));
        kv_batch_clear(side->batch);
    }
    store_count(&store->apply_count, side->in_batch);
    for (; side->in_batch > 0; side->in_batch--) {
        const struct store_apply *apply = apply_of(side->waiting.first);
        note_written(store, apply->partition, apply->index, apply->term);
        give_back_first(store, OK);
    }
    return OK;
}

/* As many as one batch takes, up to who wants to read. An entry that cannot be applied ends it, after
 * those before it. */
static enum err fill_batch(struct store *store)
{
    struct store_state_side *side = &store->state_side;
    struct job *job = side->waiting.first;

    ASSERT(side->in_batch == 0);
    while (job != NULL && side->in_batch < BATCH_ENTRIES_MAX &&
           kv_batch_bytes(side->batch) < BATCH_BYTES_MAX && apply_of(job)->read == NULL) {
        const struct store_apply *apply = apply_of(job);
        enum err err = machine_apply(apply->machine, apply->index, apply->term, apply->bytes,
                                     side->batch);
        if (err != OK) {
            if (!may_pass(err)) {
                log_event(LOG_ERROR, "an entry cannot be applied",
                          LOG_U64("partition", apply->partition), LOG_U64("index", apply->index),
                          LOG_TEXT("error", err_text(err)));
            }
            return err;
        }
        side->in_batch++;
        job = job->next;
    }
    return OK;
}

static enum err apply_waiting(struct store *store)
{
    struct store_state_side *side = &store->state_side;
    enum err err = write_batch(store); /* S1: what an earlier run could not write */
    while (err == OK && side->waiting.first != NULL) {
        struct store_apply *first = apply_of(side->waiting.first);
        if (first->read != NULL) {
            give_back_first(store, first->read(first));
            continue;
        }
        err = fill_batch(store);
        TRY(write_batch(store));
    }
    return err;
}

/* ---- flush and cut -------------------------------------------------------------------------- */

static enum err flush_state(struct store *store)
{
    uint64_t gathered = atomic_load_explicit(&store->gathered_bytes, memory_order_relaxed);
    struct store_place written[STORE_PARTITIONS];

    pthread_mutex_lock(&store->place_lock);
    memcpy(written, store->written, sizeof(written));
    pthread_mutex_unlock(&store->place_lock);
    TRY(kv_flush(store->state));
    memcpy(store->flushed, written, sizeof(written));
    atomic_fetch_sub_explicit(&store->gathered_bytes, gathered, memory_order_relaxed);
    store_count(&store->flush_count, 1);
    return OK;
}

static enum err note_term(void *context, const struct raftlog_entry *entry)
{
    *(uint64_t *)context = entry->term;
    return ERR_LIMIT; /* one is enough */
}

/* What the log of that partition may be cut to; index 0: no further than it is. */
static struct store_place cut_place(struct store *store, uint32_t partition)
{
    struct store_place place = store->flushed[partition];
    uint64_t keep = atomic_load_explicit(&store->keep_from[partition], memory_order_relaxed);
    struct kv_failure failure;
    enum err err = ERR_LIMIT;

    if (keep <= place.index) {
        place.index = keep == 0 ? 0 : keep - 1;
        pthread_rwlock_rdlock(&store->log_gate);
        if (place.index > store->state_side.cut_index[partition]) {
            err = raftlog_read(store->log, partition, place.index, note_term, &place.term,
                               &failure);
        }
        pthread_rwlock_unlock(&store->log_gate);
    }
    bool is_new = err == ERR_LIMIT && place.index > store->state_side.cut_index[partition];
    return is_new ? place : (struct store_place){0};
}

/* false: memory, the batch must not be written. */
static bool fill_cut(struct store *store, struct kv_batch *batch)
{
    kv_batch_clear(batch);
    for (uint32_t partition = 0; partition < STORE_PARTITIONS; partition++) {
        struct store_place place = cut_place(store, partition);
        struct raftlog_hard hard = {.cut_index = place.index, .cut_term = place.term};
        if (place.index == 0) {
            continue;
        }
        if (raftlog_cut(batch, partition, &hard) != OK) {
            return false;
        }
        store->state_side.cut_index[partition] = place.index;
    }
    return true;
}

static void on_cut(struct job *job, enum err err)
{
    struct store *store = CONTAINER_OF(CONTAINER_OF(job, struct store_append, job), struct store,
                                       state_side.cut);
    if (err == OK) {
        store_count(&store->cut_count, 1);
    } /* else it is found again when the log is longer; it is fenced by then, or closing */
}

static void cut_log(struct store *store)
{
    struct store_state_side *side = &store->state_side;
    if (side->cut_desk.open_count > 0 || pthread_mutex_trylock(&store->cut_lock) != 0) {
        return; /* the one before is under way, or a backup is: later */
    }
    side->cut_is_due = false;
    if (fill_cut(store, side->cut.batch) && kv_batch_bytes(side->cut.batch) > 0) {
        side->cut.job.done = on_cut;
        store_append(&side->cut_desk, &side->cut);
    }
    pthread_mutex_unlock(&store->cut_lock);
}

/* Enough log has gathered, all partitions are loaded, and some are further than at the last flush. */
static bool flush_is_due(struct store *store)
{
    bool has_more = false;
    if (atomic_load_explicit(&store->gathered_bytes, memory_order_relaxed) <
            store->config.flush_bytes ||
        atomic_load_explicit(&store->loaded, memory_order_acquire) != UINT64_MAX) {
        return false;
    }
    pthread_mutex_lock(&store->place_lock);
    for (uint32_t i = 0; i < STORE_PARTITIONS; i++) {
        has_more = has_more || store->written[i].index > store->flushed[i].index;
    }
    pthread_mutex_unlock(&store->place_lock);
    return has_more;
}

static enum err work(struct store *store)
{
    TRY(apply_waiting(store));
    if (flush_is_due(store)) {
        TRY(flush_state(store));
        store->state_side.cut_is_due = true;
    }
    if (store->state_side.cut_is_due) {
        cut_log(store);
    }
    return OK;
}

static void give_back_all(struct store *store, enum err err)
{
    while (store->state_side.waiting.first != NULL) {
        give_back_first(store, err);
    }
    store->state_side.in_batch = 0;
}

void store_state_run(void *context, struct job *jobs)
{
    struct store *store = context;
    struct store_state_side *side = &store->state_side;
    enum err err = ERR_IO;

    if (jobs != NULL) {
        store_wait(&side->waiting, jobs);
    }
    lane_collect(&side->cut_desk);
    if (!store_is_fenced(store)) {
        err = work(store);
        if (err != OK && !may_pass(err)) {
            store_fence(store, "writing the state", err);
        }
    }
    if (store_is_fenced(store)) {
        give_back_all(store, ERR_IO);
    } else if (err != OK && store_is_closing(store)) {
        give_back_all(store, err);
    }
    bool is_done = store_is_fenced(store) || (err == OK && !side->cut_is_due);
    side->retry_ns = is_done ? UINT64_MAX : lane_now_ns(store->state_lane) + STORE_RETRY_NS;
}

uint64_t store_state_wake_ns(void *context)
{
    return ((const struct store *)context)->state_side.retry_ns;
}

void store_state_end(struct store *store)
{
    struct kv_batch *batch = store->state_side.cut.batch;
    if (store_is_fenced(store)) {
        return;
    }
    enum err err = flush_state(store);
    if (err == OK && fill_cut(store, batch) && kv_batch_bytes(batch) > 0) {
        err = kv_write(store->log, batch);
    }
    err = err == OK ? kv_sync(store->log, true) : err;
    if (err != OK) {
        log_event(LOG_WARNING,
                  "the store could not be flushed at its end: the next start reads more of the log",
                  LOG_TEXT("folder", store->folder.path), LOG_TEXT("error", err_text(err)));
    }
}
