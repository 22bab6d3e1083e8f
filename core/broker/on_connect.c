/*
 * CONNECT, as the story it is: understand it, go to the shard that owns the session, find out who is
 * there, take over, open or resume, answer.
 */
#include "core/base/assert.h"
#include "core/broker/afar.h"
#include "core/broker/apply.h"
#include "core/broker/broker_shared.h"
#include "core/broker/ceiling.h"
#include "core/broker/conn_tls.h"
#include "core/broker/deliver.h"
#include "core/broker/dispatch.h"
#include "core/broker/ends.h"
#include "core/broker/explain.h"
#include "core/broker/inside.h"
#include "core/broker/limits.h"
#include "core/broker/login.h"
#include "core/broker/on_close.h"
#include "core/broker/opening.h"
#include "core/broker/partition.h"
#include "core/broker/rights.h"
#include "core/broker/shard.h"
#include "core/broker/shares.h"
#include "core/pubsub/topic.h"
#include "core/session/journal.h"
#include "core/wire/connect.h"
#include "core/wire/control.h"
#include "core/wire/props.h"
#include "core/wire/reason.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void connack_write(struct conn *conn, const struct mqtt_connack *connack)
{
    uint32_t size = (uint32_t)mqtt_connack_size(connack, conn->version);
    uint8_t *bytes = conn_packet(conn, size, 0);
    if (bytes != NULL) {
        struct writer w = writer_of(bytes, size);
        mqtt_connack_encode(&w, connack, conn->version);
    }
}

void connack_refuse(struct conn *conn, enum err why)
{
    struct mqtt_connack connack = {.reason = reason_from_err(why, MQTT_CONNACK)};
    props_clear(&connack.props);
    if (conn->version != MQTT_5) {
        connack.reason = reason_v3_connack(connack.reason);
    }
    connack_write(conn, &connack);
}

void connect_refuse(struct conn *conn, enum err why, const struct mqtt_connect *connect,
                    const char *detail)
{
    char host[ADDRESS_TEXT_MAX];
    struct slice nothing = slice_of("", 0);
    struct slice client = connect != NULL ? connect->client_id : nothing;
    struct slice user = connect != NULL && connect->has_username ? connect->username : nothing;
    detail = detail != NULL ? detail : "";
    conn->is_told = true;
    metric_add(conn->shard->metrics, METRIC_connect_refused, 1);
    conn_tell(conn, &(struct trail_event){.what = TRAIL_CONNECT_REFUSED,
                                          .why = why,
                                          .client = client,
                                          .user = user,
                                          .detail = slice_text(detail)});
    log_event(LOG_NOTICE, "connect refused", LOG_SLICE("client", client), LOG_SLICE("user", user),
              LOG_TEXT("from", conn_peer_text(conn, host)), LOG_TEXT("reason", err_text(why)),
              LOG_TEXT("detail", detail));
    /* A broken CONNECT of 3.x gets no answer but the close [v3:MQTT-3.1.4-1]. */
    bool is_broken = why == ERR_MALFORMED || why == ERR_PROTOCOL;
    if (conn->version == MQTT_5 || !is_broken) {
        connack_refuse(conn, why);
    }
    conn_end(conn, why);
}

/* ---- understanding it ---------------------------------------------------------------------- */

static bool version_is_accepted(const struct conn *conn, enum mqtt_version version)
{
    return (conn_listener(conn)->accept_versions & 1u << (version - MQTT_3_1)) != 0;
}

static enum err will_check(const struct conn *conn, const struct mqtt_connect *connect)
{
    if (!connect->has_will) {
        return OK;
    }
    const struct config *config = conn->shard->config;
    TRY(topic_name_check(connect->will.topic, config->topic_levels_max));
    if (slice_starts_with(connect->will.topic, slice_text("$SYS/")) &&
        !topic_is_bridge_state(connect->will.topic)) {
        return ERR_NOT_AUTHORIZED; /* the broker's own, as in a PUBLISH */
    }
    if (connect->will.qos > conn_listener(conn)->qos_max) {
        return ERR_QOS; /* [MQTT-3.2.2-12] */
    }
    if (connect->will.retain && !config->retain_available) {
        return ERR_RETAIN; /* [MQTT-3.2.2-13] */
    }
    if (config->message_size_limit > 0 &&
        connect->will.payload.count > config->message_size_limit) {
        return ERR_TOO_LARGE;
    }
    return OK;
}

static enum err client_id_check(const struct conn *conn, const struct mqtt_connect *connect)
{
    const struct config *config = conn->shard->config;
    const struct listener_config *listener = conn_listener(conn);
    struct slice id = connect->client_id;
    if (listener->is_inside) {
        return OK; /* the configuration itself named it */
    }
    if (id.count == 0 && !listener->allow_zero_length_clientid) {
        return ERR_CLIENT_ID;
    }
    /* An id that we would invent is not excused. */
    id = id.count == 0 ? slice_text(listener->auto_id_prefix) : id;
    if (inside_owns(config, id)) {
        return ERR_CLIENT_ID;
    }
    return slice_starts_with(id, slice_text(config->clientid_prefixes)) ? OK : ERR_CLIENT_ID;
}

/* 3.x has no word for "shorter, please": the client has to ask for what it may get. */
static enum err keepalive_check(const struct conn *conn, const struct mqtt_connect *connect)
{
    uint32_t max = conn->shard->config->keepalive_max_s;
    bool is_too_long = max > 0 && max < UINT16_MAX &&
                       (connect->keepalive_s == 0 || connect->keepalive_s > max);
    return is_too_long && connect->version != MQTT_5 ? ERR_CLIENT_ID : OK;
}

/* Partitions that are led here; else, unless it has come here already, by another shard; else it is refused. */
static uint64_t made_for(const struct conn *conn)
{
    const struct shard *shard = conn->shard;
    uint64_t led = atomic_load_explicit(&shard->broker->led, memory_order_acquire);
    bool may_move = partitions_led(shard) == 0 && !conn->has_moved && led != 0;
    return may_move                     ? led
           : partitions_led(shard) != 0 ? partitions_led(shard)
                                        : shard->partitions.mine;
}

/* An id for a client that brought none, owned by this shard: it need not move [MQTT-3.1.3-6]. */
struct slice client_id_make(struct conn *conn, char out[CLIENT_ID_MADE_MAX])
{
    struct shard *shard = conn->shard;
    struct slice id;
    uint64_t wanted = made_for(conn);
    do {
        int count = snprintf(out, CLIENT_ID_MADE_MAX, "%s%016llx%08x",
                             conn_listener(conn)->auto_id_prefix,
                             (unsigned long long)rng_u64(&shard->rng),
                             (uint32_t)rng_u64(&shard->rng));
        id = slice_of(out, (size_t)count);
    } while ((wanted & UINT64_C(1) << partition_of(id)) == 0);
    return id;
}

enum err on_connect(struct conn *conn, const struct packet *packet)
{
    struct mqtt_connect connect;
    enum err err = mqtt_connect_decode(packet->frame.body, &connect);
    if (err != OK && (int)connect.version == 0) {
        return err; /* not MQTT: closed without a word [MQTT-3.1.2-1] */
    }
    conn->version = connect.version;
    bool is_read = err == OK;
    if (err == OK && !version_is_accepted(conn, connect.version)) {
        err = ERR_VERSION;
    }
    if (err == OK && conn->is_one_too_many) {
        err = ERR_QUOTA;
    }
    err = err != OK ? err : client_id_check(conn, &connect);
    err = err != OK ? err : keepalive_check(conn, &connect);
    err = err != OK ? err : will_check(conn, &connect);
    if (err != OK) {
        connect_refuse(conn, err, is_read ? &connect : NULL, NULL);
        return OK;
    }
    bool is_assigned = connect.client_id.count == 0;
    char made[CLIENT_ID_MADE_MAX];
    struct slice client_id = is_assigned ? client_id_make(conn, made) : connect.client_id;
    uint32_t owner = shard_of(conn->shard, client_id);
    bool is_served = afar_is_served(
        conn->afar); /* it came to where its session was led, and goes no further */
    bool is_here = is_served
                       ? owner == conn->shard->index && partition_is_here(conn->shard, client_id)
                       : conn->shard->mesh != NULL || partition_is_here(conn->shard, client_id);
    if (!is_here) {
        connect_refuse(conn, ERR_UNAVAILABLE, &connect, "the partition of its session is not here");
        return OK;
    }
    if (owner != conn->shard->index) {
        ASSERT(!conn->has_moved);
        conn_move(conn, owner, packet->bytes);
        return OK;
    }
    if (!shard_leads(conn->shard, partition_of(client_id))) {
        err = afar_begin(conn, partition_of(client_id), packet->bytes);
        if (err != OK) {
            connect_refuse(conn, err, &connect, "nobody is known to lead its session");
        }
        return OK;
    }
    struct auth_reply reply = {.detail = NULL};
    if (limits_connect(conn, &connect, client_id, &reply.detail) != OK) {
        connect_refuse(conn, ERR_BANNED, &connect, reply.detail);
        return OK;
    }
    err = login_begin(conn, &connect, client_id, packet->frame.body, &reply);
    if (err == ERR_AGAIN) {
        conn_pause(conn);
        conn->state = CONN_VERIFY;
        return OK;
    }
    if (err == ERR_MORE) {
        /* The CONNECT is read once more when the client has proved itself. */
        TRY(partial_append(&conn->work->connect, packet->frame.body, 0));
        conn->state = CONN_AUTH;
        auth_write(conn, 0x18, &reply);
        return OK;
    }
    if (err != OK) {
        connect_refuse(conn, err, &connect, reply.detail);
        return OK;
    }
    return connect_open(conn, &connect, client_id, is_assigned, &reply);
}

/* ---- opening ------------------------------------------------------------------------------- */

static enum err will_make(const struct conn *conn, const struct mqtt_connect *connect,
                          uint64_t publisher, struct will *out)
{
    *out = (struct will){0};
    if (!connect->has_will) {
        return OK;
    }
    const struct mqtt_will *will = &connect->will;
    struct slice mount = slice_text(conn_listener(conn)->mount_point);
    size_t topic_bytes = mount.count + will->topic.count;
    size_t props_bytes = connect->version == MQTT_5 ? props_forwardable_size(will->props.raw) : 0;
    uint8_t *scratch = malloc(topic_bytes + props_bytes + 1);
    if (scratch == NULL) {
        return ERR_NOMEM;
    }
    memcpy(scratch, mount.data, mount.count);
    memcpy(scratch + mount.count, will->topic.data, will->topic.count);
    if (props_bytes > 0) {
        struct writer w = writer_of(scratch + topic_bytes, props_bytes);
        props_copy_forwardable(will->props.raw, &w);
    }
    struct msg_spec spec = {.qos = will->qos,
                            .retain = will->retain,
                            .publisher = publisher,
                            .topic = slice_of(scratch, topic_bytes),
                            .props = slice_of(scratch + topic_bytes, props_bytes),
                            .payload = will->payload};
    if (connect->version == MQTT_5 && props_has(&will->props, PROP_MESSAGE_EXPIRY)) {
        out->has_expiry = true;
        out->expiry_s = will->props.message_expiry_s;
    }
    out->msg = msg_new(&spec);
    free(scratch);
    if (connect->version == MQTT_5 && props_has(&will->props, PROP_WILL_DELAY)) {
        out->delay_s = will->props.will_delay_s;
    }
    return out->msg == NULL ? ERR_NOMEM : OK;
}

/* What the client asked for, bounded by what we grant. */
static void agree(struct conn *conn, const struct mqtt_connect *connect)
{
    const struct config *config = conn->shard->config;
    const struct mqtt_props *props = &connect->props;
    bool is_v5 = connect->version == MQTT_5;
    uint32_t inflight_max = config->inflight_max == 0 ? UINT16_MAX : config->inflight_max;
    conn->clean_start = connect->clean_start;
    conn->is_bridge = connect->is_bridge;
    conn->qos_max = (uint8_t)conn_listener(conn)->qos_max;
    conn->window = (struct window){inflight_max, config->inflight_bytes_max};
    conn->session_expiry_s = connect->clean_start ? 0 : config->session_expiry_max_s;
    conn->wants_problem_info = true;
    if (!is_v5) {
        return;
    }
    uint32_t expiry_s = props_has(props, PROP_SESSION_EXPIRY) ? props->session_expiry_s : 0;
    conn->session_expiry_s = expiry_s < config->session_expiry_max_s ? expiry_s
                                                                     : config->session_expiry_max_s;
    if (props_has(props, PROP_RECEIVE_MAX) && props->receive_max < inflight_max) {
        conn->window.count_max = props->receive_max;
    }
    if (props_has(props, PROP_PACKET_MAX)) {
        conn->packet_max_out = props->packet_max_bytes;
    }
    if (props_has(props, PROP_REQUEST_PROBLEM_INFO)) {
        conn->wants_problem_info = props->request_problem_info;
    }
    uint32_t alias_max = props_has(props, PROP_TOPIC_ALIAS_MAX) ? props->topic_alias_max : 0;
    uint32_t ours = conn_listener(conn)->topic_alias_out_max;
    conn->alias_out_max = (uint16_t)(alias_max < ours ? alias_max : ours);
    conn->alias_in_max = (uint16_t)conn_listener(conn)->topic_alias_in_max;
    /* A bridge that waits for room at QoS 2 would hold up the PUBREL that makes it. */
    conn->receive_max = conn_listener(conn)->is_inside ? UINT16_MAX : (uint16_t)config->receive_max;
    if (conn->work != NULL) { /* it proved itself first */
        conn->work->alias_in.count_max = conn->alias_in_max;
        conn->work->alias_out.count_max = conn->alias_out_max;
    }
}

static uint16_t granted_keepalive(const struct conn *conn, const struct mqtt_connect *connect)
{
    uint32_t max = conn->shard->config->keepalive_max_s;
    bool is_too_long = max > 0 && max < UINT16_MAX &&
                       (connect->keepalive_s == 0 || connect->keepalive_s > max);
    return is_too_long ? (uint16_t)max : connect->keepalive_s;
}

/* Slices point into the session and the reply. */
static struct mqtt_connack connack_accepting(const struct conn *conn,
                                             const struct mqtt_connect *connect,
                                             bool session_present, bool is_assigned,
                                             const struct auth_reply *reply)
{
    const struct config *config = conn->shard->config;
    struct mqtt_connack connack = {.session_present = session_present};
    struct mqtt_props *props = &connack.props;
    props_clear(props);
    uint32_t asked_s = props_has(&connect->props, PROP_SESSION_EXPIRY)
                           ? connect->props.session_expiry_s
                           : 0;
#define SAY(prop, field, value) (props->present |= PROP_BIT(prop), props->field = (value))
    if (conn->session_expiry_s != asked_s) {
        SAY(PROP_SESSION_EXPIRY, session_expiry_s, conn->session_expiry_s);
    }
    SAY(PROP_RECEIVE_MAX, receive_max, conn->receive_max);
    if (conn_listener(conn)->qos_max < 2) {
        SAY(PROP_QOS_MAX, qos_max, (uint8_t)conn_listener(conn)->qos_max); /* [MQTT-3.2.2-9] */
    }
    if (!config->retain_available) {
        SAY(PROP_RETAIN_AVAILABLE, retain_available, 0);
    }
    if (config->packet_max_bytes < LIMIT_PACKET_BYTES_MAX) {
        SAY(PROP_PACKET_MAX, packet_max_bytes, (uint32_t)config->packet_max_bytes);
    }
    if (is_assigned) {
        SAY(PROP_CLIENT_ID, client_id, conn->session->client_id); /* [MQTT-3.1.3-7] */
    }
    if (conn->alias_in_max > 0) {
        SAY(PROP_TOPIC_ALIAS_MAX, topic_alias_max, conn->alias_in_max);
    }
    if (granted_keepalive(conn, connect) != connect->keepalive_s) {
        SAY(PROP_KEEPALIVE, keepalive_s, granted_keepalive(conn, connect));
    }
    bool has_auth = conn->work != NULL && conn->work->auth != NULL;
    if (has_auth) {
        SAY(PROP_AUTH_METHOD, auth_method, auth_exchange_method(conn->work->auth));
    }
    if (has_auth && reply->data_bytes > 0) {
        SAY(PROP_AUTH_DATA, auth_data, slice_of(reply->data, reply->data_bytes));
    }
#undef SAY
    if (conn->version != MQTT_5) {
        props_clear(props);
    }
    return connack;
}

/* What the last connection left unfinished counts against this one's Receive Maximum no more. */
static void attach(struct conn *conn, struct session *session)
{
    conn->session = session;
    session->conn = conn;
    metric_add(conn->shard->metrics, METRIC_clients_connected, 1);
}

void connect_opened(struct conn *conn, uint16_t keepalive_s)
{
    struct shard *shard = conn->shard;
    conn->state = CONN_OPEN;
    shard->connecting_count--;
    metric_add(shard->metrics, METRIC_connect_accepted, 1);
    conn_set_keepalive(conn, keepalive_s);
    shares_presence(shard, conn->session, true);
    deliver_resume(conn->session);
    deliver_pump(conn->session);
}

/*
 * The answer leaves when the session is there for good, and the one before it is gone for good: at
 * once, where nothing of them is kept.
 */
static enum err answer(struct conn *conn, const struct mqtt_connect *connect,
                       const struct mqtt_connack *connack)
{
    const struct session *session = conn->session;
    uint16_t keepalive_s = granted_keepalive(conn, connect);
    if (session->is_durable || ends_has(conn->shard, session->client_id)) {
        enum err err = opening_await(conn, connack, keepalive_s);
        if (err == ERR_AGAIN) {
            return OK;
        }
        if (err != OK) { /* the journal has been fenced in this turn */
            connack_refuse(conn, err);
            return err;
        }
    }
    connack_write(conn, connack);
    connect_opened(conn, keepalive_s);
    return OK;
}

/*
 * A client id opens no session of another user, nor throws him out. What nobody in particular has made
 * gives way to a user: else whoever is let in without a name could keep users' ids from them.
 */
enum claim { CLAIM_OWN, CLAIM_OVER_ANONYMOUS, CLAIM_REFUSED };

static enum claim claim_of(const struct conn *conn, const struct session *session)
{
    struct slice username = slice_of(NULL, 0);
    bool has_username = login_username(conn, &username), is_owned = session->username.data != NULL;
    if (!conn->shard->config->client_id_bound || conn_listener(conn)->is_inside ||
        (has_username == is_owned && slice_equal(username, session->username))) {
        return CLAIM_OWN;
    }
    return is_owned ? CLAIM_REFUSED : CLAIM_OVER_ANONYMOUS;
}

/* Asked before the old connection goes: a refusal changes nothing. */
static enum err open_admit(const struct conn *conn, const struct mqtt_connect *connect,
                           struct slice client_id, const struct session *session)
{
    const struct shard *shard = conn->shard;
    bool lasts = conn->session_expiry_s > 0 || connect->has_will ||
                 (session != NULL && session->is_durable);
    return lasts && shard->journal != NULL ? journal_admit(shard->journal, partition_of(client_id))
                                           : OK;
}

/* One owner per client id: the old connection goes, then there is room for the new one. */
static enum err take_session(struct conn *conn, const struct mqtt_connect *connect,
                             struct slice client_id, bool *session_present)
{
    struct shard *shard = conn->shard;
    const struct config *config = shard->config;
    struct session *session = map_get(shard->sessions, client_id);
    enum claim claim = session != NULL ? claim_of(conn, session) : CLAIM_OWN;
    if (!partition_is_led(shard, partition_of(client_id))) {
        return ERR_UNAVAILABLE; /* it went while somebody proved who he is */
    }
    if (claim == CLAIM_REFUSED) {
        return ERR_CLIENT_ID;
    }
    TRY(open_admit(conn, connect, client_id, session));
    if (session != NULL && session->conn != NULL) {
        metric_add(shard->metrics, METRIC_takeovers, 1);
        conn_end(session->conn, ERR_TAKEN_OVER);       /* [MQTT-3.1.4-3] */
        session = map_get(shard->sessions, client_id); /* it may have ended with its connection */
    }
    if (session != NULL &&
        (connect->clean_start || claim == CLAIM_OVER_ANONYMOUS || session_has_expired(session))) {
        session_end(session); /* [MQTT-3.1.2-4] */
        session = NULL;
    }
    *session_present = session != NULL; /* [MQTT-3.2.2-2] [MQTT-3.2.2-3] */
    if (session == NULL) {
        if (ceiling_is_near(shard)) {
            return ERR_BUSY; /* who has a session may come and take what fills the memory */
        }
        if (config->sessions_max > 0 &&
            map_count(shard->sessions) >= config->sessions_max / shard->broker_shard_count + 1) {
            return ERR_QUOTA;
        }
        session = session_open(shard, client_id);
        if (session == NULL) {
            return ERR_NOMEM;
        }
    } else {
        session_resume(session);
    }
    conn->session = session;
    return OK;
}

/* The topic as it will be routed: with the mount point. */
static enum err will_may_be(struct conn *conn, const struct mqtt_connect *connect,
                            struct slice client_id)
{
    if (!connect->has_will) {
        return OK;
    }
    struct slice username = slice_of(NULL, 0), topic = connect->will.topic;
    bool has_username = login_username(conn, &username);
    struct slice mount = slice_text(conn_listener(conn)->mount_point);
    uint8_t *mounted = malloc(mount.count + topic.count + 1);
    if (mounted == NULL) {
        return ERR_NOMEM;
    }
    memcpy(mounted, mount.data, mount.count);
    memcpy(mounted + mount.count, topic.data, topic.count);
    topic = slice_of(mounted, mount.count + topic.count);
    bool may = rights_may_have_will(conn, has_username, username, client_id, topic);
    free(mounted);
    return may ? OK : ERR_NOT_AUTHORIZED;
}

static const char *tls_version_of(const struct conn *conn)
{
    struct tls_facts facts = {.version = ""};
    if (afar_is_served(conn->afar)) {
        return conn->afar->tls_version;
    }
    if (conn->tls != NULL) {
        tls_facts(conn->tls->tls, &facts);
    }
    return facts.version;
}

static void connected_tell(struct conn *conn, enum auth_how how, bool has_username)
{
    conn_tell(conn, &(struct trail_event){.what = TRAIL_CONNECTED,
                                          .user = has_username ? conn->session->username
                                                               : slice_of(NULL, 0),
                                          .detail = slice_text(auth_how_text(how))});
}

enum err connect_open(struct conn *conn, const struct mqtt_connect *connect, struct slice client_id,
                      bool is_assigned, const struct auth_reply *reply)
{
    struct shard *shard = conn->shard;
    bool session_present = false;
    struct will will = {0};
    struct slice username = slice_of(NULL, 0);
    bool has_username = login_username(conn, &username);
    agree(conn, connect);
    enum err err = will_may_be(conn, connect, client_id);
    err = err != OK ? err : take_session(conn, connect, client_id, &session_present);
    struct session *session = conn->session;
    conn->session = NULL;
    err = err != OK ? err : will_make(conn, connect, session->key, &will);
    if (err == OK) {
        rights_forget(session); /* it may have come by another listener */
        session->listener_index = (uint16_t)conn->listener_index;
        session->password_stamp = login_stamp(conn);
        err = session_set_username(session, username);
    }
    const char *detail = err == ERR_CLIENT_ID ? "it belongs to another user" : NULL;
    if (err == OK) {
        err = limits_identify(conn, session, &detail);
        conn->window.count_max = limits_window(conn, conn->window.count_max);
        conn->receive_max = (uint16_t)limits_window(conn, conn->receive_max);
    }
    if (err == OK) {
        err = apply_open(session, conn->session_expiry_s, &will);
    }
    if (err != OK) {
        will_deinit(&will);
        if (session != NULL && !session_present) {
            session_end(session);
        } else if (session != NULL) {
            session_wait(session);
        }
        connect_refuse(conn, err, connect, detail);
        return OK;
    }
    enum auth_how how = login_how(conn);
    attach(conn, session);
    struct mqtt_connack connack = connack_accepting(conn, connect, session_present, is_assigned,
                                                    reply);
    login_drop(conn);
    connected_tell(conn, how, has_username);
    char host[ADDRESS_TEXT_MAX];
    if (shard->config->connection_messages) {
        log_event(LOG_NOTICE, "client connected", LOG_SLICE("client", session->client_id),
                  LOG_TEXT("from", conn_peer_text(conn, host)), LOG_U64("version", conn->version),
                  LOG_U64("clean", connect->clean_start),
                  LOG_SLICE("user", has_username ? session->username : slice_of("", 0)),
                  LOG_TEXT("by", auth_how_text(how)), LOG_TEXT("tls", tls_version_of(conn)));
    }
    return answer(conn, connect, &connack);
}
