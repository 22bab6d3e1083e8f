/*
 * node_http: where the HTTP listener of a node listens.
 *
 * Floor:  cluster; for node.c.
 * Thread: that of shard 0 while it starts; what was found out is only read later.
 */
#ifndef TERN_CLUSTER_NODE_HTTP_H
#define TERN_CLUSTER_NODE_HTTP_H

#include "core/admin/admin.h"
#include "core/base/config.h"
#include "core/broker/broker.h"

struct node_http {
    struct admin *admin; /* NULL: no listener is wanted */
    struct address at[ADMIN_LISTENERS_MAX];
    uint32_t count;
};

/*
 * Open http_listener and http_socket. A socket file belongs to the user that the process will become.
 * On an error failure tells which one it was; *out is valid all the same.
 */
enum err node_http_open(const struct config *config, struct io *io, struct wheel *wheel,
                        const struct admin_sources *sources, struct node_http *out,
                        struct broker_failure *failure);

/* After io_free(). Where it listened is still told. Safe twice. */
void node_http_close(struct node_http *http);

#endif
