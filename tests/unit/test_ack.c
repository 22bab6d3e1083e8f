#include "core/wire/ack.h"
#include "core/wire/frame.h"
#include "core/wire/reason.h"
#include "tests/lib/wire_case.h"
#include "tests/lib/wire_random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static enum err puback_5(struct slice body)
{
    struct mqtt_ack ack;
    return mqtt_ack_decode(MQTT_PUBACK, body, MQTT_5, &ack);
}

static enum err pubrel_5(struct slice body)
{
    struct mqtt_ack ack;
    return mqtt_ack_decode(MQTT_PUBREL, body, MQTT_5, &ack);
}

static enum err puback_3_1_1(struct slice body)
{
    struct mqtt_ack ack;
    return mqtt_ack_decode(MQTT_PUBACK, body, MQTT_3_1_1, &ack);
}

static void bad_acks_are_refused_for_the_right_reason(void **state)
{
    static const struct wire_case puback[] = {
        {"shortest", "0001", OK},
        {"with a reason", "0001 10", OK},
        {"with no properties", "0001 00 00", OK},
        {"with a reason string", "0001 87 04 1f 0001 'x'", OK},
        {"empty", "", ERR_MALFORMED},
        {"half a packet id", "00", ERR_MALFORMED},
        {"packet id 0 [MQTT-2.2.1-3]", "0000", ERR_PROTOCOL},
        {"code that does not exist [MQTT-3.4.2-1]", "0001 7f", ERR_PROTOCOL},
        {"code of PUBREL [MQTT-3.4.2-1]", "0001 92", ERR_PROTOCOL},
        {"code of CONNACK", "0001 84 00", ERR_PROTOCOL},
        {"reason string twice", "0001 00 08 1f 0001 'x' 1f 0001 'y'", ERR_PROTOCOL},
        {"property of CONNACK", "0001 00 03 21 0001", ERR_MALFORMED},
        {"trailing byte", "0001 00 00 00", ERR_MALFORMED},
        {"properties over the end", "0001 00 04 1f 0001", ERR_MALFORMED},
    };
    static const struct wire_case pubrel[] = {
        {"shortest", "0001", OK},
        {"not found", "0001 92", OK},
        {"no subscribers is not for PUBREL [MQTT-3.6.2-1]", "0001 10", ERR_PROTOCOL},
    };
    static const struct wire_case v3[] = {
        {"whole", "0001", OK},
        {"packet id 0", "0000", ERR_PROTOCOL},
        {"3.1.1 has no reason", "0001 00", ERR_MALFORMED},
        {"short", "00", ERR_MALFORMED},
    };
    (void)state;
#define CHECK(cases, decode) \
    assert_int_equal(wire_cases_failed(cases, sizeof(cases) / sizeof(cases[0]), decode), 0)
    CHECK(puback, puback_5);
    CHECK(pubrel, pubrel_5);
    CHECK(v3, puback_3_1_1);
#undef CHECK
}

/* 3.4.2.1, 3.4.2.2.1: reason and properties may be left out, so two prefixes are packets too. */
static void only_the_two_short_forms_are_packets(void **state)
{
    struct slice body = wire_bytes("0001 87 04 1f 0001 'x'");
    (void)state;
    assert_int_equal(wire_prefixes_accepted(body, puback_5), 2);
    free((void *)body.data);
}

static void random_acks_come_back_equal(void **state)
{
    uint8_t *user = malloc(WIRE_USER_BYTES_MAX);
    struct rng rng;
    (void)state;
    rng_init(&rng, 24);
    for (unsigned round = 0; round < 2000; round++) {
        enum mqtt_version version = (enum mqtt_version)(MQTT_3_1 + rng_below(&rng, 3));
        enum mqtt_type type = (enum mqtt_type)(MQTT_PUBACK + rng_below(&rng, 4));
        struct mqtt_ack in = {.packet_id = (uint16_t)(1 + rng_below(&rng, 65535))}, out;
        if (version == MQTT_5 && rng_below(&rng, 2) == 0) {
            in.reason = type >= MQTT_PUBREL ? REASON_ID_UNKNOWN : REASON_QUOTA;
        }
        if (version == MQTT_5 && rng_below(&rng, 2) == 0) {
            in.props = wire_random_props(&rng, type, user);
        }
        size_t size = mqtt_ack_size(type, &in, version);
        uint8_t *bytes = malloc(size);
        struct writer w = writer_of(bytes, size);
        mqtt_ack_encode(&w, type, &in, version);
        assert_int_equal(writer_left(&w), 0);
        struct frame frame;
        assert_int_equal(frame_next(slice_of(bytes, size), UINT32_MAX, &frame), OK);
        assert_int_equal(frame.type, type);
        assert_int_equal(mqtt_ack_decode(type, frame.body, version, &out), OK);
        assert_int_equal(out.packet_id, in.packet_id);
        assert_int_equal(out.reason, in.reason);
        assert_true(wire_props_equal(&in.props, &out.props));
        free(bytes);
    }
    free(user);
}

static void a_plain_ack_is_as_short_as_it_can_be(void **state)
{
    static const uint8_t success[] = {0x62, 2, 0x12, 0x34}, failure[] = {0x40, 3, 0x12, 0x34, 0x97};
    uint8_t bytes[MQTT_ACK_BYTES_MAX];
    struct writer w = writer_of(bytes, sizeof(bytes));
    (void)state;
    mqtt_ack_encode_plain(&w, MQTT_PUBREL, 0x1234, 0, MQTT_5);
    assert_int_equal(writer_left(&w), sizeof(bytes) - 4);
    assert_memory_equal(bytes, success, sizeof(success)); /* [MQTT-3.6.1-1] */
    w = writer_of(bytes, sizeof(bytes));
    mqtt_ack_encode_plain(&w, MQTT_PUBACK, 0x1234, REASON_QUOTA, MQTT_5);
    assert_int_equal(writer_left(&w), 0);
    assert_memory_equal(bytes, failure, sizeof(failure));
    w = writer_of(bytes, sizeof(bytes));
    mqtt_ack_encode_plain(&w, MQTT_PUBACK, 0x1234, REASON_QUOTA, MQTT_3_1_1);
    assert_int_equal(writer_left(&w), sizeof(bytes) - 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_acks_are_refused_for_the_right_reason),
        cmocka_unit_test(only_the_two_short_forms_are_packets),
        cmocka_unit_test(random_acks_come_back_equal),
        cmocka_unit_test(a_plain_ack_is_as_short_as_it_can_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
