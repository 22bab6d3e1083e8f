#include "core/io/tls_inside.h"
#include "tests/lib/tls_pair.h"

#include <openssl/ssl.h>

#include <unistd.h>

/* The index of the certificate that the client was shown; -1: it is not open. */
static int shown(struct tls_context *server, struct tls_duo *duo)
{
    struct tls_identity identity;

    duo_run(duo);
    if (!tls_is_open(duo->client.tls) || !tls_is_open(duo->server.tls)) {
        return -1;
    }
    duo_talk(duo);
    assert_true(tls_peer_identity(duo->client.tls, &identity));
    for (uint32_t i = 0; i < tls_context_certificate_count(server); i++) {
        if (memcmp(tls_context_certificate(server, i).fingerprint, identity.fingerprint, 32) == 0) {
            return (int)i;
        }
    }
    return -2;
}

static const char *const versions[] = {"1.2", "1.3"};

/* ---- by name ------------------------------------------------------------------------------- */

static void a_name_chooses_its_certificate(void **state)
{
    static const struct {
        const char *name; /* NULL: none is sent */
        int index;
    } rows[] = {
        {"a.example.test", 1},
        {"A.Example.TEST", 1},
        {"a.example.test.", 1},
        {"b.example.test", 2},
        {"x.wild.example.test", 2},
        {"X.WILD.example.test", 2},
        {"wild.example.test", 0},     /* a star is one label, not none */
        {"x.y.wild.example.test", 0}, /* and not two */
        {".wild.example.test", 0},
        {"*.wild.example.test", 2},
        {"localhost", 0},
        {"nobody.example.test", 0},
        {NULL, 0},
    };
    struct tls_context *server = server_make((struct server_wish){.names = {"ecdsa", "a", "b"}});
    (void)state;
    for (size_t i = 0; i < 2 * sizeof(rows) / sizeof(rows[0]); i++) {
        struct tls_context *client = client_make(
            (struct client_wish){.version = versions[i % 2], .is_insecure = true});
        struct tls_duo duo;
        side_init(&duo.server, server, NULL);
        side_init(&duo.client, client, rows[i / 2].name);
        int index = shown(server, &duo);
        if (index != rows[i / 2].index) {
            print_error("%s: %d\n", rows[i / 2].name, index);
        }
        assert_int_equal(index, rows[i / 2].index);
        duo_deinit(&duo);
        tls_context_unref(client);
    }
    tls_context_unref(server);
}

/* An exact name beats a wildcard that stands before it; without SANs the common name counts. */
static void exact_names_and_common_names_count(void **state)
{
    char folder[] = "/tmp/tern-tls-XXXXXX", command[2048], wild[64], exact[64], common[64];
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(
        command, sizeof(command),
        "cd %s && for n in 'wild DNS:*.example.test' 'exact DNS:x.example.test'; do set -- $n; "
        "openssl req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 -subj /CN=$1 "
        "-days 5 -addext subjectAltName=$2 -keyout $1.key -out $1.pem 2>/dev/null; done; "
        "openssl req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 "
        "-subj /CN=Common.Example.TEST -days 5 -keyout common.key -out common.pem 2>/dev/null",
        folder);
    assert_int_equal(system(command), 0);
    snprintf(wild, sizeof(wild), "%s/wild", folder);
    snprintf(exact, sizeof(exact), "%s/exact", folder);
    snprintf(common, sizeof(common), "%s/common", folder);
    static const struct {
        const char *name;
        int index;
    } rows[] = {
        {"x.example.test", 2}, {"y.example.test", 1}, {"common.example.test", 3}, {"exact", 0}};
    struct tls_context *server = server_make(
        (struct server_wish){.names = {"ecdsa", wild, exact, common}});
    assert_string_equal(tls_context_certificate(server, 3).names, "common.example.test");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct tls_context *client = client_make((struct client_wish){.is_insecure = true});
        struct tls_duo duo;
        duo_init(&duo, server, client, rows[i].name);
        /* A wildcard matches common.example.test, too, and an exact name is better. */
        assert_int_equal(shown(server, &duo), rows[i].index);
        duo_deinit(&duo);
        tls_context_unref(client);
    }
    tls_context_unref(server);
    snprintf(command, sizeof(command), "rm -r %s", folder);
    assert_int_equal(system(command), 0);
}

/* ---- by kind ------------------------------------------------------------------------------- */

static void the_kind_is_one_that_the_client_can_check(void **state)
{
    static const struct {
        const char *names[4];
        const char *version, *ciphers;
        uint16_t algorithms[3];
        int index; /* -1: nothing fits, the handshake says so */
    } rows[] = {
        /* RSA first in the file, and last in preference. */
        {{"rsa", "ecdsa"},
         "1.3",
         NULL,
         {SSL_SIGN_ECDSA_SECP256R1_SHA256, SSL_SIGN_RSA_PSS_RSAE_SHA256},
         1},
        {{"rsa", "ecdsa"}, "1.3", NULL, {SSL_SIGN_RSA_PSS_RSAE_SHA256}, 0},
        {{"ecdsa", "rsa"}, "1.3", NULL, {SSL_SIGN_RSA_PSS_RSAE_SHA256}, 1},
        {{"ecdsa", "rsa"}, "1.2", NULL, {SSL_SIGN_RSA_PKCS1_SHA256}, 1},
        {{"ecdsa", "rsa"}, "1.2", NULL, {SSL_SIGN_ECDSA_SECP256R1_SHA256}, 0},
        /* In 1.2 the cipher says the kind of key as well. */
        {{"ecdsa", "rsa"},
         "1.2",
         "ECDHE-RSA-AES128-GCM-SHA256",
         {SSL_SIGN_ECDSA_SECP256R1_SHA256, SSL_SIGN_RSA_PKCS1_SHA256},
         1},
        {{"rsa", "ecdsa"},
         "1.2",
         "ECDHE-ECDSA-CHACHA20-POLY1305",
         {SSL_SIGN_ECDSA_SECP256R1_SHA256, SSL_SIGN_RSA_PKCS1_SHA256},
         1},
        /* Ed25519 is for those alone that offer it. */
        {{"ed25519", "ecdsa"}, "1.3", NULL, {SSL_SIGN_ECDSA_SECP256R1_SHA256}, 1},
        {{"ed25519", "ecdsa"}, "1.3", NULL, {SSL_SIGN_ED25519, SSL_SIGN_ECDSA_SECP256R1_SHA256}, 0},
        {{"ed25519", "rsa"}, "1.2", NULL, {SSL_SIGN_ED25519, SSL_SIGN_RSA_PKCS1_SHA256}, 0},
        {{"ed25519", "rsa"},
         "1.2",
         NULL,
         {SSL_SIGN_ECDSA_SECP256R1_SHA256, SSL_SIGN_RSA_PKCS1_SHA256},
         1},
        /* TLS 1.3 names the curve, TLS 1.2 does not. */
        {{"p384", "ecdsa"}, "1.3", NULL, {SSL_SIGN_ECDSA_SECP256R1_SHA256}, 1},
        {{"p384", "rsa"},
         "1.3",
         NULL,
         {SSL_SIGN_ECDSA_SECP256R1_SHA256, SSL_SIGN_RSA_PSS_RSAE_SHA256},
         1},
        {{"p384", "ecdsa"}, "1.3", NULL, {SSL_SIGN_ECDSA_SECP384R1_SHA384}, 0},
        {{"ecdsa"}, "1.3", NULL, {SSL_SIGN_RSA_PSS_RSAE_SHA256}, -1},
        {{"ecdsa", "ed25519"}, "1.3", NULL, {SSL_SIGN_RSA_PSS_RSAE_SHA256}, -1},
        {{"ed25519"}, "1.2", NULL, {SSL_SIGN_ECDSA_SECP256R1_SHA256}, -1},
        /* Another name's certificate is no way out. */
        {{"ecdsa", "b"}, "1.3", NULL, {SSL_SIGN_RSA_PSS_RSAE_SHA256}, -1},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct server_wish wish = {.ask = TLS_ASK_NO};
        struct tls_duo duo;
        size_t count = 0;
        memcpy(wish.names, rows[i].names, sizeof(wish.names));
        struct tls_context *server = server_make(wish);
        struct tls_context *client = client_make(
            (struct client_wish){.version = rows[i].version, .ciphers = rows[i].ciphers});
        duo_init(&duo, server, client, NULL);
        while (count < 3 && rows[i].algorithms[count] != 0) {
            count++;
        }
        assert_int_equal(
            SSL_set_verify_algorithm_prefs(duo.client.tls->ssl, rows[i].algorithms, count), 1);
        int index = shown(server, &duo);
        if (index != rows[i].index) {
            print_error("row %zu: %d (%s)\n", i, index, tls_failure(duo.server.tls));
        }
        assert_int_equal(index, rows[i].index);
        if (index < 0) {
            assert_string_equal(
                tls_failure(duo.server.tls),
                "no shared signature algorithm: the peer cannot check our kind of certificate");
        }
        duo_deinit(&duo);
        tls_context_unref(server);
        tls_context_unref(client);
    }
}

/* A name that nobody has is served by the first pair, and by what shares a name with it. */
static void an_unknown_name_is_served_by_the_first_and_its_kin(void **state)
{
    static const struct {
        const char *names[4];
        int index;
    } rows[] = {
        {{"ecdsa", "b", "rsa"}, 2}, {{"ecdsa", "b"}, -1}, {{"a", "rsa"}, -1}, {{"b", "rsa"}, 0}};
    static const uint16_t rsa_alone[] = {SSL_SIGN_RSA_PSS_RSAE_SHA256};
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct server_wish wish = {.ask = TLS_ASK_NO};
        struct tls_duo duo;
        memcpy(wish.names, rows[i].names, sizeof(wish.names));
        struct tls_context *server = server_make(wish);
        struct tls_context *client = client_make((struct client_wish){.is_insecure = true});
        duo_init(&duo, server, client, "nobody.example.test");
        assert_int_equal(SSL_set_verify_algorithm_prefs(duo.client.tls->ssl, rsa_alone, 1), 1);
        assert_int_equal(shown(server, &duo), rows[i].index);
        duo_deinit(&duo);
        tls_context_unref(server);
        tls_context_unref(client);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_chooses_its_certificate),
        cmocka_unit_test(exact_names_and_common_names_count),
        cmocka_unit_test(an_unknown_name_is_served_by_the_first_and_its_kin),
        cmocka_unit_test(the_kind_is_one_that_the_client_can_check),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
