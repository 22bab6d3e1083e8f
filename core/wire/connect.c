#include "core/wire/connect.h"

#include "core/wire/frame.h"
#include "core/wire/props.h"
#include "core/wire/reason.h"

enum {
    FLAG_RESERVED = 0x01,
    FLAG_CLEAN = 0x02,
    FLAG_WILL = 0x04,
    FLAG_WILL_QOS_SHIFT = 3,
    FLAG_WILL_RETAIN = 0x20,
    FLAG_PASSWORD = 0x40,
    FLAG_USERNAME = 0x80,

    LEVEL_BRIDGE = 0x80, /* added to the level by bridges of mosquitto, 3.1 and 3.1.1 only */
};

/* ------------------------------------------------------------------------------ CONNECT in */

/* Protocol Name and Level. *version is the client's own, or what to answer in, or 0. */
static enum err read_protocol(struct reader *r, enum mqtt_version *version, bool *is_bridge)
{
    struct slice name;
    uint8_t level;

    *version = 0;
    TRY(read_binary(r, &name));
    bool is_3_1 = slice_is(name, "MQIsdp");
    if (!is_3_1 && !slice_is(name, "MQTT")) {
        return ERR_PROTOCOL; /* [MQTT-3.1.2-1] [v3:MQTT-3.1.2-1] */
    }
    TRY(read_u8(r, &level));
    uint8_t plain = level & (uint8_t)~LEVEL_BRIDGE;
    *is_bridge = level != plain;
    if (is_3_1) {
        *version = plain == MQTT_3_1 ? MQTT_3_1 : MQTT_3_1_1;
        return plain == MQTT_3_1 ? OK : ERR_VERSION;
    }
    if (plain == MQTT_3_1_1 || level == MQTT_5) {
        *version = (enum mqtt_version)plain;
        return OK;
    }
    *version = level > MQTT_5 ? MQTT_5 : MQTT_3_1_1;
    return ERR_VERSION; /* [MQTT-3.1.2-2] [v3:MQTT-3.1.2-2] */
}

static enum err check_flags(uint8_t flags, enum mqtt_version version)
{
    uint8_t will_qos = (flags >> FLAG_WILL_QOS_SHIFT) & 3;
    if (will_qos == 3) {
        return ERR_MALFORMED; /* [MQTT-3.1.2-12] [v3:MQTT-3.1.2-14] */
    }
    if (version != MQTT_5 && (flags & FLAG_PASSWORD) != 0 && (flags & FLAG_USERNAME) == 0) {
        return ERR_MALFORMED; /* [v3:MQTT-3.1.2-22]; 5.0 allows it, 3.1.2.9 */
    }
    if (version == MQTT_3_1) {
        return OK; /* there the rest is "not used" */
    }
    if ((flags & FLAG_RESERVED) != 0) {
        return ERR_MALFORMED; /* [MQTT-3.1.2-3] [v3:MQTT-3.1.2-3] */
    }
    if ((flags & FLAG_WILL) == 0 && (will_qos != 0 || (flags & FLAG_WILL_RETAIN) != 0)) {
        /* [MQTT-3.1.2-11] [MQTT-3.1.2-13] [v3:MQTT-3.1.2-13] [v3:MQTT-3.1.2-15] */
        return ERR_MALFORMED;
    }
    return OK;
}

static enum err read_will(struct reader *r, uint8_t flags, enum mqtt_version version,
                          struct mqtt_will *out)
{
    out->qos = (flags >> FLAG_WILL_QOS_SHIFT) & 3;
    out->retain = (flags & FLAG_WILL_RETAIN) != 0;
    if (version == MQTT_5) {
        TRY(props_decode(r, MQTT_WILL, &out->props));
    }
    TRY(read_text(r, &out->topic)); /* [MQTT-3.1.3-11] [v3:MQTT-3.1.3-10] */
    return read_binary(r, &out->payload);
}

static enum err read_credentials(struct reader *r, uint8_t flags, struct mqtt_connect *out)
{
    out->has_username = (flags & FLAG_USERNAME) != 0;
    out->has_password = (flags & FLAG_PASSWORD) != 0;
    if (out->version == MQTT_3_1) {
        /* 3.1 lets Remaining Length take precedence over these two flags. */
        out->has_username = out->has_username && reader_left(r) > 0;
    }
    if (out->has_username) {
        TRY(read_text(r, &out->username)); /* [MQTT-3.1.3-12] [v3:MQTT-3.1.3-11] */
    }
    if (out->version == MQTT_3_1) {
        out->has_password = out->has_password && reader_left(r) > 0;
    }
    if (out->has_password) {
        TRY(read_binary(r, &out->password));
    }
    return OK;
}

enum err mqtt_connect_decode(struct slice body, struct mqtt_connect *out)
{
    struct reader r = reader_of(body);
    uint8_t flags;

    *out = (struct mqtt_connect){0};
    TRY(read_protocol(&r, &out->version, &out->is_bridge));
    TRY(read_u8(&r, &flags));
    TRY(check_flags(flags, out->version));
    out->clean_start = (flags & FLAG_CLEAN) != 0;
    out->has_will = (flags & FLAG_WILL) != 0;
    TRY(read_u16(&r, &out->keepalive_s));
    if (out->version == MQTT_5) {
        TRY(props_decode(&r, MQTT_CONNECT, &out->props));
    }
    TRY(read_text(&r, &out->client_id)); /* [MQTT-3.1.3-3] [MQTT-3.1.3-4] */
    if (out->has_will) {
        TRY(read_will(&r, flags, out->version, &out->will)); /* [MQTT-3.1.2-9] */
    }
    TRY(read_credentials(&r, flags, out)); /* [MQTT-3.1.2-17] [MQTT-3.1.2-19] */
    TRY(read_end(&r));                     /* [MQTT-3.1.2-16] [MQTT-3.1.2-18] */

    bool may_be_empty = out->version == MQTT_5 || (out->version == MQTT_3_1_1 && out->clean_start);
    if (out->client_id.count == 0 && !may_be_empty) {
        return ERR_CLIENT_ID; /* [v3:MQTT-3.1.3-7] [v3:MQTT-3.1.3-8] */
    }
    return OK;
}

/* ------------------------------------------------------------------------------ CONNECT out */

static struct slice protocol_name(enum mqtt_version version)
{
    return slice_text(version == MQTT_3_1 ? "MQIsdp" : "MQTT");
}

static size_t connect_remaining(const struct mqtt_connect *c)
{
    size_t size = binary_size(protocol_name(c->version)) + 1 + 1 + 2 + binary_size(c->client_id);
    if (c->version == MQTT_5) {
        size += props_size(&c->props, MQTT_CONNECT);
    }
    if (c->has_will) {
        size += c->version == MQTT_5 ? props_size(&c->will.props, MQTT_WILL) : 0;
        size += binary_size(c->will.topic) + binary_size(c->will.payload);
    }
    size += c->has_username ? binary_size(c->username) : 0;
    size += c->has_password ? binary_size(c->password) : 0;
    return size;
}

static uint8_t connect_flags(const struct mqtt_connect *c)
{
    unsigned flags = c->clean_start ? FLAG_CLEAN : 0;
    if (c->has_will) {
        ASSERT(c->will.qos <= 2);
        flags |= FLAG_WILL | (unsigned)c->will.qos << FLAG_WILL_QOS_SHIFT;
        flags |= c->will.retain ? FLAG_WILL_RETAIN : 0;
    }
    flags |= c->has_username ? FLAG_USERNAME : 0;
    flags |= c->has_password ? FLAG_PASSWORD : 0;
    return (uint8_t)flags;
}

size_t mqtt_connect_size(const struct mqtt_connect *connect)
{
    return frame_size(connect_remaining(connect));
}

void mqtt_connect_encode(struct writer *w, const struct mqtt_connect *connect)
{
    const struct mqtt_connect *c = connect;
    ASSERT(c->version >= MQTT_3_1 && c->version <= MQTT_5);
    ASSERT(c->version == MQTT_5 || c->has_username || !c->has_password); /* [v3:MQTT-3.1.2-22] */
    ASSERT(c->version != MQTT_5 || !c->is_bridge);

    frame_head_encode(w, MQTT_CONNECT << 4, connect_remaining(c));
    writer_binary(w, protocol_name(c->version));
    writer_u8(w, (uint8_t)(c->version | (c->is_bridge ? LEVEL_BRIDGE : 0)));
    writer_u8(w, connect_flags(c));
    writer_u16(w, c->keepalive_s);
    if (c->version == MQTT_5) {
        props_encode(w, &c->props, MQTT_CONNECT);
    }
    writer_binary(w, c->client_id);
    if (c->has_will) {
        if (c->version == MQTT_5) {
            props_encode(w, &c->will.props, MQTT_WILL);
        }
        writer_binary(w, c->will.topic);
        writer_binary(w, c->will.payload);
    }
    if (c->has_username) {
        writer_binary(w, c->username);
    }
    if (c->has_password) {
        writer_binary(w, c->password);
    }
}

/* ------------------------------------------------------------------------------ CONNACK */

static size_t connack_remaining(const struct mqtt_connack *connack, enum mqtt_version version)
{
    return 2 + (version == MQTT_5 ? props_size(&connack->props, MQTT_CONNACK) : 0);
}

size_t mqtt_connack_size(const struct mqtt_connack *connack, enum mqtt_version version)
{
    return frame_size(connack_remaining(connack, version));
}

void mqtt_connack_encode(struct writer *w, const struct mqtt_connack *connack,
                         enum mqtt_version version)
{
    ASSERT(!connack->session_present || connack->reason == REASON_SUCCESS); /* [MQTT-3.2.2-6] */
    ASSERT(version == MQTT_5 || connack->reason <= CONNACK_V3_MAX);
    frame_head_encode(w, MQTT_CONNACK << 4, connack_remaining(connack, version));
    writer_u8(w, connack->session_present && version != MQTT_3_1); /* [MQTT-3.2.2-1] */
    writer_u8(w, connack->reason);
    if (version == MQTT_5) {
        props_encode(w, &connack->props, MQTT_CONNACK);
    }
}

enum err mqtt_connack_decode(struct slice body, enum mqtt_version version, struct mqtt_connack *out)
{
    struct reader r = reader_of(body);
    uint8_t flags;

    TRY(read_u8(&r, &flags));
    TRY(read_u8(&r, &out->reason));
    if (version == MQTT_3_1) {
        flags = 0; /* "reserved, not used" */
    }
    if (flags > 1) {
        return ERR_MALFORMED; /* [MQTT-3.2.2-1] */
    }
    out->session_present = flags == 1;
    props_clear(&out->props);
    if (version == MQTT_5) {
        TRY(props_decode(&r, MQTT_CONNACK, &out->props));
    }
    TRY(read_end(&r));
    bool is_known = version == MQTT_5 ? reason_is_allowed(MQTT_CONNACK, out->reason)
                                      : out->reason <= CONNACK_V3_MAX;
    if (!is_known || (out->session_present && out->reason != REASON_SUCCESS)) {
        return ERR_PROTOCOL; /* [MQTT-3.2.2-8]; [MQTT-3.2.2-6] [v3:MQTT-3.2.2-4] */
    }
    return OK;
}
