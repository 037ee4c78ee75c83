/* Times between tokens: buckets of 1/8 octave. */
#include "src/probe/token_gaps.h"

#include "src/base/assert.h"

/* Eight buckets for each doubling, of 1024 ns upwards. */
static uint32_t bucket_of(uint64_t ns)
{
    if (ns < 1024)
        return 0;
    uint32_t octave = 63u - (uint32_t)__builtin_clzll(ns);
    uint32_t eighth = (uint32_t)(ns >> (octave - 3)) & 7u;
    uint32_t bucket = (octave - 10) * 8 + eighth;
    return bucket < SL_TOKEN_GAP_BUCKETS ? bucket : SL_TOKEN_GAP_BUCKETS - 1;
}

static uint64_t middle_of(uint32_t bucket)
{
    SL_ASSERT(bucket < SL_TOKEN_GAP_BUCKETS);
    uint64_t unit = (uint64_t)1 << (bucket / 8 + 7);
    return unit * (8 + bucket % 8) + unit / 2;
}

void sl_token_gaps_add(sl_token_gaps *gaps, uint64_t ns)
{
    SL_ASSERT(gaps);
    gaps->count++;
    gaps->buckets[bucket_of(ns)]++;
    if (ns > gaps->max_ns)
        gaps->max_ns = ns;
}

uint64_t sl_token_gaps_median(const sl_token_gaps *gaps)
{
    SL_ASSERT(gaps);
    if (!gaps->count)
        return 0;
    uint32_t before = 0, wanted = (gaps->count - 1) / 2;
    for (uint32_t i = 0; i < SL_TOKEN_GAP_BUCKETS; i++) {
        before += gaps->buckets[i];
        if (before > wanted) {
            uint64_t middle = middle_of(i);
            return middle < gaps->max_ns ? middle : gaps->max_ns;
        }
    }
    return gaps->max_ns;
}
