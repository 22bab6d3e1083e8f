#include "core/broker/replay.h"

#include "core/broker/conn.h"
#include "core/broker/deliver.h"
#include "core/broker/shard.h"

#include <stdlib.h>
#include <string.h>

/* What one pump may do: a message costs 1, a step of a scan that found none costs more. */
enum {
    BUDGET = 64,
    COST_OF_NOTHING = 8,
};

struct replay {
    struct list link; /* in conn->work->replays */
    struct subscription *subscription;
    struct retain_scan *scan; /* NULL: the filter is a plain topic */
    uint32_t id;
    uint8_t qos;
    uint32_t topic_bytes;
    uint8_t topic[];
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
    uint32_t topic_bytes = has_wildcard ? 0 : (uint32_t)subscription->filter.count;
    struct replay *replay = calloc(1, sizeof(*replay) + topic_bytes);
    if (replay == NULL) {
        return ERR_NOMEM;
    }
    replay->id = subscription->sub.id;
    replay->qos = subscription->sub.qos;
    replay->topic_bytes = topic_bytes;
    list_init(&replay->link);
    if (has_wildcard) {
        replay->scan = retain_scan_new(conn->shard->retain, subscription->filter);
    } else {
        memcpy(replay->topic, subscription->filter.data, topic_bytes);
    }
    if (has_wildcard && replay->scan == NULL) {
        free(replay);
        return ERR_NOMEM;
    }
    replay_cancel(subscription); /* asked for again: it begins anew, instead of twice */
    replay->subscription = subscription;
    list_push_back(&conn->work->replays, &replay->link);
    subscription->replay = replay;
    return OK;
}

static void offer(struct conn *conn, const struct replay *replay, struct msg *msg)
{
    struct offer offer = {.msg = msg,
                          .ids = &replay->id,
                          .id_count = replay->id != 0,
                          .qos = route_qos(conn->shard, msg, replay->qos),
                          .retain = true}; /* [MQTT-3.3.1-8] */
    deliver_offer(conn->session, &offer, NULL);
    msg_unref(msg);
}

/* One message of one replay, or none; true: it is finished. */
static bool step(struct conn *conn, struct replay *replay, uint32_t *cost)
{
    uint64_t wall_ms = io_wall_ms(conn->shard->io);
    struct msg *msg;
    bool is_done = true;
    *cost = 1;
    if (replay->scan == NULL) {
        msg = retain_get(conn->shard->retain, slice_of(replay->topic, replay->topic_bytes),
                         wall_ms);
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
    return conn->state == CONN_OPEN && queue_peek(&conn->session->queue) == NULL &&
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
            replay_free(replay);
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
