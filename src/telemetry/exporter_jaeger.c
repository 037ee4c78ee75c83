/*
 * Jaeger: Thrift over HTTP, as the collector takes it on port 14268. Spans only.
 * Source: OpenTelemetry specification 1.17, sdk-environment-variables.md, "Jaeger Exporter".
 */
#include "src/telemetry/exporter_post.h"
#include "src/wire/base64.h"
#include "src/wire/jaeger_thrift.h"

#define MAX_LOGIN 1024u

static const sl_post_format format = {"jaeger", "application/x-thrift", sl_otlp_to_jaeger};

/* Basic authentication, when a user is set. */
static int load_login(const sl_env *env, sl_arena *arena, sl_http_peer *peer)
{
    SL_ASSERT(peer);
    sl_str user = sl_env_text(env, SL_VAR_OTEL_EXPORTER_JAEGER_USER);
    sl_str password = sl_env_text(env, SL_VAR_OTEL_EXPORTER_JAEGER_PASSWORD);
    if (!user.len)
        return 0;
    sl_buf login, value;
    sl_buf_init(&login, MAX_LOGIN);
    sl_buf_init(&value, 2 * MAX_LOGIN);
    (void)sl_buf_put_str(&login, user);
    (void)sl_buf_put_char(&login, ':');
    (void)sl_buf_put_str(&login, password);
    (void)sl_buf_put_c(&value, "Basic ");
    int error = login.failed ? login.failed : sl_base64_encode(&value, sl_buf_str(&login));
    sl_http_post_header *header = sl_arena_alloc(arena, sizeof *header);
    if (!error && header) {
        header->name = SL_STR("authorization");
        header->value = sl_arena_dup(arena, sl_buf_str(&value));
        peer->headers = header;
        peer->header_count = 1;
    }
    bool kept = error || (header && header->value.ptr);
    sl_buf_done(&login);
    sl_buf_done(&value);
    if (error == SL_ELIMIT)
        sl_env_reject(env, SL_VAR_OTEL_EXPORTER_JAEGER_USER, "too long, with its password");
    return !kept || error == SL_ENOMEM ? SL_ENOMEM : 0;
}

int sl_exporter_jaeger_load(const sl_env *env, sl_arena *arena, sl_exporter_spec *spec)
{
    SL_ASSERT(env && arena && spec);
    spec->timeout_ms = sl_env_ms(env, SL_VAR_OTEL_EXPORTER_JAEGER_TIMEOUT, 10000);
    int error = sl_exporter_post_load_url(env, arena, SL_VAR_OTEL_EXPORTER_JAEGER_ENDPOINT, SL_JAEGER_ENDPOINT,
                                          SL_JAEGER_PATH, spec);
    return error ? error : load_login(env, arena, &spec->peer);
}

int sl_exporter_jaeger_make(const sl_exporter_spec *spec, sl_exporter *ret_exporter, char *why, size_t size)
{
    SL_ASSERT(spec && ret_exporter);
    return sl_exporter_post_make(spec, &format, ret_exporter, why, size);
}
