#include "bench/scenario/probe.h"

#include "bench/scenario/watch.h"

#include <stdlib.h>

enum { TOPIC_BYTES = 40 };

#define SECOND_NS ((uint64_t)1000000000)

static uint32_t position(const struct crowd_member *member)
{
    return (uint32_t)(member - member->crowd->members);
}

static void topic_of(const struct crowd_member *member, char out[TOPIC_BYTES])
{
    snprintf(out, TOPIC_BYTES, "bench/probe/%u", member->index);
}

static void on_opened(struct crowd_member *member)
{
    char topic[TOPIC_BYTES];
    topic_of(member, topic);
    load_subscribe(member->client, topic, 0);
}

static void on_subscribed(struct crowd_member *member)
{
    crowd_ready(member);
}

static void on_message(struct crowd_member *member, const struct mqtt_publish *message,
                       uint64_t received_ns)
{
    struct probe *probe = member->crowd->owner;
    struct report *report = probe->report;
    struct stamp stamp;
    char topic[TOPIC_BYTES];

    topic_of(member, topic);
    if (message->payload.count != STAMP_BYTES || !stamp_read(message->payload, &stamp)) {
        report->corrupt_count++;
        return;
    }
    if (stamp.publisher != member->index) {
        report->misdelivered_count++;
        return;
    }
    if (!crowd_message_is(message, topic, 0, false)) {
        report->corrupt_count++;
        return;
    }
    enum track_verdict verdict = track_add(&probe->tracks[position(member)], stamp.sequence);
    if (verdict == TRACK_REPEATED) {
        report->repeated_count++;
        return;
    }
    report->disordered_count += verdict == TRACK_LATE ? 1 : 0;
    probe->came_count++;
    histogram_add(probe->latency, received_ns > stamp.sent_ns ? received_ns - stamp.sent_ns : 0);
}

static const struct crowd_events events = {
    .opened = on_opened,
    .subscribed = on_subscribed,
    .message = on_message,
};

enum err probe_init(struct probe *probe)
{
    probe->crowd = (struct crowd){
        .options = probe->options,
        .report = probe->report,
        .load = probe->load,
        .name = "probe",
        .events = &events,
        .owner = probe,
        .session = LOAD_SESSION_CLEAN,
    };
    TRY(crowd_init(&probe->crowd, PROBE_CLIENTS));
    probe->tracks = calloc(PROBE_CLIENTS, sizeof(probe->tracks[0]));
    probe->sent = calloc(PROBE_CLIENTS, sizeof(probe->sent[0]));
    probe->latency = calloc(1, sizeof(*probe->latency));
    return probe->tracks == NULL || probe->sent == NULL || probe->latency == NULL ? ERR_NOMEM : OK;
}

void probe_deinit(struct probe *probe)
{
    for (uint32_t i = 0; probe->tracks != NULL && i < PROBE_CLIENTS; i++) {
        track_deinit(&probe->tracks[i]);
    }
    free(probe->tracks);
    free(probe->sent);
    free(probe->latency);
    crowd_deinit(&probe->crowd);
}

enum err probe_gather(struct probe *probe)
{
    return crowd_gather(&probe->crowd, CROWD_COMING_MAX);
}

void probe_begin(struct probe *probe, uint64_t now_ns)
{
    probe->begin_ns = now_ns;
    probe->turn = 0;
    *probe->latency = (struct histogram){0};
}

static void publish(struct probe *probe, uint32_t place, uint64_t moment_ns)
{
    struct crowd_member *member = &probe->crowd.members[place];
    struct stamp stamp = {
        .publisher = member->index, .sequence = probe->sent[place], .sent_ns = moment_ns};
    char topic[TOPIC_BYTES];

    topic_of(member, topic);
    uint8_t *payload = member->client == NULL
                           ? NULL
                           : load_publish(member->client, slice_text(topic), 0, false, STAMP_BYTES);
    if (payload != NULL) {
        stamp_write(payload, STAMP_BYTES, &stamp);
        probe->sent[place]++;
        probe->sent_count++;
    }
}

uint64_t probe_publish_due(struct probe *probe, uint64_t now_ns)
{
    uint32_t count = probe->crowd.count;
    if (count == 0) {
        return UINT64_MAX;
    }
    while (true) {
        uint64_t moment_ns = probe->begin_ns + probe->turn * SECOND_NS / PROBE_RATE / count;
        if (moment_ns > now_ns) {
            return moment_ns;
        }
        publish(probe, (uint32_t)(probe->turn % count), moment_ns);
        probe->turn++;
    }
}

void probe_settle(struct probe *probe)
{
    uint64_t came_count = probe->came_count, progress_ns = load_clock_ns();
    while (probe->came_count < probe->sent_count && !probe->crowd.is_broken &&
           load_clock_ns() - progress_ns < CROWD_DRAIN_NS) {
        watch_turn(probe->options, probe->load, CROWD_TURN_NS);
        if (probe->came_count != came_count) {
            came_count = probe->came_count;
            progress_ns = load_clock_ns();
        }
    }
    for (uint32_t i = 0; i < probe->crowd.count; i++) {
        probe->report->lost_count += track_lost(&probe->tracks[i], probe->sent[i]);
    }
}
