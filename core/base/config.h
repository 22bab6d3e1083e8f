/*
 * config: what the operator wants, read once, checked as a whole, never changed afterwards.
 *
 * Floor:  base. Addresses stay text here: sockets are of a higher floor.
 * Thread: any, read-only after config_load(). A reload makes a new one beside it.
 * Memory: config_free() frees the struct and every text in it.
 *
 * Where a value comes from, the later wins: default, file (with its include_dir), environment
 * (TERN_MAX_PACKET_SIZE), command line (--max_packet_size). The table is core/config.def; the keys
 * of mosquitto that we accept without effect or refuse are core/config_mosquitto.def.
 */
#ifndef TERN_BASE_CONFIG_H
#define TERN_BASE_CONFIG_H

#include "core/base/err.h"
#include "core/base/slice.h"
#include "core/limits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* The words that options of a choice or of flags take: enum name, word in the file. */
/* clang-format off */
#define CONFIG_DURABILITY(X) /* in the order of enum store_durability */                            \
    X(CONFIG_FSYNC,   "fsync")                                                                      \
    X(CONFIG_QUORUM,  "quorum")                                                                     \
    X(CONFIG_RELAXED, "relaxed")
#define CONFIG_QUEUE_POLICY(X)                                                                      \
    X(QUEUE_DROP_OLDEST, "drop_oldest")                                                             \
    X(QUEUE_DROP_NEWEST, "drop_newest")                                                             \
    X(QUEUE_REJECT,      "reject")
#define CONFIG_LOG_FORMAT(X) /* in the order of enum log_format */                                  \
    X(CONFIG_LOG_LOGFMT, "logfmt")                                                                  \
    X(CONFIG_LOG_JSON,   "json")
#define CONFIG_PROTOCOL(X)                                                                          \
    X(LISTENER_MQTT,       "mqtt")                                                                  \
    X(LISTENER_WEBSOCKETS, "websockets")
#define CONFIG_SOCKET_DOMAIN(X)                                                                     \
    X(DOMAIN_ANY,  "any")                                                                           \
    X(DOMAIN_IPV4, "ipv4")                                                                          \
    X(DOMAIN_IPV6, "ipv6")
#define CONFIG_PROXY_PROTOCOL(X)                                                                    \
    X(PROXY_OFF,  "off")                                                                            \
    X(PROXY_V1,   "1")                                                                              \
    X(PROXY_V2,   "2")                                                                              \
    X(PROXY_AUTO, "auto")
#define CONFIG_LOG_TYPE(X) /* the first five in the order of enum log_level */                      \
    X(LOG_TYPE_ERROR,       "error")                                                                \
    X(LOG_TYPE_WARNING,     "warning")                                                              \
    X(LOG_TYPE_NOTICE,      "notice")                                                               \
    X(LOG_TYPE_INFORMATION, "information")                                                          \
    X(LOG_TYPE_DEBUG,       "debug")                                                                \
    X(LOG_TYPE_SUBSCRIBE,   "subscribe")                                                            \
    X(LOG_TYPE_UNSUBSCRIBE, "unsubscribe")                                                          \
    X(LOG_TYPE_WEBSOCKETS,  "websockets")
#define CONFIG_VERSION(X)                                                                           \
    X(ACCEPT_MQTT31,  "3")                                                                          \
    X(ACCEPT_MQTT311, "4")                                                                          \
    X(ACCEPT_MQTT5,   "5")
#define CONFIG_REQUIRE(X) /* in the order of enum tls_ask */                                        \
    X(REQUIRE_FALSE,    "false")                                                                    \
    X(REQUIRE_TRUE,     "true")                                                                     \
    X(REQUIRE_OPTIONAL, "optional")
#define CONFIG_TLS_VERSION(X)                                                                       \
    X(TLS_VERSION_1_2, "tlsv1.2")                                                                   \
    X(TLS_VERSION_1_3, "tlsv1.3")
#define CONFIG_START_TYPE(X)                                                                        \
    X(START_AUTOMATIC, "automatic")                                                                 \
    X(START_LAZY,      "lazy")                                                                      \
    X(START_ONCE,      "once")
#define CONFIG_BRIDGE_VERSION(X)                                                                    \
    X(BRIDGE_MQTT31,  "mqttv31")                                                                    \
    X(BRIDGE_MQTT311, "mqttv311")                                                                   \
    X(BRIDGE_MQTT50,  "mqttv50")
/* clang-format on */

#define CONFIG_WORD(name, word) name,
enum config_durability { CONFIG_DURABILITY(CONFIG_WORD) };
enum config_queue_policy { CONFIG_QUEUE_POLICY(CONFIG_WORD) };
enum config_log_format { CONFIG_LOG_FORMAT(CONFIG_WORD) };
enum config_protocol { CONFIG_PROTOCOL(CONFIG_WORD) };
enum config_socket_domain { CONFIG_SOCKET_DOMAIN(CONFIG_WORD) };
enum config_proxy_protocol { CONFIG_PROXY_PROTOCOL(CONFIG_WORD) };
enum config_require { CONFIG_REQUIRE(CONFIG_WORD) };
enum config_tls_version { CONFIG_TLS_VERSION(CONFIG_WORD) };
enum config_start_type { CONFIG_START_TYPE(CONFIG_WORD) };
enum config_bridge_version { CONFIG_BRIDGE_VERSION(CONFIG_WORD) };
/* Of these two an option holds the set: bit 1u << LOG_TYPE_ERROR and so on. */
enum config_log_type { CONFIG_LOG_TYPE(CONFIG_WORD) LOG_TYPE_COUNT };
enum config_version { CONFIG_VERSION(CONFIG_WORD) ACCEPT_COUNT };
#undef CONFIG_WORD

enum {
    LOG_TYPE_DEFAULT = 1 << LOG_TYPE_ERROR | 1 << LOG_TYPE_WARNING | 1 << LOG_TYPE_NOTICE |
                       1 << LOG_TYPE_INFORMATION,
    ACCEPT_ALL = (1 << ACCEPT_COUNT) - 1,
};

/* The values of an option that may be repeated, in the order given. */
struct config_list {
    const char *const *items;
    uint32_t count;
};

#define CONFIG_C_BOOL    bool
#define CONFIG_C_COUNT   uint32_t
#define CONFIG_C_LIMIT   uint32_t
#define CONFIG_C_BYTES   uint64_t
#define CONFIG_C_SECONDS uint32_t
#define CONFIG_C_EXPIRY  uint32_t

#define CONFIG_IF_GLOBAL_GLOBAL(declaration) declaration
#define CONFIG_IF_GLOBAL_EITHER(declaration) declaration
#define CONFIG_IF_GLOBAL_LISTENER(declaration)
#define CONFIG_IF_GLOBAL_BRIDGE(declaration)
#define CONFIG_IF_LISTENER_GLOBAL(declaration)
#define CONFIG_IF_LISTENER_BRIDGE(declaration)
#define CONFIG_IF_LISTENER_EITHER(declaration)   declaration
#define CONFIG_IF_LISTENER_LISTENER(declaration) declaration
#define CONFIG_IF_BRIDGE_GLOBAL(declaration)
#define CONFIG_IF_BRIDGE_LISTENER(declaration)
#define CONFIG_IF_BRIDGE_EITHER(declaration)
#define CONFIG_IF_BRIDGE_BRIDGE(declaration) declaration

/*
 * One `listener` of the file: a field per option of scope LISTENER or EITHER, named as in
 * config.def. Texts are never NULL.
 */
struct listener_config {
    /*
     * Where to listen: IP addresses as text, without brackets; all of them with the same port and
     * one count of connections. None where unix_path is set. 0.0.0.0 and :: stand for all
     * interfaces: :: is then IPv6 only.
     */
    const char *addresses[LIMIT_LISTENER_ADDRESSES];
    uint32_t address_count;
    /*
     * The file named no address (or a name like localhost), so an address whose family this machine
     * lacks may be skipped as long as one is left.
     */
    bool may_skip_addresses;
    uint16_t port;         /* 0 with an address: the kernel picks one */
    const char *unix_path; /* empty: not a Unix socket */
    const char *name;      /* as in the file: "1883", "1883 127.0.0.1", "0 /run/tern.sock" */
    bool is_loopback;      /* only this machine can reach it */
    bool is_inside; /* the door of bridges, the last of all: it has no address, nothing listens */

#define OPTION(field, key, scope, type, def, min, max, reload, help) \
    CONFIG_IF_LISTENER_##scope(CONFIG_C_##type field;)
#define OPTION_TEXT(field, key, scope, def, min, max, reload, help) \
    CONFIG_IF_LISTENER_##scope(const char *field;)
#define OPTION_LIST(field, key, scope, max, reload, help) \
    CONFIG_IF_LISTENER_##scope(struct config_list field;)
#define OPTION_CHOICE(field, key, scope, values, def, reload, help) \
    CONFIG_IF_LISTENER_##scope(enum config_##values field;)
#define OPTION_FLAGS(field, key, scope, values, def, reload, help) \
    CONFIG_IF_LISTENER_##scope(uint32_t field;)
#include "core/config.def"
};

enum bridge_direction { BRIDGE_OUT = 1, BRIDGE_IN = 2, BRIDGE_BOTH = BRIDGE_OUT | BRIDGE_IN };

/* One `topic` line. Texts are never NULL; local and remote are prefix and filter put together. */
struct bridge_topic {
    enum bridge_direction direction;
    uint8_t qos;
    const char *local, *remote;               /* filters as each side is asked for them */
    const char *local_prefix, *remote_prefix; /* what is taken off and put before */
};

/* One address of a bridge: IP address as text without brackets, or a name. */
struct bridge_address {
    const char *host;
    uint16_t port;
};

/*
 * One `connection` of the file: a field per option of scope BRIDGE. Texts are never NULL. What an
 * empty text stands for is filled in: client ids, the topic of notifications.
 */
struct bridge_config {
    const char *name;
    struct bridge_address *addresses; /* 1 or more */
    struct bridge_topic *topics;
    uint32_t address_count, topic_count;
    uint32_t restart_base_s, restart_cap_s; /* cap 0: always base */
#define OPTION(field, key, scope, type, def, min, max, reload, help) \
    CONFIG_IF_BRIDGE_##scope(CONFIG_C_##type field;)
#define OPTION_TEXT(field, key, scope, def, min, max, reload, help) \
    CONFIG_IF_BRIDGE_##scope(const char *field;)
#define OPTION_CHOICE(field, key, scope, values, def, reload, help) \
    CONFIG_IF_BRIDGE_##scope(enum config_##values field;)
#include "core/config.def"
};

static inline bool config_bridge_is_tls(const struct bridge_config *bridge)
{
    return bridge->cafile[0] != '\0' || bridge->capath[0] != '\0';
}

/* The same in everything that is said in the file. */
bool config_bridge_equal(const struct bridge_config *a, const struct bridge_config *b);

/* Another node: where, and by which name it proves itself. */
struct cluster_peer_config {
    const char *name, *host; /* an IP address without brackets, or a name to look up */
    uint16_t port;
};

/* What cluster_listener and cluster_peer say; address "": no node of a cluster. */
struct cluster_config {
    const char *address; /* an IP address, without brackets */
    uint16_t port;
    struct cluster_peer_config *peers;
    uint32_t peer_count;
};

/*
 * A field per option of scope GLOBAL or EITHER, named as in config.def: config->queue_max. Code that
 * serves a connection reads EITHER options (allow_anonymous) from its listener.
 */
struct config {
    struct listener_config *listeners; /* at least one */
    uint32_t listener_count;

    struct bridge_config *bridges;
    uint32_t bridge_count;
    uint32_t
        inside_listener; /* with bridges: which listener they come in by; else listener_count */

    struct cluster_config cluster;
    const char *http_address; /* of http_listener, without brackets, or a path; empty: none */
    uint16_t http_port;       /* 0: the kernel picks one */
    const char *log_file;     /* of `log_dest file PATH`; empty: stderr, stdout or none */

#define OPTION(field, key, scope, type, def, min, max, reload, help) \
    CONFIG_IF_GLOBAL_##scope(CONFIG_C_##type field;)
#define OPTION_TEXT(field, key, scope, def, min, max, reload, help) \
    CONFIG_IF_GLOBAL_##scope(const char *field;)
#define OPTION_LIST(field, key, scope, max, reload, help) \
    CONFIG_IF_GLOBAL_##scope(struct config_list field;)
#define OPTION_CHOICE(field, key, scope, values, def, reload, help) \
    CONFIG_IF_GLOBAL_##scope(enum config_##values field;)
#define OPTION_FLAGS(field, key, scope, values, def, reload, help) \
    CONFIG_IF_GLOBAL_##scope(uint32_t field;)
#include "core/config.def"

    struct config_memory *memory; /* the texts above; private */
};

static inline bool config_listener_is_tls(const struct listener_config *listener)
{
    return listener->certfile[0] != '\0';
}

/* ---- what was found while reading --------------------------------------------------------- */

enum config_severity { CONFIG_ERROR, CONFIG_WARNING, CONFIG_NOTE };

struct config_finding {
    enum config_severity severity;
    const char *source; /* a file's path, "environment", "command line" or "configuration" */
    uint32_t line;      /* 0: not of a line */
    const char *text;   /* what is wrong, a colon, what to write instead */
};

/* All findings in order, at most LIMIT_CONFIG_REPORT_ITEMS: then one says that more were held back. */
struct config_report {
    struct config_finding *findings;
    uint32_t finding_count, finding_slots;
    uint32_t error_count, warning_count;
    struct config_memory *memory; /* private */
};

/* An empty report; zeroed memory is one too. */
void config_report_init(struct config_report *report);
void config_report_deinit(struct config_report *report);

/* One more. source: kept as it is, so it must live as long as the report: see config_report_text(). */
void config_report_add(struct config_report *report, enum config_severity severity,
                       const char *source, uint32_t line, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* A copy that lives as long as the report. "" when memory is exhausted. */
const char *config_report_text(struct config_report *report, struct slice text);

/* "tern.conf:12: error: unknown option ...", one line each. */
void config_report_print(const struct config_report *report, FILE *file);

/* "error", "warning", "note". */
const char *config_severity_name(enum config_severity severity);

/* ---- reading ------------------------------------------------------------------------------- */

/* --max_packet_size 1000, as given on the command line. Borrowed; a key ends at NUL or at =. */
struct config_override {
    const char *key, *value;
};

enum { CONFIG_ADDRESS_BYTES = 64 }; /* an IP address as text, with its final NUL */

enum { CONFIG_JUDGE_BYTES = 256 }; /* of what a judge says */

struct config_sources {
    const char *path;         /* the file; NULL: none */
    struct slice text;        /* instead of a file when path is NULL: tests and the fuzzer */
    char *const *environment; /* ends with NULL; NULL: none */
    const struct config_override *overrides;
    uint32_t override_count;
    /*
     * Look up a host name of a `listener` line: IP addresses as text, ERR_NOT_FOUND when there are
     * none (core/io/resolve.h). NULL: only IP addresses and localhost are known.
     */
    enum err (*resolve)(const char *name,
                        char addresses[LIMIT_LISTENER_ADDRESSES][CONFIG_ADDRESS_BYTES],
                        uint32_t *address_count);
    /*
     * Judge a value of an option whose language belongs to a higher floor: `limit`, `ban`.
     * ERR_INVALID: why says what is wrong, a colon, what to write. NULL: they are taken as they are.
     */
    enum err (*judge)(const char *key, const char *value, char why[CONFIG_JUDGE_BYTES]);
};

/* What a broker without any configuration runs with: loopback only. NULL: memory is exhausted. */
struct config *config_new_default(void);
void config_free(struct config *config); /* accepts NULL */

/*
 * Read all sources, check each value and then the whole, and say everything that was found.
 * out is written only on OK; warnings and notes do not prevent it.
 *
 * ERR_INVALID    the report has errors
 * ERR_NOT_FOUND  the file cannot be read; the report says why
 * ERR_NOMEM
 */
enum err config_load(const struct config_sources *sources, struct config **out,
                     struct config_report *report);

/*
 * As config_load(), for SIGHUP: what cannot change while running keeps the value of `running`, and
 * a warning says so. On any error nothing has changed: go on with `running`.
 */
enum err config_reload(const struct config *running, const struct config_sources *sources,
                       struct config **out, struct config_report *report);

/*
 * Tell every option whose value differs, in the order of config.def, listeners last.
 * section: "" or the name of a listener ("1883 127.0.0.1"); a listener that came or went is told
 * with key "listener", and a bridge that differs, came or went with key "connection".
 */
struct config_change {
    const char *section, *key;
    bool is_reloadable;
};
void config_diff(const struct config *old_config, const struct config *new_config,
                 void (*changed)(void *context, const struct config_change *change), void *context);

/*
 * Read one `queue_policy_for`: a policy, blanks, a topic filter (borrowed from item). ERR_INVALID;
 * items of a loaded configuration are valid.
 */
enum err config_queue_policy_for(const char *item, enum config_queue_policy *policy,
                                 struct slice *filter);

/*
 * Read one `certificate`: two paths (borrowed from item). ERR_INVALID; items of a loaded
 * configuration are valid.
 */
enum err config_certificate(const char *item, struct slice *certfile, struct slice *keyfile);

/* ---- the command line ---------------------------------------------------------------------- */

enum config_action {
    CONFIG_RUN,
    CONFIG_TEST,         /* --test-config */
    CONFIG_SHOW_HELP,    /* --help, -h */
    CONFIG_SHOW_VERSION, /* --version */
    CONFIG_SHOW_EXAMPLE, /* --example-config */
};

/* Points into itself and into main()'s arguments: do not copy it, and keep both. */
struct config_command {
    enum config_action action;
    const char *path; /* -c, --config; NULL: none */
    uint32_t override_count;
    struct config_override overrides[LIMIT_CONFIG_OVERRIDES];
    uint32_t port_count;
    char ports[LIMIT_CONFIG_LISTENERS][24]; /* what -p PORT stands for: "PORT localhost" */
};

/*
 * Read main()'s arguments. ERR_INVALID: the report says what is wrong; exit with 64 (usage).
 * Keys and values are judged later, by config_load().
 */
enum err config_command_parse(int argument_count, char *const *arguments,
                              struct config_command *out, struct config_report *report);

/* The text of --help, and of --example-config (deploy/tern.conf is a copy of it). */
void config_print_help(FILE *file);
void config_print_example(FILE *file);

#endif
