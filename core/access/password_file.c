/*
 * A password file in memory: a map from names to lines, and what the lines cost.
 *
 * A million users of the kind that `ternctl user add` makes take 114 MB, and 0.7 s to read.
 */
#include "core/access/password_parts.h"
#include "core/base/rng.h"

#include <stdio.h>
#include <stdlib.h>

enum { BLOCK_BYTES = 64 * 1024, SHOWN_NAME_BYTES = 60 };

struct loading {
    struct passwords *passwords;
    const struct password_limits *limits;
    struct password_trouble *trouble;
};

static struct slice name_of(const void *value)
{
    const struct password_entry *entry = value;
    return slice_of(entry->bytes, entry->name_bytes);
}

/* ---- life ------------------------------------------------------------------------------------ */

static void passwords_free(struct passwords *passwords)
{
    password_secret_forget(passwords);
    map_free(passwords->users);
    arena_free(passwords->memory);
    free(passwords);
}

static struct passwords *passwords_new(size_t text_bytes)
{
    struct passwords *passwords = calloc(1, sizeof(*passwords));
    if (passwords == NULL) {
        return NULL;
    }
    atomic_init(&passwords->refs, 1);
    passwords->users = map_new(name_of, rng_system_seed());
    /* A line in memory is its text decoded, and 48 bytes at most. The shortest is of 60. */
    passwords->memory = arena_new(BLOCK_BYTES, BLOCK_BYTES + 2 * text_bytes);
    if (passwords->users == NULL || passwords->memory == NULL) {
        passwords_free(passwords);
        return NULL;
    }
    return passwords;
}

struct passwords *passwords_ref(struct passwords *passwords)
{
    atomic_fetch_add_explicit(&passwords->refs, 1, memory_order_relaxed);
    return passwords;
}

void passwords_unref(struct passwords *passwords)
{
    /* acq_rel: whoever frees it has seen the last use of all others. */
    if (passwords != NULL &&
        atomic_fetch_sub_explicit(&passwords->refs, 1, memory_order_acq_rel) == 1) {
        passwords_free(passwords);
    }
}

uint32_t passwords_count(const struct passwords *passwords)
{
    return map_count(passwords->users);
}

/* ---- lines ----------------------------------------------------------------------------------- */

/* A name for people: its beginning, what cannot be printed as '?'. */
static const char *shown(struct slice name, char out[SHOWN_NAME_BYTES + 4])
{
    size_t count = name.count < SHOWN_NAME_BYTES ? name.count : SHOWN_NAME_BYTES;
    while (count < name.count && count > 0 && (name.data[count] & 0xC0) == 0x80) {
        count--; /* not within a character */
    }
    for (size_t i = 0; i < count; i++) {
        out[i] = name.data[i] < ' ' || name.data[i] == 0x7F ? '?' : (char)name.data[i];
    }
    strcpy(out + count, count < name.count ? "..." : "");
    return out;
}

static enum err refuse_twice(const struct loading *loading, const struct password_entry *first,
                             uint32_t line)
{
    char name[SHOWN_NAME_BYTES + 4];
    loading->trouble->line = line;
    snprintf(loading->trouble->text, sizeof(loading->trouble->text),
             "\"%s\" has a hash of this kind (%s) in line %u already: remove one of the two lines",
             shown(name_of(first), name), password_kind_name(first->cost.kind), first->line);
    return ERR_INVALID;
}

/* first: of the same user, or NULL. */
static enum err append(const struct loading *loading, struct password_entry *first,
                       struct password_entry *entry)
{
    if (first == NULL) {
        return map_put(loading->passwords->users, entry);
    }
    struct password_entry *last = first;
    for (;; last = last->next) { /* one of each kind at most */
        if (last->cost.kind == entry->cost.kind) {
            return refuse_twice(loading, last, entry->line);
        }
        if (last->next == NULL) {
            last->next = entry;
            return OK;
        }
    }
}

static enum err read_line(struct loading *loading, struct slice text, uint32_t line)
{
    struct passwords *passwords = loading->passwords;
    struct password_hash hash;
    struct slice name;
    char why[WHY_BYTES];
    enum err err = password_line_read(text, loading->limits, &name, &hash, why);
    if (err == ERR_NOT_FOUND) {
        return OK;
    }
    if (err != OK) {
        loading->trouble->line = line;
        snprintf(loading->trouble->text, sizeof(loading->trouble->text), "%s", why);
        return err;
    }
    size_t bytes = name.count + hash.cost.salt_bytes + hash.cost.hash_bytes;
    struct password_entry *entry = arena_take(passwords->memory, sizeof(*entry) + bytes);
    if (entry == NULL) {
        return ERR_NOMEM;
    }
    *entry = (struct password_entry){
        .cost = hash.cost, .line = line, .name_bytes = (uint16_t)name.count};
    memcpy(entry->bytes, name.data, name.count);
    memcpy(entry->bytes + name.count, hash.salt, hash.cost.salt_bytes);
    memcpy(entry->bytes + name.count + hash.cost.salt_bytes, hash.hash, hash.cost.hash_bytes);
    TRY(append(loading, map_get(passwords->users, name), entry));
    if (passwords->private_salt == NULL && hash.cost.kind != PASSWORD_SCRAM) {
        passwords->private_salt = entry;
    }
    return OK;
}

static enum err read_lines(struct loading *loading, struct slice text)
{
    for (uint32_t line = 1; text.count > 0; line++) {
        size_t end = slice_find(text, '\n');
        TRY(read_line(loading, slice_head(text, end), line));
        text = slice_skip(text, end < text.count ? end + 1 : end);
    }
    return OK;
}

/* ---- profiles -------------------------------------------------------------------------------- */

static bool cost_equal(const struct password_cost *a, const struct password_cost *b)
{
    return a->kind == b->kind && a->salt_bytes == b->salt_bytes && a->hash_bytes == b->hash_bytes &&
           a->numbers[0] == b->numbers[0] && a->numbers[1] == b->numbers[1] &&
           a->numbers[2] == b->numbers[2];
}

static bool profile_equal(const struct password_profile *a, const struct password_profile *b)
{
    for (uint32_t i = 0; i < a->cost_count; i++) {
        if (a->cost_count != b->cost_count || !cost_equal(&a->costs[i], &b->costs[i])) {
            return false;
        }
    }
    return true;
}

static struct password_profile profile_of(const struct password_entry *first)
{
    struct password_profile profile = {.user_count = 1};
    for (int kind = 0; kind < PASSWORD_KIND_COUNT; kind++) {
        for (const struct password_entry *entry = first; entry != NULL; entry = entry->next) {
            if (entry->cost.kind == kind) {
                profile.costs[profile.cost_count++] = entry->cost;
            }
        }
    }
    return profile;
}

/* A file with more than PROFILES_MAX of them has most in the first: the others are not made up. */
static void count_profile(struct passwords *passwords, const struct password_profile *profile)
{
    for (uint32_t i = 0; i < passwords->profile_count; i++) {
        if (profile_equal(profile, &passwords->profiles[i])) {
            passwords->profiles[i].user_count++;
            return;
        }
    }
    if (passwords->profile_count < PROFILES_MAX) {
        passwords->profiles[passwords->profile_count++] = *profile;
    }
}

static void count_profiles(struct passwords *passwords)
{
    const struct password_entry *first;
    for (uint64_t cursor = 0; (first = map_next(passwords->users, &cursor)) != NULL;) {
        struct password_profile profile = profile_of(first);
        count_profile(passwords, &profile);
    }
}

static uint32_t users_with(const struct password_profile *profile, enum password_kind kind)
{
    for (uint32_t i = 0; i < profile->cost_count; i++) {
        if (profile->costs[i].kind == kind) {
            return profile->user_count;
        }
    }
    return kind == PASSWORD_KIND_COUNT ? profile->user_count : 0;
}

const struct password_profile *password_profile_pick(const struct passwords *passwords,
                                                     enum password_kind kind, uint64_t point)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < passwords->profile_count; i++) {
        total += users_with(&passwords->profiles[i], kind);
    }
    if (total == 0) {
        return NULL;
    }
    point %= total;
    for (uint32_t i = 0;; i++) {
        uint32_t users = users_with(&passwords->profiles[i], kind);
        if (point < users) {
            return &passwords->profiles[i];
        }
        point -= users;
    }
}

/* ---- the whole ------------------------------------------------------------------------------- */

enum err passwords_parse_within(struct slice text, const struct password_limits *limits,
                                struct passwords **out, struct password_trouble *trouble)
{
    *trouble = (struct password_trouble){0};
    if (text.count > PASSWORD_FILE_BYTES_MAX) {
        snprintf(trouble->text, sizeof(trouble->text),
                 "the file is longer than %d MiB: keep fewer users in it",
                 PASSWORD_FILE_BYTES_MAX >> 20);
        return ERR_INVALID;
    }
    if (slice_starts_with(text, slice_text(PASSWORD_BYTE_ORDER_MARK))) {
        *trouble = (struct password_trouble){
            .line = 1, .text = "a byte order mark before the first name: save it as UTF-8 without"};
        return ERR_INVALID;
    }
    struct loading loading = {passwords_new(text.count), limits, trouble};
    if (loading.passwords == NULL) {
        return ERR_NOMEM;
    }
    enum err err = read_lines(&loading, text);
    if (err != OK) {
        passwords_free(loading.passwords);
        return err;
    }
    count_profiles(loading.passwords);
    password_secret_make(loading.passwords);
    *out = loading.passwords;
    return OK;
}

enum err passwords_parse(struct slice text, struct passwords **out,
                         struct password_trouble *trouble)
{
    return passwords_parse_within(text, &password_limits, out, trouble);
}
