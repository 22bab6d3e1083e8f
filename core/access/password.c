/*
 * Doorman of BoringSSL and libargon2: hashes made, compared, and made up for nobody.
 *
 * Without an oracle. For a name that is not in the file everything happens that happens for one that
 * is and has another password. Of which kind and cost, the name itself decides, by a secret of the
 * file: each profile (the costs of a user's lines) as often as users have it, so that the time of an
 * answer says nothing, in files of several kinds too. The secret is made of a salt that nobody sees,
 * hence the same after a restart, after most edits, and on each node that has the file: a made-up
 * salt of SCRAM that changes where others stay would tell that nobody is behind it.
 */
#include "core/access/password.h"

#include "core/access/password_parts.h"
#include "core/base/text.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/mem.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

#include <argon2.h>
#include <stdio.h>

enum {
    NEW_SCRYPT_LOG_N = 14, /* 16 MiB */
    NEW_SCRYPT_R = 8,
    NEW_SALT_BYTES = 16,
    NEW_HASH_BYTES = 32,
    NEW_SCRAM_ITERATIONS = 15000, /* RFC 7677 wants 4096 at least; devices have to do it too */
};

static uint32_t new_scrypt_log_n = NEW_SCRYPT_LOG_N;
static uint32_t new_scram_iterations = NEW_SCRAM_ITERATIONS;

void password_cost_set(uint32_t scrypt_log_n, uint32_t scram_iterations)
{
    ASSERT(scrypt_log_n <= 16); /* PASSWORD_MEMORY_MAX */
    ASSERT(scram_iterations <= PASSWORD_ITERATIONS_MAX);
    new_scrypt_log_n = scrypt_log_n == 0 ? NEW_SCRYPT_LOG_N : scrypt_log_n;
    new_scram_iterations = scram_iterations == 0 ? NEW_SCRAM_ITERATIONS : scram_iterations;
}

/* ---- making a hash --------------------------------------------------------------------------- */

static enum err make_sha512(const uint8_t *salt, const struct password_cost *cost,
                            struct slice password, uint8_t out[64])
{
    SHA512_CTX context;
    SHA512_Init(&context);
    SHA512_Update(&context, password.data, password.count);
    SHA512_Update(&context, salt, cost->salt_bytes);
    SHA512_Final(out, &context);
    OPENSSL_cleanse(&context, sizeof(context));
    return OK;
}

static enum err make_pbkdf2(const uint8_t *salt, const struct password_cost *cost,
                            struct slice password, const EVP_MD *digest, uint8_t *out,
                            size_t out_bytes)
{
    return PKCS5_PBKDF2_HMAC((const char *)password.data, password.count, salt, cost->salt_bytes,
                             cost->numbers[0], digest, out_bytes, out)
               ? OK
               : ERR_NOMEM;
}

/* One thread, however many lanes: how many hashes are made at once is decided elsewhere. */
static enum err make_argon2id(const uint8_t *salt, const struct password_cost *cost,
                              struct slice password, uint8_t *out)
{
    uint8_t salt_copy[SALT_BYTES_MAX]; /* its interface has no const */
    memcpy(salt_copy, salt, cost->salt_bytes);
    argon2_context context = {.out = out,
                              .outlen = cost->hash_bytes,
                              .pwd = (uint8_t *)(uintptr_t)password.data,
                              .pwdlen = (uint32_t)password.count,
                              .salt = salt_copy,
                              .saltlen = cost->salt_bytes,
                              .m_cost = cost->numbers[0],
                              .t_cost = cost->numbers[1],
                              .lanes = cost->numbers[2],
                              .threads = 1,
                              .version = ARGON2_VERSION_13};
    int status = argon2_ctx(&context, Argon2_id);
    ASSERT(status == ARGON2_OK || status == ARGON2_MEMORY_ALLOCATION_ERROR);
    return status == ARGON2_OK ? OK : ERR_NOMEM;
}

static enum err make_scrypt(const uint8_t *salt, const struct password_cost *cost,
                            struct slice password, uint8_t *out)
{
    uint64_t n = UINT64_C(1) << cost->numbers[0], r = cost->numbers[1], p = cost->numbers[2];
    return EVP_PBE_scrypt((const char *)password.data, password.count, salt, cost->salt_bytes, n, r,
                          p, 128 * r * (n + p + 1), out, cost->hash_bytes)
               ? OK
               : ERR_NOMEM;
}

static void hmac_sha256(const uint8_t *key, size_t key_bytes, const char *text, uint8_t out[32])
{
    unsigned out_bytes;
    HMAC(EVP_sha256(), key, key_bytes, (const uint8_t *)text, strlen(text), out, &out_bytes);
}

/* StoredKey and ServerKey (RFC 5802, section 3). */
static enum err make_scram(const uint8_t *salt, const struct password_cost *cost,
                           struct slice password, uint8_t out[64])
{
    uint8_t salted[32], client_key[32];
    TRY(make_pbkdf2(salt, cost, password, EVP_sha256(), salted, sizeof(salted)));
    hmac_sha256(salted, sizeof(salted), "Client Key", client_key);
    SHA256(client_key, sizeof(client_key), out);
    hmac_sha256(salted, sizeof(salted), "Server Key", out + 32);
    OPENSSL_cleanse(salted, sizeof(salted));
    OPENSSL_cleanse(client_key, sizeof(client_key));
    return OK;
}

/* cost->hash_bytes of them. */
static enum err make_hash(const uint8_t *salt, const struct password_cost *cost,
                          struct slice password, uint8_t *out)
{
    if (password.data == NULL) {
        password = slice_text("");
    }
    switch ((enum password_kind)cost->kind) {
    case PASSWORD_SHA512:
        return make_sha512(salt, cost, password, out);
    case PASSWORD_PBKDF2:
        return make_pbkdf2(salt, cost, password, EVP_sha512(), out, 64);
    case PASSWORD_ARGON2ID:
        return make_argon2id(salt, cost, password, out);
    case PASSWORD_SCRYPT:
        return make_scrypt(salt, cost, password, out);
    case PASSWORD_SCRAM:
        return make_scram(salt, cost, password, out);
    case PASSWORD_KIND_COUNT:
        break;
    }
    ASSERT(!"a kind of hash");
    return ERR_INVALID;
}

/* ---- what is made up ------------------------------------------------------------------------- */

void password_secret_make(struct passwords *passwords)
{
    const struct password_entry *entry = passwords->private_salt;
    uint8_t digest[32];
    if (entry != NULL) {
        SHA256(entry_salt(entry), entry->cost.salt_bytes + entry->cost.hash_bytes,
               passwords->secret);
        return;
    }
    /* Salts of SCRAM are told to all, keys follow from a password and the salt: no user knows the
     * keys of all. In no order, as the map has none. */
    for (uint64_t cursor = 0; (entry = map_next(passwords->users, &cursor)) != NULL;) {
        SHA256(entry->bytes, entry->name_bytes + entry->cost.salt_bytes + entry->cost.hash_bytes,
               digest);
        for (size_t i = 0; i < sizeof(digest); i++) {
            passwords->secret[i] ^= digest[i];
        }
    }
    OPENSSL_cleanse(digest, sizeof(digest));
}

void password_secret_forget(struct passwords *passwords)
{
    OPENSSL_cleanse(passwords->secret, sizeof(passwords->secret));
}

/* 64 bytes that belong to this name and this purpose. */
static void make_up(const struct passwords *passwords, uint8_t purpose, struct slice username,
                    uint8_t out[64])
{
    HMAC_CTX context;
    unsigned out_bytes;
    HMAC_CTX_init(&context);
    HMAC_Init_ex(&context, passwords->secret, sizeof(passwords->secret), EVP_sha512(), NULL);
    HMAC_Update(&context, &purpose, 1);
    HMAC_Update(&context, username.data, username.count);
    HMAC_Final(&context, out, &out_bytes);
    HMAC_CTX_cleanup(&context);
}

enum { FOR_PROFILE, FOR_SALT, FOR_KEYS };

static const struct password_profile *made_up_profile(const struct passwords *passwords,
                                                      enum password_kind kind,
                                                      struct slice username)
{
    uint8_t bytes[64];
    uint64_t point;
    make_up(passwords, FOR_PROFILE, username, bytes);
    memcpy(&point, bytes, sizeof(point));
    return password_profile_pick(passwords, kind, point);
}

/* ---- a password ------------------------------------------------------------------------------ */

/* OK: it is the one. ERR_CREDENTIALS, ERR_NOMEM. */
static enum err compare(const uint8_t *salt, const uint8_t *hash, const struct password_cost *cost,
                        struct slice password)
{
    uint8_t made[HASH_BYTES_MAX];
    TRY(make_hash(salt, cost, password, made));
    bool is_equal = CRYPTO_memcmp(made, hash, cost->hash_bytes) == 0;
    OPENSSL_cleanse(made, sizeof(made));
    return is_equal ? OK : ERR_CREDENTIALS;
}

/* As long as a wrong password of a user takes. */
static enum err compare_with_nobody(const struct password_profile *profile, struct slice password)
{
    static const uint8_t nothing[64];
    for (uint32_t i = 0; profile != NULL && i < profile->cost_count; i++) {
        if (compare(nothing, nothing, &profile->costs[i], password) == ERR_NOMEM) {
            return ERR_NOMEM;
        }
    }
    return ERR_CREDENTIALS;
}

enum err password_check(const struct passwords *passwords, struct slice username,
                        struct slice password)
{
    const struct password_profile *profile = made_up_profile(passwords, PASSWORD_KIND_COUNT,
                                                             username);
    const struct password_entry *entry = map_get(passwords->users, username);
    enum err verdict = ERR_CREDENTIALS;
    if (entry == NULL) {
        return compare_with_nobody(profile, password);
    }
    for (; entry != NULL; entry = entry->next) {
        enum err err = compare(entry_salt(entry), entry_hash(entry), &entry->cost, password);
        if (err == OK) {
            return OK;
        }
        verdict = err == ERR_NOMEM ? err : verdict;
    }
    return verdict;
}

uint64_t passwords_stamp(const struct passwords *passwords, struct slice username)
{
    const struct password_entry *entry = map_get(passwords->users, username);
    uint64_t stamp = 0;
    for (; entry != NULL; entry = entry->next) {
        size_t bytes = (size_t)entry->name_bytes + entry->cost.salt_bytes + entry->cost.hash_bytes;
        uint64_t parts[3] = {
            stamp, hash_bytes(slice_of(entry->bytes, bytes)),
            hash_bytes(slice_of(entry->cost.numbers, sizeof(entry->cost.numbers)))};
        stamp = hash_bytes(slice_of(parts, sizeof(parts))) | 1;
    }
    return stamp;
}

/* ---- SCRAM ----------------------------------------------------------------------------------- */

static const struct password_entry *scram_entry(const struct passwords *passwords,
                                                struct slice username)
{
    const struct password_entry *entry = map_get(passwords->users, username);
    while (entry != NULL && entry->cost.kind != PASSWORD_SCRAM) {
        entry = entry->next;
    }
    return entry;
}

static void make_up_scram(const struct passwords *passwords, struct slice username,
                          struct scram_secret *out)
{
    const struct password_profile *profile = made_up_profile(passwords, PASSWORD_SCRAM, username);
    struct password_cost cost = {
        .salt_bytes = NEW_SALT_BYTES, .numbers = {NEW_SCRAM_ITERATIONS}, .kind = PASSWORD_SCRAM};
    uint8_t keys[64];
    if (profile != NULL) {
        cost = profile->costs[profile->cost_count - 1]; /* SCRAM is the last of the kinds */
        ASSERT(cost.kind == PASSWORD_SCRAM);
    }
    make_up(passwords, FOR_SALT, username, out->salt);
    make_up(passwords, FOR_KEYS, username, keys);
    memcpy(out->stored_key, keys, 32);
    memcpy(out->server_key, keys + 32, 32);
    out->salt_bytes = cost.salt_bytes;
    out->iterations = cost.numbers[0];
    out->is_known = false;
    OPENSSL_cleanse(keys, sizeof(keys));
}

void passwords_scram(const struct passwords *passwords, struct slice username,
                     struct scram_secret *out)
{
    const struct password_entry *entry = scram_entry(passwords, username);
    make_up_scram(passwords, username, out); /* for all, as it takes time */
    if (entry == NULL) {
        return;
    }
    memcpy(out->salt, entry_salt(entry), entry->cost.salt_bytes);
    memcpy(out->stored_key, entry_hash(entry), 32);
    memcpy(out->server_key, entry_hash(entry) + 32, 32);
    out->salt_bytes = entry->cost.salt_bytes;
    out->iterations = entry->cost.numbers[0];
    out->is_known = true;
}

/* ---- new lines ------------------------------------------------------------------------------- */

/* Base64 without padding, ended by NUL. */
static void write_bytes(const uint8_t *bytes, size_t count, char out[TEXT_BASE64_BYTES(64) + 1])
{
    size_t written = text_base64(TEXT_BASE64, slice_of(bytes, count), out);
    while (written > 0 && out[written - 1] == '=') {
        written--;
    }
    out[written] = '\0';
}

enum err password_line_make(enum password_kind kind, struct slice username, struct slice password,
                            char line[PASSWORD_LINE_MAX])
{
    uint8_t salt[NEW_SALT_BYTES], hash[HASH_BYTES_MAX];
    char why[WHY_BYTES], salt_text[TEXT_BASE64_BYTES(64) + 1];
    char first[TEXT_BASE64_BYTES(64) + 1], second[TEXT_BASE64_BYTES(64) + 1];
    bool is_scram = kind == PASSWORD_SCRAM;
    struct password_cost cost = {.kind = (uint8_t)kind,
                                 .salt_bytes = NEW_SALT_BYTES,
                                 .hash_bytes = is_scram ? 64 : NEW_HASH_BYTES};

    ASSERT(kind == PASSWORD_SCRYPT || is_scram);
    TRY(password_name_check(username, why));
    if (password.count == 0 || password.count > UINT16_MAX ||
        password.data[password.count - 1] == '\0') {
        return ERR_RANGE;
    }
    cost.numbers[0] = is_scram ? new_scram_iterations : new_scrypt_log_n;
    cost.numbers[1] = is_scram ? 0 : NEW_SCRYPT_R;
    cost.numbers[2] = is_scram ? 0 : 1;
    RAND_bytes(salt, sizeof(salt));
    TRY(make_hash(salt, &cost, password, hash));
    write_bytes(salt, sizeof(salt), salt_text);
    write_bytes(hash, 32, first);
    memcpy(line, username.data, username.count);
    char *rest = line + username.count;
    size_t rest_bytes = PASSWORD_LINE_MAX - username.count;
    if (is_scram) {
        write_bytes(hash + 32, 32, second);
        snprintf(rest, rest_bytes, ":$scram-sha-256$%u$%s$%s$%s", cost.numbers[0], salt_text, first,
                 second);
    } else {
        snprintf(rest, rest_bytes, ":$scrypt$ln=%u,r=%u,p=%u$%s$%s", cost.numbers[0],
                 cost.numbers[1], cost.numbers[2], salt_text, first);
    }
    OPENSSL_cleanse(hash, sizeof(hash));
    return OK;
}
