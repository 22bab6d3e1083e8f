#include "bench/command/preset.h"

#include "core/base/text.h"

#include <math.h>
#include <string.h>

/* clang-format off */
static const struct preset {
    const char *name, *also; /* also: as the suite's repository writes it */
    const char *scenario;
    uint32_t count, publishers, subscribers; /* 0: not said */
    double rate;
    uint32_t version;
    const char *help;
} presets[] = {
    /* the basic set */
    {"conn-tcp-10K-100",          "",                          "storm",  10000,   0,     0,    100,   4, "10,000 clients connect, 100 a second, and stay"},
    {"p2p-1K-1K-1K-1K",           "",                          "pairs",  1000,    0,     0,    1000,  4, "1,000 pairs, each with a topic of its own and a message a second"},
    {"fanout-1-1K-1-1K",          "fanout-1-1000-1-1000K",     "fanout", 0,       1,     1000, 1,     4, "1 publisher, 1,000 subscribers, a message a second"},
    {"sharedsub-1K-5-1K-1K",      "sharesub-1K-5-1K-1K",       "shared", 0,       1000,  5,    1000,  5, "1,000 publishers, 5 subscribers that share, 1,000 messages a second"},
    /* the enterprise set */
    {"conn-tcp-1M-5K",            "",                          "storm",  1000000, 0,     0,    5000,  4, "1,000,000 clients connect, 5,000 a second, and stay"},
    {"p2p-50K-50K-50K-50K",       "",                          "pairs",  50000,   0,     0,    50000, 4, "50,000 pairs, each with a topic of its own and a message a second"},
    {"fanout-5-1000-5-250K",      "fanout-5-1K-5-250K",        "fanout", 0,       5,     1000, 250,   4, "5 publishers with 50 messages a second each, 1,000 subscribers of all"},
    {"sharedsub-50K-500-50K-50K", "sharesub-50K-500-50K-50K",  "shared", 0,       50000, 500,  50000, 5, "50,000 publishers, 500 subscribers that share, 50,000 messages a second"},
};
/* clang-format on */

enum { PRESET_COUNT = sizeof(presets) / sizeof(presets[0]), PAYLOAD_BYTES = 24, SECONDS = 30 };

const struct preset *preset_find(const char *name)
{
    struct slice wanted = slice_text(name), single = slice_text("singlenode-");
    if (wanted.count > single.count &&
        text_equal_nocase(slice_head(wanted, single.count), single)) {
        wanted = slice_skip(wanted, single.count);
    }
    for (uint32_t i = 0; i < PRESET_COUNT; i++) {
        if (text_equal_nocase(slice_text(presets[i].name), wanted) ||
            (presets[i].also[0] != '\0' &&
             text_equal_nocase(slice_text(presets[i].also), wanted))) {
            return &presets[i];
        }
    }
    return NULL;
}

/* Whether the preset has a say in it; from now on it counts as given, so that agents are told. */
static bool is_ours(struct options *options, enum option_index index)
{
    bool is_given = options->is_given[index];
    options->is_given[index] = true;
    return !is_given;
}

static void set_count(struct options *options, enum option_index index, uint32_t count,
                      uint64_t *field)
{
    if (count > 0 && is_ours(options, index)) {
        double scaled = round((double)count * options->scale);
        *field = scaled < 1 ? 1 : (uint64_t)scaled;
    }
}

void preset_apply(const struct preset *preset, struct options *options)
{
    options->words[0] = preset->scenario;
    set_count(options, OPTION_INDEX_count, preset->count, &options->count);
    set_count(options, OPTION_INDEX_publishers, preset->publishers, &options->publishers);
    set_count(options, OPTION_INDEX_subscribers, preset->subscribers, &options->subscribers);
    /* A window asks for the closed loop, in which there is no rate. */
    if (!options->is_given[OPTION_INDEX_window] && is_ours(options, OPTION_INDEX_rate)) {
        options->rate = preset->rate * options->scale;
    }
    if (is_ours(options, OPTION_INDEX_version)) {
        options->version = preset->version;
    }
    if (is_ours(options, OPTION_INDEX_qos)) {
        options->qos = 1;
    }
    if (is_ours(options, OPTION_INDEX_payload_bytes)) {
        options->payload_bytes = PAYLOAD_BYTES;
    }
    if (is_ours(options, OPTION_INDEX_seconds)) {
        options->seconds = SECONDS;
    }
    options->is_given[OPTION_INDEX_scale] = false; /* it is done */
}

void preset_print(const struct preset *preset, const struct options *options, FILE *out)
{
    fprintf(out, "%s: %s", preset->name, preset->help);
    if (options->scale != 1) {
        fprintf(out, "; all times %g", options->scale);
    }
    if (strcmp(preset->scenario, "storm") == 0) {
        fprintf(out, " (until all are there; the suite then keeps them for 1800 s)\n");
        return;
    }
    fprintf(out,
            " (payload %llu bytes, the suite's 16 hold no stamp; %g s, the suite's are 1800)\n",
            (unsigned long long)options->payload_bytes, options->seconds);
}

void preset_list(FILE *out)
{
    for (uint32_t i = 0; i < PRESET_COUNT; i++) {
        fprintf(out, "  %-26s %s\n", presets[i].name, presets[i].help);
    }
}

void preset_offer(struct text_nearest *nearest)
{
    for (uint32_t i = 0; i < PRESET_COUNT; i++) {
        text_nearest_offer(nearest, presets[i].name);
    }
}
