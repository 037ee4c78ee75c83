/* What comes back: heads, whole answers, streams; failures in words. */
#include <stdio.h>

#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/llm/client_impl.h"
#include "src/wire/http1_write.h"
#include "src/wire/http_field.h"
#include "src/wire/redact.h"

#define ERROR_BODY_BYTES (64u * 1024) /* of a refusal: more says nothing more */
#define FAULT_BYTES (256u * 1024)
#define GRACE_MS 1000 /* for the end of the body behind the end mark of a stream */

/* ---- failures ---- */

/* Masks the key by its bytes, wherever it came from. */
static int mask_key(sl_str text, sl_str key, sl_buf *out)
{
    SL_ASSERT(out);
    size_t at;
    while (key.len >= 4 && (at = sl_str_find(text, key)) != SL_NPOS) {
        (void)sl_buf_put_str(out, sl_str_sub(text, 0, at));
        (void)sl_buf_put_c(out, SL_REDACTED);
        text = sl_str_sub(text, at + key.len, text.len);
    }
    return sl_buf_put_str(out, text);
}

/* One line, without secrets, cut. */
static void keep_message(sl_llm_call *call, sl_str text)
{
    SL_ASSERT(call);
    sl_buf masked, clean;
    sl_buf_init(&masked, 4 * FAULT_BYTES);
    sl_buf_init(&clean, 4 * FAULT_BYTES);
    call->message[0] = 0;
    if (mask_key(text, call->key, &masked) == 0 && sl_redact_text(sl_buf_str(&masked), &clean) == 0) {
        sl_str all = sl_buf_str(&clean);
        all.len = sl_utf8_prefix(all, sizeof call->message - 1);
        (void)sl_str_to_c(all, call->message, sizeof call->message);
    }
    for (char *c = call->message; *c; c++) {
        if ((unsigned char)*c < ' ' || *c == 127)
            *c = ' ';
    }
    sl_buf_done(&masked);
    sl_buf_done(&clean);
}

int sl_llm_fault(sl_llm_call *call, int error, bool retryable, const char *type, const char *format, ...)
{
    SL_ASSERT(call && error < 0 && type);
    if (call->error)
        return error;
    call->error = error;
    call->retryable = retryable;
    call->error_type = type;
    sl_buf text;
    sl_buf_init(&text, FAULT_BYTES);
    (void)sl_buf_put_str(&text, call->endpoint);
    (void)sl_buf_put_c(&text, ": ");
    va_list args;
    va_start(args, format);
    (void)sl_buf_vprintf(&text, format, args);
    va_end(args);
    keep_message(call, sl_buf_str(&text));
    sl_buf_done(&text);
    if (!call->message[0])
        (void)snprintf(call->message, sizeof call->message, "%s", sl_strerror(error));
    return error;
}

/* The provider's own words: error.message, error as a string, message. NULL: none. */
static const char *words_of(const json_t *root)
{
    const json_t *error = json_object_get(root, "error");
    const json_t *message = json_is_string(error) ? error : json_object_get(error, "message");
    if (!json_is_string(message))
        message = json_object_get(root, "message");
    const char *words = json_string_value(message);
    return words && *words ? words : NULL;
}

static bool is_worth_a_retry(int status)
{
    return status == 408 || status == 409 || status == 425 || status == 429 || status >= 500;
}

/* The provider has refused. */
static int fault_http(sl_llm_call *call)
{
    SL_ASSERT(call && call->status);
    json_t *root = json_loadb(call->body.data ? call->body.data : "", call->body.len, JSON_ALLOW_NUL, NULL);
    const char *words = words_of(root);
    (void)snprintf(call->status_text, sizeof call->status_text, "%d", call->status);
    int error = is_worth_a_retry(call->status) ? SL_ERETRY : SL_EREFUSED;
    (void)sl_llm_fault(call, error, error == SL_ERETRY, call->status_text, "%d %s%s%s", call->status,
                       sl_http_status_text(call->status), words ? ": " : "", words ? words : "");
    json_decref(root);
    return error;
}

int sl_llm_fault_told(sl_llm_call *call, const json_t *error)
{
    SL_ASSERT(call);
    static const char *const final[] = {"invalid_request_error", "authentication_error", "permission_error",
                                        "not_found_error",       "request_too_large",    "billing_error",
                                        "insufficient_quota",    "invalid_api_key",      "content_filter"};
    const char *type = json_string_value(json_object_get(error, "type"));
    const char *words = json_string_value(json_object_get(error, "message"));
    bool retry = true;
    for (size_t i = 0; type && i < sizeof final / sizeof *final; i++)
        retry = retry && strcmp(type, final[i]) != 0;
    (void)sl_llm_fault(call, retry ? SL_ERETRY : SL_EREFUSED, retry, "upstream_error", "%s%s%s", type ? type : "error",
                       words ? ": " : "", words ? words : "");
    return SL_EPROTO;
}

static const char *type_of(int error)
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
    case SL_ETOOBIG:
    case SL_ELIMIT:
        return "too_big";
    default:
        return "internal";
    }
}

/* For errors that nobody has put into words. */
static void fault_plain(sl_llm_call *call, int error)
{
    SL_ASSERT(call && error < 0);
    if (error == SL_ELIMIT || error == SL_ETOOBIG)
        (void)sl_llm_fault(call, SL_ETOOBIG, false, "too_big", "the answer is larger than %u bytes",
                           SL_MAX_LLM_ANSWER_BYTES);
    else
        (void)sl_llm_fault(call, error, false, type_of(error), "%s", sl_strerror(error));
}

/* ---- pieces ---- */

void sl_llm_take_string(const json_t *value, char *text, size_t size)
{
    SL_ASSERT(text && size);
    if (!json_is_string(value) || !json_string_length(value))
        return;
    sl_str s = sl_str_of(json_string_value(value), json_string_length(value));
    s.len = sl_utf8_prefix(s, size - 1);
    (void)sl_str_to_c(s, text, size);
}

void sl_llm_take_usage(sl_llm_call *call, const json_t *usage)
{
    SL_ASSERT(call);
    if (!json_is_object(usage))
        return;
    if (!call->usage)
        call->usage = json_object();
    /* Anthropic tells the input at the start and the output at the end; what comes later replaces, never adds. */
    (void)json_object_update(call->usage, (json_t *)(uintptr_t)usage);
}

int sl_llm_take_text(sl_llm_call *call, const json_t *text)
{
    SL_ASSERT(call);
    if (!json_is_string(text) || !json_string_length(text))
        return 0;
    sl_str piece = sl_str_of(json_string_value(text), json_string_length(text));
    int error = sl_buf_put_str(&call->text, piece);
    if (error)
        return error;
    if (call->streaming) {
        call->last_ns = sl_mono_ns();
        call->pieces++;
        if (!call->first_ns) {
            call->first_ns = call->last_ns;
            sl_llm_trace_first(call);
        }
    }
    if (call->stream && call->on_text)
        call->on_text(call->user, piece);
    return call->over ? SL_ECLOSED : 0;
}

/* ---- streams ---- */

static int take_frame(sl_llm_call *call, const sl_sse_frame *frame)
{
    SL_ASSERT(call && frame);
    if (frame->cut)
        return SL_ETOOBIG;
    if (sl_sse_frame_is_done(frame)) {
        call->done = true;
        return 0;
    }
    sl_str data;
    int error = sl_sse_frame_data(frame, &call->joined, &data);
    if (error == SL_ENOENT)
        return 0;
    if (error)
        return error;
    json_t *root = json_loadb(data.ptr ? data.ptr : "", data.len, JSON_ALLOW_NUL, NULL);
    if (!json_is_object(root)) {
        json_decref(root);
        return sl_llm_fault(call, SL_EPROTO, true, "invalid_response", "a frame of the stream is not a JSON object");
    }
    bool anthropic = call->protocol == SL_LLM_ANTHROPIC;
    error = anthropic ? sl_anthropic_read_event(call, root) : sl_openai_read_event(call, root);
    json_decref(root);
    if (anthropic && call->ended)
        call->done = true;
    return error;
}

static int feed_stream(sl_llm_call *call, sl_str bytes, bool end)
{
    SL_ASSERT(call && call->streaming);
    sl_sse_frame frame;
    bool was_done = call->done;
    int error = 0;
    while (!error && !call->done && sl_sse_next(&call->sse, &bytes, &frame) == 0)
        error = take_frame(call, &frame);
    if (!error && end && !call->done && sl_sse_finish(&call->sse, &frame) == 0)
        error = take_frame(call, &frame);
    if (error)
        return error;
    if (end && !call->done && !call->ended)
        return sl_llm_fault(call, SL_ECLOSED, true, "upstream_closed", "the stream broke off before its end");
    if (call->done && !was_done && !end) /* once: who goes on sending comments does not hold the call */
        sl_timer_set(call->client->loop, &call->timer, sl_llm_on_timeout, GRACE_MS);
    return 0;
}

/* ---- whole answers ---- */

static int read_body(sl_llm_call *call)
{
    SL_ASSERT(call);
    if (call->status < 200 || call->status > 299)
        return fault_http(call);
    json_error_t where;
    json_t *root = json_loadb(call->body.data ? call->body.data : "", call->body.len, JSON_ALLOW_NUL, &where);
    int error;
    if (!json_is_object(root))
        error = sl_llm_fault(call, SL_EPROTO, true, "invalid_response", "the answer is not a JSON object (%zu bytes)",
                             call->body.len);
    else if (call->operation == SL_LLM_EMBEDDINGS)
        error = sl_openai_read_embeddings(call, root);
    else if (call->protocol == SL_LLM_ANTHROPIC)
        error = sl_anthropic_read_message(call, root);
    else
        error = sl_openai_read_chat(call, root);
    json_decref(root);
    return error;
}

static int keep_body(sl_llm_call *call, sl_str bytes)
{
    SL_ASSERT(call);
    if (call->status >= 200 && call->status <= 299)
        return sl_buf_put_str(&call->body, bytes);
    size_t room = ERROR_BODY_BYTES - call->body.len;
    return sl_buf_put_str(&call->body, sl_str_sub(bytes, 0, room));
}

/* ---- what the connection tells ---- */

static void read_head(sl_llm_call *call, const sl_http1_head *head)
{
    SL_ASSERT(call && head);
    call->status = head->status;
    sl_str type = sl_http_media_type(sl_http1_get(head, SL_HTTP_CONTENT_TYPE));
    call->streaming =
        call->stream && head->status >= 200 && head->status <= 299 && sl_str_ieq(type, SL_STR("text/event-stream"));
    sl_str value;
    uint64_t ms;
    if (sl_http1_find(head, SL_STR("retry-after-ms"), &value) && sl_str_to_u64(value, &ms) == 0 && ms < 86400000)
        call->retry_after_ms = ms;
    else if (sl_http_retry_after(sl_http1_get(head, SL_HTTP_RETRY_AFTER), (int64_t)(sl_now_ns() / 1000000), &ms) == 0)
        call->retry_after_ms = ms;
}

static void on_read(sl_call *http, const sl_http1_head *head, sl_str body, bool end)
{
    sl_llm_call *call = http->user;
    SL_ASSERT(!call->over);
    sl_llm_enter(call);
    if (head)
        read_head(call, head);
    int error = call->streaming ? feed_stream(call, body, end) : keep_body(call, body);
    if (!error && end && !call->streaming)
        error = read_body(call);
    if (error && !call->over)
        fault_plain(call, error); /* unless somebody has said it better */
    if ((error || end) && !call->over)
        sl_llm_finish(call);
    sl_llm_leave(call);
}

static void on_fail(sl_call *http, int error, const char *reason)
{
    sl_llm_call *call = http->user;
    SL_ASSERT(!call->over && error < 0);
    sl_llm_enter(call);
    if (!call->done) /* of a stream that is complete the rest does not matter */
        (void)sl_llm_fault(call, error, error != SL_ENOMEM && error != SL_ETLS, type_of(error), "%s",
                           reason ? reason : sl_strerror(error));
    sl_llm_finish(call);
    sl_llm_leave(call);
}

const sl_call_handler sl_llm_call_handler = {on_read, on_fail};

void sl_llm_on_timeout(sl_timer *timer)
{
    sl_llm_call *call = (sl_llm_call *)((char *)timer - offsetof(sl_llm_call, timer));
    SL_ASSERT(!call->over);
    sl_llm_enter(call);
    if (!call->done)
        (void)sl_llm_fault(call, SL_ETIMEOUT, true, "timeout", "no complete answer within %llu ms",
                           (unsigned long long)call->timeout_ms);
    sl_llm_finish(call);
    sl_llm_leave(call);
}
