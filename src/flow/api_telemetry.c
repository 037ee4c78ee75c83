/* SERVER spans and http.server.request.duration of the flow plane's servers. */
#include <stdio.h>

#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/flow/api_impl.h"
#include "src/telemetry/vocab.h"

#define MAX_START_ATTRS 8

const char *sl_api_method_name(sl_http_method method)
{
    static const char *const names[] = {"_OTHER", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"};
    return (size_t)method < sizeof names / sizeof *names ? names[method] : names[0];
}

void sl_api_telemetry_init(sl_api *api)
{
    SL_ASSERT(api);
    sl_scope_options scope = {.name = sl_str_c(api->options.name), .version = sl_str_c(sl_version())};
    if (!api->options.sdk)
        return;
    api->tracer = sl_tracer_get(api->options.sdk, &scope);
    api->duration = sl_metric_declare(sl_meter_get(api->options.sdk, &scope), SL_METRIC_HTTP_SERVER_REQUEST_DURATION);
    for (size_t i = 0; i < api->options.route_count; i++) {
        const sl_api_route *r = &api->options.routes[i];
        (void)snprintf(api->series[i].span_name, sizeof api->series[i].span_name, "%s %s",
                       sl_api_method_name(r->method), r->path);
    }
}

static sl_api_series *series_of(sl_api_request *request)
{
    sl_api *api = request->api;
    return &api->series[request->route ? (size_t)(request->route - api->options.routes) : api->options.route_count];
}

static sl_str get_header(void *user, sl_str name)
{
    SL_ASSERT(name.ptr || !name.len);
    const sl_http1_head *head = user;
    static _Thread_local char joined[2 * SL_MAX_TRACESTATE_BYTES];
    sl_http_field_id id = sl_http_field_lookup(name);
    if (id != SL_HTTP_OTHER)
        return sl_http1_get_list(head, id, joined, sizeof joined);
    sl_str value;
    return sl_http1_find(head, name, &value) ? value : sl_str_of(NULL, 0);
}

void sl_api_trace_start(sl_api_request *request, const sl_http1_head *head, sl_str path)
{
    SL_ASSERT(request && head);
    sl_api *api = request->api;
    if (!api->tracer)
        return;
    sl_span_context parent;
    char state[SL_MAX_TRACESTATE_BYTES];
    bool known = sl_propagation_extract(api->options.sdk, get_header, (void *)(uintptr_t)head, state, sizeof state,
                                        &parent, NULL) == 0 &&
                 sl_span_context_is_valid(&parent);
    sl_attr attrs[MAX_START_ATTRS];
    size_t count = 0;
    attrs[count++] = sl_attr_str("http.request.method", sl_api_method_name(head->method_id));
    attrs[count++] = sl_attr_of("url.path", sl_value_str(path));
    attrs[count++] = sl_attr_str("url.scheme", "http");
    if (request->route)
        attrs[count++] = sl_attr_str("http.route", request->route->path);
    sl_str agent = sl_http1_get(head, SL_HTTP_USER_AGENT);
    if (agent.len)
        attrs[count++] = sl_attr_of("user_agent.original", sl_value_str(agent));
    uint16_t port;
    sl_str peer = sl_exchange_peer(request->x, &port);
    if (peer.len)
        attrs[count++] = sl_attr_of("client.address", sl_value_str(peer));
    SL_ASSERT(count <= MAX_START_ATTRS);
    sl_span_options options = {.kind = SL_SPAN_SERVER,
                               .root = !known,
                               .parent_context = known ? &parent : NULL,
                               .start_ns = sl_now_ns() - (sl_mono_ns() - request->start_ns),
                               .attrs = attrs,
                               .attr_count = count};
    const char *name = request->route ? series_of(request)->span_name : sl_api_method_name(head->method_id);
    request->span = sl_span_start(api->tracer, sl_str_c(name), &options);
}

static sl_series *duration_of(sl_api_request *request, int status)
{
    SL_ASSERT(request->api->duration);
    sl_api_series *s = series_of(request);
    for (unsigned i = 0; i < s->count; i++) {
        if (s->statuses[i] == status)
            return s->durations[i];
    }
    sl_attr attrs[6];
    size_t count = 0;
    char text[16];
    (void)snprintf(text, sizeof text, "%d", status);
    attrs[count++] = sl_attr_str("http.request.method", sl_api_method_name(request->method));
    attrs[count++] = sl_attr_str("url.scheme", "http");
    attrs[count++] = sl_attr_str("network.protocol.version", "1.1");
    attrs[count++] = sl_attr_int("http.response.status_code", status);
    if (request->route)
        attrs[count++] = sl_attr_str("http.route", request->route->path);
    if (status >= 500)
        attrs[count++] = sl_attr_str("error.type", text);
    sl_series *series = sl_instrument_bind(request->api->duration, attrs, count);
    if (s->count < SL_API_BOUND_STATUSES && request->route) {
        s->statuses[s->count] = status;
        s->durations[s->count++] = series;
    }
    return series;
}

void sl_api_trace_refused(void *user, int status)
{
    sl_api *api = user;
    SL_ASSERT(api && status >= 400);
    char text[16];
    (void)snprintf(text, sizeof text, "%d", status);
    const sl_attr attrs[] = {sl_attr_str("http.request.method", sl_api_method_name(SL_HTTP_METHOD_NONE)),
                             sl_attr_str("url.scheme", "http"), sl_attr_str("network.protocol.version", "1.1"),
                             sl_attr_int("http.response.status_code", status), sl_attr_str("error.type", text)};
    if (api->duration)
        sl_histogram_record(sl_instrument_bind(api->duration, attrs, status >= 500 ? 5 : 4), 0);
}

void sl_api_trace_end(sl_api_request *request, int outcome)
{
    SL_ASSERT(request);
    int status = request->status;
    if (outcome == SL_ETOOBIG)
        status = 413;
    else if (outcome == SL_EPROTO)
        status = 400;
    else if (outcome == SL_ETIMEOUT && !request->answered)
        status = 408;
    else if (outcome && !request->answered)
        status = 499; /* the client left before it was answered */
    double seconds = (double)(sl_mono_ns() - request->start_ns) / 1e9;
    sl_span_context context;
    sl_span_get_context(request->span, &context);
    if (request->api->duration)
        sl_histogram_record_in(duration_of(request, status), seconds, &context);
    if (!request->span)
        return;
    sl_span_set_int(request->span, "http.response.status_code", status);
    if (status >= 500) {
        char text[16];
        (void)snprintf(text, sizeof text, "%d", status);
        sl_span_set_str(request->span, "error.type", text);
        sl_span_set_status(request->span, SL_STATUS_ERROR, NULL);
    }
    sl_span_end(request->span);
    request->span = NULL;
}
