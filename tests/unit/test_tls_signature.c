#include "tests/lib/tls_pair.h"

#include <pthread.h>

/* RSA costs 500 us and more: the handshake stops for it, and goes on when somebody made it. */

struct house {
    struct tls_context *server, *client;
    struct tls_duo duo;
};

static void house_init(struct house *house, const char *version)
{
    house->server = server_make((struct server_wish){.names = {"rsa"}});
    house->client = client_make((struct client_wish){.version = version});
    duo_init(&house->duo, house->server, house->client, NULL);
}

static void house_deinit(struct house *house)
{
    duo_deinit(&house->duo);
    tls_context_unref(house->server);
    tls_context_unref(house->client);
}

/* The hello is in, the signature is wanted. */
static struct tls_signature *signature_wanted(struct house *house)
{
    struct tls_side *client = &house->duo.client, *server = &house->duo.server;

    assert_int_equal(side_step(client), ERR_MORE);
    side_carry(client, server);
    tls_feed(server->tls, buf_bytes(&server->in));
    assert_true(tls_is_costly(server->tls));
    assert_int_equal(tls_handshake(server->tls), ERR_AGAIN);
    assert_false(tls_is_costly(server->tls));
    buf_consume(&server->in, buf_count(&server->in) - tls_unread(server->tls));
    tls_feed(server->tls, buf_bytes(&server->in));
    struct tls_signature *signature = tls_signature_take(server->tls);
    assert_non_null(signature);
    assert_null(tls_signature_take(server->tls));
    return signature;
}

static void an_rsa_handshake_waits_for_its_signature(void **state)
{
    static const char *const versions[] = {"1.2", "1.3"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct house house;
        house_init(&house, versions[i]);
        struct tls_signature *signature = signature_wanted(&house);
        struct tls *tls = house.duo.server.tls;
        /* As often as it is asked before: not yet. */
        assert_int_equal(tls_handshake(tls), ERR_AGAIN);
        assert_int_equal(tls_handshake(tls), ERR_AGAIN);
        assert_null(tls_signature_take(tls));
        tls_signature_make(signature);
        assert_int_equal(tls_handshake(tls), ERR_AGAIN);
        tls_signature_done(tls, signature);
        assert_int_equal(tls_handshake(tls), ERR_MORE);
        duo_open(&house.duo);
        duo_talk(&house.duo);
        assert_int_equal(house.duo.server.signature_count, 0); /* one was all */
        house_deinit(&house);
    }
}

static void only_slow_keys_are_signed_with_elsewhere(void **state)
{
    static const struct {
        const char *name;
        uint64_t signature_count;
    } rows[] = {{"ecdsa", 0}, {"ed25519", 0}, {"rsa", 1}, {"p384", 1}};
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct tls_context *server = server_make((struct server_wish){.names = {rows[i].name}});
        struct tls_context *client = client_make((struct client_wish){.name = NULL});
        struct tls_duo duo;
        duo_init(&duo, server, client, NULL);
        duo_open(&duo);
        assert_int_equal(duo.server.signature_count, rows[i].signature_count);
        duo_deinit(&duo);
        tls_context_unref(server);
        tls_context_unref(client);
    }
}

static void a_client_signs_in_place(void **state)
{
    struct tls_context *server = server_make(
        (struct server_wish){.ask = TLS_ASK_REQUIRED, .cafile = "ca.pem"});
    struct tls_context *client = client_make((struct client_wish){.name = "rsa"});
    struct tls_duo duo;
    (void)state;
    duo_init(&duo, server, client, NULL);
    duo_open(&duo);
    assert_int_equal(duo.client.signature_count, 0);
    duo_deinit(&duo);
    tls_context_unref(server);
    tls_context_unref(client);
}

static void *make(void *signature)
{
    tls_signature_make(signature);
    return NULL;
}

static void another_thread_makes_it_while_the_connection_goes(void **state)
{
    struct house house;
    pthread_t thread;
    (void)state;
    house_init(&house, "1.3");
    struct tls_signature *signature = signature_wanted(&house);
    assert_int_equal(pthread_create(&thread, NULL, make, signature), 0);
    house_deinit(&house); /* the context's last reference, too */
    pthread_join(thread, NULL);
    tls_signature_free(signature);
}

static void another_thread_makes_it(void **state)
{
    struct house house;
    pthread_t thread;
    (void)state;
    for (uint32_t i = 0; i < 4; i++) {
        house_init(&house, "1.3");
        struct tls_signature *signature = signature_wanted(&house);
        assert_int_equal(pthread_create(&thread, NULL, make, signature), 0);
        pthread_join(thread, NULL);
        tls_signature_done(house.duo.server.tls, signature);
        duo_open(&house.duo);
        duo_talk(&house.duo);
        house_deinit(&house);
    }
}

static void one_that_nobody_took_goes_with_its_connection(void **state)
{
    struct house house;
    (void)state;
    for (uint32_t i = 0; i < 2; i++) {
        house_init(&house, "1.3");
        struct tls_side *client = &house.duo.client, *server = &house.duo.server;
        assert_int_equal(side_step(client), ERR_MORE);
        side_carry(client, server);
        tls_feed(server->tls, buf_bytes(&server->in));
        assert_int_equal(tls_handshake(server->tls), ERR_AGAIN);
        if (i == 1) { /* made and given back, and no step after that */
            struct tls_signature *signature = tls_signature_take(server->tls);
            tls_signature_make(signature);
            tls_signature_done(server->tls, signature);
        }
        house_deinit(&house);
    }
    tls_signature_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_rsa_handshake_waits_for_its_signature),
        cmocka_unit_test(only_slow_keys_are_signed_with_elsewhere),
        cmocka_unit_test(a_client_signs_in_place),
        cmocka_unit_test(another_thread_makes_it_while_the_connection_goes),
        cmocka_unit_test(another_thread_makes_it),
        cmocka_unit_test(one_that_nobody_took_goes_with_its_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
