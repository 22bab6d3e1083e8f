/*
 * The ban list of the broker.
 *
 *     GET    /api/v1/bans      {"bans":[{"id":1,"kind":"address","value":"203.0.113.7","by":"operator",
 *                                        "reason":"...","since":"2026-...Z","until":"2026-...Z"}],
 *                               "next":1}
 *                              ?after=ID&limit=N: a part of it; next: there are more after this one
 *     POST   /api/v1/bans      {"kind":"address","value":"203.0.113.7","seconds":3600,"reason":"..."}
 *                              201 {"id":1}; without seconds it is for good
 *     DELETE /api/v1/bans/1    204
 */
#include "core/access/bans.h"
#include "core/admin/query.h"
#include "core/admin/routes.h"
#include "core/base/json.h"
#include "core/base/text.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    TIME_TEXT_BYTES = 32,
    SECONDS_MAX = 10 * 366 * 86400, /* "for good" is said by leaving it out */
    PAGE_MAX = 1000,
    PAGE_BYTES = BODY_BYTES_MAX / 2, /* a page ends behind that: one more client id has room */
    QUERY_BYTES_MAX = 256,
    WHY_BYTES = 256,
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

struct page {
    struct json_writer writer;
    uint64_t last_id;
    bool is_full;
};

static void time_add(struct json_writer *w, const char *key, uint64_t wall_ms)
{
    char text[TIME_TEXT_BYTES];
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm parts;
    gmtime_r(&seconds, &parts);
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
    json_add_text(w, key, slice_text(text));
}

static void ban_write(void *context, const struct ban *ban)
{
    struct page *page = context;
    struct json_writer *w = &page->writer;
    page->is_full |= w->written > PAGE_BYTES;
    if (page->is_full) {
        return;
    }
    page->last_id = ban->id;
    json_object_begin(w, NULL);
    json_add_u64(w, "id", ban->id);
    json_add_text(w, "kind", slice_text(ban_kind_name(ban->kind)));
    json_add_text(w, "value", ban->value);
    json_add_text(w, "by", slice_text(ban_by_name(ban->by)));
    if (ban->reason.count > 0) {
        json_add_text(w, "reason", ban->reason);
    }
    time_add(w, "since", ban->since_wall_ms);
    if (ban->until_wall_ms != 0) {
        time_add(w, "until", ban->until_wall_ms);
    }
    json_object_end(w);
}

static void list_answer(const struct request *request, struct answer *answer)
{
    struct query_item items[] = {{.name = "after"}, {.name = "limit"}};
    char text[QUERY_BYTES_MAX];
    uint64_t after = 0, limit = PAGE_MAX;
    struct buf out = {0};
    if (request->query.count > sizeof(text) || query_read(request->query, items, 2, text) != OK ||
        (items[0].is_there && text_read_u64(items[0].value, &after) != OK) ||
        (items[1].is_there && text_read_u64(items[1].value, &limit) != OK) || limit == 0 ||
        limit > PAGE_MAX) {
        problem_answer(answer, 400, "ask for ?after=ID and &limit=N, from 1 to %d", PAGE_MAX);
        return;
    }
    struct page page = {.writer = json_writer(&out, BODY_BYTES_MAX - 1)};
    json_object_begin(&page.writer, NULL);
    json_array_begin(&page.writer, "bans");
    uint32_t count = bans_page(request->sources->bans, after, (uint32_t)limit, request->wall_ms,
                               ban_write, &page);
    json_array_end(&page.writer);
    if (page.is_full || count == limit) {
        json_add_u64(&page.writer, "next", page.last_id);
    }
    json_object_end(&page.writer);
    json_answer(answer, 200, &page.writer, &out);
}

/* ---- adding -------------------------------------------------------------------------------- */

/* "203.0.113.0/24" is a network, also where an address was said. */
static enum ban_kind kind_read(struct slice kind, struct slice value)
{
    enum ban_kind found = ban_kind_find(kind);
    bool is_network = slice_find(value, '/') < value.count;
    return found == BAN_ADDRESS && is_network ? BAN_NETWORK : found;
}

/* ERR_INVALID: another member, or one of another kind; why tells. */
static enum err ban_read(const struct json *document, uint64_t wall_ms, struct ban *out,
                         char why[WHY_BYTES])
{
    struct ban ban = {.by = BAN_BY_OPERATOR, .since_wall_ms = wall_ms};
    struct slice kind = {NULL, 0}, key;
    const struct json *value;
    void *cursor = NULL;

    while ((value = json_next(document, &cursor, &key)) != NULL) {
        uint64_t seconds;
        enum err err = ERR_INVALID;
        if (slice_is(key, "kind")) {
            err = json_get_text(value, &kind);
        } else if (slice_is(key, "value")) {
            err = json_get_text(value, &ban.value);
        } else if (slice_is(key, "reason")) {
            err = json_get_text(value, &ban.reason);
        } else if (slice_is(key, "seconds")) {
            err = json_get_u64(value, &seconds);
            err = err == OK && (seconds == 0 || seconds > SECONDS_MAX) ? ERR_RANGE : err;
            ban.until_wall_ms = err == OK ? wall_ms + seconds * 1000 : 0;
        }
        if (err != OK) {
            snprintf(why, WHY_BYTES,
                     "%.40s is not allowed so: write kind, value, reason as texts and seconds as a "
                     "number from 1 to %d",
                     (const char *)key.data, SECONDS_MAX);
            return ERR_INVALID;
        }
    }
    ban.kind = kind_read(kind, ban.value);
    if (ban.kind == BAN_KIND_COUNT || ban.value.count == 0) {
        snprintf(why, WHY_BYTES, "kind (address, network, client or user) and value are needed");
        return ERR_INVALID;
    }
    *out = ban;
    return OK;
}

static void added_answer(const struct request *request, const struct ban *ban,
                         struct answer *answer)
{
    uint64_t id;
    enum err err = bans_add(request->sources->bans, ban, request->wall_ms, &id);
    if (err == ERR_INVALID) {
        problem_answer(answer, 400,
                       "value is no address: write an IP address, or a network such as "
                       "203.0.113.0/24");
    } else if (err == ERR_EXISTS) {
        problem_answer(answer, 409, "the configuration bans this already");
    } else if (err == ERR_LIMIT) {
        problem_answer(answer, 409, "the list is full: remove a ban first");
    } else if (err != OK) {
        problem_answer(answer, 503, "%s: try again", err_text(err));
    } else {
        if (request->sources->banned != NULL) {
            request->sources->banned(request->sources->context, ban);
        }
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
    char problem[JSON_PROBLEM_BYTES], why[WHY_BYTES];
    struct json *document;
    struct ban ban;
    enum err err = json_read(request->body, &limits, &document, problem);
    if (err != OK) {
        problem_answer(answer, err == ERR_NOMEM ? 503 : 400, "the body is not what is needed: %s",
                       problem);
        return;
    }
    if (ban_read(document, request->wall_ms, &ban, why) != OK) {
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
    enum err err = text_read_u64(request->rest, &id);
    if (err == OK) {
        err = bans_remove_id(request->sources->bans, id);
    }
    if (err == ERR_PERMISSION) {
        problem_answer(answer, 409, "this ban stands in the configuration: remove its line there");
    } else if (err != OK) {
        problem_answer(answer, 404, "there is no such ban");
    } else {
        answer->status = 204;
    }
}
