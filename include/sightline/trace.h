/*
 * Traces: tracers, spans, samplers.
 *
 * Recording never blocks, never does I/O and, for spans of ordinary size, never allocates. Every function accepts a
 * NULL span or tracer and then does nothing, so a disabled SDK needs no checks at the caller's side.
 *
 * Thread rule: a span may be handed from thread to thread, but is used by one thread at a time. Tracers are for any
 * number of threads.
 */
#ifndef SIGHTLINE_TRACE_H
#define SIGHTLINE_TRACE_H

#include <sightline/context.h>

SL_BEGIN_DECLS

typedef struct sl_sdk sl_sdk;
typedef struct sl_tracer sl_tracer;
typedef struct sl_span sl_span;

/* OTLP SpanKind. 0 is recorded as INTERNAL. */
typedef enum sl_span_kind {
    SL_SPAN_UNSPECIFIED = 0,
    SL_SPAN_INTERNAL = 1,
    SL_SPAN_SERVER = 2,
    SL_SPAN_CLIENT = 3,
    SL_SPAN_PRODUCER = 4,
    SL_SPAN_CONSUMER = 5
} sl_span_kind;

/* OTLP Status code. OK set by the caller is final; a later ERROR does not replace it. */
typedef enum sl_status_code { SL_STATUS_UNSET = 0, SL_STATUS_OK = 1, SL_STATUS_ERROR = 2 } sl_status_code;

/* Who records: name and version of the instrumented library. All views are copied. */
typedef struct sl_scope_options {
    sl_str name;
    sl_str version;
    sl_str schema_url;
    const sl_attr *attrs;
    size_t attr_count;
} sl_scope_options;

typedef struct sl_link {
    sl_span_context context;
    const sl_attr *attrs;
    size_t attr_count;
} sl_link;

/*
 * How to start a span; all zero is a good default: INTERNAL, child of this thread's current span, starting now.
 * Parent, in this order: `root` (none), `parent`, `parent_context` (when valid), the thread's current span.
 */
typedef struct sl_span_options {
    sl_span_kind kind;
    bool root;
    const sl_span *parent;
    const sl_span_context *parent_context;
    uint64_t start_ns; /* Unix time; 0 is now */
    const sl_attr *attrs;
    size_t attr_count;
    const sl_link *links;
    size_t link_count;
} sl_span_options;

/* What a sampler decides (OpenTelemetry trace SDK, Sampling). */
typedef enum sl_sampling_decision {
    SL_SAMPLE_DROP = 0,
    SL_SAMPLE_RECORD_ONLY = 1,
    SL_SAMPLE_RECORD_AND_SAMPLE = 2
} sl_sampling_decision;

/* What a sampler is told. Views are valid during the call only. */
typedef struct sl_sampling_input {
    const sl_span_context *parent; /* NULL for a root span */
    const uint8_t *trace_id;       /* SL_TRACE_ID_SIZE bytes */
    sl_str name;
    sl_span_kind kind;
    const sl_attr *attrs;
    size_t attr_count;
} sl_sampling_input;

/* A sampler of the user. Called on every starting thread at once; must not block. */
typedef sl_sampling_decision (*sl_sampler_fn)(void *user, const sl_sampling_input *input);

typedef enum sl_sampler_kind {
    SL_SAMPLER_DEFAULT = 0, /* from the environment, else parentbased_always_on */
    SL_SAMPLER_ALWAYS_ON,
    SL_SAMPLER_ALWAYS_OFF,
    SL_SAMPLER_TRACEIDRATIO,
    SL_SAMPLER_PARENTBASED_ALWAYS_ON,
    SL_SAMPLER_PARENTBASED_ALWAYS_OFF,
    SL_SAMPLER_PARENTBASED_TRACEIDRATIO,
    SL_SAMPLER_CALLBACK
} sl_sampler_kind;

typedef struct sl_sampler_options {
    sl_sampler_kind kind;
    double ratio;     /* 0.0 to 1.0, for the ratio samplers */
    sl_sampler_fn fn; /* for SL_SAMPLER_CALLBACK */
    void *user;
} sl_sampler_options;

/*
 * The tracer of a scope; the same scope gives the same tracer. NULL SDK: the default SDK (sl_sdk_set_default).
 * A scope for which there is no room or memory gives the tracer of the empty scope: what it records is not lost.
 * Ownership: the SDK owns it; valid until the SDK is freed. NULL when there is no SDK or no memory. Any thread.
 */
SL_API sl_tracer *sl_tracer_get(sl_sdk *sdk, const sl_scope_options *scope);

/* The tracer of a scope given by its name alone. As sl_tracer_get. */
SL_API sl_tracer *sl_tracer_named(sl_sdk *sdk, const char *name);

/*
 * Starts a span; it is not made current. `options` may be NULL.
 * Ownership: the caller ends it by sl_span_end, exactly once. NULL when the tracer is NULL or memory ran out.
 * Any thread.
 */
SL_API sl_span *sl_span_start(sl_tracer *tracer, sl_str name, const sl_span_options *options);

/* Sets an attribute of any type; an earlier one of the same key is replaced. Copies everything. */
SL_API void sl_span_set(sl_span *span, sl_str key, sl_value value);

/* Sets a string attribute from C strings. */
SL_API void sl_span_set_str(sl_span *span, const char *key, const char *value);

/* Sets an integer attribute. */
SL_API void sl_span_set_int(sl_span *span, const char *key, int64_t value);

/* Sets a floating point attribute. */
SL_API void sl_span_set_double(sl_span *span, const char *key, double value);

/* Sets a boolean attribute. */
SL_API void sl_span_set_bool(sl_span *span, const char *key, bool value);

/* As sl_span_set_str and sl_span_set_int, for texts whose length is known. */
SL_API void sl_span_put_str(sl_span *span, sl_str key, sl_str value);

/* As sl_span_put_str, for an integer. */
SL_API void sl_span_put_int(sl_span *span, sl_str key, int64_t value);

/* Keys are literals as a rule: the compiler knows their length, and nothing looks for their end at run time. */
#define sl_span_set_str(span, key, value) sl_span_put_str((span), sl_str_c(key), sl_str_c(value))
#define sl_span_set_int(span, key, value) sl_span_put_int((span), sl_str_c(key), (value))

/*
 * Sets a string attribute of this thread's current span. The value of a key that looks like a secret (password,
 * token, api_key, authorization, secret …) is replaced by "[REDACTED]".
 */
SL_API void sl_add_span_attribute(const char *key, const char *value);

/* Adds an event; `time_ns` 0 is now. */
SL_API void sl_span_add_event(sl_span *span, sl_str name, uint64_t time_ns, const sl_attr *attrs, size_t attr_count);

/* Adds an "exception" event with exception.type and exception.message. */
SL_API void sl_span_record_error(sl_span *span, const char *type, const char *message);

/* Adds a link to another span. A link whose context is not valid is kept only when it has attributes or tracestate. */
SL_API void sl_span_add_link(sl_span *span, const sl_link *link);

/* Sets the status. The message is kept for ERROR only (OpenTelemetry trace API, Set Status). */
SL_API void sl_span_set_status(sl_span *span, sl_status_code code, const char *message);

/* Replaces the name. */
SL_API void sl_span_set_name(sl_span *span, sl_str name);

/* Ends the span now and gives it back; the pointer is invalid afterwards. NULL is accepted. */
SL_API void sl_span_end(sl_span *span);

/* Ends the span at a time (Unix nanoseconds; 0 is now). */
SL_API void sl_span_end_at(sl_span *span, uint64_t end_ns);

/* True when attributes set on it are kept. */
SL_API bool sl_span_is_recording(const sl_span *span);

/* Identity of the span; all zero for NULL. The tracestate view lives as long as the span. */
SL_API void sl_span_get_context(const sl_span *span, sl_span_context *ret_context);

/* This thread's current span, or NULL. */
SL_API sl_span *sl_span_current(void);

/*
 * Makes `span` this thread's current span (NULL: none) and returns the previous one, which the caller puts back by a
 * second call before the span ends. The thread keeps only the pointer.
 */
SL_API sl_span *sl_span_attach(sl_span *span);

/* Receives one header to be sent; both views are valid during the call only. */
typedef void (*sl_header_set_fn)(void *user, sl_str name, sl_str value);

/* Looks up a received header by its lower-case name; several of one name are joined with ",". Empty when absent. */
typedef sl_str (*sl_header_get_fn)(void *user, sl_str name);

/*
 * Writes the headers that carry a span and a baggage to another process, as the SDK's propagators say
 * (OTEL_PROPAGATORS; default tracecontext,baggage). NULL span: the current one; NULL baggage: the current one.
 */
SL_API void sl_propagation_inject(sl_sdk *sdk, const sl_span *span, const sl_baggage *baggage, sl_header_set_fn set,
                                  void *user);

/*
 * Reads trace context and baggage from received headers, as the SDK's propagators say.
 * Effect: `ret_context` is all zero when there is no valid parent; its tracestate points into `state_text`, a buffer
 * of at least 512 bytes (NULL: tracestate is dropped). `ret_baggage` (may be NULL) gets a baggage that the caller
 * frees, or NULL. Errors: SL_EINVAL. Any thread.
 */
SL_API int sl_propagation_extract(sl_sdk *sdk, sl_header_get_fn get, void *user, char *state_text, size_t state_size,
                                  sl_span_context *ret_context, sl_baggage **ret_baggage);

SL_END_DECLS

#endif
