#include "core/broker/retained.h"

#include "core/broker/mailbox.h"
#include "core/broker/outbox.h"
#include "core/broker/receipt.h"
#include "core/broker/route.h"
#include "core/broker/shard.h"
#include "core/session/journal.h"
#include "core/session/mesh.h"

/* The broker's own, made anew at every start. */
static bool is_of_broker(const struct msg *msg)
{
    return slice_starts_with(msg->topic, slice_text("$SYS/"));
}

/* This shard owns the topic of msg: log what its retained message is now. */
static void log_now(struct shard *shard, struct msg *msg, struct receipt *receipt)
{
    uint32_t partition = partition_of(msg->topic);
    struct msg *now = retain_get(shard->retain, msg->topic, 0);
    struct msg *cleared = NULL;
    if (now == NULL && msg->payload.count > 0) {
        cleared = msg_new(&(struct msg_spec){.topic = msg->topic});
    }
    struct op op = {.kind = OP_RETAIN, .partition = partition};
    op.retain = now != NULL ? now : cleared != NULL ? cleared : msg;
    journal_log(shard->journal, &op);
    outbox_received(shard, UINT64_C(1) << partition);
    receipt_await(receipt, UINT64_C(1) << partition);
    msg_unref(now);
    msg_unref(cleared);
}

static void ask(struct shard *shard, uint32_t owner, struct msg *msg, struct receipt *receipt)
{
    struct mail mail = {.kind = MAIL_RETAIN,
                        .a = origin_packed(&shard->origin),
                        .b = shard->origin.number,
                        .msg = msg_ref(msg),
                        .receipt = receipt};
    receipt_hold(receipt);
    mailbox_post(shard->mailbox, owner, &mail);
}

/* The outbox's message came here before a crash, or it is set now. */
static enum err set_from_outbox(struct shard *shard, struct msg *msg, struct receipt *receipt)
{
    if (outbox_has_come(shard, partition_of(msg->topic))) {
        return OK;
    }
    TRY(retain_set(shard->retain, msg));
    log_now(shard, msg, receipt);
    return OK;
}

void retained_on_mail(struct shard *shard, struct mail *mail)
{
    struct receipt *relay = NULL;
    if (mail->receipt != NULL) {
        relay = receipt_relay(shard, mail->from, mail->receipt);
    }
    enum err err = mail->receipt != NULL && relay == NULL ? ERR_NOMEM : OK;
    shard->origin = origin_of(mail->a, mail->b);
    if (mail->b == 0) {
        log_now(shard, mail->msg, relay);
    } else if (err == OK) {
        err = set_from_outbox(shard, mail->msg, relay);
    }
    shard->origin.number = 0;
    if (relay != NULL) {
        receipt_done(relay, err);
    } else if (mail->receipt != NULL) {
        struct mail answer = {.kind = MAIL_RECEIPT, .receipt = mail->receipt, .err = err};
        mailbox_post(shard->mailbox, mail->from, &answer);
    }
    msg_unref(mail->msg);
}

enum err retained_set(struct shard *shard, struct msg *msg, struct receipt *receipt)
{
    uint32_t owner = shard_of(shard, msg->topic);
    if (shard->origin.number == 0) {
        bool is_on_disk = shard->journal != NULL && !is_of_broker(msg);
        if (is_on_disk) {
            TRY(journal_admit(shard->journal, partition_of(msg->topic)));
        }
        TRY(retain_set(shard->retain, msg));
        if (!is_on_disk) {
            return OK;
        }
    }
    if (owner != shard->index) {
        ask(shard, owner, msg, receipt);
        return OK;
    }
    if (shard->origin.number != 0) {
        return set_from_outbox(shard, msg, receipt);
    }
    log_now(shard, msg, receipt);
    return OK;
}

bool retained_publish(struct shard *shard, struct msg *msg, struct receipt *receipt)
{
    if (msg->retain) {
        enum err err = retained_set(shard, msg, receipt);
        if (receipt != NULL && receipt->err == OK) {
            receipt->err = err;
        }
    }
    if (shard->mesh != NULL) {
        receipt_hold(receipt);
        shard->mesh->forward(shard->mesh, msg, receipt != NULL ? receipt_committed : NULL, receipt);
    }
    return route_publish(shard, msg, receipt);
}

enum err retained_restore(struct shard *shard, struct msg *msg)
{
    enum err err = retain_set(shard->retain, msg);
    return err == ERR_QUOTA ? OK : err; /* the limits are narrower than they were */
}
