#include "bench/scenario/feeder.h"

#include "bench/scenario/watch.h"

#include <stdlib.h>

struct feeder_sender {
    uint64_t sent, finished, quota;
    uint64_t *moments; /* ring: when the messages under way were sent */
};

uint64_t feeder_quota(const struct feeder *feeder, uint32_t publisher, uint64_t count)
{
    return count / feeder->publisher_count + (publisher < count % feeder->publisher_count ? 1 : 0);
}

/* False: the client takes no more now. */
static bool send_one(struct feeder *feeder, struct crowd_member *member, uint64_t moment_ns)
{
    struct feeder_sender *sender = &feeder->senders[member->index];
    struct stamp stamp = {.publisher = member->index, .sequence = sender->sent};
    char topic[FEEDER_TOPIC_BYTES];

    feeder->write(feeder, member->index, sender->sent, topic, &stamp);
    uint8_t *payload = load_publish(member->client, slice_text(topic), feeder->qos, feeder->retain,
                                    feeder->payload_bytes);
    if (payload == NULL) {
        return false;
    }
    if (feeder->payload_bytes > 0) {
        stamp.sent_ns = moment_ns;
        stamp_write(payload, feeder->payload_bytes, &stamp);
    }
    sender->moments[sender->sent % feeder->window] = moment_ns;
    watch_sent(feeder->options, moment_ns);
    sender->sent++;
    feeder->sent_count++;
    feeder->report->sent_count += feeder->is_quiet ? 0 : 1;
    return true;
}

/* When the next message of this one should leave: with a rate its moment, else now. */
static uint64_t moment_of(const struct feeder *feeder, uint32_t publisher, uint64_t now_ns)
{
    return feeder->rate > 0
               ? pace_moment_ns(feeder->pace, publisher, feeder->senders[publisher].sent)
               : now_ns;
}

static void pump(struct feeder *feeder, struct crowd_member *member)
{
    struct feeder_sender *sender = &feeder->senders[member->index];
    uint64_t now_ns = load_clock_ns(), moment_ns;
    while (sender->sent < sender->quota && sender->sent - sender->finished < feeder->window &&
           load_credit(member->client) > 0 && !crowd_is_over(&feeder->crowd) &&
           (moment_ns = moment_of(feeder, member->index, now_ns)) <= now_ns &&
           send_one(feeder, member, moment_ns)) {
    }
}

/* How long nothing is to be sent: until the next moment, which is then visited. */
static uint64_t pump_due(struct feeder *feeder)
{
    uint64_t now_ns = load_clock_ns(), next_ns;
    while ((next_ns = pace_next_ns(feeder->pace)) <= now_ns) {
        struct crowd_member *member = &feeder->crowd.members[pace_visit(feeder->pace, now_ns)];
        if (member->client != NULL) {
            pump(feeder, member);
        }
    }
    return next_ns - now_ns < CROWD_TURN_NS ? next_ns - now_ns : CROWD_TURN_NS;
}

static void on_finished(struct crowd_member *member)
{
    struct feeder *feeder = member->crowd->owner;
    struct feeder_sender *sender = &feeder->senders[member->index];
    uint64_t now_ns = load_clock_ns();
    uint64_t latency_ns = now_ns - sender->moments[sender->finished % feeder->window];
    histogram_add(feeder->latency, latency_ns);
    watch_delivery(feeder->options, now_ns, latency_ns);
    sender->finished++;
    feeder->finished_count++;
    feeder->progress_ns = now_ns;
    pump(feeder, member);
}

static const struct crowd_events events = {.finished = on_finished};

enum err feeder_init(struct feeder *feeder)
{
    feeder->crowd = (struct crowd){
        .options = feeder->options,
        .report = feeder->report,
        .load = feeder->load,
        .name = "feed",
        .events = &events,
        .owner = feeder,
        .session = LOAD_SESSION_CLEAN,
    };
    TRY(crowd_init(&feeder->crowd, feeder->publisher_count));
    feeder->senders = calloc(feeder->publisher_count, sizeof(feeder->senders[0]));
    feeder->latency = calloc(1, sizeof(*feeder->latency));
    feeder->pace = calloc(1, sizeof(*feeder->pace));
    if (feeder->senders == NULL || feeder->latency == NULL || feeder->pace == NULL) {
        return ERR_NOMEM;
    }
    for (uint32_t i = 0; i < feeder->publisher_count; i++) {
        feeder->senders[i].moments = calloc(feeder->window, sizeof(uint64_t));
        if (feeder->senders[i].moments == NULL) {
            return ERR_NOMEM;
        }
    }
    return OK;
}

void feeder_deinit(struct feeder *feeder)
{
    for (uint32_t i = 0; feeder->senders != NULL && i < feeder->publisher_count; i++) {
        free(feeder->senders[i].moments);
    }
    free(feeder->senders);
    free(feeder->latency);
    free(feeder->pace);
    crowd_deinit(&feeder->crowd);
}

enum err feeder_gather(struct feeder *feeder)
{
    return crowd_gather(&feeder->crowd, CROWD_COMING_MAX);
}

/* Something is under way, or to be sent and the user has not had enough. */
static bool has_more(const struct feeder *feeder, uint64_t count)
{
    return crowd_is_over(&feeder->crowd) ? feeder->finished_count < feeder->sent_count
                                         : feeder->finished_count < count;
}

/* Quotas are set and add up to count. */
static void send_quotas(struct feeder *feeder, uint64_t count)
{
    struct crowd *crowd = &feeder->crowd;
    feeder->sent_count = feeder->finished_count = 0;
    feeder->progress_ns = load_clock_ns();
    if (feeder->rate > 0) {
        uint64_t duration_ns = (uint64_t)((double)count / feeder->rate * 1e9);
        pace_init(feeder->pace, feeder->rate, duration_ns, feeder->publisher_count, NULL);
        pace_begin(feeder->pace, feeder->progress_ns);
        feeder->pace->is_measuring = true;
    }
    for (uint32_t i = 0; i < crowd->count; i++) {
        feeder->senders[i].sent = feeder->senders[i].finished = 0;
        if (crowd->members[i].client != NULL && feeder->rate <= 0) {
            pump(feeder, &crowd->members[i]);
        }
    }
    while (!crowd->is_broken && has_more(feeder, count)) {
        uint64_t wait_ns = feeder->rate > 0 ? pump_due(feeder) : CROWD_TURN_NS;
        watch_turn(feeder->options, crowd->load, wait_ns);
        if (load_clock_ns() - feeder->progress_ns > CROWD_STALL_NS) {
            feeder->report->is_stalled = true;
            return;
        }
    }
}

void feeder_send(struct feeder *feeder, uint64_t count)
{
    for (uint32_t i = 0; i < feeder->publisher_count; i++) {
        feeder->senders[i].quota = feeder_quota(feeder, i, count);
    }
    send_quotas(feeder, count);
}

void feeder_send_again(struct feeder *feeder)
{
    uint64_t count = feeder->sent_count;
    for (uint32_t i = 0; i < feeder->publisher_count; i++) {
        feeder->senders[i].quota = feeder->senders[i].sent;
    }
    send_quotas(feeder, count);
}

uint64_t feeder_sent(const struct feeder *feeder, uint32_t publisher)
{
    return feeder->senders[publisher].sent;
}

void feeder_leave(struct feeder *feeder)
{
    crowd_leave(&feeder->crowd);
}
