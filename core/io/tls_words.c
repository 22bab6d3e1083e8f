#include "core/base/assert.h"
#include "core/base/text.h"
#include "core/io/tls_inside.h"

#include <openssl/err.h>
#include <openssl/nid.h>
#include <openssl/ssl.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * What an operator may choose, and what we choose where he does not. TLS 1.2 has six suites here:
 * ECDHE, so that a stolen key opens no old recording, and AEAD. The words are OpenSSL's.
 */

enum { CIPHER_COUNT = 6, CURVE_COUNT = 4, LIST_BYTES = 512 };

static const char *const ciphers_known[CIPHER_COUNT] = {
    "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305",
};

/* clang-format off */
static const struct curve {
    const char *name, *alias, *other_alias;
    int nid;
    bool is_default;
} curves_known[CURVE_COUNT] = {
    {"X25519", "x25519",    "x25519",     NID_X25519,           true },
    {"P-256",  "secp256r1", "prime256v1", NID_X9_62_prime256v1, true },
    {"P-384",  "secp384r1", "P384",       NID_secp384r1,        false},
    {"P-521",  "secp521r1", "P521",       NID_secp521r1,        false},
};
/* clang-format on */

/* The next word between colons; false: there is none. An empty word is one, too. */
static bool next_word(struct slice *rest, struct slice *word, bool *is_end)
{
    if (*is_end) {
        return false;
    }
    size_t at = slice_find(*rest, ':');
    *word = slice_head(*rest, at);
    *is_end = at == rest->count;
    *rest = slice_skip(*rest, at + (*is_end ? 0 : 1));
    return true;
}

/* ---- ciphers ------------------------------------------------------------------------------- */

static const char *cipher_find(struct slice word)
{
    for (uint32_t i = 0; i < CIPHER_COUNT; i++) {
        if (slice_is(word, ciphers_known[i])) {
            return ciphers_known[i];
        }
    }
    return NULL;
}

static void list_append(char list[LIST_BYTES], const char *word)
{
    size_t used = strlen(list);
    snprintf(list + used, LIST_BYTES - used, "%s%s", used == 0 ? "" : ":", word);
}

static void all_ciphers(char list[LIST_BYTES])
{
    list[0] = '\0';
    for (uint32_t i = 0; i < CIPHER_COUNT; i++) {
        list_append(list, ciphers_known[i]);
    }
}

static enum err cipher_trouble(struct slice word, struct tls_trouble *trouble)
{
    char all[LIST_BYTES];

    if (slice_starts_with(word, slice_text("TLS_"))) {
        return tls_trouble(trouble, ERR_INVALID,
                           "ciphers: %.*s is of TLS 1.3, whose suites are all in use: leave it out",
                           (int)(word.count < 64 ? word.count : 64), (const char *)word.data);
    }
    all_ciphers(all);
    return tls_trouble(trouble, ERR_INVALID, "ciphers: %.*s is not taken: use some of %s",
                       (int)(word.count < 64 ? word.count : 64), (const char *)word.data, all);
}

enum err tls_words_ciphers(SSL_CTX *ssl_context, const char *ciphers, struct tls_trouble *trouble)
{
    char list[LIST_BYTES] = "";
    struct slice rest = slice_text(tls_is_given(ciphers) ? ciphers : ""), word;
    bool is_end = !tls_is_given(ciphers);

    while (next_word(&rest, &word, &is_end)) {
        const char *known = cipher_find(word);
        if (known == NULL) {
            return cipher_trouble(word, trouble);
        }
        if (strstr(list, known) == NULL) {
            list_append(list, known);
        }
    }
    if (list[0] == '\0') {
        all_ciphers(list);
    }
    SSL_CTX_set_options(ssl_context, SSL_OP_CIPHER_SERVER_PREFERENCE);
    if (SSL_CTX_set_strict_cipher_list(ssl_context, list) != 1) {
        ERR_clear_error();
        return tls_trouble(trouble, ERR_NOMEM, "ciphers: memory is exhausted");
    }
    return OK;
}

/* ---- curves -------------------------------------------------------------------------------- */

static const struct curve *curve_find(struct slice word)
{
    for (uint32_t i = 0; i < CURVE_COUNT; i++) {
        if (slice_is(word, curves_known[i].name) || slice_is(word, curves_known[i].alias) ||
            slice_is(word, curves_known[i].other_alias)) {
            return &curves_known[i];
        }
    }
    return NULL;
}

enum err tls_words_curves(SSL_CTX *ssl_context, const char *curves, struct tls_trouble *trouble)
{
    int chosen[CURVE_COUNT];
    size_t count = 0;
    struct slice rest = slice_text(tls_is_given(curves) ? curves : ""), word;
    bool is_end = !tls_is_given(curves);

    while (next_word(&rest, &word, &is_end)) {
        const struct curve *curve = curve_find(word);
        if (curve == NULL) {
            return tls_trouble(trouble, ERR_INVALID,
                               "curves: %.*s is not taken: use some of X25519:P-256:P-384:P-521",
                               (int)(word.count < 64 ? word.count : 64), (const char *)word.data);
        }
        for (size_t i = 0; i < count; i++) {
            if (chosen[i] == curve->nid) {
                return tls_trouble(trouble, ERR_INVALID,
                                   "curves: %s stands there twice: once is enough", curve->name);
            }
        }
        chosen[count++] = curve->nid;
    }
    for (uint32_t i = 0; i < CURVE_COUNT && !tls_is_given(curves); i++) {
        if (curves_known[i].is_default) {
            chosen[count++] = curves_known[i].nid;
        }
    }
    if (SSL_CTX_set1_curves(ssl_context, chosen, count) != 1) {
        ERR_clear_error();
        return tls_trouble(trouble, ERR_NOMEM, "curves: memory is exhausted");
    }
    return OK;
}

/* ---- protocols ----------------------------------------------------------------------------- */

enum err tls_words_protocols(const char *const *protocols, uint32_t protocol_count, uint8_t **out,
                             size_t *count_out, struct tls_trouble *trouble)
{
    size_t bytes = 0, used = 0;

    for (uint32_t i = 0; i < protocol_count; i++) {
        size_t count = strlen(protocols[i]);
        if (count == 0 || count > UINT8_MAX) {
            return tls_trouble(trouble, ERR_INVALID, "ALPN: a protocol has 1 to 255 letters");
        }
        bytes += 1 + count;
    }
    *out = NULL;
    *count_out = bytes;
    if (bytes == 0) {
        return OK;
    }
    uint8_t *list = malloc(bytes);
    if (list == NULL) {
        return tls_trouble(trouble, ERR_NOMEM, "ALPN: memory is exhausted");
    }
    for (uint32_t i = 0; i < protocol_count; i++) {
        size_t count = strlen(protocols[i]);
        list[used++] = (uint8_t)count;
        memcpy(list + used, protocols[i], count);
        used += count;
    }
    *out = list;
    return OK;
}

/* ---- signatures ---------------------------------------------------------------------------- */

/* BoringSSL leaves Ed25519 out unless it is asked for. No SHA-1. */
bool tls_words_algorithms(SSL_CTX *ssl_context)
{
    static const uint16_t algorithms[] = {
        SSL_SIGN_ECDSA_SECP256R1_SHA256, SSL_SIGN_ED25519,
        SSL_SIGN_ECDSA_SECP384R1_SHA384, SSL_SIGN_ECDSA_SECP521R1_SHA512,
        SSL_SIGN_RSA_PSS_RSAE_SHA256,    SSL_SIGN_RSA_PSS_RSAE_SHA384,
        SSL_SIGN_RSA_PSS_RSAE_SHA512,    SSL_SIGN_RSA_PKCS1_SHA256,
        SSL_SIGN_RSA_PKCS1_SHA384,       SSL_SIGN_RSA_PKCS1_SHA512,
    };
    size_t count = sizeof(algorithms) / sizeof(algorithms[0]);

    return SSL_CTX_set_signing_algorithm_prefs(ssl_context, algorithms, count) == 1 &&
           SSL_CTX_set_verify_algorithm_prefs(ssl_context, algorithms, count) == 1;
}
