/*
 * The tables in words: --help, and --example-config, of which deploy/tern.conf is a copy.
 */
#include "core/base/config_parts.h"

enum { WIDTH = 96 };

/* text in lines of at most WIDTH columns, each after the indent. */
static void print_wrapped(FILE *file, const char *indent, const char *text)
{
    struct slice rest = slice_text(text), word;
    size_t column = 0;
    while (config_word_next(&rest, false, &word)) {
        if (column == 0 || column + 1 + word.count > WIDTH) {
            fprintf(file, "%s%s", column == 0 ? "" : "\n", indent);
            column = strlen(indent);
        } else {
            fputc(' ', file);
            column++;
        }
        fwrite(word.data, 1, word.count, file);
        column += word.count;
    }
    fputc('\n', file);
}

static const char *default_text(const struct config_option *option, char out[CONFIG_VALUE_BYTES])
{
    union {
        bool flag;
        uint32_t count;
        uint64_t bytes;
        const char *text;
        struct config_list list;
    } field;
    config_value_default(option, &field);
    return config_value_text(option, &field, out);
}

/* "Highest QoS ... with. Expects a number, 0 to 2; default 2; changes need a restart." */
static void explain(const struct config_option *option, char *out, size_t size)
{
    char value[CONFIG_VALUE_BYTES], expected[CONFIG_WHY_BYTES];
    default_text(option, value);
    if (strcmp(option->key, "allow_anonymous") == 0) {
        value[0] = '\0'; /* its default is not one value: the help says which */
    }
    snprintf(out, size, "%s. Write %s%s%s%s.", option->help,
             config_value_expected(option, expected), value[0] == '\0' ? "" : "; default ", value,
             option->is_reloadable ? "" : "; a change needs a restart");
}

/* ---- --help -------------------------------------------------------------------------------- */

static void help_lines(FILE *file)
{
    for (uint32_t i = 0; i < config_key_count; i++) {
        const struct config_key *key = &config_keys[i];
        if (key->kind != LINE_ACCEPTED && key->kind != LINE_REFUSED) {
            fprintf(file, "  %s %s\n", key->key, key->argument);
            print_wrapped(file, "      ", key->text);
        }
    }
}

void config_print_help(FILE *file)
{
    char text[CONFIG_VALUE_BYTES + 1024];
    fputs("Usage: tern [-c FILE] [-p PORT] [-v | -q] [--OPTION VALUE]...\n"
          "\n"
          "Tern, an MQTT broker. Without a file it serves this machine only, on port 1883.\n"
          "\n"
          "  -c, --config FILE   read FILE, written as mosquitto.conf\n"
          "  -p PORT             listen on PORT, for this machine only; may be repeated\n"
          "  -v, --verbose       log everything (log_type all)\n"
          "  -q, --quiet         log nothing (log_type none)\n"
          "  --test-config       check the configuration, say all that is wrong, and stop\n"
          "  --example-config    print a file with every option and its default\n"
          "  --version           print the version\n"
          "  -h, --help          print this\n"
          "\n"
          "Every option of the file can be given as TERN_OPTION=VALUE in the environment and as\n"
          "--option VALUE here. What is given here wins over the environment, and that over the\n"
          "file. Options of listeners are for the --listener before them, or for all.\n"
          "\n"
          "Exit codes: 0 stopped as asked, 64 wrong arguments, 69 the kernel lacks something,\n"
          "73 a port or file cannot be opened, 78 wrong configuration.\n"
          "\n"
          "Lines\n",
          file);
    help_lines(file);
    for (uint32_t i = 0; i < config_option_count; i++) {
        const struct config_option *option = &config_options[i];
        if (option->type == TYPE_GROUP) {
            fprintf(file, "\n%s\n", option->help);
            continue;
        }
        explain(option, text, sizeof(text));
        fprintf(file, "  %s\n", option->key);
        print_wrapped(file, "      ", text);
    }
}

/* ---- --example-config ---------------------------------------------------------------------- */

/* A list has no default to show: something that would be valid. */
static const char *list_example(const struct config_option *option)
{
    static const char *const examples[][2] = {
        {"limit", "address=192.0.2.7 connects 100 burst 1000"},
        {"ban", "address 203.0.113.7"},
        {"queue_policy_for", "reject alarms/#"},
        {"websockets_origin", "https://example.org"},
        {"cluster_peer", "node-b 192.0.2.8:7883"},
        {"certificate", "/etc/tern/other.crt /etc/tern/other.key"},
    };
    for (uint32_t i = 0; i < sizeof(examples) / sizeof(examples[0]); i++) {
        if (strcmp(option->key, examples[i][0]) == 0) {
            return examples[i][1];
        }
    }
    return "";
}

void config_print_example(FILE *file)
{
    char text[CONFIG_VALUE_BYTES + 1024], value[CONFIG_VALUE_BYTES];
    fputs("# Every option of Tern with its default, as printed by tern --example-config.\n"
          "# Take the # away from a line to change it. The file is mosquitto.conf, extended: what\n"
          "# Tern does not know of it, tern --test-config names by line.\n",
          file);
    for (uint32_t i = 0; i < config_option_count; i++) {
        const struct config_option *option = &config_options[i];
        if (option->type == TYPE_GROUP) {
            fprintf(file, "\n# ---- %s\n", option->help);
            continue;
        }
        if (option->scope == SCOPE_BRIDGE && config_options[i - 1].type == TYPE_GROUP) {
            print_wrapped(file, "# ",
                          "A bridge begins with its name, the address of the other broker, and "
                          "what is shared with it: FILTER out|in|both QOS LOCAL-PREFIX "
                          "REMOTE-PREFIX.");
            fputs("#connection other\n#address 192.0.2.1:1883\n#topic # both 1 local/ remote/\n",
                  file);
        }
        explain(option, text, sizeof(text));
        fputc('\n', file);
        print_wrapped(file, "# ", text);
        default_text(option, value);
        bool is_list = option->type == TYPE_LIST;
        const char *shown = is_list ? list_example(option) : value;
        fprintf(file, "#%s%s%s\n", option->key, shown[0] == '\0' ? "" : " ", shown);
    }
}
