/*
 * log: one line per event, logfmt or JSON, to stderr or to the file of log_dest.
 *
 * Floor:  base.
 * Thread: any; a line is written with one write(). Repeats of one call site are limited: beyond
 *         LOG_BURST lines a second they are counted, and one line says how many were held back.
 * Memory: a line is built on the stack, LOG_LINE_MAX bytes; longer values are cut and marked.
 *
 *     log_event(LOG_NOTICE, "client connected", LOG_SLICE("client", id), LOG_TEXT("from", text));
 *     time=2026-11-21T08:42:36.120Z level=notice msg="client connected" client=d1 from=...
 */
#ifndef TERN_BASE_LOG_H
#define TERN_BASE_LOG_H

#include "core/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARNING, LOG_NOTICE, LOG_INFO, LOG_DEBUG, LOG_LEVEL_COUNT };
enum log_format { LOG_LOGFMT, LOG_JSON };

enum { LOG_LINE_MAX = 2048, LOG_BURST = 50 };

struct log_field {
    const char *key;
    enum { LOG_FIELD_TEXT, LOG_FIELD_U64, LOG_FIELD_I64 } kind;
    struct slice text;
    uint64_t number;
};

#define LOG_TEXT(key_, value_)  ((struct log_field){.key = (key_), .text = slice_text(value_)})
#define LOG_SLICE(key_, value_) ((struct log_field){.key = (key_), .text = (value_)})
#define LOG_U64(key_, value_) \
    ((struct log_field){.key = (key_), .kind = LOG_FIELD_U64, .number = (uint64_t)(value_)})

/* Per call site: what the limit of repeats needs. */
struct log_site {
    _Atomic uint64_t second;
    _Atomic uint32_t count, held_back;
};

/* Process-wide, set at start and at reload. fd: where lines go; negative: nowhere. levels: bit per enum log_level. */
void log_setup(int fd, enum log_format format, uint32_t levels);

/* So many lines a second of one call site, instead of LOG_BURST; 0: no limit. Process-wide. */
void log_burst(uint32_t line_count);

/* Replace the clock (the simulator's virtual time). wall_ms: milliseconds since 1970. */
void log_clock(uint64_t (*wall_ms)(void *context), void *context);

bool log_is_on(enum log_level level);

void log_write(struct log_site *site, enum log_level level, const char *message,
               const struct log_field *fields, uint32_t field_count);

/* Fields are optional. Evaluated only if the level is on. */
#define log_event(level, message, ...)                                               \
    do {                                                                             \
        static struct log_site log_site_;                                            \
        if (log_is_on(level)) {                                                      \
            const struct log_field log_fields_[] = {{.key = NULL}, ##__VA_ARGS__};   \
            log_write(&log_site_, (level), (message), log_fields_ + 1,               \
                      (uint32_t)(sizeof(log_fields_) / sizeof(log_fields_[0])) - 1); \
        }                                                                            \
    } while (0)

#endif
