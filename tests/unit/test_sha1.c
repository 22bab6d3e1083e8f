#include "core/wire/sha1.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void assert_digest(struct slice in, const char *hex)
{
    uint8_t digest[SHA1_BYTES];
    char text[2 * SHA1_BYTES + 1];
    sha1(in, digest);
    for (size_t i = 0; i < SHA1_BYTES; i++) {
        snprintf(text + 2 * i, 3, "%02x", digest[i]);
    }
    assert_string_equal(text, hex);
}

/* The examples that NIST publishes beside FIPS 180. */
static void the_published_examples_come_out(void **state)
{
    (void)state;
    assert_digest(slice_text(""), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    assert_digest(slice_text("abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
    assert_digest(slice_text("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
                  "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
    uint8_t *million = malloc(1000000);
    assert_non_null(million);
    memset(million, 'a', 1000000);
    assert_digest(slice_of(million, 1000000), "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
    free(million);
}

/* The padding changes from one block to two between 55 and 56 bytes; values from coreutils. */
static void lengths_around_a_block_border_are_padded_right(void **state)
{
    static const struct {
        size_t count;
        const char *hex;
    } rows[] = {
        {55, "c1c8bbdc22796e28c0e15163d20899b65621d65a"},
        {56, "c2db330f6083854c99d4b5bfb6e8f29f201be699"},
        {63, "03f09f5b158a7a8cdad920bddc29b81c18a551f5"},
        {64, "0098ba824b5c16427bd7a1122a5a442a25ec644d"},
        {65, "11655326c708d70319be2610e8a57d9a5b959d3b"},
    };
    uint8_t bytes[65];
    (void)state;
    memset(bytes, 'a', sizeof(bytes));
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_digest(slice_of(bytes, rows[i].count), rows[i].hex);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_published_examples_come_out),
        cmocka_unit_test(lengths_around_a_block_border_are_padded_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
