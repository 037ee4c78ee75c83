/*
 * Random bits for ids: xoshiro256** per caller, seeded from the kernel. Not for secrets.
 */
#ifndef SL_BASE_RNG_H
#define SL_BASE_RNG_H

#include <sightline/base.h>

typedef struct sl_rng {
    uint64_t s[4];
} sl_rng;

/* Seeds from the kernel; from clock and address when that fails. */
void sl_rng_init(sl_rng *rng);
/* Seeds from a number, for repeatable runs. */
void sl_rng_init_seed(sl_rng *rng, uint64_t seed);

static inline uint64_t sl_rng_next(sl_rng *rng)
{
    uint64_t *s = rng->s;
    uint64_t x = s[1] * 5;
    uint64_t result = ((x << 7) | (x >> 57)) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = (s[3] << 45) | (s[3] >> 19);
    return result;
}

/* In [0, 1). */
static inline double sl_rng_double(sl_rng *rng)
{
    return (double)(sl_rng_next(rng) >> 11) * 0x1.0p-53;
}

#endif
