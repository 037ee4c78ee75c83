/*
 * The pipeline from inside: shared by pipeline.c (thread, life cycle, counts), pipeline_drain.c (rings into batches)
 * and pipeline_collect.c (metrics into requests).
 */
#ifndef SL_TELEMETRY_PIPELINE_IMPL_H
#define SL_TELEMETRY_PIPELINE_IMPL_H

#include "src/base/sync.h"
#include "src/telemetry/pipeline.h"
#include "src/telemetry/scope.h"

#define SL_MAX_SINKS 32u

/* A segment with the scopes of its ids, looked up once. */
typedef struct sl_source {
    sl_segment *segment;
    const sl_batch_scope *scopes[SL_MAX_SCOPES];
    uint64_t dropped; /* of its rings, as last reported */
} sl_source;

/* A sink with its open batches. */
typedef struct sl_lane {
    sl_sink *sink;
    bool immediate;
    bool (*wants)(void *user, sl_signal signal, sl_str item); /* NULL: everything; with the exporter's user */
    void *user;
    uint64_t delay_ns[SL_SIGNAL_COUNT];
    sl_batch *batches[SL_SIGNAL_COUNT]; /* NULL: the sink does not take this signal */
} sl_lane;

struct sl_pipeline {
    /* Constant. */
    sl_pipeline_options options; /* resource views point to own copies */
    char *resource;
    char *schema_url;
    pid_t pid;
    int wake_fd;
    pthread_t thread;
    size_t lane_count;
    sl_lane lanes[SL_MAX_SINKS];
    sl_reporter *reporter;
    /* Any thread. */
    _Atomic bool stop;
    _Atomic uint64_t cpu_ns; /* of the thread, once it has ended */
    /* Under the lock. */
    pthread_mutex_t lock;
    pthread_cond_t ended_cond;
    bool ended;
    bool stopped; /* shut down */
    bool stuck;
    size_t source_count;
    sl_source *sources[SL_MAX_SEGMENTS];
    size_t scope_count;
    sl_batch_scope *scopes[SL_MAX_SCOPES];
    sl_ring_stats retired[SL_RING_COUNT]; /* of removed segments */
    uint64_t unsaid;                      /* records lost to full rings of which nobody has been told */
    uint64_t now_ns;                      /* of the drain under way */
    /* Under the collection lock. */
    pthread_mutex_t collect_lock;
    uint64_t points; /* collected so far */
    sl_pipeline_observer observer;
};

/* The signal of each kind of ring. */
static const sl_signal sl_ring_signal[SL_RING_COUNT] = {SL_SIGNAL_TRACES, SL_SIGNAL_LOGS};

/* pipeline_drain.c; all under the lock. */

/* Moves what lies in the rings of a segment, or of all, into the open batches. Returns the number of records. */
size_t sl_pipeline_drain_source(sl_pipeline *p, sl_source *from);
size_t sl_pipeline_drain_all(sl_pipeline *p);
/* Finishes the batches that are due, or all. Returns whether something is still waiting. */
bool sl_pipeline_finish_due(sl_pipeline *p, bool all);
/* Frees the memory that waits for the next requests. */
void sl_pipeline_trim(sl_pipeline *p);
/* Records that found their ring full since the last call. */
uint64_t sl_pipeline_new_drops(sl_pipeline *p);

/* pipeline_collect.c; without the lock. */

/* Whether any sink takes metrics. */
bool sl_pipeline_has_metrics(const sl_pipeline *p);
/* Collects, and hands the requests to the sinks. */
void sl_pipeline_collect(sl_pipeline *p);

#endif
