/*
 * report: the figures of one run, and what follows from them.
 *
 * Floor:  bench.
 * Thread: the owner.
 * Memory: the struct is large (a histogram): static or heap. It borrows what it points to.
 *
 * Who runs a scenario fills it; report.c draws conclusions and prints lines for people;
 * report_json.h writes and reads the file, report_markdown.h a page to paste, plot.h a picture.
 */
#ifndef TERN_BENCH_REPORT_H
#define TERN_BENCH_REPORT_H

#include "bench/report/environment.h"
#include "bench/report/histogram.h"
#include "bench/report/series.h"
#include "bench/report/target.h"
#include "bench/report/target_metrics.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { REPORT_PHASES_MAX = 8, REPORT_AGREED_BYTES = 96 };

/* A part of a run with a rate of its own: "store", "resume", "drain". */
struct report_phase {
    const char *name, *unit; /* constants; unit: what is counted, in the plural: "messages" */
    uint64_t count, ns;
    uint64_t broker_cpu_ns;          /* 0: unknown */
    uint64_t p50_ns, p99_ns, max_ns; /* all 0: no latency was measured */
    uint64_t broker_written_bytes;   /* to its disk, meanwhile; 0: none, or unknown */
    uint64_t broker_resident_bytes;  /* at its end; 0: unknown */
};

struct report {
    const char *scenario; /* of the table in scenario.c: plain letters */
    uint32_t publisher_count, subscriber_count, window, burst, payload_bytes;
    uint8_t qos;
    double rate;              /* messages a second asked for; 0: as fast as the window allows */
    uint32_t generator_count; /* threads and agents that made the load; 0 is 1 */
    const char *transport;    /* "websocket", "tls", "wss"; NULL: plain TCP */
    bool is_persistent;       /* sessions that outlive their connections */

    /* TLS: its handshakes, but those that only fetched tickets; all 0 without. */
    bool is_resuming; /* asked for: clients that come again resume */
    uint64_t handshake_count, resumed_count;
    char agreed[REPORT_AGREED_BYTES]; /* "TLSv1.3 TLS_AES_128_GCM_SHA256 X25519"; "": nothing */

    /* Inside the measured window. */
    uint64_t window_ns;
    uint64_t delivered_count;
    uint64_t connected_count;
    bool has_target; /* the broker's use could be read, from its process or its metrics */
    struct target_usage target_before, target_after;
    uint64_t bench_cpu_ns;    /* of all generators */
    struct histogram latency; /* ns; of deliveries, or of connects */

    /* How well the generator kept its own time. */
    double rate_reached;                       /* messages a second that left; open loop */
    uint64_t lateness_p99_ns, lateness_max_ns; /* how long after its moment a message left */
    uint64_t clock_error_ns; /* of latencies between generators on several machines, at most */
    uint64_t unsent_count;   /* intended, never sent: the broker took no more; no violation */
    bool is_generator_bound; /* the figures are the generator's, not the broker's */
    bool is_stopped_early;   /* by the user; the account is whole, the window is shorter */

    /* Over the whole run: all of these must be 0. */
    uint64_t sent_count, received_count;
    uint64_t lost_count, repeated_count, disordered_count, corrupt_count;
    uint64_t misdelivered_count; /* whole, ours, and not for this subscriber */
    uint64_t forgotten_count;    /* sessions that were to outlive their connection and did not */
    uint64_t refused_count;      /* connections that were refused or broke */
    bool is_stalled;             /* nothing came for too long */

    /* Fairness within a shared subscription; member_count 0: there was none. */
    uint32_t member_count;
    uint64_t member_min, member_max; /* deliveries of the least and of the most served member */
    double jain;                     /* Jain's index: 1 is fair, 1 / member_count is all to one */

    /* Memory of what is held: connections (idle_count), or things named in the plural. */
    uint64_t idle_count;
    const char *thing_name; /* "subscriptions", "retained messages"; NULL: none */
    uint64_t thing_count;
    uint64_t kernel_bytes_before,
        kernel_bytes_after; /* slab and sockets of the machine; 0: unknown */
    bool is_same_machine;   /* both ends of every connection are in kernel_bytes */

    struct report_phase phases[REPORT_PHASES_MAX];
    uint32_t phase_count;

    /* As the broker itself counts, window and drain together; of target_metrics. */
    bool has_account;
    struct target_account account;

    struct series *series;                 /* NULL: none was kept; borrowed */
    const struct environment *environment; /* NULL: not told; borrowed */
};

/* Nothing lost, repeated, out of order, changed, misdelivered or refused, and no stall. */
bool report_is_clean(const struct report *report);

/* CPU time of the broker per delivered message (or per connect), microseconds; 0 if not known. */
double report_cpu_us(const struct report *report);
double report_cpu_user_us(const struct report *report);   /* of that in user space, rough */
double report_cpu_system_us(const struct report *report); /* and in the kernel */

/* Of one core, in the window: 1.5 is one and a half. 0 if not known. */
double report_broker_cores(const struct report *report);
double report_bench_cores(const struct report *report);

/* Deliveries (or connects) a second. */
double report_per_second(const struct report *report);

/* The same for each core's worth of CPU time that the broker used; 0 if not known. */
double report_per_second_and_core(const struct report *report);

/*
 * Sessions were to be resumed, and fewer than 99 % of the handshakes did so: what the figures are of is
 * a mixture.
 */
bool report_is_hardly_resumed(const struct report *report);

/* Bytes of the broker's memory per idle connection. */
double report_idle_bytes(const struct report *report);

/* Bytes of the broker's memory per thing (or idle connection); 0 if not known. */
double report_thing_bytes(const struct report *report);

/*
 * The same of the kernel; 0 if not known. What it holds is known of the whole machine only: of fewer
 * connections than these, or where it shrank meanwhile, the rest of the machine is all there is to
 * see, and that is not known either.
 */
enum { REPORT_KERNEL_CONNECTIONS_MIN = 1000 };
double report_kernel_bytes(const struct report *report);

/* Why the generator was the bottleneck and what to do about it; "" when it was not. */
enum { REPORT_ADVICE_BYTES = 400 };
const char *report_advice(const struct report *report, char out[REPORT_ADVICE_BYTES]);

/*
 * The violations by name. *cursor starts at 0; false: no (more) of them. Those with count 0 come
 * too: reports print all, messages skip them.
 */
struct report_violation {
    const char *key;   /* "lost": of JSON and of --assert */
    const char *title; /* "lost", "out of order": for people */
    uint64_t count;    /* is_stalled: 1 */
};
bool report_violation_next(const struct report *report, uint32_t *cursor,
                           struct report_violation *out);

/* Lines for people. */
void report_print(const struct report *report, FILE *out);

/* One line of JSON: all of it; see report_json.h. */
void report_print_json(const struct report *report, FILE *out);

#endif
