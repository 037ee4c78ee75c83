/*
 * Times between tokens of one generation: their number, longest and median, in a fixed 1 KiB.
 *
 * The median comes from buckets of 1/8 octave between 1 us and 67 s, so it is right within 6 percent.
 */
#ifndef SL_PROBE_TOKEN_GAPS_H
#define SL_PROBE_TOKEN_GAPS_H

#include <sightline/base.h>

#define SL_TOKEN_GAP_BUCKETS (26 * 8)

typedef struct sl_token_gaps {
    uint32_t count;
    uint32_t buckets[SL_TOKEN_GAP_BUCKETS];
    uint64_t max_ns;
} sl_token_gaps;

void sl_token_gaps_add(sl_token_gaps *gaps, uint64_t ns);
/* Nanoseconds; 0 when there is none. Never more than the longest. */
uint64_t sl_token_gaps_median(const sl_token_gaps *gaps);

#endif
