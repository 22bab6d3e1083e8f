/*
 * journal_memory: core's journal port for a node that keeps its state in memory.
 *
 * Floor:  cluster.
 *
 * An op is committed as soon as it is submitted, so done() is called before submit() returns. What
 * an acknowledgement then promises is memory: it does not outlive the process.
 */
#ifndef TERN_CLUSTER_JOURNAL_MEMORY_H
#define TERN_CLUSTER_JOURNAL_MEMORY_H

#include "core/session/journal.h"

struct shard;

/* Fits broker_ports. context is not used. NULL: memory is exhausted. */
struct journal *journal_memory_new(void *context, struct shard *shard, journal_apply apply);
void journal_memory_free(struct journal *journal);

#endif
