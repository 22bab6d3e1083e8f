#include "cluster/window.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void put(struct window *window, uint64_t index, uint64_t term, size_t count)
{
    struct consensus_entry entry = {.term = term, .type = CONSENSUS_COMMAND};
    entry.bytes = slice_of(count == 0 ? NULL : calloc(1, count), count);
    assert_int_equal(window_reserve(window, 1), OK);
    window_put(window, index, &entry);
}

static void entries_are_found_by_their_index_while_it_grows(void **state)
{
    struct window window = {0};
    (void)state;
    assert_null(window_get(&window, 0));
    for (uint64_t index = 1000; index < 1300; index++) {
        put(&window, index, index, 10);
    }
    assert_int_equal(window.bytes, 3000);
    assert_null(window_get(&window, 999));
    assert_null(window_get(&window, 1300));
    for (uint64_t index = 1000; index < 1300; index++) {
        assert_int_equal(window_get(&window, index)->term, index);
    }
    window_deinit(&window);
    assert_int_equal(window.bytes, 0);
}

static void it_is_cut_in_front_and_truncated_behind(void **state)
{
    struct window window = {0};
    (void)state;
    for (uint64_t index = 1; index <= 10; index++) {
        put(&window, index, 1, index);
    }
    window_cut(&window, 0); /* nothing is that old */
    window_truncate(&window, 11);
    assert_int_equal(window.count, 10);
    window_cut(&window, 4);
    window_truncate(&window, 8);
    assert_int_equal(window.first, 5);
    assert_int_equal(window_end(&window), 8);
    assert_int_equal(window.bytes, 5 + 6 + 7);
    put(&window, 8, 2, 0);
    assert_int_equal(window_get(&window, 8)->term, 2);
    window_cut(&window, 100);
    assert_int_equal(window.count, 0);
    assert_int_equal(window.bytes, 0);
    put(&window, 500, 3, 1); /* and may begin anywhere else */
    assert_int_equal(window.first, 500);
    assert_int_equal(window_get(&window, 500)->term, 3);
    window_deinit(&window);
}

/* It goes round and round in the same memory. */
static void what_is_steady_takes_no_more_room(void **state)
{
    struct window window = {0};
    (void)state;
    for (uint64_t index = 1; index <= 10000; index++) {
        put(&window, index, index, 3);
        if (index > 8) {
            window_cut(&window, index - 8);
        }
    }
    assert_int_equal(window.count, 8);
    assert_int_equal(window.capacity, 16);
    assert_int_equal(window_get(&window, 9996)->term, 9996);
    window_deinit(&window);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_are_found_by_their_index_while_it_grows),
        cmocka_unit_test(it_is_cut_in_front_and_truncated_behind),
        cmocka_unit_test(what_is_steady_takes_no_more_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
