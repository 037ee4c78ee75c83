/*
 * Zipkin: v2 JSON over HTTP. Spans only.
 * Source: OpenTelemetry specification, sdk-environment-variables.md, "Zipkin Exporter".
 */
#include "src/telemetry/exporter_post.h"
#include "src/wire/zipkin_json.h"

static const sl_post_format format = {"zipkin", "application/json", sl_otlp_to_zipkin};

int sl_exporter_zipkin_load(const sl_env *env, sl_arena *arena, sl_exporter_spec *spec)
{
    SL_ASSERT(env && arena && spec);
    spec->timeout_ms = sl_env_ms(env, SL_VAR_OTEL_EXPORTER_ZIPKIN_TIMEOUT, 10000);
    return sl_exporter_post_load_url(env, arena, SL_VAR_OTEL_EXPORTER_ZIPKIN_ENDPOINT,
                                     "http://localhost:9411/api/v2/spans", "/api/v2/spans", spec);
}

int sl_exporter_zipkin_make(const sl_exporter_spec *spec, sl_exporter *ret_exporter, char *why, size_t size)
{
    SL_ASSERT(spec && ret_exporter);
    return sl_exporter_post_make(spec, &format, ret_exporter, why, size);
}
