#include "bench/crew/crew_message.h"
#include "bench/crew/crew_room.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Written and read again; the caller gives it back. */
static struct crew_message through_the_wire(const struct crew_message *message)
{
    struct buf line = {0};
    struct crew_message read;
    char problem[CREW_PROBLEM_BYTES];
    assert_int_equal(crew_message_write(message, &line), OK);
    struct slice bytes = buf_bytes(&line);
    assert_int_equal(bytes.data[bytes.count - 1], '\n');
    assert_int_equal(slice_find(bytes, '\n'), bytes.count - 1);
    assert_int_equal(crew_message_read(slice_head(bytes, bytes.count - 1), &read, problem), OK);
    buf_deinit(&line);
    assert_int_equal(read.say, message->say);
    return read;
}

static void every_member_comes_through(void **state)
{
    uint64_t counts[] = {0, 7, (uint64_t)1 << 62};
    const char *texts[] = {"run", "pairs", "--host=a \"b\"\n\\c"};
    (void)state;
    struct crew_message read = through_the_wire(&(struct crew_message){
        .say = CREW_SAY_HELLO,
        .version = slice_text("0.1.0"),
        .key = slice_text(""),
        .clock = slice_text("boot time:[1]"),
    });
    assert_true(slice_is(read.version, "0.1.0") && slice_is(read.key, ""));
    assert_true(slice_is(read.clock, "boot time:[1]"));
    crew_message_deinit(&read);

    read = through_the_wire(&(struct crew_message){
        .say = CREW_SAY_PASSED, .stage = CREW_SENT, .begin_ns = 12345, .sent = {counts, 3}});
    assert_int_equal(read.stage, CREW_SENT);
    assert_int_equal(read.begin_ns, 12345);
    assert_int_equal(read.sent.count, 3);
    assert_memory_equal(read.sent.values, counts, sizeof(counts));
    crew_message_deinit(&read);

    read = through_the_wire(
        &(struct crew_message){.say = CREW_SAY_JOB, .texts = {texts, 3}, .first = 2, .count = 6});
    assert_int_equal(read.texts.count, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_string_equal(read.texts.values[i], texts[i]);
    }
    assert_int_equal(read.first, 2);
    assert_int_equal(read.count, 6);
    crew_message_deinit(&read);

    read = through_the_wire(&(
        struct crew_message){.say = CREW_SAY_REPORT, .offset_ns = -3600000000000, .error_ns = 99});
    assert_true(read.offset_ns == -3600000000000 && read.error_ns == 99);
    crew_message_deinit(&read);
}

static void what_a_kind_has_not_is_not_sent(void **state)
{
    (void)state;
    struct crew_message read = through_the_wire(
        &(struct crew_message){.say = CREW_SAY_STOP, .ns = 7, .text = slice_text("x")});
    assert_int_equal(read.ns, 0);
    assert_int_equal(read.text.count, 0);
    crew_message_deinit(&read);
}

static void what_is_no_message_is_refused_with_a_reason(void **state)
{
    static const struct {
        const char *line, *reason;
    } cases[] = {
        {"", "line 1"},
        {"hello", "line 1"},
        {"[]", "'say'"},
        {"{}", "'say'"},
        {"{\"say\":7}", "'say'"},
        {"{\"say\":\"goodbye\"}", "'say'"},
        {"{\"say\":\"hello\"}", "'hello' without a proper 'version'"},
        {"{\"say\":\"pong\",\"ns\":1}", "'pong' without a proper 'at_ns'"},
        {"{\"say\":\"pong\",\"ns\":-1,\"at_ns\":1}", "'ns'"},
        {"{\"say\":\"pong\",\"ns\":1.5,\"at_ns\":1}", "'ns'"},
        {"{\"say\":\"arrived\",\"stage\":\"lunch\",\"sent\":[]}", "'stage'"},
        {"{\"say\":\"arrived\",\"stage\":\"sent\",\"sent\":7}", "'sent'"},
        {"{\"say\":\"arrived\",\"stage\":\"sent\",\"sent\":[\"7\"]}", "'sent'"},
        {"{\"say\":\"arrived\",\"stage\":\"sent\",\"sent\":[[7]]}", "'sent'"},
        {"{\"say\":\"arrived\",\"stage\":\"sent\",\"sent\":[[[7]]]}", "nested"},
        {"{\"say\":\"job\",\"texts\":[1],\"first\":0,\"count\":1}", "'texts'"},
        {"{\"say\":\"job\",\"texts\":{},\"first\":0,\"count\":1}", "'texts'"},
        {"{\"say\":\"stop\",\"say\":\"stop\"}", "duplicate"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct crew_message message = {.ns = 77};
        char problem[CREW_PROBLEM_BYTES] = "";
        assert_int_equal(crew_message_read(slice_text(cases[i].line), &message, problem),
                         ERR_MALFORMED);
        assert_int_equal(message.ns, 77);
        if (strstr(problem, cases[i].reason) == NULL) {
            fail_msg("'%s': '%s' is not in '%s'", cases[i].line, cases[i].reason, problem);
        }
    }
}

static void too_many_texts_are_refused(void **state)
{
    const char *texts[CREW_TEXTS_MAX + 1];
    struct crew_message job = {.say = CREW_SAY_JOB, .texts = {texts, CREW_TEXTS_MAX + 1}}, read;
    struct buf line = {0};
    char problem[CREW_PROBLEM_BYTES];
    (void)state;
    for (uint32_t i = 0; i <= CREW_TEXTS_MAX; i++) {
        texts[i] = "x";
    }
    assert_int_equal(crew_message_write(&job, &line), OK);
    assert_int_equal(crew_message_read(buf_bytes(&line), &read, problem), ERR_MALFORMED);
    buf_deinit(&line);
    job.texts.count--;
    assert_int_equal(crew_message_write(&job, &line), OK);
    assert_int_equal(crew_message_read(buf_bytes(&line), &read, problem), OK);
    crew_message_deinit(&read);
    buf_deinit(&line);
}

static void what_a_newer_side_adds_is_skipped(void **state)
{
    struct crew_message read;
    char problem[CREW_PROBLEM_BYTES];
    (void)state;
    const char *line = "{\"say\":\"ping\",\"ns\":5,\"mood\":{\"is\":[\"good\"]}}";
    assert_int_equal(crew_message_read(slice_text(line), &read, problem), OK);
    assert_int_equal(read.ns, 5);
    crew_message_deinit(&read);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_member_comes_through),
        cmocka_unit_test(what_a_kind_has_not_is_not_sent),
        cmocka_unit_test(what_is_no_message_is_refused_with_a_reason),
        cmocka_unit_test(too_many_texts_are_refused),
        cmocka_unit_test(what_a_newer_side_adds_is_skipped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
