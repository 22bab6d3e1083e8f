#include "bench/report/report_merge.h"

#include "core/base/assert.h"

#include <string.h>

static uint64_t greater(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Of a report from one generator the count may be left out. */
static uint32_t generators(const struct report *report)
{
    return report->generator_count == 0 ? 1 : report->generator_count;
}

static void merge_window(struct report *target, const struct report *member)
{
    target->window_ns = greater(target->window_ns, member->window_ns); /* they begin together */
    target->delivered_count += member->delivered_count;
    target->connected_count += member->connected_count;
    target->bench_cpu_ns += member->bench_cpu_ns;
    histogram_merge(&target->latency, &member->latency);
}

static void merge_timing(struct report *target, const struct report *member)
{
    target->generator_count = generators(target) + generators(member);
    target->rate_reached += member->rate_reached;
    target->lateness_p99_ns = greater(target->lateness_p99_ns, member->lateness_p99_ns);
    target->lateness_max_ns = greater(target->lateness_max_ns, member->lateness_max_ns);
    target->clock_error_ns = greater(target->clock_error_ns, member->clock_error_ns);
    target->unsent_count += member->unsent_count;
    target->is_generator_bound |= member->is_generator_bound;
    target->is_stopped_early |= member->is_stopped_early;
}

static void merge_tls(struct report *target, const struct report *member)
{
    target->is_resuming |= member->is_resuming;
    target->handshake_count += member->handshake_count;
    target->resumed_count += member->resumed_count;
    if (target->agreed[0] == '\0') {
        memcpy(target->agreed, member->agreed, sizeof(target->agreed));
    }
}

static void merge_account(struct report *target, const struct report *member)
{
    target->sent_count += member->sent_count;
    target->received_count += member->received_count;
    target->lost_count += member->lost_count;
    target->repeated_count += member->repeated_count;
    target->disordered_count += member->disordered_count;
    target->corrupt_count += member->corrupt_count;
    target->misdelivered_count += member->misdelivered_count;
    target->forgotten_count += member->forgotten_count;
    target->forgotten_count += member->forgotten_count;
    target->refused_count += member->refused_count;
    target->is_stalled |= member->is_stalled;
}

/*
 * Jain's index is (sum x)^2 / (n * sum x^2): from it, the count and the sum of deliveries follows
 * the sum of squares, and these add up.
 */
static double squares(const struct report *report)
{
    double sum = (double)report->received_count;
    return report->jain > 0 ? sum * sum / ((double)report->member_count * report->jain) : 0;
}

/* Before the account is merged: it needs the deliveries of each side. */
static void merge_fairness(struct report *target, const struct report *member)
{
    if (member->member_count == 0) {
        return;
    }
    if (target->member_count == 0) {
        target->member_min = member->member_min;
        target->jain = member->jain;
    } else {
        double sum = (double)target->received_count + (double)member->received_count;
        double both = squares(target) + squares(member);
        double count = (double)target->member_count + (double)member->member_count;
        target->jain = both > 0 ? sum * sum / (count * both) : 0;
    }
    if (member->member_min < target->member_min) {
        target->member_min = member->member_min;
    }
    target->member_max = greater(target->member_max, member->member_max);
    target->member_count += member->member_count;
}

static void merge_broker(struct report *target, const struct report *member)
{
    if (!target->has_target && member->has_target) {
        target->has_target = true;
        target->target_before = member->target_before;
        target->target_after = member->target_after;
    }
    if (!target->has_account && member->has_account) {
        target->has_account = true;
        target->account = member->account;
    }
    if (target->kernel_bytes_after == 0) {
        target->kernel_bytes_before = member->kernel_bytes_before;
        target->kernel_bytes_after = member->kernel_bytes_after;
        target->is_same_machine = member->is_same_machine;
    }
}

static void merge_phase(struct report_phase *target, const struct report_phase *member)
{
    target->count += member->count;
    target->ns = greater(target->ns, member->ns);
    target->broker_cpu_ns = greater(target->broker_cpu_ns, member->broker_cpu_ns); /* one has it */
    target->broker_written_bytes = greater(target->broker_written_bytes,
                                           member->broker_written_bytes);
    target->broker_resident_bytes = greater(target->broker_resident_bytes,
                                            member->broker_resident_bytes);
    target->p50_ns = greater(target->p50_ns, member->p50_ns);
    target->p99_ns = greater(target->p99_ns, member->p99_ns);
    target->max_ns = greater(target->max_ns, member->max_ns);
}

/* A scenario has the same phases in the same order everywhere; one that ended early has fewer. */
static void merge_things(struct report *target, const struct report *member)
{
    target->idle_count += member->idle_count;
    target->thing_count += member->thing_count;
    if (target->thing_name == NULL) {
        target->thing_name = member->thing_name;
    }
    for (uint32_t i = 0; i < member->phase_count; i++) {
        if (i < target->phase_count) {
            merge_phase(&target->phases[i], &member->phases[i]);
        } else {
            target->phases[target->phase_count++] = member->phases[i];
        }
    }
}

enum err report_merge(struct report *target, const struct report *member)
{
    merge_window(target, member);
    merge_timing(target, member);
    merge_tls(target, member);
    merge_fairness(target, member);
    merge_account(target, member);
    merge_broker(target, member);
    merge_things(target, member);
    if (target->series != NULL && member->series != NULL) {
        return series_merge(target->series, member->series);
    }
    return OK;
}

/* What an earlier run left in it goes. */
static void clear(struct series *series)
{
    series_begin(series, 0); /* merging brings the moment */
    series_end(series, 0, NULL);
}

enum err report_merge_all(const struct report *const *members, uint32_t count,
                          struct series *series, struct report *out)
{
    enum err err = OK;
    ASSERT(count >= 1);
    if (series != NULL) {
        clear(series);
    }
    *out = *members[0];
    out->series = series;
    out->generator_count = generators(members[0]);
    if (series != NULL && members[0]->series != NULL) {
        err = series_merge(series, members[0]->series);
    }
    for (uint32_t i = 1; i < count; i++) {
        ASSERT(members[i] != out);
        enum err merge_err = report_merge(out, members[i]);
        err = err == OK ? merge_err : err;
    }
    return err;
}
