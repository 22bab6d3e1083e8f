#include "core/broker/apply.h"

#include "core/base/assert.h"
#include "core/broker/conn.h"
#include "core/broker/deliver.h"
#include "core/broker/ends.h"
#include "core/broker/on_close.h"
#include "core/broker/routes.h"
#include "core/broker/shard.h"
#include "core/broker/shares.h"
#include "core/session/journal.h"

static struct shard *shard_of_session(const struct session *session)
{
    return session->owner;
}

static uint64_t log_op(struct session *session, struct op *op)
{
    struct shard *shard = shard_of_session(session);
    op->session = session->key;
    op->partition = session->partition;
    shard->touched |= UINT64_C(1) << session->partition;
    return journal_log(shard->journal, op);
}

static enum err admit(const struct session *session)
{
    struct shard *shard = shard_of_session(session);
    return shard->journal == NULL ? OK : journal_admit(shard->journal, session->partition);
}

enum err apply_admit(const struct session *session)
{
    return session->is_kept ? admit(session) : OK;
}

/* ---- the session --------------------------------------------------------------------------- */

static struct op_will will_as_op(const struct will *will)
{
    return (struct op_will){.message = msg_spec_of(will->msg),
                            .delay_s = will->delay_s,
                            .has_expiry = will->has_expiry,
                            .expiry_s = will->expiry_s};
}

enum err apply_open(struct session *session, uint32_t expiry_s, struct will *will)
{
    bool outlives = expiry_s > 0, has_disk = shard_of_session(session)->journal != NULL;
    bool is_on_disk = has_disk && (outlives || will->msg != NULL || session->is_durable);
    if (is_on_disk) {
        TRY(admit(session));
    }
    if (outlives || will->msg != NULL) {
        TRY(session_prepare_afterlife(session));
    }
    session->expiry_s = expiry_s;
    session->is_durable = is_on_disk;
    /* What it has on disk goes on being told there, though it ends with this connection. */
    session->is_kept = has_disk && (outlives || session->is_kept);
    if (session->afterlife != NULL) {
        will_deinit(&session->afterlife->will);
        session->afterlife->will = *will;
    }
    if (is_on_disk) {
        struct op op = {.kind = OP_OPEN};
        op.open = (struct op_open){.client_id = session->client_id,
                                   .username = session->username,
                                   .password_stamp = session->password_stamp,
                                   .listener_index = session->listener_index,
                                   .expiry_s = expiry_s};
        if (will->msg != NULL) {
            op.open.will = will_as_op(will);
        }
        log_op(session, &op);
    }
    return OK;
}

void apply_close(struct session *session)
{
    if (session->is_kept) {
        struct op op = {.kind = OP_CLOSE};
        op.close.expiry_s = session->expiry_s;
        op.close.sent_sequence = session->afterlife->sent_sequence;
        log_op(session, &op);
    }
}

void apply_end(struct session *session)
{
    if (session->is_durable) {
        struct op op = {.kind = OP_END};
        op.has_more = session->has_more;
        log_op(session, &op);
        ends_add(shard_of_session(session), session->client_id, session->partition);
        session->is_durable = session->is_kept = false;
    }
}

struct will apply_will(struct session *session)
{
    struct will will = session->afterlife->will;
    session->afterlife->will = (struct will){0};
    if (session->is_durable) {
        log_op(session, &(struct op){.kind = OP_WILL});
    }
    return will;
}

/* ---- subscriptions ------------------------------------------------------------------------- */

static enum err subscription_new(struct session *session, const struct op_subscribe *wanted,
                                 struct subscription **out)
{
    struct shard *shard = shard_of_session(session);
    struct subscription *subscription = session_subscription_add(
        session, wanted->text, wanted->share_name, wanted->filter, wanted->prefix);
    if (subscription == NULL) {
        return ERR_NOMEM;
    }
    subscription->sub.owner = session;
    subscription->sub.id = wanted->id;
    subscription->sub.qos = wanted->qos;
    subscription->sub.no_local = wanted->no_local;
    subscription->sub.retain_as_published = wanted->retain_as_published;
    bool is_shared = subscription->share_name.count > 0;
    if (!is_shared) {
        enum err err = routes_hang(shard, session->partition, subscription->filter,
                                   &subscription->sub);
        if (err != OK) {
            session_subscription_remove(subscription);
            return err;
        }
    }
    metric_add(shard->metrics, is_shared ? METRIC_subscriptions_shared : METRIC_subscriptions, 1);
    *out = subscription;
    return OK;
}

enum err apply_subscription_restore(struct session *session, const struct op_subscribe *record,
                                    struct subscription **out)
{
    if (session_subscription(session, record->text) != NULL) {
        return ERR_CORRUPT;
    }
    return subscription_new(session, record, out);
}

enum err apply_subscribe(struct session *session, const struct op_subscribe *wanted,
                         struct subscription **out)
{
    TRY(apply_admit(session));
    struct subscription *subscription = session_subscription(session, wanted->text);
    if (subscription == NULL) {
        TRY(subscription_new(session, wanted, &subscription));
    }
    subscription->sub.id = wanted->id; /* a repeat replaces the old one [MQTT-3.8.4-3] */
    subscription->sub.qos = wanted->qos;
    subscription->sub.no_local = wanted->no_local;
    subscription->sub.retain_as_published = wanted->retain_as_published;
    *out = subscription;
    if (session->is_kept) {
        struct op op = {.kind = OP_SUBSCRIBE, .subscribe = *wanted};
        session->has_more = true;
        log_op(session, &op);
    }
    return OK;
}

enum err apply_unsubscribe(struct subscription *subscription)
{
    struct session *session = subscription->session;
    struct shard *shard = shard_of_session(session);
    bool is_shared = subscription->share_name.count > 0;
    enum err err = apply_admit(session);
    if (err != OK && err != ERR_NO_SPACE) {
        return err;
    }
    if (session->is_kept) {
        struct op op = {.kind = OP_UNSUBSCRIBE, .unsubscribe = subscription->text};
        log_op(session, &op);
    }
    if (is_shared) {
        shares_leave(shard, subscription);
    } else {
        routes_unhang(shard, subscription->filter, &subscription->sub);
    }
    metric_sub(shard->metrics, is_shared ? METRIC_subscriptions_shared : METRIC_subscriptions, 1);
    session_subscription_remove(subscription);
    return OK;
}

/* ---- messages ------------------------------------------------------------------------------ */

/* The shared subscription a delivery came by, as it is written. */
static struct slice share_text(const struct session *session, uint64_t share)
{
    const struct subscription *shared = NULL;
    while (share != 0 && (shared = session_shared_next(session, shared)) != NULL) {
        if (shared->share == share) {
            return shared->text;
        }
    }
    return slice_of(NULL, 0);
}

void apply_enqueue(struct session *session, struct delivery *delivery)
{
    if (!session->is_kept || delivery->qos == 0) {
        return;
    }
    struct op op = {.kind = OP_ENQUEUE};
    op.enqueue = (struct op_enqueue){.msg = delivery->msg,
                                     .sequence = delivery->sequence,
                                     .qos = delivery->qos,
                                     .retain = delivery->retain,
                                     .share_text = share_text(session, delivery->share)};
    op.enqueue.ids = delivery_id_list(delivery, &op.enqueue.id_count);
    session->has_more = true;
    delivery->stored = log_op(session, &op);
    deliver_run_add(session, delivery->sequence);
}

static void settle(struct session *session, const struct delivery *delivery, bool awaits_pubcomp)
{
    if (session->is_kept && delivery->sequence != 0) {
        struct op op = {.kind = OP_SETTLE};
        op.settle = (struct op_settle){delivery->sequence, delivery->stored, awaits_pubcomp};
        log_op(session, &op);
    }
}

void apply_settled(struct session *session, const struct delivery *delivery)
{
    settle(session, delivery, false);
}

enum err apply_ack(struct session *session, uint16_t packet_id, enum inflight_event event,
                   bool *send_pubrel)
{
    struct delivery done = {0};
    TRY(inflight_ack(&session->inflight, packet_id, event, send_pubrel, &done));
    struct conn *conn = session->conn;
    if (done.must_resend && conn != NULL) {
        conn->resend_count--; /* answered before it was sent again on this connection */
    }
    if (done.state == DELIVERY_FREE) {
        deliver_settled(session, &done);
    } else {
        settle(session, &done, true);
    }
    return OK;
}

/* ---- packet ids of the client -------------------------------------------------------------- */

static void packet_id_log(struct session *session, enum op_kind kind, uint16_t packet_id)
{
    if (session->is_kept) {
        struct op op = {.kind = kind, .packet_id = packet_id};
        session->has_more = true;
        log_op(session, &op);
    }
}

enum err apply_seen(struct session *session, uint16_t packet_id)
{
    if (inbound_has(&session->inbound, packet_id)) {
        return ERR_EXISTS; /* also on a full disk: nothing changes, and it was accepted before */
    }
    TRY(apply_admit(session));
    TRY(inbound_add(&session->inbound, packet_id));
    packet_id_log(session, OP_SEEN, packet_id);
    return OK;
}

void apply_release(struct session *session, uint16_t packet_id)
{
    if (inbound_remove(&session->inbound, packet_id)) {
        packet_id_log(session, OP_RELEASE, packet_id);
    }
}
