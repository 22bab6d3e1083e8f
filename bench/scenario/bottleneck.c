#include "bench/scenario/bottleneck.h"

#define OWN_CORES_MAX    0.95
#define LATENESS_NS_MAX  1e6
#define LATENESS_PART    0.1
#define RATE_PART_MIN    0.99
#define BROKER_CORES_MIN 0.9

bool bottleneck_is_generator(const struct bottleneck_facts *facts)
{
    bool is_busy = facts->own_cores >= OWN_CORES_MAX; /* B1 */
    bool is_late = facts->latency_p99_ns > 0 && facts->lateness_p99_ns > LATENESS_NS_MAX &&
                   facts->lateness_p99_ns > LATENESS_PART * facts->latency_p99_ns; /* B2 */
    bool is_short = facts->rate > 0 && facts->rate_reached < RATE_PART_MIN * facts->rate;
    bool is_broker_idle = !facts->has_broker_cores || facts->broker_cores < BROKER_CORES_MIN;
    return is_busy || is_late || (is_short && is_broker_idle && !facts->is_held_back); /* B3 */
}
