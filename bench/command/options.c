/*
 * One row per option, made of options.def; reading a value and telling what is wrong with it know
 * only rows.
 */
#include "bench/command/options.h"

#include "bench/command/options_table.h"
#include "core/base/assert.h"
#include "core/base/text.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* Names for the table's column of commands. */
enum {
    CONN = COMMAND_CONN,
    PUB = COMMAND_PUB,
    SUB = COMMAND_SUB,
    RUN = COMMAND_RUN,
    AGENT = COMMAND_AGENT,
    COMPARE = COMMAND_COMPARE,
    SHOW = COMMAND_SHOW,
};

/* clang-format off */
#define OPTION(field, kind, name, letter, def, low, high, commands, value, help) \
    _Static_assert((low) <= (high), #field ": an empty range");
#include "bench/command/options.def"

const struct option_row option_rows[OPTION_INDEX_COUNT] = {
#define OPTION(field, kind, name, letter, def, low, high, commands, value, help) \
    [OPTION_INDEX_##field] = {name, letter, kind, commands, offsetof(struct options, field), low, high, NULL, value, help},
#define OPTION_TEXT(field, name, letter, def, optional, commands, value, help) \
    [OPTION_INDEX_##field] = {name, letter, TEXT, commands, offsetof(struct options, field), 0, 0, optional, value, help},
#define OPTION_LIST(field, name, letter, commands, value, help) \
    [OPTION_INDEX_##field] = {name, letter, LIST, commands, offsetof(struct options, field), 0, 0, NULL, value, help},
#include "bench/command/options.def"
};

static const struct {
    const char *name, *of;
} aliases[] = {
#define OPTION_ALIAS(name, of) {name, of},
#include "bench/command/options.def"
};

static const struct refusal {
    const char *name;
    char letter;
    uint8_t commands;
    const char *why;
} refusals[] = {
#define OPTION_REFUSED(name, letter, commands, why) {name, letter, commands, why},
#include "bench/command/options.def"
};

const struct option_command option_commands[OPTION_COMMAND_COUNT] = {
    {"conn",    COMMAND_CONN,    0, 0, "",         "connect clients and hold them, as emqtt-bench"},
    {"pub",     COMMAND_PUB,     0, 0, "",         "publish from many clients, as emqtt-bench"},
    {"sub",     COMMAND_SUB,     0, 0, "",         "subscribe with many clients, as emqtt-bench"},
    {"run",     COMMAND_RUN,     1, 1, "SCENARIO", "a scenario or preset in which every message is checked and accounted for"},
    {"list",    COMMAND_LIST,    0, 0, "",         "the scenarios and presets of run"},
    {"agent",   COMMAND_AGENT,   0, 0, "",         "make load for a run on another machine (run --agents)"},
    {"compare", COMMAND_COMPARE, 2, 2, "A B",      "two runs (or A1,A2,... and B1,B2,...) kept with --json, side by side"},
    {"show",    COMMAND_SHOW,    1, 1, "FILE",     "a run kept with --json, said or drawn again"},
};
/* clang-format on */

#define WHOLE_MAX 1e15 /* whole numbers below it are exact, and are shown with all their digits */

enum {
    REFUSAL_COUNT = sizeof(refusals) / sizeof(refusals[0]),
    ALIAS_COUNT = sizeof(aliases) / sizeof(aliases[0]),
};

/* Where a value is being read, for the messages. */
struct place {
    struct options *options;
    char *problem;
    const char *shown; /* "--window" or "-c", as the user wrote it */
    size_t shown_count;
};

__attribute__((format(printf, 2, 3))) static enum err fail(char *problem, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(problem, OPTIONS_PROBLEM_BYTES, format, list);
    va_end(list);
    return ERR_INVALID;
}

const char *option_command_name(uint32_t command)
{
    for (uint32_t i = 0; i < OPTION_COMMAND_COUNT; i++) {
        if (option_commands[i].command == command) {
            return option_commands[i].name;
        }
    }
    return "tern-bench";
}

/* "pub, sub and run" */
static const char *command_names(uint32_t set, char out[OPTION_VALUE_BYTES])
{
    size_t count = 0;
    out[0] = '\0';
    for (uint32_t i = 0; i < OPTION_COMMAND_COUNT; i++) {
        uint32_t bit = option_commands[i].command;
        if ((set & bit) == 0) {
            continue;
        }
        set &= ~bit;
        const char *before = count == 0 ? "" : set == 0 ? " and " : ", ";
        int rc = snprintf(out + count, OPTION_VALUE_BYTES - count, "%s%s", before,
                          option_commands[i].name);
        count += rc > 0 ? (size_t)rc : 0;
        ASSERT(count < OPTION_VALUE_BYTES);
    }
    return out;
}

void options_defaults(enum command command, struct options *out)
{
    *out = (struct options){
        .command = command,
#define OPTION(field, kind, name, letter, def, ...) .field = (def),
#define OPTION_TEXT(field, name, letter, def, ...)  .field = (def),
#include "bench/command/options.def"
    };
#define OPTION_DEFAULT(field_, kind, set, def)        \
    if (((uint32_t)(set) & (uint32_t)command) != 0) { \
        out->field_ = (OPTION_TYPE_##kind)(def);      \
    }
#include "bench/command/options.def"
}

/* ---- values -------------------------------------------------------------------------------- */

static bool read_truth(const char *text, bool *out)
{
    static const struct {
        const char *word;
        bool is_true;
    } words[] = {{"true", true},   {"1", true},  {"yes", true}, {"on", true},
                 {"false", false}, {"0", false}, {"no", false}, {"off", false}};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (text_equal_nocase(slice_text(text), slice_text(words[i].word))) {
            *out = words[i].is_true;
            return true;
        }
    }
    return false;
}

struct unit {
    const char *name;
    double factor;
};

/* clang-format off */
static const struct unit no_units[]       = {{"", 1}, {NULL, 0}};
static const struct unit thousands[]      = {{"", 1}, {"K", 1e3}, {"k", 1e3}, {"M", 1e6}, {"G", 1e9}, {NULL, 0}};
static const struct unit sizes[]          = {{"", 1}, {"B", 1}, {"K", 1024}, {"KiB", 1024}, {"M", 1048576}, {"MiB", 1048576}, {"G", 1073741824}, {NULL, 0}};
static const struct unit seconds_units[]  = {{"", 1}, {"s", 1}, {"ms", 1e-3}, {"us", 1e-6}, {"ns", 1e-9}, {"m", 60}, {"h", 3600}, {"d", 86400}, {NULL, 0}};
static const struct unit millis_units[]   = {{"", 1}, {"s", 1e3}, {"ms", 1}, {"us", 1e-3}, {"ns", 1e-6}, {"m", 60e3}, {"h", 3600e3}, {NULL, 0}};
static const struct unit percent_units[]  = {{"", 1}, {"%", 1}, {NULL, 0}};

static const struct {
    const struct unit *units;
    bool is_whole;
    const char *like; /* for the message */
} kinds[] = {
    [COUNT]   = {thousands,     true,  "a whole number such as 500, 10K or 2M"},
    [NUMBER]  = {thousands,     false, "a number such as 0.5, 500, 10K or 2M"},
    [BOOL]    = {no_units,      true,  "true or false"},
    [SIZE]    = {sizes,         true,  "bytes such as 64, 16K or 1M"},
    [SECONDS] = {seconds_units, false, "a time such as 5, 500ms, 5s or 2m"},
    [MILLIS]  = {millis_units,  false, "milliseconds such as 10 or 0.5, or a time such as 2s"},
    [PERCENT] = {percent_units, false, "a percentage such as 10%"},
};
/* clang-format on */

/* A decimal number and a unit of the list; strtod alone would take "inf", " 1" and "0x1". */
static bool read_number(const char *text, const struct unit *units, double *out)
{
    char *end;
    if (text[0] < '0' || text[0] > '9' || text[1] == 'x' || text[1] == 'X') {
        return false;
    }
    errno = 0;
    double value = strtod(text, &end);
    if (errno != 0) {
        return false;
    }
    for (const struct unit *unit = units; unit->name != NULL; unit++) {
        if (strcmp(unit->name, end) == 0) {
            *out = value * unit->factor;
            return isfinite(*out);
        }
    }
    return false;
}

static void *field_of(const struct option_row *row, struct options *options)
{
    return (char *)options + row->offset;
}

const void *option_field(const struct option_row *row, const struct options *options)
{
    return (const char *)options + row->offset;
}

double option_number(const struct option_row *row, const struct options *options)
{
    const void *field = option_field(row, options);
    switch (row->kind) {
    case COUNT:
    case SIZE:
        return (double)*(const uint64_t *)field;
    case BOOL:
        return *(const bool *)field ? 1 : 0;
    default:
        return *(const double *)field;
    }
}

static void put_number(const struct option_row *row, struct options *options, double value)
{
    void *field = field_of(row, options);
    if (row->kind == COUNT || row->kind == SIZE) {
        *(uint64_t *)field = (uint64_t)value;
    } else {
        *(double *)field = value;
    }
}

/* "0.5", "20000": short, and read back as the same. */
const char *option_show(double value, char out[OPTION_VALUE_BYTES])
{
    if (value == floor(value) && fabs(value) < WHOLE_MAX) {
        snprintf(out, OPTION_VALUE_BYTES, "%.0f", value);
        return out;
    }
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(out, OPTION_VALUE_BYTES, "%.*g", digits, value);
        if (strtod(out, NULL) == value) {
            break;
        }
    }
    if (strchr(out, 'e') != NULL) {
        snprintf(out, OPTION_VALUE_BYTES, "%.9f", value);
    }
    return out;
}

/* "300", "10000000 (10M)", "268369000 (255.9M)": millions also as people write them, not rounded up. */
static const char *show_bound(const struct option_row *row, double value,
                              char out[OPTION_VALUE_BYTES])
{
    double million = row->kind == SIZE ? 1048576 : 1e6;
    bool has_letter = row->kind == SIZE || row->kind == COUNT || row->kind == NUMBER;

    option_show(value, out);
    if (has_letter && value >= million) {
        size_t count = strlen(out);
        snprintf(out + count, OPTION_VALUE_BYTES - count, " (%gM)",
                 floor(value / million * 10) / 10);
    }
    return out;
}

static enum err put_value(const struct place *at, const struct option_row *row, const char *value)
{
    char bound[OPTION_VALUE_BYTES];
    double number = 0;
    int shown = (int)at->shown_count;

    if (row->kind == TEXT) {
        *(const char **)field_of(row, at->options) = value;
        return OK;
    }
    if (row->kind == LIST) {
        struct option_list *list = field_of(row, at->options);
        if (list->count == OPTIONS_LIST_MAX) {
            return fail(at->problem, "%.*s: given more than %d times", shown, at->shown,
                        OPTIONS_LIST_MAX);
        }
        list->items[list->count++] = value;
        return OK;
    }
    if (row->kind == BOOL) {
        if (!read_truth(value, (bool *)field_of(row, at->options))) {
            return fail(at->problem, "%.*s: '%s' is neither true nor false", shown, at->shown,
                        value);
        }
        return OK;
    }
    if (!read_number(value, kinds[row->kind].units, &number) ||
        (kinds[row->kind].is_whole && number != floor(number))) {
        return fail(at->problem, "%.*s: '%s' is not %s", shown, at->shown, value,
                    kinds[row->kind].like);
    }
    if (number < row->low) {
        return fail(at->problem, "%.*s: %s is below %s", shown, at->shown, value,
                    show_bound(row, row->low, bound));
    }
    if (number > row->high) {
        return fail(at->problem, "%.*s: %s is above %s", shown, at->shown, value,
                    show_bound(row, row->high, bound));
    }
    put_number(row, at->options, number);
    return OK;
}

/* ---- names --------------------------------------------------------------------------------- */

static bool is_name(const char *name, const char *text, size_t count)
{
    return strlen(name) == count && memcmp(name, text, count) == 0;
}

/* Of rows alike the one that the command accepts, else any. */
static const struct option_row *better_of(const struct option_row *found,
                                          const struct option_row *row, uint32_t command)
{
    return found == NULL || (row->commands & command) != 0 ? row : found;
}

static const struct option_row *row_of_name(const char *text, size_t count, uint32_t command)
{
    const struct option_row *found = NULL;
    for (uint32_t i = 0; i < ALIAS_COUNT; i++) {
        if (is_name(aliases[i].name, text, count)) {
            return row_of_name(aliases[i].of, strlen(aliases[i].of), command);
        }
    }
    for (uint32_t i = 0; i < OPTION_INDEX_COUNT; i++) {
        if (is_name(option_rows[i].name, text, count)) {
            found = better_of(found, &option_rows[i], command);
        }
    }
    return found;
}

static const struct option_row *row_of_letter(char letter, uint32_t command)
{
    const struct option_row *found = NULL;
    for (uint32_t i = 0; i < OPTION_INDEX_COUNT; i++) {
        if (option_rows[i].letter == letter) {
            found = better_of(found, &option_rows[i], command);
        }
    }
    return found;
}

static const struct refusal *refusal_of(char letter, const char *text, size_t count)
{
    for (uint32_t i = 0; i < REFUSAL_COUNT; i++) {
        if (letter != 0 ? refusals[i].letter == letter : is_name(refusals[i].name, text, count)) {
            return &refusals[i];
        }
    }
    return NULL;
}

/* The nearest name that this command knows. */
static enum err fail_unknown(const struct place *at, const char *text, size_t count)
{
    struct text_nearest nearest = text_nearest(slice_of(text, count));
    uint32_t command = at->options->command;
    for (uint32_t i = 0; i < OPTION_INDEX_COUNT; i++) {
        if ((option_rows[i].commands & command) != 0) {
            text_nearest_offer(&nearest, option_rows[i].name);
        }
    }
    if (nearest.word != NULL) {
        return fail(at->problem, "%.*s: no such option; did you mean --%s?", (int)at->shown_count,
                    at->shown, nearest.word);
    }
    return fail(at->problem, "%.*s: no such option; tern-bench %s --help lists them",
                (int)at->shown_count, at->shown, option_command_name(command));
}

/* One of emqtt-bench's that we have not: fine if it is switched off. */
static enum err take_refused(const struct place *at, const struct refusal *refusal,
                             const char *attached, const char *next, int *used)
{
    bool is_on = true;
    const char *value = attached == NULL ? next : attached;
    if (value != NULL && read_truth(value, &is_on) && !is_on) {
        *used = attached == NULL ? 1 : 0;
        return OK;
    }
    return fail(at->problem, "%.*s: %s", (int)at->shown_count, at->shown, refusal->why);
}

/* A word that can only be another option: "-x" or "--window", not "-" and not "-5". */
static bool is_option_like(const char *word)
{
    return word[0] == '-' && word[1] != '\0' && (word[1] < '0' || word[1] > '9');
}

static enum err fail_missing(const struct place *at, const struct option_row *row, const char *next)
{
    int shown = (int)at->shown_count;
    if (next == NULL) {
        return fail(at->problem, "%.*s: its value (%s) is missing", shown, at->shown, row->value);
    }
    return fail(at->problem,
                "%.*s: its value (%s) is missing, as '%s' is another option; a value that begins "
                "so is written --%s=%s",
                shown, at->shown, row->value, next, row->name, next);
}

/* The value of a row: attached, or the next word, or implied; *used: words taken from next. */
static enum err take_value(const struct place *at, const struct option_row *row,
                           const char *attached, const char *next, int *used)
{
    bool ignored;
    const char *value = attached;
    if (value == NULL && row->kind == BOOL) {
        bool is_said = next != NULL && read_truth(next, &ignored);
        value = is_said ? next : "true";
        *used = is_said ? 1 : 0;
    } else if (value == NULL && next != NULL && !is_option_like(next)) {
        value = next;
        *used = 1;
    } else if (value == NULL && row->kind == TEXT && row->optional != NULL) {
        value = row->optional;
    }
    if (value == NULL) {
        return fail_missing(at, row, next);
    }
    TRY(put_value(at, row, value));
    at->options->is_given[row - option_rows] = true;
    return OK;
}

/* values[0] begins with '-'. *used: how many words behind it were its value. */
static enum err take_option(struct options *options, const char *word, const char *next, int *used,
                            char *problem)
{
    bool is_long = word[1] == '-';
    const char *name = word + (is_long ? 2 : 1);
    size_t count = is_long ? strcspn(name, "=") : 1;
    const char *attached = NULL;
    struct place at = {options, problem, word, count + (is_long ? 2 : 1)};
    char names[OPTION_VALUE_BYTES];

    *used = 0;
    if (name[count] != '\0') {
        attached = name + count + (name[count] == '=' ? 1 : 0);
    }
    if (is_long && is_name("help", name, count)) {
        options->is_help = true;
        return OK;
    }
    uint32_t command = options->command;
    const struct option_row *row = is_long ? row_of_name(name, count, command)
                                           : row_of_letter(name[0], command);
    const struct refusal *refusal = refusal_of(is_long ? 0 : name[0], name, count);
    if (refusal != NULL && (refusal->commands & command) != 0) {
        return take_refused(&at, refusal, attached, next, used);
    }
    if (row == NULL) {
        return fail_unknown(&at, name, count);
    }
    if ((row->commands & command) == 0) {
        return fail(problem, "%.*s%s%s%s: %s has no use for it; it belongs to %s",
                    (int)at.shown_count, word, is_long ? "" : " (--", is_long ? "" : row->name,
                    is_long ? "" : ")", option_command_name(command),
                    command_names(row->commands, names));
    }
    return take_value(&at, row, attached, next, used);
}

enum err options_set(struct options *options, const char *name, const char *value,
                     char problem[OPTIONS_PROBLEM_BYTES])
{
    const struct option_row *row = row_of_name(name, strlen(name), options->command);
    struct place at = {options, problem, name, strlen(name)};
    problem[0] = '\0';
    if (row == NULL) {
        return fail_unknown(&at, name, strlen(name));
    }
    TRY(put_value(&at, row, value));
    options->is_given[row - option_rows] = true;
    return OK;
}

/* ---- the whole line ------------------------------------------------------------------------ */

static enum err find_command(const char *word, uint32_t *index, char *problem)
{
    struct text_nearest nearest = text_nearest(slice_text(word));
    for (uint32_t i = 0; i < OPTION_COMMAND_COUNT; i++) {
        if (strcmp(option_commands[i].name, word) == 0) {
            *index = i;
            return OK;
        }
        text_nearest_offer(&nearest, option_commands[i].name);
    }
    return fail(problem, "'%s' is no command%s%s%s; tern-bench --help lists them", word,
                nearest.word == NULL ? "" : " (did you mean ",
                nearest.word == NULL ? "" : nearest.word, nearest.word == NULL ? "" : "?)");
}

enum err options_read(int count, const char *const *values, struct options *out,
                      char problem[OPTIONS_PROBLEM_BYTES])
{
    uint32_t index = 0;

    problem[0] = '\0';
    *out = (struct options){0};
    if (count < 1) {
        return fail(problem, "a command is missing; tern-bench --help lists them");
    }
    TRY(find_command(values[0], &index, problem));
    options_defaults(option_commands[index].command, out);
    for (int i = 1; i < count; i++) {
        if (values[i][0] == '-' && values[i][1] != '\0') {
            int used = 0;
            const char *next = i + 1 < count ? values[i + 1] : NULL;
            TRY(take_option(out, values[i], next, &used, problem));
            i += used;
        } else if (out->word_count < option_commands[index].words_high) {
            out->words[out->word_count++] = values[i];
        } else {
            return fail(problem, "'%s': what is this for? tern-bench %s%s%s [options]", values[i],
                        values[0], option_commands[index].words_high == 0 ? "" : " ",
                        option_commands[index].words);
        }
    }
    if (out->word_count < option_commands[index].words_low && !out->is_help) {
        return fail(problem, "tern-bench %s needs %s%s", values[0], option_commands[index].words,
                    out->command == COMMAND_RUN ? "; tern-bench list shows them" : "");
    }
    return OK;
}
