/*
 * fuzz_config: no text breaks the reader of the configuration; what it accepts is whole, differs in
 * nothing from itself, and what it refuses it gives a reason for.
 *
 * A form feed ends the file; after it stand options of the command line, one a line.
 */
#include "core/base/config.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { OVERRIDES_MAX = 16, INPUT_MAX = 8192 };

static void no_change(void *context, const struct config_change *change)
{
    (void)context;
    (void)change;
    ASSERT(!"a configuration differs from itself");
}

/* What every configuration that was accepted promises. */
static void check(const struct config *config)
{
    ASSERT(config->listener_count >= 1);
    ASSERT(config->inflight_max >= 1 && config->receive_max >= 1);
    ASSERT(config->packet_max_bytes >= LIMIT_PACKET_BYTES_MIN);
    ASSERT(strlen(config->http_address) < CONFIG_ADDRESS_BYTES);
    for (uint32_t i = 0; i < config->listener_count; i++) {
        const struct listener_config *listener = &config->listeners[i];
        bool is_unix = listener->unix_path[0] != '\0';
        ASSERT((is_unix || listener->is_inside) == (listener->address_count == 0));
        ASSERT(!listener->is_inside || i == config->inside_listener);
        ASSERT(listener->qos_max <= 2 && listener->accept_versions != 0);
        ASSERT(strlen(listener->name) > 0 && strlen(listener->auto_id_prefix) <= 256);
        for (uint32_t j = 0; j < listener->address_count; j++) {
            ASSERT(strlen(listener->addresses[j]) < CONFIG_ADDRESS_BYTES);
        }
    }
}

/* A line "--max_qos=1", NUL-terminated by the caller, cut as main()'s arguments would be. */
static uint32_t arguments_cut(char *text, char *arguments[OVERRIDES_MAX])
{
    uint32_t count = 1;
    arguments[0] = text; /* the program's name: not looked at */
    for (char *next; text != NULL && count < OVERRIDES_MAX; text = next) {
        next = strchr(text, '\n');
        if (next != NULL) {
            *next++ = '\0';
        }
        arguments[count++] = text;
    }
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct config_command command;
    char *arguments[OVERRIDES_MAX];
    struct config_report report;
    struct config *config = NULL, *again = NULL;

    if (size > INPUT_MAX) {
        return 0;
    }
    char *copy = malloc(size + 1);
    ASSERT(copy != NULL);
    if (size > 0) {
        memcpy(copy, data, size);
    }
    copy[size] = '\0';
    struct slice text = slice_of(copy, slice_find(slice_of(copy, size), '\f'));
    struct config_sources sources = {.text = text};

    config_report_init(&report);
    if (text.count < size) {
        uint32_t count = arguments_cut(copy + text.count + 1, arguments);
        enum err parsed = config_command_parse((int)count, arguments, &command, &report);
        ASSERT((parsed == OK) == (report.error_count == 0));
        config_report_deinit(&report);
        sources.overrides = command.overrides;
        sources.override_count = parsed == OK ? command.override_count : 0;
    }
    enum err err = config_load(&sources, &config, &report);
    if (err == OK) {
        check(config);
        ASSERT(config_reload(config, &sources, &again, &report) == OK);
        check(again);
        config_diff(config, again, no_change, NULL);
    } else {
        ASSERT(err == ERR_INVALID && config == NULL);
        ASSERT(report.error_count > 0 && report.finding_count > 0);
    }
    config_free(config);
    config_free(again);
    config_report_deinit(&report);
    free(copy);
    return 0;
}
