/*
 * text: numbers, sizes, durations, hex, base64; words that look alike.
 *
 * Floor:  base; pure. No locale, no leading or trailing blanks: what is accepted is the whole text.
 *
 * Out-parameters are written only on OK.
 */
#ifndef TERN_BASE_TEXT_H
#define TERN_BASE_TEXT_H

#include "core/base/err.h"
#include "core/base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- numbers ------------------------------------------------------------------------------- */

/* Decimal digits; of i64 with one '-' before them. ERR_INVALID: no number. ERR_RANGE: too large. */
enum err text_read_u64(struct slice text, uint64_t *out);
enum err text_read_i64(struct slice text, int64_t *out);

/*
 * Bytes: a number and nothing, B, K M G T or KiB MiB GiB TiB (times 1024), KB MB GB TB (times 1000).
 * ERR_INVALID: no number or another unit. ERR_RANGE: beyond 64 bits.
 */
enum err text_read_bytes(struct slice text, uint64_t *out);

/*
 * Milliseconds: a number and ms, s, m (minutes), h, d or w; without a unit they are seconds.
 * ERR_INVALID, ERR_RANGE as above.
 */
enum err text_read_duration_ms(struct slice text, uint64_t *out);

/* "64KiB", "1536", "30s", "1500ms": the shortest exact form that the two above read back. */
enum { TEXT_NUMBER_BYTES = 32 };
const char *text_bytes(uint64_t bytes, char out[TEXT_NUMBER_BYTES]);
const char *text_duration(uint64_t ms, char out[TEXT_NUMBER_BYTES]);

/* ---- bytes as text ------------------------------------------------------------------------- */

/* Two lower case digits a byte. out: 2 * bytes.count characters, no NUL is added. */
void text_hex(struct slice bytes, char *out);

/* Either case. out: text.count / 2 bytes. ERR_INVALID: an odd count, or something else than a digit. */
enum err text_read_hex(struct slice text, uint8_t *out);

#define TEXT_BASE64_BYTES(count)      (((count) + 2) / 3 * 4)
#define TEXT_BASE64_READ_BYTES(count) (((count) + 3) / 4 * 3) /* at most */

enum text_base64 {
    TEXT_BASE64,     /* RFC 4648 section 4: + / and padding */
    TEXT_BASE64_URL, /* section 5: - _ and no padding, as RFC 7515 wants it */
};

/* out: TEXT_BASE64_BYTES(bytes.count) characters, no NUL is added. Returns how many were written. */
size_t text_base64(enum text_base64 kind, struct slice bytes, char *out);

/*
 * out: TEXT_BASE64_READ_BYTES(text.count) bytes; *count: how many were written. Strict: one text for
 * one value, so padding must be right and bits that mean nothing must be 0. ERR_INVALID.
 */
enum err text_read_base64(enum text_base64 kind, struct slice text, uint8_t *out, size_t *count);

/* ---- words --------------------------------------------------------------------------------- */

/* ASCII letters only, as HTTP and option names want it. */
bool text_equal_nocase(struct slice a, struct slice b);

/*
 * Did you mean? Offer all known words to a nearest; then `word` is the one with the fewest letters
 * inserted, deleted, replaced or swapped (the first of those alike), or NULL: none is near.
 */
struct text_nearest {
    struct slice wanted;
    uint32_t distance;
    const char *word; /* borrowed from whoever offered it */
};
struct text_nearest text_nearest(struct slice wanted);
void text_nearest_offer(struct text_nearest *nearest, const char *word);

#endif
