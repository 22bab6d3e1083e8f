#include "core/base/ring.h"
#include "core/base/rng.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct ring *ring_of(uint32_t slot_count, uint32_t item_bytes)
{
    struct ring *ring = ring_new(slot_count, item_bytes);
    if (ring == NULL) {
        abort(); /* the compiler, which sees through ring_new(), wants to know that it ends here */
    }
    return ring;
}

static void items_come_out_in_the_order_they_went_in(void **state)
{
    struct ring *ring = ring_of(4, 8);
    uint64_t got = 99;
    (void)state;
    assert_false(ring_pop(ring, &got));
    assert_int_equal(got, 99);
    for (uint64_t i = 0; i < 3; i++) {
        assert_true(ring_push(ring, &i));
    }
    for (uint64_t i = 0; i < 3; i++) {
        assert_true(ring_pop(ring, &got));
        assert_int_equal(got, i);
    }
    assert_true(ring_is_empty(ring));
    ring_free(ring);
}

static void a_full_ring_refuses_and_recovers(void **state)
{
    struct ring *ring = ring_of(2, 8);
    uint64_t a = 1, b = 2, c = 3, got;
    (void)state;
    assert_true(ring_push(ring, &a));
    assert_true(ring_push(ring, &b));
    assert_false(ring_push(ring, &c));
    assert_int_equal(ring_count(ring), 2);
    assert_true(ring_pop(ring, &got));
    assert_int_equal(got, 1);
    assert_true(ring_push(ring, &c));
    assert_true(ring_pop(ring, &got));
    assert_int_equal(got, 2);
    assert_true(ring_pop(ring, &got));
    assert_int_equal(got, 3);
    ring_free(ring);
}

static void a_ring_of_one_slot_is_a_ring(void **state)
{
    struct ring *ring = ring_of(1, 8);
    uint64_t got;
    (void)state;
    for (uint64_t i = 0; i < 10; i++) {
        assert_true(ring_push(ring, &i));
        assert_false(ring_push(ring, &i));
        assert_true(ring_pop(ring, &got));
        assert_int_equal(got, i);
        assert_false(ring_pop(ring, &got));
    }
    ring_free(ring);
}

static void every_size_of_item_is_copied_whole(void **state)
{
    static const uint32_t sizes[] = {8, 16, 24, 32, 40, 64, 72, 256};
    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct ring *ring = ring_of(8, sizes[i]);
        uint8_t in[256], out[256 + 8];
        for (int round = 0; round < 20; round++) {
            memset(in, round + 1, sizeof(in));
            memset(out, 0, sizeof(out));
            assert_true(ring_push(ring, in));
            assert_true(ring_pop(ring, out));
            assert_memory_equal(in, out, sizes[i]);
            assert_int_equal(out[sizes[i]], 0); /* and not a byte more */
        }
        ring_free(ring);
    }
}

struct message {
    uint64_t number, check;
};

enum { MESSAGE_COUNT = 300000 };

static void *produce(void *context)
{
    struct ring *ring = context;
    struct rng rng;
    rng_init(&rng, 1);
    for (uint64_t number = 0; number < MESSAGE_COUNT;) {
        struct message message = {number, rng.state[0]};
        if (ring_push(ring, &message)) {
            number++;
            rng_u64(&rng);
        } else {
            sched_yield();
        }
    }
    return NULL;
}

static void two_threads_lose_double_and_reorder_nothing(void **state)
{
    struct ring *ring = ring_of(64, sizeof(struct message));
    struct rng rng;
    pthread_t producer;
    (void)state;
    rng_init(&rng, 1);
    assert_int_equal(pthread_create(&producer, NULL, produce, ring), 0);
    for (uint64_t number = 0; number < MESSAGE_COUNT;) {
        struct message message;
        assert_true(ring_count(ring) <= 64);
        if (!ring_pop(ring, &message)) {
            sched_yield();
            continue;
        }
        if (message.number != number || message.check != rng.state[0]) {
            fail_msg("message %llu is not what was sent", (unsigned long long)number);
        }
        number++;
        rng_u64(&rng);
    }
    pthread_join(producer, NULL);
    assert_true(ring_is_empty(ring));
    ring_free(ring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_come_out_in_the_order_they_went_in),
        cmocka_unit_test(a_full_ring_refuses_and_recovers),
        cmocka_unit_test(a_ring_of_one_slot_is_a_ring),
        cmocka_unit_test(every_size_of_item_is_copied_whole),
        cmocka_unit_test(two_threads_lose_double_and_reorder_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
