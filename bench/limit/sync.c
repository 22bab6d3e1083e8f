#include "bench/limit/sync.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BYTES = 4096, SAMPLES_MAX = 1 << 20 };

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int by_size(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return a < b ? -1 : a > b;
}

static double quantile_ms(const uint64_t *samples, size_t count, double part)
{
    size_t at = (size_t)(part * (double)count);
    return (double)samples[at < count ? at : count - 1] / 1e6;
}

/* How many samples; 0: errno. */
static size_t sample(int file, uint64_t end_ns, uint64_t *samples)
{
    char block[BYTES];
    size_t count = 0;
    memset(block, 'x', sizeof(block));
    for (uint64_t begin_ns = now_ns(); begin_ns < end_ns && count < SAMPLES_MAX;) {
        off_t place = (off_t)count * BYTES;
        if (pwrite(file, block, sizeof(block), place) != BYTES || fdatasync(file) != 0) {
            return 0;
        }
        uint64_t after_ns = now_ns();
        samples[count++] = after_ns - begin_ns;
        begin_ns = after_ns;
    }
    return count;
}

bool sync_measure(const char *folder, uint32_t seconds, struct sync_figures *out)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/tern-limit-XXXXXX", folder);
    uint64_t *samples = malloc(sizeof(*samples) * SAMPLES_MAX);
    int file = samples == NULL ? -1 : mkstemp(path);
    size_t count = 0;
    if (file >= 0) {
        unlink(path);
        uint64_t begin_ns = now_ns();
        count = sample(file, begin_ns + (uint64_t)seconds * 1000000000u, samples);
        double took_s = (double)(now_ns() - begin_ns) / 1e9;
        close(file);
        if (count > 0) {
            qsort(samples, count, sizeof(*samples), by_size);
            *out = (struct sync_figures){
                .per_second = (double)count / took_s,
                .p50_ms = quantile_ms(samples, count, 0.5),
                .p99_ms = quantile_ms(samples, count, 0.99),
                .max_ms = quantile_ms(samples, count, 1.0),
            };
        }
    }
    free(samples);
    return count > 0;
}
