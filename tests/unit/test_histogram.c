#include "bench/histogram.h"
#include "core/base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static struct histogram histogram, other;

static void an_empty_histogram_says_zero(void **state)
{
    (void)state;
    histogram_clear(&histogram);
    assert_int_equal(histogram_quantile(&histogram, 0.5), 0);
    assert_int_equal(histogram_quantile(&histogram, 1), 0);
    assert_true(histogram_mean(&histogram) == 0);
}

static void small_values_are_exact(void **state)
{
    (void)state;
    histogram_clear(&histogram);
    for (uint64_t value = 1; value <= 100; value++) {
        histogram_add(&histogram, value);
    }
    assert_int_equal(histogram_quantile(&histogram, 0), 1);
    assert_int_equal(histogram_quantile(&histogram, 0.01), 1);
    assert_int_equal(histogram_quantile(&histogram, 0.5), 50);
    assert_int_equal(histogram_quantile(&histogram, 0.505), 51);
    assert_int_equal(histogram_quantile(&histogram, 0.99), 99);
    assert_int_equal(histogram_quantile(&histogram, 1), 100);
    assert_true(histogram_mean(&histogram) == 50.5);
}

/* Each value alone: its quantile is never below it, and never one part in 128 above it. */
static void any_value_is_kept_to_within_one_percent(void **state)
{
    struct rng rng;
    (void)state;
    rng_init(&rng, 7);
    for (uint32_t i = 0; i < 2000; i++) {
        uint64_t value = rng_u64(&rng) >> rng_below(&rng, 64);
        histogram_clear(&histogram);
        histogram_add(&histogram, value);
        histogram_add(&histogram, UINT64_MAX); /* so that the greatest value hides nothing */
        uint64_t found = histogram_quantile(&histogram, 0.5);
        assert_true(found >= value);
        assert_true(found - value <= value / 128);
    }
}

static void the_extremes_have_a_cell(void **state)
{
    (void)state;
    histogram_clear(&histogram);
    histogram_add(&histogram, 0);
    assert_int_equal(histogram_quantile(&histogram, 1), 0);
    histogram_add(&histogram, UINT64_MAX);
    assert_true(histogram_quantile(&histogram, 1) == UINT64_MAX);
    assert_int_equal(histogram.value_min, 0);
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void quantiles_agree_with_the_sorted_values(void **state)
{
    enum { COUNT = 5000 };
    static const double parts[] = {0.001, 0.25, 0.5, 0.9, 0.99, 0.999};
    uint64_t values[COUNT];
    struct rng rng;
    (void)state;
    rng_init(&rng, 11);
    histogram_clear(&histogram);
    for (uint32_t i = 0; i < COUNT; i++) {
        values[i] = rng_below(&rng, 1000000) * rng_below(&rng, 1000);
        histogram_add(&histogram, values[i]);
    }
    qsort(values, COUNT, sizeof(values[0]), compare);
    for (uint32_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        uint64_t exact = values[(uint32_t)(parts[i] * COUNT + 0.5) - 1];
        uint64_t found = histogram_quantile(&histogram, parts[i]);
        assert_true(found >= exact);
        assert_true(found - exact <= exact / 128);
    }
}

static void merging_is_as_adding_all(void **state)
{
    (void)state;
    histogram_clear(&histogram);
    histogram_clear(&other);
    histogram_merge(&histogram, &other); /* nothing into nothing */
    assert_int_equal(histogram.count, 0);
    for (uint64_t value = 1; value <= 50; value++) {
        histogram_add(&histogram, value + 50);
        histogram_add(&other, value);
    }
    histogram_merge(&histogram, &other);
    assert_int_equal(histogram.count, 100);
    assert_int_equal(histogram.value_min, 1);
    assert_int_equal(histogram.value_max, 100);
    assert_int_equal(histogram_quantile(&histogram, 0.5), 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_histogram_says_zero),
        cmocka_unit_test(small_values_are_exact),
        cmocka_unit_test(any_value_is_kept_to_within_one_percent),
        cmocka_unit_test(the_extremes_have_a_cell),
        cmocka_unit_test(quantiles_agree_with_the_sorted_values),
        cmocka_unit_test(merging_is_as_adding_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
