#include "cluster/node_bridge.h"

#include "core/base/rng.h"
#include "core/broker/inside.h"

static enum err enter(void *context, int64_t handle)
{
    const struct node_bridge *node_bridge = context;
    return inside_enter(broker_shard(node_bridge->broker, 0), node_bridge->listener_index, handle);
}

static bool is_draining(void *context)
{
    return broker_is_draining(((const struct node_bridge *)context)->broker);
}

enum err node_bridge_open(const struct config *config, struct broker *broker, struct io *io,
                          struct wheel *wheel, struct node_bridge *out)
{
    *out = (struct node_bridge){.broker = broker, .listener_index = config->inside_listener};
    if (config->inside_listener == config->listener_count) {
        return OK; /* nobody could come in: there are none */
    }
    struct bridge_ports ports = {.enter = enter,
                                 .is_draining = is_draining,
                                 .context = out,
                                 .metrics = broker_metrics(broker)[0],
                                 .seed = rng_system_seed()};
    return bridges_new(io, wheel, config, &ports, &out->bridges);
}

void node_bridge_renew(struct node_bridge *node_bridge, const struct config *config)
{
    if (node_bridge->bridges != NULL) {
        bridges_renew(node_bridge->bridges, config);
    }
}

void node_bridge_close(struct node_bridge *node_bridge)
{
    bridges_free(node_bridge->bridges);
    node_bridge->bridges = NULL;
}
