#include "core/base/assert.h"
#include "core/io/tls_inside.h"

#include <openssl/digest.h>
#include <openssl/err.h>
#include <openssl/mem.h>
#include <openssl/pem.h>
#include <openssl/pool.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/*
 * Whom we trust: the CAs of cafile and capath, and what they have revoked (crlfile). All is read at
 * once, the folder too: what OpenSSL does with a folder, a look into it for every client, would stall
 * a shard. A hash over all of it tells whether what clients have to prove is still the same.
 */

struct reader {
    struct tls_trust *trust;
    SHA256_CTX hash;
    int64_t wall_s;
    uint32_t certificate_count, list_count;
};

/* ---- certificates -------------------------------------------------------------------------- */

static bool add_certificate(X509_STORE *store, X509 *certificate)
{
    if (X509_STORE_add_cert(store, certificate) == 1) {
        return true;
    }
    /* Twice in the files: once is enough. */
    bool is_known = ERR_GET_REASON(ERR_peek_last_error()) == X509_R_CERT_ALREADY_IN_HASH_TABLE;
    ERR_clear_error();
    return is_known;
}

static enum err visit_certificate(struct tls_pem_visitor *visitor, const char *kind,
                                  struct slice der, struct tls_trouble *trouble)
{
    struct reader *reader = visitor->owner;
    const uint8_t *bytes = der.data;

    if (strcmp(kind, PEM_STRING_X509) != 0 && strcmp(kind, PEM_STRING_X509_OLD) != 0 &&
        strcmp(kind, PEM_STRING_X509_TRUSTED) != 0) {
        return OK;
    }
    if (reader->certificate_count == TLS_TRUST_MAX) {
        return tls_trouble(trouble, ERR_INVALID,
                           "%s %s: more than %d certificates: keep those who sign clients",
                           visitor->label, visitor->file, TLS_TRUST_MAX);
    }
    X509 *certificate = d2i_X509(NULL, &bytes, (long)der.count);
    if (certificate == NULL) {
        return tls_trouble(trouble, ERR_INVALID, "%s %s: block %u is damaged: copy the file again",
                           visitor->label, visitor->file, visitor->block_count);
    }
    bool is_good = add_certificate(reader->trust->store, certificate);
    X509_free(certificate);
    if (!is_good) {
        return tls_trouble(trouble, ERR_NOMEM, "%s %s: memory is exhausted", visitor->label,
                           visitor->file);
    }
    SHA256_Update(&reader->hash, der.data, der.count);
    reader->certificate_count++;
    return OK;
}

static enum err read_cafile(struct reader *reader, const char *file, struct tls_trouble *trouble)
{
    struct tls_pem_visitor visitor = {
        .label = "cafile", .file = file, .owner = reader, .visit = visit_certificate};

    TRY(tls_pem_walk(&visitor, trouble));
    if (reader->certificate_count == 0) {
        return tls_trouble(trouble, ERR_INVALID,
                           "cafile %s: has no certificate: is it the right file?", file);
    }
    return OK;
}

/* Files of any name; what holds no PEM is none of ours. */
static enum err read_capath_file(struct reader *reader, const char *file,
                                 struct tls_trouble *trouble)
{
    struct tls_pem_visitor visitor = {
        .label = "capath", .file = file, .owner = reader, .visit = visit_certificate};
    struct tls_trouble found;
    struct stat status;

    if (stat(file, &status) == 0 && !S_ISREG(status.st_mode)) {
        return OK;
    }
    enum err err = tls_pem_walk(&visitor, &found);
    if (err == OK || (err == ERR_INVALID && visitor.block_count == 0)) {
        return OK;
    }
    *trouble = found;
    return err;
}

static enum err read_capath(struct reader *reader, const char *folder, struct tls_trouble *trouble)
{
    uint32_t before = reader->certificate_count;
    struct dirent **entries = NULL;
    int count = scandir(folder, &entries, NULL, alphasort);
    enum err err = OK;

    if (count < 0) {
        err = err_from_errno(errno);
        return tls_trouble(
            trouble,
            err == ERR_NOT_FOUND || err == ERR_PERMISSION || err == ERR_NOMEM ? err : ERR_INVALID,
            "capath %s: cannot be read (%s): name a folder with certificates", folder,
            err_text(err));
    }
    for (int i = 0; i < count; i++) {
        char path[PATH_MAX];
        int bytes = snprintf(path, sizeof(path), "%s/%s", folder, entries[i]->d_name);
        if (err == OK && entries[i]->d_name[0] != '.' && bytes < (int)sizeof(path)) {
            err = read_capath_file(reader, path, trouble);
        }
        free(entries[i]);
    }
    free(entries);
    if (err == OK && reader->certificate_count == before) {
        return tls_trouble(
            trouble, ERR_INVALID,
            "capath %s: no file in it has a certificate (PEM): is it the right folder?", folder);
    }
    return err;
}

/* ---- lists of the revoked ------------------------------------------------------------------ */

/* Is it signed by somebody we trust? */
static bool is_signed(X509_STORE *store, X509_CRL *list)
{
    STACK_OF(X509_OBJECT) *objects = X509_STORE_get0_objects(store);

    for (size_t i = 0; i < sk_X509_OBJECT_num(objects); i++) {
        X509 *issuer = X509_OBJECT_get0_X509(sk_X509_OBJECT_value(objects, i));
        if (issuer != NULL &&
            X509_NAME_cmp(X509_get_subject_name(issuer), X509_CRL_get_issuer(list)) == 0 &&
            X509_CRL_verify(list, tls_public_key(issuer)) == 1) {
            return true;
        }
    }
    ERR_clear_error();
    return false;
}

static enum err check_list(const struct reader *reader, const char *file, uint32_t number,
                           X509_CRL *list, struct tls_trouble *trouble)
{
    int64_t from_s = tls_time(X509_CRL_get0_lastUpdate(list));
    int64_t until_s = tls_time(X509_CRL_get0_nextUpdate(list)); /* INT64_MAX: not said */
    char date[32];

    if (!is_signed(reader->trust->store, list)) {
        return tls_trouble(
            trouble, ERR_INVALID,
            "crlfile %s: list %u is not signed by a CA of cafile or capath: fetch the "
            "list of the CA that signs your clients",
            file, number);
    }
    if (from_s > reader->wall_s) {
        return tls_trouble(
            trouble, ERR_INVALID,
            "crlfile %s: list %u is not valid before %s: check the clock of this machine", file,
            number, tls_date(from_s, date));
    }
    if (until_s < reader->wall_s) {
        return tls_trouble(trouble, ERR_INVALID,
                           "crlfile %s: list %u should have been renewed by %s: fetch the new one",
                           file, number, tls_date(until_s, date));
    }
    if (until_s < reader->trust->expires_s) {
        reader->trust->expires_s = until_s;
    }
    return OK;
}

static enum err visit_list(struct tls_pem_visitor *visitor, const char *kind, struct slice der,
                           struct tls_trouble *trouble)
{
    struct reader *reader = visitor->owner;
    const uint8_t *bytes = der.data;

    if (strcmp(kind, PEM_STRING_X509_CRL) != 0) {
        return OK;
    }
    X509_CRL *list = d2i_X509_CRL(NULL, &bytes, (long)der.count);
    if (list == NULL) {
        return tls_trouble(trouble, ERR_INVALID,
                           "crlfile %s: block %u is damaged: copy the file again", visitor->file,
                           visitor->block_count);
    }
    enum err err = check_list(reader, visitor->file, reader->list_count + 1, list, trouble);
    if (err == OK && X509_STORE_add_crl(reader->trust->store, list) != 1 &&
        ERR_GET_REASON(ERR_peek_last_error()) != X509_R_CERT_ALREADY_IN_HASH_TABLE) {
        err = tls_trouble(trouble, ERR_NOMEM, "crlfile %s: memory is exhausted", visitor->file);
    }
    ERR_clear_error();
    X509_CRL_free(list);
    TRY(err);
    SHA256_Update(&reader->hash, der.data, der.count);
    reader->list_count++;
    return OK;
}

static enum err read_crlfile(struct reader *reader, const char *file, struct tls_trouble *trouble)
{
    struct tls_pem_visitor visitor = {
        .label = "crlfile", .file = file, .owner = reader, .visit = visit_list};

    TRY(tls_pem_walk(&visitor, trouble));
    if (reader->list_count == 0) {
        return tls_trouble(trouble, ERR_INVALID,
                           "crlfile %s: has no list of revoked certificates: is it the right file?",
                           file);
    }
    reader->trust->has_lists = true;
    return OK;
}

/* ---- all of it ----------------------------------------------------------------------------- */

static enum err read_all(struct reader *reader, const char *cafile, const char *capath,
                         const char *crlfile, struct tls_trouble *trouble)
{
    if (tls_is_given(cafile)) {
        TRY(read_cafile(reader, cafile, trouble));
    }
    if (tls_is_given(capath)) {
        TRY(read_capath(reader, capath, trouble));
    }
    if (tls_is_given(crlfile)) {
        TRY(read_crlfile(reader, crlfile, trouble));
    }
    return OK;
}

enum err tls_trust_init(struct tls_trust *trust, const char *cafile, const char *capath,
                        const char *crlfile, int64_t wall_s, struct tls_trouble *trouble)
{
    struct reader reader = {.trust = trust, .wall_s = wall_s};

    *trust = (struct tls_trust){.expires_s = INT64_MAX};
    SHA256_Init(&reader.hash);
    if (!tls_is_given(cafile) && !tls_is_given(capath)) {
        return tls_is_given(crlfile)
                   ? tls_trouble(trouble, ERR_INVALID,
                                 "crlfile %s: without a CA it says nothing: name cafile "
                                 "or capath, too",
                                 crlfile)
                   : OK;
    }
    trust->store = X509_STORE_new();
    if (trust->store == NULL) {
        return tls_trouble(trouble, ERR_NOMEM, "cafile: memory is exhausted");
    }
    ERR_clear_error();
    enum err err = read_all(&reader, cafile, capath, crlfile, trouble);
    ERR_clear_error();
    if (err != OK) {
        tls_trust_deinit(trust);
        return err;
    }
    SHA256_Final(trust->hash, &reader.hash);
    return OK;
}

void tls_trust_deinit(struct tls_trust *trust)
{
    X509_STORE_free(trust->store);
    trust->store = NULL;
}

/* ---- what clients are told ----------------------------------------------------------------- */

static bool push_name(STACK_OF(CRYPTO_BUFFER) * names, X509 *certificate)
{
    uint8_t *der = NULL;
    int bytes = i2d_X509_NAME(X509_get_subject_name(certificate), &der);
    CRYPTO_BUFFER *name = bytes < 0 ? NULL : CRYPTO_BUFFER_new(der, (size_t)bytes, NULL);

    OPENSSL_free(der);
    if (name != NULL && sk_CRYPTO_BUFFER_push(names, name) != 0) {
        return true;
    }
    CRYPTO_BUFFER_free(name);
    return false;
}

bool tls_trust_announce(const struct tls_trust *trust, SSL_CTX *ssl_context)
{
    STACK_OF(X509_OBJECT) *objects = X509_STORE_get0_objects(trust->store);
    STACK_OF(CRYPTO_BUFFER) *names = sk_CRYPTO_BUFFER_new_null();
    bool is_good = names != NULL;

    for (size_t i = 0; i < sk_X509_OBJECT_num(objects) && is_good; i++) {
        X509 *certificate = X509_OBJECT_get0_X509(sk_X509_OBJECT_value(objects, i));
        is_good = certificate == NULL || push_name(names, certificate);
    }
    if (!is_good || sk_CRYPTO_BUFFER_num(names) > TLS_TRUST_NAMES_MAX) {
        sk_CRYPTO_BUFFER_pop_free(names, CRYPTO_BUFFER_free);
        return is_good; /* too many for every handshake: a client finds out by itself */
    }
    SSL_CTX_set0_client_CAs(ssl_context, names);
    return true;
}
