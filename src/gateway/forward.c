/* What goes to the upstream. */
#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/gateway/gw_impl.h"
#include "src/gateway/telemetry.h"

/* ---- the client's fields ---- */

/* Fields that are never passed on, beside those of this connection: written anew, or the client's own business with us.
 */
static bool stays(sl_http_field_id id)
{
    switch (id) {
    case SL_HTTP_HOST:
    case SL_HTTP_CONTENT_LENGTH:
    case SL_HTTP_EXPECT:
    case SL_HTTP_AUTHORIZATION:
    case SL_HTTP_X_API_KEY:
    case SL_HTTP_COOKIE:
    case SL_HTTP_ACCEPT_ENCODING: /* an answer must stay readable */
    case SL_HTTP_CONTENT_ENCODING:
    case SL_HTTP_FORWARDED:
    case SL_HTTP_X_FORWARDED_FOR:
    case SL_HTTP_X_REAL_IP:
    case SL_HTTP_ORIGIN:
    case SL_HTTP_VIA:
    case SL_HTTP_TRACEPARENT:
    case SL_HTTP_TRACESTATE:
    case SL_HTTP_BAGGAGE:
    case SL_HTTP_B3:
        return true;
    default:
        return false;
    }
}

/* Keys under other names, and fields of our own. */
static bool is_secret_name(sl_str name)
{
    static const sl_str names[] = {
        {"api-key", 7},
        {"x-goog-api-key", 14},
        {"x-litellm-key", 13},
        {"x-litellm-api-key", 17},
        {"anthropic-api-key", 17},
        {"x-auth-token", 12},
    };
    if (name.len > 12 && sl_str_ieq(sl_str_sub(name, 0, 12), SL_STR("x-sightline-")))
        return true;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (sl_str_ieq(name, names[i]))
            return true;
    }
    return false;
}

static void put_line(sl_buf *out, sl_str name, sl_str value)
{
    (void)sl_buf_put_str(out, name);
    (void)sl_buf_put_str(out, SL_STR(": "));
    (void)sl_buf_put_str(out, value);
    (void)sl_buf_put_str(out, SL_STR("\r\n"));
}

static void put_fields(const sl_http1_head *head, sl_buf *out)
{
    for (size_t i = 0; i < head->field_count; i++) {
        const sl_http1_field *field = &head->fields[i];
        if (field->id != SL_HTTP_OTHER) {
            if (stays(field->id))
                continue;
        } else if (is_secret_name(field->name)) {
            continue;
        }
        if (sl_http1_is_hop_by_hop(head, i))
            continue;
        put_line(out, field->name, field->value);
    }
}

/* Fields that go on when the settings of the deployment allow it; without telemetry the client's trace headers too. */
static void put_context(const sl_gw_request *request, const sl_http1_head *head, sl_buf *out)
{
    SL_ASSERT(request);
    size_t index = 0;
    sl_str value;
    while (sl_http1_get_next(head, SL_HTTP_BAGGAGE, &index, &value))
        put_line(out, SL_STR("baggage"), value);
    if (request->gateway->telemetry)
        return;
    index = 0;
    while (sl_http1_get_next(head, SL_HTTP_TRACESTATE, &index, &value))
        put_line(out, SL_STR("tracestate"), value);
    index = 0;
    while (sl_http1_get_next(head, SL_HTTP_TRACEPARENT, &index, &value))
        put_line(out, SL_STR("traceparent"), value);
    if (sl_http1_has(head, SL_HTTP_B3))
        put_line(out, SL_STR("b3"), sl_http1_get(head, SL_HTTP_B3));
}

/* ---- the plan ---- */

static int keep_body(sl_gw_plan *plan, sl_exchange *x)
{
    SL_ASSERT(plan);
    sl_str body = sl_exchange_body(x);
    if (sl_exchange_take_body(x, &plan->body_memory)) {
        plan->body = sl_str_of(plan->body_memory, body.len);
        return 0;
    }
    plan->body = sl_str_of("", 0);
    if (body.len == 0)
        return 0;
    int error = sl_buf_put_str(&plan->copy, body);
    if (!error)
        plan->body = sl_buf_str(&plan->copy);
    return error;
}

int sl_gw_plan_make(sl_gw_request *request, sl_exchange *x)
{
    SL_ASSERT(!request->plan);
    const sl_http1_head *head = sl_exchange_head(x);
    sl_gw_plan *plan = sl_gw_plan_take(request->gateway);
    if (!plan)
        return SL_ENOMEM;
    request->plan = plan;
    int error = keep_body(plan, x);
    if (error)
        return error;
    put_fields(head, &plan->fields);
    size_t at = plan->fields.len;
    put_context(request, head, &plan->fields);
    if (plan->fields.failed)
        return plan->fields.failed;
    /* What stands behind `at` goes out by deployment; it is kept apart by its length alone. */
    plan->baggage = sl_str_of(plan->fields.data + at, plan->fields.len - at);
    plan->fields.len = at;
    return 0;
}

/* ---- attempts ---- */

static void put_head(sl_gw_request *request, const sl_openai_pieces *body, sl_buf *head)
{
    SL_ASSERT(request && body);
    const sl_gw_target *target = request->target;
    sl_buf_clear(head);
    (void)sl_buf_put_str(head, target->prefix[request->operation]);
    (void)sl_buf_put_str(head, SL_STR("Content-Length: "));
    (void)sl_buf_put_u64(head, body->total);
    (void)sl_buf_put_str(head, SL_STR("\r\n"));
    (void)sl_buf_put_str(head, sl_buf_str(&request->plan->fields));
    if (request->request_id[0]) {
        (void)sl_buf_put_str(head, SL_STR("x-request-id: "));
        (void)sl_buf_put_c(head, request->request_id);
        (void)sl_buf_put_str(head, SL_STR("\r\n"));
    }
    sl_gw_trace_inject(request, head);
    if (target->deployment->propagate_baggage && sl_gw_trace_baggage(request->gateway))
        (void)sl_buf_put_str(head, request->plan->baggage);
    (void)sl_buf_put_str(head, SL_STR("\r\n"));
}

static void set_up_call(sl_gw_request *request, const sl_openai_pieces *body, sl_str head)
{
    SL_ASSERT(request && body);
    const sl_deployment *d = request->target->deployment;
    sl_call *call = &request->call;
    call->handler = &sl_gw_call_handler;
    call->user = request;
    call->pieces[0] = head;
    for (unsigned i = 0; i < body->count; i++)
        call->pieces[i + 1] = body->piece[i];
    call->piece_count = body->count + 1;
    call->connect_timeout_ms = d->connect_timeout_ms;
    call->wait_timeout_ms = d->timeout_ms;
    call->read_timeout_ms = request->stream_wanted && d->stream_timeout_ms ? d->stream_timeout_ms : d->timeout_ms;
}

int sl_gw_attempt(sl_gw_request *request)
{
    sl_gw_plan *plan = request->plan;
    SL_ASSERT(plan && request->target && request->attempts < SL_GW_MAX_ATTEMPTS);
    bool streams = request->operation == SL_LLM_CHAT || request->operation == SL_LLM_COMPLETION;
    sl_openai_pieces body;
    request->usage_added =
        streams && request->target->deployment->include_usage && sl_openai_usage_missing(&plan->openai);
    sl_openai_edit(&plan->openai, plan->body, request->target->model_json, request->usage_added, &body);
    sl_gw_set_state(request, SL_GW_WAITING);
    request->attempts++;
    request->upstream_status = 0;
    request->call.start_ns = sl_mono_ns();
    if (request->sent_ns == 0)
        request->sent_ns = request->call.start_ns;
    sl_gw_trace_attempt(request);
    put_head(request, &body, &plan->head);
    if (plan->head.failed)
        return SL_ENOMEM;
    if (body.total <= SL_GW_JOINED_MAX && sl_buf_reserve(&plan->head, body.total) == 0) {
        /* One piece costs the kernel less than several. */
        for (unsigned i = 0; i < body.count; i++)
            (void)sl_buf_put_str(&plan->head, body.piece[i]);
        body.count = 0;
    }
    set_up_call(request, &body, sl_buf_str(&plan->head));
    sl_call_start(&request->call, request->target->origin);
    return 0;
}
