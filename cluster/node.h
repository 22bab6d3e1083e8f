/*
 * node: one node built from its parts, and its life.
 *
 * Floor:  cluster.
 * Thread: the main thread.
 */
#ifndef TERN_CLUSTER_NODE_H
#define TERN_CLUSTER_NODE_H

#include "core/base/config.h"
#include "core/base/err.h"
#include "core/broker/broker.h"

struct node;
struct warden;

/*
 * Build and start: from OK on clients are served. config and warden go to the node. On an error
 * nothing is left running, both are freed and failure says what it was.
 */
enum err node_start(struct config *config, struct warden *warden, struct node **out,
                    struct broker_failure *failure);

/* The process has become who it stays. */
void node_settle_in(struct node *node);

/*
 * Say where everything is: to people in a few lines on stderr, and to the log where that is
 * somewhere else or its lines are JSON, which nothing may stand between.
 */
void node_announce(const struct node *node);

/*
 * Read the sources again, and the files they name, and use what can change while running. Everything
 * found is logged; on an error nothing has changed. Files that were good before and are bad now are
 * no such error: what was read of them goes on.
 */
enum err node_reload(struct node *node, const struct config_sources *sources);

/* Look at the files that guard it, and read anew what has changed. */
void node_watch(struct node *node);

/* Nanoseconds until the next such look; UINT64_MAX: there are none. */
uint64_t node_watch_ns(const struct node *node);

/* Ask it to stop; drain: say goodbye to clients first. Returns at once. */
void node_stop(struct node *node, bool drain);

/* Every shard has ended its last turn. */
bool node_has_stopped(const struct node *node);

const struct config *node_config(const struct node *node);

/* Where its state lies; "": in memory. */
const char *node_folder(const struct node *node);

/* Wait for the end and free. */
void node_join(struct node *node);

/* The log goes where the configuration says. ERR_IO: the file cannot be opened. */
enum err node_log_setup(const struct config *config);

#endif
