#include "core/broker/recall.h"

#include "core/base/assert.h"
#include "core/base/log.h"
#include "core/broker/shard.h"
#include "core/session/journal.h"

#include <stdlib.h>

/*
 * Invariants
 *   R1  of places, [0, again) are to be read once more, [next, read_count) are here and not taken,
 *       [read_count, count) are to be read; what is before next otherwise is nobody's.
 *   R2  while reading, and when a page has been taken, again == next == read_count == 0.
 */
struct place {
    struct msg *topic; /* a message without payload */
    struct msg *msg;   /* as it was read; NULL: not yet, or err */
    uint32_t stamp;
    enum err err;
};

struct recall {
    struct shard *shard;
    void (*done)(void *owner);
    void *owner; /* NULL: it has gone, this goes when the reading comes back */
    uint32_t again, next, read_count, count;
    bool is_reading;
    struct place places[RECALL_MAX];
    struct slice topics[RECALL_MAX]; /* as the journal wants them */
};

struct recall *recall_new(struct shard *shard, void (*done)(void *owner), void *owner)
{
    struct recall *recall = calloc(1, sizeof(*recall));
    if (recall != NULL) {
        recall->shard = shard;
        recall->done = done;
        recall->owner = owner;
    }
    return recall;
}

static void forget(struct recall *recall, uint32_t from, uint32_t to)
{
    for (uint32_t i = from; i < to; i++) {
        msg_unref(recall->places[i].topic);
        msg_unref(recall->places[i].msg);
    }
}

void recall_free(struct recall *recall)
{
    if (recall == NULL) {
        return;
    }
    recall->owner = NULL;
    if (!recall->is_reading) {
        forget(recall, 0, recall->again);
        forget(recall, recall->next, recall->count);
        free(recall);
    }
}

uint32_t recall_count(const struct recall *recall)
{
    return recall->again + recall->count - recall->next;
}

bool recall_is_reading(const struct recall *recall)
{
    return recall->is_reading;
}

bool recall_has_page(const struct recall *recall)
{
    return recall->next < recall->read_count;
}

void recall_add(struct recall *recall, struct msg *topic, uint32_t stamp)
{
    ASSERT(!recall->is_reading && !recall_has_page(recall));
    ASSERT(recall->count < RECALL_MAX);
    recall->places[recall->count++] = (struct place){.topic = msg_ref(topic), .stamp = stamp};
}

/* ---- reading -------------------------------------------------------------------------------- */

static void arrive(struct place *place, enum err err, const struct msg_spec *message)
{
    place->err = err;
    if (err == OK && message->topic.count == 0) {
        place->err = ERR_NOT_FOUND;
    } else if (err == OK) {
        place->msg = msg_new(message);
        place->err = place->msg == NULL ? ERR_NOMEM : OK;
    }
}

static void on_read(void *context, enum err err, const struct msg_spec *messages, uint32_t count)
{
    struct recall *recall = context;
    recall->is_reading = false;
    if (recall->owner == NULL) {
        recall_free(recall);
        return;
    }
    if (err != OK) {
        log_event(LOG_ERROR, "retained messages cannot be read from disk: look at the disk",
                  LOG_TEXT("error", err_text(err)));
        count = err == ERR_CORRUPT ? 1 : recall->count;
    }
    for (uint32_t i = 0; i < count; i++) {
        arrive(&recall->places[i], err, err == OK ? &messages[i] : NULL);
    }
    recall->read_count = count;
    metric_add(recall->shard->metrics, METRIC_retained_read, err == OK ? count : 0);
    recall->done(recall->owner);
}

enum err recall_read(struct recall *recall)
{
    struct journal *journal = recall->shard->journal;
    ASSERT(!recall->is_reading && !recall_has_page(recall));
    if (journal == NULL) {
        return ERR_UNAVAILABLE; /* the shard is closing */
    }
    for (uint32_t i = 0; i < recall->count; i++) {
        recall->topics[i] = recall->places[i].topic->topic;
    }
    TRY(journal_read_retained(journal, recall->topics, recall->count, on_read, recall));
    recall->is_reading = true;
    return OK;
}

/* ---- taking --------------------------------------------------------------------------------- */

static bool is_expired(const struct recall *recall, const struct msg *msg)
{
    return msg->expires_wall_ms != 0 && msg->expires_wall_ms <= shard_wall_ms(recall->shard);
}

static enum recall_result take(struct recall *recall, struct place *place, struct msg **msg,
                               enum err *why)
{
    struct retain *retain = recall->shard->retain;
    struct retained now = retain_look(retain, place->topic->topic, shard_wall_ms(recall->shard));
    if (now.stamp != 0 && now.stamp == place->stamp && place->msg == NULL) {
        *msg = msg_ref(place->topic);
        *why = place->err;
        return RECALL_LOST;
    }
    if (now.stamp != 0 && now.stamp != place->stamp) { /* set anew, and on disk by now */
        recall->places[recall->again++] = (struct place){.topic = msg_ref(place->topic),
                                                         .stamp = now.stamp};
        return RECALL_NONE;
    }
    if (now.stamp != 0 && is_expired(recall, place->msg)) {
        retain_drop_away(retain, place->topic->topic, now.stamp);
        return RECALL_NONE;
    }
    *msg = now.stamp != 0 ? msg_ref(place->msg) : now.msg;
    return *msg != NULL ? RECALL_MSG : RECALL_NONE;
}

/* What is to be read, now or once more, moves to the beginning (R2). */
static void page_end(struct recall *recall)
{
    uint32_t rest = recall->count - recall->next;
    memmove(&recall->places[recall->again], &recall->places[recall->next],
            rest * sizeof(recall->places[0]));
    recall->count = recall->again + rest;
    recall->again = recall->next = recall->read_count = 0;
}

enum recall_result recall_next(struct recall *recall, struct msg **msg, enum err *why)
{
    ASSERT(recall_has_page(recall));
    struct place place = recall->places[recall->next++];
    enum recall_result result = take(recall, &place, msg, why);
    msg_unref(place.topic);
    msg_unref(place.msg);
    if (!recall_has_page(recall)) {
        page_end(recall);
    }
    return result;
}
