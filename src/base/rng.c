/* Seeding of the generator. */
#include "src/base/rng.h"

#include <errno.h>
#include <sys/random.h>

#include "src/base/assert.h"
#include "src/base/clock.h"

/* splitmix64: spreads one seed over the state. */
static uint64_t spread(uint64_t *state)
{
    SL_ASSERT(state);
    uint64_t z = (*state += 0x9E3779B97F4A7C15ull);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

void sl_rng_init_seed(sl_rng *rng, uint64_t seed)
{
    for (int i = 0; i < 4; i++)
        rng->s[i] = spread(&seed);
}

void sl_rng_init(sl_rng *rng)
{
    SL_ASSERT(rng);
    ssize_t got;
    do {
        got = getrandom(rng->s, sizeof rng->s, GRND_NONBLOCK);
    } while (got < 0 && errno == EINTR);
    if (got != (ssize_t)sizeof rng->s || (rng->s[0] | rng->s[1] | rng->s[2] | rng->s[3]) == 0)
        sl_rng_init_seed(rng, sl_now_ns() ^ sl_mono_ns() ^ (uint64_t)(uintptr_t)rng);
}
