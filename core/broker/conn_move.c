/*
 * A connection moves to the shard that owns its session, once, right after its CONNECT was seen.
 *
 *     shard A                                        shard B
 *     on_connect: owner is B
 *     conn_move: io_detach ──> detached(handle)
 *                              mail MAIL_CONN ──────> conn_adopt: io_attach
 *                              conn freed             CONNECT and all after it is fed again
 */
#include "core/base/assert.h"
#include "core/broker/conn.h"
#include "core/broker/conn_tls.h"
#include "core/broker/limits.h"
#include "core/broker/mailbox.h"
#include "core/broker/passport.h"
#include "core/broker/shard.h"

#include <stdlib.h>

void conn_move(struct conn *conn, uint32_t target, struct slice packet)
{
    ASSERT(target != conn->shard->index);
    ASSERT(conn->state == CONN_CONNECT);
    if (conn_prepare(conn) != OK) {
        conn_drop(conn, ERR_NOMEM);
        return;
    }
    /* The CONNECT that was being handled comes first; conn_feed_mqtt adds what follows it. */
    if (partial_append(&conn->packet, packet, 0) != OK) {
        conn_drop(conn, ERR_NOMEM);
        return;
    }
    conn->state = CONN_MOVING;
    conn->shard->connecting_count--;
    conn->move_target = target;
    conn_flush_before_move(conn); /* a WebSocket's 101, or what ended the handshake */
}

void conn_on_detached(void *owner, int64_t handle)
{
    struct conn *conn = owner;
    struct shard *shard = conn->shard;
    struct passport *passport = calloc(1, sizeof(*passport));
    if (passport == NULL) {
        io_handle_close(handle);
        conn_free(conn);
        return;
    }
    *passport = (struct passport){.handle = handle,
                                  .peer = conn->peer,
                                  .listener_index = conn->listener_index,
                                  .mqtt = conn->packet,
                                  .raw = conn->work->stash,
                                  .ws = conn->ws,
                                  .tls = conn->tls,
                                  .is_one_too_many = conn->is_one_too_many,
                                  .limits = limits_unseat(conn),
                                  .limits_generation = conn->limits_generation};
    conn->packet = (struct partial){0};
    conn->work->stash = (struct partial){0};
    conn->ws = NULL;
    if (conn->tls != NULL) {
        conn_tls_carry(conn->tls, shard, NULL);
        conn->tls = NULL;
    }
    metric_add(shard->metrics, METRIC_connections_moved, 1);
    struct mail mail = {.kind = MAIL_CONN, .passport = passport};
    mailbox_post(shard->mailbox, conn->move_target, &mail);
    conn->is_counted = false; /* the other shard answers for it now */
    conn_free(conn);
}

void passport_free(struct passport *passport)
{
    if (passport->handle >= 0) {
        io_handle_close(passport->handle);
    }
    uint64_t nowhere = passport->tls != NULL ? passport->tls->cipher.bytes : 0;
    conn_tls_free(passport->tls, &nowhere);
    limits_free(passport->limits);
    partial_deinit(&passport->mqtt);
    partial_deinit(&passport->raw);
    if (passport->ws != NULL) {
        ws_decoder_deinit(&passport->ws->decoder);
        free(passport->ws);
    }
    free(passport);
}

void conn_adopt(struct shard *shard, struct passport *passport)
{
    struct conn *conn = conn_new(shard, passport->listener_index, &passport->peer);
    if (conn == NULL) {
        if (!passport->is_one_too_many) {
            shard_uncount_conn(shard, passport->listener_index);
        }
        passport_free(passport);
        return;
    }
    int64_t handle = passport->handle;
    passport->handle = -1; /* io_attach owns it from here, also when it fails */
    conn->state = CONN_CONNECT;
    conn->has_moved = true;
    conn->limits_generation = passport->limits_generation;
    limits_seat(conn, passport->limits);
    passport->limits = NULL;
    conn->is_one_too_many = passport->is_one_too_many;
    conn->is_counted = !passport->is_one_too_many;
    conn->ws = passport->ws;
    passport->ws = NULL;
    conn->tls = passport->tls;
    passport->tls = NULL;
    if (conn->tls != NULL) {
        conn_tls_carry(conn->tls, NULL, conn);
        conn_mark_dirty(conn);
    }
    if (io_attach(shard->io, handle, &conn_events, conn, &conn->stream) != OK) {
        shard->connecting_count--;
        conn_free(conn);
        passport_free(passport);
        return;
    }
    conn_feed_mqtt(conn, slice_of(passport->mqtt.blob->bytes, passport->mqtt.count));
    if (passport->raw.count > 0 && conn->state < CONN_PARTING) {
        conn_feed(conn, slice_of(passport->raw.blob->bytes, passport->raw.count));
    }
    passport_free(passport);
}
