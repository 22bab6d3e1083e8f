#include "core/base/text.h"

#include <stdio.h>

/* ---- numbers ------------------------------------------------------------------------------- */

static size_t digit_count(struct slice text)
{
    size_t count = 0;
    while (count < text.count && text.data[count] >= '0' && text.data[count] <= '9') {
        count++;
    }
    return count;
}

enum err text_read_u64(struct slice text, uint64_t *out)
{
    uint64_t number = 0;
    if (text.count == 0 || digit_count(text) != text.count) {
        return ERR_INVALID;
    }
    for (size_t i = 0; i < text.count; i++) {
        uint64_t digit = text.data[i] - (uint64_t)'0';
        if (__builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, digit, &number)) {
            return ERR_RANGE;
        }
    }
    *out = number;
    return OK;
}

enum err text_read_i64(struct slice text, int64_t *out)
{
    bool is_negative = text.count > 0 && text.data[0] == '-';
    uint64_t number;
    TRY(text_read_u64(slice_skip(text, is_negative), &number));
    if (number > (uint64_t)INT64_MAX + is_negative) {
        return ERR_RANGE;
    }
    *out = is_negative ? (int64_t)(0 - number) : (int64_t)number;
    return OK;
}

/* Of units with the same factor the first is written, all are read. */
struct unit {
    const char *name;
    uint64_t factor;
};

/* clang-format off */
static const struct unit byte_units[] = {
    {"",    1},          {"B",   1},
    {"KiB", 1ull << 10}, {"K",   1ull << 10}, {"KB", 1000ull},
    {"MiB", 1ull << 20}, {"M",   1ull << 20}, {"MB", 1000000ull},
    {"GiB", 1ull << 30}, {"G",   1ull << 30}, {"GB", 1000000000ull},
    {"TiB", 1ull << 40}, {"T",   1ull << 40}, {"TB", 1000000000000ull},
    {NULL,  0},
};
static const struct unit time_units[] = {
    {"ms", 1},     {"s", 1000},     {"", 1000},       {"m", 60000},
    {"h", 3600000}, {"d", 86400000}, {"w", 604800000}, {NULL, 0},
};
/* clang-format on */

static enum err read_with_unit(struct slice text, const struct unit *units, uint64_t *out)
{
    size_t digits = digit_count(text);
    struct slice name = slice_skip(text, digits);
    const struct unit *unit = units;
    uint64_t number;

    while (unit->name != NULL && !slice_is(name, unit->name)) {
        unit++;
    }
    if (unit->name == NULL) {
        return ERR_INVALID;
    }
    TRY(text_read_u64(slice_head(text, digits), &number));
    if (__builtin_mul_overflow(number, unit->factor, &number)) {
        return ERR_RANGE;
    }
    *out = number;
    return OK;
}

enum err text_read_bytes(struct slice text, uint64_t *out)
{
    return read_with_unit(text, byte_units, out);
}

enum err text_read_duration_ms(struct slice text, uint64_t *out)
{
    return read_with_unit(text, time_units, out);
}

/* The largest unit that divides the number. */
static const char *with_unit(uint64_t number, const struct unit *units, uint64_t only_multiples_of,
                             char out[TEXT_NUMBER_BYTES])
{
    const struct unit *best = units;
    for (const struct unit *unit = units; unit->name != NULL; unit++) {
        if (number != 0 && number % unit->factor == 0 && unit->factor > best->factor &&
            unit->factor % only_multiples_of == 0) {
            best = unit;
        }
    }
    snprintf(out, TEXT_NUMBER_BYTES, "%llu%s", (unsigned long long)(number / best->factor),
             best->name);
    return out;
}

const char *text_bytes(uint64_t bytes, char out[TEXT_NUMBER_BYTES])
{
    return with_unit(bytes, byte_units, 1024, out); /* not 1000: people count memory in KiB */
}

const char *text_duration(uint64_t ms, char out[TEXT_NUMBER_BYTES])
{
    return with_unit(ms, time_units, 1, out);
}

/* ---- bytes as text ------------------------------------------------------------------------- */

void text_hex(struct slice bytes, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < bytes.count; i++) {
        out[2 * i] = digits[bytes.data[i] >> 4];
        out[2 * i + 1] = digits[bytes.data[i] & 15];
    }
}

/* 16: not a digit. */
static uint8_t hex_value(uint8_t character)
{
    if (character >= '0' && character <= '9') {
        return (uint8_t)(character - '0');
    }
    uint8_t lower = character | 0x20;
    return lower >= 'a' && lower <= 'f' ? (uint8_t)(lower - 'a' + 10) : 16;
}

enum err text_read_hex(struct slice text, uint8_t *out)
{
    if (text.count % 2 != 0) {
        return ERR_INVALID;
    }
    for (size_t i = 0; i < text.count; i++) {
        if (hex_value(text.data[i]) == 16) {
            return ERR_INVALID;
        }
    }
    for (size_t i = 0; i < text.count / 2; i++) {
        out[i] = (uint8_t)(hex_value(text.data[2 * i]) << 4 | hex_value(text.data[2 * i + 1]));
    }
    return OK;
}

static const char base64_letters[2][65] = {
    [TEXT_BASE64] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
    [TEXT_BASE64_URL] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
};

size_t text_base64(enum text_base64 kind, struct slice bytes, char *out)
{
    const char *letters = base64_letters[kind];
    size_t written = 0;
    for (size_t i = 0; i < bytes.count; i += 3) {
        size_t left = bytes.count - i;
        uint32_t bits = (uint32_t)bytes.data[i] << 16;
        bits |= left > 1 ? (uint32_t)bytes.data[i + 1] << 8 : 0;
        bits |= left > 2 ? bytes.data[i + 2] : 0;
        size_t letter_count = left > 2 ? 4 : left + 1;
        for (size_t j = 0; j < 4; j++) {
            if (j < letter_count) {
                out[written++] = letters[bits >> (18 - 6 * j) & 63];
            } else if (kind == TEXT_BASE64) {
                out[written++] = '=';
            }
        }
    }
    return written;
}

/* 64: not a letter of this alphabet. */
static uint8_t base64_value(enum text_base64 kind, uint8_t c)
{
    if (c >= 'A' && c <= 'Z') {
        return (uint8_t)(c - 'A');
    }
    if (c >= 'a' && c <= 'z') {
        return (uint8_t)(c - 'a' + 26);
    }
    if (c >= '0' && c <= '9') {
        return (uint8_t)(c - '0' + 52);
    }
    if (c == (uint8_t)base64_letters[kind][62]) {
        return 62;
    }
    return c == (uint8_t)base64_letters[kind][63] ? 63 : 64;
}

/* The letters without their padding. ERR_INVALID: the padding is not what it must be. */
static enum err strip_padding(enum text_base64 kind, struct slice *text)
{
    size_t count = text->count;
    if (kind == TEXT_BASE64) {
        if (count % 4 != 0) {
            return ERR_INVALID;
        }
        for (int i = 0; i < 2 && count > 0 && text->data[count - 1] == '='; i++) {
            count--;
        }
    }
    *text = slice_head(*text, count);
    return count % 4 == 1 ? ERR_INVALID : OK; /* six bits are no byte */
}

enum err text_read_base64(enum text_base64 kind, struct slice text, uint8_t *out, size_t *count)
{
    size_t written = 0;
    uint32_t bits = 0, bit_count = 0;

    TRY(strip_padding(kind, &text));
    for (size_t i = 0; i < text.count; i++) {
        uint8_t value = base64_value(kind, text.data[i]);
        if (value == 64) {
            return ERR_INVALID;
        }
        bits = bits << 6 | value;
        bit_count += 6;
        if (bit_count >= 8) {
            bit_count -= 8;
            out[written++] = (uint8_t)(bits >> bit_count);
            bits &= (1u << bit_count) - 1;
        }
    }
    if (bits != 0) {
        return ERR_INVALID; /* left-over bits: the same bytes have a proper text */
    }
    *count = written;
    return OK;
}

/* ---- words --------------------------------------------------------------------------------- */

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 'a' - 'A') : c;
}

bool text_equal_nocase(struct slice a, struct slice b)
{
    if (a.count != b.count) {
        return false;
    }
    for (size_t i = 0; i < a.count; i++) {
        if (lower(a.data[i]) != lower(b.data[i])) {
            return false;
        }
    }
    return true;
}

enum { WORD_BYTES_MAX = 64 }; /* longer words are near to none; bounds the work */

/* F. Damerau 1964, V. Levenshtein 1966; three rows, as a swap looks two back. */
static uint32_t edit_distance(struct slice a, struct slice b)
{
    uint32_t rows[3][WORD_BYTES_MAX + 1];
    ASSERT(a.count <= WORD_BYTES_MAX);
    ASSERT(b.count <= WORD_BYTES_MAX);

    for (uint32_t j = 0; j <= b.count; j++) {
        rows[0][j] = j;
    }
    for (uint32_t i = 1; i <= a.count; i++) {
        const uint32_t *above = rows[(i - 1) % 3], *two_above = rows[(i + 1) % 3];
        uint32_t *row = rows[i % 3];
        row[0] = i;
        for (uint32_t j = 1; j <= b.count; j++) {
            uint32_t best = above[j - 1] + (a.data[i - 1] != b.data[j - 1]);
            best = above[j] + 1 < best ? above[j] + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            if (i > 1 && j > 1 && a.data[i - 1] == b.data[j - 2] &&
                a.data[i - 2] == b.data[j - 1] && two_above[j - 2] + 1 < best) {
                best = two_above[j - 2] + 1;
            }
            row[j] = best;
        }
    }
    return rows[a.count % 3][b.count];
}

struct text_nearest text_nearest(struct slice wanted)
{
    /* A third of the letters may be wrong, two of a short word. */
    uint32_t third = wanted.count > WORD_BYTES_MAX ? 0 : (uint32_t)wanted.count / 3;
    return (struct text_nearest){
        .wanted = wanted,
        .distance = wanted.count < 2 ? 0 : (third < 2 ? 2 : third) + 1,
    };
}

void text_nearest_offer(struct text_nearest *nearest, const char *word)
{
    struct slice other = slice_text(word), wanted = nearest->wanted;
    if (wanted.count > WORD_BYTES_MAX || other.count > WORD_BYTES_MAX || other.count == 0) {
        return;
    }
    uint32_t distance = edit_distance(wanted, other);
    if (distance < nearest->distance) {
        nearest->distance = distance;
        nearest->word = word;
    }
}
