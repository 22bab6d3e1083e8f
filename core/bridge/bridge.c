/*
 * The life of bridges; the picture stands in bridge_parts.h.
 *
 * Invariants
 *   B1  the timer is set in every state but REST: nothing waits without an end.
 *   B2  remote is there in CONNECT, JOIN and OPEN; local in PREPARE, LAZY, JOIN and OPEN; no others.
 *   B3  a failure of one leg is the end of both: the sessions know what was not finished, and a leg
 *       that stays would wait for answers that never come.
 */
#include "core/base/assert.h"
#include "core/base/log.h"
#include "core/bridge/bridge_parts.h"
#include "core/io/pair.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND_NS  UINT64_C(1000000000)
#define POLL_NS    (SECOND_NS / 50)  /* of a lookup */
#define LOCAL_NS   (30 * SECOND_NS)  /* for our own broker to answer */
#define CONNECT_NS (20 * SECOND_NS)  /* for the other one, up to its CONNACK */
#define JOIN_NS    (120 * SECOND_NS) /* a session may have much to say before it answers */
#define PROBE_NS   (10 * SECOND_NS)

static void start(struct bridge *bridge);
static void seek(struct bridge *bridge);
static void fail(struct bridge *bridge);

static uint64_t now_of(const struct bridge *bridge)
{
    return io_now_ns(bridge->bridges->io);
}

static void state_set(struct bridge *bridge, enum bridge_state state, uint64_t after_ns)
{
    bridge->state = state;
    wheel_set(bridge->bridges->wheel, &bridge->timer, now_of(bridge) + after_ns); /* B1 */
}

static bool is_draining(const struct bridge *bridge)
{
    const struct bridge_ports *ports = &bridge->bridges->ports;
    return ports->is_draining != NULL && ports->is_draining(ports->context);
}

/* ---- legs ---------------------------------------------------------------------------------- */

static void probe_end(struct bridge *bridge)
{
    if (bridge->probe != NULL) {
        leg_drop(bridge->probe, false);
        bridge->probe = NULL;
    }
    lookup_free(bridge->probe_lookup);
    bridge->probe_lookup = NULL;
}

static void drop(struct leg **leg, bool is_polite)
{
    if (*leg != NULL) {
        leg_drop(*leg, is_polite);
        *leg = NULL;
    }
}

/* B3. Without goodbye both brokers publish the will: it is down. */
static void legs_drop(struct bridge *bridge, bool with_goodbye)
{
    if (bridge->state == BRIDGE_OPEN) {
        metric_sub(bridge->bridges->ports.metrics, METRIC_bridges_connected, 1);
    }
    probe_end(bridge);
    if (with_goodbye && bridge->state == BRIDGE_OPEN) {
        meet_notify(bridge, false);
    }
    if (with_goodbye && bridge->remote != NULL && bridge->remote->has_joined) {
        meet_goodbye(bridge->remote);
    }
    drop(&bridge->remote, with_goodbye);
    drop(&bridge->local, with_goodbye); /* without a DISCONNECT: its will says the same */
    bridge->waiting_count = 0;
}

static void on_opened(void *owner, struct leg *leg)
{
    struct bridge *bridge = owner;
    if (leg == bridge->probe) {
        return; /* seen in the next tick: it is the first address that answers */
    }
    meet_hello(bridge, leg);
}

static bool on_packet(void *owner, struct leg *leg, const struct frame *frame)
{
    return pass_packet(owner, leg, frame);
}

static void on_ended(void *owner, struct leg *leg, enum err why, const char *detail)
{
    struct bridge *bridge = owner;
    const struct bridge_config *config = bridge->config;
    const struct bridge_address *address = &config->addresses[bridge->address_index];
    if (leg == bridge->probe) {
        bridge->probe = NULL;
        return;
    }
    bool is_remote = leg == bridge->remote;
    if (is_remote && why == ERR_CLOSED && bridge->state == BRIDGE_CONNECT &&
        leg->version != MQTT_5 && leg->is_open) {
        bridge->is_private_refused = !bridge->is_private_refused; /* perhaps it was that */
    }
    if (is_remote && detail[0] == '\0' && bridge->state == BRIDGE_CONNECT && leg->is_open) {
        detail = leg->tls == NULL ? "before its CONNACK: does that port want TLS (bridge_cafile)?"
                                  : "before its CONNACK: its log says more";
    }
    /* An attempt that fails like the one before is no news. */
    bool is_news = bridge->state == BRIDGE_OPEN || !bridge->is_told;
    log_event(is_news ? LOG_WARNING : LOG_INFO,
              bridge->state == BRIDGE_OPEN ? "bridge: connection lost" : "bridge: cannot connect",
              LOG_TEXT("bridge", config->name),
              LOG_TEXT("side", is_remote ? "the other broker" : "this broker"),
              LOG_TEXT("address", is_remote ? address->host : ""),
              LOG_U64("port", is_remote ? address->port : 0), LOG_TEXT("reason", err_text(why)),
              LOG_TEXT("detail", detail));
    bridge->is_told = true;
    if (is_remote) {
        bridge->remote = NULL;
    } else {
        bridge->local = NULL;
    }
    fail(bridge);
}

/* Whoever waited for the other leg may go on; then all that was written leaves. */
static void on_turned(void *owner)
{
    struct bridge *bridge = owner;
    if (bridge->remote != NULL) {
        leg_go_on(bridge->remote);
    }
    if (bridge->local != NULL) {
        leg_go_on(bridge->local);
    }
    if (bridge->probe != NULL) {
        leg_flush(bridge->probe);
    }
    if (bridge->remote != NULL) {
        leg_flush(bridge->remote);
    }
    if (bridge->local != NULL) {
        leg_flush(bridge->local);
    }
}

static const struct leg_events leg_events = {
    .opened = on_opened, .packet = on_packet, .ended = on_ended, .turned = on_turned};

static enum err local_open(struct bridge *bridge)
{
    struct bridges *bridges = bridge->bridges;
    int64_t ends[2];
    ASSERT(bridge->local == NULL); /* B2 */
    TRY(pair_new(ends));
    bridge->local = leg_new(&bridges->legs, bridges->io, &leg_events, bridge);
    if (bridge->local == NULL) {
        io_handle_close(ends[0]);
        io_handle_close(ends[1]);
        return ERR_NOMEM;
    }
    enum err err = bridges->ports.enter(bridges->ports.context, ends[1]);
    if (err != OK) {
        io_handle_close(ends[0]);
        return err;
    }
    return leg_attach(bridge->local, ends[0]);
}

static void local_begin(struct bridge *bridge, enum bridge_state state, uint64_t after_ns)
{
    state_set(bridge, state, after_ns);
    enum err err = local_open(bridge);
    if (err != OK) {
        log_event(LOG_WARNING, "bridge: cannot connect to this broker",
                  LOG_TEXT("bridge", bridge->config->name), LOG_TEXT("reason", err_text(err)));
        fail(bridge);
    }
}

/* ---- the way up ---------------------------------------------------------------------------- */

static void start(struct bridge *bridge)
{
    const struct bridge_config *config = bridge->config;
    ASSERT(bridge->local == NULL && bridge->remote == NULL);
    if (!config->local_cleansession && !bridge->is_prepared) {
        local_begin(bridge, BRIDGE_PREPARE, LOCAL_NS);
    } else if (config->start_type == START_LAZY && !bridge->is_wanted) {
        local_begin(bridge, BRIDGE_LAZY, LOCAL_NS);
    } else {
        seek(bridge);
    }
}

static void seek(struct bridge *bridge)
{
    const struct bridge_config *config = bridge->config;
    lookup_free(bridge->lookup);
    bridge->ip_index = 0;
    bridge->lookup = lookup_new(config, &config->addresses[bridge->address_index]);
    state_set(bridge, BRIDGE_SEEK, POLL_NS);
}

static enum err leg_to(struct bridge *bridge, const struct lookup_result *result,
                       const struct address *to, const char *host, struct leg **out)
{
    struct bridges *bridges = bridge->bridges;
    struct address from = {.kind = ADDRESS_NONE};
    if (bridge->config->bind_address[0] != '\0') {
        TRY(address_parse(bridge->config->bind_address, 0, &from));
    }
    *out = leg_new(&bridges->legs, bridges->io, &leg_events, bridge);
    if (*out == NULL) {
        return ERR_NOMEM;
    }
    return leg_connect(*out, to, &from, result->tls, host);
}

static void connect_next(struct bridge *bridge, const struct lookup_result *result)
{
    const struct bridge_address *address = &bridge->config->addresses[bridge->address_index];
    state_set(bridge, BRIDGE_CONNECT, CONNECT_NS);
    metric_add(bridge->bridges->ports.metrics, METRIC_bridge_connects, 1);
    enum err err = leg_to(bridge, result, &result->found[bridge->ip_index], address->host,
                          &bridge->remote);
    if (err != OK) {
        log_event(LOG_WARNING, "bridge: cannot connect", LOG_TEXT("bridge", bridge->config->name),
                  LOG_TEXT("address", address->host), LOG_U64("port", address->port),
                  LOG_TEXT("reason", err_text(err)));
        fail(bridge);
    }
}

/* The lookup is done, or will be. */
static void seek_on(struct bridge *bridge)
{
    const struct bridge_address *address = &bridge->config->addresses[bridge->address_index];
    struct lookup_result result = {.err = ERR_NOMEM, .trouble = ""};
    if (bridge->lookup != NULL && !lookup_done(bridge->lookup, &result)) {
        state_set(bridge, BRIDGE_SEEK, POLL_NS);
        return;
    }
    if (result.err == OK) {
        connect_next(bridge, &result);
        return;
    }
    log_event(bridge->is_told ? LOG_INFO : LOG_WARNING, "bridge: cannot connect",
              LOG_TEXT("bridge", bridge->config->name), LOG_TEXT("address", address->host),
              LOG_TEXT("reason", err_text(result.err)), LOG_TEXT("detail", result.trouble));
    bridge->is_told = true;
    fail(bridge);
}

void bridge_joined(struct bridge *bridge)
{
    ASSERT(bridge->state == BRIDGE_CONNECT);
    local_begin(bridge, BRIDGE_JOIN, JOIN_NS);
}

static void open(struct bridge *bridge)
{
    const struct bridge_address *address = &bridge->config->addresses[bridge->address_index];
    state_set(bridge, BRIDGE_OPEN, SECOND_NS);
    bridge->open_ns = bridge->used_ns = bridge->probe_ns = now_of(bridge);
    bridge->address_tried = 0;
    bridge->is_told = false;
    bridge->is_wanted = false;
    metric_add(bridge->bridges->ports.metrics, METRIC_bridges_connected, 1);
    log_event(LOG_NOTICE, "bridge: connected", LOG_TEXT("bridge", bridge->config->name),
              LOG_TEXT("address", address->host), LOG_U64("port", address->port),
              LOG_TEXT("tls", bridge->remote->tls != NULL ? "yes" : "no"),
              LOG_U64("session_present", bridge->remote->session_present));
    meet_notify(bridge, true);
}

void bridge_ready(struct bridge *bridge, struct leg *leg)
{
    if (leg == bridge->remote) {
        open(bridge);
    } else if (bridge->state == BRIDGE_JOIN) {
        bridge->is_local_new = false;
        meet_subscribe(bridge, bridge->remote);
    } else if (bridge->state == BRIDGE_PREPARE) {
        bridge->is_prepared = true;
        drop(&bridge->local, false);
        start(bridge);
    }
}

void bridge_wake(struct bridge *bridge)
{
    ASSERT(bridge->state == BRIDGE_LAZY);
    bridge->is_wanted = true;
    drop(&bridge->local, false);
    bridge->waiting_count = 0;
    seek(bridge);
}

/* ---- the way down -------------------------------------------------------------------------- */

/* "Decorrelated jitter": by chance between the base and three times the last one. */
static uint64_t backoff_next(struct bridge *bridge)
{
    const struct bridge_config *config = bridge->config;
    uint64_t base = config->restart_base_s * SECOND_NS, cap = config->restart_cap_s * SECOND_NS;
    if (cap == 0) {
        return base;
    }
    uint64_t last = bridge->backoff_ns > base ? bridge->backoff_ns : base;
    uint64_t next = base + rng_below(&bridge->bridges->rng, 3 * last - base + 1);
    bridge->backoff_ns = next < cap ? next : cap;
    return bridge->backoff_ns;
}

static void rest(struct bridge *bridge)
{
    bridge->state = BRIDGE_REST;
    wheel_unset(bridge->bridges->wheel, &bridge->timer);
}

/* Another address of the same name, or the next name, at once; when all were tried, later. */
static void try_on(struct bridge *bridge, enum bridge_state was)
{
    const struct bridge_config *config = bridge->config;
    struct lookup_result result;
    if (was == BRIDGE_CONNECT && bridge->lookup != NULL && lookup_done(bridge->lookup, &result) &&
        bridge->ip_index + 1 < result.count) {
        bridge->ip_index++;
        connect_next(bridge, &result);
        return;
    }
    bool is_remote = was == BRIDGE_SEEK || was == BRIDGE_CONNECT || was == BRIDGE_JOIN;
    if (is_remote) {
        bridge->address_tried++;
        bridge->address_index = (bridge->address_index + 1) % config->address_count;
    } else if (was == BRIDGE_OPEN) {
        bridge->address_index = config->round_robin
                                    ? (bridge->address_index + 1) % config->address_count
                                    : 0;
    }
    if (is_remote && bridge->address_tried < config->address_count) {
        seek(bridge);
        return;
    }
    bridge->address_tried = 0;
    if (config->start_type == START_ONCE && (is_remote || was == BRIDGE_OPEN)) {
        log_event(LOG_NOTICE, "bridge: it was to connect once, and ends",
                  LOG_TEXT("bridge", config->name));
        rest(bridge);
        return;
    }
    state_set(bridge, BRIDGE_WAIT, backoff_next(bridge));
}

static void fail(struct bridge *bridge)
{
    enum bridge_state was = bridge->state;
    bool is_over = is_draining(bridge);
    if (was == BRIDGE_OPEN && now_of(bridge) - bridge->open_ns > 60 * SECOND_NS) {
        bridge->backoff_ns = 0; /* it was good for a while: begin with the base again */
    }
    legs_drop(bridge, is_over);
    if (is_over) {
        rest(bridge);
    } else {
        try_on(bridge, was);
    }
}

/* A lazy bridge had nothing to do. */
static void fall_asleep(struct bridge *bridge)
{
    log_event(LOG_NOTICE, "bridge: idle, disconnected until messages wait",
              LOG_TEXT("bridge", bridge->config->name));
    legs_drop(bridge, true);
    start(bridge);
}

/* ---- time ---------------------------------------------------------------------------------- */

/* false: the other side has not answered. */
static bool keep_alive(struct leg *leg, uint64_t now)
{
    uint64_t keepalive_ns = leg->keepalive_s * SECOND_NS;
    if (keepalive_ns == 0) {
        return true;
    }
    if (leg->is_held) {
        leg->read_ns = now; /* we do not listen: the fault is not its own */
    }
    if (leg->is_pinged && now > leg->read_ns + keepalive_ns + keepalive_ns / 2) {
        return false;
    }
    bool is_due = now + SECOND_NS > leg->sent_ns + keepalive_ns ||
                  now + SECOND_NS > leg->read_ns + keepalive_ns;
    if (is_due && !leg->is_pinged) {
        meet_ping(leg);
    }
    return true;
}

/* Is the first address there again? */
static void probe(struct bridge *bridge)
{
    const struct bridge_config *config = bridge->config;
    uint64_t now = now_of(bridge);
    struct lookup_result result;
    if (bridge->address_index == 0 || config->round_robin) {
        return;
    }
    if (bridge->probe != NULL && bridge->probe->is_open) {
        log_event(LOG_NOTICE, "bridge: the first address answers again",
                  LOG_TEXT("bridge", config->name));
        legs_drop(bridge, true);
        bridge->address_index = 0;
        seek(bridge);
        return;
    }
    if (bridge->probe_lookup == NULL && bridge->probe == NULL &&
        now > bridge->probe_ns + PROBE_NS) {
        bridge->probe_ns = now;
        bridge->probe_lookup = lookup_new(config, &config->addresses[0]);
    } else if (bridge->probe_lookup != NULL && bridge->probe == NULL &&
               lookup_done(bridge->probe_lookup, &result)) {
        result.tls = NULL; /* does it accept? is all that is asked */
        if (result.err != OK ||
            leg_to(bridge, &result, &result.found[0], "", &bridge->probe) != OK) {
            drop(&bridge->probe, false);
        }
        lookup_free(bridge->probe_lookup);
        bridge->probe_lookup = NULL;
    }
}

static void tick(struct bridge *bridge)
{
    const struct bridge_config *config = bridge->config;
    uint64_t now = now_of(bridge);
    state_set(bridge, BRIDGE_OPEN, SECOND_NS);
    if (!keep_alive(bridge->remote, now)) {
        leg_break(bridge->remote, ERR_KEEPALIVE);
    } else if (!keep_alive(bridge->local, now)) {
        leg_break(bridge->local, ERR_KEEPALIVE);
    } else if (config->start_type == START_LAZY &&
               now > bridge->used_ns + config->idle_timeout_s * SECOND_NS) {
        fall_asleep(bridge);
        return;
    } else {
        probe(bridge);
    }
    on_turned(bridge);
}

/* Where nobody answers in time. */
static void late(struct bridge *bridge)
{
    log_event(bridge->is_told ? LOG_INFO : LOG_WARNING, "bridge: no answer in time",
              LOG_TEXT("bridge", bridge->config->name),
              LOG_TEXT("address", bridge->config->addresses[bridge->address_index].host));
    bridge->is_told = true;
    fail(bridge);
}

static void on_timer(struct timer *timer)
{
    struct bridge *bridge = CONTAINER_OF(timer, struct bridge, timer);
    switch (bridge->state) {
    case BRIDGE_WAIT:
        if (is_draining(bridge)) {
            rest(bridge);
        } else {
            start(bridge);
        }
        return;
    case BRIDGE_SEEK:
        seek_on(bridge);
        return;
    case BRIDGE_LAZY:
        if (bridge->local->has_joined) { /* its time is not bounded, but for keep alive */
            state_set(bridge, BRIDGE_LAZY, SECOND_NS);
            keep_alive(bridge->local, now_of(bridge));
            on_turned(bridge);
            return;
        }
        late(bridge);
        return;
    case BRIDGE_OPEN:
        tick(bridge);
        return;
    default:
        ASSERT(bridge->state != BRIDGE_REST); /* B1 */
        late(bridge);
        return;
    }
}

/* ---- all of them --------------------------------------------------------------------------- */

static enum err bridge_new(struct bridges *bridges, const struct bridge_config *config)
{
    struct bridge *bridge = calloc(1, sizeof(*bridge));
    if (bridge == NULL) {
        return ERR_NOMEM;
    }
    bridge->bridges = bridges;
    bridge->config = config;
    timer_init(&bridge->timer, on_timer);
    list_push_back(&bridges->all, &bridge->link);
    /* The broker does not serve yet. */
    state_set(bridge, BRIDGE_WAIT, 0);
    return OK;
}

static void bridge_free(struct bridge *bridge)
{
    wheel_unset(bridge->bridges->wheel, &bridge->timer);
    list_remove(&bridge->link);
    lookup_free(bridge->lookup);
    lookup_free(bridge->probe_lookup);
    buf_deinit(&bridge->kept);
    free(bridge);
}

enum err bridges_new(struct io *io, struct wheel *wheel, const struct config *config,
                     const struct bridge_ports *ports, struct bridges **out)
{
    struct bridges *bridges = calloc(1, sizeof(*bridges));
    if (bridges == NULL) {
        return ERR_NOMEM;
    }
    bridges->io = io;
    bridges->wheel = wheel;
    bridges->ports = *ports;
    bridges->has_door = config->inside_listener < config->listener_count;
    rng_init(&bridges->rng, ports->seed);
    list_init(&bridges->all);
    list_init(&bridges->legs);
    for (uint32_t i = 0; i < config->bridge_count; i++) {
        enum err err = bridge_new(bridges, &config->bridges[i]);
        if (err != OK) {
            bridges_free(bridges);
            return err;
        }
    }
    *out = bridges;
    return OK;
}

static const struct bridge_config *config_find(const struct config *config, const char *name)
{
    for (uint32_t i = 0; i < config->bridge_count; i++) {
        if (strcmp(config->bridges[i].name, name) == 0) {
            return &config->bridges[i];
        }
    }
    return NULL;
}

static bool is_there(const struct bridges *bridges, const char *name)
{
    LIST_EACH (&bridges->all, link) {
        if (strcmp(CONTAINER_OF(link, struct bridge, link)->config->name, name) == 0) {
            return true;
        }
    }
    return false;
}

void bridges_renew(struct bridges *bridges, const struct config *config)
{
    LIST_EACH_SAFE (&bridges->all, link) {
        struct bridge *bridge = CONTAINER_OF(link, struct bridge, link);
        const struct bridge_config *is = config_find(config, bridge->config->name);
        if (is != NULL && config_bridge_equal(is, bridge->config)) {
            bridge->config = is;
            continue;
        }
        log_event(LOG_NOTICE, is != NULL ? "bridge: changed, it begins anew" : "bridge: removed",
                  LOG_TEXT("bridge", bridge->config->name));
        legs_drop(bridge, true);
        bridge_free(bridge);
    }
    for (uint32_t i = 0; i < config->bridge_count && bridges->has_door; i++) {
        if (!is_there(bridges, config->bridges[i].name) &&
            bridge_new(bridges, &config->bridges[i]) != OK) {
            log_event(LOG_ERROR, "memory is exhausted: a bridge is not there",
                      LOG_TEXT("bridge", config->bridges[i].name));
        }
    }
}

void bridges_free(struct bridges *bridges)
{
    if (bridges == NULL) {
        return;
    }
    while (!list_is_empty(&bridges->all)) {
        bridge_free(CONTAINER_OF(bridges->all.next, struct bridge, link));
    }
    legs_free(&bridges->legs);
    free(bridges);
}
