#include "bench/report/histogram.h"
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

/* Values of a seed's own distribution: from narrow to wide, some with one far outlier. */
static void values_of(uint64_t seed, uint64_t *values, uint32_t count)
{
    struct rng rng;
    rng_init(&rng, seed);
    uint64_t span = (uint64_t)1 << (1 + rng_below(&rng, 40));
    uint64_t floor = rng_below(&rng, span);
    for (uint32_t i = 0; i < count; i++) {
        values[i] = floor + rng_below(&rng, span) / (1 + rng_below(&rng, 100));
    }
    if (seed % 3 == 0) {
        values[rng_below(&rng, count)] = rng_u64(&rng);
    }
}

/* [value at the rank, value at the rank + 1/128]: what the header promises, for many distributions. */
static void quantiles_agree_with_the_sorted_values(void **state)
{
    enum { COUNT_MAX = 2000, SEEDS = 300 };
    static const struct {
        uint32_t part, of;
    } quantiles[] = {{1, 1000}, {1, 4}, {1, 2}, {9, 10}, {99, 100}, {999, 1000}, {1, 1}};
    uint64_t values[COUNT_MAX];
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        uint32_t count = 1 + (uint32_t)(seed * 7919 % COUNT_MAX);
        values_of(seed, values, count);
        histogram_clear(&histogram);
        for (uint32_t i = 0; i < count; i++) {
            histogram_add(&histogram, values[i]);
        }
        qsort(values, count, sizeof(values[0]), compare);
        for (uint32_t i = 0; i < sizeof(quantiles) / sizeof(quantiles[0]); i++) {
            uint32_t part = quantiles[i].part, of = quantiles[i].of;
            uint64_t exact = values[(count * part + of - 1) / of - 1]; /* the rank, rounded up */
            uint64_t found = histogram_quantile(&histogram, (double)part / of);
            assert_true(found >= exact);
            assert_true(found - exact <= exact / 128);
        }
        assert_true(histogram_quantile(&histogram, 1) == values[count - 1]);
        assert_true(histogram.value_min == values[0]);
    }
}

/* However values are dealt out to generators and merged in whatever order: the same histogram. */
static void merging_any_shares_in_any_order_is_as_adding_all(void **state)
{
    enum { COUNT = 3000, SHARES = 4 };
    static struct histogram shares[SHARES], merged, backwards;
    uint64_t values[COUNT];
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        values_of(seed, values, COUNT);
        histogram_clear(&histogram);
        histogram_clear(&merged);
        histogram_clear(&backwards);
        for (uint32_t i = 0; i < SHARES; i++) {
            histogram_clear(&shares[i]);
        }
        for (uint32_t i = 0; i < COUNT; i++) {
            histogram_add(&histogram, values[i]);
            histogram_add(&shares[values[i] % 3 == 0 ? 0 : 2 + i % 2],
                          values[i]); /* one stays empty */
        }
        for (uint32_t i = 0; i < SHARES; i++) {
            histogram_merge(&merged, &shares[i]);
            histogram_merge(&backwards, &shares[SHARES - 1 - i]);
        }
        assert_memory_equal(merged.cells, histogram.cells, sizeof(merged.cells));
        assert_memory_equal(backwards.cells, histogram.cells, sizeof(merged.cells));
        assert_true(merged.count == COUNT && backwards.count == COUNT);
        assert_true(merged.value_max == histogram.value_max);
        assert_true(backwards.value_min == histogram.value_min);
        double error = merged.sum - histogram.sum;
        assert_true((error < 0 ? -error : error) <= histogram.sum * 1e-9);
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
        cmocka_unit_test(merging_any_shares_in_any_order_is_as_adding_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
