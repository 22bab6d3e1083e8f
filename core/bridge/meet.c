/*
 * What a bridge says on both legs before and beside messages: CONNECT, SUBSCRIBE, the news of its state.
 *
 *     remote: CONNECT ──> CONNACK
 *                            local: CONNECT ──> CONNACK ──> SUBSCRIBE ──> SUBACK      and what is sent flows
 *                                                                            remote: SUBSCRIBE ──> SUBACK
 *
 * In this order nothing waits in a circle: the local leg's requests are answered whatever the remote one
 * does, and while the remote leg's are out nothing of the local leg's has to wait. A request takes a
 * packet id beside those of messages, which the other broker has chosen one after the other: the one
 * half a circle away from the last is not in use.
 */
#include "core/base/assert.h"
#include "core/base/log.h"
#include "core/bridge/bridge_parts.h"
#include "core/wire/connect.h"
#include "core/wire/control.h"
#include "core/wire/props.h"
#include "core/wire/publish.h"
#include "core/wire/reason.h"
#include "core/wire/subscribe.h"

#include <string.h>

enum {
    FILTERS_PER_REQUEST = 8, /* some brokers take no more at once */
    HALF_CIRCLE = 32768,
};

#define SAY(props, prop, field, value) \
    ((props)->present |= PROP_BIT(prop), (props)->field = (value))

/* ---- CONNECT ------------------------------------------------------------------------------- */

static void will_fill(const struct bridge *bridge, struct mqtt_connect *connect)
{
    connect->has_will = true;
    connect->will.topic = slice_text(bridge->config->notification_topic);
    connect->will.payload = slice_text("0");
    connect->will.qos = 1;
    connect->will.retain = true;
    props_clear(&connect->will.props);
}

static void remote_fill(const struct bridge *bridge, struct leg *leg, struct mqtt_connect *connect)
{
    static const enum mqtt_version versions[] = {MQTT_3_1, MQTT_3_1_1, MQTT_5};
    const struct bridge_config *config = bridge->config;
    leg->version = connect->version = versions[config->protocol_version];
    leg->keepalive_s = config->keepalive_s;
    leg->packet_max_in = leg->packet_max_out = (uint32_t)config->packet_max_bytes;
    leg->has_no_retain = !config->outgoing_retain;
    connect->clean_start = config->cleansession;
    connect->keepalive_s = (uint16_t)config->keepalive_s;
    connect->client_id = slice_text(config->remote_clientid);
    connect->has_username = config->remote_username[0] != '\0';
    connect->username = slice_text(config->remote_username);
    connect->has_password = config->remote_password[0] != '\0';
    connect->password = slice_text(config->remote_password);
    if (config->notifications && !config->notifications_local_only) {
        will_fill(bridge, connect);
        connect->will.retain = config->outgoing_retain;
    }
    if (connect->version != MQTT_5) {
        connect->is_bridge = config->try_private && !bridge->is_private_refused;
        return;
    }
    struct mqtt_props *props = &connect->props;
    leg->alias_in.count_max = (uint16_t)config->topic_alias_max;
    SAY(props, PROP_RECEIVE_MAX, receive_max, (uint16_t)config->receive_max);
    if (config->topic_alias_max > 0) {
        SAY(props, PROP_TOPIC_ALIAS_MAX, topic_alias_max, (uint16_t)config->topic_alias_max);
    }
    if (leg->packet_max_in > 0) {
        SAY(props, PROP_PACKET_MAX, packet_max_bytes, leg->packet_max_in);
    }
    if (!config->cleansession) {
        SAY(props, PROP_SESSION_EXPIRY, session_expiry_s, UINT32_MAX);
    }
}

/* This broker sends no more at once than the other one takes, so nothing waits in between. */
static void local_fill(const struct bridge *bridge, struct leg *leg, struct mqtt_connect *connect)
{
    const struct bridge_config *config = bridge->config;
    struct mqtt_props *props = &connect->props;
    uint32_t window = bridge->remote != NULL ? bridge->remote->window_max : config->threshold;
    leg->version = connect->version = MQTT_5;
    connect->clean_start = config->local_cleansession;
    connect->client_id = slice_text(config->local_clientid);
    connect->has_username = config->local_username[0] != '\0';
    connect->username = slice_text(config->local_username);
    if (config->notifications) {
        will_fill(bridge, connect);
    }
    SAY(props, PROP_RECEIVE_MAX, receive_max, (uint16_t)window);
    if (!config->local_cleansession) {
        SAY(props, PROP_SESSION_EXPIRY, session_expiry_s, UINT32_MAX);
    }
}

void meet_hello(struct bridge *bridge, struct leg *leg)
{
    struct mqtt_connect connect = {0};
    props_clear(&connect.props);
    if (leg == bridge->remote) {
        remote_fill(bridge, leg, &connect);
    } else {
        local_fill(bridge, leg, &connect);
    }
    size_t size = mqtt_connect_size(&connect);
    uint8_t *at = leg_packet(leg, size);
    if (at != NULL) {
        struct writer w = writer_of(at, size);
        mqtt_connect_encode(&w, &connect);
    }
}

/* ---- CONNACK ------------------------------------------------------------------------------- */

static void agree(struct leg *leg, const struct mqtt_props *props)
{
    if (props_has(props, PROP_RECEIVE_MAX)) {
        leg->window_max = props->receive_max;
    }
    if (props_has(props, PROP_QOS_MAX)) {
        leg->qos_max = props->qos_max;
    }
    if (props_has(props, PROP_RETAIN_AVAILABLE) && props->retain_available == 0) {
        leg->has_no_retain = true;
    }
    if (props_has(props, PROP_PACKET_MAX) &&
        (leg->packet_max_out == 0 || props->packet_max_bytes < leg->packet_max_out)) {
        leg->packet_max_out = props->packet_max_bytes;
    }
    if (props_has(props, PROP_KEEPALIVE)) {
        leg->keepalive_s = props->keepalive_s;
    }
}

/* P3 of pass.c: which ids of the other session may be half way through, seen from a new one. */
static void look_for_stale(struct bridge *bridge)
{
    bool is_local_new = bridge->is_local_new, is_remote_new = !bridge->remote->session_present;
    bridge->stale_remote = is_remote_new ? (struct ids){.count = 0} : bridge->stale_remote;
    bridge->stale_local = is_local_new ? (struct ids){.count = 0} : bridge->stale_local;
    if (is_local_new && !is_remote_new) {
        ids_fill(&bridge->stale_remote);
    }
    if (is_remote_new && !is_local_new) {
        ids_fill(&bridge->stale_local);
    }
}

static void refused(struct bridge *bridge, struct leg *leg, uint8_t reason)
{
    static const char *const words[] = {"",
                                        "unacceptable protocol version",
                                        "client id refused",
                                        "server unavailable",
                                        "bad user name or password",
                                        "not authorized"};
    bool is_remote = leg == bridge->remote;
    log_event(LOG_WARNING, "bridge: connection refused", LOG_TEXT("bridge", bridge->config->name),
              LOG_TEXT("by", is_remote ? "the other broker" : "this broker"),
              LOG_TEXT("reason", leg->version == MQTT_5 ? reason_name(reason) : words[reason]));
    bridge->is_told = true;
    if (is_remote && leg->version != MQTT_5 && reason == 1) {
        bridge->is_private_refused = !bridge->is_private_refused;
    }
    leg_break(leg, ERR_REFUSED);
}

void meet_connack(struct bridge *bridge, struct leg *leg, const struct frame *frame)
{
    struct mqtt_connack connack;
    enum err err = mqtt_connack_decode(frame->body, leg->version, &connack);
    if (err != OK) {
        leg_break(leg, err);
        return;
    }
    if (connack.reason != 0) {
        refused(bridge, leg, connack.reason);
        return;
    }
    leg->has_joined = true;
    leg->session_present = connack.session_present;
    if (leg->version == MQTT_3_1) {
        leg->session_present = !bridge->config->cleansession; /* it does not say */
    }
    agree(leg, &connack.props);
    if (leg == bridge->remote) {
        bridge_joined(bridge);
        return;
    }
    bridge->is_local_new |= !leg->session_present;
    if (bridge->state == BRIDGE_JOIN) {
        look_for_stale(bridge);
        pass_kept(bridge);
    }
    meet_subscribe(bridge, leg);
}

/* ---- SUBSCRIBE ----------------------------------------------------------------------------- */

static const char *filter_of(const struct bridge *bridge, const struct leg *leg,
                             const struct bridge_topic *row)
{
    return leg == bridge->local ? row->local : row->remote;
}

static bool is_wanted(const struct bridge *bridge, const struct leg *leg,
                      const struct bridge_topic *row)
{
    return (row->direction & (leg == bridge->local ? BRIDGE_OUT : BRIDGE_IN)) != 0;
}

/* It may have been wanted before the configuration changed, and no other row wants it now. */
static bool is_unwanted(const struct bridge *bridge, const struct leg *leg,
                        const struct bridge_topic *row)
{
    if (is_wanted(bridge, leg, row)) {
        return false;
    }
    for (uint32_t i = 0; i < bridge->config->topic_count; i++) {
        const struct bridge_topic *other = &bridge->config->topics[i];
        if (is_wanted(bridge, leg, other) &&
            strcmp(filter_of(bridge, leg, other), filter_of(bridge, leg, row)) == 0) {
            return false;
        }
    }
    return true;
}

/*
 * Retained messages come again where the receiving side may have lost them; else its session has
 * followed all changes. Not to a session that is only made.
 */
static uint8_t retain_handling(const struct bridge *bridge, const struct leg *leg)
{
    if (bridge->state < BRIDGE_JOIN) {
        return 2;
    }
    bool is_new = bridge->is_local_new ||
                  (leg == bridge->local && !bridge->remote->session_present);
    return is_new ? 0 : 1;
}

static uint16_t request_id(const struct bridge *bridge, const struct leg *leg)
{
    uint32_t id = (bridge->last_out_id + HALF_CIRCLE) % UINT16_MAX + 1;
    while (ids_has(&leg->open, (uint16_t)id)) {
        id = id % UINT16_MAX + 1;
    }
    return (uint16_t)id;
}

/* The next few rows that is_subscribing is about; 0: there are none left. */
static uint32_t rows_take(const struct bridge *bridge, struct leg *leg,
                          struct mqtt_filter filters[FILTERS_PER_REQUEST])
{
    const struct bridge_config *config = bridge->config;
    uint8_t qos_max = bridge->remote != NULL ? bridge->remote->qos_max : 2;
    uint8_t handling = retain_handling(bridge, leg);
    uint32_t count = 0;
    leg->topic_from = leg->topic_next;
    for (; leg->topic_next < config->topic_count && count < FILTERS_PER_REQUEST;
         leg->topic_next++) {
        const struct bridge_topic *row = &config->topics[leg->topic_next];
        bool takes_part = leg->is_subscribing ? is_wanted(bridge, leg, row)
                                              : is_unwanted(bridge, leg, row);
        if (takes_part) {
            filters[count++] = (struct mqtt_filter){
                .filter = slice_text(filter_of(bridge, leg, row)),
                .qos = row->qos < qos_max ? row->qos : qos_max,
                .no_local = true,
                .retain_as_published = true,
                .retain_handling = handling};
        }
    }
    return count;
}

static void request_write(struct leg *leg, const struct mqtt_filter *filters, uint32_t count)
{
    size_t size = leg->is_subscribing ? mqtt_subscribe_size(filters, count, NULL, leg->version)
                                      : mqtt_unsubscribe_size(filters, count, NULL, leg->version);
    uint8_t *at = leg_packet(leg, size);
    if (at == NULL) {
        return;
    }
    struct writer w = writer_of(at, size);
    if (leg->is_subscribing) {
        mqtt_subscribe_encode(&w, leg->request_id, filters, count, NULL, leg->version);
    } else {
        mqtt_unsubscribe_encode(&w, leg->request_id, filters, count, NULL, leg->version);
    }
}

static void request_next(struct bridge *bridge, struct leg *leg)
{
    struct mqtt_filter filters[FILTERS_PER_REQUEST];
    uint32_t count = rows_take(bridge, leg, filters);
    if (count == 0 && !leg->is_subscribing) {
        leg->is_subscribing = true;
        leg->topic_next = 0;
        count = rows_take(bridge, leg, filters);
    }
    leg->request_id = 0;
    if (count == 0) {
        bridge_ready(bridge, leg);
        return;
    }
    leg->request_id = request_id(bridge, leg);
    request_write(leg, filters, count);
}

void meet_subscribe(struct bridge *bridge, struct leg *leg)
{
    bool may_unsubscribe = leg == bridge->local || bridge->config->attempt_unsubscribe;
    leg->is_subscribing = !leg->session_present || !may_unsubscribe;
    leg->topic_next = 0;
    request_next(bridge, leg);
}

/* The rows of the request, in its order, each with its answer. */
static void codes_tell(const struct bridge *bridge, const struct leg *leg, struct slice codes)
{
    uint32_t at = 0;
    for (uint32_t i = leg->topic_from; i < leg->topic_next && at < codes.count; i++) {
        const struct bridge_topic *row = &bridge->config->topics[i];
        if (is_wanted(bridge, leg, row) && reason_is_failure(codes.data[at++])) {
            log_event(LOG_WARNING, "bridge: subscription refused",
                      LOG_TEXT("bridge", bridge->config->name),
                      LOG_TEXT("by", leg == bridge->local ? "this broker" : "the other broker"),
                      LOG_TEXT("filter", filter_of(bridge, leg, row)),
                      LOG_TEXT("reason", reason_name(codes.data[at - 1])));
        }
    }
}

void meet_suback(struct bridge *bridge, struct leg *leg, const struct frame *frame)
{
    struct mqtt_suback suback;
    bool is_suback = frame->type == MQTT_SUBACK;
    enum err err = is_suback ? mqtt_suback_decode(frame->body, leg->version, &suback)
                             : mqtt_unsuback_decode(frame->body, leg->version, &suback);
    if (err != OK || leg->request_id == 0 || suback.packet_id != leg->request_id ||
        is_suback != leg->is_subscribing) {
        leg_break(leg, err != OK ? err : ERR_PROTOCOL);
        return;
    }
    if (is_suback) {
        codes_tell(bridge, leg, suback.codes);
    }
    request_next(bridge, leg);
}

/* ---- the rest ------------------------------------------------------------------------------ */

static void state_publish(const struct bridge *bridge, struct leg *leg, bool is_up)
{
    struct mqtt_publish publish = {.retain = !leg->has_no_retain,
                                   .topic = slice_text(bridge->config->notification_topic),
                                   .payload = slice_text(is_up ? "1" : "0")};
    props_clear(&publish.props);
    size_t size = mqtt_publish_size(&publish, leg->version);
    uint8_t *at = leg_packet(leg, size);
    if (at != NULL) {
        struct writer w = writer_of(at, size);
        mqtt_publish_encode(&w, &publish, leg->version);
    }
}

/* QoS 0, as ids are the messages': what is lost with the connection is said by its will. */
void meet_notify(struct bridge *bridge, bool is_up)
{
    if (bridge->config->notifications && bridge->local != NULL) {
        state_publish(bridge, bridge->local, is_up);
    }
    if (bridge->config->notifications && !bridge->config->notifications_local_only &&
        bridge->remote != NULL) {
        state_publish(bridge, bridge->remote, is_up);
    }
}

static void control_write(struct leg *leg, enum mqtt_type type)
{
    struct mqtt_control control = {0};
    size_t size = mqtt_control_size(type, &control, leg->version);
    uint8_t *at = leg_packet(leg, size);
    if (at != NULL) {
        struct writer w = writer_of(at, size);
        mqtt_control_encode(&w, type, &control, leg->version);
    }
}

void meet_goodbye(struct leg *leg)
{
    control_write(leg, MQTT_DISCONNECT);
}

void meet_ping(struct leg *leg)
{
    control_write(leg, MQTT_PINGREQ);
    leg->is_pinged = true;
}
