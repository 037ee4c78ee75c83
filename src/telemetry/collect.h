/*
 * The collector: reads the series of many segments, merges equal ones, and gives a snapshot to the encoders.
 *
 * Equal means the same stream (scope, name, kind, unit, bounds) and the same attributes. Counters, up-down counters and
 * histograms of several processes add up; a dead process's counters stay in the sum, its in-flight values do not.
 * Callbacks (asynchronous instruments) run here, in the collecting process.
 */
#ifndef SL_TELEMETRY_COLLECT_H
#define SL_TELEMETRY_COLLECT_H

#include "src/base/buf.h"
#include "src/telemetry/sdk_impl.h"

/* `registry` (may be NULL) supplies the callbacks of this process. NULL without memory. */
sl_collector *sl_collector_new(sl_registry *registry);
void sl_collector_free(sl_collector *collector);
/* Adds a segment to read; not owned. Errors: SL_ELIMIT, SL_ENOMEM. Any thread. */
SL_MUST_CHECK int sl_collector_add_segment(sl_collector *collector, sl_segment *segment);
/*
 * Forgets a segment; its counters and histograms are first folded into the collector's own totals, so no count is lost;
 * its gauges and up-down counters vanish. Any thread.
 */
void sl_collector_remove_segment(sl_collector *collector, sl_segment *segment);

/*
 * Sets every up-down counter and gauge of a segment to nothing: its writer has died, and what it had in flight is
 * gone with it. For a segment that stays in use by another process; call it before that one starts.
 */
void sl_collector_clear_inflight(sl_collector *collector, sl_segment *segment);
/* The resource that an empty `resource` argument stands for (sl_prometheus_gather). Copied. Errors: SL_ENOMEM. */
SL_MUST_CHECK int sl_collector_set_resource(sl_collector *collector, sl_str resource);

/* Collects and writes Prometheus text. Errors: SL_ENOMEM, SL_ELIMIT. Any thread; serialised by a lock inside. */
SL_MUST_CHECK int sl_collector_prometheus(sl_collector *collector, sl_str resource, sl_prometheus_format format,
                                          sl_buf *out);
/*
 * Collects and appends whole Metric messages grouped by scope as an ExportMetricsServiceRequest.
 * Effect: `*ret_points` gets the number of data points (0: nothing to send). `delta`: since the previous delta
 * collection.
 */
SL_MUST_CHECK int sl_collector_otlp(sl_collector *collector, sl_str resource, sl_str resource_schema_url, bool delta,
                                    sl_buf *out, size_t *ret_points);

#endif
