#include "core/base/rng.h"
#include "core/base/wheel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

enum { MS = 1000000 };
#define SECOND (1000ULL * MS)
#define DAY    (86400 * SECOND)

struct alarm {
    struct timer timer;
    uint64_t due_ns; /* as the oracle knows it; 0: not set */
    uint32_t fired_count;
};

static uint64_t last_fired_tick; /* timers fire in order of milliseconds */

static void on_fire(struct timer *timer)
{
    struct alarm *alarm = CONTAINER_OF(timer, struct alarm, timer);
    assert_false(timer_is_set(timer));
    alarm->fired_count++;
}

static void a_timer_fires_once_and_never_early(void **state)
{
    struct wheel *wheel = wheel_new(5 * SECOND);
    struct alarm alarm = {.due_ns = 0};
    (void)state;
    timer_init(&alarm.timer, on_fire);
    wheel_set(wheel, &alarm.timer, 5 * SECOND + 10 * MS + 1);
    assert_true(timer_is_set(&alarm.timer));
    assert_int_equal(wheel_run(wheel, 5 * SECOND + 10 * MS), 0);
    assert_int_equal(wheel_run(wheel, 5 * SECOND + 11 * MS - 1), 0);
    assert_int_equal(wheel_run(wheel, 5 * SECOND + 11 * MS), 1); /* at most 1 ms late */
    assert_int_equal(wheel_run(wheel, 6 * SECOND), 0);
    assert_int_equal(alarm.fired_count, 1);
    wheel_free(wheel);
}

static void an_unset_timer_does_not_fire(void **state)
{
    struct wheel *wheel = wheel_new(0);
    struct alarm alarm = {.due_ns = 0};
    (void)state;
    timer_init(&alarm.timer, on_fire);
    wheel_unset(wheel, &alarm.timer); /* never set: nothing to do */
    wheel_set(wheel, &alarm.timer, 3 * SECOND);
    wheel_unset(wheel, &alarm.timer);
    wheel_unset(wheel, &alarm.timer);
    assert_false(timer_is_set(&alarm.timer));
    assert_true(wheel_next_ns(wheel) == UINT64_MAX);
    assert_int_equal(wheel_run(wheel, DAY), 0);
    wheel_free(wheel);
}

static void a_timer_in_the_past_fires_at_the_next_run(void **state)
{
    struct wheel *wheel = wheel_new(10 * SECOND);
    struct alarm early = {.due_ns = 0}, zero = {.due_ns = 0};
    (void)state;
    timer_init(&early.timer, on_fire);
    timer_init(&zero.timer, on_fire);
    wheel_set(wheel, &early.timer, 3 * SECOND);
    wheel_set(wheel, &zero.timer, 0);
    assert_true(timer_is_set(&zero.timer));
    assert_true(wheel_next_ns(wheel) <= 10 * SECOND);
    assert_int_equal(wheel_run(wheel, 10 * SECOND), 2);
    assert_true(wheel_next_ns(wheel) == UINT64_MAX);
    wheel_free(wheel);
}

static struct wheel *shared_wheel;
static struct alarm other;

static void on_fire_again(struct timer *timer)
{
    on_fire(timer);
    wheel_set(shared_wheel, timer, 1); /* the past */
}

static void a_timer_that_sets_itself_in_the_past_does_not_hold_up_the_turn(void **state)
{
    struct alarm alarm = {.due_ns = 0};
    (void)state;
    shared_wheel = wheel_new(0);
    timer_init(&alarm.timer, on_fire_again);
    wheel_set(shared_wheel, &alarm.timer, 1);
    assert_int_equal(wheel_run(shared_wheel, SECOND), 1);
    assert_int_equal(wheel_run(shared_wheel, SECOND), 1);
    assert_int_equal(alarm.fired_count, 2);
    wheel_free(shared_wheel);
}

static void on_fire_unset_other(struct timer *timer)
{
    on_fire(timer);
    wheel_unset(shared_wheel, &other.timer);
}

static void a_timer_may_unset_another_that_is_due_in_the_same_run(void **state)
{
    struct alarm first = {.due_ns = 0};
    (void)state;
    shared_wheel = wheel_new(0);
    other = (struct alarm){.due_ns = 0};
    timer_init(&first.timer, on_fire_unset_other);
    timer_init(&other.timer, on_fire);
    wheel_set(shared_wheel, &other.timer, 70 * MS);
    wheel_set(shared_wheel, &first.timer, 5 * MS);
    assert_int_equal(wheel_run(shared_wheel, SECOND), 1);
    assert_int_equal(other.fired_count, 0);
    assert_true(wheel_next_ns(shared_wheel) == UINT64_MAX);
    wheel_free(shared_wheel);
}

static void the_farthest_times_are_kept(void **state)
{
    static const uint64_t times[] = {4294967294 * SECOND, UINT64_MAX - MS, UINT64_MAX};
    (void)state;
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        struct wheel *wheel = wheel_new(12345);
        struct alarm alarm = {.due_ns = 0};
        uint64_t now = 12345;
        timer_init(&alarm.timer, on_fire);
        wheel_set(wheel, &alarm.timer, times[i]);
        int steps = 0;
        for (uint64_t next; alarm.fired_count == 0 && steps < 20; steps++) {
            next = wheel_next_ns(wheel);
            assert_true(next > now);
            assert_int_equal(wheel_run(wheel, next - 1), 0);
            now = next;
            wheel_run(wheel, now);
            if (now == UINT64_MAX) {
                break; /* the last tick begins after the end of time */
            }
            assert_true(alarm.fired_count == 0 || now >= times[i]);
        }
        assert_true(steps <= 9); /* one step down for each level, at most */
        wheel_free(wheel);
    }
}

static void on_fire_in_order(struct timer *timer)
{
    struct alarm *alarm = CONTAINER_OF(timer, struct alarm, timer);
    uint64_t tick = (alarm->due_ns + MS - 1) / MS;
    assert_true(alarm->due_ns != 0);
    assert_true(tick >= last_fired_tick);
    last_fired_tick = tick;
    alarm->due_ns = 0;
    on_fire(timer);
}

static uint64_t random_delay(struct rng *rng)
{
    static const uint64_t scales[] = {3 * MS, 100 * MS, SECOND, 300 * SECOND, DAY, 1000 * DAY};
    return 1 + rng_below(rng, scales[rng_below(rng, sizeof(scales) / sizeof(scales[0]))]);
}

/* 30,000 steps of two days at most: time stays below 2^64 ns, which is 584 years. */
static void a_wheel_and_a_plain_array_agree(void **state)
{
    enum { COUNT = 200, STEPS = 30000 };
    struct alarm *alarms = calloc(COUNT, sizeof(*alarms));
    struct rng rng;
    uint64_t now = 77 * SECOND + 123;
    struct wheel *wheel = wheel_new(now);
    (void)state;
    rng_init(&rng, 5);
    for (int i = 0; i < COUNT; i++) {
        timer_init(&alarms[i].timer, on_fire_in_order);
    }
    for (int step = 0; step < STEPS; step++) {
        for (int i = 0; i < 5; i++) {
            struct alarm *alarm = &alarms[rng_below(&rng, COUNT)];
            if (rng_below(&rng, 3) == 0) {
                wheel_unset(wheel, &alarm->timer);
                alarm->due_ns = 0;
            } else {
                alarm->due_ns = now + random_delay(&rng);
                wheel_set(wheel, &alarm->timer, alarm->due_ns);
            }
        }
        uint64_t next = wheel_next_ns(wheel);
        bool follow = rng_below(&rng, 2) == 0 && next != UINT64_MAX;
        now = follow ? (next > now ? next : now) : now + 1 + random_delay(&rng) % (2 * DAY);

        uint32_t due_count = 0;
        for (int i = 0; i < COUNT; i++) {
            assert_true(timer_is_set(&alarms[i].timer) == (alarms[i].due_ns != 0));
            if (alarms[i].due_ns != 0) {
                uint64_t tick_ns = (alarms[i].due_ns + MS - 1) / MS * MS;
                assert_true(next <= tick_ns); /* never told to come too late */
                due_count += tick_ns <= now;
            }
        }
        last_fired_tick = 0;
        assert_int_equal(wheel_run(wheel, now), due_count);
    }
    free(alarms);
    wheel_free(wheel);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_timer_fires_once_and_never_early),
        cmocka_unit_test(an_unset_timer_does_not_fire),
        cmocka_unit_test(a_timer_in_the_past_fires_at_the_next_run),
        cmocka_unit_test(a_timer_that_sets_itself_in_the_past_does_not_hold_up_the_turn),
        cmocka_unit_test(a_timer_may_unset_another_that_is_due_in_the_same_run),
        cmocka_unit_test(the_farthest_times_are_kept),
        cmocka_unit_test(a_wheel_and_a_plain_array_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
