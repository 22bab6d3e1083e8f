/*
 * The lock is flock() on the folder: it is there before the file is, and a file that is replaced would
 * take its own lock away with it.
 */
#include "cluster/ternctl_file.h"

#include "cluster/ternctl.h"
#include "core/io/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

enum { LOCK_TRIES = 1000, LOCK_PAUSE_MS = 10 };

static int fail(int status, const char *path, const char *what, const char *remedy)
{
    fprintf(stderr, "ternctl: %s: %s: %s\n", path, what, remedy);
    return status;
}

/* ---- the path -------------------------------------------------------------------------------- */

/* FILE's folder resolved, and its name: of a file that is not there yet. */
static int resolve_new(const char *path, char out[PATH_MAX])
{
    struct stat link;
    char folder[PATH_MAX], resolved[PATH_MAX];
    const char *slash = strrchr(path, '/'), *name = slash == NULL ? path : slash + 1;
    if (lstat(path, &link) == 0) {
        return fail(TERNCTL_CANNOT_CREATE, path, "a link to a file that is not there",
                    "make that file, or remove the link");
    }
    if (*name == '\0') {
        return fail(TERNCTL_CANNOT_CREATE, path, "no name of a file", "give one");
    }
    snprintf(folder, sizeof(folder), "%.*s", slash == NULL ? 1 : (int)(slash - path + 1),
             slash == NULL ? "." : path);
    if (realpath(folder, resolved) == NULL) {
        return fail(TERNCTL_CANNOT_CREATE, folder, strerror(errno), "make the folder first");
    }
    if (snprintf(out, PATH_MAX, "%s/%s", resolved, name) >= PATH_MAX) {
        return fail(TERNCTL_CANNOT_CREATE, path, "too long a path", "use a shorter one");
    }
    return TERNCTL_OK;
}

static int resolve(const char *path, enum ternctl_access access, char out[PATH_MAX])
{
    if (strlen(path) >= PATH_MAX) {
        return fail(TERNCTL_USAGE, "FILE", "too long a path", "use a shorter one");
    }
    if (realpath(path, out) != NULL) {
        return TERNCTL_OK;
    }
    if (errno == ENOENT && access == TERNCTL_MAKE) {
        return resolve_new(path, out);
    }
    return fail(TERNCTL_DATA, path, strerror(errno), "check the path, and who may read it");
}

/* ---- open ------------------------------------------------------------------------------------ */

static void folder_of(const char *path, char out[PATH_MAX])
{
    snprintf(out, PATH_MAX, "%s", path);
    char *slash = strrchr(out, '/'); /* the path is resolved: it begins with one */
    slash[slash == out ? 1 : 0] = '\0';
}

static int lock(struct ternctl_file *file)
{
    static const struct timespec pause = {.tv_nsec = LOCK_PAUSE_MS * 1000000};
    char folder[PATH_MAX];
    folder_of(file->path, folder);
    file->folder = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (file->folder < 0) {
        return fail(TERNCTL_CANNOT_CREATE, folder, strerror(errno),
                    "check who may read the folder");
    }
    for (int i = 0; flock(file->folder, LOCK_EX | LOCK_NB) != 0; i++) {
        if (errno != EWOULDBLOCK || i == LOCK_TRIES) {
            return fail(TERNCTL_CANNOT_CREATE, file->path, "somebody else is changing it",
                        "wait for them, and try again");
        }
        nanosleep(&pause, NULL);
    }
    return TERNCTL_OK;
}

static int load(struct ternctl_file *file, enum ternctl_access access, size_t bytes_max)
{
    file->exists = stat(file->path, &file->before) == 0;
    if (!file->exists && errno == ENOENT && access == TERNCTL_MAKE) {
        return TERNCTL_OK;
    }
    enum err err = sys_load_plain_file(file->path, bytes_max, &file->text, &file->text_bytes);
    switch (err) {
    case OK:
        return TERNCTL_OK;
    case ERR_INVALID:
        return fail(TERNCTL_DATA, file->path, "not a file", "give the path of one");
    case ERR_TOO_LARGE:
        return fail(TERNCTL_DATA, file->path, "too long a file", "is it the right one?");
    default:
        return fail(TERNCTL_DATA, file->path, err_text(err), "check the path, and who may read it");
    }
}

int ternctl_file_open(const char *path, enum ternctl_access access, size_t bytes_max,
                      struct ternctl_file *out)
{
    *out = (struct ternctl_file){.folder = -1};
    int status = resolve(path, access, out->path);
    if (status == TERNCTL_OK && access != TERNCTL_READ) {
        status = lock(out);
    }
    if (status == TERNCTL_OK) {
        status = load(out, access, bytes_max);
    }
    if (status != TERNCTL_OK) {
        ternctl_file_close(out);
    }
    return status;
}

void ternctl_file_close(struct ternctl_file *file)
{
    if (file->text != NULL) {
        explicit_bzero(file->text, file->text_bytes);
        free(file->text);
    }
    if (file->folder >= 0) {
        close(file->folder); /* and its lock is gone */
    }
    *file = (struct ternctl_file){.folder = -1};
}

/* ---- replace --------------------------------------------------------------------------------- */

static bool is_same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* Did somebody who knows no lock write it since we read it? */
static bool has_changed(const struct ternctl_file *file)
{
    struct stat now;
    if (stat(file->path, &now) != 0) {
        return file->exists || errno != ENOENT;
    }
    return !file->exists || !is_same(&now, &file->before);
}

static int write_all(int fd, struct slice text)
{
    while (text.count > 0) {
        ssize_t written = write(fd, text.data, text.count);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written < 0) {
            return -1;
        }
        text = slice_skip(text, (size_t)written);
    }
    return fsync(fd);
}

/* mkostemp() made it 0600: nobody else reads it before it is as the old one was. */
static int keep_owner_and_mode(const struct ternctl_file *file, int fd)
{
    if (!file->exists) {
        return 0;
    }
    bool is_theirs = file->before.st_uid == geteuid() && file->before.st_gid == getegid();
    if (!is_theirs && fchown(fd, file->before.st_uid, file->before.st_gid) != 0) {
        return -1;
    }
    return fchmod(fd, file->before.st_mode & 07777);
}

static int fill(const struct ternctl_file *file, int fd, const char *temporary, struct slice text)
{
    if (keep_owner_and_mode(file, fd) != 0) {
        return fail(TERNCTL_CANNOT_CREATE, file->path, "its owner cannot be kept",
                    "run ternctl as the owner, or as root");
    }
    if (write_all(fd, text) != 0) {
        return fail(TERNCTL_CANNOT_CREATE, temporary, strerror(errno), "is the disk full?");
    }
    if (has_changed(file)) {
        return fail(TERNCTL_CANNOT_CREATE, file->path, "somebody else has changed it meanwhile",
                    "nothing was written, try again");
    }
    if (rename(temporary, file->path) != 0) {
        return fail(TERNCTL_CANNOT_CREATE, file->path, strerror(errno),
                    "check who may write in its folder");
    }
    return TERNCTL_OK;
}

int ternctl_file_replace(const struct ternctl_file *file, struct slice text)
{
    char temporary[PATH_MAX], folder[PATH_MAX];
    ASSERT(file->folder >= 0);
    folder_of(file->path, folder);
    if (snprintf(temporary, sizeof(temporary), "%s/.ternctl-XXXXXX", folder) >= PATH_MAX) {
        return fail(TERNCTL_CANNOT_CREATE, folder, "too long a path", "use a shorter one");
    }
    int fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0) {
        return fail(TERNCTL_CANNOT_CREATE, folder, strerror(errno),
                    "check who may write in the folder");
    }
    int status = fill(file, fd, temporary, text);
    close(fd);
    if (status != TERNCTL_OK) {
        unlink(temporary);
        return status;
    }
    fsync(file->folder); /* the new name; what cannot be synced is as safe as the folder allows */
    return TERNCTL_OK;
}
