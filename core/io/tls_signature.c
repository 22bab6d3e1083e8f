#include "core/base/assert.h"
#include "core/io/tls.h"
#include "core/io/tls_inside.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>

#include <stdlib.h>
#include <string.h>

/*
 * A signature is asked for by BoringSSL in the middle of a handshake, and made at once or elsewhere:
 *
 *     sign_later: wanted ──_take──> out ──_make──> made ──_done──> back ──complete──> gone
 *                 tls owns it       whoever took it owns it        tls owns it
 *
 * It holds a copy of what is signed and a reference to the key, nothing of the connection: that may
 * be freed meanwhile.
 */
struct tls_signature {
    EVP_PKEY *key;
    uint16_t algorithm; /* SSL_SIGN_... */
    bool is_made;
    size_t signature_bytes; /* 0: it failed */
    uint8_t signature[TLS_SIGNATURE_BYTES];
    size_t input_bytes;
    uint8_t input[];
};

static bool sign(EVP_PKEY *key, uint16_t algorithm, struct slice input, uint8_t *out,
                 size_t *count_inout)
{
    EVP_MD_CTX context;
    EVP_PKEY_CTX *parameters = NULL;

    EVP_MD_CTX_init(&context);
    bool is_good = EVP_DigestSignInit(&context, &parameters,
                                      SSL_get_signature_algorithm_digest(algorithm), NULL,
                                      key) == 1;
    if (is_good && SSL_is_signature_algorithm_rsa_pss(algorithm)) {
        /* RFC 8446 section 4.2.3: the salt is as long as the digest. */
        is_good = EVP_PKEY_CTX_set_rsa_padding(parameters, RSA_PKCS1_PSS_PADDING) == 1 &&
                  EVP_PKEY_CTX_set_rsa_pss_saltlen(parameters, -1) == 1;
    }
    is_good = is_good && EVP_DigestSign(&context, out, count_inout, input.data, input.count) == 1;
    EVP_MD_CTX_cleanup(&context);
    return is_good;
}

/* ---- what BoringSSL calls ------------------------------------------------------------------ */

static enum ssl_private_key_result_t sign_later(SSL *ssl, uint8_t *out, size_t *count_out,
                                                size_t count_max, uint16_t algorithm,
                                                const uint8_t *input, size_t input_bytes)
{
    struct tls *tls = tls_of(ssl);
    struct tls_signature *signature = malloc(sizeof(*signature) + input_bytes);

    (void)out;
    (void)count_out;
    (void)count_max;
    if (signature == NULL) {
        tls_fail(tls, "memory is exhausted");
        return ssl_private_key_failure;
    }
    ASSERT(tls->signature == NULL && !tls->is_signature_out);
    *signature = (struct tls_signature){
        .key = tls->served->key,
        .algorithm = algorithm,
        .input_bytes = input_bytes,
    };
    EVP_PKEY_up_ref(signature->key);
    memcpy(signature->input, input, input_bytes);
    tls->signature = signature;
    return ssl_private_key_retry;
}

static enum ssl_private_key_result_t complete(SSL *ssl, uint8_t *out, size_t *count_out,
                                              size_t count_max)
{
    struct tls *tls = tls_of(ssl);
    struct tls_signature *signature = tls->signature;

    if (signature == NULL || !signature->is_made) {
        return ssl_private_key_retry;
    }
    size_t count = signature->signature_bytes;
    if (count == 0 || count > count_max) {
        tls_fail(tls, "the signature with our own key failed");
        return ssl_private_key_failure;
    }
    memcpy(out, signature->signature, count);
    *count_out = count;
    tls->signature = NULL;
    tls_signature_free(signature);
    return ssl_private_key_success;
}

static const SSL_PRIVATE_KEY_METHOD elsewhere = {.sign = sign_later, .complete = complete};

/* ---- which certificate --------------------------------------------------------------------- */

bool tls_show(SSL *ssl, const struct tls_served *served)
{
    tls_of(ssl)->served = served;
    return SSL_set_chain_and_key(ssl, served->chain.items, served->chain.count,
                                 served->is_slow ? NULL : served->key,
                                 served->is_slow ? &elsewhere : NULL) == 1;
}

bool tls_show_always(SSL_CTX *ssl_context, const struct tls_served *served)
{
    return SSL_CTX_set_chain_and_key(ssl_context, served->chain.items, served->chain.count,
                                     served->is_slow ? NULL : served->key,
                                     served->is_slow ? &elsewhere : NULL) == 1;
}

/* ---- what the connection's owner calls ----------------------------------------------------- */

struct tls_signature *tls_signature_take(struct tls *tls)
{
    struct tls_signature *signature = tls->signature;

    if (signature == NULL || signature->is_made) {
        return NULL;
    }
    tls->signature = NULL;
    tls->is_signature_out = true;
    return signature;
}

void tls_signature_make(struct tls_signature *signature)
{
    ASSERT(!signature->is_made);
    size_t count = sizeof(signature->signature);
    struct slice input = slice_of(signature->input, signature->input_bytes);

    ERR_clear_error();
    bool is_good = sign(signature->key, signature->algorithm, input, signature->signature, &count);
    ERR_clear_error();
    signature->signature_bytes = is_good ? count : 0;
    signature->is_made = true;
}

void tls_signature_done(struct tls *tls, struct tls_signature *signature)
{
    ASSERT(tls->is_signature_out && tls->signature == NULL);
    ASSERT(signature->is_made);
    tls->signature = signature;
    tls->is_signature_out = false;
}

void tls_signature_free(struct tls_signature *signature)
{
    if (signature == NULL) {
        return;
    }
    EVP_PKEY_free(signature->key);
    free(signature);
}
