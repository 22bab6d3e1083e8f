#include "core/wire/frame.h"
#include "core/wire/reason.h"
#include "core/wire/subscribe.h"
#include "tests/lib/wire_case.h"
#include "tests/lib/wire_random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static enum err subscribe_5(struct slice body)
{
    struct mqtt_subscribe sub;
    return mqtt_subscribe_decode(body, MQTT_5, &sub);
}

static enum err subscribe_3_1_1(struct slice body)
{
    struct mqtt_subscribe sub;
    return mqtt_subscribe_decode(body, MQTT_3_1_1, &sub);
}

static enum err subscribe_3_1(struct slice body)
{
    struct mqtt_subscribe sub;
    return mqtt_subscribe_decode(body, MQTT_3_1, &sub);
}

static enum err unsubscribe_5(struct slice body)
{
    struct mqtt_subscribe sub;
    return mqtt_unsubscribe_decode(body, MQTT_5, &sub);
}

static enum err unsubscribe_3_1_1(struct slice body)
{
    struct mqtt_subscribe sub;
    return mqtt_unsubscribe_decode(body, MQTT_3_1_1, &sub);
}

static enum err suback_5(struct slice body)
{
    struct mqtt_suback suback;
    return mqtt_suback_decode(body, MQTT_5, &suback);
}

static enum err suback_3_1_1(struct slice body)
{
    struct mqtt_suback suback;
    return mqtt_suback_decode(body, MQTT_3_1_1, &suback);
}

static enum err unsuback_5(struct slice body)
{
    struct mqtt_suback suback;
    return mqtt_unsuback_decode(body, MQTT_5, &suback);
}

static enum err unsuback_3_1_1(struct slice body)
{
    struct mqtt_suback suback;
    return mqtt_unsuback_decode(body, MQTT_3_1_1, &suback);
}

static void filters_are_walked_in_order(void **state)
{
    struct slice body = wire_bytes("0102 02 0b 05 0003 'a/#' 2e 0001 '+' 01");
    struct mqtt_subscribe sub;
    struct mqtt_filter filter;
    (void)state;
    assert_int_equal(mqtt_subscribe_decode(body, MQTT_5, &sub), OK);
    assert_int_equal(sub.packet_id, 0x0102);
    assert_int_equal(sub.filter_count, 2);
    assert_int_equal(sub.props.subscription_id, 5);
    struct slice rest = sub.filters;
    assert_true(mqtt_filters_next(&rest, true, MQTT_5, &filter));
    assert_true(slice_is(filter.filter, "a/#"));
    assert_int_equal(filter.qos, 2);
    assert_true(filter.no_local && filter.retain_as_published);
    assert_int_equal(filter.retain_handling, 2);
    assert_true(mqtt_filters_next(&rest, true, MQTT_5, &filter));
    assert_true(slice_is(filter.filter, "+"));
    assert_int_equal(filter.qos, 1);
    assert_false(filter.no_local || filter.retain_as_published);
    assert_int_equal(filter.retain_handling, 0);
    assert_false(mqtt_filters_next(&rest, true, MQTT_5, &filter));
    assert_int_equal(rest.count, 0);
    free((void *)body.data);
}

static void bad_requests_are_refused_for_the_right_reason(void **state)
{
    static const struct wire_case sub_5[] = {
        {"one", "0001 00 0001 'a' 00", OK},
        {"all options", "0001 00 0001 'a' 2e", OK},
        {"no filter [MQTT-3.8.3-2]", "0001 00", ERR_PROTOCOL},
        {"no properties", "0001", ERR_MALFORMED},
        {"packet id 0 [MQTT-2.2.1-3]", "0000 00 0001 'a' 00", ERR_PROTOCOL},
        {"reserved bit 6 [MQTT-3.8.3-5]", "0001 00 0001 'a' 40", ERR_MALFORMED},
        {"reserved bit 7 [MQTT-3.8.3-5]", "0001 00 0001 'a' 80", ERR_MALFORMED},
        {"QoS 3 (3.8.3.1)", "0001 00 0001 'a' 03", ERR_PROTOCOL},
        {"retain handling 3 (3.8.3.1)", "0001 00 0001 'a' 30", ERR_PROTOCOL},
        {"second filter bad", "0001 00 0001 'a' 00 0001 'b' 03", ERR_PROTOCOL},
        {"no options", "0001 00 0001 'a'", ERR_MALFORMED},
        {"filter not UTF-8 [MQTT-3.8.3-1]", "0001 00 0001 ff 00", ERR_MALFORMED},
        {"filter over the end", "0001 00 0009 'a' 00", ERR_MALFORMED},
        {"subscription id 0", "0001 02 0b 00 0001 'a' 00", ERR_PROTOCOL},
        {"subscription id twice", "0001 04 0b 01 0b 02 0001 'a' 00", ERR_PROTOCOL},
    };
    static const struct wire_case sub_3_1_1[] = {
        {"one", "0001 0001 'a' 02", OK},
        {"no filter [v3:MQTT-3.8.3-3]", "0001", ERR_PROTOCOL},
        {"QoS 3 [v3:MQTT-3.8.3-4]", "0001 0001 'a' 03", ERR_MALFORMED},
        {"reserved bit [v3:MQTT-3.8.3-4]", "0001 0001 'a' 04", ERR_MALFORMED},
        {"packet id 0 [v3:MQTT-2.3.1-1]", "0000 0001 'a' 00", ERR_PROTOCOL},
    };
    static const struct wire_case sub_3_1[] = {
        {"upper bits are not used", "0001 0001 'a' fd", OK},
        {"QoS 3", "0001 0001 'a' 03", ERR_MALFORMED},
    };
    static const struct wire_case unsub_5[] = {
        {"two", "0001 00 0001 'a' 0001 'b'", OK},
        {"no filter [MQTT-3.10.3-2]", "0001 00", ERR_PROTOCOL},
        {"packet id 0", "0000 00 0001 'a'", ERR_PROTOCOL},
        {"filter not UTF-8 [MQTT-3.10.3-1]", "0001 00 0001 ff", ERR_MALFORMED},
        {"subscription id is for SUBSCRIBE", "0001 02 0b 01 0001 'a'", ERR_MALFORMED},
        {"trailing byte", "0001 00 0001 'a' 00", ERR_MALFORMED},
    };
    static const struct wire_case unsub_3_1_1[] = {
        {"one", "0001 0001 'a'", OK},
        {"no filter [v3:MQTT-3.10.3-2]", "0001", ERR_PROTOCOL},
    };
    (void)state;
#define CHECK(cases, decode) \
    assert_int_equal(wire_cases_failed(cases, sizeof(cases) / sizeof(cases[0]), decode), 0)
    CHECK(sub_5, subscribe_5);
    CHECK(sub_3_1_1, subscribe_3_1_1);
    CHECK(sub_3_1, subscribe_3_1);
    CHECK(unsub_5, unsubscribe_5);
    CHECK(unsub_3_1_1, unsubscribe_3_1_1);
}

static void bad_answers_are_refused_for_the_right_reason(void **state)
{
    static const struct wire_case sub_5[] = {
        {"granted and refused", "0001 00 00 01 02 87", OK},
        {"no codes", "0001 00", ERR_PROTOCOL},
        {"code that does not exist [MQTT-3.9.3-2]", "0001 00 03", ERR_PROTOCOL},
        {"code of UNSUBACK", "0001 00 11", ERR_PROTOCOL},
        {"packet id 0", "0000 00 00", ERR_PROTOCOL},
        {"short", "00", ERR_MALFORMED},
    };
    static const struct wire_case sub_3_1_1[] = {
        {"granted and refused", "0001 00 01 02 80", OK},
        {"code of 5.0 [v3:MQTT-3.9.3-2]", "0001 87", ERR_PROTOCOL},
    };
    static const struct wire_case unsub_5[] = {
        {"removed and not found", "0001 00 00 11", OK},
        {"code of SUBACK [MQTT-3.11.3-2]", "0001 00 01", ERR_PROTOCOL},
        {"no codes", "0001 00", ERR_PROTOCOL},
    };
    static const struct wire_case unsub_3_1_1[] = {
        {"no codes there", "0001", OK},
        {"trailing byte", "0001 00", ERR_MALFORMED},
    };
    (void)state;
    CHECK(sub_5, suback_5);
    CHECK(sub_3_1_1, suback_3_1_1);
    CHECK(unsub_5, unsuback_5);
    CHECK(unsub_3_1_1, unsuback_3_1_1);
#undef CHECK
}

/* A packet that stops after a whole filter is a packet, with fewer filters. */
static void prefixes_are_refused_but_at_the_end_of_a_filter(void **state)
{
    struct slice v5 = wire_bytes("0001 02 0b 05 0003 'a/#' 2e 0001 '+' 01");
    struct slice v3 = wire_bytes("0001 0001 'a' 0001 'b' 0001 'c'");
    (void)state;
    assert_int_equal(wire_prefixes_accepted(v5, subscribe_5), 1);
    assert_int_equal(wire_prefixes_accepted(v3, unsubscribe_3_1_1), 2);
    free((void *)v5.data);
    free((void *)v3.data);
}

enum { FILTERS_MAX = 5 };

static void assert_request_equal(const struct mqtt_subscribe *sub, bool is_subscribe,
                                 enum mqtt_version version, const struct mqtt_filter *filters,
                                 uint32_t count)
{
    struct slice rest = sub->filters;
    struct mqtt_filter got;
    assert_int_equal(sub->filter_count, count);
    for (uint32_t i = 0; i < count; i++) {
        assert_true(mqtt_filters_next(&rest, is_subscribe, version, &got));
        assert_true(slice_equal(got.filter, filters[i].filter));
        if (is_subscribe) {
            assert_int_equal(got.qos, filters[i].qos);
        }
        if (is_subscribe && version == MQTT_5) {
            assert_int_equal(got.no_local, filters[i].no_local);
            assert_int_equal(got.retain_as_published, filters[i].retain_as_published);
            assert_int_equal(got.retain_handling, filters[i].retain_handling);
        }
    }
    assert_false(mqtt_filters_next(&rest, is_subscribe, version, &got));
}

static void random_requests_come_back_equal(void **state)
{
    uint8_t *user = malloc(WIRE_USER_BYTES_MAX);
    struct rng rng;
    (void)state;
    rng_init(&rng, 25);
    for (unsigned round = 0; round < 1000; round++) {
        enum mqtt_version version = (enum mqtt_version)(MQTT_3_1 + rng_below(&rng, 3));
        bool is_subscribe = rng_below(&rng, 2) != 0;
        enum mqtt_type type = is_subscribe ? MQTT_SUBSCRIBE : MQTT_UNSUBSCRIBE;
        uint16_t id = (uint16_t)(1 + rng_below(&rng, 65535));
        uint32_t count = (uint32_t)(1 + rng_below(&rng, FILTERS_MAX));
        struct mqtt_filter filters[FILTERS_MAX];
        struct mqtt_props props = wire_random_props(&rng, type, user);
        for (uint32_t i = 0; i < count; i++) {
            filters[i] = (struct mqtt_filter){
                .filter = wire_random_text(&rng, 0),
                .qos = (uint8_t)rng_below(&rng, 3),
                .no_local = rng_below(&rng, 2) != 0,
                .retain_as_published = rng_below(&rng, 2) != 0,
                .retain_handling = (uint8_t)rng_below(&rng, 3),
            };
        }
        size_t size = is_subscribe ? mqtt_subscribe_size(filters, count, &props, version)
                                   : mqtt_unsubscribe_size(filters, count, &props, version);
        uint8_t *bytes = malloc(size);
        struct writer w = writer_of(bytes, size);
        struct mqtt_subscribe out;
        struct frame frame;
        if (is_subscribe) {
            mqtt_subscribe_encode(&w, id, filters, count, &props, version);
        } else {
            mqtt_unsubscribe_encode(&w, id, filters, count, &props, version);
        }
        assert_int_equal(writer_left(&w), 0);
        assert_int_equal(frame_next(slice_of(bytes, size), UINT32_MAX, &frame), OK);
        assert_int_equal(frame.type, type);
        assert_int_equal(is_subscribe ? mqtt_subscribe_decode(frame.body, version, &out)
                                      : mqtt_unsubscribe_decode(frame.body, version, &out),
                         OK);
        assert_int_equal(out.packet_id, id);
        assert_request_equal(&out, is_subscribe, version, filters, count);
        assert_true(version != MQTT_5 || wire_props_equal(&props, &out.props));
        free(bytes);
    }
    free(user);
}

static void random_answers_come_back_equal(void **state)
{
    uint8_t *user = malloc(WIRE_USER_BYTES_MAX);
    struct rng rng;
    (void)state;
    rng_init(&rng, 26);
    for (unsigned round = 0; round < 1000; round++) {
        enum mqtt_version version = (enum mqtt_version)(MQTT_3_1 + rng_below(&rng, 3));
        bool is_suback = rng_below(&rng, 2) != 0;
        enum mqtt_type type = is_suback ? MQTT_SUBACK : MQTT_UNSUBACK;
        uint16_t id = (uint16_t)(1 + rng_below(&rng, 65535));
        uint32_t count = (uint32_t)(1 + rng_below(&rng, 300));
        uint8_t codes[300];
        struct mqtt_props props = wire_random_props(&rng, type, user);
        for (uint32_t i = 0; i < count; i++) {
            codes[i] = rng_below(&rng, 2) == 0 ? 0 : REASON_UNSPECIFIED;
        }
        size_t size = is_suback ? mqtt_suback_size(count, &props, version)
                                : mqtt_unsuback_size(count, &props, version);
        uint8_t *bytes = malloc(size);
        struct writer w = writer_of(bytes, size);
        struct mqtt_suback out;
        struct frame frame;
        if (is_suback) {
            mqtt_suback_encode(&w, id, codes, count, &props, version);
        } else {
            mqtt_unsuback_encode(&w, id, codes, count, &props, version);
        }
        assert_int_equal(writer_left(&w), 0);
        assert_int_equal(frame_next(slice_of(bytes, size), UINT32_MAX, &frame), OK);
        assert_int_equal(frame.type, type);
        assert_int_equal(is_suback ? mqtt_suback_decode(frame.body, version, &out)
                                   : mqtt_unsuback_decode(frame.body, version, &out),
                         OK);
        assert_int_equal(out.packet_id, id);
        bool has_codes = is_suback || version == MQTT_5;
        assert_true(slice_equal(out.codes, slice_of(codes, has_codes ? count : 0)));
        assert_true(version != MQTT_5 || wire_props_equal(&props, &out.props));
        free(bytes);
    }
    free(user);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(filters_are_walked_in_order),
        cmocka_unit_test(bad_requests_are_refused_for_the_right_reason),
        cmocka_unit_test(bad_answers_are_refused_for_the_right_reason),
        cmocka_unit_test(prefixes_are_refused_but_at_the_end_of_a_filter),
        cmocka_unit_test(random_requests_come_back_equal),
        cmocka_unit_test(random_answers_come_back_equal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
