/*
 * What one line alone cannot know: rules between options, and texts with a shape of their own.
 */
#include "core/base/config_parts.h"

#define say_at config_say_at

enum { MEMORY_BYTES_MIN = 16 * 1024 * 1024, KEEPALIVE_S_ADVISED = 10 };

const struct config_origin *config_origin_of(const struct config_loader *loader, const char *key)
{
    static const struct config_origin standard = {.source = "configuration"};
    const struct config_option *option = config_option_find(slice_text(key));
    ASSERT(option != NULL);
    const struct config_origin *origin = &loader->origins[config_option_index(option)];
    return origin->rank == RANK_DEFAULT ? &standard : origin;
}

static void numbers_check(struct config_loader *loader)
{
    struct config *config = loader->config;
    if (config->keepalive_max_s > 0 && config->keepalive_max_s < KEEPALIVE_S_ADVISED) {
        say_at(loader, config_origin_of(loader, "max_keepalive"), CONFIG_WARNING,
               "max_keepalive: %u s makes clients send all the time: write %d or more, or 0",
               (unsigned)config->keepalive_max_s, (int)KEEPALIVE_S_ADVISED);
    }
    if (config->memory_limit > 0 && config->memory_limit < MEMORY_BYTES_MIN) {
        say_at(loader, config_origin_of(loader, "memory_limit"), CONFIG_ERROR,
               "memory_limit: the broker needs 16M at least: write 16M or more, or 0");
    }
    if (config->inflight_max == 0) {
        config->inflight_max = LIMIT_PACKET_ID_COUNT; /* as many as there are packet ids */
    }
    if (config->websockets_headers_max == 0) {
        config->websockets_headers_max = 8192;
    } else if (config->websockets_headers_max < 512) {
        say_at(loader, config_origin_of(loader, "websockets_headers_size"), CONFIG_ERROR,
               "websockets_headers_size: no browser's request fits: write 512 or more, or 0");
    }
    if (config->connect_bytes_max > config->packet_max_bytes) {
        config->connect_bytes_max = config->packet_max_bytes;
    }
}

/* ---- log_dest ------------------------------------------------------------------------------ */

static enum err log_check(struct config_loader *loader)
{
    static const char *const plain[] = {"stderr", "stdout", "none"};
    struct config *config = loader->config;
    const struct config_origin *origin = config_origin_of(loader, "log_dest");
    struct slice rest = slice_text(config->log_dest), word;
    char quoted[CONFIG_QUOTE_BYTES];

    config->log_file = "";
    for (uint32_t i = 0; i < 3; i++) {
        if (strcmp(config->log_dest, plain[i]) == 0) {
            return OK;
        }
    }
    config_word_next(&rest, false, &word);
    rest = config_trim(rest);
    if (slice_is(word, "file") && rest.count > 0) {
        config->log_file = config_memory_copy(&config->memory, rest);
        return config->log_file == NULL ? ERR_NOMEM : OK;
    }
    if (rest.count == 0 && (slice_is(word, "syslog") || slice_is(word, "topic"))) {
        say_at(loader, origin, CONFIG_WARNING,
               "log_dest %s is not supported, the log goes to stderr: write log_dest stderr",
               config->log_dest);
        config->log_dest = "stderr";
        return OK;
    }
    say_at(loader, origin, CONFIG_ERROR,
           "log_dest: \"%s\" is not allowed: write stderr, stdout, file PATH, or none",
           config_quote(slice_text(config->log_dest), quoted));
    return OK;
}

/* ---- http_listener ------------------------------------------------------------------------- */

static void http_overlap(struct config_loader *loader, const struct config_origin *origin)
{
    const struct config *config = loader->config;
    for (uint32_t i = 0; i < config->listener_count && config->http_port != 0; i++) {
        const struct listener_config *listener = &config->listeners[i];
        for (uint32_t j = 0; j < listener->address_count; j++) {
            if (listener->port == config->http_port &&
                strcmp(listener->addresses[j], config->http_address) == 0) {
                say_at(loader, origin, CONFIG_ERROR,
                       "http_listener: listener %s has this address already: write another port",
                       listener->name);
                return;
            }
        }
    }
}

/* An absolute path, short enough for the system. */
static bool is_socket_path(const char *text)
{
    return text[0] == '/' && text[1] != '\0' && strlen(text) <= LIMIT_UNIX_PATH_BYTES;
}

static void http_socket_check(struct config_loader *loader)
{
    const struct config *config = loader->config;
    const struct config_origin *origin = config_origin_of(loader, "http_socket");
    char quoted[CONFIG_QUOTE_BYTES];
    if (config->http_socket[0] == '\0') {
        return;
    }
    if (!is_socket_path(config->http_socket)) {
        say_at(
            loader, origin, CONFIG_ERROR,
            "http_socket: \"%s\" is not allowed: write an absolute path of at most %d bytes such "
            "as /run/tern/http.sock",
            config_quote(slice_text(config->http_socket), quoted), (int)LIMIT_UNIX_PATH_BYTES);
    } else if (strcmp(config->http_socket, config->http_listener) == 0) {
        say_at(loader, origin, CONFIG_ERROR,
               "http_socket: http_listener has this path already: remove one of the lines");
    }
}

static enum err http_check(struct config_loader *loader)
{
    struct config *config = loader->config;
    const struct config_origin *origin = config_origin_of(loader, "http_listener");
    char address[CONFIG_ADDRESS_BYTES], quoted[CONFIG_QUOTE_BYTES];
    uint64_t port = 0;

    config->http_address = "";
    config->http_port = 0;
    http_socket_check(loader);
    if (strcmp(config->http_listener, "none") == 0) {
        return OK;
    }
    if (is_socket_path(config->http_listener)) {
        config->http_address = config->http_listener;
        return OK;
    }
    if (!config_place_read(slice_text(config->http_listener), address, &port)) {
        say_at(loader, origin, CONFIG_ERROR,
               "http_listener: \"%s\" is not allowed: write an IP address and a port such as "
               "127.0.0.1:8888 or [::1]:8888, the path of a Unix socket, or none",
               config_quote(slice_text(config->http_listener), quoted));
        return OK;
    }
    config->http_port = (uint16_t)port;
    config->http_address = config_memory_copy(&config->memory, slice_text(address));
    if (config->http_address == NULL) {
        return ERR_NOMEM;
    }
    if (!config_address_is_loopback(address)) {
        say_at(
            loader, origin, CONFIG_NOTE,
            "http_listener: whoever can reach %s can read /metrics and /health; ternctl needs an "
            "address of loopback, or http_socket",
            config->http_listener);
    }
    http_overlap(loader, origin);
    return OK;
}

/* ---- queue_policy_for ---------------------------------------------------------------------- */

enum err config_queue_policy_for(const char *item, enum config_queue_policy *policy,
                                 struct slice *filter)
{
#define POLICY_WORD(name, word) word,
    static const char *const words[] = {CONFIG_QUEUE_POLICY(POLICY_WORD)};
#undef POLICY_WORD
    struct slice rest = slice_text(item), word;
    config_word_next(&rest, false, &word);
    rest = config_trim(rest);
    for (uint32_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (slice_is(word, words[i]) && rest.count > 0) {
            *policy = (enum config_queue_policy)i;
            *filter = rest;
            return OK;
        }
    }
    return ERR_INVALID;
}

static void policies_check(struct config_loader *loader)
{
    const struct config_list *items = &loader->config->queue_policies;
    for (uint32_t i = 0; i < items->count; i++) {
        enum config_queue_policy policy;
        struct slice filter;
        char quoted[CONFIG_QUOTE_BYTES];
        if (config_queue_policy_for(items->items[i], &policy, &filter) != OK) {
            say_at(
                loader, config_origin_of(loader, "queue_policy_for"), CONFIG_ERROR,
                "queue_policy_for: \"%s\" is not a policy and a topic filter: write for instance "
                "queue_policy_for reject alarms/#",
                config_quote(slice_text(items->items[i]), quoted));
        }
    }
}

/* ---- limit, ban ---------------------------------------------------------------------------- */

static void list_judge(struct config_loader *loader, const char *key,
                       const struct config_list *values)
{
    char why[CONFIG_JUDGE_BYTES];
    for (uint32_t i = 0; i < values->count && loader->sources->judge != NULL; i++) {
        if (loader->sources->judge(key, values->items[i], why) != OK) {
            char quoted[CONFIG_QUOTE_BYTES];
            say_at(loader, config_origin_of(loader, key), CONFIG_ERROR, "%s \"%s\": %s", key,
                   config_quote(slice_text(values->items[i]), quoted), why);
        }
    }
}

static void limits_check(struct config_loader *loader)
{
    list_judge(loader, "limit", &loader->config->limits);
    list_judge(loader, "ban", &loader->config->bans);
}

enum err config_check(struct config_loader *loader)
{
    TRY(config_listeners_build(loader));
    TRY(config_bridges_build(loader));
    numbers_check(loader);
    policies_check(loader);
    limits_check(loader);
    config_keylog_check(loader);
    TRY(log_check(loader));
    TRY(http_check(loader));
    return config_cluster_build(loader);
}
