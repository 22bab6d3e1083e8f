/*
 * From sections as they were read to listeners as they are opened: addresses and names. What guards
 * them is judged in config_security.c.
 */
#include "core/base/config_parts.h"

#define say_at config_say_at

/* ---- addresses ----------------------------------------------------------------------------- */

static bool is_ip6(const char *address)
{
    return strchr(address, ':') != NULL;
}

/* The candidates of a host: at most LIMIT_LISTENER_ADDRESSES. 0: the name is not known. */
static uint32_t host_addresses(const struct config_loader *loader, const char *host,
                               char found[LIMIT_LISTENER_ADDRESSES][CONFIG_ADDRESS_BYTES],
                               bool *may_skip)
{
    uint32_t count = 0;
    *may_skip = true;
    if (host[0] == '\0' || strcmp(host, "*") == 0) {
        strcpy(found[0], "0.0.0.0");
        strcpy(found[1], "::");
        return 2;
    }
    if (strcmp(host, "localhost") == 0) {
        strcpy(found[0], "127.0.0.1");
        strcpy(found[1], "::1");
        return 2;
    }
    if (config_address_read(slice_text(host), found[0])) {
        *may_skip = false;
        return 1;
    }
    if (loader->sources->resolve == NULL || loader->sources->resolve(host, found, &count) != OK) {
        return 0;
    }
    return count;
}

/* The addresses of the section that socket_domain leaves. A finding if there are none. */
static enum err addresses_fill(struct config_loader *loader, const struct config_section *section,
                               const char *host, struct listener_config *listener)
{
    char found[LIMIT_LISTENER_ADDRESSES][CONFIG_ADDRESS_BYTES], quoted[CONFIG_QUOTE_BYTES];
    uint32_t found_count = host_addresses(loader, host, found, &listener->may_skip_addresses);
    if (found_count == 0) {
        say_at(loader, &section->origin, CONFIG_ERROR,
               "listener: \"%s\" is no IP address and no known host name: write an address of this "
               "machine, or nothing for all of them",
               config_quote(slice_text(host), quoted));
        return OK;
    }
    listener->address_count = 0;
    for (uint32_t i = 0; i < found_count; i++) {
        enum config_socket_domain domain = is_ip6(found[i]) ? DOMAIN_IPV6 : DOMAIN_IPV4;
        if (listener->socket_domain != DOMAIN_ANY && listener->socket_domain != domain) {
            continue;
        }
        const char *text = config_memory_copy(&loader->config->memory, slice_text(found[i]));
        if (text == NULL) {
            return ERR_NOMEM;
        }
        listener->addresses[listener->address_count++] = text;
    }
    if (listener->address_count == 0) {
        say_at(loader, &section->origin, CONFIG_ERROR,
               "listener: %s is not of the socket_domain of this listener: remove socket_domain",
               config_quote(slice_text(host), quoted));
    }
    return OK;
}

/* ---- one listener -------------------------------------------------------------------------- */

static bool all_are_loopback(const struct listener_config *listener)
{
    for (uint32_t i = 0; i < listener->address_count; i++) {
        if (!config_address_is_loopback(listener->addresses[i])) {
            return false;
        }
    }
    return true; /* a Unix socket too */
}

static const struct config_origin *origin_of(const struct config_section *section, const char *key)
{
    const struct config_option *option = config_option_find(slice_text(key));
    ASSERT(option != NULL);
    return &section->origins[config_option_index(option)];
}

/* EITHER options: the listener's own value, else the broker's. */
static void either_settle(struct config_loader *loader, const struct config_section *section,
                          struct listener_config *listener)
{
    for (uint32_t i = 0; i < config_option_count; i++) {
        const struct config_option *option = &config_options[i];
        if (option->scope != SCOPE_EITHER || option->type == TYPE_GROUP ||
            section->origins[i].rank != RANK_DEFAULT) {
            continue;
        }
        void *field = config_listener_field(listener, option);
        if (option->type == TYPE_TEXT) {
            *(const char **)field = *(const char **)config_field(loader->config, option);
        } else {
            ASSERT(option->type == TYPE_BOOL);
            *(bool *)field = *(bool *)config_field(loader->config, option);
        }
    }
}

static void unix_check(struct config_loader *loader, const struct config_section *section,
                       const struct listener_config *listener)
{
    if (strlen(listener->unix_path) > LIMIT_UNIX_PATH_BYTES) {
        say_at(loader, &section->origin, CONFIG_ERROR,
               "listener: the path of a Unix socket has at most %d bytes: write a shorter one",
               (int)LIMIT_UNIX_PATH_BYTES);
    }
    static const char *const idle[] = {"bind_interface", "socket_domain"};
    for (uint32_t i = 0; i < 2; i++) {
        const struct config_origin *origin = origin_of(section, idle[i]);
        if (origin->rank != RANK_DEFAULT) {
            say_at(loader, origin, CONFIG_WARNING,
                   "%s has no effect on a Unix socket: remove the line", idle[i]);
        }
    }
}

static void words_check(struct config_loader *loader, const struct config_section *section,
                        const struct listener_config *listener)
{
    const char *mount = listener->mount_point;
    if (mount[strcspn(mount, "+#")] != '\0') {
        say_at(loader, origin_of(section, "mount_point"), CONFIG_ERROR,
               "mount_point: + and # are wildcards: write a plain prefix such as \"house/\"");
    }
    if (listener->accept_versions == 0) {
        say_at(loader, origin_of(section, "accept_protocol_versions"), CONFIG_ERROR,
               "accept_protocol_versions: nobody could connect: write some of 3, 4, 5");
    }
    if (listener->websockets_origins.count > 0 && listener->protocol != LISTENER_WEBSOCKETS) {
        say_at(loader, origin_of(section, "websockets_origin"), CONFIG_WARNING,
               "websockets_origin has no effect here: it needs protocol websockets");
    }
}

static enum err listener_build(struct config_loader *loader, const struct config_section *section,
                               const char *host, uint32_t port, struct listener_config *out)
{
    char name[LIMIT_CONFIG_LINE_BYTES + 8];
    bool is_unix = section->listener.unix_path[0] != '\0';
    struct listener_config listener = section->listener;

    listener.port = (uint16_t)port;
    snprintf(name, sizeof(name), "%u%s%s", (unsigned)port, is_unix || host[0] != '\0' ? " " : "",
             is_unix ? listener.unix_path : host);
    listener.name = config_memory_copy(&loader->config->memory, slice_text(name));
    if (listener.name == NULL) {
        return ERR_NOMEM;
    }
    if (is_unix) {
        unix_check(loader, section, &listener);
    } else {
        TRY(addresses_fill(loader, section, host, &listener));
    }
    listener.is_loopback = all_are_loopback(&listener);
    either_settle(loader, section, &listener);
    config_security_settle(loader, section, &listener);
    words_check(loader, section, &listener);
    *out = listener;
    return OK;
}

/* ---- all of them --------------------------------------------------------------------------- */

/* Lines above the first `listener` belong to a listener that nobody opens. */
static void stray_lines(struct config_loader *loader)
{
    const struct config_section *section = &loader->sections[0];
    for (uint32_t i = 0; i < config_option_count; i++) {
        if (section->origins[i].rank == RANK_FILE) {
            bool is_guard = config_is_guard(&config_options[i]);
            say_at(loader, &section->origins[i], is_guard ? CONFIG_ERROR : CONFIG_WARNING,
                   "%s stands above the first listener and %s there: move it below a "
                   "listener line",
                   config_options[i].key, is_guard ? "guards nothing" : "has no effect");
        }
    }
}

static bool overlap(const struct listener_config *a, const struct listener_config *b)
{
    if (a->unix_path[0] != '\0' || b->unix_path[0] != '\0') {
        return strcmp(a->unix_path, b->unix_path) == 0;
    }
    if (a->port != b->port || a->port == 0 || strcmp(a->bind_interface, b->bind_interface) != 0) {
        return false;
    }
    for (uint32_t i = 0; i < a->address_count; i++) {
        for (uint32_t j = 0; j < b->address_count; j++) {
            if (strcmp(a->addresses[i], b->addresses[j]) == 0) {
                return true;
            }
        }
    }
    return false;
}

static enum err listener_add(struct config_loader *loader, const struct config_section *section,
                             const char *host, uint32_t port)
{
    struct config *config = loader->config;
    struct listener_config *listener = &config->listeners[config->listener_count];
    TRY(listener_build(loader, section, host, port, listener));
    for (uint32_t i = 0; i < config->listener_count; i++) {
        if (overlap(&config->listeners[i], listener)) {
            say_at(loader, &section->origin, CONFIG_ERROR,
                   "listener %s: listener %s has this address already: remove one of them",
                   listener->name, config->listeners[i].name);
            break;
        }
    }
    config->listener_count++;
    return OK;
}

enum err config_listeners_build(struct config_loader *loader)
{
    struct config *config = loader->config;
    struct config_section *standard = &loader->sections[0];
    bool has_own = loader->listener_rank != RANK_DEFAULT;

    config->listener_count = 0;
    config->listeners = config_memory_take(&config->memory, (loader->section_count + 1) *
                                                                sizeof(config->listeners[0]));
    if (config->listeners == NULL) {
        return ERR_NOMEM;
    }
    if (loader->default_is_wanted) {
        TRY(listener_add(loader, standard, standard->host,
                         standard->port == 0 ? 1883 : standard->port));
    } else if (!has_own) {
        TRY(listener_add(loader, standard, "localhost", 1883));
    } else {
        stray_lines(loader);
    }
    for (uint32_t i = 1; i < loader->section_count; i++) {
        const struct config_section *section = &loader->sections[i];
        if (!section->is_replaced) {
            TRY(listener_add(loader, section, section->host, section->port));
        }
    }
    return OK;
}
