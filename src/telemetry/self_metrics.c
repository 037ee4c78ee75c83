/*
 * Metrics of the SDK itself. Counts are observed from the sinks and rings when somebody collects, over all segments
 * that the pipeline reads, so those of other recording processes are in them; only durations are recorded as they
 * happen, on the sinks' threads, under the sink's lock, and never after the sink was stopped.
 */
#include "src/telemetry/self_metrics.h"

#include <stdio.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/telemetry/pipeline.h"
#include "src/telemetry/vocab.h"

#define MAX_ATTRS 3u

/* An instrument that is observed when somebody collects. */
typedef struct observed {
    sl_metric_id id;
    sl_observe_fn observe;
} observed;

#define OBSERVED_COUNT 15u

struct sl_self_metrics {
    sl_sdk *sdk;
    size_t sink_count;
    sl_instrument *observed[OBSERVED_COUNT];
    sl_instrument *export_duration;
    sl_instrument *collection_duration;
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
    sl_ring_stats ring;
    sl_pipeline_ring_stats(m->sdk->pipeline, SL_RING_SPANS, &ring);
    uint64_t gone = ring.written + ring.dropped + ring.abandoned;
    uint64_t value = !live ? ring.begun : ring.begun > gone ? ring.begun - gone : 0;
    sl_observe(observer, (double)value, &recorded, 1);
}

/* A log record is in its ring, or lost to a full one, as soon as it is made. */
static void observe_logs(sl_self_metrics *m, sl_observer *observer)
{
    SL_ASSERT(m);
    sl_ring_stats ring;
    sl_pipeline_ring_stats(m->sdk->pipeline, SL_RING_LOGS, &ring);
    sl_observe(observer, (double)(ring.written + ring.dropped), NULL, 0);
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
SELF_CALLBACK(on_log_created, observe_logs(m, observer))
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

static const observed table[OBSERVED_COUNT] = {
    {SL_METRIC_SDK_SPAN_STARTED, on_started},
    {SL_METRIC_SDK_SPAN_LIVE, on_live},
    {SL_METRIC_SDK_LOG_CREATED, on_log_created},
    {SL_METRIC_SDK_PROCESSOR_SPAN_QUEUE_SIZE, on_span_queue},
    {SL_METRIC_SDK_PROCESSOR_SPAN_QUEUE_CAPACITY, on_span_capacity},
    {SL_METRIC_SDK_PROCESSOR_SPAN_PROCESSED, on_span_processed},
    {SL_METRIC_SDK_PROCESSOR_LOG_QUEUE_SIZE, on_log_queue},
    {SL_METRIC_SDK_PROCESSOR_LOG_QUEUE_CAPACITY, on_log_capacity},
    {SL_METRIC_SDK_PROCESSOR_LOG_PROCESSED, on_log_processed},
    {SL_METRIC_SDK_EXPORTER_SPAN_INFLIGHT, on_span_inflight},
    {SL_METRIC_SDK_EXPORTER_SPAN_EXPORTED, on_span_exported},
    {SL_METRIC_SDK_EXPORTER_POINT_INFLIGHT, on_point_inflight},
    {SL_METRIC_SDK_EXPORTER_POINT_EXPORTED, on_point_exported},
    {SL_METRIC_SDK_EXPORTER_LOG_INFLIGHT, on_log_inflight},
    {SL_METRIC_SDK_EXPORTER_LOG_EXPORTED, on_log_exported},
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
    sl_instrument_record(m->export_duration, (double)ns / 1e9, c.attrs, c.count);
}

static void on_collection(void *user, int error, uint64_t ns)
{
    sl_self_metrics *m = user;
    component c;
    (void)snprintf(c.type, sizeof c.type, "periodic_metric_reader");
    describe(&c, 0);
    if (error)
        with_error(&c, sl_error_name(error));
    sl_instrument_record(m->collection_duration, (double)ns / 1e9, c.attrs, c.count);
}

/* ---- life cycle ---- */

static int declare(sl_self_metrics *m, sl_meter *meter)
{
    SL_ASSERT(m && meter);
    for (size_t i = 0; i < OBSERVED_COUNT; i++) {
        m->observed[i] = sl_metric_declare(meter, table[i].id);
        int error = m->observed[i] ? sl_instrument_on_collect(m->observed[i], table[i].observe, m) : SL_ENOMEM;
        if (error)
            return error;
    }
    m->export_duration = sl_metric_declare(meter, SL_METRIC_SDK_EXPORT_DURATION);
    m->collection_duration = sl_metric_declare(meter, SL_METRIC_SDK_COLLECTION_DURATION);
    return m->export_duration && m->collection_duration ? 0 : SL_ENOMEM;
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
    for (size_t i = 0; i < OBSERVED_COUNT; i++)
        sl_instrument_off_collect(metrics->observed[i], table[i].observe, metrics);
    sl_free(metrics);
}
