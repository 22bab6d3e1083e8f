#include "storage/migrate.h"

#include "core/base/log.h"

#include <inttypes.h>
#include <stdio.h>

/* Format 1 is the first. Rows stay: who skips ten versions walks all steps. */
const struct migrate_step migrate_steps[] = {{.run = NULL}};

static const struct migrate_step *step_from(const struct migrate_step *steps, uint32_t format)
{
    while (steps->run != NULL && steps->from != format) {
        steps++;
    }
    return steps->run == NULL ? NULL : steps;
}

enum err migrate(struct folder *folder, uint32_t format, const struct migrate_step *steps,
                 struct kv_failure *failure)
{
    if (folder->format > format) {
        snprintf(failure->text, sizeof(failure->text),
                 "%.700s has format %" PRIu32 ", this version of tern knows %" PRIu32
                 " and older: start the newer version, or restore a backup of this one",
                 folder->path, folder->format, format);
        return ERR_UNSUPPORTED;
    }
    while (folder->format < format) {
        const struct migrate_step *step = step_from(steps, folder->format);
        if (step == NULL) {
            snprintf(failure->text, sizeof(failure->text),
                     "%.700s has format %" PRIu32
                     ", which this version of tern cannot bring to %" PRIu32
                     ": start a version between the two first",
                     folder->path, folder->format, format);
            return ERR_UNSUPPORTED;
        }
        log_event(LOG_NOTICE, "store is upgraded", LOG_TEXT("folder", folder->path),
                  LOG_U64("from", step->from), LOG_U64("to", step->from + 1),
                  LOG_TEXT("what", step->what));
        TRY(step->run(folder->path, failure));
        TRY(folder_set_format(folder, step->from + 1, failure));
    }
    return OK;
}
