#include "core/wire/control.h"
#include "core/wire/frame.h"
#include "core/wire/reason.h"
#include "tests/lib/wire_case.h"
#include "tests/lib/wire_random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static enum err disconnect_5(struct slice body)
{
    struct mqtt_control control;
    return mqtt_control_decode(MQTT_DISCONNECT, body, MQTT_5, &control);
}

static enum err disconnect_3_1_1(struct slice body)
{
    struct mqtt_control control;
    return mqtt_control_decode(MQTT_DISCONNECT, body, MQTT_3_1_1, &control);
}

static enum err auth_5(struct slice body)
{
    struct mqtt_control control;
    return mqtt_control_decode(MQTT_AUTH, body, MQTT_5, &control);
}

static enum err auth_3_1_1(struct slice body)
{
    struct mqtt_control control;
    return mqtt_control_decode(MQTT_AUTH, body, MQTT_3_1_1, &control);
}

static enum err ping_5(struct slice body)
{
    struct mqtt_control control;
    return mqtt_control_decode(MQTT_PINGREQ, body, MQTT_5, &control);
}

static void bad_controls_are_refused_for_the_right_reason(void **state)
{
    static const struct wire_case disconnect[] = {
        {"normal", "", OK},
        {"with will", "04", OK},
        {"with session expiry", "00 05 11 00000001", OK},
        {"session expiry twice", "00 0a 11 00000001 11 00000001", ERR_PROTOCOL},
        {"code that does not exist [MQTT-3.14.2-1]", "01", ERR_PROTOCOL},
        {"code of CONNACK [MQTT-3.14.2-1]", "84 00", ERR_PROTOCOL},
        {"property of CONNECT", "00 03 21 0001", ERR_MALFORMED},
        {"properties over the end", "00 05 11", ERR_MALFORMED},
        {"trailing byte", "00 00 00", ERR_MALFORMED},
    };
    static const struct wire_case disconnect_v3[] = {
        {"normal", "", OK},
        {"3.1.1 has no reason", "00", ERR_MALFORMED},
    };
    static const struct wire_case auth[] = {
        {"success, short form (3.15.2.1)", "", OK},
        {"continue", "18 08 15 0001 'x' 16 0001 00", OK},
        {"again", "19 04 15 0001 'x'", OK},
        {"no method (3.15.2.2.2)", "18 00", ERR_PROTOCOL},
        {"no properties", "18", ERR_PROTOCOL},
        {"data without method", "18 04 16 0001 00", ERR_PROTOCOL},
        {"code of CONNACK [MQTT-3.15.2-1]", "87 04 15 0001 'x'", ERR_PROTOCOL},
        {"trailing byte", "18 04 15 0001 'x' 00", ERR_MALFORMED},
    };
    static const struct wire_case auth_v3[] = {
        {"3.1.1 has no AUTH", "", ERR_PROTOCOL},
    };
    static const struct wire_case ping[] = {
        {"whole", "", OK},
        {"a ping has no body", "00", ERR_MALFORMED},
    };
    (void)state;
#define CHECK(cases, decode) \
    assert_int_equal(wire_cases_failed(cases, sizeof(cases) / sizeof(cases[0]), decode), 0)
    CHECK(disconnect, disconnect_5);
    CHECK(disconnect_v3, disconnect_3_1_1);
    CHECK(auth, auth_5);
    CHECK(auth_v3, auth_3_1_1);
    CHECK(ping, ping_5);
#undef CHECK
}

/* 3.14.2.1, 3.14.2.2.1 */
static void only_the_short_forms_of_disconnect_are_packets(void **state)
{
    struct slice body = wire_bytes("8e 09 11 00000001 1f 0001 'x'");
    (void)state;
    assert_int_equal(disconnect_5(body), OK);
    assert_int_equal(wire_prefixes_accepted(body, disconnect_5), 2);
    free((void *)body.data);
}

static void random_controls_come_back_equal(void **state)
{
    uint8_t *user = malloc(WIRE_USER_BYTES_MAX);
    struct rng rng;
    (void)state;
    rng_init(&rng, 27);
    for (unsigned round = 0; round < 2000; round++) {
        enum mqtt_type type = (enum mqtt_type)(MQTT_PINGREQ + rng_below(&rng, 4));
        enum mqtt_version version = type == MQTT_AUTH
                                        ? MQTT_5
                                        : (enum mqtt_version)(MQTT_3_1 + rng_below(&rng, 3));
        bool has_reason = version == MQTT_5 && type >= MQTT_DISCONNECT;
        struct mqtt_control in = {0}, out;
        if (has_reason && rng_below(&rng, 4) != 0) {
            in.reason = type == MQTT_AUTH ? REASON_CONTINUE_AUTH : REASON_TAKEN_OVER;
        }
        if (has_reason && (type == MQTT_AUTH ? in.reason != 0 : rng_below(&rng, 2) == 0)) {
            in.props = wire_random_props(&rng, type, user);
        }
        size_t size = mqtt_control_size(type, &in, version);
        uint8_t *bytes = malloc(size);
        struct writer w = writer_of(bytes, size);
        mqtt_control_encode(&w, type, &in, version);
        assert_int_equal(writer_left(&w), 0);
        struct frame frame;
        assert_int_equal(frame_next(slice_of(bytes, size), UINT32_MAX, &frame), OK);
        assert_int_equal(frame.type, type);
        assert_int_equal(mqtt_control_decode(type, frame.body, version, &out), OK);
        assert_int_equal(out.reason, in.reason);
        assert_true(wire_props_equal(&in.props, &out.props));
        free(bytes);
    }
    free(user);
}

static void a_ping_is_two_bytes(void **state)
{
    static const uint8_t want[] = {0xd0, 0};
    uint8_t bytes[2];
    struct writer w = writer_of(bytes, sizeof(bytes));
    (void)state;
    assert_int_equal(mqtt_control_size(MQTT_PINGRESP, NULL, MQTT_5), 2);
    mqtt_control_encode(&w, MQTT_PINGRESP, NULL, MQTT_5);
    assert_memory_equal(bytes, want, sizeof(want));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_controls_are_refused_for_the_right_reason),
        cmocka_unit_test(only_the_short_forms_of_disconnect_are_packets),
        cmocka_unit_test(random_controls_come_back_equal),
        cmocka_unit_test(a_ping_is_two_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
