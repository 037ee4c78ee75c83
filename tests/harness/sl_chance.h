/* Numbers by chance for tests against models: the same from the same state, on every machine. */
#ifndef SL_CHANCE_H
#define SL_CHANCE_H

#include <stdint.h>

/* From 0 to below - 1. */
static inline unsigned sl_chance(uint64_t *state, unsigned below)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(*state >> 33) % below;
}

#endif
