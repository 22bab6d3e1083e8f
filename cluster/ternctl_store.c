#include "cluster/ternctl_store.h"

#include "cluster/ternctl.h"
#include "storage/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK_BYTES = 1024 * 1024 };

static bool is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static bool join(char out[PATH_MAX], const char *folder, const char *name)
{
    return snprintf(out, PATH_MAX, "%s/%s", folder, name) < PATH_MAX;
}

static enum err fail(struct kv_failure *failure, const char *what, const char *path)
{
    char reason[128];
    int number = errno;
    enum err err = err_from_errno(number);
    snprintf(failure->text, sizeof(failure->text), "cannot %s %.700s: %s: %s", what, path,
             strerror_r(number, reason, sizeof(reason)),
             err == ERR_NO_SPACE     ? "make space"
             : err == ERR_PERMISSION ? "do it as a user that may"
                                     : "check the path");
    return err;
}

bool is_backup(const char *path)
{
    char sums[PATH_MAX];
    return join(sums, path, "SUMS") && access(sums, F_OK) == 0;
}

/* ---- copying -------------------------------------------------------------------------------------- */

static enum err bytes_copy(int in, int out, const char *to, struct kv_failure *failure)
{
    uint8_t *chunk = malloc(CHUNK_BYTES);
    ssize_t count = 0;
    if (chunk == NULL) {
        return ERR_NOMEM;
    }
    while ((count = read(in, chunk, CHUNK_BYTES)) > 0) {
        for (ssize_t done = 0, more; done < count; done += more) {
            more = write(out, chunk + done, (size_t)(count - done));
            if (more < 0) {
                free(chunk);
                return fail(failure, "write", to);
            }
        }
    }
    free(chunk);
    if (count < 0) {
        return fail(failure, "read what goes into", to);
    }
    return fsync(out) == 0 ? OK : fail(failure, "write", to);
}

static enum err file_copy(const char *from, const char *to, struct kv_failure *failure)
{
    int in = open(from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (in < 0) {
        return fail(failure, "read", from);
    }
    int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    enum err err = out < 0 ? fail(failure, "make", to) : bytes_copy(in, out, to, failure);
    if (out >= 0) {
        close(out);
    }
    close(in);
    return err;
}

/* Tables are never changed once they are written; of a log, the torn end is cut off when it is opened. */
static bool is_table(const char *path)
{
    size_t count = strlen(path);
    return count > 4 && strcmp(path + count - 4, ".sst") == 0;
}

static enum err file_take(const char *from, const char *to, enum tree_copy how,
                          struct kv_failure *failure)
{
    if (how == TREE_LINK && is_table(from) && link(from, to) == 0) {
        return OK;
    }
    return file_copy(from, to, failure);
}

static void folder_sync_path(const char *path)
{
    int handle = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (handle >= 0) {
        (void)fsync(handle); /* a file system that cannot sync a folder keeps names otherwise */
        close(handle);
    }
}

/* Files; of the folder above also log/ and state/, one level deep. */
static enum err level_copy(const char *from, const char *to, enum tree_copy how, bool is_top,
                           struct kv_failure *failure)
{
    char source[PATH_MAX], target[PATH_MAX];
    struct stat status;
    const struct dirent *item;
    enum err err = OK;
    DIR *folder = opendir(from);
    if (folder == NULL) {
        return fail(failure, "read", from);
    }
    if (mkdir(to, 0700) != 0 && (errno != EEXIST || !is_top)) {
        err = fail(failure, "make", to);
    }
    while (err == OK && (item = readdir(folder)) != NULL) {
        if (is_dots(item->d_name) || (is_top && (strcmp(item->d_name, "SUMS") == 0 ||
                                                 strcmp(item->d_name, "FORMAT") == 0))) {
            continue;
        }
        if (!join(source, from, item->d_name) || !join(target, to, item->d_name)) {
            errno = ENAMETOOLONG;
            err = fail(failure, "use", from);
        } else if (lstat(source, &status) != 0) {
            err = fail(failure, "read", source);
        } else if (S_ISDIR(status.st_mode) && is_top) {
            err = level_copy(source, target, how, false, failure);
        } else {
            err = file_take(source, target, how, failure);
        }
    }
    closedir(folder);
    folder_sync_path(to);
    return err;
}

enum err tree_copy(const char *from, const char *to, enum tree_copy how, struct kv_failure *failure)
{
    return level_copy(from, to, how, true, failure);
}

/* ---- opening --------------------------------------------------------------------------------------- */

static int refuse(const char *words, const char *path, enum err err, const char *text)
{
    bool is_busy = err == ERR_BUSY;
    fprintf(stderr, "ternctl %s: %s%s%s\n", words, text[0] == '\0' ? path : "",
            text[0] == '\0' ? ": " : "", text[0] == '\0' ? err_text(err) : text);
    if (is_busy) {
        fprintf(stderr,
                "ternctl %s: a broker runs on it: stop it, or take a copy with ternctl "
                "backup\n",
                words);
    }
    return is_busy ? TERNCTL_UNAVAILABLE : TERNCTL_DATA;
}

/* The files of a backup in a folder of their own, beside it or where temporary files go. */
static enum err scratch_make(const char *path, struct closed_store *store,
                             struct kv_failure *failure)
{
    size_t count = strlen(path);
    while (count > 1 && path[count - 1] == '/') {
        count--;
    }
    const char *elsewhere = getenv("TMPDIR");
    if (snprintf(store->scratch, PATH_MAX, "%.*s.opened-XXXXXX", (int)count, path) >= PATH_MAX ||
        mkdtemp(store->scratch) == NULL) {
        snprintf(store->scratch, PATH_MAX, "%s/ternctl-XXXXXX",
                 elsewhere == NULL ? "/tmp" : elsewhere);
        if (mkdtemp(store->scratch) == NULL) {
            enum err err = fail(failure, "make", store->scratch);
            store->scratch[0] = '\0';
            return err;
        }
    }
    return tree_copy(path, store->scratch, TREE_LINK, failure);
}

static enum err maps_open(const char *path, struct closed_store *store, struct kv_failure *failure)
{
    char log[PATH_MAX], state[PATH_MAX];
    if (!join(log, path, "log") || !join(state, path, "state")) {
        return ERR_INVALID;
    }
    struct kv_config config = {.folder = log, .way = KV_LOGGED, .must_exist = true};
    TRY(kv_open(&config, &store->log, failure));
    config.folder = state;
    config.way = KV_UNLOGGED;
    return kv_open(&config, &store->state, failure);
}

static enum err open_all(const char *path, struct closed_store *store, struct kv_failure *failure)
{
    bool is_copy = is_backup(path);
    if (is_copy) {
        TRY(store_backup_verify(path, failure));
    }
    TRY(folder_open(path, STORE_FORMAT, true, &store->folder, failure));
    if (store->folder.format != STORE_FORMAT) {
        snprintf(failure->text, sizeof(failure->text),
                 "%.700s has format %u, and this program knows %d: %s", path, store->folder.format,
                 STORE_FORMAT,
                 store->folder.format > STORE_FORMAT
                     ? "use the newer ternctl"
                     : "start tern on it (or on what ternctl restore makes of it) once: it is "
                       "brought up to date");
        return ERR_UNSUPPORTED;
    }
    if (is_copy) {
        TRY(scratch_make(path, store, failure));
    }
    return maps_open(is_copy ? store->scratch : path, store, failure);
}

int closed_store_open(const char *words, const char *path, struct closed_store *out)
{
    struct closed_store store = {.folder.handle = -1};
    struct kv_failure failure = {""};
    enum err err = open_all(path, &store, &failure);
    if (err != OK) {
        closed_store_close(&store);
        return refuse(words, path, err, failure.text);
    }
    *out = store;
    return TERNCTL_OK;
}

int closed_store_verify(const char *words, struct closed_store *store)
{
    struct kv *maps[] = {store->log, store->state};
    int code = TERNCTL_OK;
    for (size_t i = 0; i < sizeof(maps) / sizeof(maps[0]); i++) {
        struct kv_failure failure = {""};
        enum err err = kv_verify(maps[i], &failure);
        if (err != OK) {
            code = refuse(words, store->folder.path, err, failure.text);
        }
    }
    return code;
}

void closed_store_close(struct closed_store *store)
{
    kv_close(store->state);
    kv_close(store->log);
    if (store->folder.handle >= 0) {
        folder_close(&store->folder);
    }
    if (store->scratch[0] != '\0') {
        folder_clear(store->scratch, true);
    }
}
