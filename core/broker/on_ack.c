/*
 * The four acknowledgements.
 */
#include "core/broker/apply.h"
#include "core/broker/deliver.h"
#include "core/broker/dispatch.h"
#include "core/broker/receipt.h"
#include "core/broker/shard.h"
#include "core/wire/ack.h"
#include "core/wire/reason.h"

/*
 * The client answered a message of ours. An id we do not know is answered where the protocol has a
 * word for it, and else ignored: it may be the echo of an exchange that a lost connection finished.
 */
static enum err settle(struct conn *conn, uint16_t packet_id, enum inflight_event event)
{
    bool send_pubrel = false;
    enum err err = apply_ack(conn->session, packet_id, event, &send_pubrel);
    if (err == ERR_NOT_FOUND) {
        return event == ON_PUBREC ? ack_when_stable(conn, MQTT_PUBREL, packet_id, ERR_ID_UNKNOWN)
                                  : OK;
    }
    TRY(err);
    if (send_pubrel) {
        TRY(ack_when_stable(conn, MQTT_PUBREL, packet_id, OK));
    }
    deliver_pump(conn->session);
    return OK;
}

static enum err on_ack(struct conn *conn, const struct packet *packet, enum mqtt_type type,
                       enum inflight_event event)
{
    struct mqtt_ack ack;
    TRY(mqtt_ack_decode(type, packet->frame.body, conn->version, &ack));
    bool is_refused = type == MQTT_PUBREC && reason_is_failure(ack.reason);
    return settle(conn, ack.packet_id, is_refused ? ON_PUBREC_REFUSED : event);
}

enum err on_puback(struct conn *conn, const struct packet *packet)
{
    return on_ack(conn, packet, MQTT_PUBACK, ON_PUBACK);
}

enum err on_pubrec(struct conn *conn, const struct packet *packet)
{
    return on_ack(conn, packet, MQTT_PUBREC, ON_PUBREC);
}

enum err on_pubcomp(struct conn *conn, const struct packet *packet)
{
    return on_ack(conn, packet, MQTT_PUBCOMP, ON_PUBCOMP);
}

/* [MQTT-4.3.3-11] [MQTT-4.3.3-12] */
enum err on_pubrel(struct conn *conn, const struct packet *packet)
{
    struct mqtt_ack ack;
    TRY(mqtt_ack_decode(MQTT_PUBREL, packet->frame.body, conn->version, &ack));
    bool is_known = inbound_has(&conn->session->inbound, ack.packet_id);
    if (is_known) {
        apply_release(conn->session, ack.packet_id);
        inbound_uncount(conn, 2, ack.packet_id);
    }
    return ack_when_stable(conn, MQTT_PUBCOMP, ack.packet_id, is_known ? OK : ERR_ID_UNKNOWN);
}
