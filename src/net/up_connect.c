/* Addresses and connecting. */
#include <arpa/inet.h>
#include <stdio.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/net/up_conn.h"

/* ---- reading from plain sockets ---- */

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer)
{
    SL_ASSERT(stream);
    sl_up_conn *conn = stream->data;
    if (SL_LIKELY(n > 0))
        sl_up_received(conn, buffer->base, (size_t)n);
    else if (n < 0)
        sl_up_ended(conn, n == UV_EOF);
}

void sl_up_read_start(sl_up_conn *conn)
{
    SL_ASSERT(conn);
    (void)uv_read_start((uv_stream_t *)&conn->tcp, sl_loop_alloc, on_read);
}

/* ---- connecting ---- */

static void connect_failed(sl_up_conn *conn, const char *why)
{
    SL_ASSERT(conn);
    sl_origin *origin = conn->origin;
    sl_call *call = conn->call;
    char *text = origin->upstream->reason;
    (void)snprintf(text, SL_UP_REASON, "cannot connect to %.80s port %u: %s", origin->host, (unsigned)origin->port,
                   why);
    if (!origin->numeric)
        origin->addresses_until_ms = 0;
    call->conn = NULL;
    conn->call = NULL;
    sl_up_close(conn);
    sl_call_fail(call, SL_ECONNECT, text);
}

static void on_connect(uv_connect_t *request, int status)
{
    SL_ASSERT(request);
    sl_up_conn *conn = request->handle->data;
    sl_free(request);
    if (conn->state == SL_UP_CLOSING || status == UV_ECANCELED)
        return;
    SL_ASSERT(conn->call && conn->state == SL_UP_CONNECTING);
    if (status != 0) {
        if (!sl_up_connect_next(conn))
            connect_failed(conn, uv_strerror(status));
        return;
    }
    (void)uv_tcp_nodelay(&conn->tcp, 1);
    sl_up_read_start(conn);
    conn->origin->stats.opened++;
    sl_up_send(conn);
}

static int start_plain(sl_up_conn *conn)
{
    SL_ASSERT(conn);
    sl_origin *origin = conn->origin;
    if (uv_tcp_init(&origin->upstream->loop->uv, &conn->tcp) != 0)
        return SL_ENOMEM;
    conn->handle.data = conn;
    uv_connect_t *request = sl_malloc(sizeof *request);
    const struct sockaddr *address = (const struct sockaddr *)&origin->addresses[conn->address];
    int error = !request ? SL_ENOMEM : uv_tcp_connect(request, &conn->tcp, address, on_connect) != 0 ? SL_EIO : 0;
    if (error)
        sl_free(request);
    return error;
}

/* Opens a connection to address number `address` for a call. */
static void connect_to(sl_call *call, unsigned address)
{
    SL_ASSERT(call);
    sl_origin *origin = call->origin;
    sl_up_conn *conn = sl_calloc(1, sizeof *conn);
    if (!conn) {
        sl_call_fail_later(call, SL_ENOMEM, "out of memory");
        return;
    }
    conn->origin = origin;
    conn->address = address;
    conn->fd = -1;
    conn->state = SL_UP_CONNECTING;
    call->phase = SL_CALL_CONNECT;
    int error = origin->tls ? sl_up_tls_connect(conn) : start_plain(conn);
    if (error && !conn->handle.data) {
        sl_up_conn_free(conn);
        sl_call_fail_later(call, error == SL_ENOMEM ? SL_ENOMEM : SL_ECONNECT, "no socket could be opened");
        return;
    }
    origin->stats.active++;
    sl_up_link(&origin->used, conn);
    if (error) {
        sl_up_close(conn);
        sl_call_fail_later(call, error == SL_ENOMEM ? SL_ENOMEM : SL_ECONNECT, "no connection could be started");
        return;
    }
    conn->call = call;
    call->conn = conn;
}

bool sl_up_connect_next(sl_up_conn *conn)
{
    SL_ASSERT(conn);
    sl_call *call = conn->call;
    unsigned next = conn->address + 1;
    if (next >= conn->origin->address_count)
        return false;
    call->conn = NULL;
    conn->call = NULL;
    sl_up_close(conn);
    connect_to(call, next);
    return true;
}

/* ---- addresses ---- */

void sl_up_unwait(sl_call *call)
{
    SL_ASSERT(call);
    if (!call->prev_waiting)
        return;
    *call->prev_waiting = call->next_waiting;
    if (call->next_waiting)
        call->next_waiting->prev_waiting = call->prev_waiting;
    call->next_waiting = NULL;
    call->prev_waiting = NULL;
}

static void wait_for_addresses(sl_call *call)
{
    sl_origin *origin = call->origin;
    SL_ASSERT(!call->prev_waiting);
    call->phase = SL_CALL_RESOLVE;
    call->next_waiting = origin->waiting;
    call->prev_waiting = &origin->waiting;
    if (call->next_waiting)
        call->next_waiting->prev_waiting = &call->next_waiting;
    origin->waiting = call;
}

/* True when there was an address that `allow` refused. */
static bool keep_addresses(sl_origin *origin, const struct addrinfo *list)
{
    SL_ASSERT(origin);
    bool refused = false;
    origin->address_count = 0;
    for (const struct addrinfo *a = list; a && origin->address_count < SL_UP_ADDRESSES; a = a->ai_next) {
        if ((a->ai_family != AF_INET && a->ai_family != AF_INET6) || a->ai_addrlen > sizeof *origin->addresses)
            continue;
        if (origin->allow && !origin->allow(a->ai_addr)) {
            refused = true;
            continue;
        }
        memcpy(&origin->addresses[origin->address_count++], a->ai_addr, a->ai_addrlen);
    }
    if (origin->address_count)
        origin->addresses_until_ms = uv_now(&origin->upstream->loop->uv) + origin->upstream->options.dns_ttl_ms;
    return refused;
}

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *list)
{
    SL_ASSERT(request);
    sl_origin *origin = request->data;
    sl_free(request);
    if (!origin) { /* nobody wants it any more */
        uv_freeaddrinfo(list);
        return;
    }
    origin->resolving = NULL;
    bool refused = status == 0 && keep_addresses(origin, list);
    uv_freeaddrinfo(list);
    bool good = status == 0 && origin->address_count > 0;
    char text[SL_UP_REASON];
    if (refused)
        (void)snprintf(text, sizeof text, "host %.80s is not allowed: its address is among those that are refused",
                       origin->host);
    else
        (void)snprintf(text, sizeof text, "host name %.80s cannot be resolved: %s", origin->host,
                       status ? uv_strerror(status) : "it has no address");
    /* Whoever begins to wait from inside a callback waits for the next answer. */
    sl_call *calls = origin->waiting;
    origin->waiting = NULL;
    if (calls)
        calls->prev_waiting = &calls;
    while (calls) {
        sl_call *call = calls;
        sl_up_unwait(call);
        if (good)
            connect_to(call, 0);
        else
            sl_call_fail(call, refused ? SL_EREFUSED : SL_ERESOLVE, text);
    }
}

static bool resolve(sl_origin *origin)
{
    SL_ASSERT(origin);
    if (origin->resolving)
        return true;
    uv_getaddrinfo_t *request = sl_malloc(sizeof *request);
    if (!request)
        return false;
    struct addrinfo hints;
    memset(&hints, 0, sizeof hints);
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_ADDRCONFIG;
    char port[8];
    (void)snprintf(port, sizeof port, "%u", (unsigned)origin->port);
    request->data = origin;
    if (uv_getaddrinfo(&origin->upstream->loop->uv, request, on_resolved, origin->host, port, &hints) != 0) {
        sl_free(request);
        return false;
    }
    origin->resolving = request;
    return true;
}

void sl_up_connect(sl_call *call)
{
    SL_ASSERT(call);
    sl_origin *origin = call->origin;
    if (SL_LIKELY(origin->numeric || uv_now(&origin->upstream->loop->uv) < origin->addresses_until_ms)) {
        connect_to(call, 0);
        return;
    }
    if (!resolve(origin)) {
        sl_call_fail_later(call, SL_ENOMEM, "no host name could be looked up");
        return;
    }
    wait_for_addresses(call);
}

void sl_up_cancel_resolving(sl_origin *origin)
{
    SL_ASSERT(origin);
    if (!origin->resolving)
        return;
    origin->resolving->data = NULL;
    (void)uv_cancel((uv_req_t *)origin->resolving);
    origin->resolving = NULL;
}

void sl_up_numeric(sl_origin *origin)
{
    SL_ASSERT(origin);
    struct sockaddr_in *v4 = (struct sockaddr_in *)&origin->addresses[0];
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&origin->addresses[0];
    origin->numeric =
        uv_ip4_addr(origin->host, origin->port, v4) == 0 || uv_ip6_addr(origin->host, origin->port, v6) == 0;
    origin->address_count = origin->numeric ? 1 : 0;
}
