#include "core/base/pool.h"
#include "core/base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void objects_are_zeroed_aligned_and_apart(void **state)
{
    enum { COUNT = 5000 };
    static const uint32_t sizes[] = {1, 8, 24, 100, 5000};
    (void)state;
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        struct pool *pool = pool_new(sizes[s], 0);
        uint8_t **objects = calloc(COUNT, sizeof(*objects));
        for (int round = 0; round < 2; round++) {
            for (uint32_t i = 0; i < COUNT; i++) {
                objects[i] = pool_take(pool);
                assert_non_null(objects[i]);
                assert_int_equal((uintptr_t)objects[i] % 16, 0);
                assert_int_equal(objects[i][0] | objects[i][sizes[s] - 1], 0);
                memset(objects[i], (int)(i % 251) + 1, sizes[s]);
            }
            assert_int_equal(pool_taken_count(pool), COUNT);
            for (uint32_t i = 0; i < COUNT; i++) {
                assert_int_equal(objects[i][0], i % 251 + 1); /* nobody wrote into it */
                assert_int_equal(objects[i][sizes[s] - 1], i % 251 + 1);
                pool_give(pool, objects[i]);
            }
            assert_int_equal(pool_taken_count(pool), 0);
        }
        free(objects);
        pool_free(pool);
    }
}

static void the_bound_holds_and_one_given_back_makes_room(void **state)
{
    struct pool *pool = pool_new(32, 3);
    void *objects[3];
    (void)state;
    for (int i = 0; i < 3; i++) {
        objects[i] = pool_take(pool);
        assert_non_null(objects[i]);
    }
    assert_null(pool_take(pool));
    assert_int_equal(pool_taken_count(pool), 3);
    pool_give(pool, objects[1]);
    assert_non_null(pool_take(pool));
    assert_null(pool_take(pool));
    pool_free(pool); /* what is still taken goes with it */
}

static void a_pool_survives_any_order_of_taking_and_giving(void **state)
{
    enum { COUNT = 20000, STEPS = 300000 };
    struct pool *pool = pool_new(48, 0);
    uint64_t **objects = calloc(COUNT, sizeof(*objects));
    struct rng rng;
    uint32_t taken = 0;
    (void)state;
    rng_init(&rng, 9);
    for (int step = 0; step < STEPS; step++) {
        uint32_t tide = step / 30000 % 2 == 0 ? 70 : 30; /* percent of takes */
        uint64_t i = rng_below(&rng, COUNT);
        if (objects[i] == NULL && rng_below(&rng, 100) < tide) {
            objects[i] = pool_take(pool);
            assert_non_null(objects[i]);
            assert_true(objects[i][0] == 0 && objects[i][5] == 0);
            objects[i][0] = objects[i][5] = i + 1;
            taken++;
        } else if (objects[i] != NULL && rng_below(&rng, 100) >= tide) {
            assert_true(objects[i][0] == i + 1 && objects[i][5] == i + 1);
            pool_give(pool, objects[i]);
            objects[i] = NULL;
            taken--;
        }
        assert_int_equal(pool_taken_count(pool), taken);
    }
    free(objects);
    pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(objects_are_zeroed_aligned_and_apart),
        cmocka_unit_test(the_bound_holds_and_one_given_back_makes_room),
        cmocka_unit_test(a_pool_survives_any_order_of_taking_and_giving),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
