/*
 * What comes in: runs of whole frames go to the feed as they lie, a frame that came in parts when its
 * last part is there, and what is no PUBLISH is answered.
 */
#include "bench/limit/client.h"

#include <errno.h>
#include <string.h>

enum { CONTROL_BYTES_MAX = 4096 };

/* ---- packets that are not forwarded */

/* Refused clients are closed by whoever received from them. */
static void refuse(struct forward *forward, struct client *client, const char *why)
{
    complain(forward, client, why);
    client->is_closing = true;
}

static void on_connect(struct forward *forward, struct client *client, const uint8_t *data,
                       uint32_t count)
{
    static const uint8_t connack[] = {PACKET_CONNACK << 4, 2, 0, 0};
    static const uint8_t connack5[] = {PACKET_CONNACK << 4, 3, 0, 0, 0};
    struct connect connect;

    if (client->is_connected || !packet_connect(data, count, &connect) ||
        connect.index > FEED_INDEX_MAX) {
        refuse(forward, client, "sent a CONNECT that is none of tern-bench");
        return;
    }
    client->is_connected = true;
    client->version = connect.version;
    client->role = connect.role;
    client->index = connect.index;
    if (client->role == ROLE_WRITER) {
        attach(forward, client);
    }
    bool is_5 = client->version == 5;
    reply(forward, client, is_5 ? connack5 : connack, is_5 ? sizeof(connack5) : sizeof(connack));
}

/* The filters of `run pairs`, `run fanout` and `run fanin`; what else there is, is not this shape. */
static bool is_served(const struct forward *forward, const struct client *client,
                      const struct subscribe *subscribe)
{
    if (client->role != ROLE_READER || subscribe->filter_count != 1) {
        return false;
    }
    if (forward->options->shape->is_paired) {
        return subscribe->is_number && subscribe->number == client->index;
    }
    return subscribe->is_all || (subscribe->is_number && subscribe->number == 0);
}

static void on_subscribe(struct forward *forward, struct client *client, const uint8_t *data,
                         uint32_t count)
{
    struct subscribe subscribe;
    if (!packet_subscribe(data, count, client->version, &subscribe) ||
        !is_served(forward, client, &subscribe)) {
        refuse(forward, client,
               "sent a SUBSCRIBE that does not fit: only `tern-bench run` with the scenario that "
               "--shape names is forwarded");
        return;
    }
    attach(forward, client);
    uint8_t suback[6] = {PACKET_SUBACK << 4, 3, (uint8_t)(subscribe.id >> 8),
                         (uint8_t)subscribe.id};
    if (client->version == 5) {
        suback[1] = 4; /* no properties, then the code */
    }
    reply(forward, client, suback, 2u + suback[1]);
}

static void on_control(struct forward *forward, struct client *client, const uint8_t *data,
                       uint32_t count)
{
    static const uint8_t pingresp[] = {PACKET_PINGRESP << 4, 0};
    uint8_t type = data[0] >> 4;
    if (!client->is_connected && type != PACKET_CONNECT) {
        refuse(forward, client, "does not begin with CONNECT");
        return;
    }
    switch (type) {
    case PACKET_CONNECT:
        on_connect(forward, client, data, count);
        return;
    case PACKET_SUBSCRIBE:
        on_subscribe(forward, client, data, count);
        return;
    case PACKET_PINGREQ:
        reply(forward, client, pingresp, sizeof(pingresp));
        return;
    case PACKET_DISCONNECT:
        return; /* its end of the stream follows */
    case PACKET_PUBLISH:
        refuse(forward, client, "sent a PUBLISH with QoS 1 or 2: only QoS 0 is forwarded");
        return;
    default:
        refuse(forward, client, "sent a packet that is not served: only QoS 0 is forwarded");
        return;
    }
}

/* ---- receiving */

static void publish(struct forward *forward, struct client *client, const struct span *span)
{
    if (client->role != ROLE_WRITER) {
        refuse(forward, client, "sent a PUBLISH: only clients bench-pub-N of `tern-bench run` may");
        return;
    }
    feed_append(client->feed, &forward->pool, span);
    mark_dirty(forward, client->feed);
}

/* The frame in client->held is whole. */
static void release_held(struct forward *forward, struct client *client)
{
    uint8_t control[CONTROL_BYTES_MAX];
    uint32_t count = 0;
    bool is_forwarded = packet_is_forwarded(client->head[0]);

    if (!is_forwarded && client->frame_bytes > sizeof(control)) {
        refuse(forward, client, "sent a large packet that is no PUBLISH with QoS 0");
    }
    for (uint32_t i = 0; i < client->held_count; i++) {
        const struct span *span = &client->held[i];
        if (!client->is_closing && is_forwarded) {
            publish(forward, client, span);
        } else if (!client->is_closing) {
            memcpy(control + count, span->data, span->bytes);
            count += span->bytes;
        }
    }
    if (!client->is_closing && is_forwarded) {
        forward->totals.frames++;
    } else if (!client->is_closing) {
        on_control(forward, client, control, count);
    }
    for (uint32_t i = 0; i < client->held_count; i++) {
        pool_unref(&forward->pool, client->held[i].buffer);
    }
    client->held_count = client->held_bytes = client->frame_bytes = client->head_count = 0;
}

/* Keep bytes of a frame that is not whole yet; returns how many belong to it. */
static uint32_t hold(struct forward *forward, struct client *client, const struct span *piece)
{
    uint32_t used = 0;
    while (client->frame_bytes == 0 && used < piece->bytes) {
        client->head[client->head_count++] = piece->data[used++];
        client->frame_bytes = packet_bytes(client->head, client->head_count);
    }
    if (client->frame_bytes == PACKET_BYTES_BAD) {
        refuse(forward, client, "sent a length that is none");
        return piece->bytes;
    }
    if (client->frame_bytes != 0) {
        uint32_t missing = client->frame_bytes - client->held_bytes - used;
        uint32_t rest = piece->bytes - used;
        used += rest < missing ? rest : missing;
    }
    client->held = grown(client->held, &client->held_size, client->held_count + 1,
                         sizeof(client->held[0]));
    client->held[client->held_count++] = (struct span){.data = piece->data,
                                                       .bytes = used,
                                                       .buffer = piece->buffer,
                                                       .begins_frame = client->held_bytes == 0};
    pool_ref(&forward->pool, piece->buffer);
    client->held_bytes += used;
    if (client->held_bytes == client->frame_bytes) {
        release_held(forward, client);
    }
    return used;
}

/* Frames to forward from the front of data, and nothing else; how many bytes they are. */
static uint32_t run_of_frames(const uint8_t *data, uint32_t bytes, uint64_t *frames)
{
    uint32_t used = 0;
    while (used < bytes && packet_is_forwarded(data[used])) {
        uint32_t frame_bytes = packet_bytes(data + used, bytes - used);
        if (frame_bytes == 0 || frame_bytes > bytes - used) {
            break;
        }
        used += frame_bytes;
        (*frames)++;
    }
    return used;
}

static void take(struct forward *forward, struct client *client, struct span piece)
{
    while (piece.bytes > 0 && !client->is_closing) {
        uint32_t used = 0;
        if (client->held_count == 0) {
            used = run_of_frames(piece.data, piece.bytes, &forward->totals.frames);
        }
        if (used > 0) {
            struct span run = piece;
            run.bytes = used;
            publish(forward, client, &run);
        } else {
            used = hold(forward, client, &piece);
        }
        piece.data += used;
        piece.bytes -= used;
    }
}

void on_received(struct forward *forward, struct client *client, const struct io_uring_cqe *cqe)
{
    forward->totals.receives++;
    if ((cqe->flags & IORING_CQE_F_MORE) == 0) {
        client->is_armed = false;
    }
    if (cqe->res > 0) {
        struct span piece = {.bytes = (uint32_t)cqe->res, .begins_frame = true};
        piece.data = pool_take(&forward->pool, cqe->flags, piece.bytes, &piece.buffer);
        take(forward, client, piece);
        pool_unref(&forward->pool, piece.buffer);
    }
    bool is_over = cqe->res == 0 ||
                   (cqe->res < 0 && cqe->res != -ENOBUFS && cqe->res != -ECANCELED);
    if (is_over || client->is_closing) {
        client_close(forward, client);
    } else if (client->is_armed) {
        return;
    } else if (cqe->res == -ENOBUFS) {
        list_remove(&client->starved);
        list_push_back(&forward->starved, &client->starved);
    } else if (client->feed == NULL || client->role != ROLE_WRITER || !client->feed->is_paused) {
        arm(forward, client);
    }
}
