/* Clients of messages: how they come, and what they say when they go. */
#include "bench/crew/crew.h"
#include "bench/load/source.h"
#include "bench/scenario/scenario_messages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CONNECTING_MAX = 64,  /* connects under way at once: fewer than any backlog holds */
    FILTERS_AT_ONCE = 64, /* in one SUBSCRIBE */
    NAME_BYTES = 48,
    TURN_NS = 50 * 1000 * 1000,
};

#define SETUP_NS   ((uint64_t)60000000000)
#define GOODBYE_NS ((uint64_t)2000000000)

void messages_lose(struct messages *run, const struct load_client *client, enum err why,
                   uint8_t reason)
{
    if (run->is_ending) {
        return;
    }
    if (!run->is_broken) {
        fprintf(stderr, "tern-bench: a client was refused or lost: %s\n",
                load_explain_client(&run->options->load, client, why, reason, run->why_broken));
    }
    run->report->refused_count++;
    run->is_broken = true;
    run->is_sending = false;
}

/* The next few of its filters. */
static void subscribe_more(struct subscriber *subscriber)
{
    const struct messages *run = subscriber->run;
    char texts[FILTERS_AT_ONCE][SHAPE_TEXT_BYTES];
    struct mqtt_filter filters[FILTERS_AT_ONCE];
    uint32_t left = shape_filter_count(run->shape, subscriber->index) - subscriber->filters_asked;
    uint32_t count = left < FILTERS_AT_ONCE ? left : FILTERS_AT_ONCE;

    for (uint32_t i = 0; i < count; i++) {
        shape_filter(run->shape, subscriber->index, subscriber->filters_asked + i, texts[i]);
        filters[i] = (struct mqtt_filter){.filter = slice_text(texts[i]), .qos = run->options->qos};
    }
    load_subscribe_many(subscriber->client, filters, count);
    subscriber->filters_asked += count;
}

static void on_subscriber_opened(struct load_client *client)
{
    subscribe_more(load_owner(client));
}

static void on_subscribed(struct load_client *client)
{
    struct subscriber *subscriber = load_owner(client);
    subscriber->filters_granted = subscriber->filters_asked;
    if (subscriber->filters_granted <
        shape_filter_count(subscriber->run->shape, subscriber->index)) {
        subscribe_more(subscriber);
        return;
    }
    subscriber->run->ready_count++;
}

static void on_publisher_opened(struct load_client *client)
{
    struct publisher *publisher = load_owner(client);
    publisher->run->ready_count++;
}

static void on_subscriber_closed(struct load_client *client, enum err why, uint8_t reason)
{
    struct subscriber *subscriber = load_owner(client);
    subscriber->client = NULL;
    messages_lose(subscriber->run, client, why, reason);
}

static void on_publisher_closed(struct load_client *client, enum err why, uint8_t reason)
{
    struct publisher *publisher = load_owner(client);
    publisher->client = NULL;
    messages_lose(publisher->run, client, why, reason);
}

const struct load_events subscriber_events = {
    .opened = on_subscriber_opened,
    .subscribed = on_subscribed,
    .message = messages_on_message,
    .closed = on_subscriber_closed,
};

const struct load_events publisher_events = {
    .opened = on_publisher_opened,
    .finished = messages_on_finished,
    .closed = on_publisher_closed,
};

static uint32_t client_total(const struct messages *run)
{
    return run->shape->subscriber_count + run->shape->publisher_count;
}

static bool is_own(const struct messages *run, uint32_t index)
{
    uint32_t subscribers = run->shape->subscriber_count;
    return index < subscribers ? account_owns(run->shape, run->options->crew, index)
                               : crew_owns(run->options->crew, index - subscribers);
}

/* Names of clients tell bench/limit who feeds whom. */
static void name_of(const struct messages *run, uint32_t index, char out[NAME_BYTES])
{
    uint32_t subscribers = run->shape->subscriber_count;
    if (index < subscribers) {
        snprintf(out, NAME_BYTES, "bench-sub-%u", index);
    } else {
        snprintf(out, NAME_BYTES, "bench-pub-%u", index - subscribers);
    }
}

static enum err connect_client(struct messages *run, uint32_t index, enum load_session session,
                               const struct load_events *events, void *owner,
                               struct load_client **out)
{
    char name[NAME_BYTES];
    struct address source;
    name_of(run, index, name);
    struct load_client_options options = {
        .client_id = name,
        .from = source_of(&run->options->load, index, client_total(run), &source) ? &source : NULL,
        .session = session,
    };
    return load_connect_with(run->load, &options, events, owner, out);
}

static enum err start_client(struct messages *run, uint32_t index)
{
    if (index < run->shape->subscriber_count) {
        struct subscriber *subscriber = &run->subscribers[index];
        return connect_client(run, index, LOAD_SESSION_CONFIG, &subscriber_events, subscriber,
                              &subscriber->client);
    }
    struct publisher *publisher = &run->publishers[index - run->shape->subscriber_count];
    return connect_client(run, index, LOAD_SESSION_CONFIG, &publisher_events, publisher,
                          &publisher->client);
}

enum err messages_set_up(struct messages *run)
{
    uint64_t until_ns = load_clock_ns() + SETUP_NS;

    for (uint32_t i = 0; i < client_total(run); i++) {
        run->own_count += is_own(run, i);
    }
    while (run->ready_count < run->own_count && !run->is_broken &&
           !scenario_is_stopped(run->options) && !crew_is_failed(run->options->crew)) {
        while (run->next_index < client_total(run) &&
               run->started_count - run->ready_count < CONNECTING_MAX) {
            uint32_t index = run->next_index++;
            if (is_own(run, index)) {
                TRY(start_client(run, index));
                run->started_count++;
            }
        }
        load_turn(run->load, TURN_NS);
        if (load_clock_ns() > until_ns) {
            return ERR_TIMEOUT;
        }
    }
    return run->is_broken ? ERR_CLOSED : OK;
}

/* ---- sessions that are to be forgotten ---- */

struct wipe {
    struct messages *run;
    uint32_t under_way, next_index;
    bool is_broken;
};

static void on_wipe_opened(struct load_client *client)
{
    load_disconnect(client); /* a clean start has ended the old session, and none is left */
}

static void on_wipe_closed(struct load_client *client, enum err why, uint8_t reason)
{
    struct wipe *wipe = load_owner(client);
    wipe->under_way--;
    wipe->is_broken |= why != OK || reason != 0;
}

static const struct load_events wipe_events = {.opened = on_wipe_opened, .closed = on_wipe_closed};

static enum err wipe_next(struct wipe *wipe)
{
    struct load_client *ignored;
    uint32_t index = wipe->next_index++;
    if (!is_own(wipe->run, index)) {
        return OK;
    }
    TRY(connect_client(wipe->run, index, LOAD_SESSION_CLEAN, &wipe_events, wipe, &ignored));
    wipe->under_way++;
    return OK;
}

enum err messages_wipe(struct messages *run)
{
    struct wipe wipe = {.run = run};
    uint64_t until_ns = load_clock_ns() + SETUP_NS;
    while ((wipe.next_index < client_total(run) || wipe.under_way > 0) && !wipe.is_broken) {
        while (wipe.next_index < client_total(run) && wipe.under_way < CONNECTING_MAX) {
            TRY(wipe_next(&wipe));
        }
        load_turn(run->load, TURN_NS);
        if (load_clock_ns() > until_ns) {
            return ERR_TIMEOUT;
        }
    }
    return wipe.is_broken ? ERR_CLOSED : OK;
}

void messages_say_goodbye(struct messages *run)
{
    uint64_t until_ns = load_clock_ns() + GOODBYE_NS;
    run->is_ending = true;
    for (uint32_t i = 0; i < run->shape->subscriber_count; i++) {
        if (run->subscribers[i].client != NULL) {
            load_disconnect(run->subscribers[i].client);
        }
    }
    for (uint32_t i = 0; i < run->shape->publisher_count; i++) {
        if (run->publishers[i].client != NULL) {
            load_disconnect(run->publishers[i].client);
        }
    }
    while (load_client_count(run->load) > 0 && load_clock_ns() < until_ns) {
        load_turn(run->load, TURN_NS);
    }
}
