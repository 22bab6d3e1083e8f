#include "bench/report/series.h"

#include "core/base/assert.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define SECOND_NS ((uint64_t)1000000000)

/* A rest shorter than this with nothing in it is no second of its own. */
#define REST_NS_MIN ((uint64_t)20000000)

struct series {
    uint64_t begin_ns, second_begin_ns;
    bool is_open;
    struct histogram latency; /* of the second that is open */
    uint64_t sent_count;
    struct series_second *seconds;
    uint32_t count, capacity;
    uint32_t told_count; /* seconds below it were told, and know the broker's use */
    uint32_t index;      /* of the open second: count, or more beyond SERIES_SECONDS_MAX */
    bool has_usage;
    struct target_usage usage; /* as of usage_ns */
    uint64_t usage_ns;
    uint64_t window_begin_ns, window_end_ns;
    series_teller *teller;
    void *teller_context;
};

struct series *series_new(void)
{
    return calloc(1, sizeof(struct series));
}

static void clear_seconds(struct series *series)
{
    for (uint32_t i = 0; i < series->count; i++) {
        free((void *)series->seconds[i].cells);
    }
    free(series->seconds);
    series->seconds = NULL;
    series->count = series->capacity = series->told_count = series->index = 0;
}

void series_free(struct series *series)
{
    if (series != NULL) {
        clear_seconds(series);
        free(series);
    }
}

void series_begin(struct series *series, uint64_t begin_ns)
{
    clear_seconds(series);
    histogram_clear(&series->latency);
    series->sent_count = 0;
    series->begin_ns = series->second_begin_ns = begin_ns;
    series->window_begin_ns = series->window_end_ns = 0;
    series->has_usage = false;
    series->is_open = true;
}

void series_on_second(struct series *series, series_teller *teller, void *context)
{
    series->teller = teller;
    series->teller_context = context;
}

/* Room for one more; false: it is not kept. */
static bool make_room(struct series *series)
{
    if (series->count == SERIES_SECONDS_MAX) {
        return false;
    }
    if (series->count == series->capacity) {
        uint32_t capacity = series->capacity == 0 ? 64 : 2 * series->capacity;
        struct series_second *seconds = realloc(series->seconds, capacity * sizeof(seconds[0]));
        if (seconds == NULL) {
            return false;
        }
        series->seconds = seconds;
        series->capacity = capacity;
    }
    return true;
}

static void set_quantiles(struct series_second *second, const struct histogram *latency)
{
    second->p50_ns = histogram_quantile(latency, 0.5);
    second->p99_ns = histogram_quantile(latency, 0.99);
    second->max_ns = latency->value_max;
}

/* The cells in memory of their own. Without memory the second has its quantiles and no cells. */
static void set_cells(struct series_second *second, const struct histogram *latency)
{
    uint32_t count = latency->count == 0 ? 0 : histogram_cells(latency, NULL);
    struct histogram_cell *cells = count == 0 ? NULL : malloc(count * sizeof(cells[0]));
    second->cell_count = cells == NULL ? 0 : histogram_cells(latency, cells);
    second->cells = cells;
}

static void tell(const struct series *series, uint32_t index, const struct series_second *second)
{
    if (series->teller != NULL) {
        series->teller(series->teller_context, index, second);
    }
}

void series_tell(const struct series *series, uint32_t index, const struct series_second *second)
{
    tell(series, index, second);
}

/* The open second ends at end_ns, the next one begins there. */
static void close_second(struct series *series, uint64_t end_ns)
{
    struct series_second second = {
        .length_ns = end_ns - series->second_begin_ns,
        .sent_count = series->sent_count,
        .delivered_count = series->latency.count,
    };
    set_quantiles(&second, &series->latency);
    if (make_room(series)) {
        set_cells(&second, &series->latency);
        series->seconds[series->count++] = second;
    } else {
        tell(series, series->index, &second); /* the broker's use is not known to these */
    }
    series->index++;
    series->sent_count = 0;
    series->second_begin_ns = end_ns;
    if (series->latency.count > 0) {
        histogram_clear(&series->latency);
    }
}

static void close_until(struct series *series, uint64_t now_ns)
{
    while (now_ns >= series->second_begin_ns + SECOND_NS) {
        close_second(series, series->second_begin_ns + SECOND_NS);
    }
}

void series_delivery(struct series *series, uint64_t now_ns, uint64_t latency_ns)
{
    if (series->is_open) {
        if (now_ns >= series->second_begin_ns + SECOND_NS) {
            close_until(series, now_ns);
        }
        histogram_add(&series->latency, latency_ns);
    }
}

void series_sent(struct series *series, uint64_t now_ns, uint64_t count)
{
    if (series->is_open) {
        if (now_ns >= series->second_begin_ns + SECOND_NS) {
            close_until(series, now_ns);
        }
        series->sent_count += count;
    }
}

bool series_is_due(const struct series *series, uint64_t now_ns)
{
    return series->is_open &&
           (now_ns >= series->second_begin_ns + SECOND_NS || series->told_count < series->count);
}

/* What the broker used since the last sample, spread evenly over the seconds since then. */
static void tell_closed(struct series *series, uint64_t now_ns, const struct target_usage *usage)
{
    bool is_known = usage != NULL && series->has_usage && now_ns > series->usage_ns &&
                    usage->cpu_ns >= series->usage.cpu_ns;
    double cores = is_known ? (double)(usage->cpu_ns - series->usage.cpu_ns) /
                                  (double)(now_ns - series->usage_ns)
                            : 0;
    for (; series->told_count < series->count; series->told_count++) {
        struct series_second *second = &series->seconds[series->told_count];
        second->has_target = is_known;
        second->broker_cores = cores;
        second->resident_bytes = is_known ? usage->resident_bytes : 0;
        tell(series, series->told_count, second);
    }
    if (usage != NULL) {
        series->has_usage = true;
        series->usage = *usage;
        series->usage_ns = now_ns;
    }
}

void series_tick(struct series *series, uint64_t now_ns, const struct target_usage *usage)
{
    if (!series->is_open) {
        return;
    }
    close_until(series, now_ns);
    if (series->told_count < series->count || !series->has_usage) {
        tell_closed(series, now_ns, usage);
    }
}

void series_end(struct series *series, uint64_t now_ns, const struct target_usage *usage)
{
    if (!series->is_open) {
        return;
    }
    close_until(series, now_ns);
    uint64_t rest_ns = now_ns > series->second_begin_ns ? now_ns - series->second_begin_ns : 0;
    if (rest_ns >= REST_NS_MIN || series->latency.count > 0 || series->sent_count > 0) {
        close_second(series, series->second_begin_ns + (rest_ns == 0 ? 1 : rest_ns));
    }
    tell_closed(series, now_ns, usage);
    series->is_open = false;
}

void series_mark_window(struct series *series, uint64_t begin_ns, uint64_t end_ns)
{
    ASSERT(begin_ns <= end_ns);
    series->window_begin_ns = begin_ns > series->begin_ns ? begin_ns - series->begin_ns : 0;
    series->window_end_ns = end_ns > series->begin_ns ? end_ns - series->begin_ns : 0;
}

uint32_t series_count(const struct series *series)
{
    return series == NULL ? 0 : series->count;
}

const struct series_second *series_second(const struct series *series, uint32_t index)
{
    ASSERT(index < series->count);
    return &series->seconds[index];
}

uint64_t series_begin_ns(const struct series *series)
{
    return series == NULL ? 0 : series->begin_ns;
}

uint64_t series_window_begin_ns(const struct series *series)
{
    return series == NULL ? 0 : series->window_begin_ns;
}

uint64_t series_window_end_ns(const struct series *series)
{
    return series == NULL ? 0 : series->window_end_ns;
}

/* What the cells alone say, with the maximum that the second knows better. */
static void add_latencies(struct histogram *histogram, const struct series_second *second)
{
    uint64_t max_ns = histogram->value_max > second->max_ns ? histogram->value_max : second->max_ns;
    for (uint32_t i = 0; i < second->cell_count; i++) {
        (void)histogram_add_cell(histogram, second->cells[i]);
    }
    if (second->cell_count > 0) {
        uint64_t min_ns = histogram->value_min < max_ns ? histogram->value_min : max_ns;
        histogram_set_exact(histogram, min_ns, max_ns, histogram->sum);
    }
}

static void merge_second(struct series_second *into, const struct series_second *from,
                         struct histogram *scratch)
{
    histogram_clear(scratch);
    add_latencies(scratch, into);
    add_latencies(scratch, from);
    free((void *)into->cells);
    set_cells(into, scratch);
    if (scratch->count > 0) {
        set_quantiles(into, scratch);
    }
    into->length_ns = into->length_ns > from->length_ns ? into->length_ns : from->length_ns;
    into->sent_count += from->sent_count;
    into->delivered_count += from->delivered_count;
    if (!into->has_target && from->has_target) {
        into->has_target = true;
        into->broker_cores = from->broker_cores;
        into->resident_bytes = from->resident_bytes;
    }
}

enum err series_merge(struct series *target, const struct series *source)
{
    struct histogram *scratch = malloc(sizeof(*scratch));
    if (scratch == NULL) {
        return ERR_NOMEM;
    }
    enum err err = OK;
    for (uint32_t i = 0; i < source->count && err == OK; i++) {
        if (i < target->count) {
            merge_second(&target->seconds[i], &source->seconds[i], scratch);
        } else {
            err = series_append(target, &source->seconds[i]);
        }
    }
    free(scratch);
    if (target->begin_ns == 0) {
        target->begin_ns = source->begin_ns;
    }
    if (target->window_end_ns == 0) {
        target->window_begin_ns = source->window_begin_ns;
        target->window_end_ns = source->window_end_ns;
    }
    return err;
}

enum err series_append(struct series *series, const struct series_second *second)
{
    if (series->count == SERIES_SECONDS_MAX) {
        return ERR_LIMIT;
    }
    for (uint32_t i = 0; i < second->cell_count; i++) {
        if (second->cells[i].index >= HISTOGRAM_CELLS || second->cells[i].count == 0) {
            return ERR_RANGE;
        }
    }
    struct histogram_cell *cells = NULL;
    if (second->cell_count > 0) {
        cells = malloc(second->cell_count * sizeof(cells[0]));
        if (cells == NULL) {
            return ERR_NOMEM;
        }
        memcpy(cells, second->cells, second->cell_count * sizeof(cells[0]));
    }
    if (!make_room(series)) {
        free(cells);
        return ERR_NOMEM;
    }
    series->seconds[series->count] = *second;
    series->seconds[series->count].cells = cells;
    series->told_count = ++series->count;
    series->index = series->count;
    return OK;
}

void series_print_csv(const struct series *series, FILE *out)
{
    uint64_t begin_ns = 0;
    fprintf(out, "second,length_ns,in_window,sent,delivered,p50_ns,p99_ns,max_ns,broker_cores,"
                 "broker_resident_bytes\n");
    for (uint32_t i = 0; i < series_count(series); i++) {
        const struct series_second *second = series_second(series, i);
        bool is_in_window = begin_ns >= series->window_begin_ns &&
                            begin_ns + second->length_ns <= series->window_end_ns;
        fprintf(out, "%u,%" PRIu64 ",%d,%" PRIu64 ",%" PRIu64 ",", i, second->length_ns,
                is_in_window, second->sent_count, second->delivered_count);
        if (second->delivered_count > 0) {
            fprintf(out, "%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",", second->p50_ns, second->p99_ns,
                    second->max_ns);
        } else {
            fprintf(out, ",,,");
        }
        if (second->has_target) {
            fprintf(out, "%.6f,%" PRIu64, second->broker_cores, second->resident_bytes);
        } else {
            fprintf(out, ",");
        }
        fprintf(out, "\n");
        begin_ns += second->length_ns;
    }
}
