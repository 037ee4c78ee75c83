/*
 * Metrics of the SDK itself. Counts are observed from the sinks and rings when somebody collects; only durations are
 * recorded as they happen, on the sinks' threads, under the sink's lock, and never after the sink was stopped.
 */
#include "src/telemetry/self_metrics.h"

#include <stdio.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/telemetry/pipeline.h"
#include "src/telemetry/tracer.h"

#define MAX_ATTRS 3u

/* Every instrument: id, name, kind, unit, description. */
#define SELF_MAP(X)                                                                                                    \
    X(SPAN_STARTED, "otel.sdk.span.started", SL_COUNTER, "{span}", "Recording spans started")                          \
    X(SPAN_LIVE, "otel.sdk.span.live", SL_UPDOWN_COUNTER, "{span}", "Recording spans started and not ended")           \
    X(SPAN_QUEUE, "otel.sdk.processor.span.queue.size", SL_UPDOWN_COUNTER, "{span}", "Spans waiting for export")       \
    X(SPAN_CAPACITY, "otel.sdk.processor.span.queue.capacity", SL_UPDOWN_COUNTER, "{span}",                            \
      "Spans that may wait in the ring of one recording thread")                                                       \
    X(SPAN_PROCESSED, "otel.sdk.processor.span.processed", SL_COUNTER, "{span}",                                       \
      "Spans taken in, or lost to a full ring")                                                                        \
    X(LOG_QUEUE, "otel.sdk.processor.log.queue.size", SL_UPDOWN_COUNTER, "{log_record}",                               \
      "Log records waiting for export")                                                                                \
    X(LOG_CAPACITY, "otel.sdk.processor.log.queue.capacity", SL_UPDOWN_COUNTER, "{log_record}",                        \
      "Log records that may wait in the ring of one recording thread")                                                 \
    X(LOG_PROCESSED, "otel.sdk.processor.log.processed", SL_COUNTER, "{log_record}",                                   \
      "Log records taken in, or lost to a full ring")                                                                  \
    X(SPAN_INFLIGHT, "otel.sdk.exporter.span.inflight", SL_UPDOWN_COUNTER, "{span}", "Spans being sent")               \
    X(SPAN_EXPORTED, "otel.sdk.exporter.span.exported", SL_COUNTER, "{span}", "Spans sent, or lost for good")          \
    X(POINT_INFLIGHT, "otel.sdk.exporter.metric_data_point.inflight", SL_UPDOWN_COUNTER, "{data_point}",               \
      "Data points being sent")                                                                                        \
    X(POINT_EXPORTED, "otel.sdk.exporter.metric_data_point.exported", SL_COUNTER, "{data_point}",                      \
      "Data points sent, or lost for good")                                                                            \
    X(LOG_INFLIGHT, "otel.sdk.exporter.log.inflight", SL_UPDOWN_COUNTER, "{log_record}", "Log records being sent")     \
    X(LOG_EXPORTED, "otel.sdk.exporter.log.exported", SL_COUNTER, "{log_record}",                                      \
      "Log records sent, or lost for good")                                                                            \
    X(OPERATION, "otel.sdk.exporter.operation.duration", SL_HISTOGRAM, "s", "Duration of one delivery")                \
    X(COLLECTION, "otel.sdk.metric_reader.collection.duration", SL_HISTOGRAM, "s", "Duration of one collection")

typedef enum self_id {
#define SELF_ID(id, name, kind, unit, description) SELF_##id,
    SELF_MAP(SELF_ID)
#undef SELF_ID
        SELF_COUNT
} self_id;

static const sl_instrument_options instruments[SELF_COUNT] = {
#define SELF_OPTIONS(id, name_, kind_, unit_, description_)                                                            \
    {.name = name_, .kind = kind_, .unit = unit_, .description = description_},
    SELF_MAP(SELF_OPTIONS)
#undef SELF_OPTIONS
};

static const double seconds_bounds[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30};

struct sl_self_metrics {
    sl_sdk *sdk;
    size_t sink_count;
    sl_instrument *at[SELF_COUNT];
};

/* ---- attributes ---- */

typedef struct component {
    char type[48];
    char name[64];
    sl_attr attrs[MAX_ATTRS];
    size_t count;
} component;

static void describe(component *c, size_t index)
{
    SL_ASSERT(c);
    (void)snprintf(c->name, sizeof c->name, "%s/%zu", c->type, index);
    c->attrs[0] = sl_attr_str("otel.component.type", c->type);
    c->attrs[1] = sl_attr_str("otel.component.name", c->name);
    c->count = 2;
}

/* "otlp_grpc_span_exporter/0" and so on: names of the semantic conventions where there is one. */
static void describe_exporter(component *c, const sl_exporter *exporter, sl_signal signal, size_t index)
{
    SL_ASSERT(exporter);
    static const char *const kinds[SL_SIGNAL_COUNT] = {"span", "metric", "log"};
    const char *name = exporter->name ? exporter->name : "exporter";
    if (strncmp(name, "otlp/", 5) == 0)
        (void)snprintf(c->type, sizeof c->type, "otlp_%.16s_%s_exporter", name + 5, kinds[signal]);
    else
        (void)snprintf(c->type, sizeof c->type, "%.24s_%s_exporter", name, kinds[signal]);
    describe(c, index);
}

static void with_error(component *c, const char *error_type)
{
    SL_ASSERT(c->count == 2);
    c->attrs[c->count++] = sl_attr_str("error.type", error_type);
}

/* ---- observing ---- */

static void observe(sl_observer *observer, double value, const component *c, size_t attr_count)
{
    if (value != 0 || attr_count == 2)
        sl_observe(observer, value, c->attrs, attr_count);
}

/* What the sinks hold and have sent, for one signal. */
static void observe_sinks(sl_self_metrics *m, sl_observer *observer, sl_signal signal, bool inflight)
{
    SL_ASSERT(m);
    sl_pipeline *pipeline = m->sdk->pipeline;
    for (size_t i = 0; i < m->sink_count; i++) {
        sl_sink *sink = sl_pipeline_sink(pipeline, i);
        const sl_exporter *exporter = sl_sink_exporter(sink);
        if (exporter->immediate || !(exporter->signals & SL_SIGNAL_BIT(signal)))
            continue;
        sl_sink_counts counts;
        sl_sink_get_counts(sink, signal, &counts);
        component c;
        describe_exporter(&c, exporter, signal, i);
        if (inflight) {
            observe(observer, (double)counts.inflight, &c, 2);
            continue;
        }
        observe(observer, (double)counts.exported, &c, 2);
        with_error(&c, "rejected");
        observe(observer, (double)counts.rejected, &c, 3);
        c.count = 2;
        with_error(&c, "queue_full");
        observe(observer, (double)counts.dropped_full, &c, 3);
        c.count = 2;
        with_error(&c, "failed");
        observe(observer, (double)counts.dropped_failed, &c, 3);
    }
}

static void describe_processor(component *c, sl_signal signal)
{
    SL_ASSERT(c);
    (void)snprintf(c->type, sizeof c->type, "batching_%s_processor", signal == SL_SIGNAL_TRACES ? "span" : "log");
    describe(c, 0);
}

static bool is_exported(const sl_self_metrics *m, sl_signal signal)
{
    for (size_t i = 0; i < m->sink_count; i++) {
        const sl_exporter *exporter = sl_sink_exporter(sl_pipeline_sink(m->sdk->pipeline, i));
        if (!exporter->immediate && (exporter->signals & SL_SIGNAL_BIT(signal)))
            return true;
    }
    return false;
}

static void observe_queue(sl_self_metrics *m, sl_observer *observer, sl_signal signal)
{
    SL_ASSERT(m);
    sl_sdk_stats stats;
    component c;
    sl_pipeline_stats(m->sdk->pipeline, signal, &stats);
    describe_processor(&c, signal);
    uint64_t gone = stats.exported + stats.dropped;
    bool waiting = is_exported(m, signal) && stats.ended > gone;
    observe(observer, waiting ? (double)(stats.ended - gone) : 0, &c, 2);
}

static void observe_processed(sl_self_metrics *m, sl_observer *observer, sl_signal signal)
{
    SL_ASSERT(m);
    sl_ring_stats ring;
    component c;
    sl_pipeline_ring_stats(m->sdk->pipeline, signal == SL_SIGNAL_TRACES ? SL_RING_SPANS : SL_RING_LOGS, &ring);
    describe_processor(&c, signal);
    observe(observer, (double)ring.written, &c, 2);
    with_error(&c, "queue_full");
    observe(observer, (double)ring.dropped, &c, 3);
}

static void observe_spans(sl_self_metrics *m, sl_observer *observer, bool live)
{
    SL_ASSERT(m);
    static const sl_attr recorded = {{"otel.span.sampling_result", 25},
                                     {SL_VALUE_STRING, {.str = {"RECORD_AND_SAMPLE", 17}}}};
    uint64_t started = sl_tracers_started(m->sdk);
    sl_ring_stats ring;
    sl_pipeline_ring_stats(m->sdk->pipeline, SL_RING_SPANS, &ring);
    uint64_t ended = ring.written + ring.dropped;
    uint64_t value = !live ? started : started > ended ? started - ended : 0;
    sl_observe(observer, (double)value, &recorded, 1);
}

/* One callback for each instrument, so that each reports to its own. */
#define SELF_CALLBACK(name, call)                                                                                      \
    static void name(void *user, sl_observer *observer)                                                                \
    {                                                                                                                  \
        sl_self_metrics *m = user;                                                                                     \
        call;                                                                                                          \
    }
SELF_CALLBACK(on_started, observe_spans(m, observer, false))
SELF_CALLBACK(on_live, observe_spans(m, observer, true))
SELF_CALLBACK(on_span_queue, observe_queue(m, observer, SL_SIGNAL_TRACES))
SELF_CALLBACK(on_log_queue, observe_queue(m, observer, SL_SIGNAL_LOGS))
SELF_CALLBACK(on_span_processed, observe_processed(m, observer, SL_SIGNAL_TRACES))
SELF_CALLBACK(on_log_processed, observe_processed(m, observer, SL_SIGNAL_LOGS))
SELF_CALLBACK(on_span_inflight, observe_sinks(m, observer, SL_SIGNAL_TRACES, true))
SELF_CALLBACK(on_span_exported, observe_sinks(m, observer, SL_SIGNAL_TRACES, false))
SELF_CALLBACK(on_point_inflight, observe_sinks(m, observer, SL_SIGNAL_METRICS, true))
SELF_CALLBACK(on_point_exported, observe_sinks(m, observer, SL_SIGNAL_METRICS, false))
SELF_CALLBACK(on_log_inflight, observe_sinks(m, observer, SL_SIGNAL_LOGS, true))
SELF_CALLBACK(on_log_exported, observe_sinks(m, observer, SL_SIGNAL_LOGS, false))

static void observe_capacity(sl_self_metrics *m, sl_observer *observer, sl_signal signal)
{
    SL_ASSERT(m);
    component c;
    describe_processor(&c, signal);
    observe(observer, (double)sl_pipeline_queue_items(m->sdk->pipeline, signal), &c, 2);
}
SELF_CALLBACK(on_span_capacity, observe_capacity(m, observer, SL_SIGNAL_TRACES))
SELF_CALLBACK(on_log_capacity, observe_capacity(m, observer, SL_SIGNAL_LOGS))

/* In the order of SELF_MAP; NULL: recorded as it happens. */
static const sl_observe_fn callbacks[SELF_COUNT] = {
    on_started,
    on_live,
    on_span_queue,
    on_span_capacity,
    on_span_processed,
    on_log_queue,
    on_log_capacity,
    on_log_processed,
    on_span_inflight,
    on_span_exported,
    on_point_inflight,
    on_point_exported,
    on_log_inflight,
    on_log_exported,
    NULL,
    NULL,
};

/* ---- durations ---- */

static void on_delivery(void *user, const sl_exporter *exporter, sl_signal signal, int error, uint64_t ns)
{
    SL_ASSERT(exporter);
    sl_self_metrics *m = user;
    if (exporter->immediate)
        return;
    size_t index = 0;
    while (index < m->sink_count && sl_sink_exporter(sl_pipeline_sink(m->sdk->pipeline, index)) != exporter)
        index++;
    component c;
    describe_exporter(&c, exporter, signal, index);
    if (error)
        with_error(&c, sl_error_name(error));
    sl_instrument_record(m->at[SELF_OPERATION], (double)ns / 1e9, c.attrs, c.count);
}

static void on_collection(void *user, int error, uint64_t ns)
{
    sl_self_metrics *m = user;
    component c;
    (void)snprintf(c.type, sizeof c.type, "periodic_metric_reader");
    describe(&c, 0);
    if (error)
        with_error(&c, sl_error_name(error));
    sl_instrument_record(m->at[SELF_COLLECTION], (double)ns / 1e9, c.attrs, c.count);
}

/* ---- life cycle ---- */

static int declare(sl_self_metrics *m, sl_meter *meter)
{
    for (int i = 0; i < SELF_COUNT; i++) {
        sl_instrument_options o = instruments[i];
        if (o.kind == SL_HISTOGRAM) {
            o.bounds = seconds_bounds;
            o.bound_count = sizeof seconds_bounds / sizeof seconds_bounds[0];
        }
        m->at[i] = sl_instrument_new(meter, &o);
        if (!m->at[i])
            return SL_ENOMEM;
        int error = callbacks[i] ? sl_instrument_on_collect(m->at[i], callbacks[i], m) : 0;
        if (error)
            return error;
    }
    return 0;
}

int sl_self_metrics_new(sl_sdk *sdk, sl_self_metrics **ret_metrics)
{
    SL_ASSERT(sdk && ret_metrics);
    *ret_metrics = NULL;
    if (!sdk->pipeline)
        return 0;
    sl_scope_options scope;
    memset(&scope, 0, sizeof scope);
    scope.name = SL_STR("sightline.sdk");
    scope.version = sl_str_c(sl_version());
    sl_self_metrics *m = sl_calloc(1, sizeof *m);
    sl_meter *meter = m ? sl_meter_get(sdk, &scope) : NULL;
    if (!meter) {
        sl_free(m);
        return SL_ENOMEM;
    }
    m->sdk = sdk;
    m->sink_count = sl_pipeline_sink_count(sdk->pipeline);
    int error = declare(m, meter);
    if (error) {
        sl_self_metrics_free(m);
        return error;
    }
    sl_pipeline_observer observer = {on_delivery, on_collection, m};
    sl_pipeline_observe(sdk->pipeline, &observer);
    *ret_metrics = m;
    return 0;
}

void sl_self_metrics_free(sl_self_metrics *metrics)
{
    if (!metrics)
        return;
    for (int i = 0; i < SELF_COUNT; i++) {
        if (metrics->at[i] && callbacks[i])
            sl_instrument_off_collect(metrics->at[i], callbacks[i], metrics);
    }
    sl_free(metrics);
}
