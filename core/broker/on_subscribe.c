#include "core/broker/on_subscribe.h"

#include "core/base/assert.h"
#include "core/base/log.h"
#include "core/broker/apply.h"
#include "core/broker/ceiling.h"
#include "core/broker/deliver.h"
#include "core/broker/dispatch.h"
#include "core/broker/give_back.h"
#include "core/broker/limits.h"
#include "core/broker/partition.h"
#include "core/broker/replay.h"
#include "core/broker/rights.h"
#include "core/broker/shard.h"
#include "core/broker/shares.h"
#include "core/pubsub/topic.h"
#include "core/session/journal.h"
#include "core/wire/props.h"
#include "core/wire/reason.h"
#include "core/wire/subscribe.h"

#include <stdlib.h>

struct suback {
    struct list link;  /* in conn->work->subacks, or in those of the shard */
    struct conn *conn; /* NULL: it is gone */
    uint32_t open_count;
    uint32_t count;
    uint16_t packet_id;
    bool is_unsuback;
    bool is_withheld; /* an UNSUBACK of 3.x cannot say that it was not done */
    uint8_t codes[];
};

static void suback_write(struct conn *conn, const struct suback *suback)
{
    uint32_t size = (uint32_t)(suback->is_unsuback
                                   ? mqtt_unsuback_size(suback->count, NULL, conn->version)
                                   : mqtt_suback_size(suback->count, NULL, conn->version));
    uint8_t *bytes = conn_packet(conn, size, 0);
    if (bytes == NULL) {
        return;
    }
    struct writer w = writer_of(bytes, size);
    if (suback->is_unsuback) {
        mqtt_unsuback_encode(&w, suback->packet_id, suback->codes, suback->count, NULL,
                             conn->version);
    } else {
        mqtt_suback_encode(&w, suback->packet_id, suback->codes, suback->count, NULL,
                           conn->version);
    }
}

/* NULL: memory. Whoever makes it releases it once. */
static struct suback *suback_new(struct conn *conn, const struct mqtt_subscribe *packet)
{
    struct suback *suback = calloc(1, sizeof(*suback) + packet->filter_count);
    if (suback != NULL) {
        suback->conn = conn;
        suback->count = packet->filter_count;
        suback->packet_id = packet->packet_id;
        suback->open_count = 1;
        list_push_back(&conn->work->subacks, &suback->link);
    }
    return suback;
}

/* The last one answers: SUBACK first, then what is retained. */
static void suback_release(struct suback *suback)
{
    ASSERT(suback->open_count > 0);
    if (--suback->open_count > 0) {
        return;
    }
    struct conn *conn = suback->conn;
    if (conn != NULL && !suback->is_withheld) {
        suback_write(conn, suback);
    }
    list_remove(&suback->link);
    free(suback);
    if (conn != NULL && conn->session != NULL && queue_count(&conn->session->queue) == 0) {
        replay_pump(conn);
    }
}

void suback_done(struct suback *suback, uint32_t index, enum err err)
{
    if (suback == NULL) {
        return;
    }
    if (err != OK && suback->conn != NULL) {
        uint8_t code = reason_from_err(err, MQTT_SUBACK);
        suback->codes[index] = suback->conn->version == MQTT_5 ? code : reason_v3_suback(code);
    }
    suback_release(suback);
}

/* What could not be kept was not done, for all the client may rely on. */
static void refuse_all(struct suback *suback, enum err err)
{
    const struct conn *conn = suback->conn;
    bool is_v5 = conn != NULL && conn->version == MQTT_5;
    suback->is_withheld = suback->is_unsuback && !is_v5;
    uint8_t code = reason_from_err(err, suback->is_unsuback ? MQTT_UNSUBACK : MQTT_SUBACK);
    if (!is_v5) {
        code = reason_v3_suback(code);
    }
    for (uint32_t i = 0; i < suback->count; i++) {
        suback->codes[i] = suback->codes[i] < 0x80 ? code : suback->codes[i];
    }
}

static void on_committed(void *context, enum err err)
{
    struct suback *suback = context;
    if (err != OK) {
        refuse_all(suback, err);
    }
    suback_release(suback);
}

/* It waits for all that was logged for the session so far. */
static void suback_await(struct suback *suback)
{
    const struct conn *conn = suback->conn;
    const struct session *session = conn->session;
    if (!session->is_kept) {
        return;
    }
    enum err err = journal_await(conn->shard->journal, UINT64_C(1) << session->partition,
                                 on_committed, suback);
    if (err == ERR_AGAIN) {
        suback->open_count++;
    } else if (err != OK) {
        refuse_all(suback, err);
    }
}

void subacks_orphan(struct conn *conn)
{
    LIST_EACH (&conn->work->subacks, link) {
        CONTAINER_OF(link, struct suback, link)->conn = NULL;
    }
    list_append(&conn->shard->subacks, &conn->work->subacks);
}

void subacks_free(struct shard *shard)
{
    struct list *link;
    while ((link = list_pop_front(&shard->subacks)) != NULL) {
        free(CONTAINER_OF(link, struct suback, link));
    }
}

/* Which retained messages are owed: 3.8.3.1. */
static bool wants_retained(const struct mqtt_filter *asked, bool is_new)
{
    return asked->retain_handling == 0 || (asked->retain_handling == 1 && is_new);
}

static enum err filter_check(struct conn *conn, const struct mqtt_filter *asked,
                             struct topic_filter *filter)
{
    const struct config *config = conn->shard->config;
    TRY(topic_filter_parse(asked->filter, config->topic_levels_max, filter));
    if (!rights_may_subscribe(conn, filter->filter)) {
        return ERR_NOT_AUTHORIZED;
    }
    bool is_known = session_subscription(conn->session, asked->filter) != NULL;
    if (!is_known && config->subscriptions_max > 0 &&
        conn->session->subscription_count >= config->subscriptions_max) {
        return ERR_QUOTA;
    }
    if (!is_known && ceiling_is_near(conn->shard)) {
        return ERR_QUOTA;
    }
    return is_known ? OK : limits_may_subscribe(conn->session);
}

/* One filter: OK, ERR_AGAIN (the share group's shard will answer), or why not. */
static enum err subscribe_one(struct conn *conn, struct suback *suback, uint32_t index,
                              const struct mqtt_filter *asked, uint32_t id)
{
    struct topic_filter filter;
    TRY(filter_check(conn, asked, &filter));
    struct session *session = conn->session;
    bool is_new = session_subscription(session, asked->filter) == NULL;
    uint8_t qos_max = (uint8_t)conn->qos_max; /* any is taken [MQTT-3.2.2-10] */
    uint8_t granted = asked->qos < qos_max ? asked->qos : qos_max;
    if (filter.share.count > 0 && !shares_is_here(conn->shard, filter.share, filter.filter)) {
        return ERR_UNAVAILABLE;
    }
    struct op_subscribe wanted = {
        .text = asked->filter,
        .share_name = filter.share,
        .filter = filter.filter,
        .prefix = slice_text(conn_listener(conn)->mount_point),
        .id = id,
        .qos = granted,
        .no_local = asked->no_local || (conn->is_bridge && filter.share.count == 0),
        .retain_as_published = asked->retain_as_published || conn->is_bridge};
    struct subscription *subscription;
    TRY(apply_subscribe(session, &wanted, &subscription));
    suback->codes[index] = granted;
    rights_subscribed(session, subscription);
    if (filter.share.count > 0) {
        return shares_join(conn->shard, subscription, conn->window.count_max, suback, index);
    }
    if (wants_retained(asked, is_new)) {
        return replay_add(conn, subscription, filter.has_wildcard);
    }
    return OK;
}

/* log_type subscribe, unsubscribe: types of their own, beside the levels. */
static void filter_log(const struct conn *conn, enum config_log_type type, const char *what,
                       const struct mqtt_filter *asked)
{
    static struct log_site site;
    if ((conn->shard->config->log_type >> type & 1) == 0) {
        return;
    }
    const struct log_field fields[] = {LOG_SLICE("client", conn_client_id(conn)),
                                       LOG_SLICE("filter", asked->filter),
                                       LOG_U64("qos", asked->qos)};
    log_write(&site, LOG_NOTICE, what, fields, type == LOG_TYPE_SUBSCRIBE ? 3 : 2);
}

/* [MQTT-3.8.3-4] */
static enum err shared_is_not_local(const struct mqtt_subscribe *subscribe)
{
    struct slice rest = subscribe->filters;
    struct mqtt_filter asked;
    while (mqtt_filters_next(&rest, true, MQTT_5, &asked)) {
        if (asked.no_local && slice_starts_with(asked.filter, slice_text("$share/"))) {
            return ERR_PROTOCOL;
        }
    }
    return OK;
}

enum err on_subscribe(struct conn *conn, const struct packet *packet)
{
    struct mqtt_subscribe subscribe;
    TRY(mqtt_subscribe_decode(packet->frame.body, conn->version, &subscribe));
    if (subscribe.filter_count > LIMIT_FILTERS_PER_PACKET) {
        return ERR_TOO_LARGE;
    }
    if (conn->version == MQTT_5) {
        TRY(shared_is_not_local(&subscribe));
    }
    struct suback *suback = suback_new(conn, &subscribe);
    if (suback == NULL) {
        return ERR_NOMEM;
    }
    bool has_id = props_has(&subscribe.props, PROP_SUBSCRIPTION_ID);
    uint32_t id = has_id ? subscribe.props.subscription_id : 0;

    struct slice rest = subscribe.filters;
    struct mqtt_filter asked;
    for (uint32_t i = 0; mqtt_filters_next(&rest, true, conn->version, &asked); i++) {
        suback->open_count++;
        enum err err = subscribe_one(conn, suback, i, &asked, id);
        if (err != OK && err != ERR_AGAIN && err != ERR_NOT_AUTHORIZED) { /* that was told */
            shard_count_drop(conn->shard, TRAIL_SUBSCRIBE_REFUSED, err, conn_client_id(conn),
                             asked.filter);
        } else if (err != ERR_NOT_AUTHORIZED) {
            filter_log(conn, LOG_TYPE_SUBSCRIBE, "subscribed", &asked);
        }
        if (err != ERR_AGAIN) {
            suback_done(suback, i, err);
        }
    }
    limits_subscribed(conn->session);
    suback_await(suback);
    suback_release(suback);
    return OK;
}

/* What the session was owed by a shared subscription goes to others of the group. */
static enum err unsubscribe_one(struct subscription *subscription)
{
    struct session *session = subscription->session;
    uint64_t share = subscription->share;
    struct deque rest = {0};
    enum err err = apply_admit(session);
    if (err != OK && err != ERR_NO_SPACE) {
        return err;
    }
    replay_cancel(subscription);
    if (share != 0) {
        give_back_waiting(session, share, &rest);
    }
    err = apply_unsubscribe(subscription);
    give_back_rest(session, &rest);
    return err;
}

enum err on_unsubscribe(struct conn *conn, const struct packet *packet)
{
    struct mqtt_subscribe unsubscribe;
    TRY(mqtt_unsubscribe_decode(packet->frame.body, conn->version, &unsubscribe));
    if (unsubscribe.filter_count > LIMIT_FILTERS_PER_PACKET) {
        return ERR_TOO_LARGE;
    }
    struct suback *unsuback = suback_new(conn, &unsubscribe);
    if (unsuback == NULL) {
        return ERR_NOMEM;
    }
    unsuback->is_unsuback = true;
    struct slice rest = unsubscribe.filters;
    struct mqtt_filter asked;
    for (uint32_t i = 0; mqtt_filters_next(&rest, false, conn->version, &asked); i++) {
        struct subscription *subscription = session_subscription(conn->session, asked.filter);
        struct topic_filter filter;
        enum err err = topic_filter_parse(asked.filter, UINT32_MAX, &filter);
        if (err == OK) {
            err = subscription != NULL ? OK : ERR_NOT_FOUND;
        }
        if (subscription != NULL) {
            err = unsubscribe_one(subscription);
            unsuback->is_withheld |= err != OK && conn->version != MQTT_5;
            filter_log(conn, LOG_TYPE_UNSUBSCRIBE, "unsubscribed", &asked);
        }
        unsuback->codes[i] = reason_from_err(err, MQTT_UNSUBACK);
    }
    limits_subscribed(conn->session);
    suback_await(unsuback);
    suback_release(unsuback);
    return OK;
}
