#include "core/broker/explain.h"

#include "core/base/assert.h"
#include "core/broker/conn.h"
#include "core/broker/mailbox.h"
#include "core/broker/shard.h"

#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof(struct trail_peer) == sizeof(struct peer), "the trail tells of our peers");

void conn_tell(struct conn *conn, const struct trail_event *event)
{
    struct trail_event told = *event;
    if (told.client.count == 0) {
        told.client = conn_client_id(conn);
    }
    if (told.peer.kind == ADDRESS_NONE) {
        memcpy(&told.peer, &conn->peer, sizeof(told.peer));
    }
    shard_tell(conn->shard, &told);
}

/* One shard's part: travels there with the question and back with the answer. */
struct explain_part {
    uint64_t id; /* of the question: whether it is still open is looked up when the part is back */
    uint32_t shard;
    struct trail_query whom; /* client points behind the records */
    bool has_session, is_connected;
    uint32_t subscription_count;
    uint64_t queued_count;
    uint32_t record_count, records_max;
    struct trail_record records[];
};

struct explain {
    struct list link; /* in shard->explains */
    uint64_t id;
    struct shard *shard;
    void (*done)(void *owner);
    void *owner;
    uint32_t answered_count;
    struct explain_part *parts[SHARD_COUNT_MAX]; /* NULL: not back yet */
};

static struct explain_part *part_new(const struct explain *explain, uint32_t shard,
                                     const struct explain_question *question)
{
    size_t records_bytes = question->records_max * sizeof(struct trail_record);
    struct slice client = question->whom.client;
    struct explain_part *part = malloc(sizeof(*part) + records_bytes + client.count);
    if (part == NULL) {
        return NULL;
    }
    *part = (struct explain_part){.id = explain->id,
                                  .shard = shard,
                                  .whom = question->whom,
                                  .records_max = question->records_max};
    if (client.count > 0) {
        uint8_t *copy = (uint8_t *)part->records + records_bytes;
        memcpy(copy, client.data, client.count);
        part->whom.client = slice_of(copy, client.count);
    }
    return part;
}

static void part_fill(struct shard *shard, struct explain_part *part)
{
    part->record_count = trail_find(shard->trail, &part->whom, part->records, part->records_max);
    const struct session *session = part->whom.client.count == 0
                                        ? NULL
                                        : map_get(shard->sessions, part->whom.client);
    if (session != NULL) {
        part->has_session = true;
        part->is_connected = session->conn != NULL;
        part->subscription_count = session->subscription_count;
        part->queued_count = queue_count(&session->queue);
    }
}

/* ---- asking -------------------------------------------------------------------------------- */

static uint32_t open_count(const struct shard *shard)
{
    uint32_t count = 0;
    LIST_EACH (&shard->explains, link) {
        count++;
    }
    return count;
}

static void parts_send(struct explain *explain)
{
    struct shard *shard = explain->shard;
    for (uint32_t i = 0; i < shard->broker_shard_count; i++) {
        if (i == shard->index) {
            continue;
        }
        struct mail mail = {.kind = MAIL_EXPLAIN, .explain = explain->parts[i]};
        explain->parts[i] = NULL;
        mailbox_post(shard->mailbox, i, &mail);
    }
}

enum err explain_ask(struct shard *shard, const struct explain_question *question,
                     struct explain **out)
{
    ASSERT(question->records_max > 0);
    ASSERT(question->records_max <= EXPLAIN_RECORDS_MAX);
    if (open_count(shard) >= EXPLAIN_AT_ONCE) {
        return ERR_BUSY;
    }
    struct explain *explain = calloc(1, sizeof(*explain));
    if (explain == NULL) {
        return ERR_NOMEM;
    }
    explain->id = ++shard->explain_last;
    explain->shard = shard;
    explain->done = question->done;
    explain->owner = question->owner;
    list_push_back(&shard->explains, &explain->link);
    for (uint32_t i = 0; i < shard->broker_shard_count; i++) {
        explain->parts[i] = part_new(explain, i, question);
        if (explain->parts[i] == NULL) {
            explain_end(explain);
            return ERR_NOMEM;
        }
    }
    part_fill(shard, explain->parts[shard->index]);
    explain->answered_count = 1;
    parts_send(explain);
    *out = explain;
    return OK;
}

void explain_end(struct explain *explain)
{
    list_remove(&explain->link);
    for (uint32_t i = 0; i < SHARD_COUNT_MAX; i++) {
        free(explain->parts[i]);
    }
    free(explain);
}

/* ---- the answers --------------------------------------------------------------------------- */

static void part_arrived(struct shard *shard, struct explain_part *part)
{
    LIST_EACH (&shard->explains, link) {
        struct explain *explain = CONTAINER_OF(link, struct explain, link);
        if (explain->id != part->id) {
            continue;
        }
        explain->parts[part->shard] = part;
        explain->answered_count++;
        if (explain->answered_count == shard->broker_shard_count) {
            explain->done(explain->owner); /* and may end it */
        }
        return;
    }
    free(part); /* nobody waits any more */
}

void explain_on_mail(struct shard *shard, struct mail *mail)
{
    if (mail->kind == MAIL_EXPLAINED) {
        part_arrived(shard, mail->explain);
        return;
    }
    struct mail answer = {.kind = MAIL_EXPLAINED, .explain = mail->explain};
    part_fill(shard, mail->explain);
    mailbox_post(shard->mailbox, mail->from, &answer);
}

void explain_discard(struct mail *mail)
{
    free(mail->explain);
}

/* Among shards by the clock; a shard's own records keep their order, whatever the clock did. */
static bool is_newer(const struct trail_record *a, const struct trail_record *b)
{
    return a->last_ms > b->last_ms;
}

/* Take the newest of all heads until enough is taken: every part is newest first. */
static uint32_t parts_merge(const struct explain *explain, struct trail_record *out, uint32_t max)
{
    uint32_t taken[SHARD_COUNT_MAX] = {0};
    for (uint32_t count = 0; count < max; count++) {
        const struct trail_record *newest = NULL;
        uint32_t from = 0;
        for (uint32_t i = 0; i < SHARD_COUNT_MAX; i++) {
            const struct explain_part *part = explain->parts[i];
            if (part != NULL && taken[i] < part->record_count &&
                (newest == NULL || is_newer(&part->records[taken[i]], newest))) {
                newest = &part->records[taken[i]];
                from = i;
            }
        }
        if (newest == NULL) {
            return count;
        }
        out[count] = *newest;
        taken[from]++;
    }
    return max;
}

enum err explain_tell(const struct explain *explain, struct explain_story *out)
{
    uint32_t max = explain->parts[explain->shard->index]->records_max;
    struct explain_story story = {.shard_count = explain->shard->broker_shard_count,
                                  .answered_count = explain->answered_count,
                                  .records = malloc(max * sizeof(struct trail_record))};
    if (story.records == NULL) {
        return ERR_NOMEM;
    }
    for (uint32_t i = 0; i < story.shard_count; i++) {
        const struct explain_part *part = explain->parts[i];
        if (part != NULL && part->has_session) {
            story.has_session = true;
            story.is_connected = part->is_connected;
            story.subscription_count = part->subscription_count;
            story.queued_count = part->queued_count;
        }
    }
    story.record_count = parts_merge(explain, story.records, max);
    *out = story;
    return OK;
}
