/* A report as JSON, text and Markdown, and back again. */
#include "bench/command/words.h"
#include "bench/report/plot.h"
#include "bench/report/report.h"
#include "bench/report/report_json.h"
#include "bench/report/report_markdown.h"
#include "core/base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define SECOND ((uint64_t)1000000000)

static struct report report;
static struct environment environment;
static char problem[REPORT_PROBLEM_BYTES];

static int setup(void **state)
{
    (void)state;
    memset(&report, 0, sizeof(report));
    memset(&environment, 0, sizeof(environment));
    snprintf(environment.kernel, sizeof(environment.kernel), "Linux 9.9");
    snprintf(environment.command, sizeof(environment.command), "tern-bench run pairs");
    report = (struct report){
        .scenario = "pairs",
        .publisher_count = 3,
        .subscriber_count = 5,
        .payload_bytes = 64,
        .qos = 2,
        .rate = 1234.5,
        .generator_count = 2,
        .transport = "websocket",
        .is_persistent = true,
        .is_resuming = true,
        .handshake_count = 1000,
        .resumed_count = 989,
        .agreed = "TLSv1.3 A B",
        .window_ns = 2 * SECOND,
        .delivered_count = 2000,
        .has_target = true,
        .target_before = {.cpu_ns = 1000, .user_ns = 500, .resident_bytes = 1 << 20},
        .target_after = {.cpu_ns = 1000 + SECOND,
                         .user_ns = 500 + SECOND / 4,
                         .resident_bytes = 3 << 20,
                         .private_bytes = 2 << 20,
                         .proportional_bytes = (2 << 20) + 5,
                         .thread_count = 4},
        .bench_cpu_ns = SECOND / 2,
        .rate_reached = 1200.25,
        .lateness_p99_ns = 1500000,
        .lateness_max_ns = 9000000,
        .unsent_count = 17,
        .sent_count = 2500,
        .received_count = 2499,
        .lost_count = 1,
        .misdelivered_count = 2,
        .member_count = 5,
        .member_min = 490,
        .member_max = 510,
        .jain = 0.9876,
        .thing_name = "subscriptions",
        .thing_count = 1024,
        .kernel_bytes_before = 4096,
        .kernel_bytes_after = 4096 + 2048 * 1024,
        .is_same_machine = true,
        .phase_count = 1,
        .phases = {{"store", "messages", 100, SECOND, 5000, 1, 2, 3, 0, 0}},
        .has_account = true,
        .account = {.received_count = 7,
                    .sent_count = 8,
                    .reason_count = 2,
                    .dropped = {{"queue_full", 3}, {"expired", 0}}},
        .environment = &environment,
    };
    for (uint64_t i = 1; i <= 1000; i++) {
        histogram_add(&report.latency, i * 1237);
    }
    report.series = series_new();
    series_begin(report.series, SECOND);
    series_tick(report.series, SECOND, &report.target_before);
    series_delivery(report.series, SECOND + 5, 777);
    series_sent(report.series, SECOND + 5, 4);
    series_end(report.series, 3 * SECOND, &report.target_after);
    series_mark_window(report.series, SECOND, 3 * SECOND);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    series_free(report.series);
    return 0;
}

/* As JSON; the caller frees. */
static char *written(const struct report *of)
{
    struct buf buf = {0};
    assert_int_equal(report_write_json(of, &buf), OK);
    char *text = calloc(1, buf_count(&buf) + 1);
    memcpy(text, buf_bytes(&buf).data, buf_count(&buf));
    buf_deinit(&buf);
    return text;
}

static void a_report_survives_being_written_and_read(void **state)
{
    struct report_saved *saved = NULL;
    (void)state;
    char *first = written(&report);
    assert_int_equal(report_from_json(slice_text(first), &saved, problem), OK);
    assert_string_equal(problem, "");
    const struct report *back = report_saved_report(saved);
    assert_string_equal(back->scenario, "pairs");
    assert_string_equal(back->transport, "websocket");
    assert_string_equal(back->thing_name, "subscriptions");
    assert_int_equal(back->qos, 2);
    assert_string_equal(back->agreed, "TLSv1.3 A B");
    assert_true(back->is_resuming);
    assert_int_equal(back->handshake_count, 1000);
    assert_int_equal(back->resumed_count, 989);
    assert_true(back->rate == 1234.5 && back->rate_reached == 1200.25 && back->jain == 0.9876);
    assert_int_equal(back->unsent_count, 17);
    assert_int_equal(back->misdelivered_count, 2);
    assert_true(report_cpu_us(back) == report_cpu_us(&report));
    assert_true(report_cpu_user_us(back) == report_cpu_user_us(&report));
    assert_true(report_thing_bytes(back) == report_thing_bytes(&report));
    assert_int_equal(histogram_quantile(&back->latency, 0.99),
                     histogram_quantile(&report.latency, 0.99));
    assert_true(histogram_mean(&back->latency) == histogram_mean(&report.latency));
    assert_int_equal(back->latency.value_min, 1237);
    assert_int_equal(back->phase_count, 1);
    assert_string_equal(back->phases[0].name, "store");
    assert_int_equal(back->account.dropped[0].count, 3);
    assert_string_equal(back->environment->kernel, "Linux 9.9");
    assert_int_equal(series_count(back->series), 2);
    assert_int_equal(series_second(back->series, 0)->max_ns, 777);
    assert_int_equal(series_window_end_ns(back->series), 2 * SECOND);
    /* And what is written of it again is the same text, to the last figure. */
    char *second = written(back);
    assert_string_equal(first, second);
    free(second);
    free(first);
    report_saved_free(saved);
    report_saved_free(NULL);
}

static void an_empty_report_survives_too(void **state)
{
    static struct report empty;
    struct report_saved *saved = NULL;
    (void)state;
    empty.scenario = "idle";
    char *first = written(&empty);
    assert_int_equal(report_from_json(slice_text(first), &saved, problem), OK);
    assert_null(report_saved_report(saved)->series);
    assert_null(report_saved_report(saved)->environment);
    assert_null(report_saved_report(saved)->transport);
    assert_false(report_saved_report(saved)->has_target);
    assert_true(report_is_clean(report_saved_report(saved)));
    report_saved_free(saved);
    free(first);
}

static void what_is_no_report_is_refused_with_the_key_that_is_wrong(void **state)
{
    static const struct {
        const char *text;
        enum err err;
        const char *said;
    } cases[] = {
        {"", ERR_INVALID, "JSON"},
        {"[]", ERR_INVALID, "\"format\""},
        {"{\"scenario\":\"pairs\"}", ERR_INVALID, "\"format\""},
        {"{\"format\":2,\"scenario\":\"pairs\"}", ERR_UNSUPPORTED, "format 2"},
        {"{\"format\":1}", ERR_INVALID, "\"scenario\""},
        {"{\"format\":1,\"scenario\":\"\"}", ERR_INVALID, "\"scenario\""},
        {"{\"format\":1,\"scenario\":\"x\",\"lost\":-1}", ERR_INVALID, "\"lost\""},
        {"{\"format\":1,\"scenario\":\"x\",\"lost\":\"1\"}", ERR_INVALID, "\"lost\""},
        {"{\"format\":1,\"scenario\":\"x\",\"qos\":256}", ERR_INVALID, "\"qos\""},
        {"{\"format\":1,\"scenario\":\"x\",\"stalled\":0}", ERR_INVALID, "\"stalled\""},
        {"{\"format\":1,\"scenario\":\"x\",\"broker_cpu_ns\":1.5}", ERR_INVALID, "broker_cpu_ns"},
        {"{\"format\":1,\"scenario\":\"x\",\"histogram\":{\"cells\":[1]}}", ERR_INVALID,
         "\"histogram\""},
        {"{\"format\":1,\"scenario\":\"x\",\"histogram\":{\"cells\":[7424,1]}}", ERR_INVALID,
         "cell"},
        {"{\"format\":1,\"scenario\":\"x\",\"histogram\":{\"cells\":[1,0]}}", ERR_INVALID, "cell"},
        {"{\"format\":1,\"scenario\":\"x\",\"histogram\":{\"cells\":[1,281474976710656]}}",
         ERR_INVALID, "cell"},
        {"{\"format\":1,\"scenario\":\"x\",\"histogram\":{\"cells\":[1,1],\"min\":2,\"max\":1,"
         "\"sum\":1}}",
         ERR_INVALID, "contradicts"},
        {"{\"format\":1,\"scenario\":\"x\",\"phases\":[{}]}", ERR_INVALID, "\"phases\""},
        {"{\"format\":1,\"scenario\":\"x\",\"series\":{\"seconds\":[{\"cells\":[9999,1]}]}}",
         ERR_INVALID, "cell"},
        {"{\"format\":1,\"scenario\":\"x\",\"series\":{\"window_begin_ns\":2,\"window_end_ns\":1}}",
         ERR_INVALID, "\"series\""},
        {"{\"format\":1,\"scenario\":\"x\",\"account\":{\"reasons\":{\"a\":true}}}", ERR_INVALID,
         "\"account\""},
        {"{\"format\":1,\"scenario\":[[[[[[[[[]]]]]]]]]}", ERR_LIMIT, ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct report_saved *saved = NULL;
        assert_int_equal(report_from_json(slice_text(cases[i].text), &saved, problem),
                         cases[i].err);
        assert_null(saved);
        assert_non_null(strstr(problem, cases[i].said));
    }
}

static void a_file_that_cannot_be_read_is_named(void **state)
{
    struct report_saved *saved = NULL;
    (void)state;
    assert_int_equal(report_from_file("no/such/file.json", &saved, problem), ERR_NOT_FOUND);
    assert_non_null(strstr(problem, "no/such/file.json: "));
    assert_int_equal(report_from_file("CMakeLists.txt", &saved, problem), ERR_INVALID);
    assert_non_null(strstr(problem, "CMakeLists.txt: "));
    assert_int_equal(report_from_file("/", &saved, problem), ERR_INVALID);
    assert_string_equal(problem, "/: this is a directory");
    assert_null(saved);
}

/* Cut anywhere, it is refused, and never believed. */
static void half_a_report_is_no_report(void **state)
{
    char *text = written(&report);
    (void)state;
    for (size_t count = 0; count < strlen(text); count += 97) {
        struct report_saved *saved = NULL;
        assert_int_not_equal(report_from_json(slice_of(text, count), &saved, problem), OK);
        assert_null(saved);
    }
    free(text);
}

/* Digits and brackets changed at random: what is still read can be printed, drawn and merged. */
static void a_report_that_lies_trips_nobody(void **state)
{
    static const char alphabet[] = "0123456789-.e,[]{}\":x";
    char *text = written(&report);
    size_t count = strlen(text);
    struct rng rng;
    uint32_t believed = 0;
    FILE *out = fopen("/dev/null", "w");
    (void)state;
    rng_init(&rng, 19);
    for (uint32_t round = 0; round < 1000; round++) {
        struct report_saved *saved = NULL;
        char *changed = malloc(count);
        memcpy(changed, text, count);
        for (uint32_t i = rng_below(&rng, 4); i < 4; i++) {
            size_t at = rng_below(&rng, (uint32_t)count);
            /* Mostly a figure for a figure, so that it stays JSON. */
            bool is_digit = changed[at] >= '0' && changed[at] <= '9';
            changed[at] = alphabet[rng_below(&rng, is_digit ? 10 : sizeof(alphabet) - 1)];
        }
        if (report_from_json(slice_of(changed, count), &saved, problem) == OK) {
            struct report *back = report_saved_report(saved);
            struct buf picture = {0};
            believed++;
            report_print(back, out);
            report_print_markdown(back, out);
            report_print_json(back, out);
            (void)plot_html(back, &picture);
            buf_deinit(&picture);
            if (back->series != NULL) {
                assert_int_equal(series_merge(report.series, back->series), OK);
            }
        }
        report_saved_free(saved);
        free(changed);
    }
    assert_true(believed > 50);
    fclose(out);
    free(text);
}

static char *printed(void (*print)(const struct report *, FILE *))
{
    char *text = NULL;
    size_t count = 0;
    FILE *out = open_memstream(&text, &count);
    print(&report, out);
    fclose(out);
    return text;
}

static void the_text_tells_what_a_reader_must_not_miss(void **state)
{
    (void)state;
    report.is_generator_bound = true;
    char *text = printed(report_print);
    static const char *const said[] = {"QoS 2",
                                       "websocket",
                                       "persistent sessions",
                                       "2 generators",
                                       "100 messages in 1.000 s",
                                       "user 125.000",
                                       "system 375.000",
                                       "4 threads",
                                       "about half",
                                       "subscriptions",
                                       "17 messages never left",
                                       "BOTTLENECK",
                                       "TLSv1.3 A B; 1,000 handshakes, 989 of them resumed",
                                       "NOT ALL WERE RESUMED: 98.9 %",
                                       "late",
                                       "VIOLATIONS: lost 1, delivered to the wrong client 2\n",
                                       "queue_full 3",
                                       "least 490, most 510"};
    for (size_t i = 0; i < sizeof(said) / sizeof(said[0]); i++) {
        assert_non_null(strstr(text, said[i]));
    }
    assert_null(strstr(text, "expired"));
    assert_null(strstr(text, "checked:"));
    free(text);
}

static void fewer_than_99_of_100_resumed_are_told(void **state)
{
    (void)state;
    assert_true(report_is_hardly_resumed(&report));
    report.resumed_count = 990;
    assert_false(report_is_hardly_resumed(&report));
    report.resumed_count = 0;
    assert_true(report_is_hardly_resumed(&report));
    report.is_resuming = false; /* nobody asked for it */
    assert_false(report_is_hardly_resumed(&report));
    report.handshake_count = 0;
    char *text = printed(report_print);
    assert_null(strstr(text, "handshakes"));
    free(text);
}

static void a_storm_tells_what_others_felt_before_and_during_side_by_side(void **state)
{
    (void)state;
    report.phases[0] = (struct report_phase){"others, calm", "messages", 9,    SECOND, 0,
                                             1000,           2000,       3000, 0,      0};
    report.phases[1] = (struct report_phase){
        "others, storm", "messages", 9, SECOND, 0, 4000, 5000, 6000, 0, 0};
    report.phase_count = 2;
    char *text = printed(report_print);
    assert_non_null(strstr(text, "p50 1.00 us -> 4.00 us, p99 2.00 us -> 5.00 us, max 3.00 us -> "
                                 "6.00 us\n"));
    free(text);
    report.phase_count = 1; /* it ended before the storm */
    text = printed(report_print);
    assert_null(strstr(text, "others: "));
    free(text);
}

/* The text of a report of so many connections, and what the kernel held before and after. */
static bool kernel_is_told(uint64_t count, uint64_t before, uint64_t after, char *text,
                           size_t bytes)
{
    report = (struct report){.scenario = "idle", .idle_count = count};
    report.kernel_bytes_before = before;
    report.kernel_bytes_after = after;
    FILE *file = fmemopen(text, bytes, "w");
    assert_non_null(file);
    report_print(&report, file);
    fclose(file);
    assert_true((strstr(text, "is noise of the machine") != NULL) ==
                (report_kernel_bytes(&report) == 0));
    return report_kernel_bytes(&report) > 0;
}

static void what_the_kernel_holds_is_a_number_only_where_it_stands_out(void **state)
{
    char text[4096];
    (void)state;
    assert_true(kernel_is_told(1000, 1 << 20, 5 << 20, text, sizeof(text)));
    assert_non_null(strstr(text, "kernel:    4194 bytes each"));
    assert_false(kernel_is_told(999, 1 << 20, 5 << 20, text, sizeof(text)));
    assert_null(strstr(text, "bytes each"));
    assert_false(kernel_is_told(100000, 5 << 20, 1 << 20, text, sizeof(text))); /* it shrank */
    assert_null(strstr(text, "bytes each"));
    assert_non_null(strstr(text, "some 1,000 connections or more"));
}

static void the_advice_names_the_figure_that_stands_out(void **state)
{
    char advice[REPORT_ADVICE_BYTES];
    (void)state;
    assert_string_equal(report_advice(&report, advice), "");
    report.is_generator_bound = true;
    report.bench_cpu_ns = 4 * SECOND - 1; /* of two threads in two seconds */
    assert_non_null(strstr(report_advice(&report, advice), "100 %"));
    report.bench_cpu_ns = SECOND;
    report.rate_reached = 1000;
    assert_non_null(strstr(report_advice(&report, advice), "1,000 messages/s left of 1,235"));
    report.rate_reached = report.rate;
    assert_non_null(strstr(report_advice(&report, advice), "p99 1.50 ms, at most 9.00 ms"));
}

static void the_markdown_is_whole_and_its_tables_hold(void **state)
{
    (void)state;
    snprintf(environment.cpu, sizeof(environment.cpu), "a|b <i>");
    char *text = printed(report_print_markdown);
    assert_non_null(strstr(text, "# tern-bench: pairs\n"));
    assert_non_null(strstr(text, "    tern-bench run pairs\n"));
    assert_non_null(strstr(text, "- lost: 1\n"));
    assert_non_null(strstr(text, "| latency p99.9 | "));
    assert_non_null(strstr(text, "| 0 | 4 | 1 | "));
    assert_non_null(strstr(text, "a\\|b \\<i>"));
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        if (line[0] == '|') {
            assert_int_equal(line[strlen(line) - 1], '|');
        }
    }
    free(text);
}

static void violations_come_in_order_and_once_each(void **state)
{
    struct report_violation violation;
    const char *keys[32] = {NULL};
    uint32_t cursor = 0, count = 0;
    (void)state;
    report.is_stalled = true;
    while (report_violation_next(&report, &cursor, &violation)) {
        for (uint32_t i = 0; i < count; i++) {
            assert_string_not_equal(keys[i], violation.key);
        }
        keys[count++] = violation.key;
    }
    assert_string_equal(keys[0], "lost");
    assert_string_equal(violation.key, "stalled");
    assert_int_equal(violation.count, 1);
    assert_false(report_violation_next(&report, &cursor, &violation));
}

static void numbers_read_well(void **state)
{
    char out[WORDS_BYTES];
    (void)state;
    assert_string_equal(words_count(0, out), "0");
    assert_string_equal(words_count(999, out), "999");
    assert_string_equal(words_count(1000, out), "1,000");
    assert_string_equal(words_count(UINT64_MAX, out), "18,446,744,073,709,551,615");
    assert_string_equal(words_number(1234.4, out), "1,234");
    assert_string_equal(words_number(12.345, out), "12.3");
    assert_string_equal(words_number(1.2345, out), "1.23");
    assert_string_equal(words_number(0, out), "0");
    assert_string_equal(words_number(4, out), "4");
    assert_string_equal(words_short(250000, out), "250k");
    assert_string_equal(words_duration(999, out), "999 ns");
    assert_string_equal(words_duration(1500, out), "1.50 us");
    assert_string_equal(words_duration(UINT64_MAX, out), "18446744074 s");
    assert_string_equal(words_bytes(733, out), "733 bytes");
    assert_string_equal(words_bytes(5.1 * 1048576, out), "5.10 MiB");
    assert_string_equal(words_bytes(-20 * 1048576.0, out), "-20.0 MiB");
}

/* ---- the environment ----------------------------------------------------------------------- */

static void the_command_line_is_told_without_its_secrets(void **state)
{
    char *values[] = {"tern-bench", "run",  "pairs",           "-P",     "hush",
                      "--password", "hush", "--password=hush", "-Phush", "--agent-key=hush",
                      "-t",         "a b",  "--port",          "1883"};
    (void)state;
    environment_begin(&environment, sizeof(values) / sizeof(values[0]), values, 0,
                      "127.0.0.1:1883");
    assert_null(strstr(environment.command, "hush"));
    assert_string_equal(environment.command,
                        "tern-bench run pairs -P *** --password *** --password=*** -P*** "
                        "--agent-key=*** -t 'a b' --port 1883");
}

static void the_machine_is_described_and_nothing_is_invented(void **state)
{
    struct environment_fact fact;
    uint32_t count = 0;
    (void)state;
    environment_begin(&environment, 0, NULL, 0, "");
    environment_end(&environment);
    assert_non_null(strstr(environment.kernel, "Linux"));
    assert_non_null(strstr(environment.time, "UTC"));
    assert_non_null(strstr(environment.generator, "tern-bench"));
    assert_string_equal(environment.broker_process, "");
    assert_string_equal(environment.command, "");
    for (uint32_t cursor = 0; environment_next(&environment, &cursor, &fact); count++) {
        assert_true(fact.value[0] != '\0');
        assert_string_equal(environment_value(&environment, fact.key), fact.value);
    }
    assert_true(count > 5);
    assert_string_equal(environment_value(&environment, "no such fact"), "");
}

static void a_process_is_described_by_what_it_was_started_with(void **state)
{
    (void)state;
    environment_begin(&environment, 0, NULL, getpid(), "");
    assert_non_null(strstr(environment.broker_process, "test_bench_rep"));
    assert_non_null(strstr(environment.broker_command, "test_bench_report"));
    assert_true(atoi(environment.broker_threads) >= 1);
    assert_true(environment.broker_cores[0] != '\0');
    environment_begin(&environment, 0, NULL, INT32_MAX, ""); /* there is no such process */
    assert_string_equal(environment.broker_process, "");
    assert_string_equal(environment.broker_command, "");
}

int main(void)
{
#define WITH_REPORT(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_REPORT(a_report_survives_being_written_and_read),
        cmocka_unit_test(an_empty_report_survives_too),
        cmocka_unit_test(what_is_no_report_is_refused_with_the_key_that_is_wrong),
        cmocka_unit_test(a_file_that_cannot_be_read_is_named),
        WITH_REPORT(half_a_report_is_no_report),
        WITH_REPORT(a_report_that_lies_trips_nobody),
        WITH_REPORT(fewer_than_99_of_100_resumed_are_told),
        WITH_REPORT(a_storm_tells_what_others_felt_before_and_during_side_by_side),
        WITH_REPORT(the_text_tells_what_a_reader_must_not_miss),
        WITH_REPORT(the_advice_names_the_figure_that_stands_out),
        WITH_REPORT(the_markdown_is_whole_and_its_tables_hold),
        WITH_REPORT(violations_come_in_order_and_once_each),
        cmocka_unit_test(what_the_kernel_holds_is_a_number_only_where_it_stands_out),
        cmocka_unit_test(numbers_read_well),
        cmocka_unit_test(the_command_line_is_told_without_its_secrets),
        cmocka_unit_test(the_machine_is_described_and_nothing_is_invented),
        cmocka_unit_test(a_process_is_described_by_what_it_was_started_with),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
