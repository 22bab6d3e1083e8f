#include "core/io/tls_context.h"

#include "core/base/assert.h"
#include "core/io/tls_inside.h"

#include <openssl/err.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/*
 * A context is built once from its settings and never changed; connections on all shards read it.
 */

enum { MS_PER_S = 1000 };

/* The numbers that client hellos name their extensions by: RFC 8446 section 4.2. */
enum { EXTENSION_SIGNATURE_ALGORITHMS = 13, EXTENSION_SUPPORTED_VERSIONS = 43 };

static int64_t wall_now_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec;
}

/* ---- what BoringSSL asks the context ------------------------------------------------------- */

/* A list behind its own length, of length_bytes; empty when it is not what it says. */
static struct slice list_of(const uint8_t *bytes, size_t count, size_t length_bytes)
{
    size_t length = 0;

    if (count < length_bytes) {
        return slice_of(NULL, 0);
    }
    for (size_t i = 0; i < length_bytes; i++) {
        length = length << 8 | bytes[i];
    }
    return length == count - length_bytes ? slice_of(bytes + length_bytes, length)
                                          : slice_of(NULL, 0);
}

static bool offers_1_3(const SSL_CLIENT_HELLO *hello)
{
    const uint8_t *bytes;
    size_t count;

    if (SSL_early_callback_ctx_extension_get(hello, EXTENSION_SUPPORTED_VERSIONS, &bytes, &count) !=
        1) {
        return false;
    }
    struct slice versions = list_of(bytes, count, 1);
    for (size_t i = 0; i + 1 < versions.count; i += 2) {
        if ((versions.data[i] << 8 | versions.data[i + 1]) == TLS1_3_VERSION) {
            return true;
        }
    }
    return false;
}

/* Which certificate does this client see? Asked before anything else is done with its hello. */
static enum ssl_select_cert_result_t choose_certificate(const SSL_CLIENT_HELLO *hello)
{
    const struct tls_context *context = tls_of(hello->ssl)->context;
    struct tls_wish wish = {
        .server_name = SSL_get_servername(hello->ssl, TLSEXT_NAMETYPE_host_name),
        .ciphers = slice_of(hello->cipher_suites, hello->cipher_suites_len),
        .is_1_3 = offers_1_3(hello),
    };
    const uint8_t *bytes;
    size_t count;

    if (SSL_early_callback_ctx_extension_get(hello, EXTENSION_SIGNATURE_ALGORITHMS, &bytes,
                                             &count) == 1) {
        wish.algorithms = list_of(bytes, count, 2);
    }
    uint32_t index = tls_served_choose(context->pairs, context->pair_count, &wish);
    bool is_good = index == 0 || tls_show(hello->ssl, &context->pairs[index]);
    return is_good ? ssl_select_cert_success : ssl_select_cert_error;
}

/* RFC 7301 section 3.2: the server's preference; nothing in common is fatal. */
static int choose_protocol(SSL *ssl, const uint8_t **out, uint8_t *count_out,
                           const uint8_t *offered, unsigned offered_bytes, void *owner)
{
    const struct tls_context *context = owner;

    (void)ssl;
    for (size_t at = 0; at < context->protocol_bytes; at += 1 + context->protocols[at]) {
        struct slice ours = slice_of(context->protocols + at + 1, context->protocols[at]);
        for (unsigned i = 0; i < offered_bytes && offered[i] < offered_bytes - i;
             i += 1 + offered[i]) {
            if (slice_equal(ours, slice_of(offered + i + 1, offered[i]))) {
                *out = offered + i + 1;
                *count_out = offered[i];
                return SSL_TLSEXT_ERR_OK;
            }
        }
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static enum ssl_verify_result_t verify_peer(SSL *ssl, uint8_t *alert)
{
    return tls_verify(tls_of(ssl), alert) ? ssl_verify_ok : ssl_verify_invalid;
}

/* One write, so that lines of several shards do not mix. What cannot be written is lost. */
static void write_key(const SSL *ssl, const char *line)
{
    char text[512];
    int count = snprintf(text, sizeof(text), "%s\n", line);

    if (count > 0 && count < (int)sizeof(text)) {
        ssize_t written = write(tls_of(ssl)->context->keylog_fd, text, (size_t)count);
        (void)written;
    }
}

/* BoringSSL does not say for whom it asks the time, so tests have one clock for all their contexts. */
static int64_t (*test_now_s)(void);

static void tell_time(const SSL *ssl, struct timeval *out)
{
    (void)ssl;
    *out = (struct timeval){.tv_sec = test_now_s()};
}

void tls_context_set_clock(struct tls_context *context, int64_t (*now_s)(void))
{
    test_now_s = now_s;
    context->now_s = now_s;
    SSL_CTX_set_current_time_cb(context->ssl_context, tell_time);
}

/* ---- building ------------------------------------------------------------------------------ */

struct tls_context *tls_context_make(bool is_client)
{
    struct tls_context *context = calloc(1, sizeof(*context));

    if (context == NULL) {
        return NULL;
    }
    atomic_init(&context->reference_count, 1);
    context->is_client = is_client;
    context->keylog_fd = -1;
    context->now_s = wall_now_s;
    context->ssl_context = SSL_CTX_new(TLS_with_buffers_method());
    if (context->ssl_context == NULL ||
        SSL_CTX_set_min_proto_version(context->ssl_context, TLS1_2_VERSION) != 1 ||
        SSL_CTX_set_max_proto_version(context->ssl_context, TLS1_3_VERSION) != 1 ||
        !tls_words_algorithms(context->ssl_context)) {
        ERR_clear_error();
        tls_context_unref(context);
        return NULL;
    }
    SSL_CTX_set_early_data_enabled(context->ssl_context, 0); /* it can be replayed: RFC 8446 8 */
    SSL_CTX_set_session_cache_mode(context->ssl_context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_max_cert_list(context->ssl_context, TLS_PEER_CHAIN_BYTES_MAX);
    return context;
}

static enum err read_pairs(struct tls_context *context, const struct tls_settings *settings,
                           int64_t wall_s, struct tls_trouble *trouble)
{
    context->pairs = calloc(settings->pair_count, sizeof(context->pairs[0]));
    if (context->pairs == NULL) {
        return tls_trouble(trouble, ERR_NOMEM, "certfile: memory is exhausted");
    }
    for (uint32_t i = 0; i < settings->pair_count; i++) {
        TRY(tls_served_init(&context->pairs[i], &settings->pairs[i], wall_s, trouble));
        context->pair_count++;
    }
    if (!tls_show_always(context->ssl_context, &context->pairs[0])) {
        ERR_clear_error();
        return tls_trouble(trouble, ERR_INVALID,
                           "certfile %s: the TLS library does not take it: use ECDSA P-256",
                           settings->pairs[0].certfile);
    }
    if (context->pair_count > 1) {
        SSL_CTX_set_select_certificate_cb(context->ssl_context, choose_certificate);
    }
    return OK;
}

static enum err read_trust(struct tls_context *context, const struct tls_settings *settings,
                           int64_t wall_s, struct tls_trouble *trouble)
{
    int mode = SSL_VERIFY_PEER;

    TRY(tls_trust_init(&context->trust, settings->cafile, settings->capath, settings->crlfile,
                       wall_s, trouble));
    context->ask = settings->ask;
    if (context->ask == TLS_ASK_NO) {
        return OK;
    }
    if (context->trust.store == NULL) {
        return tls_trouble(trouble, ERR_INVALID,
                           "require_certificate: nobody is named who may sign client certificates: "
                           "set cafile or capath");
    }
    if (context->ask == TLS_ASK_REQUIRED) {
        mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    }
    SSL_CTX_set_custom_verify(context->ssl_context, mode, verify_peer);
    return tls_trust_announce(&context->trust, context->ssl_context)
               ? OK
               : tls_trouble(trouble, ERR_NOMEM, "cafile: memory is exhausted");
}

/*
 * Tickets are taken back where clients have to prove the same as where they got them: a ticket of a
 * listener that asked for nothing opens none that asks, and a new cafile or crlfile ends the old ones.
 */
static enum err bind_sessions(struct tls_context *context, struct tls_tickets *tickets,
                              struct tls_trouble *trouble)
{
    uint8_t proof[1 + TLS_HASH_BYTES] = {(uint8_t)context->ask}, hash[SHA256_DIGEST_LENGTH];

    if (context->ask != TLS_ASK_NO) {
        memcpy(proof + 1, context->trust.hash, TLS_HASH_BYTES);
    }
    SHA256(proof, sizeof(proof), hash);
    if (SSL_CTX_set_session_id_context(context->ssl_context, hash, sizeof(hash)) != 1) {
        return tls_trouble(trouble, ERR_NOMEM, "TLS: memory is exhausted");
    }
    context->tickets = tickets;
    if (tickets == NULL) {
        SSL_CTX_set_options(context->ssl_context, SSL_OP_NO_TICKET);
    } else {
        tls_tickets_use(context->ssl_context);
    }
    return OK;
}

static enum err open_keylog(struct tls_context *context, const char *file,
                            struct tls_trouble *trouble)
{
    const char *fix = "name a file in a folder that only the broker's user writes";
    struct stat status;

    if (!tls_is_given(file)) {
        return OK;
    }
    context->keylog_fd = open(file,
                              O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK,
                              S_IRUSR | S_IWUSR);
    if (context->keylog_fd < 0) {
        enum err err = err_from_errno(errno);
        const char *what = errno == ELOOP ? "is a link" : err_text(err);
        bool is_plain = err == ERR_NOT_FOUND || err == ERR_PERMISSION;
        return tls_trouble(trouble, is_plain ? err : ERR_INVALID,
                           "key log %s: cannot be opened (%s): %s", file, what, fix);
    }
    if (fstat(context->keylog_fd, &status) < 0 || !S_ISREG(status.st_mode) ||
        (status.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
        return tls_trouble(trouble, ERR_INVALID,
                           "key log %s: is no file that its owner alone may read (0600): %s", file,
                           fix);
    }
    SSL_CTX_set_keylog_callback(context->ssl_context, write_key);
    return OK;
}

static enum err build(struct tls_context *context, const struct tls_settings *settings,
                      int64_t wall_s, struct tls_trouble *trouble)
{
    SSL_CTX *ssl_context = context->ssl_context;

    if (settings->is_1_3_only) {
        SSL_CTX_set_min_proto_version(ssl_context, TLS1_3_VERSION);
    }
    TRY(tls_words_ciphers(ssl_context, settings->ciphers, trouble));
    TRY(tls_words_curves(ssl_context, settings->curves, trouble));
    TRY(tls_words_protocols(settings->protocols, settings->protocol_count, &context->protocols,
                            &context->protocol_bytes, trouble));
    if (context->protocols != NULL) {
        SSL_CTX_set_alpn_select_cb(ssl_context, choose_protocol, context);
    }
    TRY(read_pairs(context, settings, wall_s, trouble));
    TRY(read_trust(context, settings, wall_s, trouble));
    TRY(bind_sessions(context, settings->tickets, trouble));
    return open_keylog(context, settings->keylog, trouble);
}

enum err tls_context_new(const struct tls_settings *settings, uint64_t wall_ms,
                         struct tls_context **out, struct tls_trouble *trouble)
{
    ASSERT(settings->pair_count >= 1 && settings->pair_count <= TLS_CERTIFICATES_MAX);
    ERR_clear_error();
    struct tls_context *context = tls_context_make(false);
    enum err err = context == NULL
                       ? tls_trouble(trouble, ERR_NOMEM, "TLS: memory is exhausted")
                       : build(context, settings, (int64_t)(wall_ms / MS_PER_S), trouble);

    if (err != OK) {
        tls_context_unref(context);
        return err;
    }
    *out = context;
    return OK;
}

/* ---- sharing and asking -------------------------------------------------------------------- */

struct tls_context *tls_context_ref(struct tls_context *context)
{
    atomic_fetch_add_explicit(&context->reference_count, 1, memory_order_relaxed);
    return context;
}

void tls_context_unref(struct tls_context *context)
{
    /* Release what this owner did with it, acquire what all others did before it is freed. */
    if (context == NULL ||
        atomic_fetch_sub_explicit(&context->reference_count, 1, memory_order_acq_rel) != 1) {
        return;
    }
    SSL_CTX_free(context->ssl_context);
    for (uint32_t i = 0; i < context->pair_count; i++) {
        tls_served_deinit(&context->pairs[i]);
    }
    free(context->pairs);
    tls_trust_deinit(&context->trust);
    free(context->protocols);
    if (context->keylog_fd >= 0) {
        close(context->keylog_fd);
    }
    free(context);
}

uint32_t tls_context_certificate_count(const struct tls_context *context)
{
    return context->pair_count;
}

struct tls_certificate tls_context_certificate(const struct tls_context *context, uint32_t index)
{
    ASSERT(index < context->pair_count);
    return context->pairs[index].facts;
}

int64_t tls_context_lists_expire_s(const struct tls_context *context)
{
    return context->trust.expires_s;
}
