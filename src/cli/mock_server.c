/* The fake provider as a server. */
#include "src/cli/mock_server.h"

#include <stdio.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/cli/mock_answer.h"
#include "src/cli/mock_ledger.h"
#include "src/net/http_server.h"
#include "src/wire/http1.h"
#include "src/wire/url.h"

struct sl_mock_server {
    sl_loop *loop;
    sl_http_server *http;
    sl_mock_options options;
    sl_rng rng;
    sl_mock_ledger *ledger;
    uint64_t next_number;
    sl_buf scratch;
};

/* One request under way. */
typedef struct mock_call {
    sl_mock_server *server;
    sl_exchange *x; /* NULL once it is over */
    uv_timer_t timer;
    sl_mock_request request;
    sl_mock_plan plan;
    sl_mock_fault fault;
    sl_mock_entry entry;
    uint32_t step;
    uint32_t split_at; /* bytes of the current frames already sent */
} mock_call;

static const struct {
    const char *path;
    sl_mock_api api;
} routes[] = {
    {"/v1/chat/completions", SL_MOCK_CHAT},   {"/chat/completions", SL_MOCK_CHAT},
    {"/v1/completions", SL_MOCK_COMPLETIONS}, {"/completions", SL_MOCK_COMPLETIONS},
    {"/v1/embeddings", SL_MOCK_EMBEDDINGS},   {"/embeddings", SL_MOCK_EMBEDDINGS},
    {"/v1/messages", SL_MOCK_MESSAGES},
};

static const char *const fault_names[] = {"",
#define FAULT_NAME(name, text) text,
                                          SL_MOCK_FAULT_MAP(FAULT_NAME)
#undef FAULT_NAME
};

bool sl_mock_parse_fault(sl_str text, sl_mock_options *options, const char **ret_reason)
{
    SL_ASSERT(ret_reason);
    size_t equals = sl_str_chr(text, '=');
    sl_str kind = sl_str_sub(text, 0, equals);
    double share = 1, total = 0;
    if (equals != SL_NPOS &&
        (sl_str_to_double(sl_str_sub(text, equals + 1, text.len), &share) != 0 || share < 0 || share > 1)) {
        *ret_reason = "the share is a number from 0 to 1";
        return false;
    }
    size_t found = 0;
    for (size_t i = 1; i < SL_MOCK_FAULT_COUNT; i++) {
        if (sl_str_eq_c(kind, fault_names[i]))
            found = i;
        else
            total += options->share[i];
    }
    if (found && total + share > 1.0 + 1e-9) {
        *ret_reason = "the shares add up to more than 1";
        return false;
    }
    if (found) {
        options->share[found] = share;
        return true;
    }
    *ret_reason = "kinds are 429 500 hang reset slow split nousage badjson truncate";
    return false;
}

static sl_mock_fault draw_fault(sl_mock_server *server)
{
    SL_ASSERT(server);
    double at = sl_rng_double(&server->rng);
    for (int i = 1; i < SL_MOCK_FAULT_COUNT; i++) {
        if (at < server->options.share[i])
            return (sl_mock_fault)i;
        at -= server->options.share[i];
    }
    return SL_MOCK_FAULT_NONE;
}

/* ---- life of a call ---- */

static void call_closed(uv_handle_t *handle)
{
    SL_ASSERT(handle);
    sl_free(handle->data);
}

/* The exchange is over, answered or left by the client. */
static void on_done(void *user, sl_exchange *x, int outcome)
{
    sl_mock_server *server = user;
    mock_call *call = sl_exchange_data(x);
    if (!call)
        return;
    call->entry.response_bytes = sl_exchange_bytes_out(x);
    if (outcome != 0 && call->entry.outcome == SL_MOCK_OK)
        call->entry.outcome = SL_MOCK_CANCELLED;
    if (call->entry.outcome != SL_MOCK_HANG)
        sl_mock_ledger_add(server->ledger, &call->entry);
    sl_exchange_set_data(x, NULL);
    call->x = NULL;
    uv_close((uv_handle_t *)&call->timer, call_closed);
}

static void call_step(uv_timer_t *timer);

static void call_later(mock_call *call, uint64_t ms)
{
    SL_ASSERT(call);
    if (call->fault == SL_MOCK_FAULT_SLOW)
        ms = ms * 10 + 100;
    (void)uv_timer_start(&call->timer, call_step, ms, 0);
}

static void answer_unary(mock_call *call)
{
    SL_ASSERT(call);
    sl_buf *out = &call->server->scratch;
    sl_buf_clear(out);
    sl_mock_body(&call->request, &call->plan, out);
    if (call->request.api != SL_MOCK_EMBEDDINGS)
        call->entry.completion_tokens = call->plan.tokens;
    if (call->fault == SL_MOCK_FAULT_TRUNCATE) {
        call->entry.outcome = SL_MOCK_TRUNCATED;
        sl_http_stream stream = {.status = 200,
                                 .content_type = "application/json",
                                 .has_length = true,
                                 .length = out->len,
                                 .first = sl_str_of(out->data, out->len / 2)};
        (void)sl_exchange_begin(call->x, &stream);
        if (call->x)
            sl_exchange_abort(call->x);
        return;
    }
    sl_http_reply reply = {.status = 200, .content_type = "application/json", .body = sl_buf_str(out)};
    sl_exchange_respond(call->x, &reply);
}

/* Writes `data`, in pieces of 7 bytes with a pause between when the call splits. True when all went out. */
static bool write_frames(mock_call *call, sl_str data, bool last)
{
    SL_ASSERT(call);
    if (call->fault != SL_MOCK_FAULT_SPLIT) {
        (void)sl_exchange_write(call->x, data, last);
        return true;
    }
    sl_str piece = sl_str_sub(data, call->split_at, 7);
    call->split_at += (uint32_t)piece.len;
    bool done = call->split_at >= data.len;
    (void)sl_exchange_write(call->x, piece, last && done);
    return done;
}

static void begin_stream(mock_call *call)
{
    SL_ASSERT(call);
    sl_http_stream stream = {.status = 200,
                             .content_type = "text/event-stream; charset=utf-8",
                             .fields = SL_STR("Cache-Control: no-cache\r\n")};
    (void)sl_exchange_begin(call->x, &stream);
}

/* Next step of a stream. */
static void answer_stream(mock_call *call)
{
    SL_ASSERT(call);
    uint32_t steps = sl_mock_steps(&call->request, &call->plan);
    sl_buf *out = &call->server->scratch;
    if (!sl_exchange_begun(call->x))
        begin_stream(call);
    if (call->x && call->fault == SL_MOCK_FAULT_TRUNCATE && call->step >= steps / 2) {
        call->entry.outcome = SL_MOCK_TRUNCATED;
        sl_exchange_abort(call->x);
        return;
    }
    sl_buf_clear(out);
    sl_mock_frames(&call->request, &call->plan, call->step, out);
    bool last = call->step + 1 == steps;
    if (!call->x || !write_frames(call, sl_buf_str(out), last)) {
        if (call->x)
            (void)uv_timer_start(&call->timer, call_step, 1, 0);
        return;
    }
    call->split_at = 0;
    if (last || call->step < call->plan.tokens)
        call->entry.completion_tokens = last ? call->plan.tokens : call->step + 1;
    call->step++;
    if (call->x && !last)
        call_later(call, call->server->options.itl_ms);
}

static void call_step(uv_timer_t *timer)
{
    SL_ASSERT(timer);
    mock_call *call = timer->data;
    if (!call->x)
        return;
    if (call->request.stream && call->request.api != SL_MOCK_EMBEDDINGS)
        answer_stream(call);
    else
        answer_unary(call);
}

/* Answers that need no plan. True when the call is dealt with. */
static bool answer_fault(mock_call *call)
{
    SL_ASSERT(call);
    sl_buf *out = &call->server->scratch;
    sl_buf_clear(out);
    if (call->fault == SL_MOCK_FAULT_429 || call->fault == SL_MOCK_FAULT_500) {
        bool limited = call->fault == SL_MOCK_FAULT_429;
        call->entry.outcome = limited ? SL_MOCK_LIMITED : SL_MOCK_FAILED;
        sl_mock_error(call->request.api, limited ? 429 : 500, limited ? "mock: rate limited" : "mock: internal error",
                      out);
        sl_http_reply reply = {.status = limited ? 429 : 500,
                               .content_type = "application/json",
                               .body = sl_buf_str(out),
                               .fields = limited ? SL_STR("Retry-After: 1\r\n") : SL_STR("")};
        sl_exchange_respond(call->x, &reply);
        return true;
    }
    if (call->fault == SL_MOCK_FAULT_HANG) {
        /* Now: a client that closes without a word cannot be told from one that only sends no more. */
        call->entry.outcome = SL_MOCK_HANG;
        sl_mock_ledger_add(call->server->ledger, &call->entry);
        return true;
    }
    if (call->fault == SL_MOCK_FAULT_RESET) {
        call->entry.outcome = SL_MOCK_RESET;
        sl_exchange_abort(call->x);
        return true;
    }
    return false;
}

/* ---- requests ---- */

static void copy_field(const sl_http1_head *head, sl_http_field_id id, char *to, size_t size)
{
    (void)sl_str_to_c(sl_http1_get(head, id), to, size);
}

static void fill_entry(mock_call *call, const sl_http1_head *head, sl_str path, sl_str body)
{
    SL_ASSERT(call);
    sl_mock_entry *e = &call->entry;
    e->number = call->plan.number;
    (void)sl_str_to_c(path, e->path, sizeof e->path);
    copy_field(head, SL_HTTP_X_REQUEST_ID, e->id, sizeof e->id);
    copy_field(head, SL_HTTP_TRACEPARENT, e->traceparent, sizeof e->traceparent);
    copy_field(head, SL_HTTP_TRACESTATE, e->tracestate, sizeof e->tracestate);
    copy_field(head, SL_HTTP_BAGGAGE, e->baggage, sizeof e->baggage);
    sl_str key = sl_http1_get(head, SL_HTTP_AUTHORIZATION);
    e->key_hash = key.len ? sl_mock_hash(key) : 0;
    e->body_hash = sl_mock_hash(body);
    e->request_bytes = body.len;
    snprintf(e->model, sizeof e->model, "%s", call->request.model);
    e->prompt_tokens = call->request.prompt_tokens;
    e->stream = call->request.stream;
    e->include_usage = call->request.include_usage;
}

static void plan_call(mock_call *call)
{
    SL_ASSERT(call);
    const sl_mock_options *o = &call->server->options;
    sl_mock_plan *plan = &call->plan;
    call->fault = draw_fault(call->server);
    plan->tokens = (uint32_t)o->tokens;
    if (call->request.max_tokens && call->request.max_tokens < plan->tokens) {
        plan->tokens = call->request.max_tokens;
        plan->cut = true;
    }
    plan->no_usage = call->fault == SL_MOCK_FAULT_NOUSAGE;
    plan->bad_json = call->fault == SL_MOCK_FAULT_BADJSON;
    if (plan->bad_json)
        call->entry.outcome = SL_MOCK_BADJSON;
}

static void refuse(sl_mock_server *server, sl_exchange *x, sl_mock_api api, int status, const char *reason)
{
    SL_ASSERT(server);
    sl_buf_clear(&server->scratch);
    sl_mock_error(api, status, reason, &server->scratch);
    sl_http_reply reply = {.status = status, .content_type = "application/json", .body = sl_buf_str(&server->scratch)};
    sl_exchange_respond(x, &reply);
}

static void start_call(sl_mock_server *server, sl_exchange *x, sl_mock_api api, sl_str path)
{
    const char *reason = NULL;
    mock_call *call = sl_calloc(1, sizeof *call);
    sl_str body = sl_exchange_body(x);
    if (!call || !sl_mock_read(api, body, &call->request, &reason)) {
        refuse(server, x, api, call ? 400 : 500, call ? reason : "out of memory");
        sl_free(call);
        return;
    }
    call->server = server;
    call->x = x;
    call->plan.number = ++server->next_number;
    plan_call(call);
    fill_entry(call, sl_exchange_head(x), path, body);
    (void)uv_timer_init(&server->loop->uv, &call->timer);
    call->timer.data = call;
    sl_exchange_set_data(x, call);
    if (answer_fault(call))
        return;
    if (server->options.ttft_ms == 0 && !call->request.stream && call->fault != SL_MOCK_FAULT_SLOW)
        call_step(&call->timer);
    else
        call_later(call, server->options.ttft_ms);
}

static void list_models(sl_mock_server *server, sl_exchange *x)
{
    (void)server;
    sl_http_reply reply = {.status = 200,
                           .content_type = "application/json",
                           .body = SL_STR("{\"object\":\"list\",\"data\":[{\"id\":\"mock\",\"object\":\"model\","
                                          "\"created\":1700000000,\"owned_by\":\"sightline-mock\"}]}")};
    sl_exchange_respond(x, &reply);
}

static void show_ledger(sl_mock_server *server, sl_exchange *x)
{
    SL_ASSERT(server);
    sl_buf out;
    sl_buf_init(&out, 512u << 20);
    int error = sl_mock_ledger_json(server->ledger, &out);
    sl_http_reply reply = {.status = error ? 500 : 200,
                           .content_type = "application/json",
                           .body = error ? SL_STR("{}") : sl_buf_str(&out)};
    sl_exchange_respond(x, &reply);
    sl_buf_done(&out);
}

static void on_request(void *user, sl_exchange *x)
{
    sl_mock_server *server = user;
    const sl_http1_head *head = sl_exchange_head(x);
    sl_str path, query;
    sl_target_split(head->target, &path, &query);
    bool post = head->method_id == SL_HTTP_POST;
    bool reads = head->method_id == SL_HTTP_GET || head->method_id == SL_HTTP_HEAD;
    for (size_t i = 0; post && i < sizeof routes / sizeof *routes; i++) {
        if (sl_str_eq_c(path, routes[i].path)) {
            start_call(server, x, routes[i].api, path);
            return;
        }
    }
    if (reads && (sl_str_eq_c(path, "/v1/models") || sl_str_eq_c(path, "/models"))) {
        list_models(server, x);
    } else if (reads && sl_str_eq_c(path, "/mock/ledger")) {
        show_ledger(server, x);
    } else if (post && sl_str_eq_c(path, "/mock/reset")) {
        sl_mock_ledger_reset(server->ledger);
        sl_rng_init_seed(&server->rng, server->options.seed);
        sl_http_reply reply = {.status = 200, .content_type = "application/json", .body = SL_STR("{\"reset\":true}\n")};
        sl_exchange_respond(x, &reply);
    } else {
        refuse(server, x, SL_MOCK_CHAT, 404,
               "the mock serves /v1/chat/completions, /v1/completions, /v1/embeddings, /v1/messages, "
               "/v1/models, /mock/ledger, /mock/reset");
    }
}

int sl_mock_server_new(sl_loop *loop, int fd, const sl_mock_options *options, sl_mock_server **ret_server)
{
    SL_ASSERT(ret_server);
    sl_mock_server *server = sl_calloc(1, sizeof *server);
    if (!server)
        return SL_ENOMEM;
    server->loop = loop;
    server->options = *options;
    sl_rng_init_seed(&server->rng, options->seed);
    sl_buf_init(&server->scratch, 64u << 20);
    server->ledger = sl_mock_ledger_new();
    sl_http_handler handler = {.user = server, .on_request = on_request, .on_done = on_done};
    int error = server->ledger ? sl_http_server_new(loop, &handler, NULL, &server->http) : SL_ENOMEM;
    if (!error)
        error = sl_http_server_listen(server->http, fd);
    if (error) {
        sl_mock_server_close(server);
        sl_mock_server_free(server);
        return error;
    }
    *ret_server = server;
    return 0;
}

void sl_mock_server_close(sl_mock_server *server)
{
    if (server && server->http)
        sl_http_server_close(server->http);
    if (server)
        server->http = NULL;
}

void sl_mock_server_free(sl_mock_server *server)
{
    if (!server)
        return;
    SL_ASSERT(!server->http);
    sl_mock_ledger_free(server->ledger);
    sl_buf_done(&server->scratch);
    sl_free(server);
}
