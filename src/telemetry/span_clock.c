/* Measuring the distance of the two clocks. */
#include "src/telemetry/span_clock.h"

#include "src/base/assert.h"

#define TOLERANCE_NS 2000 /* more than the error of a measurement; less is no reason to move the clock */

sl_span_clock sl_span_clock_state;

/* The offset, from the tightest of a few readings; `*ret_error` is its uncertainty. */
static uint64_t measure(int tries, uint64_t *ret_error)
{
    SL_ASSERT(ret_error);
    uint64_t best = UINT64_MAX, offset = 0;
    for (int i = 0; i < tries; i++) {
        uint64_t before = sl_mono_ns();
        uint64_t wall = sl_now_ns();
        uint64_t width = sl_mono_ns() - before;
        if (width < best) {
            best = width;
            offset = wall - (before + width / 2);
        }
    }
    *ret_error = best;
    return offset;
}

void sl_span_clock_check(uint64_t mono_ns)
{
    bool first = atomic_load_explicit(&sl_span_clock_state.checked_at, memory_order_relaxed) == 0;
    uint64_t error;
    uint64_t now = measure(first ? 8 : 1, &error);
    uint64_t old = atomic_load_explicit(&sl_span_clock_state.offset, memory_order_relaxed);
    uint64_t distance = now - old < old - now ? now - old : old - now;
    if (!first && distance > error + TOLERANCE_NS)
        now = measure(8, &error);
    if (first || distance > error + TOLERANCE_NS)
        atomic_store_explicit(&sl_span_clock_state.offset, now, memory_order_relaxed);
    SL_ASSERT(mono_ns > 0);
    atomic_store_explicit(&sl_span_clock_state.checked_at, mono_ns, memory_order_release);
}
