/*
 * afar: a client that one node has let in and another serves, as its session's partition is led there.
 *
 *     front      CONNECT was read ──> afar_begin ──> CONN_AFAR: what the client says goes on as it comes,
 *                                                    plain MQTT, and what the other node says is written
 *     the other  afar_serve ──> a connection without a socket: CONNECT comes by the channel, and all else
 *                               is as everywhere
 *
 * TLS, WebSocket and PROXY end at the front; who the client is, its keep-alive and its session are the other
 * node's matter. When either end closes, or the link between them breaks, so does the other end.
 *
 * Floor:  broker.
 * Thread: the shard's.
 */
#ifndef TERN_BROKER_AFAR_H
#define TERN_BROKER_AFAR_H

#include "core/base/err.h"
#include "core/base/slice.h"
#include "core/io/tls.h"
#include "core/session/mesh.h"

#include <stdbool.h>
#include <stdint.h>

struct conn;
struct shard;

/* What such a connection has beside others; of either kind. */
struct afar {
    struct mesh_channel *channel; /* NULL: it is closed */
    bool is_front;
    bool is_full;    /* room() is to come */
    bool is_private; /* from here on not of a front: the client has come by TLS */
    char tls_version[16];
    char certificate_name[TLS_IDENTITY_MAX]; /* "": it has shown none */
};

/*
 * packet: the CONNECT, whole, as it came. What the client says from here on is the other node's.
 * ERR_UNAVAILABLE: nobody is known to lead that partition. ERR_NOMEM.
 */
enum err afar_begin(struct conn *conn, uint32_t partition, struct slice packet);

/* Plain MQTT of the client of a front. */
void afar_say(struct conn *conn, struct slice bytes);

/* The socket of a front has taken what was written: it may be more. */
void afar_wrote(struct conn *conn);

/* A client that another node has let in: the owner of the channel, with its events; NULL: not now. */
void *afar_serve(struct shard *shard, struct mesh_channel *channel,
                 const struct mesh_client *client, const struct mesh_channel_events **events);

/* One without a socket: parts leave by its channel. true: that is enough, until room(). */
bool afar_write(struct conn *conn, const struct slice *parts, uint32_t count);

/* One without a socket: nothing more is wanted for now, or again. */
void afar_read(struct conn *conn, bool is_wanted);

/* Its channel is closed, if it is not; no event comes any more. Accepts a connection without. */
void afar_close(struct conn *conn);
void afar_free(struct conn *conn);

static inline bool afar_is_served(const struct afar *afar)
{
    return afar != NULL && !afar->is_front;
}

#endif
