/*
 * classic_payload: what `tern-bench pub` puts into a message, and what `sub` reads from one.
 *
 *     [ cnt64 | ts, in the order of --payload-hdrs, 8 bytes each ]
 *     [ our stamp and what follows from it, or letters, or the message of -m ]
 *
 * Floor:  bench.
 * Thread: the owner.
 */
#ifndef TERN_BENCH_CLASSIC_PAYLOAD_H
#define TERN_BENCH_CLASSIC_PAYLOAD_H

#include "bench/command/options.h"
#include "core/base/slice.h"

enum { PAYLOAD_PROBLEM_BYTES = 256 };

struct payload;

/*
 * As the options say: size, message, headers.
 * ERR_INVALID: problem names the option. ERR_NOMEM.
 */
enum err payload_new(const struct options *options, struct payload **out,
                     char problem[PAYLOAD_PROBLEM_BYTES]);
void payload_free(struct payload *payload); /* accepts NULL */

/*
 * The next message of a publisher: number says which one, sequence which of its messages (from 0),
 * moment_ns when it should leave, on load_clock_ns(). Borrowed until the next call. count 0 and
 * data NULL: memory is exhausted, or it has become larger than MQTT allows.
 */
struct slice payload_make(struct payload *payload, uint32_t number, uint64_t sequence,
                          uint64_t moment_ns);

struct payload_facts {
    bool has_stamp, has_time, has_count;
    uint64_t stamp_ns; /* load_clock_ns() of the machine that sent it */
    uint64_t time_ms;  /* ts: since 1970 */
    uint64_t count;    /* cnt64 */
};

/* What a received one says; is_stamped: look for our stamp too. */
struct payload_facts payload_read(const struct payload *payload, struct slice bytes,
                                  bool is_stamped);

#endif
