#include "core/base/map.h"
#include "core/session/alias.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static enum err teach(struct alias_in *in, uint16_t alias, const char *topic)
{
    struct slice taught = slice_text(topic);
    return alias_in_resolve(in, alias, &taught);
}

static bool means(struct alias_in *in, uint16_t alias, const char *topic)
{
    struct slice found = slice_of(NULL, 0);
    return alias_in_resolve(in, alias, &found) == OK && slice_is(found, topic);
}

static void an_alias_means_what_it_was_last_taught(void **state)
{
    struct alias_in in = {.count_max = 3};
    (void)state;
    assert_int_equal(teach(&in, 3, "plant/one"), OK);
    assert_true(means(&in, 3, "plant/one"));
    assert_int_equal(teach(&in, 1, "plant/two"), OK);
    assert_int_equal(teach(&in, 3, "plant/three"), OK);
    assert_int_equal(teach(&in, 3, "plant/three"), OK);
    assert_true(means(&in, 1, "plant/two"));
    assert_true(means(&in, 3, "plant/three"));
    alias_in_deinit(&in);
}

/* [MQTT-3.3.2-8] [MQTT-3.3.2-9] */
static void aliases_beyond_the_maximum_and_untaught_ones_are_refused(void **state)
{
    struct alias_in in = {.count_max = 3}, none = {0};
    struct slice untouched = slice_of(NULL, 0);
    (void)state;
    assert_int_equal(teach(&in, 0, "t"), ERR_TOPIC_ALIAS);
    assert_int_equal(teach(&in, 4, "t"), ERR_TOPIC_ALIAS);
    assert_int_equal(teach(&none, 1, "t"), ERR_TOPIC_ALIAS);
    assert_int_equal(alias_in_resolve(&in, 2, &untouched), ERR_PROTOCOL);
    assert_null(untouched.data);
    alias_in_deinit(&in);
    alias_in_deinit(&none);
}

static uint16_t alias_of(struct alias_out *out, const char *topic, bool *is_new)
{
    return alias_out_find(out, slice_text(topic), hash_bytes(slice_text(topic)), is_new);
}

static void first_come_first_served_and_then_known(void **state)
{
    struct alias_out out = {.count_max = 2};
    bool is_new;
    (void)state;
    assert_int_equal(alias_of(&out, "plant/one", &is_new), 1);
    assert_true(is_new);
    assert_int_equal(alias_of(&out, "plant/one", &is_new), 1);
    assert_false(is_new);
    assert_int_equal(alias_of(&out, "abc", &is_new), 0); /* too short to gain by it */
    assert_int_equal(alias_of(&out, "plant/two", &is_new), 2);
    assert_true(is_new);
    assert_int_equal(alias_of(&out, "plant/three", &is_new), 0); /* the table is full */
    assert_false(is_new);
    assert_int_equal(alias_of(&out, "plant/two", &is_new), 2);
    alias_out_deinit(&out);
}

static void topics_of_the_same_hash_are_told_apart(void **state)
{
    struct alias_out out = {.count_max = 3};
    bool is_new;
    (void)state;
    assert_int_equal(alias_out_find(&out, slice_text("topic/a"), 5, &is_new), 1);
    assert_int_equal(alias_out_find(&out, slice_text("topic/b"), 5, &is_new), 2);
    assert_true(is_new);
    assert_int_equal(alias_out_find(&out, slice_text("topic/a"), 5, &is_new), 1);
    assert_int_equal(alias_out_find(&out, slice_text("topic/b"), 5, &is_new), 2);
    assert_false(is_new);
    alias_out_deinit(&out);
}

static void a_client_that_wants_none_gets_none(void **state)
{
    struct alias_out out = {0};
    bool is_new = true;
    (void)state;
    assert_int_equal(alias_of(&out, "plant/one", &is_new), 0);
    assert_false(is_new);
    assert_null(out.slots);
    alias_out_deinit(&out);
}

static void as_many_aliases_as_the_protocol_has(void **state)
{
    struct alias_out out = {.count_max = 65535};
    bool is_new;
    char topic[32];
    (void)state;
    for (uint32_t round = 0; round < 2; round++) {
        for (uint32_t i = 1; i <= 65535; i++) {
            snprintf(topic, sizeof(topic), "plant/%u", i);
            assert_int_equal(alias_of(&out, topic, &is_new), i);
            assert_int_equal(is_new, round == 0);
        }
    }
    assert_int_equal(alias_of(&out, "one/more", &is_new), 0);
    alias_out_deinit(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_alias_means_what_it_was_last_taught),
        cmocka_unit_test(aliases_beyond_the_maximum_and_untaught_ones_are_refused),
        cmocka_unit_test(first_come_first_served_and_then_known),
        cmocka_unit_test(topics_of_the_same_hash_are_told_apart),
        cmocka_unit_test(a_client_that_wants_none_gets_none),
        cmocka_unit_test(as_many_aliases_as_the_protocol_has),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
