#include "core/pubsub/share.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void put(struct share_group *group, uint64_t key, bool is_present, uint32_t outstanding)
{
    struct share_member member = {
        .key = key, .is_present = is_present, .outstanding = outstanding, .window = 2};
    assert_int_equal(share_group_put(group, &member), OK);
}

static uint64_t next_key(struct share_group *group, uint64_t not_key)
{
    struct share_member *member = share_group_next(group, not_key);
    return member == NULL ? 0 : member->key;
}

static void the_round_visits_everybody_in_turn(void **state)
{
    struct share_group *group = share_group_new();
    (void)state;
    assert_int_equal(next_key(group, 0), 0);
    put(group, 11, true, 0);
    put(group, 12, true, 0);
    put(group, 13, true, 0);
    for (int round = 0; round < 3; round++) {
        assert_int_equal(next_key(group, 0), 11);
        assert_int_equal(next_key(group, 0), 12);
        assert_int_equal(next_key(group, 0), 13);
    }
    share_group_free(group);
    share_group_free(NULL);
}

static void who_has_room_comes_before_who_is_busy_and_who_is_away(void **state)
{
    struct share_group *group = share_group_new();
    (void)state;
    put(group, 1, false, 0);
    put(group, 2, true, 2);
    put(group, 3, true, 1);
    assert_int_equal(next_key(group, 0), 3);
    assert_int_equal(next_key(group, 0), 3);
    share_group_find(group, 3)->outstanding = 2;
    assert_int_equal(next_key(group, 0), 2);
    assert_int_equal(next_key(group, 0), 3);
    assert_int_equal(next_key(group, 0), 2);
    share_group_find(group, 2)->is_present = false;
    share_group_find(group, 3)->is_present = false;
    assert_int_equal(next_key(group, 0), 3);
    assert_int_equal(next_key(group, 0), 1);
    assert_int_equal(next_key(group, 0), 2);
    share_group_free(group);
}

static void the_excepted_member_gets_it_only_when_alone(void **state)
{
    struct share_group *group = share_group_new();
    (void)state;
    put(group, 1, true, 0);
    assert_int_equal(next_key(group, 1), 1);
    put(group, 2, false, 0);
    assert_int_equal(next_key(group, 1), 2);
    assert_int_equal(next_key(group, 1), 2);
    assert_int_equal(next_key(group, 0), 1);
    share_group_free(group);
}

static void putting_a_known_key_replaces_its_settings(void **state)
{
    struct share_group *group = share_group_new();
    struct share_member member = {.key = 5, .qos = 2, .id = 9, .window = 1, .is_present = true};
    (void)state;
    put(group, 5, true, 0);
    assert_int_equal(share_group_put(group, &member), OK);
    assert_int_equal(share_group_count(group), 1);
    assert_int_equal(share_group_find(group, 5)->qos, 2);
    assert_int_equal(share_group_find(group, 5)->id, 9);
    assert_null(share_group_find(group, 6));
    share_group_free(group);
}

static void who_was_removed_is_not_found_nor_chosen(void **state)
{
    struct share_group *group = share_group_new();
    (void)state;
    assert_false(share_group_remove(group, 1));
    put(group, 1, true, 0);
    put(group, 2, true, 0);
    assert_true(share_group_remove(group, 1));
    assert_false(share_group_remove(group, 1));
    assert_int_equal(share_group_count(group), 1);
    assert_int_equal(next_key(group, 0), 2);
    assert_int_equal(next_key(group, 0), 2);
    assert_true(share_group_remove(group, 2));
    assert_int_equal(next_key(group, 0), 0);
    share_group_free(group);
}

/* Members come and go by a fixed pattern; an array of flags knows who must be there. */
static void a_large_group_finds_exactly_its_members(void **state)
{
    enum { KEYS = 3000 };
    static bool is_in[KEYS + 1];
    struct share_group *group = share_group_new();
    uint32_t count = 0;
    uint64_t number = 1;
    (void)state;
    memset(is_in, 0, sizeof(is_in));
    for (int step = 0; step < 20000; step++) {
        number = number * UINT64_C(6364136223846793005) + 1442695040888963407u;
        uint64_t key = 1 + (number >> 33) % KEYS;
        bool want_in = step < 12000 ? number >> 63 || step % 2 : number >> 63 && step % 4 == 0;
        if (want_in) {
            count += !is_in[key];
            put(group, key * 4096, true, 0);
        } else {
            assert_int_equal(share_group_remove(group, key * 4096), is_in[key]);
            count -= is_in[key];
        }
        is_in[key] = want_in;
        assert_int_equal(share_group_count(group), count);
    }
    for (uint64_t key = 1; key <= KEYS; key++) {
        struct share_member *member = share_group_find(group, key * 4096);
        assert_int_equal(member != NULL, is_in[key]);
        assert_true(member == NULL || member->key == key * 4096);
    }
    /* One round reaches each of them once. */
    for (uint32_t i = 0; i < count; i++) {
        uint64_t key = next_key(group, 0) / 4096;
        assert_true(is_in[key]);
        is_in[key] = false;
    }
    share_group_free(group);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_round_visits_everybody_in_turn),
        cmocka_unit_test(who_has_room_comes_before_who_is_busy_and_who_is_away),
        cmocka_unit_test(the_excepted_member_gets_it_only_when_alone),
        cmocka_unit_test(putting_a_known_key_replaces_its_settings),
        cmocka_unit_test(who_was_removed_is_not_found_nor_chosen),
        cmocka_unit_test(a_large_group_finds_exactly_its_members),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
