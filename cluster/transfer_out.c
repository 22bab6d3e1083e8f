/*
 *            OPEN              opened: HEAD           ASK
 *     FREE ────────> OPENING ──────────────> OPEN ────────> READING
 *      ^                │                     │ ^  CHUNK        │
 *      │                │ error: GONE         │ └───────────────┤
 *      └────────────────┴───── DONE, idle ────┘                 │
 *      └──────────────────────────────────── CLOSING <── DONE ──┘
 *
 * Invariants
 *   T1  the source is asked for one thing at a time for each place: in OPENING, READING, CLOSING.
 *   T2  budget is what may be sent now; a chunk may overdraw it, and then nobody is read before it is
 *       positive again.
 */
#include "cluster/transfer_out.h"

#include "core/base/assert.h"
#include "core/base/log.h"

#include <stdlib.h>

enum { OPEN_MAX = 2, IDLE_MS = 30000, ASKED_MAX = IMAGE_BACK_MAX };

enum state { FREE, OPENING, OPEN, READING, CLOSING };

struct place {
    enum state state;
    bool is_known_to_source; /* source.close is owed */
    uint64_t peer, heard_ms;
    uint64_t wanted_index;
    struct image_head head;
    struct consensus_members members;
    uint32_t asked[ASKED_MAX], asked_count; /* waiting, oldest first */
    uint32_t reading;                       /* number of the chunk that is being read */
    uint32_t last;                          /* of the last chunk; UINT32_MAX: not known yet */
};

struct transfer_out {
    struct transfer_out_config config;
    struct rng rng;
    int64_t budget; /* T2; of bytes */
    uint64_t budget_ms;
    uint32_t turn; /* whose place is looked at first */
    struct buf bytes;
    struct place places[];
};

static void pump(struct transfer_out *self, uint64_t now_ms);

enum err transfer_out_new(const struct transfer_out_config *config, struct transfer_out **out)
{
    uint32_t open_max = config->open_max == 0 ? OPEN_MAX : config->open_max;
    struct transfer_out *self = calloc(1, sizeof(*self) + open_max * sizeof(self->places[0]));
    if (self == NULL) {
        return ERR_NOMEM;
    }
    self->config = *config;
    self->config.open_max = open_max;
    self->config.idle_ms = config->idle_ms == 0 ? IDLE_MS : config->idle_ms;
    self->budget = (int64_t)config->bytes_per_s;
    rng_init(&self->rng, config->seed);
    *out = self;
    return OK;
}

static void place_free(struct transfer_out *self, struct place *place)
{
    const struct transfer_source *source = self->config.source;
    if (place->is_known_to_source) {
        source->close(source->context, (uint32_t)(place - self->places));
    }
    *place = (struct place){.state = FREE};
}

void transfer_out_free(struct transfer_out *self)
{
    if (self == NULL) {
        return;
    }
    for (uint32_t i = 0; i < self->config.open_max; i++) {
        place_free(self, &self->places[i]);
    }
    buf_deinit(&self->bytes);
    free(self);
}

/* ---- said to peers ------------------------------------------------------------------------------ */

static void say(struct transfer_out *self, uint64_t peer, const struct transfer_msg *msg)
{
    const struct transfer_out_host *host = self->config.host;
    buf_consume(&self->bytes, buf_count(&self->bytes));
    if (transfer_msg_encode(msg, &self->bytes) == OK) { /* else it is as if it got lost */
        host->send(host->context, peer, msg->head.partition, buf_bytes(&self->bytes));
    }
}

static void say_gone(struct transfer_out *self, uint64_t peer, uint32_t partition, uint64_t id)
{
    const struct transfer_msg gone = {.kind = TRANSFER_GONE,
                                      .head = {.id = id, .partition = partition}};
    say(self, peer, &gone);
}

static void say_head(struct transfer_out *self, const struct place *place)
{
    const struct transfer_msg head = {
        .kind = TRANSFER_HEAD, .head = place->head, .members = place->members};
    say(self, place->peer, &head);
}

/* It is not to be had any more; what is under way is waited for. */
static void place_close(struct transfer_out *self, struct place *place)
{
    if (place->state == OPENING || place->state == READING) {
        place->state = CLOSING;
    } else if (place->state == OPEN) {
        place_free(self, place);
    }
}

/* ---- what peers say ------------------------------------------------------------------------------- */

static bool is_open(const struct place *place)
{
    return place->state != FREE && place->state != CLOSING;
}

static struct place *place_of(struct transfer_out *self, uint64_t peer, uint32_t partition)
{
    for (uint32_t i = 0; i < self->config.open_max; i++) {
        struct place *place = &self->places[i];
        if (is_open(place) && place->peer == peer && place->head.partition == partition) {
            return place;
        }
    }
    return NULL;
}

static struct place *place_free_one(struct transfer_out *self)
{
    for (uint32_t i = 0; i < self->config.open_max; i++) {
        if (self->places[i].state == FREE) {
            return &self->places[i];
        }
    }
    return NULL;
}

static uint64_t draw_id(struct transfer_out *self)
{
    uint64_t id = rng_u64(&self->rng);
    return id == 0 ? 1 : id;
}

static void on_open(struct transfer_out *self, uint64_t now_ms, uint64_t peer,
                    const struct transfer_msg *msg)
{
    const struct transfer_source *source = self->config.source;
    const struct transfer_out_host *host = self->config.host;
    uint32_t partition = msg->head.partition;
    struct place *place = place_of(self, peer, partition);
    bool may = host->offers(host->context, partition, peer, msg->head.index);

    if (place != NULL &&
        (!may || (place->state != OPENING && place->head.index < msg->head.index))) {
        place_close(self, place);
        place = NULL;
    }
    if (place != NULL) { /* it asks again: after a broken link, or as it begins anew */
        place->heard_ms = now_ms;
        if (place->state != OPENING) {
            place->asked_count = 0;
            say_head(self, place);
        }
        return;
    }
    place = may ? place_free_one(self) : NULL;
    if (place == NULL) {
        say_gone(self, peer, partition, 0);
        return;
    }
    *place = (struct place){.state = OPENING,
                            .peer = peer,
                            .heard_ms = now_ms,
                            .wanted_index = msg->head.index,
                            .head = {.id = draw_id(self), .partition = partition},
                            .last = UINT32_MAX};
    source->open(source->context, (uint32_t)(place - self->places), partition, place->head.id);
}

static void on_ask(struct transfer_out *self, uint64_t now_ms, uint64_t peer,
                   const struct transfer_msg *msg)
{
    struct place *place = place_of(self, peer, msg->head.partition);
    if (place == NULL || place->state == OPENING || place->head.id != msg->head.id) {
        say_gone(self, peer, msg->head.partition, msg->head.id);
        return;
    }
    place->heard_ms = now_ms;
    if (msg->number > place->last || place->asked_count == ASKED_MAX) {
        return; /* a window that reaches beyond the end; or somebody who asks without end */
    }
    for (uint32_t i = 0; i < place->asked_count; i++) {
        if (place->asked[i] == msg->number) {
            return;
        }
    }
    place->asked[place->asked_count++] = msg->number;
    pump(self, now_ms);
}

void transfer_out_receive(struct transfer_out *self, uint64_t now_ms, uint64_t peer,
                          const struct transfer_msg *msg)
{
    struct place *place = place_of(self, peer, msg->head.partition);
    switch (msg->kind) {
    case TRANSFER_OPEN:
        on_open(self, now_ms, peer, msg);
        break;
    case TRANSFER_ASK:
        on_ask(self, now_ms, peer, msg);
        break;
    case TRANSFER_DONE:
        if (place != NULL && place->head.id == msg->head.id) {
            place_close(self, place);
        }
        break;
    case TRANSFER_HEAD:
    case TRANSFER_CHUNK:
    case TRANSFER_GONE:
    case TRANSFER_KIND_END:
        break; /* for who receives */
    }
}

void transfer_out_stop(struct transfer_out *self, uint32_t partition)
{
    for (uint32_t i = 0; i < self->config.open_max; i++) {
        struct place *place = &self->places[i];
        if (is_open(place) && place->head.partition == partition) {
            say_gone(self, place->peer, partition, place->state == OPENING ? 0 : place->head.id);
            place_close(self, place);
        }
    }
}

/* ---- what the source says --------------------------------------------------------------------------- */

void transfer_out_opened(struct transfer_out *self, uint64_t now_ms, uint32_t at, enum err err,
                         const struct image_head *head)
{
    const struct transfer_out_host *host = self->config.host;
    struct place *place = &self->places[at];
    ASSERT(at < self->config.open_max);
    ASSERT(place->state == OPENING || place->state == CLOSING);
    place->is_known_to_source = err == OK;
    if (place->state == CLOSING) {
        place_free(self, place);
        return;
    }
    if (err == OK &&
        (head->index < place->wanted_index ||
         !host->members(host->context, head->partition, head->index, &place->members))) {
        err = ERR_AGAIN; /* what was committed is not in the map yet */
    }
    if (err != OK) {
        if (err != ERR_AGAIN && err != ERR_NOT_FOUND) {
            log_event(LOG_ERROR, "an image of a partition cannot be read: look at the disk (dmesg)",
                      LOG_U64("partition", place->head.partition),
                      LOG_TEXT("error", err_text(err)));
        }
        say_gone(self, place->peer, place->head.partition, 0);
        place_free(self, place);
        return;
    }
    place->head = *head;
    place->state = OPEN;
    place->heard_ms = now_ms;
    say_head(self, place);
}

void transfer_out_read(struct transfer_out *self, uint64_t now_ms, uint32_t at, enum err err,
                       struct slice chunk, bool is_last)
{
    struct place *place = &self->places[at];
    ASSERT(at < self->config.open_max);
    ASSERT(place->state == READING || place->state == CLOSING);
    if (place->state == CLOSING) {
        place_free(self, place);
    } else if (err == OK) {
        place->state = OPEN;
        place->last = is_last ? place->reading : place->last;
        self->budget -= (int64_t)chunk.count;
        const struct transfer_msg msg = {.kind = TRANSFER_CHUNK,
                                         .head = {.id = place->head.id,
                                                  .partition = place->head.partition},
                                         .number = place->reading,
                                         .is_last = is_last,
                                         .data = chunk};
        say(self, place->peer, &msg);
    } else {
        if (err != ERR_RANGE) {
            log_event(LOG_ERROR, "an image of a partition cannot be read: look at the disk (dmesg)",
                      LOG_U64("partition", place->head.partition),
                      LOG_TEXT("error", err_text(err)));
        }
        say_gone(self, place->peer, place->head.partition, place->head.id);
        place_free(self, place);
    }
    pump(self, now_ms);
}

/* ---- in turn ------------------------------------------------------------------------------------------ */

static void budget_grow(struct transfer_out *self, uint64_t now_ms)
{
    int64_t most = (int64_t)self->config.bytes_per_s;
    uint64_t passed_ms = now_ms > self->budget_ms ? now_ms - self->budget_ms : 0;
    passed_ms = passed_ms > 1000 ? 1000 : passed_ms;
    int64_t grown = (int64_t)(self->config.bytes_per_s * passed_ms / 1000);
    if (grown > 0) { /* else the time goes on counting */
        self->budget_ms = now_ms;
        self->budget = self->budget + grown > most ? most : self->budget + grown;
    }
}

static bool has_budget(const struct transfer_out *self)
{
    return self->config.bytes_per_s == 0 || self->budget > 0;
}

static void read_next(struct transfer_out *self, struct place *place)
{
    const struct transfer_source *source = self->config.source;
    place->state = READING;
    place->reading = place->asked[0];
    place->asked_count--;
    memmove(place->asked, place->asked + 1, place->asked_count * sizeof(place->asked[0]));
    source->read(source->context, (uint32_t)(place - self->places), place->reading);
}

/* Whoever was asked and is not being read: one chunk of each in turn. */
static void pump(struct transfer_out *self, uint64_t now_ms)
{
    budget_grow(self, now_ms);
    for (uint32_t i = 0; i < self->config.open_max && has_budget(self); i++) {
        struct place *place = &self->places[(self->turn + i) % self->config.open_max];
        if (place->state == OPEN && place->asked_count > 0) {
            read_next(self, place);
        }
    }
    self->turn = (self->turn + 1) % self->config.open_max;
}

uint64_t transfer_out_wake_ms(const struct transfer_out *self)
{
    uint64_t wake_ms = UINT64_MAX;
    for (uint32_t i = 0; i < self->config.open_max; i++) {
        const struct place *place = &self->places[i];
        uint64_t at_ms = place->state == OPEN ? place->heard_ms + self->config.idle_ms : UINT64_MAX;
        if (place->state == OPEN && place->asked_count > 0) {
            uint64_t debt = has_budget(self) ? 0 : (uint64_t)-self->budget;
            at_ms = self->budget_ms + 1 + (debt == 0 ? 0 : debt * 1000 / self->config.bytes_per_s);
        }
        wake_ms = at_ms < wake_ms ? at_ms : wake_ms;
    }
    return wake_ms;
}

void transfer_out_turn(struct transfer_out *self, uint64_t now_ms)
{
    for (uint32_t i = 0; i < self->config.open_max; i++) {
        struct place *place = &self->places[i];
        if (place->state == OPEN && place->asked_count == 0 &&
            now_ms >= place->heard_ms + self->config.idle_ms) {
            place_close(self, place);
        }
    }
    pump(self, now_ms);
}

uint32_t transfer_out_count(const struct transfer_out *self)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < self->config.open_max; i++) {
        count += self->places[i].state != FREE;
    }
    return count;
}
