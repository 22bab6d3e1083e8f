#include "bench/crew/crew.h"
#include "bench/crew/crew_room.h"
#include "bench/load/load.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SECOND_NS ((uint64_t)1000000000)

enum { MEMBER_COUNT = 3, PUBLISHER_COUNT = 7 };

static uint64_t now_ns;

static uint64_t clock_by_hand(void)
{
    return now_ns;
}

static struct crew_room *new_room(uint32_t count)
{
    struct crew_room_config config = {.count = count, .clock_ns = clock_by_hand};
    now_ns = SECOND_NS;
    struct crew_room *room = crew_room_new(&config);
    assert_non_null(room);
    return room;
}

static struct crew_room *new_ruled_room(uint32_t count, uint32_t first, uint32_t here_count)
{
    struct crew_room_config config = {.count = count,
                                      .is_ruled = true,
                                      .first = first,
                                      .here_count = here_count,
                                      .clock_ns = clock_by_hand};
    now_ns = SECOND_NS;
    struct crew_room *room = crew_room_new(&config);
    assert_non_null(room);
    return room;
}

static void a_generator_alone_waits_for_nobody(void **state)
{
    uint64_t sent = 5;
    (void)state;
    assert_int_equal(crew_index(NULL), 0);
    assert_int_equal(crew_count(NULL), 1);
    assert_true(crew_owns(NULL, 17));
    assert_int_equal(crew_own_count(NULL, 17), 17);
    crew_arrive(NULL, CREW_DRAINED);
    assert_true(crew_all_arrived(NULL, CREW_READY));
    crew_fail(NULL, "nobody hears this");
    assert_false(crew_is_failed(NULL));
    crew_share_sent(NULL, &sent, 1);
    assert_null(crew_sent(NULL));
    assert_true(crew_common_ns(NULL, 42) == 42);
    uint64_t before_ns = load_clock_ns();
    assert_true(crew_begin_ns(NULL) >= before_ns);
    assert_true(crew_measures(NULL));
}

static void every_thing_belongs_to_exactly_one_member(void **state)
{
    (void)state;
    struct crew_room *room = new_room(MEMBER_COUNT);
    for (uint32_t total = 0; total < 10; total++) {
        uint32_t sum = 0;
        for (uint32_t i = 0; i < MEMBER_COUNT; i++) {
            struct crew *crew = crew_room_member(room, i);
            uint32_t owned = 0;
            for (uint32_t thing = 0; thing < total; thing++) {
                owned += crew_owns(crew, thing) ? 1 : 0;
            }
            assert_int_equal(owned, crew_own_count(crew, total));
            sum += owned;
        }
        assert_int_equal(sum, total);
    }
    crew_room_free(room);
}

static void a_stage_is_passed_when_the_last_has_arrived(void **state)
{
    (void)state;
    struct crew_room *room = new_room(2);
    struct crew *a = crew_room_member(room, 0), *b = crew_room_member(room, 1);
    crew_arrive(a, CREW_READY);
    assert_false(crew_all_arrived(a, CREW_READY));
    assert_false(crew_all_arrived(b, CREW_READY));
    now_ns += 5 * SECOND_NS;
    crew_arrive(b, CREW_READY);
    assert_true(crew_all_arrived(a, CREW_READY));
    assert_true(crew_all_arrived(b, CREW_READY));
    assert_false(crew_all_arrived(b, CREW_SENT));
    assert_true(crew_begin_ns(a) > now_ns); /* time for all to hear of it */
    assert_true(crew_begin_ns(a) == crew_begin_ns(b));
    assert_false(crew_is_failed(a));
    crew_room_free(room);
}

static void what_each_sent_is_added_up(void **state)
{
    uint64_t by_a[] = {1, 0, 3}, by_b[] = {0, 20, 0};
    (void)state;
    struct crew_room *room = new_room(2);
    struct crew *a = crew_room_member(room, 0), *b = crew_room_member(room, 1);
    crew_arrive(a, CREW_READY);
    crew_arrive(b, CREW_READY);
    crew_share_sent(a, by_a, 3);
    crew_arrive(a, CREW_SENT);
    crew_share_sent(b, by_b, 3);
    crew_arrive(b, CREW_SENT);
    assert_true(crew_all_arrived(a, CREW_SENT));
    const uint64_t *sent = crew_sent(a);
    assert_true(sent[0] == 1 && sent[1] == 20 && sent[2] == 3);
    assert_ptr_equal(crew_sent(b), sent);
    crew_room_free(room);
}

static void counts_that_do_not_fit_fail_the_crew(void **state)
{
    uint64_t sent[] = {1, 2, 3};
    char problem[CREW_PROBLEM_BYTES];
    (void)state;
    struct crew_room *room = new_room(2);
    crew_share_sent(crew_room_member(room, 0), sent, 3);
    crew_share_sent(crew_room_member(room, 1), sent, 2);
    assert_true(crew_room_problem(room, problem));
    assert_non_null(strstr(problem, "generator 1"));
    crew_room_free(room);
    room = new_room(2);
    crew_share_sent(crew_room_member(room, 0), sent, CREW_PUBLISHERS_MAX + 1); /* not even read */
    assert_true(crew_room_problem(room, problem));
    assert_non_null(strstr(problem, "1000001"));
    crew_room_free(room);
}

static void one_failure_ends_all_and_the_first_one_is_told(void **state)
{
    char problem[CREW_PROBLEM_BYTES];
    (void)state;
    struct crew_room *room = new_room(MEMBER_COUNT);
    strcpy(problem, "untouched");
    assert_false(crew_room_problem(room, problem));
    assert_string_equal(problem, "untouched");
    crew_room_name(room, 1, "10.0.0.2:7883");
    crew_fail(crew_room_member(room, 1), "the broker refused client 7");
    crew_fail(crew_room_member(room, 2), "me too");
    for (uint32_t i = 0; i < MEMBER_COUNT; i++) {
        assert_true(crew_is_failed(crew_room_member(room, i)));
        crew_arrive(crew_room_member(room, i), CREW_READY); /* C3: no stage is passed any more */
        assert_false(crew_all_arrived(crew_room_member(room, i), CREW_READY));
        assert_true(crew_begin_ns(crew_room_member(room, i)) <= load_clock_ns());
        assert_null(crew_sent(crew_room_member(room, i)));
    }
    assert_true(crew_room_problem(room, problem));
    assert_string_equal(problem, "10.0.0.2:7883: the broker refused client 7");
    crew_room_free(room);
}

static void a_missing_member_is_named_when_patience_ends(void **state)
{
    char problem[CREW_PROBLEM_BYTES];
    (void)state;
    struct crew_room *room = new_room(MEMBER_COUNT);
    struct crew *a = crew_room_member(room, 0);
    now_ns += 100000 * SECOND_NS; /* nobody has arrived: nobody is late */
    assert_false(crew_all_arrived(a, CREW_READY));
    assert_false(crew_is_failed(a));
    crew_arrive(a, CREW_READY);
    crew_arrive(crew_room_member(room, 2), CREW_READY);
    now_ns += 119 * SECOND_NS;
    assert_false(crew_all_arrived(a, CREW_READY));
    assert_false(crew_is_failed(a));
    now_ns += 2 * SECOND_NS;
    assert_false(crew_all_arrived(a, CREW_READY));
    assert_true(crew_is_failed(a));
    assert_true(crew_room_problem(room, problem));
    assert_string_equal(problem, "generator 1 is missing at stage 'ready' after 120 s");
    crew_room_free(room);
}

static void who_leaves_between_stages_fails_the_crew(void **state)
{
    char problem[CREW_PROBLEM_BYTES];
    (void)state;
    struct crew_room *room = new_room(2);
    crew_room_leave(room, 0, OK); /* a scenario without stages */
    assert_false(crew_room_problem(room, problem));
    crew_arrive(crew_room_member(room, 1), CREW_READY);
    crew_room_leave(room, 1, OK);
    assert_true(crew_room_problem(room, problem));
    assert_string_equal(problem, "generator 1 ended before stage 'sent'");
    crew_room_free(room);

    room = new_room(2);
    crew_room_leave(room, 1, ERR_TIMEOUT);
    assert_true(crew_room_problem(room, problem));
    assert_string_equal(problem, "generator 1: time ran out");
    crew_room_free(room);
}

static void a_ruled_room_waits_for_its_leader(void **state)
{
    uint64_t own[] = {0, 5}, of_all[] = {7, 5}, begin_ns = 0;
    uint32_t count;
    (void)state;
    struct crew_room *room = new_ruled_room(4, 2, 2);
    struct crew *a = crew_room_member(room, 2), *b = crew_room_member(room, 3);
    assert_false(crew_measures(a));
    crew_arrive(a, CREW_READY);
    assert_false(crew_room_here(room, CREW_READY));
    crew_arrive(b, CREW_READY);
    assert_true(crew_room_here(room, CREW_READY));
    now_ns += 100000 * SECOND_NS; /* patience is the leader's */
    assert_false(crew_all_arrived(a, CREW_READY));
    assert_false(crew_is_failed(a));
    assert_false(crew_room_passed(room, CREW_READY, &begin_ns));

    crew_room_set_offset(room, -1000);
    crew_room_pass(room, CREW_READY, 50000);
    assert_true(crew_all_arrived(b, CREW_READY));
    assert_true(crew_begin_ns(b) == 51000);
    assert_true(crew_common_ns(b, 51000) == 50000);
    assert_true(crew_local_ns(b, 50000) == 51000);
    assert_true(crew_room_passed(room, CREW_READY, &begin_ns) && begin_ns == 50000);

    crew_share_sent(a, own, 2);
    crew_arrive(a, CREW_SENT);
    crew_arrive(b, CREW_SENT);
    const uint64_t *given = crew_room_sent(room, &count);
    assert_int_equal(count, 2);
    assert_true(given[0] == 0 && given[1] == 5);
    assert_int_equal(crew_room_set_sent(room, of_all, 2), OK);
    crew_room_pass(room, CREW_SENT, 0);
    assert_true(crew_sent(a)[0] == 7 && crew_sent(a)[1] == 5);
    assert_true(crew_begin_ns(b) == 51000);
    crew_room_free(room);
}

static void only_who_was_told_of_the_broker_measures_it(void **state)
{
    (void)state;
    struct crew_room *room = new_room(2);
    assert_true(crew_measures(crew_room_member(room, 0)));
    assert_false(crew_measures(crew_room_member(room, 1)));
    crew_room_free(room);
    room = new_ruled_room(2, 0, 1); /* the first agent, whose leader generates nothing */
    assert_false(crew_measures(crew_room_member(room, 0)));
    crew_room_free(room);
}

static void nothing_is_passed_in_a_ruled_room_that_failed(void **state)
{
    (void)state;
    struct crew_room *room = new_ruled_room(2, 1, 1);
    struct crew *crew = crew_room_member(room, 1);
    crew_arrive(crew, CREW_READY);
    crew_room_fail(room, "the leader is gone");
    crew_room_pass(room, CREW_READY, 1);
    assert_false(crew_all_arrived(crew, CREW_READY));
    assert_true(crew_is_failed(crew));
    crew_room_free(room);
}

/* ---- with threads ---------------------------------------------------------------------------- */

struct walker {
    struct crew *crew;
    uint32_t fails_at; /* a stage, or CREW_STAGE_COUNT */
    uint64_t begin_ns, sum;
    bool is_through;
};

static bool wait_for(struct crew *crew, enum crew_stage stage)
{
    while (!crew_all_arrived(crew, stage)) {
        if (crew_is_failed(crew)) {
            return false;
        }
        sched_yield();
    }
    return true;
}

static void *walk(void *context)
{
    struct walker *walker = context;
    for (enum crew_stage stage = 0; stage < CREW_STAGE_COUNT; stage++) {
        if (walker->fails_at == (uint32_t)stage) {
            crew_fail(walker->crew, "as told");
            return NULL;
        }
        if (stage == CREW_SENT) {
            uint64_t sent[PUBLISHER_COUNT] = {0};
            for (uint32_t i = 0; i < PUBLISHER_COUNT; i++) {
                sent[i] = crew_owns(walker->crew, i) ? 100 + i : 0;
            }
            crew_share_sent(walker->crew, sent, PUBLISHER_COUNT);
        }
        crew_arrive(walker->crew, stage);
        if (!wait_for(walker->crew, stage)) {
            return NULL;
        }
        if (stage == CREW_READY) {
            walker->begin_ns = crew_begin_ns(walker->crew);
        }
        for (uint32_t i = 0; stage == CREW_SENT && i < PUBLISHER_COUNT; i++) {
            walker->sum += crew_sent(walker->crew)[i];
        }
    }
    walker->is_through = true;
    return NULL;
}

static void run_walkers(struct walker walkers[MEMBER_COUNT], struct crew_room *room)
{
    pthread_t threads[MEMBER_COUNT];
    for (uint32_t i = 0; i < MEMBER_COUNT; i++) {
        walkers[i].crew = crew_room_member(room, i);
        assert_int_equal(pthread_create(&threads[i], NULL, walk, &walkers[i]), 0);
    }
    for (uint32_t i = 0; i < MEMBER_COUNT; i++) {
        pthread_join(threads[i], NULL);
    }
}

static void threads_walk_through_all_stages_together(void **state)
{
    struct walker walkers[MEMBER_COUNT];
    struct crew_room_config config = {.count = MEMBER_COUNT};
    (void)state;
    struct crew_room *room = crew_room_new(&config);
    for (uint32_t i = 0; i < MEMBER_COUNT; i++) {
        walkers[i] = (struct walker){.fails_at = CREW_STAGE_COUNT};
    }
    run_walkers(walkers, room);
    for (uint32_t i = 0; i < MEMBER_COUNT; i++) {
        assert_true(walkers[i].is_through);
        assert_true(walkers[i].begin_ns == walkers[0].begin_ns);
        assert_true(walkers[i].sum == 7 * 100 + 21);
    }
    crew_room_free(room);
}

static void a_thread_that_fails_frees_those_that_wait(void **state)
{
    char problem[CREW_PROBLEM_BYTES];
    (void)state;
    for (uint32_t stage = 0; stage < CREW_STAGE_COUNT; stage++) {
        struct walker walkers[MEMBER_COUNT];
        struct crew_room_config config = {.count = MEMBER_COUNT};
        struct crew_room *room = crew_room_new(&config);
        for (uint32_t i = 0; i < MEMBER_COUNT; i++) {
            walkers[i] = (struct walker){.fails_at = i == 2 ? stage : CREW_STAGE_COUNT};
        }
        run_walkers(walkers, room);
        for (uint32_t i = 0; i < MEMBER_COUNT; i++) {
            assert_false(walkers[i].is_through);
        }
        assert_true(crew_room_problem(room, problem));
        assert_string_equal(problem, "generator 2: as told");
        crew_room_free(room);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_generator_alone_waits_for_nobody),
        cmocka_unit_test(every_thing_belongs_to_exactly_one_member),
        cmocka_unit_test(a_stage_is_passed_when_the_last_has_arrived),
        cmocka_unit_test(what_each_sent_is_added_up),
        cmocka_unit_test(counts_that_do_not_fit_fail_the_crew),
        cmocka_unit_test(one_failure_ends_all_and_the_first_one_is_told),
        cmocka_unit_test(a_missing_member_is_named_when_patience_ends),
        cmocka_unit_test(who_leaves_between_stages_fails_the_crew),
        cmocka_unit_test(a_ruled_room_waits_for_its_leader),
        cmocka_unit_test(only_who_was_told_of_the_broker_measures_it),
        cmocka_unit_test(nothing_is_passed_in_a_ruled_room_that_failed),
        cmocka_unit_test(threads_walk_through_all_stages_together),
        cmocka_unit_test(a_thread_that_fails_frees_those_that_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
