/* What options say of TLS: the port that is meant, what is missing, and nothing that is left half done. */
#include "bench/command/secure.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { WORDS_MAX = 16, LINE_BYTES = 256 };

static struct options read_line(const char *line)
{
    static char text[LINE_BYTES];
    const char *words[WORDS_MAX];
    char problem[OPTIONS_PROBLEM_BYTES];
    struct options options;
    int count = 0;
    snprintf(text, sizeof(text), "%s", line);
    for (char *word = strtok(text, " "); word != NULL; word = strtok(NULL, " ")) {
        assert_true(count < WORDS_MAX);
        words[count++] = word;
    }
    if (options_read(count, words, &options, problem) != OK) {
        fail_msg("%s: %s", line, problem);
    }
    return options;
}

static uint16_t port_of(const char *line)
{
    struct options options = read_line(line);
    return secure_port(&options);
}

static void the_port_that_is_meant_follows_from_the_way(void **state)
{
    (void)state;
    assert_int_equal(port_of("run pairs"), 1883);
    assert_int_equal(port_of("run pairs --ws"), 1883);
    assert_int_equal(port_of("run pairs -S"), 8883);
    assert_int_equal(port_of("run pairs -S --ws"), 8084);
    assert_int_equal(port_of("run pairs -S false --ws"), 1883);
    assert_int_equal(port_of("run pairs -S -p 1883"), 1883); /* said is said */
    assert_int_equal(port_of("conn -S --ws -p 7"), 7);
}

static void without_tls_nothing_is_made(void **state)
{
    char problem[JOB_PROBLEM_BYTES] = "";
    struct load_config load = {0};
    struct options plain = read_line("run pairs");
    (void)state;
    assert_int_equal(secure_load(&plain, &load, problem), OK);
    assert_null(load.tls);
    assert_null(load.tls_server_name);
    /* A line of emqtt-bench with its files, switched off. */
    struct options off = read_line("conn --ssl false --cacertfile nowhere.crt");
    assert_int_equal(secure_load(&off, &load, problem), OK);
    assert_null(load.tls);
    secure_release(&load);
}

static void what_is_missing_or_makes_no_sense_is_told_with_what_would_do(void **state)
{
    static const struct {
        const char *line, *said;
    } cases[] = {
        {"run pairs -S", "--cacertfile FILE, or take any with --tls-insecure"},
        {"run pairs --cacertfile x", "--cacertfile: it is of TLS, and without it; add --ssl"},
        {"run pairs --tls-insecure", "--tls-insecure: it is of TLS"},
        {"run connect --tls-resume", "--tls-resume: it is of TLS"},
        {"run pairs -S --tls-insecure --certfile x", "--certfile: its key is missing"},
        {"run pairs -S --tls-insecure --keyfile x", "--keyfile: its certificate is missing"},
        {"run pairs -S --tls-insecure --tls-version 1.1", "--tls-version: there are 1.2 and 1.3"},
        {"run pairs -S --cacertfile x -h /tmp/a.sock", "--tls-server-name: a Unix socket"},
        {"run pairs -S --cacertfile /no/such/file", "/no/such/file"},
        {"conn -S --tls-insecure --certfile /no/such/a --keyfile /no/such/b", "/no/such/"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char problem[JOB_PROBLEM_BYTES] = "";
        struct load_config load = {0};
        struct options options = read_line(cases[i].line);
        assert_int_equal(secure_load(&options, &load, problem), ERR_INVALID);
        if (strstr(problem, cases[i].said) == NULL) {
            fail_msg("'%s' said '%s', not '%s'", cases[i].line, problem, cases[i].said);
        }
        assert_null(load.tls);
    }
}

static void what_the_broker_has_to_prove_is_the_host_unless_it_is_said(void **state)
{
    static const struct {
        const char *line, *name;
    } cases[] = {
        {"run pairs -S --tls-insecure -h localhost", "localhost"},
        {"run pairs -S --tls-insecure -h 127.0.0.1 --tls-server-name broker.test", "broker.test"},
        {"run pairs -S --tls-insecure -h /tmp/a.sock", NULL},
        {"run pairs -S --tls-insecure -h /tmp/a.sock --tls-server-name broker.test", "broker.test"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char problem[JOB_PROBLEM_BYTES] = "";
        struct load_config load = {0};
        struct options options = read_line(cases[i].line);
        assert_int_equal(secure_load(&options, &load, problem), OK);
        assert_non_null(load.tls);
        if (cases[i].name == NULL) {
            assert_null(load.tls_server_name);
        } else {
            assert_string_equal(load.tls_server_name, cases[i].name);
        }
        secure_release(&load);
        assert_null(load.tls);
        secure_release(&load); /* twice does no harm */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_port_that_is_meant_follows_from_the_way),
        cmocka_unit_test(without_tls_nothing_is_made),
        cmocka_unit_test(what_is_missing_or_makes_no_sense_is_told_with_what_would_do),
        cmocka_unit_test(what_the_broker_has_to_prove_is_the_host_unless_it_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
