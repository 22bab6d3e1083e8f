#include "tests/sim/sim_client.h"

#include "core/base/assert.h"
#include "core/wire/connect.h"
#include "core/wire/control.h"
#include "core/wire/frame.h"
#include "core/wire/props.h"
#include "core/wire/publish.h"
#include "core/wire/subscribe.h"
#include "tests/sim/sim.h"
#include "tests/sim/sim_exchange.h"
#include "tests/sim/sim_net.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { SUBSCRIBE_ID_FIRST = 60000 };

#define GHOST_LIMIT_NS (15 * SIM_S)
#define STRAY_NS       (15 * SIM_S)

/* ---- writing ------------------------------------------------------------------------------- */

struct writer client_packet(struct client *client, size_t size)
{
    enum err err = buf_reserve(&client->out, size);
    ASSERT(err == OK);
    uint8_t *at = buf_tail(&client->out);
    buf_commit(&client->out, size);
    client->last_sent_ns = client->sim->now_ns;
    return writer_of(at, size);
}

void client_say(struct client *client, const char *format, ...)
{
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    sim_trace(client->sim, "%s %s", client->id, text);
}

/* It lets the broker close after its DISCONNECT, and so learns that this is on disk; who ends its own
 * side first learns nothing. */
static bool awaits_close(const struct client *client)
{
    return client->character.expiry_s != UINT32_MAX;
}

void client_write(struct client *client)
{
    if (client->link != NULL && buf_count(&client->out) > 0) {
        buf_consume(&client->out, net_write(client->link, NET_CLIENT, buf_bytes(&client->out)));
    }
    if (client->link != NULL && client->state == CLIENT_LEAVING && !awaits_close(client) &&
        buf_count(&client->out) == 0) {
        net_shutdown(client->link, NET_CLIENT);
    }
}

/* ---- the connection's end ------------------------------------------------------------------ */

static void connection_reset(struct client *client)
{
    client->link = NULL;
    client->state = CLIENT_AWAY;
    buf_deinit(&client->in);
    buf_deinit(&client->out);
    client->ack_count = 0;
    client->unfinished_in = 0;
    client->pending_id = 0;
    client->said_reason = 0;
    client->stalled_until_ns = 0;
}

static void will_ends(struct client *client, enum check_fate fate)
{
    if (client->will != 0) {
        check_will_fate(client->check, client->will, fate);
        client->will = 0;
    }
}

/* The will of a connection that ended without goodbye. */
static void will_is_due(struct client *client, bool was_open)
{
    uint32_t delay_s = client->character.will_delay_s, will = client->will;
    will_ends(client, was_open && delay_s == 0 ? FATE_MUST : FATE_MAY);
    if (will != 0 && was_open && delay_s > 0) {
        check_will_runs(client->check, will, delay_s);
    }
}

static void lost(struct client *client, bool is_known)
{
    check_lost(client->check, client->index, is_known);
    if (client->state == CLIENT_CONNECTING) {
        client->stray_until_ns = client->sim->now_ns + STRAY_NS;
    }
    connection_reset(client);
}

void client_vanish(struct client *client, enum client_end how)
{
    static const char *const names[] = {"resets", "is cut off", "ends"};
    client_say(client, "%s its link %llu", names[how], (unsigned long long)client->link->id);
    will_is_due(client, client->state == CLIENT_OPEN);
    struct net_link *link = client->link;
    if (how == CLIENT_RESETS) {
        net_reset(link);
    } else if (how == CLIENT_CUTS) {
        net_cut(link);
    }
    net_close(link, NET_CLIENT);
    lost(client, false);
}

/* The broker ended the connection, or the network did. */
static void link_ended(struct client *client)
{
    struct net_link *link = client->link;
    bool is_reset = net_is_reset(link, NET_CLIENT);
    bool is_stray = client->stray_until_ns > client->sim->now_ns;
    bool has_parted = client->state == CLIENT_LEAVING && awaits_close(client) && !is_reset &&
                      net_is_healthy(link) && !is_stray && !link->is_orphan;
    uint32_t will = client->will;
    client_say(client, "lost its link %llu (%s)", (unsigned long long)link->id,
               is_reset ? "reset" : "ended");
    if (client->state == CLIENT_LEAVING) {
        will_ends(client, is_reset || !net_is_healthy(link) || is_stray ? FATE_MAY : FATE_MUST_NOT);
    } else if (client->state == CLIENT_OPEN && net_is_healthy(link) && !is_stray) {
        sim_fail(client->sim, "%s: the broker ended a healthy connection, reason 0x%02x",
                 client->id, client->said_reason);
    }
    if (link->is_orphan && client->state == CLIENT_OPEN && !is_stray &&
        check_is_forgotten(client->check, client->index)) {
        will_ends(client, FATE_MUST_NOT); /* who should have known of it? */
    }
    will_is_due(client, client->state == CLIENT_OPEN);
    net_close(link, NET_CLIENT);
    lost(client, !is_reset && !is_stray);
    if (has_parted) {
        check_parted(client->check, client->index, will);
    }
}

/* ---- connecting ---------------------------------------------------------------------------- */

struct client *client_new(struct sim *sim, struct check *check, uint32_t index, const char *id,
                          const struct client_character *character)
{
    struct client *client = calloc(1, sizeof(*client));
    ASSERT(client != NULL);
    client->sim = sim;
    client->check = check;
    client->index = index;
    snprintf(client->id, sizeof(client->id), "%s", id);
    client->character = *character;
    check_client(check, index, character->expiry_s, (character->keepalive_s * 3 / 2 + 8) * SIM_S,
                 character->version == MQTT_5);
    return client;
}

void client_free(struct client *client)
{
    if (client == NULL) {
        return;
    }
    buf_deinit(&client->in);
    buf_deinit(&client->out);
    free(client);
}

static void will_fill(struct client *client, struct mqtt_connect *connect, char *topic,
                      char *payload)
{
    snprintf(topic, CHECK_TOPIC_MAX, "w/%u", client->index);
    client->will = check_message(client->check, client->index, topic, 2, false, CHECK_WILL);
    check_publish_sent(client->check, client->will);
    snprintf(payload, CHECK_TOPIC_MAX, "m%u", client->will);
    connect->has_will = true;
    connect->will.topic = slice_text(topic);
    connect->will.payload = slice_text(payload);
    connect->will.qos = 2;
    props_clear(&connect->will.props);
    if (client->character.version == MQTT_5 && client->character.will_delay_s > 0) {
        connect->will.props.present = PROP_BIT(PROP_WILL_DELAY);
        connect->will.props.will_delay_s = client->character.will_delay_s;
    }
}

static void connect_write(struct client *client, bool clean)
{
    const struct client_character *character = &client->character;
    char topic[CHECK_TOPIC_MAX], payload[CHECK_TOPIC_MAX];
    struct mqtt_connect connect = {.version = character->version,
                                   .clean_start = clean,
                                   .keepalive_s = character->keepalive_s,
                                   .client_id = slice_text(client->id)};
    props_clear(&connect.props);
    struct mqtt_props *props = &connect.props;
    if (character->version == MQTT_5) {
        props->present |= PROP_BIT(PROP_SESSION_EXPIRY);
        props->session_expiry_s = character->expiry_s;
        props->present |= character->receive_max > 0 ? PROP_BIT(PROP_RECEIVE_MAX) : 0;
        props->receive_max = character->receive_max;
        props->present |= character->alias_max > 0 ? PROP_BIT(PROP_TOPIC_ALIAS_MAX) : 0;
        props->topic_alias_max = character->alias_max;
    }
    if (character->has_will) {
        will_fill(client, &connect, topic, payload);
    }
    struct writer w = client_packet(client, mqtt_connect_size(&connect));
    mqtt_connect_encode(&w, &connect);
}

/* A clean start throws away what we knew as well [MQTT-3.1.2-4]. */
void client_session_forget(struct client *client)
{
    memset(client->outbound, 0, sizeof(client->outbound));
    client->outbound_count = 0;
    client->received_count = 0;
    memset(client->is_subscribed, 0, sizeof(client->is_subscribed));
}

bool client_connect(struct client *client, bool clean)
{
    ASSERT(client->state == CLIENT_AWAY);
    client->link = net_connect(client->sim->net, SIM_PORT);
    if (client->link == NULL) {
        client_say(client, "is refused by the network");
        return false;
    }
    client->state = CLIENT_CONNECTING;
    client->clean = clean;
    client->since_ns = client->sim->now_ns;
    client->server_receive_max = UINT16_MAX;
    client->server_alias_max = 0;
    memset(client->aliases_in, 0, sizeof(client->aliases_in));
    memset(client->aliases_out, 0, sizeof(client->aliases_out));
    if (clean) {
        client_session_forget(client);
    }
    check_connect_sent(client->check, client->index, clean);
    connect_write(client, clean);
    char will[32] = "";
    if (client->will != 0) {
        snprintf(will, sizeof(will), ", with the will m%u", client->will);
    }
    client_say(client, "-> CONNECT on link %llu%s%s", (unsigned long long)client->link->id,
               clean ? ", clean" : "", will);
    return true;
}

bool client_take_over(struct client *client)
{
    if (client->ghost_count == CLIENT_GHOSTS_MAX) {
        return false;
    }
    client_say(client, "takes over from its link %llu", (unsigned long long)client->link->id);
    struct client_ghost *ghost = &client->ghosts[client->ghost_count];
    *ghost = (struct client_ghost){.link = client->link};
    will_is_due(client, true);
    struct net_link *link = client->link;
    check_lost(client->check, client->index, false);
    connection_reset(client);
    ghost->link = link;
    client->ghost_count++;
    return client_connect(client, client->character.expiry_s == 0);
}

/* ---- ghosts -------------------------------------------------------------------------------- */

/* What the old connection still says is heard by nobody [MQTT-3.1.4-3]. */
static void ghost_haunts(struct client *client, struct client_ghost *ghost)
{
    char payload[CHECK_TOPIC_MAX];
    uint8_t bytes[128];
    uint32_t number = check_message(client->check, client->index, "t/0/a", 0, false, CHECK_GHOST);
    snprintf(payload, sizeof(payload), "m%u", number);
    struct mqtt_publish publish = {.topic = slice_text("t/0/a"), .payload = slice_text(payload)};
    props_clear(&publish.props);
    size_t size = mqtt_publish_size(&publish, client->character.version);
    struct writer w = writer_of(bytes, sizeof(bytes));
    mqtt_publish_encode(&w, &publish, client->character.version);
    if (net_room(ghost->link, NET_CLIENT) >= size) {
        net_write(ghost->link, NET_CLIENT, slice_of(bytes, size));
        client_say(client, "'s ghost on link %llu -> PUBLISH m%u",
                   (unsigned long long)ghost->link->id, number);
    }
    ghost->has_haunted = true;
}

static bool ghost_turn(struct client *client, struct client_ghost *ghost)
{
    uint8_t scratch[4096];
    while (net_read(ghost->link, NET_CLIENT, scratch, sizeof(scratch)) > 0) {
    }
    if (net_has_ended(ghost->link, NET_CLIENT) || net_is_reset(ghost->link, NET_CLIENT)) {
        net_close(ghost->link, NET_CLIENT);
        return false;
    }
    if (ghost->since_ns != 0 && !ghost->has_haunted) {
        ghost_haunts(client, ghost);
    }
    if (ghost->since_ns != 0 && client->sim->now_ns > ghost->since_ns + GHOST_LIMIT_NS) {
        sim_fail(client->sim, "%s: its link %llu lives on after a takeover", client->id,
                 (unsigned long long)ghost->link->id);
    }
    return true;
}

static void ghosts_turn(struct client *client)
{
    for (uint32_t i = 0; i < client->ghost_count;) {
        if (ghost_turn(client, &client->ghosts[i])) {
            i++;
        } else {
            client->ghosts[i] = client->ghosts[--client->ghost_count];
        }
    }
}

/* ---- reading --------------------------------------------------------------------------------- */

/* A client that is leaving hears what comes, and answers nothing. */
static void feed(struct client *client)
{
    struct frame frame;
    while (client->link != NULL && !client->sim->has_failed && buf_count(&client->in) > 0) {
        enum err err = frame_next(buf_bytes(&client->in), MQTT_REMAINING_MAX, &frame);
        if (err == ERR_MORE) {
            return;
        }
        if (err != OK) {
            sim_fail(client->sim, "%s: what came is no packet", client->id);
            return;
        }
        if (client->state != CLIENT_LEAVING) {
            exchange_on_packet(client, &frame);
        }
        buf_consume(&client->in, frame.total_bytes);
    }
}

void client_read(struct client *client)
{
    uint8_t scratch[4096];
    uint32_t count;
    ghosts_turn(client);
    if (client->link == NULL || client->stalled_until_ns > client->sim->now_ns) {
        return;
    }
    while (client->link != NULL && client->ack_count < CLIENT_ACKS_MAX / 2 &&
           (count = net_read(client->link, NET_CLIENT, scratch, sizeof(scratch))) > 0) {
        enum err err = buf_append(&client->in, slice_of(scratch, count));
        ASSERT(err == OK);
        feed(client);
    }
    bool is_over = client->link != NULL && !net_has_bytes(client->link, NET_CLIENT) &&
                   (net_has_ended(client->link, NET_CLIENT) ||
                    net_is_reset(client->link, NET_CLIENT));
    if (is_over && !client->sim->has_failed) {
        link_ended(client);
    }
}

/* ---- other packets ------------------------------------------------------------------------- */

static uint16_t subscribe_begin(struct client *client, uint32_t filter, bool is_unsubscribe)
{
    ASSERT(client->pending_id == 0);
    client->pending_filter = filter;
    client->pending_is_unsubscribe = is_unsubscribe;
    client->pending_id = (uint16_t)(SUBSCRIBE_ID_FIRST + filter);
    return client->pending_id;
}

void client_subscribe(struct client *client, uint32_t filter, uint8_t qos)
{
    enum mqtt_version version = client->character.version;
    struct mqtt_filter asked = {.filter = slice_text(check_filters[filter].text), .qos = qos};
    struct mqtt_props props;
    uint16_t id = subscribe_begin(client, filter, false);
    props_clear(&props);
    props.present = version == MQTT_5 ? PROP_BIT(PROP_SUBSCRIPTION_ID) : 0;
    props.subscription_id = filter + 1;
    struct writer w = client_packet(client, mqtt_subscribe_size(&asked, 1, &props, version));
    mqtt_subscribe_encode(&w, id, &asked, 1, &props, version);
    check_subscribe_sent(client->check, client->index, filter, qos);
    client_say(client, "-> SUBSCRIBE %s QoS %u", check_filters[filter].text, qos);
}

void client_unsubscribe(struct client *client, uint32_t filter)
{
    enum mqtt_version version = client->character.version;
    struct mqtt_filter asked = {.filter = slice_text(check_filters[filter].text)};
    uint16_t id = subscribe_begin(client, filter, true);
    struct writer w = client_packet(client, mqtt_unsubscribe_size(&asked, 1, NULL, version));
    mqtt_unsubscribe_encode(&w, id, &asked, 1, NULL, version);
    check_unsubscribe_sent(client->check, client->index, filter);
    client_say(client, "-> UNSUBSCRIBE %s", check_filters[filter].text);
}

void client_ping(struct client *client)
{
    struct writer w = client_packet(client, mqtt_control_size(MQTT_PINGREQ, NULL,
                                                              client->character.version));
    mqtt_control_encode(&w, MQTT_PINGREQ, NULL, client->character.version);
}

void client_disconnect(struct client *client, uint8_t reason, bool ends_session)
{
    enum mqtt_version version = client->character.version;
    struct mqtt_control control = {.reason = version == MQTT_5 ? reason : 0};
    props_clear(&control.props);
    if (version == MQTT_5 && ends_session && client->character.expiry_s > 0) {
        control.props.present = PROP_BIT(PROP_SESSION_EXPIRY);
        control.props.session_expiry_s = 0;
    }
    struct writer w = client_packet(client, mqtt_control_size(MQTT_DISCONNECT, &control, version));
    mqtt_control_encode(&w, MQTT_DISCONNECT, &control, version);
    client_say(client, "-> DISCONNECT 0x%02x", control.reason);
    if (control.reason != 0) {
        will_is_due(client, false); /* whether it is published depends on its arrival */
    }
    check_leaves(client->check, client->index);
    client->state = CLIENT_LEAVING;
    client->ack_count = 0;
    client->stalled_until_ns = 0;
}

/* ---- when ---------------------------------------------------------------------------------- */

static uint64_t sooner(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t client_wants_ns(const struct client *client)
{
    uint64_t at_ns = UINT64_MAX;
    for (uint32_t i = 0; i < client->ghost_count; i++) {
        const struct client_ghost *ghost = &client->ghosts[i];
        at_ns = sooner(at_ns, net_readable_ns(ghost->link, NET_CLIENT));
        if (ghost->since_ns != 0) {
            at_ns = sooner(at_ns, ghost->has_haunted ? ghost->since_ns + GHOST_LIMIT_NS + 1
                                                     : client->sim->now_ns);
        }
    }
    if (client->link == NULL) {
        return at_ns;
    }
    uint64_t bytes_ns = net_readable_ns(client->link, NET_CLIENT);
    bytes_ns = bytes_ns < client->stalled_until_ns ? client->stalled_until_ns : bytes_ns;
    at_ns = sooner(at_ns, bytes_ns);
    bool can_write = buf_count(&client->out) > 0 && net_room(client->link, NET_CLIENT) > 0;
    if (client->ack_count > 0) {
        at_ns = sooner(at_ns, client->acks_from_ns);
    }
    return can_write ? client->sim->now_ns : at_ns;
}

bool client_is_quiet(const struct client *client)
{
    return client->state == CLIENT_OPEN && client->outbound_count == 0 && client->ack_count == 0 &&
           (client->received_count == 0 || !client->is_received_sure) && client->pending_id == 0 &&
           buf_count(&client->out) == 0;
}
