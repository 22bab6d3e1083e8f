#include "cluster/peer_parts.h"
#include "core/base/assert.h"
#include "core/base/log.h"

#include <stdlib.h>

enum { GUESTS_MAX = 256 }; /* have connected and not been let in yet */

/* It is forgotten; its link is somebody else's matter. */
void inlet_free(struct inlet *inlet)
{
    if (inlet->peer == NULL) {
        inlet->peers->guest_count--;
    } else if (inlet->peer->inlets[inlet->shard][inlet->stream] == inlet) {
        inlet->peer->inlets[inlet->shard][inlet->stream] = NULL;
    }
    list_remove(&inlet->entry);
    free(inlet);
}

void inlet_drop(struct inlet *inlet)
{
    if (inlet != NULL) {
        link_drop(inlet->link);
        inlet_free(inlet);
    }
}

static struct inlet *inlet_new(struct peers *peers)
{
    struct inlet *inlet = peers->guest_count < GUESTS_MAX ? calloc(1, sizeof(*inlet)) : NULL;

    if (inlet != NULL) {
        inlet->peers = peers;
        peers->guest_count++;
        list_push_back(&peers->inlets, &inlet->entry);
    }
    return inlet;
}

/* May it come in? */
static enum link_reason judge(const struct peers *peers, const struct link_hello *hello)
{
    const struct peers_config *config = &peers->config;
    const struct peer *peer = peer_find(peers, hello->node);

    if (hello->version < LINK_VERSION) {
        return LINK_REASON_VERSION;
    }
    if (!slice_equal(hello->cluster, slice_of(config->cluster_id, LINK_CLUSTER_BYTES))) {
        return LINK_REASON_CLUSTER;
    }
    if (hello->meant != config->node) {
        return LINK_REASON_MEANT;
    }
    if (peer == NULL) {
        return LINK_REASON_UNKNOWN;
    }
    if (!slice_is(hello->name, peer->name)) {
        return LINK_REASON_NAME;
    }
    if (hello->level_min > config->level_max || hello->level_max < config->level_min) {
        return LINK_REASON_LEVEL;
    }
    if (hello->generation <=
        peer->generation_min[hello->shard][hello->is_bulk ? PEER_BULK : PEER_MAIN]) {
        return LINK_REASON_GENERATION;
    }
    return LINK_REASON_NONE;
}

/* It is for this shard, and comes in. */
static void inlet_admit(struct inlet *inlet, const struct link_hello *hello)
{
    struct peers *peers = inlet->peers;
    const struct peers_config *config = &peers->config;
    struct peer *peer = peer_find(peers, hello->node);

    inlet->shard = hello->shard;
    inlet->stream = hello->is_bulk ? PEER_BULK : PEER_MAIN;
    inlet->generation = hello->generation;
    inlet_drop(peer->inlets[inlet->shard][inlet->stream]); /* P2 */
    inlet->peer = peer;
    peers->guest_count--;
    peer->inlets[inlet->shard][inlet->stream] = inlet;
    peer->generation_min[inlet->shard][inlet->stream] = hello->generation;
    if (peer->shard_count <= hello->shard) {
        peer->shard_count = hello->shard + 1;
    }
    link_welcome(inlet->link, &(struct link_welcome){
                                  .version = LINK_VERSION,
                                  .incarnation = config->incarnation,
                                  .shard_count = config->shard_count,
                                  .level_min = config->level_min,
                                  .level_max = config->level_max,
                              });
}

static void on_hello(void *owner, struct link *link, const struct link_hello *hello)
{
    struct inlet *inlet = owner;
    struct peers *peers = inlet->peers;
    enum link_reason reason = judge(peers, hello);
    bool is_here = hello->shard % peers->config.shard_count == peers->config.shard;

    if (reason != LINK_REASON_NONE) {
        link_refuse(link, reason);
    } else if (is_here) {
        inlet_admit(inlet, hello);
    } else {
        link_carry(link);
    }
}

static void on_carried(void *owner, struct link *link, struct link_passport *passport)
{
    struct inlet *inlet = owner;
    struct peers *peers = inlet->peers;
    uint32_t shard = link_passport_hello(passport)->shard % peers->config.shard_count;

    (void)link;
    inlet_free(inlet);
    peers->events->carry(peers->context, shard, passport);
}

static void on_message(void *owner, struct link *link, const struct link_message *message)
{
    const struct inlet *inlet = owner;
    struct peers *peers = inlet->peers;

    (void)link;
    peers->events->message(peers->context, inlet->peer->node, inlet->generation, message); /* P3 */
}

static void on_in_ended(void *owner, struct link *link, const struct link_end *end)
{
    struct inlet *inlet = owner;
    char address[ADDRESS_TEXT_MAX];

    if (peer_is_refusal(end)) {
        peer_count_refused(inlet->peers, end->reason);
        log_event(LOG_NOTICE, "link refused",
                  LOG_TEXT("from", address_text(link_address(link), address)),
                  LOG_TEXT("proven", peer_who(link)),
                  LOG_TEXT("reason", link_reason_text(end->reason)),
                  LOG_TEXT("said_by", peer_side(end)), LOG_TEXT("detail", end->detail));
    } else {
        log_event(LOG_DEBUG, "link of a peer ended",
                  LOG_TEXT("from", address_text(link_address(link), address)),
                  LOG_TEXT("proven", peer_who(link)),
                  LOG_TEXT("reason", link_reason_text(end->reason)),
                  LOG_TEXT("detail", end->detail));
    }
    inlet_free(inlet);
}

static const struct link_events in_events = {
    .hello = on_hello, .carried = on_carried, .message = on_message, .ended = on_in_ended};

static bool on_accepted(void *owner, struct io_stream *stream, const struct address *from)
{
    struct peers *peers = owner;
    struct inlet *inlet = inlet_new(peers);

    if (inlet == NULL) {
        return false;
    }
    if (link_accept(&peers->links, stream, from, &in_events, inlet, &inlet->link) != OK) {
        inlet_free(inlet);
        return false;
    }
    return true;
}

const struct io_listener_events peer_listener_events = {.accepted = on_accepted};

void peers_take(struct peers *peers, struct link_passport *passport)
{
    struct inlet *inlet = inlet_new(peers);

    if (inlet == NULL) {
        link_passport_free(passport);
        return;
    }
    struct link_hello hello = *link_passport_hello(passport);
    enum link_reason reason = judge(peers, &hello);
    ASSERT(hello.shard % peers->config.shard_count == peers->config.shard);
    if (link_attach(&peers->links, passport, &in_events, inlet, &inlet->link) != OK) {
        inlet_free(inlet);
    } else if (reason != LINK_REASON_NONE) {
        link_refuse(inlet->link, reason); /* what it knows of the peer may be newer */
    } else {
        inlet_admit(inlet, &hello);
    }
}
