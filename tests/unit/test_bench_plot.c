#include "bench/report/plot.h"
#include "bench/report/plot_page.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define SECOND ((uint64_t)1000000000)

static struct report report;
static struct environment environment;

static int setup(void **state)
{
    (void)state;
    memset(&environment, 0, sizeof(environment));
    memset(&report, 0, sizeof(report));
    report.scenario = "pairs";
    report.publisher_count = report.subscriber_count = 2;
    report.window = 1;
    report.environment = &environment;
    report.series = series_new();
    series_begin(report.series, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    series_free(report.series);
    return 0;
}

static void fill(uint32_t seconds, uint64_t latency_ns, bool has_target)
{
    struct target_usage usage = {.resident_bytes = 5 << 20};
    series_tick(report.series, 0, has_target ? &usage : NULL);
    for (uint32_t i = 0; i < seconds; i++) {
        series_sent(report.series, i * SECOND, 10);
        if (i % 7 != 3) { /* some are silent */
            series_delivery(report.series, i * SECOND, latency_ns + i);
        }
        usage.cpu_ns += SECOND / 3;
        series_tick(report.series, (i + 1) * SECOND, has_target ? &usage : NULL);
    }
    series_end(report.series, seconds * SECOND, has_target ? &usage : NULL);
    series_mark_window(report.series, SECOND / 2, seconds * SECOND - SECOND / 2);
}

static char *drawn(enum err (*draw)(const struct report *, struct buf *))
{
    struct buf buf = {0};
    assert_int_equal(draw(&report, &buf), OK);
    char *text = calloc(1, buf_count(&buf) + 1);
    memcpy(text, buf_bytes(&buf).data, buf_count(&buf));
    buf_deinit(&buf);
    return text;
}

/* Every element that opens closes, in order; every attribute is quoted; no stray < or &. */
static void assert_well_formed(const char *text)
{
    const char *names[64];
    size_t counts[64], depth = 0;
    for (const char *at = text; *at != '\0';) {
        if (*at == '&') {
            assert_true(strncmp(at, "&lt;", 4) == 0 || strncmp(at, "&gt;", 4) == 0 ||
                        strncmp(at, "&amp;", 5) == 0 || strncmp(at, "&quot;", 6) == 0 ||
                        strncmp(at, "&#39;", 5) == 0);
        }
        if (*at != '<') {
            at++;
            continue;
        }
        const char *end = strchr(at, '>');
        assert_non_null(end);
        bool is_closing = at[1] == '/', is_empty = end[-1] == '/';
        const char *name = at + (is_closing ? 2 : 1);
        size_t count = strcspn(name, " />");
        assert_true(count > 0);
        size_t quotes = 0;
        for (const char *in = at + 1; in < end; in++) {
            assert_true(*in != '<');
            quotes += *in == '"';
        }
        assert_true(quotes % 2 == 0);
        if (is_closing) {
            assert_true(depth > 0);
            depth--;
            assert_true(counts[depth] == count && memcmp(names[depth], name, count) == 0);
        } else if (!is_empty) {
            assert_true(depth < 64);
            names[depth] = name;
            counts[depth++] = count;
        }
        at = end + 1;
    }
    assert_int_equal(depth, 0);
}

/* Every point of every line lies on the paper. */
static void assert_on_paper(const char *text)
{
    double width = 0, height = 0;
    assert_int_equal(
        sscanf(strstr(text, "viewBox=\"0 0 "), "viewBox=\"0 0 %lf %lf\"", &width, &height), 2);
    assert_null(strstr(text, "nan"));
    assert_null(strstr(text, "inf"));
    for (const char *at = text; (at = strstr(at, " d=\"")) != NULL;) {
        at += 4;
        while (*at != '"') {
            char command = *at++, *end;
            double first = command == 'Z' ? 0 : strtod(at, &end);
            at = command == 'Z' ? at : end;
            assert_non_null(strchr("MLHVZhv", command));
            if (command == 'M' || command == 'L') {
                assert_true(*at == ' ');
                double y = strtod(at + 1, &end);
                at = end;
                assert_true(y >= 0 && y <= height);
            }
            assert_true(first >= 0 && first <= (command == 'V' ? height : width));
        }
    }
}

static void a_picture_is_well_formed_and_on_the_paper(void **state)
{
    static const uint32_t lengths[] = {1, 2, 5, 60, 399, 400, 401, 5000};
    static const uint64_t latencies[] = {0, 1, 1000, 1000000, 70 * SECOND, (uint64_t)1 << 62};
    (void)state;
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        for (size_t k = 0; k < sizeof(latencies) / sizeof(latencies[0]); k++) {
            series_begin(report.series, 0);
            fill(lengths[i], latencies[k], k % 2 == 0);
            char *text = drawn(plot_svg);
            assert_well_formed(text);
            assert_on_paper(text);
            assert_true(strlen(text) < 128 * 1024); /* however long the run */
            free(text);
        }
    }
}

static void the_brokers_panel_is_there_when_its_use_is_known(void **state)
{
    (void)state;
    fill(5, 1000, false);
    char *text = drawn(plot_svg);
    assert_null(strstr(text, "the broker: CPU"));
    assert_non_null(strstr(text, "latency"));
    assert_non_null(strstr(text, "messages per second"));
    free(text);
    report.subscriber_count = 0;
    text = drawn(plot_svg);
    assert_non_null(strstr(text, "connects per second"));
    free(text);
    series_begin(report.series, 0);
    fill(5, 1000, true);
    text = drawn(plot_svg);
    assert_non_null(strstr(text, "the broker: CPU"));
    free(text);
}

static void a_run_without_any_delivery_has_a_picture(void **state)
{
    (void)state;
    series_end(report.series, 3 * SECOND, NULL);
    char *text = drawn(plot_svg);
    assert_well_formed(text);
    assert_on_paper(text);
    free(text);
}

static void without_seconds_there_is_nothing_to_draw(void **state)
{
    struct buf buf = {0};
    (void)state;
    assert_int_equal(plot_svg(&report, &buf), ERR_NOT_FOUND);
    assert_int_equal(plot_html(&report, &buf), ERR_NOT_FOUND);
    buf_deinit(&buf);
    assert_int_equal(plot_write(&report, "/tmp/tern-plot-that-must-not-be.svg"), ERR_NOT_FOUND);
    assert_int_not_equal(access("/tmp/tern-plot-that-must-not-be.svg", F_OK), 0);
    struct series *series = report.series;
    report.series = NULL;
    assert_int_equal(plot_svg(&report, &buf), ERR_NOT_FOUND);
    report.series = series;
}

/* What a broker calls itself comes from outside. */
static void texts_of_the_world_stay_texts(void **state)
{
    (void)state;
    fill(3, 1000, true);
    snprintf(environment.broker_process, sizeof(environment.broker_process),
             "<script>\"&'\x01\xff</script>");
    char *text = drawn(plot_svg);
    assert_well_formed(text);
    assert_null(strstr(text, "<script>"));
    assert_non_null(strstr(text, "&lt;script&gt;&quot;&amp;&#39; ?&lt;/script&gt;"));
    free(text);
    text = drawn(plot_html);
    assert_null(strstr(text, "<script>"));
    assert_non_null(strstr(text, "<svg "));
    assert_non_null(strstr(text, "<pre>pairs: 2 publishers"));
    assert_null(strstr(text, "src="));
    free(text);
}

static void a_file_is_whole_or_what_it_was(void **state)
{
    char folder[] = "/tmp/tern-plot-XXXXXX", path[64], text[64] = "";
    (void)state;
    assert_non_null(mkdtemp(folder));
    fill(3, 1000, true);
    snprintf(path, sizeof(path), "%s/no/such/folder.svg", folder);
    assert_int_equal(plot_write(&report, path), ERR_NOT_FOUND);
    snprintf(path, sizeof(path), "%s/plot.html", folder);
    assert_int_equal(plot_write(&report, path), OK);
    FILE *file = fopen(path, "r");
    assert_non_null(fgets(text, sizeof(text), file));
    fclose(file);
    assert_string_equal(text, "<!doctype html>\n");
    unlink(path);
    assert_int_equal(rmdir(folder), 0); /* and nothing beside it is left */
}

int main(void)
{
#define WITH_REPORT(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_REPORT(a_picture_is_well_formed_and_on_the_paper),
        WITH_REPORT(the_brokers_panel_is_there_when_its_use_is_known),
        WITH_REPORT(a_run_without_any_delivery_has_a_picture),
        WITH_REPORT(without_seconds_there_is_nothing_to_draw),
        WITH_REPORT(texts_of_the_world_stay_texts),
        WITH_REPORT(a_file_is_whole_or_what_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
