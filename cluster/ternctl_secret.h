/*
 * ternctl_secret: a password from a terminal, standard input or a file; never from an argument.
 *
 * Floor:  cluster; of ternctl.
 */
#ifndef TERN_CLUSTER_TERNCTL_SECRET_H
#define TERN_CLUSTER_TERNCTL_SECRET_H

#include "core/base/slice.h"

enum { TERNCTL_SECRET_BYTES_MAX = 65535 };

struct ternctl_secret {
    uint8_t bytes[TERNCTL_SECRET_BYTES_MAX + 2]; /* with its line end */
    size_t count;
};

/*
 * The first line of path ("-", NULL: of standard input; a terminal asks, and hides what is typed).
 * is_new: a terminal asks twice. TERNCTL_OK; else the exit code, and stderr has been told.
 */
int ternctl_secret_read(const char *path, bool is_new, struct ternctl_secret *out);
void ternctl_secret_forget(struct ternctl_secret *secret);

static inline struct slice ternctl_secret_bytes(const struct ternctl_secret *secret)
{
    return slice_of(secret->bytes, secret->count);
}

#endif
