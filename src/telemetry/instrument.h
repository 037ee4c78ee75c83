/*
 * The registry: instruments, views and series of the recording process.
 *
 * A stream is one output of an instrument (its own, or a view's); a series is a stream with one set of attributes, and
 * lies in the segment as a record plus cells. An sl_series handle holds the cells of every stream its instrument has,
 * so recording writes them all without a look-up.
 */
#ifndef SL_TELEMETRY_INSTRUMENT_H
#define SL_TELEMETRY_INSTRUMENT_H

#include "src/telemetry/sdk_impl.h"

/*
 * A registry that records into `segment`; streams and series that lie there already are taken up again.
 * `max_series` 0: the default. NULL without memory. OTEL_METRICS_EXEMPLAR_FILTER is read here.
 */
sl_registry *sl_registry_new(sl_sdk *sdk, sl_segment *segment, size_t max_series);
/* Frees meters, instruments and series too. NULL is accepted. */
void sl_registry_free(sl_registry *registry);

/*
 * Runs the callbacks of all asynchronous instruments; for the collector of this process. Any thread, but no callback.
 */
void sl_registry_observe(sl_registry *registry);

#endif
