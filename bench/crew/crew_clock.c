#include "bench/crew/crew_clock.h"

#include "core/io/sys.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

const char *crew_clock_name(char out[CREW_CLOCK_NAME_BYTES])
{
    char boot[64], space[48];
    size_t count;
    out[0] = '\0';
    if (sys_read_file("/proc/sys/kernel/random/boot_id", boot, sizeof(boot) - 1, &count) != OK) {
        return out;
    }
    boot[count] = '\0';
    boot[strcspn(boot, "\n")] = '\0';
    ssize_t length = readlink("/proc/self/ns/time", space, sizeof(space) - 1);
    space[length < 0 ? 0 : length] = '\0'; /* an older kernel has no such namespaces */
    snprintf(out, CREW_CLOCK_NAME_BYTES, "%s %s", boot, space);
    return out;
}

static uint64_t aged_error_ns(const struct crew_clock_sample *sample, uint64_t now_ns)
{
    uint64_t age_ns = now_ns > sample->taken_ns ? now_ns - sample->taken_ns : 0;
    return sample->error_ns + age_ns / 1000000 * CREW_CLOCK_DRIFT_PPM;
}

void crew_clock_add(struct crew_clock *clock, uint64_t sent_ns, uint64_t answered_ns,
                    uint64_t received_ns)
{
    if (received_ns < sent_ns) {
        return; /* an answer to nothing we asked */
    }
    uint64_t half_ns = (received_ns - sent_ns + 1) / 2;
    clock->samples[clock->count % CREW_CLOCK_SAMPLES] = (struct crew_clock_sample){
        .offset_ns = (int64_t)(answered_ns - (sent_ns + half_ns)),
        .error_ns = half_ns,
        .taken_ns = received_ns,
    };
    clock->count++;
}

bool crew_clock_read(const struct crew_clock *clock, uint64_t now_ns, int64_t *offset_ns,
                     uint64_t *error_ns)
{
    const struct crew_clock_sample *best = NULL;
    uint32_t count = clock->count < CREW_CLOCK_SAMPLES ? clock->count : CREW_CLOCK_SAMPLES;

    if (clock->is_same) {
        *offset_ns = 0;
        *error_ns = 0;
        return true;
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct crew_clock_sample *sample = &clock->samples[i];
        if (best == NULL || aged_error_ns(sample, now_ns) < aged_error_ns(best, now_ns)) {
            best = sample;
        }
    }
    if (best == NULL) {
        return false;
    }
    *offset_ns = best->offset_ns;
    *error_ns = aged_error_ns(best, now_ns);
    return true;
}
