/*
 * Who is there, found out over time: AUTH packets back and forth, or a worker that checks a password.
 * Then the CONNECT is read once more and opened.
 */
#include "core/base/assert.h"
#include "core/base/log.h"
#include "core/broker/dispatch.h"
#include "core/broker/explain.h"
#include "core/broker/login.h"
#include "core/broker/shard.h"
#include "core/wire/connect.h"
#include "core/wire/control.h"
#include "core/wire/props.h"

#include <string.h>

static const char too_many[] = "too many wrong passwords";

void auth_write(struct conn *conn, uint8_t reason, const struct auth_reply *reply)
{
    struct mqtt_control auth = {.reason = reason};
    props_clear(&auth.props);
    auth.props.auth_method = auth_exchange_method(conn->work->auth);
    auth.props.auth_data = slice_of(reply->data, reply->data_bytes);
    auth.props.present = PROP_BIT(PROP_AUTH_METHOD) |
                         (reply->data_bytes > 0 ? PROP_BIT(PROP_AUTH_DATA) : 0);
    uint32_t size = (uint32_t)mqtt_control_size(MQTT_AUTH, &auth, MQTT_5);
    uint8_t *bytes = conn_packet(conn, size, 0);
    if (bytes != NULL) {
        struct writer w = writer_of(bytes, size);
        mqtt_control_encode(&w, MQTT_AUTH, &auth, MQTT_5);
    }
}

/* As the CONNECT asks, now that it is known who asks. */
static enum err open_again(struct conn *conn, struct partial *body, const struct auth_reply *reply)
{
    struct mqtt_connect connect;
    char made[CLIENT_ID_MADE_MAX];
    enum err err = mqtt_connect_decode(slice_of(body->blob->bytes, body->count), &connect);
    ASSERT(err == OK); /* it was read before */
    bool is_assigned = connect.client_id.count == 0;
    struct slice client_id = is_assigned ? client_id_make(conn, made) : connect.client_id;
    return connect_open(conn, &connect, client_id, is_assigned, reply);
}

static void refuse_again(struct conn *conn, enum err why, const struct partial *body,
                         const char *detail)
{
    struct mqtt_connect connect;
    enum err err = mqtt_connect_decode(slice_of(body->blob->bytes, body->count), &connect);
    ASSERT(err == OK); /* it was read before */
    /* An exchange names its user in AUTH; who guesses at whom has to be in the log all the same. */
    connect.has_username |= login_username(conn, &connect.username);
    connect_refuse(conn, why, &connect, detail);
}

/* What came behind the CONNECT is handled now: MQTT first, then the frames around more of it. */
static void catch_up(struct conn *conn, struct partial *stash)
{
    struct partial packet = conn->packet;
    conn->packet = (struct partial){0};
    if (packet.count > 0) {
        conn_feed_mqtt(conn, slice_of(packet.blob->bytes, packet.count));
    }
    if (stash->count > 0 && conn->state < CONN_PARTING) {
        conn_feed(conn, slice_of(stash->blob->bytes, stash->count));
    }
    partial_deinit(&packet);
    conn_unpause(conn);
}

void connect_verified(struct conn *conn, enum err err)
{
    struct partial body = conn->login->connect, stash = conn->login->stash;
    conn->login->connect = conn->login->stash = (struct partial){0};
    if (conn->state == CONN_VERIFY) { /* else it ends, and this comes too late */
        struct auth_reply reply = {.how = AUTH_PASSWORD};
        conn->state = CONN_CONNECT;
        if (err == OK && login_stamp(conn) == 0) {
            err = ERR_CREDENTIALS; /* the file is another one by now, without him */
        }
        if (err == OK) {
            err = open_again(conn, &body, &reply);
        } else {
            refuse_again(conn, err, &body, err == ERR_CONNECT_RATE ? too_many : NULL);
            err = OK;
        }
        if (err != OK) {
            conn_end(conn, err);
        }
        catch_up(conn, &stash);
    }
    explicit_bzero(body.blob->bytes, body.count); /* the password stands in it */
    partial_deinit(&body);
    partial_deinit(&stash);
}

static void again_told(struct conn *conn, enum err err, const char *detail)
{
    char host[ADDRESS_TEXT_MAX];
    detail = detail != NULL ? detail : err == OK ? "" : err_text(err);
    conn_tell(conn, &(struct trail_event){
                        .what = TRAIL_REAUTHENTICATED, .why = err, .detail = slice_text(detail)});
    log_event(LOG_NOTICE, err == OK ? "authenticated again" : "re-authentication refused",
              LOG_SLICE("client", conn_client_id(conn)),
              LOG_TEXT("from", conn_peer_text(conn, host)), LOG_TEXT("reason", detail));
}

/* It ends before it is open. */
static void turn_down(struct conn *conn, enum err why, const char *detail)
{
    struct partial body = conn->work->connect;
    conn->work->connect = (struct partial){0};
    refuse_again(conn, why, &body, detail);
    partial_deinit(&body);
}

static enum err proceed(struct conn *conn, const struct mqtt_control *auth)
{
    struct auth_reply reply;
    struct tls_identity name;
    bool is_again = auth->reason == 0x19;
    struct auth_policy policy = login_policy(conn, &name);
    struct slice data = props_has(&auth->props, PROP_AUTH_DATA) ? auth->props.auth_data
                                                                : slice_of(NULL, 0);
    enum err err = auth_continue(&policy, conn->work->auth, is_again, auth->props.auth_method, data,
                                 &conn->shard->rng, &reply);
    if (err == ERR_MORE) {
        auth_write(conn, 0x18, &reply);
        return OK;
    }
    login_told(conn, err);
    if (conn->state == CONN_OPEN) {
        again_told(conn, err, reply.detail);
        if (err == OK) {
            auth_write(conn, 0x00, &reply);
        }
        return err;
    }
    if (err != OK) {
        turn_down(conn, err, reply.detail);
        return OK;
    }
    struct partial body = conn->work->connect;
    conn->work->connect = (struct partial){0};
    err = open_again(conn, &body, &reply);
    partial_deinit(&body);
    return err;
}

/* [MQTT-4.12.0-2] [MQTT-4.12.0-3] [MQTT-4.12.1-1] */
enum err on_auth(struct conn *conn, const struct packet *packet)
{
    struct mqtt_control auth;
    TRY(mqtt_control_decode(MQTT_AUTH, packet->frame.body, conn->version, &auth));
    bool is_again = auth.reason == 0x19;
    if (conn->work->auth == NULL || (auth.reason != 0x18 && !is_again) ||
        (is_again && conn->state == CONN_AUTH) || !props_has(&auth.props, PROP_AUTH_METHOD)) {
        return ERR_PROTOCOL;
    }
    enum err err = conn->state == CONN_AUTH ? login_may_prove(conn, packet->frame.body) : OK;
    if (err == ERR_AGAIN) {
        conn_pause(conn);
        conn->state = CONN_VERIFY;
        return OK;
    }
    if (err != OK) {
        turn_down(conn, err, err == ERR_CONNECT_RATE ? too_many : NULL);
        return OK;
    }
    return proceed(conn, &auth);
}

void connect_proof_due(struct conn *conn, enum err err)
{
    struct partial body = conn->login->connect, stash = conn->login->stash;
    conn->login->connect = conn->login->stash = (struct partial){0};
    if (conn->state == CONN_VERIFY) { /* else it ends, and this comes too late */
        struct mqtt_control auth;
        conn->state = CONN_AUTH;
        if (err == OK) {
            err = mqtt_control_decode(MQTT_AUTH, slice_of(body.blob->bytes, body.count),
                                      conn->version, &auth);
            ASSERT(err == OK); /* it was read before */
            err = proceed(conn, &auth);
        } else {
            turn_down(conn, err, err == ERR_CONNECT_RATE ? too_many : NULL);
            err = OK;
        }
        if (err != OK) {
            conn_end(conn, err);
        }
        catch_up(conn, &stash);
    }
    partial_deinit(&body);
    partial_deinit(&stash);
}
