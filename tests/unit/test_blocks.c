/* Blocks: what is taken is the taker's alone, whoever gives it back, and it comes again. */
#include "core/base/blocks.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#if defined(__SANITIZE_ADDRESS__)
enum { IS_REUSED = false }; /* blocks_heap.c stands in */
#else
enum { IS_REUSED = true };
#endif

/* Every size up to the largest and beyond can be written from end to end. */
static void a_block_is_as_large_as_was_asked_for(void **state)
{
    uint8_t *blocks[BLOCKS_BYTES_MAX / 61 + 3];
    size_t counts[sizeof(blocks) / sizeof(blocks[0])];
    size_t used = 0;
    (void)state;
    for (size_t count = 1; count <= BLOCKS_BYTES_MAX + 61; count += 61) {
        counts[used] = count;
        blocks[used] = blocks_take(count);
        assert_non_null(blocks[used]);
        assert_int_equal((uintptr_t)blocks[used] % _Alignof(max_align_t), 0);
        memset(blocks[used], (int)(used & 0xff), count);
        used++;
    }
    for (size_t i = 0; i < used; i++) {
        for (size_t k = 0; k < counts[i]; k++) {
            assert_int_equal(blocks[i][k], i & 0xff); /* nobody else wrote there */
        }
        blocks_give(blocks[i], counts[i]);
    }
    blocks_give(NULL, 100);
    blocks_end();
}

/* Exactly at the edges of the sizes, which double in two steps. */
static void the_edges_of_sizes_do_not_overlap(void **state)
{
    (void)state;
    for (size_t size = 64; size <= BLOCKS_BYTES_MAX; size *= 2) {
        const size_t counts[] = {size - 1, size, size + 1, size + size / 2, size + size / 2 + 1};
        uint8_t *blocks[5];
        for (uint32_t i = 0; i < 5; i++) {
            blocks[i] = blocks_take(counts[i]);
            assert_non_null(blocks[i]);
            memset(blocks[i], 0xa0 + (int)i, counts[i]);
        }
        for (uint32_t i = 0; i < 5; i++) {
            assert_int_equal(blocks[i][0], 0xa0 + i);
            assert_int_equal(blocks[i][counts[i] - 1], 0xa0 + i);
            blocks_give(blocks[i], counts[i]);
        }
    }
    blocks_end();
}

static void the_last_one_given_is_the_first_one_taken(void **state)
{
    (void)state;
    if (!IS_REUSED) {
        skip();
    }
    void *block = blocks_take(200);
    blocks_give(block, 200);
    void *smaller = blocks_take(193); /* of the same size class */
    assert_ptr_equal(smaller, block);
    void *other = blocks_take(192); /* of the one below */
    assert_ptr_not_equal(other, block);
    blocks_give(other, 192);
    blocks_give(smaller, 193);
    blocks_end();
}

enum { MANY = 20000 };

/* More than magazines and depot hold: the rest goes back to the system, nothing is lost. */
static void more_than_is_kept_is_freed(void **state)
{
    static void *blocks[MANY];
    (void)state;
    for (uint32_t round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < MANY; i++) {
            blocks[i] = blocks_take(1000);
            assert_non_null(blocks[i]);
            memset(blocks[i], (int)round, 1000);
        }
        for (uint32_t i = 0; i < MANY; i++) {
            blocks_give(blocks[i], 1000);
        }
    }
    blocks_end();
}

struct pipe_of {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint32_t *items[64];
    uint32_t count;
    uint64_t sum;
};

static void *give_all(void *context)
{
    struct pipe_of *line = context;
    for (uint32_t i = 0; i < MANY; i++) {
        pthread_mutex_lock(&line->lock);
        while (line->count == 0) {
            pthread_cond_wait(&line->changed, &line->lock);
        }
        uint32_t *item = line->items[--line->count];
        pthread_cond_signal(&line->changed);
        pthread_mutex_unlock(&line->lock);
        line->sum += item[0] + item[31];
        blocks_give(item, 128);
    }
    blocks_thread_end();
    return NULL;
}

/* One makes, the other lets go: the depot brings them back. */
static void one_thread_takes_what_another_gives(void **state)
{
    static struct pipe_of line = {.lock = PTHREAD_MUTEX_INITIALIZER,
                                  .changed = PTHREAD_COND_INITIALIZER};
    pthread_t thread;
    uint64_t sum = 0;
    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, give_all, &line), 0);
    for (uint32_t i = 0; i < MANY; i++) {
        uint32_t *item = blocks_take(128);
        assert_non_null(item);
        item[0] = i;
        item[31] = 2 * i;
        sum += 3 * (uint64_t)i;
        pthread_mutex_lock(&line.lock);
        while (line.count == 64) {
            pthread_cond_wait(&line.changed, &line.lock);
        }
        line.items[line.count++] = item;
        pthread_cond_signal(&line.changed);
        pthread_mutex_unlock(&line.lock);
    }
    pthread_join(thread, NULL);
    assert_int_equal(line.sum, sum);
    blocks_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_block_is_as_large_as_was_asked_for),
        cmocka_unit_test(the_edges_of_sizes_do_not_overlap),
        cmocka_unit_test(the_last_one_given_is_the_first_one_taken),
        cmocka_unit_test(more_than_is_kept_is_freed),
        cmocka_unit_test(one_thread_takes_what_another_gives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
