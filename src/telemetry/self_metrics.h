/*
 * Metrics of the SDK itself, recorded through its own metrics API. Names: OpenTelemetry semantic conventions,
 * docs/otel/sdk-metrics.md.
 */
#ifndef SL_TELEMETRY_SELF_METRICS_H
#define SL_TELEMETRY_SELF_METRICS_H

#include "src/telemetry/sdk_impl.h"

typedef struct sl_self_metrics sl_self_metrics;

/* Registers them. `*ret_metrics` is NULL without a pipeline. Errors: SL_ENOMEM. */
SL_MUST_CHECK int sl_self_metrics_new(sl_sdk *sdk, sl_self_metrics **ret_metrics);
/* After the pipeline was shut down. NULL is accepted. */
void sl_self_metrics_free(sl_self_metrics *metrics);

#endif
