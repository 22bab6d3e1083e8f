/*
 * rng: DOOR chance. Seeded generator (xoshiro256**, D. Blackman and S. Vigna 2018), one per shard.
 *
 * Floor:  base. Not for secrets: those come from BoringSSL's generator.
 * Thread: the owner.
 */
#ifndef TERN_BASE_RNG_H
#define TERN_BASE_RNG_H

#include <stdint.h>

struct rng {
    uint64_t state[4];
};

/* The same seed gives the same numbers for ever. */
void rng_init(struct rng *rng, uint64_t seed);

/* A seed from the system (getrandom). */
uint64_t rng_system_seed(void);

uint64_t rng_u64(struct rng *rng);

/* Even over [0, bound); bound > 0 (D. Lemire, "Fast random integer generation", 2019). */
uint64_t rng_below(struct rng *rng, uint64_t bound);

#endif
