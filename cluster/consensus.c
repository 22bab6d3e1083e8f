#include "cluster/consensus.h"

#include "cluster/consensus_parts.h"
#include "core/base/assert.h"

#include <raft.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * The engine, and nothing but: what goes in and comes out, in our words. When it is asked, and what
 * with, is the matter of consensus_event.c.
 *
 * Who owns what, in exactly this version (cluster.md 2.3):
 *
 *     entries handed in     ours. Of a received message the engine frees entries[0].batch in every
 *                           outcome but RAFT_UPDATE_ENTRIES: it gets one byte of its own to free.
 *     its own barrier       eight bytes that it allocates and we free; none of them is stored
 *     configurations        those handed in are the engine's, also when it does not want them
 *     messages              valid until the next step: copied before there is one
 */
_Static_assert(RAFT_VERSION_NUMBER == 2201, "libraft 0.22.1: ownership differs in others");
_Static_assert(sizeof(struct raft) == 992, "the header and the packaged library belong together");
#define IS_ENGINES(ours, theirs) _Static_assert((int)(ours) == (int)(theirs), "handed on as it is")
IS_ENGINES(CONSENSUS_STANDBY, RAFT_STANDBY);
IS_ENGINES(CONSENSUS_VOTER, RAFT_VOTER);
IS_ENGINES(CONSENSUS_SPARE, RAFT_SPARE);
IS_ENGINES(CONSENSUS_CHANGE, RAFT_CHANGE);
IS_ENGINES(CONSENSUS_TIMEOUT_NOW, RAFT_TIMEOUT_NOW);

enum {
    VERSION_VOTE = 2, /* of messages, as the engine itself sends them */
    VERSION_APPEND_RESULT = 2,
    ADDRESS_BYTES = 21,
};

/* The bytes of a CHANGE that was loaded, until the start. */
struct copy {
    struct copy *next;
    uint8_t bytes[CONSENSUS_MEMBERS_BYTES_MAX];
};

struct engine {
    struct raft raft;

    struct raft_entry *loaded; /* until the start */
    uint32_t loaded_count, loaded_capacity;
    struct copy *copies;

    struct raft_entry *handed; /* what a step is given, and what our caller gave for it */
    uint32_t handed_capacity;
    const struct consensus_entry *given;
};

/* ---- what it is ------------------------------------------------------------------------------- */

uint64_t consensus_term_of(const struct consensus *consensus, uint64_t index)
{
    const struct raft_trail *trail = &consensus->engine->raft.trail;
    uint32_t count = trail->size == 0 ? 0
                                      : (trail->back + trail->size - trail->front) % trail->size;
    uint64_t term = 0;

    /* A record is of a run of one term, and says where it ends: the first that reaches index. */
    while (index > trail->offset && count > 0) {
        uint32_t at = (trail->front + --count) % trail->size;
        if (trail->records[at].index < index) {
            break;
        }
        term = trail->records[at].term;
    }
    return term == 0 && index == trail->snapshot.index ? trail->snapshot.term : term;
}

void engine_look(const struct consensus *consensus, struct engine_view *out)
{
    const struct raft *raft = &consensus->engine->raft;

    *out = (struct engine_view){
        .state = ENGINE_FOLLOWER,
        .is_installing = raft->snapshot.installing,
        .term = raft->current_term,
        .vote = raft->voted_for,
        .commit = raft->commit_index,
        .stored = raft->last_stored,
        .last = raft_last_index((struct raft *)raft),
        .offset = raft->trail.offset,
        .snapshot_index = raft->trail.snapshot.index,
        .snapshot_term = raft->trail.snapshot.term,
        .change_committed = raft->configuration_committed_index,
        .change_open = raft->configuration_uncommitted_index,
        .timeout_ms = raft_timeout(raft),
        .member_count = raft->configuration.n,
    };
    switch (raft->state) {
    case RAFT_LEADER:
        out->state = ENGINE_LEADER;
        out->leader = raft->id;
        out->transferee = raft->leader_state.transferee;
        out->promotee = raft->leader_state.promotee_id;
        break;
    case RAFT_CANDIDATE:
        out->state = ENGINE_CANDIDATE;
        out->is_in_prevote = raft->candidate_state.in_pre_vote;
        break;
    default:
        out->leader = raft->follower_state.current_leader.id;
    }
}

static void members_of(const struct raft_configuration *configuration, uint64_t index,
                       struct consensus_members *out)
{
    ASSERT(configuration->n <= CONSENSUS_MEMBERS_MAX);
    *out = (struct consensus_members){.index = index, .count = configuration->n};
    for (uint32_t i = 0; i < configuration->n; i++) {
        out->rows[i].id = configuration->servers[i].id;
        out->rows[i].role = (enum consensus_role)configuration->servers[i].role;
    }
}

void consensus_members(const struct consensus *consensus, struct consensus_members *out)
{
    const struct raft *raft = &consensus->engine->raft;

    members_of(&raft->configuration,
               raft->configuration_uncommitted_index != 0 ? raft->configuration_uncommitted_index
                                                          : raft->configuration_committed_index,
               out);
}

void engine_members_committed(const struct consensus *consensus, struct consensus_members *out)
{
    const struct raft *raft = &consensus->engine->raft;

    members_of(&raft->configuration_committed, raft->configuration_committed_index, out);
}

uint64_t consensus_match_index(const struct consensus *consensus, uint64_t id)
{
    raft_index index = 0;

    return raft_match_index(&consensus->engine->raft, id, &index) == 0 ? index : 0;
}

/* ---- what comes out --------------------------------------------------------------------------- */

static enum err message_out(struct consensus *consensus, const struct raft_message *from)
{
    struct consensus_message *to;

    TRY(update_message(consensus, &to));
    to->kind = (enum consensus_message_kind)from->type;
    to->peer = from->server_id;
    switch (from->type) {
    case RAFT_APPEND_ENTRIES:
        to->term = from->append_entries.term;
        to->append.prev_index = from->append_entries.prev_log_index;
        to->append.prev_term = from->append_entries.prev_log_term;
        to->append.commit_index = from->append_entries.leader_commit;
        to->append.count = from->append_entries.n_entries;
        break;
    case RAFT_APPEND_ENTRIES_RESULT:
        to->term = from->append_entries_result.term;
        to->append_result.rejected = from->append_entries_result.rejected;
        to->append_result.last_index = from->append_entries_result.last_log_index;
        break;
    case RAFT_REQUEST_VOTE:
        to->term = from->request_vote.term;
        to->vote.last_index = from->request_vote.last_log_index;
        to->vote.last_term = from->request_vote.last_log_term;
        to->vote.disrupt_leader = from->request_vote.disrupt_leader;
        to->vote.pre_vote = from->request_vote.pre_vote;
        break;
    case RAFT_REQUEST_VOTE_RESULT:
        to->term = from->request_vote_result.term;
        to->vote_result.granted = from->request_vote_result.vote_granted;
        to->vote_result.pre_vote = from->request_vote_result.pre_vote;
        break;
    case RAFT_INSTALL_SNAPSHOT:
        ASSERT(from->install_snapshot.last_index == consensus->snapshot.index);
        to->term = from->install_snapshot.term;
        to->install = consensus->snapshot;
        break;
    case RAFT_TIMEOUT_NOW:
        to->term = from->timeout_now.term;
        to->timeout_now.last_index = from->timeout_now.last_log_index;
        to->timeout_now.last_term = from->timeout_now.last_log_term;
        break;
    }
    return OK;
}

static void entries_out(struct consensus *consensus, const struct raft_update *from)
{
    struct consensus_update *update = &consensus->update;
    struct engine *engine = consensus->engine;

    ASSERT(update->entry_count == 0);
    update->entry_index = from->entries.index;
    update->entry_count = from->entries.n;
    if (from->entries.batch == &engine->raft.barrier) {
        raft_free(engine->raft.barrier.buf.base);
        consensus->own = (struct consensus_entry){
            engine->raft.barrier.term, CONSENSUS_BARRIER, {0}};
        update->entries = &consensus->own;
        return;
    }
    ASSERT(engine->given != NULL);
    update->entries = engine->given + (from->entries.batch - engine->handed);
}

/* Carry over what a step came to; what it allocated for us is given back. */
static enum err step_out(struct consensus *consensus, const struct raft_update *from)
{
    struct consensus_update *update = &consensus->update;

    if (from->flags & (RAFT_UPDATE_CURRENT_TERM | RAFT_UPDATE_VOTED_FOR)) {
        update->has_hard = true;
    }
    if (from->flags & RAFT_UPDATE_ENTRIES) {
        entries_out(consensus, from);
    }
    if (from->flags & RAFT_UPDATE_SNAPSHOT) {
        struct raft_configuration taken = from->snapshot.metadata.configuration;
        raft_configuration_close(&taken);
        raft_free(from->snapshot.chunk.base);
        update->install = &consensus->installing;
    }
    if (from->flags & RAFT_UPDATE_MESSAGES) {
        for (uint32_t i = 0; i < from->messages.n; i++) {
            TRY(message_out(consensus, &from->messages.batch[i]));
        }
    }
    return OK;
}

static enum err step_failed(struct consensus *consensus, int code)
{
    switch (code) {
    case RAFT_NOTLEADER:
        return ERR_UNAVAILABLE;
    case RAFT_CANTCHANGE:
        return ERR_AGAIN;
    case RAFT_NOSPACE:
        return ERR_NO_SPACE;
    case RAFT_BADID:
    case RAFT_NOTFOUND:
        return ERR_NOT_FOUND;
    case RAFT_NOMEM:
        consensus->is_broken = true; /* it may have stopped half-way */
        return ERR_NOMEM;
    default:
        consensus->is_broken = true;
        return ERR_CORRUPT;
    }
}

static enum err step(struct consensus *consensus, struct raft_event *event)
{
    struct raft_update from;

    ASSERT(!consensus->is_broken);
    memset(&from, 0, sizeof from);
    event->time = consensus->now_ms;
    int code = raft_step(&consensus->engine->raft, event, &from);
    if (code != 0) {
        return step_failed(consensus, code);
    }
    enum err err = step_out(consensus, &from);
    consensus->is_broken = consensus->is_broken || err != OK;
    return err;
}

/* ---- what goes in ----------------------------------------------------------------------------- */

static enum err handed_room(struct engine *engine, uint32_t count)
{
    if (count <= engine->handed_capacity) {
        return OK;
    }
    struct raft_entry *grown = realloc(engine->handed, count * sizeof grown[0]);
    if (grown == NULL) {
        return ERR_NOMEM;
    }
    engine->handed = grown;
    engine->handed_capacity = count;
    return OK;
}

/* batch: not NULL, and freed by the engine where the table above says so. */
static enum err entries_in(struct engine *engine, const struct consensus_entry *entries,
                           uint32_t count, void *batch)
{
    TRY(handed_room(engine, count));
    engine->given = entries;
    for (uint32_t i = 0; i < count; i++) {
        engine->handed[i] = (struct raft_entry){
            .term = entries[i].term,
            .type = (enum raft_entry_type)entries[i].type,
            .buf = {(void *)entries[i].bytes.data, entries[i].bytes.count},
            .batch = batch,
        };
    }
    return OK;
}

static enum err configuration_in(const struct consensus_members *members,
                                 struct raft_configuration *out)
{
    char address[ADDRESS_BYTES];

    ASSERT(members_check(members) == OK);
    raft_configuration_init(out);
    for (uint32_t i = 0; i < members->count; i++) {
        snprintf(address, sizeof address, "%" PRIu64, members->rows[i].id);
        if (raft_configuration_add(out, members->rows[i].id, address, (int)members->rows[i].role) !=
            0) {
            raft_configuration_close(out);
            return ERR_NOMEM; /* the rows are sound: there is no other reason */
        }
    }
    return OK;
}

static enum err metadata_in(const struct consensus_snapshot *snapshot,
                            struct raft_snapshot_metadata *out)
{
    out->index = snapshot->index;
    out->term = snapshot->term;
    out->configuration_index = snapshot->members.index;
    return configuration_in(&snapshot->members, &out->configuration);
}

enum err engine_submit(struct consensus *consensus, const struct consensus_entry *entries,
                       uint32_t count)
{
    struct engine *engine = consensus->engine;
    struct raft_event event = {.type = RAFT_SUBMIT};

    TRY(entries_in(engine, entries, count, engine));
    event.submit.entries = engine->handed;
    event.submit.n = count;
    return step(consensus, &event);
}

static enum err append_in(struct consensus *consensus, const struct consensus_message *from,
                          struct raft_message *to)
{
    struct engine *engine = consensus->engine;
    void *batch = NULL;

    if (from->append.count > 0) {
        batch = raft_malloc(1);
        if (batch == NULL) {
            return ERR_NOMEM;
        }
        enum err err = entries_in(engine, from->append.entries, from->append.count, batch);
        if (err != OK) {
            raft_free(batch);
            return err;
        }
    }
    to->append_entries = (struct raft_append_entries){
        .term = from->term,
        .prev_log_index = from->append.prev_index,
        .prev_log_term = from->append.prev_term,
        .leader_commit = from->append.commit_index,
        .entries = engine->handed,
        .n_entries = from->append.count,
    };
    return OK;
}

static enum err install_in(const struct consensus_message *from, struct raft_message *to)
{
    struct raft_install_snapshot *install = &to->install_snapshot;

    *install = (struct raft_install_snapshot){
        .term = from->term,
        .last_index = from->install.index,
        .last_term = from->install.term,
        .conf_index = from->install.members.index,
        .data = {raft_malloc(1), 1},
    };
    if (install->data.base == NULL) {
        return ERR_NOMEM;
    }
    enum err err = configuration_in(&from->install.members, &install->conf);
    if (err != OK) {
        raft_free(install->data.base);
    }
    return err;
}

static enum err message_in(struct consensus *consensus, const struct consensus_message *from,
                           struct raft_message *to)
{
    switch (from->kind) {
    case CONSENSUS_APPEND:
        return append_in(consensus, from, to);
    case CONSENSUS_INSTALL:
        return install_in(from, to);
    case CONSENSUS_APPEND_RESULT:
        to->append_entries_result = (struct raft_append_entries_result){
            .version = VERSION_APPEND_RESULT,
            .term = from->term,
            .rejected = from->append_result.rejected,
            .last_log_index = from->append_result.last_index,
        };
        return OK;
    case CONSENSUS_VOTE:
        to->request_vote = (struct raft_request_vote){
            .version = VERSION_VOTE,
            .term = from->term,
            .candidate_id = from->peer,
            .last_log_index = from->vote.last_index,
            .last_log_term = from->vote.last_term,
            .disrupt_leader = from->vote.disrupt_leader,
            .pre_vote = from->vote.pre_vote,
        };
        return OK;
    case CONSENSUS_VOTE_RESULT:
        to->request_vote_result = (struct raft_request_vote_result){
            .version = VERSION_VOTE,
            .term = from->term,
            .vote_granted = from->vote_result.granted,
            .pre_vote = from->vote_result.pre_vote,
        };
        return OK;
    case CONSENSUS_TIMEOUT_NOW:
        to->timeout_now = (struct raft_timeout_now){
            .term = from->term,
            .last_log_index = from->timeout_now.last_index,
            .last_log_term = from->timeout_now.last_term,
        };
        return OK;
    case CONSENSUS_MESSAGE_END:
        break;
    }
    ASSERT(!"a message that was checked");
    return ERR_PROTOCOL;
}

enum err engine_receive(struct consensus *consensus, const struct consensus_message *message)
{
    char address[ADDRESS_BYTES];
    struct raft_message to;
    struct raft_event event = {.type = RAFT_RECEIVE};

    memset(&to, 0, sizeof to);
    snprintf(address, sizeof address, "%" PRIu64, message->peer);
    to.type = (enum raft_message_type)message->kind;
    to.server_id = message->peer;
    to.server_address = address;
    TRY(message_in(consensus, message, &to));
    if (message->kind == CONSENSUS_INSTALL) {
        consensus->installing = message->install;
    }
    event.receive.message = &to;
    void *batch = to.type == RAFT_APPEND_ENTRIES && to.append_entries.n_entries > 0
                      ? consensus->engine->handed[0].batch
                      : NULL;
    TRY(step(consensus, &event));
    if (consensus->update.entry_count > 0) {
        raft_free(batch);
    }
    return OK;
}

void engine_vote(struct consensus *consensus, uint64_t id)
{
    ASSERT(consensus->engine->raft.state == RAFT_FOLLOWER);
    consensus->engine->raft.voted_for = id;
    consensus->update.has_hard = true;
}

void engine_forget_leader(struct consensus *consensus)
{
    struct raft *raft = &consensus->engine->raft;

    ASSERT(raft->state == RAFT_FOLLOWER);
    raft_free(raft->follower_state.current_leader.address);
    raft->follower_state.current_leader.address = NULL;
    raft->follower_state.current_leader.id = 0;
}

enum err engine_persisted(struct consensus *consensus, uint64_t index)
{
    struct raft_event event = {.type = RAFT_PERSISTED_ENTRIES};

    event.persisted_entries.index = index;
    return step(consensus, &event);
}

enum err engine_installed(struct consensus *consensus)
{
    struct raft_event event = {.type = RAFT_PERSISTED_SNAPSHOT};

    TRY(metadata_in(&consensus->installing, &event.persisted_snapshot.metadata));
    event.persisted_snapshot.last = true;
    return step(consensus, &event);
}

enum err engine_change_committed(struct consensus *consensus)
{
    struct consensus_members members;
    struct raft_event event = {.type = RAFT_CONFIGURATION};

    consensus_members(consensus, &members);
    event.configuration.index = members.index;
    TRY(configuration_in(&members, &event.configuration.conf));
    return step(consensus, &event);
}

enum err engine_cut(struct consensus *consensus, uint32_t trailing)
{
    struct raft_event event = {.type = RAFT_SNAPSHOT};

    TRY(metadata_in(&consensus->snapshot, &event.snapshot.metadata));
    event.snapshot.trailing = trailing;
    return step(consensus, &event);
}

enum err engine_timeout(struct consensus *consensus)
{
    struct raft_event event = {.type = RAFT_TIMEOUT};

    return step(consensus, &event);
}

enum err engine_catch_up(struct consensus *consensus, uint64_t id)
{
    struct raft_event event = {.type = RAFT_CATCH_UP};
    int status;

    if (raft_catch_up(&consensus->engine->raft, id, &status) != 0) {
        return ERR_NOT_FOUND;
    }
    if (status == RAFT_CATCH_UP_RUNNING) {
        return ERR_AGAIN;
    }
    event.catch_up.server_id = id;
    return step(consensus, &event);
}

enum err engine_transfer(struct consensus *consensus, uint64_t id)
{
    struct raft_event event = {.type = RAFT_TRANSFER};

    event.transfer.server_id = id;
    return step(consensus, &event);
}

/* ---- beginning and end ------------------------------------------------------------------------ */

static void loaded_free(struct engine *engine)
{
    raft_free(engine->loaded);
    engine->loaded = NULL;
    while (engine->copies != NULL) {
        struct copy *copy = engine->copies;
        engine->copies = copy->next;
        free(copy);
    }
}

enum err engine_start(struct consensus *consensus, const struct consensus_start *start)
{
    struct engine *engine = consensus->engine;
    struct raft_snapshot_metadata metadata;
    struct raft_event event = {.type = RAFT_START};

    if (start->snapshot != NULL) {
        TRY(metadata_in(start->snapshot, &metadata));
        event.start.metadata = &metadata;
    }
    event.start.term = start->term;
    event.start.voted_for = start->vote;
    event.start.start_index = start->first_index;
    event.start.entries = engine->loaded;
    event.start.n_entries = engine->loaded_count;
    enum err err = step(consensus, &event);
    if (err != OK) {
        engine->loaded = NULL; /* the engine has freed it */
    }
    loaded_free(engine);
    return err;
}

enum err consensus_new(const struct consensus_config *config, struct consensus **out)
{
    struct consensus *consensus = calloc(1, sizeof *consensus);
    struct engine *engine = calloc(1, sizeof *engine);
    char address[ADDRESS_BYTES];

    ASSERT(config->node_id != 0);
    ASSERT(raft_version_number() == RAFT_VERSION_NUMBER);
    snprintf(address, sizeof address, "%" PRIu64, config->node_id);
    if (consensus == NULL || engine == NULL || handed_room(engine, 8) != OK ||
        raft_init(&engine->raft, NULL, NULL, config->node_id, address) != 0) {
        goto fail;
    }
    consensus->engine = engine;
    consensus->config = *config;
    struct consensus_config *own = &consensus->config;
    own->election_ms = own->election_ms == 0 ? 1000 : own->election_ms;
    own->heartbeat_ms = own->heartbeat_ms == 0 ? 100 : own->heartbeat_ms;
    own->install_ms = own->install_ms == 0 ? 30000 : own->install_ms;
    own->inflight_max = own->inflight_max == 0 ? 1024 : own->inflight_max;
    /* It sets one that formats every step into a buffer that all threads share. */
    engine->raft.tracer = NULL;
    raft_seed(&engine->raft, (unsigned)(own->seed ^ own->seed >> 32));
    engine->raft.election_timeout =
        own->election_ms; /* its setter draws a timer, which needs a step */
    raft_set_heartbeat_timeout(&engine->raft, own->heartbeat_ms);
    raft_set_install_snapshot_timeout(&engine->raft, own->install_ms);
    raft_set_max_inflight_entries(&engine->raft, own->inflight_max);
    raft_set_pre_vote(&engine->raft, true);
    *out = consensus;
    return OK;
fail:
    if (engine != NULL) {
        free(engine->handed);
    }
    free(engine);
    free(consensus);
    return ERR_NOMEM;
}

void consensus_free(struct consensus *consensus)
{
    if (consensus == NULL) {
        return;
    }
    raft_close(&consensus->engine->raft, NULL);
    loaded_free(consensus->engine);
    free(consensus->engine->handed);
    free(consensus->engine);
    free(consensus->messages);
    free(consensus);
}

static enum err change_in(struct engine *engine, struct slice bytes, struct raft_buffer *out)
{
    struct consensus_members members = {0};
    struct copy *copy;

    TRY(members_read(bytes, &members));
    copy = malloc(sizeof *copy);
    if (copy == NULL) {
        return ERR_NOMEM;
    }
    copy->next = engine->copies;
    engine->copies = copy;
    *out = (struct raft_buffer){copy->bytes, members_write(&members, copy->bytes)};
    return OK;
}

enum err consensus_load(struct consensus *consensus, const struct consensus_entry *entry)
{
    struct engine *engine = consensus->engine;
    struct raft_entry loaded = {.term = entry->term, .type = (enum raft_entry_type)entry->type};

    ASSERT(!consensus->is_started);
    if (entry->term == 0 || entry->type < CONSENSUS_COMMAND || entry->type > CONSENSUS_CHANGE ||
        (engine->loaded_count > 0 && engine->loaded[engine->loaded_count - 1].term > entry->term)) {
        return ERR_CORRUPT;
    }
    if (engine->loaded_count == engine->loaded_capacity) {
        uint32_t capacity = engine->loaded_capacity * 2 + 16;
        struct raft_entry *grown = raft_realloc(engine->loaded, capacity * sizeof grown[0]);
        if (grown == NULL) {
            return ERR_NOMEM;
        }
        engine->loaded = grown;
        engine->loaded_capacity = capacity;
    }
    if (entry->type == CONSENSUS_CHANGE) {
        TRY(change_in(engine, entry->bytes, &loaded.buf));
    }
    engine->loaded[engine->loaded_count++] = loaded;
    return OK;
}

struct engine_loaded engine_loaded(const struct consensus *consensus)
{
    const struct engine *engine = consensus->engine;
    uint32_t count = engine->loaded_count;

    return (struct engine_loaded){
        .count = count,
        .begins_with_change = count > 0 && engine->loaded[0].type == RAFT_CHANGE,
        .term_last = count > 0 ? engine->loaded[count - 1].term : 0,
    };
}
