#include "tests/sim/sim_life.h"

#include "core/base/assert.h"
#include "tests/sim/sim.h"
#include "tests/sim/sim_net.h"

#include <stdlib.h>

enum { FIRST_SUBSCRIPTIONS = 3, SCRIPT_SUBSCRIPTIONS = 4 };

#define PATIENCE_NS (10 * SIM_S)

struct client_life {
    struct life_world *world;
    struct rng script; /* what it sends in calm weather, independent of timing */
    uint64_t next_ns;  /* its next deed */
    uint32_t subscribed_count, sent_count;
    bool has_left, wants_clean;
};

static const char *const topics[] = {"t/0/a", "t/0/b", "t/1/a", "t/1/b", "t/2/a",
                                     "t/2/b", "s/0/x", "s/0/y", "s/1/x", "r"};
enum { TOPIC_COUNT = sizeof(topics) / sizeof(topics[0]), SHARED_FIRST = 8 };

static bool may_lose_session(const struct client *client)
{
    return client->character.expiry_s != UINT32_MAX;
}

static uint8_t qos_of(const struct client *client, uint32_t filter)
{
    return check_filters[filter].qos >= 0 ? (uint8_t)check_filters[filter].qos
                                          : (uint8_t)((client->index * 5 + filter * 7) % 3);
}

static void publish(struct client *client, uint64_t topic_draw, uint64_t qos_draw,
                    uint64_t clear_draw)
{
    char own[CHECK_TOPIC_MAX];
    const char *topic = topics[topic_draw % TOPIC_COUNT];
    uint8_t qos = (uint8_t)(qos_draw % 3);
    bool retain = topic[0] == 'r';
    if (retain) {
        snprintf(own, sizeof(own), "r/%u", client->index); /* one writer for each */
        topic = own;
    }
    if (qos == 0 || client_may_publish(client)) {
        client_publish(client, topic, qos, retain, retain && clear_draw % 6 == 0);
    }
}

static bool may_take(const struct client *client, uint32_t filter)
{
    return check_filters[filter].group != 1 || !may_lose_session(client) ||
           client->life->world->fleeting_may_share;
}

/* ---- in a storm ---------------------------------------------------------------------------- */

static void subscribe_some(struct client *client)
{
    struct sim *sim = client->sim;
    uint32_t filter = (uint32_t)sim_below(sim, CHECK_FILTERS);
    if (sim_chance(sim, 20)) {
        filter = CHECK_FILTERS - 1 - (uint32_t)sim_below(sim, CHECK_GROUPS);
    }
    if (client->pending_id == 0 && may_take(client, filter)) {
        client_subscribe(client, filter, qos_of(client, filter));
        client->life->subscribed_count++;
    }
}

static void unsubscribe_some(struct client *client)
{
    uint32_t filter = (uint32_t)sim_below(client->sim, CHECK_FILTERS);
    if (client->pending_id == 0 && client->is_subscribed[filter]) {
        client_unsubscribe(client, filter);
    }
}

static void publish_some(struct client *client)
{
    struct sim *sim = client->sim;
    uint64_t count = sim_chance(sim, 10) ? sim_between(sim, 2, 12) : 1;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t topic = sim_below(sim, TOPIC_COUNT), qos = sim_below(sim, 3);
        publish(client, topic, qos, sim_below(sim, 100));
    }
}

static void busy_deed(struct client *client)
{
    struct sim *sim = client->sim;
    uint64_t deed = sim_below(sim, 1000);
    if (client->life->subscribed_count < FIRST_SUBSCRIPTIONS) {
        subscribe_some(client);
    } else if (deed < 700) {
        publish_some(client);
    } else if (deed < 800) {
        subscribe_some(client);
    } else if (deed < 860) {
        unsubscribe_some(client);
    } else if (deed < 890) {
        client->stalled_until_ns = sim->now_ns + sim_between(sim, 10 * SIM_MS, 3 * SIM_S);
    } else if (deed < 930) {
        client_take_over(client);
    } else if (deed < 960) {
        client_vanish(client, (enum client_end)sim_below(sim, 3));
    } else if (deed < 985) {
        client_disconnect(client, sim_chance(sim, 20) ? 4 : 0, false);
    }
}

static void busy_next(struct client *client)
{
    struct sim *sim = client->sim;
    bool is_away = client->state == CLIENT_AWAY;
    uint64_t wait_ns = sim_between(sim, SIM_MS, 200 * SIM_MS);
    if (is_away && sim_chance(sim, 10)) {
        wait_ns = sim_between(sim, SIM_S, 6 * SIM_S);
    }
    client->life->next_ns = sim->now_ns + wait_ns;
}

/* ---- connecting, whatever the weather ------------------------------------------------------ */

static void connect_again(struct client *client)
{
    bool is_fleeting = client->character.expiry_s == 0;
    client_connect(client, is_fleeting || client->life->wants_clean);
}

/* An attempt that leads nowhere is given up, but not one with a clean start of a lasting session:
 * it could still arrive later and take that session away. */
static void give_up(struct client *client)
{
    uint64_t patience_ns = may_lose_session(client) || !client->clean ? 4 * SIM_S : 20 * SIM_S;
    if (client->sim->now_ns > client->since_ns + patience_ns) {
        client_vanish(client, CLIENT_ENDS);
    }
}

static void keep_alive(struct client *client)
{
    uint64_t half_ns = client->character.keepalive_s * SIM_S / 2;
    if (half_ns > 0 && client->state == CLIENT_OPEN && buf_count(&client->out) == 0 &&
        client->sim->now_ns >= client->last_sent_ns + half_ns) {
        client_ping(client);
    }
}

/* ---- in calm weather ----------------------------------------------------------------------- */

static void calm_deed(struct client *client)
{
    struct client_life *life = client->life;
    if (client->pending_id != 0) {
        return;
    }
    if (life->subscribed_count < SCRIPT_SUBSCRIPTIONS) {
        /* No shared ones: who gets a shared message depends on timing, and may. */
        uint32_t filter = (client->index * 3 + life->subscribed_count * 2) % SHARED_FIRST;
        client_subscribe(client, filter, qos_of(client, filter));
        life->subscribed_count++;
    } else if (life->world->phase == LIFE_BUSY && life->sent_count < life->world->script_messages &&
               client_may_publish(client)) {
        uint64_t topic = rng_below(&life->script, TOPIC_COUNT), qos = rng_below(&life->script, 3);
        publish(client, topic, qos, 1);
        life->sent_count++;
    }
}

/* ---- turns --------------------------------------------------------------------------------- */

static void leave_deed(struct client *client)
{
    struct client_life *life = client->life;
    if (life->has_left || client->state == CLIENT_LEAVING || client->state == CLIENT_CONNECTING) {
        return;
    }
    /* 3.1.1 has no word for "forget me" but a clean session. */
    bool must_return = client->character.version != MQTT_5 && may_lose_session(client) == false &&
                       !life->wants_clean;
    if (client->state == CLIENT_OPEN) {
        life->wants_clean |= must_return;
        life->has_left = !must_return;
        /* Brief sessions end by themselves, soon after. */
        client_disconnect(client, 0, !may_lose_session(client));
    } else {
        connect_again(client);
    }
}

/* A PUBLISH whose acknowledgement it withholds: it has to end the connection when there is space. */
static bool broker_withholds(const struct client *client)
{
    for (uint32_t i = 0; i < client->outbound_count; i++) {
        if (client->character.version != MQTT_5 && !client->outbound[i].is_released) {
            return true;
        }
    }
    return false;
}

/* What else was not acknowledged because of a bad disk is not: it has to be asked for again. */
static void insist(struct client *client)
{
    const struct life_world *world = client->life->world;
    uint64_t since_ns = client->since_ns > world->quiet_ns ? client->since_ns : world->quiet_ns;
    if (client->sim->now_ns > since_ns + PATIENCE_NS && !client_is_quiet(client) &&
        client->link->is_doubtful && !broker_withholds(client)) {
        client_vanish(client, CLIENT_ENDS);
    }
}

static void deed(struct client *client)
{
    struct client_life *life = client->life;
    if (life->world->phase == LIFE_LEAVE) {
        leave_deed(client);
    } else if (client->state == CLIENT_AWAY) {
        connect_again(client);
    } else if (client->state == CLIENT_CONNECTING) {
        give_up(client);
    } else if (client->state == CLIENT_LEAVING) {
        return;
    } else if (life->world->is_calm) {
        calm_deed(client);
    } else if (life->world->phase == LIFE_BUSY) {
        busy_deed(client);
    } else if (life->world->phase == LIFE_QUIET) {
        insist(client);
    }
    busy_next(client);
}

/* A link can break whatever its client is doing. */
static void misfortune(struct client *client)
{
    struct sim *sim = client->sim;
    if (client->life->world->phase == LIFE_BUSY && sim->is_stormy && client->link != NULL &&
        !(client->clean && !may_lose_session(client)) && sim_below(sim, 1000) < 2) {
        client_vanish(client, (enum client_end)sim_below(sim, 3));
    }
}

static void life_turn(void *object)
{
    struct client *client = object;
    struct sim *sim = client->sim;
    client_read(client);
    if (sim->has_failed) {
        return;
    }
    if (client->ack_count > 0 && sim->now_ns >= client->acks_from_ns &&
        (!sim->is_stormy || sim_chance(sim, 60))) {
        client_flush_acks(client,
                          sim->is_stormy ? (uint32_t)sim_between(sim, 1, 8) : CLIENT_ACKS_MAX);
    }
    if (sim->now_ns >= client->life->next_ns) {
        deed(client);
    }
    keep_alive(client);
    misfortune(client);
    client_write(client);
}

static uint64_t life_wants_ns(void *object)
{
    const struct client *client = object;
    uint64_t at_ns = client_wants_ns(client);
    return client->life->next_ns < at_ns ? client->life->next_ns : at_ns;
}

static struct client_character draw_character(struct life_world *world, uint32_t index)
{
    struct sim *sim = world->sim;
    uint64_t kind = index < 3 ? 0 : sim_below(sim, 3); /* durable, brief, fleeting */
    struct client_character character = {.version = sim_below(sim, 2) == 0 ? MQTT_5 : MQTT_3_1_1,
                                         .keepalive_s = (uint16_t)sim_between(sim, 4, 10),
                                         .window = (uint16_t)sim_between(sim, 1,
                                                                         CLIENT_OUTBOUND_MAX),
                                         .payload_max = sim_below(sim, 3) == 0 ? 6000 : 100};
    character.expiry_s = kind == 0 ? UINT32_MAX : kind == 1 ? (uint32_t)sim_between(sim, 1, 4) : 0;
    if (kind == 1 || world->is_rejecting) {
        character.version = MQTT_5;
    }
    if (character.version == MQTT_5) {
        character.receive_max = (uint16_t)(sim_below(sim, 2) == 0 ? 0 : sim_between(sim, 1, 10));
        character.alias_max = (uint16_t)sim_below(sim, CLIENT_ALIASES_MAX + 1);
    }
    character.has_expiring = character.version == MQTT_5 && !world->is_calm;
    character.ack_delay_ns = sim_below(sim, 2) == 0 ? 0 : sim_between(sim, 1, 300) * SIM_MS;
    character.has_will = !world->is_calm && !world->is_rejecting && sim_below(sim, 2) == 0;
    if (character.has_will && character.version == MQTT_5 && sim_below(sim, 2) == 0) {
        character.will_delay_s = (uint32_t)sim_between(sim, 1, 3);
    }
    return character;
}

struct client *life_client(struct life_world *world, uint32_t index)
{
    char id[16];
    struct client_character character = draw_character(world, index);
    snprintf(id, sizeof(id), "c%u", index);
    struct client *client = client_new(world->sim, world->check, index, id, &character);
    struct client_life *life = calloc(1, sizeof(*life));
    ASSERT(life != NULL);
    life->world = world;
    rng_init(&life->script, world->sim->options.seed * 1000 + index);
    client->life = life;
    client->actor = sim_actor_add(world->sim, id, client, life_wants_ns, life_turn);
    sim_trace(world->sim, "%s is v%u, expiry %u s, keep alive %u s, window %u, receive maximum %u",
              id, character.version, character.expiry_s, character.keepalive_s, character.window,
              character.receive_max);
    return client;
}

void life_free(struct client *client)
{
    if (client != NULL) {
        free(client->life);
        client_free(client);
    }
}

/* ---- looking at all of them ---------------------------------------------------------------- */

bool life_has_begun(const struct life_world *world)
{
    for (uint32_t i = 0; i < world->client_count; i++) {
        const struct client *client = world->clients[i];
        if (client->life->subscribed_count < SCRIPT_SUBSCRIPTIONS || client->pending_id != 0) {
            return false;
        }
    }
    return true;
}

bool life_has_sent(const struct life_world *world)
{
    for (uint32_t i = 0; i < world->client_count; i++) {
        if (world->clients[i]->life->sent_count < world->script_messages) {
            return false;
        }
    }
    return true;
}

bool life_is_quiet(const struct life_world *world)
{
    for (uint32_t i = 0; i < world->client_count; i++) {
        if (!client_is_quiet(world->clients[i])) {
            return false;
        }
    }
    return true;
}

bool life_has_left(const struct life_world *world)
{
    for (uint32_t i = 0; i < world->client_count; i++) {
        const struct client *client = world->clients[i];
        if (!client->life->has_left || client->state != CLIENT_AWAY) {
            return false;
        }
    }
    return true;
}
