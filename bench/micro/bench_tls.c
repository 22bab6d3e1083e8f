/*
 * bench_tls: handshakes, records and idle connections, of BoringSSL by itself and through
 * core/io/tls.h.
 *
 * Client and server are in memory. Of a handshake only the server's calls count, by the clock of the
 * thread: making the connection, its steps, giving it back. What the bare one does is the least that
 * a broker can do, so that the ratio says what our transform adds; the two take turns, round by round.
 *
 *     bench_tls [--quick] [--json] [first]      first: only the full handshake of TLS 1.3
 */
#include "bench/micro/micro.h"
#include "core/base/assert.h"
#include "core/io/tls_client.h"
#include "core/io/tls_context.h"

#include <openssl/bio.h>
#include <openssl/ec_key.h>
#include <openssl/evp.h>
#include <openssl/nid.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <malloc.h>
#include <unistd.h>

enum {
    HANDSHAKES = 400,
    RECORDS = 100000,
    LARGE_RECORDS = 10000,
    IDLE = 500,
    CERTIFICATE_S = 3600,
    PATH_BYTES = 128,
    CIPHER_BYTES = 128 * 1024,
    RECORD_MORE_BYTES = 320, /* of the 13 records that 16 KiB are cut into at first */
    MESSAGE_BYTES = 64,
    MESSAGES = 16,
};

#define SECOND_NS ((uint64_t)1000000000)

/* ---- certificates -------------------------------------------------------------------------- */

static char folder[] = "/tmp/tern-bench-tls-XXXXXX";

struct pair {
    char certfile[PATH_BYTES], keyfile[PATH_BYTES];
};

static EVP_PKEY *new_key(bool is_rsa)
{
    EVP_PKEY *key = EVP_PKEY_new();
    EC_KEY *ec = is_rsa ? NULL : EC_KEY_new_by_curve_name(NID_X9_62_prime256v1);
    RSA *rsa = is_rsa ? RSA_new() : NULL;
    BIGNUM *exponent = BN_new();
    ASSERT(key != NULL);
    ASSERT(BN_set_word(exponent, RSA_F4) == 1);
    int rc = is_rsa ? RSA_generate_key_ex(rsa, 2048, exponent, NULL) : EC_KEY_generate_key(ec);
    ASSERT(rc == 1);
    rc = is_rsa ? EVP_PKEY_assign_RSA(key, rsa) : EVP_PKEY_assign_EC_KEY(key, ec);
    ASSERT(rc == 1);
    BN_free(exponent);
    return key;
}

static EVP_PKEY *read_key(const struct pair *pair)
{
    FILE *in = fopen(pair->keyfile, "re");
    ASSERT(in != NULL);
    EVP_PKEY *key = PEM_read_PrivateKey(in, NULL, NULL, NULL);
    fclose(in);
    ASSERT(key != NULL);
    return key;
}

/* Who signs itself may sign others. */
static int make_authority(X509 *x509)
{
    BASIC_CONSTRAINTS *constraints = BASIC_CONSTRAINTS_new();
    constraints->ca = 0xff;
    int rc = X509_add1_ext_i2d(x509, NID_basic_constraints, constraints, 1, 0);
    BASIC_CONSTRAINTS_free(constraints);
    return rc;
}

/* Signed by authority, whose name is "authority"; NULL: by itself. */
static void write_pair(struct pair *pair, const char *name, bool is_rsa,
                       const struct pair *authority)
{
    EVP_PKEY *key = new_key(is_rsa), *signer = authority == NULL ? NULL : read_key(authority);
    X509 *x509 = X509_new();
    X509_NAME *subject = X509_get_subject_name(x509), *issuer = X509_get_issuer_name(x509);
    const char *issuer_name = authority == NULL ? name : "authority";
    snprintf(pair->certfile, PATH_BYTES, "%s/%s.crt", folder, name);
    snprintf(pair->keyfile, PATH_BYTES, "%s/%s.key", folder, name);
    int rc = X509_set_version(x509, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(x509), is_rsa ? 2 : 1);
    X509_gmtime_adj(X509_getm_notBefore(x509), -CERTIFICATE_S);
    X509_gmtime_adj(X509_getm_notAfter(x509), CERTIFICATE_S);
    rc &= X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const uint8_t *)name, -1, -1, 0);
    rc &= X509_NAME_add_entry_by_txt(issuer, "CN", MBSTRING_ASC, (const uint8_t *)issuer_name, -1,
                                     -1, 0);
    rc &= X509_set_pubkey(x509, key);
    rc &= authority != NULL || make_authority(x509) == 1;
    rc &= X509_sign(x509, signer == NULL ? key : signer, EVP_sha256()) > 0;
    ASSERT(rc == 1);
    FILE *out = fopen(pair->certfile, "we");
    ASSERT(out != NULL);
    rc = PEM_write_X509(out, x509);
    fclose(out);
    out = fopen(pair->keyfile, "we");
    ASSERT(out != NULL);
    rc &= PEM_write_PrivateKey(out, key, NULL, NULL, 0, NULL, NULL);
    fclose(out);
    ASSERT(rc == 1);
    X509_free(x509);
    EVP_PKEY_free(key);
    EVP_PKEY_free(signer);
}

static void remove_pair(const struct pair *pair)
{
    unlink(pair->certfile);
    unlink(pair->keyfile);
}

/* ---- BoringSSL by itself ------------------------------------------------------------------- */

struct bare {
    SSL_CTX *server, *client;
    SSL_SESSION *ticket; /* NULL: full handshakes */
};

/* The signature, left out of what is measured. */
static enum ssl_private_key_result_t sign_unseen(SSL *ssl, uint8_t *out, size_t *count_out,
                                                 size_t max, uint16_t algorithm, const uint8_t *in,
                                                 size_t count)
{
    EVP_PKEY *key = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), 0);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    EVP_PKEY_CTX *options;
    micro_part_end();
    int rc = EVP_DigestSignInit(context, &options, SSL_get_signature_algorithm_digest(algorithm),
                                NULL, key);
    if (SSL_is_signature_algorithm_rsa_pss(algorithm)) {
        rc &= EVP_PKEY_CTX_set_rsa_padding(options, RSA_PKCS1_PSS_PADDING);
        rc &= EVP_PKEY_CTX_set_rsa_pss_saltlen(options, -1);
    }
    *count_out = max;
    rc &= EVP_DigestSign(context, out, count_out, in, count);
    EVP_MD_CTX_free(context);
    micro_part_begin();
    return rc == 1 ? ssl_private_key_success : ssl_private_key_failure;
}

static enum ssl_private_key_result_t never(SSL *ssl, uint8_t *out, size_t *count_out, size_t max,
                                           const uint8_t *in, size_t count)
{
    (void)ssl, (void)out, (void)count_out, (void)max, (void)in, (void)count;
    return ssl_private_key_failure;
}

static enum ssl_private_key_result_t never_later(SSL *ssl, uint8_t *out, size_t *count_out,
                                                 size_t max)
{
    (void)ssl, (void)out, (void)count_out, (void)max;
    return ssl_private_key_failure;
}

static const SSL_PRIVATE_KEY_METHOD unseen = {sign_unseen, never, never_later};

static int keep_ticket(SSL *ssl, SSL_SESSION *session)
{
    struct bare *bare = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    SSL_SESSION_free(bare->ticket);
    bare->ticket = session;
    return 1;
}

static SSL_CTX *bare_context(const SSL_METHOD *method, uint16_t version)
{
    SSL_CTX *context = SSL_CTX_new(method);
    ASSERT(context != NULL);
    int rc = SSL_CTX_set_min_proto_version(context, version);
    rc &= SSL_CTX_set_max_proto_version(context, version);
    ASSERT(rc == 1);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    return context;
}

static void bare_init(struct bare *bare, const struct pair *pair, uint16_t version)
{
    *bare = (struct bare){.server = bare_context(TLS_server_method(), version),
                          .client = bare_context(TLS_client_method(), version)};
    int rc = SSL_CTX_use_certificate_chain_file(bare->server, pair->certfile);
    rc &= SSL_CTX_use_PrivateKey_file(bare->server, pair->keyfile, SSL_FILETYPE_PEM);
    ASSERT(rc == 1);
    SSL_CTX_set_session_cache_mode(bare->client,
                                   SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_set_app_data(bare->client, bare);
}

/* Clients show certificates, and the server verifies them. */
static void bare_ask(struct bare *bare, const struct pair *client, const struct pair *authority)
{
    int rc = SSL_CTX_load_verify_locations(bare->server, authority->certfile, NULL);
    rc &= SSL_CTX_use_certificate_chain_file(bare->client, client->certfile);
    rc &= SSL_CTX_use_PrivateKey_file(bare->client, client->keyfile, SSL_FILETYPE_PEM);
    ASSERT(rc == 1);
    SSL_CTX_set_verify(bare->server, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
}

static void bare_deinit(struct bare *bare)
{
    SSL_SESSION_free(bare->ticket);
    SSL_CTX_free(bare->server);
    SSL_CTX_free(bare->client);
}

static SSL *bare_end(SSL_CTX *context)
{
    SSL *ssl = SSL_new(context);
    ASSERT(ssl != NULL);
    SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    return ssl;
}

static void carry(SSL *from, SSL *to)
{
    const uint8_t *bytes;
    size_t count;
    BIO *out = SSL_get_wbio(from);
    if (BIO_mem_contents(out, &bytes, &count) == 1 && count > 0) {
        BIO_write(SSL_get_rbio(to), bytes, (int)count);
        BIO_reset(out);
    }
}

/* One connection from its birth to the end of the handshake. Returns the server. */
static SSL *bare_connect(struct bare *bare, bool is_resumed, SSL **client_out)
{
    SSL *client = bare_end(bare->client);
    SSL_set_connect_state(client);
    if (is_resumed) {
        SSL_set_session(client, bare->ticket);
    }
    micro_part_begin();
    SSL *server = bare_end(bare->server);
    SSL_set_accept_state(server);
    micro_part_end();
    int rc = 0;
    while (rc != 1) {
        (void)SSL_do_handshake(client);
        carry(client, server);
        micro_part_begin();
        rc = SSL_do_handshake(server);
        micro_part_end();
        ASSERT(rc == 1 || SSL_get_error(server, rc) == SSL_ERROR_WANT_READ);
        carry(server, client);
    }
    rc = SSL_do_handshake(client);
    ASSERT(rc == 1);
    ASSERT((SSL_session_reused(server) == 1) == is_resumed);
    if (client_out != NULL) {
        *client_out = client;
        return server;
    }
    SSL_free(client);
    return server;
}

/* TLS 1.3's tickets leave with the first bytes that the server says. */
static void bare_fetch_ticket(struct bare *bare)
{
    uint8_t unused;
    SSL *client, *server;
    SSL_CTX_sess_set_new_cb(bare->client, keep_ticket);
    server = bare_connect(bare, false, &client);
    (void)SSL_write(server, "x", 1);
    carry(server, client);
    (void)SSL_read(client, &unused, 1);
    ASSERT(bare->ticket != NULL);
    SSL_CTX_sess_set_new_cb(bare->client, NULL);
    SSL_free(client);
    SSL_free(server);
}

static void bare_handshakes(void *context, uint64_t ops)
{
    struct bare *bare = context;
    for (uint64_t i = 0; i < ops; i++) {
        SSL *server = bare_connect(bare, bare->ticket != NULL, NULL);
        micro_part_begin();
        SSL_free(server);
        micro_part_end();
    }
}

/* ---- through core/io/tls.h ----------------------------------------------------------------- */

struct ends {
    struct tls_context *server, *client;
    struct tls_tickets *tickets;
    struct tls_session *ticket; /* NULL: full handshakes */
    bool is_signature_unseen;
    /* What the last call sealed. */
    uint8_t cipher[CIPHER_BYTES];
    size_t cipher_count;
};

static bool take(void *owner, struct slice cipher)
{
    struct ends *ends = owner;
    ASSERT(ends->cipher_count + cipher.count <= CIPHER_BYTES);
    memcpy(ends->cipher + ends->cipher_count, cipher.data, cipher.count);
    ends->cipher_count += cipher.count;
    return true;
}

static struct slice taken(struct ends *ends)
{
    struct slice cipher = slice_of(ends->cipher, ends->cipher_count);
    ends->cipher_count = 0;
    return cipher;
}

/* client NULL: nobody has to show a certificate; else one that authority has signed. */
static void ends_init(struct ends *ends, const struct pair *pair, const char *version,
                      const struct pair *client_pair, const struct pair *authority)
{
    struct tls_pair pairs[] = {{pair->certfile, pair->keyfile}};
    struct tls_trouble trouble = {0};
    struct timespec now;
    *ends = (struct ends){.tickets = tls_tickets_new()};
    struct tls_settings server = {.pairs = pairs, .pair_count = 1, .tickets = ends->tickets};
    struct tls_client_settings client = {.is_insecure = true, .version = version};
    if (client_pair != NULL) {
        server.ask = TLS_ASK_REQUIRED;
        server.cafile = authority->certfile;
        client.certfile = client_pair->certfile;
        client.keyfile = client_pair->keyfile;
    }
    clock_gettime(CLOCK_REALTIME, &now);
    enum err err = tls_context_new(&server, (uint64_t)now.tv_sec * 1000, &ends->server, &trouble);
    err = err == OK ? tls_client_context_new(&client, &ends->client, &trouble) : err;
    if (err != OK) {
        fprintf(stderr, "bench_tls: %s\n", trouble.text);
        exit(1);
    }
}

static void ends_deinit(struct ends *ends)
{
    tls_session_free(ends->ticket);
    tls_context_unref(ends->server);
    tls_context_unref(ends->client);
    tls_tickets_free(ends->tickets);
}

static void feed_client(struct tls *client, struct slice cipher)
{
    static uint8_t plain[TLS_PLAIN_BYTES];
    size_t count;
    tls_feed(client, cipher);
    enum err err = tls_is_open(client) ? OK : tls_handshake(client);
    ASSERT(err == OK || err == ERR_MORE);
    while (err == OK && tls_read(client, plain, &count) == OK) {
    }
}

static enum err step_server(struct ends *ends, struct tls *server)
{
    enum err err;
    while ((err = tls_handshake(server)) == ERR_AGAIN) {
        struct tls_signature *signature = tls_signature_take(server);
        if (ends->is_signature_unseen) {
            micro_part_end();
            tls_signature_make(signature);
            micro_part_begin();
        } else {
            tls_signature_make(signature);
        }
        tls_signature_done(server, signature);
    }
    ASSERT(err == OK || err == ERR_MORE);
    return err;
}

/* Both ends, open; *client_out NULL: the client is given back here. Returns the server. */
static struct tls *connect_ends(struct ends *ends, struct tls **client_out)
{
    static uint8_t copy[CIPHER_BYTES];
    struct tls *client = tls_new(ends->client, "localhost");
    ASSERT(client != NULL);
    tls_set_sink(client, take, ends);
    if (ends->ticket != NULL) {
        tls_client_resume(client, ends->ticket);
    }
    enum err err = tls_handshake(client);
    micro_part_begin();
    struct tls *server = tls_new(ends->server, NULL);
    tls_set_sink(server, take, ends);
    micro_part_end();
    ASSERT(server != NULL);
    do {
        struct slice cipher = taken(ends);
        memcpy(copy, cipher.data, cipher.count);
        micro_part_begin();
        tls_feed(server, slice_of(copy, cipher.count));
        err = step_server(ends, server);
        micro_part_end();
        cipher = taken(ends);
        memcpy(copy, cipher.data, cipher.count);
        feed_client(client, slice_of(copy, cipher.count));
    } while (err != OK);
    struct tls_facts facts;
    tls_facts(server, &facts);
    ASSERT(tls_is_open(client));
    ASSERT(facts.is_resumed == (ends->ticket != NULL));
    if (client_out != NULL) {
        *client_out = client;
        return server;
    }
    tls_free(client);
    return server;
}

static void handshakes(void *context, uint64_t ops)
{
    struct ends *ends = context;
    for (uint64_t i = 0; i < ops; i++) {
        struct tls *server = connect_ends(ends, NULL);
        micro_part_begin();
        tls_free(server);
        micro_part_end();
    }
}

static void fetch_ticket(struct ends *ends)
{
    struct tls *client, *server = connect_ends(ends, &client);
    struct slice word = slice_text("x");
    enum err err = tls_seal(server, &word, 1, SECOND_NS); /* the ticket leaves with it */
    ASSERT(err == OK);
    feed_client(client, taken(ends));
    ends->ticket = tls_client_session(client);
    ASSERT(ends->ticket != NULL);
    tls_free(client);
    tls_free(server);
}

/* ---- handshakes side by side --------------------------------------------------------------- */

/* Both are ready; they are measured in turn, and given back. */
static void run_both(const char *what, struct bare *bare, struct ends *ends)
{
    char bare_name[96], name[96];
    snprintf(bare_name, sizeof(bare_name), "%s: bare", what);
    snprintf(name, sizeof(name), "%s: ours", what);
    struct micro_side sides[] = {
        {.name = bare_name, .fn = bare_handshakes, .context = bare},
        {.name = name, .fn = handshakes, .context = ends},
    };
    double ratio = micro_run_beside(sides, HANDSHAKES);
    snprintf(name, sizeof(name), "%s: ours, a second and core", what);
    micro_value(name, sides[1].ns > 0 ? 1e9 / sides[1].ns : 0, "/s");
    snprintf(name, sizeof(name), "%s: ours, of the bare rate", what);
    micro_value(name, 100 * ratio, "percent");
    bare_deinit(bare);
    ends_deinit(ends);
}

static void run_kind(const char *what, const struct pair *pair, uint16_t version,
                     const char *version_text, bool is_resumed)
{
    static struct bare bare;
    static struct ends ends;
    bare_init(&bare, pair, version);
    ends_init(&ends, pair, version_text, NULL, NULL);
    if (is_resumed) {
        bare_fetch_ticket(&bare);
        fetch_ticket(&ends);
    }
    run_both(what, &bare, &ends);
}

/* RSA without its signature, which a broker leaves to its workers: what the shard itself pays. */
static void run_unsigned(const struct pair *pair)
{
    static struct bare bare;
    static struct ends ends;
    EVP_PKEY *key = read_key(pair);
    bare_init(&bare, pair, TLS1_3_VERSION);
    SSL_CTX_set_ex_data(bare.server, 0, key);
    SSL_CTX_set_private_key_method(bare.server, &unseen);
    ends_init(&ends, pair, "1.3", NULL, NULL);
    ends.is_signature_unseen = true;
    run_both("RSA 2048 less its signature", &bare, &ends);
    EVP_PKEY_free(key);
}

static void run_mutual(const struct pair *server, const struct pair *client,
                       const struct pair *authority)
{
    static struct bare bare;
    static struct ends ends;
    bare_init(&bare, server, TLS1_3_VERSION);
    bare_ask(&bare, client, authority);
    ends_init(&ends, server, "1.3", client, authority);
    run_both("TLS 1.3 client certificate", &bare, &ends);
}

/* ---- records ------------------------------------------------------------------------------- */

struct records {
    struct ends ends;
    struct tls *server, *client;
    uint8_t message[TLS_PLAIN_BYTES], plain[TLS_PLAIN_BYTES];
    struct slice parts[MESSAGES];
    uint32_t part_count;
    uint64_t now_ns;
};

/* Nobody reads them: the peer of this connection stays behind for ever. */
static void seals(void *context, uint64_t ops)
{
    struct records *records = context;
    for (uint64_t i = 0; i < ops; i++) {
        enum err err = tls_seal(records->client, records->parts, records->part_count,
                                records->now_ns);
        ASSERT(err == OK);
        micro_keep(taken(&records->ends).count);
    }
}

/* Many records come at once, so that reading the clock does not count. */
static void opens(void *context, uint64_t ops)
{
    struct records *records = context;
    size_t count, record_bytes = records->part_count * records->parts[0].count + RECORD_MORE_BYTES;
    uint64_t batch = CIPHER_BYTES / record_bytes, opened_count = 0;
    for (uint64_t done = 0; done < ops;) {
        uint64_t now = batch < ops - done ? batch : ops - done;
        for (uint64_t i = 0; i < now; i++) {
            enum err err = tls_seal(records->client, records->parts, records->part_count,
                                    records->now_ns);
            ASSERT(err == OK);
        }
        struct slice cipher = taken(&records->ends);
        micro_part_begin();
        tls_feed(records->server, cipher);
        while (tls_read(records->server, records->plain, &count) == OK) {
            opened_count += count;
        }
        micro_part_end();
        done += now;
    }
    ASSERT(opened_count == ops * records->part_count * records->parts[0].count);
}

static void connect_records(struct records *records)
{
    tls_free(records->server);
    tls_free(records->client);
    records->server = connect_ends(&records->ends, &records->client);
    records->now_ns = SECOND_NS;
}

static void run_records(const struct pair *pair)
{
    static const struct {
        const char *what;
        uint32_t part_bytes, part_count;
        uint64_t ops;
    } rows[] = {
        {"64 B", MESSAGE_BYTES, 1, RECORDS},
        {"16 x 64 B in one record", MESSAGE_BYTES, MESSAGES, RECORDS},
        {"16 KiB", TLS_PLAIN_BYTES, 1, LARGE_RECORDS},
    };
    static struct records records;
    char name[96];
    ends_init(&records.ends, pair, "1.3", NULL, NULL);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        records.part_count = rows[i].part_count;
        for (uint32_t part = 0; part < rows[i].part_count; part++) {
            records.parts[part] = slice_of(records.message, rows[i].part_bytes);
        }
        connect_records(&records);
        snprintf(name, sizeof(name), "seal %s", rows[i].what);
        micro_run(name, seals, &records, rows[i].ops);
        connect_records(&records);
        snprintf(name, sizeof(name), "open %s", rows[i].what);
        micro_run_part(name, opens, &records, rows[i].ops);
    }
    tls_free(records.server);
    tls_free(records.client);
    ends_deinit(&records.ends);
}

/* ---- idle ---------------------------------------------------------------------------------- */

static double heap_bytes(void)
{
    struct mallinfo2 info = mallinfo2();
    return (double)info.uordblks + (double)info.hblkhd;
}

/* What a server's end holds when all has been said, without what the allocator wastes. */
static void run_idle(const char *what, const struct pair *pair, const char *version)
{
    static struct ends ends;
    static struct tls *servers[IDLE];
    char name[96];

    ends_init(&ends, pair, version, NULL, NULL);
    tls_free(connect_ends(&ends, NULL)); /* what is allocated once */
    double before = heap_bytes();
    for (int i = 0; i < IDLE; i++) {
        servers[i] = connect_ends(&ends, NULL);
    }
    snprintf(name, sizeof(name), "%s: idle connection, heap", what);
    micro_value(name, (heap_bytes() - before) / IDLE, "bytes");
    for (int i = 0; i < IDLE; i++) {
        tls_free(servers[i]);
    }
    ends_deinit(&ends);
}

int main(int argc, char **argv)
{
    struct pair ecdsa, rsa, authority, client;
    micro_begin(argc, argv);
    if (mkdtemp(folder) == NULL) {
        perror("bench_tls: a folder for certificates");
        return 1;
    }
    write_pair(&ecdsa, "localhost", false, NULL);
    write_pair(&rsa, "rsa", true, NULL);
    write_pair(&authority, "authority", false, NULL);
    write_pair(&client, "client", false, &authority);
    run_kind("TLS 1.3 ECDSA P-256", &ecdsa, TLS1_3_VERSION, "1.3", false);
    if (micro.argument == NULL || strcmp(micro.argument, "first") != 0) {
        run_kind("TLS 1.3 resumed", &ecdsa, TLS1_3_VERSION, "1.3", true);
        run_kind("TLS 1.3 RSA 2048", &rsa, TLS1_3_VERSION, "1.3", false);
        run_unsigned(&rsa);
        run_mutual(&ecdsa, &client, &authority);
        run_kind("TLS 1.2 ECDSA P-256", &ecdsa, TLS1_2_VERSION, "1.2", false);
        run_kind("TLS 1.2 resumed", &ecdsa, TLS1_2_VERSION, "1.2", true);
        run_records(&ecdsa);
        run_idle("TLS 1.3", &ecdsa, "1.3");
        run_idle("TLS 1.2", &ecdsa, "1.2");
    }
    remove_pair(&ecdsa);
    remove_pair(&rsa);
    remove_pair(&authority);
    remove_pair(&client);
    rmdir(folder);
    return 0;
}
