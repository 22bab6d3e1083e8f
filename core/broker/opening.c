#include "core/broker/opening.h"

#include "core/base/assert.h"
#include "core/broker/conn.h"
#include "core/broker/dispatch.h"
#include "core/broker/login.h"
#include "core/broker/shard.h"
#include "core/session/journal.h"
#include "core/wire/reader.h"

#include <stdlib.h>
#include <string.h>

struct opening {
    struct awaited awaited;
    uint16_t keepalive_s;
    uint32_t connack_bytes;
    uint8_t connack[];
};

/*
 * What came behind the CONNECT: first what was left of its buffer, then what the socket brought. When the
 * CONNACK has been sent it is read on; of a client that has gone meanwhile the flush makes an end.
 */
static void catch_up(struct conn *conn)
{
    struct partial packet = conn->packet, stash = {0};
    conn->packet = (struct partial){0};
    if (conn->work != NULL) {
        stash = conn->work->stash;
        conn->work->stash = (struct partial){0};
    }
    if (packet.count > 0) {
        conn_feed_mqtt(conn, slice_of(packet.blob->bytes, packet.count));
    }
    if (stash.count > 0) {
        conn_feed(conn, slice_of(stash.blob->bytes, stash.count));
    }
    partial_deinit(&packet);
    partial_deinit(&stash);
}

static void open_now(struct conn *conn, const struct opening *opening)
{
    uint8_t *bytes = conn_packet(conn, opening->connack_bytes, 0);
    if (bytes != NULL) {
        memcpy(bytes, opening->connack, opening->connack_bytes);
    }
    connect_opened(conn, opening->keepalive_s);
    if (!login_may_stay(conn)) {
        conn_end(conn, ERR_NOT_AUTHORIZED); /* its user was withdrawn meanwhile */
        return;
    }
    catch_up(conn);
}

static void on_committed(void *context, enum err err)
{
    struct opening *opening = context;
    struct conn *conn = opening->awaited.conn;
    if (conn != NULL) {
        conn->awaited = NULL;
    }
    if (conn != NULL && err == OK) {
        open_now(conn, opening);
    } else if (conn != NULL) {
        conn_end(conn, err);
    }
    free(opening);
}

enum err opening_await(struct conn *conn, const struct mqtt_connack *connack, uint16_t keepalive_s)
{
    struct shard *shard = conn->shard;
    uint32_t bytes = (uint32_t)mqtt_connack_size(connack, conn->version);
    struct opening *opening = malloc(sizeof(*opening) + bytes);
    if (opening == NULL) {
        return ERR_NOMEM;
    }
    *opening = (struct opening){
        .awaited = {conn}, .keepalive_s = keepalive_s, .connack_bytes = bytes};
    struct writer w = writer_of(opening->connack, bytes);
    mqtt_connack_encode(&w, connack, conn->version);
    uint64_t partition = UINT64_C(1) << conn->session->partition;
    enum err err = journal_await(shard->journal, partition, on_committed, opening);
    if (err != ERR_AGAIN) {
        free(opening);
        return err;
    }
    conn->awaited = &opening->awaited;
    conn_pause(conn);
    conn->state = CONN_COMMIT;
    return ERR_AGAIN;
}
