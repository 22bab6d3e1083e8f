#include "core/base/utf8.h"
#include "core/io/tls_inside.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/mem.h>
#include <openssl/nid.h>
#include <openssl/pool.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <string.h>

/*
 * Who the peer is, by the certificate it has proved. The text comes from its CA and is used as a user
 * name, so what is not one plain piece of text is nobody.
 */

static void keep_text(const uint8_t *bytes, size_t count, char out[TLS_IDENTITY_MAX])
{
    if (count < TLS_IDENTITY_MAX && utf8_is_valid(slice_of(bytes, count))) {
        memcpy(out, bytes, count);
        out[count] = '\0';
    }
}

/* The first common name, as mosquitto takes it. */
static void find_common_name(const X509_NAME *subject, char out[TLS_IDENTITY_MAX])
{
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    uint8_t *text = NULL;

    if (at < 0) {
        return;
    }
    int count = ASN1_STRING_to_UTF8(&text,
                                    X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    if (count >= 0) {
        keep_text(text, (size_t)count, out);
    }
    OPENSSL_free(text);
}

/* RFC 2253, and letters beyond ASCII as they are rather than as \C3\B6. */
static void find_subject(const X509_NAME *subject, char out[TLS_IDENTITY_MAX])
{
    BIO *bio = BIO_new(BIO_s_mem());
    const uint8_t *text = NULL;
    size_t count = 0;

    if (bio != NULL &&
        X509_NAME_print_ex(bio, subject, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) >= 0 &&
        BIO_mem_contents(bio, &text, &count) == 1) {
        keep_text(text, count, out);
    }
    BIO_free(bio);
}

bool tls_peer_identity(const struct tls *tls, struct tls_identity *out)
{
    const STACK_OF(CRYPTO_BUFFER) *sent = SSL_get0_peer_certificates(tls->ssl);

    if (!tls_is_open(tls) || sk_CRYPTO_BUFFER_num(sent) == 0) {
        return false;
    }
    const CRYPTO_BUFFER *der = sk_CRYPTO_BUFFER_value(sent, 0);
    ERR_clear_error();
    X509 *leaf = X509_parse_from_buffer((CRYPTO_BUFFER *)der);
    if (leaf == NULL) {
        ERR_clear_error();
        return false;
    }
    *out = (struct tls_identity){.common_name = ""};
    find_common_name(X509_get_subject_name(leaf), out->common_name);
    find_subject(X509_get_subject_name(leaf), out->subject);
    SHA256(CRYPTO_BUFFER_data(der), CRYPTO_BUFFER_len(der), out->fingerprint);
    X509_free(leaf);
    ERR_clear_error();
    return true;
}

/* ---- names that are URIs ------------------------------------------------------------------------ */

static bool is_plain(struct slice text)
{
    for (size_t i = 0; i < text.count; i++) {
        if (text.data[i] <= ' ' || text.data[i] > '~') {
            return false;
        }
    }
    return true;
}

static bool find_uri(const GENERAL_NAMES *names, struct slice prefix, char *out, size_t out_bytes)
{
    struct slice found = {0};

    for (size_t i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type != GEN_URI) {
            continue;
        }
        const ASN1_STRING *text = name->d.uniformResourceIdentifier;
        struct slice uri = slice_of(ASN1_STRING_get0_data(text), (size_t)ASN1_STRING_length(text));
        if (slice_starts_with(uri, prefix)) {
            if (found.count > 0) {
                return false;
            }
            found = uri;
        }
    }
    if (found.count == 0 || found.count >= out_bytes || !is_plain(found)) {
        return false;
    }
    memcpy(out, found.data, found.count);
    out[found.count] = '\0';
    return true;
}

static bool uri_of(const CRYPTO_BUFFER *der, const char *prefix, char *out, size_t out_bytes)
{
    ERR_clear_error();
    X509 *leaf = X509_parse_from_buffer((CRYPTO_BUFFER *)der);
    GENERAL_NAMES *names = leaf == NULL ? NULL
                                        : X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
    bool is_found = names != NULL && find_uri(names, slice_text(prefix), out, out_bytes);

    GENERAL_NAMES_free(names);
    X509_free(leaf);
    ERR_clear_error();
    return is_found;
}

bool tls_peer_uri(const struct tls *tls, const char *prefix, char *out, size_t out_bytes)
{
    const STACK_OF(CRYPTO_BUFFER) *sent = SSL_get0_peer_certificates(tls->ssl);

    return tls_is_open(tls) && sk_CRYPTO_BUFFER_num(sent) > 0 &&
           uri_of(sk_CRYPTO_BUFFER_value(sent, 0), prefix, out, out_bytes);
}

bool tls_context_uri(const struct tls_context *context, const char *prefix, char *out,
                     size_t out_bytes)
{
    return context->pair_count > 0 && context->pairs[0].chain.count > 0 &&
           uri_of(context->pairs[0].chain.items[0], prefix, out, out_bytes);
}
