/* Exporters of spans that POST a format of their own. */
#include "src/telemetry/exporter_post.h"

#include <stdio.h>

#include "src/base/clock.h"
#include "src/base/limits.h"
#include "src/base/mem.h"
#include "src/base/sync.h"
#include "src/telemetry/exporter_outcome.h"
#include "src/telemetry/otel_config_otlp.h"
#include "src/wire/otlp_read.h"
#include "src/wire/redact.h"

#define MAX_URL 2048
#define MAX_BODY_BYTES (4u * SL_MAX_OTLP_REQUEST_BYTES)
#define MAX_SHOWN 160u /* of an answer's body */

typedef struct post_exporter {
    const sl_post_format *format;
    sl_http_transport *transport;
    sl_reporter *reporter;
    uint64_t timeout_ms; /* 0: none */
} post_exporter;

static void post_free(void *user)
{
    post_exporter *x = user;
    sl_http_transport_free(x->transport);
    sl_reporter_unref(x->reporter);
    sl_free(x);
}

/* A refusal in the peer's words, without what looks like a secret. */
static void say_refusal(const post_exporter *x, int error, const sl_http_answer *answer)
{
    SL_ASSERT(x && answer);
    sl_str body = sl_str_sub(answer->body, 0, sl_utf8_prefix(answer->body, MAX_SHOWN));
    sl_buf clean;
    sl_buf_init(&clean, 4 * MAX_SHOWN);
    if (sl_redact_text(body, &clean))
        sl_buf_clear(&clean);
    sl_reporter_say(x->reporter, error, "%s: HTTP %d%s%.*s", x->format->name, answer->status, clean.len ? ": " : "",
                    (int)clean.len, clean.len ? clean.data : "");
    sl_buf_done(&clean);
}

static int judge(const post_exporter *x, const sl_http_answer *answer, uint64_t *ret_retry_after_ms)
{
    SL_ASSERT(ret_retry_after_ms);
    sl_otlp_http_answer seen = {answer->status, sl_str_of(NULL, 0), answer->retry_after, sl_str_of(NULL, 0),
                                sl_now_ns() / 1000000000u};
    sl_otlp_outcome outcome;
    sl_otlp_outcome_http(&seen, &outcome);
    if (outcome.error)
        say_refusal(x, outcome.error, answer);
    *ret_retry_after_ms = outcome.retry_after_ms;
    return outcome.error;
}

static int send_body(post_exporter *x, sl_str body, uint64_t deadline_ns, uint64_t *ret_retry_after_ms)
{
    SL_ASSERT(x && body.len);
    uint64_t now = sl_mono_ns();
    if (now >= deadline_ns)
        return SL_ERETRY;
    uint64_t left_ms = (deadline_ns - now + 999999u) / 1000000u;
    sl_http_answer answer;
    int error = x->transport->send(x->transport, body, left_ms, &answer);
    if (!error)
        return judge(x, &answer, ret_retry_after_ms);
    sl_reporter_say(x->reporter, error, "%s: %s", x->format->name, x->transport->error(x->transport));
    return error;
}

static int post_deliver(void *user, sl_signal signal, sl_str request, size_t items, uint64_t timeout_ms,
                        uint64_t *ret_retry_after_ms, uint64_t *ret_rejected)
{
    SL_ASSERT(signal == SL_SIGNAL_TRACES && ret_retry_after_ms && ret_rejected);
    (void)signal;
    (void)items;
    post_exporter *x = user;
    uint64_t deadline_ns = sl_deadline_ns(sl_otlp_timeout_ms(x->timeout_ms, timeout_ms)), rejected = 0;
    sl_otlp_iter it = sl_otlp_items(request, SL_OTLP_REQUEST_RESOURCES);
    sl_str resource_spans;
    int error = 0;
    while (!error && sl_otlp_next(&it, &resource_spans)) {
        size_t written = 0, skipped = 0;
        sl_buf body;
        sl_buf_init(&body, MAX_BODY_BYTES);
        error = x->format->encode(resource_spans, &body, &written, &skipped);
        if (error)
            sl_reporter_say(x->reporter, error, "%s: spans cannot be encoded: %s", x->format->name, sl_strerror(error));
        else if (written)
            error = send_body(x, sl_buf_str(&body), deadline_ns, ret_retry_after_ms);
        rejected += skipped;
        sl_buf_done(&body);
    }
    if (!error && !it.reader.error)
        *ret_rejected = rejected;
    return error ? error : it.reader.error;
}

int sl_exporter_post_make(const sl_exporter_spec *spec, const sl_post_format *format, sl_exporter *ret_exporter,
                          char *why, size_t size)
{
    SL_ASSERT(spec && format && ret_exporter && why && spec->signal == SL_SIGNAL_TRACES);
    post_exporter *x = sl_calloc(1, sizeof *x);
    if (!x)
        return SL_ENOMEM;
    int error = sl_http_transport_new(&spec->peer, sl_str_c(format->content_type), &x->transport, why, size);
    if (error) {
        sl_free(x);
        return error;
    }
    x->format = format;
    x->timeout_ms = spec->timeout_ms;
    x->reporter = sl_reporter_ref(spec->reporter);
    *ret_exporter = sl_exporter_of(spec, format->name, x, post_deliver, post_free);
    return 0;
}

/* ---- settings ---- */

sl_str sl_exporter_post_url(sl_arena *arena, sl_str text, bool tls, const char *path)
{
    SL_ASSERT(arena && path && path[0] == '/');
    char url[MAX_URL];
    if (!text.len || !sl_otlp_endpoint_ok(text))
        return sl_str_of(NULL, 0);
    bool schemed = sl_str_find(text, SL_STR("://")) != SL_NPOS;
    sl_str authority = sl_otlp_authority(text);
    size_t rest = (size_t)(authority.ptr - text.ptr) + authority.len;
    bool bare = rest == text.len || sl_str_eq_c(sl_str_sub(text, rest, text.len), "/");
    int len = snprintf(url, sizeof url, "%s%.*s%s",
                       schemed ? ""
                       : tls   ? "https://"
                               : "http://",
                       (int)(bare ? rest : text.len), text.ptr, bare ? path : "");
    return len > 0 && (size_t)len < sizeof url ? sl_arena_dup(arena, sl_str_of(url, (size_t)len)) : sl_str_of(NULL, 0);
}

int sl_exporter_post_load_url(const sl_env *env, sl_arena *arena, sl_env_var var, const char *fallback,
                              const char *path, sl_exporter_spec *spec)
{
    SL_ASSERT(env && arena && fallback && spec);
    sl_str text = sl_env_text(env, var);
    if (text.len && !sl_otlp_endpoint_ok(text)) {
        sl_env_reject(env, var, "not an http:// or https:// URL");
        text.len = 0;
    }
    spec->peer.url = sl_exporter_post_url(arena, text.len ? text : sl_str_c(fallback), false, path);
    return spec->peer.url.ptr ? 0 : SL_ENOMEM;
}
