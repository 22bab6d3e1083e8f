/*
 * feeder: a few publishers that hand the broker so many messages, acknowledged every one.
 *
 * Each publisher has at most `window` of them under way, less when the broker's Receive Maximum is
 * lower, and what has come free leaves in one write. Latency is from PUBLISH to the end of the
 * exchange; brokers acknowledge one publisher's messages in their order [MQTT-4.6.0-2], so the
 * oldest under way is the one that is finished.
 *
 * With a rate each message has its moment, and latency is from there: one that finds the window full
 * waits, and that is in its latency.
 *
 * Floor:  bench; knows crowd and check.
 * Thread: the owner.
 * Memory: a moment per message under way; freed by feeder_deinit() after load_free().
 */
#ifndef TERN_BENCH_FEEDER_H
#define TERN_BENCH_FEEDER_H

#include "bench/load/check.h"
#include "bench/report/histogram.h"
#include "bench/scenario/crowd.h"
#include "bench/scenario/pace.h"

enum {
    FEEDER_TOPIC_BYTES = 64,
    FEEDER_PUBLISHERS = 8,
    FEEDER_WINDOW = 64,
};

struct feeder;

/*
 * Say to which topic publisher's message `number` (from 0, without gaps) goes, and what its payload
 * says; sent_ns is filled in afterwards.
 */
typedef void feeder_writer(struct feeder *feeder, uint32_t publisher, uint64_t number,
                           char topic[FEEDER_TOPIC_BYTES], struct stamp *stamp);

struct feeder {
    const struct scenario_options *options;
    struct report *report; /* sent_count, refused_count, is_stalled */
    struct load *load;
    feeder_writer *write;
    void *owner;
    uint8_t qos; /* 1 or 2 */
    bool retain;
    uint32_t payload_bytes; /* 0: empty, no stamp */
    uint32_t publisher_count, window;
    double
        rate; /* open loop: so many a second in all, each at its moment; 0: as the window allows */
    bool is_quiet; /* not written into sent_count */

    struct crowd crowd;
    struct feeder_sender *senders;
    struct histogram *latency;           /* of all so far */
    uint64_t sent_count, finished_count; /* of the last feeder_send() */
    uint64_t progress_ns;
    struct pace *pace; /* rate > 0: of the last feeder_send() */
};

/* --window, or FEEDER_WINDOW. */
static inline uint32_t feeder_window(const struct scenario_options *options)
{
    return options->window > 0 ? options->window : FEEDER_WINDOW;
}

/* Fill in the fields above the empty line, then this. ERR_NOMEM. */
enum err feeder_init(struct feeder *feeder);
void feeder_deinit(struct feeder *feeder); /* accepts a zeroed one */

/* Connect the publishers. As crowd_gather(). */
enum err feeder_gather(struct feeder *feeder);

/* How many of count messages are this publisher's: they are dealt out evenly. */
uint64_t feeder_quota(const struct feeder *feeder, uint32_t publisher, uint64_t count);

/*
 * Send count messages in all and wait until all are finished, nothing has been finished for
 * CROWD_STALL_NS (is_stalled), or the crowd is broken. When the user wants the run to end, no more is
 * sent but what is under way is waited for. finished_count says how many were.
 */
void feeder_send(struct feeder *feeder, uint64_t count);

/* As many messages of each publisher as it sent the last time, which may have ended early. */
void feeder_send_again(struct feeder *feeder);

/* How many messages of the last feeder_send() this publisher sent. */
uint64_t feeder_sent(const struct feeder *feeder, uint32_t publisher);

void feeder_leave(struct feeder *feeder);

#endif
