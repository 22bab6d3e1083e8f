/*
 * crew_clock: what an agent adds to its own clock to get its leader's, and how wrong that may be.
 *
 *      agent   t0 ──ping──>                 ──pong──> t1        offset = at - (t0 + t1) / 2
 *      leader               at                                   error <= (t1 - t0) / 2
 *
 * The answer was given at some moment between t0 and t1, so half of the round trip bounds the error
 * however uneven the two ways are. The quickest round trip tells most. As it ages, clocks drift
 * apart: CREW_CLOCK_DRIFT_PPM is added to its bound, and a fresher one takes over.
 *
 * Floor:  bench.
 * Thread: the owner.
 * Memory: inside the struct; a zeroed one knows nothing.
 */
#ifndef TERN_BENCH_CREW_CLOCK_H
#define TERN_BENCH_CREW_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

enum {
    CREW_CLOCK_SAMPLES = 16,
    CREW_CLOCK_DRIFT_PPM = 100, /* two quartz clocks, generously */
    CREW_CLOCK_NAME_BYTES = 128,
};

struct crew_clock {
    bool is_same; /* one machine, one clock: nothing to estimate */
    uint32_t count;
    struct crew_clock_sample {
        int64_t offset_ns;
        uint64_t error_ns, taken_ns;
    } samples[CREW_CLOCK_SAMPLES];
};

/*
 * Which monotonic clock this process reads: the same text in two processes means the same clock
 * (one boot of one machine, one time namespace). "" when the system does not say. Returns out.
 */
const char *crew_clock_name(char out[CREW_CLOCK_NAME_BYTES]);

/* A round trip: sent and received by our own clock, answered by the leader's. */
void crew_clock_add(struct crew_clock *clock, uint64_t sent_ns, uint64_t answered_ns,
                    uint64_t received_ns);

/* False: nothing is known. Else the best estimate as of now_ns (own clock) and its bound. */
bool crew_clock_read(const struct crew_clock *clock, uint64_t now_ns, int64_t *offset_ns,
                     uint64_t *error_ns);

#endif
