#include "core/session/delivery.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static struct delivery numbered(uint64_t sequence)
{
    return (struct delivery){.sequence = sequence};
}

static void push(struct deque *deque, uint64_t sequence)
{
    struct delivery delivery = numbered(sequence);
    assert_int_equal(deque_push(deque, &delivery), OK);
}

static void the_oldest_leaves_first_however_often_the_array_grows_and_wraps(void **state)
{
    struct deque deque = {0};
    uint64_t pushed = 0, popped = 0;
    (void)state;
    for (uint32_t round = 1; round <= 40; round++) {
        for (uint32_t i = 0; i < round; i++) {
            push(&deque, ++pushed);
        }
        for (uint32_t i = 0; i < round / 2 + 1; i++) {
            assert_int_equal(deque_at(&deque, 0)->sequence, popped + 1);
            assert_int_equal(deque_pop(&deque).sequence, ++popped);
        }
        assert_int_equal(deque.count, pushed - popped);
        for (uint32_t i = 0; i < deque.count; i++) {
            assert_int_equal(deque_at(&deque, i)->sequence, popped + 1 + i);
        }
    }
    deque_deinit(&deque);
}

static void the_newest_can_be_taken_back(void **state)
{
    struct deque deque = {0};
    (void)state;
    for (uint64_t i = 1; i <= 5; i++) {
        push(&deque, i);
    }
    assert_int_equal(deque_pop_back(&deque).sequence, 5);
    assert_int_equal(deque_pop_back(&deque).sequence, 4);
    assert_int_equal(deque_pop(&deque).sequence, 1);
    push(&deque, 6);
    assert_int_equal(deque_at(&deque, 2)->sequence, 6);
    assert_int_equal(deque.count, 3);
    deque_deinit(&deque);
}

/* Most sessions are idle most of the time: a burst must not cost them memory for ever. */
static void an_empty_deque_gives_a_large_array_back_and_keeps_a_small_one(void **state)
{
    struct deque deque = {0};
    (void)state;
    push(&deque, 1);
    deque_pop(&deque);
    assert_non_null(deque.slots);
    for (uint64_t i = 0; i < 1000; i++) {
        push(&deque, i);
    }
    while (deque.count > 0) {
        deque_pop(&deque);
    }
    assert_null(deque.slots);
    push(&deque, 7); /* and it can be used again */
    assert_int_equal(deque_at(&deque, 0)->sequence, 7);
    deque_deinit(&deque);
}

static void what_deliveries_hold_is_given_back_exactly_once(void **state)
{
    struct msg *msg = msg_new(&(struct msg_spec){.topic = slice_text("t")});
    struct deque deque = {0};
    const uint32_t ids[] = {3, 4};
    (void)state;
    for (uint32_t i = 0; i < 3; i++) {
        struct delivery delivery = {.msg = msg_ref(msg), .more_ids = delivery_ids_new(ids, 2)};
        assert_int_equal(deque_push(&deque, &delivery), OK);
    }
    assert_int_equal(msg->refs, 4);
    struct delivery taken = deque_pop(&deque); /* the caller's now */
    deque_deinit(&deque);
    assert_int_equal(msg->refs, 2);
    delivery_deinit(&taken);
    assert_int_equal(msg->refs, 1);
    assert_null(taken.msg);
    delivery_deinit(&taken); /* nothing is left to give */
    assert_int_equal(msg->refs, 1);
    deque_deinit(&deque);
    msg_unref(msg);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_oldest_leaves_first_however_often_the_array_grows_and_wraps),
        cmocka_unit_test(the_newest_can_be_taken_back),
        cmocka_unit_test(an_empty_deque_gives_a_large_array_back_and_keeps_a_small_one),
        cmocka_unit_test(what_deliveries_hold_is_given_back_exactly_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
