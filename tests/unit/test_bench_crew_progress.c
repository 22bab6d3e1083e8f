#include "bench/crew/crew_progress.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SECOND_NS ((uint64_t)1000000000)

static struct crew_progress *new_progress(uint32_t teller_count)
{
    struct crew_progress *progress = crew_progress_new(teller_count);
    assert_non_null(progress);
    return progress;
}

static void add(struct crew_progress *progress, uint32_t index, uint64_t sent)
{
    struct series_second second = {.length_ns = SECOND_NS, .sent_count = sent};
    crew_progress_add(progress, index, &second);
}

static void a_second_is_told_when_all_have_told_it(void **state)
{
    struct series_second second;
    uint32_t index = 77;
    (void)state;
    struct crew_progress *progress = new_progress(2);
    assert_false(crew_progress_take(progress, &index, &second));
    add(progress, 0, 1);
    add(progress, 1, 10); /* the same generator is ahead */
    assert_false(crew_progress_take(progress, &index, &second));
    assert_int_equal(index, 77);
    add(progress, 0, 2);
    assert_true(crew_progress_take(progress, &index, &second));
    assert_int_equal(index, 0);
    assert_int_equal(second.sent_count, 3);
    assert_false(crew_progress_take(progress, &index, &second));
    add(progress, 1, 20);
    assert_true(crew_progress_take(progress, &index, &second));
    assert_int_equal(index, 1);
    assert_int_equal(second.sent_count, 30);
    crew_progress_free(progress);
}

static void at_the_end_what_there_is_is_told(void **state)
{
    struct series_second second;
    uint32_t index;
    (void)state;
    struct crew_progress *progress = new_progress(3);
    add(progress, 0, 1);
    add(progress, 0, 1);
    add(progress, 1, 5);
    crew_progress_end(progress);
    assert_true(crew_progress_take(progress, &index, &second));
    assert_int_equal(second.sent_count, 2);
    assert_true(crew_progress_take(progress, &index, &second));
    assert_int_equal(second.sent_count, 5);
    assert_false(crew_progress_take(progress, &index, &second));
    crew_progress_free(progress);
}

static void who_is_far_ahead_or_behind_is_left_out(void **state)
{
    struct series_second second;
    uint32_t index;
    (void)state;
    struct crew_progress *progress = new_progress(1);
    add(progress, CREW_PROGRESS_PENDING, 1);
    add(progress, UINT32_MAX, 1);
    assert_false(crew_progress_take(progress, &index, &second));
    add(progress, 0, 7);
    assert_true(crew_progress_take(progress, &index, &second));
    assert_int_equal(second.sent_count, 7);
    add(progress, 0, 7);
    assert_false(crew_progress_take(progress, &index, &second));
    crew_progress_free(progress);
}

static void latencies_come_together_cell_by_cell(void **state)
{
    static struct histogram a, b, both;
    struct histogram_cell cells_a[64], cells_b[64];
    struct series_second second;
    uint32_t index;
    (void)state;
    for (uint64_t i = 1; i <= 60; i++) {
        histogram_add(i % 2 == 0 ? &a : &b, i * 1000);
        histogram_add(&both, i * 1000);
    }
    struct series_second of_a = {.delivered_count = 30,
                                 .max_ns = 60000,
                                 .cells = cells_a,
                                 .cell_count = histogram_cells(&a, cells_a)};
    struct series_second of_b = {.delivered_count = 30,
                                 .max_ns = 59000,
                                 .cells = cells_b,
                                 .cell_count = histogram_cells(&b, cells_b)};
    struct crew_progress *progress = new_progress(2);
    crew_progress_add(progress, 0, &of_a);
    crew_progress_add(progress, 0, &of_b);
    assert_true(crew_progress_take(progress, &index, &second));
    assert_int_equal(second.delivered_count, 60);
    assert_true(second.max_ns == 60000);
    assert_true(second.p50_ns == histogram_quantile(&both, 0.5));
    assert_true(second.p99_ns == histogram_quantile(&both, 0.99));
    assert_int_equal(second.cell_count, histogram_cells(&both, NULL));
    crew_progress_free(progress);
}

static void cells_that_cannot_be_are_skipped(void **state)
{
    struct histogram_cell cells[] = {{HISTOGRAM_CELLS, 1}, {5, 0}, {UINT32_MAX, UINT64_MAX}};
    struct series_second given = {.delivered_count = 3, .cells = cells, .cell_count = 3}, second;
    uint32_t index;
    (void)state;
    struct crew_progress *progress = new_progress(1);
    crew_progress_add(progress, 0, &given);
    assert_true(crew_progress_take(progress, &index, &second));
    assert_int_equal(second.delivered_count, 3);
    assert_int_equal(second.cell_count, 0);
    crew_progress_free(progress);
}

enum { TELLERS = 3, SECONDS = 20 };

static void *tell_many(void *context)
{
    for (uint32_t i = 0; i < SECONDS; i++) {
        add(context, i, 1);
    }
    return NULL;
}

static void note(void *context, uint32_t index, const struct series_second *second)
{
    uint32_t *count = context;
    assert_int_equal(index, *count);
    assert_int_equal(second->sent_count, TELLERS);
    (*count)++;
}

static void generators_tell_from_threads_of_their_own(void **state)
{
    pthread_t threads[TELLERS];
    uint32_t count = 0;
    (void)state;
    struct crew_progress *progress = new_progress(TELLERS);
    struct series *series = series_new();
    series_on_second(series, note, &count);
    for (uint32_t i = 0; i < TELLERS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, tell_many, progress), 0);
    }
    while (count < SECONDS) {
        crew_progress_tell(progress, series);
    }
    for (uint32_t i = 0; i < TELLERS; i++) {
        pthread_join(threads[i], NULL);
    }
    series_free(series);
    crew_progress_free(progress);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_second_is_told_when_all_have_told_it),
        cmocka_unit_test(at_the_end_what_there_is_is_told),
        cmocka_unit_test(who_is_far_ahead_or_behind_is_left_out),
        cmocka_unit_test(latencies_come_together_cell_by_cell),
        cmocka_unit_test(cells_that_cannot_be_are_skipped),
        cmocka_unit_test(generators_tell_from_threads_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
