/* What ends with its process: values in flight and gauges of a writer that is gone. */
#ifndef SL_TELEMETRY_SERIES_VOLATILE_H
#define SL_TELEMETRY_SERIES_VOLATILE_H

#include "src/telemetry/segment.h"

/*
 * Sets the up-down counters and gauges of a segment to nothing; counters and histograms stay. Only when no process
 * records into the segment.
 */
void sl_series_reset_volatile(sl_segment *segment);

#endif
