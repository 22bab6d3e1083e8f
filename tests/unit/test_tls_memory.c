#include "tests/lib/tls_pair.h"

#include <malloc.h>

/*
 * What an idle connection keeps on the heap, the library's part included. With sanitizers the numbers
 * are theirs, and the test is skipped.
 */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HEAP_IS_OURS false
#else
#define HEAP_IS_OURS true
#endif

enum { PAIRS = 1000, IDLE_BYTES_MAX = 3072, IDLE_BYTES_WITH_CERTIFICATE_MAX = 4096 };

static size_t heap_bytes(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

/* PAIRS connections, open and idle; what a server's end holds on average. */
static size_t idle_bytes(struct tls_context *server, struct tls_context *client, size_t *fresh_out)
{
    struct tls_duo *duos = calloc(PAIRS, sizeof(*duos));
    assert_non_null(duos);
    size_t before = heap_bytes();
    for (size_t i = 0; i < PAIRS; i++) {
        side_init(&duos[i].server, server, NULL);
    }
    *fresh_out = (heap_bytes() - before) / PAIRS;
    for (size_t i = 0; i < PAIRS; i++) {
        side_init(&duos[i].client, client, "localhost");
        duo_open(&duos[i]);
        duo_talk(&duos[i]);
        assert_int_equal(buf_count(&duos[i].server.out), 0);
        side_deinit(&duos[i].client);
    }
    size_t bytes = (heap_bytes() - before) / PAIRS;
    for (size_t i = 0; i < PAIRS; i++) {
        side_deinit(&duos[i].server);
    }
    free(duos);
    return bytes;
}

static void an_idle_connection_is_small(void **state)
{
    static const struct {
        const char *version, *client;
        size_t bytes_max;
    } rows[] = {
        {"1.2", NULL, IDLE_BYTES_MAX},
        {"1.3", NULL, IDLE_BYTES_MAX},
        {"1.2", "alice", IDLE_BYTES_WITH_CERTIFICATE_MAX},
        {"1.3", "alice", IDLE_BYTES_WITH_CERTIFICATE_MAX},
    };
    struct tls_tickets *tickets = tls_tickets_new();
    (void)state;
    if (!HEAP_IS_OURS) {
        tls_tickets_free(tickets);
        skip();
    }
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct server_wish wish = {.tickets = tickets};
        if (rows[i].client != NULL) {
            wish.ask = TLS_ASK_REQUIRED;
            wish.cafile = "ca.pem";
        }
        struct tls_context *server = server_make(wish);
        struct tls_context *client = client_make(
            (struct client_wish){.version = rows[i].version, .name = rows[i].client});
        size_t fresh;
        idle_bytes(server, client, &fresh); /* what is made once and kept is made now */
        size_t bytes = idle_bytes(server, client, &fresh);
        print_message("TLS %s%s: %zu bytes idle, %zu before the handshake\n", rows[i].version,
                      rows[i].client == NULL ? "" : " with a client certificate", bytes, fresh);
        assert_in_range(bytes, 1000, rows[i].bytes_max);
        tls_context_unref(server);
        tls_context_unref(client);
    }
    tls_tickets_free(tickets);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_idle_connection_is_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
