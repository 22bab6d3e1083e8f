/*
 * ledger: how many bytes the broker keeps in memory, by what keeps them.
 *
 * Whatever clients can make grow is entered here by who takes the memory, and struck out by who gives
 * it back; `memory_limit` is held against the sum (broker/ceiling.h).
 *
 * Floor:  base.
 * Thread: any; what one entered another may strike out.
 * Memory: one number for each use and thread, one for all.
 */
#ifndef TERN_BASE_LEDGER_H
#define TERN_BASE_LEDGER_H

#include <stddef.h>
#include <stdint.h>

/* Bytes that are kept by           name (metrics, $SYS, /health) */
#define LEDGER_USES(X)                                                                           \
    X(LEDGER_MESSAGES, "messages") /* queued, in flight, retained, received and sent just now */ \
    X(LEDGER_RETAINED, "retained_topics") /* the tree of them; their messages are above */       \
    X(LEDGER_SUBSCRIPTIONS, "subscriptions")                                                     \
    X(LEDGER_SESSIONS, "sessions")                                                               \
    X(LEDGER_CONNECTIONS, "connections")

#define LEDGER_USE(use, name) use,
enum ledger_use { LEDGER_USES(LEDGER_USE) LEDGER_USE_COUNT };
#undef LEDGER_USE

const char *ledger_name(enum ledger_use use);

/* Bytes more, or less. */
void ledger_add(enum ledger_use use, int64_t bytes);

/* Exact to 64 KiB for each thread: what this one entered is in it at once. */
uint64_t ledger_bytes(enum ledger_use use);
uint64_t ledger_total(void); /* exact to as much for each use */

/* What a block from malloc() weighs: glibc keeps 8 bytes beside it, in steps of 16, 32 at least. */
static inline int64_t ledger_block(size_t count)
{
    size_t bytes = (count + 8 + 15) & ~(size_t)15;
    return bytes < 32 ? 32 : (int64_t)bytes;
}

#endif
