#include "core/broker/retained.h"

#include "core/base/blocks.h"
#include "core/broker/ceiling.h"
#include "core/broker/mailbox.h"
#include "core/broker/outbox.h"
#include "core/broker/partition.h"
#include "core/broker/receipt.h"
#include "core/broker/remote.h"
#include "core/broker/route.h"
#include "core/broker/shard.h"
#include "core/session/journal.h"

bool retained_is_of_broker(struct slice topic)
{
    return slice_starts_with(topic, slice_text("$SYS/"));
}

/*
 * Who publishes sees at once what is retained, on whichever shard: but not what an outbox sends, which may
 * have come already, and not on a node of several, where the topic may be led elsewhere.
 */
static bool is_set_by_publisher(const struct shard *shard, const struct msg *msg)
{
    return shard->origin.number == 0 && (shard->mesh == NULL || retained_is_of_broker(msg->topic));
}

/* There is no room for one more in memory: it is to be on disk alone. */
static bool is_crowded(const struct shard *shard)
{
    return retain_is_crowded(shard->retain) || ceiling_is_near(shard);
}

/* ---- letting go of what is on disk ---------------------------------------------------------- */

/* A retained message that leaves memory when it is committed. */
struct letting_go {
    struct shard *shard;
    struct msg *msg;
};

static void on_committed(void *context, enum err err)
{
    struct letting_go *letting = context;
    if (err == OK) {
        retain_let_go(letting->shard->retain, letting->msg);
    }
    msg_unref(letting->msg);
    blocks_give(letting, sizeof(*letting));
}

/*
 * It was just logged. What came when there was room stays in memory, and what comes when there is
 * none goes to disk alone: so nobody looks for victims, and what is written leaves from where it is.
 */
static void let_go_when_committed(struct shard *shard, struct msg *msg)
{
    struct letting_go *letting = blocks_take(sizeof(*letting));
    if (letting == NULL) {
        return; /* it stays, until it is set again */
    }
    *letting = (struct letting_go){shard, msg_ref(msg)};
    enum err err = journal_await(shard->journal, UINT64_C(1) << partition_of(msg->topic),
                                 on_committed, letting);
    if (err != ERR_AGAIN) {
        on_committed(letting, err);
    }
}

/* ---- the owner of a topic ------------------------------------------------------------------- */

static void log_op(struct shard *shard, uint32_t partition, const struct msg *msg)
{
    struct op op = {.kind = OP_RETAIN, .partition = partition};
    op.retain = msg;
    journal_log(shard->journal, &op);
}

/*
 * This shard owns the topic of msg: log what its retained message is now. If that is on disk alone,
 * it is a newer one than msg, and was logged before.
 */
static void log_now(struct shard *shard, struct msg *msg, struct receipt *receipt)
{
    uint32_t partition = partition_of(msg->topic);
    struct retained now = retain_look(shard->retain, msg->topic, 0);
    struct msg *cleared = NULL;
    if (now.msg == NULL && now.stamp == 0 && msg->payload.count > 0) {
        cleared = msg_new(&(struct msg_spec){.topic = msg->topic});
    }
    if (now.stamp == 0) {
        log_op(shard, partition, now.msg != NULL ? now.msg : cleared != NULL ? cleared : msg);
    }
    outbox_received(shard, UINT64_C(1) << partition);
    receipt_await(receipt, UINT64_C(1) << partition);
    if (now.msg != NULL && is_crowded(shard)) {
        let_go_when_committed(shard, now.msg);
    }
    msg_unref(now.msg);
    msg_unref(cleared);
}

static void ask(struct shard *shard, uint32_t owner, struct msg *msg, struct receipt *receipt)
{
    struct mail mail = {
        .kind = MAIL_RETAIN, .msg = msg_ref(msg), .receipt = receipt, .origin = shard->origin};
    receipt_hold(receipt);
    mailbox_post(shard->mailbox, owner, &mail);
}

static void count_not_retained(struct shard *shard, const struct msg *msg, enum err why)
{
    enum trail_what what = why == ERR_NOMEM ? TRAIL_DROP_MEMORY : TRAIL_DROP_RETAINED_LIMIT;
    shard_count_drop(shard, what, why, slice_of(NULL, 0), msg->topic);
}

enum err retained_here(struct shard *shard, struct msg *msg, struct receipt *receipt)
{
    if (outbox_has_come(shard, partition_of(msg->topic))) {
        return OK; /* before a crash */
    }
    enum err err = retain_set(shard->retain, msg);
    if (err != OK) {
        count_not_retained(shard, msg, err);
        return err;
    }
    log_now(shard, msg, receipt);
    outbox_served(shard, UINT64_C(1) << partition_of(msg->topic));
    return OK;
}

/* This shard owns the topic, be it led here or on another node. */
static enum err set_by_owner(struct shard *shard, struct msg *msg, struct receipt *receipt)
{
    uint32_t partition = partition_of(msg->topic);
    if (shard_leads(shard, partition)) {
        return retained_here(shard, msg, receipt);
    }
    if (shard->mesh == NULL) {
        return ERR_UNAVAILABLE;
    }
    struct mesh_errand errand = {
        .kind = MESH_RETAIN, .partitions = UINT64_C(1) << partition, .msg = msg};
    remote_send(shard, &errand, receipt);
    return OK;
}

/*
 * The partition is not here any more, or has come anew, since the topic was set: then what was set may be
 * forgotten already. So it is told, and what the memory has stays true.
 */
static void refuse_stale(struct shard *shard, struct mail *mail, bool is_set)
{
    bool is_led = partition_is_led(shard, partition_of(mail->msg->topic));
    if (is_set && !is_led) {
        retain_drop(shard->retain, mail->msg->topic);
    } else if (is_set) {
        log_now(shard, mail->msg, NULL);
    }
    if (mail->receipt != NULL) {
        receipt_answer(shard, mail, ERR_UNAVAILABLE);
    }
    msg_unref(mail->msg);
}

void retained_on_mail(struct shard *shard, struct mail *mail)
{
    struct receipt *relay;
    shard->origin = mail->origin;
    bool is_set = is_set_by_publisher(shard, mail->msg);
    bool is_of_now = mail->view == partition_view(shard) &&
                     partition_is_led(shard, partition_of(mail->msg->topic));
    if (is_set ? !is_of_now : partition_is_stale(shard, mail)) {
        shard->origin.number = 0;
        refuse_stale(shard, mail, is_set);
        return;
    }
    bool is_promised = receipt_relay(shard, mail, &relay);
    enum err err = OK;
    if (is_set) {
        log_now(shard, mail->msg, relay);
    } else {
        err = set_by_owner(shard, mail->msg, relay);
    }
    shard->origin.number = 0;
    receipt_done(relay, err);
    if (!is_promised) {
        receipt_answer(shard, mail, ERR_NOMEM); /* an outbox goes on with it */
    }
    msg_unref(mail->msg);
}

enum err retained_admit(struct shard *shard, const struct msg *msg)
{
    if (msg->payload.count == 0 || retained_is_of_broker(msg->topic) || !ceiling_is_near(shard)) {
        return OK;
    }
    struct retained now = retain_look(shard->retain, msg->topic, 0);
    bool is_there = now.msg != NULL || now.stamp != 0;
    msg_unref(now.msg);
    if (!is_there) {
        shard_count_drop(shard, TRAIL_DROP_MEMORY, ERR_QUOTA, slice_of(NULL, 0), msg->topic);
    }
    return is_there ? OK : ERR_QUOTA;
}

enum err retained_set(struct shard *shard, struct msg *msg, struct receipt *receipt)
{
    uint32_t owner = shard_of(shard, msg->topic);
    bool is_set_here = is_set_by_publisher(shard, msg);
    if (is_set_here) {
        bool is_on_disk = shard->journal != NULL && !retained_is_of_broker(msg->topic);
        if (is_on_disk && !partition_is_here(shard, msg->topic)) {
            return ERR_UNAVAILABLE;
        }
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
    if (!is_set_here) {
        return set_by_owner(shard, msg, receipt);
    }
    log_now(shard, msg, receipt);
    return OK;
}

bool retained_publish(struct shard *shard, struct msg *msg, struct receipt *receipt)
{
    if (receipt != NULL && partition_is_missed(shard)) {
        receipt->err = receipt->err == OK ? ERR_UNAVAILABLE : receipt->err;
        return true; /* before anybody has it: it may be sent again */
    }
    if (msg->retain) {
        enum err err = retained_admit(shard, msg);
        if (err == OK) {
            err = retained_set(shard, msg, receipt);
            if (err != OK) {
                count_not_retained(shard, msg, err);
            }
        }
        if (receipt != NULL && receipt->err == OK) {
            receipt->err = err;
        }
        if (receipt != NULL && err != OK) {
            return true; /* refused as a whole: it may be sent again */
        }
    }
    return route_publish(shard, msg, receipt);
}

enum err retained_restore(struct shard *shard, const struct msg_spec *message)
{
    if (is_crowded(shard)) {
        return retain_set_away(shard->retain, message->topic, msg_spec_bytes(message));
    }
    struct msg *msg = msg_new(message);
    if (msg == NULL) {
        return ERR_NOMEM;
    }
    enum err err = retain_set(shard->retain, msg);
    msg_unref(msg);
    return err;
}
