#include "tests/lib/tls_pair.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Files that are wrong in every way, in a folder of this test's own. */

static char folder[] = "/tmp/tern-tls-XXXXXX";

static const char script[] =
    "set -e; cd %s; C=%s\n"
    "cp $C/server-ecdsa.pem good.pem; cp $C/server-ecdsa.key good.key\n"
    "cp $C/server-ecdsa.key swapped.pem; cp $C/server-ecdsa.pem swapped.key\n"
    "cp $C/server-ecdsa.pem otherkey.pem; cp $C/server-renewed.key otherkey.key\n"
    ": > empty.pem; : > empty.key; echo hello > text.pem; echo hello > text.key\n"
    "mkdir folder.pem folder.key\n"
    "openssl x509 -in $C/server-ecdsa.pem -outform DER -out der.pem\n"
    "cp $C/server-ecdsa.key der.key\n"
    "cp $C/server-ecdsa.pem derkey.pem\n"
    "openssl pkey -in $C/server-ecdsa.key -outform DER -out derkey.key\n"
    "cp $C/server-ecdsa.pem encrypted.pem\n"
    "openssl pkcs8 -topk8 -in $C/server-ecdsa.key -passout pass:secret -out encrypted.key\n"
    "cp $C/server-rsa.pem oldcrypt.pem\n"
    "openssl rsa -in $C/server-rsa.key -aes128 -passout pass:secret -traditional -out oldcrypt.key 2>/dev/null\n"
    "cp $C/server-rsa.pem oldrsa.pem; openssl rsa -in $C/server-rsa.key -traditional -out oldrsa.key 2>/dev/null\n"
    "cp $C/server-ecdsa.pem oldec.pem; openssl ecparam -name prime256v1 -out oldec.key\n"
    "openssl ec -in $C/server-ecdsa.key -out x.key 2>/dev/null; cat x.key >> oldec.key\n"
    "cat $C/server-ecdsa.key $C/server-ecdsa.pem > both.pem; cp both.pem both.key\n"
    "cat $C/intermediate.pem $C/server-ecdsa.pem > upside.pem; cp good.key upside.key\n"
    "cat $C/server-ecdsa.pem $C/other.pem > gap.pem; cp good.key gap.key\n"
    "printf '[req]\\ndistinguished_name=dn\\n[dn]\\n' > min.cnf\n"
    "openssl req -x509 -config min.cnf -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 "
    "-subj '/O=Tern/CN=Tern test intermediate' -days 5 -keyout x.key -out x.pem 2>/dev/null\n"
    "cat $C/server-ecdsa.pem | sed '/END/q' > forged.pem; cat x.pem >> forged.pem; cp good.key forged.key\n"
    "sed 's/^MI/MJ/' $C/server-ecdsa.pem > damaged.pem; cp good.key damaged.key\n"
    "head -5 $C/server-ecdsa.pem > cut.pem; cp good.key cut.key\n"
    "for i in 1 2 3 4 5 6 7 8 9 10; do cat $C/intermediate.pem; done > x.pem\n"
    "cat good.pem x.pem > long.pem; cp good.key long.key\n"
    "head -c 9000000 /dev/zero > huge.pem; cp good.key huge.key\n"
    "openssl req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-521 -subj /CN=p521 "
    "-days 5 -keyout p521.key -out p521.pem 2>/dev/null\n"
    "openssl req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:secp256k1 -subj /CN=k1 "
    "-days 5 -keyout k1.key -out k1.pem 2>/dev/null\n"
    "openssl req -x509 -nodes -newkey ed448 -subj /CN=ed448 "
    "-days 5 -keyout ed448.key -out ed448.pem 2>/dev/null\n"
    "mkdir cas nothing; cp $C/root.pem cas/a.pem; cp $C/other.pem cas/b.crt\n"
    "ln -s a.pem cas/12345678.0; echo readme > cas/README; cp $C/server-ecdsa.key cas/some.key\n"
    "mkdir cas/sub; echo hello > nothing/file\n"
    "cat $C/root.pem damaged.pem > badca.pem\n"
    "ln -s elsewhere link.log; touch open.log; chmod 644 open.log; mkdir folder.log\n";

static int make_files(void **state)
{
    char command[8192];
    (void)state;
    assert_non_null(mkdtemp(folder));
    tls_folder_find();
    snprintf(command, sizeof(command), script, folder, tls_folder);
    return system(command);
}

static int remove_files(void **state)
{
    char command[128];
    (void)state;
    snprintf(command, sizeof(command), "rm -r %s", folder);
    return system(command);
}

static const char *at(const char *name)
{
    static char paths[8][128];
    static unsigned next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
    return path;
}

static void check_trouble(struct server_wish wish, enum err want, const char *text)
{
    struct tls_context *context = NULL;
    struct tls_trouble trouble = {.text = ""};
    enum err err = server_try(wish, &context, &trouble);
    if (err != want || strstr(trouble.text, text) == NULL) {
        print_error("%s, said: %s, wanted: %s\n", err_name(err), trouble.text, text);
    }
    assert_int_equal(err, want);
    assert_non_null(strstr(trouble.text, text));
    assert_null(strchr(trouble.text, '\n'));
    assert_null(context);
}

/* ---- pairs --------------------------------------------------------------------------------- */

static void a_bad_pair_is_told_apart(void **state)
{
    static const struct {
        const char *name;
        enum err err;
        const char *text;
    } rows[] = {
        {"swapped", ERR_INVALID,
         "swapped.pem: has a key and no certificate: were certfile and keyfile swapped?"},
        {"otherkey", ERR_INVALID, "otherkey.key: does not belong to certfile"},
        {"empty", ERR_INVALID, "empty.pem: is empty"},
        {"text", ERR_INVALID, "text.pem: has no PEM block"},
        {"folder", ERR_INVALID, "folder.pem: is a folder"},
        {"missing", ERR_NOT_FOUND, "missing.pem: there is no such file"},
        {"der", ERR_INVALID, "der.pem: is DER, and PEM is wanted"},
        {"derkey", ERR_INVALID, "derkey.key: is DER, and PEM is wanted"},
        {"encrypted", ERR_INVALID, "encrypted.key: the key is encrypted"},
        {"oldcrypt", ERR_INVALID, "oldcrypt.key: the key is encrypted"},
        {"upside", ERR_INVALID, "the key fits certificate 2, not the first"},
        {"gap", ERR_INVALID, "certificate 2 is not signed by certificate 3"},
        {"forged", ERR_INVALID, "certificate 1 is not signed by certificate 2"},
        {"damaged", ERR_INVALID, "damaged"},
        {"cut", ERR_INVALID, "block 1 is damaged"},
        {"long", ERR_INVALID, "more than 10 certificates"},
        {"huge", ERR_INVALID, "larger than 8 MiB"},
        {"k1", ERR_INVALID, "of a kind that is not supported"},
        {"ed448", ERR_INVALID, "of a kind that is not supported"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct server_wish wish = {.names = {at(rows[i].name)}};
        check_trouble(wish, rows[i].err, rows[i].text);
        /* As the second one it is as bad. */
        wish = (struct server_wish){.names = {"rsa", at(rows[i].name)}};
        check_trouble(wish, rows[i].err, rows[i].text);
    }
    check_trouble((struct server_wish){.names = {"expired"}}, ERR_INVALID,
                  "certificate 1 expired at 20");
    check_trouble((struct server_wish){.names = {"future"}}, ERR_INVALID,
                  "certificate 1 is not valid before 20");
    check_trouble((struct server_wish){.names = {"weak"}}, ERR_INVALID, "an RSA key of 1024 bits");
}

static void every_way_to_write_a_good_pair_is_read(void **state)
{
    static const char *const names[] = {"good", "oldrsa", "oldec", "both", "p521"};
    static const char *const kinds[] = {"ECDSA P-256", "RSA 2048", "ECDSA P-256", "ECDSA P-256",
                                        "ECDSA P-521"};
    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct tls_context *server = server_make((struct server_wish){.names = {at(names[i])}});
        struct tls_context *client = client_make((struct client_wish){.is_insecure = true});
        struct tls_duo duo;
        assert_string_equal(tls_context_certificate(server, 0).kind, kinds[i]);
        duo_init(&duo, server, client, NULL);
        duo_open(&duo);
        duo_talk(&duo);
        duo_deinit(&duo);
        tls_context_unref(server);
        tls_context_unref(client);
    }
}

static void a_missing_name_is_said(void **state)
{
    static const struct tls_pair pairs[] = {
        {"", "a.key"}, {NULL, "a.key"}, {"a.pem", ""}, {"a.pem", NULL}};
    (void)state;
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        struct tls_settings settings = {.pairs = &pairs[i], .pair_count = 1};
        struct tls_context *context = NULL;
        struct tls_trouble trouble = {.text = ""};
        assert_int_equal(tls_context_new(&settings, tls_now_ms(), &context, &trouble), ERR_INVALID);
        assert_non_null(
            strstr(trouble.text, i < 2 ? "certfile: is missing" : "keyfile: is missing"));
    }
}

/* The folder is open to this user alone, so anybody else may not read in it. */
static void a_file_that_may_not_be_read_is_said(void **state)
{
    enum { NOBODY = 65534 };
    int status = -1;
    (void)state;
    if (geteuid() != 0) {
        assert_int_equal(chmod(at("good.key"), 0), 0);
    }
    pid_t child = fork();
    if (child == 0) {
        struct tls_context *context = NULL;
        struct tls_trouble trouble = {.text = ""};
        struct server_wish wish = {.names = {at("good")}};
        if (geteuid() == 0 && setresuid(NOBODY, NOBODY, NOBODY) != 0) {
            _exit(2);
        }
        bool is_said = server_try(wish, &context, &trouble) == ERR_PERMISSION &&
                       strstr(trouble.text, "may not be read") != NULL;
        _exit(is_said ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(chmod(at("good.key"), 0600), 0);
}

/* ---- trust --------------------------------------------------------------------------------- */

static void bad_trust_is_told_apart(void **state)
{
    static const struct {
        const char *cafile, *capath, *crlfile;
        enum tls_ask ask;
        enum err err;
        const char *text;
    } rows[] = {
        {NULL, NULL, NULL, TLS_ASK_REQUIRED, ERR_INVALID, "set cafile or capath"},
        {NULL, NULL, NULL, TLS_ASK_OPTIONAL, ERR_INVALID, "set cafile or capath"},
        {NULL, NULL, "crl.pem", TLS_ASK_NO, ERR_INVALID, "name cafile or capath, too"},
        {"empty.pem", NULL, NULL, TLS_ASK_REQUIRED, ERR_INVALID, "cafile"},
        {"good.key", NULL, NULL, TLS_ASK_NO, ERR_INVALID, "has no certificate"},
        {"missing.pem", NULL, NULL, TLS_ASK_REQUIRED, ERR_NOT_FOUND, "there is no such file"},
        {"der.pem", NULL, NULL, TLS_ASK_REQUIRED, ERR_INVALID, "is DER, and PEM is wanted"},
        {"badca.pem", NULL, NULL, TLS_ASK_REQUIRED, ERR_INVALID, "block 2 is damaged"},
        {NULL, "missing", NULL, TLS_ASK_REQUIRED, ERR_NOT_FOUND, "capath"},
        {NULL, "nothing", NULL, TLS_ASK_REQUIRED, ERR_INVALID, "no file in it has a certificate"},
        {NULL, "good.pem", NULL, TLS_ASK_REQUIRED, ERR_INVALID, "name a folder"},
        {"ca.pem", NULL, "crl-other.pem", TLS_ASK_REQUIRED, ERR_INVALID,
         "is not signed by a CA of cafile"},
        {"ca.pem", NULL, "crl-old.pem", TLS_ASK_REQUIRED, ERR_INVALID,
         "should have been renewed by"},
        {"ca.pem", NULL, "ca.pem", TLS_ASK_REQUIRED, ERR_INVALID,
         "has no list of revoked certificates"},
        {"ca.pem", NULL, "missing.pem", TLS_ASK_REQUIRED, ERR_NOT_FOUND, "crlfile"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *names[3] = {rows[i].cafile, rows[i].capath, rows[i].crlfile};
        for (size_t j = 0; j < 3; j++) {
            bool is_shared = names[j] != NULL &&
                             (strcmp(names[j], "ca.pem") == 0 || strncmp(names[j], "crl", 3) == 0);
            names[j] = names[j] == NULL || is_shared ? names[j] : at(names[j]);
        }
        struct server_wish wish = {
            .cafile = names[0], .capath = names[1], .crlfile = names[2], .ask = rows[i].ask};
        check_trouble(wish, rows[i].err, rows[i].text);
    }
}

static void a_folder_of_cas_is_as_good_as_a_file(void **state)
{
    static const char *const clients[] = {"alice", "stranger"}; /* of both roots in it */
    struct tls_context *server = server_make(
        (struct server_wish){.ask = TLS_ASK_REQUIRED, .capath = at("cas")});
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct tls_context *client = client_make((struct client_wish){.name = clients[i]});
        struct tls_duo duo;
        duo_init(&duo, server, client, NULL);
        duo_open(&duo);
        duo_deinit(&duo);
        tls_context_unref(client);
    }
    tls_context_unref(server);
}

/* ---- words --------------------------------------------------------------------------------- */

static void words_that_are_not_taken_are_named(void **state)
{
    static const struct {
        const char *ciphers, *curves, *text;
    } rows[] = {
        {"HIGH", NULL, "ciphers: HIGH is not taken: use some of ECDHE-ECDSA-AES128-GCM-SHA256:"},
        {"ECDHE-ECDSA-AES128-GCM-SHA256:AES128-SHA", NULL, "ciphers: AES128-SHA is not taken"},
        {"ECDHE-RSA-AES128-SHA256", NULL, "ciphers: ECDHE-RSA-AES128-SHA256 is not taken"},
        {"TLS_AES_256_GCM_SHA384", NULL, "is of TLS 1.3"},
        {"!aNULL", NULL, "ciphers: !aNULL is not taken"},
        {":", NULL, "ciphers:  is not taken"},
        {"ECDHE-ECDSA-AES128-GCM-SHA256:", NULL, "ciphers:  is not taken"},
        {NULL, "P-224", "curves: P-224 is not taken: use some of X25519:P-256:P-384:P-521"},
        {NULL, "X25519:X448", "curves: X448 is not taken"},
        {NULL, "X25519:x25519", "curves: X25519 stands there twice"},
        {NULL, ":", "curves:  is not taken"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        check_trouble((struct server_wish){.ciphers = rows[i].ciphers, .curves = rows[i].curves},
                      ERR_INVALID, rows[i].text);
    }
}

static void words_that_are_taken_are_used(void **state)
{
    static const char *const curves[] = {"X25519", "prime256v1:X25519", "secp384r1", "P-521", "",
                                         NULL};
    (void)state;
    for (size_t i = 0; i < sizeof(curves) / sizeof(curves[0]); i++) {
        tls_context_unref(server_make((struct server_wish){
            .curves = curves[i],
            .ciphers =
                i % 2 == 0 ? "" : "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-GCM-SHA256"}));
    }
}

/* ---- key log ------------------------------------------------------------------------------- */

static void a_key_log_is_written_for_its_owner_alone(void **state)
{
    struct stat status;
    char line[512];
    uint32_t lines = 0;
    struct tls_context *server = server_make((struct server_wish){.keylog = at("keys.log")});
    struct tls_context *client = client_make((struct client_wish){.version = "1.3"});
    struct tls_duo duo;
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        duo_init(&duo, server, client, NULL);
        duo_open(&duo);
        duo_deinit(&duo);
    }
    tls_context_unref(server);
    tls_context_unref(client);
    assert_int_equal(stat(at("keys.log"), &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    FILE *file = fopen(at("keys.log"), "r");
    assert_non_null(file);
    while (fgets(line, sizeof(line), file) != NULL) {
        lines += strncmp(line, "CLIENT_TRAFFIC_SECRET_0 ", 24) == 0;
    }
    fclose(file);
    assert_int_equal(lines, 2);
}

static void without_the_option_no_key_is_logged(void **state)
{
    (void)state;
    assert_int_equal(setenv("SSLKEYLOGFILE", at("env.log"), 1), 0);
    struct tls_context *server = server_make((struct server_wish){.keylog = ""});
    struct tls_context *client = client_make((struct client_wish){.version = "1.3"});
    struct tls_duo duo;
    duo_init(&duo, server, client, NULL);
    duo_open(&duo);
    duo_deinit(&duo);
    tls_context_unref(server);
    tls_context_unref(client);
    assert_int_not_equal(access(at("env.log"), F_OK), 0);
    unsetenv("SSLKEYLOGFILE");
}

static void a_key_log_that_others_could_read_is_refused(void **state)
{
    (void)state;
    check_trouble((struct server_wish){.keylog = at("link.log")}, ERR_INVALID, "is a link");
    check_trouble((struct server_wish){.keylog = at("open.log")}, ERR_INVALID, "its owner alone");
    check_trouble((struct server_wish){.keylog = at("folder.log")}, ERR_INVALID,
                  "cannot be opened");
    check_trouble((struct server_wish){.keylog = at("missing/x.log")}, ERR_NOT_FOUND,
                  "cannot be opened");
    assert_int_not_equal(access(at("elsewhere"), F_OK), 0);
}

/* ---- what is said about it ----------------------------------------------------------------- */

static void certificates_are_listed(void **state)
{
    struct tls_context *server = server_make(
        (struct server_wish){.names = {"ecdsa", "rsa", "ed25519", "b"}});
    static const char *const kinds[] = {"ECDSA P-256", "RSA 2048", "Ed25519", "RSA 2048"};
    int64_t now_s = (int64_t)time(NULL);
    (void)state;
    assert_int_equal(tls_context_certificate_count(server), 4);
    for (uint32_t i = 0; i < 4; i++) {
        struct tls_certificate certificate = tls_context_certificate(server, i);
        assert_string_equal(certificate.kind, kinds[i]);
        assert_string_equal(certificate.names,
                            i < 3 ? "localhost" : "b.example.test,*.wild.example.test");
        assert_true(certificate.not_before_s <= now_s && now_s < certificate.not_after_s);
        assert_non_null(strstr(certificate.file, "server-"));
    }
    assert_memory_not_equal(tls_context_certificate(server, 0).fingerprint,
                            tls_context_certificate(server, 1).fingerprint, 32);
    assert_true(tls_context_lists_expire_s(server) == INT64_MAX);
    tls_context_unref(server);
    server = server_make(
        (struct server_wish){.ask = TLS_ASK_REQUIRED, .cafile = "ca.pem", .crlfile = "crl.pem"});
    assert_true(tls_context_lists_expire_s(server) > now_s);
    assert_true(tls_context_lists_expire_s(server) < now_s + 400 * 86400);
    tls_context_unref(server);
}

static void a_context_lives_as_long_as_its_connections(void **state)
{
    struct tls_context *server = server_make((struct server_wish){.ask = TLS_ASK_NO});
    struct tls_context *client = client_make((struct client_wish){.name = NULL});
    struct tls_duo duo;
    (void)state;
    duo_init(&duo, server, client, NULL);
    tls_context_unref(server);
    tls_context_unref(client);
    duo_open(&duo);
    duo_talk(&duo);
    duo_deinit(&duo);
    tls_context_unref(NULL);
}

static void a_client_s_settings_are_checked(void **state)
{
    struct tls_context *context = NULL;
    struct tls_trouble trouble = {.text = ""};
    (void)state;
    assert_int_equal(client_try((struct client_wish){.cafile = ""}, &context, &trouble),
                     ERR_INVALID);
    assert_non_null(strstr(trouble.text, "nobody is named"));
    assert_int_equal(client_try((struct client_wish){.version = "1.1"}, &context, &trouble),
                     ERR_INVALID);
    assert_non_null(strstr(trouble.text, "TLS version 1.1 is not taken: use 1.2 or 1.3"));
    assert_int_equal(client_try((struct client_wish){.ciphers = "x"}, &context, &trouble),
                     ERR_INVALID);
    assert_int_equal(client_try((struct client_wish){.cafile = at("missing.pem")}, &context,
                                &trouble),
                     ERR_NOT_FOUND);
    assert_int_equal(client_try((struct client_wish){.name = at("otherkey")}, &context, &trouble),
                     ERR_INVALID);
    assert_null(context);
    /* A client may show what is out of date: the server judges that. */
    tls_context_unref(client_make((struct client_wish){.name = "expired"}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bad_pair_is_told_apart),
        cmocka_unit_test(every_way_to_write_a_good_pair_is_read),
        cmocka_unit_test(a_missing_name_is_said),
        cmocka_unit_test(a_file_that_may_not_be_read_is_said),
        cmocka_unit_test(bad_trust_is_told_apart),
        cmocka_unit_test(a_folder_of_cas_is_as_good_as_a_file),
        cmocka_unit_test(words_that_are_not_taken_are_named),
        cmocka_unit_test(words_that_are_taken_are_used),
        cmocka_unit_test(a_key_log_is_written_for_its_owner_alone),
        cmocka_unit_test(without_the_option_no_key_is_logged),
        cmocka_unit_test(a_key_log_that_others_could_read_is_refused),
        cmocka_unit_test(certificates_are_listed),
        cmocka_unit_test(a_context_lives_as_long_as_its_connections),
        cmocka_unit_test(a_client_s_settings_are_checked),
    };
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
