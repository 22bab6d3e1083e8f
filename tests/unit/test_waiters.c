#include "cluster/waiters.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define BIT(partition) (UINT64_C(1) << (partition))

/* Who was told what, in order: "a b! " where b was told an error. */
static struct scene {
    struct waiters waiters;
    uint64_t logged[STORE_PARTITIONS];
    char told[64];
    bool is_over;
    const char *ends_with; /* who sets is_over */
    const char *returns;   /* who waits once more, as "again", for the next entry of partition 1 */
} scene;

static void on_told(void *context, enum err err);

static void begin(void)
{
    memset(&scene, 0, sizeof(scene));
    waiters_init(&scene.waiters);
}

/* For one more entry in each of these partitions, and all before it. */
static void wait_for_next(const char *name, uint64_t partitions)
{
    for (uint64_t left = partitions; left != 0; left &= left - 1) {
        scene.logged[__builtin_ctzll(left)]++;
    }
    assert_int_equal(waiters_add(&scene.waiters, partitions, scene.logged, on_told,
                                 (void *)(uintptr_t)name),
                     OK);
}

static void on_told(void *context, enum err err)
{
    const char *name = context;
    size_t count = strlen(scene.told);
    snprintf(scene.told + count, sizeof(scene.told) - count, "%s%s ", name, err == OK ? "" : "!");
    scene.is_over |= scene.ends_with != NULL && strcmp(name, scene.ends_with) == 0;
    if (scene.returns != NULL && strcmp(name, scene.returns) == 0) {
        wait_for_next("again", BIT(1));
    }
}

static void commit(uint32_t partition)
{
    waiters_commit(&scene.waiters, partition);
    waiters_tell(&scene.waiters, &scene.is_over);
}

static void who_waits_for_two_is_told_when_both_are_committed_and_not_before(void **state)
{
    (void)state;
    begin();
    wait_for_next("a", BIT(1) | BIT(2));
    commit(1);
    wait_for_next("b", BIT(1));
    commit(1); /* another one there is none for partition 2 */
    assert_string_equal(scene.told, "");
    assert_true(waiters_any(&scene.waiters, 1) && waiters_any(&scene.waiters, 2));
    assert_false(waiters_any(&scene.waiters, 3));
    commit(2);
    assert_string_equal(scene.told, "a b ");
    assert_false(waiters_any(&scene.waiters, 1) || waiters_any(&scene.waiters, 2));
}

static void who_waits_for_a_later_entry_waits_for_it(void **state)
{
    (void)state;
    begin();
    wait_for_next("a", BIT(1));
    wait_for_next("b", BIT(1));
    commit(1);
    assert_string_equal(scene.told, "a ");
    commit(1);
    assert_string_equal(scene.told, "a b ");
}

/* c could be told, and stands behind b, who stands behind a. */
static void those_who_share_a_partition_with_one_who_waits_wait_with_it(void **state)
{
    (void)state;
    begin();
    wait_for_next("a", BIT(1) | BIT(63));
    wait_for_next("b", BIT(1) | BIT(2));
    wait_for_next("c", BIT(2));
    wait_for_next("d", BIT(3));
    commit(1);
    commit(1);
    commit(2);
    commit(2);
    commit(3);
    assert_string_equal(scene.told, "d ");
    commit(63);
    assert_string_equal(scene.told, "d a b c ");
}

static void who_is_told_may_wait_again(void **state)
{
    (void)state;
    begin();
    scene.returns = "a";
    wait_for_next("a", BIT(1));
    commit(1);
    assert_string_equal(scene.told, "a ");
    scene.returns = NULL;
    commit(1);
    assert_string_equal(scene.told, "a again ");
}

/* Whoever is told may find that the journal has ended. */
static void when_it_is_over_nobody_else_is_told_that_all_went_well(void **state)
{
    (void)state;
    begin();
    scene.ends_with = "b";
    wait_for_next("a", BIT(1));
    wait_for_next("b", BIT(2));
    wait_for_next("c", BIT(2) | BIT(3));
    wait_for_next("d", BIT(4));
    waiters_commit(&scene.waiters, 2);
    waiters_commit(&scene.waiters, 4);
    waiters_tell(&scene.waiters, &scene.is_over);
    assert_string_equal(scene.told, "b ");
    waiters_tell_all(&scene.waiters, ERR_UNAVAILABLE);
    assert_string_equal(scene.told, "b a! c! d! ");
    for (uint32_t i = 0; i < STORE_PARTITIONS; i++) {
        assert_false(waiters_any(&scene.waiters, i));
    }
}

static void who_waits_for_a_partition_that_is_lost_is_told_and_holds_up_nobody(void **state)
{
    (void)state;
    begin();
    wait_for_next("a", BIT(1) | BIT(2));
    wait_for_next("b", BIT(2));
    wait_for_next("c", BIT(1) | BIT(3));
    wait_for_next("d", BIT(3));
    waiters_tell_partition(&scene.waiters, 1, ERR_UNAVAILABLE, scene.logged[1]);
    assert_string_equal(scene.told, "a! c! ");
    assert_false(waiters_any(&scene.waiters, 1));
    commit(2);
    assert_string_equal(scene.told, "a! c! ");
    commit(2);
    assert_string_equal(scene.told, "a! c! b ");
    commit(3);
    commit(3);
    assert_string_equal(scene.told, "a! c! b d ");
    wait_for_next("e", BIT(1)); /* it is led again, and counts on */
    commit(1);
    assert_string_equal(scene.told, "a! c! b d e ");
}

static void at_the_end_nobody_is_told_twice(void **state)
{
    (void)state;
    begin();
    wait_for_next("a", BIT(2));
    wait_for_next("b", BIT(1) | BIT(2));
    wait_for_next("c", BIT(1) | BIT(3));
    waiters_tell_partition(&scene.waiters, 3, ERR_UNAVAILABLE, 0);
    waiters_tell_all(&scene.waiters, ERR_SHUTDOWN);
    assert_string_equal(scene.told, "c! a! b! ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_waits_for_two_is_told_when_both_are_committed_and_not_before),
        cmocka_unit_test(who_waits_for_a_later_entry_waits_for_it),
        cmocka_unit_test(those_who_share_a_partition_with_one_who_waits_wait_with_it),
        cmocka_unit_test(who_is_told_may_wait_again),
        cmocka_unit_test(when_it_is_over_nobody_else_is_told_that_all_went_well),
        cmocka_unit_test(who_waits_for_a_partition_that_is_lost_is_told_and_holds_up_nobody),
        cmocka_unit_test(at_the_end_nobody_is_told_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
