/*
 * Invariants
 *   M1  state is what all entries up to `applied` came to; who proposed one hears of it when it is applied, in
 *       the term in which he proposed it, or that it is not known.
 *   M2  there is an open batch as long as the group is not fenced.
 */
#include "cluster/meta.h"

#include "cluster/registry_msg.h"
#include "cluster/replica.h"
#include "core/base/assert.h"
#include "core/base/list.h"
#include "core/base/log.h"

#include <stdlib.h>
#include <string.h>

enum {
    KEEP_EVERY = 256,
    TRAILING = 4096, /* entries behind a snapshot that stay, for followers (E4) */
};

struct batch {
    struct store_append append;
    struct meta *meta;
    bool is_used;
};

struct proposal {
    struct list link; /* in meta->proposals, by index */
    uint64_t index;
    meta_done done;
    void *context;
    bool is_applied;
    struct registry_result result; /* then */
};

struct meta {
    struct meta_config config;
    struct replica_host host;
    struct replica_state kept;
    struct replica *replica;
    struct registry_state *state;
    struct lane_desk log_desk;
    struct lane_desk state_desk; /* reads of the log for followers that are behind */
    struct batch *open;          /* M2 */
    struct list proposals;
    struct batch *installing; /* under way; NULL: none */
    struct consensus_snapshot image;
    struct registry_state *image_state;
    uint64_t now_ms, applied, kept_index;
    bool is_fenced, is_closing;
    bool has_changed, is_deposed; /* to be told when the replica has come back */
};

static void fence(struct meta *meta, const char *what, enum err err)
{
    if (!meta->is_fenced && !meta->is_closing) {
        log_event(
            LOG_ERROR,
            "the registry's group has ended on this node: look for the reason above, then start "
            "tern again",
            LOG_TEXT("what", what), LOG_TEXT("error", err_text(err)));
    }
    meta->is_fenced = true;
}

/* ---- the state ---------------------------------------------------------------------------------- */

static enum err on_restore(void *context, uint64_t index, uint64_t term, struct slice bytes)
{
    struct meta *meta = context;
    struct registry_state *state;
    (void)term;
    TRY(registry_snapshot_decode(bytes, &state));
    registry_free(meta->state);
    meta->state = state;
    meta->applied = meta->kept_index = index;
    return OK;
}

static enum err apply(struct meta *meta, uint64_t index, struct slice bytes,
                      struct registry_result *result)
{
    struct registry_command command;
    TRY(registry_command_decode(bytes, &command));
    TRY(registry_apply(meta->state, index, &command, result));
    meta->applied = index;
    return OK;
}

static enum err on_apply(void *context, uint64_t index, uint64_t term, struct slice bytes)
{
    struct registry_result result;
    (void)term;
    return apply(context, index, bytes, &result);
}

/* ---- who proposed ------------------------------------------------------------------------------- */

/* Those that are applied, or all. Who is told may propose again: never from inside the replica. */
static void tell(struct meta *meta, bool is_all, enum err err)
{
    while (!list_is_empty(&meta->proposals)) {
        struct proposal *first = CONTAINER_OF(meta->proposals.next, struct proposal, link);
        if (!first->is_applied && !is_all) {
            return;
        }
        list_remove(&first->link);
        if (first->done != NULL) {
            first->done(first->context, first->is_applied ? OK : err,
                        first->is_applied ? &first->result : NULL);
        }
        free(first);
    }
}

/* Of entries that are committed each in its turn: so it is the first one that is not applied. */
static struct proposal *proposal_of(struct meta *meta, uint64_t index)
{
    LIST_EACH (&meta->proposals, link) {
        struct proposal *proposal = CONTAINER_OF(link, struct proposal, link);
        if (!proposal->is_applied) {
            return proposal->index == index ? proposal : NULL;
        }
    }
    return NULL;
}

/* ---- what a replica asks for -------------------------------------------------------------------- */

static void on_written(struct job *job, enum err err);

static struct batch *batch_new(struct meta *meta)
{
    struct batch *batch = calloc(1, sizeof(*batch));
    if (batch != NULL) {
        batch->append.batch = kv_batch_new();
    }
    if (batch == NULL || batch->append.batch == NULL) {
        free(batch);
        return NULL;
    }
    batch->append.job.done = on_written;
    batch->meta = meta;
    return batch;
}

static void batch_free(struct batch *batch)
{
    if (batch != NULL) {
        kv_batch_free(batch->append.batch);
        free(batch);
    }
}

static struct kv_batch *host_batch(void *context, struct replica *replica, bool must_sync)
{
    struct meta *meta = context;
    (void)replica;
    meta->open->is_used = true;
    meta->open->append.must_sync = meta->open->append.must_sync || must_sync;
    return meta->open->append.batch;
}

static void host_committed(void *context, struct replica *replica, uint64_t index, uint64_t term,
                           struct slice bytes)
{
    struct meta *meta = context;
    struct registry_result result;
    (void)replica, (void)term;
    if (meta->is_fenced) {
        return;
    }
    if (bytes.count == 0) { /* the engine's own */
        meta->applied = index;
        return;
    }
    enum err err = apply(meta, index, bytes, &result);
    if (err != OK) {
        fence(meta, "applying what is committed", err);
        return;
    }
    struct proposal *proposal = proposal_of(meta, index);
    if (proposal != NULL) {
        proposal->is_applied = true;
        proposal->result = result;
    }
    meta->has_changed = true;
}

/* What was proposed before may be replaced, or committed by another leader. */
static void host_leads(void *context, struct replica *replica, uint64_t term)
{
    struct meta *meta = context;
    (void)replica;
    meta->is_deposed = meta->is_deposed || term == 0;
}

static void host_send(void *context, struct replica *replica, uint64_t peer, struct slice message)
{
    struct meta *meta = context;
    (void)replica;
    meta->config.events.send(meta->config.events.context, peer, message);
}

static void host_fetch(void *context, struct replica *replica, uint64_t peer, uint64_t index)
{
    struct meta *meta = context;
    (void)replica, (void)index;
    meta->config.events.fetch(meta->config.events.context, peer);
}

/* ---- from another node -------------------------------------------------------------------------- */

enum err meta_image(const struct meta *meta, struct consensus_snapshot *out, struct buf *bytes)
{
    struct consensus_snapshot image = {0};
    if (meta->is_fenced) {
        return ERR_AGAIN;
    }
    image.index = replica_told(meta->replica, &image.term);
    if (image.index != meta->applied || image.term == 0 ||
        !replica_members_at(meta->replica, image.index, &image.members)) {
        return ERR_AGAIN;
    }
    TRY(registry_snapshot_encode(meta->state, bytes));
    *out = image;
    return OK;
}

static void on_installed(struct job *job, enum err err)
{
    struct batch *batch = CONTAINER_OF(job, struct batch, append.job);
    struct meta *meta = batch->meta;
    batch_free(batch);
    meta->installing = NULL;
    if (err == OK) {
        err = replica_installed(meta->replica, meta->now_ms, &meta->image, NULL);
    }
    if (err != OK) {
        fence(meta, "beginning anew with the state of another node", err);
        return;
    }
    registry_free(meta->state);
    meta->state = meta->image_state;
    meta->image_state = NULL;
    meta->applied = meta->kept_index = meta->image.index;
    meta->has_changed = true;
}

/* In one batch: the state, an empty log, and that it begins behind it. Who belongs to the group is in the
 * open one, which goes first. */
static enum err install_write(struct meta *meta, const struct consensus_snapshot *image,
                              struct slice bytes)
{
    struct batch *batch = batch_new(meta);
    if (batch == NULL) {
        return ERR_NOMEM;
    }
    struct raftlog_state state = {image->index, image->term, bytes};
    struct raftlog_hard cut = {.cut_index = image->index, .cut_term = image->term};
    enum err err = raftlog_put_state(batch->append.batch, META_GROUP, &state);
    raftlog_truncate(batch->append.batch, META_GROUP, 0);
    err = err == OK ? raftlog_cut(batch->append.batch, META_GROUP, &cut) : err;
    if (err != OK) {
        batch_free(batch);
        return err;
    }
    batch->append.job.done = on_installed;
    batch->append.must_sync = true;
    meta_flush(meta);
    meta->installing = batch;
    store_append(&meta->log_desk, &batch->append);
    return OK;
}

enum err meta_install(struct meta *meta, uint64_t now_ms, const struct consensus_snapshot *image,
                      struct slice bytes)
{
    struct registry_state *state;
    if (meta->is_fenced || meta->installing != NULL) {
        return ERR_AGAIN;
    }
    TRY(registry_snapshot_decode(bytes, &state));
    meta->now_ms = now_ms;
    bool is_wanted = state->index <= image->index &&
                     replica_may_install(meta->replica, now_ms, image);
    enum err err = is_wanted ? install_write(meta, image, bytes) : ERR_AGAIN;
    if (err != OK) {
        registry_free(state);
        return err;
    }
    meta->image = *image;
    meta->image_state = state;
    return OK;
}

/* ---- turns -------------------------------------------------------------------------------------- */

static void on_written(struct job *job, enum err err)
{
    struct batch *batch = CONTAINER_OF(job, struct batch, append.job);
    struct meta *meta = batch->meta;
    batch_free(batch);
    if (err != OK) {
        fence(meta, "writing the log", err);
    }
    replica_persisted(meta->replica, meta->now_ms, err);
}

/* Bytes of entries are given back; a snapshot is taken when there are many. */
static void look(struct meta *meta)
{
    replica_applied(meta->replica, meta->applied);
    if (replica_is_fenced(meta->replica)) {
        fence(meta, "replicating", ERR_UNAVAILABLE);
    }
    if (meta->has_changed && meta->config.events.changed != NULL) {
        meta->config.events.changed(meta->config.events.context);
    }
    meta->has_changed = false;
    tell(meta, meta->is_deposed || meta->is_fenced, ERR_UNAVAILABLE);
    meta->is_deposed = false;
    if (meta->is_fenced) {
        return;
    }
    if (meta->applied < meta->kept_index + meta->config.keep_every) {
        return;
    }
    struct buf bytes = {0};
    if (registry_snapshot_encode(meta->state, &bytes) == OK) {
        (void)replica_keep(meta->replica, buf_bytes(&bytes),
                           meta->config.trailing); /* or with the next entry */
        meta->kept_index = meta->applied;
    }
    buf_deinit(&bytes);
}

void meta_collect(struct meta *meta, uint64_t now_ms)
{
    meta->now_ms = now_ms;
    lane_collect(&meta->log_desk);
    lane_collect(&meta->state_desk);
    if (replica_timeout_ms(meta->replica) <= now_ms) {
        replica_timeout(meta->replica, now_ms);
    }
    look(meta);
}

void meta_flush(struct meta *meta)
{
    struct batch *batch = meta->open;
    if (meta->is_fenced || !batch->is_used) {
        return;
    }
    meta->open = batch_new(meta);
    store_append(&meta->log_desk, &batch->append);
    if (meta->open == NULL) {
        fence(meta, "preparing the next write", ERR_NOMEM);
    }
}

bool meta_has_news(const struct meta *meta)
{
    return lane_has_news(&meta->log_desk) || lane_has_news(&meta->state_desk);
}

uint64_t meta_wake_ms(const struct meta *meta)
{
    return replica_timeout_ms(meta->replica);
}

enum err meta_receive(struct meta *meta, uint64_t now_ms, uint64_t peer, uint64_t generation,
                      struct slice bytes)
{
    if (meta->is_fenced) {
        return ERR_UNAVAILABLE;
    }
    meta->now_ms = now_ms;
    enum err err = replica_receive(meta->replica, now_ms, peer, generation, bytes);
    look(meta);
    return err;
}

enum err meta_propose(struct meta *meta, uint64_t now_ms, const struct registry_command *command,
                      meta_done done, void *context)
{
    struct buf bytes = {0};
    struct proposal *proposal = calloc(1, sizeof(*proposal));
    if (proposal == NULL) {
        return ERR_NOMEM;
    }
    meta->now_ms = now_ms;
    enum err err = meta->is_fenced ? ERR_UNAVAILABLE : registry_command_encode(command, &bytes);
    if (err == OK) {
        ASSERT(bytes.begin == 0); /* what a replica takes it frees as it is */
        *proposal = (struct proposal){.done = done, .context = context};
        list_push_back(&meta->proposals, &proposal->link);
        err = replica_propose(meta->replica, now_ms, buf_bytes(&bytes), &proposal->index);
        if (err == OK) {
            return OK;
        }
        list_remove(&proposal->link);
    }
    buf_deinit(&bytes);
    free(proposal);
    return err;
}

void meta_want(struct meta *meta, uint64_t now_ms, const uint64_t *members, uint32_t count)
{
    struct replica_want want = {.count = count};
    ASSERT(count <= CONSENSUS_MEMBERS_MAX);
    memcpy(want.ids, members, count * sizeof(want.ids[0]));
    meta->now_ms = now_ms;
    replica_want(meta->replica, now_ms, &want);
}

/* ---- questions ---------------------------------------------------------------------------------- */

const struct registry_state *meta_state(const struct meta *meta)
{
    return meta->state;
}

bool meta_leads(const struct meta *meta)
{
    return !meta->is_fenced && replica_accepts(meta->replica);
}

uint64_t meta_leader(const struct meta *meta)
{
    return meta->is_fenced ? 0 : replica_leader(meta->replica);
}

void meta_look(const struct meta *meta, struct replica_look *out)
{
    replica_look(meta->replica, out);
}

/* ---- open and close ----------------------------------------------------------------------------- */

enum err meta_new(const struct meta_config *config, uint64_t now_ms, struct meta **out,
                  struct kv_failure *failure)
{
    struct meta *meta = calloc(1, sizeof(*meta));
    failure->text[0] = '\0';
    if (meta == NULL) {
        return ERR_NOMEM;
    }
    meta->config = *config;
    meta->config.keep_every = config->keep_every != 0 ? config->keep_every : KEEP_EVERY;
    meta->config.trailing = config->trailing != 0 ? config->trailing : TRAILING;
    meta->now_ms = now_ms;
    meta->host = (struct replica_host){.batch = host_batch,
                                       .committed = host_committed,
                                       .leads = host_leads,
                                       .send = host_send,
                                       .fetch = config->events.fetch == NULL ? NULL : host_fetch,
                                       .context = meta};
    meta->kept = (struct replica_state){on_restore, on_apply, meta};
    list_init(&meta->proposals);
    lane_desk_init(&meta->log_desk, store_log_lane(config->store), config->io);
    lane_desk_init(&meta->state_desk, store_state_lane(config->store), config->io);
    meta->state = registry_new();
    meta->open = batch_new(meta);
    enum err err = meta->state == NULL || meta->open == NULL ? ERR_NOMEM : OK;
    if (err == OK) {
        struct replica_config replica = {.partition = META_GROUP,
                                         .node_id = config->node_id,
                                         .is_joiner = config->is_joiner,
                                         .seed = config->seed,
                                         .election_ms = config->election_ms,
                                         .heartbeat_ms = config->heartbeat_ms,
                                         .host = &meta->host,
                                         .state = &meta->kept,
                                         .state_desk = &meta->state_desk,
                                         .store = config->store};
        err = replica_open(&replica, now_ms, &meta->replica, failure);
    }
    if (err != OK) {
        meta_free(meta);
        return err;
    }
    *out = meta;
    return OK;
}

void meta_leave_io(struct meta *meta)
{
    meta->config.io = NULL;
    lane_desk_leave_io(&meta->log_desk);
    lane_desk_leave_io(&meta->state_desk);
}

void meta_free(struct meta *meta)
{
    if (meta == NULL) {
        return;
    }
    meta->is_closing = true;
    if (meta->replica != NULL) {
        meta_flush(meta);
        lane_desk_close(&meta->log_desk);
        lane_desk_close(&meta->state_desk);
    }
    meta->is_fenced = true;
    tell(meta, true, ERR_SHUTDOWN);
    replica_close(meta->replica);
    batch_free(meta->open);
    registry_free(meta->state);
    registry_free(meta->image_state);
    free(meta);
}
