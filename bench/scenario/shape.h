/*
 * shape: who publishes what, and who hears whom, known in advance to the last message.
 *
 *                 publisher p publishes to        subscriber s subscribes to    a message goes to
 *     PAIRS       bench/p                         bench/s                       subscriber p
 *     ALL         bench/p                         bench/+                       every subscriber
 *     SHARED      bench/p                         $share/benchG/bench/+         one member of each G
 *     WILDCARDS   topics in turn, all different   many, none without a + or #   1 to 3 subscribers
 *
 * What is judged is a *lane*: a row of messages of which the first is number 0, none is left out,
 * and for which the protocol promises order: one topic of one publisher [MQTT-4.6.0-5]. Lanes belong
 * to a *ledger*: that of a subscriber, or of a group which shares a subscription, since there the
 * promise is one delivery to the group. A group has no order but that of each member by itself.
 *
 * WILDCARDS in detail. Topics come in threes that match one, two and three filters:
 *
 *     filters 6q .. 6q + 5            topic 3q    topic 3q + 1    topic 3q + 2
 *       site/device/+  (of 3q)           x
 *       site/device/+, site/+/leaf                   x  x
 *       site/device/+, site/+/leaf, +/site/device/#                  x  x  x
 *
 * where site, device and leaf follow from the topic's number, so that no filter matches another
 * topic. Filter f belongs to subscriber f mod n: neighbours are on different clients, and nobody
 * hears a message twice. A publisher walks over the topics with a stride that has nothing in common
 * with their number; each begins elsewhere.
 *
 * Floor:  bench; pure.
 * Thread: any; immutable after shape_init().
 */
#ifndef TERN_BENCH_SHAPE_H
#define TERN_BENCH_SHAPE_H

#include "core/base/err.h"

#include <stdbool.h>
#include <stdint.h>

enum shape_kind { SHAPE_PAIRS, SHAPE_ALL, SHAPE_SHARED, SHAPE_WILDCARDS, SHAPE_KIND_COUNT };

enum { SHAPE_TEXT_BYTES = 64, SHAPE_FILTERS_DEFAULT = 10000, SHAPE_MATCHES_MAX = 3 };

struct shape {
    enum shape_kind kind;
    uint32_t publisher_count, subscriber_count;
    uint32_t group_count;            /* SHARED */
    uint32_t filter_count;           /* WILDCARDS: of all subscribers */
    uint32_t topic_count;            /* that messages are published to */
    uint32_t stride, stride_inverse; /* WILDCARDS: their product is 1 modulo topic_count */
};

/* Where a message is written down: which lane of the ledger, which number in the lane. */
struct shape_place {
    uint32_t lane;
    uint64_t ordinal;
};

/*
 * group_count, filter_count: 0 is 1 group, SHAPE_FILTERS_DEFAULT. ERR_INVALID: *why is a phrase for
 * people (constant), *out is not written.
 */
enum err shape_init(enum shape_kind kind, uint32_t publisher_count, uint32_t subscriber_count,
                    uint32_t group_count, uint32_t filter_count, struct shape *out,
                    const char **why);

/* A publisher and the only one who hears it have the same number: they can be dealt out together. */
bool shape_is_paired(const struct shape *shape);

/* The topics, 0 to topic_count - 1. */
void shape_topic(const struct shape *shape, uint32_t topic, char out[SHAPE_TEXT_BYTES]);
uint32_t shape_topic_of(const struct shape *shape, uint32_t publisher, uint64_t sequence);

/* A subscriber's filters, 0 to shape_filter_count() - 1. */
uint32_t shape_filter_count(const struct shape *shape, uint32_t subscriber);
void shape_filter(const struct shape *shape, uint32_t subscriber, uint32_t filter,
                  char out[SHAPE_TEXT_BYTES]);

/* How many deliveries this message makes when all is well. */
uint32_t shape_receiver_count(const struct shape *shape, uint32_t publisher, uint64_t sequence);

/* Ledgers: which is this subscriber's, how many there are, how many lanes each has. */
uint32_t shape_ledger_of(const struct shape *shape, uint32_t subscriber);
uint32_t shape_ledger_count(const struct shape *shape);
uint32_t shape_lane_count(const struct shape *shape, uint32_t ledger);

/* A ledger is of a group: lanes are in no order, each member by itself is. */
bool shape_is_shared(const struct shape *shape);

/*
 * Where this subscriber writes a message down that it got. False: it should never get it.
 * publisher < publisher_count.
 */
bool shape_hears(const struct shape *shape, uint32_t subscriber, uint32_t publisher,
                 uint64_t sequence, struct shape_place *out);

/* How many messages this lane has when publisher p sent sent[p] in all. */
uint64_t shape_lane_expected(const struct shape *shape, uint32_t ledger, uint32_t lane,
                             const uint64_t *sent);

#endif
