/*
 * The registry: instruments, views and series of the recording process.
 *
 * A stream is one output of an instrument (its own, or a view's); a series is a stream with one set of attributes, and
 * lies in the segment as a record plus cells. An sl_series handle holds the cells of every stream its instrument has, so
 * recording writes them all without a look-up.
 */
#ifndef SL_TELEMETRY_INSTRUMENT_H
#define SL_TELEMETRY_INSTRUMENT_H

#include "src/telemetry/sdk_impl.h"

sl_registry *sl_registry_new(sl_sdk *sdk, sl_segment *segment, size_t max_series);
void sl_registry_free(sl_registry *registry);

#endif
