#include "bench/crew/crew_link.h"

#include "bench/load/load.h"
#include "core/base/assert.h"

#define LINGER_NS ((uint64_t)1000000000)

static void fly(struct crew_link *link)
{
    if (link->is_connecting || io_is_sending(link->stream) || buf_count(&link->queued) == 0) {
        return;
    }
    ASSERT(buf_count(&link->flying) == 0);
    link->flying = link->queued;
    link->queued = (struct buf){0};
    struct slice bytes = buf_bytes(&link->flying);
    io_send(link->stream, &bytes, 1);
}

static void hang_up(struct crew_link *link)
{
    if (buf_count(&link->queued) == 0) {
        io_close_after_send(link->stream, LINGER_NS);
    }
}

static void on_sent(void *owner)
{
    struct crew_link *link = owner;
    if (link->is_connecting) {
        link->is_connecting = false;
        link->heard_ns = load_clock_ns();
        if (link->events->connected != NULL && !link->is_closing) {
            link->events->connected(link);
        }
    } else {
        buf_consume(&link->flying, buf_count(&link->flying));
    }
    fly(link);
    if (link->is_closing) {
        hang_up(link);
    }
}

static void take_lines(struct crew_link *link)
{
    while (!link->is_closing) {
        struct slice all = buf_bytes(&link->received);
        struct slice fresh = slice_skip(all, link->searched);
        size_t at = link->searched + slice_find(fresh, '\n');
        if (at > link->line_bytes_max) {
            crew_link_close(link, ERR_TOO_LARGE);
            return;
        }
        if (at == all.count) {
            link->searched = all.count;
            return;
        }
        link->events->line(link, slice_head(all, at));
        buf_consume(&link->received, at + 1);
        link->searched = 0;
    }
}

static void on_bytes(void *owner, struct slice bytes)
{
    struct crew_link *link = owner;
    link->heard_ns = load_clock_ns();
    if (link->is_closing) {
        return; /* whatever it is, it is too late */
    }
    if (buf_append(&link->received, bytes) != OK) {
        crew_link_close(link, ERR_NOMEM);
        return;
    }
    take_lines(link);
}

void crew_link_forget(struct crew_link *link)
{
    buf_deinit(&link->received);
    buf_deinit(&link->queued);
    buf_deinit(&link->flying);
    link->stream = NULL;
    link->is_closing = true;
}

static void on_closed(void *owner, enum err why)
{
    struct crew_link *link = owner;
    crew_link_forget(link);
    link->events->closed(link, link->why != OK ? link->why : why);
}

static const struct io_stream_events stream_events = {
    .bytes = on_bytes,
    .sent = on_sent,
    .closed = on_closed,
};

void crew_link_accept(struct crew_link *link, struct io_stream *stream,
                      const struct crew_link_events *events, void *owner, size_t line_bytes_max)
{
    *link = (struct crew_link){
        .events = events,
        .owner = owner,
        .line_bytes_max = line_bytes_max,
        .heard_ns = load_clock_ns(),
        .stream = stream,
    };
    io_stream_set(stream, &stream_events, link);
}

enum err crew_link_connect(struct crew_link *link, struct io *io, const struct address *to,
                           const struct crew_link_events *events, void *owner,
                           size_t line_bytes_max)
{
    *link = (struct crew_link){
        .events = events,
        .owner = owner,
        .line_bytes_max = line_bytes_max,
        .heard_ns = load_clock_ns(),
        .is_connecting = true,
    };
    return io_connect(io, to, NULL, &stream_events, link, &link->stream);
}

void crew_link_send(struct crew_link *link, struct slice lines)
{
    if (link->is_closing) {
        return;
    }
    if (buf_append(&link->queued, lines) != OK) {
        crew_link_close(link, ERR_NOMEM);
        return;
    }
    fly(link);
}

void crew_link_say(struct crew_link *link, const struct crew_message *message)
{
    struct buf line = {0};
    if (crew_message_write(message, &line) == OK) {
        crew_link_send(link, buf_bytes(&line));
    } else {
        crew_link_close(link, ERR_NOMEM);
    }
    buf_deinit(&line);
}

void crew_link_close(struct crew_link *link, enum err why)
{
    if (link->is_closing) {
        return;
    }
    link->is_closing = true;
    link->why = why;
    link->closing_ns = load_clock_ns();
    if (link->is_connecting) {
        io_close(link->stream);
    } else {
        hang_up(link);
    }
}

void crew_link_turn(struct crew_link *link, uint64_t now_ns)
{
    if (link->is_closing && link->stream != NULL && now_ns > link->closing_ns + 2 * LINGER_NS) {
        io_close(link->stream);
    }
}
