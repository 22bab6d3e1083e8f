/* Messages: when they leave, and what happens when they come. */
#include "bench/crew/crew.h"
#include "bench/load/check.h"
#include "bench/scenario/scenario_messages.h"
#include "bench/scenario/watch.h"
#include "core/base/assert.h"

enum { VISITS_MAX = 4096 }; /* moments visited before sockets are looked at again */

/* False: the client is gone or takes no more. */
static bool publish(struct publisher *publisher, uint64_t intended_ns, uint64_t now_ns)
{
    struct messages *run = publisher->run;
    const struct scenario_options *options = run->options;
    const struct topic *topic =
        &run->topics[shape_topic_of(run->shape, publisher->index, publisher->sent)];
    struct stamp stamp = {
        .publisher = publisher->index,
        .sequence = publisher->sent,
        .sent_ns = crew_common_ns(options->crew, intended_ns),
    };
    uint8_t *payload = publisher->client == NULL
                           ? NULL
                           : load_publish(publisher->client, slice_of(topic->text, topic->bytes),
                                          publisher->qos, false, options->payload_bytes);
    if (payload == NULL) {
        return false;
    }
    stamp_write(payload, options->payload_bytes, &stamp);
    publisher->sent++;
    run->sent_count++;
    watch_sent(options, now_ns);
    return true;
}

/* ---- closed loop ---- */

/* So many are neither delivered everywhere nor, with QoS 1 and 2, finished with the broker. */
static uint64_t under_way(struct publisher *publisher)
{
    struct messages *run = publisher->run;
    while (publisher->done < publisher->sent) {
        if (publisher->done_at == 0) { /* the first of all */
            publisher->done_at = shape_receiver_count(run->shape, publisher->index, 0);
        }
        if (publisher->delivered < publisher->done_at) {
            break;
        }
        publisher->done++;
        publisher->done_at += shape_receiver_count(run->shape, publisher->index, publisher->done);
    }
    uint64_t done = publisher->done;
    if (publisher->qos > 0 && publisher->finished < done) {
        done = publisher->finished;
    }
    return publisher->sent - done;
}

static bool has_credit(const struct publisher *publisher, uint32_t count)
{
    return publisher->qos == 0 || publisher->client == NULL ||
           load_credit(publisher->client) >= count;
}

void messages_pump(struct publisher *publisher)
{
    struct messages *run = publisher->run;
    const struct scenario_options *options = run->options;

    if (!run->is_sending || run->pace != NULL) {
        return;
    }
    while (under_way(publisher) + options->burst <= options->window &&
           has_credit(publisher, options->burst)) {
        uint64_t now_ns = load_clock_ns();
        for (uint32_t i = 0; i < options->burst; i++) {
            if (!publish(publisher, now_ns, now_ns)) {
                return; /* it is ending, and `closed` will tell; or too much is queued */
            }
        }
    }
}

/* ---- open loop ---- */

static bool has_room(const struct publisher *publisher)
{
    struct messages *run = publisher->run;
    if (publisher->client == NULL || !has_credit(publisher, 1)) {
        return false;
    }
    bool is_full = load_unsent_bytes(publisher->client) >= run->backlog_bytes_max;
    run->is_held_back |= is_full && run->is_measuring;
    return !is_full;
}

/* M1: what is due leaves, unless the broker takes no more or it is too late for it. */
static void send_owed(struct publisher *publisher, uint64_t now_ns)
{
    struct messages *run = publisher->run;
    while (publisher->sent + publisher->given_up < publisher->turn_count) {
        uint64_t moment_ns = pace_moment_ns(run->pace, publisher->index,
                                            publisher->sent + publisher->given_up);
        if (now_ns > moment_ns + UNSENT_NS) {
            publisher->given_up++;
        } else if (!has_room(publisher) || !publish(publisher, moment_ns, now_ns)) {
            break;
        }
    }
}

void messages_send_due(struct messages *run)
{
    uint64_t now_ns = load_clock_ns();
    for (uint32_t i = 0; i < VISITS_MAX && pace_next_ns(run->pace) <= now_ns; i++) {
        struct publisher *publisher = &run->publishers[pace_visit(run->pace, now_ns)];
        publisher->turn_count++;
        send_owed(publisher, now_ns);
        now_ns = load_clock_ns();
    }
}

void messages_give_up(struct messages *run, bool is_whole)
{
    uint64_t now_ns = load_clock_ns();
    for (uint32_t i = 0; i < run->shape->publisher_count; i++) {
        struct publisher *publisher = &run->publishers[i];
        if (!crew_owns(run->options->crew, i)) {
            continue;
        }
        if (!run->is_broken) {
            send_owed(publisher, now_ns);
        }
        if (is_whole) {
            publisher->turn_count = pace_turn_count(run->pace, i);
        }
        publisher->given_up = publisher->turn_count - publisher->sent;
        run->report->unsent_count += publisher->given_up;
    }
}

/* ---- arrivals ---- */

/* Ours, whole, as it was published, and neither marked as old nor as sent before. */
static bool is_intact(const struct messages *run, const struct mqtt_publish *message,
                      struct stamp *stamp)
{
    if (message->payload.count != run->options->payload_bytes ||
        !stamp_read(message->payload, stamp) || stamp->publisher >= run->shape->publisher_count ||
        message->qos != run->publishers[stamp->publisher].qos || message->dup || message->retain) {
        return false;
    }
    const struct topic *topic =
        &run->topics[shape_topic_of(run->shape, stamp->publisher, stamp->sequence)];
    return slice_equal(message->topic, slice_of(topic->text, topic->bytes));
}

static void measure(struct messages *run, const struct stamp *stamp, uint64_t received_ns)
{
    uint64_t common_ns = crew_common_ns(run->options->crew, received_ns);
    uint64_t latency_ns = common_ns > stamp->sent_ns ? common_ns - stamp->sent_ns : 0;
    run->report->delivered_count += run->is_measuring ? 1 : 0;
    if (stamp->sent_ns >= run->measure_begin_ns && stamp->sent_ns < run->measure_end_ns) {
        histogram_add(&run->report->latency, latency_ns);
    }
    watch_delivery(run->options, received_ns, latency_ns);
}

void messages_on_message(struct load_client *client, const struct mqtt_publish *message,
                         uint64_t received_ns)
{
    struct subscriber *subscriber = load_owner(client);
    struct messages *run = subscriber->run;
    struct stamp stamp;

    run->report->received_count++;
    run->progress_ns = received_ns;
    if (!is_intact(run, message, &stamp)) {
        run->report->corrupt_count++;
        return;
    }
    enum account_verdict verdict = account_add(run->account, subscriber->index, stamp.publisher,
                                               stamp.sequence);
    if (verdict == ACCOUNT_REPEATED || verdict == ACCOUNT_MISDELIVERED) {
        return;
    }
    measure(run, &stamp, received_ns);
    struct publisher *publisher = &run->publishers[stamp.publisher];
    publisher->delivered++;
    messages_pump(publisher);
}

void messages_on_finished(struct load_client *client)
{
    struct publisher *publisher = load_owner(client);
    struct messages *run = publisher->run;
    publisher->finished++;
    run->progress_ns = load_clock_ns();
    if (run->pace == NULL) {
        messages_pump(publisher);
    } else if (run->is_sending) {
        send_owed(publisher, run->progress_ns); /* what waited for credit */
    }
}
