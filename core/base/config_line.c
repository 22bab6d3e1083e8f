/*
 * From a line to its option: what key is it, whom is it for, is the value good?
 *
 * A line is refused on its own and the reading goes on, so that one run shows all errors. What only
 * the whole can tell is asked later, in config_check.c.
 */
#include "core/base/config_parts.h"

#define say config_say

/* ---- options ------------------------------------------------------------------------------- */

/* Parse into one field, with its origin; a finding if the value is bad. */
void config_field_set(struct config_loader *loader, const struct config_option *option,
                      struct slice value, void *field, struct config_origin *origin)
{
    char why[CONFIG_WHY_BYTES];
    bool is_again = origin->rank == loader->here.rank;
    bool is_set = option->type == TYPE_LIST || option->type == TYPE_FLAGS;
    enum err err = config_value_parse(option, value, is_again && is_set, &loader->config->memory,
                                      field, why);
    if (err == ERR_NOMEM) {
        loader->is_out_of_memory = true;
        return;
    }
    if (err != OK) {
        bool has_comment = memmem(value.data, value.count, " #", 2) != NULL;
        say(loader, CONFIG_ERROR, "%s: %s%s", option->key, why,
            has_comment ? " (a comment needs a line of its own)" : "");
        return;
    }
    if (is_again && !is_set && origin->source == loader->here.source) {
        char first[32] = "the other one";
        if (origin->line > 0) {
            snprintf(first, sizeof(first), "line %u", (unsigned)origin->line);
        }
        say(loader, CONFIG_WARNING, "%s stands twice: this one counts, remove %s", option->key,
            first);
    }
    *origin = loader->here;
}

/* One bad value is one finding, however many listeners it is for. */
static void field_set_all(struct config_loader *loader, const struct config_option *option,
                          struct slice value)
{
    uint32_t index = config_option_index(option), errors = loader->report->error_count;
    struct config_section *template = &loader->template;
    config_field_set(loader, option, value, config_listener_field(&template->listener, option),
                     &template->origins[index]);
    for (uint32_t i = 0; i < loader->section_count && loader->report->error_count == errors; i++) {
        struct config_section *section = &loader->sections[i];
        config_field_set(loader, option, value, config_listener_field(&section->listener, option),
                         &section->origins[index]);
    }
}

/* An EITHER option for the whole broker: a heavier source also overrules what listeners said. */
static void either_set_global(struct config_loader *loader, const struct config_option *option,
                              struct slice value)
{
    uint32_t index = config_option_index(option);
    config_field_set(loader, option, value, config_field(loader->config, option),
                     &loader->origins[index]);
    for (uint32_t i = 0; i < loader->section_count && loader->here.rank > RANK_FILE; i++) {
        loader->sections[i].origins[index].rank = RANK_DEFAULT;
    }
}

/* per_listener_settings decides what the lines below it mean, so it must stand above them. */
static void per_listener_check(struct config_loader *loader)
{
    if (loader->here.rank != RANK_FILE) {
        say(loader, CONFIG_ERROR,
            "per_listener_settings: write it in the file, above the options "
            "that it is about");
        return;
    }
    for (uint32_t i = 0; i < config_option_count; i++) {
        if (config_options[i].scope == SCOPE_EITHER && loader->origins[i].rank == RANK_FILE) {
            say(loader, CONFIG_ERROR,
                "per_listener_settings: must stand above %s (line %u): move it up",
                config_options[i].key, (unsigned)loader->origins[i].line);
        }
    }
}

static void line_option(struct config_loader *loader, const struct config_option *option,
                        struct slice value)
{
    struct config *config = loader->config;
    struct config_section *section = &loader->sections[loader->current];
    uint32_t index = config_option_index(option);

    if (option->scope == SCOPE_BRIDGE) {
        config_bridge_option(loader, option, value);
        return;
    }
    if (option->scope == SCOPE_GLOBAL) {
        config_field_set(loader, option, value, config_field(config, option),
                         &loader->origins[index]);
        if (option->global_at == offsetof(struct config, per_listener_settings) &&
            config->per_listener_settings) {
            per_listener_check(loader);
        }
        return;
    }
    if (option->scope == SCOPE_EITHER && (loader->is_for_all || !config->per_listener_settings)) {
        either_set_global(loader, option, value);
        return;
    }
    if (loader->is_for_all) {
        field_set_all(loader, option, value);
        return;
    }
    config_field_set(loader, option, value, config_listener_field(&section->listener, option),
                     &section->origins[index]);
}

/* ---- lines with a meaning of their own ----------------------------------------------------- */

/* A heavier source with listeners of its own replaces those of the lighter ones. */
static void listeners_replace(struct config_loader *loader)
{
    uint32_t replaced = 0;
    for (uint32_t i = 0; i < loader->section_count; i++) {
        replaced += i > 0 && !loader->sections[i].is_replaced;
        loader->sections[i].is_replaced = true;
    }
    replaced += loader->default_is_wanted;
    loader->default_is_wanted = false;
    if (replaced > 0) {
        say(loader, CONFIG_NOTE, "listener: takes the place of all listeners of the file");
    }
}

/* "1883", "1883 127.0.0.1", "0 /run/tern.sock". A finding and false if it is none of these. */
static bool listener_parse(struct config_loader *loader, struct slice value,
                           struct config_section *section)
{
    static const char how[] = "write listener PORT [ADDRESS], or listener 0 /PATH";
    struct config_memory **memory = &loader->config->memory;
    char quoted[CONFIG_QUOTE_BYTES];
    struct slice rest = value, word;
    uint64_t port;

    if (!config_word_next(&rest, false, &word)) {
        say(loader, CONFIG_ERROR, "listener: no port: %s", how);
        return false;
    }
    if (!config_number_parse(word, &port) || port > UINT16_MAX) {
        say(loader, CONFIG_ERROR, "listener: \"%s\" is no port from 0 to 65535: %s",
            config_quote(word, quoted), how);
        return false;
    }
    rest = config_trim(rest);
    bool is_path = rest.count > 0 && rest.data[0] == '/';
    if (rest.count > 0 && rest.data[0] == '.') {
        say(loader, CONFIG_ERROR,
            "listener: \"%s\" depends on where the broker is started: write "
            "the whole path, from /",
            config_quote(rest, quoted));
        return false;
    }
    if (is_path && port != 0) {
        say(loader, CONFIG_ERROR, "listener: a Unix socket has no port: write listener 0 %s",
            config_quote(rest, quoted));
        return false;
    }
    if (!is_path && slice_find(rest, ' ') < rest.count) {
        say(loader, CONFIG_ERROR, "listener: more than a port and an address: %s", how);
        return false;
    }
    if (rest.count == 0 && port == 0) {
        say(loader, CONFIG_ERROR, "listener: port 0 needs an address or a path: %s", how);
        return false;
    }
    const char *text = config_memory_copy(memory, rest);
    if (text == NULL) {
        loader->is_out_of_memory = true;
        return false;
    }
    section->port = (uint32_t)port;
    section->host = is_path ? "" : text;
    section->listener.unix_path = is_path ? text : "";
    return true;
}

static void line_listener(struct config_loader *loader, struct slice value)
{
    if (loader->here.rank > RANK_FILE && loader->here.rank > loader->listener_rank) {
        listeners_replace(loader);
    }
    loader->listener_rank = loader->here.rank; /* sources come in the order of their weight */
    if (loader->section_count > LIMIT_CONFIG_LISTENERS) {
        say(loader, CONFIG_ERROR, "listener: more than %d listeners: remove some",
            (int)LIMIT_CONFIG_LISTENERS);
        return;
    }
    struct config_section *section = &loader->sections[loader->section_count];
    *section = loader->template;
    section->origin = loader->here;
    section->is_replaced = !listener_parse(loader, value, section);
    loader->current = loader->section_count++;
    loader->is_for_all = false;
}

/* The environment may hold several: TERN_LISTENER="1883 127.0.0.1; 8083". */
static void listeners_of_environment(struct config_loader *loader, struct slice value)
{
    while (value.count > 0) {
        size_t end = slice_find(value, ';');
        line_listener(loader, config_trim(slice_head(value, end)));
        value = slice_skip(value, end < value.count ? end + 1 : end);
    }
}

static void line_default_listener(struct config_loader *loader, const struct config_key *key,
                                  struct slice value)
{
    struct config_section *section = &loader->sections[0];
    char quoted[CONFIG_QUOTE_BYTES];
    uint64_t port;

    if (loader->here.rank != RANK_FILE) {
        say(loader, CONFIG_ERROR, "%s: write --listener \"PORT ADDRESS\"", key->key);
        return;
    }
    if (key->kind == LINE_PORT) {
        if (!config_number_parse(value, &port) || port < 1 || port > UINT16_MAX) {
            say(loader, CONFIG_ERROR, "port: \"%s\" is not allowed: write a number, 1 to 65535",
                config_quote(value, quoted));
            return;
        }
        section->port = (uint32_t)port;
    } else {
        if (value.count == 0 || slice_find(value, ' ') < value.count) {
            say(loader, CONFIG_ERROR, "bind_address: write one IP address or host name");
            return;
        }
        section->host = config_memory_copy(&loader->config->memory, value);
        loader->is_out_of_memory |= section->host == NULL;
    }
    say(loader, CONFIG_NOTE, "%s is old: write listener %s", key->key,
        key->kind == LINE_PORT ? config_quote(value, quoted) : "PORT ADDRESS");
    section->origin = loader->here;
    loader->default_is_wanted = true;
}

/* listener_allow_anonymous: allow_anonymous of this listener, whatever the others have. */
static void line_listener_own(struct config_loader *loader, const struct config_key *key,
                              struct slice value)
{
    struct config_section *section = &loader->sections[loader->current];
    const char *plain = key->key + strlen("listener_");
    const struct config_option *option = config_option_find(slice_text(plain));
    ASSERT(option != NULL && option->scope == SCOPE_EITHER);
    if (loader->is_for_all) {
        say(loader, CONFIG_ERROR, "%s: no listener stands before it: write %s", key->key, plain);
        return;
    }
    config_field_set(loader, option, value, config_listener_field(&section->listener, option),
                     &section->origins[config_option_index(option)]);
}

static void line_special(struct config_loader *loader, const struct config_key *key,
                         struct slice value)
{
    switch (key->kind) {
    case LINE_LISTENER:
        if (loader->here.rank == RANK_ENVIRONMENT) {
            listeners_of_environment(loader, value);
        } else {
            line_listener(loader, value);
        }
        return;
    case LINE_PORT:
    case LINE_BIND_ADDRESS:
        line_default_listener(loader, key, value);
        return;
    case LINE_LISTENER_OWN:
        line_listener_own(loader, key, value);
        return;
    case LINE_INCLUDE_DIR:
        config_include(loader, value);
        return;
    case LINE_CONNECTION:
    case LINE_ADDRESS:
    case LINE_TOPIC:
    case LINE_RESTART_TIMEOUT:
    case LINE_OTHER_NAME:
        config_bridge_line(loader, key, value);
        return;
    case LINE_ACCEPTED:
        say(loader, CONFIG_NOTE, "%s has no effect: %s", key->key, key->text);
        return;
    default:
        ASSERT(key->kind == LINE_REFUSED);
        if (value.count > 0 && slice_is(value, key->harmless)) {
            say(loader, CONFIG_NOTE, "%s %s is what happens anyway: the line may go", key->key,
                key->harmless);
        } else {
            say(loader, CONFIG_ERROR, "%s: %s", key->key, key->text);
        }
        return;
    }
}

static void unknown_key(struct config_loader *loader, struct slice key)
{
    char quoted[CONFIG_QUOTE_BYTES];
    size_t equals = slice_find(key, '=');
    if (equals > 0 && equals < key.count) {
        say(loader, CONFIG_ERROR, "\"%s\": write the option, a space and the value, without =",
            config_quote(key, quoted));
        return;
    }
    bool is_heard = loader->report->finding_count < LIMIT_CONFIG_REPORT_ITEMS;
    const char *nearest = is_heard ? config_key_nearest(key) : NULL;
    /* The environment belongs to everybody: a variable of somebody else must not stop a broker. */
    enum config_severity severity = loader->here.rank == RANK_ENVIRONMENT ? CONFIG_WARNING
                                                                          : CONFIG_ERROR;
    if (nearest != NULL) {
        say(loader, severity, "unknown option \"%s\": did you mean \"%s\"?",
            config_quote(key, quoted), nearest);
    } else {
        say(loader, severity, "unknown option \"%s\": see tern --help for all there are",
            config_quote(key, quoted));
    }
}

void config_line(struct config_loader *loader, struct slice key, struct slice value)
{
    const struct config_option *option = config_option_find(key);
    const struct config_key *special = config_key_find(key);
    if (option == NULL && special == NULL) {
        unknown_key(loader, key);
        return;
    }
    if (value.count > 0 && value.data[0] == '=') {
        say(loader, CONFIG_ERROR, "%s: write the option, a space and the value, without =",
            option != NULL ? option->key : special->key);
        return;
    }
    if (option != NULL) {
        line_option(loader, option, value);
    } else {
        line_special(loader, special, value);
    }
}
