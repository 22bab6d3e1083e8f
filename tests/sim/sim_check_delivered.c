/* What arrives: was it asked for, may it come, in that order, and how often? */
#include "tests/sim/sim.h"
#include "tests/sim/sim_check_parts.h"

#include <string.h>
#include <xxhash.h>

enum { DELIVERIES_COUNTED_MAX = 255 };

/* The intervals by which a message may have come to a life: as bits, plain and shared. */
static bool may_have(const struct life *life, const struct message *message, int *group)
{
    bool found = false;
    *group = -1;
    for (uint32_t i = 0; i < life->interval_count; i++) {
        const struct interval *interval = &life->intervals[i];
        const struct check_filter *filter = &check_filters[interval->filter];
        /* A message that is sent again may be routed again. */
        bool is_after = message->last_tick != 0 && message->first_tick > interval->until &&
                        message->kind != CHECK_WILL && !message->retain;
        if (check_matches(filter->pattern, message->topic) && !is_after) {
            found = true;
            *group = filter->group >= 0 ? filter->group : *group;
        }
    }
    return found;
}

static bool group_holds(const struct life *life, const struct message *message, int group)
{
    for (uint32_t i = 0; i < life->interval_count; i++) {
        const struct check_filter *filter = &check_filters[life->intervals[i].filter];
        if (filter->group == group && check_matches(filter->pattern, message->topic)) {
            return true;
        }
    }
    return false;
}

/* What came behind a message may have been taken all the same, as its publisher can be told so. */
static bool may_be_refused(const struct check *check, const struct message *message)
{
    return check->has_refusals || ((check->has_bad_disk || check->has_flaps) &&
                                   check->clients[message->publisher].hears_refusals);
}

/* P3 */
static void check_order(struct check *check, struct life *life, uint32_t number, uint8_t qos,
                        bool is_dup)
{
    const struct message *message = check_message_of(check, number);
    bool was_given_up = message->expiry_s > 0 && is_dup; /* as expired; a crash forgot that */
    if (message->kind != CHECK_PLAIN || message->topic[0] == 's' || was_given_up) {
        return;
    }
    uint64_t parts[4] = {XXH3_64bits(message->topic, strlen(message->topic)), message->publisher,
                         message->qos, qos};
    uint64_t key = XXH3_64bits(parts, sizeof(parts));
    for (uint32_t i = 0; i < life->order_count; i++) {
        struct order *order = &life->orders[i];
        if (order->key == key) {
            /* Published again after a broken connection, it is routed again, behind the later one. */
            bool is_repeat = (message->qos == 1 || may_be_refused(check, message)) &&
                             message->first_tick != message->last_tick;
            if (number < order->number && is_repeat) {
                return;
            }
            if (number < order->number) {
                sim_fail(check->sim, "P3: c%u has m%u after m%u (%s, QoS %u)", life->client, number,
                         order->number, message->topic, qos);
            }
            order->number = number;
            return;
        }
    }
    life->orders = check_grown(life->orders, life->order_count, &life->order_capacity,
                               sizeof(*life->orders));
    life->orders[life->order_count++] = (struct order){key, number};
}

static void count_delivery(struct check *check, const struct life *life, uint32_t number,
                           const struct check_delivery *delivery)
{
    const struct message *message = check_message_of(check, number);
    uint32_t what[5] = {life->client, life->index, message->publisher, message->publisher_count,
                        delivery->qos};
    check->deliveries_hash += XXH3_64bits(what, sizeof(what));
    check->delivery_count++;
}

/*
 * A crash found it on its way to all: then it goes to who has subscribed since, too. One copy for each
 * subscription, at its QoS, is allowed (3.3.4), and the earlier one was of QoS 0.
 */
static bool has_subscribed_since(const struct check *check, const struct life *life,
                                 const struct message *message)
{
    for (uint32_t i = 0; i < life->interval_count; i++) {
        const struct interval *interval = &life->intervals[i];
        if (interval->qos == 2 && interval->asked > message->first_tick &&
            check_matches(check_filters[interval->filter].pattern, message->topic)) {
            return message->first_clock_ns < check->restart_ns;
        }
    }
    return false;
}

/* P2 and P8: what may come once only. */
static void check_once(struct check *check, struct life *life, struct message *message,
                       uint32_t number, const struct check_delivery *delivery, int group)
{
    struct got *got = &life->got[number - 1];
    bool is_exact = delivery->qos == 2 || (delivery->qos == 0 && message->qos != 1);
    bool is_excused = check->has_refusals && message->first_tick != message->last_tick;
    if (!is_exact || group >= 0 || is_excused) {
        return;
    }
    if (delivery->qos == 2 && got->at_qos_0 && has_subscribed_since(check, life, message)) {
        got->at_qos_0 = false; /* once */
        return;
    }
    got->at_qos_0 |= delivery->qos == 0;
    if (++got->exact > 1) {
        sim_fail(check->sim, "P2: c%u has m%u (%s) twice at QoS %u", life->client, number,
                 message->topic, delivery->qos);
    }
}

static void check_shared(struct check *check, const struct life *life, struct message *message,
                         uint32_t number, const struct check_delivery *delivery)
{
    int group = -1;
    if (delivery->subscription_id > 0) {
        group = check_filters[delivery->subscription_id - 1].group;
    } else if (group_holds(life, message, 0) != group_holds(life, message, 1)) {
        group = group_holds(life, message, 1) ? 1 : 0;
    }
    if (group < 0) { /* it may have come by either: claim nothing but that it came */
        message->group_has[0] |= group_holds(life, message, 0);
        message->group_has[1] |= group_holds(life, message, 1);
        return;
    }
    message->group_has[group] = true;
    bool is_excused = check->has_refusals && message->first_tick != message->last_tick;
    if (delivery->qos == 2 && ++message->group_count[group] > 1 && !is_excused) {
        sim_fail(check->sim, "P8: m%u (%s) went to a second member, c%u", number, message->topic,
                 life->client);
    }
}

/* P9. What may have been under way already when it expired (DUP) may come later. */
static void check_expiry(struct check *check, uint32_t client, const struct message *message,
                         uint32_t number, const struct check_delivery *delivery)
{
    const struct known_client *known = &check->clients[client];
    uint64_t whole_ns = message->expiry_s * SIM_S;
    if (message->expiry_s == 0) {
        return;
    }
    uint64_t waited_ns = message->acked_tick == 0 || known->begun_ns <= message->acked_clock_ns
                             ? 0
                             : known->begun_ns - message->acked_clock_ns;
    uint64_t left_s = delivery->expiry_s;
    if (waited_ns > whole_ns + SIM_S && !delivery->dup) {
        sim_fail(check->sim, "P9: c%u has m%u, which has expired", client, number);
    } else if (delivery->is_v5 &&
               (!delivery->has_expiry || left_s > message->expiry_s ||
                (waited_ns < whole_ns && left_s * SIM_S + waited_ns > whole_ns + 2 * SIM_S))) {
        sim_fail(check->sim, "P9: c%u has m%u with %llu s left of %u", client, number,
                 (unsigned long long)left_s, message->expiry_s);
    }
}

void check_delivered(struct check *check, uint32_t client, const struct check_delivery *delivery)
{
    struct life *life = check->clients[client].life;
    uint32_t number = delivery->number;
    if (number == 0) {
        return; /* a retained message was cleared: nothing to count by */
    }
    if (number > check->message_count) {
        sim_fail(check->sim, "P4: c%u has a message nobody sent", client);
        return;
    }
    struct message *message = check_message_of(check, number);
    int group = -1;
    if (!slice_is(delivery->topic, message->topic)) {
        sim_fail(check->sim, "P4: c%u has m%u with a wrong topic", client, number);
    } else if (message->kind == CHECK_GHOST) {
        sim_fail(check->sim, "P4: c%u has m%u of a connection that was taken over", client, number);
    } else if (delivery->qos > message->qos) {
        sim_fail(check->sim, "P4: c%u has m%u at QoS %u", client, number, delivery->qos);
    } else if (!may_have(life, message, &group)) {
        sim_fail(check->sim, "P4: c%u has m%u (%s) and never asked for it", client, number,
                 message->topic);
    } else if (delivery->subscription_id > CHECK_FILTERS ||
               (delivery->subscription_id > 0 &&
                !check_matches(check_filters[delivery->subscription_id - 1].pattern,
                               message->topic))) {
        sim_fail(check->sim, "P4: c%u has m%u by subscription %u", client, number,
                 delivery->subscription_id);
    }
    check_expiry(check, client, message, number, delivery);
    if (delivery->retain && message->topic[0] == 'r') {
        check->retained_seen[message->publisher] = number;
    }
    if (check->sim->has_failed || delivery->retain) {
        return; /* what was retained comes for the asking */
    }
    life->got = check_grown(life->got, number - 1, &life->got_capacity, sizeof(*life->got));
    struct got *got = &life->got[number - 1];
    if (got->any == 0) {
        check_order(check, life, number, delivery->qos, delivery->dup);
        count_delivery(check, life, number, delivery);
    }
    got->any += got->any < DELIVERIES_COUNTED_MAX;
    check_once(check, life, message, number, delivery, group);
    if (group >= 0) {
        check_shared(check, life, message, number, delivery);
    }
}
