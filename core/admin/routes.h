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
#include "core/wire/http.h"

struct answer {
    uint16_t status; /* 200 until a handler says otherwise */
    const char *content_type;
    const char *headers; /* more of them, each ending in "\r\n", or NULL */
    struct body body;
};

/* Make the answer to GET; HEAD gets the same one without its body. Good for all who ask in a turn. */
typedef void route_handler(const struct admin_sources *sources, uint64_t wall_ms,
                           struct answer *answer);

struct admin_security;
struct admin_storage;

/* Prometheus text format 0.0.4 of all metrics, summed over the shards. */
route_handler metrics_get;

/* JSON for people and monitors: 200, or 503 while draining. */
route_handler health_get;

/* What guards the listeners, for metrics_get() and health_get(): api_security.c. */
void security_metrics_add(struct body *body, const struct admin_security *now);
void security_health_add(struct body *body, const struct admin_security *now, uint64_t wall_ms);
bool security_is_well(const struct admin_security *now, uint64_t wall_ms);
struct admin_security security_now(const struct admin_sources *sources);

/* What is kept on disk, for the same two: api_storage.c. */
struct admin_storage storage_now(const struct admin_sources *sources);
void storage_metrics_add(struct body *body, const struct admin_storage *now);
/* "memory", "ok", "full" or "failed". */
const char *storage_word(const struct admin_storage *now);

/* The process runs and turns: always 200. An orchestrator restarts what does not answer. */
route_handler health_live_get;

/* May clients be sent here? 200, or 503 while draining. */
route_handler health_ready_get;

/* ---- the API ------------------------------------------------------------------------------- */

struct inquiry;

struct request {
    const struct admin_sources *sources;
    uint64_t wall_ms;
    enum http_method method; /* one of the route's; GET for HEAD */
    struct slice rest;       /* of the path, behind the route's */
    struct slice query;
    struct slice body;
    /* For an answer that takes longer: whom to tell that inquiry_answer() has all of it. */
    void (*ready)(void *owner);
    void *owner;
    struct inquiry **inquiry; /* written by a handler that leaves answer->status 0 */
};

typedef void api_handler(const struct request *request, struct answer *answer);

api_handler api_explain; /* ?client=ID or ?address=IP, &limit=N */
api_handler api_bans;
api_handler api_ban; /* rest: its id */
api_handler api_backup;

/* What an inquiry has found out by now. */
void inquiry_answer(struct inquiry *inquiry, struct answer *answer);
void inquiry_free(struct inquiry *inquiry); /* accepts NULL */

/* application/problem+json, RFC 9457; detail is a sentence for people. */
void problem_answer(struct answer *answer, uint16_t status, const char *detail, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- the table ----------------------------------------------------------------------------- */

struct route {
    const char *path;   /* of the API, when it ends in '/': what follows belongs to the handler */
    route_handler *get; /* or else: */
    api_handler *run;
    const char *methods, *allow; /* "GET, HEAD", and the header that says so */
};

/* NULL: no such path. rest: what follows it. */
const struct route *route_find(struct slice path, struct slice *rest);

/*
 * May this be asked, and asked in this way? is_private: it came in over a listener that only this
 * machine reaches. false: refusal tells why not.
 */
bool route_admits(const struct route *route, const struct http_head *head, bool is_private,
                  struct answer *refusal);

/* A POST of the API: the one kind of request whose body is read. */
bool route_wants_body(const struct route *route, const struct http_head *head);

#endif
