#include "core/base/list.h"
#include "core/base/slice.h"
#include "core/io/io.h"
#include "storage/lane.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

/* A lane that answers every job with an error that tells the order, or holds what it is told to. */
struct owner {
    struct lane *lane;
    _Atomic uint32_t run_count, job_count, largest; /* counted before anything is given back */
    _Atomic bool is_holding;
    struct job *held;
    _Atomic uint64_t wake_ns;
    _Atomic uint32_t pause_us; /* of each run: the disk */
};

struct note {
    struct job job;
    uint32_t number, order;
    enum err err;
};

static uint32_t order_next;

static void on_done(struct job *job, enum err err)
{
    struct note *note = CONTAINER_OF(job, struct note, job);
    note->order = order_next++;
    note->err = err;
}

static void run(void *context, struct job *jobs)
{
    struct owner *owner = context;
    uint32_t count = 0;

    atomic_fetch_add(&owner->run_count, 1);
    if (atomic_load(&owner->wake_ns) <= lane_now_ns(owner->lane)) {
        atomic_store(&owner->wake_ns, UINT64_MAX);
    }
    for (struct job *job = jobs; job != NULL; job = job->next) {
        count++;
    }
    atomic_fetch_add(&owner->job_count, count);
    if (count > atomic_load(&owner->largest)) {
        atomic_store(&owner->largest, count);
    }
    if (atomic_load(&owner->pause_us) > 0) {
        nanosleep(&(struct timespec){.tv_nsec = 1000 * (long)atomic_load(&owner->pause_us)}, NULL);
    }
    while (owner->held != NULL && !atomic_load(&owner->is_holding)) {
        struct job *next = owner->held->next;
        lane_give_back(owner->held, ERR_AGAIN);
        owner->held = next;
    }
    while (jobs != NULL) {
        struct job *next = jobs->next;
        if (atomic_load(&owner->is_holding)) {
            struct job **last = &owner->held;
            while (*last != NULL) {
                last = &(*last)->next;
            }
            *last = jobs;
            jobs->next = NULL;
        } else {
            lane_give_back(jobs, OK);
        }
        jobs = next;
    }
}

static uint64_t wake_ns(void *context)
{
    return atomic_load(&((struct owner *)context)->wake_ns);
}

static void open_lane(struct owner *owner, bool has_thread)
{
    struct lane_config config = {run, owner, wake_ns, "test lane", has_thread};
    *owner = (struct owner){.wake_ns = UINT64_MAX};
    order_next = 0;
    assert_int_equal(lane_new(&config, &owner->lane), OK);
}

static void pause_a_little(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
}

static void without_a_thread_a_turn_does_all_that_waits_at_once(void **state)
{
    struct owner owner;
    struct lane_desk desk;
    struct note notes[3] = {0};
    (void)state;
    open_lane(&owner, false);
    lane_desk_init(&desk, owner.lane, NULL);
    assert_false(lane_turn(owner.lane, 1));
    for (uint32_t i = 0; i < 3; i++) {
        notes[i].job.done = on_done;
        notes[i].err = ERR_COUNT;
        lane_submit(&desk, &notes[i].job);
    }
    lane_collect(&desk);
    assert_int_equal(notes[0].err, ERR_COUNT); /* nothing happens by itself */
    assert_false(lane_has_news(&desk));
    assert_true(lane_turn(owner.lane, 7));
    assert_int_equal(lane_now_ns(owner.lane), 7);
    assert_int_equal(owner.largest, 3);
    assert_true(lane_has_news(&desk));
    assert_int_equal(notes[0].err, ERR_COUNT);
    lane_collect(&desk);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(notes[i].err, OK);
        assert_int_equal(notes[i].order, i);
    }
    assert_false(lane_has_news(&desk));
    assert_false(lane_turn(owner.lane, 8));
    lane_desk_close(&desk);
    lane_free(owner.lane);
}

static void run_is_called_when_its_time_has_come_and_when_it_is_woken(void **state)
{
    struct owner owner;
    (void)state;
    open_lane(&owner, false);
    atomic_store(&owner.wake_ns, 100);
    assert_false(lane_turn(owner.lane, 99));
    assert_true(lane_turn(owner.lane, 100));
    assert_false(lane_turn(owner.lane, 101));
    lane_wake(owner.lane);
    assert_true(lane_turn(owner.lane, 102));
    assert_false(lane_turn(owner.lane, 103));
    assert_int_equal(owner.run_count, 2);
    lane_free(owner.lane);
}

static void a_job_may_be_given_back_in_a_later_run(void **state)
{
    struct owner owner;
    struct lane_desk desk;
    struct note note = {.job.done = on_done, .err = ERR_COUNT};
    (void)state;
    open_lane(&owner, false);
    lane_desk_init(&desk, owner.lane, NULL);
    atomic_store(&owner.is_holding, true);
    lane_submit(&desk, &note.job);
    assert_true(lane_turn(owner.lane, 1));
    lane_collect(&desk);
    assert_int_equal(note.err, ERR_COUNT);
    assert_int_equal(desk.open_count, 1);
    atomic_store(&owner.is_holding, false);
    lane_wake(owner.lane);
    assert_true(lane_turn(owner.lane, 2));
    lane_collect(&desk);
    assert_int_equal(note.err, ERR_AGAIN);
    lane_desk_close(&desk);
    lane_free(owner.lane);
}

static void closing_a_desk_without_a_thread_does_what_waits(void **state)
{
    struct owner owner;
    struct lane_desk desk;
    struct note note = {.job.done = on_done, .err = ERR_COUNT};
    (void)state;
    open_lane(&owner, false);
    lane_desk_init(&desk, owner.lane, NULL);
    lane_submit(&desk, &note.job);
    lane_desk_close(&desk);
    assert_int_equal(note.err, OK);
    lane_free(owner.lane);
}

static void what_comes_while_the_lane_is_busy_goes_together(void **state)
{
    enum { COUNT = 200 };
    struct owner owner;
    struct lane_desk desk;
    struct note *notes = calloc(COUNT, sizeof(*notes));
    (void)state;
    open_lane(&owner, true);
    atomic_store(&owner.pause_us, 2000);
    lane_desk_init(&desk, owner.lane, NULL);
    for (uint32_t i = 0; i < COUNT; i++) {
        notes[i].job.done = on_done;
        lane_submit(&desk, &notes[i].job);
    }
    while (desk.open_count > 0) {
        lane_collect(&desk);
        pause_a_little();
    }
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_int_equal(notes[i].err, OK);
        assert_int_equal(notes[i].order, i);
    }
    assert_true(owner.largest > 1);
    assert_true(owner.run_count < COUNT);
    lane_desk_close(&desk);
    lane_free(owner.lane);
    free(notes);
}

static void a_thread_is_woken_by_the_clock(void **state)
{
    struct owner owner;
    struct timespec now;
    (void)state;
    open_lane(&owner, true);
    clock_gettime(CLOCK_MONOTONIC, &now);
    atomic_store(&owner.wake_ns,
                 (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec + 2000000);
    lane_wake(owner.lane); /* so that it asks again when */
    while (atomic_load(&owner.run_count) < 2) {
        pause_a_little();
    }
    lane_free(owner.lane);
}

/* The shard sleeps in io_turn() without a limit: only io_wake() ends that. */
static void a_sleeping_shard_is_woken_when_its_jobs_come_back(void **state)
{
    enum { ROUNDS = 200 };
    struct owner owner;
    struct lane_desk desk;
    struct io_config config = {.stream_count_max = 4};
    struct io *io;
    (void)state;
    assert_int_equal(io_new(&config, &io), OK);
    open_lane(&owner, true);
    lane_desk_init(&desk, owner.lane, io);
    for (uint32_t i = 0; i < ROUNDS; i++) {
        struct note notes[2] = {{.job.done = on_done, .err = ERR_COUNT},
                                {.job.done = on_done, .err = ERR_COUNT}};
        lane_submit(&desk, &notes[0].job);
        lane_submit(&desk, &notes[1].job);
        while (desk.open_count > 0) {
            io_turn(io, UINT64_MAX);
            lane_collect(&desk);
        }
        assert_int_equal(notes[0].err, OK);
        assert_int_equal(notes[1].err, OK);
    }
    lane_desk_close(&desk);
    io_free(io);
    lane_free(owner.lane);
}

static void an_io_is_not_touched_after_its_desk_was_closed(void **state)
{
    enum { ROUNDS = 100, COUNT = 8 };
    struct owner owner;
    (void)state;
    open_lane(&owner, true);
    for (uint32_t i = 0; i < ROUNDS; i++) {
        struct io_config config = {.stream_count_max = 4};
        struct lane_desk desk;
        struct note notes[COUNT] = {0};
        struct io *io;
        assert_int_equal(io_new(&config, &io), OK);
        lane_desk_init(&desk, owner.lane, io);
        for (uint32_t n = 0; n < COUNT; n++) {
            notes[n].job.done = on_done;
            lane_submit(&desk, &notes[n].job);
        }
        lane_desk_close(&desk);
        assert_int_equal(desk.open_count, 0);
        io_free(io); /* a late io_wake() would be a use after free */
    }
    assert_int_equal(owner.job_count, ROUNDS * COUNT);
    lane_free(owner.lane);
}

struct submitter {
    struct lane *lane;
    pthread_t thread;
    struct note notes[500];
    uint32_t done_count;
};

static void on_done_quietly(struct job *job, enum err err)
{
    struct note *note = CONTAINER_OF(job, struct note, job);
    note->err = err;
    note->number++;
}

static void *submit_many(void *context)
{
    enum { COUNT = sizeof(((struct submitter *)NULL)->notes) / sizeof(struct note) };
    struct submitter *self = context;
    struct lane_desk desk;
    lane_desk_init(&desk, self->lane, NULL);
    for (uint32_t i = 0; i < COUNT; i++) {
        self->notes[i].job.done = on_done_quietly;
        lane_submit(&desk, &self->notes[i].job);
        if (i % 7 == 0) {
            lane_collect(&desk);
        }
    }
    lane_desk_close(&desk);
    for (uint32_t i = 0; i < COUNT; i++) {
        self->done_count += self->notes[i].number == 1 && self->notes[i].err == OK;
    }
    return NULL;
}

static void many_desks_mix_nothing_up(void **state)
{
    enum { THREADS = 4, COUNT = 500 };
    struct owner owner;
    struct submitter *submitters = calloc(THREADS, sizeof(*submitters));
    (void)state;
    open_lane(&owner, true);
    for (int i = 0; i < THREADS; i++) {
        submitters[i].lane = owner.lane;
        assert_int_equal(pthread_create(&submitters[i].thread, NULL, submit_many, &submitters[i]),
                         0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(submitters[i].thread, NULL);
        assert_int_equal(submitters[i].done_count, COUNT);
    }
    assert_int_equal(owner.job_count, THREADS * COUNT);
    lane_free(owner.lane);
    free(submitters);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_thread_a_turn_does_all_that_waits_at_once),
        cmocka_unit_test(run_is_called_when_its_time_has_come_and_when_it_is_woken),
        cmocka_unit_test(a_job_may_be_given_back_in_a_later_run),
        cmocka_unit_test(closing_a_desk_without_a_thread_does_what_waits),
        cmocka_unit_test(what_comes_while_the_lane_is_busy_goes_together),
        cmocka_unit_test(a_thread_is_woken_by_the_clock),
        cmocka_unit_test(a_sleeping_shard_is_woken_when_its_jobs_come_back),
        cmocka_unit_test(an_io_is_not_touched_after_its_desk_was_closed),
        cmocka_unit_test(many_desks_mix_nothing_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
