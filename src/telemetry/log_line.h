/*
 * Log lines: an OTLP LogRecord as one line of text or one JSON object. No I/O.
 *
 *     2025-11-14T10:30:45.123Z INFO workflow_id=abc123 workflow_name="rag-pipeline" message="Starting …"
 *     {"timestamp":"2025-11-14T10:30:45.123Z","level":"INFO","message":"Starting …","trace_id":"…",…}
 *
 * Text: attributes in their order, then event_name, trace_id, span_id when there are any, message last. Numbers and
 * booleans are bare. Strings are quoted, but for the keys of a small table (ids of workflows and traces, enumerated
 * values: log_line.c), which are bare as long as they need no quotes. Inside quotes: \" \\ \n \r \t and \uXXXX for
 * other control characters, so a line is always one line and a terminal sees no control sequence. Maps are flattened
 * with dots, arrays shown as JSON. An attribute NAME that is one of the line's own fields is called attributes.NAME; so
 * that no two attributes come out alike, one that is called so itself gets the prefix once more.
 */
#ifndef SL_TELEMETRY_LOG_LINE_H
#define SL_TELEMETRY_LOG_LINE_H

#include "src/base/buf.h"

typedef enum sl_log_format { SL_LOG_TEXT = 0, SL_LOG_JSON = 1 } sl_log_format;

/* `text` or `json`, any case (LOG_FORMAT). Errors: SL_EPARSE. */
SL_MUST_CHECK int sl_log_format_parse(sl_str text, sl_log_format *ret_format);

/* Keys whose string values are bare when they need no quotes, in no order; empty: there is no more. */
sl_str sl_log_bare_key(size_t index);

/*
 * Appends the line of one encoded LogRecord, with its line end. Nothing is appended on failure.
 * Errors: SL_EPARSE, SL_ENOMEM, SL_ELIMIT.
 */
SL_MUST_CHECK int sl_log_line(sl_str record, sl_log_format format, sl_buf *out);

/*
 * Appends the lines of an ExportLogsServiceRequest; a malformed record is left out. Returns the first error.
 * `ret_lines` (may be NULL) gets the number of lines written.
 */
SL_MUST_CHECK int sl_log_lines(sl_str request, sl_log_format format, sl_buf *out, size_t *ret_lines);

#endif
