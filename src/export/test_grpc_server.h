/*
 * For tests: a gRPC server that does as it is told, over nghttp2's server side, plain or TLS. One thread, one
 * connection at a time; `script` says how each call in turn is answered, the last entry stays.
 */
#ifndef SL_EXPORT_TEST_GRPC_SERVER_H
#define SL_EXPORT_TEST_GRPC_SERVER_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>

#include "src/base/buf.h"
#include "src/export/test_tls_files.h"

typedef struct reply {
    int status;          /* grpc-status */
    const char *message; /* grpc-message */
    const char *details; /* grpc-status-details-bin */
    const char *body;    /* bytes of the response message; NULL: empty message */
    size_t body_len;
    const char *encoding; /* grpc-encoding of the body */
    bool trailers_only;
    bool no_status;
    bool hang;           /* no answer at all */
    bool drop;           /* the connection is closed without an answer */
    bool drop_at_accept; /* the next connection is closed at once */
    bool go_away;        /* GOAWAY behind the answer */
    bool go_away_first;  /* GOAWAY instead of an answer: the call was not processed */
    uint32_t reset;      /* RST_STREAM with this code */
    const char *http_status;
    const char *content_type;
} reply;

typedef struct grpc_server {
    int listener;
    int port;
    pthread_t thread;
    _Atomic bool stop;
    SSL_CTX *tls;
    reply script[8];
    size_t script_len;
    _Atomic size_t calls, connections;
    /* Of the last call. */
    pthread_mutex_t lock;
    char headers[4096];
    sl_buf request;
    /* The connection under way. */
    nghttp2_session *session;
    const reply *now;
    size_t body_at;
    bool close_now;
} grpc_server;

static inline int server_on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                                   size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags, void *user)
{
    (void)session;
    (void)frame;
    (void)flags;
    grpc_server *s = user;
    pthread_mutex_lock(&s->lock);
    size_t at = strlen(s->headers);
    (void)snprintf(s->headers + at, sizeof s->headers - at, "%.*s: %.*s\n", (int)name_len, (const char *)name,
                   (int)value_len, (const char *)value);
    pthread_mutex_unlock(&s->lock);
    return 0;
}

static inline int server_on_begin(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    (void)session;
    (void)frame;
    grpc_server *s = user;
    pthread_mutex_lock(&s->lock);
    s->headers[0] = 0;
    sl_buf_clear(&s->request);
    pthread_mutex_unlock(&s->lock);
    return 0;
}

static inline int server_on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *data,
                                 size_t len, void *user)
{
    (void)session;
    (void)flags;
    (void)stream;
    grpc_server *s = user;
    pthread_mutex_lock(&s->lock);
    (void)sl_buf_put(&s->request, data, len);
    pthread_mutex_unlock(&s->lock);
    return 0;
}

static inline nghttp2_nv server_nv(const char *name, const char *value)
{
    nghttp2_nv nv = {(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name), strlen(value), 0};
    return nv;
}

static inline size_t server_trailers(const reply *r, nghttp2_nv *nv, char *number)
{
    size_t count = 0;
    if (r->no_status)
        return 0;
    (void)snprintf(number, 8, "%d", r->status);
    nv[count++] = server_nv("grpc-status", number);
    if (r->message)
        nv[count++] = server_nv("grpc-message", r->message);
    if (r->details)
        nv[count++] = server_nv("grpc-status-details-bin", r->details);
    return count;
}

/* Prefix and message, then the trailers. */
static inline ssize_t server_read_body(nghttp2_session *session, int32_t stream, uint8_t *buf, size_t len,
                                       uint32_t *flags, nghttp2_data_source *source, void *user)
{
    (void)source;
    grpc_server *s = user;
    size_t total = 5 + s->now->body_len, put = 0;
    for (; put < len && s->body_at < total; put++, s->body_at++) {
        size_t n = s->now->body_len;
        uint8_t prefix[5] = {s->now->encoding != NULL, (uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8),
                             (uint8_t)n};
        buf[put] = s->body_at < 5 ? prefix[s->body_at] : s->now->body ? (uint8_t)s->now->body[s->body_at - 5] : 'x';
    }
    if (s->body_at == total) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        nghttp2_nv nv[4];
        char number[8];
        size_t count = server_trailers(s->now, nv, number);
        if (count) {
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
            nghttp2_submit_trailer(session, stream, nv, count);
        }
    }
    return (ssize_t)put;
}

static inline void server_answer(grpc_server *s, int32_t stream)
{
    size_t index = s->calls++;
    const reply *r = &s->script[index < s->script_len ? index : s->script_len - 1];
    s->now = r;
    s->body_at = 0;
    s->close_now = r->drop;
    if (r->hang || r->drop)
        return;
    if (r->go_away_first) {
        nghttp2_submit_goaway(s->session, 0, 0, NGHTTP2_NO_ERROR, NULL, 0);
        nghttp2_submit_rst_stream(s->session, 0, stream, NGHTTP2_REFUSED_STREAM);
        return;
    }
    if (r->reset) {
        nghttp2_submit_rst_stream(s->session, 0, stream, r->reset);
        return;
    }
    nghttp2_nv nv[8];
    size_t count = 0;
    char number[8];
    nv[count++] = server_nv(":status", r->http_status ? r->http_status : "200");
    nv[count++] = server_nv("content-type", r->content_type ? r->content_type : "application/grpc");
    if (r->encoding)
        nv[count++] = server_nv("grpc-encoding", r->encoding);
    if (r->trailers_only) {
        count += server_trailers(r, nv + count, number);
        nghttp2_submit_response(s->session, stream, nv, count, NULL);
    } else {
        nghttp2_data_provider body = {{0}, server_read_body};
        nghttp2_submit_response(s->session, stream, nv, count, &body);
    }
    if (r->go_away)
        nghttp2_submit_goaway(s->session, 0, stream, NGHTTP2_NO_ERROR, NULL, 0);
}

static inline int server_on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    (void)session;
    grpc_server *s = user;
    bool request = frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS;
    if (request && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
        server_answer(s, frame->hd.stream_id);
    return 0;
}

static inline ssize_t server_io(int fd, SSL *tls, bool write, void *data, size_t len)
{
    if (!tls)
        return write ? send(fd, data, len, MSG_NOSIGNAL) : recv(fd, data, len, 0);
    return write ? SSL_write(tls, data, (int)len) : SSL_read(tls, data, (int)len);
}

static inline void server_connection(grpc_server *s, int fd, SSL *tls)
{
    nghttp2_session_callbacks *callbacks;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, server_on_begin);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, server_on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, server_on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, server_on_frame);
    nghttp2_session_server_new(&s->session, callbacks, s);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_submit_settings(s->session, 0, NULL, 0);
    s->close_now = false;
    while (!s->stop && !s->close_now) {
        const uint8_t *out;
        ssize_t len;
        while ((len = nghttp2_session_mem_send(s->session, &out)) > 0) {
            if (server_io(fd, tls, true, (void *)(uintptr_t)out, (size_t)len) != len)
                break;
        }
        if (!nghttp2_session_want_read(s->session) && !nghttp2_session_want_write(s->session))
            break;
        struct pollfd p = {fd, POLLIN, 0};
        if (!(tls && SSL_pending(tls)) && poll(&p, 1, 20) <= 0)
            continue;
        uint8_t in[65536];
        ssize_t got = server_io(fd, tls, false, in, sizeof in);
        if (got <= 0 || nghttp2_session_mem_recv(s->session, in, (size_t)got) < 0)
            break;
    }
    nghttp2_session_del(s->session);
}

static inline void *server_run(void *user)
{
    grpc_server *s = user;
    while (!s->stop) {
        struct pollfd p = {s->listener, POLLIN, 0};
        if (poll(&p, 1, 20) <= 0)
            continue;
        int fd = accept(s->listener, NULL, NULL);
        if (fd < 0)
            continue;
        s->connections++;
        int one = 1;
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        SSL *tls = s->tls ? SSL_new(s->tls) : NULL;
        bool ok = !s->script[s->calls < s->script_len ? s->calls : s->script_len - 1].drop_at_accept;
        if (!ok)
            s->calls++;
        if (tls) {
            SSL_set_fd(tls, fd);
            ok = ok && SSL_accept(tls) == 1;
        }
        if (ok)
            server_connection(s, fd, tls);
        SSL_free(tls);
        close(fd);
    }
    return NULL;
}

static inline int server_alpn(SSL *tls, const unsigned char **out, unsigned char *out_len, const unsigned char *in,
                              unsigned in_len, void *user)
{
    (void)tls;
    (void)user;
    static const unsigned char h2[] = {2, 'h', '2'};
    return SSL_select_next_proto((unsigned char **)(uintptr_t)out, out_len, h2, sizeof h2, in, in_len) ==
                   OPENSSL_NPN_NEGOTIATED
               ? SSL_TLSEXT_ERR_OK
               : SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* Starts it; `files` NULL: plain. `client_auth`: the client must show a certificate. */
static inline void server_start(grpc_server *s, const reply *script, size_t script_len, const tls_files *files,
                                bool client_auth)
{
    memset(s, 0, sizeof *s);
    pthread_mutex_init(&s->lock, NULL);
    sl_buf_init(&s->request, 64u << 20);
    memcpy(s->script, script, script_len * sizeof *script);
    s->script_len = script_len;
    if (files) {
        s->tls = SSL_CTX_new(TLS_server_method());
        SSL_CTX_use_certificate_chain_file(s->tls, files->server_cert);
        SSL_CTX_use_PrivateKey_file(s->tls, files->server_key, SSL_FILETYPE_PEM);
        SSL_CTX_set_alpn_select_cb(s->tls, server_alpn, NULL);
        if (client_auth) {
            SSL_CTX_load_verify_locations(s->tls, files->ca, NULL);
            SSL_CTX_set_verify(s->tls, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
        }
    }
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof address;
    if (bind(s->listener, (struct sockaddr *)&address, len) || listen(s->listener, 16) ||
        getsockname(s->listener, (struct sockaddr *)&address, &len))
        abort();
    s->port = ntohs(address.sin_port);
    pthread_create(&s->thread, NULL, server_run, s);
}

static inline void server_stop(grpc_server *s)
{
    s->stop = true;
    pthread_join(s->thread, NULL);
    close(s->listener);
    SSL_CTX_free(s->tls);
    sl_buf_done(&s->request);
    pthread_mutex_destroy(&s->lock);
}

#endif
