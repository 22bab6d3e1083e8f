#include "core/broker/dispatch.h"

#include "core/broker/shard.h"
#include "core/wire/control.h"

static const struct {
    enum err (*handle)(struct conn *conn, const struct packet *packet);
    uint32_t states; /* bits of enum conn_state in which it may come */
    bool works;      /* it needs conn->work */
} rows[MQTT_TYPE_COUNT] = {
    /* A second CONNECT, and anything before the first, is an error [MQTT-3.1.0-1] [MQTT-3.1.0-2]. */
    [MQTT_CONNECT] = {on_connect, 1 << CONN_CONNECT, false},
    [MQTT_AUTH] = {on_auth, 1 << CONN_AUTH | 1 << CONN_OPEN, true},
    [MQTT_DISCONNECT] = {on_disconnect, 1 << CONN_AUTH | 1 << CONN_OPEN, false},
    [MQTT_PUBLISH] = {on_publish, 1 << CONN_OPEN, true},
    [MQTT_PUBACK] = {on_puback, 1 << CONN_OPEN, true},
    [MQTT_PUBREC] = {on_pubrec, 1 << CONN_OPEN, true},
    [MQTT_PUBREL] = {on_pubrel, 1 << CONN_OPEN, true},
    [MQTT_PUBCOMP] = {on_pubcomp, 1 << CONN_OPEN, true},
    [MQTT_SUBSCRIBE] = {on_subscribe, 1 << CONN_OPEN, true},
    [MQTT_UNSUBSCRIBE] = {on_unsubscribe, 1 << CONN_OPEN, true},
    [MQTT_PINGREQ] = {on_pingreq, 1 << CONN_OPEN, false},
    /* What only a server sends has no row. */
};

enum err dispatch_packet(struct conn *conn, const struct packet *packet)
{
    uint8_t type = packet->frame.type;
    metric_add(conn->shard->metrics, METRIC_packets_received, 1);
    if (rows[type].handle == NULL || (rows[type].states & 1u << conn->state) == 0) {
        return ERR_PROTOCOL;
    }
    if (rows[type].works) {
        TRY(conn_prepare(conn));
    }
    return rows[type].handle(conn, packet);
}

enum err on_pingreq(struct conn *conn, const struct packet *packet)
{
    struct mqtt_control nothing;
    TRY(mqtt_control_decode(MQTT_PINGREQ, packet->frame.body, conn->version, &nothing));
    uint8_t *bytes = conn_packet(conn, 2, 0); /* [MQTT-3.12.4-1] */
    if (bytes != NULL) {
        struct writer w = writer_of(bytes, 2);
        mqtt_control_encode(&w, MQTT_PINGRESP, NULL, conn->version);
    }
    return OK;
}
