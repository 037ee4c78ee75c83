/* What comes back from the upstream. */
#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/gateway/gw_impl.h"
#include "src/gateway/telemetry.h"
#include "src/wire/http_field.h"

static void on_read(sl_call *call, const sl_http1_head *head, sl_str body, bool end);
static void on_fail(sl_call *call, int error, const char *reason);

const sl_call_handler sl_gw_call_handler = {on_read, on_fail};

/* ---- attempts that failed ---- */

static void count_wait(sl_gw_request *request, uint64_t now_ns)
{
    SL_ASSERT(request);
    request->upstream_end_ns = now_ns;
    request->waited_ns += request->upstream_end_ns - request->call.start_ns;
}

/* Tries another deployment. False: there is none, or it is too late. */
static bool try_next(sl_gw_request *request, int status, const char *error_type, const char *reason)
{
    SL_ASSERT(request);
    if (request->attempts >= SL_GW_MAX_ATTEMPTS || request->group->count < 2 || !request->plan ||
        request->gateway->closing)
        return false;
    sl_gw_target *next = sl_gw_pick(request->gateway, request);
    if (!next)
        return false;
    count_wait(request, sl_mono_ns());
    sl_gw_trace_attempt_end(request, status, error_type, reason);
    sl_call_cancel(&request->call);
    request->target = next;
    if (sl_gw_attempt(request) != 0)
        sl_gw_fail(request, 503, "out_of_memory", "out_of_memory", "no memory for the request");
    return true;
}

static const char *error_name(int error)
{
    switch (error) {
    case SL_ERESOLVE:
        return "upstream_resolve";
    case SL_ECONNECT:
        return "upstream_connect";
    case SL_ETLS:
        return "upstream_tls";
    case SL_ETIMEOUT:
        return "timeout";
    case SL_EPROTO:
        return "upstream_protocol";
    case SL_ECLOSED:
        return "upstream_closed";
    default:
        return "internal";
    }
}

static void on_fail(sl_call *call, int error, const char *reason)
{
    SL_ASSERT(call);
    sl_gw_request *request = call->user;
    const char *type = request->gateway->closing ? "server_shutdown" : error_name(error);
    if (request->state == SL_GW_WAITING && !request->gateway->closing && error != SL_ETIMEOUT && error != SL_ENOMEM &&
        try_next(request, 0, type, reason))
        return;
    count_wait(request, sl_mono_ns());
    request->broken = request->state == SL_GW_RELAYING;
    sl_gw_trace_attempt_end(request, request->upstream_status, type, reason);
    if (request->state == SL_GW_WAITING) {
        sl_gw_fail(request, error == SL_ETIMEOUT ? 504 : error == SL_ENOMEM ? 503 : 502, type, type, reason);
        return;
    }
    SL_ASSERT(request->state == SL_GW_RELAYING);
    request->error_type = type;
    sl_exchange_abort(request->x);
}

/* ---- the head ---- */

/* Fields of the upstream's answer that are not passed on, beside those of its connection. */
static bool stays(sl_http_field_id id)
{
    switch (id) {
    case SL_HTTP_CONTENT_LENGTH:
    case SL_HTTP_DATE:
    case SL_HTTP_SET_COOKIE:
    case SL_HTTP_TRACEPARENT:
    case SL_HTTP_TRACESTATE:
        return true;
    default:
        return false;
    }
}

static void put_line(sl_buf *out, sl_str name, sl_str value)
{
    (void)sl_buf_put_str(out, name);
    (void)sl_buf_put_str(out, SL_STR(": "));
    (void)sl_buf_put_str(out, value);
    (void)sl_buf_put_str(out, SL_STR("\r\n"));
}

static sl_str answer_fields(sl_gw_request *request, const sl_http1_head *head)
{
    SL_ASSERT(request);
    sl_buf *out = &request->gateway->fields;
    sl_buf_clear(out);
    for (size_t i = 0; i < head->field_count; i++) {
        const sl_http1_field *field = &head->fields[i];
        if (stays(field->id) || sl_http1_is_hop_by_hop(head, i))
            continue;
        put_line(out, field->name, field->value);
    }
    if (request->request_id[0] && !sl_http1_has(head, SL_HTTP_X_REQUEST_ID))
        put_line(out, SL_STR("x-request-id"), sl_str_of(request->request_id, 32));
    if (request->stream.on)
        (void)sl_buf_put_str(out, SL_STR("X-Accel-Buffering: no\r\n"));
    return sl_buf_str(out);
}

/* ---- to the client ---- */

void sl_gw_pass_on(sl_gw_request *request, sl_str data, bool last)
{
    if (data.len == 0 && !last)
        return;
    if (sl_exchange_write(request->x, data, last))
        sl_call_pause(&request->call, true);
}

/* ---- whole answers that come in parts ---- */

static void keep_part(sl_gw_request *request, sl_str body)
{
    SL_ASSERT(request);
    sl_buf *kept = &request->kept;
    if (kept->max == 0)
        sl_buf_init(kept, SL_GW_KEPT_ANSWER + SL_LOOP_READ_BYTES);
    if (kept->len + body.len > SL_GW_KEPT_ANSWER && kept->len > SL_GW_KEPT_TAIL)
        sl_buf_consume(kept, kept->len - SL_GW_KEPT_TAIL);
    (void)sl_buf_put_str(kept, body);
}

static void read_answer(sl_gw_request *request, sl_str body)
{
    SL_ASSERT(request);
    if (request->upstream_status >= 300 || body.len == 0)
        return;
    if (request->call.bytes_in == body.len && sl_answer_read(&request->answer, body) == 0)
        return;
    (void)sl_answer_read_tail(&request->answer, body);
}

/* ---- the answer ---- */

/* The upstream's answer is complete and has gone out. */
static void answer_complete(sl_gw_request *request)
{
    SL_ASSERT(request);
    int status = request->upstream_status;
    const char *error = NULL;
    if (status >= 400)
        error = sl_gw_status_text(status);
    sl_gw_trace_attempt_end(request, status, error, NULL);
    sl_gw_drop_plan(request);
}

static bool is_event_stream(const sl_http1_head *head)
{
    SL_ASSERT(head);
    return head->status == 200 &&
           sl_str_ieq(sl_http_media_type(sl_http1_get(head, SL_HTTP_CONTENT_TYPE)), SL_STR("text/event-stream"));
}

static void begin_stream(sl_gw_request *request)
{
    SL_ASSERT(request);
    sl_gw_stream *stream = &request->stream;
    stream->on = true;
    stream->hide_usage = request->usage_added;
    sl_sse_init(&stream->sse, 0);
    sl_buf_init(&stream->hold, SL_MAX_SSE_FRAME_BYTES);
}

static void begin(sl_gw_request *request, const sl_http1_head *head, sl_str body, bool end)
{
    SL_ASSERT(request && head);
    request->upstream_status = head->status;
    request->status = head->status;
    if (is_event_stream(head))
        begin_stream(request);
    if (request->call.request_sent)
        sl_gw_drop_plan(request);
    sl_gw_set_state(request, SL_GW_RELAYING);
    sl_http_stream answer = {.status = head->status, .fields = answer_fields(request, head), .last = end};
    if (request->stream.on) {
        /* Nothing can be held from an earlier read, so nothing is written before the head. */
        answer.first = sl_gw_frames_for_client(request, body, false);
        answer.last = false;
    } else {
        answer.first = body;
        answer.has_length = end || head->body == SL_HTTP1_BODY_LENGTH;
        answer.length = end ? body.len : head->content_length;
    }
    if (end)
        count_wait(request, request->call.first_byte_ns);
    if (sl_exchange_begin(request->x, &answer))
        sl_call_pause(&request->call, true);
    if (request->stream.on && end)
        sl_gw_pass_on(request, sl_gw_frames_for_client(request, sl_str_of(NULL, 0), true), true);
    if (request->stream.on)
        return;
    if (end)
        read_answer(request, body);
    else
        keep_part(request, body);
}

static void go_on(sl_gw_request *request, sl_str body, bool end)
{
    SL_ASSERT(request);
    if (end)
        count_wait(request, sl_mono_ns());
    if (request->stream.on) {
        sl_str out = sl_gw_frames_for_client(request, body, end);
        sl_gw_pass_on(request, out, end);
        return;
    }
    sl_gw_pass_on(request, body, end);
    if (body.len)
        keep_part(request, body);
    if (end)
        read_answer(request, sl_buf_str(&request->kept));
}

static void on_read(sl_call *call, const sl_http1_head *head, sl_str body, bool end)
{
    SL_ASSERT(call);
    sl_gw_request *request = call->user;
    SL_ASSERT(request && request->x && !request->done);
    if (head) {
        SL_ASSERT(request->state == SL_GW_WAITING);
        int status = head->status;
        if ((status == 429 || status >= 500) && try_next(request, status, sl_gw_status_text(status), NULL))
            return;
    }
    request->in_relay = true;
    if (head)
        begin(request, head, body, end);
    else
        go_on(request, body, end);
    if (end) {
        sl_gw_set_state(request, SL_GW_ANSWERED);
        answer_complete(request);
    }
    request->in_relay = false;
    if (request->done)
        sl_gw_finish(request);
}
