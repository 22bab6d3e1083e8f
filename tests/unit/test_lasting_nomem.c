/*
 * Memory runs out while a message is on its way: whoever does not get it, that is counted and told in the
 * trail (promise P7). Two shards on a journal that commits when the test says so.
 */
#include "core/base/blocks.h"
#include "core/broker/receipt.h"
#include "tests/lib/held_journal.h"

enum { SHARDS = 2, READERS = 3 };

/* ---- allocations that fail ------------------------------------------------------------------ */

/* The one that fails, counted down; 0: none does. Others before and after it succeed. */
static uint32_t fails_in;

/* A sanitizer has a malloc() of its own, which must stay: there none fails. */
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define FAILS 1
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *memory, size_t bytes);

static bool fails_now(void)
{
    return fails_in > 0 && --fails_in == 0;
}

void *malloc(size_t bytes)
{
    return fails_now() ? NULL : __libc_malloc(bytes);
}

void *calloc(size_t count, size_t bytes)
{
    return fails_now() ? NULL : __libc_calloc(count, bytes);
}

void *realloc(void *memory, size_t bytes)
{
    return fails_now() ? NULL : __libc_realloc(memory, bytes);
}
#else
#define FAILS 0
#endif

/* ---- a publisher on one shard, readers on both ---------------------------------------------- */

struct stage {
    struct scene scene;
    struct client *writer, *readers[READERS];
    char ids[READERS]; /* theirs */
    bool
        is_warm; /* both shards have looked into the trie, and can again; else nobody knows whom it missed */
};

/* The n-th letter that is a client id of that shard. */
static char id_of_shard(const struct scene *scene, uint32_t index, uint32_t n)
{
    for (char id = 'a';; id++) {
        if (shard_of(house_shard(scene->house, 0), slice_of(&id, 1)) == index && n-- == 0) {
            return id;
        }
    }
}

static void subscribe(struct client *client, const char *filter)
{
    uint8_t bytes[64] = {0x82, 0, 0, 1, 0, (uint8_t)strlen(filter)};
    size_t count = 6 + strlen(filter);
    memcpy(bytes + 6, filter, strlen(filter));
    bytes[count++] = 2;
    bytes[1] = (uint8_t)(count - 2);
    say(client, bytes, count);
    commit(client->house);
    client->heard_count = 0;
}

/* Version 5, its session outlives it, and it has a subscription with an identifier for each of two filters. */
static struct client *reader_of_both(struct house *house, char id)
{
    struct client *reader = client_new(house);
    uint8_t connect[] = "\x10\x13\0\x04MQTT\x05\0\0\0\x05\x11\0\0\0\x64\0\x01?";
    connect[sizeof(connect) - 2] = (uint8_t)id;
    say(reader, connect, sizeof(connect) - 1);
    commit(house);
    SAY(reader, "\x82\x09\0\x01\x02\x0b\x05\0\x01t\x02");
    SAY(reader, "\x82\x0b\0\x02\x02\x0b\x06\0\x03t/#\x02");
    commit(house);
    reader->heard_count = 0;
    return reader;
}

/* One reader with filters that overlap, one on the other shard, and a member of a group there. */
static struct stage stage_new(bool is_warm)
{
    struct stage stage = {.scene = {.house = house_new_on(&ports, SHARDS, 0, 1000, "")},
                          .is_warm = is_warm};
    struct scene *scene = &stage.scene;
    struct house *house = scene->house;
    turns(house);
    stage.writer = add(scene, connected(house, id_of_shard(scene, 0, 0), false));
    for (uint32_t i = 0; i < READERS; i++) {
        stage.ids[i] = i == 0 ? id_of_shard(scene, 0, 1) : id_of_shard(scene, 1, i - 1);
        stage.readers[i] = add(scene, i == 0 ? reader_of_both(house, stage.ids[i])
                                             : connected(house, stage.ids[i], i == 2));
    }
    subscribe(stage.readers[1], "t");
    subscribe(stage.readers[1], "w");
    subscribe(stage.readers[2], "$share/g/t");
    if (is_warm) {
        SAY(stage.writer, "\x30\x04\0\x01wx");
        EXPECT(stage.readers[1], "\x30\x04\0\x01wx");
    }
    return stage;
}

static uint64_t dropped(const struct stage *stage, enum trail_what what)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < SHARDS; i++) {
        count += metric_label_value(house_shard(stage->scene.house, i)->metrics, METRIC_dropped,
                                    what);
    }
    return count;
}

/* To that client. */
static bool is_told(const struct stage *stage, char id)
{
    const struct trail_query query = {.client = slice_of(&id, 1)};
    bool is_there = false;
    for (uint32_t i = 0; i < SHARDS; i++) {
        struct trail_record records[16];
        uint32_t count = trail_find(house_shard(stage->scene.house, i)->trail, &query, records, 16);
        for (uint32_t k = 0; k < count; k++) {
            is_there |= records[k].what == TRAIL_DROP_MEMORY && strcmp(records[k].topic, "t") == 0;
        }
    }
    return is_there;
}

/* Of two messages: whoever has heard of one alone, and was not disconnected, can be told why. */
static uint32_t explain_losses(const struct stage *stage)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < READERS; i++) {
        const struct client *reader = stage->readers[i];
        uint32_t bytes = i == 0 ? 13 : 8;        /* of a PUBLISH */
        uint32_t all = 2 * bytes - 2 * (i == 0); /* one may lack an identifier */
        if (!link_is_closed(reader->link) && reader->heard_count < all) {
            assert_int_equal(reader->heard_count, bytes);
            assert_true(!stage->is_warm || is_told(stage, stage->ids[i]));
            count++;
        }
    }
    assert_true(count == 0 || dropped(stage, TRAIL_DROP_MEMORY) >= (stage->is_warm ? count : 1));
    return count;
}

/* No receipt is to be had from it any more; what it had before is given back by hand. */
static struct pool *exhaust(struct shard *shard)
{
    struct pool *before = shard->receipts;
    shard->receipts = pool_new(sizeof(struct receipt), 1);
    assert_non_null(pool_take(shard->receipts));
    return before;
}

/* ---- what is lost --------------------------------------------------------------------------- */

/* Else it would be forgotten after a crash that comes before it is on disk there. */
static void what_a_shard_cannot_promise_it_delivers_and_the_outbox_keeps(void **state)
{
    (void)state;
    struct stage stage = stage_new(true);
    struct shard *other = house_shard(stage.scene.house, 1);
    struct pool *receipts = exhaust(other);
    SAY(stage.writer, "\x34\x06\0\x01t\0\x07x");
    commit(stage.scene.house);
    EXPECT(stage.writer, "\x50\x02\0\x07"); /* the outbox has it */
    commit(stage.scene.house);
    for (uint32_t i = 1; i < READERS; i++) {
        EXPECT(stage.readers[i], "\x34\x06\0\x01t\0\x02x");
    }
    assert_int_equal(dropped(&stage, TRAIL_DROP_MEMORY), 0);
    assert_false(was_logged(OP_SENT));
    pool_free(other->receipts);
    other->receipts = receipts;
    SAY(stage.writer, "\x34\x06\0\x01t\0\x08y"); /* nothing is held up by it */
    for (uint32_t i = 0; i < 3; i++) {
        commit(stage.scene.house);
    }
    for (uint32_t i = 1; i < READERS; i++) {
        EXPECT(stage.readers[i], "\x34\x06\0\x01t\0\x03y");
    }
    assert_true(was_logged(OP_SENT));
    scene_free(&stage.scene);
}

static void what_a_shard_cannot_promise_to_retain_it_retains_all_the_same(void **state)
{
    (void)state;
    struct stage stage = stage_new(true);
    struct shard *other = house_shard(stage.scene.house, 1);
    struct pool *receipts = other->receipts;
    uint8_t publish[] = {0x35, 6, 0, 1, (uint8_t)id_of_shard(&stage.scene, 1, 0), 0, 7, 'x'};
    other->receipts = pool_new(sizeof(struct receipt), 1);
    assert_non_null(pool_take(other->receipts));
    say(stage.writer, publish, sizeof(publish));
    for (uint32_t i = 0; i < 3; i++) {
        commit(stage.scene.house);
    }
    EXPECT(stage.writer, "\x50\x02\0\x07");
    assert_true(was_logged(OP_RETAIN));
    assert_true(was_logged(OP_SENT)); /* nothing is held up by it */
    pool_free(other->receipts);
    other->receipts = receipts;
    scene_free(&stage.scene);
}

/* Its publisher waits, and may send it again. */
static void what_a_shard_cannot_promise_is_refused_where_somebody_waits_for_it(void **state)
{
    (void)state;
    struct stage stage = stage_new(true);
    struct shard *other = house_shard(stage.scene.house, 1);
    struct pool *receipts = exhaust(other);
    SAY(stage.writer, "\x32\x06\0\x01t\0\x07x");
    commit(stage.scene.house);
    EXPECT_NOTHING(stage.writer); /* 3.1.1 has no word for it */
    EXPECT_NOTHING(stage.readers[1]);
    EXPECT_NOTHING(stage.readers[2]);
    assert_true(dropped(&stage, TRAIL_DROP_MEMORY) > 0);
    pool_free(other->receipts);
    other->receipts = receipts;
    scene_free(&stage.scene);
}

/* false: so many allocations there are not. */
static bool publish_in_need(bool is_warm, uint32_t failing, uint32_t *lost_count)
{
    blocks_thread_end(); /* nothing is in store, so that all is asked for */
    blocks_end();
    struct stage stage = stage_new(is_warm);
    blocks_thread_end();
    blocks_end();
    fails_in = failing;
    SAY(stage.writer, "\x35\x06\0\x01t\0\x07x");
    for (uint32_t i = 0; i < 3; i++) {
        commit(stage.scene.house);
    }
    bool has_failed = fails_in == 0;
    fails_in = 0;
    bool is_accepted = stage.writer->heard_count == 4;
    if (is_accepted) {
        SAY(stage.writer, "\x34\x06\0\x01t\0\x08y"); /* what waits for company has it */
        for (uint32_t i = 0; i < 3; i++) {
            commit(stage.scene.house);
        }
        *lost_count += explain_losses(&stage);
    }
    scene_free(&stage.scene);
    return has_failed;
}

static void whichever_allocation_fails_what_is_lost_by_it_is_counted_and_told(void **state)
{
    (void)state;
    for (uint32_t is_warm = 0; is_warm < 2 && FAILS; is_warm++) {
        uint32_t failing = 1, lost_count = 0;
        while (publish_in_need(is_warm, failing, &lost_count)) {
            failing++;
        }
        assert_true(failing > 10 && lost_count > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_shard_cannot_promise_it_delivers_and_the_outbox_keeps),
        cmocka_unit_test(what_a_shard_cannot_promise_to_retain_it_retains_all_the_same),
        cmocka_unit_test(what_a_shard_cannot_promise_is_refused_where_somebody_waits_for_it),
        cmocka_unit_test(whichever_allocation_fails_what_is_lost_by_it_is_counted_and_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
