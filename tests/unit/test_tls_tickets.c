#include "core/io/tls_inside.h"
#include "tests/lib/tls_pair.h"

#include <unistd.h>

static int64_t clock_s;

static int64_t clock_by_hand(void)
{
    return clock_s;
}

/* Connect, talk, and hand out the ticket the client got; NULL: none. */
static struct tls_session *visit(struct tls_context *server, struct tls_context *client,
                                 const struct tls_session *ticket, bool *is_resumed)
{
    struct tls_facts facts, client_facts;
    struct tls_duo duo;

    duo_init(&duo, server, client, NULL);
    if (ticket != NULL) {
        tls_client_resume(duo.client.tls, ticket);
    }
    duo_open(&duo);
    duo_talk(&duo);
    tls_facts(duo.server.tls, &facts);
    tls_facts(duo.client.tls, &client_facts);
    assert_int_equal(facts.is_resumed, client_facts.is_resumed);
    *is_resumed = facts.is_resumed;
    struct tls_session *session = tls_client_session(duo.client.tls);
    duo_deinit(&duo);
    return session;
}

static const char *const versions[] = {"1.2", "1.3"};

static void a_ticket_resumes(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct tls_tickets *tickets = tls_tickets_new();
        struct tls_context *server = server_make((struct server_wish){.tickets = tickets});
        struct tls_context *client = client_make((struct client_wish){.version = versions[i]});
        bool is_resumed = true;
        struct tls_session *first = visit(server, client, NULL, &is_resumed);
        assert_false(is_resumed);
        assert_non_null(first);
        struct tls_session *second = visit(server, client, first, &is_resumed);
        assert_true(is_resumed);
        /* A context made anew, as by a reload, takes it, too. */
        tls_context_unref(server);
        server = server_make((struct server_wish){.tickets = tickets});
        tls_session_free(visit(server, client, second == NULL ? first : second, &is_resumed));
        assert_true(is_resumed);
        tls_session_free(first);
        tls_session_free(second);
        tls_context_unref(server);
        tls_context_unref(client);
        tls_tickets_free(tickets);
    }
}

static void without_keys_there_are_no_tickets(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct tls_context *server = server_make((struct server_wish){.tickets = NULL});
        struct tls_context *client = client_make((struct client_wish){.version = versions[i]});
        bool is_resumed;
        struct tls_session *session = visit(server, client, NULL, &is_resumed);
        if (session != NULL) { /* 1.2 has a session id, which nobody remembers */
            tls_session_free(visit(server, client, session, &is_resumed));
            assert_false(is_resumed);
        }
        tls_session_free(session);
        tls_context_unref(server);
        tls_context_unref(client);
    }
}

static void the_key_before_still_opens_and_the_one_before_does_not(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct tls_tickets *tickets = tls_tickets_new();
        struct tls_context *server = server_make((struct server_wish){.tickets = tickets});
        struct tls_context *client = client_make((struct client_wish){.version = versions[i]});
        bool is_resumed;
        struct tls_session *old = visit(server, client, NULL, &is_resumed);
        tls_tickets_rotate(tickets);
        struct tls_session *renewed = visit(server, client, old, &is_resumed);
        assert_true(is_resumed);
        assert_non_null(renewed); /* of the new key: 1.2 says so by renewing */
        tls_tickets_rotate(tickets);
        tls_session_free(visit(server, client, old, &is_resumed));
        assert_false(is_resumed);
        tls_session_free(visit(server, client, renewed, &is_resumed));
        assert_true(is_resumed);
        tls_session_free(old);
        tls_session_free(renewed);
        tls_context_unref(server);
        tls_context_unref(client);
        tls_tickets_free(tickets);
    }
}

static void a_ticket_of_another_life_is_ignored(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct tls_tickets *before = tls_tickets_new(), *after = tls_tickets_new();
        struct tls_context *server = server_make((struct server_wish){.tickets = before});
        struct tls_context *client = client_make((struct client_wish){.version = versions[i]});
        bool is_resumed;
        struct tls_session *session = visit(server, client, NULL, &is_resumed);
        tls_context_unref(server);
        server = server_make((struct server_wish){.tickets = after});
        tls_session_free(visit(server, client, session, &is_resumed));
        assert_false(is_resumed);
        tls_session_free(session);
        tls_context_unref(server);
        tls_context_unref(client);
        tls_tickets_free(before);
        tls_tickets_free(after);
    }
}

/* ---- with certificates --------------------------------------------------------------------- */

static const struct server_wish asking = {
    .ask = TLS_ASK_REQUIRED, .cafile = "ca.pem", .crlfile = "crl-empty.pem"};

static void who_resumes_keeps_its_identity(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct tls_tickets *tickets = tls_tickets_new();
        struct server_wish wish = asking;
        struct tls_identity identity;
        struct tls_duo duo;
        bool is_resumed;
        wish.tickets = tickets;
        struct tls_context *server = server_make(wish);
        struct tls_context *client = client_make(
            (struct client_wish){.version = versions[i], .name = "alice"});
        struct tls_session *session = visit(server, client, NULL, &is_resumed);
        duo_init(&duo, server, client, NULL);
        tls_client_resume(duo.client.tls, session);
        duo_open(&duo);
        struct tls_facts facts;
        tls_facts(duo.server.tls, &facts);
        assert_true(facts.is_resumed && facts.has_certificate);
        assert_true(tls_peer_identity(duo.server.tls, &identity));
        assert_string_equal(identity.common_name, "alice");
        duo_deinit(&duo);
        tls_session_free(session);
        tls_context_unref(server);
        tls_context_unref(client);
        tls_tickets_free(tickets);
    }
}

/* What has to be proved changes: all tickets of before are worth nothing. */
static void a_ticket_dies_when_what_has_to_be_proved_changes(void **state)
{
    static const struct {
        const char *cafile, *crlfile;
        enum tls_ask ask;
        bool is_resumed;
    } rows[] = {
        {"ca.pem", "crl-empty.pem", TLS_ASK_REQUIRED, true}, /* nothing changed */
        {"ca-both.pem", "crl-empty.pem", TLS_ASK_REQUIRED, false},
        {"ca.pem", "crl.pem", TLS_ASK_REQUIRED, false},
        {"ca.pem", NULL, TLS_ASK_REQUIRED, false},
        {"ca.pem", "crl-empty.pem", TLS_ASK_OPTIONAL, false},
        {NULL, NULL, TLS_ASK_NO, false},
    };
    (void)state;
    for (size_t i = 0; i < 2 * sizeof(rows) / sizeof(rows[0]); i++) {
        struct tls_tickets *tickets = tls_tickets_new();
        struct server_wish wish = asking;
        bool is_resumed;
        wish.tickets = tickets;
        struct tls_context *server = server_make(wish);
        struct tls_context *client = client_make(
            (struct client_wish){.version = versions[i % 2], .name = "alice"});
        struct tls_session *session = visit(server, client, NULL, &is_resumed);
        assert_non_null(session);
        tls_context_unref(server);
        server = server_make((struct server_wish){.cafile = rows[i / 2].cafile,
                                                  .crlfile = rows[i / 2].crlfile,
                                                  .ask = rows[i / 2].ask,
                                                  .tickets = tickets});
        tls_session_free(visit(server, client, session, &is_resumed));
        assert_int_equal(is_resumed, rows[i / 2].is_resumed);
        tls_session_free(session);
        tls_context_unref(server);
        tls_context_unref(client);
        tls_tickets_free(tickets);
    }
}

/* A ticket of a listener that asks for nothing does not open one that asks. */
static void no_ticket_spares_the_certificate(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct tls_tickets *tickets = tls_tickets_new();
        struct tls_context *open = server_make((struct server_wish){.tickets = tickets});
        struct server_wish wish = asking;
        bool is_resumed;
        struct tls_duo duo;
        wish.tickets = tickets;
        struct tls_context *asks = server_make(wish);
        struct tls_context *client = client_make((struct client_wish){.version = versions[i]});
        struct tls_session *session = visit(open, client, NULL, &is_resumed);
        duo_init(&duo, asks, client, NULL);
        tls_client_resume(duo.client.tls, session);
        duo_run(&duo);
        assert_false(tls_is_open(duo.server.tls));
        assert_non_null(strstr(tls_failure(duo.server.tls), "no certificate"));
        duo_deinit(&duo);
        tls_session_free(session);
        tls_context_unref(open);
        tls_context_unref(asks);
        tls_context_unref(client);
        tls_tickets_free(tickets);
    }
}

/*
 * Only a server's clock moves: the certificate runs out between two visits, the ticket does not. The
 * certificate lasts four hours, tickets twelve.
 */
static void who_resumes_with_a_certificate_is_checked_again(void **state)
{
    char folder[] = "/tmp/tern-tls-XXXXXX", command[4096], name[128];
    (void)state;
    assert_non_null(mkdtemp(folder));
    tls_folder_find();
    snprintf(command, sizeof(command),
             "cd %s && openssl req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 "
             "-subj /CN=short -days 1 -addext basicConstraints=CA:FALSE "
             "-addext extendedKeyUsage=clientAuth -CA %s/root.pem -CAkey %s/root.key "
             "-keyout short.key -out short.pem 2>/dev/null",
             folder, tls_folder, tls_folder);
    assert_int_equal(system(command), 0);
    snprintf(name, sizeof(name), "%s/short", folder);
    for (size_t i = 0; i < 2; i++) {
        struct tls_tickets *tickets = tls_tickets_new();
        struct server_wish wish = asking;
        struct tls_duo duo;
        bool is_resumed;
        wish.tickets = tickets;
        struct tls_context *server = server_make(wish);
        struct tls_context *client = client_make(
            (struct client_wish){.version = versions[i], .name = name});
        clock_s = (int64_t)time(NULL) + 20 * 3600;
        tls_context_set_clock(server, clock_by_hand);
        struct tls_session *session = visit(server, client, NULL, &is_resumed);
        clock_s += 3 * 3600;
        tls_session_free(visit(server, client, session, &is_resumed));
        assert_true(is_resumed);
        clock_s += 2 * 3600;
        duo_init(&duo, server, client, NULL);
        tls_client_resume(duo.client.tls, session);
        duo_run(&duo);
        assert_false(tls_is_open(duo.server.tls));
        assert_string_equal(tls_failure(duo.server.tls),
                            "the peer's certificate (common name \"short\"): expired");
        assert_non_null(strstr(tls_failure(duo.client.tls), "certificate expired"));
        struct tls_identity identity;
        assert_false(tls_peer_identity(duo.server.tls, &identity));
        duo_deinit(&duo);
        tls_session_free(session);
        tls_context_unref(server);
        tls_context_unref(client);
        tls_tickets_free(tickets);
    }
    snprintf(command, sizeof(command), "rm -r %s", folder);
    assert_int_equal(system(command), 0);
}

static void an_old_ticket_is_ignored(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct tls_tickets *tickets = tls_tickets_new();
        struct tls_context *server = server_make((struct server_wish){.tickets = tickets});
        struct tls_context *client = client_make((struct client_wish){.version = versions[i]});
        bool is_resumed;
        clock_s = (int64_t)time(NULL);
        tls_context_set_clock(server, clock_by_hand);
        struct tls_session *session = visit(server, client, NULL, &is_resumed);
        clock_s += TLS_TICKET_KEY_S - 60;
        tls_session_free(visit(server, client, session, &is_resumed));
        assert_true(is_resumed);
        clock_s += 120;
        tls_session_free(visit(server, client, session, &is_resumed));
        assert_false(is_resumed);
        tls_session_free(session);
        tls_context_unref(server);
        tls_context_unref(client);
        tls_tickets_free(tickets);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_ticket_resumes),
        cmocka_unit_test(without_keys_there_are_no_tickets),
        cmocka_unit_test(the_key_before_still_opens_and_the_one_before_does_not),
        cmocka_unit_test(a_ticket_of_another_life_is_ignored),
        cmocka_unit_test(who_resumes_keeps_its_identity),
        cmocka_unit_test(a_ticket_dies_when_what_has_to_be_proved_changes),
        cmocka_unit_test(no_ticket_spares_the_certificate),
        cmocka_unit_test(who_resumes_with_a_certificate_is_checked_again),
        cmocka_unit_test(an_old_ticket_is_ignored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
