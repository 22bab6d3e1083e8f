/*
 * What options.def says, shown: as --help of a command, and as the JSON of what was given.
 */
#include "bench/command/options_table.h"
#include "core/base/json.h"

#include <string.h>

enum { WRITE_BYTES_MAX = 1 << 20, OPTION_TEXT_BYTES = 1024, HELP_COLUMN = 30, HELP_WIDTH = 98 };

/* ---- as JSON ------------------------------------------------------------------------------- */

static void write_option(struct json_writer *json, const struct option_row *row, const char *value)
{
    char text[OPTION_TEXT_BYTES];
    int count = snprintf(text, sizeof(text), "--%s=%s", row->name, value);
    if (count >= (int)sizeof(text)) {
        json->err = json->err == OK ? ERR_TOO_LARGE : json->err;
        return;
    }
    json_add_text(json, NULL, slice_text(text));
}

static void write_row(struct json_writer *json, const struct option_row *row,
                      const struct options *options, bool is_public)
{
    char number[OPTION_VALUE_BYTES];
    const void *field = option_field(row, options);
    bool is_secret = row == &option_rows[OPTION_INDEX_password] ||
                     row == &option_rows[OPTION_INDEX_agent_key];

    if (row->kind == LIST) {
        const struct option_list *list = field;
        for (uint32_t i = 0; i < list->count; i++) {
            write_option(json, row, list->items[i]);
        }
    } else if (row->kind == TEXT) {
        write_option(json, row, is_public && is_secret ? "***" : *(const char *const *)field);
    } else if (row->kind == BOOL) {
        write_option(json, row, *(const bool *)field ? "true" : "false");
    } else {
        write_option(json, row, option_show(option_number(row, options), number));
    }
}

enum err options_write(const struct options *options, bool is_public, struct buf *out)
{
    struct json_writer json = json_writer(out, WRITE_BYTES_MAX);
    json_array_begin(&json, NULL);
    json_add_text(&json, NULL, slice_text(option_command_name(options->command)));
    for (uint32_t i = 0; i < options->word_count; i++) {
        json_add_text(&json, NULL, slice_text(options->words[i]));
    }
    for (uint32_t i = 0; i < OPTION_INDEX_COUNT; i++) {
        if (options->is_given[i]) {
            write_row(&json, &option_rows[i], options, is_public);
        }
    }
    json_array_end(&json);
    return json_writer_end(&json);
}

/* ---- help ---------------------------------------------------------------------------------- */

/* clang-format off */
/* Titles stand before a row: the first of the rows that follow. */
static const struct {
    const char *title;
    int first;
} groups[] = {
#define OPTION_GROUP(title)     {title, -1},
#define OPTION(field, ...)      {NULL, OPTION_INDEX_##field},
#define OPTION_TEXT(field, ...) {NULL, OPTION_INDEX_##field},
#define OPTION_LIST(field, ...) {NULL, OPTION_INDEX_##field},
#include "bench/command/options.def"
};
/* clang-format on */

enum { GROUP_COUNT = sizeof(groups) / sizeof(groups[0]) };

/* Text from HELP_COLUMN on, broken between words. */
static void print_wrapped(const char *text, FILE *out)
{
    int column = HELP_COLUMN;
    while (*text != '\0') {
        int count = (int)strcspn(text, " ");
        if (column > HELP_COLUMN && column + 1 + count > HELP_WIDTH) {
            fprintf(out, "\n%*s", HELP_COLUMN, "");
            column = HELP_COLUMN;
        }
        int rc = fprintf(out, "%s%.*s", column > HELP_COLUMN ? " " : "", count, text);
        column += rc < 0 ? 0 : rc;
        text += count + (text[count] == ' ' ? 1 : 0);
    }
    fputc('\n', out);
}

/* " [default]", or nothing where nothing is said by default. */
static void default_text(const struct option_row *row, const struct options *defaults, char *out,
                         size_t out_bytes)
{
    char number[OPTION_VALUE_BYTES];
    const char *shown = NULL;
    if (row->kind == TEXT) {
        shown = *(const char *const *)option_field(row, defaults);
    } else if (row->kind == BOOL) {
        shown = *(const bool *)option_field(row, defaults) ? "true" : NULL;
    } else if (row->kind != LIST && option_number(row, defaults) != 0) {
        shown = option_show(option_number(row, defaults), number);
    }
    snprintf(out, out_bytes, "%s%s%s", shown == NULL ? "" : " [", shown == NULL ? "" : shown,
             shown == NULL ? "" : "]");
}

static void print_row(const struct option_row *row, const struct options *defaults, FILE *out)
{
    char left[OPTION_VALUE_BYTES], text[512], letter[8] = "   ", shown[OPTION_VALUE_BYTES + 4];
    if (row->letter != 0) {
        snprintf(letter, sizeof(letter), "-%c,", row->letter);
    }
    snprintf(left, sizeof(left), "  %s --%s %s", letter, row->name, row->value);
    default_text(row, defaults, shown, sizeof(shown));
    snprintf(text, sizeof(text), "%s%s", row->help, shown);
    fprintf(out, "%-*s", HELP_COLUMN, left);
    if (strlen(left) >= HELP_COLUMN) {
        fprintf(out, "\n%*s", HELP_COLUMN, "");
    }
    print_wrapped(text, out);
}

static void print_options(enum command command, FILE *out)
{
    struct options defaults;
    const char *title = NULL;
    options_defaults(command, &defaults);
    for (uint32_t i = 0; i < GROUP_COUNT; i++) {
        if (groups[i].title != NULL) {
            title = groups[i].title;
            continue;
        }
        const struct option_row *row = &option_rows[groups[i].first];
        if ((row->commands & (uint32_t)command) == 0) {
            continue;
        }
        if (title != NULL) {
            fprintf(out, "\n%s\n", title);
            title = NULL;
        }
        print_row(row, &defaults, out);
    }
}

void options_help(enum command command, FILE *out)
{
    for (uint32_t i = 0; i < OPTION_COMMAND_COUNT; i++) {
        if (command == 0) {
            fprintf(out, "%s tern-bench %-7s %-8s  %s\n", i == 0 ? "usage:" : "      ",
                    option_commands[i].name, option_commands[i].words, option_commands[i].help);
        } else if (option_commands[i].command == command) {
            fprintf(out, "usage: tern-bench %s %s%s[options]\n%s\n", option_commands[i].name,
                    option_commands[i].words, option_commands[i].words[0] == '\0' ? "" : " ",
                    option_commands[i].help);
        }
    }
    if (command != 0) {
        print_options(command, out);
    } else {
        fprintf(out, "\ntern-bench COMMAND --help shows its options; tern-bench --version.\n");
    }
    fprintf(out, "\nexit: 0 well; 1 messages lost, repeated, out of order or changed, clients "
                 "refused, or a goal\nbroken; 64 usage; 68 no such host; 69 this machine or the "
                 "broker cannot serve\n");
}
