#include "core/broker/login.h"

#include "core/base/log.h"
#include "core/broker/afar.h"
#include "core/broker/conn_tls.h"
#include "core/broker/dispatch.h"
#include "core/broker/limits.h"
#include "core/broker/security.h"
#include "core/broker/shard.h"
#include "core/wire/props.h"

#include <stdlib.h>
#include <string.h>

static struct slice copy_of(struct slice bytes)
{
    uint8_t *copy = malloc(bytes.count + 1);
    if (copy == NULL) {
        return slice_of(NULL, 0);
    }
    if (bytes.count > 0) {
        memcpy(copy, bytes.data, bytes.count);
    }
    copy[bytes.count] = 0;
    return slice_of(copy, bytes.count);
}

static void wipe(struct slice *secret)
{
    if (secret->data != NULL) {
        explicit_bzero((void *)(uintptr_t)secret->data, secret->count);
        free((void *)(uintptr_t)secret->data);
    }
    *secret = slice_of(NULL, 0);
}

static void login_free(struct login *login)
{
    passwords_unref(login->passwords);
    wipe(&login->username);
    wipe(&login->password);
    if (login->connect.blob != NULL) { /* the password stands in it */
        explicit_bzero(login->connect.blob->bytes, login->connect.count);
    }
    partial_deinit(&login->connect);
    partial_deinit(&login->stash);
    free(login);
}

void login_drop(struct conn *conn)
{
    struct login *login = conn->login;
    conn->login = NULL;
    if (login == NULL) {
        return;
    }
    if (login->is_checking) {
        login->conn = NULL; /* the worker still reads it */
        atomic_store_explicit(&login->is_abandoned, true, memory_order_relaxed);
    } else {
        wheel_unset(conn->shard->wheel, &login->timer);
        limits_login_told(conn->shard, &login->peer, login->username, &login->ticket, ERR_CLOSED);
        login_free(login);
    }
}

/* ---- what is wanted -------------------------------------------------------------------------- */

static bool is_private(const struct conn *conn)
{
    return afar_is_served(conn->afar) ? conn->afar->is_private : conn->tls != NULL;
}

struct auth_policy login_policy(const struct conn *conn, struct tls_identity *name)
{
    const struct shard *shard = conn->shard;
    const struct listener_config *listener = conn_listener(conn);
    struct auth_policy policy = {
        .allow_anonymous = listener->allow_anonymous,
        .allow_test_method = shard->config->auth_test_method && listener->is_loopback,
        .is_exposed = !is_private(conn) && !listener->is_loopback && !listener->cleartext_passwords,
        .wants_certificate_name = listener->identity_as_username || listener->subject_as_username,
    };
    if (shard->security != NULL) {
        policy.passwords = shard->security->listeners[conn->listener_index].passwords;
    }
    if (policy.wants_certificate_name && afar_is_served(conn->afar)) {
        policy.certificate_name = slice_text(conn->afar->certificate_name);
        policy.has_certificate = policy.certificate_name.count > 0;
    } else if (policy.wants_certificate_name && conn->tls != NULL) {
        policy.has_certificate = tls_peer_identity(conn->tls->tls, name);
        policy.certificate_name = slice_text(listener->subject_as_username ? name->subject
                                                                           : name->common_name);
    }
    return policy;
}

/* ---- the slow check --------------------------------------------------------------------------- */

static void on_check(struct work *work)
{
    struct login *login = CONTAINER_OF(work, struct login, work);
    bool is_abandoned = atomic_load_explicit(&login->is_abandoned, memory_order_relaxed);
    login->err = is_abandoned
                     ? ERR_CLOSED /* who sends passwords and goes fills the queue, not the cores */
                     : password_check(login->passwords, login->username, login->password);
}

static void on_checked(struct work *work)
{
    struct login *login = CONTAINER_OF(work, struct login, work);
    login->is_checking = false;
    limits_login_told(login->shard, &login->peer, login->username, &login->ticket, login->err);
    if (login->conn == NULL) {
        login_free(login);
        return;
    }
    wipe(&login->password);
    connect_verified(login->conn, login->err);
}

/* Those who guess wait. ERR_AGAIN: until the timer comes; ERR_CONNECT_RATE: it would be too long. */
static enum err turn_ask(struct login *login)
{
    uint64_t again_ns;
    enum err err = limits_login_ask(login->shard, &login->peer, login->username, &login->ticket,
                                    &again_ns);
    if (err == ERR_AGAIN) {
        wheel_set(login->shard->wheel, &login->timer, again_ns);
    }
    return err;
}

/* To a worker, now or when it is its turn. ERR_AGAIN: connect_verified() follows. */
static enum err check_submit(struct login *login)
{
    TRY(turn_ask(login));
    TRY(workers_submit(&login->shard->hashing, &login->work));
    login->is_checking = true;
    return ERR_AGAIN;
}

static void on_wait_over(struct timer *timer)
{
    struct login *login = CONTAINER_OF(timer, struct login, timer);
    bool is_scram = login->how == AUTH_SCRAM;
    enum err err = is_scram ? turn_ask(login) : check_submit(login);
    if (err != ERR_AGAIN && is_scram) {
        connect_proof_due(login->conn, err);
    } else if (err != ERR_AGAIN) {
        connect_verified(login->conn, err);
    }
}

static enum err login_new(struct conn *conn, enum auth_how how, struct slice username)
{
    struct login *login = calloc(1, sizeof(*login));
    if (login == NULL) {
        return ERR_NOMEM;
    }
    login->conn = conn;
    login->shard = conn->shard;
    login->peer = conn->peer;
    login->how = how;
    timer_init(&login->timer, on_wait_over);
    login->username = copy_of(username);
    conn->login = login;
    return login->username.data != NULL ? OK : ERR_NOMEM;
}

static enum err check_begin(struct conn *conn, struct passwords *passwords,
                            const struct mqtt_connect *connect, struct slice body)
{
    TRY(login_new(conn, AUTH_PASSWORD, connect->username));
    struct login *login = conn->login;
    login->password = copy_of(connect->has_password ? connect->password : slice_of("", 0));
    if (login->password.data == NULL) {
        return ERR_NOMEM;
    }
    TRY(partial_append(&login->connect, body, 0));
    login->passwords = passwords_ref(passwords);
    login->work = (struct work){.run = on_check, .done = on_checked};
    return check_submit(login);
}

/* ---- a proof in AUTH packets ------------------------------------------------------------------ */

enum err login_may_prove(struct conn *conn, struct slice body)
{
    struct slice username;
    if (!auth_exchange_username(conn->work->auth, &username)) {
        return OK; /* nobody's password is tried */
    }
    if (conn->login == NULL) {
        TRY(login_new(conn, AUTH_SCRAM, username));
    }
    enum err err = turn_ask(conn->login);
    if (err == ERR_AGAIN && partial_append(&conn->login->connect, body, 0) != OK) {
        return ERR_NOMEM;
    }
    return err;
}

void login_told(struct conn *conn, enum err err)
{
    struct throttle_ticket none = {0};
    struct slice username;
    if (auth_exchange_username(conn->work->auth, &username)) {
        limits_login_told(conn->shard, &conn->peer, username,
                          conn->login != NULL ? &conn->login->ticket : &none, err);
    }
}

/* ---- beginning -------------------------------------------------------------------------------- */

enum err login_begin(struct conn *conn, const struct mqtt_connect *connect, struct slice client_id,
                     struct slice body, struct auth_reply *reply)
{
    struct tls_identity name;
    struct auth_policy policy = login_policy(conn, &name);
    struct auth_request request = {.client_id = client_id,
                                   .username = connect->username,
                                   .password = connect->password,
                                   .has_username = connect->has_username,
                                   .has_password = connect->has_password};
    struct auth_exchange *exchange = NULL;
    if (props_has(&connect->props, PROP_AUTH_METHOD)) {
        request.method = connect->props.auth_method;
        request.data = props_has(&connect->props, PROP_AUTH_DATA) ? connect->props.auth_data
                                                                  : slice_of(NULL, 0);
        if (request.method.count == 0) {
            reply->detail = "an empty authentication method";
            return ERR_AUTH_METHOD;
        }
        TRY(conn_prepare(conn));
    }
    reply->detail = NULL;
    enum err err = auth_begin(&policy, &request, &conn->shard->rng, &exchange, reply);
    if (exchange != NULL) {
        conn->work->auth = exchange;
    }
    if (err == ERR_AGAIN) {
        return check_begin(conn, policy.passwords, connect, body);
    }
    if (err == OK && reply->how == AUTH_CERTIFICATE) {
        return login_new(conn, AUTH_CERTIFICATE, policy.certificate_name);
    }
    return err;
}

bool login_username(const struct conn *conn, struct slice *out)
{
    if (conn->work != NULL && conn->work->auth != NULL) {
        return auth_exchange_username(conn->work->auth, out);
    }
    if (conn->login != NULL) {
        *out = conn->login->username;
        return true;
    }
    return false;
}

enum auth_how login_how(const struct conn *conn)
{
    struct slice name;
    if (conn->work != NULL && conn->work->auth != NULL) {
        return auth_exchange_username(conn->work->auth, &name) ? AUTH_SCRAM : AUTH_TEST;
    }
    return conn->login != NULL ? conn->login->how : AUTH_ANONYMOUS;
}

/* ---- what was proven may not be so any more ---------------------------------------------------- */

static struct passwords *passwords_of(const struct conn *conn)
{
    const struct security *security = conn->shard->security;
    return security != NULL ? security->listeners[conn->listener_index].passwords : NULL;
}

uint64_t login_stamp(const struct conn *conn)
{
    enum auth_how how = login_how(conn);
    struct slice username;
    struct passwords *passwords = passwords_of(conn);
    bool is_by_file = how == AUTH_PASSWORD || how == AUTH_SCRAM;
    return is_by_file && passwords != NULL && login_username(conn, &username)
               ? passwords_stamp(passwords, username)
               : 0;
}

bool login_may_stay(const struct conn *conn)
{
    const struct session *session = conn->session;
    const struct passwords *passwords = passwords_of(conn);
    if (session->password_stamp != 0) {
        return passwords != NULL &&
               passwords_stamp(passwords, session->username) == session->password_stamp;
    }
    bool is_anonymous = session->username.data == NULL &&
                        (conn->work == NULL || conn->work->auth == NULL);
    return !is_anonymous || conn_listener(conn)->allow_anonymous;
}

void logins_renew(struct shard *shard)
{
    LIST_EACH_SAFE (&shard->conns, link) {
        struct conn *conn = CONTAINER_OF(link, struct conn, link);
        char host[ADDRESS_TEXT_MAX];
        if (conn->state == CONN_OPEN && !login_may_stay(conn)) {
            log_event(LOG_NOTICE, "login withdrawn", LOG_SLICE("client", conn_client_id(conn)),
                      LOG_SLICE("user", conn->session->username),
                      LOG_TEXT("from", conn_peer_text(conn, host)));
            conn_end(conn, ERR_NOT_AUTHORIZED);
        }
    }
}
