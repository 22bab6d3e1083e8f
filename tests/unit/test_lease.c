#include "cluster/lease.h"
#include "core/base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A leader with nodes 2 to count, all in incarnation 1, which looks every 100 ms. */
enum { STEP_MS = 100, BEGIN_MS = 50000 };

static struct lease_table table;
static struct lease_verdict verdict;
static uint64_t now_ms;

static void leader(uint32_t count)
{
    struct lease_config config = lease_config();
    verdict = (struct lease_verdict){0};
    now_ms = BEGIN_MS;
    lease_begin(&table, &config, now_ms);
    for (uint64_t number = 2; number <= count; number++) {
        assert_int_equal(lease_add(&table, number, 1, now_ms), OK);
    }
}

/* Time goes on; those whose bits are set ask for their leases meanwhile. */
static void pass(uint64_t ms, uint64_t asking)
{
    for (uint64_t end_ms = now_ms + ms; now_ms < end_ms && !verdict.count;) {
        now_ms += STEP_MS;
        for (uint64_t number = 2; number < 64; number++) {
            if (asking >> number & 1) {
                lease_renew(&table, number, 1, now_ms);
            }
        }
        lease_turn(&table, now_ms, &verdict);
    }
}

static enum lease_state state_of(uint64_t number)
{
    enum lease_state state;
    assert_int_equal(lease_look(&table, number, now_ms, &state), OK);
    return state;
}

enum { N2 = 1 << 2, N3 = 1 << 3, N4 = 1 << 4, N5 = 1 << 5 };

/* ---- the leader's table ---------------------------------------------------------------------------- */

static void a_silent_node_is_suspected_lapses_and_is_gone(void **state)
{
    (void)state;
    leader(3);
    pass(900, N2);
    assert_int_equal(state_of(3), LEASE_LIVE);
    pass(100, N2);
    assert_int_equal(state_of(3), LEASE_SUSPECT);
    pass(1000, N2);
    assert_int_equal(state_of(3), LEASE_LAPSED);
    pass(1900, N2);
    assert_int_equal(verdict.count, 0);
    pass(100, N2);
    assert_int_equal(state_of(3), LEASE_GONE);
    assert_int_equal(state_of(2), LEASE_LIVE);
    assert_int_equal(verdict.count, 1);
    assert_int_equal(verdict.numbers[0], 3);
    assert_int_equal(verdict.incarnations[0], 1);
    assert_int_equal(now_ms, BEGIN_MS + 4000);
    lease_turn(&table, now_ms + 100, &verdict); /* again, until REG has it */
    assert_int_equal(verdict.count, 1);
    lease_forget(&table, 3);
    lease_turn(&table, now_ms + 200, &verdict);
    assert_int_equal(verdict.count, 0);
}

static void a_frame_allays_suspicion_and_prolongs_nothing(void **state)
{
    (void)state;
    leader(3);
    for (int i = 0; i < 39; i++) {
        lease_heard(&table, 3, now_ms + STEP_MS);
        pass(STEP_MS, N2);
        assert_true(state_of(3) != LEASE_SUSPECT);
    }
    assert_int_equal(state_of(3), LEASE_LAPSED);
    pass(STEP_MS, N2);
    assert_int_equal(verdict.count, 1);
}

static void a_renewal_counts_from_when_it_is_heard(void **state)
{
    (void)state;
    leader(3);
    pass(1900, N2);
    assert_int_equal(lease_renew(&table, 3, 1, now_ms), OK);
    pass(3900, N2);
    assert_int_equal(verdict.count, 0);
    pass(100, N2);
    assert_int_equal(verdict.count, 1);
}

static void an_older_incarnation_keeps_nobody_alive(void **state)
{
    (void)state;
    leader(3);
    assert_int_equal(lease_add(&table, 3, 2, now_ms), OK); /* it started again */
    assert_int_equal(lease_renew(&table, 3, 1, now_ms + 5), ERR_INVALID);
    assert_int_equal(lease_renew(&table, 3, 2, now_ms + 5), OK);
    assert_int_equal(lease_renew(&table, 9, 1, now_ms), ERR_NOT_FOUND);
    lease_forget(&table, 3);
    assert_int_equal(lease_renew(&table, 3, 2, now_ms), ERR_NOT_FOUND);
}

static void being_told_of_a_member_again_grants_it_nothing(void **state)
{
    (void)state;
    leader(3);
    for (int i = 0; i < 40; i++) {
        assert_int_equal(lease_add(&table, 3, 1, now_ms), OK);
        pass(STEP_MS, N2);
    }
    assert_int_equal(verdict.count, 1);
}

static void a_new_leader_waits_a_full_lease_before_it_declares_anybody(void **state)
{
    struct lease_config config = lease_config();
    (void)state;
    leader(3);
    pass(3900, N2);
    assert_int_equal(verdict.count, 0);
    uint64_t begin_ms = now_ms + 50; /* another one is elected */
    now_ms = begin_ms;
    lease_begin(&table, &config, now_ms);
    lease_add(&table, 3, 1, now_ms);
    lease_add(&table, 4, 1, now_ms);
    pass(3900, N4);
    assert_int_equal(verdict.count, 0);
    pass(100, N4);
    assert_int_equal(verdict.count, 1);
    assert_int_equal(now_ms, begin_ms + 4000);
}

/* The leader is stopped for a minute; what was said to it waits in its sockets. */
static void a_leader_that_was_away_itself_blames_nobody(void **state)
{
    (void)state;
    leader(5);
    pass(1000, N2 | N3 | N4 | N5);
    now_ms += 60000;
    lease_turn(&table, now_ms, &verdict);
    assert_true(verdict.was_away);
    assert_int_equal(verdict.count, 0);
    assert_int_equal(table.away_count, 1);
    pass(3900, N2 | N3 | N4);
    assert_false(verdict.was_away);
    assert_int_equal(verdict.count, 0);
    pass(100, N2 | N3 | N4); /* and 5 is dead indeed */
    assert_int_equal(verdict.count, 1);
    assert_int_equal(verdict.numbers[0], 5);
}

static void a_clock_that_goes_back_harms_nobody(void **state)
{
    (void)state;
    leader(3);
    pass(1000, N2 | N3);
    lease_renew(&table, 3, 1, now_ms - 900);
    lease_turn(&table, now_ms - 900, &verdict);
    assert_int_equal(verdict.count, 0);
    assert_false(verdict.was_away);
    pass(3900, N2);
    assert_int_equal(verdict.count, 0);
    pass(100, N2);
    assert_int_equal(verdict.count, 1);
}

static void when_more_than_a_third_lapse_at_once_it_waits_and_says_so(void **state)
{
    (void)state;
    leader(6);           /* with itself six */
    pass(9000, N2 | N3); /* 4, 5 and 6 of six */
    assert_int_equal(verdict.count, 0);
    assert_true(verdict.is_held);
    assert_int_equal(verdict.held_of, 3);
    assert_int_equal(verdict.all, 6);
    assert_int_equal(table.held_count, 1);
    pass(100, N2 | N3 | N4 | N5); /* they come back, but for one: that is no more than a third */
    assert_int_equal(verdict.count, 1);
    assert_int_equal(verdict.numbers[0], 6);
    assert_false(verdict.is_held);
}

static void the_guard_ends(void **state)
{
    (void)state;
    leader(5);
    pass(11900, N2 | N3);
    assert_int_equal(verdict.count, 0);
    assert_true(verdict.is_held);
    pass(100, N2 | N3); /* it began when they lapsed, after two seconds */
    assert_int_equal(verdict.count, 2);
    assert_false(verdict.is_held);
}

/* They do not lapse at the very same time: the first one is not declared while the rest follow. */
static void those_that_follow_in_a_moment_are_counted_by_the_guard(void **state)
{
    (void)state;
    leader(6);
    pass(1000, N2 | N3 | N4 | N5);
    pass(1000, N2 | N3 | N5); /* 6 is silent since one second, 4 from now on, 5 soon */
    pass(5000, N2 | N3);
    assert_int_equal(verdict.count, 0);
    assert_true(verdict.is_held);
}

static void a_third_is_believed_and_more_is_not(void **state)
{
    (void)state;
    assert_false(lease_are_too_many(1, 3));
    assert_true(lease_are_too_many(2, 3));
    assert_true(lease_are_too_many(2, 5));
    assert_false(lease_are_too_many(2, 6));
    assert_false(lease_are_too_many(0, 1));
    assert_true(lease_are_too_many(UINT32_MAX, UINT32_MAX));
}

static void the_table_is_bounded(void **state)
{
    (void)state;
    leader(1);
    for (uint64_t number = 1; number <= REGISTRY_MEMBERS_MAX; number++) {
        assert_int_equal(lease_add(&table, number, 1, now_ms), OK);
    }
    assert_int_equal(lease_add(&table, 99, 1, now_ms), ERR_LIMIT);
    lease_turn(&table, now_ms + 100, &verdict);
    assert_int_equal(verdict.count, 0);
}

/* ---- the node's own side --------------------------------------------------------------------------- */

static void a_node_believes_from_when_it_asked(void **state)
{
    struct lease_own own = {0};
    (void)state;
    lease_own_begin(&own, 1);
    assert_false(lease_own_is_live(&own, 0));
    uint64_t id = lease_own_ask(&own, 1000);
    assert_false(lease_own_is_live(&own, 1000));
    /* The answer comes at 2500. */
    assert_int_equal(lease_own_granted(&own, id, 1, 2000), OK);
    assert_true(lease_own_is_live(&own, 2999));
    assert_false(lease_own_is_live(&own, 3000));
}

static void an_answer_that_comes_late_takes_nothing_back(void **state)
{
    struct lease_own own = {0};
    (void)state;
    lease_own_begin(&own, 1);
    uint64_t first = lease_own_ask(&own, 1000), second = lease_own_ask(&own, 1500);
    lease_own_ask(&own, 1900); /* which nobody answers */
    assert_int_equal(lease_own_granted(&own, second, 1, 2000), OK);
    assert_int_equal(lease_own_granted(&own, first, 1, 2000), OK);
    assert_true(lease_own_is_live(&own, 3499));
    assert_false(lease_own_is_live(&own, 3500));
    assert_int_equal(lease_own_granted(&own, 99, 1, 2000), ERR_NOT_FOUND);
    assert_int_equal(lease_own_granted(&own, 0, 1, 2000), ERR_NOT_FOUND);
    for (int i = 0; i < LEASE_ASKED_MAX; i++) {
        lease_own_ask(&own, 5000);
    }
    assert_int_equal(lease_own_granted(&own, second, 1, 2000), ERR_NOT_FOUND);
}

static void an_answer_to_an_older_incarnation_grants_nothing(void **state)
{
    struct lease_own own = {0};
    (void)state;
    lease_own_begin(&own, 1);
    uint64_t id = lease_own_ask(&own, 1000);
    lease_own_begin(&own, 2);
    assert_int_equal(lease_own_granted(&own, id, 1, 2000), ERR_INVALID);
    assert_int_equal(lease_own_granted(&own, id, 2, 2000), ERR_NOT_FOUND);
    assert_false(lease_own_is_live(&own, 1001));
    assert_true(lease_own_ask(&own, 1000) > id);
}

/* ---- both ------------------------------------------------------------------------------------------ */

/*
 * A node and a leader on clocks of their own: they begin anywhere, drift by up to 10 %, and stand
 * still for its process only, never its clock: it does not read it meanwhile. Requests and answers take
 * any time, or are lost; leaders change, and a deposed one grants for another second.
 */
struct world {
    struct rng rng;
    struct lease_table tables[2]; /* of the leader, and of the one before it */
    struct lease_own own;
    uint64_t real_ms, offset_ms[3], deposed_ms;
    uint32_t rate[3]; /* thousandths: of the node, of each leader */
    struct {
        uint64_t at_ms, id;
        int to; /* a leader; NODE: an answer */
    } mail[64];
    int mail_count;
};
enum { NODE = 2 };

static uint64_t clock_of(const struct world *world, int who)
{
    return world->offset_ms[who] + world->real_ms * world->rate[who] / 1000;
}

static void post(struct world *world, int to, uint64_t id)
{
    if (world->mail_count < 64 && rng_below(&world->rng, 4) > 0) {
        world->mail[world->mail_count].to = to;
        world->mail[world->mail_count].id = id;
        world->mail[world->mail_count++].at_ms = world->real_ms + rng_below(&world->rng, 900);
    }
}

static void mail_comes(struct world *world)
{
    for (int i = 0; i < world->mail_count; i++) {
        if (world->mail[i].at_ms > world->real_ms) {
            continue;
        }
        int to = world->mail[i].to;
        uint64_t id = world->mail[i].id;
        world->mail[i--] = world->mail[--world->mail_count];
        if (to == NODE) {
            lease_own_granted(&world->own, id, 1, 2000);
        } else if (to == 0 || world->real_ms < world->deposed_ms + 1000) {
            if (lease_renew(&world->tables[to], 2, 1, clock_of(world, to)) == OK) {
                post(world, NODE, id);
            }
        }
    }
}

static void nobody_is_declared_gone_who_believes_to_be_live(void **state)
{
    enum { WORLDS = 300, STEPS = 400 };
    uint32_t gone = 0, live = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= WORLDS; seed++) {
        struct lease_config config = lease_config();
        struct world world = {.real_ms = 0};
        rng_init(&world.rng, seed);
        for (int i = 0; i < 3; i++) {
            world.offset_ms[i] = rng_below(&world.rng, 1u << 30);
            world.rate[i] = 900 + (uint32_t)rng_below(&world.rng, 201);
        }
        lease_own_begin(&world.own, 1);
        lease_begin(&world.tables[0], &config, clock_of(&world, 0));
        lease_add(&world.tables[0], 2, 1, clock_of(&world, 0));
        lease_add(&world.tables[0], 3, 1, clock_of(&world, 0));
        bool is_cut = false;
        for (int step = 0; step < STEPS; step++) {
            world.real_ms += 1 + rng_below(&world.rng, 100);
            is_cut = rng_below(&world.rng, 60) == 0 ? !is_cut : is_cut;
            if (rng_below(&world.rng, 8) == 0 && !is_cut) {
                uint64_t id = lease_own_ask(&world.own, clock_of(&world, NODE));
                post(&world, 0, id);
                post(&world, 1, id);
            }
            mail_comes(&world);
            if (rng_below(&world.rng, 150) == 0) { /* elected anew */
                world.tables[1] = world.tables[0];
                world.offset_ms[1] = world.offset_ms[0];
                world.rate[1] = world.rate[0];
                world.deposed_ms = world.real_ms;
                world.offset_ms[0] = rng_below(&world.rng, 1u << 30);
                lease_begin(&world.tables[0], &config, clock_of(&world, 0));
                lease_add(&world.tables[0], 2, 1, clock_of(&world, 0));
                lease_add(&world.tables[0], 3, 1, clock_of(&world, 0));
            }
            if (rng_below(&world.rng, 100) == 0) { /* the leader is stopped */
                world.real_ms += rng_below(&world.rng, 10000);
            }
            lease_renew(&world.tables[0], 3, 1, clock_of(&world, 0));
            lease_turn(&world.tables[0], clock_of(&world, 0), &verdict);
            bool believes = lease_own_is_live(&world.own, clock_of(&world, NODE));
            live += believes;
            if (verdict.count > 0) {
                assert_int_equal(verdict.numbers[0], 2);
                assert_false(believes); /* I1 */
                gone++;
                break;
            }
        }
    }
    assert_true(gone > WORLDS / 4 && live > WORLDS * 20); /* both were seen often */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_silent_node_is_suspected_lapses_and_is_gone),
        cmocka_unit_test(a_frame_allays_suspicion_and_prolongs_nothing),
        cmocka_unit_test(a_renewal_counts_from_when_it_is_heard),
        cmocka_unit_test(an_older_incarnation_keeps_nobody_alive),
        cmocka_unit_test(being_told_of_a_member_again_grants_it_nothing),
        cmocka_unit_test(a_new_leader_waits_a_full_lease_before_it_declares_anybody),
        cmocka_unit_test(a_leader_that_was_away_itself_blames_nobody),
        cmocka_unit_test(a_clock_that_goes_back_harms_nobody),
        cmocka_unit_test(when_more_than_a_third_lapse_at_once_it_waits_and_says_so),
        cmocka_unit_test(the_guard_ends),
        cmocka_unit_test(those_that_follow_in_a_moment_are_counted_by_the_guard),
        cmocka_unit_test(a_third_is_believed_and_more_is_not),
        cmocka_unit_test(the_table_is_bounded),
        cmocka_unit_test(a_node_believes_from_when_it_asked),
        cmocka_unit_test(an_answer_that_comes_late_takes_nothing_back),
        cmocka_unit_test(an_answer_to_an_older_incarnation_grants_nothing),
        cmocka_unit_test(nobody_is_declared_gone_who_believes_to_be_live),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
