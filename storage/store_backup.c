/*
 * store_backup: a copy of a running store, and whether a copy is still what it was.
 *
 *     state ──> log ──> FORMAT ──> SUMS
 *
 * The state goes first: the log that is copied after it holds every entry that the state has not seen,
 * as long as no cut comes between the two. SUMS is written last: a copy without it is not complete.
 */
#include "storage/store_own.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

enum { CHUNK_BYTES = 1024 * 1024, SUMS_LINE_BYTES = PATH_MAX + 64 };

static const char sum_name[] = "SUMS";

static enum err fail(struct kv_failure *failure, enum err err, const char *folder, const char *file,
                     const char *what)
{
    snprintf(failure->text, sizeof(failure->text), "%.380s%s%.380s: %s", folder,
             file[0] == '\0' ? "" : "/", file, what);
    return err;
}

static enum err fail_errno(struct kv_failure *failure, const char *folder, const char *file)
{
    char reason[128], text[256];
    enum err err = err_from_errno(errno);
    snprintf(text, sizeof(text), "%s: %s", strerror_r(errno, reason, sizeof(reason)),
             err == ERR_NO_SPACE     ? "make space, and try again"
             : err == ERR_PERMISSION ? "tern has to be allowed to write there"
                                     : "look at the path, and at the disk (dmesg)");
    return fail(failure, err, folder, file, text);
}

/* ---- sums ----------------------------------------------------------------------------------- */

/* The sum of a file; is_synced: and bring it to stable storage. */
static enum err sum_file(const char *folder, const char *file, bool is_synced, uint64_t *out,
                         struct kv_failure *failure)
{
    char path[2 * PATH_MAX];
    snprintf(path, sizeof(path), "%s/%s", folder, file);
    int handle = open(path, O_RDONLY | O_CLOEXEC);
    uint8_t *chunk = malloc(CHUNK_BYTES);
    XXH3_state_t *state = XXH3_createState();
    ssize_t count = -1;

    errno = chunk == NULL || state == NULL ? ENOMEM : errno;
    if (handle >= 0 && chunk != NULL && state != NULL) {
        XXH3_64bits_reset(state);
        while ((count = read(handle, chunk, CHUNK_BYTES)) > 0) {
            XXH3_64bits_update(state, chunk, (size_t)count);
        }
        *out = XXH3_64bits_digest(state);
        count = count == 0 && is_synced ? fsync(handle) : count;
    }
    enum err err = count == 0 ? OK : fail_errno(failure, folder, file);
    if (handle >= 0) {
        close(handle);
    }
    XXH3_freeState(state);
    free(chunk);
    return err;
}

/* Each file of a folder and of the folders in it; file is its path from there. */
typedef enum err (*each_file)(void *context, const char *file, struct kv_failure *failure);

static enum err walk(const char *root, const char *below, each_file each, void *context,
                     struct kv_failure *failure)
{
    char path[2 * PATH_MAX];
    snprintf(path, sizeof(path), "%s%s%s", root, below[0] == '\0' ? "" : "/", below);
    DIR *folder = opendir(path);
    const struct dirent *item;
    enum err err = OK;

    if (folder == NULL) {
        return fail_errno(failure, root, below);
    }
    while (err == OK && (item = readdir(folder)) != NULL) {
        char file[PATH_MAX];
        struct stat status;
        if (strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0) {
            continue;
        }
        if (snprintf(file, sizeof(file), "%s%s%s", below, below[0] == '\0' ? "" : "/",
                     item->d_name) >= (int)sizeof(file) ||
            fstatat(dirfd(folder), item->d_name, &status, AT_SYMLINK_NOFOLLOW) < 0) {
            err = fail_errno(failure, root, file);
        } else if (S_ISDIR(status.st_mode) && below[0] == '\0') {
            err = walk(root, file, each, context, failure);
        } else if (strcmp(file, sum_name) != 0) {
            err = each(context, file, failure);
        }
    }
    if (err == OK) {
        (void)fsync(dirfd(folder)); /* the names; of a folder that is only read it may be refused */
    }
    closedir(folder);
    return err;
}

struct sums {
    const char *folder;
    FILE *file;
};

static enum err sum_and_note(void *context, const char *file, struct kv_failure *failure)
{
    struct sums *sums = context;
    uint64_t sum;
    TRY(sum_file(sums->folder, file, true, &sum, failure));
    return fprintf(sums->file, "XXH3_%016" PRIx64 "  %s\n", sum, file) < 0
               ? fail_errno(failure, sums->folder, sum_name)
               : OK;
}

static enum err write_sums(const char *folder, struct kv_failure *failure)
{
    char path[2 * PATH_MAX];
    snprintf(path, sizeof(path), "%s/%s", folder, sum_name);
    struct sums sums = {folder, fopen(path, "wxe")};
    if (sums.file == NULL) {
        return fail_errno(failure, folder, sum_name);
    }
    enum err err = walk(folder, "", sum_and_note, &sums, failure);
    if (err == OK && (fflush(sums.file) != 0 || fsync(fileno(sums.file)) != 0)) {
        err = fail_errno(failure, folder, sum_name);
    }
    fclose(sums.file);
    return err;
}

/* ---- backup --------------------------------------------------------------------------------- */

/* The folder is there, ours, and nothing is in it. */
static enum err make_empty(const char *folder, bool *is_made, struct kv_failure *failure)
{
    *is_made = mkdir(folder, 0700) == 0;
    if (*is_made) {
        return OK;
    }
    if (errno != EEXIST) {
        return fail_errno(failure, folder, "");
    }
    DIR *walk_folder = opendir(folder);
    const struct dirent *item;
    uint32_t count = 0;
    if (walk_folder == NULL) {
        return fail_errno(failure, folder, "");
    }
    while ((item = readdir(walk_folder)) != NULL) {
        count += strcmp(item->d_name, ".") != 0 && strcmp(item->d_name, "..") != 0;
    }
    closedir(walk_folder);
    return count == 0 ? OK
                      : fail(failure, ERR_EXISTS, folder, "",
                             "the folder is not empty: name one that is, or a new one");
}

static enum err copy_maps(struct store *store, const char *folder, struct kv_failure *failure)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/state", folder);
    TRY(kv_checkpoint(store->state, path, failure));
    snprintf(path, sizeof(path), "%s/log", folder);
    pthread_rwlock_rdlock(&store->log_gate);
    enum err err = kv_checkpoint(store->log, path, failure);
    pthread_rwlock_unlock(&store->log_gate);
    return err;
}

static enum err write_format(const char *path, uint32_t format, struct kv_failure *failure)
{
    struct folder folder;
    TRY(folder_make(path, format, &folder, failure));
    folder_close(&folder);
    return OK;
}

/* What is half replaced in one of the two copies, or in both, is no partition. */
static enum err check_replacing(const struct store *store, uint64_t count_before,
                                struct kv_failure *failure)
{
    uint64_t replacing = atomic_load(&store->replacing);
    if (replacing == 0 && atomic_load(&store->replace_count) == count_before) {
        return OK;
    }
    return fail(
        failure, ERR_BUSY, store->folder.path, "",
        "a partition is being replaced by what another node has of it: take the backup when "
        "that is over, or of another node");
}

static enum err fill(struct store *store, const char *folder, struct kv_failure *failure)
{
    uint64_t replace_count = atomic_load(&store->replace_count);
    TRY(check_replacing(store, replace_count, failure));
    pthread_mutex_lock(&store->cut_lock);
    enum err err = copy_maps(store, folder, failure);
    pthread_mutex_unlock(&store->cut_lock);
    TRY(err);
    TRY(check_replacing(store, replace_count, failure));
    TRY(write_format(folder, store->folder.format, failure));
    return write_sums(folder, failure);
}

enum err store_backup(struct store *store, const char *folder, struct kv_failure *failure)
{
    bool is_made;
    failure->text[0] = '\0';
    if (strlen(folder) > PATH_MAX - 64) {
        return fail(failure, ERR_INVALID, "", "", "the path of the backup is too long");
    }
    if (store_is_fenced(store)) {
        return fail(failure, ERR_IO, store->folder.path, "",
                    "the disk failed: start tern again before you copy from it");
    }
    TRY(make_empty(folder, &is_made, failure));
    enum err err = fill(store, folder, failure);
    if (err != OK) {
        folder_clear(folder, is_made);
    }
    return err;
}

/* ---- verify --------------------------------------------------------------------------------- */

/* "XXH3_0123456789abcdef  log/000004.log\n"; false: not such a line. */
static bool line_read(char *line, uint64_t *sum, const char **file)
{
    enum { FILE_AT = 5 + 16 + 2 };
    char *end;
    size_t count = strcspn(line, "\n");
    if (count <= FILE_AT || line[count] != '\n' || strncmp(line, "XXH3_", 5) != 0 ||
        strncmp(line + FILE_AT - 2, "  ", 2) != 0) {
        return false;
    }
    line[count] = '\0';
    *sum = strtoull(line + 5, &end, 16);
    *file = line + FILE_AT;
    return end == line + FILE_AT - 2 && line[FILE_AT] != '/' && strstr(*file, "..") == NULL;
}

static enum err count_file(void *context, const char *file, struct kv_failure *failure)
{
    (void)file, (void)failure;
    *(uint64_t *)context += 1;
    return OK;
}

static enum err verify_lines(const char *folder, FILE *lines, uint64_t *count,
                             struct kv_failure *failure)
{
    static const char advice[] = "it is not what the backup wrote: take another backup";
    char line[SUMS_LINE_BYTES];
    while (fgets(line, sizeof(line), lines) != NULL) {
        uint64_t expected, sum;
        const char *file;
        if (!line_read(line, &expected, &file)) {
            return fail(failure, ERR_CORRUPT, folder, sum_name, advice);
        }
        if (sum_file(folder, file, false, &sum, failure) != OK) {
            return fail(failure, errno == ENOENT ? ERR_CORRUPT : ERR_IO, folder, file,
                        errno == ENOENT ? "it is missing: take another backup"
                                        : "it cannot be read: look at the disk (dmesg)");
        }
        if (sum != expected) {
            return fail(failure, ERR_CORRUPT, folder, file, advice);
        }
        *count += 1;
    }
    return *count > 0 ? OK : fail(failure, ERR_CORRUPT, folder, sum_name, advice);
}

enum err store_backup_verify(const char *folder, struct kv_failure *failure)
{
    char path[PATH_MAX];
    uint64_t listed = 0, there = 0;
    snprintf(path, sizeof(path), "%.*s/%s", PATH_MAX - 16, folder, sum_name);
    FILE *lines = fopen(path, "re");
    if (lines == NULL) {
        return errno == ENOENT
                   ? fail(failure, ERR_NOT_FOUND, folder, "",
                          "this is no backup, or one that was not completed (SUMS is missing): "
                          "name a folder that ternctl backup has made")
                   : fail_errno(failure, folder, sum_name);
    }
    enum err err = verify_lines(folder, lines, &listed, failure);
    fclose(lines);
    TRY(err);
    TRY(walk(folder, "", count_file, &there, failure));
    return there == listed
               ? OK
               : fail(failure, ERR_CORRUPT, folder, "",
                      "there are files in it that the backup did not write: take another backup");
}
