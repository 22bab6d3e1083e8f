/*
 * footprint: what the broker and the kernel hold, before and after a scenario has put things there.
 *
 * The broker's is resident memory of its process. The kernel's is all of its small objects (slab)
 * and stacks, of the whole machine: sockets, their inodes and files, armed io_uring requests. So it
 * takes thousands of connections to stand out from what else goes on, and with both ends on this
 * machine both ends are in it. Bytes waiting in sockets are not, and there are none when all is
 * silent. A broker on another machine has no kernel share that we could see.
 *
 * Floor:  bench; knows target.
 * Thread: any.
 */
#ifndef TERN_BENCH_FOOTPRINT_H
#define TERN_BENCH_FOOTPRINT_H

#include "bench/scenario/scenario.h"

/* How long things are let settle before they are weighed. */
#define FOOTPRINT_SETTLE_NS ((uint64_t)1000000000)

/*
 * target_before and, if what is to be weighed are connections, kernel_bytes_before; what cannot be
 * known stays 0.
 */
void footprint_before(const struct scenario_options *options, bool is_of_connections,
                      struct report *report);

/* The same afterwards; has_target is true when the broker could be read both times. */
void footprint_after(const struct scenario_options *options, struct report *report);

/* Slab and kernel stacks of this machine, bytes; 0: unknown. */
uint64_t footprint_kernel_bytes(void);

#endif
