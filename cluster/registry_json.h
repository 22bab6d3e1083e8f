/*
 * registry_json: what REG knows and what one node sees of it, for people and for HTTP.
 *
 * Floor:  cluster; pure.
 *
 * Field names are for ever; a field may be added. Times end in _ms: milliseconds since 1970 for what REG has
 * stamped, or left from now where "left" is in the name. Numbers of nodes are those of REG, 0: nobody.
 * No token and no hash of one is shown whole.
 *
 *  status   { cluster, node, members[], partitions[], settings{}, warnings[] }
 *  cluster  { id (hex), name, level, level_possible, map_version, index, hash (hex), time_ms,
 *             members, active, services }
 *  node     { number, name, incarnation, state, is_live, lease_left_ms, meta_leader, leads, holds,
 *             unknown }                        unknown: partitions of which it knows no leader
 *  member   { number, name, state, draining, incarnation, since_ms, zone, weight, level_min, level_max,
 *             lease, holds, leads, links[], clients[], fingerprint (hex) }
 *             lease: "live", "suspect", "lapsed", "gone", or null: known to the meta leader alone
 *  place    { scheme, host, port, url }        of links without scheme; url: as a client writes it
 *  partition{ partition, replicas[], preferred, version, leader, members[], settled }
 *             leader, members: of the raft group as reported, null: not known; settled: as the map has it
 *  service  { alias, id, address, port, scheme, url, zone, weight, health, load, ttl_ms, until_ms,
 *             expired, epoch }
 *  token    { id (the first eight digits of its hash), uses_left, expires_ms }
 */
#ifndef TERN_CLUSTER_REGISTRY_JSON_H
#define TERN_CLUSTER_REGISTRY_JSON_H

#include "cluster/lease.h"
#include "cluster/lookup.h"
#include "cluster/placement.h"
#include "cluster/registry_state.h"
#include "core/base/json.h"

/* What a node knows beside REG. */
struct registry_view {
    uint64_t number;      /* of this node; 0: it is no member yet */
    uint64_t meta_leader; /* 0: it knows of none */
    uint64_t now_ms;      /* the monotonic clock of own and leases */
    const struct lease_own *own;
    const struct lease_table *leases; /* NULL: it is not the meta leader */
    const struct placement_report
        *reports; /* of all partitions; is_known says of which it has one */
};

/* Each adds one value under that key (NULL in an array and at the top). */
void registry_json_status(struct json_writer *writer, const char *key,
                          const struct registry_state *state, const struct registry_view *view);
void registry_json_cluster(struct json_writer *writer, const char *key,
                           const struct registry_state *state);
void registry_json_node(struct json_writer *writer, const char *key,
                        const struct registry_state *state, const struct registry_view *view);
void registry_json_members(struct json_writer *writer, const char *key,
                           const struct registry_state *state, const struct registry_view *view);
void registry_json_partitions(struct json_writer *writer, const char *key,
                              const struct registry_state *state, const struct registry_view *view);
void registry_json_settings(struct json_writer *writer, const char *key,
                            const struct registry_state *state);
void registry_json_tokens(struct json_writer *writer, const char *key,
                          const struct registry_state *state);

/* Of one alias, or of all where it is empty; from the first on, count_max at most. */
void registry_json_services(struct json_writer *writer, const char *key,
                            const struct registry_state *state, struct slice alias, uint32_t first,
                            uint32_t count_max);
/* What lookup_services() found, in its order. */
void registry_json_found(struct json_writer *writer, const char *key,
                         const struct registry_state *state,
                         const struct registry_service *const *found, uint32_t count);
/* { node, name, url, host, port, scheme, partition, why }: what lookup_client() found. */
void registry_json_client(struct json_writer *writer, const char *key,
                          const struct lookup_node *node);

#endif
