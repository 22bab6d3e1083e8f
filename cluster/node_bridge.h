/*
 * node_bridge: the bridges of a node, as guests of shard 0.
 *
 * Floor:  cluster; for node.c.
 * Thread: that of shard 0.
 */
#ifndef TERN_CLUSTER_NODE_BRIDGE_H
#define TERN_CLUSTER_NODE_BRIDGE_H

#include "core/bridge/bridge.h"
#include "core/broker/broker.h"

struct node_bridge {
    struct bridges *bridges; /* NULL: there are none */
    struct broker *broker;
    uint32_t listener_index; /* by which they come in */
};

/* ERR_NOMEM. */
enum err node_bridge_open(const struct config *config, struct broker *broker, struct io *io,
                          struct wheel *wheel, struct node_bridge *out);
void node_bridge_renew(struct node_bridge *node_bridge, const struct config *config);
void node_bridge_close(struct node_bridge *node_bridge); /* its io is gone */

#endif
