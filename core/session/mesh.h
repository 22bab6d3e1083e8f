/*
 * mesh: PORT "other nodes want this message".
 *
 * Floor:  session. Implemented above (cluster/); NULL on a lone node.
 * Thread: the shard's.
 */
#ifndef TERN_SESSION_MESH_H
#define TERN_SESSION_MESH_H

#include "core/base/err.h"
#include "core/pubsub/msg.h"

struct mesh {
    /* msg is borrowed. done comes when every node that wants it has confirmed; may be NULL. */
    void (*forward)(struct mesh *mesh, struct msg *msg, void (*done)(void *context, enum err err),
                    void *context);
};

#endif
