#include "cluster/registry_json.h"

#include "core/base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- parts ------------------------------------------------------------------------------------ */

static void add_text(struct json_writer *writer, const char *key, const char *text)
{
    json_add_text(writer, key, slice_text(text));
}

static void add_hex(struct json_writer *writer, const char *key, const uint8_t *bytes, size_t count)
{
    char text[2 * REGISTRY_HASH_BYTES];
    text_hex(slice_of(bytes, count), text);
    json_add_text(writer, key, slice_of(text, 2 * count));
}

/* "mqtts://10.0.0.1:8883"; an IPv6 address in brackets (RFC 3986, 3.2.2). */
static void add_url(struct json_writer *writer, const struct registry_place *place)
{
    char url[REGISTRY_SCHEME_BYTES + REGISTRY_HOST_BYTES + 16];
    bool is_ipv6 = strchr(place->host, ':') != NULL;
    snprintf(url, sizeof url, "%s%s%s%s%s:%u", place->scheme, place->scheme[0] == 0 ? "" : "://",
             is_ipv6 ? "[" : "", place->host, is_ipv6 ? "]" : "", place->port);
    add_text(writer, "url", url);
}

static void add_places(struct json_writer *writer, const char *key,
                       const struct registry_place *places, uint32_t count)
{
    json_array_begin(writer, key);
    for (uint32_t i = 0; i < count; i++) {
        json_object_begin(writer, NULL);
        if (places[i].scheme[0] != 0) {
            add_text(writer, "scheme", places[i].scheme);
        }
        add_text(writer, "host", places[i].host);
        json_add_u64(writer, "port", places[i].port);
        add_url(writer, &places[i]);
        json_object_end(writer);
    }
    json_array_end(writer);
}

static void add_numbers(struct json_writer *writer, const char *key, const uint64_t *numbers,
                        uint32_t count)
{
    json_array_begin(writer, key);
    for (uint32_t i = 0; i < count; i++) {
        json_add_u64(writer, NULL, numbers[i]);
    }
    json_array_end(writer);
}

/* number 0: partitions of which nobody knows a leader. */
static uint32_t led_by(const struct registry_state *state, const struct registry_view *view,
                       uint64_t number)
{
    uint32_t count = 0;
    for (uint32_t p = 0; p < state->partition_count; p++) {
        const struct placement_report *report = &view->reports[p];
        count += (report->is_known ? report->leader : 0) == number;
    }
    return count;
}

/* ---- the cluster, this node ------------------------------------------------------------------- */

void registry_json_cluster(struct json_writer *writer, const char *key,
                           const struct registry_state *state)
{
    uint32_t members = 0, active = 0;
    char hash[17];
    for (uint32_t i = 0; i < state->member_count; i++) {
        members += state->members[i].state != MEMBER_LEFT;
        active += state->members[i].state == MEMBER_ACTIVE;
    }
    snprintf(hash, sizeof hash, "%016" PRIx64, state->hash);
    json_object_begin(writer, key);
    add_hex(writer, "id", state->cluster_id, sizeof state->cluster_id);
    add_text(writer, "name", state->cluster_name);
    json_add_u64(writer, "level", state->level);
    json_add_u64(writer, "level_possible", registry_level_possible(state));
    json_add_u64(writer, "map_version", state->map_version);
    json_add_u64(writer, "index", state->index);
    add_text(writer, "hash", hash);
    json_add_u64(writer, "time_ms", state->wall_ms);
    json_add_u64(writer, "members", members);
    json_add_u64(writer, "active", active);
    json_add_u64(writer, "services", state->service_count);
    json_object_end(writer);
}

void registry_json_node(struct json_writer *writer, const char *key,
                        const struct registry_state *state, const struct registry_view *view)
{
    const struct registry_member *member = registry_member(state, view->number);
    bool is_live = lease_own_is_live(view->own, view->now_ms);
    json_object_begin(writer, key);
    json_add_u64(writer, "number", view->number);
    add_text(writer, "name", member == NULL ? "" : member->profile.name);
    json_add_u64(writer, "incarnation", view->own->incarnation);
    add_text(writer, "state",
             member == NULL ? "unknown" : registry_member_state_name(member->state));
    json_add_bool(writer, "is_live", is_live);
    json_add_u64(writer, "lease_left_ms", is_live ? view->own->until_ms - view->now_ms : 0);
    json_add_u64(writer, "meta_leader", view->meta_leader);
    json_add_u64(writer, "leads", view->number == 0 ? 0 : led_by(state, view, view->number));
    json_add_u64(writer, "holds", registry_held(state, view->number));
    json_add_u64(writer, "unknown", led_by(state, view, 0));
    json_object_end(writer);
}

/* ---- members ---------------------------------------------------------------------------------- */

static void add_lease(struct json_writer *writer, const struct registry_view *view, uint64_t number)
{
    static const char *const names[] = {[LEASE_LIVE] = "live",
                                        [LEASE_SUSPECT] = "suspect",
                                        [LEASE_LAPSED] = "lapsed",
                                        [LEASE_GONE] = "gone"};
    enum lease_state state;
    if (view->leases != NULL && number == view->number) {
        add_text(writer, "lease", names[LEASE_LIVE]); /* the meta leader has none of itself */
    } else if (view->leases != NULL &&
               lease_look(view->leases, number, view->now_ms, &state) == OK) {
        add_text(writer, "lease", names[state]);
    } else {
        json_add_null(writer, "lease");
    }
}

static void add_member(struct json_writer *writer, const struct registry_state *state,
                       const struct registry_view *view, const struct registry_member *member)
{
    const struct registry_profile *profile = &member->profile;
    json_object_begin(writer, NULL);
    json_add_u64(writer, "number", member->number);
    add_text(writer, "name", profile->name);
    add_text(writer, "state", registry_member_state_name(member->state));
    json_add_bool(writer, "draining", member->is_draining);
    json_add_u64(writer, "incarnation", member->incarnation);
    json_add_u64(writer, "since_ms", member->since_ms);
    add_text(writer, "zone", profile->zone);
    json_add_u64(writer, "weight", profile->weight);
    json_add_u64(writer, "level_min", profile->level_min);
    json_add_u64(writer, "level_max", profile->level_max);
    add_lease(writer, view, member->number);
    json_add_u64(writer, "holds", registry_held(state, member->number));
    json_add_u64(writer, "leads", led_by(state, view, member->number));
    add_places(writer, "links", profile->links, profile->link_count);
    add_places(writer, "clients", profile->clients, profile->client_count);
    add_hex(writer, "fingerprint", profile->fingerprint, sizeof profile->fingerprint);
    json_object_end(writer);
}

void registry_json_members(struct json_writer *writer, const char *key,
                           const struct registry_state *state, const struct registry_view *view)
{
    json_array_begin(writer, key);
    for (uint32_t i = 0; i < state->member_count; i++) {
        add_member(writer, state, view, &state->members[i]);
    }
    json_array_end(writer);
}

/* ---- the map ---------------------------------------------------------------------------------- */

void registry_json_partitions(struct json_writer *writer, const char *key,
                              const struct registry_state *state, const struct registry_view *view)
{
    json_array_begin(writer, key);
    for (uint32_t p = 0; p < state->partition_count; p++) {
        const struct registry_partition *row = &state->partitions[p];
        const struct placement_report *report = &view->reports[p];
        json_object_begin(writer, NULL);
        json_add_u64(writer, "partition", p);
        add_numbers(writer, "replicas", row->replicas, row->replica_count);
        json_add_u64(writer, "preferred", row->preferred);
        json_add_u64(writer, "version", row->version);
        if (report->is_known) {
            json_add_u64(writer, "leader", report->leader);
            add_numbers(writer, "members", report->members, report->count);
        } else {
            json_add_null(writer, "leader");
            json_add_null(writer, "members");
        }
        json_add_bool(writer, "settled", placement_is_settled(row, report));
        json_object_end(writer);
    }
    json_array_end(writer);
}

/* ---- settings, tokens, services --------------------------------------------------------------- */

void registry_json_settings(struct json_writer *writer, const char *key,
                            const struct registry_state *state)
{
    json_object_begin(writer, key);
    for (uint32_t i = 0; i < state->setting_count; i++) {
        add_text(writer, state->settings[i].key, state->settings[i].value);
    }
    json_object_end(writer);
}

void registry_json_tokens(struct json_writer *writer, const char *key,
                          const struct registry_state *state)
{
    json_array_begin(writer, key);
    for (uint32_t i = 0; i < state->token_count; i++) {
        json_object_begin(writer, NULL);
        add_hex(writer, "id", state->tokens[i].hash, 4);
        json_add_u64(writer, "uses_left", state->tokens[i].uses_left);
        json_add_u64(writer, "expires_ms", state->tokens[i].expires_ms);
        json_object_end(writer);
    }
    json_array_end(writer);
}

static void add_service(struct json_writer *writer, const struct registry_state *state,
                        const struct registry_service *service)
{
    json_object_begin(writer, NULL);
    add_text(writer, "alias", service->alias);
    add_text(writer, "id", service->id);
    add_text(writer, "address", service->place.host);
    json_add_u64(writer, "port", service->place.port);
    add_text(writer, "scheme", service->place.scheme);
    add_url(writer, &service->place);
    add_text(writer, "zone", service->zone);
    json_add_u64(writer, "weight", service->weight);
    add_text(writer, "health", registry_health_name(service->health));
    json_add_u64(writer, "load", service->load);
    json_add_u64(writer, "ttl_ms", service->ttl_ms);
    json_add_u64(writer, "until_ms", service->until_ms);
    json_add_bool(writer, "expired", service->until_ms <= state->wall_ms);
    json_add_u64(writer, "epoch", service->epoch);
    json_object_end(writer);
}

void registry_json_services(struct json_writer *writer, const char *key,
                            const struct registry_state *state, struct slice alias, uint32_t first,
                            uint32_t count_max)
{
    uint32_t begin = 0, count = state->service_count;
    if (alias.count > 0) {
        count = registry_services_of(state, alias, &begin);
    }
    json_array_begin(writer, key);
    for (uint32_t i = first; i < count && i - first < count_max; i++) {
        add_service(writer, state, state->services[begin + i]);
    }
    json_array_end(writer);
}

void registry_json_found(struct json_writer *writer, const char *key,
                         const struct registry_state *state,
                         const struct registry_service *const *found, uint32_t count)
{
    json_array_begin(writer, key);
    for (uint32_t i = 0; i < count; i++) {
        add_service(writer, state, found[i]);
    }
    json_array_end(writer);
}

void registry_json_client(struct json_writer *writer, const char *key,
                          const struct lookup_node *node)
{
    json_object_begin(writer, key);
    json_add_u64(writer, "node", node->member->number);
    add_text(writer, "name", node->member->profile.name);
    add_url(writer, node->place);
    add_text(writer, "host", node->place->host);
    json_add_u64(writer, "port", node->place->port);
    add_text(writer, "scheme", node->place->scheme);
    json_add_u64(writer, "partition", node->partition);
    add_text(writer, "why", lookup_why_text(node->why));
    json_object_end(writer);
}

/* ---- all of it -------------------------------------------------------------------------------- */

static void add_warnings(struct json_writer *writer, const struct registry_state *state,
                         const struct registry_view *view)
{
    struct placement_nodes nodes;
    struct placement_map map;
    char warning[PLACEMENT_WARNING_BYTES];
    uint32_t unknown = led_by(state, view, 0);
    placement_read(state, &nodes, &map);
    placement_replicas(&nodes, placement_wished(state), warning);
    json_array_begin(writer, "warnings");
    if (state->level != 0 && warning[0] != 0) {
        add_text(writer, NULL, warning);
    }
    if (state->level != 0 && unknown > 0) {
        snprintf(warning, sizeof warning,
                 "%u partitions have no leader that this node knows: their clients wait; see which "
                 "nodes are not active",
                 unknown);
        add_text(writer, NULL, warning);
    }
    if (view->number != 0 && !lease_own_is_live(view->own, view->now_ms)) {
        add_text(
            writer, NULL,
            "this node has no lease: it serves nobody until it reaches the meta leader; look at "
            "its links");
    }
    json_array_end(writer);
}

void registry_json_status(struct json_writer *writer, const char *key,
                          const struct registry_state *state, const struct registry_view *view)
{
    json_object_begin(writer, key);
    registry_json_cluster(writer, "cluster", state);
    registry_json_node(writer, "node", state, view);
    registry_json_members(writer, "members", state, view);
    registry_json_partitions(writer, "partitions", state, view);
    registry_json_settings(writer, "settings", state);
    add_warnings(writer, state, view);
    json_object_end(writer);
}
