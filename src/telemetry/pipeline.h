/*
 * The pipeline: one background thread that drains the rings of all its segments, batches what it finds for each sink,
 * collects metrics on their interval, and never waits for a peer.
 *
 * Sinks: every sl_exporter becomes a sink with its own bounded queue of finished OTLP requests and its own sender
 * thread (sink.h), which retries by the OTLP rules and drops the oldest when full. All drops are counted.
 */
#ifndef SL_TELEMETRY_PIPELINE_H
#define SL_TELEMETRY_PIPELINE_H

#include "src/telemetry/sdk_impl.h"
#include "src/telemetry/sink.h"

/* What a scope records is of another service of the same program. The views outlive the pipeline. */
typedef struct sl_scope_resource {
    sl_str scope;    /* its name */
    sl_str resource; /* encoded OTLP Resource message */
} sl_scope_resource;
#define SL_MAX_SCOPE_RESOURCES 16

typedef struct sl_pipeline_options {
    sl_str resource; /* encoded OTLP Resource message; copied */
    sl_str resource_schema_url;
    sl_scope_resource scope_resources[SL_MAX_SCOPE_RESOURCES]; /* for spans and log lines; not of metrics */
    size_t scope_resource_count;
    sl_batch_options batch[SL_SIGNAL_COUNT];
    uint64_t metric_interval_ms;
    uint64_t poll_ms;             /* how long drained data may lie in a ring; 0: 100 ms */
    const sl_exporter *exporters; /* taken over, also on failure */
    size_t exporter_count;
    sl_collector *collector; /* may be NULL: no metrics; not owned */
    bool delta_temporality;
    sl_error_fn on_error;
    void *on_error_user;
    sl_reporter *reporter;     /* instead of on_error; referenced */
    uint64_t retry_initial_ms; /* 0: 1 s */
    int wake_fd;               /* above 0: this eventfd, duplicated, instead of its own: other processes have it too */
} sl_pipeline_options;

/* Starts the thread and the sinks. Errors: SL_ENOMEM, SL_EINVAL. */
SL_MUST_CHECK int sl_pipeline_new(const sl_pipeline_options *options, sl_pipeline **ret_pipeline);
/* eventfd to be written by segments when a ring is half full; belongs to the pipeline. */
int sl_pipeline_wake_fd(sl_pipeline *pipeline);
/* Adds a segment to be drained; not owned. Errors: SL_ELIMIT. Any thread. */
SL_MUST_CHECK int sl_pipeline_add_segment(sl_pipeline *pipeline, sl_segment *segment);
/* Drains a segment a last time and forgets it. After the return it is not touched any more. Any thread but its own. */
void sl_pipeline_remove_segment(sl_pipeline *pipeline, sl_segment *segment);
/* Drains, batches and delivers all that was recorded before the call. SL_ETIMEOUT. */
SL_MUST_CHECK int sl_pipeline_flush(sl_pipeline *pipeline, uint64_t timeout_ms);
/* Flushes and stops within `timeout_ms`. SL_ETIMEOUT: the rest is lost and counted. Once. */
int sl_pipeline_shutdown(sl_pipeline *pipeline, uint64_t timeout_ms);
/* True after a shutdown that had to leave the pipeline's thread behind, in a callback that does not return. */
bool sl_pipeline_is_stuck(const sl_pipeline *pipeline);
/* Frees it, after a shutdown of no patience when there was none. NULL is accepted. */
void sl_pipeline_free(sl_pipeline *pipeline);

/* Counts of one signal, over all sinks but the immediate ones. */
void sl_pipeline_stats(sl_pipeline *pipeline, sl_signal signal, sl_sdk_stats *ret_stats);
/* Records written and dropped of one kind, over all segments that there were. */
void sl_pipeline_ring_stats(sl_pipeline *pipeline, sl_ring_kind kind, sl_ring_stats *ret_stats);
/* Records that may wait in one ring. */
size_t sl_pipeline_queue_items(const sl_pipeline *pipeline, sl_signal signal);
/* The sinks, for self-metrics; valid while the pipeline lives. */
size_t sl_pipeline_sink_count(const sl_pipeline *pipeline);
sl_sink *sl_pipeline_sink(const sl_pipeline *pipeline, size_t index);
/* Called after each delivery and collection, on their threads, until the shutdown; set before anything is recorded. */
typedef struct sl_pipeline_observer {
    void (*on_delivery)(void *user, const sl_exporter *exporter, sl_signal signal, int error, uint64_t ns);
    void (*on_collection)(void *user, int error, uint64_t ns);
    void *user;
} sl_pipeline_observer;
void sl_pipeline_observe(sl_pipeline *pipeline, const sl_pipeline_observer *observer);
/* CPU time of the pipeline's own thread so far, for the benchmarks. */
uint64_t sl_pipeline_cpu_ns(sl_pipeline *pipeline);

#endif
