#include "bench/report/compare_runs.h"
#include "bench/report/report_json.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { EXIT_USAGE = 64, PATH_BYTES = 64 };

static char folder[] = "/tmp/tern-compare-XXXXXX";
static char written[32][PATH_BYTES];
static uint32_t written_count;
static char *out, *problems;

static int setup(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/tern-compare-XXXXXX");
    assert_non_null(mkdtemp(folder));
    out = problems = NULL;
    written_count = 0;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < written_count; i++) {
        unlink(written[i]);
    }
    rmdir(folder);
    free(out);
    free(problems);
    return 0;
}

/* A file with a run that had this CPU time per message and this latency; its path. */
static const char *run_of(double cpu_us, uint64_t latency_ns, uint64_t lost, const char *kernel)
{
    static struct report report;
    static struct environment environment;
    struct buf buf = {0};
    memset(&report, 0, sizeof(report));
    memset(&environment, 0, sizeof(environment));
    snprintf(environment.kernel, sizeof(environment.kernel), "%s", kernel);
    snprintf(environment.command, sizeof(environment.command), "run %u", written_count);
    report.scenario = "pairs";
    report.window_ns = 1000000000;
    report.delivered_count = 1000;
    report.has_target = true;
    report.target_after.cpu_ns = (uint64_t)(cpu_us * 1e6);
    report.target_after.resident_bytes = 1000000;
    report.lost_count = lost;
    report.phase_count = 1;
    report.phases[0] = (struct report_phase){
        .name = "store", .unit = "messages", .count = 1000, .ns = (uint64_t)(cpu_us * 1e8)};
    report.environment = &environment;
    histogram_add(&report.latency, latency_ns);
    char *path = written[written_count];
    snprintf(path, PATH_BYTES, "%s/%u.json", folder, written_count++);
    assert_int_equal(report_write_json(&report, &buf), OK);
    FILE *file = fopen(path, "w");
    fwrite(buf_bytes(&buf).data, 1, buf_count(&buf), file);
    fclose(file);
    buf_deinit(&buf);
    return path;
}

static int compared(const char *before, const char *after, double worse_percent, bool is_json)
{
    struct compare_options options = {before, after, worse_percent, is_json};
    size_t out_count, problem_count;
    free(out);
    free(problems);
    FILE *to = open_memstream(&out, &out_count);
    FILE *told = open_memstream(&problems, &problem_count);
    int status = compare_runs(&options, to, told);
    fclose(to);
    fclose(told);
    return status;
}

/* The line of the table that begins with the title. */
static const char *line_of(const char *title)
{
    const char *line = strstr(out, title);
    assert_non_null(line);
    *strchr(line, '\n') = '\0';
    return line;
}

static void two_runs_are_set_side_by_side(void **state)
{
    (void)state;
    const char *a = run_of(4, 1000, 0, "k");
    assert_int_equal(compared(a, run_of(2, 3000, 0, "k"), 0, false), 0);
    assert_string_equal(problems, "");
    assert_null(strstr(out, "CONDITIONS"));
    char *keep = strdup(out);
    assert_non_null(strstr(line_of("broker CPU each, us"), "0.500  better"));
    strcpy(out, keep);
    assert_non_null(strstr(line_of("latency p99, us"), "3.000  worse"));
    strcpy(out, keep);
    assert_non_null(strstr(line_of("deliveries or connects/s"), "1.000  same"));
    strcpy(out, keep);
    assert_non_null(strstr(line_of("store: per second"), "2.000  better"));
    strcpy(out, keep);
    assert_null(strstr(out, "store: p99")); /* nobody measured it */
    free(keep);
}

static void a_figure_that_is_worse_than_allowed_is_exit_1(void **state)
{
    (void)state;
    const char *a = run_of(4, 1000, 0, "k"), *b = run_of(4.4, 1000, 0, "k");
    assert_int_equal(compared(a, b, 0, false), 0);
    assert_int_equal(compared(a, b, 20, false), 0);
    assert_int_equal(compared(a, b, 5, false), 1);
    assert_non_null(strstr(line_of("broker CPU each, us"), "MORE THAN ALLOWED"));
    assert_int_equal(compared(b, a, 5, false), 0); /* better is never too much */
}

static void runs_that_overlap_have_not_changed(void **state)
{
    char before[512], after[512];
    (void)state;
    snprintf(before, sizeof(before), "%s,%s,%s", run_of(4, 1000, 0, "k"), run_of(5, 1000, 0, "k"),
             run_of(6, 1000, 0, "k"));
    snprintf(after, sizeof(after), "%s,%s", run_of(5.9, 1000, 0, "k"), run_of(9, 1000, 0, "k"));
    assert_int_equal(compared(before, after, 10, false), 0);
    const char *line = line_of("broker CPU each, us");
    assert_non_null(strstr(line, "within the spread"));
    assert_non_null(strstr(line, "5 +-20%"));
    assert_non_null(strstr(line, "1.490"));
    snprintf(after, sizeof(after), "%s,%s", run_of(6.1, 1000, 0, "k"), run_of(9, 1000, 0, "k"));
    assert_int_equal(compared(before, after, 10, false), 1);
}

static void other_conditions_are_named(void **state)
{
    (void)state;
    assert_int_equal(
        compared(run_of(4, 1000, 0, "Linux 1"), run_of(4, 1000, 0, "Linux 2"), 5, false), 0);
    assert_non_null(strstr(out, "NOT THE SAME CONDITIONS"));
    assert_non_null(strstr(out, "Linux 1  ->  Linux 2"));
    assert_null(strstr(out, "run 0")); /* the command line is of the run */
    assert_int_equal(compared(run_of(4, 1000, 0, ""), run_of(4, 1000, 0, "Linux 2"), 5, false), 0);
    assert_non_null(strstr(out, "-  ->  Linux 2"));
}

static void new_violations_are_worse_than_anything(void **state)
{
    (void)state;
    const char *clean = run_of(4, 1000, 0, "k"), *unclean = run_of(2, 500, 3, "k");
    assert_int_equal(compared(clean, unclean, 0, false), 1);
    assert_non_null(strstr(out, "VIOLATIONS in B: 1 of 1 runs"));
    assert_int_equal(compared(unclean, clean, 0, false), 0);
    assert_non_null(strstr(out, "VIOLATIONS in A"));
    assert_int_equal(compared(unclean, unclean, 0, false), 0);
}

static void what_cannot_be_compared_is_said_and_nothing_else(void **state)
{
    (void)state;
    const char *a = run_of(4, 1000, 0, "k");
    static const char *const others[] = {"no/such.json", "CMakeLists.txt", "", ",,", "tests"};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        assert_int_equal(compared(a, others[i], 0, false), EXIT_USAGE);
        assert_string_equal(out, "");
        assert_non_null(strstr(problems, "tern-bench: compare: "));
        assert_int_equal(compared(others[i], a, 0, false), EXIT_USAGE);
    }
    assert_int_equal(compared("no/such.json", a, 0, false), EXIT_USAGE);
    assert_non_null(strstr(problems, "no/such.json: not found"));
    char *many = calloc(COMPARE_RUNS_MAX + 2, PATH_BYTES);
    for (int i = 0; i <= COMPARE_RUNS_MAX; i++) {
        strcat(strcat(many, a), ",");
    }
    assert_int_equal(compared(many, a, 0, false), EXIT_USAGE);
    assert_non_null(strstr(problems, "more than 64 runs"));
    free(many);
}

static void the_json_says_the_same(void **state)
{
    (void)state;
    const char *a = run_of(4, 1000, 0, "k"), *b = run_of(5, 1000, 0, "l");
    assert_int_equal(compared(a, b, 10, true), 1);
    json_t *json = json_loads(out, JSON_REJECT_DUPLICATES, NULL);
    json_t *cpu = json_object_get(json_object_get(json, "figures"), "broker_cpu_us");
    assert_true(json_number_value(json_object_get(cpu, "ratio")) == 1.25);
    assert_true(json_is_true(json_object_get(cpu, "worse_than_allowed")));
    assert_non_null(json_object_get(json_object_get(json, "figures"), "store.per_second"));
    assert_true(json_number_value(json_object_get(json_object_get(cpu, "a"), "median")) == 4);
    assert_true(json_is_null(
        json_object_get(json_object_get(json_object_get(json, "figures"), "jain"), "a")));
    assert_int_equal(json_array_size(json_object_get(json, "differences")), 1);
    assert_true(json_is_true(json_object_get(json, "worse")));
    json_decref(json);
}

int main(void)
{
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        IN_FOLDER(two_runs_are_set_side_by_side),
        IN_FOLDER(a_figure_that_is_worse_than_allowed_is_exit_1),
        IN_FOLDER(runs_that_overlap_have_not_changed),
        IN_FOLDER(other_conditions_are_named),
        IN_FOLDER(new_violations_are_worse_than_anything),
        IN_FOLDER(what_cannot_be_compared_is_said_and_nothing_else),
        IN_FOLDER(the_json_says_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
