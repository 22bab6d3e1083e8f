/*
 * security: files are read as a whole; what is bad later keeps what was, and nothing guards a
 * listener that its configuration does not name.
 *
 * TLS contexts are played by what stands below: what matters here is when they are made, shared, kept
 * and let go. A certificate file of the play says "good NOT_AFTER_S" or what is wrong with it.
 */
#include "core/broker/security.h"
#include "core/io/sys.h"
#include "core/io/watch.h"
#include "tests/lib/config_fixture.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NOW_S = 1800000000, DAY_S = 86400 };

/* ---- the play ------------------------------------------------------------------------------ */

struct tls_context {
    uint32_t refs, certificate_count;
    char files[4][160];
    int64_t not_after_s[4];
};

static int contexts; /* alive */
static struct {
    uint32_t count; /* made or tried */
    enum tls_ask ask;
    bool is_1_3_only;
    char protocol[16], crlfile[64];
    bool has_keylog;
    uint32_t pair_count;
} made;

enum err tls_context_new(const struct tls_settings *settings, uint64_t wall_ms,
                         struct tls_context **out, struct tls_trouble *trouble)
{
    struct tls_context *context = calloc(1, sizeof(*context));
    assert_true(settings->pair_count <= 4);
    assert_int_equal(wall_ms, NOW_S * UINT64_C(1000));
    made.count++;
    made.ask = settings->ask;
    made.is_1_3_only = settings->is_1_3_only;
    made.has_keylog = settings->keylog != NULL;
    made.pair_count = settings->pair_count;
    assert_int_equal(settings->protocol_count, 1);
    strcpy(made.protocol, settings->protocols[0]);
    snprintf(made.crlfile, sizeof(made.crlfile), "%s", settings->crlfile);
    for (uint32_t i = 0; i < settings->pair_count; i++) {
        char *text = NULL;
        size_t count;
        enum err err = sys_load_file(settings->pairs[i].certfile, 1000, &text, &count);
        if (err != OK || sscanf(text, "good %ld", &context->not_after_s[i]) != 1) {
            snprintf(trouble->text, sizeof(trouble->text), "%s: %s", settings->pairs[i].certfile,
                     err != OK ? "cannot be read" : text);
            free(text);
            free(context);
            return ERR_INVALID;
        }
        free(text);
        strcpy(context->files[i], settings->pairs[i].certfile);
    }
    context->certificate_count = settings->pair_count;
    context->refs = 1;
    contexts++;
    *out = context;
    return OK;
}

struct tls_context *tls_context_ref(struct tls_context *context)
{
    context->refs++;
    return context;
}

void tls_context_unref(struct tls_context *context)
{
    if (context != NULL && --context->refs == 0) {
        contexts--;
        free(context);
    }
}

uint32_t tls_context_certificate_count(const struct tls_context *context)
{
    return context->certificate_count;
}

struct tls_certificate tls_context_certificate(const struct tls_context *context, uint32_t index)
{
    return (struct tls_certificate){.file = context->files[index],
                                    .names = "localhost",
                                    .kind = "play",
                                    .not_after_s = context->not_after_s[index]};
}

/* ---- a folder with files, and what is read of it ------------------------------------------- */

struct world {
    char old_folder[256], folder[64];
    struct config *config;
    struct security *security;
    struct config_report report;
    enum err err;
};

static void write_text(const char *name, const char *text)
{
    FILE *file = fopen(name, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    assert_int_equal(chmod(name, 0600), 0);
}

static void write_certificate(const char *name, int64_t left_s)
{
    char text[64];
    snprintf(text, sizeof(text), "good %ld", (long)(NOW_S + left_s));
    write_text(name, text);
}

static int world_build(void **state)
{
    struct world *world = calloc(1, sizeof(*world));
    strcpy(world->folder, "/tmp/tern_test_security_XXXXXX");
    assert_non_null(getcwd(world->old_folder, sizeof(world->old_folder)));
    assert_non_null(mkdtemp(world->folder));
    assert_int_equal(chdir(world->folder), 0);
    memset(&made, 0, sizeof(made));
    write_certificate("c.pem", 90 * DAY_S);
    write_certificate("d.pem", 90 * DAY_S);
    write_text("k.pem", "key");
    write_text("acl", "user alice\ntopic read a/#\n");
    write_text("passwords", "");
    *state = world;
    return 0;
}

static int world_raze(void **state)
{
    struct world *world = *state;
    char command[128];
    security_free(world->security);
    config_free(world->config);
    config_report_deinit(&world->report);
    snprintf(command, sizeof(command), "rm -r %s", world->folder);
    assert_int_equal(chdir(world->old_folder), 0);
    assert_int_equal(system(command), 0);
    assert_int_equal(contexts, 0);
    free(world);
    return 0;
}

/* Read config's files, from what is there before, as a node does. NULL text: the same config. */
static void read_all(struct world *world, const char *text)
{
    struct config_sources sources = {.text = slice_text(text == NULL ? "" : text)};
    struct security *security = NULL;
    config_report_deinit(&world->report);
    if (text != NULL) {
        config_free(world->config);
        world->config = NULL;
        assert_int_equal(config_load(&sources, &world->config, &world->report), OK);
        config_report_deinit(&world->report);
    }
    world->err = security_load(world->config, world->security, NULL, NOW_S * UINT64_C(1000),
                               &security, &world->report);
    if (security != NULL) {
        security_free(world->security);
        world->security = security;
    }
}

static bool told(const struct world *world, enum config_severity severity, const char *source,
                 uint32_t line, const char *part)
{
    for (uint32_t i = 0; i < world->report.finding_count; i++) {
        const struct config_finding *finding = &world->report.findings[i];
        if (finding->severity == severity && strcmp(finding->source, source) == 0 &&
            finding->line == line && strstr(finding->text, part) != NULL) {
            return true;
        }
    }
    config_report_print(&world->report, stderr);
    return false;
}

#define LISTENER(port) "listener " port " 127.0.0.1\n"
#define TLS            "certfile c.pem\nkeyfile k.pem\n"

/* ---- at the start -------------------------------------------------------------------------- */

static void what_is_not_named_does_not_guard(void **state)
{
    struct world *world = *state;
    read_all(world, LISTENER("1883"));
    assert_int_equal(world->err, OK);
    assert_null(world->security->listeners[0].tls);
    assert_null(world->security->listeners[0].passwords);
    assert_null(world->security->listeners[0].acl);
    assert_int_equal(world->security->item_count, 0);
    assert_int_equal(world->report.finding_count, 0);
    assert_false(security_has_secrets(world->security));
}

static void listeners_that_name_the_same_files_share_what_was_read(void **state)
{
    struct world *world = *state;
    read_all(world, "password_file passwords\nacl_file acl\n" LISTENER("1883") LISTENER("8883")
                        TLS LISTENER("8884") TLS LISTENER("8885") TLS "tls_version tlsv1.3\n");
    assert_int_equal(world->err, OK);
    const struct listener_security *listeners = world->security->listeners;
    assert_non_null(listeners[0].passwords);
    assert_ptr_equal(listeners[0].passwords, listeners[3].passwords);
    assert_ptr_equal(listeners[0].acl, listeners[3].acl);
    assert_null(listeners[0].tls);
    assert_ptr_equal(listeners[1].tls, listeners[2].tls);
    assert_ptr_not_equal(listeners[1].tls, listeners[3].tls);
    assert_int_equal(made.count, 2);
    assert_true(made.is_1_3_only);
    assert_int_equal(world->report.finding_count, 0);
    assert_true(security_has_secrets(world->security));
    /* Of passwords and rules one item for all, of TLS one for each listener. */
    assert_int_equal(world->security->item_count, 5);
    assert_string_equal(world->security->items[0].listener, "");
    assert_string_equal(world->security->items[0].file, "passwords");
    assert_int_equal(world->security->items[4].kind, SECURITY_TLS);
    assert_string_equal(world->security->items[4].listener, "8885 127.0.0.1");
    assert_int_equal(world->security->items[4].expires_s, NOW_S + 90 * DAY_S);
}

static void what_a_listener_says_of_tls_arrives(void **state)
{
    struct world *world = *state;
    read_all(world, LISTENER("8883") TLS "certificate d.pem k.pem\nprotocol websockets\n"
                                         "cafile c.pem\ncrlfile r.pem\n"
                                         "require_certificate optional\n");
    assert_int_equal(made.pair_count, 2);
    assert_int_equal(made.ask, TLS_ASK_OPTIONAL);
    assert_string_equal(made.protocol, "http/1.1");
    assert_string_equal(made.crlfile, "r.pem");
    assert_false(made.has_keylog || made.is_1_3_only);
    assert_int_equal(world->security->item_count, 2);
    assert_string_equal(world->security->items[1].file, "d.pem");
    assert_int_equal(watch_count(world->security->watch), 4); /* c, k, d, r */
    read_all(world, "tls_keylog keys\n" LISTENER("8883") TLS);
    assert_string_equal(made.protocol, "mqtt");
    assert_true(made.has_keylog);
}

static void all_that_is_bad_is_told_at_once(void **state)
{
    struct world *world = *state;
    write_text("acl", "user alice\ntopic nonsense\ntopic read a/#/b\n");
    write_text("c.pem", "it has expired");
    read_all(world, "password_file none\nacl_file acl\n" LISTENER("8883") TLS);
    assert_int_equal(world->err, ERR_INVALID);
    assert_null(world->security);
    assert_true(told(world, CONFIG_ERROR, "none", 0, "there is no such file"));
    assert_true(told(world, CONFIG_ERROR, "listener 8883 127.0.0.1", 0, "c.pem: it has expired"));
    assert_int_equal(world->report.error_count, 3);
}

static void what_is_no_file_is_refused(void **state)
{
    struct world *world = *state;
    read_all(world, "password_file /tmp\n");
    assert_true(told(world, CONFIG_ERROR, "/tmp", 0, "it is no regular file"));
    assert_int_equal(mkfifo("pipe", 0600), 0);
    read_all(world, "acl_file pipe\n");
    assert_true(told(world, CONFIG_ERROR, "pipe", 0, "it is no regular file"));
    assert_int_equal(world->err, ERR_INVALID);
}

static void a_line_that_is_wrong_is_told_with_its_number(void **state)
{
    struct world *world = *state;
    write_text("passwords", "alice:$9$what\n");
    read_all(world, "password_file passwords\n");
    assert_int_equal(world->err, ERR_INVALID);
    assert_true(told(world, CONFIG_ERROR, "passwords", 1, ""));
    write_text("acl", "topic read a\nfrobnicate\n");
    read_all(world, "acl_file acl\n");
    assert_true(told(world, CONFIG_ERROR, "acl", 2, ""));
}

static void files_that_others_can_touch_are_told_and_taken(void **state)
{
    struct world *world = *state;
    chmod("k.pem", 0644);
    chmod("passwords", 0620);
    chmod("acl", 0640);
    chmod("c.pem", 0644);
    read_all(world, "password_file passwords\nacl_file acl\n" LISTENER("8883") TLS);
    assert_int_equal(world->err, OK);
    assert_true(told(world, CONFIG_WARNING, "k.pem", 0, "others than its owner can read it"));
    assert_true(told(world, CONFIG_WARNING, "passwords", 0, "can write it: chmod 600 passwords"));
    assert_int_equal(world->report.warning_count, 2);
}

static void rules_for_users_whom_nobody_can_prove_to_be_are_told(void **state)
{
    struct world *world = *state;
    read_all(world, "acl_file acl\n" LISTENER("1883"));
    assert_int_equal(world->err, OK);
    assert_true(told(world, CONFIG_NOTE, "acl", 0, "nobody can prove to be one"));
    write_text("acl", "topic read a/#\npattern read b/%u\n");
    read_all(world, NULL);
    assert_int_equal(world->report.finding_count, 0);
}

static void a_certificate_that_ends_soon_is_told(void **state)
{
    struct world *world = *state;
    write_certificate("c.pem", 15 * DAY_S);
    read_all(world, LISTENER("8883") TLS LISTENER("8884") TLS "tls_version tlsv1.3\n");
    assert_int_equal(world->report.finding_count, 0);
    write_certificate("c.pem", 13 * DAY_S);
    read_all(world, NULL);
    assert_true(told(world, CONFIG_WARNING, "c.pem", 0, "the certificate ends on 2027-01-28 "));
    assert_int_equal(world->report.warning_count, 1); /* once, though two listeners serve it */
    config_report_deinit(&world->report);
    security_expiry_check(world->security, (NOW_S + 14 * DAY_S) * UINT64_C(1000), &world->report);
    assert_true(told(world, CONFIG_WARNING, "c.pem", 0, "ended on 2027-01-28 "));
}

/* ---- later --------------------------------------------------------------------------------- */

static void what_is_bad_later_keeps_what_was_and_heals(void **state)
{
    struct world *world = *state;
    read_all(world, "acl_file acl\n" LISTENER("8883") TLS LISTENER("8884") TLS
             "certificate d.pem k.pem\n");
    const struct tls_context *first = world->security->listeners[0].tls;
    const struct tls_context *second = world->security->listeners[1].tls;
    const struct acl *rules = world->security->listeners[0].acl;
    write_text("d.pem", "the key does not fit");
    write_text("acl", "nonsense\n");
    read_all(world, NULL);
    assert_int_equal(world->err, ERR_INVALID);
    assert_ptr_not_equal(world->security->listeners[0].tls, first);
    assert_ptr_equal(world->security->listeners[1].tls, second);
    assert_ptr_equal(world->security->listeners[0].acl, rules);
    for (uint32_t i = 0; i < world->security->item_count; i++) {
        const struct security_item *item = &world->security->items[i];
        bool is_bad = item->kind == SECURITY_ACL || strcmp(item->listener, "8884 127.0.0.1") == 0;
        assert_int_equal(item->is_stale, is_bad);
        assert_int_equal(item->trouble[0] != '\0', is_bad);
    }
    /* Once more, and it is still there; mended, it is new. */
    read_all(world, NULL);
    assert_ptr_equal(world->security->listeners[1].tls, second);
    write_certificate("d.pem", 30 * DAY_S);
    write_text("acl", "topic read a/#\n");
    read_all(world, NULL);
    assert_int_equal(world->err, OK);
    assert_ptr_not_equal(world->security->listeners[1].tls, second);
    assert_ptr_not_equal(world->security->listeners[0].acl, rules);
    assert_int_equal(world->security->items[world->security->item_count - 1].expires_s,
                     NOW_S + 30 * DAY_S);
}

/* Else a listener that is to ask for certificates would go on without asking. */
static void what_is_said_anew_has_nothing_to_go_back_to(void **state)
{
    struct world *world = *state;
    read_all(world, "acl_file acl\n" LISTENER("8883") TLS);
    const struct security *was = world->security;
    read_all(world, "acl_file other\n" LISTENER("8883") TLS);
    assert_int_equal(world->err, ERR_INVALID);
    assert_ptr_equal(world->security, was);
    write_text("c.pem", "it has expired");
    read_all(world,
             "acl_file acl\n" LISTENER("8883") TLS "cafile c.pem\nrequire_certificate true\n");
    assert_int_equal(world->err, ERR_INVALID);
    assert_ptr_equal(world->security, was);
    read_all(world, "acl_file acl\n" LISTENER("8883") TLS);
    assert_int_equal(world->err, ERR_INVALID);
    assert_ptr_not_equal(world->security, was); /* this could go back */
}

static void a_file_that_is_gone_leaves_what_it_said(void **state)
{
    struct world *world = *state;
    read_all(world, "password_file passwords\n");
    const struct passwords *before = world->security->listeners[0].passwords;
    unlink("passwords");
    assert_false(security_files_changed(world->security));
    assert_true(security_files_changed(world->security));
    read_all(world, NULL);
    assert_ptr_equal(world->security->listeners[0].passwords, before);
    assert_string_equal(world->security->items[0].trouble,
                        "there is no such file: write it, or mend the path");
    /* Told once: nothing changes any more. */
    assert_false(security_files_changed(world->security));
    assert_false(security_files_changed(world->security));
    write_text("passwords", "");
    assert_false(security_files_changed(world->security));
    assert_true(security_files_changed(world->security));
    read_all(world, NULL);
    assert_int_equal(world->err, OK);
}

static void files_that_cannot_be_read_again_are_told(void **state)
{
    struct world *world = *state;
    read_all(world, "acl_file acl\npassword_file passwords\n");
    security_readable_check(world->security, &world->report);
    unlink("acl");
    config_report_deinit(&world->report);
    security_readable_check(world->security, &world->report);
    assert_true(told(world, CONFIG_WARNING, "acl", 0, "may not read it, so it cannot be reloaded"));
    assert_int_equal(world->report.finding_count, 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_build, world_raze)
    const struct CMUnitTest tests[] = {
        TEST(what_is_not_named_does_not_guard),
        TEST(listeners_that_name_the_same_files_share_what_was_read),
        TEST(what_a_listener_says_of_tls_arrives),
        TEST(all_that_is_bad_is_told_at_once),
        TEST(what_is_no_file_is_refused),
        TEST(a_line_that_is_wrong_is_told_with_its_number),
        TEST(files_that_others_can_touch_are_told_and_taken),
        TEST(rules_for_users_whom_nobody_can_prove_to_be_are_told),
        TEST(a_certificate_that_ends_soon_is_told),
        TEST(what_is_bad_later_keeps_what_was_and_heals),
        TEST(what_is_said_anew_has_nothing_to_go_back_to),
        TEST(a_file_that_is_gone_leaves_what_it_said),
        TEST(files_that_cannot_be_read_again_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
