/*
 * OTLP spans to Zipkin's v2 model as JSON: the body of a POST to /api/v2/spans.
 *
 * A span's attributes become tags (texts; arrays and maps as JSON), and so do its status (otel.status_code, and `error`
 * with the description), its scope (otel.scope.*, otel.library.*), its tracestate (w3c.tracestate), its links
 * (otlp.link.N, as the OpenTelemetry Collector writes and reads them), the counts of what was dropped, and the
 * resource's attributes but service.name, which is the local endpoint. A name that occurs twice is written once: what
 * stands first in this list wins over what comes later, derived tags before attributes. Events become annotations:
 * their name, or "name":{attributes}. Times are cut to microseconds; a duration below one is one.
 *
 * Promises: safe on arbitrary bytes, valid JSON. A span whose ids are not 16 and 8 bytes, or all zero, would make
 * Zipkin refuse the whole request: it is left out and counted.
 * Sources: OpenTelemetry specification, trace/sdk_exporters/zipkin.md and common/mapping-to-non-otlp.md;
 * zipkin2-api.yaml.
 */
#ifndef SL_WIRE_ZIPKIN_JSON_H
#define SL_WIRE_ZIPKIN_JSON_H

#include "src/wire/otlp_read.h"

/*
 * Appends the JSON list of the spans of one ResourceSpans message. Errors: SL_EPARSE (malformed protobuf), SL_ENOMEM,
 * those of the buffer; `out` is then as it was.
 */
SL_MUST_CHECK int sl_otlp_to_zipkin(sl_str resource_spans, sl_buf *out, size_t *ret_written, size_t *ret_skipped);

#endif
