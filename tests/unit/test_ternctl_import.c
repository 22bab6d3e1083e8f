/* A program's own files: they are in no library, so they are taken in here. */
#include "cluster/ternctl_import_lines.c"
#include "cluster/ternctl_import_mosquitto.c"
#include "cluster/ternctl_import_sink.c"
#include "cluster/ternctl_mosquitto_db.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { NOW_S = 1795286165 };

/* ---- a journal that tells what it was given ------------------------------------------------------ */

static char story[16384];
static size_t story_bytes;
static uint64_t message_number;
static uint32_t turn_count;
static enum err admitted;
static bool is_congested, is_stuck;
static journal_done waiting;
static void *waiting_context;

void ternctl_print_safe(FILE *out, struct slice text)
{
    fwrite(text.data, 1, text.count, out);
}

static void told(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void told(const char *format, ...)
{
    va_list values;
    va_start(values, format);
    story_bytes += (size_t)vsnprintf(story + story_bytes, sizeof(story) - story_bytes, format,
                                     values);
    va_end(values);
    assert_true(story_bytes < sizeof(story));
}

#define TEXT(slice) (int)(slice).count, (const char *)(slice).data

static void tell_open(const struct op_open *open)
{
    told("open %.*s user %s%.*s expiry %u", TEXT(open->client_id),
         open->username.data == NULL ? "-" : "", TEXT(open->username), open->expiry_s);
    if (open->will.message.topic.count > 0) {
        told(" will %.*s in %u", TEXT(open->will.message.topic), open->will.delay_s);
    }
    told("\n");
}

static uint64_t fake_log(struct journal *journal, const struct op *op)
{
    (void)journal;
    assert_true(op->partition < PARTITION_COUNT);
    switch (op->kind) {
    case OP_OPEN:
        assert_int_equal(op->partition, partition_of(op->open.client_id));
        assert_true(op->session != 0);
        tell_open(&op->open);
        break;
    case OP_CLOSE:
        told("close expiry %u sent %llu\n", op->close.expiry_s,
             (unsigned long long)op->close.sent_sequence);
        break;
    case OP_SUBSCRIBE:
        told("subscribe %.*s (%.*s) qos %u id %u prefix \"%.*s\"\n", TEXT(op->subscribe.text),
             TEXT(op->subscribe.filter), op->subscribe.qos, op->subscribe.id,
             TEXT(op->subscribe.prefix));
        break;
    case OP_ENQUEUE:
        told("enqueue %llu qos %u %.*s=%.*s ids %u\n", (unsigned long long)op->enqueue.sequence,
             op->enqueue.qos, TEXT(op->enqueue.msg->topic), TEXT(op->enqueue.msg->payload),
             op->enqueue.id_count);
        return ++message_number;
    case OP_SETTLE:
        assert_true(op->settle.awaits_pubcomp);
        told("settle %llu of message %llu\n", (unsigned long long)op->settle.sequence,
             (unsigned long long)op->settle.message);
        break;
    case OP_SEEN:
        told("seen %u\n", op->packet_id);
        break;
    case OP_RETAIN:
        assert_int_equal(op->partition, partition_of(op->retain->topic));
        told("retain %.*s=%.*s for %u\n", TEXT(op->retain->topic), TEXT(op->retain->payload),
             op->retain->expiry_s);
        break;
    case OP_SEND:
        told("send %llu %.*s=%.*s%s%.*s\n", (unsigned long long)op->send.number,
             TEXT(op->send.msg->topic), TEXT(op->send.msg->payload),
             op->send.group.count > 0 ? " for " : "", TEXT(op->send.group));
        break;
    case OP_RECEIVED:
        if (op->received.group != 0) {
            told("taken %u of %u: %llu for %llx\n", op->partition, op->received.partition,
                 (unsigned long long)op->received.number, (unsigned long long)op->received.group);
            break;
        }
        told("received %u of %u to %llu\n", op->partition, op->received.partition,
             (unsigned long long)op->received.number);
        break;
    default:
        fail_msg("op %d", op->kind);
    }
    return 0;
}

static enum err fake_admit(struct journal *journal, uint32_t partition)
{
    (void)journal;
    (void)partition;
    return admitted;
}

static enum err fake_await(struct journal *journal, uint64_t partitions, journal_done done,
                           void *context)
{
    (void)journal;
    assert_true(partitions == UINT64_MAX);
    waiting = done;
    waiting_context = context;
    return ERR_AGAIN;
}

static bool fake_is_congested(const struct journal *journal)
{
    (void)journal;
    return is_congested;
}

static const struct journal_calls fake_calls = {
    .admit = fake_admit, .log = fake_log, .await = fake_await, .is_congested = fake_is_congested};
static struct journal journal = {&fake_calls};

static void fake_turn(struct import *import)
{
    (void)import;
    turn_count++;
    is_congested = false;
    if (waiting != NULL && turn_count > 2 && !is_stuck) {
        waiting(waiting_context, admitted);
    }
}

static struct import import;

static int begin(void **state)
{
    (void)state;
    story_bytes = message_number = turn_count = 0;
    story[0] = '\0';
    admitted = OK;
    is_congested = is_stuck = false;
    waiting = NULL;
    import = (struct import){.journal = &journal,
                             .turn = fake_turn,
                             .wall_ms = NOW_S * UINT64_C(1000),
                             .is_fresh = true};
    return import_init(&import, 42) == OK ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    import_deinit(&import);
    return 0;
}

/* Exit code; what was logged is the story. */
static int lines_in(const char *text)
{
    FILE *in = fmemopen((char *)(uintptr_t)text, strlen(text), "r");
    assert_non_null(in);
    int code = import_lines(&import, in);
    fclose(in);
    return code;
}

#define HEAD      "{\"type\":\"export\",\"format\":1}\n"
#define END       "{\"type\":\"end\"}\n"
#define A         "\"session\":\"00000000000000aa\""
#define B         "\"session\":\"00000000000000bb\""
#define OF(bytes) "\"message\":{\"topic\":\"t\",\"payload\":\"" bytes "\"}"

/* ---- JSON lines ---------------------------------------------------------------------------------- */

static void lines_become_ops_and_a_session_is_closed_behind_what_it_has(void **state)
{
    (void)state;
    assert_int_equal(
        lines_in(HEAD "{\"type\":\"session\"," A ",\"client\":\"a\",\"user\":\"alice\","
                      "\"expiry_s\":3600,\"closed_ms\":1795286065000,\"sent_sequence\":4}\n"
                      "{\"type\":\"subscription\"," A ",\"filter\":\"$share/g/x\",\"mount\":\"m/\","
                      "\"qos\":1,\"id\":3}\n"
                      "{\"type\":\"packet_id\"," A ",\"packet_id\":9}\n"
                      "{\"type\":\"message\"," A ",\"sequence\":4,\"qos\":2,"
                      "\"awaits_pubcomp\":true}\n"
                      "{\"type\":\"message\"," A ",\"sequence\":5,\"qos\":1,\"ids\":[3]," OF(
                          "five") "}\n"
                                  "{\"type\":\"session\"," B
                                  ",\"client\":\"b\",\"expiry_s\":null}\n"
                                  "{\"type\":\"message\"," B ",\"sequence\":7,\"qos\":1," OF(
                                      "seven") "}\n"
                                               "{\"type\":\"retained\"," OF(
                                                   "kept") "}\n"
                                                           "{\"type\":\"end\",\"lines\":9}\n"),
        TERNCTL_OK);
    assert_string_equal(story, "open a user alice expiry 3500\n"
                               "subscribe $share/g/x (x) qos 1 id 3 prefix \"m/\"\n"
                               "seen 9\n"
                               "enqueue 4 qos 2 -= ids 0\n"
                               "settle 4 of message 1\n"
                               "enqueue 5 qos 1 t=five ids 1\n"
                               "close expiry 3500 sent 4\n"
                               "open b user - expiry 4294967295\n"
                               "enqueue 7 qos 1 t=seven ids 0\n"
                               "retain t=kept for 0\n"
                               "close expiry 4294967295 sent 7\n");
    assert_int_equal(import.figures.sessions, 2);
    assert_int_equal(import.figures.messages, 3);
}

static void time_runs_on_while_it_is_exported(void **state)
{
    (void)state;
    assert_int_equal(
        lines_in(
            HEAD
            "{\"type\":\"session\"," A ",\"client\":\"over\",\"expiry_s\":100,"
            "\"closed_ms\":1795286065000}\n"
            "{\"type\":\"message\"," A ",\"sequence\":1,\"qos\":1," OF(
                "x") "}\n"
                     "{\"type\":\"session\"," B ",\"client\":\"willed\",\"expiry_s\":100,"
                     "\"closed_ms\":1795286065000,\"will\":{\"topic\":\"w\",\"delay_s\":150}}\n"
                     "{\"type\":\"retained\",\"message\":{\"topic\":\"r\",\"payload\":\"x\","
                     "\"expires_ms\":1795286165000}}\n" END),
        TERNCTL_OK);
    assert_string_equal(story, "open willed user - expiry 1 will w in 50\n"
                               "close expiry 1 sent 0\n");
    assert_int_equal(import.figures.sessions_over, 1);
    assert_int_equal(import.figures.of_nobody, 1);
    assert_int_equal(import.figures.messages_over, 1);
}

static void what_the_store_has_stays_as_it_is(void **state)
{
    (void)state;
    import.is_fresh = false;
    import.outbox_last[5] = 40;
    assert_int_equal(import_knows(&import, slice_text("a")), OK);
    assert_int_equal(
        lines_in(HEAD "{\"type\":\"received\",\"partition\":1,\"source\":5,\"number\":7}\n"
                      "{\"type\":\"outbox\",\"partition\":5,\"number\":8," OF(
                          "o") "}\n"
                               "{\"type\":\"session\"," A ",\"client\":\"a\",\"expiry_s\":60}\n"
                               "{\"type\":\"packet_id\"," A ",\"packet_id\":9}\n"
                               "{\"type\":\"session\"," B ",\"client\":\"b\",\"expiry_s\":60}\n"
                               "{\"type\":\"session\"," B
                               ",\"client\":\"b\",\"expiry_s\":60}\n" END),
        TERNCTL_OK);
    assert_string_equal(story, "send 41 t=o\n"
                               "open b user - expiry 60\n"
                               "close expiry 60 sent 0\n");
    assert_int_equal(import.figures.sessions_there, 2);
    assert_int_equal(import.figures.perhaps_twice, 1);
}

static void into_a_new_store_numbers_of_an_outbox_stay(void **state)
{
    (void)state;
    assert_int_equal(lines_in(HEAD
                              "{\"type\":\"received\",\"partition\":1,\"source\":5,\"number\":9}\n"
                              "{\"type\":\"outbox\",\"partition\":5,\"number\":8,"
                              "\"group\":\"g/t\"," OF(
                                  "o") "}\n"
                                       "{\"type\":\"taken\",\"partition\":1,\"source\":5,"
                                       "\"number\":11,\"group\":\"00000000000000ab\"}\n" END),
                     TERNCTL_OK);
    assert_string_equal(story,
                        "received 1 of 5 to 9\nsend 8 t=o for g/t\ntaken 1 of 5: 11 for ab\n");
    assert_int_equal(import.figures.perhaps_twice, 0);
}

static void wrong_lines_end_it(void **state)
{
    static const char *const wrong[] = {
        "",
        "{\"type\":\"end\",\"lines\":0}\n",
        END,
        HEAD "nonsense\n" END,
        HEAD "{\"type\":\"end\",\"lines\":7}\n",
        HEAD END END,
        HEAD END "{\"type\":\"retained\"," OF("behind the end") "}\n",
        HEAD "{\"type\":\"packet_id\"," A ",\"packet_id\":9}\n" END,
        HEAD "{\"type\":\"session\"," A ",\"client\":\"a\",\"expiry_s\":60}\n"
             "{\"type\":\"packet_id\"," B ",\"packet_id\":9}\n" END,
        HEAD "{\"type\":\"taken\",\"partition\":1,\"source\":5,\"number\":11}\n" END,
        HEAD "{\"type\":\"outbox\",\"partition\":5,\"number\":8,\"group\":\"t\"," OF("o") "}\n" END,
        "{\"type\":\"export\",\"format\":2}\n" END,
    };
    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        FILE *in = wrong[i][0] == '\0'
                       ? fopen("/dev/null", "r")
                       : fmemopen((char *)(uintptr_t)wrong[i], strlen(wrong[i]), "r");
        assert_non_null(in);
        assert_int_equal(import_lines(&import, in), TERNCTL_DATA);
        fclose(in);
    }
}

/* The lines before the wrong one are good: of a file they are not imported either. */
static void a_file_with_a_wrong_line_changes_nothing(void **state)
{
    (void)state;
    assert_int_equal(
        lines_in(HEAD "{\"type\":\"retained\"," OF("kept") "}\n"
                                                           "{\"type\":\"end\",\"lines\":9}\n"),
        TERNCTL_DATA);
    assert_string_equal(story, "");
}

/* Exit code, of a text that can be read but once. */
static int pipe_in(const char *text)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], text, strlen(text)), strlen(text));
    close(ends[1]);
    FILE *in = fdopen(ends[0], "r");
    assert_non_null(in);
    int code = import_lines(&import, in);
    fclose(in);
    return code;
}

static void a_pipe_is_read_once(void **state)
{
    (void)state;
    assert_int_equal(pipe_in(HEAD "{\"type\":\"retained\"," OF("kept") "}\nwrong\n" END),
                     TERNCTL_DATA);
    assert_string_equal(story, "retain t=kept for 0\n");
}

/* What broke off between two lines looks whole but for the last one. */
static void without_a_last_line_it_is_not_taken_for_the_whole(void **state)
{
    static const char text[] = HEAD "{\"type\":\"retained\"," OF("kept") "}\n";
    (void)state;
    assert_int_equal(lines_in(text), TERNCTL_DATA);
    assert_string_equal(story, "");
    assert_int_equal(pipe_in(text), TERNCTL_DATA);
    assert_string_equal(story, "retain t=kept for 0\n");
    assert_int_equal(lines_in(HEAD "{\"type\":\"retained\"," OF("by hand") "}\n" END), TERNCTL_OK);
    assert_string_equal(story, "retain t=kept for 0\nretain t=by hand for 0\n");
}

static void a_journal_that_admits_nothing_ends_it(void **state)
{
    (void)state;
    admitted = ERR_NO_SPACE;
    assert_int_equal(lines_in(HEAD "{\"type\":\"retained\"," OF("kept") "}\n" END),
                     TERNCTL_CANNOT_CREATE);
    assert_string_equal(story, "");
}

static void a_busy_journal_is_waited_for_and_a_full_disk_is_not(void **state)
{
    (void)state;
    is_congested = true;
    assert_int_equal(lines_in(HEAD "{\"type\":\"retained\"," OF("kept") "}\n" END), TERNCTL_OK);
    assert_int_equal(turn_count, 1);
    assert_int_equal(import_finish(&import), OK);
    assert_int_equal(turn_count, 3);
    import.is_finished = false;
    admitted = ERR_UNAVAILABLE;
    assert_int_equal(import_finish(&import), ERR_UNAVAILABLE);
    import.is_finished = false;
    turn_count = 0;
    is_stuck = true;
    admitted = ERR_NO_SPACE;
    assert_int_equal(import_finish(&import), ERR_NO_SPACE);
    assert_int_equal(turn_count, FULL_TURNS_MAX);
}

/* ---- mosquitto ------------------------------------------------------------------------------------- */

static struct mosquitto_message message = {.topic = SLICE("t"), .payload = SLICE("p"), .qos = 2};

static void item(struct source *source, enum mosquitto_step step, uint16_t packet_id, uint8_t qos)
{
    struct mosquitto_item one = {.client_id = SLICE("lamp"),
                                 .message = &message,
                                 .step = step,
                                 .packet_id = packet_id,
                                 .qos = qos};
    assert_int_equal(on_item(source, &one), OK);
}

static void client(struct source *source, uint32_t expiry_s, uint64_t expires_s)
{
    struct mosquitto_client one = {
        .id = SLICE("lamp"), .expiry_s = expiry_s, .expires_wall_ms = expires_s * 1000};
    assert_int_equal(on_client(source, &one), OK);
}

static void packet_ids_in_flight_are_kept(void **state)
{
    static const uint16_t ids[] = {65533, 65535, 1, 4};
    struct source source = {.import = &import};
    (void)state;
    client(&source, MOSQUITTO_NEVER, 0);
    item(&source, MOSQUITTO_SENT, ids[0], 1);
    item(&source, MOSQUITTO_WAITS_PUBCOMP, ids[1], 2);
    item(&source, MOSQUITTO_SENT, ids[2], 2);
    item(&source, MOSQUITTO_SENT, ids[3], 2);
    item(&source, MOSQUITTO_QUEUED, 5, 1);
    item(&source, MOSQUITTO_QUEUED, 0, 0);
    assert_int_equal(client_end(&source), OK);
    assert_string_equal(story, "open lamp user - expiry 4294967295\n"
                               "enqueue 131067 qos 1 t=p ids 0\n"
                               "enqueue 131069 qos 2 -= ids 0\n"
                               "settle 131069 of message 2\n"
                               "enqueue 131070 qos 2 t=p ids 0\n"
                               "enqueue 131073 qos 2 t=p ids 0\n"
                               "enqueue 131074 qos 1 t=p ids 0\n"
                               "close expiry 4294967295 sent 131073\n");
    for (size_t i = 0; i < 4; i++) {
        static const uint64_t sequences[] = {131067, 131069, 131070, 131073};
        assert_int_equal(1 + sequences[i] % 65535, ids[i]);
    }
    assert_int_equal(import.figures.packet_ids_changed, 0);
    assert_int_equal(import.figures.messages_qos0, 1);
}

static void packet_ids_out_of_order_are_told_where_that_matters(void **state)
{
    struct source source = {.import = &import};
    (void)state;
    client(&source, 60, NOW_S + 30);
    item(&source, MOSQUITTO_SENT, 10, 1);
    item(&source, MOSQUITTO_SENT, 9, 1);
    item(&source, MOSQUITTO_SENT, 8, 2);
    assert_int_equal(client_end(&source), OK);
    assert_string_equal(story, "open lamp user - expiry 30\n"
                               "enqueue 65544 qos 1 t=p ids 0\n"
                               "enqueue 131078 qos 1 t=p ids 0\n"
                               "enqueue 131079 qos 2 t=p ids 0\n"
                               "close expiry 30 sent 131079\n");
    assert_int_equal(import.figures.packet_ids_changed, 1);
}

/* mosquitto gives it to others at the PUBREL; we promised it with the PUBREC. */
static void a_message_that_waits_for_pubrel_is_on_its_way(void **state)
{
    struct source source = {.import = &import};
    (void)state;
    client(&source, 60, 0);
    item(&source, MOSQUITTO_CAME, 77, 2);
    item(&source, MOSQUITTO_CAME, 78, 2);
    item(&source, MOSQUITTO_CAME, 79, 1);
    assert_int_equal(client_end(&source), OK);
    assert_string_equal(story, "open lamp user - expiry 60\n"
                               "seen 77\nsend 1 t=p\nseen 78\nsend 2 t=p\n"
                               "close expiry 60 sent 0\n");
}

static void a_session_of_mosquitto_that_is_over_is_left_out(void **state)
{
    struct source source = {.import = &import};
    struct mosquitto_subscription subscription = {.client_id = SLICE("lamp"), .filter = SLICE("a")};
    (void)state;
    client(&source, 60, NOW_S);
    item(&source, MOSQUITTO_QUEUED, 1, 1);
    assert_int_equal(on_subscription(&source, &subscription), OK);
    subscription.client_id = slice_text("other");
    assert_int_equal(on_subscription(&source, &subscription), OK);
    assert_int_equal(client_end(&source), OK);
    assert_string_equal(story, "");
    assert_int_equal(import.figures.sessions_over, 1);
    assert_int_equal(import.figures.of_nobody, 3);
}

static void retained_messages_keep_what_is_left_of_their_time(void **state)
{
    struct source source = {.import = &import};
    struct mosquitto_message kept = message;
    (void)state;
    kept.expires_wall_ms = (NOW_S + 20) * UINT64_C(1000);
    assert_int_equal(on_retained(&source, &kept), OK);
    kept.expires_wall_ms = NOW_S * UINT64_C(1000);
    assert_int_equal(on_retained(&source, &kept), OK);
    assert_string_equal(story, "retain t=p for 20\n");
    assert_int_equal(import.figures.messages_over, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(lines_become_ops_and_a_session_is_closed_behind_what_it_has,
                                        begin, end),
        cmocka_unit_test_setup_teardown(time_runs_on_while_it_is_exported, begin, end),
        cmocka_unit_test_setup_teardown(what_the_store_has_stays_as_it_is, begin, end),
        cmocka_unit_test_setup_teardown(into_a_new_store_numbers_of_an_outbox_stay, begin, end),
        cmocka_unit_test_setup_teardown(wrong_lines_end_it, begin, end),
        cmocka_unit_test_setup_teardown(a_file_with_a_wrong_line_changes_nothing, begin, end),
        cmocka_unit_test_setup_teardown(a_pipe_is_read_once, begin, end),
        cmocka_unit_test_setup_teardown(without_a_last_line_it_is_not_taken_for_the_whole, begin,
                                        end),
        cmocka_unit_test_setup_teardown(a_journal_that_admits_nothing_ends_it, begin, end),
        cmocka_unit_test_setup_teardown(a_busy_journal_is_waited_for_and_a_full_disk_is_not, begin,
                                        end),
        cmocka_unit_test_setup_teardown(packet_ids_in_flight_are_kept, begin, end),
        cmocka_unit_test_setup_teardown(packet_ids_out_of_order_are_told_where_that_matters, begin,
                                        end),
        cmocka_unit_test_setup_teardown(a_message_that_waits_for_pubrel_is_on_its_way, begin, end),
        cmocka_unit_test_setup_teardown(a_session_of_mosquitto_that_is_over_is_left_out, begin,
                                        end),
        cmocka_unit_test_setup_teardown(retained_messages_keep_what_is_left_of_their_time, begin,
                                        end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
