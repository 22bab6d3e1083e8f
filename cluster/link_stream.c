#include "cluster/link_parts.h"
#include "core/base/assert.h"

#include <stdio.h>

/*
 *     stream ──> TLS ──> in ──> link_packet()
 *     stream <── sending <── sealed <── TLS <── out
 *
 * Invariants
 *   S1  `sending` is not touched while a send is in flight.
 *   S2  what is broken ends at the end of an event of the stream, never in the middle (link_settle).
 */

static bool on_sealed(void *owner, struct slice cipher)
{
    return buf_append(&((struct link *)owner)->sealed, cipher) == OK;
}

enum err link_tls_begin(struct link *link, struct tls_context *context)
{
    if (context == NULL) {
        return OK;
    }
    link->tls = tls_new(context, NULL);
    if (link->tls == NULL) {
        return ERR_NOMEM;
    }
    link_tls_resume(link);
    return OK;
}

void link_tls_resume(struct link *link)
{
    if (link->tls != NULL) {
        tls_set_sink(link->tls, on_sealed, link);
    }
}

void link_mark(struct link *link)
{
    if (list_is_empty(&link->dirty)) {
        list_push_back(&link->links->dirty, &link->dirty);
    }
}

/* ---- out ---------------------------------------------------------------------------------------- */

static void break_by_tls(struct link *link)
{
    link_break(link, LINK_REASON_TLS, tls_failure(link->tls));
}

static void seal(struct link *link)
{
    struct slice plain = buf_bytes(&link->out);

    if (plain.count == 0 || !tls_is_open(link->tls)) {
        return;
    }
    if (tls_seal(link->tls, &plain, 1, io_now_ns(link->links->io)) != OK) {
        break_by_tls(link);
    }
    buf_consume(&link->out, plain.count);
}

void link_push(struct link *link)
{
    struct buf *from = link->tls != NULL ? &link->sealed : &link->out;

    if (link->stream == NULL || !link->is_connected || link->is_carrying ||
        io_is_sending(link->stream)) {
        return; /* S1 */
    }
    if (link->tls != NULL) {
        seal(link);
    }
    if (buf_count(from) == 0) {
        return;
    }
    buf_deinit(&link->sending);
    link->sending = *from;
    *from = (struct buf){0};
    struct slice bytes = buf_bytes(&link->sending);
    link->sent_ns = io_now_ns(link->links->io);
    io_send(link->stream, &bytes, 1);
}

/* ---- in ----------------------------------------------------------------------------------------- */

/* Nodes connect seldom: a signature that others make elsewhere is made here and now. */
static enum err shake(struct link *link)
{
    enum err err;

    while ((err = tls_handshake(link->tls)) == ERR_AGAIN) {
        struct tls_signature *signature = tls_signature_take(link->tls);
        tls_signature_make(signature);
        tls_signature_done(link->tls, signature);
    }
    if (err != OK) {
        return err;
    }
    char detail[LINK_TEXT_MAX + 1] = "";
    enum link_reason reason = link_name_check(link, detail);
    link_opened(link);
    if (reason != LINK_REASON_NONE) {
        link_refuse(link, reason);
        snprintf(link->detail, sizeof(link->detail), "%s", detail);
    }
    return OK;
}

static void feed_tls(struct link *link, struct slice bytes)
{
    enum err err = OK;

    tls_feed(link->tls, bytes);
    if (link->state == LINK_OPENING) {
        err = shake(link);
    }
    while (err == OK && !link->is_broken) {
        size_t count;
        if (buf_reserve(&link->in, TLS_PLAIN_BYTES) != OK) {
            link_break(link, LINK_REASON_LIMIT, err_text(ERR_NOMEM));
            return;
        }
        err = tls_read(link->tls, buf_tail(&link->in), &count);
        if (err == OK) {
            buf_commit(&link->in, count);
        }
    }
    if (err == ERR_CLOSED) {
        link_break(link, LINK_REASON_LOST, NULL);
    } else if (err != OK && err != ERR_MORE) {
        link->is_polite = true; /* what TLS says of it still leaves */
        break_by_tls(link);
    }
}

static void packets_give(struct link *link)
{
    while (link->events != NULL && !link->is_broken && link->state != LINK_JUDGING) {
        struct link_packet packet;
        struct slice bytes;
        size_t total;
        size_t bytes_max = link->state == LINK_UP ? LINK_PACKET_BYTES_MAX : LINK_GREETING_BYTES_MAX;
        enum err err = link_packet_next(buf_bytes(&link->in), bytes_max, &bytes, &total);
        if (err == ERR_MORE) {
            return;
        }
        if (err != OK || link_packet_decode(bytes, &packet) != OK) {
            link_break(link, LINK_REASON_PROTOCOL, link->tls == NULL ? "without TLS" : NULL);
            return;
        }
        link_packet(link, &packet);
        buf_consume(&link->in, total);
    }
    if (link->is_carrying && buf_count(&link->in) > 0) {
        link_break(link, LINK_REASON_PROTOCOL, "it did not wait for an answer");
    }
}

static void on_bytes(void *owner, struct slice bytes)
{
    struct link *link = owner;

    if (link->events == NULL || link->is_broken) {
        return;
    }
    if (link->is_carrying) { /* it was to wait for its answer */
        link_break(link, LINK_REASON_PROTOCOL, "it did not wait for an answer");
    } else if (link->tls != NULL) {
        feed_tls(link, bytes);
    } else if (buf_append(&link->in, bytes) != OK) {
        link_break(link, LINK_REASON_LIMIT, err_text(ERR_NOMEM));
    }
    link->heard_ns = io_now_ns(link->links->io);
    packets_give(link);
    link_flush(link);
    link_settle(link);
}

static void on_sent(void *owner)
{
    struct link *link = owner;

    buf_deinit(&link->sending);
    if (link->events == NULL || link->is_broken) {
        return;
    }
    if (!link->is_connected) {
        link->is_connected = true;
        if (link->tls == NULL) {
            link_opened(link);
        } else if (shake(link) != ERR_MORE) { /* the first words */
            break_by_tls(link);
        }
    }
    if (link->is_carrying) {
        link_detach(link);
        return;
    }
    link_flush(link);
    link_settle(link);
}

static void on_closed(void *owner, enum err why)
{
    struct link *link = owner;

    link->stream = NULL;
    link->is_detaching = false;
    if (link->events != NULL && !link->is_broken) {
        bool is_early = link->is_connected && link->state != LINK_UP;
        link_break(link, LINK_REASON_LOST,
                   is_early && why == ERR_CLOSED
                       ? "it was closed before an answer came: what stands in the other side's log?"
                       : err_text(why));
    }
    link_settle(link);
    link_free(link);
}

static void on_detached(void *owner, int64_t handle)
{
    struct link *link = owner;

    link->stream = NULL;
    link_leave(link, handle);
}

const struct io_stream_events link_stream_events = {
    .bytes = on_bytes, .sent = on_sent, .closed = on_closed, .detached = on_detached};
