/* Spans, metrics and access records of requests. */
#include "src/gateway/telemetry.h"

#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/gateway/telemetry_bind.h"
#include "src/telemetry/sdk_impl.h"

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
    sl_gw_bind_all(t);
    *ret_telemetry = t;
    return 0;
}

void sl_gw_telemetry_free(sl_gw_telemetry *telemetry)
{
    sl_free(telemetry);
}

/* ---- short ways to set attributes ---- */

#define SET_STR(span, key, value) sl_span_set((span), SL_STR(key), sl_value_str(value))
#define SET_C(span, key, value) sl_span_set((span), SL_STR(key), sl_value_cstr(value))
#define SET_INT(span, key, value) sl_span_set((span), SL_STR(key), sl_value_int(value))
#define SET_BOOL(span, key, value) sl_span_set((span), SL_STR(key), sl_value_bool(value))
#define SET_DOUBLE(span, key, value) sl_span_set((span), SL_STR(key), sl_value_double(value))

static void set_number(sl_span *span, sl_str key, const sl_openai_number *n)
{
    SL_ASSERT(n);
    if (n->present)
        sl_span_set(span, key, n->is_int ? sl_value_int(n->integer) : sl_value_double(n->real));
}

/* ---- the SERVER span ---- */

static sl_str get_header(void *user, sl_str name)
{
    const sl_http1_head *head = user;
    sl_http_field_id id = sl_http_field_lookup(name);
    if (id != SL_HTTP_OTHER)
        return sl_http1_get(head, id);
    sl_str value;
    return sl_http1_find(head, name, &value) ? value : sl_str_of(NULL, 0);
}

/* Several tracestate fields are one list. */
static sl_str get_header_joined(void *user, sl_str name)
{
    SL_ASSERT(name.ptr || !name.len);
    static _Thread_local char joined[2 * SL_MAX_TRACESTATE_BYTES];
    const sl_http1_head *head = user;
    if (!sl_str_eq(name, SL_STR("tracestate")))
        return get_header(user, name);
    size_t index = 0;
    size_t len = 0;
    unsigned count = 0;
    sl_str value;
    while (sl_http1_get_next(head, SL_HTTP_TRACESTATE, &index, &value)) {
        if (len + value.len + 1 > sizeof joined)
            break;
        if (count++)
            joined[len++] = ',';
        if (value.len)
            memcpy(joined + len, value.ptr, value.len);
        len += value.len;
    }
    return sl_str_of(joined, len);
}

static bool has_parent(const sl_sdk *sdk, const sl_http1_head *head)
{
    return sl_http1_has(head, SL_HTTP_TRACEPARENT) ||
           (sdk->propagators & (SL_PROPAGATE_B3 | SL_PROPAGATE_B3MULTI)) != 0;
}

static const sl_str span_names[SL_GW_ROUTE_COUNT] = {
    [SL_GW_ROUTE_CHAT] = {"POST /v1/chat/completions", 25}, [SL_GW_ROUTE_COMPLETION] = {"POST /v1/completions", 20},
    [SL_GW_ROUTE_EMBEDDINGS] = {"POST /v1/embeddings", 19}, [SL_GW_ROUTE_MODELS] = {"GET /v1/models", 14},
    [SL_GW_ROUTE_MODEL] = {"GET /v1/models/{model}", 22},   [SL_GW_ROUTE_OTHER] = {"", 0},
};

static sl_str server_span_name(const sl_gw_request *request, sl_http_method method)
{
    SL_ASSERT(request);
    sl_http_method usual = request->operation == SL_LLM_NONE ? SL_HTTP_GET : SL_HTTP_POST;
    if (method == usual && request->route != SL_GW_ROUTE_OTHER)
        return span_names[request->route];
    return sl_str_c(sl_gw_method_name(method));
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
    bool known = has_parent(t->sdk, head) && sl_propagation_extract(t->sdk, get_header_joined, (void *)(uintptr_t)head,
                                                                    state, sizeof state, &parent, NULL) == 0;
    sl_attr attrs[4] = {sl_attr_str("http.request.method", sl_gw_method_name(head->method_id)),
                        sl_attr_of("url.path", sl_value_str(path)), sl_attr_str("url.scheme", "http")};
    size_t count = 3;
    if (request->route != SL_GW_ROUTE_OTHER)
        attrs[count++] = sl_attr_of("http.route", sl_value_str(sl_gw_route_text(request->route)));
    sl_span_options options = {.kind = SL_SPAN_SERVER,
                               .root = !known,
                               .parent_context = known ? &parent : NULL,
                               .start_ns = sl_gw_wall_ns(request->gateway, request->start_ns),
                               .attrs = attrs,
                               .attr_count = count};
    sl_span *span = sl_span_start(t->tracer, server_span_name(request, head->method_id), &options);
    request->server_span = span;
    if (!sl_span_is_recording(span))
        return;
    uint16_t port = 0;
    sl_str peer = sl_exchange_peer(request->x, &port);
    if (peer.len) {
        SET_STR(span, "client.address", peer);
        SET_STR(span, "network.peer.address", peer);
        SET_INT(span, "network.peer.port", port);
    }
    SET_C(span, "network.protocol.version", head->minor ? "1.1" : "1.0");
    sl_str agent = sl_http1_get(head, SL_HTTP_USER_AGENT);
    if (agent.len)
        SET_STR(span, "user_agent.original", sl_str_sub(agent, 0, sl_utf8_prefix(agent, 256)));
}

void sl_gw_trace_routed(sl_gw_request *request)
{
    SL_ASSERT(request);
    sl_span *span = request->server_span;
    if (!sl_span_is_recording(span))
        return;
    const sl_openai_request *o = &request->plan->openai;
    SET_STR(span, "llm.model", request->group->name);
    SET_STR(span, "llm.provider", request->target->provider);
    SET_C(span, "gen_ai.operation.name", sl_llm_operation_name(request->operation));
    SET_STR(span, "gen_ai.request.model", request->group->name);
    if (o->user.len)
        SET_STR(span, "enduser.id", o->user);
}

/* ---- attempts ---- */

static sl_str client_span_name(const sl_gw_request *request, char *text, size_t size)
{
    SL_ASSERT(request && text);
    sl_str op = sl_str_c(sl_llm_operation_name(request->operation));
    sl_str model = request->group->name;
    SL_ASSERT(op.ptr && op.len < size);
    size_t room = size - op.len - 1;
    if (model.len > room)
        model.len = sl_utf8_prefix(model, room);
    memcpy(text, op.ptr, op.len);
    text[op.len] = ' ';
    memcpy(text + op.len + 1, model.ptr, model.len);
    return sl_str_of(text, op.len + 1 + model.len);
}

#define STOP_BYTES 64 /* of one stop sequence */

/* `stop` as a list, whichever of its two forms it has. */
static void set_stops(sl_span *span, sl_json_value stop)
{
    char text[SL_OPENAI_STOPS_MAX][STOP_BYTES];
    sl_value values[SL_OPENAI_STOPS_MAX];
    size_t count = 0;
    sl_json_value key, item = stop;
    sl_json_iter iter;
    sl_json_iter_init(&iter, stop);
    bool more = stop.type == SL_JSON_STRING || (stop.type == SL_JSON_ARRAY && sl_json_iter_next(&iter, &key, &item));
    while (more && count < SL_OPENAI_STOPS_MAX) {
        sl_str sequence;
        if (sl_json_string(item, text[count], STOP_BYTES, &sequence) == 0)
            values[count++] = sl_value_str(sequence);
        more = stop.type == SL_JSON_ARRAY && sl_json_iter_next(&iter, &key, &item);
    }
    if (count)
        sl_span_set(span, SL_STR("gen_ai.request.stop_sequences"), sl_value_array(values, count));
}

/* What the request asks for, as far as it is not text. */
static void set_request_attrs(sl_span *span, const sl_gw_request *request)
{
    SL_ASSERT(request);
    const sl_openai_request *o = &request->plan->openai;
    set_number(span, SL_STR("gen_ai.request.temperature"), &o->temperature);
    set_number(span, SL_STR("gen_ai.request.top_p"), &o->top_p);
    set_number(span, SL_STR("gen_ai.request.top_k"), &o->top_k);
    set_number(span, SL_STR("gen_ai.request.max_tokens"), &o->max_tokens);
    set_number(span, SL_STR("gen_ai.request.seed"), &o->seed);
    set_number(span, SL_STR("gen_ai.request.frequency_penalty"), &o->frequency_penalty);
    set_number(span, SL_STR("gen_ai.request.presence_penalty"), &o->presence_penalty);
    if (o->stop.type != SL_JSON_NONE)
        set_stops(span, o->stop);
    if (o->n.present && o->n.is_int && o->n.integer != 1)
        SET_INT(span, "gen_ai.request.choice.count", o->n.integer);
    if (o->stream)
        SET_BOOL(span, "gen_ai.request.stream", true);
    if (o->service_tier.len)
        SET_STR(span, "openai.request.service_tier", o->service_tier);
    if (o->response_format.len)
        SET_C(span, "gen_ai.output.type", sl_str_eq(o->response_format, SL_STR("text")) ? "text" : "json");
    if (o->encoding_format.len) {
        sl_value format = sl_value_str(o->encoding_format);
        sl_span_set(span, SL_STR("gen_ai.request.encoding_formats"), sl_value_array(&format, 1));
    }
}

void sl_gw_trace_attempt(sl_gw_request *request)
{
    sl_gw_telemetry *t = request->gateway->telemetry;
    if (!t)
        return;
    SL_ASSERT(!request->client_span);
    const sl_gw_target *target = request->target;
    char name[SL_OPENAI_MODEL_MAX + 24];
    sl_attr attrs[5] = {sl_attr_str("gen_ai.operation.name", sl_llm_operation_name(request->operation)),
                        sl_attr_of("gen_ai.provider.name", sl_value_str(target->provider)),
                        sl_attr_of("gen_ai.request.model", sl_value_str(request->group->name)),
                        sl_attr_of("server.address", sl_value_str(sl_origin_host(target->origin))),
                        sl_attr_int("server.port", sl_origin_port(target->origin))};
    sl_span_options options = {.kind = SL_SPAN_CLIENT,
                               .parent = request->server_span,
                               .start_ns = sl_gw_wall_ns(request->gateway, request->call.start_ns),
                               .attrs = attrs,
                               .attr_count = 5};
    request->client_span = sl_span_start(t->tracer, client_span_name(request, name, sizeof name), &options);
    request->attempt_open = true;
    sl_span *span = request->client_span;
    if (SL_UNLIKELY(t->capture.spans))
        sl_gw_capture_prompt(t->capture, t->logger, request, span);
    if (!sl_span_is_recording(span))
        return;
    SET_STR(span, "gen_ai.system", target->provider);
    SET_STR(span, "llm.model", request->group->name);
    SET_STR(span, "llm.provider", target->provider);
    SET_C(span, "http.request.method", "POST");
    if (target->model_json.len)
        SET_STR(span, "sightline.upstream.model", target->deployment->upstream_model);
    if (request->attempts > 1)
        SET_INT(span, "http.request.resend_count", request->attempts - 1);
    set_request_attrs(span, request);
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

/* Tokens in and out: on both spans. Where nobody told, what has been seen of a stream is counted, and marked so. */
static void set_tokens(sl_span *span, const sl_gw_request *request)
{
    SL_ASSERT(request);
    const sl_usage *u = &request->answer.usage;
    bool counted = !u->known && request->stream.frames > 0;
    int64_t out = u->known ? u->output : counted ? (int64_t)request->stream.frames : -1;
    if (u->known && u->input >= 0) {
        SET_INT(span, "gen_ai.usage.input_tokens", u->input);
        SET_INT(span, "llm.tokens.prompt", u->input);
    }
    if (out >= 0) {
        SET_INT(span, "gen_ai.usage.output_tokens", out);
        SET_INT(span, "llm.tokens.completion", out);
    }
    if (u->known || counted)
        SET_C(span, "sightline.usage.source", counted ? "counted" : "reported");
}

/* The rest of the usage, and the earlier names: on the CLIENT span. */
static void set_usage(sl_span *span, const sl_gw_request *request)
{
    SL_ASSERT(request);
    const sl_usage *u = &request->answer.usage;
    set_tokens(span, request);
    if (!u->known)
        return;
    if (u->input >= 0)
        SET_INT(span, "gen_ai.usage.prompt_tokens", u->input);
    if (u->output >= 0)
        SET_INT(span, "gen_ai.usage.completion_tokens", u->output);
    if (u->cache_read >= 0)
        SET_INT(span, "gen_ai.usage.cache_read.input_tokens", u->cache_read);
    if (u->cache_write >= 0)
        SET_INT(span, "gen_ai.usage.cache_write.input_tokens", u->cache_write);
    if (u->reasoning >= 0)
        SET_INT(span, "gen_ai.usage.reasoning.output_tokens", u->reasoning);
}

static void set_answer(sl_span *span, const sl_gw_request *request)
{
    SL_ASSERT(request);
    const sl_answer *a = &request->answer;
    if (a->id_len)
        SET_STR(span, "gen_ai.response.id", sl_answer_id(a));
    if (a->model_len)
        SET_STR(span, "gen_ai.response.model", sl_answer_model(a));
    if (a->reason_count) {
        sl_value reasons[SL_ANSWER_REASONS];
        for (unsigned i = 0; i < a->reason_count; i++)
            reasons[i] = sl_value_cstr(a->reasons[i][0] ? a->reasons[i] : "error");
        sl_span_set(span, SL_STR("gen_ai.response.finish_reasons"), sl_value_array(reasons, a->reason_count));
    }
    if (request->stream.first_ns)
        SET_DOUBLE(span, "gen_ai.response.time_to_first_chunk",
                   SECONDS(request->stream.first_ns - request->call.start_ns));
    set_usage(span, request);
}

/* What nobody told is counted by what has been seen of the stream; usage_missing says how often that was. */
static void record_counted(const sl_gw_request *request, const sl_gw_model_series *m, const sl_span_context *context)
{
    SL_ASSERT(!request->answer.usage.known);
    if (request->stream.frames == 0)
        return;
    sl_histogram_record_in(m->tokens_out, (double)request->stream.frames, context);
    sl_counter_add(m->output_total, request->stream.frames);
}

static void record_tokens(sl_gw_request *request, const sl_gw_model_series *m, const sl_span_context *context)
{
    SL_ASSERT(request);
    sl_gw_telemetry *t = request->gateway->telemetry;
    const sl_usage *u = &request->answer.usage;
    if (!u->known) {
        if (request->outcome == 0) /* else the client left, and that has been counted */
            sl_counter_add(t->usage_missing[SL_GW_GAP_NOT_REPORTED], 1);
        record_counted(request, m, context);
        return;
    }
    if (u->input >= 0) {
        sl_histogram_record_in(m->tokens_in, (double)u->input, context);
        sl_counter_add(m->input_total, (uint64_t)u->input);
    }
    if (u->output >= 0 && request->operation != SL_LLM_EMBEDDINGS) {
        sl_histogram_record_in(m->tokens_out, (double)u->output, context);
        sl_counter_add(m->output_total, (uint64_t)u->output);
    }
    if (u->cache_read > 0)
        sl_counter_add(m->cache_read_total, (uint64_t)u->cache_read);
    if (u->cache_write > 0)
        sl_counter_add(m->cache_write_total, (uint64_t)u->cache_write);
    if (u->reasoning > 0)
        sl_counter_add(m->reasoning_total, (uint64_t)u->reasoning);
}

/* The mean time between tokens of a stream: frames are counted where the number of tokens is not told. */
static void record_per_token(const sl_gw_request *request, const sl_gw_model_series *m, const sl_span_context *context)
{
    SL_ASSERT(request);
    int64_t tokens = request->answer.usage.known ? request->answer.usage.output : -1;
    if (tokens < 2)
        tokens = request->stream.frames;
    if (tokens >= 2)
        sl_histogram_record_in(
            m->per_token, SECONDS(request->stream.last_ns - request->stream.first_ns) / (double)(tokens - 1), context);
}

static void record_success(sl_gw_request *request, sl_gw_bound *bound, double seconds, const sl_span_context *context)
{
    SL_ASSERT(request);
    sl_gw_telemetry *t = request->gateway->telemetry;
    sl_gw_model_series *m = sl_gw_bind_model(t, request, bound, sl_answer_model(&request->answer));
    sl_histogram_record_in(m->duration, seconds, context);
    sl_histogram_record_in(m->inference, seconds, context);
    if (request->stream.first_ns) {
        double first = SECONDS(request->stream.first_ns - request->call.start_ns);
        sl_histogram_record_in(m->first_token, first, context);
        sl_histogram_record_in(m->first_chunk, first, context);
        record_per_token(request, m, context);
    }
    record_tokens(request, m, context);
}

static void record_attempt(sl_gw_request *request, uint64_t took_ns, const char *error_type)
{
    SL_ASSERT(request);
    sl_gw_telemetry *t = request->gateway->telemetry;
    sl_gw_bound *bound = sl_gw_bind_target(request);
    if (!bound)
        return;
    sl_span_context context;
    sl_span_get_context(request->client_span, &context);
    double seconds = SECONDS(took_ns);
    sl_gw_error_series *outcome = sl_gw_bind_outcome(t, request, bound, error_type);
    sl_counter_add(outcome->attempts, 1);
    sl_histogram_record_in(bound->latency, seconds, &context);
    if (error_type) {
        sl_histogram_record_in(outcome->duration, seconds, &context);
        sl_histogram_record_in(outcome->inference, seconds, &context);
        if (request->stream.frames > 0)
            record_tokens(request, sl_gw_bind_model(t, request, bound, sl_answer_model(&request->answer)), &context);
    } else {
        record_success(request, bound, seconds, &context);
    }
}

void sl_gw_trace_attempt_end(sl_gw_request *request, int status, const char *error_type, const char *message)
{
    SL_ASSERT(request);
    sl_gw_telemetry *t = request->gateway->telemetry;
    if (!t || !request->attempt_open)
        return;
    request->attempt_open = false;
    sl_span *span = request->client_span;
    record_attempt(request, request->upstream_end_ns - request->call.start_ns, error_type);
    uint64_t end_ns = sl_gw_wall_ns(request->gateway, request->upstream_end_ns);
    request->client_span = NULL;
    if (!sl_span_is_recording(span)) {
        sl_span_end(span);
        return;
    }
    set_answer(span, request);
    if (status) {
        SET_INT(span, "http.response.status_code", status);
        SET_INT(span, "http.status_code", status);
    }
    if (request->stream.frames)
        sl_span_add_event(span, SL_STR("gen_ai.last_token"), sl_gw_wall_ns(request->gateway, request->stream.last_ns),
                          NULL, 0);
    if (error_type) {
        SET_C(span, "error.type", error_type);
        sl_span_set_status(span, SL_STATUS_ERROR, message ? message : error_type);
    }
    sl_span_end_at(span, end_ns);
}

/* The client went away, or the server refused the rest of its request. */
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
    } else if (request->outcome == SL_ETIMEOUT && request->state == SL_GW_ALLOWED) {
        request->status = 408;
        request->error_type = "timeout";
    } else {
        request->status = 499;
        request->error_type = request->outcome == SL_ETIMEOUT ? "client_too_slow" : "client_disconnected";
        sl_counter_add(t->disconnects, 1);
    }
}

static void record_overhead(const sl_gw_telemetry *t, const sl_gw_request *request, uint64_t end_ns,
                            const sl_span_context *context)
{
    SL_ASSERT(request);
    if (!request->sent_ns || request->error_type || end_ns < request->upstream_end_ns)
        return;
    uint64_t before = request->sent_ns - request->start_ns;
    uint64_t after = end_ns - request->upstream_end_ns;
    uint64_t total = end_ns - request->start_ns;
    sl_histogram_record_in(t->overhead_request, SECONDS(before), context);
    sl_histogram_record_in(t->overhead_response, SECONDS(after), context);
    if (total >= request->waited_ns)
        sl_histogram_record_in(t->overhead_total, SECONDS(total - request->waited_ns), context);
}

static void write_access_record(sl_gw_telemetry *t, sl_gw_request *request, uint64_t took_ns,
                                const sl_span_context *context)
{
    SL_ASSERT(t);
    if (!sl_log_enabled(t->logger, SL_INFO))
        return;
    sl_attr attrs[12];
    size_t n = 0;
    const sl_usage *u = &request->answer.usage;
    attrs[n++] = sl_attr_int("http.response.status_code", request->status);
    attrs[n++] = sl_attr_double("duration_ms", (double)(took_ns / 1000) / 1e3);
    if (request->group)
        attrs[n++] = sl_attr_of("model", sl_value_str(request->group->name));
    if (request->target)
        attrs[n++] = sl_attr_of("provider", sl_value_str(request->target->provider));
    if (request->stream.on)
        attrs[n++] = sl_attr_bool("stream", true);
    if (request->attempts > 1)
        attrs[n++] = sl_attr_int("attempts", request->attempts);
    if (u->known && u->input >= 0)
        attrs[n++] = sl_attr_int("input_tokens", u->input);
    if (u->known && u->output >= 0)
        attrs[n++] = sl_attr_int("output_tokens", u->output);
    attrs[n++] = sl_attr_int("bytes_out", (int64_t)request->bytes_out);
    if (request->error_type)
        attrs[n++] = sl_attr_str("error.type", request->error_type);
    sl_log_record record = {.severity = SL_INFO,
                            .time_ns = sl_gw_wall_ns(request->gateway, request->start_ns + took_ns),
                            .body = sl_value_str(server_span_name(request, request->method)),
                            .attrs = attrs,
                            .attr_count = n,
                            .context = context};
    sl_log_emit(t->logger, &record);
}

static void end_server_span(sl_gw_request *request, uint64_t end_ns)
{
    SL_ASSERT(request);
    sl_span *span = request->server_span;
    request->server_span = NULL;
    if (!sl_span_is_recording(span)) {
        sl_span_end(span);
        return;
    }
    SET_INT(span, "http.response.status_code", request->status);
    SET_INT(span, "http.status_code", request->status);
    if (request->group)
        set_tokens(span, request);
    if (request->error_type)
        SET_C(span, "error.type", request->error_type);
    else if (request->status >= 500)
        SET_C(span, "error.type", sl_gw_status_text(request->status));
    if (request->status >= 500 || request->broken)
        sl_span_set_status(span, SL_STATUS_ERROR, request->error_type ? request->error_type : "");
    sl_span_end_at(span, sl_gw_wall_ns(request->gateway, end_ns));
}

static void record_request(sl_gw_telemetry *t, sl_gw_request *request, uint64_t end_ns)
{
    SL_ASSERT(request);
    sl_span_context context;
    sl_span_get_context(request->server_span, &context);
    uint64_t took = end_ns - request->start_ns;
    const char *error = request->error_type;
    if (!error && request->status >= 500)
        error = sl_gw_status_text(request->status);
    sl_gw_status_series *s = sl_gw_bind_status(t, request->route, request->method, request->status, error);
    sl_histogram_record_in(s->duration, SECONDS(took), &context);
    sl_counter_add(s->requests, 1);
    sl_histogram_record_in(sl_gw_bind_route(t, request->route, request->method), SECONDS(took), &context);
    if (error || request->status >= 400)
        sl_counter_add(sl_gw_bind_error(t, error ? error : sl_gw_status_text(request->status)), 1);
    record_overhead(t, request, end_ns, &context);
    write_access_record(t, request, took, &context);
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
        if (request->stream.on && !request->answer.usage.known)
            sl_counter_add(t->usage_missing[SL_GW_GAP_CLIENT_GONE], 1);
        sl_gw_trace_attempt_end(request, request->upstream_status,
                                request->error_type ? request->error_type : "cancelled", "the client went away");
    }
    record_request(t, request, end_ns);
    end_server_span(request, end_ns);
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
