#include "tests/lib/tls_pair.h"

/* ---- what is agreed on --------------------------------------------------------------------- */

static void both_versions_open_and_carry_bytes(void **state)
{
    static const struct {
        const char *asked, *version, *cipher;
    } rows[] = {
        {NULL, "TLSv1.3", "TLS_AES_128_GCM_SHA256"},
        {"1.3", "TLSv1.3", "TLS_AES_128_GCM_SHA256"},
        {"1.2", "TLSv1.2", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct tls_context *server = server_make((struct server_wish){.ask = TLS_ASK_NO});
        struct tls_context *client = client_make((struct client_wish){.version = rows[i].asked});
        struct tls_facts facts;
        struct tls_duo duo;
        duo_init(&duo, server, client, NULL);
        assert_false(tls_is_open(duo.server.tls));
        duo_open(&duo);
        duo_talk(&duo);
        tls_facts(duo.server.tls, &facts);
        assert_string_equal(facts.version, rows[i].version);
        assert_string_equal(facts.cipher, rows[i].cipher);
        assert_string_equal(facts.group, "X25519");
        assert_string_equal(facts.server_name, "localhost");
        assert_int_equal(facts.protocol.count, 0);
        assert_false(facts.is_resumed);
        assert_false(facts.has_certificate);
        assert_string_equal(tls_failure(duo.server.tls), "not broken");
        duo_deinit(&duo);
        tls_context_unref(server);
        tls_context_unref(client);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_versions_open_and_carry_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
