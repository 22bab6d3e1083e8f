/*
 * config: every line is obeyed or answered: file, line, what is wrong, what to write instead.
 */
#include "core/base/config_parts.h"
#include "tests/lib/config_fixture.h"

#include <stdlib.h>

/* ---- defaults ------------------------------------------------------------------------------ */

static void without_configuration_this_machine_is_served_alone(void **state)
{
    struct config *config = config_new_default();
    (void)state;
    assert_non_null(config);
    assert_int_equal(config->listener_count, 1);
    const struct listener_config *listener = &config->listeners[0];
    assert_int_equal(listener->address_count, 2);
    assert_string_equal(listener->addresses[0], "127.0.0.1");
    assert_string_equal(listener->addresses[1], "::1");
    assert_true(listener->may_skip_addresses);
    assert_int_equal(listener->port, 1883);
    assert_true(listener->is_loopback);
    assert_true(listener->allow_anonymous);
    assert_int_equal(listener->qos_max, 2);
    assert_int_equal(config->inflight_max, 20);
    assert_int_equal(config->queue_max, 1000);
    assert_int_equal(config->queue_policy, QUEUE_DROP_OLDEST);
    assert_int_equal(config->session_expiry_max_s, UINT32_MAX);
    assert_int_equal(config->packet_max_bytes, 268435460);
    assert_string_equal(config->http_address, "127.0.0.1");
    assert_int_equal(config->http_port, 8888);
    assert_string_equal(config->user, "");
    config_free(config);
    config_free(NULL);
}

static void every_key_stands_in_one_table_once(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < config_option_count; i++) {
        const struct config_option *option = &config_options[i];
        if (option->type == TYPE_GROUP) {
            continue;
        }
        assert_ptr_equal(config_option_find(slice_text(option->key)), option);
        assert_null(config_key_find(slice_text(option->key)));
    }
    for (uint32_t i = 0; i < config_key_count; i++) {
        assert_ptr_equal(config_key_find(slice_text(config_keys[i].key)), &config_keys[i]);
    }
}

/* ---- values -------------------------------------------------------------------------------- */

static void each_type_of_value_is_read(void **state)
{
    struct fixture f;
    (void)state;
    loaded(&f, "max_inflight_messages 5\r\n"
               "  queue_qos0_messages\t true  \n"
               "max_packet_size 64M\n"
               "max_queued_bytes 2GiB\n"
               "persistent_client_expiration 2w\n"
               "queue_policy reject\n"
               "log_type error\n"
               "log_type debug\n"
               "# a comment\n"
               "\n"
               "auto_id_prefix my prefix\n"
               "global_max_connections -1");
    assert_int_equal(f.config->inflight_max, 5);
    assert_true(f.config->queue_qos0);
    assert_int_equal(f.config->packet_max_bytes, 64 << 20);
    assert_int_equal(f.config->queue_bytes_max, 2ull << 30);
    assert_int_equal(f.config->session_expiry_max_s, 14 * 86400);
    assert_int_equal(f.config->queue_policy, QUEUE_REJECT);
    assert_int_equal(f.config->log_type, 1 << LOG_TYPE_ERROR | 1 << LOG_TYPE_DEBUG);
    assert_string_equal(f.config->auto_id_prefix, "my prefix");
    assert_int_equal(f.config->connections_max, 0);
    assert_int_equal(f.report.finding_count, 0);
    unload(&f);
}

static void every_unit_of_time_counts_as_in_mosquitto(void **state)
{
    static const struct {
        const char *text;
        uint32_t seconds;
    } cases[] = {
        {"persistent_client_expiration 90s", 90},
        {"persistent_client_expiration 1h", 3600},
        {"persistent_client_expiration 1d", 86400},
        {"persistent_client_expiration 2m", 60 * 86400},
        {"persistent_client_expiration 1y", 365 * 86400},
        {"persistent_client_expiration never", UINT32_MAX},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture f;
        loaded(&f, cases[i].text);
        assert_int_equal(f.config->session_expiry_max_s, cases[i].seconds);
        unload(&f);
    }
}

static void zero_in_flight_means_as_many_as_there_are_packet_ids(void **state)
{
    struct fixture f;
    (void)state;
    loaded(&f, "max_inflight_messages 0\nwebsockets_headers_size 0");
    assert_int_equal(f.config->inflight_max, 65535);
    assert_int_equal(f.config->websockets_headers_max, 8192);
    unload(&f);
}

static void a_bad_value_is_answered_with_what_to_write(void **state)
{
    (void)state;
    refused("max_inflight_messages 65536", "write a number, 0 to 65535");
    refused("max_inflight_messages -1", "write a number, 0 to 65535");
    refused("max_inflight_messages 99999999999999999999", "write a number");
    refused("max_inflight_messages", "no value: write a number, 0 to 65535");
    refused("max_inflight_messages 5 # five", "a comment needs a line of its own");
    refused("max_packet_size 19", "write bytes, 20 to 268435460");
    refused("max_packet_size 1Q", "write bytes");
    refused("max_packet_size 99999999999999T", "write bytes");
    refused("queue_qos0_messages yes", "write true or false");
    refused("queue_policy drop", "write one of drop_oldest, drop_newest, reject");
    refused("log_type verbose", "write some of error, warning");
    refused("log_type", "no value: write some of error");
    refused("persistent_client_expiration 60", "write a number with s, h, d, w, m or y");
    refused("persistent_client_expiration 0d", "write a number with s, h, d, w, m or y");
    refused("persistent_client_expiration 200y", "write a number with s, h, d, w, m or y");
    refused("max_keepalive 65536", "write a number, 0 to 65535");
    refused("memory_limit 1M", "write 16M or more");
    refused("auto_id_prefix \xff", "is not allowed: write text");
    refused("websockets_headers_size 100", "write 512 or more");
}

static void key_equals_value_is_answered(void **state)
{
    (void)state;
    refused("max_queued_messages = 5", "without =");
    refused("max_queued_messages=5", "without =");
    refused("listener = 1883", "without =");
}

/* ---- keys ---------------------------------------------------------------------------------- */

static void an_unknown_key_is_answered_with_the_nearest_one(void **state)
{
    (void)state;
    refused("max_inflght_messages 5",
            "unknown option \"max_inflght_messages\": did you mean \"max_inflight_messages\"?");
    refused("listner 1883", "did you mean \"listener\"?");
    refused("max_qso 1", "did you mean \"max_qos\"?");
    refused("alow_anonymous true", "did you mean \"allow_anonymous\"?");
    refused("MAX_QOS 1", "unknown option \"MAX_QOS\"");
    refused("xyzzy 1", "unknown option \"xyzzy\": see tern --help");
    refused("\x01\x02 5", "unknown option \"??\"");
}

static void a_key_that_is_refused_says_what_to_do_instead(void **state)
{
    (void)state;
    refused("psk_file /etc/psk", "pre-shared keys are not supported");
    refused("tls_engine pkcs11", "keys are read from PEM files");
    refused("use_username_as_clientid true", "client ids stay what clients say");
    refused("bridge_psk 00", "pre-shared keys are not supported");
    refused("plugin_opt_backend files", "plug-ins of mosquitto cannot be loaded");
    refused("auth_opt_x y", "plug-ins of mosquitto cannot be loaded");
}

static void a_refused_key_with_a_harmless_value_passes(void **state)
{
    struct fixture f;
    (void)state;
    loaded(&f, "listener 1883 127.0.0.1\ntls_keyform pem\n");
    assert_says(&f, CONFIG_NOTE, 2, "tls_keyform pem is what happens anyway");
    unload(&f);
}

static void a_key_without_effect_says_why(void **state)
{
    struct fixture f;
    (void)state;
    loaded(&f, "autosave_interval 60\nset_tcp_nodelay true\n");
    assert_says(&f, CONFIG_NOTE, 1, "autosave_interval has no effect: everything is saved");
    assert_says(&f, CONFIG_NOTE, 2, "set_tcp_nodelay has no effect: it is always on");
    assert_int_equal(f.report.warning_count, 0);
    unload(&f);
}

static void state_is_kept_on_disk_unless_the_file_says_otherwise(void **state)
{
    struct fixture f;
    (void)state;
    loaded(&f, "persistence_location /var/lib/tern/");
    assert_true(f.config->persistence);
    assert_int_equal(f.config->durability, CONFIG_FSYNC);
    assert_string_equal(f.config->persistence_location, "/var/lib/tern/");
    unload(&f);
    loaded(&f, "persistence false\ndurability relaxed");
    assert_int_equal(f.report.finding_count, 0);
    assert_false(f.config->persistence);
    assert_int_equal(f.config->durability, CONFIG_RELAXED);
    unload(&f);
}

static void a_very_short_keep_alive_is_the_operators_choice(void **state)
{
    struct fixture f;
    (void)state;
    loaded(&f, "max_keepalive 1\n");
    assert_int_equal(f.config->keepalive_max_s, 1);
    assert_says(&f, CONFIG_WARNING, 1, "write 10 or more, or 0");
    unload(&f);
}

static void all_errors_are_told_in_order(void **state)
{
    struct fixture f;
    (void)state;
    load(&f, "max_qso 1\nmax_queued_messages x\nmax_queued_bytes 5\nnonsense\nmemory_limit 3\n");
    assert_int_equal(f.err, ERR_INVALID);
    assert_int_equal(f.report.error_count, 4);
    assert_int_equal(f.report.findings[0].line, 1);
    assert_int_equal(f.report.findings[1].line, 2);
    assert_int_equal(f.report.findings[2].line, 4);
    assert_int_equal(f.report.findings[3].line, 5);
    unload(&f);
}

static void a_value_given_twice_is_told(void **state)
{
    struct fixture f;
    (void)state;
    loaded(&f, "max_queued_messages 5\nmax_queued_bytes 1\nmax_queued_messages 6\n");
    assert_says(&f, CONFIG_WARNING, 3,
                "max_queued_messages stands twice: this one counts, remove "
                "line 1");
    assert_int_equal(f.config->queue_max, 6);
    unload(&f);
}

/* ---- log_dest, http_listener --------------------------------------------------------------- */

static void log_dest_takes_one_of_four_forms(void **state)
{
    struct fixture f;
    (void)state;
    loaded(&f, "log_dest file /var/log/my tern.log");
    assert_string_equal(f.config->log_file, "/var/log/my tern.log");
    unload(&f);
    loaded(&f, "log_dest stdout");
    assert_string_equal(f.config->log_file, "");
    assert_string_equal(f.config->log_dest, "stdout");
    unload(&f);
    loaded(&f, "log_dest syslog");
    assert_says(&f, CONFIG_WARNING, 1, "the log goes to stderr");
    assert_string_equal(f.config->log_dest, "stderr");
    unload(&f);
    refused("log_dest file", "write stderr, stdout, file PATH, or none");
    refused("log_dest dlt", "write stderr, stdout, file PATH, or none");
}

static void http_listener_is_an_address_with_a_port(void **state)
{
    struct fixture f;
    (void)state;
    loaded(&f, "http_listener [::1]:9000");
    assert_string_equal(f.config->http_address, "::1");
    assert_int_equal(f.config->http_port, 9000);
    assert_int_equal(f.report.finding_count, 0);
    unload(&f);
    loaded(&f, "http_listener none");
    assert_string_equal(f.config->http_address, "");
    unload(&f);
    loaded(&f, "http_listener 0.0.0.0:9000");
    assert_says(&f, CONFIG_NOTE, 1, "whoever can reach 0.0.0.0:9000 can read /metrics");
    unload(&f);
    refused("http_listener 9000", "write an IP address and a port");
    refused("http_listener ::1:9000", "write an IP address and a port");
    refused("http_listener :9000", "write an IP address and a port");
    refused("http_listener 127.0.0.1:65536", "write an IP address and a port");
    refused("http_listener 127.0.0.1:", "write an IP address and a port");
    refused("http_listener 127.0.0.1:1883", "listener 1883 localhost has this address already");
}

/* ---- bounds -------------------------------------------------------------------------------- */

static void a_line_beyond_its_bound_is_refused(void **state)
{
    static char text[LIMIT_CONFIG_LINE_BYTES + 16];
    struct fixture f;
    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    refused(text, "the line is longer than 4096 bytes");
    f = (struct fixture){.sources = {.text = slice_of("max_qos 1\0\n", 11)}};
    load_sources(&f);
    assert_int_equal(f.err, ERR_INVALID);
    assert_says(&f, CONFIG_ERROR, 1, "NUL byte");
    unload(&f);
}

static void a_file_of_too_many_lines_is_refused(void **state)
{
    enum { BYTES = LIMIT_CONFIG_LINES + 10 };
    char *text = malloc(BYTES + 1);
    struct fixture f;
    (void)state;
    memset(text, '\n', BYTES);
    text[BYTES] = '\0';
    load(&f, text);
    assert_int_equal(f.err, ERR_INVALID);
    assert_int_equal(f.report.error_count, 1);
    unload(&f);
    text[LIMIT_CONFIG_LINES] = '\0';
    loaded(&f, text);
    unload(&f);
    free(text);
}

static void a_report_has_a_bound_and_counts_on(void **state)
{
    enum { LINES = LIMIT_CONFIG_REPORT_ITEMS + 500 };
    char *text = malloc(2 * LINES + 1);
    struct fixture f;
    (void)state;
    for (size_t i = 0; i < LINES; i++) {
        memcpy(text + 2 * i, "?\n", 3);
    }
    load(&f, text);
    assert_int_equal(f.err, ERR_INVALID);
    assert_int_equal(f.report.finding_count, LIMIT_CONFIG_REPORT_ITEMS);
    assert_int_equal(f.report.error_count, LINES);
    unload(&f);
    free(text);
}

static void a_list_has_a_bound(void **state)
{
    char text[16384] = "listener 8083 127.0.0.1\nprotocol websockets\n";
    struct fixture f;
    (void)state;
    for (int i = 0; i < LIMIT_CONFIG_LIST_ITEMS; i++) {
        strcat(text, "websockets_origin https://a.example\n");
    }
    loaded(&f, text);
    assert_int_equal(f.config->listeners[0].websockets_origins.count, LIMIT_CONFIG_LIST_ITEMS);
    unload(&f);
    strcat(text, "websockets_origin https://b.example\n");
    load(&f, text);
    assert_int_equal(f.err, ERR_INVALID);
    assert_says(&f, CONFIG_ERROR, LIMIT_CONFIG_LIST_ITEMS + 3, "more than 256 values");
    unload(&f);
}

/* ---- help and example ---------------------------------------------------------------------- */

static char *printed(void (*print)(FILE *file))
{
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);
    assert_non_null(file);
    print(file);
    fclose(file);
    return text;
}

static void help_names_every_option(void **state)
{
    char *text = printed(config_print_help), row[80];
    (void)state;
    for (uint32_t i = 0; i < config_option_count; i++) {
        if (config_options[i].type != TYPE_GROUP) {
            snprintf(row, sizeof(row), "\n  %s\n", config_options[i].key);
            assert_non_null(strstr(text, row));
        }
    }
    assert_non_null(strstr(text, "\n  listener PORT"));
    free(text);
}

static void only_expected_options_differ(void *context, const struct config_change *change)
{
    /* The example shows one value where the default depends, or where there is none. */
    (void)context;
    assert_true(strcmp(change->key, "allow_anonymous") == 0 || strcmp(change->key, "limit") == 0 ||
                strcmp(change->key, "ban") == 0 || strcmp(change->key, "websockets_origin") == 0 ||
                strcmp(change->key, "queue_policy_for") == 0 ||
                strcmp(change->key, "connection") == 0);
}

static void a_policy_for_a_filter_is_read_and_nonsense_is_named(void **state)
{
    struct fixture f;
    enum config_queue_policy policy;
    struct slice filter;
    (void)state;
    loaded(&f, "queue_policy_for reject alarms/#\nqueue_policy_for   drop_newest  room/+/a b \n");
    assert_int_equal(f.config->queue_policies.count, 2);
    assert_int_equal(config_queue_policy_for(f.config->queue_policies.items[0], &policy, &filter),
                     OK);
    assert_int_equal(policy, QUEUE_REJECT);
    assert_true(slice_is(filter, "alarms/#"));
    assert_int_equal(config_queue_policy_for(f.config->queue_policies.items[1], &policy, &filter),
                     OK);
    assert_int_equal(policy, QUEUE_DROP_NEWEST);
    assert_true(slice_is(filter, "room/+/a b"));
    unload(&f);
    assert_int_equal(config_queue_policy_for("reject", &policy, &filter), ERR_INVALID);
    assert_int_equal(config_queue_policy_for("drop alarms/#", &policy, &filter), ERR_INVALID);
    refused("queue_policy_for alarms/# reject\n", "write for instance queue_policy_for reject");
}

static enum err judge_short(const char *key, const char *value, char why[CONFIG_JUDGE_BYTES])
{
    if (strcmp(key, "ban") == 0 && strlen(value) < 5) {
        return OK;
    }
    strcpy(why, "too long: write less");
    return ERR_INVALID;
}

static void what_a_higher_floor_reads_it_judges(void **state)
{
    struct fixture f = {
        .sources = {.text = slice_text("ban x\nban abcde\nlimit y\n"), .judge = judge_short}};
    (void)state;
    load_sources(&f);
    assert_int_equal(f.err, ERR_INVALID);
    assert_int_equal(f.report.error_count, 2);
    assert_says(&f, CONFIG_ERROR, 2, "ban \"abcde\": too long: write less");
    assert_says(&f, CONFIG_ERROR, 3, "limit \"y\": too long: write less");
    unload(&f);
}

static void the_example_with_its_comments_taken_away_is_the_default(void **state)
{
    char *text = printed(config_print_example);
    struct config *standard = config_new_default();
    struct fixture f;
    (void)state;
    for (char *at = text; (at = strstr(at, "\n#")) != NULL; at++) {
        bool is_further = strncmp(at + 2, "certificate ", 12) == 0 || /* not without a first one, */
                          strncmp(at + 2, "cluster_peer ", 13) == 0;  /* nor the rest of a node */
        if (at[2] != ' ' && at[2] != '\n' && !is_further) {
            at[1] = ' ';
        }
    }
    loaded(&f, text);
    config_diff(standard, f.config, only_expected_options_differ, NULL);
    unload(&f);
    config_free(standard);
    free(text);
}

static void the_example_in_deploy_is_what_the_program_prints(void **state)
{
    char *text = printed(config_print_example);
    char *shipped = calloc(1, LIMIT_CONFIG_FILE_BYTES);
    FILE *file = fopen("deploy/tern.conf", "r");
    (void)state;
    assert_non_null(file);
    assert_true(fread(shipped, 1, LIMIT_CONFIG_FILE_BYTES - 1, file) > 0);
    fclose(file);
    size_t same = 0;
    while (text[same] != '\0' && text[same] == shipped[same]) {
        same++;
    }
    if (text[same] != shipped[same]) {
        fail_msg("differs at \"%.60s\": run tern --example-config > deploy/tern.conf", text + same);
    }
    free(shipped);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_configuration_this_machine_is_served_alone),
        cmocka_unit_test(every_key_stands_in_one_table_once),
        cmocka_unit_test(each_type_of_value_is_read),
        cmocka_unit_test(every_unit_of_time_counts_as_in_mosquitto),
        cmocka_unit_test(zero_in_flight_means_as_many_as_there_are_packet_ids),
        cmocka_unit_test(a_bad_value_is_answered_with_what_to_write),
        cmocka_unit_test(key_equals_value_is_answered),
        cmocka_unit_test(an_unknown_key_is_answered_with_the_nearest_one),
        cmocka_unit_test(a_key_that_is_refused_says_what_to_do_instead),
        cmocka_unit_test(a_refused_key_with_a_harmless_value_passes),
        cmocka_unit_test(a_key_without_effect_says_why),
        cmocka_unit_test(state_is_kept_on_disk_unless_the_file_says_otherwise),
        cmocka_unit_test(a_very_short_keep_alive_is_the_operators_choice),
        cmocka_unit_test(all_errors_are_told_in_order),
        cmocka_unit_test(a_value_given_twice_is_told),
        cmocka_unit_test(log_dest_takes_one_of_four_forms),
        cmocka_unit_test(http_listener_is_an_address_with_a_port),
        cmocka_unit_test(a_line_beyond_its_bound_is_refused),
        cmocka_unit_test(a_file_of_too_many_lines_is_refused),
        cmocka_unit_test(a_report_has_a_bound_and_counts_on),
        cmocka_unit_test(a_list_has_a_bound),
        cmocka_unit_test(help_names_every_option),
        cmocka_unit_test(a_policy_for_a_filter_is_read_and_nonsense_is_named),
        cmocka_unit_test(what_a_higher_floor_reads_it_judges),
        cmocka_unit_test(the_example_with_its_comments_taken_away_is_the_default),
        cmocka_unit_test(the_example_in_deploy_is_what_the_program_prints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
