/*
 * preset: the use cases of the open MQTT benchmark suite (emqx/mqttbs), by their names there.
 *
 *     tern-bench run p2p-1K-1K-1K-1K --scale 0.1
 *
 * A name is read from left to right: publishers, subscribers, topics, deliveries a second (of
 * connections: how many, and how many a second). Letters may be of either case, `singlenode-` may
 * stand before it, and `sharesub` and `sharedsub` are one.
 *
 * As in the suite: QoS 1, keep alive 300 s, clean sessions, MQTT 3.1.1 (shared subscriptions: 5).
 * Not as in the suite: the payload has 24 bytes where the suite has 16, since every one of them
 * carries what we check it by; and a run lasts 30 s, not 30 minutes (--seconds 30m).
 *
 * Floor:  bench; a table.
 */
#ifndef TERN_BENCH_PRESET_H
#define TERN_BENCH_PRESET_H

#include "bench/command/options.h"

struct preset;

/* NULL: there is none of that name. */
const struct preset *preset_find(const char *name);

/*
 * Expand: words[0] becomes the scenario, and everything that the preset says and the user did not
 * is set, as if it had been given. options->scale multiplies clients and rates; no count falls
 * below 1; after that --scale counts as not given, so that it is not done twice.
 */
void preset_apply(const struct preset *preset, struct options *options);

/* One line that says what it is after preset_apply(), for the head of a report. */
void preset_print(const struct preset *preset, const struct options *options, FILE *out);

/* One line for each. */
void preset_list(FILE *out);

/* Offer all names to whoever looks for the nearest. */
struct text_nearest;
void preset_offer(struct text_nearest *nearest);

#endif
