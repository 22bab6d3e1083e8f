/*
 * mesh: PORT "the other nodes": partitions of this shard's that are led elsewhere.
 *
 * On every node the shard p % shard_count answers for partition p, wherever it is led: what concerns p
 * comes to that shard by mail as it does on a lone node, and there it is served, or handed to the mesh.
 * So what p leads and what it does not is known in one place, and changes between two turns.
 *
 *     mesh_forward    take this message to who leads these partitions, tell me when they have committed
 *     mesh_route      the first subscription of a partition led here to that filter came, or the last went
 *     mesh_await      tell me when every node routes what mesh_route() has said so far
 *     mesh_channel_open  serve this client, whose session is of that partition: a channel for its bytes
 *
 * Floor:  session. Implemented above (cluster/), handed down at start, one per shard; NULL: a lone node.
 * Thread: the shard's. done comes from inside the shard's turn, never from inside the call.
 */
#ifndef TERN_SESSION_MESH_H
#define TERN_SESSION_MESH_H

#include "core/base/err.h"
#include "core/pubsub/msg.h"
#include "core/session/origin.h"

#include <stdint.h>

/* OK: all is committed, or known everywhere. Else the first refusal, or ERR_SHUTDOWN. */
typedef void (*mesh_done)(void *context, enum err err);

enum mesh_errand_kind {
    MESH_PUBLISH, /* for the subscribers that these partitions have */
    MESH_RETAIN,  /* what is retained for its topic, which is of that partition */
    MESH_GROUP,   /* for one member of that group, which is of that partition */
};

/* Borrowed for the call, but for msg, of which a reference is taken. */
struct mesh_errand {
    enum mesh_errand_kind kind;
    uint64_t partitions; /* a bit each, 1 or more: of this shard's, none of them led here */
    struct msg *msg;
    struct slice group; /* MESH_GROUP: "name/filter" */
    struct origin origin;
};

/*
 * Where the bytes of a client go that is served by another node than the one it has connected to. Each of
 * the two has one end, and both are used in the same way; it is in order, and nothing is lost unless it ends.
 */
struct mesh_channel;

struct mesh_channel_events {
    void (*bytes)(void *owner, struct slice bytes); /* borrowed until it returns */
    /* What was said there was no room for may be said now. */
    void (*room)(void *owner);
    /* The other end is closed, or the way to it is gone: the last event. ERR_CLOSED: the other end did. */
    void (*closed)(void *owner, enum err why);
};

/* Who has connected, and how: for whoever serves him. Slices are borrowed for the call. */
struct mesh_client {
    uint8_t address_kind; /* enum address_kind */
    uint16_t port;
    uint32_t scope_id;
    uint8_t ip[16];
    uint32_t listener_index;       /* of the configuration, which is the same on all nodes */
    bool is_private;               /* by TLS */
    struct slice tls_version;      /* "TLSv1.3"; empty: none */
    struct slice certificate_name; /* as its listener wants it; empty: it has shown none */
};

struct mesh;

struct mesh_calls {
    void (*forward)(struct mesh *mesh, const struct mesh_errand *errand, mesh_done done,
                    void *context);
    void (*route)(struct mesh *mesh, uint32_t partition, struct slice filter, bool is_wanted);
    enum err (*await)(struct mesh *mesh, uint32_t partition, mesh_done done, void *context);
    enum err (*open)(struct mesh *mesh, uint32_t partition, const struct mesh_client *client,
                     const struct mesh_channel_events *events, void *owner,
                     struct mesh_channel **out);
    bool (*send)(struct mesh *mesh, struct mesh_channel *channel, struct slice bytes);
    void (*pause)(struct mesh *mesh, struct mesh_channel *channel, bool is_paused);
    void (*close)(struct mesh *mesh, struct mesh_channel *channel);
};

struct mesh {
    const struct mesh_calls *calls;
};

/*
 * Errands for one partition arrive in the order of the calls. done NULL: nobody waits, and where a node
 * cannot follow the message may be dropped, counted. Otherwise it is kept, also over a change of the
 * leader, until its partitions have it; such an errand may then be served twice, unless it has an origin.
 */
static inline void mesh_forward(struct mesh *mesh, const struct mesh_errand *errand, mesh_done done,
                                void *context)
{
    mesh->calls->forward(mesh, errand, done, context);
}

static inline void mesh_route(struct mesh *mesh, uint32_t partition, struct slice filter,
                              bool is_wanted)
{
    mesh->calls->route(mesh, partition, filter, is_wanted);
}

/* OK: they do; done is not called. ERR_AGAIN: it will be. ERR_NOMEM. */
static inline enum err mesh_await(struct mesh *mesh, uint32_t partition, mesh_done done,
                                  void *context)
{
    return mesh->calls->await(mesh, partition, done, context);
}

/* ERR_UNAVAILABLE: nobody is known to lead it. ERR_NOMEM. On OK events follow. */
static inline enum err mesh_channel_open(struct mesh *mesh, uint32_t partition,
                                         const struct mesh_client *client,
                                         const struct mesh_channel_events *events, void *owner,
                                         struct mesh_channel **out)
{
    return mesh->calls->open(mesh, partition, client, events, owner, out);
}

/* The bytes are copied, all of them. false: that is enough until room() comes; who says more is heard
 * out, and held in memory. */
static inline bool mesh_channel_send(struct mesh *mesh, struct mesh_channel *channel,
                                     struct slice bytes)
{
    return mesh->calls->send(mesh, channel, bytes);
}

/* Nothing more is wanted for now; a little may come all the same. */
static inline void mesh_channel_pause(struct mesh *mesh, struct mesh_channel *channel,
                                      bool is_paused)
{
    mesh->calls->pause(mesh, channel, is_paused);
}

/* The other end hears all that was sent, and then that it is closed. No event comes any more. */
static inline void mesh_channel_close(struct mesh *mesh, struct mesh_channel *channel)
{
    mesh->calls->close(mesh, channel);
}

#endif
