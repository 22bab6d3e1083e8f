/*
 * warden: what guards the node's listeners over its life: read at the start, at SIGHUP, and when files
 * change; told in the log, in /health and in /metrics.
 *
 * Floor:  cluster.
 * Thread: the main thread, but for warden_look().
 */
#ifndef TERN_CLUSTER_WARDEN_H
#define TERN_CLUSTER_WARDEN_H

#include "core/admin/admin.h"
#include "core/base/config.h"
#include "core/base/err.h"
#include "core/broker/broker.h"

#include <stdbool.h>
#include <stdint.h>

struct warden;

#define WARDEN_WATCH_NS 2000000000ull /* 2 s between two looks at the files */

/*
 * Read everything for the first time; findings go into the report. ERR_INVALID: something is bad and
 * nothing is made; ERR_NOMEM. From then on the process leaves no core if it holds secrets, unless
 * the configuration wants it (core_dumps).
 */
enum err warden_new(const struct config *config, struct warden **out, struct config_report *report);
void warden_free(struct warden *warden); /* the broker is gone; accepts NULL */

const struct security *warden_security(const struct warden *warden);

/*
 * Read everything again, as config says. OK: warden_swap() is to follow. ERR_INVALID: something is bad
 * (the report says what) and warden_has_next() tells whether the rest can be used all the same.
 */
enum err warden_read(struct warden *warden, const struct config *config,
                     struct config_report *report);
bool warden_has_next(const struct warden *warden);

/* The broker uses config, and what was read, from now on; returns when all shards do. */
void warden_swap(struct warden *warden, struct broker *broker, const struct config *config);

/* Forget what was read last: config cannot be used. */
void warden_drop(struct warden *warden);

/* There are files that may change. */
bool warden_is_watching(const struct warden *warden);

/* Every WARDEN_WATCH_NS: read anew what has changed; once a day tell which certificates end. */
void warden_watch(struct warden *warden, struct broker *broker, const struct config *config);

/* We are another user now: what of it could not be read again? And no core, still. */
void warden_settle_in(struct warden *warden, const struct config *config);

/* For the admin, in its thread. */
void warden_look(const struct warden *warden, struct admin_security *out);

/* Findings go where the log goes: nobody looks at stderr after the start. */
void warden_findings_log(const struct config_report *report);

#endif
