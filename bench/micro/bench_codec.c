/*
 * bench_codec: what one packet costs in the codec, without sockets and without copies of payloads.
 */
#include "bench/micro/micro.h"
#include "core/wire/ack.h"
#include "core/wire/connect.h"
#include "core/wire/frame.h"
#include "core/wire/props.h"
#include "core/wire/publish.h"

enum { OPS = 2000000, PACKETS = 64, PACKET_BYTES_MAX = 512 };

/* A stream of equal packets, as one receive brings them. */
struct stream {
    enum mqtt_version version;
    struct slice packets;
    uint8_t bytes[PACKETS * PACKET_BYTES_MAX];
};

static const uint8_t payload[64] = "0123456789012345678901234567890123456789";

static struct mqtt_publish message(uint8_t qos)
{
    return (struct mqtt_publish){
        .qos = qos,
        .packet_id = qos > 0 ? 7 : 0,
        .topic = slice_text("factory/7/line/3/sensor/temperature"),
        .payload = slice_of(payload, sizeof(payload)),
    };
}

static void fill(struct stream *stream, enum mqtt_version version, const struct mqtt_publish *p)
{
    struct writer w = writer_of(stream->bytes, sizeof(stream->bytes));
    stream->version = version;
    for (int i = 0; i < PACKETS; i++) {
        mqtt_publish_encode(&w, p, version);
    }
    stream->packets = slice_of(stream->bytes, (size_t)(w.at - stream->bytes));
}

static void frames(void *context, uint64_t ops)
{
    struct stream *stream = context;
    struct slice rest = stream->packets;
    for (uint64_t i = 0; i < ops; i++) {
        struct frame frame;
        rest = rest.count == 0 ? stream->packets : rest;
        if (frame_next(rest, MQTT_REMAINING_MAX, &frame) == OK) {
            rest = slice_skip(rest, frame.total_bytes);
        }
        micro_keep(frame.total_bytes);
    }
}

static void frames_and_decodes(void *context, uint64_t ops)
{
    struct stream *stream = context;
    struct slice rest = stream->packets;
    for (uint64_t i = 0; i < ops; i++) {
        struct mqtt_publish p;
        struct frame frame;
        rest = rest.count == 0 ? stream->packets : rest;
        enum err err = frame_next(rest, MQTT_REMAINING_MAX, &frame);
        ASSERT(err == OK);
        err = mqtt_publish_decode(frame.flags, frame.body, stream->version, &p);
        ASSERT(err == OK);
        micro_keep((uint64_t)(uintptr_t)p.payload.data);
        rest = slice_skip(rest, frame.total_bytes);
    }
}

/* What a delivery does for each receiver: size, then head; the payload goes by reference. */
struct delivery {
    enum mqtt_version version;
    struct mqtt_publish publish;
    uint32_t id_count;
};

static void heads(void *context, uint64_t ops)
{
    struct delivery *delivery = context;
    uint8_t bytes[PACKET_BYTES_MAX];
    const uint32_t id = 5;
    for (uint64_t i = 0; i < ops; i++) {
        size_t size = mqtt_publish_head_size(&delivery->publish, delivery->version, &id,
                                             delivery->id_count);
        struct writer w = writer_of(bytes, size);
        mqtt_publish_head_encode(&w, &delivery->publish, delivery->version, &id,
                                 delivery->id_count);
        micro_keep(bytes[size - 1]);
    }
}

static void acks(void *context, uint64_t ops)
{
    uint8_t bytes[MQTT_ACK_BYTES_MAX];
    (void)context;
    for (uint64_t i = 0; i < ops; i++) {
        struct writer w = writer_of(bytes, sizeof(bytes));
        struct mqtt_ack ack;
        mqtt_ack_encode_plain(&w, MQTT_PUBACK, (uint16_t)(1 + i % 65535), 0, MQTT_5);
        micro_keep((uint64_t)(uintptr_t)bytes); /* or the compiler sees through both */
        enum err err = mqtt_ack_decode(MQTT_PUBACK, slice_of(bytes + 2, 2), MQTT_5, &ack);
        ASSERT(err == OK);
        micro_keep(ack.packet_id);
    }
}

static void connects(void *context, uint64_t ops)
{
    struct slice *body = context;
    for (uint64_t i = 0; i < ops; i++) {
        struct mqtt_connect connect;
        enum err err = mqtt_connect_decode(*body, &connect);
        ASSERT(err == OK);
        micro_keep(connect.keepalive_s);
    }
}

static void bench_decoding(void)
{
    static struct stream stream;
    uint8_t user[64];
    struct mqtt_publish p = message(0);
    fill(&stream, MQTT_3_1_1, &p);
    micro_run("frame_next, PUBLISH of 64 B", frames, &stream, OPS);
    micro_run("frame + decode, 3.1.1, QoS 0", frames_and_decodes, &stream, OPS);
    fill(&stream, MQTT_5, &p);
    micro_run("frame + decode, 5, QoS 0, no properties", frames_and_decodes, &stream, OPS);
    p = message(1);
    struct writer w = writer_of(user, sizeof(user));
    prop_user_encode(&w, slice_text("unit"), slice_text("celsius"));
    prop_user_encode(&w, slice_text("site"), slice_text("north"));
    p.props.present = PROP_BIT(PROP_MESSAGE_EXPIRY);
    p.props.message_expiry_s = 60;
    p.props.raw = slice_of(user, (size_t)(w.at - user));
    fill(&stream, MQTT_5, &p);
    micro_run("frame + decode, 5, QoS 1, 3 properties", frames_and_decodes, &stream, OPS);
}

static void bench_encoding(void)
{
    struct delivery delivery = {.version = MQTT_3_1_1, .publish = message(0)};
    micro_run("head size + encode, 3.1.1, QoS 0", heads, &delivery, OPS);
    delivery.publish = message(1);
    delivery.version = MQTT_5;
    micro_run("head size + encode, 5, QoS 1", heads, &delivery, OPS);
    delivery.publish.props.present = PROP_BIT(PROP_MESSAGE_EXPIRY);
    delivery.id_count = 1;
    micro_run("head size + encode, 5, QoS 1, expiry and id", heads, &delivery, OPS);
}

int main(int argc, char **argv)
{
    static uint8_t bytes[PACKET_BYTES_MAX];
    struct mqtt_connect connect = {
        .version = MQTT_5,
        .clean_start = true,
        .has_username = true,
        .has_password = true,
        .client_id = slice_text("device-000017"),
        .username = slice_text("user"),
        .password = slice_text("password"),
        .props = {.present = PROP_BIT(PROP_SESSION_EXPIRY) | PROP_BIT(PROP_RECEIVE_MAX),
                  .receive_max = 20},
    };
    size_t size = mqtt_connect_size(&connect);
    struct writer w = writer_of(bytes, size);
    struct slice body = slice_of(bytes + 2, size - 2); /* Remaining Length below 128 */

    micro_begin(argc, argv);
    mqtt_connect_encode(&w, &connect);
    bench_decoding();
    bench_encoding();
    micro_run("PUBACK, encode + decode", acks, NULL, OPS);
    micro_run("CONNECT decode, 5", connects, &body, OPS);
    return 0;
}
