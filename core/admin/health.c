#include "core/admin/routes.h"

static bool is_draining(const struct admin_sources *sources)
{
    return sources->is_draining != NULL && sources->is_draining(sources->context);
}

/*
 * Failed: the disk did not take what it was given, and nothing that lasts is accepted until a restart.
 * Degraded: clients are served, but the disk is full, or by certificates, passwords or rules that are not those of the files.
 * Balancers go on sending clients here, as these would find the same on the other side of a restart.
 */
static uint64_t total(const struct admin_sources *sources, enum metric metric)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < sources->metrics_count; i++) {
        sum += metric_value(sources->metrics[i], metric);
    }
    return sum;
}

void health_get(const struct admin_sources *sources, uint64_t wall_ms, struct answer *answer)
{
    bool draining = is_draining(sources);
    /* The wall clock may have been set back since the start. */
    uint64_t up_ms = wall_ms > sources->start_wall_ms ? wall_ms - sources->start_wall_ms : 0;
    struct admin_security security = security_now(sources);
    struct admin_storage storage = storage_now(sources);
    bool is_failed = storage.admits == ERR_IO || storage.admits == ERR_UNAVAILABLE;
    bool is_well = security_is_well(&security, wall_ms) && storage.admits == OK;
    const char *status = draining ? "draining" : is_failed ? "failed" : is_well ? "ok" : "degraded";
    answer->status = draining || is_failed ? 503 : 200;
    answer->content_type = "application/json";
    body_add(&answer->body,
             "{\"status\":\"%s\",\"version\":\"%s\",\"uptime_seconds\":%llu,\"shards\":%u,"
             "\"clients\":%llu,\"memory\":%llu,\"memory_limit\":%llu,\"storage\":\"%s\","
             "\"security\":[",
             status, TERN_VERSION, (unsigned long long)(up_ms / 1000), sources->metrics_count,
             (unsigned long long)total(sources, METRIC_clients_connected),
             (unsigned long long)total(sources, METRIC_memory_bytes),
             (unsigned long long)total(sources, METRIC_memory_limit_bytes), storage_word(&storage));
    security_health_add(&answer->body, &security, wall_ms);
    body_add(&answer->body, "]}\n");
}

static void status_answer(struct answer *answer, uint16_t status, const char *text)
{
    answer->status = status;
    answer->content_type = "application/json";
    body_add(&answer->body, "{\"status\":\"%s\"}\n", text);
}

void health_live_get(const struct admin_sources *sources, uint64_t wall_ms, struct answer *answer)
{
    (void)sources;
    (void)wall_ms;
    status_answer(answer, 200, "ok");
}

void health_ready_get(const struct admin_sources *sources, uint64_t wall_ms, struct answer *answer)
{
    (void)wall_ms;
    struct admin_storage storage = storage_now(sources);
    if (is_draining(sources)) {
        status_answer(answer, 503, "draining");
    } else if (storage.admits == ERR_IO || storage.admits == ERR_UNAVAILABLE) {
        status_answer(answer, 503, "failed");
    } else {
        status_answer(answer, 200, "ok");
    }
}
