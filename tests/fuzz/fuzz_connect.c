/*
 * fuzz_connect: no bytes break the reader of CONNECT and CONNACK, and what it accepts is written and
 * read again without a change.
 *
 * Input: the body of a CONNECT; it is also tried as the body of a CONNACK, in each version.
 */
#include "core/wire/connect.h"
#include "core/wire/frame.h"
#include "tests/lib/wire_random.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The body of the packet in those bytes. */
static struct slice body_of(struct slice packet, enum mqtt_type type)
{
    struct frame frame;
    ASSERT(frame_next(packet, UINT32_MAX, &frame) == OK);
    ASSERT(frame.total_bytes == packet.count);
    ASSERT(frame.type == type);
    return frame.body;
}

static bool connects_are_equal(const struct mqtt_connect *a, const struct mqtt_connect *b)
{
    return a->version == b->version && a->clean_start == b->clean_start &&
           a->is_bridge == b->is_bridge && a->keepalive_s == b->keepalive_s &&
           a->has_will == b->has_will && a->has_username == b->has_username &&
           a->has_password == b->has_password && slice_equal(a->client_id, b->client_id) &&
           slice_equal(a->username, b->username) && slice_equal(a->password, b->password) &&
           wire_props_equal(&a->props, &b->props) &&
           (!a->has_will || (a->will.qos == b->will.qos && a->will.retain == b->will.retain &&
                             slice_equal(a->will.topic, b->will.topic) &&
                             slice_equal(a->will.payload, b->will.payload) &&
                             wire_props_equal(&a->will.props, &b->will.props)));
}

static void check_connect(const struct mqtt_connect *connect)
{
    struct mqtt_connect copy = *connect, again;
    copy.props.user = wire_user_bytes(&connect->props);
    copy.will.props.user = wire_user_bytes(&connect->will.props);
    size_t size = mqtt_connect_size(&copy);
    uint8_t *bytes = malloc(size);
    ASSERT(bytes != NULL);
    struct writer w = writer_of(bytes, size);
    mqtt_connect_encode(&w, &copy);
    ASSERT(writer_left(&w) == 0);
    ASSERT(mqtt_connect_decode(body_of(slice_of(bytes, size), MQTT_CONNECT), &again) == OK);
    ASSERT(connects_are_equal(connect, &again));
    free(bytes);
    free((void *)copy.props.user.data);
    free((void *)copy.will.props.user.data);
}

static void check_connack(const struct mqtt_connack *connack, enum mqtt_version version)
{
    struct mqtt_connack copy = *connack, again;
    copy.props.user = wire_user_bytes(&connack->props);
    size_t size = mqtt_connack_size(&copy, version);
    uint8_t *bytes = malloc(size);
    ASSERT(bytes != NULL);
    struct writer w = writer_of(bytes, size);
    mqtt_connack_encode(&w, &copy, version);
    ASSERT(writer_left(&w) == 0);
    struct slice body = body_of(slice_of(bytes, size), MQTT_CONNACK);
    ASSERT(mqtt_connack_decode(body, version, &again) == OK);
    ASSERT(again.session_present == connack->session_present && again.reason == connack->reason);
    ASSERT(wire_props_equal(&connack->props, &again.props));
    free(bytes);
    free((void *)copy.props.user.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice body = slice_of(data, size);
    struct mqtt_connect connect;
    struct mqtt_connack connack;

    enum err err = mqtt_connect_decode(body, &connect);
    ASSERT(connect.version == 0 || (connect.version >= MQTT_3_1 && connect.version <= MQTT_5));
    if (err == OK) {
        check_connect(&connect);
    }
    for (int version = MQTT_3_1; version <= MQTT_5; version++) {
        if (mqtt_connack_decode(body, (enum mqtt_version)version, &connack) == OK) {
            check_connack(&connack, (enum mqtt_version)version);
        }
    }
    return 0;
}
