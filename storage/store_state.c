/*
 * The state lane: entries become state; what they write gathers for a moment, as most of it is undone
 * by then; from time to time what is in memory is flushed, and the log is cut to it.
 *
 *     jobs ──> machines ──> write set ──> write ──> give back
 *                           gathers         │ enough log has gathered
 *                                           ▼
 *                                         flush ──> cut ──> log lane
 *
 * Invariants
 *   S1  what is in the write set is of those that are applied, in their order, and of no others; they
 *       are given back when it is written. Who reads comes after that.
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

enum { GATHER_SHARE = 8 /* of what may wait before it is congestion */ };

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
    ASSERT(apply->partition < STORE_PARTITIONS || apply->read != NULL);
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

static void give_back_first(struct store *store, struct store_waiting *waiting, enum err err)
{
    struct store_apply *apply = apply_of(store_wait_pop(waiting));
    atomic_fetch_sub_explicit(&store->state_waiting_bytes, bytes_of(apply), memory_order_relaxed);
    lane_give_back(&apply->job, err);
}

/* ---- applying ------------------------------------------------------------------------------- */

/* Something that passes: space or memory may come. Anything else is final. */
static bool may_pass(enum err err)
{
    return err == ERR_NO_SPACE || err == ERR_NOMEM;
}

/* What has gathered goes to the map, and back to who handed it in. */
static enum err write_applied(struct store *store)
{
    struct store_state_side *side = &store->state_side;
    TRY(write_set_write(side->writes, store->state));
    side->applied_bytes = 0;
    while (side->applied.first != NULL) {
        const struct store_apply *apply = apply_of(side->applied.first);
        note_written(store, apply->partition, apply->index, apply->term);
        store_count(&store->apply_count, 1);
        give_back_first(store, &side->applied, OK); /* S1 */
    }
    return OK;
}

/* As much has gathered as may wait. */
static bool has_enough(const struct store *store)
{
    const struct store_state_side *side = &store->state_side;
    return side->applied.first != NULL && side->applied_bytes + write_set_bytes(side->writes) >=
                                              store->config.backlog_bytes / GATHER_SHARE;
}

static bool has_waited(const struct store *store)
{
    const struct store_state_side *side = &store->state_side;
    return side->applied.first != NULL &&
           (store_is_closing(store) || lane_now_ns(store->state_lane) >= side->write_ns);
}

static enum err apply_first(struct store *store)
{
    struct store_state_side *side = &store->state_side;
    const struct store_apply *apply = apply_of(side->waiting.first);
    enum err err = machine_apply(apply->machine, apply->index, apply->term, apply->bytes,
                                 side->writes);
    if (err != OK) {
        if (!may_pass(err)) {
            log_event(LOG_ERROR, "an entry cannot be applied",
                      LOG_U64("partition", apply->partition), LOG_U64("index", apply->index),
                      LOG_TEXT("error", err_text(err)));
        }
        return err;
    }
    if (side->applied.first == NULL) {
        side->write_ns = lane_now_ns(store->state_lane) + store->config.gather_ns;
    }
    side->applied_bytes += bytes_of(apply);
    store_wait_move(&side->applied, &side->waiting);
    return OK;
}

/* An entry that cannot be applied ends it, after those before it. */
static enum err apply_waiting(struct store *store)
{
    struct store_state_side *side = &store->state_side;
    enum err err = OK;
    while (err == OK && side->waiting.first != NULL) {
        struct store_apply *first = apply_of(side->waiting.first);
        if (first->read != NULL || has_enough(store)) {
            TRY(write_applied(store));
        }
        if (first->read != NULL) {
            give_back_first(store, &side->waiting, first->read(first));
        } else {
            err = apply_first(store);
        }
    }
    if (err != OK || has_enough(store) || has_waited(store)) {
        TRY(write_applied(store));
    }
    return err;
}

/* ---- flush and cut -------------------------------------------------------------------------- */

static enum err flush_state(struct store *store)
{
    uint64_t gathered = atomic_load_explicit(&store->gathered_bytes, memory_order_relaxed);
    struct store_place written[STORE_PARTITIONS];

    TRY(write_applied(store));
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
        if (place.index > store->state_side.cut_index[partition]) {
            err = store_read_log(store, partition, place.index, note_term, &place.term, &failure);
        }
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

/* ---- a partition that is replaced ------------------------------------------------------------ */

void store_replace(struct store *store, uint32_t partition, bool is_replaced)
{
    uint64_t bit = UINT64_C(1) << partition;
    ASSERT(partition < STORE_PARTITIONS);
    if (is_replaced) {
        atomic_fetch_or(&store->replacing, bit);
        atomic_fetch_add(&store->replace_count, 1);
    } else {
        atomic_fetch_and(&store->replacing, ~bit);
    }
}

enum err store_place_flush(struct store *store, uint32_t partition, uint64_t index, uint64_t term)
{
    TRY(kv_flush(store->state));
    note_written(store, partition, index, term);
    store->flushed[partition] = (struct store_place){index, term};
    store->state_side.cut_index[partition] = index;
    return OK;
}

/* ---- the lane's turn ------------------------------------------------------------------------- */

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
    while (store->state_side.applied.first != NULL) {
        give_back_first(store, &store->state_side.applied, err);
    }
    while (store->state_side.waiting.first != NULL) {
        give_back_first(store, &store->state_side.waiting, err);
    }
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
    const struct store_state_side *side = &((const struct store *)context)->state_side;
    bool is_well = side->retry_ns == UINT64_MAX;
    return is_well && side->applied.first != NULL ? side->write_ns : side->retry_ns;
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
        bool may_lose = store->log_side.kept_count > 0;
        log_event(may_lose ? LOG_ERROR : LOG_WARNING,
                  may_lose
                      ? "the store could not be flushed at its end: what was acknowledged last "
                        "and not synced, as `durability` allows, may be lost"
                      : "the store could not be flushed at its end: the next start reads more "
                        "of the log",
                  LOG_TEXT("folder", store->folder.path), LOG_TEXT("error", err_text(err)));
    }
}
