#include "storage/kv.h"
#include "storage/raftlog.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

/* A map in a folder of its own. */
struct disk {
    char folder[64];
    struct kv *kv;
    struct kv_batch *batch;
};

static void disk_open(struct disk *disk)
{
    struct kv_config config = {.folder = disk->folder, .way = KV_LOGGED};
    struct kv_failure failure = {""};
    enum err err = kv_open(&config, &disk->kv, &failure);
    if (err != OK) {
        print_error("%s\n", failure.text);
    }
    assert_int_equal(err, OK);
}

static int set_up(void **state)
{
    struct disk *disk = calloc(1, sizeof(*disk));
    snprintf(disk->folder, sizeof(disk->folder), "/tmp/tern-raftlog-XXXXXX");
    assert_non_null(mkdtemp(disk->folder));
    disk_open(disk);
    disk->batch = kv_batch_new();
    *state = disk;
    return 0;
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
    (void)status, (void)kind, (void)walk;
    return remove(path);
}

static int tear_down(void **state)
{
    struct disk *disk = *state;
    kv_batch_free(disk->batch);
    kv_close(disk->kv);
    nftw(disk->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(disk);
    return 0;
}

static void put(struct disk *disk, uint32_t partition, uint64_t index, uint64_t term,
                struct slice bytes)
{
    struct raftlog_entry entry = {index, term, 1, bytes};
    assert_int_equal(raftlog_put(disk->batch, partition, &entry), OK);
}

static void put_hard(struct disk *disk, uint32_t partition, uint64_t term, uint64_t vote)
{
    struct raftlog_hard hard = {.term = term, .vote = vote};
    assert_int_equal(raftlog_put_hard(disk->batch, partition, &hard), OK);
}

static void cut(struct disk *disk, uint32_t partition, uint64_t index, uint64_t term)
{
    struct raftlog_hard hard = {.cut_index = index, .cut_term = term};
    assert_int_equal(raftlog_cut(disk->batch, partition, &hard), OK);
}

static void commit(struct disk *disk)
{
    assert_int_equal(kv_write(disk->kv, disk->batch), OK);
    kv_batch_clear(disk->batch);
}

/* What a walk saw. */
struct seen {
    uint64_t first, last, bytes_total, term_last;
    uint32_t count, stop_at;
    uint8_t byte_first, byte_last; /* of the last entry */
    uint8_t type;
};

static enum err see(void *context, const struct raftlog_entry *entry)
{
    struct seen *seen = context;
    seen->first = seen->count == 0 ? entry->index : seen->first;
    seen->last = entry->index;
    seen->term_last = entry->term;
    seen->type = entry->type;
    seen->bytes_total += entry->bytes.count;
    if (entry->bytes.count > 0) {
        seen->byte_first = entry->bytes.data[0];
        seen->byte_last = entry->bytes.data[entry->bytes.count - 1];
    }
    seen->count++;
    return seen->count == seen->stop_at ? ERR_LIMIT : OK;
}

static enum err load(struct disk *disk, uint32_t partition, struct raftlog_hard *hard,
                     struct seen *seen, struct kv_failure *failure)
{
    *seen = (struct seen){0};
    failure->text[0] = '\0';
    return raftlog_load(disk->kv, partition, hard, see, seen, failure);
}

static void a_new_partition_has_nothing(void **state)
{
    struct raftlog_hard hard = {9, 9, 9, 9};
    struct seen seen;
    struct kv_failure failure;
    assert_int_equal(load(*state, 63, &hard, &seen, &failure), OK);
    assert_int_equal(hard.term + hard.vote + hard.cut_index + hard.cut_term, 0);
    assert_int_equal(seen.count, 0);
}

static void what_was_put_is_there_after_a_restart_each_partition_for_itself(void **state)
{
    struct disk *disk = *state;
    struct raftlog_hard hard;
    struct seen seen;
    struct kv_failure failure;
    put_hard(disk, 3, 7, 2);
    put_hard(disk, 4, 1, 0);
    for (uint64_t i = 1; i <= 300; i++) {
        put(disk, 3, i, i / 50 + 1, slice_text("three"));
        if (i <= 5) {
            put(disk, 4, i, 1, slice_of(NULL, 0));
        }
    }
    commit(disk);
    assert_int_equal(kv_sync(disk->kv, true), OK);
    kv_close(disk->kv);
    disk_open(disk);
    assert_int_equal(load(disk, 3, &hard, &seen, &failure), OK);
    assert_int_equal(hard.term, 7);
    assert_int_equal(hard.vote, 2);
    assert_int_equal(seen.first, 1);
    assert_int_equal(seen.last, 300);
    assert_int_equal(seen.bytes_total, 300 * 5);
    assert_int_equal(seen.term_last, 7);
    assert_int_equal(load(disk, 4, &hard, &seen, &failure), OK);
    assert_int_equal(hard.term, 1);
    assert_int_equal(seen.count, 5);
    assert_int_equal(seen.bytes_total, 0);
}

static void large_entries_are_packed_where_it_pays_and_come_back_as_they_were(void **state)
{
    enum { COUNT = 200000 };
    struct disk *disk = *state;
    struct raftlog_hard hard;
    struct seen seen;
    struct kv_failure failure;
    uint8_t *bytes = malloc(COUNT);
    uint64_t before;
    memset(bytes, 'x', COUNT);
    bytes[0] = 1;
    bytes[COUNT - 1] = 2;
    put_hard(disk, 0, 1, 1);
    before = kv_batch_bytes(disk->batch);
    put(disk, 0, 1, 1, slice_of(bytes, COUNT));
    assert_true(kv_batch_bytes(disk->batch) - before < COUNT / 50);

    uint64_t chance = 88172645463325252u; /* nothing to be saved here */
    for (uint32_t i = 0; i < COUNT; i++) {
        chance ^= chance << 13, chance ^= chance >> 7, chance ^= chance << 17;
        bytes[i] = (uint8_t)chance;
    }
    before = kv_batch_bytes(disk->batch);
    put(disk, 0, 2, 1, slice_of(bytes, COUNT));
    assert_true(kv_batch_bytes(disk->batch) - before >= COUNT);
    commit(disk);
    assert_int_equal(load(disk, 0, &hard, &seen, &failure), OK);
    assert_int_equal(seen.bytes_total, 2 * COUNT);
    assert_int_equal(seen.byte_first, bytes[0]);
    assert_int_equal(seen.byte_last, bytes[COUNT - 1]);
    seen = (struct seen){.stop_at = 1};
    assert_int_equal(raftlog_read(disk->kv, 0, 1, see, &seen, &failure), ERR_LIMIT);
    assert_int_equal(seen.byte_first, 1);
    assert_int_equal(seen.byte_last, 2);
    free(bytes);
}

static void entries_from_an_index_on_are_replaced(void **state)
{
    struct disk *disk = *state;
    struct raftlog_hard hard;
    struct seen seen;
    struct kv_failure failure;
    put_hard(disk, 1, 1, 1);
    put_hard(disk, 2, 1, 1);
    for (uint64_t i = 1; i <= 10; i++) {
        put(disk, 1, i, 1, slice_text("a"));
        put(disk, 2, i, 1, slice_text("b"));
    }
    commit(disk);
    put_hard(disk, 1, 2, 1);
    raftlog_truncate(disk->batch, 1, 5);
    put(disk, 1, 5, 2, slice_text("c"));
    commit(disk);
    assert_int_equal(load(disk, 1, &hard, &seen, &failure), OK);
    assert_int_equal(seen.last, 5);
    assert_int_equal(seen.term_last, 2);
    assert_int_equal(seen.byte_last, 'c');
    assert_int_equal(load(disk, 2, &hard, &seen, &failure), OK);
    assert_int_equal(seen.last, 10);
}

static void a_cut_log_begins_where_it_was_cut_and_keeps_term_and_vote(void **state)
{
    struct disk *disk = *state;
    struct raftlog_hard hard;
    struct seen seen;
    struct kv_failure failure;
    put_hard(disk, 1, 3, 1);
    for (uint64_t i = 1; i <= 10; i++) {
        put(disk, 1, i, 2, slice_text("a"));
    }
    commit(disk);
    cut(disk, 1, 6, 2);
    commit(disk);
    assert_int_equal(load(disk, 1, &hard, &seen, &failure), OK);
    assert_int_equal(hard.term, 3);
    assert_int_equal(hard.vote, 1);
    assert_int_equal(hard.cut_index, 6);
    assert_int_equal(hard.cut_term, 2);
    assert_int_equal(seen.first, 7);
    assert_int_equal(seen.last, 10);
    cut(disk, 1, 10, 2); /* everything: what comes next is 11 */
    put_hard(disk, 1, 4, 2);
    commit(disk);
    assert_int_equal(load(disk, 1, &hard, &seen, &failure), OK);
    assert_int_equal(seen.count, 0);
    assert_int_equal(hard.cut_index, 10);
    assert_int_equal(hard.term, 4);
    assert_int_equal(raftlog_read(disk->kv, 1, 3, see, &seen, &failure), OK);
    assert_int_equal(seen.count, 0);
    put(disk, 1, 11, 4, slice_text("a"));
    commit(disk);
    assert_int_equal(raftlog_read(disk->kv, 1, 3, see, &seen, &failure), ERR_NOT_FOUND);
    assert_int_equal(raftlog_read(disk->kv, 1, 11, see, &seen, &failure), OK);
    assert_int_equal(seen.count, 1);
}

static enum err mark_of(struct disk *disk, uint32_t partition, struct raftlog_mark *mark)
{
    struct kv_failure failure;
    return raftlog_get_mark(disk->kv, partition, mark, &failure);
}

/* It takes the log with it, but for term and vote, and goes with the cut that an image makes. */
static void a_mark_voids_the_log_of_its_partition_until_its_end(void **state)
{
    struct disk *disk = *state;
    struct raftlog_mark mark = {40, 3}, found = {0};
    struct raftlog_hard hard;
    struct kv_failure failure;
    struct seen seen;
    put_hard(disk, 1, 5, 2);
    put_hard(disk, 2, 5, 2);
    for (uint64_t index = 1; index <= 5; index++) {
        put(disk, 1, index, 1, slice_text("one"));
        put(disk, 2, index, 1, slice_text("two"));
    }
    cut(disk, 1, 2, 1);
    commit(disk);
    assert_int_equal(mark_of(disk, 1, &found), ERR_NOT_FOUND);
    raftlog_put_mark(disk->batch, 1, &mark);
    commit(disk);
    assert_int_equal(mark_of(disk, 2, &found), ERR_NOT_FOUND);
    assert_int_equal(mark_of(disk, 1, &found), OK);
    assert_int_equal(found.index, 40);
    assert_int_equal(found.term, 3);
    assert_int_equal(load(disk, 1, &hard, &seen, &failure), OK);
    assert_int_equal(seen.count, 0);
    assert_int_equal(hard.term, 5);
    assert_int_equal(hard.vote, 2);
    assert_int_equal(hard.cut_index, 0);
    assert_int_equal(load(disk, 2, &hard, &seen, &failure), OK);
    assert_int_equal(seen.count, 5);
    raftlog_end_mark(disk->batch, 1, &mark);
    commit(disk);
    assert_int_equal(mark_of(disk, 1, &found), ERR_NOT_FOUND);
    assert_int_equal(load(disk, 1, &hard, &seen, &failure), OK);
    assert_int_equal(seen.count, 0);
    assert_int_equal(hard.term, 5);
    assert_int_equal(hard.cut_index, 40);
    assert_int_equal(hard.cut_term, 3);
}

static void an_error_of_the_caller_ends_the_walk(void **state)
{
    struct disk *disk = *state;
    struct raftlog_hard hard;
    struct seen seen = {.stop_at = 2};
    struct kv_failure failure;
    put_hard(disk, 1, 1, 1);
    for (uint64_t i = 1; i <= 4; i++) {
        put(disk, 1, i, 1, slice_text("a"));
    }
    commit(disk);
    assert_int_equal(raftlog_load(disk->kv, 1, &hard, see, &seen, &failure), ERR_LIMIT);
    assert_int_equal(seen.count, 2);
}

/* Key of an entry, as the drawing in raftlog.h has it. */
static struct slice key_of_entry(uint8_t key[10], uint8_t partition, uint8_t index)
{
    memset(key, 0, 10);
    key[0] = partition;
    key[1] = 'E';
    key[9] = index;
    return slice_of(key, 10);
}

static void assert_damaged(struct disk *disk, uint32_t partition, const char *what)
{
    struct raftlog_hard hard = {77, 77, 77, 77};
    struct seen seen;
    struct kv_failure failure;
    assert_int_equal(load(disk, partition, &hard, &seen, &failure), ERR_CORRUPT);
    if (strstr(failure.text, what) == NULL) {
        print_error("%s\n", failure.text);
    }
    assert_non_null(strstr(failure.text, what));
    assert_non_null(strstr(failure.text, "partition 1 "));
    assert_non_null(strstr(failure.text, "restore a backup"));
    assert_non_null(strstr(failure.text, "join again"));
}

static void put_ten(struct disk *disk)
{
    uint8_t bytes[600];
    memset(bytes, 'z', sizeof(bytes));
    put_hard(disk, 1, 2, 1);
    for (uint64_t i = 1; i <= 10; i++) {
        put(disk, 1, i, 2, i == 5 ? slice_of(bytes, sizeof(bytes)) : slice_text("some bytes"));
    }
    commit(disk);
}

static void a_hole_is_found(void **state)
{
    struct disk *disk = *state;
    uint8_t key[10];
    put_ten(disk);
    kv_batch_delete(disk->batch, key_of_entry(key, 1, 4));
    commit(disk);
    assert_damaged(disk, 1, "entry 4 is missing, 5 is there");
}

static void a_missing_first_entry_is_found(void **state)
{
    struct disk *disk = *state;
    uint8_t key[10];
    put_ten(disk);
    kv_batch_delete(disk->batch, key_of_entry(key, 1, 1));
    commit(disk);
    assert_damaged(disk, 1, "entry 1 is missing, 2 is there");
}

/* Every bit of a plain and of a packed record, one at a time. */
static void every_flipped_bit_is_found(void **state)
{
    struct disk *disk = *state;
    static const uint8_t indexes[] = {3, 5};
    put_ten(disk);
    for (size_t n = 0; n < 2; n++) {
        uint8_t key[10], record[2000];
        char what[64];
        struct kv_value value;
        assert_int_equal(kv_get(disk->kv, key_of_entry(key, 1, indexes[n]), &value), OK);
        size_t count = value.bytes.count;
        assert_true(count < sizeof(record));
        memcpy(record, value.bytes.data, count);
        kv_value_free(&value);
        snprintf(what, sizeof(what), "entry %d does not fit its checksum", indexes[n]);
        for (size_t bit = 0; bit < count * 8; bit++) {
            record[bit / 8] ^= (uint8_t)(1 << bit % 8);
            kv_batch_put(disk->batch, slice_of(key, 10), slice_of(record, count));
            commit(disk);
            assert_damaged(disk, 1, what);
            record[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        for (size_t shorter = 0; shorter < count; shorter++) {
            kv_batch_put(disk->batch, slice_of(key, 10), slice_of(record, shorter));
            commit(disk);
            assert_damaged(disk, 1, what);
        }
        kv_batch_put(disk->batch, slice_of(key, 10), slice_of(record, count));
        commit(disk);
    }
}

static void a_whole_record_in_the_wrong_place_is_found(void **state)
{
    struct disk *disk = *state;
    uint8_t key[10];
    struct kv_value value;
    put_ten(disk);
    put_hard(disk, 2, 2, 1);
    put(disk, 2, 6, 2, slice_text("of another partition"));
    commit(disk);
    assert_int_equal(kv_get(disk->kv, key_of_entry(key, 1, 8), &value), OK);
    kv_batch_put(disk->batch, key_of_entry(key, 1, 7), value.bytes);
    kv_value_free(&value);
    commit(disk);
    assert_damaged(disk, 1, "entry 7 does not fit");
    assert_int_equal(kv_get(disk->kv, key_of_entry(key, 2, 6), &value), OK);
    kv_batch_put(disk->batch, key_of_entry(key, 1, 6), value.bytes);
    kv_value_free(&value);
    commit(disk);
    assert_damaged(disk, 1, "entry 6 does not fit");
}

static void damage_of_term_and_vote_is_found_and_so_is_their_loss(void **state)
{
    struct disk *disk = *state;
    struct kv_value value;
    uint8_t record[24];
    put_ten(disk);
    assert_int_equal(kv_get(disk->kv, slice_text("\1H"), &value), OK);
    memcpy(record, value.bytes.data, sizeof(record));
    kv_value_free(&value);
    record[20] ^= 1;
    kv_batch_put(disk->batch, slice_text("\1H"), slice_of(record, sizeof(record)));
    commit(disk);
    assert_damaged(disk, 1, "term and vote");
    kv_batch_delete(disk->batch, slice_text("\1H"));
    commit(disk);
    assert_damaged(disk, 1, "entry 1 is of term 2, between 0 and 0");
}

static void terms_never_go_back(void **state)
{
    struct disk *disk = *state;
    put_ten(disk);
    put(disk, 1, 11, 1, slice_text("x"));
    commit(disk);
    assert_damaged(disk, 1, "entry 11 is of term 1");
    cut(disk, 1, 10, 3);
    commit(disk);
    assert_damaged(disk, 1, "it was cut in term 3");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_new_partition_has_nothing),
        TEST(what_was_put_is_there_after_a_restart_each_partition_for_itself),
        TEST(large_entries_are_packed_where_it_pays_and_come_back_as_they_were),
        TEST(entries_from_an_index_on_are_replaced),
        TEST(a_cut_log_begins_where_it_was_cut_and_keeps_term_and_vote),
        TEST(a_mark_voids_the_log_of_its_partition_until_its_end),
        TEST(an_error_of_the_caller_ends_the_walk),
        TEST(a_hole_is_found),
        TEST(a_missing_first_entry_is_found),
        TEST(every_flipped_bit_is_found),
        TEST(a_whole_record_in_the_wrong_place_is_found),
        TEST(damage_of_term_and_vote_is_found_and_so_is_their_loss),
        TEST(terms_never_go_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
