/*
 * transfer: images between the stores of two nodes: transfer_out and transfer_in on the image lane.
 *
 *     leader's store ── image_out ── transfer_out ── link ── transfer_in ── install ── follower's store
 *
 * One for each shard; messages of a partition come to the shard of its replica. In the network they are
 * bulk: a connection of their own, throttled, beside what raft says.
 *
 * With a replica. Leader: whoever is told that a peer has to install a snapshot asks by itself; the leader
 * says yes in offers(), and who the members were. Follower: transfer_in.h says when to call
 * transfer_fetch(), and what holds until installed().
 *
 * Floor:  cluster.
 * Thread: the shard's; it does not block, but in transfer_free().
 */
#ifndef TERN_CLUSTER_TRANSFER_H
#define TERN_CLUSTER_TRANSFER_H

#include "cluster/transfer_in.h"
#include "cluster/transfer_out.h"
#include "storage/install.h"

struct transfer;

struct transfer_host {
    /* As in transfer_out.h and transfer_in.h. */
    bool (*offers)(void *context, uint32_t partition, uint64_t peer, uint64_t index);
    bool (*members)(void *context, uint32_t partition, uint64_t index,
                    struct consensus_members *out);
    bool (*accepts)(void *context, uint32_t partition, const struct image_head *head,
                    const struct consensus_members *members);
    /* The partition is what the head says, on stable storage, and its log is cut there. machine is the
     * host's from here on, in place of the one it had. */
    void (*installed)(void *context, uint32_t partition, const struct image_head *head,
                      const struct consensus_members *members, struct machine *machine);
    void (*failed)(void *context, uint32_t partition, enum err err);
    void (*send)(void *context, uint64_t peer, uint32_t partition, struct slice message);
    void *context;
};

struct transfer_config {
    struct store *store;
    struct lane *image_lane;
    struct io *io; /* woken when a lane has news; NULL: nobody is */
    const struct transfer_host *host;
    uint32_t open_max, fetch_max; /* of this shard; 0: 2 each */
    uint64_t bytes_per_s;         /* that are sent; 0: as it goes */
    uint64_t seed;                /* another one at each start */
};

enum err transfer_new(const struct transfer_config *config, struct transfer **out); /* ERR_NOMEM */
/* Waits for what the lanes do for it. Accepts NULL. */
void transfer_free(struct transfer *self);

/* A message of that peer. ERR_MALFORMED: it is none; nothing happened. */
enum err transfer_receive(struct transfer *self, uint64_t now_ms, uint64_t peer,
                          struct slice message);
void transfer_up(struct transfer *self, uint64_t now_ms, uint64_t peer); /* there is a link again */

void transfer_fetch(struct transfer *self, uint64_t now_ms, uint32_t partition, uint64_t peer,
                    uint64_t index);
void transfer_cancel(struct transfer *self, uint64_t now_ms, uint32_t partition);
bool transfer_is_fetching(const struct transfer *self, uint32_t partition);
/* Its images of that partition are closed: it leads it no more. */
void transfer_stop(struct transfer *self, uint32_t partition);

/* What came back from the lanes, and what is due. */
bool transfer_has_news(const struct transfer *self);
void transfer_turn(struct transfer *self, uint64_t now_ms);
uint64_t transfer_wake_ms(const struct transfer *self); /* UINT64_MAX: never */

#endif
