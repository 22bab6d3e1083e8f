/*
 * limits: quotas, throttled logins, bans and flapping, as connections and sessions meet them.
 *
 *     accept          limits_admit       banned address, connections and connects a second
 *     PROXY header    limits_proxied     the same, for the address that it tells
 *     CONNECT         limits_connect     banned client or user
 *     password        limits_login_...   who guesses waits
 *     session open    limits_identify    user's and client's limits, flapping
 *     bytes came      limits_charge      too many: reading stops for a while
 *     SUBSCRIBE, a retained PUBLISH      limits_may_subscribe, limits_may_retain
 *     the end         limits_leave       its place is free
 *
 * Whoever is refused is told why as far as the protocol has words (0x8A banned, 0x97 quota exceeded,
 * 0x9F connection rate exceeded; at accept nothing but the close), counted, logged and in the trail.
 *
 * Floor:  broker.
 * Thread: struct limits is shared by all shards; a struct conn_limits belongs to its connection.
 * Memory: nothing for a connection that no limit concerns beyond its connect; else a conn_limits, and
 *         for a session with limits on what it holds a quota_holder. Of retained messages one entry
 *         each, while a limit on them is written.
 */
#ifndef TERN_BROKER_LIMITS_H
#define TERN_BROKER_LIMITS_H

#include "core/access/quota.h"
#include "core/access/throttle.h"
#include "core/base/config.h"
#include "core/base/wheel.h"

#include <stdbool.h>
#include <stdint.h>

struct bans;
struct conn;
struct flapping;
struct mqtt_connect;
struct msg;
struct owners;
struct peer;
struct session;
struct shard;

/* Gauges, of shard 0. */
void limits_show(struct shard *shard);

/* Of the node. */
struct limits {
    struct quota *quota;
    struct throttle *throttle;
    struct bans *bans;
    struct flapping *flapping;
    struct owners *owners;       /* whose retained messages count where, see limits_retained.c */
    _Atomic uint32_t generation; /* of the rules: relaxed, read between turns */
};

/* Zero-initialised before. ERR_NOMEM: limits_deinit() all the same. */
enum err limits_init(struct limits *limits, uint64_t seed, const struct config *config,
                     uint64_t wall_ms);
void limits_deinit(struct limits *limits);

/* A new configuration. Before the shards use it. ERR_NOMEM: the old limits stay. */
enum err limits_configure(struct limits *limits, const struct config *config, uint64_t wall_ms);

/* For config_sources: judges a value of `limit` or `ban`. */
enum err limits_judge(const char *key, const char *value, char why[CONFIG_JUDGE_BYTES]);

/* ---- a connection ---------------------------------------------------------------------------- */

struct conn_limits {
    struct conn *conn; /* NULL: at the door, or on its way to another shard */
    struct quota_holder holder;
    struct timer timer; /* until it may be read again */
    bool is_waiting;
    uint32_t messages; /* received since the last charge... */
    uint64_t bytes;    /* ...as they came, with all that TLS and WebSocket add */
    uint64_t told_ns;  /* when it was last told that it is slowed down; 0: never */
};

/*
 * A socket was accepted. false: it is not wanted, which is counted and told. *out: the
 * connection's, or NULL: nothing concerns it; see limits_seat().
 */
bool limits_admit(struct shard *shard, uint32_t listener_index, const struct peer *peer,
                  struct conn_limits **out);

/* It belongs to this connection now, here or after its move. Rules may have changed on the way. */
void limits_seat(struct conn *conn, struct conn_limits *limits);

/* The connection moves: take it out. */
struct conn_limits *limits_unseat(struct conn *conn);

/* The address is known now. ERR_BANNED, ERR_CONNECT_RATE, ERR_QUOTA: told; close it. */
enum err limits_proxied(struct conn *conn);

/* Before anything is checked. ERR_BANNED: *detail says what is banned. */
enum err limits_connect(struct conn *conn, const struct mqtt_connect *connect,
                        struct slice client_id, const char **detail);

/*
 * It has proved who it is, and session will be its own. ERR_CONNECT_RATE, ERR_QUOTA, ERR_BANNED
 * (it flaps); *detail tells which limit.
 */
enum err limits_identify(struct conn *conn, struct session *session, const char **detail);

/* Inbound and outbound window, at most what is agreed now. */
uint32_t limits_window(const struct conn *conn, uint32_t wished);

/* It was handled what conn->limits has counted: reading may have to stop. */
void limits_charge(struct conn *conn);
static inline bool limits_must_wait(const struct conn_limits *limits)
{
    return limits != NULL && limits->is_waiting;
}

/* It takes nobody's place any more. */
void limits_leave(struct conn *conn);
void limits_free(struct conn_limits *limits); /* accepts NULL */

/* The rules changed: all connections of this shard are counted where these want it. */
void limits_renew(struct shard *shard);

/* ---- a session -------------------------------------------------------------------------------- */

/* One more filter. ERR_QUOTA. */
enum err limits_may_subscribe(struct session *session);
/* However that went: so many it has. */
void limits_subscribed(struct session *session);

/* A retained message, with its final topic; an empty one takes it away. ERR_QUOTA, ERR_NOMEM. */
enum err limits_may_retain(struct session *session, const struct msg *msg);

/* The session ends; its retained messages stay, and count on. */
void limits_session_end(struct session *session);

/* ---- a login ---------------------------------------------------------------------------------- */

/* throttle.h, with the address of this peer. */
enum err limits_login_ask(struct shard *shard, const struct peer *peer, struct slice identity,
                          struct throttle_ticket *ticket, uint64_t *again_ns);

/* OK, ERR_CREDENTIALS and ERR_NOT_AUTHORIZED: it was checked; all else: it was not. */
void limits_login_told(struct shard *shard, const struct peer *peer, struct slice identity,
                       struct throttle_ticket *ticket, enum err result);

/* ---- limits_retained.c ------------------------------------------------------------------------ */

/* NULL: memory is exhausted. */
struct owners *owners_new(uint64_t seed);
void owners_free(struct owners *owners); /* accepts NULL */

/*
 * A retained message for this topic is set by that holder (NULL: by nobody whom a limit concerns),
 * or taken away. ERR_QUOTA: what was there stays its owner's. ERR_NOMEM.
 */
enum err owners_set(struct owners *owners, struct slice topic, const struct quota_holder *holder,
                    bool is_taken_away);

#endif
