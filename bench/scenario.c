#include "bench/scenario.h"

#include "bench/check.h"
#include "bench/scenario_kinds.h"

#include <string.h>

enum kind { MESSAGES, CONNECTS, IDLES };
enum side { ONE, MANY };

/* clang-format off */
static const struct scenario {
    const char *name;
    enum kind kind;
    enum side publishers, subscribers;
    uint32_t count_default;
    const char *help;
} scenarios[] = {
    {"pairs",   MESSAGES, MANY, MANY,    64, "n publishers, n subscribers, each pair on a topic of its own"},
    {"fanout",  MESSAGES, ONE,  MANY,   500, "1 publisher, n subscribers of its topic"},
    {"fanin",   MESSAGES, MANY, ONE,    500, "n publishers on topics of their own, 1 subscriber of all"},
    {"connect", CONNECTS, ONE,  ONE,     64, "n clients connect, disconnect, and come again at once"},
    {"idle",    IDLES,    ONE,  ONE,  10000, "n clients connect and stay silent: memory of the broker for each"},
};
/* clang-format on */

const struct scenario *scenario_find(const char *name)
{
    for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
        if (strcmp(scenarios[i].name, name) == 0) {
            return &scenarios[i];
        }
    }
    return NULL;
}

void scenario_list(FILE *out)
{
    for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
        fprintf(out, "  %-8s %s; n is %u\n", scenarios[i].name, scenarios[i].help,
                scenarios[i].count_default);
    }
}

bool scenario_sample(const struct scenario_options *options, struct target_usage *out)
{
    return options->broker_pid > 0 && target_usage(options->broker_pid, out) == OK;
}

enum err scenario_run(const struct scenario *scenario, const struct scenario_options *options,
                      struct report *out)
{
    struct scenario_options mine = *options;
    mine.count = mine.count == 0 ? scenario->count_default : mine.count;
    bool is_messages = scenario->kind == MESSAGES;
    if (is_messages && (mine.payload_bytes < STAMP_BYTES || mine.window == 0 || mine.burst == 0 ||
                        mine.burst > mine.window || mine.qos > 2)) {
        return ERR_INVALID;
    }
    uint32_t publisher_count = scenario->publishers == MANY ? mine.count : 1;
    uint32_t subscriber_count = scenario->subscribers == MANY ? mine.count : 1;
    *out = (struct report){
        .scenario = scenario->name,
        .publisher_count = is_messages ? publisher_count : mine.count,
        .subscriber_count = is_messages ? subscriber_count : 0,
        .window = mine.window,
        .burst = mine.burst,
        .payload_bytes = mine.payload_bytes,
        .qos = mine.qos,
        .rate = mine.rate,
    };
    mine.load.client_count_max = mine.count + 64;
    mine.load.packet_max_bytes = MQTT_REMAINING_MAX;
    switch (scenario->kind) {
    case MESSAGES:
        mine.load.client_count_max = publisher_count + subscriber_count + 64;
        return scenario_messages(&mine, publisher_count, subscriber_count, out);
    case CONNECTS:
        return scenario_connects(&mine, out);
    case IDLES:
        return scenario_idles(&mine, out);
    }
    return ERR_INVALID;
}
