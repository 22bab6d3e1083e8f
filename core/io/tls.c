#include "core/io/tls.h"

#include "core/base/assert.h"
#include "core/io/tls_inside.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

/*
 * BoringSSL calls down for bytes; there is nothing below, so reads copy out of what was fed and
 * writes go to the sink.
 *
 *     tls_feed ──> fed ──bio_read──> BoringSSL ──> plain bytes
 *     sink <───────────bio_write──── BoringSSL <── plain bytes
 *
 * Invariants
 *   I1  fed is what was fed and not copied out; WANT_READ is only ever said when it is empty.
 *   I2  is_open and is_broken are set once and stay; SSL_read and SSL_write are called only between.
 *   I3  the queue of BoringSSL's errors belongs to the thread, so every call here starts it empty.
 */

enum { SECOND_NS = 1000000000 };

/* ---- below BoringSSL ----------------------------------------------------------------------- */

struct tls *tls_of(const SSL *ssl)
{
    return BIO_get_data(SSL_get_rbio(ssl));
}

static int bio_read(BIO *bio, char *out, int count_max)
{
    struct tls *tls = BIO_get_data(bio);

    BIO_clear_retry_flags(bio);
    if (tls->fed.count == 0) {
        BIO_set_retry_read(bio); /* I1 */
        return -1;
    }
    size_t count = tls->fed.count < (size_t)count_max ? tls->fed.count : (size_t)count_max;
    memcpy(out, tls->fed.data, count);
    tls->fed = slice_skip(tls->fed, count);
    return (int)count;
}

static int bio_write(BIO *bio, const char *bytes, int count)
{
    struct tls *tls = BIO_get_data(bio);

    BIO_clear_retry_flags(bio);
    tls->has_answered = true;
    if (tls->sink == NULL || !tls->sink(tls->sink_owner, slice_of(bytes, (size_t)count))) {
        tls->is_starved = true;
        return -1;
    }
    return count;
}

static long bio_control(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

static const BIO_METHOD bio_method = {
    .name = "tern",
    .bwrite = bio_write,
    .bread = bio_read,
    .ctrl = bio_control,
};

/* ---- life ---------------------------------------------------------------------------------- */

static bool is_address(const char *name)
{
    uint8_t ip[16];
    return inet_pton(AF_INET, name, ip) == 1 || inet_pton(AF_INET6, name, ip) == 1;
}

/* SNI has names alone: RFC 6066 section 3 leaves no room for addresses. */
static bool name_peer(struct tls *tls, const char *server_name)
{
    tls->peer_name = strdup(server_name);
    return tls->peer_name != NULL &&
           (is_address(server_name) || SSL_set_tlsext_host_name(tls->ssl, server_name) == 1);
}

struct tls *tls_new(struct tls_context *context, const char *server_name)
{
    ASSERT(context != NULL);
    ASSERT(server_name == NULL || context->is_client);
    ERR_clear_error(); /* I3 */
    struct tls *tls = calloc(1, sizeof(*tls));
    BIO *bio = NULL;
    if (tls == NULL) {
        return NULL;
    }
    tls->context = tls_context_ref(context);
    tls->served = context->pairs;
    tls->ssl = SSL_new(context->ssl_context);
    bio = BIO_new(&bio_method);
    if (tls->ssl == NULL || bio == NULL) {
        BIO_free(bio);
        goto fail;
    }
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
    SSL_set_bio(tls->ssl, bio, bio);
    SSL_set_shed_handshake_config(tls->ssl, 1);
    if (context->is_client) {
        SSL_set_connect_state(tls->ssl);
    } else {
        SSL_set_accept_state(tls->ssl);
    }
    if (server_name != NULL && !name_peer(tls, server_name)) {
        goto fail;
    }
    return tls;
fail:
    ERR_clear_error();
    tls_free(tls);
    return NULL;
}

void tls_free(struct tls *tls)
{
    if (tls == NULL) {
        return;
    }
    SSL_free(tls->ssl);
    SSL_SESSION_free(tls->session);
    tls_signature_free(tls->signature);
    tls_context_unref(tls->context);
    free(tls->peer_name);
    free(tls->failure);
    free(tls);
}

void tls_set_sink(struct tls *tls, tls_sink *sink, void *owner)
{
    tls->sink = sink;
    tls->sink_owner = owner;
}

/*
 * OpenSSL's clients say in clear why they give up in a handshake of TLS 1.3, where only what is
 * ciphered is believed. It decides nothing; it is for the log, as what nearly always went wrong.
 */
static uint8_t alert_in_clear(struct slice cipher)
{
    static const uint8_t compatible[] = {20, 3, 3, 0, 1, 1}; /* RFC 8446 appendix D.4 */
    struct slice rest = cipher;
    if (slice_starts_with(rest, slice_of(compatible, sizeof(compatible)))) {
        rest = slice_skip(rest, sizeof(compatible));
    }
    bool is_alert = rest.count == 7 && rest.data[0] == 21 && rest.data[3] == 0 && rest.data[4] == 2;
    return is_alert ? rest.data[6] : 0;
}

void tls_feed(struct tls *tls, struct slice cipher)
{
    ASSERT(cipher.count >= tls->fed.count); /* what was left unread comes again */
    if (!tls->has_answered && !tls->is_open && tls->first_byte == 0 && cipher.count > 0) {
        tls->first_byte = cipher.data[0];
    }
    if (tls->has_answered && !tls->is_open) {
        tls->clear_alert = alert_in_clear(cipher);
    }
    tls->fed = cipher;
}

size_t tls_unread(const struct tls *tls)
{
    return tls->fed.count;
}

/* ---- handshake ----------------------------------------------------------------------------- */

/* Broken: the words are kept, and what is still fed is of no use to anybody. */
static enum err broken(struct tls *tls, int code)
{
    enum err err = tls->is_starved ? ERR_NOMEM : ERR_PROTOCOL;

    if (tls->is_starved) {
        tls_fail(tls, "memory is exhausted");
    } else if (code == SSL_ERROR_ZERO_RETURN) {
        tls_fail(tls, "the peer ended it in the middle of the handshake");
        err = ERR_CLOSED;
    } else {
        tls_fail_from_queue(tls);
    }
    ERR_clear_error();
    tls->fed = slice_of(NULL, 0);
    return err;
}

/*
 * Who resumes proved a certificate in an earlier life. BoringSSL checks it again for clients only
 * (SSL_CTX_set_reverify_on_resume), so a server does it here: it may have expired or been revoked.
 */
static enum err resumed_peer_check(struct tls *tls)
{
    uint8_t alert = SSL_AD_CERTIFICATE_UNKNOWN;

    if (tls->context->is_client || tls->context->ask == TLS_ASK_NO ||
        !SSL_session_reused(tls->ssl) ||
        sk_CRYPTO_BUFFER_num(SSL_get0_peer_certificates(tls->ssl)) == 0) {
        return OK;
    }
    if (tls_verify(tls, &alert)) {
        return OK;
    }
    SSL_send_fatal_alert(tls->ssl, alert);
    return broken(tls, SSL_ERROR_SSL);
}

enum err tls_handshake(struct tls *tls)
{
    ASSERT(!tls->is_open);
    if (tls->is_broken) {
        return ERR_PROTOCOL;
    }
    ERR_clear_error(); /* I3 */
    int result = SSL_do_handshake(tls->ssl);
    if (result == 1) {
        TRY(resumed_peer_check(tls));
        tls->is_open = true;
        return OK;
    }
    int code = SSL_get_error(tls->ssl, result);
    switch (code) {
    case SSL_ERROR_WANT_READ:
        return ERR_MORE;
    case SSL_ERROR_WANT_PRIVATE_KEY_OPERATION:
        tls->has_answered = true; /* what costs is somebody else's now */
        return ERR_AGAIN;
    default:
        return broken(tls, code);
    }
}

bool tls_is_open(const struct tls *tls)
{
    return tls->is_open && !tls->is_broken;
}

bool tls_is_costly(const struct tls *tls)
{
    bool signs = !tls->has_answered, verifies = tls->context->ask != TLS_ASK_NO;
    return !tls->context->is_client && !tls->is_open && !tls->is_broken && (signs || verifies);
}

/* ---- after it ------------------------------------------------------------------------------ */

enum err tls_read(struct tls *tls, uint8_t *plain, size_t *count_out)
{
    ASSERT(tls->is_open);
    if (tls->is_broken) {
        return ERR_PROTOCOL;
    }
    ERR_clear_error(); /* I3 */
    int result = SSL_read(tls->ssl, plain, TLS_PLAIN_BYTES);
    if (result > 0) {
        *count_out = (size_t)result;
        return OK;
    }
    int code = SSL_get_error(tls->ssl, result);
    switch (code) {
    case SSL_ERROR_WANT_READ:
        return ERR_MORE;
    case SSL_ERROR_ZERO_RETURN:
        return ERR_CLOSED;
    default:
        return broken(tls, code);
    }
}

static uint32_t record_bytes_max(const struct tls *tls)
{
    return tls->burst_bytes < TLS_GROW_BYTES ? TLS_FIRST_BYTES : TLS_PLAIN_BYTES;
}

static enum err seal_record(struct tls *tls, const uint8_t *plain, size_t count)
{
    ERR_clear_error(); /* I3 */
    if (SSL_write(tls->ssl, plain, (int)count) != (int)count) {
        enum err err = broken(tls, SSL_ERROR_SSL);
        return err == ERR_NOMEM ? ERR_NOMEM : ERR_CLOSED;
    }
    if (tls->burst_bytes < TLS_GROW_BYTES) {
        tls->burst_bytes += (uint32_t)count;
    }
    return OK;
}

/* The parts, as one row of bytes. */
struct row {
    const struct slice *parts;
    uint32_t part_count;
    struct slice now; /* what is left of the part before parts */
};

static void row_settle(struct row *row)
{
    while (row->now.count == 0 && row->part_count > 0) {
        row->now = *row->parts++;
        row->part_count--;
    }
}

/* Up to count bytes of the row: from where they lie when they lie together, else from scratch. */
static struct slice row_next(struct row *row, size_t count, uint8_t *scratch)
{
    bool is_last = true;
    for (uint32_t i = 0; i < row->part_count && is_last; i++) {
        is_last = row->parts[i].count == 0;
    }
    if (row->now.count >= count || is_last) {
        struct slice whole = slice_head(row->now, row->now.count < count ? row->now.count : count);
        row->now = slice_skip(row->now, whole.count);
        return whole;
    }
    size_t joined = 0;
    while (joined < count && row->now.count > 0) {
        size_t step = row->now.count < count - joined ? row->now.count : count - joined;
        memcpy(scratch + joined, row->now.data, step);
        joined += step;
        row->now = slice_skip(row->now, step);
        row_settle(row);
    }
    return slice_of(scratch, joined);
}

enum err tls_seal(struct tls *tls, const struct slice *parts, uint32_t part_count, uint64_t now_ns)
{
    ASSERT(tls->is_open);
    uint8_t scratch[TLS_PLAIN_BYTES];
    struct row row = {.parts = parts, .part_count = part_count};

    if (tls->has_said_goodbye || tls->is_broken) {
        return ERR_CLOSED;
    }
    if (now_ns - tls->sealed_ns >= SECOND_NS) {
        tls->burst_bytes = 0;
    }
    tls->sealed_ns = now_ns;
    row_settle(&row);
    while (row.now.count > 0) {
        struct slice record = row_next(&row, record_bytes_max(tls), scratch);
        TRY(seal_record(tls, record.data, record.count));
        row_settle(&row);
    }
    return OK;
}

void tls_goodbye(struct tls *tls)
{
    if (!tls_is_open(tls) || tls->has_said_goodbye) {
        return;
    }
    tls->has_said_goodbye = true;
    ERR_clear_error(); /* I3 */
    SSL_shutdown(tls->ssl);
    ERR_clear_error();
}

/* ---- questions ----------------------------------------------------------------------------- */

static const char *text_or_none(const char *text)
{
    return text == NULL ? "" : text;
}

void tls_facts(const struct tls *tls, struct tls_facts *out)
{
    const SSL_CIPHER *cipher = SSL_get_current_cipher(tls->ssl);
    const uint8_t *protocol = NULL;
    unsigned protocol_bytes = 0;

    SSL_get0_alpn_selected(tls->ssl, &protocol, &protocol_bytes);
    *out = (struct tls_facts){
        .version = SSL_get_version(tls->ssl),
        .cipher = cipher == NULL ? "" : text_or_none(SSL_CIPHER_standard_name(cipher)),
        .group = text_or_none(SSL_get_curve_name(SSL_get_curve_id(tls->ssl))),
        .server_name = text_or_none(SSL_get_servername(tls->ssl, TLSEXT_NAMETYPE_host_name)),
        .protocol = slice_of(protocol, protocol_bytes),
        .is_resumed = SSL_session_reused(tls->ssl) == 1,
        .has_certificate = sk_CRYPTO_BUFFER_num(SSL_get0_peer_certificates(tls->ssl)) > 0,
    };
}
