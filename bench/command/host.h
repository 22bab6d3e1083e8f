/*
 * host: from what a user calls a machine to its address.
 *
 * Floor:  bench.
 * Thread: any; a look-up blocks.
 */
#ifndef TERN_BENCH_HOST_H
#define TERN_BENCH_HOST_H

#include "core/base/err.h"
#include "core/io/sock.h"

enum { HOST_PROBLEM_BYTES = 256 };

/*
 * An address, the path of a Unix socket, or a name. Of the addresses of a name the first one is
 * taken that accepts a connection to port, else the first: localhost is often two of them, and only
 * one is listened at. port 0: nothing is tried.
 *
 * ERR_NOT_FOUND: there is no such host; problem says so with the name ("" on OK).
 */
enum err host_find(const char *host, uint16_t port, struct address *out,
                   char problem[HOST_PROBLEM_BYTES]);

/*
 * "host:port", "[::1]:port", or a port alone, which is 127.0.0.1. ERR_INVALID: no port from 0 to
 * 65535 in it; else as host_find() without trying.
 */
enum err host_find_port(const char *text, struct address *out, char problem[HOST_PROBLEM_BYTES]);

#endif
