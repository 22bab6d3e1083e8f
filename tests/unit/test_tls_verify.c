#include "core/io/tls_inside.h"
#include "tests/lib/tls_pair.h"

#include <openssl/bn.h>
#include <openssl/ec_key.h>
#include <openssl/evp.h>
#include <openssl/nid.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <unistd.h>

static const char *const versions[] = {"1.2", "1.3"};

/* ---- who is let in ------------------------------------------------------------------------- */

struct row {
    const char *client; /* NULL: shows no certificate */
    const char *cafile, *crlfile;
    enum tls_ask ask;
    const char *failure; /* NULL: it is let in */
    const char *alert;   /* what the client is told */
};

static void row_check(const struct row *row, const char *version)
{
    struct tls_context *server = server_make(
        (struct server_wish){.ask = row->ask, .cafile = row->cafile, .crlfile = row->crlfile});
    struct tls_context *client = client_make(
        (struct client_wish){.version = version, .name = row->client});
    struct tls_identity identity;
    struct tls_facts facts;
    struct tls_duo duo;

    duo_init(&duo, server, client, NULL);
    duo_run(&duo);
    if (row->failure == NULL) {
        duo_open(&duo);
        duo_talk(&duo);
        tls_facts(duo.server.tls, &facts);
        bool has_certificate = row->client != NULL && row->ask != TLS_ASK_NO;
        assert_int_equal(facts.has_certificate, has_certificate);
        assert_int_equal(tls_peer_identity(duo.server.tls, &identity), has_certificate);
        if (has_certificate) {
            assert_string_equal(identity.common_name, row->client);
        }
    } else {
        assert_false(tls_is_open(duo.server.tls));
        assert_int_equal(duo.server.last, ERR_PROTOCOL);
        assert_string_equal(tls_failure(duo.server.tls), row->failure);
        if (strstr(tls_failure(duo.client.tls), row->alert) == NULL) {
            print_error("%s: the client is told: %s\n", row->client, tls_failure(duo.client.tls));
        }
        assert_non_null(strstr(tls_failure(duo.client.tls), row->alert));
        assert_false(tls_peer_identity(duo.server.tls, &identity));
    }
    duo_deinit(&duo);
    tls_context_unref(server);
    tls_context_unref(client);
}

#define SAYS(name, text) "the peer's certificate (common name \"" name "\"): " text

static void a_client_proves_who_it_is(void **state)
{
    static const struct row rows[] = {
        {"alice", "ca.pem", NULL, TLS_ASK_REQUIRED, NULL, NULL},
        {"rsa", "ca.pem", NULL, TLS_ASK_REQUIRED, NULL, NULL},
        {"ed25519", "ca.pem", NULL, TLS_ASK_REQUIRED, NULL, NULL},
        {"chained", "ca.pem", NULL, TLS_ASK_REQUIRED, NULL, NULL},
        {"chained", "ca-both.pem", NULL, TLS_ASK_REQUIRED, NULL, NULL},
        {"alice", "ca.pem", "crl.pem", TLS_ASK_REQUIRED, NULL, NULL},
        {"alice", "ca.pem", NULL, TLS_ASK_OPTIONAL, NULL, NULL},
        {NULL, "ca.pem", NULL, TLS_ASK_OPTIONAL, NULL, NULL},
        {NULL, "ca.pem", "crl.pem", TLS_ASK_OPTIONAL, NULL, NULL},
        {"stranger", NULL, NULL, TLS_ASK_NO, NULL, NULL}, /* nobody looks */
        {"revoked", "ca.pem", "crl-empty.pem", TLS_ASK_REQUIRED, NULL, NULL},
        {NULL, "ca.pem", NULL, TLS_ASK_REQUIRED,
         "no certificate: the client showed none, and one is required", "certificate"},
        {"stranger", "ca.pem", NULL, TLS_ASK_REQUIRED, SAYS("alice", "unknown CA"), "unknown CA"},
        {"stranger", "ca.pem", NULL, TLS_ASK_OPTIONAL, SAYS("alice", "unknown CA"), "unknown CA"},
        {"expired", "ca.pem", NULL, TLS_ASK_REQUIRED, SAYS("expired", "expired"),
         "certificate expired"},
        {"future", "ca.pem", NULL, TLS_ASK_REQUIRED, SAYS("future", "not yet valid"),
         "certificate expired"},
        {"purpose", "ca.pem", NULL, TLS_ASK_REQUIRED,
         SAYS("purpose", "wrong purpose (extended key usage)"), "unsupported certificate"},
        {"revoked", "ca.pem", "crl.pem", TLS_ASK_REQUIRED, SAYS("revoked", "revoked"),
         "certificate revoked"},
        {"revoked", "ca.pem", "crl.pem", TLS_ASK_OPTIONAL, SAYS("revoked", "revoked"),
         "certificate revoked"},
        {"chained", "ca.pem", "crl.pem", TLS_ASK_REQUIRED,
         SAYS("chained", "crlfile has no list of its CA"), "unknown CA"},
    };
    (void)state;
    for (size_t i = 0; i < 2 * sizeof(rows) / sizeof(rows[0]); i++) {
        row_check(&rows[i / 2], versions[i % 2]);
    }
}

/* The clock of the server decides, and it goes on while the context stays. */
static int64_t late(void)
{
    return (int64_t)time(NULL) + 3650 * (int64_t)86400;
}

static void time_goes_on_after_the_files_were_read(void **state)
{
    static const char *const crlfiles[] = {NULL, "crl.pem"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct tls_context *server = server_make((struct server_wish){
            .ask = TLS_ASK_REQUIRED, .cafile = "ca.pem", .crlfile = crlfiles[i]});
        struct tls_context *client = client_make((struct client_wish){.name = "alice"});
        struct tls_duo duo;
        tls_context_set_clock(server, late);
        duo_init(&duo, server, client, NULL);
        duo_run(&duo);
        assert_false(tls_is_open(duo.server.tls));
        assert_non_null(strstr(tls_failure(duo.server.tls), i == 0 ? "expired" : "out of date"));
        duo_deinit(&duo);
        tls_context_unref(server);
        tls_context_unref(client);
    }
}

/* ---- who that is --------------------------------------------------------------------------- */

static void subjects_are_read_as_they_were_written(void **state)
{
    /* As SUBJECTS in tests/lib/certs.py has them. */
    static const struct {
        const char *client, *common_name, *subject;
    } rows[] = {
        {"alice", "alice", "CN=alice,OU=Tests,O=Tern"},
        {"comma", "Doe, Jane", "CN=Doe\\, Jane,O=Tern\\, Inc."},
        {"utf8", "Zoë Müller", "CN=Zoë Müller,O=Tärn"},
        {"nameless", "", "OU=No common name,O=Tern"},
        {"plus", "a+b", "CN=a\\+b,O=Tern"},
        {"slash", "a/b", "CN=a/b,O=Tern"},
        {"twice", "first", "CN=second,O=Tern,CN=first"},
    };
    struct tls_context *server = server_make(
        (struct server_wish){.ask = TLS_ASK_REQUIRED, .cafile = "ca.pem"});
    uint8_t before[32] = {0};
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct tls_context *client = client_make((struct client_wish){.name = rows[i].client});
        struct tls_identity identity;
        struct tls_duo duo;
        duo_init(&duo, server, client, NULL);
        duo_open(&duo);
        assert_true(tls_peer_identity(duo.server.tls, &identity));
        assert_string_equal(identity.common_name, rows[i].common_name);
        assert_string_equal(identity.subject, rows[i].subject);
        assert_memory_not_equal(identity.fingerprint, before, sizeof(before));
        memcpy(before, identity.fingerprint, sizeof(before));
        duo_deinit(&duo);
        tls_context_unref(client);
    }
    tls_context_unref(server);
}

static EVP_PKEY *ecdsa_key(void)
{
    EVP_PKEY *key = EVP_PKEY_new();
    EC_KEY *ec = EC_KEY_new_by_curve_name(NID_X9_62_prime256v1);

    assert_int_equal(EC_KEY_generate_key(ec), 1);
    assert_int_equal(EVP_PKEY_assign_EC_KEY(key, ec), 1);
    return key;
}

static EVP_PKEY *rsa_key(int bits)
{
    EVP_PKEY *key = EVP_PKEY_new();
    RSA *rsa = RSA_new();
    BIGNUM *exponent = BN_new();

    assert_int_equal(BN_set_word(exponent, RSA_F4), 1);
    assert_int_equal(RSA_generate_key_ex(rsa, bits, exponent, NULL), 1);
    assert_int_equal(EVP_PKEY_assign_RSA(key, rsa), 1);
    BN_free(exponent);
    return key;
}

/* A client's certificate of the root, for any bytes as the common name. The key goes with it. */
static void make_client(const char *path, EVP_PKEY *key, const char *common_name, int bytes,
                        int kind)
{
    EVP_PKEY *root_key = NULL;
    FILE *file = fopen(tls_path("root.pem"), "r");
    char name[TLS_PATH_BYTES];

    X509 *root = PEM_read_X509(file, NULL, NULL, NULL), *made = X509_new();
    fclose(file);
    file = fopen(tls_path("root.key"), "r");
    root_key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
    fclose(file);
    assert_true(root != NULL && root_key != NULL);
    X509_set_version(made, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(made), 77);
    X509_gmtime_adj(X509_get_notBefore(made), -60);
    X509_gmtime_adj(X509_get_notAfter(made), 3600);
    X509_set_issuer_name(made, X509_get_subject_name(root));
    X509_set_pubkey(made, key);
    assert_int_equal(X509_NAME_add_entry_by_NID(X509_get_subject_name(made), NID_commonName, kind,
                                                (const uint8_t *)common_name, bytes, -1, 0),
                     1);
    assert_true(X509_sign(made, root_key, EVP_sha256()) > 0);
    snprintf(name, sizeof(name), "%s.pem", path);
    file = fopen(name, "w");
    assert_int_equal(PEM_write_X509(file, made), 1);
    fclose(file);
    snprintf(name, sizeof(name), "%s.key", path);
    file = fopen(name, "w");
    assert_int_equal(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
    fclose(file);
    X509_free(root);
    X509_free(made);
    EVP_PKEY_free(root_key);
    EVP_PKEY_free(key);
}

/* What a CA may sign by mistake, and a user name may not be. */
static void what_is_no_plain_text_is_nobody(void **state)
{
    static const struct {
        const char *bytes;
        int count, kind;
        const char *common_name, *subject;
    } rows[] = {
        {"alice", 5, V_ASN1_UTF8STRING, "alice", "CN=alice"},
        {"alice\0.evil", 11, V_ASN1_UTF8STRING, "", "CN=alice\\00.evil"},
        {"\0alice", 6, V_ASN1_UTF8STRING, "", "CN=\\00alice"},
        {"al\xe9", 3, V_ASN1_T61STRING, "al\xc3\xa9", "CN=al\xc3\xa9"}, /* Latin 1 becomes UTF-8 */
        {"", 0, V_ASN1_UTF8STRING, "", "CN="},
    };
    char folder[] = "/tmp/tern-tls-XXXXXX", path[64], command[64];
    struct tls_context *server = server_make(
        (struct server_wish){.ask = TLS_ASK_REQUIRED, .cafile = "ca.pem"});
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/odd", folder);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct tls_identity identity;
        struct tls_duo duo;
        make_client(path, ecdsa_key(), rows[i].bytes, rows[i].count, rows[i].kind);
        struct tls_context *client = client_make((struct client_wish){.name = path});
        duo_init(&duo, server, client, NULL);
        duo_open(&duo);
        assert_true(tls_peer_identity(duo.server.tls, &identity));
        assert_string_equal(identity.common_name, rows[i].common_name);
        assert_string_equal(identity.subject, rows[i].subject);
        duo_deinit(&duo);
        tls_context_unref(client);
    }
    tls_context_unref(server);
    snprintf(command, sizeof(command), "rm -r %s", folder);
    assert_int_equal(system(command), 0);
}

/* A name in the log is the client's word; nothing of it may look like a line of ours. */
static void a_refused_name_forges_no_log_line(void **state)
{
    static const struct {
        const char *name, *failure;
    } rows[] = {
        {"x\" reason=fine\nlevel=info", SAYS("x? reason=fine?level=info", "expired")},
        {"\x1b[2Jgone", SAYS("?[2Jgone", "expired")},
        {"\xc3(", SAYS("?(", "expired")},
        {"Zo\xc3\xab", SAYS("Zo\xc3\xab", "expired")},
    };
    char folder[] = "/tmp/tern-tls-XXXXXX", path[64], command[64];
    struct tls_context *server = server_make(
        (struct server_wish){.ask = TLS_ASK_REQUIRED, .cafile = "ca.pem"});
    (void)state;
    tls_context_set_clock(server, late);
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/odd", folder);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct tls_duo duo;
        int kind = i == 2 ? V_ASN1_T61STRING : V_ASN1_UTF8STRING;
        make_client(path, ecdsa_key(), rows[i].name, (int)strlen(rows[i].name), kind);
        struct tls_context *client = client_make((struct client_wish){.name = path});
        duo_init(&duo, server, client, NULL);
        duo_run(&duo);
        assert_string_equal(tls_failure(duo.server.tls), rows[i].failure);
        duo_deinit(&duo);
        tls_context_unref(client);
    }
    tls_context_unref(server);
    snprintf(command, sizeof(command), "rm -r %s", folder);
    assert_int_equal(system(command), 0);
}

/* Our own tools refuse to use such a key at all, so the two are put together by hand. */
static void a_client_s_rsa_key_has_2048_bits(void **state)
{
    static const int bits[] = {1024, 2048};
    char folder[] = "/tmp/tern-tls-XXXXXX", path[64], file[80], command[64];
    struct tls_context *server = server_make(
        (struct server_wish){.ask = TLS_ASK_REQUIRED, .cafile = "ca.pem"});
    struct tls_context *client = client_make((struct client_wish){.version = "1.3"});
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/weak", folder);
    for (size_t i = 0; i < 2; i++) {
        struct tls_trouble trouble;
        struct tls_duo duo;
        struct tls_chain chain;
        EVP_PKEY *key = rsa_key(bits[i]);
        EVP_PKEY_up_ref(key);
        make_client(path, key, "weak", 4, V_ASN1_UTF8STRING);
        snprintf(file, sizeof(file), "%s.pem", path);
        assert_int_equal(tls_pem_chain("certfile", file, &chain, &trouble), OK);
        duo_init(&duo, server, client, NULL);
        assert_int_equal(
            SSL_set_chain_and_key(duo.client.tls->ssl, chain.items, chain.count, key, NULL), 1);
        duo_run(&duo);
        assert_int_equal(tls_is_open(duo.server.tls), bits[i] == 2048);
        if (bits[i] != 2048) {
            assert_string_equal(tls_failure(duo.server.tls),
                                "the peer's certificate: its RSA key has less than 2048 bits");
        }
        duo_deinit(&duo);
        tls_chain_deinit(&chain);
        EVP_PKEY_free(key);
    }
    tls_context_unref(server);
    tls_context_unref(client);
    snprintf(command, sizeof(command), "rm -r %s", folder);
    assert_int_equal(system(command), 0);
}

/* ---- whom a client trusts ------------------------------------------------------------------ */

static void a_client_wants_the_name_it_asked_for(void **state)
{
    static const struct {
        const char *server, *name, *failure; /* NULL: good */
    } rows[] = {
        {"ecdsa", "localhost", NULL},
        {"ecdsa", "127.0.0.1", NULL},
        {"ecdsa", "::1", NULL},
        {"b", "x.wild.example.test", NULL},
        {"ecdsa", "example.test", "made for another name"},
        {"ecdsa", "127.0.0.2", "made for another address"},
        {"b", "x.y.wild.example.test", "made for another name"},
        {"b", "wild.example.test", "made for another name"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct tls_context *server = server_make((struct server_wish){.names = {rows[i].server}});
        struct tls_context *client = client_make((struct client_wish){.name = NULL});
        struct tls_facts facts;
        struct tls_duo duo;
        duo_init(&duo, server, client, rows[i].name);
        duo_run(&duo);
        assert_int_equal(tls_is_open(duo.client.tls), rows[i].failure == NULL);
        if (rows[i].failure != NULL) {
            assert_non_null(strstr(tls_failure(duo.client.tls), rows[i].failure));
            assert_non_null(strstr(tls_failure(duo.server.tls), "alert: "));
        } else {
            bool is_address = strpbrk(rows[i].name, ":0") != NULL;
            tls_facts(duo.server.tls, &facts);
            assert_string_equal(facts.server_name, is_address ? "" : rows[i].name);
        }
        duo_deinit(&duo);
        tls_context_unref(server);
        tls_context_unref(client);
    }
}

static void a_client_trusts_its_cafile_alone(void **state)
{
    struct tls_context *server = server_make((struct server_wish){.ask = TLS_ASK_NO});
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct tls_context *client = client_make(
            (struct client_wish){.cafile = "other.pem", .is_insecure = i == 1});
        struct tls_duo duo;
        duo_init(&duo, server, client, NULL);
        duo_run(&duo);
        assert_int_equal(tls_is_open(duo.client.tls), i == 1);
        if (i == 0) {
            assert_non_null(strstr(tls_failure(duo.client.tls), "unknown CA"));
            assert_string_equal(
                tls_failure(duo.server.tls),
                "the peer gave up: it does not trust the CA of our certificate (alert: unknown CA)");
        }
        duo_deinit(&duo);
        tls_context_unref(client);
    }
    tls_context_unref(server);
}

/* Without a name nothing could be checked, so nothing is taken. */
static void a_client_without_a_name_to_ask_for_takes_nobody(void **state)
{
    struct tls_context *server = server_make((struct server_wish){.ask = TLS_ASK_NO});
    struct tls_context *client = client_make((struct client_wish){.name = NULL});
    struct tls_duo duo;
    (void)state;
    side_init(&duo.server, server, NULL);
    side_init(&duo.client, client, NULL);
    duo_run(&duo);
    assert_false(tls_is_open(duo.client.tls));
    assert_non_null(strstr(tls_failure(duo.client.tls), "made for another name"));
    duo_deinit(&duo);
    tls_context_unref(server);
    tls_context_unref(client);
}

/* A session of one name is no entry for another. */
static void a_resuming_client_checks_the_name_again(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct tls_tickets *tickets = tls_tickets_new();
        struct tls_context *server = server_make(
            (struct server_wish){.names = {"a"}, .tickets = tickets});
        struct tls_context *client = client_make((struct client_wish){.version = versions[i]});
        struct tls_duo duo;
        duo_init(&duo, server, client, "a.example.test");
        duo_open(&duo);
        duo_talk(&duo);
        struct tls_session *session = tls_client_session(duo.client.tls);
        assert_non_null(session);
        duo_deinit(&duo);
        duo_init(&duo, server, client, "b.example.test");
        tls_client_resume(duo.client.tls, session);
        duo_run(&duo);
        assert_false(tls_is_open(duo.client.tls));
        duo_deinit(&duo);
        tls_session_free(session);
        tls_context_unref(server);
        tls_context_unref(client);
        tls_tickets_free(tickets);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_client_proves_who_it_is),
        cmocka_unit_test(time_goes_on_after_the_files_were_read),
        cmocka_unit_test(subjects_are_read_as_they_were_written),
        cmocka_unit_test(what_is_no_plain_text_is_nobody),
        cmocka_unit_test(a_client_s_rsa_key_has_2048_bits),
        cmocka_unit_test(a_refused_name_forges_no_log_line),
        cmocka_unit_test(a_client_wants_the_name_it_asked_for),
        cmocka_unit_test(a_client_trusts_its_cafile_alone),
        cmocka_unit_test(a_client_without_a_name_to_ask_for_takes_nobody),
        cmocka_unit_test(a_resuming_client_checks_the_name_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
