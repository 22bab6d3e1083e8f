/*
 * config_security: what guards a listener. A line that is missing is an error where its owner would
 * believe a door shut that is open.
 */
#include "tests/lib/config_fixture.h"

#define TLS  "certfile c.pem\nkeyfile k.pem\n"
#define MTLS TLS "cafile ca.pem\nrequire_certificate true\n"

/* Refused at that line, for that reason, and for no other. */
static void refused_at(const char *text, uint32_t line, const char *part)
{
    struct fixture f;
    load(&f, text);
    assert_says(&f, CONFIG_ERROR, line, part);
    assert_int_equal(f.report.error_count, 1);
    assert_int_equal(f.err, ERR_INVALID);
    unload(&f);
}

static void told_at(const char *text, enum config_severity severity, uint32_t line,
                    const char *part)
{
    struct fixture f;
    loaded(&f, text);
    assert_says(&f, severity, line, part);
    assert_int_equal(f.report.finding_count, 1);
    unload(&f);
}

static void silent(const char *text)
{
    struct fixture f;
    loaded(&f, text);
    config_report_print(&f.report, stderr);
    assert_int_equal(f.report.finding_count, 0);
    unload(&f);
}

/* ---- TLS ----------------------------------------------------------------------------------- */

static void a_listener_with_certificate_and_key_has_tls(void **state)
{
    struct fixture f;
    (void)state;
    loaded(&f, "listener 8883 127.0.0.1\n" TLS "certificate c2.pem k2.pem\ntls_version tlsv1.3\n"
               "listener 8884 127.0.0.1\n" TLS "protocol websockets\n"
               "listener 1883 127.0.0.1\nlistener 0 /run/tern.sock\n" TLS);
    assert_int_equal(f.report.finding_count, 0);
    assert_true(config_listener_is_tls(&f.config->listeners[0]));
    assert_true(config_listener_is_tls(&f.config->listeners[1]));
    assert_false(config_listener_is_tls(&f.config->listeners[2]));
    assert_true(config_listener_is_tls(&f.config->listeners[3]));
    assert_int_equal(f.config->listeners[0].tls_version, TLS_VERSION_1_3);
    unload(&f);
}

static void half_of_a_pair_is_refused(void **state)
{
    (void)state;
    refused_at("listener 8883 ::1\ncertfile c.pem\n", 2, "certfile: its private key is missing");
    refused_at("listener 8883 ::1\nkeyfile k.pem\n", 2, "keyfile: its certificate is missing");
    refused_at("listener 8883 ::1\ncertificate c.pem k.pem\n", 2,
               "write the first as certfile and keyfile");
}

static void a_listener_does_not_serve_in_clear_what_was_meant_for_tls(void **state)
{
    static const char *const lines[] = {"cafile ca.pem",
                                        "capath /etc/ca",
                                        "crlfile crl.pem",
                                        "require_certificate true",
                                        "require_certificate optional",
                                        "use_identity_as_username true",
                                        "use_subject_as_username true"};
    char text[256];
    (void)state;
    for (uint32_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        snprintf(text, sizeof(text), "listener 8883 ::1\n%s\n", lines[i]);
        refused_at(text, 2, "everything would be in clear: write certfile and keyfile");
    }
    told_at("listener 8883 ::1\ntls_version tlsv1.3\n", CONFIG_WARNING, 2, "would be in clear");
    told_at("listener 8883 ::1\ntls_curves P-256\n", CONFIG_WARNING, 2, "would be in clear");
    told_at("listener 8883 ::1\nciphers ECDHE\n", CONFIG_WARNING, 2, "would be in clear");
    silent("listener 8883 ::1\nrequire_certificate false\nuse_identity_as_username false\n");
}

static void old_versions_of_tls_are_refused_with_the_one_to_write(void **state)
{
    (void)state;
    refused("tls_version tlsv1", "tlsv1 is not safe any more: write tlsv1.2");
    refused("tls_version tlsv1.1", "tlsv1.1 is not safe any more: write tlsv1.2");
    refused("tls_version sslv3", "write one of tlsv1.2, tlsv1.3");
    silent("listener 8883 ::1\n" TLS "tls_version tlsv1.2\n");
}

static void further_certificates_are_two_paths_each(void **state)
{
    struct slice cert, key;
    (void)state;
    refused_at("listener 8883 ::1\n" TLS "certificate c.pem\n", 4, "is not two paths");
    refused_at("listener 8883 ::1\n" TLS "certificate a b c\n", 4, "is not two paths");
    told_at("listener 8883 ::1\n" TLS "certificate c.pem other.pem\n", CONFIG_WARNING, 4,
            "c.pem is there already");
    told_at("listener 8883 ::1\n" TLS "certificate d d\ncertificate d d\n", CONFIG_WARNING, 5,
            "d is there already");
    assert_int_equal(config_certificate("a.pem \t b.key", &cert, &key), OK);
    assert_true(slice_is(cert, "a.pem") && slice_is(key, "b.key"));
}

static void client_certificates_need_an_authority(void **state)
{
    (void)state;
    silent("listener 8883 ::1\n" MTLS);
    silent("listener 8883 ::1\n" TLS "capath /etc/ca\nrequire_certificate optional\n");
    silent("listener 8883 ::1\n" MTLS "crlfile crl.pem\nuse_identity_as_username true\n");
    refused_at("listener 8883 ::1\n" TLS "require_certificate true\n", 4,
               "nobody is trusted to sign them: write cafile or capath");
    refused_at("listener 8883 ::1\n" TLS "require_certificate optional\n", 4, "write cafile");
    refused_at("listener 8883 ::1\n" TLS "crlfile crl.pem\n", 4, "whose revocation list is it?");
    refused_at("listener 8883 ::1\n" TLS "cafile ca\nuse_subject_as_username true\n", 5,
               "write require_certificate true");
    refused_at("listener 8883 ::1\n" MTLS
               "use_identity_as_username true\nuse_subject_as_username true\n",
               7, "remove one of them");
    told_at("listener 8883 ::1\n" TLS "cafile ca.pem\n", CONFIG_NOTE, 4, "cafile: has no effect");
}

static void a_key_log_is_told_loudly(void **state)
{
    (void)state;
    told_at("tls_keylog /tmp/keys\n", CONFIG_WARNING, 1, "reads all that TLS protects");
}

/* ---- passwords and rules ------------------------------------------------------------------- */

static void an_empty_path_is_told_in_the_file_and_switches_off_elsewhere(void **state)
{
    char *environment[] = {"TERN_PASSWORD_FILE=", NULL};
    struct fixture f = {
        .sources = {.text = slice_text("password_file p\n"), .environment = environment}};
    (void)state;
    told_at("password_file\n", CONFIG_WARNING, 1, "no path, so there is none: write one");
    told_at("acl_file\n", CONFIG_WARNING, 1, "acl_file: no path");
    load_sources(&f);
    assert_int_equal(f.err, OK);
    assert_string_equal(f.config->listeners[0].password_file, "");
    unload(&f);
}

static void with_a_password_file_nobody_is_anonymous_unless_the_file_says_so(void **state)
{
    struct fixture f;
    (void)state;
    loaded(&f, "password_file p\nlistener 1883 127.0.0.1\nlistener 0 /run/tern.sock\n");
    assert_false(f.config->listeners[0].allow_anonymous);
    assert_false(f.config->listeners[1].allow_anonymous);
    assert_string_equal(f.config->listeners[1].password_file, "p");
    unload(&f);
    loaded(&f, "password_file p\nallow_anonymous true\nlistener 1883 127.0.0.1\n");
    assert_true(f.config->listeners[0].allow_anonymous);
    unload(&f);
    loaded(&f, "per_listener_settings true\nlistener 1883 127.0.0.1\npassword_file p\n"
               "acl_file a\nlistener 1884 127.0.0.1\n");
    assert_false(f.config->listeners[0].allow_anonymous);
    assert_string_equal(f.config->listeners[0].acl_file, "a");
    assert_true(f.config->listeners[1].allow_anonymous);
    assert_string_equal(f.config->listeners[1].password_file, "");
    assert_string_equal(f.config->listeners[1].acl_file, "");
    unload(&f);
}

static void certificates_that_name_users_need_no_password_file(void **state)
{
    struct fixture f;
    (void)state;
    loaded(&f, "listener 8883\n" MTLS "use_identity_as_username true\n");
    assert_false(f.config->listeners[0].allow_anonymous);
    assert_int_equal(f.report.finding_count, 0);
    unload(&f);
    told_at("listener 8883\n" MTLS, CONFIG_NOTE, 1, "nothing tells which names are good");
}

static void passwords_in_clear_are_told(void **state)
{
    (void)state;
    told_at("password_file p\nlistener 1883\n", CONFIG_WARNING, 2, "so they are refused");
    told_at("password_file p\nlistener 1883\nallow_cleartext_passwords true\n", CONFIG_WARNING, 3,
            "whoever is on the way");
    silent("password_file p\nlistener 1883 127.0.0.1\nlistener 8883\n" TLS);
}

static void what_guards_no_listener_is_an_error(void **state)
{
    (void)state;
    refused_at("per_listener_settings true\nacl_file a\nlistener 1883 127.0.0.1\n", 2,
               "acl_file stands above the first listener and guards nothing there");
    refused_at("certfile c.pem\nlistener 1883 127.0.0.1\n", 1, "guards nothing there");
    refused_at("per_listener_settings true\npassword_file p\nlistener 1883 127.0.0.1\n", 2,
               "move it below a listener line");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_listener_with_certificate_and_key_has_tls),
        cmocka_unit_test(half_of_a_pair_is_refused),
        cmocka_unit_test(a_listener_does_not_serve_in_clear_what_was_meant_for_tls),
        cmocka_unit_test(old_versions_of_tls_are_refused_with_the_one_to_write),
        cmocka_unit_test(further_certificates_are_two_paths_each),
        cmocka_unit_test(client_certificates_need_an_authority),
        cmocka_unit_test(a_key_log_is_told_loudly),
        cmocka_unit_test(an_empty_path_is_told_in_the_file_and_switches_off_elsewhere),
        cmocka_unit_test(with_a_password_file_nobody_is_anonymous_unless_the_file_says_so),
        cmocka_unit_test(certificates_that_name_users_need_no_password_file),
        cmocka_unit_test(passwords_in_clear_are_told),
        cmocka_unit_test(what_guards_no_listener_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
