#include "bench/crew/crew_clock.h"
#include "core/base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SECOND_NS ((uint64_t)1000000000)

static void nothing_is_known_before_the_first_answer(void **state)
{
    struct crew_clock clock = {0};
    int64_t offset_ns = 77;
    uint64_t error_ns = 77;
    (void)state;
    assert_false(crew_clock_read(&clock, SECOND_NS, &offset_ns, &error_ns));
    crew_clock_add(&clock, 2000, 500, 1000); /* came back before it went: no answer of ours */
    assert_false(crew_clock_read(&clock, SECOND_NS, &offset_ns, &error_ns));
    assert_true(offset_ns == 77 && error_ns == 77);
}

static void one_machine_has_one_clock(void **state)
{
    struct crew_clock clock = {.is_same = true};
    int64_t offset_ns = 77;
    uint64_t error_ns = 77;
    char name[CREW_CLOCK_NAME_BYTES], again[CREW_CLOCK_NAME_BYTES];
    (void)state;
    crew_clock_add(&clock, 1000, 99999, 2000);
    assert_true(crew_clock_read(&clock, SECOND_NS, &offset_ns, &error_ns));
    assert_true(offset_ns == 0 && error_ns == 0);
    assert_string_equal(crew_clock_name(name), crew_clock_name(again));
}

/* Whatever the two ways of a round trip take, the true offset lies within the bound. */
static void the_truth_lies_within_the_bound(void **state)
{
    struct rng rng;
    (void)state;
    rng_init(&rng, 42);
    for (uint32_t round = 0; round < 1000; round++) {
        struct crew_clock clock = {0};
        uint64_t now_ns = 1 + rng_below(&rng, 1000 * SECOND_NS);
        int64_t truth_ns = (int64_t)rng_below(&rng, 1000 * SECOND_NS) - (int64_t)now_ns;
        uint64_t quickest_ns = UINT64_MAX;
        for (uint32_t i = 0; i < 40; i++) {
            uint64_t there_ns = rng_below(&rng, 3000000), back_ns = rng_below(&rng, 3000000);
            uint64_t answered_ns = now_ns + there_ns + (uint64_t)truth_ns;
            crew_clock_add(&clock, now_ns, answered_ns, now_ns + there_ns + back_ns);
            now_ns += there_ns + back_ns;
            quickest_ns = there_ns + back_ns < quickest_ns ? there_ns + back_ns : quickest_ns;
        }
        int64_t offset_ns;
        uint64_t error_ns;
        assert_true(crew_clock_read(&clock, now_ns, &offset_ns, &error_ns));
        int64_t off_ns = offset_ns > truth_ns ? offset_ns - truth_ns : truth_ns - offset_ns;
        assert_true((uint64_t)off_ns <= error_ns);
        assert_true(error_ns >= quickest_ns / 2);
        assert_true(error_ns <= 1500000 + 3000000);
    }
}

static void the_quickest_answer_counts_until_it_is_too_old(void **state)
{
    struct crew_clock clock = {0};
    int64_t offset_ns;
    uint64_t error_ns;
    (void)state;
    crew_clock_add(&clock, 1000, 6000, 1010);           /* error 5 */
    crew_clock_add(&clock, 2000, 9000, 2000 + 1000000); /* error 500,000 */
    assert_true(crew_clock_read(&clock, 1100000, &offset_ns, &error_ns));
    assert_int_equal(offset_ns, 6000 - 1005);
    uint64_t late_ns = 3600 * SECOND_NS; /* 100 ppm of an hour: 360 ms */
    assert_true(crew_clock_read(&clock, late_ns, &offset_ns, &error_ns));
    assert_true(error_ns > 359 * (SECOND_NS / 1000));
    crew_clock_add(&clock, late_ns, late_ns + 7, late_ns + 1000000);
    assert_true(crew_clock_read(&clock, late_ns + 1000000, &offset_ns, &error_ns));
    assert_int_equal(error_ns, 500000);
    assert_int_equal(offset_ns, 7 - 500000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_known_before_the_first_answer),
        cmocka_unit_test(one_machine_has_one_clock),
        cmocka_unit_test(the_truth_lies_within_the_bound),
        cmocka_unit_test(the_quickest_answer_counts_until_it_is_too_old),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
