/*
 * classic: `tern-bench conn`, `pub` and `sub`, with the flags and the lines that users of
 * emqtt-bench know.
 *
 *      3s pub total=600 rate=200.00/sec           what has changed, once a second
 *      3s latency p50=0.110ms p99=0.840ms max=1.200ms
 *
 * A client publishes at moments of its own, every -I ms from its first message on, and latency
 * counts from that moment, not from when there was time to send: a broker that stalls shows it.
 * What cannot leave in time leaves late, and is counted as pub_overrun.
 *
 * Latency is measured where publisher and subscriber are of one machine and messages carry our stamp
 * (-s 24 or more, without -m), and by the header ts (--payload-hdrs), by the calendar clock in ms.
 *
 * Floor:  bench.
 * Thread: the caller; one load, one thread.
 */
#ifndef TERN_BENCH_CLASSIC_H
#define TERN_BENCH_CLASSIC_H

#include "bench/command/options.h"

#include <stdbool.h>

/*
 * Run until the time is over, the limit is reached or *is_stopped. Returns the exit code: 0 when no
 * client was refused or lost; what is wrong has been said on standard error.
 */
int classic_command(const struct options *options, const volatile bool *is_stopped);

#endif
