#include "core/base/trail.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static void the_newest_record_comes_first_and_the_oldest_goes(void **state)
{
    struct trail *trail = trail_new(3);
    (void)state;
    assert_null(trail_at(trail, 0));
    for (uint64_t i = 1; i <= 5; i++) {
        char client[8];
        snprintf(client, sizeof(client), "c%llu", (unsigned long long)i);
        trail_add(trail, i * 100, TRAIL_DROP_EXPIRED, ERR_QUOTA, slice_text(client),
                  slice_text("a/b"));
    }
    for (uint32_t index = 0; index < 3; index++) {
        const struct trail_record *record = trail_at(trail, index);
        assert_non_null(record);
        assert_int_equal(record->wall_ms, (5 - index) * 100);
        assert_int_equal(record->what, TRAIL_DROP_EXPIRED);
        assert_int_equal(record->why, ERR_QUOTA);
        assert_int_equal(record->client_bytes, 2);
        assert_int_equal(record->client[1], '5' - (char)index);
        assert_true(slice_is(slice_of(record->topic, record->topic_bytes), "a/b"));
    }
    assert_null(trail_at(trail, 3));
    trail_free(trail);
}

static void long_texts_are_cut_between_characters(void **state)
{
    struct trail *trail = trail_new(1);
    char plain[200], umlauts[200];
    (void)state;
    for (size_t i = 0; i < sizeof(plain); i++) {
        plain[i] = 'a';
        umlauts[i] = i == 0 ? 'x' : i % 2 == 1 ? '\xc3' : '\xbc';
    }
    trail_add(trail, 1, TRAIL_DISCONNECTED, OK, slice_of(plain, sizeof(plain)),
              slice_of(umlauts, sizeof(umlauts) - 1));
    const struct trail_record *record = trail_at(trail, 0);
    assert_int_equal(record->client_bytes, TRAIL_CLIENT_MAX);
    assert_int_equal(record->topic_bytes, TRAIL_TOPIC_MAX - 1); /* not half of the next one */
    trail_add(trail, 2, TRAIL_DISCONNECTED, OK, slice_of(NULL, 0), slice_of(NULL, 0));
    assert_int_equal(trail_at(trail, 0)->client_bytes, 0);
    trail_free(trail);
}

static void every_reason_has_a_name(void **state)
{
    (void)state;
    for (int i = 0; i < TRAIL_COUNT; i++) {
        assert_true(trail_name((enum trail_what)i)[0] != 0);
    }
    assert_string_equal(trail_name(TRAIL_DROP_EXPIRED), "expired");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_newest_record_comes_first_and_the_oldest_goes),
        cmocka_unit_test(long_texts_are_cut_between_characters),
        cmocka_unit_test(every_reason_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
