/* The POST client. Sockets are non-blocking; waiting is done by poll(), up to the deadline. */
#include "src/net/lite/http_post.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/base/buf.h"
#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/wire/chunked.h"
#include "src/wire/http1.h"
#include "src/wire/http1_write.h"
#include "src/wire/url.h"

#define READ_BYTES 16384u
#define MAX_INTERIM 16u /* 1xx answers before the final one */
#define ERROR_TEXT 256
#define EARLY_ANSWER_NS 50000000u

struct sl_http_post {
    const sl_net_ops *ops;
    char *host;
    char port[8];
    char *peer;  /* host:port, for messages */
    sl_buf head; /* of every request, up to Content-Length */
    sl_buf out;  /* head of the current request */
    sl_buf in;   /* the current answer as received */
    sl_buf body; /* the current answer's body */
    size_t max_answer;
    int fd;       /* -1: not connected */
    bool surplus; /* bytes came behind the answer */
    unsigned connections;
    uint64_t deadline_ns;
    char error[ERROR_TEXT];
};

/* Notes what went wrong, with the peer's name in front. */
static int fail(sl_http_post *c, int error, const char *what, const char *why)
{
    SL_ASSERT(c);
    (void)snprintf(c->error, sizeof c->error, "%s: %s%s%s", c->peer, what, why ? ": " : "", why ? why : "");
    return error;
}

/* ---- waiting ---- */

/* Waits until the socket is ready. Errors: SL_ETIMEOUT, SL_EIO. */
static int wait_ready(sl_http_post *c, short events)
{
    SL_ASSERT(c);
    int error = sl_socket_wait(c->fd, events, c->deadline_ns);
    return error ? fail(c, error, sl_strerror(error), NULL) : 0;
}

/* ---- connecting ---- */

static void disconnect(sl_http_post *c)
{
    SL_ASSERT(c);
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

static int connect_peer(sl_http_post *c)
{
    SL_ASSERT(c);
    char why[ERROR_TEXT / 2];
    int error = sl_tcp_connect(c->ops, c->host, c->port, c->deadline_ns, &c->fd, why, sizeof why);
    if (error)
        return fail(c, error, why, NULL);
    c->connections++;
    return 0;
}

/* ---- sending ---- */

static int send_all(sl_http_post *c, sl_str bytes, bool more)
{
    SL_ASSERT(bytes.ptr || !bytes.len);
    size_t at = 0;
    while (at < bytes.len) {
        ssize_t sent =
            c->ops->send(c->ops->user, c->fd, bytes.ptr + at, bytes.len - at, MSG_NOSIGNAL | (more ? MSG_MORE : 0));
        if (sent > 0) {
            at += (size_t)sent;
            continue;
        }
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno != EAGAIN && errno != EWOULDBLOCK)
            return fail(c, SL_ECLOSED, "connection lost while sending", strerror(errno));
        int error = wait_ready(c, POLLOUT);
        if (error)
            return error;
    }
    return 0;
}

static int send_request(sl_http_post *c, sl_str body)
{
    SL_ASSERT(c);
    sl_buf_clear(&c->out);
    (void)sl_buf_put_str(&c->out, sl_buf_str(&c->head));
    (void)sl_http1_put_field_u64(&c->out, SL_STR("Content-Length"), body.len);
    (void)sl_http1_put_end(&c->out);
    if (c->out.failed)
        return fail(c, c->out.failed, "no memory", NULL);
    int error = send_all(c, sl_buf_str(&c->out), body.len > 0);
    return error ? error : send_all(c, body, false);
}

/* ---- receiving ---- */

/* Reads more of the answer. Errors: SL_ECLOSED at the end of the stream, and those of waiting. */
static int receive(sl_http_post *c)
{
    SL_ASSERT(c);
    if (c->in.len > c->max_answer + SL_MAX_HEAD_BYTES)
        return fail(c, SL_ETOOBIG, "the answer is too big", NULL);
    if (sl_buf_reserve(&c->in, READ_BYTES))
        return fail(c, c->in.failed, "no room for the answer", NULL);
    for (;;) {
        ssize_t got = c->ops->recv(c->ops->user, c->fd, c->in.data + c->in.len, READ_BYTES);
        if (got > 0) {
            c->in.len += (size_t)got;
            return 0;
        }
        if (got == 0)
            return fail(c, SL_ECLOSED, c->in.len ? "closed in the middle of an answer" : "closed without an answer",
                        NULL);
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN && errno != EWOULDBLOCK)
            return fail(c, SL_ECLOSED, "connection lost while waiting for the answer", strerror(errno));
        int error = wait_ready(c, POLLIN);
        if (error)
            return error;
    }
}

/* Reads until there is a head that is not interim; it lies at `*ret_at` of the input. */
static int read_head(sl_http_post *c, sl_http1_head *head, size_t *ret_at)
{
    SL_ASSERT(ret_at);
    size_t at = 0;
    sl_http1_parser parser;
    sl_http1_parser_init(&parser, 0);
    for (unsigned interim = 0; interim < MAX_INTERIM;) {
        sl_str bytes = sl_str_sub(sl_buf_str(&c->in), at, c->in.len);
        int error = bytes.len ? sl_http1_parse_response(&parser, bytes, SL_HTTP_POST, head) : SL_EMORE;
        if (error == SL_EMORE) {
            error = receive(c);
            if (error)
                return error;
            continue;
        }
        if (error)
            return fail(c, SL_EPROTO, "not an HTTP answer", parser.error_reason);
        if (head->status >= 200) {
            *ret_at = at;
            return 0;
        }
        at += head->head_bytes;
        interim++;
    }
    return fail(c, SL_EPROTO, "too many interim answers", NULL);
}

static int keep_body(sl_http_post *c, sl_str piece)
{
    SL_ASSERT(c);
    int error = sl_buf_put_str(&c->body, piece);
    if (error == SL_ELIMIT)
        return fail(c, SL_ETOOBIG, "the answer is too big", NULL);
    return error ? fail(c, error, "no memory", NULL) : 0;
}

/* Body of a known length. */
static int read_length(sl_http_post *c, size_t at, uint64_t length)
{
    SL_ASSERT(c);
    if (length > c->max_answer)
        return fail(c, SL_ETOOBIG, "the answer is too big", NULL);
    while (c->in.len - at < length) {
        int error = receive(c);
        if (error)
            return error;
    }
    c->surplus = c->in.len - at > length;
    return keep_body(c, sl_str_sub(sl_buf_str(&c->in), at, (size_t)length));
}

static int read_chunked(sl_http_post *c, size_t at)
{
    sl_chunked chunked;
    sl_chunked_init(&chunked);
    for (;;) {
        sl_str rest = sl_str_sub(sl_buf_str(&c->in), at, c->in.len);
        sl_str data;
        int error;
        while ((error = sl_chunked_next(&chunked, &rest, &data)) == 0) {
            error = keep_body(c, data);
            if (error)
                return error;
        }
        c->surplus = rest.len > 0;
        if (error == SL_CHUNKED_END)
            return 0;
        if (error != SL_EMORE)
            return fail(c, SL_EPROTO, "malformed answer", chunked.reason);
        at = c->in.len;
        error = receive(c);
        if (error)
            return error;
    }
}

/* Body up to the end of the connection. */
static int read_to_end(sl_http_post *c, size_t at)
{
    int error;
    while ((error = receive(c)) == 0) {
    }
    if (error != SL_ECLOSED)
        return error;
    return keep_body(c, sl_str_sub(sl_buf_str(&c->in), at, c->in.len));
}

/* Reads the answer's body behind its head. */
static int read_body(sl_http_post *c, const sl_http1_head *head, size_t at)
{
    SL_ASSERT(head);
    switch (head->body) {
    case SL_HTTP1_BODY_LENGTH:
        return read_length(c, at, head->content_length);
    case SL_HTTP1_BODY_CHUNKED:
        return read_chunked(c, at);
    case SL_HTTP1_BODY_UNTIL_CLOSE:
        return read_to_end(c, at);
    default:
        c->surplus = c->in.len > at;
        return 0;
    }
}

/* Fields of an answer that outlive the input's growth. */
static int copy_answer(sl_http_post *c, size_t at, sl_http_answer *ret_answer)
{
    SL_ASSERT(c && ret_answer);
    sl_http1_field fields[SL_MAX_HEAD_FIELDS];
    sl_http1_head head;
    sl_http1_parser parser;
    sl_http1_parser_init(&parser, 0);
    sl_http1_head_init(&head, fields, SL_MAX_HEAD_FIELDS);
    if (sl_http1_parse_response(&parser, sl_str_sub(sl_buf_str(&c->in), at, c->in.len), SL_HTTP_POST, &head))
        return fail(c, SL_EPROTO, "not an HTTP answer", parser.error_reason);
    ret_answer->status = head.status;
    ret_answer->content_type = sl_http1_get(&head, SL_HTTP_CONTENT_TYPE);
    ret_answer->retry_after = sl_http1_get(&head, SL_HTTP_RETRY_AFTER);
    ret_answer->body = sl_buf_str(&c->body);
    return 0;
}

static int read_answer(sl_http_post *c, sl_http_answer *ret_answer)
{
    SL_ASSERT(c);
    sl_http1_field fields[SL_MAX_HEAD_FIELDS];
    sl_http1_head head;
    size_t at = 0;
    sl_http1_head_init(&head, fields, SL_MAX_HEAD_FIELDS);
    sl_buf_clear(&c->in);
    sl_buf_clear(&c->body);
    c->surplus = false;
    int error = read_head(c, &head, &at);
    if (!error)
        error = read_body(c, &head, at + head.head_bytes);
    if (!error)
        error = copy_answer(c, at, ret_answer);
    /* What comes behind an answer must not be taken for the next one (RFC 9112, 9.3.2). */
    if (error || !head.keep_alive || head.body == SL_HTTP1_BODY_UNTIL_CLOSE || c->surplus)
        disconnect(c);
    return error;
}

/* ---- public ---- */

static int build_head(sl_http_post *c, const sl_http_post_options *o, const sl_url *url)
{
    SL_ASSERT(c && url && o);
    (void)sl_http1_put_request(&c->head, SL_STR("POST"), url->target);
    (void)sl_http1_put_field(&c->head, SL_STR("Host"), url->authority);
    (void)sl_http1_put_field(&c->head, SL_STR("User-Agent"), o->user_agent);
    (void)sl_http1_put_field(&c->head, SL_STR("Content-Type"), o->content_type);
    for (size_t i = 0; i < o->header_count; i++)
        (void)sl_http1_put_field(&c->head, o->headers[i].name, o->headers[i].value);
    return c->head.failed;
}

static bool headers_ok(const sl_http_post_options *o)
{
    static const char *const reserved[] = {
        "host", "content-length", "transfer-encoding", "connection",      "expect", "trailer",
        "te",   "upgrade",        "content-type",      "content-encoding"};
    for (size_t i = 0; i < o->header_count; i++) {
        for (size_t k = 0; k < sizeof reserved / sizeof reserved[0]; k++) {
            if (sl_str_ieq(o->headers[i].name, sl_str_c(reserved[k])))
                return false;
        }
    }
    return true;
}

int sl_http_post_new(const sl_http_post_options *options, sl_http_post **ret_client, const char **ret_why)
{
    SL_ASSERT(options && ret_client && ret_why && (options->headers || !options->header_count));
    sl_url url;
    if (sl_url_parse(options->url, &url, ret_why))
        return SL_ECONFIG;
    *ret_why = url.tls ? "https is not built into this library" : "a header that the protocol sets itself";
    if (url.tls || !headers_ok(options))
        return SL_ECONFIG;
    *ret_why = "out of memory";
    sl_http_post *c = sl_calloc(1, sizeof *c);
    if (!c)
        return SL_ENOMEM;
    c->ops = options->ops ? options->ops : &sl_net_ops_libc;
    c->fd = -1;
    c->max_answer = options->max_answer_bytes ? options->max_answer_bytes : SL_MAX_OTLP_RESPONSE_BYTES;
    sl_buf_init(&c->head, SL_MAX_HEAD_BYTES);
    sl_buf_init(&c->out, 2 * SL_MAX_HEAD_BYTES);
    sl_buf_init(&c->in, c->max_answer + 2 * SL_MAX_HEAD_BYTES + 2 * READ_BYTES);
    sl_buf_init(&c->body, c->max_answer);
    (void)snprintf(c->port, sizeof c->port, "%u", url.port);
    c->host = sl_strndup(url.host.ptr, url.host.len);
    c->peer = sl_strndup(url.authority.ptr, url.authority.len);
    int error = c->host && c->peer ? build_head(c, options, &url) : SL_ENOMEM;
    if (error) {
        sl_http_post_free(c);
        *ret_why = error == SL_ENOMEM ? "out of memory" : "a header that HTTP does not allow";
        return error == SL_ENOMEM ? SL_ENOMEM : SL_ECONFIG;
    }
    *ret_client = c;
    return 0;
}

void sl_http_post_free(sl_http_post *client)
{
    if (!client)
        return;
    disconnect(client);
    sl_buf_done(&client->head);
    sl_buf_done(&client->out);
    sl_buf_done(&client->in);
    sl_buf_done(&client->body);
    sl_free(client->host);
    sl_free(client->peer);
    sl_free(client);
}

/* A kept connection on which the peer has said or ended something is of no use. */
static bool is_stale(const sl_http_post *c)
{
    SL_ASSERT(c);
    struct pollfd p = {c->fd, POLLIN, 0};
    return poll(&p, 1, 0) != 0;
}

/* A peer may refuse a body before it has read all of it: its answer counts more than the broken connection. */
static bool has_early_answer(sl_http_post *c, sl_http_answer *ret_answer)
{
    SL_ASSERT(c);
    char text[ERROR_TEXT];
    memcpy(text, c->error, sizeof text);
    uint64_t until = sl_mono_ns() + EARLY_ANSWER_NS;
    c->deadline_ns = until < c->deadline_ns ? until : c->deadline_ns;
    if (read_answer(c, ret_answer) == 0)
        return true;
    memcpy(c->error, text, sizeof text);
    return false;
}

/* One try on one connection. */
static int try_send(sl_http_post *c, sl_str body, sl_http_answer *ret_answer)
{
    SL_ASSERT(c);
    sl_buf_clear(&c->in);
    int error = c->fd >= 0 ? 0 : connect_peer(c);
    if (error)
        return error;
    error = send_request(c, body);
    bool sent_badly = error != 0;
    if (!error)
        error = read_answer(c, ret_answer);
    else if (error == SL_ECLOSED && has_early_answer(c, ret_answer))
        error = SL_OK;
    if (error || sent_badly)
        disconnect(c);
    return error;
}

int sl_http_post_send(sl_http_post *client, sl_str body, uint64_t deadline_ns, sl_http_answer *ret_answer)
{
    SL_ASSERT(client && ret_answer && (body.ptr || !body.len));
    client->deadline_ns = deadline_ns;
    if (client->fd >= 0 && is_stale(client))
        disconnect(client);
    bool kept = client->fd >= 0;
    int error = try_send(client, body, ret_answer);
    client->deadline_ns = deadline_ns;
    if (kept && error == SL_ECLOSED && client->in.len == 0)
        error = try_send(client, body, ret_answer);
    if (!error)
        client->error[0] = 0;
    return error;
}

const char *sl_http_post_error(const sl_http_post *client)
{
    SL_ASSERT(client);
    return client->error;
}

unsigned sl_http_post_connections(const sl_http_post *client)
{
    SL_ASSERT(client);
    return client->connections;
}
