/*
 * topic: names and filters.
 *
 * Floor:  pubsub; pure.
 */
#ifndef TERN_PUBSUB_TOPIC_H
#define TERN_PUBSUB_TOPIC_H

#include "core/base/err.h"
#include "core/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * A topic name a client may publish to: 1 to 65535 bytes, valid UTF-8 was checked by the decoder,
 * no wildcard [MQTT-3.3.2-2], at most levels_max levels. ERR_TOPIC, ERR_QUOTA (too deep).
 */
enum err topic_name_check(struct slice name, uint32_t levels_max);

/* A filter as subscribed, split into share name and filter proper. */
struct topic_filter {
    struct slice share; /* empty: not shared */
    struct slice filter;
    bool has_wildcard;
};

/*
 * Check and split a topic filter: wildcards alone in their level, '#' last [MQTT-4.7.1-1]
 * [MQTT-4.7.1-2], at most levels_max levels; "$share/name/filter" with a name of one character or
 * more and no / + # [MQTT-4.8.2-1] [MQTT-4.8.2-2]. ERR_FILTER, ERR_QUOTA (too deep).
 * v3 clients may not have meant it, but $share works for them as well, as in other brokers.
 */
enum err topic_filter_parse(struct slice text, uint32_t levels_max, struct topic_filter *out);

/*
 * Check a filter that is not split: "$share" is a level like any other, as in rules about topics.
 * 1 to 65535 bytes, wildcards as above, any number of levels. ERR_FILTER.
 */
enum err topic_filter_check(struct slice filter);

/* Does the filter (without $share) match the name? '$' rule of 4.7.2 included. */
bool topic_matches(struct slice filter, struct slice name);

/* Is it what bridges of mosquitto tell, "$SYS/broker/connection/NAME/state"? Clients may publish it. */
bool topic_is_bridge_state(struct slice name);

/* Is every name that inner matches also matched by outer? Both are filters or names. */
bool topic_covers(struct slice outer, struct slice inner);

/* Is there a name that both match? Both are filters or names. */
bool topic_overlaps(struct slice a, struct slice b);

#endif
