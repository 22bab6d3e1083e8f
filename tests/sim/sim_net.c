#include "tests/sim/sim_net.h"

#include "core/base/assert.h"
#include "tests/sim/sim.h"

#include <stdlib.h>

struct piece {
    struct list link;
    uint64_t at_ns;
    uint32_t count, taken;
    bool is_end;
    uint8_t bytes[];
};

struct net {
    struct sim *sim;
    struct list links, listeners;
    uint64_t id_last;
};

static struct piece *first(const struct net_pipe *pipe)
{
    return list_is_empty(&pipe->pieces) ? NULL
                                        : CONTAINER_OF(pipe->pieces.next, struct piece, link);
}

static uint64_t delay_ns(struct sim *sim)
{
    if (sim->options.is_still) {
        return 100 * SIM_US;
    }
    uint64_t kind = sim_below(sim, 100);
    if (kind < 80) {
        return sim_between(sim, 10 * SIM_US, 300 * SIM_US);
    }
    if (kind < 98 || !sim->is_stormy) {
        return sim_between(sim, 100 * SIM_US, 5 * SIM_MS);
    }
    return sim_between(sim, SIM_MS, 200 * SIM_MS);
}

struct net *net_new(struct sim *sim)
{
    struct net *net = calloc(1, sizeof(*net));
    ASSERT(net != NULL);
    net->sim = sim;
    list_init(&net->links);
    list_init(&net->listeners);
    return net;
}

static void pipe_clear(struct net_pipe *pipe)
{
    struct list *link;
    while ((link = list_pop_front(&pipe->pieces)) != NULL) {
        free(CONTAINER_OF(link, struct piece, link));
    }
    pipe->bytes = 0;
}

static void link_free(struct net_link *link)
{
    list_remove(&link->all);
    list_remove(&link->waiting);
    pipe_clear(&link->to[NET_CLIENT]);
    pipe_clear(&link->to[NET_SERVER]);
    free(link);
}

void net_free(struct net *net)
{
    LIST_EACH_SAFE (&net->links, link) {
        link_free(CONTAINER_OF(link, struct net_link, all));
    }
    free(net);
}

void net_listen(struct net *net, struct net_listener *listener, uint16_t port)
{
    listener->port = port;
    list_init(&listener->waiting);
    list_push_back(&net->listeners, &listener->link);
}

void net_unlisten(struct net *net, struct net_listener *listener)
{
    (void)net;
    struct list *waiting;
    list_remove(&listener->link);
    while ((waiting = list_pop_front(&listener->waiting)) != NULL) {
        struct net_link *link = CONTAINER_OF(waiting, struct net_link, waiting);
        net_reset(link);
        net_close(link, NET_SERVER);
    }
}

static struct net_listener *draw_listener(struct net *net, uint16_t port)
{
    uint32_t count = 0;
    struct net_listener *chosen = NULL;
    LIST_EACH (&net->listeners, link) {
        struct net_listener *listener = CONTAINER_OF(link, struct net_listener, link);
        if (listener->port == port && sim_below(net->sim, ++count) == 0) {
            chosen = listener;
        }
    }
    return chosen;
}

struct net_link *net_connect(struct net *net, uint16_t port)
{
    static const uint32_t capacities[] = {300, 4000, 65536, 65536};
    struct sim *sim = net->sim;
    struct net_listener *listener = draw_listener(net, port);
    if (listener == NULL || (sim->is_stormy && sim_chance(sim, 3))) {
        return NULL;
    }
    struct net_link *link = calloc(1, sizeof(*link));
    ASSERT(link != NULL);
    link->sim = sim;
    link->id = ++net->id_last;
    link->asked_ns = sim->now_ns + delay_ns(sim);
    link->piece_max = UINT32_MAX;
    link->is_doubtful = sim_may_refuse(sim);
    for (uint32_t end = 0; end < 2; end++) {
        list_init(&link->to[end].pieces);
        link->to[end].capacity = sim->options.is_still ? 65536 : capacities[sim_below(sim, 4)];
        link->reset_ns[end] = UINT64_MAX;
    }
    if (!sim->options.is_still) {
        uint64_t kind = sim_below(sim, 10);
        link->piece_max = kind == 0  ? 1
                          : kind < 5 ? (uint32_t)sim_between(sim, 2, 100)
                                     : UINT32_MAX;
    }
    list_push_back(&net->links, &link->all);
    list_push_back(&listener->waiting, &link->waiting);
    return link;
}

static bool is_deaf(const struct net_link *link, enum net_end from)
{
    return link->is_closed[from] || link->to[!from].has_end || net_is_reset(link, from);
}

uint32_t net_room(const struct net_link *link, enum net_end from)
{
    const struct net_pipe *pipe = &link->to[!from];
    return is_deaf(link, from) ? 0 : pipe->capacity - pipe->bytes;
}

static void piece_add(struct net_link *link, struct net_pipe *pipe, struct slice bytes, bool is_end,
                      uint64_t at_ns)
{
    struct piece *piece = malloc(sizeof(*piece) + bytes.count);
    ASSERT(piece != NULL);
    *piece = (struct piece){.count = (uint32_t)bytes.count, .is_end = is_end};
    if (bytes.count > 0) {
        memcpy(piece->bytes, bytes.data, bytes.count);
    }
    pipe->last_ns = at_ns > pipe->last_ns ? at_ns : pipe->last_ns;
    piece->at_ns = link->is_cut ? UINT64_MAX : pipe->last_ns;
    list_push_back(&pipe->pieces, &piece->link);
    pipe->bytes += (uint32_t)bytes.count;
}

uint32_t net_write(struct net_link *link, enum net_end from, struct slice bytes)
{
    struct sim *sim = link->sim;
    struct net_pipe *pipe = &link->to[!from];
    uint32_t room = net_room(link, from);
    uint32_t count = bytes.count < room ? (uint32_t)bytes.count : room;
    uint64_t at_ns = sim->now_ns + delay_ns(sim);
    if (link->is_closed[!from] && count > 0 && link->reset_ns[from] == UINT64_MAX &&
        !link->is_cut) {
        link->reset_ns[from] = at_ns; /* nobody is there any more, and says so */
    }
    for (uint32_t done = 0; done < count;) {
        uint32_t piece = count - done;
        piece = piece > link->piece_max ? link->piece_max : piece;
        piece_add(link, pipe, slice_of(bytes.data + done, piece), false, at_ns);
        done += piece;
        at_ns += piece == 1 ? SIM_US : sim->options.is_still ? 0 : sim_below(sim, 200 * SIM_US);
    }
    return count;
}

bool net_is_reset(const struct net_link *link, enum net_end at)
{
    return link->reset_ns[at] <= link->sim->now_ns;
}

bool net_has_bytes(const struct net_link *link, enum net_end at)
{
    const struct piece *piece = first(&link->to[at]);
    return !net_is_reset(link, at) && piece != NULL && !piece->is_end &&
           piece->at_ns <= link->sim->now_ns;
}

uint32_t net_read(struct net_link *link, enum net_end at, uint8_t *out, uint32_t out_bytes)
{
    struct net_pipe *pipe = &link->to[at];
    uint32_t done = 0;
    while (done < out_bytes && net_has_bytes(link, at)) {
        struct piece *piece = first(pipe);
        uint32_t left = piece->count - piece->taken;
        uint32_t count = left < out_bytes - done ? left : out_bytes - done;
        memcpy(out + done, piece->bytes + piece->taken, count);
        piece->taken += count;
        pipe->bytes -= count;
        done += count;
        if (piece->taken == piece->count) {
            list_remove(&piece->link);
            free(piece);
        }
    }
    return done;
}

bool net_has_ended(const struct net_link *link, enum net_end at)
{
    const struct piece *piece = first(&link->to[at]);
    return piece != NULL && piece->is_end && piece->at_ns <= link->sim->now_ns;
}

uint64_t net_readable_ns(const struct net_link *link, enum net_end at)
{
    const struct piece *piece = first(&link->to[at]);
    uint64_t at_ns = piece != NULL ? piece->at_ns : UINT64_MAX;
    return at_ns < link->reset_ns[at] ? at_ns : link->reset_ns[at];
}

void net_shutdown(struct net_link *link, enum net_end from)
{
    if (!is_deaf(link, from)) {
        piece_add(link, &link->to[!from], slice_of(NULL, 0), true,
                  link->sim->now_ns + delay_ns(link->sim));
        link->to[!from].has_end = true;
    }
}

void net_close(struct net_link *link, enum net_end from)
{
    ASSERT(!link->is_closed[from]);
    struct net_pipe *unread = &link->to[from];
    if (unread->bytes > 0 && link->reset_ns[!from] == UINT64_MAX && !link->is_cut) {
        link->reset_ns[!from] = link->sim->now_ns + delay_ns(link->sim);
    }
    net_shutdown(link, from);
    link->is_closed[from] = true;
    pipe_clear(unread);
    if (link->is_closed[!from]) {
        link_free(link);
    }
}

void net_reset(struct net_link *link)
{
    link->has_fault = true;
    for (uint32_t end = 0; end < 2; end++) {
        uint64_t at_ns = link->sim->now_ns + delay_ns(link->sim);
        if (!link->is_cut && at_ns < link->reset_ns[end]) {
            link->reset_ns[end] = at_ns;
        }
    }
}

void net_cut(struct net_link *link)
{
    link->has_fault = true;
    link->is_cut = true;
    for (uint32_t end = 0; end < 2; end++) {
        LIST_EACH (&link->to[end].pieces, one) {
            struct piece *piece = CONTAINER_OF(one, struct piece, link);
            piece->at_ns = piece->at_ns <= link->sim->now_ns ? piece->at_ns : UINT64_MAX;
        }
    }
}

void net_excuse(struct net *net)
{
    LIST_EACH (&net->links, one) {
        CONTAINER_OF(one, struct net_link, all)->has_fault = true;
    }
}

void net_doubt(struct net *net)
{
    LIST_EACH (&net->links, one) {
        CONTAINER_OF(one, struct net_link, all)->is_doubtful = true;
    }
}

bool net_is_healthy(const struct net_link *link)
{
    return !link->has_fault && !link->is_doubtful;
}

void net_crash(struct net *net, bool loses_all)
{
    LIST_EACH_SAFE (&net->links, one) {
        struct net_link *link = CONTAINER_OF(one, struct net_link, all);
        if (link->is_closed[NET_SERVER]) {
            continue;
        }
        link->is_orphan = !link->has_fault;
        link->has_fault = true;
        if (loses_all) {
            pipe_clear(&link->to[NET_CLIENT]);
            net_reset(link);
        }
        net_close(link, NET_SERVER);
    }
}

struct net_link *net_find(struct net *net, uint64_t id)
{
    LIST_EACH (&net->links, one) {
        struct net_link *link = CONTAINER_OF(one, struct net_link, all);
        if (link->id == id) {
            return link;
        }
    }
    return NULL;
}
