/*
 * main()'s arguments: a few flags of mosquitto, and every option of the file as --option value.
 */
#include "core/base/config_parts.h"

static const char source[] = "command line";

/* What stands after an option, or NULL with a finding. */
static const char *argument_after(const char *option, int count, char *const *arguments, int *at,
                                  struct config_report *report)
{
    if (*at + 1 >= count || strncmp(arguments[*at + 1], "--", 2) == 0) {
        config_report_add(report, CONFIG_ERROR, source, 0, "%s needs a value: write %s VALUE",
                          option, option);
        return NULL;
    }
    return arguments[++*at];
}

static void override_add(struct config_command *command, const char *key, const char *value,
                         struct config_report *report)
{
    if (command->override_count == LIMIT_CONFIG_OVERRIDES) {
        config_report_add(report, CONFIG_ERROR, source, 0,
                          "more than %d options: write them into a file",
                          (int)LIMIT_CONFIG_OVERRIDES);
        return;
    }
    command->overrides[command->override_count++] = (struct config_override){.key = key,
                                                                             .value = value};
}

/* -p PORT: as in mosquitto, a listener for this machine only. */
static void port_add(struct config_command *command, const char *port, struct config_report *report)
{
    uint64_t number;
    if (!config_number_parse(slice_text(port), &number) || number > UINT16_MAX) {
        config_report_add(report, CONFIG_ERROR, source, 0,
                          "-p: \"%.20s\" is no port: write a number, 0 to 65535", port);
        return;
    }
    if (command->port_count == LIMIT_CONFIG_LISTENERS) {
        config_report_add(report, CONFIG_ERROR, source, 0, "-p: more than %d ports: remove some",
                          (int)LIMIT_CONFIG_LISTENERS);
        return;
    }
    char *text = command->ports[command->port_count++];
    snprintf(text, sizeof(command->ports[0]), "%u localhost", (unsigned)number);
    override_add(command, "listener", text, report);
}

/* Flags that take no value. false: it is none of them. */
static bool plain_flag(const char *flag, struct config_command *command,
                       struct config_report *report)
{
    static const struct {
        const char *name;
        enum config_action action;
    } actions[] = {
        {"--test-config", CONFIG_TEST},
        {"--help", CONFIG_SHOW_HELP},
        {"-h", CONFIG_SHOW_HELP},
        {"--version", CONFIG_SHOW_VERSION},
        {"--example-config", CONFIG_SHOW_EXAMPLE},
    };
    for (uint32_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++) {
        if (strcmp(flag, actions[i].name) == 0) {
            command->action = actions[i].action;
            return true;
        }
    }
    if (strcmp(flag, "-v") == 0 || strcmp(flag, "--verbose") == 0) {
        override_add(command, "log_type", "all", report);
        return true;
    }
    if (strcmp(flag, "-q") == 0 || strcmp(flag, "--quiet") == 0) {
        override_add(command, "log_type", "none", report);
        return true;
    }
    if (strcmp(flag, "-d") == 0 || strcmp(flag, "--daemon") == 0) {
        config_report_add(report, CONFIG_ERROR, source, 0,
                          "%s: tern stays in the foreground: start it from systemd, or write "
                          "tern ... & in a shell",
                          flag);
        return true;
    }
    return false;
}

/* Of a misspelt flag at the end of the line, "needs a value" would be the wrong thing to say. */
static bool is_known(const char *flag, struct config_report *report)
{
    char quoted[CONFIG_QUOTE_BYTES];
    struct slice key = slice_text(flag + 2);
    if (config_option_find(key) != NULL || config_key_find(key) != NULL) {
        return true;
    }
    const char *nearest = config_key_nearest(key);
    config_report_add(report, CONFIG_ERROR, source, 0, "unknown flag \"%s\": %s%s",
                      config_quote(slice_text(flag), quoted),
                      nearest != NULL ? "did you mean --" : "see tern --help",
                      nearest != NULL ? nearest : "");
    return false;
}

/* --option value, --option=value */
static void option_flag(int count, char *const *arguments, int *at, struct config_command *command,
                        struct config_report *report)
{
    const char *flag = arguments[*at], *value;
    char *equals = strchr(flag, '=');
    if (equals == NULL && *at + 1 == count && !is_known(flag, report)) {
        return;
    }
    if (equals == NULL) {
        value = argument_after(flag, count, arguments, at, report);
        if (value != NULL) {
            override_add(command, flag + 2, value, report);
        }
        return;
    }
    override_add(command, flag + 2, equals + 1, report); /* the key ends at its = */
}

enum err config_command_parse(int argument_count, char *const *arguments,
                              struct config_command *out, struct config_report *report)
{
    char quoted[CONFIG_QUOTE_BYTES];
    const char *value;

    out->action = CONFIG_RUN;
    out->path = NULL;
    out->override_count = 0;
    out->port_count = 0;
    for (int at = 1; at < argument_count; at++) {
        const char *flag = arguments[at];
        bool is_config = strcmp(flag, "-c") == 0 || strcmp(flag, "--config") == 0;
        bool is_port = strcmp(flag, "-p") == 0;
        if (plain_flag(flag, out, report)) {
            continue;
        }
        if (is_config || is_port) {
            value = argument_after(flag, argument_count, arguments, &at, report);
            if (value != NULL && is_config) {
                out->path = value;
            } else if (value != NULL) {
                port_add(out, value, report);
            }
        } else if (strncmp(flag, "--", 2) == 0 && flag[2] != '\0') {
            option_flag(argument_count, arguments, &at, out, report);
        } else {
            bool is_flag = flag[0] == '-';
            config_report_add(report, CONFIG_ERROR, source, 0,
                              is_flag ? "unknown flag \"%s\": see tern --help"
                                      : "\"%s\" is no option: write -c FILE for a configuration "
                                        "file, or see tern --help",
                              config_quote(slice_text(flag), quoted));
        }
    }
    return report->error_count > 0 ? ERR_INVALID : OK;
}
