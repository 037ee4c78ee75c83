/* Binding of metric series. */
#include "src/gateway/telemetry_bind.h"

#include "src/base/assert.h"
#include "src/base/mem.h"

#define ATTRS_MAX 8

typedef struct labels {
    sl_attr attrs[ATTRS_MAX];
    size_t count;
} labels;

static void put(labels *l, const char *key, sl_value value)
{
    SL_ASSERT(l->count < ATTRS_MAX);
    l->attrs[l->count++] = sl_attr_of(key, value);
}

static sl_series *series_of(sl_gw_telemetry *t, sl_metric_id id, const labels *l)
{
    SL_ASSERT(t && l);
    return sl_instrument_bind(t->metrics[id], l->attrs, l->count);
}

static sl_series *bind_one(sl_gw_telemetry *t, sl_metric_id id, const char *key, const char *value)
{
    labels l = {.count = 0};
    if (key)
        put(&l, key, sl_value_cstr(value));
    return series_of(t, id, &l);
}

const char *sl_gw_method_name(sl_http_method method)
{
    static const char *const names[SL_GW_METHODS] = {"_OTHER", "GET",     "HEAD",  "POST", "PUT",
                                                     "DELETE", "OPTIONS", "PATCH", "TRACE"};
    return (unsigned)method < SL_GW_METHODS ? names[method] : names[0];
}

void sl_gw_bind_all(sl_gw_telemetry *t)
{
    SL_ASSERT(t);
    static const char *const gaps[SL_GW_GAP_COUNT] = {"not_reported", "client_disconnected", "upstream_broke_off"};
    static const sl_metric_id wanted[] = {
        SL_METRIC_GEN_AI_CLIENT_OPERATION_DURATION,
        SL_METRIC_GEN_AI_CLIENT_TOKEN_USAGE,
        SL_METRIC_GEN_AI_SERVER_TIME_TO_FIRST_TOKEN,
        SL_METRIC_GEN_AI_SERVER_TIME_PER_OUTPUT_TOKEN,
        SL_METRIC_GEN_AI_CLIENT_INFERENCE_DURATION,
        SL_METRIC_GEN_AI_CLIENT_INFERENCE_TIME_TO_FIRST_CHUNK,
        SL_METRIC_GEN_AI_CLIENT_INFERENCE_TIME_PER_OUTPUT_CHUNK,
        SL_METRIC_GEN_AI_CLIENT_INFERENCE_INPUT_TOKENS,
        SL_METRIC_GEN_AI_CLIENT_INFERENCE_OUTPUT_TOKENS,
        SL_METRIC_GEN_AI_CLIENT_INFERENCE_CACHE_READ_TOKENS,
        SL_METRIC_GEN_AI_CLIENT_INFERENCE_CACHE_WRITE_TOKENS,
        SL_METRIC_GEN_AI_CLIENT_INFERENCE_REASONING_TOKENS,
        SL_METRIC_HTTP_SERVER_REQUEST_DURATION,
        SL_METRIC_LLAMASTACK_REQUESTS,
        SL_METRIC_LLAMASTACK_REQUEST_DURATION,
        SL_METRIC_LLAMASTACK_ACTIVE_CONNECTIONS,
        SL_METRIC_LLAMASTACK_INFERENCE_LATENCY,
        SL_METRIC_GATEWAY_OVERHEAD,
        SL_METRIC_GATEWAY_REQUESTS_IN_FLIGHT,
        SL_METRIC_GATEWAY_ERRORS,
        SL_METRIC_GATEWAY_UPSTREAM_ATTEMPTS,
        SL_METRIC_GATEWAY_USAGE_MISSING,
        SL_METRIC_GATEWAY_CLIENT_DISCONNECTS,
    };
    sl_meter *meter = sl_meter_named(t->sdk, "sightline.gateway");
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        t->metrics[wanted[i]] = sl_metric_declare_in(meter, wanted[i], t->vocabularies);
    t->in_flight = bind_one(t, SL_METRIC_GATEWAY_REQUESTS_IN_FLIGHT, NULL, NULL);
    t->connections = bind_one(t, SL_METRIC_LLAMASTACK_ACTIVE_CONNECTIONS, NULL, NULL);
    t->disconnects = bind_one(t, SL_METRIC_GATEWAY_CLIENT_DISCONNECTS, NULL, NULL);
    t->overhead_request = bind_one(t, SL_METRIC_GATEWAY_OVERHEAD, "phase", "request");
    t->overhead_response = bind_one(t, SL_METRIC_GATEWAY_OVERHEAD, "phase", "response");
    t->overhead_total = bind_one(t, SL_METRIC_GATEWAY_OVERHEAD, "phase", "total");
    for (int i = 0; i < SL_GW_GAP_COUNT; i++)
        t->usage_missing[i] = bind_one(t, SL_METRIC_GATEWAY_USAGE_MISSING, "reason", gaps[i]);
}

void sl_gw_unbind_all(sl_gw_telemetry *t)
{
    SL_ASSERT(t);
    for (int route = 0; route < SL_GW_ROUTE_COUNT; route++) {
        sl_gw_route_series *r = &t->routes[route];
        sl_span_block_free(r->start);
        for (unsigned i = 0; i < r->count; i++)
            sl_span_block_free(r->statuses[i].end);
    }
}

/* ---- finished requests ---- */

static const char *endpoint_of(sl_gw_route route)
{
    return route == SL_GW_ROUTE_OTHER ? "other" : sl_gw_route_text(route).ptr;
}

static void bind_status(sl_gw_telemetry *t, sl_gw_route route, sl_gw_status_series *s)
{
    SL_ASSERT(s);
    labels l = {.count = 0};
    const char *method = sl_gw_method_name(s->method);
    put(&l, "http.request.method", sl_value_cstr(method));
    put(&l, "url.scheme", sl_value_cstr("http"));
    put(&l, "network.protocol.version", sl_value_cstr("1.1"));
    put(&l, "http.response.status_code", sl_value_int(s->status));
    if (route != SL_GW_ROUTE_OTHER)
        put(&l, "http.route", sl_value_str(sl_gw_route_text(route)));
    if (s->error_type)
        put(&l, "error.type", sl_value_cstr(s->error_type));
    s->duration = series_of(t, SL_METRIC_HTTP_SERVER_REQUEST_DURATION, &l);
    labels r = {.count = 0};
    put(&r, "method", sl_value_cstr(method));
    put(&r, "endpoint", sl_value_cstr(endpoint_of(route)));
    put(&r, "status", sl_value_cstr(sl_gw_status_text(s->status)));
    s->requests = series_of(t, SL_METRIC_LLAMASTACK_REQUESTS, &r);
}

sl_gw_status_series *sl_gw_bind_status(sl_gw_telemetry *t, sl_gw_route route, sl_http_method method, int status,
                                       const char *error_type)
{
    SL_ASSERT(t);
    sl_gw_route_series *r = &t->routes[route];
    for (unsigned i = 0; i < r->count; i++) {
        sl_gw_status_series *s = &r->statuses[i];
        if (s->status == status && s->method == method && s->error_type == error_type)
            return s;
    }
    /* When the table is full the last place serves in turn: binding again costs time, not truth. */
    sl_gw_status_series *s = &r->statuses[r->count < SL_GW_BOUND_STATUSES ? r->count++ : SL_GW_BOUND_STATUSES - 1];
    sl_span_block_free(s->end);
    *s = (sl_gw_status_series){.status = status, .method = method, .error_type = error_type};
    bind_status(t, route, s);
    s->end = sl_gw_status_block(status, error_type);
    return s;
}

sl_series *sl_gw_bind_route(sl_gw_telemetry *t, sl_gw_route route, sl_http_method method)
{
    SL_ASSERT(t);
    sl_gw_route_series *r = &t->routes[route];
    unsigned m = (unsigned)method < SL_GW_METHODS ? (unsigned)method : 0;
    if (!r->duration[m]) {
        labels l = {.count = 0};
        put(&l, "method", sl_value_cstr(sl_gw_method_name(method)));
        put(&l, "endpoint", sl_value_cstr(endpoint_of(route)));
        r->duration[m] = series_of(t, SL_METRIC_LLAMASTACK_REQUEST_DURATION, &l);
    }
    return r->duration[m];
}

sl_series *sl_gw_bind_error(sl_gw_telemetry *t, const char *error_type)
{
    for (unsigned i = 0; i < t->error_count; i++) {
        if (t->errors[i].type == error_type)
            return t->errors[i].series;
    }
    unsigned i = t->error_count < SL_GW_BOUND_ERRORS ? t->error_count++ : SL_GW_BOUND_ERRORS - 1;
    t->errors[i].type = error_type;
    t->errors[i].series = bind_one(t, SL_METRIC_GATEWAY_ERRORS, "error_type", error_type);
    return t->errors[i].series;
}

/* ---- calls ---- */

sl_gw_bound *sl_gw_bind_target(sl_gw_request *request)
{
    SL_ASSERT(request);
    sl_gw_bound **bound = &request->target->bound[request->operation];
    if (*bound)
        return *bound;
    *bound = sl_calloc(1, sizeof **bound);
    if (!*bound)
        return NULL;
    sl_gw_telemetry *t = request->gateway->telemetry;
    labels l = {.count = 0};
    put(&l, "model", sl_value_str(request->group->name));
    (*bound)->latency = series_of(t, SL_METRIC_LLAMASTACK_INFERENCE_LATENCY, &l);
    sl_gw_bound_fill(*bound, request);
    return *bound;
}

/* The labels that all GenAI metrics of a call share. */
static labels call_labels(const sl_gw_request *request)
{
    SL_ASSERT(request);
    const sl_gw_target *target = request->target;
    labels l = {.count = 0};
    put(&l, "gen_ai.operation.name", sl_value_cstr(sl_llm_operation_name(request->operation)));
    put(&l, "gen_ai.provider.name", sl_value_str(target->provider));
    put(&l, "gen_ai.request.model", sl_value_str(request->group->name));
    put(&l, "server.address", sl_value_str(sl_origin_host(target->origin)));
    put(&l, "server.port", sl_value_int(sl_origin_port(target->origin)));
    return l;
}

static sl_series *bind_with(sl_gw_telemetry *t, sl_metric_id id, labels l, const char *key, const char *value)
{
    if (key)
        put(&l, key, sl_value_cstr(value));
    return series_of(t, id, &l);
}

/* Those of streams, when the first one comes. */
static void bind_stream(sl_gw_telemetry *t, const sl_gw_request *request, sl_gw_model_series *m)
{
    SL_ASSERT(m);
    labels l = call_labels(request);
    if (m->len)
        put(&l, "gen_ai.response.model", sl_value_str(sl_str_of(m->model, m->len)));
    m->stream_bound = true;
    m->first_token = series_of(t, SL_METRIC_GEN_AI_SERVER_TIME_TO_FIRST_TOKEN, &l);
    m->per_token = series_of(t, SL_METRIC_GEN_AI_SERVER_TIME_PER_OUTPUT_TOKEN, &l);
    m->first_chunk = series_of(t, SL_METRIC_GEN_AI_CLIENT_INFERENCE_TIME_TO_FIRST_CHUNK, &l);
    m->per_chunk = series_of(t, SL_METRIC_GEN_AI_CLIENT_INFERENCE_TIME_PER_OUTPUT_CHUNK, &l);
}

static void bind_model(sl_gw_telemetry *t, const sl_gw_request *request, sl_gw_model_series *m)
{
    SL_ASSERT(request && m);
    static const char type[] = "gen_ai.token.type";
    static const char modality[] = "gen_ai.token.modality";
    bool inference = request->operation != SL_LLM_EMBEDDINGS;
    labels l = call_labels(request);
    if (m->len)
        put(&l, "gen_ai.response.model", sl_value_str(sl_str_of(m->model, m->len)));
    if (!inference || sl_vocab_is_on(t->vocabularies, SL_VOCAB_GEN_AI_G2))
        m->duration = series_of(t, SL_METRIC_GEN_AI_CLIENT_OPERATION_DURATION, &l);
    m->tokens_in = bind_with(t, SL_METRIC_GEN_AI_CLIENT_TOKEN_USAGE, l, type, "input");
    m->tokens_out = bind_with(t, SL_METRIC_GEN_AI_CLIENT_TOKEN_USAGE, l, type, "output");
    if (!inference)
        return;
    m->inference = series_of(t, SL_METRIC_GEN_AI_CLIENT_INFERENCE_DURATION, &l);
    m->input_total = bind_with(t, SL_METRIC_GEN_AI_CLIENT_INFERENCE_INPUT_TOKENS, l, modality, "text");
    m->output_total = bind_with(t, SL_METRIC_GEN_AI_CLIENT_INFERENCE_OUTPUT_TOKENS, l, modality, "text");
    m->cache_read_total = bind_with(t, SL_METRIC_GEN_AI_CLIENT_INFERENCE_CACHE_READ_TOKENS, l, modality, "text");
    m->cache_write_total = bind_with(t, SL_METRIC_GEN_AI_CLIENT_INFERENCE_CACHE_WRITE_TOKENS, l, modality, "text");
    m->reasoning_total = bind_with(t, SL_METRIC_GEN_AI_CLIENT_INFERENCE_REASONING_TOKENS, l, modality, "text");
}

static sl_gw_model_series *find_model(sl_gw_telemetry *t, const sl_gw_request *request, sl_gw_bound *bound,
                                      sl_str model)
{
    SL_ASSERT(model.ptr || !model.len);
    for (unsigned i = 0; i < bound->model_count; i++) {
        sl_gw_model_series *m = &bound->models[i];
        if (sl_str_eq(sl_str_of(m->model, m->len), model))
            return m;
    }
    if (bound->model_count == SL_GW_BOUND_MODELS)
        return &bound->models[SL_GW_BOUND_MODELS - 1]; /* the place of all others: no model is named there */
    sl_gw_model_series *m = &bound->models[bound->model_count++];
    if (bound->model_count < SL_GW_BOUND_MODELS) {
        m->len = (uint8_t)model.len;
        if (model.len)
            memcpy(m->model, model.ptr, model.len);
    }
    bind_model(t, request, m);
    return m;
}

sl_gw_model_series *sl_gw_bind_model(sl_gw_telemetry *t, const sl_gw_request *request, sl_gw_bound *bound, sl_str model)
{
    SL_ASSERT(model.len <= SL_ANSWER_MODEL_MAX);
    sl_gw_model_series *m = find_model(t, request, bound, model);
    if (SL_UNLIKELY(request->stream.on && !m->stream_bound))
        bind_stream(t, request, m);
    return m;
}

sl_gw_error_series *sl_gw_bind_outcome(sl_gw_telemetry *t, const sl_gw_request *request, sl_gw_bound *bound,
                                       const char *error_type)
{
    for (unsigned i = 0; i < bound->error_count; i++) {
        if (bound->errors[i].error_type == error_type)
            return &bound->errors[i];
    }
    unsigned i = bound->error_count < SL_GW_BOUND_ERRORS ? bound->error_count++ : SL_GW_BOUND_ERRORS - 1;
    sl_gw_error_series *e = &bound->errors[i];
    *e = (sl_gw_error_series){error_type, NULL, NULL, NULL};
    labels a = {.count = 0};
    put(&a, "model", sl_value_str(request->group->name));
    put(&a, "provider", sl_value_str(request->target->provider));
    put(&a, "outcome", sl_value_cstr(error_type ? error_type : "ok"));
    e->attempts = series_of(t, SL_METRIC_GATEWAY_UPSTREAM_ATTEMPTS, &a);
    if (!error_type)
        return e;
    labels l = call_labels(request);
    bool inference = request->operation != SL_LLM_EMBEDDINGS;
    if (!inference || sl_vocab_is_on(t->vocabularies, SL_VOCAB_GEN_AI_G2))
        e->duration = bind_with(t, SL_METRIC_GEN_AI_CLIENT_OPERATION_DURATION, l, "error.type", error_type);
    if (inference)
        e->inference = bind_with(t, SL_METRIC_GEN_AI_CLIENT_INFERENCE_DURATION, l, "error.type", error_type);
    return e;
}
