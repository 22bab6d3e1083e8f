#include "core/broker/limits.h"

#include "core/access/bans.h"
#include "core/access/flapping.h"
#include "core/base/assert.h"
#include "core/base/ledger.h"
#include "core/base/log.h"
#include "core/broker/broker_shared.h"
#include "core/broker/conn.h"
#include "core/broker/explain.h"
#include "core/broker/login.h"
#include "core/pubsub/msg.h"
#include "core/wire/mqtt.h"

#include <stdlib.h>

enum { RULES_MAX = LIMIT_CONFIG_LIST_ITEMS };

#define SECOND_NS UINT64_C(1000000000)
#define TOLD_NS   (10 * SECOND_NS) /* how often it is told that a connection is slowed down */

/* Of what a holder has to stay for: the pace of connects is over once it is in. */
enum {
    HELD = 1 << QUOTA_CONNECTIONS | 1 << QUOTA_MESSAGES | 1 << QUOTA_BYTES |
           1 << QUOTA_SUBSCRIPTIONS | 1 << QUOTA_INFLIGHT | 1 << QUOTA_RETAINED,
    HELD_BY_SESSION = 1 << QUOTA_SUBSCRIPTIONS | 1 << QUOTA_RETAINED,
};

enum err limits_judge(const char *key, const char *value, char why[CONFIG_JUDGE_BYTES])
{
    struct quota_rule rule;
    struct ban ban;
    return strcmp(key, "limit") == 0 ? quota_rule_parse(slice_text(value), &rule, why)
                                     : ban_parse(slice_text(value), &ban, why);
}

/* ---- the node -------------------------------------------------------------------------------- */

static enum err rules_configure(struct limits *limits, const struct config *config)
{
    struct quota_rule rules[RULES_MAX];
    char why[CONFIG_JUDGE_BYTES];
    uint32_t count = 0;
    bool changed;
    for (uint32_t i = 0; i < config->limits.count; i++) {
        /* main() had them judged; a configuration made elsewhere may have others. */
        count += quota_rule_parse(slice_text(config->limits.items[i]), &rules[count], why) == OK;
    }
    TRY(quota_set_rules(limits->quota, rules, count, &changed));
    if (changed) {
        atomic_fetch_add_explicit(&limits->generation, 1, memory_order_relaxed);
    }
    return OK;
}

enum err limits_configure(struct limits *limits, const struct config *config, uint64_t wall_ms)
{
    struct ban bans[RULES_MAX];
    char why[CONFIG_JUDGE_BYTES];
    uint32_t count = 0;
    const struct throttle_options options = {
        .failures_free = config->login_failures_free,
        .delay_max_ns = config->login_delay_max_s * SECOND_NS,
        /* The rest of the time is for the handshake before and the check behind. */
        .wait_max_ns = config->connect_timeout_s * SECOND_NS / 2,
    };
    for (uint32_t i = 0; i < config->bans.count; i++) {
        count += ban_parse(slice_text(config->bans.items[i]), &bans[count], why) == OK;
    }
    TRY(rules_configure(limits, config));
    throttle_set(limits->throttle, &options);
    return bans_set_config(limits->bans, bans, count, wall_ms);
}

enum err limits_init(struct limits *limits, uint64_t seed, const struct config *config,
                     uint64_t wall_ms)
{
    limits->quota = quota_new(seed, QUOTA_ACCOUNTS_MAX);
    limits->throttle = throttle_new(seed, THROTTLE_ENTRIES_MAX);
    limits->bans = bans_new(seed);
    limits->flapping = flapping_new(seed);
    limits->owners = owners_new(seed);
    if (limits->quota == NULL || limits->throttle == NULL || limits->bans == NULL ||
        limits->flapping == NULL || limits->owners == NULL) {
        return ERR_NOMEM;
    }
    return limits_configure(limits, config, wall_ms);
}

void limits_deinit(struct limits *limits)
{
    owners_free(limits->owners);
    quota_free(limits->quota);
    throttle_free(limits->throttle);
    bans_free(limits->bans);
    flapping_free(limits->flapping);
}

static struct limits *limits_of(const struct shard *shard)
{
    return &shard->broker->limits;
}

void limits_show(struct shard *shard)
{
    metric_set(shard->metrics, METRIC_bans, bans_count(limits_of(shard)->bans));
    metric_set(shard->metrics, METRIC_limit_accounts, quota_account_count(limits_of(shard)->quota));
}

/* ---- who it is --------------------------------------------------------------------------------- */

static uint32_t ip_bytes_of(const struct peer *peer)
{
    return peer->kind == ADDRESS_IP4 ? 4 : peer->kind == ADDRESS_IP6 ? 16 : 0;
}

static struct quota_who who_at(const struct shard *shard, uint32_t listener_index,
                               const struct peer *peer)
{
    return (struct quota_who){.listener = slice_text(shard->config->listeners[listener_index].name),
                              .ip = peer->ip,
                              .ip_bytes = ip_bytes_of(peer)};
}

static struct quota_who who_is(const struct conn *conn, const struct session *session)
{
    struct quota_who who = who_at(conn->shard, conn->listener_index, &conn->peer);
    who.is_proxy = conn->state == CONN_PROXY;
    if (session != NULL) {
        who.is_identified = true;
        who.has_user = session->username.data != NULL;
        who.username = session->username;
        who.client_id = session->client_id;
    }
    return who;
}

/* ---- at the door ------------------------------------------------------------------------------- */

static void door_tell(struct shard *shard, const struct peer *peer, enum err why,
                      const char *detail)
{
    char text[ADDRESS_TEXT_MAX];
    struct address address = {
        .kind = (enum address_kind)peer->kind, .port = peer->port, .scope_id = peer->scope_id};
    struct trail_peer from = {.kind = peer->kind, .port = peer->port, .scope_id = peer->scope_id};
    memcpy(address.ip, peer->ip, sizeof(address.ip));
    memcpy(from.ip, peer->ip, sizeof(from.ip));
    metric_add(shard->metrics, METRIC_connections_refused, 1);
    shard_tell(shard, &(struct trail_event){.what = why == ERR_BANNED ? TRAIL_BANNED
                                                                      : TRAIL_CONNECT_REFUSED,
                                            .why = why,
                                            .peer = from,
                                            .detail = slice_text(detail)});
    log_event(LOG_NOTICE, "connection refused", LOG_TEXT("from", address_text(&address, text)),
              LOG_TEXT("reason", err_text(why)), LOG_TEXT("detail", detail));
}

/* May it come in? The holder is empty unless OK. */
static enum err admit(struct shard *shard, uint32_t listener_index, const struct peer *peer,
                      struct quota_holder *holder)
{
    struct quota_who who = who_at(shard, listener_index, peer);
    enum ban_kind kind = bans_find_address(limits_of(shard)->bans, who.ip, who.ip_bytes,
                                           io_wall_ms(shard->io));
    if (kind != BAN_KIND_COUNT) {
        door_tell(shard, peer, ERR_BANNED, kind == BAN_ADDRESS ? "ban address" : "ban network");
        return ERR_BANNED;
    }
    enum err err = quota_admit(limits_of(shard)->quota, &who, io_now_ns(shard->io), holder);
    if (err != OK) {
        door_tell(shard, peer, err, err == ERR_NOMEM ? "" : quota_refusal(holder));
    }
    return err;
}

static void on_timer(struct timer *timer);

/* A holder that has to stay, on the heap; or let go, and *out is NULL. */
static enum err keep(struct quota_holder *holder, struct conn_limits **out)
{
    *out = NULL;
    if ((holder->concerns & HELD) == 0) {
        quota_leave(holder);
        return OK;
    }
    struct conn_limits *limits = calloc(1, sizeof(*limits));
    if (limits == NULL) {
        quota_leave(holder);
        return ERR_NOMEM;
    }
    limits->holder = *holder;
    timer_init(&limits->timer, on_timer);
    *out = limits;
    return OK;
}

bool limits_admit(struct shard *shard, uint32_t listener_index, const struct peer *peer,
                  struct conn_limits **out)
{
    struct quota_holder holder = {0};
    *out = NULL;
    if (shard->config->listeners[listener_index].proxy_protocol != PROXY_OFF) {
        return true; /* the proxy's address: whose it is will be told */
    }
    return admit(shard, listener_index, peer, &holder) == OK && keep(&holder, out) == OK;
}

enum err limits_proxied(struct conn *conn)
{
    struct quota_holder holder = {0};
    struct conn_limits *limits;
    TRY(admit(conn->shard, conn->listener_index, &conn->peer, &holder));
    TRY(keep(&holder, &limits));
    limits_seat(conn, limits);
    return OK;
}

/* ---- moving, and new rules --------------------------------------------------------------------- */

static void renew(struct conn *conn)
{
    struct quota_who who = who_is(conn, conn->session);
    struct quota_holder holder = {.is_counted = true};
    struct conn_limits *limits = conn->limits;
    uint64_t now_ns = io_now_ns(conn->shard->io);
    conn->limits_generation = conn->shard->limits_generation;
    if (conn->state == CONN_PROXY || conn->state >= CONN_PARTING) {
        return;
    }
    if (limits != NULL) {
        quota_renew(limits_of(conn->shard)->quota, &who, now_ns, &limits->holder);
        return;
    }
    if (quota_renew(limits_of(conn->shard)->quota, &who, now_ns, &holder) == OK &&
        keep(&holder, &limits) == OK && limits != NULL) {
        limits->conn = conn;
        conn->limits = limits;
    }
}

void limits_seat(struct conn *conn, struct conn_limits *limits)
{
    ASSERT(conn->limits == NULL);
    conn->limits = limits;
    if (limits != NULL) {
        limits->conn = conn;
    }
}

struct conn_limits *limits_unseat(struct conn *conn)
{
    struct conn_limits *limits = conn->limits;
    conn->limits = NULL;
    if (limits != NULL) {
        wheel_unset(conn->shard->wheel, &limits->timer);
        limits->is_waiting = false;
        limits->conn = NULL;
    }
    return limits;
}

void limits_leave(struct conn *conn)
{
    if (conn->limits != NULL) {
        wheel_unset(conn->shard->wheel, &conn->limits->timer);
        conn->limits->is_waiting = false;
        quota_leave(&conn->limits->holder);
    }
}

void limits_free(struct conn_limits *limits)
{
    if (limits != NULL) {
        ASSERT(!limits->is_waiting);
        quota_leave(&limits->holder);
        free(limits);
    }
}

/* ---- CONNECT ----------------------------------------------------------------------------------- */

enum err limits_connect(struct conn *conn, const struct mqtt_connect *connect,
                        struct slice client_id, const char **detail)
{
    enum ban_kind kind = bans_find_client(limits_of(conn->shard)->bans, client_id,
                                          connect->has_username, connect->username,
                                          io_wall_ms(conn->shard->io));
    *detail = kind == BAN_CLIENT ? "its client id: see ternctl ban list"
                                 : "its user: see ternctl ban list";
    return kind == BAN_KIND_COUNT ? OK : ERR_BANNED;
}

/* What the session holds counts where its connection does. */
static enum err session_join(struct session *session, const struct quota_holder *holder)
{
    struct quota_holder *own = session->limits;
    bool is_concerned = (holder->concerns & HELD_BY_SESSION) != 0;
    if (!is_concerned) {
        limits_session_end(session);
        return OK;
    }
    if (own == NULL) {
        own = session->limits = calloc(1, sizeof(*own));
        if (own == NULL) {
            return ERR_NOMEM;
        }
        ledger_add(LEDGER_SESSIONS, ledger_block(sizeof(*own)));
    }
    quota_leave(own);
    quota_share(holder, own);
    quota_settle(own, QUOTA_SUBSCRIPTIONS, session->subscription_count);
    return OK;
}

static enum err flapping_look(struct conn *conn, struct session *session, const char **detail)
{
    struct shard *shard = conn->shard;
    const struct config *config = shard->config;
    enum flapping_verdict verdict = flapping_seen(limits_of(shard)->flapping, session->client_id,
                                                  config->flapping_count,
                                                  config->flapping_window_s * SECOND_NS,
                                                  io_now_ns(shard->io));
    if (verdict == FLAPPING_NO) {
        return OK;
    }
    char host[ADDRESS_TEXT_MAX];
    if (verdict == FLAPPING_BEGINS) {
        metric_add(shard->metrics, METRIC_flapping, 1);
        conn_tell(conn, &(struct trail_event){.what = TRAIL_FLAPPING,
                                              .client = session->client_id,
                                              .detail = slice_text("flapping_count")});
        log_event(LOG_WARNING, "client flaps", LOG_SLICE("client", session->client_id),
                  LOG_TEXT("from", conn_peer_text(conn, host)),
                  LOG_U64("ban_s", config->flapping_ban_s));
    }
    if (config->flapping_ban_s == 0) {
        return OK;
    }
    uint64_t wall_ms = io_wall_ms(shard->io);
    const struct ban ban = {.kind = BAN_CLIENT,
                            .by = BAN_BY_FLAPPING,
                            .value = session->client_id,
                            .reason = slice_text("it connected again and again"),
                            .until_wall_ms = wall_ms + config->flapping_ban_s * UINT64_C(1000)};
    *detail = "it flaps";
    return bans_add(limits_of(shard)->bans, &ban, wall_ms, NULL) == OK ? ERR_BANNED : OK;
}

enum err limits_identify(struct conn *conn, struct session *session, const char **detail)
{
    struct shard *shard = conn->shard;
    struct quota_who who = who_is(conn, session);
    struct quota_holder holder = {.is_counted = true};
    if (bans_find_client(limits_of(shard)->bans, session->client_id, who.has_user, who.username,
                         io_wall_ms(shard->io)) != BAN_KIND_COUNT) {
        *detail = "ban user"; /* of a certificate, or proven by SCRAM: it was not known before */
        return ERR_BANNED;
    }
    TRY(flapping_look(conn, session, detail));
    if (conn->limits_generation != shard->limits_generation) {
        renew(conn); /* it moved meanwhile */
    }
    if (conn->limits != NULL) {
        holder = conn->limits->holder; /* moved, and back */
    }
    enum err err = quota_identify(limits_of(shard)->quota, &who, io_now_ns(shard->io), &holder);
    if (err != OK) {
        *detail = quota_refusal(&holder);
    }
    if (conn->limits != NULL) {
        conn->limits->holder = holder;
    } else {
        struct conn_limits *limits = NULL;
        enum err kept = keep(&holder, &limits);
        err = err != OK ? err : kept;
        limits_seat(conn, limits);
    }
    TRY(err);
    return session_join(session, conn->limits != NULL ? &conn->limits->holder : &holder);
}

uint32_t limits_window(const struct conn *conn, uint32_t wished)
{
    uint64_t limit = conn->limits != NULL ? quota_limit(&conn->limits->holder, QUOTA_INFLIGHT) : 0;
    return limit > 0 && limit < wished ? (uint32_t)limit : wished;
}

void limits_renew(struct shard *shard)
{
    uint32_t generation = atomic_load_explicit(&limits_of(shard)->generation, memory_order_relaxed);
    if (generation == shard->limits_generation) {
        return;
    }
    shard->limits_generation = generation;
    LIST_EACH (&shard->conns, link) {
        struct conn *conn = CONTAINER_OF(link, struct conn, link);
        renew(conn);
        if (conn->session != NULL) {
            static const struct quota_holder nothing;
            session_join(conn->session, conn->limits != NULL ? &conn->limits->holder : &nothing);
        }
        if (limits_must_wait(conn->limits)) { /* its pause may be shorter, or over */
            conn->limits->is_waiting = false;
            wheel_unset(shard->wheel, &conn->limits->timer);
            limits_charge(conn);
            conn_unpause(conn);
        }
    }
}

/* ---- messages and bytes ------------------------------------------------------------------------ */

static void on_timer(struct timer *timer)
{
    struct conn_limits *limits = CONTAINER_OF(timer, struct conn_limits, timer);
    limits->is_waiting = false;
    conn_unpause(limits->conn);
}

static void slowed_tell(struct conn *conn, uint64_t now_ns)
{
    struct conn_limits *limits = conn->limits;
    char host[ADDRESS_TEXT_MAX];
    metric_add(conn->shard->metrics, METRIC_reads_limited, 1);
    if (limits->told_ns != 0 && now_ns - limits->told_ns < TOLD_NS) {
        return;
    }
    limits->told_ns = now_ns;
    const char *which = quota_refusal(&limits->holder);
    conn_tell(conn, &(struct trail_event){.what = TRAIL_THROTTLED, .detail = slice_text(which)});
    log_event(LOG_NOTICE, "client slowed down", LOG_SLICE("client", conn_client_id(conn)),
              LOG_TEXT("from", conn_peer_text(conn, host)), LOG_TEXT("reason", which));
}

void limits_charge(struct conn *conn)
{
    struct conn_limits *limits = conn->limits;
    if (limits == NULL || conn->state != CONN_OPEN) {
        return;
    }
    uint64_t now_ns = io_now_ns(conn->shard->io);
    uint64_t until_ns = quota_charge(&limits->holder, limits->messages, limits->bytes, now_ns);
    limits->messages = 0;
    limits->bytes = 0;
    if (until_ns == 0) {
        return;
    }
    limits->is_waiting = true;
    wheel_set(conn->shard->wheel, &limits->timer, until_ns);
    conn_pause(conn);
    slowed_tell(conn, now_ns);
}

/* ---- what a session holds ---------------------------------------------------------------------- */

enum err limits_may_subscribe(struct session *session)
{
    struct quota_holder *holder = session->limits;
    return holder != NULL ? quota_take(holder, QUOTA_SUBSCRIPTIONS, 1) : OK;
}

void limits_subscribed(struct session *session)
{
    if (session->limits != NULL) {
        quota_settle(session->limits, QUOTA_SUBSCRIPTIONS, session->subscription_count);
    }
}

enum err limits_may_retain(struct session *session, const struct msg *msg)
{
    struct shard *shard = session->owner;
    return owners_set(limits_of(shard)->owners, msg->topic, session->limits,
                      msg->payload.count == 0);
}

void limits_session_end(struct session *session)
{
    if (session->limits != NULL) {
        quota_leave(session->limits);
        ledger_add(LEDGER_SESSIONS, -ledger_block(sizeof(struct quota_holder)));
        free(session->limits);
        session->limits = NULL;
    }
}

/* ---- logins ------------------------------------------------------------------------------------ */

static struct throttle_who login_who(const struct peer *peer, struct slice identity)
{
    return (
        struct throttle_who){.ip = peer->ip, .ip_bytes = ip_bytes_of(peer), .identity = identity};
}

enum err limits_login_ask(struct shard *shard, const struct peer *peer, struct slice identity,
                          struct throttle_ticket *ticket, uint64_t *again_ns)
{
    struct throttle_who who = login_who(peer, identity);
    bool has_waited = ticket->is_waiting;
    enum err err = throttle_ask(limits_of(shard)->throttle, ticket, &who, io_now_ns(shard->io),
                                again_ns);
    metric_add(shard->metrics, METRIC_logins_delayed, err == ERR_AGAIN && !has_waited);
    metric_add(shard->metrics, METRIC_logins_refused, err == ERR_CONNECT_RATE);
    return err;
}

void limits_login_told(struct shard *shard, const struct peer *peer, struct slice identity,
                       struct throttle_ticket *ticket, enum err result)
{
    struct throttle *throttle = limits_of(shard)->throttle;
    struct throttle_who who = login_who(peer, identity);
    if (result == OK) {
        throttle_succeeded(throttle, ticket, &who, io_now_ns(shard->io));
    } else if (result == ERR_CREDENTIALS || result == ERR_NOT_AUTHORIZED) {
        metric_add(shard->metrics, METRIC_logins_failed, 1);
        throttle_failed(throttle, ticket, &who, io_now_ns(shard->io));
    } else {
        throttle_gave_up(throttle, ticket, &who);
    }
}
