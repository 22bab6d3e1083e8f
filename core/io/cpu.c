#include "core/io/cpu.h"

#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

enum { NODES_MAX = 64 };

uint32_t cpu_usable(uint32_t *out, uint32_t out_count_max)
{
    cpu_set_t *mask = CPU_ALLOC(CPU_COUNT_MAX);
    size_t mask_bytes = CPU_ALLOC_SIZE(CPU_COUNT_MAX);
    uint32_t count = 0;

    if (mask != NULL && sched_getaffinity(0, mask_bytes, mask) == 0) {
        for (uint32_t cpu = 0; cpu < CPU_COUNT_MAX; cpu++) {
            if (!CPU_ISSET_S(cpu, mask_bytes, mask)) {
                continue;
            }
            if (count < out_count_max) {
                out[count] = cpu;
            }
            count++;
        }
    }
    CPU_FREE(mask);
    if (count == 0) { /* a mask we cannot read: the one we run on */
        if (out_count_max > 0) {
            out[0] = cpu_current();
        }
        return 1;
    }
    return count < out_count_max ? count : out_count_max;
}

enum err cpu_pin(uint32_t cpu)
{
    if (cpu >= CPU_COUNT_MAX) {
        return ERR_INVALID;
    }
    cpu_set_t *mask = CPU_ALLOC(CPU_COUNT_MAX);
    size_t mask_bytes = CPU_ALLOC_SIZE(CPU_COUNT_MAX);
    if (mask == NULL) {
        return ERR_NOMEM;
    }
    CPU_ZERO_S(mask_bytes, mask);
    CPU_SET_S(cpu, mask_bytes, mask);
    int rc = sched_setaffinity(0, mask_bytes, mask);
    enum err err = rc == 0 ? OK : err_from_errno(errno);
    CPU_FREE(mask);
    return err;
}

uint32_t cpu_node(uint32_t cpu)
{
    char path[96];
    for (uint32_t node = 0; node < NODES_MAX; node++) {
        snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%u/node%u", cpu, node);
        if (access(path, F_OK) == 0) {
            return node;
        }
    }
    return 0;
}

uint32_t cpu_current(void)
{
    int cpu = sched_getcpu();
    return cpu < 0 ? 0 : (uint32_t)cpu;
}

void cpu_yield_to_others(void)
{
    /* On Linux "a process" here is a thread. A refusal leaves it as it was: slower for others. */
    setpriority(PRIO_PROCESS, (id_t)gettid(), 10);
}
