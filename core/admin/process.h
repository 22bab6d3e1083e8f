/*
 * process: what the system says about this process, for /metrics.
 *
 * Floor:  admin.
 * Thread: any; no state.
 */
#ifndef TERN_ADMIN_PROCESS_H
#define TERN_ADMIN_PROCESS_H

#include <stdint.h>

struct process_figures {
    double cpu_seconds; /* user and system, of all threads */
    uint64_t resident_bytes;
    uint64_t virtual_bytes;
    uint64_t open_fds;
    uint64_t open_fds_max;
};

/* What the system does not tell is 0. */
void process_read(struct process_figures *out);

#endif
