/*
 * scenario_kinds: the functions that run scenarios; scenario.c holds the table of who uses which.
 *
 * Options come with their defaults filled in: count and burst are not 0, nor are publisher_count and
 * subscriber_count of messages; and of window and rate one is 0 where the scenario knows both.
 *
 * Floor:  bench; included by scenario*.c only.
 */
#ifndef TERN_BENCH_SCENARIO_KINDS_H
#define TERN_BENCH_SCENARIO_KINDS_H

#include "bench/scenario/scenario.h"
#include "bench/scenario/shape.h"

/* What a row of the table needs to be. */
typedef enum err scenario_runner(const struct scenario_options *options, struct report *out);

scenario_runner scenario_connects, scenario_storm, scenario_reconnect, scenario_idles;
scenario_runner scenario_subscriptions, scenario_retained, scenario_queued, scenario_persist;
scenario_runner scenario_online;

/* Messages between the publishers and subscribers of this shape, which is borrowed. */
enum err scenario_messages(const struct scenario_options *options, const struct shape *shape,
                           struct report *out);

/* Read the broker's use into *out, if we know its process; whether that went well. */
bool scenario_sample(const struct scenario_options *options, struct target_usage *out);

#endif
