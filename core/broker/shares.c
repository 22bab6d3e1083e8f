#include "core/broker/shares.h"

#include "core/base/assert.h"
#include "core/base/ledger.h"
#include "core/base/log.h"
#include "core/broker/broker_shared.h"
#include "core/broker/conn.h"
#include "core/broker/deliver.h"
#include "core/broker/mailbox.h"
#include "core/broker/on_subscribe.h"
#include "core/broker/outbox.h"
#include "core/broker/partition.h"
#include "core/broker/receipt.h"
#include "core/broker/remote.h"
#include "core/broker/routes.h"
#include "core/broker/shard.h"
#include "core/pubsub/share.h"

#include <stdlib.h>
#include <string.h>

/* One group, on its shard. */
struct share {
    struct sub sub;
    uint64_t id; /* counter * SHARD_COUNT_MAX + shard */
    struct share_group *group;
    struct slice name; /* "name/filter" */
    uint64_t hash;     /* hash_bytes() of it */
    uint8_t bytes[];
};

struct shares {
    struct map *by_name, *by_id; /* groups of this shard */
    struct map *sessions;        /* sessions of this shard that are members anywhere, by key */
    uint64_t id_last;
};

static struct slice name_of(const void *value)
{
    return ((const struct share *)value)->name;
}

/* A share name has no slash. */
static struct slice filter_of(const struct share *share)
{
    const uint8_t *slash = memchr(share->bytes, '/', share->name.count);
    return slice_skip(share->name, (size_t)(slash + 1 - share->bytes));
}

static struct slice id_of(const void *value)
{
    return slice_of(&((const struct share *)value)->id, sizeof(uint64_t));
}

static struct slice key_of(const void *value)
{
    return slice_of(&((const struct session *)value)->key, sizeof(uint64_t));
}

struct shares *shares_new(uint64_t seed)
{
    struct shares *shares = calloc(1, sizeof(*shares));
    if (shares == NULL) {
        return NULL;
    }
    shares->by_name = map_new(name_of, seed);
    shares->by_id = map_new(id_of, seed);
    shares->sessions = map_new(key_of, seed);
    if (shares->by_name == NULL || shares->by_id == NULL || shares->sessions == NULL) {
        shares_free(shares, NULL);
        return NULL;
    }
    map_enter(shares->by_name, LEDGER_SUBSCRIPTIONS);
    map_enter(shares->by_id, LEDGER_SUBSCRIPTIONS);
    map_enter(shares->sessions, LEDGER_SESSIONS);
    return shares;
}

static void share_free(struct shard *shard, struct share *share)
{
    map_remove(shard->shares->by_name, share->name);
    map_remove(shard->shares->by_id, slice_of(&share->id, sizeof(share->id)));
    if (share->sub.leaf != NULL) {
        routes_unhang(shard, filter_of(share), &share->sub);
    }
    share_group_free(share->group);
    ledger_add(LEDGER_SUBSCRIPTIONS, -ledger_block(sizeof(*share) + share->name.count));
    free(share);
}

void shares_free(struct shares *shares, struct shard *shard)
{
    if (shares == NULL) {
        return;
    }
    uint64_t cursor = 0;
    struct share *share;
    while (shares->by_name != NULL && shard != NULL &&
           (share = map_next(shares->by_name, &cursor)) != NULL) {
        share_free(shard, share);
    }
    map_free(shares->by_name);
    map_free(shares->by_id);
    map_free(shares->sessions);
    free(shares);
}

static struct share *share_by_id(const struct shard *shard, uint64_t id)
{
    return map_get(shard->shares->by_id, slice_of(&id, sizeof(id)));
}

/* ---- the group's side ---------------------------------------------------------------------- */

static struct share *share_new(struct shard *shard, struct slice name)
{
    struct share *share = calloc(1, sizeof(*share) + name.count);
    if (share == NULL) {
        return NULL;
    }
    ledger_add(LEDGER_SUBSCRIPTIONS, ledger_block(sizeof(*share) + name.count));
    memcpy(share->bytes, name.data, name.count);
    share->name = slice_of(share->bytes, name.count);
    share->hash = hash_bytes(name);
    share->id = ++shard->shares->id_last * SHARD_COUNT_MAX + shard->index;
    share->sub.kind = SUB_SHARE;
    share->sub.owner = share;
    share->group = share_group_new();
    if (share->group == NULL || map_put(shard->shares->by_name, share) != OK ||
        map_put(shard->shares->by_id, share) != OK ||
        routes_hang(shard, partition_of(name), filter_of(share), &share->sub) != OK) {
        share_free(shard, share);
        return NULL;
    }
    return share;
}

/* *share_id_out is written on OK. */
static enum err join_here(struct shard *shard, const struct share_mail *join, uint32_t from,
                          uint64_t *share_id_out)
{
    struct slice name = slice_of(join->bytes, join->name_bytes);
    struct share *share = map_get(shard->shares->by_name, name);
    if (((partitions_led(shard) | shard->partitions.loading) & UINT64_C(1) << partition_of(name)) ==
        0) {
        return ERR_UNAVAILABLE; /* shares_rejoin() follows when it comes */
    }
    if (share == NULL) {
        share = share_new(shard, name);
        if (share == NULL) {
            return ERR_NOMEM;
        }
    }
    struct share_member member = {.key = join->session_key,
                                  .shard = from,
                                  .window = join->window,
                                  .id = join->id,
                                  .qos = join->qos,
                                  .retain_as_published = join->retain_as_published,
                                  .is_present = join->is_present};
    const struct share_member *old = share_group_find(share->group, member.key);
    member.outstanding = old != NULL ? old->outstanding : 0;
    enum err err = share_group_put(share->group, &member);
    if (share_group_count(share->group) == 0) {
        share_free(shard, share);
        return err;
    }
    *share_id_out = share->id;
    return err;
}

static void leave_here(struct shard *shard, uint64_t share_id, uint64_t session_key)
{
    struct share *share = share_by_id(shard, share_id);
    if (share == NULL) {
        return;
    }
    share_group_remove(share->group, session_key);
    if (share_group_count(share->group) == 0) {
        share_free(shard, share);
    }
}

static void presence_here(struct shard *shard, uint64_t share_id, uint64_t session_key,
                          bool is_present)
{
    struct share *share = share_by_id(shard, share_id);
    struct share_member *member = share != NULL ? share_group_find(share->group, session_key)
                                                : NULL;
    if (member != NULL) {
        member->is_present = is_present;
    }
}

static void settled_here(struct shard *shard, uint64_t share_id, uint64_t session_key)
{
    struct share *share = share_by_id(shard, share_id);
    struct share_member *member = share != NULL ? share_group_find(share->group, session_key)
                                                : NULL;
    if (member != NULL && member->outstanding > 0) {
        member->outstanding--;
    }
}

static const struct subscription *membership(const struct session *session, uint64_t share_id)
{
    const struct subscription *shared = NULL;
    while ((shared = session_shared_next(session, shared)) != NULL && shared->share != share_id) {
    }
    return shared;
}

/* Its UNSUBACK may have left while the group did not know yet: then it goes back [MQTT-3.10.4-2]. */
static enum err offer_here(struct shard *shard, uint64_t session_key, uint64_t share_id,
                           struct msg *msg, uint8_t qos, bool retain, uint32_t id,
                           struct receipt *receipt)
{
    struct session *session = map_get(shard->shares->sessions,
                                      slice_of(&session_key, sizeof(session_key)));
    const struct subscription *shared = session == NULL ? NULL : membership(session, share_id);
    if (shared == NULL) {
        shares_return(shard, share_id, session_key, msg_ref(msg), receipt);
        return OK;
    }
    struct offer offer = {.msg = msg,
                          .ids = &id,
                          .id_count = id != 0,
                          .share = share_id,
                          .group = shared->share_hash,
                          .qos = qos,
                          .retain = retain};
    return deliver_offer(session, &offer, NULL);
}

enum err shares_dispatch(struct shard *shard, struct share *share, struct msg *msg,
                         uint64_t not_key, struct receipt *receipt)
{
    if (outbox_was_taken(shard, share->hash)) {
        return OK;
    }
    struct share_member *member = share_group_next(share->group, not_key);
    if (member == NULL) {
        shard_count_drop(shard, TRAIL_DROP_NO_MEMBER, ERR_NOT_FOUND, slice_of(NULL, 0), msg->topic);
        return OK;
    }
    member->outstanding++;
    uint8_t qos = route_qos(shard, msg, member->qos);
    bool retain = member->retain_as_published && msg->retain;
    if (member->shard == shard->index) {
        return offer_here(shard, member->key, share->id, msg, qos, retain, member->id, receipt);
    }
    struct mail mail = {.kind = MAIL_SHARE_OFFER,
                        .a = member->key,
                        .b = share->id,
                        .msg = msg_ref(msg),
                        .receipt = receipt,
                        .origin = shard->origin,
                        .id = member->id,
                        .qos = qos,
                        .retain = retain};
    receipt_hold(receipt);
    mailbox_post(shard->mailbox, member->shard, &mail);
    return OK;
}

static enum err return_here(struct shard *shard, uint64_t share_id, uint64_t session_key,
                            struct msg *msg, struct receipt *receipt)
{
    enum err err = OK;
    settled_here(shard, share_id, session_key);
    struct share *share = share_by_id(shard, share_id);
    if (share != NULL) {
        err = shares_dispatch(shard, share, msg, session_key, receipt);
    } else {
        shard_count_drop(shard, TRAIL_DROP_NO_MEMBER, ERR_NOT_FOUND, slice_of(NULL, 0), msg->topic);
    }
    msg_unref(msg);
    return err;
}

/* This shard is the group's, be it led here or on another node. */
static enum err send_by_home(struct shard *shard, struct slice group, struct msg *msg,
                             struct receipt *receipt)
{
    uint32_t partition = partition_of(group);
    if (!shard_leads(shard, partition) && shard->mesh == NULL) {
        return ERR_UNAVAILABLE;
    }
    if (!shard_leads(shard, partition)) {
        struct mesh_errand errand = {
            .kind = MESH_GROUP, .partitions = UINT64_C(1) << partition, .msg = msg, .group = group};
        remote_send(shard, &errand, receipt);
        return OK;
    }
    struct share *share = map_get(shard->shares->by_name, group);
    if (share != NULL) {
        return shares_dispatch(shard, share, msg, 0, receipt);
    }
    shard_count_drop(shard, TRAIL_DROP_NO_MEMBER, ERR_NOT_FOUND, slice_of(NULL, 0), msg->topic);
    return OK;
}

enum err shares_send(struct shard *shard, struct slice group, struct msg *msg,
                     struct receipt *receipt)
{
    uint32_t home = shard_of(shard, group);
    if (home == shard->index) {
        shard->touched = 0;
        enum err err = send_by_home(shard, group, msg, receipt);
        receipt_await(receipt, shard->touched);
        return err;
    }
    struct mail mail = {.kind = MAIL_SHARE_SEND,
                        .a = (uint64_t)(uintptr_t)group.data,
                        .b = group.count,
                        .msg = msg_ref(msg),
                        .receipt = receipt,
                        .origin = shard->origin};
    receipt_hold(receipt);
    mailbox_post(shard->mailbox, home, &mail);
    return OK;
}

/* ---- the member's side --------------------------------------------------------------------- */

static uint32_t home_of(uint64_t share_id)
{
    return (uint32_t)(share_id % SHARD_COUNT_MAX);
}

static void name_write(struct slice share_name, struct slice filter, uint8_t *out)
{
    memcpy(out, share_name.data, share_name.count);
    out[share_name.count] = '/';
    memcpy(out + share_name.count + 1, filter.data, filter.count);
}

void shares_name(const struct subscription *shared, uint8_t *out)
{
    name_write(shared->share_name, shared->filter, out);
}

enum err shares_join(struct shard *shard, struct subscription *subscription, uint32_t window,
                     struct suback *suback, uint32_t suback_index)
{
    struct session *session = subscription->session;
    uint32_t name_bytes = (uint32_t)(subscription->share_name.count + 1 +
                                     subscription->filter.count);
    struct share_mail *join = calloc(1, sizeof(*join) + name_bytes);
    if (join == NULL) {
        return ERR_NOMEM;
    }
    *join = (struct share_mail){.suback = suback,
                                .suback_index = suback_index,
                                .session_key = session->key,
                                .window = window,
                                .id = subscription->sub.id,
                                .qos = subscription->sub.qos,
                                .retain_as_published = subscription->sub.retain_as_published,
                                .is_present = session->conn != NULL,
                                .name_bytes = name_bytes,
                                .filter_bytes = (uint32_t)subscription->filter.count};
    shares_name(subscription, join->bytes);
    subscription->share_hash = hash_bytes(slice_of(join->bytes, name_bytes));
    uint32_t home = shard_of(shard, slice_of(join->bytes, name_bytes));
    enum err err = map_put(shard->shares->sessions, session);
    if (err == ERR_NOMEM) {
        free(join);
        return err;
    }
    if (home == shard->index) {
        err = join_here(shard, join, shard->index, &subscription->share);
        free(join);
        return err;
    }
    struct mail mail = {.kind = MAIL_SHARE_JOIN, .share = join};
    mailbox_post(shard->mailbox, home, &mail);
    return ERR_AGAIN;
}

static void tell(struct shard *shard, enum mail_kind kind, uint64_t share_id, uint64_t session_key,
                 bool flag)
{
    struct mail mail = {.kind = kind, .a = session_key, .b = share_id, .retain = flag};
    mailbox_post(shard->mailbox, home_of(share_id), &mail);
}

/* The answer came back to the member's shard: the subscription may have gone in between. */
static void on_joined(struct shard *shard, const struct mail *mail)
{
    const struct share_mail *join = mail->share;
    struct session *session = map_get(shard->shares->sessions,
                                      slice_of(&join->session_key, sizeof(uint64_t)));
    struct subscription *subscription = NULL;
    if (session != NULL) {
        subscription = session_shared_subscription(session, slice_of(join->bytes, join->name_bytes),
                                                   join->filter_bytes);
    }
    if (mail->err == OK && subscription == NULL) {
        struct mail leave = {.kind = MAIL_SHARE_LEAVE, .a = join->session_key, .b = mail->b};
        mailbox_post(shard->mailbox, mail->from, &leave);
    } else if (mail->err == OK) {
        subscription->share = mail->b;
        if ((session->conn != NULL) != join->is_present) { /* and nobody could be told */
            tell(shard, MAIL_SHARE_STATE, mail->b, session->key, session->conn != NULL);
        }
    }
    suback_done(join->suback, join->suback_index, mail->err);
}

void shares_leave(struct shard *shard, struct subscription *subscription)
{
    if (subscription->share == 0) {
        return; /* still joining: on_joined will find it gone */
    }
    uint64_t key = subscription->session->key;
    if (home_of(subscription->share) == shard->index) {
        leave_here(shard, subscription->share, key);
    } else {
        tell(shard, MAIL_SHARE_LEAVE, subscription->share, key, false);
    }
    subscription->share = 0;
}

void shares_presence(struct shard *shard, struct session *session, bool is_present)
{
    const struct subscription *subscription = NULL;
    while ((subscription = session_shared_next(session, subscription)) != NULL) {
        if (subscription->share == 0) {
            continue;
        }
        if (home_of(subscription->share) == shard->index) {
            presence_here(shard, subscription->share, session->key, is_present);
        } else {
            tell(shard, MAIL_SHARE_STATE, subscription->share, session->key, is_present);
        }
    }
}

void shares_settled(struct shard *shard, uint64_t share_id, uint64_t session_key)
{
    if (home_of(share_id) == shard->index) {
        settled_here(shard, share_id, session_key);
    } else {
        tell(shard, MAIL_SHARE_SETTLE, share_id, session_key, false);
    }
}

void shares_return(struct shard *shard, uint64_t share_id, uint64_t session_key, struct msg *msg,
                   struct receipt *receipt)
{
    if (home_of(share_id) == shard->index) {
        return_here(shard, share_id, session_key, msg, receipt);
        return;
    }
    struct mail mail = {.kind = MAIL_SHARE_RETURN,
                        .a = session_key,
                        .b = share_id,
                        .msg = msg,
                        .receipt = receipt,
                        .origin = shard->origin};
    receipt_hold(receipt);
    mailbox_post(shard->mailbox, home_of(share_id), &mail);
}

#define MARK (UINT64_C(1) << 63) /* no group has such an id */

uint64_t shares_mark(struct slice text)
{
    return text.count == 0 ? 0 : hash_bytes(text) | MARK;
}

const struct subscription *shares_subscription(const struct session *session,
                                               const struct delivery *delivery)
{
    const struct subscription *shared = NULL;
    if ((delivery->share & MARK) == 0) {
        return delivery->share == 0 ? NULL : membership(session, delivery->share);
    }
    while ((shared = session_shared_next(session, shared)) != NULL &&
           shares_mark(shared->text) != delivery->share) {
    }
    return shared;
}

uint64_t shares_group(const struct session *session, const struct delivery *delivery)
{
    if ((delivery->share & MARK) == 0) {
        return delivery->share;
    }
    const struct subscription *shared = shares_subscription(session, delivery);
    return shared == NULL ? 0 : shared->share;
}

void shares_recall(struct session *session)
{
    struct delivery *slot;
    uint32_t cursor = 0;
    for (uint32_t i = 0; i < session->queue.waiting.count; i++) {
        slot = deque_at(&session->queue.waiting, i);
        slot->share = shares_group(session, slot);
    }
    while ((slot = inflight_next(&session->inflight, &cursor)) != NULL) {
        slot->share = shares_group(session, slot);
    }
}

void shares_forget_session(struct shard *shard, struct session *session)
{
    map_remove(shard->shares->sessions, slice_of(&session->key, sizeof(session->key)));
}

/* ---- partitions come and go ----------------------------------------------------------------- */

bool shares_is_here(const struct shard *shard, struct slice share_name, struct slice filter)
{
    uint8_t small[256];
    size_t count = share_name.count + 1 + filter.count;
    uint8_t *name = count <= sizeof(small) ? small : malloc(count);
    if (name == NULL) {
        return true; /* to join it needs memory, too, and will be told */
    }
    name_write(share_name, filter, name);
    bool is_here = partition_is_here(shard, slice_of(name, count));
    if (name != small) {
        free(name);
    }
    return is_here;
}

/* Of its group's name, as partition_of() has it. */
static bool is_in(const struct subscription *shared, uint64_t partitions)
{
    return (partitions & UINT64_C(1) << shared->share_hash % PARTITION_COUNT) != 0;
}

static uint32_t window_of(const struct shard *shard, const struct session *session)
{
    const struct conn *conn = session->conn;
    uint32_t window = conn != NULL ? conn->window.count_max : shard->config->inflight_max;
    return window == 0 ? UINT16_MAX : window;
}

void shares_rejoin(struct shard *shard, uint64_t partitions)
{
    uint64_t cursor = 0;
    struct session *session;
    while ((session = map_next(shard->shares->sessions, &cursor)) != NULL) {
        struct subscription *shared = NULL;
        while ((shared = session_shared_next(session, shared)) != NULL) {
            if (shared->share != 0 || !is_in(shared, partitions)) {
                continue;
            }
            enum err err = shares_join(shard, shared, window_of(shard, session), NULL, 0);
            if (err != OK && err != ERR_AGAIN) {
                log_event(LOG_ERROR, "a session cannot join its share group again",
                          LOG_SLICE("client", session->client_id),
                          LOG_SLICE("filter", shared->text), LOG_TEXT("reason", err_text(err)));
            }
        }
    }
}

/* What it has by that group bears a mark again. */
static void group_forget(struct session *session, struct subscription *shared)
{
    uint64_t mark = shares_mark(shared->text);
    struct delivery *slot;
    uint32_t cursor = 0;
    for (uint32_t i = 0; i < session->queue.waiting.count; i++) {
        slot = deque_at(&session->queue.waiting, i);
        slot->share = slot->share == shared->share ? mark : slot->share;
    }
    while ((slot = inflight_next(&session->inflight, &cursor)) != NULL) {
        slot->share = slot->share == shared->share ? mark : slot->share;
    }
    shared->share = 0;
}

void shares_forget_groups(struct shard *shard, uint64_t partitions)
{
    uint64_t cursor = 0;
    struct session *session;
    while ((session = map_next(shard->shares->sessions, &cursor)) != NULL) {
        struct subscription *shared = NULL;
        while ((shared = session_shared_next(session, shared)) != NULL) {
            if (shared->share != 0 && is_in(shared, partitions)) {
                group_forget(session, shared);
            }
        }
    }
}

void shares_end(struct shard *shard, uint32_t partition)
{
    uint64_t cursor = 0;
    struct share *share;
    while ((share = map_next(shard->shares->by_name, &cursor)) != NULL) {
        if (share->hash % PARTITION_COUNT == partition) {
            share_free(shard, share);
        }
    }
}

/* ---- mail ---------------------------------------------------------------------------------- */

/* Whoever waits shall send it again. The group counts it no more for that member. */
static void refuse_stale(struct shard *shard, struct mail *mail)
{
    if (mail->kind == MAIL_SHARE_OFFER) {
        shares_settled(shard, mail->b, mail->a);
    } else if (mail->kind == MAIL_SHARE_RETURN) {
        settled_here(shard, mail->b, mail->a);
    }
    receipt_answer(shard, mail, ERR_UNAVAILABLE);
    msg_unref(mail->msg);
}

/* A message to a member, or back from one; whoever waits for it waits for what becomes of it here. */
static void on_message(struct shard *shard, struct mail *mail)
{
    struct receipt *relay;
    enum err err;
    if (partition_is_stale(shard, mail)) {
        refuse_stale(shard, mail);
        return;
    }
    bool is_promised = receipt_relay(shard, mail, &relay);
    if (!receipt_may_go_on(shard, mail, is_promised)) {
        if (mail->kind == MAIL_SHARE_RETURN) {
            settled_here(shard, mail->b, mail->a);
        }
        msg_unref(mail->msg);
        return;
    }
    shard->touched = 0;
    shard->origin = mail->origin;
    if (mail->kind == MAIL_SHARE_OFFER) {
        err = offer_here(shard, mail->a, mail->b, mail->msg, mail->qos, mail->retain, mail->id,
                         relay);
        msg_unref(mail->msg);
    } else if (mail->kind == MAIL_SHARE_SEND) {
        err = send_by_home(shard, slice_of((const void *)(uintptr_t)mail->a, mail->b), mail->msg,
                           relay);
        msg_unref(mail->msg);
    } else {
        err = return_here(shard, mail->b, mail->a, mail->msg, relay);
    }
    shard->origin.number = 0;
    receipt_await(relay, shard->touched);
    receipt_done(relay, err);
}

void shares_on_mail(struct shard *shard, struct mail *mail)
{
    switch ((enum mail_kind)mail->kind) {
    case MAIL_SHARE_JOIN: {
        struct mail answer = {.kind = MAIL_SHARE_JOINED, .share = mail->share};
        answer.err = join_here(shard, mail->share, mail->from, &answer.b);
        mailbox_post(shard->mailbox, mail->from, &answer);
        break;
    }
    case MAIL_SHARE_JOINED:
        on_joined(shard, mail);
        free(mail->share);
        break;
    case MAIL_SHARE_LEAVE:
        leave_here(shard, mail->b, mail->a);
        break;
    case MAIL_SHARE_STATE:
        presence_here(shard, mail->b, mail->a, mail->retain);
        break;
    case MAIL_SHARE_OFFER:
    case MAIL_SHARE_RETURN:
    case MAIL_SHARE_SEND:
        on_message(shard, mail);
        break;
    case MAIL_SHARE_SETTLE:
        settled_here(shard, mail->b, mail->a);
        break;
    default:
        ASSERT(false);
    }
}
