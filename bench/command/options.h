/*
 * options: the command line of tern-bench, read by one table (options.def).
 *
 *     tern-bench run pairs --rate 20K --seconds 30s --broker-pid 4711
 *     tern-bench sub -p 1883 -c 10 -t 'room/#'
 *
 * A command, its words (a scenario, files), and its options in any order. The last of a repeated
 * option counts, unless it is a list.
 *
 * Floor:  bench.
 * Thread: any; no state.
 * Memory: texts are borrowed from the arguments.
 */
#ifndef TERN_BENCH_OPTIONS_H
#define TERN_BENCH_OPTIONS_H

#include "core/base/buf.h"
#include "core/base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Bits, so that a row can name several. */
enum command {
    COMMAND_CONN = 1,
    COMMAND_PUB = 2,
    COMMAND_SUB = 4,
    COMMAND_RUN = 8,
    COMMAND_LIST = 16,
    COMMAND_AGENT = 32,
    COMMAND_COMPARE = 64,
    COMMAND_SHOW = 128,
};

enum { OPTIONS_LIST_MAX = 16, OPTIONS_WORDS_MAX = 2, OPTIONS_PROBLEM_BYTES = 512 };

struct option_list {
    const char *items[OPTIONS_LIST_MAX];
    uint32_t count;
};

/* An index per row: OPTION_INDEX_window. */
enum option_index {
#define OPTION(field, ...)      OPTION_INDEX_##field,
#define OPTION_TEXT(field, ...) OPTION_INDEX_##field,
#define OPTION_LIST(field, ...) OPTION_INDEX_##field,
#include "bench/command/options.def"
    OPTION_INDEX_COUNT
};

#define OPTION_TYPE_COUNT   uint64_t
#define OPTION_TYPE_NUMBER  double
#define OPTION_TYPE_BOOL    bool
#define OPTION_TYPE_SIZE    uint64_t
#define OPTION_TYPE_SECONDS double
#define OPTION_TYPE_MILLIS  double
#define OPTION_TYPE_PERCENT double

struct options {
    enum command command;
    const char *words[OPTIONS_WORDS_MAX]; /* run: the scenario; compare: A and B; show: a file */
    uint32_t word_count;
    bool is_help; /* --help was among them; the rest may be incomplete */
    bool is_given[OPTION_INDEX_COUNT];
#define OPTION(field, kind, ...) OPTION_TYPE_##kind field;
#define OPTION_TEXT(field, ...)  const char *field; /* NULL: none */
#define OPTION_LIST(field, ...)  struct option_list field;
#include "bench/command/options.def"
};

/* What the command does when nothing is said. */
void options_defaults(enum command command, struct options *out);

/*
 * Read everything behind the program's name: values[0] is the command.
 *
 * ERR_INVALID: problem says which option, which value, why, and what would do; *out is then as far
 * as it got. A word or option of a command that cannot use it is an error.
 */
enum err options_read(int count, const char *const *values, struct options *out,
                      char problem[OPTIONS_PROBLEM_BYTES]);

/* Set one option from text, as if it had been given: presets and agents do. As options_read(). */
enum err options_set(struct options *options, const char *name, const char *value,
                     char problem[OPTIONS_PROBLEM_BYTES]);

/*
 * Append the command, its words and every option that was given as a JSON array of texts
 * ("run", "pairs", "--rate=20000", ...), from which options_read() makes the same struct: for the
 * report, and for the job of an agent. Passwords and keys come as "***" when is_public.
 * ERR_NOMEM.
 */
enum err options_write(const struct options *options, bool is_public, struct buf *out);

/* All commands, or one of them with its options; 0: all. */
void options_help(enum command command, FILE *out);

#endif
