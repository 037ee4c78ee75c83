/* What happens when: the spans of a request, and the moments at which metrics and access records are due. */
#include "src/gateway/telemetry.h"

#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/gateway/telemetry_parts.h"
#include "src/telemetry/sampler.h"

#define SECONDS(ns) ((double)(ns) / 1e9)

/* ---- setting up ---- */

int sl_gw_telemetry_new(sl_sdk *sdk, sl_gw_telemetry **ret_telemetry)
{
    SL_ASSERT(sdk && ret_telemetry);
    sl_gw_telemetry *t = sl_calloc(1, sizeof *t);
    if (!t)
        return SL_ENOMEM;
    t->sdk = sdk;
    sl_scope_options scope = {.name = SL_STR("sightline.gateway"), .version = sl_str_c(sl_version())};
    t->tracer = sl_tracer_get(sdk, &scope);
    t->logger = sl_logger_get(sdk, &scope);
    t->vocabularies = sl_vocab_mask_env();
    t->baggage = (sdk->propagators & SL_PROPAGATE_BAGGAGE) != 0;
    t->capture = sl_gw_capture_from_env();
    t->sampler_looks = sdk->sampler && sdk->sampler->kind == SL_SAMPLER_CALLBACK;
    sl_gw_bind_all(t);
    *ret_telemetry = t;
    return 0;
}

void sl_gw_telemetry_free(sl_gw_telemetry *telemetry)
{
    if (!telemetry)
        return;
    sl_gw_unbind_all(telemetry);
    sl_free(telemetry);
}

/* ---- the SERVER span ---- */

static sl_str get_header(void *user, sl_str name)
{
    SL_ASSERT(name.ptr || !name.len);
    static _Thread_local char joined[2 * SL_MAX_TRACESTATE_BYTES];
    const sl_http1_head *head = user;
    sl_http_field_id id = sl_http_field_lookup(name);
    if (id != SL_HTTP_OTHER)
        return sl_http1_get_list(head, id, joined, sizeof joined);
    sl_str value;
    return sl_http1_find(head, name, &value) ? value : sl_str_of(NULL, 0);
}

static bool has_parent(const sl_sdk *sdk, const sl_http1_head *head)
{
    return sl_http1_has(head, SL_HTTP_TRACEPARENT) ||
           (sdk->propagators & (SL_PROPAGATE_B3 | SL_PROPAGATE_B3MULTI | SL_PROPAGATE_JAEGER)) != 0;
}

void sl_gw_trace_start(sl_gw_request *request, const sl_http1_head *head, sl_str path)
{
    SL_ASSERT(request);
    sl_gw_telemetry *t = request->gateway->telemetry;
    if (!t)
        return;
    request->method = head->method_id;
    sl_updown_add(t->in_flight, 1);
    if (head->method_id == SL_HTTP_GET && request->route == SL_GW_ROUTE_OTHER && sl_gw_is_probe(path)) {
        request->probe = true;
        return;
    }
    sl_span_context parent;
    char state[SL_MAX_TRACESTATE_BYTES];
    bool known = has_parent(t->sdk, head) && sl_propagation_extract(t->sdk, get_header, (void *)(uintptr_t)head, state,
                                                                    sizeof state, &parent, NULL) == 0;
    sl_attr attrs[SL_GW_START_ATTRS];
    sl_span_options options = {.kind = SL_SPAN_SERVER,
                               .root = !known,
                               .parent_context = known ? &parent : NULL,
                               .start_ns = sl_gw_wall_ns(request->gateway, request->start_ns),
                               .attrs = attrs};
    if (SL_UNLIKELY(t->sampler_looks))
        options.attr_count = sl_gw_server_attrs(request, head, path, attrs);
    sl_span *span = sl_span_start(t->tracer, sl_gw_server_span_name(request, head->method_id), &options);
    request->server_span = span;
    if (sl_span_is_recording(span))
        sl_gw_server_span_start(span, request, head, path);
}

void sl_gw_trace_routed(sl_gw_request *request)
{
    SL_ASSERT(request);
    if (sl_span_is_recording(request->server_span))
        sl_gw_server_span_routed(request->server_span, request, sl_gw_bind_target(request));
}

/* ---- attempts ---- */

void sl_gw_trace_attempt(sl_gw_request *request)
{
    sl_gw_telemetry *t = request->gateway->telemetry;
    if (!t)
        return;
    SL_ASSERT(!request->client_span);
    const sl_gw_bound *bound = sl_gw_bind_target(request);
    sl_attr attrs[SL_SPAN_BLOCK_ATTRS];
    sl_span_options options = {.kind = SL_SPAN_CLIENT,
                               .parent = request->server_span,
                               .start_ns = sl_gw_wall_ns(request->gateway, request->call.start_ns),
                               .attrs = attrs};
    if (SL_UNLIKELY(t->sampler_looks))
        options.attr_count = sl_gw_attempt_attrs(request, attrs);
    sl_str name = bound ? sl_str_c(bound->span_name) : sl_str_c(sl_llm_operation_name(request->operation));
    sl_span *span = sl_span_start(t->tracer, name, &options);
    request->client_span = span;
    request->attempt_open = true;
    if (SL_UNLIKELY(t->capture.spans))
        sl_gw_capture_prompt(t->capture, t->logger, request, span);
    if (sl_span_is_recording(span))
        sl_gw_client_span_start(span, request, bound);
}

static void put_trace_field(void *user, sl_str name, sl_str value)
{
    sl_gw_request *request = user;
    sl_buf *head = &request->plan->head;
    if (!request->target->deployment->propagate_tracestate && sl_str_eq(name, SL_STR("tracestate")))
        return;
    (void)sl_buf_put_str(head, name);
    (void)sl_buf_put_str(head, SL_STR(": "));
    (void)sl_buf_put_str(head, value);
    (void)sl_buf_put_str(head, SL_STR("\r\n"));
}

void sl_gw_trace_inject(sl_gw_request *request, sl_buf *head)
{
    sl_gw_telemetry *t = request->gateway->telemetry;
    if (!t)
        return;
    SL_ASSERT(head == &request->plan->head);
    (void)head;
    if (request->client_span)
        sl_propagation_inject(t->sdk, request->client_span, NULL, put_trace_field, request);
}

bool sl_gw_trace_baggage(const sl_gateway *gateway)
{
    SL_ASSERT(gateway);
    return !gateway->telemetry || gateway->telemetry->baggage;
}

void sl_gw_trace_first(sl_gw_request *request, uint64_t mono_ns)
{
    SL_ASSERT(request);
    if (sl_span_is_recording(request->client_span))
        sl_span_add_event(request->client_span, SL_STR("gen_ai.first_token"), sl_gw_wall_ns(request->gateway, mono_ns),
                          NULL, 0);
}

void sl_gw_trace_frame(sl_gw_request *request, uint64_t gap_ns)
{
    SL_ASSERT(request);
    sl_gw_telemetry *t = request->gateway->telemetry;
    if (!t)
        return;
    sl_gw_bound *bound = sl_gw_bind_target(request);
    if (!bound)
        return;
    if (SL_UNLIKELY(request->stream.frames == 2))
        request->frame_model = sl_gw_bind_model(t, request, bound, sl_answer_model(&request->answer));
    const sl_gw_model_series *m = request->frame_model;
    if (!m)
        return;
    sl_histogram_record_in(m->per_chunk, SECONDS(gap_ns), NULL);
}

/* ---- ends ---- */

void sl_gw_trace_attempt_end(sl_gw_request *request, int status, const char *error_type, const char *message)
{
    SL_ASSERT(request);
    sl_gw_telemetry *t = request->gateway->telemetry;
    if (!t || !request->attempt_open)
        return;
    request->attempt_open = false;
    sl_span *span = request->client_span;
    sl_gw_model_series *model =
        sl_gw_record_attempt(request, request->upstream_end_ns - request->call.start_ns, error_type);
    request->client_span = NULL;
    if (!sl_span_is_recording(span)) {
        sl_span_end(span);
        return;
    }
    sl_gw_client_span_end(span, request, model, status);
    if (error_type) {
        sl_span_set(span, SL_STR("error.type"), sl_value_cstr(error_type));
        sl_span_set_status(span, SL_STATUS_ERROR, message ? message : error_type);
    }
    sl_span_end_at(span, sl_gw_wall_ns(request->gateway, request->upstream_end_ns));
}

/* ---- ends ---- */

/* The client went away, or the server refused the rest of its request, or ends with the request unanswered. */
static void settle_outcome(sl_gw_request *request)
{
    SL_ASSERT(request);
    sl_gw_telemetry *t = request->gateway->telemetry;
    if (request->outcome == 0 || request->broken)
        return;
    if (request->outcome == SL_ETOOBIG) {
        request->status = 413;
        request->error_type = "request_too_large";
    } else if (request->outcome == SL_EPROTO) {
        request->status = 400;
        request->error_type = "bad_request";
    } else if (request->outcome == SL_ENOMEM) {
        request->status = 503;
        request->error_type = "out_of_memory";
    } else if (request->outcome == SL_ETIMEOUT && request->state == SL_GW_ALLOWED) {
        request->status = 408;
        request->error_type = "timeout";
    } else if (request->gateway->closing) { /* it is not the client that went */
        request->status = 503;
        request->error_type = "server_shutdown";
    } else {
        request->status = 499;
        request->error_type = request->outcome == SL_ETIMEOUT ? "client_too_slow" : "client_disconnected";
        sl_counter_add(t->disconnects, 1);
    }
}

void sl_gw_trace_end(sl_gw_request *request)
{
    SL_ASSERT(request);
    sl_gw_telemetry *t = request->gateway->telemetry;
    if (!t)
        return;
    sl_updown_add(t->in_flight, -1);
    if (request->probe)
        return;
    uint64_t end_ns = sl_mono_ns();
    settle_outcome(request);
    if (request->attempt_open) {
        request->upstream_end_ns = end_ns;
        sl_gw_trace_attempt_end(request, request->upstream_status,
                                request->error_type ? request->error_type : "cancelled", "the client went away");
    }
    const sl_gw_status_series *status = sl_gw_record_request(request, end_ns);
    sl_span *span = request->server_span;
    request->server_span = NULL;
    if (sl_span_is_recording(span))
        sl_gw_server_span_end(span, request, status);
    sl_span_end_at(span, sl_gw_wall_ns(request->gateway, end_ns));
}

void sl_gw_trace_refused(sl_gateway *gateway, int status)
{
    SL_ASSERT(gateway);
    sl_gw_telemetry *t = gateway->telemetry;
    if (!t)
        return;
    sl_gw_status_series *s =
        sl_gw_bind_status(t, SL_GW_ROUTE_OTHER, SL_HTTP_METHOD_NONE, status, sl_gw_status_text(status));
    sl_counter_add(s->requests, 1);
    sl_counter_add(sl_gw_bind_error(t, sl_gw_status_text(status)), 1);
}

void sl_gw_trace_connection(sl_gateway *gateway, int change)
{
    SL_ASSERT(gateway);
    if (gateway->telemetry)
        sl_updown_add(gateway->telemetry->connections, change);
}
