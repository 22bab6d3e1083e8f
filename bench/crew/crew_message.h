/*
 * crew_message: what leader and agent say to each other: one JSON object per line.
 *
 *      leader                                                  agent
 *      hello   version, key, clock          ──>
 *                                           <──  welcome  version, clock, generators
 *                                           <──  refuse   reason, text          (and it hangs up)
 *      job     texts, first, count          ──>
 *                                           <──  ping     ns                    (again and again)
 *      pong    ns, at_ns                    ──>
 *                                           <──  arrived  stage, sent
 *      passed  stage, begin_ns, sent        ──>
 *                                           <──  second   index, second         (to be shown)
 *                                           <──  report   offset_ns, error_ns; the next line is
 *                                                         the report itself, as report_json.h has it
 *      failed  text                        <──>  failed   text                  (the run is over)
 *      stop                                 ──>                                 (end it early)
 *
 * A member that a kind of message has no use for is skipped, one that it needs and has not makes the
 * message malformed. `sent` counts messages per publisher; it comes with stage "sent" only. `second`
 * is length_ns, sent, delivered, max_ns of a second, and then index and count of each latency cell.
 *
 * Floor:  bench.
 * Thread: the owner.
 */
#ifndef TERN_BENCH_CREW_MESSAGE_H
#define TERN_BENCH_CREW_MESSAGE_H

#include "bench/crew/crew.h"
#include "bench/report/histogram.h"
#include "core/base/buf.h"
#include "core/base/json.h"

/* clang-format off */
/*    name      members it has, of the list below */
#define CREW_SAY_TABLE(X)                                     \
    X(HELLO,    "hello",   VERSION | KEY | CLOCK)             \
    X(WELCOME,  "welcome", VERSION | CLOCK | GENERATORS)      \
    X(REFUSE,   "refuse",  REASON | TEXT)                     \
    X(JOB,      "job",     TEXTS | FIRST | COUNT)             \
    X(PING,     "ping",    NS)                                \
    X(PONG,     "pong",    NS | AT_NS)                        \
    X(ARRIVED,  "arrived", STAGE | SENT)                      \
    X(PASSED,   "passed",  STAGE | BEGIN_NS | SENT)           \
    X(SECOND,   "second",  INDEX | FIGURES)                   \
    X(REPORT,   "report",  OFFSET_NS | ERROR_NS)              \
    X(FAILED,   "failed",  TEXT)                              \
    X(STOP,     "stop",    0)

/*    name        key           how           field */
#define CREW_MEMBER_TABLE(X)                               \
    X(VERSION,    "version",    AS_TEXT,      version)     \
    X(KEY,        "key",        AS_TEXT,      key)         \
    X(CLOCK,      "clock",      AS_TEXT,      clock)       \
    X(REASON,     "reason",     AS_TEXT,      reason)      \
    X(TEXT,       "text",       AS_TEXT,      text)        \
    X(STAGE,      "stage",      AS_STAGE,     stage)       \
    X(GENERATORS, "generators", AS_NUMBER,    generators)  \
    X(FIRST,      "first",      AS_NUMBER,    first)       \
    X(COUNT,      "count",      AS_NUMBER,    count)       \
    X(NS,         "ns",         AS_NUMBER,    ns)          \
    X(AT_NS,      "at_ns",      AS_NUMBER,    at_ns)       \
    X(BEGIN_NS,   "begin_ns",   AS_NUMBER,    begin_ns)    \
    X(ERROR_NS,   "error_ns",   AS_NUMBER,    error_ns)    \
    X(OFFSET_NS,  "offset_ns",  AS_SIGNED,    offset_ns)   \
    X(INDEX,      "index",      AS_NUMBER,    index)       \
    X(SENT,       "sent",       AS_NUMBERS,   sent)        \
    X(FIGURES,    "second",     AS_NUMBERS,   second)      \
    X(TEXTS,      "texts",      AS_TEXTS,     texts)
/* clang-format on */

#define CREW_SAY_NAME(name, ...) CREW_SAY_##name,
enum crew_say { CREW_SAY_TABLE(CREW_SAY_NAME) CREW_SAY_COUNT };
#undef CREW_SAY_NAME

struct crew_numbers {
    uint64_t *values;
    uint32_t count; /* up to CREW_PUBLISHERS_MAX */
};

struct crew_texts {
    const char **values; /* each ends in NUL */
    uint32_t count;      /* up to CREW_TEXTS_MAX */
};

enum {
    CREW_TEXTS_MAX = 256,
    CREW_VERSION_BYTES = 192,
    CREW_SECOND_VALUES_MAX = 4 + 2 * HISTOGRAM_CELLS,
};

/* Of this program, with its commit: leader and agents must be the same. Returns out. */
const char *crew_version(char out[CREW_VERSION_BYTES]);

/* Only what the kind has is set or read. */
struct crew_message {
    enum crew_say say;
    struct slice version, key, clock, reason, text;
    uint64_t stage; /* enum crew_stage */
    uint64_t generators, first, count, index, ns, at_ns, begin_ns, error_ns;
    int64_t offset_ns;
    struct crew_numbers sent, second;
    struct crew_texts texts;
    struct json *document; /* read: what the slices are of */
};

/* Append it as a line, with its end. What it points to is borrowed. ERR_NOMEM. */
enum err crew_message_write(const struct crew_message *message, struct buf *out);

/*
 * Read a line. ERR_MALFORMED: not one of the above; problem says why. ERR_NOMEM. On OK the caller
 * gives *out back with crew_message_deinit(); its slices and arrays live until then.
 */
enum err crew_message_read(struct slice line, struct crew_message *out,
                           char problem[CREW_PROBLEM_BYTES]);

void crew_message_deinit(struct crew_message *message);

#endif
