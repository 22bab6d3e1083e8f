/*
 * A link is the client's end and outlives the stream, which is the broker's end within one io: when
 * a connection moves from shard to shard its handle is the link's address.
 */
#include "bench/micro/door.h"

#include "core/base/assert.h"
#include "core/base/list.h"

#include <stdlib.h>

struct io_stream {
    struct list all;
    struct io *io;
    struct link *link;
    const struct io_stream_events *events;
    void *owner;
    enum { STREAM_NEW, STREAM_OPEN, STREAM_CLOSING, STREAM_DETACHING } state;
    bool is_paused, is_sending;
    uint32_t part_count;
    struct slice parts[IO_PARTS_MAX];
};

struct link {
    struct io_stream *stream; /* NULL: closed, or on its way to another io */
    link_heard *heard;
    void *owner;
    struct slice said;
    bool is_closed;
};

struct io_listener {
    struct io *io;
    struct address address;
    const struct io_listener_events *events;
    void *owner;
};

struct io {
    struct list streams;
    struct io_listener *listener; /* the first one */
    uint64_t now_ns;
};

enum { PORT = 1883 };
#define WALL_MS_START UINT64_C(1800000000000)

/* ---- the client's end ---------------------------------------------------------------------- */

static struct io_stream *stream_new(struct io *io, struct link *link)
{
    struct io_stream *stream = calloc(1, sizeof(*stream));
    if (stream == NULL) {
        return NULL;
    }
    stream->io = io;
    stream->link = link;
    link->stream = stream;
    list_push_back(&io->streams, &stream->all);
    return stream;
}

static void stream_free(struct io_stream *stream)
{
    list_remove(&stream->all);
    stream->link->stream = NULL;
    free(stream);
}

struct link *link_new(struct io *io, link_heard *heard, void *owner)
{
    struct link *link = calloc(1, sizeof(*link));
    if (link == NULL) {
        return NULL;
    }
    link->heard = heard;
    link->owner = owner;
    if (stream_new(io, link) == NULL) {
        free(link);
        return NULL;
    }
    return link;
}

void link_free(struct link *link)
{
    ASSERT(link->stream == NULL);
    free(link);
}

void link_say(struct link *link, struct slice bytes)
{
    ASSERT(link->said.count == 0);
    link->said = bytes;
}

bool link_is_quiet(const struct link *link)
{
    return link->said.count == 0;
}

bool link_is_closed(const struct link *link)
{
    return link->is_closed;
}

/* ---- the turn ------------------------------------------------------------------------------ */

static void accept_one(struct io_stream *stream)
{
    struct io_listener *listener = stream->io->listener;
    struct address peer = {.kind = ADDRESS_IP4, .port = PORT, .ip = {127, 0, 0, 1}};
    ASSERT(listener != NULL);
    stream->state = STREAM_OPEN;
    if (!listener->events->accepted(listener->owner, stream, &peer)) {
        stream->events = NULL;
        stream->state = STREAM_CLOSING;
    }
}

/* The last event of a stream; then it is gone. */
static void finish(struct io_stream *stream)
{
    const struct io_stream_events *events = stream->events;
    void *owner = stream->owner;
    struct link *link = stream->link;
    bool is_detached = stream->state == STREAM_DETACHING;
    stream_free(stream);
    if (is_detached) {
        events->detached(owner, (int64_t)(uintptr_t)link);
        return;
    }
    link->is_closed = true;
    link->said = slice_of(NULL, 0);
    if (events != NULL) {
        events->closed(owner, OK);
    }
}

static void send_out(struct io_stream *stream)
{
    for (uint32_t i = 0; i < stream->part_count; i++) {
        stream->link->heard(stream->link->owner, stream->parts[i]);
    }
    stream->is_sending = false;
    stream->events->sent(stream->owner);
}

static uint32_t stream_turn(struct io_stream *stream)
{
    struct link *link = stream->link;
    uint32_t count = 0;
    if (stream->state == STREAM_NEW) {
        accept_one(stream);
        count++;
    }
    if (stream->is_sending) {
        send_out(stream);
        count++;
    }
    if (stream->state == STREAM_OPEN && !stream->is_paused && link->said.count > 0) {
        struct slice said = link->said;
        link->said = slice_of(NULL, 0);
        stream->events->bytes(stream->owner, said);
        count++;
    }
    if (stream->state > STREAM_OPEN && !stream->is_sending) {
        finish(stream);
        count++;
    }
    return count;
}

uint32_t io_turn(struct io *io, uint64_t wait_ns)
{
    uint32_t count = 0;
    (void)wait_ns;
    io->now_ns += DOOR_TURN_NS;
    LIST_EACH_SAFE (&io->streams, link) {
        count += stream_turn(CONTAINER_OF(link, struct io_stream, all));
    }
    return count;
}

/* ---- io.h ---------------------------------------------------------------------------------- */

enum err io_probe(char *text, size_t text_bytes)
{
    ASSERT(text_bytes > 0);
    text[0] = 0;
    return OK;
}

enum err io_new(const struct io_config *config, struct io **out)
{
    struct io *io = calloc(1, sizeof(*io));
    (void)config;
    if (io == NULL) {
        return ERR_NOMEM;
    }
    list_init(&io->streams);
    io->now_ns = UINT64_C(1000000000);
    *out = io;
    return OK;
}

void io_free(struct io *io)
{
    if (io == NULL) {
        return;
    }
    LIST_EACH_SAFE (&io->streams, link) {
        stream_free(CONTAINER_OF(link, struct io_stream, all));
    }
    free(io->listener);
    free(io);
}

void door_wait(struct io *io, uint64_t wait_ns)
{
    io->now_ns += wait_ns;
}

uint64_t io_now_ns(const struct io *io)
{
    return io->now_ns;
}

/* A turn takes no time here. */
uint64_t io_clock_ns(const struct io *io)
{
    return io->now_ns;
}

uint64_t io_wall_ms(const struct io *io)
{
    return WALL_MS_START + io->now_ns / 1000000;
}

/* Nobody sleeps. */
void io_wake(struct io *from, struct io *io)
{
    (void)from;
    (void)io;
}

enum err io_listen(struct io *io, const struct address *at, enum io_share share,
                   const struct io_listener_events *events, void *owner, struct io_listener **out)
{
    (void)share;
    ASSERT(io->listener == NULL);
    struct io_listener *listener = calloc(1, sizeof(*listener));
    if (listener == NULL) {
        return ERR_NOMEM;
    }
    *listener = (struct io_listener){io, *at, events, owner};
    io->listener = listener;
    *out = listener;
    return OK;
}

void io_listener_address(const struct io_listener *listener, struct address *out)
{
    *out = listener->address;
}

void io_unlisten(struct io_listener *listener)
{
    listener->io->listener = NULL;
    free(listener);
}

void io_stream_set(struct io_stream *stream, const struct io_stream_events *events, void *owner)
{
    stream->events = events;
    stream->owner = owner;
}

/* Whoever looks for a way out finds none. */
enum err io_connect(struct io *io, const struct address *to, const struct address *from,
                    const struct io_stream_events *events, void *owner, struct io_stream **out)
{
    (void)io;
    (void)to;
    (void)from;
    (void)events;
    (void)owner;
    (void)out;
    return ERR_UNSUPPORTED;
}

void io_send(struct io_stream *stream, const struct slice *parts, uint32_t part_count)
{
    ASSERT(!stream->is_sending);
    ASSERT(part_count >= 1);
    ASSERT(part_count <= IO_PARTS_MAX);
    for (uint32_t i = 0; i < part_count; i++) {
        stream->parts[i] = parts[i];
    }
    stream->part_count = part_count;
    stream->is_sending = true;
}

bool io_is_sending(const struct io_stream *stream)
{
    return stream->is_sending;
}

void io_pause(struct io_stream *stream)
{
    stream->is_paused = true;
}

void io_resume(struct io_stream *stream)
{
    stream->is_paused = false;
}

void io_close(struct io_stream *stream)
{
    stream->state = STREAM_CLOSING;
}

void io_close_after_send(struct io_stream *stream, uint64_t linger_ns)
{
    (void)linger_ns;
    stream->state = STREAM_CLOSING;
}

void io_detach(struct io_stream *stream)
{
    ASSERT(!stream->is_sending);
    stream->state = STREAM_DETACHING;
}

enum err io_attach(struct io *io, int64_t handle, const struct io_stream_events *events,
                   void *owner, struct io_stream **out)
{
    struct link *link = (struct link *)(uintptr_t)handle;
    struct io_stream *stream = stream_new(io, link);
    if (stream == NULL) {
        return ERR_NOMEM;
    }
    stream->state = STREAM_OPEN;
    io_stream_set(stream, events, owner);
    *out = stream;
    return OK;
}

void io_handle_close(int64_t handle)
{
    ((struct link *)(uintptr_t)handle)->is_closed = true;
}
