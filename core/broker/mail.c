#include "core/broker/mail.h"

#include "core/base/assert.h"
#include "core/broker/banish.h"
#include "core/broker/conn.h"
#include "core/broker/explain.h"
#include "core/broker/hold.h"
#include "core/broker/mailbox.h"
#include "core/broker/partition.h"
#include "core/broker/receipt.h"
#include "core/broker/retained.h"
#include "core/broker/shard.h"
#include "core/broker/shares.h"

#include <stdlib.h>

static void on_mail_publish(struct shard *shard, struct mail *mail)
{
    struct receipt *relay;
    if (partition_is_stale(shard, mail)) {
        receipt_answer(shard, mail, ERR_UNAVAILABLE);
        msg_unref(mail->msg);
        return;
    }
    bool is_promised = receipt_relay(shard, mail, &relay);
    if (receipt_may_go_on(shard, mail, is_promised)) {
        hold_begin(shard);
        shard->origin = mail->origin;
        enum err err = route_local(shard, mail->msg, relay);
        shard->origin.number = 0;
        hold_remote_publisher(shard);
        receipt_done(relay, err);
    }
    msg_unref(mail->msg);
}

static void on_mail_receipt(struct shard *shard, struct mail *mail)
{
    (void)shard;
    receipt_done(mail->receipt, mail->err);
}

static void on_mail_conn(struct shard *shard, struct mail *mail)
{
    if (shard->state == SHARD_RUNNING) {
        conn_adopt(shard, mail->passport);
    } else {
        passport_free(mail->passport);
    }
}

static void discard_msg(struct mail *mail)
{
    msg_unref(mail->msg);
}

static void discard_conn(struct mail *mail)
{
    passport_free(mail->passport);
}

static void discard_share(struct mail *mail)
{
    free(mail->share);
}

static const struct {
    void (*handle)(struct shard *shard, struct mail *mail);
    void (*discard)(struct mail *mail); /* NULL: it owns nothing */
} rows[MAIL_COUNT] = {
    [MAIL_PUBLISH] = {on_mail_publish, discard_msg},
    [MAIL_RECEIPT] = {on_mail_receipt, NULL},
    [MAIL_CONN] = {on_mail_conn, discard_conn},
    [MAIL_SHARE_JOIN] = {shares_on_mail, discard_share},
    [MAIL_SHARE_JOINED] = {shares_on_mail, discard_share},
    [MAIL_SHARE_LEAVE] = {shares_on_mail, NULL},
    [MAIL_SHARE_STATE] = {shares_on_mail, NULL},
    [MAIL_SHARE_OFFER] = {shares_on_mail, discard_msg},
    [MAIL_SHARE_SETTLE] = {shares_on_mail, NULL},
    [MAIL_SHARE_RETURN] = {shares_on_mail, discard_msg},
    [MAIL_SHARE_SEND] = {shares_on_mail, discard_msg},
    [MAIL_RETAIN] = {retained_on_mail, discard_msg},
    [MAIL_ARRIVES] = {partitions_on_mail, NULL},
    [MAIL_ARRIVED] = {partitions_on_mail, NULL},
    [MAIL_LED] = {partitions_on_mail, NULL},
    [MAIL_LOST] = {partitions_on_mail, NULL},
    [MAIL_EXPLAIN] = {explain_on_mail, explain_discard},
    [MAIL_EXPLAINED] = {explain_on_mail, explain_discard},
    [MAIL_BANISH] = {banish_on_mail, banish_discard},
};

void mail_handle(struct shard *shard, struct mail *mail)
{
    ASSERT(mail->kind < MAIL_COUNT);
    partitions_look(shard);
    rows[mail->kind].handle(shard, mail);
}

void mail_discard(struct mail *mail)
{
    if (rows[mail->kind].discard != NULL) {
        rows[mail->kind].discard(mail);
    }
}
