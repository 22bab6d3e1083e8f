/* What tern-bench says of what lasts: bytes to the disk, the loops of stores, the limit of the disk. */
#include "bench/report/report.h"
#include "bench/report/report_json.h"
#include "bench/report/target.h"
#include "bench/scenario/scenario.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cmocka.h>

enum { TMPFS = 0x01021994, OVERLAY = 0x794c7630 };

static struct report report;

static int setup(void **state)
{
    (void)state;
    memset(&report, 0, sizeof(report));
    report.scenario = "online";
    report.payload_bytes = 64;
    report.phases[0] = (struct report_phase){.name = "store",
                                             .unit = "messages",
                                             .count = 100,
                                             .ns = 1000000000,
                                             .broker_written_bytes = 16000,
                                             .broker_resident_bytes = 3 << 20};
    report.phase_count = 1;
    return 0;
}

static char *written(void (*print)(const struct report *, FILE *))
{
    char *text = NULL;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);
    print(&report, out);
    fclose(out);
    return text;
}

static void what_goes_to_the_disk_is_told_beside_the_payload(void **state)
{
    (void)state;
    char *text = written(report_print);
    assert_non_null(strstr(text, "160 bytes to its disk each (2.5 times the payload)"));
    assert_non_null(strstr(text, "resident 3.00 MiB"));
    free(text);
    /* Sessions have no payload, and who wrote nothing is not accused of it. */
    report.phases[0].unit = "sessions";
    text = written(report_print);
    assert_non_null(strstr(text, "160 bytes to its disk each"));
    assert_null(strstr(text, "times the payload"));
    free(text);
    report.phases[0].broker_written_bytes = report.phases[0].broker_resident_bytes = 0;
    text = written(report_print);
    assert_null(strstr(text, "disk"));
    assert_null(strstr(text, "resident"));
    free(text);
}

static void it_survives_a_file_and_files_without_it_are_read(void **state)
{
    struct report_saved *saved = NULL;
    char problem[REPORT_PROBLEM_BYTES];
    (void)state;
    char *text = written(report_print_json);
    assert_int_equal(report_from_json(slice_text(text), &saved, problem), OK);
    const struct report_phase *phase = &report_saved_report(saved)->phases[0];
    assert_int_equal(phase->broker_written_bytes, 16000);
    assert_int_equal(phase->broker_resident_bytes, 3 << 20);
    report_saved_free(saved);
    free(text);
    const char *old =
        "{\"format\":1,\"scenario\":\"queued\",\"phases\":[{\"name\":\"store\",\"unit\":"
        "\"messages\",\"count\":1,\"ns\":1,\"broker_cpu_ns\":1,\"p50_ns\":0,"
        "\"p99_ns\":0,\"max_ns\":0}]}";
    assert_int_equal(report_from_json(slice_text(old), &saved, problem), OK);
    assert_int_equal(report_saved_report(saved)->phases[0].broker_written_bytes, 0);
    report_saved_free(saved);
}

static void bytes_that_a_process_writes_are_seen_from_outside(void **state)
{
    struct target_usage before, after;
    struct statfs where;
    char block[4096], path[] = "build/tern-bench-durable-XXXXXX";
    (void)state;
    int file = mkstemp(path);
    if (file < 0 || fstatfs(file, &where) != 0 || where.f_type == TMPFS ||
        where.f_type == OVERLAY) {
        if (file >= 0) {
            close(file);
            unlink(path);
        }
        skip(); /* memory is no disk */
    }
    unlink(path);
    memset(block, 'x', sizeof(block));
    assert_int_equal(target_usage_quick(0, &before), OK);
    for (int i = 0; i < 64; i++) {
        assert_int_equal(write(file, block, sizeof(block)), sizeof(block));
    }
    assert_int_equal(fdatasync(file), 0);
    close(file);
    assert_int_equal(target_usage_quick(0, &after), OK);
    assert_true(after.written_bytes - before.written_bytes >= 64 * sizeof(block));
}

static void stores_go_as_fast_as_they_can_or_at_a_rate_and_not_both(void **state)
{
    static const struct {
        const char *scenario;
        double rate;
        uint32_t window;
        enum err err;
    } rows[] = {
        {"online", 0, 0, OK},
        {"online", 100, 0, OK},
        {"online", 0, 16, OK},
        {"online", 100, 16, ERR_INVALID},
        {"queued", 100, 0, OK},
        {"queued", 0, 16, OK},
        {"queued", 100, 16, ERR_INVALID},
        {"persist", 0, 16, OK},
        {"persist", 100, 0, ERR_INVALID}, /* its figures are of coming back */
        {"retained", 100, 0, ERR_INVALID},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char why[SCENARIO_WHY_BYTES] = "";
        struct scenario_options options = {
            .rate = rows[i].rate,
            .window = rows[i].window,
            .payload_bytes = 64,
            .qos = 1,
        };
        const struct scenario *scenario = scenario_find(rows[i].scenario);
        assert_non_null(scenario);
        assert_int_equal(scenario_check(scenario, &options, why), rows[i].err);
        assert_true((why[0] != '\0') == (rows[i].err != OK));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(what_goes_to_the_disk_is_told_beside_the_payload, setup),
        cmocka_unit_test_setup(it_survives_a_file_and_files_without_it_are_read, setup),
        cmocka_unit_test(bytes_that_a_process_writes_are_seen_from_outside),
        cmocka_unit_test(stores_go_as_fast_as_they_can_or_at_a_rate_and_not_both),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
