/*
 * One line of a password file: NAME:$KIND$...
 *
 * Blanks around name and hash are not looked at, as in mosquitto; what is wrong is an error here,
 * where mosquitto leaves the user out and goes on. No text of ours repeats what stands behind the
 * colon: it may be a password.
 */
#include "core/access/password_parts.h"
#include "core/base/text.h"
#include "core/base/utf8.h"

#include <stdio.h>

const struct password_limits password_limits = {
    .memory_bytes_max = PASSWORD_MEMORY_MAX,
    .iterations_max = PASSWORD_ITERATIONS_MAX,
    .passes_max = PASSWORD_ARGON2_PASSES_MAX,
    .lanes_max = PASSWORD_ARGON2_LANES_MAX,
    .scrypt_cost_max = PASSWORD_SCRYPT_COST_MAX,
};

static const struct {
    const char *name;
    struct slice prefix;
} kinds[PASSWORD_KIND_COUNT] = {
#define PASSWORD_KIND_ROW(kind, name, prefix) [kind] = {name, SLICE(prefix)},
    PASSWORD_KINDS(PASSWORD_KIND_ROW)
#undef PASSWORD_KIND_ROW
};

#define MAKE_A_NEW_ONE "make a new one with `ternctl user add`"

/* ---- name and hash --------------------------------------------------------------------------- */

static bool is_blank(uint8_t byte)
{
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

static struct slice trim(struct slice text)
{
    while (text.count > 0 && is_blank(text.data[0])) {
        text = slice_skip(text, 1);
    }
    while (text.count > 0 && is_blank(text.data[text.count - 1])) {
        text.count--;
    }
    return text;
}

bool password_line_name(struct slice line, struct slice *name)
{
    line = trim(line);
    size_t colon = slice_find(line, ':');
    if (colon == line.count || line.data[0] == '#') {
        return false;
    }
    *name = trim(slice_head(line, colon));
    return true;
}

/* Of a line that has a colon. */
static enum password_kind kind_of(struct slice line, struct slice *rest)
{
    *rest = trim(slice_skip(line, slice_find(line, ':') + 1));
    for (int kind = 0; kind < PASSWORD_KIND_COUNT; kind++) {
        if (slice_starts_with(*rest, kinds[kind].prefix)) {
            *rest = slice_skip(*rest, kinds[kind].prefix.count);
            return (enum password_kind)kind;
        }
    }
    return PASSWORD_KIND_COUNT;
}

enum password_kind password_line_kind(struct slice line)
{
    struct slice rest;
    return slice_find(line, ':') == line.count ? PASSWORD_KIND_COUNT : kind_of(line, &rest);
}

const char *password_kind_name(enum password_kind kind)
{
    ASSERT(kind < PASSWORD_KIND_COUNT);
    return kinds[kind].name;
}

/* C0, DEL and C1 (U+0080 to U+009F). */
static bool has_control_characters(struct slice text)
{
    for (size_t i = 0; i < text.count; i++) {
        uint8_t byte = text.data[i];
        bool is_c1 = byte == 0xC2 && i + 1 < text.count && text.data[i + 1] < 0xA0;
        if (byte < ' ' || byte == 0x7F || is_c1) {
            return true;
        }
    }
    return false;
}

enum err password_name_check(struct slice name, char why[WHY_BYTES])
{
    const char *trouble = NULL;
    if (name.count == 0) {
        trouble = "it is empty: give one";
    } else if (name.count > UINT16_MAX) {
        trouble = "it is longer than MQTT allows: 65535 bytes at most";
    } else if (!utf8_is_valid(name)) {
        trouble = "it is no UTF-8: write it in UTF-8";
    } else if (slice_find(name, ':') < name.count) {
        trouble = "it has a colon, which ends the name in the file: take another";
    } else if (has_control_characters(name)) {
        trouble = "it has control characters: take another";
    } else if (trim(name).count != name.count) {
        trouble = "there are blanks around it, which the file cannot keep: take another";
    } else if (name.data[0] == '#') {
        trouble = "a line that begins with # is a comment: take another";
    } else if (slice_starts_with(name, slice_text(PASSWORD_BYTE_ORDER_MARK))) {
        trouble = "it begins with a byte order mark: take another";
    }
    snprintf(why, WHY_BYTES, "%s", trouble == NULL ? "" : trouble);
    return trouble == NULL ? OK : ERR_INVALID;
}

/* ---- pieces of a hash ------------------------------------------------------------------------ */

static enum err complain(char why[WHY_BYTES], const char *text)
{
    snprintf(why, WHY_BYTES, "%s", text);
    return ERR_INVALID;
}

/* Up to the next '$', which is taken too. */
static struct slice next_field(struct slice *rest)
{
    size_t end = slice_find(*rest, '$');
    struct slice field = slice_head(*rest, end);
    *rest = slice_skip(*rest, end < rest->count ? end + 1 : end);
    return field;
}

/* "m=65536,t=3,p=1": these keys, in this order. */
static bool read_parameters(struct slice text, const char *const keys[3], uint32_t numbers[3])
{
    for (int i = 0; i < 3; i++) {
        size_t end = slice_find(text, ',');
        struct slice part = slice_head(text, end), key = slice_text(keys[i]);
        uint64_t number;
        if (!slice_starts_with(part, key) ||
            text_read_u64(slice_skip(part, key.count), &number) != OK || number > UINT32_MAX ||
            (i == 2) != (end == text.count)) {
            return false;
        }
        numbers[i] = (uint32_t)number;
        text = slice_skip(text, i == 2 ? end : end + 1);
    }
    return true;
}

/* is_padded: as mosquitto writes it for $6$ and $7$; without padding elsewhere. out: 64 bytes. */
static bool read_bytes(struct slice text, bool is_padded, uint8_t out[64], size_t *count)
{
    char padded[TEXT_BASE64_BYTES(64)];
    uint8_t bytes[TEXT_BASE64_READ_BYTES(sizeof(padded))];
    size_t wanted = is_padded ? text.count : (text.count + 3) / 4 * 4;
    bool has_padding = text.count > 0 && text.data[text.count - 1] == '=';
    if (text.count == 0 || wanted > sizeof(padded) || (has_padding && !is_padded)) {
        return false;
    }
    memset(padded, '=', sizeof(padded));
    memcpy(padded, text.data, text.count);
    if (text_read_base64(TEXT_BASE64, slice_of(padded, wanted), bytes, count) != OK ||
        *count > 64) {
        return false;
    }
    memcpy(out, bytes, *count);
    return true;
}

/* SALT$HASH to the end of the line. hash_bytes: what the hash must have; 0: 16 to 64. */
static enum err read_salt_and_hash(struct slice rest, bool is_padded, size_t hash_bytes,
                                   struct password_hash *out, char why[WHY_BYTES])
{
    size_t salt_count, hash_count;
    if (!read_bytes(next_field(&rest), is_padded, out->salt, &salt_count)) {
        return complain(why, "the salt is damaged (base64, 1 to 64 bytes): " MAKE_A_NEW_ONE);
    }
    if (!read_bytes(rest, is_padded, out->hash, &hash_count) ||
        (hash_bytes == 0 ? hash_count < HASH_BYTES_MIN : hash_count != hash_bytes)) {
        return complain(why, "the hash is damaged (base64, of its kind's length, with nothing "
                             "behind it): " MAKE_A_NEW_ONE);
    }
    out->cost.salt_bytes = (uint8_t)salt_count;
    out->cost.hash_bytes = (uint8_t)hash_count;
    return OK;
}

static enum err check_ceiling(const char *what, uint64_t asked, uint64_t allowed,
                              char why[WHY_BYTES])
{
    if (asked == 0) {
        snprintf(why, WHY_BYTES, "the hash has 0 %s: " MAKE_A_NEW_ONE, what);
        return ERR_INVALID;
    }
    if (asked > allowed) {
        snprintf(why, WHY_BYTES,
                 "the hash asks for %llu %s a check and %llu are allowed: " MAKE_A_NEW_ONE,
                 (unsigned long long)asked, what, (unsigned long long)allowed);
        return ERR_INVALID;
    }
    return OK;
}

/* ---- the kinds ------------------------------------------------------------------------------- */

static enum err read_iterations(struct slice *rest, const struct password_limits *limits,
                                struct password_hash *out, char why[WHY_BYTES])
{
    uint64_t iterations;
    if (text_read_u64(next_field(rest), &iterations) != OK) {
        return complain(why, "the number of iterations is damaged: " MAKE_A_NEW_ONE);
    }
    TRY(check_ceiling("iterations", iterations, limits->iterations_max, why));
    out->cost.numbers[0] = (uint32_t)iterations;
    return OK;
}

/* v=19$m=47104,t=1,p=1$SALT$HASH, as libargon2 writes it. */
static enum err read_argon2id(struct slice rest, const struct password_limits *limits,
                              struct password_hash *out, char why[WHY_BYTES])
{
    static const char *const keys[3] = {"m=", "t=", "p="};
    uint32_t *numbers = out->cost.numbers;
    if (!slice_is(next_field(&rest), "v=19")) {
        return complain(why, "argon2id of another version than 19: " MAKE_A_NEW_ONE);
    }
    if (!read_parameters(next_field(&rest), keys, numbers)) {
        return complain(why, "m=, t= and p= of argon2id are damaged: " MAKE_A_NEW_ONE);
    }
    TRY(check_ceiling("KiB of memory", numbers[0], limits->memory_bytes_max / 1024, why));
    TRY(check_ceiling("passes", numbers[1], limits->passes_max, why));
    TRY(check_ceiling("lanes", numbers[2], limits->lanes_max, why));
    if (numbers[0] < 8 * numbers[2]) { /* RFC 9106, 3.1 */
        return complain(why, "argon2id with less than 8 KiB a lane: " MAKE_A_NEW_ONE);
    }
    TRY(read_salt_and_hash(rest, false, 0, out, why));
    return out->cost.salt_bytes >= 8 /* RFC 9106, 3.1 */
               ? OK
               : complain(why, "the salt is shorter than 8 bytes: " MAKE_A_NEW_ONE);
}

/* ln=14,r=8,p=1$SALT$HASH */
static enum err read_scrypt(struct slice rest, const struct password_limits *limits,
                            struct password_hash *out, char why[WHY_BYTES])
{
    static const char *const keys[3] = {"ln=", "r=", "p="};
    uint32_t *numbers = out->cost.numbers;
    if (!read_parameters(next_field(&rest), keys, numbers) || numbers[0] == 0 || numbers[0] > 32) {
        return complain(why, "ln=, r= and p= of scrypt are damaged: " MAKE_A_NEW_ONE);
    }
    uint64_t n = UINT64_C(1) << numbers[0], r = numbers[1], p = numbers[2];
    TRY(check_ceiling("blocks (r)", r, limits->scrypt_cost_max, why));
    TRY(check_ceiling("lanes (p)", p, limits->scrypt_cost_max / r, why));
    TRY(check_ceiling("N * r * p", n * r * p, limits->scrypt_cost_max, why));
    TRY(check_ceiling("bytes of memory", 128 * r * (n + p - 1), limits->memory_bytes_max, why));
    if (numbers[0] >= 16 * r) { /* RFC 7914, section 2 */
        return complain(why, "scrypt with a larger N than its r allows: " MAKE_A_NEW_ONE);
    }
    return read_salt_and_hash(rest, false, 0, out, why);
}

/* ITERATIONS$SALT$STORED_KEY$SERVER_KEY */
static enum err read_scram(struct slice rest, const struct password_limits *limits,
                           struct password_hash *out, char why[WHY_BYTES])
{
    size_t salt_count, stored_count, server_count;
    uint8_t server_key[64];
    TRY(read_iterations(&rest, limits, out, why));
    struct slice salt = next_field(&rest), stored = next_field(&rest);
    if (!read_bytes(salt, false, out->salt, &salt_count) ||
        !read_bytes(stored, false, out->hash, &stored_count) || stored_count != 32 ||
        !read_bytes(rest, false, server_key, &server_count) || server_count != 32) {
        return complain(why, "salt or keys of SCRAM are damaged (base64 without padding, keys of "
                             "32 bytes, nothing behind them): " MAKE_A_NEW_ONE);
    }
    memcpy(out->hash + 32, server_key, 32);
    out->cost.salt_bytes = (uint8_t)salt_count;
    out->cost.hash_bytes = 64;
    return OK;
}

static enum err read_hash(enum password_kind kind, struct slice rest,
                          const struct password_limits *limits, struct password_hash *out,
                          char why[WHY_BYTES])
{
    switch (kind) {
    case PASSWORD_SHA512:
        return read_salt_and_hash(rest, true, 64, out, why);
    case PASSWORD_PBKDF2:
        TRY(read_iterations(&rest, limits, out, why));
        return read_salt_and_hash(rest, true, 64, out, why);
    case PASSWORD_ARGON2ID:
        return read_argon2id(rest, limits, out, why);
    case PASSWORD_SCRYPT:
        return read_scrypt(rest, limits, out, why);
    case PASSWORD_SCRAM:
        return read_scram(rest, limits, out, why);
    case PASSWORD_KIND_COUNT:
        break;
    }
    return complain(why,
                    rest.count == 0 ? "there is no password behind the colon: make one with "
                                      "`ternctl user add`"
                    : rest.data[0] == '$'
                        ? "a hash of no known kind ($6$, $7$, $argon2id$, $scrypt$, "
                          "$scram-sha-256$): " MAKE_A_NEW_ONE
                        : "a password that is not hashed: hash it with `ternctl user add` (or all "
                          "of them with `mosquitto_passwd -U`, if no line is hashed yet)");
}

/* ---- a line ---------------------------------------------------------------------------------- */

enum err password_line_read(struct slice line, const struct password_limits *limits,
                            struct slice *name, struct password_hash *out, char why[WHY_BYTES])
{
    struct slice text = trim(line), rest;
    if (text.count == 0 || text.data[0] == '#') {
        return ERR_NOT_FOUND;
    }
    if (!password_line_name(text, name)) {
        return complain(why, "no colon between a name and a hash: write NAME:HASH, or # before a "
                             "comment");
    }
    if (name->count == 0) {
        return complain(why, "no name before the colon: write one, or # before a comment");
    }
    if (name->count > UINT16_MAX) {
        return complain(why, "the name is longer than MQTT allows: 65535 bytes at most");
    }
    if (!utf8_is_valid(*name)) {
        return complain(why, "the name is no UTF-8: is this a password file?");
    }
    enum password_kind kind = kind_of(text, &rest);
    out->cost = (struct password_cost){.kind = (uint8_t)kind};
    return read_hash(kind, rest, limits, out, why);
}
