#include "core/wire/connect.h"
#include "core/wire/frame.h"
#include "tests/lib/wire_case.h"
#include "tests/lib/wire_random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static enum err decode(struct slice body)
{
    struct mqtt_connect connect;
    return mqtt_connect_decode(body, &connect);
}

static enum err connack_5(struct slice body)
{
    struct mqtt_connack connack;
    return mqtt_connack_decode(body, MQTT_5, &connack);
}

static enum err connack_3_1_1(struct slice body)
{
    struct mqtt_connack connack;
    return mqtt_connack_decode(body, MQTT_3_1_1, &connack);
}

static enum err connack_3_1(struct slice body)
{
    struct mqtt_connack connack;
    return mqtt_connack_decode(body, MQTT_3_1, &connack);
}

#define ALL_FAIL_RIGHT(cases, decode) \
    assert_int_equal(wire_cases_failed(cases, sizeof(cases) / sizeof(cases[0]), decode), 0)

static void a_connect_of_3_1_1_is_taken_apart(void **state)
{
    struct slice body = wire_bytes("0004 'MQTT' 04 ee 003c 0002 'me' 0001 't' 0002 00ff "
                                   "0004 'user' 0002 ff00");
    struct mqtt_connect c;
    (void)state;
    assert_int_equal(mqtt_connect_decode(body, &c), OK);
    assert_int_equal(c.version, MQTT_3_1_1);
    assert_true(c.clean_start && c.has_will && c.has_username && c.has_password);
    assert_false(c.is_bridge);
    assert_int_equal(c.keepalive_s, 60);
    assert_true(slice_is(c.client_id, "me"));
    assert_int_equal(c.will.qos, 1);
    assert_true(c.will.retain);
    assert_true(slice_is(c.will.topic, "t"));
    assert_int_equal(c.will.payload.count, 2);
    assert_true(slice_is(c.username, "user"));
    assert_int_equal(c.password.count, 2); /* binary, not text */
    assert_int_equal(c.props.present, 0);
    free((void *)body.data);
}

static void a_connect_of_5_keeps_both_sets_of_properties(void **state)
{
    struct slice body = wire_bytes("0004 'MQTT' 05 04 0000 08 11 00000009 21 0007 0000 "
                                   "05 18 00000003 0001 't' 0000");
    struct mqtt_connect c;
    (void)state;
    assert_int_equal(mqtt_connect_decode(body, &c), OK);
    assert_int_equal(c.version, MQTT_5);
    assert_int_equal(c.props.present, PROP_BIT(PROP_SESSION_EXPIRY) | PROP_BIT(PROP_RECEIVE_MAX));
    assert_int_equal(c.props.session_expiry_s, 9);
    assert_int_equal(c.props.receive_max, 7);
    assert_int_equal(c.will.props.present, PROP_BIT(PROP_WILL_DELAY));
    assert_int_equal(c.will.props.will_delay_s, 3);
    assert_int_equal(c.client_id.count, 0);
    free((void *)body.data);
}

static void bad_connects_are_refused_for_the_right_reason(void **state)
{
    static const struct wire_case cases[] = {
        {"3.1", "0006 'MQIsdp' 03 02 003c 0001 'a'", OK},
        {"3.1.1", "0004 'MQTT' 04 02 003c 0001 'a'", OK},
        {"5", "0004 'MQTT' 05 02 003c 00 0001 'a'", OK},
        {"empty", "", ERR_MALFORMED},
        {"another protocol [MQTT-3.1.2-1]", "0004 'HTTP' 05 02 003c 00 0001 'a'", ERR_PROTOCOL},
        {"name in lower case", "0004 'mqtt' 04 02 003c 0001 'a'", ERR_PROTOCOL},
        {"level 6 [MQTT-3.1.2-2]", "0004 'MQTT' 06 02 003c 00 0001 'a'", ERR_VERSION},
        {"level 3 with the new name [v3:MQTT-3.1.2-2]", "0004 'MQTT' 03 02 003c 0001 'a'",
         ERR_VERSION},
        {"level 4 with the old name", "0006 'MQIsdp' 04 02 003c 0001 'a'", ERR_VERSION},
        {"level 0", "0004 'MQTT' 00 02 003c 0001 'a'", ERR_VERSION},
        {"a bridge of 3.1.1", "0004 'MQTT' 84 02 003c 0001 'a'", OK},
        {"a bridge of 3.1", "0006 'MQIsdp' 83 02 003c 0001 'a'", OK},
        {"5 has no bridge bit", "0004 'MQTT' 85 02 003c 00 0001 'a'", ERR_VERSION},

        {"reserved flag, 3.1.1 [v3:MQTT-3.1.2-3]", "0004 'MQTT' 04 03 003c 0001 'a'",
         ERR_MALFORMED},
        {"reserved flag, 5 [MQTT-3.1.2-3]", "0004 'MQTT' 05 03 003c 00 0001 'a'", ERR_MALFORMED},
        {"reserved flag, 3.1: not used", "0006 'MQIsdp' 03 03 003c 0001 'a'", OK},
        {"will QoS without will [MQTT-3.1.2-11]", "0004 'MQTT' 05 0a 003c 00 0001 'a'",
         ERR_MALFORMED},
        {"will QoS without will [v3:MQTT-3.1.2-13]", "0004 'MQTT' 04 0a 003c 0001 'a'",
         ERR_MALFORMED},
        {"will QoS 3 [MQTT-3.1.2-12]", "0004 'MQTT' 05 1e 003c 00 0001 'a' 00 0001 't' 0000",
         ERR_MALFORMED},
        {"will QoS 3 [v3:MQTT-3.1.2-14]", "0004 'MQTT' 04 1e 003c 0001 'a' 0001 't' 0000",
         ERR_MALFORMED},
        {"will retain without will [MQTT-3.1.2-13]", "0004 'MQTT' 05 22 003c 00 0001 'a'",
         ERR_MALFORMED},
        {"will retain without will [v3:MQTT-3.1.2-15]", "0004 'MQTT' 04 22 003c 0001 'a'",
         ERR_MALFORMED},

        {"password alone, 3.1.1 [v3:MQTT-3.1.2-22]", "0004 'MQTT' 04 42 003c 0001 'a' 0001 'p'",
         ERR_MALFORMED},
        {"password alone, 5", "0004 'MQTT' 05 42 003c 00 0001 'a' 0001 'p'", OK},
        {"user name flag, no user name, 3.1.1", "0004 'MQTT' 04 82 003c 0001 'a'", ERR_MALFORMED},
        {"user name flag, no user name, 3.1: valid", "0006 'MQIsdp' 03 c2 003c 0001 'a'", OK},
        {"user name, no flag [MQTT-3.1.2-16]", "0004 'MQTT' 05 02 003c 00 0001 'a' 0001 'u'",
         ERR_MALFORMED},
        {"user name not UTF-8 [MQTT-3.1.3-12]", "0004 'MQTT' 05 82 003c 00 0001 'a' 0001 ff",
         ERR_MALFORMED},
        {"user name not UTF-8 [v3:MQTT-3.1.3-11]", "0004 'MQTT' 04 82 003c 0001 'a' 0001 ff",
         ERR_MALFORMED},

        {"client id not UTF-8 [MQTT-3.1.3-4]", "0004 'MQTT' 05 02 003c 00 0001 ff", ERR_MALFORMED},
        {"client id with NUL", "0004 'MQTT' 04 02 003c 0001 00", ERR_MALFORMED},
        {"empty client id, 5", "0004 'MQTT' 05 00 003c 00 0000", OK},
        {"empty client id, 3.1.1, clean", "0004 'MQTT' 04 02 003c 0000", OK},
        {"empty client id, 3.1.1, kept [v3:MQTT-3.1.3-8]", "0004 'MQTT' 04 00 003c 0000",
         ERR_CLIENT_ID},
        {"empty client id, 3.1", "0006 'MQIsdp' 03 02 003c 0000", ERR_CLIENT_ID},
        {"empty client id, but malformed", "0004 'MQTT' 04 00 003c 0000 00", ERR_MALFORMED},
        {"client id of 24 characters, 3.1",
         "0006 'MQIsdp' 03 02 003c 0018 '123456789012345678901234'", OK},

        {"will without payload", "0004 'MQTT' 04 06 003c 0001 'a' 0001 't'", ERR_MALFORMED},
        {"will topic not UTF-8 [MQTT-3.1.3-11]",
         "0004 'MQTT' 05 06 003c 00 0001 'a' 00 0001 ff 0000", ERR_MALFORMED},
        {"will topic not UTF-8 [v3:MQTT-3.1.3-10]", "0004 'MQTT' 04 06 003c 0001 'a' 0001 ff 0000",
         ERR_MALFORMED},
        {"will property of PUBLISH", "0004 'MQTT' 05 06 003c 00 0001 'a' 03 23 0001 0001 't' 0000",
         ERR_MALFORMED},
        {"trailing byte", "0004 'MQTT' 04 02 003c 0001 'a' 00", ERR_MALFORMED},
        {"receive maximum 0", "0004 'MQTT' 05 02 003c 03 21 0000 0001 'a'", ERR_PROTOCOL},
        {"properties over the end", "0004 'MQTT' 05 02 003c 7f 21 0001 0001 'a'", ERR_MALFORMED},
    };
    (void)state;
    ALL_FAIL_RIGHT(cases, decode);
}

/* The broker answers in a version the client can read, and says nothing to who speaks no MQTT. */
static void the_version_to_answer_in_is_known_after_an_error(void **state)
{
    static const struct {
        const char *bytes;
        int version;
    } cases[] = {
        {"0004 'MQTT' 06 02 003c 00 0001 'a'", MQTT_5},
        {"0004 'MQTT' 85 02 003c 00 0001 'a'", MQTT_5},
        {"0004 'MQTT' 03 02 003c 0001 'a'", MQTT_3_1_1},
        {"0006 'MQIsdp' 04 02 003c 0001 'a'", MQTT_3_1_1},
        {"0004 'MQTT' 05 03", MQTT_5},
        {"0004 'MQTT' 04 00 003c 0000", MQTT_3_1_1},
        {"0006 'MQIsdp' 03 02 003c 0000", MQTT_3_1},
        {"0004 'HTTP' 05 02", 0},
        {"0004 'MQTT'", 0},
        {"", 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct slice body = wire_bytes(cases[i].bytes);
        struct mqtt_connect connect;
        assert_int_not_equal(mqtt_connect_decode(body, &connect), OK);
        assert_int_equal(connect.version, cases[i].version);
        free((void *)body.data);
    }
}

static void a_bridge_says_so(void **state)
{
    struct slice body = wire_bytes("0004 'MQTT' 84 02 003c 0001 'a'");
    struct mqtt_connect c;
    (void)state;
    assert_int_equal(mqtt_connect_decode(body, &c), OK);
    assert_true(c.is_bridge);
    assert_int_equal(c.version, MQTT_3_1_1);
    free((void *)body.data);
}

/* 3.1: "the Remaining Length field takes precedence over the User Name flag". */
static void in_3_1_the_user_name_may_be_promised_and_missing(void **state)
{
    struct slice body = wire_bytes("0006 'MQIsdp' 03 c2 003c 0001 'a' 0001 'u'");
    struct mqtt_connect c;
    (void)state;
    assert_int_equal(mqtt_connect_decode(body, &c), OK);
    assert_true(c.has_username);
    assert_false(c.has_password);
    assert_int_equal(mqtt_connect_decode(slice_head(body, body.count - 3), &c), OK);
    assert_false(c.has_username);
    free((void *)body.data);
}

static void no_prefix_of_a_connect_is_a_connect(void **state)
{
    static const char *const whole[] = {
        "0006 'MQIsdp' 03 26 003c 0001 'a' 0001 't' 0001 'p'",
        "0004 'MQTT' 04 ee 003c 0002 'me' 0001 't' 0002 00ff 0004 'user' 0002 ff00",
        "0004 'MQTT' 05 ee 003c 08 11 00000009 21 0007 0002 'me' 05 18 00000003 0001 't' 0002 00ff "
        "0004 'user' 0002 ff00",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(whole) / sizeof(whole[0]); i++) {
        struct slice body = wire_bytes(whole[i]);
        assert_int_equal(decode(body), OK);
        assert_int_equal(wire_prefixes_accepted(body, decode), 0);
        free((void *)body.data);
    }
}

static struct mqtt_connect random_connect(struct rng *rng, uint8_t *user, uint8_t *will_user)
{
    struct mqtt_connect c = {
        .version = (enum mqtt_version)(MQTT_3_1 + rng_below(rng, 3)),
        .clean_start = rng_below(rng, 2) != 0,
        .has_will = rng_below(rng, 2) != 0,
        .has_username = rng_below(rng, 2) != 0,
        .keepalive_s = (uint16_t)rng_u64(rng),
    };
    c.has_password = (c.has_username || c.version == MQTT_5) && rng_below(rng, 2) != 0;
    c.is_bridge = c.version != MQTT_5 && rng_below(rng, 4) == 0;
    bool may_be_empty = c.version == MQTT_5 || (c.version == MQTT_3_1_1 && c.clean_start);
    c.client_id = wire_random_text(rng, may_be_empty ? 0 : 1);
    c.username = wire_random_text(rng, 0);
    c.password = wire_random_binary(rng);
    c.will.qos = (uint8_t)rng_below(rng, 3);
    c.will.retain = rng_below(rng, 2) != 0;
    c.will.topic = wire_random_text(rng, 0);
    c.will.payload = wire_random_binary(rng);
    c.props = wire_random_props(rng, MQTT_CONNECT, user);
    c.will.props = wire_random_props(rng, MQTT_WILL, will_user);
    return c;
}

static void assert_connect_equal(const struct mqtt_connect *a, const struct mqtt_connect *b)
{
    assert_int_equal(a->version, b->version);
    assert_int_equal(a->clean_start, b->clean_start);
    assert_int_equal(a->has_will, b->has_will);
    assert_int_equal(a->has_username, b->has_username);
    assert_int_equal(a->has_password, b->has_password);
    assert_int_equal(a->is_bridge, b->is_bridge);
    assert_int_equal(a->keepalive_s, b->keepalive_s);
    assert_true(slice_equal(a->client_id, b->client_id));
    assert_true(!a->has_username || slice_equal(a->username, b->username));
    assert_true(!a->has_password || slice_equal(a->password, b->password));
    assert_true(a->version != MQTT_5 || wire_props_equal(&a->props, &b->props));
    if (a->has_will) {
        assert_int_equal(a->will.qos, b->will.qos);
        assert_int_equal(a->will.retain, b->will.retain);
        assert_true(slice_equal(a->will.topic, b->will.topic));
        assert_true(slice_equal(a->will.payload, b->will.payload));
        assert_true(a->version != MQTT_5 || wire_props_equal(&a->will.props, &b->will.props));
    }
}

static void random_connects_come_back_equal(void **state)
{
    uint8_t *user = malloc(WIRE_USER_BYTES_MAX), *will_user = malloc(WIRE_USER_BYTES_MAX);
    struct rng rng;
    (void)state;
    rng_init(&rng, 21);
    for (unsigned round = 0; round < 1000; round++) {
        struct mqtt_connect in = random_connect(&rng, user, will_user), out;
        size_t size = mqtt_connect_size(&in);
        uint8_t *bytes = malloc(size);
        struct writer w = writer_of(bytes, size);
        mqtt_connect_encode(&w, &in);
        assert_int_equal(writer_left(&w), 0);
        struct frame frame;
        assert_int_equal(frame_next(slice_of(bytes, size), UINT32_MAX, &frame), OK);
        assert_int_equal(frame.type, MQTT_CONNECT);
        assert_int_equal(frame.total_bytes, size);
        assert_int_equal(mqtt_connect_decode(frame.body, &out), OK);
        assert_connect_equal(&in, &out);
        free(bytes);
    }
    free(user);
    free(will_user);
}

static void bad_connacks_are_refused_for_the_right_reason(void **state)
{
    static const struct wire_case v5[] = {
        {"success", "00 00 00", OK},
        {"session present", "01 00 00", OK},
        {"refused", "00 87 00", OK},
        {"reserved flags [MQTT-3.2.2-1]", "02 00 00", ERR_MALFORMED},
        {"refused and present [MQTT-3.2.2-6]", "01 87 00", ERR_PROTOCOL},
        {"code of another packet [MQTT-3.2.2-8]", "00 8e 00", ERR_PROTOCOL},
        {"no properties", "00 00", ERR_MALFORMED},
        {"trailing byte", "00 00 00 00", ERR_MALFORMED},
    };
    static const struct wire_case v3_1_1[] = {
        {"accepted", "00 00", OK},
        {"session present", "01 00", OK},
        {"refused", "00 05", OK},
        {"return code 6 [v3:MQTT-3.2.2-6]", "00 06", ERR_PROTOCOL},
        {"refused and present [v3:MQTT-3.2.2-4]", "01 05", ERR_PROTOCOL},
        {"short", "00", ERR_MALFORMED},
        {"long", "00 00 00", ERR_MALFORMED},
    };
    static const struct wire_case v3_1[] = {
        {"accepted", "00 00", OK},
        {"first byte is not used", "ff 00", OK},
    };
    (void)state;
    ALL_FAIL_RIGHT(v5, connack_5);
    ALL_FAIL_RIGHT(v3_1_1, connack_3_1_1);
    ALL_FAIL_RIGHT(v3_1, connack_3_1);
}

static void random_connacks_come_back_equal(void **state)
{
    uint8_t *user = malloc(WIRE_USER_BYTES_MAX);
    struct rng rng;
    (void)state;
    rng_init(&rng, 22);
    for (unsigned round = 0; round < 1000; round++) {
        enum mqtt_version version = (enum mqtt_version)(MQTT_3_1 + rng_below(&rng, 3));
        struct mqtt_connack in = {.session_present = rng_below(&rng, 2) != 0}, out;
        if (!in.session_present) {
            in.reason = version == MQTT_5 ? 0x87 : 5;
        }
        in.props = wire_random_props(&rng, MQTT_CONNACK, user);
        size_t size = mqtt_connack_size(&in, version);
        uint8_t *bytes = malloc(size);
        struct writer w = writer_of(bytes, size);
        mqtt_connack_encode(&w, &in, version);
        assert_int_equal(writer_left(&w), 0);
        struct frame frame;
        assert_int_equal(frame_next(slice_of(bytes, size), UINT32_MAX, &frame), OK);
        assert_int_equal(frame.type, MQTT_CONNACK);
        assert_int_equal(mqtt_connack_decode(frame.body, version, &out), OK);
        assert_int_equal(out.session_present, in.session_present && version != MQTT_3_1);
        assert_int_equal(out.reason, in.reason);
        assert_true(version != MQTT_5 || wire_props_equal(&in.props, &out.props));
        free(bytes);
    }
    free(user);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connect_of_3_1_1_is_taken_apart),
        cmocka_unit_test(a_connect_of_5_keeps_both_sets_of_properties),
        cmocka_unit_test(bad_connects_are_refused_for_the_right_reason),
        cmocka_unit_test(the_version_to_answer_in_is_known_after_an_error),
        cmocka_unit_test(a_bridge_says_so),
        cmocka_unit_test(in_3_1_the_user_name_may_be_promised_and_missing),
        cmocka_unit_test(no_prefix_of_a_connect_is_a_connect),
        cmocka_unit_test(random_connects_come_back_equal),
        cmocka_unit_test(bad_connacks_are_refused_for_the_right_reason),
        cmocka_unit_test(random_connacks_come_back_equal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
