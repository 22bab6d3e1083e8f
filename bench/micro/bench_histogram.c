/* bench_histogram: what it costs tern-bench to remember the latency of one delivery. */
#include "bench/micro/micro.h"
#include "bench/report/histogram.h"
#include "core/base/rng.h"

enum { OPS = 10000000, LATENCIES = 4096 };

static struct histogram histogram, other;
static uint64_t latencies_ns[LATENCIES];

static void adds(void *context, uint64_t ops)
{
    (void)context;
    for (uint64_t i = 0; i < ops; i++) {
        histogram_add(&histogram, latencies_ns[i % LATENCIES]);
    }
}

static void quantiles(void *context, uint64_t ops)
{
    (void)context;
    for (uint64_t i = 0; i < ops; i++) {
        micro_keep(histogram_quantile(&histogram, 0.99));
    }
}

static void merges(void *context, uint64_t ops)
{
    (void)context;
    for (uint64_t i = 0; i < ops; i++) {
        histogram_merge(&other, &histogram);
    }
}

int main(int argc, char **argv)
{
    struct rng rng;
    micro_begin(argc, argv);
    rng_init(&rng, 1);
    for (uint32_t i = 0; i < LATENCIES; i++) {
        latencies_ns[i] = 50000 + rng_below(&rng, UINT64_C(1) << rng_below(&rng, 24));
    }
    micro_run("histogram add", adds, NULL, OPS);
    micro_run("histogram quantile", quantiles, NULL, OPS / 10000);
    micro_run("histogram merge", merges, NULL, OPS / 10000);
    return 0;
}
