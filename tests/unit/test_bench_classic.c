/* The topics, payloads and lines of conn, pub and sub. */
#include "bench/command/classic_lines.h"
#include "bench/command/classic_payload.h"
#include "bench/command/classic_topic.h"
#include "bench/load/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char problem[PAYLOAD_PROBLEM_BYTES];

/* ---- topics -------------------------------------------------------------------------------- */

static const char *topic(const char *pattern)
{
    static char out[64];
    struct classic_names names = {
        .number = 7, .client_id = "id_7", .username = "ann", .sequence = 42, .random = 1003};
    assert_true(classic_topic(pattern, &names, out, sizeof(out)));
    return out;
}

static void topics_have_the_variables_of_emqtt_bench(void **state)
{
    (void)state;
    assert_string_equal(topic("bench/%i"), "bench/7");
    assert_string_equal(topic("%c/%u/%s"), "id_7/ann/42");
    assert_string_equal(topic("a%ib%ic"), "a7b7c");
    assert_string_equal(topic("r/%rand_1000"), "r/4"); /* 1 + 1003 mod 1000 */
    assert_string_equal(topic("r/%rand_1/x"), "r/1/x");
    assert_string_equal(topic("r/%rand_0"), "r/1");
}

static void what_is_no_variable_stays(void **state)
{
    (void)state;
    assert_string_equal(topic("bench/%x"), "bench/%x");
    assert_string_equal(topic("100%"), "100%");
    assert_string_equal(topic("%%i"), "%7");
    assert_string_equal(topic("%rand_"), "%rand_");
    assert_string_equal(topic("%rand_x"), "%rand_x");
    assert_string_equal(topic(""), "");
}

static void it_is_known_which_topics_vary(void **state)
{
    (void)state;
    assert_true(classic_topic_varies("a/%s"));
    assert_true(classic_topic_varies("a/%rand_9"));
    assert_false(classic_topic_varies("a/%i/%c/%u"));
}

static void a_topic_that_does_not_fit_is_refused(void **state)
{
    struct classic_names names = {.number = 1234, .client_id = "c"};
    char out[8];
    (void)state;
    assert_true(classic_topic("abc%i", &names, out, sizeof(out)));
    assert_string_equal(out, "abc1234");
    assert_false(classic_topic("abcd%i", &names, out, sizeof(out)));
    assert_true(classic_topic("%u", &names, out, sizeof(out))); /* no user: nothing */
    assert_string_equal(out, "");
}

/* ---- payloads ------------------------------------------------------------------------------ */

static struct payload *new_payload(const char *first, const char *second)
{
    const char *words[] = {"pub", first, second};
    char why[OPTIONS_PROBLEM_BYTES];
    struct options options;
    struct payload *payload = NULL;
    int count = 1 + (first != NULL) + (second != NULL);
    assert_int_equal(options_read(count, words, &options, why), OK);
    if (payload_new(&options, &payload, problem) != OK) {
        return NULL;
    }
    return payload;
}

static void a_payload_carries_our_stamp_when_it_fits(void **state)
{
    struct stamp stamp;
    (void)state;
    struct payload *payload = new_payload("--size=64", NULL);
    struct slice bytes = payload_make(payload, 5, 9, 1000);
    assert_int_equal(bytes.count, 64);
    assert_true(stamp_read(bytes, &stamp));
    assert_int_equal(stamp.publisher, 5);
    assert_int_equal(stamp.sequence, 9);
    assert_int_equal(stamp.sent_ns, 1000);
    assert_true(payload_read(payload, bytes, true).has_stamp);
    assert_int_equal(payload_read(payload, bytes, true).stamp_ns, 1000);
    assert_false(payload_read(payload, bytes, false).has_stamp);
    payload_free(payload);

    payload = new_payload("--size=5", NULL);
    assert_true(slice_is(payload_make(payload, 5, 9, 1000), "aaaaa"));
    payload_free(payload);
    payload = new_payload("--size=0", NULL);
    bytes = payload_make(payload, 5, 9, 1000);
    assert_int_equal(bytes.count, 0);
    assert_non_null(bytes.data); /* empty, and no failure */
    payload_free(payload);
}

/* Eight bytes each, most significant first, in the order in which they are named. */
static void headers_stand_before_the_payload(void **state)
{
    (void)state;
    struct payload *payload = new_payload("--payload-hdrs=cnt64,ts", "--size=3");
    struct slice bytes = payload_make(payload, 1, 258, 0);
    assert_int_equal(bytes.count, 8 + 8 + 3);
    assert_memory_equal(bytes.data, "\0\0\0\0\0\0\1\2", 8);
    assert_memory_equal(bytes.data + 16, "aaa", 3);
    struct payload_facts facts = payload_read(payload, bytes, true);
    assert_true(facts.has_count && facts.has_time && !facts.has_stamp);
    assert_int_equal(facts.count, 258);
    assert_true(facts.time_ms > UINT64_C(1600000000000)); /* after 2020: it is ms since 1970 */
    facts = payload_read(payload, slice_head(bytes, 15), true); /* cut: what is whole is read */
    assert_true(facts.has_count && !facts.has_time);
    facts = payload_read(payload, slice_of(NULL, 0), true);
    assert_false(facts.has_count);
    payload_free(payload);

    payload = new_payload("--payload-hdrs=ts", "--size=64");
    bytes = payload_make(payload, 1, 0, 77);
    assert_true(payload_read(payload, bytes, true).has_stamp); /* the stamp follows */
    payload_free(payload);
}

static void a_message_is_sent_as_it_is(void **state)
{
    (void)state;
    struct payload *payload = new_payload("-m", "100 %TIMESTAMP% of it");
    assert_true(slice_is(payload_make(payload, 1, 0, 0), "100 %TIMESTAMP% of it"));
    payload_free(payload);
    payload = new_payload("--message=", NULL);
    assert_int_equal(payload_make(payload, 1, 0, 0).count, 0);
    payload_free(payload);
}

static struct payload *new_template(const char *text, const char *second)
{
    char path[] = "/tmp/test_bench_classic_XXXXXX", option[64];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    snprintf(option, sizeof(option), "--message=template://%s", path);
    struct payload *payload = new_payload(option, second);
    unlink(path);
    return payload;
}

static void a_template_is_filled_in_each_time(void **state)
{
    unsigned long long ms, us, ns, unique[2];
    char text[256];
    (void)state;
    struct payload *payload = new_template(
        "{\"ms\":%TIMESTAMP%,\"us\":%TIMESTAMPUS%,\"ns\":%TIMESTAMPNS%,"
        "\"u\":%UNIQUE%,\"%NOTHING%\":5%}",
        NULL);
    assert_non_null(payload);
    for (int i = 0; i < 2; i++) {
        struct slice bytes = payload_make(payload, 1, 0, 0);
        assert_true(bytes.count < sizeof(text));
        memcpy(text, bytes.data, bytes.count);
        text[bytes.count] = '\0';
        assert_int_equal(sscanf(text, "{\"ms\":%llu,\"us\":%llu,\"ns\":%llu,\"u\":%llu,", &ms, &us,
                                &ns, &unique[i]),
                         4);
        assert_true(us / 1000 >= ms && ns / 1000 >= us && ns / 1000000 - ms < 60000);
        assert_non_null(strstr(text, ",\"%NOTHING%\":5%}"));
    }
    assert_true(unique[0] != unique[1]);
    payload_free(payload);

    payload = new_template("<%RANDOM%>", "--size=100");
    struct slice bytes = payload_make(payload, 1, 0, 0);
    assert_int_equal(bytes.count, 102);
    assert_memory_equal(bytes.data, "<", 1);
    assert_memory_equal(bytes.data + 101, ">", 1);
    memcpy(text, bytes.data, bytes.count);
    bytes = payload_make(payload, 1, 0, 0);
    assert_memory_not_equal(text, bytes.data, 102);
    payload_free(payload);
}

static void wrong_payloads_are_named(void **state)
{
    (void)state;
    assert_null(new_payload("--payload-hdrs=ts,seq", NULL));
    assert_string_equal(problem,
                        "--payload-hdrs: 'seq': headers are cnt64, ts or both, with a comma");
    assert_null(new_payload("--payload-hdrs=ts,ts,ts", NULL));
    assert_null(new_payload("--message=template:///nonexistent/file", NULL));
    assert_string_equal(problem, "-m: /nonexistent/file: not found");
    char many[65 * 9 + 1] = "";
    for (int i = 0; i < 65; i++) {
        strcat(many, "%UNIQUE%.");
    }
    assert_null(new_template(many, NULL));
    assert_string_equal(problem, "-m: more than 64 pieces in the template");
}

/* ---- lines --------------------------------------------------------------------------------- */

static struct classic_lines lines; /* too large for a stack */
static char printed[4096];

static const char *second(uint64_t since_ms)
{
    memset(printed, 0, sizeof(printed));
    FILE *out = fmemopen(printed, sizeof(printed) - 1, "w");
    assert_non_null(out);
    classic_lines_second(&lines, since_ms * 1000000, out);
    fclose(out);
    return printed;
}

static void a_second_prints_what_has_changed(void **state)
{
    (void)state;
    memset(&lines, 0, sizeof(lines));
    lines.counts[CLASSIC_connect_succ] = 200;
    lines.counts[CLASSIC_pub] = 500;
    assert_string_equal(second(1000), "1s pub total=500 rate=500.00/sec\n"
                                      "1s connect_succ total=200 rate=200.00/sec\n");
    assert_string_equal(second(2000), "");
    lines.counts[CLASSIC_pub] = 600;
    assert_string_equal(second(2500), "3s pub total=600 rate=200.00/sec\n");
    lines.counts[CLASSIC_pub]++;
    assert_non_null(strstr(second(65000), "1m5s pub total=601 "));
    lines.counts[CLASSIC_pub]++;
    assert_non_null(strstr(second(7203000), "2h0m3s pub total=602 "));
}

static void latencies_are_of_their_second_and_in_the_summary_of_all(void **state)
{
    (void)state;
    memset(&lines, 0, sizeof(lines));
    histogram_add(&lines.latency_second, 1000000);
    assert_string_equal(second(1000), "1s latency p50=1.000ms p99=1.000ms max=1.000ms\n");
    assert_string_equal(second(2000), "");
    histogram_add(&lines.latency_second, 3000000);
    lines.headed_count = 2;
    lines.headed_ms = 9;
    assert_string_equal(second(3000), "3s publish_latency avg=4ms\n"
                                      "3s latency p50=3.000ms p99=3.000ms max=3.000ms\n");
    FILE *out = fmemopen(printed, sizeof(printed) - 1, "w");
    classic_lines_summary(&lines, 3000000000, out);
    fclose(out);
    assert_non_null(strstr(printed, "after 3.0 s:\n"));
    assert_non_null(strstr(printed, "max 3.000 (of 2)\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(topics_have_the_variables_of_emqtt_bench),
        cmocka_unit_test(what_is_no_variable_stays),
        cmocka_unit_test(it_is_known_which_topics_vary),
        cmocka_unit_test(a_topic_that_does_not_fit_is_refused),
        cmocka_unit_test(a_payload_carries_our_stamp_when_it_fits),
        cmocka_unit_test(headers_stand_before_the_payload),
        cmocka_unit_test(a_message_is_sent_as_it_is),
        cmocka_unit_test(a_template_is_filled_in_each_time),
        cmocka_unit_test(wrong_payloads_are_named),
        cmocka_unit_test(a_second_prints_what_has_changed),
        cmocka_unit_test(latencies_are_of_their_second_and_in_the_summary_of_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
