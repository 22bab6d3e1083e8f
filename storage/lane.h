/*
 * lane: one thread that does the blocking work of many, all that waits at a time.
 *
 *     shard: lane_submit(desk, job) ──> what waits ──> lane: run(owner, jobs)
 *     shard: lane_collect(desk)     <── given back  <── lane_give_back(job, err)
 *              └──> job->done
 *
 * While one run blocks on the disk the next one gathers: that is the group commit (no timer). As
 * core/io/workers, but for that.
 *
 * Floor:  storage.
 * Thread: a desk belongs to one thread, which submits and collects; run happens in the lane's.
 * Memory: a job belongs to the lane from submit until done is called.
 */
#ifndef TERN_STORAGE_LANE_H
#define TERN_STORAGE_LANE_H

#include "core/base/err.h"
#include "core/base/pile.h"

#include <stdbool.h>
#include <stdint.h>

struct io;
struct lane;

struct job {
    void (*done)(struct job *job, enum err err); /* in the desk's thread; owns it again */
    struct job *next;                            /* run: the next younger one */
    struct pile_link given_link;                 /* private */
    struct lane_desk *desk;                      /* private */
    enum err err;                                /* private */
};

struct lane_desk {
    struct lane *lane;
    struct io *io;       /* woken when jobs were given back; NULL: nobody is */
    struct pile given;   /* what came back */
    uint32_t open_count; /* submitted and not collected */
};

struct lane_config {
    /* jobs: all that waited, oldest first, NULL when wake_ns passed without any. Each is to be given
     * back, in this run or in a later one; read its next before that. */
    void (*run)(void *owner, struct job *jobs);
    void *owner;
    /* When run wants to be called at the latest, jobs or not; UINT64_MAX: never. Monotonic ns. Asked
     * after each run and before the first, in the lane's thread. NULL: never. */
    uint64_t (*wake_ns)(void *owner);
    const char *name; /* of the thread, at most 15 characters */
    bool has_thread;  /* false: the simulator calls lane_turn() */
};

/* *out is set before the thread begins, and is NULL after ERR_NOMEM. */
enum err lane_new(const struct lane_config *config, struct lane **out);
/* Does what waits, then ends the thread. No desk is open, but those that only the owner of the lane
 * uses: it collects what they are owed. Accepts NULL. */
void lane_free(struct lane *lane);

/* Without a thread: one run, if there is anything to do; false: there was not. */
bool lane_turn(struct lane *lane, uint64_t now_ns);
/* When there will be: 0: now; UINT64_MAX: not as things stand. */
uint64_t lane_turn_ns(const struct lane *lane);

/* For run: monotonic ns at its begin; and read anew, to tell how long work took. Without a thread
 * both are what lane_turn() was told. */
uint64_t lane_now_ns(const struct lane *lane);
uint64_t lane_clock_ns(const struct lane *lane);

/* Call run soon, jobs or not. Any thread. */
void lane_wake(struct lane *lane);

void *lane_owner(const struct lane *lane); /* of its configuration */

void lane_desk_init(struct lane_desk *desk, struct lane *lane, struct io *io);
void lane_submit(struct lane_desk *desk, struct job *job);
void lane_give_back(struct job *job, enum err err); /* in run */
/* Call done of all that was given back, in that order. done may submit, and is not called again
 * for what was given back meanwhile. */
void lane_collect(struct lane_desk *desk);
bool lane_has_news(const struct lane_desk *desk);
void lane_desk_leave_io(struct lane_desk *desk); /* its io is not touched any more */
/* Wait until all of the desk's jobs are given back, and collect them. io is not touched any more. */
void lane_desk_close(struct lane_desk *desk);

#endif
