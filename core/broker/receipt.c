#include "core/broker/receipt.h"

#include "core/base/assert.h"
#include "core/broker/apply.h"
#include "core/broker/conn.h"
#include "core/broker/mailbox.h"
#include "core/broker/outbox.h"
#include "core/broker/shard.h"
#include "core/broker/withhold.h"
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
    *receipt = (struct receipt){.conn = conn,
                                .session = conn->session,
                                .shard = conn->shard,
                                .open_count = 1,
                                .kind = RECEIPT_ACK,
                                .type = type,
                                .packet_id = packet_id};
    list_push_back(&conn->work->receipts, &receipt->link);
    conn->work->receipt_count++;
    return receipt;
}

bool receipt_relay(struct shard *shard, const struct mail *mail, struct receipt **out)
{
    *out = NULL;
    if (mail->receipt == NULL) {
        return true;
    }
    struct receipt *receipt = pool_take(shard->receipts);
    if (receipt == NULL) {
        return false;
    }
    *receipt = (struct receipt){.upstream = mail->receipt,
                                .shard = shard,
                                .open_count = 1,
                                .kind = RECEIPT_RELAY,
                                .from = mail->from};
    list_init(&receipt->link);
    *out = receipt;
    return true;
}

static void answer(struct shard *shard, uint32_t target, struct receipt *upstream, enum err err)
{
    struct mail mail = {.kind = MAIL_RECEIPT, .receipt = upstream, .err = err};
    mailbox_post(shard->mailbox, target, &mail);
}

void receipt_answer(struct shard *shard, const struct mail *mail, enum err err)
{
    answer(shard, mail->from, mail->receipt, err);
}

bool receipt_may_go_on(struct shard *shard, const struct mail *mail, bool is_promised)
{
    if (is_promised) {
        return true;
    }
    bool is_from_outbox = mail->origin.number != 0;
    if (!is_from_outbox) {
        shard_count_drop(shard, TRAIL_DROP_MEMORY, ERR_NOMEM, slice_of(NULL, 0), mail->msg->topic);
    }
    receipt_answer(shard, mail, is_from_outbox ? ERR_UNAVAILABLE : ERR_NOMEM);
    return is_from_outbox;
}

struct receipt *receipt_outbox(struct shard *shard, struct outbox_item *item)
{
    struct receipt *receipt = pool_take(shard->receipts);
    if (receipt != NULL) {
        *receipt = (struct receipt){
            .item = item, .shard = shard, .open_count = 1, .kind = RECEIPT_OUTBOX};
        list_init(&receipt->link);
    }
    return receipt;
}

struct receipt *receipt_mesh(struct shard *shard, mesh_done done, void *context)
{
    struct receipt *receipt = pool_take(shard->receipts);
    if (receipt != NULL) {
        *receipt = (struct receipt){.context = context,
                                    .done = done,
                                    .shard = shard,
                                    .open_count = 1,
                                    .kind = RECEIPT_MESH};
        list_init(&receipt->link);
    }
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
    if (receipt != NULL) {
        receipt->open_count++;
    }
}

void receipt_committed(void *context, enum err err)
{
    struct receipt *receipt = context;
    receipt->is_in_doubt |= err != OK;
    receipt_done(receipt, err);
}

static void await_all(struct receipt *receipt, uint64_t partitions)
{
    enum err err = journal_await(receipt->shard->journal, partitions, receipt_committed, receipt);
    if (err == ERR_AGAIN) {
        receipt->open_count++;
    } else if (err != OK && receipt->err == OK) {
        receipt->err = err;
    }
}

/* Another node hears of an error when each of the others has committed: see remote.h. */
void receipt_await(struct receipt *receipt, uint64_t partitions)
{
    if (receipt == NULL || partitions == 0) {
        return;
    }
    for (; receipt->kind == RECEIPT_MESH && partitions != 0; partitions &= partitions - 1) {
        await_all(receipt, partitions & -partitions);
    }
    if (partitions != 0) {
        await_all(receipt, partitions);
    }
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
 * What there is no room for cannot be said in 3.x: the acknowledgement is withheld (withhold.h). What
 * will never be accepted is acknowledged all the same, or it would come again for ever
 * [v3:MQTT-3.3.5-2].
 */
static bool can_be_said(const struct conn *conn, enum err err)
{
    return conn->version == MQTT_5 ||
           (err != ERR_QUOTA && err != ERR_NOMEM && err != ERR_NO_SPACE && err != ERR_UNAVAILABLE &&
            err != ERR_IO);
}

/* The exchange ends here: the id is free, a repeat is a new message [MQTT-4.3.3-9]. */
static void release_if_refused(const struct receipt *receipt)
{
    if (receipt->err != OK && receipt->type == MQTT_PUBREC && receipt->session != NULL) {
        apply_release(receipt->session, receipt->packet_id);
    }
}

/* PUBREL, PUBCOMP: what cannot be kept is not said; the client will ask again. */
static void settle_second(struct conn *conn, const struct receipt *receipt)
{
    bool is_kept = receipt->err == OK || receipt->err == ERR_ID_UNKNOWN;
    if (is_kept) {
        ack_write(conn, receipt->type, receipt->packet_id, receipt->err);
    }
}

static void settle(struct conn *conn, const struct receipt *receipt)
{
    enum err err = receipt->err;
    bool is_refused = err != OK;
    if (receipt->type == MQTT_PUBREL || receipt->type == MQTT_PUBCOMP) {
        settle_second(conn, receipt);
        return;
    }
    if (err == OK && !receipt->has_receivers) {
        err = ERR_NOT_FOUND; /* v5 hears 0x10: no matching subscribers */
    }
    release_if_refused(receipt);
    if (receipt->type == MQTT_PUBACK || is_refused) {
        inbound_uncount(conn, receipt->type == MQTT_PUBACK ? 1 : 2, receipt->packet_id);
    }
    bool may_be_twice = receipt->is_in_doubt && receipt->type == MQTT_PUBREC &&
                        conn->session->is_kept; /* who is told "no" sends it as a new one */
    conn->work->withheld.is_silent |= !can_be_said(conn, err) || may_be_twice;
    if (!conn->work->withheld.is_silent) {
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

/* At once, not in its turn: what comes next is not taken. */
static void look_at_refusal(const struct receipt *receipt)
{
    bool is_first = receipt->type == MQTT_PUBACK || receipt->type == MQTT_PUBREC;
    if (is_first && !can_be_said(receipt->conn, receipt->err)) {
        withhold_begin(receipt->conn, receipt->err);
    }
}

static void orphan_end(struct receipt *receipt)
{
    release_if_refused(receipt);
    list_remove(&receipt->link);
    pool_give(receipt->shard->receipts, receipt);
}

static void relay_end(struct receipt *receipt)
{
    answer(receipt->shard, receipt->from, receipt->upstream, receipt->err);
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
    if (receipt->kind == RECEIPT_ACK && receipt->conn != NULL) {
        look_at_refusal(receipt);
    }
    if (receipt->open_count > 0) {
        return;
    }
    if (receipt->kind == RECEIPT_RELAY) {
        relay_end(receipt);
    } else if (receipt->kind == RECEIPT_OUTBOX) {
        outbox_item_end(receipt->item, receipt->err);
        pool_give(receipt->shard->receipts, receipt);
    } else if (receipt->kind == RECEIPT_MESH) {
        struct receipt ended = *receipt;
        pool_give(receipt->shard->receipts, receipt);
        ended.done(ended.context, ended.err);
    } else if (receipt->conn != NULL) {
        receipts_flush(receipt->conn);
    } else {
        orphan_end(receipt);
    }
}

enum err ack_when_stable(struct conn *conn, enum mqtt_type type, uint16_t packet_id, enum err err)
{
    const struct session *session = conn->session;
    if (!session->is_kept) {
        ack_write(conn, type, packet_id, err);
        return OK;
    }
    TRY(conn_prepare(conn));
    struct receipt *receipt = receipt_new(conn, type, packet_id);
    if (receipt == NULL) {
        return ERR_NOMEM;
    }
    receipt->err = err;
    receipt_await(receipt, UINT64_C(1) << session->partition);
    receipt_done(receipt, OK);
    return OK;
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
