#include "bench/command/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { WORDS_MAX = 16, LINE_BYTES = 256 };

static char problem[OPTIONS_PROBLEM_BYTES];
static char line_text[LINE_BYTES];

/* A line of words with single blanks between them; they live until the next one. */
static enum err read_line(const char *line, struct options *out)
{
    const char *words[WORDS_MAX];
    int count = 0;
    assert_true(strlen(line) < LINE_BYTES);
    memcpy(line_text, line, strlen(line) + 1);
    for (char *word = strtok(line_text, " "); word != NULL; word = strtok(NULL, " ")) {
        assert_true(count < WORDS_MAX);
        words[count++] = word;
    }
    return options_read(count, words, out, problem);
}

static struct options good(const char *line)
{
    struct options options;
    enum err err = read_line(line, &options);
    if (err != OK) {
        fail_msg("%s: %s", line, problem);
    }
    assert_string_equal(problem, "");
    return options;
}

static void assert_near(double value, double wanted)
{
    double difference = value > wanted ? value - wanted : wanted - value;
    assert_true(difference <= wanted * 1e-12);
}

static void a_command_alone_has_its_defaults(void **state)
{
    (void)state;
    struct options pub = good("pub"), run = good("run pairs");
    assert_int_equal(pub.command, COMMAND_PUB);
    assert_string_equal(pub.host, "127.0.0.1");
    assert_int_equal(pub.port, 1883);
    assert_int_equal(pub.version, 5);
    assert_int_equal(pub.count, 200);
    assert_int_equal(pub.payload_bytes, 256);
    assert_int_equal(pub.inflight, 1);
    assert_true(pub.clean_start);
    assert_near(pub.publish_every_ms, 1000);
    assert_true(pub.seconds == 0);

    assert_string_equal(run.words[0], "pairs");
    assert_int_equal(run.version, 4);
    assert_int_equal(run.count, 0);
    assert_int_equal(run.payload_bytes, 64);
    assert_near(run.seconds, 5);
    assert_null(run.json);
    for (int i = 0; i < OPTION_INDEX_COUNT; i++) {
        assert_false(run.is_given[i]);
    }
}

static void the_ways_to_write_an_option_are_one(void **state)
{
    static const char *const lines[] = {
        "run pairs -c 5",      "run pairs -c5",       "run pairs --count 5", "run pairs --count=5",
        "run pairs --pairs 5", "run -c 7 pairs -c 5", "run -c 5 pairs",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct options options = good(lines[i]);
        assert_int_equal(options.count, 5);
        assert_string_equal(options.words[0], "pairs");
        assert_true(options.is_given[OPTION_INDEX_count]);
        assert_false(options.is_given[OPTION_INDEX_window]);
    }
}

static void numbers_times_and_sizes_have_units(void **state)
{
    (void)state;
    assert_near(good("run x --rate 20K").rate, 20e3);
    assert_near(good("run x --rate 1.5M").rate, 1.5e6);
    assert_int_equal(good("run x --window 2k").window, 2000);
    assert_near(good("run x --seconds 500ms").seconds, 0.5);
    assert_near(good("run x --seconds 2m").seconds, 120);
    assert_near(good("run x --seconds 0.25").seconds, 0.25);
    assert_int_equal(good("run x -s 64K").payload_bytes, 65536);
    assert_near(good("pub -I 2s").publish_every_ms, 2000);
    assert_near(good("pub -I 10").publish_every_ms, 10);
    assert_near(good("pub -I 500us").publish_every_ms, 0.5);
    assert_near(good("compare a b --worse-than 10%").worse_than, 10);
}

static void a_switch_may_stand_alone_or_say_its_value(void **state)
{
    (void)state;
    assert_true(good("pub -r").retain);
    assert_true(good("pub -r true").retain);
    assert_true(good("pub -r -c 3").retain);
    assert_false(good("pub -r false").retain);
    assert_false(good("pub -C 0").clean_start);
    assert_false(good("pub --clean=no").clean_start);
    struct options run = good("run --persistent pairs");
    assert_true(run.persistent);
    assert_string_equal(run.words[0], "pairs");
}

static void an_optional_value_may_be_left_out(void **state)
{
    (void)state;
    assert_string_equal(good("run x --json").json, "-");
    assert_string_equal(good("run x --json -c 3").json, "-");
    assert_string_equal(good("run x --json - -c 3").json, "-");
    assert_string_equal(good("run x --json out.json -c 3").json, "out.json");
    struct options compare = good("compare --json a b"); /* another one of that name */
    assert_true(compare.compare_json);
    assert_null(compare.json);
    assert_string_equal(compare.words[1], "b");
}

static void lists_gather_and_have_an_end(void **state)
{
    (void)state;
    struct options sub = good("sub -t a/%i -t b/# --topic=c");
    assert_int_equal(sub.topic.count, 3);
    assert_string_equal(sub.topic.items[0], "a/%i");
    assert_string_equal(sub.topic.items[2], "c");

    const char *words[2 + 2 * OPTIONS_LIST_MAX] = {"sub"};
    for (int i = 1; i + 1 < 2 + 2 * OPTIONS_LIST_MAX; i += 2) {
        words[i] = "-t";
        words[i + 1] = "x";
    }
    assert_int_equal(options_read(1 + 2 * OPTIONS_LIST_MAX, words, &sub, problem), OK);
    const char *more[4 + 2 * OPTIONS_LIST_MAX];
    memcpy(more, words, sizeof(words));
    more[1 + 2 * OPTIONS_LIST_MAX] = "-t";
    more[2 + 2 * OPTIONS_LIST_MAX] = "x";
    assert_int_equal(options_read(3 + 2 * OPTIONS_LIST_MAX, more, &sub, problem), ERR_INVALID);
    assert_string_equal(problem, "-t: given more than 16 times");
}

/* What is wrong is said with the option, the value and the cause. */
static void what_is_wrong_is_named(void **state)
{
    static const struct {
        const char *line, *problem;
    } cases[] = {
        {"", "a command is missing"},
        {"runn pairs", "'runn' is no command (did you mean run?)"},
        {"frobnicate", "'frobnicate' is no command; tern-bench --help"},
        {"run", "run needs SCENARIO; tern-bench list"},
        {"compare a", "compare needs A B"},
        {"run pairs what", "'what': what is this for? tern-bench run SCENARIO"},
        {"pub pairs", "'pairs': what is this for? tern-bench pub [options]"},
        {"run x --windw 3", "--windw: no such option; did you mean --window?"},
        {"run x --zzzzzzzzzzzz", "--zzzzzzzzzzzz: no such option; tern-bench run --help"},
        {"run x -Z", "-Z: no such option"},
        {"run x --window -1", "--window: '-1' is not a whole number"},
        {"run x --burst 0", "--burst: 0 is below 1"},
        {"run x --burst=60001", "--burst: 60001 is above 60000"},
        {"run x --window 1.5", "--window: '1.5' is not a whole number"},
        {"run x --window 5x", "--window: '5x' is not"},
        {"run x --window", "--window: its value (N) is missing"},
        {"run x --window --burst 4", "as '--burst' is another option; a value that begins so is "
                                     "written --window=--burst"},
        {"run x --seconds 5parsecs", "--seconds: '5parsecs' is not a time such as"},
        {"run x --seconds inf", "--seconds: 'inf' is not"},
        {"run x --seconds nan", "--seconds: 'nan' is not"},
        {"run x --seconds 0x10", "--seconds: '0x10' is not"},
        {"run x -q 3", "-q: 3 is above 2"},
        {"run x -V 6", "-V: 6 is above 5"},
        {"run x -p 65536", "-p: 65536 is above 65535"},
        {"pub -r maybe", "'maybe': what is this for?"},
        {"pub --retain=maybe", "--retain: 'maybe' is neither true nor false"},
        {"run x -t topic", "-t (--topic): run has no use for it; it belongs to pub and sub"},
        {"conn --window 3", "--window: conn has no use for it; it belongs to run"},
        {"sub -s 10", "-s (--size): sub has no use for it; it belongs to pub and run"},
        {"pub --ssl=maybe", "--ssl: 'maybe' is neither true nor false"},
        {"pub --cacertfile", "--cacertfile: its value (FILE) is missing"},
        {"pub --tls-resume", "--tls-resume: pub has no use for it; it belongs to run"},
        {"conn --signature-algs x", "--signature-algs: all that are safe are offered"},
        {"run x --keyex-algs x25519", "--keyex-algs: the groups of the key exchange are said with"},
        {"pub --quic", "--quic: there is no QUIC here"},
        {"conn -Q true", "-Q: latencies are measured"},
        {"agent --retry-interval 3", "--retry-interval: no such option"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct options options;
        assert_int_equal(read_line(cases[i].line, &options), ERR_INVALID);
        if (strstr(problem, cases[i].problem) == NULL) {
            fail_msg("'%s' said '%s', not '%s'", cases[i].line, problem, cases[i].problem);
        }
    }
}

static void what_we_have_not_may_be_switched_off(void **state)
{
    (void)state;
    assert_false(good("pub --ssl false -c 7").ssl);
    assert_int_equal(good("pub -S=false -c 7").count, 7);
    assert_int_equal(good("conn --quic=false -c 7").count, 7);
}

static void tls_has_the_names_of_emqtt_bench_and_our_own(void **state)
{
    (void)state;
    struct options options = good("pub -S --cacertfile a --certfile b --keyfile c "
                                  "--ssl-version tlsv1.2 --ciphers d");
    assert_true(options.ssl);
    assert_string_equal(options.cacertfile, "a");
    assert_string_equal(options.certfile, "b");
    assert_string_equal(options.keyfile, "c");
    assert_string_equal(options.tls_version, "tlsv1.2");
    assert_string_equal(options.tls_ciphers, "d");
    assert_false(options.tls_insecure);
    options = good("run connect --ssl --tls-insecure --tls-resume --tls-server-name x");
    assert_true(options.ssl && options.tls_insecure && options.tls_resume);
    assert_string_equal(options.tls_server_name, "x");
    assert_false(good("pub").ssl);
}

static void help_needs_nothing_else(void **state)
{
    (void)state;
    assert_true(good("run --help").is_help);
    assert_true(good("compare --help").is_help);
    assert_false(good("run pairs").is_help);
}

static void an_option_can_be_set_by_name(void **state)
{
    struct options options;
    (void)state;
    options_defaults(COMMAND_RUN, &options);
    assert_int_equal(options_set(&options, "subscribers", "1K", problem), OK);
    assert_int_equal(options.subscribers, 1000);
    assert_true(options.is_given[OPTION_INDEX_subscribers]);
    assert_int_equal(options_set(&options, "subscribers", "x", problem), ERR_INVALID);
    assert_int_equal(options.subscribers, 1000);
    assert_int_equal(options_set(&options, "nobody", "1", problem), ERR_INVALID);
}

/* Only what was given is written, and it reads as the same again; secrets stay here. */
static void what_was_given_is_written(void **state)
{
    struct buf buf = {0};
    (void)state;
    struct options options = good(
        "run pairs --rate 2.5K -c 3 --seconds 100ms --persistent -P secret --json");
    assert_int_equal(options_write(&options, true, &buf), OK);
    assert_int_equal(buf_append(&buf, slice_of("", 1)), OK);
    assert_string_equal((const char *)buf_bytes(&buf).data,
                        "[\"run\",\"pairs\",\"--count=3\",\"--password=***\",\"--rate=2500\","
                        "\"--persistent=true\",\"--seconds=0.1\",\"--json=-\"]");
    buf_deinit(&buf);
    assert_int_equal(options_write(&options, false, &buf), OK);
    assert_int_equal(buf_append(&buf, slice_of("", 1)), OK);
    assert_non_null(strstr((const char *)buf_bytes(&buf).data, "\"--password=secret\""));
    buf_deinit(&buf);
}

static void help_lists_what_a_command_accepts_and_nothing_else(void **state)
{
    char text[16384] = "";
    (void)state;
    FILE *out = fmemopen(text, sizeof(text) - 1, "w");
    assert_non_null(out);
    options_help(COMMAND_SUB, out);
    fclose(out);
    assert_non_null(strstr(text, "usage: tern-bench sub [options]"));
    assert_non_null(strstr(text, "-t, --topic TOPIC"));
    assert_null(strstr(text, "--window"));
    assert_null(strstr(text, "--inflight"));
    for (const char *line = text; *line != '\0';) {
        size_t count = strcspn(line, "\n");
        assert_true(count <= 100);
        line += count + (line[count] == '\n' ? 1 : 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_command_alone_has_its_defaults),
        cmocka_unit_test(the_ways_to_write_an_option_are_one),
        cmocka_unit_test(numbers_times_and_sizes_have_units),
        cmocka_unit_test(a_switch_may_stand_alone_or_say_its_value),
        cmocka_unit_test(an_optional_value_may_be_left_out),
        cmocka_unit_test(lists_gather_and_have_an_end),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(what_we_have_not_may_be_switched_off),
        cmocka_unit_test(tls_has_the_names_of_emqtt_bench_and_our_own),
        cmocka_unit_test(help_needs_nothing_else),
        cmocka_unit_test(an_option_can_be_set_by_name),
        cmocka_unit_test(what_was_given_is_written),
        cmocka_unit_test(help_lists_what_a_command_accepts_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
