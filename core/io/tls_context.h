/*
 * tls_context: what a listener's connections share: certificates, keys, trust, tickets.
 *
 * Floor:  io.
 * Thread: immutable; a reference may be taken and given back by any thread.
 * Memory: heap; the last reference frees it. Connections hold one each, so a new context is swapped
 *         in whole and the old one lives as long as its connections.
 *
 * TLS 1.2 and 1.3, AEAD suites alone, no renegotiation, no compression, no early data.
 */
#ifndef TERN_IO_TLS_CONTEXT_H
#define TERN_IO_TLS_CONTEXT_H

#include "core/base/err.h"
#include "core/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

struct tls_context;
struct tls_tickets;

enum { TLS_CERTIFICATES_MAX = 64, TLS_FILE_BYTES_MAX = 8 * 1024 * 1024 };

enum tls_ask { TLS_ASK_NO, TLS_ASK_REQUIRED, TLS_ASK_OPTIONAL };

struct tls_pair {
    const char *certfile; /* PEM: the certificate, then its chain */
    const char *keyfile;  /* PEM, not encrypted */
};

/* Paths and words as in the configuration; "" or NULL: not given. Borrowed for the call. */
struct tls_settings {
    const struct tls_pair *pairs; /* the first one serves names that none of them has */
    uint32_t pair_count;          /* 1 to TLS_CERTIFICATES_MAX */
    const char *cafile, *capath;  /* who may sign client certificates */
    const char *crlfile;
    enum tls_ask ask; /* for a client certificate; else than NO needs cafile or capath */
    bool is_1_3_only;
    const char *ciphers; /* of TLS 1.2, OpenSSL names with colons; only AEAD ones are taken */
    const char *curves;  /* "X25519:P-256"; default: X25519:P-256 */
    const char *const
        *protocols;          /* ALPN, by preference; a client that offers only others is refused */
    uint32_t protocol_count; /* 0: ALPN is not answered */
    const char *keylog; /* append the keys of every connection to this file (0600); NULL: never */
    struct tls_tickets *tickets; /* borrowed for the life of the context; NULL: no resumption */
};

struct tls_trouble {
    char text[512]; /* one line: file, what is wrong, what to do */
};

/*
 * Read all files and check them: each key fits its certificate, dates hold (a certificate that is
 * not valid yet or any more is refused), chains hang together, RSA has 2048 bits, CRLs are signed by
 * a CA of cafile. ERR_INVALID, ERR_NOT_FOUND, ERR_PERMISSION, ERR_NOMEM: trouble tells.
 * wall_ms: the time to judge dates by.
 */
enum err tls_context_new(const struct tls_settings *settings, uint64_t wall_ms,
                         struct tls_context **out, struct tls_trouble *trouble);
struct tls_context *tls_context_ref(struct tls_context *context);
void tls_context_unref(struct tls_context *context); /* accepts NULL */

/* A certificate it serves, for logs, /health and metrics. Texts live as long as the context. */
struct tls_certificate {
    const char *file;
    const char *names;                 /* DNS names, or the common name, with commas */
    const char *kind;                  /* "ECDSA P-256", "RSA 2048", "Ed25519" */
    int64_t not_before_s, not_after_s; /* since 1970 */
    uint8_t fingerprint[32];           /* SHA-256 of the DER */
};
uint32_t tls_context_certificate_count(const struct tls_context *context);
struct tls_certificate tls_context_certificate(const struct tls_context *context, uint32_t index);

/* As tls_peer_uri(), of the first certificate that it shows itself. */
bool tls_context_uri(const struct tls_context *context, const char *prefix, char *out,
                     size_t out_bytes);

/* When the first list of crlfile has to be renewed, since 1970; INT64_MAX: there is none. */
int64_t tls_context_lists_expire_s(const struct tls_context *context);

/*
 * Keys of session tickets, shared by all contexts of a process: a ticket outlives a reload unless
 * what the client had to prove has changed (cafile, crlfile, ask). A new key every
 * TLS_TICKET_KEY_S; the one before still opens. Any thread.
 */
enum { TLS_TICKET_KEY_S = 12 * 3600 };
struct tls_tickets *tls_tickets_new(void);          /* NULL: memory */
void tls_tickets_free(struct tls_tickets *tickets); /* accepts NULL; no context uses it any more */
void tls_tickets_rotate(struct tls_tickets *tickets); /* as if the time had come */

#endif
