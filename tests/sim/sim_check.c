#include "tests/sim/sim_check.h"

#include "core/base/assert.h"
#include "tests/sim/sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

/* clang-format off */
const struct check_filter check_filters[CHECK_FILTERS] = {
    {"t/0/a",              "t/0/a", -1, -1},
    {"t/0/+",              "t/0/+", -1, -1},
    {"t/+/a",              "t/+/a", -1, -1},
    {"t/#",                "t/#",   -1, -1},
    {"t/2/b",              "t/2/b", -1, -1},
    {"r/#",                "r/#",   -1, -1},
    {"r/+",                "r/+",   -1, -1},
    {"w/#",                "w/#",   -1,  2},
    {"$share/one/s/0/+",   "s/0/+",  0,  1},
    {"$share/two/s/#",     "s/#",    1,  2},
};
/* clang-format on */

enum { DELIVERIES_COUNTED_MAX = 255 };

struct message {
    char topic[CHECK_TOPIC_MAX];
    uint32_t publisher, publisher_count; /* how many its publisher had sent before */
    uint8_t qos;
    bool retain;
    enum check_kind kind;
    enum check_fate fate;                       /* of a will */
    uint64_t first_tick, last_tick, acked_tick; /* 0: not yet */
    uint64_t first_ns;
    uint8_t group_count[CHECK_GROUPS]; /* deliveries by a shared subscription at QoS 2 */
    bool group_has[CHECK_GROUPS];
};

/* A subscription of one life, from SUBSCRIBE to UNSUBACK. */
struct interval {
    uint32_t filter;
    uint8_t qos;
    uint64_t asked, sure_from, sure_until, until; /* ticks; sure_from 0: no SUBACK yet */
};

struct got {
    uint8_t exact, any; /* at QoS 0 or 2; at all */
};

/* The highest number seen of a publisher, a topic, a QoS as published and as delivered. */
struct order {
    uint64_t key;
    uint32_t number;
};

struct life {
    uint32_t client, index; /* index: how many the client had before */
    bool is_over;           /* nothing is owed to it any more */
    struct interval *intervals;
    uint32_t interval_count, interval_capacity;
    struct got *got;
    uint32_t got_capacity;
    struct order *orders;
    uint32_t order_count, order_capacity;
};

struct known_client {
    uint32_t expiry_s;
    uint64_t notice_ns;
    enum { SESSION_NONE, SESSION_MAYBE, SESSION_SURE } session;
    struct life *life; /* NULL: none yet */
    uint32_t life_count, message_count, connect_count;
    uint64_t lost_ns, gone_ns; /* the connection's end; when the broker knows it for certain */
};

struct check {
    struct sim *sim;
    uint64_t tick;
    uint32_t client_count;
    struct known_client clients[CHECK_CLIENTS_MAX];
    struct message *messages;
    uint32_t message_count, message_capacity;
    struct life **lives;
    uint32_t life_count, life_capacity;
    uint64_t group_unsure_ns[CHECK_GROUPS]; /* a member's session may end until then */
    bool has_refusals;
    uint64_t deliveries_hash;
    uint32_t delivery_count;
    uint32_t retained_seen[CHECK_CLIENTS_MAX]; /* by the client in the topic r/<client> */
};

static void *grown(void *items, uint32_t count, uint32_t *capacity, size_t size)
{
    if (count < *capacity) {
        return items;
    }
    uint32_t wanted = *capacity == 0 ? 16 : *capacity * 2;
    wanted = wanted <= count ? count + 1 : wanted;
    items = realloc(items, wanted * size);
    ASSERT(items != NULL);
    memset((char *)items + *capacity * size, 0, (wanted - *capacity) * size);
    *capacity = wanted;
    return items;
}

/* The naive matcher: level by level. */
static bool matches(const char *pattern, const char *topic)
{
    for (;;) {
        if (*pattern == '#') {
            return true;
        }
        if (*pattern == '+') {
            pattern++;
            while (*topic != 0 && *topic != '/') {
                topic++;
            }
        }
        while (*pattern != 0 && *pattern != '+' && *pattern != '#' && *pattern == *topic) {
            pattern++;
            topic++;
        }
        if (*pattern == '+' || *pattern == '#') {
            continue;
        }
        return *pattern == 0 && *topic == 0;
    }
}

struct check *check_new(struct sim *sim, uint32_t client_count)
{
    struct check *check = calloc(1, sizeof(*check));
    ASSERT(check != NULL);
    ASSERT(client_count <= CHECK_CLIENTS_MAX);
    check->sim = sim;
    check->client_count = client_count;
    return check;
}

void check_free(struct check *check)
{
    if (check == NULL) {
        return;
    }
    for (uint32_t i = 0; i < check->life_count; i++) {
        free(check->lives[i]->intervals);
        free(check->lives[i]->got);
        free(check->lives[i]->orders);
        free(check->lives[i]);
    }
    free(check->lives);
    free(check->messages);
    free(check);
}

void check_client(struct check *check, uint32_t client, uint32_t expiry_s, uint64_t notice_ns)
{
    check->clients[client].expiry_s = expiry_s;
    check->clients[client].notice_ns = notice_ns;
}

void check_allow_refusals(struct check *check)
{
    check->has_refusals = true;
}

/* ---- messages ------------------------------------------------------------------------------ */

static struct message *message_of(struct check *check, uint32_t number)
{
    ASSERT(number >= 1);
    ASSERT(number <= check->message_count);
    return &check->messages[number - 1];
}

uint32_t check_message(struct check *check, uint32_t publisher, const char *topic, uint8_t qos,
                       bool retain, enum check_kind kind)
{
    check->messages = grown(check->messages, check->message_count, &check->message_capacity,
                            sizeof(*check->messages));
    struct message *message = &check->messages[check->message_count++];
    *message = (struct message){.publisher = publisher, .qos = qos, .retain = retain, .kind = kind};
    snprintf(message->topic, sizeof(message->topic), "%s", topic);
    return check->message_count;
}

void check_publish_sent(struct check *check, uint32_t number)
{
    struct message *message = message_of(check, number);
    message->last_tick = ++check->tick;
    if (message->first_tick == 0) {
        message->first_tick = message->last_tick;
        message->first_ns = check->sim->now_ns;
    }
}

void check_acked(struct check *check, uint32_t number)
{
    struct message *message = message_of(check, number);
    if (message->acked_tick == 0) {
        message->acked_tick = ++check->tick;
    }
}

void check_will_fate(struct check *check, uint32_t number, enum check_fate fate)
{
    struct message *message = message_of(check, number);
    ASSERT(message->kind == CHECK_WILL);
    if (message->fate == FATE_OPEN) {
        message->fate = fate;
    }
}

/* ---- lives --------------------------------------------------------------------------------- */

/* Whoever shares with this client: its session may end now, and the broker may hear of it later. */
static void groups_unsure(struct check *check, uint32_t client)
{
    uint64_t until_ns = check->sim->now_ns + check->clients[client].notice_ns;
    const struct life *life = check->clients[client].life;
    for (uint32_t i = 0; life != NULL && i < life->interval_count; i++) {
        int group = check_filters[life->intervals[i].filter].group;
        if (group >= 0 && until_ns > check->group_unsure_ns[group]) {
            check->group_unsure_ns[group] = until_ns;
        }
    }
}

void check_connect_sent(struct check *check, uint32_t client, bool clean)
{
    struct known_client *known = &check->clients[client];
    known->connect_count++;
    if (clean) {
        groups_unsure(check, client);
    }
    if (clean && known->life != NULL) {
        known->life->is_over = true;
    }
    if (clean || known->session == SESSION_NONE) {
        known->session = SESSION_MAYBE;
    }
}

static void life_begin(struct check *check, uint32_t client)
{
    struct known_client *known = &check->clients[client];
    struct life *life = calloc(1, sizeof(*life));
    ASSERT(life != NULL);
    life->client = client;
    life->index = known->life_count++;
    if (known->life != NULL) {
        known->life->is_over = true;
    }
    known->life = life;
    check->lives = grown(check->lives, check->life_count, &check->life_capacity,
                         sizeof(*check->lives));
    check->lives[check->life_count++] = life;
}

void check_connack(struct check *check, uint32_t client, bool clean, bool session_present)
{
    struct known_client *known = &check->clients[client];
    uint64_t expiry_ns = known->expiry_s * SIM_S;
    bool is_expired = known->expiry_s != UINT32_MAX && known->lost_ns > 0 &&
                      check->sim->now_ns > known->gone_ns + expiry_ns;
    bool is_first = known->connect_count == 1;
    if (session_present && (clean || is_first)) {
        sim_fail(check->sim, "P5: c%u is offered a session that cannot be", client);
    } else if (session_present && is_expired) {
        sim_fail(check->sim, "P5: c%u finds a session that has expired", client);
    } else if (!session_present && known->session == SESSION_SURE && !clean) {
        sim_fail(check->sim, "P5: the session of c%u is lost", client);
    }
    if (!session_present || known->life == NULL) {
        groups_unsure(check, client);
        life_begin(check, client);
    }
    known->session = SESSION_SURE;
}

void check_lost(struct check *check, uint32_t client, bool is_known)
{
    struct known_client *known = &check->clients[client];
    known->lost_ns = check->sim->now_ns;
    known->gone_ns = known->lost_ns + (is_known ? SIM_S : known->notice_ns);
    if (known->expiry_s != UINT32_MAX) {
        groups_unsure(check, client);
        known->session = SESSION_MAYBE;
    }
}

/* ---- subscriptions ------------------------------------------------------------------------- */

static struct interval *open_interval(struct life *life, uint32_t filter)
{
    for (uint32_t i = life->interval_count; i > 0; i--) {
        struct interval *interval = &life->intervals[i - 1];
        if (interval->filter == filter && interval->until == UINT64_MAX) {
            return interval;
        }
    }
    return NULL;
}

void check_subscribe_sent(struct check *check, uint32_t client, uint32_t filter, uint8_t qos)
{
    struct life *life = check->clients[client].life;
    struct interval *known = open_interval(life, filter);
    if (known != NULL && known->sure_until == UINT64_MAX) {
        return; /* a repeat changes nothing: same filter, same QoS */
    }
    life->intervals = grown(life->intervals, life->interval_count, &life->interval_capacity,
                            sizeof(*life->intervals));
    life->intervals[life->interval_count++] = (struct interval){.filter = filter,
                                                                .qos = qos,
                                                                .asked = ++check->tick,
                                                                .sure_until = UINT64_MAX,
                                                                .until = UINT64_MAX};
}

void check_suback(struct check *check, uint32_t client, uint32_t filter)
{
    struct interval *interval = open_interval(check->clients[client].life, filter);
    if (interval != NULL && interval->sure_from == 0) {
        interval->sure_from = ++check->tick;
    }
}

void check_unsubscribe_sent(struct check *check, uint32_t client, uint32_t filter)
{
    struct life *life = check->clients[client].life;
    for (uint32_t i = 0; i < life->interval_count; i++) {
        if (life->intervals[i].filter == filter && life->intervals[i].sure_until == UINT64_MAX) {
            life->intervals[i].sure_until = ++check->tick;
        }
    }
}

/* Messages that waited already may still come: the end is not held against what arrives. */
void check_unsuback(struct check *check, uint32_t client, uint32_t filter)
{
    struct life *life = check->clients[client].life;
    for (uint32_t i = 0; i < life->interval_count; i++) {
        if (life->intervals[i].filter == filter && life->intervals[i].until == UINT64_MAX &&
            life->intervals[i].sure_until != UINT64_MAX) {
            life->intervals[i].until = ++check->tick;
        }
    }
}

/* ---- deliveries ---------------------------------------------------------------------------- */

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
        if (matches(filter->pattern, message->topic) && !is_after) {
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
        if (filter->group == group && matches(filter->pattern, message->topic)) {
            return true;
        }
    }
    return false;
}

/* P3 */
static void check_order(struct check *check, struct life *life, uint32_t number, uint8_t qos)
{
    const struct message *message = message_of(check, number);
    if (message->kind != CHECK_PLAIN || message->topic[0] == 's') {
        return;
    }
    uint64_t parts[4] = {XXH3_64bits(message->topic, strlen(message->topic)), message->publisher,
                         message->qos, qos};
    uint64_t key = XXH3_64bits(parts, sizeof(parts));
    for (uint32_t i = 0; i < life->order_count; i++) {
        struct order *order = &life->orders[i];
        if (order->key == key) {
            /* Published again after a broken connection, it is routed again, behind the later one. */
            bool is_repeat = (message->qos == 1 || check->has_refusals) &&
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
    life->orders = grown(life->orders, life->order_count, &life->order_capacity,
                         sizeof(*life->orders));
    life->orders[life->order_count++] = (struct order){key, number};
}

static void count_delivery(struct check *check, const struct life *life, uint32_t number,
                           const struct check_delivery *delivery)
{
    const struct message *message = message_of(check, number);
    uint32_t what[5] = {life->client, life->index, message->publisher, message->publisher_count,
                        delivery->qos};
    check->deliveries_hash += XXH3_64bits(what, sizeof(what));
    check->delivery_count++;
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
    struct message *message = message_of(check, number);
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
                !matches(check_filters[delivery->subscription_id - 1].pattern, message->topic))) {
        sim_fail(check->sim, "P4: c%u has m%u by subscription %u", client, number,
                 delivery->subscription_id);
    }
    if (delivery->retain && message->topic[0] == 'r') {
        check->retained_seen[message->publisher] = number;
    }
    if (check->sim->has_failed || delivery->retain) {
        return; /* what was retained comes for the asking */
    }
    life->got = grown(life->got, number - 1, &life->got_capacity, sizeof(*life->got));
    struct got *got = &life->got[number - 1];
    if (got->any == 0) {
        check_order(check, life, number, delivery->qos);
        count_delivery(check, life, number, delivery);
    }
    got->any += got->any < DELIVERIES_COUNTED_MAX;
    check_once(check, life, message, number, delivery, group);
    if (group >= 0) {
        check_shared(check, life, message, number, delivery);
    }
}

/* ---- the end ------------------------------------------------------------------------------- */

static bool is_due(const struct message *message)
{
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
            matches(filter->pattern, message->topic)) {
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
        const struct message *message = message_of(check, number);
        if (is_due(message) && is_owed(life, message, -1) && !has(life, number)) {
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
        const struct message *message = message_of(check, number);
        for (int group = 0; group < CHECK_GROUPS; group++) {
            bool is_exact = group == 1 && message->qos == 2;
            if (!is_due(message) || message->group_has[group] ||
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
    if (!check->has_refusals) {
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
    for (uint32_t i = 1; i <= check->message_count; i++) {
        const struct message *message = message_of(check, i);
        if (message->retain && message->acked_tick > 0 && strcmp(message->topic, topic) == 0) {
            last = last == NULL || message->first_tick > last->first_tick ? message : last;
        }
    }
    for (uint32_t i = 1; last != NULL && i <= check->message_count; i++) {
        const struct message *message = message_of(check, i);
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
        const struct message *message = message_of(check, i);
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
