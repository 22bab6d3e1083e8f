/*
 * From bytes to packets: PROXY header, WebSocket, MQTT frames.
 *
 * Whole packets are handled where they lie, in the receive buffer. Only the rest of an incomplete
 * one is copied; a large one is gathered in a block that becomes the message's payload, so it is
 * copied once, whatever its size.
 */
#include "core/base/assert.h"
#include "core/broker/afar.h"
#include "core/broker/ceiling.h"
#include "core/broker/conn.h"
#include "core/broker/conn_tls.h"
#include "core/broker/dispatch.h"
#include "core/broker/limits.h"
#include "core/broker/login.h"
#include "core/broker/mailbox.h"
#include "core/broker/receipt.h"
#include "core/broker/shard.h"
#include "core/wire/http.h"
#include "core/wire/proxy.h"
#include "core/wire/reason.h"

#include <stdlib.h>
#include <string.h>

enum { FRAME_HEAD_MAX = 5 };

/* ---- MQTT ---------------------------------------------------------------------------------- */

static enum err next_frame(const struct conn *conn, struct slice bytes, struct frame *frame)
{
    const struct config *config = conn->shard->config;
    uint64_t bytes_max = conn->state == CONN_OPEN ? config->packet_max_bytes
                                                  : config->connect_bytes_max;
    if (bytes.data[0] >> 4 != MQTT_PUBLISH && bytes_max > LIMIT_CONTROL_PACKET_BYTES) {
        bytes_max = LIMIT_CONTROL_PACKET_BYTES;
    }
    uint32_t max = bytes_max > UINT32_MAX ? UINT32_MAX : (uint32_t)bytes_max;
    return conn->version == MQTT_3_1 ? frame_next_3_1(bytes, max, frame)
                                     : frame_next(bytes, max, frame);
}

/* Everything a connection says ends here; an error is its end. */
static void handle(struct conn *conn, const struct frame *frame, struct slice bytes,
                   struct blob *blob)
{
    struct packet packet = {.frame = *frame, .bytes = bytes, .blob = blob};
    conn->last_read_ns = io_now_ns(conn->shard->io);
    enum err err = dispatch_packet(conn, &packet);
    if (err != OK && conn->state < CONN_PARTING) {
        conn_end(conn, err);
    }
}

static bool wants_packets(const struct conn *conn)
{
    return conn->state == CONN_CONNECT || conn->state == CONN_AUTH || conn->state == CONN_OPEN;
}

/*
 * There is no memory left for a large PUBLISH: answer it by its head and skip the rest, so that the
 * client hears why and the connection goes on. false: the head is not there yet, or it is another
 * packet.
 */
static bool refuse_large(struct conn *conn)
{
    const uint8_t *bytes = conn->packet.blob->bytes;
    uint8_t qos = (bytes[0] >> 1) & 3;
    struct reader r = reader_of(slice_of(bytes + 1, conn->packet.count - 1));
    uint32_t remaining;
    uint16_t packet_id = 0;
    struct slice topic;
    if (bytes[0] >> 4 != MQTT_PUBLISH || conn->state != CONN_OPEN || qos == 3 ||
        read_varint(&r, &remaining) != OK || read_text(&r, &topic) != OK ||
        (qos > 0 && (read_u16(&r, &packet_id) != OK || packet_id == 0))) {
        return false;
    }
    enum err err = publish_refuse(conn, qos, packet_id, topic, ERR_QUOTA);
    conn->skip_bytes = conn->packet_bytes - conn->packet.count;
    partial_deinit(&conn->packet);
    conn->packet_bytes = 0;
    if (err != OK) {
        conn_end(conn, err);
    }
    return true;
}

static bool memory_is_short(const struct conn *conn)
{
    return conn->packet_bytes > OUT_REFERENCE_BYTES && ceiling_is_reached(conn->shard);
}

/* Add to the incomplete packet what belongs to it; returns how much that was. */
static size_t complete_packet(struct conn *conn, struct slice bytes)
{
    struct partial *packet = &conn->packet;
    /* The size is unknown until the head is whole: take it byte by byte, there are at most five. */
    size_t wanted = conn->packet_bytes == 0 ? 1 : conn->packet_bytes - packet->count;
    size_t count = wanted < bytes.count ? wanted : bytes.count;
    if (memory_is_short(conn)) {
        if (refuse_large(conn)) {
            return 0;
        }
        count = count < OUT_REFERENCE_BYTES ? count
                                            : OUT_REFERENCE_BYTES; /* until the head is in */
        if (packet->count > MQTT_TEXT_MAX + OUT_REFERENCE_BYTES) {
            conn_end(conn, ERR_QUOTA);
            return 0;
        }
    }
    if (partial_append(packet, slice_head(bytes, count), conn->packet_bytes) != OK) {
        conn_end(conn, ERR_NOMEM);
        return bytes.count;
    }
    if (conn->packet_bytes > OUT_REFERENCE_BYTES) {
        /* A large packet on a slow line: nothing else can be said meanwhile, not even PINGREQ. */
        conn->last_read_ns = io_now_ns(conn->shard->io);
    }
    struct frame frame;
    struct slice whole = slice_of(packet->blob->bytes, packet->count);
    enum err err = next_frame(conn, whole, &frame);
    if (err == ERR_MORE) {
        conn->packet_bytes = frame.total_bytes;
    } else if (err == OK) {
        struct partial taken = *packet;
        *packet = (struct partial){0};
        conn->packet_bytes = 0;
        handle(conn, &frame, whole, taken.blob);
        partial_deinit(&taken);
    } else {
        conn_end(conn, err);
    }
    return count;
}

/* What is not handled now, and has to be later. false: memory is exhausted. */
static bool keep(struct conn *conn, struct slice bytes)
{
    if (conn->is_held && conn->ws == NULL) {
        return hold_keep(conn, bytes);
    }
    bool is_kept = conn->state == CONN_MOVING || conn->state == CONN_VERIFY ||
                   conn->state == CONN_COMMIT || conn->is_held;
    return !is_kept || partial_append(&conn->packet, bytes, 0) == OK;
}

void conn_feed_mqtt(struct conn *conn, struct slice bytes)
{
    if (conn->state == CONN_AFAR) {
        afar_say(conn, bytes);
        return;
    }
    while (bytes.count > 0 && wants_packets(conn) && !conn->is_held) {
        if (conn->skip_bytes > 0) {
            size_t skipped = conn->skip_bytes < bytes.count ? conn->skip_bytes : bytes.count;
            conn->skip_bytes -= (uint32_t)skipped;
            bytes = slice_skip(bytes, skipped);
            continue;
        }
        if (conn->packet.count > 0) {
            bytes = slice_skip(bytes, complete_packet(conn, bytes));
            continue;
        }
        struct frame frame;
        enum err err = next_frame(conn, bytes, &frame);
        if (err == OK) {
            handle(conn, &frame, slice_head(bytes, frame.total_bytes), NULL);
            bytes = slice_skip(bytes, frame.total_bytes);
        } else if (err == ERR_MORE) {
            conn->packet_bytes = frame.total_bytes;
            if (partial_append(&conn->packet, bytes, frame.total_bytes) != OK) {
                conn_end(conn, ERR_NOMEM);
            } else if (memory_is_short(conn)) {
                refuse_large(conn);
            }
            return;
        } else {
            conn_end(conn, err);
        }
    }
    if (bytes.count > 0 && conn->state == CONN_AFAR) {
        afar_say(conn, bytes); /* behind the CONNECT */
    } else if (bytes.count > 0 && !keep(conn, bytes)) {
        conn_drop(conn, ERR_NOMEM);
    }
}

/* ---- WebSocket ----------------------------------------------------------------------------- */

static void ws_refuse(struct conn *conn, uint16_t status, enum err why)
{
    uint8_t reply[WS_REPLY_MAX];
    size_t count = ws_handshake_refuse(status, reply);
    uint8_t *bytes = conn_packet(conn, (uint32_t)count, 0);
    if (bytes != NULL) {
        memcpy(bytes, reply, count);
        conn_end(conn, why);
    }
}

static bool origin_is_allowed(const struct conn *conn, struct slice origin)
{
    const struct config_list *allowed = &conn_listener(conn)->websockets_origins;
    for (uint32_t i = 0; i < allowed->count; i++) {
        if (http_text_equal(origin, slice_text(allowed->items[i]))) {
            return true;
        }
    }
    return allowed->count == 0;
}

static void ws_open(struct conn *conn, const struct http_head *head)
{
    struct ws_handshake handshake;
    uint16_t status = ws_handshake_check(head, &handshake);
    if (status == 101 && !slice_is(handshake.path, "/mqtt") && !slice_is(handshake.path, "/")) {
        status = 404;
    }
    if (status == 101 && !origin_is_allowed(conn, handshake.origin)) {
        status = 403;
    }
    if (status != 101) {
        ws_refuse(conn, status, ERR_PROTOCOL);
        return;
    }
    uint8_t reply[WS_REPLY_MAX];
    size_t count = ws_handshake_accept(&handshake, reply);
    uint8_t *bytes = conn_packet(conn, (uint32_t)count, 0);
    if (bytes == NULL) {
        return;
    }
    memcpy(bytes, reply, count);
    conn_flush(conn); /* the answer is no WebSocket frame: it leaves before there is a ws_link */
    conn->ws = calloc(1, sizeof(*conn->ws));
    if (conn->ws == NULL) {
        conn_drop(conn, ERR_NOMEM);
        return;
    }
    conn->state = CONN_CONNECT;
}

/* The head of the request gathers in conn->packet; what follows it is WebSocket. */
static struct slice feed_http(struct conn *conn, struct slice bytes)
{
    if (conn_prepare(conn) != OK) {
        conn_drop(conn, ERR_NOMEM);
        return slice_of(NULL, 0);
    }
    uint32_t head_max = conn->shard->config->websockets_headers_max;
    head_max = head_max == 0 ? 8192 : head_max;
    size_t room = head_max > conn->packet.count ? head_max - conn->packet.count : 0;
    size_t count = bytes.count < room + 1 ? bytes.count : room + 1;
    size_t before = conn->packet.count, head_bytes;
    if (partial_append(&conn->packet, slice_head(bytes, count), 0) != OK) {
        conn_drop(conn, ERR_NOMEM);
        return slice_of(NULL, 0);
    }
    struct slice text = slice_of(conn->packet.blob->bytes, conn->packet.count);
    enum err err = http_head_find(text, head_max, &conn->work->http_scanned, &head_bytes);
    if (err == ERR_MORE) {
        return slice_of(NULL, 0);
    }
    struct http_head head;
    err = err == OK ? http_request_parse(slice_head(text, head_bytes), &head) : err;
    if (err != OK) {
        ws_refuse(conn, http_status_of(err), err);
        return slice_of(NULL, 0);
    }
    ws_open(conn, &head);
    partial_deinit(&conn->packet);
    return slice_skip(bytes, head_bytes - before);
}

static void on_ws_event(struct conn *conn, enum ws_event event, struct slice payload)
{
    switch (event) {
    case WS_DATA:
        conn_feed_mqtt(conn, payload);
        break;
    case WS_PING:
        conn_pong(conn, payload);
        break;
    case WS_CLOSE:
        conn->ws->close_code = WS_CLOSE_NORMAL;
        conn_end(conn, ERR_CLOSED);
        break;
    case WS_PONG:
    case WS_MORE:
        break;
    }
}

static bool stash(struct conn *conn, struct slice bytes)
{
    return bytes.count == 0 ||
           (conn_prepare(conn) == OK && partial_append(&conn->work->stash, bytes, 0) == OK);
}

static void feed_ws(struct conn *conn, struct slice bytes)
{
    /* Receive buffers are ours alone until the event returns: unmasking in place harms nobody. */
    uint8_t *at = (uint8_t *)(uintptr_t)bytes.data;
    size_t left = bytes.count;
    while ((wants_packets(conn) || conn->state == CONN_AFAR) && !conn->is_held) {
        enum ws_event event;
        struct slice payload;
        uint16_t close_code;
        enum err err = ws_decode(&conn->ws->decoder, &at, &left, &event, &payload, &close_code);
        if (err != OK) {
            conn->ws->close_code = close_code;
            conn_end(conn, err);
            return;
        }
        if (event == WS_MORE) {
            return;
        }
        on_ws_event(conn, event, payload);
    }
    bool is_kept = true;
    if (conn->state == CONN_MOVING || conn->state == CONN_COMMIT) {
        is_kept = stash(conn, slice_of(at, left));
    } else if (conn->state == CONN_VERIFY) {
        is_kept = partial_append(&conn->login->stash, slice_of(at, left), 0) == OK;
    } else if (conn->is_held) {
        is_kept = hold_keep(conn, slice_of(at, left));
    }
    if (!is_kept) {
        conn_drop(conn, ERR_NOMEM);
    }
}

/* ---- PROXY --------------------------------------------------------------------------------- */

static void take_proxied_peer(struct conn *conn, const struct proxy_address *source)
{
    if (source->family != PROXY_IP4 && source->family != PROXY_IP6) {
        return; /* a Unix socket, or nothing told: the balancer stays the peer */
    }
    conn->peer = (struct peer){.kind = source->family == PROXY_IP4 ? ADDRESS_IP4 : ADDRESS_IP6,
                               .port = source->port};
    memcpy(conn->peer.ip, source->ip, sizeof(conn->peer.ip));
}

static bool version_is_wanted(const struct conn *conn, uint8_t version)
{
    switch (conn_listener(conn)->proxy_protocol) {
    case PROXY_V1:
        return version == 1;
    case PROXY_V2:
        return version == 2;
    case PROXY_AUTO:
        return true;
    case PROXY_OFF:
        break;
    }
    return false;
}

/* Returns what follows the header. */
static struct slice feed_proxy(struct conn *conn, struct slice bytes)
{
    struct proxy proxy;
    size_t used;
    size_t before = conn->packet.count;
    if (partial_append(&conn->packet, bytes, 0) != OK) {
        conn_drop(conn, ERR_NOMEM);
        return slice_of(NULL, 0);
    }
    struct slice gathered = slice_of(conn->packet.blob->bytes, conn->packet.count);
    enum err err = proxy_decode(gathered, &proxy, &used);
    if (err == ERR_MORE) {
        return slice_of(NULL, 0);
    }
    bool may_lack = conn_listener(conn)->proxy_protocol == PROXY_AUTO && err == ERR_MALFORMED;
    if ((err != OK && !may_lack) || (err == OK && !version_is_wanted(conn, proxy.version))) {
        conn_drop(conn, ERR_MALFORMED);
        return slice_of(NULL, 0);
    }
    if (err == OK && !proxy.is_local) {
        take_proxied_peer(conn, &proxy.source);
    }
    bool is_health_check = err == OK && proxy.is_local;
    enum err admitted = is_health_check ? OK : limits_proxied(conn);
    if (admitted != OK) {
        conn_drop(conn, admitted);
        return slice_of(NULL, 0);
    }
    conn->state = conn_first_state(conn);
    struct partial all = conn->packet;
    conn->packet = (struct partial){0};
    if (err == OK) {
        ASSERT(used >= before);
        partial_deinit(&all);
        return slice_skip(bytes, used - before);
    }
    conn_receive(conn, gathered); /* no header after all: it was the client speaking */
    partial_deinit(&all);
    return slice_of(NULL, 0);
}

/* Mail finds no room, or the disk: whoever may have caused it (not PUBLISH alone does) waits. */
static void stall(struct conn *conn)
{
    if (conn_prepare(conn) != OK) {
        return;
    }
    if (list_is_empty(&conn->work->stalled_link)) {
        list_push_back(&conn->shard->stalled, &conn->work->stalled_link);
    }
    conn_pause(conn);
}

void conn_feed(struct conn *conn, struct slice bytes)
{
    if (conn->is_held) {
        if (!hold_keep(conn, bytes)) {
            conn_drop(conn, ERR_NOMEM);
        }
        return;
    }
    if (conn->state == CONN_HTTP && bytes.count > 0) {
        bytes = feed_http(conn, bytes);
    }
    if (bytes.count == 0 || conn->state >= CONN_PARTING) {
        return;
    }
    if (conn->state == CONN_MOVING || conn->state == CONN_COMMIT) {
        if (!stash(conn, bytes)) {
            conn_drop(conn, ERR_NOMEM);
        }
    } else if (conn->state == CONN_VERIFY) { /* reading is paused: a little may come all the same */
        if (partial_append(&conn->login->stash, bytes, 0) != OK) {
            conn_drop(conn, ERR_NOMEM);
        }
    } else if (conn->ws != NULL) {
        feed_ws(conn, bytes);
    } else {
        conn_feed_mqtt(conn, bytes);
    }
    limits_charge(conn);
    if (conn->state == CONN_OPEN &&
        (!conn_has_room(conn) ||
         (conn->work != NULL && conn->work->receipt_count >= RECEIPTS_PAUSE))) {
        conn_pause(conn); /* it asks faster than it listens */
    }
    if (conn->state == CONN_OPEN && shard_is_stalled(conn->shard)) {
        stall(conn);
    }
}

void conn_receive(struct conn *conn, struct slice bytes)
{
    if (conn->limits != NULL) {
        conn->limits->bytes += bytes.count;
    }
    if (conn->state == CONN_PROXY) {
        bytes = feed_proxy(conn, bytes);
    }
    if (bytes.count == 0) {
        return;
    }
    if (conn->state == CONN_TLS || conn->tls != NULL) {
        conn_tls_receive(conn, bytes);
    } else {
        conn_feed(conn, bytes);
    }
}
