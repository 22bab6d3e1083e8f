#include "storage/record.h"
#include "tests/lib/record_random.h"

#include "proto/store.pb-c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static struct arena *arena_of_test(void)
{
    struct arena *arena = arena_new(4096, 16 << 20);
    assert_non_null(arena);
    return arena;
}

/* ---- entries -------------------------------------------------------------------------------- */

static void every_op_comes_back_as_it_was(void **state)
{
    enum { OPS = 60 };
    struct arena *arena = arena_of_test();
    struct rng rng;
    (void)state;
    rng_init(&rng, 1);
    for (int turn = 0; turn < 300; turn++) {
        struct entry_writer writer = {.op_count = 0};
        struct op ops[OPS];
        struct msg *messages[OPS];
        uint32_t ids[OPS][RANDOM_IDS_MAX];
        struct entry entry;
        for (int i = 0; i < OPS; i++) {
            uint32_t place = UINT32_MAX;
            messages[i] = i == 0 || rng_below(&rng, 2) == 0 ? random_message(&rng)
                                                            : msg_ref(messages[i - 1]);
            enum op_kind kind = (enum op_kind)(1 + rng_below(&rng, OP_KIND_END - 1));
            ops[i] = random_op(&rng, kind, messages[i], ids[i]);
            assert_int_equal(entry_put(&writer, &ops[i], &place), OK);
            assert_int_equal(place, kind == OP_ENQUEUE ? writer.message_count - 1 : UINT32_MAX);
        }
        assert_int_equal(writer.op_count, OPS);
        uint64_t wall_ms = rng_u64(&rng), message_first = rng_u64(&rng) / 2;
        assert_int_equal(entry_close(&writer, wall_ms, message_first), OK);
        assert_int_equal(entry_read(buf_bytes(&writer.bytes), arena, &entry), OK);
        assert_int_equal(entry.wall_ms, wall_ms);
        assert_int_equal(entry.message_first, message_first);
        assert_int_equal(entry.message_count, writer.message_count);
        assert_int_equal(entry.op_count, OPS);
        for (int i = 0; i < OPS; i++) {
            check_entry_op(&ops[i], &entry, &entry.ops[i]);
            msg_unref(messages[i]);
        }
        entry_writer_deinit(&writer);
        arena_reset(arena);
    }
    arena_free(arena);
}

static struct op enqueue(uint64_t session, const struct msg *msg)
{
    return (struct op){.kind = OP_ENQUEUE,
                       .session = session,
                       .enqueue = {.msg = msg, .sequence = session, .qos = 1}};
}

static struct msg *message_saying(const char *payload)
{
    return msg_new(&(struct msg_spec){.topic = slice_text("a/b"), .payload = slice_text(payload)});
}

static void a_message_for_many_in_a_row_is_written_once(void **state)
{
    struct arena *arena = arena_of_test();
    struct entry_writer writer = {.op_count = 0};
    struct msg *first = message_saying("first"), *second = message_saying("second");
    struct entry entry;
    uint32_t place;
    (void)state;
    for (uint64_t session = 1; session <= 6; session++) {
        struct op op = enqueue(session, session <= 3 ? first : second);
        struct op between = {.kind = OP_SEEN, .session = session, .packet_id = 1};
        assert_int_equal(entry_put(&writer, &op, &place), OK);
        assert_int_equal(place, session <= 3 ? 0 : 1);
        assert_int_equal(entry_put(&writer, &between, &place),
                         OK); /* another op is not in the way */
    }
    assert_int_equal(entry_close(&writer, 1, 100), OK);
    assert_int_equal(entry_read(buf_bytes(&writer.bytes), arena, &entry), OK);
    assert_int_equal(entry.message_count, 2);
    check_slice(entry.messages[0].payload, slice_text("first"));
    check_slice(entry.messages[1].payload, slice_text("second"));
    msg_unref(first);
    msg_unref(second);
    entry_writer_deinit(&writer);
    arena_free(arena);
}

/* The memory of one that is gone is used again at once: an address alone would not tell them apart. */
static void a_message_that_took_the_place_of_another_is_another(void **state)
{
    struct arena *arena = arena_of_test();
    struct entry_writer writer = {.op_count = 0};
    struct entry entry;
    (void)state;
    for (uint64_t i = 0; i < 100; i++) {
        char payload[2] = {(char)('a' + i % 26), 0};
        struct msg *msg = message_saying(payload);
        struct op op = enqueue(1, msg);
        uint32_t place;
        assert_int_equal(entry_put(&writer, &op, &place), OK);
        assert_int_equal(place, i);
        msg_unref(msg);
    }
    assert_int_equal(entry_close(&writer, 1, 1), OK);
    assert_int_equal(entry_read(buf_bytes(&writer.bytes), arena, &entry), OK);
    for (uint32_t i = 0; i < 100; i++) {
        assert_int_equal(entry.messages[i].payload.data[0], 'a' + i % 26);
    }
    entry_writer_deinit(&writer);
    arena_free(arena);
}

/* protobuf-c, made from proto/store.proto, reads what we wrote and writes the same bytes. */
static void every_op_is_what_the_schema_says(void **state)
{
    struct rng rng;
    (void)state;
    rng_init(&rng, 2);
    for (int turn = 0; turn < 3000; turn++) {
        struct entry_writer writer = {.op_count = 0};
        struct msg *msg = random_message(&rng);
        uint32_t ids[RANDOM_IDS_MAX], place;
        struct op op = random_op(&rng, (enum op_kind)(1 + turn % (OP_KIND_END - 1)), msg, ids);
        assert_int_equal(entry_put(&writer, &op, &place), OK);
        assert_int_equal(entry_close(&writer, 1 + rng_u64(&rng) / 2, 1 + rng_u64(&rng) / 2), OK);
        struct slice bytes = buf_bytes(&writer.bytes);
        Tern__Entry *entry = tern__entry__unpack(NULL, bytes.count, bytes.data);
        assert_non_null(entry);
        assert_int_equal(entry->n_ops, 1);
        assert_int_equal(entry->ops[0]->change_case, op.kind);
        assert_int_equal(tern__entry__get_packed_size(entry), bytes.count);
        uint8_t *again = malloc(bytes.count);
        assert_non_null(again);
        tern__entry__pack(entry, again);
        assert_memory_equal(again, bytes.data, bytes.count);
        free(again);
        tern__entry__free_unpacked(entry, NULL);
        entry_writer_deinit(&writer);
        msg_unref(msg);
    }
}

static void check_data(ProtobufCBinaryData data, const char *expected)
{
    check_slice(slice_of(data.data, data.len), slice_text(expected));
}

static void the_names_in_the_schema_are_those_of_the_members(void **state)
{
    struct entry_writer writer = {.op_count = 0};
    const uint32_t ids[] = {7, 300};
    struct msg_spec made = {.qos = 2,
                            .retain = true,
                            .publisher = 11,
                            .expires_wall_ms = 12,
                            .expiry_s = 13,
                            .topic = slice_text("topic"),
                            .props = slice_text("props"),
                            .payload = slice_text("payload")};
    struct msg *msg = msg_new(&made);
    struct op ops[] = {
        {.kind = OP_ENQUEUE,
         .session = 20,
         .enqueue = {msg, 21, ids, 2, 1, true, slice_text("$share/g/t")}},
        {.kind = OP_SETTLE, .session = 22, .settle = {23, 24, true}},
        {.kind = OP_SUBSCRIBE,
         .subscribe = {slice_text("t"), slice_text("g"), slice_text("f"), slice_text("m/"), 25, 2,
                       true, false}},
        {.kind = OP_OPEN,
         .open = {slice_text("id"), slice_text("user"), 26, 27, 28, {made, 29, true, 30}}},
        {.kind = OP_CLOSE, .close = {31, 32}},
        {.kind = OP_RECEIVED, .received = {33, 34}},
        {.kind = OP_SEND, .send = {35, msg}},
    };
    uint32_t place;
    (void)state;
    for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
        assert_int_equal(entry_put(&writer, &ops[i], &place), OK);
    }
    assert_int_equal(entry_close(&writer, 40, 41), OK);
    Tern__Entry *entry = tern__entry__unpack(NULL, buf_count(&writer.bytes), writer.bytes.data);
    assert_non_null(entry);
    assert_int_equal(entry->wall_ms, 40);
    assert_int_equal(entry->message_first, 41);
    const Tern__Message *m = entry->messages[0];
    assert_true(m->qos == 2 && m->retain && m->publisher == 11 && m->expires_wall_ms == 12);
    assert_int_equal(m->expiry_s, 13);
    check_data(m->topic, "topic");
    check_data(m->props, "props");
    check_data(m->payload, "payload");
    const Tern__Enqueue *e = entry->ops[0]->enqueue;
    assert_true(entry->ops[0]->session == 20 && e->sequence == 21 && e->qos == 1 && e->retain);
    check_ids(ids, 2, e->ids, (uint32_t)e->n_ids);
    check_data(e->share_text, "$share/g/t");
    const Tern__Settle *s = entry->ops[1]->settle;
    assert_true(s->sequence == 23 && s->message == 24 && s->awaits_pubcomp);
    const Tern__Subscribe *u = entry->ops[2]->subscribe;
    assert_true(u->id == 25 && u->qos == 2 && u->no_local && !u->retain_as_published);
    check_data(u->text, "t");
    check_data(u->share_name, "g");
    check_data(u->filter, "m/f");
    const Tern__Open *o = entry->ops[3]->open;
    assert_true(o->password_stamp == 26 && o->listener_index == 27 && o->expiry_s == 28);
    assert_true(o->will->delay_s == 29 && o->will->has_expiry && o->will->expiry_s == 30);
    check_data(o->client_id, "id");
    check_data(o->username, "user");
    assert_true(entry->ops[4]->close->expiry_s == 31 && entry->ops[4]->close->sent_sequence == 32);
    assert_true(entry->ops[5]->received->partition == 33 && entry->ops[5]->received->number == 34);
    assert_int_equal(entry->ops[6]->send->number, 35);
    tern__entry__free_unpacked(entry, NULL);
    entry_writer_deinit(&writer);
    msg_unref(msg);
}

/* ---- what is refused ------------------------------------------------------------------------ */

#define READ(arena, bytes) \
    entry_read((struct slice)SLICE(bytes), arena, &(struct entry){.wall_ms = 0})

static void what_is_of_a_newer_version_stops_the_replica(void **state)
{
    struct arena *arena = arena_of_test();
    struct session_record session;
    (void)state;
    assert_int_equal(READ(arena, "\x12\x05\x3A\x03\x08\x01\x10"), ERR_CORRUPT); /* ends early */
    assert_int_equal(READ(arena, "\x12\x04\x3A\x02\x08\x01"), OK);              /* SETTLE {1} */
    assert_int_equal(READ(arena, "\x12\x04\x3A\x02\x20\x01"), ERR_UNSUPPORTED); /* a field of it */
    assert_int_equal(READ(arena, "\x12\x03\x82\x01\x00"), ERR_UNSUPPORTED);     /* an op */
    assert_int_equal(READ(arena, "\x28\x01"), ERR_UNSUPPORTED);                 /* of the entry */
    assert_int_equal(READ(arena, "\x0A\x02\x48\x01"), ERR_UNSUPPORTED);         /* of a message */
    /* But what is kept was written by us, and is only skipped. */
    assert_int_equal(record_get_session((struct slice)SLICE("\x0A\x01x\x78\x01"), arena, &session),
                     OK);
    check_slice(session.open.client_id, slice_text("x"));
    arena_free(arena);
}

static void what_is_no_entry_is_refused(void **state)
{
    struct arena *arena = arena_of_test();
    (void)state;
    assert_int_equal(READ(arena, ""), OK);
    assert_int_equal(READ(arena, "\x12\x00"), ERR_CORRUPT);                 /* no change */
    assert_int_equal(READ(arena, "\x12\x04\x5A\x00\x5A\x00"), ERR_CORRUPT); /* two */
    assert_int_equal(READ(arena, "\x12\x02\x38\x01"), ERR_CORRUPT);         /* another type */
    assert_int_equal(READ(arena, "\x12\x02\x32\x00"), ERR_CORRUPT);         /* which message? */
    assert_int_equal(READ(arena, "\x0A\x00\x12\x02\x32\x00"), OK);          /* that one */
    assert_int_equal(READ(arena, "\x0A\x00\x12\x04\x32\x02\x08\x01"),
                     ERR_CORRUPT);                                  /* the second? */
    assert_int_equal(READ(arena, "\x0A\x02\x20\x02"), OK);          /* QoS 2 */
    assert_int_equal(READ(arena, "\x0A\x02\x20\x03"), ERR_CORRUPT); /* QoS 3 */
    assert_int_equal(READ(arena, "\x0A\x02\x28\x02"), ERR_CORRUPT); /* neither true nor false */
    assert_int_equal(READ(arena, "\x12\x06\x42\x04\x08\x80\x80\x04"), ERR_CORRUPT); /* id 65536 */
    assert_int_equal(READ(arena, "\x12\x05\x72\x03\x08\x80\x02"), ERR_CORRUPT); /* partition 256 */
    assert_int_equal(READ(arena, "\x02\x00"), ERR_CORRUPT);                     /* field 0 */
    assert_int_equal(READ(arena, "\x0B"), ERR_CORRUPT);                         /* a group */
    assert_int_equal(READ(arena, "\x18"), ERR_CORRUPT);
    assert_int_equal(READ(arena, "\x18\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01"), OK);
    assert_int_equal(READ(arena, "\x18\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x02"), ERR_CORRUPT);
    /* Message numbers that would start again from 0. */
    assert_int_equal(READ(arena, "\x0A\x00\x20\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01"),
                     ERR_CORRUPT);
    arena_free(arena);
}

static void an_entry_that_is_cut_or_damaged_trips_nothing(void **state)
{
    struct arena *arena = arena_of_test();
    struct rng rng;
    int refused = 0;
    (void)state;
    rng_init(&rng, 3);
    for (int turn = 0; turn < 3000; turn++) {
        struct entry_writer writer = {.op_count = 0};
        struct entry entry;
        for (int i = 0; i < 5; i++) {
            struct msg *msg = random_message(&rng);
            uint32_t ids[RANDOM_IDS_MAX], place;
            struct op op = random_op(&rng, (enum op_kind)(1 + rng_below(&rng, OP_KIND_END - 1)),
                                     msg, ids);
            assert_int_equal(entry_put(&writer, &op, &place), OK);
            msg_unref(msg);
        }
        size_t count = 1 + rng_below(&rng, buf_count(&writer.bytes));
        uint8_t *bytes = malloc(count); /* of that size, so that ASan sees who reads further */
        assert_non_null(bytes);
        memcpy(bytes, writer.bytes.data, count);
        bytes[rng_below(&rng, count)] ^= (uint8_t)(1 << rng_below(&rng, 8));
        refused += entry_read(slice_of(bytes, count), arena, &entry) != OK;
        free(bytes);
        arena_reset(arena);
        entry_writer_deinit(&writer);
    }
    assert_true(refused > 1000 && refused < 3000);
    arena_free(arena);
}

static void an_entry_larger_than_the_arena_may_grow_is_refused(void **state)
{
    struct arena *arena = arena_new(256, 1024);
    struct entry_writer writer = {.op_count = 0};
    struct entry entry;
    uint32_t place;
    (void)state;
    for (int i = 0; i < 20; i++) {
        struct op op = {.kind = OP_WILL, .session = 1};
        assert_int_equal(entry_put(&writer, &op, &place), OK);
    }
    assert_int_equal(entry_read(buf_bytes(&writer.bytes), arena, &entry), ERR_NOMEM);
    entry_writer_deinit(&writer);
    arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_op_comes_back_as_it_was),
        cmocka_unit_test(a_message_for_many_in_a_row_is_written_once),
        cmocka_unit_test(a_message_that_took_the_place_of_another_is_another),
        cmocka_unit_test(every_op_is_what_the_schema_says),
        cmocka_unit_test(the_names_in_the_schema_are_those_of_the_members),
        cmocka_unit_test(what_is_of_a_newer_version_stops_the_replica),
        cmocka_unit_test(what_is_no_entry_is_refused),
        cmocka_unit_test(an_entry_that_is_cut_or_damaged_trips_nothing),
        cmocka_unit_test(an_entry_larger_than_the_arena_may_grow_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
