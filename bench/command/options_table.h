/*
 * options_table: the rows of options.def, for the files behind options.h. Nobody else includes this.
 *
 *     options.c        the rows; reading a line
 *     options_print.c  showing rows: --help, and what was given as JSON
 *
 * Floor:  bench; included by options*.c only.
 */
#ifndef TERN_BENCH_OPTIONS_TABLE_H
#define TERN_BENCH_OPTIONS_TABLE_H

#include "bench/command/options.h"

#include <stddef.h>

enum { OPTION_VALUE_BYTES = 64, OPTION_COMMAND_COUNT = 8 };

enum option_kind { COUNT, NUMBER, BOOL, SIZE, SECONDS, MILLIS, PERCENT, TEXT, LIST };

struct option_row {
    const char *name;
    char letter; /* 0: none */
    uint8_t kind;
    uint8_t commands;
    size_t offset; /* of the field in struct options */
    double low, high;
    const char *optional; /* of a text: its value when none follows */
    const char *value, *help;
};
extern const struct option_row option_rows[OPTION_INDEX_COUNT];

struct option_command {
    const char *name;
    enum command command;
    uint32_t words_low, words_high;
    const char *words, *help;
};
extern const struct option_command option_commands[OPTION_COMMAND_COUNT];

/* "run"; "tern-bench" of 0. */
const char *option_command_name(uint32_t command);

const void *option_field(const struct option_row *row, const struct options *options);

/* The value of any kind but TEXT and LIST. */
double option_number(const struct option_row *row, const struct options *options);

/* "0.5", "20000": short, and read back as the same. Returns out. */
const char *option_show(double value, char out[OPTION_VALUE_BYTES]);

#endif
