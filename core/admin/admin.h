/*
 * admin: the HTTP listener: /metrics for Prometheus, /health for balancers and orchestrators.
 *
 * Floor:  admin; runs on the io of one shard and never waits.
 * Thread: the shard whose io and wheel were handed in; metrics of other shards are only read.
 * Memory: at most ADMIN_CONNECTIONS_MAX connections of ADMIN_HEAD_BYTES_MAX and an answer each, and
 *         up to twice as many that are closing.
 *
 * What it bounds, so that nobody who can reach it harms the shard or locks others out:
 *   a head has to be complete ADMIN_HEAD_NS after its first byte, however slowly it drips;
 *   each piece of an answer has to be read within ADMIN_SEND_NS;
 *   a connection may idle ADMIN_IDLE_NS between requests; the first has to begin in ADMIN_HEAD_NS;
 *   when all connections are taken, the one that has been waiting longest makes room for the next;
 *   requests sent at once (pipelining) are answered one per turn, and text made once per turn serves
 *   all who ask in that turn.
 * Requests with a body are answered and closed: nothing here reads one.
 */
#ifndef TERN_ADMIN_ADMIN_H
#define TERN_ADMIN_ADMIN_H

#include "core/base/err.h"
#include "core/base/metrics.h"
#include "core/base/wheel.h"
#include "core/io/io.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    ADMIN_CONNECTIONS_MAX = 64,
    ADMIN_HEAD_BYTES_MAX = 8192,
};

#define ADMIN_HEAD_NS 5000000000ull  /* 5 s */
#define ADMIN_SEND_NS 5000000000ull  /* 5 s */
#define ADMIN_IDLE_NS 75000000000ull /* 75 s: longer than the usual minute between two scrapes */

/* Where the answers come from; all of it is borrowed for the life of the admin. */
struct admin_sources {
    struct metrics *const *metrics; /* one per shard; [0] is of the shard that admin runs on */
    uint32_t metrics_count;         /* 1 or more */
    uint64_t start_wall_ms;
    bool (*is_draining)(void *context); /* NULL: never */
    void *context;
};

struct admin;

/*
 * Listen at that address. `at` with port 0: the kernel picks one, admin_address() tells.
 * Errors of io_listen(), ERR_NOMEM.
 */
enum err admin_new(struct io *io, struct wheel *wheel, const struct address *at,
                   const struct admin_sources *sources, struct admin **out);

void admin_address(const struct admin *admin, struct address *out);

/* Connections that hold memory, closing ones too. */
uint32_t admin_connection_count(const struct admin *admin);

/* Stop listening and close all connections; they are gone some turns later. Safe twice. */
void admin_stop(struct admin *admin);

/*
 * Free the memory. Either after io_free() of its io, or after admin_stop() once
 * admin_connection_count() is 0; before wheel_free() in both cases. Accepts NULL.
 */
void admin_free(struct admin *admin);

#endif
