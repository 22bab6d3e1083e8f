/*
 * From one leg to the other.
 *
 *     from ── PUBLISH id 7 ──> to             to ── PUBACK or PUBREC id 7 ──> from
 *     from ── PUBREL  id 7 ──> to             to ── PUBCOMP id 7 ───────────> from
 *
 * Both directions are the same code: a leg is `from` for what its broker sends, and `to` for what goes
 * there. Nothing is remembered but which ids are open, for the server's Receive Maximum.
 *
 * Invariants
 *   P1  to->open holds the ids of messages that were sent on this connection and are not finished; it
 *       has at most to->window_max. A message that has no place is held, and all behind it.
 *   P2  At most one leg waits for the other to get rid of its bytes: while the remote leg is held, the
 *       local one is not. Two that wait for each other would wait for ever.
 *   P3  An id that an earlier session of the other broker may have left half way through QoS 2 is
 *       released before it is used for a new message, or that would be taken for a repetition.
 */
#include "core/base/assert.h"
#include "core/base/log.h"
#include "core/bridge/bridge_parts.h"
#include "core/wire/ack.h"
#include "core/wire/control.h"
#include "core/wire/props.h"
#include "core/wire/publish.h"
#include "core/wire/reason.h"

#include <stdlib.h>
#include <string.h>

enum {
    BACKLOG_BYTES_MAX = 1024 * 1024, /* of a leg; then the other one is held */
    KEPT_BYTES_MAX = 1024 * 1024,    /* of QoS 0 before there is a remote leg */
    QOS0_BYTES_MAX = 4 * BACKLOG_BYTES_MAX,
};

static void ack_write(struct leg *leg, enum mqtt_type type, uint16_t id, uint8_t reason)
{
    uint8_t bytes[MQTT_ACK_BYTES_MAX];
    struct writer w = writer_of(bytes, sizeof(bytes));
    mqtt_ack_encode_plain(&w, type, id, reason, leg->version);
    size_t count = sizeof(bytes) - writer_left(&w);
    uint8_t *at = leg_packet(leg, count);
    if (at != NULL) {
        memcpy(at, bytes, count);
    }
}

/* ---- messages ------------------------------------------------------------------------------ */

/*
 * It goes no further; whoever sent it hears that it was taken, or would send it for ever. In 3.x QoS 2
 * goes on with PUBREL, which is passed on: an unknown id is answered by every broker.
 */
static void refuse(struct bridge *bridge, struct leg *from, const struct mqtt_publish *publish,
                   uint8_t reason, const char *why)
{
    metric_add(bridge->bridges->ports.metrics, METRIC_bridge_dropped, 1);
    log_event(LOG_WARNING, "bridge: message dropped", LOG_TEXT("bridge", bridge->config->name),
              LOG_TEXT("from", from == bridge->local ? "here" : "there"),
              LOG_SLICE("topic", publish->topic), LOG_TEXT("reason", why));
    if (publish->qos > 0) {
        ack_write(from, publish->qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, publish->packet_id, reason);
    }
}

static bool must_wait(const struct bridge *bridge, const struct leg *from, const struct leg *to,
                      const struct mqtt_publish *publish)
{
    bool has_place = publish->qos == 0 || ids_has(&to->open, publish->packet_id) ||
                     to->open.count < to->window_max; /* P1 */
    bool is_behind = leg_backlog(to) > BACKLOG_BYTES_MAX &&
                     (from == bridge->remote || !bridge->remote->is_held); /* P2 */
    return !has_place || is_behind;
}

/* P3 */
static void release_stale(struct bridge *bridge, struct leg *to, uint16_t id)
{
    struct ids *stale = to == bridge->remote ? &bridge->stale_remote : &bridge->stale_local;
    if (ids_take(stale, id)) {
        ack_write(to, MQTT_PUBREL, id, REASON_SUCCESS);
        ids_add(&to->swallow, id);
    }
}

static void count_passed(struct bridge *bridge, const struct leg *to, uint8_t qos)
{
    bool is_out = to == bridge->remote;
    metric_add_label(bridge->bridges->ports.metrics,
                     is_out ? METRIC_bridge_sent : METRIC_bridge_received, qos, 1);
    bridge->used_ns = io_now_ns(bridge->bridges->io);
}

/* Topic and properties for the other side are put together in scratch. */
static void publish_write(struct bridge *bridge, struct leg *from, struct leg *to,
                          const struct mqtt_publish *publish, struct slice prefix,
                          struct slice rest)
{
    uint8_t small[1024];
    bool has_props = to->version == MQTT_5 && publish->props.raw.count > 0;
    size_t topic_bytes = prefix.count + rest.count;
    size_t props_bytes = has_props ? props_forwardable_size(publish->props.raw) : 0;
    size_t bytes = topic_bytes + props_bytes;
    uint8_t *scratch = bytes <= sizeof(small) ? small : malloc(bytes);
    if (scratch == NULL) {
        leg_break(to, ERR_NOMEM);
        return;
    }
    struct writer w = writer_of(scratch, bytes);
    writer_bytes(&w, prefix);
    writer_bytes(&w, rest);
    struct mqtt_publish out = {.qos = publish->qos,
                               .dup = publish->dup,
                               .retain = publish->retain && !to->has_no_retain,
                               .packet_id = publish->packet_id,
                               .topic = slice_of(scratch, topic_bytes),
                               .payload = publish->payload};
    props_clear(&out.props);
    if (props_bytes > 0) {
        props_copy_forwardable(publish->props.raw, &w);
        out.props.raw = slice_of(scratch + topic_bytes, props_bytes);
    }
    if (props_has(&publish->props, PROP_MESSAGE_EXPIRY)) {
        out.props.present |= PROP_BIT(PROP_MESSAGE_EXPIRY);
        out.props.message_expiry_s = publish->props.message_expiry_s;
    }
    size_t size = mqtt_publish_size(&out, to->version);
    if (size == 0 || (to->packet_max_out > 0 && size > to->packet_max_out)) {
        refuse(bridge, from, publish, REASON_IMPLEMENTATION, "larger than the other side takes");
    } else {
        if (out.qos == 2) {
            release_stale(bridge, to, out.packet_id);
        }
        uint8_t *at = leg_packet(to, size);
        if (at != NULL) {
            struct writer packet = writer_of(at, size);
            mqtt_publish_encode(&packet, &out, to->version);
            count_passed(bridge, to, out.qos);
        }
        if (out.qos > 0) {
            ids_add(&to->open, out.packet_id);
        }
    }
    if (scratch != small) {
        free(scratch);
    }
}

static bool pass_publish(struct bridge *bridge, struct leg *from, const struct frame *frame)
{
    bool is_out = from == bridge->local;
    struct leg *to = is_out ? bridge->remote : bridge->local;
    struct mqtt_publish publish;
    struct slice prefix, rest;
    enum err err = mqtt_publish_decode(frame->flags, frame->body, from->version, &publish);
    if (err == OK && props_has(&publish.props, PROP_TOPIC_ALIAS)) {
        err = alias_in_resolve(&from->alias_in, publish.props.topic_alias, &publish.topic);
    }
    if (err != OK) {
        leg_break(from, err);
        return true;
    }
    if (publish.qos == 0 && leg_backlog(to) > QOS0_BYTES_MAX) {
        refuse(bridge, from, &publish, 0, "the other side does not keep up");
        return true;
    }
    if (must_wait(bridge, from, to, &publish)) {
        return false;
    }
    if (!remap(bridge->config, is_out ? BRIDGE_OUT : BRIDGE_IN, publish.topic, &prefix, &rest)) {
        /* The session is older than the configuration: it has subscriptions that are no more. */
        refuse(bridge, from, &publish, REASON_IMPLEMENTATION,
               "no `topic` line of this bridge has it");
        return true;
    }
    if (publish.qos > to->qos_max) {
        refuse(bridge, from, &publish, REASON_IMPLEMENTATION, "the other side has no such QoS");
        return true;
    }
    if (is_out && publish.qos > 0) {
        bridge->last_out_id = publish.packet_id;
    }
    publish_write(bridge, from, to, &publish, prefix, rest);
    return true;
}

/* ---- before there is a remote leg ---------------------------------------------------------- */

/* QoS 1 and 2 come again when the session does; QoS 0 has to be kept here. */
static void keep(struct bridge *bridge, const struct frame *frame)
{
    size_t head = frame->total_bytes - frame->body.count;
    struct slice bytes = slice_of(frame->body.data - head, frame->total_bytes);
    bridge->waiting_count++;
    if ((frame->flags >> 1 & 3) == 0 && (buf_count(&bridge->kept) + bytes.count > KEPT_BYTES_MAX ||
                                         buf_append(&bridge->kept, bytes) != OK)) {
        metric_add(bridge->bridges->ports.metrics, METRIC_bridge_dropped, 1);
    }
    if (bridge->state == BRIDGE_LAZY && bridge->waiting_count >= bridge->config->threshold) {
        bridge_wake(bridge);
    }
}

void pass_kept(struct bridge *bridge)
{
    struct buf kept = bridge->kept;
    bridge->kept = (struct buf){0};
    struct frame frame;
    while (frame_next(buf_bytes(&kept), UINT32_MAX, &frame) == OK) {
        pass_publish(bridge, bridge->local, &frame);
        buf_consume(&kept, frame.total_bytes);
    }
    buf_deinit(&kept);
}

/* ---- acknowledgements ---------------------------------------------------------------------- */

/* The other side could not keep it now: it is sent again, on the next connection. */
static bool is_transient(uint8_t reason)
{
    return reason == REASON_QUOTA;
}

static void refused_tell(struct bridge *bridge, const struct leg *from, uint8_t reason)
{
    metric_add(bridge->bridges->ports.metrics, METRIC_bridge_dropped, 1);
    log_event(LOG_WARNING, "bridge: message refused", LOG_TEXT("bridge", bridge->config->name),
              LOG_TEXT("by", from == bridge->local ? "this broker" : "the other broker"),
              LOG_TEXT("reason", reason_name(reason)));
}

static void pass_ack(struct bridge *bridge, struct leg *from, enum mqtt_type type,
                     const struct frame *frame)
{
    struct leg *to = from == bridge->local ? bridge->remote : bridge->local;
    struct mqtt_ack ack;
    enum err err = mqtt_ack_decode(type, frame->body, from->version, &ack);
    if (err != OK) {
        leg_break(from, err);
        return;
    }
    if (type == MQTT_PUBCOMP && ids_take(&from->swallow, ack.packet_id)) {
        return; /* P3: nobody else asked */
    }
    bool is_refusal = type != MQTT_PUBCOMP && type != MQTT_PUBREL && reason_is_failure(ack.reason);
    if (is_refusal && is_transient(ack.reason)) {
        leg_break(from, ERR_QUOTA);
        return;
    }
    if (is_refusal) {
        refused_tell(bridge, from, ack.reason);
    }
    if (type == MQTT_PUBACK || type == MQTT_PUBCOMP || (type == MQTT_PUBREC && is_refusal)) {
        ids_take(&from->open, ack.packet_id); /* P1 */
    }
    ack_write(to, type, ack.packet_id, ack.reason);
}

static void on_disconnect(struct bridge *bridge, struct leg *from, const struct frame *frame)
{
    struct mqtt_control control = {0};
    enum err err = mqtt_control_decode(MQTT_DISCONNECT, frame->body, from->version, &control);
    if (err == OK) {
        log_event(LOG_NOTICE, "bridge: told to go", LOG_TEXT("bridge", bridge->config->name),
                  LOG_TEXT("by", from == bridge->local ? "this broker" : "the other broker"),
                  LOG_TEXT("reason", reason_name(control.reason)));
    }
    leg_break(from, err == OK ? ERR_CLOSED : err);
}

/* What the remote leg says has to wait until the local one is up. */
static bool is_early(const struct bridge *bridge, const struct leg *from)
{
    bool is_up = bridge->local != NULL && bridge->local->has_joined &&
                 bridge->local->request_id == 0 && bridge->state >= BRIDGE_JOIN;
    return from == bridge->remote && !is_up;
}

bool pass_packet(struct bridge *bridge, struct leg *from, const struct frame *frame)
{
    enum mqtt_type type = (enum mqtt_type)frame->type;
    bool is_alone = from == bridge->local && bridge->state < BRIDGE_JOIN;
    if (type == MQTT_CONNACK && !from->has_joined) {
        meet_connack(bridge, from, frame);
        return true;
    }
    if (!from->has_joined) {
        leg_break(from, ERR_PROTOCOL);
        return true;
    }
    switch (type) {
    case MQTT_PINGRESP:
        return true;
    case MQTT_DISCONNECT:
        on_disconnect(bridge, from, frame);
        return true;
    case MQTT_SUBACK:
    case MQTT_UNSUBACK:
        meet_suback(bridge, from, frame);
        return true;
    case MQTT_PUBLISH:
        if (is_alone) {
            keep(bridge, frame);
            return true;
        }
        return !is_early(bridge, from) && pass_publish(bridge, from, frame);
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
        if (is_early(bridge, from)) {
            return false;
        }
        if (!is_alone) { /* else it comes again with the session */
            pass_ack(bridge, from, type, frame);
        }
        return true;
    default:
        leg_break(from, ERR_PROTOCOL);
        return true;
    }
}
