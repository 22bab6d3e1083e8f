#include "cluster/peer_parts.h"
#include "core/base/assert.h"

#include <stdlib.h>

/* What config leaves at 0. */
#define MS_NS            UINT64_C(1000000)
#define KEEPALIVE_NS     (250 * MS_NS)
#define SILENCE_NS       (2000 * MS_NS)
#define GREETING_NS      (5000 * MS_NS)
#define BACKOFF_NS_MIN   (50 * MS_NS)
#define BACKOFF_NS_MAX   (2000 * MS_NS)
#define WINDOW_BYTES     (UINT64_C(4) << 20)
#define QUEUE_BYTES_MAX  (UINT64_C(64) << 20)
#define BULK_BYTES_PER_S (UINT64_C(40) << 20) /* a third of a gigabit, see design/cluster.md 5.13 */

struct peer *peer_find(const struct peers *peers, uint32_t node)
{
    LIST_EACH (&peers->all, link) {
        struct peer *peer = CONTAINER_OF(link, struct peer, entry);
        if (peer->node == node) {
            return peer;
        }
    }
    return NULL;
}

/* ---- telling ------------------------------------------------------------------------------------ */

void peer_count_refused(struct peers *peers, enum link_reason reason)
{
    if (peers->config.metrics != NULL) {
        metric_add_label(peers->config.metrics, METRIC_links_refused, reason, 1);
    }
}

const char *peer_who(const struct link *link)
{
    return link_proven_name(link)[0] == '\0' ? "?" : link_proven_name(link);
}

const char *peer_side(const struct link_end *end)
{
    return end->is_told ? "the other side" : "this side";
}

bool peer_is_refusal(const struct link_end *end)
{
    return end->reason >= LINK_REASON_TLS && end->reason <= LINK_REASON_PROTOCOL &&
           end->reason != LINK_REASON_GENERATION;
}

/* ---- life --------------------------------------------------------------------------------------- */

static uint64_t or_default(uint64_t value, uint64_t standard)
{
    return value == 0 ? standard : value;
}

struct peers *peers_new(struct io *io, struct wheel *wheel, const struct peers_config *config,
                        const struct peers_events *events, void *context)
{
    ASSERT(config->shard < config->shard_count && config->shard_count <= LIMIT_THREADS_MAX);
    ASSERT(config->incarnation <= UINT32_MAX);
    ASSERT(link_name_is_valid(slice_text(config->name)));
    struct peers *peers = calloc(1, sizeof(*peers));

    if (peers == NULL) {
        return NULL;
    }
    peers->config = *config;
    peers->events = events;
    peers->context = context;
    memcpy(peers->name, config->name, strlen(config->name) + 1);
    peers->config.name = peers->name;
    peers->config.backoff_ns_min = or_default(config->backoff_ns_min, BACKOFF_NS_MIN);
    peers->config.backoff_ns_max = or_default(config->backoff_ns_max, BACKOFF_NS_MAX);
    struct link_config *link = &peers->config.link;
    link->keepalive_ns = or_default(link->keepalive_ns, KEEPALIVE_NS);
    link->silence_ns = or_default(link->silence_ns, SILENCE_NS);
    link->greeting_ns = or_default(link->greeting_ns, GREETING_NS);
    link->window_bytes = or_default(link->window_bytes, WINDOW_BYTES);
    link->queue_bytes_max = or_default(link->queue_bytes_max, QUEUE_BYTES_MAX);
    link->pack_from_bytes = or_default(link->pack_from_bytes, UINT64_MAX);
    link->bulk_bytes_per_s = or_default(link->bulk_bytes_per_s, BULK_BYTES_PER_S);
    rng_init(&peers->rng, config->seed);
    list_init(&peers->all);
    list_init(&peers->inlets);
    links_init(&peers->links, io, wheel, link);
    return peers;
}

enum err peers_listen(struct peers *peers, const struct address *at, enum io_share share)
{
    return io_listen(peers->links.io, at, share, &peer_listener_events, peers, &peers->listener);
}

void peers_address(const struct peers *peers, struct address *out)
{
    io_listener_address(peers->listener, out);
}

static void peer_cut(struct peer *peer)
{
    for (uint32_t i = 0; i < PEER_STREAMS; i++) {
        outlet_end(&peer->outlets[i]);
        for (uint32_t shard = 0; shard < peer->shard_count; shard++) {
            inlet_drop(peer->inlets[shard][i]);
        }
    }
}

static void peer_free(struct peer *peer)
{
    for (uint32_t i = 0; i < PEER_STREAMS; i++) {
        wheel_unset(peer->peers->links.wheel, &peer->outlets[i].retry);
    }
    list_remove(&peer->entry);
    free(peer);
}

void peers_stop(struct peers *peers)
{
    if (peers->listener != NULL) {
        io_unlisten(peers->listener);
        peers->listener = NULL;
    }
    LIST_EACH (&peers->all, link) {
        peer_cut(CONTAINER_OF(link, struct peer, entry));
    }
    while (!list_is_empty(&peers->inlets)) {
        inlet_drop(CONTAINER_OF(peers->inlets.next, struct inlet, entry));
    }
}

void peers_free(struct peers *peers)
{
    if (peers == NULL) {
        return;
    }
    links_deinit(&peers->links);
    while (!list_is_empty(&peers->inlets)) {
        inlet_free(CONTAINER_OF(peers->inlets.next, struct inlet, entry));
    }
    while (!list_is_empty(&peers->all)) {
        peer_free(CONTAINER_OF(peers->all.next, struct peer, entry));
    }
    free(peers);
}

static struct peer *peer_new(struct peers *peers, uint32_t node)
{
    struct peer *peer = calloc(1, sizeof(*peer));

    if (peer == NULL) {
        return NULL;
    }
    peer->peers = peers;
    peer->node = node;
    for (uint32_t i = 0; i < PEER_STREAMS; i++) {
        outlet_init(&peer->outlets[i], peer, i == PEER_BULK);
    }
    list_push_back(&peers->all, &peer->entry);
    return peer;
}

static bool is_same_place(const struct address *a, const struct address *b)
{
    char one[ADDRESS_TEXT_MAX], other[ADDRESS_TEXT_MAX];
    return strcmp(address_text(a, one), address_text(b, other)) == 0;
}

enum err peers_set(struct peers *peers, uint32_t node, const char *name,
                   const struct address *address)
{
    struct peer *peer = peer_find(peers, node);

    if (node == 0 || node == peers->config.node || !link_name_is_valid(slice_text(name))) {
        return ERR_INVALID;
    }
    if (peer != NULL && strcmp(peer->name, name) == 0 && is_same_place(&peer->address, address)) {
        return OK;
    }
    if (peer == NULL) {
        peer = peer_new(peers, node);
        if (peer == NULL) {
            return ERR_NOMEM;
        }
    }
    peer_cut(peer);
    memcpy(peer->name, name, strlen(name) + 1);
    peer->address = *address;
    outlet_connect(&peer->outlets[PEER_MAIN]);
    return OK;
}

void peers_forget(struct peers *peers, uint32_t node)
{
    struct peer *peer = peer_find(peers, node);

    if (peer != NULL) {
        peer_cut(peer);
        peer_free(peer);
    }
}

/* ---- messages ----------------------------------------------------------------------------------- */

enum err peers_send(struct peers *peers, uint32_t node, uint32_t kind, uint32_t to,
                    struct slice body)
{
    struct peer *peer = peer_find(peers, node);

    if (peer == NULL) {
        return ERR_NOT_FOUND;
    }
    struct outlet *outlet =
        &peer->outlets[link_class_of(kind) == LINK_BULK ? PEER_BULK : PEER_MAIN];
    if (outlet->is_up) {
        return link_send(outlet->link, &(struct link_message){kind, to, body});
    }
    if (outlet->is_bulk && outlet->link == NULL && !timer_is_set(&outlet->retry)) {
        outlet_connect(outlet); /* it is wanted for the first time */
    }
    return ERR_UNAVAILABLE;
}

uint64_t peers_waiting(const struct peers *peers, uint32_t node, enum link_class class)
{
    const struct peer *peer = peer_find(peers, node);
    const struct link *link = peer == NULL
                                  ? NULL
                                  : peer->outlets[class == LINK_BULK ? PEER_BULK : PEER_MAIN].link;
    return link == NULL ? 0 : link_waiting(link, class);
}

bool peers_is_up(const struct peers *peers, uint32_t node)
{
    const struct peer *peer = peer_find(peers, node);
    return peer != NULL && peer->outlets[PEER_MAIN].is_up;
}

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

uint64_t peers_heard_ns(const struct peers *peers, uint32_t node)
{
    const struct peer *peer = peer_find(peers, node);
    uint64_t heard_ns = 0;

    for (uint32_t i = 0; peer != NULL && i < PEER_STREAMS; i++) {
        if (peer->outlets[i].is_up) {
            heard_ns = later(heard_ns, link_heard_ns(peer->outlets[i].link));
        }
        for (uint32_t shard = 0; shard < peer->shard_count; shard++) {
            const struct inlet *inlet = peer->inlets[shard][i];
            heard_ns = inlet == NULL ? heard_ns : later(heard_ns, link_heard_ns(inlet->link));
        }
    }
    return heard_ns;
}

void peers_release(struct peers *peers, uint32_t node, uint64_t generation, size_t body_bytes)
{
    const struct peer *peer = peer_find(peers, node);

    for (uint32_t shard = 0; peer != NULL && shard < peer->shard_count; shard++) {
        const struct inlet *inlet = peer->inlets[shard][PEER_MAIN];
        if (inlet != NULL && inlet->generation == generation) {
            link_release(inlet->link, body_bytes);
            return;
        }
    }
}

void peers_flush(struct peers *peers)
{
    links_flush(&peers->links);
}
