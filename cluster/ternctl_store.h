/*
 * ternctl_store: a closed store, or a backup, opened to be read.
 *
 * Opening a map writes to its folder (a log that is torn at its end is cut). For a store that is what
 * the next start would do. A backup has to stay as its sums have it: its files are copied into a
 * folder beside it (tables are linked, where the file system has links), and opened there; that folder
 * is removed at the end.
 *
 * Floor:  cluster; a part of ternctl.
 */
#ifndef TERN_CLUSTER_TERNCTL_STORE_H
#define TERN_CLUSTER_TERNCTL_STORE_H

#include "storage/folder.h"
#include "storage/kv.h"

#include <limits.h>
#include <stdbool.h>

struct closed_store {
    struct folder folder;   /* locked: no broker starts on it meanwhile */
    char scratch[PATH_MAX]; /* of a backup; "": none */
    struct kv *log, *state;
};

/*
 * words: the command, for what is said on stderr. TERNCTL_OK; else the exit code, and it has been said.
 * A backup's sums are compared first.
 */
int closed_store_open(const char *words, const char *path, struct closed_store *out);
/* Reads the sums of all files of both maps. TERNCTL_OK, or TERNCTL_DATA and it has been said. */
int closed_store_verify(const char *words, struct closed_store *store);
void closed_store_close(struct closed_store *store); /* of one that was opened */

/* Is it a backup: is there a file SUMS? */
bool is_backup(const char *path);

enum tree_copy {
    TREE_LINK, /* tables are shared by both folders, where links are to be had */
    TREE_COPY  /* on stable storage */
};
/*
 * The files of a store or a backup, but for SUMS and FORMAT, into a new folder. failure as kv.h; what
 * was made stays: folder_clear().
 */
enum err tree_copy(const char *from, const char *to, enum tree_copy how,
                   struct kv_failure *failure);

#endif
