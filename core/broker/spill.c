#include "core/broker/spill.h"

#include "core/base/log.h"
#include "core/broker/apply.h"
#include "core/broker/ceiling.h"
#include "core/broker/conn.h"
#include "core/broker/deliver.h"
#include "core/broker/shard.h"
#include "core/broker/shares.h"
#include "core/session/journal.h"

enum {
    AWAY_MAX = 128,     /* messages in memory for a client that is away */
    PRESENT_MAX = 4096, /* and for one that is there, and reads */
    PAGE = 256,         /* read at once */
    PAGE_LOW = 64,      /* so few are left: read the next page */
};

static struct shard *shard_of_session(const struct session *session)
{
    return session->owner;
}

/*
 * Memory is wanted for other things: who is away finds everything on disk, and so does who is there
 * when there is none left at all. What was accepted by an outbox is not dropped for lack of it.
 *
 * What is of a shared subscription goes to another member when this session ends, and that is done
 * with what is in memory: so it stays there as long as there is any.
 */
static uint32_t memory_max(const struct session *session, bool is_shared)
{
    const struct shard *shard = shard_of_session(session);
    if (session->conn != NULL || is_shared) {
        return ceiling_is_reached(shard) ? 0 : is_shared ? UINT32_MAX : PRESENT_MAX;
    }
    return ceiling_is_near_for_away(shard) ? 0 : AWAY_MAX;
}

bool spill_wants_restored(const struct session *session, bool is_shared)
{
    const struct queue *queue = &session->queue;
    return queue->spilled_count > 0 || queue->waiting.count >= memory_max(session, is_shared);
}

bool spill_wants(const struct session *session, const struct delivery *delivery)
{
    return session->is_kept && delivery->qos > 0 &&
           spill_wants_restored(session, delivery->share != 0);
}

/* ---- reading back -------------------------------------------------------------------------- */

static void trim(struct session *session);

static enum err take(struct session *session, const struct stored_item *item)
{
    struct delivery delivery = {.msg = msg_new(&item->message),
                                .sequence = item->sequence,
                                .stored = item->stored,
                                .share = shares_mark(item->share_text),
                                .id = item->id_count > 0 ? item->ids[0] : 0,
                                .qos = item->qos,
                                .retain = item->retain};
    enum err err = delivery.msg == NULL ? ERR_NOMEM : OK;
    if (err == OK && item->id_count > 1) {
        delivery.more_ids = delivery_ids_new(item->ids, item->id_count);
        err = delivery.more_ids == NULL ? ERR_NOMEM : OK;
    }
    err = err == OK ? queue_unspill(&session->queue, &delivery) : err;
    if (err != OK) {
        delivery_deinit(&delivery);
    }
    return err;
}

static void on_read(void *context, enum err err, const struct stored_item *items, uint32_t count)
{
    struct afterlife *afterlife = context;
    struct session *session = afterlife->session;
    afterlife->pins--;
    if (afterlife->is_over) {
        afterlife_release(afterlife);
        return;
    }
    session->queue.is_loading = false;
    for (uint32_t i = 0; i < count && err == OK; i++) {
        if (!items[i].awaits_pubcomp) {
            err = take(session, &items[i]);
        }
    }
    if (err != OK && err != ERR_NOMEM && err != ERR_SHUTDOWN) {
        log_event(LOG_ERROR, "queued messages cannot be read from disk",
                  LOG_SLICE("client", session->client_id), LOG_TEXT("reason", err_text(err)));
        return;
    }
    trim(session);
    deliver_pump(session);
}

static void load(struct session *session)
{
    struct queue *queue = &session->queue;
    struct shard *shard = shard_of_session(session);
    if (queue->is_loading || queue->spilled_count == 0 || shard->journal == NULL) {
        return;
    }
    enum err err = journal_read(shard->journal, session->partition, session->key,
                                queue->spilled_from, PAGE, on_read, session->afterlife);
    if (err == OK) {
        queue->is_loading = true;
        session->afterlife->pins++;
    }
}

/* ---- bounds -------------------------------------------------------------------------------- */

static bool is_over(const struct queue *queue, const struct queue_bounds *bounds)
{
    return (bounds->count_max > 0 && queue_count(queue) > bounds->count_max) ||
           (bounds->bytes_max > 0 && queue->bytes > bounds->bytes_max);
}

/* The oldest give way as far as they are in memory; the others when the next page is. */
static void trim(struct session *session)
{
    const struct config *config = shard_of_session(session)->config;
    struct queue_bounds bounds = {config->queue_max, config->queue_bytes_max, QUEUE_DROP_OLDEST};
    while (is_over(&session->queue, &bounds) && queue_peek(&session->queue) != NULL) {
        struct delivery victim = queue_pop(&session->queue);
        deliver_drop(session, TRAIL_DROP_QUEUE_OLDEST, ERR_QUOTA, victim.msg);
        deliver_settled(session, &victim);
    }
    if (is_over(&session->queue, &bounds)) {
        load(session);
    }
}

enum err spill(struct session *session, const struct delivery *delivery,
               const struct queue_bounds *bounds)
{
    struct queue *queue = &session->queue;
    struct delivery gone = *delivery;
    bool has_room = queue_has_room(queue, bounds, delivery->msg);
    if (!has_room && bounds->policy == QUEUE_REJECT) {
        deliver_drop(session, TRAIL_DROP_QUEUE_FULL, ERR_QUOTA, delivery->msg);
        return ERR_QUOTA;
    }
    if (!has_room && bounds->policy == QUEUE_DROP_NEWEST) {
        deliver_drop(session, TRAIL_DROP_QUEUE_FULL, ERR_QUOTA, delivery->msg);
        gone.sequence = 0; /* it never was on disk */
        deliver_settled(session, &gone);
        return OK;
    }
    apply_enqueue(session, &gone);
    queue_spill(queue, gone.sequence, msg_bytes(gone.msg));
    delivery_deinit(&gone);
    trim(session);
    spill_load(session);
    return OK;
}

void spill_load(struct session *session)
{
    const struct queue *queue = &session->queue;
    if (session->conn != NULL && queue->waiting.count <= PAGE_LOW) {
        load(session);
    }
}
