/*
 * ca: the certificates by which the nodes of a cluster know each other.
 *
 *     ca_create ──> the cluster's CA ── ca_issue ──> a node's certificate: tern://CLUSTER/NODE
 *
 * Floor:  cluster; of ternctl. A broker reads certificates and makes none.
 * Memory: what is made is PEM text in bufs of the caller; keys among it, so ca_wipe() ends them.
 *
 * ECDSA with P-256 throughout, RFC 5280. A node's certificate serves both ends of a link, and names its
 * addresses beside, so that it can serve HTTPS too. The cluster's id is made of the CA's key: who has
 * the CA knows it, and a certificate of the same key that is made anew has the same.
 */
#ifndef TERN_CLUSTER_CA_H
#define TERN_CLUSTER_CA_H

#include "cluster/link_msg.h"
#include "core/io/tls_context.h"

enum { CA_ADDRESSES_MAX = 32, CA_DAYS_MAX = 7300 };

struct ca_pair {
    struct buf certificate, key; /* PEM */
};

/* The CA of a new cluster, for CA_DAYS_MAX days. name: link_name_is_valid(). ERR_NOMEM. */
enum err ca_create(const char *name, int64_t now_s, struct ca_pair *out);

/* What is known by a CA's certificate alone. ERR_INVALID: trouble tells. */
struct ca_cluster {
    char name[LINK_NAME_MAX + 1];
    uint8_t id[LINK_CLUSTER_BYTES];
};
enum err ca_read(struct slice certificate, struct ca_cluster *out, struct tls_trouble *trouble);

/* The id alone, of any CA: its name need not be one of ours. */
enum err ca_id(struct slice certificate, uint8_t id[LINK_CLUSTER_BYTES],
               struct tls_trouble *trouble);

struct ca_wish {
    const char *node;             /* link_name_is_valid() */
    const char *const *addresses; /* names or IP addresses by which it can be reached */
    uint32_t address_count;       /* at most CA_ADDRESSES_MAX */
    uint32_t days;                /* at most CA_DAYS_MAX; it ends with the CA at the latest */
};
/*
 * A node's certificate. until_s: when it ends. ERR_INVALID: trouble tells what is wrong with the CA's
 * files or with an address; ERR_NOMEM.
 */
enum err ca_issue(struct slice certificate, struct slice key, const struct ca_wish *wish,
                  int64_t now_s, struct ca_pair *out, int64_t *until_s,
                  struct tls_trouble *trouble);

/* Overwrite what was made, and free it. */
void ca_wipe(struct ca_pair *pair);

#endif
