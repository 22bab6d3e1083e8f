#include "cluster/consensus.h"
#include "cluster/consensus_check.h"
#include "cluster/consensus_parts.h"
#include "core/base/assert.h"

#include <stdlib.h>
#include <string.h>

/*
 * The events, each checked before the engine sees it, and what the host rules make of what comes out.
 *
 * Invariants
 *   I1  every step has succeeded so far, or is_broken: then there is none any more.
 *   I2  a CHANGE that is committed is told to the engine in the same event.
 *   I3  a leader has an entry of its own term, or has just proposed one. Without that neither a commit
 *       nor a change of members is safe (D. Ongaro, raft-dev 2015: single-server membership changes);
 *       the engine proposes one only where its log is longer than what is committed.
 *   I4  commit_told never goes back.
 */
enum {
    BEHIND_MAX = 128, /* entries that a member may lack when it becomes a voter (E3) */
};

/* ---- what comes out --------------------------------------------------------------------------- */

enum err update_message(struct consensus *consensus, struct consensus_message **out)
{
    struct consensus_update *update = &consensus->update;

    if (update->message_count == consensus->message_capacity) {
        uint32_t capacity = consensus->message_capacity * 2 + 8;
        struct consensus_message *grown = realloc(consensus->messages,
                                                  capacity * sizeof consensus->messages[0]);
        if (grown == NULL) {
            return ERR_NOMEM;
        }
        consensus->messages = grown;
        consensus->message_capacity = capacity;
    }
    *out = &consensus->messages[update->message_count++];
    memset(*out, 0, sizeof **out);
    return OK;
}

/* E2: a denied pre-vote echoes the candidate's term, also where ours is higher: it would never learn
 * of that, and never be elected. */
static void prevotes_correct(struct consensus *consensus, uint64_t term)
{
    for (uint32_t i = 0; i < consensus->update.message_count; i++) {
        struct consensus_message *message = &consensus->messages[i];
        if (message->kind == CONSENSUS_VOTE_RESULT && message->vote_result.pre_vote &&
            !message->vote_result.granted && message->term < term) {
            message->term = term;
        }
    }
}

/* E9: an empty message tells of a commit that the next heartbeat would. It stands on what the
 * follower is known to have, so that it can only be accepted. */
static enum err commit_announce(struct consensus *consensus, const struct engine_view *view)
{
    struct consensus_members members;

    consensus_members(consensus, &members);
    for (uint32_t i = 0; i < members.count; i++) {
        uint64_t match = consensus_match_index(consensus, members.rows[i].id);
        uint64_t term = match == 0 ? 0 : consensus_term_of(consensus, match);
        struct consensus_message *message;
        if (members.rows[i].id == consensus->config.node_id ||
            members.rows[i].role == CONSENSUS_SPARE || term == 0) {
            continue;
        }
        TRY(update_message(consensus, &message));
        message->kind = CONSENSUS_APPEND;
        message->peer = members.rows[i].id;
        message->term = view->term;
        message->append.prev_index = match;
        message->append.prev_term = term;
        message->append.commit_index = view->commit;
    }
    return OK;
}

/* It carries nothing from that index on. false: it can stand on nothing before it, and is left out. */
static bool append_shorten(const struct consensus *consensus, struct consensus_message *message,
                           uint64_t index)
{
    if (message->append.prev_index >= index) { /* it cannot have that */
        message->append.prev_index = consensus_match_index(consensus, message->peer);
        message->append.prev_term = consensus_term_of(consensus, message->append.prev_index);
        message->append.count = 0;
        if (message->append.prev_term == 0) {
            return false;
        }
    }
    if (message->append.prev_index + message->append.count >= index) {
        message->append.count = (uint32_t)(index - 1 - message->append.prev_index);
    }
    return true;
}

/*
 * E15: who is to lose its vote hears of it when it is committed. A member whose own log says so stands
 * for election no more, and denies its vote to everybody whose log is shorter: if the leader dies before
 * the others know, and one more is dead, nobody can be elected. What makes it so is committed without it.
 */
static void demotion_withhold(struct consensus *consensus)
{
    struct consensus_members before, after;
    struct engine_view view;

    engine_look(consensus, &view);
    if (view.state != ENGINE_LEADER || view.change_open == 0) {
        return;
    }
    engine_members_committed(consensus, &before);
    consensus_members(consensus, &after);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < consensus->update.message_count; i++) {
        struct consensus_message *message = &consensus->messages[kept];
        *message = consensus->messages[i];
        const struct consensus_member *was = members_find(&before, message->peer);
        const struct consensus_member *is = members_find(&after, message->peer);
        bool loses = was != NULL && was->role == CONSENSUS_VOTER &&
                     (is == NULL || is->role != CONSENSUS_VOTER);
        kept += message->kind != CONSENSUS_APPEND || !loses ||
                append_shorten(consensus, message, view.change_open);
    }
    consensus->update.message_count = kept;
}

static enum err barrier_submit(struct consensus *consensus, uint64_t term)
{
    consensus->own = (struct consensus_entry){term, CONSENSUS_BARRIER, {0}};
    return engine_submit(consensus, &consensus->own, 1);
}

static enum err settle(struct consensus *consensus)
{
    struct consensus_update *update = &consensus->update;
    struct engine_view view;

    engine_look(consensus, &view);
    if (view.state == ENGINE_LEADER && view.transferee == 0 && update->entry_count == 0 &&
        consensus_term_of(consensus, view.last) != view.term) {
        TRY(barrier_submit(consensus, view.term)); /* I3 */
        engine_look(consensus, &view);
    }
    if (keeps(consensus, 2)) {
        prevotes_correct(consensus, view.term);
    }
    if (keeps(consensus, 6) && view.is_installing) {
        return OK; /* E6: the engine counts in what is not there yet */
    }
    if (view.change_open != 0 && view.change_open <= view.commit) {
        TRY(engine_change_committed(consensus)); /* I2 */
    }
    if (view.commit > consensus->commit_told) {
        update->has_commit = true;
        consensus->commit_told = view.commit; /* I4 */
        if (consensus->config.announces_commit && keeps(consensus, 9) &&
            view.state == ENGINE_LEADER) {
            TRY(commit_announce(consensus, &view));
        }
    }
    return OK;
}

enum err event_begin(struct consensus *consensus, uint64_t now_ms)
{
    ASSERT(consensus->is_started);
    if (consensus->is_broken) {
        return ERR_UNAVAILABLE;
    }
    if (now_ms > consensus->now_ms || !keeps(consensus, 10)) {
        consensus->now_ms = now_ms; /* E10: else it stands still */
    }
    consensus->update = (struct consensus_update){0};
    return OK;
}

enum err event_end(struct consensus *consensus, enum err err, struct consensus_update *update)
{
    struct engine_view view;

    if (err == OK) {
        err = settle(consensus);
        consensus->is_broken = consensus->is_broken || err != OK; /* I1 */
    }
    if (err != OK) {
        return err;
    }
    if (keeps(consensus, 15)) {
        demotion_withhold(consensus);
    }
    engine_look(consensus, &view);
    consensus->update.messages = consensus->messages;
    consensus->update.term = view.term;
    consensus->update.vote = view.vote;
    consensus->update.commit_index = consensus->commit_told;
    *update = consensus->update;
    return OK;
}

/* ---- what goes in ----------------------------------------------------------------------------- */

enum err consensus_start(struct consensus *consensus, uint64_t now_ms,
                         const struct consensus_start *start, struct consensus_update *update)
{
    const struct consensus_snapshot *snapshot = start->snapshot;
    struct engine_loaded loaded = engine_loaded(consensus);

    ASSERT(!consensus->is_started);
    ASSERT(start->first_index > 0);
    ASSERT(start->term > 0 || (start->vote == 0 && snapshot == NULL && loaded.count == 0));
    if (snapshot != NULL) {
        ASSERT(snapshot->index > 0 && snapshot->term > 0 && snapshot->term <= start->term);
        ASSERT(snapshot->members.index > 0 && snapshot->members.index <= snapshot->index);
        ASSERT(start->first_index <= snapshot->index + 1);
        ASSERT(loaded.count == 0 || start->first_index + loaded.count > snapshot->index);
        ASSERT(loaded.count > 0 || start->first_index == snapshot->index + 1);
        consensus->snapshot = *snapshot;
        consensus->snapshot.data = (struct slice){0};
    } else if (start->first_index != 1 || (loaded.count > 0 && !loaded.begins_with_change)) {
        return ERR_CORRUPT; /* nobody knows who belongs to the group */
    }
    if (loaded.term_last > start->term) {
        return ERR_CORRUPT;
    }
    consensus->is_started = true;
    TRY(event_begin(consensus, now_ms));
    consensus->quiet_ms = now_ms + consensus->config.election_ms;
    enum err err = engine_start(consensus, start);
    consensus->is_broken = consensus->is_broken || err != OK;
    return event_end(consensus, err, update);
}

enum err consensus_submit(struct consensus *consensus, uint64_t now_ms,
                          const struct consensus_entry *entries, uint32_t count,
                          struct consensus_update *update)
{
    ASSERT(count > 0 && count <= CONSENSUS_ENTRIES_MAX);
    TRY(event_begin(consensus, now_ms));
    if (!consensus_status(consensus).is_leader) {
        return ERR_UNAVAILABLE;
    }
    for (uint32_t i = 0; i < count; i++) {
        ASSERT(entries[i].type == CONSENSUS_COMMAND); /* E7 */
        ASSERT(entries[i].term == consensus_status(consensus).term);
    }
    return event_end(consensus, engine_submit(consensus, entries, count), update);
}

/*
 * E3: may the members change now? A member that does not see itself as a voter never votes, so all
 * who have the log must know the last change, but who goes: it may be gone for good. And who is to vote
 * must nearly have all of it. Also I3.
 */
static bool change_is_safe(const struct consensus *consensus, const struct engine_view *view,
                           const struct consensus_members *members, uint64_t id,
                           enum consensus_role role)
{
    for (uint32_t i = 0; i < members->count; i++) {
        bool goes = members->rows[i].id == id && role == CONSENSUS_GONE;
        if (members->rows[i].role != CONSENSUS_SPARE && !goes &&
            consensus_match_index(consensus, members->rows[i].id) < view->change_committed) {
            return false;
        }
    }
    if (role == CONSENSUS_VOTER && consensus_match_index(consensus, id) + BEHIND_MAX < view->last) {
        return false;
    }
    return consensus_term_of(consensus, view->commit) == view->term;
}

enum err consensus_change(struct consensus *consensus, uint64_t now_ms, uint64_t id,
                          enum consensus_role role, struct consensus_update *update)
{
    struct consensus_members members, changed;
    struct engine_view view;

    TRY(event_begin(consensus, now_ms));
    engine_look(consensus, &view);
    if (view.state != ENGINE_LEADER || view.transferee != 0) {
        return ERR_UNAVAILABLE;
    }
    consensus_members(consensus, &members);
    TRY(members_change(&members, id, role, &changed));
    if (keeps(consensus, 3) && id == consensus->config.node_id) {
        return ERR_INVALID; /* hand over first */
    }
    if (view.change_open != 0 || view.promotee != 0 ||
        (keeps(consensus, 3) && !change_is_safe(consensus, &view, &members, id, role))) {
        return ERR_AGAIN;
    }
    consensus->own.term = view.term;
    consensus->own.type = CONSENSUS_CHANGE;
    consensus->own.bytes = slice_of(consensus->own_bytes,
                                    members_write(&changed, consensus->own_bytes));
    return event_end(consensus, engine_submit(consensus, &consensus->own, 1), update);
}

enum err consensus_persisted(struct consensus *consensus, uint64_t now_ms, uint64_t index,
                             uint64_t term, struct consensus_update *update)
{
    struct engine_view view;

    TRY(event_begin(consensus, now_ms));
    engine_look(consensus, &view);
    /* E12: what was cut off meanwhile is void; what came in its place will be reported itself. */
    bool is_void = view.is_installing || consensus_term_of(consensus, index) != term;
    if (index <= view.stored || (is_void && keeps(consensus, 12))) {
        return event_end(consensus, OK, update);
    }
    return event_end(consensus, engine_persisted(consensus, index), update);
}

enum err consensus_installed(struct consensus *consensus, uint64_t now_ms,
                             struct consensus_update *update)
{
    TRY(event_begin(consensus, now_ms));
    ASSERT(consensus_status(consensus).is_installing);
    consensus->snapshot = consensus->installing;
    consensus->snapshot.data = (struct slice){0};
    enum err err = engine_installed(consensus);
    consensus->is_broken = consensus->is_broken || err != OK;
    return event_end(consensus, err, update);
}

enum err consensus_cut(struct consensus *consensus, uint64_t now_ms, uint64_t index,
                       uint32_t trailing, struct consensus_update *update)
{
    struct consensus_snapshot before = consensus->snapshot;
    struct engine_view view;

    TRY(event_begin(consensus, now_ms));
    engine_look(consensus, &view);
    ASSERT(index <= consensus->commit_told || view.is_installing);
    if (view.is_installing || index <= view.snapshot_index || index > view.stored ||
        index < view.change_committed || view.change_committed == 0) {
        return ERR_AGAIN;
    }
    consensus->snapshot = (struct consensus_snapshot){
        .index = index,
        .term = consensus_term_of(consensus, index),
    };
    engine_members_committed(consensus, &consensus->snapshot.members);
    enum err err = engine_cut(consensus, trailing);
    if (err != OK) {
        consensus->snapshot = before;
    }
    return event_end(consensus, err, update);
}

uint64_t consensus_timeout_ms(const struct consensus *consensus)
{
    struct engine_view view;

    if (!consensus->is_started || consensus->is_broken || consensus_status(consensus).is_alone) {
        return UINT64_MAX;
    }
    engine_look(consensus, &view);
    /* It counts members that nothing is sent to any more, and would then be due for ever. */
    uint64_t again_ms = consensus->timed_ms + consensus->config.heartbeat_ms / 4;
    return consensus->timed_ms == 0 || view.timeout_ms > again_ms ? view.timeout_ms : again_ms;
}

/* E14: a voter that hears nothing of its leader becomes a candidate, and forgets it. Others never do,
 * and would deny everybody their votes for the sake of a leader that is long gone. */
enum err consensus_timeout(struct consensus *consensus, uint64_t now_ms,
                           struct consensus_update *update)
{
    struct engine_view view;

    TRY(event_begin(consensus, now_ms));
    /* E8: with every step the engine gives up on followers that were silent since the one before. */
    if (keeps(consensus, 8) && consensus->now_ms < consensus_timeout_ms(consensus)) {
        return event_end(consensus, OK, update);
    }
    consensus->timed_ms = consensus->now_ms;
    enum err err = engine_timeout(consensus);
    engine_look(consensus, &view);
    if (err == OK && keeps(consensus, 14) && view.state == ENGINE_FOLLOWER &&
        !consensus_is_voter(consensus)) {
        engine_forget_leader(consensus);
    }
    return event_end(consensus, err, update);
}

enum err consensus_catch_up(struct consensus *consensus, uint64_t now_ms, uint64_t id,
                            struct consensus_update *update)
{
    const struct consensus_member *member;
    struct consensus_members members;
    struct engine_view view;

    TRY(event_begin(consensus, now_ms));
    engine_look(consensus, &view);
    if (view.state != ENGINE_LEADER || view.transferee != 0) {
        return ERR_UNAVAILABLE;
    }
    consensus_members(consensus, &members);
    member = members_find(&members, id);
    if (member == NULL || member->role != CONSENSUS_STANDBY) {
        return ERR_NOT_FOUND;
    }
    if (view.promotee != 0 || view.change_open != 0) {
        return ERR_AGAIN;
    }
    return event_end(consensus, engine_catch_up(consensus, id), update);
}

enum err consensus_transfer(struct consensus *consensus, uint64_t now_ms, uint64_t id,
                            struct consensus_update *update)
{
    const struct consensus_member *member;
    struct consensus_members members;
    struct engine_view view;

    TRY(event_begin(consensus, now_ms));
    engine_look(consensus, &view);
    if (view.state != ENGINE_LEADER || view.transferee != 0) {
        return ERR_UNAVAILABLE;
    }
    consensus_members(consensus, &members);
    member = members_find(&members, id);
    if (id == consensus->config.node_id || member == NULL || member->role != CONSENSUS_VOTER) {
        return ERR_NOT_FOUND;
    }
    return event_end(consensus, engine_transfer(consensus, id), update);
}

/* ---- what it is ------------------------------------------------------------------------------- */

struct consensus_status consensus_status(const struct consensus *consensus)
{
    struct engine_view view;

    engine_look(consensus, &view);
    return (struct consensus_status){
        .is_leader = view.state == ENGINE_LEADER && !consensus->is_broken,
        .is_alone = view.state == ENGINE_LEADER && view.member_count == 1,
        .is_installing = view.is_installing,
        .is_handing_over = view.transferee != 0,
        .change_is_open = view.change_open != 0,
        .leader = view.leader,
        .term = view.term,
        .vote = view.vote,
        .last_index = view.last,
        .stored_index = view.stored,
        .commit_index = consensus->commit_told,
    };
}

void consensus_members_committed(const struct consensus *consensus, struct consensus_members *out)
{
    engine_members_committed(consensus, out);
}

bool consensus_is_voter(const struct consensus *consensus)
{
    const struct consensus_member *self;
    struct consensus_members members;

    consensus_members(consensus, &members);
    self = members_find(&members, consensus->config.node_id);
    return self != NULL && self->role == CONSENSUS_VOTER;
}

const struct consensus_snapshot *consensus_snapshot(const struct consensus *consensus)
{
    return &consensus->snapshot;
}
