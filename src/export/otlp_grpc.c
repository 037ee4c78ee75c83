/* OTLP over gRPC. Source: opentelemetry-proto, docs/specification.md, "OTLP/gRPC". */
#include "src/export/otlp_grpc.h"

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/base/sync.h"
#include "src/export/grpc_client.h"
#include "src/telemetry/exporter_outcome.h"

typedef struct grpc_exporter {
    sl_grpc_client *client;
    sl_reporter *reporter;
    uint64_t timeout_ms; /* 0: none */
} grpc_exporter;

static const char *const methods[SL_SIGNAL_COUNT] = {
    "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
};

static void grpc_free(void *user)
{
    grpc_exporter *x = user;
    sl_grpc_client_free(x->client);
    sl_reporter_unref(x->reporter);
    sl_free(x);
}

static bool is_final(int error)
{
    return error == SL_EPROTO || error == SL_ETOOBIG || error == SL_ENOMEM || error == SL_ELIMIT;
}

static int grpc_deliver(void *user, sl_signal signal, sl_str request, size_t items, uint64_t timeout_ms,
                        uint64_t *ret_retry_after_ms, uint64_t *ret_rejected)
{
    SL_ASSERT(ret_retry_after_ms && ret_rejected);
    (void)items;
    grpc_exporter *x = user;
    SL_ASSERT(signal < SL_SIGNAL_COUNT);
    sl_grpc_result result;
    uint64_t deadline = sl_deadline_ns(sl_otlp_timeout_ms(x->timeout_ms, timeout_ms));
    int error = sl_grpc_call(x->client, methods[signal], request, deadline, &result);
    if (error) {
        sl_reporter_say(x->reporter, error, "otlp: %s", sl_grpc_error(x->client));
        return is_final(error) ? error : SL_ERETRY;
    }
    sl_otlp_grpc_answer judged = {result.status, result.message, result.details, result.body};
    sl_otlp_outcome outcome;
    sl_otlp_outcome_grpc(&judged, &outcome);
    return sl_otlp_outcome_settle(&outcome, x->reporter, ret_retry_after_ms, ret_rejected);
}

static int make_client(const sl_exporter_spec *spec, sl_grpc_client **ret_client, char *why, size_t size)
{
    SL_ASSERT(spec);
    sl_grpc_metadata metadata[SL_MAX_EXPORTER_HEADERS];
    const sl_http_peer *peer = &spec->peer;
    sl_grpc_options o;
    memset(&o, 0, sizeof o);
    for (size_t i = 0; i < peer->header_count && i < SL_MAX_EXPORTER_HEADERS; i++) {
        metadata[i].name = peer->headers[i].name;
        metadata[i].value = peer->headers[i].value;
        o.metadata_count = i + 1;
    }
    o.endpoint = peer->url;
    o.user_agent = sl_str_c(sl_exporter_user_agent());
    o.metadata = metadata;
    o.gzip = peer->gzip;
    o.ca_file = peer->ca_file.ptr;
    o.key_file = peer->client_key_file.ptr;
    o.certificate_file = peer->client_certificate_file.ptr;
    return sl_grpc_client_new(&o, ret_client, why, size);
}

int sl_exporter_grpc(const sl_exporter_spec *spec, sl_exporter *ret_exporter, char *why, size_t size)
{
    SL_ASSERT(spec && ret_exporter && spec->protocol == SL_OTLP_GRPC);
    grpc_exporter *x = sl_calloc(1, sizeof *x);
    if (!x)
        return SL_ENOMEM;
    x->timeout_ms = spec->timeout_ms;
    int error = make_client(spec, &x->client, why, size);
    if (error) {
        sl_free(x);
        return error;
    }
    x->reporter = sl_reporter_ref(spec->reporter);
    *ret_exporter = sl_exporter_of(spec, "otlp/grpc", x, grpc_deliver, grpc_free);
    return 0;
}
