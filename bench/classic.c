#include "bench/classic.h"

#include "bench/check.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NAME_BYTES = 48, TOPIC_BYTES = 512, TURN_NS = 50 * 1000 * 1000 };

#define SECOND_NS ((uint64_t)1000000000)

struct classic;

struct worker {
    struct classic *run;
    struct load_client *client;
    uint32_t number;
    uint64_t due_ns; /* when the next message leaves */
    uint64_t sequence;
    bool is_open;
    char client_id[NAME_BYTES];
    char topic[TOPIC_BYTES];
};

struct classic {
    const struct classic_options *options;
    struct load *load;
    struct worker *workers;
    uint32_t started_count;
    uint64_t connected, published, finished, received, subscribed, failed;
    uint64_t due_ns; /* the earliest of the workers' */
};

bool classic_topic(const char *pattern, uint32_t number, const char *client_id,
                   const char *username, char *out, size_t out_bytes)
{
    char digits[16];
    size_t count = 0;

    snprintf(digits, sizeof(digits), "%u", number);
    for (const char *at = pattern; *at != '\0'; at++) {
        char plain[2] = {*at, '\0'};
        const char *piece = plain;
        if (at[0] == '%' && at[1] != '\0' && strchr("icu", at[1]) != NULL) {
            piece = at[1] == 'i' ? digits : at[1] == 'c' ? client_id : username;
            at++;
        }
        size_t piece_count = strlen(piece);
        if (count + piece_count >= out_bytes) {
            return false;
        }
        memcpy(out + count, piece, piece_count);
        count += piece_count;
    }
    out[count] = '\0';
    return true;
}

static void on_opened(struct load_client *client)
{
    struct worker *worker = load_owner(client);
    struct classic *run = worker->run;
    worker->is_open = true;
    run->connected++;
    if (run->options->kind == CLASSIC_SUB) {
        load_subscribe(client, worker->topic, run->options->qos);
    }
    worker->due_ns = load_clock_ns();
    run->due_ns = worker->due_ns < run->due_ns ? worker->due_ns : run->due_ns;
}

static void on_subscribed(struct load_client *client)
{
    struct worker *worker = load_owner(client);
    worker->run->subscribed++;
}

static void on_message(struct load_client *client, const struct mqtt_publish *message,
                       uint64_t received_ns)
{
    struct worker *worker = load_owner(client);
    (void)message;
    (void)received_ns;
    worker->run->received++;
}

static void on_finished(struct load_client *client)
{
    struct worker *worker = load_owner(client);
    worker->run->finished++;
}

static void on_closed(struct load_client *client, enum err why, uint8_t reason)
{
    struct worker *worker = load_owner(client);
    worker->client = NULL;
    worker->is_open = false;
    worker->run->failed += why == OK ? 0 : 1;
    if (why != OK && worker->run->failed == 1) {
        fprintf(stderr, "client(%u): EXIT for %s (reason 0x%02x)\n", worker->number, err_text(why),
                reason);
    }
}

static const struct load_events events = {
    .opened = on_opened,
    .subscribed = on_subscribed,
    .message = on_message,
    .finished = on_finished,
    .closed = on_closed,
};

static bool prepare(struct classic *run)
{
    static const char *const kinds[] = {"conn", "pub", "sub"};
    const struct classic_options *options = run->options;
    const char *username = options->load.username == NULL ? "" : options->load.username;
    char prefix[NAME_BYTES];

    snprintf(prefix, sizeof(prefix), "bench_%s_%ld", kinds[options->kind], (long)getpid());
    if (options->prefix != NULL) {
        snprintf(prefix, sizeof(prefix), "%.31s", options->prefix);
    }
    run->workers = calloc(options->client_count, sizeof(run->workers[0]));
    for (uint32_t i = 0; run->workers != NULL && i < options->client_count; i++) {
        struct worker *worker = &run->workers[i];
        worker->run = run;
        worker->number = options->start_number + i;
        snprintf(worker->client_id, sizeof(worker->client_id), "%.31s_%u", prefix, worker->number);
        if (options->topic != NULL &&
            !classic_topic(options->topic, worker->number, worker->client_id, username,
                           worker->topic, sizeof(worker->topic))) {
            fprintf(stderr, "tern-bench: the topic is too long\n");
            return false;
        }
    }
    return run->workers != NULL;
}

static double connects_per_second(const struct classic_options *options)
{
    if (options->connect_rate > 0) {
        return options->connect_rate;
    }
    return options->connect_every_ms == 0 ? 1e9 : 1000.0 / options->connect_every_ms;
}

/* Start the clients whose time has come. */
static void start_due(struct classic *run, uint64_t begin_ns, uint64_t now_ns)
{
    double per_ns = connects_per_second(run->options) / 1e9;
    while (run->started_count < run->options->client_count &&
           (double)run->started_count <= (double)(now_ns - begin_ns) * per_ns) {
        struct worker *worker = &run->workers[run->started_count++];
        enum err err = load_connect(run->load, worker->client_id, NULL, &events, worker,
                                    &worker->client);
        if (err != OK) {
            run->failed++;
            fprintf(stderr, "client(%u): cannot connect: %s\n", worker->number, err_text(err));
        }
    }
}

static bool is_limit_reached(const struct classic *run)
{
    return run->options->message_limit > 0 && run->published >= run->options->message_limit;
}

static void publish(struct worker *worker)
{
    const struct classic_options *options = worker->run->options;
    uint8_t *payload = load_publish(worker->client, slice_text(worker->topic), options->qos,
                                    options->retain, options->payload_bytes);
    if (payload == NULL) {
        return;
    }
    if (options->payload_bytes >= STAMP_BYTES) {
        struct stamp stamp = {.publisher = worker->number,
                              .sequence = worker->sequence++,
                              .sent_ns = load_clock_ns()};
        stamp_write(payload, options->payload_bytes, &stamp);
    } else {
        memset(payload, 'a', options->payload_bytes);
    }
    worker->run->published++;
}

static void publish_due(struct classic *run, uint64_t now_ns)
{
    const struct classic_options *options = run->options;
    if (options->kind != CLASSIC_PUB || now_ns < run->due_ns) {
        return;
    }
    run->due_ns = UINT64_MAX;
    for (uint32_t i = 0; i < run->started_count; i++) {
        struct worker *worker = &run->workers[i];
        if (!worker->is_open || worker->client == NULL) {
            continue;
        }
        if (worker->due_ns <= now_ns && !is_limit_reached(run)) {
            publish(worker);
            worker->due_ns += (uint64_t)options->publish_every_ms * 1000000;
            worker->due_ns = worker->due_ns > now_ns ? worker->due_ns : now_ns;
        }
        run->due_ns = worker->due_ns < run->due_ns ? worker->due_ns : run->due_ns;
    }
}

static void print_line(const char *name, uint32_t second, uint64_t total, uint64_t before)
{
    printf("%us %s total=%" PRIu64 " rate=%.2f/sec\n", second, name, total,
           (double)(total - before));
}

/* What a second brought; only what has changed. */
static void print_second(const struct classic *run, uint32_t second, struct classic *before)
{
    if (run->connected != before->connected) {
        print_line("connect_succ", second, run->connected, before->connected);
    }
    if (run->failed != before->failed) {
        print_line("connect_fail", second, run->failed, before->failed);
    }
    if (run->subscribed != before->subscribed) {
        print_line("sub", second, run->subscribed, before->subscribed);
    }
    if (run->published != before->published) {
        print_line("pub", second, run->published, before->published);
    }
    if (run->finished != before->finished) {
        print_line("pub_succ", second, run->finished, before->finished);
    }
    if (run->received != before->received) {
        print_line("recv", second, run->received, before->received);
    }
    fflush(stdout);
    *before = *run;
}

static void loop(struct classic *run, const volatile bool *is_stopped)
{
    const struct classic_options *options = run->options;
    struct classic before = {0};
    uint64_t begin_ns = load_clock_ns(), now_ns = begin_ns;
    uint32_t second = 0;

    while (!*is_stopped &&
           (options->seconds <= 0 || now_ns - begin_ns < (uint64_t)(options->seconds * 1e9))) {
        start_due(run, begin_ns, now_ns);
        publish_due(run, now_ns);
        uint64_t wait_ns = run->started_count < options->client_count ? SECOND_NS / 1000 : TURN_NS;
        if (run->due_ns != UINT64_MAX && options->kind == CLASSIC_PUB) {
            uint64_t in_ns = run->due_ns > now_ns ? run->due_ns - now_ns : 0;
            wait_ns = in_ns < wait_ns ? in_ns : wait_ns;
        }
        load_turn(run->load, wait_ns);
        now_ns = load_clock_ns();
        if (now_ns - begin_ns >= (second + 1) * SECOND_NS) {
            print_second(run, ++second, &before);
        }
        bool is_done = run->started_count == options->client_count &&
                       (load_client_count(run->load) == 0 ||
                        (is_limit_reached(run) &&
                         (options->qos == 0 || run->finished >= run->published)));
        if (is_done) {
            break;
        }
    }
    print_second(run, second + 1, &before);
}

int classic_run(const struct classic_options *options, const volatile bool *is_stopped)
{
    struct classic run = {.options = options, .due_ns = UINT64_MAX};
    struct load_config config = options->load;

    config.client_count_max = options->client_count + 64;
    config.packet_max_bytes = MQTT_REMAINING_MAX;
    enum err err = prepare(&run) ? load_new(&config, &run.load) : ERR_INVALID;
    if (err != OK) {
        fprintf(stderr, "tern-bench: cannot start: %s\n", err_text(err));
        free(run.workers);
        return 1;
    }
    loop(&run, is_stopped);
    for (uint32_t i = 0; i < run.started_count; i++) {
        if (run.workers[i].client != NULL) {
            load_disconnect(run.workers[i].client);
        }
    }
    uint64_t until_ns = load_clock_ns() + SECOND_NS;
    while (load_client_count(run.load) > 0 && load_clock_ns() < until_ns) {
        load_turn(run.load, TURN_NS);
    }
    load_free(run.load);
    free(run.workers);
    return run.failed == 0 ? 0 : 1;
}
