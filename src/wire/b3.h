/*
 * Trace context in headers older than W3C's: B3, single and multi (openzipkin/b3-propagation), and Jaeger's
 * `uber-trace-id`. Trace ids of 64 bits are read with zeros in front. Debug is read as sampled.
 */
#ifndef SL_WIRE_B3_H
#define SL_WIRE_B3_H

#include <sightline/context.h>

#define SL_B3_LEN 51     /* characters of a single header: 32-16-1 */
#define SL_JAEGER_LEN 54 /* characters of an uber-trace-id: 32:16:0:01 */

/*
 * Parses a `b3` header. SL_EPARSE when malformed; SL_ENOENT when it holds a sampling decision alone ("0", "1", "d"):
 * `ret_context` is then untouched.
 */
SL_MUST_CHECK int sl_b3_parse(sl_str header, sl_span_context *ret_context);
/* Parses X-B3-TraceId, X-B3-SpanId, X-B3-Sampled, X-B3-Flags; absent headers are empty. Errors: SL_EPARSE. */
SL_MUST_CHECK int sl_b3_parse_multi(sl_str trace_id, sl_str span_id, sl_str sampled, sl_str flags,
                                    sl_span_context *ret_context);
/* Writes a single header and a NUL. */
void sl_b3_format(const sl_span_context *context, char ret_text[SL_B3_LEN + 1]);

/* Parses an `uber-trace-id` header, ':' as it is or percent-encoded. Errors: SL_EPARSE. */
SL_MUST_CHECK int sl_jaeger_parse(sl_str header, sl_span_context *ret_context);
/* Writes an `uber-trace-id` and a NUL. */
void sl_jaeger_format(const sl_span_context *context, char ret_text[SL_JAEGER_LEN + 1]);

#endif
