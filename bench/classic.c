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
 *   I1  a worker stands in `due` at most once, and only while it is_open.
 *   I2  open_count + pending_count + gone_count = started_count.
 */
#include "bench/classic.h"

#include "bench/classic_lines.h"
#include "bench/classic_payload.h"
#include "bench/due.h"
#include "bench/host.h"
#include "bench/job.h"
#include "bench/run.h"
#include "core/base/assert.h"
#include "core/base/rng.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    ID_BYTES = 64,
    PREFIX_BYTES = 48,
    TOPIC_BYTES = 1024,
    SOURCES_MAX = 64,
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

static const char *kind_name(enum command command)
{
    return command == COMMAND_CONN ? "conn" : command == COMMAND_PUB ? "pub" : "sub";
}

struct classic;

struct worker {
    struct classic *run;
    struct load_client *client;
    uint32_t index;
    uint32_t inflight;   /* QoS 1 and 2: not ended by the broker */
    uint64_t moment_ns;  /* of the next message */
    uint64_t sequence;   /* of the next message, from 0 */
    uint64_t begun_ns;   /* when it began to connect */
    uint64_t count_last; /* cnt64 of the last one received */
    bool is_open, is_subscribed, is_held, has_count;
    char *topic; /* pub: made once, where it is the same each time; else NULL */
    char client_id[ID_BYTES];
};

struct classic {
    const struct options *options;
    struct load_config config;
    struct load *load;
    struct payload *payload;
    struct due *due;
    struct worker *workers;
    struct address sources[SOURCES_MAX];
    uint32_t source_count;
    uint32_t started_count, pending_count, open_count, gone_count;
    uint32_t complaint_count;
    bool is_publishing; /* --wait-before-publishing is over */
    bool is_stamped;    /* received payloads may carry our stamp */
    struct rng rng;
    uint64_t begin_ns;
    struct classic_lines lines;
};

static void count_up(struct classic *run, enum classic_counter counter)
{
    run->lines.counts[counter]++;
}

static uint64_t ns_of_ms(double milliseconds)
{
    return (uint64_t)(milliseconds * 1e6);
}

/* ---- topics -------------------------------------------------------------------------------- */

/* The text of a variable that begins at `at`; *used: how many characters its name has, or 0. */
static const char *variable(const char *at, const struct classic_names *names, char digits[24],
                            size_t *used)
{
    static const char random_name[] = "%rand_";
    *used = 2;
    switch (at[1]) {
    case 'i':
        snprintf(digits, 24, "%u", names->number);
        return digits;
    case 'c':
        return names->client_id;
    case 'u':
        return names->username == NULL ? "" : names->username;
    case 's':
        snprintf(digits, 24, "%" PRIu64, names->sequence);
        return digits;
    default:
        break;
    }
    size_t count = strlen(random_name);
    *used = 0;
    if (strncmp(at, random_name, count) == 0 && isdigit((unsigned char)at[count])) {
        char *end;
        uint64_t high = strtoull(at + count, &end, 10);
        *used = (size_t)(end - at);
        snprintf(digits, 24, "%" PRIu64, 1 + names->random % (high == 0 ? 1 : high));
    }
    return digits;
}

bool classic_topic(const char *pattern, const struct classic_names *names, char *out,
                   size_t out_bytes)
{
    char digits[24];
    size_t count = 0;

    for (const char *at = pattern; *at != '\0';) {
        size_t used = 0;
        const char *piece = at[0] == '%' ? variable(at, names, digits, &used) : at;
        size_t piece_count = used == 0 ? 1 : strlen(piece);
        if (count + piece_count >= out_bytes) {
            return false;
        }
        memcpy(out + count, used == 0 ? at : piece, piece_count);
        count += piece_count;
        at += used == 0 ? 1 : used;
    }
    out[count] = '\0';
    return true;
}

static bool is_new_each_time(const char *pattern)
{
    return strstr(pattern, "%s") != NULL || strstr(pattern, "%rand_") != NULL;
}

static bool make_topic(struct worker *worker, const char *pattern, char out[TOPIC_BYTES])
{
    struct classic *run = worker->run;
    struct classic_names names = {
        .number = (uint32_t)run->options->start_number + worker->index + 1,
        .client_id = worker->client_id,
        .username = run->options->username,
        .sequence = run->lines.counts[CLASSIC_pub] + 1,
        .random = rng_u64(&run->rng),
    };
    return classic_topic(pattern, &names, out, TOPIC_BYTES);
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
        if (!make_topic(worker, options->topic.items[0], text)) {
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
        bool is_made = make_topic(worker, topics->items[i], texts[i]);
        ASSERT(is_made); /* prepare_workers() has tried */
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
static void complain(struct classic *run, const struct worker *worker, enum err why, uint8_t reason)
{
    char text[LOAD_TEXT_MAX];
    if (run->complaint_count++ < COMPLAINTS_MAX) {
        fprintf(stderr, "client(%u): %s\n",
                (uint32_t)run->options->start_number + worker->index + 1,
                load_explain(&run->config, why, reason, text));
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
        complain(run, worker, why, reason);
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
            complain(run, worker, err, 0);
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

/* ---- before and after ---------------------------------------------------------------------- */

static int usage(const char *option, const char *why)
{
    fprintf(stderr, "tern-bench: %s: %s\n", option, why);
    return EXIT_USAGE;
}

static int prepare_sources(struct classic *run)
{
    char problem[HOST_PROBLEM_BYTES], name[256];
    for (uint32_t i = 0; i < run->options->ifaddr.count; i++) {
        const char *at = run->options->ifaddr.items[i];
        while (*at != '\0') {
            size_t count = strcspn(at, ",");
            if (run->source_count == SOURCES_MAX || count >= sizeof(name)) {
                return usage("--ifaddr", "there are at most 64 addresses");
            }
            snprintf(name, sizeof(name), "%.*s", (int)count, at);
            enum err err = host_find(name, 0, &run->sources[run->source_count++], problem);
            if (err != OK) {
                usage("--ifaddr", problem);
                return EXIT_NO_HOST;
            }
            at += count + (at[count] == ',' ? 1 : 0);
        }
    }
    return EXIT_WELL;
}

static void make_prefix(const struct options *options, char out[PREFIX_BYTES])
{
    const char *kind = kind_name(options->command);
    if (options->shortids) {
        snprintf(out, PREFIX_BYTES, "%s", options->prefix == NULL ? "" : options->prefix);
    } else if (options->prefix != NULL) {
        snprintf(out, PREFIX_BYTES, "%s_bench_%s_", options->prefix, kind);
    } else {
        snprintf(out, PREFIX_BYTES, "bench_%s_%ld_", kind, (long)getpid());
    }
}

static int prepare_workers(struct classic *run)
{
    const struct options *options = run->options;
    char prefix[PREFIX_BYTES], topic[TOPIC_BYTES];

    if (options->prefix != NULL && strlen(options->prefix) > 24) {
        return usage("--prefix", "24 characters at most");
    }
    make_prefix(options, prefix);
    run->workers = calloc(options->count, sizeof(run->workers[0]));
    if (run->workers == NULL) {
        usage("-c", err_text(ERR_NOMEM));
        return EXIT_UNAVAILABLE;
    }
    for (uint32_t i = 0; i < options->count; i++) {
        struct worker *worker = &run->workers[i];
        worker->run = run;
        worker->index = i;
        snprintf(worker->client_id, ID_BYTES, "%s%u", prefix,
                 (uint32_t)options->start_number + i + 1);
        for (uint32_t j = 0; j < options->topic.count; j++) {
            if (!make_topic(worker, options->topic.items[j], topic)) {
                return usage("-t", "the topic is too long");
            }
        }
        if (options->command == COMMAND_PUB && !is_new_each_time(options->topic.items[0])) {
            worker->topic = strdup(topic);
        }
    }
    return EXIT_WELL;
}

static int check_options(const struct options *options)
{
    const struct option_list *topics = &options->topic;
    bool has_topic = options->command != COMMAND_CONN;
    if (has_topic && topics->count == 0) {
        return usage("-t", "a topic is needed, such as bench/%i");
    }
    if (options->command == COMMAND_PUB && topics->count > 1) {
        return usage("-t", "pub has one topic; start one tern-bench pub for each");
    }
    if (options->command == COMMAND_PUB && strpbrk(topics->items[0], "+#") != NULL) {
        return usage("-t", "a message is published to a topic, which has no + and no #");
    }
    if (strcmp(options->log_to, "console") != 0 && strcmp(options->log_to, "null") != 0) {
        return usage("--log_to", "console or null");
    }
    if (options->random_wait_low_ms > options->random_wait_high_ms) {
        return usage("--min-random-wait", "it is above --max-random-wait");
    }
    return EXIT_WELL;
}

static int prepare(struct classic *run)
{
    const struct options *options = run->options;
    char problem[JOB_PROBLEM_BYTES], why[PAYLOAD_PROBLEM_BYTES];

    int code = check_options(options);
    if (code != EXIT_WELL) {
        return code;
    }
    if (payload_new(options, &run->payload, why) != OK) {
        fprintf(stderr, "tern-bench: %s\n", why);
        return EXIT_USAGE;
    }
    enum err err = job_load(options, &run->config, problem);
    if (err != OK) {
        fprintf(stderr, "tern-bench: %s\n", problem);
        return err == ERR_NOT_FOUND ? EXIT_NO_HOST : EXIT_USAGE;
    }
    rng_init(&run->rng, rng_system_seed());
    run->is_publishing = !options->wait_for_all;
    run->is_stamped = options->message == NULL;
    code = prepare_sources(run);
    code = code == EXIT_WELL ? prepare_workers(run) : code;
    if (code != EXIT_WELL) {
        return code;
    }
    run->due = options->command == COMMAND_PUB ? due_new((uint32_t)options->count) : NULL;
    run->config.client_count_max = (uint32_t)options->count + 64;
    run->config.packet_max_bytes = MQTT_REMAINING_MAX;
    err = load_new(&run->config, &run->load);
    if (err != OK || (options->command == COMMAND_PUB && run->due == NULL)) {
        fprintf(stderr, "tern-bench: cannot start: %s\n", err_text(err == OK ? ERR_NOMEM : err));
        return EXIT_UNAVAILABLE;
    }
    return EXIT_WELL;
}

static void free_run(struct classic *run)
{
    for (uint32_t i = 0; run->workers != NULL && i < run->options->count; i++) {
        free(run->workers[i].topic);
    }
    load_free(run->load);
    due_free(run->due);
    payload_free(run->payload);
    free(run->workers);
    free(run);
}

int classic_command(const struct options *options, const volatile bool *is_stopped)
{
    struct classic *run = calloc(1, sizeof(*run));
    if (run == NULL) {
        fprintf(stderr, "tern-bench: %s\n", err_text(ERR_NOMEM));
        return EXIT_UNAVAILABLE;
    }
    run->options = options;
    int code = prepare(run);
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
    free_run(run);
    return code;
}
