/*
 * The clock of spans: Unix nanoseconds that never run backwards within a process.
 *
 * A time is the monotonic clock plus an offset that all threads share, so the duration of a span is right even when
 * somebody sets the wall clock meanwhile. The offset is checked against the wall clock every 100 ms.
 */
#ifndef SL_TELEMETRY_SPAN_CLOCK_H
#define SL_TELEMETRY_SPAN_CLOCK_H

#include <stdatomic.h>

#include "src/base/assert.h"
#include "src/base/clock.h"

#define SL_SPAN_CLOCK_CHECK_NS 100000000u

typedef struct sl_span_clock {
    _Atomic uint64_t offset;     /* wall minus monotonic, modulo 2^64 */
    _Atomic uint64_t checked_at; /* monotonic; 0: never */
} sl_span_clock;

extern sl_span_clock sl_span_clock_state;

/* Measures the offset anew and takes it over when the wall clock was set. */
void sl_span_clock_check(uint64_t mono_ns);

/* Unix time of a moment on the monotonic clock, which is about now. */
static inline uint64_t sl_span_clock_unix(uint64_t mono_ns)
{
    uint64_t checked = atomic_load_explicit(&sl_span_clock_state.checked_at, memory_order_acquire);
    if (SL_UNLIKELY(checked == 0 || (mono_ns > checked && mono_ns - checked > SL_SPAN_CLOCK_CHECK_NS)))
        sl_span_clock_check(mono_ns);
    return mono_ns + atomic_load_explicit(&sl_span_clock_state.offset, memory_order_relaxed);
}

#endif
