/*
 * guard: what guards the node's listeners over its life: read at the start, at SIGHUP, and when files
 * change; told in the log, in /health and in /metrics.
 *
 * Floor:  cluster.
 * Thread: the main thread, but for guard_look().
 */
#ifndef TERN_CLUSTER_GUARD_H
#define TERN_CLUSTER_GUARD_H

#include "core/admin/admin.h"
#include "core/base/config.h"
#include "core/base/err.h"
#include "core/broker/broker.h"

#include <stdbool.h>
#include <stdint.h>

struct guard;

#define GUARD_WATCH_NS 2000000000ull /* 2 s between two looks at the files */

/*
 * Read everything for the first time; findings go into the report. ERR_INVALID: something is bad and
 * nothing is made; ERR_NOMEM. From then on the process leaves no core if it holds secrets, unless
 * the configuration wants it (core_dumps).
 */
enum err guard_new(const struct config *config, struct guard **out, struct config_report *report);
void guard_free(struct guard *guard); /* the broker is gone; accepts NULL */

const struct security *guard_security(const struct guard *guard);

/*
 * Read everything again, as config says. OK: guard_swap() is to follow. ERR_INVALID: something is bad
 * (the report says what) and guard_has_next() tells whether the rest can be used all the same.
 */
enum err guard_read(struct guard *guard, const struct config *config, struct config_report *report);
bool guard_has_next(const struct guard *guard);

/* The broker uses config, and what was read, from now on; returns when all shards do. */
void guard_swap(struct guard *guard, struct broker *broker, const struct config *config);

/* Forget what was read last: config cannot be used. */
void guard_drop(struct guard *guard);

/* There are files that may change. */
bool guard_is_watching(const struct guard *guard);

/* Every GUARD_WATCH_NS: read anew what has changed; once a day tell which certificates end. */
void guard_watch(struct guard *guard, struct broker *broker, const struct config *config);

/* We are another user now: what of it could not be read again? And no core, still. */
void guard_settle_in(struct guard *guard, const struct config *config);

/* For the admin, in its thread. */
void guard_look(const struct guard *guard, struct admin_security *out);

/* Findings go where the log goes: nobody looks at stderr after the start. */
void guard_findings_log(const struct config_report *report);

#endif
