#include "core/broker/replay.h"

#include "core/broker/conn.h"
#include "core/broker/deliver.h"
#include "core/broker/partition.h"
#include "core/broker/recall.h"
#include "core/broker/retained.h"
#include "core/broker/shard.h"

#include <stdlib.h>

/* What one pump may do: a message costs 1, a step of a scan that found none costs more. */
enum {
    BUDGET = 64,
    COST_OF_NOTHING = 8,
};

/* One per subscription, however often it was asked for. */
struct replay {
    struct list link; /* in conn->work->replays */
    struct conn *conn;
    struct subscription *subscription;
    struct retain_scan *scan; /* NULL: the filter is a plain topic */
    struct recall *recall;    /* of what is on disk alone; NULL: nothing was, so far */
    uint32_t times;           /* still owed, the present one included */
    bool is_walked;           /* of the present one nothing is left to be looked up */
};

static void replay_free(struct replay *replay)
{
    replay->subscription->replay = NULL;
    list_remove(&replay->link);
    retain_scan_free(replay->scan);
    recall_free(replay->recall);
    free(replay);
}

void replays_free(struct conn *conn)
{
    LIST_EACH_SAFE (&conn->work->replays, link) {
        replay_free(CONTAINER_OF(link, struct replay, link));
    }
}

void replay_cancel(struct subscription *subscription)
{
    if (subscription->replay != NULL) {
        replay_free(subscription->replay);
    }
}

enum err replay_add(struct conn *conn, struct subscription *subscription, bool has_wildcard)
{
    struct replay *replay = subscription->replay;
    if (replay != NULL) {
        replay->times++; /* once more when this one is finished [MQTT-3.8.4-4] */
        return OK;
    }
    replay = calloc(1, sizeof(*replay));
    if (replay == NULL) {
        return ERR_NOMEM;
    }
    list_init(&replay->link);
    replay->conn = conn;
    replay->subscription = subscription;
    replay->times = 1;
    if (has_wildcard) {
        replay->scan = retain_scan_new(conn->shard->retain, subscription->filter);
    }
    if (has_wildcard && replay->scan == NULL) {
        free(replay);
        return ERR_NOMEM;
    }
    list_push_back(&conn->work->replays, &replay->link);
    subscription->replay = replay;
    return OK;
}

/* It came to its end: once more, or that was it. Without memory for a new scan that was it, too. */
static void finish(struct conn *conn, struct replay *replay)
{
    bool has_wildcard = replay->scan != NULL;
    replay->times--;
    replay->is_walked = false;
    if (replay->times > 0 && has_wildcard) {
        retain_scan_free(replay->scan);
        replay->scan = retain_scan_new(conn->shard->retain, replay->subscription->filter);
    }
    if (replay->times == 0 || (has_wildcard && replay->scan == NULL)) {
        replay_free(replay);
    }
}

/* With the next turn, or later in this one. */
static void go_on_soon(struct conn *conn)
{
    if (list_is_empty(&conn->work->replaying_link)) {
        list_push_back(&conn->shard->replaying, &conn->work->replaying_link);
    }
}

/* Takes over the reference. */
static void offer(const struct replay *replay, struct msg *msg)
{
    const struct sub *sub = &replay->subscription->sub;
    const struct conn *conn = replay->conn;
    struct offer offer = {.msg = msg,
                          .ids = &sub->id,
                          .id_count = sub->id != 0,
                          .qos = route_qos(conn->shard, msg, sub->qos),
                          .retain = true}; /* [MQTT-3.3.1-8] */
    deliver_offer(conn->session, &offer, NULL);
    msg_unref(msg);
}

/* ---- what is on disk alone ------------------------------------------------------------------ */

static void on_page(void *owner)
{
    go_on_soon(((struct replay *)owner)->conn);
}

static void lost(const struct replay *replay, struct msg *topic, enum err why)
{
    deliver_drop(replay->conn->session, TRAIL_DROP_UNREADABLE, why, topic);
    msg_unref(topic);
}

/* Takes over the reference. */
static void recall(struct replay *replay, struct msg *topic, uint32_t stamp)
{
    if (replay->recall == NULL) {
        replay->recall = recall_new(replay->conn->shard, on_page, replay);
    }
    if (replay->recall == NULL) {
        lost(replay, topic, ERR_NOMEM);
        return;
    }
    recall_add(replay->recall, topic, stamp);
    msg_unref(topic);
}

static void take_recalled(struct replay *replay)
{
    struct msg *msg;
    enum err why;
    enum recall_result result = recall_next(replay->recall, &msg, &why);
    if (result == RECALL_MSG) {
        offer(replay, msg);
    } else if (result == RECALL_LOST) {
        lost(replay, msg, why);
    }
}

/* ---- step by step --------------------------------------------------------------------------- */

/* Look up one message, or none. */
static void walk(struct replay *replay, uint32_t *cost)
{
    const struct shard *shard = replay->conn->shard;
    uint64_t wall_ms = shard_wall_ms(shard);
    struct slice filter = replay->subscription->filter;
    struct retained found = {0};
    if (replay->scan == NULL) {
        found = retain_look(shard->retain, filter, wall_ms);
        found.msg = found.stamp != 0 ? msg_new(&(struct msg_spec){.topic = filter}) : found.msg;
        replay->is_walked = true;
    } else if (retain_scan_next(replay->scan, wall_ms, &found, 1, &replay->is_walked) == 0) {
        *cost = COST_OF_NOTHING;
    }
    bool is_ours = found.msg == NULL || retained_is_of_broker(found.msg->topic) ||
                   partition_is_here(shard, found.msg->topic);
    if (!is_ours) {
        msg_unref(found.msg); /* on its way out of memory: another node has a newer one */
    } else if (found.msg != NULL && found.stamp != 0) {
        recall(replay, found.msg, found.stamp);
    } else if (found.msg != NULL) {
        offer(replay, found.msg);
    }
}

/* What a replay does next. */
enum next { NEXT_TAKE, NEXT_WALK, NEXT_READ, NEXT_WAIT, NEXT_END };

static enum next next_of(const struct replay *replay)
{
    const struct recall *recall = replay->recall;
    if (recall != NULL && recall_is_reading(recall)) {
        return NEXT_WAIT;
    }
    if (recall != NULL && recall_has_page(recall)) {
        return NEXT_TAKE;
    }
    if (!replay->is_walked && (recall == NULL || recall_count(recall) < RECALL_MAX)) {
        return NEXT_WALK;
    }
    return recall != NULL && recall_count(recall) > 0 ? NEXT_READ : NEXT_END;
}

/* false: there is nothing to do before something else happens. */
static bool step(struct conn *conn, struct replay *replay, uint32_t *cost)
{
    *cost = 1;
    switch (next_of(replay)) {
    case NEXT_TAKE:
        take_recalled(replay);
        return true;
    case NEXT_WALK:
        walk(replay, cost);
        return true;
    case NEXT_READ:
        if (recall_read(replay->recall) != OK) {
            conn->is_doomed = true; /* memory: it may come again when there is some */
            conn_mark_dirty(conn);
        }
        return false;
    case NEXT_WAIT:
        return false;
    case NEXT_END:
        finish(conn, replay);
        return true;
    }
    return false;
}

/*
 * Looked at before each message, however large they are: what waits in the session's queue goes
 * first, so a replay never fills that queue, and it is never faster than the client reads.
 */
static bool takes_more(const struct conn *conn)
{
    return conn->state == CONN_OPEN && queue_count(&conn->session->queue) == 0 &&
           conn_has_room(conn) && conn->out.bytes < conn->shard->config->output_bytes_max / 2;
}

void replay_pump(struct conn *conn)
{
    uint32_t spent = 0, cost;
    for (; spent < BUDGET; spent += cost) {
        if (conn->work == NULL || list_is_empty(&conn->work->replays) || !takes_more(conn)) {
            return; /* goes on when the client has read or acknowledged */
        }
        if (!step(conn, CONTAINER_OF(conn->work->replays.next, struct replay, link), &cost)) {
            return; /* goes on when the disk has answered */
        }
    }
    go_on_soon(conn);
}

void replays_run(struct shard *shard)
{
    struct list now;
    list_init(&now);
    list_append(&now, &shard->replaying);
    struct list *link;
    while ((link = list_pop_front(&now)) != NULL) {
        struct conn *conn = CONTAINER_OF(link, struct conn_work, replaying_link)->conn;
        if (conn->state == CONN_OPEN) {
            replay_pump(conn);
        }
    }
}
