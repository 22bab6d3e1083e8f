#include "core/base/ledger.h"

#include "core/base/assert.h"
#include "core/limits.h"

#include <stdatomic.h>

/*
 * One number for the whole process, but a shard that makes and frees a million messages a second must
 * not touch a shared line each time: every thread gathers its difference and adds it when it exceeds a
 * step. A thread may free what another one made, so a difference, and for a moment the number, may be
 * negative.
 */
enum { STEP_BYTES = 64 * 1024 };
static struct {
    /* Read for each message by all: alone, or whatever the linker puts beside it would move it. */
    _Alignas(LIMIT_APART_BYTES) _Atomic int64_t bytes[LEDGER_USE_COUNT];
} shared;
_Static_assert(sizeof(shared) == LIMIT_APART_BYTES, "nothing else is on its lines");
static _Thread_local int64_t own[LEDGER_USE_COUNT];

const char *ledger_name(enum ledger_use use)
{
#define LEDGER_USE(use, name) [use] = name,
    static const char *const names[] = {LEDGER_USES(LEDGER_USE)};
#undef LEDGER_USE
    ASSERT(use < LEDGER_USE_COUNT);
    return names[use];
}

void ledger_add(enum ledger_use use, int64_t bytes)
{
    own[use] += bytes;
    if (own[use] >= STEP_BYTES || own[use] <= -STEP_BYTES) {
        /* Relaxed: a statistic, orders nothing. */
        atomic_fetch_add_explicit(&shared.bytes[use], own[use], memory_order_relaxed);
        own[use] = 0;
    }
}

static int64_t seen(enum ledger_use use)
{
    return atomic_load_explicit(&shared.bytes[use], memory_order_relaxed) + own[use];
}

uint64_t ledger_bytes(enum ledger_use use)
{
    int64_t bytes = seen(use);
    return bytes > 0 ? (uint64_t)bytes : 0;
}

uint64_t ledger_total(void)
{
    int64_t bytes = 0;
    for (enum ledger_use use = 0; use < LEDGER_USE_COUNT; use++) {
        bytes += seen(use);
    }
    return bytes > 0 ? (uint64_t)bytes : 0;
}
