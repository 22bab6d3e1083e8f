/*
 * Load, reload and compare: the parts of config put together.
 */
#include "core/base/config.h"

#include "core/base/config_parts.h"

#include <stdlib.h>

/* ---- load ---------------------------------------------------------------------------------- */

void config_free(struct config *config)
{
    if (config == NULL) {
        return;
    }
    config_memory_free(config->memory);
    free(config);
}

static void defaults_fill(struct config_loader *loader)
{
    struct config_section *template = &loader->template;
    template->host = "";
    template->listener.unix_path = "";
    template->listener.name = "";
    for (uint32_t i = 0; i < config_option_count; i++) {
        const struct config_option *option = &config_options[i];
        if (option->type == TYPE_GROUP) {
            continue;
        }
        if (option->global_at != CONFIG_NOWHERE) {
            config_value_default(option, config_field(loader->config, option));
        }
        if (option->listener_at != CONFIG_NOWHERE) {
            config_value_default(option, config_listener_field(&template->listener, option));
        }
    }
    loader->sections[0] = *template;
    loader->sections[0].origin.source = "configuration";
}

static enum err load(struct config_loader *loader)
{
    enum err parsed = config_parse(loader);
    if (parsed != OK) {
        return parsed;
    }
    TRY(config_check(loader));
    return loader->report->error_count > 0 ? ERR_INVALID : OK;
}

enum err config_load(const struct config_sources *sources, struct config **out,
                     struct config_report *report)
{
    enum err err = ERR_NOMEM;
    struct config *config = calloc(1, sizeof(*config));
    struct config_loader *loader = calloc(1, sizeof(*loader));
    struct config_section *sections = calloc(LIMIT_CONFIG_LISTENERS + 1, sizeof(sections[0]));

    if (config == NULL || loader == NULL || sections == NULL) {
        goto fail;
    }
    loader->sources = sources;
    loader->config = config;
    loader->report = report;
    loader->sections = sections;
    defaults_fill(loader);
    err = load(loader);
    if (err != OK) {
        goto fail;
    }
    config_bridges_forget(loader);
    free(sections);
    free(loader);
    *out = config;
    return OK;
fail:
    if (loader != NULL) {
        config_bridges_forget(loader);
    }
    free(sections);
    free(loader);
    config_free(config);
    return err;
}

struct config *config_new_default(void)
{
    const struct config_sources nothing = {.path = NULL};
    struct config *config = NULL;
    struct config_report report;
    config_report_init(&report);
    if (config_load(&nothing, &config, &report) != OK) {
        config = NULL;
    }
    config_report_deinit(&report);
    return config;
}

/* ---- compare ------------------------------------------------------------------------------- */

static const struct listener_config *listener_find(const struct config *config, const char *name)
{
    for (uint32_t i = 0; i < config->listener_count; i++) {
        if (strcmp(config->listeners[i].name, name) == 0) {
            return &config->listeners[i];
        }
    }
    return NULL;
}

static bool global_differs(const struct config_option *option, const struct config *a,
                           const struct config *b)
{
    return option->global_at != CONFIG_NOWHERE &&
           !config_value_equal(option, (const char *)a + option->global_at,
                               (const char *)b + option->global_at);
}

static bool listener_differs(const struct config_option *option, const struct listener_config *a,
                             const struct listener_config *b)
{
    return option->listener_at != CONFIG_NOWHERE &&
           !config_value_equal(option, (const char *)a + option->listener_at,
                               (const char *)b + option->listener_at);
}

/* The addresses a host name stands for may change without a change of the file. */
static bool addresses_differ(const struct listener_config *a, const struct listener_config *b)
{
    if (a->address_count != b->address_count) {
        return true;
    }
    for (uint32_t i = 0; i < a->address_count; i++) {
        if (strcmp(a->addresses[i], b->addresses[i]) != 0) {
            return true;
        }
    }
    return false;
}

static void listeners_diff(const struct listener_config *a, const struct listener_config *b,
                           void (*changed)(void *context, const struct config_change *change),
                           void *context)
{
    struct config_change change = {.section = a->name, .key = "listener"};
    if (addresses_differ(a, b)) {
        changed(context, &change);
    }
    for (uint32_t i = 0; i < config_option_count; i++) {
        const struct config_option *option = &config_options[i];
        if (option->type != TYPE_GROUP && listener_differs(option, a, b)) {
            change.key = option->key;
            change.is_reloadable = option->is_reloadable;
            changed(context, &change);
        }
    }
}

static const struct bridge_config *bridge_find(const struct config *config, const char *name)
{
    for (uint32_t i = 0; i < config->bridge_count; i++) {
        if (strcmp(config->bridges[i].name, name) == 0) {
            return &config->bridges[i];
        }
    }
    return NULL;
}

/* A running broker needs the listener by which bridges come in: it makes none. */
static void bridges_diff(const struct config *a, const struct config *b,
                         void (*changed)(void *context, const struct config_change *change),
                         void *context)
{
    struct config_change change = {.key = "connection",
                                   .is_reloadable = a->inside_listener < a->listener_count};
    for (uint32_t i = 0; i < a->bridge_count; i++) {
        const struct bridge_config *is = bridge_find(b, a->bridges[i].name);
        change.section = a->bridges[i].name;
        if (is == NULL || !config_bridge_equal(&a->bridges[i], is)) {
            changed(context, &change);
        }
    }
    for (uint32_t i = 0; i < b->bridge_count; i++) {
        change.section = b->bridges[i].name;
        if (bridge_find(a, b->bridges[i].name) == NULL) {
            changed(context, &change);
        }
    }
}

void config_diff(const struct config *old_config, const struct config *new_config,
                 void (*changed)(void *context, const struct config_change *change), void *context)
{
    for (uint32_t i = 0; i < config_option_count; i++) {
        const struct config_option *option = &config_options[i];
        if (option->type != TYPE_GROUP && global_differs(option, old_config, new_config)) {
            struct config_change change = {
                .section = "", .key = option->key, .is_reloadable = option->is_reloadable};
            changed(context, &change);
        }
    }
    for (uint32_t i = 0; i < old_config->listener_count; i++) {
        const struct listener_config *was = &old_config->listeners[i];
        const struct listener_config *is = listener_find(new_config, was->name);
        if (was->is_inside) {
            continue;
        }
        if (is == NULL) {
            changed(context, &(struct config_change){.section = was->name, .key = "listener"});
        } else {
            listeners_diff(was, is, changed, context);
        }
    }
    for (uint32_t i = 0; i < new_config->listener_count; i++) {
        const struct listener_config *is = &new_config->listeners[i];
        if (!is->is_inside && listener_find(old_config, is->name) == NULL) {
            changed(context, &(struct config_change){.section = is->name, .key = "listener"});
        }
    }
    bridges_diff(old_config, new_config, changed, context);
}

/* ---- reload -------------------------------------------------------------------------------- */

/* Everything of a running listener, but what may change from the new one (NULL: none). */
static enum err listener_carry(const struct listener_config *running,
                               const struct listener_config *fresh, struct config *config,
                               struct listener_config *out)
{
    struct config_memory **memory = &config->memory;
    struct listener_config listener = *running;

    for (uint32_t i = 0; i < running->address_count; i++) {
        listener.addresses[i] = config_memory_copy(memory, slice_text(running->addresses[i]));
        if (listener.addresses[i] == NULL) {
            return ERR_NOMEM;
        }
    }
    listener.unix_path = config_memory_copy(memory, slice_text(running->unix_path));
    listener.name = config_memory_copy(memory, slice_text(running->name));
    if (listener.unix_path == NULL || listener.name == NULL) {
        return ERR_NOMEM;
    }
    for (uint32_t i = 0; i < config_option_count; i++) {
        const struct config_option *option = &config_options[i];
        if (option->type == TYPE_GROUP || option->listener_at == CONFIG_NOWHERE) {
            continue;
        }
        bool is_fresh = fresh != NULL && option->is_reloadable;
        const struct listener_config *from = is_fresh ? fresh : running;
        TRY(config_value_copy(option, memory, config_listener_field(&listener, option),
                              (const char *)from + option->listener_at));
    }
    *out = listener;
    return OK;
}

static enum err listeners_carry(const struct config *running, struct config *fresh)
{
    struct listener_config *listeners = config_memory_take(
        &fresh->memory, running->listener_count * sizeof(listeners[0]));
    if (listeners == NULL) {
        return ERR_NOMEM;
    }
    for (uint32_t i = 0; i < running->listener_count; i++) {
        const struct listener_config *was = &running->listeners[i];
        TRY(listener_carry(was, listener_find(fresh, was->name), fresh, &listeners[i]));
    }
    fresh->listeners = listeners;
    fresh->listener_count = running->listener_count;
    fresh->inside_listener = running->inside_listener;
    return OK;
}

static enum err globals_carry(const struct config *running, struct config *fresh)
{
    for (uint32_t i = 0; i < config_option_count; i++) {
        const struct config_option *option = &config_options[i];
        if (option->type == TYPE_GROUP || option->global_at == CONFIG_NOWHERE ||
            option->is_reloadable) {
            continue;
        }
        TRY(config_value_copy(option, &fresh->memory, config_field(fresh, option),
                              (const char *)running + option->global_at));
    }
    fresh->http_port = running->http_port; /* http_listener is not reloadable */
    fresh->http_address = config_memory_copy(&fresh->memory, slice_text(running->http_address));
    return fresh->http_address == NULL ? ERR_NOMEM : OK;
}

struct reload {
    struct config_report *report;
    const char *source;
};

static void say_if_kept(void *context, const struct config_change *change)
{
    const struct reload *reload = context;
    if (change->is_reloadable) {
        return;
    }
    bool is_global = change->section[0] == '\0', is_bridge = strcmp(change->key, "connection") == 0;
    bool is_whole = is_bridge || strcmp(change->key, "listener") == 0;
    config_report_add(reload->report, CONFIG_WARNING, reload->source, 0,
                      "%s%s%s%s cannot change while the broker runs: restart it to apply this",
                      is_global   ? ""
                      : is_bridge ? "connection "
                                  : "listener ",
                      change->section, is_global || is_whole ? "" : ": ",
                      is_whole ? "" : change->key);
}

enum err config_reload(const struct config *running, const struct config_sources *sources,
                       struct config **out, struct config_report *report)
{
    struct config *fresh;
    TRY(config_load(sources, &fresh, report));

    struct reload reload = {.report = report, .source = "configuration"};
    if (sources->path != NULL) {
        reload.source = config_report_text(report, slice_text(sources->path));
    }
    config_diff(running, fresh, say_if_kept, &reload);
    if (globals_carry(running, fresh) != OK || listeners_carry(running, fresh) != OK) {
        config_free(fresh);
        return ERR_NOMEM;
    }
    *out = fresh;
    return OK;
}
