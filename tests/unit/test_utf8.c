#include "core/base/rng.h"
#include "core/base/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static bool is_valid(const char *bytes, size_t count)
{
    return utf8_is_valid(slice_of(bytes, count));
}

static void well_formed_text_is_valid(void **state)
{
    (void)state;
    assert_true(utf8_is_valid(slice_of(NULL, 0)));
    assert_true(utf8_is_valid(slice_text("plain/topic/of/more/than/eight/bytes")));
    assert_true(utf8_is_valid(slice_text("m\xc3\xbcll \xe2\x82\xac \xf0\x9f\x90\xa6")));
    assert_true(utf8_is_valid(slice_text("\x01\x1f\x7f\xc2\x80"))); /* control characters */
    assert_true(utf8_is_valid(slice_text("\xef\xbb\xbf")));         /* U+FEFF [MQTT-1.5.4-3] */
    assert_true(utf8_is_valid(slice_text("\xef\xbf\xbf")));         /* a non-character */
    assert_true(utf8_is_valid(slice_text("\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf")));
}

/* [MQTT-1.5.4-2] wherever it stands, inside a word of eight or not. */
static void a_null_character_is_never_valid(void **state)
{
    (void)state;
    for (size_t count = 1; count < 40; count++) {
        for (size_t at = 0; at < count; at++) {
            char text[40];
            memset(text, 'a', count);
            assert_true(is_valid(text, count));
            text[at] = 0;
            assert_false(is_valid(text, count));
        }
    }
}

/* [MQTT-1.5.4-1] */
static void ill_formed_text_is_refused(void **state)
{
    static const char *const texts[] = {
        "\x80",
        "\xbf",
        "\xc0\xaf",
        "\xc1\xbf", /* overlong */
        "\xe0\x9f\xbf",
        "\xf0\x8f\xbf\xbf", /* overlong */
        "\xed\xa0\x80",
        "\xed\xbf\xbf", /* surrogates */
        "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80",
        "\xff",
        "\xfe", /* beyond U+10FFFF */
        "\xc3",
        "\xe2\x82",
        "\xf0\x9f\x90", /* cut */
        "\xc3(",
        "\xe2(\x82",
        "\xe2\x82(",
        "\xf0\x9f\x90(",
        "abcdefgh\xff",
        "abcdefg\xc3",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_false(utf8_is_valid(slice_text(texts[i])));
    }
}

/* Encode as RFC 3629 says, the other way round. */
static size_t encode(uint32_t code_point, uint8_t out[4])
{
    if (code_point < 0x80) {
        out[0] = (uint8_t)code_point;
        return 1;
    }
    if (code_point < 0x800) {
        out[0] = (uint8_t)(0xc0 | code_point >> 6);
        out[1] = (uint8_t)(0x80 | (code_point & 0x3f));
        return 2;
    }
    if (code_point < 0x10000) {
        out[0] = (uint8_t)(0xe0 | code_point >> 12);
        out[1] = (uint8_t)(0x80 | (code_point >> 6 & 0x3f));
        out[2] = (uint8_t)(0x80 | (code_point & 0x3f));
        return 3;
    }
    out[0] = (uint8_t)(0xf0 | code_point >> 18);
    out[1] = (uint8_t)(0x80 | (code_point >> 12 & 0x3f));
    out[2] = (uint8_t)(0x80 | (code_point >> 6 & 0x3f));
    out[3] = (uint8_t)(0x80 | (code_point & 0x3f));
    return 4;
}

static void every_code_point_is_read_back_and_only_those(void **state)
{
    (void)state;
    for (uint32_t code_point = 0; code_point < 0x110000; code_point++) {
        uint8_t bytes[4];
        uint32_t got = UINT32_MAX;
        size_t count = encode(code_point, bytes);
        bool is_surrogate = code_point >= 0xd800 && code_point <= 0xdfff;
        uint32_t length = utf8_first(slice_of(bytes, count), &got);
        if (length != (is_surrogate ? 0 : count) ||
            got != (is_surrogate ? UINT32_MAX : code_point)) {
            fail_msg("U+%X", code_point);
        }
    }
    /* Of all sequences of two and three bytes, as many are well-formed as there are characters. */
    uint32_t two = 0, three = 0, ignored;
    for (uint32_t bits = 0; bits < 1u << 24; bits++) {
        uint8_t bytes[3] = {(uint8_t)(bits >> 16), (uint8_t)(bits >> 8), (uint8_t)bits};
        three += utf8_first(slice_of(bytes, 3), &ignored) == 3;
        two += bytes[2] == 0 && utf8_first(slice_of(bytes, 2), &ignored) == 2;
    }
    assert_int_equal(two, 0x800 - 0x80);
    assert_int_equal(three, 0x10000 - 0x800 - 0x800);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(well_formed_text_is_valid),
        cmocka_unit_test(a_null_character_is_never_valid),
        cmocka_unit_test(ill_formed_text_is_refused),
        cmocka_unit_test(every_code_point_is_read_back_and_only_those),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
