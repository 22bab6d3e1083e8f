/* Time, other threads, and the end of an io. */
#include "tests/lib/io_ends.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

/* A stream that was accepted here lives on in another thread's io, with nothing lost between. */
struct carrier {
    struct io *io;
    _Atomic(struct io *) io_public;
    _Atomic int64_t handle;
    struct end end;
};

static void *carry(void *context)
{
    struct carrier *carrier = context;
    bool is_attached = false;
    assert_int_equal(io_new(&ordinary, &carrier->io), OK);
    carrier->end.io = carrier->io;
    carrier->end.is_echo = true;
    atomic_store(&carrier->io_public, carrier->io);
    while (carrier->end.closed_events == 0) {
        io_turn(carrier->io, UINT64_MAX); /* only io_wake() and bytes end this */
        int64_t handle = atomic_load(&carrier->handle);
        if (handle >= 0 && !is_attached) {
            assert_int_equal(io_attach(carrier->io, handle, &end_events, &carrier->end,
                                       &carrier->end.stream),
                             OK);
            is_attached = true;
        }
    }
    return NULL;
}

static void detach_the_stream(struct end *end)
{
    io_detach(end->stream);
}

static void a_stream_is_carried_to_the_io_of_another_thread(void **state)
{
    struct fixture fixture;
    struct carrier carrier = {.handle = -1};
    pthread_t thread;
    (void)state;
    fixture_init(&fixture, "127.0.0.1", &ordinary);
    assert_int_equal(pthread_create(&thread, NULL, carry, &carrier), 0);
    while (atomic_load(&carrier.io_public) == NULL) {
        io_turn(fixture.io, 1000000);
    }
    fixture.server.on_bytes = detach_the_stream;
    int fd = accept_raw(&fixture);
    assert_int_equal(write(fd, "first ", 6), 6);
    TURN_UNTIL(fixture.io, fixture.server.detached_events == 1);
    assert_int_equal(fixture.server.closed_events, 0);
    assert_int_equal(fixture.server.received_count, 6);
    assert_int_equal(write(fd, "second", 6), 6); /* in between the two */
    atomic_store(&carrier.handle, fixture.server.handle);
    io_wake(fixture.io, atomic_load(&carrier.io_public));
    io_turn(fixture.io, 0); /* the wake-up leaves with our next turn */
    char text[64] = "";
    assert_int_equal(recv(fd, text, 6, MSG_WAITALL), 6);
    assert_string_equal(text, "second");
    close(fd);
    pthread_join(thread, NULL);
    io_free(carrier.io); /* by another thread than its own, which has ended */
    assert_int_equal(carrier.end.why, ERR_CLOSED);
    free(carrier.end.echo_memory);
    fixture_deinit(&fixture);
}

struct sleeper {
    struct io *io;
    _Atomic uint32_t wake_count, woken_count;
};

/* A thread without an io: says so many times, each time after the other has noticed. */
static void *wake_often(void *context)
{
    struct sleeper *sleeper = context;
    for (uint32_t i = 1; i <= 200; i++) {
        atomic_store(&sleeper->wake_count, i);
        io_wake(NULL, sleeper->io);
        while (atomic_load(&sleeper->woken_count) < i) {
            sched_yield();
        }
    }
    return NULL;
}

static void a_thread_without_an_io_wakes_one(void **state)
{
    struct sleeper sleeper = {.io = new_io(&ordinary)};
    pthread_t thread;
    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, wake_often, &sleeper), 0);
    while (atomic_load(&sleeper.woken_count) < 200) {
        io_turn(sleeper.io, UINT64_MAX);
        atomic_store(&sleeper.woken_count, atomic_load(&sleeper.wake_count));
    }
    pthread_join(thread, NULL);
    io_free(sleeper.io);
}

static void *wake_by_ring(void *context)
{
    struct sleeper *sleeper = context;
    struct io *own;
    assert_int_equal(io_new(&ordinary, &own), OK);
    for (uint32_t i = 1; i <= 200; i++) {
        atomic_store(&sleeper->wake_count, i);
        io_wake(own, sleeper->io);
        io_turn(own, 0);
        while (atomic_load(&sleeper->woken_count) < i) {
            sched_yield();
        }
    }
    io_free(own);
    return NULL;
}

static void an_io_wakes_another(void **state)
{
    struct sleeper sleeper = {.io = new_io(&ordinary)};
    pthread_t thread;
    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, wake_by_ring, &sleeper), 0);
    while (atomic_load(&sleeper.woken_count) < 200) {
        io_turn(sleeper.io, UINT64_MAX);
        atomic_store(&sleeper.woken_count, atomic_load(&sleeper.wake_count));
    }
    pthread_join(thread, NULL);
    io_free(sleeper.io);
}

static void time_moves_between_turns_only(void **state)
{
    struct io *io = new_io(&ordinary);
    (void)state;
    uint64_t before_ns = io_now_ns(io);
    assert_int_equal(io_now_ns(io), before_ns);
    io_turn(io, 3000000);
    assert_true(io_now_ns(io) >= before_ns + 3000000);
    assert_true(io_wall_ms(io) > 1500000000000u);
    io_free(io);
}

/* Whatever is in flight when an io is freed: no event comes any more, and no memory is touched. */
static void an_io_is_freed_in_the_middle_of_everything(void **state)
{
    struct fixture fixture;
    (void)state;
    fixture_init(&fixture, "127.0.0.1", &ordinary);
    int fd = accept_raw(&fixture);
    fixture.server.sent_target = BIG_BYTES;
    send_more(&fixture.server);
    io_turn(fixture.io, 0);
    assert_int_equal(io_connect(fixture.io, &fixture.address, NULL, &end_events, &fixture.client,
                                &fixture.client.stream),
                     OK);
    io_pause(fixture.server.stream);
    fixture_deinit(&fixture);
    assert_int_equal(fixture.server.closed_events, 0);
    close(fd);
}

int main(void)
{
    pattern_fill();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stream_is_carried_to_the_io_of_another_thread),
        cmocka_unit_test(a_thread_without_an_io_wakes_one),
        cmocka_unit_test(an_io_wakes_another),
        cmocka_unit_test(time_moves_between_turns_only),
        cmocka_unit_test(an_io_is_freed_in_the_middle_of_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
