#include "core/base/rng.h"
#include "core/base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void numbers_are_read_to_their_last_digit_and_no_further(void **state)
{
    uint64_t u = 7;
    int64_t i = 7;
    (void)state;
    assert_int_equal(text_read_u64(slice_text("18446744073709551615"), &u), OK);
    assert_true(u == UINT64_MAX);
    assert_int_equal(text_read_u64(slice_text("000"), &u), OK);
    assert_int_equal(u, 0);
    u = 7;
    assert_int_equal(text_read_u64(slice_text("18446744073709551616"), &u), ERR_RANGE);
    assert_int_equal(text_read_u64(slice_text("99999999999999999999999"), &u), ERR_RANGE);
    static const char *const no_numbers[] = {"", "-1", "+1", " 1", "1 ", "1a", "0x10", "1.0"};
    for (size_t n = 0; n < sizeof(no_numbers) / sizeof(no_numbers[0]); n++) {
        assert_int_equal(text_read_u64(slice_text(no_numbers[n]), &u), ERR_INVALID);
    }
    assert_int_equal(u, 7); /* out is written only on OK */

    assert_int_equal(text_read_i64(slice_text("-9223372036854775808"), &i), OK);
    assert_true(i == INT64_MIN);
    assert_int_equal(text_read_i64(slice_text("9223372036854775807"), &i), OK);
    assert_true(i == INT64_MAX);
    assert_int_equal(text_read_i64(slice_text("9223372036854775808"), &i), ERR_RANGE);
    assert_int_equal(text_read_i64(slice_text("-9223372036854775809"), &i), ERR_RANGE);
    assert_int_equal(text_read_i64(slice_text("--1"), &i), ERR_INVALID);
    assert_int_equal(text_read_i64(slice_text("-"), &i), ERR_INVALID);
}

static void sizes_and_durations_have_units(void **state)
{
    static const struct {
        const char *text;
        uint64_t number;
    } sizes[] = {{"0", 0},
                 {"1536", 1536},
                 {"7B", 7},
                 {"64KiB", 65536},
                 {"64K", 65536},
                 {"100MB", 100000000},
                 {"1G", 1u << 30},
                 {"16383P", 0},
                 {"2TiB", 2ull << 40},
                 {"3TB", 3000000000000},
                 {"16777215T", 16777215ull << 40}},
      times[] = {{"30s", 30000},   {"30", 30000},     {"5m", 300000},   {"2h", 7200000},
                 {"1d", 86400000}, {"1w", 604800000}, {"1500ms", 1500}, {"0", 0}};
    uint64_t number = 0;
    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        bool is_known = strchr(sizes[i].text, 'P') == NULL;
        assert_int_equal(text_read_bytes(slice_text(sizes[i].text), &number),
                         is_known ? OK : ERR_INVALID);
        assert_true(!is_known || number == sizes[i].number);
    }
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        assert_int_equal(text_read_duration_ms(slice_text(times[i].text), &number), OK);
        assert_true(number == times[i].number);
    }
    assert_int_equal(text_read_bytes(slice_text("16777216T"), &number), ERR_RANGE);
    assert_int_equal(text_read_bytes(slice_text("18446744073709551616"), &number), ERR_RANGE);
    static const char *const wrong[] = {"", "K", "-1K", "1 K", "1k", "1KiBs", "1.5G", "s"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(text_read_bytes(slice_text(wrong[i]), &number), ERR_INVALID);
        assert_int_equal(text_read_duration_ms(slice_text(wrong[i]), &number), ERR_INVALID);
    }
}

static void what_is_written_is_read_back(void **state)
{
    struct rng rng;
    char text[TEXT_NUMBER_BYTES];
    uint64_t back;
    (void)state;
    assert_string_equal(text_bytes(0, text), "0");
    assert_string_equal(text_bytes(65536, text), "64KiB");
    assert_string_equal(text_bytes(100000000, text), "100000000");
    assert_string_equal(text_bytes(3ull << 40, text), "3TiB");
    assert_string_equal(text_duration(90000, text), "90s");
    assert_string_equal(text_duration(1500, text), "1500ms");
    assert_string_equal(text_duration(86400000, text), "1d");
    rng_init(&rng, 1);
    for (int i = 0; i < 10000; i++) {
        uint64_t number = rng_u64(&rng) >> rng_below(&rng, 64) << rng_below(&rng, 30);
        assert_int_equal(text_read_bytes(slice_text(text_bytes(number, text)), &back), OK);
        assert_true(back == number);
        assert_int_equal(text_read_duration_ms(slice_text(text_duration(number, text)), &back), OK);
        assert_true(back == number);
    }
}

static void hex_goes_both_ways(void **state)
{
    static const uint8_t bytes[] = {0x00, 0x7f, 0xa5, 0xff};
    char text[8];
    uint8_t back[4] = {9, 9, 9, 9};
    (void)state;
    text_hex(slice_of(bytes, 4), text);
    assert_memory_equal(text, "007fa5ff", 8);
    assert_int_equal(text_read_hex(slice_text("007FA5ff"), back), OK);
    assert_memory_equal(back, bytes, 4);
    memset(back, 9, 4);
    assert_int_equal(text_read_hex(slice_text("007"), back), ERR_INVALID);
    assert_int_equal(text_read_hex(slice_text("00g0"), back), ERR_INVALID);
    assert_int_equal(text_read_hex(slice_text("00 0"), back), ERR_INVALID);
    assert_int_equal(back[0], 9); /* written only on OK */
}

/* RFC 4648, section 10. */
static void base64_knows_the_vectors_of_its_rfc(void **state)
{
    static const struct {
        const char *plain, *padded, *url;
    } rows[] = {{"", "", ""},
                {"f", "Zg==", "Zg"},
                {"fo", "Zm8=", "Zm8"},
                {"foo", "Zm9v", "Zm9v"},
                {"foob", "Zm9vYg==", "Zm9vYg"},
                {"fooba", "Zm9vYmE=", "Zm9vYmE"},
                {"foobar", "Zm9vYmFy", "Zm9vYmFy"},
                {"\xfb\xff", "+/8=", "-_8"}};
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char out[16];
        uint8_t back[16];
        size_t count = text_base64(TEXT_BASE64, slice_text(rows[i].plain), out);
        assert_true(slice_is(slice_of(out, count), rows[i].padded));
        assert_int_equal(text_read_base64(TEXT_BASE64, slice_of(out, count), back, &count), OK);
        assert_true(slice_is(slice_of(back, count), rows[i].plain));
        count = text_base64(TEXT_BASE64_URL, slice_text(rows[i].plain), out);
        assert_true(slice_is(slice_of(out, count), rows[i].url));
        assert_int_equal(text_read_base64(TEXT_BASE64_URL, slice_of(out, count), back, &count), OK);
        assert_true(slice_is(slice_of(back, count), rows[i].plain));
    }
}

static void base64_is_strict(void **state)
{
    static const char *const padded[] = {"Zg",
                                         "Zg=",
                                         "Z===",
                                         "====",
                                         "Zh==",
                                         "Zm9=",
                                         "Zg==Zg==",
                                         "Zm 8=",
                                         "Zm8-",
                                         "Zg=a",
                                         "\xff\xff\xff\xff",
                                         "Zm9v\n"};
    static const char *const url[] = {"Z", "Zg==", "Zh", "Zm9", "Zm8+", "Zm8/", "Zm9vY"};
    uint8_t out[16];
    size_t count = 77;
    (void)state;
    for (size_t i = 0; i < sizeof(padded) / sizeof(padded[0]); i++) {
        assert_int_equal(text_read_base64(TEXT_BASE64, slice_text(padded[i]), out, &count),
                         ERR_INVALID);
    }
    for (size_t i = 0; i < sizeof(url) / sizeof(url[0]); i++) {
        assert_int_equal(text_read_base64(TEXT_BASE64_URL, slice_text(url[i]), out, &count),
                         ERR_INVALID);
    }
    assert_int_equal(count, 77);
}

static void base64_goes_both_ways_for_any_bytes(void **state)
{
    struct rng rng;
    (void)state;
    rng_init(&rng, 3);
    for (size_t count = 0; count < 200; count++) {
        uint8_t bytes[200], back[TEXT_BASE64_READ_BYTES(TEXT_BASE64_BYTES(200))];
        char text[TEXT_BASE64_BYTES(200)];
        for (size_t i = 0; i < count; i++) {
            bytes[i] = (uint8_t)rng_u64(&rng);
        }
        for (int kind = TEXT_BASE64; kind <= TEXT_BASE64_URL; kind++) {
            size_t written = text_base64((enum text_base64)kind, slice_of(bytes, count), text);
            size_t got = 0;
            assert_true(kind == TEXT_BASE64_URL || written == TEXT_BASE64_BYTES(count));
            assert_int_equal(
                text_read_base64((enum text_base64)kind, slice_of(text, written), back, &got), OK);
            assert_true(slice_equal(slice_of(back, got), slice_of(bytes, count)));
        }
    }
}

static void case_is_ignored_for_ascii_letters_only(void **state)
{
    (void)state;
    assert_true(text_equal_nocase(slice_text("Upgrade"), slice_text("uPGRADE")));
    assert_true(text_equal_nocase(slice_of(NULL, 0), slice_text("")));
    assert_false(text_equal_nocase(slice_text("a"), slice_text("ab")));
    assert_false(
        text_equal_nocase(slice_text("@"), slice_text("`"))); /* apart by 0x20, no letters */
    assert_false(text_equal_nocase(slice_text("\xc3\x84"), slice_text("\xc3\xa4")));
}

static const char *nearest_of(const char *wanted)
{
    static const char *const words[] = {"listener",        "port",
                                        "max_packet_size", "max_queued_messages",
                                        "log_dest",        "log_type",
                                        "threads",         "user"};
    struct text_nearest nearest = text_nearest(slice_text(wanted));
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        text_nearest_offer(&nearest, words[i]);
    }
    return nearest.word;
}

static void a_word_with_a_slip_finds_the_word_that_was_meant(void **state)
{
    char long_word[100];
    (void)state;
    assert_string_equal(nearest_of("listner"), "listener");
    assert_string_equal(nearest_of("lisetner"), "listener");
    assert_string_equal(nearest_of("max_paket_size"), "max_packet_size");
    assert_string_equal(nearest_of("maxpacketsize"), "max_packet_size");
    assert_string_equal(nearest_of("log_typ"), "log_type");
    assert_string_equal(nearest_of("prot"), "port"); /* a swap is one slip */
    assert_null(nearest_of("elephant"));
    assert_null(nearest_of(""));
    memset(long_word, 'a', sizeof(long_word));
    long_word[99] = 0;
    assert_null(nearest_of(long_word));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_read_to_their_last_digit_and_no_further),
        cmocka_unit_test(sizes_and_durations_have_units),
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(hex_goes_both_ways),
        cmocka_unit_test(base64_knows_the_vectors_of_its_rfc),
        cmocka_unit_test(base64_is_strict),
        cmocka_unit_test(base64_goes_both_ways_for_any_bytes),
        cmocka_unit_test(case_is_ignored_for_ascii_letters_only),
        cmocka_unit_test(a_word_with_a_slip_finds_the_word_that_was_meant),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
