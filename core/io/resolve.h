/*
 * resolve: host names of `listener` lines, by the system's resolver.
 *
 * Floor:  io. config.h knows no sockets: main() hands this down as config_sources.resolve, and the
 *         tests and the fuzzer never ask a name server.
 * Thread: any; blocks, for seconds when a name server is silent. At start and at reload only.
 */
#ifndef TERN_IO_RESOLVE_H
#define TERN_IO_RESOLVE_H

#include "core/base/config.h"

/* The IP addresses of name as text, each once. ERR_NOT_FOUND. */
enum err resolve_name(const char *name,
                      char addresses[LIMIT_LISTENER_ADDRESSES][CONFIG_ADDRESS_BYTES],
                      uint32_t *address_count);

#endif
