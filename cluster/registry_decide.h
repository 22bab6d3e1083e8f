/*
 * registry_decide: what the meta leader proposes, looking at REG, at leases and at what leaders report.
 *
 * Floor:  cluster; pure.
 *
 *   GONE            whose lease has lapsed (lease.h decides)
 *   SERVICE_EXPIRE  instances whose leases have ended; not while they could not be renewed, and not
 *                   many of them at once
 *   REMOVE          who is gone for longer than the setting "auto_replace_ms", when the others can make
 *                   all copies anew
 *   ASSIGN          the next steps of the plan (placement.h)
 *
 * What an operator or a node asks for (JOIN, START, LIVE, DRAIN, LEAVE, LEVEL, ...) is not decided here.
 */
#ifndef TERN_CLUSTER_REGISTRY_DECIDE_H
#define TERN_CLUSTER_REGISTRY_DECIDE_H

#include "cluster/lease.h"
#include "cluster/placement.h"

enum {
    DECIDE_COMMANDS_MAX = 4, /* of one look; what is left over comes with the next */
    DECIDE_AUTO_REPLACE_MS = 10 * 60 * 1000,
    DECIDE_SERVICES_GRACE_MS = 30 * 1000, /* a new leader lets instances renew first */
    DECIDE_SERVICES_GUARD_MS = 60 * 1000, /* more than a third at once are waited for */
    DECIDE_SERVICES_AT_ONCE = 256,        /* that expire by one command */
};

/* What the meta leader remembers from one look to the next. */
struct decide {
    uint64_t begun_ms;
    uint64_t held_ms; /* since when instances are waited for; 0: they are not */
};

/* This node has become the meta leader; now_ms: of a monotonic clock. */
void decide_begin(struct decide *decide, uint64_t now_ms);

/*
 * Every 100 ms or so, when what was proposed before is applied or lost. How many commands, stamped
 * with wall_ms. verdict: of lease_turn() just now.
 */
uint32_t decide_look(struct decide *decide, const struct registry_state *state,
                     const struct lease_verdict *verdict,
                     const struct placement_report reports[REGISTRY_PARTITIONS], uint64_t now_ms,
                     uint64_t wall_ms, struct registry_command out[DECIDE_COMMANDS_MAX]);

#endif
