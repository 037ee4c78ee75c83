/*
 * Metrics: instruments, bound series, callbacks, views.
 *
 * An instrument is declared once; binding it to a set of attributes gives a series, and recording on a series costs a
 * few nanoseconds: no look-up, no lock, no allocation. Series and instruments are for any number of threads.
 */
#ifndef SIGHTLINE_METRICS_H
#define SIGHTLINE_METRICS_H

#include <sightline/trace.h>

SL_BEGIN_DECLS

typedef struct sl_meter sl_meter;
typedef struct sl_instrument sl_instrument;
typedef struct sl_series sl_series;
typedef struct sl_observer sl_observer;

typedef enum sl_instrument_kind {
    SL_COUNTER = 1,        /* monotonic sum */
    SL_UPDOWN_COUNTER = 2, /* sum that may fall */
    SL_GAUGE = 3,          /* last value */
    SL_HISTOGRAM = 4       /* explicit buckets, upper bounds inclusive */
} sl_instrument_kind;

/*
 * Declaration of an instrument; views and strings are copied.
 * Rules of the name: letter first, then letters, digits, '_', '.', '-', '/', at most 255 characters
 * (OpenTelemetry metrics API). ':' is accepted too, for Prometheus names: such an instrument is in Prometheus text
 * alone, since OTLP has no colon in names.
 */
typedef struct sl_instrument_options {
    sl_instrument_kind kind;
    const char *name;
    const char *unit; /* UCUM, at most 63 characters; NULL: none */
    const char *description;
    bool is_double;       /* counters and gauges: values are doubles instead of integers */
    const double *bounds; /* histograms: ascending upper bounds without +Inf; NULL: the OpenTelemetry default */
    size_t bound_count;
    size_t max_series; /* cardinality limit; 0: the SDK's (2000) */
} sl_instrument_options;

/*
 * The meter of a scope; the same scope gives the same meter. NULL SDK: the default SDK.
 * Ownership: the SDK's. NULL when there is no SDK or no memory. Any thread.
 */
SL_API sl_meter *sl_meter_get(sl_sdk *sdk, const sl_scope_options *scope);

/* The meter of a scope given by its name alone. As sl_meter_get. */
SL_API sl_meter *sl_meter_named(sl_sdk *sdk, const char *name);

/*
 * Declares an instrument. Declaring the same one again gives the same pointer.
 * Ownership: the SDK's. NULL on a bad declaration, on one that contradicts an earlier one, or without memory; every
 * recording call accepts NULL. Any thread.
 */
SL_API sl_instrument *sl_instrument_new(sl_meter *meter, const sl_instrument_options *options);

/*
 * Binds an instrument to a set of attributes (order does not matter). Beyond the cardinality limit every new set gets
 * the overflow series, otel.metric.overflow=true.
 * Ownership: the SDK's; the same set gives the same pointer. NULL when the instrument is NULL or memory ran out.
 * Any thread.
 */
SL_API sl_series *sl_instrument_bind(sl_instrument *instrument, const sl_attr *attrs, size_t attr_count);

/* Adds to a counter. Any thread; wait-free. */
SL_API void sl_counter_add(sl_series *series, uint64_t value);

/* Adds to a counter of doubles. Negative values and NaN are ignored. Any thread; wait-free. */
SL_API void sl_counter_add_double(sl_series *series, double value);

/* Adds to an up-down counter; negative values subtract. Any thread; wait-free. */
SL_API void sl_updown_add(sl_series *series, int64_t value);

/* Adds to an up-down counter of doubles. Any thread; wait-free. */
SL_API void sl_updown_add_double(sl_series *series, double value);

/* Sets a gauge; the last value wins. Any thread; wait-free. */
SL_API void sl_gauge_set(sl_series *series, int64_t value);

/* Sets a gauge of doubles. Any thread; wait-free. */
SL_API void sl_gauge_set_double(sl_series *series, double value);

/*
 * Records into a histogram. NaN is ignored. The thread's current span, when sampled, becomes the exemplar of the
 * bucket. Any thread; wait-free.
 */
SL_API void sl_histogram_record(sl_series *series, double value);

/* As sl_histogram_record, with the span to be kept as exemplar (NULL: none). */
SL_API void sl_histogram_record_in(sl_series *series, double value, const sl_span_context *context);

/* Unbound recording: binds, then records `value` as the instrument's kind asks. Costs a look-up. Any thread. */
SL_API void sl_instrument_record(sl_instrument *instrument, double value, const sl_attr *attrs, size_t attr_count);

/*
 * Called at every collection, on the collecting thread; reports by sl_observe. Must not block.
 */
typedef void (*sl_observe_fn)(void *user, sl_observer *observer);

/*
 * Registers a callback for an asynchronous instrument (COUNTER: observed totals; UPDOWN_COUNTER, GAUGE: values).
 * Errors: SL_EINVAL (histogram), SL_ELIMIT, SL_ENOMEM, SL_ECLOSED (a forked child). Any thread.
 */
SL_API SL_MUST_CHECK int sl_instrument_on_collect(sl_instrument *instrument, sl_observe_fn fn, void *user);

/* Removes a callback; it does not run any more after the return. Any thread but the callback's own. */
SL_API void sl_instrument_off_collect(sl_instrument *instrument, sl_observe_fn fn, void *user);

/* Reports one value from inside a callback. */
SL_API void sl_observe(sl_observer *observer, double value, const sl_attr *attrs, size_t attr_count);

/* How a view treats one attribute: `to` NULL drops it, else it is renamed. */
typedef struct sl_view_attr {
    const char *from;
    const char *to;
} sl_view_attr;

/*
 * A view: one more output stream of an instrument. All that is NULL or 0 stays as the instrument has it.
 * Several views may match one instrument: each gives a stream. An instrument that a view with `replace` matches is not
 * emitted under its own name.
 */
typedef struct sl_view {
    const char *instrument; /* name, or '*' and '?' wildcards; required */
    const char *meter;      /* scope name; NULL: any */
    const char *name;       /* new name */
    const char *description;
    const char *unit;
    const double *bounds; /* new buckets */
    size_t bound_count;
    const sl_view_attr *attrs; /* renames and drops */
    size_t attr_count;
    bool keep_only; /* attributes not named in `attrs` are dropped */
    bool drop;      /* no stream at all */
    bool replace;   /* the instrument's own stream is not emitted */
    size_t max_series;
} sl_view;

/*
 * Adds a view. It concerns instruments declared afterwards. Everything is copied.
 * Errors: SL_EINVAL, SL_ELIMIT, SL_ENOMEM. Any thread.
 */
SL_API SL_MUST_CHECK int sl_view_add(sl_sdk *sdk, const sl_view *view);

typedef enum sl_prometheus_format {
    SL_PROMETHEUS_TEXT = 0,       /* text/plain; version=0.0.4 */
    SL_PROMETHEUS_OPENMETRICS = 1 /* application/openmetrics-text; version=1.0.0 */
} sl_prometheus_format;

/* The format that an HTTP Accept header asks for. Any thread. */
SL_API sl_prometheus_format sl_prometheus_negotiate(sl_str accept);

/* The Content-Type of a format. Static. */
SL_API const char *sl_prometheus_content_type(sl_prometheus_format format);

/*
 * Collects every metric as Prometheus text.
 * Ownership: the caller frees `*ret_text` by free(). Errors: SL_EINVAL (an SDK that only records), SL_ENOMEM,
 * SL_ECLOSED (a forked child). Any thread; collections are serialised.
 */
SL_API SL_MUST_CHECK int sl_prometheus_gather(sl_sdk *sdk, sl_prometheus_format format, char **ret_text,
                                              size_t *ret_len);

SL_END_DECLS

#endif
