/*
 * The two tables of keys as arrays, and how a key is found in them.
 */
#include "core/base/config_parts.h"

#include <stdlib.h>

#define WORD(name, word) word,
static const char *const words_durability[] = {CONFIG_DURABILITY(WORD)};
static const char *const words_queue_policy[] = {CONFIG_QUEUE_POLICY(WORD)};
static const char *const words_log_format[] = {CONFIG_LOG_FORMAT(WORD)};
static const char *const words_protocol[] = {CONFIG_PROTOCOL(WORD)};
static const char *const words_socket_domain[] = {CONFIG_SOCKET_DOMAIN(WORD)};
static const char *const words_proxy_protocol[] = {CONFIG_PROXY_PROTOCOL(WORD)};
static const char *const words_require[] = {CONFIG_REQUIRE(WORD)};
static const char *const words_tls_version[] = {CONFIG_TLS_VERSION(WORD)};
static const char *const words_log_type[] = {CONFIG_LOG_TYPE(WORD)};
static const char *const words_start_type[] = {CONFIG_START_TYPE(WORD)};
static const char *const words_bridge_version[] = {CONFIG_BRIDGE_VERSION(WORD)};
static const char *const words_version[] = {CONFIG_VERSION(WORD)};
#undef WORD

#define COUNT_OF(array) (uint32_t)(sizeof(array) / sizeof((array)[0]))

#define GLOBAL_AT_GLOBAL(field)     offsetof(struct config, field)
#define GLOBAL_AT_EITHER(field)     offsetof(struct config, field)
#define GLOBAL_AT_LISTENER(field)   CONFIG_NOWHERE
#define LISTENER_AT_GLOBAL(field)   CONFIG_NOWHERE
#define LISTENER_AT_EITHER(field)   offsetof(struct listener_config, field)
#define LISTENER_AT_LISTENER(field) offsetof(struct listener_config, field)
#define GLOBAL_AT_BRIDGE(field)     CONFIG_NOWHERE
#define LISTENER_AT_BRIDGE(field)   CONFIG_NOWHERE
#define BRIDGE_AT_GLOBAL(field)     CONFIG_NOWHERE
#define BRIDGE_AT_EITHER(field)     CONFIG_NOWHERE
#define BRIDGE_AT_LISTENER(field)   CONFIG_NOWHERE
#define BRIDGE_AT_BRIDGE(field)     offsetof(struct bridge_config, field)

/* clang-format off */
#define ROW(field_, key_, scope_, reload_, help_)                                                   \
    .key = (key_), .help = (help_), .scope = SCOPE_##scope_, .is_reloadable = (reload_),            \
    .global_at = GLOBAL_AT_##scope_(field_), .listener_at = LISTENER_AT_##scope_(field_), \
    .bridge_at = BRIDGE_AT_##scope_(field_)

const struct config_option config_options[] = {
#define OPTION_GROUP(title) {.key = "", .help = (title), .type = TYPE_GROUP},
#define OPTION(field, key, scope, type_, def, min_, max_, reload, help)                             \
    {ROW(field, key, scope, reload, help), .type = TYPE_##type_, .default_number = (def),           \
     .min = (min_), .max = (max_)},
#define OPTION_TEXT(field, key, scope, def, min_, max_, reload, help)                               \
    {ROW(field, key, scope, reload, help), .type = TYPE_TEXT, .default_text = (def),                \
     .min = (min_), .max = (max_)},
#define OPTION_LIST(field, key, scope, max_, reload, help)                                          \
    {ROW(field, key, scope, reload, help), .type = TYPE_LIST, .min = 1, .max = (max_)},
#define OPTION_CHOICE(field, key, scope, values, def, reload, help)                                 \
    {ROW(field, key, scope, reload, help), .type = TYPE_CHOICE, .default_number = (def),            \
     .words = words_##values, .word_count = COUNT_OF(words_##values)},
#define OPTION_FLAGS(field, key, scope, values, def, reload, help)                                  \
    {ROW(field, key, scope, reload, help), .type = TYPE_FLAGS, .default_number = (def),             \
     .words = words_##values, .word_count = COUNT_OF(words_##values)},
#include "core/config.def"
};
/* clang-format on */

const uint32_t config_option_count = COUNT_OF(config_options);
_Static_assert(COUNT_OF(config_options) <= CONFIG_OPTION_COUNT_MAX, "config_parts.h: more options");

#define OPTION(field, key, scope, type, def, min, max, reload, help)     \
    _Static_assert((__int128)(min) <= (def) && (__int128)(def) <= (max), \
                   #field ": default outside its own range");
#define OPTION_TEXT(field, key, scope, def, min, max, reload, help) \
    _Static_assert((min) < sizeof(def) && sizeof(def) <= (max) + 1, #field ": default too long");
#define OPTION_CHOICE(field, key, scope, values, def, reload, help) \
    _Static_assert((def) < COUNT_OF(words_##values), #field ": default is no word of the choice");
#include "core/config.def"

const struct config_key config_keys[] = {
#define CONFIG_LINE(key_, name, argument_, help) \
    {.key = (key_), .kind = LINE_##name, .argument = (argument_), .text = (help)},
#define MOSQUITTO_ACCEPTED(key_, why) {.key = (key_), .kind = LINE_ACCEPTED, .text = (why)},
#define MOSQUITTO_REFUSED(key_, harmless_, instead) \
    {.key = (key_), .kind = LINE_REFUSED, .harmless = (harmless_), .text = (instead)},
#include "core/config_mosquitto.def"
};
const uint32_t config_key_count = COUNT_OF(config_keys);

const struct config_option *config_option_find(struct slice key)
{
    for (uint32_t i = 0; i < config_option_count; i++) {
        const struct config_option *option = &config_options[i];
        if (option->type != TYPE_GROUP && slice_is(key, option->key)) {
            return option;
        }
    }
    return NULL;
}

static bool key_matches(const char *row, struct slice key)
{
    size_t bytes = strlen(row);
    if (row[bytes - 1] == '*') {
        return key.count >= bytes && slice_starts_with(key, slice_of(row, bytes - 1));
    }
    return slice_is(key, row);
}

const struct config_key *config_key_find(struct slice key)
{
    for (uint32_t i = 0; i < config_key_count; i++) {
        if (key_matches(config_keys[i].key, key)) {
            return &config_keys[i];
        }
    }
    return NULL;
}

enum { NEAR_BYTES_MAX = 48 }; /* longer keys than any of ours are near to none */

/* Letters to insert, delete, replace or swap with their neighbour (V. Levenshtein, F. Damerau). */
static uint32_t edit_distance(struct slice a, struct slice b)
{
    uint32_t rows[3][NEAR_BYTES_MAX + 1];
    ASSERT(a.count <= NEAR_BYTES_MAX && b.count <= NEAR_BYTES_MAX);

    for (uint32_t j = 0; j <= b.count; j++) {
        rows[0][j] = j;
    }
    for (uint32_t i = 1; i <= a.count; i++) {
        const uint32_t *before = rows[(i - 1) % 3], *twice_before = rows[(i + 1) % 3];
        uint32_t *row = rows[i % 3];
        row[0] = i;
        for (uint32_t j = 1; j <= b.count; j++) {
            uint32_t best = before[j - 1] + (a.data[i - 1] != b.data[j - 1]);
            best = before[j] + 1 < best ? before[j] + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            bool is_swap = i > 1 && j > 1 && a.data[i - 1] == b.data[j - 2] &&
                           a.data[i - 2] == b.data[j - 1];
            if (is_swap && twice_before[j - 2] + 1 < best) {
                best = twice_before[j - 2] + 1;
            }
            row[j] = best;
        }
    }
    return rows[a.count % 3][b.count];
}

static void nearer(struct slice key, const char *candidate, uint32_t *best, const char **nearest)
{
    struct slice other = slice_text(candidate);
    size_t apart = key.count > other.count ? key.count - other.count : other.count - key.count;
    if (other.count == 0 || other.count > NEAR_BYTES_MAX || apart >= *best) {
        return;
    }
    uint32_t distance = edit_distance(key, other);
    if (distance < *best) {
        *best = distance;
        *nearest = candidate;
    }
}

const char *config_key_nearest(struct slice key)
{
    if (key.count < 2 || key.count > NEAR_BYTES_MAX) {
        return NULL;
    }
    const char *nearest = NULL;
    uint32_t best = key.count < 9 ? 3 : (uint32_t)key.count / 3 + 1; /* a third may be wrong */
    for (uint32_t i = 0; i < config_option_count; i++) {
        nearer(key, config_options[i].key, &best, &nearest);
    }
    for (uint32_t i = 0; i < config_key_count; i++) {
        nearer(key, config_keys[i].key, &best, &nearest);
    }
    return nearest;
}
