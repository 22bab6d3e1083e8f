#include "bench/scenario/watch.h"

#include "bench/crew/crew.h"
#include "bench/report/series.h"

static const struct target_usage *usage_of(const struct scenario_options *options,
                                           struct target_usage *usage)
{
    bool is_known = options->broker_pid > 0 && crew_measures(options->crew) &&
                    target_usage_quick(options->broker_pid, usage) == OK;
    return is_known ? usage : NULL;
}

void watch_begin(const struct scenario_options *options, uint64_t begin_ns)
{
    struct target_usage usage;
    if (options->series != NULL) {
        series_begin(options->series, begin_ns);
        series_tick(options->series, begin_ns, usage_of(options, &usage));
    }
}

void watch_turn(const struct scenario_options *options, struct load *load, uint64_t wait_ns)
{
    struct target_usage usage;
    load_turn(load, wait_ns);
    if (options->series != NULL) {
        uint64_t now_ns = load_clock_ns();
        if (series_is_due(options->series, now_ns)) {
            series_tick(options->series, now_ns, usage_of(options, &usage));
        }
    }
}

void watch_sent(const struct scenario_options *options, uint64_t now_ns)
{
    if (options->series != NULL) {
        series_sent(options->series, now_ns, 1);
    }
}

void watch_delivery(const struct scenario_options *options, uint64_t now_ns, uint64_t latency_ns)
{
    if (options->series != NULL) {
        series_delivery(options->series, now_ns, latency_ns);
    }
}

void watch_window(const struct scenario_options *options, uint64_t begin_ns, uint64_t end_ns)
{
    if (options->series != NULL) {
        series_mark_window(options->series, begin_ns, end_ns);
    }
}

void watch_end(const struct scenario_options *options)
{
    struct target_usage usage;
    if (options->series != NULL) {
        series_end(options->series, load_clock_ns(), usage_of(options, &usage));
    }
}
