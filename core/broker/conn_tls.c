#include "core/broker/conn_tls.h"

#include "core/base/assert.h"
#include "core/base/ledger.h"
#include "core/base/log.h"
#include "core/broker/explain.h"
#include "core/broker/security.h"
#include "core/broker/shard.h"

#include <stdlib.h>

enum {
    HANDSHAKE_BUDGET = 32, /* of a turn */
    HANDSHAKE_COST =
        8, /* of a step that signs: 130 us with ECDSA, so a turn has half a millisecond */
    HANDSHAKE_COST_LESS = 2,
    WAITING_PAUSE = 32 * 1024,     /* came ahead of a step: no more is read until it is taken */
    WAITING_MAX = 8 * 1024 * 1024, /* what may have been received already by then */
    SEAL_BYTES_MAX = 64 * 1024,    /* of plain bytes per flush */
    LINK_BYTES = 4 * 1024,         /* what it keeps, with BoringSSL's part: test_tls_memory.c */
};

/* A signature on its way through a worker. Outlives its connection, if that goes first. */
struct signing {
    struct work work;
    struct tls_signature *signature;
    struct conn_tls *link; /* NULL: the connection is gone */
};

bool conn_wants_tls(const struct conn *conn)
{
    return conn_listener(conn)->certfile[0] != 0;
}

static bool on_cipher(void *owner, struct slice cipher)
{
    struct conn_tls *link = owner;
    uint64_t nowhere = 0; /* on its way between two shards: conn_tls_carry() adds it up */
    uint64_t *output_bytes = link->conn != NULL ? &link->conn->shard->output_bytes : &nowhere;
    uint8_t *bytes = out_reserve(&link->cipher, output_bytes, (uint32_t)cipher.count);
    if (bytes == NULL) {
        return false;
    }
    memcpy(bytes, cipher.data, cipher.count);
    return true;
}

static enum err link_new(struct conn *conn)
{
    const struct security *security = conn->shard->security;
    struct tls_context *context = security != NULL ? security->listeners[conn->listener_index].tls
                                                   : NULL;
    if (context == NULL) {
        return ERR_UNAVAILABLE; /* it came while TLS was being turned on; never in clear */
    }
    struct conn_tls *link = calloc(1, sizeof(*link));
    if (link == NULL) {
        return ERR_NOMEM;
    }
    link->tls = tls_new(context, NULL);
    if (link->tls == NULL) {
        free(link);
        return ERR_NOMEM;
    }
    ledger_add(LEDGER_CONNECTIONS, LINK_BYTES);
    tls_set_sink(link->tls, on_cipher, link);
    list_init(&link->queue_link);
    link->conn = conn;
    conn->tls = link;
    return OK;
}

void conn_tls_carry(struct conn_tls *link, struct shard *from, struct conn *conn)
{
    if (from != NULL) {
        from->output_bytes -= link->cipher.bytes;
    }
    if (conn != NULL) {
        conn->shard->output_bytes += link->cipher.bytes;
    }
    link->conn = conn;
}

void conn_tls_free(struct conn_tls *link, uint64_t *output_bytes)
{
    if (link == NULL) {
        return;
    }
    if (link->signing != NULL) {
        link->signing->link = NULL;
    }
    list_remove(&link->queue_link);
    out_clear(&link->cipher, output_bytes);
    partial_deinit(&link->waiting);
    tls_free(link->tls);
    ledger_add(LEDGER_CONNECTIONS, -LINK_BYTES);
    free(link);
}

/* ---- the handshake ------------------------------------------------------------------------- */

/* The client cannot be told in MQTT: TLS says its alert, and why stands in log and trail. */
static void refuse(struct conn_tls *link, enum err why)
{
    struct conn *conn = link->conn;
    struct shard *shard = conn->shard;
    bool is_ours = why == ERR_NOMEM || why == ERR_BUSY || why == ERR_TOO_LARGE;
    why = is_ours ? why : ERR_TLS;
    const char *reason = is_ours ? err_text(why) : tls_failure(link->tls);
    char host[ADDRESS_TEXT_MAX];
    conn->is_told = true;
    metric_add(shard->metrics, METRIC_tls_handshakes_failed, !tls_is_open(link->tls));
    log_event(LOG_NOTICE, "tls refused", LOG_TEXT("from", conn_peer_text(conn, host)),
              LOG_TEXT("listener", conn_listener(conn)->name), LOG_TEXT("reason", reason));
    conn_tell(conn, &(struct trail_event){
                        .what = TRAIL_TLS_FAILED, .why = why, .detail = slice_text(reason)});
    conn_end(conn, why);
}

static void enqueue(struct conn_tls *link)
{
    if (list_is_empty(&link->queue_link)) {
        list_push_back(&link->conn->shard->handshakes, &link->queue_link);
    }
}

static void on_signature_made(struct work *work)
{
    tls_signature_make(CONTAINER_OF(work, struct signing, work)->signature);
}

static void on_signature_back(struct work *work)
{
    struct signing *signing = CONTAINER_OF(work, struct signing, work);
    struct conn_tls *link = signing->link;
    if (link == NULL) {
        tls_signature_free(signing->signature);
    } else {
        link->signing = NULL;
        tls_signature_done(link->tls, signing->signature);
        enqueue(link);
    }
    free(signing);
}

static enum err sign_elsewhere(struct conn_tls *link)
{
    struct signing *signing = calloc(1, sizeof(*signing));
    if (signing == NULL) {
        return ERR_NOMEM;
    }
    *signing = (struct signing){.work = {.run = on_signature_made, .done = on_signature_back},
                                .signature = tls_signature_take(link->tls),
                                .link = link};
    enum err err = workers_submit(&link->conn->shard->signing, &signing->work);
    if (err != OK) {
        tls_signature_free(signing->signature);
        free(signing);
        return err;
    }
    link->signing = signing;
    return OK;
}

static void on_open(struct conn *conn)
{
    struct tls_facts facts;
    tls_facts(conn->tls->tls, &facts);
    metric_add(conn->shard->metrics,
               facts.is_resumed ? METRIC_tls_handshakes_resumed : METRIC_tls_handshakes, 1);
    conn->state = conn_listener(conn)->protocol == LISTENER_WEBSOCKETS ? CONN_HTTP : CONN_CONNECT;
}

static void read_plain(struct conn_tls *link)
{
    static _Thread_local uint8_t plain[TLS_PLAIN_BYTES]; /* of no use after the call */
    struct conn *conn = link->conn;
    while (conn->state < CONN_PARTING) {
        size_t count;
        enum err err = tls_read(link->tls, plain, &count);
        if (err == OK) {
            conn_feed(conn, slice_of(plain, count));
        } else if (err == ERR_MORE) {
            break;
        } else if (err == ERR_CLOSED) {
            conn_drop(conn, ERR_CLOSED);
        } else {
            refuse(link, err);
        }
    }
}

/* Take the next step with these bytes, and keep what it leaves. */
static void step(struct conn_tls *link, struct slice bytes)
{
    struct conn *conn = link->conn;
    tls_feed(link->tls, bytes);
    enum err err = tls_handshake(link->tls);
    conn_mark_dirty(conn);
    if (err == OK) {
        on_open(conn);
        read_plain(link);
        return;
    }
    if (err == ERR_AGAIN) {
        size_t left = tls_unread(link->tls);
        struct slice rest = slice_skip(bytes, bytes.count - left);
        err = left > 0 ? partial_append(&link->waiting, rest, 0) : OK;
        err = err == OK ? sign_elsewhere(link) : err;
        if (err == OK) {
            return;
        }
    }
    if (err != ERR_MORE) {
        refuse(link, err);
    }
}

void handshakes_run(struct shard *shard)
{
    uint32_t budget = HANDSHAKE_BUDGET;
    struct list *first;
    while (budget >= HANDSHAKE_COST && (first = list_pop_front(&shard->handshakes)) != NULL) {
        struct conn_tls *link = CONTAINER_OF(first, struct conn_tls, queue_link);
        if (link->conn->state != CONN_TLS) {
            continue; /* it ends */
        }
        struct partial waiting = link->waiting;
        struct slice bytes = waiting.blob != NULL ? slice_of(waiting.blob->bytes, waiting.count)
                                                  : slice_of(NULL, 0);
        link->waiting = (struct partial){0};
        budget -= tls_is_costly(link->tls) ? HANDSHAKE_COST : HANDSHAKE_COST_LESS;
        struct conn *conn = link->conn;
        step(link, bytes);
        conn_unpause(conn);
        partial_deinit(&waiting);
    }
}

void conn_tls_receive(struct conn *conn, struct slice bytes)
{
    if (conn->state >= CONN_PARTING) {
        return;
    }
    enum err err = conn->tls == NULL ? link_new(conn) : OK;
    if (err != OK) {
        conn_drop(conn, err);
        return;
    }
    struct conn_tls *link = conn->tls;
    if (tls_is_open(link->tls)) {
        tls_feed(link->tls, bytes);
        read_plain(link);
        return;
    }
    if (link->waiting.count + bytes.count > WAITING_MAX) {
        refuse(link, ERR_TOO_LARGE);
        return;
    }
    if (partial_append(&link->waiting, bytes, 0) != OK) {
        conn_drop(conn, ERR_NOMEM);
        return;
    }
    if (link->waiting.count > WAITING_PAUSE) {
        conn_pause(conn); /* a large CONNECT right behind the handshake, say */
    }
    if (link->signing == NULL) {
        enqueue(link);
    }
}

/* ---- out ----------------------------------------------------------------------------------- */

static void seal(struct conn *conn)
{
    struct conn_tls *link = conn->tls;
    struct slice parts[IO_PARTS_MAX];
    uint64_t sealed = 0;
    while (conn->out.bytes > 0 && sealed < SEAL_BYTES_MAX) {
        uint64_t bytes;
        uint32_t count = out_peek(&conn->out, parts, IO_PARTS_MAX, SEAL_BYTES_MAX - sealed, &bytes);
        enum err err = tls_seal(link->tls, parts, count, io_now_ns(conn->shard->io));
        if (err != OK) { /* broken or out of memory: what TLS said of it still leaves */
            out_clear(&conn->out, &conn->shard->output_bytes);
            conn->is_doomed |= conn->state < CONN_PARTING;
            conn->doomed_by = err;
            return;
        }
        out_consume(&conn->out, &conn->shard->output_bytes, bytes);
        sealed += bytes;
    }
}

uint32_t conn_tls_take(struct conn *conn, struct slice *parts, uint32_t parts_max, uint64_t *bytes)
{
    struct conn_tls *link = conn->tls;
    if (tls_is_open(link->tls)) {
        seal(conn);
    } else {
        out_clear(&conn->out, &conn->shard->output_bytes); /* nobody could read it */
    }
    bool is_last = conn->state == CONN_CLOSING && conn->out.bytes == 0;
    if (is_last && !link->has_said_goodbye) {
        link->has_said_goodbye = true;
        tls_goodbye(link->tls);
    }
    return out_take(&link->cipher, parts, parts_max, bytes);
}
