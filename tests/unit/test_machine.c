#include "storage/key.h"
#include "tests/lib/kv_memory.h"
#include "tests/lib/machine_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { PARTITION = 7 };

/* ---- a machine on a disk of its own ------------------------------------------------------------ */

struct bench {
    struct kv *kv;
    struct write_set *writes;
    struct machine *machine;
};

static struct bench bench_new(void)
{
    struct bench bench;
    assert_int_equal(kv_open(NULL, &bench.kv, NULL), OK);
    bench.writes = write_set_new();
    assert_non_null(bench.writes);
    assert_int_equal(machine_open(bench.kv, PARTITION, &bench.machine), OK);
    return bench;
}

static void bench_free(struct bench *bench)
{
    machine_close(bench->machine);
    write_set_free(bench->writes);
    kv_close(bench->kv);
}

static void write_all(struct bench *bench)
{
    assert_int_equal(write_set_write(bench->writes, bench->kv), OK);
}

static void open_again(struct bench *bench)
{
    machine_close(bench->machine);
    write_set_clear(bench->writes);
    assert_int_equal(machine_open(bench->kv, PARTITION, &bench->machine), OK);
}

static enum err apply(struct bench *bench, uint64_t index, struct slice bytes)
{
    return machine_apply(bench->machine, index, 3, bytes, bench->writes);
}

static uint64_t digest_of(struct bench *bench)
{
    uint64_t digest;
    assert_int_equal(machine_digest(bench->machine, &digest), OK);
    return digest;
}

static char *told_by(struct bench *bench)
{
    struct told told = {.text = NULL};
    tell(&told, "partition\n");
    assert_int_equal(machine_read(bench->machine, &told_reader, &told), OK);
    return told.text;
}

static char *told_by_model(const struct model *model)
{
    struct told told = {.text = NULL};
    tell(&told, "partition\n");
    model_tell(model, &told);
    return told.text;
}

static void check_against(struct bench *bench, const struct model *model)
{
    char *machine_text = told_by(bench), *model_text = told_by_model(model);
    if (strcmp(machine_text, model_text) != 0) {
        fprintf(stderr, "---- machine\n%s---- model\n%s", machine_text, model_text);
        fail();
    }
    free(machine_text);
    free(model_text);
    assert_int_equal(machine_message_next(bench->machine), model->message_next);
    assert_int_equal(machine_send_next(bench->machine), model->send_next);
    assert_int_equal(machine_wall_ms(bench->machine), model->wall_ms);
}

/* How many keys of a kind there are. */
static uint32_t count_kind(struct bench *bench, enum key_kind kind)
{
    uint32_t count = 0;
    for (size_t i = 0; i < bench->kv->now.count; i++) {
        struct key_parts parts;
        assert_true(key_read(pair_key(&bench->kv->now.pairs[i]), &parts));
        count += parts.kind == kind;
    }
    return count;
}

/* I1: M and C are there for exactly the messages that items share, and C is how many. */
static void check_counts(struct bench *bench)
{
    struct arena *arena = arena_new(4096, 16 << 20);
    uint32_t shared_items = 0, counted_items = 0;
    for (size_t i = 0; i < bench->kv->now.count; i++) {
        struct key_parts parts;
        struct item_record item;
        struct slice value = pair_value(&bench->kv->now.pairs[i]);
        assert_true(key_read(pair_key(&bench->kv->now.pairs[i]), &parts));
        if (parts.part == PART_ITEM) {
            assert_int_equal(record_get_item(value, arena, &item), OK);
            shared_items += item.is_shared;
        } else if (parts.kind == KEY_SHARED_COUNT) {
            assert_true(value.count >= 2); /* a number of its own: tag and varint below 128 */
            counted_items += value.data[1];
        }
    }
    assert_int_equal(shared_items, counted_items);
    assert_int_equal(count_kind(bench, KEY_MESSAGE), count_kind(bench, KEY_SHARED_COUNT));
    arena_free(arena);
}

/* ---- by chance ------------------------------------------------------------------------------ */

enum { SEEDS = 40, ENTRIES = 60 };

static void the_state_is_that_of_the_model_whatever_happens(void **state)
{
    static struct model model;
    uint32_t shared_most = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct bench bench = bench_new();
        model_init(&model, seed);
        for (uint64_t index = 1; index <= ENTRIES; index++) {
            struct slice bytes = model_entry(&model);
            assert_int_equal(apply(&bench, index, bytes), OK);
            free((void *)bytes.data);
            if (rng_below(&model.rng, 3) == 0) {
                write_all(&bench);
                check_against(&bench, &model);
                check_counts(&bench);
                uint32_t shared = count_kind(&bench, KEY_MESSAGE);
                shared_most = shared > shared_most ? shared : shared_most;
            }
        }
        model_deinit(&model);
        bench_free(&bench);
    }
    assert_true(shared_most > 10); /* or the test has not seen much */
}

static void nothing_is_left_when_every_session_has_ended(void **state)
{
    static struct model model;
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct bench bench = bench_new();
        model_init(&model, seed);
        for (uint64_t index = 1; index <= ENTRIES; index++) {
            for (uint32_t i = 0; index == ENTRIES && i < MODEL_SESSIONS; i++) {
                if (model.sessions[i].is_there) {
                    model_end(&model, i);
                }
            }
            struct slice bytes = index < ENTRIES ? model_entry(&model) : slice_of(NULL, 0);
            if (index == ENTRIES) {
                assert_int_equal(entry_close(&model.writer, 1, model.message_next), OK);
                bytes = buf_bytes(&model.writer.bytes);
            }
            assert_int_equal(apply(&bench, index, bytes), OK);
            if (index < ENTRIES) {
                free((void *)bytes.data);
            }
        }
        write_all(&bench);
        assert_int_equal(count_kind(&bench, KEY_SESSION), 0);
        assert_int_equal(count_kind(&bench, KEY_MESSAGE), 0);
        assert_int_equal(count_kind(&bench, KEY_SHARED_COUNT), 0);
        model_deinit(&model);
        bench_free(&bench);
    }
}

/* Whatever was flushed, whatever was lost: the rest of the log leads to the same state and hash. */
static void a_crash_at_any_time_and_the_log_again_give_the_same(void **state)
{
    static struct model model;
    int crashes = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct slice log[ENTRIES + 1];
        struct bench straight = bench_new(), crashed = bench_new();
        struct rng rng;
        rng_init(&rng, seed + 1000);
        model_init(&model, seed);
        for (uint64_t index = 1; index <= ENTRIES; index++) {
            log[index] = model_entry(&model);
            assert_int_equal(apply(&straight, index, log[index]), OK);
            write_all(&straight);
        }
        while (machine_index(crashed.machine) < ENTRIES) {
            uint64_t index = machine_index(crashed.machine) + 1;
            assert_int_equal(apply(&crashed, index, log[index]), OK);
            if (rng_below(&rng, 3) == 0) {
                write_all(&crashed);
            }
            if (rng_below(&rng, 6) == 0) {
                assert_int_equal(kv_flush(crashed.kv), OK);
            }
            if (rng_below(&rng, 20) == 0) {
                kv_memory_crash(crashed.kv);
                open_again(&crashed);
                assert_true(machine_index(crashed.machine) <= index);
                crashes++;
            }
        }
        write_all(&crashed);
        assert_int_equal(machine_hash(crashed.machine), machine_hash(straight.machine));
        assert_int_equal(digest_of(&crashed), digest_of(&straight));
        check_against(&crashed, &model);
        open_again(&crashed);
        assert_int_equal(machine_index(crashed.machine), ENTRIES);
        assert_int_equal(machine_term(crashed.machine), 3);
        assert_int_equal(machine_hash(crashed.machine), machine_hash(straight.machine));
        for (uint64_t index = 1; index <= ENTRIES; index++) {
            free((void *)log[index].data);
        }
        model_deinit(&model);
        bench_free(&straight);
        bench_free(&crashed);
    }
    assert_true(crashes > SEEDS);
}

/* ---- one by one ----------------------------------------------------------------------------- */

struct story {
    struct bench bench;
    struct entry_writer writer;
    uint64_t index, message_next;
};

static void story_begin(struct story *story)
{
    *story = (struct story){.bench = bench_new(), .message_next = 1};
}

static void story_end(struct story *story)
{
    entry_writer_deinit(&story->writer);
    bench_free(&story->bench);
}

static uint64_t say(struct story *story, struct op op)
{
    uint32_t place = 0;
    assert_int_equal(entry_put(&story->writer, &op, &place), OK);
    return story->message_next + place;
}

/* What was said becomes an entry. */
static enum err commit(struct story *story, uint64_t wall_ms)
{
    assert_int_equal(entry_close(&story->writer, wall_ms, story->message_next), OK);
    enum err err = apply(&story->bench, ++story->index, buf_bytes(&story->writer.bytes));
    story->message_next += story->writer.message_count;
    entry_writer_deinit(&story->writer);
    write_all(&story->bench);
    return err;
}

static struct op op_of(enum op_kind kind, uint64_t session)
{
    return (struct op){.kind = kind, .session = session};
}

static uint64_t say_enqueue(struct story *story, uint64_t session, uint64_t sequence,
                            const struct msg *msg)
{
    struct op op = op_of(OP_ENQUEUE, session);
    op.enqueue.msg = msg;
    op.enqueue.sequence = sequence;
    op.enqueue.qos = 2;
    return say(story, op);
}

static void say_settle(struct story *story, uint64_t session, uint64_t sequence, uint64_t message,
                       bool awaits_pubcomp)
{
    struct op op = op_of(OP_SETTLE, session);
    op.settle.sequence = sequence;
    op.settle.message = message;
    op.settle.awaits_pubcomp = awaits_pubcomp;
    say(story, op);
}

static struct msg *large_message(void)
{
    static char payload[1000];
    memset(payload, 'x', sizeof(payload));
    return msg_new(&(struct msg_spec){.topic = slice_text("a"),
                                      .payload = slice_of(payload, sizeof(payload))});
}

static void a_large_message_lies_once_until_the_last_has_it(void **state)
{
    struct story story;
    struct msg *msg = large_message();
    uint64_t number = 0;
    (void)state;
    story_begin(&story);
    for (uint64_t session = 1; session <= 3; session++) {
        say(&story, op_of(OP_OPEN, session));
        number = say_enqueue(&story, session, 10, msg);
    }
    assert_int_equal(commit(&story, 1), OK);
    assert_int_equal(number, 1);
    assert_int_equal(count_kind(&story.bench, KEY_MESSAGE), 1);
    char *text = told_by(&story.bench);
    assert_non_null(strstr(text, "item 3 10 message 1 qos 2 retain 0 awaits 0 share  ids [a xxxx"));
    free(text);

    say_settle(&story, 1, 10, number, false);
    say_settle(&story, 2, 10, number, true); /* its payload is of no use, but its turn is to come */
    assert_int_equal(commit(&story, 1), OK);
    check_counts(&story.bench);
    open_again(&story.bench);                 /* the counts are on the disk */
    say_settle(&story, 2, 10, number, false); /* once, not twice */
    assert_int_equal(commit(&story, 1), OK);
    assert_int_equal(count_kind(&story.bench, KEY_MESSAGE), 1);
    struct op end = op_of(OP_END, 3);
    end.has_more = true;
    say(&story, end);
    assert_int_equal(commit(&story, 1), OK);
    assert_int_equal(count_kind(&story.bench, KEY_MESSAGE), 0);
    assert_int_equal(count_kind(&story.bench, KEY_SHARED_COUNT), 0);
    msg_unref(msg);
    story_end(&story);
}

static void a_small_message_for_two_lies_twice(void **state)
{
    struct story story;
    struct msg *msg = msg_new(
        &(struct msg_spec){.topic = slice_text("a"), .payload = slice_text("x")});
    (void)state;
    story_begin(&story);
    for (uint64_t session = 1; session <= 2; session++) {
        say(&story, op_of(OP_OPEN, session));
        say_enqueue(&story, session, 10, msg);
    }
    assert_int_equal(commit(&story, 1), OK);
    assert_int_equal(count_kind(&story.bench, KEY_MESSAGE), 0);
    say_settle(&story, 1, 10, 1, false);
    assert_int_equal(commit(&story, 1), OK);
    char *text = told_by(&story.bench);
    assert_non_null(strstr(text, "item 2 10 message 1 qos 2 retain 0 awaits 0 share  ids [a x "));
    assert_null(strstr(text, "item 1"));
    free(text);
    msg_unref(msg);
    story_end(&story);
}

/* Queued, taken over, and the session gone: in one entry, and again, and with what was there before. */
static void a_session_that_ends_in_the_entry_of_its_items_counts_each_once(void **state)
{
    struct story story;
    struct msg *msg = large_message();
    struct op end = op_of(OP_END, 1);
    (void)state;
    end.has_more = true;
    story_begin(&story);
    say(&story, op_of(OP_OPEN, 1));
    say(&story, op_of(OP_OPEN, 2));
    for (uint64_t sequence = 1; sequence <= 4; sequence++) { /* of both: 8 */
        say_enqueue(&story, 1, sequence, msg);
        say_enqueue(&story, 2, sequence, msg);
    }
    assert_int_equal(commit(&story, 1), OK);

    say_settle(&story, 1, 1, 1, false); /* 7; from before */
    say_settle(&story, 1, 2, 1, true);
    struct msg *other = large_message();
    say_enqueue(&story, 1, 5, other); /* 2 */
    say_enqueue(&story, 2, 5, other);
    say_settle(&story, 1, 5, 2, false); /* 1; in between */
    say(&story, end);                   /* 4, 1 */
    say(&story, op_of(OP_OPEN, 1));
    struct msg *third = large_message();
    say_enqueue(&story, 1, 1, third); /* 2 */
    say_enqueue(&story, 2, 6, third);
    say(&story, end); /* 1 */
    assert_int_equal(commit(&story, 1), OK);
    check_counts(&story.bench);
    assert_int_equal(count_kind(&story.bench, KEY_MESSAGE), 3);
    char *text = told_by(&story.bench);
    assert_null(strstr(text, "session 1 "));
    free(text);
    msg_unref(msg);
    msg_unref(other);
    msg_unref(third);
    story_end(&story);
}

/* Nobody shares anything: no walk, so the set may go on gathering. */
static void the_end_of_a_session_reads_only_when_something_is_shared(void **state)
{
    struct story story;
    struct op end = op_of(OP_END, 1);
    (void)state;
    end.has_more = true;
    story_begin(&story);
    say(&story, op_of(OP_OPEN, 1));
    assert_int_equal(commit(&story, 1), OK);
    uint64_t write_count = story.bench.kv->write_count;
    story.bench.kv->iter_err = ERR_IO;
    say(&story, end);
    assert_int_equal(commit(&story, 1), OK);
    assert_int_equal(story.bench.kv->write_count, write_count + 1); /* commit()'s own */
    story_end(&story);
}

static void an_end_that_cannot_be_read_changes_nothing_and_may_be_tried_again(void **state)
{
    struct story story;
    struct msg *msg = large_message();
    struct op end = op_of(OP_END, 1);
    uint32_t place;
    (void)state;
    end.has_more = true;
    story_begin(&story);
    say(&story, op_of(OP_OPEN, 1));
    say(&story, op_of(OP_OPEN, 2));
    say_enqueue(&story, 1, 1, msg);
    say_enqueue(&story, 2, 1, msg);
    assert_int_equal(commit(&story, 1), OK);
    struct bench *bench = &story.bench;
    uint64_t hash = machine_hash(bench->machine);
    assert_int_equal(entry_put(&story.writer, &end, &place), OK);
    struct slice bytes = buf_bytes(&story.writer.bytes);
    bench->kv->iter_err = ERR_IO;
    assert_int_equal(apply(bench, 2, bytes), ERR_IO);
    bench->kv->iter_err = OK;
    assert_int_equal(write_set_bytes(bench->writes), 0);
    assert_int_equal(machine_index(bench->machine), 1);
    assert_int_equal(machine_hash(bench->machine), hash);
    assert_int_equal(apply(bench, 2, slice_of(NULL, 0)), OK); /* something waits in the set */
    bench->kv->write_err = ERR_NO_SPACE;
    assert_int_equal(apply(bench, 3, bytes), ERR_NO_SPACE);
    bench->kv->write_err = OK;
    assert_true(write_set_bytes(bench->writes) > 0);
    assert_int_equal(apply(bench, 3, bytes), OK);
    write_all(bench);
    check_counts(bench);
    msg_unref(msg);
    story_end(&story);
}

static void closing_and_the_will_are_of_the_opening_before_them(void **state)
{
    struct story story;
    struct op open = op_of(OP_OPEN, 1), close = op_of(OP_CLOSE, 1);
    (void)state;
    story_begin(&story);
    open.open.client_id = slice_text("c");
    open.open.expiry_s = 100;
    open.open.will.message.topic = slice_text("w");
    close.close.expiry_s = 50;
    close.close.sent_sequence = 9;
    say(&story, open);
    assert_int_equal(commit(&story, 1000), OK);
    char *text = told_by(&story.bench);
    assert_string_equal(
        text, "partition\nsession 1 c nobody  0 0 100 opened 1000 will 0 0 0 [w   0 0 0 0 0]\n");
    free(text);
    say(&story, close);
    say(&story, op_of(OP_WILL, 1));
    assert_int_equal(commit(&story, 2000), OK);
    text = told_by(&story.bench);
    assert_string_equal(text, "partition\nsession 1 c nobody  0 0 50 opened 1000 closed 2000 9\n");
    free(text);
    open.open.will.message.topic = slice_text("");
    say(&story, open);
    assert_int_equal(commit(&story, 3000), OK);
    text = told_by(&story.bench);
    assert_string_equal(text, "partition\nsession 1 c nobody  0 0 100 opened 3000\n");
    free(text);
    say(&story, op_of(OP_END, 1)); /* without more */
    assert_int_equal(commit(&story, 500), OK);
    assert_int_equal(count_kind(&story.bench, KEY_SESSION), 0);
    assert_int_equal(machine_wall_ms(story.bench.machine), 3000); /* back it does not go */
    story_end(&story);
}

static void what_is_no_entry_of_this_partition_changes_nothing(void **state)
{
    struct story story;
    struct msg *msg = large_message();
    (void)state;
    story_begin(&story);
    struct bench *bench = &story.bench;
    say(&story, op_of(OP_OPEN, 1));
    say_enqueue(&story, 1, 1, msg);
    assert_int_equal(commit(&story, 1), OK);
    assert_int_equal(apply(bench, 2, (struct slice)SLICE("\x12\x00")), ERR_CORRUPT);
    assert_int_equal(apply(bench, 2, (struct slice)SLICE("\x12\x03\x82\x01\x00")), ERR_UNSUPPORTED);
    story.message_next = 1; /* a number that is taken */
    say_enqueue(&story, 1, 2, msg);
    assert_int_equal(commit(&story, 1), ERR_CORRUPT);
    assert_int_equal(machine_index(bench->machine), 1);
    assert_int_equal(write_set_bytes(bench->writes), 0);
    assert_int_equal(apply(bench, 9, slice_of(NULL, 0)), OK); /* the engine's own, some left out */
    assert_int_equal(machine_index(bench->machine), 9);
    msg_unref(msg);
    story_end(&story);
}

/* Replicas are compared by it: whatever one of them writes or does not write must show. */
static void every_op_moves_the_hash_and_none_that_is_undone_is_forgotten(void **state)
{
    struct msg *msg = large_message();
    struct story without, with;
    (void)state;
    for (int kind = 1; kind < OP_KIND_END; kind++) {
        struct op op = op_of((enum op_kind)kind, 1);
        op.retain = kind == OP_RETAIN ? msg : op.retain;
        op.send.msg = kind == OP_SEND ? msg : op.send.msg;
        op.enqueue.msg = kind == OP_ENQUEUE ? msg : op.enqueue.msg;
        story_begin(&without);
        story_begin(&with);
        say(&with, op);
        assert_int_equal(commit(&without, 1), OK);
        assert_int_equal(commit(&with, 1), OK);
        assert_int_not_equal(machine_hash(with.bench.machine), machine_hash(without.bench.machine));
        assert_int_equal(machine_hash(without.bench.machine), 0);
        story_end(&without);
        story_end(&with);
    }
    struct op seen = op_of(OP_SEEN, 1), release = op_of(OP_RELEASE, 1), other = op_of(OP_SEEN, 1);
    other.packet_id = 2;
    story_begin(&without);
    story_begin(&with);
    say(&without, other);
    say(&with, other);
    say(&with, seen);
    say(&with, release);
    assert_int_equal(commit(&without, 1), OK);
    assert_int_equal(commit(&with, 1), OK);
    assert_int_equal(digest_of(&with.bench), digest_of(&without.bench)); /* where they are */
    assert_int_not_equal(machine_hash(with.bench.machine), machine_hash(without.bench.machine));
    story_end(&without);
    story_end(&with);
    msg_unref(msg);
}

/* ---- damage --------------------------------------------------------------------------------- */

static void put_raw(struct bench *bench, struct slice key, struct slice value)
{
    assert_int_equal(write_set_reserve(bench->writes, 1, key.count + value.count), OK);
    write_set_put(bench->writes, key, value);
    write_all(bench);
}

static void what_does_not_fit_together_is_told_as_damage(void **state)
{
    static struct key key;
    static const struct slice count_0 = SLICE(""), count_1 = SLICE("\x08\x01");
    static const struct slice shared = SLICE("\x08\x05\x10\x01"); /* item: message 5, shared */
    struct machine *machine;
    (void)state;
    for (int damage = 0; damage < 6; damage++) {
        struct bench bench = bench_new();
        struct told told = {.text = NULL};
        bool at_open = damage < 3;
        key_of_session(&key, PARTITION, 1);
        put_raw(&bench, key_slice(&key), slice_of(NULL, 0));
        if (damage == 0) { /* A that is none */
            key_of_kind(&key, PARTITION, KEY_APPLIED);
            put_raw(&bench, key_slice(&key), (struct slice)SLICE("\xFF"));
        } else if (damage == 1) { /* shared by nobody */
            key_of_number(&key, PARTITION, KEY_SHARED_COUNT, 5);
            put_raw(&bench, key_slice(&key), count_0);
        } else if (damage == 2) { /* no message has that number */
            key_of_number(&key, PARTITION, KEY_SHARED_COUNT, 0);
            put_raw(&bench, key_slice(&key), count_1);
        } else if (damage == 3) { /* a message that is not there */
            key_of_item(&key, PARTITION, 1, 1);
            put_raw(&bench, key_slice(&key), shared);
        } else if (damage == 4) { /* an item of nobody */
            key_of_packet_id(&key, PARTITION, 2, 1);
            put_raw(&bench, key_slice(&key), slice_of(NULL, 0));
        } else { /* no key of ours */
            put_raw(&bench, (struct slice)SLICE("\x07Xy"), slice_of(NULL, 0));
        }
        if (at_open) {
            assert_int_equal(machine_open(bench.kv, PARTITION, &machine), ERR_CORRUPT);
        } else {
            assert_int_equal(machine_read(bench.machine, &told_reader, &told), ERR_CORRUPT);
        }
        free(told.text);
        bench_free(&bench);
    }
}

static void a_disk_that_fails_is_told_and_not_taken_for_an_empty_one(void **state)
{
    struct bench bench = bench_new();
    struct told told = {.text = NULL};
    struct machine *machine;
    uint64_t digest;
    (void)state;
    bench.kv->read_err = ERR_IO;
    assert_int_equal(machine_open(bench.kv, PARTITION, &machine), ERR_IO);
    bench.kv->read_err = OK;
    bench.kv->iter_err = ERR_CORRUPT;
    assert_int_equal(machine_open(bench.kv, PARTITION, &machine), ERR_CORRUPT);
    assert_int_equal(machine_read(bench.machine, &told_reader, &told), ERR_CORRUPT);
    assert_int_equal(machine_digest(bench.machine, &digest), ERR_CORRUPT);
    bench_free(&bench);
}

static void partitions_do_not_see_each_other(void **state)
{
    struct story story;
    struct machine *other;
    struct told told = {.text = NULL};
    uint64_t digest;
    (void)state;
    story_begin(&story);
    say(&story, op_of(OP_OPEN, 1));
    assert_int_equal(commit(&story, 1), OK);
    for (uint32_t partition = PARTITION - 1; partition <= PARTITION + 1; partition += 2) {
        assert_int_equal(machine_open(story.bench.kv, partition, &other), OK);
        assert_int_equal(machine_index(other), 0);
        assert_int_equal(machine_read(other, &told_reader, &told), OK);
        assert_int_equal(told.count, 0);
        assert_int_equal(machine_digest(other, &digest), OK);
        assert_int_equal(digest, 0);
        machine_close(other);
    }
    assert_int_not_equal(digest_of(&story.bench), 0);
    story_end(&story);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_state_is_that_of_the_model_whatever_happens),
        cmocka_unit_test(nothing_is_left_when_every_session_has_ended),
        cmocka_unit_test(a_crash_at_any_time_and_the_log_again_give_the_same),
        cmocka_unit_test(a_large_message_lies_once_until_the_last_has_it),
        cmocka_unit_test(a_small_message_for_two_lies_twice),
        cmocka_unit_test(a_session_that_ends_in_the_entry_of_its_items_counts_each_once),
        cmocka_unit_test(the_end_of_a_session_reads_only_when_something_is_shared),
        cmocka_unit_test(an_end_that_cannot_be_read_changes_nothing_and_may_be_tried_again),
        cmocka_unit_test(closing_and_the_will_are_of_the_opening_before_them),
        cmocka_unit_test(what_is_no_entry_of_this_partition_changes_nothing),
        cmocka_unit_test(every_op_moves_the_hash_and_none_that_is_undone_is_forgotten),
        cmocka_unit_test(what_does_not_fit_together_is_told_as_damage),
        cmocka_unit_test(a_disk_that_fails_is_told_and_not_taken_for_an_empty_one),
        cmocka_unit_test(partitions_do_not_see_each_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
