#include "core/broker/rights.h"

#include "core/access/acl.h"
#include "core/base/ledger.h"
#include "core/base/log.h"
#include "core/broker/conn.h"
#include "core/broker/explain.h"
#include "core/broker/security.h"
#include "core/broker/shard.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DETAIL_MAX = 512 };

struct rights {
    struct acl_subject subject;
    struct acl_cache cache;
    uint64_t generation; /* shard->security_generation when it was looked up; 0: never */
    bool reads_all;      /* whatever comes by its subscriptions may be read */
};

static struct shard *shard_of_session(const struct session *session)
{
    return session->owner;
}

static const struct acl *acl_of(const struct shard *shard, uint32_t listener_index)
{
    return shard->security != NULL ? shard->security->listeners[listener_index].acl : NULL;
}

static void look_up(struct rights *rights, struct session *session, const struct acl *acl)
{
    acl_subject_init(&rights->subject, acl, session->username.data != NULL, session->username,
                     session->client_id);
    rights->cache = (struct acl_cache){0};
    rights->generation = shard_of_session(session)->security_generation;
    rights->reads_all = true;
    LIST_EACH (&session->subscriptions, link) {
        const struct subscription *subscription = CONTAINER_OF(link, struct subscription, link);
        rights->reads_all = rights->reads_all &&
                            acl_reads_all(&rights->subject, subscription->filter);
    }
}

/* NULL: memory is exhausted, and nothing is allowed. */
static struct rights *rights_of(struct session *session, const struct acl *acl)
{
    struct rights *rights = session->rights;
    if (rights == NULL) {
        rights = session->rights = calloc(1, sizeof(*rights));
        ledger_add(LEDGER_SESSIONS, rights == NULL ? 0 : ledger_block(sizeof(*rights)));
    }
    if (rights != NULL && rights->generation != shard_of_session(session)->security_generation) {
        look_up(rights, session, acl);
    }
    return rights;
}

void rights_forget(struct session *session)
{
    if (session->rights != NULL) {
        ((struct rights *)session->rights)->generation = 0;
    }
}

void rights_free(struct session *session)
{
    if (session->rights != NULL) {
        ledger_add(LEDGER_SESSIONS, -ledger_block(sizeof(struct rights)));
        free(session->rights);
        session->rights = NULL;
    }
}

/* ---- asking -------------------------------------------------------------------------------- */

bool rights_may_publish(struct session *session, const struct msg *msg)
{
    const struct acl *acl = acl_of(shard_of_session(session), session->listener_index);
    if (acl == NULL) {
        return true;
    }
    struct rights *rights = rights_of(session, acl);
    return rights != NULL && acl_may_publish_cached(&rights->subject, &rights->cache, msg->topic);
}

bool rights_may_read(struct session *session, const struct msg *msg)
{
    const struct acl *acl = acl_of(shard_of_session(session), session->listener_index);
    if (acl == NULL) {
        return true;
    }
    struct rights *rights = rights_of(session, acl);
    return rights != NULL &&
           (rights->reads_all || acl_may_read_cached(&rights->subject, &rights->cache, msg->topic));
}

bool rights_may_still_read(struct session *session, const struct msg *msg)
{
    const struct acl *acl = acl_of(shard_of_session(session), session->listener_index);
    if (acl == NULL) {
        return true;
    }
    struct rights *rights = rights_of(session, acl);
    return rights != NULL && acl_may_read_cached(&rights->subject, &rights->cache, msg->topic);
}

void rights_subscribed(struct session *session, const struct subscription *subscription)
{
    const struct acl *acl = acl_of(shard_of_session(session), session->listener_index);
    struct rights *rights = acl != NULL ? rights_of(session, acl) : NULL;
    if (rights != NULL) {
        rights->reads_all = rights->reads_all &&
                            acl_reads_all(&rights->subject, subscription->filter);
    }
}

/* ---- telling ------------------------------------------------------------------------------- */

/* "acl.conf:12 topic deny secret/#", or "acl.conf: no rule speaks of it". */
static struct slice rule_text(const struct shard *shard, uint32_t listener_index,
                              const struct acl_decision *decision, char out[DETAIL_MAX])
{
    const char *file = shard->config->listeners[listener_index].acl_file;
    int count = decision->line > 0
                    ? snprintf(out, DETAIL_MAX, "%s:%u %.*s", file, decision->line,
                               (int)(decision->rule.count < 300 ? decision->rule.count : 300),
                               (const char *)decision->rule.data)
                    : snprintf(out, DETAIL_MAX, "%s: %s", file, decision->why);
    return slice_of(out, (size_t)(count < DETAIL_MAX ? count : DETAIL_MAX - 1));
}

struct denial {
    enum trail_what what;
    enum log_level level;
    struct slice client, user, topic;
    uint8_t qos;
};

static void tell(struct shard *shard, const struct conn *conn, uint32_t listener_index,
                 const struct denial *denial, const struct acl_decision *decision)
{
    char text[DETAIL_MAX], host[ADDRESS_TEXT_MAX] = "";
    struct slice rule = rule_text(shard, listener_index, decision, text);
    struct trail_event event = {.what = denial->what,
                                .why = ERR_NOT_AUTHORIZED,
                                .client = denial->client,
                                .user = denial->user,
                                .topic = denial->topic,
                                .detail = rule,
                                .qos = denial->qos};
    if (conn != NULL) {
        memcpy(&event.peer, &conn->peer, sizeof(event.peer));
        conn_peer_text(conn, host);
    }
    shard_tell(shard, &event);
    log_event(denial->level, trail_text(denial->what), LOG_SLICE("client", denial->client),
              LOG_SLICE("user", denial->user), LOG_TEXT("from", host),
              LOG_SLICE("topic", denial->topic), LOG_SLICE("rule", rule));
}

static void tell_of_session(struct session *session, const struct denial *denial,
                            const struct acl_decision *decision)
{
    tell(session->owner, session->conn, session->listener_index, denial, decision);
}

static struct denial denial_of(const struct session *session, enum trail_what what,
                               const struct msg *msg)
{
    return (struct denial){.what = what,
                           .level = LOG_NOTICE,
                           .client = session->client_id,
                           .user = session->username,
                           .topic = msg->topic,
                           .qos = msg->qos};
}

void rights_denied_publish(struct session *session, const struct msg *msg, bool is_will)
{
    struct acl_decision decision = {.why = "memory is exhausted"};
    struct rights *rights = session->rights;
    if (rights != NULL) {
        acl_may_publish(&rights->subject, msg->topic, &decision);
    }
    struct denial denial = denial_of(session, is_will ? TRAIL_WILL_DENIED : TRAIL_PUBLISH_DENIED,
                                     msg);
    tell_of_session(session, &denial, &decision);
}

void rights_denied_read(struct session *session, const struct msg *msg)
{
    struct acl_decision decision = {.why = "memory is exhausted"};
    struct rights *rights = session->rights;
    if (rights != NULL) {
        acl_may_read(&rights->subject, msg->topic, &decision);
    }
    /* Who subscribes to more than he may read is sent the rest all day: no news at notice. */
    struct denial denial = denial_of(session, TRAIL_DROP_READ_DENIED, msg);
    denial.level = LOG_DEBUG;
    tell_of_session(session, &denial, &decision);
}

/* ---- before anything hangs ------------------------------------------------------------------ */

bool rights_may_subscribe(struct conn *conn, struct slice filter)
{
    struct session *session = conn->session;
    const struct acl *acl = acl_of(conn->shard, session->listener_index);
    if (acl == NULL) {
        return true;
    }
    struct slice mount = slice_text(conn_listener(conn)->mount_point);
    uint8_t *mounted = NULL;
    if (mount.count > 0) {
        mounted = malloc(mount.count + filter.count);
        if (mounted == NULL) {
            return false;
        }
        memcpy(mounted, mount.data, mount.count);
        memcpy(mounted + mount.count, filter.data, filter.count);
        filter = slice_of(mounted, mount.count + filter.count);
    }
    struct rights *rights = rights_of(session, acl);
    struct acl_decision decision = {.why = "memory is exhausted"};
    bool is_allowed = rights != NULL && acl_may_subscribe(&rights->subject, filter, &decision);
    if (!is_allowed) {
        struct denial denial = {.what = TRAIL_SUBSCRIBE_DENIED,
                                .level = LOG_NOTICE,
                                .client = session->client_id,
                                .user = session->username,
                                .topic = filter};
        tell(conn->shard, conn, session->listener_index, &denial, &decision);
    }
    free(mounted);
    return is_allowed;
}

bool rights_may_have_will(struct conn *conn, bool has_username, struct slice username,
                          struct slice client_id, struct slice topic)
{
    const struct acl *acl = acl_of(conn->shard, conn->listener_index);
    if (acl == NULL) {
        return true;
    }
    struct acl_subject subject;
    struct acl_decision decision;
    acl_subject_init(&subject, acl, has_username, username, client_id);
    if (acl_may_publish(&subject, topic, &decision)) {
        return true;
    }
    struct denial denial = {.what = TRAIL_WILL_DENIED,
                            .level = LOG_NOTICE,
                            .client = client_id,
                            .user = has_username ? username : slice_of(NULL, 0),
                            .topic = topic};
    tell(conn->shard, conn, conn->listener_index, &denial, &decision);
    return false;
}
