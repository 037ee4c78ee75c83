/* OTLP: over HTTP as protobuf or JSON; gRPC is made by src/export. Its settings are read by otel_config_otlp.c. */
#include <stdio.h>

#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/telemetry/exporter_factory.h"
#include "src/telemetry/exporter_json.h"
#include "src/telemetry/exporter_outcome.h"

typedef struct otlp_exporter {
    sl_http_transport *transport;
    sl_reporter *reporter;
    bool json;
    uint64_t timeout_ms; /* 0: none */
} otlp_exporter;

static void otlp_free(void *user)
{
    otlp_exporter *x = user;
    sl_http_transport_free(x->transport);
    sl_reporter_unref(x->reporter);
    sl_free(x);
}

/* Sends the request in the exporter's form. */
static int send_request(otlp_exporter *x, sl_signal signal, sl_str request, uint64_t timeout_ms,
                        sl_http_answer *ret_answer)
{
    SL_ASSERT(x);
    if (!x->json)
        return x->transport->send(x->transport, request, timeout_ms, ret_answer);
    sl_buf json;
    sl_buf_init(&json, SL_MAX_OTLP_JSON_BYTES);
    int error = sl_otlp_to_json(sl_wire_signal(signal), request, &json);
    if (!error)
        error = x->transport->send(x->transport, sl_buf_str(&json), timeout_ms, ret_answer);
    sl_buf_done(&json);
    return error;
}

static int otlp_deliver(void *user, sl_signal signal, sl_str request, size_t items, uint64_t timeout_ms,
                        uint64_t *ret_retry_after_ms, uint64_t *ret_rejected)
{
    SL_ASSERT(ret_retry_after_ms && ret_rejected);
    (void)items;
    otlp_exporter *x = user;
    sl_http_answer answer;
    int error = send_request(x, signal, request, sl_otlp_timeout_ms(x->timeout_ms, timeout_ms), &answer);
    if (error) {
        sl_reporter_say(x->reporter, error, "otlp: %s", x->transport->error(x->transport));
        return error;
    }
    sl_otlp_http_answer judged = {answer.status, answer.content_type, answer.retry_after, answer.body,
                                  sl_now_ns() / 1000000000u};
    sl_otlp_outcome outcome;
    sl_otlp_outcome_http(&judged, &outcome);
    return sl_otlp_outcome_settle(&outcome, x->reporter, ret_retry_after_ms, ret_rejected);
}

static int make_http(const sl_exporter_spec *spec, sl_exporter *ret_exporter, char *why, size_t size)
{
    SL_ASSERT(spec->protocol != SL_OTLP_GRPC);
    otlp_exporter *x = sl_calloc(1, sizeof *x);
    if (!x)
        return SL_ENOMEM;
    x->json = spec->protocol == SL_OTLP_HTTP_JSON;
    x->timeout_ms = spec->timeout_ms;
    int error = sl_http_transport_new(
        &spec->peer, x->json ? SL_STR("application/json") : SL_STR("application/x-protobuf"), &x->transport, why, size);
    if (error) {
        sl_free(x);
        return error;
    }
    x->reporter = sl_reporter_ref(spec->reporter);
    *ret_exporter = sl_exporter_of(spec, "otlp/http", x, otlp_deliver, otlp_free);
    return 0;
}

int sl_exporter_otlp_make(const sl_exporter_spec *spec, sl_exporter *ret_exporter, char *why, size_t size)
{
    SL_ASSERT(spec && ret_exporter && why);
    if (spec->protocol != SL_OTLP_GRPC)
        return make_http(spec, ret_exporter, why, size);
    const sl_export_libraries *libraries = sl_export_factory();
    if (libraries)
        return libraries->grpc(spec, ret_exporter, why, size);
    (void)snprintf(why, size, "this library is built without https, gzip and gRPC; use http:// and http/protobuf");
    return SL_ENOTSUP;
}
