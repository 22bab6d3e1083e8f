/*
 * folder: DOOR disk: where a store lies: whose it is now, and which format is in it.
 *
 *     FORMAT    tern store
 *               format 1
 *               created 2026-11-21T18:31:27Z
 *
 * Floor:  storage.
 * Thread: any; blocks.
 *
 * Behind it stands folder.c; the simulator, whose maps lie in no folder, brings another.
 */
#ifndef TERN_STORAGE_FOLDER_H
#define TERN_STORAGE_FOLDER_H

#include "core/base/err.h"
#include "storage/kv.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

struct folder {
    char path[PATH_MAX]; /* without a / at its end */
    int handle;          /* open and locked; -1: not */
    uint32_t format;     /* 0 is a format too; of a new folder: the one that was asked for */
    bool is_new;         /* nothing was in it when it was opened */
    bool is_made;        /* nor was it there itself */
};

/*
 * Open and lock it; one that is missing (its parent is there) or empty gets FORMAT with format_new.
 * must_exist: neither is made. ERR_BUSY: in use; ERR_EXISTS: files that are not a store's;
 * ERR_NOT_FOUND, ERR_CORRUPT (of FORMAT), ERR_PERMISSION, ERR_NO_SPACE, ERR_IO.
 */
enum err folder_open(const char *path, uint32_t format_new, bool must_exist, struct folder *out,
                     struct kv_failure *failure);
void folder_close(struct folder *folder); /* of one that was opened */

/* Close one that is new, and leave nothing of it; its maps are closed. */
void folder_discard(struct folder *folder);

/* Remove what a store, a backup, or a part of one has put into a folder that was empty before; is_made:
 * and the folder. Anything else in it stays. */
void folder_clear(const char *path, bool is_made);

/* A folder whose maps are there already gets its FORMAT: the end of a copy. As folder_open(). */
enum err folder_make(const char *path, uint32_t format, struct folder *out,
                     struct kv_failure *failure);

/* Replace FORMAT in one step. ERR_NO_SPACE, ERR_PERMISSION, ERR_IO. */
enum err folder_set_format(struct folder *folder, uint32_t format, struct kv_failure *failure);

/* The names in it are on stable storage. ERR_IO. */
enum err folder_sync(const struct folder *folder, struct kv_failure *failure);

/* Bytes of the whole disk it lies on; 0: nobody knows. */
uint64_t folder_disk_bytes(const struct folder *folder);

#endif
