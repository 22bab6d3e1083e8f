/*
 * What is kept on disk, in /metrics and /health.
 */
#include "core/admin/routes.h"

struct admin_storage storage_now(const struct admin_sources *sources)
{
    struct admin_storage now = {.is_kept = false};
    if (sources->storage != NULL) {
        sources->storage(sources->context, &now);
    }
    return now;
}

const char *storage_word(const struct admin_storage *now)
{
    if (!now->is_kept) {
        return "memory";
    }
    return now->admits == OK ? "ok" : now->admits == ERR_NO_SPACE ? "full" : "failed";
}

void storage_metrics_add(struct body *body, const struct admin_storage *now)
{
    const struct {
        const char *name, *kind, *help;
        double value;
    } rows[] = {
        {"storage_admits", "gauge",
         "1: what has to last is accepted; 0: the disk is full or failed", now->admits == OK},
        {"storage_syncs_total", "counter", "times the disk was waited for", (double)now->syncs},
        {"storage_sync_seconds_total", "counter", "time spent waiting for it",
         (double)now->sync_ns / 1e9},
        {"storage_appends_total", "counter", "writes to the log, before they share a sync",
         (double)now->appends},
        {"storage_append_bytes_total", "counter", "bytes written to the log",
         (double)now->append_bytes},
        {"storage_applied_total", "counter", "entries of the log applied to the state",
         (double)now->applied},
        {"storage_flushes_total", "counter", "times the state was written out as a whole",
         (double)now->flushes},
        {"storage_log_cuts_total", "counter", "times the log was cut behind that",
         (double)now->cuts},
        {"storage_free_bytes", "gauge", "free bytes on the disk", (double)now->free_bytes},
    };
    for (uint32_t i = 0; now->is_kept && i < sizeof(rows) / sizeof(rows[0]); i++) {
        body_add(body, "# HELP tern_%s %s\n# TYPE tern_%s %s\ntern_%s %.15g\n", rows[i].name,
                 rows[i].help, rows[i].name, rows[i].kind, rows[i].name, rows[i].value);
    }
}
