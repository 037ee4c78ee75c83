/* OTLP over plain HTTP, protobuf or JSON, with libc alone. */
#include <stdio.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/net/lite/http_post.h"
#include "src/telemetry/exporter_factory.h"
#include "src/telemetry/exporter_json.h"
#include "src/telemetry/exporter_outcome.h"
#include "src/telemetry/sync.h"

#define MAX_HEADERS 64u

typedef struct http_exporter {
    sl_http_post *client;
    sl_reporter *reporter;
    sl_otlp_protocol protocol;
    uint64_t timeout_ms; /* 0: none */
} http_exporter;

static void http_free(void *user)
{
    http_exporter *x = user;
    sl_http_post_free(x->client);
    sl_reporter_unref(x->reporter);
    sl_free(x);
}

/* What a transport failure means: the data may be sent again unless the peer talks nonsense. */
static int transport_error(int error)
{
    return error == SL_EPARSE || error == SL_ELIMIT || error == SL_EPROTO || error == SL_ETOOBIG || error == SL_ENOMEM
               ? error
               : SL_ERETRY;
}

/* Sends the request in the exporter's form. */
static int send_request(http_exporter *x, sl_signal signal, sl_str request, uint64_t timeout_ms,
                        sl_http_answer *ret_answer)
{
    SL_ASSERT(x);
    uint64_t deadline = sl_deadline_ns(timeout_ms);
    if (x->protocol != SL_OTLP_HTTP_JSON)
        return sl_http_post_send(x->client, request, deadline, ret_answer);
    sl_buf json;
    sl_buf_init(&json, SL_MAX_OTLP_JSON_BYTES);
    int error = sl_otlp_to_json(sl_wire_signal(signal), request, &json);
    if (!error)
        error = sl_http_post_send(x->client, sl_buf_str(&json), deadline, ret_answer);
    sl_buf_done(&json);
    return error;
}

static int http_deliver(void *user, sl_signal signal, sl_str request, size_t items, uint64_t timeout_ms,
                        uint64_t *ret_retry_after_ms, uint64_t *ret_rejected)
{
    SL_ASSERT(ret_retry_after_ms && ret_rejected);
    (void)items;
    http_exporter *x = user;
    if (x->timeout_ms && x->timeout_ms < timeout_ms)
        timeout_ms = x->timeout_ms;
    sl_http_answer answer;
    int error = send_request(x, signal, request, timeout_ms, &answer);
    if (error) {
        sl_reporter_say(x->reporter, error, "otlp: %s", sl_http_post_error(x->client));
        return transport_error(error);
    }
    sl_otlp_http_answer judged = {answer.status, answer.content_type, answer.retry_after, answer.body,
                                  sl_now_ns() / 1000000000u};
    sl_otlp_outcome outcome;
    sl_otlp_outcome_http(&judged, &outcome);
    if (outcome.why[0])
        sl_reporter_say(x->reporter, outcome.error ? outcome.error : SL_EREFUSED, "otlp: %s", outcome.why);
    *ret_retry_after_ms = outcome.retry_after_ms;
    *ret_rejected = outcome.rejected;
    return outcome.error;
}

static int make_client(const sl_exporter_spec *spec, http_exporter *x, char *why, size_t size)
{
    SL_ASSERT(spec && x);
    sl_http_post_header headers[MAX_HEADERS];
    sl_http_post_options o;
    memset(&o, 0, sizeof o);
    for (size_t i = 0; i < spec->header_count && i < MAX_HEADERS; i++) {
        headers[i].name = spec->headers[i].name;
        headers[i].value = spec->headers[i].value;
        o.header_count = i + 1;
    }
    char agent[64];
    (void)snprintf(agent, sizeof agent, "OTel-OTLP-Exporter-C/%s", sl_version());
    o.url = spec->endpoint;
    o.headers = headers;
    o.user_agent = sl_str_c(agent);
    o.content_type =
        spec->protocol == SL_OTLP_HTTP_JSON ? SL_STR("application/json") : SL_STR("application/x-protobuf");
    const char *reason = "";
    int error = sl_http_post_new(&o, &x->client, &reason);
    if (error)
        (void)snprintf(why, size, "%s: %s", spec->endpoint.ptr, reason);
    return error;
}

int sl_exporter_http_lite(const sl_exporter_spec *spec, sl_exporter *ret_exporter, char *why, size_t size)
{
    SL_ASSERT(spec && ret_exporter && spec->type == SL_EXPORT_OTLP && spec->protocol != SL_OTLP_GRPC);
    http_exporter *x = sl_calloc(1, sizeof *x);
    if (!x)
        return SL_ENOMEM;
    x->protocol = spec->protocol;
    x->timeout_ms = spec->timeout_ms;
    int error = make_client(spec, x, why, size);
    if (error) {
        sl_free(x);
        return error;
    }
    x->reporter = sl_reporter_ref(spec->reporter);
    sl_exporter exporter;
    memset(&exporter, 0, sizeof exporter);
    exporter.name = "otlp/http";
    exporter.user = x;
    exporter.signals = SL_SIGNAL_BIT(spec->signal);
    exporter.deliver = http_deliver;
    exporter.free = http_free;
    *ret_exporter = exporter;
    return 0;
}
