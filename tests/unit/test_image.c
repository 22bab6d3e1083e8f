/* An image of a partition: out of one map of the simulator's disk and into another. */
#include "core/base/map.h"
#include "tests/lib/image_map.h"
#include "tests/sim/sim_kv.h"

enum { PARTITION = 7, OTHER = 8, ID = 99 };

struct maps {
    struct rng rng;
    struct sim_disk *disk;
    struct kv *from, *to;
};

static struct kv *map_open(const char *folder)
{
    struct kv_config config = {.folder = folder, .way = KV_UNLOGGED};
    struct kv_failure failure;
    struct kv *kv;
    assert_int_equal(kv_open(&config, &kv, &failure), OK);
    return kv;
}

static int set_up(void **state)
{
    struct maps *maps = calloc(1, sizeof(*maps));
    rng_init(&maps->rng, 3);
    maps->disk = sim_kv_disk_new("/maps", &maps->rng);
    maps->from = map_open("/maps/from");
    maps->to = map_open("/maps/to");
    *state = maps;
    return 0;
}

static int tear_down(void **state)
{
    struct maps *maps = *state;
    kv_close(maps->from);
    kv_close(maps->to);
    sim_kv_disk_free(maps->disk);
    free(maps);
    return 0;
}

/* Four chunks and a bit: entries of a model, and what does not get smaller. */
static void fill(struct kv *kv, uint64_t seed)
{
    map_apply(kv, PARTITION, seed, 30);
    map_fill(kv, PARTITION, seed, 22, 50000);
}

static struct image_in *begin(struct maps *maps, const struct image_head *head)
{
    struct image_in *in;
    assert_int_equal(image_in_new(maps->to, head, &in), OK);
    assert_int_equal(image_in_write(in), OK);
    return in;
}

static void put(struct image_in *in, struct slice chunk)
{
    assert_int_equal(image_in_take(in, chunk), OK);
    assert_int_equal(image_in_write(in), OK);
}

/* The image of these chunks is not taken, and leaves nothing that counts. */
static void assert_refused(struct maps *maps, struct image_in *in, struct slice chunk)
{
    assert_int_equal(image_in_take(in, chunk), ERR_CORRUPT);
    assert_false(image_in_is_whole(in));
    assert_int_equal(standing_of(maps->to, PARTITION).index, 0);
    image_in_free(in);
}

static void an_image_takes_the_place_of_what_was_there(void **state)
{
    struct maps *maps = *state;
    fill(maps->from, 1);
    map_apply(maps->to, PARTITION, 2, 40); /* sessions of the same keys, other topics */
    map_apply(maps->to, OTHER, 3, 10);
    struct standing beside = standing_of(maps->to, OTHER);
    struct standing sent = standing_of(maps->from, PARTITION);
    struct chunks chunks = chunks_of(maps->from, PARTITION, ID);
    assert_int_equal(chunks.count, 5);
    assert_int_equal(chunks.head.index, sent.index);
    assert_int_equal(chunks.head.term, sent.term);
    struct image_in *in = begin(maps, &chunks.head);
    for (uint32_t i = 0; i < chunks.count; i++) {
        assert_false(image_in_is_whole(in));
        assert_int_equal(standing_of(maps->to, PARTITION).index, 0); /* A comes last */
        assert_int_equal(image_in_next(in), i);
        put(in, chunk_at(&chunks, i));
    }
    assert_true(image_in_is_whole(in));
    image_in_free(in);
    struct standing got = standing_of(maps->to, PARTITION);
    assert_true(standing_equal(&got, &sent));
    struct standing beside_now = standing_of(maps->to, OTHER);
    assert_true(standing_equal(&beside, &beside_now));
    map_apply(maps->from, PARTITION, 5, 20); /* and they go on alike, shared messages too */
    map_apply(maps->to, PARTITION, 5, 20);
    got = standing_of(maps->to, PARTITION);
    sent = standing_of(maps->from, PARTITION);
    assert_true(standing_equal(&got, &sent));
    chunks_free(&chunks);
}

static void an_image_is_of_one_moment_whatever_is_written_meanwhile(void **state)
{
    struct maps *maps = *state;
    struct chunks chunks = {.count = 0};
    struct image_out *out;
    bool is_last;
    fill(maps->from, 1);
    struct standing sent = standing_of(maps->from, PARTITION);
    assert_int_equal(image_out_open(maps->from, PARTITION, ID, &out), OK);
    assert_int_equal(image_out_chunk(out, 0, &chunks.bytes[0], &is_last), OK);
    chunks.count = 1;
    map_apply(maps->from, PARTITION, 4, 30);
    map_fill(maps->from, PARTITION, 1, 22, 100); /* the same topics */
    assert_int_equal(kv_flush(maps->from), OK);
    chunks_read_rest(out, &chunks);
    image_out_close(out);
    struct image_in *in = begin(maps, &chunks.head);
    for (uint32_t i = 0; i < chunks.count; i++) {
        put(in, chunk_at(&chunks, i));
    }
    assert_true(image_in_is_whole(in));
    image_in_free(in);
    struct standing got = standing_of(maps->to, PARTITION);
    assert_true(standing_equal(&got, &sent));
    chunks_free(&chunks);
}

static void a_record_may_be_larger_than_chunks(void **state)
{
    struct maps *maps = *state;
    map_apply(maps->from, PARTITION, 1, 5);
    map_fill(maps->from, PARTITION, 1, 2, 5 * IMAGE_CHUNK_BYTES / 2);
    struct standing sent = standing_of(maps->from, PARTITION);
    struct chunks chunks = chunks_of(maps->from, PARTITION, ID);
    assert_int_equal(chunks.count, 6);
    struct image_in *in = begin(maps, &chunks.head);
    for (uint32_t i = 0; i < chunks.count; i++) {
        assert_true(chunk_at(&chunks, i).count <= IMAGE_CHUNK_BYTES_MAX);
        put(in, chunk_at(&chunks, i));
    }
    assert_true(image_in_is_whole(in));
    image_in_free(in);
    struct standing got = standing_of(maps->to, PARTITION);
    assert_true(standing_equal(&got, &sent));
    chunks_free(&chunks);
}

static void what_lz4_makes_smaller_is_sent_smaller(void **state)
{
    struct maps *maps = *state;
    struct image_chunk chunk;
    map_apply(maps->from, PARTITION, 1, 200);
    struct chunks chunks = chunks_of(maps->from, PARTITION, ID);
    assert_int_equal(image_chunk_read(chunk_at(&chunks, 0), &chunk), OK);
    assert_true(chunk.is_packed);
    assert_true(chunk.bytes.count < chunk.plain_count - chunk.plain_count / 8);
    chunks_free(&chunks);
    map_fill(maps->from, PARTITION, 1, 22, 50000);
    chunks = chunks_of(maps->from, PARTITION, ID);
    assert_int_equal(image_chunk_read(chunk_at(&chunks, 2), &chunk), OK);
    assert_false(chunk.is_packed);
    assert_int_equal(chunk.plain_count, IMAGE_CHUNK_BYTES);
    chunks_free(&chunks);
}

static void a_chunk_that_was_lost_is_read_again(void **state)
{
    struct maps *maps = *state;
    struct image_out *out;
    struct buf again = {0};
    bool is_last;
    map_apply(maps->from, PARTITION, 1, 30);
    map_fill(maps->from, PARTITION, 1, 100, 50000); /* 20 chunks */
    struct chunks chunks = chunks_of(maps->from, PARTITION, ID);
    assert_int_equal(image_out_open(maps->from, PARTITION, ID, &out), OK);
    static const uint32_t asked[] = {0,  1, 1, 2, 3, 0, 1, 4, 4, 5,  6,  7,  8,  9,  10, 11,
                                     12, 5, 6, 7, 3, 4, 8, 9, 0, 13, 14, 15, 16, 17, 18, 19};
    assert_int_equal(image_out_chunk(out, 1, &again, &is_last), ERR_RANGE);
    for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
        buf_consume(&again, buf_count(&again));
        assert_int_equal(image_out_chunk(out, asked[i], &again, &is_last), OK);
        assert_true(slice_equal(buf_bytes(&again), chunk_at(&chunks, asked[i])));
        assert_int_equal(is_last, asked[i] == chunks.count - 1);
    }
    assert_int_equal(image_out_chunk(out, chunks.count, &again, &is_last), ERR_RANGE);
    assert_int_equal(image_out_chunk(out, chunks.count - IMAGE_BACK_MAX, &again, &is_last), OK);
    assert_int_equal(image_out_chunk(out, 2, &again, &is_last), ERR_RANGE);
    assert_int_equal(image_out_chunk(out, 0, &again, &is_last), OK);
    image_out_close(out);
    buf_deinit(&again);
    chunks_free(&chunks);
}

static void a_partition_without_a_state_has_no_image(void **state)
{
    struct maps *maps = *state;
    struct image_out *out;
    assert_int_equal(image_out_open(maps->from, PARTITION, ID, &out), ERR_NOT_FOUND);
    map_fill(maps->from, PARTITION, 1, 2, 100); /* half replaced: there is no A */
    map_apply(maps->from, OTHER, 1, 3);
    assert_int_equal(image_out_open(maps->from, PARTITION, ID, &out), ERR_NOT_FOUND);
}

/* Whatever bit turns over, wherever it is cut off. */
static void a_damaged_chunk_is_refused(void **state)
{
    struct maps *maps = *state;
    fill(maps->from, 1);
    struct chunks chunks = chunks_of(maps->from, PARTITION, ID);
    for (uint32_t i = 0; i < 60; i++) {
        uint32_t number = i % chunks.count;
        struct buf *bytes = &chunks.bytes[number];
        size_t at = i < 44 ? i : rng_below(&maps->rng, buf_count(bytes));
        struct image_in *in = begin(maps, &chunks.head);
        for (uint32_t k = 0; k < number && i >= 40; k++) {
            put(in, chunk_at(&chunks, k));
        }
        bytes->data[bytes->begin + at] ^= (uint8_t)(1u << i % 8);
        assert_refused(maps, in, buf_bytes(bytes));
        bytes->data[bytes->begin + at] ^= (uint8_t)(1u << i % 8);
        in = begin(maps, &chunks.head);
        assert_refused(maps, in, slice_head(chunk_at(&chunks, 0), at));
    }
    chunks_free(&chunks);
}

static void a_chunk_that_is_not_the_next_is_refused(void **state)
{
    struct maps *maps = *state;
    fill(maps->from, 1);
    map_apply(maps->from, OTHER, 1, 30);
    struct chunks chunks = chunks_of(maps->from, PARTITION, ID);
    struct chunks of_another = chunks_of(maps->from, PARTITION, ID + 1);
    struct chunks beside = chunks_of(maps->from, OTHER, ID);
    struct image_in *in = begin(maps, &chunks.head);
    assert_refused(maps, in, chunk_at(&chunks, 1));
    in = begin(maps, &chunks.head);
    put(in, chunk_at(&chunks, 0));
    assert_refused(maps, in, chunk_at(&chunks, 0));
    in = begin(maps, &chunks.head);
    put(in, chunk_at(&chunks, 0));
    assert_refused(maps, in, chunk_at(&of_another, 1));
    in = begin(maps, &chunks.head);
    assert_refused(maps, in, chunk_at(&beside, 0));
    in = begin(maps, &chunks.head);
    for (uint32_t i = 0; i < chunks.count; i++) {
        put(in, chunk_at(&chunks, i));
    }
    assert_int_equal(image_in_take(in, chunk_at(&chunks, chunks.count - 1)), ERR_CORRUPT);
    image_in_free(in);
    chunks_free(&chunks);
    chunks_free(&of_another);
    chunks_free(&beside);
}

/* One chunk of records that a sender of ours would not send: under a good sum. */
static struct buf sealed(const struct image_head *head, struct slice plain, uint64_t records,
                         uint64_t digest)
{
    struct image_chunk chunk = {.id = head->id,
                                .partition = head->partition,
                                .records = records,
                                .digest = digest,
                                .is_last = true};
    struct buf bytes = {0};
    assert_int_equal(image_chunk_write(&chunk, plain, &bytes), OK);
    return bytes;
}

static void what_makes_no_sense_under_a_good_sum_is_refused(void **state)
{
    struct maps *maps = *state;
    struct image_chunk first;
    struct buf bytes;
    map_apply(maps->from, PARTITION, 1, 1);
    map_fill(maps->from, PARTITION, 1, 3, 400);
    struct chunks chunks = chunks_of(maps->from, PARTITION, ID);
    struct image_head head = chunks.head;
    assert_int_equal(chunks.count, 1);
    assert_int_equal(image_chunk_read(chunk_at(&chunks, 0), &first), OK);
    assert_false(first.is_packed);
    /* As it is; and with one record fewer, a digest of something else, and cut off. */
    static const struct {
        int64_t records;
        uint64_t digest;
        size_t less;
        enum err err;
    } cases[] = {{0, 0, 0, OK},
                 {-1, 0, 0, ERR_CORRUPT},
                 {0, 1, 0, ERR_CORRUPT},
                 {0, 0, 1, ERR_CORRUPT},
                 {0, 0, 399, ERR_CORRUPT}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct image_in *in = begin(maps, &head);
        bytes = sealed(&head, slice_head(first.bytes, first.bytes.count - cases[i].less),
                       first.records + (uint64_t)cases[i].records, first.digest ^ cases[i].digest);
        assert_int_equal(image_in_take(in, buf_bytes(&bytes)), cases[i].err);
        image_in_free(in);
        buf_deinit(&bytes);
    }
    /* Keys: of another partition, none of ours, one that comes twice, one of a gigabyte; no A. */
    static const uint8_t other[] = {2, 0, 0, 0, 0, 0, 0, 0, OTHER, 'A'};
    static const uint8_t unknown[] = {2, 0, 0, 0, 0, 0, 0, 0, PARTITION, 'x'};
    static const uint8_t empty[] = {0, 0, 0, 0, 0, 0, 0, 0};
    static const uint8_t twice[] = {3, 0, 0, 0, 0, 0, 0, 0, PARTITION, 'R', 't',
                                    3, 0, 0, 0, 0, 0, 0, 0, PARTITION, 'R', 't'};
    static const uint8_t large[] = {0, 0, 0, 64, 0, 0, 0, 0, PARTITION, 'R', 't'};
    static const uint8_t no_state[] = {3, 0, 0, 0, 0, 0, 0, 0, PARTITION, 'R', 't'};
    const struct slice plains[] = {
        slice_of(other, sizeof(other)), slice_of(unknown, sizeof(unknown)),
        slice_of(empty, sizeof(empty)), slice_of(twice, sizeof(twice)),
        slice_of(large, sizeof(large)), slice_of(no_state, sizeof(no_state))};
    for (size_t i = 0; i < sizeof(plains) / sizeof(plains[0]); i++) {
        struct slice key = slice_of(no_state + 8, 3);
        struct image_in *in = begin(maps, &head);
        bytes = sealed(&head, plains[i], 1, hash_bytes_seeded((struct slice){0}, hash_bytes(key)));
        assert_refused(maps, in, buf_bytes(&bytes));
        buf_deinit(&bytes);
    }
    head.index++; /* the state is of another entry than was said */
    struct image_in *in = begin(maps, &head);
    assert_refused(maps, in, chunk_at(&chunks, 0));
    chunks_free(&chunks);
}

static void damage_on_the_senders_disk_is_no_short_image(void **state)
{
    struct maps *maps = *state;
    struct image_out *out;
    struct buf bytes = {0};
    static const uint8_t retained[] = {PARTITION, 'R'};
    bool is_last = false;
    enum err err = OK;
    fill(maps->from, 1);
    assert_int_equal(kv_flush(maps->from), OK);
    assert_true(sim_kv_flip(maps->disk, "/maps/from", slice_of(retained, 2), true));
    assert_int_equal(image_out_open(maps->from, PARTITION, ID, &out), OK);
    for (uint32_t i = 0; err == OK && !is_last; i++) {
        buf_consume(&bytes, buf_count(&bytes));
        err = image_out_chunk(out, i, &bytes, &is_last);
    }
    assert_int_equal(err, ERR_CORRUPT);
    image_out_close(out);
    buf_deinit(&bytes);
}

static void a_full_disk_holds_up_an_image(void **state)
{
    struct maps *maps = *state;
    fill(maps->from, 1);
    struct standing sent = standing_of(maps->from, PARTITION);
    struct chunks chunks = chunks_of(maps->from, PARTITION, ID);
    struct image_in *in = begin(maps, &chunks.head);
    for (uint32_t i = 0; i < chunks.count; i++) {
        assert_int_equal(image_in_take(in, chunk_at(&chunks, i)), OK);
        sim_kv_set_free(maps->disk, 0);
        assert_int_equal(image_in_write(in), ERR_NO_SPACE);
        assert_int_equal(image_in_write(in), ERR_NO_SPACE);
        assert_false(image_in_is_whole(in));
        sim_kv_set_free(maps->disk, UINT64_MAX);
        assert_int_equal(image_in_write(in), OK);
    }
    assert_true(image_in_is_whole(in));
    image_in_free(in);
    struct standing got = standing_of(maps->to, PARTITION);
    assert_true(standing_equal(&got, &sent));
    chunks_free(&chunks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(an_image_takes_the_place_of_what_was_there),
        TEST(an_image_is_of_one_moment_whatever_is_written_meanwhile),
        TEST(a_record_may_be_larger_than_chunks),
        TEST(what_lz4_makes_smaller_is_sent_smaller),
        TEST(a_chunk_that_was_lost_is_read_again),
        TEST(a_partition_without_a_state_has_no_image),
        TEST(a_damaged_chunk_is_refused),
        TEST(a_chunk_that_is_not_the_next_is_refused),
        TEST(what_makes_no_sense_under_a_good_sum_is_refused),
        TEST(damage_on_the_senders_disk_is_no_short_image),
        TEST(a_full_disk_holds_up_an_image),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
