/*
 * scenario: what `tern-bench run` can do, as a table.
 *
 *     pairs      n publishers, n subscribers, each pair has a topic of its own
 *     fanout     1 publisher (or more), n subscribers that hear all of them
 *     fanin      n publishers with a topic each, 1 subscriber (or more) that hears all of them
 *     shared     n publishers, 5 subscribers that share one subscription: each message to one
 *     wildcards  16 publishers, n subscribers with 10,000 wildcard filters, 1 to 3 match a message
 *     connect, storm, reconnect             clients that come and go
 *     idle, subscriptions, retained, queued what a broker holds, and what it costs
 *     persist, online                       sessions whose clients are away and return, or stay
 *
 * A run has a warm-up and a measured window; figures are of the window, checks of everything.
 *
 * Open loop (the default): `rate` messages a second in all, each at its moment however the broker
 * fares; latency counts from the moment a message should have left (no coordinated omission). A
 * message that could not leave within UNSENT_NS of its moment is given up and counted as unsent.
 * Closed loop (`window` given): a publisher has at most `window` messages under way, and sends when
 * a burst of them has come free. A message is under way until all its subscribers have it and, with
 * QoS 1 or 2, until the broker has finished the exchange with the publisher.
 *
 * Floor:  bench.
 * Thread: the caller; one load, one thread. With a crew, several callers in a thread each.
 */
#ifndef TERN_BENCH_SCENARIO_H
#define TERN_BENCH_SCENARIO_H

#include "bench/load/load.h"
#include "bench/report/report.h"

#include <stdbool.h>
#include <stdint.h>

struct crew;
struct scenario;
struct series;

enum { SCENARIO_WHY_BYTES = 256 };

#define UNSENT_NS ((uint64_t)5000000000) /* open loop: how late a message may leave */

struct scenario_options {
    struct load_config load;
    /* n of the scenario: pairs, subscribers, publishers, clients; 0: the scenario's own default. */
    uint32_t count;
    /* Instead of what n says; 0: as n says. filter_count: wildcards only. */
    uint32_t publisher_count, subscriber_count, group_count, filter_count;
    uint32_t held_count; /* storm: idle clients that are there before; 0: none */
    uint32_t payload_bytes;
    uint32_t window; /* closed loop: messages under way per publisher; 0: open loop */
    uint32_t burst;  /* closed loop: of those, how many leave in one write; 0: 1 */
    double rate;     /* open loop: a second, in all; 0: the scenario's own default */
    uint8_t qos;
    bool is_mixed;      /* scenario mixed: publisher p is of QoS p mod 3. Not for users to set */
    bool is_resuming;   /* connect, storm, reconnect: who comes again resumes its session of TLS */
    bool is_persistent; /* clean start false, sessions that outlive their connection; QoS 1 or 2 */
    double seconds, warmup_seconds;
    int32_t broker_pid;              /* 0: unknown */
    struct crew *crew;               /* NULL: this generator is alone; bench/crew/crew.h */
    struct series *series;           /* NULL: nobody wants one; bench/report/series.h */
    const volatile bool *is_stopped; /* true ends the run early, with its account; NULL: never */
};

/* NULL: there is none of that name. */
const struct scenario *scenario_find(const char *name);

/* One line per scenario, for --help. */
void scenario_list(FILE *out);

/* Offer all names to whoever looks for the nearest (core/base/text.h). */
struct text_nearest;
void scenario_offer(struct text_nearest *nearest);

/* Of its open loop, a second, if nobody says another; 0: it has none. */
double scenario_rate(const struct scenario *scenario);

/*
 * Whether the options fit the scenario. ERR_INVALID: why[] says which do not, and what would do, as
 * a phrase for people.
 */
enum err scenario_check(const struct scenario *scenario, const struct scenario_options *options,
                        char why[SCENARIO_WHY_BYTES]);

/*
 * Run it. ERR_INVALID: scenario_check() says why; ERR_TIMEOUT: the clients did not all get their
 * welcome; ERR_CLOSED: one was refused. On OK *out has the figures, which may tell of violations.
 */
enum err scenario_run(const struct scenario *scenario, const struct scenario_options *options,
                      struct report *out);

static inline bool scenario_is_stopped(const struct scenario_options *options)
{
    /* Another thread or a signal sets it; relaxed: nothing else is read by it. */
    return options->is_stopped != NULL && __atomic_load_n(options->is_stopped, __ATOMIC_RELAXED);
}

#endif
