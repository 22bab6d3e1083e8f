#include "cluster/ca.h"

#include "cluster/link.h"
#include "core/base/assert.h"

#include <openssl/bio.h>
#include <openssl/bytestring.h>
#include <openssl/ec_key.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/mem.h>
#include <openssl/nid.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <stdarg.h>
#include <stdio.h>

enum {
    DAY_S = 24 * 3600,
    EARLY_S = 3600, /* valid from before now: clocks of nodes differ */
    SERIAL_BYTES = 16,
    KEY_USAGE_SIGN = 0, /* bits of KeyUsage: RFC 5280, 4.2.1.3 */
    KEY_USAGE_CERTIFICATES = 5,
    KEY_USAGE_LISTS = 6,
};

static enum err say(struct tls_trouble *trouble, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static enum err say(struct tls_trouble *trouble, const char *format, ...)
{
    va_list values;

    va_start(values, format);
    vsnprintf(trouble->text, sizeof(trouble->text), format, values);
    va_end(values);
    return ERR_INVALID;
}

/* ---- pieces of a certificate -------------------------------------------------------------------- */

static EVP_PKEY *key_new(void)
{
    EVP_PKEY *key = EVP_PKEY_new();
    EC_KEY *ec = EC_KEY_new_by_curve_name(NID_X9_62_prime256v1);

    if (key != NULL && ec != NULL && EC_KEY_generate_key(ec) == 1 &&
        EVP_PKEY_set1_EC_KEY(key, ec) == 1) {
        EC_KEY_free(ec);
        return key;
    }
    EC_KEY_free(ec);
    EVP_PKEY_free(key);
    return NULL;
}

static bool serial_set(X509 *x509)
{
    uint8_t bytes[SERIAL_BYTES];
    BIGNUM *number = RAND_bytes(bytes, sizeof(bytes)) == 1 ? BN_bin2bn(bytes, sizeof(bytes), NULL)
                                                           : NULL;
    bool is_good = number != NULL &&
                   BN_to_ASN1_INTEGER(number, X509_get_serialNumber(x509)) != NULL;

    BN_free(number);
    return is_good;
}

static bool subject_set(X509 *x509, const char *organisation, const char *name)
{
    X509_NAME *subject = X509_get_subject_name(x509);
    return X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_ASC, (const uint8_t *)organisation, -1,
                                      -1, 0) == 1 &&
           X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const uint8_t *)name, -1, -1,
                                      0) == 1;
}

static bool constraints_add(X509 *x509, bool is_authority)
{
    BASIC_CONSTRAINTS *constraints = BASIC_CONSTRAINTS_new();
    bool is_good = constraints != NULL;

    if (is_good && is_authority) {
        constraints->ca = 0xff;
        constraints->pathlen = ASN1_INTEGER_new(); /* 0: it signs nodes, and no further CA */
        is_good = constraints->pathlen != NULL && ASN1_INTEGER_set(constraints->pathlen, 0) == 1;
    }
    is_good = is_good && X509_add1_ext_i2d(x509, NID_basic_constraints, constraints, 1, 0) == 1;
    BASIC_CONSTRAINTS_free(constraints);
    return is_good;
}

static bool usage_add(X509 *x509, bool is_authority)
{
    ASN1_BIT_STRING *bits = ASN1_BIT_STRING_new();
    bool is_good = bits != NULL;

    if (is_authority) {
        is_good = is_good && ASN1_BIT_STRING_set_bit(bits, KEY_USAGE_CERTIFICATES, 1) == 1 &&
                  ASN1_BIT_STRING_set_bit(bits, KEY_USAGE_LISTS, 1) == 1;
    } else {
        is_good = is_good && ASN1_BIT_STRING_set_bit(bits, KEY_USAGE_SIGN, 1) == 1;
    }
    is_good = is_good && X509_add1_ext_i2d(x509, NID_key_usage, bits, 1, 0) == 1;
    ASN1_BIT_STRING_free(bits);
    return is_good;
}

/* Both ends of a link. */
static bool purposes_add(X509 *x509)
{
    EXTENDED_KEY_USAGE *purposes = sk_ASN1_OBJECT_new_null();
    bool is_good = purposes != NULL &&
                   sk_ASN1_OBJECT_push(purposes, OBJ_nid2obj(NID_server_auth)) != 0 &&
                   sk_ASN1_OBJECT_push(purposes, OBJ_nid2obj(NID_client_auth)) != 0 &&
                   X509_add1_ext_i2d(x509, NID_ext_key_usage, purposes, 0, 0) == 1;

    sk_ASN1_OBJECT_free(purposes); /* the objects are constants */
    return is_good;
}

/* By which keys the two are found to belong together: RFC 5280, 4.2.1.1 and 4.2.1.2. */
static bool key_ids_add(X509 *x509, const X509 *authority)
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    unsigned count = 0;
    ASN1_OCTET_STRING *own = ASN1_OCTET_STRING_new();
    AUTHORITY_KEYID *theirs = AUTHORITY_KEYID_new();
    bool is_good = own != NULL && theirs != NULL &&
                   X509_pubkey_digest(x509, EVP_sha1(), digest, &count) == 1 &&
                   ASN1_OCTET_STRING_set(own, digest, (int)count) == 1 &&
                   X509_add1_ext_i2d(x509, NID_subject_key_identifier, own, 0, 0) == 1;

    if (is_good) {
        theirs->keyid = ASN1_OCTET_STRING_new();
        is_good = theirs->keyid != NULL &&
                  X509_pubkey_digest(authority, EVP_sha1(), digest, &count) == 1 &&
                  ASN1_OCTET_STRING_set(theirs->keyid, digest, (int)count) == 1 &&
                  X509_add1_ext_i2d(x509, NID_authority_key_identifier, theirs, 0, 0) == 1;
    }
    ASN1_OCTET_STRING_free(own);
    AUTHORITY_KEYID_free(theirs);
    return is_good;
}

static bool name_push(GENERAL_NAMES *names, int type, const void *bytes, size_t count)
{
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_STRING *text = ASN1_STRING_type_new(type == GEN_IPADD ? V_ASN1_OCTET_STRING
                                                               : V_ASN1_IA5STRING);

    if (name != NULL && text != NULL && ASN1_STRING_set(text, bytes, (int)count) == 1) {
        GENERAL_NAME_set0_value(name, type, text);
        if (sk_GENERAL_NAME_push(names, name) != 0) {
            return true;
        }
        text = NULL;
    }
    ASN1_STRING_free(text);
    GENERAL_NAME_free(name);
    return false;
}

/* A name or an IP address; false: memory. */
static bool address_push(GENERAL_NAMES *names, const char *text)
{
    struct address address;

    if (address_parse(text, 0, &address) == OK && address.kind != ADDRESS_UNIX) {
        return name_push(names, GEN_IPADD, address.ip, address.kind == ADDRESS_IP4 ? 4 : 16);
    }
    return name_push(names, GEN_DNS, text, strlen(text));
}

static bool names_add(X509 *x509, const char *uri, const struct ca_wish *wish)
{
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    bool is_good = names != NULL && name_push(names, GEN_URI, uri, strlen(uri));

    for (uint32_t i = 0; is_good && i < wish->address_count; i++) {
        is_good = address_push(names, wish->addresses[i]);
    }
    is_good = is_good && X509_add1_ext_i2d(x509, NID_subject_alt_name, names, 0, 0) == 1;
    GENERAL_NAMES_free(names);
    return is_good;
}

static bool dates_set(X509 *x509, int64_t from_s, int64_t until_s)
{
    return ASN1_TIME_set(X509_getm_notBefore(x509), from_s) != NULL &&
           ASN1_TIME_set(X509_getm_notAfter(x509), until_s) != NULL;
}

static bool time_read(const ASN1_TIME *time, int64_t *out_s)
{
    ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);
    int days, seconds;
    bool is_good = epoch != NULL && ASN1_TIME_diff(&days, &seconds, epoch, time) == 1;

    ASN1_TIME_free(epoch);
    if (is_good) {
        *out_s = (int64_t)days * DAY_S + seconds;
    }
    return is_good;
}

/* ---- PEM ---------------------------------------------------------------------------------------- */

static bool take_text(BIO *bio, struct buf *out)
{
    const uint8_t *bytes;
    size_t count;
    bool is_good = BIO_mem_contents(bio, &bytes, &count) == 1 &&
                   buf_append(out, slice_of(bytes, count)) == OK;

    BIO_free(bio); /* which wipes what it frees */
    return is_good;
}

static bool pair_write(const X509 *x509, const EVP_PKEY *key, struct ca_pair *out)
{
    BIO *certificate = BIO_new(BIO_s_mem()), *secret = BIO_new(BIO_s_mem());
    bool is_good = certificate != NULL && secret != NULL &&
                   PEM_write_bio_X509(certificate, (X509 *)x509) == 1 &&
                   PEM_write_bio_PKCS8PrivateKey(secret, (EVP_PKEY *)key, NULL, NULL, 0, NULL,
                                                 NULL) == 1;

    if (!is_good) {
        BIO_free(certificate);
        BIO_free(secret);
        return false;
    }
    is_good = take_text(certificate, &out->certificate);
    return take_text(secret, &out->key) && is_good;
}

static X509 *certificate_read(struct slice pem)
{
    BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.count);
    X509 *x509 = bio == NULL ? NULL : PEM_read_bio_X509(bio, NULL, NULL, NULL);

    BIO_free(bio);
    return x509;
}

static int no_password(char *out, int count_max, int is_writing, void *owner)
{
    (void)out;
    (void)count_max;
    (void)is_writing;
    (void)owner;
    return -1; /* it is not asked for at a terminal */
}

static EVP_PKEY *key_read(struct slice pem)
{
    BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.count);
    EVP_PKEY *key = bio == NULL ? NULL : PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);

    BIO_free(bio);
    return key;
}

void ca_wipe(struct ca_pair *pair)
{
    struct buf *bufs[] = {&pair->certificate, &pair->key};

    for (uint32_t i = 0; i < 2; i++) {
        if (bufs[i]->data != NULL) {
            OPENSSL_cleanse(bufs[i]->data, bufs[i]->capacity);
        }
        buf_deinit(bufs[i]);
    }
}

/* ---- the CA ------------------------------------------------------------------------------------- */

enum err ca_create(const char *name, int64_t now_s, struct ca_pair *out)
{
    ASSERT(link_name_is_valid(slice_text(name)));
    EVP_PKEY *key = key_new();
    X509 *x509 = X509_new();
    bool is_good = key != NULL && x509 != NULL && X509_set_version(x509, X509_VERSION_3) == 1 &&
                   serial_set(x509) && subject_set(x509, "Tern cluster", name) &&
                   X509_set_issuer_name(x509, X509_get_subject_name(x509)) == 1 &&
                   X509_set_pubkey(x509, key) == 1 &&
                   dates_set(x509, now_s - EARLY_S, now_s + (int64_t)CA_DAYS_MAX * DAY_S) &&
                   constraints_add(x509, true) && usage_add(x509, true) &&
                   key_ids_add(x509, x509) && X509_sign(x509, key, EVP_sha256()) > 0 &&
                   pair_write(x509, key, out);

    X509_free(x509);
    EVP_PKEY_free(key);
    ERR_clear_error();
    return is_good ? OK : ERR_NOMEM;
}

static bool id_make(const X509 *x509, uint8_t id[LINK_CLUSTER_BYTES])
{
    uint8_t *der = NULL, digest[SHA256_DIGEST_LENGTH];
    int count = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x509), &der);

    if (count <= 0) {
        return false;
    }
    SHA256(der, (size_t)count, digest);
    OPENSSL_free(der);
    memcpy(id, digest, LINK_CLUSTER_BYTES);
    return true;
}

static const char no_certificate[] = "it holds no certificate (PEM): is it the right file?";

static enum err cluster_read(const X509 *x509, struct ca_cluster *out, struct tls_trouble *trouble)
{
    char name[LINK_NAME_MAX + 2] = "";
    int count = X509_NAME_get_text_by_NID(X509_get_subject_name(x509), NID_commonName, name,
                                          sizeof(name));

    if (count < 0 || !link_name_is_valid(slice_of(name, (size_t)count))) {
        return say(trouble,
                   "its common name is no name of a cluster (letters, digits, . - _, at "
                   "most %d): is it the file that ternctl cluster init made?",
                   LINK_NAME_MAX);
    }
    memcpy(out->name, name, (size_t)count + 1);
    return id_make(x509, out->id) ? OK : say(trouble, "its key cannot be read: copy it again");
}

enum err ca_read(struct slice certificate, struct ca_cluster *out, struct tls_trouble *trouble)
{
    ERR_clear_error();
    X509 *x509 = certificate_read(certificate);
    enum err err = x509 == NULL ? say(trouble, "%s", no_certificate)
                                : cluster_read(x509, out, trouble);

    X509_free(x509);
    ERR_clear_error();
    return err;
}

enum err ca_id(struct slice certificate, uint8_t id[LINK_CLUSTER_BYTES],
               struct tls_trouble *trouble)
{
    ERR_clear_error();
    X509 *x509 = certificate_read(certificate);
    enum err err = x509 != NULL && id_make(x509, id) ? OK : say(trouble, "%s", no_certificate);

    X509_free(x509);
    ERR_clear_error();
    return err;
}

/* ---- a node ------------------------------------------------------------------------------------- */

static enum err wish_check(const struct ca_wish *wish, struct tls_trouble *trouble)
{
    for (uint32_t i = 0; i < wish->address_count; i++) {
        struct address address;
        const char *text = wish->addresses[i];
        bool is_ip = address_parse(text, 0, &address) == OK && address.kind != ADDRESS_UNIX &&
                     text[0] != '*';
        if (!is_ip && !link_name_is_valid(slice_text(text))) {
            return say(trouble,
                       "address \"%.80s\": it is no host name and no IP address: write it "
                       "without a port",
                       text);
        }
    }
    return OK;
}

static enum err authority_check(const X509 *x509, const EVP_PKEY *key, int64_t now_s,
                                int64_t *until_s, struct tls_trouble *trouble)
{
    if (x509 == NULL || key == NULL) {
        return say(trouble,
                   "the CA's %s cannot be read: copy the file that ternctl cluster init made",
                   x509 == NULL ? "certificate" : "key");
    }
    if (X509_check_private_key((X509 *)x509, key) != 1) {
        return say(trouble,
                   "the CA's key is not that of its certificate: copy both from one place");
    }
    if (X509_check_ca((X509 *)x509) != 1) {
        return say(trouble,
                   "the certificate is none of a CA: name the folder of ternctl cluster init");
    }
    if (!time_read(X509_get0_notAfter(x509), until_s) || *until_s <= now_s) {
        return say(trouble, "the CA's certificate has expired: make a new one, and certificates of "
                            "all nodes");
    }
    return OK;
}

static bool node_make(const X509 *authority, EVP_PKEY *signer, const struct ca_cluster *cluster,
                      const struct ca_wish *wish, int64_t now_s, int64_t until_s,
                      struct ca_pair *out)
{
    char uri[LINK_URI_MAX + 1];
    EVP_PKEY *key = key_new();
    X509 *x509 = X509_new();

    snprintf(uri, sizeof(uri), "tern://%s/%s", cluster->name, wish->node);
    bool is_good = key != NULL && x509 != NULL && X509_set_version(x509, X509_VERSION_3) == 1 &&
                   serial_set(x509) && subject_set(x509, cluster->name, wish->node) &&
                   X509_set_issuer_name(x509, X509_get_subject_name(authority)) == 1 &&
                   X509_set_pubkey(x509, key) == 1 && dates_set(x509, now_s - EARLY_S, until_s) &&
                   constraints_add(x509, false) && usage_add(x509, false) && purposes_add(x509) &&
                   names_add(x509, uri, wish) && key_ids_add(x509, authority) &&
                   X509_sign(x509, signer, EVP_sha256()) > 0 && pair_write(x509, key, out);
    X509_free(x509);
    EVP_PKEY_free(key);
    return is_good;
}

enum err ca_issue(struct slice certificate, struct slice key, const struct ca_wish *wish,
                  int64_t now_s, struct ca_pair *out, int64_t *until_s, struct tls_trouble *trouble)
{
    ASSERT(link_name_is_valid(slice_text(wish->node)));
    ASSERT(wish->address_count <= CA_ADDRESSES_MAX && wish->days <= CA_DAYS_MAX);
    ERR_clear_error();
    X509 *authority = certificate_read(certificate);
    EVP_PKEY *signer = key_read(key);
    int64_t end_s = 0, wanted_s = now_s + (int64_t)wish->days * DAY_S;
    struct ca_cluster cluster;
    enum err err = wish_check(wish, trouble);

    err = err == OK ? authority_check(authority, signer, now_s, &end_s, trouble) : err;
    err = err == OK ? cluster_read(authority, &cluster, trouble) : err;
    if (err == OK) {
        *until_s = wanted_s < end_s ? wanted_s : end_s;
        err = node_make(authority, signer, &cluster, wish, now_s, *until_s, out) ? OK : ERR_NOMEM;
    }
    X509_free(authority);
    EVP_PKEY_free(signer);
    ERR_clear_error();
    return err;
}
