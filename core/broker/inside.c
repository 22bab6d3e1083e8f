#include "core/broker/inside.h"

#include "core/base/assert.h"
#include "core/broker/broker_shared.h"
#include "core/broker/conn.h"

/* Whatever limit there is. It leaves as everybody does, perhaps from another shard. */
static void count(struct conn *conn)
{
    struct broker *broker = conn->shard->broker;
    atomic_fetch_add_explicit(&broker->conn_count, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&broker->listener_conn_count[conn->listener_index], 1,
                              memory_order_relaxed);
    conn->is_counted = true;
}

enum err inside_enter(struct shard *shard, uint32_t listener_index, int64_t handle)
{
    struct peer nobody = {.kind = ADDRESS_NONE};
    ASSERT(shard->config->listeners[listener_index].is_inside);
    if (shard->state != SHARD_RUNNING) {
        io_handle_close(handle);
        return ERR_SHUTDOWN;
    }
    struct conn *conn = conn_new(shard, listener_index, &nobody);
    if (conn == NULL) {
        io_handle_close(handle);
        return ERR_NOMEM;
    }
    count(conn);
    conn->state = CONN_CONNECT;
    enum err err = io_attach(shard->io, handle, &conn_events, conn, &conn->stream);
    if (err != OK) {
        shard->connecting_count--;
        conn_free(conn);
    }
    return err;
}

bool inside_owns(const struct config *config, struct slice client_id)
{
    for (uint32_t i = 0; i < config->bridge_count; i++) {
        if (slice_is(client_id, config->bridges[i].local_clientid)) {
            return true;
        }
    }
    return false;
}
