#include "core/base/assert.h"
#include "core/io/sys.h"
#include "core/io/tls_inside.h"

#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/mem.h>
#include <openssl/pem.h>
#include <openssl/pool.h>
#include <openssl/x509.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/*
 * Files in PEM: blocks between BEGIN and END. What people confuse is told apart: a key where a
 * certificate should be, DER, an encrypted key, an empty file, a folder.
 */

enum { DER_SEQUENCE = 0x30 };

enum err tls_trouble(struct tls_trouble *trouble, enum err err, const char *format, ...)
{
    va_list values;

    va_start(values, format);
    vsnprintf(trouble->text, sizeof(trouble->text), format, values);
    va_end(values);
    return err;
}

EVP_PKEY *tls_public_key(const X509 *certificate)
{
    EVP_PKEY *key = X509_get_pubkey((X509 *)certificate);

    EVP_PKEY_free(key); /* the certificate keeps one reference */
    return key;
}

int64_t tls_time(const struct asn1_string_st *time)
{
    ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);
    int days = 0, seconds = 0;
    bool is_good = epoch != NULL && time != NULL &&
                   ASN1_TIME_diff(&days, &seconds, epoch, time) == 1;

    ASN1_TIME_free(epoch);
    return is_good ? (int64_t)days * 86400 + seconds : INT64_MAX;
}

const char *tls_date(int64_t time_s, char out[32])
{
    time_t time = (time_t)time_s;
    struct tm parts;

    if (gmtime_r(&time, &parts) == NULL ||
        strftime(out, 32, "%Y-%m-%d %H:%M:%S UTC", &parts) == 0) {
        snprintf(out, 32, "an unknown date");
    }
    return out;
}

/* ---- walking through a file ---------------------------------------------------------------- */

static enum err file_trouble(const struct tls_pem_visitor *visitor, enum err err,
                             struct tls_trouble *trouble)
{
    const char *label = visitor->label, *file = visitor->file;

    switch (err) {
    case ERR_NOT_FOUND:
        return tls_trouble(trouble, err, "%s %s: there is no such file: check the path", label,
                           file);
    case ERR_PERMISSION:
        return tls_trouble(trouble, err,
                           "%s %s: may not be read: let the user that runs the broker read it",
                           label, file);
    case ERR_INVALID:
        return tls_trouble(trouble, err, "%s %s: is a folder: name the file in it", label, file);
    case ERR_TOO_LARGE:
        return tls_trouble(trouble, ERR_INVALID,
                           "%s %s: is larger than %d MiB: is it the right file?", label, file,
                           TLS_FILE_BYTES_MAX / 1024 / 1024);
    case ERR_NOMEM:
        return tls_trouble(trouble, err, "%s %s: memory is exhausted", label, file);
    default:
        return tls_trouble(trouble, ERR_INVALID, "%s %s: cannot be read (%s): check the file",
                           label, file, err_text(err));
    }
}

/* No block was found: why not? */
static enum err blocks_trouble(const struct tls_pem_visitor *visitor, struct slice text,
                               struct tls_trouble *trouble)
{
    const char *label = visitor->label, *file = visitor->file;

    if (text.count == 0) {
        return tls_trouble(trouble, ERR_INVALID, "%s %s: is empty: fill it, or name another file",
                           label, file);
    }
    if (text.data[0] == DER_SEQUENCE) {
        return tls_trouble(trouble, ERR_INVALID,
                           "%s %s: is DER, and PEM is wanted: convert it with openssl "
                           "(x509, pkey or crl, -inform DER -in %s -out new.pem)",
                           label, file, file);
    }
    return tls_trouble(trouble, ERR_INVALID,
                       "%s %s: has no PEM block (-----BEGIN ...): is it the right file?", label,
                       file);
}

static enum err walk_text(struct tls_pem_visitor *visitor, struct slice text,
                          struct tls_trouble *trouble)
{
    BIO *bio = BIO_new_mem_buf(text.data, (int)text.count);
    enum err err = OK;

    if (bio == NULL) {
        return file_trouble(visitor, ERR_NOMEM, trouble);
    }
    while (err == OK) {
        char *kind = NULL, *header = NULL;
        unsigned char *der = NULL;
        long der_bytes = 0;
        if (PEM_read_bio(bio, &kind, &header, &der, &der_bytes) != 1) {
            if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE) {
                visitor->block_count++;
                err = tls_trouble(trouble, ERR_INVALID,
                                  "%s %s: block %u is damaged: copy the file again", visitor->label,
                                  visitor->file, visitor->block_count);
            }
            break;
        }
        visitor->block_count++;
        /* "Proc-Type: 4,ENCRYPTED": the old way to encrypt a key. */
        bool is_encrypted = strstr(header, "ENCRYPTED") != NULL;
        err = visitor->visit(visitor, is_encrypted ? "ENCRYPTED PRIVATE KEY" : kind,
                             slice_of(der, (size_t)der_bytes), trouble);
        OPENSSL_free(kind);
        OPENSSL_free(header);
        OPENSSL_free(der); /* cleared by it: there may have been a key */
    }
    BIO_free(bio);
    ERR_clear_error();
    if (err == OK && visitor->block_count == 0) {
        return blocks_trouble(visitor, text, trouble);
    }
    return err;
}

enum err tls_pem_walk(struct tls_pem_visitor *visitor, struct tls_trouble *trouble)
{
    char *text = NULL;
    size_t count = 0;

    ERR_clear_error();
    enum err err = sys_load_plain_file(visitor->file, TLS_FILE_BYTES_MAX, &text, &count);
    if (err != OK) {
        return file_trouble(visitor, err, trouble);
    }
    err = walk_text(visitor, slice_of(text, count), trouble);
    OPENSSL_cleanse(text, count);
    free(text);
    return err;
}

/* ---- a certificate and its chain ----------------------------------------------------------- */

void tls_chain_deinit(struct tls_chain *chain)
{
    for (uint32_t i = 0; i < chain->count; i++) {
        CRYPTO_BUFFER_free(chain->items[i]);
    }
    chain->count = 0;
}

static bool is_key(const char *kind)
{
    return strstr(kind, "PRIVATE KEY") != NULL;
}

static bool is_certificate(const char *kind)
{
    return strcmp(kind, PEM_STRING_X509) == 0 || strcmp(kind, PEM_STRING_X509_OLD) == 0;
}

static enum err visit_chain(struct tls_pem_visitor *visitor, const char *kind, struct slice der,
                            struct tls_trouble *trouble)
{
    struct tls_chain *chain = visitor->owner;

    if (!is_certificate(kind)) {
        return OK; /* a key or parameters in the same file are common */
    }
    if (chain->count == TLS_CHAIN_MAX) {
        return tls_trouble(
            trouble, ERR_INVALID,
            "%s %s: has more than %d certificates: keep the certificate and its chain",
            visitor->label, visitor->file, TLS_CHAIN_MAX);
    }
    CRYPTO_BUFFER *item = CRYPTO_BUFFER_new(der.data, der.count, NULL);
    if (item == NULL) {
        return file_trouble(visitor, ERR_NOMEM, trouble);
    }
    chain->items[chain->count++] = item;
    return OK;
}

/* Only keys are in it: it is the keyfile that was named. */
static enum err visit_key_only(struct tls_pem_visitor *visitor, const char *kind, struct slice der,
                               struct tls_trouble *trouble)
{
    (void)der;
    (void)trouble;
    *(bool *)visitor->owner |= is_key(kind);
    return OK;
}

static enum err no_certificate(const char *label, const char *file, struct tls_trouble *trouble)
{
    bool has_key = false;
    struct tls_pem_visitor visitor = {
        .label = label, .file = file, .owner = &has_key, .visit = visit_key_only};
    TRY(tls_pem_walk(&visitor, trouble));
    return tls_trouble(trouble, ERR_INVALID,
                       has_key ? "%s %s: has a key and no certificate: were certfile and keyfile "
                                 "swapped?"
                               : "%s %s: has no certificate: is it the right file?",
                       label, file);
}

enum err tls_pem_chain(const char *label, const char *file, struct tls_chain *out,
                       struct tls_trouble *trouble)
{
    struct tls_chain chain = {.count = 0};
    struct tls_pem_visitor visitor = {
        .label = label, .file = file, .owner = &chain, .visit = visit_chain};
    enum err err = tls_pem_walk(&visitor, trouble);

    if (err == OK && chain.count == 0) {
        err = no_certificate(label, file, trouble);
    }
    if (err != OK) {
        tls_chain_deinit(&chain);
        return err;
    }
    *out = chain;
    return OK;
}

/* ---- a key --------------------------------------------------------------------------------- */

struct key_search {
    EVP_PKEY *key;
    bool has_certificate;
};

static enum err visit_key(struct tls_pem_visitor *visitor, const char *kind, struct slice der,
                          struct tls_trouble *trouble)
{
    struct key_search *search = visitor->owner;

    search->has_certificate |= is_certificate(kind);
    if (!is_key(kind) || search->key != NULL) {
        return OK;
    }
    if (strstr(kind, "ENCRYPTED") != NULL) {
        return tls_trouble(trouble, ERR_INVALID,
                           "keyfile %s: the key is encrypted: decrypt it with openssl pkey -in %s "
                           "-out new.pem, and let only the broker's user read that",
                           visitor->file, visitor->file);
    }
    const uint8_t *bytes = der.data;
    search->key = d2i_AutoPrivateKey(NULL, &bytes, (long)der.count);
    if (search->key == NULL) {
        ERR_clear_error();
        return tls_trouble(
            trouble, ERR_INVALID,
            "keyfile %s: the key is damaged, or of a kind that is not supported: use "
            "ECDSA (P-256), Ed25519 or RSA",
            visitor->file);
    }
    return OK;
}

enum err tls_pem_key(const char *file, struct evp_pkey_st **out, struct tls_trouble *trouble)
{
    struct key_search search = {.key = NULL};
    struct tls_pem_visitor visitor = {
        .label = "keyfile", .file = file, .owner = &search, .visit = visit_key};
    enum err err = tls_pem_walk(&visitor, trouble);

    if (err == OK && search.key == NULL) {
        err = tls_trouble(
            trouble, ERR_INVALID,
            search.has_certificate
                ? "keyfile %s: has a certificate and no key: were certfile and keyfile "
                  "swapped?"
                : "keyfile %s: has no private key: is it the right file?",
            file);
    }
    if (err != OK) {
        EVP_PKEY_free(search.key);
        return err;
    }
    *out = search.key;
    return OK;
}
