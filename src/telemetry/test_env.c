/*
 * Every variable of the OpenTelemetry specification, one by one: default, values, what cannot be read, which beats
 * which. Source: sdk-environment-variables.md, protocol/exporter.md, metrics/sdk_exporters/otlp.md.
 */
#include "src/telemetry/env.h"

#include <stdio.h>

#include "src/base/sync.h"
#include "src/telemetry/test_env_fixture.h"

typedef uint64_t (*field_fn)(const sl_otel_config *config);

#define FIELD(name, expression)                                                                                        \
    static uint64_t name(const sl_otel_config *c)                                                                      \
    {                                                                                                                  \
        return (uint64_t)(expression);                                                                                 \
    }

FIELD(bsp_delay, c->batch[SL_SIGNAL_TRACES].schedule_delay_ms)
FIELD(bsp_timeout, c->batch[SL_SIGNAL_TRACES].export_timeout_ms)
FIELD(bsp_queue, c->batch[SL_SIGNAL_TRACES].max_queue_items)
FIELD(bsp_batch, c->batch[SL_SIGNAL_TRACES].max_batch_items)
FIELD(blrp_delay, c->batch[SL_SIGNAL_LOGS].schedule_delay_ms)
FIELD(blrp_timeout, c->batch[SL_SIGNAL_LOGS].export_timeout_ms)
FIELD(blrp_queue, c->batch[SL_SIGNAL_LOGS].max_queue_items)
FIELD(blrp_batch, c->batch[SL_SIGNAL_LOGS].max_batch_items)
FIELD(metric_interval, c->metric_interval_ms)
FIELD(metric_timeout, c->batch[SL_SIGNAL_METRICS].export_timeout_ms)
FIELD(span_attrs, c->span_limits.attr_count)
FIELD(span_chars, c->span_limits.attr_value_chars)
FIELD(span_events, c->span_limits.event_count)
FIELD(span_links, c->span_limits.link_count)
FIELD(event_attrs, c->span_limits.event_attr_count)
FIELD(link_attrs, c->span_limits.link_attr_count)
FIELD(log_attrs, c->log_limits.attr_count)
FIELD(log_chars, c->log_limits.attr_value_chars)
FIELD(batch_bytes, c->batch[SL_SIGNAL_TRACES].max_batch_bytes)
FIELD(pending_bytes, c->batch[SL_SIGNAL_LOGS].max_pending_bytes)
FIELD(prometheus_port, c->prometheus_port)
FIELD(disabled, c->disabled)
FIELD(keep_errors, c->keep_errors)
FIELD(self_metrics, c->self_metrics)
FIELD(propagators, c->propagators)
FIELD(sampler, c->sampler.kind)
FIELD(ratio_percent, c->sampler.ratio * 100)
FIELD(exemplars, c->exemplars)
FIELD(delta, c->delta)
FIELD(log_format, c->log_format)
FIELD(log_level, c->log_level)
FIELD(spec_count, c->spec_count)
FIELD(prometheus, c->prometheus)
FIELD(traces_timeout, c->specs[0].timeout_ms)
FIELD(metrics_timeout, c->specs[1].timeout_ms)
FIELD(logs_timeout, c->specs[2].timeout_ms)
FIELD(traces_gzip, c->specs[0].peer.gzip)
FIELD(logs_gzip, c->specs[2].peer.gzip)
FIELD(traces_protocol, c->specs[0].protocol)
FIELD(metrics_protocol, c->specs[1].protocol)
FIELD(header_count, c->specs[0].peer.header_count)

/* ---- numbers ---- */

#define REFUSED (UINT64_MAX - 1) /* reported, and the default stays */

typedef struct number_row {
    const char *name;
    field_fn field;
    uint64_t fallback;
    uint64_t zero; /* what "0" means */
    uint64_t max;  /* one more is refused; 0: not tried */
} number_row;

static const number_row numbers[] = {
    {"OTEL_BSP_SCHEDULE_DELAY", bsp_delay, 5000, 1, 1000000000000},
    {"OTEL_BSP_EXPORT_TIMEOUT", bsp_timeout, 30000, SL_FOREVER, 1000000000000},
    {"OTEL_BSP_MAX_QUEUE_SIZE", bsp_queue, 2048, REFUSED, 1u << 24},
    {"OTEL_BSP_MAX_EXPORT_BATCH_SIZE", bsp_batch, 512, REFUSED, 0},
    {"OTEL_BLRP_SCHEDULE_DELAY", blrp_delay, 1000, 1, 1000000000000},
    {"OTEL_BLRP_EXPORT_TIMEOUT", blrp_timeout, 30000, SL_FOREVER, 1000000000000},
    {"OTEL_BLRP_MAX_QUEUE_SIZE", blrp_queue, 2048, REFUSED, 1u << 24},
    {"OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", blrp_batch, 512, REFUSED, 0},
    {"OTEL_METRIC_EXPORT_INTERVAL", metric_interval, 60000, REFUSED, 1000000000000},
    {"OTEL_METRIC_EXPORT_TIMEOUT", metric_timeout, 30000, SL_FOREVER, 1000000000000},
    {"OTEL_ATTRIBUTE_COUNT_LIMIT", span_attrs, 128, 0, UINT32_MAX},
    {"OTEL_ATTRIBUTE_COUNT_LIMIT", log_attrs, 128, 0, UINT32_MAX},
    {"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", span_chars, 0, REFUSED, UINT32_MAX},
    {"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", log_chars, 0, REFUSED, UINT32_MAX},
    {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", span_attrs, 128, 0, UINT32_MAX},
    {"OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", span_chars, 0, REFUSED, UINT32_MAX},
    {"OTEL_SPAN_EVENT_COUNT_LIMIT", span_events, 128, 0, UINT32_MAX},
    {"OTEL_SPAN_LINK_COUNT_LIMIT", span_links, 128, 0, UINT32_MAX},
    {"OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", event_attrs, 128, 0, UINT32_MAX},
    {"OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", link_attrs, 128, 0, UINT32_MAX},
    {"OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT", log_attrs, 128, 0, UINT32_MAX},
    {"OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT", log_chars, 0, REFUSED, UINT32_MAX},
    {"OTEL_EXPORTER_OTLP_TIMEOUT", traces_timeout, 10000, 0, 1000000000000},
    {"OTEL_EXPORTER_OTLP_TIMEOUT", logs_timeout, 10000, 0, 1000000000000},
    {"OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", traces_timeout, 10000, 0, 1000000000000},
    {"OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", metrics_timeout, 10000, 0, 1000000000000},
    {"OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", logs_timeout, 10000, 0, 1000000000000},
    {"SIGHTLINE_MAX_BATCH_BYTES", batch_bytes, 3u << 20, REFUSED, SL_MAX_OTLP_REQUEST_BYTES},
    {"SIGHTLINE_MAX_PENDING_BYTES", pending_bytes, 16u << 20, REFUSED, 0},
};

/* Loads one text of one variable; 1 when something was reported. */
static unsigned load_one(const char *name, const char *text, field_fn field, uint64_t *ret_value)
{
    loaded l;
    char var[256];
    (void)snprintf(var, sizeof var, "%s=%s", name, text);
    load(&l, VARS(var), NULL, false);
    CHECK_EQ(l.error, 0);
    if (l.f.errors)
        CHECK(strstr(l.f.last, name) != NULL);
    *ret_value = field(&l.config);
    unsigned reported = l.f.errors > 0;
    unload(&l);
    return reported;
}

static void number_is(const number_row *row, const char *text, uint64_t wanted)
{
    uint64_t value;
    unsigned reported = load_one(row->name, text, row->field, &value);
    bool refused = wanted == REFUSED;
    if (reported != refused || value != (refused ? row->fallback : wanted))
        CHECK_STR(sl_str_c(row->name), text); /* names the row */
}

SL_TEST(numbers_one_by_one)
{
    static const char *const bad[] = {"-1", "x", "1.5", "0x10", "1e3", "12 13", "99999999999999999999999"};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        const number_row *row = &numbers[i];
        char text[32];
        number_is(row, "", row->fallback);
        number_is(row, "  ", row->fallback);
        number_is(row, "12", 12);
        number_is(row, " 12\t", 12);
        number_is(row, "0", row->zero);
        for (size_t k = 0; k < sizeof bad / sizeof bad[0]; k++)
            number_is(row, bad[k], REFUSED);
        if (row->max) {
            (void)snprintf(text, sizeof text, "%llu", (unsigned long long)row->max);
            number_is(row, text, row->max);
            (void)snprintf(text, sizeof text, "%llu", (unsigned long long)row->max + 1);
            number_is(row, text, REFUSED);
        }
    }
}

/* ---- booleans and names ---- */

typedef struct value_row {
    const char *name;
    const char *text;
    field_fn field;
    uint64_t wanted;
    bool reported;
} value_row;

#define DEFAULT_PROPAGATORS (SL_PROPAGATE_TRACECONTEXT | SL_PROPAGATE_BAGGAGE)
#define ON SL_SAMPLER_PARENTBASED_ALWAYS_ON

static const value_row values[] = {
    /* Booleans: "true" alone is true. */
    {"OTEL_SDK_DISABLED", "", disabled, 0, false},
    {"OTEL_SDK_DISABLED", "true", disabled, 1, false},
    {"OTEL_SDK_DISABLED", " TrUe ", disabled, 1, false},
    {"OTEL_SDK_DISABLED", "false", disabled, 0, false},
    {"OTEL_SDK_DISABLED", "FALSE", disabled, 0, false},
    {"OTEL_SDK_DISABLED", "1", disabled, 0, true},
    {"OTEL_SDK_DISABLED", "yes", disabled, 0, true},
    {"OTEL_SDK_DISABLED", "t", disabled, 0, true},
    {"SIGHTLINE_KEEP_ERRORS", "true", keep_errors, 1, false},
    {"SIGHTLINE_KEEP_ERRORS", "on", keep_errors, 0, true},
    {"SIGHTLINE_SELF_METRICS", "", self_metrics, 1, false},
    {"SIGHTLINE_SELF_METRICS", "false", self_metrics, 0, false},
    {"SIGHTLINE_SELF_METRICS", "no", self_metrics, 0, true},
    /* Propagators: a list, each once; what is unknown is left out. */
    {"OTEL_PROPAGATORS", "", propagators, DEFAULT_PROPAGATORS, false},
    {"OTEL_PROPAGATORS", "tracecontext", propagators, SL_PROPAGATE_TRACECONTEXT, false},
    {"OTEL_PROPAGATORS", "baggage", propagators, SL_PROPAGATE_BAGGAGE, false},
    {"OTEL_PROPAGATORS", "b3", propagators, SL_PROPAGATE_B3, false},
    {"OTEL_PROPAGATORS", "B3MULTI", propagators, SL_PROPAGATE_B3MULTI, false},
    {"OTEL_PROPAGATORS", "jaeger", propagators, SL_PROPAGATE_JAEGER, false},
    {"OTEL_PROPAGATORS", " b3 ,, baggage,b3,", propagators, SL_PROPAGATE_B3 | SL_PROPAGATE_BAGGAGE, false},
    {"OTEL_PROPAGATORS", "none", propagators, 0, false},
    {"OTEL_PROPAGATORS", "xray,b3", propagators, SL_PROPAGATE_B3, true},
    {"OTEL_PROPAGATORS", "ottrace", propagators, DEFAULT_PROPAGATORS, true},
    {"OTEL_PROPAGATORS", ",", propagators, DEFAULT_PROPAGATORS, false},
    /* Samplers. */
    {"OTEL_TRACES_SAMPLER", "", sampler, ON, false},
    {"OTEL_TRACES_SAMPLER", "always_on", sampler, SL_SAMPLER_ALWAYS_ON, false},
    {"OTEL_TRACES_SAMPLER", "always_off", sampler, SL_SAMPLER_ALWAYS_OFF, false},
    {"OTEL_TRACES_SAMPLER", "TraceIdRatio", sampler, SL_SAMPLER_TRACEIDRATIO, false},
    {"OTEL_TRACES_SAMPLER", "traceidratio", ratio_percent, 100, false},
    {"OTEL_TRACES_SAMPLER", "parentbased_always_on", sampler, ON, false},
    {"OTEL_TRACES_SAMPLER", "parentbased_always_off", sampler, SL_SAMPLER_PARENTBASED_ALWAYS_OFF, false},
    {"OTEL_TRACES_SAMPLER", "parentbased_traceidratio", sampler, SL_SAMPLER_PARENTBASED_TRACEIDRATIO, false},
    {"OTEL_TRACES_SAMPLER", "jaeger_remote", sampler, ON, true},
    {"OTEL_TRACES_SAMPLER", "always", sampler, ON, true},
    {"OTEL_TRACES_SAMPLER_ARG", "0.5", sampler, ON, false},
    /* Exporters. */
    {"OTEL_TRACES_EXPORTER", "", spec_count, 3, false},
    {"OTEL_TRACES_EXPORTER", "none", spec_count, 2, false},
    {"OTEL_TRACES_EXPORTER", "otlp,console", spec_count, 4, false},
    {"OTEL_TRACES_EXPORTER", "otlp,OTLP, otlp", spec_count, 3, false},
    {"OTEL_TRACES_EXPORTER", "pigeon", spec_count, 3, true},
    {"OTEL_TRACES_EXPORTER", "console,pigeon", spec_count, 3, true},
    {"OTEL_TRACES_EXPORTER", "prometheus", spec_count, 3, true},
    {"OTEL_METRICS_EXPORTER", "prometheus", spec_count, 2, false},
    {"OTEL_METRICS_EXPORTER", "prometheus", prometheus, 1, false},
    {"OTEL_METRICS_EXPORTER", "prometheus,otlp", spec_count, 3, false},
    {"OTEL_METRICS_EXPORTER", "prometheus", prometheus_port, 9464, false},
    {"OTEL_LOGS_EXPORTER", "otlp/stdout", spec_count, 3, false},
    {"OTEL_LOGS_EXPORTER", "none,", spec_count, 2, false},
    /* OTLP. */
    {"OTEL_EXPORTER_OTLP_PROTOCOL", "", traces_protocol, SL_OTLP_HTTP_PROTOBUF, false},
    {"OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", metrics_protocol, SL_OTLP_GRPC, false},
    {"OTEL_EXPORTER_OTLP_PROTOCOL", "HTTP/JSON", traces_protocol, SL_OTLP_HTTP_JSON, false},
    {"OTEL_EXPORTER_OTLP_PROTOCOL", "http", traces_protocol, SL_OTLP_HTTP_PROTOBUF, true},
    {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc", traces_protocol, SL_OTLP_GRPC, false},
    {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc", metrics_protocol, SL_OTLP_HTTP_PROTOBUF, false},
    {"OTEL_EXPORTER_OTLP_COMPRESSION", "", traces_gzip, 0, false},
    {"OTEL_EXPORTER_OTLP_COMPRESSION", "gzip", logs_gzip, 1, false},
    {"OTEL_EXPORTER_OTLP_COMPRESSION", "none", traces_gzip, 0, false},
    {"OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", traces_gzip, 0, true},
    {"OTEL_EXPORTER_OTLP_LOGS_COMPRESSION", "gzip", logs_gzip, 1, false},
    {"OTEL_EXPORTER_OTLP_LOGS_COMPRESSION", "gzip", traces_gzip, 0, false},
    {"OTEL_EXPORTER_OTLP_HEADERS", "", header_count, 0, false},
    {"OTEL_EXPORTER_OTLP_HEADERS", "a=1, b = 2 ,A=3,", header_count, 2, false},
    {"OTEL_EXPORTER_OTLP_HEADERS", "a=1,b", header_count, 1, true},
    {"OTEL_EXPORTER_OTLP_HEADERS", "=1", header_count, 0, true},
    {"OTEL_EXPORTER_OTLP_HEADERS", "a=%4", header_count, 0, true},
    {"OTEL_EXPORTER_OTLP_INSECURE", "maybe", spec_count, 3, true},
    {"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "", delta, 0, false},
    {"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "cumulative", delta, 0, false},
    {"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "DELTA", delta, 1, false},
    {"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "lowmemory", delta, 1, false},
    {"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "both", delta, 0, true},
    {"OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "explicit_bucket_histogram", spec_count, 3, false},
    {"OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "base2_exponential_bucket_histogram", spec_count, 3,
     true},
    {"OTEL_METRICS_EXEMPLAR_FILTER", "", exemplars, SL_EXEMPLARS_TRACE_BASED, false},
    {"OTEL_METRICS_EXEMPLAR_FILTER", "always_on", exemplars, SL_EXEMPLARS_ALWAYS_ON, false},
    {"OTEL_METRICS_EXEMPLAR_FILTER", "Always_Off", exemplars, SL_EXEMPLARS_ALWAYS_OFF, false},
    {"OTEL_METRICS_EXEMPLAR_FILTER", "trace_based", exemplars, SL_EXEMPLARS_TRACE_BASED, false},
    {"OTEL_METRICS_EXEMPLAR_FILTER", "some", exemplars, SL_EXEMPLARS_TRACE_BASED, true},
    /* Logs. */
    {"LOG_LEVEL", "", log_level, SL_INFO, false},
    {"LOG_LEVEL", "debug", log_level, SL_DEBUG, false},
    {"LOG_LEVEL", "critical", log_level, SL_CRITICAL, false},
    {"LOG_LEVEL", "verbose", log_level, SL_INFO, true},
    {"LOG_FORMAT", "json", log_format, SL_LOG_JSON, false},
    {"LOG_FORMAT", "xml", log_format, SL_LOG_TEXT, true},
    /* What there is not. */
    {"OTEL_CONFIG_FILE", "/etc/otel.yaml", spec_count, 3, true},
    {"OTEL_EXPERIMENTAL_CONFIG_FILE", "/etc/otel.yaml", spec_count, 3, true},
};

SL_TEST(values_one_by_one)
{
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        const value_row *row = &values[i];
        uint64_t value;
        unsigned reported = load_one(row->name, row->text, row->field, &value);
        if (value != row->wanted || reported != row->reported)
            CHECK_STR(sl_str_c(row->name), row->text); /* names the row */
    }
}

/* ---- which beats which ---- */

typedef struct pair_row {
    const char *vars[4];
    field_fn field;
    uint64_t wanted;
    unsigned errors; /* at least */
} pair_row;

static const pair_row pairs[] = {
    {{"OTEL_ATTRIBUTE_COUNT_LIMIT=7"}, span_attrs, 7, 0},
    {{"OTEL_ATTRIBUTE_COUNT_LIMIT=7"}, log_attrs, 7, 0},
    {{"OTEL_ATTRIBUTE_COUNT_LIMIT=7", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT=9"}, span_attrs, 9, 0},
    {{"OTEL_ATTRIBUTE_COUNT_LIMIT=7", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT=0"}, span_attrs, 0, 0},
    {{"OTEL_ATTRIBUTE_COUNT_LIMIT=7", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT=x"}, span_attrs, 7, 1},
    {{"OTEL_ATTRIBUTE_COUNT_LIMIT=7", "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT=9"}, log_attrs, 9, 0},
    {{"OTEL_ATTRIBUTE_COUNT_LIMIT=7"}, event_attrs, 128, 0},
    {{"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT=7", "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT=9"}, span_chars, 9, 0},
    {{"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT=7", "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT=9"}, log_chars, 7, 0},
    {{"OTEL_BSP_MAX_QUEUE_SIZE=100"}, bsp_batch, 100, 0},
    {{"OTEL_BSP_MAX_QUEUE_SIZE=100", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE=100"}, bsp_batch, 100, 0},
    {{"OTEL_BSP_MAX_QUEUE_SIZE=100", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE=101"}, bsp_batch, 100, 1},
    {{"OTEL_TRACES_SAMPLER=traceidratio", "OTEL_TRACES_SAMPLER_ARG=0"}, ratio_percent, 0, 0},
    {{"OTEL_TRACES_SAMPLER=traceidratio", "OTEL_TRACES_SAMPLER_ARG=1"}, ratio_percent, 100, 0},
    {{"OTEL_TRACES_SAMPLER=traceidratio", "OTEL_TRACES_SAMPLER_ARG=1.01"}, ratio_percent, 100, 1},
    {{"OTEL_TRACES_SAMPLER=traceidratio", "OTEL_TRACES_SAMPLER_ARG=-0.1"}, ratio_percent, 100, 1},
    {{"OTEL_TRACES_SAMPLER=traceidratio", "OTEL_TRACES_SAMPLER_ARG=nan"}, ratio_percent, 100, 1},
    {{"OTEL_TRACES_SAMPLER=always_on", "OTEL_TRACES_SAMPLER_ARG=endpoint=x"}, sampler, SL_SAMPLER_ALWAYS_ON, 0},
    {{"OTEL_EXPORTER_OTLP_TIMEOUT=5", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT=6"}, traces_timeout, 6, 0},
    {{"OTEL_EXPORTER_OTLP_TIMEOUT=5", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT=6"}, logs_timeout, 5, 0},
    {{"OTEL_EXPORTER_OTLP_TIMEOUT=5", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT=soon"}, traces_timeout, 5, 1},
    {{"OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/json"},
     traces_protocol,
     SL_OTLP_HTTP_JSON,
     0},
    {{"OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=x"}, traces_protocol, SL_OTLP_GRPC, 1},
    {{"OTEL_EXPORTER_OTLP_COMPRESSION=gzip", "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION=none"}, traces_gzip, 0, 0},
    {{"OTEL_EXPORTER_OTLP_COMPRESSION=gzip", "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION=br"}, traces_gzip, 1, 1},
    {{"OTEL_EXPORTER_OTLP_HEADERS=a=1", "OTEL_EXPORTER_OTLP_TRACES_HEADERS=b=1,c=2"}, header_count, 2, 0},
    {{"OTEL_METRICS_EXPORTER=prometheus", "OTEL_EXPORTER_PROMETHEUS_PORT=0"}, prometheus_port, 0, 0},
    {{"OTEL_METRICS_EXPORTER=prometheus", "OTEL_EXPORTER_PROMETHEUS_PORT=65535"}, prometheus_port, 65535, 0},
    {{"OTEL_METRICS_EXPORTER=prometheus", "OTEL_EXPORTER_PROMETHEUS_PORT=65536"}, prometheus_port, 9464, 1},
    {{"OTEL_SDK_DISABLED=true", "OTEL_PROPAGATORS=b3"}, propagators, SL_PROPAGATE_B3, 0},
    {{"OTEL_SDK_DISABLED=true", "OTEL_TRACES_EXPORTER=console"}, spec_count, 0, 0},
};

SL_TEST(pairs_one_by_one)
{
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        const pair_row *row = &pairs[i];
        loaded l;
        load(&l, row->vars, NULL, false);
        bool ok = l.error == 0 && row->field(&l.config) == row->wanted && (l.f.errors > 0) == (row->errors > 0);
        if (!ok)
            CHECK_STR(sl_str_c(row->vars[0]), row->vars[1]); /* names the row */
        unload(&l);
    }
}

/* Queues of our own programs: larger, where neither the caller nor the environment says otherwise. */
SL_TEST(queues_of_programs)
{
    static const struct {
        const char *var;
        size_t given_spans, spans, logs;
    } table[] = {
        {"X=1", 0, 16384, 16384},
        {"X=1", 7, 7, 16384},
        {"OTEL_BSP_MAX_QUEUE_SIZE=100", 0, 0, 16384},
        {"OTEL_BSP_MAX_QUEUE_SIZE=100", 7, 7, 16384},
        {"OTEL_BLRP_MAX_QUEUE_SIZE=100", 0, 16384, 0},
        {"OTEL_BSP_MAX_QUEUE_SIZE=", 0, 16384, 16384},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        loaded l;
        load(&l, VARS(table[i].var), NULL, false);
        sl_batch_options batch[SL_SIGNAL_COUNT];
        memset(batch, 0, sizeof batch);
        batch[SL_SIGNAL_TRACES].max_queue_items = table[i].given_spans;
        sl_otel_config_queues(&l.env, SL_PROGRAM_QUEUE_ITEMS, batch);
        CHECK_EQ(batch[SL_SIGNAL_TRACES].max_queue_items, table[i].spans);
        CHECK_EQ(batch[SL_SIGNAL_LOGS].max_queue_items, table[i].logs);
        CHECK_EQ(batch[SL_SIGNAL_METRICS].max_queue_items, 0);
        unload(&l);
    }
}

/* ---- texts ---- */

SL_TEST(endpoints_that_cannot_be_used_count_as_unset)
{
    static const struct {
        const char *vars[3];
        const char *traces, *logs;
    } table[] = {
        {{"OTEL_EXPORTER_OTLP_ENDPOINT=http://c:1", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=gopher://x"},
         "http://c:1/v1/traces",
         "http://c:1/v1/logs"},
        {{"OTEL_EXPORTER_OTLP_ENDPOINT=http://c:1 2"},
         "http://localhost:4318/v1/traces",
         "http://localhost:4318/v1/logs"},
        {{"OTEL_EXPORTER_OTLP_ENDPOINT=http:///x", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=https://l"},
         "http://localhost:4318/v1/traces",
         "https://l/"},
        {{"OTEL_EXPORTER_OTLP_ENDPOINT=HTTPS://c/x?key=1"}, "https://c/x/v1/traces?key=1", "https://c/x/v1/logs?key=1"},
        {{"OTEL_EXPORTER_OTLP_ENDPOINT=http://c?key=1"}, "http://c/v1/traces?key=1", "http://c/v1/logs?key=1"},
        {{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://c?key=1"}, "http://c/?key=1", "http://localhost:4318/v1/logs"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        loaded l;
        load(&l, table[i].vars, NULL, false);
        CHECK_STR(l.config.specs[0].peer.url, table[i].traces);
        CHECK_STR(l.config.specs[2].peer.url, table[i].logs);
        unload(&l);
    }
}

SL_TEST(a_repeated_header_is_the_last)
{
    loaded l;
    load(&l, VARS("OTEL_EXPORTER_OTLP_HEADERS=Key=1,other=x%2Cy=z,KEY=2%20"), NULL, false);
    const sl_http_peer *peer = &l.config.specs[0].peer;
    REQUIRE(peer->header_count == 2);
    CHECK_STR(peer->headers[0].name, "key");
    CHECK_STR(peer->headers[0].value, "2 ");
    CHECK_STR(peer->headers[1].value, "x,y=z");
    CHECK_EQ(l.f.errors, 0);
    unload(&l);
}

SL_TEST(headers_at_the_limit)
{
    for (size_t more = 0; more < 2; more++) {
        char text[1024] = "OTEL_EXPORTER_OTLP_HEADERS=";
        for (size_t i = 0; i < SL_MAX_EXPORTER_HEADERS + more; i++)
            (void)snprintf(text + strlen(text), sizeof text - strlen(text), "h%zu=v,", i);
        loaded l;
        load(&l, VARS(text), NULL, false);
        CHECK_EQ(l.config.specs[0].peer.header_count, SL_MAX_EXPORTER_HEADERS);
        CHECK_EQ(l.f.errors > 0, more > 0);
        unload(&l);
    }
}

SL_TEST(percent_codes)
{
    static const struct {
        const char *text, *decoded; /* NULL: refused */
    } table[] = {{"", ""},       {"abc", "abc"},         {"%41", "A"},  {"a%2Cb%3dc", "a,b=c"}, {"%25%32", "%2"},
                 {"%", NULL},    {"%4", NULL},           {"a%4", NULL}, {"%g1", NULL},          {"%1g", NULL},
                 {"%%41", NULL}, {"%C3%A9", "\xC3\xA9"}, {"+", "+"}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        char out[16];
        size_t len = 99;
        int error = sl_percent_decode(sl_str_c(table[i].text), out, &len);
        CHECK_EQ(error, table[i].decoded ? 0 : SL_EPARSE);
        if (table[i].decoded)
            CHECK_STR(sl_str_of(out, len), table[i].decoded);
        else
            CHECK_EQ(len, 99);
    }
}

/* The exporters of the table are the names that the reference offers. */
SL_TEST(exporters_and_the_reference_agree)
{
    static const sl_env_var vars[SL_SIGNAL_COUNT] = {SL_VAR_OTEL_TRACES_EXPORTER, SL_VAR_OTEL_METRICS_EXPORTER,
                                                     SL_VAR_OTEL_LOGS_EXPORTER};
    size_t count, def_count;
    const sl_exporter_kind *kinds = sl_exporter_kinds(&count);
    const sl_env_def *defs = sl_env_defs(&def_count);
    for (int s = 0; s < SL_SIGNAL_COUNT; s++) {
        for (size_t i = 0; i < count; i++) {
            bool named = sl_env_value_index(vars[s], sl_str_c(kinds[i].name)) >= 0;
            CHECK_EQ(named, (kinds[i].signals & SL_SIGNAL_BIT(s)) != 0);
        }
        sl_str rest = sl_str_c(defs[vars[s]].values), name;
        while (sl_str_split(&rest, ' ', &name))
            CHECK(sl_exporter_kind_named(name, (sl_signal)s) || sl_str_eq_c(name, "none") ||
                  (s == SL_SIGNAL_METRICS && sl_str_eq_c(name, "prometheus")));
    }
}
