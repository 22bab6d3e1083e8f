/* The members of REG: how they come, live, drain and go. */
#include "cluster/registry_parts.h"
#include "core/base/assert.h"

#include <inttypes.h>
#include <string.h>

/* ---- members ---------------------------------------------------------------------------------- */

enum member_event {
    ON_START,
    ON_LIVE,
    ON_GONE,
    ON_DRAIN,
    ON_UNDRAIN,
    ON_LEAVE,
    ON_REMOVE,
    MEMBER_EVENT_COUNT
};

/* clang-format off */
#define TO(next) {true, MEMBER_##next}
static const struct member_step {
    bool legal;
    uint8_t next;
} steps[MEMBER_STATE_COUNT][MEMBER_EVENT_COUNT] = {
    /*                   START        LIVE          GONE      DRAIN         UNDRAIN      LEAVE     REMOVE   */
    [MEMBER_JOINING]  = {TO(JOINING), TO(ACTIVE),   TO(GONE), TO(JOINING),  TO(JOINING), TO(LEFT), TO(LEFT)},
    [MEMBER_ACTIVE]   = {TO(JOINING), TO(ACTIVE),   TO(GONE), TO(DRAINING), TO(ACTIVE),  {0},      {0}     },
    [MEMBER_DRAINING] = {TO(JOINING), TO(DRAINING), TO(GONE), TO(DRAINING), TO(ACTIVE),  TO(LEFT), {0}     },
    [MEMBER_GONE]     = {TO(JOINING), {0},          TO(GONE), TO(GONE),     TO(GONE),    TO(LEFT), TO(LEFT)},
    [MEMBER_LEFT]     = {{0}},
};
/* clang-format on */

/* Why a step is not there, and what to do. */
static const char *why_not(uint8_t state, enum member_event event)
{
    if (state == MEMBER_LEFT) {
        return "it has left for good: give it an empty data folder and let it join anew";
    }
    switch (event) {
    case ON_LIVE:
        return "its lease had lapsed and others went on without it: it must begin a new incarnation";
    case ON_LEAVE:
        return "it may hold partitions: drain it first";
    case ON_REMOVE:
        return "it is live: drain it, or stop it first";
    default:
        return "that is not possible now";
    }
}

/* NULL: refused, and said why. The state is not changed yet. */
static struct registry_member *member_of(struct registry_state *state, uint64_t number,
                                         enum member_event event, struct registry_result *out)
{
    const struct registry_member *member = registry_member(state, number);
    if (member == NULL) {
        registry_refuse(out, ERR_NOT_FOUND, "there is no node %" PRIu64 " in this cluster%s",
                        number,
                        number != 0 && number < state->node_next
                            ? " any more: give it an empty data folder and let it join anew"
                            : ": see the list of its members");
        return NULL;
    }
    out->number = number;
    out->incarnation = member->incarnation;
    if (!steps[member->state][event].legal) {
        registry_refuse(out, ERR_INVALID, "node %" PRIu64 " (%s) is %s: %s", number,
                        member->profile.name, registry_member_state_name(member->state),
                        why_not(member->state, event));
        return NULL;
    }
    return &state->members[member - state->members];
}

/* The only place where a member's state changes. */
static void member_step(struct registry_state *state, struct registry_member *member,
                        enum member_event event)
{
    ASSERT(steps[member->state][event].legal);
    uint8_t next = steps[member->state][event].next;
    if (next == MEMBER_ACTIVE && member->is_draining) {
        next = MEMBER_DRAINING;
    }
    if (next != member->state) {
        member->state = next;
        member->since_ms = state->wall_ms;
    }
    registry_changed(state, REGISTRY_ROW_MEMBER, member);
}

/* Is another node there that can hold partitions? */
static bool others_are_active(const struct registry_state *state, uint64_t number)
{
    for (uint32_t i = 0; i < state->member_count; i++) {
        if (state->members[i].number != number && state->members[i].state == MEMBER_ACTIVE) {
            return true;
        }
    }
    return false;
}

static bool places_are_right(const struct registry_place *places, uint32_t count, bool has_scheme)
{
    for (uint32_t i = 0; i < count; i++) {
        if (!registry_is_place(&places[i]) || (places[i].scheme[0] != 0) != has_scheme) {
            return false;
        }
    }
    return true;
}

/* NULL: it is right. self: its row, NULL of a new one. */
static const char *trouble_of(const struct registry_state *state,
                              const struct registry_profile *profile,
                              const struct registry_member *self)
{
    static const uint8_t none[REGISTRY_HASH_BYTES];
    if (!registry_is_name(profile->name)) {
        return "its name is not valid: write letters, digits, '.', '_' and '-'";
    }
    if (profile->zone[0] != 0 && !registry_is_name(profile->zone)) {
        return "its zone is not valid: write letters, digits, '.', '_' and '-'";
    }
    if (profile->weight == 0 || profile->weight > REGISTRY_WEIGHT_MAX) {
        return "its weight is not valid: give 1 to 1000";
    }
    if (profile->level_min == 0 || profile->level_min > profile->level_max) {
        return "its feature levels are not valid";
    }
    if (!places_are_right(profile->links, profile->link_count, false) ||
        !places_are_right(profile->clients, profile->client_count, true)) {
        return "one of its addresses is not valid: give a host and a port that is not 0";
    }
    if (self != NULL && strcmp(self->profile.name, profile->name) != 0) {
        return "it had another name when it joined: give it that one back";
    }
    for (uint32_t i = 0; i < state->member_count; i++) {
        const struct registry_member *other = &state->members[i];
        if (other == self || other->state == MEMBER_LEFT) {
            continue;
        }
        if (strcmp(other->profile.name, profile->name) == 0) {
            return "another member has its name: choose one that nobody has";
        }
        if (memcmp(profile->fingerprint, none, sizeof none) != 0 &&
            memcmp(other->profile.fingerprint, profile->fingerprint, sizeof none) == 0) {
            return "another member has its certificate: make one for each node";
        }
    }
    return NULL;
}

bool registry_has_level(const struct registry_profile *profile, uint32_t level)
{
    return profile->level_min <= level && level <= profile->level_max;
}

/* false: refused, and said why. */
static bool profile_is_right(const struct registry_state *state,
                             const struct registry_profile *profile,
                             const struct registry_member *self, struct registry_result *out)
{
    const char *trouble = trouble_of(state, profile, self);
    if (trouble != NULL) {
        registry_refuse(out, ERR_INVALID, "node \"%s\": %s", profile->name, trouble);
        return false;
    }
    if (state->level != 0 && !registry_has_level(profile, state->level)) {
        registry_refuse(out, ERR_UNSUPPORTED,
                        "node \"%s\" has feature levels %u to %u, the cluster is at %u: install %s",
                        profile->name, profile->level_min, profile->level_max, state->level,
                        profile->level_max < state->level ? "a newer program there"
                                                          : "a version in between first");
        return false;
    }
    return true;
}

/* NULL: the table is full of members that are needed. */
static struct registry_member *member_room(struct registry_state *state)
{
    for (uint32_t i = 0; state->member_count == REGISTRY_MEMBERS_MAX; i++) {
        if (i == state->member_count) {
            return NULL;
        }
        struct registry_member *old = &state->members[i];
        if (old->state != MEMBER_LEFT || registry_held(state, old->number) > 0) {
            continue; /* I5 */
        }
        registry_removed(state, REGISTRY_ROW_MEMBER, old);
        state->member_count--;
        memmove(old, old + 1, (state->member_count - i) * sizeof *old);
        state->members[state->member_count] = (struct registry_member){0};
    }
    return &state->members[state->member_count];
}

static struct registry_member *member_add(struct registry_state *state,
                                          const struct registry_profile *profile, uint8_t is)
{
    struct registry_member *member = member_room(state);
    if (member == NULL) {
        return NULL;
    }
    *member = (struct registry_member){.number = state->node_next++,
                                       .incarnation = 1,
                                       .since_ms = state->wall_ms,
                                       .state = is,
                                       .was_live = is == MEMBER_ACTIVE,
                                       .profile = *profile};
    state->member_count++;
    registry_changed(state, REGISTRY_ROW_MEMBER, member);
    return member;
}

/* ---- commands: a cluster and its nodes ----------------------------------------------------------- */

enum err registry_on_found(REGISTRY_APPLY)
{
    const struct registry_found *found = &command->found;
    if (state->level != 0) {
        return registry_refuse(out, ERR_EXISTS, "the cluster \"%s\" is there already: join it",
                               state->cluster_name);
    }
    if (!registry_is_name(found->cluster_name)) {
        return registry_refuse(
            out, ERR_INVALID,
            "the cluster's name is not valid: write letters, digits, '.', '_' and '-'");
    }
    if (!profile_is_right(state, &found->profile, NULL, out)) {
        return OK;
    }
    memcpy(state->cluster_id, found->cluster_id, sizeof state->cluster_id);
    memcpy(state->cluster_name, found->cluster_name, sizeof state->cluster_name);
    state->level = found->profile.level_max;
    state->node_next = state->map_version = state->epoch_next = 1;
    const struct registry_member *member = member_add(state, &found->profile, MEMBER_ACTIVE);
    state->partition_count = REGISTRY_PARTITIONS;
    for (uint32_t p = 0; p < REGISTRY_PARTITIONS; p++) {
        state->partitions[p] = (struct registry_partition){.version = state->map_version,
                                                           .replicas = {member->number},
                                                           .replica_count = 1,
                                                           .preferred = member->number};
    }
    registry_changed(state, REGISTRY_ROW_CLUSTER, state);
    out->number = member->number;
    out->incarnation = member->incarnation;
    out->version = state->map_version;
    return OK;
}

enum err registry_on_join(REGISTRY_APPLY)
{
    static const uint8_t none[REGISTRY_HASH_BYTES];
    const struct registry_profile *profile = &command->join.profile;
    const struct registry_member *twin = registry_member_named(state, slice_text(profile->name));
    bool is_said_again = twin != NULL && twin->state == MEMBER_JOINING && !twin->was_live &&
                         memcmp(profile->fingerprint, none, sizeof none) != 0 &&
                         memcmp(twin->profile.fingerprint, profile->fingerprint, sizeof none) == 0;
    if (is_said_again) { /* the answer was lost: the token is not used up twice */
        out->number = twin->number;
        out->incarnation = twin->incarnation;
        return OK;
    }
    const struct registry_token *token = registry_token(state, command->join.token);
    if (token == NULL || token->expires_ms <= state->wall_ms) {
        return registry_refuse(
            out, ERR_NOT_AUTHORIZED,
            "the token of node \"%s\" is not known, used up or expired: make a new one",
            profile->name);
    }
    if (!profile_is_right(state, profile, NULL, out)) {
        return OK;
    }
    const struct registry_member *member = member_add(state, profile, MEMBER_JOINING);
    if (member == NULL) {
        return registry_refuse(out, ERR_LIMIT, "the cluster has %d nodes, which is the most",
                               REGISTRY_MEMBERS_MAX);
    }
    struct registry_token *used = &state->tokens[token - state->tokens];
    if (--used->uses_left == 0) {
        registry_token_drop(state, (uint32_t)(used - state->tokens));
    } else {
        registry_changed(state, REGISTRY_ROW_TOKEN, used);
    }
    out->number = member->number;
    out->incarnation = member->incarnation;
    return OK;
}

enum err registry_on_start(REGISTRY_APPLY)
{
    const struct registry_start *start = &command->start;
    struct registry_member *member = member_of(state, start->number, ON_START, out);
    if (member == NULL || !profile_is_right(state, &start->profile, member, out)) {
        return OK;
    }
    member->profile = start->profile;
    out->incarnation = ++member->incarnation;
    member_step(state, member, ON_START);
    return OK;
}

/* LIVE and GONE are of one incarnation: what is said of an older one comes too late. */
static struct registry_member *incarnation_of(struct registry_state *state,
                                              const struct registry_incarnation *of,
                                              enum member_event event, struct registry_result *out)
{
    struct registry_member *member = member_of(state, of->number, event, out);
    if (member != NULL && member->incarnation != of->incarnation) {
        registry_refuse(out, ERR_AGAIN,
                        "node %" PRIu64 " is in incarnation %" PRIu64 ", not %" PRIu64, of->number,
                        member->incarnation, of->incarnation);
        return NULL;
    }
    return member;
}

enum err registry_on_live(REGISTRY_APPLY)
{
    struct registry_member *member = incarnation_of(state, &command->incarnation, ON_LIVE, out);
    if (member != NULL) {
        member->was_live = true;
        member_step(state, member, ON_LIVE);
    }
    return OK;
}

enum err registry_on_gone(REGISTRY_APPLY)
{
    struct registry_member *member = incarnation_of(state, &command->incarnation, ON_GONE, out);
    if (member != NULL) {
        member_step(state, member, ON_GONE);
    }
    return OK;
}

enum err registry_on_drain(REGISTRY_APPLY)
{
    struct registry_member *member = member_of(state, command->node.number, ON_DRAIN, out);
    if (member == NULL) {
        return OK;
    }
    if (!others_are_active(state, member->number)) {
        return registry_refuse(out, ERR_LIMIT,
                               "no other node is active that could take what node %" PRIu64
                               " holds: let another one join first",
                               member->number);
    }
    member->is_draining = true;
    member_step(state, member, ON_DRAIN);
    return OK;
}

enum err registry_on_undrain(REGISTRY_APPLY)
{
    struct registry_member *member = member_of(state, command->node.number, ON_UNDRAIN, out);
    if (member != NULL) {
        member->is_draining = false;
        member_step(state, member, ON_UNDRAIN);
    }
    return OK;
}

enum err registry_on_leave(REGISTRY_APPLY)
{
    struct registry_member *member = member_of(state, command->node.number, ON_LEAVE, out);
    if (member == NULL) {
        return OK;
    }
    uint32_t held = registry_held(state, member->number);
    if (held > 0) {
        return registry_refuse(out, ERR_AGAIN,
                               "node %" PRIu64
                               " still holds %u partitions: wait until it is drained",
                               member->number, held);
    }
    member_step(state, member, ON_LEAVE);
    return OK;
}

/* Have all groups that the node is in, by the map, a majority that lives? Else the first one that has not. */
static bool others_suffice(const struct registry_state *state, uint64_t number, uint32_t *partition)
{
    for (uint32_t p = 0; p < state->partition_count; p++) {
        const struct registry_partition *row = &state->partitions[p];
        uint32_t live = 0;
        bool is_in = false;
        for (uint32_t i = 0; i < row->replica_count; i++) {
            const struct registry_member *member = registry_member(state, row->replicas[i]);
            is_in = is_in || member->number == number;
            live += member->number != number &&
                    (member->state == MEMBER_ACTIVE || member->state == MEMBER_DRAINING);
        }
        if (is_in && 2 * live <= row->replica_count) {
            *partition = p;
            return false;
        }
    }
    return true;
}

enum err registry_on_remove(REGISTRY_APPLY)
{
    struct registry_member *member = member_of(state, command->node.number, ON_REMOVE, out);
    uint32_t partition;
    if (member == NULL) {
        return OK;
    }
    if (!others_are_active(state, member->number)) {
        return registry_refuse(out, ERR_LIMIT,
                               "no other node is active: nobody could take what node %" PRIu64
                               " holds",
                               member->number);
    }
    if (!others_suffice(state, member->number, &partition)) {
        return registry_refuse(
            out, ERR_LIMIT,
            "partition %u would be lost: too few of its other copies are live to go on "
            "without node %" PRIu64 "; bring a node back",
            partition, member->number);
    }
    member_step(state, member, ON_REMOVE);
    return OK;
}
