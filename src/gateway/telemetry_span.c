/* Names and attributes of spans. */
#include "src/base/assert.h"
#include "src/gateway/telemetry_parts.h"
#include "src/telemetry/span_impl.h"
#include "src/telemetry/span_literal.h"

#define SECONDS(ns) ((double)(ns) / 1e9)

/* ---- short ways to set attributes of a span that records ---- */

/* For keys that are literals: the compiler knows their bytes. */
#define ALWAYS_INLINE inline __attribute__((always_inline))

static ALWAYS_INLINE void put_str(sl_span *span, sl_str key, sl_str value)
{
    SL_ASSERT(sl_span_recording(span));
    span->dropped_attrs += sl_span_literal_str(&span->buf, key, value, &span->rules);
}

static ALWAYS_INLINE void put_int(sl_span *span, sl_str key, int64_t value)
{
    SL_ASSERT(sl_span_recording(span));
    span->dropped_attrs += sl_span_literal_int(&span->buf, key, value, &span->rules);
}

#define SET_STR(span, key, value) put_str((span), SL_STR(key), (value))
#define SET_C(span, key, value) put_str((span), SL_STR(key), sl_str_c(value))
#define SET_INT(span, key, value) put_int((span), SL_STR(key), (value))
#define SET_BOOL(span, key, value) sl_span_set((span), SL_STR(key), sl_value_bool(value))
#define SET_DOUBLE(span, key, value) sl_span_set((span), SL_STR(key), sl_value_double(value))

static void set_number(sl_span *span, sl_str key, const sl_openai_number *n)
{
    SL_ASSERT(n);
    if (n->present)
        sl_span_set(span, key, n->is_int ? sl_value_int(n->integer) : sl_value_double(n->real));
}

/* ---- the SERVER span ---- */

static const sl_str span_names[SL_GW_ROUTE_COUNT] = {
    [SL_GW_ROUTE_CHAT] = {"POST /v1/chat/completions", 25}, [SL_GW_ROUTE_COMPLETION] = {"POST /v1/completions", 20},
    [SL_GW_ROUTE_EMBEDDINGS] = {"POST /v1/embeddings", 19}, [SL_GW_ROUTE_MODELS] = {"GET /v1/models", 14},
    [SL_GW_ROUTE_MODEL] = {"GET /v1/models/{model}", 22},   [SL_GW_ROUTE_OTHER] = {"", 0},
};

sl_str sl_gw_server_span_name(const sl_gw_request *request, sl_http_method method)
{
    SL_ASSERT(request);
    sl_http_method usual = request->operation == SL_LLM_NONE ? SL_HTTP_GET : SL_HTTP_POST;
    if (method == usual && request->route != SL_GW_ROUTE_OTHER)
        return span_names[request->route];
    return sl_str_c(sl_gw_method_name(method));
}

/* What a request is known by when its head is in: `attrs` (SL_GW_START_ATTRS) for samplers and for the span. */
size_t sl_gw_server_attrs(const sl_gw_request *request, const sl_http1_head *head, sl_str path, sl_attr *attrs)
{
    SL_ASSERT(request && head && attrs);
    size_t n = 0;
    attrs[n++] = sl_attr_str("http.request.method", sl_gw_method_name(head->method_id));
    attrs[n++] = sl_attr_of("url.path", sl_value_str(path));
    attrs[n++] = sl_attr_str("url.scheme", "http");
    if (request->route != SL_GW_ROUTE_OTHER)
        attrs[n++] = sl_attr_of("http.route", sl_value_str(sl_gw_route_text(request->route)));
    attrs[n++] = sl_attr_str("network.protocol.version", head->minor ? "1.1" : "1.0");
    SL_ASSERT(n <= SL_GW_START_ATTRS);
    return n;
}

/* True for the head that nearly all requests of a route have: its attributes are always the same. */
static bool is_usual(const sl_gw_request *request, const sl_http1_head *head, sl_str path)
{
    sl_http_method usual = request->operation == SL_LLM_NONE ? SL_HTTP_GET : SL_HTTP_POST;
    return request->route < SL_GW_ROUTE_MODEL && head->method_id == usual && head->minor == 1 &&
           sl_str_eq(path, sl_gw_route_text(request->route));
}

static void set_start(sl_span *span, const sl_gw_request *request, const sl_http1_head *head, sl_str path)
{
    SL_ASSERT(request);
    bool usual = is_usual(request, head, path);
    sl_gw_route_series *r = &request->gateway->telemetry->routes[request->route];
    if (SL_LIKELY(usual && r->start)) {
        sl_span_set_block(span, r->start);
        return;
    }
    sl_attr attrs[SL_GW_START_ATTRS];
    size_t count = sl_gw_server_attrs(request, head, path, attrs);
    for (size_t i = 0; i < count; i++)
        sl_span_set(span, attrs[i].key, attrs[i].value);
    if (usual)
        r->start = sl_span_block_new(attrs, count);
}

void sl_gw_server_span_start(sl_span *span, const sl_gw_request *request, const sl_http1_head *head, sl_str path)
{
    SL_ASSERT(request && head);
    set_start(span, request, head, path);
    uint16_t port = 0;
    sl_str peer = sl_exchange_peer(request->x, &port);
    if (peer.len) {
        SET_STR(span, "client.address", peer);
        SET_STR(span, "network.peer.address", peer);
        SET_INT(span, "network.peer.port", port);
    }
    sl_str agent = sl_http1_get(head, SL_HTTP_USER_AGENT);
    if (agent.len)
        SET_STR(span, "user_agent.original", sl_str_sub(agent, 0, sl_utf8_prefix(agent, 256)));
}

void sl_gw_server_span_routed(sl_span *span, const sl_gw_request *request, const sl_gw_bound *bound)
{
    SL_ASSERT(request && request->plan);
    if (bound)
        sl_span_set_block(span, bound->routed);
    if (request->plan->openai.user.len)
        SET_STR(span, "enduser.id", request->plan->openai.user);
}

void sl_gw_server_span_end(sl_span *span, const sl_gw_request *request, const sl_gw_status_series *status)
{
    SL_ASSERT(request);
    sl_span_set_block(span, status->end);
    const char *error = status->error_type;
    if (request->status >= 500 || request->broken)
        sl_span_set_status(span, SL_STATUS_ERROR, error ? error : "");
}

/* ---- the CLIENT span ---- */

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

void sl_gw_client_span_start(sl_span *span, const sl_gw_request *request, const sl_gw_bound *bound)
{
    SL_ASSERT(request && request->plan);
    if (bound)
        sl_span_set_block(span, bound->attempt);
    if (request->attempts > 1)
        SET_INT(span, "http.request.resend_count", request->attempts - 1);
    set_request_attrs(span, request);
}

/* Tokens in and out. Where nobody told, what has been seen of a stream is counted, and marked so. */
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

/* The same on both spans of the request. */
static void set_tokens_on_both(sl_span *span, const sl_gw_request *request)
{
    SL_ASSERT(request);
    sl_span *server = request->server_span;
    uint32_t mark = sl_span_attr_count(span);
    set_tokens(span, request);
    if (sl_span_is_recording(server) && !sl_span_copy_attrs(server, span, mark))
        set_tokens(server, request);
}

/* The rest of the usage, and the earlier names. */
static void set_usage(sl_span *span, const sl_gw_request *request)
{
    SL_ASSERT(request);
    const sl_usage *u = &request->answer.usage;
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

void sl_gw_client_span_end(sl_span *span, sl_gw_request *request, sl_gw_model_series *model, int status)
{
    SL_ASSERT(request);
    const sl_answer *a = &request->answer;
    if (a->id_len)
        SET_STR(span, "gen_ai.response.id", sl_answer_id(a));
    sl_gw_set_answer(span, a, model, status);
    if (request->stream.first_ns)
        SET_DOUBLE(span, "gen_ai.response.time_to_first_chunk",
                   SECONDS(request->stream.first_ns - request->call.start_ns));
    set_tokens_on_both(span, request);
    set_usage(span, request);
    if (request->stream.frames)
        sl_span_add_event(span, SL_STR("gen_ai.last_token"), sl_gw_wall_ns(request->gateway, request->stream.last_ns),
                          NULL, 0);
}
