#include "core/broker/receipt.h"

#include "core/base/assert.h"
#include "core/broker/conn.h"
#include "core/broker/shard.h"
#include "core/session/journal.h"
#include "core/wire/ack.h"
#include "core/wire/reason.h"

static struct receipt *of_link(struct list *link)
{
    return CONTAINER_OF(link, struct receipt, link);
}

struct receipt *receipt_new(struct conn *conn, enum mqtt_type type, uint16_t packet_id)
{
    struct receipt *receipt = pool_take(conn->shard->receipts);
    if (receipt == NULL) {
        return NULL;
    }
    receipt->conn = conn;
    receipt->session = conn->session;
    receipt->shard = conn->shard;
    receipt->open_count = 1;
    receipt->type = type;
    receipt->packet_id = packet_id;
    list_push_back(&conn->work->receipts, &receipt->link);
    conn->work->receipt_count++;
    return receipt;
}

enum err inbound_count(struct conn *conn, uint8_t qos, uint16_t packet_id)
{
    if (qos == 2 && inbound_has(&conn->work->counted, packet_id)) {
        return OK;
    }
    if (conn->receive_max > 0 && conn->inbound_count >= conn->receive_max) {
        return ERR_RECEIVE_MAX;
    }
    if (qos == 2) {
        TRY(inbound_add(&conn->work->counted, packet_id));
    }
    conn->inbound_count++;
    return OK;
}

void inbound_uncount(struct conn *conn, uint8_t qos, uint16_t packet_id)
{
    if (qos == 1 || inbound_remove(&conn->work->counted, packet_id)) {
        ASSERT(conn->inbound_count > 0);
        conn->inbound_count--;
    }
}

void receipt_hold(struct receipt *receipt)
{
    receipt->open_count++;
}

void ack_write(struct conn *conn, enum mqtt_type type, uint16_t packet_id, enum err err)
{
    uint8_t reason = reason_from_err(err, type);
    uint32_t size = conn->version == MQTT_5 && reason != 0 ? 5 : 4;
    uint8_t *bytes = conn_packet(conn, size, 0);
    if (bytes != NULL) {
        struct writer w = writer_of(bytes, size);
        mqtt_ack_encode_plain(&w, type, packet_id, reason, conn->version);
    }
}

/*
 * What there is no room for cannot be said in 3.x: the acknowledgement is withheld, and the client
 * will send the message again (promise P6). What will never be accepted is acknowledged all the
 * same, or it would come again for ever [v3:MQTT-3.3.5-2].
 */
static bool can_be_said(const struct conn *conn, enum err err)
{
    return conn->version == MQTT_5 || (err != ERR_QUOTA && err != ERR_NOMEM);
}

/* The exchange ends here: the id is free, a repeat is a new message [MQTT-4.3.3-9]. */
static void release_if_refused(const struct receipt *receipt)
{
    if (receipt->err != OK && receipt->type == MQTT_PUBREC && receipt->session != NULL) {
        struct op op = {.kind = OP_RELEASE, .session = receipt->session};
        op.packet_id = receipt->packet_id;
        journal_submit(receipt->shard->journal, &op, NULL, NULL);
    }
}

static void settle(struct conn *conn, const struct receipt *receipt)
{
    enum err err = receipt->err;
    bool is_refused = err != OK;
    if (err == OK && !receipt->has_receivers) {
        err = ERR_NOT_FOUND; /* v5 hears 0x10: no matching subscribers */
    }
    release_if_refused(receipt);
    if (receipt->type == MQTT_PUBACK || is_refused) {
        inbound_uncount(conn, receipt->type == MQTT_PUBACK ? 1 : 2, receipt->packet_id);
    }
    if (can_be_said(conn, err)) {
        ack_write(conn, receipt->type, receipt->packet_id, err);
    }
}

/* Everything at the head of the line that is complete leaves. */
static void receipts_flush(struct conn *conn)
{
    while (!list_is_empty(&conn->work->receipts)) {
        struct receipt *receipt = of_link(conn->work->receipts.next);
        if (receipt->open_count > 0) {
            break;
        }
        list_remove(&receipt->link);
        conn->work->receipt_count--;
        settle(conn, receipt);
        pool_give(conn->shard->receipts, receipt);
    }
    conn_unpause(conn);
}

static void orphan_end(struct receipt *receipt)
{
    release_if_refused(receipt);
    list_remove(&receipt->link);
    pool_give(receipt->shard->receipts, receipt);
}

void receipt_done(struct receipt *receipt, enum err err)
{
    if (receipt == NULL) {
        return;
    }
    ASSERT(receipt->open_count > 0);
    receipt->err = receipt->err == OK ? err : receipt->err;
    receipt->open_count--;
    if (receipt->open_count > 0) {
        return;
    }
    if (receipt->conn != NULL) {
        receipts_flush(receipt->conn);
    } else {
        orphan_end(receipt);
    }
}

void receipt_committed(void *receipt, enum err err)
{
    receipt_done(receipt, err);
}

void receipts_orphan(struct conn *conn)
{
    struct list *link;
    while ((link = list_pop_front(&conn->work->receipts)) != NULL) {
        struct receipt *receipt = of_link(link);
        receipt->conn = NULL;
        list_push_back(&conn->shard->orphans, &receipt->link);
        if (receipt->open_count == 0) {
            orphan_end(receipt);
        }
    }
    conn->work->receipt_count = 0;
}

void receipts_forget_session(struct shard *shard, const struct session *session)
{
    LIST_EACH (&shard->orphans, link) {
        struct receipt *receipt = of_link(link);
        receipt->session = receipt->session == session ? NULL : receipt->session;
    }
}

bool receipt_adopt(struct conn *conn, uint16_t packet_id)
{
    LIST_EACH_SAFE (&conn->shard->orphans, link) {
        struct receipt *receipt = of_link(link);
        if (receipt->session == conn->session && receipt->packet_id == packet_id &&
            receipt->type == MQTT_PUBREC) {
            list_remove(&receipt->link);
            receipt->conn = conn;
            list_push_back(&conn->work->receipts, &receipt->link);
            conn->work->receipt_count++;
            return true;
        }
    }
    return false;
}
