/*
 * registry_draft: commands for REG drawn at random, right ones and wrong ones.
 *
 * Few names, numbers and tokens, so that they meet each other.
 */
#ifndef TERN_TESTS_REGISTRY_DRAFT_H
#define TERN_TESTS_REGISTRY_DRAFT_H

#include "cluster/registry_state.h"
#include "core/base/rng.h"

#include <stdio.h>

static inline void draft_text(char *out, size_t room, const char *what, uint64_t number)
{
    snprintf(out, room, "%s%u", what, (unsigned)number);
}

static inline struct registry_place draft_place(struct rng *rng, const char *scheme)
{
    struct registry_place place = {.port = (uint16_t)(1 + rng_below(rng, 65535))};
    snprintf(place.scheme, sizeof place.scheme, "%s", scheme);
    draft_text(place.host, sizeof place.host, "10.0.0.", rng_below(rng, 250));
    return place;
}

static inline struct registry_profile draft_profile(struct rng *rng, uint64_t name)
{
    struct registry_profile profile = {.weight = 1 + (uint32_t)rng_below(rng, 5),
                                       .level_min = 1,
                                       .level_max = 3 - (uint32_t)(rng_below(rng, 10) == 0),
                                       .link_count = (uint32_t)rng_below(rng, 3),
                                       .client_count = (uint32_t)rng_below(rng, 4)};
    draft_text(profile.name, sizeof profile.name, "node-", name);
    draft_text(profile.zone, sizeof profile.zone, "zone-", rng_below(rng, 3));
    profile.fingerprint[0] = (uint8_t)(name + 1);
    for (uint32_t i = 0; i < profile.link_count; i++) {
        profile.links[i] = draft_place(rng, "");
    }
    for (uint32_t i = 0; i < profile.client_count; i++) {
        profile.clients[i] = draft_place(rng, i == 0 ? "mqtt" : "mqtts");
    }
    return profile;
}

static inline void draft_assign(struct rng *rng, const struct registry_state *state,
                                struct registry_assign *out)
{
    out->version = state->map_version - (rng_below(rng, 8) == 0);
    out->count = (uint32_t)rng_below(rng, 6);
    for (uint32_t i = 0; i < out->count; i++) {
        struct registry_assignment *row = &out->rows[i];
        row->partition = (uint32_t)rng_below(rng, REGISTRY_PARTITIONS);
        row->replica_count = 1 + (uint32_t)rng_below(rng, 3);
        uint64_t first = 1 + rng_below(rng, 8);
        for (uint32_t k = 0; k < row->replica_count; k++) {
            row->replicas[k] = 1 + (first + k) % 8;
        }
        row->preferred = row->replicas[rng_below(rng, row->replica_count)];
    }
}

static inline struct registry_service draft_service(struct rng *rng)
{
    struct registry_service service = {.weight = 1 + (uint32_t)rng_below(rng, 4),
                                       .load = rng_below(rng, 1000),
                                       .ttl_ms = 1000 + rng_below(rng, 60000),
                                       .health = (uint8_t)rng_below(rng, 3)};
    draft_text(service.alias, sizeof service.alias, "alias-", rng_below(rng, 4));
    draft_text(service.id, sizeof service.id, "id-", rng_below(rng, 20));
    draft_text(service.zone, sizeof service.zone, "zone-", rng_below(rng, 3));
    service.place = draft_place(rng, "https");
    return service;
}

static inline struct registry_renew draft_renew(struct rng *rng, const struct registry_state *state)
{
    struct registry_renew renew = {.load = rng_below(rng, 1000), .epoch = rng_below(rng, 10)};
    struct registry_service any = draft_service(rng);
    if (state->service_count > 0 && rng_below(rng, 4) > 0) {
        any = *state->services[rng_below(rng, state->service_count)];
        renew.epoch = any.epoch;
    }
    snprintf(renew.alias, sizeof renew.alias, "%s", any.alias);
    snprintf(renew.id, sizeof renew.id, "%s", any.id);
    return renew;
}

/* A command of that kind, for a state as it stands; about half of them will be refused. */
static inline void draft_command(struct rng *rng, const struct registry_state *state,
                                 enum registry_command_kind kind, struct registry_command *out)
{
    const struct registry_member *member =
        state->member_count == 0 ? NULL : &state->members[rng_below(rng, state->member_count)];
    uint64_t number = rng_below(rng, 10) == 0 || member == NULL ? rng_below(rng, 40)
                                                                : member->number;
    *out = (struct registry_command){.kind = kind, .wall_ms = state->wall_ms + rng_below(rng, 300)};
    switch (kind) {
    case REGISTRY_FOUND:
        out->found.cluster_id[3] = 7;
        draft_text(out->found.cluster_name, sizeof out->found.cluster_name, "house-", 1);
        out->found.profile = draft_profile(rng, rng_below(rng, 12));
        out->found.profile.level_max = 1; /* there is something to rise to */
        break;
    case REGISTRY_TOKEN_ADD:
    case REGISTRY_TOKEN_REMOVE:
        out->token = (struct registry_token){.hash = {(uint8_t)rng_below(rng, 3)},
                                             .expires_ms = out->wall_ms + rng_below(rng, 20000),
                                             .uses_left = (uint32_t)rng_below(rng, 4)};
        break;
    case REGISTRY_JOIN:
        out->join.token[0] = (uint8_t)rng_below(rng, 3);
        out->join.profile = draft_profile(rng, rng_below(rng, 12));
        break;
    case REGISTRY_START:
        out->start.number = number;
        out->start.profile = draft_profile(rng, rng_below(rng, 12));
        if (member != NULL && rng_below(rng, 5) > 0) {
            out->start.profile = member->profile;
            out->start.profile.level_max += (uint32_t)rng_below(rng, 2);
        }
        break;
    case REGISTRY_LIVE:
    case REGISTRY_GONE:
        out->incarnation = (struct registry_incarnation){number, 1};
        if (member != NULL && rng_below(rng, 5) > 0) {
            out->incarnation.incarnation = member->incarnation;
        }
        break;
    case REGISTRY_DRAIN:
    case REGISTRY_UNDRAIN:
    case REGISTRY_LEAVE:
    case REGISTRY_REMOVE:
        out->node.number = number;
        break;
    case REGISTRY_ASSIGN:
        draft_assign(rng, state, &out->assign);
        break;
    case REGISTRY_LEVEL:
        out->level.level = 1 + (uint32_t)rng_below(rng, 3);
        break;
    case REGISTRY_SET:
    case REGISTRY_UNSET:
        draft_text(out->setting.key, sizeof out->setting.key, "key_", rng_below(rng, 9));
        if (kind == REGISTRY_SET) {
            draft_text(out->setting.value, sizeof out->setting.value, "", rng_u64(rng));
        }
        break;
    case REGISTRY_SERVICE_PUT:
        out->service = draft_service(rng);
        break;
    case REGISTRY_SERVICE_RENEW:
    case REGISTRY_SERVICE_LEAVE:
        out->renew = draft_renew(rng, state);
        break;
    case REGISTRY_SERVICE_EXPIRE:
        out->expire.count_max = (uint32_t)rng_below(rng, 4);
        break;
    case REGISTRY_COMMAND_END:
        break;
    }
}

#endif
