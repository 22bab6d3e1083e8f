/*
 * fuzz_scram: no message breaks the server's side of SCRAM, and nobody gets in but who proved it.
 *
 * A form feed parts the client's two messages. The nonce of ours and the user are those of RFC 7677,
 * so that the exchange in the corpus succeeds, and whatever else succeeds is an extension of it.
 */
#include "core/access/scram.h"
#include "core/base/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char line[] =
    "user:$scram-sha-256$4096$W22ZaJ0SNY7soEsUEjb6gQ$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY$"
    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU\n";
static const char nonce[] = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";

static struct passwords *passwords;

static void check_first(struct slice message, const struct scram *scram, struct slice reply)
{
    struct slice name = scram_username(scram);
    ASSERT(message.count <= SCRAM_MESSAGE_MAX);
    ASSERT(name.count >= 1 && name.count <= SCRAM_NAME_MAX && utf8_is_valid(name));
    ASSERT(reply.count <= SCRAM_MESSAGE_MAX);
    ASSERT(slice_starts_with(reply, slice_text("r=")));
    ASSERT(slice_find(reply, 0) == reply.count);
    ASSERT(memcmp(reply.data + reply.count - 7, ",i=4096", 7) == 0); /* made up or not */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct password_trouble trouble;
    struct slice input = slice_of(data, size);
    struct slice first = slice_head(input, slice_find(input, '\f'));
    struct slice final = slice_skip(input, first.count < size ? first.count + 1 : size);
    struct scram *scram = NULL;
    char reply[SCRAM_MESSAGE_MAX];
    uint32_t reply_bytes = 0;

    if (passwords == NULL) {
        ASSERT(passwords_parse(slice_text(line), &passwords, &trouble) == OK);
    }
    enum err err = scram_begin_with(passwords, first, slice_text(nonce), &scram, reply,
                                    &reply_bytes);
    if (err != ERR_MORE) {
        ASSERT(err == ERR_CREDENTIALS && scram == NULL && reply_bytes == 0);
        return 0;
    }
    check_first(first, scram, slice_of(reply, reply_bytes));
    err = scram_finish(scram, final, reply, &reply_bytes);
    ASSERT(err == OK || (err == ERR_CREDENTIALS && reply_bytes == 0));
    if (err == OK) {
        ASSERT(slice_is(scram_username(scram), "user"));
        ASSERT(reply_bytes == 46 && memcmp(reply, "v=", 2) == 0);
        ASSERT(scram_finish(scram, final, reply, &reply_bytes) == ERR_CREDENTIALS);
    }
    scram_free(scram);
    return 0;
}
