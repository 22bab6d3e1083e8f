#include "core/bridge/leg.h"

#include "core/base/assert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Invariants
 *   L1  events is not NULL exactly while its owner knows it; after that no event is given.
 *   L2  `sending` is not touched while a send is in flight.
 *   L3  a leg that is_broken gives `ended` from leg_flush() or at the end of an event, never from
 *       inside leg_packet(): its owner may be in the middle of something.
 */
#define LINGER_NS UINT64_C(1000000000)

static void leg_free(struct leg *leg)
{
    list_remove(&leg->link);
    buf_deinit(&leg->in);
    buf_deinit(&leg->out);
    buf_deinit(&leg->sending);
    buf_deinit(&leg->sealed);
    alias_in_deinit(&leg->alias_in);
    tls_free(leg->tls);
    free(leg);
}

static void end(struct leg *leg, enum err why, const char *detail)
{
    const struct leg_events *events = leg->events;
    if (events == NULL) {
        return;
    }
    leg->events = NULL; /* L1 */
    events->ended(leg->owner, leg, why, detail);
}

void leg_break(struct leg *leg, enum err why)
{
    if (!leg->is_broken) {
        leg->is_broken = true;
        leg->broken_by = why;
    }
}

/* L3 */
static void end_if_broken(struct leg *leg)
{
    if (!leg->is_broken || leg->events == NULL) {
        return;
    }
    char detail[256] = "";
    if (leg->tls != NULL && leg->broken_by == ERR_TLS) {
        snprintf(detail, sizeof(detail), "%s", tls_failure(leg->tls));
    }
    io_close(leg->stream);
    end(leg, leg->broken_by, detail);
}

/* ---- out ----------------------------------------------------------------------------------- */

static bool on_sealed(void *owner, struct slice cipher)
{
    return buf_append(&((struct leg *)owner)->sealed, cipher) == OK;
}

uint8_t *leg_packet(struct leg *leg, size_t count)
{
    if (leg->is_broken || buf_reserve(&leg->out, count) != OK) {
        leg_break(leg, ERR_NOMEM);
        return NULL;
    }
    uint8_t *at = buf_tail(&leg->out);
    buf_commit(&leg->out, count);
    return at;
}

static void seal(struct leg *leg)
{
    struct slice plain = buf_bytes(&leg->out);
    if (!leg->is_open || plain.count == 0) {
        return;
    }
    if (tls_seal(leg->tls, &plain, 1, io_now_ns(leg->io)) != OK) {
        leg_break(leg, ERR_TLS);
    }
    buf_consume(&leg->out, plain.count);
}

static void send_next(struct leg *leg)
{
    struct buf *source = leg->tls != NULL ? &leg->sealed : &leg->out;
    if (leg->tls != NULL) {
        seal(leg);
    }
    if (io_is_sending(leg->stream) || buf_count(source) == 0 || leg->is_broken) {
        return;
    }
    buf_deinit(&leg->sending);
    leg->sending = *source;
    *source = (struct buf){0};
    struct slice bytes = buf_bytes(&leg->sending);
    leg->sent_ns = io_now_ns(leg->io);
    io_send(leg->stream, &bytes, 1);
}

void leg_flush(struct leg *leg)
{
    if (leg->stream == NULL || leg->events == NULL) {
        return;
    }
    if (leg->is_open || leg->tls != NULL) {
        send_next(leg);
    }
    end_if_broken(leg);
}

/* ---- in ------------------------------------------------------------------------------------ */

/* Whole packets to the owner, until one is held. */
static void hand_over(struct leg *leg)
{
    uint32_t bytes_max = leg->packet_max_in > 0 ? leg->packet_max_in : UINT32_MAX;
    while (leg->events != NULL && !leg->is_broken && buf_count(&leg->in) > 0) {
        struct frame frame;
        struct slice bytes = buf_bytes(&leg->in);
        enum err err = leg->version == MQTT_3_1 ? frame_next_3_1(bytes, bytes_max, &frame)
                                                : frame_next(bytes, bytes_max, &frame);
        if (err == ERR_MORE) {
            return;
        }
        if (err != OK) {
            leg_break(leg, err);
            return;
        }
        leg->is_held = !leg->events->packet(leg->owner, leg, &frame);
        if (leg->is_held) {
            return;
        }
        if (leg->events != NULL) {
            buf_consume(&leg->in, frame.total_bytes);
        }
    }
}

static void pause_or_not(struct leg *leg)
{
    if (leg->events == NULL || leg->is_paused == leg->is_held) {
        return;
    }
    leg->is_paused = leg->is_held;
    if (leg->is_paused) {
        io_pause(leg->stream);
    } else {
        io_resume(leg->stream);
    }
}

void leg_go_on(struct leg *leg)
{
    if (leg->is_held && !leg->is_reading) {
        leg->is_held = false;
        leg->is_reading = true;
        hand_over(leg);
        leg->is_reading = false;
        pause_or_not(leg);
    }
}

static void opened(struct leg *leg)
{
    leg->is_open = true;
    leg->read_ns = leg->sent_ns = io_now_ns(leg->io);
    leg->events->opened(leg->owner, leg);
}

/* A client that has nobody else to hold up makes its signatures here and now. */
static enum err shake(struct leg *leg)
{
    enum err err;
    while ((err = tls_handshake(leg->tls)) == ERR_AGAIN) {
        struct tls_signature *signature = tls_signature_take(leg->tls);
        tls_signature_make(signature);
        tls_signature_done(leg->tls, signature);
    }
    if (err == OK) {
        opened(leg);
    }
    return err;
}

static void feed_tls(struct leg *leg, struct slice bytes)
{
    size_t count;
    enum err err = OK;
    tls_feed(leg->tls, bytes);
    if (!leg->is_open) {
        err = shake(leg);
    }
    while (err == OK && leg->events != NULL && !leg->is_broken) {
        if (buf_reserve(&leg->in, TLS_PLAIN_BYTES) != OK) {
            leg_break(leg, ERR_NOMEM);
            return;
        }
        err = tls_read(leg->tls, buf_tail(&leg->in), &count);
        if (err == OK) {
            buf_commit(&leg->in, count);
        }
    }
    if (err != OK && err != ERR_MORE) {
        leg_break(leg, err == ERR_CLOSED ? ERR_CLOSED : ERR_TLS);
    }
}

static void turned(struct leg *leg)
{
    if (leg->events != NULL) {
        pause_or_not(leg);
        leg->events->turned(leg->owner);
    }
}

static void on_bytes(void *owner, struct slice bytes)
{
    struct leg *leg = owner;
    if (leg->events == NULL || leg->is_broken) {
        return;
    }
    leg->read_ns = io_now_ns(leg->io);
    leg->is_pinged = false;
    if (leg->tls != NULL) {
        feed_tls(leg, bytes);
    } else if (buf_append(&leg->in, bytes) != OK) {
        leg_break(leg, ERR_NOMEM);
    }
    leg->is_reading = true;
    if (!leg->is_held) {
        hand_over(leg);
    }
    leg->is_reading = false;
    turned(leg);
}

static void on_sent(void *owner)
{
    struct leg *leg = owner;
    buf_deinit(&leg->sending);
    if (leg->events == NULL) {
        return;
    }
    if (!leg->is_open && leg->tls == NULL) {
        opened(leg);
    } else if (!leg->is_open) {
        enum err err = shake(leg); /* the first words; or what followed them has left */
        if (err != OK && err != ERR_MORE) {
            leg_break(leg, ERR_TLS);
        }
    }
    turned(leg);
}

static void on_closed(void *owner, enum err why)
{
    struct leg *leg = owner;
    void *whose = leg->owner;
    const struct leg_events *events = leg->events;
    leg->stream = NULL;
    if (events != NULL) {
        bool is_of_tls = leg->tls != NULL && !leg->is_open;
        end(leg, why, is_of_tls ? "during the TLS handshake: is that a port for TLS?" : "");
        events->turned(whose);
    }
    leg_free(leg);
}

static const struct io_stream_events stream_events = {
    .bytes = on_bytes, .sent = on_sent, .closed = on_closed};

/* ---- life ---------------------------------------------------------------------------------- */

struct leg *leg_new(struct list *all, struct io *io, const struct leg_events *events, void *owner)
{
    struct leg *leg = calloc(1, sizeof(*leg));
    if (leg == NULL) {
        return NULL;
    }
    leg->io = io;
    leg->events = events;
    leg->owner = owner;
    leg->qos_max = 2;
    leg->window_max = UINT16_MAX;
    leg->read_ns = leg->sent_ns = io_now_ns(io);
    list_push_back(all, &leg->link);
    return leg;
}

enum err leg_attach(struct leg *leg, int64_t handle)
{
    TRY(io_attach(leg->io, handle, &stream_events, leg, &leg->stream));
    opened(leg);
    leg_flush(leg);
    return OK;
}

enum err leg_connect(struct leg *leg, const struct address *to, const struct address *from,
                     struct tls_context *tls, const char *server_name)
{
    if (tls != NULL) {
        leg->tls = tls_new(tls, server_name);
        if (leg->tls == NULL) {
            return ERR_NOMEM;
        }
        tls_set_sink(leg->tls, on_sealed, leg);
    }
    return io_connect(leg->io, to, from, &stream_events, leg, &leg->stream);
}

void leg_drop(struct leg *leg, bool is_polite)
{
    bool was_known = leg->events != NULL;
    if (was_known && is_polite) {
        if (leg->stream != NULL && (leg->is_open || leg->tls != NULL)) {
            send_next(leg);
        }
    }
    leg->events = NULL; /* L1 */
    if (leg->stream == NULL) {
        leg_free(leg);
    } else if (!was_known) {
        return; /* it was closed when it broke */
    } else if (is_polite) {
        io_close_after_send(leg->stream, LINGER_NS);
    } else {
        io_close(leg->stream);
    }
}

void legs_free(struct list *all)
{
    while (!list_is_empty(all)) {
        leg_free(CONTAINER_OF(all->next, struct leg, link));
    }
}
