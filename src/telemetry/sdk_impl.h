/*
 * The SDK object from inside. Recording needs the first half; the second half exists where this process also exports.
 *
 *     sl_span_start … sl_log … sl_counter_add        (any thread)          recording: span.c logger.c instrument.c
 *              │ OTLP bytes, cells
 *              ▼
 *          segment (rings, cells)                    (memory)              segment.c ring.c
 *              │ drained, summed
 *              ▼
 *          pipeline                                  (one thread)          pipeline.c batch.c collect.c
 *              │ OTLP requests
 *              ▼
 *          sinks, one queue and thread each          (own threads)         sink.c → exporters
 *
 * A worker process records only (`pipeline` NULL); its supervisor's pipeline reads the worker's segment.
 */
#ifndef SL_TELEMETRY_SDK_IMPL_H
#define SL_TELEMETRY_SDK_IMPL_H

#include <pthread.h>
#include <sightline/sdk.h>
#include <stdatomic.h>

#include "src/telemetry/segment.h"

typedef struct sl_scopes sl_scopes;       /* scope.h */
typedef struct sl_registry sl_registry;   /* instrument.h: instruments, views, series of this process */
typedef struct sl_collector sl_collector; /* collect.h: reads series of many segments */
typedef struct sl_pipeline sl_pipeline;   /* pipeline.h */
typedef struct sl_sampler sl_sampler;     /* sampler.h */

/* Bits of OTEL_PROPAGATORS. */
enum {
    SL_PROPAGATE_TRACECONTEXT = 1,
    SL_PROPAGATE_BAGGAGE = 2,
    SL_PROPAGATE_B3 = 4,
    SL_PROPAGATE_B3MULTI = 8,
    SL_PROPAGATE_JAEGER = 16
};

struct sl_sdk {
    /* Constant after sl_sdk_new. */
    sl_segment *segment;
    bool owns_segment;
    sl_scopes *scopes;
    sl_sampler *sampler;
    bool keep_errors;
    sl_limits span_limits; /* filled in, with own copies */
    sl_limits log_limits;
    unsigned propagators;
    sl_severity log_level;
    double debug_sample_ratio;
    sl_registry *registry;
    sl_collector *collector; /* NULL in a process that records only */
    sl_pipeline *pipeline;   /* NULL in a process that records only */
    sl_health *health;
    sl_error_fn on_error;
    void *on_error_user;
    sl_str resource; /* encoded OTLP Resource message */
    /* Any thread. */
    _Atomic bool recording; /* false: disabled, or shut down; spans and series do nothing */
    _Atomic uint64_t logs_emitted;
    /* Under the lock: tracers, meters, loggers handed out (freed with the SDK). */
    pthread_mutex_t lock;
    struct sl_tracer *tracers;
    struct sl_meter *meters;
    struct sl_logger *loggers;
};

/* What the scopes of a program's parts are called elsewhere, unless the user has named the service. */
typedef struct sl_scope_service {
    const char *scope, *service;
} sl_scope_service;

/* What sl_sdk_new does not offer to users: recording into a given segment. */
typedef struct sl_sdk_internal_options {
    sl_segment *segment;              /* not NULL: record into this one, which the caller keeps */
    bool record_only;                 /* no pipeline, no collector: another process reads the segment */
    bool export_only_when_set;        /* nothing is exported until an exporter or an endpoint is set */
    const char *default_service_name; /* when neither options nor environment name one */
    const sl_scope_service *scope_services;
    size_t scope_service_count;                           /* at most SL_MAX_SCOPE_RESOURCES */
    uint64_t retry_initial_ms;                            /* first back-off of exporters; 0: 1 s */
    int wake_fd;                                          /* above 0: as sl_pipeline_options.wake_fd */
    const char *(*env_get)(void *user, const char *name); /* NULL: getenv */
    void *env_user;
} sl_sdk_internal_options;

SL_MUST_CHECK int sl_sdk_new_internal(const sl_sdk_options *options, const sl_sdk_internal_options *internal,
                                      sl_sdk **ret_sdk);

/* The SDK that a NULL argument stands for. */
sl_sdk *sl_sdk_or_default(sl_sdk *sdk);

/* Passes an error to the user's callback, at most once a second per code; never prints. */
void sl_sdk_report(sl_sdk *sdk, int error, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
