/*
 * The settings of OTLP exporters: OTEL_EXPORTER_OTLP_*. A variable of one signal beats the one for all; one that cannot
 * be used counts as unset. Source: OpenTelemetry specification, protocol/exporter.md.
 */
#include "src/telemetry/otel_config_otlp.h"

#include <stdarg.h>
#include <stdio.h>

#include "src/base/assert.h"

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
    size_t end = 0;
    while (end < rest.len && rest.ptr[end] != '/' && rest.ptr[end] != '?')
        end++;
    return sl_str_sub(rest, 0, end);
}

sl_str sl_otlp_authority(sl_str url)
{
    sl_str scheme, rest;
    split_scheme(url, &scheme, &rest);
    return authority_of(rest);
}

bool sl_otlp_has_port(sl_str url, const char *port)
{
    sl_str authority = sl_otlp_authority(url);
    char text[16];
    (void)snprintf(text, sizeof text, ":%s", port);
    return sl_str_ends(authority, sl_str_c(text));
}

/* Copies a formatted URL; an empty view without memory or when it is too long. */
static sl_str keep_url(sl_arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));

static sl_str keep_url(sl_arena *arena, const char *format, ...)
{
    char text[MAX_ENDPOINT];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (len < 0 || (size_t)len >= sizeof text)
        return sl_str_of(NULL, 0);
    return sl_arena_dup(arena, sl_str_of(text, (size_t)len));
}

sl_str sl_otlp_grpc_endpoint(sl_arena *arena, sl_str url, bool insecure)
{
    sl_str scheme, rest;
    split_scheme(url, &scheme, &rest);
    bool plain = scheme.len ? sl_str_ieq(scheme, SL_STR("http")) : insecure;
    sl_str authority = authority_of(rest);
    return keep_url(arena, "%s://%.*s", plain ? "http" : "https", (int)authority.len, authority.ptr);
}

sl_str sl_otlp_http_endpoint(sl_arena *arena, sl_str url, sl_signal signal, bool is_base)
{
    sl_str scheme, rest;
    split_scheme(url, &scheme, &rest);
    size_t mark = sl_str_chr(rest, '?');
    sl_str path = sl_str_sub(rest, 0, mark == SL_NPOS ? rest.len : mark);
    sl_str query = sl_str_sub(rest, path.len, rest.len);
    bool bare = authority_of(path).len == path.len;
    const char *slash = (is_base && !sl_str_ends(path, SL_STR("/"))) || bare ? "/" : "";
    return keep_url(arena, "%s://%.*s%s%s%.*s", sl_str_ieq(scheme, SL_STR("https")) ? "https" : "http", (int)path.len,
                    path.ptr, slash, is_base ? signal_paths[signal] : "", (int)query.len, query.len ? query.ptr : "");
}

bool sl_otlp_endpoint_ok(sl_str url)
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

/* ---- headers ---- */

/* Copies a text that may be changed. NULL without memory. */
static char *copy_text(sl_arena *arena, sl_str text)
{
    return (char *)(uintptr_t)sl_arena_dup(arena, text).ptr;
}

/* One `name=value`, the value percent-encoded. Errors: SL_EPARSE, SL_ENOMEM. */
static int parse_header(sl_str part, sl_arena *arena, sl_http_post_header *ret_header)
{
    SL_ASSERT(ret_header);
    size_t equals = sl_str_chr(part, '=');
    if (equals == SL_NPOS)
        return SL_EPARSE;
    sl_str name = sl_str_trim(sl_str_sub(part, 0, equals));
    sl_str value = sl_str_trim(sl_str_sub(part, equals + 1, part.len));
    char *name_text = copy_text(arena, name);
    char *value_text = copy_text(arena, value);
    if (!name_text || !value_text)
        return SL_ENOMEM;
    size_t len;
    if (!name.len || sl_percent_decode(value, value_text, &len))
        return SL_EPARSE;
    for (size_t i = 0; i < name.len; i++)
        name_text[i] = sl_ascii_lower(name_text[i]);
    value_text[len] = 0;
    ret_header->name = sl_str_of(name_text, name.len);
    ret_header->value = sl_str_of(value_text, len);
    return 0;
}

/* Where a header goes: of equal names the last stays. */
static size_t place_of(const sl_http_post_header *headers, size_t count, sl_str name)
{
    size_t at = 0;
    while (at < count && !sl_str_eq(headers[at].name, name))
        at++;
    return at;
}

static int load_headers(const sl_env *env, sl_env_var var, sl_arena *arena, sl_http_peer *peer)
{
    SL_ASSERT(peer);
    sl_http_post_header *headers = sl_arena_alloc(arena, SL_MAX_EXPORTER_HEADERS * sizeof *headers);
    if (!headers)
        return SL_ENOMEM;
    sl_str rest = sl_env_text(env, var);
    sl_str part;
    size_t count = 0;
    while (rest.len && sl_str_split(&rest, ',', &part)) {
        sl_http_post_header header;
        if (!sl_str_trim(part).len)
            continue;
        int error = parse_header(part, arena, &header);
        if (error == SL_ENOMEM)
            return error;
        size_t at = error ? 0 : place_of(headers, count, header.name);
        if (error || at == SL_MAX_EXPORTER_HEADERS) {
            sl_env_reject(env, var, "a malformed header, or too many"); /* its text may be a secret */
            continue;
        }
        headers[at] = header;
        count += at == count;
    }
    peer->headers = headers;
    peer->header_count = count;
    return 0;
}

/* ---- the rest ---- */

static sl_env_var pick(const sl_env *env, sl_env_var own, sl_env_var all)
{
    return sl_env_is_set(env, own) ? own : all;
}

static int either_enum(const sl_env *env, sl_env_var own, sl_env_var all)
{
    int value = sl_env_enum(env, own);
    return value < 0 ? sl_env_enum(env, all) : value;
}

int sl_otlp_load_common(const sl_env *env, sl_arena *arena, sl_exporter_spec *spec)
{
    SL_ASSERT(env && arena && spec);
    const otlp_vars *own = &signal_vars[spec->signal];
    sl_http_peer *peer = &spec->peer;
    spec->timeout_ms = sl_env_ms(env, own->timeout, sl_env_ms(env, all_vars.timeout, 10000));
    peer->gzip = either_enum(env, own->compression, all_vars.compression) == 1;
    peer->ca_file = sl_arena_dup(arena, sl_env_text(env, pick(env, own->certificate, all_vars.certificate)));
    peer->client_key_file = sl_arena_dup(arena, sl_env_text(env, pick(env, own->client_key, all_vars.client_key)));
    peer->client_certificate_file =
        sl_arena_dup(arena, sl_env_text(env, pick(env, own->client_certificate, all_vars.client_certificate)));
    if (!peer->ca_file.ptr || !peer->client_key_file.ptr || !peer->client_certificate_file.ptr)
        return SL_ENOMEM;
    return load_headers(env, pick(env, own->headers, all_vars.headers), arena, peer);
}

/* The endpoint of a variable; empty when it is unset or no URL, which is reported. */
static sl_str endpoint_of(const sl_env *env, sl_env_var var)
{
    sl_str url = sl_env_text(env, var);
    if (!url.len || sl_otlp_endpoint_ok(url))
        return url;
    sl_env_reject(env, var, "not an http:// or https:// URL");
    return sl_str_of(NULL, 0);
}

/* The endpoint, and the protocol where only its port tells. */
int sl_exporter_otlp_load(const sl_env *env, sl_arena *arena, sl_exporter_spec *spec)
{
    SL_ASSERT(env && arena && spec);
    const otlp_vars *own = &signal_vars[spec->signal];
    int error = sl_otlp_load_common(env, arena, spec);
    if (error)
        return error;
    sl_str url = endpoint_of(env, own->endpoint);
    bool is_base = url.len == 0;
    if (is_base)
        url = endpoint_of(env, all_vars.endpoint);
    int protocol = either_enum(env, own->protocol, all_vars.protocol);
    bool guessed = protocol < 0 && sl_otlp_has_port(url, "4317");
    if (guessed && (spec->signal == SL_SIGNAL_TRACES || !is_base)) {
        sl_str authority = sl_otlp_authority(url);
        sl_reporter_say(env->reporter, 0, "%.*s has port 4317 and no protocol is set: gRPC is used", (int)authority.len,
                        authority.ptr);
    }
    spec->protocol = guessed ? SL_OTLP_GRPC : protocol < 0 ? SL_OTLP_HTTP_PROTOBUF : (sl_otlp_protocol)protocol;
    bool insecure = sl_env_bool(env, pick(env, own->insecure, all_vars.insecure), false);
    if (spec->protocol == SL_OTLP_GRPC)
        spec->peer.url = sl_otlp_grpc_endpoint(arena, url.len ? url : SL_STR("http://localhost:4317"), insecure);
    else
        spec->peer.url =
            sl_otlp_http_endpoint(arena, url.len ? url : SL_STR("http://localhost:4318"), spec->signal, is_base);
    return spec->peer.url.len ? 0 : SL_ENOMEM;
}

bool sl_otlp_is_configured(const sl_env *env, sl_signal signal)
{
    SL_ASSERT(env && signal < SL_SIGNAL_COUNT);
    return sl_env_is_set(env, all_vars.endpoint) || sl_env_is_set(env, signal_vars[signal].endpoint);
}
