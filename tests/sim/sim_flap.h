/*
 * sim_flap: leadership that flaps: partitions are lost by a shard that runs, and come back from the disk.
 *
 *     LED ──cut──> CUT ──lose──> LOST ──come──> COMING ──all of it is in the map──> LED
 *
 * CUT: the leader has lost its followers and does not know. What was logged before is committed or is not;
 * what is logged from then on never will be, and nobody is told. LOST: the journal's owner has been told,
 * and whoever waited. A journal in front of the node's own does that; the rest of the node is as it is.
 *
 * Floor:  tests.
 */
#ifndef TERN_SIM_SIM_FLAP_H
#define TERN_SIM_SIM_FLAP_H

#include "core/broker/broker.h"

#include <stdbool.h>
#include <stdint.h>

struct check;
struct sim;

/* Adds an actor if the plan has flaps. There is one world at a time. */
void flaps_init(struct sim *sim, struct check *check);

/* Ports, context is the struct node_store. */
enum err flap_journal_new(void *context, struct io *io, uint32_t shard, struct journal **out,
                          uint64_t *wall_ms, struct broker_failure *failure);
enum err flap_journal_load(void *context, struct journal *journal, struct shard *shard,
                           struct broker_failure *failure);
bool flap_journal_load_more(void *context, struct journal *journal, struct shard *shard);
void flap_journal_free(struct journal *journal);

#endif
