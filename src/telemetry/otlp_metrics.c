/* A collector's metrics as an ExportMetricsServiceRequest (OTLP metrics.proto), grouped by scope. */
#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/telemetry/collect_impl.h"
#include "src/wire/pb.h"

enum { TEMPORALITY_DELTA = 1, TEMPORALITY_CUMULATIVE = 2 };

/* One export under way. */
typedef struct export
{
    sl_buf *out;
    uint64_t now;
    bool delta;
    size_t points;
}
export;

/* Up-down counters and gauges are never deltas (OpenTelemetry, temporality preference "delta"). */
static bool is_delta(const export *e, const sl_metric *metric)
{
    SL_ASSERT(e);
    return e->delta && (metric->kind == SL_COUNTER || metric->kind == SL_HISTOGRAM);
}

/* ---- Deltas ---- */

/* Numbers that a point's deltas are made of. */
static uint32_t delta_words(const sl_point *point)
{
    uint32_t buckets = sl_metric_buckets(point->metric);
    return buckets ? buckets : 1;
}

/*
 * Turns a reading into what has come since the last time. `ret_start` is when that was; `ret_changed` is false when
 * there is nothing new. What was read is remembered when the collection has succeeded (keep_taken). Errors: SL_ENOMEM.
 */
static int take_delta(sl_point *point, uint64_t now, sl_reading *reading, uint64_t *ret_start, bool *ret_changed)
{
    SL_ASSERT(point->metric->kind == SL_COUNTER || point->metric->kind == SL_HISTOGRAM);
    uint32_t buckets = sl_metric_buckets(point->metric), count = delta_words(point);
    uint64_t *current = buckets ? reading->counts : &reading->whole;
    if (!point->previous)
        point->previous = sl_calloc(2 * (size_t)count, sizeof *point->previous);
    if (!point->previous)
        return SL_ENOMEM;
    bool first = point->previous_ns[0] == 0, changed = first && !buckets;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t total = current[i];
        changed |= total != point->previous[i];
        current[i] = total - point->previous[i];
        point->previous[count + i] = total;
    }
    double total = reading->real;
    changed |= total > point->previous_sum[0] || total < point->previous_sum[0];
    reading->real = total - point->previous_sum[0];
    point->previous_sum[1] = total;
    reading->count = 0;
    for (uint32_t b = 0; b < buckets; b++)
        reading->count += reading->counts[b];
    *ret_start = first ? point->start_ns : point->previous_ns[0];
    *ret_changed = changed;
    point->previous_ns[1] = now;
    point->is_taken = changed;
    return 0;
}

/* Ends a delta collection: the next one begins where this one ended, or, when this one failed, where it began. */
static void keep_taken(const sl_collector *collector, bool succeeded)
{
    SL_ASSERT(collector);
    for (const sl_metric *m = collector->metrics; m; m = m->next) {
        for (size_t i = 0; i < m->point_count; i++) {
            sl_point *p = m->points[i];
            if (p->is_taken && succeeded) {
                memcpy(p->previous, p->previous + delta_words(p), delta_words(p) * sizeof *p->previous);
                p->previous_sum[0] = p->previous_sum[1];
                p->previous_ns[0] = p->previous_ns[1];
            }
            p->is_taken = false;
        }
    }
}

/* ---- Data points ---- */

/* Those of the interval: since `start`. */
static void put_exemplars(export *e, const sl_point *point, uint64_t start, uint32_t field)
{
    static const uint8_t none[SL_TRACE_ID_SIZE];
    for (uint32_t b = 0; b < sl_metric_buckets(point->metric); b++) {
        sl_exemplar x;
        size_t mark;
        if (!sl_point_exemplar(point, b, &x) || x.time_ns < start || sl_pb_buf_open(e->out, field, &mark))
            continue;
        (void)sl_pb_buf_fixed64(e->out, 2, x.time_ns);
        (void)sl_pb_buf_double(e->out, 3, x.value);
        if (memcmp(x.trace_id, none, sizeof none) != 0) {
            (void)sl_pb_buf_bytes(e->out, 4, x.span_id, SL_SPAN_ID_SIZE);
            (void)sl_pb_buf_bytes(e->out, 5, x.trace_id, SL_TRACE_ID_SIZE);
        }
        sl_pb_buf_close(e->out, mark);
    }
}

static void put_histogram(export *e, const sl_point *point, const sl_reading *reading)
{
    SL_ASSERT(point->metric->kind == SL_HISTOGRAM);
    const sl_metric *m = point->metric;
    size_t mark;
    (void)sl_pb_buf_fixed64(e->out, 4, reading->count);
    (void)sl_pb_buf_double(e->out, 5, reading->real);
    if (sl_pb_buf_open(e->out, 6, &mark))
        return;
    for (uint32_t b = 0; b < sl_metric_buckets(m); b++) {
        uint8_t bytes[8];
        (void)sl_pb_raw_fixed64(bytes, reading->counts[b]);
        (void)sl_buf_put(e->out, bytes, sizeof bytes);
    }
    sl_pb_buf_close(e->out, mark);
    double min, max;
    /* Extremes cannot be taken back, so nobody knows those of an interval: deltas go without (both are optional). */
    if (!is_delta(e, m) && reading->count && sl_point_extremes(point, &min, &max)) {
        (void)sl_pb_buf_double(e->out, 11, min);
        (void)sl_pb_buf_double(e->out, 12, max);
    }
    if (m->bound_count == 0 || sl_pb_buf_open(e->out, 7, &mark))
        return;
    for (uint32_t b = 0; b < m->bound_count; b++) {
        uint8_t bytes[8];
        (void)sl_pb_raw_fixed64(bytes, sl_pb_double_bits(m->bounds[b]));
        (void)sl_buf_put(e->out, bytes, sizeof bytes);
    }
    sl_pb_buf_close(e->out, mark);
}

/* Appends one data point, when there is one. Errors: SL_ENOMEM, SL_ELIMIT. */
static int put_point(export *e, sl_point *point)
{
    SL_ASSERT(point);
    const sl_metric *m = point->metric;
    sl_reading reading;
    uint64_t start = point->start_ns;
    if (!sl_point_read(point, &reading))
        return 0;
    if (is_delta(e, m)) {
        bool changed = false;
        int error = take_delta(point, e->now, &reading, &start, &changed);
        if (error || !changed)
            return error;
    }
    size_t mark;
    if (sl_pb_buf_open(e->out, 1, &mark))
        return e->out->failed;
    if (m->kind != SL_GAUGE)
        (void)sl_pb_buf_fixed64(e->out, 2, start);
    (void)sl_pb_buf_fixed64(e->out, 3, e->now);
    if (m->kind == SL_HISTOGRAM) {
        put_histogram(e, point, &reading);
        put_exemplars(e, point, is_delta(e, m) ? start : 0, 8);
    } else if (m->is_double) {
        (void)sl_pb_buf_double(e->out, 4, reading.real);
    } else {
        (void)sl_pb_buf_fixed64(e->out, 6, reading.whole);
    }
    (void)sl_buf_put_str(e->out, point->attrs); /* encoded with the tag of this kind of point */
    sl_pb_buf_close(e->out, mark);
    e->points++;
    return e->out->failed;
}

/* ---- Metrics ---- */

static uint32_t data_field(sl_instrument_kind kind)
{
    return kind == SL_HISTOGRAM ? 9 : kind == SL_GAUGE ? 5 : 7;
}

static int put_metric(export *e, const sl_metric *m)
{
    SL_ASSERT(m->name.len > 0);
    if (sl_str_chr(m->name, ':') != SL_NPOS)
        return 0; /* a Prometheus name; OpenTelemetry's syntax has no colon, and receivers refuse it */
    size_t before = e->out->len, points = e->points, mark, data;
    if (sl_pb_buf_open(e->out, 2, &mark))
        return e->out->failed;
    (void)sl_pb_buf_str(e->out, 1, m->name);
    if (m->description.len)
        (void)sl_pb_buf_str(e->out, 2, m->description);
    if (m->unit.len)
        (void)sl_pb_buf_str(e->out, 3, m->unit);
    if (sl_pb_buf_open(e->out, data_field(m->kind), &data))
        return e->out->failed;
    for (size_t i = 0; i < m->point_count; i++) {
        int error = put_point(e, m->points[i]);
        if (error)
            return error;
    }
    if (e->points == points) {
        e->out->len = before; /* nothing to say */
        return e->out->failed;
    }
    if (m->kind != SL_GAUGE)
        (void)sl_pb_buf_uint(e->out, 2, is_delta(e, m) ? TEMPORALITY_DELTA : TEMPORALITY_CUMULATIVE);
    if (m->kind == SL_COUNTER)
        (void)sl_pb_buf_uint(e->out, 3, 1);
    sl_pb_buf_close(e->out, data);
    sl_pb_buf_close(e->out, mark);
    return e->out->failed;
}

static bool same_scope(const sl_metric *a, const sl_metric *b)
{
    SL_ASSERT(a && b);
    return sl_str_eq(a->scope, b->scope) && sl_str_eq(a->schema_url, b->schema_url);
}

/* Appends the ScopeMetrics of the metrics from `*at` on that share a scope. */
static int put_scope(export *e, sl_metric **metrics, size_t count, size_t *at)
{
    SL_ASSERT(*at < count);
    const sl_metric *first = metrics[*at];
    size_t before = e->out->len, points = e->points, mark;
    if (sl_pb_buf_open(e->out, 2, &mark))
        return e->out->failed;
    (void)sl_pb_buf_str(e->out, 1, first->scope);
    for (; *at < count && same_scope(first, metrics[*at]); ++*at) {
        int error = put_metric(e, metrics[*at]);
        if (error)
            return error;
    }
    if (first->schema_url.len)
        (void)sl_pb_buf_str(e->out, 3, first->schema_url);
    if (e->points == points)
        e->out->len = before;
    else
        sl_pb_buf_close(e->out, mark);
    return e->out->failed;
}

int sl_otlp_metrics_write(sl_collector *collector, sl_str resource, sl_str schema_url, bool delta, sl_buf *out,
                          size_t *ret_points)
{
    SL_ASSERT(collector && out && ret_points);
    sl_metric **metrics = sl_collector_sorted(collector);
    if (!metrics)
        return SL_ENOMEM;
    export e = {.out = out, .now = sl_now_ns(), .delta = delta, .points = 0};
    size_t before = out->len, mark, at = 0;
    int error = sl_pb_buf_open(out, 1, &mark);
    if (!error)
        error = sl_pb_buf_str(out, 1, resource);
    while (!error && at < collector->metric_count)
        error = put_scope(&e, metrics, collector->metric_count, &at);
    if (!error && schema_url.len)
        error = sl_pb_buf_str(out, 3, schema_url);
    if (error || e.points == 0)
        out->len = before;
    else
        sl_pb_buf_close(out, mark);
    if (delta)
        keep_taken(collector, !error);
    if (!error)
        *ret_points = e.points;
    return error;
}
