/* core/bridge/remap.c: topics from one side to the other. */
#include "core/bridge/bridge_parts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static struct bridge_topic rows[] = {
    {BRIDGE_BOTH, 1, "l/a/#", "r/a/#", "l/", "r/"},
    {BRIDGE_IN, 1, "here", "there", "here", "there"},
    {BRIDGE_OUT, 1, "plain/+", "plain/+", "", ""},
    {BRIDGE_OUT, 1, "#", "all/#", "", "all/"},
    {BRIDGE_IN, 1, "x/#", "p/#", "x/", "p/"},
    {BRIDGE_IN, 1, "#", "$SYS/#", "", "$SYS/"},
};
static const struct bridge_config config = {.topics = rows,
                                            .topic_count = sizeof(rows) / sizeof(rows[0])};

/* NULL: no row has it. */
static const char *mapped(enum bridge_direction direction, const char *topic)
{
    static char text[128];
    struct slice prefix, rest;
    if (!remap(&config, direction, slice_text(topic), &prefix, &rest)) {
        return NULL;
    }
    snprintf(text, sizeof(text), "%.*s%.*s", (int)prefix.count, (const char *)prefix.data,
             (int)rest.count, (const char *)rest.data);
    return text;
}

static void a_prefix_is_taken_off_and_the_other_put_before(void **state)
{
    (void)state;
    assert_string_equal(mapped(BRIDGE_OUT, "l/a/b"), "r/a/b");
    assert_string_equal(mapped(BRIDGE_IN, "r/a/b"), "l/a/b");
    assert_string_equal(mapped(BRIDGE_OUT, "l/a"), "r/a"); /* # is the level above, too */
    assert_string_equal(mapped(BRIDGE_IN, "p/q"), "x/q");
    assert_string_equal(mapped(BRIDGE_IN, "$SYS/broker/uptime"), "broker/uptime");
}

static void one_topic_becomes_another(void **state)
{
    (void)state;
    assert_string_equal(mapped(BRIDGE_IN, "there"), "here");
    assert_null(mapped(BRIDGE_IN, "there/below"));
}

static void the_first_row_of_the_direction_counts(void **state)
{
    (void)state;
    assert_string_equal(mapped(BRIDGE_OUT, "plain/x"), "plain/x");
    assert_string_equal(mapped(BRIDGE_OUT, "plain/x/y"), "all/plain/x/y");
    assert_string_equal(mapped(BRIDGE_OUT, "here"), "all/here"); /* its own row is for the way in */
    assert_null(mapped(BRIDGE_IN, "plain/x"));
    assert_null(mapped(BRIDGE_OUT, "$SYS/x")); /* # does not match it [MQTT-4.7.2-1] */
}

static void what_would_be_no_topic_is_not_mapped(void **state)
{
    static char topic[REMAP_BYTES_MAX + 1];
    struct slice prefix, rest;
    (void)state;
    assert_null(mapped(BRIDGE_IN, "p")); /* matches p/#, and has no p/ to take off */
    memset(topic, 'a', REMAP_BYTES_MAX);
    assert_false(remap(&config, BRIDGE_OUT, slice_of(topic, REMAP_BYTES_MAX), &prefix, &rest));
    assert_true(remap(&config, BRIDGE_OUT, slice_of(topic, REMAP_BYTES_MAX - 4), &prefix, &rest));
    assert_int_equal(prefix.count + rest.count, REMAP_BYTES_MAX);
}

static void ids_are_counted_once(void **state)
{
    struct ids *ids = calloc(1, sizeof(*ids));
    (void)state;
    ids_add(ids, 1);
    ids_add(ids, 1);
    ids_add(ids, 65535);
    assert_int_equal(ids->count, 2);
    assert_true(ids_take(ids, 1));
    assert_false(ids_take(ids, 1));
    assert_false(ids_has(ids, 1));
    assert_true(ids_has(ids, 65535));
    assert_int_equal(ids->count, 1);
    ids_fill(ids);
    assert_true(ids_take(ids, 7));
    assert_int_equal(ids->count, 65535);
    free(ids);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_prefix_is_taken_off_and_the_other_put_before),
        cmocka_unit_test(one_topic_becomes_another),
        cmocka_unit_test(the_first_row_of_the_direction_counts),
        cmocka_unit_test(what_would_be_no_topic_is_not_mapped),
        cmocka_unit_test(ids_are_counted_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
