/*
 * A line is built on the stack and written with one write(), so lines of threads never mix.
 *
 * Invariants
 *   I1  no byte that a client chose reaches the line unless it is a printable character of
 *       well-formed UTF-8; quotes and backslashes are escaped. So no text can begin a new line,
 *       end its value early, or speak to the terminal.
 *   I2  a line keeps LINE_TAIL bytes for its end: however much was cut, it is a whole line (and a
 *       whole JSON object).
 */
#include "core/base/log.h"

#include "core/base/utf8.h"

#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum {
    LINE_TAIL = 32,
    VALUE_MAX = 640, /* of one field, as written: one long text leaves room for the others */
    ESCAPE_MAX = 16, /* one character as written: 4 bytes as \xNN, or two of \uNNNN */
};

/* Process-wide; each is read alone, so relaxed is enough. */
static _Atomic int log_fd = STDERR_FILENO;
static _Atomic uint32_t log_levels = 1u << LOG_ERROR | 1u << LOG_WARNING | 1u << LOG_NOTICE |
                                     1u << LOG_INFO;
static _Atomic(enum log_format) log_line_format = LOG_LOGFMT;

static uint64_t system_wall_ms(void *context)
{
    struct timespec now;
    (void)context;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Context first, released with the function: who sees the function sees its context. */
static void *_Atomic clock_context;
static uint64_t (*_Atomic clock_wall_ms)(void *context) = system_wall_ms;

static const char *const level_names[LOG_LEVEL_COUNT] = {
    [LOG_ERROR] = "error", [LOG_WARNING] = "warning", [LOG_NOTICE] = "notice",
    [LOG_INFO] = "info",   [LOG_DEBUG] = "debug",
};

static _Atomic uint32_t burst_max = LOG_BURST;

void log_burst(uint32_t line_count)
{
    atomic_store_explicit(&burst_max, line_count > 0 ? line_count : UINT32_MAX,
                          memory_order_relaxed);
}

void log_setup(int fd, enum log_format format, uint32_t levels)
{
    atomic_store_explicit(&log_fd, fd, memory_order_relaxed);
    atomic_store_explicit(&log_line_format, format, memory_order_relaxed);
    atomic_store_explicit(&log_levels, levels, memory_order_relaxed);
}

void log_clock(uint64_t (*wall_ms)(void *context), void *context)
{
    atomic_store_explicit(&clock_context, context, memory_order_relaxed);
    atomic_store_explicit(&clock_wall_ms, wall_ms, memory_order_release);
}

static uint64_t wall_now_ms(void)
{
    uint64_t (*wall_ms)(void *) = atomic_load_explicit(&clock_wall_ms, memory_order_acquire);
    return wall_ms(atomic_load_explicit(&clock_context, memory_order_relaxed));
}

bool log_is_on(enum log_level level)
{
    return (atomic_load_explicit(&log_levels, memory_order_relaxed) >> level & 1) != 0;
}

/* ---- the line ------------------------------------------------------------------------------ */

struct line {
    char bytes[LOG_LINE_MAX];
    size_t count;
    bool is_json, is_cut;
};

static bool has_room(const struct line *line, size_t bytes)
{
    return line->count + bytes <= LOG_LINE_MAX - LINE_TAIL; /* I2 */
}

/* Text of ours; the caller knows that it fits. */
static void put(struct line *line, const char *text)
{
    size_t count = strlen(text);
    ASSERT(line->count + count <= LOG_LINE_MAX);
    memcpy(line->bytes + line->count, text, count);
    line->count += count;
}

/* Control characters of both ranges, and what Unicode calls a line or paragraph separator. */
static bool is_printable(uint32_t code_point)
{
    return code_point >= 0x20 && (code_point < 0x7f || code_point > 0x9f) && code_point != 0x2028 &&
           code_point != 0x2029;
}

/* The escape of a character that may not stand as it is (I1); text: its bytes. */
static void escape(const struct line *line, char out[ESCAPE_MAX + 1], struct slice text,
                   uint32_t code_point)
{
    static const char named[][2] = {
        {'"', '"'}, {'\\', '\\'}, {'\n', 'n'}, {'\r', 'r'}, {'\t', 't'}};
    for (size_t i = 0; i < sizeof(named) / sizeof(named[0]); i++) {
        if (code_point == (uint32_t)named[i][0]) {
            snprintf(out, ESCAPE_MAX + 1, "\\%c", named[i][1]);
            return;
        }
    }
    if (line->is_json) {
        snprintf(out, ESCAPE_MAX + 1, "\\u%04x", (unsigned)(code_point & 0xffff));
        return;
    }
    for (size_t i = 0; i < text.count; i++) {
        snprintf(out + i * 4, 5, "\\x%02x", text.data[i]);
    }
}

/* The value between its quotes; false when it did not fit whole. */
static bool put_escaped(struct line *line, struct slice text)
{
    size_t end = line->count + VALUE_MAX;
    while (text.count > 0) {
        uint32_t code_point = 0xfffd; /* what JSON shows for bytes that are no UTF-8 */
        uint32_t length = utf8_first(text, &code_point);
        bool stands = length > 0 && is_printable(code_point) && code_point != '"' &&
                      code_point != '\\';
        struct slice bytes = slice_head(text, length > 0 ? length : 1);
        char escaped[ESCAPE_MAX + 1];
        if (!stands) {
            escape(line, escaped, bytes, code_point);
        }
        size_t count = stands ? bytes.count : strlen(escaped);
        if (!has_room(line, count + 2) || line->count + count > end) {
            return false;
        }
        memcpy(line->bytes + line->count, stands ? (const char *)bytes.data : escaped, count);
        line->count += count;
        text = slice_skip(text, bytes.count);
    }
    return true;
}

static bool needs_quotes(struct slice text)
{
    for (size_t i = 0; i < text.count; i++) {
        uint8_t byte = text.data[i];
        if (byte <= ' ' || byte >= 0x7f || byte == '"' || byte == '=' || byte == '\\') {
            return true;
        }
    }
    return text.count == 0 || text.count > VALUE_MAX;
}

static void put_key(struct line *line, const char *key)
{
    if (line->is_json) {
        put(line, line->count == 1 ? "\"" : ",\"");
        put(line, key);
        put(line, "\":");
        return;
    }
    put(line, line->count == 0 ? "" : " ");
    put(line, key);
    put(line, "=");
}

static void put_text(struct line *line, const char *key, struct slice text)
{
    if (!has_room(line, strlen(key) + 12)) {
        line->is_cut = true;
        return;
    }
    put_key(line, key);
    bool quotes = line->is_json || needs_quotes(text);
    put(line, quotes ? "\"" : "");
    bool is_whole = put_escaped(line, text);
    put(line, is_whole ? "" : "...");
    put(line, quotes ? "\"" : "");
    line->is_cut |= !is_whole;
}

static void put_number(struct line *line, const char *key, const char *digits)
{
    if (!has_room(line, strlen(key) + strlen(digits) + 8)) {
        line->is_cut = true;
        return;
    }
    put_key(line, key);
    put(line, digits);
}

static void put_field(struct line *line, const struct log_field *field)
{
    char digits[24];
    switch (field->kind) {
    case LOG_FIELD_TEXT:
        put_text(line, field->key, field->text);
        return;
    case LOG_FIELD_U64:
        snprintf(digits, sizeof(digits), "%llu", (unsigned long long)field->number);
        break;
    case LOG_FIELD_I64:
        snprintf(digits, sizeof(digits), "%lld", (long long)field->number);
        break;
    }
    put_number(line, field->key, digits);
}

/* "2026-11-21T08:42:36.120Z"; days to a date as in H. Hinnant, "chrono-compatible date algorithms":
   years begin in March, so that the leap day is the last. */
static void put_time(struct line *line, uint64_t wall_ms)
{
    uint64_t days = wall_ms / 86400000 + 719468, ms = wall_ms % 86400000;
    uint64_t era = days / 146097, day_of_era = days % 146097;
    uint64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    uint64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    uint64_t month_from_march = (5 * day_of_year + 2) / 153;
    unsigned day = (unsigned)(day_of_year - (153 * month_from_march + 2) / 5 + 1);
    unsigned month = (unsigned)(month_from_march < 10 ? month_from_march + 3
                                                      : month_from_march - 9);
    unsigned year = (unsigned)((year_of_era + era * 400 + (month <= 2)) % 10000);
    char text[64];
    snprintf(text, sizeof(text),
             line->is_json ? "\"%04u-%02u-%02uT%02u:%02u:%02u.%03uZ\""
                           : "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ",
             year, month, day, (unsigned)(ms / 3600000), (unsigned)(ms / 60000 % 60),
             (unsigned)(ms / 1000 % 60), (unsigned)(ms % 1000));
    put_number(line, "time", text);
}

/* ---- repeats ------------------------------------------------------------------------------- */

/*
 * May this call site speak now? held_back: lines it was refused since it last spoke. Relaxed: two
 * threads that meet at the turn of a second may let one line too many or too few pass, no more.
 */
static bool site_may_speak(struct log_site *site, uint64_t second, uint32_t *held_back)
{
    *held_back = 0;
    uint64_t seen = atomic_load_explicit(&site->second, memory_order_relaxed);
    if (seen != second &&
        atomic_compare_exchange_strong_explicit(&site->second, &seen, second, memory_order_relaxed,
                                                memory_order_relaxed)) {
        atomic_store_explicit(&site->count, 0, memory_order_relaxed);
    }
    if (atomic_fetch_add_explicit(&site->count, 1, memory_order_relaxed) >=
        atomic_load_explicit(&burst_max, memory_order_relaxed)) {
        atomic_fetch_add_explicit(&site->held_back, 1, memory_order_relaxed);
        return false;
    }
    if (atomic_load_explicit(&site->held_back, memory_order_relaxed) > 0) {
        *held_back = atomic_exchange_explicit(&site->held_back, 0, memory_order_relaxed);
    }
    return true;
}

void log_write(struct log_site *site, enum log_level level, const char *message,
               const struct log_field *fields, uint32_t field_count)
{
    uint64_t wall_ms = wall_now_ms();
    uint32_t held_back = 0;
    struct line line;

    ASSERT(level < LOG_LEVEL_COUNT);
    if (site != NULL && !site_may_speak(site, wall_ms / 1000, &held_back)) {
        return;
    }
    line.count = 0;
    line.is_cut = false;
    line.is_json = atomic_load_explicit(&log_line_format, memory_order_relaxed) == LOG_JSON;
    put(&line, line.is_json ? "{" : "");
    put_time(&line, wall_ms);
    put_text(&line, "level", slice_text(level_names[level]));
    put_text(&line, "msg", slice_text(message));
    if (held_back > 0) {
        put_field(&line, &LOG_U64("held_back", held_back));
    }
    for (uint32_t i = 0; i < field_count; i++) {
        put_field(&line, &fields[i]);
    }
    if (line.is_cut) {
        put_key(&line, "cut");
        put(&line, "true");
    }
    put(&line, line.is_json ? "}\n" : "\n"); /* I2 */

    int fd = atomic_load_explicit(&log_fd, memory_order_relaxed);
    ssize_t written = fd < 0 ? 0 : write(fd, line.bytes, line.count);
    (void)written; /* there is no better place to complain */
}
