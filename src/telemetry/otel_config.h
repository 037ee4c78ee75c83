/*
 * The configuration of an SDK: what its options leave open is taken from the environment, and that failing from the
 * specification.
 */
#ifndef SL_TELEMETRY_OTEL_CONFIG_H
#define SL_TELEMETRY_OTEL_CONFIG_H

#include "src/base/arena.h"
#include "src/telemetry/env.h"
#include "src/telemetry/exemplar.h"
#include "src/telemetry/exporter_factory.h"
#include "src/telemetry/log_line.h"

#define SL_MAX_EXPORTER_SPECS 16

typedef struct sl_otel_config {
    sl_arena arena; /* of all strings */
    bool disabled;
    sl_sampler_options sampler;
    sl_limits span_limits;
    sl_limits log_limits;
    sl_batch_options batch[SL_SIGNAL_COUNT];
    uint64_t metric_interval_ms;
    bool delta;
    sl_exemplar_filter exemplars;
    unsigned propagators;
    sl_severity log_level;
    sl_log_format log_format;
    bool self_metrics;
    bool keep_errors;
    bool prometheus; /* OTEL_METRICS_EXPORTER names it: a listener at this address */
    char prometheus_host[256];
    uint16_t prometheus_port;
    sl_exporter_spec specs[SL_MAX_EXPORTER_SPECS];
    size_t spec_count;
    char why[256]; /* of a failure */
} sl_otel_config;

/*
 * Reads it. `only_when_set`: without an exporter or endpoint in the environment nothing is exported.
 * Errors: SL_ECONFIG (`why` says what), SL_ENOMEM. sl_otel_config_done in any case.
 */
SL_MUST_CHECK int sl_otel_config_load(const sl_env *env, const sl_sdk_options *options, bool only_when_set,
                                      sl_otel_config *config);
/*
 * For a program of bursts that the specification's queues do not hold: sets `max_queue_items` of spans and log records
 * to `items` where neither `batch` nor the environment says otherwise.
 */
void sl_otel_config_queues(const sl_env *env, size_t items, sl_batch_options batch[SL_SIGNAL_COUNT]);
void sl_otel_config_done(sl_otel_config *config);

/* The part of it in otel_config_export.c: fills in `specs`. */
SL_MUST_CHECK int sl_otel_config_exporters(const sl_env *env, bool only_when_set, sl_otel_config *config);

#endif
