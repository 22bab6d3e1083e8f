/* The services of REG: instances under an alias, each with a lease. */
#include "cluster/registry_parts.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { TTL_MS_MIN = 1000, TTL_MS_MAX = 24 * 3600 * 1000 };

/* Where it is, or would be. */
static uint32_t place_of(const struct registry_state *state, struct slice alias, struct slice id,
                         bool *is_there)
{
    uint32_t low = 0, high = state->service_count;
    *is_there = false;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct registry_service *service = state->services[middle];
        struct slice texts[2][2] = {{slice_text(service->alias), alias},
                                    {slice_text(service->id), id}};
        int order = 0;
        for (int i = 0; i < 2 && order == 0; i++) {
            struct slice a = texts[i][0], b = texts[i][1];
            size_t count = a.count < b.count ? a.count : b.count;
            order = count == 0 ? 0 : memcmp(a.data, b.data, count);
            order = order != 0 ? order : (a.count > b.count) - (a.count < b.count);
        }
        if (order == 0) {
            *is_there = true;
            return middle;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

const struct registry_service *registry_service(const struct registry_state *state,
                                                struct slice alias, struct slice id)
{
    bool is_there;
    uint32_t at = place_of(state, alias, id, &is_there);
    return is_there ? state->services[at] : NULL;
}

uint32_t registry_services_of(const struct registry_state *state, struct slice alias,
                              uint32_t *begin)
{
    bool is_there;
    uint32_t end = *begin = place_of(state, alias, (struct slice){0}, &is_there);
    while (end < state->service_count && slice_is(alias, state->services[end]->alias)) {
        end++;
    }
    return end - *begin;
}

uint32_t registry_services_due(const struct registry_state *state, uint64_t wall_ms)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < state->service_count; i++) {
        count += state->services[i]->until_ms <= wall_ms;
    }
    return count;
}

/* ERR_NOMEM: nothing changed. */
static enum err insert(struct registry_state *state, uint32_t at,
                       const struct registry_service *service)
{
    if (state->service_count == state->service_room) {
        uint32_t room = state->service_room == 0 ? 16 : 2 * state->service_room;
        struct registry_service **rows = realloc(state->services, room * sizeof rows[0]);
        if (rows == NULL) {
            return ERR_NOMEM;
        }
        state->services = rows;
        state->service_room = room;
    }
    struct registry_service *row = malloc(sizeof *row);
    if (row == NULL) {
        return ERR_NOMEM;
    }
    *row = *service;
    memmove(&state->services[at + 1], &state->services[at],
            (state->service_count - at) * sizeof state->services[0]);
    state->services[at] = row;
    state->service_count++;
    return OK;
}

enum err registry_service_load(struct registry_state *state, const struct registry_service *service)
{
    return state->service_count == REGISTRY_SERVICES_MAX
               ? ERR_CORRUPT
               : insert(state, state->service_count, service);
}

/* NULL: it is right. */
static const char *trouble_of(const struct registry_service *service)
{
    if (!registry_is_alias(service->alias)) {
        return "the alias is no DNS label: write 1 to 63 of a-z, 0-9 and -";
    }
    if (!registry_is_id(service->id)) {
        return "the instance's id is not valid: write letters, digits and ._-:@/";
    }
    if (!registry_is_place(&service->place)) {
        return "its address is not valid: give a host and a port that is not 0";
    }
    if (service->weight == 0 || service->weight > REGISTRY_WEIGHT_MAX) {
        return "its weight is not valid: give 1 to 1000";
    }
    if (service->ttl_ms < TTL_MS_MIN || service->ttl_ms > TTL_MS_MAX) {
        return "its lease is not valid: give one second to one day";
    }
    return NULL;
}

enum err registry_on_service_put(REGISTRY_APPLY)
{
    struct registry_service service = command->service;
    const char *trouble = trouble_of(&service);
    bool is_there;
    if (trouble != NULL) {
        return registry_refuse(out, ERR_INVALID, "service \"%s\": %s", service.alias, trouble);
    }
    uint32_t at = place_of(state, slice_text(service.alias), slice_text(service.id), &is_there);
    if (!is_there && state->service_count == REGISTRY_SERVICES_MAX) {
        return registry_refuse(out, ERR_LIMIT,
                               "%d instances are registered, which is the most: let others go",
                               REGISTRY_SERVICES_MAX);
    }
    service.until_ms = state->wall_ms + service.ttl_ms;
    service.epoch = state->epoch_next;
    if (is_there) {
        *state->services[at] = service;
    } else {
        TRY(insert(state, at, &service));
    }
    state->epoch_next++;
    out->epoch = service.epoch;
    out->until_ms = service.until_ms;
    registry_changed(state, REGISTRY_ROW_SERVICE, &service);
    return OK;
}

/* NULL: refused, and said why. epoch_any: 0 means whichever there is. */
static struct registry_service *named(struct registry_state *state,
                                      const struct registry_renew *renew, bool epoch_any,
                                      uint32_t *at, struct registry_result *out)
{
    bool is_there;
    *at = place_of(state, slice_text(renew->alias), slice_text(renew->id), &is_there);
    if (!is_there) {
        registry_refuse(out, ERR_NOT_FOUND, "no instance \"%s\" of \"%s\": register it again",
                        renew->id, renew->alias);
        return NULL;
    }
    struct registry_service *service = state->services[*at];
    if (service->epoch != renew->epoch && !(epoch_any && renew->epoch == 0)) {
        registry_refuse(out, ERR_AGAIN,
                        "instance \"%s\" of \"%s\" was registered anew (epoch %" PRIu64
                        ", not %" PRIu64 "): another program has its id, or this one started twice",
                        renew->id, renew->alias, service->epoch, renew->epoch);
        return NULL;
    }
    return service;
}

enum err registry_on_service_renew(REGISTRY_APPLY)
{
    uint32_t at;
    struct registry_service *service = named(state, &command->renew, false, &at, out);
    if (service == NULL) {
        return OK;
    }
    service->load = command->renew.load;
    service->health = command->renew.health;
    service->until_ms = state->wall_ms + service->ttl_ms;
    out->epoch = service->epoch;
    out->until_ms = service->until_ms;
    registry_changed(state, REGISTRY_ROW_SERVICE, service);
    return OK;
}

static void take_out(struct registry_state *state, uint32_t at)
{
    registry_removed(state, REGISTRY_ROW_SERVICE, state->services[at]);
    free(state->services[at]);
    state->service_count--;
    memmove(&state->services[at], &state->services[at + 1],
            (state->service_count - at) * sizeof state->services[0]);
}

enum err registry_on_service_leave(REGISTRY_APPLY)
{
    uint32_t at;
    if (named(state, &command->renew, true, &at, out) != NULL) {
        take_out(state, at);
    }
    return OK;
}

enum err registry_on_service_expire(REGISTRY_APPLY)
{
    uint32_t count_max = command->expire.count_max, kept = 0;
    for (uint32_t i = 0; i < state->service_count; i++) {
        struct registry_service *service = state->services[i];
        bool is_full = count_max != 0 && out->count == count_max;
        if (service->until_ms > state->wall_ms || is_full) {
            state->services[kept++] = service;
            continue;
        }
        registry_removed(state, REGISTRY_ROW_SERVICE, service);
        free(service);
        out->count++;
    }
    state->service_count = kept;
    return OK;
}
