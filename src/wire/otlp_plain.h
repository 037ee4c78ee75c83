/*
 * OTLP values for formats that have no such values: as plain JSON, and as text.
 *
 * Promises: safe on arbitrary bytes, valid JSON in valid UTF-8, bounded depth. Bytes become base64; what is nested too
 * deep or malformed becomes null; numbers that JSON lacks become "NaN", "Infinity", "-Infinity".
 * Source: OpenTelemetry specification, common/README.md, "Attribute", the string representation of values.
 */
#ifndef SL_WIRE_OTLP_PLAIN_H
#define SL_WIRE_OTLP_PLAIN_H

#include "src/wire/json_write.h"
#include "src/wire/otlp_read.h"

/* The value as JSON. */
void sl_otlp_plain_json(sl_jw *writer, const sl_otlp_any *any);
/* All attributes of a message as one JSON object. SL_EPARSE when they are malformed. */
SL_MUST_CHECK int sl_otlp_plain_object(sl_jw *writer, sl_str message, uint32_t field);
/* Appends the value as text: a string as it is, nothing for the empty value, others as their JSON. Buffer's errors. */
SL_MUST_CHECK int sl_otlp_plain_text(sl_buf *out, const sl_otlp_any *any);

#endif
