/* bench/pace, bench/bottleneck: an open loop keeps its moments, and says when it could not. */
#include "bench/scenario/bottleneck.h"
#include "bench/scenario/pace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define SECOND_NS ((uint64_t)1000000000)

static struct pace pace; /* too large for a stack */

static void moments_are_evenly_spaced_and_go_round_the_publishers(void **state)
{
    (void)state;
    pace_init(&pace, 1000, SECOND_NS, 3, NULL);
    pace_begin(&pace, 5 * SECOND_NS);
    for (uint32_t k = 0; k < 1000; k++) {
        assert_int_equal(pace_next_ns(&pace), 5 * SECOND_NS + k * (uint64_t)1000000);
        assert_int_equal(pace_moment_ns(&pace, k % 3, k / 3), pace_next_ns(&pace));
        assert_int_equal(pace_visit(&pace, pace_next_ns(&pace)), k % 3);
    }
    assert_true(pace_next_ns(&pace) == UINT64_MAX);
}

/* What is sent is the rate times the time, to the message, whatever the fractions. */
static void there_are_as_many_moments_as_rate_times_duration(void **state)
{
    static const struct {
        double rate, seconds;
        uint64_t count;
    } rows[] = {
        {500, 0.6, 300}, {1000, 1.1, 1100}, {333, 3, 999},       {7, 0.5, 4},
        {1, 0.1, 1},     {3, 1, 3},         {100000, 6, 600000}, {0.1, 30, 3},
    };
    (void)state;
    for (uint32_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (uint32_t publishers = 1; publishers < 9; publishers++) {
            uint64_t turns = 0;
            pace_init(&pace, rows[i].rate, (uint64_t)(rows[i].seconds * 1e9), publishers, NULL);
            for (uint32_t p = 0; p < publishers; p++) {
                turns += pace_turn_count(&pace, p);
            }
            assert_int_equal(turns, rows[i].count);
            assert_int_equal(pace.moment_count, rows[i].count);
        }
    }
}

static void a_late_visit_is_written_down_and_changes_no_moment(void **state)
{
    (void)state;
    pace_init(&pace, 10, SECOND_NS, 1, NULL);
    pace_begin(&pace, SECOND_NS);
    pace_visit(&pace, 3 * SECOND_NS); /* warm-up: not written down */
    assert_int_equal(pace.lateness.count, 0);
    pace.is_measuring = true;
    assert_int_equal(pace_next_ns(&pace), SECOND_NS + SECOND_NS / 10);
    pace_visit(&pace, SECOND_NS + SECOND_NS / 2);
    assert_int_equal(pace_next_ns(&pace), SECOND_NS + SECOND_NS / 5);
    assert_int_equal(pace.lateness.count, 1);
    assert_int_equal(pace.lateness.value_max, SECOND_NS * 2 / 5);
}

static void a_generator_is_the_bottleneck_for_each_reason_by_itself(void **state)
{
    static const struct bottleneck_facts good = {
        .own_cores = 0.5,
        .lateness_p99_ns = 60e3,
        .latency_p99_ns = 300e3,
        .rate = 1000,
        .rate_reached = 1000,
        .has_broker_cores = true,
        .broker_cores = 0.3,
    };
    struct bottleneck_facts facts = good;
    (void)state;
    assert_false(bottleneck_is_generator(&facts));
    facts.own_cores = 0.96;
    assert_true(bottleneck_is_generator(&facts));

    facts = good;
    facts.lateness_p99_ns = 2e6;
    facts.latency_p99_ns = 5e6;
    assert_true(bottleneck_is_generator(&facts));
    facts.latency_p99_ns = 0; /* nothing came: late for what? */
    assert_false(bottleneck_is_generator(&facts));
    facts.latency_p99_ns = 50e6; /* late, but it is not what was measured */
    assert_false(bottleneck_is_generator(&facts));

    facts = good;
    facts.rate_reached = 900;
    assert_true(bottleneck_is_generator(&facts));
    facts.broker_cores = 0.97; /* the broker was the bottleneck */
    assert_false(bottleneck_is_generator(&facts));
    facts.has_broker_cores = false;
    assert_true(bottleneck_is_generator(&facts));
    facts.is_held_back = true; /* it did not read what was sent */
    assert_false(bottleneck_is_generator(&facts));
    facts.is_held_back = false;
    facts.rate = 0; /* a closed loop has no rate to miss */
    assert_false(bottleneck_is_generator(&facts));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moments_are_evenly_spaced_and_go_round_the_publishers),
        cmocka_unit_test(there_are_as_many_moments_as_rate_times_duration),
        cmocka_unit_test(a_late_visit_is_written_down_and_changes_no_moment),
        cmocka_unit_test(a_generator_is_the_bottleneck_for_each_reason_by_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
