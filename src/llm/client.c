/* The life of a client and of its calls. */
#include "src/llm/client.h"

#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/llm/client_impl.h"
#include "src/llm/tables.h"
#include "src/wire/http1_write.h"

#define DEFAULT_TIMEOUT_MS 600000u

/* ---- clients ---- */

int sl_llm_client_new(sl_loop *loop, sl_sdk *sdk, sl_llm_client **ret_client)
{
    SL_ASSERT(loop && ret_client);
    sl_llm_init();
    sl_llm_client *client = sl_calloc(1, sizeof *client);
    if (!client)
        return SL_ENOMEM;
    client->loop = loop;
    int error = sl_upstream_new(loop, NULL, &client->upstream);
    if (error) {
        sl_free(client);
        return error;
    }
    if (sdk)
        sl_llm_telemetry_init(client, sdk);
    *ret_client = client;
    return 0;
}

void sl_llm_client_close(sl_llm_client *client)
{
    if (!client || client->closing)
        return;
    client->closing = true;
    while (client->calls)
        sl_llm_cancel(client->calls);
    sl_upstream_close(client->upstream);
    sl_llm_client_close(client->older);
}

static void free_one(sl_llm_client *client)
{
    SL_ASSERT(client->closing && !client->calls && !client->users);
    sl_upstream_free(client->upstream);
    for (size_t i = 0; i < client->place_count; i++)
        sl_llm_place_done(&client->places[i]);
    sl_free(client->places);
    sl_free(client);
}

void sl_llm_client_free(sl_llm_client *client)
{
    while (client) {
        sl_llm_client *older = client->older;
        free_one(client);
        client = older;
    }
}

void sl_llm_client_replace(sl_llm_client **client, sl_llm_client *fresh)
{
    SL_ASSERT(client && *client && fresh && !fresh->older && fresh->loop == (*client)->loop);
    fresh->older = *client;
    *client = fresh;
}

/* The turn in which it is closed ends its connections; what is left of it goes with a later one. */
void sl_llm_client_sweep(sl_llm_client *client)
{
    SL_ASSERT(client && !client->closing);
    for (sl_llm_client **at = &client->older; *at;) {
        sl_llm_client *old = *at;
        if (old->closing) {
            *at = old->older;
            free_one(old);
            continue;
        }
        if (!old->users) {
            sl_llm_client *rest = old->older; /* closing takes what is behind it along */
            old->older = NULL;
            sl_llm_client_close(old);
            old->older = rest;
        }
        at = &old->older;
    }
}

sl_llm_client *sl_llm_client_use(sl_llm_client *client)
{
    if (client)
        client->users++;
    return client;
}

void sl_llm_client_leave(sl_llm_client *client)
{
    if (!client)
        return;
    SL_ASSERT(client->users > 0);
    client->users--;
}

/* ---- calls ---- */

static void call_free(sl_llm_call *call)
{
    SL_ASSERT(!call->span);
    sl_buf_done(&call->head);
    sl_buf_done(&call->request);
    sl_buf_done(&call->body);
    sl_buf_done(&call->joined);
    sl_buf_done(&call->text);
    sl_sse_done(&call->sse);
    json_decref(call->vectors);
    json_decref(call->usage);
    sl_free(call->names);
    sl_free(call);
}

/* All names behind one another; the views point there. */
static int keep_names(sl_llm_call *call, const sl_llm_place *place, const sl_llm_request *request, sl_str asked)
{
    SL_ASSERT(call && place);
    sl_str model = request->model.len ? request->model : asked;
    const sl_str texts[] = {place->provider, place->name, model, asked, place->key};
    sl_str *const views[] = {&call->provider, &call->endpoint, &call->model, &call->asked, &call->key};
    enum { COUNT = sizeof views / sizeof *views };
    size_t total = 1;
    for (size_t i = 0; i < COUNT; i++)
        total += texts[i].len;
    call->names = sl_malloc(total);
    if (!call->names)
        return SL_ENOMEM;
    char *at = call->names;
    for (size_t i = 0; i < COUNT; i++) {
        if (texts[i].len)
            memcpy(at, texts[i].ptr, texts[i].len);
        *views[i] = sl_str_of(at, texts[i].len);
        at += texts[i].len;
    }
    return 0;
}

static void set_up(sl_llm_call *call, const sl_llm_place *place, const sl_llm_request *request)
{
    SL_ASSERT(call && place && request);
    call->operation = request->operation;
    call->protocol = place->protocol;
    call->origin = place->origin;
    call->stream = request->stream && request->operation == SL_LLM_CHAT;
    call->input_count = json_is_array(request->input) ? json_array_size(request->input) : 1;
    call->has_price = place->has_price;
    call->price = place->price;
    call->timeout_ms = request->timeout_ms ? request->timeout_ms : DEFAULT_TIMEOUT_MS;
    call->on_text = request->on_text;
    call->on_done = request->on_done;
    call->user = request->user;
    sl_buf_init(&call->head, SL_LLM_HEAD_BYTES);
    sl_buf_init(&call->request, SL_MAX_LLM_REQUEST_BYTES);
    sl_buf_init(&call->body, SL_MAX_LLM_ANSWER_BYTES);
    sl_buf_init(&call->joined, SL_MAX_SSE_FRAME_BYTES);
    sl_buf_init(&call->text, SL_MAX_LLM_ANSWER_BYTES);
    sl_sse_init(&call->sse, 0);
    uint64_t patience = call->timeout_ms + 1000 < UINT32_MAX ? call->timeout_ms + 1000 : UINT32_MAX;
    call->http.handler = &sl_llm_call_handler;
    call->http.user = call;
    call->http.wait_timeout_ms = call->http.read_timeout_ms = (uint32_t)patience;
}

static int put_head(sl_llm_call *call, const sl_llm_place *place)
{
    SL_ASSERT(call && place);
    sl_buf *head = &call->head;
    (void)sl_buf_put_str(head, place->head[call->operation]);
    if (call->stream)
        (void)sl_http1_put_field(head, SL_STR("Accept"), SL_STR("text/event-stream"));
    sl_llm_trace_inject(call, head);
    (void)sl_http1_put_field_u64(head, SL_STR("Content-Length"), call->request.len);
    return sl_http1_put_end(head);
}

static void begin(sl_llm_call *call)
{
    SL_ASSERT(call && call->origin);
    sl_llm_client *client = call->client;
    call->next = client->calls;
    call->prev = &client->calls;
    if (call->next)
        call->next->prev = &call->next;
    client->calls = call;
    call->http.pieces[0] = sl_buf_str(&call->head);
    call->http.pieces[1] = sl_buf_str(&call->request);
    call->http.piece_count = 2;
    sl_timer_set(client->loop, &call->timer, sl_llm_on_timeout, call->timeout_ms);
    sl_call_start(&call->http, call->origin);
}

int sl_llm_start(sl_llm_client *client, const sl_llm_request *request, sl_llm_call **ret_call)
{
    SL_ASSERT(client && request && request->on_done && ret_call);
    sl_str asked;
    const sl_llm_place *place = sl_llm_place_choose(client, request, &asked);
    if (client->closing)
        return SL_ECLOSED;
    if (!place)
        return SL_ENOENT;
    if (request->operation <= SL_LLM_NONE || request->operation >= SL_LLM_OPERATION_COUNT || !asked.len)
        return SL_EINVAL;
    if (!place->head[request->operation].len)
        return SL_ENOTSUP;
    sl_llm_call *call = sl_calloc(1, sizeof *call);
    if (!call)
        return SL_ENOMEM;
    call->client = client;
    set_up(call, place, request);
    int error = keep_names(call, place, request, asked);
    if (!error)
        error = sl_llm_put_body(&call->request, call->protocol, call->asked, request);
    if (error) {
        call_free(call);
        return error;
    }
    call->start_ns = call->http.start_ns = sl_mono_ns();
    sl_llm_trace_start(call, request);
    error = put_head(call, place);
    if (error) {
        sl_llm_trace_end(call, "internal", 0);
        call_free(call);
        return error == SL_ELIMIT ? SL_ETOOBIG : error;
    }
    begin(call);
    *ret_call = call;
    return 0;
}

void sl_llm_enter(sl_llm_call *call)
{
    SL_ASSERT(call);
    call->depth++;
}

void sl_llm_leave(sl_llm_call *call)
{
    SL_ASSERT(call && call->depth > 0);
    if (--call->depth == 0 && call->over)
        call_free(call);
}

/* Takes a call out of the client; nothing comes for it any more. */
static void unlink_call(sl_llm_call *call)
{
    SL_ASSERT(call && !call->over);
    call->over = true;
    *call->prev = call->next;
    if (call->next)
        call->next->prev = call->prev;
    sl_timer_stop(call->client->loop, &call->timer);
    sl_call_cancel(&call->http);
}

void sl_llm_cancel(sl_llm_call *call)
{
    if (!call || call->over)
        return;
    sl_llm_enter(call);
    unlink_call(call);
    sl_llm_trace_end(call, "cancelled", sl_mono_ns() - call->start_ns);
    sl_llm_leave(call);
}

/* ---- ends ---- */

/* The rules of what a usage means stand in one place: usage.c. */
static void read_tokens(sl_llm_call *call)
{
    SL_ASSERT(call);
    sl_answer answer;
    sl_answer_init(&answer);
    sl_buf text;
    sl_buf_init(&text, 64 * 1024);
    (void)sl_buf_put_c(&text, "{\"usage\":");
    if (json_is_object(call->usage) && sl_json_put_value(&text, call->usage) == 0 && sl_buf_put_char(&text, '}') == 0)
        (void)!sl_answer_read(&answer, sl_buf_str(&text));
    sl_buf_done(&text);
    call->tokens = answer.usage;
}

static uint64_t count_of(int64_t tokens)
{
    return tokens > 0 ? (uint64_t)tokens : 0;
}

static void add_cost(const sl_llm_call *call, sl_llm_result *result)
{
    SL_ASSERT(call && result);
    sl_price price = call->price;
    bool known = call->has_price || sl_price_find(call->provider, sl_str_c(call->answered), &price) ||
                 sl_price_find(call->provider, call->asked, &price);
    if (!known || !result->has_usage)
        return;
    sl_price_tokens tokens = {.input = result->input_tokens,
                              .output = result->output_tokens,
                              .cache_read = result->cached_tokens,
                              .cache_write = result->cache_write_tokens};
    result->cost_known = true;
    result->cost_usd = sl_price_cost(&price, &tokens);
}

static void fill_result(const sl_llm_call *call, uint64_t took_ns, sl_llm_result *result)
{
    SL_ASSERT(call && result);
    const sl_usage *t = &call->tokens;
    sl_str answered = sl_str_c(call->answered);
    *result = (sl_llm_result){.error = call->error,
                              .http_status = call->status,
                              .retryable = call->retryable,
                              .retry_after_ms = call->retry_after_ms,
                              .message = call->message,
                              .text = sl_buf_str(&call->text),
                              .vectors = call->vectors,
                              .protocol = call->protocol,
                              .model = answered.len ? answered : call->asked,
                              .finish_reason = sl_str_c(call->reason),
                              .id = sl_str_c(call->id),
                              .usage = call->usage,
                              .has_usage = t->known,
                              .input_tokens = count_of(t->input),
                              .output_tokens = count_of(t->output),
                              .cached_tokens = count_of(t->cache_read),
                              .cache_write_tokens = count_of(t->cache_write),
                              .duration_ns = took_ns,
                              .first_token_ns = call->first_ns ? call->first_ns - call->start_ns : 0};
    add_cost(call, result);
}

void sl_llm_finish(sl_llm_call *call)
{
    SL_ASSERT(call && !call->over);
    sl_llm_enter(call);
    uint64_t took_ns = sl_mono_ns() - call->start_ns;
    unlink_call(call);
    read_tokens(call);
    if (call->error) {
        sl_buf_clear(&call->text);
        json_decref(call->vectors);
        call->vectors = NULL;
    }
    sl_llm_result result;
    fill_result(call, took_ns, &result);
    sl_llm_trace_end(call, call->error ? call->error_type : NULL, took_ns);
    call->on_done(call->user, &result);
    sl_llm_leave(call);
}
