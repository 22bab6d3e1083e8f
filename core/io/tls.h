/*
 * tls: one TLS connection as a pure transform: cipher bytes <-> plain bytes. No socket in here.
 *
 *     socket ──> tls_feed ──> tls_handshake* ──> tls_read ──> plain bytes
 *     socket <── sink     <── tls_handshake, tls_seal, tls_goodbye <── plain bytes
 *
 * Floor:  io.
 * Thread: one at a time. A struct tls is bound to no thread: it may move to another shard between
 *         two calls (nothing fed is left unread then, see tls_unread()).
 * Memory: heap, owned by the caller. What the handshake needed is freed when it is done; an idle
 *         connection keeps its keys and no buffer. What was cut in the middle of a record is kept
 *         inside until the rest comes.
 */
#ifndef TERN_IO_TLS_H
#define TERN_IO_TLS_H

#include "core/base/err.h"
#include "core/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

struct tls;
struct tls_context; /* tls_context.h: a server's; tls_client.h: a client's */
struct tls_signature;

enum {
    TLS_PLAIN_BYTES = 16384, /* of one record, at most: what tls_read() wants room for */
    TLS_FIRST_BYTES = 1300,  /* of a record after a pause: it fits in one packet of the network */
    TLS_GROW_BYTES = 64 * 1024, /* after so many without a pause records are full */
    TLS_IDENTITY_MAX = 1024,    /* of a client certificate's common name or subject */
};

/*
 * Cipher bytes that have to leave, in order; copied before it returns. false: memory is exhausted,
 * the connection cannot go on. Called only from inside the calls below.
 */
typedef bool tls_sink(void *owner, struct slice cipher);

/*
 * A connection of that context: a reference to it is taken. NULL: memory is exhausted.
 * server_name, of a client's context only: for SNI, and the name its peer has to prove; else NULL.
 */
struct tls *tls_new(struct tls_context *context, const char *server_name);
void tls_free(struct tls *tls); /* accepts NULL; a signature of it may still be out */

/* Who takes cipher bytes from now on. */
void tls_set_sink(struct tls *tls, tls_sink *sink, void *owner);

/*
 * Cipher bytes came. Borrowed until they are all consumed (tls_unread() is 0), or until the next
 * tls_feed(), which is given what was left unread, and more behind it.
 */
void tls_feed(struct tls *tls, struct slice cipher);

/* How many of the fed bytes are not consumed yet. */
size_t tls_unread(const struct tls *tls);

/*
 * One step of the handshake. A client calls it once before anything is fed.
 *
 *   OK          it is done: tls_read() and tls_seal() from now on
 *   ERR_MORE    all that was fed is consumed, the peer has to say more
 *   ERR_AGAIN   a signature is to be made elsewhere: tls_signature_take(), and a next step after
 *               tls_signature_done(). What is fed meanwhile waits
 *   else        broken; tls_failure() tells. What is in the sink (an alert) should still leave
 *
 * A step that signs or verifies costs 50 to 600 us of this thread (tls_is_costly()): the caller
 * bounds how many it takes in a turn.
 */
enum err tls_handshake(struct tls *tls);
bool tls_is_open(const struct tls *tls);

/*
 * The next step of a server's handshake may be one of those that cost: it has not answered the first
 * bytes yet, or it may be shown a client certificate.
 */
bool tls_is_costly(const struct tls *tls);

/*
 * A signature apart from its connection, because it would stall others (RSA; see README.md).
 * _take after ERR_AGAIN, by the connection's thread; _make by any thread, it is slow; _done by the
 * connection's thread again, frees it. A signature whose connection is gone is freed instead.
 */
struct tls_signature *tls_signature_take(struct tls *tls);
void tls_signature_make(struct tls_signature *signature);
void tls_signature_done(struct tls *tls, struct tls_signature *signature);
void tls_signature_free(struct tls_signature *signature);

/*
 * Plain bytes, as many as are there: at most one record. plain has TLS_PLAIN_BYTES.
 *
 *   OK          *count_out > 0
 *   ERR_MORE    all that was fed is consumed
 *   ERR_CLOSED  the peer said close_notify
 *   else        broken (also: an attempt to renegotiate); tls_failure() tells
 */
enum err tls_read(struct tls *tls, uint8_t *plain, size_t *count_out);

/*
 * Seal the parts, in order: parts are joined, so that many small packets share a record. Records are
 * TLS_FIRST_BYTES long after a pause of a second, so that the first can be read when one packet of
 * the network has come, and TLS_PLAIN_BYTES once TLS_GROW_BYTES went out. now_ns: io_now_ns().
 * ERR_NOMEM; ERR_CLOSED: said tls_goodbye() already.
 */
enum err tls_seal(struct tls *tls, const struct slice *parts, uint32_t part_count, uint64_t now_ns);

/* The last word: close_notify. Only what the sink gets; once. */
void tls_goodbye(struct tls *tls);

/* Why it broke, in words for a log: "certificate expired (X.509)". Never NULL. */
const char *tls_failure(const struct tls *tls);

/* What was agreed on. All texts live as long as the tls, or are constants; "": none. */
struct tls_facts {
    const char *version;     /* "TLSv1.3" */
    const char *cipher;      /* "TLS_AES_128_GCM_SHA256" */
    const char *group;       /* "X25519" */
    const char *server_name; /* SNI as the client sent it */
    struct slice protocol;   /* ALPN */
    bool is_resumed;
    bool has_certificate; /* the peer proved one, now or in the session it resumes */
};
void tls_facts(const struct tls *tls, struct tls_facts *out);

/*
 * The peer's proven certificate: its common name, its subject as RFC 2253 text, the SHA-256 of its
 * DER. false: it showed none. Parsed anew from what the session keeps: call it once.
 */
struct tls_identity {
    char common_name[TLS_IDENTITY_MAX],
        subject[TLS_IDENTITY_MAX]; /* "": none, or too long, or not text */
    uint8_t fingerprint[32];
};
bool tls_peer_identity(const struct tls *tls, struct tls_identity *out);

/*
 * The one URI among the names of the peer's proven certificate (RFC 5280, 4.2.1.6) that begins so. false:
 * there is none, or several, or it is no plain ASCII text shorter than out_bytes; or there is no
 * certificate.
 */
bool tls_peer_uri(const struct tls *tls, const char *prefix, char *out, size_t out_bytes);

/* The whole process: the TLS library is BoringSSL, and no other one is mapped. why: one line. */
enum err tls_library_check(char *why, size_t why_bytes);

#endif
