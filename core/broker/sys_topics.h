/*
 * sys_topics: $SYS, as mosquitto names it, fed by the metrics.
 *
 * Floor:  broker.
 * Thread: shard 0.
 */
#ifndef TERN_BROKER_SYS_TOPICS_H
#define TERN_BROKER_SYS_TOPICS_H

#include "core/base/err.h"

struct shard;
struct sys_topics;

/* Publishes every sys_interval from now on. ERR_NOMEM. */
enum err sys_topics_new(struct shard *shard, struct sys_topics **out);
void sys_topics_free(struct sys_topics *sys_topics); /* accepts NULL */

#endif
