#include "core/admin/admin.h"

#include "core/admin/routes.h"
#include "core/wire/http.h"

#include <stdlib.h>
#include <string.h>

/*
 * A connection:
 *
 *                  head whole, or refused                last piece sent, kept
 *     WAITING ───────────────────────────> ANSWERING ───────────────────────────> WAITING
 *        │ timer, eviction, stop               │ last piece on its way, not kept
 *        └──────────────> CLOSING <────────────┘ timer, stop
 *                            └── closed ──> freed (also from every other state)
 *
 * Invariants
 *   A1  a connection is in `open` unless it is CLOSING, ordered by when it came or last began to
 *       wait, so that the first WAITING one has waited longest; open_count counts them and is
 *       ADMIN_CONNECTIONS_MAX at most.
 *   A2  the timer is set unless it is CLOSING: nothing waits for a peer without an end. (A closing
 *       stream has an end given by io.)
 *   A3  a send is in flight exactly while it is ANSWERING; head and answer stay untouched then.
 */
enum conn_state { WAITING, ANSWERING, CLOSING };

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
    bool keep_alive; /* ANSWERING: go on afterwards */
    bool is_overrun; /* the peer sent more ahead than in can hold; the rest was dropped */
    size_t scanned;  /* by http_head_find() */
    size_t in_count;
    size_t reply_head_bytes;
    struct slice answer_left;
    struct body answer;
    uint8_t reply_head[REPLY_HEAD_MAX];
    uint8_t in[ADMIN_HEAD_BYTES_MAX];
};

static const struct route {
    const char *path;
    route_handler *get;
} routes[] = {
    {"/metrics", metrics_get},
    {"/health", health_get},
    {"/health/live", health_live_get},
    {"/health/ready", health_ready_get},
};

struct admin {
    struct io *io;
    struct wheel *wheel;
    struct io_listener *listener; /* NULL after admin_stop() */
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

/* Send what conn->answer holds; is_head: its head alone. */
static void reply_send(struct conn *conn, struct http_reply *reply, bool is_head)
{
    conn->state = ANSWERING;
    conn->keep_alive = reply->keep_alive;
    reply->has_content_length = true;
    reply->content_length = conn->answer.count;
    conn->answer_left = slice_of(conn->answer.data, is_head ? 0 : conn->answer.count);
    enum err err = http_reply_write(reply, conn->reply_head, sizeof(conn->reply_head),
                                    &conn->reply_head_bytes);
    ASSERT(err == OK); /* all its parts are ours and short */
    metric_add(conn->admin->sources.metrics[0], METRIC_http_requests, 1);
    piece_send(conn);
}

/* A plain answer that says its status in words. */
static void status_send(struct conn *conn, uint16_t status, bool keep_alive, bool is_head)
{
    struct http_reply reply = {
        .status = status,
        .keep_alive = keep_alive,
        .content_type = "text/plain; charset=utf-8",
        .headers = status == 405 ? "Allow: GET, HEAD\r\n" : NULL,
    };
    body_free(&conn->answer);
    body_add(&conn->answer, "%s\n", http_status_text(status));
    reply_send(conn, &reply, is_head);
}

static const struct route *route_find(struct slice path)
{
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        if (slice_is(path, routes[i].path)) {
            return &routes[i];
        }
    }
    return NULL;
}

/* What the route says now: made once per turn, in which nothing of it changes. */
static const struct answer *answer_make(struct admin *admin, const struct route *route)
{
    uint64_t now_ns = io_now_ns(admin->io);
    if (admin->made_route != route || admin->made_ns != now_ns) {
        body_free(&admin->made.body);
        admin->made = (struct answer){.status = 200};
        admin->made_route = route;
        admin->made_ns = now_ns;
        route->get(&admin->sources, io_wall_ms(admin->io), &admin->made);
    }
    return &admin->made;
}

static void request_answer(struct conn *conn, const struct http_head *head)
{
    bool is_head = head->method == HTTP_HEAD;
    /* A body is not read, so what follows the head would be taken for the next request. */
    bool keep_alive = head->keep_alive && head->content_length == 0;
    const struct route *route = route_find(head->path);

    if (route == NULL) {
        status_send(conn, 404, keep_alive, is_head);
        return;
    }
    if (head->method != HTTP_GET && !is_head) {
        status_send(conn, 405, keep_alive, false);
        return;
    }
    const struct answer *answer = answer_make(conn->admin, route);
    body_add_slice(&conn->answer, slice_of(answer->body.data, answer->body.count));
    if (answer->body.err != OK || conn->answer.err != OK) {
        status_send(conn, 500, keep_alive, is_head);
        return;
    }
    struct http_reply reply = {
        .status = answer->status,
        .keep_alive = keep_alive,
        .content_type = answer->content_type,
        .headers = "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n",
    };
    reply_send(conn, &reply, is_head);
}

/* Answer the request that stands at the start of in, if it is whole. */
static void serve(struct conn *conn)
{
    static _Thread_local struct http_head head; /* 2 KiB, of no use after the call */
    struct slice in = slice_of(conn->in, conn->in_count);
    size_t head_bytes;

    ASSERT(conn->state == WAITING);
    enum err err = http_head_find(in, ADMIN_HEAD_BYTES_MAX, &conn->scanned, &head_bytes);
    if (err == ERR_MORE) {
        return;
    }
    if (err == OK) {
        err = http_request_parse(slice_head(in, head_bytes), &head);
    }
    if (err != OK) {
        conn->in_count = 0; /* where the next request would begin is not known */
        status_send(conn, http_status_of(err), false, false);
        return;
    }
    request_answer(conn, &head);
    memmove(conn->in, conn->in + head_bytes, conn->in_count - head_bytes);
    conn->in_count -= head_bytes;
    conn->scanned = 0;
}

static void on_bytes(void *owner, struct slice bytes)
{
    struct conn *conn = owner;
    while (conn->state != CLOSING && bytes.count > 0) {
        size_t room = sizeof(conn->in) - conn->in_count;
        size_t count = bytes.count < room ? bytes.count : room;
        if (count == 0) {
            conn->is_overrun = true; /* only while ANSWERING: a full head is served or refused */
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
    if (conn->state == WAITING && conn->in_count > 0) {
        status_send(conn, 408, false, false);
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

/* Close the connection that has been waiting longest; false when all are being answered. */
static bool evict(struct admin *admin)
{
    LIST_EACH (&admin->open, link) {
        struct conn *conn = CONTAINER_OF(link, struct conn, link);
        if (conn->state == WAITING) {
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
    struct admin *admin = owner;
    (void)peer;
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
    enum err err = io_listen(io, at, IO_SHARE_NONE, &listener_events, admin, &admin->listener);
    if (err != OK) {
        admin_free(admin);
        return err;
    }
    *out = admin;
    return OK;
}

void admin_address(const struct admin *admin, struct address *out)
{
    ASSERT(admin->listener != NULL);
    io_listener_address(admin->listener, out);
}

uint32_t admin_connection_count(const struct admin *admin)
{
    return admin->open_count + admin->closing_count;
}

void admin_stop(struct admin *admin)
{
    if (admin->listener != NULL) {
        io_unlisten(admin->listener);
        admin->listener = NULL;
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
