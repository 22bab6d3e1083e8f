#include "cluster/replica.h"

#include "cluster/consensus_msg.h"
#include "cluster/replica_parts.h"
#include "core/base/assert.h"

#include <stdlib.h>
#include <string.h>

/*
 * An update is carried out in this order (consensus.h):
 *
 *     term, vote, entries ──> the batch of the turn ──> (disk) ──> replica_persisted ──┐
 *     messages ──> sent; after a new term or vote only when that is on the disk <──────┤
 *     commit ──> host.committed(), as far as it is on our own disk too <───────────────┘
 *
 * Invariants
 *   I1  the window holds every entry that is not applied yet, and none that was replaced.
 *   I2  told <= what is committed, told <= what is on our disk; told never goes back. (An entry may be
 *       committed before our own disk has it; a state that is ahead of its log could not be started.)
 *   I3  a mark is one batch under way: the host never hands out a batch that it waits for, so the
 *       newest mark of the same batch is the open one.
 *   I4  fenced: the engine is not asked any more, and nothing is told.
 */
enum {
    WINDOW_COUNT = 4096,   /* of applied entries, for followers that are a little behind */
    ARENA_BYTES = 1 << 14, /* of a usual message, decoded */
    ARENA_BYTES_MAX = 1 << 24,
    MARK_CAPACITY_MIN = 4,
};

void replica_fence(struct replica *replica)
{
    replica->is_fenced = true;
}

/* ---- the log ---------------------------------------------------------------------------------- */

static enum err bytes_own(struct slice bytes, struct slice *out)
{
    uint8_t *copy = bytes.count == 0 ? NULL : malloc(bytes.count);

    if (copy == NULL && bytes.count > 0) {
        return ERR_NOMEM;
    }
    if (copy != NULL) {
        memcpy(copy, bytes.data, bytes.count);
    }
    *out = slice_of(copy, bytes.count);
    return OK;
}

static enum err entry_log(struct replica *replica, uint64_t index,
                          const struct consensus_entry *entry, struct slice owned,
                          struct kv_batch *batch)
{
    struct consensus_entry kept = *entry;
    struct raftlog_entry record = {index, entry->term, entry->type, entry->bytes};

    TRY(window_reserve(&replica->window, 1));
    TRY(raftlog_put(batch, replica->config.partition, &record));
    if (owned.data == NULL) {
        TRY(bytes_own(entry->bytes, &kept.bytes));
    }
    window_put(&replica->window, index, &kept);
    tail_note(replica, index, entry->bytes.count);
    return OK;
}

enum err replica_log(struct replica *replica, const struct consensus_update *update,
                     struct slice owned, struct kv_batch *batch)
{
    uint32_t partition = replica->config.partition;

    if (update->has_hard) {
        struct raftlog_hard hard = {.term = update->term, .vote = update->vote};
        TRY(raftlog_put_hard(batch, partition, &hard));
    }
    if (update->entry_count > 0 && replica->window.count > 0 &&
        update->entry_index < window_end(&replica->window)) {
        ASSERT(update->entry_index > replica->told); /* what is committed is never replaced */
        raftlog_truncate(batch, partition, update->entry_index);
        window_truncate(&replica->window, update->entry_index);
    }
    for (uint32_t i = 0; i < update->entry_count; i++) {
        TRY(entry_log(replica, update->entry_index + i, &update->entries[i], owned, batch));
    }
    return OK;
}

/* ---- marks ------------------------------------------------------------------------------------ */

static struct mark *mark_at(struct replica *replica, uint32_t i)
{
    return &replica->marks[(replica->mark_first + i) % replica->mark_capacity];
}

/* The mark of the host's current batch: the open one (I3), or a new one. NULL: no memory. */
static struct mark *mark_of(struct replica *replica, const struct kv_batch *batch)
{
    uint32_t count = replica->mark_count;

    if (count > 0 && mark_at(replica, count - 1)->batch == batch) {
        return mark_at(replica, count - 1);
    }
    if (count == replica->mark_capacity) {
        uint32_t capacity = count * 2 + MARK_CAPACITY_MIN;
        struct mark *grown = calloc(capacity, sizeof grown[0]);
        if (grown == NULL) {
            return NULL;
        }
        for (uint32_t i = 0; i < count; i++) {
            grown[i] = *mark_at(replica, i);
        }
        free(replica->marks);
        replica->marks = grown;
        replica->mark_capacity = capacity;
        replica->mark_first = 0;
    }
    replica->mark_count++;
    *mark_at(replica, count) = (struct mark){.batch = batch};
    return mark_at(replica, count);
}

static bool has_change(const struct consensus_update *update)
{
    uint32_t i = 0;

    while (i < update->entry_count && update->entries[i].type != CONSENSUS_CHANGE) {
        i++;
    }
    return i < update->entry_count;
}

static enum err update_log(struct replica *replica, const struct consensus_update *update,
                           struct slice owned)
{
    const struct replica_host *host = replica->config.host;

    if (!update->has_hard && update->entry_count == 0) {
        return OK;
    }
    struct kv_batch *batch = host->batch(host->context, replica,
                                         update->has_hard || has_change(update));
    struct mark *mark = mark_of(replica, batch);
    if (mark == NULL) {
        return ERR_NOMEM;
    }
    if (update->has_hard) {
        replica->mark_hard = replica->mark_number + replica->mark_count - 1;
    }
    if (update->entry_count > 0) {
        mark->index = update->entry_index + update->entry_count - 1;
        mark->term = update->entries[update->entry_count - 1].term;
    }
    return replica_log(replica, update, owned, batch);
}

/* ---- committed -------------------------------------------------------------------------------- */

/* Who belongs to the group has a record of its own, as the entry may be cut off (raftlog.h). */
enum err members_note(struct replica *replica, const struct consensus_members *members)
{
    const struct replica_host *host = replica->config.host;
    struct kv_batch *batch = host->batch(host->context, replica, true);
    struct mark *mark = mark_of(replica, batch);
    uint8_t bytes[CONSENSUS_MEMBERS_BYTES_MAX];

    if (mark == NULL) {
        return ERR_NOMEM;
    }
    raftlog_put_members(batch, replica->config.partition, members->index,
                        slice_of(bytes, members_write(members, bytes)));
    mark->members = members->index;
    replica->members_told = members->index;
    tail_keep(replica);
    return OK;
}

static enum err change_tell(struct replica *replica, uint64_t index, struct slice bytes)
{
    struct consensus_members members = {.index = index};

    TRY(members_read(bytes, &members));
    return members_note(replica, &members);
}

static enum err committed_tell(struct replica *replica, const struct consensus_status *now)
{
    const struct replica_host *host = replica->config.host;
    uint64_t end = now->commit_index < now->stored_index ? now->commit_index
                                                         : now->stored_index; /* I2 */

    while (replica->told < end && !replica->is_installing) {
        const struct consensus_entry *entry = window_get(&replica->window, replica->told + 1);
        ASSERT(entry != NULL); /* I1 */
        replica->told++;
        if (entry->type == CONSENSUS_CHANGE) {
            TRY(change_tell(replica, replica->told, entry->bytes));
        }
        host->committed(host->context, replica, replica->told, entry->term,
                        entry->type == CONSENSUS_COMMAND ? entry->bytes : (struct slice){0});
    }
    return OK;
}

/* ---- one turn --------------------------------------------------------------------------------- */

static void leads_tell(struct replica *replica, const struct consensus_status *now)
{
    const struct replica_host *host = replica->config.host;
    uint64_t leads = now->is_leader ? now->term : 0;

    if (leads != replica->leads) {
        replica->leads = leads;
        couriers_stop(replica);
        host->leads(host->context, replica, leads);
    }
}

/* owned: the bytes of the one entry that was proposed are the replica's already. */
static void update_carry_out(struct replica *replica, enum err err,
                             const struct consensus_update *update, struct slice owned)
{
    struct consensus_status now = consensus_status(replica->consensus);

    if (err == OK && update->install != NULL) {
        err = image_begin(replica, update->install);
    }
    if (err == OK) {
        err = update_log(replica, update, owned);
    }
    if (err == OK) {
        leads_tell(replica, &now);
        err = messages_send(replica, update);
    }
    if (err == OK) {
        err = committed_tell(replica, &now);
    }
    if (err == OK && replica->is_installing) {
        image_look(replica);
    }
    if (err != OK) {
        replica_fence(replica); /* the engine believes that it was done */
    }
}

void replica_carry_out(struct replica *replica, enum err err, const struct consensus_update *update)
{
    update_carry_out(replica, err, update, (struct slice){0});
}

enum err replica_propose(struct replica *replica, uint64_t now_ms, struct slice bytes,
                         uint64_t *index_out)
{
    struct consensus_entry entry = {consensus_status(replica->consensus).term, CONSENSUS_COMMAND,
                                    bytes};
    struct consensus_update update;

    ASSERT(bytes.count > 0);
    if (replica->is_fenced) {
        return ERR_UNAVAILABLE;
    }
    replica->now_ms = now_ms;
    TRY(window_reserve(&replica->window, 1));
    TRY(consensus_submit(replica->consensus, now_ms, &entry, 1, &update));
    ASSERT(update.entry_count == 1);
    uint64_t index = update.entry_index;
    update_carry_out(replica, OK, &update, bytes);
    if (window_get(&replica->window, index) == NULL) {
        return ERR_NOMEM; /* fenced before it came that far */
    }
    *index_out = index;
    return OK;
}

void replica_persisted(struct replica *replica, uint64_t now_ms, enum err err)
{
    struct consensus_update update;

    ASSERT(replica->mark_count > 0);
    replica->now_ms = now_ms;
    struct mark mark = *mark_at(replica, 0);
    replica->mark_first = (replica->mark_first + 1) % replica->mark_capacity;
    replica->mark_count--;
    replica->mark_number++;
    if (err != OK) {
        replica_fence(replica);
    }
    if (replica->is_fenced) {
        return;
    }
    held_send(replica);
    if (mark.members != 0) {
        replica->members_stored = mark.members;
        tail_keep(replica);
    }
    if (mark.index == 0) {
        return;
    }
    err = consensus_persisted(replica->consensus, now_ms, mark.index, mark.term, &update);
    update_carry_out(replica, err, &update, (struct slice){0});
}

enum err replica_keep(struct replica *replica, struct slice state, uint32_t trailing)
{
    const struct replica_host *host = replica->config.host;
    struct raftlog_state kept = {replica->told,
                                 consensus_term_of(replica->consensus, replica->told), state};
    ASSERT(replica->config.state != NULL);
    if (replica->is_fenced || replica->told == replica->kept_index) {
        return ERR_AGAIN;
    }
    struct kv_batch *batch = host->batch(host->context, replica, false);
    if (mark_of(replica, batch) == NULL) {
        return ERR_NOMEM;
    }
    enum err err = raftlog_put_state(batch, replica->config.partition, &kept);
    if (err == OK && replica->told > trailing) {
        struct raftlog_hard hard = {.cut_index = replica->told - trailing};
        hard.cut_term = consensus_term_of(replica->consensus, hard.cut_index);
        if (hard.cut_term != 0) { /* else it is cut already */
            err = raftlog_cut(batch, replica->config.partition, &hard);
        }
    }
    if (err != OK) {
        replica_fence(replica); /* the batch must not be written */
        return err;
    }
    replica->kept_index = kept.index;
    replica->kept_term = kept.term;
    return OK;
}

void replica_applied(struct replica *replica, uint64_t index)
{
    ASSERT(index <= replica->told);
    if (index > replica->applied) {
        replica->applied = index;
    }
    if (consensus_status(replica->consensus).is_alone) {
        window_cut(&replica->window, replica->applied);
        return;
    }
    while (replica->window.count > 0 && replica->window.first <= replica->applied &&
           (replica->window.bytes > replica->config.window_bytes ||
            replica->window.count > WINDOW_COUNT)) {
        window_cut(&replica->window, replica->window.first);
    }
}

uint64_t replica_timeout_ms(const struct replica *replica)
{
    return replica->is_fenced ? UINT64_MAX : consensus_timeout_ms(replica->consensus);
}

void replica_timeout(struct replica *replica, uint64_t now_ms)
{
    struct consensus_update update;

    if (replica->is_fenced) {
        return;
    }
    replica->now_ms = now_ms;
    enum err err = consensus_timeout(replica->consensus, now_ms, &update);
    update_carry_out(replica, err, &update, (struct slice){0});
    members_step(replica);
}

enum err replica_receive(struct replica *replica, uint64_t now_ms, uint64_t peer,
                         uint64_t generation, struct slice bytes)
{
    struct consensus_message message, piece;
    struct consensus_update update;
    uint32_t begin = 0;
    bool has_more;

    if (replica->is_fenced) {
        return ERR_UNAVAILABLE;
    }
    if (replica->arena == NULL) {
        replica->arena = arena_new(ARENA_BYTES, ARENA_BYTES_MAX);
        if (replica->arena == NULL) {
            return ERR_NOMEM;
        }
    }
    replica->now_ms = now_ms;
    arena_reset(replica->arena);
    TRY(consensus_msg_decode(bytes, replica->arena, &message));
    message.peer = peer;
    message.generation = generation;
    do {
        has_more = consensus_piece(replica->consensus, &message, &begin, &piece); /* E1 */
        enum err err = consensus_receive(replica->consensus, now_ms, &piece, &update);
        if (err == ERR_PROTOCOL) {
            return err;
        }
        update_carry_out(replica, err, &update, (struct slice){0});
    } while (has_more && !replica->is_fenced);
    heard_note(replica, peer);
    if (message.kind == CONSENSUS_APPEND_RESULT && replica->leads != 0) {
        couriers_note(replica, peer);
    }
    return OK;
}

/* ---- what it is ------------------------------------------------------------------------------- */

void replica_close(struct replica *replica)
{
    if (replica == NULL) {
        return;
    }
    held_free(replica);
    couriers_free(replica);
    consensus_free(replica->consensus);
    machine_close(replica->machine);
    window_deinit(&replica->window);
    arena_free(replica->arena);
    free(replica->sending);
    free(replica->marks);
    free(replica);
}

uint32_t replica_partition(const struct replica *replica)
{
    return replica->config.partition;
}

struct machine *replica_machine(struct replica *replica)
{
    return replica->machine;
}

bool replica_is_leader(const struct replica *replica)
{
    return !replica->is_fenced && consensus_status(replica->consensus).is_leader;
}

bool replica_is_alone(const struct replica *replica)
{
    return consensus_status(replica->consensus).is_alone;
}

bool replica_accepts(const struct replica *replica)
{
    struct consensus_status now = consensus_status(replica->consensus);

    return !replica->is_fenced && now.is_leader && !now.is_handing_over;
}

uint64_t replica_leader(const struct replica *replica)
{
    return replica->is_fenced ? 0 : consensus_status(replica->consensus).leader;
}

uint64_t replica_term(const struct replica *replica)
{
    return consensus_status(replica->consensus).term;
}

bool replica_is_fenced(const struct replica *replica)
{
    return replica->is_fenced;
}
