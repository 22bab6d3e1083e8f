#include "bench/command/goal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static char problem[GOAL_PROBLEM_BYTES];
static struct report report; /* too large for a stack */

/* 1,000 deliveries in a second, 1 to 1,000 us, one more that was lost; a broker of half a core. */
static void a_run(void)
{
    memset(&report, 0, sizeof(report));
    for (uint64_t i = 1; i <= 1000; i++) {
        histogram_add(&report.latency, i * 1000);
    }
    report.window_ns = 1000000000;
    report.delivered_count = 1000;
    report.received_count = 999;
    report.lost_count = 1;
    report.has_target = true;
    report.target_after.cpu_ns = 500000000;
    report.target_after.resident_bytes = 64 << 20;
}

static enum goal_verdict judge(const char *text)
{
    struct goals goals;
    char shown[GOAL_TEXT_BYTES];
    if (goals_read(text, &goals, problem) != OK) {
        fail_msg("%s: %s", text, problem);
    }
    assert_int_equal(goals.count, 1);
    return goal_judge(&goals.items[0], &report, shown);
}

static void a_figure_is_held_against_its_bound(void **state)
{
    static const struct {
        const char *goal;
        enum goal_verdict verdict;
    } cases[] = {
        {"p50<1ms", GOAL_KEPT},      {"p50<0.4ms", GOAL_BROKEN},   {"p99<=996us", GOAL_KEPT},
        {"max>=1ms", GOAL_KEPT},     {"max>1001us", GOAL_BROKEN},  {"p999<2000000ns", GOAL_KEPT},
        {"p99.9<1s", GOAL_KEPT},     {"mean<0.6ms", GOAL_KEPT},    {"max<0", GOAL_BROKEN},
        {"loss=0", GOAL_BROKEN},     {"loss=1", GOAL_KEPT},        {"loss==1", GOAL_KEPT},
        {"lost<=1", GOAL_KEPT},      {"loss<1", GOAL_BROKEN},      {"loss<=0.1%", GOAL_KEPT},
        {"loss<0.1%", GOAL_BROKEN},  {"duplicates=0", GOAL_KEPT},  {"disorder=0", GOAL_KEPT},
        {"corrupt<1%", GOAL_KEPT},   {"refused=0", GOAL_KEPT},     {"rate>=1K", GOAL_KEPT},
        {"rate>1k", GOAL_BROKEN},    {"rate>0.001M", GOAL_BROKEN}, {"cpu<=500us", GOAL_KEPT},
        {"cpu<2us", GOAL_BROKEN},    {"cores<0.6", GOAL_KEPT},     {"cores<40%", GOAL_BROKEN},
        {"memory<65MiB", GOAL_KEPT}, {"memory<64M", GOAL_BROKEN},  {" p50 < 1ms ", GOAL_KEPT},
    };
    (void)state;
    a_run();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (judge(cases[i].goal) != cases[i].verdict) {
            fail_msg("%s was judged otherwise", cases[i].goal);
        }
    }
}

/* A run that does not know the figure does not keep the goal. */
static void what_is_not_known_is_not_kept(void **state)
{
    struct goals goals;
    (void)state;
    a_run();
    report.has_target = false;
    histogram_clear(&report.latency);
    assert_int_equal(judge("cpu<1s"), GOAL_UNKNOWN);
    assert_int_equal(judge("p99<1s"), GOAL_UNKNOWN);
    assert_int_equal(judge("memory<1G"), GOAL_UNKNOWN);
    assert_int_equal(judge("fairness>0.5"), GOAL_UNKNOWN);
    assert_int_equal(goals_read("cpu<1s", &goals, problem), OK);
    assert_false(goals_are_kept(&goals, &report));
}

static void all_of_several_must_hold(void **state)
{
    struct goals goals;
    char text[512] = "";
    (void)state;
    a_run();
    assert_int_equal(goals_read("p99<5ms,loss=0,rate>=1K", &goals, problem), OK);
    assert_int_equal(goals.count, 3);
    assert_false(goals_are_kept(&goals, &report));
    FILE *out = fmemopen(text, sizeof(text) - 1, "w");
    assert_non_null(out);
    assert_false(goals_print(&goals, &report, out));
    fclose(out);
    assert_non_null(strstr(text, "goal p99<5ms: kept, "));
    assert_non_null(strstr(text, "goal loss=0: BROKEN, 1\n"));
    report.lost_count = 0;
    assert_true(goals_are_kept(&goals, &report));
}

static void a_run_without_deliveries_has_lost_what_it_lost(void **state)
{
    (void)state;
    memset(&report, 0, sizeof(report));
    assert_int_equal(judge("loss<1%"), GOAL_KEPT);
    report.lost_count = 5;
    assert_int_equal(judge("loss<1%"), GOAL_BROKEN);
    assert_int_equal(judge("loss<=100%"), GOAL_KEPT);
}

static void the_broker_is_needed_for_its_own_figures_only(void **state)
{
    struct goals goals;
    (void)state;
    assert_int_equal(goals_read("p99<1s,loss=0,rate>1", &goals, problem), OK);
    assert_false(goals_need_target(&goals));
    assert_int_equal(goals_read("p99<1s,cpu<1us", &goals, problem), OK);
    assert_true(goals_need_target(&goals));
}

static void what_is_wrong_is_named(void **state)
{
    static const struct {
        const char *text, *problem;
    } cases[] = {
        {"", "goal 1 is empty"},
        {"p99<5ms,", "goal 2 is empty"},
        {"p99<5ms,,loss=0", "goal 2 is empty"},
        {"p99", "'p99' has none of < <= = >= >"},
        {"p98<5ms", "there is no figure 'p98' (did you mean p9"},
        {"frobnication<5ms", "there is no figure 'frobnication'; known are: p50 p90"},
        {"<5ms", "there is no figure ''"},
        {"p99<5", "'p99<5': '5' (character 5) is not a time with its unit"},
        {"p99<", "'' (character 5) is not a time"},
        {"p99<5parsecs", "'5parsecs' (character 5) is not a time"},
        {"p99<=-5ms", "'-5ms' (character 6) is not a time"},
        {"p99=<5ms", "'<5ms' (character 5) is not a time"},
        {"p99<5%", "'5%' (character 5) is not a time"},
        {"loss<5ms", "'5ms' (character 6) is not a number, perhaps with K, M or %"},
        {"rate>100%", "'100%' (character 6) is not a number a second"},
        {"cpu<inf", "'inf' (character 5) is not a time"},
        {"memory<0x10", "'0x10' (character 8) is not bytes"},
    };
    struct goals goals = {.count = 7};
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(goals_read(cases[i].text, &goals, problem), ERR_INVALID);
        if (strstr(problem, cases[i].problem) == NULL) {
            fail_msg("'%s' said '%s', not '%s'", cases[i].text, problem, cases[i].problem);
        }
        assert_int_equal(goals.count, 7);
    }
}

static void there_is_an_end_to_goals(void **state)
{
    struct goals goals;
    char text[GOALS_MAX * 8 + 16] = "loss=0";
    (void)state;
    for (int i = 1; i < GOALS_MAX; i++) {
        strcat(text, ",loss=0");
    }
    assert_int_equal(goals_read(text, &goals, problem), OK);
    assert_int_equal(goals.count, GOALS_MAX);
    strcat(text, ",loss=0");
    assert_int_equal(goals_read(text, &goals, problem), ERR_LIMIT);

    char one[256];
    memset(one, 'x', sizeof(one) - 1);
    one[sizeof(one) - 1] = '\0';
    assert_int_equal(goals_read(one, &goals, problem), ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_figure_is_held_against_its_bound),
        cmocka_unit_test(what_is_not_known_is_not_kept),
        cmocka_unit_test(all_of_several_must_hold),
        cmocka_unit_test(a_run_without_deliveries_has_lost_what_it_lost),
        cmocka_unit_test(the_broker_is_needed_for_its_own_figures_only),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(there_is_an_end_to_goals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
