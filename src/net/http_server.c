/* The server: its listeners, its options, its end. */
#include "src/net/http_server.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/net/http_conn.h"

#define ACCEPT_AGAIN_MS 50u /* without memory for a connection */

/* ---- the end ---- */

void sl_server_maybe_drained(sl_http_server *server)
{
    SL_ASSERT(server);
    if (!server->draining || server->connection_count > 0 || !server->on_drained)
        return;
    void (*fn)(void *) = server->on_drained;
    server->on_drained = NULL;
    fn(server->drained_user);
}

void sl_server_release(sl_http_server *server)
{
    SL_ASSERT(server);
    if (!server->closed || server->handles > 0 || server->connection_count > 0)
        return;
    sl_buf_done(&server->joined);
    sl_free(server->fields);
    sl_free(server);
}

/* ---- accepting ---- */

static void on_accept(uv_stream_t *listener, int status);

static void on_accept_again(sl_timer *timer)
{
    sl_http_server *server = (sl_http_server *)((char *)timer - offsetof(sl_http_server, accept_timer));
    unsigned starved = server->starved;
    server->starved = 0;
    for (size_t i = 0; i < server->listener_count; i++) {
        if (starved & 1u << i)
            on_accept((uv_stream_t *)server->listeners[i], 0);
    }
}

/* Without memory for a connection: libuv keeps it, and looks at no other one before it is taken. */
static void accept_later(sl_http_server *server, const uv_stream_t *listener)
{
    SL_ASSERT(server && listener);
    for (size_t i = 0; i < server->listener_count; i++) {
        if ((const uv_stream_t *)server->listeners[i] == listener)
            server->starved |= 1u << i;
    }
    sl_timer_set(server->loop, &server->accept_timer, on_accept_again, ACCEPT_AGAIN_MS);
}

static void on_accept(uv_stream_t *listener, int status)
{
    SL_ASSERT(listener);
    sl_http_server *server = listener->data;
    if (status != 0 || server->draining || server->closed)
        return;
    if (sl_conn_accept(server, listener) != 0)
        accept_later(server, listener);
}

static void or_default(uint32_t *value, uint32_t otherwise)
{
    SL_ASSERT(value);
    if (*value == 0)
        *value = otherwise;
}

static void fill_options(sl_http_server_options *o)
{
    SL_ASSERT(o);
    if (!o->max_head_bytes)
        o->max_head_bytes = SL_MAX_HEAD_BYTES;
    if (!o->max_fields)
        o->max_fields = SL_MAX_HEAD_FIELDS;
    if (!o->max_body_bytes)
        o->max_body_bytes = SL_MAX_BODY_BYTES;
    if (!o->high_water)
        o->high_water = 256 * 1024;
    if (!o->low_water)
        o->low_water = o->high_water / 2;
    or_default(&o->head_timeout_ms, 15000);
    or_default(&o->body_timeout_ms, 30000);
    or_default(&o->idle_timeout_ms, 75000);
    or_default(&o->write_timeout_ms, 60000);
}

int sl_http_server_new(sl_loop *loop, const sl_http_handler *handler, const sl_http_server_options *options,
                       sl_http_server **ret_server)
{
    SL_ASSERT(loop && handler && handler->on_request && handler->on_done && ret_server);
    sl_http_server *server = sl_calloc(1, sizeof *server);
    if (!server)
        return SL_ENOMEM;
    server->loop = loop;
    server->handler = *handler;
    if (options)
        server->options = *options;
    fill_options(&server->options);
    sl_buf_init(&server->joined, SL_LOOP_READ_BYTES);
    server->fields = sl_calloc(server->options.max_fields, sizeof *server->fields);
    if (!server->fields || uv_timer_init(&loop->uv, &server->prober) != 0) {
        sl_free(server->fields);
        sl_free(server);
        return SL_ENOMEM;
    }
    server->prober.data = server;
    server->handles = 1;
    *ret_server = server;
    return 0;
}

static void on_handle_closed(uv_handle_t *handle)
{
    sl_http_server *server = handle->data;
    if (handle != (uv_handle_t *)&server->prober)
        sl_free(handle);
    server->handles--;
    sl_server_release(server);
}

static void on_idle_drained(uv_handle_t *handle)
{
    SL_ASSERT(handle);
    sl_http_server *server = handle->data;
    sl_server_maybe_drained(server);
    on_handle_closed(handle);
}

int sl_http_server_listen(sl_http_server *server, int fd)
{
    SL_ASSERT(server && fd >= 0 && !server->closed);
    if (server->listener_count == SL_HTTP_LISTENERS)
        return SL_ELIMIT;
    uv_tcp_t *listener = sl_calloc(1, sizeof *listener);
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (!listener || own < 0 || uv_tcp_init(&server->loop->uv, listener) != 0) {
        sl_free(listener);
        if (own >= 0)
            (void)close(own);
        return own < 0 ? SL_EIO : SL_ENOMEM;
    }
    listener->data = server;
    server->handles++;
    int on = 1;
    (void)setsockopt(own, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* what is accepted inherits it */
    int error = uv_tcp_open(listener, own);
    if (error != 0)
        (void)close(own);
    else
        error = uv_listen((uv_stream_t *)listener, 4096, on_accept);
    if (error != 0) {
        uv_close((uv_handle_t *)listener, on_handle_closed);
        return SL_EIO;
    }
    server->listeners[server->listener_count++] = listener;
    return 0;
}

/* ---- ending ---- */

void sl_http_server_pause(sl_http_server *server)
{
    SL_ASSERT(server);
    for (size_t i = 0; i < server->listener_count; i++)
        uv_close((uv_handle_t *)server->listeners[i], on_handle_closed);
    server->listener_count = 0;
    server->starved = 0;
    sl_timer_stop(server->loop, &server->accept_timer);
}

void sl_http_server_drain(sl_http_server *server, void (*on_drained)(void *user), void *user)
{
    SL_ASSERT(server && !server->closed);
    sl_http_server_pause(server);
    server->draining = true;
    server->on_drained = on_drained;
    server->drained_user = user;
    for (sl_exchange *x = server->connections; x; x = x->next)
        sl_conn_drain(x);
    if (server->connection_count == 0 && on_drained) {
        /* From the loop, as promised. */
        server->handles++;
        uv_timer_t *later = sl_malloc(sizeof *later);
        if (!later || uv_timer_init(&server->loop->uv, later) != 0) {
            server->handles--;
            sl_free(later);
            sl_server_maybe_drained(server);
            return;
        }
        later->data = server;
        uv_close((uv_handle_t *)later, on_idle_drained);
    }
}

void sl_http_server_close(sl_http_server *server)
{
    if (!server || server->closed)
        return;
    sl_http_server_pause(server);
    server->on_drained = NULL;
    server->closed = true;
    for (sl_exchange *x = server->connections; x; x = x->next)
        sl_conn_close(x, SL_ECLOSED);
    uv_close((uv_handle_t *)&server->prober, on_handle_closed);
}
