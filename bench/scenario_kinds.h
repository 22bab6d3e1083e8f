/*
 * scenario_kinds: the three ways a scenario can run; scenario.c holds the table of who uses which.
 *
 * Floor:  bench; included by scenario*.c only.
 */
#ifndef TERN_BENCH_SCENARIO_KINDS_H
#define TERN_BENCH_SCENARIO_KINDS_H

#include "bench/scenario.h"

/* Messages from each publisher to one subscriber (pairs), or from one to all, or from all to one. */
enum err scenario_messages(const struct scenario_options *options, uint32_t publisher_count,
                           uint32_t subscriber_count, struct report *out);
enum err scenario_connects(const struct scenario_options *options, struct report *out);
enum err scenario_idles(const struct scenario_options *options, struct report *out);

/* Read the broker's use into *out, if we know its process; whether that went well. */
bool scenario_sample(const struct scenario_options *options, struct target_usage *out);

#endif
