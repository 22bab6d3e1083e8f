#include "core/access/throttle.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define S        UINT64_C(1000000000)
#define START_NS (1000 * S)

static struct throttle *throttle_made(void)
{
    struct throttle *throttle = throttle_new(7, 10000);
    const struct throttle_options options = {
        .failures_free = 3, .delay_max_ns = 30 * S, .wait_max_ns = 5 * S};
    throttle_set(throttle, &options);
    return throttle;
}

/* Who: an address of IPv4 as a number, and a name. */
struct who {
    uint8_t ip[4];
    struct throttle_who is;
};

static const struct throttle_who *who_at(struct who *who, uint32_t address, const char *identity)
{
    for (int i = 0; i < 4; i++) {
        who->ip[i] = (uint8_t)(address >> (24 - 8 * i));
    }
    who->is = (struct throttle_who){.ip = who->ip, .ip_bytes = 4, .identity = slice_text(identity)};
    return &who->is;
}

enum { HERE = 0x0a000001, THERE = 0xc0000201, OUTSIDE = 0x0b000000 };

/* One login: waits as long as it is told to. Returns how long it waited; UINT64_MAX: refused. */
static uint64_t login(struct throttle *throttle, uint32_t address, const char *identity,
                      bool is_right, uint64_t *now_ns)
{
    struct who who;
    struct throttle_ticket ticket = {0};
    uint64_t begin_ns = *now_ns, again_ns;
    const struct throttle_who *is = who_at(&who, address, identity);
    enum err err;
    while ((err = throttle_ask(throttle, &ticket, is, *now_ns, &again_ns)) == ERR_AGAIN) {
        assert_true(again_ns > *now_ns);
        *now_ns = again_ns;
    }
    if (err == ERR_CONNECT_RATE) {
        return UINT64_MAX;
    }
    assert_int_equal(err, OK);
    if (is_right) {
        throttle_succeeded(throttle, &ticket, is, *now_ns);
    } else {
        throttle_failed(throttle, &ticket, is, *now_ns);
    }
    return *now_ns - begin_ns;
}

static void nobody_is_delayed_without_failures(void **state)
{
    struct throttle *throttle = throttle_made();
    uint64_t now = START_NS;
    (void)state;
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(login(throttle, HERE, "alice", true, &now), 0);
    }
    throttle_free(throttle);
    throttle_free(NULL);
}

static void failures_double_the_delay_and_time_forgets_them(void **state)
{
    struct throttle *throttle = throttle_made();
    uint64_t now = START_NS;
    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(login(throttle, HERE, "alice", false, &now), 0);
    }
    assert_int_equal(login(throttle, HERE, "alice", false, &now), S / 2);
    assert_int_equal(login(throttle, HERE, "alice", false, &now), S);
    assert_int_equal(login(throttle, HERE, "alice", false, &now), 2 * S);
    assert_int_equal(login(throttle, HERE, "alice", false, &now), 4 * S);
    /* Eight seconds are more than anybody waits: refused, as often as it asks. */
    for (int i = 0; i < 100; i++) {
        assert_true(login(throttle, HERE, "alice", false, &now) == UINT64_MAX);
    }
    now += 4 * S; /* what was refused did not extend it */
    assert_int_equal(login(throttle, HERE, "alice", false, &now), 4 * S);
    now += 30 * S;
    assert_int_equal(login(throttle, HERE, "alice", false, &now), 0);
    assert_true(login(throttle, HERE, "alice", false, &now) == UINT64_MAX);
    now += 3600 * S;
    assert_int_equal(login(throttle, HERE, "alice", false, &now), 0);
    assert_int_equal(login(throttle, HERE, "alice", false, &now), 0);
    throttle_free(throttle);
}

static void a_success_forgets_the_failures(void **state)
{
    struct throttle *throttle = throttle_made();
    uint64_t now = START_NS;
    (void)state;
    for (int i = 0; i < 6; i++) {
        login(throttle, HERE, "alice", false, &now);
    }
    assert_int_equal(login(throttle, HERE, "alice", true, &now), 4 * S);
    assert_int_equal(login(throttle, HERE, "alice", false, &now), 0);
    assert_int_equal(login(throttle, HERE, "alice", true, &now), 0);
    throttle_free(throttle);
}

static void the_delay_has_a_ceiling(void **state)
{
    struct throttle *throttle = throttle_made();
    const struct throttle_options options = {
        .failures_free = 3, .delay_max_ns = 30 * S, .wait_max_ns = 1000 * S};
    uint64_t now = START_NS, waited = 0;
    (void)state;
    throttle_set(throttle, &options);
    for (int i = 0; i < 15; i++) {
        waited = login(throttle, HERE, "alice", false, &now);
    }
    assert_int_equal(waited, 30 * S);
    throttle_free(throttle);
}

static void the_owner_is_not_delayed_by_what_others_do_elsewhere(void **state)
{
    struct throttle *throttle = throttle_made();
    uint64_t now = START_NS;
    (void)state;
    assert_int_equal(login(throttle, HERE, "alice", true, &now), 0);
    for (uint32_t i = 0; i < 5000; i++) { /* his network too: the same /24 */
        uint64_t then = now;
        login(throttle, i % 2 ? OUTSIDE + i : (HERE & 0xffffff00) + 2 + i % 100, "alice", false,
              &then);
        now += S / 1000;
        if (i % 100 == 0) {
            assert_int_equal(login(throttle, HERE, "alice", true, &now), 0);
        }
    }
    throttle_free(throttle);
}

/* The same address, other names: a gateway of many devices, one of them broken, or worse. */
static void the_owner_is_not_delayed_by_others_at_his_address(void **state)
{
    struct throttle *throttle = throttle_made();
    uint64_t now = START_NS;
    char name[32];
    (void)state;
    assert_int_equal(login(throttle, HERE, "alice", true, &now), 0);
    for (int i = 0; i < 500; i++) {
        uint64_t then = now;
        snprintf(name, sizeof(name), "user%d", i);
        login(throttle, HERE, name, false, &then);
    }
    assert_int_equal(login(throttle, HERE, "alice", true, &now), 0);
    assert_true(login(throttle, HERE, "bob", true, &now) > 0);
    throttle_free(throttle);
}

static void a_broken_device_delays_nobody_behind_the_same_address(void **state)
{
    struct throttle *throttle = throttle_made();
    uint64_t now = START_NS;
    char name[32];
    (void)state;
    for (int i = 0; i < 3600; i++) {
        uint64_t then = now;
        login(throttle, HERE, "broken", false, &then); /* once a second */
        snprintf(name, sizeof(name), "device%d", i);
        assert_int_equal(login(throttle, HERE, name, true, &now), 0);
        now += S;
    }
    throttle_free(throttle);
}

static void a_spray_from_one_address_is_slowed(void **state)
{
    struct throttle *throttle = throttle_made();
    uint64_t now = START_NS;
    uint32_t checked = 0;
    char name[32];
    (void)state;
    for (int i = 0; i < 36000; i++) { /* ten a second for an hour, a new name each time */
        uint64_t then = now;
        snprintf(name, sizeof(name), "user%d", i);
        checked += login(throttle, HERE, name, false, &then) != UINT64_MAX;
        now += S / 10;
    }
    assert_in_range(checked, 20, 20 + 3600 / 5 + 40);
    throttle_free(throttle);
}

static void a_spray_from_a_network_is_slowed(void **state)
{
    struct throttle *throttle = throttle_made();
    uint64_t now = START_NS;
    uint32_t checked = 0;
    char name[32];
    (void)state;
    for (uint32_t i = 0; i < 60000; i++) { /* a hundred a second for ten minutes */
        uint64_t then = now;
        snprintf(name, sizeof(name), "user%u", i);
        checked += login(throttle, (HERE & 0xffffff00) + i % 256, name, false, &then) != UINT64_MAX;
        now += S / 100;
    }
    assert_in_range(checked, 100, 100 + 600 + 100);
    throttle_free(throttle);
}

/* From so many addresses that each is new: the owner who comes from a new one is not shut out. */
static void a_distributed_guess_delays_newcomers_but_refuses_none(void **state)
{
    struct throttle *throttle = throttle_made();
    uint64_t now = START_NS, longest = 0;
    (void)state;
    for (uint32_t i = 0; i < 2000; i++) {
        uint64_t then = now, owner = now;
        login(throttle, OUTSIDE + 256 * i, "alice", false, &then);
        if (i > 100 && i % 10 == 0) {
            uint64_t waited = login(throttle, THERE + i, "alice", true, &owner);
            assert_true(waited <= THROTTLE_LOTTERY_NS);
            longest = waited > longest ? waited : longest;
        }
        now += S / 10;
    }
    assert_true(longest > S);
    /* Who has failed a few times takes the moments one by one, and they are rare. */
    uint32_t checked = 0;
    for (uint32_t round = 0; round < 60; round++) {
        for (uint32_t i = 0; i < 20; i++) {
            uint64_t then = now;
            checked += login(throttle, OUTSIDE + 256 * 5000 + 256 * i, "alice", false, &then) !=
                       UINT64_MAX;
        }
        now += S;
    }
    assert_in_range(checked, 60, 60 + 20 + 5); /* three free each, one forgotten, next to nothing */
    throttle_free(throttle);
}

/* Checks that are under way are not known to fail yet: only so many are made at once. */
static void few_passwords_are_checked_at_once(void **state)
{
    struct throttle *throttle = throttle_made();
    struct throttle_ticket tickets[100] = {{0}};
    struct who who;
    const struct throttle_who *is = who_at(&who, HERE, "alice");
    uint64_t again_ns;
    uint32_t checked = 0, waiting = 0;
    (void)state;
    for (int i = 0; i < 100; i++) {
        enum err err = throttle_ask(throttle, &tickets[i], is, START_NS, &again_ns);
        checked += err == OK;
        waiting += err == ERR_AGAIN;
    }
    assert_int_equal(checked, THROTTLE_PENDING_MAX);
    assert_int_equal(waiting, 100 - THROTTLE_PENDING_MAX);
    /* Many devices of one user at one address, after an outage: all get in, one after the other. */
    uint64_t now = START_NS;
    while (checked < 100 && now < START_NS + 5 * S) {
        now += THROTTLE_RETRY_NS;
        for (int i = 0; i < 100; i++) {
            if (tickets[i].is_checking) {
                throttle_succeeded(throttle, &tickets[i], is, now);
            }
        }
        for (int i = 0; i < 100; i++) {
            if (tickets[i].is_waiting) {
                checked += throttle_ask(throttle, &tickets[i], is, now, &again_ns) == OK;
            }
        }
    }
    assert_int_equal(checked, 100);
    for (int i = 0; i < 100; i++) {
        throttle_gave_up(throttle, &tickets[i], is);
    }
    throttle_free(throttle);
}

static void who_gives_up_makes_room(void **state)
{
    struct throttle *throttle = throttle_made();
    struct who who;
    const struct throttle_who *is = who_at(&who, HERE, "alice");
    uint64_t again_ns;
    (void)state;
    for (int i = 0; i < 10000; i++) {
        struct throttle_ticket ticket = {0};
        assert_int_equal(throttle_ask(throttle, &ticket, is, START_NS, &again_ns), OK);
        throttle_gave_up(throttle, &ticket, is);
    }
    for (int i = 0; i < 4; i++) {
        uint64_t now = START_NS;
        login(throttle, HERE, "alice", false, &now);
    }
    for (int i = 0; i < THROTTLE_WAITING_MAX + 10; i++) {
        struct throttle_ticket ticket = {0};
        throttle_ask(throttle, &ticket, is, START_NS, &again_ns);
        throttle_gave_up(throttle, &ticket, is);
        throttle_gave_up(throttle, &ticket, is); /* once more: nothing */
    }
    throttle_free(throttle);
}

static void only_so_many_wait(void **state)
{
    struct throttle *throttle = throttle_made();
    static struct throttle_ticket tickets[2 * THROTTLE_WAITING_MAX];
    uint64_t again_ns, now = START_NS;
    uint32_t waiting = 0;
    struct who who;
    (void)state;
    for (uint32_t i = 0; i < 1000; i++) { /* so that newcomers are delayed */
        uint64_t then = now;
        login(throttle, OUTSIDE + 256 * i, "alice", false, &then);
    }
    for (uint32_t i = 0; i < 2 * THROTTLE_WAITING_MAX; i++) {
        const struct throttle_who *is = who_at(&who, THERE + 256 * i, "alice");
        waiting += throttle_ask(throttle, &tickets[i], is, now, &again_ns) == ERR_AGAIN;
    }
    assert_int_equal(waiting, THROTTLE_WAITING_MAX);
    for (uint32_t i = 0; i < 2 * THROTTLE_WAITING_MAX; i++) {
        throttle_gave_up(throttle, &tickets[i], who_at(&who, THERE + 256 * i, "alice"));
    }
    throttle_free(throttle);
}

/* All checks hang: who waits for one is refused in the end, and leaves no trace among those who wait. */
static void who_is_refused_after_waiting_waits_no_more(void **state)
{
    struct throttle *throttle = throttle_made();
    struct throttle_ticket checking[THROTTLE_PENDING_MAX] = {{0}}, last = {0};
    struct who who;
    const struct throttle_who *is = who_at(&who, HERE, "alice");
    uint64_t again_ns;
    (void)state;
    for (int i = 0; i < THROTTLE_PENDING_MAX; i++) {
        assert_int_equal(throttle_ask(throttle, &checking[i], is, START_NS, &again_ns), OK);
    }
    for (int i = 0; i < THROTTLE_WAITING_MAX + 10; i++) {
        uint64_t now = START_NS;
        assert_true(login(throttle, HERE, "alice", true, &now) == UINT64_MAX);
    }
    assert_int_equal(throttle_ask(throttle, &last, is, START_NS, &again_ns), ERR_AGAIN);
    throttle_gave_up(throttle, &last, is);
    for (int i = 0; i < THROTTLE_PENDING_MAX; i++) {
        throttle_gave_up(throttle, &checking[i], is);
    }
    throttle_free(throttle);
}

static void failures_do_not_push_out_who_was_good(void **state)
{
    struct throttle *throttle = throttle_new(7, 64); /* two of each in a stripe */
    const struct throttle_options options = {
        .failures_free = 3, .delay_max_ns = 30 * S, .wait_max_ns = 5 * S};
    uint64_t now = START_NS;
    char name[32];
    (void)state;
    throttle_set(throttle, &options);
    login(throttle, HERE, "alice", true, &now);
    for (uint32_t i = 0; i < 20000; i++) {
        uint64_t then = now;
        snprintf(name, sizeof(name), "user%u", i);
        login(throttle, OUTSIDE + 256 * i, i % 2 ? "alice" : name, false, &then);
    }
    assert_int_equal(login(throttle, HERE, "alice", true, &now), 0);
    throttle_free(throttle);
}

/* A host of IPv6 changes its address within its /64: that is no other host. */
static void hosts_of_ipv6_are_known_by_their_64(void **state)
{
    struct throttle *throttle = throttle_made();
    uint8_t ip[16] = {0x20, 1, 0xd, 0xb8};
    struct throttle_who who = {.ip = ip, .ip_bytes = 16, .identity = slice_text("alice")};
    struct throttle_ticket ticket = {0};
    uint64_t again_ns;
    enum err err = OK;
    (void)state;
    for (int i = 0; i < 100 && err == OK; i++) {
        ip[15] = (uint8_t)i;
        err = throttle_ask(throttle, &ticket, &who, START_NS, &again_ns);
        if (err == OK) {
            throttle_failed(throttle, &ticket, &who, START_NS);
        }
    }
    assert_int_equal(err, ERR_AGAIN);
    throttle_gave_up(throttle, &ticket, &who);
    struct throttle_who at_unix = {.identity = slice_text("alice")};
    assert_int_equal(throttle_ask(throttle, &ticket, &at_unix, START_NS, &again_ns), OK);
    throttle_succeeded(throttle, &ticket, &at_unix, START_NS);
    throttle_free(throttle);
}

enum { THREADS = 4, ROUNDS = 5000 };

static void *guess(void *context)
{
    struct throttle *throttle = context;
    char name[32];
    for (uint32_t i = 0; i < ROUNDS; i++) {
        uint64_t now = START_NS + i * S / 100;
        snprintf(name, sizeof(name), "user%u", i % 50);
        login(throttle, HERE + i % 7, name, i % 3 == 0, &now);
    }
    return NULL;
}

static void shards_share_it(void **state)
{
    struct throttle *throttle = throttle_new(7, 256);
    const struct throttle_options options = {
        .failures_free = 3, .delay_max_ns = 30 * S, .wait_max_ns = 5 * S};
    pthread_t threads[THREADS];
    (void)state;
    throttle_set(throttle, &options);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, guess, throttle), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    uint64_t now = START_NS;
    assert_int_equal(login(throttle, THERE, "fresh", true, &now), 0);
    throttle_free(throttle);
}

static void it_can_be_turned_off(void **state)
{
    struct throttle *throttle = throttle_made();
    const struct throttle_options off = {.failures_free = 0};
    uint64_t now = START_NS;
    (void)state;
    for (int i = 0; i < 10; i++) {
        login(throttle, HERE, "alice", false, &now);
    }
    throttle_set(throttle, &off);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(login(throttle, HERE, "alice", false, &now), 0);
    }
    throttle_free(throttle);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_is_delayed_without_failures),
        cmocka_unit_test(failures_double_the_delay_and_time_forgets_them),
        cmocka_unit_test(a_success_forgets_the_failures),
        cmocka_unit_test(the_delay_has_a_ceiling),
        cmocka_unit_test(the_owner_is_not_delayed_by_what_others_do_elsewhere),
        cmocka_unit_test(the_owner_is_not_delayed_by_others_at_his_address),
        cmocka_unit_test(a_broken_device_delays_nobody_behind_the_same_address),
        cmocka_unit_test(a_spray_from_one_address_is_slowed),
        cmocka_unit_test(a_spray_from_a_network_is_slowed),
        cmocka_unit_test(a_distributed_guess_delays_newcomers_but_refuses_none),
        cmocka_unit_test(few_passwords_are_checked_at_once),
        cmocka_unit_test(who_gives_up_makes_room),
        cmocka_unit_test(only_so_many_wait),
        cmocka_unit_test(who_is_refused_after_waiting_waits_no_more),
        cmocka_unit_test(failures_do_not_push_out_who_was_good),
        cmocka_unit_test(hosts_of_ipv6_are_known_by_their_64),
        cmocka_unit_test(shards_share_it),
        cmocka_unit_test(it_can_be_turned_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
