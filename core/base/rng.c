#include "core/base/rng.h"

#include "core/base/assert.h"

#include <errno.h>
#include <sys/random.h>

/* splitmix64 (G. Steele, D. Lea, C. Flood 2014): spreads one word over a whole state. */
static uint64_t spread(uint64_t *word)
{
    uint64_t x = *word += 0x9e3779b97f4a7c15;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
}

void rng_init(struct rng *rng, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        rng->state[i] = spread(&seed);
    }
}

uint64_t rng_system_seed(void)
{
    uint64_t seed = 0;
    ssize_t got;
    do {
        got = getrandom(&seed, sizeof(seed), 0);
    } while (got < 0 && errno == EINTR);
    ASSERT(got == (ssize_t)sizeof(seed)); /* 8 bytes come whole or not at all (getrandom(2)) */
    return seed;
}

static uint64_t rotate_left(uint64_t word, int bits)
{
    return (word << bits) | (word >> (64 - bits));
}

uint64_t rng_u64(struct rng *rng)
{
    uint64_t *s = rng->state;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t shifted = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = rotate_left(s[3], 45);
    return result;
}

uint64_t rng_below(struct rng *rng, uint64_t bound)
{
    ASSERT(bound > 0);
    unsigned __int128 product = (unsigned __int128)rng_u64(rng) * bound;
    if ((uint64_t)product < bound) {
        /* 2^64 mod bound of the low words would be one too many for some results: draw again. */
        uint64_t surplus = -bound % bound;
        while ((uint64_t)product < surplus) {
            product = (unsigned __int128)rng_u64(rng) * bound;
        }
    }
    return (uint64_t)(product >> 64);
}
