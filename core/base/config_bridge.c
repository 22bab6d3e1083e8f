/*
 * Bridges: the lines below `connection NAME`, and what they make together.
 *
 *     connection NAME ──> a section ──> its lines, each judged alone ──> config_bridges_build(): defaults
 *                                                                        and rules between lines
 *
 * Bridges come in by a listener of their own, which has no address: nobody else can use it, and what
 * guards the others does not stop them.
 */
#include "core/base/config_parts.h"

#include <stdlib.h>
#include <unistd.h>

#define say    config_say
#define say_at config_say_at

enum { PORT_DEFAULT = 1883, RESTART_S_MAX = 86400 };

/* ---- lines --------------------------------------------------------------------------------- */

/* The bridge that lines belong to. NULL: there is none, which has been said. */
static struct config_bridge_section *section_here(struct config_loader *loader, const char *key)
{
    if (loader->here.rank != RANK_FILE) {
        /* The environment belongs to everybody: TERN_TOPIC may be somebody else's. */
        bool is_command = loader->here.rank == RANK_COMMAND;
        say(loader, is_command ? CONFIG_ERROR : CONFIG_WARNING,
            "%s: bridges stand in the file: write the line below a connection line", key);
        return NULL;
    }
    if (loader->is_bridge_refused) {
        return NULL; /* its connection line was in error: one finding is enough */
    }
    if (loader->bridge_count == 0) {
        say(loader, CONFIG_ERROR, "%s: no bridge stands before it: write connection NAME above it",
            key);
        return NULL;
    }
    return loader->bridges[loader->bridge_count - 1];
}

static const char *copied(struct config_loader *loader, struct slice text)
{
    const char *copy = config_memory_copy(&loader->config->memory, text);
    loader->is_out_of_memory |= copy == NULL;
    return copy;
}

static void defaults_fill(struct config_bridge_section *section)
{
    section->bridge.restart_base_s = 5;
    section->bridge.restart_cap_s = 30;
    for (uint32_t i = 0; i < config_option_count; i++) {
        const struct config_option *option = &config_options[i];
        if (option->type != TYPE_GROUP && option->scope == SCOPE_BRIDGE) {
            config_value_default(option, config_bridge_field(&section->bridge, option));
        }
    }
}

static void line_connection(struct config_loader *loader, struct slice name)
{
    char quoted[CONFIG_QUOTE_BYTES];
    loader->is_bridge_refused = false;
    if (loader->here.rank != RANK_FILE) {
        section_here(loader, "connection");
        return;
    }
    loader->is_bridge_refused = true;
    if (name.count == 0 || slice_find(name, ' ') < name.count) {
        say(loader, CONFIG_ERROR,
            "connection: a bridge has a name of one word: write connection NAME");
        return;
    }
    for (uint32_t i = 0; i < loader->bridge_count; i++) {
        if (slice_is(name, loader->bridges[i]->bridge.name)) {
            say(loader, CONFIG_ERROR, "connection %s stands twice: give this one another name",
                config_quote(name, quoted));
            return;
        }
    }
    if (loader->bridge_count == LIMIT_CONFIG_BRIDGES) {
        say(loader, CONFIG_ERROR, "connection: more than %d bridges: remove some",
            (int)LIMIT_CONFIG_BRIDGES);
        return;
    }
    struct config_bridge_section *section = calloc(1, sizeof(*section));
    if (section == NULL) {
        loader->is_out_of_memory = true;
        return;
    }
    defaults_fill(section);
    section->origin = loader->here;
    section->bridge.name = copied(loader, name);
    if (section->bridge.name == NULL) {
        free(section);
        return;
    }
    loader->bridges[loader->bridge_count++] = section;
    loader->is_bridge_refused = false;
}

/* "host", "host:1883", "[::1]:1883", "::1". false: it is none of these. */
static bool address_parse(struct slice word, struct slice *host, uint64_t *port)
{
    const uint8_t *colon = memrchr(word.data, ':', word.count);
    char ip[CONFIG_ADDRESS_BYTES];
    *port = PORT_DEFAULT;
    *host = word;
    if (colon != NULL && !config_address_read(word, ip)) {
        *host = slice_head(word, (size_t)(colon - word.data));
        struct slice number = slice_skip(word, host->count + 1);
        if (!config_number_parse(number, port) || *port == 0 || *port > UINT16_MAX) {
            return false;
        }
    }
    if (host->count >= 2 && host->data[0] == '[' && host->data[host->count - 1] == ']') {
        *host = slice_head(slice_skip(*host, 1), host->count - 2);
        return config_address_read(*host, ip);
    }
    bool is_name = host->count > 0 && host->count < 254 && slice_find(*host, '/') == host->count &&
                   slice_find(*host, '[') == host->count;
    return is_name && (slice_find(*host, ':') == host->count || config_address_read(*host, ip));
}

static void line_address(struct config_loader *loader, struct bridge_config *bridge,
                         struct slice value)
{
    char quoted[CONFIG_QUOTE_BYTES];
    struct slice word, host;
    uint64_t port;
    if (value.count == 0) {
        say(loader, CONFIG_ERROR, "address: no value: write HOST:PORT");
    }
    while (config_word_next(&value, false, &word)) {
        if (!address_parse(word, &host, &port)) {
            say(loader, CONFIG_ERROR,
                "address: \"%s\" is not allowed: write HOST, HOST:PORT or [IPV6]:PORT",
                config_quote(word, quoted));
            return;
        }
        if (bridge->address_count == LIMIT_BRIDGE_ADDRESSES) {
            say(loader, CONFIG_ERROR, "address: more than %d: remove some",
                (int)LIMIT_BRIDGE_ADDRESSES);
            return;
        }
        if (bridge->addresses == NULL) {
            bridge->addresses = config_memory_take(
                &loader->config->memory, LIMIT_BRIDGE_ADDRESSES * sizeof(bridge->addresses[0]));
        }
        const char *text = copied(loader, host);
        if (bridge->addresses == NULL || text == NULL) {
            loader->is_out_of_memory = true;
            return;
        }
        bridge->addresses[bridge->address_count++] = (struct bridge_address){
            .host = text, .port = (uint16_t)port};
    }
}

/* ---- topic --------------------------------------------------------------------------------- */

/* Wildcards fill a level, # is the last one [MQTT-4.7.1-1] [MQTT-4.7.1-2]. */
static bool is_filter(const char *text)
{
    for (const char *at = text; *at != '\0'; at++) {
        bool is_first = at == text || at[-1] == '/';
        bool is_last = at[1] == '\0' || at[1] == '/';
        if ((*at == '+' || *at == '#') && (!is_first || !is_last)) {
            return false;
        }
        if (*at == '#' && at[1] != '\0') {
            return false;
        }
    }
    return text[0] != '\0';
}

static struct slice unquoted(struct slice word)
{
    return slice_is(word, "\"\"") ? slice_of("", 0) : word;
}

static bool direction_parse(struct slice word, enum bridge_direction *out)
{
    static const struct {
        const char *word;
        enum bridge_direction direction;
    } words[] = {{"out", BRIDGE_OUT}, {"in", BRIDGE_IN}, {"both", BRIDGE_BOTH}};
    for (uint32_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (slice_is(word, words[i].word)) {
            *out = words[i].direction;
            return true;
        }
    }
    return false;
}

static const char *joined(struct config_loader *loader, struct slice prefix, struct slice filter)
{
    char text[LIMIT_CONFIG_LINE_BYTES + 1];
    snprintf(text, sizeof(text), "%.*s%.*s", (int)prefix.count, (const char *)prefix.data,
             (int)filter.count, (const char *)filter.data);
    return copied(loader, slice_text(text));
}

/* The words of the line; a text says what is wrong with them, NULL: nothing. */
static const char *topic_parse(struct config_loader *loader, struct slice value,
                               struct bridge_topic *out)
{
    struct slice words[5] = {SLICE(""), SLICE("out"), SLICE("0"), SLICE(""), SLICE("")}, word;
    uint32_t count = 0;
    uint64_t qos;
    while (config_word_next(&value, false, &word)) {
        if (count == 5) {
            return "more than five words";
        }
        words[count++] = word;
    }
    if (count == 0) {
        return "no filter";
    }
    if (!direction_parse(words[1], &out->direction)) {
        return "the second word is no direction: out, in or both";
    }
    if (!config_number_parse(words[2], &qos) || qos > 2) {
        return "the third word is no QoS: 0, 1 or 2";
    }
    out->qos = (uint8_t)qos;
    struct slice filter = unquoted(words[0]);
    struct slice local = unquoted(words[3]), remote = unquoted(words[4]);
    if (filter.count == 0 && (local.count == 0 || remote.count == 0)) {
        return "\"\" as a filter needs both prefixes, which are the two topics then";
    }
    out->local_prefix = copied(loader, local);
    out->remote_prefix = copied(loader, remote);
    out->local = joined(loader, local, filter);
    out->remote = joined(loader, remote, filter);
    if (loader->is_out_of_memory) {
        return NULL;
    }
    if (strpbrk(out->local_prefix, "+#") != NULL || strpbrk(out->remote_prefix, "+#") != NULL) {
        return "+ and # are wildcards, and prefixes have none";
    }
    if (!is_filter(out->local) || !is_filter(out->remote)) {
        return "that is no filter: + and # each fill a level, and # is the last";
    }
    return NULL;
}

static void line_topic(struct config_loader *loader, struct bridge_config *bridge,
                       struct slice value)
{
    char quoted[CONFIG_QUOTE_BYTES];
    struct bridge_topic topic = {0};
    const char *wrong = topic_parse(loader, value, &topic);
    if (wrong != NULL) {
        say(loader, CONFIG_ERROR,
            "topic \"%s\": %s: write topic FILTER [out|in|both [QOS [LOCAL-PREFIX REMOTE-PREFIX]]]",
            config_quote(value, quoted), wrong);
        return;
    }
    if (bridge->topic_count == LIMIT_BRIDGE_TOPICS) {
        say(loader, CONFIG_ERROR, "topic: more than %d: remove some", (int)LIMIT_BRIDGE_TOPICS);
        return;
    }
    /* Grows by doubling; what was there stays in the configuration's memory, unused. */
    if ((bridge->topic_count & (bridge->topic_count - 1)) == 0) {
        uint32_t size = bridge->topic_count == 0 ? 1 : bridge->topic_count * 2;
        struct bridge_topic *topics = config_memory_take(&loader->config->memory,
                                                         size * sizeof(topics[0]));
        if (topics == NULL || loader->is_out_of_memory) {
            loader->is_out_of_memory = true;
            return;
        }
        if (bridge->topic_count > 0) {
            memcpy(topics, bridge->topics, bridge->topic_count * sizeof(topics[0]));
        }
        bridge->topics = topics;
    }
    bridge->topics[bridge->topic_count++] = topic;
}

/* ---- restart_timeout ----------------------------------------------------------------------- */

static void line_restart(struct config_loader *loader, struct config_bridge_section *section,
                         struct slice value)
{
    char quoted[CONFIG_QUOTE_BYTES];
    struct slice rest = value, word;
    uint64_t numbers[2] = {0, 0};
    uint32_t count = 0;
    bool is_good = true;
    while (config_word_next(&rest, false, &word)) {
        is_good = is_good && count < 2 && config_number_parse(word, &numbers[count]) &&
                  numbers[count] >= 1 && numbers[count] <= RESTART_S_MAX;
        count++;
    }
    if (!is_good || count == 0 || (count == 2 && numbers[0] > numbers[1])) {
        say(loader, CONFIG_ERROR,
            "restart_timeout: \"%s\" is not allowed: write SECONDS, or BASE CAP with BASE at most "
            "CAP, each 1 to %d",
            config_quote(value, quoted), (int)RESTART_S_MAX);
        return;
    }
    section->bridge.restart_base_s = (uint32_t)numbers[0];
    section->bridge.restart_cap_s = (uint32_t)numbers[1];
}

/* ---- one line ------------------------------------------------------------------------------ */

void config_bridge_option(struct config_loader *loader, const struct config_option *option,
                          struct slice value)
{
    struct config_bridge_section *section = section_here(loader, option->key);
    if (section != NULL) {
        config_field_set(loader, option, value, config_bridge_field(&section->bridge, option),
                         &section->origins[config_option_index(option)]);
    }
}

void config_bridge_line(struct config_loader *loader, const struct config_key *key,
                        struct slice value)
{
    if (key->kind == LINE_CONNECTION) {
        line_connection(loader, value);
        return;
    }
    if (key->kind == LINE_OTHER_NAME) {
        char name[64];
        snprintf(name, sizeof(name), "remote_%s", key->key);
        const struct config_option *option = config_option_find(slice_text(name));
        ASSERT(option != NULL);
        config_bridge_option(loader, option, value);
        return;
    }
    struct config_bridge_section *section = section_here(loader, key->key);
    if (section == NULL) {
        return;
    }
    if (key->kind == LINE_ADDRESS) {
        line_address(loader, &section->bridge, value);
    } else if (key->kind == LINE_TOPIC) {
        line_topic(loader, &section->bridge, value);
    } else {
        ASSERT(key->kind == LINE_RESTART_TIMEOUT);
        line_restart(loader, section, value);
    }
}

/* ---- the whole ----------------------------------------------------------------------------- */

static const struct config_origin *origin_of(const struct config_bridge_section *section,
                                             const char *key)
{
    const struct config_option *option = config_option_find(slice_text(key));
    ASSERT(option != NULL);
    const struct config_origin *origin = &section->origins[config_option_index(option)];
    return origin->rank != RANK_DEFAULT ? origin : &section->origin;
}

static bool is_told(const struct config_bridge_section *section, const char *key)
{
    const struct config_option *option = config_option_find(slice_text(key));
    ASSERT(option != NULL);
    return section->origins[config_option_index(option)].rank != RANK_DEFAULT;
}

/* What an empty text stands for. */
static void names_settle(struct config_loader *loader, struct config_bridge_section *section)
{
    struct bridge_config *bridge = &section->bridge;
    char host[256] = "", text[3 * LIMIT_CONFIG_LINE_BYTES];
    if (bridge->remote_clientid[0] == '\0') {
        gethostname(host, sizeof(host) - 1);
        snprintf(text, sizeof(text), "%s.%s", bridge->name, host);
        bridge->remote_clientid = copied(loader, slice_text(text));
    }
    if (bridge->local_clientid[0] == '\0' && bridge->remote_clientid != NULL) {
        snprintf(text, sizeof(text), "local.%s", bridge->remote_clientid);
        bridge->local_clientid = copied(loader, slice_text(text));
    }
    if (bridge->notification_topic[0] == '\0' && bridge->remote_clientid != NULL) {
        snprintf(text, sizeof(text), "$SYS/broker/connection/%s/state", bridge->remote_clientid);
        bridge->notification_topic = copied(loader, slice_text(text));
    }
    if (!is_told(section, "local_cleansession")) {
        bridge->local_cleansession = bridge->cleansession;
    }
    if (bridge->start_type == START_LAZY && bridge->local_cleansession) {
        if (is_told(section, "local_cleansession")) {
            say_at(loader, origin_of(section, "local_cleansession"), CONFIG_WARNING,
                   "local_cleansession: a lazy bridge connects for what waits here, so it is not "
                   "forgotten: write local_cleansession false");
        }
        bridge->local_cleansession = false;
    }
}

static void tls_check(struct config_loader *loader, const struct config_bridge_section *section)
{
    const struct bridge_config *bridge = &section->bridge;
    const struct {
        const char *key;
        bool is_given;
    } idle[] = {{"bridge_insecure", bridge->insecure},
                {"bridge_tls_version", bridge->tls_version != TLS_VERSION_1_2},
                {"bridge_alpn", bridge->alpn[0] != '\0'}};
    if ((bridge->certfile[0] == '\0') != (bridge->keyfile[0] == '\0')) {
        bool has_key = bridge->keyfile[0] != '\0';
        say_at(loader, origin_of(section, has_key ? "bridge_keyfile" : "bridge_certfile"),
               CONFIG_ERROR, "%s: write %s too",
               has_key ? "bridge_keyfile: its certificate is missing"
                       : "bridge_certfile: its private key is missing",
               has_key ? "bridge_certfile" : "bridge_keyfile");
        return;
    }
    if (config_bridge_is_tls(bridge)) {
        if (bridge->insecure) {
            say_at(loader, origin_of(section, "bridge_insecure"), CONFIG_WARNING,
                   "bridge_insecure: whoever has any certificate of these authorities can be the "
                   "other side: remove the line, and let the certificate name it");
        }
        return;
    }
    if (bridge->certfile[0] != '\0') {
        say_at(loader, origin_of(section, "bridge_certfile"), CONFIG_ERROR,
               "bridge_certfile: without an authority for the other side there is no TLS: write "
               "bridge_cafile or bridge_capath");
    }
    for (uint32_t i = 0; i < sizeof(idle) / sizeof(idle[0]); i++) {
        if (idle[i].is_given) {
            say_at(loader, origin_of(section, idle[i].key), CONFIG_ERROR,
                   "%s: there is no TLS: write bridge_cafile or bridge_capath", idle[i].key);
        }
    }
}

static bool is_far(const struct bridge_config *bridge)
{
    for (uint32_t i = 0; i < bridge->address_count; i++) {
        const char *host = bridge->addresses[i].host;
        if (!config_address_is_loopback(host) && strcmp(host, "localhost") != 0) {
            return true;
        }
    }
    return false;
}

static void bridge_check(struct config_loader *loader, const struct config_bridge_section *section)
{
    const struct bridge_config *bridge = &section->bridge;
    char ip[CONFIG_ADDRESS_BYTES], quoted[CONFIG_QUOTE_BYTES];
    if (bridge->address_count == 0 && loader->report->error_count == 0) {
        say_at(loader, &section->origin, CONFIG_ERROR,
               "connection %s: nothing says where the other broker is: write address HOST:PORT",
               bridge->name);
    }
    if (bridge->topic_count == 0 && loader->report->error_count == 0) {
        say_at(loader, &section->origin, CONFIG_WARNING,
               "connection %s: it shares nothing: write topic FILTER both", bridge->name);
    }
    if (bridge->remote_password[0] != '\0' && bridge->remote_username[0] == '\0') {
        say_at(loader, origin_of(section, "remote_password"), CONFIG_ERROR,
               "remote_password: MQTT 3 has no password without a user: write remote_username too");
    } else if (bridge->remote_password[0] != '\0' && !config_bridge_is_tls(bridge) &&
               is_far(bridge)) {
        say_at(loader, origin_of(section, "remote_password"), CONFIG_WARNING,
               "remote_password: whoever is on the way can read it: write bridge_cafile or "
               "bridge_capath");
    }
    if (bridge->bind_address[0] != '\0' &&
        !config_address_read(slice_text(bridge->bind_address), ip)) {
        say_at(loader, origin_of(section, "bridge_bind_address"), CONFIG_ERROR,
               "bridge_bind_address: \"%s\" is no IP address: write one of this machine",
               config_quote(slice_text(bridge->bind_address), quoted));
    }
    if (bridge->packet_max_bytes > 0 && bridge->packet_max_bytes < LIMIT_PACKET_BYTES_MIN) {
        say_at(loader, origin_of(section, "bridge_max_packet_size"), CONFIG_ERROR,
               "bridge_max_packet_size: no message fits: write %d or more, or 0",
               (int)LIMIT_PACKET_BYTES_MIN);
    }
    if (strpbrk(bridge->notification_topic, "+#") != NULL) {
        say_at(loader, origin_of(section, "notification_topic"), CONFIG_ERROR,
               "notification_topic: + and # are wildcards: write a topic");
    }
    tls_check(loader, section);
}

/* Two bridges with one session would throw each other out. */
static void clash_check(struct config_loader *loader, uint32_t index)
{
    const struct config_bridge_section *section = loader->bridges[index];
    for (uint32_t i = 0; i < index; i++) {
        if (strcmp(loader->bridges[i]->bridge.local_clientid, section->bridge.local_clientid) ==
            0) {
            say_at(loader, origin_of(section, "local_clientid"), CONFIG_ERROR,
                   "local_clientid: connection %s has it already: write another one",
                   loader->bridges[i]->bridge.name);
            return;
        }
    }
}

/* The listener they come in by. There is room: config_listeners_build() took one more. */
static void inside_add(struct config_loader *loader)
{
    struct config *config = loader->config;
    if (config->listener_count == LIMIT_CONFIG_LISTENERS) {
        say_at(loader, &loader->bridges[0]->origin, CONFIG_ERROR,
               "connection: bridges need one of %d listeners: remove one",
               (int)LIMIT_CONFIG_LISTENERS);
        return;
    }
    struct listener_config *inside = &config->listeners[config->listener_count];
    for (uint32_t i = 0; i < config_option_count; i++) {
        const struct config_option *option = &config_options[i];
        if (option->type != TYPE_GROUP && option->listener_at != CONFIG_NOWHERE) {
            config_value_default(option, config_listener_field(inside, option));
        }
    }
    inside->address_count = 0;
    inside->port = 0;
    inside->unix_path = "";
    inside->name = "bridges";
    inside->is_loopback = inside->is_inside = true;
    inside->may_skip_addresses = false;
    inside->allow_anonymous = true;
    config->inside_listener = config->listener_count++;
}

enum err config_bridges_build(struct config_loader *loader)
{
    struct config *config = loader->config;
    config->inside_listener = config->listener_count;
    if (loader->bridge_count == 0) {
        return OK;
    }
    config->bridges = config_memory_take(&config->memory,
                                         loader->bridge_count * sizeof(config->bridges[0]));
    if (config->bridges == NULL) {
        return ERR_NOMEM;
    }
    for (uint32_t i = 0; i < loader->bridge_count; i++) {
        struct config_bridge_section *section = loader->bridges[i];
        names_settle(loader, section);
        if (loader->is_out_of_memory) {
            return ERR_NOMEM;
        }
        bridge_check(loader, section);
        clash_check(loader, i);
        config->bridges[config->bridge_count++] = section->bridge;
    }
    inside_add(loader);
    return OK;
}

void config_bridges_forget(struct config_loader *loader)
{
    for (uint32_t i = 0; i < loader->bridge_count; i++) {
        free(loader->bridges[i]);
    }
    loader->bridge_count = 0;
}

/* ---- comparing ----------------------------------------------------------------------------- */

static bool topics_equal(const struct bridge_config *a, const struct bridge_config *b)
{
    for (uint32_t i = 0; i < a->topic_count; i++) {
        const struct bridge_topic *x = &a->topics[i], *y = &b->topics[i];
        if (x->direction != y->direction || x->qos != y->qos || strcmp(x->local, y->local) != 0 ||
            strcmp(x->remote, y->remote) != 0 || strcmp(x->local_prefix, y->local_prefix) != 0 ||
            strcmp(x->remote_prefix, y->remote_prefix) != 0) {
            return false;
        }
    }
    return true;
}

bool config_bridge_equal(const struct bridge_config *a, const struct bridge_config *b)
{
    if (strcmp(a->name, b->name) != 0 || a->address_count != b->address_count ||
        a->topic_count != b->topic_count || a->restart_base_s != b->restart_base_s ||
        a->restart_cap_s != b->restart_cap_s || !topics_equal(a, b)) {
        return false;
    }
    for (uint32_t i = 0; i < a->address_count; i++) {
        if (a->addresses[i].port != b->addresses[i].port ||
            strcmp(a->addresses[i].host, b->addresses[i].host) != 0) {
            return false;
        }
    }
    for (uint32_t i = 0; i < config_option_count; i++) {
        const struct config_option *option = &config_options[i];
        if (option->type != TYPE_GROUP && option->scope == SCOPE_BRIDGE &&
            !config_value_equal(option, (const char *)a + option->bridge_at,
                                (const char *)b + option->bridge_at)) {
            return false;
        }
    }
    return true;
}
