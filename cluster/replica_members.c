#include "cluster/replica_parts.h"
#include "core/base/assert.h"

/*
 * From who belongs to the group to who should, one change at a time. The next step is looked for with
 * every heartbeat, from nothing but the members as they are: so it does not matter who began.
 *
 *     1  who is not wanted and not heard of goes             {1 2 3†}   -> {1 2}
 *     2  who is missing is added without a vote              {1 2}      -> {1 2 4?}
 *     3  and gets one when it has nearly all of the log      {1 2 4?}   -> {1 2 4}
 *     4  a leader that is not wanted hands over              when all wanted ones vote
 *     5  whoever else is not wanted goes
 *     6  who is preferred leads
 *
 * A change that a majority of those who vote then would not survive is not made: they must be heard of,
 * and have nearly all of the log. (The engine has rules of its own: consensus_change(), E3.)
 */
enum {
    NEAR_MAX = 128,      /* entries that one may lack who nearly has all of them */
    HAND_OVER_MS = 5000, /* between two offers to lead */
    SILENT_COUNT = 3,    /* election timeouts without a word: not heard of */
    GONE_COUNT = 20,     /* the same: it will not come back soon */
    ELECTION_MS = 1000,  /* as in consensus.h */
};

/* ---- who is there ------------------------------------------------------------------------------- */

void heard_note(struct replica *replica, uint64_t peer)
{
    uint32_t count = sizeof replica->heard / sizeof replica->heard[0], oldest = 0;

    for (uint32_t i = 0; i < count; i++) {
        if (replica->heard[i].id == peer) {
            replica->heard[i].ms = replica->now_ms;
            return;
        }
        oldest = replica->heard[i].ms < replica->heard[oldest].ms ? i : oldest;
    }
    replica->heard[oldest].id = peer;
    replica->heard[oldest].ms = replica->now_ms;
}

static bool is_heard(const struct replica *replica, uint64_t id, uint32_t timeouts)
{
    uint32_t count = sizeof replica->heard / sizeof replica->heard[0];
    uint32_t election_ms = replica->config.election_ms != 0 ? replica->config.election_ms
                                                            : ELECTION_MS;

    for (uint32_t i = 0; i < count; i++) {
        if (replica->heard[i].id == id) {
            return replica->now_ms - replica->heard[i].ms < (uint64_t)election_ms * timeouts;
        }
    }
    return id == replica->config.node_id;
}

static bool is_near(const struct replica *replica, uint64_t id)
{
    uint64_t last = consensus_status(replica->consensus).last_index;

    return id == replica->config.node_id ||
           (is_heard(replica, id, SILENT_COUNT) &&
            consensus_match_index(replica->consensus, id) + NEAR_MAX >= last);
}

static bool is_wanted(const struct replica *replica, uint64_t id)
{
    uint32_t i = 0;

    while (i < replica->want.count && replica->want.ids[i] != id) {
        i++;
    }
    return i < replica->want.count;
}

/* Would a majority of those who vote after that be there? */
static bool is_borne(const struct replica *replica, const struct consensus_members *members,
                     uint64_t id, enum consensus_role role)
{
    struct consensus_members after;
    uint32_t near = 0;

    if (members_change(members, id, role, &after) != OK) {
        return false;
    }
    for (uint32_t i = 0; i < after.count; i++) {
        near += after.rows[i].role == CONSENSUS_VOTER && is_near(replica, after.rows[i].id);
    }
    return near > members_voter_count(&after) / 2;
}

/* ---- steps -------------------------------------------------------------------------------------- */

/* What a step came to, for people: that it was made, or what is waited for. */
static const char *change(struct replica *replica, const struct consensus_members *members,
                          uint64_t id, enum consensus_role role)
{
    struct consensus_update update;

    if (!is_borne(replica, members, id, role)) {
        return "more of those who vote have to be there";
    }
    enum err err = consensus_change(replica->consensus, replica->now_ms, id, role, &update);
    if (err == ERR_AGAIN) {
        return "all members have to know the last change";
    }
    if (err == ERR_LIMIT) {
        return "there are too many members";
    }
    if (err != OK && err != ERR_NOMEM && err != ERR_CORRUPT) {
        return "the engine refuses a change of members";
    }
    replica_carry_out(replica, err, &update);
    tail_keep(replica); /* from now on there is somebody to keep it for */
    return "a change of members is under way";
}

static const char *hand_over(struct replica *replica, uint64_t id)
{
    struct consensus_update update;

    if (replica->handed_ms != 0 && replica->now_ms < replica->handed_ms + HAND_OVER_MS) {
        return "leadership was offered to another member";
    }
    enum err err = consensus_transfer(replica->consensus, replica->now_ms, id, &update);
    if (err == ERR_UNAVAILABLE || err == ERR_NOT_FOUND || err == ERR_AGAIN) {
        return "leadership cannot be handed over now";
    }
    replica->handed_ms = replica->now_ms;
    replica_carry_out(replica, err, &update);
    return "leadership is being handed over";
}

/* Who is to lead instead: the preferred one, or who has most; 0: nobody can. */
static uint64_t heir(const struct replica *replica, const struct consensus_members *members)
{
    uint64_t best = 0, best_match = 0;

    for (uint32_t i = 0; i < members->count; i++) {
        uint64_t id = members->rows[i].id, match = consensus_match_index(replica->consensus, id);
        bool can = members->rows[i].role == CONSENSUS_VOTER && id != replica->config.node_id &&
                   is_wanted(replica, id) && is_near(replica, id);
        if (can && (best == 0 || id == replica->want.preferred ||
                    (match > best_match && best != replica->want.preferred))) {
            best = id;
            best_match = match;
        }
    }
    return best;
}

/* Steps 2 and 3; NULL: all who are wanted vote. */
static const char *wanted_step(struct replica *replica, const struct consensus_members *members)
{
    const char *waits_for = NULL;

    for (uint32_t i = 0; i < replica->want.count; i++) {
        uint64_t id = replica->want.ids[i];
        const struct consensus_member *member = members_find(members, id);
        if (member == NULL || member->role == CONSENSUS_SPARE) {
            return change(replica, members, id, CONSENSUS_STANDBY);
        }
        if (member->role == CONSENSUS_STANDBY && is_near(replica, id)) {
            return change(replica, members, id, CONSENSUS_VOTER);
        }
        if (member->role == CONSENSUS_STANDBY) {
            waits_for = "a new member is catching up";
        }
    }
    return waits_for;
}

/* Steps 1 and 5; NULL: nobody is too many. */
static const char *surplus_step(struct replica *replica, const struct consensus_members *members,
                                bool only_silent)
{
    for (uint32_t i = 0; i < members->count; i++) {
        uint64_t id = members->rows[i].id;
        if (!is_wanted(replica, id) && id != replica->config.node_id &&
            !(only_silent && is_heard(replica, id, GONE_COUNT))) {
            return change(replica, members, id, CONSENSUS_GONE);
        }
    }
    return NULL;
}

static const char *step(struct replica *replica, const struct consensus_status *now)
{
    struct consensus_members members;
    const char *waits_for;

    if (replica->want.count == 0) {
        return "";
    }
    if (now->is_handing_over) {
        return "leadership is being handed over";
    }
    if (now->change_is_open) {
        return "a change of members is under way";
    }
    consensus_members(replica->consensus, &members);
    waits_for = surplus_step(replica, &members, true);
    waits_for = waits_for == NULL ? wanted_step(replica, &members) : waits_for;
    if (waits_for != NULL) {
        return waits_for;
    }
    bool must_go = !is_wanted(replica, replica->config.node_id);
    uint64_t next = heir(replica, &members);
    if (must_go) {
        return next == 0 ? "nobody else can lead yet" : hand_over(replica, next);
    }
    waits_for = surplus_step(replica, &members, false);
    if (waits_for != NULL) {
        return waits_for;
    }
    bool is_other_preferred = is_wanted(replica, replica->want.preferred) &&
                              replica->want.preferred != replica->config.node_id;
    if (is_other_preferred) {
        return next == replica->want.preferred ? hand_over(replica, next)
                                               : "who is preferred cannot lead yet";
    }
    return "";
}

void members_step(struct replica *replica)
{
    struct consensus_status now = consensus_status(replica->consensus);

    if (!replica->is_fenced && now.is_leader) {
        replica->waits_for = step(replica, &now);
    }
}

void replica_want(struct replica *replica, uint64_t now_ms, const struct replica_want *want)
{
    ASSERT(want->count <= CONSENSUS_MEMBERS_MAX);
    replica->want = *want;
    if (!replica->is_fenced) {
        replica->now_ms = now_ms;
        members_step(replica); /* alone there is no heartbeat to do it */
    }
}

void replica_look(const struct replica *replica, struct replica_look *out)
{
    struct consensus_status now = consensus_status(replica->consensus);

    *out = (struct replica_look){.role = replica->is_fenced    ? REPLICA_FENCED
                                         : now.is_leader       ? REPLICA_LEADS
                                         : now.last_index == 0 ? REPLICA_WAITS_TO_BE_ADDED
                                                               : REPLICA_FOLLOWS,
                                 .leader = now.leader,
                                 .term = now.term,
                                 .last_index = now.last_index,
                                 .commit_index = now.commit_index,
                                 .applied_index = replica->applied,
                                 .waits_for = now.is_leader ? replica->waits_for : ""};
    consensus_members(replica->consensus, &out->members);
    for (uint32_t i = 0; now.is_leader && i < out->members.count; i++) {
        out->match[i] = consensus_match_index(replica->consensus, out->members.rows[i].id);
    }
}
