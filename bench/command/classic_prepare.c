#include "bench/command/classic_run.h"
#include "bench/command/classic_topic.h"
#include "bench/command/host.h"
#include "bench/command/job.h"
#include "bench/command/run.h"
#include "bench/command/secure.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    PREFIX_BYTES = 48,
};

static const char *kind_name(enum command command)
{
    return command == COMMAND_CONN ? "conn" : command == COMMAND_PUB ? "pub" : "sub";
}

bool classic_make_topic(struct worker *worker, const char *pattern, char out[TOPIC_BYTES])
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
            if (!classic_make_topic(worker, options->topic.items[j], topic)) {
                return usage("-t", "the topic is too long");
            }
        }
        if (options->command == COMMAND_PUB && !classic_topic_varies(options->topic.items[0])) {
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

int classic_prepare(struct classic *run)
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

void classic_free(struct classic *run)
{
    for (uint32_t i = 0; run->workers != NULL && i < run->options->count; i++) {
        free(run->workers[i].topic);
    }
    load_free(run->load);
    secure_release(&run->config);
    due_free(run->due);
    payload_free(run->payload);
    free(run->workers);
    free(run);
}
