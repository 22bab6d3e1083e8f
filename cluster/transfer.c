#include "cluster/transfer.h"

#include "core/base/assert.h"
#include "core/base/list.h"
#include "storage/machine.h"

#include <stdlib.h>

enum { OPEN_MAX = 2, NS_PER_MS = 1000000 };

/* One image that is sent: what the lane does for it. */
struct reading {
    struct image_work work;
    struct transfer *transfer;
    uint32_t partition, number;
    uint64_t id;
    struct image_out *image;
    struct buf chunk;
    bool is_last;
};

/* An image that nobody wants any more: with it go files and buffers of its moment, which may take a while. */
struct closing {
    struct image_work work;
    struct image_out *image;
};

/* One partition that is replaced. */
struct placing {
    struct transfer *transfer;
    struct install *install; /* NULL: none */
    uint32_t partition;
};

struct transfer {
    struct transfer_config config;
    uint64_t now_ms; /* of the call */
    struct transfer_source source;
    struct transfer_sink sink;
    struct transfer_out_host out_host;
    struct transfer_in_host in_host;
    struct transfer_out *out;
    struct transfer_in *in;
    struct lane_desk desk; /* on the image lane, of those who read */
    struct placing placings[STORE_PARTITIONS];
    struct reading readings[];
};

/* ---- out: read in the lane -------------------------------------------------------------------------- */

static struct reading *reading_of(struct image_work *work)
{
    return CONTAINER_OF(work, struct reading, work);
}

static struct reading *reading_of_job(struct job *job)
{
    return reading_of(CONTAINER_OF(job, struct image_work, job));
}

static enum err work_open(struct image_work *work)
{
    struct reading *reading = reading_of(work);
    return image_out_open(store_state(reading->transfer->config.store), reading->partition,
                          reading->id, &reading->image);
}

static enum err work_read(struct image_work *work)
{
    struct reading *reading = reading_of(work);
    return image_out_chunk(reading->image, reading->number, &reading->chunk, &reading->is_last);
}

static void on_opened(struct job *job, enum err err)
{
    struct reading *reading = reading_of_job(job);
    struct transfer *self = reading->transfer;
    struct image_head head = {.id = 0};
    if (err == OK) {
        head = image_out_head(reading->image);
    }
    transfer_out_opened(self->out, self->now_ms, (uint32_t)(reading - self->readings), err, &head);
}

static void on_read(struct job *job, enum err err)
{
    struct reading *reading = reading_of_job(job);
    struct transfer *self = reading->transfer;
    struct buf chunk = reading->chunk; /* the next one may be asked for in the call */
    reading->chunk = (struct buf){0};
    transfer_out_read(self->out, self->now_ms, (uint32_t)(reading - self->readings), err,
                      buf_bytes(&chunk), reading->is_last);
    buf_deinit(&chunk);
}

static void submit(struct reading *reading, enum err (*work)(struct image_work *work),
                   void (*done)(struct job *job, enum err err))
{
    reading->work = (struct image_work){.job.done = done, .work = work};
    image_lane_submit(&reading->transfer->desk, &reading->work);
}

static void source_open(void *context, uint32_t place, uint32_t partition, uint64_t id)
{
    struct reading *reading = &((struct transfer *)context)->readings[place];
    ASSERT(reading->image == NULL);
    reading->partition = partition;
    reading->id = id;
    submit(reading, work_open, on_opened);
}

static void source_read(void *context, uint32_t place, uint32_t number)
{
    struct reading *reading = &((struct transfer *)context)->readings[place];
    reading->number = number;
    submit(reading, work_read, on_read);
}

static enum err work_close(struct image_work *work)
{
    image_out_close(CONTAINER_OF(work, struct closing, work)->image);
    return OK;
}

static void on_closed(struct job *job, enum err err)
{
    (void)err;
    free(CONTAINER_OF(CONTAINER_OF(job, struct image_work, job), struct closing, work));
}

static void source_close(void *context, uint32_t place)
{
    struct transfer *self = context;
    struct image_out *image = self->readings[place].image;
    struct closing *closing = malloc(sizeof(*closing));
    self->readings[place].image = NULL;
    if (closing == NULL || self->desk.lane == NULL) {
        free(closing);
        image_out_close(image);
        return;
    }
    *closing = (struct closing){.work = {.job.done = on_closed, .work = work_close},
                                .image = image};
    image_lane_submit(&self->desk, &closing->work);
}

/* ---- in: installed by the lanes ----------------------------------------------------------------------- */

static void on_step(void *context, enum err err)
{
    struct placing *placing = context;
    struct transfer *self = placing->transfer;
    transfer_in_done(self->in, self->now_ms, placing->partition, err);
}

static void sink_begin(void *context, uint32_t partition, const struct image_head *head)
{
    struct transfer *self = context;
    struct placing *placing = &self->placings[partition];
    const struct install_config config = {.store = self->config.store,
                                          .image_lane = self->config.image_lane,
                                          .io = self->config.io,
                                          .done = on_step,
                                          .context = placing};
    if (placing->install == NULL) {
        enum err err = install_new(&config, &placing->install);
        if (err != OK) {
            transfer_in_done(self->in, self->now_ms, partition, err);
            return;
        }
    }
    install_begin(placing->install, head);
}

static void sink_take(void *context, uint32_t partition, struct slice chunk)
{
    install_chunk(((struct transfer *)context)->placings[partition].install, chunk);
}

static void sink_end(void *context, uint32_t partition)
{
    struct transfer *self = context;
    struct install *install = self->placings[partition].install;
    if (!install_is_whole(install)) { /* the sender called last what was not */
        transfer_in_done(self->in, self->now_ms, partition, ERR_CORRUPT);
        return;
    }
    install_end(install);
}

static void on_installed(void *context, uint32_t partition, const struct image_head *head,
                         const struct consensus_members *members)
{
    struct transfer *self = context;
    const struct transfer_host *host = self->config.host;
    struct machine *machine = install_take_machine(self->placings[partition].install);
    host->installed(host->context, partition, head, members, machine);
}

/* Nobody fetches it any more. Not while it calls back: in a turn. */
static void placings_sweep(struct transfer *self)
{
    for (uint32_t i = 0; i < STORE_PARTITIONS; i++) {
        struct placing *placing = &self->placings[i];
        if (placing->install != NULL && !transfer_in_is_fetching(self->in, i) &&
            !install_is_busy(placing->install)) {
            install_free(placing->install);
            placing->install = NULL;
        }
    }
}

/* ---- what the two ask of the host ------------------------------------------------------------------------ */

static bool offers(void *context, uint32_t partition, uint64_t peer, uint64_t index)
{
    const struct transfer_host *host = ((struct transfer *)context)->config.host;
    return host->offers(host->context, partition, peer, index);
}

static bool members_at(void *context, uint32_t partition, uint64_t index,
                       struct consensus_members *out)
{
    const struct transfer_host *host = ((struct transfer *)context)->config.host;
    return host->members(host->context, partition, index, out);
}

static bool accepts(void *context, uint32_t partition, const struct image_head *head,
                    const struct consensus_members *members)
{
    const struct transfer_host *host = ((struct transfer *)context)->config.host;
    return host->accepts(host->context, partition, head, members);
}

static void failed(void *context, uint32_t partition, enum err err)
{
    const struct transfer_host *host = ((struct transfer *)context)->config.host;
    host->failed(host->context, partition, err);
}

static void send(void *context, uint64_t peer, uint32_t partition, struct slice message)
{
    const struct transfer_host *host = ((struct transfer *)context)->config.host;
    host->send(host->context, peer, partition, message);
}

/* ---- made, ended, told ------------------------------------------------------------------------------------- */

static enum err make_both(struct transfer *self)
{
    const struct transfer_out_config out = {.open_max = self->config.open_max,
                                            .bytes_per_s = self->config.bytes_per_s,
                                            .seed = self->config.seed,
                                            .source = &self->source,
                                            .host = &self->out_host};
    const struct transfer_in_config in = {
        .fetch_max = self->config.fetch_max, .sink = &self->sink, .host = &self->in_host};
    TRY(transfer_out_new(&out, &self->out));
    return transfer_in_new(&in, &self->in);
}

enum err transfer_new(const struct transfer_config *config, struct transfer **out)
{
    uint32_t open_max = config->open_max == 0 ? OPEN_MAX : config->open_max;
    struct transfer *self = calloc(1, sizeof(*self) + open_max * sizeof(self->readings[0]));
    if (self == NULL) {
        return ERR_NOMEM;
    }
    self->config = *config;
    self->config.open_max = open_max;
    self->source = (struct transfer_source){source_open, source_read, source_close, self};
    self->sink = (struct transfer_sink){sink_begin, sink_take, sink_end, self};
    self->out_host = (struct transfer_out_host){offers, members_at, send, self};
    self->in_host = (struct transfer_in_host){accepts, on_installed, failed, send, self};
    for (uint32_t i = 0; i < open_max; i++) {
        self->readings[i].transfer = self;
    }
    for (uint32_t i = 0; i < STORE_PARTITIONS; i++) {
        self->placings[i] = (struct placing){.transfer = self, .partition = i};
    }
    lane_desk_init(&self->desk, config->image_lane, config->io);
    enum err err = make_both(self);
    if (err != OK) {
        transfer_free(self);
        return err;
    }
    *out = self;
    return OK;
}

/* What was read is nobody's any more. */
static void on_left(struct job *job, enum err err)
{
    (void)job, (void)err;
}

void transfer_free(struct transfer *self)
{
    if (self == NULL) {
        return;
    }
    for (uint32_t i = 0; i < STORE_PARTITIONS; i++) {
        install_free(self->placings[i].install);
    }
    for (uint32_t i = 0; i < self->config.open_max; i++) {
        self->readings[i].work.job.done = on_left;
    }
    lane_desk_close(&self->desk);
    for (uint32_t i = 0; i < self->config.open_max; i++) {
        image_out_close(self->readings[i].image);
        self->readings[i].image = NULL;
        buf_deinit(&self->readings[i].chunk);
    }
    transfer_out_free(self->out);
    transfer_in_free(self->in);
    free(self);
}

enum err transfer_receive(struct transfer *self, uint64_t now_ms, uint64_t peer,
                          struct slice message)
{
    struct transfer_msg msg;
    self->now_ms = now_ms;
    TRY(transfer_msg_decode(message, &msg));
    transfer_out_receive(self->out, now_ms, peer, &msg);
    transfer_in_receive(self->in, now_ms, peer, &msg);
    return OK;
}

void transfer_up(struct transfer *self, uint64_t now_ms, uint64_t peer)
{
    self->now_ms = now_ms;
    transfer_in_up(self->in, now_ms, peer);
}

void transfer_fetch(struct transfer *self, uint64_t now_ms, uint32_t partition, uint64_t peer,
                    uint64_t index)
{
    self->now_ms = now_ms;
    transfer_in_fetch(self->in, now_ms, partition, peer, index);
}

void transfer_cancel(struct transfer *self, uint64_t now_ms, uint32_t partition)
{
    self->now_ms = now_ms;
    transfer_in_cancel(self->in, now_ms, partition);
}

bool transfer_is_fetching(const struct transfer *self, uint32_t partition)
{
    return transfer_in_is_fetching(self->in, partition);
}

void transfer_stop(struct transfer *self, uint32_t partition)
{
    transfer_out_stop(self->out, partition);
}

bool transfer_has_news(const struct transfer *self)
{
    bool has_news = lane_has_news(&self->desk);
    for (uint32_t i = 0; i < STORE_PARTITIONS && !has_news; i++) {
        const struct install *install = self->placings[i].install;
        has_news = install != NULL && install_has_news(install);
    }
    return has_news;
}

void transfer_turn(struct transfer *self, uint64_t now_ms)
{
    self->now_ms = now_ms;
    lane_collect(&self->desk);
    for (uint32_t i = 0; i < STORE_PARTITIONS; i++) {
        if (self->placings[i].install != NULL) {
            install_collect(self->placings[i].install);
            install_turn(self->placings[i].install, now_ms * NS_PER_MS);
        }
    }
    placings_sweep(self);
    transfer_out_turn(self->out, now_ms);
    transfer_in_turn(self->in, now_ms);
}

uint64_t transfer_wake_ms(const struct transfer *self)
{
    uint64_t out_ms = transfer_out_wake_ms(self->out), in_ms = transfer_in_wake_ms(self->in);
    uint64_t wake_ms = out_ms < in_ms ? out_ms : in_ms;
    for (uint32_t i = 0; i < STORE_PARTITIONS; i++) {
        const struct install *install = self->placings[i].install;
        uint64_t at_ns = install == NULL ? UINT64_MAX : install_wake_ns(install);
        if (at_ns != UINT64_MAX && at_ns / NS_PER_MS + 1 < wake_ms) {
            wake_ms = at_ns / NS_PER_MS + 1;
        }
    }
    return wake_ms;
}
