/*
 * The journal of a shard on the simulator's disk; turns are taken by hand.
 */
#include "cluster/journal_raft.h"
#include "cluster/replica.h"
#include "core/base/list.h"
#include "core/base/log.h"
#include "core/io/io.h"
#include "core/session/session.h"
#include "tests/sim/sim_kv.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define SECOND 1000000000ull

struct house {
    char root[64], folder[80];
    struct rng rng;
    struct sim_disk *disk;
    struct io *io;
    struct store_config config;
    struct store *store;
    struct journal *journal;
    uint64_t now_ns;
};

static void open_house(struct house *house)
{
    struct kv_failure failure = {""};
    struct journal_raft_config config = {.io = house->io, .shard = 0, .shard_count = 1, .seed = 5};
    enum err err = store_open(&house->config, &house->store, &failure);
    config.store = house->store;
    if (err == OK) {
        err = journal_raft_new(&config, &house->journal, &failure);
    }
    if (err != OK) {
        print_error("%s\n", failure.text);
    }
    assert_int_equal(err, OK);
}

static void close_house(struct house *house)
{
    journal_raft_free(house->journal);
    store_close(house->store);
    house->journal = NULL;
    house->store = NULL;
}

static void crash(struct house *house, enum sim_kv_crash kind)
{
    sim_kv_crash(house->disk, kind);
    close_house(house);
    open_house(house);
}

static int set_up(void **state)
{
    struct house *house = calloc(1, sizeof(*house));
    struct io_config io = {.stream_count_max = 4};
    snprintf(house->root, sizeof(house->root), "/tmp/tern-journal-XXXXXX");
    assert_non_null(mkdtemp(house->root));
    snprintf(house->folder, sizeof(house->folder), "%s/data", house->root);
    rng_init(&house->rng, 11);
    house->disk = sim_kv_disk_new(house->folder, &house->rng);
    assert_int_equal(io_new(&io, &house->io), OK);
    house->config = (struct store_config){.folder = house->folder, .space_free_min = 1};
    house->now_ns = 100 * SECOND;
    log_setup(-1, LOG_LOGFMT, 0);
    open_house(house);
    *state = house;
    return 0;
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
    (void)status, (void)kind, (void)walk;
    return remove(path);
}

static int tear_down(void **state)
{
    struct house *house = *state;
    close_house(house);
    io_free(house->io);
    sim_kv_disk_free(house->disk);
    nftw(house->root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(house);
    return 0;
}

static void lanes(struct house *house)
{
    house->now_ns += SECOND / 1000;
    lane_turn(store_log_lane(house->store), house->now_ns);
    lane_turn(store_state_lane(house->store), house->now_ns);
}

/* What is open leaves, the disk has it, and who waits is told. */
static void settle(struct house *house)
{
    for (int i = 0; i < 3; i++) {
        journal_flush(house->journal);
        lanes(house);
        journal_collect(house->journal);
    }
}

static uint64_t entries_of(struct house *house)
{
    struct store_figures figures;
    store_look(house->store, &figures);
    return figures.apply_count;
}

/* ---- ops ------------------------------------------------------------------------------------ */

static void log_open(struct journal *journal, uint32_t partition, uint64_t session)
{
    struct op op = {.kind = OP_OPEN, .partition = partition, .session = session};
    op.open.client_id = slice_text("client");
    journal_log(journal, &op);
}

static uint64_t log_enqueue(struct journal *journal, uint32_t partition, uint64_t session,
                            uint64_t sequence, struct msg *msg)
{
    struct op op = {.kind = OP_ENQUEUE, .partition = partition, .session = session};
    op.enqueue.msg = msg;
    op.enqueue.sequence = sequence;
    op.enqueue.qos = 1;
    return journal_log(journal, &op);
}

static struct msg *message(const char *payload)
{
    return msg_new(&(
        struct msg_spec){.qos = 1, .topic = slice_text("a/topic"), .payload = slice_text(payload)});
}

/* One who waits, and what it was told. */
struct told {
    uint32_t order, count;
    enum err err;
};

static uint32_t order_next;

static void on_told(void *context, enum err err)
{
    struct told *told = context;
    told->order = order_next++;
    told->count++;
    told->err = err;
}

static enum err wait_for(struct house *house, uint64_t partitions, struct told *told)
{
    *told = (struct told){.err = ERR_COUNT};
    return journal_await(house->journal, partitions, on_told, told);
}

/* What the disk has of a session. */
struct page {
    uint32_t count, done_count;
    uint64_t first, last, stored_first, stored_last;
    char payload_last[32];
    enum err err;
};

static void on_page(void *context, enum err err, const struct stored_item *items, uint32_t count)
{
    struct page *page = context;
    page->err = err;
    page->done_count++;
    page->count = count;
    if (count > 0) {
        struct slice payload = items[count - 1].message.payload;
        page->first = items[0].sequence;
        page->last = items[count - 1].sequence;
        page->stored_first = items[0].stored;
        page->stored_last = items[count - 1].stored;
        snprintf(page->payload_last, sizeof(page->payload_last), "%.*s", (int)payload.count,
                 payload.data);
    }
}

static struct page read_page(struct house *house, uint32_t partition, uint64_t session,
                             uint64_t from, uint32_t max)
{
    struct page page = {.err = ERR_COUNT};
    assert_int_equal(journal_read(house->journal, partition, session, from, max, on_page, &page),
                     OK);
    assert_int_equal(page.done_count, 0); /* always later */
    lanes(house);
    journal_collect(house->journal);
    assert_int_equal(page.done_count, 1);
    return page;
}

/* ---- telling -------------------------------------------------------------------------------- */

static void who_waits_is_told_when_the_disk_has_it_and_not_before(void **state)
{
    struct house *house = *state;
    struct told told;
    assert_int_equal(journal_admit(house->journal, 5), OK);
    assert_int_equal(wait_for(house, 1u << 5, &told), OK); /* nothing to wait for */
    log_open(house->journal, 5, 1);
    assert_int_equal(wait_for(house, 1u << 5, &told), ERR_AGAIN);
    journal_collect(house->journal);
    assert_int_equal(told.count, 0);
    journal_flush(house->journal);
    journal_collect(house->journal);
    assert_int_equal(told.count, 0);
    assert_false(journal_has_news(house->journal));
    lanes(house);
    assert_true(journal_has_news(house->journal));
    assert_int_equal(told.count, 0); /* from collect(), never else */
    journal_collect(house->journal);
    assert_int_equal(told.count, 1);
    assert_int_equal(told.err, OK);
    assert_int_equal(wait_for(house, 1u << 5, &told), OK);
    assert_int_equal(wait_for(house, 0, &told), OK);
}

static void what_comes_while_the_disk_is_busy_leaves_together(void **state)
{
    struct house *house = *state;
    struct told told;
    struct msg *msg = message("x");
    uint64_t before = entries_of(house);
    log_open(house->journal, 5, 1);
    journal_flush(house->journal);
    for (uint64_t i = 1; i <= 10; i++) {
        log_enqueue(house->journal, 5, 1, i, msg);
        journal_flush(house->journal);
    }
    assert_int_equal(wait_for(house, 1u << 5, &told), ERR_AGAIN);
    lanes(house);
    journal_collect(house->journal); /* the first */
    assert_int_equal(told.count, 0);
    settle(house);
    assert_int_equal(told.err, OK);
    assert_int_equal(entries_of(house) - before, 2);
    assert_int_equal(read_page(house, 5, 1, 0, 100).count, 10);
    msg_unref(msg);
}

static void a_large_entry_does_not_wait_for_the_one_before(void **state)
{
    struct house *house = *state;
    struct store_figures before, after;
    char payload[1000];
    memset(payload, 'x', sizeof(payload));
    payload[sizeof(payload) - 1] = '\0';
    store_look(house->store, &before);
    log_open(house->journal, 5, 1);
    journal_flush(house->journal);
    for (uint64_t i = 1; i <= 70; i++) {
        struct msg *msg = message(payload);
        log_enqueue(house->journal, 5, 1, i, msg);
        msg_unref(msg);
        journal_flush(house->journal);
    }
    lanes(house);
    store_look(house->store, &after);
    assert_int_equal(after.append_count - before.append_count, 2);
    journal_collect(house->journal);
    settle(house);
    assert_int_equal(read_page(house, 5, 1, 0, 100).count, 70);
}

static void all_partitions_of_a_turn_are_one_write_and_one_sync(void **state)
{
    struct house *house = *state;
    struct store_figures before, after;
    struct told told;
    store_look(house->store, &before);
    for (uint32_t i = 0; i < STORE_PARTITIONS; i++) {
        log_open(house->journal, i, i + 1);
    }
    assert_int_equal(wait_for(house, UINT64_MAX, &told), ERR_AGAIN);
    journal_flush(house->journal);
    lanes(house);
    journal_collect(house->journal);
    assert_int_equal(told.err, OK);
    store_look(house->store, &after);
    assert_int_equal(after.append_count - before.append_count, 1);
    assert_int_equal(after.sync_count - before.sync_count, 1);
}

static void log_settle(struct journal *journal, uint32_t partition, uint64_t session,
                       uint64_t sequence, uint64_t stored)
{
    struct op op = {.kind = OP_SETTLE, .partition = partition, .session = session};
    op.settle.sequence = sequence;
    op.settle.message = stored;
    journal_log(journal, &op);
}

/* A session of partition 5 that is owed one message; the number that this is stored under. */
static uint64_t owe_one(struct house *house, struct msg *msg)
{
    log_open(house->journal, 5, 1);
    uint64_t stored = log_enqueue(house->journal, 5, 1, 1, msg);
    settle(house);
    assert_int_equal(read_page(house, 5, 1, 0, 100).count, 1);
    return stored;
}

static void what_a_receiver_acknowledges_leaves_with_what_comes_next(void **state)
{
    struct house *house = *state;
    struct msg *msg = message("x");
    uint64_t stored = owe_one(house, msg), before = entries_of(house);
    assert_int_equal(journal_wake_ns(house->journal), UINT64_MAX);
    log_settle(house->journal, 5, 1, 1, stored);
    settle(house);
    assert_int_equal(entries_of(house), before);
    assert_int_not_equal(journal_wake_ns(house->journal), UINT64_MAX);
    log_open(house->journal, 6, 2); /* another partition is none of its business */
    settle(house);
    assert_int_equal(entries_of(house), before + 1);
    assert_int_equal(read_page(house, 5, 1, 0, 100).count, 1);
    log_enqueue(house->journal, 5, 1, 2, msg);
    settle(house);
    assert_int_equal(entries_of(house), before + 2);
    struct page page = read_page(house, 5, 1, 0, 100);
    assert_int_equal(page.count, 1);
    assert_int_equal(page.first, 2);
    assert_int_equal(journal_wake_ns(house->journal), UINT64_MAX);
    msg_unref(msg);
}

static void what_a_receiver_acknowledges_leaves_by_itself_in_the_end(void **state)
{
    struct house *house = *state;
    struct msg *msg = message("x");
    log_settle(house->journal, 5, 1, 1, owe_one(house, msg));
    settle(house);
    uint64_t wake_ns = journal_wake_ns(house->journal);
    assert_in_range(wake_ns, io_now_ns(house->io), io_now_ns(house->io) + SECOND);
    while (io_now_ns(house->io) < wake_ns) {
        io_turn(house->io, wake_ns - io_now_ns(house->io));
    }
    settle(house);
    assert_int_equal(journal_wake_ns(house->journal), UINT64_MAX);
    crash(house, SIM_KV_POWER_FAILS);
    assert_int_equal(read_page(house, 5, 1, 0, 100).count, 0);
    msg_unref(msg);
}

static void what_a_receiver_acknowledges_does_not_wait_longer_for_more_of_its_kind(void **state)
{
    struct house *house = *state;
    struct msg *msg = message("x");
    uint64_t stored = owe_one(house, msg);
    log_enqueue(house->journal, 5, 1, 2, msg);
    settle(house);
    log_settle(house->journal, 5, 1, 1, stored);
    settle(house);
    uint64_t wake_ns = journal_wake_ns(house->journal), began_ns = io_now_ns(house->io);
    assert_in_range(wake_ns, began_ns, began_ns + SECOND);
    while (io_now_ns(house->io) < began_ns + 2 * SECOND / 1000) {
        io_turn(house->io, SECOND / 1000);
    }
    settle(house);
    log_settle(house->journal, 5, 1, 2, stored);
    settle(house);
    assert_true(journal_wake_ns(house->journal) <= wake_ns);
    msg_unref(msg);
}

static void who_waits_for_what_a_receiver_acknowledged_does_not_wait_long(void **state)
{
    struct house *house = *state;
    struct told told;
    struct msg *msg = message("x");
    log_settle(house->journal, 5, 1, 1, owe_one(house, msg));
    settle(house);
    assert_int_equal(wait_for(house, 1u << 5, &told), ERR_AGAIN);
    settle(house);
    assert_int_equal(told.count, 1);
    assert_int_equal(read_page(house, 5, 1, 0, 100).count, 0);
    msg_unref(msg);
}

static void those_who_share_a_partition_are_told_in_order(void **state)
{
    struct house *house = *state;
    struct told a, b, c, d;
    order_next = 0;
    log_open(house->journal, 1, 1);
    log_open(house->journal, 2, 2);
    journal_flush(house->journal);
    log_open(house->journal, 2, 3); /* open: it leaves when the first is back */
    assert_int_equal(wait_for(house, 1u << 1, &a), ERR_AGAIN);
    assert_int_equal(wait_for(house, 1u << 1 | 1u << 2, &b), ERR_AGAIN);
    assert_int_equal(wait_for(house, 1u << 1, &c), ERR_AGAIN);
    lanes(house);
    journal_collect(house->journal);
    assert_int_equal(a.err, OK);
    assert_int_equal(b.count, 0);
    assert_int_equal(c.count, 0); /* its entry is committed, but b stands before it */
    assert_int_equal(wait_for(house, 1u << 1, &d), ERR_AGAIN);
    settle(house);
    assert_int_equal(a.order, 0);
    assert_int_equal(b.order, 1);
    assert_int_equal(c.order, 2);
    assert_int_equal(d.order, 3);
    assert_int_equal(b.count + c.count + d.count, 3);
}

/* What is told may change something, and wait for that. */
struct relay {
    struct house *house;
    struct told told;
    uint32_t left;
};

static void on_relay(void *context, enum err err)
{
    struct relay *relay = context;
    assert_int_equal(err, OK);
    if (relay->left-- == 0) {
        on_told(&relay->told, err);
        return;
    }
    log_open(relay->house->journal, relay->left, 1);
    assert_int_equal(journal_await(relay->house->journal, 1u << relay->left, on_relay, relay),
                     ERR_AGAIN);
}

static void who_is_told_may_log_and_wait_again(void **state)
{
    struct house *house = *state;
    struct relay relay = {house, {.err = ERR_COUNT}, 4};
    log_open(house->journal, 7, 1);
    assert_int_equal(journal_await(house->journal, 1u << 7, on_relay, &relay), ERR_AGAIN);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(relay.told.count, 0);
        journal_flush(house->journal);
        lanes(house);
        journal_collect(house->journal);
    }
    assert_int_equal(relay.told.count, 1);
}

/* ---- numbers, and what is there after a restart ---------------------------------------------- */

static void messages_have_numbers_that_go_on_after_a_crash(void **state)
{
    struct house *house = *state;
    struct msg *one = message("one"), *two = message("two");
    log_open(house->journal, 5, 1);
    log_open(house->journal, 5, 2);
    uint64_t first = log_enqueue(house->journal, 5, 1, 1, one);
    assert_int_equal(log_enqueue(house->journal, 5, 2, 1, one), first); /* the same in a row */
    uint64_t second = log_enqueue(house->journal, 5, 1, 2, two);
    assert_int_equal(second, first + 1);
    journal_flush(house->journal);
    uint64_t third = log_enqueue(house->journal, 5, 1, 3, one); /* of the next entry */
    assert_int_equal(third, second + 1);
    settle(house);
    struct page page = read_page(house, 5, 1, 0, 100);
    assert_int_equal(page.stored_first, first);
    assert_int_equal(page.stored_last, third);
    crash(house, SIM_KV_POWER_FAILS);
    page = read_page(house, 5, 1, 0, 100);
    assert_int_equal(page.count, 3);
    assert_int_equal(page.stored_last, third);
    assert_string_equal(page.payload_last, "one");
    uint64_t fourth = log_enqueue(house->journal, 5, 1, 4, two);
    assert_int_equal(fourth, third + 1);
    settle(house);
    assert_int_equal(read_page(house, 5, 1, 4, 100).stored_first, fourth);
    msg_unref(one);
    msg_unref(two);
}

static void a_page_has_what_is_committed_now_from_where_it_was_asked_for(void **state)
{
    struct house *house = *state;
    struct page page = {.err = ERR_COUNT};
    log_open(house->journal, 5, 1);
    for (uint64_t i = 1; i <= 50; i++) {
        char payload[16];
        snprintf(payload, sizeof(payload), "m%d", (int)i);
        struct msg *msg = message(payload);
        log_enqueue(house->journal, 5, 1, i, msg);
        msg_unref(msg);
    }
    journal_flush(house->journal);
    lane_turn(store_log_lane(house->store), house->now_ns);
    journal_collect(house->journal); /* committed, and on its way to the state */
    assert_int_equal(journal_read(house->journal, 5, 1, 11, 20, on_page, &page), OK);
    lane_turn(store_state_lane(house->store), house->now_ns);
    journal_collect(house->journal);
    assert_int_equal(page.err, OK);
    assert_int_equal(page.count, 20);
    assert_int_equal(page.first, 11);
    assert_int_equal(page.last, 30);
    assert_string_equal(page.payload_last, "m30");
    assert_int_equal(read_page(house, 5, 1, 51, 20).count, 0);
    assert_int_equal(read_page(house, 5, 2, 0, 20).count, 0); /* no such session */
}

/* A megabyte, and one message of any size. */
static void a_page_has_as_many_large_messages_as_it_has_room_for(void **state)
{
    struct house *house = *state;
    static char payload[400 * 1024];
    memset(payload, 'x', sizeof(payload) - 1);
    struct msg *msg = message(payload);
    log_open(house->journal, 5, 1);
    for (uint64_t i = 1; i <= 6; i++) {
        log_enqueue(house->journal, 5, 1, i, msg);
        settle(house);
    }
    struct page page = read_page(house, 5, 1, 0, 100);
    assert_int_equal(page.err, OK);
    assert_int_equal(page.last, 3);
    page = read_page(house, 5, 1, page.last + 1, 100);
    assert_int_equal(page.first, 4);
    assert_int_equal(page.last, 6);
    msg_unref(msg);
}

/* What is retained for these topics, as "x-z": of the second there is none; "!": it was closing. */
static void on_retained(void *context, enum err err, const struct msg_spec *messages,
                        uint32_t count)
{
    char *out = context;
    if (err == ERR_SHUTDOWN) {
        out[0] = '!';
        return;
    }
    assert_int_equal(err, OK);
    for (uint32_t i = 0; i < count; i++) {
        out[i] = messages[i].topic.count > 0 ? (char)messages[i].payload.data[0] : '-';
    }
}

static void log_retain(struct house *house, struct slice topic, const char *payload)
{
    struct op op = {.kind = OP_RETAIN, .partition = partition_of(topic)};
    struct msg *msg = msg_new(
        &(struct msg_spec){.topic = topic, .retain = true, .payload = slice_text(payload)});
    op.retain = msg;
    journal_log(house->journal, &op);
    msg_unref(msg);
}

static void what_is_retained_and_committed_is_read_from_all_partitions(void **state)
{
    struct house *house = *state;
    const struct slice topics[] = {slice_text("a/b"), slice_text("none"), slice_text("c")};
    char found[4] = "???";
    assert_true(partition_of(topics[0]) != partition_of(topics[2]));
    log_retain(house, topics[0], "w");
    log_retain(house, topics[2], "z");
    settle(house);
    log_retain(house, topics[0], "x");
    journal_flush(house->journal);
    lane_turn(store_log_lane(house->store), house->now_ns);
    journal_collect(house->journal); /* committed, and on its way to the state */
    assert_int_equal(journal_read_retained(house->journal, topics, 3, on_retained, found), OK);
    log_retain(house, topics[2], ""); /* later */
    settle(house);
    assert_string_equal(found, "x-z");
    assert_int_equal(journal_read_retained(house->journal, topics, 3, on_retained, found), OK);
    settle(house);
    assert_string_equal(found, "x--");
}

/* 64 KiB, and one message of any size: many may ask at once. */
static void of_large_retained_messages_one_reading_brings_the_first(void **state)
{
    struct house *house = *state;
    const struct slice topics[] = {slice_text("a"), slice_text("b"), slice_text("c")};
    static char payload[40 * 1024];
    char found[4] = "???";
    memset(payload, 'x', sizeof(payload) - 1);
    for (uint32_t i = 0; i < 3; i++) {
        log_retain(house, topics[i], payload);
    }
    settle(house);
    assert_int_equal(journal_read_retained(house->journal, topics, 3, on_retained, found), OK);
    settle(house);
    assert_string_equal(found, "xx?");
}

static void closing_writes_what_was_logged_and_tells_who_still_waits(void **state)
{
    struct house *house = *state;
    struct told under_way, open;
    struct page page = {.err = ERR_COUNT};
    struct msg *msg = message("x");
    log_open(house->journal, 5, 1);
    assert_int_equal(wait_for(house, 1u << 5, &under_way), ERR_AGAIN);
    journal_flush(house->journal);
    log_enqueue(house->journal, 5, 1, 1, msg);
    assert_int_equal(wait_for(house, 1u << 5, &open), ERR_AGAIN);
    assert_int_equal(journal_read(house->journal, 5, 1, 0, 9, on_page, &page), OK);
    const struct slice topic = slice_text("t");
    char found[2] = "?";
    assert_int_equal(journal_read_retained(house->journal, &topic, 1, on_retained, found), OK);
    journal_leave_io(house->journal);
    close_house(house);
    assert_int_equal(under_way.count, 1);
    assert_int_equal(under_way.err, ERR_SHUTDOWN);
    assert_int_equal(open.count, 1);
    assert_int_equal(open.err, ERR_SHUTDOWN);
    assert_int_equal(page.done_count, 1);
    assert_int_equal(page.err, ERR_SHUTDOWN);
    assert_string_equal(found, "!");
    open_house(house);
    assert_int_equal(read_page(house, 5, 1, 0, 9).count, 1);
    msg_unref(msg);
}

/* A node stopped while an image took the place of partition 5: the others are as they were. */
static void a_partition_that_was_being_replaced_waits_to_be_helped(void **state)
{
    struct house *house = *state;
    struct raftlog_mark mark = {9, 1};
    struct replica_look look;
    struct kv_batch *batch = kv_batch_new();
    log_open(house->journal, 5, 1);
    log_open(house->journal, 6, 2);
    settle(house);
    raftlog_put_mark(batch, 5, &mark);
    assert_int_equal(kv_write(store_log(house->store), batch), OK);
    kv_batch_free(batch);
    for (int i = 0; i < 2; i++) { /* the second start finds no mark any more */
        close_house(house);
        open_house(house);
        assert_int_equal(journal_raft_look(house->journal, 5, &look), OK);
        assert_int_equal(look.role, REPLICA_WAITS_TO_BE_ADDED);
        assert_int_equal(look.applied_index, 0);
        assert_int_equal(journal_admit(house->journal, 5), ERR_UNAVAILABLE);
        assert_int_equal(journal_admit(house->journal, 6), OK);
        assert_int_equal(machine_index(journal_raft_machine(house->journal, 5)), 0);
    }
}

/* ---- disks that fail ------------------------------------------------------------------------ */

static void a_sync_that_fails_is_told_to_all_who_wait_once(void **state)
{
    struct house *house = *state;
    struct told a, b, c, late;
    log_open(house->journal, 1, 1);
    log_open(house->journal, 2, 2);
    assert_int_equal(wait_for(house, 1u << 1, &a), ERR_AGAIN);
    assert_int_equal(wait_for(house, 1u << 1 | 1u << 2, &b), ERR_AGAIN);
    journal_flush(house->journal);
    log_open(house->journal, 2, 3);
    assert_int_equal(wait_for(house, 1u << 2, &c), ERR_AGAIN);
    sim_kv_fail(house->disk, SIM_KV_SYNC, 0, ERR_IO);
    lanes(house);
    journal_collect(house->journal);
    assert_int_equal(a.err, ERR_UNAVAILABLE);
    assert_int_equal(b.err, ERR_UNAVAILABLE);
    assert_int_equal(c.err, ERR_UNAVAILABLE);
    assert_int_equal(journal_admit(house->journal, 1), ERR_UNAVAILABLE);
    assert_int_equal(journal_admit(house->journal, 60), ERR_UNAVAILABLE);
    log_open(house->journal, 1, 4); /* nothing comes of it */
    assert_int_equal(wait_for(house, 1u << 1, &late), ERR_UNAVAILABLE);
    settle(house);
    assert_false(journal_has_news(house->journal));
    assert_int_equal(a.count + b.count + c.count, 3);
    assert_int_equal(late.count, 0);
    crash(house, SIM_KV_POWER_FAILS);
    assert_int_equal(journal_admit(house->journal, 1), OK);
}

static void a_full_disk_refuses_new_work_and_keeps_what_waits(void **state)
{
    struct house *house = *state;
    struct told told;
    struct msg *msg = message("x");
    log_open(house->journal, 5, 1);
    settle(house);
    log_enqueue(house->journal, 5, 1, 1, msg);
    assert_int_equal(wait_for(house, 1u << 5, &told), ERR_AGAIN);
    sim_kv_fail(house->disk, SIM_KV_SYNC, 0, ERR_NO_SPACE);
    settle(house);
    assert_int_equal(told.count, 0);
    assert_int_equal(journal_admit(house->journal, 5), ERR_NO_SPACE);
    log_enqueue(house->journal, 5, 1, 2, msg); /* admitted before */
    house->now_ns += SECOND;
    settle(house);
    house->now_ns += SECOND;
    settle(house);
    assert_int_equal(told.err, OK);
    assert_int_equal(journal_admit(house->journal, 5), OK);
    settle(house);
    crash(house, SIM_KV_POWER_FAILS);
    assert_int_equal(read_page(house, 5, 1, 0, 9).count, 2);
    msg_unref(msg);
}

/* The first sync of a new folder finds the disk full: a partition's beginning is no part of what is written
 * again, and without it its log would be refused as damaged. */
static void a_disk_that_is_full_from_the_first_sync_on_leaves_a_log_that_can_be_read(void **state)
{
    struct house *house = *state;
    struct told told;
    sim_kv_fail(house->disk, SIM_KV_SYNC, 0, ERR_NO_SPACE);
    for (uint32_t partition = 0; partition < STORE_PARTITIONS; partition++) {
        log_open(house->journal, partition, 1 + partition);
    }
    assert_int_equal(wait_for(house, 1u << 5, &told), ERR_AGAIN);
    for (int i = 0; i < 3; i++) {
        settle(house);
        assert_int_equal(told.count, i == 0 ? 0 : 1);
        house->now_ns += SECOND;
    }
    assert_int_equal(told.err, OK);
    crash(house, SIM_KV_POWER_FAILS); /* it opens again */
}

static void closing_on_a_full_disk_does_not_hang(void **state)
{
    struct house *house = *state;
    struct told told;
    log_open(house->journal, 5, 1);
    assert_int_equal(wait_for(house, 1u << 5, &told), ERR_AGAIN);
    sim_kv_set_free(house->disk, 0);
    settle(house);
    assert_int_equal(told.count, 0);
    close_house(house);
    assert_int_equal(told.err, ERR_SHUTDOWN);
    sim_kv_set_free(house->disk, UINT64_MAX);
    open_house(house);
}

/* ---- many lives ----------------------------------------------------------------------------- */

enum { SHARDS_MAX = 5, SESSIONS = 24 };

/* What was told of a session, and what was logged: the disk is somewhere between. */
struct promise {
    uint32_t partition;
    uint64_t logged, told;
};

struct wait {
    struct promise *promise;
    uint64_t sequence;
};

static void on_kept(void *context, enum err err)
{
    struct wait *wait = context;
    if (err == OK) {
        assert_true(wait->sequence >= wait->promise->told); /* in order */
        wait->promise->told = wait->sequence;
    }
    free(wait);
}

struct shards {
    struct house *house;
    struct journal *journals[SHARDS_MAX];
    uint32_t count;
};

static void shards_open(struct shards *shards, uint32_t count)
{
    struct kv_failure failure;
    shards->count = count;
    for (uint32_t i = 0; i < count; i++) {
        struct journal_raft_config config = {.store = shards->house->store,
                                             .io = shards->house->io,
                                             .shard = i,
                                             .shard_count = count,
                                             .seed = i};
        assert_int_equal(journal_raft_new(&config, &shards->journals[i], &failure), OK);
    }
}

static struct journal *journal_of(struct shards *shards, uint32_t partition)
{
    return shards->journals[partition % shards->count];
}

static void step(struct shards *shards, struct promise *promises, struct msg *msg)
{
    struct house *house = shards->house;
    uint64_t chance = rng_u64(&house->rng);
    struct promise *promise = &promises[chance % SESSIONS];
    struct journal *journal = journal_of(shards, promise->partition);
    uint64_t session = (uint64_t)(promise - promises) + 1;

    switch (chance >> 32 & 7) {
    case 0:
        lane_turn(store_log_lane(house->store), house->now_ns++);
        break;
    case 1:
        lane_turn(store_state_lane(house->store), house->now_ns++);
        break;
    case 2:
        journal_collect(journal);
        break;
    case 3:
        journal_flush(journal);
        break;
    default:
        if (journal_admit(journal, promise->partition) == OK) {
            log_enqueue(journal, promise->partition, session, ++promise->logged, msg);
            struct wait *wait = malloc(sizeof(*wait));
            *wait = (struct wait){promise, promise->logged};
            assert_int_equal(journal_await(journal, UINT64_C(1) << promise->partition, on_kept,
                                           wait),
                             ERR_AGAIN);
        }
    }
}

static void check_promises(struct shards *shards, struct promise *promises)
{
    for (uint32_t i = 0; i < SESSIONS; i++) {
        struct promise *promise = &promises[i];
        struct page page = {.err = ERR_COUNT};
        struct journal *journal = journal_of(shards, promise->partition);
        assert_int_equal(
            journal_read(journal, promise->partition, i + 1, 1, 100000, on_page, &page), OK);
        lane_turn(store_state_lane(shards->house->store), shards->house->now_ns++);
        journal_collect(journal);
        assert_int_equal(page.err, OK);
        assert_true(page.count >= promise->told);
        assert_true(page.count <= promise->logged);
        assert_int_equal(page.last, page.count); /* no holes */
        promise->logged = promise->told = page.count;
    }
}

static void what_was_told_is_there_after_every_crash(void **state)
{
    enum { LIVES = 60 };
    struct house *house = *state;
    struct shards shards = {.house = house};
    struct promise promises[SESSIONS] = {{0}};
    struct msg *msg = message("x");
    uint64_t told_total = 0;

    close_house(house);
    house->config.flush_bytes = 4000;
    assert_int_equal(store_open(&house->config, &house->store, &(struct kv_failure){""}), OK);
    shards_open(&shards, 1);
    for (uint32_t i = 0; i < SESSIONS; i++) {
        promises[i].partition = (uint32_t)(rng_u64(&house->rng) % STORE_PARTITIONS);
        log_open(shards.journals[0], promises[i].partition, i + 1);
    }
    journal_flush(shards.journals[0]);
    lane_turn(store_log_lane(house->store), house->now_ns);
    journal_collect(shards.journals[0]);
    for (uint32_t life = 0; life < LIVES; life++) {
        uint32_t steps = (uint32_t)(rng_u64(&house->rng) % 1500);
        house->now_ns += 10 * SECOND;
        for (uint32_t i = 0; i < steps; i++) {
            step(&shards, promises, msg);
        }
        sim_kv_crash(house->disk,
                     rng_u64(&house->rng) % 2 == 0 ? SIM_KV_POWER_FAILS : SIM_KV_PROCESS_ENDS);
        for (uint32_t i = 0; i < shards.count; i++) {
            journal_raft_free(shards.journals[i]);
        }
        store_close(house->store);
        assert_int_equal(store_open(&house->config, &house->store, &(struct kv_failure){""}), OK);
        shards_open(&shards, 1 + (uint32_t)(rng_u64(&house->rng) % SHARDS_MAX));
        check_promises(&shards, promises);
    }
    for (uint32_t i = 0; i < SESSIONS; i++) {
        told_total += promises[i].told;
    }
    assert_true(told_total > 1000);
    for (uint32_t i = 0; i < shards.count; i++) {
        journal_raft_free(shards.journals[i]);
    }
    msg_unref(msg);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(who_waits_is_told_when_the_disk_has_it_and_not_before),
        TEST(what_comes_while_the_disk_is_busy_leaves_together),
        TEST(a_large_entry_does_not_wait_for_the_one_before),
        TEST(all_partitions_of_a_turn_are_one_write_and_one_sync),
        TEST(what_a_receiver_acknowledges_leaves_with_what_comes_next),
        TEST(what_a_receiver_acknowledges_leaves_by_itself_in_the_end),
        TEST(what_a_receiver_acknowledges_does_not_wait_longer_for_more_of_its_kind),
        TEST(who_waits_for_what_a_receiver_acknowledged_does_not_wait_long),
        TEST(those_who_share_a_partition_are_told_in_order),
        TEST(who_is_told_may_log_and_wait_again),
        TEST(messages_have_numbers_that_go_on_after_a_crash),
        TEST(a_page_has_what_is_committed_now_from_where_it_was_asked_for),
        TEST(a_page_has_as_many_large_messages_as_it_has_room_for),
        TEST(what_is_retained_and_committed_is_read_from_all_partitions),
        TEST(of_large_retained_messages_one_reading_brings_the_first),
        TEST(closing_writes_what_was_logged_and_tells_who_still_waits),
        TEST(a_partition_that_was_being_replaced_waits_to_be_helped),
        TEST(a_sync_that_fails_is_told_to_all_who_wait_once),
        TEST(a_full_disk_refuses_new_work_and_keeps_what_waits),
        TEST(a_disk_that_is_full_from_the_first_sync_on_leaves_a_log_that_can_be_read),
        TEST(closing_on_a_full_disk_does_not_hang),
        TEST(what_was_told_is_there_after_every_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
