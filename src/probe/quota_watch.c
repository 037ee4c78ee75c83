/* Gauges, log records and spans of quotas. */
#include "src/probe/quota_watch.h"

#include <stdatomic.h>

#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/telemetry/vocab.h"

#define EVERY_NS 1000000000u

struct sl_quota_watch {
    sl_sdk *sdk;
    sl_logger *logger;
    sl_tracer *tracer;
    sl_quota quota;
    uint64_t looked_ns; /* 0: not yet */
    sl_series *used[SL_QUOTA_COUNT], *exceeded[SL_QUOTA_COUNT], *crossings[SL_QUOTA_COUNT];
    /* What any thread may ask: kind + 1 in the low byte, seconds above; 0: nothing is exceeded. */
    _Atomic uint32_t verdict;
};

static void bind_kind(sl_quota_watch *w, sl_instrument *const instruments[4], unsigned kind)
{
    SL_ASSERT(kind < SL_QUOTA_COUNT);
    const sl_attr label = sl_attr_str("quota", sl_quota_name((sl_quota_kind)kind));
    sl_gauge_set_double(sl_instrument_bind(instruments[0], &label, 1), w->quota.limits.limit[kind]);
    w->used[kind] = sl_instrument_bind(instruments[1], &label, 1);
    w->exceeded[kind] = sl_instrument_bind(instruments[2], &label, 1);
    w->crossings[kind] = sl_instrument_bind(instruments[3], &label, 1);
    sl_gauge_set(w->exceeded[kind], 0);
    sl_counter_add(w->crossings[kind], 0);
}

int sl_quota_watch_new(sl_sdk *sdk, const sl_quota_limits *limits, sl_quota_watch **ret_watch)
{
    if (!sdk || !limits || !ret_watch)
        return SL_EINVAL;
    sl_quota_watch *w = sl_calloc(1, sizeof *w);
    if (!w)
        return SL_ENOMEM;
    w->sdk = sdk;
    w->quota.limits = *limits;
    w->logger = sl_logger_named(sdk, "sightline.probe");
    w->tracer = sl_tracer_named(sdk, "sightline.probe");
    sl_meter *meter = sl_meter_named(sdk, "sightline.probe");
    sl_instrument *const instruments[4] = {sl_metric_declare(meter, SL_METRIC_LLAMACPP_QUOTA_LIMIT),
                                           sl_metric_declare(meter, SL_METRIC_LLAMACPP_QUOTA_USED),
                                           sl_metric_declare(meter, SL_METRIC_LLAMACPP_QUOTA_EXCEEDED),
                                           sl_metric_declare(meter, SL_METRIC_LLAMACPP_QUOTA_CROSSINGS)};
    for (unsigned kind = 0; kind < SL_QUOTA_COUNT; kind++) {
        if (limits->limit[kind] > 0)
            bind_kind(w, instruments, kind);
    }
    *ret_watch = w;
    return 0;
}

void sl_quota_watch_free(sl_quota_watch *watch)
{
    sl_free(watch);
}

/* A span of its own: what exceeds a quota is no request's, and must not be lost with an unsampled one. */
static void tell(sl_quota_watch *w, sl_quota_kind kind, bool crossed)
{
    SL_ASSERT((unsigned)kind < SL_QUOTA_COUNT);
    const sl_attr attrs[] = {sl_attr_str("quota.name", sl_quota_name(kind)),
                             sl_attr_of("quota.limit", sl_value_double(w->quota.limits.limit[kind])),
                             sl_attr_of("quota.used", sl_value_double(w->quota.used[kind]))};
    sl_log_record record = {.severity = crossed ? SL_WARN : SL_INFO,
                            .body = sl_value_cstr(crossed ? "quota exceeded" : "quota kept again"),
                            .event_name = crossed ? SL_STR("quota.exceeded") : SL_STR("quota.kept"),
                            .attrs = attrs,
                            .attr_count = 3};
    if (!crossed) {
        sl_log_emit(w->logger, &record);
        return;
    }
    sl_counter_add(w->crossings[kind], 1);
    sl_span *span = sl_span_start(w->tracer, SL_STR("quota_exceeded"), NULL);
    sl_span_context context;
    sl_span_get_context(span, &context);
    sl_span_add_event(span, SL_STR("quota.exceeded"), sl_now_ns(), attrs, 3);
    for (size_t i = 0; i < 3; i++)
        sl_span_set(span, attrs[i].key, attrs[i].value);
    record.context = &context;
    sl_log_emit(w->logger, &record);
    sl_span_end(span);
}

void sl_quota_watch_tick(sl_quota_watch *watch, uint64_t now_ns)
{
    if (!watch || !sl_quota_is_set(&watch->quota.limits))
        return;
    if (watch->looked_ns && now_ns - watch->looked_ns < EVERY_NS)
        return;
    watch->looked_ns = now_ns;
    sl_probe_totals totals = {.hosts = 0}; /* without a host nothing is used */
    (void)sl_probe_metrics_totals(watch->sdk, &totals);
    unsigned ended, crossed = sl_quota_update(&watch->quota, &totals, &ended);
    for (unsigned kind = 0; kind < SL_QUOTA_COUNT; kind++) {
        sl_gauge_set_double(watch->used[kind], watch->quota.used[kind]);
        sl_gauge_set(watch->exceeded[kind], watch->quota.exceeded[kind]);
        if ((crossed | ended) >> kind & 1)
            tell(watch, (sl_quota_kind)kind, crossed >> kind & 1);
    }
    sl_quota_kind kind = SL_QUOTA_RESIDENT;
    unsigned seconds = 0;
    bool any = sl_quota_exceeded(&watch->quota, &kind, &seconds);
    atomic_store_explicit(&watch->verdict, any ? seconds << 8 | ((uint32_t)kind + 1) : 0, memory_order_relaxed);
}

bool sl_probe_quota_exceeded(const sl_quota_watch *watch, const char **ret_quota, unsigned *ret_retry_after_s)
{
    uint32_t verdict = watch ? atomic_load_explicit(&watch->verdict, memory_order_relaxed) : 0;
    if (!verdict)
        return false;
    SL_ASSERT(ret_quota && ret_retry_after_s);
    *ret_quota = sl_quota_name((sl_quota_kind)((verdict & 0xff) - 1));
    *ret_retry_after_s = verdict >> 8;
    return true;
}
