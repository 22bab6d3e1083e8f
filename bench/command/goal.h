/*
 * goal: what a run must reach, as text: 'p99<5ms,loss=0,cpu<2us,rate>=100K'.
 *
 * A goal is a figure, one of < <= = >= > and a bound with a unit of the figure's kind. They are read
 * before the run, so that half an hour is not spent on a typing mistake, and judged after it.
 *
 * Floor:  bench.
 * Thread: any; no state.
 */
#ifndef TERN_BENCH_GOAL_H
#define TERN_BENCH_GOAL_H

#include "bench/report/report.h"
#include "core/base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { GOALS_MAX = 16, GOAL_TEXT_BYTES = 64, GOAL_PROBLEM_BYTES = 512 };

struct goal {
    uint32_t figure, sign;      /* rows of the tables in goal.c */
    double bound;               /* in the figure's own unit: ns, messages, bytes, a part of 1 */
    bool is_part;               /* the bound was given in %: of all that should have come */
    char text[GOAL_TEXT_BYTES]; /* as it was written, without blanks */
};

struct goals {
    struct goal items[GOALS_MAX];
    uint32_t count;
};

/*
 * Read them; blanks are ignored. ERR_INVALID: problem says where, why, and what is known; ERR_LIMIT:
 * more than GOALS_MAX.
 */
enum err goals_read(const char *text, struct goals *out, char problem[GOAL_PROBLEM_BYTES]);

/* Some of them need the broker's process or its metrics. */
bool goals_need_target(const struct goals *goals);

enum goal_verdict {
    GOAL_KEPT,
    GOAL_BROKEN,
    GOAL_UNKNOWN, /* the run has no such figure: as bad as broken */
};

/* shown: the figure for people, such as "1.24 ms". */
enum goal_verdict goal_judge(const struct goal *goal, const struct report *report,
                             char shown[GOAL_TEXT_BYTES]);

/* Whether all are kept. */
bool goals_are_kept(const struct goals *goals, const struct report *report);

/* A line for each, kept or broken, with its figure. out NULL: none. Whether all are kept. */
bool goals_print(const struct goals *goals, const struct report *report, FILE *out);

#endif
