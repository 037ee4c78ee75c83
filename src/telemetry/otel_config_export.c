/*
 * Which exporters there are: OTEL_*_EXPORTER, LLAMA_DEPLOY_APISERVER_TRACING_*.
 * Source: OpenTelemetry specification, sdk-environment-variables.md, "Exporter Selection".
 */
#include <stdio.h>

#include "src/base/assert.h"
#include "src/telemetry/exporter_post.h"
#include "src/telemetry/otel_config.h"
#include "src/telemetry/otel_config_otlp.h"

static const sl_env_var exporter_vars[SL_SIGNAL_COUNT] = {SL_VAR_OTEL_TRACES_EXPORTER, SL_VAR_OTEL_METRICS_EXPORTER,
                                                          SL_VAR_OTEL_LOGS_EXPORTER};

/* ---- lists of exporters ---- */

static sl_exporter_spec spec_of(const sl_env *env, sl_signal signal, const sl_exporter_kind *kind)
{
    SL_ASSERT(env);
    sl_exporter_spec spec;
    memset(&spec, 0, sizeof spec);
    spec.kind = kind;
    spec.signal = signal;
    spec.reporter = env->reporter;
    return spec;
}

static int add_spec(sl_otel_config *config, const sl_exporter_spec *spec)
{
    SL_ASSERT(config && spec->kind);
    if (config->spec_count == SL_MAX_EXPORTER_SPECS)
        return SL_ELIMIT;
    config->specs[config->spec_count++] = *spec;
    return 0;
}

/* One exporter, once, with its settings. */
static int add_kind(const sl_env *env, sl_signal signal, const sl_exporter_kind *kind, sl_otel_config *config)
{
    SL_ASSERT(kind && config);
    for (size_t i = 0; i < config->spec_count; i++) {
        if (config->specs[i].kind == kind && config->specs[i].signal == signal)
            return 0;
    }
    sl_exporter_spec spec = spec_of(env, signal, kind);
    int error = kind->load(env, &config->arena, &spec);
    if (error == SL_ENOENT)
        return 0;
    return error ? error : add_spec(config, &spec);
}

/* Pull instead of push: the SDK opens a listener. */
static void add_prometheus(const sl_env *env, sl_otel_config *config)
{
    SL_ASSERT(config);
    sl_str host = sl_env_text(env, SL_VAR_OTEL_EXPORTER_PROMETHEUS_HOST);
    config->prometheus = true;
    config->prometheus_port = (uint16_t)sl_env_uint(env, SL_VAR_OTEL_EXPORTER_PROMETHEUS_PORT, 9464, UINT16_MAX);
    if (!host.len || !sl_str_to_c(host, config->prometheus_host, sizeof config->prometheus_host))
        (void)snprintf(config->prometheus_host, sizeof config->prometheus_host, "localhost");
}

/* One name of a list; `*ret_known` is set when it means something. */
static int add_named(const sl_env *env, sl_signal signal, sl_str name, sl_otel_config *config, bool *ret_known)
{
    SL_ASSERT(env && (name.ptr || !name.len));
    const sl_exporter_kind *kind = sl_exporter_kind_named(name, signal);
    bool prometheus = signal == SL_SIGNAL_METRICS && sl_str_ieq(name, SL_STR("prometheus"));
    if (!kind && !prometheus && !sl_str_ieq(name, SL_STR("none"))) {
        sl_reporter_say(env->reporter, SL_ECONFIG, "%s: \"%.*s\" is not supported; it is ignored",
                        sl_env_name(exporter_vars[signal]), (int)(name.len < 64 ? name.len : 64), name.ptr);
        return 0;
    }
    *ret_known = true;
    if (prometheus)
        add_prometheus(env, config);
    return kind ? add_kind(env, signal, kind, config) : 0;
}

/* Those that the signal's variable names. A list of unknown names alone counts as unset. */
static int add_list(const sl_env *env, sl_signal signal, sl_otel_config *config, bool *ret_known)
{
    sl_str list = sl_env_text(env, exporter_vars[signal]);
    sl_str part;
    int error = 0;
    while (!error && list.len && sl_str_split(&list, ',', &part)) {
        part = sl_str_trim(part);
        if (part.len)
            error = add_named(env, signal, part, config, ret_known);
    }
    return error;
}

/* ---- LlamaDeploy's variables ---- */

static int llama_otlp(const sl_env *env, sl_otel_config *config, sl_exporter_spec *spec)
{
    sl_str url = sl_env_text(env, SL_VAR_LLAMA_DEPLOY_APISERVER_TRACING_ENDPOINT);
    if (!url.len || !sl_otlp_endpoint_ok(url)) {
        (void)snprintf(config->why, sizeof config->why,
                       "LLAMA_DEPLOY_APISERVER_TRACING_EXPORTER=otlp needs a URL in "
                       "LLAMA_DEPLOY_APISERVER_TRACING_ENDPOINT, such as http://localhost:4317");
        return SL_ECONFIG;
    }
    int error = sl_otlp_load_common(env, &config->arena, spec);
    if (error)
        return error;
    spec->timeout_ms = sl_env_ms(env, SL_VAR_LLAMA_DEPLOY_APISERVER_TRACING_TIMEOUT, 30000);
    if (sl_otlp_has_port(url, "4318")) {
        spec->protocol = SL_OTLP_HTTP_PROTOBUF;
        bool verbatim = sl_str_ends(url, SL_STR("/v1/traces"));
        spec->peer.url = sl_otlp_http_endpoint(&config->arena, url, SL_SIGNAL_TRACES, !verbatim);
    } else {
        spec->protocol = SL_OTLP_GRPC;
        bool insecure = sl_env_bool(env, SL_VAR_LLAMA_DEPLOY_APISERVER_TRACING_INSECURE, true);
        spec->peer.url = sl_otlp_grpc_endpoint(&config->arena, url, insecure);
    }
    return spec->peer.url.len ? add_spec(config, spec) : SL_ENOMEM;
}

/* host:14268, as the guide writes it, or a whole URL. */
static int llama_jaeger(const sl_env *env, sl_otel_config *config, sl_exporter_spec *spec)
{
    SL_ASSERT(spec->kind);
    sl_str url = sl_env_text(env, SL_VAR_LLAMA_DEPLOY_APISERVER_TRACING_ENDPOINT);
    if (url.len && !sl_otlp_endpoint_ok(url)) {
        (void)snprintf(config->why, sizeof config->why,
                       "LLAMA_DEPLOY_APISERVER_TRACING_ENDPOINT is neither HOST:PORT nor a URL; give one such as "
                       "localhost:14268");
        return SL_ECONFIG;
    }
    int error = spec->kind->load(env, &config->arena, spec);
    if (error)
        return error;
    spec->timeout_ms = sl_env_ms(env, SL_VAR_LLAMA_DEPLOY_APISERVER_TRACING_TIMEOUT, 30000);
    bool insecure = sl_env_bool(env, SL_VAR_LLAMA_DEPLOY_APISERVER_TRACING_INSECURE, true);
    if (url.len)
        spec->peer.url = sl_exporter_post_url(&config->arena, url, !insecure, SL_JAEGER_PATH);
    return spec->peer.url.ptr ? add_spec(config, spec) : SL_ENOMEM;
}

static int add_llama(const sl_env *env, sl_otel_config *config)
{
    SL_ASSERT(env);
    sl_str name = sl_env_text(env, SL_VAR_LLAMA_DEPLOY_APISERVER_TRACING_EXPORTER);
    if (!name.len)
        name = SL_STR("console");
    sl_exporter_spec spec = spec_of(env, SL_SIGNAL_TRACES, sl_exporter_kind_named(name, SL_SIGNAL_TRACES));
    if (sl_str_ieq(name, SL_STR("console")))
        return add_spec(config, &spec);
    if (sl_str_ieq(name, SL_STR("otlp")))
        return llama_otlp(env, config, &spec);
    if (sl_str_ieq(name, SL_STR("jaeger")))
        return llama_jaeger(env, config, &spec);
    (void)snprintf(config->why, sizeof config->why,
                   "LLAMA_DEPLOY_APISERVER_TRACING_EXPORTER: \"%.*s\" is no exporter; use console, jaeger or otlp",
                   (int)(name.len < 64 ? name.len : 64), name.ptr);
    return SL_ECONFIG;
}

/* The exporters of one signal. */
static int add_signal(const sl_env *env, sl_signal signal, bool only_when_set, sl_otel_config *config)
{
    bool known = false;
    int error = add_list(env, signal, config, &known);
    if (error || known)
        return error;
    if (signal == SL_SIGNAL_TRACES && sl_env_bool(env, SL_VAR_LLAMA_DEPLOY_APISERVER_TRACING_ENABLED, false))
        return add_llama(env, config);
    bool wanted = !only_when_set || sl_otlp_is_configured(env, signal);
    return wanted ? add_kind(env, signal, sl_exporter_kind_named(SL_STR("otlp"), signal), config) : 0;
}

int sl_otel_config_exporters(const sl_env *env, bool only_when_set, sl_otel_config *config)
{
    SL_ASSERT(env && config && config->spec_count == 0);
    int error = 0;
    for (int s = 0; s < SL_SIGNAL_COUNT && !error; s++)
        error = add_signal(env, (sl_signal)s, only_when_set, config);
    return error;
}
