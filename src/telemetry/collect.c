/* The collector: segments in and out, values read, the two outputs under one lock. */
#include "src/telemetry/collect_impl.h"
#include "src/telemetry/registry.h"

#include <stdlib.h>

#include "src/base/mem.h"
#include "src/telemetry/instrument.h"

sl_collector *sl_collector_new(sl_registry *registry)
{
    sl_collector *collector = sl_calloc(1, sizeof *collector);
    if (!collector)
        return NULL;
    collector->registry = registry;
    pthread_mutex_init(&collector->lock, NULL);
    sl_buf_init(&collector->resource, SL_MAX_SPAN_BYTES);
    return collector;
}

static void metric_free(sl_metric *metric)
{
    SL_ASSERT(metric);
    for (size_t i = 0; i < metric->point_count; i++) {
        sl_free(metric->points[i]->sources);
        sl_free(metric->points[i]->folded);
        sl_free(metric->points[i]->previous);
        sl_free(metric->points[i]);
    }
    sl_free(metric->points);
    sl_free(metric->bytes);
    sl_free(metric);
}

void sl_collector_free(sl_collector *collector)
{
    if (!collector)
        return;
    while (collector->metrics) {
        sl_metric *next = collector->metrics->next;
        metric_free(collector->metrics);
        collector->metrics = next;
    }
    for (size_t i = 0; i < collector->reader_count; i++)
        sl_free(collector->readers[i].streams);
    sl_families_free(collector->families);
    sl_free(collector->sorted);
    sl_free(collector->table);
    sl_buf_done(&collector->resource);
    pthread_mutex_destroy(&collector->lock);
    sl_free(collector);
}

int sl_collector_set_resource(sl_collector *collector, sl_str resource)
{
    SL_ASSERT(collector);
    pthread_mutex_lock(&collector->lock);
    sl_buf_clear(&collector->resource);
    int error = sl_buf_put_str(&collector->resource, resource);
    pthread_mutex_unlock(&collector->lock);
    return error;
}

/* ---- Values ---- */

static void read_gauge(const sl_source *source, bool is_double, sl_reading *reading)
{
    SL_ASSERT(source->segment);
    const sl_cell *cell = sl_segment_shared_cell(source->segment, source->cell);
    uint64_t time = atomic_load_explicit(&cell[1], memory_order_acquire);
    if (time <= reading->time_ns)
        return;
    reading->time_ns = time;
    reading->whole = atomic_load_explicit(&cell[0], memory_order_relaxed);
    if (is_double)
        reading->real = sl_cell_to_double(reading->whole);
}

static void read_histogram(const sl_point *point, sl_reading *reading)
{
    SL_ASSERT(point->metric->kind == SL_HISTOGRAM);
    uint32_t buckets = sl_metric_buckets(point->metric);
    for (uint32_t b = 0; b < buckets; b++)
        reading->counts[b] = point->folded ? point->folded[b] : 0;
    reading->real = point->folded_sum;
    for (uint32_t i = 0; i < point->source_count; i++) {
        const sl_source *s = &point->sources[i];
        reading->real += sl_segment_sum_double(s->segment, s->cell);
        sl_segment_sum_range(s->segment, s->cell + SL_HISTOGRAM_COUNTS, buckets, reading->counts);
    }
    for (uint32_t b = 0; b < buckets; b++)
        reading->count += reading->counts[b];
}

bool sl_point_read(const sl_point *point, sl_reading *ret_reading)
{
    SL_ASSERT(point && ret_reading);
    const sl_metric *metric = point->metric;
    sl_reading *r = ret_reading;
    r->whole = point->folded && metric->kind != SL_HISTOGRAM ? point->folded[0] : 0;
    r->real = point->folded_sum;
    r->count = 0;
    r->time_ns = 0;
    if (metric->kind == SL_HISTOGRAM) {
        read_histogram(point, r);
        return point->source_count > 0 || point->folded != NULL;
    }
    for (uint32_t i = 0; i < point->source_count; i++) {
        const sl_source *s = &point->sources[i];
        if (metric->kind == SL_GAUGE)
            read_gauge(s, metric->is_double, r);
        else if (metric->is_double)
            r->real += sl_segment_sum_double(s->segment, s->cell);
        else
            r->whole += sl_segment_sum(s->segment, s->cell);
    }
    if (metric->kind == SL_GAUGE)
        return r->time_ns != 0;
    return point->source_count > 0 || point->folded != NULL;
}

/* Widens a range of inverted cells by what a source has recorded. */
static void widen(const sl_source *source, uint64_t *min, uint64_t *max)
{
    SL_ASSERT(source->segment && min && max);
    for (uint32_t b = 0; b < sl_segment_blocks(source->segment); b++) {
        const sl_cell *cells = sl_segment_block_cells(source->segment, b) + source->cell;
        uint64_t low = atomic_load_explicit(&cells[SL_HISTOGRAM_MIN], memory_order_relaxed);
        uint64_t high = atomic_load_explicit(&cells[SL_HISTOGRAM_MAX], memory_order_relaxed);
        if (low && !(sl_cell_to_extreme(*min) <= sl_cell_to_extreme(low)))
            *min = low;
        if (high && !(sl_cell_to_extreme(*max) >= sl_cell_to_extreme(high)))
            *max = high;
    }
}

bool sl_point_extremes(const sl_point *point, double *ret_min, double *ret_max)
{
    SL_ASSERT(point->metric->kind == SL_HISTOGRAM && ret_min && ret_max);
    uint64_t min = point->folded_min, max = point->folded_max;
    for (uint32_t i = 0; i < point->source_count; i++)
        widen(&point->sources[i], &min, &max);
    double low = sl_cell_to_extreme(min), high = sl_cell_to_extreme(max);
    if (!(low <= high))
        return false; /* none yet, or damaged */
    *ret_min = low;
    *ret_max = high;
    return true;
}

bool sl_point_exemplar(const sl_point *point, uint32_t bucket, sl_exemplar *ret_exemplar)
{
    SL_ASSERT(bucket < sl_metric_buckets(point->metric));
    bool found = false;
    for (uint32_t i = 0; i < point->source_count; i++) {
        const sl_source *s = &point->sources[i];
        sl_exemplar one;
        if (!s->exemplar_cell || !sl_exemplar_read(s->segment, s->exemplar_cell + bucket * SL_EXEMPLAR_CELLS, &one))
            continue;
        if (found && one.time_ns <= ret_exemplar->time_ns)
            continue;
        *ret_exemplar = one;
        found = true;
    }
    return found;
}

/* ---- Segments ---- */

static sl_reader *find_reader(sl_collector *collector, const sl_segment *segment)
{
    SL_ASSERT(collector->reader_count <= SL_MAX_SEGMENTS);
    for (size_t i = 0; i < collector->reader_count; i++) {
        if (collector->readers[i].segment == segment)
            return &collector->readers[i];
    }
    return NULL;
}

int sl_collector_add_segment(sl_collector *collector, sl_segment *segment)
{
    SL_ASSERT(collector && segment);
    pthread_mutex_lock(&collector->lock);
    int error = 0;
    if (find_reader(collector, segment))
        error = 0;
    else if (collector->reader_count == SL_MAX_SEGMENTS)
        error = SL_ELIMIT;
    else
        collector->readers[collector->reader_count++] = (sl_reader){.segment = segment};
    pthread_mutex_unlock(&collector->lock);
    return error;
}

/* Adds what a source counted to the point's own totals. Errors: SL_ENOMEM. */
static int fold(sl_point *point, const sl_source *source)
{
    SL_ASSERT(source->segment);
    const sl_metric *metric = point->metric;
    if (metric->kind != SL_COUNTER && metric->kind != SL_HISTOGRAM)
        return 0;
    uint32_t buckets = sl_metric_buckets(metric);
    if (!point->folded)
        point->folded = sl_calloc(buckets ? buckets : 1, sizeof *point->folded);
    if (!point->folded)
        return SL_ENOMEM;
    if (metric->kind == SL_HISTOGRAM) {
        sl_segment_sum_range(source->segment, source->cell + SL_HISTOGRAM_COUNTS, buckets, point->folded);
        widen(source, &point->folded_min, &point->folded_max);
    } else if (!metric->is_double)
        point->folded[0] += sl_segment_sum(source->segment, source->cell);
    if (metric->is_double || metric->kind == SL_HISTOGRAM)
        point->folded_sum += sl_segment_sum_double(source->segment, source->cell);
    return 0;
}

static void fold_point(sl_point *point, const sl_segment *segment)
{
    SL_ASSERT(segment);
    for (uint32_t i = 0; i < point->source_count; i++) {
        if (point->sources[i].segment != segment)
            continue;
        (void)fold(point, &point->sources[i]); /* without memory its counts are lost: nothing else can be done */
        point->sources[i--] = point->sources[--point->source_count];
    }
}

void sl_collector_remove_segment(sl_collector *collector, sl_segment *segment)
{
    SL_ASSERT(collector && segment);
    pthread_mutex_lock(&collector->lock);
    sl_reader *reader = find_reader(collector, segment);
    if (reader) {
        int error = sl_collector_refresh(collector); /* without memory: what is known already is kept */
        (void)error;
        for (sl_metric *m = collector->metrics; m; m = m->next) {
            for (size_t i = 0; i < m->point_count; i++)
                fold_point(m->points[i], segment);
        }
        sl_free(reader->streams);
        *reader = collector->readers[--collector->reader_count];
    }
    pthread_mutex_unlock(&collector->lock);
}

void sl_collector_clear_inflight(sl_collector *collector, sl_segment *segment)
{
    SL_ASSERT(collector && segment);
    pthread_mutex_lock(&collector->lock);
    sl_series_reset_volatile(segment);
    pthread_mutex_unlock(&collector->lock);
}

/* ---- Outputs ---- */

int sl_collector_prometheus(sl_collector *collector, sl_str resource, sl_prometheus_format format, sl_buf *out)
{
    SL_ASSERT(collector && out);
    sl_registry_observe(collector->registry);
    pthread_mutex_lock(&collector->lock);
    int error = sl_collector_refresh(collector);
    if (!error)
        error = sl_prom_write(collector, resource.len ? resource : sl_buf_str(&collector->resource), format, out);
    pthread_mutex_unlock(&collector->lock);
    return error;
}

int sl_collector_otlp(sl_collector *collector, sl_str resource, sl_str resource_schema_url, bool delta, sl_buf *out,
                      size_t *ret_points)
{
    SL_ASSERT(collector && out && ret_points);
    sl_registry_observe(collector->registry);
    pthread_mutex_lock(&collector->lock);
    int error = sl_collector_refresh(collector);
    if (!error)
        error = sl_otlp_metrics_write(collector, resource.len ? resource : sl_buf_str(&collector->resource),
                                      resource_schema_url, delta, out, ret_points);
    pthread_mutex_unlock(&collector->lock);
    return error;
}

int sl_prometheus_gather(sl_sdk *sdk, sl_prometheus_format format, char **ret_text, size_t *ret_len)
{
    sdk = sl_sdk_or_default(sdk);
    if (!sdk || !sdk->collector || !ret_text || !ret_len)
        return SL_EINVAL;
    if (sdk->registry->forked)
        return SL_ECLOSED;
    sl_buf out;
    sl_buf_init(&out, SL_MAX_CTL_RESPONSE_BYTES);
    int error = sl_collector_prometheus(sdk->collector, sl_str_of(NULL, 0), format, &out);
    char *text = error ? NULL : malloc(out.len + 1); /* the caller frees it by free(), not by the library's seam */
    if (!error && !text)
        error = SL_ENOMEM;
    if (!error) {
        if (out.len)
            memcpy(text, out.data, out.len);
        text[out.len] = '\0';
        *ret_text = text;
        *ret_len = out.len;
    }
    sl_buf_done(&out);
    return error;
}
