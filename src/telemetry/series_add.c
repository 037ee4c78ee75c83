/*
 * Recording on bound series. The common case of each call, one stream of the right kind, is straight-line code; all
 * else (several streams, other kinds of numbers, NULL) takes the slow side.
 */
#include <math.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/telemetry/registry.h"

static inline bool is_recording(const sl_series *series)
{
    SL_ASSERT(series);
    return atomic_load_explicit(series->recording, memory_order_relaxed);
}

/* Not for handles of many parts. */
static bool is_plain(const sl_series *series)
{
    SL_ASSERT(series);
    return series->op != SL_OP_NONE && series->op != SL_OP_MANY && is_recording(series);
}

/* ---- Counters ---- */

static __attribute__((noinline)) void counter_add_slow(const sl_series *series, uint64_t value)
{
    if (!series)
        return;
    if (series->op == SL_OP_MANY) {
        for (uint32_t i = 0; i < series->part_count; i++)
            counter_add_slow(series->parts[i], value);
        return;
    }
    if (!is_plain(series))
        return;
    if (series->op == SL_OP_COUNTER)
        sl_segment_add(series->segment, series->cell, value);
    else if (series->op == SL_OP_COUNTER_DOUBLE)
        sl_segment_add_double(series->segment, series->cell, (double)value);
}

void sl_counter_add(sl_series *series, uint64_t value)
{
    if (SL_LIKELY(series && series->op == SL_OP_COUNTER && is_recording(series)))
        sl_segment_add(series->segment, series->cell, value);
    else
        counter_add_slow(series, value);
}

static __attribute__((noinline)) void counter_add_double_slow(const sl_series *series, double value)
{
    if (!series)
        return;
    if (series->op == SL_OP_MANY) {
        for (uint32_t i = 0; i < series->part_count; i++)
            counter_add_double_slow(series->parts[i], value);
        return;
    }
    if (!is_plain(series))
        return;
    if (series->op == SL_OP_COUNTER_DOUBLE)
        sl_segment_add_double(series->segment, series->cell, value);
    else if (series->op == SL_OP_COUNTER && value < 0x1p64)
        sl_segment_add(series->segment, series->cell, (uint64_t)value);
}

void sl_counter_add_double(sl_series *series, double value)
{
    if (!(value >= 0))
        return;
    if (SL_LIKELY(series && series->op == SL_OP_COUNTER_DOUBLE && is_recording(series)))
        sl_segment_add_double(series->segment, series->cell, value);
    else
        counter_add_double_slow(series, value);
}

static __attribute__((noinline)) void updown_add_slow(const sl_series *series, int64_t value)
{
    if (!series)
        return;
    if (series->op == SL_OP_MANY) {
        for (uint32_t i = 0; i < series->part_count; i++)
            updown_add_slow(series->parts[i], value);
        return;
    }
    if (!is_plain(series))
        return;
    if (series->op == SL_OP_UPDOWN)
        sl_segment_add(series->segment, series->cell, (uint64_t)value);
    else if (series->op == SL_OP_UPDOWN_DOUBLE)
        sl_segment_add_double(series->segment, series->cell, (double)value);
}

void sl_updown_add(sl_series *series, int64_t value)
{
    if (SL_LIKELY(series && series->op == SL_OP_UPDOWN && is_recording(series)))
        sl_segment_add(series->segment, series->cell, (uint64_t)value);
    else
        updown_add_slow(series, value);
}

static bool fits_int64(double value)
{
    return value >= -0x1p63 && value < 0x1p63;
}

void sl_updown_add_double(sl_series *series, double value)
{
    if (!isfinite(value) || !series)
        return;
    for (uint32_t i = 0; i < series->part_count; i++)
        sl_updown_add_double((sl_series *)(uintptr_t)series->parts[i], value);
    if (!is_plain(series))
        return;
    if (series->op == SL_OP_UPDOWN_DOUBLE)
        sl_segment_add_double(series->segment, series->cell, value);
    else if (series->op == SL_OP_UPDOWN && fits_int64(value))
        sl_segment_add(series->segment, series->cell, (uint64_t)(int64_t)value);
}

/* ---- Gauges ---- */

/* True when this process may write the segment's shared block. */
static bool may_set(sl_segment *segment)
{
    SL_ASSERT(segment);
    return sl_segment_this.id == segment->id || sl_segment_enter(segment) ||
           atomic_load_explicit(&segment->owner, memory_order_relaxed) == getpid();
}

/* Value first: a time that is seen belongs to this value or to a newer one. */
static void gauge_store(const sl_series *series, uint64_t bits)
{
    SL_ASSERT(series->op == SL_OP_GAUGE || series->op == SL_OP_GAUGE_DOUBLE);
    if (!may_set(series->segment))
        return;
    sl_cell *cell = sl_segment_shared_cell(series->segment, series->cell);
    atomic_store_explicit(&cell[0], bits, memory_order_relaxed);
    atomic_store_explicit(&cell[1], sl_now_ns(), memory_order_release);
}

void sl_gauge_set(sl_series *series, int64_t value)
{
    if (!series)
        return;
    for (uint32_t i = 0; i < series->part_count; i++)
        sl_gauge_set((sl_series *)(uintptr_t)series->parts[i], value);
    if (!is_plain(series))
        return;
    if (series->op == SL_OP_GAUGE)
        gauge_store(series, (uint64_t)value);
    else if (series->op == SL_OP_GAUGE_DOUBLE)
        gauge_store(series, sl_cell_from_double((double)value));
}

void sl_gauge_set_double(sl_series *series, double value)
{
    if (!series)
        return;
    for (uint32_t i = 0; i < series->part_count; i++)
        sl_gauge_set_double((sl_series *)(uintptr_t)series->parts[i], value);
    if (!is_plain(series))
        return;
    if (series->op == SL_OP_GAUGE_DOUBLE)
        gauge_store(series, sl_cell_from_double(value));
    else if (series->op == SL_OP_GAUGE && fits_int64(value))
        gauge_store(series, (uint64_t)(int64_t)value);
}

void sl_series_set(sl_series *series, double value)
{
    if (!series)
        return;
    for (uint32_t i = 0; i < series->part_count; i++)
        sl_series_set((sl_series *)(uintptr_t)series->parts[i], value);
    if (!is_plain(series) || !may_set(series->segment))
        return;
    sl_cell *cell = sl_segment_shared_cell(series->segment, series->cell);
    bool is_int = series->op == SL_OP_COUNTER || series->op == SL_OP_UPDOWN;
    if (series->op == SL_OP_GAUGE || series->op == SL_OP_GAUGE_DOUBLE)
        sl_gauge_set_double(series, value);
    else if (!is_int && series->op != SL_OP_HISTOGRAM)
        atomic_store_explicit(cell, sl_cell_from_double(value), memory_order_relaxed);
    else if (is_int && value >= 0 && value < 0x1p64)
        atomic_store_explicit(cell, (uint64_t)value, memory_order_relaxed);
    else if (is_int && fits_int64(value))
        atomic_store_explicit(cell, (uint64_t)(int64_t)value, memory_order_relaxed);
}

/* ---- Histograms ---- */

typedef double lanes __attribute__((vector_size(16)));
typedef int64_t lane_masks __attribute__((vector_size(16)));

/* Number of bounds below the value: the bucket whose inclusive upper bound is the first not below it. */
static inline uint32_t bucket_of(const double *bounds, uint32_t padded, double value)
{
    lanes v = {value, value};
    lane_masks a = {0, 0}, b = {0, 0};
    for (uint32_t i = 0; i < padded; i += 4) {
        lanes low, high;
        memcpy(&low, bounds + i, sizeof low);
        memcpy(&high, bounds + i + 2, sizeof high);
        a += v > low; /* a true lane is -1 */
        b += v > high;
    }
    a += b;
    return (uint32_t) - (a[0] + a[1]);
}

static void bump(sl_cell *cell)
{
    atomic_store_explicit(cell, atomic_load_explicit(cell, memory_order_relaxed) + 1, memory_order_relaxed);
}

static inline double extreme_in(const sl_cell *cell)
{
    return sl_cell_to_extreme(atomic_load_explicit(cell, memory_order_relaxed));
}

/* A store is rare: only when the value is smaller or larger than all before. */
static inline void widen(sl_cell *cells, double value)
{
    if (SL_UNLIKELY(!(value >= extreme_in(cells + SL_HISTOGRAM_MIN))))
        atomic_store_explicit(cells + SL_HISTOGRAM_MIN, sl_cell_from_extreme(value), memory_order_relaxed);
    if (SL_UNLIKELY(!(value <= extreme_in(cells + SL_HISTOGRAM_MAX))))
        atomic_store_explicit(cells + SL_HISTOGRAM_MAX, sl_cell_from_extreme(value), memory_order_relaxed);
}

/* The same in the shared block, where other threads do it too. */
static void widen_shared(sl_cell *cells, double value)
{
    SL_ASSERT(!isnan(value));
    for (int which = SL_HISTOGRAM_MIN; which <= SL_HISTOGRAM_MAX; which++) {
        uint64_t now = atomic_load_explicit(cells + which, memory_order_relaxed);
        bool inside;
        do {
            double before = sl_cell_to_extreme(now);
            inside = which == SL_HISTOGRAM_MIN ? value >= before : value <= before;
        } while (!inside && !atomic_compare_exchange_weak_explicit(cells + which, &now, sl_cell_from_extreme(value),
                                                                   memory_order_relaxed, memory_order_relaxed));
    }
}

/* Of a thread that has no block of its own. */
static __attribute__((noinline)) void histogram_add_slow(const sl_series *series, double value, uint32_t bucket)
{
    SL_ASSERT(series);
    sl_segment *segment = series->segment;
    sl_segment_add_double_slow(segment, series->cell + SL_HISTOGRAM_SUM, value);
    sl_segment_add_slow(segment, series->cell + SL_HISTOGRAM_COUNTS + bucket, 1);
    if (may_set(segment))
        widen_shared(sl_segment_shared_cell(segment, series->cell), value);
}

/* Adds to sum, extremes and bucket. False when this thread has no cells of its own. */
static inline bool histogram_add(const sl_series *series, double value, uint32_t bucket)
{
    SL_ASSERT(series);
    sl_segment *segment = series->segment;
    if (SL_UNLIKELY(sl_segment_this.id != segment->id) && !sl_segment_enter(segment)) {
        histogram_add_slow(series, value, bucket);
        return false;
    }
    sl_cell *cells = sl_segment_this.cells + series->cell;
    double sum = sl_cell_to_double(atomic_load_explicit(cells + SL_HISTOGRAM_SUM, memory_order_relaxed));
    atomic_store_explicit(cells + SL_HISTOGRAM_SUM, sl_cell_from_double(sum + value), memory_order_relaxed);
    widen(cells, value);
    bump(cells + SL_HISTOGRAM_COUNTS + bucket);
    return true;
}

static bool has_ids(const sl_span_context *context)
{
    SL_ASSERT(context);
    uint64_t trace[2], span;
    memcpy(trace, context->trace_id, sizeof trace);
    memcpy(&span, context->span_id, sizeof span);
    return (trace[0] | trace[1]) != 0 && span != 0;
}

static void keep_exemplar(const sl_series *series, uint32_t bucket, double value, const sl_span_context *context)
{
    SL_ASSERT(series->op == SL_OP_HISTOGRAM);
    if (!series->exemplar_cell)
        return;
    bool known = context && has_ids(context);
    bool sampled = known && (context->flags & SL_TRACE_FLAG_SAMPLED);
    if (!sampled && series->exemplars != SL_EXEMPLARS_ALWAYS_ON)
        return;
    const sl_span_context *kept = known ? context : NULL;
    sl_exemplar_write(sl_segment_this.cells + series->exemplar_cell + bucket * SL_EXEMPLAR_CELLS, value, kept);
}

/* The current span as exemplar. */
static __attribute__((noinline)) void keep_current(const sl_series *series, uint32_t bucket, double value)
{
    SL_ASSERT(series->exemplar_cell);
    sl_span *span = sl_span_current();
    if (!span && series->exemplars != SL_EXEMPLARS_ALWAYS_ON)
        return;
    sl_span_context context;
    sl_span_get_context(span, &context);
    keep_exemplar(series, bucket, value, &context);
}

static __attribute__((noinline)) void record_many(const sl_series *series, double value)
{
    if (!series || series->op != SL_OP_MANY)
        return;
    for (uint32_t i = 0; i < series->part_count; i++)
        sl_histogram_record((sl_series *)(uintptr_t)series->parts[i], value);
}

void sl_histogram_record(sl_series *series, double value)
{
    if (SL_UNLIKELY(!series || series->op != SL_OP_HISTOGRAM)) {
        record_many(series, value);
        return;
    }
    if (SL_UNLIKELY(!is_recording(series) || isnan(value)))
        return;
    uint32_t bucket = bucket_of(series->bounds, series->padded, value);
    if (histogram_add(series, value, bucket) && series->exemplar_cell)
        keep_current(series, bucket, value);
}

void sl_histogram_record_in(sl_series *series, double value, const sl_span_context *context)
{
    if (!series || isnan(value))
        return;
    for (uint32_t i = 0; i < series->part_count; i++)
        sl_histogram_record_in((sl_series *)(uintptr_t)series->parts[i], value, context);
    if (series->op != SL_OP_HISTOGRAM || !is_recording(series))
        return;
    uint32_t bucket = bucket_of(series->bounds, series->padded, value);
    if (histogram_add(series, value, bucket))
        keep_exemplar(series, bucket, value, context);
}

void sl_histogram_record_times(sl_series *series, double value, uint64_t times, const sl_span_context *context)
{
    if (!series || !times || isnan(value))
        return;
    for (uint32_t i = 0; i < series->part_count; i++)
        sl_histogram_record_times((sl_series *)(uintptr_t)series->parts[i], value, times, context);
    if (series->op != SL_OP_HISTOGRAM || !is_recording(series))
        return;
    uint32_t bucket = bucket_of(series->bounds, series->padded, value);
    if (!histogram_add(series, value, bucket)) {
        while (--times)
            histogram_add_slow(series, value, bucket);
        return;
    }
    keep_exemplar(series, bucket, value, context);
    sl_segment_add(series->segment, series->cell + SL_HISTOGRAM_COUNTS + bucket, times - 1);
    sl_segment_add_double(series->segment, series->cell + SL_HISTOGRAM_SUM, value * (double)(times - 1));
}
