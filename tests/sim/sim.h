/*
 * sim: one world of virtual time: a node with its shards, a network, clients, and one seed.
 *
 * Floor:  tests; stands on core/ as cluster/ does.
 * Thread: one. Every shard is a fiber; who takes the next turn, and when, is drawn from the seed.
 *
 *     sim_new ──> actors are added ──> sim_run_until(...) ... ──> sim_free
 *
 * An actor is whoever takes turns: a shard or a client. It says when it would like the next one;
 * the world adds a delay of its own, so that mail, packets and timers meet in every order.
 *
 * Every event goes through sim_trace(): the lines are hashed, and shown when wanted. The same seed
 * gives the same lines.
 */
#ifndef TERN_SIM_SIM_H
#define TERN_SIM_SIM_H

#include "core/base/config.h"
#include "core/base/rng.h"
#include "tests/sim/sim_plan.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define SIM_US UINT64_C(1000)
#define SIM_MS UINT64_C(1000000)
#define SIM_S  UINT64_C(1000000000)

enum { SIM_ACTORS_MAX = 64, SIM_PORT = 1883, SIM_WHY_MAX = 512 };

struct sim_actor {
    char name[16];
    uint64_t (*wants_ns)(void *object); /* when it has something to do; UINT64_MAX: nothing */
    void (*turn)(void *object);
    void *object;
    uint64_t not_before_ns; /* the world's delay */
    uint32_t slowness;      /* in a storm its delays are so many times as long; 0: once */
    bool is_held;           /* a story lets it wait */
};

struct sim_options {
    uint64_t seed;
    uint32_t shard_count;
    bool is_durable;           /* the node has a disk */
    struct plan plan;          /* what goes wrong with it */
    bool show;                 /* print the trace */
    FILE *trace;               /* where to; NULL: stdout */
    const char *config;        /* more lines of configuration; NULL: none */
    uint32_t stream_count_max; /* of each shard; 0: plenty */
    bool is_still;             /* stories: no delays but the least, nothing at random */
};

struct sim {
    struct sim_options options;
    struct rng rng; /* all chance of the world itself */
    uint64_t now_ns;
    uint64_t step_count;
    uint64_t trace_hash;
    struct sim_actor actors[SIM_ACTORS_MAX];
    uint32_t actor_count;
    bool is_mute;          /* lines are hashed, but not shown */
    bool is_stormy;        /* faults and long delays may happen */
    bool disk_is_bad;      /* full, or failing: what lasts may be refused */
    bool lead_is_bad;      /* partitions are absent, or were a moment ago */
    int64_t wall_shift_ms; /* the wall clock against the world's */
    struct net *net;
    struct config *config;
    struct sim_node *node;
    bool has_failed;
    char why[SIM_WHY_MAX]; /* the first broken promise */
};

/* The world that io_new() belongs to: the door has no argument for it. One at a time. */
extern struct sim *sim_world;

struct sim *sim_new(const struct sim_options *options);
void sim_free(struct sim *sim); /* accepts NULL */

struct sim_actor *sim_actor_add(struct sim *sim, const char *name, void *object,
                                uint64_t (*wants_ns)(void *object), void (*turn)(void *object));

/* Take turns until that virtual time, or until something failed. */
void sim_run_until(struct sim *sim, uint64_t until_ns);

/* Take turns until is_true says so, at most limit_ns. false: it never did. */
bool sim_run_while(struct sim *sim, bool (*goes_on)(void *context), void *context,
                   uint64_t limit_ns);

/* One turn of somebody's. false: nobody has anything to do before that time. */
/* The node may refuse what lasts. */
bool sim_may_refuse(const struct sim *sim);

bool sim_step(struct sim *sim, uint64_t until_ns);

/* A promise was broken: keep the first one. The run ends at the next turn. */
void sim_fail(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));

void sim_trace(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Chance. */
uint64_t sim_below(struct sim *sim, uint64_t bound);
bool sim_chance(struct sim *sim, uint32_t percent);
uint64_t sim_between(struct sim *sim, uint64_t low, uint64_t high); /* both included */

#endif
