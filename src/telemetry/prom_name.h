/*
 * Names and escaping of the Prometheus text formats.
 *
 * The rule that decides how an instrument is named, and the only place where it is decided: the name is translated
 * (UnderscoreEscapingWithSuffixes: characters that Prometheus does not allow become '_', runs of '_' become one, the
 * unit's word and, for counters, "_total" are appended unless they are there). When the translation changes nothing
 * and the name holds a '_' or a ':', it was a Prometheus name already: it is *native*, comes out exactly as declared
 * and carries no otel_scope_* labels. A name with a ':' is always native.
 *
 * Sources: OpenTelemetry, "Prometheus and OpenMetrics Compatibility"; Prometheus exposition formats; OpenMetrics 1.0.
 */
#ifndef SL_TELEMETRY_PROM_NAME_H
#define SL_TELEMETRY_PROM_NAME_H

#include <sightline/metrics.h>

#include "src/base/buf.h"
#include "src/base/limits.h"

#define SL_PROM_NAME_BYTES 640                     /* a translated name and its NUL */
#define SL_PROM_UNIT_BYTES 160                     /* a unit in words and its NUL */
#define SL_PROM_LABEL_BYTES (SL_MAX_KEY_BYTES + 8) /* a label name and its NUL */

/* The unit in words ("s": "seconds", "By/s": "bytes_per_second", "{token}": ""), with a NUL. */
void sl_prom_unit(sl_str unit, sl_instrument_kind kind, char ret_unit[SL_PROM_UNIT_BYTES]);
/* The name of the samples ("_total" of counters included), with a NUL. True when the name is native. */
bool sl_prom_name(sl_str name, sl_str unit, sl_instrument_kind kind, char ret_name[SL_PROM_NAME_BYTES]);
/* The label name for an attribute key of at most SL_MAX_KEY_BYTES, with a NUL. */
void sl_prom_label_name(sl_str key, char ret_name[SL_PROM_LABEL_BYTES]);
/* Appends a label value, escaped: backslash, quote, line feed. Invalid UTF-8 becomes U+FFFD. */
int sl_prom_escape_label(sl_str value, sl_buf *out);
/* Appends a help text, escaped; OpenMetrics escapes quotes too. */
int sl_prom_escape_help(sl_str help, sl_prometheus_format format, sl_buf *out);
/* Appends a bound as a value of the label `le`: 0.005, 1 or (OpenMetrics) 1.0, +Inf. */
int sl_prom_bound(double bound, sl_prometheus_format format, sl_buf *out);
/* Appends a number exactly; fast for integers and short decimals. */
int sl_prom_number(double value, sl_buf *out);

#endif
