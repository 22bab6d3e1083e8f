/*
 * io.h over virtual time and the network of sim_net.h.
 *
 *      io_turn ── push sends, leave wake-ups ── rest (others take turns) ── clock ── events
 *
 * It follows uring.c in what a caller can see: states, the order of events of a stream, what still
 * comes after io_pause() and io_close(). And it holds the caller to the contract: one send in
 * flight, its memory unchanged until it is given back, no call on what is gone.
 *
 * io_connect() is not here: nothing the simulator links connects to the outside yet.
 */
#include "tests/sim/sim_io.h"

#include "core/base/assert.h"
#include "core/base/list.h"
#include "core/io/io.h"
#include "tests/sim/sim.h"
#include "tests/sim/sim_fiber.h"
#include "tests/sim/sim_net.h"
#include "tests/sim/sim_node.h"

#include <stdlib.h>
#include <xxhash.h>

#define PEER_ENDED_LINGER_NS SIM_S
#define DRAIN_NS_MAX         (SIM_S / 2)

enum { BYTES_PER_EVENT_MAX = 8192, EVENTS_PER_STREAM_MAX = 4 };

enum stream_state {
    STREAM_OPEN,
    STREAM_FLUSHING,
    STREAM_DRAINING,
    STREAM_CLOSING,
    STREAM_DETACHING
};

struct io_stream {
    struct list all;
    struct io *io;
    struct net_link *net;
    const struct io_stream_events *events;
    void *owner;
    enum stream_state state;
    enum err why;
    bool is_reading, is_sending, is_sent, has_peer_ended;
    bool is_new;          /* it came or changed in this turn: finishes in the next one */
    uint32_t late_events; /* bytes events that may still come after a pause */
    uint64_t deadline_ns; /* of lingering; UINT64_MAX: none */
    struct slice parts[IO_PARTS_MAX];
    uint32_t part_count, part_at;
    size_t part_done;
    uint64_t hash; /* of the bytes in flight */
};

struct io_listener {
    struct list link;
    struct io *io;
    struct net_listener net;
    struct address address;
    const struct io_listener_events *events;
    void *owner;
    bool is_closed;
};

struct io {
    struct io_config config;
    struct sim *sim;
    struct list streams, listeners;
    uint32_t stream_count;
    uint64_t now_ns;
    bool is_in_event;
    struct io *to_wake[SHARD_COUNT_MAX];
    uint32_t to_wake_count;
    uint64_t woken_ns; /* UINT64_MAX: not woken */
    /* While it rests: */
    bool is_asleep;
    uint64_t until_ns;
};

/* ---- what is ready ------------------------------------------------------------------------- */

static bool wants_bytes(const struct io_stream *stream)
{
    return !stream->has_peer_ended &&
           ((stream->state == STREAM_OPEN && (stream->is_reading || stream->late_events > 0)) ||
            stream->state == STREAM_DRAINING);
}

static uint64_t stream_wants_ns(const struct io_stream *stream)
{
    uint64_t now = sim_world->now_ns, at_ns = stream->deadline_ns;
    if (stream->state == STREAM_CLOSING || stream->state == STREAM_DETACHING || stream->is_sent ||
        (stream->has_peer_ended && !stream->is_sending && stream->state == STREAM_OPEN)) {
        return now;
    }
    if (stream->is_sending) {
        if (net_room(stream->net, NET_SERVER) > 0) {
            return now;
        }
        uint64_t reset_ns = stream->net->reset_ns[NET_SERVER];
        at_ns = reset_ns < at_ns ? reset_ns : at_ns;
    }
    if (wants_bytes(stream)) {
        uint64_t bytes_ns = net_readable_ns(stream->net, NET_SERVER);
        at_ns = bytes_ns < at_ns ? bytes_ns : at_ns;
    }
    return at_ns;
}

static uint64_t completion_ns(const struct io *io)
{
    uint64_t at_ns = UINT64_MAX;
    LIST_EACH (&io->streams, link) {
        uint64_t one = stream_wants_ns(CONTAINER_OF(link, struct io_stream, all));
        at_ns = one < at_ns ? one : at_ns;
    }
    LIST_EACH (&io->listeners, listener_link) {
        struct io_listener *listener = CONTAINER_OF(listener_link, struct io_listener, link);
        if (!list_is_empty(&listener->net.waiting) &&
            io->stream_count < io->config.stream_count_max) {
            uint64_t one =
                CONTAINER_OF(listener->net.waiting.next, struct net_link, waiting)->asked_ns;
            at_ns = one < at_ns ? one : at_ns;
        }
    }
    return at_ns;
}

uint64_t sim_io_wants_ns(const struct io *io)
{
    if (!io->is_asleep) {
        return io->sim->now_ns;
    }
    uint64_t at_ns = completion_ns(io);
    at_ns = io->until_ns < at_ns ? io->until_ns : at_ns;
    return io->woken_ns < at_ns ? io->woken_ns : at_ns;
}

/* ---- sending ------------------------------------------------------------------------------- */

static uint64_t parts_hash(const struct io_stream *stream)
{
    uint64_t hash = stream->part_count;
    for (uint32_t i = 0; i < stream->part_count; i++) {
        hash = XXH3_64bits_withSeed(stream->parts[i].data, stream->parts[i].count, hash);
    }
    return hash;
}

/* The memory goes back to the caller: it must be what it was. */
static void send_end(struct io_stream *stream)
{
    if (stream->is_sending && stream->part_count > 0) {
        ASSERT(stream->hash == parts_hash(stream)); /* bytes in flight were changed */
    }
    stream->part_count = 0;
    stream->is_sending = false;
    stream->is_sent = false;
}

static void stream_break(struct io_stream *stream, enum err why)
{
    if (stream->state != STREAM_CLOSING) {
        stream->state = STREAM_CLOSING;
        stream->why = why;
        stream->is_new = true;
        stream->deadline_ns = UINT64_MAX;
    }
}

static void push(struct io_stream *stream)
{
    if (!stream->is_sending || stream->is_sent ||
        (stream->state != STREAM_OPEN && stream->state != STREAM_FLUSHING)) {
        return;
    }
    if (net_is_reset(stream->net, NET_SERVER)) {
        stream_break(stream, stream->state == STREAM_FLUSHING ? OK : ERR_CLOSED);
        return;
    }
    while (stream->part_at < stream->part_count) {
        const struct slice *part = &stream->parts[stream->part_at];
        stream->part_done += net_write(stream->net, NET_SERVER,
                                       slice_skip(*part, stream->part_done));
        if (stream->part_done < part->count) {
            return;
        }
        stream->part_at++;
        stream->part_done = 0;
    }
    stream->is_sent = true;
}

void io_send(struct io_stream *stream, const struct slice *parts, uint32_t part_count)
{
    ASSERT(part_count >= 1);
    ASSERT(part_count <= IO_PARTS_MAX);
    ASSERT(!stream->is_sending);
    ASSERT(stream->state != STREAM_DETACHING);
    stream->is_sending = true;
    stream->part_count = 0;
    if (stream->state != STREAM_OPEN) {
        return;
    }
    for (uint32_t i = 0; i < part_count; i++) {
        ASSERT(parts[i].count > 0);
        stream->parts[i] = parts[i];
    }
    stream->part_count = part_count;
    stream->part_at = 0;
    stream->part_done = 0;
    stream->hash = parts_hash(stream);
}

bool io_is_sending(const struct io_stream *stream)
{
    return stream->is_sending;
}

/* ---- a stream's life ----------------------------------------------------------------------- */

static struct io_stream *stream_new(struct io *io, struct net_link *net)
{
    struct io_stream *stream = calloc(1, sizeof(*stream));
    ASSERT(stream != NULL);
    stream->io = io;
    stream->net = net;
    stream->is_reading = true;
    stream->deadline_ns = UINT64_MAX;
    list_push_back(&io->streams, &stream->all);
    io->stream_count++;
    return stream;
}

static void stream_free(struct io_stream *stream)
{
    list_remove(&stream->all);
    stream->io->stream_count--;
    free(stream);
}

static void drain_begin(struct io_stream *stream, uint64_t linger_ns)
{
    stream->why = OK;
    if (stream->has_peer_ended || net_is_reset(stream->net, NET_SERVER)) {
        stream_break(stream, OK);
        return;
    }
    net_shutdown(stream->net, NET_SERVER);
    stream->state = STREAM_DRAINING;
    stream->deadline_ns = stream->io->now_ns +
                          (linger_ns < DRAIN_NS_MAX ? linger_ns : DRAIN_NS_MAX);
}

static void on_sent(struct io_stream *stream)
{
    bool is_last = stream->state == STREAM_FLUSHING;
    send_end(stream);
    stream->events->sent(stream->owner);
    if (is_last && stream->state == STREAM_FLUSHING) {
        drain_begin(stream, DRAIN_NS_MAX);
    }
}

/* One bytes event, from memory of its own that is gone afterwards. */
static bool bytes_event(struct io_stream *stream)
{
    struct sim *sim = stream->io->sim;
    uint8_t scratch[BYTES_PER_EVENT_MAX];
    uint32_t max = sim->options.is_still || sim_chance(sim, 70)
                       ? BYTES_PER_EVENT_MAX
                       : (uint32_t)sim_between(sim, 1, 200);
    uint32_t count = net_read(stream->net, NET_SERVER, scratch, max);
    if (count == 0) {
        return false;
    }
    if (stream->state == STREAM_OPEN || stream->state == STREAM_DETACHING) {
        uint8_t *own = malloc(count);
        ASSERT(own != NULL);
        memcpy(own, scratch, count);
        stream->events->bytes(stream->owner, slice_of(own, count));
        free(own);
    }
    return true;
}

static void read_end(struct io_stream *stream)
{
    if (stream->state == STREAM_CLOSING || net_has_bytes(stream->net, NET_SERVER)) {
        return;
    }
    bool has_ended = net_has_ended(stream->net, NET_SERVER);
    if (net_is_reset(stream->net, NET_SERVER)) {
        stream_break(stream, stream->state == STREAM_OPEN ? ERR_CLOSED : OK);
    } else if (has_ended && stream->state == STREAM_DRAINING) {
        stream_break(stream, OK);
    } else if (has_ended) {
        stream->has_peer_ended = true;
        stream->is_new = true; /* told in the next turn: the owner may answer until then */
    }
}

static void read_some(struct io_stream *stream)
{
    for (uint32_t i = 0; i < EVENTS_PER_STREAM_MAX && wants_bytes(stream); i++) {
        if (!bytes_event(stream)) {
            break;
        }
        if (!stream->is_reading && stream->late_events > 0) {
            stream->late_events--;
        }
    }
    if (wants_bytes(stream)) {
        read_end(stream);
    }
}

static void finish(struct io_stream *stream)
{
    const struct io_stream_events *events = stream->events;
    void *owner = stream->owner;
    enum err why = stream->why;
    struct net_link *net = stream->net;
    bool is_detached = stream->state == STREAM_DETACHING;
    send_end(stream);
    stream_free(stream);
    if (is_detached) {
        events->detached(owner, (int64_t)net->id);
        return;
    }
    sim_trace(sim_world, "link %llu: the broker closed it (%s)", (unsigned long long)net->id,
              err_text(why));
    net_close(net, NET_SERVER);
    if (events != NULL) {
        events->closed(owner, why);
    }
}

/* Detached: what had been received comes first, and it may already have broken. */
static void detach_finish(struct io_stream *stream)
{
    uint32_t events = (uint32_t)sim_below(stream->io->sim, 3);
    for (uint32_t i = 0; i < events && stream->state == STREAM_DETACHING; i++) {
        if (!bytes_event(stream)) {
            break;
        }
    }
    if (stream->state == STREAM_DETACHING && net_is_reset(stream->net, NET_SERVER)) {
        stream->state = STREAM_CLOSING;
        stream->why = ERR_CLOSED;
    }
    finish(stream);
}

/* true: something happened. */
static bool stream_turn(struct io_stream *stream)
{
    if (stream_wants_ns(stream) > stream->io->now_ns) {
        return false;
    }
    if (stream->is_new) {
        stream->is_new = false; /* next turn */
        return true;
    }
    if (stream->state == STREAM_DETACHING) {
        detach_finish(stream);
        return true;
    }
    if (stream->state == STREAM_CLOSING) {
        finish(stream);
        return true;
    }
    if (stream->deadline_ns <= stream->io->now_ns) {
        stream_break(stream, stream->state == STREAM_OPEN ? ERR_CLOSED : OK);
        return true;
    }
    if (stream->has_peer_ended && stream->state == STREAM_OPEN) {
        if (!stream->is_sending) {
            stream_break(stream, ERR_CLOSED);
            return true;
        }
        stream->deadline_ns = stream->deadline_ns == UINT64_MAX
                                  ? stream->io->now_ns + PEER_ENDED_LINGER_NS
                                  : stream->deadline_ns;
    }
    push(stream);
    bool reads_first = sim_chance(stream->io->sim, 50);
    if (reads_first) {
        read_some(stream);
    }
    if (stream->is_sent && (stream->state == STREAM_OPEN || stream->state == STREAM_FLUSHING)) {
        on_sent(stream);
    }
    if (!reads_first) {
        read_some(stream);
    }
    return true;
}

void io_stream_set(struct io_stream *stream, const struct io_stream_events *events, void *owner)
{
    stream->events = events;
    stream->owner = owner;
}

void io_pause(struct io_stream *stream)
{
    if (stream->is_reading) {
        stream->late_events = (uint32_t)sim_below(stream->io->sim, 3);
    }
    stream->is_reading = false;
}

void io_resume(struct io_stream *stream)
{
    stream->is_reading = true;
    stream->late_events = 0;
}

void io_close(struct io_stream *stream)
{
    stream_break(stream, OK);
}

void io_close_after_send(struct io_stream *stream, uint64_t linger_ns)
{
    if (stream->state == STREAM_DETACHING) {
        stream_break(stream, OK);
    }
    if (stream->state != STREAM_OPEN) {
        return;
    }
    if (!stream->is_sending) {
        drain_begin(stream, linger_ns);
        return;
    }
    stream->state = STREAM_FLUSHING;
    stream->deadline_ns = stream->io->now_ns + linger_ns;
}

void io_detach(struct io_stream *stream)
{
    ASSERT(!stream->is_sending || stream->state == STREAM_CLOSING);
    if (stream->state == STREAM_OPEN) {
        stream->state = STREAM_DETACHING;
        stream->deadline_ns = UINT64_MAX;
        stream->is_new = true;
    }
}

enum err io_attach(struct io *io, int64_t handle, const struct io_stream_events *events,
                   void *owner, struct io_stream **out)
{
    if (io->stream_count >= io->config.stream_count_max) {
        io_handle_close(handle);
        return ERR_LIMIT;
    }
    struct net_link *net = net_find(io->sim->net, (uint64_t)handle);
    ASSERT(net != NULL);
    ASSERT(!net->is_closed[NET_SERVER]);
    struct io_stream *stream = stream_new(io, net);
    io_stream_set(stream, events, owner);
    sim_trace(io->sim, "link %llu moved to %s", (unsigned long long)net->id,
              io->sim->node->current->actor->name);
    *out = stream;
    return OK;
}

void io_handle_close(int64_t handle)
{
    struct net_link *net = net_find(sim_world->net, (uint64_t)handle);
    ASSERT(net != NULL);
    net_close(net, NET_SERVER);
}

/* ---- listeners ----------------------------------------------------------------------------- */

enum err io_listen(struct io *io, const struct address *at, enum io_share share,
                   const struct io_listener_events *events, void *owner, struct io_listener **out)
{
    (void)share;
    struct io_listener *listener = calloc(1, sizeof(*listener));
    ASSERT(listener != NULL);
    listener->io = io;
    listener->address = *at;
    listener->address.port = at->port == 0 ? SIM_PORT : at->port;
    listener->events = events;
    listener->owner = owner;
    listener->net.owner = listener;
    net_listen(io->sim->net, &listener->net, listener->address.port);
    list_push_back(&io->listeners, &listener->link);
    *out = listener;
    return OK;
}

void io_listener_address(const struct io_listener *listener, struct address *out)
{
    *out = listener->address;
}

void io_unlisten(struct io_listener *listener)
{
    ASSERT(!listener->is_closed);
    listener->is_closed = true; /* freed at the end of a turn, no event running */
    net_unlisten(listener->io->sim->net, &listener->net);
}

static void introduce(struct io_listener *listener, struct net_link *net)
{
    struct io *io = listener->io;
    struct address peer = {
        .kind = ADDRESS_IP4, .port = (uint16_t)(10000 + net->id), .ip = {127, 0, 0, 1}};
    struct io_stream *stream = stream_new(io, net);
    sim_trace(io->sim, "link %llu accepted by %s", (unsigned long long)net->id,
              io->sim->node->current->actor->name);
    if (!listener->events->accepted(listener->owner, stream, &peer)) {
        stream->events = NULL;
        stream_break(stream, OK);
        return;
    }
    ASSERT(stream->events != NULL);
}

static uint32_t accept_some(struct io_listener *listener)
{
    uint32_t count = 0;
    struct io *io = listener->io;
    while (!listener->is_closed && !list_is_empty(&listener->net.waiting) &&
           io->stream_count < io->config.stream_count_max) {
        struct net_link *net = CONTAINER_OF(listener->net.waiting.next, struct net_link, waiting);
        if (net->asked_ns > io->now_ns) {
            break;
        }
        list_remove(&net->waiting);
        introduce(listener, net);
        count++;
    }
    return count;
}

/* ---- the io -------------------------------------------------------------------------------- */

enum err io_new(const struct io_config *config, struct io **out)
{
    struct io *io = calloc(1, sizeof(*io));
    ASSERT(io != NULL);
    io->config = *config;
    io->sim = sim_world;
    io->woken_ns = UINT64_MAX;
    io->now_ns = io->sim->now_ns;
    list_init(&io->streams);
    list_init(&io->listeners);
    *out = io;
    return OK;
}

static void listeners_sweep(struct io *io, bool all)
{
    LIST_EACH_SAFE (&io->listeners, link) {
        struct io_listener *listener = CONTAINER_OF(link, struct io_listener, link);
        if (all && !listener->is_closed) {
            net_unlisten(io->sim->net, &listener->net);
        }
        if (all || listener->is_closed) {
            list_remove(&listener->link);
            free(listener);
        }
    }
}

void io_free(struct io *io)
{
    if (io == NULL) {
        return;
    }
    LIST_EACH_SAFE (&io->streams, link) {
        struct io_stream *stream = CONTAINER_OF(link, struct io_stream, all);
        net_close(stream->net, NET_SERVER);
        stream_free(stream);
    }
    listeners_sweep(io, true);
    free(io);
}

/* What it points to of the node's is not looked at. Links are left as they are. */
void sim_io_crash(struct io *io)
{
    LIST_EACH_SAFE (&io->streams, link) {
        stream_free(CONTAINER_OF(link, struct io_stream, all));
    }
    listeners_sweep(io, true);
    free(io);
}

uint64_t io_now_ns(const struct io *io)
{
    return io->now_ns;
}

/* A turn takes no time here. */
uint64_t io_clock_ns(const struct io *io)
{
    return io->sim->now_ns;
}

uint64_t io_wall_ms(const struct io *io)
{
    return WALL_MS_START + io->now_ns / SIM_MS + (uint64_t)io->sim->wall_shift_ms;
}

static void wake(struct io *io)
{
    uint64_t at_ns = io->sim->now_ns + 5 * SIM_US;
    io->woken_ns = at_ns < io->woken_ns ? at_ns : io->woken_ns;
}

/* With `from` it leaves at the next io_turn(from): a wake-up that is forgotten there is a bug that
 * only shows when the other really sleeps. */
void io_wake(struct io *from, struct io *io)
{
    if (from == NULL) {
        wake(io);
        return;
    }
    ASSERT(from->to_wake_count < SHARD_COUNT_MAX);
    from->to_wake[from->to_wake_count++] = io;
}

static void submit(struct io *io)
{
    for (uint32_t i = 0; i < io->to_wake_count; i++) {
        wake(io->to_wake[i]);
    }
    io->to_wake_count = 0;
    LIST_EACH (&io->streams, link) {
        push(CONTAINER_OF(link, struct io_stream, all));
    }
}

/* Others take their turns meanwhile. What a send could push on wakes it, as any completion does. */
static void rest(struct io *io, bool sleeps, uint64_t wait_ns)
{
    struct sim_shard *self = io->sim->node->current;
    uint64_t now = io->sim->now_ns;
    io->is_asleep = sleeps;
    io->until_ns = wait_ns > UINT64_MAX - now ? UINT64_MAX : now + wait_ns;
    fiber_rest(self->fiber);
    ASSERT(io->sim->node->current == self);
    io->is_asleep = false;
    io->woken_ns = UINT64_MAX;
}

enum { ORDER_MAX = 128 };

/* The streams in an order drawn from the seed; an event may end any of them. */
static uint32_t streams_turn(struct io *io)
{
    struct io_stream *order[ORDER_MAX];
    uint32_t count = 0, done = 0;
    LIST_EACH (&io->streams, link) {
        ASSERT(count < ORDER_MAX);
        uint32_t at = (uint32_t)sim_below(io->sim, count + 1);
        order[count] = at < count ? order[at] : NULL;
        count++;
        order[at] = CONTAINER_OF(link, struct io_stream, all);
    }
    for (uint32_t i = 0; i < count; i++) {
        bool is_late = io->sim->is_stormy && sim_chance(io->sim, 10); /* in another turn */
        done += !is_late && stream_turn(order[i]);
    }
    return done;
}

uint32_t io_turn(struct io *io, uint64_t wait_ns)
{
    ASSERT(!io->is_in_event);
    bool is_idle = completion_ns(io) > io->sim->now_ns;
    bool asks = is_idle && wait_ns > 0 && io->config.may_sleep != NULL;
    bool sleeps = is_idle && wait_ns > 0 && (!asks || io->config.may_sleep(io->config.context));
    submit(io);
    rest(io, sleeps, wait_ns);
    if (asks) {
        io->config.awake(io->config.context);
    }
    io->now_ns = io->sim->now_ns;
    io->is_in_event = true;
    uint32_t count = streams_turn(io);
    LIST_EACH (&io->listeners, link) {
        count += accept_some(CONTAINER_OF(link, struct io_listener, link));
    }
    io->is_in_event = false;
    listeners_sweep(io, false);
    return count;
}
