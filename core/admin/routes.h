/*
 * routes: what the HTTP listener answers, path by path.
 *
 * Floor:  admin.
 * Thread: the shard that the admin runs on.
 */
#ifndef TERN_ADMIN_ROUTES_H
#define TERN_ADMIN_ROUTES_H

#include "core/admin/admin.h"
#include "core/admin/body.h"

struct answer {
    uint16_t status; /* 200 until a handler says otherwise */
    const char *content_type;
    struct body body;
};

/* Make the answer to GET; HEAD gets the same one without its body. */
typedef void route_handler(const struct admin_sources *sources, uint64_t wall_ms,
                           struct answer *answer);

/* Prometheus text format 0.0.4 of all metrics, summed over the shards. */
route_handler metrics_get;

/* JSON for people and monitors: 200, or 503 while draining. */
route_handler health_get;

/* The process runs and turns: always 200. An orchestrator restarts what does not answer. */
route_handler health_live_get;

/* May clients be sent here? 200, or 503 while draining. */
route_handler health_ready_get;

#endif
