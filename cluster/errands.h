/*
 * errands: messages for partitions of this shard's that are led on other nodes: sent to who leads them,
 * and kept until they have them.
 *
 *     mesh_forward ──> kept, in order ──> sent to the leaders ──> answered for each partition ──> done
 *                          ^                   │
 *                          └── the leader changed, or the link broke: sent again from the oldest on
 *
 *     a peer's errand ──> led here? ──> served once ──> committed ──> answered
 *
 * Invariants
 *   E1  of a partition every errand that is open stands in `kept`, in the order in which they came; those
 *       that were sent to the node that it goes to now are the first ones of it.
 *   E2  who serves takes of a sender and partition only what follows what it has: after anything that it
 *       sends back, and at first, that is an errand marked as a restart, with all open ones behind it.
 *       So nothing overtakes what has to come again.
 *   E3  what was served once is not served again as long as the partition is led there: a number that was
 *       seen is answered as it was, or will be. (Numbers of a sender's shard grow, and one shard there
 *       sends all that is for a partition.)
 *
 * After a change of the leader an errand may be served twice, as nobody knows how far the old one came:
 * QoS 1 allows it, and what came by an outbox has a number by which the partition itself knows it.
 *
 * Floor:  cluster; the host below brings nodes, links and the shard.
 * Thread: the shard's.
 * Memory: a reference of each message that is kept, and ERRANDS_BYTES_MAX of them at most: beyond that
 *         whoever waits is told ERR_UNAVAILABLE, but for those of outboxes, which are bounded there.
 */
#ifndef TERN_CLUSTER_ERRANDS_H
#define TERN_CLUSTER_ERRANDS_H

#include "cluster/mesh_msg.h"
#include "core/session/mesh.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    ERRANDS_BYTES_MAX = 64 * 1024 * 1024,
    ERRANDS_WAIT_MS = 5000, /* so long a publisher waits; an outbox for ever */
    ERRANDS_RETRY_MS = 50,  /* after a node said that it does not lead that partition */
};

struct errands;

struct errands_host {
    /* The node that leads it, as far as is known and as far as a link to it is up; 0: nobody. Ourselves: it is
     * led here, and loaded, and takes entries (journal_admit() says not ERR_UNAVAILABLE); not any more when
     * those who wait for its journal are told so. */
    uint32_t (*leader)(void *context, uint32_t partition);
    /* The shard of that node that answers for that partition. */
    uint32_t (*place)(void *context, uint32_t node, uint32_t partition);
    /* A LINK_KIND_PUBLISH, or a LINK_KIND_RECEIPT; `to` is a partition of the same shard. On an error the
     * link is down, or about to be: errands_moved() follows. */
    enum err (*send)(void *context, uint32_t node, bool is_answer, uint32_t to, struct slice body);
    /* remote_serve() of the broker: done comes when each partition has committed, or was given up. */
    void (*serve)(void *context, const struct mesh_errand *errand, mesh_done done,
                  void *done_context);
    /* A message at QoS 0 went nowhere. */
    void (*dropped)(void *context, struct slice topic);
    void *context;
};

/* node, and which life of it: ours. NULL: memory is exhausted. */
struct errands *errands_new(uint32_t node, uint64_t incarnation, const struct errands_host *host);
/* Whoever waits is told ERR_SHUTDOWN. Accepts NULL. */
void errands_free(struct errands *errands);

/* ---- as a sender -------------------------------------------------------------------------------- */

/* mesh_forward() of the port. */
void errands_forward(struct errands *errands, uint64_t now_ms, const struct mesh_errand *errand,
                     mesh_done done, void *context);

/* Somebody else leads these partitions now, or nobody, or the link to who does is gone, or new. */
void errands_moved(struct errands *errands, uint64_t now_ms, uint64_t partitions);

/* An answer of a node. ERR_CORRUPT: it is none; dropped. */
enum err errands_answered(struct errands *errands, uint64_t now_ms, uint32_t node,
                          struct slice body);

/* When errands_run() wants to be called, ms; UINT64_MAX: never. */
uint64_t errands_wake_ms(const struct errands *errands);
void errands_run(struct errands *errands, uint64_t now_ms);

struct errands_figures {
    uint32_t kept_count;
    uint64_t kept_bytes, sent_again;
};
void errands_look(const struct errands *errands, struct errands_figures *out);

/* ---- as a receiver ------------------------------------------------------------------------------ */

/* An errand of a node, in that life of it. ERR_CORRUPT: it is none; dropped. */
enum err errands_receive(struct errands *errands, uint32_t node, uint64_t incarnation,
                         struct slice body);

/* These partitions are led here no more: whatever was seen for them may be gone. */
void errands_given_up(struct errands *errands, uint64_t partitions);

#endif
