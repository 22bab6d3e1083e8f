/*
 * remote: what this shard wants of partitions of its own that are led on other nodes, and they of those
 * that it leads.
 *
 * Floor:  broker; remote_serve() is called by whoever made the mesh (cluster/).
 * Thread: the shard's, within its turn.
 */
#ifndef TERN_BROKER_REMOTE_H
#define TERN_BROKER_REMOTE_H

#include "core/session/mesh.h"

struct receipt;
struct shard;

/* Hand it to the mesh, with the origin of what is being routed; receipt waits for it (NULL: nobody). */
void remote_send(struct shard *shard, const struct mesh_errand *errand, struct receipt *receipt);

/*
 * Serve the errand; its partitions are this shard's and led here. done is called once, perhaps from inside
 * the call, when all that it came to is committed, or refused; ERR_UNAVAILABLE: a partition was given up
 * before it was certain, so it may or may not be there; those that are still led here have committed. done NULL: nobody waits.
 */
void remote_serve(struct shard *shard, const struct mesh_errand *errand, mesh_done done,
                  void *context);

#endif
