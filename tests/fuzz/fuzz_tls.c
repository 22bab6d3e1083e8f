/*
 * fuzz_tls: no bytes break the server's end, whether they come instead of a handshake, in its middle
 * or after it; and what it hands out is what the client said, however its records were mutilated.
 *
 * The first byte picks the way:
 *     bit 0     0: the rest is what the server gets; 1: the rest mutilates what a real client sends
 *     bit 1     client certificates are required
 *     bit 2     TLS 1.2 alone (of the real client)
 *     bits 3-7  how the bytes are cut
 * A mutilation is four bytes: which flight of the client, where in it (two bytes), and what is done
 * there: another value, or from 0xf0 on something that changes the length.
 */
#include "core/base/buf.h"
#include "core/io/tls.h"
#include "core/io/tls_client.h"
#include "core/io/tls_context.h"

#include <openssl/ec_key.h>
#include <openssl/evp.h>
#include <openssl/nid.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { IS_REAL = 1, ASKS = 2, IS_1_2 = 4, FLIGHTS_MAX = 8, CUT_WHOLE = 0xf0, CUT_DOUBLE = 0xf8 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct tls_context *servers[2], *clients[2]; /* asks; is 1.2 */

/* ---- files --------------------------------------------------------------------------------- */

static EVP_PKEY *key_make(void)
{
    EC_KEY *ec = EC_KEY_new_by_curve_name(NID_X9_62_prime256v1);
    EVP_PKEY *key = EVP_PKEY_new();

    ASSERT(ec != NULL && key != NULL && EC_KEY_generate_key(ec) == 1);
    ASSERT(EVP_PKEY_assign_EC_KEY(key, ec) == 1);
    return key;
}

/* One certificate that signed itself is CA, server and client. */
static void files_make(const char *certfile, const char *keyfile)
{
    EVP_PKEY *key = key_make();
    X509 *made = X509_new();
    X509_NAME *name = X509_get_subject_name(made);
    FILE *file = fopen(certfile, "w");

    ASSERT(file != NULL);
    X509_set_version(made, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(made), 1);
    X509_gmtime_adj(X509_get_notBefore(made), -3600);
    X509_gmtime_adj(X509_get_notAfter(made), 365 * 86400L);
    X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8, (const uint8_t *)"fuzz", 4, -1,
                               0);
    X509_set_issuer_name(made, name);
    X509_set_pubkey(made, key);
    ASSERT(X509_sign(made, key, EVP_sha256()) > 0);
    ASSERT(PEM_write_X509(file, made) == 1);
    fclose(file);
    file = fopen(keyfile, "w");
    ASSERT(file != NULL && PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL) == 1);
    fclose(file);
    X509_free(made);
    EVP_PKEY_free(key);
}

static void contexts_make(void)
{
    static const char *const protocols[] = {"mqtt", "http/1.1"};
    char folder[] = "/tmp/tern-fuzz-XXXXXX", certfile[64], keyfile[64];
    struct tls_trouble trouble;

    ASSERT(mkdtemp(folder) != NULL);
    snprintf(certfile, sizeof(certfile), "%s/fuzz.pem", folder);
    snprintf(keyfile, sizeof(keyfile), "%s/fuzz.key", folder);
    files_make(certfile, keyfile);
    struct tls_pair pairs[2] = {{certfile, keyfile}, {certfile, keyfile}};
    struct tls_tickets *tickets = tls_tickets_new();
    for (uint32_t i = 0; i < 2; i++) {
        struct tls_settings server = {.pairs = pairs,
                                      .pair_count = 2, /* so that the hello is looked into */
                                      .cafile = certfile,
                                      .ask = i == 0 ? TLS_ASK_NO : TLS_ASK_REQUIRED,
                                      .protocols = protocols,
                                      .protocol_count = 2,
                                      .tickets = tickets};
        struct tls_client_settings client = {.is_insecure = true,
                                             .certfile = certfile,
                                             .keyfile = keyfile,
                                             .version = i == 0 ? NULL : "1.2",
                                             .protocols = protocols,
                                             .protocol_count = 1};
        uint64_t now_ms = (uint64_t)time(NULL) * 1000;
        ASSERT(tls_context_new(&server, now_ms, &servers[i], &trouble) == OK);
        ASSERT(tls_client_context_new(&client, &clients[i], &trouble) == OK);
    }
    unlink(certfile);
    unlink(keyfile);
    rmdir(folder);
}

/* ---- one end ------------------------------------------------------------------------------- */

struct end {
    struct tls *tls;
    struct buf in, out, plain;
    enum err last;
};

static bool keep(void *owner, struct slice cipher)
{
    struct end *end = owner;
    return buf_append(&end->out, cipher) == OK;
}

static void end_init(struct end *end, struct tls_context *context, const char *name)
{
    *end = (struct end){.tls = tls_new(context, name), .last = ERR_MORE};
    ASSERT(end->tls != NULL);
    tls_set_sink(end->tls, keep, end);
}

static void end_deinit(struct end *end)
{
    tls_free(end->tls);
    buf_deinit(&end->in);
    buf_deinit(&end->out);
    buf_deinit(&end->plain);
}

/* All that can be done with what came; what it says has to keep the contract. */
static void end_step(struct end *end)
{
    uint8_t plain[TLS_PLAIN_BYTES];
    struct tls_identity identity;
    struct tls_facts facts;
    size_t count = 0;

    tls_feed(end->tls, buf_bytes(&end->in));
    enum err err = tls_is_open(end->tls) ? OK : tls_handshake(end->tls);
    ASSERT(err != ERR_AGAIN); /* ECDSA P-256 is signed in place */
    while (err == OK) {
        ASSERT(tls_is_open(end->tls));
        err = tls_read(end->tls, plain, &count);
        if (err == OK) {
            ASSERT(count > 0 && count <= sizeof(plain));
            ASSERT(buf_append(&end->plain, slice_of(plain, count)) == OK);
        }
    }
    ASSERT(err == ERR_MORE || err == ERR_CLOSED || err == ERR_PROTOCOL);
    ASSERT(err != ERR_MORE || tls_unread(end->tls) == 0);
    ASSERT(err != ERR_PROTOCOL || !tls_is_open(end->tls));
    buf_consume(&end->in, buf_count(&end->in) - tls_unread(end->tls));
    tls_feed(end->tls, buf_bytes(&end->in));
    ASSERT(tls_failure(end->tls)[0] != '\0');
    tls_facts(end->tls, &facts);
    tls_peer_identity(end->tls, &identity);
    end->last = err;
}

static bool end_goes_on(const struct end *end)
{
    return end->last == ERR_MORE;
}

/* Hand over all of it, cut at the places that cut picks. */
static void end_take(struct end *end, struct slice bytes, uint8_t cut)
{
    while (bytes.count > 0 && end_goes_on(end)) {
        size_t step = cut == 0 ? bytes.count : 1 + (bytes.count * cut) % 61;
        step = step < bytes.count ? step : bytes.count;
        ASSERT(buf_append(&end->in, slice_head(bytes, step)) == OK);
        bytes = slice_skip(bytes, step);
        end_step(end);
        cut = (uint8_t)(cut * 5 / 3);
    }
}

/* ---- a client that is mutilated ------------------------------------------------------------ */

static void mutilate(struct buf *flight, uint32_t number, struct slice rest)
{
    for (; rest.count >= 4; rest = slice_skip(rest, 4)) {
        size_t count = buf_count(flight);
        if (rest.data[0] % FLIGHTS_MAX != number || count == 0) {
            continue;
        }
        size_t at = ((size_t)rest.data[1] << 8 | rest.data[2]) % count;
        if (rest.data[3] >= CUT_DOUBLE) { /* what is behind comes twice */
            struct buf copy = {.data = NULL};
            ASSERT(buf_append(&copy, slice_skip(buf_bytes(flight), at)) == OK);
            ASSERT(buf_append(flight, buf_bytes(&copy)) == OK);
            buf_deinit(&copy);
            if (buf_count(flight) > 1 << 18) {
                return;
            }
        } else if (rest.data[3] >= CUT_WHOLE) { /* what is behind is lost */
            flight->end = flight->begin + at;
            if (at == 0) {
                buf_deinit(flight);
            }
        } else {
            flight->data[flight->begin + at] ^= rest.data[3];
        }
    }
}

static void say(struct end *client, struct buf *said, uint32_t number)
{
    char text[64];
    int count = snprintf(text, sizeof(text), "packet %u of a client that is mutilated;", number);
    struct slice part = slice_of(text, (size_t)count);

    if (tls_is_open(client->tls) && tls_seal(client->tls, &part, 1, number) == OK) {
        ASSERT(buf_append(said, part) == OK);
    }
}

static void run_real(uint8_t head, struct slice rest)
{
    struct end server, client;
    struct buf said = {.data = NULL};
    struct slice answer = slice_text("an answer");

    end_init(&server, servers[(head & ASKS) != 0], NULL);
    end_init(&client, clients[(head & IS_1_2) != 0], "fuzz");
    for (uint32_t number = 0; number < FLIGHTS_MAX && end_goes_on(&server); number++) {
        if (end_goes_on(&client)) {
            end_step(&client);
        }
        say(&client, &said, number);
        mutilate(&client.out, number, rest);
        end_take(&server, buf_bytes(&client.out), head >> 3);
        buf_consume(&client.out, buf_count(&client.out));
        if (tls_is_open(server.tls)) {
            ASSERT(tls_seal(server.tls, &answer, 1, number) == OK);
        }
        end_take(&client, buf_bytes(&server.out), 0);
        buf_consume(&server.out, buf_count(&server.out));
    }
    /* What was handed out is what was said, as far as it came. */
    ASSERT(slice_starts_with(buf_bytes(&said), buf_bytes(&server.plain)));
    end_deinit(&server);
    end_deinit(&client);
    buf_deinit(&said);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct end server;

    if (servers[0] == NULL) {
        contexts_make();
    }
    if (size == 0) {
        return 0;
    }
    struct slice rest = slice_of(data + 1, size - 1);
    if ((data[0] & IS_REAL) != 0) {
        run_real(data[0], rest);
        return 0;
    }
    end_init(&server, servers[(data[0] & ASKS) != 0], NULL);
    end_take(&server, rest, data[0] >> 3);
    ASSERT(buf_count(&server.plain) == 0); /* nobody guesses a Finished */
    tls_goodbye(server.tls);
    end_deinit(&server);
    return 0;
}
