#include "bench/scenario/crowd.h"

#include "bench/scenario/watch.h"
#include "core/io/tls_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SOURCE_COUNT = 64, /* 127.0.1.x: one address alone runs out of ports */
    ID_BYTES = 64,
};

#define LEAVE_NS ((uint64_t)2000000000)

bool crowd_is_over(const struct crowd *crowd)
{
    return crowd->is_broken || (!crowd->is_settling && scenario_is_stopped(crowd->options));
}

static bool is_told(struct crowd *crowd, const char *text)
{
    for (uint32_t i = 0; i < crowd->told_count; i++) {
        if (strcmp(crowd->told[i], text) == 0) {
            return true;
        }
    }
    if (crowd->told_count < CROWD_KINDS_MAX) {
        snprintf(crowd->told[crowd->told_count++], LOAD_TEXT_MAX, "%s", text);
        return false;
    }
    return true;
}

/* Each kind is told once, by its first client. */
static void refused(struct crowd_member *member, enum err why, uint8_t reason)
{
    struct crowd *crowd = member->crowd;
    char text[LOAD_TEXT_MAX];
    crowd->report->refused_count++;
    load_explain_client(&crowd->options->load, member->client, why, reason, text);
    if (!is_told(crowd, text)) {
        fprintf(stderr, "tern-bench: client bench-%s-%u was %s: %s\n", crowd->name, member->index,
                member->is_open ? "lost" : "refused", text);
    }
    crowd->is_broken |= !crowd->is_tolerant || crowd->report->refused_count > CROWD_REFUSED_MAX;
}

static void away(struct crowd_member *member)
{
    struct crowd *crowd = member->crowd;
    crowd->coming_count -= member->is_ready ? 0 : 1;
    crowd->open_count -= member->is_open ? 1 : 0;
    crowd->ready_count -= member->is_ready ? 1 : 0;
    member->client = NULL;
    member->is_open = member->is_ready = false;
}

void crowd_ready(struct crowd_member *member)
{
    ASSERT(!member->is_ready);
    member->is_ready = true;
    member->crowd->coming_count--;
    member->crowd->ready_count++;
}

/* ---- events of the load -------------------------------------------------------------------- */

static void on_opened(struct load_client *client)
{
    struct crowd_member *member = load_owner(client);
    member->is_open = true;
    member->crowd->open_count++;
    if (member->crowd->events->opened == NULL || member->crowd->is_fetching) {
        crowd_ready(member);
    } else {
        member->crowd->events->opened(member);
    }
}

static void on_subscribed(struct load_client *client)
{
    struct crowd_member *member = load_owner(client);
    if (member->crowd->events->subscribed != NULL) {
        member->crowd->events->subscribed(member);
    }
}

static void on_message(struct load_client *client, const struct mqtt_publish *message,
                       uint64_t received_ns)
{
    struct crowd_member *member = load_owner(client);
    if (member->crowd->events->message != NULL) {
        member->crowd->events->message(member, message, received_ns);
    } else {
        member->crowd->report->misdelivered_count++; /* it asked for nothing */
    }
}

static void on_finished(struct load_client *client)
{
    struct crowd_member *member = load_owner(client);
    if (member->crowd->events->finished != NULL) {
        member->crowd->events->finished(member);
    }
}

/* The newest one there is; servers of TLS 1.3 want each to be used once. */
static void keep_ticket(struct crowd_member *member)
{
    struct tls_session *ticket = member->crowd->options->is_resuming ? load_ticket(member->client)
                                                                     : NULL;
    if (ticket != NULL) {
        tls_session_free(member->ticket);
        member->ticket = ticket;
    }
}

static void on_closed(struct load_client *client, enum err why, uint8_t reason)
{
    struct crowd_member *member = load_owner(client);
    if (why != OK && !member->crowd->is_leaving) {
        refused(member, why, reason);
    }
    keep_ticket(member);
    away(member);
    if (member->crowd->events->closed != NULL && !member->crowd->is_fetching) {
        member->crowd->events->closed(member);
    }
}

static const struct load_events load_events = {
    .opened = on_opened,
    .subscribed = on_subscribed,
    .message = on_message,
    .finished = on_finished,
    .closed = on_closed,
};

/* ---- coming and going ---------------------------------------------------------------------- */

/* On this machine every client may come from an address of its own block. */
static bool source_of(const struct crowd_member *member, struct address *out)
{
    const struct load_config *config = &member->crowd->options->load;
    if (config->to.kind != ADDRESS_IP4 || !address_is_loopback(&config->to) ||
        config->from.kind != ADDRESS_NONE) {
        return false;
    }
    *out = (struct address){.kind = ADDRESS_IP4};
    out->ip[0] = 127;
    out->ip[2] = 1;
    out->ip[3] = (uint8_t)(1 + member->index % SOURCE_COUNT);
    return true;
}

void crowd_connect(struct crowd_member *member, uint64_t begin_ns)
{
    struct crowd *crowd = member->crowd;
    struct address source;
    char id[ID_BYTES];

    ASSERT(member->client == NULL);
    snprintf(id, sizeof(id), "bench-%s-%u", crowd->name, member->index);
    struct load_client_options options = {
        .client_id = id,
        .from = source_of(member, &source) ? &source : NULL,
        .session = crowd->session,
        .ticket = member->ticket,
    };
    member->begin_ns = begin_ns;
    enum err err = load_connect_with(crowd->load, &options, &load_events, member, &member->client);
    if (err != OK) {
        refused(member, err, 0);
        return;
    }
    crowd->coming_count++;
}

enum err crowd_gather(struct crowd *crowd, uint32_t coming_max)
{
    uint64_t progress_ns = load_clock_ns();
    uint32_t next = 0, done_count = crowd->ready_count + crowd->open_count;

    crowd->is_leaving = false;
    while (crowd->ready_count < crowd->count && !crowd_is_over(crowd)) {
        for (; next < crowd->count && crowd->coming_count < coming_max && !crowd->is_broken;
             next++) {
            if (crowd->members[next].client == NULL) {
                crowd_connect(&crowd->members[next], load_clock_ns());
            }
        }
        watch_turn(crowd->options, crowd->load, CROWD_TURN_NS);
        uint64_t now_ns = load_clock_ns();
        if (crowd->ready_count + crowd->open_count != done_count) {
            done_count = crowd->ready_count + crowd->open_count;
            progress_ns = now_ns;
        } else if (now_ns - progress_ns > CROWD_STALL_NS) {
            fprintf(stderr,
                    "tern-bench: nothing happened for %u s: of %u clients %u wait for CONNACK, %u "
                    "for SUBACK or their own message, %u are ready\n",
                    (uint32_t)(CROWD_STALL_NS / 1000000000u), crowd->count,
                    crowd->coming_count + crowd->ready_count - crowd->open_count,
                    crowd->open_count - crowd->ready_count, crowd->ready_count);
            return ERR_TIMEOUT;
        }
    }
    return crowd->is_broken ? ERR_CLOSED : OK;
}

enum err crowd_fetch_tickets(struct crowd *crowd)
{
    enum err err = OK;
    if (crowd->options->is_resuming) {
        crowd->is_fetching = true;
        err = crowd_gather(crowd, CROWD_COMING_MAX);
        crowd_leave(crowd);
        crowd->is_fetching = crowd->is_leaving = false;
    }
    if (crowd->options->load.tally != NULL) {
        *crowd->options->load.tally = (struct load_tally){0};
    }
    return err;
}

void crowd_turn_until(struct crowd *crowd, uint64_t until_ns)
{
    uint64_t now_ns = load_clock_ns();
    while (now_ns < until_ns && !crowd_is_over(crowd)) {
        watch_turn(crowd->options, crowd->load,
                   until_ns - now_ns < CROWD_TURN_NS ? until_ns - now_ns : CROWD_TURN_NS);
        now_ns = load_clock_ns();
    }
}

void crowd_meet(struct crowd *crowd, enum crew_stage stage)
{
    struct crew *crew = crowd->options->crew;
    crew_arrive(crew, stage);
    while (!crew_all_arrived(crew, stage) && !crew_is_failed(crew)) {
        watch_turn(crowd->options, crowd->load, CREW_TURN_NS);
    }
}

static void go(struct crowd *crowd, void (*how)(struct load_client *client))
{
    uint32_t left = UINT32_MAX;
    crowd->is_leaving = true;
    for (uint32_t i = 0; i < crowd->count; i++) {
        if (crowd->members[i].client != NULL) {
            how(crowd->members[i].client);
        }
    }
    uint64_t until_ns = load_clock_ns() + LEAVE_NS;
    while (crowd->coming_count + crowd->ready_count > 0 && load_clock_ns() < until_ns) {
        watch_turn(crowd->options, crowd->load, CROWD_TURN_NS);
        if (crowd->coming_count + crowd->ready_count < left) {
            left = crowd->coming_count + crowd->ready_count;
            until_ns = load_clock_ns() + LEAVE_NS;
        }
    }
}

void crowd_leave(struct crowd *crowd)
{
    go(crowd, load_disconnect);
}

void crowd_drop(struct crowd *crowd)
{
    go(crowd, load_drop);
}

enum err crowd_init(struct crowd *crowd, uint32_t count)
{
    const struct crew *crew = crowd->options->crew;
    crowd->count = crew_own_count(crew, count);
    crowd->members = calloc(crowd->count + 1, sizeof(crowd->members[0]));
    if (crowd->members == NULL) {
        crowd->count = 0;
        return ERR_NOMEM;
    }
    for (uint32_t i = 0; i < crowd->count; i++) {
        crowd->members[i].crowd = crowd;
        crowd->members[i].index = crew_index(crew) + i * crew_count(crew);
    }
    return OK;
}

void crowd_deinit(struct crowd *crowd)
{
    for (uint32_t i = 0; i < crowd->count; i++) {
        tls_session_free(crowd->members[i].ticket);
    }
    free(crowd->members);
    crowd->members = NULL;
    crowd->count = 0;
}
