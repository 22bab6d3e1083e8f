/*
 * config_listener: which addresses a file opens, which lines belong to which of them, and who may
 * come in without a user name.
 */
#include "tests/lib/config_fixture.h"

static void has_addresses(const struct listener_config *listener, const char *first,
                          const char *second)
{
    assert_int_equal(listener->address_count, second == NULL ? 1 : 2);
    assert_string_equal(listener->addresses[0], first);
    if (second != NULL) {
        assert_string_equal(listener->addresses[1], second);
    }
}

/* ---- addresses ----------------------------------------------------------------------------- */

static void a_listener_without_address_is_on_all_interfaces(void **state)
{
    struct fixture f;
    (void)state;
    loaded(&f, "listener 1884\nlistener 1885 *\nlistener 1886\nsocket_domain ipv6\n");
    assert_int_equal(f.config->listener_count, 3);
    has_addresses(&f.config->listeners[0], "0.0.0.0", "::");
    has_addresses(&f.config->listeners[1], "0.0.0.0", "::");
    has_addresses(&f.config->listeners[2], "::", NULL);
    assert_true(f.config->listeners[0].may_skip_addresses);
    assert_false(f.config->listeners[0].is_loopback);
    assert_string_equal(f.config->listeners[0].name, "1884");
    unload(&f);
}

static void addresses_are_written_in_one_way(void **state)
{
    struct fixture f;
    (void)state;
    loaded(&f, "listener 1884 [0:0::1]\nlistener 1885 fe80::1%eth0\nlistener 0 127.0.0.1\n"
               "listener 1886 localhost\nsocket_domain ipv4\n");
    has_addresses(&f.config->listeners[0], "::1", NULL);
    assert_false(f.config->listeners[0].may_skip_addresses);
    has_addresses(&f.config->listeners[1], "fe80::1%eth0", NULL);
    has_addresses(&f.config->listeners[2], "127.0.0.1", NULL);
    assert_int_equal(f.config->listeners[2].port, 0);
    has_addresses(&f.config->listeners[3], "127.0.0.1", NULL);
    unload(&f);
}

static void a_unix_socket_is_a_path_at_port_0(void **state)
{
    struct fixture f;
    char text[256];
    (void)state;
    loaded(&f, "listener 0 /run/my tern.sock\nmount_point local/\n");
    assert_string_equal(f.config->listeners[0].unix_path, "/run/my tern.sock");
    assert_string_equal(f.config->listeners[0].mount_point, "local/");
    assert_int_equal(f.config->listeners[0].address_count, 0);
    assert_true(f.config->listeners[0].is_loopback);
    assert_true(f.config->listeners[0].allow_anonymous);
    unload(&f);
    refused("listener 1883 /run/tern.sock", "a Unix socket has no port: write listener 0 /run");
    memset(text, 'x', sizeof(text));
    memcpy(text, "listener 0 /", 12);
    text[12 + LIMIT_UNIX_PATH_BYTES - 1] = '\0';
    loaded(&f, text);
    unload(&f);
    text[12 + LIMIT_UNIX_PATH_BYTES - 1] = 'x';
    text[12 + LIMIT_UNIX_PATH_BYTES] = '\0';
    refused(text, "has at most 107 bytes");
}

static void a_bad_listener_is_answered_with_what_to_write(void **state)
{
    (void)state;
    refused("listener", "no port: write listener PORT [ADDRESS], or listener 0 /PATH");
    refused("listener x", "\"x\" is no port from 0 to 65535");
    refused("listener 65536", "no port from 0 to 65535");
    refused("listener 0", "port 0 needs an address or a path");
    refused("listener 1883 127.0.0.1 x", "more than a port and an address");
    refused("listener 0 ./tern.sock", "write the whole path, from /");
    refused("listener 1883 256.1.1.1", "is no IP address and no known host name");
    refused("listener 1883 [::1", "is no IP address and no known host name");
    refused("listener 1883 ::1%", "is no IP address and no known host name");
    refused("bind_address", "write one IP address");
    refused("port 0", "write a number, 1 to 65535");
}

static enum err resolve_broker(const char *name,
                               char addresses[LIMIT_LISTENER_ADDRESSES][CONFIG_ADDRESS_BYTES],
                               uint32_t *address_count)
{
    if (strcmp(name, "broker.example") != 0) {
        return ERR_NOT_FOUND;
    }
    strcpy(addresses[0], "192.0.2.1");
    strcpy(addresses[1], "2001:db8::1");
    *address_count = 2;
    return OK;
}

static void a_host_name_stands_for_all_its_addresses(void **state)
{
    struct fixture f = {.sources = {.text = slice_text("listener 1883 broker.example\n"),
                                    .resolve = resolve_broker}};
    (void)state;
    load_sources(&f);
    assert_int_equal(f.err, OK);
    has_addresses(&f.config->listeners[0], "192.0.2.1", "2001:db8::1");
    assert_false(f.config->listeners[0].is_loopback);
    unload(&f);
    refused("listener 1883 broker.example", "no known host name");
}

static void two_listeners_at_one_address_are_refused(void **state)
{
    struct fixture f;
    (void)state;
    load(&f, "listener 1883 127.0.0.1\nlistener 1883 127.0.0.1\n");
    assert_int_equal(f.err, ERR_INVALID);
    assert_says(&f, CONFIG_ERROR, 2, "listener 1883 127.0.0.1 has this address already");
    unload(&f);
    load(&f, "listener 0 /run/a\nlistener 0 /run/a\n");
    assert_int_equal(f.err, ERR_INVALID);
    unload(&f);
    loaded(&f, "listener 0 127.0.0.1\nlistener 0 127.0.0.1\nlistener 1883 ::1\n"
               "listener 1883 127.0.0.1\nlistener 0 /run/a\nlistener 0 /run/b\n");
    assert_int_equal(f.config->listener_count, 6);
    unload(&f);
}

static void the_count_of_listeners_has_a_bound(void **state)
{
    char text[LIMIT_CONFIG_LISTENERS * 24 + 64] = "";
    struct fixture f;
    (void)state;
    for (int i = 0; i < LIMIT_CONFIG_LISTENERS; i++) {
        strcat(text, "listener 0 127.0.0.1\n");
    }
    loaded(&f, text);
    assert_int_equal(f.config->listener_count, LIMIT_CONFIG_LISTENERS);
    unload(&f);
    strcat(text, "listener 0 ::1\n");
    load(&f, text);
    assert_int_equal(f.err, ERR_INVALID);
    assert_says(&f, CONFIG_ERROR, LIMIT_CONFIG_LISTENERS + 1, "more than 64 listeners");
    unload(&f);
}

/* ---- which line belongs to which listener -------------------------------------------------- */

static void lines_belong_to_the_listener_above_them(void **state)
{
    struct fixture f;
    (void)state;
    loaded(&f, "listener 1883 127.0.0.1\n"
               "max_qos 1\n"
               "max_queued_messages 7\n"
               "listener 8083 127.0.0.1\n"
               "protocol websockets\n"
               "max_connections 10\n"
               "accept_protocol_versions 4, 5\n"
               "enable_proxy_protocol auto\n"
               "websockets_origin https://a.example\n"
               "websockets_origin https://b.example\n");
    const struct listener_config *plain = &f.config->listeners[0];
    const struct listener_config *web = &f.config->listeners[1];
    assert_int_equal(plain->qos_max, 1);
    assert_int_equal(plain->protocol, LISTENER_MQTT);
    assert_int_equal(plain->accept_versions, ACCEPT_ALL);
    assert_int_equal(web->qos_max, 2);
    assert_int_equal(web->protocol, LISTENER_WEBSOCKETS);
    assert_int_equal(web->connections_max, 10);
    assert_int_equal(web->accept_versions, 1 << ACCEPT_MQTT311 | 1 << ACCEPT_MQTT5);
    assert_int_equal(web->proxy_protocol, PROXY_AUTO);
    assert_int_equal(web->websockets_origins.count, 2);
    assert_string_equal(web->websockets_origins.items[1], "https://b.example");
    assert_int_equal(f.config->queue_max, 7);
    unload(&f);
}

static void lines_above_the_first_listener_are_for_the_default_one(void **state)
{
    struct fixture f;
    (void)state;
    loaded(&f, "max_qos 1\n");
    assert_int_equal(f.config->listeners[0].qos_max, 1);
    assert_int_equal(f.config->listeners[0].port, 1883);
    unload(&f);
    loaded(&f, "port 1885\nbind_address 127.0.0.1\nmax_qos 1\nlistener 1886 127.0.0.1\n");
    assert_int_equal(f.config->listener_count, 2);
    assert_int_equal(f.config->listeners[0].port, 1885);
    assert_int_equal(f.config->listeners[0].qos_max, 1);
    assert_int_equal(f.config->listeners[1].qos_max, 2);
    assert_says(&f, CONFIG_NOTE, 1, "port is old: write listener 1885");
    unload(&f);
}

static void lines_for_a_default_listener_that_is_not_opened_are_told(void **state)
{
    struct fixture f;
    (void)state;
    loaded(&f, "max_qos 1\nlistener 1883 127.0.0.1\n");
    assert_int_equal(f.config->listener_count, 1);
    assert_int_equal(f.config->listeners[0].qos_max, 2);
    assert_says(&f, CONFIG_WARNING, 1, "max_qos stands above the first listener and has no effect");
    unload(&f);
}

static void bad_lines_of_a_listener_are_refused(void **state)
{
    struct fixture f;
    (void)state;
    refused("mount_point a/+/b", "+ and # are wildcards");
    refused("accept_protocol_versions none", "nobody could connect");
    refused("accept_protocol_versions 6", "write some of 3, 4, 5");
    refused("protocol http_api", "write one of mqtt, websockets");
    refused("bind_interface a-very-long-device", "text of 0 to 15 bytes");
    loaded(&f, "websockets_origin https://a.example");
    assert_says(&f, CONFIG_WARNING, 1, "it needs protocol websockets");
    unload(&f);
}

/* ---- who may come in without a user name --------------------------------------------------- */

static void only_this_machine_is_anonymous_unless_the_file_says_so(void **state)
{
    struct fixture f;
    (void)state;
    loaded(&f, "listener 1883 127.0.0.1\nlistener 1884\nlistener 1885 ::1\n");
    assert_true(f.config->listeners[0].allow_anonymous);
    assert_false(f.config->listeners[1].allow_anonymous);
    assert_true(f.config->listeners[2].allow_anonymous);
    assert_says(&f, CONFIG_NOTE, 2, "write password_file, or allow_anonymous true to let");
    assert_int_equal(f.report.finding_count, 1);
    unload(&f);
    loaded(&f, "allow_anonymous true\nlistener 1884\n");
    assert_true(f.config->listeners[0].allow_anonymous);
    assert_int_equal(f.report.finding_count, 0);
    unload(&f);
    loaded(&f, "listener 1884 127.0.0.1\nallow_anonymous false\n");
    assert_false(f.config->listeners[0].allow_anonymous);
    unload(&f);
    loaded(&f, "port 1884\n");
    assert_false(f.config->listeners[0].allow_anonymous);
    unload(&f);
}

static void behind_a_proxy_everybody_is_from_elsewhere(void **state)
{
    struct fixture f;
    (void)state;
    loaded(&f, "listener 1883 127.0.0.1\nenable_proxy_protocol 2\n");
    assert_true(f.config->listeners[0].is_loopback);
    assert_false(f.config->listeners[0].allow_anonymous);
    assert_says(&f, CONFIG_NOTE, 1, "other machines can reach it");
    unload(&f);
}

static void listener_allow_anonymous_is_stronger_than_the_general_one(void **state)
{
    struct fixture f;
    (void)state;
    loaded(&f, "listener 1883\nlistener_allow_anonymous true\nlistener_auto_id_prefix a-\n"
               "listener 1884\nallow_anonymous false\n");
    assert_true(f.config->listeners[0].allow_anonymous);
    assert_false(f.config->listeners[1].allow_anonymous);
    assert_string_equal(f.config->listeners[0].auto_id_prefix, "a-");
    assert_string_equal(f.config->listeners[1].auto_id_prefix, "auto-");
    unload(&f);
    refused("listener_allow_anonymous yes", "write true or false");
}

static void per_listener_settings_makes_three_options_a_listeners_own(void **state)
{
    struct fixture f;
    (void)state;
    loaded(&f, "per_listener_settings true\n"
               "listener 1883\n"
               "allow_anonymous true\n"
               "auto_id_prefix a-\n"
               "listener 1884\n"
               "allow_zero_length_clientid false\n");
    const struct listener_config *one = &f.config->listeners[0], *two = &f.config->listeners[1];
    assert_true(one->allow_anonymous);
    assert_string_equal(one->auto_id_prefix, "a-");
    assert_true(one->allow_zero_length_clientid);
    assert_false(two->allow_anonymous);
    assert_string_equal(two->auto_id_prefix, "auto-");
    assert_false(two->allow_zero_length_clientid);
    unload(&f);
    loaded(&f, "listener 1883\nallow_anonymous true\nauto_id_prefix a-\nlistener 1884\n");
    assert_true(f.config->listeners[1].allow_anonymous);
    assert_string_equal(f.config->listeners[1].auto_id_prefix, "a-");
    unload(&f);
}

static void per_listener_settings_must_stand_above(void **state)
{
    struct fixture f;
    (void)state;
    load(&f, "listener 1883\nallow_anonymous true\nper_listener_settings true\n");
    assert_int_equal(f.err, ERR_INVALID);
    assert_says(&f, CONFIG_ERROR, 3, "must stand above allow_anonymous (line 2): move it up");
    unload(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_listener_without_address_is_on_all_interfaces),
        cmocka_unit_test(addresses_are_written_in_one_way),
        cmocka_unit_test(a_unix_socket_is_a_path_at_port_0),
        cmocka_unit_test(a_bad_listener_is_answered_with_what_to_write),
        cmocka_unit_test(a_host_name_stands_for_all_its_addresses),
        cmocka_unit_test(two_listeners_at_one_address_are_refused),
        cmocka_unit_test(the_count_of_listeners_has_a_bound),
        cmocka_unit_test(lines_belong_to_the_listener_above_them),
        cmocka_unit_test(lines_above_the_first_listener_are_for_the_default_one),
        cmocka_unit_test(lines_for_a_default_listener_that_is_not_opened_are_told),
        cmocka_unit_test(bad_lines_of_a_listener_are_refused),
        cmocka_unit_test(only_this_machine_is_anonymous_unless_the_file_says_so),
        cmocka_unit_test(behind_a_proxy_everybody_is_from_elsewhere),
        cmocka_unit_test(listener_allow_anonymous_is_stronger_than_the_general_one),
        cmocka_unit_test(per_listener_settings_makes_three_options_a_listeners_own),
        cmocka_unit_test(per_listener_settings_must_stand_above),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
