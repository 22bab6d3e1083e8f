/*
 * From sources to lines. Every source ends up in config_line(): a file line by line, the environment
 * variable by variable, the command line option by option.
 */
#include "core/base/config_parts.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define say config_say

/* ---- files --------------------------------------------------------------------------------- */

static void raw_line(struct config_loader *loader, struct slice raw)
{
    if (raw.count > 0 && raw.data[raw.count - 1] == '\r') {
        raw.count--;
    }
    if (raw.count > LIMIT_CONFIG_LINE_BYTES) {
        say(loader, CONFIG_ERROR, "the line is longer than %d bytes: shorten it",
            (int)LIMIT_CONFIG_LINE_BYTES);
        return;
    }
    if (slice_find(raw, '\0') < raw.count) {
        say(loader, CONFIG_ERROR, "the line holds a NUL byte: is this a text file?");
        return;
    }
    struct slice rest = config_trim(raw), key;
    if (rest.count == 0 || rest.data[0] == '#') {
        return;
    }
    config_word_next(&rest, false, &key);
    config_line(loader, key, config_trim(rest));
}

/* Every file starts with the default listener's section. */
static void text_read(struct config_loader *loader, const char *source, struct slice text)
{
    static const struct slice bom = SLICE("\xEF\xBB\xBF");
    uint32_t current = loader->current;
    struct config_origin here = loader->here;

    loader->current = 0;
    loader->here = (struct config_origin){.rank = RANK_FILE, .source = source};
    if (slice_starts_with(text, bom)) {
        text = slice_skip(text, bom.count);
    }
    while (text.count > 0 && !loader->is_out_of_memory) {
        size_t end = slice_find(text, '\n');
        loader->here.line++;
        if (loader->line_count++ == LIMIT_CONFIG_LINES) {
            say(loader, CONFIG_ERROR, "more than %d lines of configuration: the rest is not read",
                (int)LIMIT_CONFIG_LINES);
        }
        if (loader->line_count > LIMIT_CONFIG_LINES) {
            break;
        }
        raw_line(loader, slice_head(text, end));
        text = slice_skip(text, end < text.count ? end + 1 : end);
    }
    loader->current = current;
    loader->here = here;
}

/* The whole file, or false with a finding at the place that asked for it. */
static bool file_slurp(struct config_loader *loader, const char *path, char **out, size_t *size)
{
    /* O_NONBLOCK: a FIFO must not hang us; it is refused below. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat status;
    const char *why = NULL;
    char *bytes = NULL;
    ssize_t count = 0;

    if (fd < 0 || fstat(fd, &status) != 0) {
        why = strerror(errno);
    } else if (!S_ISREG(status.st_mode)) {
        why = "not a regular file";
    } else if ((bytes = malloc(LIMIT_CONFIG_FILE_BYTES + 1)) == NULL) {
        loader->is_out_of_memory = true;
        why = "memory is exhausted";
    } else {
        *size = 0;
        while (*size <= LIMIT_CONFIG_FILE_BYTES &&
               (count = read(fd, bytes + *size, LIMIT_CONFIG_FILE_BYTES + 1 - *size)) > 0) {
            *size += (size_t)count;
        }
        if (count < 0) {
            why = strerror(errno);
        } else if (*size > LIMIT_CONFIG_FILE_BYTES) {
            why = "larger than 1 MiB: is this a configuration file?";
        }
    }
    if (fd >= 0) {
        close(fd);
    }
    if (why != NULL) {
        free(bytes);
        say(loader, CONFIG_ERROR, "cannot read %s: %s", path, why);
        return false;
    }
    *out = bytes;
    return true;
}

static bool file_read(struct config_loader *loader, const char *path)
{
    char *bytes = NULL;
    size_t size = 0;
    if (!file_slurp(loader, path, &bytes, &size)) {
        return false;
    }
    text_read(loader, config_report_text(loader->report, slice_text(path)), slice_of(bytes, size));
    free(bytes);
    return true;
}

/* ---- include_dir --------------------------------------------------------------------------- */

static int to_upper(int letter)
{
    return letter >= 'a' && letter <= 'z' ? letter - 'a' + 'A' : letter;
}

/* A before a before B: letter by letter, capitals first. */
static int compare_names(const void *a, const void *b)
{
    const unsigned char *x = *(unsigned char *const *)a, *y = *(unsigned char *const *)b;
    while (*x != 0 && *x == *y) {
        x++;
        y++;
    }
    int difference = to_upper(*x) - to_upper(*y);
    return difference != 0 ? difference : *x - *y;
}

static bool is_conf(const char *name)
{
    size_t bytes = strlen(name);
    return bytes > 5 && strcmp(name + bytes - 5, ".conf") == 0;
}

/* Names of the *.conf of a folder, sorted; their texts belong to the report. Returns the count. */
static uint32_t conf_names(struct config_loader *loader, DIR *folder, const char **names)
{
    uint32_t count = 0;
    const struct dirent *entry;
    while ((entry = readdir(folder)) != NULL) {
        if (!is_conf(entry->d_name)) {
            continue;
        }
        if (count == LIMIT_CONFIG_INCLUDED_FILES) {
            say(loader, CONFIG_ERROR, "include_dir: more than %d files: remove some",
                (int)LIMIT_CONFIG_INCLUDED_FILES);
            break;
        }
        names[count++] = config_report_text(loader->report, slice_text(entry->d_name));
    }
    qsort(names, count, sizeof(names[0]), compare_names);
    return count;
}

void config_include(struct config_loader *loader, struct slice folder)
{
    const char *names[LIMIT_CONFIG_INCLUDED_FILES];
    char path[LIMIT_CONFIG_LINE_BYTES + 1], file[LIMIT_CONFIG_LINE_BYTES + 300];

    if (loader->folder_file == NULL) {
        say(loader, CONFIG_ERROR, "include_dir works in the main file only: move the line there");
        return;
    }
    snprintf(path, sizeof(path), "%.*s", (int)folder.count, (const char *)folder.data);
    DIR *opened = opendir(path);
    if (opened == NULL) {
        say(loader, CONFIG_ERROR, "include_dir: cannot read %s: %s", path, strerror(errno));
        return;
    }
    uint32_t count = conf_names(loader, opened, names);
    closedir(opened);
    loader->included_count += count;
    if (loader->included_count > LIMIT_CONFIG_INCLUDED_FILES) {
        say(loader, CONFIG_ERROR, "include_dir: more than %d files in all: remove some",
            (int)LIMIT_CONFIG_INCLUDED_FILES);
        return;
    }
    const char *main_file = loader->folder_file;
    loader->folder_file = NULL; /* no deeper */
    for (uint32_t i = 0; i < count; i++) {
        snprintf(file, sizeof(file), "%s/%s", path, names[i]);
        file_read(loader, file);
    }
    loader->folder_file = main_file;
}

/* ---- environment and command line ---------------------------------------------------------- */

/* Kubernetes describes a service called "tern" to every pod in variables of these names. */
static bool is_of_kubernetes(struct slice name)
{
    static const struct slice service = SLICE("TERN_SERVICE_"), port = SLICE("TERN_PORT");
    return slice_starts_with(name, service) || slice_starts_with(name, port);
}

static void environment_read(struct config_loader *loader)
{
    static const struct slice prefix = SLICE("TERN_");
    char lower[64];
    loader->here = (struct config_origin){.rank = RANK_ENVIRONMENT, .source = "environment"};
    for (char *const *at = loader->sources->environment; at != NULL && *at != NULL; at++) {
        struct slice text = slice_text(*at);
        struct slice name = slice_head(text, slice_find(text, '='));
        if (!slice_starts_with(name, prefix) || is_of_kubernetes(name) ||
            name.count - prefix.count > sizeof(lower) || name.count == text.count) {
            continue;
        }
        struct slice key = slice_skip(name, prefix.count);
        for (size_t i = 0; i < key.count; i++) {
            bool is_capital = key.data[i] >= 'A' && key.data[i] <= 'Z';
            lower[i] = (char)(is_capital ? key.data[i] - 'A' + 'a' : key.data[i]);
        }
        loader->current = 0;
        loader->is_for_all = true;
        config_line(loader, slice_of(lower, key.count),
                    config_trim(slice_skip(text, name.count + 1)));
    }
}

static void command_read(struct config_loader *loader)
{
    char key[64];
    loader->here = (struct config_origin){.rank = RANK_COMMAND, .source = "command line"};
    loader->current = 0;
    loader->is_for_all = true; /* until the first --listener */
    for (uint32_t i = 0; i < loader->sources->override_count; i++) {
        const struct config_override *override = &loader->sources->overrides[i];
        int bytes = (int)strcspn(override->key, "=");
        snprintf(key, sizeof(key), "%.*s", bytes, override->key);
        for (char *at = key; *at != '\0'; at++) {
            *at = *at == '-' ? '_' : *at;
        }
        config_line(loader, slice_text(key), config_trim(slice_text(override->value)));
    }
}

enum err config_parse(struct config_loader *loader)
{
    const struct config_sources *sources = loader->sources;
    bool is_read = true;

    loader->here = (struct config_origin){.rank = RANK_FILE, .source = "command line"};
    loader->section_count = 1;
    if (sources->path != NULL) {
        loader->folder_file = sources->path;
        is_read = file_read(loader, sources->path);
        loader->folder_file = NULL;
    } else if (sources->text.count > 0) {
        text_read(loader, "configuration", sources->text);
    }
    environment_read(loader);
    command_read(loader);
    if (loader->is_out_of_memory) {
        return ERR_NOMEM;
    }
    return is_read ? OK : ERR_NOT_FOUND;
}
