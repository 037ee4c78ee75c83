/* Heads of requests, bodies of answers. */
#include "src/flow/worker_http.h"

#include "src/base/assert.h"
#include "src/base/mem.h"

#define MAX_HEAD 8192u
#define MAX_ANSWER (64u * 1024 * 1024)

struct sl_ask {
    sl_call call;
    sl_buf out; /* head and body */
    sl_buf in;
    int status;
    sl_ask_fn fn;
    void *user;
};

int sl_ask_put_segment(sl_buf *out, sl_str text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        char lower = sl_ascii_lower((char)c);
        if ((c >= '0' && c <= '9') || (lower >= 'a' && lower <= 'z') || (c && strchr("-._~", c)))
            (void)sl_buf_put_char(out, (char)c);
        else
            (void)sl_buf_printf(out, "%%%02X", c);
    }
    return out->failed;
}

static void ask_free(sl_ask *ask)
{
    sl_buf_done(&ask->out);
    sl_buf_done(&ask->in);
    sl_free(ask);
}

static void finish(sl_ask *ask)
{
    SL_ASSERT(ask->fn);
    json_t *answer = ask->status && !ask->in.failed && ask->in.len
                         ? json_loadb(ask->in.data, ask->in.len, JSON_DECODE_ANY, NULL)
                         : NULL;
    ask->fn(ask->user, ask->status, answer);
    json_decref(answer);
    ask_free(ask);
}

static void on_read(sl_call *call, const sl_http1_head *head, sl_str body, bool end)
{
    sl_ask *ask = call->user;
    if (head)
        ask->status = head->status;
    (void)sl_buf_put_str(&ask->in, body);
    if (end)
        finish(ask);
}

static void on_fail(sl_call *call, int error, const char *reason)
{
    sl_ask *ask = call->user;
    (void)error;
    (void)reason;
    ask->status = 0;
    finish(ask);
}

static void put_field(sl_buf *out, const char *name, sl_str value)
{
    if (value.len)
        (void)sl_buf_printf(out, "%s: %.*s\r\n", name, (int)value.len, value.ptr);
}

sl_ask *sl_ask_start(const sl_ask_options *options)
{
    static const sl_call_handler handler = {on_read, on_fail};
    SL_ASSERT(options && options->origin && options->fn);
    sl_ask *ask = sl_calloc(1, sizeof *ask);
    if (!ask)
        return NULL;
    sl_buf *out = &ask->out;
    sl_buf_init(out, MAX_HEAD + options->body.len);
    sl_buf_init(&ask->in, MAX_ANSWER);
    (void)sl_buf_printf(out, "POST %.*s HTTP/1.1\r\n", (int)options->path.len, options->path.ptr);
    put_field(out, "Host", options->authority);
    if (options->key.len)
        (void)sl_buf_printf(out, "Authorization: Bearer %.*s\r\n", (int)options->key.len, options->key.ptr);
    put_field(out, "traceparent", options->traceparent);
    put_field(out, "Idempotency-Key", options->idempotency_key);
    (void)sl_buf_printf(out, "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n", options->body.len);
    if (sl_buf_put_str(out, options->body) != 0 || out->failed) {
        ask_free(ask);
        return NULL;
    }
    ask->fn = options->fn;
    ask->user = options->user;
    ask->call.handler = &handler;
    ask->call.user = ask;
    ask->call.pieces[0] = sl_buf_str(out);
    ask->call.piece_count = 1;
    ask->call.connect_timeout_ms = 5000;
    ask->call.wait_timeout_ms = options->wait_ms;
    ask->call.read_timeout_ms = 30000;
    sl_call_start(&ask->call, options->origin);
    return ask;
}

void sl_ask_cancel(sl_ask *ask)
{
    if (!ask)
        return;
    sl_call_cancel(&ask->call);
    ask_free(ask);
}
