#include "core/pubsub/topic.h"

enum { TOPIC_BYTES_MAX = 65535 };

/* The level of text that begins at start: up to the next '/' or the end. */
static struct slice level_at(struct slice text, size_t start)
{
    struct slice rest = slice_skip(text, start);
    return slice_head(rest, slice_find(rest, '/'));
}

static bool is_plus(struct slice level)
{
    return level.count == 1 && level.data[0] == '+';
}

static bool is_hash(struct slice level)
{
    return level.count == 1 && level.data[0] == '#';
}

static bool has_wildcard_byte(struct slice text)
{
    return slice_find(text, '+') < text.count || slice_find(text, '#') < text.count;
}

static bool starts_with_dollar(struct slice text)
{
    return text.count > 0 && text.data[0] == '$';
}

/* Stops counting one past the bound: a hostile topic is not worth more. */
static bool has_more_levels_than(struct slice text, uint32_t levels_max)
{
    uint32_t levels = 1;
    for (size_t at = slice_find(text, '/'); at < text.count;
         at += 1 + slice_find(slice_skip(text, at + 1), '/')) {
        levels++;
        if (levels > levels_max) {
            return true;
        }
    }
    return levels > levels_max;
}

enum err topic_name_check(struct slice name, uint32_t levels_max)
{
    if (name.count == 0 || name.count > TOPIC_BYTES_MAX) {
        return ERR_TOPIC; /* [MQTT-4.7.3-1] [MQTT-4.7.3-3] */
    }
    if (has_wildcard_byte(name)) {
        return ERR_TOPIC; /* [MQTT-3.3.2-2] [v3:MQTT-3.3.2-2] */
    }
    return has_more_levels_than(name, levels_max) ? ERR_QUOTA : OK;
}

/* "$share/name/filter" without its first two levels; text unchanged if it is not of that kind. */
static enum err split_share(struct slice text, struct topic_filter *out)
{
    static const struct slice prefix = SLICE("$share/");

    out->share = slice_head(text, 0);
    out->filter = text;
    if (!slice_starts_with(text, prefix)) {
        return OK;
    }
    struct slice share = level_at(text, prefix.count);
    if (share.count == 0 || has_wildcard_byte(share)) {
        return ERR_FILTER; /* [MQTT-4.8.2-1] */
    }
    struct slice rest = slice_skip(text, prefix.count + share.count);
    if (rest.count < 2) {
        return ERR_FILTER; /* [MQTT-4.8.2-2]: no '/', or nothing after it */
    }
    out->share = share;
    out->filter = slice_skip(rest, 1);
    return OK;
}

/* Wildcards fill their level, '#' is the last one; tells whether there is any. */
static enum err check_wildcards(struct slice filter, bool *has_wildcard)
{
    *has_wildcard = has_wildcard_byte(filter);
    if (!*has_wildcard) {
        return OK;
    }
    for (size_t start = 0; start <= filter.count;) {
        struct slice level = level_at(filter, start);
        size_t end = start + level.count;
        if (is_hash(level) && end < filter.count) {
            return ERR_FILTER; /* [MQTT-4.7.1-1] [v3:MQTT-4.7.1-2] */
        }
        if (level.count > 1 && has_wildcard_byte(level)) {
            return ERR_FILTER; /* [MQTT-4.7.1-1] [MQTT-4.7.1-2] [v3:MQTT-4.7.1-3] */
        }
        start = end + 1;
    }
    return OK;
}

enum err topic_filter_parse(struct slice text, uint32_t levels_max, struct topic_filter *out)
{
    struct topic_filter parsed;

    if (text.count == 0 || text.count > TOPIC_BYTES_MAX) {
        return ERR_FILTER; /* [MQTT-4.7.3-1] [MQTT-4.7.3-3] */
    }
    TRY(split_share(text, &parsed));
    TRY(check_wildcards(parsed.filter, &parsed.has_wildcard));
    if (has_more_levels_than(parsed.filter, levels_max)) {
        return ERR_QUOTA;
    }
    *out = parsed;
    return OK;
}

enum err topic_filter_check(struct slice filter)
{
    bool has_wildcard;

    if (filter.count == 0 || filter.count > TOPIC_BYTES_MAX) {
        return ERR_FILTER; /* [MQTT-4.7.3-1] [MQTT-4.7.3-3] */
    }
    return check_wildcards(filter, &has_wildcard);
}

/*
 * One walk answers both questions, as a name is a filter that matches only itself: level by level,
 * outer must allow everything that inner allows.
 */
static bool walk_covers(struct slice outer, struct slice inner)
{
    size_t outer_start = 0, inner_start = 0;

    for (;;) {
        struct slice outer_level = level_at(outer, outer_start);
        struct slice inner_level = level_at(inner, inner_start);
        if (is_hash(outer_level)) {
            return true;
        }
        if (is_hash(inner_level)) {
            return false; /* inner goes deeper than any outer without '#' */
        }
        if (!is_plus(outer_level) && !slice_equal(outer_level, inner_level)) {
            return false;
        }
        outer_start += outer_level.count + 1;
        inner_start += inner_level.count + 1;
        bool outer_ends = outer_start > outer.count, inner_ends = inner_start > inner.count;
        if (inner_ends) {
            /* "a/#" also matches "a" (4.7.1.2). */
            return outer_ends || is_hash(slice_skip(outer, outer_start));
        }
        if (outer_ends) {
            return false;
        }
    }
}

/* [MQTT-4.7.2-1]: a filter that begins with a wildcard does not reach names that begin with '$'. */
static bool dollar_forbids(struct slice outer, struct slice inner)
{
    return starts_with_dollar(inner) && outer.count > 0 &&
           (outer.data[0] == '+' || outer.data[0] == '#');
}

bool topic_matches(struct slice filter, struct slice name)
{
    if (filter.count == 0 || name.count == 0 || dollar_forbids(filter, name)) {
        return false;
    }
    return walk_covers(filter, name);
}

bool topic_covers(struct slice outer, struct slice inner)
{
    if (outer.count == 0 || inner.count == 0 || dollar_forbids(outer, inner)) {
        return false;
    }
    /* No name is empty, so that these two, and only they, reach no further than a longer filter. */
    if (is_hash(inner)) {
        inner = slice_text("+/#");
    } else if (slice_is(inner, "/#")) {
        inner = slice_text("/+/#");
    }
    return walk_covers(outer, inner);
}

/*
 * Level by level: what both levels allow is never empty unless two different words meet, so the
 * first such pair is the only "no" before an end. A '#' takes whatever the other still has.
 */
static bool walk_overlaps(struct slice a, struct slice b)
{
    size_t a_start = 0, b_start = 0;

    for (;;) {
        struct slice a_level = level_at(a, a_start), b_level = level_at(b, b_start);
        if (is_hash(a_level) || is_hash(b_level)) {
            return true;
        }
        if (!is_plus(a_level) && !is_plus(b_level) && !slice_equal(a_level, b_level)) {
            return false;
        }
        bool is_empty = a_start + b_start == 0 && (a_level.count == 0 || b_level.count == 0);
        a_start += a_level.count + 1;
        b_start += b_level.count + 1;
        bool a_ends = a_start > a.count, b_ends = b_start > b.count;
        if (a_ends && b_ends) {
            return true;
        }
        if (a_ends || b_ends) {
            /* "a/#" also matches "a" (4.7.1.2); that "/#" does not match "+" is as no name is "". */
            return !is_empty && is_hash(a_ends ? slice_skip(b, b_start) : slice_skip(a, a_start));
        }
    }
}

bool topic_overlaps(struct slice a, struct slice b)
{
    if (a.count == 0 || b.count == 0 || dollar_forbids(a, b) || dollar_forbids(b, a)) {
        return false;
    }
    return walk_overlaps(a, b);
}

bool topic_is_bridge_state(struct slice name)
{
    return topic_matches(slice_text("$SYS/broker/connection/+/state"), name);
}
