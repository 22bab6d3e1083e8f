/*
 * bridge: connections to other brokers, each made of two clients and no state.
 *
 *       this broker ── local leg ── bridge ── remote leg ── another broker
 *
 * A message keeps its packet id on both legs, and its acknowledgement comes from where it went: so it is
 * finished here when it is finished there, store and forward is what the two brokers' sessions do, and
 * QoS 2 stays exactly once. See README.md.
 *
 * Floor:  bridge; beside admin. It knows no broker: the local leg enters by a port handed down.
 * Thread: that of the io and wheel handed in, which it shares with a shard.
 * Memory: heap; per bridge 50 KiB and what waits to be sent, bounded by the windows of both sides.
 */
#ifndef TERN_BRIDGE_BRIDGE_H
#define TERN_BRIDGE_BRIDGE_H

#include "core/base/config.h"
#include "core/base/metrics.h"
#include "core/base/wheel.h"
#include "core/io/io.h"

struct bridges;

struct bridge_ports {
    /* A client comes in by the door of bridges: the broker owns the handle, also on an error. */
    enum err (*enter)(void *context, int64_t handle);
    /* The broker says goodbye to everybody: nobody need come again. */
    bool (*is_draining)(void *context);
    void *context;
    struct metrics *metrics; /* of this thread's shard */
    uint64_t seed;
};

/* All bridges of the configuration, which is borrowed until bridges_renew(). ERR_NOMEM. */
enum err bridges_new(struct io *io, struct wheel *wheel, const struct config *config,
                     const struct bridge_ports *ports, struct bridges **out);

/*
 * Another configuration: a bridge that it has unchanged goes on, one that differs begins anew (nothing
 * is lost: the sessions keep it), one that it has no more ends, and its sessions are left.
 */
void bridges_renew(struct bridges *bridges, const struct config *config);

/* After io_free() of its io, before wheel_free(). Accepts NULL. */
void bridges_free(struct bridges *bridges);

#endif
