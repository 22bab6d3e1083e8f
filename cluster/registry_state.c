#include "cluster/registry_state.h"

#include "cluster/registry_parts.h"
#include "core/base/assert.h"
#include "core/base/map.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- opened and closed ------------------------------------------------------------------------ */

struct registry_state *registry_new(void)
{
    return calloc(1, sizeof(struct registry_state));
}

void registry_free(struct registry_state *state)
{
    if (state == NULL) {
        return;
    }
    for (uint32_t i = 0; i < state->service_count; i++) {
        free(state->services[i]);
    }
    free(state->services);
    free(state);
}

/* ---- names ------------------------------------------------------------------------------------ */

const char *registry_command_name(enum registry_command_kind kind)
{
#define COMMAND_NAME(name, code, body, what) [code] = #name,
    static const char *const names[REGISTRY_COMMAND_END] = {REGISTRY_COMMAND_TABLE(COMMAND_NAME)};
#undef COMMAND_NAME
    return kind > 0 && kind < REGISTRY_COMMAND_END ? names[kind] : "unknown";
}

const char *registry_member_state_name(uint8_t state)
{
    static const char *const names[MEMBER_STATE_COUNT] = {"joining", "active", "draining", "gone",
                                                          "left"};
    return state < MEMBER_STATE_COUNT ? names[state] : "unknown";
}

const char *registry_health_name(uint8_t health)
{
    static const char *const names[SERVICE_HEALTH_COUNT] = {"up", "draining", "down"};
    return health < SERVICE_HEALTH_COUNT ? names[health] : "unknown";
}

static bool is_of(const char *text, const char *more)
{
    for (const char *at = text; *at != 0; at++) {
        bool is_plain = (*at >= 'a' && *at <= 'z') || (*at >= '0' && *at <= '9') || *at == '-';
        if (!is_plain && strchr(more, *at) == NULL) {
            return false;
        }
    }
    return text[0] != 0;
}

#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

bool registry_is_name(const char *text)
{
    return is_of(text, UPPER "._");
}

bool registry_is_alias(const char *text)
{
    return is_of(text, "");
}

bool registry_is_id(const char *text)
{
    return is_of(text, UPPER "._:@/");
}

bool registry_is_place(const struct registry_place *place)
{
    return is_of(place->host, UPPER "._:%") && place->port != 0;
}

/* ---- found ------------------------------------------------------------------------------------ */

const struct registry_member *registry_member(const struct registry_state *state, uint64_t number)
{
    for (uint32_t i = 0; i < state->member_count; i++) {
        if (state->members[i].number == number) {
            return &state->members[i];
        }
    }
    return NULL;
}

const struct registry_member *registry_member_named(const struct registry_state *state,
                                                    struct slice name)
{
    for (uint32_t i = 0; i < state->member_count; i++) {
        const struct registry_member *member = &state->members[i];
        if (member->state != MEMBER_LEFT && slice_is(name, member->profile.name)) {
            return member;
        }
    }
    return NULL;
}

const struct registry_token *registry_token(const struct registry_state *state,
                                            const uint8_t hash[REGISTRY_HASH_BYTES])
{
    for (uint32_t i = 0; i < state->token_count; i++) {
        if (memcmp(state->tokens[i].hash, hash, REGISTRY_HASH_BYTES) == 0) {
            return &state->tokens[i];
        }
    }
    return NULL;
}

const char *registry_setting(const struct registry_state *state, const char *key)
{
    for (uint32_t i = 0; i < state->setting_count; i++) {
        if (strcmp(state->settings[i].key, key) == 0) {
            return state->settings[i].value;
        }
    }
    return NULL;
}

uint32_t registry_held(const struct registry_state *state, uint64_t number)
{
    uint32_t count = 0;
    for (uint32_t p = 0; p < state->partition_count; p++) {
        for (uint32_t i = 0; i < state->partitions[p].replica_count; i++) {
            count += state->partitions[p].replicas[i] == number;
        }
    }
    return count;
}

uint32_t registry_level_possible(const struct registry_state *state)
{
    uint32_t level = UINT32_MAX;
    for (uint32_t i = 0; i < state->member_count; i++) {
        const struct registry_member *member = &state->members[i];
        if (member->state != MEMBER_LEFT && member->profile.level_max < level) {
            level = member->profile.level_max;
        }
    }
    return level == UINT32_MAX ? state->level : level;
}

/* ---- the running hash --------------------------------------------------------------------------- */

static void fold(struct registry_state *state, uint8_t mark, enum registry_row kind,
                 const void *row)
{
    uint8_t bytes[2 + REGISTRY_ROW_BYTES_MAX] = {mark, (uint8_t)kind};
    size_t count = 2 + registry_row_write(kind, row, bytes + 2);
    state->hash = hash_bytes_seeded(slice_of(bytes, count), state->hash);
}

void registry_changed(struct registry_state *state, enum registry_row kind, const void *row)
{
    fold(state, '+', kind, row);
}

void registry_removed(struct registry_state *state, enum registry_row kind, const void *row)
{
    fold(state, '-', kind, row);
}

enum err registry_refuse(struct registry_result *out, enum err err, const char *format, ...)
{
    va_list arguments;
    ASSERT(err != OK);
    out->err = err;
    va_start(arguments, format);
    vsnprintf(out->reason, sizeof out->reason, format, arguments);
    va_end(arguments);
    return OK;
}

/* ---- what was read is as apply would have made it ----------------------------------------------- */

static bool partition_is_right(const struct registry_state *state,
                               const struct registry_partition *row)
{
    bool has_preferred = false;
    for (uint32_t i = 0; i < row->replica_count; i++) {
        for (uint32_t k = 0; k < i; k++) {
            if (row->replicas[k] == row->replicas[i]) {
                return false;
            }
        }
        if (registry_member(state, row->replicas[i]) == NULL) {
            return false;
        }
        has_preferred = has_preferred || row->replicas[i] == row->preferred;
    }
    return has_preferred && row->version <= state->map_version; /* so there is one at least */
}

static bool members_are_right(const struct registry_state *state)
{
    uint64_t last = 0;
    for (uint32_t i = 0; i < state->member_count; i++) {
        const struct registry_member *member = &state->members[i];
        if (member->number <= last || member->number >= state->node_next) {
            return false;
        }
        last = member->number;
        if (member->state == MEMBER_LEFT) {
            continue;
        }
        if (registry_member_named(state, slice_text(member->profile.name)) != member ||
            member->profile.level_min > state->level || member->profile.level_max < state->level) {
            return false;
        }
    }
    return true;
}

static bool rows_are_in_order(const struct registry_state *state)
{
    for (uint32_t i = 1; i < state->setting_count; i++) {
        if (strcmp(state->settings[i - 1].key, state->settings[i].key) >= 0) {
            return false;
        }
    }
    for (uint32_t i = 1; i < state->token_count; i++) {
        if (memcmp(state->tokens[i - 1].hash, state->tokens[i].hash, REGISTRY_HASH_BYTES) >= 0) {
            return false;
        }
    }
    for (uint32_t i = 1; i < state->service_count; i++) {
        const struct registry_service *a = state->services[i - 1], *b = state->services[i];
        int by_alias = strcmp(a->alias, b->alias);
        if (by_alias > 0 || (by_alias == 0 && strcmp(a->id, b->id) >= 0)) {
            return false;
        }
    }
    return true;
}

enum err registry_check(const struct registry_state *state)
{
    if (state->partition_count != (state->level == 0 ? 0 : REGISTRY_PARTITIONS)) {
        return ERR_CORRUPT;
    }
    for (uint32_t p = 0; p < state->partition_count; p++) {
        if (!partition_is_right(state, &state->partitions[p])) {
            return ERR_CORRUPT; /* I2, I5 */
        }
    }
    return members_are_right(state) && rows_are_in_order(state) ? OK : ERR_CORRUPT; /* I1, I3, I4 */
}
