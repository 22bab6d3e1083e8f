/* wheel: the life of keep alive timers: set far away, moved often, fired rarely. */
#include "bench/micro/micro.h"
#include "core/base/rng.h"
#include "core/base/wheel.h"

enum { TIMER_COUNT = 100000 };

struct bench {
    struct wheel *wheel;
    struct timer *timers;
    uint64_t now_ns;
    struct rng rng;
};

static void on_fire(struct timer *timer)
{
    micro_keep((uintptr_t)timer);
}

static uint64_t soon(struct bench *bench)
{
    return bench->now_ns + 1000000000 + rng_below(&bench->rng, 90000000000);
}

static void moves(void *context, uint64_t ops)
{
    struct bench *bench = context;
    for (uint64_t i = 0; i < ops; i++) {
        struct timer *timer = &bench->timers[rng_below(&bench->rng, TIMER_COUNT)];
        wheel_set(bench->wheel, timer, soon(bench));
    }
}

static void nexts(void *context, uint64_t ops)
{
    const struct bench *bench = context;
    for (uint64_t i = 0; i < ops; i++) {
        micro_keep(wheel_next_ns(bench->wheel));
    }
}

static void sets_until_fired(void *context, uint64_t ops)
{
    struct bench *bench = context;
    for (uint64_t i = 0; i < ops; i++) {
        struct timer *timer = &bench->timers[i % TIMER_COUNT];
        if (!timer_is_set(timer)) {
            wheel_set(bench->wheel, timer, soon(bench));
        }
        if (i % 64 == 63) {
            bench->now_ns += 50000000;
            wheel_run(bench->wheel, bench->now_ns);
        }
    }
}

int main(void)
{
    struct bench bench = {.now_ns = 1000000000};
    rng_init(&bench.rng, 1);
    bench.wheel = wheel_new(bench.now_ns);
    bench.timers = calloc(TIMER_COUNT, sizeof(*bench.timers));
    for (int i = 0; i < TIMER_COUNT; i++) {
        timer_init(&bench.timers[i], on_fire);
        wheel_set(bench.wheel, &bench.timers[i], soon(&bench));
    }
    micro_run("wheel move, 100k timers", moves, &bench, 2000000);
    micro_run("wheel next", nexts, &bench, 10000000);
    micro_run("wheel set, cascade and fire, per timer", sets_until_fired, &bench, 2000000);
    wheel_free(bench.wheel);
    free(bench.timers);
    return 0;
}
