#include "bench/scenario/shape.h"

#include "core/base/assert.h"

#include <stdio.h>

enum {
    DEVICES = 50, /* of a site */
    TRIPLE_TOPICS = 3,
    TRIPLE_FILTERS = 6, /* 1 + 2 + 3 */
};

/* What differs from kind to kind; every kind has all of them. */
struct kind {
    bool is_paired, is_shared;
    const char *(*fits)(struct shape *shape); /* NULL, or what is wrong */
    void (*topic)(const struct shape *shape, uint32_t topic, char *out);
    uint32_t (*topic_of)(const struct shape *shape, uint32_t publisher, uint64_t sequence);
    uint32_t (*filter_count)(const struct shape *shape, uint32_t subscriber);
    void (*filter)(const struct shape *shape, uint32_t subscriber, uint32_t filter, char *out);
    uint32_t (*receiver_count)(const struct shape *shape, uint32_t publisher, uint64_t sequence);
    uint32_t (*lane_count)(const struct shape *shape, uint32_t ledger);
    bool (*hears)(const struct shape *shape, uint32_t subscriber, uint32_t publisher,
                  uint64_t sequence, struct shape_place *out);
    uint64_t (*expected)(const struct shape *shape, uint32_t ledger, uint32_t lane,
                         const uint64_t *sent);
};

/* A topic per publisher: pairs, all, shared. */

static const char *fits_always(struct shape *shape)
{
    shape->topic_count = shape->publisher_count;
    return NULL;
}

static void plain_topic(const struct shape *shape, uint32_t topic, char *out)
{
    (void)shape;
    snprintf(out, SHAPE_TEXT_BYTES, "bench/%u", topic);
}

static uint32_t plain_topic_of(const struct shape *shape, uint32_t publisher, uint64_t sequence)
{
    (void)shape;
    (void)sequence;
    return publisher;
}

static uint32_t one_filter(const struct shape *shape, uint32_t subscriber)
{
    (void)shape;
    (void)subscriber;
    return 1;
}

static uint32_t lane_per_publisher(const struct shape *shape, uint32_t ledger)
{
    (void)ledger;
    return shape->publisher_count;
}

static bool hears_all(const struct shape *shape, uint32_t subscriber, uint32_t publisher,
                      uint64_t sequence, struct shape_place *out)
{
    (void)shape;
    (void)subscriber;
    *out = (struct shape_place){.lane = publisher, .ordinal = sequence};
    return true;
}

static uint64_t all_that_was_sent(const struct shape *shape, uint32_t ledger, uint32_t lane,
                                  const uint64_t *sent)
{
    (void)shape;
    (void)ledger;
    return sent[lane];
}

/* Pairs. */

static const char *fits_pairs(struct shape *shape)
{
    shape->topic_count = shape->publisher_count;
    return shape->publisher_count == shape->subscriber_count
               ? NULL
               : "pairs are as many publishers as subscribers; say how many pairs with -c";
}

static void pair_filter(const struct shape *shape, uint32_t subscriber, uint32_t filter, char *out)
{
    (void)filter;
    plain_topic(shape, subscriber, out);
}

static uint32_t one_receiver(const struct shape *shape, uint32_t publisher, uint64_t sequence)
{
    (void)shape;
    (void)publisher;
    (void)sequence;
    return 1;
}

static uint32_t one_lane(const struct shape *shape, uint32_t ledger)
{
    (void)shape;
    (void)ledger;
    return 1;
}

static bool hears_its_pair(const struct shape *shape, uint32_t subscriber, uint32_t publisher,
                           uint64_t sequence, struct shape_place *out)
{
    (void)shape;
    if (publisher != subscriber) {
        return false;
    }
    *out = (struct shape_place){.lane = 0, .ordinal = sequence};
    return true;
}

static uint64_t what_its_pair_sent(const struct shape *shape, uint32_t ledger, uint32_t lane,
                                   const uint64_t *sent)
{
    (void)shape;
    (void)lane;
    return sent[ledger];
}

/* All hear all. */

static void all_filter(const struct shape *shape, uint32_t subscriber, uint32_t filter, char *out)
{
    (void)subscriber;
    (void)filter;
    /* A single topic is subscribed to as such: matching it is not what is measured. */
    snprintf(out, SHAPE_TEXT_BYTES, shape->publisher_count == 1 ? "bench/0" : "bench/+");
}

static uint32_t all_receivers(const struct shape *shape, uint32_t publisher, uint64_t sequence)
{
    (void)publisher;
    (void)sequence;
    return shape->subscriber_count;
}

/* Shared. */

static const char *fits_shared(struct shape *shape)
{
    shape->topic_count = shape->publisher_count;
    return shape->group_count <= shape->subscriber_count
               ? NULL
               : "there are more groups than subscribers, and a group has one member or more";
}

static void shared_filter(const struct shape *shape, uint32_t subscriber, uint32_t filter,
                          char *out)
{
    (void)filter;
    snprintf(out, SHAPE_TEXT_BYTES, "$share/bench%u/bench/+", subscriber % shape->group_count);
}

static uint32_t one_in_each_group(const struct shape *shape, uint32_t publisher, uint64_t sequence)
{
    (void)publisher;
    (void)sequence;
    return shape->group_count;
}

/* Wildcards. */

static uint32_t inverse_of(uint32_t value, uint32_t modulus)
{
    int64_t a = value, b = modulus, x = 1, y = 0;
    while (b != 0) {
        int64_t quotient = a / b, rest = a % b, next = x - quotient * y;
        a = b;
        b = rest;
        x = y;
        y = next;
    }
    return a == 1 ? (uint32_t)((x % modulus + modulus) % modulus) : 0; /* 0: they share a factor */
}

static const char *fits_wildcards(struct shape *shape)
{
    uint32_t rest = shape->filter_count % TRIPLE_FILTERS;
    if (shape->subscriber_count < SHAPE_MATCHES_MAX) {
        return "a message goes to up to 3 subscribers, so there are 3 of them or more; use -c 3";
    }
    if (shape->filter_count < TRIPLE_FILTERS || shape->filter_count < shape->subscriber_count) {
        return "there are fewer filters than subscribers (or than 6)";
    }
    shape->topic_count = shape->filter_count / TRIPLE_FILTERS * TRIPLE_TOPICS + (rest >= 3   ? 2
                                                                                 : rest >= 1 ? 1
                                                                                             : 0);
    /* About the golden section of the topics, so that neighbours in time are far apart. */
    shape->stride = (uint32_t)((double)shape->topic_count * 0.618034);
    do {
        shape->stride++;
        shape->stride_inverse = inverse_of(shape->stride, shape->topic_count);
    } while (shape->stride_inverse == 0);
    return NULL;
}

/* Place of the walk at which this publisher begins. */
static uint32_t walk_begin(const struct shape *shape, uint32_t publisher)
{
    return (uint32_t)((uint64_t)publisher * shape->topic_count / shape->publisher_count);
}

static void wild_topic(const struct shape *shape, uint32_t topic, char *out)
{
    (void)shape;
    uint32_t site = topic / DEVICES, device = topic % DEVICES;
    snprintf(out, SHAPE_TEXT_BYTES, "bench/site%u/device%u/value%u", site, device, device);
}

static uint32_t wild_topic_of(const struct shape *shape, uint32_t publisher, uint64_t sequence)
{
    uint64_t place = sequence % shape->topic_count + walk_begin(shape, publisher);
    return (uint32_t)(place % shape->topic_count * shape->stride % shape->topic_count);
}

/* Filters of topic 3q + k are k + 1 in a row, the first of them 6q + k (k + 1) / 2. */
static uint32_t first_filter_of(uint32_t topic)
{
    uint32_t k = topic % TRIPLE_TOPICS;
    return topic / TRIPLE_TOPICS * TRIPLE_FILTERS + k * (k + 1) / 2;
}

static uint32_t topic_of_filter(uint32_t filter)
{
    static const uint8_t topic[TRIPLE_FILTERS] = {0, 1, 1, 2, 2, 2};
    return filter / TRIPLE_FILTERS * TRIPLE_TOPICS + topic[filter % TRIPLE_FILTERS];
}

static uint32_t wild_filter_count(const struct shape *shape, uint32_t subscriber)
{
    return (shape->filter_count - subscriber - 1) / shape->subscriber_count + 1;
}

static void wild_filter(const struct shape *shape, uint32_t subscriber, uint32_t filter, char *out)
{
    uint32_t number = subscriber + filter * shape->subscriber_count;
    uint32_t topic = topic_of_filter(number);
    uint32_t site = topic / DEVICES, device = topic % DEVICES;
    switch (number - first_filter_of(topic)) {
    case 0:
        snprintf(out, SHAPE_TEXT_BYTES, "bench/site%u/device%u/+", site, device);
        return;
    case 1:
        snprintf(out, SHAPE_TEXT_BYTES, "bench/site%u/+/value%u", site, device);
        return;
    default:
        snprintf(out, SHAPE_TEXT_BYTES, "+/site%u/device%u/#", site, device);
        return;
    }
}

static uint32_t wild_receivers(const struct shape *shape, uint32_t publisher, uint64_t sequence)
{
    return wild_topic_of(shape, publisher, sequence) % TRIPLE_TOPICS + 1;
}

static uint32_t wild_lane_count(const struct shape *shape, uint32_t ledger)
{
    return wild_filter_count(shape, ledger) * shape->publisher_count;
}

/* A publisher comes by a topic once in topic_count messages. */
static bool wild_hears(const struct shape *shape, uint32_t subscriber, uint32_t publisher,
                       uint64_t sequence, struct shape_place *out)
{
    uint32_t topic = wild_topic_of(shape, publisher, sequence);
    uint32_t first = first_filter_of(topic), count = topic % TRIPLE_TOPICS + 1;
    for (uint32_t filter = first; filter < first + count; filter++) {
        if (filter % shape->subscriber_count == subscriber) {
            *out = (struct shape_place){
                .lane = filter / shape->subscriber_count * shape->publisher_count + publisher,
                .ordinal = sequence / shape->topic_count,
            };
            return true;
        }
    }
    return false;
}

static uint64_t wild_expected(const struct shape *shape, uint32_t ledger, uint32_t lane,
                              const uint64_t *sent)
{
    uint32_t publisher = lane % shape->publisher_count;
    uint32_t filter = ledger + lane / shape->publisher_count * shape->subscriber_count;
    uint32_t topic = topic_of_filter(filter), topics = shape->topic_count;
    if (topic >= topics) {
        return 0; /* one of an incomplete three: nothing is published to it */
    }
    uint64_t place = (uint64_t)topic * shape->stride_inverse % topics;
    uint64_t first = (place + topics - walk_begin(shape, publisher)) % topics;
    return sent[publisher] > first ? (sent[publisher] - 1 - first) / topics + 1 : 0;
}

/* clang-format off */
static const struct kind kinds[SHAPE_KIND_COUNT] = {
    [SHAPE_PAIRS] = {
        .is_paired = true, .fits = fits_pairs, .topic = plain_topic, .topic_of = plain_topic_of,
        .filter_count = one_filter, .filter = pair_filter, .receiver_count = one_receiver,
        .lane_count = one_lane, .hears = hears_its_pair, .expected = what_its_pair_sent,
    },
    [SHAPE_ALL] = {
        .fits = fits_always, .topic = plain_topic, .topic_of = plain_topic_of,
        .filter_count = one_filter, .filter = all_filter, .receiver_count = all_receivers,
        .lane_count = lane_per_publisher, .hears = hears_all, .expected = all_that_was_sent,
    },
    [SHAPE_SHARED] = {
        .is_shared = true, .fits = fits_shared, .topic = plain_topic, .topic_of = plain_topic_of,
        .filter_count = one_filter, .filter = shared_filter, .receiver_count = one_in_each_group,
        .lane_count = lane_per_publisher, .hears = hears_all, .expected = all_that_was_sent,
    },
    [SHAPE_WILDCARDS] = {
        .fits = fits_wildcards, .topic = wild_topic, .topic_of = wild_topic_of,
        .filter_count = wild_filter_count, .filter = wild_filter, .receiver_count = wild_receivers,
        .lane_count = wild_lane_count, .hears = wild_hears, .expected = wild_expected,
    },
};
/* clang-format on */

static const struct kind *kind_of(const struct shape *shape)
{
    return &kinds[shape->kind];
}

enum err shape_init(enum shape_kind kind, uint32_t publisher_count, uint32_t subscriber_count,
                    uint32_t group_count, uint32_t filter_count, struct shape *out,
                    const char **why)
{
    ASSERT(kind < SHAPE_KIND_COUNT);
    ASSERT(publisher_count > 0);
    ASSERT(subscriber_count > 0);
    struct shape shape = {
        .kind = kind,
        .publisher_count = publisher_count,
        .subscriber_count = subscriber_count,
        .group_count = group_count == 0 ? 1 : group_count,
        .filter_count = filter_count == 0 ? SHAPE_FILTERS_DEFAULT : filter_count,
    };
    const char *wrong = kinds[kind].fits(&shape);
    if (wrong != NULL) {
        *why = wrong;
        return ERR_INVALID;
    }
    *out = shape;
    return OK;
}

bool shape_is_paired(const struct shape *shape)
{
    return kind_of(shape)->is_paired;
}

bool shape_is_shared(const struct shape *shape)
{
    return kind_of(shape)->is_shared;
}

void shape_topic(const struct shape *shape, uint32_t topic, char out[SHAPE_TEXT_BYTES])
{
    ASSERT(topic < shape->topic_count);
    kind_of(shape)->topic(shape, topic, out);
}

uint32_t shape_topic_of(const struct shape *shape, uint32_t publisher, uint64_t sequence)
{
    return kind_of(shape)->topic_of(shape, publisher, sequence);
}

uint32_t shape_filter_count(const struct shape *shape, uint32_t subscriber)
{
    return kind_of(shape)->filter_count(shape, subscriber);
}

void shape_filter(const struct shape *shape, uint32_t subscriber, uint32_t filter,
                  char out[SHAPE_TEXT_BYTES])
{
    ASSERT(filter < shape_filter_count(shape, subscriber));
    kind_of(shape)->filter(shape, subscriber, filter, out);
}

uint32_t shape_receiver_count(const struct shape *shape, uint32_t publisher, uint64_t sequence)
{
    return kind_of(shape)->receiver_count(shape, publisher, sequence);
}

uint32_t shape_ledger_of(const struct shape *shape, uint32_t subscriber)
{
    return shape_is_shared(shape) ? subscriber % shape->group_count : subscriber;
}

uint32_t shape_ledger_count(const struct shape *shape)
{
    return shape_is_shared(shape) ? shape->group_count : shape->subscriber_count;
}

uint32_t shape_lane_count(const struct shape *shape, uint32_t ledger)
{
    return kind_of(shape)->lane_count(shape, ledger);
}

bool shape_hears(const struct shape *shape, uint32_t subscriber, uint32_t publisher,
                 uint64_t sequence, struct shape_place *out)
{
    DASSERT(publisher < shape->publisher_count);
    return kind_of(shape)->hears(shape, subscriber, publisher, sequence, out);
}

uint64_t shape_lane_expected(const struct shape *shape, uint32_t ledger, uint32_t lane,
                             const uint64_t *sent)
{
    return kind_of(shape)->expected(shape, ledger, lane, sent);
}
