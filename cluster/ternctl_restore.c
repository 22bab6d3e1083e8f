/*
 * ternctl restore: a store from a backup. The backup is compared with its sums before, and not touched.
 */
#include "cluster/ternctl.h"
#include "cluster/ternctl_store.h"
#include "storage/store.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char words[] = "restore";

/* Not there, or nothing in it: neither a store nor anything else is written over. */
static bool is_free(const char *path)
{
    const struct dirent *item;
    uint32_t count = 0;
    DIR *folder = opendir(path);
    if (folder == NULL) {
        return true; /* what is wrong with it, whoever makes it will tell */
    }
    while ((item = readdir(folder)) != NULL) {
        count += strcmp(item->d_name, ".") != 0 && strcmp(item->d_name, "..") != 0 &&
                 strcmp(item->d_name, "lost+found") != 0;
    }
    closedir(folder);
    return count == 0;
}

static int failed(enum err err, const struct kv_failure *failure, int code)
{
    fprintf(stderr, "ternctl restore: %s\n",
            failure->text[0] == '\0' ? err_text(err) : failure->text);
    return code;
}

/* FORMAT comes last: a copy that broke off is no store. */
static enum err restore(const char *from, const char *to, uint32_t format,
                        struct kv_failure *failure)
{
    struct folder folder;
    TRY(tree_copy(from, to, TREE_COPY, failure));
    TRY(folder_make(to, format, &folder, failure));
    enum err err = folder_sync(&folder, failure);
    folder_close(&folder);
    return err;
}

/* A FORMAT is what we write last and a broker first: one that has begun to use the folder meanwhile
 * keeps what is in it. */
static void leave_nothing(const char *to, bool is_made)
{
    char format[PATH_MAX];
    bool fits = snprintf(format, sizeof(format), "%s/FORMAT", to) < (int)sizeof(format);
    if (fits && access(format, F_OK) != 0) {
        folder_clear(to, is_made);
    }
}

static int run(const char *from, const char *to)
{
    struct kv_failure failure = {""};
    struct folder backup;
    enum err err = store_backup_verify(from, &failure);
    if (err != OK) {
        return failed(err, &failure, TERNCTL_DATA);
    }
    if (!is_free(to)) {
        fprintf(stderr,
                "ternctl restore: %s is not empty: name a new folder, or move what is in it away\n",
                to);
        return TERNCTL_CANNOT_CREATE;
    }
    err = folder_open(from, STORE_FORMAT, true, &backup, &failure);
    if (err != OK) {
        return failed(err, &failure, TERNCTL_DATA);
    }
    uint32_t format = backup.format;
    folder_close(&backup);
    bool is_made = access(to, F_OK) != 0;
    err = restore(from, to, format, &failure);
    if (err != OK) {
        leave_nothing(to, is_made);
        return failed(err, &failure, TERNCTL_CANNOT_CREATE);
    }
    printf("store in %s\n", to);
    return TERNCTL_OK;
}

int ternctl_restore(int argument_count, char *const *arguments)
{
    static const char what[] = "write the folder of a backup, and --into a new folder";
    const char *from, *to = "";
    int code = ternctl_path_and_option(words, what, argument_count, arguments, "into", &from, &to);
    if (code != TERNCTL_OK) {
        return code;
    }
    return to[0] == '\0' ? ternctl_wrong_usage(words, what) : run(from, to);
}
