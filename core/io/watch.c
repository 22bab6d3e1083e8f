#include "core/io/watch.h"

#include "core/base/assert.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/*
 * What a look sees. The time of the last change of rights counts too: a file that could not be read
 * is read again after a chmod. Zeroed: nothing is there. No padding, compared as bytes.
 */
struct look {
    uint64_t device, inode, size, mode, written_ns, changed_ns, entries;
};

struct watched {
    char *path;
    struct look added, last;
};

struct watch {
    struct watched *items;
    uint32_t count, slots;
};

static uint64_t ns_of(struct timespec time)
{
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* Any change of what goes in changes what comes out, nearly always (the finaliser of splitmix64). */
static uint64_t mix(uint64_t sum, uint64_t value)
{
    uint64_t x = sum * 31 + value + 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

static uint64_t entry_digest(int folder, const char *name)
{
    struct stat file;
    uint64_t digest = 0;
    for (const char *at = name; *at != '\0'; at++) {
        digest = mix(digest, (uint8_t)*at);
    }
    if (fstatat(folder, name, &file, 0) == 0) {
        digest = mix(digest, (uint64_t)file.st_ino);
        digest = mix(digest, (uint64_t)file.st_size);
        digest = mix(digest, ns_of(file.st_mtim));
        digest = mix(digest, ns_of(file.st_ctim));
    }
    return digest;
}

/* A sum: the order in which a folder tells its entries means nothing. */
static uint64_t entries_digest(const char *path)
{
    DIR *folder = opendir(path);
    uint64_t sum = 0;
    if (folder == NULL) {
        return 0;
    }
    const struct dirent *entry = readdir(folder);
    for (uint32_t i = 0; entry != NULL && i < WATCH_FOLDER_ENTRIES_MAX; i++) {
        if (entry->d_name[0] != '.') {
            sum += entry_digest(dirfd(folder), entry->d_name);
        }
        entry = readdir(folder);
    }
    closedir(folder);
    return sum;
}

static struct look look_at(const char *path)
{
    struct stat file;
    if (stat(path, &file) != 0) {
        return (struct look){0};
    }
    return (struct look){
        .device = (uint64_t)file.st_dev,
        .inode = (uint64_t)file.st_ino,
        .size = (uint64_t)file.st_size,
        .mode = (uint64_t)file.st_mode,
        .written_ns = ns_of(file.st_mtim),
        .changed_ns = ns_of(file.st_ctim),
        .entries = S_ISDIR(file.st_mode) ? entries_digest(path) : 0,
    };
}

static bool is_same(const struct look *a, const struct look *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

struct watch *watch_new(void)
{
    return calloc(1, sizeof(struct watch));
}

void watch_free(struct watch *watch)
{
    if (watch == NULL) {
        return;
    }
    for (uint32_t i = 0; i < watch->count; i++) {
        free(watch->items[i].path);
    }
    free(watch->items);
    free(watch);
}

enum err watch_add(struct watch *watch, const char *path)
{
    for (uint32_t i = 0; i < watch->count; i++) {
        if (strcmp(watch->items[i].path, path) == 0) {
            return OK;
        }
    }
    if (watch->count == watch->slots) {
        uint32_t slots = watch->slots == 0 ? 16 : 2 * watch->slots;
        struct watched *items = realloc(watch->items, slots * sizeof(items[0]));
        if (items == NULL) {
            return ERR_NOMEM;
        }
        watch->items = items;
        watch->slots = slots;
    }
    char *copy = strdup(path);
    if (copy == NULL) {
        return ERR_NOMEM;
    }
    struct look look = look_at(path);
    watch->items[watch->count++] = (struct watched){.path = copy, .added = look, .last = look};
    return OK;
}

bool watch_has_changed(struct watch *watch)
{
    bool has_changed = false, is_settled = true;
    for (uint32_t i = 0; i < watch->count; i++) {
        struct watched *item = &watch->items[i];
        struct look now = look_at(item->path);
        has_changed |= !is_same(&now, &item->added);
        is_settled &= is_same(&now, &item->last);
        item->last = now;
    }
    return has_changed && is_settled;
}

uint32_t watch_count(const struct watch *watch)
{
    return watch->count;
}

const char *watch_path(const struct watch *watch, uint32_t index)
{
    ASSERT(index < watch->count);
    return watch->items[index].path;
}
