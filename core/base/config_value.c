/*
 * One value: from its text into a field, and back.
 */
#include "core/base/config_parts.h"
#include "core/base/utf8.h"

#include <inttypes.h>

/* ---- words and numbers --------------------------------------------------------------------- */

static bool is_blank(uint8_t byte)
{
    return byte == ' ' || byte == '\t';
}

struct slice config_trim(struct slice text)
{
    while (text.count > 0 && is_blank(text.data[0])) {
        text = slice_skip(text, 1);
    }
    while (text.count > 0 && is_blank(text.data[text.count - 1])) {
        text.count--;
    }
    return text;
}

bool config_word_next(struct slice *rest, bool commas_too, struct slice *word)
{
    size_t start = 0, end;
    while (start < rest->count &&
           (is_blank(rest->data[start]) || (commas_too && rest->data[start] == ','))) {
        start++;
    }
    for (end = start; end < rest->count; end++) {
        if (is_blank(rest->data[end]) || (commas_too && rest->data[end] == ',')) {
            break;
        }
    }
    *word = slice_head(slice_skip(*rest, start), end - start);
    *rest = slice_skip(*rest, end);
    return word->count > 0;
}

bool config_number_parse(struct slice text, uint64_t *out)
{
    uint64_t number = 0;
    if (text.count == 0) {
        return false;
    }
    for (size_t i = 0; i < text.count; i++) {
        uint8_t digit = (uint8_t)(text.data[i] - '0');
        if (digit > 9 || __builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, digit, &number)) {
            return false;
        }
    }
    *out = number;
    return true;
}

bool config_bool_parse(struct slice text, bool *out)
{
    bool is_true = slice_is(text, "true") || slice_is(text, "1");
    if (!is_true && !slice_is(text, "false") && !slice_is(text, "0")) {
        return false;
    }
    *out = is_true;
    return true;
}

/* "64M": a number and one unit of the list; factor 1 without a unit if bare numbers are allowed. */
struct unit {
    const char *name;
    uint64_t factor;
};

static bool number_with_unit(struct slice text, const struct unit *units, uint64_t *out)
{
    size_t digits = 0;
    uint64_t number;
    while (digits < text.count && text.data[digits] >= '0' && text.data[digits] <= '9') {
        digits++;
    }
    if (!config_number_parse(slice_head(text, digits), &number)) {
        return false;
    }
    struct slice name = slice_skip(text, digits);
    for (const struct unit *unit = units; unit->name != NULL; unit++) {
        if (slice_is(name, unit->name)) {
            return !__builtin_mul_overflow(number, unit->factor, out);
        }
    }
    return false;
}

static const struct unit byte_units[] = {
    {"", 1},
    {"K", 1ull << 10},
    {"M", 1ull << 20},
    {"G", 1ull << 30},
    {"T", 1ull << 40},
    {"KiB", 1ull << 10},
    {"MiB", 1ull << 20},
    {"GiB", 1ull << 30},
    {"TiB", 1ull << 40},
    {NULL, 0},
};

/* Months have 30 days and years 365, as mosquitto counts them. */
static const struct unit expiry_units[] = {
    {"s", 1},          {"h", 3600},        {"d", 86400}, {"w", 7 * 86400},
    {"m", 30 * 86400}, {"y", 365 * 86400}, {NULL, 0},
};

static bool scalar_parse(const struct config_option *option, struct slice value, uint64_t *out)
{
    bool flag;
    switch (option->type) {
    case TYPE_BOOL:
        if (!config_bool_parse(value, &flag)) {
            return false;
        }
        *out = flag;
        return true;
    case TYPE_LIMIT:
        if (slice_is(value, "-1")) {
            *out = 0;
            return true;
        }
        return config_number_parse(value, out);
    case TYPE_BYTES:
        return number_with_unit(value, byte_units, out);
    case TYPE_EXPIRY:
        if (slice_is(value, "never")) {
            *out = UINT32_MAX;
            return true;
        }
        return number_with_unit(value, expiry_units, out);
    default:
        return config_number_parse(value, out);
    }
}

/* ---- fields -------------------------------------------------------------------------------- */

static void number_store(const struct config_option *option, uint64_t number, void *field)
{
    switch (option->type) {
    case TYPE_BOOL:
        *(bool *)field = number != 0;
        return;
    case TYPE_BYTES:
        *(uint64_t *)field = number;
        return;
    default: /* enums are unsigned int here: see the assertions */
        *(uint32_t *)field = (uint32_t)number;
        return;
    }
}

_Static_assert(sizeof(enum config_queue_policy) == sizeof(uint32_t) &&
                   sizeof(enum config_log_format) == sizeof(uint32_t) &&
                   sizeof(enum config_protocol) == sizeof(uint32_t) &&
                   sizeof(enum config_socket_domain) == sizeof(uint32_t) &&
                   sizeof(enum config_proxy_protocol) == sizeof(uint32_t) &&
                   sizeof(enum config_require) == sizeof(uint32_t) &&
                   sizeof(enum config_tls_version) == sizeof(uint32_t),
               "a choice is written through uint32_t");

static uint64_t number_load(const struct config_option *option, const void *field)
{
    switch (option->type) {
    case TYPE_BOOL:
        return *(const bool *)field;
    case TYPE_BYTES:
        return *(const uint64_t *)field;
    default:
        return *(const uint32_t *)field;
    }
}

void config_value_default(const struct config_option *option, void *field)
{
    switch (option->type) {
    case TYPE_TEXT:
        *(const char **)field = option->default_text;
        return;
    case TYPE_LIST:
        *(struct config_list *)field = (struct config_list){.items = NULL};
        return;
    default:
        number_store(option, option->default_number, field);
        return;
    }
}

/* ---- what may be written ------------------------------------------------------------------- */

static void words_write(const struct config_option *option, const char *between, char *out,
                        size_t size)
{
    size_t used = 0;
    out[0] = '\0';
    for (uint32_t i = 0; i < option->word_count && used < size; i++) {
        used += (size_t)snprintf(out + used, size - used, "%s%s", i == 0 ? "" : between,
                                 option->words[i]);
    }
}

const char *config_value_expected(const struct config_option *option, char out[CONFIG_WHY_BYTES])
{
    char words[CONFIG_WHY_BYTES - 64];
    size_t size = CONFIG_WHY_BYTES;
    switch (option->type) {
    case TYPE_BOOL:
        snprintf(out, size, "true or false");
        break;
    case TYPE_LIMIT:
        snprintf(out, size, "a number up to %" PRIu64 ", or 0 for no limit", option->max);
        break;
    case TYPE_BYTES:
        if (option->max == UINT64_MAX) {
            snprintf(out, size, "a number of bytes, %" PRIu64 " or more, such as 1048576 or 64M",
                     option->min);
        } else {
            snprintf(out, size, "bytes, %" PRIu64 " to %" PRIu64 ", such as 1048576 or 64M",
                     option->min, option->max);
        }
        break;
    case TYPE_EXPIRY:
        snprintf(out, size,
                 "a number with s, h, d, w, m or y (seconds, hours, days, weeks, months, "
                 "years), or never");
        break;
    case TYPE_TEXT:
    case TYPE_LIST:
        snprintf(out, size, "text of %" PRIu64 " to %" PRIu64 " bytes", option->min, option->max);
        break;
    case TYPE_CHOICE:
        words_write(option, ", ", words, sizeof(words));
        snprintf(out, size, "one of %s", words);
        break;
    case TYPE_FLAGS:
        words_write(option, ", ", words, sizeof(words));
        snprintf(out, size, "some of %s, or all, or none", words);
        break;
    default:
        snprintf(out, size, "a number, %" PRIu64 " to %" PRIu64, option->min, option->max);
        break;
    }
    return out;
}

/* Words of mosquitto's that stand for what is not safe any more. */
static const char *unsafe_word(const struct config_option *option, struct slice value)
{
    bool is_old = slice_is(value, "tlsv1") || slice_is(value, "tlsv1.0") ||
                  slice_is(value, "tlsv1.1");
    return is_old && strstr(option->key, "tls_version") != NULL ? "tlsv1.2" : NULL;
}

static enum err not_expected(const struct config_option *option, struct slice value,
                             char why[CONFIG_WHY_BYTES])
{
    char expected[CONFIG_WHY_BYTES], quoted[CONFIG_QUOTE_BYTES];
    config_value_expected(option, expected);
    if (value.count == 0) {
        snprintf(why, CONFIG_WHY_BYTES, "no value: write %.200s", expected);
    } else if (option->type == TYPE_TEXT && strstr(option->key, "_password") != NULL) {
        snprintf(why, CONFIG_WHY_BYTES, "not allowed: write %.200s", expected); /* a secret */
    } else if (unsafe_word(option, value) != NULL) {
        snprintf(why, CONFIG_WHY_BYTES, "%s is not safe any more: write %s",
                 config_quote(value, quoted), unsafe_word(option, value));
    } else {
        snprintf(why, CONFIG_WHY_BYTES, "\"%s\" is not allowed: write %.200s",
                 config_quote(value, quoted), expected);
    }
    return ERR_INVALID;
}

/* ---- reading ------------------------------------------------------------------------------- */

static bool word_find(const struct config_option *option, struct slice word, uint32_t *out)
{
    for (uint32_t i = 0; i < option->word_count; i++) {
        if (slice_is(word, option->words[i])) {
            *out = i;
            return true;
        }
    }
    return false;
}

static enum err flags_parse(const struct config_option *option, struct slice value, bool adds,
                            uint32_t *field, char why[CONFIG_WHY_BYTES])
{
    uint32_t flags = adds ? *field : 0, bit;
    struct slice rest = value, word;
    if (!config_word_next(&rest, true, &word)) {
        return not_expected(option, value, why);
    }
    do {
        if (slice_is(word, "all")) {
            flags = (1u << option->word_count) - 1;
        } else if (slice_is(word, "none")) {
            flags = 0;
        } else if (word_find(option, word, &bit)) {
            flags |= 1u << bit;
        } else {
            return not_expected(option, word, why);
        }
    } while (config_word_next(&rest, true, &word));
    *field = flags;
    return OK;
}

static enum err list_parse(struct slice value, bool adds, struct config_memory **memory,
                           struct config_list *list, char why[CONFIG_WHY_BYTES])
{
    uint32_t count = adds ? list->count : 0;
    if (count == LIMIT_CONFIG_LIST_ITEMS) {
        snprintf(why, CONFIG_WHY_BYTES, "more than %d values: remove some",
                 (int)LIMIT_CONFIG_LIST_ITEMS);
        return ERR_INVALID;
    }
    const char **items = config_memory_take(memory, (count + 1) * sizeof(items[0]));
    const char *text = config_memory_copy(memory, value);
    if (items == NULL || text == NULL) {
        return ERR_NOMEM;
    }
    for (uint32_t i = 0; i < count; i++) {
        items[i] = list->items[i];
    }
    items[count] = text;
    *list = (struct config_list){.items = items, .count = count + 1};
    return OK;
}

enum err config_value_parse(const struct config_option *option, struct slice value, bool adds,
                            struct config_memory **memory, void *field, char why[CONFIG_WHY_BYTES])
{
    uint64_t number;
    uint32_t word;
    switch (option->type) {
    case TYPE_TEXT:
    case TYPE_LIST:
        if (value.count < option->min || value.count > option->max || !utf8_is_valid(value)) {
            return not_expected(option, value, why);
        }
        if (option->type == TYPE_LIST) {
            return list_parse(value, adds, memory, field, why);
        }
        const char *text = config_memory_copy(memory, value);
        if (text == NULL) {
            return ERR_NOMEM;
        }
        *(const char **)field = text;
        return OK;
    case TYPE_CHOICE:
        if (!word_find(option, value, &word)) {
            return not_expected(option, value, why);
        }
        number_store(option, word, field);
        return OK;
    case TYPE_FLAGS:
        return flags_parse(option, value, adds, field, why);
    default:
        if (!scalar_parse(option, value, &number) || number < option->min || number > option->max) {
            return not_expected(option, value, why);
        }
        number_store(option, number, field);
        return OK;
    }
}

/* ---- writing ------------------------------------------------------------------------------- */

static void expiry_write(uint64_t seconds, char *out, size_t size)
{
    if (seconds == UINT32_MAX) {
        snprintf(out, size, "never");
        return;
    }
    const struct unit *unit = &expiry_units[5];
    while (unit > expiry_units && seconds % unit->factor != 0) {
        unit--;
    }
    snprintf(out, size, "%" PRIu64 "%s", seconds / unit->factor, unit->name);
}

static void flags_write(const struct config_option *option, uint32_t flags, char *out, size_t size)
{
    size_t used = 0;
    snprintf(out, size, "none");
    for (uint32_t i = 0; i < option->word_count; i++) {
        if ((flags >> i & 1) != 0) {
            used += (size_t)snprintf(out + used, size - used, "%s%s", used == 0 ? "" : " ",
                                     option->words[i]);
        }
    }
}

const char *config_value_text(const struct config_option *option, const void *field,
                              char out[CONFIG_VALUE_BYTES])
{
    size_t size = CONFIG_VALUE_BYTES, used = 0;
    uint64_t number = 0;
    if (option->type != TYPE_TEXT && option->type != TYPE_LIST) {
        number = number_load(option, field);
    }
    out[0] = '\0';
    switch (option->type) {
    case TYPE_BOOL:
        snprintf(out, size, "%s", number != 0 ? "true" : "false");
        break;
    case TYPE_EXPIRY:
        expiry_write(number, out, size);
        break;
    case TYPE_CHOICE:
        snprintf(out, size, "%s", option->words[number]);
        break;
    case TYPE_FLAGS:
        flags_write(option, (uint32_t)number, out, size);
        break;
    case TYPE_TEXT:
        snprintf(out, size, "%s", *(const char *const *)field);
        break;
    case TYPE_LIST: {
        const struct config_list *list = field;
        for (uint32_t i = 0; i < list->count && used < size; i++) {
            used += (size_t)snprintf(out + used, size - used, "%s%s", i == 0 ? "" : " ",
                                     list->items[i]);
        }
        break;
    }
    default:
        snprintf(out, size, "%" PRIu64, number);
        break;
    }
    return out;
}

bool config_value_equal(const struct config_option *option, const void *a, const void *b)
{
    if (option->type == TYPE_TEXT) {
        return strcmp(*(const char *const *)a, *(const char *const *)b) == 0;
    }
    if (option->type != TYPE_LIST) {
        return number_load(option, a) == number_load(option, b);
    }
    const struct config_list *x = a, *y = b;
    if (x->count != y->count) {
        return false;
    }
    for (uint32_t i = 0; i < x->count; i++) {
        if (strcmp(x->items[i], y->items[i]) != 0) {
            return false;
        }
    }
    return true;
}

static enum err list_copy(struct config_memory **memory, struct config_list *target,
                          const struct config_list *source)
{
    const char **items = config_memory_take(memory, (source->count + 1) * sizeof(items[0]));
    if (items == NULL) {
        return ERR_NOMEM;
    }
    for (uint32_t i = 0; i < source->count; i++) {
        items[i] = config_memory_copy(memory, slice_text(source->items[i]));
        if (items[i] == NULL) {
            return ERR_NOMEM;
        }
    }
    *target = (struct config_list){.items = items, .count = source->count};
    return OK;
}

enum err config_value_copy(const struct config_option *option, struct config_memory **memory,
                           void *target, const void *source)
{
    if (option->type == TYPE_LIST) {
        return list_copy(memory, target, source);
    }
    if (option->type == TYPE_TEXT) {
        const char *text = config_memory_copy(memory, slice_text(*(const char *const *)source));
        if (text == NULL) {
            return ERR_NOMEM;
        }
        *(const char **)target = text;
        return OK;
    }
    number_store(option, number_load(option, source), target);
    return OK;
}
