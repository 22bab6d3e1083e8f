/* bench/shape, bench/account: who hears whom is known in advance, and a difference is found. */
#include "bench/scenario/account.h"
#include "bench/scenario/shape.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct shape shape_of(enum shape_kind kind, uint32_t publishers, uint32_t subscribers,
                             uint32_t groups, uint32_t filters)
{
    struct shape shape;
    const char *why = NULL;
    assert_int_equal(shape_init(kind, publishers, subscribers, groups, filters, &shape, &why), OK);
    return shape;
}

static const struct {
    enum shape_kind kind;
    uint32_t publishers, subscribers, groups, filters;
} samples[] = {
    {SHAPE_PAIRS, 7, 7, 0, 0},         {SHAPE_ALL, 1, 9, 0, 0},
    {SHAPE_ALL, 5, 3, 0, 0},           {SHAPE_ALL, 6, 1, 0, 0},
    {SHAPE_WILDCARDS, 4, 5, 0, 100},   {SHAPE_WILDCARDS, 3, 3, 0, 6},
    {SHAPE_WILDCARDS, 16, 10, 0, 111}, {SHAPE_WILDCARDS, 1, 7, 0, 44},
};

enum { SAMPLE_COUNT = sizeof(samples) / sizeof(samples[0]) };

static struct shape sample(uint32_t i)
{
    return shape_of(samples[i].kind, samples[i].publishers, samples[i].subscribers,
                    samples[i].groups, samples[i].filters);
}

/* Levels of a filter against those of a topic, as a person would do it. */
static bool is_match(const char *filter, const char *topic)
{
    for (;;) {
        size_t f = strcspn(filter, "/"), t = strcspn(topic, "/");
        if (filter[0] == '#') {
            return true;
        }
        if (!(f == 1 && filter[0] == '+') && (f != t || memcmp(filter, topic, f) != 0)) {
            return false;
        }
        if (filter[f] == '\0' || topic[t] == '\0') {
            return filter[f] == topic[t];
        }
        filter += f + 1;
        topic += t + 1;
    }
}

static uint32_t matches(const struct shape *shape, uint32_t subscriber, const char *topic)
{
    char filter[SHAPE_TEXT_BYTES];
    uint32_t count = 0;
    for (uint32_t k = 0; k < shape_filter_count(shape, subscriber); k++) {
        shape_filter(shape, subscriber, k, filter);
        count += is_match(filter, topic);
    }
    return count;
}

/* The prediction is that of the filters themselves, and nobody's filters overlap. */
static void who_hears_a_message_is_who_subscribed_to_it(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < SAMPLE_COUNT; i++) {
        struct shape shape = sample(i);
        for (uint32_t p = 0; p < shape.publisher_count; p++) {
            for (uint64_t s = 0; s < 2 * (uint64_t)shape.topic_count; s++) {
                char topic[SHAPE_TEXT_BYTES];
                uint32_t heard = 0;
                shape_topic(&shape, shape_topic_of(&shape, p, s), topic);
                for (uint32_t subscriber = 0; subscriber < shape.subscriber_count; subscriber++) {
                    struct shape_place place;
                    bool hears = shape_hears(&shape, subscriber, p, s, &place);
                    assert_int_equal(matches(&shape, subscriber, topic), hears);
                    heard += hears;
                }
                assert_int_equal(heard, shape_receiver_count(&shape, p, s));
                assert_true(heard > 0);
            }
        }
    }
}

/* Every lane counts 0, 1, 2 and on, in the order of sending, up to what is expected of it. */
static void lanes_are_numbered_without_a_gap(void **state)
{
    enum { SENT_MAX = 300 };
    (void)state;
    for (uint32_t i = 0; i < SAMPLE_COUNT; i++) {
        struct shape shape = sample(i);
        uint64_t sent[16];
        uint64_t *next[16];
        for (uint32_t s = 0; s < shape.subscriber_count; s++) {
            next[s] = calloc(shape_lane_count(&shape, s), sizeof(uint64_t));
        }
        for (uint32_t p = 0; p < shape.publisher_count; p++) {
            sent[p] = SENT_MAX - 11 * p;
            for (uint64_t sequence = 0; sequence < sent[p]; sequence++) {
                for (uint32_t s = 0; s < shape.subscriber_count; s++) {
                    struct shape_place place;
                    if (shape_hears(&shape, s, p, sequence, &place)) {
                        assert_true(place.lane < shape_lane_count(&shape, s));
                        assert_int_equal(place.ordinal, next[s][place.lane]);
                        next[s][place.lane]++;
                    }
                }
            }
        }
        for (uint32_t s = 0; s < shape.subscriber_count; s++) {
            for (uint32_t lane = 0; lane < shape_lane_count(&shape, s); lane++) {
                assert_int_equal(shape_lane_expected(&shape, s, lane, sent), next[s][lane]);
            }
            free(next[s]);
        }
    }
}

static void ten_thousand_filters_belong_to_a_hundred_clients(void **state)
{
    struct shape shape = shape_of(SHAPE_WILDCARDS, 16, 100, 0, 0);
    uint32_t matched[4] = {0}, filters = 0;
    (void)state;
    assert_int_equal(shape.topic_count, 5000);
    for (uint32_t s = 0; s < 100; s++) {
        filters += shape_filter_count(&shape, s);
    }
    assert_int_equal(filters, 10000);
    for (uint64_t sequence = 0; sequence < 5000; sequence++) {
        matched[shape_receiver_count(&shape, 3, sequence)]++;
    }
    assert_int_equal(matched[0], 0); /* a third of the messages goes to one, two and three */
    assert_true(matched[1] > 1600);
    assert_true(matched[2] > 1600);
    assert_true(matched[3] > 1600);
}

static void shapes_that_cannot_be_are_refused_with_a_reason(void **state)
{
    struct shape shape = {.topic_count = 42};
    const char *why = NULL;
    (void)state;
    assert_int_equal(shape_init(SHAPE_PAIRS, 2, 3, 0, 0, &shape, &why), ERR_INVALID);
    assert_non_null(strstr(why, "as many publishers as subscribers"));
    assert_int_equal(shape_init(SHAPE_SHARED, 2, 3, 4, 0, &shape, &why), ERR_INVALID);
    assert_non_null(strstr(why, "more groups than subscribers"));
    assert_int_equal(shape_init(SHAPE_WILDCARDS, 2, 2, 0, 100, &shape, &why), ERR_INVALID);
    assert_non_null(strstr(why, "-c 3"));
    assert_int_equal(shape_init(SHAPE_WILDCARDS, 2, 20, 0, 19, &shape, &why), ERR_INVALID);
    assert_non_null(strstr(why, "fewer filters"));
    assert_int_equal(shape.topic_count, 42);
}

/* Deliver all but one, one twice, one to the wrong subscriber: each is found, and nothing else. */
static void a_loss_a_repeat_and_a_stray_are_counted_once_each(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < SAMPLE_COUNT; i++) {
        struct shape shape = sample(i);
        struct account *account;
        uint64_t sent[16], delivered = 0, strays = 0;
        assert_int_equal(account_new(&shape, NULL, &account), OK);
        for (uint32_t p = 0; p < shape.publisher_count; p++) {
            sent[p] = 100;
            for (uint64_t sequence = 0; sequence < sent[p]; sequence++) {
                for (uint32_t s = 0; s < shape.subscriber_count; s++) {
                    struct shape_place place;
                    if (!shape_hears(&shape, s, p, sequence, &place)) {
                        continue;
                    }
                    delivered++;
                    if (delivered == 17) {
                        continue; /* lost */
                    }
                    assert_int_equal(account_add(account, s, p, sequence), ACCOUNT_GOOD);
                    if (delivered == 23) {
                        assert_int_equal(account_add(account, s, p, sequence), ACCOUNT_REPEATED);
                    }
                }
            }
        }
        for (uint32_t s = 0; s < shape.subscriber_count && strays == 0; s++) {
            struct shape_place place;
            if (!shape_hears(&shape, s, 0, 0, &place)) {
                assert_int_equal(account_add(account, s, 0, 0), ACCOUNT_MISDELIVERED);
                strays++;
            }
        }
        struct account_totals totals = account_settle(account, sent);
        assert_int_equal(account_expected(account, sent), delivered);
        assert_int_equal(totals.unique_count, delivered - 1);
        assert_int_equal(totals.lost_count, 1);
        assert_int_equal(totals.repeated_count, 1);
        assert_int_equal(totals.late_count, 0);
        assert_int_equal(totals.misdelivered_count, strays);
        account_free(account);
    }
}

/* One delivery to a group, whoever gets it; members may overtake each other, not themselves. */
static void a_group_is_judged_as_one_and_each_member_for_its_order(void **state)
{
    struct shape shape = shape_of(SHAPE_SHARED, 2, 4, 2, 0); /* members 0, 2 and members 1, 3 */
    uint64_t sent[2] = {5, 1};
    struct account *account;
    (void)state;
    assert_int_equal(account_new(&shape, NULL, &account), OK);
    assert_int_equal(account_add(account, 0, 0, 1), ACCOUNT_GOOD);
    assert_int_equal(account_add(account, 2, 0, 0), ACCOUNT_GOOD); /* later, by another member */
    assert_int_equal(account_add(account, 2, 0, 1), ACCOUNT_REPEATED);
    assert_int_equal(account_add(account, 0, 0, 3), ACCOUNT_GOOD);
    assert_int_equal(account_add(account, 0, 0, 2), ACCOUNT_LATE); /* the same member went back */
    assert_int_equal(account_add(account, 0, 1, 0), ACCOUNT_GOOD); /* another publisher */
    for (uint64_t i = 0; i < 5; i++) {
        assert_int_equal(account_add(account, 3, 0, i), ACCOUNT_GOOD);
    }
    assert_int_equal(account_expected(account, sent), 12); /* each group all six */
    struct account_totals totals = account_settle(account, sent);
    assert_int_equal(totals.unique_count, 10);
    assert_int_equal(totals.lost_count, 2); /* the fifth in one group, publisher 1's in the other */
    assert_int_equal(totals.repeated_count, 1);
    assert_int_equal(totals.late_count, 1);
    struct fairness fairness = account_fairness(account);
    assert_int_equal(fairness.member_count, 4);
    assert_int_equal(fairness.member_min, 0);
    assert_int_equal(fairness.member_max, 5);
    account_free(account);
}

static void fairness_is_one_when_all_are_served_alike(void **state)
{
    static const uint64_t even[] = {7, 7, 7, 7}, one[] = {0, 12, 0, 0}, some[] = {1, 3};
    static const uint64_t none[] = {0, 0};
    (void)state;
    assert_true(fairness_of(even, 4).jain > 0.999999);
    assert_true(fairness_of(even, 4).jain < 1.000001);
    assert_true(fairness_of(one, 4).jain > 0.249999);
    assert_true(fairness_of(one, 4).jain < 0.250001);
    assert_true(fairness_of(some, 2).jain > 0.799999);
    assert_true(fairness_of(some, 2).jain < 0.800001);
    assert_int_equal(fairness_of(some, 2).member_min, 1);
    assert_int_equal(fairness_of(some, 2).member_max, 3);
    assert_true(fairness_of(none, 2).jain < 0.000001);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_hears_a_message_is_who_subscribed_to_it),
        cmocka_unit_test(lanes_are_numbered_without_a_gap),
        cmocka_unit_test(ten_thousand_filters_belong_to_a_hundred_clients),
        cmocka_unit_test(shapes_that_cannot_be_are_refused_with_a_reason),
        cmocka_unit_test(a_loss_a_repeat_and_a_stray_are_counted_once_each),
        cmocka_unit_test(a_group_is_judged_as_one_and_each_member_for_its_order),
        cmocka_unit_test(fairness_is_one_when_all_are_served_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
