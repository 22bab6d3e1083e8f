#include "bench/command/metrics_watch.h"

#include "bench/load/load.h"
#include "core/base/assert.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PAGES_MAX = 86400, URL_BYTES = 512 };

struct page {
    uint64_t at_ns;
    struct target_usage usage;
};

/* What stands below the lock is shared by the caller and the thread, and touched under it. */
struct metrics_watch {
    char url[URL_BYTES];
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool is_stopped;
    bool has_account;
    struct target_account first, last; /* of the run; the latest one */
    struct page *pages;
    uint32_t page_count;
};

/* The lock is held. A page that finds no memory is left out. */
static void keep_page(struct metrics_watch *watch, uint64_t at_ns,
                      const struct target_metrics *metrics)
{
    uint32_t count = watch->page_count;
    if (metrics->has_account) {
        watch->last = metrics->account;
        watch->has_account = true;
    }
    bool is_late = count > 0 &&
                   watch->pages[count - 1].at_ns >= at_ns; /* the other one was first */
    if (!metrics->has_usage || count == PAGES_MAX || is_late) {
        return;
    }
    if ((count & (count - 1)) == 0) { /* full: twice as many */
        size_t count_max = count == 0 ? 1 : (size_t)count * 2;
        struct page *pages = realloc(watch->pages, count_max * sizeof(pages[0]));
        if (pages == NULL) {
            return;
        }
        watch->pages = pages;
    }
    watch->pages[watch->page_count++] = (struct page){at_ns, metrics->usage};
}

/* A page that does not come is left out; its neighbours stand in for it. */
static enum err fetch(struct metrics_watch *watch, char problem[TARGET_PROBLEM_BYTES])
{
    struct target_metrics metrics;
    uint64_t before_ns = load_clock_ns();
    TRY(target_metrics_get(watch->url, &metrics, problem));
    uint64_t at_ns = before_ns + (load_clock_ns() - before_ns) / 2;

    pthread_mutex_lock(&watch->lock);
    keep_page(watch, at_ns, &metrics);
    pthread_mutex_unlock(&watch->lock);
    return OK;
}

/* Until a second from now or the end; whether it is the end. */
static bool sleep_a_second(struct metrics_watch *watch)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec++;
    pthread_mutex_lock(&watch->lock);
    while (!watch->is_stopped &&
           pthread_cond_timedwait(&watch->wake, &watch->lock, &until) != ETIMEDOUT) {
    }
    bool is_stopped = watch->is_stopped;
    pthread_mutex_unlock(&watch->lock);
    return is_stopped;
}

static void *thread_main(void *context)
{
    struct metrics_watch *watch = context;
    char problem[TARGET_PROBLEM_BYTES];
    while (!sleep_a_second(watch)) {
        (void)fetch(watch, problem);
    }
    return NULL;
}

static void deinit(struct metrics_watch *watch)
{
    pthread_mutex_destroy(&watch->lock);
    pthread_cond_destroy(&watch->wake);
    free(watch->pages);
    free(watch);
}

enum err metrics_watch_new(const char *url, struct metrics_watch **out,
                           char problem[TARGET_PROBLEM_BYTES])
{
    pthread_condattr_t attributes;
    struct metrics_watch *watch = calloc(1, sizeof(*watch));

    problem[0] = '\0';
    if (watch == NULL) {
        return ERR_NOMEM;
    }
    pthread_mutex_init(&watch->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&watch->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    snprintf(watch->url, sizeof(watch->url), "%s", url);
    enum err err = strlen(url) < URL_BYTES ? fetch(watch, problem) : ERR_TOO_LARGE;
    if (err == OK && pthread_create(&watch->thread, NULL, thread_main, watch) != 0) {
        err = ERR_LIMIT;
    }
    if (err != OK) {
        deinit(watch);
        return err;
    }
    *out = watch;
    return OK;
}

void metrics_watch_free(struct metrics_watch *watch)
{
    if (watch == NULL) {
        return;
    }
    pthread_mutex_lock(&watch->lock);
    watch->is_stopped = true;
    pthread_cond_signal(&watch->wake);
    pthread_mutex_unlock(&watch->lock);
    pthread_join(watch->thread, NULL);
    deinit(watch);
}

void metrics_watch_begin(struct metrics_watch *watch)
{
    char problem[TARGET_PROBLEM_BYTES];
    (void)fetch(watch, problem);
    pthread_mutex_lock(&watch->lock);
    watch->first = watch->last;
    pthread_mutex_unlock(&watch->lock);
}

/* Of two pages around the moment; before the first and behind the last: that one. */
static struct target_usage usage_at(const struct metrics_watch *watch, uint64_t at_ns)
{
    const struct page *pages = watch->pages;
    uint32_t after = 0;
    while (after < watch->page_count && pages[after].at_ns < at_ns) {
        after++;
    }
    if (after == 0) {
        return pages[0].usage;
    }
    if (after == watch->page_count) {
        return pages[after - 1].usage;
    }
    const struct page *a = &pages[after - 1], *b = &pages[after];
    double part = (double)(at_ns - a->at_ns) / (double)(b->at_ns - a->at_ns);
    struct target_usage usage = b->usage;
    if (b->usage.cpu_ns >= a->usage.cpu_ns && b->usage.user_ns >= a->usage.user_ns) {
        usage.cpu_ns = a->usage.cpu_ns +
                       (uint64_t)(part * (double)(b->usage.cpu_ns - a->usage.cpu_ns));
        usage.user_ns = a->usage.user_ns +
                        (uint64_t)(part * (double)(b->usage.user_ns - a->usage.user_ns));
    }
    return usage;
}

void metrics_watch_end(struct metrics_watch *watch, uint64_t begin_ns, uint64_t end_ns,
                       struct report *report)
{
    char problem[TARGET_PROBLEM_BYTES];
    ASSERT(begin_ns <= end_ns);
    (void)fetch(watch, problem);
    pthread_mutex_lock(&watch->lock);
    if (watch->page_count > 0 && !report->has_target) {
        report->target_before = usage_at(watch, begin_ns);
        report->target_after = usage_at(watch, end_ns);
        report->has_target = report->target_after.cpu_ns >= report->target_before.cpu_ns;
    }
    report->has_account = watch->has_account;
    if (watch->has_account) {
        target_account_since(&watch->first, &watch->last, &report->account);
    }
    pthread_mutex_unlock(&watch->lock);
}
