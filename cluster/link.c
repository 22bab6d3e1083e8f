#include "cluster/link_parts.h"
#include "core/base/assert.h"

#include <stdio.h>
#include <stdlib.h>

/*
 * Invariants
 *   L1  events is not NULL exactly while its owner knows it; after that no event is given.
 *   L2  a link that is_broken gives ended() from link_settle() alone: its owner may be in the middle
 *       of something when it breaks.
 *   L3  from its hello to the answer the one who connected says nothing: so a stream can be carried
 *       from shard to shard with nothing on its way.
 */
#define LINGER_NS UINT64_C(1000000000)

struct link_passport {
    int64_t handle;
    struct tls *tls;
    struct address address;
    char proven_name[LINK_NAME_MAX + 1];
    struct link_hello hello;
    uint8_t hello_bytes[LINK_CLUSTER_BYTES + LINK_NAME_MAX];
};

/* ---- all of them -------------------------------------------------------------------------------- */

void links_init(struct links *links, struct io *io, struct wheel *wheel,
                const struct link_config *config)
{
    ASSERT((config->client == NULL) == (config->server == NULL));
    *links = (struct links){.io = io, .wheel = wheel, .config = *config};
    list_init(&links->all);
    list_init(&links->dirty);
}

void links_deinit(struct links *links)
{
    while (!list_is_empty(&links->all)) {
        link_free(CONTAINER_OF(links->all.next, struct link, entry));
    }
}

void links_flush(struct links *links)
{
    struct list now, *first;

    list_init(&now);
    list_append(&now, &links->dirty);
    while ((first = list_pop_front(&now)) != NULL) {
        struct link *link = CONTAINER_OF(first, struct link, dirty);
        link_flush(link);
        link_settle(link);
    }
}

/* ---- the end ------------------------------------------------------------------------------------ */

void link_free(struct link *link)
{
    list_remove(&link->entry);
    list_remove(&link->dirty);
    wheel_unset(link->links->wheel, &link->timer);
    link_queues_free(link);
    buf_deinit(&link->in);
    buf_deinit(&link->out);
    buf_deinit(&link->sealed);
    buf_deinit(&link->sending);
    tls_free(link->tls);
    free(link);
}

void link_break(struct link *link, enum link_reason reason, const char *detail)
{
    if (link->is_broken || link->events == NULL) {
        return;
    }
    link->is_broken = true;
    link->end = (struct link_end){.reason = reason, .detail = link->detail};
    snprintf(link->detail, sizeof(link->detail), "%s", detail == NULL ? "" : detail);
    link_mark(link);
}

static void stream_end(struct link *link)
{
    wheel_unset(link->links->wheel, &link->timer);
    if (link->stream == NULL || link->is_detaching) {
        return;
    }
    if (link->is_polite && link->is_connected) {
        link_push(link);
        io_close_after_send(link->stream, LINGER_NS);
    } else {
        io_close(link->stream);
    }
}

void link_settle(struct link *link)
{
    const struct link_events *events = link->events;

    if (!link->is_broken || events == NULL || link->is_detaching) {
        return; /* a socket on its way out of the io is closed by link_leave() */
    }
    link->events = NULL; /* L1 */
    stream_end(link);
    events->ended(link->owner, link, &link->end);
}

void link_drop(struct link *link)
{
    bool was_known = link->events != NULL;

    link->events = NULL; /* L1 */
    if (was_known) {
        stream_end(link);
    }
}

/* ---- the timer ---------------------------------------------------------------------------------- */

void link_wake_by(struct link *link, uint64_t at_ns)
{
    if (!timer_is_set(&link->timer) || at_ns < link->timer.at_ns) {
        wheel_set(link->links->wheel, &link->timer, at_ns);
    }
}

static void link_tick(struct timer *timer)
{
    struct link *link = CONTAINER_OF(timer, struct link, timer);
    const struct link_config *config = &link->links->config;
    uint64_t now_ns = io_now_ns(link->links->io);
    bool is_up = link->state == LINK_UP;
    uint64_t over_ns = is_up ? link->heard_ns + config->silence_ns
                             : link->begun_ns + config->greeting_ns;

    if (now_ns >= over_ns) {
        link_break(link, LINK_REASON_SILENT, is_up ? NULL : "before the greeting was over");
        return; /* with the next links_flush() */
    }
    if (is_up &&
        (now_ns >= link->sent_ns + config->keepalive_ns || link->data_told < link->data_released)) {
        link->must_speak = true;
    }
    link_mark(link);
    link_wake_by(link, is_up ? now_ns + config->keepalive_ns : over_ns);
}

/* ---- the beginning ------------------------------------------------------------------------------ */

static struct link *link_new(struct links *links, const struct address *peer,
                             const struct link_events *events, void *owner)
{
    struct link *link = calloc(1, sizeof(*link));

    if (link == NULL) {
        return NULL;
    }
    link->links = links;
    link->events = events;
    link->owner = owner;
    link->address = *peer;
    link->begun_ns = link->heard_ns = link->sent_ns = io_now_ns(links->io);
    timer_init(&link->timer, link_tick);
    list_init(&link->dirty);
    list_push_back(&links->all, &link->entry);
    link_wake_by(link, link->begun_ns + links->config.greeting_ns);
    return link;
}

enum err link_connect(struct links *links, const struct address *to, const char *name,
                      const struct link_hello *hello, const struct link_events *events, void *owner,
                      struct link **out)
{
    struct link_packet packet = {.kind = LINK_PACKET_HELLO, .hello = *hello};
    struct link *link = link_new(links, to, events, owner);

    if (link == NULL) {
        return ERR_NOMEM;
    }
    link->is_connector = true;
    link->is_bulk = hello->is_bulk;
    snprintf(link->wanted_name, sizeof(link->wanted_name), "%s", name);
    enum err err = link_greeting_encode(&packet, &link->out);
    err = err == OK ? link_tls_begin(link, links->config.client) : err;
    err = err == OK ? io_connect(links->io, to, NULL, &link_stream_events, link, &link->stream)
                    : err;
    if (err != OK) {
        link_free(link);
        return err;
    }
    *out = link;
    return OK;
}

enum err link_accept(struct links *links, struct io_stream *stream, const struct address *peer,
                     const struct link_events *events, void *owner, struct link **out)
{
    struct link *link = link_new(links, peer, events, owner);

    if (link == NULL) {
        return ERR_NOMEM;
    }
    if (link_tls_begin(link, links->config.server) != OK) {
        link_free(link);
        return ERR_NOMEM;
    }
    link->stream = stream;
    link->is_connected = true;
    link->state = link->tls == NULL ? LINK_GREETING : LINK_OPENING;
    io_stream_set(stream, &link_stream_events, link);
    *out = link;
    return OK;
}

void link_opened(struct link *link)
{
    link->state = LINK_GREETING; /* the hello of who connects waits in out */
}

/* ---- greetings ---------------------------------------------------------------------------------- */

/* Its bytes, kept by the one who keeps the hello. */
static void hello_copy(struct link_hello *to, uint8_t *bytes, const struct link_hello *from)
{
    *to = *from;
    memcpy(bytes, from->cluster.data, from->cluster.count);
    to->cluster = slice_of(bytes, from->cluster.count);
    if (from->name.count > 0) {
        memcpy(bytes + LINK_CLUSTER_BYTES, from->name.data, from->name.count);
    }
    to->name = slice_of(bytes + LINK_CLUSTER_BYTES, from->name.count);
}

static void on_hello(struct link *link, const struct link_hello *hello)
{
    bool is_valid = link_name_is_valid(hello->name);

    hello_copy(&link->hello, link->hello_bytes, hello);
    link->is_bulk = hello->is_bulk;
    link->state = LINK_JUDGING;
    if (!is_valid || (link->tls != NULL && !slice_is(hello->name, link->proven_name))) {
        link_refuse(link, LINK_REASON_NAME);
        snprintf(link->detail, sizeof(link->detail), "it says to be node %.*s",
                 is_valid ? (int)hello->name.count : 0, (const char *)hello->name.data);
        return;
    }
    link->events->hello(link->owner, link, &link->hello);
}

static void on_welcome(struct link *link, const struct link_welcome *welcome)
{
    link->state = LINK_UP;
    link->window_bytes = welcome->window;
    link_wake_by(link, io_now_ns(link->links->io) + link->links->config.keepalive_ns);
    link->events->welcome(link->owner, link, welcome);
}

static void on_refusal(struct link *link, const struct link_refusal *refusal)
{
    char text[LINK_TEXT_MAX + 1];

    snprintf(text, sizeof(text), "%.*s", (int)refusal->text.count,
             (const char *)refusal->text.data);
    link_break(link, refusal->reason < LINK_REASON_COUNT ? refusal->reason : LINK_REASON_NONE,
               text);
    link->end.is_told = true;
}

void link_packet(struct link *link, const struct link_packet *packet)
{
    bool greets = link->state == LINK_GREETING;

    if (packet->kind == LINK_PACKET_FRAME && link->state == LINK_UP) {
        link_frame(link, &packet->frame);
    } else if (packet->kind == LINK_PACKET_HELLO && greets && !link->is_connector) {
        on_hello(link, &packet->hello);
    } else if (packet->kind == LINK_PACKET_WELCOME && greets && link->is_connector) {
        on_welcome(link, &packet->welcome);
    } else if (packet->kind == LINK_PACKET_REFUSAL && link->state != LINK_UP) {
        on_refusal(link, &packet->refusal);
    } else {
        link_break(link, LINK_REASON_PROTOCOL, "a packet out of turn");
    }
}

void link_welcome(struct link *link, const struct link_welcome *welcome)
{
    struct link_packet packet = {.kind = LINK_PACKET_WELCOME, .welcome = *welcome};

    ASSERT(link->state == LINK_JUDGING);
    packet.welcome.window = link->links->config.window_bytes;
    if (link_greeting_encode(&packet, &link->out) != OK) {
        link_break(link, LINK_REASON_LIMIT, err_text(ERR_NOMEM));
        return;
    }
    link->state = LINK_UP;
    link->window_bytes = 0; /* messages come by it, none go */
    link_wake_by(link, io_now_ns(link->links->io) + link->links->config.keepalive_ns);
    link_mark(link);
}

void link_refuse(struct link *link, enum link_reason reason)
{
    struct link_packet packet = {.kind = LINK_PACKET_REFUSAL,
                                 .refusal = {reason, slice_text(link_reason_text(reason))}};

    ASSERT(link->state != LINK_UP);
    buf_consume(&link->out, buf_count(&link->out)); /* the hello of who connects, if it is there */
    link->is_polite = link_greeting_encode(&packet, &link->out) == OK;
    link_break(link, reason, NULL);
}

/* ---- to another shard --------------------------------------------------------------------------- */

void link_carry(struct link *link)
{
    ASSERT(link->state == LINK_JUDGING);
    link->is_carrying = true;
    if (!io_is_sending(link->stream)) { /* else when that is over */
        link_detach(link);
    }
}

void link_detach(struct link *link)
{
    link->is_detaching = true;
    io_detach(link->stream);
}

void link_leave(struct link *link, int64_t handle)
{
    const struct link_events *events = link->events;
    bool is_good = events != NULL && !link->is_broken;
    struct link_passport *passport = is_good ? malloc(sizeof(*passport)) : NULL;

    link->is_detaching = false;
    if (passport == NULL) {
        io_handle_close(handle);
        link_break(link, LINK_REASON_LOST, err_text(ERR_NOMEM));
        link_settle(link);
        link_free(link);
        return;
    }
    *passport = (struct link_passport){
        .handle = handle, .tls = link->tls, .address = link->address};
    memcpy(passport->proven_name, link->proven_name, sizeof(passport->proven_name));
    hello_copy(&passport->hello, passport->hello_bytes, &link->hello);
    link->tls = NULL;
    link->events = NULL; /* L1 */
    events->carried(link->owner, link, passport);
    link_free(link);
}

const struct link_hello *link_passport_hello(const struct link_passport *passport)
{
    return &passport->hello;
}

void link_passport_free(struct link_passport *passport)
{
    if (passport != NULL) {
        io_handle_close(passport->handle);
        tls_free(passport->tls);
        free(passport);
    }
}

enum err link_attach(struct links *links, struct link_passport *passport,
                     const struct link_events *events, void *owner, struct link **out)
{
    struct link *link = link_new(links, &passport->address, events, owner);

    if (link == NULL) {
        link_passport_free(passport);
        return ERR_NOMEM;
    }
    link->is_connected = true;
    link->is_bulk = passport->hello.is_bulk;
    link->state = LINK_JUDGING;
    link->tls = passport->tls;
    link_tls_resume(link);
    memcpy(link->proven_name, passport->proven_name, sizeof(link->proven_name));
    hello_copy(&link->hello, link->hello_bytes, &passport->hello);
    enum err err = io_attach(links->io, passport->handle, &link_stream_events, link, &link->stream);
    free(passport);
    if (err != OK) {
        link_free(link);
        return err;
    }
    *out = link;
    return OK;
}

/* ---- questions ---------------------------------------------------------------------------------- */

const struct address *link_address(const struct link *link)
{
    return &link->address;
}

const char *link_proven_name(const struct link *link)
{
    return link->proven_name;
}

uint64_t link_heard_ns(const struct link *link)
{
    return link->heard_ns;
}
