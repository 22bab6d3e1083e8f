/*
 * Topics from one side to the other: the first row that matches takes its prefix off and puts the other
 * side's before what is left.
 */
#include "core/bridge/bridge_parts.h"
#include "core/pubsub/topic.h"

bool remap(const struct bridge_config *config, enum bridge_direction direction, struct slice topic,
           struct slice *prefix, struct slice *rest)
{
    for (uint32_t i = 0; i < config->topic_count; i++) {
        const struct bridge_topic *row = &config->topics[i];
        bool is_out = direction == BRIDGE_OUT;
        if ((row->direction & direction) == 0 ||
            !topic_matches(slice_text(is_out ? row->local : row->remote), topic)) {
            continue;
        }
        struct slice off = slice_text(is_out ? row->local_prefix : row->remote_prefix);
        struct slice before = slice_text(is_out ? row->remote_prefix : row->local_prefix);
        if (!slice_starts_with(topic, off)) {
            continue; /* "a/#" matches "a", which has no "a/" to take off */
        }
        struct slice left = slice_skip(topic, off.count);
        if (before.count + left.count == 0 || before.count + left.count > REMAP_BYTES_MAX) {
            return false;
        }
        *prefix = before;
        *rest = left;
        return true;
    }
    return false;
}
