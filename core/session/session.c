#include "core/session/session.h"

#include "core/base/assert.h"
#include "core/base/ledger.h"

#include <stdlib.h>
#include <string.h>

enum { SUBSCRIPTIONS_LISTED = 8 }; /* beyond it they are found by a map */

uint32_t partition_of(struct slice key)
{
    return (uint32_t)(hash_bytes(key) % PARTITION_COUNT);
}

/* What clients make us keep weighs, or they could fill the memory with empty sessions. */
static int64_t session_weight(const struct session *session)
{
    return ledger_block(sizeof(*session) + session->client_id.count);
}

static int64_t username_weight(struct slice username)
{
    return username.data == NULL ? 0 : ledger_block(username.count + 1);
}

static size_t subscription_bytes(size_t text_bytes, size_t filter_bytes)
{
    return sizeof(struct subscription) + text_bytes + filter_bytes;
}

struct session *session_new(struct slice client_id, uint64_t key)
{
    struct session *session = calloc(1, sizeof(*session) + client_id.count);
    if (session == NULL) {
        return NULL;
    }
    uint8_t *id = (uint8_t *)(session + 1);
    memcpy(id, client_id.data, client_id.count);
    session->client_id = slice_of(id, client_id.count);
    session->key = key;
    session->partition = (uint8_t)partition_of(client_id);
    ledger_add(LEDGER_SESSIONS, session_weight(session));
    list_init(&session->subscriptions);
    return session;
}

enum err session_set_username(struct session *session, struct slice username)
{
    uint8_t *copy = NULL;
    if (username.data != NULL) {
        copy = malloc(username.count + 1); /* the empty name is a name, too */
        if (copy == NULL) {
            return ERR_NOMEM;
        }
        memcpy(copy, username.data, username.count);
    }
    struct slice old = session->username;
    session->username = slice_of(copy, username.count);
    ledger_add(LEDGER_SESSIONS, username_weight(session->username) - username_weight(old));
    free((void *)(uintptr_t)old.data);
    return OK;
}

void session_free(struct session *session)
{
    if (session == NULL) {
        return;
    }
    ASSERT(list_is_empty(&session->subscriptions));
    ledger_add(LEDGER_SESSIONS, -session_weight(session) - username_weight(session->username));
    free((void *)(uintptr_t)session->username.data);
    map_free(session->by_filter);
    queue_deinit(&session->queue);
    inflight_deinit(&session->inflight);
    inbound_deinit(&session->inbound);
    if (session->afterlife != NULL) {
        will_deinit(&session->afterlife->will);
        session->afterlife->is_over = true;
        afterlife_release(session->afterlife);
    }
    free(session);
}

void afterlife_release(struct afterlife *afterlife)
{
    ASSERT(afterlife->is_over);
    if (afterlife->pins == 0) {
        ledger_add(LEDGER_SESSIONS, -ledger_block(sizeof(*afterlife)));
        free(afterlife);
    }
}

static struct slice text_of(const void *value)
{
    return ((const struct subscription *)value)->text;
}

static struct subscription *of_link(struct list *link)
{
    return CONTAINER_OF(link, struct subscription, link);
}

struct subscription *session_subscription(const struct session *session, struct slice text)
{
    if (session->by_filter != NULL) {
        return map_get(session->by_filter, text);
    }
    LIST_EACH (&session->subscriptions, link) {
        if (slice_equal(of_link(link)->text, text)) {
            return of_link(link);
        }
    }
    return NULL;
}

struct subscription *session_shared_next(const struct session *session,
                                         const struct subscription *after)
{
    const struct list *link = after == NULL ? session->subscriptions.next : after->link.next;
    if (link == &session->subscriptions) {
        return NULL;
    }
    struct subscription *next = CONTAINER_OF(link, struct subscription, link);
    return next->share_name.count > 0 ? next : NULL;
}

struct subscription *session_shared_subscription(const struct session *session, struct slice key,
                                                 size_t filter_bytes)
{
    struct slice name = slice_head(key, key.count - filter_bytes - 1);
    struct slice filter = slice_skip(key, key.count - filter_bytes);
    struct subscription *shared = NULL;
    while ((shared = session_shared_next(session, shared)) != NULL) {
        if (slice_equal(shared->share_name, name) && slice_equal(shared->filter, filter)) {
            return shared;
        }
    }
    return NULL;
}

/* From a few subscriptions on, a map finds them: a client may have a hundred thousand. */
static enum err index_subscription(struct session *session, struct subscription *subscription)
{
    if (session->by_filter != NULL) {
        return map_put(session->by_filter, subscription);
    }
    if (session->subscription_count < SUBSCRIPTIONS_LISTED) {
        return OK;
    }
    struct map *map = map_new(text_of, session->key);
    if (map == NULL) {
        return ERR_NOMEM;
    }
    map_enter(map, LEDGER_SUBSCRIPTIONS);
    enum err err = map_put(map, subscription);
    LIST_EACH (&session->subscriptions, link) {
        err = err == OK ? map_put(map, of_link(link)) : err;
    }
    if (err != OK) {
        map_free(map);
        return err;
    }
    session->by_filter = map;
    return OK;
}

struct subscription *session_subscription_add(struct session *session, struct slice text,
                                              struct slice share_name, struct slice filter,
                                              struct slice filter_prefix)
{
    ASSERT(session_subscription(session, text) == NULL);
    size_t bytes = subscription_bytes(text.count, filter_prefix.count + filter.count);
    struct subscription *subscription = calloc(1, bytes);
    if (subscription == NULL) {
        return NULL;
    }
    memcpy(subscription->bytes, text.data, text.count);
    subscription->text = slice_of(subscription->bytes, text.count);
    if (share_name.count > 0) {
        size_t at = (size_t)(share_name.data - text.data);
        subscription->share_name = slice_of(subscription->bytes + at, share_name.count);
    }
    uint8_t *hung = subscription->bytes + text.count;
    if (filter_prefix.count > 0) {
        memcpy(hung, filter_prefix.data, filter_prefix.count);
    }
    memcpy(hung + filter_prefix.count, filter.data, filter.count);
    subscription->filter = slice_of(hung, filter_prefix.count + filter.count);
    subscription->session = session;
    if (index_subscription(session, subscription) != OK) {
        free(subscription);
        return NULL;
    }
    if (share_name.count > 0) {
        list_push_front(&session->subscriptions, &subscription->link);
    } else {
        list_push_back(&session->subscriptions, &subscription->link);
    }
    session->subscription_count++;
    ledger_add(LEDGER_SUBSCRIPTIONS, ledger_block(bytes));
    return subscription;
}

void session_subscription_remove(struct subscription *subscription)
{
    struct session *session = subscription->session;
    ASSERT(subscription->sub.leaf == NULL);
    if (session->by_filter != NULL) {
        map_remove(session->by_filter, subscription->text);
    }
    list_remove(&subscription->link);
    session->subscription_count--;
    size_t bytes = subscription_bytes(subscription->text.count, subscription->filter.count);
    ledger_add(LEDGER_SUBSCRIPTIONS, -ledger_block(bytes));
    free(subscription);
}

void will_deinit(struct will *will)
{
    msg_unref(will->msg);
    *will = (struct will){0};
}

struct will *session_will(const struct session *session)
{
    struct afterlife *afterlife = session->afterlife;
    return afterlife != NULL && afterlife->will.msg != NULL ? &afterlife->will : NULL;
}
