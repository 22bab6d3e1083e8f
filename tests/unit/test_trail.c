#include "core/base/trail.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static struct trail *trail;
static struct trail_record found[TRAIL_RECORDS];

static int open_trail(void **state)
{
    (void)state;
    trail = trail_new(42);
    return trail == NULL ? -1 : 0;
}

static int close_trail(void **state)
{
    (void)state;
    trail_free(trail);
    return 0;
}

static struct trail_peer peer4(uint8_t a, uint8_t b, uint8_t c, uint8_t d)
{
    return (struct trail_peer){.kind = 1, .port = 40000, .ip = {a, b, c, d}};
}

static uint32_t find_client(const char *client)
{
    struct trail_query query = {.client = slice_text(client)};
    return trail_find(trail, &query, found, TRAIL_RECORDS);
}

static uint32_t find_peer(struct trail_peer peer)
{
    struct trail_query query = {.peer = peer};
    return trail_find(trail, &query, found, TRAIL_RECORDS);
}

static void drop(uint64_t wall_ms, const char *client, const char *topic)
{
    trail_add(trail, wall_ms,
              &(struct trail_event){.what = TRAIL_DROP_EXPIRED,
                                    .why = ERR_QUOTA,
                                    .client = slice_text(client),
                                    .topic = slice_text(topic)});
}

static void a_story_is_told_newest_first_and_of_one_client_alone(void **state)
{
    char topic[16];
    (void)state;
    assert_int_equal(find_client("c1"), 0);
    for (uint64_t i = 1; i <= 5; i++) {
        snprintf(topic, sizeof(topic), "t/%llu", (unsigned long long)i);
        drop(i * 100, "c1", topic);
        drop(i * 100, "c2", topic);
    }
    assert_int_equal(find_client("c1"), 5);
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(found[i].first_ms, (5 - i) * 100);
        assert_int_equal(found[i].last_ms, (5 - i) * 100);
        assert_int_equal(found[i].what, TRAIL_DROP_EXPIRED);
        assert_int_equal(found[i].why, ERR_QUOTA);
        assert_int_equal(found[i].count, 1);
        assert_true(slice_is(slice_of(found[i].client, found[i].client_bytes), "c1"));
        assert_int_equal(found[i].topic[2], '5' - (char)i);
    }
    assert_int_equal(find_client("c3"), 0);
    struct trail_query query = {.client = slice_text("c1")};
    assert_int_equal(trail_find(trail, &query, found, 2), 2); /* the newest of them */
    assert_int_equal(found[1].last_ms, 400);
}

static void all_that_was_told_is_kept(void **state)
{
    struct trail_event event = {.what = TRAIL_PUBLISH_DENIED,
                                .why = ERR_NOT_AUTHORIZED,
                                .client = slice_text("c"),
                                .user = slice_text("alice"),
                                .topic = slice_text("secret/a"),
                                .detail = slice_text("acl.conf:12 topic deny secret/#"),
                                .peer = peer4(10, 1, 2, 3),
                                .packet_id = 7,
                                .qos = 1};
    (void)state;
    trail_add(trail, 1000, &event);
    assert_int_equal(find_client("c"), 1);
    assert_true(slice_is(slice_of(found[0].user, found[0].user_bytes), "alice"));
    assert_true(slice_is(slice_of(found[0].topic, found[0].topic_bytes), "secret/a"));
    assert_true(slice_is(slice_of(found[0].detail, found[0].detail_bytes),
                         "acl.conf:12 topic deny secret/#"));
    assert_memory_equal(&found[0].peer, &event.peer, sizeof(event.peer));
    assert_int_equal(found[0].packet_id, 7);
    assert_int_equal(found[0].qos, 1);
}

static void repeats_within_a_moment_are_counted_and_later_ones_stand_alone(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 1000; i++) {
        drop(5000 + i * 20, "c", "t"); /* twenty seconds without a pause */
    }
    assert_int_equal(find_client("c"), 1);
    assert_int_equal(found[0].count, 1000);
    assert_int_equal(found[0].first_ms, 5000);
    assert_int_equal(found[0].last_ms, 24980);
    drop(24980 + TRAIL_REPEAT_MS + 1, "c", "t");
    drop(24980 + TRAIL_REPEAT_MS + 2, "c", "t");
    assert_int_equal(find_client("c"), 2);
    assert_int_equal(found[0].count, 2);
    assert_int_equal(found[1].count, 1000);
}

static void another_topic_reason_or_address_is_no_repeat(void **state)
{
    struct trail_event event = {.what = TRAIL_PUBLISH_REFUSED, .client = slice_text("c")};
    (void)state;
    trail_add(trail, 1, &event);
    event.why = ERR_KEEPALIVE;
    trail_add(trail, 2, &event);
    event.topic = slice_text("t");
    trail_add(trail, 3, &event);
    event.peer = peer4(127, 0, 0, 1);
    trail_add(trail, 4, &event);
    event.peer.port++; /* the next connection of the same machine is */
    trail_add(trail, 5, &event);
    assert_int_equal(find_client("c"), 4);
    assert_int_equal(found[0].count, 2);
    assert_int_equal(found[0].peer.port, 40001); /* the last one's */
}

static void a_life_is_told_step_by_step(void **state)
{
    struct trail_event came = {.what = TRAIL_CONNECTED, .client = slice_text("c")};
    struct trail_event went = {.what = TRAIL_DISCONNECTED, .client = slice_text("c")};
    (void)state;
    for (int i = 0; i < 3; i++) {
        trail_add(trail, 1, &came);
        trail_add(trail, 1, &went);
    }
    assert_int_equal(find_client("c"), 6);
    for (uint32_t i = 0; i < 6; i++) {
        assert_int_equal(found[i].what, i % 2 == 0 ? TRAIL_DISCONNECTED : TRAIL_CONNECTED);
        assert_int_equal(found[i].count, 1);
    }
}

static void a_clock_that_is_set_back_disturbs_nothing(void **state)
{
    (void)state;
    drop(1000000, "c", "t");
    drop(5, "c", "t");
    drop(6, "c", "u");
    assert_int_equal(find_client("c"), 2);
    assert_int_equal(found[0].last_ms, 6); /* in the order in which it happened */
    assert_int_equal(found[1].count, 2);
}

static void one_noisy_client_leaves_the_others_their_story(void **state)
{
    enum { OTHERS = 500 };
    char client[24], topic[24];
    uint32_t lost = 0;
    (void)state;
    for (int i = 0; i < OTHERS; i++) {
        snprintf(client, sizeof(client), "quiet-%d", i);
        drop(1000, client, "t");
    }
    for (int i = 0; i < OTHERS; i++) {
        snprintf(client, sizeof(client), "quiet-%d", i);
        lost += find_client(client) == 0;
    }
    assert_int_equal(lost, 0);
    for (uint64_t i = 0; i < 100000; i++) {
        snprintf(topic, sizeof(topic), "t/%llu", (unsigned long long)i);
        drop(2000 + i, "noisy", topic);
    }
    assert_int_equal(find_client("noisy"), 32); /* half of a set */
    assert_true(slice_is(slice_of(found[0].topic, found[0].topic_bytes), "t/99999"));
    for (int i = 0; i < OTHERS; i++) {
        snprintf(client, sizeof(client), "quiet-%d", i);
        lost += find_client(client) == 0;
    }
    assert_int_equal(lost, 0);
}

static void a_storm_of_strangers_leaves_the_clients_their_story(void **state)
{
    char client[24];
    (void)state;
    drop(1, "honest", "t");
    trail_add(trail, 2,
              &(struct trail_event){.what = TRAIL_CONNECTED, .client = slice_text("honest")});
    for (uint32_t i = 0; i < 100000; i++) {
        snprintf(client, sizeof(client), "guess-%u", i);
        trail_add(trail, 1000 + i,
                  &(struct trail_event){.what = TRAIL_CONNECT_REFUSED,
                                        .why = ERR_CREDENTIALS,
                                        .client = slice_text(client),
                                        .peer = peer4(10, (uint8_t)(i >> 16), (uint8_t)(i >> 8),
                                                      (uint8_t)i)});
    }
    assert_int_equal(find_client("honest"), 2);
    assert_int_equal(find_client("guess-99999"), 1);
}

/* Its own name in many refusals from elsewhere does not push out what it did itself. */
static void refusals_under_a_clients_name_are_paid_by_their_address(void **state)
{
    (void)state;
    drop(1, "honest", "t");
    for (uint32_t i = 0; i < 1000; i++) {
        trail_add(trail, 1000 + 20000ull * i,
                  &(struct trail_event){.what = TRAIL_CONNECT_REFUSED,
                                        .client = slice_text("honest"),
                                        .peer = peer4(10, 0, 0, 1)});
    }
    uint32_t count = find_client("honest");
    assert_int_equal(count, 33); /* half of the address's set, and its own */
    assert_int_equal(found[count - 1].what, TRAIL_DROP_EXPIRED);
}

static void refuse(uint64_t wall_ms, const char *client, struct trail_peer peer)
{
    trail_add(trail, wall_ms,
              &(struct trail_event){
                  .what = TRAIL_CONNECT_REFUSED, .client = slice_text(client), .peer = peer});
}

static void one_address_that_guesses_names_leaves_the_others_their_story(void **state)
{
    enum { OTHERS = 200 };
    char client[24];
    (void)state;
    for (uint32_t i = 0; i < OTHERS; i++) {
        refuse(1, "lamp", peer4(10, 2, 0, (uint8_t)i));
    }
    for (uint32_t i = 0; i < 100000; i++) {
        snprintf(client, sizeof(client), "guess-%u", i);
        refuse(2 + i, client, peer4(10, 1, 0, 1));
    }
    for (uint32_t i = 0; i < OTHERS; i++) {
        assert_int_equal(find_peer(peer4(10, 2, 0, (uint8_t)i)), 1);
    }
    assert_int_equal(find_peer(peer4(10, 1, 0, 1)), 32);
}

static void who_has_no_name_yet_is_found_by_address(void **state)
{
    struct trail_peer six = {.kind = 2, .port = 1, .ip = {0x20, 1, 0xd, 0xb8, [15] = 1}};
    struct trail_peer sibling = six; /* in the same /64 */
    struct trail_event event = {.what = TRAIL_TLS_FAILED, .peer = peer4(10, 0, 0, 1)};
    (void)state;
    sibling.ip[15] = 2;
    trail_add(trail, 1, &event);
    event.peer = six;
    trail_add(trail, 2, &event);
    event.why = ERR_PROTOCOL;
    event.peer = sibling;
    trail_add(trail, 3, &event);
    assert_int_equal(find_peer(peer4(10, 0, 0, 1)), 1);
    assert_int_equal(find_peer(peer4(10, 0, 0, 2)), 0);
    assert_int_equal(find_peer(six), 1);
    assert_int_equal(found[0].last_ms, 2);
    struct trail_query nobody = {.client = {NULL, 0}};
    assert_int_equal(trail_find(trail, &nobody, found, TRAIL_RECORDS), 0);
}

static void long_texts_are_cut_between_characters_and_say_so(void **state)
{
    char plain[200], umlauts[200], other[200];
    (void)state;
    for (size_t i = 0; i < sizeof(plain); i++) {
        plain[i] = other[i] = 'a';
        umlauts[i] = i % 2 == 0 ? '\xc3' : '\xbc';
    }
    other[199] = 'b';
    struct trail_event event = {.what = TRAIL_DROP_EXPIRED,
                                .client = slice_of(plain, sizeof(plain)),
                                .user = slice_of(umlauts, 60),
                                .topic = slice_of(umlauts, sizeof(umlauts)),
                                .detail = slice_of(plain, TRAIL_DETAIL_MAX)};
    trail_add(trail, 1, &event);
    struct trail_query query = {.client = event.client};
    assert_int_equal(trail_find(trail, &query, found, 1), 1);
    assert_int_equal(found[0].client_bytes, TRAIL_CLIENT_MAX);
    assert_memory_equal(found[0].client + TRAIL_CLIENT_MAX - 4, "a\xe2\x80\xa6", 4);
    assert_int_equal(found[0].user_bytes, TRAIL_USER_MAX - 1); /* not half of the next one */
    assert_memory_equal(found[0].user + TRAIL_USER_MAX - 6, "\xc3\xbc\xe2\x80\xa6", 5);
    assert_int_equal(found[0].topic_bytes, TRAIL_TOPIC_MAX - 1);
    assert_int_equal(found[0].detail_bytes, TRAIL_DETAIL_MAX); /* it fits: nothing is cut */
    assert_int_equal(found[0].detail[TRAIL_DETAIL_MAX - 1], 'a');
    query.client = slice_of(other, sizeof(other)); /* differs behind the cut */
    assert_int_equal(trail_find(trail, &query, found, 1), 0);
}

static void every_row_has_its_own_name_and_words(void **state)
{
    (void)state;
    for (int i = 0; i < TRAIL_COUNT; i++) {
        assert_true(trail_name((enum trail_what)i)[0] != 0);
        assert_true(trail_text((enum trail_what)i)[0] != 0);
        for (int k = 0; k < i; k++) {
            assert_string_not_equal(trail_name((enum trail_what)i), trail_name((enum trail_what)k));
        }
    }
    assert_string_equal(trail_name(TRAIL_DROP_EXPIRED), "expired");
    assert_true(trail_counts(TRAIL_DROP_EXPIRED));
    assert_false(trail_counts(TRAIL_CONNECTED));
}

int main(void)
{
#define STORY(test) cmocka_unit_test_setup_teardown(test, open_trail, close_trail)
    const struct CMUnitTest tests[] = {
        STORY(a_story_is_told_newest_first_and_of_one_client_alone),
        STORY(all_that_was_told_is_kept),
        STORY(repeats_within_a_moment_are_counted_and_later_ones_stand_alone),
        STORY(another_topic_reason_or_address_is_no_repeat),
        STORY(a_life_is_told_step_by_step),
        STORY(a_clock_that_is_set_back_disturbs_nothing),
        STORY(one_noisy_client_leaves_the_others_their_story),
        STORY(a_storm_of_strangers_leaves_the_clients_their_story),
        STORY(refusals_under_a_clients_name_are_paid_by_their_address),
        STORY(one_address_that_guesses_names_leaves_the_others_their_story),
        STORY(who_has_no_name_yet_is_found_by_address),
        STORY(long_texts_are_cut_between_characters_and_say_so),
        STORY(every_row_has_its_own_name_and_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
