/* Connections themselves: how fast they come and go, and what a silent one costs. */
#include "bench/scenario_kinds.h"

#include <stdlib.h>
#include <string.h>

enum {
    CONNECTING_MAX = 64,
    SOURCE_COUNT = 64, /* 127.0.1.x: one address alone runs out of ports */
    REFUSED_MAX = 1000,
    TURN_NS = 50 * 1000 * 1000,
    NAME_MAX_BYTES = 32,
};

#define SETUP_NS  ((uint64_t)120000000000)
#define SETTLE_NS ((uint64_t)1000000000)

struct clients;

struct slot {
    struct clients *run;
    struct load_client *client;
    uint32_t index;
    uint64_t begin_ns;
    bool is_open;
};

struct clients {
    const struct scenario_options *options;
    struct report *report;
    struct load *load;
    struct slot *slots;
    uint32_t open_count, started_count;
    bool is_running, is_measuring, is_broken;
};

static void start(struct slot *slot);

static void on_connect_opened(struct load_client *client)
{
    struct slot *slot = load_owner(client);
    struct report *report = slot->run->report;
    slot->is_open = true;
    report->received_count++;
    if (slot->run->is_measuring) {
        report->connected_count++;
        histogram_add(&report->latency, load_clock_ns() - slot->begin_ns);
    }
    load_disconnect(client);
}

static void on_connect_closed(struct load_client *client, enum err why, uint8_t reason)
{
    struct slot *slot = load_owner(client);
    slot->client = NULL;
    if (!slot->is_open && slot->run->is_running) {
        if (slot->run->report->refused_count++ == 0) {
            fprintf(stderr, "tern-bench: a connect failed: %s (reason 0x%02x)\n", err_text(why),
                    reason);
        }
        slot->run->is_broken |= slot->run->report->refused_count > REFUSED_MAX;
    }
    if (slot->run->is_running && !slot->run->is_broken) {
        start(slot);
    }
}

static const struct load_events connect_events = {
    .opened = on_connect_opened,
    .closed = on_connect_closed,
};

static void on_idle_opened(struct load_client *client)
{
    struct slot *slot = load_owner(client);
    slot->is_open = true;
    slot->run->open_count++;
}

static void on_idle_closed(struct load_client *client, enum err why, uint8_t reason)
{
    struct slot *slot = load_owner(client);
    slot->client = NULL;
    if (!slot->run->is_running) {
        return;
    }
    if (slot->run->report->refused_count++ == 0) {
        fprintf(stderr, "tern-bench: a client was refused or lost: %s (reason 0x%02x)\n",
                err_text(why), reason);
    }
    slot->run->is_broken = true;
}

static const struct load_events idle_events = {.opened = on_idle_opened, .closed = on_idle_closed};

/* On this machine every client may come from an address of its own block. */
static bool source_of(const struct slot *slot, struct address *out)
{
    const struct address *to = &slot->run->options->load.to;
    if (to->kind != ADDRESS_IP4 || !address_is_loopback(to) ||
        slot->run->options->load.from.kind != ADDRESS_NONE) {
        return false;
    }
    *out = (struct address){.kind = ADDRESS_IP4};
    out->ip[0] = 127;
    out->ip[2] = 1;
    out->ip[3] = (uint8_t)(1 + slot->index % SOURCE_COUNT);
    return true;
}

static enum err start_with(struct slot *slot, const struct load_events *events)
{
    char client_id[NAME_MAX_BYTES];
    struct address source;
    snprintf(client_id, sizeof(client_id), "bench-%u", slot->index);
    slot->is_open = false;
    slot->begin_ns = load_clock_ns();
    return load_connect(slot->run->load, client_id, source_of(slot, &source) ? &source : NULL,
                        events, slot, &slot->client);
}

static void start(struct slot *slot)
{
    slot->run->report->sent_count++;
    if (start_with(slot, &connect_events) != OK) {
        slot->run->report->refused_count++;
        slot->run->is_broken = true;
    }
}

static enum err allocate(struct clients *run)
{
    run->slots = calloc(run->options->count, sizeof(run->slots[0]));
    if (run->slots == NULL) {
        return ERR_NOMEM;
    }
    for (uint32_t i = 0; i < run->options->count; i++) {
        run->slots[i].run = run;
        run->slots[i].index = i;
    }
    return load_new(&run->options->load, &run->load);
}

static void deallocate(struct clients *run)
{
    uint64_t until_ns = load_clock_ns() + 2 * SETTLE_NS;
    run->is_running = false;
    for (uint32_t i = 0; run->load != NULL && i < run->options->count; i++) {
        if (run->slots[i].client != NULL) {
            load_disconnect(run->slots[i].client);
        }
    }
    while (run->load != NULL && load_client_count(run->load) > 0 && load_clock_ns() < until_ns) {
        load_turn(run->load, TURN_NS);
    }
    load_free(run->load);
    free(run->slots);
}

static void turn_until(struct clients *run, uint64_t until_ns)
{
    uint64_t now_ns = load_clock_ns();
    while (now_ns < until_ns && !run->is_broken) {
        load_turn(run->load, until_ns - now_ns < TURN_NS ? until_ns - now_ns : TURN_NS);
        now_ns = load_clock_ns();
    }
}

enum err scenario_connects(const struct scenario_options *options, struct report *out)
{
    struct clients run = {.options = options, .report = out, .is_running = true};
    struct target_usage own = {0};
    enum err err = allocate(&run);

    if (err == OK) {
        uint64_t begin_ns = load_clock_ns();
        for (uint32_t i = 0; i < options->count; i++) {
            start(&run.slots[i]);
        }
        turn_until(&run, begin_ns + (uint64_t)(options->warmup_seconds * 1e9));
        run.is_measuring = true;
        out->has_target = scenario_sample(options, &out->target_before);
        (void)target_usage(0, &own);
        uint64_t own_ns = own.cpu_ns;
        begin_ns = load_clock_ns();
        turn_until(&run, begin_ns + (uint64_t)(options->seconds * 1e9));
        out->window_ns = load_clock_ns() - begin_ns;
        out->has_target = out->has_target && scenario_sample(options, &out->target_after);
        (void)target_usage(0, &own);
        out->bench_cpu_ns = own.cpu_ns - own_ns;
        run.is_measuring = false;
    }
    deallocate(&run);
    return err;
}

static enum err hold(struct clients *run)
{
    uint64_t until_ns = load_clock_ns() + SETUP_NS;
    while (run->open_count < run->options->count && !run->is_broken) {
        while (run->started_count < run->options->count &&
               run->started_count - run->open_count < CONNECTING_MAX) {
            TRY(start_with(&run->slots[run->started_count], &idle_events));
            run->started_count++;
        }
        load_turn(run->load, TURN_NS);
        if (load_clock_ns() > until_ns) {
            return ERR_TIMEOUT;
        }
    }
    uint64_t hold_ns = (uint64_t)(run->options->seconds * 1e9);
    turn_until(run, load_clock_ns() + (hold_ns > SETTLE_NS ? hold_ns : SETTLE_NS));
    return OK;
}

enum err scenario_idles(const struct scenario_options *options, struct report *out)
{
    struct clients run = {.options = options, .report = out, .is_running = true};
    enum err err = allocate(&run);

    if (err == OK) {
        out->has_target = scenario_sample(options, &out->target_before);
        err = hold(&run);
        out->has_target = out->has_target && scenario_sample(options, &out->target_after);
        out->idle_count = run.open_count;
    }
    deallocate(&run);
    return err;
}
