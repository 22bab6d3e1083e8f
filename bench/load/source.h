/*
 * source: which local address a client comes from, when one address alone runs out of ports.
 *
 * An address has some 28,000 ports towards one listener. On the loopback network of IPv4 there are
 * addresses in plenty, and each client gets one of its own block.
 *
 * Floor:  bench; pure.
 */
#ifndef TERN_BENCH_SOURCE_H
#define TERN_BENCH_SOURCE_H

#include "bench/load/load.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * Client `index` of `count`. False: one address is enough, or the broker is elsewhere, or the user
 * has said which (--ifaddr): the system or the user chooses.
 */
bool source_of(const struct load_config *config, uint32_t index, uint32_t count,
               struct address *out);

#endif
