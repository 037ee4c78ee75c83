/* Control server: one connection. */
#include "src/net/lite/ctl_server_conn.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/wire/http1_write.h"

#define READ_BYTES 4096u
#define READ_TURN_BYTES (128u * 1024)   /* read in one turn */
#define WRITE_TURN_BYTES (1024u * 1024) /* written in one turn: others want their turn too */
#define REQUESTS_PER_TURN 16
#define KEEP_BYTES (64u * 1024) /* memory that an idle connection may hold */
#define CHUNK_OVERHEAD (16u * 1024)
#define LINGER_NS 1000000000u
#define STREAM_PAUSE_NS 100000000u
#define MAX_OUT_BYTES (64u * 1024)

enum { DONE = 0, WAIT = 1, AGAIN = 2 };

static void enter(sl_ctl_conn *conn, sl_ctl_state state, uint64_t now_ns)
{
    SL_ASSERT(conn);
    conn->state = state;
    conn->since_ns = now_ns;
    conn->progress_ns = now_ns;
}

static void end_stream(sl_ctl_conn *conn)
{
    SL_ASSERT(conn);
    if (conn->stream_free)
        conn->stream_free(conn->stream_user);
    conn->stream = NULL;
    conn->stream_free = NULL;
}

sl_ctl_conn *sl_ctl_conn_new(sl_ctl_shared *shared, const sl_ctl_route *routes, size_t count, int fd, uint64_t now_ns)
{
    SL_ASSERT(shared && fd >= 0);
    sl_ctl_conn *conn = sl_calloc(1, sizeof *conn);
    if (!conn)
        return NULL;
    conn->shared = shared;
    conn->routes = routes;
    conn->route_count = count;
    conn->fd = fd;
    size_t max_body = shared->options.max_body_bytes;
    sl_buf_init(&conn->in, SL_MAX_HEAD_BYTES + 2 * max_body + CHUNK_OVERHEAD);
    sl_buf_init(&conn->body, max_body);
    sl_buf_init(&conn->out, MAX_OUT_BYTES);
    sl_buf_init(&conn->out_body, SL_MAX_CTL_RESPONSE_BYTES);
    sl_http1_parser_init(&conn->parser, 0);
    enter(conn, SL_CTL_IDLE, now_ns);
    return conn;
}

void sl_ctl_conn_free(sl_ctl_conn *conn)
{
    if (!conn)
        return;
    end_stream(conn);
    (void)close(conn->fd);
    sl_buf_done(&conn->in);
    sl_buf_done(&conn->body);
    sl_buf_done(&conn->out);
    sl_buf_done(&conn->out_body);
    sl_free(conn);
}

static bool has_output(const sl_ctl_conn *conn)
{
    SL_ASSERT(conn);
    return conn->out_at < conn->out.len || conn->out_body_at < conn->out_body.len;
}

short sl_ctl_conn_events(const sl_ctl_conn *conn)
{
    SL_ASSERT(conn);
    switch (conn->state) {
    case SL_CTL_IDLE:
    case SL_CTL_READING:
    case SL_CTL_LINGER:
        return POLLIN;
    case SL_CTL_WRITING:
        return has_output(conn) ? POLLOUT : 0;
    default:
        return 0;
    }
}

uint64_t sl_ctl_conn_deadline(const sl_ctl_conn *conn)
{
    SL_ASSERT(conn);
    const sl_ctl_options *options = &conn->shared->options;
    switch (conn->state) {
    case SL_CTL_IDLE:
        /* A connection that has never asked anything is not worth more patience than a slow head. */
        return conn->since_ns + (conn->served ? options->idle_timeout_ms : options->head_timeout_ms) * 1000000;
    case SL_CTL_READING:
        return conn->since_ns + options->head_timeout_ms * 1000000;
    case SL_CTL_WRITING:
        return has_output(conn) ? conn->progress_ns + options->write_timeout_ms * 1000000 : conn->stream_next_ns;
    case SL_CTL_LINGER:
        return conn->since_ns + (conn->shared->stopping ? LINGER_NS / 5 : LINGER_NS);
    default:
        return 0;
    }
}

/* ---- answers ---- */

static void put_field(sl_buf *out, const char *name, const char *value)
{
    (void)sl_http1_put_field(out, sl_str_c(name), sl_str_c(value));
}

/* The head of an answer. 0, or the buffer's error. */
static int put_head(sl_ctl_conn *conn, const sl_ctl_response *response)
{
    SL_ASSERT(conn && response);
    sl_buf *out = &conn->out;
    (void)sl_http1_put_status(out, response->status);
    bool empty = response->status == 204 || response->status == 304;
    if (response->content_type && !empty)
        put_field(out, "Content-Type", response->content_type);
    if (empty)
        conn->head_only = true;
    else if (!response->stream)
        (void)sl_http1_put_field_u64(out, SL_STR("Content-Length"), response->body.len);
    else if (!conn->http10)
        put_field(out, "Transfer-Encoding", "chunked");
    put_field(out, "Cache-Control", "no-store");
    if (conn->close_after)
        put_field(out, "Connection", "close");
    (void)sl_buf_put_str(out, sl_buf_str(&response->headers));
    (void)sl_http1_put_end(out);
    return out->failed;
}

/* Takes the response over and begins to write it. */
static void answer(sl_ctl_conn *conn, sl_ctl_response *response, uint64_t now_ns)
{
    SL_ASSERT(!has_output(conn) && !conn->stream);
    if (response->body.failed || response->status < 200 || response->status > 599) {
        sl_buf_done(&response->body);
        response->stream = NULL;
        sl_ctl_error(response, 500, "internal_error", "the answer could not be made");
    }
    conn->close_after |= response->close || conn->shared->stopping || (response->stream && conn->http10);
    sl_buf_clear(&conn->out);
    sl_buf_done(&conn->out_body);
    conn->out_at = conn->out_body_at = 0;
    enter(conn, SL_CTL_WRITING, now_ns);
    if (put_head(conn, response) != 0) {
        enter(conn, SL_CTL_CLOSED, now_ns);
        return;
    }
    if (conn->head_only)
        return;
    conn->out_body = response->body;
    sl_buf_init(&response->body, 1);
    if (response->stream) {
        conn->stream = response->stream;
        conn->stream_free = response->stream_free;
        conn->stream_user = response->stream_user;
        response->stream_free = NULL;
    }
}

/* Answers an error and closes: what follows on the connection cannot be trusted. */
static void refuse(sl_ctl_conn *conn, int status, const char *type, const char *reason, uint64_t now_ns)
{
    SL_ASSERT(conn);
    sl_ctl_response response;
    sl_ctl_response_init(&response);
    sl_ctl_error(&response, status, type, "%s", reason);
    conn->head_only = false;
    conn->close_after = true;
    sl_buf_clear(&conn->in);
    answer(conn, &response, now_ns);
    sl_ctl_response_done(&response);
    atomic_fetch_add_explicit(&conn->shared->bad_requests, 1, memory_order_relaxed);
}

/* ---- requests ---- */

/* Asks for the body of a client that waits to be asked. */
static void maybe_continue(sl_ctl_conn *conn)
{
    SL_ASSERT(conn);
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    if (conn->told_continue)
        return;
    conn->told_continue = true;
    (void)send(conn->fd, text, sizeof text - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Reads the head. DONE: it is there; WAIT: more bytes are needed, or it was refused. */
static int read_head(sl_ctl_conn *conn, uint64_t now_ns)
{
    SL_ASSERT(conn);
    sl_http1_head head;
    if (conn->in.len == 0)
        return WAIT;
    if (conn->state == SL_CTL_IDLE)
        enter(conn, SL_CTL_READING, now_ns);
    sl_http1_head_init(&head, conn->shared->fields, SL_MAX_HEAD_FIELDS);
    int error = sl_http1_parse_request(&conn->parser, sl_buf_str(&conn->in), &head);
    if (error == SL_EMORE)
        return WAIT;
    if (error) {
        refuse(conn, conn->parser.error_status, "bad_request", conn->parser.error_reason, now_ns);
        return WAIT;
    }
    conn->head_seen = true;
    conn->head_only = head.method_id == SL_HTTP_HEAD;
    conn->http10 = head.minor == 0;
    conn->close_after = !head.keep_alive || conn->http10;
    conn->head_bytes = head.head_bytes;
    conn->raw_at = head.head_bytes;
    conn->body_kind = head.body;
    conn->body_bytes = 0;
    conn->told_continue = !head.expect_continue;
    sl_buf_clear(&conn->body);
    sl_chunked_init(&conn->chunked);
    if (head.body == SL_HTTP1_BODY_LENGTH) {
        if (head.content_length > conn->shared->options.max_body_bytes) {
            refuse(conn, 413, "too_large", "the body is too large", now_ns);
            return WAIT;
        }
        conn->body_bytes = (size_t)head.content_length;
    }
    return DONE;
}

/* Decodes what has come of a chunked body. DONE: it is complete. */
static int read_chunks(sl_ctl_conn *conn, uint64_t now_ns)
{
    SL_ASSERT(conn);
    sl_str rest = sl_str_sub(sl_buf_str(&conn->in), conn->raw_at, conn->in.len);
    int error;
    sl_str data;
    while ((error = sl_chunked_next(&conn->chunked, &rest, &data)) == 0) {
        if (sl_buf_put_str(&conn->body, data) != 0) {
            refuse(conn, 413, "too_large", "the body is too large", now_ns);
            return WAIT;
        }
    }
    conn->raw_at = conn->in.len - rest.len;
    if (error == SL_CHUNKED_END)
        return DONE;
    if (error != SL_EMORE)
        refuse(conn, 400, "bad_request", conn->chunked.reason, now_ns);
    return WAIT;
}

static int read_body(sl_ctl_conn *conn, uint64_t now_ns)
{
    SL_ASSERT(conn);
    int result = DONE;
    if (conn->body_kind == SL_HTTP1_BODY_CHUNKED)
        result = read_chunks(conn, now_ns);
    else if (conn->in.len - conn->head_bytes < conn->body_bytes)
        result = WAIT;
    if (result == WAIT && conn->state == SL_CTL_READING)
        maybe_continue(conn);
    return result;
}

/* Reads and answers one request. DONE: an answer is on its way. */
static int serve(sl_ctl_conn *conn, uint64_t now_ns)
{
    SL_ASSERT(conn);
    if (!conn->head_seen && read_head(conn, now_ns) != DONE)
        return conn->state == SL_CTL_WRITING ? DONE : WAIT;
    if (read_body(conn, now_ns) != DONE)
        return conn->state == SL_CTL_WRITING ? DONE : WAIT;
    /* The bytes may have moved since the head was read: read it again where it is now. */
    sl_http1_head head;
    sl_http1_parser parser;
    sl_http1_parser_init(&parser, 0);
    sl_http1_head_init(&head, conn->shared->fields, SL_MAX_HEAD_FIELDS);
    int error = sl_http1_parse_request(&parser, sl_str_of(conn->in.data, conn->head_bytes), &head);
    if (error) {
        enter(conn, SL_CTL_CLOSED, now_ns);
        return WAIT;
    }
    bool chunked = conn->body_kind == SL_HTTP1_BODY_CHUNKED;
    sl_str body = chunked ? sl_buf_str(&conn->body) : sl_str_of(conn->in.data + conn->head_bytes, conn->body_bytes);
    sl_ctl_response response;
    sl_ctl_response_init(&response);
    sl_ctl_dispatch(conn->routes, conn->route_count, &head, body, &response);
    atomic_fetch_add_explicit(&conn->shared->requests, 1, memory_order_relaxed);
    sl_buf_consume(&conn->in, chunked ? conn->raw_at : conn->head_bytes + conn->body_bytes);
    conn->head_seen = false;
    answer(conn, &response, now_ns);
    sl_ctl_response_done(&response);
    return DONE;
}

/* ---- input and output ---- */

/* Reads what is there. The peer's end of file is remembered in `ret_eof`. */
static void fill(sl_ctl_conn *conn, uint64_t now_ns, bool *ret_eof)
{
    SL_ASSERT(ret_eof);
    *ret_eof = false;
    for (size_t got = 0; got < READ_TURN_BYTES;) {
        size_t room = conn->in.max - conn->in.len;
        if (room == 0) {
            refuse(conn, 413, "too_large", "the request is too large", now_ns);
            return;
        }
        if (sl_buf_reserve(&conn->in, room < READ_BYTES ? room : READ_BYTES) != 0) {
            enter(conn, SL_CTL_CLOSED, now_ns);
            return;
        }
        ssize_t n = recv(conn->fd, conn->in.data + conn->in.len, conn->in.cap - conn->in.len, MSG_DONTWAIT);
        if (n > 0) {
            conn->in.len += (size_t)n;
            got += (size_t)n;
            conn->progress_ns = now_ns;
        } else if (n < 0 && errno == EINTR) {
            continue;
        } else {
            *ret_eof = n == 0;
            if (n < 0 && errno != EAGAIN)
                enter(conn, SL_CTL_CLOSED, now_ns);
            return;
        }
    }
}

/* The next piece of a stream, framed. */
static void pull(sl_ctl_conn *conn, uint64_t now_ns)
{
    SL_ASSERT(conn);
    sl_buf_clear(&conn->out);
    sl_buf_clear(&conn->out_body);
    conn->out_at = conn->out_body_at = 0;
    bool more = conn->stream(conn->stream_user, &conn->out_body);
    if (conn->out_body.failed) {
        enter(conn, SL_CTL_CLOSED, now_ns); /* cut, without a last chunk: the peer sees that it is incomplete */
        return;
    }
    char size_line[SL_CHUNKED_HEADER_MAX];
    if (!conn->http10 && conn->out_body.len) {
        size_t len = sl_chunked_header(conn->out_body.len, size_line);
        (void)sl_buf_put(&conn->out, size_line, len);
        (void)sl_buf_put_c(&conn->out_body, SL_CHUNKED_CRLF);
    }
    if (!more) {
        end_stream(conn);
        if (!conn->http10)
            (void)sl_buf_put_c(&conn->out_body, SL_CHUNKED_LAST);
    }
    if (conn->out.failed || conn->out_body.failed)
        enter(conn, SL_CTL_CLOSED, now_ns);
    else if (!has_output(conn))
        conn->stream_next_ns = now_ns + STREAM_PAUSE_NS;
    conn->progress_ns = now_ns;
}

static struct iovec rest_of(const sl_buf *buf, size_t from)
{
    SL_ASSERT(buf);
    struct iovec rest = {NULL, buf->len - from};
    if (rest.iov_len)
        rest.iov_base = buf->data + from;
    return rest;
}

/* One write. DONE: all is out; WAIT: the peer takes no more now; AGAIN: go on. */
static int push(sl_ctl_conn *conn, size_t *written, uint64_t now_ns)
{
    SL_ASSERT(conn);
    struct iovec parts[2] = {rest_of(&conn->out, conn->out_at), rest_of(&conn->out_body, conn->out_body_at)};
    if (parts[0].iov_len == 0 && parts[1].iov_len == 0)
        return DONE;
    struct msghdr message;
    memset(&message, 0, sizeof message);
    message.msg_iov = parts[0].iov_len ? parts : parts + 1;
    message.msg_iovlen = (parts[0].iov_len ? 1u : 0u) + (parts[1].iov_len ? 1u : 0u);
    ssize_t n = sendmsg(conn->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0) {
        if (errno == EINTR)
            return AGAIN;
        if (errno != EAGAIN)
            enter(conn, SL_CTL_CLOSED, now_ns);
        return WAIT;
    }
    size_t head = (size_t)n < parts[0].iov_len ? (size_t)n : parts[0].iov_len;
    conn->out_at += head;
    conn->out_body_at += (size_t)n - head;
    conn->progress_ns = now_ns;
    *written += (size_t)n;
    return AGAIN;
}

/* Writes the answer. DONE: it is out; WAIT; AGAIN: its turn is over. */
static int flush(sl_ctl_conn *conn, uint64_t now_ns)
{
    for (size_t written = 0; written < WRITE_TURN_BYTES;) {
        int result = push(conn, &written, now_ns);
        if (result == WAIT || conn->state == SL_CTL_CLOSED)
            return WAIT;
        if (result == AGAIN)
            continue;
        if (!conn->stream)
            return DONE;
        if (now_ns < conn->stream_next_ns)
            return WAIT;
        pull(conn, now_ns);
    }
    return AGAIN;
}

/* The answer is out: what now? */
static void finish(sl_ctl_conn *conn, uint64_t now_ns)
{
    SL_ASSERT(conn);
    sl_buf_clear(&conn->out);
    sl_buf_done(&conn->out_body);
    conn->out_at = conn->out_body_at = 0;
    conn->stream_next_ns = 0;
    conn->served = true;
    if (conn->in.cap > KEEP_BYTES && conn->in.len == 0)
        sl_buf_done(&conn->in);
    if (!conn->close_after) {
        enter(conn, SL_CTL_IDLE, now_ns);
        return;
    }
    /* Closing with unread bytes would make the kernel throw the answer away: say that it was all, and wait for the
     * peer. */
    (void)shutdown(conn->fd, SHUT_WR);
    sl_buf_clear(&conn->in);
    enter(conn, SL_CTL_LINGER, now_ns);
}

static void linger(sl_ctl_conn *conn, uint64_t now_ns)
{
    char scrap[READ_BYTES];
    for (int i = 0; i < REQUESTS_PER_TURN; i++) {
        ssize_t n = recv(conn->fd, scrap, sizeof scrap, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
            enter(conn, SL_CTL_CLOSED, now_ns);
            return;
        }
        if (n < 0)
            return;
    }
}

/* ---- turns ---- */

static void expire(sl_ctl_conn *conn, uint64_t now_ns)
{
    if (now_ns < sl_ctl_conn_deadline(conn))
        return;
    if (conn->state == SL_CTL_WRITING && !has_output(conn))
        return; /* a stream is due, nothing is late */
    if (conn->state != SL_CTL_LINGER && (conn->state != SL_CTL_IDLE || !conn->served))
        atomic_fetch_add_explicit(&conn->shared->timeouts, 1, memory_order_relaxed);
    if (conn->state == SL_CTL_READING)
        refuse(conn, 408, "timeout", "the request came too slowly", now_ns);
    else
        enter(conn, SL_CTL_CLOSED, now_ns);
}

/* Reads, answers and writes for as long as that goes without waiting. True: there is more to do at once. */
static bool work(sl_ctl_conn *conn, bool eof, uint64_t now_ns)
{
    for (int i = 0; i < REQUESTS_PER_TURN; i++) {
        if (conn->state != SL_CTL_WRITING && serve(conn, now_ns) != DONE) {
            /* A peer that has said its last word without finishing a request gets none. */
            if (eof)
                enter(conn, SL_CTL_CLOSED, now_ns);
            return false;
        }
        if (conn->state != SL_CTL_WRITING)
            return false;
        int result = flush(conn, now_ns);
        if (result != DONE)
            return result == AGAIN;
        finish(conn, now_ns);
        if (conn->state != SL_CTL_IDLE)
            return false;
    }
    return true;
}

bool sl_ctl_conn_run(sl_ctl_conn *conn, short revents, uint64_t now_ns)
{
    SL_ASSERT(conn && conn->state <= SL_CTL_CLOSED);
    bool again = false, eof = false;
    switch (conn->state) {
    case SL_CTL_IDLE:
    case SL_CTL_READING:
        if (revents & (POLLIN | POLLHUP | POLLERR))
            fill(conn, now_ns, &eof);
        if (conn->state != SL_CTL_CLOSED)
            again = work(conn, eof, now_ns);
        break;
    case SL_CTL_WRITING:
        if (revents & (POLLHUP | POLLERR))
            enter(conn, SL_CTL_CLOSED, now_ns);
        else
            again = work(conn, false, now_ns);
        break;
    case SL_CTL_LINGER:
        if (revents)
            linger(conn, now_ns);
        break;
    default:
        break;
    }
    if (!again && conn->state != SL_CTL_CLOSED)
        expire(conn, now_ns);
    return again;
}
