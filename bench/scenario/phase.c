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

static bool usage_of(const struct scenario_options *options, struct target_usage *out)
{
    return options->broker_pid > 0 && crew_measures(options->crew) &&
           target_usage_quick(options->broker_pid, out) == OK;
}

struct phase phase_begin(const struct scenario_options *options)
{
    struct phase phase = {.options = options};
    struct target_usage usage = {0};
    phase.has_target = usage_of(options, &usage);
    phase.broker_cpu_ns = usage.cpu_ns;
    phase.broker_written_bytes = usage.written_bytes;
    phase.begin_ns = load_clock_ns();
    return phase;
}

void phase_end(const struct phase *phase, struct report *report, uint64_t end_ns, const char *name,
               const char *unit, uint64_t count, const struct histogram *latency)
{
    struct target_usage usage;
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
    if (phase->has_target && usage_of(phase->options, &usage)) {
        out->broker_cpu_ns = usage.cpu_ns - phase->broker_cpu_ns;
        out->broker_written_bytes = usage.written_bytes - phase->broker_written_bytes;
        out->broker_resident_bytes = usage.resident_bytes;
    }
    if (latency != NULL && latency->count > 0) {
        out->p50_ns = histogram_quantile(latency, 0.5);
        out->p99_ns = histogram_quantile(latency, 0.99);
        out->max_ns = histogram_quantile(latency, 1.0);
    }
}
