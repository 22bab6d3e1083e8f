#include "cluster/lookup.h"

#include "cluster/placement.h"
#include "core/base/assert.h"
#include "core/base/map.h"
#include "core/base/rng.h"
#include "core/session/session.h"

_Static_assert((int)REGISTRY_PARTITIONS == (int)PARTITION_COUNT,
               "REG knows as many partitions as sessions do");

static const char *const strategy_names[LOOKUP_STRATEGY_COUNT] = {"least", "key", "round"};

bool lookup_strategy_read(struct slice text, enum lookup_strategy *out)
{
    for (int i = 0; i < LOOKUP_STRATEGY_COUNT; i++) {
        if (slice_is(text, strategy_names[i])) {
            *out = (enum lookup_strategy)i;
            return true;
        }
    }
    return false;
}

/* ---- instances ---------------------------------------------------------------------------------- */

struct candidate {
    const struct registry_service *service;
    uint32_t group; /* lower is better: how it is, and whether it is in the zone */
    bool is_drawn;  /* LEAST: meant, whatever its load */
    struct placement_score score;
    uint64_t distance; /* ROUND: on the ring, from the one that is meant */
};

enum { GROUP_COUNT = 6, GROUP_NONE = GROUP_COUNT };

static uint32_t group_of(const struct registry_service *service, const struct lookup_query *query)
{
    bool is_here = query->zone.count == 0 || slice_is(query->zone, service->zone);
    uint32_t how = service->health == SERVICE_DRAINING   ? 2
                   : service->until_ms <= query->wall_ms ? 1
                                                         : 0;
    bool is_meant = service->health != SERVICE_DOWN &&
                    (query->scheme.count == 0 || slice_is(query->scheme, service->place.scheme));
    return is_meant ? 2 * how + !is_here : GROUP_NONE;
}

/* Load for its weight; equal ones by name, so that the order is one. */
static bool is_less_loaded(const struct registry_service *a, const struct registry_service *b)
{
    unsigned __int128 load_a = (unsigned __int128)a->load * b->weight;
    unsigned __int128 load_b = (unsigned __int128)b->load * a->weight;
    return load_a < load_b || (load_a == load_b && strcmp(a->id, b->id) < 0);
}

static bool is_before(const struct candidate *a, const struct candidate *b,
                      enum lookup_strategy strategy)
{
    if (a->group != b->group) {
        return a->group < b->group;
    }
    switch (strategy) {
    case LOOKUP_KEY:
        return placement_is_nearer(a->score, b->score);
    case LOOKUP_ROUND:
        return a->distance < b->distance;
    default:
        return a->is_drawn || (!b->is_drawn && is_less_loaded(a->service, b->service));
    }
}

/* The group of the best, how many it has, and what they weigh together. */
struct best {
    uint32_t group, count;
    uint64_t weight;
};

static struct best best_of(struct registry_service *const *rows, uint32_t count,
                           const struct lookup_query *query)
{
    struct best best = {.group = GROUP_NONE};
    for (uint32_t i = 0; i < count; i++) {
        uint32_t group = group_of(rows[i], query);
        if (group < best.group) {
            best = (struct best){.group = group};
        }
        best.count += group == best.group;
        best.weight += group == best.group ? rows[i]->weight : 0;
    }
    return best;
}

/* LEAST: the less loaded of two of the best, who are drawn. NULL: there are none. */
static const struct registry_service *draw(struct registry_service *const *rows, uint32_t count,
                                           const struct lookup_query *query,
                                           const struct best *best)
{
    struct rng rng;
    const struct registry_service *drawn = NULL;
    rng_init(&rng, query->turn);
    uint64_t first = rng_below(&rng, best->count);
    uint64_t second = best->count == 1 ? 0 : rng_below(&rng, best->count - 1);
    second += second >= first; /* another one */
    for (uint32_t i = 0, at = 0; i < count; i++) {
        if (group_of(rows[i], query) != best->group) {
            continue;
        }
        if ((at == first || at == second) && (drawn == NULL || is_less_loaded(rows[i], drawn))) {
            drawn = rows[i];
        }
        at++;
    }
    return drawn;
}

/* ROUND: the turns lie on the ring by the golden ratio, so that any number of them in a row is spread. */
static uint64_t point_of(const struct lookup_query *query, const struct best *best)
{
    uint64_t part = query->turn * UINT64_C(0x9E3779B97F4A7C15);
    return (uint64_t)((unsigned __int128)part * best->weight >> 64);
}

/* Put where it belongs among the best so far. */
static uint32_t keep(struct candidate *kept, uint32_t count, const struct candidate *candidate,
                     const struct lookup_query *query)
{
    uint32_t at = count;
    while (at > 0 && is_before(candidate, &kept[at - 1], query->strategy)) {
        if (at < query->count_max) {
            kept[at] = kept[at - 1];
        }
        at--;
    }
    if (at == query->count_max) {
        return count;
    }
    kept[at] = *candidate;
    return count < query->count_max ? count + 1 : count;
}

uint32_t lookup_services(const struct registry_state *state, const struct lookup_query *query,
                         const struct registry_service *out[LOOKUP_MAX])
{
    struct candidate kept[LOOKUP_MAX];
    uint32_t begin, count = registry_services_of(state, query->alias, &begin), kept_count = 0;
    struct registry_service *const *rows = state->services + begin;
    ASSERT(query->count_max > 0 && query->count_max <= LOOKUP_MAX);
    struct best best = best_of(rows, count, query);
    if (best.group == GROUP_NONE) {
        return 0;
    }
    const struct registry_service *drawn = draw(rows, count, query, &best);
    uint64_t point = point_of(query, &best), key = hash_bytes(query->key), end = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct candidate candidate = {.service = rows[i], .group = group_of(rows[i], query)};
        if (candidate.group == GROUP_NONE) {
            continue;
        }
        candidate.is_drawn = rows[i] == drawn;
        if (query->strategy == LOOKUP_KEY) {
            candidate.score = placement_score(key, hash_bytes(slice_text(rows[i]->id)),
                                              rows[i]->weight);
        }
        /* How far from the point its end is, ahead on the ring; of lesser groups just the order. */
        end += candidate.group == best.group ? rows[i]->weight : 0;
        candidate.distance = candidate.group != best.group ? i
                             : end > point                 ? end - point
                                                           : end - point + best.weight;
        kept_count = keep(kept, kept_count, &candidate, query);
    }
    for (uint32_t i = 0; i < kept_count; i++) {
        out[i] = kept[i].service;
    }
    return kept_count;
}

/* ---- the node for a client ---------------------------------------------------------------------- */

const char *lookup_why_text(enum lookup_why why)
{
    static const char *const texts[LOOKUP_WHY_COUNT] = {"leads", "preferred", "holds", "any"};
    return texts[why];
}

static const struct registry_place *place_of(const struct registry_member *member,
                                             struct slice scheme)
{
    for (uint32_t i = 0; i < member->profile.client_count; i++) {
        if (slice_is(scheme, member->profile.clients[i].scheme)) {
            return &member->profile.clients[i];
        }
    }
    return NULL;
}

static enum lookup_why why_of(const struct registry_partition *partition, uint64_t leader,
                              uint64_t number)
{
    if (number == leader) {
        return LOOKUP_LEADS;
    }
    if (number == partition->preferred) {
        return LOOKUP_PREFERRED;
    }
    for (uint32_t i = 0; i < partition->replica_count; i++) {
        if (partition->replicas[i] == number) {
            return LOOKUP_HOLDS;
        }
    }
    return LOOKUP_ANY;
}

enum err lookup_client(const struct registry_state *state, struct slice client_id,
                       struct slice scheme, lookup_leader_of *leader_of, void *context,
                       struct lookup_node *out)
{
    struct lookup_node best = {.partition = partition_of(client_id)};
    struct placement_score best_score = {0};
    uint64_t key = hash_bytes(client_id), leader = leader_of(context, best.partition);
    uint32_t best_rank = UINT32_MAX, live = 0;
    for (uint32_t i = 0; i < state->member_count; i++) {
        const struct registry_member *member = &state->members[i];
        const struct registry_place *place = place_of(member, scheme);
        if (member->state != MEMBER_ACTIVE && member->state != MEMBER_DRAINING) {
            continue;
        }
        live++;
        enum lookup_why why = why_of(&state->partitions[best.partition], leader, member->number);
        /* Who drains is asked when nobody else is there: what it leads is about to go elsewhere. */
        uint32_t rank = (uint32_t)why +
                        (member->state == MEMBER_DRAINING ? (uint32_t)LOOKUP_WHY_COUNT : 0);
        struct placement_score score = placement_score(key, member->number, member->profile.weight);
        if (place != NULL &&
            (rank < best_rank || (rank == best_rank && placement_is_nearer(score, best_score)))) {
            best.member = member;
            best.place = place;
            best.why = why;
            best_rank = rank;
            best_score = score;
        }
    }
    if (best.member == NULL) {
        return live == 0 ? ERR_UNAVAILABLE : ERR_NOT_FOUND;
    }
    *out = best;
    return OK;
}
