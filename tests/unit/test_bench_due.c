#include "bench/command/due.h"
#include "core/base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { COUNT = 1000, ROUNDS = 20 };

static void nobody_waits_at_first(void **state)
{
    struct due *due = due_new(1);
    uint64_t at_ns;
    (void)state;
    assert_int_equal(due_next_ns(due), UINT64_MAX);
    due_add(due, 0, 7);
    assert_int_equal(due_next_ns(due), 7);
    assert_int_equal(due_take(due, &at_ns), 0);
    assert_int_equal(at_ns, 7);
    assert_int_equal(due_next_ns(due), UINT64_MAX);
    due_free(due);
    due_free(NULL);
}

/* Whatever the order in which they came, they leave by their moments, each once. */
static void they_leave_by_their_moments(void **state)
{
    struct rng rng;
    (void)state;
    rng_init(&rng, 4711);
    for (int round = 0; round < ROUNDS; round++) {
        struct due *due = due_new(COUNT);
        uint64_t moments[COUNT], last_ns = 0, at_ns;
        for (uint32_t i = 0; i < COUNT; i++) {
            moments[i] = rng_below(&rng,
                                   round % 2 == 0 ? 50 : UINT64_MAX); /* many alike, or none */
            due_add(due, i, moments[i]);
        }
        for (uint32_t i = 0; i < COUNT; i++) {
            assert_true(due_next_ns(due) >= last_ns);
            last_ns = due_next_ns(due);
            uint32_t thing = due_take(due, &at_ns);
            assert_int_equal(at_ns, last_ns);
            assert_int_equal(moments[thing], at_ns);
            moments[thing] = UINT64_MAX - 1; /* taken: it must not come again */
        }
        assert_int_equal(due_next_ns(due), UINT64_MAX);
        due_free(due);
    }
}

/* As publishers do: who was first comes back later. */
static void rounds_go_round(void **state)
{
    enum { THINGS = 7, TURNS = 700 };
    struct due *due = due_new(THINGS);
    uint32_t visits[THINGS] = {0};
    uint64_t at_ns;
    (void)state;
    for (uint32_t i = 0; i < THINGS; i++) {
        due_add(due, i, i);
    }
    for (uint32_t i = 0; i < TURNS; i++) {
        uint32_t thing = due_take(due, &at_ns);
        assert_int_equal(at_ns, i);
        assert_int_equal(thing, i % THINGS);
        visits[thing]++;
        due_add(due, thing, at_ns + THINGS);
    }
    for (uint32_t i = 0; i < THINGS; i++) {
        assert_int_equal(visits[i], TURNS / THINGS);
    }
    due_free(due);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_waits_at_first),
        cmocka_unit_test(they_leave_by_their_moments),
        cmocka_unit_test(rounds_go_round),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
