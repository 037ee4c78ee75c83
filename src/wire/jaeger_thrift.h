/*
 * OTLP spans to Jaeger's own model: a `Batch` of jaeger.thrift in Thrift's binary protocol, the body of a POST to
 * /api/traces.
 *
 * One Batch is one resource: its service.name is the process's name ("unknown_service" without one), its other
 * attributes are the process's tags. A span's attributes become tags, and so do its kind (span.kind), its status
 * (otel.status_code, otel.status_description, error), its scope (otel.scope.*, otel.library.*), its tracestate
 * (w3c.tracestate) and the counts of what was dropped; events become logs, links become FOLLOWS_FROM references (their
 * attributes a log of the event "link"). Times are cut to microseconds; a duration
 * below one is one. Arrays and maps are JSON texts.
 *
 * Promises: safe on arbitrary bytes; texts are valid UTF-8. A span whose ids are not 16 and 8 bytes, or all zero, has
 * no place in Jaeger: it is left out and counted.
 * Sources: OpenTelemetry specification, trace/sdk_exporters/jaeger.md and common/mapping-to-non-otlp.md; jaeger.thrift
 * of jaeger-idl; Apache Thrift, "Thrift Binary protocol encoding".
 */
#ifndef SL_WIRE_JAEGER_THRIFT_H
#define SL_WIRE_JAEGER_THRIFT_H

#include "src/wire/otlp_read.h"

/*
 * Appends the Batch of one ResourceSpans message. Errors: SL_EPARSE (malformed protobuf), those of the buffer; `out` is
 * then as it was.
 */
SL_MUST_CHECK int sl_otlp_to_jaeger(sl_str resource_spans, sl_buf *out, size_t *ret_written, size_t *ret_skipped);

#endif
