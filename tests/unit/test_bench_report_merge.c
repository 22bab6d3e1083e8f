#include "bench/report/report_merge.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SECOND_NS ((uint64_t)1000000000)

static struct report a, b; /* too large for a stack */

static void clear(void)
{
    memset(&a, 0, sizeof(a));
    memset(&b, 0, sizeof(b));
    a.scenario = b.scenario = "pairs";
}

static void counts_add_up_and_what_is_of_the_whole_run_stays(void **state)
{
    (void)state;
    clear();
    a.publisher_count = b.publisher_count = 64;
    a.rate = b.rate = 1000;
    a.window_ns = 5 * SECOND_NS;
    b.window_ns = 5 * SECOND_NS + 7;
    a.delivered_count = 10, b.delivered_count = 1;
    a.connected_count = 20, b.connected_count = 2;
    a.bench_cpu_ns = 30, b.bench_cpu_ns = 3;
    a.sent_count = 40, b.sent_count = 4;
    a.received_count = 50, b.received_count = 5;
    a.rate_reached = 600, b.rate_reached = 300;
    a.unsent_count = 0, b.unsent_count = 9;
    a.clock_error_ns = 70, b.clock_error_ns = 60;
    a.idle_count = 100, b.idle_count = 200;
    a.generator_count = 2;
    a.handshake_count = 11, b.handshake_count = 5;
    a.resumed_count = 10, b.resumed_count = 4;
    snprintf(b.agreed, sizeof(b.agreed), "TLSv1.3");
    b.is_resuming = true;
    assert_int_equal(report_merge(&a, &b), OK);
    assert_int_equal(a.publisher_count, 64);
    assert_int_equal(a.handshake_count, 16);
    assert_int_equal(a.resumed_count, 14);
    assert_string_equal(a.agreed, "TLSv1.3");
    assert_true(a.is_resuming);
    assert_true(a.rate == 1000);
    assert_true(a.window_ns == 5 * SECOND_NS + 7);
    assert_int_equal(a.delivered_count, 11);
    assert_int_equal(a.connected_count, 22);
    assert_int_equal(a.bench_cpu_ns, 33);
    assert_int_equal(a.sent_count, 44);
    assert_int_equal(a.received_count, 55);
    assert_true(a.rate_reached == 900);
    assert_int_equal(a.unsent_count, 9);
    assert_int_equal(a.clock_error_ns, 70); /* the worst of them bounds all */
    assert_int_equal(a.idle_count, 300);
    assert_int_equal(a.generator_count, 3); /* one that says nothing is one */
    assert_true(report_is_clean(&a));
}

/* The kinds that a report lists: one that is new and not merged is found by this. */
static uint32_t violation_kinds(void)
{
    struct report_violation violation;
    uint32_t cursor = 0, count = 0;
    while (report_violation_next(&a, &cursor, &violation)) {
        count++;
    }
    return count;
}

static void a_violation_of_any_member_is_one_of_the_run(void **state)
{
    uint64_t *counts[] = {&b.lost_count,    &b.repeated_count,     &b.disordered_count,
                          &b.corrupt_count, &b.misdelivered_count, &b.forgotten_count,
                          &b.refused_count};
    enum { COUNTS = sizeof(counts) / sizeof(counts[0]) };
    (void)state;
    clear();
    assert_int_equal(violation_kinds(), COUNTS + 1);
    for (uint32_t kind = 0; kind <= COUNTS; kind++) {
        clear();
        if (kind < COUNTS) {
            *counts[kind] = 1;
        } else {
            b.is_stalled = true;
        }
        assert_int_equal(report_merge(&a, &b), OK);
        assert_false(report_is_clean(&a));
    }
}

static void latencies_merge_as_if_one_had_seen_all(void **state)
{
    static struct histogram all;
    (void)state;
    clear();
    memset(&all, 0, sizeof(all));
    for (uint64_t i = 1; i <= 1000; i++) {
        histogram_add(i % 3 == 0 ? &a.latency : &b.latency, i * 997);
        histogram_add(&all, i * 997);
    }
    assert_int_equal(report_merge(&a, &b), OK);
    assert_int_equal(a.latency.count, 1000);
    for (uint32_t percent = 0; percent <= 100; percent++) {
        assert_true(histogram_quantile(&a.latency, percent / 100.0) ==
                    histogram_quantile(&all, percent / 100.0));
    }
}

static void the_broker_is_measured_once(void **state)
{
    (void)state;
    clear();
    b.has_target = true;
    b.target_before.cpu_ns = 10;
    b.target_after.cpu_ns = 30;
    assert_int_equal(report_merge(&a, &b), OK);
    assert_true(a.has_target && a.target_before.cpu_ns == 10 && a.target_after.cpu_ns == 30);
    b.target_after.cpu_ns = 99;
    assert_int_equal(report_merge(&a, &b), OK);
    assert_int_equal(a.target_after.cpu_ns, 30);
}

static void fill_members(struct report *report, const uint64_t *deliveries, uint32_t count)
{
    double squares = 0;
    report->member_count = count;
    report->member_min = UINT64_MAX;
    for (uint32_t i = 0; i < count; i++) {
        report->received_count += deliveries[i];
        squares += (double)deliveries[i] * (double)deliveries[i];
        if (deliveries[i] < report->member_min) {
            report->member_min = deliveries[i];
        }
        if (deliveries[i] > report->member_max) {
            report->member_max = deliveries[i];
        }
    }
    double sum = (double)report->received_count;
    report->jain = sum * sum / ((double)count * squares);
}

static void fairness_is_that_of_the_whole_group(void **state)
{
    static struct report whole;
    static const uint64_t deliveries[] = {100, 200, 50, 400, 10};
    (void)state;
    clear();
    memset(&whole, 0, sizeof(whole));
    fill_members(&a, deliveries, 2);
    fill_members(&b, deliveries + 2, 3);
    fill_members(&whole, deliveries, 5);
    assert_int_equal(report_merge(&a, &b), OK);
    assert_int_equal(a.member_count, 5);
    assert_int_equal(a.member_min, 10);
    assert_int_equal(a.member_max, 400);
    assert_true(a.jain > whole.jain - 1e-9 && a.jain < whole.jain + 1e-9);
}

static void a_generator_without_members_of_the_group_changes_no_fairness(void **state)
{
    static const uint64_t deliveries[] = {100, 300};
    (void)state;
    clear();
    fill_members(&b, deliveries, 2);
    assert_int_equal(report_merge(&a, &b), OK); /* a had none */
    assert_int_equal(a.member_count, 2);
    assert_int_equal(a.member_min, 100);
    double jain = a.jain;
    memset(&b, 0, sizeof(b));
    assert_int_equal(report_merge(&a, &b), OK); /* b has none */
    assert_int_equal(a.member_count, 2);
    assert_int_equal(a.member_min, 100);
    assert_true(a.jain == jain);
}

static void phases_merge_by_their_place(void **state)
{
    (void)state;
    clear();
    a.phase_count = 1;
    a.phases[0] = (struct report_phase){.name = "store", .count = 10, .ns = 500, .p99_ns = 7};
    b.phase_count = 2;
    b.phases[0] = (struct report_phase){.name = "store", .count = 20, .ns = 400, .p99_ns = 9};
    b.phases[1] = (struct report_phase){.name = "drain", .count = 5, .ns = 100};
    assert_int_equal(report_merge(&a, &b), OK);
    assert_int_equal(a.phase_count, 2);
    assert_int_equal(a.phases[0].count, 30);
    assert_int_equal(a.phases[0].ns, 500); /* at the same time, not one after the other */
    assert_int_equal(a.phases[0].p99_ns, 9);
    assert_string_equal(a.phases[1].name, "drain");
    assert_int_equal(a.phases[1].count, 5);
}

static struct series *series_with(uint64_t deliveries)
{
    struct series *series = series_new();
    assert_non_null(series);
    series_begin(series, 0);
    for (uint64_t i = 0; i < deliveries; i++) {
        series_delivery(series, i * SECOND_NS / 2, 1000 * (i + 1));
        series_sent(series, i * SECOND_NS / 2, 2);
    }
    series_end(series, deliveries * SECOND_NS / 2, NULL);
    return series;
}

static void seconds_merge_by_their_number(void **state)
{
    (void)state;
    clear();
    a.series = series_with(2);                        /* one second */
    struct series *other = b.series = series_with(6); /* three */
    assert_int_equal(report_merge(&a, &b), OK);
    assert_int_equal(series_count(a.series), 3);
    assert_int_equal(series_second(a.series, 0)->delivered_count, 4);
    assert_int_equal(series_second(a.series, 0)->sent_count, 8);
    assert_int_equal(series_second(a.series, 2)->delivered_count, 2);
    assert_int_equal(series_second(a.series, 2)->max_ns, 6000);
    assert_int_equal(series_count(other), 3); /* the member's is as it was */
    series_free(a.series);
    series_free(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_add_up_and_what_is_of_the_whole_run_stays),
        cmocka_unit_test(a_violation_of_any_member_is_one_of_the_run),
        cmocka_unit_test(latencies_merge_as_if_one_had_seen_all),
        cmocka_unit_test(the_broker_is_measured_once),
        cmocka_unit_test(fairness_is_that_of_the_whole_group),
        cmocka_unit_test(a_generator_without_members_of_the_group_changes_no_fairness),
        cmocka_unit_test(phases_merge_by_their_place),
        cmocka_unit_test(seconds_merge_by_their_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
