/*
 * sim_life: what a client does when nobody tells it: it draws from the seed.
 *
 * Floor:  tests.
 *
 * Durable clients keep their session for ever, brief ones for some seconds, fleeting ones not at
 * all. In a storm they vanish at any step and come back; in calm weather each sends its script, the
 * same whatever the timing, and then waits.
 */
#ifndef TERN_SIM_SIM_LIFE_H
#define TERN_SIM_SIM_LIFE_H

#include "tests/sim/sim_client.h"

enum life_phase { LIFE_BEGIN, LIFE_BUSY, LIFE_QUIET, LIFE_LEAVE };

struct life_world {
    struct sim *sim;
    struct check *check;
    struct client *clients[CHECK_CLIENTS_MAX];
    uint32_t client_count;
    enum life_phase phase;
    uint64_t quiet_ns; /* since when it is LIFE_QUIET */
    bool is_calm;
    bool is_rejecting;        /* full queues refuse the publisher, who must be able to hear it */
    bool fleeting_may_share;  /* QoS 2 groups with members whose sessions end */
    uint32_t script_messages; /* of each client, in calm weather */
};

/* A client with a character drawn from the world's seed, and its turns. */
struct client *life_client(struct life_world *world, uint32_t index);
void life_free(struct client *client);

/* Calm weather: everybody subscribed what it wanted; everybody sent its script. */
bool life_has_begun(const struct life_world *world);
bool life_has_sent(const struct life_world *world);
bool life_is_quiet(const struct life_world *world);
bool life_has_left(const struct life_world *world);

#endif
