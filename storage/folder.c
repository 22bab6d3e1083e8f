#include "storage/folder.h"

#include "core/base/assert.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

enum { FORMAT_BYTES_MAX = 4096 };

#define PERMISSION \
    "give the folder to the user that tern runs as, or set persistence_location to another one"

/* What an error of the system means for who runs the broker. */
static const struct {
    int number;
    enum err err;
    const char *advice;
} advices[] = {
    {EACCES, ERR_PERMISSION, PERMISSION},
    {EPERM, ERR_PERMISSION, PERMISSION},
    {EROFS, ERR_PERMISSION,
     "the file system is read-only: set persistence_location to another one"},
    {ENOENT, ERR_NOT_FOUND, "make the folder it stands in, or correct persistence_location"},
    {ENOTDIR, ERR_NOT_FOUND, "persistence_location has to be a folder"},
    {ENOSPC, ERR_NO_SPACE, "make space on that disk"},
    {EDQUOT, ERR_NO_SPACE, "the user's quota is used up: make space, or raise it"},
    {ENAMETOOLONG, ERR_INVALID, "persistence_location is too long"},
    {0, ERR_IO, "look at the disk (dmesg)"},
};

static enum err fail(struct kv_failure *failure, int number, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static enum err fail(struct kv_failure *failure, int number, const char *format, ...)
{
    char what[PATH_MAX + 64], reason[128];
    size_t row = 0;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof(what), format, arguments);
    va_end(arguments);
    while (advices[row].number != 0 && advices[row].number != number) {
        row++;
    }
    snprintf(failure->text, sizeof(failure->text), "cannot %.700s: %s: %s", what,
             strerror_r(number, reason, sizeof(reason)), advices[row].advice);
    return advices[row].err;
}

static enum err path_copy(const char *path, struct folder *out, struct kv_failure *failure)
{
    size_t count = strlen(path);
    while (count > 1 && path[count - 1] == '/') {
        count--;
    }
    if (count == 0 || count >= sizeof(out->path) - 16) { /* "/FORMAT.new" goes behind it */
        return fail(failure, ENAMETOOLONG, "use %.100s...", path);
    }
    memcpy(out->path, path, count);
    out->path[count] = '\0';
    return OK;
}

/* The name of a new folder is its parent's to keep. */
static void sync_parent(const char *path)
{
    char parent[PATH_MAX];
    snprintf(parent, sizeof(parent), "%s", path);
    char *slash = strrchr(parent, '/');
    const char *name = slash == NULL ? "." : slash == parent ? "/" : parent;
    if (slash != NULL && slash != parent) {
        *slash = '\0';
    }
    int handle = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (handle >= 0) {
        (void)fsync(handle); /* a parent that cannot be synced is no reason not to start */
        close(handle);
    }
}

/* Nothing is in it that we would not put there before FORMAT. */
static bool is_empty(const char *path, char *other, size_t other_bytes)
{
    static const char *const ours[] = {".", "..", "FORMAT.new", "lost+found"};
    DIR *walk = opendir(path);
    const struct dirent *item;
    bool is_empty = walk != NULL;

    while (is_empty && (item = readdir(walk)) != NULL) {
        bool is_ours = false;
        for (size_t i = 0; i < sizeof(ours) / sizeof(*ours); i++) {
            is_ours = is_ours || strcmp(item->d_name, ours[i]) == 0;
        }
        if (!is_ours) {
            snprintf(other, other_bytes, "%s", item->d_name);
            is_empty = false;
        }
    }
    if (walk != NULL) {
        closedir(walk);
    }
    return is_empty;
}

/* ---- FORMAT --------------------------------------------------------------------------------- */

static enum err damaged(const struct folder *folder, struct kv_failure *failure)
{
    snprintf(failure->text, sizeof(failure->text),
             "%.700s/FORMAT is damaged: restore a backup (ternctl restore)", folder->path);
    return ERR_CORRUPT;
}

/* *is_there false: there is none. */
static enum err format_read(struct folder *folder, bool *is_there, struct kv_failure *failure)
{
    static const char begin[] = "tern store\nformat ";
    char text[FORMAT_BYTES_MAX];
    int handle = openat(folder->handle, "FORMAT", O_RDONLY | O_CLOEXEC);
    uint32_t format = 0, digits = 0;

    *is_there = handle >= 0;
    if (handle < 0) {
        return errno == ENOENT ? OK : fail(failure, errno, "read %s/FORMAT", folder->path);
    }
    ssize_t count = read(handle, text, sizeof(text) - 1);
    int number = errno;
    close(handle);
    if (count < 0) {
        return fail(failure, number, "read %s/FORMAT", folder->path);
    }
    text[count] = '\0';
    if (strncmp(text, begin, sizeof(begin) - 1) != 0) {
        return damaged(folder, failure);
    }
    const char *at = text + sizeof(begin) - 1;
    for (; *at >= '0' && *at <= '9' && digits < 9; at++, digits++) {
        format = format * 10 + (uint32_t)(*at - '0');
    }
    if (digits == 0 || *at != '\n') {
        return damaged(folder, failure);
    }
    folder->format = format;
    return OK;
}

static enum err write_all(int handle, const char *text)
{
    size_t count = strlen(text);
    while (count > 0) {
        ssize_t written = write(handle, text, count);
        if (written < 0) {
            return ERR_IO;
        }
        text += written;
        count -= (size_t)written;
    }
    return fsync(handle) == 0 ? OK : ERR_IO;
}

enum err folder_set_format(struct folder *folder, uint32_t format, struct kv_failure *failure)
{
    char text[128];
    time_t now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    snprintf(text, sizeof(text),
             "tern store\nformat %" PRIu32 "\ncreated %04d-%02d-%02dT%02d:%02d:%02dZ\n", format,
             utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec);
    int handle = openat(folder->handle, "FORMAT.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
                        0600);
    if (handle < 0) {
        return fail(failure, errno, "write %s/FORMAT", folder->path);
    }
    enum err err = write_all(handle, text);
    int number = errno;
    close(handle);
    if (err == OK && renameat(folder->handle, "FORMAT.new", folder->handle, "FORMAT") < 0) {
        err = ERR_IO;
        number = errno;
    }
    if (err != OK) {
        return fail(failure, number, "write %s/FORMAT", folder->path);
    }
    folder->format = format;
    return folder_sync(folder, failure);
}

enum err folder_sync(const struct folder *folder, struct kv_failure *failure)
{
    return fsync(folder->handle) == 0 ? OK : fail(failure, errno, "sync %s", folder->path);
}

uint64_t folder_disk_bytes(const struct folder *folder)
{
    struct statvfs disk;
    return fstatvfs(folder->handle, &disk) == 0 ? (uint64_t)disk.f_blocks * disk.f_frsize : 0;
}

/* ---- open and close ------------------------------------------------------------------------- */

static enum err lock_it(struct folder *folder, bool must_exist, struct kv_failure *failure)
{
    if (!must_exist && mkdir(folder->path, 0700) == 0) {
        folder->is_made = true;
        sync_parent(folder->path);
    } else if (!must_exist && errno != EEXIST) {
        return fail(failure, errno, "make the folder %s", folder->path);
    }
    folder->handle = open(folder->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder->handle < 0) {
        return fail(failure, errno, "open %s", folder->path);
    }
    if (flock(folder->handle, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK) {
            return fail(failure, errno, "lock %s", folder->path);
        }
        snprintf(
            failure->text, sizeof(failure->text),
            "%.700s is in use by another tern or ternctl: stop it, or set persistence_location to "
            "another folder",
            folder->path);
        return ERR_BUSY;
    }
    return OK;
}

static enum err find_format(struct folder *folder, uint32_t format_new, bool must_exist,
                            struct kv_failure *failure)
{
    char other[NAME_MAX + 1] = "";
    bool is_there;

    TRY(format_read(folder, &is_there, failure));
    if (is_there) {
        return OK;
    }
    if (is_empty(folder->path, other, sizeof(other)) && !must_exist) {
        folder->is_new = true;
        return folder_set_format(folder, format_new, failure);
    }
    if (strcmp(other, "log") == 0 || strcmp(other, "state") == 0) {
        snprintf(failure->text, sizeof(failure->text),
                 "%.700s/FORMAT is missing: restore a backup (ternctl restore)", folder->path);
        return ERR_CORRUPT;
    }
    snprintf(
        failure->text, sizeof(failure->text),
        "%.500s is no store of tern's%s%.200s: set persistence_location to a folder of tern's own",
        folder->path, other[0] == '\0' ? "" : ", other files are in it, as ", other);
    return must_exist ? ERR_NOT_FOUND : ERR_EXISTS;
}

enum err folder_open(const char *path, uint32_t format_new, bool must_exist, struct folder *out,
                     struct kv_failure *failure)
{
    struct folder folder = {.handle = -1};
    enum err err = path_copy(path, &folder, failure);
    err = err != OK ? err : lock_it(&folder, must_exist, failure);
    err = err != OK ? err : find_format(&folder, format_new, must_exist, failure);
    if (err != OK) {
        folder.is_new ? folder_discard(&folder) : folder_close(&folder);
        return err;
    }
    *out = folder;
    return OK;
}

enum err folder_make(const char *path, uint32_t format, struct folder *out,
                     struct kv_failure *failure)
{
    struct folder folder = {.handle = -1};
    enum err err = path_copy(path, &folder, failure);
    err = err != OK ? err : lock_it(&folder, false, failure);
    err = err != OK ? err : folder_set_format(&folder, format, failure);
    if (err != OK) {
        folder_close(&folder);
        return err;
    }
    *out = folder;
    return OK;
}

void folder_close(struct folder *folder)
{
    if (folder->handle >= 0) {
        close(folder->handle); /* and the lock with it */
        folder->handle = -1;
    }
}

/* ---- leaving nothing -------------------------------------------------------------------------- */

/* A file, or a folder of files. */
static void part_remove(const char *path)
{
    char file[PATH_MAX];
    const struct dirent *item;
    if (unlink(path) == 0) {
        return;
    }
    DIR *walk = opendir(path);
    while (walk != NULL && (item = readdir(walk)) != NULL) {
        if (snprintf(file, sizeof(file), "%s/%s", path, item->d_name) < (int)sizeof(file)) {
            unlink(file); /* of "." and ".." it is refused */
        }
    }
    if (walk != NULL) {
        closedir(walk);
    }
    rmdir(path);
}

void folder_clear(const char *path, bool is_made)
{
    /* .tmp: of a map that is being copied. */
    static const char *const parts[] = {"SUMS",  "FORMAT",  "FORMAT.new", "log",
                                        "state", "log.tmp", "state.tmp"};
    char part[PATH_MAX];
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        if (snprintf(part, sizeof(part), "%s/%s", path, parts[i]) < (int)sizeof(part)) {
            part_remove(part);
        }
    }
    if (is_made) {
        rmdir(path);
    }
}

void folder_discard(struct folder *folder)
{
    ASSERT(folder->is_new);
    folder_clear(folder->path, folder->is_made);
    folder_close(folder);
}
