#include "bench/report/series.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SECOND ((uint64_t)1000000000)
#define BEGIN  (7 * SECOND) /* any moment: nothing here looks at a clock */

static struct series *series;

static int setup(void **state)
{
    (void)state;
    series = series_new();
    series_begin(series, BEGIN);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    series_free(series);
    return 0;
}

static void a_second_counts_what_came_in_it(void **state)
{
    (void)state;
    series_sent(series, BEGIN, 3);
    series_delivery(series, BEGIN + 1, 1000);
    series_delivery(series, BEGIN + SECOND - 1, 3000);
    assert_false(series_is_due(series, BEGIN + SECOND - 1));
    assert_true(series_is_due(series, BEGIN + SECOND));
    series_tick(series, BEGIN + SECOND, NULL);
    assert_false(series_is_due(series, BEGIN + SECOND));
    series_delivery(series, BEGIN + SECOND, 9000);
    series_end(series, BEGIN + SECOND + SECOND / 2, NULL);
    assert_int_equal(series_count(series), 2);
    const struct series_second *first = series_second(series, 0);
    assert_int_equal(first->length_ns, SECOND);
    assert_int_equal(first->sent_count, 3);
    assert_int_equal(first->delivered_count, 2);
    assert_in_range(first->p50_ns, 1000, 1008);
    assert_int_equal(first->max_ns, 3000);
    assert_false(first->has_target);
    const struct series_second *last = series_second(series, 1);
    assert_int_equal(last->length_ns, SECOND / 2);
    assert_int_equal(last->sent_count, 0);
    assert_int_equal(last->delivered_count, 1);
}

/* I1 */
static void silent_seconds_exist_with_zeros(void **state)
{
    (void)state;
    series_delivery(series, BEGIN, 1000);
    series_delivery(series, BEGIN + 3 * SECOND, 2000);
    series_tick(series, BEGIN + 3 * SECOND, NULL);
    assert_int_equal(series_count(series), 3);
    for (uint32_t i = 1; i < 3; i++) {
        assert_int_equal(series_second(series, i)->length_ns, SECOND);
        assert_int_equal(series_second(series, i)->delivered_count, 0);
        assert_int_equal(series_second(series, i)->max_ns, 0);
        assert_int_equal(series_second(series, i)->cell_count, 0);
    }
}

/* I2 */
static void time_does_not_go_back(void **state)
{
    (void)state;
    series_delivery(series, BEGIN + SECOND, 1000);
    series_delivery(series, BEGIN + 1, 1000);
    series_end(series, BEGIN, NULL);
    assert_int_equal(series_count(series), 2);
    assert_int_equal(series_second(series, 0)->delivered_count, 0);
    assert_int_equal(series_second(series, 1)->delivered_count, 2);
}

static void nothing_counts_before_the_begin_and_after_the_end(void **state)
{
    struct series *other = series_new();
    (void)state;
    series_delivery(other, BEGIN, 1000);
    series_sent(other, BEGIN, 1);
    series_tick(other, BEGIN + SECOND, NULL);
    assert_false(series_is_due(other, BEGIN + SECOND));
    assert_int_equal(series_count(other), 0);
    series_begin(other, BEGIN);
    series_end(other, BEGIN, NULL);
    series_delivery(other, BEGIN + 1, 1000);
    series_end(other, BEGIN + SECOND, NULL);
    assert_int_equal(series_count(other), 0);
    assert_int_equal(series_count(NULL), 0);
    series_free(other);
    series_free(NULL);
}

static void the_brokers_use_is_the_difference_of_two_samples(void **state)
{
    struct target_usage usage = {.cpu_ns = 5 * SECOND, .resident_bytes = 100};
    (void)state;
    series_tick(series, BEGIN, &usage);
    usage.cpu_ns += SECOND / 4;
    usage.resident_bytes = 200;
    series_tick(series, BEGIN + SECOND, &usage);
    usage.cpu_ns += SECOND;
    series_tick(series, BEGIN + 3 * SECOND, &usage); /* of two seconds at once: half a core each */
    assert_int_equal(series_count(series), 3);
    assert_true(series_second(series, 0)->has_target);
    assert_true(series_second(series, 0)->broker_cores == 0.25);
    assert_int_equal(series_second(series, 0)->resident_bytes, 200);
    assert_true(series_second(series, 1)->broker_cores == 0.5);
    assert_true(series_second(series, 2)->broker_cores == 0.5);
    usage.cpu_ns = 0; /* another process with the same id */
    series_tick(series, BEGIN + 4 * SECOND, &usage);
    assert_false(series_second(series, 3)->has_target);
    series_tick(series, BEGIN + 5 * SECOND, NULL);
    assert_false(series_second(series, 4)->has_target);
}

struct told {
    uint32_t count, last_index;
    uint64_t delivered;
};

static void tell(void *context, uint32_t index, const struct series_second *second)
{
    struct told *told = context;
    assert_int_equal(index, told->count);
    told->count++;
    told->delivered += second->delivered_count;
}

static void every_second_is_told_once_and_in_order(void **state)
{
    struct told told = {0};
    (void)state;
    series_on_second(series, tell, &told);
    series_delivery(series, BEGIN, 1000);
    assert_int_equal(told.count, 0);
    series_delivery(series, BEGIN + 2 * SECOND, 1000); /* closes two, which a tick tells */
    assert_int_equal(told.count, 0);
    assert_true(series_is_due(series, BEGIN + 2 * SECOND));
    series_tick(series, BEGIN + 2 * SECOND, NULL);
    assert_int_equal(told.count, 2);
    series_end(series, BEGIN + 2 * SECOND + 1, NULL);
    assert_int_equal(told.count, 3);
    assert_int_equal(told.delivered, 2);
}

static void an_empty_rest_is_no_second(void **state)
{
    (void)state;
    series_end(series, BEGIN + SECOND + 1000, NULL);
    assert_int_equal(series_count(series), 1);
}

static void merging_adds_second_by_second(void **state)
{
    struct series *other = series_new();
    (void)state;
    series_begin(other, 99 * SECOND); /* its own clock; I3 */
    for (uint64_t i = 0; i < 100; i++) {
        series_delivery(series, BEGIN + i, 1000);
        series_delivery(other, 99 * SECOND + i, 100000);
    }
    series_sent(other, 99 * SECOND + SECOND, 5); /* a second that the first has not */
    series_end(series, BEGIN + SECOND, NULL);
    series_end(other, 99 * SECOND + 2 * SECOND, NULL);
    series_mark_window(other, 99 * SECOND, 99 * SECOND + 2 * SECOND);
    assert_int_equal(series_merge(series, other), OK);
    assert_int_equal(series_count(series), 2);
    const struct series_second *first = series_second(series, 0);
    assert_int_equal(first->delivered_count, 200);
    assert_in_range(first->p50_ns, 1000, 1008);
    assert_in_range(first->p99_ns, 100000, 100800);
    assert_int_equal(first->max_ns, 100000);
    assert_int_equal(first->length_ns, SECOND);
    assert_int_equal(series_second(series, 1)->sent_count, 5);
    assert_int_equal(series_window_end_ns(series), 2 * SECOND);
    assert_int_equal(series_count(other), 2); /* untouched */
    assert_int_equal(series_second(other, 0)->delivered_count, 100);
    series_free(other);
}

static void the_brokers_use_is_merged_once(void **state)
{
    struct series *other = series_new();
    struct target_usage usage = {.cpu_ns = 0, .resident_bytes = 50};
    (void)state;
    series_begin(other, BEGIN);
    series_tick(other, BEGIN, &usage);
    usage.cpu_ns = SECOND / 2;
    series_end(other, BEGIN + SECOND, &usage);
    series_end(series, BEGIN + SECOND, NULL);
    assert_int_equal(series_merge(series, other), OK);
    assert_true(series_second(series, 0)->broker_cores == 0.5);
    assert_int_equal(series_merge(series, other), OK); /* known already: not added */
    assert_true(series_second(series, 0)->broker_cores == 0.5);
    series_free(other);
}

static void a_second_that_was_read_may_not_hold_cells_that_cannot_be(void **state)
{
    struct histogram_cell cells[] = {{3, 1}, {HISTOGRAM_CELLS, 1}};
    struct series_second second = {.length_ns = SECOND, .cells = cells, .cell_count = 2};
    (void)state;
    assert_int_equal(series_append(series, &second), ERR_RANGE);
    cells[1] = (struct histogram_cell){5, 0};
    assert_int_equal(series_append(series, &second), ERR_RANGE);
    assert_int_equal(series_count(series), 0);
    cells[1].count = 1;
    assert_int_equal(series_append(series, &second), OK);
    assert_int_equal(series_count(series), 1);
    assert_ptr_not_equal(series_second(series, 0)->cells, cells);
}

static void the_list_of_seconds_has_a_line_for_each(void **state)
{
    char *text = NULL;
    size_t count = 0;
    FILE *out = open_memstream(&text, &count);
    (void)state;
    series_delivery(series, BEGIN, 2000);
    series_end(series, BEGIN + 2 * SECOND, NULL);
    series_mark_window(series, BEGIN + SECOND, BEGIN + 2 * SECOND);
    series_print_csv(series, out);
    fclose(out);
    assert_non_null(
        strstr(text, "\n0,1000000000,0,0,1,2000,2000,2000,,\n1,1000000000,1,0,0,,,,,\n"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_second_counts_what_came_in_it, setup, teardown),
        cmocka_unit_test_setup_teardown(silent_seconds_exist_with_zeros, setup, teardown),
        cmocka_unit_test_setup_teardown(time_does_not_go_back, setup, teardown),
        cmocka_unit_test(nothing_counts_before_the_begin_and_after_the_end),
        cmocka_unit_test_setup_teardown(the_brokers_use_is_the_difference_of_two_samples, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(every_second_is_told_once_and_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(an_empty_rest_is_no_second, setup, teardown),
        cmocka_unit_test_setup_teardown(merging_adds_second_by_second, setup, teardown),
        cmocka_unit_test_setup_teardown(the_brokers_use_is_merged_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_second_that_was_read_may_not_hold_cells_that_cannot_be,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(the_list_of_seconds_has_a_line_for_each, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
