#include "core/broker/restore.h"

#include "core/base/assert.h"
#include "core/base/log.h"
#include "core/broker/apply.h"
#include "core/broker/broker_shared.h"
#include "core/broker/on_close.h"
#include "core/broker/outbox.h"
#include "core/broker/partition.h"
#include "core/broker/retained.h"
#include "core/broker/shard.h"
#include "core/broker/shares.h"
#include "core/broker/spill.h"
#include "core/broker/taken.h"

#include <stdlib.h>

struct restore {
    struct shard *shard;
    uint64_t partitions; /* a bit each */
    uint32_t will_grace_ms;
    struct session *session; /* the one whose parts are coming; NULL: none */
    struct restored_session record;
    struct deque items; /* of it: those that may be in flight, and some that wait */
    uint64_t unread_from, unread_last, unread_bytes; /* behind them */
    uint32_t unread_count;
    uint32_t left_out; /* retained messages beyond the limits */
};

enum { ITEMS_MAX = LIMIT_PACKET_ID_COUNT }; /* no more can have been in flight */

struct restore *restore_begin(struct shard *shard, uint64_t partitions, uint32_t will_grace_ms)
{
    struct restore *restore = calloc(1, sizeof(*restore));
    if (restore != NULL) {
        restore->shard = shard;
        restore->partitions = partitions;
        restore->will_grace_ms = will_grace_ms;
        partitions_begin(shard, partitions);
    }
    return restore;
}

enum err restore_received(struct restore *restore, uint32_t partition, uint32_t source,
                          uint64_t number)
{
    outbox_restore_received(restore->shard, partition, source, number);
    return OK;
}

enum err restore_outbox_next(struct restore *restore, uint32_t partition, uint64_t number)
{
    outbox_restore_next(restore->shard, partition, number);
    return OK;
}

enum err restore_outbox(struct restore *restore, uint32_t partition, uint64_t number,
                        const struct msg_spec *message, struct slice group)
{
    struct msg *msg = msg_new(message);
    if (msg == NULL) {
        return ERR_NOMEM;
    }
    enum err err = outbox_restore(restore->shard, partition, number, msg, group);
    msg_unref(msg);
    return err;
}

enum err restore_taken(struct restore *restore, uint32_t partition, uint32_t source,
                       uint64_t number, uint64_t group)
{
    return taken_add(restore->shard->broker->taken, partition, source, number, group);
}

static bool is_expired(const struct shard *shard, const struct msg_spec *message)
{
    return message->expires_wall_ms != 0 && message->expires_wall_ms <= shard_wall_ms(shard);
}

enum err restore_retained(struct restore *restore, const struct msg_spec *message)
{
    if (is_expired(restore->shard, message)) {
        return OK; /* on disk it stays until its topic is set again */
    }
    enum err err = retained_restore(restore->shard, message);
    if (err != ERR_QUOTA) {
        return err;
    }
    restore->left_out++;
    shard_count_drop(restore->shard, TRAIL_DROP_RETAINED_LIMIT, err, slice_text(""),
                     message->topic);
    return OK;
}

/* ---- a session ----------------------------------------------------------------------------- */

/* Up to which one messages may have been sent: without an end of the connection any of them, as
 * what the client said last to make room for more is not on disk. */
static uint64_t doubt_sequence(const struct restore *restore)
{
    return restore->record.is_closed ? restore->record.sent_sequence : restore->session->sequence;
}

/*
 * Which messages count as in flight: those up to the last one whose PUBREC has come, and of those
 * that may have been sent as many as a client takes at once. The others are sent again in their turn.
 */
static uint32_t sent_count(const struct restore *restore)
{
    const struct config *config = restore->shard->config;
    uint32_t window = config->inflight_max == 0 ? UINT16_MAX : config->inflight_max, sent = 0;
    for (uint32_t i = 0; i < restore->items.count; i++) {
        const struct delivery *item = deque_at(&restore->items, i);
        bool may_be = !restore->record.is_closed || item->sequence <= restore->record.sent_sequence;
        if ((may_be && i < window) || item->state == WAIT_PUBCOMP) {
            sent = i + 1;
        }
    }
    return sent;
}

/* How many items there are up to the last one of a shared subscription. */
static uint32_t shared_count(const struct restore *restore)
{
    uint32_t count = restore->items.count;
    while (count > 0 && deque_at(&restore->items, count - 1)->share == 0) {
        count--;
    }
    return count;
}

static enum err items_take(struct restore *restore)
{
    struct session *session = restore->session;
    uint32_t sent = sent_count(restore), shared = shared_count(restore);
    enum err err = OK;
    for (uint32_t i = 0; restore->items.count > 0; i++) {
        struct delivery item = deque_pop(&restore->items);
        enum delivery_state state = item.state == WAIT_PUBCOMP ? WAIT_PUBCOMP
                                    : item.qos == 2            ? WAIT_PUBREC
                                                               : WAIT_PUBACK;
        item.state = DELIVERY_FREE;
        session->sequence = item.sequence;
        if (err == OK && i >= sent && spill_wants_restored(session, i < shared)) {
            queue_spill(&session->queue, item.sequence, msg_bytes(item.msg));
            delivery_deinit(&item);
        } else if (err == OK) {
            err = i < sent ? inflight_restore(&session->inflight, &item, state)
                           : queue_put_back(&session->queue, &item);
        }
        if (err != OK) {
            delivery_deinit(&item);
        }
    }
    return err;
}

/* Monotonic: when that many milliseconds after that time of the wall clock are over. */
static uint64_t due_ns(const struct shard *shard, uint64_t from_wall_ms, uint64_t after_ms)
{
    uint64_t wall_ms = shard_wall_ms(shard), at_ms = from_wall_ms + after_ms;
    uint64_t left_ms = at_ms > wall_ms ? at_ms - wall_ms : 0;
    return io_now_ns(shard->io) + left_ms * UINT64_C(1000000);
}

static void timers_set(struct restore *restore)
{
    struct shard *shard = restore->shard;
    struct session *session = restore->session;
    uint64_t since_ms = restore->record.is_closed ? restore->record.closed_wall_ms
                                                  : shard_wall_ms(shard);
    const struct will *will = session_will(session);
    if (session->expiry_s != EXPIRY_NEVER) {
        wheel_set(shard->wheel, &session->afterlife->expiry_timer,
                  due_ns(shard, since_ms, UINT64_C(1000) * session->expiry_s));
    }
    if (will != NULL) {
        uint64_t delay_ms = UINT64_C(1000) * will->delay_s;
        bool is_graced = !restore->record.is_closed && delay_ms < restore->will_grace_ms;
        wheel_set(shard->wheel, &session->afterlife->will_timer,
                  due_ns(shard, since_ms, is_graced ? restore->will_grace_ms : delay_ms));
    }
}

static enum err session_finish(struct restore *restore)
{
    struct session *session = restore->session;
    if (session == NULL) {
        return OK;
    }
    TRY(items_take(restore));
    if (restore->unread_count > 0) {
        queue_spill_many(&session->queue, restore->unread_from, restore->unread_count,
                         restore->unread_bytes);
        session->sequence = restore->unread_last;
    }
    restore->unread_count = 0;
    restore->unread_bytes = 0;
    if (restore->record.sent_sequence > session->sequence) {
        session->sequence = restore->record.sent_sequence;
    }
    session->afterlife->stable_sequence = session->sequence;
    session->afterlife->sent_sequence = session->sequence;
    session->afterlife->doubt_sequence = doubt_sequence(restore);
    timers_set(restore);
    if (!restore->record.is_closed) {
        apply_close(session);
    }
    restore->session = NULL;
    return OK;
}

static enum err will_restore(struct session *session, const struct op_will *will)
{
    if (will->message.topic.count == 0) {
        return OK;
    }
    struct will *out = &session->afterlife->will;
    *out = (struct will){.msg = msg_new(&will->message),
                         .delay_s = will->delay_s,
                         .has_expiry = will->has_expiry,
                         .expiry_s = will->expiry_s};
    return out->msg != NULL ? OK : ERR_NOMEM;
}

enum err restore_session(struct restore *restore, const struct restored_session *record)
{
    struct shard *shard = restore->shard;
    TRY(session_finish(restore));
    if (map_get(shard->sessions, record->open.client_id) != NULL) {
        return ERR_CORRUPT;
    }
    struct session *session = session_restore(shard, record->open.client_id, record->key);
    if (session == NULL) {
        return ERR_NOMEM;
    }
    TRY(session_prepare_afterlife(session));
    session->is_durable = session->has_more = true;
    session->is_kept = record->open.expiry_s > 0;
    session->expiry_s = record->open.expiry_s;
    session->password_stamp = record->open.password_stamp;
    if (record->open.listener_index < shard->config->listener_count) {
        session->listener_index = (uint16_t)record->open.listener_index;
    }
    TRY(session_set_username(session, record->open.username));
    TRY(will_restore(session, &record->open.will));
    restore->session = session;
    restore->record = *record;
    return OK;
}

enum err restore_subscription(struct restore *restore, const struct op_subscribe *record)
{
    struct session *session = restore->session;
    if (session == NULL) {
        return ERR_CORRUPT;
    }
    struct subscription *subscription;
    struct op_subscribe wanted = *record;
    if (record->share_name.count > 0) { /* it stands in "$share/NAME/FILTER" */
        size_t at = sizeof("$share/") - 1;
        if (record->text.count < at + record->share_name.count) {
            return ERR_CORRUPT;
        }
        wanted.share_name = slice_of(record->text.data + at, record->share_name.count);
    }
    TRY(apply_subscription_restore(session, &wanted, &subscription));
    if (subscription->share_name.count > 0) {
        uint32_t window = restore->shard->config->inflight_max;
        enum err err = shares_join(restore->shard, subscription, window == 0 ? UINT16_MAX : window,
                                   NULL, 0);
        return err == ERR_AGAIN || err == ERR_UNAVAILABLE ? OK : err; /* shares_rejoin() */
    }
    return OK;
}

enum err restore_packet_id(struct restore *restore, uint16_t packet_id)
{
    if (restore->session == NULL) {
        return ERR_CORRUPT;
    }
    enum err err = inbound_add(&restore->session->inbound, packet_id);
    return err == ERR_EXISTS ? ERR_CORRUPT : err;
}

static void unread(struct restore *restore, const struct stored_item *record)
{
    if (restore->unread_count == 0) {
        restore->unread_from = record->sequence;
    }
    restore->unread_last = record->sequence;
    restore->unread_count++;
    restore->unread_bytes += msg_spec_bytes(&record->message);
}

enum err restore_item(struct restore *restore, const struct stored_item *record)
{
    if (restore->session == NULL) {
        return ERR_CORRUPT;
    }
    if (restore->items.count >= ITEMS_MAX && !record->awaits_pubcomp) {
        unread(restore, record);
        return OK;
    }
    struct delivery item = {.sequence = record->sequence,
                            .stored = record->stored,
                            .share = shares_mark(record->share_text),
                            .id = record->id_count > 0 ? record->ids[0] : 0,
                            .qos = record->qos,
                            .retain = record->retain,
                            .state = record->awaits_pubcomp ? WAIT_PUBCOMP : DELIVERY_FREE};
    if (!record->awaits_pubcomp) {
        item.msg = msg_new(&record->message);
        if (item.msg == NULL) {
            return ERR_NOMEM;
        }
    }
    enum err err = OK;
    if (record->id_count > 1) {
        item.more_ids = delivery_ids_new(record->ids, record->id_count);
        err = item.more_ids == NULL ? ERR_NOMEM : OK;
    }
    err = err == OK ? deque_push(&restore->items, &item) : err;
    if (err != OK) {
        delivery_deinit(&item);
    }
    return err;
}

enum err restore_end(struct restore *restore, enum err err)
{
    err = err == OK ? session_finish(restore) : err;
    if (restore->left_out > 0) {
        log_event(LOG_WARNING,
                  "retained messages on disk are left out, the limits are narrower than they were: "
                  "raise max_retained_messages or max_retained_bytes, and start tern again",
                  LOG_U64("count", restore->left_out));
    }
    while (restore->items.count > 0) {
        struct delivery item = deque_pop(&restore->items);
        delivery_deinit(&item);
    }
    deque_deinit(&restore->items);
    if (err == OK) {
        partitions_loaded(restore->shard, restore->partitions);
    }
    free(restore);
    return err;
}
