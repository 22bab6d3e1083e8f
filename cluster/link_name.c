#include "cluster/link_parts.h"

#include <stdio.h>

/*
 * A node's certificate says who it is by a URI among its names (RFC 5280, 4.2.1.6):
 *
 *     tern://CLUSTER/NODE
 *
 * It is signed by a CA of the cluster, which TLS has checked; here the name is read. One with several
 * such names is refused: which one it would use is not ours to guess.
 */
#define SCHEME "tern://"

bool link_name_is_valid(struct slice name)
{
    for (size_t i = 0; i < name.count; i++) {
        uint8_t byte = name.data[i];
        bool is_letter = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z');
        bool is_digit = byte >= '0' && byte <= '9';
        if (!is_letter && !is_digit && byte != '.' && byte != '-' && byte != '_') {
            return false;
        }
    }
    return name.count >= 1 && name.count <= LINK_NAME_MAX;
}

enum link_reason link_name_check(struct link *link, char *detail)
{
    const char *cluster_name = link->links->config.cluster_name;
    size_t cluster_count = strlen(cluster_name);
    char uri[LINK_URI_MAX + 1];

    if (!tls_peer_uri(link->tls, SCHEME, uri, sizeof(uri))) {
        snprintf(detail, LINK_TEXT_MAX, "it has no name " SCHEME "CLUSTER/NODE, or several");
        return LINK_REASON_NAME;
    }
    struct slice name = slice_skip(slice_text(uri), strlen(SCHEME));
    size_t slash = slice_find(name, '/');
    snprintf(detail, LINK_TEXT_MAX, "it is made for %s", uri);
    if (slash == name.count || !link_name_is_valid(slice_skip(name, slash + 1))) {
        return LINK_REASON_NAME;
    }
    if (slash != cluster_count || memcmp(name.data, cluster_name, slash) != 0) {
        return LINK_REASON_CLUSTER;
    }
    name = slice_skip(name, slash + 1);
    memcpy(link->proven_name, name.data, name.count);
    link->proven_name[name.count] = '\0';
    bool is_wanted = link->wanted_name[0] == '\0' || slice_is(name, link->wanted_name);
    return is_wanted ? LINK_REASON_NONE : LINK_REASON_NAME;
}
