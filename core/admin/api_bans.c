/*
 * The ban list, for whoever keeps it (struct admin_bans).
 *
 *     GET    /api/v1/bans      {"bans":[{"id":1,"kind":"address","value":"203.0.113.7","reason":"...",
 *                                        "since":"2026-...Z","until":"2026-...Z"}]}
 *     POST   /api/v1/bans      {"kind":"address","value":"203.0.113.7","seconds":3600,"reason":"..."}
 *                              201 {"id":1}; without seconds it is for good
 *     DELETE /api/v1/bans/1    204
 */
#include "core/admin/routes.h"
#include "core/base/json.h"
#include "core/base/text.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    TIME_TEXT_BYTES = 32,
    SECONDS_MAX = 10 * 366 * 86400, /* "for good" is said by leaving it out */
};

static bool has_list(const struct request *request, struct answer *answer)
{
    if (request->sources->bans == NULL) {
        problem_answer(answer, 404, "this broker keeps no list of bans");
        return false;
    }
    return true;
}

static void json_answer(struct answer *answer, uint16_t status, struct json_writer *w,
                        struct buf *out)
{
    answer->status = status;
    answer->content_type = "application/json";
    answer->body.err = json_writer_end(w);
    body_add_slice(&answer->body, buf_bytes(out));
    body_add(&answer->body, "\n");
    buf_deinit(out);
}

/* ---- the list ------------------------------------------------------------------------------ */

static void time_add(struct json_writer *w, const char *key, uint64_t wall_ms)
{
    char text[TIME_TEXT_BYTES];
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm parts;
    gmtime_r(&seconds, &parts);
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
    json_add_text(w, key, slice_text(text));
}

static void ban_write(void *to, const struct admin_ban *ban)
{
    struct json_writer *w = to;
    json_object_begin(w, NULL);
    json_add_u64(w, "id", ban->id);
    json_add_text(w, "kind", ban->kind);
    json_add_text(w, "value", ban->value);
    if (ban->reason.count > 0) {
        json_add_text(w, "reason", ban->reason);
    }
    time_add(w, "since", ban->since_ms);
    if (ban->until_ms != 0) {
        time_add(w, "until", ban->until_ms);
    }
    json_object_end(w);
}

static void list_answer(const struct request *request, struct answer *answer)
{
    struct buf out = {0};
    struct json_writer w = json_writer(&out, BODY_BYTES_MAX - 1);
    json_object_begin(&w, NULL);
    json_array_begin(&w, "bans");
    request->sources->bans->list(request->sources->context, ban_write, &w);
    json_array_end(&w);
    json_object_end(&w);
    json_answer(answer, 200, &w, &out);
}

/* ---- adding -------------------------------------------------------------------------------- */

/* ERR_INVALID: another member, or one of another kind; why tells. */
static enum err ban_read(const struct json *document, uint64_t wall_ms, struct admin_ban *out,
                         char why[ADMIN_WHY_BYTES])
{
    struct admin_ban ban = {.since_ms = wall_ms};
    const struct json *value;
    struct slice key;
    void *cursor = NULL;

    while ((value = json_next(document, &cursor, &key)) != NULL) {
        uint64_t seconds;
        enum err err = ERR_INVALID;
        if (slice_is(key, "kind")) {
            err = json_get_text(value, &ban.kind);
        } else if (slice_is(key, "value")) {
            err = json_get_text(value, &ban.value);
        } else if (slice_is(key, "reason")) {
            err = json_get_text(value, &ban.reason);
        } else if (slice_is(key, "seconds")) {
            err = json_get_u64(value, &seconds);
            err = err == OK && (seconds == 0 || seconds > SECONDS_MAX) ? ERR_RANGE : err;
            ban.until_ms = err == OK ? wall_ms + seconds * 1000 : 0;
        }
        if (err != OK) {
            snprintf(why, ADMIN_WHY_BYTES,
                     "%.40s is not allowed so: write kind, value, reason as texts and seconds as a "
                     "number from 1 to %d",
                     (const char *)key.data, SECONDS_MAX);
            return ERR_INVALID;
        }
    }
    if (ban.kind.count == 0 || ban.value.count == 0) {
        snprintf(why, ADMIN_WHY_BYTES, "kind (address, client or user) and value are needed");
        return ERR_INVALID;
    }
    *out = ban;
    return OK;
}

static void added_answer(const struct request *request, const struct admin_ban *ban,
                         struct answer *answer)
{
    char why[ADMIN_WHY_BYTES] = "";
    uint64_t id;
    enum err err = request->sources->bans->add(request->sources->context, ban, &id, why);
    if (err == ERR_INVALID) {
        problem_answer(answer, 400, "%s", why[0] != 0 ? why : err_text(err));
    } else if (err == ERR_LIMIT) {
        problem_answer(answer, 409, "the list is full: remove a ban first");
    } else if (err != OK) {
        problem_answer(answer, 503, "%s: try again", err_text(err));
    } else {
        struct buf out = {0};
        struct json_writer w = json_writer(&out, BODY_BYTES_MAX - 1);
        json_object_begin(&w, NULL);
        json_add_u64(&w, "id", id);
        json_object_end(&w);
        json_answer(answer, 201, &w, &out);
    }
}

static void add_answer(const struct request *request, struct answer *answer)
{
    static const struct json_limits limits = {.bytes_max = ADMIN_BODY_BYTES_MAX, .depth_max = 2};
    char problem[JSON_PROBLEM_BYTES], why[ADMIN_WHY_BYTES];
    struct json *document;
    struct admin_ban ban;
    enum err err = json_read(request->body, &limits, &document, problem);
    if (err != OK) {
        problem_answer(answer, err == ERR_NOMEM ? 503 : 400, "the body is not what is needed: %s",
                       problem);
        return;
    }
    err = ban_read(document, request->wall_ms, &ban, why);
    if (err != OK) {
        problem_answer(answer, 400, "%s", why);
    } else {
        added_answer(request, &ban, answer);
    }
    json_free(document);
}

void api_bans(const struct request *request, struct answer *answer)
{
    if (!has_list(request, answer)) {
        return;
    }
    if (request->method == HTTP_POST) {
        add_answer(request, answer);
    } else {
        list_answer(request, answer);
    }
}

void api_ban(const struct request *request, struct answer *answer)
{
    uint64_t id;
    if (!has_list(request, answer)) {
        return;
    }
    if (text_read_u64(request->rest, &id) != OK ||
        request->sources->bans->remove(request->sources->context, id) != OK) {
        problem_answer(answer, 404, "there is no such ban");
        return;
    }
    answer->status = 204;
}
