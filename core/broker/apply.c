#include "core/broker/apply.h"

#include "core/base/assert.h"
#include "core/broker/conn.h"
#include "core/broker/deliver.h"
#include "core/broker/on_close.h"
#include "core/broker/shard.h"
#include "core/broker/shares.h"

static enum err apply_open(struct session *session, const struct op *op)
{
    bool is_durable = op->open.expiry_s > 0 || op->open.will->msg != NULL;
    if (is_durable) {
        TRY(session_prepare_afterlife(session));
    }
    session->expiry_s = op->open.expiry_s;
    session->is_durable = is_durable;
    if (session->afterlife != NULL) {
        will_deinit(&session->afterlife->will);
        session->afterlife->will = *op->open.will;
    }
    return OK;
}

static enum err apply_subscribe(struct shard *shard, struct session *session, const struct op *op)
{
    struct subscription *subscription = session_subscription(session, op->subscribe.text);
    bool is_new = subscription == NULL;
    if (is_new) {
        subscription = session_subscription_add(session, op->subscribe.text,
                                                op->subscribe.share_name, op->subscribe.filter,
                                                op->subscribe.prefix);
        if (subscription == NULL) {
            return ERR_NOMEM;
        }
        subscription->sub.owner = session;
    }
    subscription->sub.id = op->subscribe.id; /* a repeat replaces the old one [MQTT-3.8.4-3] */
    subscription->sub.qos = op->subscribe.qos;
    subscription->sub.no_local = op->subscribe.no_local;
    subscription->sub.retain_as_published = op->subscribe.retain_as_published;
    bool is_shared = subscription->share_name.count > 0;
    if (is_new && !is_shared) {
        enum err err = trie_subscribe(shard->trie, shard->index, subscription->filter,
                                      &subscription->sub);
        if (err != OK) {
            session_subscription_remove(subscription);
            return err;
        }
    }
    if (is_new) {
        metric_add(shard->metrics, is_shared ? METRIC_subscriptions_shared : METRIC_subscriptions,
                   1);
    }
    return OK;
}

static enum err apply_unsubscribe(struct shard *shard, struct subscription *subscription)
{
    bool is_shared = subscription->share_name.count > 0;
    if (is_shared) {
        shares_leave(shard, subscription);
    } else {
        trie_unsubscribe(shard->trie, shard->index, &subscription->sub);
    }
    metric_sub(shard->metrics, is_shared ? METRIC_subscriptions_shared : METRIC_subscriptions, 1);
    session_subscription_remove(subscription);
    return OK;
}

static enum err apply_settle(struct session *session, const struct op *op)
{
    struct delivery done = {0};
    TRY(inflight_ack(&session->inflight, op->settle.packet_id, op->settle.event,
                     op->settle.send_pubrel, &done));
    struct conn *conn = session->conn;
    if (done.must_resend && conn != NULL) {
        conn->resend_count--; /* answered before it was sent again on this connection */
    }
    if (done.state == DELIVERY_FREE) {
        deliver_settled(session, &done);
    }
    return OK;
}

enum err apply_op(void *context, const struct op *op)
{
    struct shard *shard = context;
    struct session *session = op->session;
    ASSERT(session == NULL || session->owner == shard);
    switch (op->kind) {
    case OP_OPEN:
        return apply_open(session, op);
    case OP_CLOSE:
    case OP_END:
        return OK; /* in memory the timers and the end itself say it all */
    case OP_SUBSCRIBE:
        return apply_subscribe(shard, session, op);
    case OP_UNSUBSCRIBE:
        return apply_unsubscribe(shard, op->unsubscribe);
    case OP_ENQUEUE:
        return deliver_enqueue(session, op->enqueue);
    case OP_SETTLE:
        return apply_settle(session, op);
    case OP_SEEN:
        return inbound_add(&session->inbound, op->packet_id);
    case OP_RELEASE:
        return inbound_remove(&session->inbound, op->packet_id) ? OK : ERR_NOT_FOUND;
    case OP_RETAIN:
        return retain_set(shard->retain, op->retain);
    case OP_WILL:
        will_deinit(&session->afterlife->will);
        return OK;
    case OP_COUNT:
        break;
    }
    ASSERT(false);
    return ERR_INVALID;
}
