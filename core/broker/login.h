/*
 * login: find out who is at the other end of a connection, at CONNECT.
 *
 *     on_connect ──> login_begin ──OK──────────────────────────────> connect_open
 *                        ├──ERR_MORE──> AUTH packets, on_auth, login_may_prove ──> connect_open
 *                        └──ERR_AGAIN─> a worker checks ──> connect_verified ──> connect_open
 *
 * Floor:  broker.
 * Thread: the shard; the check itself runs in a worker, on copies.
 * Memory: a struct login while somebody is proving who he is; gone when the session is open.
 */
#ifndef TERN_BROKER_LOGIN_H
#define TERN_BROKER_LOGIN_H

#include "core/access/auth.h"
#include "core/access/throttle.h"
#include "core/broker/conn.h"
#include "core/io/tls.h"
#include "core/io/workers.h"
#include "core/wire/mqtt.h"

#include <stdatomic.h>
#include <stdbool.h>

struct login {
    struct work work;
    struct conn *conn;               /* NULL: it went while the check was under way */
    struct passwords *passwords;     /* referenced; NULL: nothing is checked */
    struct slice username, password; /* owned copies; data NULL: none */
    bool is_checking;
    /* Nobody waits for the check any more: a worker that has not begun it leaves it. Relaxed: it
     * saves work, and nothing else depends on it. */
    atomic_bool is_abandoned;
    struct shard *shard;           /* whose turn it is when the connection has gone */
    struct peer peer;              /* where it came from */
    struct throttle_ticket ticket; /* a login after wrong passwords may have to wait... */
    struct timer timer;            /* ...until then */
    enum auth_how how;
    enum err err;           /* of the check */
    struct partial connect; /* the body, read once more afterwards: CONNECT's, or AUTH's proof */
    struct partial stash;   /* what came behind it, in WebSocket frames */
};

/* What the connection's listener, its TLS and its files say. name: room for a certificate's. */
struct auth_policy login_policy(const struct conn *conn, struct tls_identity *name);

/*
 * body: of the CONNECT packet. OK: proven, and conn->login says as whom (NULL: nobody).
 * ERR_MORE: conn->work->auth goes on, reply is to be sent. ERR_AGAIN: connect_verified() will be
 * called. Else: refused, reply->detail may tell why.
 */
enum err login_begin(struct conn *conn, const struct mqtt_connect *connect, struct slice client_id,
                     struct slice body, struct auth_reply *reply);

/*
 * body: of the AUTH packet that brings the proof, which waits as a password does. It is the proof
 * and not the exchange, so that nobody keeps a place by beginning and saying no more. OK: look at
 * it, login_told() follows. ERR_AGAIN: connect_proof_due() will be called. Else: refused.
 */
enum err login_may_prove(struct conn *conn, struct slice body);

/* How an exchange ended; also one that began when the session was open. */
void login_told(struct conn *conn, enum err err);

/* Who he is: false: nobody. Borrowed. */
bool login_username(const struct conn *conn, struct slice *out);
enum auth_how login_how(const struct conn *conn);

/* Of the password file's lines that proved him; 0: none did. */
uint64_t login_stamp(const struct conn *conn);

/* Would it be let in as what it is, by the passwords and settings of now? It has its session. */
bool login_may_stay(const struct conn *conn);

/*
 * The files or the settings are new: who would not be let in any more, as his line in the password file
 * is gone or another one, or as anonymous clients are not wanted, is disconnected.
 */
void logins_renew(struct shard *shard);

/* It is over, or the connection goes. Accepts a connection without one. */
void login_drop(struct conn *conn);

#endif
