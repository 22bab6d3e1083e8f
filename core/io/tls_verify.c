#include "core/base/assert.h"
#include "core/base/utf8.h"
#include "core/io/tls_inside.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pool.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <arpa/inet.h>
#include <string.h>

/*
 * Does the peer prove who it is? BoringSSL checks that it holds the key of its certificate; this
 * checks the certificate: signed by somebody we trust, in time, for this purpose, not revoked, and of
 * a server the name. The objects that this takes live for the length of the check only.
 */

/* clang-format off */
static const struct verdict {
    int code;
    const char *text;
} verdicts[] = {
    {X509_V_ERR_CERT_HAS_EXPIRED,                  "expired"},
    {X509_V_ERR_CERT_NOT_YET_VALID,                "not yet valid"},
    {X509_V_ERR_CERT_REVOKED,                      "revoked"},
    {X509_V_ERR_CERT_SIGNATURE_FAILURE,            "bad signature of its CA"},
    {X509_V_ERR_INVALID_PURPOSE,                   "wrong purpose (extended key usage)"},
    {X509_V_ERR_INVALID_CA,                        "signed by one who may not sign"},
    {X509_V_ERR_KEYUSAGE_NO_CERTSIGN,              "signed by one who may not sign"},
    {X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT,         "unknown CA"},
    {X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, "unknown CA"},
    {X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE,   "unknown CA"},
    {X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT,       "unknown CA (it signed itself)"},
    {X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN,         "unknown CA"},
    {X509_V_ERR_CERT_UNTRUSTED,                    "unknown CA"},
    {X509_V_ERR_CERT_CHAIN_TOO_LONG,               "chain too long"},
    {X509_V_ERR_PATH_LENGTH_EXCEEDED,              "chain longer than its CA allows"},
    {X509_V_ERR_UNABLE_TO_GET_CRL,                 "crlfile has no list of its CA"},
    {X509_V_ERR_CRL_HAS_EXPIRED,                   "the list in crlfile is out of date"},
    {X509_V_ERR_CRL_NOT_YET_VALID,                 "the list in crlfile is not yet valid"},
    {X509_V_ERR_CRL_SIGNATURE_FAILURE,             "the list in crlfile has a bad signature"},
    {X509_V_ERR_HOSTNAME_MISMATCH,                 "made for another name"},
    {X509_V_ERR_IP_ADDRESS_MISMATCH,               "made for another address"},
    {X509_V_ERR_OUT_OF_MEM,                        "memory is exhausted"},
};
/* clang-format on */

static const char *verdict_text(int code)
{
    for (size_t i = 0; i < sizeof(verdicts) / sizeof(verdicts[0]); i++) {
        if (verdicts[i].code == code) {
            return verdicts[i].text;
        }
    }
    return X509_verify_cert_error_string(code);
}

/* ---- the chain ----------------------------------------------------------------------------- */

/* All that the peer sent, parsed; NULL: it cannot be. */
static STACK_OF(X509) * chain_parse(const STACK_OF(CRYPTO_BUFFER) * sent)
{
    STACK_OF(X509) *chain = sk_X509_new_null();

    for (size_t i = 0; chain != NULL && i < sk_CRYPTO_BUFFER_num(sent); i++) {
        X509 *certificate = X509_parse_from_buffer(sk_CRYPTO_BUFFER_value(sent, i));
        if (certificate == NULL || sk_X509_push(chain, certificate) == 0) {
            X509_free(certificate);
            sk_X509_pop_free(chain, X509_free);
            return NULL;
        }
    }
    return chain;
}

static bool is_weak(const X509 *certificate)
{
    const EVP_PKEY *key = tls_public_key(certificate);
    return key != NULL && EVP_PKEY_id(key) == EVP_PKEY_RSA && EVP_PKEY_bits(key) < TLS_RSA_BITS_MIN;
}

static int verify_code(const struct tls *tls, X509_STORE_CTX *check, STACK_OF(X509) * chain)
{
    const struct tls_context *context = tls->context;

    if (X509_STORE_CTX_init(check, context->trust.store, sk_X509_value(chain, 0), chain) != 1 ||
        X509_STORE_CTX_set_default(check, context->is_client ? "ssl_server" : "ssl_client") != 1) {
        return X509_V_ERR_OUT_OF_MEM;
    }
    unsigned long lists = context->trust.has_lists
                              ? X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL
                              : 0;
    X509_STORE_CTX_set_flags(check, X509_V_FLAG_TRUSTED_FIRST | lists);
    X509_STORE_CTX_set_depth(check, TLS_CHAIN_MAX);
    X509_STORE_CTX_set_time(check, 0, context->now_s());
    if (X509_verify_cert(check) == 1) {
        return X509_V_OK;
    }
    int code = X509_STORE_CTX_get_error(check);
    return code == X509_V_OK ? X509_V_ERR_UNSPECIFIED : code;
}

/* RFC 6125: a server's certificate is made for the name, or the address, that was asked for. */
static int name_code(const struct tls *tls, X509 *leaf)
{
    const char *name = tls->peer_name;
    uint8_t ip[16];

    if (!tls->context->is_client || tls->context->is_any_name) {
        return X509_V_OK;
    }
    if (name == NULL) {
        return X509_V_ERR_HOSTNAME_MISMATCH; /* nobody said whom we want to speak to */
    }
    if (inet_pton(AF_INET, name, ip) == 1 || inet_pton(AF_INET6, name, ip) == 1) {
        return X509_check_ip_asc(leaf, name, 0) == 1 ? X509_V_OK : X509_V_ERR_IP_ADDRESS_MISMATCH;
    }
    return X509_check_host(leaf, name, strlen(name), 0, NULL) == 1 ? X509_V_OK
                                                                   : X509_V_ERR_HOSTNAME_MISMATCH;
}

/* The name is the peer's word: cut short, and without what could forge a line of the log. */
static void fail_by_code(struct tls *tls, const X509 *leaf, int code)
{
    char name[64] = "";

    X509_NAME_get_text_by_NID(X509_get_subject_name(leaf), NID_commonName, name, sizeof(name));
    bool is_text = utf8_is_valid(slice_text(name));
    for (char *at = name; *at != '\0'; at++) {
        unsigned char byte = (unsigned char)*at;
        bool is_plain = byte >= ' ' && byte != 0x7f && byte != '"' && (byte < 0x80 || is_text);
        *at = is_plain ? *at : '?';
    }
    tls_fail(tls, "the peer's certificate (common name \"%s\"): %s", name, verdict_text(code));
}

static bool chain_verify(struct tls *tls, STACK_OF(X509) * chain, uint8_t *alert)
{
    X509_STORE_CTX *check = X509_STORE_CTX_new();
    X509 *leaf = sk_X509_value(chain, 0);
    int code = check == NULL ? X509_V_ERR_OUT_OF_MEM : verify_code(tls, check, chain);

    X509_STORE_CTX_free(check);
    if (code == X509_V_OK) {
        code = name_code(tls, leaf);
    }
    if (code != X509_V_OK) {
        fail_by_code(tls, leaf, code);
        *alert = (uint8_t)SSL_alert_from_verify_result(code);
        return false;
    }
    if (is_weak(leaf)) {
        tls_fail(tls, "the peer's certificate: its RSA key has less than %d bits",
                 TLS_RSA_BITS_MIN);
        *alert = SSL_AD_INSUFFICIENT_SECURITY;
        return false;
    }
    return true;
}

bool tls_verify(struct tls *tls, uint8_t *alert)
{
    const STACK_OF(CRYPTO_BUFFER) *sent = SSL_get0_peer_certificates(tls->ssl);
    size_t count = sk_CRYPTO_BUFFER_num(sent);

    if (tls->context->is_insecure) {
        return true;
    }
    if (count == 0 || count > TLS_CHAIN_MAX || tls->context->trust.store == NULL) {
        tls_fail(tls, "the peer's certificate: a chain of %zu is not taken", count);
        *alert = SSL_AD_BAD_CERTIFICATE;
        return false;
    }
    STACK_OF(X509) *chain = chain_parse(sent);
    if (chain == NULL) {
        tls_fail(tls, "the peer's certificate cannot be read");
        *alert = SSL_AD_BAD_CERTIFICATE;
        return false;
    }
    bool is_good = chain_verify(tls, chain, alert);
    sk_X509_pop_free(chain, X509_free);
    ERR_clear_error();
    return is_good;
}
