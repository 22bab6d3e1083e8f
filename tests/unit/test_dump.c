#include "core/session/session.h"
#include "storage/dump.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define KEY "0123456789abcdef"

/* ---- what is written --------------------------------------------------------------------------- */

static struct buf written;

static enum err keep(void *context, struct slice line)
{
    (void)context;
    return buf_append(&written, line);
}

static int begin(void **state)
{
    (void)state;
    written = (struct buf){0};
    return 0;
}

static int end(void **state)
{
    (void)state;
    buf_deinit(&written);
    return 0;
}

/* The lines written so far, and none from here on. */
static struct slice take(void)
{
    static char text[65536];
    struct slice all = buf_bytes(&written);
    assert_true(all.count < sizeof(text));
    memcpy(text, all.data, all.count);
    buf_consume(&written, all.count);
    return slice_of(text, all.count);
}

static void assert_written(const char *wanted)
{
    struct slice got = take();
    assert_int_equal(got.count, strlen(wanted));
    assert_memory_equal(got.data, wanted, got.count);
}

static void read_ok(struct slice text, struct dump_line *out)
{
    char problem[DUMP_PROBLEM_BYTES];
    enum err err = dump_read(text, out, problem);
    assert_string_equal(problem, "");
    assert_int_equal(err, OK);
}

static const struct msg_spec text_message = {.qos = 1,
                                             .topic = SLICE("a/b"),
                                             .payload = SLICE("21 \xc2\xb0"
                                                              "C\n")};

static const struct msg_spec binary_message = {
    .qos = 2,
    .retain = true,
    .publisher = 0xfedcba9876543210,
    .expires_wall_ms = 1795286165123,
    .expiry_s = 60,
    .topic = SLICE("$x/\"y\""),
    .payload = SLICE("\xff\x00\x01"),
    .props = SLICE("\x03\x00\x01t\x26\x00\x01k\x00\x01v"),
};

static void assert_spec(const struct msg_spec *got, const struct msg_spec *wanted)
{
    assert_int_equal(got->qos, wanted->qos);
    assert_int_equal(got->retain, wanted->retain);
    assert_true(got->publisher == wanted->publisher);
    assert_true(got->expires_wall_ms == wanted->expires_wall_ms);
    assert_int_equal(got->expiry_s, wanted->expiry_s);
    assert_true(slice_equal(got->topic, wanted->topic));
    assert_true(slice_equal(got->payload, wanted->payload));
    assert_true(slice_equal(got->props, wanted->props));
}

/* ---- there and back ------------------------------------------------------------------------------ */

static void a_session_is_written_and_read_back(void **state)
{
    struct dumper dumper = {.write = keep};
    struct session_record session = {
        .key = 0x123456789abcdef,
        .open = {.client_id = SLICE("lamp-1"),
                 .username = SLICE("alice"),
                 .expiry_s = 3600,
                 .listener_index = 2,
                 .password_stamp = 99,
                 .will = {.message = binary_message, .delay_s = 30, .has_expiry = true}},
        .is_closed = true,
        .closed_wall_ms = 1795286165000,
        .opened_wall_ms = 1795286164000,
        .sent_sequence = 12,
    };
    struct dump_line line;
    (void)state;
    assert_int_equal(dump_reader.session(&dumper, &session), OK);
    struct slice text = take();
    assert_null(memmem(text.data, text.count, "99", 2)); /* what proves a password stays here */
    read_ok(text, &line);
    assert_int_equal(line.kind, DUMP_SESSION);
    assert_true(line.session.key == session.key);
    assert_true(slice_is(line.session.open.client_id, "lamp-1"));
    assert_true(slice_is(line.session.open.username, "alice"));
    assert_int_equal(line.session.open.expiry_s, 3600);
    assert_int_equal(line.session.open.listener_index, 2);
    assert_int_equal(line.session.open.password_stamp, 0);
    assert_true(line.session.is_closed);
    assert_true(line.session.closed_wall_ms == session.closed_wall_ms);
    assert_true(line.session.opened_wall_ms == session.opened_wall_ms);
    assert_int_equal(line.session.sent_sequence, 12);
    assert_spec(&line.session.open.will.message, &binary_message);
    assert_int_equal(line.session.open.will.delay_s, 30);
    assert_true(line.session.open.will.has_expiry);
    assert_int_equal(line.session.open.will.expiry_s, 0);
    dump_line_deinit(&line);
    dumper_deinit(&dumper);
}

static void a_session_that_never_expires_and_is_connected_says_so(void **state)
{
    struct dumper dumper = {.write = keep};
    struct session_record session = {.key = 1,
                                     .open = {.client_id = SLICE("x"), .expiry_s = EXPIRY_NEVER}};
    struct dump_line line;
    (void)state;
    assert_int_equal(dump_reader.session(&dumper, &session), OK);
    struct slice text = take();
    read_ok(text, &line);
    assert_true(line.session.open.expiry_s == EXPIRY_NEVER);
    assert_false(line.session.is_closed);
    assert_null(line.session.open.username.data);
    assert_int_equal(line.session.open.will.message.topic.count, 0);
    dump_line_deinit(&line);
    dumper_deinit(&dumper);
}

static void a_subscription_keeps_its_mount_point_apart(void **state)
{
    static const struct {
        struct op_subscribe given;
        const char *prefix;
    } rows[] = {
        {{.text = SLICE("a/#"), .filter = SLICE("a/#"), .qos = 1, .id = 7}, ""},
        {{.text = SLICE("a/#"), .filter = SLICE("house/a/#"), .no_local = true}, "house/"},
        {{.text = SLICE("$share/g/a/+"), .share_name = SLICE("g"), .filter = SLICE("a/+")}, ""},
        {{.text = SLICE("$share/g/a/+"),
          .share_name = SLICE("g"),
          .filter = SLICE("m/a/+"),
          .retain_as_published = true,
          .qos = 2},
         "m/"},
    };
    struct dumper dumper = {.write = keep};
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct op_subscribe *given = &rows[i].given;
        struct dump_line line;
        assert_int_equal(dump_reader.subscription(&dumper, 5, given), OK);
        struct slice text = take();
        read_ok(text, &line);
        assert_int_equal(line.key, 5);
        assert_true(slice_equal(line.subscription.text, given->text));
        assert_true(slice_equal(line.subscription.share_name, given->share_name));
        assert_true(slice_is(line.subscription.prefix, rows[i].prefix));
        assert_int_equal(line.subscription.filter.count,
                         given->filter.count - strlen(rows[i].prefix));
        assert_int_equal(line.subscription.qos, given->qos);
        assert_int_equal(line.subscription.id, given->id);
        assert_int_equal(line.subscription.no_local, given->no_local);
        assert_int_equal(line.subscription.retain_as_published, given->retain_as_published);
        dump_line_deinit(&line);
    }
    dumper_deinit(&dumper);
}

static void messages_owed_are_written_and_read_back(void **state)
{
    static const uint32_t ids[] = {7, 268435455};
    struct item_record items[] = {
        {.spec = text_message, .qos = 1, .ids = ids, .id_count = 2},
        {.spec = binary_message, .qos = 2, .retain = true, .share_text = SLICE("$share/g/a")},
        {.qos = 2, .awaits_pubcomp = true},
    };
    struct dumper dumper = {.write = keep};
    (void)state;
    for (size_t i = 0; i < sizeof(items) / sizeof(items[0]); i++) {
        struct dump_line line;
        assert_int_equal(dump_reader.item(&dumper, 9, 100 + i, &items[i]), OK);
        struct slice text = take();
        read_ok(text, &line);
        assert_int_equal(line.kind, DUMP_ITEM);
        assert_int_equal(line.key, 9);
        assert_int_equal(line.number, 100 + i);
        assert_int_equal(line.item.qos, items[i].qos);
        assert_int_equal(line.item.retain, items[i].retain);
        assert_int_equal(line.item.awaits_pubcomp, items[i].awaits_pubcomp);
        assert_int_equal(line.item.id_count, items[i].id_count);
        assert_true(line.item.id_count == 0 || line.item.ids[1] == ids[1]);
        assert_true(slice_equal(line.item.share_text, items[i].share_text));
        assert_spec(&line.item.spec, &items[i].spec);
        dump_line_deinit(&line);
    }
    assert_int_equal(dumper.item_count, 3);
    dumper_deinit(&dumper);
}

static void all_other_lines_are_written_and_read_back(void **state)
{
    struct dumper dumper = {.write = keep, .partition = 63};
    struct dump_line line;
    (void)state;
    assert_int_equal(dump_reader.retained(&dumper, &binary_message), OK);
    read_ok(take(), &line);
    assert_int_equal(line.kind, DUMP_RETAINED);
    assert_spec(&line.message, &binary_message);
    dump_line_deinit(&line);

    struct outgoing_record outgoing = {text_message, slice_text("name/a/+")};
    assert_int_equal(dump_reader.outbox(&dumper, 41, &outgoing), OK);
    read_ok(take(), &line);
    assert_int_equal(line.kind, DUMP_OUTBOX);
    assert_int_equal(line.partition, 63);
    assert_int_equal(line.number, 41);
    assert_spec(&line.outgoing.message, &text_message);
    assert_true(slice_is(line.outgoing.group, "name/a/+"));
    dump_line_deinit(&line);

    assert_int_equal(dump_reader.taken(&dumper, 5, 39, 0xfedcba9876543210), OK);
    read_ok(take(), &line);
    assert_int_equal(line.kind, DUMP_TAKEN);
    assert_true(line.partition == 63 && line.source == 5 && line.number == 39);
    assert_true(line.key == 0xfedcba9876543210);
    dump_line_deinit(&line);

    assert_int_equal(dump_reader.received(&dumper, 5, 40), OK);
    assert_written("{\"type\":\"received\",\"partition\":63,\"source\":5,\"number\":40}\n");
    assert_int_equal(dump_reader.packet_id(&dumper, 0x123456789abcdef, 65535), OK);
    assert_written("{\"type\":\"packet_id\",\"session\":\"" KEY "\",\"packet_id\":65535}\n");
    assert_int_equal(dump_end(&dumper), OK);
    assert_written("{\"type\":\"end\",\"lines\":5}\n");
    assert_int_equal(dump_begin(&dumper, 17), OK);
    read_ok(take(), &line);
    assert_int_equal(line.kind, DUMP_EXPORT);
    dump_line_deinit(&line);
    dumper_deinit(&dumper);
}

static void a_payload_is_text_where_it_is_text(void **state)
{
    struct dumper dumper = {.write = keep};
    (void)state;
    assert_int_equal(dump_reader.retained(&dumper, &text_message), OK);
    assert_written("{\"type\":\"retained\",\"message\":{\"topic\":\"a/b\",\"qos\":1,"
                   "\"payload\":\"21 \xc2\xb0"
                   "C\\n\"}}\n");
    struct msg_spec spec = {.topic = SLICE("a"), .payload = SLICE("x\0y")};
    assert_int_equal(dump_reader.retained(&dumper, &spec), OK);
    assert_written("{\"type\":\"retained\",\"message\":{\"topic\":\"a\","
                   "\"payload_base64\":\"eAB5\"}}\n");
    dumper_deinit(&dumper);
}

static enum err refuse(void *context, struct slice line)
{
    (void)context;
    (void)line;
    return ERR_NO_SPACE;
}

static void a_line_that_cannot_be_written_ends_it_and_is_not_counted(void **state)
{
    struct dumper dumper = {.write = refuse};
    (void)state;
    assert_int_equal(dump_begin(&dumper, 1), ERR_NO_SPACE);
    assert_int_equal(dumper.line_count, 0);
    dumper_deinit(&dumper);
}

/* ---- what is refused ---------------------------------------------------------------------------- */

#define MESSAGE "\"message\":{\"topic\":\"a\"}"

static void a_wrong_line_is_refused_and_told_why(void **state)
{
    static const struct {
        const char *text;
        enum err err;
        const char *word; /* in the problem */
    } rows[] = {
        {"", ERR_INVALID, "JSON"},
        {"{\"type\":\"end\",\"lines\":1", ERR_INVALID, "JSON"},
        {"{}", ERR_INVALID, "type"},
        {"{\"type\":\"unheard\"}", ERR_UNSUPPORTED, "newer"},
        {"{\"type\":\"export\",\"format\":2}", ERR_UNSUPPORTED, "newer"},
        {"{\"type\":\"session\",\"client\":\"x\"}", ERR_INVALID, "session"},
        {"{\"type\":\"session\",\"session\":\"0123\",\"client\":\"x\"}", ERR_INVALID, "session"},
        {"{\"type\":\"session\",\"session\":\"" KEY "\"}", ERR_INVALID, "client"},
        {"{\"type\":\"session\",\"session\":\"" KEY "\",\"client\":\"x\",\"expiry_s\":-1}",
         ERR_INVALID, "expiry_s"},
        {"{\"type\":\"session\",\"session\":\"" KEY "\",\"client\":\"x\",\"expiry_s\":4294967296}",
         ERR_INVALID, "expiry_s"},
        {"{\"type\":\"session\",\"session\":\"" KEY
         "\",\"client\":\"x\",\"will\":{\"topic\":\"a/+\"}}",
         ERR_INVALID, "topic"},
        {"{\"type\":\"subscription\",\"session\":\"" KEY "\",\"filter\":\"a/#/b\"}", ERR_INVALID,
         "filter"},
        {"{\"type\":\"subscription\",\"session\":\"" KEY "\",\"filter\":\"a\",\"qos\":3}",
         ERR_INVALID, "qos"},
        {"{\"type\":\"subscription\",\"session\":\"" KEY "\",\"filter\":\"a\",\"no_local\":1}",
         ERR_INVALID, "no_local"},
        {"{\"type\":\"packet_id\",\"session\":\"" KEY "\",\"packet_id\":0}", ERR_INVALID,
         "packet_id"},
        {"{\"type\":\"packet_id\",\"session\":\"" KEY "\",\"packet_id\":65536}", ERR_INVALID,
         "packet_id"},
        {"{\"type\":\"message\",\"session\":\"" KEY "\"," MESSAGE "}", ERR_INVALID, "sequence"},
        {"{\"type\":\"message\",\"session\":\"" KEY "\",\"sequence\":1}", ERR_INVALID, "message"},
        {"{\"type\":\"message\",\"session\":\"" KEY "\",\"sequence\":1,\"qos\":1,"
         "\"awaits_pubcomp\":true}",
         ERR_INVALID, "qos"},
        {"{\"type\":\"message\",\"session\":\"" KEY "\",\"sequence\":1,\"ids\":[0]," MESSAGE "}",
         ERR_INVALID, "ids"},
        {"{\"type\":\"message\",\"session\":\"" KEY "\",\"sequence\":1,\"ids\":[[]]," MESSAGE "}",
         ERR_INVALID, "ids"},
        {"{\"type\":\"message\",\"session\":\"" KEY "\",\"sequence\":1,\"share\":\"a\"," MESSAGE
         "}",
         ERR_INVALID, "share"},
        {"{\"type\":\"retained\",\"message\":{\"topic\":\"\"}}", ERR_INVALID, "topic"},
        {"{\"type\":\"retained\",\"message\":{\"topic\":\"a\",\"payload\":1}}", ERR_INVALID,
         "payload"},
        {"{\"type\":\"retained\",\"message\":{\"topic\":\"a\",\"payload\":\"x\","
         "\"payload_base64\":\"AAAA\"}}",
         ERR_INVALID, "payload"},
        {"{\"type\":\"retained\",\"message\":{\"topic\":\"a\",\"payload_base64\":\"A\"}}",
         ERR_INVALID, "payload_base64"},
        /* an expiry interval (0x02) stands apart, and half a property is none */
        {"{\"type\":\"retained\",\"message\":{\"topic\":\"a\",\"properties_base64\":\"AgAAAAE=\"}}",
         ERR_INVALID, "properties"},
        {"{\"type\":\"retained\",\"message\":{\"topic\":\"a\",\"properties_base64\":\"AwA=\"}}",
         ERR_INVALID, "properties"},
        {"{\"type\":\"outbox\",\"partition\":64,\"number\":1," MESSAGE "}", ERR_INVALID,
         "partition"},
        {"{\"type\":\"outbox\",\"partition\":1," MESSAGE "}", ERR_INVALID, "number"},
        {"{\"type\":\"received\",\"partition\":1,\"source\":64,\"number\":1}", ERR_INVALID,
         "source"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char problem[DUMP_PROBLEM_BYTES];
        struct dump_line line;
        enum err err = dump_read(slice_text(rows[i].text), &line, problem);
        if (err != rows[i].err || strstr(problem, rows[i].word) == NULL) {
            fail_msg("%s: %s: %s", rows[i].text, err_name(err), problem);
        }
    }
}

static void members_that_are_not_known_are_stepped_over(void **state)
{
    struct dump_line line;
    (void)state;
    read_ok(slice_text("{\"type\":\"retained\",\"later\":[1,{\"x\":2}],"
                       "\"message\":{\"topic\":\"a\",\"more\":null}}"),
            &line);
    assert_true(slice_is(line.message.topic, "a"));
    assert_int_equal(line.message.payload.count, 0);
    dump_line_deinit(&line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_session_is_written_and_read_back, begin, end),
        cmocka_unit_test_setup_teardown(a_session_that_never_expires_and_is_connected_says_so,
                                        begin, end),
        cmocka_unit_test_setup_teardown(a_subscription_keeps_its_mount_point_apart, begin, end),
        cmocka_unit_test_setup_teardown(messages_owed_are_written_and_read_back, begin, end),
        cmocka_unit_test_setup_teardown(all_other_lines_are_written_and_read_back, begin, end),
        cmocka_unit_test_setup_teardown(a_payload_is_text_where_it_is_text, begin, end),
        cmocka_unit_test_setup_teardown(a_line_that_cannot_be_written_ends_it_and_is_not_counted,
                                        begin, end),
        cmocka_unit_test(a_wrong_line_is_refused_and_told_why),
        cmocka_unit_test(members_that_are_not_known_are_stepped_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
