#include "bench/command/search.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { RATES_MAX = 256 };

/* A broker that answers within 1 ms up to a rate and takes 100 ms beyond it. */
static struct model {
    double capacity;
    double
        generator_from; /* from this rate on the generator says it was the bottleneck; 0: never */
    uint32_t hiccup_at; /* this step breaks, whatever the rate; 0: none */
    uint32_t fail_at, stop_at;
    bool loses, is_slow_to_send, is_silent;
    volatile bool is_stopped;
    uint32_t run_count, kept_count;
    double rates[RATES_MAX];
    double rate_kept;
} model;

static struct report report; /* too large for a stack */
static struct goals goals;

static enum err step(void *context, double rate, const struct report **out)
{
    struct model *m = context;
    assert_true(m->run_count < RATES_MAX);
    m->rates[m->run_count++] = rate;
    if (m->run_count == m->fail_at) {
        return ERR_UNAVAILABLE;
    }
    if (m->run_count == m->stop_at) {
        m->is_stopped = true;
    }
    memset(&report, 0, sizeof(report));
    bool is_good = rate <= m->capacity && m->run_count != m->hiccup_at;
    uint64_t bad_ns = m->run_count == m->hiccup_at ? 900000000 : 100000000;
    histogram_add(&report.latency, is_good || m->loses || m->is_slow_to_send ? 1000000 : bad_ns);
    report.window_ns = 1000000000;
    report.received_count = m->is_silent && !is_good ? 0 : 1;
    report.lost_count = m->loses && !is_good ? 1 : 0;
    report.unsent_count = m->is_slow_to_send && !is_good ? 7 : 0;
    report.is_generator_bound = m->generator_from > 0 && rate >= m->generator_from;
    *out = &report;
    return OK;
}

static void keep(void *context)
{
    struct model *m = context;
    m->kept_count++;
    m->rate_kept = m->rates[m->run_count - 1];
}

static struct search_result search_from(double rate_first)
{
    char problem[GOAL_PROBLEM_BYTES];
    struct search_result result;
    assert_int_equal(goals_read("p99<5ms", &goals, problem), OK);
    struct search search = {
        .goals = &goals,
        .rate_first = rate_first,
        .is_stopped = &model.is_stopped,
        .step = step,
        .keep = keep,
        .context = &model,
    };
    assert_int_equal(search_run(&search, &result), OK);
    return result;
}

static void the_knee_is_found_from_below_and_from_above(void **state)
{
    static const double capacities[] = {1.5, 999, 1000, 1001, 12345, 1e6, 3.3e8};
    static const double firsts[] = {1, 1000, 1e5};
    (void)state;
    for (size_t i = 0; i < sizeof(capacities) / sizeof(capacities[0]); i++) {
        for (size_t j = 0; j < sizeof(firsts) / sizeof(firsts[0]); j++) {
            model = (struct model){.capacity = capacities[i]};
            struct search_result result = search_from(firsts[j]);
            assert_int_equal(result.end, SEARCH_FOUND);
            assert_true(result.rate <= capacities[i]);
            assert_true(result.rate_broken > capacities[i]);
            assert_true(result.rate_broken <= result.rate * SEARCH_PRECISION);
            assert_true(model.rate_kept == result.rate); /* the report kept is the best one's */
            assert_int_equal(result.step_count, model.run_count);
            assert_string_equal(result.why, "p99<5ms: 100 ms");
        }
    }
}

static void one_hiccup_is_not_the_limit(void **state)
{
    (void)state;
    static const uint32_t steps[] = {1, 2, 5, 7, 9}; /* each the first at its rate */
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        uint32_t at = steps[i];
        model = (struct model){.capacity = 50000, .hiccup_at = at};
        struct search_result result = search_from(1000);
        assert_int_equal(result.end, SEARCH_FOUND);
        assert_true(result.rate <= 50000 && result.rate * SEARCH_PRECISION >= 50000);
        assert_true(model.rates[at] == model.rates[at - 1]); /* it was repeated */
        assert_string_equal(result.why, "p99<5ms: 100 ms");  /* and is not what broke in the end */
    }
}

static void loss_and_what_was_never_sent_break_a_step_too(void **state)
{
    (void)state;
    model = (struct model){.capacity = 5000, .loses = true};
    struct search_result result = search_from(1000);
    assert_int_equal(result.end, SEARCH_FOUND);
    assert_true(result.rate <= 5000);
    assert_string_equal(result.why, "lost: 1");
    model = (struct model){.capacity = 5000, .is_slow_to_send = true};
    result = search_from(1000);
    assert_true(result.rate <= 5000);
    assert_string_equal(result.why, "unsent: 7");
}

static void a_broker_that_keeps_nothing_has_no_knee(void **state)
{
    (void)state;
    model = (struct model){.capacity = 0};
    struct search_result result = search_from(1000);
    assert_int_equal(result.end, SEARCH_NOTHING);
    assert_true(result.rate == 0);
    assert_int_equal(model.kept_count, 0);
    assert_true(model.rates[model.run_count - 1] == SEARCH_RATE_LOW);
}

static void a_broker_that_delivers_nothing_is_not_searched_down_to_the_ground(void **state)
{
    (void)state;
    model = (struct model){.capacity = 0, .is_silent = true};
    struct search_result result = search_from(1000);
    assert_int_equal(result.end, SEARCH_SILENCE);
    assert_int_equal(model.run_count, 2);
    assert_true(result.rate == 0 && result.rate_broken == 1000);

    /* Silent only beyond what it can do: that is its knee, or a hiccup. */
    model = (struct model){.capacity = 5000, .is_silent = true};
    result = search_from(1000);
    assert_int_equal(result.end, SEARCH_FOUND);
    assert_true(result.rate <= 5000 && result.rate * SEARCH_PRECISION >= 5000);
    model = (struct model){.capacity = 5000, .is_silent = true, .hiccup_at = 1};
    assert_int_equal(search_from(1000).end, SEARCH_FOUND);
}

static void goals_that_nothing_breaks_come_to_an_end(void **state)
{
    (void)state;
    model = (struct model){.capacity = 1e30};
    struct search_result result = search_from(1000);
    assert_int_equal(result.end, SEARCH_CEILING);
    assert_true(result.rate == SEARCH_RATE_HIGH);
}

static void the_generators_limit_is_not_taken_for_the_brokers(void **state)
{
    (void)state;
    model = (struct model){.capacity = 30000, .generator_from = 30000};
    struct search_result result = search_from(1000);
    assert_int_equal(result.end, SEARCH_GENERATOR);
    assert_true(result.rate == 16000);
    assert_true(result.rate_broken == 32000);

    /* Asked for far too much at first, it goes down until something is kept. */
    model = (struct model){.capacity = 30000, .generator_from = 30000};
    result = search_from(1e6);
    assert_int_equal(result.end, SEARCH_GENERATOR);
    assert_true(result.rate > 0 && result.rate <= 30000);
}

static void the_user_may_stop_it(void **state)
{
    (void)state;
    model = (struct model){.capacity = 50000, .stop_at = 4};
    struct search_result result = search_from(1000);
    assert_int_equal(result.end, SEARCH_STOPPED);
    assert_int_equal(model.run_count, 4);
    assert_int_equal(result.step_count, 3); /* the fourth was cut short and tells nothing */
    assert_true(result.rate == 4000);
}

static void an_error_ends_it(void **state)
{
    struct search_result result = {.rate = 7};
    (void)state;
    model = (struct model){.capacity = 50000, .fail_at = 3};
    struct search search = {
        .goals = &goals, .rate_first = 1000, .step = step, .keep = keep, .context = &model};
    assert_int_equal(search_run(&search, &result), ERR_UNAVAILABLE);
    assert_true(result.rate == 7);
    assert_int_equal(model.run_count, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_knee_is_found_from_below_and_from_above),
        cmocka_unit_test(one_hiccup_is_not_the_limit),
        cmocka_unit_test(loss_and_what_was_never_sent_break_a_step_too),
        cmocka_unit_test(a_broker_that_keeps_nothing_has_no_knee),
        cmocka_unit_test(a_broker_that_delivers_nothing_is_not_searched_down_to_the_ground),
        cmocka_unit_test(goals_that_nothing_breaks_come_to_an_end),
        cmocka_unit_test(the_generators_limit_is_not_taken_for_the_brokers),
        cmocka_unit_test(the_user_may_stop_it),
        cmocka_unit_test(an_error_ends_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
