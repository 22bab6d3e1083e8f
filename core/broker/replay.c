#include "core/broker/replay.h"

#include "core/broker/conn.h"
#include "core/broker/deliver.h"
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
    struct subscription *subscription;
    struct retain_scan *scan; /* NULL: the filter is a plain topic */
    uint32_t times;           /* still owed, the present one included */
};

static void replay_free(struct replay *replay)
{
    replay->subscription->replay = NULL;
    list_remove(&replay->link);
    retain_scan_free(replay->scan);
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
    if (replay->times > 0 && has_wildcard) {
        retain_scan_free(replay->scan);
        replay->scan = retain_scan_new(conn->shard->retain, replay->subscription->filter);
    }
    if (replay->times == 0 || (has_wildcard && replay->scan == NULL)) {
        replay_free(replay);
    }
}

static void offer(struct conn *conn, const struct replay *replay, struct msg *msg)
{
    const struct sub *sub = &replay->subscription->sub;
    struct offer offer = {.msg = msg,
                          .ids = &sub->id,
                          .id_count = sub->id != 0,
                          .qos = route_qos(conn->shard, msg, sub->qos),
                          .retain = true}; /* [MQTT-3.3.1-8] */
    deliver_offer(conn->session, &offer, NULL);
    msg_unref(msg);
}

/* One message of one replay, or none; true: it is finished. */
static bool step(struct conn *conn, struct replay *replay, uint32_t *cost)
{
    uint64_t wall_ms = shard_wall_ms(conn->shard);
    struct msg *msg;
    bool is_done = true;
    *cost = 1;
    if (replay->scan == NULL) {
        msg = retain_get(conn->shard->retain, replay->subscription->filter, wall_ms);
    } else if (retain_scan_next(replay->scan, wall_ms, &msg, 1, &is_done) == 0) {
        msg = NULL;
        *cost = COST_OF_NOTHING;
    }
    if (msg != NULL) {
        offer(conn, replay, msg);
    }
    return is_done;
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
        struct replay *replay = CONTAINER_OF(conn->work->replays.next, struct replay, link);
        if (step(conn, replay, &cost)) {
            finish(conn, replay);
        }
    }
    if (list_is_empty(&conn->work->replaying_link)) {
        list_push_back(&conn->shard->replaying, &conn->work->replaying_link);
    }
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
