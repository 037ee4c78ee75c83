/* The pipeline: metrics, collected on their interval, become requests. */
#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/telemetry/collect.h"
#include "src/telemetry/pipeline_impl.h"
#include "src/wire/otlp_read.h"

bool sl_pipeline_has_metrics(const sl_pipeline *p)
{
    for (size_t i = 0; i < p->lane_count && p->options.collector; i++) {
        if (sl_sink_exporter(p->lanes[i].sink)->signals & SL_SIGNAL_BIT(SL_SIGNAL_METRICS))
            return true;
    }
    return false;
}

/* Hands the metrics gathered so far to a sink. */
static void flush_metrics(sl_lane *l, sl_batch *batch, size_t *points)
{
    SL_ASSERT(points);
    sl_request *request = NULL;
    if (sl_batch_finish(batch, &request)) {
        (void)sl_batch_discard(batch);
        sl_sink_count_lost(l->sink, SL_SIGNAL_METRICS, *points);
    } else if (request) {
        request->items = *points;
        sl_sink_put(l->sink, request);
    }
    *points = 0;
}

/* A request that is larger than a batch may be becomes several: whole metrics, one scope in each. */
static void split_metrics(sl_lane *l, sl_str bytes, sl_batch *batch)
{
    sl_batch_scope scope = {.scope = {NULL, 0}};
    sl_otlp_records it = sl_otlp_records_of(bytes);
    size_t points = 0;
    while (sl_otlp_records_next(&it)) {
        sl_otlp_metric metric;
        size_t more = sl_otlp_read_metric(it.item, &metric) ? 0 : sl_otlp_count(metric.data, SL_OTLP_METRIC_POINTS);
        if (scope.scope.ptr != it.scope.head.ptr)
            flush_metrics(l, batch, &points);
        scope = (sl_batch_scope){.scope = it.scope.head, .schema_url = it.scope.schema_url};
        int error = sl_batch_add(batch, &scope, it.item, 0);
        if (error == SL_EAGAIN) {
            flush_metrics(l, batch, &points);
            error = sl_batch_add(batch, &scope, it.item, 0);
        }
        if (error)
            sl_sink_count_lost(l->sink, SL_SIGNAL_METRICS, more);
        else
            points += more;
    }
    flush_metrics(l, batch, &points);
}

static void put_large_metrics(sl_pipeline *p, sl_lane *l, const sl_buf *bytes, size_t points)
{
    sl_batch *batch = sl_malloc(sizeof *batch);
    if (!batch) {
        sl_sink_count_lost(l->sink, SL_SIGNAL_METRICS, points);
        return;
    }
    sl_batch_init(batch, SL_SIGNAL_METRICS, p->options.resource, p->options.resource_schema_url, SIZE_MAX,
                  p->options.batch[SL_SIGNAL_METRICS].max_batch_bytes);
    split_metrics(l, sl_buf_str(bytes), batch);
    sl_batch_done(batch);
    sl_free(batch);
}

/* Gives a copy of a metrics request to a sink. */
static void put_metrics(sl_lane *l, const sl_buf *bytes, size_t points)
{
    SL_ASSERT(bytes);
    char *copy = sl_malloc(bytes->len);
    if (copy)
        memcpy(copy, bytes->data, bytes->len);
    sl_request *request = copy ? sl_request_new(SL_SIGNAL_METRICS, points, copy, bytes->len) : NULL;
    if (request)
        sl_sink_put(l->sink, request);
    else
        sl_sink_count_lost(l->sink, SL_SIGNAL_METRICS, points);
}

static void put_collected(sl_pipeline *p, sl_lane *l, const sl_buf *bytes, size_t points)
{
    SL_ASSERT(bytes && p);
    if (bytes->len > p->options.batch[SL_SIGNAL_METRICS].max_batch_bytes)
        put_large_metrics(p, l, bytes, points);
    else
        put_metrics(l, bytes, points);
}

void sl_pipeline_collect(sl_pipeline *p)
{
    SL_ASSERT(p);
    sl_buf bytes;
    sl_buf_init(&bytes, SL_MAX_OTLP_REQUEST_BYTES);
    size_t points = 0;
    pthread_mutex_lock(&p->collect_lock);
    uint64_t start = sl_mono_ns();
    int error = sl_collector_otlp(p->options.collector, p->options.resource, p->options.resource_schema_url,
                                  p->options.delta_temporality, &bytes, &points);
    if (p->observer.on_collection)
        p->observer.on_collection(p->observer.user, error, sl_mono_ns() - start);
    p->points += points;
    for (size_t i = 0; i < p->lane_count && !error && points; i++) {
        if (sl_sink_exporter(p->lanes[i].sink)->signals & SL_SIGNAL_BIT(SL_SIGNAL_METRICS))
            put_collected(p, &p->lanes[i], &bytes, points);
    }
    pthread_mutex_unlock(&p->collect_lock);
    sl_buf_done(&bytes);
    if (error)
        sl_reporter_say(p->reporter, error, "metrics could not be collected: %s", sl_strerror(error));
}
