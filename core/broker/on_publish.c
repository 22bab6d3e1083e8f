/*
 * PUBLISH: accept, keep if it is to be retained, route, promise.
 */
#include "core/base/assert.h"
#include "core/base/utf8.h"
#include "core/broker/apply.h"
#include "core/broker/ceiling.h"
#include "core/broker/deliver.h"
#include "core/broker/dispatch.h"
#include "core/broker/limits.h"
#include "core/broker/outbox.h"
#include "core/broker/receipt.h"
#include "core/broker/retained.h"
#include "core/broker/rights.h"
#include "core/broker/shard.h"
#include "core/broker/withhold.h"
#include "core/pubsub/topic.h"
#include "core/wire/props.h"
#include "core/wire/publish.h"

#include <stdlib.h>
#include <string.h>

/* What the client was told it may not do ends the connection, 3.3.1.2, 3.2.2.3. */
static enum err allowed_check(const struct conn *conn, const struct mqtt_publish *publish)
{
    const struct config *config = conn->shard->config;
    if (publish->qos > conn->qos_max) {
        return ERR_QOS; /* [MQTT-3.2.2-11] */
    }
    if (publish->retain && !config->retain_available) {
        return ERR_RETAIN; /* [MQTT-3.2.2-14] */
    }
    if (props_has(&publish->props, PROP_SUBSCRIPTION_ID)) {
        return ERR_PROTOCOL; /* [MQTT-3.3.4-6] */
    }
    return OK;
}

static enum err topic_resolve(struct conn *conn, struct mqtt_publish *publish)
{
    if (props_has(&publish->props, PROP_TOPIC_ALIAS)) {
        if (publish->topic.count > 0) {
            /* Judged before it is learnt. */
            TRY(topic_name_check(publish->topic, conn->shard->config->topic_levels_max));
        }
        return alias_in_resolve(&conn->work->alias_in, publish->props.topic_alias, &publish->topic);
    }
    return topic_name_check(publish->topic, conn->shard->config->topic_levels_max);
}

/* What is wrong with this one message; the connection goes on. */
static enum err message_check(const struct conn *conn, const struct mqtt_publish *publish)
{
    const struct config *config = conn->shard->config;
    if (slice_starts_with(publish->topic, slice_text("$SYS/")) &&
        !topic_is_bridge_state(publish->topic)) {
        return ERR_NOT_AUTHORIZED; /* the broker's own */
    }
    if (config->message_size_limit > 0 && publish->payload.count > config->message_size_limit) {
        return ERR_TOO_LARGE;
    }
    if (props_has(&publish->props, PROP_PAYLOAD_FORMAT) && publish->props.payload_is_text == 1 &&
        !utf8_is_valid(publish->payload)) {
        return ERR_PAYLOAD_FORMAT;
    }
    bool makes_room = publish->retain && publish->payload.count == 0;
    if (!makes_room && ceiling_is_reached(conn->shard)) {
        return ERR_QUOTA;
    }
    return OK;
}

/* Topic with mount point, and properties, gathered in scratch of the turn. */
static struct msg *message_make(struct conn *conn, const struct mqtt_publish *publish,
                                struct blob *blob)
{
    uint8_t small[512];
    struct slice mount = slice_text(conn_listener(conn)->mount_point);
    bool has_props = conn->version == MQTT_5 && publish->props.raw.count > 0;
    size_t topic_bytes = mount.count > 0 ? mount.count + publish->topic.count : 0;
    size_t props_bytes = has_props ? props_forwardable_size(publish->props.raw) : 0;
    size_t bytes = topic_bytes + props_bytes;
    uint8_t *scratch = bytes <= sizeof(small) ? small : malloc(bytes);
    if (scratch == NULL) {
        return NULL;
    }
    struct msg_spec spec = {.qos = publish->qos,
                            .retain = publish->retain,
                            .publisher = conn->session->key,
                            .topic = publish->topic,
                            .payload = publish->payload};
    if (mount.count > 0) {
        memcpy(scratch, mount.data, mount.count);
        memcpy(scratch + mount.count, publish->topic.data, publish->topic.count);
        spec.topic = slice_of(scratch, topic_bytes);
    }
    if (props_bytes > 0) {
        struct writer w = writer_of(scratch + topic_bytes, props_bytes);
        props_copy_forwardable(publish->props.raw, &w);
        spec.props = slice_of(scratch + topic_bytes, props_bytes);
    }
    if (has_props && props_has(&publish->props, PROP_MESSAGE_EXPIRY)) {
        spec.expiry_s = publish->props.message_expiry_s;
        spec.expires_wall_ms = shard_wall_ms(conn->shard) +
                               UINT64_C(1000) * publish->props.message_expiry_s;
    }
    if (publish->payload.count >= OUT_REFERENCE_BYTES) {
        spec.blob = blob;
    }
    struct msg *msg = msg_new(&spec);
    if (scratch != small) {
        free(scratch);
    }
    return msg;
}

/*
 * What a session that outlives its connection publishes at QoS 2 must not come twice, even if we fall
 * in between: it goes by the outbox, in one entry with its packet id. So does what it retains at
 * another QoS while the outbox is behind: the last one stored is to be the last one sent.
 */
static bool goes_by_outbox(const struct session *session, const struct msg *msg)
{
    return session->is_kept &&
           (msg->qos == 2 || (msg->retain && outbox_is_behind(session->owner, session->partition)));
}

/* false: nobody subscribed. */
static bool send(struct conn *conn, struct msg *msg, struct receipt *receipt)
{
    struct session *session = conn->session;
    if (!goes_by_outbox(session, msg)) {
        return retained_publish(conn->shard, msg, receipt);
    }
    bool has_receivers = route_is_wanted(conn->shard, msg);
    enum err err = msg->qos < 2 ? apply_admit(session) : OK;
    err = err == OK && msg->retain ? retained_admit(conn->shard, msg) : err;
    err = err == OK ? outbox_send(session, msg, NULL) : err;
    if (err != OK && receipt != NULL) {
        receipt->err = err;
    }
    receipt_await(receipt, UINT64_C(1) << session->partition);
    return has_receivers;
}

static void refuse(struct conn *conn, const struct mqtt_publish *publish, enum err why)
{
    shard_count_drop(conn->shard, TRAIL_PUBLISH_REFUSED, why, conn_client_id(conn), publish->topic);
}

static void accept_message(struct conn *conn, const struct mqtt_publish *publish, struct blob *blob,
                           struct receipt *receipt)
{
    struct shard *shard = conn->shard;
    enum err err = message_check(conn, publish);
    struct msg *msg = err == OK ? message_make(conn, publish, blob) : NULL;
    if (msg == NULL) {
        err = err != OK ? err : ERR_NOMEM;
        refuse(conn, publish, err);
        receipt_done(receipt, err);
        return;
    }
    if (!rights_may_publish(conn->session, msg)) {
        rights_denied_publish(conn->session, msg, false);
        msg_unref(msg);
        receipt_done(receipt, ERR_NOT_AUTHORIZED);
        return;
    }
    err = msg->retain ? limits_may_retain(conn->session, msg) : OK;
    if (err != OK) {
        refuse(conn, publish, err);
        msg_unref(msg);
        receipt_done(receipt, err);
        return;
    }
    metric_add_label(shard->metrics, METRIC_publish_received, publish->qos, 1);
    metric_add(shard->metrics, METRIC_publish_bytes_received, publish->payload.count);
    hold_begin(shard);
    bool has_receivers = send(conn, msg, receipt);
    hold_publisher(conn);
    if (!has_receivers) {
        metric_add(shard->metrics, METRIC_publish_unrouted, 1);
    }
    if (receipt != NULL) {
        receipt->has_receivers = has_receivers;
        receipt_done(receipt, OK);
    }
    msg_unref(msg);
}

static bool is_owed(const struct conn *conn, uint16_t packet_id)
{
    LIST_EACH (&conn->work->receipts, link) {
        const struct receipt *receipt = CONTAINER_OF(link, struct receipt, link);
        if (receipt->packet_id == packet_id && receipt->type == MQTT_PUBREC) {
            return true;
        }
    }
    return false;
}

/* A repeat is answered in its turn, behind what came before it [MQTT-4.6.0-3]. */
static enum err answer_repeat(struct conn *conn, uint16_t packet_id)
{
    if (is_owed(conn, packet_id) || receipt_adopt(conn, packet_id)) {
        return OK;
    }
    struct receipt *receipt = receipt_new(conn, MQTT_PUBREC, packet_id);
    if (receipt == NULL) {
        return ERR_NOMEM;
    }
    receipt->has_receivers = true; /* it was accepted when it came first */
    if (conn->session->is_kept) {
        receipt_await(receipt, UINT64_C(1) << conn->session->partition);
    }
    receipt_done(receipt, OK);
    return OK;
}

/* Nothing was remembered of it. */
static enum err refuse_at_once(struct conn *conn, uint8_t qos, uint16_t packet_id,
                               struct slice topic, enum err why)
{
    shard_count_drop(conn->shard, TRAIL_PUBLISH_REFUSED, why, conn_client_id(conn), topic);
    struct receipt *receipt = receipt_new(conn, qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, packet_id);
    if (receipt == NULL) {
        return ERR_NOMEM;
    }
    receipt_done(receipt, why);
    return OK;
}

static enum err on_publish_acked(struct conn *conn, const struct mqtt_publish *publish,
                                 struct blob *blob)
{
    /* Before the id is remembered: what is not accepted must be new when it comes again. */
    TRY(inbound_count(conn, publish->qos, publish->packet_id));
    if (publish->qos == 2 && inbound_has(&conn->session->inbound, publish->packet_id)) {
        return answer_repeat(conn, publish->packet_id); /* it ends here [MQTT-4.3.3-10] */
    }
    enum err err = withhold_why(conn);
    if (err == OK && publish->qos == 2) {
        err = apply_seen(conn->session, publish->packet_id);
    }
    if (err != OK) {
        return refuse_at_once(conn, publish->qos, publish->packet_id, publish->topic, err);
    }
    struct receipt *receipt = receipt_new(conn, publish->qos == 1 ? MQTT_PUBACK : MQTT_PUBREC,
                                          publish->packet_id);
    if (receipt == NULL) {
        apply_release(conn->session, publish->packet_id); /* it must be new when it comes again */
        return ERR_NOMEM;
    }
    accept_message(conn, publish, blob, receipt);
    return OK;
}

enum err on_publish(struct conn *conn, const struct packet *packet)
{
    struct mqtt_publish publish;
    TRY(mqtt_publish_decode(packet->frame.flags, packet->frame.body, conn->version, &publish));
    TRY(allowed_check(conn, &publish));
    TRY(topic_resolve(conn, &publish));
    if (conn->limits != NULL) {
        conn->limits->messages++;
    }
    if (publish.qos == 0) {
        accept_message(conn, &publish, packet->blob, NULL);
        return OK;
    }
    return on_publish_acked(conn, &publish, packet->blob);
}

enum err publish_refuse(struct conn *conn, uint8_t qos, uint16_t packet_id, struct slice topic,
                        enum err why)
{
    if (qos == 2 && inbound_has(&conn->session->inbound, packet_id)) {
        TRY(conn_prepare(conn));
        return answer_repeat(conn, packet_id);
    }
    if (qos == 0) {
        shard_count_drop(conn->shard, TRAIL_PUBLISH_REFUSED, why, conn_client_id(conn), topic);
        return OK;
    }
    TRY(conn_prepare(conn)); /* it may be the first thing it says: no handler was called */
    TRY(inbound_count(conn, qos, packet_id));
    return refuse_at_once(conn, qos, packet_id, topic, why);
}
