/*
 * A client of pub goes round: it waits for its moment in `due`, publishes, and waits for the next
 * one. It leaves the round where something holds it up, and comes back when that is over:
 *
 *               moment ──> publish ──> next moment ...
 *                 │
 *                 ├─ --inflight are under way: is_held, back with the next PUBACK or PUBCOMP
 *                 ├─ the broker does not read: again HELD_UP_NS later, the moment stays
 *                 └─ it is gone, or the limit is reached: never again
 *
 * Invariants
 *   I1  a worker stands in `due` at most once; of one that is gone the place is dropped when its
 *       moment comes.
 *   I2  open_count + pending_count + gone_count = started_count.
 */
#include "bench/command/classic.h"

#include "bench/command/classic_run.h"
#include "bench/command/run.h"
#include "core/base/assert.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    TURN_NS = 50 * 1000 * 1000,
    CONNECT_TURN_NS = 1000 * 1000,
    HELD_UP_NS = 1000 * 1000,
    UNSENT_BYTES_MAX = 1 << 20, /* a broker that leaves so much unread is not sent more */
    PUBLISH_TURN_MAX = 4096,    /* so many visits, then the sockets have their turn */
    EAGER_BURST = 16,           /* -I 0: so many messages of a client at once */
    PENDING_MAX = 1024,         /* connects under way, when nobody asked for a rate */
    COMPLAINTS_MAX = 5,
};

#define SECOND_NS   ((uint64_t)1000000000)
#define LATENCY_MAX (3600 * SECOND_NS) /* a stamp of longer ago is of another machine */

static void count_up(struct classic *run, enum classic_counter counter)
{
    run->lines.counts[counter]++;
}

static uint64_t ns_of_ms(double milliseconds)
{
    return (uint64_t)(milliseconds * 1e6);
}

/* ---- publishing ---------------------------------------------------------------------------- */

static bool is_limit_reached(const struct classic *run)
{
    return run->options->message_limit > 0 &&
           run->lines.counts[CLASSIC_pub] >= run->options->message_limit;
}

static void begin_publishing(struct worker *worker, uint64_t now_ns)
{
    struct classic *run = worker->run;
    double low = run->options->random_wait_low_ms, high = run->options->random_wait_high_ms;
    uint64_t span_ns = high > low ? ns_of_ms(high - low) : 0;
    worker->moment_ns = now_ns + ns_of_ms(low);
    if (span_ns > 0) {
        worker->moment_ns += rng_below(&run->rng, span_ns);
    }
    due_add(run->due, worker->index, worker->moment_ns);
}

/* One message; false: it could not leave now. */
static bool publish(struct worker *worker)
{
    struct classic *run = worker->run;
    const struct options *options = run->options;
    char text[TOPIC_BYTES];
    const char *topic = worker->topic;

    if (topic == NULL) {
        if (!classic_make_topic(worker, options->topic.items[0], text)) {
            count_up(run, CLASSIC_pub_fail);
            return false;
        }
        topic = text;
    }
    if (options->qos > 0 && load_credit(worker->client) == 0) {
        return false;
    }
    uint32_t number = (uint32_t)options->start_number + worker->index + 1;
    struct slice payload = payload_make(run->payload, number, worker->sequence, worker->moment_ns);
    uint8_t *room = payload.data == NULL
                        ? NULL
                        : load_publish(worker->client, slice_text(topic), (uint8_t)options->qos,
                                       options->retain, (uint32_t)payload.count);
    if (room == NULL) {
        count_up(run, CLASSIC_pub_fail);
        return false;
    }
    memcpy(room, payload.data, payload.count);
    worker->sequence++;
    worker->inflight += options->qos > 0 ? 1 : 0;
    count_up(run, CLASSIC_pub);
    return true;
}

/* Its moment has come. */
static void visit(struct worker *worker, uint64_t now_ns)
{
    struct classic *run = worker->run;
    const struct options *options = run->options;
    uint64_t interval_ns = ns_of_ms(options->publish_every_ms);

    for (uint32_t i = 0; i < (interval_ns == 0 ? EAGER_BURST : 1); i++) {
        if (is_limit_reached(run)) {
            return;
        }
        if (options->qos > 0 && options->inflight > 0 && worker->inflight >= options->inflight) {
            worker->is_held = true;
            return;
        }
        if (load_unsent_bytes(worker->client) > UNSENT_BYTES_MAX || !publish(worker)) {
            due_add(run->due, worker->index, now_ns + HELD_UP_NS);
            return;
        }
        worker->moment_ns = interval_ns == 0 ? now_ns + 1 : worker->moment_ns + interval_ns;
    }
    if (interval_ns > 0 && worker->moment_ns < now_ns) {
        count_up(run, CLASSIC_pub_overrun);
    }
    due_add(run->due, worker->index, worker->moment_ns);
}

static void publish_due(struct classic *run, uint64_t now_ns)
{
    uint64_t at_ns;
    for (uint32_t i = 0; i < PUBLISH_TURN_MAX && due_next_ns(run->due) <= now_ns; i++) {
        struct worker *worker = &run->workers[due_take(run->due, &at_ns)];
        if (worker->is_open) {
            visit(worker, now_ns);
        }
    }
}

/* ---- events -------------------------------------------------------------------------------- */

static void subscribe(struct worker *worker)
{
    struct classic *run = worker->run;
    const struct option_list *topics = &run->options->topic;
    char texts[OPTIONS_LIST_MAX][TOPIC_BYTES];
    struct mqtt_filter filters[OPTIONS_LIST_MAX] = {0};

    for (uint32_t i = 0; i < topics->count; i++) {
        bool is_made = classic_make_topic(worker, topics->items[i], texts[i]);
        ASSERT(is_made); /* classic_prepare() has tried */
        filters[i].filter = slice_text(texts[i]);
        filters[i].qos = (uint8_t)run->options->qos;
    }
    load_subscribe_many(worker->client, filters, topics->count);
}

static void on_opened(struct load_client *client)
{
    struct worker *worker = load_owner(client);
    struct classic *run = worker->run;
    uint64_t now_ns = load_clock_ns();

    worker->is_open = true;
    run->pending_count--;
    run->open_count++;
    count_up(run, CLASSIC_connect_succ);
    histogram_add(&run->lines.connect, now_ns - worker->begun_ns);
    if (run->options->command == COMMAND_SUB) {
        subscribe(worker);
    } else if (run->options->command == COMMAND_PUB && run->is_publishing) {
        begin_publishing(worker, now_ns);
    }
}

static void on_subscribed(struct load_client *client)
{
    struct worker *worker = load_owner(client);
    worker->is_subscribed = true;
    count_up(worker->run, CLASSIC_sub);
}

static void on_message(struct load_client *client, const struct mqtt_publish *message,
                       uint64_t received_ns)
{
    struct worker *worker = load_owner(client);
    struct classic *run = worker->run;
    struct payload_facts facts = payload_read(run->payload, message->payload, run->is_stamped);

    count_up(run, CLASSIC_recv);
    if (facts.has_stamp && facts.stamp_ns <= received_ns &&
        received_ns - facts.stamp_ns < LATENCY_MAX) {
        histogram_add(&run->lines.latency_second, received_ns - facts.stamp_ns);
    }
    if (facts.has_time) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        uint64_t now_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
        run->lines.headed_count++;
        run->lines.headed_ms += now_ms > facts.time_ms ? now_ms - facts.time_ms : 0;
    }
    if (facts.has_count) {
        if (worker->has_count && facts.count != worker->count_last + 1) {
            count_up(run, CLASSIC_cnt64_gap);
        }
        worker->has_count = true;
        worker->count_last = facts.count;
    }
}

static void on_finished(struct load_client *client)
{
    struct worker *worker = load_owner(client);
    struct classic *run = worker->run;
    count_up(run, CLASSIC_pub_succ);
    worker->inflight--;
    if (worker->is_held && worker->is_open) {
        worker->is_held = false;
        due_add(run->due, worker->index, worker->moment_ns);
    }
}

/* The first few by name; all of them are counted. */
static void complain(struct classic *run, const struct worker *worker,
                     const struct load_client *client, enum err why, uint8_t reason)
{
    char text[LOAD_TEXT_MAX];
    if (run->complaint_count++ < COMPLAINTS_MAX) {
        fprintf(stderr, "client(%u): %s\n",
                (uint32_t)run->options->start_number + worker->index + 1,
                load_explain_client(&run->config, client, why, reason, text));
    } else if (run->complaint_count == COMPLAINTS_MAX + 1) {
        fprintf(stderr, "tern-bench: more of them are counted and not shown\n");
    }
}

static void on_closed(struct load_client *client, enum err why, uint8_t reason)
{
    struct worker *worker = load_owner(client);
    struct classic *run = worker->run;

    worker->client = NULL;
    if (worker->is_open) {
        run->open_count--;
    } else {
        run->pending_count--;
    }
    run->gone_count++;
    if (why != OK) {
        bool is_refused = run->options->command == COMMAND_SUB && worker->is_open &&
                          !worker->is_subscribed;
        count_up(run, !worker->is_open ? CLASSIC_connect_fail
                      : is_refused     ? CLASSIC_sub_fail
                                       : CLASSIC_disconnected);
        complain(run, worker, client, why, reason);
    }
    worker->is_open = false;
}

static const struct load_events events = {
    .opened = on_opened,
    .subscribed = on_subscribed,
    .message = on_message,
    .finished = on_finished,
    .closed = on_closed,
};

/* ---- connecting ---------------------------------------------------------------------------- */

static double connects_per_second(const struct options *options)
{
    if (options->connect_rate > 0) {
        return options->connect_rate;
    }
    return options->connect_every_ms <= 0 ? 0 : 1000.0 / options->connect_every_ms;
}

static bool is_time_to_start(const struct classic *run, uint64_t now_ns)
{
    double per_second = connects_per_second(run->options);
    if (per_second <= 0) {
        return run->pending_count < PENDING_MAX;
    }
    return (double)run->started_count <=
           (double)(now_ns - run->begin_ns) / (double)SECOND_NS * per_second;
}

static void start_due(struct classic *run, uint64_t now_ns)
{
    while (run->started_count < run->options->count && is_time_to_start(run, now_ns)) {
        uint32_t index = run->started_count++;
        struct worker *worker = &run->workers[index];
        const struct address *from = run->source_count == 0
                                         ? NULL
                                         : &run->sources[index % run->source_count];
        worker->begun_ns = load_clock_ns();
        run->pending_count++;
        enum err err = load_connect(run->load, worker->client_id, from, &events, worker,
                                    &worker->client);
        if (err != OK) {
            run->pending_count--;
            run->gone_count++;
            count_up(run, CLASSIC_connect_fail);
            complain(run, worker, NULL, err, 0);
        }
    }
    bool is_tried = run->started_count == run->options->count && run->pending_count == 0;
    if (run->options->command == COMMAND_PUB && !run->is_publishing && is_tried) {
        run->is_publishing = true;
        for (uint32_t i = 0; i < run->started_count; i++) {
            if (run->workers[i].is_open) {
                begin_publishing(&run->workers[i], load_clock_ns());
            }
        }
    }
}

/* ---- the run ------------------------------------------------------------------------------- */

static bool is_done(const struct classic *run, uint64_t now_ns, const volatile bool *is_stopped)
{
    const struct options *options = run->options;
    const uint64_t *counts = run->lines.counts;
    bool is_time_over = options->seconds > 0 &&
                        now_ns - run->begin_ns >= (uint64_t)(options->seconds * 1e9);
    bool is_all_gone = run->started_count == options->count && run->open_count == 0 &&
                       run->pending_count == 0;
    bool is_all_sent = is_limit_reached(run) &&
                       (options->qos == 0 || counts[CLASSIC_pub_succ] >= counts[CLASSIC_pub]);
    bool is_unheard = ferror(stdout) != 0; /* whoever read our lines has gone */
    return __atomic_load_n(is_stopped, __ATOMIC_RELAXED) || is_time_over || is_all_gone ||
           is_all_sent || is_unheard;
}

static uint64_t wait_ns(const struct classic *run, uint64_t now_ns, uint64_t line_ns)
{
    uint64_t until_ns = now_ns + (run->started_count < run->options->count
                                      ? (uint64_t)CONNECT_TURN_NS
                                      : (uint64_t)TURN_NS);
    until_ns = line_ns < until_ns ? line_ns : until_ns;
    if (run->due != NULL && due_next_ns(run->due) < until_ns) {
        until_ns = due_next_ns(run->due);
    }
    return until_ns > now_ns ? until_ns - now_ns : 0;
}

static void loop(struct classic *run, const volatile bool *is_stopped)
{
    FILE *out = strcmp(run->options->log_to, "null") == 0 ? NULL : stdout;
    uint64_t now_ns = load_clock_ns();

    run->begin_ns = now_ns;
    uint64_t line_ns = now_ns + SECOND_NS;
    while (!is_done(run, now_ns, is_stopped)) {
        start_due(run, now_ns);
        if (run->due != NULL) {
            publish_due(run, now_ns);
        }
        load_turn(run->load, wait_ns(run, load_clock_ns(), line_ns));
        now_ns = load_clock_ns();
        if (now_ns >= line_ns) {
            classic_lines_second(&run->lines, now_ns - run->begin_ns, out);
            line_ns += SECOND_NS * (1 + (now_ns - line_ns) / SECOND_NS);
        }
    }
    classic_lines_second(&run->lines, now_ns - run->begin_ns, out);
}

/* Everybody says goodbye, and what was queued leaves before. */
static void leave(struct classic *run)
{
    for (uint32_t i = 0; i < run->started_count; i++) {
        if (run->workers[i].client != NULL) {
            load_disconnect(run->workers[i].client);
        }
    }
    uint64_t until_ns = load_clock_ns() + 2 * SECOND_NS;
    while (load_client_count(run->load) > 0 && load_clock_ns() < until_ns) {
        load_turn(run->load, TURN_NS);
    }
}

int classic_command(const struct options *options, const volatile bool *is_stopped)
{
    struct classic *run = calloc(1, sizeof(*run));
    if (run == NULL) {
        fprintf(stderr, "tern-bench: %s\n", err_text(ERR_NOMEM));
        return EXIT_UNAVAILABLE;
    }
    run->options = options;
    int code = classic_prepare(run);
    if (code == EXIT_WELL) {
        loop(run, is_stopped);
        uint64_t since_ns = load_clock_ns() - run->begin_ns;
        leave(run);
        classic_lines_summary(&run->lines, since_ns, stdout);
        const uint64_t *counts = run->lines.counts;
        bool is_bad = counts[CLASSIC_connect_fail] + counts[CLASSIC_disconnected] +
                          counts[CLASSIC_sub_fail] + counts[CLASSIC_cnt64_gap] >
                      0;
        bool is_anybody = counts[CLASSIC_connect_succ] > 0;
        code = !is_bad ? EXIT_WELL : is_anybody ? EXIT_VIOLATION : EXIT_UNAVAILABLE;
        if (ferror(stdout) != 0) {
            fprintf(stderr, "tern-bench: standard output cannot be written\n");
            code = EXIT_UNAVAILABLE;
        }
    }
    classic_free(run);
    return code;
}
