/*
 * scenario_messages: publishers, subscribers, and what the files that run them share.
 *
 *     scenario_messages.c          the stages: set up, warm up, measure, drain, settle
 *     scenario_messages_clients.c  clients: how they come, what they say when they go
 *     scenario_messages_flow.c     messages: when they leave, and what happens when they come
 *
 * Floor:  bench; included by scenario_messages*.c only.
 * Thread: one per generator.
 *
 * Invariants
 *   M1  a publisher's message s of an open loop is that of its turn s + given_up: turns are either
 *       sent or given up, in order. turn_count is how many have been visited.
 *   M2  client is NULL before it was asked for and after it is gone.
 *   M3  once is_broken, nothing more is sent; what has come until then is still accounted for.
 */
#ifndef TERN_BENCH_SCENARIO_MESSAGES_H
#define TERN_BENCH_SCENARIO_MESSAGES_H

#include "bench/scenario/account.h"
#include "bench/scenario/pace.h"
#include "bench/scenario/scenario_kinds.h"
#include "bench/scenario/shape.h"

struct messages;

struct publisher {
    struct messages *run;
    struct load_client *client; /* M2 */
    uint32_t index;
    uint8_t qos;
    uint64_t sent, finished;       /* finished: QoS 1 and 2, the broker has said so */
    uint64_t turn_count, given_up; /* open loop: M1 */
    /* Closed loop: deliveries so far; messages all of which came; deliveries up to one more. */
    uint64_t delivered, done, done_at;
};

struct subscriber {
    struct messages *run;
    struct load_client *client; /* M2 */
    uint32_t index;
    uint32_t filters_asked, filters_granted;
};

struct topic {
    char text[SHAPE_TEXT_BYTES];
    uint32_t bytes;
};

struct messages {
    const struct scenario_options *options;
    const struct shape *shape;
    struct report *report;
    struct load *load;
    struct account *account;
    struct pace *pace;              /* NULL: closed loop */
    struct publisher *publishers;   /* all of the crew's; clients are those of our own only */
    struct subscriber *subscribers; /* the same */
    struct topic *topics;
    uint32_t started_count, ready_count, own_count; /* clients of our own */
    uint32_t next_index;                            /* who is started next; subscribers first */
    uint64_t backlog_bytes_max;                     /* queued by one publisher */
    uint64_t sent_count;
    uint64_t progress_ns; /* when anything was last delivered or finished */
    /* Latencies are those of the messages that should have left from here to there, however late
     * they come: the drain of a broker that stood still at the end tells of it. */
    uint64_t measure_begin_ns, measure_end_ns;
    bool is_sending, is_measuring, is_broken, is_ending;
    char why_broken[LOAD_TEXT_MAX]; /* "": it is not, or nobody knows */
    bool is_held_back; /* in the window the broker did not read what a publisher had queued */
};

/* ---- clients ---- */

/* Connect our own, subscribe, wait for every welcome. OK too when the run was stopped meanwhile. */
enum err messages_set_up(struct messages *run);

/*
 * Persistent sessions: forget those of our clients' names, by connecting with a clean start. Before,
 * since an earlier run may have left some; after, so as not to leave any. ERR_TIMEOUT, ERR_CLOSED.
 */
enum err messages_wipe(struct messages *run);

void messages_say_goodbye(struct messages *run);

/* The events that clients are connected with. */
extern const struct load_events subscriber_events, publisher_events;

/* A client was lost, or refused: the run is broken, unless it is ending. */
void messages_lose(struct messages *run, const struct load_client *client, enum err why,
                   uint8_t reason);

/* ---- flow ---- */

/* Closed loop: fill the window, a burst at a time. */
void messages_pump(struct publisher *publisher);

/* Open loop: visit every moment up to now, a bounded number of them. */
void messages_send_due(struct messages *run);

/*
 * Open loop, at its end: all turns count as visited, what can leave leaves, and what cannot is given
 * up. is_whole: every turn up to the planned end, not only those visited.
 */
void messages_give_up(struct messages *run, bool is_whole);

void messages_on_message(struct load_client *client, const struct mqtt_publish *message,
                         uint64_t received_ns);
void messages_on_finished(struct load_client *client);

#endif
