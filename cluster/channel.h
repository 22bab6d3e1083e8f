/*
 * channel: clients that one node has let in and another serves: their bytes, over the link between the two.
 *
 *     front                                                  leader of the session's partition
 *     mesh_channel_open ──> OPEN {who} ─────────────────────────────> accept() ──> a connection
 *               ──> BYTES ──────────────────────────────────> bytes()
 *       bytes() <─────────────────────────────────── BYTES <──
 *               ──> CREDIT <──────────────────────────────>      of bytes that were taken, each way
 *               ──> CLOSE ──────────────────────────────────> closed()
 *
 * A channel has a number, given by the front, and is known by its node and that number. When a link breaks
 * all channels over it are closed, on both sides: bytes were lost, and a client that comes again is told
 * by MQTT what was. A sender stops at CHANNEL_WINDOW bytes that the other has not given credit for, so a
 * client that reads slowly holds up neither the link nor others.
 *
 * Floor:  cluster; the host below brings links.
 * Thread: the shard's.
 */
#ifndef TERN_CLUSTER_CHANNEL_H
#define TERN_CLUSTER_CHANNEL_H

#include "core/base/err.h"
#include "core/session/mesh.h"

#include <stdint.h>

enum {
    CHANNEL_WINDOW = 64 * 1024,
    CHANNEL_CREDIT = CHANNEL_WINDOW / 4, /* given back at once, when so much was taken */
    CHANNELS_MAX = 1 << 20,
};

struct channels;

struct channels_host {
    /* A LINK_KIND_CHANNEL; `to` is a partition of the shard that serves. On an error the link is down, or
     * about to be: channels_lost() follows. */
    enum err (*send)(void *context, uint32_t node, uint32_t to, struct slice body);
    /* Another node's client wants to be served here, by the shard of that partition: the owner of our end, with
     * its events. NULL: he is not; it is closed. */
    void *(*accept)(void *context, struct mesh_channel *channel, uint32_t partition,
                    const struct mesh_client *client, const struct mesh_channel_events **events);
    void *context;
};

/* NULL: memory is exhausted. */
struct channels *channels_new(const struct channels_host *host);
/* All are closed without an event. Accepts NULL. */
void channels_free(struct channels *channels);

/* Those of the mesh port; node: who leads the partition. */
enum err channels_open(struct channels *channels, uint32_t node, uint32_t partition,
                       const struct mesh_client *client, const struct mesh_channel_events *events,
                       void *owner, struct mesh_channel **out);
bool channels_send(struct channels *channels, struct mesh_channel *channel, struct slice bytes);
void channels_pause(struct channels *channels, struct mesh_channel *channel, bool is_paused);
void channels_close(struct channels *channels, struct mesh_channel *channel);

/* What that node says. ERR_CORRUPT: nothing that can be understood; dropped. */
enum err channels_receive(struct channels *channels, uint32_t node, struct slice body);

/* A link to that node, or from it, has broken: its channels are closed, with ERR_UNAVAILABLE. */
void channels_lost(struct channels *channels, uint32_t node);

uint32_t channels_count(const struct channels *channels);

#endif
