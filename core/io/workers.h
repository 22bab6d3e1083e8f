/*
 * workers: a few threads for work that would stall a shard: password hashes, RSA signatures.
 *
 *     shard: workers_submit(desk, work) ──> queue ──> worker: work->run
 *     shard: workers_collect(desk)      <── done list of the desk <── io_wake
 *              └──> work->done
 *
 * Floor:  io.
 * Thread: a desk belongs to one thread, which submits and collects; run happens elsewhere.
 * Memory: a work belongs to workers from submit until done is called.
 *
 * With no threads at all (the simulator, unit tests) run happens in workers_collect(): the same code,
 * one thread.
 */
#ifndef TERN_IO_WORKERS_H
#define TERN_IO_WORKERS_H

#include "core/base/err.h"
#include "core/base/pile.h"

#include <stdbool.h>
#include <stdint.h>

struct io;
struct workers;

struct work {
    void (*run)(struct work *work);  /* in a worker's thread: touches nothing of the shard */
    void (*done)(struct work *work); /* in the desk's thread, in workers_collect(); owns it again */
    struct work *next;               /* private: of those that wait */
    struct pile_link done_link;      /* private */
    struct workers_desk *desk;       /* private */
};

/* Where a shard hands in work and fetches it back. Initialised by workers_desk_init(). */
struct workers_desk {
    struct workers *workers;
    struct io *io;       /* woken when work is done */
    struct pile done;    /* what workers have done */
    uint32_t open_count; /* submitted and not collected yet */
};

/*
 * thread_count 0: none, see above. waiting_max: works that wait, over all desks. is_background: its
 * threads yield to everybody else's (nice 10). NULL: memory, or no threads to be had.
 */
struct workers *workers_new(uint32_t thread_count, uint32_t waiting_max, bool is_background);

/* Ends the threads; nothing may be under way: every desk has been closed. Accepts NULL. */
void workers_free(struct workers *workers);

void workers_desk_init(struct workers_desk *desk, struct workers *workers, struct io *io);

/* ERR_BUSY: too many wait; the work is still the caller's. */
enum err workers_submit(struct workers_desk *desk, struct work *work);

/* Call done of everything that is. Once per turn of the desk's thread. */
void workers_collect(struct workers_desk *desk);

/* With no threads there may be work left that nobody wakes the shard for. */
bool workers_has_news(const struct workers_desk *desk);

/* Wait until all of the desk's work is done, and collect it. io is not touched any more. */
void workers_desk_close(struct workers_desk *desk);

#endif
