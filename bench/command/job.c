#include "bench/command/job.h"

#include "bench/command/host.h"
#include "bench/command/secure.h"
#include "core/base/text.h"

#include <string.h>

static enum err refuse(char problem[JOB_PROBLEM_BYTES], const char *option, const char *why)
{
    snprintf(problem, JOB_PROBLEM_BYTES, "%s: %.500s", option, why);
    return ERR_INVALID;
}

/* A URL, or a host with its port: each has an option of its own. */
static bool is_more_than_host(const char *host)
{
    struct address ignored;
    const char *colon = strchr(host, ':');
    if (colon == NULL || address_parse(host, 0, &ignored) == OK) {
        return false;
    }
    return host[0] == '[' || strchr(colon + 1, ':') == NULL || strstr(host, "://") != NULL;
}

static enum err check_host(const char *host, char problem[JOB_PROBLEM_BYTES])
{
    if (host[0] == '\0') {
        return refuse(problem, "-h", "the name is empty; leave it out for 127.0.0.1");
    }
    if (strchr(host, ',') != NULL) {
        return refuse(problem, "-h",
                      "one host at a time; for several brokers start a tern-bench for each");
    }
    if (is_more_than_host(host)) {
        snprintf(problem, JOB_PROBLEM_BYTES,
                 "-h: '%.200s' is more than a host; say host and port apart, without mqtt://: "
                 "-h HOST -p PORT",
                 host);
        return ERR_INVALID;
    }
    return OK;
}

enum err job_load(const struct options *options, struct load_config *out,
                  char problem[JOB_PROBLEM_BYTES])
{
    struct load_config load = {
        .version = (enum mqtt_version)options->version,
        .clean_start = options->clean_start,
        .keepalive_s = (uint16_t)options->keepalive_s,
        .session_expiry_s = (uint32_t)options->session_expiry_s,
        .username = options->username,
        .password = options->password,
        .websocket_path = options->ws ? options->ws_path : NULL,
    };
    char why[HOST_PROBLEM_BYTES];

    problem[0] = '\0';
    if (options->ws && options->ws_path[0] != '/') {
        return refuse(problem, "--ws-path", "the path of a URL begins with a slash: /mqtt");
    }
    if (options->password != NULL && options->username == NULL && options->version < 5) {
        return refuse(problem, "-P", "MQTT 3 has no password without a user name; add -u");
    }
    if (options->session_expiry_s > 0 && options->version < 5) {
        return refuse(
            problem, "-x",
            "MQTT 3 has no session expiry: use -V 5, or -C false for a session that stays");
    }
    TRY(check_host(options->host, problem));
    enum err err = host_find(options->host, secure_port(options), &load.to, why);
    if (err != OK) {
        snprintf(problem, JOB_PROBLEM_BYTES, "-h: %s", why);
        return err;
    }
    TRY(secure_load(options, &load, problem)); /* the last one: it makes something */
    *out = load;
    return OK;
}

void job_free(struct job *job)
{
    secure_release(&job->run.load);
}

static enum err find_scenario(const char *name, const struct scenario **out,
                              char problem[JOB_PROBLEM_BYTES])
{
    *out = scenario_find(name);
    if (*out != NULL) {
        return OK;
    }
    struct text_nearest nearest = text_nearest(slice_text(name));
    scenario_offer(&nearest);
    preset_offer(&nearest);
    snprintf(problem, JOB_PROBLEM_BYTES,
             "'%.100s' is no scenario and no preset%s%s%s; tern-bench list shows them", name,
             nearest.word == NULL ? "" : " (did you mean ",
             nearest.word == NULL ? "" : nearest.word, nearest.word == NULL ? "" : "?)");
    return ERR_INVALID;
}

/* The one address of a run that clients come from. */
static enum err find_source(const struct options *options, struct address *out,
                            char problem[JOB_PROBLEM_BYTES])
{
    char why[HOST_PROBLEM_BYTES];
    if (options->ifaddr.count == 0) {
        return OK;
    }
    if (options->ifaddr.count > 1 || strchr(options->ifaddr.items[0], ',') != NULL) {
        return refuse(problem, "--ifaddr",
                      "run has one address to connect from; for more clients than its ports use "
                      "--agents, each with its own");
    }
    enum err err = host_find(options->ifaddr.items[0], 0, out, why);
    if (err != OK) {
        snprintf(problem, JOB_PROBLEM_BYTES, "--ifaddr: %s", why);
    }
    return err;
}

enum err job_make(const struct options *options, struct job *out, char problem[JOB_PROBLEM_BYTES])
{
    struct job job = {.options = *options, .preset = preset_find(options->words[0])};
    char why[SCENARIO_WHY_BYTES];

    problem[0] = '\0';
    if (options->scale <= 0) {
        return refuse(problem, "--scale", "nothing is left of a preset times 0");
    }
    if (job.preset != NULL) {
        preset_apply(job.preset, &job.options);
    } else if (options->is_given[OPTION_INDEX_scale]) {
        return refuse(problem, "--scale", "it is for presets; say -c, --rate and the like instead");
    }
    const struct options *o = &job.options;
    TRY(find_scenario(o->words[0], &job.scenario, problem));
    job.run = (struct scenario_options){
        .count = (uint32_t)o->count,
        .publisher_count = (uint32_t)o->publishers,
        .subscriber_count = (uint32_t)o->subscribers,
        .group_count = (uint32_t)o->groups,
        .filter_count = (uint32_t)o->filters,
        .held_count = (uint32_t)o->held,
        .payload_bytes = (uint32_t)o->payload_bytes,
        .window = (uint32_t)o->window,
        .burst = (uint32_t)o->burst,
        .rate = o->rate,
        .qos = (uint8_t)o->qos,
        .is_persistent = o->persistent,
        .is_resuming = o->tls_resume,
        .seconds = o->seconds,
        .warmup_seconds = o->warmup_s,
        .broker_pid = (int32_t)o->broker_pid,
    };
    if (o->seconds <= 0) {
        return refuse(problem, "--seconds", "a run measures for some time, such as 5s or 500ms");
    }
    if (scenario_check(job.scenario, &job.run, why) != OK) {
        snprintf(problem, JOB_PROBLEM_BYTES, "%s: %s", o->words[0], why);
        return ERR_INVALID;
    }
    struct address from = {0};
    TRY(find_source(o, &from, problem));
    TRY(job_load(o, &job.run.load, problem));
    job.run.load.from = from;
    *out = job;
    return OK;
}
