#include "core/io/tls_inside.h"
#include "tests/lib/tls_pair.h"

#include <openssl/aead.h>
#include <openssl/ssl.h>

#include <dlfcn.h>
#include <pthread.h>

enum { RECORD_ALERT = 21, RECORD_HANDSHAKE = 22, RECORD_DATA = 23, SECOND_NS = 1000000000 };

/* A server and a client that are open, of one version. */
struct house {
    struct tls_context *server, *client;
    struct tls_duo duo;
};

static void house_open(struct house *house, const char *version)
{
    house->server = server_make((struct server_wish){.ask = TLS_ASK_NO});
    house->client = client_make((struct client_wish){.version = version});
    duo_init(&house->duo, house->server, house->client, NULL);
    duo_open(&house->duo);
}

static void house_close(struct house *house)
{
    duo_deinit(&house->duo);
    tls_context_unref(house->server);
    tls_context_unref(house->client);
}

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
        struct tls_facts facts;
        struct house house;
        house_open(&house, rows[i].asked);
        duo_talk(&house.duo);
        tls_facts(house.duo.server.tls, &facts);
        assert_string_equal(facts.version, rows[i].version);
        assert_string_equal(facts.cipher, rows[i].cipher);
        assert_string_equal(facts.group, "X25519");
        assert_string_equal(facts.server_name, "localhost");
        assert_int_equal(facts.protocol.count, 0);
        assert_false(facts.is_resumed);
        assert_false(facts.has_certificate);
        assert_string_equal(tls_failure(house.duo.server.tls), "not broken");
        house_close(&house);
    }
}

static void a_server_of_1_3_alone_refuses_1_2(void **state)
{
    struct tls_context *server = server_make((struct server_wish){.is_1_3_only = true});
    struct tls_context *client = client_make((struct client_wish){.version = "1.2"});
    struct tls_duo duo;
    (void)state;
    duo_init(&duo, server, client, NULL);
    duo_run(&duo);
    assert_int_equal(duo.server.last, ERR_PROTOCOL);
    assert_non_null(strstr(tls_failure(duo.server.tls), "unsupported protocol version"));
    assert_non_null(strstr(tls_failure(duo.client.tls), "alert: "));
    assert_false(tls_is_open(duo.server.tls));
    duo_deinit(&duo);
    tls_context_unref(server);
    tls_context_unref(client);
}

static void a_cipher_in_common_is_needed(void **state)
{
    struct tls_context *server = server_make(
        (struct server_wish){.ciphers = "ECDHE-ECDSA-AES256-GCM-SHA384"});
    struct tls_context *client = client_make(
        (struct client_wish){.version = "1.2", .ciphers = "ECDHE-ECDSA-CHACHA20-POLY1305"});
    struct tls_duo duo;
    (void)state;
    duo_init(&duo, server, client, NULL);
    duo_run(&duo);
    assert_non_null(strstr(tls_failure(duo.server.tls), "no shared cipher"));
    duo_deinit(&duo);
    tls_context_unref(server);
    tls_context_unref(client);
}

static void the_server_s_order_of_ciphers_counts(void **state)
{
    const char *ours = "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256";
    const char *theirs = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305";
    struct tls_context *server = server_make((struct server_wish){.ciphers = ours});
    struct tls_context *client = client_make(
        (struct client_wish){.version = "1.2", .ciphers = theirs});
    struct tls_facts facts;
    struct tls_duo duo;
    (void)state;
    duo_init(&duo, server, client, NULL);
    duo_open(&duo);
    tls_facts(duo.server.tls, &facts);
    assert_string_equal(facts.cipher, "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256");
    duo_deinit(&duo);
    tls_context_unref(server);
    tls_context_unref(client);
}

static void a_curve_in_common_is_needed(void **state)
{
    static const char *const groups[] = {"P-256", "P-384"};
    struct tls_context *server = server_make((struct server_wish){.curves = "P-256:P-384"});
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct tls_context *client = client_make(
            (struct client_wish){.curves = i == 2 ? "X25519" : groups[i]});
        struct tls_facts facts;
        struct tls_duo duo;
        duo_init(&duo, server, client, NULL);
        if (i == 2) {
            duo_run(&duo);
            assert_non_null(strstr(tls_failure(duo.server.tls), "no shared curve"));
        } else {
            duo_open(&duo);
            tls_facts(duo.server.tls, &facts);
            assert_string_equal(facts.group, groups[i]);
        }
        duo_deinit(&duo);
        tls_context_unref(client);
    }
    tls_context_unref(server);
}

static void the_protocol_is_chosen_by_our_preference(void **state)
{
    static const struct {
        const char *server[3], *client[3], *chosen; /* NULL: refused */
    } rows[] = {
        {{"mqtt", "http/1.1"}, {"http/1.1", "mqtt"}, "mqtt"},
        {{"mqtt"}, {"x-unknown", "mqtt"}, "mqtt"},
        {{"mqtt"}, {NULL}, ""}, /* none offered is fine */
        {{NULL}, {"mqtt"}, ""}, /* not answered */
        {{"mqtt"}, {"h2"}, NULL},
        {{"mqtt"}, {"mqt"}, NULL},
        {{"mqtt"}, {"mqttx"}, NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct server_wish server_wish = {.ask = TLS_ASK_NO};
        struct client_wish client_wish = {.version = i % 2 == 0 ? "1.2" : "1.3"};
        struct tls_facts facts;
        struct tls_duo duo;
        memcpy(server_wish.protocols, rows[i].server, sizeof(rows[i].server));
        memcpy(client_wish.protocols, rows[i].client, sizeof(rows[i].client));
        struct tls_context *server = server_make(server_wish);
        struct tls_context *client = client_make(client_wish);
        duo_init(&duo, server, client, NULL);
        duo_run(&duo);
        tls_facts(duo.server.tls, &facts);
        if (rows[i].chosen == NULL) {
            assert_int_equal(duo.server.last, ERR_PROTOCOL);
            assert_non_null(strstr(tls_failure(duo.server.tls), "ALPN"));
            assert_non_null(strstr(tls_failure(duo.client.tls), "ALPN"));
        } else {
            assert_true(tls_is_open(duo.server.tls));
            assert_true(slice_is(facts.protocol, rows[i].chosen));
        }
        duo_deinit(&duo);
        tls_context_unref(server);
        tls_context_unref(client);
    }
}

/* ---- bytes in any shape -------------------------------------------------------------------- */

static void bytes_one_by_one_are_enough(void **state)
{
    static const char *const versions[] = {"1.2", "1.3"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct tls_context *server = server_make((struct server_wish){.ask = TLS_ASK_NO});
        struct tls_context *client = client_make((struct client_wish){.version = versions[i]});
        struct tls_duo duo;
        duo_init(&duo, server, client, NULL);
        for (uint32_t round = 0; round < 4; round++) {
            side_step(&duo.client);
            if (round == 3) {
                side_say(&duo.client, "one by one");
            }
            while (buf_count(&duo.client.out) > 0) {
                assert_int_equal(
                    buf_append(&duo.server.in, slice_head(buf_bytes(&duo.client.out), 1)), OK);
                buf_consume(&duo.client.out, 1);
                assert_int_equal(side_step(&duo.server), ERR_MORE);
            }
            side_carry(&duo.server, &duo.client);
        }
        side_heard(&duo.server, "one by one");
        duo_deinit(&duo);
        tls_context_unref(server);
        tls_context_unref(client);
    }
}

/* The first packet of a client may ride behind its Finished. */
static void what_follows_the_handshake_at_once_is_kept(void **state)
{
    struct tls_context *server = server_make((struct server_wish){.ask = TLS_ASK_NO});
    struct tls_context *client = client_make((struct client_wish){.version = "1.3"});
    struct tls_duo duo;
    (void)state;
    duo_init(&duo, server, client, NULL);
    side_step(&duo.client);
    side_carry(&duo.client, &duo.server);
    side_step(&duo.server);
    side_carry(&duo.server, &duo.client);
    side_step(&duo.client);
    side_say(&duo.client, "CONNECT");
    side_carry(&duo.client, &duo.server);
    tls_feed(duo.server.tls, buf_bytes(&duo.server.in));
    assert_int_equal(tls_handshake(duo.server.tls), OK);
    assert_true(tls_unread(duo.server.tls) > 0);
    buf_consume(&duo.server.in, buf_count(&duo.server.in) - tls_unread(duo.server.tls));
    side_step(&duo.server);
    side_heard(&duo.server, "CONNECT");
    duo_deinit(&duo);
    tls_context_unref(server);
    tls_context_unref(client);
}

/* Any bit of a record: it breaks, says why, and an alert leaves. */
static void a_flipped_bit_breaks_it(void **state)
{
    static const char *const versions[] = {"1.2", "1.3"};
    (void)state;
    for (size_t i = 0; i < 2 * 24; i++) {
        struct house house;
        uint8_t plain[TLS_PLAIN_BYTES];
        size_t count = 7;
        house_open(&house, versions[i % 2]);
        struct tls_side *from = &house.duo.client, *to = &house.duo.server;
        side_say(from, "sixteen letters.");
        size_t at = 5 + i / 2 * (buf_count(&from->out) - 5) / 24;
        from->out.data[from->out.begin + at] ^= (uint8_t)(1u << i % 8);
        side_carry(from, to);
        tls_feed(to->tls, buf_bytes(&to->in));
        assert_int_equal(tls_read(to->tls, plain, &count), ERR_PROTOCOL);
        assert_int_equal(count, 7);
        assert_string_equal(
            tls_failure(to->tls),
            "a record was changed on its way, or the peer gave up before it had keys");
        assert_int_equal(record_count(buf_bytes(&to->out), i % 2 == 0 ? RECORD_ALERT : RECORD_DATA),
                         1);
        assert_false(tls_is_open(to->tls));
        /* It stays broken. */
        assert_int_equal(tls_unread(to->tls), 0);
        assert_int_equal(tls_read(to->tls, plain, &count), ERR_PROTOCOL);
        struct slice part = slice_text("no more");
        assert_int_equal(tls_seal(to->tls, &part, 1, 1), ERR_CLOSED);
        buf_consume(&to->in, buf_count(&to->in));
        house_close(&house);
    }
}

static void what_is_not_tls_is_named(void **state)
{
    static const struct {
        const char *bytes;
        size_t count;
        const char *failure;
    } rows[] = {
        {"GET / HTTP/1.1\r\n\r\n", 18, "an HTTP request on a TLS port"},
        {"POST /mqtt HTTP/1.1\r\n", 21, "an HTTP request on a TLS port"},
        {"CONNECT a:1 HTTP/1.1", 20, "an HTTP proxy request on a TLS port"},
        {"\x10\x0c\0\x04MQTT\x04\x02\0\x0a\0\0", 14, "an MQTT packet without TLS on a TLS port"},
        {"\xff\xfe\xfd\xfc\xfb\xfa\xf9", 7, "not TLS at all"},
        {"SSH-2.0-x\r\n", 11, "not TLS at all"},
        {"\x16\x03\x01\x48\x01zzzzzzzzzz", 15, "oversized record"},
        {"\x17\x03\x03\0\x10zzzzzzzzzzzzzzzz", 21, "a record out of turn"},
        {"\x15\x03\x01\0\x02\x02\x28", 7,
         "the peer gave up: it finds nothing in common, or wants a certificate (alert: handshake failure)"},
        {"\x15\x03\x01\0\x02\x02\x5a", 7, "the peer gave up (alert: user canceled)"},
    };
    struct tls_context *server = server_make((struct server_wish){.ask = TLS_ASK_NO});
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct tls_side side;
        side_init(&side, server, NULL);
        assert_true(tls_is_costly(side.tls));
        assert_int_equal(buf_append(&side.in, slice_of(rows[i].bytes, rows[i].count)), OK);
        assert_int_equal(side_step(&side), ERR_PROTOCOL);
        assert_string_equal(tls_failure(side.tls), rows[i].failure);
        assert_int_equal(tls_handshake(side.tls), ERR_PROTOCOL);
        assert_false(tls_is_costly(side.tls));
        side_deinit(&side);
    }
    tls_context_unref(server);
}

static void an_oversized_record_is_refused_later_too(void **state)
{
    struct house house;
    uint8_t plain[TLS_PLAIN_BYTES];
    size_t count;
    (void)state;
    house_open(&house, "1.3");
    uint8_t header[] = {RECORD_DATA, 3, 3, 0x41, 0x41}; /* 2^14 + 321: more than any version has */
    tls_feed(house.duo.server.tls, slice_of(header, sizeof(header)));
    assert_int_equal(tls_read(house.duo.server.tls, plain, &count), ERR_PROTOCOL);
    assert_string_equal(tls_failure(house.duo.server.tls), "oversized record");
    house_close(&house);
}

/* A client hello sealed with the keys of an open TLS 1.2 connection, as a client sends that wants to renegotiate. */
static void seal_hello(struct tls *tls, struct buf *out)
{
    static const uint8_t hello[] = {1, 0, 0, 41, 3, 3, 7, 7, 7, 7, 7, 7,    7,    7, 7,
                                    7, 7, 7, 7,  7, 7, 7, 7, 7, 7, 7, 7,    7,    7, 7,
                                    7, 7, 7, 7,  7, 7, 7, 7, 0, 0, 2, 0xc0, 0x2b, 1, 0};
    uint8_t keys[2 * (16 + 4)], nonce[12], head[13] = {0}, sealed[256];
    EVP_AEAD_CTX aead;
    size_t count;

    assert_int_equal(SSL_get_key_block_len(tls->ssl), sizeof(keys));
    assert_int_equal(SSL_generate_key_block(tls->ssl, keys, sizeof(keys)), 1);
    uint64_t sequence = SSL_get_write_sequence(tls->ssl);
    for (int i = 0; i < 8; i++) {
        head[i] = (uint8_t)(sequence >> (56 - 8 * i));
    }
    memcpy(nonce, keys + 32, 4);
    memcpy(nonce + 4, head, 8);
    memcpy(head + 8, (uint8_t[]){RECORD_HANDSHAKE, 3, 3, 0, sizeof(hello)}, 5);
    assert_int_equal(EVP_AEAD_CTX_init(&aead, EVP_aead_aes_128_gcm(), keys, 16, 16, NULL), 1);
    assert_int_equal(EVP_AEAD_CTX_seal(&aead, sealed, &count, sizeof(sealed), nonce, 12, hello,
                                       sizeof(hello), head, sizeof(head)),
                     1);
    EVP_AEAD_CTX_cleanup(&aead);
    uint8_t record[] = {RECORD_HANDSHAKE, 3, 3, 0, (uint8_t)(8 + count)};
    assert_int_equal(buf_append(out, slice_of(record, sizeof(record))), OK);
    assert_int_equal(buf_append(out, slice_of(nonce + 4, 8)), OK);
    assert_int_equal(buf_append(out, slice_of(sealed, count)), OK);
}

static void renegotiation_is_refused(void **state)
{
    struct house house;
    (void)state;
    house_open(&house, "1.2");
    duo_talk(&house.duo);
    seal_hello(house.duo.client.tls, &house.duo.client.out);
    side_carry(&house.duo.client, &house.duo.server);
    assert_int_equal(side_step(&house.duo.server), ERR_PROTOCOL);
    assert_string_equal(tls_failure(house.duo.server.tls),
                        "the peer tries to renegotiate, which is refused");
    assert_int_equal(record_count(buf_bytes(&house.duo.server.out), RECORD_ALERT), 1);
    house_close(&house);
}

/* ---- records ------------------------------------------------------------------------------- */

/* Seal one part of that many bytes; how many records came out. */
static uint32_t records_of(struct tls_side *side, size_t count, uint64_t now_ns)
{
    uint8_t *bytes = calloc(1, count + 1);
    struct slice part = slice_of(bytes, count);
    assert_non_null(bytes);
    buf_consume(&side->out, buf_count(&side->out));
    assert_int_equal(tls_seal(side->tls, &part, 1, now_ns), OK);
    free(bytes);
    return record_count(buf_bytes(&side->out), RECORD_DATA);
}

static void records_are_small_at_first_and_full_later(void **state)
{
    struct house house;
    uint64_t now_ns = 5 * (uint64_t)SECOND_NS;
    (void)state;
    house_open(&house, "1.2"); /* 1.3 would have a ticket among them */
    struct tls_side *side = &house.duo.server;
    assert_int_equal(records_of(side, TLS_FIRST_BYTES, now_ns), 1);
    assert_int_equal(records_of(side, TLS_FIRST_BYTES + 1, now_ns), 2);
    assert_int_equal(records_of(side, 10 * TLS_FIRST_BYTES, now_ns), 10);
    /* The burst so far: 12 records and a byte. 64 KiB are full after 51 of them. */
    size_t rest = TLS_GROW_BYTES - (12 * TLS_FIRST_BYTES + 1);
    assert_int_equal(records_of(side, rest, now_ns),
                     (rest + TLS_FIRST_BYTES - 1) / TLS_FIRST_BYTES);
    assert_int_equal(records_of(side, 3 * TLS_PLAIN_BYTES + 1, now_ns), 4);
    /* Less than a second is no pause. */
    now_ns += SECOND_NS - 1;
    assert_int_equal(records_of(side, TLS_PLAIN_BYTES, now_ns), 1);
    now_ns += SECOND_NS;
    assert_int_equal(records_of(side, TLS_PLAIN_BYTES, now_ns),
                     (TLS_PLAIN_BYTES + TLS_FIRST_BYTES - 1) / TLS_FIRST_BYTES);
    assert_int_equal(records_of(side, 0, now_ns), 0);
    house_close(&house);
}

static void many_parts_share_a_record(void **state)
{
    struct house house;
    struct slice parts[200];
    char text[sizeof(parts) / sizeof(parts[0]) * 6 + 1] = "";
    (void)state;
    house_open(&house, "1.2");
    for (size_t i = 0; i < 200; i++) {
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "p%03zu;", i);
    }
    for (size_t i = 0; i < 200; i++) {
        parts[i] = slice_of(text + 5 * i, i % 7 == 0 ? 0 : 5); /* empty ones among them */
        if (i % 7 == 0) {
            parts[i].data = NULL;
        }
    }
    assert_int_equal(tls_seal(house.duo.server.tls, parts, 200, 1), OK);
    assert_int_equal(record_count(buf_bytes(&house.duo.server.out), RECORD_DATA), 1);
    side_carry(&house.duo.server, &house.duo.client);
    side_step(&house.duo.client);
    char joined[sizeof(text)] = "";
    size_t count = 0;
    for (size_t i = 0; i < 200; i++) {
        for (size_t n = 0; i % 7 != 0 && n < 5; n++) {
            joined[count++] = text[5 * i + n];
        }
    }
    side_heard(&house.duo.client, joined);
    house_close(&house);
}

/* Parts of all sizes, against the same bytes in one piece. */
static void what_is_sealed_is_what_is_read(void **state)
{
    static uint8_t bytes[400000];
    uint32_t seed = 7;
    (void)state;
    for (size_t i = 0; i < sizeof(bytes); i++) {
        seed = seed * 1664525 + 1013904223;
        bytes[i] = (uint8_t)(seed >> 24);
    }
    for (uint32_t round = 0; round < 20; round++) {
        struct house house;
        struct slice parts[64];
        size_t used = 0;
        house_open(&house, round % 2 == 0 ? "1.2" : "1.3");
        for (uint32_t i = 0; i < 64; i++) {
            seed = seed * 1664525 + 1013904223;
            size_t count = (seed >> 8) % (i % 9 == 0 ? 40000 : 300);
            parts[i] = slice_of(bytes + used, count);
            used += count;
        }
        assert_true(used <= sizeof(bytes));
        assert_int_equal(tls_seal(house.duo.client.tls, parts, 64, 1), OK);
        side_carry(&house.duo.client, &house.duo.server);
        side_step(&house.duo.server);
        assert_int_equal(buf_count(&house.duo.server.plain), used);
        assert_memory_equal(buf_bytes(&house.duo.server.plain).data, bytes, used);
        house_close(&house);
    }
}

/* ---- the end ------------------------------------------------------------------------------- */

static void a_goodbye_is_said_once_and_heard(void **state)
{
    static const char *const versions[] = {"1.2", "1.3"};
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct house house;
        house_open(&house, versions[i % 2]);
        struct tls_side *first = i < 2 ? &house.duo.server : &house.duo.client;
        struct tls_side *second = i < 2 ? &house.duo.client : &house.duo.server;
        struct slice part = slice_text("last words");
        uint8_t plain[TLS_PLAIN_BYTES];
        size_t count;
        assert_int_equal(tls_seal(first->tls, &part, 1, 1), OK);
        tls_goodbye(first->tls);
        size_t bytes = buf_count(&first->out);
        tls_goodbye(first->tls);
        assert_int_equal(buf_count(&first->out), bytes);
        assert_int_equal(tls_seal(first->tls, &part, 1, 1), ERR_CLOSED);
        side_carry(first, second);
        assert_int_equal(side_step(second), ERR_CLOSED);
        side_heard(second, "last words");
        assert_int_equal(tls_read(second->tls, plain, &count), ERR_CLOSED);
        /* The other one may still speak, and says goodbye itself. */
        side_say(second, "mine, too");
        tls_goodbye(second->tls);
        side_carry(second, first);
        assert_int_equal(side_step(first), ERR_CLOSED);
        side_heard(first, "mine, too");
        house_close(&house);
    }
}

static void before_it_is_open_there_is_no_goodbye(void **state)
{
    struct tls_context *server = server_make((struct server_wish){.ask = TLS_ASK_NO});
    struct tls_side side;
    (void)state;
    side_init(&side, server, NULL);
    tls_goodbye(side.tls);
    assert_int_equal(buf_count(&side.out), 0);
    side_deinit(&side);
    tls_context_unref(server);
}

static void a_close_in_the_middle_of_the_handshake_is_named(void **state)
{
    static const uint8_t close_notify[] = {RECORD_ALERT, 3, 3, 0, 2, 1, 0};
    struct tls_context *server = server_make((struct server_wish){.ask = TLS_ASK_NO});
    struct tls_side side;
    (void)state;
    side_init(&side, server, NULL);
    assert_int_equal(buf_append(&side.in, slice_of(close_notify, sizeof(close_notify))), OK);
    assert_int_equal(side_step(&side), ERR_CLOSED);
    assert_string_equal(tls_failure(side.tls), "the peer ended it in the middle of the handshake");
    side_deinit(&side);
    tls_context_unref(server);
}

static void a_sink_without_memory_ends_it(void **state)
{
    struct tls_context *server = server_make((struct server_wish){.ask = TLS_ASK_NO});
    struct tls_context *client = client_make((struct client_wish){.is_insecure = false});
    struct slice part = slice_text("lost");
    struct tls_duo duo;
    (void)state;
    duo_init(&duo, server, client, NULL);
    duo.server.refuses_bytes = true;
    duo_run(&duo);
    assert_int_equal(duo.server.last, ERR_NOMEM);
    assert_string_equal(tls_failure(duo.server.tls), "memory is exhausted");
    duo_deinit(&duo);
    duo_init(&duo, server, client, NULL);
    duo_open(&duo);
    duo.server.refuses_bytes = true;
    assert_int_equal(tls_seal(duo.server.tls, &part, 1, 1), ERR_NOMEM);
    assert_int_equal(tls_seal(duo.server.tls, &part, 1, 1), ERR_CLOSED);
    duo_deinit(&duo);
    tls_context_unref(server);
    tls_context_unref(client);
}

/* ---- threads ------------------------------------------------------------------------------- */

struct traveller {
    struct tls_duo *duo;
    struct tls_context *context;
};

static void *talk_elsewhere(void *owner)
{
    struct traveller *traveller = owner;
    duo_talk(traveller->duo);
    return NULL;
}

static void it_moves_between_threads(void **state)
{
    struct house house;
    (void)state;
    house_open(&house, "1.3");
    for (uint32_t i = 0; i < 8; i++) {
        struct traveller traveller = {.duo = &house.duo};
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, talk_elsewhere, &traveller), 0);
        pthread_join(thread, NULL);
        duo_talk(&house.duo);
    }
    house_close(&house);
}

static void *shake_hands(void *owner)
{
    struct tls_context **contexts = owner;
    for (uint32_t i = 0; i < 20; i++) {
        struct tls_duo duo;
        duo_init(&duo, contexts[0], contexts[1], NULL);
        duo_open(&duo);
        duo_talk(&duo);
        duo_deinit(&duo);
    }
    return NULL;
}

static void a_context_serves_many_threads(void **state)
{
    struct tls_tickets *tickets = tls_tickets_new();
    struct tls_context *contexts[2] = {
        server_make((struct server_wish){
            .ask = TLS_ASK_REQUIRED, .cafile = "ca.pem", .crlfile = "crl.pem", .tickets = tickets}),
        client_make((struct client_wish){.name = "alice"}),
    };
    pthread_t threads[4];
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, shake_hands, contexts), 0);
    }
    tls_tickets_rotate(tickets);
    for (size_t i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    tls_context_unref(contexts[0]);
    tls_context_unref(contexts[1]);
    tls_tickets_free(tickets);
}

/* ---- the process --------------------------------------------------------------------------- */

static void the_library_is_boringssl_alone(void **state)
{
    char why[256] = "";
    (void)state;
    assert_int_equal(tls_library_check(why, sizeof(why)), OK);
    assert_string_equal(why, "");
}

static void a_second_tls_library_is_noticed(void **state)
{
    char why[256] = "";
    void *stranger = dlopen("libcrypto.so.3", RTLD_NOW | RTLD_LOCAL);
    (void)state;
    if (stranger == NULL) {
        skip(); /* this machine has no other one */
    }
    assert_int_equal(tls_library_check(why, sizeof(why)), ERR_UNSUPPORTED);
    assert_non_null(strstr(why, "libcrypto.so.3"));
    dlclose(stranger);
}

/* ---- what the caller counts ----------------------------------------------------------------- */

static void steps_that_cost_are_told_beforehand(void **state)
{
    static const enum tls_ask asks[] = {TLS_ASK_NO, TLS_ASK_OPTIONAL};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct tls_context *server = server_make(
            (struct server_wish){.ask = asks[i], .cafile = "ca.pem"});
        struct tls_context *client = client_make((struct client_wish){.name = "alice"});
        struct tls_duo duo;
        duo_init(&duo, server, client, NULL);
        assert_true(tls_is_costly(duo.server.tls));
        assert_false(tls_is_costly(duo.client.tls));
        side_step(&duo.client);
        side_carry(&duo.client, &duo.server);
        side_step(&duo.server);
        assert_int_equal(tls_is_costly(duo.server.tls), asks[i] != TLS_ASK_NO);
        side_carry(&duo.server, &duo.client);
        duo_open(&duo);
        assert_false(tls_is_costly(duo.server.tls));
        duo_deinit(&duo);
        tls_context_unref(server);
        tls_context_unref(client);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_versions_open_and_carry_bytes),
        cmocka_unit_test(a_server_of_1_3_alone_refuses_1_2),
        cmocka_unit_test(a_cipher_in_common_is_needed),
        cmocka_unit_test(the_server_s_order_of_ciphers_counts),
        cmocka_unit_test(a_curve_in_common_is_needed),
        cmocka_unit_test(the_protocol_is_chosen_by_our_preference),
        cmocka_unit_test(bytes_one_by_one_are_enough),
        cmocka_unit_test(what_follows_the_handshake_at_once_is_kept),
        cmocka_unit_test(a_flipped_bit_breaks_it),
        cmocka_unit_test(what_is_not_tls_is_named),
        cmocka_unit_test(an_oversized_record_is_refused_later_too),
        cmocka_unit_test(renegotiation_is_refused),
        cmocka_unit_test(records_are_small_at_first_and_full_later),
        cmocka_unit_test(many_parts_share_a_record),
        cmocka_unit_test(what_is_sealed_is_what_is_read),
        cmocka_unit_test(a_goodbye_is_said_once_and_heard),
        cmocka_unit_test(before_it_is_open_there_is_no_goodbye),
        cmocka_unit_test(a_close_in_the_middle_of_the_handshake_is_named),
        cmocka_unit_test(a_sink_without_memory_ends_it),
        cmocka_unit_test(it_moves_between_threads),
        cmocka_unit_test(a_context_serves_many_threads),
        cmocka_unit_test(the_library_is_boringssl_alone),
        cmocka_unit_test(a_second_tls_library_is_noticed),
        cmocka_unit_test(steps_that_cost_are_told_beforehand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
