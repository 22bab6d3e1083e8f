/*
 * Invariants
 *   I1  a job is in one place: waiting, in the hands of run, on its desk's list of given ones, or its
 *       submitter's. next links it in the first and the third, and is run's own in the second.
 *   I2  jobs of one desk are handed to run in the order they were submitted in, and done is called
 *       in the order they were given back in.
 *   I3  who gives back holds `door` from the push to the end of the wake-up: lane_desk_close() passes
 *       through it once, so that nobody is about to wake an io that is gone. Submitting takes `lock`
 *       alone, which is never held across a system call other than the wake-up of the lane.
 */
#include "storage/lane.h"

#include "core/base/assert.h"
#include "core/base/blocks.h"
#include "core/base/list.h"
#include "core/io/io.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

struct lane {
    struct lane_config config;
    pthread_mutex_t lock; /* first, last, is_waiting, is_woken, is_over */
    pthread_cond_t news;  /* jobs wait, or it was woken, or it is over; on the monotonic clock */
    struct job *first, **last; /* waiting, oldest first */
    bool is_waiting;           /* the thread is in its wait: a signal is needed */
    bool is_woken, is_over;
    pthread_mutex_t door; /* I3 */
    uint64_t now_ns;      /* the lane's thread alone */
    pthread_t thread;
    bool has_thread; /* it was started */
};

static uint64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t lane_now_ns(const struct lane *lane)
{
    return lane->now_ns;
}

uint64_t lane_clock_ns(const struct lane *lane)
{
    return lane->config.has_thread ? clock_ns() : lane->now_ns;
}

void *lane_owner(const struct lane *lane)
{
    return lane->config.owner;
}

/* ---- the lane's side ------------------------------------------------------------------------ */

static uint64_t wake_ns(const struct lane *lane)
{
    return lane->config.wake_ns == NULL ? UINT64_MAX : lane->config.wake_ns(lane->config.owner);
}

static struct job *take_all(struct lane *lane)
{
    struct job *jobs = lane->first;
    lane->first = NULL;
    lane->last = &lane->first;
    lane->is_woken = false;
    return jobs;
}

/* Under the lock. Until there is something to do, or at_ns has come. */
static void wait_for_news(struct lane *lane, uint64_t at_ns)
{
    const struct timespec at = {.tv_sec = (time_t)(at_ns / 1000000000u),
                                .tv_nsec = (long)(at_ns % 1000000000u)};
    int over = 0;

    lane->is_waiting = true;
    while (lane->first == NULL && !lane->is_woken && !lane->is_over && over == 0) {
        over = at_ns == UINT64_MAX ? pthread_cond_wait(&lane->news, &lane->lock)
                                   : pthread_cond_timedwait(&lane->news, &lane->lock, &at);
    }
    lane->is_waiting = false;
}

static void *thread_main(void *context)
{
    struct lane *lane = context;
    bool is_over = false;

    pthread_setname_np(pthread_self(), lane->config.name);
    while (!is_over) {
        uint64_t at_ns = wake_ns(lane);
        pthread_mutex_lock(&lane->lock);
        wait_for_news(lane, at_ns);
        struct job *jobs = take_all(lane);
        is_over = lane->is_over && jobs == NULL;
        pthread_mutex_unlock(&lane->lock);
        lane->now_ns = clock_ns();
        if (!is_over) {
            lane->config.run(lane->config.owner, jobs);
        }
    }
    blocks_thread_end();
    return NULL;
}

bool lane_turn(struct lane *lane, uint64_t now_ns)
{
    ASSERT(!lane->config.has_thread);
    lane->now_ns = now_ns;
    if (lane->first == NULL && !lane->is_woken && wake_ns(lane) > now_ns) {
        return false;
    }
    lane->config.run(lane->config.owner, take_all(lane));
    return true;
}

uint64_t lane_turn_ns(const struct lane *lane)
{
    ASSERT(!lane->config.has_thread);
    return lane->first != NULL || lane->is_woken ? 0 : wake_ns(lane);
}

void lane_give_back(struct job *job, enum err err)
{
    struct lane_desk *desk = job->desk;
    struct lane *lane = desk->lane;

    job->err = err;
    pthread_mutex_lock(&lane->door); /* I3 */
    if (pile_push(&desk->given, &job->given_link) && desk->io != NULL) {
        io_wake(NULL, desk->io);
    }
    pthread_mutex_unlock(&lane->door);
}

/* ---- the desk's side ------------------------------------------------------------------------ */

void lane_desk_init(struct lane_desk *desk, struct lane *lane, struct io *io)
{
    *desk = (struct lane_desk){.lane = lane, .io = io};
}

void lane_submit(struct lane_desk *desk, struct job *job)
{
    struct lane *lane = desk->lane;
    job->desk = desk;
    job->next = NULL;
    desk->open_count++;
    pthread_mutex_lock(&lane->lock);
    ASSERT(!lane->is_over);
    *lane->last = job;
    lane->last = &job->next;
    bool is_waiting = lane->is_waiting;
    lane->is_waiting = false; /* one signal is enough */
    pthread_mutex_unlock(&lane->lock);
    if (is_waiting) {
        pthread_cond_signal(&lane->news);
    }
}

void lane_wake(struct lane *lane)
{
    pthread_mutex_lock(&lane->lock);
    lane->is_woken = true;
    pthread_mutex_unlock(&lane->lock);
    pthread_cond_signal(&lane->news);
}

void lane_collect(struct lane_desk *desk)
{
    if (desk->open_count == 0) {
        return;
    }
    struct pile_link *link = pile_take(&desk->given);
    while (link != NULL) {
        struct job *job = CONTAINER_OF(link, struct job, given_link);
        link = link->next;
        ASSERT(desk->open_count > 0);
        desk->open_count--;
        job->done(job, job->err);
    }
}

bool lane_has_news(const struct lane_desk *desk)
{
    return !pile_is_empty(&desk->given);
}

void lane_desk_leave_io(struct lane_desk *desk)
{
    pthread_mutex_lock(&desk->lane->door); /* I3 */
    desk->io = NULL;
    pthread_mutex_unlock(&desk->lane->door);
}

void lane_desk_close(struct lane_desk *desk)
{
    struct lane *lane = desk->lane;
    const struct timespec pause = {.tv_nsec = 200000};
    if (lane == NULL) {
        return; /* never opened */
    }
    lane_desk_leave_io(desk);
    while (desk->open_count > 0) {
        lane_collect(desk);
        if (desk->open_count == 0) {
            break;
        }
        if (!lane->config.has_thread) {
            uint64_t at_ns = lane_turn_ns(lane); /* time goes on as it wants */
            bool is_later = at_ns > lane->now_ns && at_ns != UINT64_MAX;
            lane_turn(lane, is_later ? at_ns : lane->now_ns);
        } else {
            nanosleep(&pause, NULL);
        }
    }
    pthread_mutex_lock(&lane->door); /* who gave back last has left */
    pthread_mutex_unlock(&lane->door);
    desk->lane = NULL;
}

/* ---- making and ending ---------------------------------------------------------------------- */

enum err lane_new(const struct lane_config *config, struct lane **out)
{
    struct lane *lane = calloc(1, sizeof(*lane));
    pthread_condattr_t monotonic;
    if (lane == NULL) {
        return ERR_NOMEM;
    }
    lane->config = *config;
    lane->last = &lane->first;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&lane->news, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&lane->lock, NULL);
    pthread_mutex_init(&lane->door, NULL);
    *out = lane; /* run may look for it at once */
    lane->has_thread = config->has_thread &&
                       pthread_create(&lane->thread, NULL, thread_main, lane) == 0;
    if (lane->has_thread != config->has_thread) {
        *out = NULL;
        lane_free(lane);
        return ERR_NOMEM;
    }
    return OK;
}

void lane_free(struct lane *lane)
{
    if (lane == NULL) {
        return;
    }
    if (lane->has_thread) {
        pthread_mutex_lock(&lane->lock);
        lane->is_over = true;
        pthread_mutex_unlock(&lane->lock);
        pthread_cond_signal(&lane->news);
        pthread_join(lane->thread, NULL);
    } else if (lane->first != NULL) {
        lane->config.run(lane->config.owner, take_all(lane));
    }
    ASSERT(lane->first == NULL);
    pthread_cond_destroy(&lane->news);
    pthread_mutex_destroy(&lane->lock);
    pthread_mutex_destroy(&lane->door);
    free(lane);
}
