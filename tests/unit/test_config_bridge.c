/* core/base/config_bridge.c: `connection` and the lines below it. */
#include "core/base/config_parts.h"
#include "tests/lib/config_fixture.h"

#define HEAD "connection one\naddress 192.0.2.1\n"

/* The one error of a text, of that line. */
static void refused_at(const char *text, uint32_t line, const char *part)
{
    struct fixture f;
    load(&f, text);
    assert_int_equal(f.err, ERR_INVALID);
    assert_int_equal(f.report.error_count, 1);
    assert_says(&f, CONFIG_ERROR, line, part);
    unload(&f);
}

static void a_bridge_is_read_with_its_defaults(void **state)
{
    struct fixture f;
    (void)state;
    loaded(&f, HEAD "topic #\n");
    assert_int_equal(f.config->bridge_count, 1);
    const struct bridge_config *bridge = &f.config->bridges[0];
    assert_string_equal(bridge->name, "one");
    assert_int_equal(bridge->address_count, 1);
    assert_string_equal(bridge->addresses[0].host, "192.0.2.1");
    assert_int_equal(bridge->addresses[0].port, 1883);
    assert_int_equal(bridge->topic_count, 1);
    assert_int_equal(bridge->topics[0].direction, BRIDGE_OUT);
    assert_int_equal(bridge->topics[0].qos, 0);
    assert_string_equal(bridge->topics[0].local, "#");
    assert_int_equal(strncmp(bridge->remote_clientid, "one.", 4), 0);
    assert_int_equal(strncmp(bridge->local_clientid, "local.one.", 10), 0);
    assert_int_equal(strncmp(bridge->notification_topic, "$SYS/broker/connection/one.", 27), 0);
    assert_int_equal(bridge->restart_base_s, 5);
    assert_int_equal(bridge->restart_cap_s, 30);
    assert_int_equal(bridge->protocol_version, BRIDGE_MQTT311);
    assert_int_equal(bridge->start_type, START_AUTOMATIC);
    assert_true(bridge->notifications && bridge->try_private && !bridge->cleansession);
    assert_false(config_bridge_is_tls(bridge));
    unload(&f);
}

static void addresses_have_ports_or_the_usual_one(void **state)
{
    struct fixture f;
    (void)state;
    loaded(
        &f,
        "connection one\naddress a.example:1 b.example\naddresses [2001:db8::1]:3 ::1\ntopic #\n");
    const struct bridge_config *bridge = &f.config->bridges[0];
    assert_int_equal(bridge->address_count, 4);
    assert_string_equal(bridge->addresses[0].host, "a.example");
    assert_int_equal(bridge->addresses[0].port, 1);
    assert_string_equal(bridge->addresses[1].host, "b.example");
    assert_int_equal(bridge->addresses[1].port, 1883);
    assert_string_equal(bridge->addresses[2].host, "2001:db8::1");
    assert_int_equal(bridge->addresses[2].port, 3);
    assert_string_equal(bridge->addresses[3].host, "::1");
    unload(&f);
}

static void topics_are_put_together_with_their_prefixes(void **state)
{
    struct fixture f;
    (void)state;
    loaded(&f, HEAD "topic a/# both 2 l/ r/\ntopic \"\" in 1 here there\ntopic b out 0 \"\" r/\n");
    const struct bridge_topic *topics = f.config->bridges[0].topics;
    assert_int_equal(topics[0].direction, BRIDGE_BOTH);
    assert_int_equal(topics[0].qos, 2);
    assert_string_equal(topics[0].local, "l/a/#");
    assert_string_equal(topics[0].remote, "r/a/#");
    assert_int_equal(topics[1].direction, BRIDGE_IN);
    assert_string_equal(topics[1].local, "here");
    assert_string_equal(topics[1].remote, "there");
    assert_string_equal(topics[2].local, "b");
    assert_string_equal(topics[2].remote, "r/b");
    unload(&f);
}

static void many_topics_keep_their_order(void **state)
{
    char text[64 + 200 * 16] = HEAD;
    struct fixture f;
    (void)state;
    for (int i = 0; i < 200; i++) {
        sprintf(text + strlen(text), "topic t%d\n", i);
    }
    loaded(&f, text);
    assert_int_equal(f.config->bridges[0].topic_count, 200);
    for (int i = 0; i < 200; i++) {
        char name[16];
        sprintf(name, "t%d", i);
        assert_string_equal(f.config->bridges[0].topics[i].remote, name);
    }
    unload(&f);
}

static void old_names_and_local_cleansession_stand_for_others(void **state)
{
    struct fixture f;
    (void)state;
    loaded(&f, HEAD "topic #\nclientid c\nusername u\npassword p\ncleansession true\n"
                    "connection two\naddress 192.0.2.2\ntopic #\ncleansession true\n"
                    "local_cleansession false\nrestart_timeout 7\n");
    const struct bridge_config *bridges = f.config->bridges;
    assert_string_equal(bridges[0].remote_clientid, "c");
    assert_string_equal(bridges[0].local_clientid, "local.c");
    assert_string_equal(bridges[0].notification_topic, "$SYS/broker/connection/c/state");
    assert_string_equal(bridges[0].remote_username, "u");
    assert_string_equal(bridges[0].remote_password, "p");
    assert_true(bridges[0].local_cleansession);
    assert_false(bridges[1].local_cleansession);
    assert_string_equal(bridges[1].remote_username, "");
    assert_int_equal(bridges[1].restart_base_s, 7);
    assert_int_equal(bridges[1].restart_cap_s, 0);
    unload(&f);
}

static void a_lazy_bridge_keeps_what_waits(void **state)
{
    struct fixture f;
    (void)state;
    loaded(&f, HEAD "topic #\nstart_type lazy\ncleansession true\n");
    assert_true(f.config->bridges[0].cleansession);
    assert_false(f.config->bridges[0].local_cleansession);
    assert_int_equal(f.report.warning_count, 0);
    unload(&f);
    loaded(&f, HEAD "topic #\nstart_type lazy\nlocal_cleansession true\n");
    assert_false(f.config->bridges[0].local_cleansession);
    assert_says(&f, CONFIG_WARNING, 5, "so it is not forgotten");
    unload(&f);
}

static void bridges_come_in_by_a_door_that_nothing_else_can_use(void **state)
{
    struct fixture f;
    (void)state;
    loaded(&f, "allow_anonymous false\nlistener 1883 127.0.0.1\n" HEAD "topic #\n");
    assert_int_equal(f.config->listener_count, 2);
    assert_int_equal(f.config->inside_listener, 1);
    const struct listener_config *inside = &f.config->listeners[1];
    assert_true(inside->is_inside && inside->allow_anonymous);
    assert_int_equal(inside->address_count, 0);
    assert_string_equal(inside->unix_path, "");
    assert_string_equal(inside->acl_file, "");
    assert_false(f.config->listeners[0].allow_anonymous);
    unload(&f);
    loaded(&f, "listener 1883 127.0.0.1\n");
    assert_int_equal(f.config->listener_count, 1);
    assert_int_equal(f.config->inside_listener, 1);
    unload(&f);
}

static void a_bad_line_is_told_with_what_to_write(void **state)
{
    (void)state;
    refused("topic # both", "no bridge stands before it: write connection NAME above it");
    refused("connection", "a bridge has a name of one word");
    refused("connection a b", "a bridge has a name of one word");
    refused_at(HEAD "connection one\n", 3, "connection one stands twice");
    refused_at("connection one\naddress a:b\n", 2, "write HOST, HOST:PORT or [IPV6]:PORT");
    refused_at("connection one\naddress [x]:1\n", 2, "\"[x]:1\" is not allowed");
    refused_at("connection one\naddress\n", 2, "no value: write HOST:PORT");
    refused_at("connection one\ntopic #\n", 1, "nothing says where the other broker is");
    refused_at(HEAD "topic\n", 3, "no filter");
    refused_at(HEAD "topic # sideways\n", 3, "the second word is no direction");
    refused_at(HEAD "topic # in 3\n", 3, "the third word is no QoS");
    refused_at(HEAD "topic # in 1 a/ b/ c\n", 3, "more than five words");
    refused_at(HEAD "topic a#b in\n", 3, "that is no filter");
    refused_at(HEAD "topic a/+b in\n", 3, "that is no filter");
    refused_at(HEAD "topic #/a in\n", 3, "that is no filter");
    refused_at(HEAD "topic a in 0 +/ b/\n", 3, "prefixes have none");
    refused_at(HEAD "topic \"\" in 0 a \"\"\n", 3, "needs both prefixes");
    refused_at(HEAD "topic #\nrestart_timeout 9 3\n", 4, "BASE at most CAP");
    refused_at(HEAD "topic #\nrestart_timeout 0\n", 4, "restart_timeout: \"0\" is not allowed");
    refused_at(HEAD "topic #\nkeepalive_interval 4\n", 4,
               "keepalive_interval: \"4\" is not allowed");
    refused_at(HEAD "topic #\nstart_type manual\n", 4, "automatic, lazy, once");
    refused_at(HEAD "topic #\nbridge_protocol_version mqttv6\n", 4, "mqttv31, mqttv311, mqttv50");
    refused_at(HEAD "topic #\nremote_password x\n", 4, "write remote_username too");
    refused_at(HEAD "topic #\nbridge_bind_address here\n", 4, "\"here\" is no IP address");
    refused_at(HEAD "topic #\nbridge_max_packet_size 5\n", 4, "no message fits");
    refused_at(HEAD "topic #\nnotification_topic a/#\n", 4, "+ and # are wildcards");
    refused_at(HEAD "topic #\nbridge_certfile c\n", 4, "its private key is missing");
    refused_at(HEAD "topic #\nbridge_keyfile c\n", 4, "its certificate is missing");
    refused_at(HEAD "topic #\nbridge_certfile c\nbridge_keyfile k\n", 4, "write bridge_cafile or");
    refused_at(HEAD "topic #\nbridge_alpn mqtt\n", 4, "bridge_alpn: there is no TLS");
    refused_at(HEAD "topic #\nbridge_cafile c\nbridge_tls_version tlsv1.1\n", 5,
               "not safe any more");
    refused_at(HEAD "topic #\nbridge_require_ocsp true\n", 4, "bridge_require_ocsp: whether");
    refused_at(HEAD "topic #\nbridge_identity i\n", 4, "pre-shared keys are not supported");
    refused_at(HEAD
               "topic #\nlocal_clientid x\nconnection two\naddress h\ntopic #\nlocal_clientid x\n",
               8, "connection one has it already");
}

static void what_is_not_safe_is_warned_of(void **state)
{
    struct fixture f;
    (void)state;
    loaded(&f, HEAD "topic #\nusername u\npassword hunter2\n");
    assert_says(&f, CONFIG_WARNING, 5, "whoever is on the way can read it");
    for (uint32_t i = 0; i < f.report.finding_count; i++) {
        assert_null(strstr(f.report.findings[i].text, "hunter2"));
    }
    unload(&f);
    loaded(&f, "connection one\naddress 127.0.0.1 localhost\ntopic #\nusername u\npassword p\n");
    assert_int_equal(f.report.warning_count, 0);
    unload(&f);
    loaded(&f, HEAD "topic #\nbridge_cafile c\nbridge_insecure true\n");
    assert_says(&f, CONFIG_WARNING, 5, "can be the other side");
    unload(&f);
    loaded(&f, HEAD);
    assert_says(&f, CONFIG_WARNING, 1, "it shares nothing");
    unload(&f);
}

static void a_password_is_never_repeated(void **state)
{
    char text[64 + 4096] = HEAD "username u\npassword \xff";
    struct fixture f;
    (void)state;
    strcat(text, "hunter2\ntopic #\n");
    load(&f, text);
    assert_int_equal(f.err, ERR_INVALID);
    assert_says(&f, CONFIG_ERROR, 4, "remote_password: not allowed: write text");
    for (uint32_t i = 0; i < f.report.finding_count; i++) {
        assert_null(strstr(f.report.findings[i].text, "hunter2"));
    }
    unload(&f);
}

static uint32_t change_count, kept_count;

static void count_changes(void *context, const struct config_change *change)
{
    (void)context;
    assert_string_equal(change->key, "connection");
    change_count++;
    kept_count += !change->is_reloadable;
}

static void reload_over(const char *old_text, const char *new_text, uint32_t changes, uint32_t kept)
{
    struct fixture a, b;
    loaded(&a, old_text);
    loaded(&b, new_text);
    change_count = kept_count = 0;
    config_diff(a.config, b.config, count_changes, NULL);
    assert_int_equal(change_count, changes);
    assert_int_equal(kept_count, kept);
    unload(&a);
    unload(&b);
}

static void a_reload_tells_which_bridges_differ(void **state)
{
    (void)state;
    reload_over(HEAD "topic #\n", HEAD "topic #\n", 0, 0);
    reload_over(HEAD "topic #\n", HEAD "topic # both\n", 1, 0);
    reload_over(HEAD "topic #\n", HEAD "topic #\naddress h\n", 1, 0);
    reload_over(HEAD "topic #\n", HEAD "topic #\nusername u\n", 1, 0);
    reload_over(HEAD "topic #\n", HEAD "topic #\nrestart_timeout 9\n", 1, 0);
    reload_over(HEAD "topic #\n", "", 1, 0);
    reload_over(HEAD "topic #\n", "connection two\naddress h\ntopic #\n", 2, 0);
    reload_over("", HEAD "topic #\n", 1, 1); /* a running broker makes no new door */
}

static void a_reload_keeps_the_door(void **state)
{
    const struct config_sources sources = {.text = slice_text("listener 1883 127.0.0.1\n")};
    struct fixture running;
    struct config *fresh = NULL;
    struct config_report report;
    (void)state;
    loaded(&running, "listener 1883 127.0.0.1\n" HEAD "topic #\n");
    config_report_init(&report);
    assert_int_equal(config_reload(running.config, &sources, &fresh, &report), OK);
    assert_int_equal(fresh->bridge_count, 0);
    assert_int_equal(fresh->listener_count, 2);
    assert_int_equal(fresh->inside_listener, 1);
    assert_true(fresh->listeners[1].is_inside);
    config_report_deinit(&report);
    config_free(fresh);
    unload(&running);
}

static void bridges_stand_in_the_file_alone(void **state)
{
    const struct config_override overrides[] = {{"connection", "x"}};
    char *environment[] = {"TERN_TOPIC=x", "TERN_USERNAME=x", NULL};
    struct fixture f = {.sources = {.overrides = overrides, .override_count = 1}};
    (void)state;
    load_sources(&f);
    assert_int_equal(f.err, ERR_INVALID);
    assert_says(&f, CONFIG_ERROR, 0, "bridges stand in the file");
    unload(&f);
    f = (struct fixture){.sources = {.environment = environment}};
    load_sources(&f);
    assert_int_equal(f.err, OK); /* somebody else's variables */
    unload(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bridge_is_read_with_its_defaults),
        cmocka_unit_test(addresses_have_ports_or_the_usual_one),
        cmocka_unit_test(topics_are_put_together_with_their_prefixes),
        cmocka_unit_test(many_topics_keep_their_order),
        cmocka_unit_test(old_names_and_local_cleansession_stand_for_others),
        cmocka_unit_test(a_lazy_bridge_keeps_what_waits),
        cmocka_unit_test(bridges_come_in_by_a_door_that_nothing_else_can_use),
        cmocka_unit_test(a_bad_line_is_told_with_what_to_write),
        cmocka_unit_test(what_is_not_safe_is_warned_of),
        cmocka_unit_test(a_password_is_never_repeated),
        cmocka_unit_test(a_reload_tells_which_bridges_differ),
        cmocka_unit_test(a_reload_keeps_the_door),
        cmocka_unit_test(bridges_stand_in_the_file_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
