#include "core/broker/replay.h"

#include "core/broker/conn.h"
#include "core/broker/deliver.h"
#include "core/broker/shard.h"

#include <stdlib.h>
#include <string.h>

enum {
    BATCH = 32,
    BATCHES_PER_PUMP = 8,
};

struct replay {
    struct list link;         /* in conn->replays */
    struct retain_scan *scan; /* NULL: the filter is a plain topic */
    uint32_t id;
    uint8_t qos;
    uint32_t topic_bytes;
    uint8_t topic[];
};

static void replay_free(struct replay *replay)
{
    list_remove(&replay->link);
    retain_scan_free(replay->scan);
    free(replay);
}

void replays_free(struct conn *conn)
{
    LIST_EACH_SAFE (&conn->replays, link) {
        replay_free(CONTAINER_OF(link, struct replay, link));
    }
}

enum err replay_add(struct conn *conn, const struct subscription *subscription, bool has_wildcard)
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
    list_push_back(&conn->replays, &replay->link);
    return OK;
}

static void offer(struct conn *conn, const struct replay *replay, struct msg *msg)
{
    struct offer offer = {.msg = msg,
                          .ids = &replay->id,
                          .id_count = replay->id != 0,
                          .qos = replay->qos < msg->qos ? replay->qos : msg->qos,
                          .retain = true}; /* [MQTT-3.3.1-8] */
    deliver_offer(conn->session, &offer, NULL);
    msg_unref(msg);
}

/* One step of one replay; true: it is finished. */
static bool step(struct conn *conn, struct replay *replay, uint32_t batch)
{
    uint64_t wall_ms = io_wall_ms(conn->shard->io);
    if (replay->scan == NULL) {
        struct msg *msg = retain_get(conn->shard->retain,
                                     slice_of(replay->topic, replay->topic_bytes), wall_ms);
        if (msg != NULL) {
            offer(conn, replay, msg);
        }
        return true;
    }
    struct msg *msgs[BATCH];
    bool is_done;
    uint32_t count = retain_scan_next(replay->scan, wall_ms, msgs, batch, &is_done);
    for (uint32_t i = 0; i < count; i++) {
        offer(conn, replay, msgs[i]);
    }
    return is_done;
}

/* What waits in the session's queue goes first, so a replay never fills that queue. */
static bool takes_more(const struct conn *conn)
{
    return conn->state == CONN_OPEN && queue_peek(&conn->session->queue) == NULL &&
           conn->out.bytes < conn->shard->config->output_bytes_max / 2;
}

void replay_pump(struct conn *conn)
{
    uint32_t queue_max = conn->shard->config->queue_max;
    uint32_t batch = queue_max > 0 && queue_max < BATCH ? queue_max : BATCH;
    for (uint32_t i = 0; i < BATCHES_PER_PUMP; i++) {
        if (list_is_empty(&conn->replays) || !takes_more(conn)) {
            return; /* goes on when the client has read or acknowledged */
        }
        struct replay *replay = CONTAINER_OF(conn->replays.next, struct replay, link);
        if (step(conn, replay, batch)) {
            replay_free(replay);
        }
    }
    if (list_is_empty(&conn->replaying_link)) {
        list_push_back(&conn->shard->replaying, &conn->replaying_link);
    }
}

void replays_run(struct shard *shard)
{
    struct list now;
    list_init(&now);
    list_append(&now, &shard->replaying);
    struct list *link;
    while ((link = list_pop_front(&now)) != NULL) {
        struct conn *conn = CONTAINER_OF(link, struct conn, replaying_link);
        if (conn->state == CONN_OPEN) {
            replay_pump(conn);
        }
    }
}
