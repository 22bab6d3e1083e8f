/*
 *             begin                                  chunk                end
 *     IDLE ──> SETTLE ──> MARK ──> WIPE ──> IDLE ──> WRITE ──> IDLE ──> OPEN ──> FLUSH ──> UNMARK ──> IDLE
 *              state      log      image             image              image    state     log      lane
 *
 * A step that finds no space is handed in again after a while; the log lane waits for space by itself. Any
 * other error ends the step, and is told.
 */
#include "storage/install.h"

#include "core/base/assert.h"
#include "core/base/list.h"
#include "storage/key.h"
#include "storage/machine.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { RETRY_NS = 200 * 1000 * 1000 };

enum step { IDLE, SETTLE, MARK, WIPE, WRITE, OPEN, FLUSH, UNMARK, STEP_COUNT };

struct install {
    struct install_config config;
    enum step step;
    uint64_t now_ns, retry_ns; /* when the step is handed in again; UINT64_MAX: it is under way */
    struct image_head head;
    struct image_in *image;
    struct buf chunk;
    bool is_stopping;
    bool is_taken; /* the chunk is in the image, and is to be written */
    struct machine *machine;
    struct lane_desk state_desk, log_desk, image_desk;
    struct store_apply on_state;
    struct store_append on_log;
    struct image_work on_image;
};

static void submit(struct install *install);

/* ---- the lanes' side ---------------------------------------------------------------------------- */

/* What was handed in before is written: nothing of the partition is in the lane's hands any more. */
static enum err settle(struct store_apply *apply)
{
    (void)apply;
    return OK;
}

static enum err flush(struct store_apply *apply)
{
    struct install *install = CONTAINER_OF(apply, struct install, on_state);
    return store_place_flush(install->config.store, apply->partition, install->head.index,
                             install->head.term);
}

static enum err wipe(struct image_work *work)
{
    struct install *install = CONTAINER_OF(work, struct install, on_image);
    if (install->image == NULL) {
        TRY(image_in_new(store_state(install->config.store), &install->head, &install->image));
    }
    return image_in_write(install->image);
}

static enum err write(struct image_work *work)
{
    struct install *install = CONTAINER_OF(work, struct install, on_image);
    if (!install->is_taken) {
        TRY(image_in_take(install->image, buf_bytes(&install->chunk)));
        install->is_taken = true;
    }
    return image_in_write(install->image);
}

static enum err open_machine(struct image_work *work)
{
    struct install *install = CONTAINER_OF(work, struct install, on_image);
    image_in_free(install->image);
    install->image = NULL;
    return machine_open(store_state(install->config.store), install->head.partition,
                        &install->machine);
}

/* ---- steps -------------------------------------------------------------------------------------- */

static void end_step(struct install *install, enum err err)
{
    install->step = IDLE;
    install->retry_ns = UINT64_MAX;
    install->config.done(install->config.context, err);
}

static void go_to(struct install *install, enum step step)
{
    install->step = step;
    submit(install);
}

/* The step is done: what comes after it. */
static void step_done(struct install *install)
{
    switch (install->step) {
    case SETTLE:
        go_to(install, MARK);
        break;
    case MARK:
        go_to(install, WIPE);
        break;
    case OPEN:
        go_to(install, FLUSH);
        break;
    case FLUSH:
        go_to(install, UNMARK);
        break;
    case WIPE:
    case WRITE:
    case UNMARK:
        end_step(install, OK);
        break;
    case IDLE:
    case STEP_COUNT:
        ASSERT(false);
    }
}

static void came_back(struct install *install, enum err err)
{
    if (err == OK && install->step == UNMARK) {
        store_replace(install->config.store, install->head.partition, false);
    }
    if (install->is_stopping) {
        return;
    }
    if (err == ERR_NO_SPACE) {
        install->retry_ns = install->now_ns + RETRY_NS;
    } else if (err != OK) {
        end_step(install, err);
    } else {
        step_done(install);
    }
}

static void state_done(struct job *job, enum err err)
{
    came_back(CONTAINER_OF(CONTAINER_OF(job, struct store_apply, job), struct install, on_state),
              err);
}

static void log_done(struct job *job, enum err err)
{
    came_back(CONTAINER_OF(CONTAINER_OF(job, struct store_append, job), struct install, on_log),
              err);
}

static void image_done(struct job *job, enum err err)
{
    came_back(CONTAINER_OF(CONTAINER_OF(job, struct image_work, job), struct install, on_image),
              err);
}

static void submit_state(struct install *install, enum err (*read)(struct store_apply *apply))
{
    install->on_state = (struct store_apply){
        .job.done = state_done, .partition = install->head.partition, .read = read};
    store_apply(&install->state_desk, &install->on_state);
}

static void submit_image(struct install *install, enum err (*work)(struct image_work *work))
{
    install->on_image = (struct image_work){.job.done = image_done, .work = work};
    image_lane_submit(&install->image_desk, &install->on_image);
}

/* must_sync: this counts more than what `durability` lets the others lose. */
static void submit_log(struct install *install)
{
    struct raftlog_mark mark = {install->head.index, install->head.term};
    install->on_log.job.done = log_done;
    install->on_log.must_sync = true;
    kv_batch_clear(install->on_log.batch);
    if (install->step == MARK) {
        raftlog_put_mark(install->on_log.batch, install->head.partition, &mark);
    } else {
        raftlog_end_mark(install->on_log.batch, install->head.partition, &mark);
    }
    store_append(&install->log_desk, &install->on_log);
}

/* Hand in what the step is about. */
static void submit(struct install *install)
{
    install->retry_ns = UINT64_MAX;
    switch (install->step) {
    case SETTLE:
        submit_state(install, settle);
        break;
    case MARK:
    case UNMARK:
        submit_log(install);
        break;
    case WIPE:
        submit_image(install, wipe);
        break;
    case WRITE:
        submit_image(install, write);
        break;
    case OPEN:
        submit_image(install, open_machine);
        break;
    case FLUSH:
        submit_state(install, flush);
        break;
    case IDLE:
    case STEP_COUNT:
        ASSERT(false);
    }
}

/* ---- from the shard ----------------------------------------------------------------------------- */

enum err install_new(const struct install_config *config, struct install **out)
{
    struct install *install = calloc(1, sizeof(*install));
    struct kv_batch *batch = kv_batch_new();
    if (install == NULL || batch == NULL) {
        free(install);
        kv_batch_free(batch);
        return ERR_NOMEM;
    }
    install->config = *config;
    install->retry_ns = UINT64_MAX;
    install->on_log.batch = batch;
    lane_desk_init(&install->state_desk, store_state_lane(config->store), config->io);
    lane_desk_init(&install->log_desk, store_log_lane(config->store), config->io);
    lane_desk_init(&install->image_desk, config->image_lane, config->io);
    *out = install;
    return OK;
}

void install_free(struct install *install)
{
    if (install == NULL) {
        return;
    }
    install->is_stopping = true;
    lane_desk_close(&install->state_desk);
    lane_desk_close(&install->log_desk);
    lane_desk_close(&install->image_desk);
    image_in_free(install->image);
    machine_close(install->machine);
    kv_batch_free(install->on_log.batch);
    buf_deinit(&install->chunk);
    free(install);
}

void install_begin(struct install *install, const struct image_head *head)
{
    ASSERT(install->step == IDLE);
    ASSERT(head->partition < STORE_PARTITIONS && head->index > 0);
    image_in_free(install->image);
    install->image = NULL;
    machine_close(install->machine);
    install->machine = NULL;
    install->head = *head;
    store_replace(install->config.store, head->partition, true);
    go_to(install, SETTLE);
}

void install_chunk(struct install *install, struct slice bytes)
{
    ASSERT(install->step == IDLE && install->image != NULL);
    install->is_taken = false;
    buf_consume(&install->chunk, buf_count(&install->chunk));
    if (buf_append(&install->chunk, bytes) != OK) {
        end_step(install, ERR_NOMEM);
        return;
    }
    go_to(install, WRITE);
}

bool install_is_whole(const struct install *install)
{
    return install->image != NULL && image_in_is_whole(install->image);
}

void install_end(struct install *install)
{
    ASSERT(install->step == IDLE && install_is_whole(install));
    go_to(install, OPEN);
}

struct machine *install_take_machine(struct install *install)
{
    struct machine *machine = install->machine;
    ASSERT(install->step == IDLE);
    install->machine = NULL;
    return machine;
}

void install_collect(struct install *install)
{
    lane_collect(&install->state_desk);
    lane_collect(&install->log_desk);
    lane_collect(&install->image_desk);
}

bool install_has_news(const struct install *install)
{
    return lane_has_news(&install->state_desk) || lane_has_news(&install->log_desk) ||
           lane_has_news(&install->image_desk);
}

void install_turn(struct install *install, uint64_t now_ns)
{
    install->now_ns = now_ns;
    if (install->retry_ns <= now_ns) {
        submit(install);
    }
}

uint64_t install_wake_ns(const struct install *install)
{
    return install->retry_ns;
}

bool install_is_busy(const struct install *install)
{
    return install->step != IDLE;
}

/* ---- at a start --------------------------------------------------------------------------------- */

/* All of the partition in the state, and, as it may have been lost with the mark's batch, in the log. */
static enum err remove_all(struct store *store, uint32_t partition, const struct raftlog_mark *mark)
{
    struct key *from = malloc(sizeof(*from)), *to = malloc(sizeof(*to)); /* 128 KiB each */
    struct kv_batch *state = kv_batch_new(), *log = kv_batch_new();
    enum err err = ERR_NOMEM;
    if (from != NULL && to != NULL && state != NULL && log != NULL) {
        key_of_partition(from, partition);
        key_of_partition(to, partition);
        key_end(to);
        kv_batch_delete_range(state, key_slice(from), key_slice(to));
        raftlog_put_mark(log, partition, mark);
        err = kv_write(store_state(store), state);
        err = err == OK ? kv_write(store_log(store), log) : err;
    }
    kv_batch_free(state);
    kv_batch_free(log);
    free(from);
    free(to);
    return err;
}

enum err install_recover(struct store *store, uint32_t partition, bool *was,
                         struct kv_failure *failure)
{
    struct raftlog_mark mark;
    *was = false;
    enum err err = raftlog_get_mark(store_log(store), partition, &mark, failure);
    if (err == ERR_NOT_FOUND) {
        return OK;
    }
    TRY(err);
    err = remove_all(store, partition, &mark);
    if (err != OK) {
        snprintf(failure->text, sizeof(failure->text),
                 "partition %" PRIu32
                 " was being replaced, and what is left of it cannot be removed: "
                 "%s: look at the disk (df, dmesg)",
                 partition, err_text(err));
        return err;
    }
    store_replace(store, partition, true);
    *was = true;
    return OK;
}
