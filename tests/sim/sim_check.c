#include "tests/sim/sim_check.h"

#include "core/base/assert.h"
#include "core/session/session.h"
#include "tests/sim/sim.h"
#include "tests/sim/sim_check_parts.h"

#include <stdio.h>
#include <stdlib.h>

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

/* How long the end of a connection, once known, and what comes of it may take to be on disk. Nobody
 * waits for it. */
#define CLOSE_KEPT_NS (3 * SIM_S)
/* How long the broker surely keeps a connection after DISCONNECT, for want of a disk (parting.c: 5 s). */
#define PARTING_SURE_NS (4 * SIM_S)

void *check_grown(void *items, uint32_t count, uint32_t *capacity, size_t size)
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
bool check_matches(const char *pattern, const char *topic)
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

void check_client(struct check *check, uint32_t client, uint32_t expiry_s, uint64_t notice_ns,
                  bool hears_refusals)
{
    check->clients[client].expiry_s = expiry_s;
    check->clients[client].notice_ns = notice_ns;
    check->clients[client].hears_refusals = hears_refusals;
}

void check_allow_refusals(struct check *check)
{
    check->has_refusals = true;
}

void check_allow_bad_disk(struct check *check)
{
    check->has_bad_disk = true;
}

uint64_t check_clock(const struct check *check)
{
    return check->sim->now_ns + (uint64_t)check->ahead_ns;
}

/* ---- messages ------------------------------------------------------------------------------ */

struct message *check_message_of(struct check *check, uint32_t number)
{
    ASSERT(number >= 1);
    ASSERT(number <= check->message_count);
    return &check->messages[number - 1];
}

uint32_t check_message(struct check *check, uint32_t publisher, const char *topic, uint8_t qos,
                       bool retain, enum check_kind kind)
{
    check->messages = check_grown(check->messages, check->message_count, &check->message_capacity,
                                  sizeof(*check->messages));
    struct message *message = &check->messages[check->message_count++];
    *message = (struct message){.publisher = publisher, .qos = qos, .retain = retain, .kind = kind};
    snprintf(message->topic, sizeof(message->topic), "%s", topic);
    return check->message_count;
}

void check_publish_sent(struct check *check, uint32_t number)
{
    struct message *message = check_message_of(check, number);
    message->last_tick = ++check->tick;
    message->sent_start = check->clients[message->publisher].start;
    if (message->first_tick == 0) {
        message->first_tick = message->last_tick;
        message->first_ns = check->sim->now_ns;
        message->first_clock_ns = check_clock(check);
    }
}

void check_expires(struct check *check, uint32_t number, uint32_t expiry_s)
{
    check_message_of(check, number)->expiry_s = expiry_s;
}

void check_acked(struct check *check, uint32_t number)
{
    struct message *message = check_message_of(check, number);
    if (message->acked_tick == 0) {
        message->acked_tick = ++check->tick;
        message->acked_clock_ns = check_clock(check);
        message->acked_start = check->clients[message->publisher].start;
    }
}

void check_will_fate(struct check *check, uint32_t number, enum check_fate fate)
{
    struct message *message = check_message_of(check, number);
    ASSERT(message->kind == CHECK_WILL);
    bool has_crashed = check->clients[message->publisher].start != check->start;
    if (fate == FATE_MUST_NOT && has_crashed && !check->forgets) {
        fate = FATE_MAY; /* the goodbye of its last moments */
    }
    if (fate == FATE_MUST && has_crashed && !check->forgets && check->will_grace_ns > 0) {
        fate = FATE_MAY; /* it may come back in time */
    }
    if (message->fate == FATE_OPEN) {
        message->fate = fate;
        message->fate_ns = check->sim->now_ns;
    }
}

void check_will_runs(struct check *check, uint32_t number, uint32_t delay_s)
{
    const struct message *message = check_message_of(check, number);
    struct known_client *known = &check->clients[message->publisher];
    known->late_will = message->fate == FATE_MAY && !sim_may_refuse(check->sim) ? number : 0;
    known->late_delay_s = delay_s;
}

/* It comes back: had the delay of its will passed by then? */
static void late_will_judge(struct check *check, struct known_client *known)
{
    uint64_t now_ns = check_clock(check);
    bool is_known = !check->is_down && known->gone_ns != UINT64_MAX && !check->forgets &&
                    !sim_may_refuse(check->sim);
    if (known->late_will != 0 && is_known &&
        now_ns > known->gone_ns + known->late_delay_s * SIM_S + check->will_grace_ns + SIM_S &&
        now_ns > check->restart_ns + SIM_S) {
        check_message_of(check, known->late_will)->fate = FATE_MUST;
    }
    known->late_will = 0;
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

/* Its session was there, and its time is not over however one counts. */
static bool must_be_there(const struct check *check, const struct known_client *known)
{
    bool was_there = known->life != NULL && !known->life->is_over;
    return was_there &&
           (known->session == SESSION_SURE ||
            check_clock(check) + SIM_S / 10 < known->over_ns + known->expiry_s * SIM_S);
}

void check_connect_sent(struct check *check, uint32_t client, bool clean)
{
    struct known_client *known = &check->clients[client];
    late_will_judge(check, known);
    known->begun_ns = check_clock(check);
    known->connect_count++;
    known->is_connected = true;
    known->is_answered = false;
    known->has_parted = false;
    known->start = check->start;
    known->died_ns = 0;
    known->doubt_count += !clean && known->life != NULL && !must_be_there(check, known);
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
        known->life->next_ns = check->sim->now_ns;
    }
    known->life = life;
    check->lives = check_grown(check->lives, check->life_count, &check->life_capacity,
                               sizeof(*check->lives));
    check->lives[check->life_count++] = life;
}

static bool has_expired(const struct known_client *known)
{
    return known->expiry_s != UINT32_MAX && known->lost_ns > 0 && known->gone_ns != UINT64_MAX &&
           known->begun_ns > known->gone_ns + known->expiry_s * SIM_S; /* its CONNECT came later */
}

bool check_is_forgotten(const struct check *check, uint32_t client)
{
    return check->forgets && check->clients[client].start != check->start;
}

bool check_connack(struct check *check, uint32_t client, bool clean, bool session_present)
{
    bool is_doubtful = session_present && check->clients[client].doubt_count > 1;
    struct known_client *known = &check->clients[client];
    bool is_first = known->connect_count == 1;
    if (session_present && (clean || is_first)) {
        sim_fail(check->sim, "P5: c%u is offered a session that cannot be", client);
    } else if (session_present && has_expired(known)) {
        sim_fail(check->sim, "P5: c%u finds a session that has expired", client);
    } else if (!session_present && !clean && must_be_there(check, known)) {
        sim_fail(check->sim, "P5: the session of c%u is lost", client);
    }
    if (!session_present || known->life == NULL) {
        groups_unsure(check, client);
        life_begin(check, client);
    }
    if (is_doubtful) { /* made by a CONNECT whose answer was lost? */
        known->life->is_over = true;
    }
    if (known->expiry_s > 0 && known->begun_ns > check->told_ns &&
        !check_is_forgotten(check, client)) {
        check->told_ns = known->begun_ns;
    }
    known->doubt_count = 0;
    known->is_answered = true;
    known->session = SESSION_SURE;
    known->over_ns = known->died_ns;
    if (check_is_forgotten(check, client)) { /* the word of a dead node */
        known->life->is_over = true;
        known->session = SESSION_MAYBE;
    }
    return !is_doubtful;
}

void check_leaves(struct check *check, uint32_t client)
{
    struct known_client *known = &check->clients[client];
    known->over_ns = known->over_ns == 0 ? check_clock(check) : known->over_ns;
}

void check_lost(struct check *check, uint32_t client, bool is_known)
{
    struct known_client *known = &check->clients[client];
    bool has_crashed = known->start != check->start;
    known->is_connected = false;
    known->lost_ns = check_clock(check);
    known->over_ns = known->over_ns == 0 ? known->lost_ns : known->over_ns;
    uint64_t gone_ns = known->lost_ns + (is_known ? SIM_S : known->notice_ns);
    if (known->is_answered || gone_ns > known->gone_ns) { /* else the one before may live still */
        known->gone_ns = gone_ns;
    }
    if (has_crashed) {
        uint64_t back_ns = known->led_ns > check->restart_ns ? known->led_ns : check->restart_ns;
        known->gone_ns = check->is_down || known->is_lost ? UINT64_MAX : back_ns + SIM_S;
    }
    if (known->expiry_s != UINT32_MAX) {
        groups_unsure(check, client);
        known->session = SESSION_MAYBE;
    }
}

void check_parted(struct check *check, uint32_t client, uint32_t will)
{
    struct known_client *known = &check->clients[client];
    bool is_told = known->start == check->start && !sim_may_refuse(check->sim) &&
                   check_clock(check) < known->over_ns + PARTING_SURE_NS;
    known->has_parted = is_told;
    known->gone_ns = is_told ? known->lost_ns : known->gone_ns;
    if (will != 0) {
        check_message_of(check, will)->is_withdrawn = is_told;
    }
}

/* ---- the node's end ------------------------------------------------------------------------ */

static void group_messages_lost(struct check *check, const struct life *life, uint64_t until_ns)
{
    for (uint32_t i = 0; i < life->interval_count; i++) {
        int group = check_filters[life->intervals[i].filter].group;
        if (group >= 0 && until_ns > check->group_lost_ns[group]) {
            check->group_lost_ns[group] = until_ns;
        }
    }
}

/*
 * A session that ends with its connection is not on disk, nor is its end: what it gave back went to
 * another member by memory, and nobody waits until it is on that one's disk.
 */
static void short_lives_lost(struct check *check, uint32_t client)
{
    for (uint32_t i = 0; check->clients[client].expiry_s == 0 && i < check->life_count; i++) {
        const struct life *life = check->lives[i];
        bool is_late = life->next_ns + CLOSE_KEPT_NS >= check->sim->now_ns;
        if (life->client == client && life->next_ns > 0 && is_late) {
            group_messages_lost(check, life, life->next_ns);
        }
    }
}

/* A node that stops keeps nothing more on a full disk, however long it tries: begun_ns counts. */
static void crash_client(struct check *check, uint32_t client, uint64_t begun_ns)
{
    struct known_client *known = &check->clients[client];
    struct life *life = known->life;
    known->died_ns = known->died_ns == 0 ? begun_ns : known->died_ns;
    known->over_ns = known->over_ns == 0 ? begun_ns : known->over_ns;
    if (check->forgets) {
        known->session = SESSION_NONE;
        known->connect_count = 0;
    }
    if (check->forgets && life != NULL) {
        life->is_over = true;
    }
    if (known->is_connected || (!known->has_parted && known->gone_ns + CLOSE_KEPT_NS >= begun_ns)) {
        known->gone_ns = UINT64_MAX; /* as far as the disk knows it is still connected */
    }
    if (known->expiry_s == UINT32_MAX) {
        return;
    }
    groups_unsure(check, client);
    short_lives_lost(check, client);
    if (life != NULL) {
        group_messages_lost(check, life, check->sim->now_ns);
    }
}

void check_crash(struct check *check, uint64_t begun_ns, bool forgets)
{
    check->start++;
    check->is_down = true;
    check->forgets = forgets;
    for (uint32_t i = 0; i < check->client_count; i++) {
        crash_client(check, i, begun_ns + (uint64_t)check->ahead_ns);
    }
    for (uint32_t i = 0; i < check->message_count; i++) {
        struct message *message = &check->messages[i];
        bool is_late = message->fate_ns + CLOSE_KEPT_NS >= begun_ns;
        if (message->fate == FATE_MUST_NOT && is_late && !message->is_withdrawn && !forgets) {
            message->fate = FATE_MAY;
        }
    }
}

/* ---- partitions ---------------------------------------------------------------------------- */

void check_allow_flaps(struct check *check, uint64_t will_grace_ns)
{
    check->has_flaps = true;
    check->will_grace_ns = will_grace_ns;
}

static bool is_client_in(uint32_t client, uint32_t partition)
{
    char id[16];
    snprintf(id, sizeof(id), "c%u", client);
    return partition_of(slice_text(id)) == partition;
}

/* What was given back by memory found no group. */
static void groups_lost(struct check *check, uint32_t partition, uint64_t until_ns)
{
    static const char *const names[CHECK_GROUPS] = {"one/s/0/+", "two/s/#"};
    for (uint32_t i = 0; i < CHECK_GROUPS; i++) {
        bool is_it = partition_of(slice_text(names[i])) == partition;
        check->group_lost_ns[i] = is_it && until_ns > check->group_lost_ns[i]
                                      ? until_ns
                                      : check->group_lost_ns[i];
    }
}

/* Goodbyes of the last moments may be forgotten; and who comes back in time takes his will with him. */
static void wills_doubt(struct check *check, uint32_t client, uint64_t begun_ns)
{
    for (uint32_t i = 0; i < check->message_count; i++) {
        struct message *message = &check->messages[i];
        uint64_t notice_ns = check->clients[client].notice_ns;
        if (message->kind != CHECK_WILL || message->publisher != client) {
            continue;
        }
        bool is_late = message->fate_ns + CLOSE_KEPT_NS >= begun_ns && !message->is_withdrawn;
        bool is_unseen = message->fate_ns + notice_ns + CLOSE_KEPT_NS >= begun_ns;
        if ((message->fate == FATE_MUST_NOT && is_late) ||
            (message->fate == FATE_MUST && is_unseen && check->will_grace_ns > 0)) {
            message->fate = FATE_MAY;
        }
    }
}

void check_lead_lost(struct check *check, uint32_t partition, uint64_t begun_ns)
{
    groups_lost(check, partition, check->sim->now_ns);
    for (uint32_t i = 0; i < check->client_count; i++) {
        if (is_client_in(i, partition)) {
            crash_client(check, i, begun_ns + (uint64_t)check->ahead_ns);
            check->clients[i].is_lost = true;
            check->clients[i].start = check->start - 1; /* its connection is to one that is gone */
            wills_doubt(check, i, begun_ns);
        }
    }
}

void check_led(struct check *check, uint32_t partition)
{
    groups_lost(check, partition, check->sim->now_ns);
    for (uint32_t i = 0; i < check->client_count; i++) {
        struct known_client *known = &check->clients[i];
        if (is_client_in(i, partition)) {
            known->is_lost = false;
            known->led_ns = check_clock(check);
            known->gone_ns = known->gone_ns == UINT64_MAX ? known->led_ns + SIM_S : known->gone_ns;
        }
    }
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

void check_restart(struct check *check, int64_t ahead_ns, int64_t wall_ns)
{
    int64_t before_ns = (int64_t)check_clock(check), slack_ns = SIM_S / 100;
    check->ahead_ns = ahead_ns;
    int64_t now_ns = (int64_t)check_clock(check);
    if (check->told_ns > 0 && now_ns + slack_ns < (int64_t)check->told_ns) {
        sim_fail(check->sim, "P10: the broker's clock is %lld ms behind what its disk has seen",
                 (long long)((int64_t)check->told_ns - now_ns) / 1000000);
    } else if (now_ns > slack_ns + (before_ns > wall_ns ? before_ns : wall_ns)) {
        sim_fail(check->sim, "P10: the broker's clock is ahead of the wall's and of its own");
    } else if (now_ns + slack_ns < wall_ns) {
        sim_fail(check->sim, "P10: the broker's clock is behind the wall's");
    }
    check->is_down = false;
    check->restart_ns = (uint64_t)now_ns;
    for (uint32_t i = 0; i < check->client_count; i++) {
        struct known_client *known = &check->clients[i];
        known->is_lost = false;
        if (known->gone_ns == UINT64_MAX) {
            known->gone_ns = check->restart_ns + SIM_S;
        }
        /* The clock may be behind what it was. What the disk knows to have ended did so before what
         * the clock says now; for the rest the time begins now. */
        known->died_ns = sooner(known->died_ns, check->restart_ns);
        known->over_ns = sooner(known->over_ns, check->restart_ns);
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
    life->intervals = check_grown(life->intervals, life->interval_count, &life->interval_capacity,
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
