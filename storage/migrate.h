/*
 * migrate: an older format of the store becomes today's, step by step.
 *
 * Floor:  storage.
 * Thread: who opens the store; blocks.
 *
 * A step rewrites the maps of a folder that nobody else has open, from format `from` to the next one,
 * and FORMAT follows when it is done. So a step that was interrupted is run again from its begin: it
 * has to bear that.
 */
#ifndef TERN_STORAGE_MIGRATE_H
#define TERN_STORAGE_MIGRATE_H

#include "storage/folder.h"

struct migrate_step {
    uint32_t from;
    const char *what; /* for the log: "packet ids get a key of their own" */
    /* NULL ends a table of steps. */
    enum err (*run)(const char *folder, struct kv_failure *failure);
};

/* What this version can do. */
extern const struct migrate_step migrate_steps[];

/*
 * From what the folder has to format. OK: it has it now. ERR_UNSUPPORTED: it is newer, or there is no
 * step from it. Else what a step returned.
 */
enum err migrate(struct folder *folder, uint32_t format, const struct migrate_step *steps,
                 struct kv_failure *failure);

#endif
