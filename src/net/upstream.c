/* Calls, the pool, and the parsing of answers. Origins: up_origin.c. */
#include "src/net/upstream.h"

#include <stdio.h>

#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/net/up_conn.h"

#define STALE_NS 1000000000u /* after sending: a connection that was closed meanwhile has told by then */
#define HEAD_IN_PARTS_MAX (2u * SL_MAX_HEAD_BYTES + SL_LOOP_READ_BYTES)

static void on_call_timer(sl_timer *timer);

/* ---- lists ---- */

void sl_up_link(sl_up_conn **list, sl_up_conn *conn)
{
    SL_ASSERT(!conn->prev);
    conn->next = *list;
    conn->prev = list;
    if (conn->next)
        conn->next->prev = &conn->next;
    *list = conn;
}

void sl_up_unlink(sl_up_conn *conn)
{
    SL_ASSERT(conn);
    if (!conn->prev)
        return;
    *conn->prev = conn->next;
    if (conn->next)
        conn->next->prev = conn->prev;
    conn->next = NULL;
    conn->prev = NULL;
}

/* ---- ends of connections and calls ---- */

void sl_up_conn_free(sl_up_conn *conn)
{
    SL_ASSERT(conn);
    sl_buf_done(&conn->in);
    sl_buf_done(&conn->out);
    sl_free(conn);
}

static void on_conn_closed(uv_handle_t *handle)
{
    SL_ASSERT(handle);
    sl_up_conn *conn = handle->data;
    conn->origin->closing--;
    sl_up_conn_free(conn);
}

void sl_up_close(sl_up_conn *conn)
{
    if (conn->state == SL_UP_CLOSING)
        return;
    SL_ASSERT(!conn->call);
    if (conn->state == SL_UP_IDLE)
        conn->origin->stats.idle--;
    else
        conn->origin->stats.active--;
    conn->state = SL_UP_CLOSING;
    sl_up_unlink(conn);
    if (conn->origin->tls)
        sl_up_tls_done(conn);
    conn->origin->closing++;
    uv_close(&conn->handle, on_conn_closed);
}

/* Parts call and connection; the connection is the caller's to close or keep. */
static void detach(sl_call *call)
{
    if (call->conn) {
        SL_ASSERT(call->conn->call == call);
        call->conn->call = NULL;
        call->conn = NULL;
    }
    sl_up_unwait(call);
    sl_timer_stop(call->origin->upstream->loop, &call->timer);
    SL_ASSERT(call->origin->calls > 0);
    call->origin->calls--;
    call->phase = SL_CALL_OVER;
}

void sl_call_fail(sl_call *call, int error, const char *reason)
{
    SL_ASSERT(call->phase != SL_CALL_OVER && error < 0);
    sl_up_conn *conn = call->conn;
    detach(call);
    if (conn)
        sl_up_close(conn);
    call->handler->on_fail(call, error, reason);
}

static void on_fail_later(sl_timer *timer)
{
    sl_call *call = (sl_call *)((char *)timer - offsetof(sl_call, timer));
    sl_call_fail(call, call->fail_error, call->fail_reason);
}

void sl_call_fail_later(sl_call *call, int error, const char *reason)
{
    SL_ASSERT(call);
    call->fail_error = error;
    call->fail_reason = reason;
    sl_timer_stop(call->origin->upstream->loop, &call->timer);
    sl_timer_set(call->origin->upstream->loop, &call->timer, on_fail_later, 0);
}

void sl_up_fail(sl_up_conn *conn, int error, const char *reason)
{
    SL_ASSERT(conn);
    if (conn->call)
        sl_call_fail(conn->call, error, reason);
    else
        sl_up_close(conn);
}

void sl_call_cancel(sl_call *call)
{
    SL_ASSERT(call);
    if (call->phase == SL_CALL_OVER || call->phase == SL_CALL_IDLE)
        return;
    sl_up_conn *conn = call->conn;
    detach(call);
    if (conn)
        sl_up_close(conn);
}

static void on_call_timer(sl_timer *timer)
{
    sl_call *call = (sl_call *)((char *)timer - offsetof(sl_call, timer));
    static const char *const texts[] = {
        [SL_CALL_RESOLVE] = "the host name was not resolved in time",
        [SL_CALL_CONNECT] = "the connection was not accepted in time",
        [SL_CALL_TLS] = "the TLS handshake did not finish in time",
        [SL_CALL_WAIT] = "no answer came in time",
        [SL_CALL_BODY] = "the answer did not go on in time",
    };
    SL_ASSERT(call->phase > SL_CALL_IDLE && call->phase < SL_CALL_OVER);
    if (call->paused) {
        sl_timer_set(call->origin->upstream->loop, timer, on_call_timer, call->read_timeout_ms);
        return;
    }
    sl_call_fail(call, SL_ETIMEOUT, texts[call->phase]);
}

/* ---- the pool ---- */

static void on_idle_timer(sl_timer *timer)
{
    sl_origin *origin = (sl_origin *)((char *)timer - offsetof(sl_origin, idle_timer));
    sl_upstream *upstream = origin->upstream;
    uint64_t now = uv_now(&upstream->loop->uv);
    sl_up_conn *next;
    for (sl_up_conn *conn = origin->idle; conn; conn = next) {
        next = conn->next;
        if (now - conn->idle_since_ms >= upstream->options.idle_timeout_ms)
            sl_up_close(conn);
    }
    if (origin->idle)
        sl_timer_set(upstream->loop, timer, on_idle_timer, upstream->options.idle_timeout_ms / 4 + 1);
}

/* Keeps a connection for the next call, or closes it. */
static void give_back(sl_up_conn *conn)
{
    sl_origin *origin = conn->origin;
    sl_upstream *upstream = origin->upstream;
    SL_ASSERT(!conn->call);
    if (!conn->reusable || upstream->closed || origin->stats.idle >= upstream->options.max_idle) {
        sl_up_close(conn);
        return;
    }
    sl_buf_done(&conn->in);
    sl_buf_done(&conn->out);
    conn->served = true;
    conn->state = SL_UP_IDLE;
    conn->idle_since_ms = uv_now(&upstream->loop->uv);
    sl_up_unlink(conn);
    sl_up_link(&origin->idle, conn);
    origin->stats.active--;
    origin->stats.idle++;
    if (!origin->idle_timer.prev)
        sl_timer_set(upstream->loop, &origin->idle_timer, on_idle_timer, upstream->options.idle_timeout_ms);
}

static sl_up_conn *take_idle(sl_origin *origin)
{
    SL_ASSERT(origin);
    sl_up_conn *conn = origin->idle;
    if (!conn)
        return NULL;
    SL_ASSERT(conn->state == SL_UP_IDLE && !conn->call);
    sl_up_unlink(conn);
    sl_up_link(&origin->used, conn);
    conn->state = SL_UP_ACTIVE;
    origin->stats.idle--;
    origin->stats.active++;
    origin->stats.reused++;
    return conn;
}

/* ---- sending ---- */

/*
 * True when the call has been put on a fresh connection, because the pooled one was closed by the peer meanwhile. That
 * shows at once: a server that hangs up later has worked on the request, which must not be done twice unasked.
 */
static bool retried_stale(sl_up_conn *conn)
{
    SL_ASSERT(conn);
    sl_call *call = conn->call;
    if (!call || !conn->served || call->first_byte_ns != 0 || call->sends > 1 ||
        sl_mono_ns() - call->connected_ns > STALE_NS)
        return false;
    conn->origin->stats.stale++;
    call->conn = NULL;
    conn->call = NULL;
    sl_up_close(conn);
    call->request_sent = false;
    sl_up_connect(call);
    return true;
}

static void on_request_written(uv_write_t *request, int status)
{
    SL_ASSERT(request);
    sl_up_conn *conn = request->handle->data;
    sl_free(request);
    if (conn->state == SL_UP_CLOSING)
        return;
    conn->writing = false;
    if (status < 0)
        conn->reusable = false; /* reading tells how it ends */
    else if (conn->call)
        conn->call->request_sent = true;
}

/* The rest of the request that the kernel did not take at once; the bytes stay where they are. */
static int queue_rest(sl_up_conn *conn, uv_buf_t *pieces, unsigned count)
{
    uv_write_t *request = sl_malloc(sizeof *request);
    if (!request)
        return SL_ENOMEM;
    if (uv_write(request, (uv_stream_t *)&conn->tcp, pieces, count, on_request_written) != 0) {
        sl_free(request);
        return SL_ECLOSED;
    }
    conn->writing = true;
    return 0;
}

static int send_plain(sl_up_conn *conn)
{
    SL_ASSERT(conn);
    sl_call *call = conn->call;
    uv_buf_t pieces[SL_CALL_MAX_PIECES];
    unsigned count = 0;
    size_t total = 0;
    for (unsigned i = 0; i < call->piece_count; i++) {
        if (call->pieces[i].len == 0)
            continue;
        pieces[count++] = uv_buf_init((char *)call->pieces[i].ptr, (unsigned)call->pieces[i].len);
        total += call->pieces[i].len;
    }
    int written = uv_try_write((uv_stream_t *)&conn->tcp, pieces, count);
    if (SL_LIKELY(written >= 0 && (size_t)written == total)) {
        call->request_sent = true;
        return 0;
    }
    if (written < 0 && written != UV_EAGAIN)
        return SL_ECLOSED;
    size_t skip = written < 0 ? 0 : (size_t)written;
    unsigned first = 0;
    while (skip >= pieces[first].len)
        skip -= pieces[first++].len;
    pieces[first].base += skip;
    pieces[first].len -= skip;
    return queue_rest(conn, pieces + first, count - first);
}

static int send_tls(sl_up_conn *conn)
{
    SL_ASSERT(conn);
    sl_call *call = conn->call;
    if (conn->out.max == 0)
        sl_buf_init(&conn->out, (size_t)SL_MAX_BODY_BYTES + SL_MAX_HEAD_BYTES * 4);
    for (unsigned i = 0; i < call->piece_count; i++)
        (void)sl_buf_put_str(&conn->out, call->pieces[i]);
    if (conn->out.failed)
        return SL_ENOMEM;
    conn->out_at = 0;
    call->request_sent = true; /* a copy is on its way */
    sl_up_tls_flush(conn);
    return 0;
}

void sl_up_send(sl_up_conn *conn)
{
    sl_call *call = conn->call;
    sl_loop *loop = conn->origin->upstream->loop;
    SL_ASSERT(call && call->conn == conn);
    conn->state = SL_UP_ACTIVE;
    conn->head_seen = false;
    conn->reusable = true;
    conn->body = SL_HTTP1_BODY_NONE;
    sl_http1_parser_init(&conn->parser, 0);
    call->phase = SL_CALL_WAIT;
    call->reused = conn->served;
    call->sends++;
    call->connected_ns = conn->served ? call->start_ns : sl_mono_ns();
    sl_timer_set(loop, &call->timer, on_call_timer, call->wait_timeout_ms);
    int error = conn->origin->tls ? send_tls(conn) : send_plain(conn);
    if (SL_LIKELY(error == 0) || conn->state == SL_UP_CLOSING)
        return;
    if (error == SL_ECLOSED && retried_stale(conn))
        return;
    sl_call_fail_later(call, error, error == SL_ENOMEM ? "out of memory" : "the connection broke while sending");
}

static void fill_timeouts(sl_call *call)
{
    SL_ASSERT(call);
    if (!call->connect_timeout_ms)
        call->connect_timeout_ms = 10000;
    if (!call->wait_timeout_ms)
        call->wait_timeout_ms = 600000;
    if (!call->read_timeout_ms)
        call->read_timeout_ms = 600000;
}

void sl_call_start(sl_call *call, sl_origin *origin)
{
    SL_ASSERT(call && origin && call->handler && call->piece_count > 0 && call->piece_count <= SL_CALL_MAX_PIECES);
    SL_ASSERT(call->phase == SL_CALL_IDLE || call->phase == SL_CALL_OVER);
    call->origin = origin;
    origin->calls++;
    call->conn = NULL;
    call->sends = 0;
    call->request_sent = false;
    call->paused = false;
    call->first_byte_ns = 0;
    call->bytes_in = 0;
    if (call->start_ns == 0)
        call->start_ns = sl_mono_ns();
    fill_timeouts(call);
    sl_up_conn *conn = take_idle(origin);
    if (SL_LIKELY(conn != NULL)) {
        conn->call = call;
        call->conn = conn;
        sl_up_send(conn);
        return;
    }
    call->phase = SL_CALL_RESOLVE; /* under way: it can be cancelled even if there is no memory to go further */
    sl_timer_set(origin->upstream->loop, &call->timer, on_call_timer, call->connect_timeout_ms);
    sl_up_connect(call);
}

void sl_call_pause(sl_call *call, bool pause)
{
    SL_ASSERT(call);
    sl_up_conn *conn = call->conn;
    if (!conn || call->paused == pause || conn->state == SL_UP_CLOSING)
        return;
    call->paused = pause;
    if (conn->origin->tls)
        sl_up_tls_want_read(conn, !pause);
    else if (pause)
        (void)uv_read_stop((uv_stream_t *)&conn->tcp);
    else
        sl_up_read_start(conn);
    if (!pause)
        sl_timer_set(conn->origin->upstream->loop, &call->timer, on_call_timer, call->read_timeout_ms);
}

/* ---- answers ---- */

static void framing_fault(sl_up_conn *conn, const char *reason)
{
    SL_ASSERT(conn);
    char *text = conn->origin->upstream->reason;
    (void)snprintf(text, SL_UP_REASON, "the server's answer is not sound HTTP: %s", reason ? reason : "malformed");
    sl_up_fail(conn, SL_EPROTO, text);
}

/* Takes the chunk framing off, in place. 0: goes on; 1: complete; SL_EPARSE. */
static int take_chunks(sl_up_conn *conn, char *data, size_t len, sl_str *ret_body)
{
    SL_ASSERT(ret_body);
    sl_str rest = sl_str_of(data, len);
    char *to = NULL;
    size_t total = 0;
    for (;;) {
        sl_str piece;
        int result = sl_chunked_next(&conn->chunked, &rest, &piece);
        if (result == 0) {
            if (!to)
                to = (char *)piece.ptr;
            else
                memmove(to + total, piece.ptr, piece.len);
            total += piece.len;
            continue;
        }
        *ret_body = sl_str_of(to, total);
        if (result == SL_EMORE)
            return 0;
        if (result != SL_CHUNKED_END)
            return SL_EPARSE;
        if (rest.len > 0)
            conn->reusable = false;
        return 1;
    }
}

/* Bytes of the body, as they came. 0: goes on; 1: complete; SL_EPARSE. */
static int take_body(sl_up_conn *conn, char *data, size_t len, sl_str *ret_body)
{
    SL_ASSERT(ret_body && conn);
    *ret_body = sl_str_of(data, 0);
    switch (conn->body) {
    case SL_HTTP1_BODY_CHUNKED:
        return take_chunks(conn, data, len, ret_body);
    case SL_HTTP1_BODY_LENGTH: {
        size_t take = len < conn->left ? len : (size_t)conn->left;
        conn->left -= take;
        ret_body->len = take;
        if (take < len)
            conn->reusable = false;
        return conn->left == 0 ? 1 : 0;
    }
    case SL_HTTP1_BODY_UNTIL_CLOSE:
        ret_body->len = len;
        return 0;
    default:
        if (len > 0)
            conn->reusable = false;
        return 1;
    }
}

/* Tells the caller; after the end the connection goes back to the pool. */
static void tell(sl_up_conn *conn, const sl_http1_head *head, sl_str body, bool end)
{
    SL_ASSERT(conn);
    sl_call *call = conn->call;
    call->bytes_in += body.len;
    if (!end) {
        if (head || body.len > 0)
            call->handler->on_read(call, head, body, false);
        return;
    }
    if (!call->request_sent || conn->writing || call->paused)
        conn->reusable = false;
    detach(call);
    call->handler->on_read(call, head, body, true);
    give_back(conn);
}

/* A final head at the front of the bytes: sets up the body behind it. */
static void take_head(sl_up_conn *conn, char *data, size_t len)
{
    SL_ASSERT(conn);
    const sl_http1_head *head = &conn->origin->upstream->head;
    conn->head_seen = true;
    conn->body = head->body;
    conn->left = head->content_length;
    if (!head->keep_alive || head->body == SL_HTTP1_BODY_UNTIL_CLOSE)
        conn->reusable = false;
    if (head->body == SL_HTTP1_BODY_CHUNKED)
        sl_chunked_init(&conn->chunked);
    conn->call->phase = SL_CALL_BODY;
    sl_str body;
    int result = take_body(conn, data + head->head_bytes, len - head->head_bytes, &body);
    if (result < 0)
        framing_fault(conn, conn->chunked.reason);
    else
        tell(conn, head, body, result == 1);
    if (conn->in.data)
        sl_buf_done(&conn->in);
}

/* Looks for the final head. */
static void read_head(sl_up_conn *conn, char *data, size_t len)
{
    SL_ASSERT(conn);
    sl_upstream *upstream = conn->origin->upstream;
    for (;;) {
        sl_http1_head_init(&upstream->head, upstream->fields, SL_MAX_HEAD_FIELDS);
        int error = sl_http1_parse_response(&conn->parser, sl_str_of(data, len),
                                            conn->call->is_head ? SL_HTTP_HEAD : SL_HTTP_POST, &upstream->head);
        if (error == SL_EMORE)
            break;
        if (error) {
            framing_fault(conn, conn->parser.error_reason);
            return;
        }
        if (upstream->head.status == 101) {
            framing_fault(conn, "it switches to another protocol unasked");
            return;
        }
        if (upstream->head.status >= 200) {
            take_head(conn, data, len);
            return;
        }
        data += upstream->head.head_bytes;
        len -= upstream->head.head_bytes;
    }
    /* `data` may lie in conn->in already. */
    if (data == conn->in.data && len == conn->in.len)
        return;
    sl_buf rest;
    sl_buf_init(&rest, HEAD_IN_PARTS_MAX);
    if (sl_buf_put(&rest, data, len) != 0) {
        sl_buf_done(&rest);
        sl_up_fail(conn, SL_ENOMEM, "out of memory");
        return;
    }
    sl_buf_done(&conn->in);
    conn->in = rest;
}

void sl_up_received(sl_up_conn *conn, char *data, size_t len)
{
    SL_ASSERT(conn);
    sl_call *call = conn->call;
    if (!call || conn->state != SL_UP_ACTIVE) {
        sl_up_fail(conn, SL_EPROTO, "the server sent bytes that nobody asked for");
        return;
    }
    if (call->first_byte_ns == 0)
        call->first_byte_ns = sl_mono_ns();
    sl_timer_set(conn->origin->upstream->loop, &call->timer, on_call_timer, call->read_timeout_ms);
    if (SL_LIKELY(conn->head_seen)) {
        sl_str body;
        int result = take_body(conn, data, len, &body);
        if (result < 0)
            framing_fault(conn, conn->chunked.reason);
        else
            tell(conn, NULL, body, result == 1);
        return;
    }
    if (conn->in.len > 0) {
        if (sl_buf_put(&conn->in, data, len) != 0) {
            sl_up_fail(conn, SL_EPROTO, "the head of the server's answer is too large");
            return;
        }
        data = conn->in.data;
        len = conn->in.len;
    }
    read_head(conn, data, len);
}

void sl_up_ended(sl_up_conn *conn, bool clean)
{
    SL_ASSERT(conn);
    if (conn->state == SL_UP_CLOSING)
        return;
    if (!conn->call) {
        sl_up_close(conn);
        return;
    }
    conn->reusable = false;
    if (clean && conn->head_seen && conn->body == SL_HTTP1_BODY_UNTIL_CLOSE) {
        tell(conn, NULL, sl_str_of(NULL, 0), true);
        return;
    }
    if (retried_stale(conn))
        return;
    sl_up_fail(conn, SL_ECLOSED,
               conn->head_seen ? "the server closed the connection within its answer"
                               : "the server closed the connection before it answered");
}

bool sl_call_peer(const sl_call *call, char *address, size_t size, uint16_t *ret_port)
{
    SL_ASSERT(call);
    const sl_up_conn *conn = call->conn;
    if (!conn || conn->address >= conn->origin->address_count)
        return false;
    return sl_sockaddr_text((const struct sockaddr *)&conn->origin->addresses[conn->address], address, size, ret_port);
}
