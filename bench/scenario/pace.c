#include "bench/scenario/pace.h"

#include "bench/crew/crew.h"
#include "core/base/assert.h"

#include <math.h>

void pace_init(struct pace *pace, double rate, uint64_t duration_ns, uint32_t publisher_count,
               const struct crew *crew)
{
    ASSERT(rate > 0);
    ASSERT(publisher_count > 0);
    /* What is a whole number but for the last bit of a double is one. */
    double moments = rate * ((double)duration_ns / 1e9);
    *pace = (struct pace){
        .rate = rate,
        .moment_count = (uint64_t)ceil(moments - 1e-6),
        .publisher_count = publisher_count,
        .publisher_first = crew_index(crew),
        .publisher_step = crew_count(crew),
        .publisher = crew_index(crew),
    };
}

void pace_begin(struct pace *pace, uint64_t begin_ns)
{
    pace->begin_ns = begin_ns;
}

static uint64_t moment_of(const struct pace *pace, uint32_t publisher, uint64_t turn)
{
    return turn * pace->publisher_count + publisher;
}

uint64_t pace_moment_ns(const struct pace *pace, uint32_t publisher, uint64_t turn)
{
    double moment = (double)moment_of(pace, publisher, turn);
    return pace->begin_ns + (uint64_t)(moment * 1e9 / pace->rate);
}

uint64_t pace_turn_count(const struct pace *pace, uint32_t publisher)
{
    return publisher >= pace->moment_count
               ? 0
               : (pace->moment_count - 1 - publisher) / pace->publisher_count + 1;
}

uint64_t pace_next_ns(const struct pace *pace)
{
    /* A generator without a publisher of its own has no moments. */
    if (pace->publisher_first >= pace->publisher_count ||
        moment_of(pace, pace->publisher, pace->turn) >= pace->moment_count) {
        return UINT64_MAX;
    }
    return pace_moment_ns(pace, pace->publisher, pace->turn);
}

uint32_t pace_visit(struct pace *pace, uint64_t now_ns)
{
    uint32_t publisher = pace->publisher;
    if (pace->is_measuring) {
        histogram_add(&pace->lateness, now_ns - pace_moment_ns(pace, publisher, pace->turn));
    }
    pace->publisher += pace->publisher_step;
    if (pace->publisher >= pace->publisher_count) {
        pace->publisher = pace->publisher_first;
        pace->turn++;
    }
    return publisher;
}
