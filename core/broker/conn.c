#include "core/broker/conn.h"

#include "core/base/assert.h"
#include "core/base/ledger.h"
#include "core/broker/afar.h"
#include "core/broker/ceiling.h"
#include "core/broker/conn_tls.h"
#include "core/broker/deliver.h"
#include "core/broker/dispatch.h"
#include "core/broker/explain.h"
#include "core/broker/limits.h"
#include "core/broker/login.h"
#include "core/broker/on_close.h"
#include "core/broker/on_subscribe.h"
#include "core/broker/parting.h"
#include "core/broker/receipt.h"
#include "core/broker/replay.h"
#include "core/broker/shard.h"
#include "core/wire/control.h"
#include "core/wire/reason.h"

#include <stdlib.h>
#include <string.h>

enum {
    OUT_FAIR_BYTES = 64 * 1024, /* may wait for each reader, however short memory is */
    PARTIAL_CAPACITY_MIN = 64,
    PARTIAL_STEP = 128 * 1024, /* a large packet's buffer grows with what has really arrived */
};

#define LINGER_NS UINT64_C(5000000000) /* to write the rest to a slow reader before closing */
#define FIN_NS    UINT64_C(1000000000) /* for the client to close after our last word */

enum err partial_append(struct partial *partial, struct slice bytes, uint32_t capacity_hint)
{
    uint32_t needed = partial->count + (uint32_t)bytes.count;
    if (partial->blob == NULL || needed > partial->blob->capacity) {
        uint32_t capacity = needed < PARTIAL_CAPACITY_MIN ? PARTIAL_CAPACITY_MIN : needed;
        uint32_t step = partial->count > PARTIAL_STEP / 2 ? partial->count * 2 : PARTIAL_STEP;
        uint32_t wished = capacity_hint < step ? capacity_hint : step;
        capacity = wished > capacity ? wished : capacity;
        struct blob *blob = blob_new(capacity);
        if (blob == NULL) {
            return ERR_NOMEM;
        }
        if (partial->count > 0) {
            memcpy(blob->bytes, partial->blob->bytes, partial->count);
        }
        blob_unref(partial->blob);
        partial->blob = blob;
    }
    if (bytes.count > 0) {
        memcpy(partial->blob->bytes + partial->count, bytes.data, bytes.count);
    }
    partial->count = needed;
    return OK;
}

void partial_deinit(struct partial *partial)
{
    blob_unref(partial->blob);
    *partial = (struct partial){0};
}

struct slice conn_client_id(const struct conn *conn)
{
    return conn->session != NULL ? conn->session->client_id : slice_of(NULL, 0);
}

/* ---- writing ------------------------------------------------------------------------------- */

void conn_mark_dirty(struct conn *conn)
{
    if (!conn->is_dirty) {
        conn->is_dirty = true;
        list_push_back(&conn->shard->dirty, &conn->dirty_link);
    }
}

/* Not now: whoever writes may be in the middle of a walk over subscribers. */
static void doom(struct conn *conn, enum err why)
{
    conn->is_doomed = true;
    conn->doomed_by = why;
    conn_mark_dirty(conn);
}

static uint8_t *ws_frame(struct conn *conn, enum ws_opcode opcode, uint32_t count,
                         uint32_t following)
{
    uint8_t header[WS_HEADER_MAX];
    uint32_t header_bytes = (uint32_t)ws_header_encode(header, opcode, count);
    uint8_t *bytes = out_reserve(&conn->out, &conn->shard->output_bytes,
                                 header_bytes + count - following);
    if (bytes == NULL) {
        return NULL;
    }
    memcpy(bytes, header, header_bytes);
    return bytes + header_bytes;
}

uint8_t *conn_packet(struct conn *conn, uint32_t count, uint32_t following)
{
    if (conn->state >= CONN_PARTING || conn->state == CONN_MOVING) {
        return NULL;
    }
    if (conn->packet_max_out > 0 && count > conn->packet_max_out) {
        doom(conn,
             ERR_TOO_LARGE); /* it cannot be answered [MQTT-3.1.2-24]; of PUBLISH see deliver.c */
        return NULL;
    }
    uint8_t *bytes = conn->ws != NULL
                         ? ws_frame(conn, WS_OP_BINARY, count, following)
                         : out_reserve(&conn->out, &conn->shard->output_bytes, count - following);
    if (bytes == NULL) {
        doom(conn, ERR_NOMEM);
        return NULL;
    }
    metric_add(conn->shard->metrics, METRIC_packets_sent, 1);
    conn_mark_dirty(conn);
    return bytes;
}

void conn_pong(struct conn *conn, struct slice payload)
{
    if (!conn_has_room(conn)) {
        return; /* only the most recent ping has to be answered, RFC 6455 5.5.3 */
    }
    uint8_t *bytes = ws_frame(conn, WS_OP_PONG, (uint32_t)payload.count, 0);
    if (bytes == NULL) {
        doom(conn, ERR_NOMEM);
        return;
    }
    if (payload.count > 0) {
        memcpy(bytes, payload.data, payload.count);
    }
    conn_mark_dirty(conn);
}

/* The last frame of a WebSocket. */
static void ws_goodbye(struct conn *conn)
{
    uint16_t code = conn->ws->close_code != 0 ? conn->ws->close_code : WS_CLOSE_NORMAL;
    uint8_t *bytes = ws_frame(conn, WS_OP_CLOSE, 2, 0);
    if (bytes != NULL) {
        bytes[0] = (uint8_t)(code >> 8);
        bytes[1] = (uint8_t)code;
    }
}

bool conn_has_room(const struct conn *conn)
{
    const struct shard *shard = conn->shard;
    if (conn->out.bytes >= shard->config->output_bytes_max) {
        return false;
    }
    /* The last quarter of the memory is for messages, not for those who do not read. */
    return conn->out.bytes < OUT_FAIR_BYTES || !ceiling_is_near_for_slow(shard);
}

static void lost(struct conn *conn, enum err why);
static void on_sent(void *owner);

/* What is in flight, or will be next: sealed on a TLS connection. */
static struct conn_out *last_out(struct conn *conn)
{
    return conn->tls != NULL ? &conn->tls->cipher : &conn->out;
}

/* false: there is nothing to send. Nothing is in flight before. */
static bool send_next(struct conn *conn)
{
    struct slice parts[IO_PARTS_MAX];
    uint64_t bytes = 0;
    uint32_t count = conn->tls != NULL ? conn_tls_take(conn, parts, IO_PARTS_MAX, &bytes)
                                       : out_take(&conn->out, parts, IO_PARTS_MAX, &bytes);
    if (count == 0) {
        out_sent(last_out(conn), &conn->shard->output_bytes); /* segments that turned out empty */
        return false;
    }
    metric_add(conn->shard->metrics, METRIC_bytes_sent, bytes);
    if (!afar_is_served(conn->afar)) {
        io_send(conn->stream, parts, count);
    } else if (!afar_write(conn, parts, count)) {
        on_sent(conn);
    }
    return true;
}

bool conn_is_sending(const struct conn *conn)
{
    return afar_is_served(conn->afar) ? conn->afar->is_full : io_is_sending(conn->stream);
}

void conn_flush_before_move(struct conn *conn)
{
    if (!conn_is_sending(conn) && !send_next(conn)) {
        io_detach(conn->stream);
    }
}

/* What it said before it went is still to be handled: by holds_run(), or once its session is on disk. */
static bool is_unheard(const struct conn *conn)
{
    return conn->is_held || conn->state == CONN_COMMIT;
}

void conn_flush(struct conn *conn)
{
    if (conn->is_finishing) {
        out_clear(&conn->out, &conn->shard->output_bytes); /* nobody is there to hear it */
        if (!is_unheard(conn)) {
            lost(conn, conn->finished_by);
        }
        return;
    }
    if (conn->state == CONN_CLOSED || conn->state == CONN_MOVING) {
        return;
    }
    if (conn->is_doomed) {
        conn_drop(conn, conn->doomed_by != OK ? conn->doomed_by : ERR_NOMEM);
        return;
    }
    if (conn_is_sending(conn)) {
        return; /* on_sent marks it dirty again */
    }
    if (send_next(conn)) {
        return;
    }
    if (conn->state == CONN_CLOSING && afar_is_served(conn->afar)) {
        lost(conn, OK); /* the other end hears all of it first */
    } else if (conn->state == CONN_CLOSING) {
        conn->state = CONN_CLOSED;
        io_close_after_send(conn->stream, FIN_NS);
    }
}

static void on_sent(void *owner)
{
    struct conn *conn = owner;
    out_sent(last_out(conn), &conn->shard->output_bytes);
    conn->progress_ns = io_now_ns(conn->shard->io);
    if (conn->state == CONN_MOVING) {
        conn_flush_before_move(conn);
        return;
    }
    if (conn->state == CONN_OPEN) {
        deliver_pump(conn->session);
        conn_unpause(conn);
    } else if (conn->state == CONN_AFAR) {
        afar_wrote(conn);
    }
    if (conn->out.bytes > 0 || last_out(conn)->bytes > 0 || conn->state == CONN_CLOSING) {
        conn_mark_dirty(conn);
    }
}

/* ---- reading, paused ------------------------------------------------------------------------ */

static void read_set(struct conn *conn, bool is_wanted)
{
    if (afar_is_served(conn->afar)) {
        afar_read(conn, is_wanted);
    } else if (is_wanted) {
        io_resume(conn->stream);
    } else {
        io_pause(conn->stream);
    }
}

void conn_pause(struct conn *conn)
{
    if (!conn->is_read_paused && conn->state < CONN_PARTING && conn->state != CONN_MOVING &&
        !conn->is_finishing) {
        conn->is_read_paused = true;
        read_set(conn, false);
    }
}

void conn_unpause(struct conn *conn)
{
    const struct conn_work *work = conn->work;
    bool has_to_wait = conn->is_held || conn->state == CONN_VERIFY || conn->state == CONN_COMMIT ||
                       limits_must_wait(conn->limits) ||
                       (conn->state == CONN_AFAR && conn->afar->is_full) ||
                       (work != NULL && (work->receipt_count >= RECEIPTS_RESUME ||
                                         !list_is_empty(&work->stalled_link)));
    if (conn->is_read_paused && conn->state < CONN_PARTING && conn->state != CONN_MOVING &&
        conn_has_room(conn) && !has_to_wait && !conn->is_finishing) {
        conn->is_read_paused = false;
        read_set(conn, true);
    }
}

/* ---- the end ------------------------------------------------------------------------------- */

static void uncount(struct conn *conn)
{
    if (conn->is_counted) {
        conn->is_counted = false;
        shard_uncount_conn(conn->shard, conn->listener_index);
    }
    limits_leave(conn);
}

/* Nothing more will be answered, and nobody waits for it. */
static void work_stop(struct conn *conn)
{
    if (conn->work != NULL) {
        receipts_orphan(conn);
        subacks_orphan(conn);
        replays_free(conn);
        hold_drop(conn);
        withhold_drop(conn);
        list_remove(&conn->work->stalled_link);
        list_remove(&conn->work->replaying_link);
    }
}

static void work_free(struct conn *conn)
{
    struct conn_work *work = conn->work;
    if (work == NULL) {
        return;
    }
    work_stop(conn);
    partial_deinit(&work->stash);
    partial_deinit(&work->connect);
    inbound_deinit(&work->counted);
    alias_in_deinit(&work->alias_in);
    alias_out_deinit(&work->alias_out);
    auth_exchange_free(work->auth);
    ledger_add(LEDGER_CONNECTIONS, -ledger_block(sizeof(*work)));
    free(work);
}

enum err conn_prepare(struct conn *conn)
{
    if (conn->work != NULL) {
        return OK;
    }
    struct conn_work *work = calloc(1, sizeof(*work));
    if (work == NULL) {
        return ERR_NOMEM;
    }
    ledger_add(LEDGER_CONNECTIONS, ledger_block(sizeof(*work)));
    work->conn = conn;
    work->alias_in.count_max = conn->alias_in_max;
    work->alias_out.count_max = conn->alias_out_max;
    list_init(&work->hold.link);
    list_init(&work->withheld.link);
    list_init(&work->stalled_link);
    list_init(&work->replaying_link);
    list_init(&work->receipts);
    list_init(&work->subacks);
    list_init(&work->replays);
    conn->work = work;
    return OK;
}

/* What it waits for on disk concerns it no more. */
static void await_no_more(struct conn *conn)
{
    if (conn->awaited != NULL) {
        conn->awaited->conn = NULL;
        conn->awaited = NULL;
    }
}

void conn_free(struct conn *conn)
{
    struct shard *shard = conn->shard;
    await_no_more(conn);
    shard->conn_count--;
    uncount(conn);
    metric_sub(shard->metrics, METRIC_connections_open, 1);
    wheel_unset(shard->wheel, &conn->timer);
    list_remove(&conn->link);
    list_remove(&conn->dirty_link);
    work_free(conn);
    login_drop(conn);
    afar_free(conn);
    out_clear(&conn->out, &shard->output_bytes);
    conn_tls_free(conn->tls, &shard->output_bytes);
    limits_free(conn->limits);
    partial_deinit(&conn->packet);
    if (conn->ws != NULL) {
        ws_decoder_deinit(&conn->ws->decoder);
        free(conn->ws);
    }
    ledger_add(LEDGER_CONNECTIONS, -ledger_block(sizeof(*conn)));
    free(conn);
}

/*
 * It never came to a session, and why was not told yet: half a hello, silence, another protocol. Who
 * looks whether the port is open, or is alive, is no news at notice.
 */
static void early_end_tell(struct conn *conn, enum err why)
{
    static const char *const awaited[CONN_STATE_COUNT] = {
        [CONN_PROXY] = "waiting for the PROXY header",
        [CONN_TLS] = "waiting for the TLS handshake",
        [CONN_HTTP] = "waiting for the WebSocket handshake",
        [CONN_CONNECT] = "waiting for CONNECT",
        [CONN_MOVING] = "on its way to another shard",
        [CONN_AUTH] = "waiting for AUTH",
        [CONN_VERIFY] = "while its password was checked",
        [CONN_COMMIT] = "while its session was written to disk",
    };
    char host[ADDRESS_TEXT_MAX];
    bool is_probe = conn->has_spoken == 0 && (why == ERR_CLOSED || why == ERR_RESET);
    log_event(is_probe ? LOG_DEBUG : LOG_NOTICE, "connection closed before a session",
              LOG_TEXT("from", conn_peer_text(conn, host)),
              LOG_TEXT("listener", conn_listener(conn)->name), LOG_TEXT("reason", err_text(why)),
              LOG_TEXT("detail", awaited[conn->state]));
}

/* Whatever the reason: from here on the connection has no session and hears nothing. */
static void conn_leave(struct conn *conn, enum err why, enum will_fate will)
{
    struct shard *shard = conn->shard;
    if (conn->session == NULL && !conn->is_told) {
        early_end_tell(conn, why);
    }
    uncount(conn); /* a connection that only closes takes nobody's place */
    await_no_more(conn);
    if (conn->state < CONN_OPEN && conn->state != CONN_MOVING && conn->state != CONN_AFAR) {
        shard->connecting_count--;
    }
    if (conn->state == CONN_AFAR) {
        afar_close(conn);
    }
    if (conn->work != NULL) {
        replays_free(conn); /* they know the session's subscriptions, which may end with it */
        receipts_orphan(conn);
    }
    conn_tell(conn, &(struct trail_event){.what = why == OK ? TRAIL_CLEAN_END : TRAIL_DISCONNECTED,
                                          .why = why});
    if (conn->session != NULL) {
        hold_forget(shard, conn->session);
        char host[ADDRESS_TEXT_MAX];
        if (shard->config->connection_messages) {
            log_event(LOG_NOTICE, "client disconnected", LOG_SLICE("client", conn_client_id(conn)),
                      LOG_TEXT("from", conn_peer_text(conn, host)),
                      LOG_TEXT("reason", why == OK ? "client said DISCONNECT" : err_text(why)));
        }
        session_leave(conn, will);
    }
    work_stop(conn);
}

/* `closed` follows; or, if that has come already, the flush at the end of the turn. */
static void close_now(struct conn *conn)
{
    if (afar_is_served(conn->afar)) {
        conn->is_finishing = true;
    }
    if (conn->is_finishing) {
        conn_mark_dirty(conn);
    } else {
        io_close(conn->stream);
    }
}

static void conn_close_politely(struct conn *conn)
{
    conn->state = CONN_CLOSING;
    if (conn->ws != NULL) {
        ws_goodbye(conn);
    }
    wheel_set(conn->shard->wheel, &conn->timer, io_now_ns(conn->shard->io) + LINGER_NS);
    conn_mark_dirty(conn);
}

/* Why it ends, as far as that can be said. */
static void goodbye_write(struct conn *conn, enum err why)
{
    if (conn->state == CONN_COMMIT && why != ERR_TAKEN_OVER) { /* by itself: nothing was refused */
        connack_refuse(conn, why);
    } else if (conn->state == CONN_OPEN && conn->version == MQTT_5) {
        struct mqtt_control disconnect = {.reason = reason_from_err(why, MQTT_DISCONNECT)};
        uint32_t size = (uint32_t)mqtt_control_size(MQTT_DISCONNECT, &disconnect, MQTT_5);
        uint8_t *bytes = conn_packet(conn, size, 0);
        if (bytes != NULL) {
            struct writer w = {bytes, bytes + size};
            mqtt_control_encode(&w, MQTT_DISCONNECT, &disconnect, MQTT_5);
        }
    }
}

void conn_end(struct conn *conn, enum err why)
{
    hold_hear_out(conn);
    if (conn->state >= CONN_PARTING) {
        return;
    }
    if (conn->state == CONN_MOVING) {
        conn_drop(conn, why); /* its socket is on the way out: nothing can be said any more */
        return;
    }
    goodbye_write(conn, why);
    metric_add(conn->shard->metrics, METRIC_disconnects_server, 1);
    conn_leave(conn, why, WILL_PUBLISH);
    conn_close_politely(conn);
}

void conn_unload(struct conn *conn)
{
    ASSERT(conn->session != NULL);
    goodbye_write(conn, ERR_UNAVAILABLE);
    metric_add(conn->shard->metrics, METRIC_disconnects_server, 1);
    conn_leave(conn, ERR_UNAVAILABLE, WILL_STAYS);
    conn_close_politely(conn);
}

void conn_depart(struct conn *conn, enum err why)
{
    if (conn->state < CONN_PARTING) {
        conn_leave(conn, why, WILL_DROP);
        conn_close_politely(conn);
    }
}

void conn_end_by_client(struct conn *conn, bool with_will)
{
    const struct session *session = conn->session;
    bool is_lasting = session != NULL && session->is_durable;
    uint32_t partition = is_lasting ? session->partition : 0; /* it may end with its connection */
    metric_add(conn->shard->metrics, METRIC_disconnects_client, 1);
    conn_leave(conn, OK, with_will ? WILL_PUBLISH : WILL_DROP);
    if (!is_lasting || conn->is_finishing || !parting_await(conn, partition)) {
        conn_part(conn);
    }
}

void conn_part(struct conn *conn)
{
    bool is_silent = conn->is_finishing ||
                     (conn->ws == NULL && conn->out.bytes == 0 && last_out(conn)->bytes == 0);
    if (is_silent) {
        /* The usual end: it has said its last word and we owe none. */
        conn->state = CONN_CLOSED;
        wheel_unset(conn->shard->wheel, &conn->timer);
        close_now(conn);
        return;
    }
    conn_close_politely(conn);
}

void conn_drop(struct conn *conn, enum err why)
{
    if (conn->state == CONN_CLOSED) {
        return;
    }
    await_no_more(conn);
    if (conn->state < CONN_PARTING) {
        metric_add(conn->shard->metrics, METRIC_disconnects_server, 1);
        conn_leave(conn, why, WILL_PUBLISH);
    }
    conn->state = CONN_CLOSED;
    close_now(conn);
}

static void lost(struct conn *conn, enum err why)
{
    if (conn->state < CONN_PARTING) {
        /* Who looks whether the port is open is no client that was lost. */
        metric_add(conn->shard->metrics, METRIC_disconnects_lost, conn->session != NULL);
        conn_leave(conn, why, WILL_PUBLISH);
    }
    conn_free(conn);
}

static void on_closed(void *owner, enum err why)
{
    struct conn *conn = owner;
    if (is_unheard(conn)) {
        conn->is_finishing = true; /* conn_flush ends it */
        conn->finished_by = why;
        return;
    }
    lost(conn, why);
}

/* ---- time ---------------------------------------------------------------------------------- */

void conn_set_keepalive(struct conn *conn, uint32_t keepalive_s)
{
    /* One and a half times Keep Alive without a packet [MQTT-3.1.2-22] */
    conn->keepalive_ns = (uint64_t)keepalive_s * 1500000000;
    if (conn->keepalive_ns > 0) {
        wheel_set(conn->shard->wheel, &conn->timer,
                  io_now_ns(conn->shard->io) + conn->keepalive_ns);
    } else {
        wheel_unset(conn->shard->wheel, &conn->timer);
    }
}

static void on_timer(struct timer *timer)
{
    struct conn *conn = CONTAINER_OF(timer, struct conn, timer);
    uint64_t now = io_now_ns(conn->shard->io);
    if (conn->state >= CONN_PARTING) {
        conn_drop(conn, ERR_TIMEOUT);
    } else if (conn->state != CONN_OPEN) {
        conn_drop(conn, ERR_CONNECT_TIME);
    } else if (now < conn->last_read_ns + conn->keepalive_ns) {
        wheel_set(conn->shard->wheel, timer, conn->last_read_ns + conn->keepalive_ns);
    } else if (conn->is_read_paused) {
        /* It may have spoken, but we do not listen: the fault is not the client's alone. */
        conn->last_read_ns = now;
        wheel_set(conn->shard->wheel, timer, now + conn->keepalive_ns);
    } else {
        conn_end(conn, ERR_KEEPALIVE);
    }
}

/* ---- the beginning ------------------------------------------------------------------------- */

static void on_bytes(void *owner, struct slice bytes)
{
    struct conn *conn = owner;
    metric_add(conn->shard->metrics, METRIC_bytes_received, bytes.count);
    conn->has_spoken |= bytes.count > 0;
    conn_receive(conn, bytes);
}

const struct io_stream_events conn_events = {on_bytes, on_sent, on_closed, conn_on_detached};

const char *conn_peer_text(const struct conn *conn, char out[ADDRESS_TEXT_MAX])
{
    struct address address = {.kind = (enum address_kind)conn->peer.kind,
                              .port = conn->peer.port,
                              .scope_id = conn->peer.scope_id};
    memcpy(address.ip, conn->peer.ip, sizeof(address.ip));
    return address_text(&address, out);
}

struct conn *conn_new(struct shard *shard, uint32_t listener_index, const struct peer *peer)
{
    struct conn *conn = calloc(1, sizeof(*conn));
    if (conn == NULL) {
        return NULL;
    }
    ledger_add(LEDGER_CONNECTIONS, ledger_block(sizeof(*conn)));
    conn->shard = shard;
    conn->listener_index = listener_index;
    conn->peer = *peer;
    conn->version = MQTT_3_1_1;
    list_init(&conn->dirty_link);
    timer_init(&conn->timer, on_timer);
    list_push_back(&shard->conns, &conn->link);
    shard->conn_count++;
    shard->connecting_count++;
    conn->last_read_ns = io_now_ns(shard->io);
    conn->limits_generation = shard->limits_generation;
    metric_add(shard->metrics, METRIC_connections_open, 1);
    wheel_set(shard->wheel, &conn->timer,
              conn->last_read_ns + shard->config->connect_timeout_s * UINT64_C(1000000000));
    return conn;
}

enum conn_state conn_first_state(const struct conn *conn)
{
    if (conn_wants_tls(conn)) {
        return CONN_TLS;
    }
    return conn_listener(conn)->protocol == LISTENER_WEBSOCKETS ? CONN_HTTP : CONN_CONNECT;
}

const struct listener_config *conn_listener(const struct conn *conn)
{
    return &conn->shard->config->listeners[conn->listener_index];
}

struct peer peer_of(const struct address *address)
{
    struct peer peer = {
        .kind = (uint8_t)address->kind, .port = address->port, .scope_id = address->scope_id};
    memcpy(peer.ip, address->ip, sizeof(peer.ip));
    return peer;
}

bool conn_accept(struct shard *shard, uint32_t listener_index, struct io_stream *stream,
                 const struct peer *peer, struct conn_limits *limits)
{
    const struct listener_config *listener = &shard->config->listeners[listener_index];
    struct conn *conn = conn_new(shard, listener_index, peer);
    if (conn == NULL) {
        return false;
    }
    limits_seat(conn, limits);
    conn->is_counted = shard_count_conn(shard, listener_index);
    conn->is_one_too_many = !conn->is_counted;
    conn->stream = stream;
    conn->state = listener->proxy_protocol != PROXY_OFF ? CONN_PROXY : conn_first_state(conn);
    io_stream_set(stream, &conn_events, conn);
    metric_add(shard->metrics, METRIC_connections_accepted, 1);
    return true;
}
