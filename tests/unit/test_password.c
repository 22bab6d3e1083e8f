#include "core/access/password.h"
#include "core/access/password_parts.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* What mosquitto_passwd of Debian 12 wrote for "secret", "hunter2" and "pw". */
#define MOSQUITTO_SHA512                                                                       \
    "$6$ifxkmndcX9HTKNEA$MzNwE9rw1uTlSqnjUERKT5OjMyrVrQ3zss2izhEMsiNvBDA/2UfkuKELv/iRqwqVdVmj" \
    "QB0y2zCA4/rUiXna0g=="
#define MOSQUITTO_PBKDF2                                                                       \
    "$7$101$9MN3CwnV/kGi0EVq$3DuLBUwbZTlldI2i6qdCeEyKc4mT4HvRleWLm7KYwkkHk6nwKDj6msN4CtqCOR0/" \
    "iQVqEh7byiQIklx37KlUSQ=="
#define MOSQUITTO_PBKDF2_TOO                                                                   \
    "$7$101$aAYFdMpXG9dhs8bX$jJdIbbHCha8lCyl5vbhp7UYGFaorirYKmWkQ7LppAP5FgukOfv9OUNiT7XJ8N+DP" \
    "cOM3Wz4A0cftb70vewDBSA=="
/* What mosquitto 2.1 asks of libargon2 (m=47104, t=1, p=1, salt and hash of 64 bytes): "secret". */
#define MOSQUITTO_ARGON2ID                                                                    \
    "$argon2id$v=19$m=47104,t=1,p=1$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygp" \
    "KissLS4vMDEyMzQ1Njc4OTo7PD0+Pw$jN8KVtBuy9rOg+xx4HEO7K//Ei2hf4aegEDgCD4okj4rugUys2dVUsAy" \
    "HcBFDFrGlWl198NIEs4dtHiTXPgqvA"
/* By libargon2: "secret" over four lanes, and the cheapest there is. */
#define ARGON2ID_LANES                                    \
    "$argon2id$v=19$m=64,t=2,p=4$AAECAwQFBgcICQoLDA0ODw$" \
    "oq/1f1XFeWbhMvlxoE2p0NZFs4VfIFlf1fxpMd3yPMg"
#define ARGON2ID_CHEAP                                   \
    "$argon2id$v=19$m=8,t=1,p=1$AAECAwQFBgcICQoLDA0ODw$" \
    "qC3MajBlpjAwMv4m9YjIH86M+s1Xy5u81SSmdtU43Zs"
/* RFC 7914, section 12: scrypt("pleaseletmein", "SodiumChloride", 16384, 8, 1). */
#define SCRYPT_OF_RFC                                                                         \
    "$scrypt$ln=14,r=8,p=1$U29kaXVtQ2hsb3JpZGU$cCO9yzr9c0hGHAbNgf046/2o+7qQT44+qbVD9lRdofLVQ" \
    "ylVYT8Pz2LUlwUkKpr55h6F3A1lHkDfzwF7RVdYhw"
/* By Python's hashlib, "secret". */
#define SCRYPT_CHEAP \
    "$scrypt$ln=4,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$FBYrbyejpsRMOOxNjJ4WhxLlIIkIxp/izmMfHJ7w9YU"
#define PBKDF2_LONG_SALT                                                                      \
    "$7$101$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7" \
    "PD0+Pw==$nC5lZh4zXXL9YYwSBLXeQ4x6eVDLDThAXrkOTqlGFer3YWn3xud0lGeA18sh8JUkSvje98xCmwzQO8" \
    "iSZd89Pw=="
/* RFC 7677, section 3: "pencil". */
#define SCRAM_OF_RFC                                                                          \
    "$scram-sha-256$4096$W22ZaJ0SNY7soEsUEjb6gQ$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY$" \
    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU"

#define SALT12 "AAECAwQFBgcICQoL"
#define SALT16 "AAECAwQFBgcICQoLDA0ODw"
#define HASH32 "FBYrbyejpsRMOOxNjJ4WhxLlIIkIxp/izmMfHJ7w9YU"
#define HASH64 \
    "JqsxEv/ucyxjA5DKsQ+Y8CDWaQDNQI9FpAkmfwAqWfwZLk/JEGgM0EpylrJHAZKKyFQjJeZ3nFaHjPzOzPPmPw=="

static struct password_trouble trouble;

static enum err parse(const char *text, struct passwords **out)
{
    return passwords_parse(slice_text(text), out, &trouble);
}

static struct passwords *parsed(const char *text)
{
    struct passwords *passwords = NULL;
    enum err err = parse(text, &passwords);
    if (err != OK) {
        fail_msg("line %u: %s", trouble.line, trouble.text);
    }
    return passwords;
}

static enum err check(const struct passwords *passwords, const char *name, const char *password)
{
    return password_check(passwords, slice_text(name), slice_text(password));
}

static void assert_lets_in_only(const char *hash, const char *password)
{
    char text[1024];
    snprintf(text, sizeof(text), "alice:%s\n", hash);
    struct passwords *passwords = parsed(text);
    assert_int_equal(passwords_count(passwords), 1);
    assert_int_equal(check(passwords, "alice", password), OK);
    assert_int_equal(check(passwords, "alice", "wrong"), ERR_CREDENTIALS);
    assert_int_equal(check(passwords, "alice", ""), ERR_CREDENTIALS);
    assert_int_equal(check(passwords, "bob", password), ERR_CREDENTIALS);
    assert_int_equal(check(passwords, "alic", password), ERR_CREDENTIALS);
    assert_int_equal(password_check(passwords, slice_text("alice"), slice_of(NULL, 0)),
                     ERR_CREDENTIALS);
    passwords_unref(passwords);
}

/* text is refused at this line, with all of these words, and nothing is made. */
static void assert_refused(const char *text, uint32_t line, const char *words)
{
    struct passwords *passwords = (void *)1;
    if (parse(text, &passwords) != ERR_INVALID) {
        fail_msg("accepted: %s", text);
    }
    assert_ptr_equal(passwords, (void *)1);
    assert_int_equal(trouble.line, line);
    if (strstr(trouble.text, words) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", trouble.text, words);
    }
    assert_non_null(strstr(trouble.text, ": ")); /* what is wrong, a colon, what to do */
}

static void assert_refused_hash(const char *hash, const char *words)
{
    char text[1024];
    snprintf(text, sizeof(text), "# ours\nalice:%s\n", hash);
    assert_refused(text, 2, words);
}

/* ---- kinds ----------------------------------------------------------------------------------- */

static void what_mosquitto_passwd_wrote_lets_in(void **state)
{
    (void)state;
    assert_lets_in_only(MOSQUITTO_PBKDF2, "secret");
    assert_lets_in_only(MOSQUITTO_PBKDF2_TOO, "hunter2");
    assert_lets_in_only(MOSQUITTO_SHA512, "pw");
    assert_lets_in_only(MOSQUITTO_ARGON2ID, "secret");
    assert_lets_in_only(PBKDF2_LONG_SALT, "secret"); /* 2.1 has salts of 64 bytes */
}

static void scrypt_and_argon2id_agree_with_their_specifications(void **state)
{
    (void)state;
    assert_lets_in_only(SCRYPT_OF_RFC, "pleaseletmein");
    assert_lets_in_only(SCRYPT_CHEAP, "secret");
    assert_lets_in_only(ARGON2ID_LANES, "secret");
    assert_lets_in_only(ARGON2ID_CHEAP, "secret");
}

/* In the last bytes, as all others have to be the same too. */
static void a_hash_that_differs_in_a_letter_lets_nobody_in(void **state)
{
    static const struct {
        const char *hash, *password;
    } cases[] = {
        {PBKDF2_LONG_SALT, "secret"}, {MOSQUITTO_SHA512, "pw"},         {ARGON2ID_CHEAP, "secret"},
        {SCRYPT_CHEAP, "secret"},     {SCRYPT_OF_RFC, "pleaseletmein"}, {SCRAM_OF_RFC, "pencil"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[1024];
        int count = snprintf(text, sizeof(text), "alice:%s", cases[i].hash);
        char *letter = &text[count - 5];
        *letter = *letter == 'A' ? 'B' : 'A';
        struct passwords *passwords = parsed(text);
        assert_int_equal(check(passwords, "alice", cases[i].password), ERR_CREDENTIALS);
        passwords_unref(passwords);
    }
}

static void a_line_for_scram_takes_a_password_too(void **state)
{
    (void)state;
    assert_lets_in_only(SCRAM_OF_RFC, "pencil");
}

static void any_line_of_a_user_lets_in(void **state)
{
    struct passwords *passwords = parsed("alice:" SCRYPT_CHEAP "\nbob:" SCRYPT_CHEAP
                                         "\nalice:" SCRAM_OF_RFC "\nalice:" MOSQUITTO_SHA512 "\n");
    (void)state;
    assert_int_equal(passwords_count(passwords), 2);
    assert_int_equal(check(passwords, "alice", "secret"), OK);
    assert_int_equal(check(passwords, "alice", "pencil"), OK);
    assert_int_equal(check(passwords, "alice", "pw"), OK);
    assert_int_equal(check(passwords, "alice", "penci"), ERR_CREDENTIALS);
    assert_int_equal(check(passwords, "bob", "secret"), OK);
    assert_int_equal(check(passwords, "bob", "pencil"), ERR_CREDENTIALS);
    passwords_unref(passwords);
}

static void a_password_is_bytes_with_any_value(void **state)
{
    char line[PASSWORD_LINE_MAX];
    struct slice password = slice_of("a\0b", 3), name = slice_text("x");
    (void)state;
    password_cost_set(1, 1);
    assert_int_equal(password_line_make(PASSWORD_SCRYPT, name, password, line), OK);
    struct passwords *passwords = parsed(line);
    assert_int_equal(password_check(passwords, name, password), OK);
    assert_int_equal(password_check(passwords, name, slice_head(password, 1)), ERR_CREDENTIALS);
    passwords_unref(passwords);
}

/* ---- files ----------------------------------------------------------------------------------- */

static void comments_blanks_and_line_ends_are_as_in_mosquitto(void **state)
{
    struct passwords *passwords = parsed("# alice:$6$x\r\n"
                                         "\r\n"
                                         "   \t\n"
                                         "  # indented\n"
                                         " al ice \t: " SCRYPT_CHEAP " \r\n"
                                         "b\xC3\xB6rge:" SCRYPT_CHEAP "\n"
                                         "last:" SCRYPT_CHEAP);
    (void)state;
    assert_int_equal(passwords_count(passwords), 3);
    assert_int_equal(check(passwords, "al ice", "secret"), OK);
    assert_int_equal(check(passwords, "b\xC3\xB6rge", "secret"), OK);
    assert_int_equal(check(passwords, "last", "secret"), OK);
    assert_int_equal(check(passwords, "alice", "secret"), ERR_CREDENTIALS);
    passwords_unref(passwords);
}

static void an_empty_file_lets_nobody_in(void **state)
{
    struct scram_secret secret;
    struct passwords *passwords = parsed("");
    (void)state;
    assert_int_equal(passwords_count(passwords), 0);
    assert_int_equal(check(passwords, "", ""), ERR_CREDENTIALS);
    assert_int_equal(check(passwords, "alice", "secret"), ERR_CREDENTIALS);
    passwords_scram(passwords, slice_text("alice"), &secret);
    assert_false(secret.is_known);
    passwords_unref(passwords);
    passwords_unref(NULL);
}

static void references_keep_it(void **state)
{
    struct passwords *passwords = parsed("alice:" SCRYPT_CHEAP);
    (void)state;
    assert_ptr_equal(passwords_ref(passwords), passwords);
    passwords_unref(passwords);
    assert_int_equal(check(passwords, "alice", "secret"), OK);
    passwords_unref(passwords);
}

static void *check_often(void *argument)
{
    struct passwords *passwords = argument;
    struct scram_secret secret;
    uintptr_t wrong = 0;
    for (int i = 0; i < 50; i++) {
        wrong += check(passwords, "alice", "secret") != OK;
        wrong += check(passwords, "nobody", "secret") != ERR_CREDENTIALS;
        passwords_scram(passwords, slice_text("alice"), &secret);
        wrong += !secret.is_known;
    }
    passwords_unref(passwords);
    return (void *)wrong;
}

static void many_threads_check_at_once_and_the_last_one_frees(void **state)
{
    pthread_t threads[4];
    void *wrong;
    struct passwords *passwords = parsed("alice:" SCRYPT_CHEAP "\nalice:$scram-sha-256$5$" SALT16
                                         "$" HASH32 "$" HASH32 "\n");
    (void)state;
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, check_often, passwords_ref(passwords)),
                         0);
    }
    passwords_unref(passwords);
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], &wrong);
        assert_null(wrong);
    }
}

static void what_is_no_line_of_a_password_file_is_refused(void **state)
{
    (void)state;
    assert_refused("alice\n", 1, "no colon");
    assert_refused("\n\n:" SCRYPT_CHEAP "\n", 3, "no name");
    assert_refused("  : " SCRYPT_CHEAP "\n", 1, "no name");
    assert_refused("alice:\n", 1, "no password behind the colon");
    assert_refused("\xEF\xBB\xBF"
                   "alice:" SCRYPT_CHEAP,
                   1, "byte order mark");
    assert_refused("al\xFFice:" SCRYPT_CHEAP, 1, "UTF-8");
    assert_refused("\x7F"
                   "ELF\x02\x01\x01:\x80\xFE\xFF\n",
                   1, "not hashed");
}

static void binary_rubbish_is_refused(void **state)
{
    char bytes[4096];
    uint32_t seed = 1;
    struct passwords *passwords = NULL;
    (void)state;
    for (int round = 0; round < 200; round++) {
        for (size_t i = 0; i < sizeof(bytes); i++) {
            seed = seed * 1664525 + 1013904223;
            bytes[i] = (char)(seed >> 24);
        }
        bytes[0] = 'x';
        assert_int_equal(passwords_parse(slice_of(bytes, sizeof(bytes)), &passwords, &trouble),
                         ERR_INVALID);
        assert_int_not_equal(trouble.line, 0);
    }
}

/* mosquitto leaves such a user out and goes on; here it is said, and the password is not. */
static void a_password_in_plain_text_is_refused_and_never_repeated(void **state)
{
    (void)state;
    assert_refused("bob:" SCRYPT_CHEAP "\nalice:Tr0ub4dor\n", 2, "mosquitto_passwd -U");
    assert_null(strstr(trouble.text, "Tr0ub4dor"));
    assert_refused("alice:$Tr0ub$4dor$\n", 1, "no known kind");
    assert_null(strstr(trouble.text, "Tr0ub"));
    assert_refused("Tr0ub4dor\n", 1, "no colon");
    assert_null(strstr(trouble.text, "Tr0ub4dor"));
}

static void a_user_has_one_line_of_each_kind(void **state)
{
    (void)state;
    assert_refused("alice:" SCRYPT_CHEAP "\n\nalice:" SCRAM_OF_RFC "\nalice:" SCRYPT_OF_RFC "\n", 4,
                   "\"alice\" has a hash of this kind (scrypt) in line 1 already");
    assert_refused("a\x01:" SCRYPT_CHEAP "\na\x01:" SCRYPT_CHEAP "\n", 2, "\"a?\"");
}

static void a_long_name_is_cut_between_characters(void **state)
{
    char text[1024], name[256] = "a";
    (void)state;
    for (int i = 0; i < 100; i++) {
        strcat(name, "\xC3\xB6");
    }
    snprintf(text, sizeof(text), "%s:" SCRYPT_CHEAP "\n%s:" SCRYPT_CHEAP "\n", name, name);
    assert_refused(text, 2, "\xC3\xB6...\" has a hash");
}

static void a_name_is_as_long_as_mqtt_allows(void **state)
{
    size_t name_bytes = 65535;
    char *text = malloc(name_bytes + 1 + sizeof(SCRYPT_CHEAP) + 1);
    struct passwords *passwords = NULL;
    (void)state;
    assert_non_null(text);
    memset(text, 'n', name_bytes + 1);
    strcpy(text + name_bytes, ":" SCRYPT_CHEAP);
    passwords = parsed(text);
    assert_int_equal(password_check(passwords, slice_of(text, name_bytes), slice_text("secret")),
                     OK);
    passwords_unref(passwords);
    text[name_bytes] = 'n';
    strcpy(text + name_bytes + 1, ":" SCRYPT_CHEAP);
    assert_refused(text, 1, "longer than MQTT allows");
    free(text);
}

/* ---- damage and ceilings --------------------------------------------------------------------- */

static void a_hash_that_is_damaged_is_refused(void **state)
{
    static const struct {
        const char *hash, *words;
    } cases[] = {
        {"$6$" SALT12 "$" HASH64 "x", "hash is damaged"},
        {"$6$" SALT12 "$" HASH64 ":x", "hash is damaged"},
        {"$6$" SALT12 "$", "hash is damaged"},
        {"$6$" SALT12, "hash is damaged"},
        {"$6$", "salt is damaged"},
        {"$6$$" HASH64, "salt is damaged"},
        {"$6$" SALT12 "$AAAA", "hash is damaged"},
        {"$6$A" SALT12 "$" HASH64, "salt is damaged"},
        {"$6$" HASH64 "AAAA$" HASH64, "salt is damaged"}, /* of more than 64 bytes */
        {"$6$" SALT16 "$" HASH64, "salt is damaged"},     /* mosquitto's have padding */
        {"$7$x$" SALT12 "$" HASH64, "iterations is damaged"},
        {"$7$-1$" SALT12 "$" HASH64, "iterations is damaged"},
        {"$7$0$" SALT12 "$" HASH64, "0 iterations"},
        {"$7$" SALT12 "$" HASH64, "iterations is damaged"},
        {"$argon2i$v=19$m=8,t=1,p=1$" SALT16 "$" HASH32, "no known kind"},
        {"$argon2id$m=8,t=1,p=1$" SALT16 "$" HASH32, "another version"},
        {"$argon2id$v=16$m=8,t=1,p=1$" SALT16 "$" HASH32, "another version"},
        {"$argon2id$v=19$t=1,m=8,p=1$" SALT16 "$" HASH32, "damaged"},
        {"$argon2id$v=19$m=8,t=1$" SALT16 "$" HASH32, "damaged"},
        {"$argon2id$v=19$m=8,t=1,p=1,x=1$" SALT16 "$" HASH32, "damaged"},
        {"$argon2id$v=19$m=8,t=0,p=1$" SALT16 "$" HASH32, "0 passes"},
        {"$argon2id$v=19$m=8,t=1,p=0$" SALT16 "$" HASH32, "0 lanes"},
        {"$argon2id$v=19$m=15,t=1,p=2$" SALT16 "$" HASH32, "8 KiB a lane"},
        {"$argon2id$v=19$m=8,t=1,p=1$AAAAAAAA$" HASH32, "shorter than 8"},
        {"$argon2id$v=19$m=8,t=1,p=1$" SALT16 "$AAAA", "hash is damaged"},
        {"$argon2id$v=19$m=8,t=1,p=1$" SALT16 "==$" HASH32, "salt is damaged"},
        {"$scrypt$ln=0,r=8,p=1$" SALT16 "$" HASH32, "damaged"},
        {"$scrypt$ln=33,r=8,p=1$" SALT16 "$" HASH32, "damaged"},
        {"$scrypt$ln=99999999999999999999,r=8,p=1$" SALT16 "$" HASH32, "damaged"},
        {"$scrypt$ln=4,r=0,p=1$" SALT16 "$" HASH32, "0 blocks"},
        {"$scrypt$ln=4,r=8,p=0$" SALT16 "$" HASH32, "0 lanes"},
        {"$scrypt$ln=16,r=1,p=1$" SALT16 "$" HASH32, "larger N"},
        {"$scrypt$ln=4,r=8,p=1$" SALT16 "$" HASH32 "=", "hash is damaged"},
        {"$scrypt$ln=4,r=8,p=1$" SALT16 "$" HASH32 "$", "hash is damaged"},
        {"$scram-sha-256$0$" SALT16 "$" HASH32 "$" HASH32, "0 iterations"},
        {"$scram-sha-256$4096$" SALT16 "$" HASH32 "$" SALT16, "SCRAM are damaged"},
        {"$scram-sha-256$4096$" SALT16 "$" SALT16 "$" HASH32, "SCRAM are damaged"},
        {"$scram-sha-256$4096$" SALT16 "$" HASH32, "SCRAM are damaged"},
        {"$scram-sha-256$4096$" SALT16 "$" HASH32 "$" HASH32 "$x", "SCRAM are damaged"},
        {"$2b$12$abcdefghijklmnopqrstuv", "no known kind"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_refused_hash(cases[i].hash, cases[i].words);
    }
}

static void a_hash_that_asks_for_too_much_is_refused_when_it_is_read(void **state)
{
    static const struct {
        const char *hash, *asked, *allowed;
    } cases[] = {
        {"$7$2000001$" SALT12 "$" HASH64, "2000001 iterations", "2000000"},
        {"$7$4294967297$" SALT12 "$" HASH64, "4294967297 iterations", "2000000"},
        {"$argon2id$v=19$m=65537,t=1,p=1$" SALT16 "$" HASH32, "65537 KiB", "65536"},
        {"$argon2id$v=19$m=4294967295,t=1,p=1$" SALT16 "$" HASH32, "4294967295 KiB", "65536"},
        {"$argon2id$v=19$m=8,t=17,p=1$" SALT16 "$" HASH32, "17 passes", "16"},
        {"$argon2id$v=19$m=512,t=1,p=17$" SALT16 "$" HASH32, "17 lanes", "16"},
        {"$scrypt$ln=17,r=8,p=1$" SALT16 "$" HASH32, "134217728 bytes", "67108864"},
        {"$scrypt$ln=4,r=8,p=65536$" SALT16 "$" HASH32, "8388608 N * r * p", "4194304"},
        {"$scrypt$ln=1,r=4294967295,p=1$" SALT16 "$" HASH32, "4294967295 blocks", "4194304"},
        {"$scrypt$ln=1,r=1048576,p=4$" SALT16 "$" HASH32, "8388608 N * r * p", "4194304"},
        {"$scrypt$ln=32,r=4194304,p=4294967295$" SALT16 "$" HASH32, "4294967295 lanes", "1 are"},
        {"$scrypt$ln=1,r=1048576,p=1$" SALT16 "$" HASH32, "268435456 bytes", "67108864"},
        {"$scram-sha-256$2000001$" SALT16 "$" HASH32 "$" HASH32, "2000001", "2000000"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_refused_hash(cases[i].hash, cases[i].asked);
        assert_refused_hash(cases[i].hash, cases[i].allowed);
    }
}

/* The ceilings themselves are allowed, and what is allowed can be done. */
static void a_hash_at_the_ceiling_is_computed(void **state)
{
    static const char *const hashes[] = {
        "$argon2id$v=19$m=65536,t=1,p=16$" SALT16 "$" HASH32,
        "$argon2id$v=19$m=128,t=16,p=16$" SALT16 "$" HASH32,
        "$scrypt$ln=16,r=8,p=1$" SALT16 "$" HASH32,
        "$scrypt$ln=1,r=16384,p=31$" SALT16 "$" HASH32,
        "$scrypt$ln=15,r=1,p=128$" SALT16 "$" HASH32,
    };
    (void)state;
    for (size_t i = 0; i < sizeof(hashes) / sizeof(hashes[0]); i++) {
        char text[256];
        snprintf(text, sizeof(text), "alice:%s", hashes[i]);
        struct passwords *passwords = parsed(text);
        assert_int_equal(check(passwords, "alice", "secret"), ERR_CREDENTIALS);
        assert_int_equal(check(passwords, "bob", "secret"), ERR_CREDENTIALS);
        passwords_unref(passwords);
    }
}

/* ---- nobody ---------------------------------------------------------------------------------- */

static struct scram_secret scram_of(const struct passwords *passwords, const char *name)
{
    struct scram_secret secret;
    memset(&secret, 0xAA, sizeof(secret));
    passwords_scram(passwords, slice_text(name), &secret);
    return secret;
}

static void who_has_a_scram_line_is_known_by_it(void **state)
{
    struct passwords *passwords = parsed("bob:" SCRYPT_CHEAP "\nuser:" SCRYPT_CHEAP
                                         "\nuser:" SCRAM_OF_RFC "\n");
    struct scram_secret secret = scram_of(passwords, "user");
    (void)state;
    assert_true(secret.is_known);
    assert_int_equal(secret.iterations, 4096);
    assert_int_equal(secret.salt_bytes, 16);
    assert_memory_equal(secret.salt, "\x5B\x6D\x99\x68\x9D\x12\x35\x8E", 8);
    passwords_unref(passwords);
}

/* Also after a restart, on another node, and when somebody else was added. */
static void a_made_up_salt_stays_and_looks_like_the_others(void **state)
{
    struct passwords *first = parsed("bob:" SCRYPT_CHEAP "\nuser:" SCRAM_OF_RFC "\n");
    struct passwords *second = parsed("bob:" SCRYPT_CHEAP "\nuser:" SCRAM_OF_RFC
                                      "\ncarol:" MOSQUITTO_PBKDF2 "\n");
    struct scram_secret once = scram_of(first, "mallory"), again = scram_of(second, "mallory");
    struct scram_secret without = scram_of(first, "bob"); /* has none for SCRAM */
    (void)state;
    assert_false(once.is_known);
    assert_int_equal(once.iterations, 4096);
    assert_int_equal(once.salt_bytes, 16);
    assert_memory_equal(once.salt, again.salt, 16);
    assert_memory_equal(once.stored_key, again.stored_key, 32);
    assert_false(without.is_known);
    assert_memory_not_equal(without.salt, once.salt, 16);
    assert_memory_not_equal(once.stored_key, once.server_key, 32);
    passwords_unref(first);
    passwords_unref(second);
}

static void a_made_up_salt_cannot_be_told_without_the_file(void **state)
{
    struct passwords *first = parsed("bob:" SCRYPT_CHEAP "\n"),
                     *second = parsed("bob:" SCRYPT_OF_RFC);
    struct passwords *third = parsed("bob:" SCRAM_OF_RFC "\n"),
                     *fourth = parsed("eve:" SCRAM_OF_RFC);
    struct scram_secret a = scram_of(first, "x"), b = scram_of(second, "x");
    struct scram_secret c = scram_of(third, "x"), d = scram_of(fourth, "x");
    (void)state;
    assert_memory_not_equal(a.salt, b.salt, 16);
    assert_memory_not_equal(c.salt, d.salt, 16);
    assert_int_equal(a.iterations, 15000); /* as new lines have */
    passwords_unref(first);
    passwords_unref(second);
    passwords_unref(third);
    passwords_unref(fourth);
}

/* What a name that is not there costs is spread as it is over those that are. */
static void nobody_costs_what_users_cost(void **state)
{
    char text[8192] = "";
    uint32_t cheap = 0, dear = 0;
    (void)state;
    for (int i = 0; i < 40; i++) {
        char line[256];
        snprintf(line, sizeof(line), "u%d:%s\n", i, i % 4 == 0 ? ARGON2ID_CHEAP : SCRYPT_CHEAP);
        strcat(text, line);
    }
    strcat(text, "u0:" SCRAM_OF_RFC "\n");
    struct passwords *passwords = parsed(text);
    assert_int_equal(passwords->profile_count, 3);
    for (uint64_t point = 0; point < 80; point++) {
        const struct password_profile *profile = password_profile_pick(passwords,
                                                                       PASSWORD_KIND_COUNT, point);
        cheap += profile->cost_count == 1 && profile->costs[0].kind == PASSWORD_ARGON2ID;
        dear += profile->cost_count == 1 && profile->costs[0].kind == PASSWORD_SCRYPT;
        assert_int_equal(password_profile_pick(passwords, PASSWORD_SCRAM, point)->cost_count, 2);
    }
    assert_int_equal(cheap, 2 * 9);
    assert_int_equal(dear, 2 * 30);
    assert_null(password_profile_pick(passwords, PASSWORD_SHA512, 7));
    passwords_unref(passwords);
}

static void a_file_of_a_hundred_costs_is_read(void **state)
{
    char text[16384] = "";
    (void)state;
    for (int i = 1; i <= 100; i++) {
        char line[256];
        snprintf(line, sizeof(line), "u%d:$7$%d$" SALT12 "$" HASH64 "\n", i, i);
        strcat(text, line);
    }
    struct passwords *passwords = parsed(text);
    assert_int_equal(passwords_count(passwords), 100);
    assert_int_equal(passwords->profile_count, PROFILES_MAX);
    assert_int_equal(check(passwords, "nobody", "x"), ERR_CREDENTIALS);
    passwords_unref(passwords);
}

/* ---- new lines ------------------------------------------------------------------------------- */

static void a_new_line_lets_in_and_no_two_are_alike(void **state)
{
    static char lines[4][PASSWORD_LINE_MAX];
    struct slice name = slice_text("b\xC3\xB6rge x"), password = slice_text("pass word");
    (void)state;
    password_cost_set(4, 10);
    for (int i = 0; i < 4; i++) {
        enum password_kind kind = i < 2 ? PASSWORD_SCRYPT : PASSWORD_SCRAM;
        assert_int_equal(password_line_make(kind, name, password, lines[i]), OK);
        struct passwords *passwords = parsed(lines[i]);
        assert_int_equal(password_check(passwords, name, password), OK);
        assert_int_equal(password_check(passwords, name, name), ERR_CREDENTIALS);
        passwords_unref(passwords);
    }
    assert_string_not_equal(lines[0], lines[1]);
    assert_string_not_equal(lines[2], lines[3]);
    assert_int_equal(strncmp(lines[0], "b\xC3\xB6rge x:$scrypt$ln=4,r=8,p=1$", 29), 0);
    assert_int_equal(strncmp(lines[2], "b\xC3\xB6rge x:$scram-sha-256$10$", 26), 0);
    password_cost_set(0, 0);
    assert_int_equal(password_line_make(PASSWORD_SCRYPT, name, password, lines[0]), OK);
    assert_non_null(strstr(lines[0], "$ln=14,r=8,p=1$"));
}

static void a_name_that_a_file_cannot_keep_gets_no_line(void **state)
{
    static char line[PASSWORD_LINE_MAX], long_name[65537];
    static const struct {
        const char *name, *words;
    } cases[] = {
        {"", "empty"},
        {"a:b", "colon"},
        {"a\nb", "control"},
        {"a\x7F", "control"},
        {"a\xC2\x85", "control"},
        {"a\xC0\x80", "UTF-8"},
        {" a", "blanks"},
        {"a ", "blanks"},
        {"#a", "comment"},
        {PASSWORD_BYTE_ORDER_MARK "a", "byte order mark"},
        {long_name, "longer"},
    };
    char why[256];
    (void)state;
    memset(long_name, 'n', 65536);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct slice name = slice_text(cases[i].name);
        assert_int_equal(password_name_check(name, why), ERR_INVALID);
        assert_non_null(strstr(why, cases[i].words));
        assert_int_equal(password_line_make(PASSWORD_SCRYPT, name, slice_text("x"), line),
                         ERR_INVALID);
    }
    password_cost_set(1, 1);
    struct slice longest = slice_of(long_name, 65535);
    assert_int_equal(password_name_check(longest, why), OK);
    assert_int_equal(password_line_make(PASSWORD_SCRAM, longest, slice_text("x"), line), OK);
    assert_int_equal(password_line_make(PASSWORD_SCRYPT, slice_text("a"), slice_of("x\0", 2), line),
                     ERR_RANGE);
    assert_int_equal(password_line_make(PASSWORD_SCRYPT, slice_text("a"), slice_text(""), line),
                     ERR_RANGE);
    assert_int_equal(password_line_make(PASSWORD_SCRYPT, slice_text("a"),
                                        slice_of(long_name, 65536), line),
                     ERR_RANGE);
}

static void a_line_says_whose_it_is_and_of_which_kind(void **state)
{
    struct slice name;
    (void)state;
    assert_true(password_line_name(slice_text(" al ice :x\r"), &name));
    assert_true(slice_is(name, "al ice"));
    assert_false(password_line_name(slice_text(" # a:b"), &name));
    assert_false(password_line_name(slice_text("a"), &name));
    assert_false(password_line_name(slice_text(""), &name));
    assert_int_equal(password_line_kind(slice_text("a: " SCRYPT_CHEAP)), PASSWORD_SCRYPT);
    assert_int_equal(password_line_kind(slice_text("a:$7$...")), PASSWORD_PBKDF2);
    assert_int_equal(password_line_kind(slice_text("a:plain")), PASSWORD_KIND_COUNT);
    assert_int_equal(password_line_kind(slice_text("a")), PASSWORD_KIND_COUNT);
    assert_string_equal(password_kind_name(PASSWORD_PBKDF2), "sha512-pbkdf2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_mosquitto_passwd_wrote_lets_in),
        cmocka_unit_test(scrypt_and_argon2id_agree_with_their_specifications),
        cmocka_unit_test(a_hash_that_differs_in_a_letter_lets_nobody_in),
        cmocka_unit_test(a_line_for_scram_takes_a_password_too),
        cmocka_unit_test(any_line_of_a_user_lets_in),
        cmocka_unit_test(a_password_is_bytes_with_any_value),
        cmocka_unit_test(comments_blanks_and_line_ends_are_as_in_mosquitto),
        cmocka_unit_test(an_empty_file_lets_nobody_in),
        cmocka_unit_test(references_keep_it),
        cmocka_unit_test(many_threads_check_at_once_and_the_last_one_frees),
        cmocka_unit_test(what_is_no_line_of_a_password_file_is_refused),
        cmocka_unit_test(binary_rubbish_is_refused),
        cmocka_unit_test(a_password_in_plain_text_is_refused_and_never_repeated),
        cmocka_unit_test(a_user_has_one_line_of_each_kind),
        cmocka_unit_test(a_long_name_is_cut_between_characters),
        cmocka_unit_test(a_name_is_as_long_as_mqtt_allows),
        cmocka_unit_test(a_hash_that_is_damaged_is_refused),
        cmocka_unit_test(a_hash_that_asks_for_too_much_is_refused_when_it_is_read),
        cmocka_unit_test(a_hash_at_the_ceiling_is_computed),
        cmocka_unit_test(who_has_a_scram_line_is_known_by_it),
        cmocka_unit_test(a_made_up_salt_stays_and_looks_like_the_others),
        cmocka_unit_test(a_made_up_salt_cannot_be_told_without_the_file),
        cmocka_unit_test(nobody_costs_what_users_cost),
        cmocka_unit_test(a_file_of_a_hundred_costs_is_read),
        cmocka_unit_test(a_new_line_lets_in_and_no_two_are_alike),
        cmocka_unit_test(a_name_that_a_file_cannot_keep_gets_no_line),
        cmocka_unit_test(a_line_says_whose_it_is_and_of_which_kind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
