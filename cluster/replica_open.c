#include "cluster/replica.h"
#include "cluster/replica_parts.h"
#include "core/base/assert.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/*
 * What lies on the disk, and what it means:
 *
 *     state (machine)   ──────────────────┤ applied
 *     log               cut ├──────────────────────────┤ last
 *
 *     nothing at all             a new partition: term 1, and one entry that names this node; of a
 *                                node that joins a cluster: nothing, others will add it
 *     cut <= applied <= last     as usual. Alone, all of the log is committed, and applied here
 *     applied > last             the log was not synced before the state was (durability below fsync,
 *                                loss of power): the state counts, as all of it is committed, and the
 *                                log begins anew. A CHANGE is synced in any case: none is missing
 *     cut > applied              the state is lost
 *
 * The log is read once: terms go to the engine, and what the state lacks into the state, at once: what
 * lies here of a time when this node was alone is committed. (In memory it could be many times as
 * large as on the disk.) From where it was not alone on, bytes go into the window.
 */
enum {
    APPLY_BYTES = 1 << 20, /* to the state at once */
    WINDOW_BYTES = 1 << 20,
    TAIL_BYTES = 8 << 20,
};

struct opening {
    struct replica *replica;
    struct kv_failure *failure;
    struct raftlog_hard hard;
    struct consensus_members members; /* as of what is applied; index 0: not in the log */
    struct consensus_members members_last;
    uint64_t applied, applied_term; /* of the state; the term as the log has it, 0: it has not */
    uint64_t applied_before;        /* what it had when we came */
    bool is_judged, is_loaded;      /* members */
    uint64_t first, last;           /* of the log; first 0: it is empty */
    struct kv_batch *batch;         /* to the log */
    struct write_set *writes;       /* to the state */
};

static enum err refuse(const struct opening *opening, enum err err, const char *what,
                       const char *remedy)
{
    snprintf(opening->failure->text, sizeof opening->failure->text, "partition %" PRIu32 ": %s: %s",
             opening->replica->config.partition, what, remedy);
    return err;
}

static const char *const restore =
    "restore a backup (ternctl restore); in a cluster remove this node "
    "and let it join again, with an empty folder";

/* ---- the log ---------------------------------------------------------------------------------- */

static void lone_member(const struct replica *replica, struct consensus_members *out)
{
    *out = (struct consensus_members){.index = 1, .count = 1};
    out->rows[0] = (struct consensus_member){replica->config.node_id, CONSENSUS_VOTER};
}

static enum err change_note(struct opening *opening, uint64_t index, struct slice bytes)
{
    struct consensus_members members = {.index = index};

    TRY(members_read(bytes, &members));
    opening->members_last = members;
    if (index <= opening->applied) {
        opening->members = members;
    }
    return OK;
}

/* Who belonged to the group where the log was cut: as its record says, or this node alone. */
static enum err members_load(struct opening *opening)
{
    const struct replica_config *config = &opening->replica->config;
    uint8_t bytes[CONSENSUS_MEMBERS_BYTES_MAX];
    struct consensus_members members = {0};
    size_t count;

    opening->is_loaded = true;
    if (opening->hard.cut_index == 0) {
        return OK;
    }
    enum err err = raftlog_read_members(store_log(config->store), config->partition,
                                        opening->hard.cut_index, &members.index, bytes,
                                        sizeof bytes, &count, opening->failure);
    if (err == ERR_NOT_FOUND) {
        lone_member(opening->replica, &members);
    } else {
        TRY(err);
        TRY(members_read(slice_of(bytes, count), &members));
        raftlog_forget_members(opening->batch, config->partition, members.index);
    }
    opening->members = opening->members_last = members;
    return OK;
}

static uint64_t state_term(const struct replica *replica)
{
    return replica->machine != NULL ? machine_term(replica->machine) : replica->kept_term;
}

/* Do what the state has and what the log has belong together? */
static enum err history_judge(struct opening *opening)
{
    const struct replica *replica = opening->replica;

    opening->is_judged = true;
    if (opening->applied < opening->hard.cut_index) {
        return refuse(opening, ERR_CORRUPT, "its state lacks what was cut from its log", restore);
    }
    uint64_t term = state_term(replica);
    bool is_known = opening->applied <= opening->last ||
                    opening->applied == opening->hard.cut_index;
    if ((opening->applied > 0 && term == 0) || (is_known && term > opening->hard.term) ||
        (opening->applied_term != 0 && opening->applied_term != term)) {
        return refuse(opening, ERR_CORRUPT, "its log and its state are of different histories",
                      restore);
    }
    return OK;
}

static enum err state_write(struct opening *opening, uint64_t bytes_min)
{
    bool is_enough = write_set_bytes(opening->writes) > bytes_min;
    return is_enough ? write_set_write(opening->writes, store_state(opening->replica->config.store))
                     : OK;
}

static enum err entry_apply(struct opening *opening, uint64_t index,
                            const struct consensus_entry *entry)
{
    const struct replica_state *state = opening->replica->config.state;

    if (state != NULL) {
        return entry->type == CONSENSUS_COMMAND
                   ? state->apply(state->context, index, entry->term, entry->bytes)
                   : OK;
    }
    if (entry->type == CONSENSUS_COMMAND) {
        TRY(machine_apply(opening->replica->machine, index, entry->term, entry->bytes,
                          opening->writes));
    }
    return state_write(opening, APPLY_BYTES);
}

/* Was this node the only member when the newest entry was written? */
static bool was_alone(const struct opening *opening)
{
    const struct consensus_members *members = &opening->members_last;

    return members->count == 1 && members->rows[0].id == opening->replica->config.node_id;
}

static enum err on_entry(void *context, const struct raftlog_entry *entry)
{
    struct opening *opening = context;
    struct replica *replica = opening->replica;
    struct consensus_entry loaded = {entry->term, entry->type, entry->bytes};
    enum err err = opening->is_loaded ? OK : members_load(opening);

    TRY(err);
    err = consensus_load(replica->consensus, &loaded);
    if (err == OK && entry->type == CONSENSUS_CHANGE) {
        err = change_note(opening, entry->index, entry->bytes);
    }
    if (err == ERR_CORRUPT) {
        return refuse(opening, err, "its log holds an entry that makes no sense", restore);
    }
    TRY(err);
    opening->first = opening->first == 0 ? entry->index : opening->first;
    opening->last = entry->index;
    if (entry->index == opening->applied) {
        opening->applied_term = entry->term;
    }
    if (entry->index <= opening->applied) {
        return OK;
    }
    if (replica->window.count == 0 && was_alone(opening)) {
        if (!opening->is_judged) {
            TRY(history_judge(opening));
        }
        TRY(entry_apply(opening, entry->index, &loaded));
        opening->applied = entry->index;
        opening->applied_term = entry->term;
        opening->members = opening->members_last;
        return OK;
    }
    TRY(window_reserve(&replica->window, 1));
    loaded.bytes.data = NULL;
    if (entry->bytes.count > 0) {
        uint8_t *copy = malloc(entry->bytes.count);
        if (copy == NULL) {
            return ERR_NOMEM;
        }
        memcpy(copy, entry->bytes.data, entry->bytes.count);
        loaded.bytes.data = copy;
    }
    window_put(&replica->window, entry->index, &loaded);
    return OK;
}

enum err replica_engine_new(const struct replica *replica, struct consensus **out)
{
    struct consensus_config config = {
        .node_id = replica->config.node_id,
        .seed = replica->config.seed ^ (uint64_t)replica->config.partition << 32,
        .election_ms = replica->config.election_ms,
        .heartbeat_ms = replica->config.heartbeat_ms,
    };
    return consensus_new(&config, out);
}

static enum err engine_new(struct replica *replica)
{
    consensus_free(replica->consensus);
    replica->consensus = NULL;
    return replica_engine_new(replica, &replica->consensus);
}

/* ---- a new one, and one whose log is behind --------------------------------------------------- */

static enum err partition_make(struct opening *opening)
{
    struct replica *replica = opening->replica;
    uint8_t bytes[CONSENSUS_MEMBERS_BYTES_MAX];
    struct raftlog_entry entry = {.index = 1, .term = 1, .type = CONSENSUS_CHANGE};

    lone_member(replica, &opening->members_last);
    entry.bytes = slice_of(bytes, members_write(&opening->members_last, bytes));
    opening->hard = (struct raftlog_hard){.term = 1};
    TRY(raftlog_put_hard(opening->batch, replica->config.partition, &opening->hard));
    TRY(raftlog_put(opening->batch, replica->config.partition, &entry));
    return on_entry(opening, &entry);
}

static enum err log_begin_anew(struct opening *opening)
{
    struct replica *replica = opening->replica;
    uint32_t partition = replica->config.partition;
    uint64_t term = state_term(replica);
    uint8_t bytes[CONSENSUS_MEMBERS_BYTES_MAX];

    if (opening->hard.term < term) {
        opening->hard.term = term;
        opening->hard.vote = 0;
    }
    opening->hard.cut_index = opening->applied;
    opening->hard.cut_term = term;
    opening->first = 0;
    opening->last = opening->applied;
    TRY(engine_new(replica));
    window_cut(&replica->window, UINT64_MAX);
    TRY(raftlog_put_hard(opening->batch, partition, &opening->hard));
    raftlog_put_members(opening->batch, partition, opening->members.index,
                        slice_of(bytes, members_write(&opening->members, bytes)));
    return raftlog_cut(opening->batch, partition, &opening->hard);
}

/* Do log and state belong together? Amends opening where they are one of the harmless cases. */
static enum err log_judge(struct opening *opening)
{
    struct replica *replica = opening->replica;
    const struct raftlog_hard *hard = &opening->hard;
    bool is_empty = opening->first == 0 && opening->applied == 0 && hard->cut_index == 0;

    if (hard->term == 0 && !is_empty) {
        return refuse(opening, ERR_CORRUPT, "its log has lost its term", restore);
    }
    if (is_empty) { /* who waits for others may have heard of a term */
        bool waits = replica->config.is_joiner || hard->term > 0;
        return waits ? OK : partition_make(opening);
    }
    if (opening->first == 0) {
        opening->last = hard->cut_index;
    }
    if (!opening->is_loaded) {
        TRY(members_load(opening));
    }
    if (opening->members.count == 0 && opening->applied > 0) {
        return refuse(opening, ERR_CORRUPT, "its log does not say who belongs to it", restore);
    }
    if (!replica->config.is_joiner && opening->members_last.count == 1 &&
        opening->members_last.rows[0].id != replica->config.node_id) {
        return refuse(opening, ERR_INVALID, "it belongs to another node",
                      "start tern with the folder of this node");
    }
    if (!opening->is_judged) {
        TRY(history_judge(opening));
    }
    return opening->applied > opening->last ? log_begin_anew(opening) : OK;
}

/* ---- start ------------------------------------------------------------------------------------ */

static enum err engine_begin(struct opening *opening, uint64_t now_ms)
{
    struct replica *replica = opening->replica;
    struct kv *log = store_log(replica->config.store);
    struct consensus_snapshot snapshot = {
        .index = opening->applied,
        .term = opening->applied_term != 0 ? opening->applied_term : state_term(replica),
        .members = opening->members,
    };
    struct consensus_start start = {
        .term = opening->hard.term,
        .vote = opening->hard.vote,
        .first_index = opening->first != 0 ? opening->first : opening->hard.cut_index + 1,
        .snapshot = opening->applied > 0 ? &snapshot : NULL,
    };
    struct consensus_update update;

    TRY(consensus_start(replica->consensus, now_ms, &start, &update));
    while (update.entry_count > 0) { /* a barrier: of a group that shrank to this one node */
        uint64_t index = update.entry_index + update.entry_count - 1;
        uint64_t term = update.entries[update.entry_count - 1].term;
        TRY(replica_log(replica, &update, (struct slice){0}, opening->batch));
        TRY(kv_write(log, opening->batch));
        TRY(kv_sync(log, true));
        kv_batch_clear(opening->batch);
        TRY(consensus_persisted(replica->consensus, now_ms, index, term, &update));
    }
    ASSERT(!update.has_hard); /* a start decides nothing about votes */
    return OK;
}

/* The only one that votes, others may have the log or not: all that is in the window is committed. */
static enum err window_apply(struct opening *opening)
{
    struct replica *replica = opening->replica;
    uint64_t end = consensus_status(replica->consensus).commit_index;

    for (uint64_t index = opening->applied + 1; index <= end; index++) {
        const struct consensus_entry *entry = window_get(&replica->window, index);
        ASSERT(entry != NULL);
        TRY(entry_apply(opening, index, entry));
        window_cut(&replica->window, index);
    }
    opening->applied = end;
    if (opening->members_last.index <= end) {
        opening->members = opening->members_last;
    }
    return OK;
}

/* Who belongs to it has a record: a crash may have come between the entry and that. */
static enum err members_keep(struct opening *opening)
{
    const struct replica_config *config = &opening->replica->config;
    uint8_t bytes[CONSENSUS_MEMBERS_BYTES_MAX];

    if (opening->members.index > 1) { /* 1: alone since ever */
        raftlog_put_members(opening->batch, config->partition, opening->members.index,
                            slice_of(bytes, members_write(&opening->members, bytes)));
    }
    return kv_batch_bytes(opening->batch) == 0 ? OK
                                               : kv_write(store_log(config->store), opening->batch);
}

static enum err on_kept(void *context, const struct raftlog_state *kept)
{
    struct opening *opening = context;
    const struct replica_state *state = opening->replica->config.state;

    opening->applied = opening->replica->kept_index = kept->index;
    opening->replica->kept_term = kept->term;
    return state->restore(state->context, kept->index, kept->term, kept->bytes);
}

static enum err state_open(struct opening *opening)
{
    struct replica *replica = opening->replica;
    struct store *store = replica->config.store;

    if (replica->config.state == NULL) {
        TRY(machine_open(store_state(store), replica->config.partition, &replica->machine));
        opening->applied = opening->applied_before = machine_index(replica->machine);
        return OK;
    }
    enum err err = raftlog_get_state(store_log(store), replica->config.partition, on_kept, opening,
                                     opening->failure);
    return err == ERR_NOT_FOUND ? OK : err;
}

static enum err opening_run(struct opening *opening, uint64_t now_ms)
{
    struct replica *replica = opening->replica;
    struct store *store = replica->config.store;
    uint32_t partition = replica->config.partition;

    TRY(state_open(opening));
    TRY(engine_new(replica));
    TRY(raftlog_load(store_log(store), partition, &opening->hard, on_entry, opening,
                     opening->failure));
    TRY(log_judge(opening));
    TRY(engine_begin(opening, now_ms));
    if (consensus_status(replica->consensus).is_leader) {
        TRY(window_apply(opening));
    }
    TRY(members_keep(opening));
    TRY(state_write(opening, 0));
    if (replica->machine != NULL && machine_index(replica->machine) > opening->applied_before) {
        store_applied(store, partition, machine_index(replica->machine),
                      machine_term(replica->machine));
    }
    replica->told = replica->applied = opening->applied;
    replica->members_told = replica->members_stored = opening->members.index;
    tail_begin(replica, opening->first != 0 ? opening->first : opening->applied + 1);
    struct consensus_status now = consensus_status(replica->consensus);
    replica->leads = now.is_leader ? now.term : 0;
    tail_keep(replica);
    return OK;
}

enum err replica_open(const struct replica_config *config, uint64_t now_ms, struct replica **out,
                      struct kv_failure *failure)
{
    struct replica *replica = calloc(1, sizeof *replica);
    struct opening opening = {
        .replica = replica, .failure = failure, .batch = kv_batch_new(), .writes = write_set_new()};
    enum err err = ERR_NOMEM;

    failure->text[0] = '\0';
    if (replica == NULL || opening.batch == NULL || opening.writes == NULL) {
        goto done;
    }
    replica->config = *config;
    replica->config.window_bytes = config->window_bytes != 0 ? config->window_bytes : WINDOW_BYTES;
    replica->config.tail_bytes = config->tail_bytes != 0 ? config->tail_bytes : TAIL_BYTES;
    replica->waits_for = "";
    replica->now_ms = now_ms;
    replica->tail.kept = UINT64_MAX; /* as the store begins */
    replica->held_end = &replica->held;
    replica->mark_number = 1;
    err = opening_run(&opening, now_ms);
done:
    kv_batch_free(opening.batch);
    write_set_free(opening.writes);
    if (err == OK) {
        *out = replica;
        return OK;
    }
    if (failure->text[0] == '\0') {
        snprintf(failure->text, sizeof failure->text,
                 "partition %" PRIu32 " cannot be opened: %s: %s", config->partition, err_text(err),
                 err == ERR_CORRUPT ? restore : "look at the disk (df, dmesg) and at memory");
    }
    replica_close(replica);
    return err;
}
