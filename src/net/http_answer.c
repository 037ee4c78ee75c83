/* Writing answers: heads, whole bodies, chunks, errors. */
#include <stdio.h>

#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/net/http_conn.h"
#include "src/wire/http1_write.h"
#include "src/wire/json_write.h"

#define JOINED_MAX 8192 /* pieces up to here are put together: one costs the kernel less than several */

/* ---- sending ---- */

static void on_written(uv_write_t *request, int status)
{
    SL_ASSERT(request);
    sl_exchange *x = request->handle->data;
    sl_free(request);
    if (x->state == SL_CONN_CLOSING)
        return;
    if (status < 0) {
        sl_conn_close(x, SL_ECLOSED);
        return;
    }
    size_t left = x->tcp.write_queue_size;
    if (left > 0)
        sl_timer_set(x->server->loop, &x->timer, x->timer.fn, x->server->options.write_timeout_ms);
    if (x->blocked && left <= x->server->options.low_water) {
        x->blocked = false;
        if (x->server->handler.on_writable && !x->ended)
            x->server->handler.on_writable(x->server->handler.user, x);
    }
    if (x->state == SL_CONN_CLOSING || x->tcp.write_queue_size > 0)
        return;
    x->writing = false;
    sl_timer_rest(&x->timer);
    if (x->ended)
        sl_conn_answered(x);
}

static void on_write_late(sl_timer *timer)
{
    sl_exchange *x = (sl_exchange *)((char *)timer - offsetof(sl_exchange, timer));
    sl_conn_close(x, SL_ETIMEOUT);
}

void sl_conn_send(sl_exchange *x, uv_buf_t *pieces, unsigned count)
{
    SL_ASSERT(x->state != SL_CONN_CLOSING);
    for (unsigned i = 0; i < count; i++)
        x->bytes_out += pieces[i].len;
    if (sl_stream_write((uv_stream_t *)&x->tcp, pieces, count, on_written) != 0) {
        sl_conn_close(x, SL_ECLOSED);
        return;
    }
    if (SL_UNLIKELY(x->tcp.write_queue_size > 0) && !x->writing) {
        x->writing = true;
        sl_timer_set(x->server->loop, &x->timer, on_write_late, x->server->options.write_timeout_ms);
    }
}

void sl_conn_send_text(sl_exchange *x, sl_str text)
{
    SL_ASSERT(text.ptr || !text.len);
    uv_buf_t piece = uv_buf_init((char *)text.ptr, (unsigned)text.len);
    sl_conn_send(x, &piece, 1);
}

/* ---- heads ---- */

static const char *date_line(sl_http_server *server)
{
    SL_ASSERT(server);
    uint64_t second = sl_now_coarse_ns() / 1000000000u;
    if (second != server->date_second) {
        time_t now = (time_t)second;
        struct tm tm;
        (void)gmtime_r(&now, &tm);
        (void)strftime(server->date, sizeof server->date, "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &tm);
        server->date_second = second;
    }
    return server->date;
}

static void put_status(sl_buf *head, int status)
{
    if (SL_LIKELY(status == 200)) {
        (void)sl_buf_put_str(head, SL_STR("HTTP/1.1 200 OK\r\n"));
        return;
    }
    SL_ASSERT(status >= 100 && status <= 599);
    (void)sl_buf_put_str(head, SL_STR("HTTP/1.1 "));
    (void)sl_buf_put_u64(head, (uint64_t)status);
    (void)sl_buf_put_char(head, ' ');
    (void)sl_buf_put_c(head, sl_http_status_text(status));
    (void)sl_buf_put_str(head, SL_STR("\r\n"));
}

void sl_exchange_allow(sl_exchange *x, unsigned methods)
{
    SL_ASSERT(x);
    x->allowed = methods;
}

/* RFC 9110, 15.5.6: a 405 says which methods there are. */
static void put_allow(sl_buf *head, unsigned methods)
{
    static const char *const names[] = {
        [SL_HTTP_GET] = "GET",     [SL_HTTP_HEAD] = "HEAD",     [SL_HTTP_POST] = "POST",
        [SL_HTTP_PUT] = "PUT",     [SL_HTTP_DELETE] = "DELETE", [SL_HTTP_OPTIONS] = "OPTIONS",
        [SL_HTTP_PATCH] = "PATCH", [SL_HTTP_TRACE] = "TRACE"};
    const char *between = "Allow: ";
    for (unsigned i = SL_HTTP_GET; i <= SL_HTTP_TRACE; i++) {
        if (!(methods & 1u << i))
            continue;
        (void)sl_buf_put_c(head, between);
        (void)sl_buf_put_c(head, names[i]);
        between = ", ";
    }
    (void)sl_buf_put_str(head, SL_STR("\r\n"));
}

/* Everything of the head but the framing. Leaves it in the loop's scratch buffer. */
static sl_buf *head_start(sl_exchange *x, int status, const char *content_type, sl_str fields)
{
    SL_ASSERT(x);
    sl_buf *head = &x->server->loop->scratch;
    sl_buf_clear(head);
    put_status(head, status);
    (void)sl_buf_put(head, date_line(x->server), SL_HTTP_DATE_LEN);
    if (content_type) {
        (void)sl_buf_put_str(head, SL_STR("Content-Type: "));
        (void)sl_buf_put_c(head, content_type);
        (void)sl_buf_put_str(head, SL_STR("\r\n"));
    }
    (void)sl_buf_put_str(head, fields);
    if (SL_UNLIKELY(status == 405 && x->allowed))
        put_allow(head, x->allowed);
    return head;
}

static void put_length(sl_buf *head, uint64_t length)
{
    (void)sl_buf_put_str(head, SL_STR("Content-Length: "));
    (void)sl_buf_put_u64(head, length);
    (void)sl_buf_put_str(head, SL_STR("\r\n"));
}

/* The fields on the connection itself, and the empty line. */
static void head_end(sl_exchange *x, sl_buf *head)
{
    SL_ASSERT(x);
    if (SL_UNLIKELY(!x->keep_alive))
        (void)sl_buf_put_str(head, SL_STR("Connection: close\r\n\r\n"));
    else if (SL_UNLIKELY(x->http_1_0))
        (void)sl_buf_put_str(head, SL_STR("Connection: keep-alive\r\n\r\n"));
    else
        (void)sl_buf_put_str(head, SL_STR("\r\n"));
}

/* Whether the connection can serve on after this answer. */
static void settle_keep_alive(sl_exchange *x, bool close)
{
    SL_ASSERT(x);
    if (close || x->server->draining)
        x->keep_alive = false;
    /* A body that is still on its way is read to its end only when that is cheap. */
    if (!x->request_read && x->body_left > SL_HTTP_DISCARD_MAX)
        x->keep_alive = false;
}

static void answer_is_out(sl_exchange *x)
{
    SL_ASSERT(x);
    x->ended = true;
    if (x->state != SL_CONN_CLOSING && !x->writing)
        sl_conn_answered(x);
}

static unsigned join(sl_http_server *server, uv_buf_t *pieces, unsigned count);

/* No body, whatever there would be of it, and nothing said about one: the next answer would begin with it. */
static bool is_bodyless(int status)
{
    return status == 204 || status == 304;
}

void sl_exchange_respond(sl_exchange *x, const sl_http_reply *reply)
{
    SL_ASSERT(!x->begun && !x->ended);
    if (x->state == SL_CONN_CLOSING)
        return;
    settle_keep_alive(x, reply->close);
    sl_buf *head = head_start(x, reply->status, reply->content_type, reply->fields);
    bool bodyless = is_bodyless(reply->status);
    if (!bodyless)
        put_length(head, reply->body.len);
    head_end(x, head);
    x->begun = true;
    if (head->failed) {
        sl_conn_close(x, SL_ENOMEM);
        return;
    }
    uv_buf_t pieces[2] = {uv_buf_init(head->data, (unsigned)head->len),
                          uv_buf_init((char *)reply->body.ptr, (unsigned)reply->body.len)};
    unsigned count = x->is_head || bodyless || reply->body.len == 0 ? 1 : 2;
    sl_conn_send(x, pieces, join(x->server, pieces, count));
    answer_is_out(x);
}

/* ---- streams ---- */

/* The pieces of one part of the body behind `count` pieces of head. Returns their number. */
static unsigned frame(sl_exchange *x, sl_str data, bool last, char line[SL_CHUNKED_HEADER_MAX], uv_buf_t *pieces,
                      unsigned count)
{
    SL_ASSERT(x && pieces);
    if (x->is_head)
        return count;
    if (!x->chunks) {
        if (data.len)
            pieces[count++] = uv_buf_init((char *)data.ptr, (unsigned)data.len);
        return count;
    }
    if (data.len) {
        pieces[count++] = uv_buf_init(line, (unsigned)sl_chunked_header(data.len, line));
        pieces[count++] = uv_buf_init((char *)data.ptr, (unsigned)data.len);
        pieces[count++] = last ? uv_buf_init((char *)"\r\n0\r\n\r\n", 7) : uv_buf_init((char *)"\r\n", 2);
    } else if (last) {
        pieces[count++] = uv_buf_init((char *)"0\r\n\r\n", 5);
    }
    return count;
}

/* Puts small pieces together. Returns the number of pieces: 1, or what it was when they are large. */
static unsigned join(sl_http_server *server, uv_buf_t *pieces, unsigned count)
{
    size_t total = 0;
    for (unsigned i = 0; i < count; i++)
        total += pieces[i].len;
    if (count < 2 || total > JOINED_MAX)
        return count;
    sl_buf *joined = &server->joined;
    sl_buf_clear(joined);
    if (sl_buf_reserve(joined, total) != 0)
        return count;
    for (unsigned i = 0; i < count; i++)
        (void)sl_buf_put(joined, pieces[i].base, pieces[i].len);
    pieces[0] = uv_buf_init(joined->data, (unsigned)joined->len);
    return 1;
}

static bool too_much(sl_exchange *x)
{
    SL_ASSERT(x);
    if (SL_LIKELY(x->tcp.write_queue_size <= x->server->options.high_water) || x->state == SL_CONN_CLOSING)
        return false;
    x->blocked = true;
    return true;
}

/* Counts against an announced length; an answer that does not keep it must not look whole. */
static bool length_broken(sl_exchange *x, size_t len, bool last)
{
    SL_ASSERT(x);
    if (x->chunks || x->length_left == UINT64_MAX)
        return false;
    if (len > x->length_left || (last && len < x->length_left))
        return true;
    x->length_left -= len;
    return false;
}

bool sl_exchange_begin(sl_exchange *x, const sl_http_stream *stream)
{
    SL_ASSERT(!x->begun && !x->ended);
    if (x->state == SL_CONN_CLOSING)
        return false;
    x->chunks = !stream->has_length && !x->http_1_0;
    settle_keep_alive(x, !stream->has_length && x->http_1_0);
    sl_buf *head = head_start(x, stream->status, stream->content_type, stream->fields);
    x->length_left = UINT64_MAX;
    if (is_bodyless(stream->status)) {
        x->is_head = true;
    } else if (stream->has_length) {
        put_length(head, stream->length);
        x->length_left = stream->length;
    } else if (x->chunks) {
        (void)sl_buf_put_str(head, SL_STR("Transfer-Encoding: chunked\r\n"));
    }
    head_end(x, head);
    x->begun = true;
    if (head->failed || (!x->is_head && length_broken(x, stream->first.len, stream->last))) {
        sl_conn_close(x, head->failed ? SL_ENOMEM : SL_EPROTO);
        return false;
    }
    char line[SL_CHUNKED_HEADER_MAX];
    uv_buf_t pieces[4] = {uv_buf_init(head->data, (unsigned)head->len)};
    unsigned count = frame(x, stream->first, stream->last, line, pieces, 1);
    sl_conn_send(x, pieces, join(x->server, pieces, count));
    if (stream->last) {
        answer_is_out(x);
        return false;
    }
    return too_much(x);
}

bool sl_exchange_write(sl_exchange *x, sl_str data, bool last)
{
    if (x->state == SL_CONN_CLOSING)
        return false;
    SL_ASSERT(x->begun && !x->ended);
    if (!x->is_head && length_broken(x, data.len, last)) {
        sl_conn_close(x, SL_EPROTO);
        return false;
    }
    char line[SL_CHUNKED_HEADER_MAX];
    uv_buf_t pieces[3];
    unsigned count = frame(x, data, last, line, pieces, 0);
    if (count)
        sl_conn_send(x, pieces, join(x->server, pieces, count));
    if (last) {
        answer_is_out(x);
        return false;
    }
    return too_much(x);
}

void sl_exchange_abort(sl_exchange *x)
{
    sl_conn_close(x, SL_ECLOSED);
}

/* ---- errors ---- */

/* {"error":{...}}, as OpenAI's API has it. */
static void put_error(sl_buf *body, const char *type, const char *code, const char *message)
{
    (void)sl_buf_put_str(body, SL_STR("{\"error\":{\"message\":"));
    (void)sl_json_put_string(body, sl_str_c(message));
    (void)sl_buf_put_str(body, SL_STR(",\"type\":"));
    (void)sl_json_put_string(body, sl_str_c(type));
    (void)sl_buf_put_str(body, SL_STR(",\"param\":null,\"code\":"));
    if (code)
        (void)sl_json_put_string(body, sl_str_c(code));
    else
        (void)sl_buf_put_str(body, SL_STR("null"));
    (void)sl_buf_put_str(body, SL_STR("}}"));
}

/* {"detail":...}, as FastAPI's services have it. */
static void put_detail(sl_buf *body, const char *message)
{
    (void)sl_buf_put_str(body, SL_STR("{\"detail\":"));
    (void)sl_json_put_string(body, sl_str_c(message));
    (void)sl_buf_put_str(body, SL_STR("}"));
}

void sl_exchange_error(sl_exchange *x, int status, const char *type, const char *code, const char *message)
{
    SL_ASSERT(type && message && status >= 400);
    sl_buf body;
    sl_buf_init(&body, 4096);
    if (x->server->options.detail_errors)
        put_detail(&body, message);
    else
        put_error(&body, type, code, message);
    sl_http_reply reply = {.status = status, .content_type = "application/json", .body = sl_buf_str(&body)};
    if (status == 401) /* RFC 9110, 15.5.2: it says how to come with a key */
        reply.fields = SL_STR("WWW-Authenticate: Bearer\r\n");
    if (body.failed && x->server->options.detail_errors)
        reply.body = SL_STR("{\"detail\":\"error\"}");
    else if (body.failed)
        reply.body =
            SL_STR("{\"error\":{\"message\":\"error\",\"type\":\"server_error\",\"param\":null,\"code\":null}}");
    sl_exchange_respond(x, &reply);
    sl_buf_done(&body);
}
