/*
 * What makes a broker a node of a cluster: where it listens, how it proves itself, whom it looks for.
 */
#include "core/base/config_parts.h"

enum { CLUSTER_NAME_MAX = 64 }; /* of a node: cluster/link.h */

/* Without any one of these it could not speak to another node. */
static const struct part {
    const char *key, *what;
    size_t at;
} parts[] = {
    {"cluster_listener", "the address where other nodes reach it",
     offsetof(struct config, cluster_listener)},
    {"cluster_ca", "the cluster's CA", offsetof(struct config, cluster_ca)},
    {"cluster_certificate", "its certificate", offsetof(struct config, cluster_certificate)},
    {"cluster_key", "its key", offsetof(struct config, cluster_key)},
};
/* And these alone make none of it. */
static const struct part further[] = {
    {"cluster_crl", NULL, offsetof(struct config, cluster_crl)},
    {"cluster_zone", NULL, offsetof(struct config, cluster_zone)},
};
enum {
    PART_COUNT = sizeof(parts) / sizeof(parts[0]),
    FURTHER_COUNT = sizeof(further) / sizeof(further[0]),
};

static bool is_set(const struct config *config, const struct part *part)
{
    return (*(const char *const *)((const char *)config + part->at))[0] != '\0';
}

/* The first line that wants a cluster; NULL: none does. */
static const char *wanting(const struct config *config)
{
    for (uint32_t i = 0; i < PART_COUNT; i++) {
        if (is_set(config, &parts[i])) {
            return parts[i].key;
        }
    }
    for (uint32_t i = 0; i < FURTHER_COUNT; i++) {
        if (is_set(config, &further[i])) {
            return further[i].key;
        }
    }
    return config->cluster_peers.count > 0 ? "cluster_peer" : NULL;
}

static bool is_whole(struct config_loader *loader, const char *wanted_by)
{
    const struct config *config = loader->config;
    bool is_good = true;

    for (uint32_t i = 0; i < PART_COUNT; i++) {
        if (!is_set(config, &parts[i])) {
            config_say_at(loader, config_origin_of(loader, wanted_by), CONFIG_ERROR,
                          "%s: a node of a cluster needs %s, too: set %s, or remove all lines that "
                          "begin with cluster_",
                          wanted_by, parts[i].what, parts[i].key);
            is_good = false;
        }
    }
    if (!config->persistence) {
        config_say_at(loader, config_origin_of(loader, wanted_by), CONFIG_ERROR,
                      "%s: a node keeps its share of the cluster on disk: set persistence true",
                      wanted_by);
        is_good = false;
    }
    return is_good;
}

static enum err listener_read(struct config_loader *loader)
{
    struct config *config = loader->config;
    char address[CONFIG_ADDRESS_BYTES], quoted[CONFIG_QUOTE_BYTES];
    uint64_t port = 0;

    if (!config_place_read(slice_text(config->cluster_listener), address, &port) || port == 0) {
        config_say_at(
            loader, config_origin_of(loader, "cluster_listener"), CONFIG_ERROR,
            "cluster_listener: \"%s\" is not allowed: write an IP address and a port such "
            "as 10.0.0.7:7883 or [::]:7883",
            config_quote(slice_text(config->cluster_listener), quoted));
        return OK;
    }
    config->cluster.port = (uint16_t)port;
    config->cluster.address = config_memory_copy(&config->memory, slice_text(address));
    return config->cluster.address == NULL ? ERR_NOMEM : OK;
}

static bool is_node_name(struct slice name)
{
    for (size_t i = 0; i < name.count; i++) {
        uint8_t byte = name.data[i];
        bool is_letter = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z');
        bool is_mark = byte == '.' || byte == '-' || byte == '_';
        if (!is_letter && !(byte >= '0' && byte <= '9') && !(is_mark && i > 0)) {
            return false;
        }
    }
    return name.count >= 1 && name.count <= CLUSTER_NAME_MAX;
}

/* "HOST:PORT", "[::1]:PORT"; an IPv6 address has brackets. */
static bool is_place(struct slice text, struct slice *host, uint64_t *port)
{
    const uint8_t *colon = memrchr(text.data, ':', text.count);

    if (colon == NULL) {
        return false;
    }
    *host = slice_head(text, (size_t)(colon - text.data));
    if (!config_number_parse(slice_skip(text, host->count + 1), port) || *port == 0 ||
        *port > UINT16_MAX) {
        return false;
    }
    char address[CONFIG_ADDRESS_BYTES];
    if (host->count > 2 && host->data[0] == '[') {
        bool is_address = config_address_read(*host, address);
        *host = slice_of(host->data + 1, host->count - 2);
        return is_address;
    }
    return host->count > 0 && slice_find(*host, ':') == host->count;
}

static enum err peer_read(struct config_loader *loader, const char *text)
{
    struct config *config = loader->config;
    struct slice rest = slice_text(text), name, host;
    char quoted[CONFIG_QUOTE_BYTES];
    uint64_t port;

    config_word_next(&rest, false, &name);
    if (!is_node_name(name) || !is_place(config_trim(rest), &host, &port)) {
        config_say_at(
            loader, config_origin_of(loader, "cluster_peer"), CONFIG_ERROR,
            "cluster_peer: \"%s\" is not allowed: write the name in the node's certificate, "
            "its host and its port, such as cluster_peer node-b 10.0.0.8:7883",
            config_quote(slice_text(text), quoted));
        return OK;
    }
    struct cluster_peer_config *peer = &config->cluster.peers[config->cluster.peer_count++];
    peer->name = config_memory_copy(&config->memory, name);
    peer->host = config_memory_copy(&config->memory, host);
    peer->port = (uint16_t)port;
    return peer->name == NULL || peer->host == NULL ? ERR_NOMEM : OK;
}

enum err config_cluster_build(struct config_loader *loader)
{
    struct config *config = loader->config;
    const struct config_list *peers = &config->cluster_peers;
    const char *wanted_by = wanting(config);

    config->cluster = (struct cluster_config){.address = ""};
    if (wanted_by == NULL || !is_whole(loader, wanted_by)) {
        return OK;
    }
    TRY(listener_read(loader));
    if (peers->count > 0) {
        config->cluster.peers = config_memory_take(&config->memory,
                                                   peers->count * sizeof(config->cluster.peers[0]));
        if (config->cluster.peers == NULL) {
            return ERR_NOMEM;
        }
    }
    for (uint32_t i = 0; i < peers->count; i++) {
        TRY(peer_read(loader, peers->items[i]));
    }
    config_say_at(loader, config_origin_of(loader, wanted_by), CONFIG_WARNING,
                  "%s: this version does not form a cluster yet: these lines have no effect",
                  wanted_by);
    return OK;
}
