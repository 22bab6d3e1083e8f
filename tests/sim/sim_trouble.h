/*
 * sim_trouble: what goes wrong with the disk and the clock while the node runs in a storm.
 *
 * Floor:  tests.
 *
 * An actor: it draws when the next thing happens. A full disk has space again after a while. A disk
 * that failed stays so until somebody starts the node anew, which is asked of sim_outage.
 */
#ifndef TERN_SIM_SIM_TROUBLE_H
#define TERN_SIM_SIM_TROUBLE_H

#include "core/base/rng.h"

#include <stdbool.h>
#include <stdint.h>

struct sim;

struct trouble {
    struct sim *sim;
    struct rng rng;
    uint64_t next_ns;
    uint64_t space_ns; /* when there is space again; UINT64_MAX: there is */
    uint64_t trust_ns; /* when nothing of it is felt any more; UINT64_MAX: not under way */
    uint64_t
        restart_ns; /* the disk failed: who looks after the node comes then; UINT64_MAX: it did not */
    uint32_t count;
};

void trouble_init(struct trouble *trouble, struct sim *sim);

/* The node has to be started anew, now. */
bool trouble_wants_restart(const struct trouble *trouble);

/* It does nothing durable any more: somebody will have to. */
bool trouble_has_broken(const struct trouble *trouble);

/* The disk is exchanged, and there is space on it. The next start must succeed. */
void trouble_heal(struct trouble *trouble);

/* The wall clock is set to another time. */
void trouble_set_clock(struct trouble *trouble);

#endif
