/*
 * agent: `tern-bench agent`: generators that wait for a leader, run its job, and wait again.
 *
 *     tern-bench agent --listen 10.0.0.2:7883 --agent-key SECRET
 *     tern-bench run pairs --rate 1M --agents 10.0.0.2:7883,10.0.0.3:7883 --agent-key SECRET
 *
 * An agent does what whoever reaches its port says: MQTT load against the target it is told, and
 * nothing else: no command, no file. So it listens on 127.0.0.1 unless told otherwise; with a key it
 * works only for who knows it. The key is compared in constant time, and goes over the wire as it
 * is: it keeps strangers out of a laboratory's network, and does not replace one.
 *
 * Floor:  bench.
 * Thread: the caller, which serves; generators get threads of their own.
 */
#ifndef TERN_BENCH_AGENT_H
#define TERN_BENCH_AGENT_H

#include "bench/crew/crew.h"
#include "core/io/sock.h"

#include <stdio.h>

struct agent_options {
    struct address listen; /* port 0: the kernel's choice, which is told */
    const char *key;       /* NULL: none is asked for */
    uint32_t thread_count; /* generators here, 1 to CREW_THREADS_MAX */
    FILE *log; /* "tern-bench agent: listening on 127.0.0.1:7883", and a line per thing it does */
};

/*
 * Serve one leader after another until *is_stopped. ERR_EXISTS, ERR_PERMISSION, ERR_INVALID: cannot
 * listen there; others as io_new().
 */
enum err agent_serve(const struct agent_options *options, const volatile bool *is_stopped);

/* `tern-bench agent`. Returns the exit code; what is wrong has been said on standard error. */
struct options;
int agent_command(const struct options *options, const volatile bool *is_stopped);

#endif
