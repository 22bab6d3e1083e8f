/* wheel: the life of keep alive timers: set far away, moved often, fired rarely. */
#include "bench/micro/micro.h"
#include "core/base/rng.h"
#include "core/base/wheel.h"

struct bench {
    uint32_t timer_count;
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
        struct timer *timer = &bench->timers[rng_below(&bench->rng, bench->timer_count)];
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

/* Time goes on and what fires is set again, as the keep alive of a client who is still there. */
static void turns(void *context, uint64_t ops)
{
    struct bench *bench = context;
    for (uint64_t i = 0; i < ops; i++) {
        bench->now_ns += 50000000;
        wheel_run(bench->wheel, bench->now_ns);
    }
    for (uint32_t i = 0; i < bench->timer_count; i++) {
        if (!timer_is_set(&bench->timers[i])) {
            wheel_set(bench->wheel, &bench->timers[i], soon(bench));
        }
    }
}

static void sets_until_fired(void *context, uint64_t ops)
{
    struct bench *bench = context;
    for (uint64_t i = 0; i < ops; i++) {
        struct timer *timer = &bench->timers[i % bench->timer_count];
        if (!timer_is_set(timer)) {
            wheel_set(bench->wheel, timer, soon(bench));
        }
        if (i % 64 == 63) {
            bench->now_ns += 50000000;
            wheel_run(bench->wheel, bench->now_ns);
        }
    }
}

/* How long does one turn stand still when many timers cascade at once? Over 5 min, each of 1 ms. */
static void longest_turn(struct bench *bench)
{
    char name[64];
    uint64_t longest_ns = 0;
    for (uint64_t i = 0; i < micro_scaled(300000); i++) {
        uint64_t start = micro_cpu_ns();
        bench->now_ns += 1000000;
        wheel_run(bench->wheel, bench->now_ns);
        uint64_t ns = micro_cpu_ns() - start;
        longest_ns = ns > longest_ns ? ns : longest_ns;
    }
    snprintf(name, sizeof(name), "wheel longest turn of 1 ms, %u timers", bench->timer_count);
    micro_value(name, (double)longest_ns / 1000, "us");
    turns(bench, 0); /* set again what fired */
}

static void run(uint32_t timer_count)
{
    struct bench bench = {.timer_count = timer_count, .now_ns = 1000000000};
    char name[64];
    rng_init(&bench.rng, 1);
    bench.wheel = wheel_new(bench.now_ns);
    bench.timers = calloc(timer_count, sizeof(*bench.timers));
    for (uint32_t i = 0; i < timer_count; i++) {
        timer_init(&bench.timers[i], on_fire);
        wheel_set(bench.wheel, &bench.timers[i], soon(&bench));
    }
    snprintf(name, sizeof(name), "wheel move, %u timers", timer_count);
    micro_run(name, moves, &bench, 2000000);
    snprintf(name, sizeof(name), "wheel next, %u timers", timer_count);
    micro_run(name, nexts, &bench, 10000000);
    snprintf(name, sizeof(name), "wheel a turn of 50 ms, %u timers", timer_count);
    micro_run(name, turns, &bench, 1000);
    longest_turn(&bench);
    snprintf(name, sizeof(name), "wheel set, cascade, fire, each of %u", timer_count);
    micro_run(name, sets_until_fired, &bench, 2000000);
    wheel_free(bench.wheel);
    free(bench.timers);
}

int main(int argc, char **argv)
{
    static const uint32_t counts[] = {1000, 100000, 1000000};
    micro_begin(argc, argv);
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        run((uint32_t)micro_scaled(counts[i]));
    }
    return 0;
}
