#include "core/wire/frame.h"
#include "tests/lib/wire_case.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { NO_LIMIT = UINT32_MAX };

static enum err strict(struct slice in)
{
    struct frame frame;
    return frame_next(in, NO_LIMIT, &frame);
}

static enum err lenient(struct slice in)
{
    struct frame frame;
    return frame_next_3_1(in, NO_LIMIT, &frame);
}

static void a_packet_is_found_and_the_next_one_after_it(void **state)
{
    static const uint8_t bytes[] = {0x30, 3, 0, 1, 'a', 0xc0, 0, 0xff};
    struct slice in = slice_of(bytes, sizeof(bytes));
    struct frame frame;
    (void)state;
    assert_int_equal(frame_next(in, NO_LIMIT, &frame), OK);
    assert_int_equal(frame.type, MQTT_PUBLISH);
    assert_int_equal(frame.flags, 0);
    assert_int_equal(frame.total_bytes, 5);
    assert_ptr_equal(frame.body.data, bytes + 2);
    assert_int_equal(frame.body.count, 3);
    in = slice_skip(in, frame.total_bytes);
    assert_int_equal(frame_next(in, NO_LIMIT, &frame), OK);
    assert_int_equal(frame.type, MQTT_PINGREQ);
    assert_int_equal(frame.total_bytes, 2);
    assert_int_equal(frame.body.count, 0);
    in = slice_skip(in, frame.total_bytes);
    assert_int_equal(frame_next(in, NO_LIMIT, &frame), ERR_MALFORMED);
}

/* The caller learns how much room to make as soon as the header is there, and nothing before. */
static void what_is_not_whole_says_how_large_it_will_be(void **state)
{
    static const uint8_t bytes[] = {0x3b, 0x80, 0x01, 'x'};
    (void)state;
    for (size_t count = 0; count <= sizeof(bytes); count++) {
        struct frame frame = {.type = 9, .flags = 9, .total_bytes = 9};
        assert_int_equal(frame_next(slice_of(bytes, count), NO_LIMIT, &frame), ERR_MORE);
        assert_int_equal(frame.type, count < 3 ? 0 : MQTT_PUBLISH);
        assert_int_equal(frame.flags, count < 3 ? 0 : 0x0b);
        assert_int_equal(frame.total_bytes, count < 3 ? 0 : 3 + 128);
        assert_int_equal(frame.body.count, 0);
    }
}

static void nothing_is_not_yet_a_packet(void **state)
{
    struct frame frame = {.type = 9};
    (void)state;
    assert_int_equal(frame_next(slice_of(NULL, 0), NO_LIMIT, &frame), ERR_MORE);
    assert_int_equal(frame.type, 0);
}

/* [MQTT-3.2.2-15] Known from the header alone: nobody has to hold 256 MB to refuse them. */
static void what_is_too_large_is_refused_before_it_arrives(void **state)
{
    static const uint8_t bytes[] = {0x30, 0xff, 0xff, 0xff, 0x7f};
    struct frame frame;
    (void)state;
    assert_int_equal(frame_next(slice_of(bytes, 5), MQTT_REMAINING_MAX + 4, &frame), ERR_TOO_LARGE);
    assert_int_equal(frame.type, MQTT_PUBLISH);
    assert_int_equal(frame.total_bytes, MQTT_REMAINING_MAX + 5);
    assert_int_equal(frame_next(slice_of(bytes, 5), MQTT_REMAINING_MAX + 5, &frame), ERR_MORE);
    assert_int_equal(frame_next(slice_of(bytes, 4), 1, &frame), ERR_MORE);
}

static void the_limit_counts_the_whole_packet(void **state)
{
    static const uint8_t bytes[] = {0x30, 3, 0, 1, 'a'};
    struct frame frame;
    (void)state;
    assert_int_equal(frame_next(slice_of(bytes, sizeof(bytes)), 5, &frame), OK);
    assert_int_equal(frame_next(slice_of(bytes, sizeof(bytes)), 4, &frame), ERR_TOO_LARGE);
}

/* [MQTT-1.5.5-1] */
static void a_bad_length_is_seen_at_the_byte_that_makes_it_bad(void **state)
{
    static const struct wire_case cases[] = {
        {"three continued bytes may still become one", "30 ff ff ff", ERR_MORE},
        {"four continued bytes", "30 ff ff ff ff", ERR_MALFORMED},
        {"four continued bytes of zero", "30 80 80 80 80", ERR_MALFORMED},
        {"0 in two bytes", "c0 80 00", ERR_MALFORMED},
        {"2 in three bytes", "40 82 80 00 00 01", ERR_MALFORMED},
    };
    (void)state;
    assert_int_equal(wire_cases_failed(cases, sizeof(cases) / sizeof(cases[0]), strict), 0);
    assert_int_equal(wire_cases_failed(cases, sizeof(cases) / sizeof(cases[0]), lenient), 0);
}

/* [MQTT-2.1.3-1] [v3:MQTT-2.2.2-2] All 256 first bytes; the byte alone is enough to refuse. */
static void reserved_flags_are_refused(void **state)
{
    (void)state;
    for (unsigned first = 0; first < 256; first++) {
        uint8_t bytes[2] = {(uint8_t)first, 0};
        unsigned type = first >> 4, flags = first & 15;
        bool has_two = type == MQTT_PUBREL || type == MQTT_SUBSCRIBE || type == MQTT_UNSUBSCRIBE;
        bool legal = type != 0 && (type == MQTT_PUBLISH || flags == (has_two ? 2 : 0));
        assert_int_equal(strict(slice_of(bytes, 2)), legal ? OK : ERR_MALFORMED);
        assert_int_equal(strict(slice_of(bytes, 1)), legal ? ERR_MORE : ERR_MALFORMED);
    }
}

/* In 3.1 a SUBSCRIBE that is sent again has DUP, and flags of other packets are "not used". */
static void a_client_of_3_1_may_set_dup(void **state)
{
    static const struct wire_case cases[] = {
        {"PUBREL with DUP", "6a 02 00 01", OK},        {"SUBSCRIBE with DUP", "8a 00", OK},
        {"UNSUBSCRIBE without QoS bits", "a0 00", OK}, {"PINGREQ with RETAIN", "c1 00", OK},
        {"reserved type 0", "00 00", ERR_MALFORMED},   {"reserved type 15", "f0 00", ERR_MALFORMED},
    };
    (void)state;
    assert_int_equal(wire_cases_failed(cases, sizeof(cases) / sizeof(cases[0]), lenient), 0);
}

static void types_have_names(void **state)
{
    (void)state;
    assert_string_equal(mqtt_type_name(MQTT_CONNECT), "CONNECT");
    assert_string_equal(mqtt_type_name(MQTT_AUTH), "AUTH");
    assert_string_equal(mqtt_type_name(0), "RESERVED");
    assert_string_equal(mqtt_type_name(255), "RESERVED");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_packet_is_found_and_the_next_one_after_it),
        cmocka_unit_test(nothing_is_not_yet_a_packet),
        cmocka_unit_test(what_is_not_whole_says_how_large_it_will_be),
        cmocka_unit_test(what_is_too_large_is_refused_before_it_arrives),
        cmocka_unit_test(the_limit_counts_the_whole_packet),
        cmocka_unit_test(a_bad_length_is_seen_at_the_byte_that_makes_it_bad),
        cmocka_unit_test(reserved_flags_are_refused),
        cmocka_unit_test(a_client_of_3_1_may_set_dup),
        cmocka_unit_test(types_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
