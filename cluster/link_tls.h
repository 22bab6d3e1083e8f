/*
 * link_tls: the two contexts of TLS that links use, and who this node is by its own certificate.
 *
 * Floor:  cluster.
 * Thread: any; files are read, so not on a shard that serves.
 *
 * TLS 1.3 alone, both sides prove a certificate of the cluster's CA, no tickets: every connection is a
 * full handshake, so that who was revoked meanwhile is out.
 */
#ifndef TERN_CLUSTER_LINK_TLS_H
#define TERN_CLUSTER_LINK_TLS_H

#include "cluster/link.h"

/* Paths, as in the configuration; "" or NULL: not given. */
struct link_tls_settings {
    const char *cafile, *certfile, *keyfile; /* cluster_ca, cluster_certificate, cluster_key */
    const char *crlfile;                     /* cluster_crl; may be missing */
};

struct link_tls {
    struct tls_context *client, *server;
    char cluster_name[LINK_NAME_MAX + 1], node_name[LINK_NAME_MAX + 1]; /* of its own certificate */
    uint8_t cluster_id[LINK_CLUSTER_BYTES];                             /* of the CA, see ca.h */
};

/*
 * Read all of it, and check what can be checked now. ERR_INVALID, ERR_NOT_FOUND, ERR_PERMISSION,
 * ERR_NOMEM: trouble tells which file, what is wrong, and what to do.
 */
enum err link_tls_new(const struct link_tls_settings *settings, uint64_t wall_ms,
                      struct link_tls *out, struct tls_trouble *trouble);
void link_tls_free(struct link_tls *tls); /* contexts live as long as the links that use them */

/* "tern://CLUSTER/NODE" into its two names. ERR_INVALID. */
enum err link_uri_read(const char *uri, struct slice *cluster_name, struct slice *node_name);

#endif
