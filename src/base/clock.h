/* Time: Unix nanoseconds, monotonic nanoseconds, and RFC 3339 text. */
#ifndef SL_BASE_CLOCK_H
#define SL_BASE_CLOCK_H

#include <sightline/base.h>
#include <time.h>

/* Unix time in nanoseconds. */
static inline uint64_t sl_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Monotonic nanoseconds, for measuring. */
static inline uint64_t sl_mono_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Unix time at the resolution of the kernel tick (about 4 ms), for a quarter of the cost. */
static inline uint64_t sl_now_coarse_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME_COARSE, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

#define SL_RFC3339_MS_LEN 24 /* 2025-11-14T10:30:45.123Z */

/* Writes UTC time with milliseconds and a NUL. */
void sl_rfc3339_ms(uint64_t unix_ns, char ret_text[SL_RFC3339_MS_LEN + 1]);

#endif
