/* What a client says in MQTT, and what it does with what it hears. */
#include "bench/load/load_client.h"
#include "core/wire/ack.h"
#include "core/wire/connect.h"
#include "core/wire/control.h"
#include "core/wire/frame.h"
#include "core/wire/props.h"
#include "core/wire/publish.h"
#include "core/wire/subscribe.h"

#include <stdlib.h>
#include <string.h>

static enum mqtt_version version_of(const struct load_client *client)
{
    return (enum mqtt_version)client->version;
}

/* ---- saying -------------------------------------------------------------------------------- */

static struct writer packet(struct load_client *client, size_t count)
{
    client_mark_dirty(client);
    return writer_of(bytes_extend(client->load, &client->queued, count), count);
}

static void session_of(const struct load_client *client, const struct load_client_options *options,
                       struct mqtt_connect *connect)
{
    const struct load_config *config = &client->load->config;
    uint32_t expiry_s = config->session_expiry_s;
    connect->clean_start = config->clean_start;
    if (options->session == LOAD_SESSION_CLEAN) {
        connect->clean_start = true;
        expiry_s = 0;
    } else if (options->session == LOAD_SESSION_KEEP) {
        connect->clean_start = false;
        expiry_s = expiry_s == 0 ? UINT32_MAX : expiry_s;
    }
    if (connect->version == MQTT_5 && expiry_s > 0) {
        connect->props.present |= PROP_BIT(PROP_SESSION_EXPIRY);
        connect->props.session_expiry_s = expiry_s;
    }
}

void packets_queue_connect(struct load_client *client, const struct load_client_options *options)
{
    const struct load_config *config = &client->load->config;
    uint16_t receive_max = options->receive_max != 0 ? options->receive_max : config->receive_max;
    client->version = (uint8_t)(options->version != 0 ? options->version : config->version);
    struct mqtt_connect connect = {
        .version = version_of(client),
        .keepalive_s = config->keepalive_s,
        .client_id = slice_text(options->client_id),
        .has_username = config->username != NULL,
        .has_password = config->password != NULL,
        .has_will = options->will_topic != NULL,
    };
    if (connect.has_username) {
        connect.username = slice_text(config->username);
    }
    if (connect.has_password) {
        connect.password = slice_text(config->password);
    }
    if (connect.has_will) {
        connect.will = (struct mqtt_will){
            .topic = slice_text(options->will_topic),
            .payload = options->will_payload,
            .qos = options->will_qos,
            .retain = options->will_retain,
        };
    }
    if (connect.version == MQTT_5) {
        connect.props.present = PROP_BIT(PROP_RECEIVE_MAX);
        connect.props.receive_max = receive_max == 0 ? UINT16_MAX : receive_max;
    }
    session_of(client, options, &connect);
    struct writer w = packet(client, mqtt_connect_size(&connect));
    mqtt_connect_encode(&w, &connect);
}

static void queue_ack(struct load_client *client, enum mqtt_type type, uint16_t packet_id)
{
    uint8_t ack[MQTT_ACK_BYTES_MAX];
    struct writer w = writer_of(ack, sizeof(ack));
    mqtt_ack_encode_plain(&w, type, packet_id, 0, version_of(client));
    size_t count = sizeof(ack) - writer_left(&w);
    memcpy(bytes_extend(client->load, &client->queued, count), ack, count);
    client_mark_dirty(client);
}

void packets_queue_control(struct load_client *client, enum mqtt_type type)
{
    static const struct mqtt_control plain = {0};
    struct writer w = packet(client, mqtt_control_size(type, &plain, version_of(client)));
    mqtt_control_encode(&w, type, &plain, version_of(client));
}

void load_subscribe_many(struct load_client *client, const struct mqtt_filter *filters,
                         uint32_t count)
{
    enum mqtt_version version = version_of(client);
    uint16_t packet_id;
    if (client->is_ending) {
        return;
    }
    enum err err = exchanges_begin(&client->exchanges, MQTT_SUBSCRIBE, 0, &packet_id);
    ASSERT(err == OK); /* 65535 of them wait, or memory is exhausted: see bytes_extend() */
    client->qos_asked = 2;
    for (uint32_t i = 0; i < count; i++) {
        client->qos_asked = filters[i].qos < client->qos_asked ? filters[i].qos : client->qos_asked;
    }
    struct writer w = packet(client, mqtt_subscribe_size(filters, count, NULL, version));
    mqtt_subscribe_encode(&w, packet_id, filters, count, NULL, version);
}

void load_subscribe(struct load_client *client, const char *filter, uint8_t qos)
{
    struct mqtt_filter one = {.filter = slice_text(filter), .qos = qos};
    load_subscribe_many(client, &one, 1);
}

uint32_t load_credit(const struct load_client *client)
{
    uint32_t open_count = client->exchanges.open_count, max = client->unfinished_max;
    uint32_t room = exchanges_room(&client->exchanges),
             credit = max > open_count ? max - open_count : 0;
    return credit < room ? credit : room;
}

uint32_t load_unreleased(const struct load_client *client)
{
    return client->unreleased_count;
}

uint8_t *load_publish(struct load_client *client, struct slice topic, uint8_t qos, bool retain,
                      uint32_t payload_bytes)
{
    enum mqtt_version version = version_of(client);
    struct mqtt_publish publish = {.qos = qos, .retain = retain, .topic = topic};

    if (client->is_ending || client->queued.count > LOAD_QUEUE_MAX ||
        (qos > 0 && load_credit(client) == 0)) {
        return NULL;
    }
    if (qos > 0) {
        enum err err = exchanges_begin(&client->exchanges, MQTT_PUBLISH, qos, &publish.packet_id);
        ASSERT(err == OK);
    }
    publish.payload.count = payload_bytes; /* its bytes are written by the caller */
    size_t head_bytes = mqtt_publish_head_size(&publish, version, NULL, 0);
    ASSERT(head_bytes > 0);
    uint8_t *at = bytes_extend(client->load, &client->queued, head_bytes + payload_bytes);
    struct writer w = writer_of(at, head_bytes);
    mqtt_publish_head_encode(&w, &publish, version, NULL, 0);
    client_mark_dirty(client);
    return at + head_bytes;
}

/* ---- hearing ------------------------------------------------------------------------------- */

static enum err on_connack(struct load_client *client, struct slice body)
{
    struct mqtt_connack connack;
    TRY(mqtt_connack_decode(body, version_of(client), &connack));
    if (client->is_open) {
        return ERR_PROTOCOL;
    }
    client->reason = connack.reason;
    if (connack.reason != 0) {
        return ERR_NOT_AUTHORIZED;
    }
    bool is_told = (connack.props.present & PROP_BIT(PROP_RECEIVE_MAX)) != 0;
    client->unfinished_max = is_told ? connack.props.receive_max : UINT16_MAX;
    client->is_open = true;
    client->is_resumed = connack.session_present;
    if (client->events->opened != NULL) {
        client->events->opened(client);
    }
    return OK;
}

static uint64_t *unreleased_word(struct load_client *client, uint16_t id, uint64_t *bit_out)
{
    *bit_out = (uint64_t)1 << (id % 64);
    return &client->unreleased[id / 64];
}

/*
 * A QoS 2 message came. False: its id's PUBREL has not come yet, so it is the same message once more
 * and nobody is told again [MQTT-4.3.3-10].
 */
static bool hold_id(struct load_client *client, uint16_t id)
{
    uint64_t bit;
    if (client->unreleased == NULL) {
        client->unreleased = calloc((UINT16_MAX + 1) / 64, sizeof(uint64_t));
        ASSERT(client->unreleased != NULL); /* see bytes_extend() */
    }
    uint64_t *word = unreleased_word(client, id, &bit);
    bool is_new = (*word & bit) == 0;
    *word |= bit;
    client->unreleased_count += is_new ? 1 : 0;
    return is_new;
}

static enum err on_publish(struct load_client *client, const struct frame *frame,
                           uint64_t received_ns)
{
    struct mqtt_publish publish;
    TRY(mqtt_publish_decode(frame->flags, frame->body, version_of(client), &publish));
    bool is_new = publish.qos < 2 || hold_id(client, publish.packet_id);
    if (is_new && client->events->message != NULL) {
        client->events->message(client, &publish, received_ns);
    }
    if (publish.qos > 0 && !client->is_ending) {
        queue_ack(client, publish.qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, publish.packet_id);
    }
    return OK;
}

/* One of an id that we do not know ends what an earlier connection began, or is wrong. */
static enum err on_pubrel(struct load_client *client, uint16_t id)
{
    uint64_t bit;
    uint64_t *word = client->unreleased == NULL ? NULL : unreleased_word(client, id, &bit);
    bool is_held = word != NULL && (*word & bit) != 0;
    if (!is_held && !client->is_resumed) {
        return ERR_ID_UNKNOWN;
    }
    if (is_held) {
        *word &= ~bit;
        client->unreleased_count--;
    }
    queue_ack(client, MQTT_PUBCOMP, id);
    return OK;
}

static enum err on_ack(struct load_client *client, const struct frame *frame)
{
    struct mqtt_ack ack;
    enum mqtt_type type = (enum mqtt_type)frame->type;
    TRY(mqtt_ack_decode(type, frame->body, version_of(client), &ack));
    if (type == MQTT_PUBREL) {
        return on_pubrel(client, ack.packet_id);
    }
    bool is_over;
    TRY(exchanges_answer(&client->exchanges, type, ack.packet_id, ack.reason >= 0x80, &is_over));
    if (!is_over) {
        queue_ack(client, MQTT_PUBREL, ack.packet_id);
        return OK;
    }
    if (ack.reason >= 0x80) {
        client->reason = ack.reason;
        return ERR_QUOTA;
    }
    if (client->events->finished != NULL) {
        client->events->finished(client);
    }
    return OK;
}

static enum err on_suback(struct load_client *client, struct slice body)
{
    struct mqtt_suback suback;
    bool is_over;
    TRY(mqtt_suback_decode(body, version_of(client), &suback));
    TRY(exchanges_answer(&client->exchanges, MQTT_SUBACK, suback.packet_id, false, &is_over));
    if (suback.codes.count == 0) {
        return ERR_PROTOCOL;
    }
    for (size_t i = 0; i < suback.codes.count; i++) {
        if (suback.codes.data[i] >= 0x80) {
            client->reason = suback.codes.data[i];
            return ERR_NOT_AUTHORIZED;
        }
        if (suback.codes.data[i] < client->qos_asked) {
            return ERR_QOS; /* granted, but not what is to be measured */
        }
    }
    if (client->events->subscribed != NULL) {
        client->events->subscribed(client);
    }
    return OK;
}

static enum err on_frame(struct load_client *client, const struct frame *frame,
                         uint64_t received_ns)
{
    struct mqtt_control control;
    switch (frame->type) {
    case MQTT_CONNACK:
        return on_connack(client, frame->body);
    case MQTT_PUBLISH:
        return on_publish(client, frame, received_ns);
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
        return on_ack(client, frame);
    case MQTT_SUBACK:
        return on_suback(client, frame->body);
    case MQTT_PINGRESP:
        return OK;
    case MQTT_DISCONNECT:
        TRY(mqtt_control_decode(MQTT_DISCONNECT, frame->body, version_of(client), &control));
        client->reason = control.reason;
        return ERR_CLOSED;
    default:
        return ERR_PROTOCOL;
    }
}

/* Whole packets from the front of bytes; how much was used. */
static enum err take_frames(struct load_client *client, struct slice bytes, uint64_t received_ns,
                            size_t *used_out)
{
    uint32_t bytes_max = client->load->config.packet_max_bytes;
    struct frame frame;
    size_t used = 0;

    while (used < bytes.count && !client->is_ending) {
        enum err err = frame_next(slice_skip(bytes, used), bytes_max, &frame);
        if (err == ERR_MORE) {
            break;
        }
        if (err == OK) {
            err = on_frame(client, &frame, received_ns);
        }
        if (err != OK) {
            return err;
        }
        used += frame.total_bytes;
    }
    *used_out = client->is_ending ? bytes.count : used;
    return OK;
}

/* Complete the packet in carry with bytes from in; what is left of in goes on without copying. */
static enum err feed_carry(struct load_client *client, struct slice *in, uint64_t received_ns)
{
    size_t used;
    while (client->carry.count > 0 && in->count > 0) {
        struct slice have = slice_of(client->carry.memory, client->carry.count);
        struct frame frame;
        enum err err = frame_next(have, client->load->config.packet_max_bytes, &frame);
        if (err != ERR_MORE) {
            return err == OK ? ERR_PROTOCOL : err;
        }
        size_t missing = frame.total_bytes == 0 ? 1 : frame.total_bytes - have.count;
        size_t step = missing < in->count ? missing : in->count;
        memcpy(bytes_extend(client->load, &client->carry, step), in->data, step);
        *in = slice_skip(*in, step);
        have = slice_of(client->carry.memory, client->carry.count);
        TRY(take_frames(client, have, received_ns, &used));
        if (used > 0) {
            bytes_clear(client->load, &client->carry);
        }
    }
    return OK;
}

void packets_feed(struct load_client *client, struct slice bytes, uint64_t received_ns)
{
    size_t used = 0;
    enum err err = feed_carry(client, &bytes, received_ns);
    if (err == OK && bytes.count > 0) {
        err = take_frames(client, bytes, received_ns, &used);
    }
    if (err != OK) {
        client_fail(client, err);
        return;
    }
    bytes = slice_skip(bytes, used);
    if (bytes.count > 0) {
        memcpy(bytes_extend(client->load, &client->carry, bytes.count), bytes.data, bytes.count);
    }
}
