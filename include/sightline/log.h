/*
 * Logs: structured records with trace ids, written as text or JSON by a writer thread and exported by OTLP.
 *
 * Text line: `2025-11-14T10:30:45.123Z INFO workflow_id=abc123 workflow_name="rag-pipeline" message="…"`.
 * The caller only copies the record into its thread's ring: no formatting, no I/O, no lock.
 */
#ifndef SIGHTLINE_LOG_H
#define SIGHTLINE_LOG_H

#include <sightline/trace.h>

SL_BEGIN_DECLS

typedef struct sl_logger sl_logger;

/* OTLP SeverityNumber of the level names. CRITICAL is OTLP's FATAL. */
typedef enum sl_severity {
    SL_SEVERITY_UNSET = 0,
    SL_TRACE = 1,
    SL_DEBUG = 5,
    SL_INFO = 9,
    SL_WARN = 13,
    SL_ERROR_LEVEL = 17,
    SL_CRITICAL = 21
} sl_severity;

/* A record in full. All zero is legal. */
typedef struct sl_log_record {
    sl_severity severity;
    uint64_t time_ns;  /* Unix time; 0 is now */
    sl_value body;     /* the message; any type */
    sl_str event_name; /* OTLP event_name */
    const sl_attr *attrs;
    size_t attr_count;
    const sl_span_context *context; /* NULL: this thread's current span */
} sl_log_record;

/*
 * The logger of a scope. NULL SDK: the default SDK. A scope for which there is no room or memory gives the logger of
 * the empty scope. Ownership: the SDK's. NULL when there is no SDK or no memory. Any thread.
 */
SL_API sl_logger *sl_logger_get(sl_sdk *sdk, const sl_scope_options *scope);

/* The logger of a scope given by its name alone. As sl_logger_get. */
SL_API sl_logger *sl_logger_named(sl_sdk *sdk, const char *name);

/*
 * A logger that adds `attrs` to each record (contextual fields, before the record's own).
 * Ownership: the SDK's, until sl_logger_free or the SDK's end. NULL without memory. Any thread.
 */
SL_API sl_logger *sl_logger_with(sl_logger *logger, const sl_attr *attrs, size_t attr_count);

/* Frees a logger made by sl_logger_with; NULL is accepted. Nobody may use it any more. */
SL_API void sl_logger_free(sl_logger *logger);

/* True when a record of this severity would be kept (LOG_LEVEL; sampling is not considered). Any thread. */
SL_API bool sl_log_enabled(const sl_logger *logger, sl_severity severity);

/* Emits a record. Never blocks; a record that finds its ring full is counted as dropped. Any thread. */
SL_API void sl_log_emit(sl_logger *logger, const sl_log_record *record);

/* Emits a message with attributes, in the context of this thread's current span. Any thread. */
SL_API void sl_log(sl_logger *logger, sl_severity severity, const char *message, const sl_attr *attrs,
                   size_t attr_count);

/*
 * Parses a level name, any case: TRACE DEBUG INFO WARN WARNING ERROR CRITICAL FATAL.
 * Errors: SL_EPARSE. Any thread.
 */
SL_API SL_MUST_CHECK int sl_severity_parse(sl_str text, sl_severity *ret_severity);

/* Name of a severity as lines show it: TRACE DEBUG INFO WARN ERROR CRITICAL. Static. */
SL_API const char *sl_severity_name(sl_severity severity);

SL_END_DECLS

#endif
