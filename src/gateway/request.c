/* The life of a request. */
#include <stdio.h>

#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/gateway/gw_impl.h"
#include "src/gateway/telemetry.h"
#include "src/wire/http_field.h"
#include "src/wire/url.h"

/* ---- states ---- */

static const char *const state_names[SL_GW_STATE_COUNT] = {
    [SL_GW_ACCEPTED] = "accepted", [SL_GW_ALLOWED] = "allowed",   [SL_GW_WAITING] = "waiting",
    [SL_GW_RELAYING] = "relaying", [SL_GW_ANSWERED] = "answered", [SL_GW_OVER] = "over",
};

#define MOVE(state) (1u << (state))

static const unsigned moves[SL_GW_STATE_COUNT] = {
    [SL_GW_ACCEPTED] = MOVE(SL_GW_ALLOWED) | MOVE(SL_GW_ANSWERED) | MOVE(SL_GW_OVER),
    [SL_GW_ALLOWED] = MOVE(SL_GW_WAITING) | MOVE(SL_GW_ANSWERED) | MOVE(SL_GW_OVER),
    [SL_GW_WAITING] = MOVE(SL_GW_WAITING) | MOVE(SL_GW_RELAYING) | MOVE(SL_GW_ANSWERED) | MOVE(SL_GW_OVER),
    [SL_GW_RELAYING] = MOVE(SL_GW_ANSWERED) | MOVE(SL_GW_OVER),
    [SL_GW_ANSWERED] = MOVE(SL_GW_OVER),
    [SL_GW_OVER] = 0,
};

const char *sl_gw_state_name(sl_gw_state state)
{
    SL_ASSERT(state >= 0 && state < SL_GW_STATE_COUNT);
    return state_names[state];
}

bool sl_gw_state_may(sl_gw_state from, sl_gw_state to)
{
    SL_ASSERT(from >= 0 && from < SL_GW_STATE_COUNT && to >= 0 && to < SL_GW_STATE_COUNT);
    return (moves[from] & MOVE(to)) != 0;
}

void sl_gw_set_state(sl_gw_request *request, sl_gw_state state)
{
    SL_ASSERT(sl_gw_state_may(request->state, state));
    request->state = state;
}

const char *sl_gw_status_text(int status)
{
    static char texts[600][4];
    if (status < 100 || status > 599)
        return "_OTHER";
    char *text = texts[status];
    text[0] = (char)('0' + status / 100);
    text[1] = (char)('0' + status / 10 % 10);
    text[2] = (char)('0' + status % 10);
    return text;
}

/* ---- beginnings and ends ---- */

static void trim(sl_buf *buf)
{
    SL_ASSERT(buf);
    if (buf->cap > SL_GW_IDLE_BUFFER)
        sl_buf_done(buf);
    else
        sl_buf_clear(buf);
}

static void free_plan(sl_gw_plan *plan)
{
    SL_ASSERT(plan);
    sl_buf_done(&plan->copy);
    sl_buf_done(&plan->head);
    sl_buf_done(&plan->fields);
    sl_free(plan);
}

sl_gw_plan *sl_gw_plan_take(sl_gateway *gateway)
{
    SL_ASSERT(gateway);
    sl_gw_plan *plan = gateway->idle_plans;
    if (SL_LIKELY(plan != NULL)) {
        gateway->idle_plans = plan->next;
        gateway->idle_plan_count--;
        return plan;
    }
    plan = sl_calloc(1, sizeof *plan);
    if (!plan)
        return NULL;
    sl_buf_init(&plan->copy, SL_LOOP_READ_BYTES);
    sl_buf_init(&plan->head, 8 * SL_MAX_HEAD_BYTES);
    sl_buf_init(&plan->fields, 4 * SL_MAX_HEAD_BYTES);
    return plan;
}

void sl_gw_drop_plan(sl_gw_request *request)
{
    SL_ASSERT(request);
    sl_gw_plan *plan = request->plan;
    sl_gateway *gateway = request->gateway;
    if (!plan)
        return;
    request->plan = NULL;
    sl_free(plan->body_memory);
    plan->body_memory = NULL;
    if (gateway->idle_plan_count >= SL_GW_IDLE_MAX) {
        free_plan(plan);
        return;
    }
    trim(&plan->copy);
    trim(&plan->head);
    trim(&plan->fields);
    plan->next = gateway->idle_plans;
    gateway->idle_plans = plan;
    gateway->idle_plan_count++;
}

static sl_gw_request *take_request(sl_gateway *gateway)
{
    SL_ASSERT(gateway);
    sl_gw_request *request = gateway->idle_requests;
    if (SL_UNLIKELY(!request))
        return sl_calloc(1, sizeof *request);
    gateway->idle_requests = request->next_idle;
    gateway->idle_request_count--;
    memset(request, 0, sizeof *request);
    return request;
}

static void give_request(sl_gateway *gateway, sl_gw_request *request)
{
    SL_ASSERT(gateway);
    if (gateway->idle_request_count >= SL_GW_IDLE_MAX) {
        sl_free(request);
        return;
    }
    request->next_idle = gateway->idle_requests;
    gateway->idle_requests = request;
    gateway->idle_request_count++;
}

void sl_gw_free_idle(sl_gateway *gateway)
{
    SL_ASSERT(gateway);
    while (gateway->idle_plans) {
        sl_gw_plan *plan = gateway->idle_plans;
        gateway->idle_plans = plan->next;
        free_plan(plan);
    }
    while (gateway->idle_requests) {
        sl_gw_request *request = gateway->idle_requests;
        gateway->idle_requests = request->next_idle;
        sl_free(request);
    }
}

/* The wall clock is looked at ten times a second: between, the monotonic one carries it on, for a tenth of the price.
 */
uint64_t sl_gw_wall_ns(sl_gateway *gateway, uint64_t mono_ns)
{
    SL_ASSERT(gateway);
    if (SL_UNLIKELY(mono_ns - gateway->wall_read_ns > 100000000u)) {
        gateway->wall_read_ns = mono_ns;
        gateway->wall_offset_ns = sl_now_ns() - sl_mono_ns();
    }
    return mono_ns + gateway->wall_offset_ns;
}

void sl_gw_finish(sl_gw_request *request)
{
    SL_ASSERT(request->done && !request->in_relay);
    sl_call_cancel(&request->call);
    sl_gw_trace_end(request); /* asks in which state it ended */
    if (request->state != SL_GW_OVER)
        sl_gw_set_state(request, SL_GW_OVER);
    sl_gw_drop_plan(request);
    sl_sse_done(&request->stream.sse);
    sl_buf_done(&request->stream.hold);
    sl_buf_done(&request->kept);
    request->gateway->in_flight--;
    give_request(request->gateway, request);
}

void sl_gw_fail(sl_gw_request *request, int status, const char *error_type, const char *code, const char *message)
{
    SL_ASSERT(request);
    static const char *const types[] = {"invalid_request_error", "authentication_error", "upstream_error"};
    int kind = status >= 500 ? 2 : status == 401 ? 1 : 0;
    sl_gw_set_state(request, SL_GW_ANSWERED);
    request->status = status;
    request->error_type = error_type;
    sl_exchange_error(request->x, status, kind == 1 ? types[0] : types[kind], code, message);
}

void sl_gw_on_done(void *user, sl_exchange *x, int outcome)
{
    (void)user;
    sl_gw_request *request = sl_exchange_data(x);
    if (!request) /* out of memory at its beginning */
        return;
    request->done = true;
    request->outcome = outcome;
    request->bytes_out = sl_exchange_bytes_out(x);
    request->x = NULL;
    if (!request->in_relay)
        sl_gw_finish(request);
}

void sl_gw_on_writable(void *user, sl_exchange *x)
{
    (void)user;
    sl_gw_request *request = sl_exchange_data(x);
    if (request)
        sl_call_pause(&request->call, false);
}

/* ---- the head ---- */

static bool authorized(const sl_gateway *gateway, const sl_http1_head *head)
{
    SL_ASSERT(gateway);
    sl_str key = gateway->config->master_key;
    if (key.len == 0)
        return true;
    sl_str given;
    if (!sl_http_bearer(sl_http1_get(head, SL_HTTP_AUTHORIZATION), &given))
        return false;
    return sl_str_eq_secret(key, given);
}

static void refuse_unauthorized(sl_gw_request *request, const sl_http1_head *head)
{
    bool given = sl_http1_has(head, SL_HTTP_AUTHORIZATION);
    sl_gw_fail(request, 401, "unauthorized", "invalid_api_key",
               given ? "incorrect API key provided" : "no API key provided; send it as `Authorization: Bearer KEY`");
}

/* What the head alone decides. False: answered. */
static bool check_head(sl_gw_request *request, const sl_http1_head *head, sl_str path)
{
    if (sl_gw_answer_locally(request, head, path))
        return false;
    if (!authorized(request->gateway, head)) {
        refuse_unauthorized(request, head);
        return false;
    }
    sl_gw_set_state(request, SL_GW_ALLOWED);
    if (sl_gw_answer_locally(request, head, path))
        return false;
    if (request->operation == SL_LLM_NONE) {
        bool known = request->route != SL_GW_ROUTE_OTHER;
        sl_exchange_allow(request->x, 1u << SL_HTTP_GET | 1u << SL_HTTP_HEAD);
        sl_gw_fail(request, known ? 405 : 404, known ? "method_not_allowed" : "not_found",
                   known ? "method_not_allowed" : "unknown_url",
                   known ? "this method is not allowed here" : "there is no such resource");
        return false;
    }
    if (head->method_id != SL_HTTP_POST) {
        sl_exchange_allow(request->x, 1u << SL_HTTP_POST);
        sl_gw_fail(request, 405, "method_not_allowed", "method_not_allowed", "this resource takes POST only");
        return false;
    }
    sl_str coding = sl_http1_get(head, SL_HTTP_CONTENT_ENCODING);
    if (coding.len && !sl_str_ieq(coding, SL_STR("identity"))) {
        sl_gw_fail(request, 415, "unsupported_encoding", "unsupported_encoding",
                   "compressed request bodies are not supported");
        return false;
    }
    return true;
}

/* An id for a request that came without one: that of its trace, where it has one. */
static void make_request_id(sl_gw_request *request)
{
    SL_ASSERT(request);
    sl_span_context context;
    sl_span_get_context(request->server_span, &context);
    if (!sl_span_context_is_valid(&context)) {
        sl_gateway *gateway = request->gateway;
        for (size_t i = 0; i < sizeof context.trace_id; i += 8) {
            gateway->random = gateway->random * 6364136223846793005u + 1442695040888963407u;
            uint64_t word = gateway->random ^ request->start_ns;
            memcpy(context.trace_id + i, &word, 8);
        }
    }
    sl_hex_encode(context.trace_id, sizeof context.trace_id, request->request_id);
}

void sl_gw_on_head(void *user, sl_exchange *x)
{
    sl_gateway *gateway = user;
    const sl_http1_head *head = sl_exchange_head(x);
    sl_gw_request *request = take_request(gateway);
    if (!request) {
        sl_exchange_error(x, 503, "server_error", "out_of_memory", "no memory for the request");
        return;
    }
    sl_str path;
    sl_str query;
    sl_target_split(head->target, &path, &query);
    request->gateway = gateway;
    request->x = x;
    request->operation = sl_llm_operation_of(path);
    request->route = sl_gw_route_of(path, request->operation);
    request->start_ns = sl_exchange_start_ns(x);
    sl_answer_init(&request->answer);
    sl_exchange_set_data(x, request);
    gateway->in_flight++;
    sl_gw_trace_start(request, head, path);
    if (!sl_http1_has(head, SL_HTTP_X_REQUEST_ID))
        make_request_id(request);
    (void)check_head(request, head, path);
}

/* ---- the body ---- */

static void fail_no_memory(sl_gw_request *request)
{
    sl_gw_fail(request, 503, "out_of_memory", "out_of_memory", "no memory for the request");
}

static void unknown_model(sl_gw_request *request, sl_str model)
{
    SL_ASSERT(model.ptr || !model.len);
    char text[SL_OPENAI_MODEL_MAX + 96];
    (void)snprintf(text, sizeof text, "the model '%.*s' does not exist or you do not have access to it", (int)model.len,
                   model.ptr);
    sl_gw_fail(request, 404, "model_not_found", "model_not_found", text);
}

void sl_gw_on_request(void *user, sl_exchange *x)
{
    sl_gateway *gateway = user;
    sl_gw_request *request = sl_exchange_data(x);
    SL_ASSERT(request && request->state == SL_GW_ALLOWED);
    request->length_in = sl_exchange_body(x).len;
    if (sl_gw_plan_make(request, x) != 0) {
        fail_no_memory(request);
        return;
    }
    sl_gw_plan *plan = request->plan;
    sl_openai_fault fault;
    if (sl_openai_read_request(plan->body, &plan->openai, &fault) != 0) {
        sl_gw_fail(request, fault.status, "invalid_request", fault.code, fault.message);
        return;
    }
    request->group = sl_gw_find_group(gateway, plan->openai.model);
    request->stream_wanted = plan->openai.stream;
    if (!request->group) {
        unknown_model(request, plan->openai.model);
        return;
    }
    request->target = sl_gw_pick(gateway, request);
    sl_gw_trace_routed(request);
    if (sl_gw_attempt(request) != 0)
        fail_no_memory(request);
}
