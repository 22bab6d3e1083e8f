#include "core/io/workers.h"

#include "core/base/assert.h"
#include "core/base/blocks.h"
#include "core/base/list.h"
#include "core/io/cpu.h"
#include "core/io/io.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

enum { THREADS_MAX = 64 };

struct workers {
    pthread_mutex_t lock;
    pthread_cond_t news;        /* there is work, or it is over */
    struct work *first, **last; /* waiting, oldest first */
    uint32_t waiting_count, waiting_max;
    bool is_background, is_over;
    uint32_t thread_count;
    pthread_t threads[THREADS_MAX];
};

static struct work *queue_pop(struct workers *workers)
{
    struct work *work = workers->first;
    if (work != NULL) {
        workers->first = work->next;
        if (workers->first == NULL) {
            workers->last = &workers->first;
        }
        workers->waiting_count--;
    }
    return work;
}

/*
 * Put it where its desk finds it, and wake the desk if it is the first there. Under the lock: when
 * workers_desk_close() has had it once, nobody is about to wake an io that is gone.
 */
static void hand_back(struct workers *workers, struct work *work)
{
    struct workers_desk *desk = work->desk;
    if (pile_push(&desk->done, &work->done_link) && desk->io != NULL && workers->thread_count > 0) {
        io_wake(NULL, desk->io);
    }
}

static void *thread_main(void *context)
{
    struct workers *workers = context;
    if (workers->is_background) {
        cpu_yield_to_others();
    }
    pthread_mutex_lock(&workers->lock);
    for (;;) {
        struct work *work = queue_pop(workers);
        if (work != NULL) {
            pthread_mutex_unlock(&workers->lock);
            work->run(work);
            pthread_mutex_lock(&workers->lock);
            hand_back(workers, work);
        } else if (workers->is_over) {
            break;
        } else {
            pthread_cond_wait(&workers->news, &workers->lock);
        }
    }
    pthread_mutex_unlock(&workers->lock);
    blocks_thread_end();
    return NULL;
}

struct workers *workers_new(uint32_t thread_count, uint32_t waiting_max, bool is_background)
{
    struct workers *workers = calloc(1, sizeof(*workers));
    if (workers == NULL) {
        return NULL;
    }
    pthread_mutex_init(&workers->lock, NULL);
    pthread_cond_init(&workers->news, NULL);
    workers->last = &workers->first;
    workers->waiting_max = waiting_max;
    workers->is_background = is_background;
    thread_count = thread_count < THREADS_MAX ? thread_count : THREADS_MAX;
    for (uint32_t i = 0; i < thread_count; i++) {
        if (pthread_create(&workers->threads[i], NULL, thread_main, workers) != 0) {
            workers_free(workers);
            return NULL;
        }
        workers->thread_count++;
    }
    return workers;
}

void workers_free(struct workers *workers)
{
    if (workers == NULL) {
        return;
    }
    pthread_mutex_lock(&workers->lock);
    workers->is_over = true;
    pthread_cond_broadcast(&workers->news);
    pthread_mutex_unlock(&workers->lock);
    for (uint32_t i = 0; i < workers->thread_count; i++) {
        pthread_join(workers->threads[i], NULL);
    }
    ASSERT(workers->first == NULL);
    pthread_cond_destroy(&workers->news);
    pthread_mutex_destroy(&workers->lock);
    free(workers);
}

void workers_desk_init(struct workers_desk *desk, struct workers *workers, struct io *io)
{
    *desk = (struct workers_desk){.workers = workers, .io = io};
}

enum err workers_submit(struct workers_desk *desk, struct work *work)
{
    struct workers *workers = desk->workers;
    enum err err = OK;
    work->desk = desk;
    work->next = NULL;
    pthread_mutex_lock(&workers->lock);
    if (workers->waiting_count >= workers->waiting_max) {
        err = ERR_BUSY;
    } else {
        *workers->last = work;
        workers->last = &work->next;
        workers->waiting_count++;
        pthread_cond_signal(&workers->news);
    }
    pthread_mutex_unlock(&workers->lock);
    desk->open_count += err == OK;
    return err;
}

/* Without threads: do now what waits, of this desk and of others, in the order it came. */
static void run_here(struct workers *workers)
{
    struct work *work;
    while (workers->thread_count == 0) {
        pthread_mutex_lock(&workers->lock);
        work = queue_pop(workers);
        pthread_mutex_unlock(&workers->lock);
        if (work == NULL) {
            return;
        }
        work->run(work);
        hand_back(workers, work);
    }
}

void workers_collect(struct workers_desk *desk)
{
    if (desk->open_count == 0) {
        return;
    }
    run_here(desk->workers);
    struct pile_link *link = pile_take(&desk->done);
    while (link != NULL) {
        struct work *work = CONTAINER_OF(link, struct work, done_link);
        link = link->next;
        ASSERT(desk->open_count > 0);
        desk->open_count--;
        work->done(work);
    }
}

bool workers_has_news(const struct workers_desk *desk)
{
    return desk->open_count > 0 &&
           (desk->workers->thread_count == 0 || !pile_is_empty(&desk->done));
}

void workers_desk_close(struct workers_desk *desk)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    while (desk->open_count > 0) {
        workers_collect(desk);
        if (desk->open_count > 0) {
            nanosleep(&pause, NULL);
        }
    }
    if (desk->workers != NULL) {
        pthread_mutex_lock(
            &desk->workers->lock); /* who handed back last has left, see hand_back() */
        pthread_mutex_unlock(&desk->workers->lock);
    }
}
