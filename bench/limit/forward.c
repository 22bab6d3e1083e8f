/* Clients, who feeds whom, sending, and the turns: see client.h for the invariants. */
#include "bench/limit/client.h"
#include "core/base/assert.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    RING_ENTRIES = 4096,
    COMPLETION_ENTRIES = 8 * RING_ENTRIES,
    IOV_MAX_OURS = 64,
    COMPLAINTS_MAX = 8,
};

enum work { WORK_NONE, WORK_ACCEPT, WORK_SIGNAL, WORK_RECEIVE, WORK_SEND, WORK_MASK = 7 };

void complain(struct forward *forward, const struct client *client, const char *what)
{
    static const char *const names[] = {"client", "bench-pub-", "bench-sub-"};
    if (++forward->complaint_count > COMPLAINTS_MAX) {
        return;
    }
    fprintf(stderr, "tern-limit: %s", names[client->role]);
    if (client->role != ROLE_NONE) {
        fprintf(stderr, "%u", client->index);
    }
    fprintf(stderr, ": %s%s\n", what,
            forward->complaint_count == COMPLAINTS_MAX ? " (no more is said)" : "");
}

void *grown(void *memory, uint32_t *size, uint32_t wanted, size_t each_bytes)
{
    if (wanted <= *size) {
        return memory;
    }
    uint32_t larger = *size == 0 ? 8 : *size;
    while (larger < wanted) {
        larger *= 2;
    }
    memory = realloc(memory, larger * each_bytes);
    ASSERT(memory != NULL); /* a measurement without memory is over */
    *size = larger;
    return memory;
}

static struct io_uring_sqe *submission(struct forward *forward)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&forward->ring);
    while (sqe == NULL) {
        io_uring_submit(&forward->ring);
        sqe = io_uring_get_sqe(&forward->ring);
    }
    return sqe;
}

static void set_work(struct io_uring_sqe *sqe, struct client *client, enum work work)
{
    sqe->user_data = (uint64_t)(uintptr_t)client | work;
}

void arm(struct forward *forward, struct client *client)
{
    struct io_uring_sqe *sqe = submission(forward);
    io_uring_prep_recv_multishot(sqe, client->fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = POOL_GROUP;
    set_work(sqe, client, WORK_RECEIVE);
    client->is_armed = true;
    client->is_cancelled = false;
}

static void mark_ready(struct forward *forward, struct client *client)
{
    if (!client->is_sending && !client->is_closing) {
        list_remove(&client->ready);
        list_push_back(&forward->ready, &client->ready);
    }
}

void mark_dirty(struct forward *forward, struct feed *feed)
{
    if (!feed->is_dirty) {
        feed->is_dirty = true;
        forward->dirty[forward->dirty_count++] = feed;
    }
}

/* ---- who feeds whom */

static struct feed *feed_of(struct forward *forward, uint32_t index)
{
    uint32_t number = forward->options->shape->is_paired ? index : 0;
    if (number >= forward->feed_count) {
        uint32_t size = forward->feed_count, old = size;
        forward->feeds = grown(forward->feeds, &size, number + 1, sizeof(forward->feeds[0]));
        memset(forward->feeds + old, 0, (size - old) * sizeof(forward->feeds[0]));
        forward->dirty = grown(forward->dirty, &forward->feed_count, number + 1,
                               sizeof(forward->dirty[0]));
        ASSERT(forward->feed_count == size);
    }
    if (forward->feeds[number] == NULL) {
        forward->feeds[number] = calloc(1, sizeof(struct feed));
        ASSERT(forward->feeds[number] != NULL);
    }
    return forward->feeds[number];
}

void attach(struct forward *forward, struct client *client)
{
    if (client->is_attached) {
        return;
    }
    struct feed *feed = feed_of(forward, client->index);
    struct crowd *crowd = client->role == ROLE_READER ? &feed->readers : &feed->writers;
    crowd->clients = grown(crowd->clients, &crowd->size, crowd->count + 1,
                           sizeof(crowd->clients[0]));
    client->feed = feed;
    client->place = crowd->count;
    crowd->clients[crowd->count++] = client;
    client->is_attached = true;
    client->next = client->flying = feed->sealed = feed->tail; /* what grows now is for it too */
}

static void resume(struct forward *forward, struct feed *feed)
{
    if (!feed->is_paused || !feed_is_low(feed)) {
        return;
    }
    feed->is_paused = false;
    for (uint32_t i = 0; i < feed->writers.count; i++) {
        if (!feed->writers.clients[i]->is_armed) {
            arm(forward, feed->writers.clients[i]);
        }
    }
}

static void detach(struct forward *forward, struct client *client)
{
    if (!client->is_attached) {
        return;
    }
    struct feed *feed = client->feed;
    struct crowd *crowd = client->role == ROLE_READER ? &feed->readers : &feed->writers;
    crowd->clients[client->place] = crowd->clients[--crowd->count];
    crowd->clients[client->place]->place = client->place;
    client->is_attached = false;
    if (client->role == ROLE_READER) {
        feed_pass(feed, &forward->pool, client->next, feed->tail);
        resume(forward, feed);
    }
}

/* Stop receiving from those who feed a reader that does not keep up. */
static void pause_writers(struct forward *forward, struct feed *feed)
{
    feed->is_paused = true;
    for (uint32_t i = 0; i < feed->writers.count; i++) {
        struct client *client = feed->writers.clients[i];
        if (client->is_armed && !client->is_cancelled) {
            struct io_uring_sqe *sqe = submission(forward);
            io_uring_prep_cancel64(sqe, (uint64_t)(uintptr_t)client | WORK_RECEIVE, 0);
            sqe->user_data = WORK_NONE;
            client->is_cancelled = true;
        }
    }
}

/* ---- the end of a client */

static void client_end(struct forward *forward, struct client *client)
{
    if (!client->is_closing || client->is_armed || client->is_sending) {
        return; /* W3 */
    }
    detach(forward, client); /* only now: what was under way is in the feed's buffers */
    for (uint32_t i = 0; i < client->held_count; i++) {
        pool_unref(&forward->pool, client->held[i].buffer);
    }
    list_remove(&client->ready);
    list_remove(&client->starved);
    struct io_uring_sqe *sqe = submission(forward);
    io_uring_prep_close(sqe, client->fd);
    sqe->user_data = WORK_NONE;
    if (client->iov != &client->first) {
        free(client->iov);
    }
    free(client->held);
    free(client);
}

void client_close(struct forward *forward, struct client *client)
{
    client->is_closing = true;
    if (client->is_armed || client->is_sending) {
        shutdown(client->fd, SHUT_RDWR); /* both come back */
    }
    client_end(forward, client);
}

/* ---- sending */

static void start_send(struct forward *forward, struct client *client)
{
    struct io_uring_sqe *sqe = submission(forward);
    if (client->iov_count == 1) {
        io_uring_prep_send(sqe, client->fd, client->iov->iov_base, client->iov->iov_len,
                           MSG_NOSIGNAL | MSG_WAITALL);
    } else {
        client->message = (struct msghdr){.msg_iov = client->iov, .msg_iovlen = client->iov_count};
        io_uring_prep_sendmsg(sqe, client->fd, &client->message, MSG_NOSIGNAL | MSG_WAITALL);
    }
    set_work(sqe, client, WORK_SEND);
    forward->totals.sends++;
}

/* All that the reader has not had, as far as one send takes it. */
static void gather_spans(struct client *client)
{
    const struct feed *feed = client->feed;
    uint64_t count = feed->tail - client->next;
    count = count > IOV_MAX_OURS ? IOV_MAX_OURS : count;
    if (count > 1 && count > client->iov_size) {
        struct iovec *old = client->iov == &client->first ? NULL : client->iov;
        client->iov = grown(old, &client->iov_size, (uint32_t)count, sizeof(client->iov[0]));
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct span *span = feed_span(feed, client->next + i);
        client->iov[i] = (struct iovec){(void *)(uintptr_t)span->data, span->bytes};
    }
    client->iov_count = (uint32_t)count;
    client->flying = client->next + count;
}

static void send_next(struct forward *forward, struct client *client)
{
    struct feed *feed = client->is_attached && client->role == ROLE_READER ? client->feed : NULL;
    if (client->is_closing) {
        return;
    }
    bool has_spans = feed != NULL && client->next < feed->tail;
    if (client->reply_count > 0 && (!has_spans || feed_span(feed, client->next)->begins_frame)) {
        client->reply_flying = client->reply_count; /* W2 */
        client->iov[0] = (struct iovec){client->reply, client->reply_count};
        client->iov_count = 1;
    } else if (has_spans) {
        gather_spans(client);
        feed->sealed = feed->tail;
    } else {
        return;
    }
    client->is_sending = true;
    forward->sending_count++;
    start_send(forward, client);
}

/* A short send goes on where it ended; true when nothing is left. */
static bool send_advance(struct client *client, size_t count)
{
    uint32_t done = 0;
    while (done < client->iov_count && count >= client->iov[done].iov_len) {
        count -= client->iov[done++].iov_len;
    }
    client->iov_count -= done;
    memmove(client->iov, client->iov + done, client->iov_count * sizeof(client->iov[0]));
    if (client->iov_count > 0) {
        client->iov[0].iov_base = (uint8_t *)client->iov[0].iov_base + count;
        client->iov[0].iov_len -= count;
    }
    return client->iov_count == 0;
}

static void on_sent(struct forward *forward, struct client *client, int32_t result)
{
    if (result > 0 && !client->is_closing && !send_advance(client, (size_t)result)) {
        start_send(forward, client);
        return;
    }
    client->is_sending = false;
    forward->sending_count--;
    if (result <= 0 || client->is_closing) {
        client_close(forward, client);
        return;
    }
    if (client->reply_flying > 0) {
        client->reply_count -= client->reply_flying;
        memmove(client->reply, client->reply + client->reply_flying, client->reply_count);
        client->reply_flying = 0;
    } else {
        feed_pass(client->feed, &forward->pool, client->next, client->flying);
        client->next = client->flying;
        resume(forward, client->feed);
    }
    if (client->reply_count > 0 || (client->is_attached && client->next < client->feed->tail)) {
        mark_ready(forward, client);
    }
}

void reply(struct forward *forward, struct client *client, const uint8_t *data, uint32_t count)
{
    if (client->reply_count + count > REPLY_BYTES) {
        complain(forward, client, "asks much and reads nothing");
        client->is_closing = true;
        return;
    }
    memcpy(client->reply + client->reply_count, data, count);
    client->reply_count += count;
    mark_ready(forward, client);
}

/* ---- turns */

static void arm_accept(struct forward *forward)
{
    struct io_uring_sqe *sqe = submission(forward);
    io_uring_prep_multishot_accept(sqe, forward->options->listener, NULL, NULL, SOCK_CLOEXEC);
    set_work(sqe, NULL, WORK_ACCEPT);
}

static void on_accepted(struct forward *forward, int32_t result, uint32_t flags)
{
    if (result < 0) {
        fprintf(stderr, "tern-limit: accept: %s%s\n", strerror(-result),
                result == -EMFILE ? ": raise the limit of open files with 'ulimit -n'" : "");
        forward->is_broken = true;
        return;
    }
    if ((flags & IORING_CQE_F_MORE) == 0) {
        arm_accept(forward);
    }
    struct client *client = calloc(1, sizeof(*client));
    ASSERT(client != NULL);
    client->fd = result;
    client->iov = &client->first;
    list_init(&client->ready);
    list_init(&client->starved);
    forward->totals.accepts++;
    arm(forward, client);
}

static void dispatch(struct forward *forward, const struct io_uring_cqe *cqe)
{
    struct client *client = (struct client *)(uintptr_t)(cqe->user_data & ~(uint64_t)WORK_MASK);
    switch ((enum work)(cqe->user_data & WORK_MASK)) {
    case WORK_RECEIVE:
        on_received(forward, client, cqe);
        return;
    case WORK_SEND:
        on_sent(forward, client, cqe->res);
        return;
    case WORK_ACCEPT:
        on_accepted(forward, cqe->res, cqe->flags);
        return;
    case WORK_SIGNAL:
        forward->is_ending = true;
        return;
    case WORK_NONE:
    case WORK_MASK:
        return;
    }
}

/* Whoever waits for buffers gets another chance when there are some. */
static void feed_the_starved(struct forward *forward)
{
    if (list_is_empty(&forward->starved)) {
        return;
    }
    if (forward->pool.given_count == 0) {
        if (forward->sending_count == 0) { /* and nothing will bring one back */
            fprintf(stderr, "tern-limit: all memory is taken by messages of which only a part has "
                            "come: give more with --memory\n");
            forward->is_broken = true;
        }
        return;
    }
    struct list *link;
    while ((link = list_pop_front(&forward->starved)) != NULL) {
        arm(forward, CONTAINER_OF(link, struct client, starved));
    }
}

static void end_turn(struct forward *forward)
{
    for (uint32_t i = 0; i < forward->dirty_count; i++) {
        struct feed *feed = forward->dirty[i];
        feed->is_dirty = false;
        for (uint32_t k = 0; k < feed->readers.count; k++) {
            mark_ready(forward, feed->readers.clients[k]);
        }
        if (feed_is_full(feed)) {
            pause_writers(forward, feed);
        }
    }
    forward->dirty_count = 0;
    struct list *link;
    while ((link = list_pop_front(&forward->ready)) != NULL) {
        send_next(forward, CONTAINER_OF(link, struct client, ready));
    }
    pool_top_up(&forward->pool);
    feed_the_starved(forward);
}

static void turn(struct forward *forward)
{
    struct io_uring_cqe *cqe;
    unsigned head, count = 0;

    int rc = io_uring_submit_and_wait(&forward->ring, 1);
    if (rc < 0 && rc != -EINTR && rc != -EBUSY && rc != -EAGAIN) {
        fprintf(stderr, "tern-limit: io_uring_enter: %s\n", strerror(-rc));
        forward->is_broken = true;
        return;
    }
    io_uring_for_each_cqe(&forward->ring, head, cqe)
    {
        dispatch(forward, cqe);
        count++;
    }
    io_uring_cq_advance(&forward->ring, count);
    end_turn(forward);
    forward->totals.turns++;
}

static int start(struct forward *forward)
{
    struct io_uring_params params = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL |
                 IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE,
        .cq_entries = COMPLETION_ENTRIES,
    };
    int rc = io_uring_queue_init_params(RING_ENTRIES, &forward->ring, &params);
    if (rc < 0) {
        return rc;
    }
    io_uring_register_ring_fd(&forward->ring); /* saves a look-up per turn; without, it works too */
    rc = pool_init(&forward->pool, &forward->ring, forward->options->buffer_count);
    if (rc < 0) {
        return rc;
    }
    arm_accept(forward);
    struct io_uring_sqe *sqe = submission(forward);
    io_uring_prep_poll_add(sqe, forward->options->signals, POLLIN);
    set_work(sqe, NULL, WORK_SIGNAL);
    return 0;
}

bool forward_run(const struct forward_options *options, struct forward_totals *out)
{
    static struct forward forward;
    forward.options = options;
    list_init(&forward.ready);
    list_init(&forward.starved);
    int rc = start(&forward);
    if (rc < 0) {
        fprintf(stderr,
                "tern-limit: io_uring (Linux 6.1 or later, allowed to this process) is "
                "needed: %s\n",
                strerror(-rc));
        return false;
    }
    while (!forward.is_ending && !forward.is_broken) {
        turn(&forward);
    }
    *out = forward.totals;
    return !forward.is_broken;
}
