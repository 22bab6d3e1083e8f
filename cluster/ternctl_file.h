/*
 * ternctl_file: a file that is read, changed by us and put back in one step.
 *
 *     open ──> text of it ──> replace ──> close        one ternctl at a time, by a lock of its folder
 *
 * Who reads the file sees the old one or the new one, whole, at any moment, and after a power cut. A
 * link is followed, and stays: what it points to is replaced. Mode and owner stay; a new file is its
 * owner's alone. An editor that knows no lock is noticed: what it wrote is never overwritten.
 *
 * Floor:  cluster; of ternctl.
 * Memory: the text, from open to close.
 */
#ifndef TERN_CLUSTER_TERNCTL_FILE_H
#define TERN_CLUSTER_TERNCTL_FILE_H

#include "core/base/slice.h"

#include <limits.h>
#include <sys/stat.h>

struct ternctl_file {
    char path[PATH_MAX]; /* of the file itself, not of a link to it */
    int folder;          /* open and locked; -1: only to be read */
    bool exists;
    struct stat before;
    char *text;
    size_t text_bytes;
};

enum ternctl_access {
    TERNCTL_READ,
    TERNCTL_CHANGE, /* the file has to be there */
    TERNCTL_MAKE,   /* or is made: its text is empty */
};

/* TERNCTL_OK; else the exit code, and stderr has been told. */
int ternctl_file_open(const char *path, enum ternctl_access access, size_t bytes_max,
                      struct ternctl_file *out);
int ternctl_file_replace(const struct ternctl_file *file, struct slice text);
void ternctl_file_close(struct ternctl_file *file); /* of one that was opened */

#endif
