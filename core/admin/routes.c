#include "core/admin/routes.h"

#include "core/admin/visitor.h"
#include "core/base/json.h"

#include <stdarg.h>
#include <stdio.h>

#define ALLOW(methods) methods, "Allow: " methods "\r\n"
static const struct route routes[] = {
    {"/metrics", metrics_get, NULL, ALLOW("GET, HEAD")},
    {"/health", health_get, NULL, ALLOW("GET, HEAD")},
    {"/health/live", health_live_get, NULL, ALLOW("GET, HEAD")},
    {"/health/ready", health_ready_get, NULL, ALLOW("GET, HEAD")},
    {"/api/v1/explain", NULL, api_explain, ALLOW("GET, HEAD")},
    {"/api/v1/bans", NULL, api_bans, ALLOW("GET, HEAD, POST")},
    {"/api/v1/bans/", NULL, api_ban, ALLOW("DELETE")},
    {"/api/v1/backup", NULL, api_backup, ALLOW("GET, HEAD, POST")},
};
#undef ALLOW

static const char api_path[] = "/api/";

const struct route *route_find(struct slice path, struct slice *rest)
{
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        struct slice start = slice_text(routes[i].path);
        bool goes_on = start.data[start.count - 1] == '/' && path.count > start.count;
        if (slice_equal(path, start) || (goes_on && slice_starts_with(path, start))) {
            *rest = slice_skip(path, start.count);
            return &routes[i];
        }
    }
    *rest = path;
    return NULL;
}

/* ---- refusals ------------------------------------------------------------------------------ */

void problem_answer(struct answer *answer, uint16_t status, const char *detail, ...)
{
    char text[512];
    struct buf out = {0};
    va_list values;
    va_start(values, detail);
    vsnprintf(text, sizeof(text), detail, values);
    va_end(values);

    struct json_writer w = json_writer(&out, BODY_BYTES_MAX);
    json_object_begin(&w, NULL);
    json_add_text(&w, "type", slice_text("about:blank"));
    json_add_text(&w, "title", slice_text(http_status_text(status)));
    json_add_u64(&w, "status", status);
    json_add_text(&w, "detail", slice_text(text));
    json_object_end(&w);
    body_free(&answer->body);
    answer->body.err = json_writer_end(&w);
    answer->status = status;
    answer->content_type = "application/problem+json";
    body_add_slice(&answer->body, buf_bytes(&out));
    body_add(&answer->body, "\n");
    buf_deinit(&out);
}

/* Outside of the API: the status in words. */
static void plain_answer(struct answer *answer, uint16_t status)
{
    answer->status = status;
    answer->content_type = "text/plain; charset=utf-8";
    body_add(&answer->body, "%s\n", http_status_text(status));
}

static bool is_of_api(struct slice path)
{
    return slice_starts_with(path, slice_text(api_path));
}

static bool method_is_allowed(const struct route *route, const struct http_head *head)
{
    struct slice rest = slice_text(route->methods), allowed;
    while (http_list_next(&rest, &allowed)) {
        if (slice_equal(allowed, head->method_text)) {
            return true;
        }
    }
    return false;
}

static bool body_is_good(const struct http_head *head, struct answer *refusal)
{
    if (http_header_find(head, "Expect") != NULL) {
        problem_answer(refusal, 417, "the body is read at once: send it without Expect");
        return false;
    }
    if (!head->has_content_length) {
        problem_answer(refusal, 411, "a body with Content-Length is needed");
        return false;
    }
    if (head->content_length > ADMIN_BODY_BYTES_MAX) {
        problem_answer(refusal, 413, "the body is larger than %d bytes", (int)ADMIN_BODY_BYTES_MAX);
        return false;
    }
    return true;
}

bool route_wants_body(const struct route *route, const struct http_head *head)
{
    return route->run != NULL && head->method == HTTP_POST;
}

bool route_admits(const struct route *route, const struct http_head *head, bool is_private,
                  struct answer *refusal)
{
    const char *why;
    bool is_api = is_of_api(head->path);
    uint16_t status = is_api ? visitor_check(head, is_private, &why) : 0;
    if (status != 0) {
        problem_answer(refusal, status, "%s", why); /* first: strangers learn nothing else */
        return false;
    }
    if (route == NULL) {
        if (is_api) {
            problem_answer(refusal, 404, "there is no such path in the API");
        } else {
            plain_answer(refusal, 404);
        }
        return false;
    }
    if (!method_is_allowed(route, head)) {
        if (is_api) {
            problem_answer(refusal, 405, "this path knows %s", route->methods);
        } else {
            plain_answer(refusal, 405);
        }
        refusal->headers = route->allow;
        return false;
    }
    return !route_wants_body(route, head) || body_is_good(head, refusal);
}
