/*
 * The SDK object: configuration, exporters, life cycle.
 *
 * `sl_sdk_new(NULL, &sdk)` reads the OTEL_* environment as the OpenTelemetry specification says, and that is all most
 * programs need. Nothing is printed unless an error callback or OTEL_LOG_LEVEL asks for it; the host is never aborted.
 *
 * After fork() the SDK of the parent does nothing in the child: every call is still allowed and returns at once,
 * nothing is recorded or exported, and health checks show their last results. A child that wants telemetry makes its
 * own SDK.
 */
#ifndef SIGHTLINE_SDK_H
#define SIGHTLINE_SDK_H

#include <sightline/health.h>
#include <sightline/log.h>
#include <sightline/metrics.h>
#include <sightline/trace.h>

SL_BEGIN_DECLS

typedef enum sl_signal { SL_SIGNAL_TRACES = 0, SL_SIGNAL_METRICS = 1, SL_SIGNAL_LOGS = 2 } sl_signal;
#define SL_SIGNAL_COUNT 3

/* Bits of sl_exporter.signals. */
#define SL_SIGNAL_BIT(signal) (1u << (signal))
#define SL_SIGNALS_ALL 7u

/*
 * An exporter: receives whole OTLP requests (ExportTraceServiceRequest, ExportMetricsServiceRequest,
 * ExportLogsServiceRequest as protobuf) on a thread of its own, one at a time per signal.
 */
typedef struct sl_exporter {
    const char *name; /* for messages and self-metrics; static or owned by `user` */
    void *user;
    unsigned signals;
    /*
     * Delivers one request of `items` spans, records or data points within `timeout_ms`.
     * Returns 0, SL_ERETRY (try again; `*ret_retry_after_ms` may say when), or another error: the data is lost and
     * counted. `*ret_rejected` counts items that the peer refused of a request it took.
     */
    int (*deliver)(void *user, sl_signal signal, sl_str request, size_t items, uint64_t timeout_ms,
                   uint64_t *ret_retry_after_ms, uint64_t *ret_rejected);
    int (*flush)(void *user, uint64_t timeout_ms); /* may be NULL */
    void (*free)(void *user);                      /* may be NULL */
    uint64_t schedule_delay_ms;                    /* 0: as the processor's configuration says */
    bool immediate;                                /* batches are delivered as soon as they are drained, no delay */
    /*
     * Whether a span or record (encoded) is wanted; asked before it is copied, one call at a time, on a thread that
     * must not wait. What is not wanted counts neither as exported nor as dropped. NULL: everything is.
     */
    bool (*wants)(void *user, sl_signal signal, sl_str item);
} sl_exporter;

/*
 * Told about errors that have nowhere else to go, at most once a second per kind, and at the end about what has been
 * lost since. Any thread.
 */
typedef void (*sl_error_fn)(void *user, int error, const char *message);

/* Limits of one signal's batches; zeros are the defaults of the specification. */
typedef struct sl_batch_options {
    uint64_t schedule_delay_ms; /* 5000, logs 1000 */
    uint64_t export_timeout_ms; /* 30000 */
    size_t max_queue_items;     /* 2048, for each recording thread */
    size_t max_batch_items;     /* 512 */
    size_t max_batch_bytes;     /* 3 MiB: below the 4 MiB that many gRPC servers accept */
    size_t max_pending_bytes;   /* 16 MiB of finished batches wait for a slow exporter; the oldest are dropped */
} sl_batch_options;

/* Limits on what a span or record may hold; zeros are the defaults of the specification. */
typedef struct sl_limits {
    uint32_t attr_count;              /* 128 */
    uint32_t attr_value_chars;        /* 0: no limit */
    uint32_t event_count;             /* 128 */
    uint32_t link_count;              /* 128 */
    uint32_t event_attr_count;        /* 128 */
    uint32_t link_attr_count;         /* 128 */
    const char *const *priority_keys; /* survive the count limit; NULL: session, user and conversation ids */
    size_t priority_key_count;
} sl_limits;

/* Options of an SDK. A zero value everywhere: what the environment says, else the specified default. */
typedef struct sl_sdk_options {
    bool ignore_environment; /* no OTEL_* or LOG_* variable is read */
    const char *service_name;
    const sl_attr *resource_attrs; /* beat those of the environment */
    size_t resource_attr_count;
    sl_sampler_options sampler;
    bool keep_errors; /* record unsampled spans too, and export those that end with status ERROR */
    sl_limits span_limits;
    sl_limits log_limits;
    sl_batch_options batch[SL_SIGNAL_COUNT];
    uint64_t metric_interval_ms; /* 60000 */
    size_t max_series;           /* 2000 for each instrument and view */
    const sl_view *views;
    size_t view_count;
    const sl_exporter *exporters; /* taken over: freed with the SDK, also when sl_sdk_new fails */
    size_t exporter_count;
    bool no_default_exporters; /* OTEL_*_EXPORTER are not looked at */
    sl_severity log_level;     /* 0: LOG_LEVEL, else INFO */
    bool log_to_stderr;        /* write log lines (LOG_FORMAT) to standard error */
    double debug_sample_ratio; /* share of DEBUG and TRACE records kept; 0: all */
    sl_error_fn on_error;
    void *on_error_user;
} sl_sdk_options;

/*
 * Starts an SDK: reads the environment, makes exporters, starts the background threads.
 * Ownership: the caller ends it by sl_sdk_free. `options` may be NULL and is not kept.
 * Errors: SL_ECONFIG (an exporter or endpoint that cannot be; the message goes to on_error), SL_ENOMEM. Any thread.
 */
SL_API SL_MUST_CHECK int sl_sdk_new(const sl_sdk_options *options, sl_sdk **ret_sdk);

/* Makes `sdk` the one that NULL stands for; NULL: none. Returns the previous one. Any thread. */
SL_API sl_sdk *sl_sdk_set_default(sl_sdk *sdk);

/*
 * Exports everything recorded before the call. Waits at most `timeout_ms`.
 * Errors: SL_ETIMEOUT; SL_ECLOSED (shut down, or a forked child); else the last exporter's error. Any thread but an
 * exporter's.
 */
SL_API SL_MUST_CHECK int sl_sdk_flush(sl_sdk *sdk, uint64_t timeout_ms);

/*
 * Flushes and stops; nothing is recorded any more. Returns within `timeout_ms`, whatever the peers do.
 * Errors: SL_ETIMEOUT (what had not been exported is lost and counted), SL_ECLOSED (a second time, or in a forked
 * child). Any thread but an exporter's.
 */
SL_API int sl_sdk_shutdown(sl_sdk *sdk, uint64_t timeout_ms);

/*
 * Frees the SDK (after a shutdown of at most 5 s when there was none). Spans, series and loggers of it must not be
 * used any more, by no thread. NULL is accepted.
 */
SL_API void sl_sdk_free(sl_sdk *sdk);

/* The SDK's health registry. Ownership: the SDK's. NULL for NULL. Any thread. */
SL_API sl_health *sl_sdk_health(sl_sdk *sdk);

/* What became of the recorded items of one signal. */
typedef struct sl_sdk_stats {
    uint64_t started;  /* spans started and recording; log records emitted */
    uint64_t ended;    /* spans ended, records emitted, data points collected; also those that found no room */
    uint64_t exported; /* accepted by an exporter (of several, the one with the fewest) */
    uint64_t dropped;  /* lost for want of room, or after the last retry */
} sl_sdk_stats;

/* Reads the counts of a signal. Any thread. */
SL_API void sl_sdk_get_stats(sl_sdk *sdk, sl_signal signal, sl_sdk_stats *ret_stats);

SL_END_DECLS

#endif
