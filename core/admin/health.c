#include "core/admin/routes.h"

static bool is_draining(const struct admin_sources *sources)
{
    return sources->is_draining != NULL && sources->is_draining(sources->context);
}

/*
 * Degraded: clients are served, by certificates, passwords or rules that are not those of the files.
 * Balancers go on sending clients here, as these would find the same on the other side of a restart.
 */
void health_get(const struct admin_sources *sources, uint64_t wall_ms, struct answer *answer)
{
    bool draining = is_draining(sources);
    uint64_t clients = 0;
    for (uint32_t i = 0; i < sources->metrics_count; i++) {
        clients += metric_value(sources->metrics[i], METRIC_clients_connected);
    }
    /* The wall clock may have been set back since the start. */
    uint64_t up_ms = wall_ms > sources->start_wall_ms ? wall_ms - sources->start_wall_ms : 0;
    struct admin_security security = security_now(sources);
    const char *status = draining                               ? "draining"
                         : security_is_well(&security, wall_ms) ? "ok"
                                                                : "degraded";
    answer->status = draining ? 503 : 200;
    answer->content_type = "application/json";
    body_add(&answer->body,
             "{\"status\":\"%s\",\"version\":\"%s\",\"uptime_seconds\":%llu,\"shards\":%u,"
             "\"clients\":%llu,\"security\":[",
             status, TERN_VERSION, (unsigned long long)(up_ms / 1000), sources->metrics_count,
             (unsigned long long)clients);
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
    if (is_draining(sources)) {
        status_answer(answer, 503, "draining");
    } else {
        status_answer(answer, 200, "ok");
    }
}
