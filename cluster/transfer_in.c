/*
 *     QUEUED ──> OPENING ──HEAD──> FETCHING ──last chunk taken──> ENDING ──> gone
 *                   ^                  │
 *                   └──── WAITING <────┘ GONE, refused; a while later
 *
 * Invariants
 *   R1  the sink does one thing at a time for a partition (is_busy). What happens meanwhile is looked at
 *       when it answers: must_restart, is_cancelled.
 *   R2  chunks that have come and are not taken follow each other: taken, taken + 1, ..., arrived - 1. Nothing
 *       is asked for beyond taken + window.
 */
#include "cluster/transfer_in.h"

#include "core/base/assert.h"
#include "core/base/log.h"
#include "storage/store.h"

#include <stdlib.h>

enum {
    FETCH_MAX = 2,
    WINDOW = 4,
    WINDOW_MAX = IMAGE_BACK_MAX / 2,
    ANSWER_MS = 3000,
    RETRY_MS = 1000
};

enum state { NONE, QUEUED, OPENING, FETCHING, ENDING, WAITING };

struct fetch {
    enum state state;
    bool is_busy, must_restart, is_cancelled; /* R1 */
    uint64_t peer, index;                     /* what was asked for */
    uint64_t due_ms;                          /* when something is to be asked again */
    struct image_head head;
    struct consensus_members members;
    uint32_t taken, arrived,
        asked;                     /* numbers: the next one to be taken, to come, to be asked for */
    uint32_t end;                  /* how many there are; UINT32_MAX: not known yet */
    bool has_begun;                /* the sink is ready for chunks */
    struct buf chunks[WINDOW_MAX]; /* of number n: n % WINDOW_MAX */
};

struct transfer_in {
    struct transfer_in_config config;
    struct buf bytes;
    struct fetch fetches[STORE_PARTITIONS];
};

static void step(struct transfer_in *self, uint64_t now_ms, uint32_t partition);

enum err transfer_in_new(const struct transfer_in_config *config, struct transfer_in **out)
{
    struct transfer_in *self = calloc(1, sizeof(*self));
    if (self == NULL) {
        return ERR_NOMEM;
    }
    self->config = *config;
    struct transfer_in_config *own = &self->config;
    own->fetch_max = own->fetch_max == 0 ? FETCH_MAX : own->fetch_max;
    own->window = own->window == 0 ? WINDOW : own->window;
    own->window = own->window > WINDOW_MAX ? WINDOW_MAX : own->window;
    own->answer_ms = own->answer_ms == 0 ? ANSWER_MS : own->answer_ms;
    own->retry_ms = own->retry_ms == 0 ? RETRY_MS : own->retry_ms;
    *out = self;
    return OK;
}

static void forget_chunks(struct fetch *fetch)
{
    for (uint32_t i = 0; i < WINDOW_MAX; i++) {
        buf_deinit(&fetch->chunks[i]);
    }
}

void transfer_in_free(struct transfer_in *self)
{
    if (self == NULL) {
        return;
    }
    for (uint32_t i = 0; i < STORE_PARTITIONS; i++) {
        forget_chunks(&self->fetches[i]);
    }
    buf_deinit(&self->bytes);
    free(self);
}

/* ---- said to peers -------------------------------------------------------------------------------- */

static void say(struct transfer_in *self, uint64_t peer, const struct transfer_msg *msg)
{
    const struct transfer_in_host *host = self->config.host;
    buf_consume(&self->bytes, buf_count(&self->bytes));
    if (transfer_msg_encode(msg, &self->bytes) == OK) { /* else it is as if it got lost */
        host->send(host->context, peer, msg->head.partition, buf_bytes(&self->bytes));
    }
}

static void ask_open(struct transfer_in *self, uint64_t now_ms, uint32_t partition)
{
    struct fetch *fetch = &self->fetches[partition];
    const struct transfer_msg open = {.kind = TRANSFER_OPEN,
                                      .head = {.partition = partition, .index = fetch->index}};
    fetch->state = OPENING;
    fetch->due_ms = now_ms + self->config.answer_ms;
    say(self, fetch->peer, &open);
}

static void say_done(struct transfer_in *self, uint32_t partition)
{
    const struct fetch *fetch = &self->fetches[partition];
    const struct transfer_msg done = {.kind = TRANSFER_DONE,
                                      .head = {.id = fetch->head.id, .partition = partition}};
    if (fetch->head.id != 0) {
        say(self, fetch->peer, &done);
    }
}

/* R2 */
static void ask_more(struct transfer_in *self, uint64_t now_ms, uint32_t partition)
{
    struct fetch *fetch = &self->fetches[partition];
    while (fetch->asked < fetch->end && fetch->asked < fetch->taken + self->config.window) {
        const struct transfer_msg ask = {.kind = TRANSFER_ASK,
                                         .head = {.id = fetch->head.id, .partition = partition},
                                         .number = fetch->asked++};
        fetch->due_ms = now_ms + self->config.answer_ms;
        say(self, fetch->peer, &ask);
    }
}

/* ---- begun, begun again, ended ---------------------------------------------------------------------- */

static uint32_t active_count(const struct transfer_in *self)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < STORE_PARTITIONS; i++) {
        count += self->fetches[i].state > QUEUED;
    }
    return count;
}

/* Those who wait for their turn. */
static void start_queued(struct transfer_in *self, uint64_t now_ms)
{
    for (uint32_t i = 0; i < STORE_PARTITIONS && active_count(self) < self->config.fetch_max; i++) {
        if (self->fetches[i].state == QUEUED) {
            ask_open(self, now_ms, i);
        }
    }
}

static void finish(struct transfer_in *self, uint64_t now_ms, uint32_t partition)
{
    struct fetch *fetch = &self->fetches[partition];
    ASSERT(!fetch->is_busy);
    forget_chunks(fetch);
    *fetch = (struct fetch){.state = NONE};
    start_queued(self, now_ms);
}

/* From OPEN on, a while later: whoever is to answer may have to find itself first. */
static void restart(struct transfer_in *self, uint64_t now_ms, uint32_t partition, uint64_t wait_ms)
{
    struct fetch *fetch = &self->fetches[partition];
    forget_chunks(fetch);
    fetch->head = (struct image_head){.id = 0};
    fetch->must_restart = fetch->has_begun = false;
    if (fetch->is_busy) {
        fetch->must_restart = true; /* R1 */
        return;
    }
    fetch->state = WAITING;
    fetch->due_ms = now_ms + wait_ms;
    if (wait_ms == 0) {
        ask_open(self, now_ms, partition);
    }
}

void transfer_in_fetch(struct transfer_in *self, uint64_t now_ms, uint32_t partition, uint64_t peer,
                       uint64_t index)
{
    struct fetch *fetch = &self->fetches[partition];
    ASSERT(partition < STORE_PARTITIONS);
    bool is_known = fetch->state != NONE && !fetch->is_cancelled;
    bool is_same = is_known && fetch->peer == peer &&
                   (fetch->index >= index || fetch->head.index >= index);
    if (is_same || (is_known && fetch->state == ENDING && fetch->head.index >= index)) {
        return;
    }
    bool was_begun = fetch->state > QUEUED;
    if (was_begun && fetch->state != ENDING) {
        say_done(self, partition);
    }
    fetch->peer = peer;
    fetch->index = index;
    fetch->is_cancelled = false;
    if (was_begun) {
        restart(self, now_ms, partition, 0);
        return;
    }
    fetch->state = QUEUED;
    start_queued(self, now_ms);
}

void transfer_in_cancel(struct transfer_in *self, uint64_t now_ms, uint32_t partition)
{
    struct fetch *fetch = &self->fetches[partition];
    if (fetch->state == NONE) {
        return;
    }
    say_done(self, partition);
    if (fetch->is_busy) {
        fetch->is_cancelled = true; /* R1 */
        return;
    }
    finish(self, now_ms, partition);
}

bool transfer_in_is_fetching(const struct transfer_in *self, uint32_t partition)
{
    return self->fetches[partition].state != NONE && !self->fetches[partition].is_cancelled;
}

/* ---- what peers say ----------------------------------------------------------------------------------- */

static void on_head(struct transfer_in *self, uint64_t now_ms, const struct transfer_msg *msg)
{
    const struct transfer_in_host *host = self->config.host;
    const struct transfer_sink *sink = self->config.sink;
    uint32_t partition = msg->head.partition;
    struct fetch *fetch = &self->fetches[partition];
    if (fetch->state != OPENING) {
        return; /* asked twice, answered twice */
    }
    ASSERT(!fetch->is_busy);
    if (msg->head.index < fetch->index ||
        !host->accepts(host->context, partition, &msg->head, &msg->members)) {
        restart(self, now_ms, partition, self->config.retry_ms);
        return;
    }
    fetch->state = FETCHING;
    fetch->head = msg->head;
    fetch->members = msg->members;
    fetch->taken = fetch->arrived = fetch->asked = 0;
    fetch->end = UINT32_MAX;
    fetch->has_begun = false;
    fetch->is_busy = true;
    sink->begin(sink->context, partition, &fetch->head);
}

static void on_chunk(struct transfer_in *self, uint64_t now_ms, const struct transfer_msg *msg)
{
    uint32_t partition = msg->head.partition;
    struct fetch *fetch = &self->fetches[partition];
    if (fetch->state != FETCHING || fetch->must_restart || msg->head.id != fetch->head.id ||
        msg->number != fetch->arrived || fetch->arrived >= fetch->taken + self->config.window) {
        return; /* of before, or twice */
    }
    struct buf *chunk = &fetch->chunks[msg->number % WINDOW_MAX];
    buf_consume(chunk, buf_count(chunk));
    if (buf_append(chunk, msg->data) != OK) {
        return; /* as if it got lost */
    }
    fetch->arrived++;
    fetch->end = msg->is_last ? fetch->arrived : fetch->end;
    fetch->due_ms = now_ms + self->config.answer_ms;
    step(self, now_ms, partition);
}

static void on_gone(struct transfer_in *self, uint64_t now_ms, const struct transfer_msg *msg)
{
    const struct fetch *fetch = &self->fetches[msg->head.partition];
    bool is_ours = fetch->state == OPENING ||
                   (fetch->state == FETCHING && msg->head.id == fetch->head.id);
    bool is_needed = fetch->state != FETCHING || fetch->arrived < fetch->end;
    if (is_ours && is_needed && !fetch->is_cancelled) {
        restart(self, now_ms, msg->head.partition, self->config.retry_ms);
    }
}

void transfer_in_receive(struct transfer_in *self, uint64_t now_ms, uint64_t peer,
                         const struct transfer_msg *msg)
{
    if (self->fetches[msg->head.partition].peer != peer) {
        return;
    }
    switch (msg->kind) {
    case TRANSFER_HEAD:
        on_head(self, now_ms, msg);
        break;
    case TRANSFER_CHUNK:
        on_chunk(self, now_ms, msg);
        break;
    case TRANSFER_GONE:
        on_gone(self, now_ms, msg);
        break;
    case TRANSFER_OPEN:
    case TRANSFER_ASK:
    case TRANSFER_DONE:
    case TRANSFER_KIND_END:
        break; /* for who sends */
    }
}

/* ---- what the sink says --------------------------------------------------------------------------------- */

static void installed(struct transfer_in *self, uint64_t now_ms, uint32_t partition)
{
    const struct transfer_in_host *host = self->config.host;
    struct image_head head = self->fetches[partition].head;
    struct consensus_members members = self->fetches[partition].members;
    say_done(self, partition);
    finish(self, now_ms, partition);
    host->installed(host->context, partition, &head, &members);
}

static void give_up(struct transfer_in *self, uint64_t now_ms, uint32_t partition, enum err err)
{
    const struct transfer_in_host *host = self->config.host;
    say_done(self, partition);
    finish(self, now_ms, partition);
    host->failed(host->context, partition, err);
}

/* Whatever there is to do for one that the sink does nothing for. */
static void step(struct transfer_in *self, uint64_t now_ms, uint32_t partition)
{
    const struct transfer_sink *sink = self->config.sink;
    struct fetch *fetch = &self->fetches[partition];
    if (fetch->is_busy || fetch->state != FETCHING || !fetch->has_begun) {
        return;
    }
    ask_more(self, now_ms, partition);
    if (fetch->taken < fetch->arrived) {
        fetch->is_busy = true;
        sink->take(sink->context, partition, buf_bytes(&fetch->chunks[fetch->taken % WINDOW_MAX]));
    } else if (fetch->taken == fetch->end) {
        fetch->state = ENDING;
        fetch->is_busy = true;
        sink->end(sink->context, partition);
    } /* nothing after that: it may have answered */
}

static void refused(struct transfer_in *self, uint64_t now_ms, uint32_t partition, enum err err)
{
    if (err != ERR_CORRUPT && err != ERR_NOMEM) {
        give_up(self, now_ms, partition, err);
        return;
    }
    log_event(LOG_WARNING, "the image of a partition is refused, and asked for again",
              LOG_U64("partition", partition), LOG_TEXT("error", err_text(err)));
    say_done(self, partition);
    restart(self, now_ms, partition, self->config.retry_ms);
}

void transfer_in_done(struct transfer_in *self, uint64_t now_ms, uint32_t partition, enum err err)
{
    struct fetch *fetch = &self->fetches[partition];
    ASSERT(partition < STORE_PARTITIONS && fetch->is_busy);
    fetch->is_busy = false;
    if (fetch->is_cancelled) {
        finish(self, now_ms, partition);
    } else if (fetch->must_restart) {
        restart(self, now_ms, partition, 0);
    } else if (err != OK) {
        refused(self, now_ms, partition, err);
    } else if (fetch->state == ENDING) {
        installed(self, now_ms, partition);
    } else {
        fetch->taken += fetch->has_begun;
        fetch->has_begun = true;
        step(self, now_ms, partition);
    }
}

/* ---- in time ---------------------------------------------------------------------------------------------- */

/* Is somebody to answer? Not while all that was asked for is here. */
static bool is_asking(const struct fetch *fetch)
{
    return fetch->state == OPENING || fetch->state == WAITING ||
           (fetch->state == FETCHING && !fetch->must_restart && fetch->has_begun &&
            fetch->arrived < fetch->asked && fetch->arrived < fetch->end);
}

static void ask_again(struct transfer_in *self, uint64_t now_ms, uint32_t partition)
{
    struct fetch *fetch = &self->fetches[partition];
    if (fetch->state == FETCHING) {
        fetch->asked = fetch->arrived;
        ask_more(self, now_ms, partition);
    } else {
        ask_open(self, now_ms, partition);
    }
}

void transfer_in_up(struct transfer_in *self, uint64_t now_ms, uint64_t peer)
{
    for (uint32_t i = 0; i < STORE_PARTITIONS; i++) {
        if (self->fetches[i].peer == peer && is_asking(&self->fetches[i])) {
            ask_again(self, now_ms, i);
        }
    }
}

uint64_t transfer_in_wake_ms(const struct transfer_in *self)
{
    uint64_t wake_ms = UINT64_MAX;
    for (uint32_t i = 0; i < STORE_PARTITIONS; i++) {
        const struct fetch *fetch = &self->fetches[i];
        if (is_asking(fetch) && fetch->due_ms < wake_ms) {
            wake_ms = fetch->due_ms;
        }
    }
    return wake_ms;
}

void transfer_in_turn(struct transfer_in *self, uint64_t now_ms)
{
    for (uint32_t i = 0; i < STORE_PARTITIONS; i++) {
        if (is_asking(&self->fetches[i]) && self->fetches[i].due_ms <= now_ms) {
            ask_again(self, now_ms, i);
        }
    }
}
