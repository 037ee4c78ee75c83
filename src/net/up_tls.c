/*
 * TLS to upstreams: OpenSSL on a socket of our own, watched by uv_poll (memory BIOs over a uv_tcp would copy twice).
 * TLS 1.2 and later; the certificate must be valid for the host unless the configuration says otherwise; sessions are
 * resumed; SNI for names.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/net/up_conn.h"

static void on_poll(uv_poll_t *poll, int status, int events);

/* ---- per origin ---- */

static int on_new_session(SSL *ssl, SSL_SESSION *session)
{
    sl_up_conn *conn = SSL_get_app_data(ssl);
    if (!conn)
        return 0;
    SSL_SESSION_free(conn->origin->session);
    conn->origin->session = session;
    return 1;
}

static bool load_roots(sl_origin *origin)
{
    SL_ASSERT(origin);
    if (origin->ca_file)
        return SSL_CTX_load_verify_file(origin->ssl_ctx, origin->ca_file) == 1;
    return SSL_CTX_set_default_verify_paths(origin->ssl_ctx) == 1;
}

bool sl_origin_ca_usable(sl_str ca_file)
{
    char path[PATH_MAX];
    SSL_CTX *context = sl_str_to_c(ca_file, path, sizeof path) ? SSL_CTX_new(TLS_client_method()) : NULL;
    bool usable = context && SSL_CTX_load_verify_file(context, path) == 1;
    SSL_CTX_free(context);
    ERR_clear_error();
    return usable;
}

int sl_up_tls_setup(sl_origin *origin)
{
    SL_ASSERT(origin);
    static const unsigned char protocols[] = "\x08http/1.1";
    origin->ssl_ctx = SSL_CTX_new(TLS_client_method());
    if (!origin->ssl_ctx)
        return SL_ENOMEM;
    (void)SSL_CTX_set_min_proto_version(origin->ssl_ctx, TLS1_2_VERSION);
    (void)SSL_CTX_set_mode(origin->ssl_ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                                SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(origin->ssl_ctx, 1);
    (void)SSL_CTX_set_session_cache_mode(origin->ssl_ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(origin->ssl_ctx, on_new_session);
    (void)SSL_CTX_set_alpn_protos(origin->ssl_ctx, protocols, sizeof protocols - 1);
    SSL_CTX_set_verify(origin->ssl_ctx, origin->tls_insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
    if (!origin->tls_insecure && !load_roots(origin)) {
        ERR_clear_error();
        return SL_ETLS;
    }
    return 0;
}

void sl_up_tls_teardown(sl_origin *origin)
{
    SL_ASSERT(origin);
    SSL_SESSION_free(origin->session);
    SSL_CTX_free(origin->ssl_ctx);
    origin->session = NULL;
    origin->ssl_ctx = NULL;
}

/* ---- per connection ---- */

static void wait_for(sl_up_conn *conn, int events)
{
    SL_ASSERT(conn);
    if (conn->events == events || conn->state == SL_UP_CLOSING)
        return;
    conn->events = events;
    if (events)
        (void)uv_poll_start(&conn->poll, events, on_poll);
    else
        (void)uv_poll_stop(&conn->poll);
}

/* A paused call reads nothing. */
static int read_events(const sl_up_conn *conn)
{
    SL_ASSERT(conn);
    return conn->call && conn->call->paused ? 0 : UV_READABLE;
}

static bool make_ssl(sl_up_conn *conn)
{
    SL_ASSERT(conn);
    sl_origin *origin = conn->origin;
    conn->ssl = SSL_new(origin->ssl_ctx);
    if (!conn->ssl || SSL_set_fd(conn->ssl, conn->fd) != 1)
        return false;
    SSL_set_app_data(conn->ssl, conn);
    SSL_set_connect_state(conn->ssl);
    if (origin->session)
        (void)SSL_set_session(conn->ssl, origin->session);
    if (origin->numeric)
        return origin->tls_insecure || X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(conn->ssl), origin->host) == 1;
    SSL_set_hostflags(conn->ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set_tlsext_host_name(conn->ssl, origin->host) == 1 && SSL_set1_host(conn->ssl, origin->host) == 1;
}

int sl_up_tls_connect(sl_up_conn *conn)
{
    SL_ASSERT(conn);
    sl_origin *origin = conn->origin;
    const struct sockaddr *address = (const struct sockaddr *)&origin->addresses[conn->address];
    socklen_t len = address->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    conn->fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (conn->fd < 0)
        return SL_EIO;
    int on = 1;
    (void)setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (uv_poll_init(&origin->upstream->loop->uv, &conn->poll, conn->fd) != 0) {
        (void)close(conn->fd);
        conn->fd = -1;
        return SL_EIO;
    }
    conn->handle.data = conn;
    if (connect(conn->fd, address, len) != 0 && errno != EINPROGRESS)
        return SL_ECONNECT;
    wait_for(conn, UV_WRITABLE);
    return 0;
}

void sl_up_tls_done(sl_up_conn *conn)
{
    SL_ASSERT(conn);
    conn->events = 0;
    sl_timer_stop(conn->origin->upstream->loop, &conn->pending);
    (void)uv_poll_stop(&conn->poll);
    if (conn->ssl) {
        if (conn->served)
            (void)SSL_shutdown(conn->ssl);
        SSL_set_app_data(conn->ssl, NULL);
        SSL_free(conn->ssl);
        conn->ssl = NULL;
    }
    if (conn->fd >= 0)
        (void)close(conn->fd);
    conn->fd = -1;
    ERR_clear_error();
}

/* A sentence for a failed handshake. */
static const char *tls_reason(sl_up_conn *conn)
{
    SL_ASSERT(conn);
    char *text = conn->origin->upstream->reason;
    long verify = SSL_get_verify_result(conn->ssl);
    unsigned long code = ERR_peek_last_error();
    const char *why = verify != X509_V_OK ? X509_verify_cert_error_string(verify) : ERR_reason_error_string(code);
    (void)snprintf(text, SL_UP_REASON, "TLS with %.60s failed: %s", conn->origin->host, why ? why : "connection lost");
    ERR_clear_error();
    return text;
}

static void handshake(sl_up_conn *conn)
{
    SL_ASSERT(conn);
    ERR_clear_error();
    int result = SSL_do_handshake(conn->ssl);
    if (result == 1) {
        conn->origin->stats.opened++;
        wait_for(conn, UV_READABLE);
        sl_up_send(conn);
        return;
    }
    int error = SSL_get_error(conn->ssl, result);
    if (error == SSL_ERROR_WANT_READ)
        wait_for(conn, UV_READABLE);
    else if (error == SSL_ERROR_WANT_WRITE)
        wait_for(conn, UV_WRITABLE);
    else
        sl_up_fail(conn, SL_ETLS, tls_reason(conn));
}

static void connected(sl_up_conn *conn)
{
    SL_ASSERT(conn);
    int error = 0;
    socklen_t len = sizeof error;
    if (getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
        error = errno;
    if (error != 0) {
        if (sl_up_connect_next(conn))
            return;
        char *text = conn->origin->upstream->reason;
        (void)snprintf(text, SL_UP_REASON, "cannot connect to %.80s port %u: %s", conn->origin->host,
                       (unsigned)conn->origin->port, uv_strerror(uv_translate_sys_error(error)));
        conn->origin->addresses_until_ms = 0;
        sl_up_fail(conn, SL_ECONNECT, text);
        return;
    }
    conn->state = SL_UP_HANDSHAKE;
    conn->call->phase = SL_CALL_TLS;
    if (!make_ssl(conn)) {
        sl_up_fail(conn, SL_ETLS, "TLS could not be set up");
        return;
    }
    handshake(conn);
}

/* Fills the loop's buffer with as much as there is, so that one event makes one call. */
static void read_all(sl_up_conn *conn)
{
    SL_ASSERT(conn);
    char *buffer = conn->origin->upstream->loop->read_buffer;
    for (;;) {
        size_t len = 0;
        int result = 0;
        ERR_clear_error();
        while (len < SL_LOOP_READ_BYTES) {
            result = SSL_read(conn->ssl, buffer + len, (int)(SL_LOOP_READ_BYTES - len));
            if (result <= 0)
                break;
            len += (size_t)result;
        }
        int error = result > 0 ? SSL_ERROR_NONE : SSL_get_error(conn->ssl, result);
        if (len > 0)
            sl_up_received(conn, buffer, len);
        if (conn->state == SL_UP_CLOSING)
            return;
        if (error == SSL_ERROR_NONE) {
            if (conn->call && conn->call->paused)
                return;
            continue;
        }
        if (error == SSL_ERROR_ZERO_RETURN)
            sl_up_ended(conn, true);
        else if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
            sl_up_ended(conn, false);
        return;
    }
}

void sl_up_tls_flush(sl_up_conn *conn)
{
    SL_ASSERT(conn);
    ERR_clear_error();
    while (conn->out_at < conn->out.len) {
        size_t left = conn->out.len - conn->out_at;
        int result = SSL_write(conn->ssl, conn->out.data + conn->out_at, left > INT32_MAX ? INT32_MAX : (int)left);
        if (result <= 0) {
            int error = SSL_get_error(conn->ssl, result);
            if (error == SSL_ERROR_WANT_WRITE || error == SSL_ERROR_WANT_READ) {
                conn->writing = true;
                wait_for(conn, read_events(conn) | UV_WRITABLE);
            } else {
                conn->reusable = false; /* reading tells how it ends */
                conn->out_at = conn->out.len;
                conn->writing = false;
                wait_for(conn, read_events(conn));
            }
            return;
        }
        conn->out_at += (size_t)result;
    }
    conn->writing = false;
    sl_buf_done(&conn->out);
    wait_for(conn, read_events(conn));
}

void sl_up_tls_want_read(sl_up_conn *conn, bool want)
{
    SL_ASSERT(conn);
    wait_for(conn, (want ? UV_READABLE : 0) | (conn->writing ? UV_WRITABLE : 0));
    if (want && SSL_has_pending(conn->ssl))
        sl_timer_set(conn->origin->upstream->loop, &conn->pending, sl_up_tls_on_pending, 0);
}

void sl_up_tls_on_pending(sl_timer *timer)
{
    sl_up_conn *conn = (sl_up_conn *)((char *)timer - offsetof(sl_up_conn, pending));
    if (conn->state != SL_UP_CLOSING && conn->ssl && !(conn->call && conn->call->paused))
        read_all(conn);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    SL_ASSERT(poll);
    sl_up_conn *conn = poll->data;
    if (conn->state == SL_UP_CLOSING)
        return;
    if (conn->state == SL_UP_CONNECTING) {
        connected(conn);
        return;
    }
    if (conn->state == SL_UP_HANDSHAKE) {
        handshake(conn);
        return;
    }
    if (conn->writing && (events & UV_WRITABLE))
        sl_up_tls_flush(conn);
    if (conn->state != SL_UP_CLOSING && ((events & UV_READABLE) || status < 0))
        read_all(conn);
}
