/*
 * sim_io: what the world needs to know about the ios behind the door.
 *
 * Floor:  tests.
 *
 * io_turn() rests the fiber of its shard (sim_fiber.h): the scheduler resumes it when
 * sim_io_wants_ns() says that there is something to do, plus a delay of the world's own.
 */
#ifndef TERN_SIM_SIM_IO_H
#define TERN_SIM_SIM_IO_H

#include <stdint.h>

struct io;

#define WALL_MS_START \
    UINT64_C(1800000000000) /* when the world begins, as clocks on walls have it */

/* When the io that rests in io_turn() would go on: a completion, a wake-up, its time limit. */
uint64_t sim_io_wants_ns(const struct io *io);

/* The node has crashed: the io and its streams are gone, without an event. */
void sim_io_crash(struct io *io);

#endif
