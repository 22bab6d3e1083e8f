/*
 * pair: two ends of a connection inside this process.
 *
 * Floor:  io.
 * Thread: any; no state.
 */
#ifndef TERN_IO_PAIR_H
#define TERN_IO_PAIR_H

#include "core/base/err.h"

#include <stdint.h>

/* Each handle is for io_attach() of some io, or for io_handle_close(). ERR_LIMIT: too many files. */
enum err pair_new(int64_t handles[2]);

#endif
