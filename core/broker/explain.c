#include "core/broker/explain.h"

#include "core/broker/conn.h"
#include "core/broker/shard.h"

#include <string.h>

_Static_assert(sizeof(struct trail_peer) == sizeof(struct peer), "the trail tells of our peers");

void conn_tell(struct conn *conn, const struct trail_event *event)
{
    struct trail_event told = *event;
    if (told.client.count == 0) {
        told.client = conn_client_id(conn);
    }
    if (told.peer.kind == ADDRESS_NONE) {
        memcpy(&told.peer, &conn->peer, sizeof(told.peer));
    }
    shard_tell(conn->shard, &told);
}
