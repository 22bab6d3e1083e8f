/*
 * RFC 5802, section 7: the grammar, read strictly; section 3: the proof.
 *
 * A user that there is not gets a salt like others and fails at the proof, as a wrong password does.
 */
#include "core/access/scram.h"

#include "core/base/text.h"
#include "core/base/utf8.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/mem.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

#include <stdio.h>
#include <stdlib.h>

enum {
    KEY_BYTES = 32,
    NONCE_BYTES = 18,        /* of ours, before base64: 24 letters */
    NONCE_LETTERS_MAX = 512, /* of the client's */
    OUR_LETTERS_MAX = 64,
};

struct scram {
    struct scram_secret secret;
    bool is_over;
    /* As sent, for the proof: client-first-bare "," server-first. */
    char auth[SCRAM_MESSAGE_MAX * 2 + 1];
    size_t auth_bytes;
    char binding[TEXT_BASE64_BYTES(SCRAM_MESSAGE_MAX)]; /* the gs2 header in base64 */
    size_t binding_bytes;
    char nonce[NONCE_LETTERS_MAX + OUR_LETTERS_MAX];
    size_t nonce_bytes;
    uint8_t name[SCRAM_NAME_MAX];
    size_t name_bytes;
};

/* ---- the grammar ----------------------------------------------------------------------------- */

/* Up to the next comma, which is taken too. ERR_CREDENTIALS: nothing is left. */
static enum err next_attribute(struct slice *rest, struct slice *out)
{
    if (rest->data == NULL) {
        return ERR_CREDENTIALS;
    }
    size_t end = slice_find(*rest, ',');
    *out = slice_head(*rest, end);
    *rest = end < rest->count ? slice_skip(*rest, end + 1) : (struct slice){NULL, 0};
    return OK;
}

static bool is_attribute(struct slice attribute, char name)
{
    return attribute.count >= 3 && attribute.data[0] == (uint8_t)name && attribute.data[1] == '=';
}

/* The value of an attribute that has to be this one. */
static enum err value_of(struct slice attribute, char name, struct slice *value)
{
    if (!is_attribute(attribute, name)) {
        return ERR_CREDENTIALS;
    }
    *value = slice_skip(attribute, 2);
    return OK;
}

static bool is_letter(uint8_t byte)
{
    return (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z');
}

/* The rest may be extensions that we have not heard of: they are passed over, but for m=, which says
 * that it has to be understood. */
static enum err check_extension(struct slice attribute)
{
    bool is_one = attribute.count >= 3 && is_letter(attribute.data[0]) && attribute.data[1] == '=';
    return is_one && attribute.data[0] != 'm' ? OK : ERR_CREDENTIALS;
}

/* saslname: =2C is a comma, =3D an equals sign; ASCII as SASLprep leaves it: no control characters. */
static enum err read_name(struct slice text, uint8_t out[SCRAM_NAME_MAX], size_t *count)
{
    size_t written = 0;
    for (size_t i = 0; i < text.count; i++) {
        uint8_t byte = text.data[i];
        if (byte == '=') {
            struct slice escape = slice_skip(text, i);
            bool is_comma = slice_starts_with(escape, slice_text("=2C"));
            if (!is_comma && !slice_starts_with(escape, slice_text("=3D"))) {
                return ERR_CREDENTIALS;
            }
            byte = is_comma ? ',' : '=';
            i += 2;
        }
        if (byte < ' ' || byte == 0x7F || written == SCRAM_NAME_MAX) {
            return ERR_CREDENTIALS;
        }
        out[written++] = byte;
    }
    if (written == 0 || !utf8_is_valid(slice_of(out, written))) {
        return ERR_CREDENTIALS;
    }
    *count = written;
    return OK;
}

static enum err check_nonce(struct slice nonce)
{
    if (nonce.count == 0 || nonce.count > NONCE_LETTERS_MAX) {
        return ERR_CREDENTIALS;
    }
    for (size_t i = 0; i < nonce.count; i++) {
        if (nonce.data[i] < 0x21 || nonce.data[i] > 0x7E) { /* a comma has ended it before */
            return ERR_CREDENTIALS;
        }
    }
    return OK;
}

/* "n,," "y,," "n,a=name,": no channel binding (p=), and nobody speaks for another. */
static enum err read_header(struct slice *rest, struct slice *authzid)
{
    struct slice flag, identity;
    TRY(next_attribute(rest, &flag));
    TRY(next_attribute(rest, &identity));
    if ((!slice_is(flag, "n") && !slice_is(flag, "y")) || rest->data == NULL) {
        return ERR_CREDENTIALS;
    }
    *authzid = (struct slice){NULL, 0};
    return identity.count == 0 ? OK : value_of(identity, 'a', authzid);
}

struct client_first {
    struct slice header, authzid, bare, name, nonce;
};

/* gs2-header client-first-message-bare */
static enum err read_client_first(struct slice message, struct client_first *out)
{
    struct slice rest = message, attribute;
    TRY(read_header(&rest, &out->authzid));
    out->header = slice_head(message, message.count - rest.count);
    out->bare = rest;
    TRY(next_attribute(&rest, &attribute));
    TRY(value_of(attribute, 'n', &out->name));
    TRY(next_attribute(&rest, &attribute));
    TRY(value_of(attribute, 'r', &out->nonce));
    TRY(check_nonce(out->nonce));
    while (rest.data != NULL) {
        TRY(next_attribute(&rest, &attribute));
        TRY(check_extension(attribute));
    }
    return OK;
}

struct client_final {
    struct slice binding, nonce, without_proof;
    uint8_t proof[KEY_BYTES];
};

/* c= r= [extensions] p= */
static enum err read_client_final(struct slice message, struct client_final *out)
{
    struct slice rest = message, attribute, text;
    uint8_t proof[TEXT_BASE64_READ_BYTES(TEXT_BASE64_BYTES(KEY_BYTES))];
    size_t proof_bytes;
    TRY(next_attribute(&rest, &attribute));
    TRY(value_of(attribute, 'c', &out->binding));
    TRY(next_attribute(&rest, &attribute));
    TRY(value_of(attribute, 'r', &out->nonce));
    for (;;) {
        TRY(next_attribute(&rest, &attribute));
        if (is_attribute(attribute, 'p')) {
            break;
        }
        TRY(check_extension(attribute));
    }
    text = slice_skip(attribute, 2);
    if (rest.data != NULL || text.count != TEXT_BASE64_BYTES(KEY_BYTES) ||
        text_read_base64(TEXT_BASE64, text, proof, &proof_bytes) != OK ||
        proof_bytes != KEY_BYTES) {
        return ERR_CREDENTIALS;
    }
    memcpy(out->proof, proof, KEY_BYTES);
    out->without_proof = slice_head(message, message.count - attribute.count - 1);
    return OK;
}

/* ---- the first exchange ---------------------------------------------------------------------- */

static void auth_append(struct scram *scram, struct slice text)
{
    ASSERT(text.count <= sizeof(scram->auth) - scram->auth_bytes);
    memcpy(scram->auth + scram->auth_bytes, text.data, text.count);
    scram->auth_bytes += text.count;
}

/* server-first-message: "r=" both nonces ",s=" salt ",i=" iterations. */
static void write_server_first(const struct scram *scram, char reply[SCRAM_MESSAGE_MAX],
                               uint32_t *reply_bytes)
{
    char salt[TEXT_BASE64_BYTES(sizeof(scram->secret.salt))];
    size_t salt_bytes = text_base64(TEXT_BASE64,
                                    slice_of(scram->secret.salt, scram->secret.salt_bytes), salt);
    int written = snprintf(reply, SCRAM_MESSAGE_MAX, "r=%.*s,s=%.*s,i=%u", (int)scram->nonce_bytes,
                           scram->nonce, (int)salt_bytes, salt, scram->secret.iterations);
    ASSERT(written > 0 && written < SCRAM_MESSAGE_MAX);
    *reply_bytes = (uint32_t)written;
}

static enum err begin(struct scram *scram, const struct passwords *passwords, struct slice message,
                      struct slice nonce)
{
    struct client_first first;
    if (message.count > SCRAM_MESSAGE_MAX) {
        return ERR_CREDENTIALS;
    }
    TRY(read_client_first(message, &first));
    TRY(read_name(first.name, scram->name, &scram->name_bytes));
    if (first.authzid.count > 0) {
        uint8_t other[SCRAM_NAME_MAX];
        size_t other_bytes;
        TRY(read_name(first.authzid, other, &other_bytes));
        if (!slice_equal(slice_of(other, other_bytes), scram_username(scram))) {
            return ERR_CREDENTIALS;
        }
    }
    scram->binding_bytes = text_base64(TEXT_BASE64, first.header, scram->binding);
    memcpy(scram->nonce, first.nonce.data, first.nonce.count);
    memcpy(scram->nonce + first.nonce.count, nonce.data, nonce.count);
    scram->nonce_bytes = first.nonce.count + nonce.count;
    passwords_scram(passwords, scram_username(scram), &scram->secret);
    auth_append(scram, first.bare);
    auth_append(scram, slice_text(","));
    return OK;
}

enum err scram_begin_with(const struct passwords *passwords, struct slice message,
                          struct slice nonce, struct scram **out, char reply[SCRAM_MESSAGE_MAX],
                          uint32_t *reply_bytes)
{
    ASSERT(nonce.count <= OUR_LETTERS_MAX);
    *reply_bytes = 0;
    struct scram *scram = calloc(1, sizeof(*scram));
    if (scram == NULL) {
        return ERR_NOMEM;
    }
    enum err err = begin(scram, passwords, message, nonce);
    if (err != OK) {
        scram_free(scram);
        return err;
    }
    write_server_first(scram, reply, reply_bytes);
    auth_append(scram, slice_of(reply, *reply_bytes));
    *out = scram;
    return ERR_MORE;
}

enum err scram_begin(const struct passwords *passwords, struct slice message, struct scram **out,
                     char reply[SCRAM_MESSAGE_MAX], uint32_t *reply_bytes)
{
    uint8_t random[NONCE_BYTES];
    char nonce[TEXT_BASE64_BYTES(NONCE_BYTES)];
    RAND_bytes(random, sizeof(random));
    size_t count = text_base64(TEXT_BASE64, slice_of(random, sizeof(random)), nonce);
    return scram_begin_with(passwords, message, slice_of(nonce, count), out, reply, reply_bytes);
}

/* ---- the proof ------------------------------------------------------------------------------- */

/* AuthMessage: all three messages, without the proof. */
static void sign(const struct scram *scram, const uint8_t key[KEY_BYTES],
                 struct slice without_proof, uint8_t out[KEY_BYTES])
{
    HMAC_CTX context;
    unsigned out_bytes;
    HMAC_CTX_init(&context);
    HMAC_Init_ex(&context, key, KEY_BYTES, EVP_sha256(), NULL);
    HMAC_Update(&context, (const uint8_t *)scram->auth, scram->auth_bytes);
    HMAC_Update(&context, (const uint8_t *)",", 1);
    HMAC_Update(&context, without_proof.data, without_proof.count);
    HMAC_Final(&context, out, &out_bytes);
    HMAC_CTX_cleanup(&context);
}

/* H(ClientProof XOR HMAC(StoredKey, AuthMessage)) == StoredKey */
static bool is_proven(const struct scram *scram, const struct client_final *final)
{
    uint8_t key[KEY_BYTES], digest[KEY_BYTES];
    sign(scram, scram->secret.stored_key, final->without_proof, key);
    for (int i = 0; i < KEY_BYTES; i++) {
        key[i] ^= final->proof[i];
    }
    SHA256(key, sizeof(key), digest);
    bool is_equal = CRYPTO_memcmp(digest, scram->secret.stored_key, KEY_BYTES) == 0;
    OPENSSL_cleanse(key, sizeof(key));
    return is_equal && scram->secret.is_known;
}

enum err scram_finish(struct scram *scram, struct slice message, char reply[SCRAM_MESSAGE_MAX],
                      uint32_t *reply_bytes)
{
    struct client_final final;
    uint8_t signature[KEY_BYTES];
    *reply_bytes = 0;
    if (scram->is_over || message.count > SCRAM_MESSAGE_MAX) {
        return ERR_CREDENTIALS;
    }
    scram->is_over = true;
    TRY(read_client_final(message, &final));
    if (!slice_equal(final.binding, slice_of(scram->binding, scram->binding_bytes)) ||
        !slice_equal(final.nonce, slice_of(scram->nonce, scram->nonce_bytes)) ||
        !is_proven(scram, &final)) {
        return ERR_CREDENTIALS;
    }
    sign(scram, scram->secret.server_key, final.without_proof, signature);
    memcpy(reply, "v=", 2);
    *reply_bytes = 2 +
                   (uint32_t)text_base64(TEXT_BASE64, slice_of(signature, KEY_BYTES), reply + 2);
    return OK;
}

struct slice scram_username(const struct scram *scram)
{
    return slice_of(scram->name, scram->name_bytes);
}

void scram_free(struct scram *scram)
{
    if (scram != NULL) {
        OPENSSL_cleanse(scram, sizeof(*scram));
        free(scram);
    }
}
