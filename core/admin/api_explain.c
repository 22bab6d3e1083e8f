/*
 * GET /api/v1/explain?client=ID[&limit=N] or ?address=IP[&limit=N]: what happened to whom, and why.
 *
 *     {"client":"c1","connected":true,"session":true,"subscriptions":3,"queued":0,
 *      "shards":2,"answered":2,
 *      "events":[{"time":"2026-11-21T15:03:11.123Z","first":...,"count":1,"what":"publish_denied",
 *                 "text":"publish denied","reason":"not authorized","address":"127.0.0.1:40123",
 *                 "user":"alice","topic":"secret/a","detail":"acl.conf:12 ..."}]}   newest first
 *
 * What an event does not have is left out. answered < shards: some did not answer in time.
 */
#include "core/admin/query.h"
#include "core/admin/routes.h"
#include "core/base/json.h"
#include "core/base/text.h"
#include "core/broker/explain.h"
#include "core/io/sock.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { LIMIT_DEFAULT = 100, TIME_TEXT_BYTES = 40 };

struct inquiry {
    const struct admin_sources *sources;
    struct explain *explain;
    bool is_of_address;
    struct slice name; /* the client's, or the address as it was written */
    char bytes[];
};

/* ---- asking -------------------------------------------------------------------------------- */

static struct inquiry *inquiry_new(const struct admin_sources *sources, struct slice name,
                                   bool is_of_address)
{
    struct inquiry *inquiry = malloc(sizeof(*inquiry) + name.count);
    if (inquiry == NULL) {
        return NULL;
    }
    *inquiry = (struct inquiry){.sources = sources, .is_of_address = is_of_address};
    memcpy(inquiry->bytes, name.data, name.count);
    inquiry->name = slice_of(inquiry->bytes, name.count);
    return inquiry;
}

void inquiry_free(struct inquiry *inquiry)
{
    if (inquiry == NULL) {
        return;
    }
    if (inquiry->explain != NULL) {
        inquiry->sources->explain_end(inquiry->explain);
    }
    free(inquiry);
}

/* "10.1.2.3" or "2001:db8::1", without a port. */
static enum err peer_read(struct slice text, struct trail_peer *out)
{
    char name[ADDRESS_TEXT_MAX];
    struct address address;
    if (text.count == 0 || text.count >= sizeof(name) || text.data[0] == '/') {
        return ERR_INVALID;
    }
    memcpy(name, text.data, text.count);
    name[text.count] = '\0';
    TRY(address_parse(name, 0, &address));
    *out = (struct trail_peer){.kind = (uint8_t)address.kind};
    memcpy(out->ip, address.ip, sizeof(out->ip));
    return OK;
}

static bool is_complete(const struct explain_story *story)
{
    return story->answered_count == story->shard_count;
}

static void story_write(const struct inquiry *inquiry, const struct explain_story *story,
                        struct answer *answer);

static void ask(const struct request *request, const struct explain_question *question,
                struct slice name, struct answer *answer)
{
    const struct admin_sources *sources = request->sources;
    struct explain_story story;
    struct inquiry *inquiry = inquiry_new(sources, name, question->whom.client.count == 0);
    enum err err = ERR_NOMEM;
    if (inquiry != NULL) {
        err = sources->explain_ask(sources->context, question, &inquiry->explain);
    }
    if (err == OK) {
        err = sources->explain_tell(inquiry->explain, &story);
    }
    if (err != OK) {
        inquiry_free(inquiry);
        problem_answer(answer, 503, "%s: try again", err_text(err));
        answer->headers = "Retry-After: 1\r\n";
        return;
    }
    if (is_complete(&story)) {
        story_write(inquiry, &story, answer);
        inquiry_free(inquiry);
    } else {
        answer->status = 0;
        *request->inquiry = inquiry;
    }
    free(story.records);
}

void api_explain(const struct request *request, struct answer *answer)
{
    struct query_item items[] = {{.name = "client"}, {.name = "address"}, {.name = "limit"}};
    const struct query_item *client = &items[0], *address = &items[1], *limit = &items[2];
    char text[ADMIN_HEAD_BYTES_MAX]; /* the query is a part of the head */
    uint64_t records_max = LIMIT_DEFAULT;
    struct explain_question question = {.done = request->ready, .owner = request->owner};

    if (request->sources->explain_ask == NULL) {
        problem_answer(answer, 404, "this broker keeps no trail");
        return;
    }
    if (query_read(request->query, items, sizeof(items) / sizeof(items[0]), text) != OK ||
        client->is_there == address->is_there) {
        problem_answer(answer, 400, "ask for ?client=ID or for ?address=IP, and &limit=N");
        return;
    }
    if (limit->is_there && (text_read_u64(limit->value, &records_max) != OK || records_max == 0 ||
                            records_max > EXPLAIN_RECORDS_MAX)) {
        problem_answer(answer, 400, "limit is a number from 1 to %d", (int)EXPLAIN_RECORDS_MAX);
        return;
    }
    if (client->is_there && client->value.count == 0) {
        problem_answer(answer, 400, "client is empty: write its client identifier");
        return;
    }
    if (address->is_there && peer_read(address->value, &question.whom.peer) != OK) {
        problem_answer(answer, 400, "address is not one: write an IP address without a port");
        return;
    }
    question.whom.client = client->value;
    question.records_max = (uint32_t)records_max;
    ask(request, &question, client->is_there ? client->value : address->value, answer);
}

void inquiry_answer(struct inquiry *inquiry, struct answer *answer)
{
    struct explain_story story;
    if (inquiry->sources->explain_tell(inquiry->explain, &story) != OK) {
        problem_answer(answer, 503, "memory is exhausted: try again");
        return;
    }
    story_write(inquiry, &story, answer);
    free(story.records);
}

/* ---- telling ------------------------------------------------------------------------------- */

static void time_add(struct json_writer *w, const char *key, uint64_t wall_ms)
{
    char text[TIME_TEXT_BYTES], second[TIME_TEXT_BYTES];
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm parts;
    gmtime_r(&seconds, &parts);
    strftime(second, sizeof(second), "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(text, sizeof(text), "%.24s.%03uZ", second, (unsigned)(wall_ms % 1000));
    json_add_text(w, key, slice_text(text));
}

static void text_add(struct json_writer *w, const char *key, const char *text, uint32_t bytes)
{
    if (bytes > 0) {
        json_add_text(w, key, slice_of(text, bytes));
    }
}

static void peer_add(struct json_writer *w, const struct trail_peer *peer)
{
    struct address address = {
        .kind = (enum address_kind)peer->kind, .port = peer->port, .scope_id = peer->scope_id};
    char text[ADDRESS_TEXT_MAX];
    if (peer->kind != ADDRESS_NONE) {
        memcpy(address.ip, peer->ip, sizeof(address.ip));
        json_add_text(w, "address", slice_text(address_text(&address, text)));
    }
}

static void record_add(struct json_writer *w, const struct inquiry *inquiry,
                       const struct trail_record *record)
{
    json_object_begin(w, NULL);
    time_add(w, "time", record->last_ms);
    if (record->count > 1) {
        time_add(w, "first", record->first_ms);
    }
    json_add_u64(w, "count", record->count);
    json_add_text(w, "what", slice_text(trail_name((enum trail_what)record->what)));
    json_add_text(w, "text", slice_text(trail_text((enum trail_what)record->what)));
    if (record->why != OK) {
        json_add_text(w, "reason", slice_text(err_text((enum err)record->why)));
    }
    if (inquiry->is_of_address) {
        text_add(w, "client", record->client, record->client_bytes);
    }
    peer_add(w, &record->peer);
    text_add(w, "user", record->user, record->user_bytes);
    text_add(w, "topic", record->topic, record->topic_bytes);
    text_add(w, "detail", record->detail, record->detail_bytes);
    if (record->packet_id != 0) {
        json_add_u64(w, "packet_id", record->packet_id);
        json_add_u64(w, "qos", record->qos);
    }
    json_object_end(w);
}

static void story_write(const struct inquiry *inquiry, const struct explain_story *story,
                        struct answer *answer)
{
    struct buf out = {0};
    struct json_writer w = json_writer(&out, BODY_BYTES_MAX - 1);
    json_object_begin(&w, NULL);
    json_add_text(&w, inquiry->is_of_address ? "address" : "client", inquiry->name);
    if (!inquiry->is_of_address) {
        json_add_bool(&w, "connected", story->is_connected);
        json_add_bool(&w, "session", story->has_session);
    }
    if (story->has_session) {
        json_add_u64(&w, "subscriptions", story->subscription_count);
        json_add_u64(&w, "queued", story->queued_count);
    }
    json_add_u64(&w, "shards", story->shard_count);
    json_add_u64(&w, "answered", story->answered_count);
    json_array_begin(&w, "events");
    for (uint32_t i = 0; i < story->record_count; i++) {
        record_add(&w, inquiry, &story->records[i]);
    }
    json_array_end(&w);
    json_object_end(&w);
    answer->status = 200;
    answer->content_type = "application/json";
    answer->body.err = json_writer_end(&w);
    body_add_slice(&answer->body, buf_bytes(&out));
    body_add(&answer->body, "\n");
    buf_deinit(&out);
}
