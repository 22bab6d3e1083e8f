/*
 * alias: topic aliases of one connection, both directions.
 *
 * Floor:  session. Lives and ends with the connection [MQTT-3.3.2-7].
 * Thread: the shard that owns the connection.
 * Memory: topics are copied; at most the granted maximum of them per direction.
 */
#ifndef TERN_SESSION_ALIAS_H
#define TERN_SESSION_ALIAS_H

#include "core/base/err.h"
#include "core/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

/* What the client taught us: alias -> topic. Zero-initialised is empty. */
struct alias_in {
    struct slice *topics; /* [alias - 1]; allocated with the first alias */
    uint16_t count_max;   /* our Topic Alias Maximum */
};

void alias_in_deinit(struct alias_in *in);

/*
 * Resolve a PUBLISH: with a topic, learn it; without one, find it. topic is in and out; a found
 * topic is valid until the alias is taught anew.
 * ERR_TOPIC_ALIAS: 0 or beyond the maximum [MQTT-3.3.2-9]; ERR_PROTOCOL: not taught yet.
 */
enum err alias_in_resolve(struct alias_in *in, uint16_t alias, struct slice *topic);

/* What we teach the client: topic -> alias, first come, first served. Zero-initialised is empty. */
struct alias_out {
    struct alias_out_slot *slots; /* open addressing, twice count_max */
    uint16_t count, count_max;
};

void alias_out_deinit(struct alias_out *out);

/*
 * The alias for a topic; *is_new: the topic must still be sent along, this once. 0: no alias (the
 * table is full, or the topic is too short to gain by one).
 */
uint16_t alias_out_find(struct alias_out *out, struct slice topic, uint64_t topic_hash,
                        bool *is_new);

#endif
