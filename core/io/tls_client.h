/*
 * tls_client: TLS towards somebody else's server: for the bench, bridges and links.
 *
 * Floor:  io.
 * Thread: as tls_context.h.
 */
#ifndef TERN_IO_TLS_CLIENT_H
#define TERN_IO_TLS_CLIENT_H

#include "core/io/tls.h"
#include "core/io/tls_context.h"

struct tls_client_settings {
    const char *cafile, *capath; /* whom to trust; NULL, both, with is_insecure */
    const char *crlfile;         /* who of them is not trusted any more; NULL: none */
    bool is_any_name;            /* a certificate of these is taken whatever name it is made for */
    bool is_insecure;            /* take any certificate: tests of one's own machine */
    const char *certfile, *keyfile; /* to prove; NULL: none */
    const char *version;            /* "1.2", "1.3": only this one; NULL: both */
    const char *ciphers, *curves;   /* as tls_settings; NULL: default */
    const char *const *protocols;   /* ALPN */
    uint32_t protocol_count;
};

/* To be unreferenced with tls_context_unref(). ERR_INVALID, ERR_NOT_FOUND, ERR_PERMISSION, ERR_NOMEM. */
enum err tls_client_context_new(const struct tls_client_settings *settings,
                                struct tls_context **out, struct tls_trouble *trouble);

/*
 * What a later connection may resume: the newest ticket this one has got, or NULL. TLS 1.3 servers
 * send it after the handshake, so ask at the end. The caller owns it; any number of connections may
 * be given it with tls_client_resume(), before their handshake.
 */
struct tls_session;
struct tls_session *tls_client_session(const struct tls *tls);
void tls_client_resume(struct tls *tls, const struct tls_session *session);
void tls_session_free(struct tls_session *session); /* accepts NULL */

#endif
