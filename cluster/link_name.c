#include "cluster/link_parts.h"
#include "cluster/link_tls.h"

#include <stdio.h>

/*
 * A node's certificate says who it is by a URI among its names (RFC 5280, 4.2.1.6):
 *
 *     tern://CLUSTER/NODE
 *
 * It is signed by a CA of the cluster, which TLS has checked; here the name is read. One with several
 * such names is refused: which one it would use is not ours to guess.
 */
bool link_name_is_valid(struct slice name)
{
    for (size_t i = 0; i < name.count; i++) {
        uint8_t byte = name.data[i];
        bool is_letter = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z');
        bool is_digit = byte >= '0' && byte <= '9';
        bool is_mark = byte == '.' || byte == '-' || byte == '_';
        if (!is_letter && !is_digit && !(is_mark && i > 0)) {
            return false;
        }
    }
    return name.count >= 1 && name.count <= LINK_NAME_MAX;
}

enum err link_uri_read(const char *uri, struct slice *cluster_name, struct slice *node_name)
{
    struct slice scheme = slice_text(LINK_URI_SCHEME), rest = slice_text(uri);

    if (!slice_starts_with(rest, scheme)) {
        return ERR_INVALID;
    }
    rest = slice_skip(rest, scheme.count);
    size_t slash = slice_find(rest, '/');
    if (slash == rest.count) {
        return ERR_INVALID;
    }
    struct slice cluster = slice_head(rest, slash), node = slice_skip(rest, slash + 1);
    if (!link_name_is_valid(cluster) || !link_name_is_valid(node)) {
        return ERR_INVALID;
    }
    *cluster_name = cluster;
    *node_name = node;
    return OK;
}

enum link_reason link_name_check(struct link *link, char *detail)
{
    char uri[LINK_URI_MAX + 1];
    struct slice cluster, node;

    if (!tls_peer_uri(link->tls, LINK_URI_SCHEME, uri, sizeof(uri)) ||
        link_uri_read(uri, &cluster, &node) != OK) {
        snprintf(detail, LINK_TEXT_MAX,
                 "it has no name " LINK_URI_SCHEME "CLUSTER/NODE, or several");
        return LINK_REASON_NAME;
    }
    snprintf(detail, LINK_TEXT_MAX, "it is made for %s", uri);
    if (!slice_is(cluster, link->links->config.cluster_name)) {
        return LINK_REASON_CLUSTER;
    }
    memcpy(link->proven_name, node.data, node.count);
    link->proven_name[node.count] = '\0';
    bool is_wanted = link->wanted_name[0] == '\0' || slice_is(node, link->wanted_name);
    return is_wanted ? LINK_REASON_NONE : LINK_REASON_NAME;
}
