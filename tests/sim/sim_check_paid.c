/* What is owed to whom when all is quiet, what is retained then, and how much there was. */
#include "tests/sim/sim.h"
#include "tests/sim/sim_check_parts.h"

#include <string.h>

static bool is_due(const struct check *check, const struct message *message)
{
    if (check->has_refusals && check->sim->options.is_durable &&
        (message->qos == 2 || message->retain)) {
        return false; /* it was taken into an outbox: who refuses it there is not heard any more */
    }
    if (message->expiry_s > 0 &&
        check_clock(check) + SIM_S > message->first_clock_ns + message->expiry_s * SIM_S) {
        return false;
    }
    if (message->kind == CHECK_WILL) {
        return message->fate == FATE_MUST && message->qos > 0;
    }
    return message->kind == CHECK_PLAIN && message->qos > 0 && message->acked_tick > 0;
}

/* Subscribed before it was sent, and ever since. */
static bool is_owed(const struct life *life, const struct message *message, int group)
{
    for (uint32_t i = 0; i < life->interval_count; i++) {
        const struct interval *interval = &life->intervals[i];
        const struct check_filter *filter = &check_filters[interval->filter];
        if (filter->group == group && interval->qos > 0 && interval->sure_from > 0 &&
            interval->sure_from < message->first_tick && interval->sure_until == UINT64_MAX &&
            check_matches(filter->pattern, message->topic)) {
            return true;
        }
    }
    return false;
}

static bool has(const struct life *life, uint32_t number)
{
    return number <= life->got_capacity && life->got[number - 1].any > 0;
}

static void check_life_paid(struct check *check, const struct life *life)
{
    for (uint32_t number = 1; number <= check->message_count; number++) {
        const struct message *message = check_message_of(check, number);
        if (is_due(check, message) && is_owed(life, message, -1) && !has(life, number)) {
            sim_fail(check->sim, "%s: c%u never got m%u (%s, QoS %u)",
                     message->kind == CHECK_WILL ? "P7"
                     : message->qos == 1         ? "P1"
                                                 : "P2",
                     life->client, number, message->topic, message->qos);
        }
        if (message->kind == CHECK_WILL && has(life, number) &&
            (message->fate == FATE_MUST_NOT || message->fate == FATE_OPEN)) {
            sim_fail(check->sim, "P7: c%u got the will m%u that was not due", life->client, number);
        }
    }
}

static void check_groups_paid(struct check *check)
{
    for (uint32_t number = 1; number <= check->message_count; number++) {
        const struct message *message = check_message_of(check, number);
        for (int group = 0; group < CHECK_GROUPS; group++) {
            bool is_exact = group == 1 && message->qos == 2;
            if (!is_due(check, message) || message->group_has[group] ||
                message->first_ns <= check->group_lost_ns[group] ||
                (is_exact && message->first_ns <= check->group_unsure_ns[group])) {
                continue;
            }
            for (uint32_t i = 0; i < check->life_count; i++) {
                const struct life *life = check->lives[i];
                if (!life->is_over && is_owed(life, message, group)) {
                    sim_fail(check->sim, "P8: no member got m%u (%s, QoS %u), not even c%u", number,
                             message->topic, message->qos, life->client);
                }
            }
        }
    }
}

void check_all_paid(struct check *check)
{
    for (uint32_t i = 0; i < check->life_count; i++) {
        if (!check->lives[i]->is_over) {
            check_life_paid(check, check->lives[i]);
        }
    }
    if (!check->has_refusals && !check->has_bad_disk) {
        check_groups_paid(check);
    }
}

/*
 * P6. What is stored last is the last one acknowledged, or one whose last sending began after the
 * first sending of that one.
 */
void check_retained(struct check *check, const char *topic, uint32_t number)
{
    const struct message *last = NULL;
    bool may_be_nothing = true;
    if (number > 0 && check->forgets &&
        check_message_of(check, number)->sent_start != check->start) {
        sim_fail(check->sim, "P6: %s keeps m%u, sent to a node that has forgotten it", topic,
                 number);
    }
    for (uint32_t i = 1; i <= check->message_count; i++) {
        const struct message *message = check_message_of(check, i);
        bool counts = !check->forgets || message->acked_start == check->start;
        if (message->retain && message->acked_tick > 0 && counts &&
            strcmp(message->topic, topic) == 0) {
            last = last == NULL || message->first_tick > last->first_tick ? message : last;
        }
    }
    for (uint32_t i = 1; last != NULL && i <= check->message_count; i++) {
        const struct message *message = check_message_of(check, i);
        if (!message->retain || strcmp(message->topic, topic) != 0) {
            continue;
        }
        bool is_allowed = message == last || message->last_tick > last->first_tick;
        may_be_nothing = message == last ? message->kind == CHECK_CLEAR : may_be_nothing;
        if (i == number && !is_allowed) {
            sim_fail(check->sim, "P6: %s keeps m%u, stored before the last one", topic, number);
        }
    }
    for (uint32_t i = 1; last != NULL && number == 0 && i <= check->message_count; i++) {
        const struct message *message = check_message_of(check, i);
        may_be_nothing |= message->kind == CHECK_CLEAR && strcmp(message->topic, topic) == 0 &&
                          message->last_tick > last->first_tick;
    }
    if (number == 0 && last != NULL && !may_be_nothing) {
        sim_fail(check->sim, "P6: %s keeps nothing", topic);
    }
}

void check_retained_forget(struct check *check)
{
    memset(check->retained_seen, 0, sizeof(check->retained_seen));
}

uint32_t check_retained_seen(const struct check *check, const char *topic)
{
    for (uint32_t i = 0; i < check->client_count; i++) {
        uint32_t number = check->retained_seen[i];
        if (number > 0 && strcmp(check->messages[number - 1].topic, topic) == 0) {
            return number;
        }
    }
    return 0;
}

uint64_t check_deliveries_hash(const struct check *check)
{
    return check->deliveries_hash;
}

uint32_t check_delivery_count(const struct check *check)
{
    return check->delivery_count;
}

uint32_t check_message_count(const struct check *check)
{
    return check->message_count;
}

const char *check_topic(const struct check *check, uint32_t number)
{
    return check->messages[number - 1].topic;
}
