/*
 * How large a ring may be. Its memory is locked, and what a user without CAP_IPC_LOCK may lock is
 * bounded (8 MiB on many systems) for all its processes together. A ring that was freed counts
 * until the kernel has got round to it, so a refusal may be gone a moment later.
 */
#include "core/io/uring_sys.h"

#include "core/io/cpu.h"
#include "core/io/sys.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum {
    ENTRY_BYTES = 64 + 4 + SYS_CQ_PER_SQ * 16, /* of both queues, for each entry of the first */
    RETRIES_MAX = 25,
    RETRY_NS = 10 * 1000 * 1000,
    CAPABILITY_IPC_LOCK = 14,
    STATUS_BYTES = 8192,
};

static bool is_exempt(void)
{
    char text[STATUS_BYTES];
    size_t count;
    if (sys_read_file("/proc/self/status", text, sizeof(text) - 1, &count) != OK) {
        return false;
    }
    text[count] = '\0';
    const char *at = strstr(text, "CapEff:");
    return at != NULL && ((strtoull(at + 7, NULL, 16) >> CAPABILITY_IPC_LOCK) & 1) != 0;
}

uint32_t sys_ring_entries(void)
{
    uint32_t cpus[CPU_COUNT_MAX];
    struct rlimit limit;
    uint32_t entries = SYS_RING_ENTRIES;

    if (getrlimit(RLIMIT_MEMLOCK, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY || is_exempt()) {
        return entries;
    }
    /* A shard on each core; half of the limit stays for others of the same user. */
    uint64_t share_bytes = limit.rlim_cur / 2 / cpu_usable(cpus, CPU_COUNT_MAX);
    while (entries > SYS_RING_ENTRIES_MIN && (uint64_t)entries * ENTRY_BYTES > share_bytes) {
        entries /= 2;
    }
    return entries;
}

int sys_ring_init(struct io_uring *ring, uint32_t entries)
{
    uint32_t retries = 0;
    for (;;) {
        struct io_uring_params params = {
            .flags = SYS_RING_FLAGS,
            .cq_entries = entries * SYS_CQ_PER_SQ,
        };
        int rc = io_uring_queue_init_params(entries, ring, &params);
        if (rc != -ENOMEM || retries == RETRIES_MAX) {
            return rc;
        }
        if (entries / 2 >= SYS_RING_ENTRIES_MIN) {
            entries /= 2;
        } else {
            retries++;
            nanosleep(&(struct timespec){.tv_nsec = RETRY_NS}, NULL);
        }
    }
}
