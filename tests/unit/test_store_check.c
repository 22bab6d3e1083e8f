#include "core/session/session.h"
#include "storage/check.h"
#include "storage/key.h"
#include "storage/machine.h"
#include "storage/raftlog.h"
#include "tests/lib/kv_memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { TERM = 3, COMMAND = 1, BARRIER = 2, CUT = 5 };

/* ---- a partition with something of everything ----------------------------------------------------- */

struct place {
    struct kv *log, *state;
    struct kv_batch *batch;
    struct write_set *writes;
    struct machine *machine;
    uint32_t partition;
    uint64_t index, message_first;
    char first[16], second[16], topic[16]; /* all of that partition */
};

static struct key key;

/* "lamp17": the first with that beginning that belongs to the partition. */
static void name_of(const char *begin, uint32_t partition, char out[16])
{
    for (uint32_t i = 0;; i++) {
        snprintf(out, 16, "%s%u", begin, i);
        if (partition_of(slice_text(out)) == partition) {
            return;
        }
    }
}

static void entry_end(struct place *place, struct entry_writer *writer)
{
    assert_int_equal(entry_close(writer, 1000, machine_message_next(place->machine)), OK);
    struct raftlog_entry entry = {
        .index = ++place->index, .term = TERM, .type = COMMAND, .bytes = buf_bytes(&writer->bytes)};
    assert_int_equal(raftlog_put(place->batch, place->partition, &entry), OK);
    assert_int_equal(kv_write(place->log, place->batch), OK);
    kv_batch_clear(place->batch);
    assert_int_equal(machine_apply(place->machine, entry.index, TERM, entry.bytes, place->writes),
                     OK);
    assert_int_equal(write_set_write(place->writes, place->state), OK);
    entry_writer_deinit(writer);
}

static void op_put(struct entry_writer *writer, const struct op *op)
{
    uint32_t number;
    assert_int_equal(entry_put(writer, op, &number), OK);
}

static void open_session(struct place *place, struct entry_writer *writer, uint64_t session,
                         const char *client_id)
{
    struct op op = {.kind = OP_OPEN, .partition = place->partition, .session = session};
    op.open.client_id = slice_text(client_id);
    op.open.expiry_s = 60;
    op.open.will.message = (struct msg_spec){.topic = SLICE("will"), .payload = SLICE("bye")};
    op_put(writer, &op);
}

static void owe(struct place *place, struct entry_writer *writer, uint64_t session,
                uint64_t sequence, const struct msg *msg)
{
    struct op op = {.kind = OP_ENQUEUE, .partition = place->partition, .session = session};
    op.enqueue = (struct op_enqueue){.msg = msg, .sequence = sequence, .qos = 1};
    op_put(writer, &op);
}

static struct place place_new(void)
{
    struct place place = {.partition = 7, .index = CUT};
    struct raftlog_hard hard = {.term = TERM, .vote = 1, .cut_index = CUT, .cut_term = TERM};
    struct entry_writer writer = {.op_count = 0};
    assert_int_equal(kv_open(NULL, &place.log, NULL), OK);
    assert_int_equal(kv_open(NULL, &place.state, NULL), OK);
    place.batch = kv_batch_new();
    place.writes = write_set_new();
    assert_non_null(place.batch);
    assert_non_null(place.writes);
    name_of("lamp", place.partition, place.first);
    name_of("door", place.partition, place.second);
    name_of("topic", place.partition, place.topic);
    assert_int_equal(raftlog_put_hard(place.batch, place.partition, &hard), OK);
    assert_int_equal(raftlog_cut(place.batch, place.partition, &hard), OK);
    assert_int_equal(kv_write(place.log, place.batch), OK);
    kv_batch_clear(place.batch);
    assert_int_equal(machine_open(place.state, place.partition, &place.machine), OK);

    open_session(&place, &writer, 1, place.first);
    open_session(&place, &writer, 2, place.second);
    struct op op = {.kind = OP_SUBSCRIBE, .partition = place.partition, .session = 1};
    op.subscribe.text = op.subscribe.filter = slice_text("a/#");
    op_put(&writer, &op);
    op = (struct op){.kind = OP_SEEN, .partition = place.partition, .session = 1, .packet_id = 9};
    op_put(&writer, &op);
    op = (struct op){.kind = OP_CLOSE, .partition = place.partition, .session = 2};
    op_put(&writer, &op);
    entry_end(&place, &writer);

    static const uint8_t payload[600]; /* so large that it pays to share it */
    struct msg_spec spec = {.topic = slice_text(place.topic),
                            .payload = slice_of(payload, sizeof(payload))};
    struct msg *msg = msg_new(&spec), *own = msg_new(&spec);
    owe(&place, &writer, 1, 1, msg);
    owe(&place, &writer, 2, 1, msg);
    owe(&place, &writer, 2, 2, own);
    op = (struct op){.kind = OP_RETAIN, .partition = place.partition, .retain = msg};
    op_put(&writer, &op);
    op = (struct op){.kind = OP_SEND, .partition = place.partition};
    op.send.number = 1;
    op.send.msg = msg;
    op_put(&writer, &op);
    op = (struct op){.kind = OP_RECEIVED, .partition = place.partition};
    op.received.partition = 3;
    op.received.number = 4;
    op_put(&writer, &op);
    entry_end(&place, &writer);
    msg_unref(msg);
    msg_unref(own);
    return place;
}

static void place_free(struct place *place)
{
    machine_close(place->machine);
    kv_batch_free(place->batch);
    write_set_free(place->writes);
    kv_close(place->log);
    kv_close(place->state);
}

/* ---- what was found -------------------------------------------------------------------------------- */

static char found[4096];
static struct check check;

static void on_finding(void *context, const char *text)
{
    (void)context;
    size_t used = strlen(found);
    snprintf(found + used, sizeof(found) - used, "%s\n", text);
}

static void look(const struct place *place)
{
    found[0] = '\0';
    check = (struct check){.finding = on_finding};
    assert_int_equal(check_partition(place->log, place->state, place->partition, &check), OK);
}

/* One finding, with these words. */
static void assert_found(const struct place *place, const char *words)
{
    look(place);
    if (check.finding_count != 1 || strstr(found, words) == NULL ||
        strncmp(found, "partition 7: ", 13) != 0) {
        fail_msg("\"%s\" expected, found:\n%s", words, found);
    }
}

static void put(struct place *place, struct kv *map, struct slice value)
{
    kv_batch_put(place->batch, key_slice(&key), value);
    assert_int_equal(kv_write(map, place->batch), OK);
    kv_batch_clear(place->batch);
}

static void gone(struct place *place, struct kv *map)
{
    kv_batch_delete(place->batch, key_slice(&key));
    assert_int_equal(kv_write(map, place->batch), OK);
    kv_batch_clear(place->batch);
}

/* ---- tests ------------------------------------------------------------------------------------------ */

static void a_whole_partition_has_no_findings_and_is_counted(void **state)
{
    struct place place = place_new();
    (void)state;
    look(&place);
    assert_string_equal(found, "");
    assert_int_equal(check.figures.entries, 2);
    assert_int_equal(check.figures.waiting, 0);
    assert_int_equal(check.figures.sessions, 2);
    assert_int_equal(check.figures.subscriptions, 1);
    assert_int_equal(check.figures.packet_ids, 1);
    assert_int_equal(check.figures.items, 3);
    assert_int_equal(check.figures.shared_messages, 1);
    assert_int_equal(check.figures.retained, 1);
    assert_int_equal(check.figures.outbox, 1);
    place_free(&place);
}

static void a_partition_that_was_never_used_is_whole(void **state)
{
    struct place place = place_new();
    (void)state;
    place.partition = 8;
    look(&place);
    assert_string_equal(found, "");
    place_free(&place);
}

/* A torn record of the state: it is named, and what lies behind it is looked at all the same. */
static void a_record_that_cannot_be_read_is_named(void **state)
{
    static const struct slice torn = SLICE("\xff\xff\xff");
    struct place place = place_new();
    (void)state;
    key_of_retained(&key, 7, slice_text(place.topic));
    put(&place, place.state, torn);
    assert_found(&place, "a retained message");
    assert_int_equal(check.figures.sessions, 2);
    place_free(&place);

    place = place_new();
    key_of_subscription(&key, 7, 1, slice_text("a/#"));
    put(&place, place.state, torn);
    assert_found(&place, "a subscription of session 1");
    place_free(&place);

    place = place_new();
    key_of_item(&key, 7, 2, 2);
    put(&place, place.state, torn);
    assert_found(&place, "a message owed to session 2");
    place_free(&place);

    place = place_new();
    key_of_session_part(&key, 7, 1, PART_WILL);
    put(&place, place.state, torn);
    assert_found(&place, "the will of session 1");
    place_free(&place);
}

static void a_key_that_is_none_of_ours_is_found(void **state)
{
    struct place place = place_new();
    (void)state;
    key_of_kind(&key, 7, (enum key_kind)'X');
    put(&place, place.state, slice_text("?"));
    assert_found(&place, "none of ours");
    place_free(&place);
}

static void a_session_that_is_lost_is_found_by_what_it_had(void **state)
{
    struct place place = place_new();
    (void)state;
    key_of_session(&key, 7, 2);
    gone(&place, place.state);
    look(&place);
    assert_int_equal(check.finding_count, 4); /* when it closed, its will, two messages */
    assert_non_null(strstr(found, "session 0000000000000002 is not there"));
    place_free(&place);
}

static void a_client_with_two_sessions_is_found(void **state)
{
    struct place place = place_new();
    struct kv_value value;
    (void)state;
    key_of_session(&key, 7, 1);
    assert_int_equal(kv_get(place.state, key_slice(&key), &value), OK);
    key_of_session(&key, 7, 3);
    put(&place, place.state, value.bytes);
    kv_value_free(&value);
    assert_found(&place, "the client of session 0000000000000003 has another session");
    place_free(&place);
}

static void counts_of_shared_messages_agree_with_the_items(void **state)
{
    struct place place = place_new();
    uint64_t number = 1; /* of the first message of the partition */
    (void)state;
    key_of_item(&key, 7, 1, 1);
    gone(&place, place.state);
    assert_found(&place, "counted for 1 more");
    place_free(&place);

    place = place_new();
    key_of_number(&key, 7, KEY_MESSAGE, number);
    gone(&place, place.state);
    assert_found(&place, "message 1 is counted, and not there");
    place_free(&place);

    place = place_new();
    key_of_number(&key, 7, KEY_SHARED_COUNT, number);
    gone(&place, place.state);
    look(&place);
    assert_int_equal(check.finding_count, 3); /* the message, and two items that have it */
    assert_non_null(strstr(found, "message 1 is kept, and for nobody"));
    assert_non_null(strstr(found, "is owed message 1 (sequence 1), which is not there"));
    place_free(&place);

    place = place_new();
    key_of_number(&key, 7, KEY_SHARED_COUNT, 0);
    put(&place, place.state, slice_text("\x08\x01"));
    assert_found(&place, "the count of message 0 is damaged");
    place_free(&place);
}

static void what_is_applied_lies_within_the_log(void **state)
{
    struct place place = place_new();
    struct raftlog_hard hard = {.cut_index = 7, .cut_term = TERM};
    (void)state;
    raftlog_truncate(place.batch, 7, 7);
    assert_int_equal(kv_write(place.log, place.batch), OK);
    kv_batch_clear(place.batch);
    assert_found(&place, "its state is of entry 7, and its log ends at 6");
    place_free(&place);

    place = place_new();
    key_of_kind(&key, 7, KEY_APPLIED);
    gone(&place, place.state);
    assert_found(&place, "its state is of entry 0, and its log begins behind 5");
    place_free(&place);

    place = place_new(); /* all of it cut: that is a log too */
    assert_int_equal(raftlog_cut(place.batch, 7, &hard), OK);
    assert_int_equal(kv_write(place.log, place.batch), OK);
    kv_batch_clear(place.batch);
    look(&place);
    assert_string_equal(found, "");
    place_free(&place);
}

static void a_damaged_log_is_told_as_the_log_tells_it(void **state)
{
    struct place place = place_new();
    struct raftlog_entry nonsense = {
        .index = 8, .term = TERM, .type = COMMAND, .bytes = SLICE("\xff\xff")};
    (void)state;
    assert_int_equal(raftlog_put(place.batch, 7, &nonsense), OK);
    assert_int_equal(kv_write(place.log, place.batch), OK);
    kv_batch_clear(place.batch);
    assert_found(&place, "entry 8 is damaged");
    assert_int_equal(check.figures.waiting, 1); /* the state does not know of it */
    place_free(&place);

    place = place_new();
    nonsense.type = BARRIER; /* the engine's own: nothing of ours is in it */
    assert_int_equal(raftlog_put(place.batch, 7, &nonsense), OK);
    assert_int_equal(kv_write(place.log, place.batch), OK);
    kv_batch_clear(place.batch);
    look(&place);
    assert_string_equal(found, "");
    assert_int_equal(check.figures.waiting, 0);
    nonsense.index = 10; /* and 9 is missing */
    assert_int_equal(raftlog_put(place.batch, 7, &nonsense), OK);
    assert_int_equal(kv_write(place.log, place.batch), OK);
    kv_batch_clear(place.batch);
    look(&place);
    assert_int_equal(check.finding_count, 1);
    assert_non_null(strstr(found, "9"));
    place_free(&place);
}

/* Whatever lies about of it is not looked at: it means nothing. */
static void a_partition_that_was_being_replaced_is_not_whole(void **state)
{
    struct place place = place_new();
    struct raftlog_mark mark = {40, TERM};
    (void)state;
    raftlog_put_mark(place.batch, 7, &mark);
    assert_int_equal(kv_write(place.log, place.batch), OK);
    kv_batch_clear(place.batch);
    key_of_session(&key, 7, 1);
    gone(&place, place.state); /* and what the session had is left */
    assert_found(&place, "being replaced by what another node has of it, up to entry 40");
    assert_int_equal(check.figures.items, 0);
    place_free(&place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_partition_has_no_findings_and_is_counted),
        cmocka_unit_test(a_partition_that_was_never_used_is_whole),
        cmocka_unit_test(a_record_that_cannot_be_read_is_named),
        cmocka_unit_test(a_key_that_is_none_of_ours_is_found),
        cmocka_unit_test(a_session_that_is_lost_is_found_by_what_it_had),
        cmocka_unit_test(a_client_with_two_sessions_is_found),
        cmocka_unit_test(counts_of_shared_messages_agree_with_the_items),
        cmocka_unit_test(what_is_applied_lies_within_the_log),
        cmocka_unit_test(a_damaged_log_is_told_as_the_log_tells_it),
        cmocka_unit_test(a_partition_that_was_being_replaced_is_not_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
