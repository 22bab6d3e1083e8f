#include "core/io/tls.h"
#include "core/io/tls_inside.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/*
 * BoringSSL says what went wrong in a queue of codes, the innermost first. An operator wants one
 * plain sentence: the first code that the table knows decides. 1000 and more are alerts of the peer.
 */
enum { REASON_ALERT = SSL_AD_REASON_OFFSET, MQTT_CONNECT_BYTE = 0x10 };

/* clang-format off */
static const struct reason {
    int code;
    const char *text;
} reasons[] = {
    {SSL_R_HTTP_REQUEST,                        "an HTTP request on a TLS port"},
    {SSL_R_HTTPS_PROXY_REQUEST,                 "an HTTP proxy request on a TLS port"},
    {SSL_R_WRONG_VERSION_NUMBER,                "not TLS at all"},
    {SSL_R_UNSUPPORTED_PROTOCOL,                "unsupported protocol version: the peer offers none that is allowed here"},
    {SSL_R_UNKNOWN_PROTOCOL,                    "not TLS at all"},
    {SSL_R_NO_SHARED_CIPHER,                    "no shared cipher: the peer offers none that is allowed here, or none for our certificate"},
    {SSL_R_NO_CIPHERS_SPECIFIED,                "the peer offers no ciphers"},
    {SSL_R_NO_SHARED_GROUP,                     "no shared curve: the peer offers none that is allowed here"},
    {SSL_R_WRONG_CURVE,                         "a curve that is not allowed here"},
    {SSL_R_NO_COMMON_SIGNATURE_ALGORITHMS,      "no shared signature algorithm: the peer cannot check our kind of certificate"},
    {SSL_R_WRONG_SIGNATURE_TYPE,                "a signature of a kind that was not offered"},
    {SSL_R_NO_APPLICATION_PROTOCOL,             "no shared protocol (ALPN): the peer offers only others"},
    {SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE,   "no certificate: the client showed none, and one is required"},
    {SSL_R_CERTIFICATE_VERIFY_FAILED,           "the certificate is not accepted"},
    {SSL_R_BAD_SIGNATURE,                       "bad signature: the peer does not hold the key of its certificate"},
    {SSL_R_CANNOT_PARSE_LEAF_CERT,              "the peer's certificate cannot be read"},
    {SSL_R_UNKNOWN_CERTIFICATE_TYPE,            "the peer's certificate has a kind of key that is not supported"},
    {SSL_R_KEY_USAGE_BIT_INCORRECT,             "wrong purpose: the peer's certificate is not made for signing"},
    {SSL_R_ECC_CERT_NOT_FOR_SIGNING,            "wrong purpose: the peer's certificate is not made for signing"},
    {SSL_R_ENCRYPTED_LENGTH_TOO_LONG,           "oversized record"},
    {SSL_R_DATA_LENGTH_TOO_LONG,                "oversized record"},
    {SSL_R_EXCESSIVE_MESSAGE_SIZE,              "oversized handshake message"},
    {SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC, "a record was changed on its way, or the peer gave up before it had keys"},
    {SSL_R_DIGEST_CHECK_FAILED,                 "the handshake was changed on its way"},
    {SSL_R_NO_RENEGOTIATION,                    "the peer tries to renegotiate, which is refused"},
    {SSL_R_TOO_MANY_KEY_UPDATES,                "too many key updates"},
    {SSL_R_TOO_MANY_EMPTY_FRAGMENTS,            "too many empty records"},
    {SSL_R_TOO_MANY_WARNING_ALERTS,             "too many warning alerts"},
    {SSL_R_TOO_MUCH_SKIPPED_EARLY_DATA,         "too much early data, which is refused"},
    {SSL_R_BAD_ALERT,                           "a malformed alert"},
    {SSL_R_UNKNOWN_ALERT_TYPE,                  "a malformed alert"},
    {SSL_R_CLIENTHELLO_PARSE_FAILED,            "a malformed client hello"},
    {SSL_R_CLIENTHELLO_TLSEXT,                  "a malformed client hello"},
    {SSL_R_PARSE_TLSEXT,                        "a malformed extension"},
    {SSL_R_ERROR_PARSING_EXTENSION,             "a malformed extension"},
    {SSL_R_DUPLICATE_EXTENSION,                 "an extension twice"},
    {SSL_R_INVALID_COMPRESSION_LIST,            "a malformed list of compressions"},
    {SSL_R_DECODE_ERROR,                        "a malformed handshake message"},
    {SSL_R_UNEXPECTED_MESSAGE,                  "a handshake message out of turn"},
    {SSL_R_UNEXPECTED_RECORD,                   "a record out of turn"},
    {SSL_R_APPLICATION_DATA_INSTEAD_OF_HANDSHAKE, "data in the middle of the handshake"},
    {SSL_R_EXCESS_HANDSHAKE_DATA,               "a handshake message out of turn"},
    {SSL_R_INAPPROPRIATE_FALLBACK,              "the peer was made to fall back to an older version"},
    {SSL_R_TLS13_DOWNGRADE,                     "the peer was made to fall back to an older version"},
    {SSL_R_MISSING_EXTENSION,                   "a client hello without an extension that TLS 1.3 needs"},
    {SSL_R_MISSING_KEY_SHARE,                   "a client hello without a key share"},
    {SSL_R_BAD_ECPOINT,                         "a malformed key share"},
    {SSL_R_PRIVATE_KEY_OPERATION_FAILED,        "the signature with our own key failed"},
};

/* What an alert of the peer most often means; else its name stands alone. */
static const struct reason alerts[] = {
    {SSL_AD_HANDSHAKE_FAILURE,       "it finds nothing in common, or wants a certificate"},
    {SSL_AD_BAD_CERTIFICATE,         "it does not accept our certificate"},
    {SSL_AD_UNSUPPORTED_CERTIFICATE, "it does not accept our certificate"},
    {SSL_AD_CERTIFICATE_REVOKED,     "it does not accept our certificate"},
    {SSL_AD_CERTIFICATE_EXPIRED,     "it does not accept our certificate, or its clock is wrong"},
    {SSL_AD_CERTIFICATE_UNKNOWN,     "it does not accept our certificate"},
    {SSL_AD_UNKNOWN_CA,              "it does not trust the CA of our certificate"},
    {SSL_AD_PROTOCOL_VERSION,        "it does not allow a version that is allowed here"},
    {SSL_AD_CERTIFICATE_REQUIRED,    "it wants a certificate"},
    {SSL_AD_NO_APPLICATION_PROTOCOL, "no shared protocol (ALPN)"},
};
/* clang-format on */

static const char *reason_text(const struct reason *table, size_t count, int code)
{
    for (size_t i = 0; i < count; i++) {
        if (table[i].code == code) {
            return table[i].text;
        }
    }
    return NULL;
}

void tls_fail(struct tls *tls, const char *format, ...)
{
    va_list values;

    tls->is_broken = true;
    if (tls->failure != NULL) {
        return;
    }
    tls->failure = malloc(TLS_FAILURE_BYTES);
    if (tls->failure == NULL) {
        return;
    }
    va_start(values, format);
    vsnprintf(tls->failure, TLS_FAILURE_BYTES, format, values);
    va_end(values);
}

static void fail_by_alert(struct tls *tls, int alert)
{
    const char *hint = reason_text(alerts, sizeof(alerts) / sizeof(alerts[0]), alert);

    if (hint == NULL) {
        tls_fail(tls, "the peer gave up (alert: %s)", SSL_alert_desc_string_long(alert));
    } else {
        tls_fail(tls, "the peer gave up: %s (alert: %s)", hint, SSL_alert_desc_string_long(alert));
    }
}

void tls_fail_from_queue(struct tls *tls)
{
    uint32_t code, last = 0;

    while ((code = ERR_get_error()) != 0) {
        int reason = ERR_GET_REASON(code);
        last = code;
        if (ERR_GET_LIB(code) != ERR_LIB_SSL) {
            continue;
        }
        if (reason >= REASON_ALERT) {
            fail_by_alert(tls, reason - REASON_ALERT);
            return;
        }
        if (reason == SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC && tls->clear_alert != 0) {
            fail_by_alert(tls, tls->clear_alert);
            return;
        }
        const char *text = reason_text(reasons, sizeof(reasons) / sizeof(reasons[0]), reason);
        if (text == NULL) {
            continue;
        }
        bool is_plain_mqtt = reason == SSL_R_WRONG_VERSION_NUMBER &&
                             tls->first_byte == MQTT_CONNECT_BYTE;
        tls_fail(tls, "%s", is_plain_mqtt ? "an MQTT packet without TLS on a TLS port" : text);
        return;
    }
    const char *text = last == 0 ? NULL : ERR_reason_error_string(last);
    tls_fail(tls, "broken (%s)", text == NULL ? "no reason given" : text);
}

const char *tls_failure(const struct tls *tls)
{
    if (tls->failure != NULL) {
        return tls->failure;
    }
    return tls->is_broken ? "broken, and no memory to say why" : "not broken";
}
