/* Connections: their life, and the reading of requests. */
#include "src/net/http_conn.h"

#include <poll.h>
#include <sys/socket.h>

#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/base/mem.h"

#define PROBE_MS 5u
/* A client that was told to keep its connection may be sending its next request just now. */
#define DRAIN_IDLE_MS 300u
#define PROBE_LOOKS 40u /* 200 ms: a client that is gone has sent its reset by then */

static void process(sl_exchange *x, sl_str bytes);
static void on_conn_timer(sl_timer *timer);
static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer);

static void set_timer(sl_exchange *x, uint32_t ms)
{
    SL_ASSERT(x);
    sl_timer_set(x->server->loop, &x->timer, on_conn_timer, ms);
}

/* ---- life of a connection ---- */

static void release_body(sl_exchange *x)
{
    SL_ASSERT(x);
    sl_free(x->head_data);
    sl_free(x->body_data);
    sl_free(x->chunked);
    x->head_data = NULL;
    x->body_data = NULL;
    x->chunked = NULL;
    x->body_len = 0;
    x->body_cap = 0;
    x->body_left = 0;
    x->body = sl_str_of(NULL, 0);
}

static void unprobe(sl_exchange *x)
{
    SL_ASSERT(x);
    if (!x->prev_probed)
        return;
    *x->prev_probed = x->next_probed;
    if (x->next_probed)
        x->next_probed->prev_probed = x->prev_probed;
    x->next_probed = NULL;
    x->prev_probed = NULL;
}

static void on_conn_closed(uv_handle_t *handle)
{
    SL_ASSERT(handle);
    sl_exchange *x = handle->data;
    sl_http_server *server = x->server;
    if (x->known)
        server->handler.on_done(server->handler.user, x, x->outcome);
    *x->prev = x->next;
    if (x->next)
        x->next->prev = x->prev;
    release_body(x);
    sl_buf_done(&x->in);
    sl_free(x);
    server->connection_count--;
    if (server->handler.on_connection)
        server->handler.on_connection(server->handler.user, -1);
    sl_server_maybe_drained(server);
    sl_server_release(server);
}

void sl_conn_close(sl_exchange *x, int outcome)
{
    SL_ASSERT(x);
    if (x->state == SL_CONN_CLOSING)
        return;
    x->state = SL_CONN_CLOSING;
    x->outcome = outcome;
    unprobe(x);
    sl_timer_stop(x->server->loop, &x->timer);
    uv_close((uv_handle_t *)&x->tcp, on_conn_closed);
}

/* Ready for the next request of this connection. */
static void conn_rearm(sl_exchange *x)
{
    SL_ASSERT(x);
    x->state = SL_CONN_IDLE;
    release_body(x);
    x->head_len = 0;
    x->data = NULL;
    x->bytes_out = 0;
    x->outcome = 0;
    x->allowed = 0;
    x->known = x->begun = x->ended = x->chunks = x->is_head = x->http_1_0 = x->request_read = x->blocked = false;
    x->keep_alive = true;
    set_timer(x, x->server->draining ? DRAIN_IDLE_MS : x->server->options.idle_timeout_ms);
}

/* A linger close: what the client still sends is thrown away for a moment, so that it gets to read the answer. */
static void close_gently(sl_exchange *x)
{
    SL_ASSERT(x);
    int fd;
    if (uv_fileno((uv_handle_t *)&x->tcp, &fd) == 0)
        (void)shutdown(fd, SHUT_WR);
    x->state = SL_CONN_DISCARD;
    x->body_left = SL_HTTP_DISCARD_MAX;
    set_timer(x, 1000);
}

void sl_conn_answered(sl_exchange *x)
{
    SL_ASSERT(x->ended && x->state != SL_CONN_CLOSING);
    sl_http_server *server = x->server;
    if (x->known) {
        x->known = false;
        server->handler.on_done(server->handler.user, x, 0);
    }
    if (x->state == SL_CONN_CLOSING)
        return;
    bool last = x->peer_ended && !x->in_process && x->in.len == 0;
    if (!x->keep_alive || last) {
        if (x->request_read || last)
            sl_conn_close(x, 0);
        else
            close_gently(x);
        return;
    }
    if (!x->request_read) {
        x->state = SL_CONN_DISCARD;
        set_timer(x, server->options.body_timeout_ms);
    } else {
        conn_rearm(x);
    }
    if (x->in_process)
        return;
    if (x->stopped) {
        x->stopped = false;
        (void)uv_read_start((uv_stream_t *)&x->tcp, sl_loop_alloc, on_read);
    }
    if (x->in.len > 0)
        process(x, sl_str_of(NULL, 0));
}

/* Answers by itself, and closes. */
static void answer_refusal(sl_exchange *x, int status, const char *code, const char *message)
{
    SL_ASSERT(x);
    x->state = SL_CONN_BUSY;
    x->keep_alive = false;
    x->request_read = false;
    sl_exchange_error(x, status, "invalid_request_error", code, message);
}

/* Refuses a request that the handler does not know of. */
static void refuse(sl_exchange *x, int status, const char *code, const char *message)
{
    SL_ASSERT(x);
    sl_http_server *server = x->server;
    if (server->handler.on_refused)
        server->handler.on_refused(server->handler.user, status);
    answer_refusal(x, status, code, message);
}

/* Ends a request that cannot be read to its end; the handler may know of it: then its on_done has told it why. */
static void refuse_rest(sl_exchange *x, int outcome, int status, const char *code, const char *message)
{
    SL_ASSERT(x);
    sl_http_server *server = x->server;
    bool known = x->known;
    x->keep_alive = false;
    x->request_read = false;
    if (known) {
        x->known = false;
        server->handler.on_done(server->handler.user, x, outcome);
        if (x->state == SL_CONN_CLOSING)
            return;
    }
    if (x->begun)
        sl_conn_close(x, outcome);
    else if (known)
        answer_refusal(x, status, code, message);
    else
        refuse(x, status, code, message);
}

static void on_conn_timer(sl_timer *timer)
{
    sl_exchange *x = (sl_exchange *)((char *)timer - offsetof(sl_exchange, timer));
    switch (x->state) {
    case SL_CONN_HEAD:
        refuse(x, 408, "request_timeout", "the head of the request did not arrive in time");
        break;
    case SL_CONN_BODY:
        refuse_rest(x, SL_ETIMEOUT, 408, "request_timeout", "the body of the request did not arrive in time");
        break;
    case SL_CONN_BUSY:
    case SL_CONN_CLOSING:
        break;
    default:
        sl_conn_close(x, 0);
    }
}

/* ---- a client that has shut down its side: still there, or gone? ---- */

static void on_probe(uv_timer_t *prober)
{
    SL_ASSERT(prober);
    sl_http_server *server = prober->data;
    sl_exchange *next;
    for (sl_exchange *x = server->probed; x; x = next) {
        next = x->next_probed;
        struct pollfd look = {.events = 0};
        if (uv_fileno((uv_handle_t *)&x->tcp, &look.fd) != 0)
            continue;
        /* Not recv(): behind an end of the stream it goes on to say 0, whatever has come since. */
        if (poll(&look, 1, 0) > 0 && (look.revents & (POLLERR | POLLHUP)))
            sl_conn_close(x, SL_ECLOSED);
        else if (--x->probes == 0)
            unprobe(x);
    }
    if (!server->probed)
        (void)uv_timer_stop(prober);
}

void sl_conn_watch_half_closed(sl_exchange *x)
{
    SL_ASSERT(x);
    sl_http_server *server = x->server;
    if (x->begun && (!x->chunks || x->ended || x->writing))
        return; /* what is still to be written tells */
    /* Bytes without a meaning, which a closed socket answers with a reset: an interim answer, or a leading zero of the
     * next chunk's size. */
    if (!x->begun && x->http_1_0)
        return;
    sl_conn_send_text(x, x->begun ? SL_STR("0") : SL_STR("HTTP/1.1 100 Continue\r\n\r\n"));
    if (x->state == SL_CONN_CLOSING || x->prev_probed)
        return;
    x->probes = PROBE_LOOKS;
    x->next_probed = server->probed;
    x->prev_probed = &server->probed;
    if (x->next_probed)
        x->next_probed->prev_probed = &x->next_probed;
    server->probed = x;
    (void)uv_timer_start(&server->prober, on_probe, PROBE_MS, PROBE_MS);
}

/* ---- reading requests ---- */

/* Keeps bytes for later; stops reading when they are many. */
static void stash(sl_exchange *x, sl_str bytes)
{
    if (bytes.len == 0)
        return;
    SL_ASSERT(bytes.ptr);
    if (x->in.max == 0)
        sl_buf_init(&x->in, SL_HTTP_STASH_MAX + SL_LOOP_READ_BYTES);
    if (sl_buf_put_str(&x->in, bytes) != 0) {
        sl_conn_close(x, SL_ELIMIT);
        return;
    }
    if (x->in.len >= SL_HTTP_STASH_MAX && !x->stopped && x->state == SL_CONN_BUSY) {
        x->stopped = true;
        (void)uv_read_stop((uv_stream_t *)&x->tcp);
    }
}

static void deliver(sl_exchange *x)
{
    sl_http_server *server = x->server;
    SL_ASSERT(!x->begun && !x->ended);
    x->request_read = true;
    x->state = SL_CONN_BUSY;
    x->known = true;
    sl_timer_rest(&x->timer);
    server->handler.on_request(server->handler.user, x);
    release_body(x);
}

/* The body came in parts: the head again, from the copy. */
static void deliver_kept(sl_exchange *x)
{
    SL_ASSERT(x);
    sl_http_server *server = x->server;
    sl_http1_parser parser;
    sl_http1_parser_init(&parser, server->options.max_head_bytes);
    sl_http1_head_init(&server->head, server->fields, server->options.max_fields);
    if (sl_http1_parse_request(&parser, sl_str_of(x->head_data, x->head_len), &server->head) != 0) {
        SL_ASSERT(false);
        sl_conn_close(x, SL_EPROTO);
        return;
    }
    x->body = sl_str_of(x->body_data, x->body_len);
    deliver(x);
}

/* Room for `more` bytes of a chunked body. */
static int grow_body(sl_exchange *x, size_t more)
{
    SL_ASSERT(x);
    size_t max = x->server->options.max_body_bytes;
    if (more > max - x->body_len)
        return SL_ETOOBIG;
    size_t cap = x->body_cap ? x->body_cap : 4096;
    while (cap < x->body_len + more)
        cap = cap > max / 2 ? max : cap * 2;
    if (cap == x->body_cap)
        return 0;
    char *data = sl_realloc(x->body_data, cap);
    if (!data)
        return SL_ENOMEM;
    x->body_data = data;
    x->body_cap = cap;
    return 0;
}

/* Takes bytes of a chunked body. 0: complete; SL_EMORE; else refused. */
static int take_chunks(sl_exchange *x, sl_str *bytes)
{
    for (;;) {
        sl_str data;
        int result = sl_chunked_next(x->chunked, bytes, &data);
        if (result == SL_CHUNKED_END)
            return 0;
        if (result != 0)
            return result;
        if (x->state == SL_CONN_DISCARD) {
            if (data.len > x->body_left)
                return SL_ETOOBIG;
            x->body_left -= data.len;
            continue;
        }
        result = grow_body(x, data.len);
        if (result != 0)
            return result;
        memcpy(x->body_data + x->body_len, data.ptr, data.len);
        x->body_len += data.len;
    }
}

/* Takes bytes of a body with a length. 0: complete; SL_EMORE. */
static int take_length(sl_exchange *x, sl_str *bytes)
{
    SL_ASSERT(bytes);
    size_t take = bytes->len < x->body_left ? bytes->len : (size_t)x->body_left;
    if (x->state == SL_CONN_BODY && take) {
        SL_ASSERT(x->body_len + take <= x->body_cap);
        memcpy(x->body_data + x->body_len, bytes->ptr, take);
        x->body_len += take;
    }
    x->body_left -= take;
    *bytes = sl_str_sub(*bytes, take, bytes->len - take);
    return x->body_left == 0 ? 0 : SL_EMORE;
}

static void refuse_body(sl_exchange *x, int error)
{
    SL_ASSERT(x);
    if (x->state == SL_CONN_DISCARD)
        sl_conn_close(x, 0);
    else if (error == SL_ETOOBIG)
        refuse_rest(x, SL_ETOOBIG, 413, "request_too_large", "the body of the request is too large");
    else if (error == SL_ENOMEM)
        refuse_rest(x, SL_ENOMEM, 503, "out_of_memory", "no memory for the body of the request");
    else
        refuse_rest(x, SL_EPROTO, 400, "bad_request", "the chunked body of the request is malformed");
}

/* BODY and DISCARD: takes what there is. `*bytes` becomes what follows the body. */
static void read_body(sl_exchange *x, sl_str *bytes)
{
    SL_ASSERT(x);
    int result = x->chunked ? take_chunks(x, bytes) : take_length(x, bytes);
    if (result == SL_EMORE) {
        if (x->state == SL_CONN_BODY)
            set_timer(x, x->server->options.body_timeout_ms);
    } else if (result != 0) {
        *bytes = sl_str_of(NULL, 0);
        refuse_body(x, result);
    } else if (x->state == SL_CONN_BODY) {
        deliver_kept(x);
    } else if (x->keep_alive) {
        conn_rearm(x);
    } else {
        sl_conn_close(x, 0);
    }
}

/* Sets up the reading of a body that is not all here yet. False: refused. */
static bool start_body(sl_exchange *x, const sl_http1_head *head)
{
    SL_ASSERT(head && x);
    bool is_chunked = head->body == SL_HTTP1_BODY_CHUNKED;
    x->state = SL_CONN_BODY;
    x->head_len = head->bytes.len;
    x->head_data = sl_strndup(head->bytes.ptr, head->bytes.len);
    if (is_chunked)
        x->chunked = sl_malloc(sizeof *x->chunked);
    else
        x->body_data = sl_malloc((size_t)head->content_length);
    if (!x->head_data || (is_chunked ? !x->chunked : !x->body_data)) {
        refuse_body(x, SL_ENOMEM);
        return false;
    }
    if (is_chunked) {
        sl_chunked_init(x->chunked);
        return true;
    }
    x->body_cap = (size_t)head->content_length;
    x->body_left = head->content_length;
    return true;
}

/* Tells the handler of the head. False: it has answered, or the connection is closing. */
static bool offer_head(sl_exchange *x, const sl_http1_head *head)
{
    SL_ASSERT(x);
    sl_http_server *server = x->server;
    if (!server->handler.on_head)
        return true;
    x->known = true;
    x->state = SL_CONN_BUSY;
    x->request_read = head->body == SL_HTTP1_BODY_NONE;
    x->body_left = head->body == SL_HTTP1_BODY_LENGTH ? head->content_length : 0;
    server->handler.on_head(server->handler.user, x);
    return !x->begun && x->state == SL_CONN_BUSY;
}

/* For on_head's early answer to a request with a chunked body: its bytes must still be told from the next request. */
static bool prepare_discard(sl_exchange *x, const sl_http1_head *head)
{
    SL_ASSERT(x);
    if (!x->server->handler.on_head || head->body != SL_HTTP1_BODY_CHUNKED)
        return true;
    x->chunked = sl_malloc(sizeof *x->chunked);
    if (!x->chunked)
        return false;
    sl_chunked_init(x->chunked);
    return true;
}

/* A head is complete at the front of `*bytes`, which becomes what follows the request. */
static void take_head(sl_exchange *x, sl_str *bytes)
{
    SL_ASSERT(x && bytes);
    sl_http_server *server = x->server;
    const sl_http1_head *head = &server->head;
    x->is_head = head->method_id == SL_HTTP_HEAD;
    x->http_1_0 = head->minor == 0;
    x->keep_alive = head->keep_alive && !server->draining;
    *bytes = sl_str_sub(*bytes, head->head_bytes, bytes->len);
    if (!prepare_discard(x, head)) {
        refuse(x, 503, "out_of_memory", "no memory for the request");
        return;
    }
    if (!offer_head(x, head)) {
        if (x->chunked)
            x->body_left = SL_HTTP_DISCARD_MAX;
        return;
    }
    sl_free(x->chunked);
    x->chunked = NULL;
    if (head->body == SL_HTTP1_BODY_LENGTH && head->content_length > server->options.max_body_bytes) {
        refuse_body(x, SL_ETOOBIG);
    } else if (head->body != SL_HTTP1_BODY_CHUNKED && head->content_length <= bytes->len) {
        x->body = sl_str_of(bytes->ptr, head->body == SL_HTTP1_BODY_NONE ? 0 : (size_t)head->content_length);
        *bytes = sl_str_sub(*bytes, x->body.len, bytes->len);
        deliver(x);
    } else if (start_body(x, head)) {
        if (head->expect_continue && bytes->len == 0)
            sl_conn_send_text(x, SL_STR("HTTP/1.1 100 Continue\r\n\r\n"));
        if (x->state != SL_CONN_CLOSING)
            set_timer(x, server->options.body_timeout_ms);
    }
}

/* IDLE and HEAD. False: more bytes are needed. */
static bool read_head(sl_exchange *x, sl_str *bytes)
{
    SL_ASSERT(x && bytes);
    sl_http_server *server = x->server;
    bool fresh = x->state == SL_CONN_IDLE;
    if (fresh) {
        x->start_ns = sl_mono_ns();
        sl_http1_parser_init(&x->parser, server->options.max_head_bytes);
        x->state = SL_CONN_HEAD;
    }
    sl_http1_head_init(&server->head, server->fields, server->options.max_fields);
    int error = sl_http1_parse_request(&x->parser, *bytes, &server->head);
    if (SL_LIKELY(error == 0)) {
        take_head(x, bytes);
        return true;
    }
    if (error == SL_EMORE) {
        if (fresh)
            set_timer(x, server->options.head_timeout_ms);
        return false;
    }
    *bytes = sl_str_of(NULL, 0);
    int status = x->parser.error_status;
    refuse(x, status, status == 431 ? "request_head_too_large" : "bad_request", x->parser.error_reason);
    return true;
}

/* Goes through what was kept and what has come, as far as the state allows; keeps the rest. */
static void process(sl_exchange *x, sl_str bytes)
{
    SL_ASSERT(x);
    if (x->state == SL_CONN_BUSY || x->state == SL_CONN_CLOSING) {
        stash(x, bytes);
        return;
    }
    sl_buf held;
    memset(&held, 0, sizeof held);
    if (x->in.len > 0) {
        stash(x, bytes);
        held = x->in;
        memset(&x->in, 0, sizeof x->in);
        bytes = sl_buf_str(&held);
    }
    bool more = false;
    x->in_process = true;
    while (bytes.len > 0 && !more && x->state != SL_CONN_BUSY && x->state != SL_CONN_CLOSING) {
        if (x->state == SL_CONN_IDLE || x->state == SL_CONN_HEAD)
            more = !read_head(x, &bytes);
        else
            read_body(x, &bytes);
    }
    x->in_process = false;
    if (x->state != SL_CONN_CLOSING && held.data && bytes.len == held.len)
        x->in = held;
    else {
        if (x->state != SL_CONN_CLOSING)
            stash(x, bytes);
        sl_free(held.data);
    }
    if (x->peer_ended && x->state != SL_CONN_BUSY)
        sl_conn_close(x, SL_ECLOSED);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer)
{
    SL_ASSERT(stream);
    sl_exchange *x = stream->data;
    if (n > 0) {
        process(x, sl_str_of(buffer->base, (size_t)n));
        return;
    }
    if (n == 0 || x->state == SL_CONN_CLOSING)
        return;
    if (n == UV_EOF && x->state == SL_CONN_BUSY) {
        x->peer_ended = true;
        sl_conn_watch_half_closed(x);
    } else {
        sl_conn_close(x, SL_ECLOSED);
    }
}

/* ---- accepting ---- */

int sl_conn_accept(sl_http_server *server, uv_stream_t *listener)
{
    SL_ASSERT(server && listener);
    sl_exchange *x = sl_calloc(1, sizeof *x);
    if (!x || uv_tcp_init(listener->loop, &x->tcp) != 0) {
        sl_free(x);
        return SL_ENOMEM;
    }
    x->server = server;
    x->tcp.data = x;
    x->next = server->connections;
    x->prev = &server->connections;
    if (x->next)
        x->next->prev = &x->next;
    server->connections = x;
    server->connection_count++;
    if (server->handler.on_connection)
        server->handler.on_connection(server->handler.user, 1);
    int error = uv_accept(listener, (uv_stream_t *)&x->tcp);
    size_t max = server->options.max_connections;
    if (error != 0 || (max && server->connection_count > max) ||
        uv_read_start((uv_stream_t *)&x->tcp, sl_loop_alloc, on_read) != 0) {
        sl_conn_close(x, 0);
        return 0;
    }
    conn_rearm(x);
    return 0;
}

void sl_conn_drain(sl_exchange *x)
{
    SL_ASSERT(x && x->server->draining);
    if (x->state == SL_CONN_IDLE)
        set_timer(x, DRAIN_IDLE_MS);
    else if (!x->begun)
        x->keep_alive = false;
}

/* ---- reading an exchange ---- */

const sl_http1_head *sl_exchange_head(const sl_exchange *x)
{
    SL_ASSERT(x);
    return &x->server->head;
}

sl_str sl_exchange_body(const sl_exchange *x)
{
    SL_ASSERT(x);
    return x->body;
}

bool sl_exchange_take_body(sl_exchange *x, char **ret_memory)
{
    SL_ASSERT(x && ret_memory);
    if (!x->body_data || x->body.ptr != x->body_data)
        return false;
    *ret_memory = x->body_data;
    x->body_data = NULL;
    return true;
}

void sl_exchange_set_data(sl_exchange *x, void *data)
{
    SL_ASSERT(x);
    x->data = data;
}

void *sl_exchange_data(const sl_exchange *x)
{
    SL_ASSERT(x);
    return x->data;
}

uint64_t sl_exchange_start_ns(const sl_exchange *x)
{
    SL_ASSERT(x);
    return x->start_ns;
}

uint64_t sl_exchange_bytes_out(const sl_exchange *x)
{
    SL_ASSERT(x);
    return x->bytes_out;
}

size_t sl_exchange_unsent(const sl_exchange *x)
{
    SL_ASSERT(x);
    return x->tcp.write_queue_size;
}

bool sl_exchange_begun(const sl_exchange *x)
{
    SL_ASSERT(x);
    return x->begun;
}

sl_str sl_exchange_peer(sl_exchange *x, uint16_t *ret_port)
{
    SL_ASSERT(x && ret_port);
    struct sockaddr_storage peer;
    int len = sizeof peer;
    if (!x->peer[0] && (uv_tcp_getpeername(&x->tcp, (struct sockaddr *)&peer, &len) != 0 ||
                        !sl_sockaddr_text((const struct sockaddr *)&peer, x->peer, sizeof x->peer, &x->peer_port)))
        x->peer[0] = 0;
    *ret_port = x->peer_port;
    return sl_str_c(x->peer);
}
