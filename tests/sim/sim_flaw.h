/*
 * sim_flaw: flaws that are built into the node on purpose, at its doors and ports, to see the checker
 * find each of them. A check that never fails proves nothing.
 *
 * Floor:  tests.
 */
#ifndef TERN_SIM_SIM_FLAW_H
#define TERN_SIM_SIM_FLAW_H

#include "core/broker/broker.h"

#include <stdbool.h>
#include <stdint.h>

/* clang-format off */
#define FLAW_TABLE(X)                                                                             \
    /* name               what is wrong                                                        */ \
    X(FLAW_NONE,          "nothing")                                                              \
    X(FLAW_TOLD_EARLY,    "acknowledgements do not wait for the disk")                            \
    X(FLAW_NO_SYNC,       "a sync of the log does nothing")                                       \
    X(FLAW_NO_FLUSH,      "a flush of the state does nothing, and the log is cut")                \
    X(FLAW_REPLAY_SKIPS,  "what a start reads from the log does not reach the state")             \
    X(FLAW_CLOCK_AT_ZERO, "the clock of expiry begins at 0 at each start")                        \
    X(FLAW_BLIND,         "damage in a map's files goes unnoticed")                               \
    X(FLAW_OP_OPEN,       "some OP_OPEN are not logged")                                          \
    X(FLAW_OP_CLOSE,      "some OP_CLOSE are not logged")                                         \
    X(FLAW_OP_END,        "some OP_END are not logged")                                           \
    X(FLAW_OP_SUBSCRIBE,  "some OP_SUBSCRIBE are not logged")                                     \
    X(FLAW_OP_UNSUBSCRIBE, "some OP_UNSUBSCRIBE are not logged")                                  \
    X(FLAW_OP_ENQUEUE,    "some OP_ENQUEUE are not logged")                                       \
    X(FLAW_OP_SETTLE,     "some OP_SETTLE are not logged")                                        \
    X(FLAW_OP_SEEN,       "some OP_SEEN are not logged")                                          \
    X(FLAW_OP_RELEASE,    "some OP_RELEASE are not logged")                                       \
    X(FLAW_OP_RETAIN,     "some OP_RETAIN are not logged")                                        \
    X(FLAW_OP_WILL,       "some OP_WILL are not logged")                                          \
    X(FLAW_OP_SEND,       "some OP_SEND are not logged")                                          \
    X(FLAW_OP_SENT,       "some OP_SENT are not logged")                                          \
    X(FLAW_OP_RECEIVED,   "some OP_RECEIVED are not logged")
/* clang-format on */

#define FLAW_NAME(name, words) name,
enum flaw { FLAW_TABLE(FLAW_NAME) FLAW_COUNT };
#undef FLAW_NAME

extern const char *const flaw_words[FLAW_COUNT];

/* Of all worlds that are made from here on. */
void flaw_set(enum flaw flaw);
bool flaw_is(enum flaw flaw);

/* The port of node_store.h, with the flaw. */
enum err flaw_journal_new(void *context, struct io *io, uint32_t shard, struct journal **out,
                          uint64_t *wall_ms, struct broker_failure *failure);

#endif
