/* What the tests of metrics share: an SDK object of recording parts alone, and its text. */
#ifndef SL_TELEMETRY_TEST_METRICS_FIXTURE_H
#define SL_TELEMETRY_TEST_METRICS_FIXTURE_H

#include <stdio.h>
#include <stdlib.h>

#include "src/base/buf.h"
#include "src/base/mem.h"
#include "src/telemetry/collect.h"
#include "src/telemetry/instrument.h"
#include "src/telemetry/scope.h"
#include "tests/harness/sl_test.h"

/* Stand in where the program does not link the SDK object itself. */
__attribute__((weak)) sl_sdk *sl_sdk_or_default(sl_sdk *sdk)
{
    return sdk;
}

__attribute__((weak)) void sl_sdk_report(sl_sdk *sdk, int error, const char *format, ...)
{
    (void)format;
    if (error)
        atomic_fetch_add(&sdk->logs_emitted, 1); /* counts the reports */
}

/* Everything that metrics need; no threads, no exporters. */
typedef struct metrics_rig {
    sl_sdk sdk;
    sl_segment *segment;
    sl_meter *meter; /* scope "test" */
    sl_buf text;
} metrics_rig;

/* `segment` NULL: a new private one. */
static inline bool rig_init(metrics_rig *rig, sl_segment *segment, size_t max_series)
{
    memset(rig, 0, sizeof *rig);
    const sl_segment_options small = {
        .size_bytes = 64u << 20, .threads = 12, .cells = 64u << 10, .span_ring_bytes = 4096, .log_ring_bytes = 4096};
    if (!segment && sl_segment_new(&small, &segment))
        return false;
    rig->segment = rig->sdk.segment = segment;
    pthread_mutex_init(&rig->sdk.lock, NULL);
    rig->sdk.scopes = sl_scopes_new(segment);
    rig->sdk.registry = sl_registry_new(&rig->sdk, segment, max_series);
    rig->sdk.collector = sl_collector_new(rig->sdk.registry);
    atomic_store(&rig->sdk.recording, true);
    sl_buf_init(&rig->text, 64u << 20);
    if (!rig->sdk.scopes || !rig->sdk.registry || !rig->sdk.collector)
        return false;
    rig->meter = sl_meter_named(&rig->sdk, "test");
    return rig->meter && sl_collector_add_segment(rig->sdk.collector, segment) == 0;
}

static inline void rig_done(metrics_rig *rig)
{
    sl_collector_free(rig->sdk.collector);
    sl_registry_free(rig->sdk.registry);
    sl_scopes_free(rig->sdk.scopes);
    pthread_mutex_destroy(&rig->sdk.lock);
    sl_segment_free(rig->segment);
    sl_buf_done(&rig->text);
}

/* The text of a format; the view is valid until the next call. */
static inline sl_str rig_text(metrics_rig *rig, sl_prometheus_format format)
{
    sl_buf_clear(&rig->text);
    CHECK_EQ(sl_collector_prometheus(rig->sdk.collector, sl_str_of(NULL, 0), format, &rig->text), 0);
    return sl_buf_str(&rig->text);
}

/* The value of one sample in text 0.0.4, written as in it; -1 when it is not there. */
static inline double rig_value(metrics_rig *rig, const char *series)
{
    sl_str rest = rig_text(rig, SL_PROMETHEUS_TEXT), line;
    sl_str wanted = sl_str_c(series);
    while (sl_str_split(&rest, '\n', &line)) {
        if (sl_str_starts(line, wanted) && line.len > wanted.len && line.ptr[wanted.len] == ' ')
            return strtod(line.ptr + wanted.len, NULL);
    }
    return -1;
}

static inline sl_instrument *rig_declare(metrics_rig *rig, sl_instrument_kind kind, const char *name, const char *unit)
{
    sl_instrument_options options = {.kind = kind, .name = name, .unit = unit, .description = "Help."};
    return sl_instrument_new(rig->meter, &options);
}

#endif
