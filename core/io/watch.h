/*
 * watch: files that are looked at now and then, to see whether somebody changed them.
 *
 * Floor:  io.
 * Thread: one at a time.
 * Memory: heap, owned by the caller.
 *
 * A look takes what stat(2) tells through symbolic links, so that a link that is swapped counts, as
 * Kubernetes swaps the folder of a secret; of a folder it takes all entries. A file is added before
 * it is read: what changes while it is being read is seen later.
 */
#ifndef TERN_IO_WATCH_H
#define TERN_IO_WATCH_H

#include "core/base/err.h"

#include <stdbool.h>
#include <stdint.h>

enum { WATCH_FOLDER_ENTRIES_MAX = 4096 }; /* more of them are not looked at */

struct watch;

struct watch *watch_new(void);        /* NULL: memory is exhausted */
void watch_free(struct watch *watch); /* accepts NULL */

/* Remember the path and what is there now, or that nothing is. The same path counts once. ERR_NOMEM. */
enum err watch_add(struct watch *watch, const char *path);

/*
 * Look at all of them. true: something is not as it was when it was added, and all is as it was at
 * the last look, so that nobody reads half of a file, or a certificate without its new key.
 */
bool watch_has_changed(struct watch *watch);

uint32_t watch_count(const struct watch *watch);
const char *watch_path(const struct watch *watch, uint32_t index); /* as long as the watch */

#endif
