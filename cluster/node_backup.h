/*
 * node_backup: a copy of the store while the node runs, made in a thread of its own.
 *
 * Floor:  cluster.
 * Thread: begin and look by any; one backup at a time. Make it before shards are pinned to cores.
 */
#ifndef TERN_CLUSTER_NODE_BACKUP_H
#define TERN_CLUSTER_NODE_BACKUP_H

#include "core/admin/admin.h"

struct store;
struct node_backup;

/* NULL: memory is exhausted, or no thread to be had. The store outlives it. */
struct node_backup *node_backup_new(struct store *store);
/* Waits for the one that is being made. Accepts NULL. */
void node_backup_free(struct node_backup *backup);

/* See admin_sources. */
enum err node_backup_begin(struct node_backup *backup, const char *folder);
void node_backup_look(struct node_backup *backup, struct admin_backup *out);

#endif
