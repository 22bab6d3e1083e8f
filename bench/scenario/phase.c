#include "bench/scenario/phase.h"

#include "bench/crew/crew.h"

#include <time.h>

uint64_t phase_own_cpu_ns(void)
{
    struct timespec used;
    return clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used) != 0
               ? 0
               : (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
}

static bool cpu_of(const struct scenario_options *options, uint64_t *out)
{
    struct target_usage usage;
    if (options->broker_pid <= 0 || !crew_measures(options->crew) ||
        target_usage_quick(options->broker_pid, &usage) != OK) {
        return false;
    }
    *out = usage.cpu_ns;
    return true;
}

struct phase phase_begin(const struct scenario_options *options)
{
    struct phase phase = {.options = options};
    phase.has_target = cpu_of(options, &phase.broker_cpu_ns);
    phase.begin_ns = load_clock_ns();
    return phase;
}

void phase_end(const struct phase *phase, struct report *report, uint64_t end_ns, const char *name,
               const char *unit, uint64_t count, const struct histogram *latency)
{
    uint64_t cpu_ns;
    if (report->phase_count == REPORT_PHASES_MAX) {
        return;
    }
    struct report_phase *out = &report->phases[report->phase_count++];
    *out = (struct report_phase){
        .name = name,
        .unit = unit,
        .count = count,
        .ns = end_ns > phase->begin_ns ? end_ns - phase->begin_ns : 0,
    };
    if (phase->has_target && cpu_of(phase->options, &cpu_ns)) {
        out->broker_cpu_ns = cpu_ns - phase->broker_cpu_ns;
    }
    if (latency != NULL && latency->count > 0) {
        out->p50_ns = histogram_quantile(latency, 0.5);
        out->p99_ns = histogram_quantile(latency, 0.99);
        out->max_ns = histogram_quantile(latency, 1.0);
    }
}
