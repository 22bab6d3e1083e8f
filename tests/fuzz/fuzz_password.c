/*
 * fuzz_password: no text breaks the reader of password files; what it accepts can be asked about
 * anybody, what it refuses it gives a reason for; a line that we make is read, and lets in.
 *
 * A form feed ends the file; after it stand a user's name, a form feed, and a password. Ceilings are
 * low: the time is for reading, not for hashing.
 */
#include "core/access/password_parts.h"
#include "core/base/utf8.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUT_MAX = 8192 };

static const struct password_limits low = {
    .memory_bytes_max = 32 * 1024,
    .iterations_max = 20,
    .passes_max = 2,
    .lanes_max = 4,
    .scrypt_cost_max = 64,
};

/* The input up to the next form feed, which is taken too. */
static struct slice next_part(struct slice *rest)
{
    size_t end = slice_find(*rest, '\f');
    struct slice part = slice_head(*rest, end);
    *rest = slice_skip(*rest, end < rest->count ? end + 1 : end);
    return part;
}

static void ask(const struct passwords *passwords, struct slice name, struct slice password)
{
    struct scram_secret secret, again;
    enum err err = password_check(passwords, name, password);
    ASSERT(err == OK || err == ERR_CREDENTIALS);
    passwords_scram(passwords, name, &secret);
    passwords_scram(passwords, name, &again);
    ASSERT(secret.salt_bytes >= 1 && secret.salt_bytes <= sizeof(secret.salt));
    ASSERT(secret.iterations >= 1);
    ASSERT(secret.is_known || secret.iterations <= low.iterations_max ||
           secret.iterations == 15000);
    ASSERT(secret.is_known == again.is_known && secret.salt_bytes == again.salt_bytes);
    ASSERT(memcmp(secret.salt, again.salt, secret.salt_bytes) == 0);
}

/* Each line by itself says what it said as a part of the file. */
static void check_lines(struct slice text, bool is_accepted)
{
    char why[WHY_BYTES];
    while (text.count > 0) {
        struct password_hash hash;
        struct slice line = slice_head(text, slice_find(text, '\n')), name = {0}, same = {0};
        enum err err = password_line_read(line, &low, &name, &hash, why);
        ASSERT(err == OK || err == ERR_NOT_FOUND || (!is_accepted && strstr(why, ": ") != NULL));
        if (err == OK) {
            ASSERT(password_line_name(line, &same) && slice_equal(name, same));
            ASSERT(password_line_kind(line) == (enum password_kind)hash.cost.kind);
            ASSERT(name.count > 0 && utf8_is_valid(name));
        }
        text = slice_skip(text, line.count < text.count ? line.count + 1 : line.count);
    }
}

static void check_file(struct slice text, struct slice name, struct slice password)
{
    struct passwords *passwords = NULL;
    struct password_trouble trouble;
    enum err err = passwords_parse_within(text, &low, &passwords, &trouble);
    ASSERT(err == OK || err == ERR_INVALID);
    check_lines(text, err == OK);
    if (err == OK) {
        ask(passwords, name, password);
        passwords_unref(passwords);
    } else {
        ASSERT(passwords == NULL);
        ASSERT(trouble.line > 0 && strstr(trouble.text, ": ") != NULL);
    }
}

/* What we write we read. */
static void check_own_line(enum password_kind kind, struct slice name, struct slice password)
{
    static char line[PASSWORD_LINE_MAX];
    struct passwords *passwords = NULL;
    struct password_trouble trouble;
    char why[WHY_BYTES];
    password_cost_set(1, 2);
    enum err err = password_line_make(kind, name, password, line);
    if (password_name_check(name, why) != OK) {
        ASSERT(err == ERR_INVALID);
        return;
    }
    bool is_fit = password.count > 0 && password.data[password.count - 1] != '\0';
    ASSERT(err == (is_fit ? OK : ERR_RANGE));
    if (err == OK) {
        ASSERT(passwords_parse_within(slice_text(line), &low, &passwords, &trouble) == OK);
        ASSERT(passwords_count(passwords) == 1);
        ASSERT(password_check(passwords, name, password) == OK);
        ASSERT(password_check(passwords, name, slice_skip(password, 1)) == ERR_CREDENTIALS);
        passwords_unref(passwords);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > INPUT_MAX) {
        return 0;
    }
    struct slice rest = slice_of(data, size);
    struct slice text = next_part(&rest), name = next_part(&rest), password = rest;
    check_file(text, name, password);
    check_own_line(PASSWORD_SCRYPT, name, password);
    check_own_line(PASSWORD_SCRAM, name, password);
    return 0;
}
