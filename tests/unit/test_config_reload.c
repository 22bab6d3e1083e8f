/*
 * config: what differs between two configurations, and what a running broker may take over.
 */
#include "tests/lib/config_fixture.h"

struct changes {
    char text[1024];
};

static void note(void *context, const struct config_change *change)
{
    struct changes *changes = context;
    size_t used = strlen(changes->text);
    snprintf(changes->text + used, sizeof(changes->text) - used, "%s%s%s%s\n", change->section,
             change->section[0] == '\0' ? "" : ": ", change->key,
             change->is_reloadable ? "" : " (restart)");
}

static void a_configuration_does_not_differ_from_itself(void **state)
{
    static const char text[] = "listener 8083 127.0.0.1\nprotocol websockets\n"
                               "websockets_origin https://a.example\nauto_id_prefix x-\n";
    struct changes changes = {.text = ""};
    struct fixture a, b;
    (void)state;
    loaded(&a, text);
    loaded(&b, text);
    config_diff(a.config, b.config, note, &changes);
    assert_string_equal(changes.text, "");
    unload(&a);
    unload(&b);
}

static void every_difference_is_told_once(void **state)
{
    struct changes changes = {.text = ""};
    struct fixture a, b;
    (void)state;
    loaded(&a, "threads 1\nmax_queued_messages 5\nlistener 1883 127.0.0.1\nmax_qos 1\n"
               "listener 1884 127.0.0.1\n");
    loaded(&b, "threads 2\nmax_queued_messages 6\nlistener 1883 127.0.0.1\nmax_qos 2\n"
               "mount_point a/\nlistener 1885 127.0.0.1\n");
    config_diff(a.config, b.config, note, &changes);
    assert_string_equal(changes.text, "threads (restart)\n"
                                      "max_queued_messages\n"
                                      "1883 127.0.0.1: mount_point (restart)\n"
                                      "1883 127.0.0.1: max_qos\n"
                                      "1884 127.0.0.1: listener (restart)\n"
                                      "1885 127.0.0.1: listener (restart)\n");
    unload(&a);
    unload(&b);
}

static void reload_takes_what_may_change_and_says_what_may_not(void **state)
{
    struct fixture old, new;
    (void)state;
    loaded(&old, "threads 1\nmax_queued_messages 5\nhttp_listener none\nlistener 1883 127.0.0.1\n"
                 "mount_point a/\nlistener 1884 127.0.0.1\n");
    new = (struct fixture){
        .sources = {.text = slice_text("threads 2\nmax_queued_messages 6\nlistener 1885 127.0.0.1\n"
                                       "listener 1883 127.0.0.1\nmount_point b/\nmax_qos 1\n"
                                       "allow_anonymous false\n")}};
    config_report_init(&new.report);
    assert_int_equal(config_reload(old.config, &new.sources, &new.config, &new.report), OK);
    unload(&old); /* nothing of the old one is still needed */

    assert_int_equal(new.config->threads, 1);
    assert_int_equal(new.config->queue_max, 6);
    assert_string_equal(new.config->http_address, "");
    assert_string_equal(new.config->http_listener, "none");
    assert_int_equal(new.config->listener_count, 2);
    const struct listener_config *one = &new.config->listeners[0], *two = &new.config->listeners[1];
    assert_string_equal(one->name, "1883 127.0.0.1");
    assert_string_equal(one->addresses[0], "127.0.0.1");
    assert_string_equal(one->mount_point, "a/");
    assert_int_equal(one->qos_max, 1);
    assert_false(one->allow_anonymous);
    assert_string_equal(two->name, "1884 127.0.0.1");

    assert_int_equal(new.report.warning_count, 5);
    assert_says(&new, CONFIG_WARNING, 0, "threads cannot change while the broker runs: restart it");
    assert_says(&new, CONFIG_WARNING, 0, "http_listener cannot change");
    assert_says(&new, CONFIG_WARNING, 0, "listener 1883 127.0.0.1: mount_point cannot change");
    assert_says(&new, CONFIG_WARNING, 0, "listener 1884 127.0.0.1 cannot change");
    assert_says(&new, CONFIG_WARNING, 0, "listener 1885 127.0.0.1 cannot change");
    unload(&new);
}

static void a_bad_file_changes_nothing(void **state)
{
    struct fixture old, new;
    struct config *untouched = NULL;
    (void)state;
    loaded(&old, "max_queued_messages 5\n");
    new = (struct fixture){.sources = {.text = slice_text("max_queued_messages x\n")}};
    config_report_init(&new.report);
    assert_int_equal(config_reload(old.config, &new.sources, &untouched, &new.report), ERR_INVALID);
    assert_null(untouched);
    assert_int_equal(old.config->queue_max, 5);
    assert_says(&new, CONFIG_ERROR, 1, "max_queued_messages: \"x\" is not allowed");
    unload(&old);
    unload(&new);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_configuration_does_not_differ_from_itself),
        cmocka_unit_test(every_difference_is_told_once),
        cmocka_unit_test(reload_takes_what_may_change_and_says_what_may_not),
        cmocka_unit_test(a_bad_file_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
