/*
 * password: who knows which secret; mosquitto's password files as they are, and our own.
 *
 *     alice:$6$SALT$HASH                          SHA-512, mosquitto 1.x
 *     alice:$7$ITERATIONS$SALT$HASH               PBKDF2-SHA512, mosquitto 2.0
 *     alice:$argon2id$v=19$m=..,t=..,p=..$SALT$HASH     mosquitto 2.1
 *     alice:$scrypt$ln=..,r=..,p=..$SALT$HASH     ours: what `ternctl user add` writes
 *     alice:$scram-sha-256$ITERATIONS$SALT$STORED_KEY$SERVER_KEY   for SCRAM; a password works too
 *
 * A user may have several lines, of different kinds: any of them lets the password in.
 *
 * Floor:  access.
 * Thread: immutable; references, and checks too, by any thread.
 * Memory: heap, references. What a check allocates is bounded by PASSWORD_MEMORY_MAX.
 *
 * A check takes the same time whether the user exists or not, and compares in constant time: for a
 * name that is not there a hash is made as for one of the users, each kind and cost as often as it is
 * in the file.
 */
#ifndef TERN_ACCESS_PASSWORD_H
#define TERN_ACCESS_PASSWORD_H

#include "core/base/err.h"
#include "core/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

/* What a hash in a file may ask for; a line that asks for more is an error when the file is read. */
enum {
    PASSWORD_FILE_BYTES_MAX = 256 * 1024 * 1024, /* a million users need 130 MiB */
    PASSWORD_MEMORY_MAX = 64 * 1024 * 1024,      /* bytes, of one check */
    PASSWORD_ITERATIONS_MAX = 2000000,           /* of PBKDF2: 1.5 s of a worker */
    PASSWORD_ARGON2_PASSES_MAX = 16,
    PASSWORD_ARGON2_LANES_MAX = 16,
    PASSWORD_SCRYPT_COST_MAX = 1 << 22, /* N * r * p */
};

/* Named as mosquitto_passwd -H does where it knows them. SCRAM comes last. */
/* clang-format off */
#define PASSWORD_KINDS(X)                                         \
    /* kind              name             how a hash begins */    \
    X(PASSWORD_SHA512,   "sha512",        "$6$")                  \
    X(PASSWORD_PBKDF2,   "sha512-pbkdf2", "$7$")                  \
    X(PASSWORD_ARGON2ID, "argon2id",      "$argon2id$")           \
    X(PASSWORD_SCRYPT,   "scrypt",        "$scrypt$")             \
    X(PASSWORD_SCRAM,    "scram-sha-256", "$scram-sha-256$")
/* clang-format on */

enum password_kind {
#define PASSWORD_KIND_NAME(kind, name, prefix) kind,
    PASSWORD_KINDS(PASSWORD_KIND_NAME)
#undef PASSWORD_KIND_NAME
        PASSWORD_KIND_COUNT
};

struct passwords;

struct password_trouble {
    uint32_t line; /* 0: not of a line */
    char text[256];
};

/* Read a file's text; borrowed for the call. Not one line may be wrong. ERR_INVALID, ERR_NOMEM. */
enum err passwords_parse(struct slice text, struct passwords **out,
                         struct password_trouble *trouble);
struct passwords *passwords_ref(struct passwords *passwords);
void passwords_unref(struct passwords *passwords);           /* accepts NULL */
uint32_t passwords_count(const struct passwords *passwords); /* users */

/*
 * Is this the user's password? Slow (milliseconds), for a worker's thread. ERR_CREDENTIALS: wrong,
 * or there is no such user; ERR_NOMEM.
 */
enum err password_check(const struct passwords *passwords, struct slice username,
                        struct slice password);

/*
 * Tells what the file says of a user from what another one says: the same number as long as his lines
 * are the same. 0: there is no such user. It tells nothing of his hashes to who cannot read them.
 */
uint64_t passwords_stamp(const struct passwords *passwords, struct slice username);

/* What SCRAM needs to know of a user (RFC 5802, section 3). */
struct scram_secret {
    uint8_t salt[64], stored_key[32], server_key[32];
    uint32_t salt_bytes, iterations;
    bool is_known; /* false: made up, the same at every try, so that nobody learns who exists */
};
void passwords_scram(const struct passwords *passwords, struct slice username,
                     struct scram_secret *out);

/* ---- lines, for `ternctl user` --------------------------------------------------------------- */

enum { PASSWORD_LINE_MAX = 65535 + 512 };

/*
 * "alice:$scrypt$..." with a fresh salt, without a newline, ended by NUL. kind: PASSWORD_SCRYPT or
 * PASSWORD_SCRAM. ERR_INVALID: password_name_check() says no; ERR_RANGE: the password is empty,
 * longer than 65,535 bytes, or ends in NUL, which HMAC cannot tell from one without; ERR_NOMEM.
 */
enum err password_line_make(enum password_kind kind, struct slice username, struct slice password,
                            char line[PASSWORD_LINE_MAX]);

/*
 * May a file have this name? ERR_INVALID: it is empty or too long, no UTF-8, has a colon or control
 * characters, blanks around it, or a # before it; why tells.
 */
enum err password_name_check(struct slice username, char why[256]);

/* The name before the colon; borrowed. false: the line is blank, a comment, or has no colon. */
bool password_line_name(struct slice line, struct slice *name);

/* What the line has behind the colon; PASSWORD_KIND_COUNT: nothing that we can check. */
enum password_kind password_line_kind(struct slice line);
const char *password_kind_name(enum password_kind kind); /* "scrypt" */

/*
 * The cost of new hashes; 0: the default, 14 and 15,000. Not while lines are made. scrypt takes
 * 2^scrypt_log_n KiB and, on one core of 2026, 2^scrypt_log_n * 3 us.
 */
void password_cost_set(uint32_t scrypt_log_n, uint32_t scram_iterations);

#endif
