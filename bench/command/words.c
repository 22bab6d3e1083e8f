#include "bench/command/words.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

const char *words_count(uint64_t count, char out[WORDS_BYTES])
{
    char digits[24];
    int digit_count = snprintf(digits, sizeof(digits), "%" PRIu64, count);
    char *at = out;
    for (int i = 0; i < digit_count; i++) {
        if (i > 0 && (digit_count - i) % 3 == 0) {
            *at++ = ',';
        }
        *at++ = digits[i];
    }
    *at = '\0';
    return out;
}

/* Three digits that count. */
static const char *three_digits(double number, const char *unit, char out[WORDS_BYTES])
{
    double size = fabs(number);
    int decimals = size >= 99.95 || size == 0 ? 0 : size >= 9.995 ? 1 : 2;
    snprintf(out, WORDS_BYTES, "%.*f%s", decimals, number, unit);
    return out;
}

const char *words_number(double number, char out[WORDS_BYTES])
{
    if (!isfinite(number)) {
        return strcpy(out, "-");
    }
    bool is_whole = number >= 0 && number == floor(number);
    if ((number >= 100 || is_whole) && number < 1e18) {
        return words_count((uint64_t)(number + 0.5), out);
    }
    if (number != 0 && fabs(number) < 0.1) {
        snprintf(out, WORDS_BYTES, "%.3g", number);
        return out;
    }
    return three_digits(number, "", out);
}

const char *words_short(double number, char out[WORDS_BYTES])
{
    static const struct {
        double size;
        const char *letter;
    } steps[] = {{1e9, "G"}, {1e6, "M"}, {1e3, "k"}, {1, ""}};
    for (uint32_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        if (fabs(number) >= steps[i].size) {
            snprintf(out, WORDS_BYTES, "%.3g%s", number / steps[i].size, steps[i].letter);
            return out;
        }
    }
    snprintf(out, WORDS_BYTES, "%.3g", number);
    return out;
}

const char *words_duration(uint64_t ns, char out[WORDS_BYTES])
{
    static const struct {
        double ns;
        const char *unit;
    } steps[] = {{1e9, " s"}, {1e6, " ms"}, {1e3, " us"}};
    for (uint32_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        if ((double)ns >= steps[i].ns) {
            return three_digits((double)ns / steps[i].ns, steps[i].unit, out);
        }
    }
    snprintf(out, WORDS_BYTES, "%" PRIu64 " ns", ns);
    return out;
}

const char *words_bytes(double bytes, char out[WORDS_BYTES])
{
    static const struct {
        double bytes;
        const char *unit;
    } steps[] = {{1073741824, " GiB"}, {1048576, " MiB"}, {10240, " KiB"}};
    for (uint32_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        if (fabs(bytes) >= steps[i].bytes) {
            double size = steps[i].bytes == 10240 ? 1024 : steps[i].bytes;
            return three_digits(bytes / size, steps[i].unit, out);
        }
    }
    snprintf(out, WORDS_BYTES, "%.0f bytes", bytes);
    return out;
}
