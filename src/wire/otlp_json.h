/*
 * OTLP protobuf to OTLP JSON: one line without a newline, for the console and file exporters and for `http/json`; and
 * back, for receivers.
 *
 * Promises: follows the JSON mapping of OTLP (lowerCamelCase names, ids in hex, other bytes in base64, enums and 32-bit
 * numbers as numbers, 64-bit integers as strings, "NaN" and "Infinity"); valid JSON whatever the texts hold. Fields are
 * written as they are on the wire, unknown ones left out; repeated numbers are read packed and one by one. Values
 * nested too deep for SL_MAX_JSON_DEPTH become {}. Source: opentelemetry-proto, docs/specification.md, "JSON Protobuf
 * Encoding".
 */
#ifndef SL_WIRE_OTLP_JSON_H
#define SL_WIRE_OTLP_JSON_H

#include "src/wire/otlp_encode.h"

/*
 * Appends the JSON of an Export{Trace,Logs,Metrics}ServiceRequest (the same as TracesData, LogsData, MetricsData).
 * Errors: SL_EPARSE (malformed protobuf), those of the buffer; `out` is then as it was.
 */
SL_MUST_CHECK int sl_otlp_to_json(sl_otlp_signal signal, sl_str request, sl_buf *out);

/*
 * The reverse: appends the protobuf of a request in JSON. Members that are not known, and null, are left out; 64-bit
 * integers may be numbers too, and all numbers strings; ids are hex of either case and any even length. Errors:
 * SL_EPARSE (no JSON, or a member of another type), SL_ELIMIT (nesting), those of the buffer; `out` is then as it was.
 */
SL_MUST_CHECK int sl_otlp_from_json(sl_otlp_signal signal, sl_str json, sl_buf *out);

#endif
