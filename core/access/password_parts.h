/*
 * password_parts: what the files behind password.h share. Nobody else includes this but tests.
 *
 *     password.c         doorman of BoringSSL and libargon2: makes hashes, compares them
 *     password_file.c    a file: its users, their lines, what they cost together
 *     password_line.c    one line: grammar and ceilings
 *
 * Floor:  access; included by password*.c, and by tests.
 */
#ifndef TERN_ACCESS_PASSWORD_PARTS_H
#define TERN_ACCESS_PASSWORD_PARTS_H

#include "core/access/password.h"
#include "core/base/arena.h"
#include "core/base/map.h"

#include <stdatomic.h>

enum { SALT_BYTES_MAX = 64, HASH_BYTES_MAX = 64, HASH_BYTES_MIN = 16, PROFILES_MAX = 32 };

/* What checking a password against a line takes. The numbers by kind:
 * PBKDF2 and SCRAM: iterations; argon2id: memory in KiB, passes, lanes; scrypt: log2 N, r, p. */
struct password_cost {
    uint32_t numbers[3];
    uint8_t kind; /* enum password_kind */
    uint8_t salt_bytes, hash_bytes;
};

/* A line's hash. Of SCRAM: the stored key, then the server key. */
struct password_hash {
    struct password_cost cost;
    uint8_t salt[SALT_BYTES_MAX], hash[HASH_BYTES_MAX];
};

/* Ceilings; those of password.h for all but fuzzers, whose time would go into hashing. */
struct password_limits {
    uint64_t memory_bytes_max, iterations_max, passes_max, lanes_max, scrypt_cost_max;
};
extern const struct password_limits password_limits;

enum { WHY_BYTES = 256 };

/* U+FEFF: what some editors write before the first letter of a file. */
#define PASSWORD_BYTE_ORDER_MARK "\xEF\xBB\xBF"

/*
 * One line, without its newline. OK: name is borrowed from it. ERR_NOT_FOUND: a comment, or blank.
 * ERR_INVALID: why tells.
 */
enum err password_line_read(struct slice line, const struct password_limits *limits,
                            struct slice *name, struct password_hash *out, char why[WHY_BYTES]);

/* A line in memory. Salt and hash stand behind the name. */
struct password_entry {
    struct password_entry *next; /* of the same user, in the order of the file */
    struct password_cost cost;
    uint32_t line;
    uint16_t name_bytes;
    uint8_t bytes[];
};

static inline const uint8_t *entry_salt(const struct password_entry *entry)
{
    return entry->bytes + entry->name_bytes;
}

static inline const uint8_t *entry_hash(const struct password_entry *entry)
{
    return entry_salt(entry) + entry->cost.salt_bytes;
}

/* What a wrong password costs: the costs of a user's lines, in the order of their kinds. */
struct password_profile {
    struct password_cost costs[PASSWORD_KIND_COUNT];
    uint32_t cost_count, user_count;
};

struct passwords {
    _Atomic uint32_t refs;
    struct map *users; /* name -> first struct password_entry */
    struct arena *memory;
    const struct password_entry *private_salt; /* the first line whose salt is told to nobody */
    struct password_profile profiles[PROFILES_MAX];
    uint32_t profile_count;
    uint8_t secret[32]; /* of what is made up for users that there are not */
};

/* passwords_parse() under other ceilings. */
enum err passwords_parse_within(struct slice text, const struct password_limits *limits,
                                struct passwords **out, struct password_trouble *trouble);

/* Fills passwords->secret from what is in the file. In password.c. */
void password_secret_make(struct passwords *passwords);
void password_secret_forget(struct passwords *passwords);

/*
 * One of the profiles, each as likely as there are users that have it; point is any number, evenly
 * spread. Only of those with a line of that kind; PASSWORD_KIND_COUNT: of all. NULL: there is none.
 */
const struct password_profile *password_profile_pick(const struct passwords *passwords,
                                                     enum password_kind kind, uint64_t point);

#endif
