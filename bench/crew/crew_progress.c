#include "bench/crew/crew_progress.h"

#include <pthread.h>
#include <stdlib.h>

struct pending {
    struct series_second second; /* sums; its quantiles and cells come from latency */
    struct histogram *latency;   /* NULL: nobody had any */
    uint32_t count;              /* how many have told it */
};

struct crew_progress {
    uint32_t teller_count;
    struct histogram_cell *taken; /* cells of the last second that was taken */
    pthread_mutex_t lock;         /* for what follows */
    uint32_t next;                /* the second that is taken next */
    bool is_ended;
    struct pending pending[CREW_PROGRESS_PENDING]; /* of second i at i modulo its size */
};

struct crew_progress *crew_progress_new(uint32_t teller_count)
{
    struct crew_progress *progress = calloc(1, sizeof(*progress));
    if (progress != NULL) {
        progress->teller_count = teller_count;
        pthread_mutex_init(&progress->lock, NULL);
    }
    return progress;
}

void crew_progress_free(struct crew_progress *progress)
{
    if (progress == NULL) {
        return;
    }
    for (uint32_t i = 0; i < CREW_PROGRESS_PENDING; i++) {
        free(progress->pending[i].latency);
    }
    pthread_mutex_destroy(&progress->lock);
    free(progress->taken);
    free(progress);
}

/* Without memory the second has its counts and no latencies: it is for eyes only. */
static void add_latency(struct pending *pending, const struct series_second *second)
{
    if (second->cell_count > 0 && pending->latency == NULL) {
        pending->latency = calloc(1, sizeof(*pending->latency));
    }
    for (uint32_t i = 0; pending->latency != NULL && i < second->cell_count; i++) {
        (void)histogram_add_cell(pending->latency, second->cells[i]);
    }
}

static void add(struct pending *pending, const struct series_second *second)
{
    struct series_second *sum = &pending->second;
    pending->count++;
    sum->length_ns = second->length_ns > sum->length_ns ? second->length_ns : sum->length_ns;
    sum->sent_count += second->sent_count;
    sum->delivered_count += second->delivered_count;
    sum->max_ns = second->max_ns > sum->max_ns ? second->max_ns : sum->max_ns;
    if (second->has_target) {
        sum->has_target = true;
        sum->broker_cores = second->broker_cores;
        sum->resident_bytes = second->resident_bytes;
    }
    add_latency(pending, second);
}

void crew_progress_add(void *context, uint32_t index, const struct series_second *second)
{
    struct crew_progress *progress = context;
    pthread_mutex_lock(&progress->lock);
    if (index >= progress->next && index - progress->next < CREW_PROGRESS_PENDING) {
        add(&progress->pending[index % CREW_PROGRESS_PENDING], second);
    }
    pthread_mutex_unlock(&progress->lock);
}

void crew_progress_end(struct crew_progress *progress)
{
    pthread_mutex_lock(&progress->lock);
    progress->is_ended = true;
    pthread_mutex_unlock(&progress->lock);
}

static bool pop(struct crew_progress *progress, uint32_t *index, struct pending *out)
{
    pthread_mutex_lock(&progress->lock);
    struct pending *pending = &progress->pending[progress->next % CREW_PROGRESS_PENDING];
    uint32_t wanted = progress->is_ended ? 1 : progress->teller_count;
    bool is_complete = pending->count >= wanted;
    if (is_complete) {
        *out = *pending;
        *pending = (struct pending){0};
        *index = progress->next++;
    }
    pthread_mutex_unlock(&progress->lock);
    return is_complete;
}

static void set_latencies(struct crew_progress *progress, struct series_second *second,
                          struct histogram *latency)
{
    uint64_t max_ns = second->max_ns < latency->value_max ? second->max_ns : latency->value_max;
    uint64_t min_ns = latency->value_min < max_ns ? latency->value_min : max_ns;
    histogram_set_exact(latency, min_ns, max_ns, latency->sum);
    second->p50_ns = histogram_quantile(latency, 0.5);
    second->p99_ns = histogram_quantile(latency, 0.99);
    progress->taken = malloc(histogram_cells(latency, NULL) * sizeof(progress->taken[0]));
    second->cells = progress->taken;
    second->cell_count = progress->taken == NULL ? 0 : histogram_cells(latency, progress->taken);
}

bool crew_progress_take(struct crew_progress *progress, uint32_t *index, struct series_second *out)
{
    struct pending pending;
    if (!pop(progress, index, &pending)) {
        return false;
    }
    free(progress->taken);
    progress->taken = NULL;
    if (pending.latency != NULL && pending.latency->count > 0) {
        set_latencies(progress, &pending.second, pending.latency);
    }
    free(pending.latency);
    *out = pending.second;
    return true;
}

void crew_progress_tell(struct crew_progress *progress, const struct series *series)
{
    struct series_second second;
    uint32_t index;
    while (crew_progress_take(progress, &index, &second)) {
        series_tell(series, index, &second);
    }
}
