#include "core/base/slice.h"
#include "core/io/workers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#define CONTAINER(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

/* Squares a number, and notes when it came back. */
struct square {
    struct work work;
    uint64_t number, result;
    uint32_t order;
};

static uint32_t order_next;

static void on_run(struct work *work)
{
    struct square *square = CONTAINER(work, struct square, work);
    square->result = square->number * square->number;
}

static void on_done(struct work *work)
{
    CONTAINER(work, struct square, work)->order = order_next++;
}

static struct square square_of(uint64_t number)
{
    return (struct square){.work = {.run = on_run, .done = on_done}, .number = number};
}

static void collect_all(struct workers_desk *desk)
{
    const struct timespec pause = {.tv_nsec = 100000};
    while (desk->open_count > 0) {
        workers_collect(desk);
        nanosleep(&pause, NULL);
    }
}

static void without_threads_work_is_done_when_it_is_collected(void **state)
{
    struct workers *workers = workers_new(0, 8, false);
    struct workers_desk desk;
    struct square square = square_of(7);
    (void)state;
    workers_desk_init(&desk, workers, NULL);
    assert_false(workers_has_news(&desk));
    assert_int_equal(workers_submit(&desk, &square.work), OK);
    assert_int_equal(square.result, 0);
    assert_true(workers_has_news(&desk)); /* nobody else will wake us for it */
    workers_collect(&desk);
    assert_int_equal(square.result, 49);
    assert_false(workers_has_news(&desk));
    workers_desk_close(&desk);
    workers_free(workers);
}

static void too_much_is_refused_and_stays_the_callers(void **state)
{
    struct workers *workers = workers_new(0, 2, false);
    struct workers_desk desk;
    struct square squares[3];
    (void)state;
    workers_desk_init(&desk, workers, NULL);
    for (int i = 0; i < 3; i++) {
        squares[i] = square_of((uint64_t)i + 1);
        assert_int_equal(workers_submit(&desk, &squares[i].work), i < 2 ? OK : ERR_BUSY);
    }
    workers_collect(&desk);
    assert_int_equal(squares[1].result, 4);
    assert_int_equal(squares[2].result, 0);
    assert_int_equal(workers_submit(&desk, &squares[2].work), OK); /* there is room again */
    workers_desk_close(&desk);
    assert_int_equal(squares[2].result, 9);
    workers_free(workers);
}

static void one_thread_keeps_the_order(void **state)
{
    enum { COUNT = 200 };
    struct workers *workers = workers_new(1, COUNT, false);
    struct workers_desk desk;
    struct square *squares = calloc(COUNT, sizeof(*squares));
    (void)state;
    workers_desk_init(&desk, workers, NULL);
    order_next = 0;
    for (uint32_t i = 0; i < COUNT; i++) {
        squares[i] = square_of(i);
        assert_int_equal(workers_submit(&desk, &squares[i].work), OK);
    }
    collect_all(&desk);
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_int_equal(squares[i].result, (uint64_t)i * i);
        assert_int_equal(squares[i].order, i);
    }
    workers_free(workers);
    free(squares);
}

static void many_threads_serve_two_desks_and_mix_nothing_up(void **state)
{
    enum { COUNT = 500 };
    struct workers *workers = workers_new(4, 2 * COUNT, true);
    struct workers_desk desks[2];
    struct square *squares = calloc(2 * COUNT, sizeof(*squares));
    (void)state;
    workers_desk_init(&desks[0], workers, NULL);
    workers_desk_init(&desks[1], workers, NULL);
    for (uint32_t i = 0; i < 2 * COUNT; i++) {
        squares[i] = square_of(i);
        assert_int_equal(workers_submit(&desks[i % 2], &squares[i].work), OK);
    }
    collect_all(&desks[0]);
    assert_int_equal(desks[0].open_count, 0);
    workers_desk_close(&desks[1]); /* waits for the rest, and collects it */
    for (uint32_t i = 0; i < 2 * COUNT; i++) {
        assert_int_equal(squares[i].result, (uint64_t)i * i);
    }
    workers_free(workers);
    free(squares);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_threads_work_is_done_when_it_is_collected),
        cmocka_unit_test(too_much_is_refused_and_stays_the_callers),
        cmocka_unit_test(one_thread_keeps_the_order),
        cmocka_unit_test(many_threads_serve_two_desks_and_mix_nothing_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
