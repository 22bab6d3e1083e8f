/*
 * sim_heap: whose memory it is: what a node has allocated can be taken away from it at once.
 *
 * Floor:  tests; linked with --wrap, so that every malloc() and free() of the program passes here.
 * Thread: one.
 *
 * A crash runs no code of the node: no shard_close(), no destructor, nothing that could still write
 * a byte or give a promise. So what it had is found by looking at who ran when it was allocated. The
 * files of tests/sim/ allocate behind the wrapping (CMakeLists.txt): what a door gives out is theirs.
 */
#ifndef TERN_SIM_SIM_HEAP_H
#define TERN_SIM_SIM_HEAP_H

#include <stdint.h>

/* From here on what is allocated belongs to the node. */
void sim_heap_enter(void);
void sim_heap_leave(void);

/* All that belongs to it is gone. How many pieces that were. */
uint64_t sim_heap_crash(void);

#endif
