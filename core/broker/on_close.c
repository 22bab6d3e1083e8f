#include "core/broker/on_close.h"

#include "core/base/assert.h"
#include "core/base/ledger.h"
#include "core/broker/apply.h"
#include "core/broker/conn.h"
#include "core/broker/deliver.h"
#include "core/broker/dispatch.h"
#include "core/broker/give_back.h"
#include "core/broker/limits.h"
#include "core/broker/outbox.h"
#include "core/broker/receipt.h"
#include "core/broker/retained.h"
#include "core/broker/rights.h"
#include "core/broker/routes.h"
#include "core/broker/shard.h"
#include "core/broker/shares.h"
#include "core/wire/control.h"
#include "core/wire/props.h"

#include <stdlib.h>

static uint64_t after_s(const struct shard *shard, uint32_t seconds)
{
    return io_now_ns(shard->io) + seconds * UINT64_C(1000000000);
}

/* ---- the will ------------------------------------------------------------------------------ */

/* The message expiry of a will counts from its publication: only now is the message complete. */
static struct msg *will_message(struct shard *shard, const struct will *will)
{
    if (!will->has_expiry) {
        return msg_ref(will->msg);
    }
    struct msg_spec spec = {.qos = will->msg->qos,
                            .retain = will->msg->retain,
                            .publisher = will->msg->publisher,
                            .expiry_s = will->expiry_s,
                            .expires_wall_ms = shard_wall_ms(shard) +
                                               UINT64_C(1000) * will->expiry_s,
                            .topic = will->msg->topic,
                            .props = will->msg->props,
                            .payload = will->msg->payload};
    return msg_new(&spec);
}

/* By the outbox, in one entry with its being gone: so it comes, and comes once (promise P5). */
static enum err will_publish(struct session *session, struct msg *msg)
{
    struct shard *shard = session->owner;
    if (!session->is_durable) {
        retained_publish(shard, msg, NULL);
        return OK;
    }
    return outbox_send(session, msg, NULL);
}

static void will_settle(struct session *session, enum will_fate fate)
{
    struct shard *shard = session->owner;
    if (session_will(session) == NULL) {
        return;
    }
    wheel_unset(shard->wheel, &session->afterlife->will_timer);
    struct will will = apply_will(session);
    struct msg *msg = fate == WILL_PUBLISH ? will_message(shard, &will) : NULL;
    enum err err = fate == WILL_PUBLISH && msg == NULL ? ERR_NOMEM : OK;
    if (msg != NULL && !rights_may_publish(session, msg)) {
        rights_denied_publish(session, msg, true); /* allowed at CONNECT, and not any more */
    } else if (msg != NULL) {
        err = will_publish(session, msg);
    }
    if (err != OK) {
        shard_count_drop(shard, TRAIL_DROP_MEMORY, err, session->client_id, will.msg->topic);
    }
    msg_unref(msg);
    will_deinit(&will);
}

static void on_will_timer(struct timer *timer)
{
    will_settle(CONTAINER_OF(timer, struct afterlife, will_timer)->session, WILL_PUBLISH);
}

static void on_expiry_timer(struct timer *timer)
{
    struct session *session = CONTAINER_OF(timer, struct afterlife, expiry_timer)->session;
    struct shard *shard = session->owner;
    metric_add(shard->metrics, METRIC_sessions_expired, 1);
    session_end(session);
}

/* ---- opening and ending -------------------------------------------------------------------- */

struct session *session_open(struct shard *shard, struct slice client_id)
{
    return session_restore(shard, client_id, ++shard->key_last * SHARD_COUNT_MAX + shard->index);
}

struct session *session_restore(struct shard *shard, struct slice client_id, uint64_t key)
{
    struct session *session = session_new(client_id, key);
    if (session == NULL) {
        return NULL;
    }
    session->owner = shard;
    session->queue.totals = &shard->queue_totals;
    session->inflight.total = &shard->inflight_total;
    if (map_put(shard->sessions, session) != OK) {
        session_free(session);
        return NULL;
    }
    metric_add(shard->metrics, METRIC_sessions, 1);
    return session;
}

enum err session_prepare_afterlife(struct session *session)
{
    if (session->afterlife != NULL) {
        return OK;
    }
    struct afterlife *afterlife = calloc(1, sizeof(*afterlife));
    if (afterlife == NULL) {
        return ERR_NOMEM;
    }
    ledger_add(LEDGER_SESSIONS, ledger_block(sizeof(*afterlife)));
    afterlife->session = session;
    timer_init(&afterlife->will_timer, on_will_timer);
    timer_init(&afterlife->expiry_timer, on_expiry_timer);
    session->afterlife = afterlife;
    return OK;
}

static void timers_unset(struct session *session)
{
    struct shard *shard = session->owner;
    if (session->afterlife != NULL) {
        wheel_unset(shard->wheel, &session->afterlife->will_timer);
        wheel_unset(shard->wheel, &session->afterlife->expiry_timer);
    }
}

/* After a restart much may be overdue. */
static bool is_overdue(const struct session *session, const struct timer *timer)
{
    const struct shard *shard = session->owner;
    return timer->at_ns != 0 && timer->at_ns <= io_now_ns(shard->io);
}

bool session_has_expired(const struct session *session)
{
    return session->afterlife != NULL && is_overdue(session, &session->afterlife->expiry_timer);
}

/* A will that the next turn would have published is published [MQTT-3.1.3-9]. */
void session_resume(struct session *session)
{
    bool will_is_due = session_will(session) != NULL &&
                       is_overdue(session, &session->afterlife->will_timer);
    timers_unset(session);
    will_settle(session, will_is_due ? WILL_PUBLISH : WILL_DROP);
}

/* What is on disk alone ends with it, unread. */
static void give_up_spilled(struct session *session)
{
    struct shard *shard = session->owner;
    uint32_t count = session->queue.spilled_count;
    if (count > 0) {
        metric_add_label(shard->metrics, METRIC_dropped, TRAIL_DROP_SESSION_ENDED, count - 1);
        shard_count_drop(shard, TRAIL_DROP_SESSION_ENDED, OK, session->client_id,
                         slice_of(NULL, 0));
        queue_forget_spilled(&session->queue);
    }
}

static void unsubscribe_all(struct session *session)
{
    struct shard *shard = session->owner;
    while (!list_is_empty(&session->subscriptions)) {
        struct subscription *subscription = CONTAINER_OF(session->subscriptions.next,
                                                         struct subscription, link);
        bool is_shared = subscription->share_name.count > 0;
        if (subscription->sub.leaf != NULL) {
            routes_unhang(shard, subscription->filter, &subscription->sub);
        }
        if (is_shared) {
            shares_leave(shard, subscription);
        }
        metric_sub(shard->metrics, is_shared ? METRIC_subscriptions_shared : METRIC_subscriptions,
                   1);
        session_subscription_remove(subscription);
    }
}

void session_destroy(struct session *session)
{
    struct shard *shard = session->owner;
    timers_unset(session);
    unsubscribe_all(session);
    shares_forget_session(shard, session);
    receipts_forget_session(shard, session);
    map_remove(shard->sessions, session->client_id);
    rights_free(session);
    limits_session_end(session);
    metric_sub(shard->metrics, METRIC_sessions, 1);
    session_free(session);
}

void session_end(struct session *session)
{
    ASSERT(session->conn == NULL);
    struct deque rest = {0};
    will_settle(session, WILL_PUBLISH);
    give_back_all(session, &rest);
    apply_end(session);
    unsubscribe_all(session);
    give_back_rest(session, &rest);
    give_up_spilled(session);
    session_destroy(session);
}

/* ---- the connection lets go ---------------------------------------------------------------- */

/* QoS 0 does not wait for anybody unless the operator wants it. */
static void drop_qos0(struct session *session)
{
    struct shard *shard = session->owner;
    uint32_t count = session->queue.waiting.count;
    for (uint32_t i = 0; i < count && !shard->config->queue_qos0; i++) {
        struct delivery delivery = queue_pop(&session->queue);
        if (delivery.qos > 0 && queue_put_back(&session->queue, &delivery) == OK) {
            continue;
        }
        shard_count_drop(shard, TRAIL_DROP_OFFLINE_QOS0, OK, session->client_id,
                         delivery.msg->topic);
        deliver_settled(session, &delivery);
    }
}

void session_wait(struct session *session)
{
    struct shard *shard = session->owner;
    if (session->expiry_s != EXPIRY_NEVER) {
        wheel_set(shard->wheel, &session->afterlife->expiry_timer,
                  after_s(shard, session->expiry_s));
    }
}

void session_leave(struct conn *conn, enum will_fate will)
{
    struct shard *shard = conn->shard;
    struct session *session = conn->session;
    conn->session = NULL;
    session->conn = NULL;
    session->expiry_s = conn->session_expiry_s;
    metric_sub(shard->metrics, METRIC_clients_connected, 1);
    if (will == WILL_STAYS) {
        return;
    }
    apply_close(session);
    if (will == WILL_DROP) {
        will_settle(session, WILL_DROP); /* [MQTT-3.14.4-3] */
    }
    if (session->expiry_s == 0) {
        session_end(session);
        return;
    }
    const struct will *left = session_will(session);
    if (left != NULL && left->delay_s > 0) {
        wheel_set(shard->wheel, &session->afterlife->will_timer, after_s(shard, left->delay_s));
    } else {
        will_settle(session, WILL_PUBLISH);
    }
    session_wait(session);
    shares_presence(shard, session, false);
    struct deque rest = {0};
    give_back_waiting(session, 0, &rest);
    give_back_rest(session, &rest);
    drop_qos0(session);
}

/* [MQTT-3.14.4-1] [MQTT-3.14.4-2] */
enum err on_disconnect(struct conn *conn, const struct packet *packet)
{
    struct mqtt_control disconnect;
    TRY(mqtt_control_decode(MQTT_DISCONNECT, packet->frame.body, conn->version, &disconnect));
    if (conn->version == MQTT_5 && props_has(&disconnect.props, PROP_SESSION_EXPIRY)) {
        uint32_t expiry_s = disconnect.props.session_expiry_s;
        uint32_t expiry_max_s = conn->shard->config->session_expiry_max_s;
        if (conn->session_expiry_s == 0 && expiry_s != 0) {
            return ERR_PROTOCOL; /* 3.14.2.2.2 */
        }
        conn->session_expiry_s = expiry_s < expiry_max_s ? expiry_s : expiry_max_s;
    }
    /* Only a normal disconnection takes the will along. */
    conn_end_by_client(conn, disconnect.reason != 0);
    return OK;
}
