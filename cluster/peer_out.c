#include "cluster/peer_parts.h"
#include "core/base/assert.h"
#include "core/base/log.h"

enum { INCARNATION_SHIFT = 32 };

static void count_up(struct peers *peers, uint64_t change)
{
    if (peers->config.metrics != NULL) {
        metric_add(peers->config.metrics, METRIC_links_up, change);
    }
}

static void outlet_wait(struct outlet *outlet)
{
    struct peers *peers = outlet->peer->peers;
    uint64_t min_ns = peers->config.backoff_ns_min, max_ns = peers->config.backoff_ns_max;
    uint64_t next_ns = outlet->backoff_ns * 2 < min_ns ? min_ns : outlet->backoff_ns * 2;

    outlet->backoff_ns = next_ns < max_ns ? next_ns : max_ns;
    uint64_t wait_ns = outlet->backoff_ns / 2 + rng_below(&peers->rng, outlet->backoff_ns / 2 + 1);
    wheel_set(peers->links.wheel, &outlet->retry, io_now_ns(peers->links.io) + wait_ns);
}

static void on_retry(struct timer *timer)
{
    outlet_connect(CONTAINER_OF(timer, struct outlet, retry));
}

static void on_welcome(void *owner, struct link *link, const struct link_welcome *welcome)
{
    struct outlet *outlet = owner;
    struct peers *peers = outlet->peer->peers;
    char address[ADDRESS_TEXT_MAX];

    outlet->is_up = true;
    outlet->backoff_ns = 0;
    outlet->told = LINK_REASON_NONE;
    count_up(peers, 1);
    log_event(LOG_INFO, "link up", LOG_U64("node", outlet->peer->node),
              LOG_TEXT("name", outlet->peer->name),
              LOG_TEXT("to", address_text(link_address(link), address)),
              LOG_U64("shard", peers->config.shard), LOG_U64("bulk", outlet->is_bulk));
    if (!outlet->is_bulk) {
        peers->events->up(peers->context, outlet->peer->node, outlet->generation, welcome); /* P3 */
    }
}

static void outlet_tell(const struct outlet *outlet, const struct link *link, bool was_up,
                        const struct link_end *end)
{
    char address[ADDRESS_TEXT_MAX];

    log_event(LOG_NOTICE, was_up ? "link down" : "no link", LOG_U64("node", outlet->peer->node),
              LOG_TEXT("name", outlet->peer->name), LOG_TEXT("proven", peer_who(link)),
              LOG_TEXT("to", address_text(link_address(link), address)),
              LOG_TEXT("reason", link_reason_text(end->reason)),
              LOG_TEXT("said_by", peer_side(end)), LOG_TEXT("detail", end->detail));
}

static void on_out_ended(void *owner, struct link *link, const struct link_end *end)
{
    struct outlet *outlet = owner;
    struct peers *peers = outlet->peer->peers;
    bool was_up = outlet->is_up;

    outlet->link = NULL;
    outlet->is_up = false;
    if (was_up || outlet->told != end->reason) {
        outlet->told = end->reason;
        outlet_tell(outlet, link, was_up, end);
    }
    if (peer_is_refusal(end)) {
        peer_count_refused(peers, end->reason);
    }
    outlet_wait(outlet);
    if (was_up) {
        count_up(peers, (uint64_t)-1);
        if (!outlet->is_bulk) {
            peers->events->down(peers->context, outlet->peer->node, end->reason); /* P3 */
        }
    }
}

/* The stream is for our messages: what comes by it is credit alone. */
static void on_out_message(void *owner, struct link *link, const struct link_message *message)
{
    (void)owner;
    (void)link;
    (void)message;
}

static const struct link_events out_events = {
    .welcome = on_welcome, .message = on_out_message, .ended = on_out_ended};

void outlet_connect(struct outlet *outlet)
{
    struct peer *peer = outlet->peer;
    struct peers *peers = peer->peers;
    const struct peers_config *config = &peers->config;

    outlet->generation = config->incarnation << INCARNATION_SHIFT | ++peers->stream_count; /* P1 */
    struct link_hello hello = {
        .version = LINK_VERSION,
        .cluster = slice_of(config->cluster_id, LINK_CLUSTER_BYTES),
        .node = config->node,
        .name = slice_text(peers->name),
        .meant = peer->node,
        .incarnation = config->incarnation,
        .generation = outlet->generation,
        .shard = config->shard,
        .shard_count = config->shard_count,
        .is_bulk = outlet->is_bulk,
        .level_min = config->level_min,
        .level_max = config->level_max,
    };
    enum err err = link_connect(&peers->links, &peer->address, peer->name, &hello, &out_events,
                                outlet, &outlet->link);
    if (err != OK) {
        outlet->link = NULL;
        log_event(LOG_WARNING, "no link", LOG_U64("node", peer->node), LOG_TEXT("name", peer->name),
                  LOG_TEXT("reason", err_text(err)));
        outlet_wait(outlet);
    }
}

void outlet_init(struct outlet *outlet, struct peer *peer, bool is_bulk)
{
    outlet->peer = peer;
    outlet->is_bulk = is_bulk;
    timer_init(&outlet->retry, on_retry);
}

void outlet_end(struct outlet *outlet)
{
    struct peers *peers = outlet->peer->peers;

    wheel_unset(peers->links.wheel, &outlet->retry);
    if (outlet->link != NULL) {
        link_drop(outlet->link);
        outlet->link = NULL;
    }
    count_up(peers, outlet->is_up ? (uint64_t)-1 : 0);
    outlet->is_up = false;
    outlet->backoff_ns = 0;
    outlet->told = LINK_REASON_NONE;
}
