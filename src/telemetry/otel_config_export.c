/*
 * The configuration of exporters: OTEL_*_EXPORTER, OTEL_EXPORTER_OTLP_*, LLAMA_DEPLOY_APISERVER_TRACING_*.
 * Source: OpenTelemetry specification, protocol/exporter.md.
 */
#include <stdio.h>

#include "src/base/assert.h"
#include "src/telemetry/otel_config.h"

#define MAX_HEADERS 64
#define MAX_ENDPOINT 2048

/* The variables of OTLP, for all signals and for one. */
typedef struct otlp_vars {
    sl_env_var endpoint, protocol, headers, timeout, compression, insecure, certificate, client_key, client_certificate;
} otlp_vars;

#define OTLP_VARS(prefix)                                                                                              \
    {                                                                                                                  \
        SL_VAR_OTEL_EXPORTER_OTLP_##prefix##ENDPOINT, SL_VAR_OTEL_EXPORTER_OTLP_##prefix##PROTOCOL,                    \
            SL_VAR_OTEL_EXPORTER_OTLP_##prefix##HEADERS, SL_VAR_OTEL_EXPORTER_OTLP_##prefix##TIMEOUT,                  \
            SL_VAR_OTEL_EXPORTER_OTLP_##prefix##COMPRESSION, SL_VAR_OTEL_EXPORTER_OTLP_##prefix##INSECURE,             \
            SL_VAR_OTEL_EXPORTER_OTLP_##prefix##CERTIFICATE, SL_VAR_OTEL_EXPORTER_OTLP_##prefix##CLIENT_KEY,           \
            SL_VAR_OTEL_EXPORTER_OTLP_##prefix##CLIENT_CERTIFICATE                                                     \
    }

static const otlp_vars all_vars = OTLP_VARS();
static const otlp_vars signal_vars[SL_SIGNAL_COUNT] = {OTLP_VARS(TRACES_), OTLP_VARS(METRICS_), OTLP_VARS(LOGS_)};
static const char *const signal_paths[SL_SIGNAL_COUNT] = {"v1/traces", "v1/metrics", "v1/logs"};
static const sl_env_var exporter_vars[SL_SIGNAL_COUNT] = {SL_VAR_OTEL_TRACES_EXPORTER, SL_VAR_OTEL_METRICS_EXPORTER,
                                                          SL_VAR_OTEL_LOGS_EXPORTER};

static sl_env_var pick(const sl_env *env, sl_env_var own, sl_env_var all)
{
    return sl_env_is_set(env, own) ? own : all;
}

/* ---- endpoints ---- */

/* What stands before and behind "://"; an empty scheme when there is none. */
static void split_scheme(sl_str url, sl_str *ret_scheme, sl_str *ret_rest)
{
    SL_ASSERT(ret_scheme && ret_rest);
    size_t at = sl_str_find(url, SL_STR("://"));
    *ret_scheme = at == SL_NPOS ? sl_str_of(NULL, 0) : sl_str_sub(url, 0, at);
    *ret_rest = at == SL_NPOS ? url : sl_str_sub(url, at + 3, url.len);
}

/* host:port of what follows the scheme. */
static sl_str authority_of(sl_str rest)
{
    size_t slash = sl_str_chr(rest, '/');
    return slash == SL_NPOS ? rest : sl_str_sub(rest, 0, slash);
}

static bool has_port(sl_str url, const char *port)
{
    sl_str scheme, rest;
    split_scheme(url, &scheme, &rest);
    sl_str authority = authority_of(rest);
    char text[16];
    (void)snprintf(text, sizeof text, ":%s", port);
    return sl_str_ends(authority, sl_str_c(text));
}

/* Copies a formatted URL; an empty view without memory or when it is too long. */
static sl_str keep_url(sl_arena *arena, const char *scheme, sl_str rest, const char *slash, const char *path)
{
    SL_ASSERT(rest.ptr || !rest.len);
    char text[MAX_ENDPOINT];
    int len = snprintf(text, sizeof text, "%s://%.*s%s%s", scheme, (int)rest.len, rest.ptr, slash, path);
    if (len < 0 || (size_t)len >= sizeof text)
        return sl_str_of(NULL, 0);
    return sl_arena_dup(arena, sl_str_of(text, (size_t)len));
}

/* gRPC: the path does not count. Without a scheme, `insecure` decides. */
static sl_str grpc_endpoint(sl_arena *arena, sl_str url, bool insecure)
{
    sl_str scheme, rest;
    split_scheme(url, &scheme, &rest);
    bool plain = scheme.len ? sl_str_ieq(scheme, SL_STR("http")) : insecure;
    return keep_url(arena, plain ? "http" : "https", authority_of(rest), "", "");
}

/* HTTP: a base gets the signal's path, an endpoint of one signal is taken as it is (only "" becomes "/"). */
static sl_str http_endpoint(sl_arena *arena, sl_str url, sl_signal signal, bool is_base)
{
    sl_str scheme, rest;
    split_scheme(url, &scheme, &rest);
    const char *out_scheme = sl_str_ieq(scheme, SL_STR("https")) ? "https" : "http";
    if (is_base)
        return keep_url(arena, out_scheme, rest, sl_str_ends(rest, SL_STR("/")) ? "" : "/", signal_paths[signal]);
    return keep_url(arena, out_scheme, rest, authority_of(rest).len == rest.len ? "/" : "", "");
}

static bool endpoint_ok(sl_str url)
{
    SL_ASSERT(url.ptr || !url.len);
    sl_str scheme, rest;
    split_scheme(url, &scheme, &rest);
    bool known = !scheme.len || sl_str_ieq(scheme, SL_STR("http")) || sl_str_ieq(scheme, SL_STR("https"));
    for (size_t i = 0; i < url.len; i++) {
        if ((unsigned char)url.ptr[i] <= ' ' || (unsigned char)url.ptr[i] == 0x7F)
            return false;
    }
    return known && authority_of(rest).len > 0 && url.len < MAX_ENDPOINT - 32;
}

/* ---- OTLP ---- */

static int load_headers(const sl_env *env, sl_env_var var, sl_arena *arena, sl_exporter_spec *spec)
{
    sl_exporter_header headers[MAX_HEADERS];
    size_t count = 0;
    sl_str rest = sl_env_text(env, var);
    sl_str part;
    while (rest.len && sl_str_split(&rest, ',', &part)) {
        part = sl_str_trim(part);
        size_t equals = sl_str_chr(part, '=');
        if (!part.len)
            continue;
        sl_str name = sl_arena_dup(arena, sl_str_trim(sl_str_sub(part, 0, equals)));
        sl_str value =
            sl_arena_dup(arena, sl_str_trim(sl_str_sub(part, equals == SL_NPOS ? part.len : equals + 1, part.len)));
        if (!name.ptr || !value.ptr)
            return SL_ENOMEM;
        size_t value_len;
        if (equals == SL_NPOS || !name.len || count == MAX_HEADERS ||
            sl_percent_decode(value, (char *)(uintptr_t)value.ptr, &value_len)) {
            sl_env_reject(env, var, "a malformed header"); /* its text may be a secret */
            continue;
        }
        for (size_t i = 0; i < name.len; i++)
            ((char *)(uintptr_t)name.ptr)[i] = sl_ascii_lower(name.ptr[i]);
        ((char *)(uintptr_t)value.ptr)[value_len] = 0;
        headers[count].name = name;
        headers[count++].value = sl_str_of(value.ptr, value_len);
    }
    sl_exporter_header *copy = count ? sl_arena_alloc(arena, count * sizeof *copy) : NULL;
    if (count && !copy)
        return SL_ENOMEM;
    if (count)
        memcpy(copy, headers, count * sizeof *copy);
    spec->headers = copy;
    spec->header_count = count;
    return 0;
}

/* What all OTLP exporters of a signal share. */
static int load_common(const sl_env *env, sl_signal signal, sl_arena *arena, sl_exporter_spec *spec)
{
    SL_ASSERT(spec);
    const otlp_vars *own = &signal_vars[signal];
    spec->type = SL_EXPORT_OTLP;
    spec->timeout_ms = sl_env_ms(env, pick(env, own->timeout, all_vars.timeout), 10000);
    spec->gzip = sl_env_enum(env, pick(env, own->compression, all_vars.compression)) == 1;
    spec->ca_file = sl_arena_dup(arena, sl_env_text(env, pick(env, own->certificate, all_vars.certificate)));
    spec->client_key_file = sl_arena_dup(arena, sl_env_text(env, pick(env, own->client_key, all_vars.client_key)));
    spec->client_certificate_file =
        sl_arena_dup(arena, sl_env_text(env, pick(env, own->client_certificate, all_vars.client_certificate)));
    if (!spec->ca_file.ptr || !spec->client_key_file.ptr || !spec->client_certificate_file.ptr)
        return SL_ENOMEM;
    return load_headers(env, pick(env, own->headers, all_vars.headers), arena, spec);
}

/* The endpoint, and the protocol where only its port tells. */
static int load_endpoint(const sl_env *env, sl_signal signal, sl_otel_config *config, sl_exporter_spec *spec)
{
    SL_ASSERT(spec);
    const otlp_vars *own = &signal_vars[signal];
    sl_env_var var = pick(env, own->endpoint, all_vars.endpoint);
    sl_str url = sl_env_text(env, var);
    if (url.len && !endpoint_ok(url)) {
        sl_env_reject(env, var, "not an http:// or https:// URL");
        url = sl_str_of(NULL, 0);
    }
    int protocol = sl_env_enum(env, pick(env, own->protocol, all_vars.protocol));
    bool guessed = protocol < 0 && has_port(url, "4317");
    if (guessed && signal == SL_SIGNAL_TRACES)
        sl_reporter_say(env->reporter, 0, "%.*s has port 4317 and no protocol is set: gRPC is used", (int)url.len,
                        url.ptr);
    spec->protocol = guessed ? SL_OTLP_GRPC : protocol < 0 ? SL_OTLP_HTTP_PROTOBUF : (sl_otlp_protocol)protocol;
    bool insecure = sl_env_bool(env, pick(env, own->insecure, all_vars.insecure), false);
    if (spec->protocol == SL_OTLP_GRPC)
        spec->endpoint = grpc_endpoint(&config->arena, url.len ? url : SL_STR("http://localhost:4317"), insecure);
    else
        spec->endpoint = http_endpoint(&config->arena, url.len ? url : SL_STR("http://localhost:4318"), signal,
                                       var == all_vars.endpoint);
    return spec->endpoint.len ? 0 : SL_ENOMEM;
}

static int load_otlp(const sl_env *env, sl_signal signal, sl_otel_config *config, sl_exporter_spec *spec)
{
    SL_ASSERT(config);
    int error = load_common(env, signal, &config->arena, spec);
    return error ? error : load_endpoint(env, signal, config, spec);
}

/* ---- lists of exporters ---- */

static int add_spec(sl_otel_config *config, const sl_exporter_spec *spec)
{
    SL_ASSERT(config);
    if (config->spec_count == SL_MAX_EXPORTER_SPECS)
        return SL_ELIMIT;
    config->specs[config->spec_count++] = *spec;
    return 0;
}

static int add_file(const sl_env *env, sl_otel_config *config, sl_exporter_spec *spec)
{
    sl_str path = sl_env_text(env, SL_VAR_SIGHTLINE_EXPORTER_FILE);
    if (!path.len) {
        sl_env_reject(env, SL_VAR_SIGHTLINE_EXPORTER_FILE, "not set, and the file exporter needs a path");
        return 0;
    }
    spec->type = SL_EXPORT_FILE;
    spec->path = sl_arena_dup(&config->arena, path);
    return spec->path.ptr ? add_spec(config, spec) : SL_ENOMEM;
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

/* One exporter by its name. */
static int add_named(const sl_env *env, sl_signal signal, sl_str name, sl_otel_config *config)
{
    SL_ASSERT(env && (name.ptr || !name.len));
    sl_exporter_spec spec;
    memset(&spec, 0, sizeof spec);
    spec.signal = signal;
    spec.reporter = env->reporter;
    if (sl_str_ieq(name, SL_STR("none")))
        return 0;
    if (sl_str_ieq(name, SL_STR("otlp"))) {
        int error = load_otlp(env, signal, config, &spec);
        return error ? error : add_spec(config, &spec);
    }
    if (sl_str_ieq(name, SL_STR("file")))
        return add_file(env, config, &spec);
    if (signal == SL_SIGNAL_METRICS && sl_str_ieq(name, SL_STR("prometheus"))) {
        add_prometheus(env, config);
        return 0;
    }
    spec.type = SL_EXPORT_CONSOLE;
    if (sl_str_ieq(name, SL_STR("console")))
        return add_spec(config, &spec);
    spec.type = SL_EXPORT_STDOUT;
    if (sl_str_ieq(name, SL_STR("otlp/stdout")))
        return add_spec(config, &spec);
    sl_reporter_say(env->reporter, SL_ECONFIG, "OTEL_%s_EXPORTER: \"%.*s\" is not supported; it is ignored",
                    signal == SL_SIGNAL_TRACES    ? "TRACES"
                    : signal == SL_SIGNAL_METRICS ? "METRICS"
                                                  : "LOGS",
                    (int)(name.len < 64 ? name.len : 64), name.ptr);
    return 0;
}

static int add_list(const sl_env *env, sl_signal signal, sl_str list, sl_otel_config *config)
{
    sl_str part;
    int error = 0;
    while (!error && sl_str_split(&list, ',', &part)) {
        part = sl_str_trim(part);
        if (part.len)
            error = add_named(env, signal, part, config);
    }
    return error;
}

/* Whether an endpoint for OTLP is set for this signal. */
static bool has_endpoint(const sl_env *env, sl_signal signal)
{
    return sl_env_is_set(env, all_vars.endpoint) || sl_env_is_set(env, signal_vars[signal].endpoint);
}

/* ---- LlamaDeploy's variables ---- */

static int llama_otlp(const sl_env *env, sl_otel_config *config, sl_exporter_spec *spec)
{
    sl_str url = sl_env_text(env, SL_VAR_LLAMA_DEPLOY_APISERVER_TRACING_ENDPOINT);
    if (!url.len || !endpoint_ok(url)) {
        (void)snprintf(config->why, sizeof config->why,
                       "LLAMA_DEPLOY_APISERVER_TRACING_EXPORTER=otlp needs a URL in "
                       "LLAMA_DEPLOY_APISERVER_TRACING_ENDPOINT, such as http://localhost:4317");
        return SL_ECONFIG;
    }
    int error = load_common(env, SL_SIGNAL_TRACES, &config->arena, spec);
    if (error)
        return error;
    spec->timeout_ms = sl_env_ms(env, SL_VAR_LLAMA_DEPLOY_APISERVER_TRACING_TIMEOUT, 30000);
    if (has_port(url, "4318")) {
        spec->protocol = SL_OTLP_HTTP_PROTOBUF;
        bool verbatim = sl_str_ends(url, SL_STR("/v1/traces"));
        spec->endpoint = http_endpoint(&config->arena, url, SL_SIGNAL_TRACES, !verbatim);
    } else {
        spec->protocol = SL_OTLP_GRPC;
        bool insecure = sl_env_bool(env, SL_VAR_LLAMA_DEPLOY_APISERVER_TRACING_INSECURE, true);
        spec->endpoint = grpc_endpoint(&config->arena, url, insecure);
    }
    return spec->endpoint.len ? add_spec(config, spec) : SL_ENOMEM;
}

static int add_llama(const sl_env *env, sl_otel_config *config)
{
    SL_ASSERT(env);
    sl_exporter_spec spec;
    memset(&spec, 0, sizeof spec);
    spec.signal = SL_SIGNAL_TRACES;
    spec.reporter = env->reporter;
    sl_str name = sl_env_text(env, SL_VAR_LLAMA_DEPLOY_APISERVER_TRACING_EXPORTER);
    spec.type = SL_EXPORT_CONSOLE;
    if (!name.len || sl_str_ieq(name, SL_STR("console")))
        return add_spec(config, &spec);
    if (sl_str_ieq(name, SL_STR("otlp")))
        return llama_otlp(env, config, &spec);
    bool jaeger = sl_str_ieq(name, SL_STR("jaeger"));
    (void)snprintf(
        config->why, sizeof config->why,
        jaeger ? "LLAMA_DEPLOY_APISERVER_TRACING_EXPORTER: \"%.*s\" is not built yet; use otlp, which Jaeger takes "
                 "on port 4317"
               : "LLAMA_DEPLOY_APISERVER_TRACING_EXPORTER: \"%.*s\" is no exporter; use console or otlp",
        (int)(name.len < 64 ? name.len : 64), name.ptr);
    return SL_ECONFIG;
}

int sl_otel_config_exporters(const sl_env *env, bool only_when_set, sl_otel_config *config)
{
    SL_ASSERT(env && config && config->spec_count == 0);
    int error = 0;
    for (int s = 0; s < SL_SIGNAL_COUNT && !error; s++) {
        sl_signal signal = (sl_signal)s;
        sl_str list = sl_env_text(env, exporter_vars[s]);
        if (list.len)
            error = add_list(env, signal, list, config);
        else if (signal == SL_SIGNAL_TRACES && sl_env_bool(env, SL_VAR_LLAMA_DEPLOY_APISERVER_TRACING_ENABLED, false))
            error = add_llama(env, config);
        else if (!only_when_set || has_endpoint(env, signal))
            error = add_named(env, signal, SL_STR("otlp"), config);
    }
    return error;
}
