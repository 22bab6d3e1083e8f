#include "bench/report/report.h"
#include "bench/scenario/scenario.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct report report;

static void fill(void)
{
    memset(&report, 0, sizeof(report));
    report.scenario = "pairs";
    report.publisher_count = report.subscriber_count = 2;
    report.window_ns = 2000000000;
    report.delivered_count = 1000;
    report.has_target = true;
    report.target_before.cpu_ns = 5000000;
    report.target_after.cpu_ns = 9000000;
    report.target_before.resident_bytes = 1000000;
    report.target_after.resident_bytes = 3000000;
    report.sent_count = report.received_count = 1200;
    histogram_add(&report.latency, 1000);
}

static void figures_are_per_message_and_per_second(void **state)
{
    (void)state;
    fill();
    assert_true(report_per_second(&report) == 500);
    assert_true(report_cpu_us(&report) == 4);
    report.connected_count = 100;
    assert_true(report_per_second(&report) == 50);
    assert_true(report_cpu_us(&report) == 40);
    report.idle_count = 1000;
    assert_true(report_idle_bytes(&report) == 2000);
}

static void what_is_not_known_is_zero_and_not_a_division_by_it(void **state)
{
    (void)state;
    fill();
    report.has_target = false;
    assert_true(report_cpu_us(&report) == 0);
    assert_true(report_idle_bytes(&report) == 0);
    fill();
    report.delivered_count = report.window_ns = 0;
    assert_true(report_cpu_us(&report) == 0);
    assert_true(report_per_second(&report) == 0);
}

static void any_violation_makes_a_run_unclean(void **state)
{
    uint64_t *const counts[] = {&report.lost_count, &report.repeated_count, &report.corrupt_count,
                                &report.disordered_count, &report.refused_count};
    (void)state;
    fill();
    assert_true(report_is_clean(&report));
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        *counts[i] = 1;
        assert_false(report_is_clean(&report));
        *counts[i] = 0;
    }
    report.is_stalled = true;
    assert_false(report_is_clean(&report));
}

static json_t *as_json(void)
{
    char *text = NULL;
    size_t count = 0;
    FILE *out = open_memstream(&text, &count);
    report_print_json(&report, out);
    fclose(out);
    json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    free(text);
    assert_non_null(json);
    return json;
}

static void the_json_is_json_and_says_the_same(void **state)
{
    (void)state;
    fill();
    report.idle_count = 4;
    json_t *json = as_json();
    assert_string_equal(json_string_value(json_object_get(json, "scenario")), "pairs");
    assert_true(json_number_value(json_object_get(json, "broker_cpu_us")) == 4);
    assert_int_equal(json_integer_value(json_object_get(json, "delivered")), 1000);
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(json, "latency_ns"), "p50")), 1000);
    assert_true(json_is_true(json_object_get(json, "clean")));
    json_decref(json);
    report.has_target = false;
    report.lost_count = 3;
    json = as_json();
    assert_null(json_object_get(json, "broker_cpu_us"));
    assert_true(json_is_false(json_object_get(json, "clean")));
    json_decref(json);
}

static void options_that_make_no_sense_run_nothing(void **state)
{
    struct scenario_options options = {
        .payload_bytes = 64, .window = 4, .burst = 8, .seconds = 1, .count = 1};
    (void)state;
    assert_null(scenario_find("no such"));
    const struct scenario *pairs = scenario_find("pairs");
    assert_non_null(pairs);
    assert_int_equal(scenario_run(pairs, &options, &report), ERR_INVALID); /* burst > window */
    options.burst = 1;
    options.payload_bytes = 23;
    assert_int_equal(scenario_run(pairs, &options, &report), ERR_INVALID); /* no room for a stamp */
    options.payload_bytes = 64;
    options.qos = 3;
    assert_int_equal(scenario_run(pairs, &options, &report), ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_are_per_message_and_per_second),
        cmocka_unit_test(what_is_not_known_is_zero_and_not_a_division_by_it),
        cmocka_unit_test(any_violation_makes_a_run_unclean),
        cmocka_unit_test(the_json_is_json_and_says_the_same),
        cmocka_unit_test(options_that_make_no_sense_run_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
