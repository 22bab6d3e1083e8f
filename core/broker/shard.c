#include "core/broker/shard.h"

#include "core/base/assert.h"
#include "core/broker/broker_shared.h"
#include "core/broker/ceiling.h"
#include "core/broker/conn.h"
#include "core/broker/conn_tls.h"
#include "core/broker/ends.h"
#include "core/broker/login.h"
#include "core/broker/mail.h"
#include "core/broker/mailbox.h"
#include "core/broker/on_close.h"
#include "core/broker/on_subscribe.h"
#include "core/broker/partition.h"
#include "core/broker/receipt.h"
#include "core/broker/replay.h"
#include "core/broker/routes.h"
#include "core/broker/shares.h"
#include "core/broker/sys_topics.h"
#include "core/broker/withhold.h"
#include "core/session/journal.h"

#include <stdio.h>

enum {
    RECEIPTS_PER_SHARD_MAX = 1 << 20,
    STREAMS_RESERVED = 64,
};

#define DRAIN_NS     UINT64_C(5000000000)
#define HELD_WAIT_NS UINT64_C(1000000) /* how soon those who hold are looked at again */

uint32_t shard_of(const struct shard *shard, struct slice client_id)
{
    return partition_of(client_id) % shard->broker_shard_count;
}

uint64_t shard_wall_ms(const struct shard *shard)
{
    return shard->wall_base_ms + (io_now_ns(shard->io) - shard->now_base_ns) / 1000000;
}

void shard_tell(struct shard *shard, const struct trail_event *event)
{
    if (trail_counts(event->what)) {
        metric_add_label(shard->metrics, METRIC_dropped, event->what, 1);
    }
    trail_add(shard->trail, io_wall_ms(shard->io), event);
}

void shard_count_drop(struct shard *shard, enum trail_what what, enum err why,
                      struct slice client_id, struct slice topic)
{
    shard_tell(shard, &(struct trail_event){
                          .what = what, .why = why, .client = client_id, .topic = topic});
}

bool shard_count_conn(struct shard *shard, uint32_t listener_index)
{
    struct broker *broker = shard->broker;
    uint32_t all = atomic_fetch_add_explicit(&broker->conn_count, 1, memory_order_relaxed);
    uint32_t here = atomic_fetch_add_explicit(&broker->listener_conn_count[listener_index], 1,
                                              memory_order_relaxed);
    /* Without a limit: as many as there are descriptors, less a few for whoever looks at /health. */
    uint32_t all_max = shard->config->connections_max;
    if (all_max == 0 || all_max > broker->stream_count_max - STREAMS_RESERVED) {
        all_max = broker->stream_count_max - STREAMS_RESERVED;
    }
    uint32_t here_max = shard->config->listeners[listener_index].connections_max;
    bool is_over = all >= all_max || (here_max > 0 && here >= here_max);
    if (is_over) {
        shard_uncount_conn(shard, listener_index);
    }
    return !is_over;
}

void shard_uncount_conn(struct shard *shard, uint32_t listener_index)
{
    struct broker *broker = shard->broker;
    atomic_fetch_sub_explicit(&broker->conn_count, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&broker->listener_conn_count[listener_index], 1,
                              memory_order_relaxed);
}

/* ---- accepting ----------------------------------------------------------------------------- */

static bool on_accepted(void *owner, struct io_stream *stream, const struct address *peer)
{
    struct shard_listener *listener = owner;
    struct shard *shard = listener->shard;
    uint32_t connecting_max = shard->config->connecting_max;
    bool is_full = connecting_max > 0 &&
                   shard->connecting_count >= connecting_max / shard->broker_shard_count + 1;
    struct conn_limits *limits;
    struct peer who = peer_of(peer);
    if (!limits_admit(shard, listener->index, &who, &limits)) {
        return false;
    }
    if (shard->state != SHARD_RUNNING || is_full ||
        !conn_accept(shard, listener->index, stream, &who, limits)) {
        limits_free(limits);
        metric_add(shard->metrics, METRIC_connections_refused, 1);
        shard_count_drop(shard, TRAIL_CONNECT_REFUSED, ERR_BUSY, slice_of(NULL, 0),
                         slice_of(NULL, 0));
        return false;
    }
    return true;
}

static const struct io_listener_events listener_events = {on_accepted};

static void listen_failed(struct broker_failure *failure, const struct address *at, enum err err)
{
    char text[ADDRESS_TEXT_MAX];
    bool is_unix = at->kind == ADDRESS_UNIX;
    const char *why = err_text(err);
    if (err == ERR_EXISTS && is_unix) {
        why = "a file of this name is in use: stop the program that listens there, remove the "
              "file, or choose another path";
    } else if (err == ERR_EXISTS) {
        why = "the address is in use: stop the program that listens there, or choose another port";
    } else if (err == ERR_PERMISSION && is_unix) {
        why = "permission denied: tern needs write permission for the folder of the socket";
    } else if (err == ERR_PERMISSION) {
        why = "permission denied: a port below 1024 needs root or CAP_NET_BIND_SERVICE";
    } else if (err == ERR_NOT_FOUND && is_unix) {
        why = "its folder is not there: create it, or choose another path";
    } else if (err == ERR_INVALID && at->device[0] != 0) {
        why = "this machine has no such address, or no network device as bind_interface says";
    } else if (err == ERR_INVALID) {
        why = "this machine has no such address";
    } else if (err == ERR_LIMIT) {
        why = "too many open files: raise 'ulimit -n' or LimitNOFILE=, or lower threads";
    }
    snprintf(failure->text, sizeof(failure->text), "cannot listen on %s: %s",
             address_text(at, text), why);
}

/* Shard 0 goes first and finds out which port the kernel gave; the others join it there. */
static enum err listen_at(struct shard *shard, uint32_t index, uint32_t nth,
                          const struct listener_config *config, const struct address *at,
                          struct broker_failure *failure)
{
    struct broker *broker = shard->broker;
    struct address *known = &broker->listening[index][nth];
    bool is_unix = at->kind == ADDRESS_UNIX;
    if (is_unix && shard->index > 0) {
        return OK; /* its connections are accepted by shard 0 and move */
    }
    if (shard->index > 0 && known->kind == ADDRESS_NONE) {
        return OK;
    }
    struct shard_listener *owner = &shard->listeners[shard->listener_count];
    *owner = (struct shard_listener){.shard = shard, .index = index};
    const struct address *where = shard->index == 0 ? at : known;
    enum io_share share = is_unix || broker->shard_count == 1 ? IO_SHARE_NONE
                          : shard->index == 0                 ? IO_SHARE_FIRST
                                                              : IO_SHARE_JOIN;
    enum err err = io_listen(shard->io, where, share, &listener_events, owner, &owner->io);
    if (err != OK) {
        if (config->may_skip_addresses && (err == ERR_INVALID || err == ERR_UNSUPPORTED) &&
            config->address_count > 1) {
            return OK;
        }
        listen_failed(failure, where, err);
        return err;
    }
    shard->listener_count++;
    if (shard->index == 0) {
        io_listener_address(owner->io, known);
    }
    return OK;
}

enum err shard_listen(struct shard *shard, struct broker_failure *failure)
{
    const struct config *config = shard->broker->boot_config;
    for (uint32_t i = 0; i < config->listener_count; i++) {
        const struct listener_config *listener = &config->listeners[i];
        uint32_t count = listener->unix_path[0] != 0 ? 1 : listener->address_count;
        for (uint32_t n = 0; n < count; n++) {
            struct address at;
            const char *text = listener->unix_path[0] != 0 ? listener->unix_path
                                                           : listener->addresses[n];
            enum err err = address_parse(text, listener->port, &at);
            if (err != OK) {
                snprintf(failure->text, sizeof(failure->text), "not an address: %s", text);
                return err;
            }
            snprintf(at.device, sizeof(at.device), "%s", listener->bind_interface);
            TRY(listen_at(shard, i, n, listener, &at, failure));
        }
    }
    return OK;
}

/* ---- time ---------------------------------------------------------------------------------- */

static void on_drain_timer(struct timer *timer)
{
    CONTAINER_OF(timer, struct shard, drain_timer)->state = SHARD_STOPPED;
}

/* ---- open and close ------------------------------------------------------------------------ */

static bool may_sleep(void *context)
{
    struct shard *shard = context;
    if (!mailbox_may_sleep(shard->mailbox)) {
        return false;
    }
    epoch_offline(shard->broker->epoch, shard->index);
    shard->is_offline = true;
    return true;
}

static void awake(void *context)
{
    struct shard *shard = context;
    mailbox_awake(shard->mailbox);
    if (shard->is_offline) {
        epoch_online(shard->broker->epoch, shard->index);
        shard->is_offline = false;
    }
}

static struct slice client_id_of(const void *value)
{
    return ((const struct session *)value)->client_id;
}

static void use_settings(struct shard *shard, const struct broker_settings *settings)
{
    const struct config *config = settings->config;
    shard->config = config;
    shard->security = settings->security;
    shard->security_generation++;
    limits_renew(shard);
    logins_renew(shard);
    shard->broker_memory_limit = broker_memory_limit(config);
    if (shard->index == 0 && shard->retain != NULL) {
        retain_set_limits(shard->retain, config->retained_max, config->retained_bytes_max);
        retain_set_memory_max(shard->retain, config->retained_memory > 0
                                                 ? config->retained_memory
                                                 : shard->broker_memory_limit / 4);
    }
    if (shard->has_guest && shard->broker->ports.renewed != NULL) {
        shard->broker->ports.renewed(shard->broker->ports.context, config);
    }
    atomic_store_explicit(&shard->settings_seen, settings, memory_order_release);
}

/* Relaxed: a barrier stands between all who raise it and all who read it. */
static void floor_raise(struct broker *broker, uint64_t wall_ms)
{
    uint64_t floor_ms = atomic_load_explicit(&broker->wall_floor_ms, memory_order_relaxed);
    while (floor_ms < wall_ms &&
           !atomic_compare_exchange_weak_explicit(&broker->wall_floor_ms, &floor_ms, wall_ms,
                                                  memory_order_relaxed, memory_order_relaxed)) {
    }
}

static enum err journal_open(struct shard *shard, struct broker_failure *failure)
{
    struct broker *broker = shard->broker;
    uint64_t wall_ms = 0;
    if (broker->ports.journal_new == NULL) {
        return OK;
    }
    shard->outbox = outbox_new();
    shard->ends = ends_new(rng_u64(&shard->rng));
    if (shard->outbox == NULL || shard->ends == NULL) {
        return ERR_NOMEM;
    }
    TRY(broker->ports.journal_new(broker->ports.context, shard->io, shard->index, &shard->journal,
                                  &wall_ms, failure));
    floor_raise(broker, wall_ms);
    return OK;
}

static enum err mesh_open(struct shard *shard, struct broker_failure *failure)
{
    const struct broker_ports *ports = &shard->broker->ports;
    if (ports->mesh_new == NULL) {
        return OK;
    }
    shard->routes = routes_new(rng_u64(&shard->rng));
    return shard->routes == NULL
               ? ERR_NOMEM
               : ports->mesh_new(ports->context, shard->io, shard, &shard->mesh, failure);
}

enum err shard_load(struct shard *shard, struct broker_failure *failure)
{
    struct broker *broker = shard->broker;
    uint64_t floor_ms = atomic_load_explicit(&broker->wall_floor_ms, memory_order_relaxed);
    uint64_t wall_ms = io_wall_ms(shard->io);
    shard->wall_base_ms = wall_ms > floor_ms ? wall_ms : floor_ms;
    shard->now_base_ns = io_now_ns(shard->io);
    return shard->journal == NULL
               ? OK
               : broker->ports.journal_load(broker->ports.context, shard->journal, shard, failure);
}

bool shard_settle(struct shard *shard)
{
    mailbox_read(shard->mailbox, mail_handle);
    partitions_run(shard);
    mailbox_flush(shard->mailbox);
    return atomic_load_explicit(&shard->broker->settling_count, memory_order_relaxed) == 0;
}

enum err shard_open(struct shard *shard, struct broker_failure *failure)
{
    struct broker *broker = shard->broker;
    list_init(&shard->conns);
    list_init(&shard->dirty);
    list_init(&shard->stalled);
    list_init(&shard->held);
    list_init(&shard->explains);
    list_init(&shard->handshakes);
    list_init(&shard->replaying);
    list_init(&shard->subacks);
    list_init(&shard->orphans);
    withhold_init(shard);
    timer_init(&shard->drain_timer, on_drain_timer);
    rng_init(&shard->rng, broker->seed + shard->index);
    shard->key_last = rng_u64(&shard->rng) >> 8; /* keys are seeds of maps, too */
    shard->trie = broker->trie;
    shard->retain = broker->retain;
    partitions_init(shard);
    use_settings(shard, atomic_load_explicit(&shard->settings_next, memory_order_acquire));
    struct io_config io_config = {.stream_count_max = broker->stream_count_max,
                                  .may_sleep = may_sleep,
                                  .awake = awake,
                                  .context = shard};
    TRY(io_new(&io_config, &shard->io));
    workers_desk_init(&shard->hashing, broker->hashers, shard->io);
    workers_desk_init(&shard->signing, broker->signers, shard->io);
    shard->wheel = wheel_new(io_now_ns(shard->io));
    shard->sessions = map_new(client_id_of, rng_u64(&shard->rng));
    shard->receipts = pool_new(sizeof(struct receipt), RECEIPTS_PER_SHARD_MAX);
    shard->trail = trail_new(rng_u64(&shard->rng));
    shard->shares = shares_new(rng_u64(&shard->rng));
    shard->mailbox = mailbox_new(shard, broker->mail_rings);
    if (shard->wheel == NULL || shard->sessions == NULL || shard->receipts == NULL ||
        shard->trail == NULL || shard->shares == NULL || shard->mailbox == NULL) {
        return ERR_NOMEM;
    }
    map_enter(shard->sessions, LEDGER_SESSIONS);
    epoch_online(broker->epoch, shard->index);
    shard->is_open = true;
    if (shard->index == 0) {
        TRY(sys_topics_new(shard, &shard->sys_topics));
    }
    TRY(mesh_open(shard, failure));
    return journal_open(shard, failure);
}

static void drop_everything(struct shard *shard)
{
    LIST_EACH_SAFE (&shard->conns, link) {
        struct conn *conn = CONTAINER_OF(link, struct conn, link);
        if (conn->session != NULL) {
            conn->session->conn = NULL;
            conn->session = NULL;
        }
        conn_free(conn);
    }
    uint64_t cursor = 0;
    struct session *session;
    while ((session = map_next(shard->sessions, &cursor)) != NULL) {
        session_destroy(session);
    }
}

static void journal_close(struct shard *shard)
{
    if (shard->journal != NULL) {
        struct journal *journal = shard->journal;
        shard->journal = NULL; /* nobody logs any more */
        shard->broker->ports.journal_free(journal);
    }
}

static void mesh_close(struct shard *shard)
{
    if (shard->mesh != NULL) {
        struct mesh *mesh = shard->mesh;
        shard->mesh = NULL; /* nobody else is told what changes from here on */
        shard->broker->ports.mesh_free(mesh);
    }
}

void shard_close(struct shard *shard)
{
    LIST_EACH (&shard->conns, link) {
        login_drop(CONTAINER_OF(link, struct conn, link)); /* or all who wait would be checked */
    }
    workers_desk_close(&shard->hashing); /* before its io: they wake it */
    workers_desk_close(&shard->signing);
    if (shard->journal != NULL) {
        journal_leave_io(shard->journal);
    }
    io_free(shard->io); /* then: a send in flight reads what connections hold */
    if (shard->is_open) {
        mesh_close(shard);
        drop_everything(shard);
        journal_close(shard); /* whoever still waits for it is told, and lets go of what it holds */
        subacks_free(shard);
        partitions_deinit(shard);
        sys_topics_free(shard->sys_topics);
        shares_free(shard->shares, shard);
        routes_free(shard->routes, shard);
        epoch_quiescent(shard->broker->epoch, shard->index);
        epoch_offline(shard->broker->epoch, shard->index);
    } else {
        shares_free(shard->shares, NULL);
        routes_free(shard->routes, shard);
    }
    if (shard->has_guest) {
        shard->broker->ports.stopped(shard->broker->ports.context);
    }
    mailbox_free(shard->mailbox);
    mesh_close(shard);
    journal_close(shard);
    outbox_free(shard->outbox);
    ends_free(shard->ends);
    route_deinit(&shard->route);
    pool_free(shard->receipts);
    map_free(shard->sessions);
    trail_free(shard->trail);
    wheel_free(shard->wheel);
}

/* ---- the turn ------------------------------------------------------------------------------ */

static void drain_begin(struct shard *shard)
{
    shard->state = SHARD_DRAINING;
    for (uint32_t i = 0; i < shard->listener_count; i++) {
        io_unlisten(shard->listeners[i].io);
    }
    shard->listener_count = 0;
    LIST_EACH_SAFE (&shard->conns, link) {
        conn_end(CONTAINER_OF(link, struct conn, link), ERR_SHUTDOWN);
    }
    wheel_set(shard->wheel, &shard->drain_timer, io_now_ns(shard->io) + DRAIN_NS);
}

static void look_around(struct shard *shard)
{
    const struct broker_settings *settings = atomic_load_explicit(&shard->settings_next,
                                                                  memory_order_acquire);
    if (settings != atomic_load_explicit(&shard->settings_seen, memory_order_relaxed)) {
        use_settings(shard, settings);
    }
    int stop = atomic_load_explicit(&shard->broker->stop, memory_order_acquire);
    if (stop == STOP_NOW) {
        shard->state = SHARD_STOPPED;
    } else if (stop == STOP_DRAIN && shard->state == SHARD_RUNNING) {
        drain_begin(shard);
    }
    if (shard->state == SHARD_DRAINING && shard->conn_count == 0) {
        shard->state = SHARD_STOPPED;
    }
}

static uint64_t wait_ns(const struct shard *shard, uint64_t wait_ns_max)
{
    bool has_work = !list_is_empty(&shard->dirty) || !list_is_empty(&shard->handshakes) ||
                    !list_is_empty(&shard->replaying) || mailbox_is_stalled(shard->mailbox) ||
                    workers_has_news(&shard->hashing) || workers_has_news(&shard->signing) ||
                    (shard->journal != NULL && journal_has_news(shard->journal)) ||
                    shard->is_loading || partitions_have_work(shard);
    uint64_t now = io_now_ns(shard->io), next = wheel_next_ns(shard->wheel);
    if (shard->journal != NULL && journal_wake_ns(shard->journal) < next) {
        next = journal_wake_ns(shard->journal);
    }
    uint64_t until_timer = next > now ? next - now : 0;
    bool is_holding = !list_is_empty(&shard->held) || shard->told.receiver != NULL;
    if (is_holding && wait_ns_max > HELD_WAIT_NS) {
        wait_ns_max = HELD_WAIT_NS;
    }
    if (has_work || wait_ns_max == 0) {
        return 0;
    }
    return until_timer < wait_ns_max ? until_timer : wait_ns_max;
}

static void flush(struct shard *shard)
{
    struct list *link;
    while ((link = list_pop_front(&shard->dirty)) != NULL) {
        struct conn *conn = CONTAINER_OF(link, struct conn, dirty_link);
        conn->is_dirty = false;
        conn_flush(conn);
    }
}

bool shard_is_stalled(const struct shard *shard)
{
    return mailbox_is_stalled(shard->mailbox) ||
           (shard->journal != NULL && journal_is_congested(shard->journal));
}

static void unstall(struct shard *shard)
{
    struct list *link;
    while (!shard_is_stalled(shard) && (link = list_pop_front(&shard->stalled)) != NULL) {
        conn_unpause(CONTAINER_OF(link, struct conn_work, stalled_link)->conn);
    }
}

static void show_gauges(struct shard *shard)
{
    struct metrics *metrics = shard->metrics;
    metric_set(metrics, METRIC_output_bytes, shard->output_bytes);
    metric_set(metrics, METRIC_queued, shard->queue_totals.count);
    metric_set(metrics, METRIC_queued_bytes, shard->queue_totals.bytes);
    metric_set(metrics, METRIC_inflight, shard->inflight_total);
    if (shard->index == 0) { /* what all shards share is shown by one */
        limits_show(shard);
        metric_set(metrics, METRIC_retained, retain_count(shard->retain));
        metric_set(metrics, METRIC_retained_bytes, retain_bytes(shard->retain));
        metric_set(metrics, METRIC_retained_memory_bytes, retain_memory_bytes(shard->retain));
        metric_set(metrics, METRIC_memory_bytes, ledger_total());
        metric_set(metrics, METRIC_memory_limit_bytes, shard->broker_memory_limit);
        for (enum ledger_use use = 0; use < LEDGER_USE_COUNT; use++) {
            metric_set_label(metrics, METRIC_memory_use_bytes, use, ledger_bytes(use));
        }
    }
    metric_add(metrics, METRIC_turns, 1);
}

/* All shards are loaded. */
static void begin(struct shard *shard)
{
    shard->has_begun = true;
    if (shard->index == 0) {
        ceiling_look(shard);
    }
    if (shard->journal != NULL) {
        partitions_run(shard);
        outboxes_go_on(shard);
    }
}

/* A partition that came while the broker runs, a part in each turn. */
static void load_more(struct shard *shard)
{
    const struct broker_ports *ports = &shard->broker->ports;
    shard->is_loading = ports->journal_load_more != NULL &&
                        ports->journal_load_more(ports->context, shard->journal, shard);
}

bool shard_turn(struct shard *shard, uint64_t wait_ns_max)
{
    if (!shard->has_begun) {
        begin(shard);
    }
    look_around(shard);
    if (shard->state == SHARD_STOPPED) {
        return false;
    }
    io_turn(shard->io, wait_ns(shard, wait_ns_max));
    mailbox_read(shard->mailbox, mail_handle);
    if (shard->journal != NULL) {
        journal_collect(shard->journal);
        load_more(shard);
        partitions_run(shard);
    }
    workers_collect(&shard->hashing);
    workers_collect(&shard->signing);
    wheel_run(shard->wheel, io_now_ns(shard->io));
    handshakes_run(shard);
    holds_run(shard);
    replays_run(shard);
    if (shard->journal != NULL) {
        journal_flush(shard->journal);
        shard->flush_count++;
    }
    flush(shard);
    mailbox_flush(shard->mailbox);
    unstall(shard);
    epoch_quiescent(shard->broker->epoch, shard->index);
    epoch_collect(shard->broker->epoch, shard->index);
    show_gauges(shard);
    metric_observe(shard->metrics, METRIC_turn_ns, io_clock_ns(shard->io) - io_now_ns(shard->io));
    return true;
}
