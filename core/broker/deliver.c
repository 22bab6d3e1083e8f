#include "core/broker/deliver.h"

#include "core/base/assert.h"
#include "core/base/blocks.h"
#include "core/broker/apply.h"
#include "core/broker/ceiling.h"
#include "core/broker/conn.h"
#include "core/broker/hold.h"
#include "core/broker/on_close.h"
#include "core/broker/outbox.h"
#include "core/broker/partition.h"
#include "core/broker/receipt.h"
#include "core/broker/replay.h"
#include "core/broker/rights.h"
#include "core/broker/shard.h"
#include "core/broker/shares.h"
#include "core/broker/spill.h"
#include "core/pubsub/topic.h"
#include "core/session/journal.h"
#include "core/wire/props.h"
#include "core/wire/publish.h"

#include <stdlib.h>
#include <string.h>

static struct conn *conn_of(const struct session *session)
{
    return session->conn;
}

static struct shard *shard_of_session(const struct session *session)
{
    return session->owner;
}

/* ---- writing one PUBLISH ------------------------------------------------------------------- */

/* What the client sees of a topic: its listener's mount point is taken off. */
static struct slice seen_topic(const struct conn *conn, const struct msg *msg)
{
    struct slice mount = slice_text(conn_listener(conn)->mount_point);
    bool is_below = mount.count > 0 && slice_starts_with(msg->topic, mount);
    return is_below ? slice_skip(msg->topic, mount.count) : msg->topic;
}

struct outgoing {
    struct mqtt_publish publish;
    const uint32_t *ids;
    uint32_t id_count;
    size_t head_size; /* 0: the packet cannot be written */
};

static void outgoing_init(struct outgoing *out, const struct conn *conn, const struct msg *msg,
                          uint8_t qos, bool retain, bool is_dup, uint16_t packet_id,
                          const uint32_t *ids, uint32_t id_count)
{
    out->publish.qos = qos;
    out->publish.dup = is_dup;
    out->publish.retain = retain;
    out->publish.packet_id = packet_id;
    out->publish.topic = seen_topic(conn, msg);
    out->publish.payload = msg->payload;
    props_clear(&out->publish.props);
    out->publish.props.raw = msg->props;
    out->ids = ids;
    out->id_count = id_count;
    if (conn->version != MQTT_5) {
        return;
    }
    uint64_t wall_ms = shard_wall_ms(conn->shard);
    if (msg->expires_wall_ms != 0) {
        /* What is left of it [MQTT-3.3.2-6] */
        uint64_t left_ms = msg->expires_wall_ms > wall_ms ? msg->expires_wall_ms - wall_ms : 0;
        out->publish.props.present |= PROP_BIT(PROP_MESSAGE_EXPIRY);
        /* The clock of this shard may lag a little behind that of the publisher's. */
        uint64_t left_s = (left_ms + 999) / 1000;
        out->publish.props.message_expiry_s = left_s < msg->expiry_s ? (uint32_t)left_s
                                                                     : msg->expiry_s;
    }
}

/* The property, and one more byte of its section's length: is there room for a new alias? */
static bool alias_fits(const struct outgoing *out, const struct conn *conn)
{
    return conn->packet_max_out == 0 ||
           out->head_size + 4 + out->publish.payload.count <= conn->packet_max_out;
}

/* With an alias the topic is sent once and then left out. Only right before it is really sent. */
static void use_alias(struct conn *conn, struct outgoing *out, const struct msg *msg)
{
    if (out->publish.payload.count + out->publish.topic.count > MQTT_REMAINING_MAX / 2) {
        return; /* near the end of what a packet can hold the four bytes may be too many */
    }
    if (conn->version != MQTT_5 || conn->alias_out_max == 0 || !alias_fits(out, conn)) {
        return;
    }
    if (conn_prepare(conn) != OK) {
        return; /* the topic itself says as much */
    }
    bool is_new;
    uint16_t alias = alias_out_find(&conn->work->alias_out, out->publish.topic, msg->topic_hash,
                                    &is_new);
    if (alias != 0) {
        out->publish.props.present |= PROP_BIT(PROP_TOPIC_ALIAS);
        out->publish.props.topic_alias = alias;
        out->publish.topic = is_new ? out->publish.topic : slice_of(NULL, 0);
    }
}

/* Does the packet fit what the client said it takes? [MQTT-3.1.2-24] Seen without an alias. */
static bool outgoing_fits(struct outgoing *out, const struct conn *conn)
{
    out->head_size = mqtt_publish_head_size(&out->publish, conn->version, out->ids, out->id_count);
    return out->head_size > 0 &&
           (conn->packet_max_out == 0 ||
            out->head_size + out->publish.payload.count <= conn->packet_max_out);
}

static void count_sent(struct conn *conn, uint8_t qos, const struct msg *msg)
{
    metric_add_label(conn->shard->metrics, METRIC_publish_sent, qos, 1);
    metric_add(conn->shard->metrics, METRIC_publish_bytes_sent, msg->payload.count);
}

static void outgoing_write(struct outgoing *out, struct conn *conn, struct msg *msg)
{
    use_alias(conn, out, msg);
    out->head_size = mqtt_publish_head_size(&out->publish, conn->version, out->ids, out->id_count);
    uint32_t payload = (uint32_t)msg->payload.count;
    uint8_t *bytes = conn_packet(conn, (uint32_t)out->head_size + payload, payload);
    if (bytes == NULL) {
        return;
    }
    struct writer w = writer_of(bytes, out->head_size);
    mqtt_publish_head_encode(&w, &out->publish, conn->version, out->ids, out->id_count);
    ASSERT(writer_left(&w) == 0);
    if (!out_payload(&conn->out, &conn->shard->output_bytes, msg)) {
        conn->is_doomed = true; /* half a packet is worse than none: the connection has to go */
    }
    count_sent(conn, out->publish.qos, msg);
}

/* ---- QoS 0, the same bytes for many -------------------------------------------------------- */

void frame_cache_init(struct frame_cache *cache)
{
    cache->frames[0].bytes = NULL; /* and not all of its memory, for every message */
    cache->frames[1].bytes = NULL;
}

void frame_cache_deinit(struct frame_cache *cache)
{
    for (uint32_t i = 0; i < 2; i++) {
        if (cache->frames[i].bytes != cache->memory[i]) {
            free(cache->frames[i].bytes);
        }
    }
}

static const struct cached_frame *frame_get(struct frame_cache *cache, struct outgoing *out,
                                            const struct conn *conn)
{
    struct cached_frame *frame = &cache->frames[conn->version == MQTT_5];
    if (frame->bytes != NULL) {
        return frame->retain == out->publish.retain ? frame : NULL;
    }
    size_t payload = out->publish.payload.count;
    size_t copied = payload < OUT_REFERENCE_BYTES ? payload : 0;
    uint32_t index = conn->version == MQTT_5;
    size_t count = out->head_size + copied;
    frame->bytes = count <= sizeof(cache->memory[0]) ? cache->memory[index] : malloc(count);
    if (frame->bytes == NULL) {
        return NULL;
    }
    struct writer w = writer_of(frame->bytes, out->head_size);
    mqtt_publish_head_encode(&w, &out->publish, conn->version, NULL, 0);
    if (copied > 0) {
        memcpy(frame->bytes + out->head_size, out->publish.payload.data, copied);
    }
    frame->count = (uint32_t)count;
    frame->retain = out->publish.retain;
    return frame;
}

static bool may_share_frame(const struct conn *conn, const struct offer *offer)
{
    return offer->id_count == 0 && conn->alias_out_max == 0 && conn->packet_max_out == 0 &&
           conn_listener(conn)->mount_point[0] == 0;
}

static void write_frame(struct conn *conn, const struct cached_frame *frame, struct msg *msg)
{
    uint32_t following = msg->payload.count >= OUT_REFERENCE_BYTES ? (uint32_t)msg->payload.count
                                                                   : 0;
    uint8_t *bytes = conn_packet(conn, frame->count + following, following);
    if (bytes == NULL) {
        return;
    }
    memcpy(bytes, frame->bytes, frame->count);
    if (following > 0 && !out_payload(&conn->out, &conn->shard->output_bytes, msg)) {
        conn->is_doomed = true;
    }
    count_sent(conn, 0, msg);
}

void deliver_drop(struct session *session, enum trail_what what, enum err why,
                  const struct msg *msg)
{
    shard_count_drop(shard_of_session(session), what, why, session->client_id, msg->topic);
}

static void send_qos0(struct session *session, const struct offer *offer, struct frame_cache *cache)
{
    struct conn *conn = conn_of(session);
    if (!conn_has_room(conn)) {
        deliver_drop(session, TRAIL_DROP_OUTPUT_FULL, ERR_LIMIT, offer->msg);
        return;
    }
    if (cache != NULL && may_share_frame(conn, offer)) {
        const struct cached_frame *known = &cache->frames[conn->version == MQTT_5];
        if (known->bytes != NULL && known->retain == offer->retain) {
            write_frame(conn, known, offer->msg);
            hold_note(session);
            return;
        }
    }
    struct outgoing out;
    outgoing_init(&out, conn, offer->msg, 0, offer->retain, false, 0, offer->ids, offer->id_count);
    if (!outgoing_fits(&out, conn)) {
        deliver_drop(session, TRAIL_DROP_TOO_LARGE, ERR_TOO_LARGE, offer->msg);
        return;
    }
    const struct cached_frame *frame = cache != NULL && may_share_frame(conn, offer)
                                           ? frame_get(cache, &out, conn)
                                           : NULL;
    if (frame != NULL) {
        write_frame(conn, frame, offer->msg);
    } else {
        outgoing_write(&out, conn, offer->msg);
    }
    hold_note(session);
}

/* ---- QoS 1 and 2, and whatever has to wait -------------------------------------------------- */

/* false: the client cannot take it, and never will. */
static bool write_delivery(struct conn *conn, const struct delivery *delivery, uint16_t packet_id)
{
    uint32_t id_count;
    const uint32_t *ids = delivery_id_list(delivery, &id_count);
    struct outgoing out;
    outgoing_init(&out, conn, delivery->msg, delivery->qos, delivery->retain, delivery->is_dup,
                  packet_id, ids, id_count);
    if (!outgoing_fits(&out, conn)) {
        return false;
    }
    outgoing_write(&out, conn, delivery->msg);
    return true;
}

void deliver_settled(struct session *session, struct delivery *delivery)
{
    apply_settled(session, delivery);
    uint64_t share = shares_group(session, delivery);
    if (share != 0) {
        shares_settled(shard_of_session(session), share, session->key);
    }
    delivery_deinit(delivery);
}

/* What may be forgotten again is not sent: after a crash its packet id would be another message's, or
 * the message another member's. */
static bool is_stable(const struct session *session, const struct delivery *delivery)
{
    const struct afterlife *afterlife = session->afterlife;
    return afterlife == NULL || delivery->sequence > afterlife->logged_sequence ||
           delivery->sequence <= afterlife->stable_sequence;
}

/* Before a crash; nobody knows. */
static bool may_have_been_sent(const struct session *session, const struct delivery *delivery)
{
    return session->afterlife != NULL && delivery->sequence <= session->afterlife->doubt_sequence;
}

/*
 * Try to send one delivery that was taken from the queue or was just offered. On true it is dealt
 * with, and what it held has been taken over; on false it has to wait and nothing changed.
 */
static bool send_now(struct session *session, struct delivery *delivery)
{
    struct conn *conn = conn_of(session);
    uint16_t packet_id = 0;
    if (conn == NULL || conn->state != CONN_OPEN || !conn_has_room(conn)) {
        return false;
    }
    if (delivery->qos > 0 &&
        (conn->resend_count > 0 || !is_stable(session, delivery) ||
         !inflight_has_room(&session->inflight, &conn->window, delivery->sequence))) {
        return false;
    }
    if (delivery->qos > 0) {
        packet_id = inflight_id(delivery->sequence);
        delivery->is_dup |= may_have_been_sent(session, delivery);
    }
    if (!write_delivery(conn, delivery, packet_id)) {
        /* As if it had been sent and acknowledged [MQTT-3.1.2-25] */
        deliver_drop(session, TRAIL_DROP_TOO_LARGE, ERR_TOO_LARGE, delivery->msg);
        deliver_settled(session, delivery);
        return true;
    }
    if (delivery->qos == 0) {
        deliver_settled(session, delivery);
        return true;
    }
    if (inflight_send(&session->inflight, delivery, &conn->window, &packet_id) != OK) {
        conn->is_doomed = true; /* memory: the client will hear it again on its next connection */
        return false;
    }
    struct afterlife *afterlife = session->afterlife;
    if (afterlife != NULL && afterlife->sent_sequence < delivery->sequence) {
        afterlife->sent_sequence = delivery->sequence; /* more may have been, before a crash */
    }
    return true;
}

/*
 * [MQTT-3.3.2-5] is about what was not begun. At QoS 2 the client may be waiting for PUBREL, and would
 * take a later message of the same packet id for this one.
 */
static bool is_expired(const struct session *session, const struct delivery *next)
{
    uint64_t expires_ms = next->msg->expires_wall_ms;
    return expires_ms != 0 && expires_ms <= shard_wall_ms(shard_of_session(session)) &&
           !(next->qos == 2 && may_have_been_sent(session, next));
}

/* Looked up only when a queue is at its bound, which is where it matters. */
static enum config_queue_policy policy_of(const struct config *config, const struct msg *msg)
{
    for (uint32_t i = 0; i < config->queue_policies.count; i++) {
        enum config_queue_policy policy;
        struct slice filter;
        if (config_queue_policy_for(config->queue_policies.items[i], &policy, &filter) == OK &&
            topic_matches(filter, msg->topic)) {
            return policy;
        }
    }
    return config->queue_policy;
}

static struct queue_bounds bounds_of(const struct session *session, const struct msg *msg)
{
    const struct config *config = shard_of_session(session)->config;
    struct queue_bounds bounds = {config->queue_max, config->queue_bytes_max, config->queue_policy};
    if (config->queue_policies.count > 0 && !queue_has_room(&session->queue, &bounds, msg)) {
        bounds.policy = policy_of(config, msg);
    }
    return bounds;
}

static enum err queue_up(struct session *session, const struct delivery *delivery)
{
    struct shard *shard = shard_of_session(session);
    struct queue_bounds bounds = bounds_of(session, delivery->msg);
    struct delivery victim;
    if (spill_wants(session, delivery)) {
        return spill(session, delivery, &bounds);
    }
    if (ceiling_is_reached(shard)) {
        deliver_drop(session, TRAIL_DROP_MEMORY, ERR_QUOTA, delivery->msg);
        return ERR_QUOTA;
    }
    enum err err;
    while ((err = queue_offer(&session->queue, &bounds, delivery, &victim)) == ERR_AGAIN) {
        deliver_drop(session, TRAIL_DROP_QUEUE_OLDEST, ERR_QUOTA, victim.msg);
        deliver_settled(session, &victim);
    }
    if (err != OK) {
        enum trail_what what = err == ERR_NOMEM ? TRAIL_DROP_MEMORY : TRAIL_DROP_QUEUE_FULL;
        deliver_drop(session, what, err, delivery->msg);
        return err;
    }
    if (victim.msg != NULL) {
        deliver_drop(session, TRAIL_DROP_QUEUE_FULL, ERR_QUOTA, victim.msg);
        victim.sequence = 0; /* it never was in the queue, nor on disk */
        deliver_settled(session, &victim);
        return OK;
    }
    apply_enqueue(session, deque_at(&session->queue.waiting, session->queue.waiting.count - 1));
    return OK;
}

/*
 * The session owes this delivery from now on. Takes over what it holds on OK. is_noted: something was
 * logged about it, so that it has to wait also where the session is not on disk.
 */
static enum err enqueue(struct session *session, const struct delivery *delivery, bool is_noted)
{
    struct delivery copy = *delivery;
    if (is_noted && session_prepare_afterlife(session) != OK) {
        deliver_drop(session, TRAIL_DROP_MEMORY, ERR_NOMEM, copy.msg);
        return ERR_NOMEM;
    }
    if (copy.qos > 0) {
        copy.sequence = ++session->sequence;
    }
    bool must_wait = is_noted || (session->is_kept && copy.qos > 0);
    if (queue_count(&session->queue) == 0 && !must_wait && send_now(session, &copy)) {
        return OK;
    }
    enum err err = queue_up(session, &copy);
    if (err == OK && is_noted && !session->is_kept) {
        deliver_run_add(session, copy.sequence);
    }
    hold_note(session);
    return err;
}

static enum err delivery_init(struct delivery *delivery, const struct offer *offer)
{
    *delivery = (struct delivery){.msg = offer->msg,
                                  .share = offer->share,
                                  .qos = offer->qos,
                                  .retain = offer->retain,
                                  .id = offer->id_count > 0 ? offer->ids[0] : 0};
    if (offer->id_count > 1) {
        delivery->more_ids = delivery_ids_new(offer->ids, offer->id_count);
        if (delivery->more_ids == NULL) {
            return ERR_NOMEM;
        }
    }
    msg_ref(delivery->msg);
    return OK;
}

/*
 * QoS 0 leaves at once or not at all: order holds per topic and QoS [MQTT-4.6.0-5], so it may overtake what
 * waits. Only where QoS 0 itself may wait (queue_qos0) it must not. true: it is dealt with.
 */
static bool offer_qos0(struct session *session, const struct offer *offer,
                       struct frame_cache *cache)
{
    const struct shard *shard = shard_of_session(session);
    const struct conn *conn = conn_of(session);
    bool may_wait = shard->config->queue_qos0;
    bool is_present = conn != NULL && conn->state == CONN_OPEN;
    if (is_present && (!may_wait || queue_count(&session->queue) == 0)) {
        send_qos0(session, offer, cache);
        return true;
    }
    if (!may_wait) {
        deliver_drop(session, TRAIL_DROP_OFFLINE_QOS0, ERR_NOT_FOUND, offer->msg);
    }
    return !may_wait;
}

static void offer_settled(struct session *session, const struct offer *offer)
{
    if (offer->share != 0) {
        shares_settled(shard_of_session(session), offer->share, session->key);
    }
}

/*
 * By a share, from an outbox: no other member gets it from here on, whatever happens. Also at QoS 2
 * to a session that ends with its connection: with it the message is gone [MQTT-4.8.2-5].
 */
static bool is_taken_for_good(const struct session *session, const struct offer *offer)
{
    return offer->share != 0 && shard_of_session(session)->origin.number != 0 &&
           (offer->qos == 2 || (offer->qos == 1 && session->is_kept));
}

enum err deliver_offer(struct session *session, const struct offer *offer,
                       struct frame_cache *cache)
{
    struct shard *shard = shard_of_session(session);
    if (!partition_is_led(shard, session->partition)) {
        offer_settled(session, offer); /* it is being loaded */
        return ERR_UNAVAILABLE;
    }
    if (!rights_may_read(session, offer->msg)) {
        rights_denied_read(session, offer->msg);
        offer_settled(session, offer);
        return OK;
    }
    bool may_have_it = shard->origin.number != 0 && shard->origin.is_again;
    if (offer->qos == 0 && (may_have_it || offer_qos0(session, offer, cache))) {
        offer_settled(session, offer);
        return OK;
    }
    if (offer->share == 0 && outbox_has_come(shard, session->partition)) {
        return OK; /* of a share outbox_was_taken() tells */
    }
    struct delivery delivery;
    enum err err = offer->qos > 0 ? apply_admit(session) : OK; /* QoS 0 waits in memory */
    if (err == ERR_NO_SPACE && shard->origin.number != 0) {
        err = OK; /* of an outbox: it was accepted for good when there was space */
    }
    err = err != OK ? err : delivery_init(&delivery, offer);
    if (err != OK) {
        if (err == ERR_NOMEM) {
            deliver_drop(session, TRAIL_DROP_MEMORY, err, offer->msg);
        }
        offer_settled(session, offer);
        return err;
    }
    bool is_noted = is_taken_for_good(session, offer);
    if (is_noted) {
        outbox_take(shard, session->partition, offer->group);
    }
    err = enqueue(session, &delivery, is_noted);
    if (err != OK) {
        deliver_settled(session, &delivery);
    }
    return err;
}

/* ---- pumping ------------------------------------------------------------------------------- */

/* What was logged up to that message, since the last flush of the journal, becomes stable as one. */
struct run {
    struct afterlife *afterlife;
    uint64_t sequence;
    uint64_t flush; /* of the shard, when it began */
};

static void on_run_stable(void *context, enum err err)
{
    struct run *run = context;
    struct afterlife *afterlife = run->afterlife;
    uint64_t sequence = run->sequence;
    afterlife->run = afterlife->run == run ? NULL : afterlife->run;
    afterlife->pins--;
    blocks_give(run, sizeof(*run));
    if (afterlife->is_over) {
        afterlife_release(afterlife);
    } else if (err == OK && sequence > afterlife->stable_sequence) {
        afterlife->stable_sequence = sequence;
        deliver_pump(afterlife->session);
    }
}

void deliver_run_add(struct session *session, uint64_t sequence)
{
    struct shard *shard = shard_of_session(session);
    struct afterlife *afterlife = session->afterlife;
    afterlife->logged_sequence = sequence;
    if (afterlife->run != NULL && afterlife->run->flush == shard->flush_count) {
        afterlife->run->sequence = sequence;
        return;
    }
    struct run *run = blocks_take(sizeof(*run));
    if (run == NULL) {
        return; /* the next message will tell of this one, too, or the next connection */
    }
    *run = (struct run){afterlife, sequence, shard->flush_count};
    enum err err = journal_await(shard->journal, UINT64_C(1) << session->partition, on_run_stable,
                                 run);
    if (err == ERR_AGAIN) {
        afterlife->run = run;
        afterlife->pins++;
        return;
    }
    blocks_give(run, sizeof(*run));
    if (err == OK) {
        afterlife->stable_sequence = sequence;
    }
}

void deliver_resume(struct session *session)
{
    struct conn *conn = conn_of(session);
    uint32_t cursor = 0;
    struct delivery *slot;
    if (session->is_kept && session->afterlife->run == NULL) {
        deliver_run_add(session, session->sequence);
    }
    conn->resend_count = 0;
    while ((slot = inflight_next(&session->inflight, &cursor)) != NULL) {
        slot->is_dup = true;
        slot->must_resend = true;
        conn->resend_count++;
    }
}

/* In flight, and not to be sent again. */
static void give_up(struct session *session, struct delivery *slot)
{
    struct delivery done;
    conn_of(session)->resend_count--;
    if (inflight_give_up(&session->inflight, slot, &done)) {
        deliver_settled(session, &done);
    }
}

/* In the order of the first sending [MQTT-4.6.0-1], as far as the client's window allows. */
static void resend(struct session *session)
{
    struct conn *conn = conn_of(session);
    uint32_t cursor = 0;
    struct delivery *slot;
    while (conn->resend_count > 0 && conn_has_room(conn) &&
           (slot = inflight_next(&session->inflight, &cursor)) != NULL) {
        uint32_t on_wire = session->inflight.used - conn->resend_count;
        if (!slot->must_resend) {
            continue;
        }
        if (slot->state == WAIT_PUBCOMP) {
            ack_write(conn, MQTT_PUBREL, inflight_id(slot->sequence), OK);
        } else if (on_wire >= conn->window.count_max) {
            return;
        } else if (!rights_may_still_read(session, slot->msg)) {
            rights_denied_read(session, slot->msg);
            give_up(session, slot);
            cursor = 0;
            continue;
        } else if (!write_delivery(conn, slot, inflight_id(slot->sequence))) {
            /* This connection takes less than the last one did. */
            deliver_drop(session, TRAIL_DROP_TOO_LARGE, ERR_TOO_LARGE, slot->msg);
            give_up(session, slot);
            cursor = 0;
            continue;
        }
        slot->must_resend = false;
        conn->resend_count--;
    }
}

void deliver_pump(struct session *session)
{
    struct conn *conn = conn_of(session);
    if (conn == NULL || conn->state != CONN_OPEN) {
        return;
    }
    if (conn->resend_count > 0) {
        resend(session);
    }
    struct delivery *next;
    while ((next = queue_peek(&session->queue)) != NULL) {
        if (is_expired(session, next)) {
            struct delivery late = queue_pop(&session->queue);
            deliver_drop(session, TRAIL_DROP_EXPIRED, ERR_TIMEOUT, late.msg);
            deliver_settled(session, &late);
            continue;
        }
        if (!rights_may_still_read(session, next->msg)) { /* it might when the message came */
            struct delivery denied = queue_pop(&session->queue);
            rights_denied_read(session, denied.msg);
            deliver_settled(session, &denied);
            continue;
        }
        struct delivery taken = *next;
        uint32_t bytes = msg_bytes(taken.msg);
        if (!send_now(session, &taken)) {
            break;
        }
        queue_forget(&session->queue, bytes);
    }
    spill_load(session);
    if (queue_count(&session->queue) == 0) {
        replay_pump(conn);
    }
}
