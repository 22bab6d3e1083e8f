#include "core/broker/afar.h"

#include "core/base/assert.h"
#include "core/broker/broker_shared.h"
#include "core/broker/conn.h"
#include "core/broker/conn_tls.h"
#include "core/broker/login.h"
#include "core/broker/shard.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the front ------------------------------------------------------------------------------- */

/* What is not a whole packet waits, where one packet is one frame (struct ws_link). false: memory. */
static bool write_packets(struct conn *conn, struct slice bytes)
{
    struct partial *packet = &conn->packet;
    while (bytes.count > 0) {
        struct slice whole = bytes;
        struct frame frame;
        if (packet->count > 0) {
            size_t wanted = conn->packet_bytes == 0 ? 1 : conn->packet_bytes - packet->count;
            size_t count = wanted < bytes.count ? wanted : bytes.count;
            if (partial_append(packet, slice_head(bytes, count), conn->packet_bytes) != OK) {
                return false;
            }
            bytes = slice_skip(bytes, count);
            whole = slice_of(packet->blob->bytes, packet->count);
        }
        enum err err = frame_next(whole, LIMIT_PACKET_BYTES_MAX, &frame);
        if (err == ERR_MORE) {
            conn->packet_bytes = frame.total_bytes;
            if (packet->count > 0) {
                continue;
            }
            return partial_append(packet, whole, frame.total_bytes) == OK;
        }
        uint8_t *at = err != OK ? NULL : conn_packet(conn, frame.total_bytes, 0);
        if (at == NULL) {
            return false;
        }
        memcpy(at, whole.data, frame.total_bytes);
        if (packet->count > 0) {
            partial_deinit(packet);
            conn->packet_bytes = 0;
        } else {
            bytes = slice_skip(bytes, frame.total_bytes);
        }
    }
    return true;
}

static bool write_bytes(struct conn *conn, struct slice bytes)
{
    uint8_t *at = conn_packet(conn, (uint32_t)bytes.count, 0);
    if (at != NULL) {
        memcpy(at, bytes.data, bytes.count);
    }
    return at != NULL;
}

static void on_front_bytes(void *owner, struct slice bytes)
{
    struct conn *conn = owner;
    bool is_written = bytes.count == 0 ||
                      (conn->ws != NULL ? write_packets(conn, bytes) : write_bytes(conn, bytes));
    if (!is_written) {
        conn_drop(conn, ERR_NOMEM);
    } else if (!conn_has_room(conn)) {
        mesh_channel_pause(conn->shard->mesh, conn->afar->channel, true);
    }
}

static void on_front_room(void *owner)
{
    struct conn *conn = owner;
    conn->afar->is_full = false;
    conn_unpause(conn);
}

static void on_front_closed(void *owner, enum err why)
{
    struct conn *conn = owner;
    conn->afar->channel = NULL;
    conn_depart(conn, why);
}

static const struct mesh_channel_events front_events = {on_front_bytes, on_front_room,
                                                        on_front_closed};

enum err afar_begin(struct conn *conn, uint32_t partition, struct slice packet)
{
    struct shard *shard = conn->shard;
    struct tls_identity name;
    struct tls_facts facts = {.version = ""};
    struct auth_policy policy = login_policy(conn, &name);
    if (conn->tls != NULL) {
        tls_facts(conn->tls->tls, &facts);
    }
    struct mesh_client client = {
        .address_kind = conn->peer.kind,
        .port = conn->peer.port,
        .scope_id = conn->peer.scope_id,
        .listener_index = conn->listener_index,
        .is_private = conn->tls != NULL,
        .tls_version = slice_text(facts.version),
        .certificate_name = policy.has_certificate ? policy.certificate_name : slice_of(NULL, 0)};
    memcpy(client.ip, conn->peer.ip, sizeof(client.ip));
    conn->afar = calloc(1, sizeof(*conn->afar));
    if (conn->afar == NULL) {
        return ERR_NOMEM;
    }
    conn->afar->is_front = true;
    enum err err = mesh_channel_open(shard->mesh, partition, &client, &front_events, conn,
                                     &conn->afar->channel);
    if (err != OK) {
        afar_free(conn);
        return err;
    }
    conn->state = CONN_AFAR;
    conn->is_told = true; /* the other node tells its story */
    shard->connecting_count--;
    wheel_unset(shard->wheel, &conn->timer);
    afar_say(conn, packet);
    return OK;
}

void afar_say(struct conn *conn, struct slice bytes)
{
    struct afar *afar = conn->afar;
    if (afar->channel != NULL && !mesh_channel_send(conn->shard->mesh, afar->channel, bytes)) {
        afar->is_full = true;
        conn_pause(conn);
    }
}

void afar_wrote(struct conn *conn)
{
    if (conn->afar->channel != NULL && conn_has_room(conn)) {
        mesh_channel_pause(conn->shard->mesh, conn->afar->channel, false);
    }
}

/* ---- the other node ---------------------------------------------------------------------------- */

static void on_served_bytes(void *owner, struct slice bytes)
{
    struct conn *conn = owner;
    conn->has_spoken = true;
    conn_feed(conn, bytes);
}

static void on_served_room(void *owner)
{
    struct conn *conn = owner;
    conn->afar->is_full = false;
    conn_events.sent(conn);
}

static void on_served_closed(void *owner, enum err why)
{
    struct conn *conn = owner;
    conn->afar->channel = NULL;
    conn_events.closed(conn, why);
}

static const struct mesh_channel_events served_events = {on_served_bytes, on_served_room,
                                                         on_served_closed};

/* The front has counted it against its limits. */
static void count(struct conn *conn)
{
    struct broker *broker = conn->shard->broker;
    atomic_fetch_add_explicit(&broker->conn_count, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&broker->listener_conn_count[conn->listener_index], 1,
                              memory_order_relaxed);
    conn->is_counted = true;
}

static void text_keep(char *out, size_t out_bytes, struct slice text)
{
    snprintf(out, out_bytes, "%.*s", (int)text.count, (const char *)text.data);
}

void *afar_serve(struct shard *shard, struct mesh_channel *channel,
                 const struct mesh_client *client, const struct mesh_channel_events **events)
{
    struct peer peer = {
        .kind = client->address_kind, .port = client->port, .scope_id = client->scope_id};
    if (shard->state != SHARD_RUNNING || client->listener_index >= shard->config->listener_count) {
        return NULL;
    }
    memcpy(peer.ip, client->ip, sizeof(peer.ip));
    struct conn *conn = conn_new(shard, client->listener_index, &peer);
    if (conn == NULL) {
        return NULL;
    }
    conn->afar = calloc(1, sizeof(*conn->afar));
    if (conn->afar == NULL) {
        shard->connecting_count--;
        conn_free(conn);
        return NULL;
    }
    conn->afar->channel = channel;
    conn->afar->is_private = client->is_private;
    text_keep(conn->afar->tls_version, sizeof(conn->afar->tls_version), client->tls_version);
    text_keep(conn->afar->certificate_name, sizeof(conn->afar->certificate_name),
              client->certificate_name);
    conn->state = CONN_CONNECT;
    count(conn);
    *events = &served_events;
    return conn;
}

bool afar_write(struct conn *conn, const struct slice *parts, uint32_t count_of_parts)
{
    struct afar *afar = conn->afar;
    for (uint32_t i = 0; i < count_of_parts && afar->channel != NULL; i++) {
        afar->is_full = !mesh_channel_send(conn->shard->mesh, afar->channel, parts[i]);
    }
    return afar->is_full;
}

void afar_read(struct conn *conn, bool is_wanted)
{
    if (conn->afar->channel != NULL) {
        mesh_channel_pause(conn->shard->mesh, conn->afar->channel, !is_wanted);
    }
}

void afar_close(struct conn *conn)
{
    if (conn->afar != NULL && conn->afar->channel != NULL) {
        struct mesh_channel *channel = conn->afar->channel;
        conn->afar->channel = NULL;
        if (conn->shard->mesh != NULL) { /* else all are gone */
            mesh_channel_close(conn->shard->mesh, channel);
        }
    }
}

void afar_free(struct conn *conn)
{
    afar_close(conn);
    free(conn->afar);
    conn->afar = NULL;
}
