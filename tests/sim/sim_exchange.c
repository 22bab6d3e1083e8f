#include "tests/sim/sim_exchange.h"

#include "core/base/assert.h"
#include "core/wire/ack.h"
#include "core/wire/connect.h"
#include "core/wire/control.h"
#include "core/wire/props.h"
#include "core/wire/publish.h"
#include "core/wire/reason.h"
#include "core/wire/subscribe.h"
#include "tests/sim/sim.h"
#include "tests/sim/sim_net.h"

#include <stdio.h>
#include <stdlib.h>

enum { PAYLOAD_MAX = 8192 };

static void ack_write(struct client *client, uint8_t type, uint16_t id, uint8_t reason)
{
    enum mqtt_version version = client->character.version;
    struct mqtt_ack ack = {.packet_id = id, .reason = reason};
    props_clear(&ack.props);
    struct writer w = client_packet(client, mqtt_ack_size((enum mqtt_type)type, &ack, version));
    mqtt_ack_encode(&w, (enum mqtt_type)type, &ack, version);
    client_say(client, "-> %s %u", mqtt_type_name(type), id);
}

/* ---- publishing ---------------------------------------------------------------------------- */

bool client_may_publish(const struct client *client)
{
    uint32_t window = client->character.window < client->server_receive_max
                          ? client->character.window
                          : client->server_receive_max;
    return client->outbound_count < window && client->outbound_count < CLIENT_OUTBOUND_MAX;
}

static bool id_is_used(const struct client *client, uint16_t id)
{
    for (uint32_t i = 0; i < client->outbound_count; i++) {
        if (client->outbound[i].id == id) {
            return true;
        }
    }
    return false;
}

/* An alias in place of the topic, when the broker knows it already; else teach it one. */
static void alias_use(struct client *client, struct mqtt_publish *publish, const char *topic)
{
    uint32_t max = client->server_alias_max < CLIENT_ALIASES_MAX ? client->server_alias_max
                                                                 : CLIENT_ALIASES_MAX;
    if (client->character.version != MQTT_5 || max == 0 || !sim_chance(client->sim, 50)) {
        return;
    }
    uint32_t alias = 1 + (uint32_t)(strlen(topic) + (uint8_t)topic[2] + (uint8_t)topic[4]) % max;
    publish->props.present |= PROP_BIT(PROP_TOPIC_ALIAS);
    publish->props.topic_alias = (uint16_t)alias;
    if (strcmp(client->aliases_out[alias], topic) == 0) {
        publish->topic = slice_of(NULL, 0);
    } else {
        snprintf(client->aliases_out[alias], CHECK_TOPIC_MAX, "%s", topic);
    }
}

/* Some go after seconds, some only when a clock jumps. */
static uint32_t expiry_of(const struct client *client, uint32_t number, const char *topic)
{
    if (!client->character.has_expiring || topic[0] != 't' || number % 5 != 0) {
        return 0;
    }
    return number % 3 == 0 ? 3600 : 1 + number % 4;
}

static void publish_write(struct client *client, uint32_t number, uint8_t qos, uint16_t id,
                          bool dup, bool retain, bool is_clear)
{
    char payload[PAYLOAD_MAX];
    const char *topic = check_topic(client->check, number);
    size_t count = is_clear ? 0 : (size_t)snprintf(payload, sizeof(payload), "m%u", number);
    size_t fill = number * 7919u % (client->character.payload_max + 1);
    if (!is_clear && fill > count + 1 && number % 4 == 0) {
        memset(payload + count, '.', fill - count);
        count = fill;
    }
    struct mqtt_publish publish = {.qos = qos,
                                   .dup = dup,
                                   .retain = retain,
                                   .packet_id = id,
                                   .topic = slice_text(topic),
                                   .payload = slice_of(payload, count)};
    props_clear(&publish.props);
    uint32_t expiry_s = expiry_of(client, number, topic);
    if (expiry_s > 0) {
        publish.props.present |= PROP_BIT(PROP_MESSAGE_EXPIRY);
        publish.props.message_expiry_s = expiry_s;
        check_expires(client->check, number, expiry_s);
    }
    alias_use(client, &publish, topic);
    struct writer w = client_packet(client, mqtt_publish_size(&publish, client->character.version));
    mqtt_publish_encode(&w, &publish, client->character.version);
    check_publish_sent(client->check, number);
    client_say(client, "-> PUBLISH m%u %s QoS %u%s%s%s", number, topic, qos,
               retain ? " retain" : "", is_clear ? " clear" : "", dup ? " dup" : "");
}

void client_publish(struct client *client, const char *topic, uint8_t qos, bool retain,
                    bool is_clear)
{
    uint32_t number = check_message(client->check, client->index, topic, qos, retain,
                                    is_clear ? CHECK_CLEAR : CHECK_PLAIN);
    uint16_t id = 0;
    if (qos > 0) {
        ASSERT(client_may_publish(client));
        do {
            id = client->id_last = (uint16_t)(client->id_last % 40 + 1);
        } while (id_is_used(client, id));
        client->outbound[client->outbound_count++] = (struct outbound){number, id, qos, false,
                                                                       is_clear};
    }
    publish_write(client, number, qos, id, false, retain, is_clear);
}

static bool is_retained(const char *topic)
{
    return topic[0] == 'r';
}

/* [MQTT-4.4.0-1] Everything unfinished again, in the order of the first time. */
static void resend(struct client *client)
{
    for (uint32_t i = 0; i < client->outbound_count; i++) {
        struct outbound *one = &client->outbound[i];
        if (one->is_released) {
            ack_write(client, MQTT_PUBREL, one->id, 0);
        } else {
            publish_write(client, one->number, one->qos, one->id, true,
                          is_retained(check_topic(client->check, one->number)), one->is_clear);
        }
    }
}

static struct outbound *outbound_of(struct client *client, uint16_t id, uint32_t *at)
{
    for (uint32_t i = 0; i < client->outbound_count; i++) {
        if (client->outbound[i].id == id) {
            *at = i;
            return &client->outbound[i];
        }
    }
    return NULL;
}

static void outbound_end(struct client *client, uint32_t at)
{
    client->outbound_count--;
    memmove(&client->outbound[at], &client->outbound[at + 1],
            (client->outbound_count - at) * sizeof(client->outbound[0]));
}

static void on_ack(struct client *client, enum mqtt_type type, struct slice body)
{
    struct mqtt_ack ack;
    uint32_t at = 0;
    if (mqtt_ack_decode(type, body, client->character.version, &ack) != OK) {
        sim_fail(client->sim, "%s: malformed %s", client->id, mqtt_type_name((uint8_t)type));
        return;
    }
    struct outbound *one = outbound_of(client, ack.packet_id, &at);
    bool fits = one != NULL && (type == MQTT_PUBACK ? one->qos == 1 : one->qos == 2) &&
                (type != MQTT_PUBREC || !one->is_released) &&
                (type != MQTT_PUBCOMP || one->is_released);
    if (!fits) {
        sim_fail(client->sim, "%s: %s %u for nothing we wait for", client->id,
                 mqtt_type_name((uint8_t)type), ack.packet_id);
        return;
    }
    /* [MQTT-4.6.0-2] [MQTT-4.6.0-3]: acknowledged in the order sent. */
    for (uint32_t i = 0; i < at && type != MQTT_PUBCOMP; i++) {
        if (client->outbound[i].qos == one->qos && !client->outbound[i].is_released) {
            sim_fail(client->sim, "%s: %s of m%u before that of m%u", client->id,
                     mqtt_type_name((uint8_t)type), one->number, client->outbound[i].number);
        }
    }
    bool is_failure = reason_is_failure(ack.reason);
    if (!is_failure && type != MQTT_PUBCOMP) {
        check_acked(client->check, one->number);
    }
    if (type == MQTT_PUBREC && !is_failure) {
        one->is_released = true;
        ack_write(client, MQTT_PUBREL, one->id, 0);
        return;
    }
    outbound_end(client, at);
}

/* ---- receiving ----------------------------------------------------------------------------- */

static bool was_received(const struct client *client, uint16_t id)
{
    for (uint32_t i = 0; i < client->received_count; i++) {
        if (client->received[i] == id) {
            return true;
        }
    }
    return false;
}

static void received_forget(struct client *client, uint16_t id)
{
    for (uint32_t i = 0; i < client->received_count; i++) {
        if (client->received[i] == id) {
            client->received[i] = client->received[--client->received_count];
            return;
        }
    }
}

static void owe(struct client *client, uint8_t type, uint16_t id)
{
    ASSERT(client->ack_count < CLIENT_ACKS_MAX);
    client->acks[client->ack_count++] = (struct client_ack){type, id};
}

static uint32_t number_of(struct slice payload)
{
    char text[16] = {0};
    if (payload.count == 0) {
        return 0;
    }
    memcpy(text, payload.data, payload.count < sizeof(text) - 1 ? payload.count : sizeof(text) - 1);
    return text[0] == 'm' ? (uint32_t)strtoul(text + 1, NULL, 10) : UINT32_MAX;
}

static bool topic_resolve(struct client *client, struct mqtt_publish *publish)
{
    if (!props_has(&publish->props, PROP_TOPIC_ALIAS)) {
        return publish->topic.count > 0;
    }
    uint32_t alias = publish->props.topic_alias;
    if (alias == 0 || alias > client->character.alias_max ||
        publish->topic.count >= CHECK_TOPIC_MAX) {
        return false;
    }
    if (publish->topic.count > 0) {
        memcpy(client->aliases_in[alias], publish->topic.data, publish->topic.count);
        client->aliases_in[alias][publish->topic.count] = 0;
    }
    publish->topic = slice_text(client->aliases_in[alias]);
    return publish->topic.count > 0;
}

static void on_publish(struct client *client, const struct frame *frame)
{
    struct mqtt_publish publish;
    enum mqtt_version version = client->character.version;
    if (mqtt_publish_decode(frame->flags, frame->body, version, &publish) != OK ||
        !topic_resolve(client, &publish)) {
        sim_fail(client->sim, "%s: malformed PUBLISH", client->id);
        return;
    }
    uint32_t number = number_of(publish.payload);
    bool is_known = publish.qos == 2 && was_received(client, publish.packet_id);
    if (is_known && !publish.dup && !client->is_received_sure) {
        received_forget(client, publish.packet_id); /* of a session that is gone */
        is_known = false;
    }
    client_say(client, "<- PUBLISH m%u QoS %u%s%s%s", number, publish.qos,
               publish.retain ? " retain" : "", publish.dup ? " dup" : "",
               is_known ? " (known)" : "");
    if (is_known && !publish.dup) {
        sim_fail(client->sim, "%s: packet id %u is used again before its PUBREL", client->id,
                 publish.packet_id);
    }
    if (publish.qos > 0 && !is_known) {
        uint32_t max = client->character.receive_max;
        if (max > 0 && client->unfinished_in >= max) {
            sim_fail(client->sim, "%s: more than its Receive Maximum of %u", client->id, max);
        }
    }
    client->unfinished_in += publish.qos > 0;
    if (!is_known) {
        bool has_id = version == MQTT_5 && props_has(&publish.props, PROP_SUBSCRIPTION_ID);
        bool has_left = version == MQTT_5 && props_has(&publish.props, PROP_MESSAGE_EXPIRY);
        struct check_delivery delivery = {.number = number,
                                          .topic = publish.topic,
                                          .qos = publish.qos,
                                          .retain = publish.retain,
                                          .dup = publish.dup,
                                          .is_v5 = version == MQTT_5,
                                          .has_expiry = has_left,
                                          .expiry_s = has_left ? publish.props.message_expiry_s : 0,
                                          .subscription_id = has_id ? publish.props.subscription_id
                                                                    : 0};
        check_delivered(client->check, client->index, &delivery);
    }
    if (publish.qos == 2 && !is_known) {
        ASSERT(client->received_count < CLIENT_RECEIVED_MAX);
        client->received[client->received_count++] = publish.packet_id;
    }
    if (publish.qos > 0) {
        owe(client, publish.qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, publish.packet_id);
    }
}

static void on_pubrel(struct client *client, struct slice body)
{
    struct mqtt_ack ack;
    if (mqtt_ack_decode(MQTT_PUBREL, body, client->character.version, &ack) != OK) {
        sim_fail(client->sim, "%s: malformed PUBREL", client->id);
        return;
    }
    received_forget(client, ack.packet_id);
    owe(client, MQTT_PUBCOMP, ack.packet_id);
}

void client_flush_acks(struct client *client, uint32_t count)
{
    count = count < client->ack_count ? count : client->ack_count;
    uint64_t delay_ns = client->character.ack_delay_ns;
    if (delay_ns > 0) {
        client->acks_from_ns = client->sim->now_ns + sim_below(client->sim, delay_ns);
    }
    for (uint32_t i = 0; i < count && client->state == CLIENT_OPEN; i++) {
        struct client_ack ack = client->acks[i];
        ack_write(client, ack.type, ack.id, 0);
        if (ack.type != MQTT_PUBREC && client->unfinished_in > 0) {
            client->unfinished_in--;
        }
    }
    client->ack_count -= count;
    memmove(client->acks, client->acks + count, client->ack_count * sizeof(client->acks[0]));
}

static void on_connack(struct client *client, struct slice body)
{
    struct mqtt_connack connack;
    bool is_whole = client->state == CLIENT_CONNECTING &&
                    mqtt_connack_decode(body, client->character.version, &connack) == OK;
    bool wants_disk = client->character.expiry_s > 0 || client->character.has_will ||
                      client->sim->options.plan.has[PLAN_FLAPS];
    bool may_refuse = client->link->has_fault || (client->link->is_doubtful && wants_disk);
    if (is_whole && connack.reason != 0 && may_refuse) {
        client_say(client, "<- CONNACK 0x%02x", connack.reason);
        return; /* the node goes, or its disk does: the end of the connection follows */
    }
    if (!is_whole || connack.reason != 0) {
        sim_fail(client->sim, "%s: a CONNACK that is malformed, not asked for, or says no",
                 client->id);
        return;
    }
    client_say(client, "<- CONNACK%s", connack.session_present ? ", session present" : "");
    if (client->character.version == MQTT_5) {
        const struct mqtt_props *props = &connack.props;
        client->server_receive_max = props_has(props, PROP_RECEIVE_MAX) ? props->receive_max
                                                                        : UINT16_MAX;
        client->server_alias_max = props_has(props, PROP_TOPIC_ALIAS_MAX) ? props->topic_alias_max
                                                                          : 0;
    }
    client->state = CLIENT_OPEN;
    if (!connack.session_present) {
        client_session_forget(client); /* [MQTT-3.2.2-5] */
    }
    bool is_sure = check_connack(client->check, client->index, client->clean,
                                 connack.session_present);
    /* What was in doubt at the connection before is not certain because this one is of the same session. */
    client->is_received_sure = is_sure && (!connack.session_present || client->is_received_sure);
    for (uint32_t i = 0; i < client->ghost_count; i++) {
        struct client_ghost *ghost = &client->ghosts[i];
        ghost->since_ns = ghost->since_ns == 0 ? client->sim->now_ns : ghost->since_ns;
    }
    resend(client);
}

static void on_suback(struct client *client, enum mqtt_type type, struct slice body)
{
    struct mqtt_suback suback;
    enum mqtt_version version = client->character.version;
    enum err err = type == MQTT_SUBACK ? mqtt_suback_decode(body, version, &suback)
                                       : mqtt_unsuback_decode(body, version, &suback);
    bool is_unsubscribe = type == MQTT_UNSUBACK;
    if (err != OK || client->pending_id == 0 || suback.packet_id != client->pending_id ||
        is_unsubscribe != client->pending_is_unsubscribe) {
        sim_fail(client->sim, "%s: a wrong %s", client->id, mqtt_type_name((uint8_t)type));
        return;
    }
    bool is_refused = suback.codes.count > 0 && suback.codes.data[0] >= 0x80;
    bool may_refuse = client->character.expiry_s > 0 || client->sim->options.plan.has[PLAN_FLAPS];
    if (is_refused && client->link->is_doubtful && may_refuse) {
        client_say(client, "<- %s 0x%02x", mqtt_type_name((uint8_t)type), suback.codes.data[0]);
        client->pending_id = 0;
        return;
    }
    if (is_refused || (!is_unsubscribe && suback.codes.count != 1)) {
        sim_fail(client->sim, "%s: %s refuses", client->id, mqtt_type_name((uint8_t)type));
        return;
    }
    client_say(client, "<- %s", mqtt_type_name((uint8_t)type));
    client->pending_id = 0;
    client->is_subscribed[client->pending_filter] = !is_unsubscribe;
    if (is_unsubscribe) {
        check_unsuback(client->check, client->index, client->pending_filter);
    } else {
        check_suback(client->check, client->index, client->pending_filter);
    }
}

void exchange_on_packet(struct client *client, const struct frame *frame)
{
    struct mqtt_control control;
    if (client->state == CLIENT_CONNECTING && frame->type != MQTT_CONNACK) {
        sim_fail(client->sim, "%s: %s before CONNACK", client->id, mqtt_type_name(frame->type));
        return;
    }
    switch ((enum mqtt_type)frame->type) {
    case MQTT_CONNACK:
        on_connack(client, frame->body);
        break;
    case MQTT_PUBLISH:
        on_publish(client, frame);
        break;
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBCOMP:
        client_say(client, "<- %s", mqtt_type_name(frame->type));
        on_ack(client, (enum mqtt_type)frame->type, frame->body);
        break;
    case MQTT_PUBREL:
        on_pubrel(client, frame->body);
        break;
    case MQTT_SUBACK:
    case MQTT_UNSUBACK:
        on_suback(client, (enum mqtt_type)frame->type, frame->body);
        break;
    case MQTT_PINGRESP:
        break;
    case MQTT_DISCONNECT:
        if (mqtt_control_decode(MQTT_DISCONNECT, frame->body, client->character.version,
                                &control) == OK) {
            client->said_reason = control.reason;
        }
        client_say(client, "<- DISCONNECT 0x%02x", client->said_reason);
        break;
    default:
        sim_fail(client->sim, "%s: %s from a broker", client->id, mqtt_type_name(frame->type));
    }
}
