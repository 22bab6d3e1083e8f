#include "core/admin/admin.h"

#include "core/admin/routes.h"
#include "core/wire/http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * A connection:
 *
 *                     head whole, or refused              last piece sent, kept
 *     WAITING ──────────────────────────────> ANSWERING ──────────────────────────> WAITING
 *        ├───────> BODY ───────────────────────> ^ │ last piece on its way, not kept
 *        │          └───> ASKING all shards ─────┘ │
 *        │ timer, eviction, stop                   │
 *        └──────────────> CLOSING <────────────────┘ timer, stop
 *                            └── closed ──> freed (also from every other state)
 *
 * Invariants
 *   A1  a connection is in `open` unless it is CLOSING, ordered by when it came or last began to
 *       wait, so that the first WAITING one has waited longest; open_count counts them and is
 *       ADMIN_CONNECTIONS_MAX at most.
 *   A2  the timer is set unless it is CLOSING: nothing waits for a peer without an end. (A closing
 *       stream has an end given by io.)
 *   A3  a send is in flight exactly while it is ANSWERING; head and answer stay untouched then.
 *   A4  the head of the request that is read or run stands at the start of in until it was run; an
 *       inquiry is there exactly while it is ASKING.
 */
enum conn_state { WAITING, BODY, ASKING, ANSWERING, CLOSING };

enum {
    PIECE_BYTES_MAX = 65536, /* of an answer per send, so that its timer measures progress */
    REPLY_HEAD_MAX = 512,
    CLOSING_MAX = ADMIN_CONNECTIONS_MAX, /* beyond it the oldest are hurried */
    CLOSING_REFUSE = 2 * CLOSING_MAX,
};

struct conn {
    struct list link;
    struct timer timer;
    struct admin *admin;
    struct io_stream *stream;
    enum conn_state state;
    bool is_private; /* its listener is for this machine alone */
    bool keep_alive; /* go on after the answer */
    bool is_head;    /* the answer goes without its body */
    bool is_overrun; /* the peer sent more ahead than in can hold; the rest was dropped */
    size_t scanned;  /* by http_head_find() */
    size_t in_count;
    size_t head_bytes; /* A4 */
    size_t body_left;  /* BODY: of the request's, still to come */
    struct body body;  /* of the request */
    struct inquiry *inquiry;
    size_t reply_head_bytes;
    struct slice answer_left;
    struct body answer;
    uint8_t reply_head[REPLY_HEAD_MAX];
    uint8_t in[ADMIN_HEAD_BYTES_MAX];
};

struct listener {
    struct admin *admin;
    struct io_listener *io; /* NULL after admin_stop() */
    bool is_private;
};

struct admin {
    struct io *io;
    struct wheel *wheel;
    struct listener listeners[ADMIN_LISTENERS_MAX];
    uint32_t listener_count;
    struct admin_sources sources;
    struct list open; /* A1 */
    struct list closing;
    uint32_t open_count, closing_count;
    /* The last answer that a route made: good for everybody who asks within the same turn. */
    const struct route *made_route;
    uint64_t made_ns;
    struct answer made;
};

static void timer_start(struct conn *conn, uint64_t after_ns)
{
    wheel_set(conn->admin->wheel, &conn->timer, io_now_ns(conn->admin->io) + after_ns);
}

/* From `open` to `closing`; the stream is told by the caller. */
static void closing_begin(struct conn *conn)
{
    struct admin *admin = conn->admin;
    ASSERT(conn->state != CLOSING);
    inquiry_free(conn->inquiry);
    conn->inquiry = NULL;
    conn->state = CLOSING;
    wheel_unset(admin->wheel, &conn->timer);
    list_remove(&conn->link);
    list_push_back(&admin->closing, &conn->link);
    admin->open_count--;
    admin->closing_count++;
}

static void conn_close(struct conn *conn)
{
    closing_begin(conn);
    io_close(conn->stream);
}

static void conn_free(struct conn *conn)
{
    list_remove(&conn->link);
    inquiry_free(conn->inquiry);
    body_free(&conn->body);
    body_free(&conn->answer);
    free(conn);
}

static void piece_send(struct conn *conn)
{
    struct slice parts[2];
    uint32_t part_count = 0;

    if (conn->reply_head_bytes > 0) {
        parts[part_count++] = slice_of(conn->reply_head, conn->reply_head_bytes);
        conn->reply_head_bytes = 0;
    }
    size_t count = conn->answer_left.count < PIECE_BYTES_MAX ? conn->answer_left.count
                                                             : PIECE_BYTES_MAX;
    if (count > 0) {
        parts[part_count++] = slice_head(conn->answer_left, count);
        conn->answer_left = slice_skip(conn->answer_left, count);
    }
    timer_start(conn, ADMIN_SEND_NS);
    io_send(conn->stream, parts, part_count);
    if (conn->answer_left.count == 0 && !conn->keep_alive) {
        closing_begin(conn);
        io_close_after_send(conn->stream, ADMIN_SEND_NS);
    }
}

/* ---- answers ------------------------------------------------------------------------------- */

/* Send it; what its body holds is taken over. */
static void answer_send(struct conn *conn, struct answer *answer)
{
    static const char common[] = "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n";
    char headers[256];
    if (answer->body.err != OK) {
        body_free(&answer->body);
        *answer = (struct answer){.status = 500, .content_type = "text/plain; charset=utf-8"};
    }
    snprintf(headers, sizeof(headers), "%s%s", common,
             answer->headers == NULL ? "" : answer->headers);
    struct http_reply reply = {
        .status = answer->status,
        .keep_alive = conn->keep_alive,
        .has_content_length = answer->status != 204, /* RFC 9110 8.6 */
        .content_length = answer->body.count,
        .content_type = answer->body.count > 0 ? answer->content_type : NULL,
        .headers = headers,
    };
    enum err err = http_reply_write(&reply, conn->reply_head, sizeof(conn->reply_head),
                                    &conn->reply_head_bytes);
    ASSERT(err == OK); /* all its parts are ours and short */
    conn->state = ANSWERING;
    conn->answer = answer->body;
    conn->answer_left = slice_of(conn->answer.data, conn->is_head ? 0 : conn->answer.count);
    metric_add(conn->admin->sources.metrics[0], METRIC_http_requests, 1);
    piece_send(conn);
}

/* An answer that says its status in words, and ends the connection. */
static void refusal_send(struct conn *conn, uint16_t status)
{
    struct answer answer = {.status = status, .content_type = "text/plain; charset=utf-8"};
    body_add(&answer.body, "%s\n", http_status_text(status));
    conn->keep_alive = false;
    conn->is_head = false;
    answer_send(conn, &answer);
}

/* What the route says now: made once per turn, in which nothing of it changes. */
static void shared_answer(struct admin *admin, const struct route *route, struct answer *answer)
{
    uint64_t now_ns = io_now_ns(admin->io);
    if (admin->made_route != route || admin->made_ns != now_ns) {
        body_free(&admin->made.body);
        admin->made = (struct answer){.status = 200};
        admin->made_route = route;
        admin->made_ns = now_ns;
        route->get(&admin->sources, io_wall_ms(admin->io), &admin->made);
    }
    *answer = admin->made;
    answer->body = (struct body){.err = admin->made.body.err};
    body_add_slice(&answer->body, slice_of(admin->made.body.data, admin->made.body.count));
}

/* ---- requests ------------------------------------------------------------------------------ */

static void inquiry_send(struct conn *conn)
{
    struct answer answer = {.status = 200};
    ASSERT(conn->state == ASKING);
    inquiry_answer(conn->inquiry, &answer);
    inquiry_free(conn->inquiry);
    conn->inquiry = NULL;
    answer_send(conn, &answer);
}

/* All shards have answered. */
static void on_inquiry_ready(void *owner)
{
    inquiry_send(owner);
}

static void api_run(struct conn *conn, const struct route *route, const struct http_head *head,
                    struct slice rest)
{
    struct admin *admin = conn->admin;
    struct answer answer = {.status = 200};
    struct request request = {
        .sources = &admin->sources,
        .wall_ms = io_wall_ms(admin->io),
        .method = conn->is_head ? HTTP_GET : head->method,
        .rest = rest,
        .query = head->query,
        .body = slice_of(conn->body.data, conn->body.count),
        .ready = on_inquiry_ready,
        .owner = conn,
        .inquiry = &conn->inquiry,
    };
    route->run(&request, &answer);
    body_free(&conn->body);
    if (answer.status == 0) {
        conn->state = ASKING;
        timer_start(conn, ADMIN_ASK_NS);
    } else {
        answer_send(conn, &answer);
    }
}

/* The request is whole, and good as far as its head tells. */
static void request_run(struct conn *conn, const struct http_head *head)
{
    struct slice rest;
    const struct route *route = route_find(head->path, &rest);
    if (route->run != NULL) {
        api_run(conn, route, head, rest);
    } else {
        struct answer answer;
        shared_answer(conn->admin, route, &answer);
        answer_send(conn, &answer);
    }
}

/* The head at the start of in was read before, without an error. */
static struct http_head *head_parse(const struct conn *conn)
{
    static _Thread_local struct http_head head; /* 2 KiB, of no use after the turn */
    enum err err = http_request_parse(slice_of(conn->in, conn->head_bytes), &head);
    ASSERT(err == OK);
    return &head;
}

/* What follows the head is the next request's, now that this one was run. */
static void head_forget(struct conn *conn)
{
    memmove(conn->in, conn->in + conn->head_bytes, conn->in_count - conn->head_bytes);
    conn->in_count -= conn->head_bytes;
    conn->head_bytes = 0;
    conn->scanned = 0;
}

/* As much of the body as is there; how many of the bytes it took. */
static size_t body_take(struct conn *conn, struct slice bytes)
{
    size_t count = bytes.count < conn->body_left ? bytes.count : conn->body_left;
    body_add_slice(&conn->body, slice_head(bytes, count));
    conn->body_left -= count;
    if (conn->body.err != OK) {
        conn->in_count = conn->head_bytes = 0;
        refusal_send(conn, 503);
    } else if (conn->body_left == 0) {
        request_run(conn, head_parse(conn));
        head_forget(conn);
    }
    return count;
}

static void body_begin(struct conn *conn, const struct http_head *head)
{
    struct slice ahead = slice_of(conn->in + conn->head_bytes, conn->in_count - conn->head_bytes);
    conn->state = BODY;
    conn->body_left = (size_t)head->content_length;
    timer_start(conn, ADMIN_BODY_NS);
    if (ahead.count == 0) {
        return;
    }
    /* What stands behind the head is taken out of in first: body_take() may run the request. */
    size_t count = ahead.count < conn->body_left ? ahead.count : conn->body_left;
    body_add_slice(&conn->body, slice_head(ahead, count));
    conn->body_left -= count;
    memmove(conn->in + conn->head_bytes, ahead.data + count, ahead.count - count);
    conn->in_count -= count;
    if (conn->body_left == 0 || conn->body.err != OK) {
        body_take(conn, slice_of(NULL, 0));
    }
}

static void request_begin(struct conn *conn, const struct http_head *head)
{
    struct slice rest;
    struct answer refusal = {.status = 200};
    const struct route *route = route_find(head->path, &rest);
    bool has_body = head->content_length > 0;

    conn->is_head = head->method == HTTP_HEAD;
    conn->keep_alive = head->keep_alive;
    if (!route_admits(route, head, conn->is_private, &refusal)) {
        /* A body that is not read would be taken for the next request. */
        conn->keep_alive = head->keep_alive && !has_body;
        answer_send(conn, &refusal);
        head_forget(conn);
    } else if (has_body && route_wants_body(route, head)) {
        body_begin(conn, head);
    } else {
        conn->keep_alive = head->keep_alive && !has_body;
        request_run(conn, head);
        head_forget(conn);
    }
}

/* Begin the request that stands at the start of in, if its head is whole. */
static void serve(struct conn *conn)
{
    struct slice in = slice_of(conn->in, conn->in_count);

    ASSERT(conn->state == WAITING);
    enum err err = http_head_find(in, ADMIN_HEAD_BYTES_MAX, &conn->scanned, &conn->head_bytes);
    if (err == ERR_MORE) {
        return;
    }
    static _Thread_local struct http_head head;
    if (err == OK) {
        err = http_request_parse(slice_head(in, conn->head_bytes), &head);
    }
    if (err != OK) {
        conn->in_count = 0; /* where the next request would begin is not known */
        refusal_send(conn, http_status_of(err));
        return;
    }
    request_begin(conn, &head);
}

static void on_bytes(void *owner, struct slice bytes)
{
    struct conn *conn = owner;
    while (conn->state != CLOSING && bytes.count > 0) {
        if (conn->state == BODY) {
            bytes = slice_skip(bytes, body_take(conn, bytes));
            continue;
        }
        size_t room = sizeof(conn->in) - conn->in_count;
        size_t count = bytes.count < room ? bytes.count : room;
        if (count == 0) {
            conn->is_overrun =
                true; /* only until it is answered: a full head is served or refused */
            return;
        }
        if (conn->state == WAITING && conn->in_count == 0) {
            timer_start(conn, ADMIN_HEAD_NS); /* and is not moved by what follows */
        }
        memcpy(conn->in + conn->in_count, bytes.data, count);
        conn->in_count += count;
        bytes = slice_skip(bytes, count);
        if (conn->state == WAITING) {
            serve(conn);
        }
    }
}

static void on_sent(void *owner)
{
    struct conn *conn = owner;
    struct admin *admin = conn->admin;

    if (conn->state == CLOSING) {
        return;
    }
    ASSERT(conn->state == ANSWERING); /* A3 */
    if (conn->answer_left.count > 0) {
        piece_send(conn);
        return;
    }
    body_free(&conn->answer);
    if (conn->is_overrun) {
        closing_begin(conn);
        io_close_after_send(conn->stream, ADMIN_SEND_NS);
        return;
    }
    conn->state = WAITING;
    list_remove(&conn->link);
    list_push_back(&admin->open, &conn->link); /* A1 */
    timer_start(conn, conn->in_count > 0 ? ADMIN_HEAD_NS : ADMIN_IDLE_NS);
    if (conn->in_count > 0) {
        serve(conn);
    }
}

static void on_closed(void *owner, enum err why)
{
    struct conn *conn = owner;
    (void)why; /* scrapers come and go; there is nothing to tell */
    if (conn->state != CLOSING) {
        closing_begin(conn);
    }
    conn->admin->closing_count--;
    conn_free(conn);
}

static void on_detached(void *owner, int64_t handle)
{
    (void)owner;
    (void)handle;
    ASSERT(!"admin never detaches");
}

static void on_timer(struct timer *timer)
{
    struct conn *conn = CONTAINER_OF(timer, struct conn, timer);
    if (conn->state == BODY || (conn->state == WAITING && conn->in_count > 0)) {
        refusal_send(conn, 408);
    } else if (conn->state == ASKING) {
        inquiry_send(conn); /* of those that have answered */
    } else {
        conn_close(conn);
    }
}

static const struct io_stream_events stream_events = {
    .bytes = on_bytes,
    .sent = on_sent,
    .closed = on_closed,
    .detached = on_detached,
};

/* Close the one that we have been waiting for longest; false when all are being answered. */
static bool evict(struct admin *admin)
{
    LIST_EACH (&admin->open, link) {
        struct conn *conn = CONTAINER_OF(link, struct conn, link);
        if (conn->state == WAITING || conn->state == BODY) {
            conn_close(conn);
            return true;
        }
    }
    return false;
}

/* Who does not take its last bytes is not waited for when many close at once. */
static void closing_hurry(struct admin *admin)
{
    if (admin->closing_count >= CLOSING_MAX) {
        struct list *link = list_pop_front(&admin->closing);
        io_close(CONTAINER_OF(link, struct conn, link)->stream);
        list_push_back(&admin->closing, link);
    }
}

static bool on_accepted(void *owner, struct io_stream *stream, const struct address *peer)
{
    struct listener *listener = owner;
    struct admin *admin = listener->admin;
    closing_hurry(admin);
    if (admin->closing_count >= CLOSING_REFUSE ||
        (admin->open_count == ADMIN_CONNECTIONS_MAX && !evict(admin))) {
        return false;
    }
    struct conn *conn = malloc(sizeof(*conn));
    if (conn == NULL) {
        return false;
    }
    memset(conn, 0, offsetof(struct conn, reply_head));
    conn->admin = admin;
    conn->stream = stream;
    conn->is_private = listener->is_private && address_is_loopback(peer);
    timer_init(&conn->timer, on_timer);
    list_push_back(&admin->open, &conn->link);
    admin->open_count++;
    io_stream_set(stream, &stream_events, conn);
    timer_start(conn, ADMIN_HEAD_NS);
    return true;
}

static const struct io_listener_events listener_events = {.accepted = on_accepted};

enum err admin_new(struct io *io, struct wheel *wheel, const struct address *at,
                   const struct admin_sources *sources, struct admin **out)
{
    ASSERT(sources->metrics_count > 0);
    struct admin *admin = calloc(1, sizeof(*admin));
    if (admin == NULL) {
        return ERR_NOMEM;
    }
    admin->io = io;
    admin->wheel = wheel;
    admin->sources = *sources;
    list_init(&admin->open);
    list_init(&admin->closing);
    enum err err = admin_listen(admin, at);
    if (err != OK) {
        admin_free(admin);
        return err;
    }
    *out = admin;
    return OK;
}

enum err admin_listen(struct admin *admin, const struct address *at)
{
    ASSERT(admin->listener_count < ADMIN_LISTENERS_MAX);
    struct listener *listener = &admin->listeners[admin->listener_count];
    struct address where = *at;
    where.mode = 0600; /* of a Unix socket */
    *listener = (struct listener){.admin = admin, .is_private = address_is_loopback(at)};
    TRY(io_listen(admin->io, &where, IO_SHARE_NONE, &listener_events, listener, &listener->io));
    admin->listener_count++;
    return OK;
}

bool admin_address(const struct admin *admin, uint32_t index, struct address *out)
{
    if (index >= admin->listener_count) {
        return false;
    }
    io_listener_address(admin->listeners[index].io, out);
    return true;
}

uint32_t admin_connection_count(const struct admin *admin)
{
    return admin->open_count + admin->closing_count;
}

void admin_stop(struct admin *admin)
{
    while (admin->listener_count > 0) {
        io_unlisten(admin->listeners[--admin->listener_count].io);
    }
    while (!list_is_empty(&admin->open)) {
        conn_close(CONTAINER_OF(admin->open.next, struct conn, link));
    }
}

void admin_free(struct admin *admin)
{
    if (admin == NULL) {
        return;
    }
    while (!list_is_empty(&admin->open)) {
        struct conn *conn = CONTAINER_OF(admin->open.next, struct conn, link);
        wheel_unset(admin->wheel, &conn->timer);
        conn_free(conn);
    }
    while (!list_is_empty(&admin->closing)) {
        conn_free(CONTAINER_OF(admin->closing.next, struct conn, link));
    }
    body_free(&admin->made.body);
    free(admin);
}
