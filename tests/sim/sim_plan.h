/*
 * sim_plan: what can go wrong with the disk and the clock of a node, and which of it a seed chose.
 *
 * Floor:  tests.
 *
 * A plan is a set of them. Each seed of --durable draws its own, often none: the fewer faults, the less
 * is excused.
 */
#ifndef TERN_SIM_SIM_PLAN_H
#define TERN_SIM_SIM_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* clang-format off */
#define PLAN_TABLE(X)                                                                             \
    /* name            percent  in words                                                        */ \
    X(PLAN_ERRORS,     15, "the disk fails")                                                      \
    X(PLAN_FULL,       20, "the disk fills up")                                                   \
    X(PLAN_STALLS,     25, "the disk stalls")                                                     \
    X(PLAN_FLIPS,      15, "bits turn over")                                                      \
    X(PLAN_BAD_STARTS, 20, "a start fails half way")                                              \
    X(PLAN_RESHARDS,   35, "another number of shards after a start")                              \
    X(PLAN_CLOCK,      25, "the wall clock jumps")                                                \
    X(PLAN_WHOLE_LOG,  50, "the log is never cut, and compared with the state")                   \
    X(PLAN_READS,      15, "reads fail")                                                          \
    X(PLAN_BACKLOG,    20, "little may wait for the disk")                                        \
    X(PLAN_QUORUM,     12, "durability quorum")                                                   \
    X(PLAN_RELAXED,    8,  "durability relaxed")                                                  \
    X(PLAN_FLAPS,      35, "partitions are lost, and led again")                                  \
    X(PLAN_GRACE,      50, "wills wait for who lost the leader")
/* clang-format on */

#define PLAN_NAME(name, percent, words) name,
enum plan_what { PLAN_TABLE(PLAN_NAME) PLAN_COUNT };
#undef PLAN_NAME

struct rng;

struct plan {
    bool has[PLAN_COUNT];
};

void plan_draw(struct plan *plan, struct rng *rng);

/* In words, for people. */
void plan_text(const struct plan *plan, char *out, size_t out_bytes);

#endif
