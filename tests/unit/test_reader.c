#include "core/wire/reader.h"
#include "tests/lib/wire_case.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void numbers_are_big_endian_and_bounded(void **state)
{
    static const uint8_t bytes[] = {0x01, 0x02, 0x03, 0x80, 0x00, 0x00, 0x04};
    struct reader r = reader_of(slice_of(bytes, sizeof(bytes)));
    uint8_t u8 = 0;
    uint16_t u16 = 0;
    uint32_t u32 = 0;
    (void)state;
    assert_int_equal(read_u8(&r, &u8), OK);
    assert_int_equal(u8, 1);
    assert_int_equal(read_u16(&r, &u16), OK);
    assert_int_equal(u16, 0x0203);
    assert_int_equal(read_u32(&r, &u32), OK);
    assert_int_equal(u32, 0x80000004);
    assert_int_equal(read_end(&r), OK);
    assert_int_equal(read_u8(&r, &u8), ERR_MALFORMED);
    assert_int_equal(read_u16(&r, &u16), ERR_MALFORMED);
    assert_int_equal(read_u32(&r, &u32), ERR_MALFORMED);
    assert_int_equal(u8, 1); /* a refused read writes nothing */
    assert_int_equal(u16, 0x0203);
}

static void nothing_can_be_read_from_nothing(void **state)
{
    struct reader r = reader_of(slice_of(NULL, 0));
    struct slice out = {0};
    uint32_t value;
    (void)state;
    assert_int_equal(reader_left(&r), 0);
    assert_int_equal(read_text(&r, &out), ERR_MALFORMED);
    assert_int_equal(read_binary(&r, &out), ERR_MALFORMED);
    assert_int_equal(read_varint(&r, &value), ERR_MALFORMED);
    assert_int_equal(read_bytes(&r, 0, &out), OK);
    assert_int_equal(read_rest(&r).count, 0);
    assert_int_equal(read_end(&r), OK);
}

static enum err text(struct slice in)
{
    struct reader r = reader_of(in);
    struct slice out;
    TRY(read_text(&r, &out));
    return read_end(&r);
}

/* [MQTT-1.5.4-1] [MQTT-1.5.4-2] [v3:MQTT-1.5.3-1] [v3:MQTT-1.5.3-2] */
static void text_is_utf8_without_nul(void **state)
{
    static const struct wire_case cases[] = {
        {"empty", "00 00", OK},
        {"ascii", "00 03 'a/b'", OK},
        {"two, three and four bytes", "00 09 c3a9 e282ac f09f90a6", OK},
        {"a byte order mark is text [MQTT-1.5.4-3]", "00 03 efbbbf", OK},
        {"NUL", "00 01 00", ERR_MALFORMED},
        {"NUL in the middle", "00 03 61 00 61", ERR_MALFORMED},
        {"surrogate", "00 03 eda080", ERR_MALFORMED},
        {"overlong slash", "00 02 c0af", ERR_MALFORMED},
        {"cut", "00 01 c3", ERR_MALFORMED},
        {"beyond U+10FFFF", "00 04 f4908080", ERR_MALFORMED},
        {"length over the end", "00 04 'a/b'", ERR_MALFORMED},
        {"half a length", "00", ERR_MALFORMED},
    };
    (void)state;
    assert_int_equal(wire_cases_failed(cases, sizeof(cases) / sizeof(cases[0]), text), 0);
}

static enum err varint(struct slice in)
{
    struct reader r = reader_of(in);
    uint32_t value;
    TRY(read_varint(&r, &value));
    return read_end(&r);
}

/* [MQTT-1.5.5-1] */
static void a_varint_has_at_most_four_bytes_and_no_more_than_needed(void **state)
{
    static const struct wire_case cases[] = {
        {"0", "00", OK},
        {"127", "7f", OK},
        {"128", "80 01", OK},
        {"largest", "ff ff ff 7f", OK},
        {"five bytes", "ff ff ff ff 00", ERR_MALFORMED},
        {"never ends", "80 80 80 80", ERR_MALFORMED},
        {"cut", "80", ERR_MALFORMED},
        {"0 in two bytes", "80 00", ERR_MALFORMED},
        {"127 in two bytes", "ff 00", ERR_MALFORMED},
        {"1 in four bytes", "81 80 80 00", ERR_MALFORMED},
    };
    (void)state;
    assert_int_equal(wire_cases_failed(cases, sizeof(cases) / sizeof(cases[0]), varint), 0);
}

static void a_varint_comes_back_as_it_was_written(void **state)
{
    static const uint32_t edges[] = {0, 127, 128, 16383, 16384, 2097151, 2097152, VARINT_MAX};
    (void)state;
    for (size_t i = 0; i < sizeof(edges) / sizeof(edges[0]); i++) {
        uint8_t bytes[4];
        uint32_t value;
        struct writer w = writer_of(bytes, varint_size(edges[i]));
        writer_varint(&w, edges[i]);
        assert_int_equal(writer_left(&w), 0);
        struct reader r = reader_of(slice_of(bytes, varint_size(edges[i])));
        assert_int_equal(read_varint(&r, &value), OK);
        assert_int_equal(value, edges[i]);
        assert_int_equal(reader_left(&r), 0);
    }
}

static void a_writer_fills_exactly_what_it_was_given(void **state)
{
    uint8_t bytes[1 + 2 + 4 + 2 + 3];
    static const uint8_t want[] = {1, 0, 2, 0, 0, 0, 3, 0, 3, 'a', 'b', 'c'};
    struct writer w = writer_of(bytes, sizeof(bytes));
    (void)state;
    writer_u8(&w, 1);
    writer_u16(&w, 2);
    writer_u32(&w, 3);
    writer_binary(&w, slice_text("abc"));
    writer_bytes(&w, slice_of(NULL, 0));
    assert_int_equal(writer_left(&w), 0);
    assert_memory_equal(bytes, want, sizeof(want));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_big_endian_and_bounded),
        cmocka_unit_test(nothing_can_be_read_from_nothing),
        cmocka_unit_test(text_is_utf8_without_nul),
        cmocka_unit_test(a_varint_has_at_most_four_bytes_and_no_more_than_needed),
        cmocka_unit_test(a_varint_comes_back_as_it_was_written),
        cmocka_unit_test(a_writer_fills_exactly_what_it_was_given),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
