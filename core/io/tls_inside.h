/*
 * tls_inside: what the files of tls*.c share, and nobody else includes (tests move its clock).
 *
 *     tls.c               the transform          tls_context.c       a server's context
 *     tls_signature.c     signatures elsewhere   tls_client.c        a client's context
 *     tls_failure.c       why it broke           tls_certificates.c  pairs, names, which one is shown
 *     tls_verify.c        does the peer prove it tls_trust.c         cafile, capath, crlfile
 *     tls_identity.c      who the peer is        tls_pem.c           files
 *     tls_tickets.c       keys of tickets        tls_words.c         ciphers, curves, protocols
 *
 * Floor:  io. BoringSSL's structs are named by their tags, so that its headers stay out of here.
 */
#ifndef TERN_IO_TLS_INSIDE_H
#define TERN_IO_TLS_INSIDE_H

#include "core/io/tls.h"
#include "core/io/tls_context.h"

#include <stdatomic.h>

struct X509_crl_st;
struct asn1_string_st;
struct crypto_buffer_st;
struct evp_pkey_st;
struct ssl_ctx_st;
struct ssl_session_st;
struct ssl_st;
struct x509_st;
struct x509_store_st;

enum {
    TLS_CHAIN_MAX = 10,         /* certificates in one file or of one peer */
    TLS_TRUST_MAX = 4096,       /* certificates of cafile and capath */
    TLS_TRUST_NAMES_MAX = 32,   /* CA names a client is told; with more of them it is told none */
    TLS_RSA_BITS_MIN = 2048,    /* NIST SP 800-57: below is broken within reach */
    TLS_SIGNATURE_BYTES = 1024, /* of RSA 8192 */
    TLS_PEER_CHAIN_BYTES_MAX = 32 * 1024, /* what a client may send before it has proved anything */
    TLS_FAILURE_BYTES = 256,
    TLS_HASH_BYTES = 32,
    TLS_DATES_UNCHECKED = -1, /* for the time: whoever is shown the certificate judges its dates */
};

/* A setting that says something: NULL and "" do not. */
static inline bool tls_is_given(const char *text)
{
    return text != NULL && text[0] != '\0';
}

/* ---- files: tls_pem.c ---------------------------------------------------------------------- */

struct tls_chain {
    struct crypto_buffer_st *items[TLS_CHAIN_MAX]; /* DER; the first is the certificate itself */
    uint32_t count;
};
void tls_chain_deinit(struct tls_chain *chain);

/* label: "certfile", "cafile": how the option is called. */
enum err tls_pem_chain(const char *label, const char *file, struct tls_chain *out,
                       struct tls_trouble *trouble);
enum err tls_pem_key(const char *file, struct evp_pkey_st **out, struct tls_trouble *trouble);

/* One block of a file; false ends the walk, the visitor has said why. */
struct tls_pem_visitor {
    const char *label, *file;
    void *owner;
    /* kind: "CERTIFICATE"; der is borrowed. */
    enum err (*visit)(struct tls_pem_visitor *visitor, const char *kind, struct slice der,
                      struct tls_trouble *trouble);
    uint32_t block_count;
};
enum err tls_pem_walk(struct tls_pem_visitor *visitor, struct tls_trouble *trouble);

/* Say what is wrong, in one line: file, what, what to do. Returns err. */
enum err tls_trouble(struct tls_trouble *trouble, enum err err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The key inside; borrowed for the life of the certificate. NULL: it cannot be read. */
struct evp_pkey_st *tls_public_key(const struct x509_st *certificate);

/* Seconds since 1970 of a certificate's time; INT64_MAX when it cannot be read. */
int64_t tls_time(const struct asn1_string_st *time);
const char *tls_date(int64_t time_s, char out[32]); /* "2026-11-21 15:00:00 UTC" */

/* ---- certificates: tls_certificates.c ------------------------------------------------------ */

enum tls_key_kind { TLS_KEY_RSA, TLS_KEY_P256, TLS_KEY_P384, TLS_KEY_P521, TLS_KEY_ED25519 };

/* A certificate and its key, ready to be shown. */
struct tls_served {
    struct tls_chain chain;
    struct evp_pkey_st *key;
    enum tls_key_kind kind;
    bool is_slow; /* its signatures are made elsewhere */
    char **names; /* lower case; "*.example.org" is a wildcard */
    uint32_t name_count;
    char *file, *names_text, *kind_text;
    struct tls_certificate facts;
};
enum err tls_served_init(struct tls_served *served, const struct tls_pair *pair, int64_t wall_s,
                         struct tls_trouble *trouble);
void tls_served_deinit(struct tls_served *served);

/* What a client hello says that decides which certificate it is shown. */
struct tls_wish {
    const char *server_name; /* NULL: none */
    struct slice algorithms; /* signature_algorithms: two bytes each; empty: not said */
    struct slice ciphers;    /* two bytes each */
    bool is_1_3;
};
/* The index of the pair to show; 0 when nothing fits: the handshake then says what is missing. */
uint32_t tls_served_choose(const struct tls_served *pairs, uint32_t pair_count,
                           const struct tls_wish *wish);

/* ---- trust: tls_trust.c, tls_verify.c ------------------------------------------------------ */

struct tls_trust {
    struct x509_store_st *store; /* NULL: nobody is asked */
    bool has_lists;              /* of revoked certificates */
    uint8_t hash[TLS_HASH_BYTES];
    int64_t expires_s; /* when the first of the lists ends; INT64_MAX: there are none */
};
enum err tls_trust_init(struct tls_trust *trust, const char *cafile, const char *capath,
                        const char *crlfile, int64_t wall_s, struct tls_trouble *trouble);
void tls_trust_deinit(struct tls_trust *trust);
/* Tell clients whose certificates are taken. false: memory. */
bool tls_trust_announce(const struct tls_trust *trust, struct ssl_ctx_st *ssl_context);

/* Is the peer's chain proven, now? What is wrong goes to tls_fail(), the alert to *alert. */
bool tls_verify(struct tls *tls, uint8_t *alert);

/* ---- tickets: tls_tickets.c ---------------------------------------------------------------- */

void tls_tickets_use(struct ssl_ctx_st *ssl_context);

/* ---- words of the configuration: tls_words.c ----------------------------------------------- */

enum err tls_words_ciphers(struct ssl_ctx_st *ssl_context, const char *ciphers,
                           struct tls_trouble *trouble);
enum err tls_words_curves(struct ssl_ctx_st *ssl_context, const char *curves,
                          struct tls_trouble *trouble);
/* As the wire has them: a byte of length before each. The caller frees *out; NULL: there are none. */
enum err tls_words_protocols(const char *const *protocols, uint32_t protocol_count, uint8_t **out,
                             size_t *count_out, struct tls_trouble *trouble);
bool tls_words_algorithms(struct ssl_ctx_st *ssl_context);

/* ---- contexts: tls_context.c --------------------------------------------------------------- */

struct tls_context {
    _Atomic uint32_t reference_count;
    bool is_client, is_insecure, is_any_name;
    enum tls_ask ask;
    struct ssl_ctx_st *ssl_context;
    struct tls_served *pairs;
    uint32_t pair_count;
    struct tls_trust trust;
    struct tls_tickets *tickets; /* borrowed; NULL: none */
    uint8_t *protocols;          /* as the wire has them */
    size_t protocol_bytes;
    int keylog_fd;          /* -1: none */
    int64_t (*now_s)(void); /* since 1970; tests put their own here, before the first connection */
};

/* What both sides have in common; NULL: memory. */
struct tls_context *tls_context_make(bool is_client);

/* Tests: the time by which certificates and tickets are judged from now on. */
void tls_context_set_clock(struct tls_context *context, int64_t (*now_s)(void));

/* ---- connections: tls.c, tls_signature.c, tls_failure.c ------------------------------------ */

struct tls {
    struct ssl_st *ssl;
    struct tls_context *context;
    struct slice fed;
    tls_sink *sink;
    void *sink_owner;
    const struct tls_served *served; /* of a server: what it shows; the context owns it */
    struct tls_signature *signature; /* wanted, made, or NULL */
    struct ssl_session_st *session;  /* of a client: the newest ticket */
    char *peer_name;                 /* of a client: what the peer has to prove */
    char *failure;                   /* TLS_FAILURE_BYTES; NULL: it is not broken, or memory is */
    uint64_t sealed_ns;              /* when the last record was made */
    uint32_t burst_bytes;            /* sealed since the last pause */
    uint8_t first_byte;              /* of all that came: tells what this is if it is not TLS */
    uint8_t clear_alert;             /* 0, or what came in clear where that is not believed */
    bool is_open, is_broken, has_answered, has_said_goodbye, is_starved;
    bool is_signature_out;
};

struct tls *tls_of(const struct ssl_st *ssl);

/* It is broken, and why; the first reason stays. */
void tls_fail(struct tls *tls, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same, in words made of what BoringSSL has in its queue. */
void tls_fail_from_queue(struct tls *tls);

/* Show that pair, and make its signatures here or elsewhere. */
bool tls_show(struct ssl_st *ssl, const struct tls_served *served);
bool tls_show_always(struct ssl_ctx_st *ssl_context, const struct tls_served *served);

#endif
