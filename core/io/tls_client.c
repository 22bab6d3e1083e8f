#include "core/io/tls_client.h"

#include "core/base/assert.h"
#include "core/io/tls_inside.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A struct tls_session is BoringSSL's, with a reference of its own. */

static enum ssl_verify_result_t verify_server(SSL *ssl, uint8_t *alert)
{
    return tls_verify(tls_of(ssl), alert) ? ssl_verify_ok : ssl_verify_invalid;
}

/* A ticket came: keep the newest. Returning 1 takes the reference. */
static int keep_session(SSL *ssl, SSL_SESSION *session)
{
    struct tls *tls = tls_of(ssl);

    SSL_SESSION_free(tls->session);
    tls->session = session;
    return 1;
}

static enum err set_version(SSL_CTX *ssl_context, const char *version, struct tls_trouble *trouble)
{
    if (!tls_is_given(version)) {
        return OK;
    }
    bool is_1_2 = strcmp(version, "1.2") == 0;
    if (!is_1_2 && strcmp(version, "1.3") != 0) {
        return tls_trouble(trouble, ERR_INVALID, "TLS version %s is not taken: use 1.2 or 1.3",
                           version);
    }
    uint16_t number = is_1_2 ? TLS1_2_VERSION : TLS1_3_VERSION;
    SSL_CTX_set_min_proto_version(ssl_context, number);
    SSL_CTX_set_max_proto_version(ssl_context, number);
    return OK;
}

static enum err read_trust(struct tls_context *context, const struct tls_client_settings *settings,
                           struct tls_trouble *trouble)
{
    context->is_insecure = settings->is_insecure;
    context->is_any_name = settings->is_any_name;
    TRY(tls_trust_init(&context->trust, settings->cafile, settings->capath, settings->crlfile,
                       context->now_s(), trouble));
    if (context->trust.store == NULL && !context->is_insecure) {
        return tls_trouble(trouble, ERR_INVALID,
                           "cafile: nobody is named whose certificates are trusted: name the CA of "
                           "the server, or take any certificate (insecure)");
    }
    SSL_CTX_set_custom_verify(context->ssl_context, SSL_VERIFY_PEER, verify_server);
    SSL_CTX_set_reverify_on_resume(context->ssl_context, 1);
    return OK;
}

static enum err read_pair(struct tls_context *context, const struct tls_client_settings *settings,
                          struct tls_trouble *trouble)
{
    struct tls_pair pair = {.certfile = settings->certfile, .keyfile = settings->keyfile};

    if (!tls_is_given(pair.certfile) && !tls_is_given(pair.keyfile)) {
        return OK;
    }
    context->pairs = calloc(1, sizeof(context->pairs[0]));
    if (context->pairs == NULL) {
        return tls_trouble(trouble, ERR_NOMEM, "certfile: memory is exhausted");
    }
    TRY(tls_served_init(&context->pairs[0], &pair, TLS_DATES_UNCHECKED, trouble));
    context->pair_count = 1;
    context->pairs[0].is_slow = false; /* a client signs in place: it has nobody else to serve */
    return tls_show_always(context->ssl_context, &context->pairs[0])
               ? OK
               : tls_trouble(trouble, ERR_INVALID, "certfile %s: the TLS library does not take it",
                             pair.certfile);
}

static enum err build(struct tls_context *context, const struct tls_client_settings *settings,
                      struct tls_trouble *trouble)
{
    SSL_CTX *ssl_context = context->ssl_context;

    TRY(set_version(ssl_context, settings->version, trouble));
    TRY(tls_words_ciphers(ssl_context, settings->ciphers, trouble));
    TRY(tls_words_curves(ssl_context, settings->curves, trouble));
    TRY(tls_words_protocols(settings->protocols, settings->protocol_count, &context->protocols,
                            &context->protocol_bytes, trouble));
    if (context->protocols != NULL &&
        SSL_CTX_set_alpn_protos(ssl_context, context->protocols,
                                (unsigned)context->protocol_bytes) != 0) {
        return tls_trouble(trouble, ERR_NOMEM, "ALPN: memory is exhausted");
    }
    TRY(read_trust(context, settings, trouble));
    TRY(read_pair(context, settings, trouble));
    SSL_CTX_set_session_cache_mode(ssl_context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ssl_context, keep_session);
    return OK;
}

enum err tls_client_context_new(const struct tls_client_settings *settings,
                                struct tls_context **out, struct tls_trouble *trouble)
{
    ERR_clear_error();
    struct tls_context *context = tls_context_make(true);
    enum err err = context == NULL ? tls_trouble(trouble, ERR_NOMEM, "TLS: memory is exhausted")
                                   : build(context, settings, trouble);

    ERR_clear_error();
    if (err != OK) {
        tls_context_unref(context);
        return err;
    }
    *out = context;
    return OK;
}

/* ---- coming back --------------------------------------------------------------------------- */

struct tls_session *tls_client_session(const struct tls *tls)
{
    ASSERT(tls->context->is_client);
    if (tls->session == NULL) {
        return NULL;
    }
    SSL_SESSION_up_ref(tls->session);
    return (struct tls_session *)tls->session;
}

void tls_client_resume(struct tls *tls, const struct tls_session *session)
{
    ASSERT(tls->context->is_client && !tls->is_open);
    SSL_set_session(tls->ssl, (SSL_SESSION *)session);
}

void tls_session_free(struct tls_session *session)
{
    SSL_SESSION_free((SSL_SESSION *)session);
}
