#include "core/broker/give_back.h"

#include "core/broker/apply.h"
#include "core/broker/outbox.h"
#include "core/broker/shard.h"
#include "core/broker/shares.h"

static void drop(struct session *session, struct delivery *delivery)
{
    if (delivery->msg != NULL) {
        shard_count_drop(session->owner, TRAIL_DROP_SESSION_ENDED, OK, session->client_id,
                         delivery->msg->topic);
    }
    delivery_deinit(delivery);
}

/*
 * It may have been sent before a crash, and nobody remembers: at QoS 2 it is treated as if it had been,
 * or another member would have it, too.
 */
static bool is_in_doubt(const struct session *session, const struct delivery *delivery)
{
    return delivery->qos == 2 && session->afterlife != NULL &&
           delivery->sequence <= session->afterlife->doubt_sequence;
}

/* One entry has both: it is owed no more, and waits for another. false: nothing was logged. */
static bool by_outbox(struct session *session, struct delivery *delivery)
{
    const struct subscription *shared = session->is_kept && delivery->qos > 0
                                            ? shares_subscription(session, delivery)
                                            : NULL;
    if (shared == NULL || outbox_send(session, delivery->msg, shared) != OK) {
        return false;
    }
    apply_settled(session, delivery);
    shares_settled(session->owner, shared->share, session->key);
    delivery_deinit(delivery);
    return true;
}

static void give_back(struct session *session, struct delivery *delivery, struct deque *rest)
{
    if (by_outbox(session, delivery)) {
        return;
    }
    if (deque_push(rest, delivery) == OK) {
        apply_settled(session, delivery);
    } else {
        drop(session, delivery);
    }
}

void give_back_waiting(struct session *session, uint64_t share, struct deque *rest)
{
    uint32_t count = session->queue.waiting.count;
    shares_recall(session);
    for (uint32_t i = 0; i < count; i++) {
        struct delivery delivery = queue_pop(&session->queue);
        bool is_meant = delivery.share != 0 && (share == 0 || delivery.share == share);
        if (is_meant && !is_in_doubt(session, &delivery)) {
            give_back(session, &delivery, rest);
        } else if (queue_put_back(&session->queue, &delivery) != OK) {
            drop(session, &delivery);
        }
    }
}

void give_back_all(struct session *session, struct deque *rest)
{
    struct delivery delivery;
    give_back_waiting(session, 0, rest);
    while (queue_peek(&session->queue) != NULL) {
        delivery = queue_pop(&session->queue);
        drop(session, &delivery);
    }
    while (inflight_take(&session->inflight, &delivery)) {
        if (delivery.share != 0 && delivery.state == WAIT_PUBACK) {
            give_back(session, &delivery, rest);
            continue;
        }
        drop(session, &delivery); /* [MQTT-4.8.2-5]; and its groups forget the session itself */
    }
}

void give_back_rest(struct session *session, struct deque *rest)
{
    while (rest->count > 0) {
        struct delivery delivery = deque_pop(rest);
        shares_return(session->owner, delivery.share, session->key, msg_ref(delivery.msg), NULL);
        delivery_deinit(&delivery);
    }
    deque_deinit(rest);
}
