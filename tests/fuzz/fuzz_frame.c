/*
 * fuzz_frame: a stream of packets, taken apart as a connection does it. No bytes break the framing
 * or any decoder; a frame is found from exactly its bytes on, however the stream was cut; the small
 * packets are written and read again without a change.
 *
 * Input: the version in the first byte, then the stream.
 */
#include "core/wire/ack.h"
#include "core/wire/connect.h"
#include "core/wire/control.h"
#include "core/wire/frame.h"
#include "core/wire/publish.h"
#include "core/wire/subscribe.h"
#include "tests/lib/wire_random.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BYTES_MAX = 100000 };

static enum err next(struct slice in, enum mqtt_version version, struct frame *out)
{
    return version == MQTT_3_1 ? frame_next_3_1(in, BYTES_MAX, out)
                               : frame_next(in, BYTES_MAX, out);
}

static void check_ack(const struct frame *frame, enum mqtt_version version)
{
    enum mqtt_type type = (enum mqtt_type)frame->type;
    struct mqtt_ack ack, again;
    if (mqtt_ack_decode(type, frame->body, version, &ack) != OK) {
        return;
    }
    struct mqtt_ack copy = ack;
    struct frame found;
    copy.props.user = wire_user_bytes(&ack.props);
    size_t size = mqtt_ack_size(type, &copy, version);
    uint8_t *bytes = malloc(size);
    ASSERT(bytes != NULL);
    struct writer w = writer_of(bytes, size);
    mqtt_ack_encode(&w, type, &copy, version);
    ASSERT(writer_left(&w) == 0);
    ASSERT(frame_next(slice_of(bytes, size), UINT32_MAX, &found) == OK && found.type == type);
    ASSERT(mqtt_ack_decode(type, found.body, version, &again) == OK);
    ASSERT(again.packet_id == ack.packet_id && again.reason == ack.reason);
    ASSERT(wire_props_equal(&ack.props, &again.props));
    free(bytes);
    free((void *)copy.props.user.data);
}

static void check_control(const struct frame *frame, enum mqtt_version version)
{
    enum mqtt_type type = (enum mqtt_type)frame->type;
    struct mqtt_control control, again;
    if (mqtt_control_decode(type, frame->body, version, &control) != OK) {
        return;
    }
    struct mqtt_control copy = control;
    struct frame found;
    copy.props.user = wire_user_bytes(&control.props);
    size_t size = mqtt_control_size(type, &copy, version);
    uint8_t *bytes = malloc(size);
    ASSERT(bytes != NULL);
    struct writer w = writer_of(bytes, size);
    mqtt_control_encode(&w, type, &copy, version);
    ASSERT(writer_left(&w) == 0);
    ASSERT(frame_next(slice_of(bytes, size), UINT32_MAX, &found) == OK && found.type == type);
    ASSERT(mqtt_control_decode(type, found.body, version, &again) == OK);
    ASSERT(again.reason == control.reason);
    ASSERT(wire_props_equal(&control.props, &again.props));
    free(bytes);
    free((void *)copy.props.user.data);
}

static void dispatch(const struct frame *frame, enum mqtt_version version)
{
    struct mqtt_connect connect;
    struct mqtt_connack connack;
    struct mqtt_publish publish;
    struct mqtt_subscribe sub;
    struct mqtt_suback suback;

    switch ((enum mqtt_type)frame->type) {
    case MQTT_CONNECT:
        (void)mqtt_connect_decode(frame->body, &connect);
        break;
    case MQTT_CONNACK:
        (void)mqtt_connack_decode(frame->body, version, &connack);
        break;
    case MQTT_PUBLISH:
        (void)mqtt_publish_decode(frame->flags, frame->body, version, &publish);
        break;
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
        check_ack(frame, version);
        break;
    case MQTT_SUBSCRIBE:
        (void)mqtt_subscribe_decode(frame->body, version, &sub);
        break;
    case MQTT_SUBACK:
        (void)mqtt_suback_decode(frame->body, version, &suback);
        break;
    case MQTT_UNSUBSCRIBE:
        (void)mqtt_unsubscribe_decode(frame->body, version, &sub);
        break;
    case MQTT_UNSUBACK:
        (void)mqtt_unsuback_decode(frame->body, version, &suback);
        break;
    case MQTT_PINGREQ:
    case MQTT_PINGRESP:
    case MQTT_DISCONNECT:
    case MQTT_AUTH:
        check_control(frame, version);
        break;
    case MQTT_RESERVED:
    case MQTT_TYPE_COUNT:
        ASSERT(!"a frame of no type");
    }
}

/* However little of the packet had arrived, the answer was "more", and its size was never wrong. */
static void check_cuts(struct slice in, enum mqtt_version version, const struct frame *frame)
{
    struct frame part;
    size_t step = frame->total_bytes < 64 ? 1 : frame->total_bytes / 64;
    for (size_t count = 0; count < frame->total_bytes; count += count < 8 ? 1 : step) {
        ASSERT(next(slice_head(in, count), version, &part) == ERR_MORE);
        ASSERT(part.total_bytes == 0 || part.total_bytes == frame->total_bytes);
        ASSERT(part.type == (part.total_bytes == 0 ? 0 : frame->type));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    enum mqtt_version version = (enum mqtt_version)(MQTT_3_1 + data[0] % 3);
    struct slice in = slice_of(data + 1, size - 1);
    struct frame frame;
    while (next(in, version, &frame) == OK) {
        ASSERT(frame.total_bytes <= in.count && frame.body.count < frame.total_bytes);
        check_cuts(in, version, &frame);
        dispatch(&frame, version);
        in = slice_skip(in, frame.total_bytes);
    }
    return 0;
}
