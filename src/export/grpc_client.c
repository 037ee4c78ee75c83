/*
 * The gRPC client.
 *
 *     call ── connect if needed ── submit ── pump: write what nghttp2 has, read what the peer sends ── stream closed
 *
 * A kept connection on which the call gets no answer at all is replaced once; so is one whose peer refused the stream
 * (GOAWAY, REFUSED_STREAM): the call was not processed then (RFC 9113, sections 6.8 and 8.7).
 */
#include "src/export/grpc_client.h"

#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <openssl/err.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/base/limits.h"
#include "src/base/mem.h"
#include "src/export/gzip.h"
#include "src/export/tls_client.h"
#include "src/wire/pct.h"
#include "src/wire/redact.h"
#include "src/wire/url.h"

#define READ_BYTES 16384u
#define WINDOW_BYTES (1 << 20)
#define MAX_METADATA 64u
#define FIXED_FIELDS 10u
#define MAX_TEXT_BYTES 4096u /* of grpc-message */
#define MAX_DETAILS_BYTES 16384u
#define PREFIX_BYTES 5u
#define GRPC_UNKNOWN 2
#define GRPC_RESOURCE_EXHAUSTED 8
#define GRPC_INTERNAL 13
#define GRPC_UNAVAILABLE 14

/* The call under way. */
typedef struct call {
    int32_t stream;
    sl_str out; /* message with its prefix, still to be sent */
    bool closed;
    uint32_t reset; /* error code of RST_STREAM or of the session; 0: a clean end */
    int http_status;
    int grpc_status; /* -1: not seen */
    bool is_grpc;    /* content-type says so */
    bool gzip;       /* grpc-encoding of the answer */
    bool answered;   /* headers came */
    int error;       /* of a callback */
} call;

struct sl_grpc_client {
    /* Constant. */
    const sl_net_ops *ops;
    char *host;
    char *authority;
    char port[8];
    bool use_tls;
    bool gzip;
    SSL_CTX *context;
    char *user_agent;
    sl_grpc_metadata metadata[MAX_METADATA]; /* own copies */
    size_t metadata_count;
    nghttp2_mem mem;
    /* The connection. */
    int fd; /* -1: none */
    SSL *tls;
    nghttp2_session *session;
    bool going_away;
    unsigned connections;
    uint64_t deadline_ns;
    const uint8_t *pending; /* bytes of nghttp2 that the socket has not taken */
    size_t pending_len;
    /* The call. */
    call now;
    sl_buf request;
    sl_buf answer; /* with its prefix */
    sl_buf body;
    sl_buf message;
    sl_buf details;
    char error[320];
};

static int fail(sl_grpc_client *c, int error, const char *why)
{
    SL_ASSERT(c);
    (void)snprintf(c->error, sizeof c->error, "%s: %s", c->authority, why);
    return error;
}

/* ---- nghttp2's memory comes from the library's ---- */

static void *mem_malloc(size_t size, void *user)
{
    (void)user;
    return sl_malloc(size);
}

static void mem_free(void *ptr, void *user)
{
    (void)user;
    sl_free(ptr);
}

static void *mem_calloc(size_t count, size_t size, void *user)
{
    (void)user;
    return sl_calloc(count, size);
}

static void *mem_realloc(void *ptr, size_t size, void *user)
{
    (void)user;
    return sl_realloc(ptr, size);
}

/* ---- callbacks ---- */

/* grpc-message is percent-encoded; what is not well-formed stays as it is. */
static void take_message(sl_grpc_client *c, sl_str text)
{
    SL_ASSERT(c && (text.ptr || !text.len));
    text = sl_str_sub(text, 0, MAX_TEXT_BYTES);
    sl_buf_clear(&c->message);
    if (text.len && sl_buf_reserve(&c->message, text.len) == 0)
        c->message.len = sl_pct_decode(text, c->message.data);
}

static int small_number(sl_str text, int max)
{
    uint64_t value;
    return sl_str_to_u64(text, &value) || value > (uint64_t)max ? max : (int)value;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                     const uint8_t *value, size_t value_len, uint8_t flags, void *user)
{
    SL_ASSERT(frame);
    (void)session;
    (void)flags;
    sl_grpc_client *c = user;
    if (frame->hd.stream_id != c->now.stream)
        return 0;
    sl_str key = sl_str_of((const char *)name, name_len);
    sl_str text = sl_str_of((const char *)value, value_len);
    c->now.answered = true;
    if (sl_str_eq_c(key, ":status")) {
        c->now.http_status = small_number(text, 999);
    } else if (sl_str_eq_c(key, "content-type")) {
        c->now.is_grpc = sl_str_starts(text, SL_STR("application/grpc"));
    } else if (sl_str_eq_c(key, "grpc-status")) {
        c->now.grpc_status = small_number(text, 999);
    } else if (sl_str_eq_c(key, "grpc-message")) {
        take_message(c, text);
    } else if (sl_str_eq_c(key, "grpc-encoding")) {
        c->now.gzip = sl_str_eq_c(text, "gzip");
    } else if (sl_str_eq_c(key, "grpc-status-details-bin")) {
        sl_buf_clear(&c->details);
        (void)sl_buf_put_str(&c->details, text);
    }
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *data, size_t len, void *user)
{
    (void)flags;
    sl_grpc_client *c = user;
    if (stream != c->now.stream || c->now.error)
        return 0;
    int error = sl_buf_put(&c->answer, data, len);
    if (error) {
        c->now.error = error == SL_ELIMIT ? SL_ETOOBIG : error;
        (void)nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, stream, NGHTTP2_CANCEL);
    }
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    SL_ASSERT(frame);
    (void)session;
    sl_grpc_client *c = user;
    if (frame->hd.type == NGHTTP2_GOAWAY)
        c->going_away = true;
    return 0;
}

static int on_close(nghttp2_session *session, int32_t stream, uint32_t error_code, void *user)
{
    (void)session;
    sl_grpc_client *c = user;
    if (stream == c->now.stream) {
        c->now.closed = true;
        c->now.reset = error_code;
    }
    return 0;
}

/* Gives the next part of the request's body. */
static ssize_t on_body(nghttp2_session *session, int32_t stream, uint8_t *buf, size_t len, uint32_t *flags,
                       nghttp2_data_source *source, void *user)
{
    SL_ASSERT(buf || !len);
    (void)session;
    (void)source;
    sl_grpc_client *c = user;
    SL_ASSERT(stream == c->now.stream);
    (void)stream;
    size_t take = c->now.out.len < len ? c->now.out.len : len;
    if (take)
        memcpy(buf, c->now.out.ptr, take);
    c->now.out = sl_str_sub(c->now.out, take, c->now.out.len);
    if (!c->now.out.len)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)take;
}

/* ---- bytes ---- */

/* Writes some bytes. Their number, 0 when the socket takes none now, or an error. */
static ssize_t socket_write(sl_grpc_client *c, const uint8_t *data, size_t len)
{
    SL_ASSERT(c);
    if (!c->tls) {
        ssize_t put = c->ops->send(c->ops->user, c->fd, data, len, MSG_NOSIGNAL);
        if (put >= 0)
            return put;
        return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? 0 : SL_ECLOSED;
    }
    ERR_clear_error();
    size_t put = 0;
    int result = SSL_write_ex(c->tls, data, len, &put);
    if (result == 1)
        return (ssize_t)put;
    int wants = SSL_get_error(c->tls, result);
    return wants == SSL_ERROR_WANT_READ || wants == SSL_ERROR_WANT_WRITE ? 0 : SL_ECLOSED;
}

/* Reads some bytes. Their number, 0 when there are none now, or an error (SL_ECLOSED at the end). */
static ssize_t socket_read(sl_grpc_client *c, uint8_t *data, size_t len)
{
    SL_ASSERT(c);
    if (!c->tls) {
        ssize_t got = c->ops->recv(c->ops->user, c->fd, data, len);
        if (got > 0)
            return got;
        return got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) ? 0 : SL_ECLOSED;
    }
    ERR_clear_error();
    size_t got = 0;
    int result = SSL_read_ex(c->tls, data, len, &got);
    if (result == 1)
        return (ssize_t)got;
    int wants = SSL_get_error(c->tls, result);
    return wants == SSL_ERROR_WANT_READ || wants == SSL_ERROR_WANT_WRITE ? 0 : SL_ECLOSED;
}

/* Writes until nghttp2 has nothing more or the socket takes nothing more. */
static int pump_out(sl_grpc_client *c)
{
    for (;;) {
        if (!c->pending_len) {
            ssize_t len = nghttp2_session_mem_send(c->session, &c->pending);
            if (len < 0)
                return fail(c, len == NGHTTP2_ERR_NOMEM ? SL_ENOMEM : SL_EPROTO, nghttp2_strerror((int)len));
            if (len == 0)
                return 0;
            c->pending_len = (size_t)len;
        }
        ssize_t put = socket_write(c, c->pending, c->pending_len);
        if (put < 0)
            return fail(c, (int)put, "connection lost");
        if (put == 0)
            return 0;
        c->pending += put;
        c->pending_len -= (size_t)put;
    }
}

/* Reads what is there. SL_ECLOSED at the end of the connection. */
static int pump_in(sl_grpc_client *c)
{
    uint8_t data[READ_BYTES];
    for (;;) {
        ssize_t got = socket_read(c, data, sizeof data);
        if (got < 0)
            return fail(c, (int)got, "the peer closed the connection");
        if (got == 0)
            return 0;
        ssize_t used = nghttp2_session_mem_recv(c->session, data, (size_t)got);
        if (used < 0)
            return fail(c, used == NGHTTP2_ERR_NOMEM ? SL_ENOMEM : SL_EPROTO, nghttp2_strerror((int)used));
    }
}

/* ---- the connection ---- */

static void disconnect(sl_grpc_client *c)
{
    SL_ASSERT(c);
    nghttp2_session_del(c->session);
    c->session = NULL;
    SSL_free(c->tls);
    c->tls = NULL;
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    c->pending_len = 0;
    c->going_away = false;
    ERR_clear_error();
}

static int new_session(sl_grpc_client *c)
{
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;
    if (nghttp2_session_callbacks_new(&callbacks))
        return SL_ENOMEM;
    if (nghttp2_option_new(&option)) {
        nghttp2_session_callbacks_del(callbacks);
        return SL_ENOMEM;
    }
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    int failed = nghttp2_session_client_new3(&c->session, callbacks, c, option, &c->mem);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
                                               {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW_BYTES}};
    if (!failed)
        failed = nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, settings, 2);
    if (!failed)
        failed = nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0, WINDOW_BYTES);
    return failed ? fail(c, SL_ENOMEM, nghttp2_strerror(failed)) : 0;
}

static int connect_peer(sl_grpc_client *c)
{
    SL_ASSERT(c);
    char why[256] = "";
    int error = sl_tcp_connect(c->ops, c->host, c->port, c->deadline_ns, &c->fd, why, sizeof why);
    if (!error && c->use_tls)
        error = sl_tls_connect(c->context, c->fd, c->host, c->deadline_ns, &c->tls, why, sizeof why);
    if (error)
        fail(c, error, why[0] ? why : sl_strerror(error));
    else
        error = new_session(c);
    if (error)
        disconnect(c);
    else
        c->connections++;
    return error;
}

/* Looks at a kept connection before it is used. */
static void check_kept(sl_grpc_client *c)
{
    SL_ASSERT(c);
    if (c->fd < 0)
        return;
    int error = pump_in(c);
    if (!error)
        error = pump_out(c);
    if (error || c->going_away || !nghttp2_session_check_request_allowed(c->session))
        disconnect(c);
}

/* ---- the call ---- */

static nghttp2_nv field(sl_str name, sl_str value)
{
    SL_ASSERT((name.ptr || !name.len) && (value.ptr || !value.len));
    nghttp2_nv nv = {(uint8_t *)(uintptr_t)name.ptr, (uint8_t *)(uintptr_t)value.ptr, name.len, value.len,
                     NGHTTP2_NV_FLAG_NONE};
    return nv;
}

static int submit(sl_grpc_client *c, const char *path)
{
    SL_ASSERT(c);
    nghttp2_nv fields[FIXED_FIELDS + MAX_METADATA];
    size_t count = 0;
    char timeout[24];
    uint64_t now = sl_mono_ns();
    uint64_t left_ms = c->deadline_ns > now ? (c->deadline_ns - now) / 1000000u + 1 : 1;
    (void)snprintf(timeout, sizeof timeout, "%llum", (unsigned long long)(left_ms < 99999999u ? left_ms : 99999999u));
    fields[count++] = field(SL_STR(":method"), SL_STR("POST"));
    fields[count++] = field(SL_STR(":scheme"), c->use_tls ? SL_STR("https") : SL_STR("http"));
    fields[count++] = field(SL_STR(":authority"), sl_str_c(c->authority));
    fields[count++] = field(SL_STR(":path"), sl_str_c(path));
    fields[count++] = field(SL_STR("te"), SL_STR("trailers"));
    fields[count++] = field(SL_STR("content-type"), SL_STR("application/grpc"));
    fields[count++] = field(SL_STR("user-agent"), sl_str_c(c->user_agent));
    fields[count++] = field(SL_STR("grpc-timeout"), sl_str_c(timeout));
    fields[count++] = field(SL_STR("grpc-accept-encoding"), SL_STR("identity,gzip"));
    if (c->gzip)
        fields[count++] = field(SL_STR("grpc-encoding"), SL_STR("gzip"));
    SL_ASSERT(count <= FIXED_FIELDS);
    for (size_t i = 0; i < c->metadata_count; i++)
        fields[count++] = field(c->metadata[i].name, c->metadata[i].value);
    nghttp2_data_provider body;
    body.source.ptr = c;
    body.read_callback = on_body;
    memset(&c->now, 0, sizeof c->now);
    c->now.grpc_status = -1;
    c->now.out = sl_buf_str(&c->request);
    sl_buf_clear(&c->answer);
    sl_buf_clear(&c->body);
    sl_buf_clear(&c->message);
    sl_buf_clear(&c->details);
    int32_t stream = nghttp2_submit_request(c->session, NULL, fields, count, &body, NULL);
    if (stream < 0)
        return fail(c, stream == NGHTTP2_ERR_NOMEM ? SL_ENOMEM : SL_ECLOSED, nghttp2_strerror(stream));
    c->now.stream = stream;
    return 0;
}

/* Exchanges bytes until the stream is closed. */
static int run_call(sl_grpc_client *c)
{
    for (;;) {
        int error = pump_in(c); /* first: a window that opens gives the next line something to send */
        int out_error = pump_out(c);
        if (c->now.closed)
            return 0;
        if (!error)
            error = out_error;
        if (!error && !nghttp2_session_want_read(c->session) && !nghttp2_session_want_write(c->session))
            error = fail(c, SL_ECLOSED, "the peer ended the session");
        if (!error) {
            error = sl_socket_wait(c->fd, (short)(POLLIN | (c->pending_len ? POLLOUT : 0)), c->deadline_ns);
            if (error)
                fail(c, error, sl_strerror(error));
        }
        if (error)
            return error;
    }
}

/* The gRPC status that stands for an HTTP status without one. Source: gRPC, "HTTP to gRPC Status Code Mapping". */
static int status_of_http(int status)
{
    switch (status) {
    case 400:
        return GRPC_INTERNAL;
    case 401:
        return 16;
    case 403:
        return 7;
    case 404:
        return 12;
    case 429:
    case 502:
    case 503:
    case 504:
        return GRPC_UNAVAILABLE;
    default:
        return GRPC_UNKNOWN;
    }
}

/* The gRPC status that stands for a reset stream. Source: PROTOCOL-HTTP2, "Errors". */
static int status_of_reset(uint32_t code)
{
    switch (code) {
    case NGHTTP2_REFUSED_STREAM:
        return GRPC_UNAVAILABLE;
    case NGHTTP2_CANCEL:
        return 1;
    case NGHTTP2_ENHANCE_YOUR_CALM:
        return GRPC_RESOURCE_EXHAUSTED;
    case NGHTTP2_INADEQUATE_SECURITY:
        return 7;
    default:
        return GRPC_INTERNAL;
    }
}

static void put_note(sl_grpc_client *c, const char *note)
{
    SL_ASSERT(c);
    if (!c->message.len)
        (void)sl_buf_put_c(&c->message, note);
}

/* Takes the one message out of its frame. */
static int unpack_answer(sl_grpc_client *c)
{
    SL_ASSERT(c);
    if (c->answer.len == 0)
        return 0;
    const uint8_t *head = (const uint8_t *)c->answer.data;
    size_t len = c->answer.len < PREFIX_BYTES
                     ? SIZE_MAX
                     : (size_t)head[1] << 24 | (size_t)head[2] << 16 | (size_t)head[3] << 8 | head[4];
    if (len != c->answer.len - PREFIX_BYTES || head[0] > 1 || (head[0] == 1 && !c->now.gzip))
        return fail(c, SL_EPROTO, "a malformed gRPC message");
    sl_str bytes = sl_str_of(c->answer.data + PREFIX_BYTES, len);
    int error = head[0] ? sl_gzip_unpack(bytes, &c->body) : sl_buf_put_str(&c->body, bytes);
    if (!error)
        return 0;
    if (error == SL_EPARSE)
        error = SL_EPROTO; /* no reason to send again what was taken */
    return fail(c, error == SL_ELIMIT ? SL_ETOOBIG : error, "the answer cannot be unpacked");
}

/* What the closed stream means. */
static int read_result(sl_grpc_client *c, sl_grpc_result *ret_result)
{
    SL_ASSERT(c && ret_result);
    if (c->now.error)
        return fail(c, c->now.error, "the answer is too big");
    int status = c->now.grpc_status;
    if (status < 0 && c->now.reset) {
        status = status_of_reset(c->now.reset);
        put_note(c, nghttp2_http2_strerror(c->now.reset));
    } else if (status < 0 && (c->now.http_status != 200 || !c->now.is_grpc)) {
        status = c->now.http_status == 200 ? GRPC_UNKNOWN : status_of_http(c->now.http_status);
        char note[48];
        (void)snprintf(note, sizeof note, "HTTP %d, which is no gRPC answer", c->now.http_status);
        put_note(c, note);
    } else if (status < 0) {
        status = GRPC_UNKNOWN;
        put_note(c, "no grpc-status");
    }
    int error = status == 0 ? unpack_answer(c) : 0;
    if (error)
        return error;
    ret_result->status = status;
    ret_result->message = sl_buf_str(&c->message);
    ret_result->details = sl_buf_str(&c->details);
    ret_result->body = sl_buf_str(&c->body);
    return 0;
}

/* The message behind its five bytes. */
static int frame_request(sl_grpc_client *c, sl_str message)
{
    SL_ASSERT(c && (message.ptr || !message.len));
    sl_buf_clear(&c->request);
    int error = sl_buf_put(&c->request, "\0\0\0\0", PREFIX_BYTES);
    if (!error)
        error = c->gzip ? sl_gzip_pack(message, &c->request) : sl_buf_put_str(&c->request, message);
    if (error)
        return fail(c, error, sl_strerror(error));
    size_t len = c->request.len - PREFIX_BYTES;
    uint8_t head[PREFIX_BYTES] = {c->gzip, (uint8_t)(len >> 24), (uint8_t)(len >> 16), (uint8_t)(len >> 8),
                                  (uint8_t)len};
    memcpy(c->request.data, head, sizeof head);
    return 0;
}

/* One try on one connection. */
static int try_call(sl_grpc_client *c, const char *path)
{
    SL_ASSERT(c);
    int error = c->fd >= 0 ? 0 : connect_peer(c);
    if (!error)
        error = submit(c, path);
    if (!error)
        error = run_call(c);
    return error;
}

int sl_grpc_call(sl_grpc_client *client, const char *path, sl_str message, uint64_t deadline_ns,
                 sl_grpc_result *ret_result)
{
    SL_ASSERT(client && path && path[0] == '/' && ret_result);
    client->deadline_ns = deadline_ns;
    client->error[0] = 0;
    int error = frame_request(client, message);
    if (error)
        return error;
    memset(&client->now, 0, sizeof client->now);
    check_kept(client);
    bool kept = client->fd >= 0;
    error = try_call(client, path);
    bool unprocessed = error == SL_ECLOSED && !client->now.answered;
    if (!error && client->now.grpc_status < 0 && client->now.reset == NGHTTP2_REFUSED_STREAM)
        unprocessed = true;
    if (kept && unprocessed) {
        disconnect(client);
        error = try_call(client, path);
    }
    if (!error)
        error = read_result(client, ret_result);
    if (client->fd >= 0 && (error || client->going_away))
        disconnect(client);
    if (client->request.cap > READ_BYTES * 4)
        sl_buf_done(&client->request);
    return error;
}

/* ---- life cycle ---- */

static bool metadata_ok(sl_str name)
{
    SL_ASSERT(name.ptr || !name.len);
    static const char *const reserved[] = {"te",         "content-type",   "user-agent",       "host",
                                           "connection", "content-length", "transfer-encoding"};
    if (!name.len || name.ptr[0] == ':' || sl_str_starts(name, SL_STR("grpc-")))
        return false;
    for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++) {
        if (sl_str_ieq(name, sl_str_c(reserved[i])))
            return false;
    }
    return nghttp2_check_header_name((const uint8_t *)name.ptr, name.len) != 0;
}

static int copy_metadata(sl_grpc_client *c, const sl_grpc_options *o, char *why, size_t size)
{
    for (size_t i = 0; i < o->metadata_count && i < MAX_METADATA; i++) {
        const sl_grpc_metadata *from = &o->metadata[i];
        if (!metadata_ok(from->name) ||
            !nghttp2_check_header_value((const uint8_t *)from->value.ptr, from->value.len)) {
            (void)snprintf(why, size, "a header that gRPC does not allow: %.*s", (int)sl_utf8_prefix(from->name, 64),
                           from->name.ptr);
            return SL_ECONFIG;
        }
        sl_grpc_metadata *to = &c->metadata[c->metadata_count++];
        to->name = sl_str_of(sl_strndup(from->name.ptr, from->name.len), from->name.len);
        to->value = sl_str_of(sl_strndup(from->value.ptr, from->value.len), from->value.len);
        if (!to->name.ptr || !to->value.ptr)
            return SL_ENOMEM;
    }
    return 0;
}

static int init_client(sl_grpc_client *c, const sl_grpc_options *o, char *why, size_t size)
{
    SL_ASSERT(o);
    sl_url url;
    const char *reason = "";
    if (sl_url_parse(o->endpoint, &url, &reason)) {
        char shown[129];
        sl_redact_url(o->endpoint, shown, sizeof shown);
        (void)snprintf(why, size, "%s: %s", shown, reason);
        return SL_ECONFIG;
    }
    c->use_tls = url.tls;
    c->gzip = o->gzip;
    c->host = sl_strndup(url.host.ptr, url.host.len);
    c->authority = sl_strndup(url.authority.ptr, url.authority.len);
    c->user_agent = sl_strndup(o->user_agent.ptr, o->user_agent.len);
    (void)snprintf(c->port, sizeof c->port, "%u", url.port);
    if (!c->host || !c->authority || !c->user_agent)
        return SL_ENOMEM;
    sl_tls_files files = {o->ca_file, o->key_file, o->certificate_file};
    int error = c->use_tls ? sl_tls_context_new(&files, &c->context, why, size) : 0;
    return error ? error : copy_metadata(c, o, why, size);
}

int sl_grpc_client_new(const sl_grpc_options *options, sl_grpc_client **ret_client, char *why, size_t size)
{
    SL_ASSERT(options && ret_client && why && size > 0);
    sl_grpc_client *c = sl_calloc(1, sizeof *c);
    if (!c)
        return SL_ENOMEM;
    c->ops = options->ops ? options->ops : &sl_net_ops_libc;
    c->fd = -1;
    c->mem = (nghttp2_mem){NULL, mem_malloc, mem_free, mem_calloc, mem_realloc};
    sl_buf_init(&c->request, SL_MAX_OTLP_REQUEST_BYTES + READ_BYTES);
    sl_buf_init(&c->answer, SL_MAX_OTLP_RESPONSE_BYTES + PREFIX_BYTES);
    sl_buf_init(&c->body, SL_MAX_OTLP_RESPONSE_BYTES + READ_BYTES);
    sl_buf_init(&c->message, MAX_TEXT_BYTES);
    sl_buf_init(&c->details, MAX_DETAILS_BYTES);
    int error = init_client(c, options, why, size);
    if (error) {
        sl_grpc_client_free(c);
        return error;
    }
    *ret_client = c;
    return 0;
}

void sl_grpc_client_free(sl_grpc_client *client)
{
    if (!client)
        return;
    disconnect(client);
    SSL_CTX_free(client->context);
    for (size_t i = 0; i < client->metadata_count; i++) {
        sl_free((void *)(uintptr_t)client->metadata[i].name.ptr);
        sl_free((void *)(uintptr_t)client->metadata[i].value.ptr);
    }
    sl_buf_done(&client->request);
    sl_buf_done(&client->answer);
    sl_buf_done(&client->body);
    sl_buf_done(&client->message);
    sl_buf_done(&client->details);
    sl_free(client->host);
    sl_free(client->authority);
    sl_free(client->user_agent);
    sl_free(client);
}

const char *sl_grpc_error(const sl_grpc_client *client)
{
    SL_ASSERT(client);
    return client->error;
}

unsigned sl_grpc_connections(const sl_grpc_client *client)
{
    SL_ASSERT(client);
    return client->connections;
}
