#include "core/base/metrics.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void each_metric_has_cells_of_its_own(void **state)
{
    struct metrics *metrics = metrics_new();
    (void)state;
    for (int i = 0; i < METRIC_COUNT; i++) {
        enum metric metric = (enum metric)i;
        assert_int_equal(metric_value(metrics, metric), 0);
        switch (metric_info(metric)->kind) {
        case HISTO:
            metric_observe(metrics, metric, 1);
            metric_observe(metrics, metric, UINT64_MAX);
            break;
        case COUNTER:
        case GAUGE:
            metric_add(metrics, metric, (uint64_t)i + 1);
            if (metric_info(metric)->labels != NONE) {
                metric_add_label(metrics, metric, METRIC_SLOTS - 1, 1000);
            }
        }
    }
    for (int i = 0; i < METRIC_COUNT; i++) {
        enum metric metric = (enum metric)i;
        const struct metric_info *info = metric_info(metric);
        uint64_t expected = info->kind == HISTO    ? 2
                            : info->labels == NONE ? (uint64_t)i + 1
                                                   : (uint64_t)i + 1001;
        assert_int_equal(metric_value(metrics, metric), expected);
    }
    metrics_free(metrics);
}

static void labels_are_counted_apart_and_summed(void **state)
{
    struct metrics *metrics = metrics_new();
    (void)state;
    metric_add_label(metrics, METRIC_dropped, TRAIL_DROP_EXPIRED, 3);
    metric_add_label(metrics, METRIC_dropped, TRAIL_DROP_QUEUE_FULL, 4);
    metric_add_label(metrics, METRIC_publish_received, 2, 5);
    assert_int_equal(metric_label_value(metrics, METRIC_dropped, TRAIL_DROP_EXPIRED), 3);
    assert_int_equal(metric_label_value(metrics, METRIC_dropped, TRAIL_DROP_QUEUE_FULL), 4);
    assert_int_equal(metric_label_value(metrics, METRIC_dropped, TRAIL_DROP_MEMORY), 0);
    assert_int_equal(metric_value(metrics, METRIC_dropped), 7);
    assert_int_equal(metric_label_value(metrics, METRIC_publish_received, 2), 5);
    assert_int_equal(metric_label_value(metrics, METRIC_turns, 1), 0); /* has no labels */
    metrics_free(metrics);
}

static void a_gauge_may_go_down_in_another_shard(void **state)
{
    struct metrics *here = metrics_new(), *there = metrics_new();
    (void)state;
    metric_add(here, METRIC_connections_open, 3);
    metric_sub(there, METRIC_connections_open, 2); /* moved there, closed there */
    uint64_t sum = metric_value(here, METRIC_connections_open) +
                   metric_value(there, METRIC_connections_open);
    assert_int_equal(sum, 1);
    metric_set(here, METRIC_memory_bytes, 77);
    metric_set(here, METRIC_memory_bytes, 12);
    assert_int_equal(metric_value(here, METRIC_memory_bytes), 12);
    metrics_free(here);
    metrics_free(there);
}

static void a_histogram_puts_each_value_below_its_bound(void **state)
{
    struct metrics *metrics = metrics_new();
    (void)state;
    for (uint32_t bucket = 0; bucket < HISTO_BUCKETS - 1; bucket++) {
        uint64_t bound = 1ULL << bucket;
        metric_observe(metrics, METRIC_turn_ns, bound); /* inclusive */
        assert_int_equal(metric_histo_bucket(metrics, METRIC_turn_ns, bucket), 1 + (bucket > 0));
        metric_observe(metrics, METRIC_turn_ns, bound + 1);
        assert_int_equal(metric_histo_bucket(metrics, METRIC_turn_ns, bucket + 1), 1);
    }
    metric_observe(metrics, METRIC_turn_ns, 0);
    assert_int_equal(metric_histo_bucket(metrics, METRIC_turn_ns, 0), 2);
    assert_int_equal(metric_value(metrics, METRIC_turn_ns), 2 * (HISTO_BUCKETS - 1) + 1);
    assert_int_equal(metric_histo_sum(metrics, METRIC_turn_ns),
                     2 * ((1ULL << (HISTO_BUCKETS - 1)) - 1) + HISTO_BUCKETS - 1);
    metrics_free(metrics);
}

static void the_table_is_complete_and_names_are_unique(void **state)
{
    (void)state;
    for (int i = 0; i < METRIC_COUNT; i++) {
        const struct metric_info *info = metric_info((enum metric)i);
        size_t length = strlen(info->exported);
        bool is_total = length > 6 && strcmp(info->exported + length - 6, "_total") == 0;
        assert_true(length > 0 && strlen(info->help) > 0 && info->scale > 0);
        assert_true(is_total == (info->kind == COUNTER)); /* the custom of Prometheus */
        for (int j = 0; j < i; j++) {
            assert_string_not_equal(info->exported, metric_info((enum metric)j)->exported);
        }
    }
}

enum { ADDS = 100000 };

static void *add_many(void *context)
{
    for (int i = 0; i < ADDS; i++) {
        metric_add(context, METRIC_turns, 1);
        metric_observe(context, METRIC_turn_ns, 5);
    }
    return NULL;
}

static void anybody_may_read_while_the_owner_writes(void **state)
{
    struct metrics *metrics = metrics_new();
    pthread_t owner;
    (void)state;
    assert_int_equal(pthread_create(&owner, NULL, add_many, metrics), 0);
    uint64_t before = 0;
    while (before < ADDS) {
        uint64_t now = metric_value(metrics, METRIC_turns);
        assert_true(now >= before && now <= ADDS);
        assert_true(metric_value(metrics, METRIC_turn_ns) <= ADDS);
        before = now;
    }
    pthread_join(owner, NULL);
    assert_int_equal(metric_histo_sum(metrics, METRIC_turn_ns), 5 * ADDS);
    metrics_free(metrics);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_metric_has_cells_of_its_own),
        cmocka_unit_test(labels_are_counted_apart_and_summed),
        cmocka_unit_test(a_gauge_may_go_down_in_another_shard),
        cmocka_unit_test(a_histogram_puts_each_value_below_its_bound),
        cmocka_unit_test(the_table_is_complete_and_names_are_unique),
        cmocka_unit_test(anybody_may_read_while_the_owner_writes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
