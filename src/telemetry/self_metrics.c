/* Metrics of the SDK itself. */
#include "src/telemetry/self_metrics.h"

#include "src/base/assert.h"

int sl_self_metrics_new(sl_sdk *sdk, sl_self_metrics **ret_metrics)
{
    SL_ASSERT(sdk && ret_metrics);
    (void)sdk;
    *ret_metrics = NULL;
    return 0;
}

void sl_self_metrics_free(sl_self_metrics *metrics)
{
    (void)metrics;
}
