#include "cluster/registry_parts.h"
#include "core/base/assert.h"

#include <inttypes.h>
#include <string.h>

/* ---- commands: the map, the level ---------------------------------------------------------------- */

/* May it stand in a new row of the map? Who leaves may stay in it for as long as its move takes. */
static bool may_hold(const struct registry_state *state, uint64_t number, uint32_t partition)
{
    const struct registry_member *member = registry_member(state, number);
    const struct registry_partition *row = &state->partitions[partition];
    bool is_there = false;
    for (uint32_t i = 0; i < row->replica_count; i++) {
        is_there = is_there || row->replicas[i] == number;
    }
    return member != NULL &&
           (is_there || (member->state != MEMBER_LEFT && member->was_live && !member->is_draining));
}

/* NULL: it is right. */
static const char *trouble_of_row(const struct registry_state *state,
                                  const struct registry_assignment *row)
{
    bool has_preferred = false;
    if (row->partition >= state->partition_count) {
        return "there is no such partition";
    }
    for (uint32_t i = 0; i < row->replica_count; i++) {
        for (uint32_t k = 0; k < i; k++) {
            if (row->replicas[k] == row->replicas[i]) {
                return "a node stands there twice";
            }
        }
        if (!may_hold(state, row->replicas[i], row->partition)) {
            return "a node cannot hold it: it is no member, was never live, or is leaving";
        }
        has_preferred = has_preferred || row->replicas[i] == row->preferred;
    }
    return has_preferred ? NULL : "who should lead it is none of its nodes";
}

enum err registry_on_assign(REGISTRY_APPLY)
{
    const struct registry_assign *assign = &command->assign;
    out->version = state->map_version;
    if (assign->version != state->map_version) {
        return registry_refuse(out, ERR_AGAIN,
                               "the map is at version %" PRIu64 ", this was planned at %" PRIu64,
                               state->map_version, assign->version);
    }
    for (uint32_t i = 0; i < assign->count; i++) {
        const char *trouble = trouble_of_row(state, &assign->rows[i]);
        if (trouble != NULL) {
            return registry_refuse(out, ERR_INVALID, "partition %u: %s", assign->rows[i].partition,
                                   trouble);
        }
    }
    if (assign->count == 0) {
        return OK;
    }
    out->version = ++state->map_version;
    for (uint32_t i = 0; i < assign->count; i++) {
        const struct registry_assignment *row = &assign->rows[i];
        struct registry_partition *partition = &state->partitions[row->partition];
        *partition = (struct registry_partition){.version = state->map_version,
                                                 .replica_count = row->replica_count,
                                                 .preferred = row->preferred};
        memcpy(partition->replicas, row->replicas, row->replica_count * sizeof row->replicas[0]);
        registry_changed(state, REGISTRY_ROW_PARTITION, partition);
    }
    return OK;
}

enum err registry_on_level(REGISTRY_APPLY)
{
    uint32_t level = command->level.level;
    if (level < state->level) {
        return registry_refuse(out, ERR_INVALID,
                               "the cluster is at feature level %u, which never goes down",
                               state->level);
    }
    for (uint32_t i = 0; i < state->member_count; i++) {
        const struct registry_member *member = &state->members[i];
        if (member->state != MEMBER_LEFT && !registry_has_level(&member->profile, level)) {
            return registry_refuse(out, ERR_UNSUPPORTED,
                                   "node %" PRIu64 " (%s) has feature levels %u to %u, not %u: "
                                   "update it first, or remove it",
                                   member->number, member->profile.name, member->profile.level_min,
                                   member->profile.level_max, level);
        }
    }
    state->level = level;
    registry_changed(state, REGISTRY_ROW_CLUSTER, state);
    return OK;
}

/* ---- commands: tokens and settings --------------------------------------------------------------- */

/* Where it is, or would be. */
static uint32_t token_place(const struct registry_state *state, const uint8_t *hash)
{
    uint32_t at = 0;
    while (at < state->token_count &&
           memcmp(state->tokens[at].hash, hash, REGISTRY_HASH_BYTES) < 0) {
        at++;
    }
    return at;
}

void registry_token_drop(struct registry_state *state, uint32_t at)
{
    struct registry_token *token = &state->tokens[at];
    registry_removed(state, REGISTRY_ROW_TOKEN, token);
    state->token_count--;
    memmove(token, token + 1, (state->token_count - at) * sizeof *token);
    state->tokens[state->token_count] = (struct registry_token){0};
}

enum err registry_on_token_add(REGISTRY_APPLY)
{
    const struct registry_token *token = &command->token;
    if (token->uses_left == 0 || token->expires_ms <= state->wall_ms) {
        return registry_refuse(out, ERR_INVALID,
                               "a token that nobody could use: give it a use and a time to come");
    }
    if (registry_token(state, token->hash) != NULL) {
        return registry_refuse(out, ERR_EXISTS, "that token is there already: make another one");
    }
    for (uint32_t i = state->token_count; i-- > 0;) {
        if (state->tokens[i].expires_ms <= state->wall_ms) {
            registry_token_drop(state, i);
        }
    }
    if (state->token_count == REGISTRY_TOKENS_MAX) {
        return registry_refuse(out, ERR_LIMIT, "there are %d tokens: remove one first",
                               REGISTRY_TOKENS_MAX);
    }
    uint32_t at = token_place(state, token->hash);
    memmove(&state->tokens[at + 1], &state->tokens[at],
            (state->token_count - at) * sizeof state->tokens[0]);
    state->tokens[at] = *token;
    state->token_count++;
    registry_changed(state, REGISTRY_ROW_TOKEN, token);
    return OK;
}

enum err registry_on_token_remove(REGISTRY_APPLY)
{
    const struct registry_token *token = registry_token(state, command->token.hash);
    if (token == NULL) {
        return registry_refuse(out, ERR_NOT_FOUND, "there is no such token (any more)");
    }
    registry_token_drop(state, (uint32_t)(token - state->tokens));
    return OK;
}

static uint32_t setting_place(const struct registry_state *state, const char *key, bool *is_there)
{
    uint32_t at = 0;
    while (at < state->setting_count && strcmp(state->settings[at].key, key) < 0) {
        at++;
    }
    *is_there = at < state->setting_count && strcmp(state->settings[at].key, key) == 0;
    return at;
}

enum err registry_on_set(REGISTRY_APPLY)
{
    const struct registry_setting *setting = &command->setting;
    bool is_there;
    if (!registry_is_name(setting->key)) {
        return registry_refuse(out, ERR_INVALID, "\"%s\" is no name of a setting", setting->key);
    }
    uint32_t at = setting_place(state, setting->key, &is_there);
    if (!is_there) {
        if (state->setting_count == REGISTRY_SETTINGS_MAX) {
            return registry_refuse(out, ERR_LIMIT, "there are %d settings: unset one first",
                                   REGISTRY_SETTINGS_MAX);
        }
        memmove(&state->settings[at + 1], &state->settings[at],
                (state->setting_count - at) * sizeof state->settings[0]);
        state->setting_count++;
    }
    state->settings[at] = *setting;
    registry_changed(state, REGISTRY_ROW_SETTING, setting);
    return OK;
}

enum err registry_on_unset(REGISTRY_APPLY)
{
    bool is_there;
    uint32_t at = setting_place(state, command->setting.key, &is_there);
    if (!is_there) {
        return registry_refuse(out, ERR_NOT_FOUND, "\"%s\" is not set", command->setting.key);
    }
    struct registry_setting *setting = &state->settings[at];
    registry_removed(state, REGISTRY_ROW_SETTING, setting);
    state->setting_count--;
    memmove(setting, setting + 1, (state->setting_count - at) * sizeof *setting);
    state->settings[state->setting_count] = (struct registry_setting){0};
    return OK;
}

/* ---- all of them ------------------------------------------------------------------------------------ */

static enum err (*const handlers[REGISTRY_COMMAND_END])(REGISTRY_APPLY) = {
    [REGISTRY_FOUND] = registry_on_found,
    [REGISTRY_TOKEN_ADD] = registry_on_token_add,
    [REGISTRY_TOKEN_REMOVE] = registry_on_token_remove,
    [REGISTRY_JOIN] = registry_on_join,
    [REGISTRY_START] = registry_on_start,
    [REGISTRY_LIVE] = registry_on_live,
    [REGISTRY_GONE] = registry_on_gone,
    [REGISTRY_DRAIN] = registry_on_drain,
    [REGISTRY_UNDRAIN] = registry_on_undrain,
    [REGISTRY_LEAVE] = registry_on_leave,
    [REGISTRY_REMOVE] = registry_on_remove,
    [REGISTRY_ASSIGN] = registry_on_assign,
    [REGISTRY_LEVEL] = registry_on_level,
    [REGISTRY_SET] = registry_on_set,
    [REGISTRY_UNSET] = registry_on_unset,
    [REGISTRY_SERVICE_PUT] = registry_on_service_put,
    [REGISTRY_SERVICE_RENEW] = registry_on_service_renew,
    [REGISTRY_SERVICE_LEAVE] = registry_on_service_leave,
    [REGISTRY_SERVICE_EXPIRE] = registry_on_service_expire,
};

enum err registry_apply(struct registry_state *state, uint64_t index,
                        const struct registry_command *command, struct registry_result *out)
{
    ASSERT(index > state->index);
    if (command->kind <= 0 || command->kind >= REGISTRY_COMMAND_END) {
        return ERR_UNSUPPORTED;
    }
    uint64_t wall_ms = state->wall_ms;
    *out = (struct registry_result){.err = OK};
    if (command->wall_ms > state->wall_ms) {
        state->wall_ms = command->wall_ms;
    }
    if (state->level == 0 && command->kind != REGISTRY_FOUND) {
        registry_refuse(out, ERR_UNAVAILABLE, "there is no cluster yet: found one first");
    } else if (handlers[command->kind](state, command, out) != OK) {
        state->wall_ms = wall_ms;
        return ERR_NOMEM;
    }
    state->index = index;
    return OK;
}
