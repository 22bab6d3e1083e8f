#include "core/base/assert.h"
#include "core/base/text.h"
#include "core/io/tls_inside.h"

#include <openssl/digest.h>
#include <openssl/ec.h>
#include <openssl/ec_key.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/mem.h>
#include <openssl/nid.h>
#include <openssl/pool.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * The certificates of a listener: read and checked once, then one of them is shown to each client.
 *
 *     name of SNI ──> exact names, else wildcards, else those that share a name with the first
 *                 ──> of these the first that the client can check: what is not RSA before RSA,
 *                     because an RSA signature costs ten times an ECDSA one
 */

enum { NAMES_TEXT_BYTES = 512, NAME_BYTES = 254 };

/* clang-format off */
static const struct kind {
    const char *text;     /* NULL: with the number of bits behind it */
    bool is_slow;         /* more than 150 us a signature: README.md has what was measured */
    uint16_t algorithm;   /* what TLS 1.3 signs with; 0: any of RSA-PSS */
} kinds[] = {
    [TLS_KEY_RSA    ] = {NULL,          true,  0},
    [TLS_KEY_P256   ] = {"ECDSA P-256", false, SSL_SIGN_ECDSA_SECP256R1_SHA256},
    [TLS_KEY_P384   ] = {"ECDSA P-384", true,  SSL_SIGN_ECDSA_SECP384R1_SHA384},
    [TLS_KEY_P521   ] = {"ECDSA P-521", true,  SSL_SIGN_ECDSA_SECP521R1_SHA512},
    [TLS_KEY_ED25519] = {"Ed25519",     false, SSL_SIGN_ED25519},
};
/* clang-format on */

/* ---- reading and checking ------------------------------------------------------------------ */

static enum err key_kind(const char *file, const EVP_PKEY *key, enum tls_key_kind *out,
                         struct tls_trouble *trouble)
{
    const char *want = "use ECDSA (P-256, P-384, P-521), Ed25519 or RSA of 2048 bits and more";

    switch (EVP_PKEY_id(key)) {
    case EVP_PKEY_RSA:
        if (EVP_PKEY_bits(key) < TLS_RSA_BITS_MIN || EVP_PKEY_bits(key) > TLS_SIGNATURE_BYTES * 8) {
            return tls_trouble(trouble, ERR_INVALID, "certfile %s: an RSA key of %d bits: %s", file,
                               EVP_PKEY_bits(key), want);
        }
        *out = TLS_KEY_RSA;
        return OK;
    case EVP_PKEY_ED25519:
        *out = TLS_KEY_ED25519;
        return OK;
    case EVP_PKEY_EC:
        switch (EC_GROUP_get_curve_name(EC_KEY_get0_group(EVP_PKEY_get0_EC_KEY(key)))) {
        case NID_X9_62_prime256v1:
            *out = TLS_KEY_P256;
            return OK;
        case NID_secp384r1:
            *out = TLS_KEY_P384;
            return OK;
        case NID_secp521r1:
            *out = TLS_KEY_P521;
            return OK;
        default:
            break;
        }
        break;
    default:
        break;
    }
    return tls_trouble(trouble, ERR_INVALID,
                       "certfile %s: a key of a kind that TLS has no use for: %s", file, want);
}

static enum err check_dates(const char *file, uint32_t number, const X509 *certificate,
                            int64_t wall_s, struct tls_trouble *trouble)
{
    int64_t from_s = tls_time(X509_get0_notBefore(certificate));
    int64_t until_s = tls_time(X509_get0_notAfter(certificate));
    char date[32];

    if (from_s > wall_s) {
        return tls_trouble(trouble, ERR_INVALID,
                           "certfile %s: certificate %u is not valid before %s: wait, or check the "
                           "clock of this machine",
                           file, number, tls_date(from_s, date));
    }
    if (until_s < wall_s) {
        return tls_trouble(trouble, ERR_INVALID,
                           "certfile %s: certificate %u expired at %s: have it renewed", file,
                           number, tls_date(until_s, date));
    }
    return OK;
}

/* Each is signed by the one behind it; a client follows them in this order. */
static enum err check_link(const char *file, uint32_t number, X509 *lower, X509 *upper,
                           struct tls_trouble *trouble)
{
    EVP_PKEY *key = tls_public_key(upper);

    if (X509_check_issued(upper, lower) != X509_V_OK || key == NULL ||
        X509_verify(lower, key) != 1) {
        return tls_trouble(trouble, ERR_INVALID,
                           "certfile %s: certificate %u is not signed by certificate %u: first the "
                           "server's own, then each one's signer",
                           file, number, number + 1);
    }
    return OK;
}

static enum err check_chain(const char *file, X509 *const *items, uint32_t count, int64_t wall_s,
                            struct tls_trouble *trouble)
{
    for (uint32_t i = 0; i < count; i++) {
        if (wall_s != TLS_DATES_UNCHECKED) {
            TRY(check_dates(file, i + 1, items[i], wall_s, trouble));
        }
        if (i + 1 < count) {
            TRY(check_link(file, i + 1, items[i], items[i + 1], trouble));
        }
    }
    return OK;
}

static enum err check_key(const struct tls_pair *pair, X509 *const *items, uint32_t count,
                          const EVP_PKEY *key, struct tls_trouble *trouble)
{
    for (uint32_t i = 0; i < count; i++) {
        EVP_PKEY *public_key = tls_public_key(items[i]);
        if (public_key == NULL || EVP_PKEY_cmp(public_key, key) != 1) {
            continue;
        }
        return i == 0 ? OK
                      : tls_trouble(trouble, ERR_INVALID,
                                    "certfile %s: the key fits certificate %u, not the first: put "
                                    "the server's own first",
                                    pair->certfile, i + 1);
    }
    return tls_trouble(trouble, ERR_INVALID,
                       "keyfile %s: does not belong to certfile %s: name the key that the "
                       "certificate was requested with",
                       pair->keyfile, pair->certfile);
}

/* ---- names --------------------------------------------------------------------------------- */

/* Lower case, without the dot at the end; NULL: memory, or nothing that can be a name. */
static char *name_plain(const uint8_t *bytes, size_t count)
{
    if (count > 0 && bytes[count - 1] == '.') {
        count--;
    }
    if (count == 0 || count > NAME_BYTES || memchr(bytes, '\0', count) != NULL) {
        return NULL;
    }
    char *name = strndup((const char *)bytes, count);
    for (char *at = name; at != NULL && *at != '\0'; at++) {
        *at = (char)(*at >= 'A' && *at <= 'Z' ? *at - 'A' + 'a' : *at);
    }
    return name;
}

static void add_name(struct tls_served *served, const ASN1_STRING *text)
{
    char *name = name_plain(ASN1_STRING_get0_data(text), (size_t)ASN1_STRING_length(text));
    if (name != NULL) {
        served->names[served->name_count++] = name;
    }
}

static bool find_names(struct tls_served *served, const X509 *leaf)
{
    GENERAL_NAMES *all = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
    size_t count = all == NULL ? 0 : sk_GENERAL_NAME_num(all);

    served->names = calloc(count + 1, sizeof(served->names[0]));
    if (served->names != NULL) {
        for (size_t i = 0; i < count; i++) {
            const GENERAL_NAME *name = sk_GENERAL_NAME_value(all, i);
            if (name->type == GEN_DNS) {
                add_name(served, name->d.dNSName);
            }
        }
    }
    GENERAL_NAMES_free(all);
    if (served->names == NULL || served->name_count > 0) {
        return served->names != NULL;
    }
    /* RFC 6125 section 6.4.4: the common name, as a last resort. */
    const X509_NAME *subject = X509_get_subject_name(leaf);
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    if (at >= 0) {
        add_name(served, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    }
    return true;
}

static char *join_names(const struct tls_served *served)
{
    char text[NAMES_TEXT_BYTES] = "";
    size_t used = 0;

    for (uint32_t i = 0; i < served->name_count; i++) {
        int step = snprintf(text + used, sizeof(text) - used, "%s%s", i == 0 ? "" : ",",
                            served->names[i]);
        if (step < 0 || used + (size_t)step >= sizeof(text)) {
            text[used] = '\0'; /* whole names, as many as fit */
            break;
        }
        used += (size_t)step;
    }
    return strdup(text);
}

/* ---- one pair ------------------------------------------------------------------------------ */

static bool find_facts(struct tls_served *served, const char *file, const X509 *leaf)
{
    char kind[32];

    if (!find_names(served, leaf)) {
        return false;
    }
    snprintf(kind, sizeof(kind), "RSA %d", EVP_PKEY_bits(served->key));
    served->file = strdup(file);
    served->names_text = join_names(served);
    served->kind_text = strdup(kinds[served->kind].text == NULL ? kind : kinds[served->kind].text);
    served->facts = (struct tls_certificate){
        .file = served->file,
        .names = served->names_text,
        .kind = served->kind_text,
        .not_before_s = tls_time(X509_get0_notBefore(leaf)),
        .not_after_s = tls_time(X509_get0_notAfter(leaf)),
    };
    SHA256(CRYPTO_BUFFER_data(served->chain.items[0]), CRYPTO_BUFFER_len(served->chain.items[0]),
           served->facts.fingerprint);
    return served->file != NULL && served->names_text != NULL && served->kind_text != NULL;
}

static enum err served_check(struct tls_served *served, const struct tls_pair *pair,
                             X509 *const *items, int64_t wall_s, struct tls_trouble *trouble)
{
    const EVP_PKEY *public_key = tls_public_key(items[0]);

    if (public_key == NULL) {
        return tls_trouble(trouble, ERR_INVALID,
                           "certfile %s: has a key of an unknown kind: use ECDSA, Ed25519 or RSA",
                           pair->certfile);
    }
    TRY(check_key(pair, items, served->chain.count, served->key, trouble));
    TRY(key_kind(pair->certfile, public_key, &served->kind, trouble));
    served->is_slow = kinds[served->kind].is_slow;
    TRY(check_chain(pair->certfile, items, served->chain.count, wall_s, trouble));
    if (!find_facts(served, pair->certfile, items[0])) {
        return tls_trouble(trouble, ERR_NOMEM, "certfile %s: memory is exhausted", pair->certfile);
    }
    return OK;
}

/* The certificates as BoringSSL's objects, for the time of the check. */
static enum err parse_chain(const char *file, const struct tls_chain *chain, X509 **items,
                            struct tls_trouble *trouble)
{
    for (uint32_t i = 0; i < chain->count; i++) {
        items[i] = X509_parse_from_buffer(chain->items[i]);
        if (items[i] == NULL) {
            return tls_trouble(trouble, ERR_INVALID,
                               "certfile %s: certificate %u is damaged: copy the file again", file,
                               i + 1);
        }
    }
    return OK;
}

static enum err check_given(const char *label, const char *file, const char *other,
                            struct tls_trouble *trouble)
{
    if (tls_is_given(file)) {
        return OK;
    }
    return tls_trouble(trouble, ERR_INVALID, "%s: is missing: every %s needs one", label, other);
}

enum err tls_served_init(struct tls_served *served, const struct tls_pair *pair, int64_t wall_s,
                         struct tls_trouble *trouble)
{
    X509 *items[TLS_CHAIN_MAX] = {NULL};

    *served = (struct tls_served){.file = NULL};
    TRY(check_given("certfile", pair->certfile, "keyfile", trouble));
    TRY(check_given("keyfile", pair->keyfile, "certfile", trouble));
    enum err err = tls_pem_chain("certfile", pair->certfile, &served->chain, trouble);
    if (err == OK) {
        err = tls_pem_key(pair->keyfile, &served->key, trouble);
    }
    if (err == OK) {
        err = parse_chain(pair->certfile, &served->chain, items, trouble);
    }
    if (err == OK) {
        err = served_check(served, pair, items, wall_s, trouble);
    }
    for (uint32_t i = 0; i < TLS_CHAIN_MAX; i++) {
        X509_free(items[i]);
    }
    ERR_clear_error();
    if (err != OK) {
        tls_served_deinit(served);
    }
    return err;
}

void tls_served_deinit(struct tls_served *served)
{
    tls_chain_deinit(&served->chain);
    EVP_PKEY_free(served->key);
    for (uint32_t i = 0; i < served->name_count; i++) {
        free(served->names[i]);
    }
    free(served->names);
    free(served->file);
    free(served->names_text);
    free(served->kind_text);
    *served = (struct tls_served){.file = NULL};
}

/* ---- which one is shown -------------------------------------------------------------------- */

enum match { MATCH_NONE, MATCH_WILDCARD, MATCH_EXACT };

/* RFC 6125 section 6.4.3: the star is one whole label, the first. */
static enum match name_match(const char *pattern, const char *name)
{
    if (strcmp(pattern, name) == 0) {
        return MATCH_EXACT;
    }
    const char *rest = strchr(name, '.');
    bool is_wild = pattern[0] == '*' && pattern[1] == '.' && rest != NULL && rest != name;
    return is_wild && strcmp(pattern + 1, rest) == 0 ? MATCH_WILDCARD : MATCH_NONE;
}

static enum match served_match(const struct tls_served *served, const char *name)
{
    enum match best = MATCH_NONE;

    for (uint32_t i = 0; i < served->name_count; i++) {
        enum match match = name_match(served->names[i], name);
        best = match > best ? match : best;
    }
    return best;
}

static bool shares_a_name(const struct tls_served *a, const struct tls_served *b)
{
    for (uint32_t i = 0; i < a->name_count; i++) {
        for (uint32_t j = 0; j < b->name_count; j++) {
            if (strcmp(a->names[i], b->names[j]) == 0) {
                return true;
            }
        }
    }
    return a == b;
}

static bool list_has(struct slice list, uint16_t value)
{
    for (size_t i = 0; i + 1 < list.count; i += 2) {
        if ((list.data[i] << 8 | list.data[i + 1]) == value) {
            return true;
        }
    }
    return false;
}

static bool list_has_any(struct slice list, const uint16_t *values, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (list_has(list, values[i])) {
            return true;
        }
    }
    return false;
}

/* Can the client check a signature of that kind, and, before TLS 1.3, use a cipher that goes with it? */
static bool client_can(const struct tls_wish *wish, enum tls_key_kind kind)
{
    static const uint16_t pss[] = {SSL_SIGN_RSA_PSS_RSAE_SHA256, SSL_SIGN_RSA_PSS_RSAE_SHA384,
                                   SSL_SIGN_RSA_PSS_RSAE_SHA512};
    static const uint16_t rsa[] = {SSL_SIGN_RSA_PKCS1_SHA256,    SSL_SIGN_RSA_PKCS1_SHA384,
                                   SSL_SIGN_RSA_PKCS1_SHA512,    SSL_SIGN_RSA_PSS_RSAE_SHA256,
                                   SSL_SIGN_RSA_PSS_RSAE_SHA384, SSL_SIGN_RSA_PSS_RSAE_SHA512};
    static const uint16_t ecdsa[] = {SSL_SIGN_ECDSA_SECP256R1_SHA256,
                                     SSL_SIGN_ECDSA_SECP384R1_SHA384,
                                     SSL_SIGN_ECDSA_SECP521R1_SHA512};
    /* AES-128-GCM, AES-256-GCM, ChaCha20: RFC 5289, RFC 7905. Ed25519 goes with ECDSA's: RFC 8422. */
    static const uint16_t rsa_ciphers[] = {0xc02f, 0xc030, 0xcca8};
    static const uint16_t ecdsa_ciphers[] = {0xc02b, 0xc02c, 0xcca9};

    if (wish->is_1_3) {
        return kind == TLS_KEY_RSA ? list_has_any(wish->algorithms, pss, 3)
                                   : list_has(wish->algorithms, kinds[kind].algorithm);
    }
    if (kind == TLS_KEY_RSA) {
        return list_has_any(wish->ciphers, rsa_ciphers, 3) &&
               list_has_any(wish->algorithms, rsa, 6);
    }
    if (!list_has_any(wish->ciphers, ecdsa_ciphers, 3)) {
        return false;
    }
    return kind == TLS_KEY_ED25519 ? list_has(wish->algorithms, SSL_SIGN_ED25519)
                                   : list_has_any(wish->algorithms, ecdsa, 3);
}

/* The best of those marked; -1: none is. */
static int best_kind(const struct tls_served *pairs, uint32_t pair_count, const bool *is_meant,
                     const struct tls_wish *wish)
{
    int first = -1, rsa = -1;

    for (uint32_t i = 0; i < pair_count; i++) {
        if (!is_meant[i]) {
            continue;
        }
        first = first < 0 ? (int)i : first;
        if (!client_can(wish, pairs[i].kind)) {
            continue;
        }
        if (pairs[i].kind != TLS_KEY_RSA) {
            return (int)i;
        }
        rsa = rsa < 0 ? (int)i : rsa;
    }
    return rsa >= 0 ? rsa : first;
}

uint32_t tls_served_choose(const struct tls_served *pairs, uint32_t pair_count,
                           const struct tls_wish *wish)
{
    bool is_meant[TLS_CERTIFICATES_MAX];
    enum match matches[TLS_CERTIFICATES_MAX], best = MATCH_NONE;

    ASSERT(pair_count >= 1 && pair_count <= TLS_CERTIFICATES_MAX);
    if (pair_count == 1) {
        return 0;
    }
    char *name = wish->server_name == NULL
                     ? NULL
                     : name_plain((const uint8_t *)wish->server_name, strlen(wish->server_name));
    for (uint32_t i = 0; i < pair_count; i++) {
        matches[i] = name == NULL ? MATCH_NONE : served_match(&pairs[i], name);
        best = matches[i] > best ? matches[i] : best;
    }
    free(name);
    for (uint32_t i = 0; i < pair_count; i++) {
        is_meant[i] = best == MATCH_NONE ? shares_a_name(&pairs[0], &pairs[i]) : matches[i] == best;
    }
    int index = best_kind(pairs, pair_count, is_meant, wish);
    return index < 0 ? 0 : (uint32_t)index;
}
