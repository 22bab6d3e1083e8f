/*
 * config_parts: what the files of config share among themselves; private to core/base/config*.c.
 *
 *   config_table.c    the two .def files as arrays; find a key, find the nearest one
 *   config_value.c    one value: text to field, field to text
 *   config_report.c   findings, and the memory that holds texts
 *   config_parse.c    sources to lines
 *   config_line.c     a line to its option
 *   config_listener.c what was read to listeners: addresses, names
 *   config_security.c what guards them: rules between options of TLS, passwords, anonymity
 *   config_bridge.c   lines of bridges, and what they make together
 *   config_cluster.c  what makes it a node of a cluster: all or none
 *   config_address.c  IP addresses as text
 *   config_check.c    what one line alone cannot know
 *   config.c          load, diff, reload
 *   config_command.c  main()'s arguments
 *   config_help.c     --help, --example-config
 */
#ifndef TERN_BASE_CONFIG_PARTS_H
#define TERN_BASE_CONFIG_PARTS_H

#include "core/base/config.h"

/* ---- config_table.c ------------------------------------------------------------------------ */

enum config_type {
    TYPE_BOOL,
    TYPE_COUNT,
    TYPE_LIMIT,
    TYPE_BYTES,
    TYPE_SECONDS,
    TYPE_EXPIRY,
    TYPE_TEXT,
    TYPE_LIST,
    TYPE_CHOICE,
    TYPE_FLAGS,
    TYPE_GROUP, /* a heading for help and example; no option */
};

enum config_scope { SCOPE_GLOBAL, SCOPE_LISTENER, SCOPE_EITHER, SCOPE_BRIDGE };

struct config_option {
    const char *key, *help; /* a group: "" and its title */
    enum config_type type;
    enum config_scope scope;
    bool is_reloadable;
    uint64_t default_number, min, max;
    const char *default_text; /* TYPE_TEXT */
    const char *const *words; /* TYPE_CHOICE, TYPE_FLAGS */
    uint32_t word_count;
    /* offset in struct config, struct listener_config, struct bridge_config */
    uint32_t global_at, listener_at, bridge_at;
};

enum { CONFIG_NOWHERE = UINT32_MAX }; /* an offset: the struct has no such field */

enum { CONFIG_OPTION_COUNT_MAX = 192 };

extern const struct config_option config_options[];
extern const uint32_t config_option_count; /* groups included */

enum config_line_kind {
    LINE_OPTION, /* a row of config.def */
    LINE_LISTENER,
    LINE_PORT,
    LINE_BIND_ADDRESS,
    LINE_LISTENER_OWN, /* listener_ and the key of an EITHER option: for this listener alone */
    LINE_INCLUDE_DIR,
    LINE_CONNECTION,
    LINE_ADDRESS,
    LINE_TOPIC,
    LINE_RESTART_TIMEOUT,
    LINE_OTHER_NAME, /* of the option remote_ and this key */
    LINE_ACCEPTED,
    LINE_REFUSED,
};

/* A row of config_mosquitto.def. */
struct config_key {
    const char *key;
    enum config_line_kind kind;
    const char *harmless, *argument, *text;
};

extern const struct config_key config_keys[];
extern const uint32_t config_key_count;

/* NULL: no such row. */
const struct config_option *config_option_find(struct slice key);
const struct config_key *config_key_find(struct slice key);

/* The known key that looks most like it; NULL when none is near. */
const char *config_key_nearest(struct slice key);

/* The option's number in config_options. */
static inline uint32_t config_option_index(const struct config_option *option)
{
    return (uint32_t)(option - config_options);
}

/* ---- config_report.c ----------------------------------------------------------------------- */

/* Blocks that only grow and go all at once. *memory starts as NULL. NULL: memory is exhausted. */
void *config_memory_take(struct config_memory **memory, size_t bytes);
const char *config_memory_copy(struct config_memory **memory, struct slice text);
void config_memory_free(struct config_memory *memory);

/* What was written, fit for a message: control characters as ?, long ones cut with "...". */
enum { CONFIG_QUOTE_BYTES = 80 };
const char *config_quote(struct slice text, char out[CONFIG_QUOTE_BYTES]);

/* ---- config_value.c ------------------------------------------------------------------------ */

enum { CONFIG_WHY_BYTES = 320, CONFIG_VALUE_BYTES = 4200 };

/* The option's default into the field. */
void config_value_default(const struct config_option *option, void *field);

/*
 * Read value into the field. adds: an option of flags or a list adds to what is there. ERR_INVALID:
 * nothing changed, why says what is wrong and what to write. ERR_NOMEM.
 */
enum err config_value_parse(const struct config_option *option, struct slice value, bool adds,
                            struct config_memory **memory, void *field, char why[CONFIG_WHY_BYTES]);

/* As it would stand in the file. Returns out. */
const char *config_value_text(const struct config_option *option, const void *field,
                              char out[CONFIG_VALUE_BYTES]);

bool config_value_equal(const struct config_option *option, const void *a, const void *b);

/* Texts are copied into memory. ERR_NOMEM. */
enum err config_value_copy(const struct config_option *option, struct config_memory **memory,
                           void *target, const void *source);

/* What may be written, for help: "20 to 65535", "true or false", "one of a, b, c". */
const char *config_value_expected(const struct config_option *option, char out[CONFIG_WHY_BYTES]);

/* Decimal digits only. */
bool config_number_parse(struct slice text, uint64_t *out);
bool config_bool_parse(struct slice text, bool *out);

/* The next word between blanks (and commas, if asked for); false at the end. *rest moves on. */
bool config_word_next(struct slice *rest, bool commas_too, struct slice *word);
struct slice config_trim(struct slice text);

static inline void *config_field(struct config *config, const struct config_option *option)
{
    ASSERT(option->global_at != CONFIG_NOWHERE);
    return (char *)config + option->global_at;
}

static inline void *config_listener_field(struct listener_config *listener,
                                          const struct config_option *option)
{
    ASSERT(option->listener_at != CONFIG_NOWHERE);
    return (char *)listener + option->listener_at;
}

static inline void *config_bridge_field(struct bridge_config *bridge,
                                        const struct config_option *option)
{
    ASSERT(option->bridge_at != CONFIG_NOWHERE);
    return (char *)bridge + option->bridge_at;
}

/* ---- config_parse.c ------------------------------------------------------------------------ */

/* Sources in the order of their weight. */
enum config_rank { RANK_DEFAULT, RANK_FILE, RANK_ENVIRONMENT, RANK_COMMAND };

/* Where an option got its value. */
struct config_origin {
    enum config_rank rank;
    const char *source;
    uint32_t line;
};

/* A listener while it is being read. */
struct config_section {
    struct listener_config listener;
    struct config_origin origin; /* of its `listener` line */
    const char *host;            /* as written; empty: none */
    uint32_t port;
    bool is_replaced; /* a heavier source brought its own listeners */
    struct config_origin origins[CONFIG_OPTION_COUNT_MAX];
};

/* A bridge while it is being read. */
struct config_bridge_section {
    struct bridge_config bridge;
    struct config_origin origin; /* of its `connection` line */
    struct config_origin origins[CONFIG_OPTION_COUNT_MAX];
};

struct config_loader {
    const struct config_sources *sources;
    struct config *config;
    struct config_report *report;

    /* Section 0 is the default listener; template: what a new one starts with. */
    struct config_section *sections;
    uint32_t section_count;
    struct config_section template;
    uint32_t current;               /* section that lines belong to */
    bool is_for_all;                /* environment, and flags before the first --listener */
    bool default_is_wanted;         /* port or bind_address was given */
    enum config_rank listener_rank; /* of the heaviest `listener` so far */
    struct config_origin origins[CONFIG_OPTION_COUNT_MAX]; /* of global values */

    struct config_bridge_section
        *bridges[LIMIT_CONFIG_BRIDGES]; /* heap; the last one is being read */
    uint32_t bridge_count;
    bool is_bridge_refused; /* lines belong to a `connection` that was in error */

    struct config_origin here; /* the line being read */
    const char *folder_file;   /* the main file while it is read, else NULL: may include */
    uint32_t line_count, included_count;
    bool is_out_of_memory;
};

/* Read everything; findings go into the report. ERR_NOT_FOUND: no file; ERR_NOMEM. */
enum err config_parse(struct config_loader *loader);

/* Read every *.conf of a folder; only while the main file is read. */
void config_include(struct config_loader *loader, struct slice folder);

/* A finding of the line being read; of the place where something got its value. */
#define config_say(loader, severity, ...) \
    config_say_at((loader), &(loader)->here, (severity), __VA_ARGS__)
#define config_say_at(loader, origin, severity, ...) \
    config_report_add((loader)->report, (severity), (origin)->source, (origin)->line, __VA_ARGS__)

/* ---- config_line.c ------------------------------------------------------------------------- */

/* Obey one line, or add findings. */
void config_line(struct config_loader *loader, struct slice key, struct slice value);

/* Read value into the field, remember where from; a finding if it is bad. */
void config_field_set(struct config_loader *loader, const struct config_option *option,
                      struct slice value, void *field, struct config_origin *origin);

/* ---- config_bridge.c ------------------------------------------------------------------------ */

/* A line of a bridge: an option of scope BRIDGE, or one of the kinds of its own. */
void config_bridge_option(struct config_loader *loader, const struct config_option *option,
                          struct slice value);
void config_bridge_line(struct config_loader *loader, const struct config_key *key,
                        struct slice value);

/* Sections to config->bridges, and the listener they come in by; after config_listeners_build(). */
enum err config_bridges_build(struct config_loader *loader);
void config_bridges_forget(
    struct config_loader *loader); /* what was read; the config keeps its own */

/* ---- config_listener.c --------------------------------------------------------------------- */

/* Sections to config->listeners. ERR_NOMEM. */
enum err config_listeners_build(struct config_loader *loader);

/* ---- config_security.c --------------------------------------------------------------------- */

/* Settle who may be anonymous there, and judge all that guards it. */
void config_security_settle(struct config_loader *loader, const struct config_section *section,
                            struct listener_config *listener);

/* It guards a listener: where it has no effect its owner is wrong about being safe. */
bool config_is_guard(const struct config_option *option);

void config_keylog_check(struct config_loader *loader);

/* ---- config_address.c ---------------------------------------------------------------------- */

/*
 * An IP address as text, brackets allowed: canonical text without brackets into out. false: it is
 * none.
 */
bool config_address_read(struct slice text, char out[CONFIG_ADDRESS_BYTES]);
bool config_address_is_loopback(const char *address);

/* "127.0.0.1:8888", "[::1]:8888", "localhost:8888". false: it is none of these. */
bool config_place_read(struct slice text, char address[CONFIG_ADDRESS_BYTES], uint64_t *port);

/* ---- config_cluster.c ---------------------------------------------------------------------- */

enum err config_cluster_build(struct config_loader *loader);

/* ---- config_check.c ------------------------------------------------------------------------ */

/* After config_parse(): build the listeners and judge the whole. ERR_NOMEM. */
enum err config_check(struct config_loader *loader);

/* Where a global option got its value; of a default the configuration as a whole. */
const struct config_origin *config_origin_of(const struct config_loader *loader, const char *key);

#endif
