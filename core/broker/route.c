#include "core/broker/route.h"

#include "core/base/assert.h"
#include "core/broker/deliver.h"
#include "core/broker/hold.h"
#include "core/broker/mailbox.h"
#include "core/broker/outbox.h"
#include "core/broker/partition.h"
#include "core/broker/receipt.h"
#include "core/broker/remote.h"
#include "core/broker/shard.h"
#include "core/broker/shares.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { FETCH_AHEAD = 8 };

void route_deinit(struct route *route)
{
    topic_cache_deinit(&route->topics);
    free(route->targets);
    free(route->ids);
    free(route->id_row);
    leaf_set_deinit(&route->leaves);
    *route = (struct route){0};
}

/* ---- which leaves -------------------------------------------------------------------------- */

static enum err match(struct shard *shard, const struct msg *msg, struct topic_match *out)
{
    struct route *route = &shard->route;
    struct trie *trie = shard->trie;
    uint64_t version = trie_version(trie); /* before the walk, see topic_cache_put() */
    if (topic_cache_find(&route->topics, msg, version, out)) {
        metric_add(shard->metrics, METRIC_topic_cache_hit, 1);
        return OK;
    }
    metric_add(shard->metrics, METRIC_topic_cache_miss, 1);
    TRY(trie_match(trie, msg->topic, &route->leaves));
    uint64_t shards = 0;
    for (uint32_t i = 0; i < route->leaves.count; i++) {
        shards |= leaf_shards(route->leaves.leaves[i]);
    }
    *out = (struct topic_match){route->leaves.leaves, route->leaves.count, shards};
    topic_cache_put(&route->topics, msg, version, out);
    return OK;
}

/* ---- who on this shard --------------------------------------------------------------------- */

/* It is a mark for another node (routes.h), or of no partition that this message is for. */
static bool is_passed_over(struct route *route, const struct sub *sub)
{
    uint64_t bit = UINT64_C(1) << sub->partition;
    if (sub->kind == SUB_ROUTE) {
        route->elsewhere |= bit;
        return true;
    }
    return (route->only & bit) == 0;
}

uint8_t route_qos(const struct shard *shard, const struct msg *msg, uint8_t qos)
{
    return qos < msg->qos || shard->config->upgrade_outgoing_qos ? qos : msg->qos;
}

/* [MQTT-3.8.3-3] */
static bool is_own(const struct sub *sub, const struct msg *msg)
{
    return sub->no_local && ((struct session *)sub->owner)->key == msg->publisher;
}

static enum err worst(enum err a, enum err b)
{
    return a != OK ? a : b;
}

/* One leaf matched: no session can be there twice. The common case. */
static enum err serve_leaf(struct shard *shard, struct msg *msg, const struct leaf *leaf,
                           struct receipt *receipt)
{
    struct leaf_view view = leaf_subs(leaf, shard->index);
    enum err err = OK;
    struct frame_cache cache;
    frame_cache_init(&cache);
    for (uint32_t i = 0; i < view.count; i++) {
        struct sub *sub = view.subs[i];
        if (is_passed_over(&shard->route, sub)) {
            continue;
        }
        if (sub->kind == SUB_SHARE) {
            err = worst(err, shares_dispatch(shard, sub->owner, msg, 0, receipt));
            continue;
        }
        if (is_own(sub, msg)) {
            continue;
        }
        struct offer offer = {.msg = msg,
                              .qos = route_qos(shard, msg, sub->qos),
                              .retain = sub->retain_as_published && msg->retain,
                              .ids = &sub->id,
                              .id_count = sub->id != 0};
        err = worst(err, deliver_offer(sub->owner, &offer, view.count > 1 ? &cache : NULL));
    }
    frame_cache_deinit(&cache);
    return err;
}

static struct target *target_add(struct route *route, uint32_t count)
{
    if (count == route->target_capacity) {
        uint32_t capacity = count == 0 ? 64 : count * 2;
        struct target *targets = realloc(route->targets, capacity * sizeof(*targets));
        if (targets == NULL) {
            return NULL;
        }
        route->targets = targets;
        route->target_capacity = capacity;
    }
    return &route->targets[count];
}

static bool id_add(struct route *route, struct target *target, uint32_t id)
{
    if (route->id_count == route->id_capacity) {
        uint32_t capacity = route->id_capacity == 0 ? 64 : route->id_capacity * 2;
        struct id_link *ids = realloc(route->ids, capacity * sizeof(*ids));
        route->ids = ids != NULL ? ids : route->ids;
        uint32_t *row = realloc(route->id_row, capacity * sizeof(*row));
        route->id_row = row != NULL ? row : route->id_row;
        if (ids == NULL || row == NULL) {
            return false;
        }
        route->id_capacity = capacity;
    }
    route->ids[route->id_count++] = (struct id_link){.id = id};
    if (target->id_first == 0) {
        target->id_first = route->id_count;
    } else {
        route->ids[target->id_last - 1].next = route->id_count;
    }
    target->id_last = route->id_count;
    target->id_count++;
    return true;
}

/* Leaves, what hangs on them, and whose it is lie anywhere: fetch them side by side, not in turn. */
static void fetch_ahead(const struct topic_match *match, uint32_t shard)
{
    uint32_t count = match->leaf_count < FETCH_AHEAD ? match->leaf_count : FETCH_AHEAD;
    for (uint32_t i = 0; i < count; i++) {
        __builtin_prefetch(match->leaves[i]);
    }
    for (uint32_t i = 0; i < count; i++) {
        struct leaf_view view = leaf_subs(match->leaves[i], shard);
        if (view.count > 0) {
            __builtin_prefetch(view.subs[0]);
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        struct leaf_view view = leaf_subs(match->leaves[i], shard);
        if (view.count > 0) {
            __builtin_prefetch((uint8_t *)view.subs[0]->owner +
                               offsetof(struct session, match_turn));
        }
    }
}

/*
 * Several leaves: a session whose filters overlap gets one copy, with the highest QoS of them
 * [MQTT-3.3.4-2] and all their identifiers [MQTT-3.3.4-3] [MQTT-3.3.4-4].
 */
static enum err gather_targets(struct shard *shard, struct msg *msg,
                               const struct topic_match *matched, struct receipt *receipt,
                               uint32_t *count_out)
{
    struct route *route = &shard->route;
    uint32_t count = 0;
    enum err err = OK;
    route->match_turn++;
    route->id_count = 0;
    fetch_ahead(matched, shard->index);
    for (uint32_t k = 0; k < matched->leaf_count; k++) {
        struct leaf_view view = leaf_subs(matched->leaves[k], shard->index);
        for (uint32_t i = 0; i < view.count; i++) {
            struct sub *sub = view.subs[i];
            struct session *session = sub->owner;
            if (is_passed_over(route, sub)) {
                continue;
            }
            if (sub->kind == SUB_SHARE) {
                err = worst(err, shares_dispatch(shard, sub->owner, msg, 0, receipt));
                continue;
            }
            if (is_own(sub, msg)) {
                continue;
            }
            struct target *target;
            if (session->match_turn == route->match_turn) {
                target = &route->targets[session->match_index];
            } else {
                target = target_add(route, count);
                if (target == NULL) {
                    deliver_drop(session, TRAIL_DROP_MEMORY, ERR_NOMEM, msg);
                    err = worst(err, ERR_NOMEM);
                    continue;
                }
                *target = (struct target){.session = session};
                session->match_turn = route->match_turn;
                session->match_index = count++;
            }
            target->qos = sub->qos > target->qos ? sub->qos : target->qos;
            target->retain_as_published |= sub->retain_as_published;
            if (sub->id != 0 && !id_add(route, target, sub->id)) {
                err = worst(err, ERR_NOMEM);
            }
        }
    }
    *count_out = count;
    return err;
}

/* The identifiers of a target, in a row; valid until the next match. */
static const uint32_t *id_row(struct route *route, const struct target *target)
{
    uint32_t count = 0;
    for (uint32_t at = target->id_first; at != 0; at = route->ids[at - 1].next) {
        route->id_row[count++] = route->ids[at - 1].id;
    }
    ASSERT(count == target->id_count);
    return route->id_row;
}

static enum err serve_leaves(struct shard *shard, struct msg *msg,
                             const struct topic_match *matched, struct receipt *receipt)
{
    uint32_t target_count;
    enum err err = gather_targets(shard, msg, matched, receipt, &target_count);
    struct frame_cache cache;
    frame_cache_init(&cache);
    for (uint32_t i = 0; i < target_count; i++) {
        struct target *target = &shard->route.targets[i];
        struct offer offer = {.msg = msg,
                              .qos = route_qos(shard, msg, target->qos),
                              .retain = target->retain_as_published && msg->retain,
                              .ids = id_row(&shard->route, target),
                              .id_count = target->id_count};
        err = worst(err, deliver_offer(target->session, &offer, &cache));
    }
    frame_cache_deinit(&cache);
    return err;
}

/* What was logged on the way is waited for, too. */
static enum err serve_some(struct shard *shard, struct msg *msg, const struct topic_match *matched,
                           uint64_t partitions, struct receipt *receipt)
{
    shard->touched = 0;
    shard->route.only = partitions;
    shard->route.elsewhere = 0;
    enum err err = matched->leaf_count == 1 ? serve_leaf(shard, msg, matched->leaves[0], receipt)
                                            : serve_leaves(shard, msg, matched, receipt);
    if (shard->touched != 0) {
        outbox_received(shard, shard->touched);
        receipt_await(receipt, shard->touched);
    }
    outbox_served(shard, partitions);
    return err;
}

static enum err serve(struct shard *shard, struct msg *msg, const struct topic_match *matched,
                      struct receipt *receipt)
{
    if ((matched->shards & UINT64_C(1) << shard->index) == 0) {
        return OK;
    }
    enum err err = serve_some(shard, msg, matched, ~shard->elsewhere, receipt);
    if (shard->route.elsewhere != 0) {
        struct mesh_errand errand = {
            .kind = MESH_PUBLISH, .partitions = shard->route.elsewhere, .msg = msg};
        remote_send(shard, &errand, receipt);
    }
    return err;
}

/* The match for a message that goes nowhere here without it. */
static enum err match_or_drop(struct shard *shard, const struct msg *msg, struct topic_match *out)
{
    enum err err = match(shard, msg, out);
    if (err != OK) {
        shard_count_drop(shard, TRAIL_DROP_MEMORY, err, slice_of(NULL, 0), msg->topic);
    }
    return err;
}

enum err route_local(struct shard *shard, struct msg *msg, struct receipt *receipt)
{
    struct topic_match matched;
    TRY(match_or_drop(shard, msg, &matched));
    return serve(shard, msg, &matched, receipt);
}

enum err route_partitions(struct shard *shard, struct msg *msg, uint64_t partitions,
                          struct receipt *receipt)
{
    struct topic_match matched;
    TRY(match_or_drop(shard, msg, &matched));
    return serve_some(shard, msg, &matched, partitions, receipt);
}

/* ---- everywhere ---------------------------------------------------------------------------- */

bool route_publish(struct shard *shard, struct msg *msg, struct receipt *receipt)
{
    struct topic_match matched;
    uint32_t view = partition_view(shard);
    enum err err = match_or_drop(shard, msg, &matched);
    if (err != OK) {
        if (receipt != NULL) {
            receipt->err = err;
        }
        return true;
    }
    uint64_t others = matched.shards & ~(UINT64_C(1) << shard->index);
    for (uint64_t left = others; left != 0; left &= left - 1) {
        struct mail mail = {
            .kind = MAIL_PUBLISH, .msg = msg_ref(msg), .receipt = receipt, .origin = shard->origin};
        receipt_hold(receipt);
        uint32_t target = (uint32_t)__builtin_ctzll(left);
        mailbox_post(shard->mailbox, target, &mail);
        hold_look_at(shard, target);
    }
    err = worst(serve(shard, msg, &matched, receipt), partition_look(shard, view));
    if (receipt != NULL && err != OK) {
        receipt->err = err;
    }
    return matched.shards != 0;
}

bool route_is_wanted(struct shard *shard, const struct msg *msg)
{
    struct topic_match matched;
    return match(shard, msg, &matched) != OK || matched.shards != 0;
}
