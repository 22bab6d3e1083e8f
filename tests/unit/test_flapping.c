#include "core/access/flapping.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define S         UINT64_C(1000000000)
#define WINDOW_NS (60 * S)
#define START_NS  (1000 * S)
#define SEEN(at)  flapping_seen(flapping, slice_text("meter"), 5, WINDOW_NS, (at))

static void more_than_so_many_in_a_window_flap_and_are_told_once(void **state)
{
    struct flapping *flapping = flapping_new(1);
    (void)state;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(SEEN(START_NS + (uint64_t)i * S), FLAPPING_NO);
    }
    assert_int_equal(flapping_seen(flapping, slice_text("other"), 5, WINDOW_NS, START_NS),
                     FLAPPING_NO);
    assert_int_equal(SEEN(START_NS + 5 * S), FLAPPING_BEGINS);
    assert_int_equal(SEEN(START_NS + 6 * S), FLAPPING_GOES_ON);
    /* The next window: it goes on, and nobody is told again. */
    for (int i = 0; i < 5; i++) {
        assert_int_equal(SEEN(START_NS + 61 * S + (uint64_t)i * S), FLAPPING_NO);
    }
    assert_int_equal(SEEN(START_NS + 66 * S), FLAPPING_GOES_ON);
    /* A quiet hour: then it begins again. */
    uint64_t later = START_NS + 3600 * S;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(SEEN(later), FLAPPING_NO);
    }
    assert_int_equal(SEEN(later), FLAPPING_BEGINS);
    flapping_free(flapping);
    flapping_free(NULL);
}

static void who_comes_at_that_pace_does_not_flap(void **state)
{
    struct flapping *flapping = flapping_new(1);
    (void)state;
    for (uint64_t i = 0; i < 1000; i++) {
        assert_int_equal(SEEN(START_NS + i * 13 * S), FLAPPING_NO);
    }
    assert_int_equal(flapping_seen(flapping, slice_text("meter"), 0, WINDOW_NS, START_NS),
                     FLAPPING_NO);
    flapping_free(flapping);
}

/* Two devices with one id come by two shards, whose clocks are of the turns they are in. */
static void a_clock_that_is_a_little_behind_forgets_nothing(void **state)
{
    struct flapping *flapping = flapping_new(1);
    (void)state;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(SEEN(START_NS - (uint64_t)i), FLAPPING_NO);
    }
    assert_int_equal(SEEN(START_NS - 5), FLAPPING_BEGINS);
    assert_int_equal(SEEN(START_NS - 6), FLAPPING_GOES_ON);
    flapping_free(flapping);
}

/* Ten times as many ids as there is room for, each seen once, and one that flaps among them. */
static void who_flaps_is_found_in_a_crowd(void **state)
{
    struct flapping *flapping = flapping_new(1);
    enum flapping_verdict verdict = FLAPPING_NO;
    char name[32];
    (void)state;
    for (uint32_t i = 0; i < 10 * FLAPPING_IDS_MAX; i++) {
        uint64_t now = START_NS + i * S / 20000;
        snprintf(name, sizeof(name), "id%u", i);
        assert_int_equal(flapping_seen(flapping, slice_text(name), 5, WINDOW_NS, now), FLAPPING_NO);
        if (i % 20000 == 0 && verdict != FLAPPING_BEGINS) {
            verdict = SEEN(now);
        }
    }
    assert_int_equal(verdict, FLAPPING_BEGINS);
    flapping_free(flapping);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(more_than_so_many_in_a_window_flap_and_are_told_once),
        cmocka_unit_test(who_comes_at_that_pace_does_not_flap),
        cmocka_unit_test(a_clock_that_is_a_little_behind_forgets_nothing),
        cmocka_unit_test(who_flaps_is_found_in_a_crowd),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
