#include "bench/command/preset.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static char problem[OPTIONS_PROBLEM_BYTES];

/* A line of three words at most behind `run NAME`, expanded. */
static struct options expand(const char *name, const char *first, const char *second,
                             const char *third)
{
    const char *words[] = {"run", name, first, second, third};
    struct options options;
    int count = 2 + (first != NULL) + (second != NULL) + (third != NULL);
    if (options_read(count, words, &options, problem) != OK) {
        fail_msg("%s", problem);
    }
    const struct preset *preset = preset_find(name);
    assert_non_null(preset);
    preset_apply(preset, &options);
    return options;
}

static void the_suites_use_cases_are_here(void **state)
{
    static const struct {
        const char *name, *scenario;
        uint64_t count, publishers, subscribers;
        double rate;
        uint64_t version;
    } cases[] = {
        {"conn-tcp-10K-100", "storm", 10000, 0, 0, 100, 4},
        {"conn-tcp-1M-5K", "storm", 1000000, 0, 0, 5000, 4},
        {"p2p-1K-1K-1K-1K", "pairs", 1000, 0, 0, 1000, 4},
        {"p2p-50K-50K-50K-50K", "pairs", 50000, 0, 0, 50000, 4},
        {"fanout-1-1K-1-1K", "fanout", 0, 1, 1000, 1, 4},
        {"fanout-5-1000-5-250K", "fanout", 0, 5, 1000, 250, 4},
        {"sharedsub-1K-5-1K-1K", "shared", 0, 1000, 5, 1000, 5},
        {"sharedsub-50K-500-50K-50K", "shared", 0, 50000, 500, 50000, 5},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct options options = expand(cases[i].name, NULL, NULL, NULL);
        assert_string_equal(options.words[0], cases[i].scenario);
        assert_int_equal(options.count, cases[i].count);
        assert_int_equal(options.publishers, cases[i].publishers);
        assert_int_equal(options.subscribers, cases[i].subscribers);
        assert_true(options.rate == cases[i].rate);
        assert_int_equal(options.version, cases[i].version);
        assert_int_equal(options.qos, 1);
        assert_int_equal(options.payload_bytes, 24);
        assert_true(options.clean_start);
        assert_true(options.keepalive_s == 300);
        assert_true(options.seconds == 30);
        assert_int_equal(options.window, 0);
    }
}

static void a_name_is_found_however_it_is_written(void **state)
{
    static const char *const names[] = {
        "sharedsub-50K-500-50K-50K",
        "sharesub-50K-500-50K-50K",
        "singlenode-sharesub-50K-500-50K-50K",
        "SHAREDSUB-50k-500-50k-50k",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        assert_non_null(preset_find(names[i]));
        assert_ptr_equal(preset_find(names[i]), preset_find(names[0]));
    }
    assert_ptr_equal(preset_find("fanout-1-1000-1-1000K"), preset_find("fanout-1-1K-1-1K"));
    assert_null(preset_find("p2p-1K"));
    assert_null(preset_find("pairs"));
    assert_null(preset_find("singlenode-"));
    assert_null(preset_find(""));
}

static void a_scale_multiplies_clients_and_rate(void **state)
{
    (void)state;
    struct options p2p = expand("p2p-1K-1K-1K-1K", "--scale=0.1", NULL, NULL);
    assert_int_equal(p2p.count, 100);
    assert_true(p2p.rate == 100);

    struct options fanout = expand("fanout-5-1000-5-250K", "--scale=0.01", NULL, NULL);
    assert_int_equal(fanout.publishers, 1); /* and never less */
    assert_int_equal(fanout.subscribers, 10);
    assert_true(fanout.rate == 2.5);

    struct options twice = expand("sharedsub-1K-5-1K-1K", "--scale=2", NULL, NULL);
    assert_int_equal(twice.publishers, 2000);
    assert_int_equal(twice.subscribers, 10);
    assert_true(twice.rate == 2000);
}

static void what_the_user_says_stays(void **state)
{
    (void)state;
    struct options options = expand("p2p-1K-1K-1K-1K", "--rate=7", "-q0", "--scale=0.5");
    assert_true(options.rate == 7);
    assert_int_equal(options.qos, 0);
    assert_int_equal(options.count, 500);
    options = expand("p2p-1K-1K-1K-1K", "-s16", "-V5", "--seconds=30m");
    assert_int_equal(options.payload_bytes, 16);
    assert_int_equal(options.version, 5);
    assert_true(options.seconds == 1800);
}

static void a_window_has_no_rate(void **state)
{
    (void)state;
    struct options options = expand("p2p-1K-1K-1K-1K", "--window=4", NULL, NULL);
    assert_int_equal(options.window, 4);
    assert_true(options.rate == 0);
}

static void where_it_departs_from_the_suite_it_says_so(void **state)
{
    char text[512] = "";
    (void)state;
    struct options options = expand("p2p-1K-1K-1K-1K", "--scale=0.1", NULL, NULL);
    FILE *out = fmemopen(text, sizeof(text) - 1, "w");
    assert_non_null(out);
    preset_print(preset_find("p2p-1K-1K-1K-1K"), &options, out);
    fclose(out);
    assert_non_null(strstr(text, "times 0.1"));
    assert_non_null(strstr(text, "payload 24 bytes, the suite's 16 hold no stamp"));
    assert_non_null(strstr(text, "30 s, the suite's are 1800"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_suites_use_cases_are_here),
        cmocka_unit_test(a_name_is_found_however_it_is_written),
        cmocka_unit_test(a_scale_multiplies_clients_and_rate),
        cmocka_unit_test(what_the_user_says_stays),
        cmocka_unit_test(a_window_has_no_rate),
        cmocka_unit_test(where_it_departs_from_the_suite_it_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
