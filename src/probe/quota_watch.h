/*
 * Watches quotas (quota.h) over the totals of the probe's metrics, and tells: gauges llamacpp_quota_*, a log record and
 * a span `quota_exceeded` with an event at each crossing.
 */
#ifndef SL_PROBE_QUOTA_WATCH_H
#define SL_PROBE_QUOTA_WATCH_H

#include "src/probe/quota.h"

typedef struct sl_quota_watch sl_quota_watch;

/* Limits without any are fine: then nothing is ever exceeded and no gauge is shown. Errors: SL_EINVAL, SL_ENOMEM. */
SL_MUST_CHECK int sl_quota_watch_new(sl_sdk *sdk, const sl_quota_limits *limits, sl_quota_watch **ret_watch);
/* NULL is accepted. Before the SDK is freed. */
void sl_quota_watch_free(sl_quota_watch *watch);

/* Looks at most once a second (CLOCK_MONOTONIC nanoseconds); as often as one likes. One thread. NULL is accepted. */
void sl_quota_watch_tick(sl_quota_watch *watch, uint64_t now_ns);

/*
 * Whether a request had better not be let through now. Then `ret_quota` (static) names the quota, and
 * `ret_retry_after_s` is the value for Retry-After. Any thread; costs one load. NULL: never.
 */
bool sl_probe_quota_exceeded(const sl_quota_watch *watch, const char **ret_quota, unsigned *ret_retry_after_s);

#endif
