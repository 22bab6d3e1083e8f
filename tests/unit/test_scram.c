#include "core/access/scram.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* RFC 7677, section 3: user "user", password "pencil". */
#define LINE                                                                                    \
    "user:$scram-sha-256$4096$W22ZaJ0SNY7soEsUEjb6gQ$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4" \
    "qY$wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU\n"
#define SERVER_NONCE "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
#define CLIENT_FIRST "n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
#define NONCE        "rOprNGfwEbeRWgbNEkqO" SERVER_NONCE
#define SERVER_FIRST "r=" NONCE ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
#define CLIENT_FINAL "c=biws,r=" NONCE ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
#define SERVER_FINAL "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="

static struct passwords *passwords;
static char reply[SCRAM_MESSAGE_MAX];
static uint32_t reply_bytes;

static int open_passwords(void **state)
{
    static struct password_trouble trouble;
    (void)state;
    return passwords_parse(slice_text(LINE), &passwords, &trouble) == OK ? 0 : -1;
}

static int close_passwords(void **state)
{
    (void)state;
    passwords_unref(passwords);
    return 0;
}

static enum err begin(const char *message, struct scram **scram)
{
    return scram_begin_with(passwords, slice_text(message), slice_text(SERVER_NONCE), scram, reply,
                            &reply_bytes);
}

static struct scram *begun(const char *message)
{
    struct scram *scram = NULL;
    if (begin(message, &scram) != ERR_MORE) {
        fail_msg("refused: %s", message);
    }
    return scram;
}

static enum err finish(struct scram *scram, const char *message)
{
    return scram_finish(scram, slice_text(message), reply, &reply_bytes);
}

static void assert_reply(const char *text)
{
    assert_int_equal(reply_bytes, strlen(text));
    assert_memory_equal(reply, text, reply_bytes);
}

static void the_exchange_of_rfc_7677_is_done_to_the_letter(void **state)
{
    struct scram *scram = begun(CLIENT_FIRST);
    (void)state;
    assert_reply(SERVER_FIRST);
    assert_true(slice_is(scram_username(scram), "user"));
    assert_int_equal(finish(scram, CLIENT_FINAL), OK);
    assert_reply(SERVER_FINAL);
    scram_free(scram);
    scram_free(NULL);
}

static void a_proof_counts_once(void **state)
{
    struct scram *scram = begun(CLIENT_FIRST);
    (void)state;
    assert_int_equal(finish(scram, CLIENT_FINAL), OK);
    assert_int_equal(finish(scram, CLIENT_FINAL), ERR_CREDENTIALS);
    assert_int_equal(reply_bytes, 0);
    scram_free(scram);
    scram = begun(CLIENT_FIRST); /* nor may it be guessed twice */
    assert_int_equal(finish(scram, "c=biws,r=" NONCE), ERR_CREDENTIALS);
    assert_int_equal(finish(scram, CLIENT_FINAL), ERR_CREDENTIALS);
    scram_free(scram);
}

static void a_nonce_of_ours_is_never_the_same(void **state)
{
    struct scram *scram[2];
    char first[SCRAM_MESSAGE_MAX];
    (void)state;
    assert_int_equal(
        scram_begin(passwords, slice_text(CLIENT_FIRST), &scram[0], first, &reply_bytes), ERR_MORE);
    assert_int_equal(
        scram_begin(passwords, slice_text(CLIENT_FIRST), &scram[1], reply, &reply_bytes), ERR_MORE);
    assert_memory_equal(reply, "r=rOprNGfwEbeRWgbNEkqO", 22);
    assert_memory_not_equal(first + 22, reply + 22, 24);
    assert_int_equal(finish(scram[0], CLIENT_FINAL), ERR_CREDENTIALS); /* of another exchange */
    scram_free(scram[0]);
    scram_free(scram[1]);
}

static void a_first_message_that_is_not_one_is_refused(void **state)
{
    static const char *const messages[] = {
        "",
        ",",
        "n",
        "n,,",
        "n,n=user,r=abc",
        "n,,n=user",
        "n,,n=user,",
        "n,,r=abc,n=user",
        "n,,n=,r=abc",
        "n,,n=user,r=",
        "n,,n=user,r=a b",
        "n,,n=user,r=a\x7F",
        "n,,n=user,r=\xC3\xB6",
        "n,,n=user,r=abc,",
        "n,,n=user,r=abc,x",
        "n,,n=user,r=abc,x=",
        "n,,n=user,r=abc,1=x",
        "n,,n=user,r=abc,m=x",
        "n,,m=x,n=user,r=abc",
        "n,,N=user,r=abc",
        "N,,n=user,r=abc",
        "x,,n=user,r=abc",
        "p=tls-unique,,n=user,r=abc", /* channel binding */
        "p,,n=user,r=abc",
        "n,a=,n=user,r=abc",
        "n,a=other,n=user,r=abc", /* nobody speaks for another */
        "n,b=user,n=user,r=abc",
        "n,,n=us=er,r=abc",
        "n,,n=us=2cer,r=abc",
        "n,,n=user=2,r=abc",
        "n,,n=us\x01"
        "er,r=abc",
        "n,,n=us\xFF"
        "er,r=abc",
        " n,,n=user,r=abc",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
        struct scram *scram = (void *)1;
        if (begin(messages[i], &scram) != ERR_CREDENTIALS) {
            fail_msg("accepted: %s", messages[i]);
        }
        assert_ptr_equal(scram, (void *)1);
        assert_int_equal(reply_bytes, 0);
    }
}

static void a_first_message_may_say_more(void **state)
{
    static const struct {
        const char *message, *name;
    } cases[] = {
        {"y,,n=user,r=abc", "user"},
        {"n,a=user,n=user,r=abc", "user"},
        {"n,a=u=2Cs=3D,n=u=2Cs=3D,r=abc", "u,s="},
        {"n,,n=b\xC3\xB6rge x,r=!~", "b\xC3\xB6rge x"},
        {"n,,n=user,r=abc,x=y,z=1", "user"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct scram *scram = begun(cases[i].message);
        assert_true(slice_is(scram_username(scram), cases[i].name));
        scram_free(scram);
    }
}

/* message: room for SCRAM_MESSAGE_MAX and more. */
static enum err begin_long(size_t name_bytes, size_t nonce_bytes, size_t more_bytes)
{
    static char message[4 * SCRAM_MESSAGE_MAX];
    struct scram *scram = NULL;
    char *at = message + sprintf(message, "n,,n=");
    memset(at, 'n', name_bytes);
    at += name_bytes;
    at += sprintf(at, ",r=");
    memset(at, 'r', nonce_bytes);
    at += nonce_bytes;
    if (more_bytes > 0) {
        at += sprintf(at, ",x=");
        memset(at, 'x', more_bytes);
        at += more_bytes;
    }
    enum err err = scram_begin(passwords, slice_of(message, (size_t)(at - message)), &scram, reply,
                               &reply_bytes);
    scram_free(scram);
    return err;
}

static void what_is_longest_fits_and_what_is_longer_is_refused(void **state)
{
    (void)state;
    assert_int_equal(begin_long(SCRAM_NAME_MAX, 504, 0), ERR_MORE);
    assert_int_equal(begin_long(SCRAM_NAME_MAX + 1, 1, 0), ERR_CREDENTIALS);
    assert_int_equal(begin_long(1, 512, 0), ERR_MORE);
    assert_int_equal(begin_long(1, 513, 0), ERR_CREDENTIALS);
    assert_int_equal(begin_long(1, 1, SCRAM_MESSAGE_MAX - 13), ERR_MORE);
    assert_int_equal(begin_long(1, 1, SCRAM_MESSAGE_MAX - 12), ERR_CREDENTIALS);
}

static void a_last_message_that_is_not_one_is_refused(void **state)
{
#define PROOF "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    static const char *const messages[] = {
        "",
        "c=biws",
        "c=biws,r=" NONCE,
        "c=biws,r=" NONCE ",p=",
        "c=biws,r=" NONCE ",p=" PROOF ",",
        "c=biws,r=" NONCE ",p=" PROOF ",x=y",
        "c=biws,r=" NONCE ",p=" PROOF "=",
        "c=biws,r=" NONCE ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ",
        "c=biws,r=" NONCE ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVR=",
        "c=biws,r=" NONCE ",p=AAAA",
        "c=biws,r=" NONCE ",m=x,p=" PROOF,
        "c=biws,r=" NONCE ",x=y,p=" PROOF, /* well-formed, and not what was signed */
        "c=biws,r=" NONCE "x,p=" PROOF,
        "c=biws,r=rOprNGfwEbeRWgbNEkqO,p=" PROOF,
        "c=eSws,r=" NONCE ",p=" PROOF, /* of "y,," */
        "c=,r=" NONCE ",p=" PROOF,
        "r=" NONCE ",c=biws,p=" PROOF,
        "c=biws,r=" NONCE ",p=eHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", /* a bit */
        "c=biws,r=" NONCE ",p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
        struct scram *scram = begun(CLIENT_FIRST);
        if (finish(scram, messages[i]) != ERR_CREDENTIALS) {
            fail_msg("accepted: %s", messages[i]);
        }
        assert_int_equal(reply_bytes, 0);
        scram_free(scram);
    }
}

/* ---- a client that signs whatever it likes ---------------------------------------------------- */

static void hmac(const uint8_t *key, const char *text, uint8_t out[32])
{
    unsigned out_bytes;
    assert_non_null(
        HMAC(EVP_sha256(), key, 32, (const uint8_t *)text, strlen(text), out, &out_bytes));
}

/* without_proof and a proof of "pencil" over all that was said. */
static enum err finish_signed(const char *first_bare, const char *without_proof,
                              struct scram *scram)
{
    static const uint8_t salt[] =
        "\x5B\x6D\x99\x68\x9D\x12\x35\x8E\xEC\xA0\x4B\x14\x12\x36\xFA\x81";
    static char message[4 * SCRAM_MESSAGE_MAX];
    uint8_t salted[32], key[32], stored[32], proof[32], text[64];
    PKCS5_PBKDF2_HMAC("pencil", 6, salt, 16, 4096, EVP_sha256(), sizeof(salted), salted);
    hmac(salted, "Client Key", key);
    SHA256(key, sizeof(key), stored);
    snprintf(message, sizeof(message), "%s,%.*s,%s", first_bare, (int)reply_bytes, reply,
             without_proof);
    hmac(stored, message, proof);
    for (int i = 0; i < 32; i++) {
        proof[i] ^= key[i];
    }
    EVP_EncodeBlock(text, proof, sizeof(proof));
    snprintf(message, sizeof(message), "%s,p=%s", without_proof, text);
    return finish(scram, message);
}

static void what_was_signed_has_to_be_what_was_agreed_on(void **state)
{
    static const struct {
        const char *header, *bare, *without_proof;
        enum err verdict;
    } cases[] = {
        {"n,,", "n=user,r=abc", "c=biws,r=abc" SERVER_NONCE, OK},
        {"y,,", "n=user,r=abc", "c=eSws,r=abc" SERVER_NONCE, OK},
        {"n,a=user,", "n=user,r=abc", "c=bixhPXVzZXIs,r=abc" SERVER_NONCE, OK},
        {"n,,", "n=user,r=abc,x=y", "c=biws,r=abc" SERVER_NONCE ",x=y,z=1", OK},
        /* the flag that somebody on the way may have changed */
        {"y,,", "n=user,r=abc", "c=biws,r=abc" SERVER_NONCE, ERR_CREDENTIALS},
        {"n,,", "n=user,r=abc", "c=eSws,r=abc" SERVER_NONCE, ERR_CREDENTIALS},
        {"n,a=user,", "n=user,r=abc", "c=biws,r=abc" SERVER_NONCE, ERR_CREDENTIALS},
        /* an exchange of another day */
        {"n,,", "n=user,r=abc", "c=biws,r=abc", ERR_CREDENTIALS},
        {"n,,", "n=user,r=abc", "c=biws,r=abcd" SERVER_NONCE, ERR_CREDENTIALS},
        {"n,,", "n=user,r=abc", "c=biws,r=abc" SERVER_NONCE "x", ERR_CREDENTIALS},
        {"n,,", "n=user,r=abc", "c=biws,r=" SERVER_NONCE, ERR_CREDENTIALS},
        {"n,,", "n=user,r=abc", "c=biws,r=abc" SERVER_NONCE ",m=x", ERR_CREDENTIALS},
        {"n,,", "n=stranger,r=abc", "c=biws,r=abc" SERVER_NONCE, ERR_CREDENTIALS},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char first[256];
        snprintf(first, sizeof(first), "%s%s", cases[i].header, cases[i].bare);
        struct scram *scram = begun(first);
        if (finish_signed(cases[i].bare, cases[i].without_proof, scram) != cases[i].verdict) {
            fail_msg("case %zu", i);
        }
        assert_int_equal(reply_bytes, cases[i].verdict == OK ? 46 : 0);
        scram_free(scram);
    }
}

static void a_stranger_learns_nothing_and_fails_at_the_end(void **state)
{
    static const char first[] = "n,,n=stranger,r=rOprNGfwEbeRWgbNEkqO";
    char again[SCRAM_MESSAGE_MAX];
    struct scram *scram = begun(first);
    (void)state;
    assert_int_equal(reply_bytes, strlen(SERVER_FIRST)); /* a salt as long, as many iterations */
    assert_memory_equal(reply, SERVER_FIRST, strlen("r=" NONCE ",s="));
    assert_memory_equal(reply + reply_bytes - 7, ",i=4096", 7);
    assert_memory_not_equal(reply, SERVER_FIRST, reply_bytes);
    memcpy(again, reply, reply_bytes);
    assert_int_equal(finish(scram, CLIENT_FINAL), ERR_CREDENTIALS);
    scram_free(scram);
    scram = begun(first);
    assert_memory_equal(again, reply, reply_bytes); /* the same salt */
    scram_free(scram);
}

static void the_users_line_may_go_while_the_exchange_is_under_way(void **state)
{
    struct passwords *own = NULL;
    struct password_trouble trouble;
    struct scram *scram;
    (void)state;
    assert_int_equal(passwords_parse(slice_text(LINE), &own, &trouble), OK);
    assert_int_equal(scram_begin_with(own, slice_text(CLIENT_FIRST), slice_text(SERVER_NONCE),
                                      &scram, reply, &reply_bytes),
                     ERR_MORE);
    passwords_unref(own);
    assert_int_equal(finish(scram, CLIENT_FINAL), OK);
    scram_free(scram);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_exchange_of_rfc_7677_is_done_to_the_letter),
        cmocka_unit_test(a_proof_counts_once),
        cmocka_unit_test(a_nonce_of_ours_is_never_the_same),
        cmocka_unit_test(a_first_message_that_is_not_one_is_refused),
        cmocka_unit_test(a_first_message_may_say_more),
        cmocka_unit_test(what_is_longest_fits_and_what_is_longer_is_refused),
        cmocka_unit_test(a_last_message_that_is_not_one_is_refused),
        cmocka_unit_test(what_was_signed_has_to_be_what_was_agreed_on),
        cmocka_unit_test(a_stranger_learns_nothing_and_fails_at_the_end),
        cmocka_unit_test(the_users_line_may_go_while_the_exchange_is_under_way),
    };
    return cmocka_run_group_tests(tests, open_passwords, close_passwords);
}
