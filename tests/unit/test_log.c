#include "core/base/json.h"
#include "core/base/log.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { ALL_LEVELS = (1 << LOG_LEVEL_COUNT) - 1 };

static int pipe_read, pipe_write;
static uint64_t now_ms;
static char output[65536];

static uint64_t by_hand(void *context)
{
    return *(uint64_t *)context;
}

static int setup(void **state)
{
    int ends[2];
    (void)state;
    if (pipe2(ends, O_NONBLOCK) != 0) {
        return -1;
    }
    pipe_read = ends[0];
    pipe_write = ends[1];
    now_ms = 1795250556120; /* 2026-11-21 08:42:36.120 */
    log_clock(by_hand, &now_ms);
    log_setup(pipe_write, LOG_LOGFMT, ALL_LEVELS);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    log_setup(STDERR_FILENO, LOG_LOGFMT, ALL_LEVELS);
    close(pipe_read);
    close(pipe_write);
    return 0;
}

/* All that was written since the last call. */
static const char *written(void)
{
    ssize_t count = read(pipe_read, output, sizeof(output) - 1);
    output[count > 0 ? count : 0] = 0;
    return output;
}

static uint32_t line_count(const char *text)
{
    uint32_t count = 0;
    for (; *text != 0; text++) {
        count += *text == '\n';
    }
    return count;
}

static void a_line_has_time_level_message_and_fields(void **state)
{
    (void)state;
    log_event(LOG_NOTICE, "client connected", LOG_TEXT("client", "d1"), LOG_U64("count", 7),
              ((struct log_field){.key = "delta", .kind = LOG_FIELD_I64, .number = (uint64_t)-5}));
    assert_string_equal(written(), "time=2026-11-21T08:42:36.120Z level=notice "
                                   "msg=\"client connected\" client=d1 count=7 delta=-5\n");
    log_event(LOG_ERROR, "bare");
    assert_string_equal(written(), "time=2026-11-21T08:42:36.120Z level=error msg=bare\n");
}

static void dates_are_right_where_calendars_go_wrong(void **state)
{
    static const struct {
        uint64_t ms;
        const char *time;
    } rows[] = {
        {0, "1970-01-01T00:00:00.000Z"},
        {951782400000, "2000-02-29T00:00:00.000Z"},
        {1709251199999, "2024-02-29T23:59:59.999Z"},
        {1709251200000, "2024-03-01T00:00:00.000Z"},
        {4107542400000, "2100-03-01T00:00:00.000Z"}, /* 2100 has no leap day */
        {4107542399999, "2100-02-28T23:59:59.999Z"},
        {1767225599000, "2025-12-31T23:59:59.000Z"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        now_ms = rows[i].ms;
        log_event(LOG_INFO, "x");
        assert_int_equal(strncmp(written() + 5, rows[i].time, 24), 0);
    }
}

static void a_level_that_is_off_writes_and_evaluates_nothing(void **state)
{
    int evaluated = 0;
    (void)state;
    log_setup(pipe_write, LOG_LOGFMT, 1u << LOG_ERROR);
    log_event(LOG_DEBUG, "quiet", LOG_U64("n", ++evaluated));
    assert_string_equal(written(), "");
    assert_int_equal(evaluated, 0);
}

/* What a client sends as its id can be anything; the log stays one line with one client field. */
static void no_text_can_forge_a_line(void **state)
{
    static const char evil[] =
        "x\ntime=now level=error msg=\"pwned\" \x1b[2J\\ \x7f\xc2\x9b\xff\xe2\x80\xa8";
    (void)state;
    log_event(LOG_INFO, "m", LOG_SLICE("client", slice_of(evil, sizeof(evil) - 1)));
    const char *line = written();
    assert_int_equal(line_count(line), 1);
    assert_non_null(strstr(line,
                           " client=\"x\\ntime=now level=error msg=\\\"pwned\\\" \\x1b[2J\\\\ "
                           "\\x7f\\xc2\\x9b\\xff\\xe2\\x80\\xa8\"\n"));
}

static void values_that_could_be_misread_are_quoted(void **state)
{
    (void)state;
    log_event(LOG_INFO, "m", LOG_TEXT("a", ""), LOG_TEXT("b", "x=y"),
              LOG_TEXT("c", "plain/topic+#"), LOG_TEXT("d", "m\xc3\xbcll"));
    assert_non_null(strstr(written(), " a=\"\" b=\"x=y\" c=plain/topic+# d=\"m\xc3\xbcll\"\n"));
}

static const struct json_limits line_limits = {.bytes_max = LOG_LINE_MAX, .depth_max = 1};

static struct slice text_member(const struct json *object, const char *key)
{
    struct slice text = slice_of(NULL, 0);
    assert_int_equal(json_get_text(json_member(object, key), &text), OK);
    return text;
}

static void json_lines_parse_whatever_the_text(void **state)
{
    char evil[255];
    struct json *object;
    uint64_t number = 0;
    (void)state;
    log_setup(pipe_write, LOG_JSON, ALL_LEVELS);
    for (int i = 0; i < 255; i++) {
        evil[i] = (char)(i + 1);
    }
    log_event(LOG_WARNING, "all bytes", LOG_SLICE("client", slice_of(evil, 255)), LOG_U64("n", 3));
    const char *line = written();
    assert_int_equal(line_count(line), 1);
    assert_int_equal(json_read(slice_text(line), &line_limits, &object, NULL), OK);
    assert_true(slice_is(text_member(object, "level"), "warning"));
    assert_true(slice_is(text_member(object, "msg"), "all bytes"));
    assert_true(slice_is(text_member(object, "time"), "2026-11-21T08:42:36.120Z"));
    assert_true(slice_starts_with(text_member(object, "client"), slice_of(evil, 127)));
    assert_int_equal(json_get_u64(json_member(object, "n"), &number), OK);
    assert_int_equal(number, 3);
    json_free(object);
}

static void long_values_are_cut_and_marked_and_the_line_stays_whole(void **state)
{
    char text[5000];
    (void)state;
    memset(text, 'a', sizeof(text));
    for (int format = LOG_LOGFMT; format <= LOG_JSON; format++) {
        for (int fill = 0; fill < 3; fill++) {
            memset(text, "a\n\xff"[fill], sizeof(text));
            log_setup(pipe_write, (enum log_format)format, ALL_LEVELS);
            log_event(LOG_INFO, "long", LOG_SLICE("a", slice_of(text, sizeof(text))),
                      LOG_SLICE("b", slice_of(text, sizeof(text))),
                      LOG_SLICE("c", slice_of(text, sizeof(text))),
                      LOG_SLICE("d", slice_of(text, sizeof(text))),
                      LOG_SLICE("e", slice_of(text, sizeof(text))), LOG_U64("n", 1));
            const char *line = written();
            assert_int_equal(line_count(line), 1);
            assert_true(strlen(line) <= LOG_LINE_MAX);
            assert_non_null(strstr(line, "...\""));
            assert_non_null(strstr(line, format == LOG_JSON ? "\"cut\":true}\n" : " cut=true\n"));
            if (format == LOG_JSON) {
                struct json *object;
                assert_int_equal(json_read(slice_text(line), &line_limits, &object, NULL), OK);
                json_free(object);
            }
        }
    }
}

static void say_it_again(void)
{
    log_event(LOG_INFO, "again");
}

static void a_call_site_that_repeats_is_held_back_and_says_so_later(void **state)
{
    (void)state;
    for (int i = 0; i < LOG_BURST + 30; i++) { /* the default */
        say_it_again();
    }
    assert_int_equal(line_count(written()), LOG_BURST);
    log_event(LOG_INFO, "another site");
    assert_int_equal(line_count(written()), 1); /* is not held back */

    now_ms += 1000;
    say_it_again();
    assert_non_null(strstr(written(), " msg=again held_back=30\n"));
    say_it_again();
    assert_non_null(strstr(written(), " msg=again\n"));
}

enum { THREAD_COUNT = 3, LINES_EACH = 40 };

static void *chatter(void *context)
{
    for (int i = 0; i < LINES_EACH; i++) {
        static struct log_site sites[LINES_EACH]; /* not one site: its limit is not the subject */
        log_write(&sites[i], LOG_INFO, "chatter", &LOG_TEXT("who", context), 1);
        log_event(LOG_INFO, "shared site", LOG_U64("i", i));
    }
    return NULL;
}

static void lines_of_threads_do_not_mix(void **state)
{
    pthread_t threads[THREAD_COUNT];
    static char who[] = "a-thread-with-a-rather-long-name-so-that-lines-are-worth-mixing";
    uint32_t whole_count = 0;
    (void)state;
    for (int i = 0; i < THREAD_COUNT; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, chatter, who), 0);
    }
    for (int i = 0; i < THREAD_COUNT; i++) {
        pthread_join(threads[i], NULL);
    }
    char *line, *rest = NULL;
    written();
    for (line = strtok_r(output, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        const char *message = strstr(line, " level=info msg=");
        assert_non_null(message);
        assert_ptr_equal(message, line + strlen("time=2026-11-21T08:42:36.120Z"));
        whole_count += strstr(message, "msg=chatter who=a-thread-with-a-rather-long-name-so-that-"
                                       "lines-are-worth-mixing") != NULL;
    }
    assert_int_equal(whole_count, THREAD_COUNT * LINES_EACH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_line_has_time_level_message_and_fields, setup, teardown),
        cmocka_unit_test_setup_teardown(dates_are_right_where_calendars_go_wrong, setup, teardown),
        cmocka_unit_test_setup_teardown(a_level_that_is_off_writes_and_evaluates_nothing, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(no_text_can_forge_a_line, setup, teardown),
        cmocka_unit_test_setup_teardown(values_that_could_be_misread_are_quoted, setup, teardown),
        cmocka_unit_test_setup_teardown(json_lines_parse_whatever_the_text, setup, teardown),
        cmocka_unit_test_setup_teardown(long_values_are_cut_and_marked_and_the_line_stays_whole,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_call_site_that_repeats_is_held_back_and_says_so_later,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(lines_of_threads_do_not_mix, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
