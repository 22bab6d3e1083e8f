/*
 * lookup: who is to be asked: instances of a service by alias, and the node for a client.
 *
 * Floor:  cluster; pure: answers from a state of REG alone, which every node has.
 * Memory: what is given out is borrowed from the state, until its next registry_apply().
 *
 * In which order instances are given, the first one being meant:
 *
 *   1  who is up, then whose lease is over (it may only be late), then who drains; never who is down
 *   2  of the zone that was asked for
 *   3  LEAST  the less loaded of two, who are drawn; then the others, by load for their weight
 *      KEY    the nearest by weighted rendezvous: the same key finds the same instance, and of n only
 *             one in n keys finds another when one comes or goes
 *      ROUND  each in turn, as often as its weight says; then the others in the order of the ring
 *
 * Of two that are drawn, as all who ask between two reports of a load would run to the one that
 * is least loaded (M. Mitzenmacher, "The power of two choices", 2001).
 */
#ifndef TERN_CLUSTER_LOOKUP_H
#define TERN_CLUSTER_LOOKUP_H

#include "cluster/registry_state.h"

enum { LOOKUP_MAX = 32 }; /* instances in an answer */

enum lookup_strategy { LOOKUP_LEAST, LOOKUP_KEY, LOOKUP_ROUND, LOOKUP_STRATEGY_COUNT };

/* "least", "key", "round". false: another word. */
bool lookup_strategy_read(struct slice text, enum lookup_strategy *out);

struct lookup_query {
    struct slice alias;
    struct slice zone;   /* empty: it does not matter */
    struct slice scheme; /* only those; empty: all */
    enum lookup_strategy strategy;
    struct slice key;   /* of KEY */
    uint64_t turn;      /* of LEAST any number, of ROUND the next one: the same gives the same */
    uint64_t wall_ms;   /* now */
    uint32_t count_max; /* 1 to LOOKUP_MAX */
};

/* How many were found and written, in that order. */
uint32_t lookup_services(const struct registry_state *state, const struct lookup_query *query,
                         const struct registry_service *out[LOOKUP_MAX]);

/* ---- the node for a client ---------------------------------------------------------------------- */

/* Who leads that partition, as far as is known here; 0: nobody. */
typedef uint64_t lookup_leader_of(void *context, uint32_t partition);

enum lookup_why {
    LOOKUP_LEADS,     /* it leads the partition of the client's session */
    LOOKUP_PREFERRED, /* it should lead it, and who does is not known or is leaving */
    LOOKUP_HOLDS,     /* it has a copy */
    LOOKUP_ANY,       /* it is active: it will hand the client on */
    LOOKUP_WHY_COUNT
};
const char *lookup_why_text(enum lookup_why why); /* "leads", "preferred", "holds", "any" */

struct lookup_node {
    const struct registry_member *member;
    const struct registry_place *place;
    uint32_t partition;
    enum lookup_why why;
};

/*
 * Where a client with that id best connects, by a listener of that scheme ("mqtt", "mqtts", "ws", "wss").
 * ERR_UNAVAILABLE: no node is live. ERR_NOT_FOUND: none of the live ones listens for that scheme.
 */
enum err lookup_client(const struct registry_state *state, struct slice client_id,
                       struct slice scheme, lookup_leader_of *leader_of, void *context,
                       struct lookup_node *out);

#endif
