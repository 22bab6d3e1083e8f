#include "core/base/rng.h"
#include "storage/machine_shared.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { NUMBERS = 4000 };

/* Numbers a window runs over, as those of messages do, with some that stay behind for long. */
static void counts_are_those_of_a_plain_array(void **state)
{
    static uint32_t counts[NUMBERS]; /* 0: not there */
    struct shared shared = {.count = 0};
    struct rng rng;
    uint32_t there = 0;
    (void)state;
    rng_init(&rng, 1);
    for (int turn = 0; turn < 400000; turn++) {
        uint64_t window = (uint64_t)turn / 150;
        uint64_t number = 1 + (window + rng_below(&rng, 400)) % (NUMBERS - 1);
        struct share *share = shared_get(&shared, number);
        assert_int_equal(share == NULL ? 0 : share->count, counts[number]);
        if (share == NULL) {
            assert_int_equal(shared_reserve(&shared, 1), OK);
            counts[number] = 1 + (uint32_t)rng_below(&rng, 3);
            shared_add(&shared, number)->count = counts[number];
            there++;
        } else if (number % 50 != 0 && --share->count == 0) {
            shared_remove(&shared, share);
            counts[number] = 0;
            there--;
        } else {
            counts[number] = share->count;
        }
        assert_int_equal(shared.count, there);
    }
    for (uint64_t number = 1; number < NUMBERS; number++) {
        struct share *share = shared_get(&shared, number);
        assert_int_equal(share == NULL ? 0 : share->count, counts[number]);
    }
    shared_deinit(&shared);
}

static void an_empty_one_has_nothing_and_0_is_no_number(void **state)
{
    struct shared shared = {.count = 0};
    (void)state;
    assert_null(shared_get(&shared, 7));
    assert_int_equal(shared_reserve(&shared, 1), OK);
    assert_null(shared_get(&shared, 0));
    shared_add(&shared, 7);
    assert_null(shared_get(&shared, 0));
    shared_deinit(&shared);
    assert_null(shared_get(&shared, 7));
}

static void a_burst_gives_its_memory_back(void **state)
{
    struct shared shared = {.count = 0};
    (void)state;
    for (uint64_t number = 1; number <= 10000; number++) {
        assert_int_equal(shared_reserve(&shared, 1), OK);
        shared_add(&shared, number);
    }
    assert_true(shared.place_count >= 10000);
    for (uint64_t number = 1; number < 10000; number++) {
        shared_remove(&shared, shared_get(&shared, number));
    }
    assert_int_equal(shared_reserve(&shared, 1), OK);
    assert_true(shared.place_count <= 256);
    assert_non_null(shared_get(&shared, 10000));
    shared_deinit(&shared);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_are_those_of_a_plain_array),
        cmocka_unit_test(an_empty_one_has_nothing_and_0_is_no_number),
        cmocka_unit_test(a_burst_gives_its_memory_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
