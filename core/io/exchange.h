/*
 * exchange: one request and one answer over a connection of its own, for tools that have no ring.
 *
 * Floor:  io.
 * Thread: any; it waits, so never one that serves.
 */
#ifndef TERN_IO_EXCHANGE_H
#define TERN_IO_EXCHANGE_H

#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/base/slice.h"
#include "core/io/sock.h"

/*
 * Connect, send all of the request, and read until the other side ends the connection; within
 * timeout_ms altogether. The answer is added to out.
 *
 * ERR_TIMEOUT; ERR_TOO_LARGE: the answer has more than bytes_max; ERR_REFUSED, ERR_NOT_FOUND: nobody
 * listens; ERR_PERMISSION: not for this user; ERR_NOMEM; others of the system.
 */
enum err exchange(const struct address *to, struct slice request, uint32_t timeout_ms,
                  size_t bytes_max, struct buf *out);

#endif
