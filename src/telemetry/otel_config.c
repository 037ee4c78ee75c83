/* The configuration: everything but the exporters. */
#include "src/telemetry/otel_config.h"

#include "src/base/assert.h"
#include "src/base/limits.h"
#include "src/base/sync.h"
#include "src/telemetry/sampler.h"
#include "src/telemetry/sdk_impl.h"

#define ARENA_BYTES (256u * 1024)
#define MAX_INTERVAL_MS 1000000000000u /* thirty years */
#define DEFAULT_PROPAGATORS (SL_PROPAGATE_TRACECONTEXT | SL_PROPAGATE_BAGGAGE)

/* ---- sampler ---- */

static bool sampler_named(const sl_env *env, sl_env_var name, sl_env_var ratio, sl_sampler_options *sampler)
{
    if (sl_env_enum(env, name) < 0)
        return false;
    sampler->kind = sl_sampler_kind_of(sl_env_text(env, name));
    SL_ASSERT(sampler->kind != SL_SAMPLER_DEFAULT);
    bool has_ratio = sampler->kind == SL_SAMPLER_TRACEIDRATIO || sampler->kind == SL_SAMPLER_PARENTBASED_TRACEIDRATIO;
    sampler->ratio = has_ratio ? sl_env_ratio(env, ratio, 1.0) : 1.0; /* the others do not look at their argument */
    return true;
}

static bool sampler_ratio(const sl_env *env, sl_env_var var, sl_sampler_options *sampler)
{
    double ratio = sl_env_ratio(env, var, -1);
    if (ratio < 0)
        return false;
    sampler->kind = SL_SAMPLER_PARENTBASED_TRACEIDRATIO;
    sampler->ratio = ratio;
    return true;
}

/* The first that is set wins. */
static void load_sampler(const sl_env *env, const sl_sampler_options *given, sl_sampler_options *sampler)
{
    SL_ASSERT(sampler && given);
    *sampler = *given;
    if (sampler->kind != SL_SAMPLER_DEFAULT)
        return;
    sampler->kind = SL_SAMPLER_PARENTBASED_ALWAYS_ON;
    if (sampler_named(env, SL_VAR_OTEL_TRACES_SAMPLER, SL_VAR_OTEL_TRACES_SAMPLER_ARG, sampler) ||
        sampler_named(env, SL_VAR_ROUTEIQ_OTEL_TRACES_SAMPLER, SL_VAR_ROUTEIQ_OTEL_TRACES_SAMPLER_ARG, sampler) ||
        sampler_ratio(env, SL_VAR_LLMROUTER_OTEL_SAMPLE_RATE, sampler))
        return;
    if (sl_env_bool(env, SL_VAR_LLAMA_DEPLOY_APISERVER_TRACING_ENABLED, false))
        (void)sampler_ratio(env, SL_VAR_LLAMA_DEPLOY_APISERVER_TRACING_SAMPLE_RATE, sampler);
}

/* ---- limits and batches ---- */

/* A number that must not be 0. */
static uint64_t positive(const sl_env *env, sl_env_var var, uint64_t fallback, uint64_t max)
{
    uint64_t value = sl_env_uint(env, var, UINT64_MAX, UINT64_MAX);
    if (value == UINT64_MAX)
        return fallback; /* unset, or reported */
    if (value > 0 && value <= max)
        return value;
    sl_env_reject(env, var, "not a number, or out of range");
    return fallback;
}

/* 0 in the environment stands for no limit. */
static uint64_t timeout_ms(const sl_env *env, sl_env_var var, uint64_t fallback)
{
    uint64_t ms = sl_env_ms(env, var, fallback);
    return ms ? ms : SL_FOREVER;
}

static uint32_t limit(const sl_env *env, sl_env_var var, uint32_t given, uint32_t fallback)
{
    return given ? given : (uint32_t)sl_env_uint(env, var, fallback, UINT32_MAX);
}

/* Longest value. 0 stands for no limit in sl_limits, so it cannot be asked for. */
static uint32_t length_limit(const sl_env *env, sl_env_var var, uint32_t given, uint32_t fallback)
{
    return given ? given : (uint32_t)positive(env, var, fallback, UINT32_MAX);
}

static void load_limits(const sl_env *env, const sl_sdk_options *o, sl_otel_config *c)
{
    SL_ASSERT(c && o);
    uint32_t count = limit(env, SL_VAR_OTEL_ATTRIBUTE_COUNT_LIMIT, 0, SL_DEFAULT_ATTR_COUNT);
    uint32_t chars = length_limit(env, SL_VAR_OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT, 0, 0);
    sl_limits *span = &c->span_limits;
    *span = o->span_limits;
    span->attr_count = limit(env, SL_VAR_OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT, span->attr_count, count);
    span->attr_value_chars =
        length_limit(env, SL_VAR_OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT, span->attr_value_chars, chars);
    span->event_count = limit(env, SL_VAR_OTEL_SPAN_EVENT_COUNT_LIMIT, span->event_count, SL_DEFAULT_ATTR_COUNT);
    span->link_count = limit(env, SL_VAR_OTEL_SPAN_LINK_COUNT_LIMIT, span->link_count, SL_DEFAULT_ATTR_COUNT);
    span->event_attr_count =
        limit(env, SL_VAR_OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT, span->event_attr_count, SL_DEFAULT_ATTR_COUNT);
    span->link_attr_count =
        limit(env, SL_VAR_OTEL_LINK_ATTRIBUTE_COUNT_LIMIT, span->link_attr_count, SL_DEFAULT_ATTR_COUNT);
    sl_limits *log = &c->log_limits;
    *log = o->log_limits;
    log->attr_count = limit(env, SL_VAR_OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT, log->attr_count, count);
    log->attr_value_chars =
        length_limit(env, SL_VAR_OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT, log->attr_value_chars, chars);
}

typedef struct batch_vars {
    sl_env_var delay, timeout, queue, batch;
} batch_vars;

static const batch_vars span_vars = {SL_VAR_OTEL_BSP_SCHEDULE_DELAY, SL_VAR_OTEL_BSP_EXPORT_TIMEOUT,
                                     SL_VAR_OTEL_BSP_MAX_QUEUE_SIZE, SL_VAR_OTEL_BSP_MAX_EXPORT_BATCH_SIZE};
static const batch_vars log_vars = {SL_VAR_OTEL_BLRP_SCHEDULE_DELAY, SL_VAR_OTEL_BLRP_EXPORT_TIMEOUT,
                                    SL_VAR_OTEL_BLRP_MAX_QUEUE_SIZE, SL_VAR_OTEL_BLRP_MAX_EXPORT_BATCH_SIZE};

static void load_batch(const sl_env *env, const batch_vars *vars, uint64_t delay_ms, sl_batch_options *b)
{
    SL_ASSERT(b);
    if (!b->schedule_delay_ms)
        b->schedule_delay_ms = sl_env_ms(env, vars->delay, delay_ms);
    if (!b->schedule_delay_ms)
        b->schedule_delay_ms = 1; /* 0 in the environment: at once */
    if (!b->export_timeout_ms)
        b->export_timeout_ms = timeout_ms(env, vars->timeout, 30000);
    if (!b->max_queue_items)
        b->max_queue_items = positive(env, vars->queue, 2048, 1u << 24);
    if (!b->max_batch_items)
        b->max_batch_items = positive(env, vars->batch, 512, 1u << 24);
    if (b->max_batch_items > b->max_queue_items) {
        if (sl_env_is_set(env, vars->batch))
            sl_env_reject(env, vars->batch, "larger than the queue");
        b->max_batch_items = b->max_queue_items;
    }
}

void sl_otel_config_queues(const sl_env *env, size_t items, sl_batch_options batch[SL_SIGNAL_COUNT])
{
    SL_ASSERT(env && items && batch);
    if (!batch[SL_SIGNAL_TRACES].max_queue_items && !sl_env_is_set(env, span_vars.queue))
        batch[SL_SIGNAL_TRACES].max_queue_items = items;
    if (!batch[SL_SIGNAL_LOGS].max_queue_items && !sl_env_is_set(env, log_vars.queue))
        batch[SL_SIGNAL_LOGS].max_queue_items = items;
}

static void load_batches(const sl_env *env, const sl_sdk_options *o, sl_otel_config *c)
{
    SL_ASSERT(c && o);
    memcpy(c->batch, o->batch, sizeof c->batch);
    load_batch(env, &span_vars, 5000, &c->batch[SL_SIGNAL_TRACES]);
    load_batch(env, &log_vars, 1000, &c->batch[SL_SIGNAL_LOGS]);
    sl_batch_options *metrics = &c->batch[SL_SIGNAL_METRICS];
    if (!metrics->export_timeout_ms)
        metrics->export_timeout_ms = timeout_ms(env, SL_VAR_OTEL_METRIC_EXPORT_TIMEOUT, 30000);
    c->metric_interval_ms = o->metric_interval_ms;
    if (!c->metric_interval_ms)
        c->metric_interval_ms = positive(env, SL_VAR_OTEL_METRIC_EXPORT_INTERVAL, 60000, MAX_INTERVAL_MS);
    for (int i = 0; i < SL_SIGNAL_COUNT; i++) {
        if (!c->batch[i].max_batch_bytes)
            c->batch[i].max_batch_bytes =
                positive(env, SL_VAR_SIGHTLINE_MAX_BATCH_BYTES, 3u << 20, SL_MAX_OTLP_REQUEST_BYTES);
        if (!c->batch[i].max_pending_bytes)
            c->batch[i].max_pending_bytes = positive(env, SL_VAR_SIGHTLINE_MAX_PENDING_BYTES, 16u << 20, SIZE_MAX);
    }
    int temporality = sl_env_enum(env, SL_VAR_OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE);
    c->delta = temporality == 1 || temporality == 2;
}

/* ---- the rest ---- */

static unsigned load_propagators(const sl_env *env)
{
    static const unsigned bits[] = {SL_PROPAGATE_TRACECONTEXT, SL_PROPAGATE_BAGGAGE, SL_PROPAGATE_B3,
                                    SL_PROPAGATE_B3MULTI,      SL_PROPAGATE_JAEGER,  0};
    sl_str rest = sl_env_text(env, SL_VAR_OTEL_PROPAGATORS);
    if (!rest.len)
        return DEFAULT_PROPAGATORS;
    unsigned result = 0;
    bool known = false;
    sl_str part;
    while (sl_str_split(&rest, ',', &part)) {
        part = sl_str_trim(part);
        int index = sl_env_value_index(SL_VAR_OTEL_PROPAGATORS, part);
        if (index < 0 && part.len)
            sl_env_reject(env, SL_VAR_OTEL_PROPAGATORS, "names an unknown propagator");
        else if (index >= 0)
            result |= bits[index];
        known |= index >= 0;
    }
    return known ? result : DEFAULT_PROPAGATORS;
}

static sl_exemplar_filter load_exemplars(const sl_env *env)
{
    static const sl_exemplar_filter filters[] = {SL_EXEMPLARS_ALWAYS_ON, SL_EXEMPLARS_ALWAYS_OFF,
                                                 SL_EXEMPLARS_TRACE_BASED};
    int index = sl_env_enum(env, SL_VAR_OTEL_METRICS_EXEMPLAR_FILTER);
    return index < 0 ? SL_EXEMPLARS_TRACE_BASED : filters[index];
}

/* What the specification has and this library has not is said, so that nobody waits for it. */
static void reject_unsupported(const sl_env *env)
{
    static const sl_env_var files[] = {SL_VAR_OTEL_CONFIG_FILE, SL_VAR_OTEL_EXPERIMENTAL_CONFIG_FILE};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        if (sl_env_is_set(env, files[i]))
            sl_env_reject(env, files[i], "declarative configuration is not supported");
    }
    if (sl_env_enum(env, SL_VAR_OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION) == 1)
        sl_env_reject(env, SL_VAR_OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION,
                      "exponential histograms are not supported");
}

static void load_log(const sl_env *env, const sl_sdk_options *o, sl_otel_config *c)
{
    SL_ASSERT(c && o);
    c->log_level = o->log_level;
    if (!c->log_level && (sl_env_enum(env, SL_VAR_LOG_LEVEL) < 0 ||
                          sl_severity_parse(sl_env_text(env, SL_VAR_LOG_LEVEL), &c->log_level)))
        c->log_level = SL_INFO;
    c->log_format = sl_env_enum(env, SL_VAR_LOG_FORMAT) == 1 ? SL_LOG_JSON : SL_LOG_TEXT;
}

int sl_otel_config_load(const sl_env *env, const sl_sdk_options *options, bool only_when_set, sl_otel_config *config)
{
    SL_ASSERT(env && options && config);
    memset(config, 0, sizeof *config);
    sl_arena_init(&config->arena, 4096, ARENA_BYTES);
    config->disabled = sl_env_bool(env, SL_VAR_OTEL_SDK_DISABLED, false);
    config->keep_errors = sl_env_bool(env, SL_VAR_SIGHTLINE_KEEP_ERRORS, false);
    config->self_metrics = sl_env_bool(env, SL_VAR_SIGHTLINE_SELF_METRICS, true);
    load_sampler(env, &options->sampler, &config->sampler);
    load_limits(env, options, config);
    load_batches(env, options, config);
    config->exemplars = load_exemplars(env);
    config->propagators = load_propagators(env);
    reject_unsupported(env);
    load_log(env, options, config);
    if (options->no_default_exporters || config->disabled)
        return 0;
    return sl_otel_config_exporters(env, only_when_set, config);
}

void sl_otel_config_done(sl_otel_config *config)
{
    SL_ASSERT(config);
    sl_arena_done(&config->arena);
}
