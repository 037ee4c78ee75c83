/*
 * The control server's connection over a socket pair: whatever a client sends, in whatever pieces, it is answered by
 * well-formed heads and closed in bounded time, and the pieces do not change the answers. The first byte chooses the
 * size of the pieces.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "src/net/lite/ctl_server_conn.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void echo(void *user, const sl_ctl_request *request, sl_ctl_response *response)
{
    char value[32];
    (void)user;
    (void)sl_ctl_query(request, SL_STR("q"), value, sizeof value);
    sl_ctl_add_header(response, SL_STR("X-Echo"), sl_ctl_header(request, SL_STR("x")));
    (void)sl_buf_put_str(&response->body, request->path);
    (void)sl_buf_put_str(&response->body, request->body);
}

static bool twice(void *user, sl_buf *out)
{
    int *left = user;
    (void)sl_buf_put_c(out, "piece");
    return --*left > 0;
}

static void streams(void *user, const sl_ctl_request *request, sl_ctl_response *response)
{
    (void)user, (void)request;
    int *left = malloc(sizeof *left);
    require(left != NULL);
    *left = 2;
    response->stream = twice;
    response->stream_free = free;
    response->stream_user = left;
}

static const sl_ctl_route routes[] = {
    {"/", SL_CTL_GET | SL_CTL_POST, echo, NULL}, {"/s", SL_CTL_GET, streams, NULL}, {"/t/*", SL_CTL_GET, echo, NULL}};

/* Takes what the server has written. */
static void collect(int fd, sl_buf *answers)
{
    char piece[16384];
    ssize_t n;
    while ((n = recv(fd, piece, sizeof piece, MSG_DONTWAIT)) > 0)
        (void)sl_buf_put(answers, piece, (size_t)n);
}

/* Plays one conversation; the answers go to `answers`. */
static void converse(sl_str bytes, size_t piece, sl_buf *answers)
{
    static sl_ctl_shared shared;
    int fds[2];
    uint64_t now = 1;
    memset(&shared, 0, sizeof shared);
    shared.options = (sl_ctl_options){4, 4096, 5000, 60000, 10000};
    require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0);
    sl_ctl_conn *conn = sl_ctl_conn_new(&shared, routes, sizeof routes / sizeof *routes, fds[0], now);
    require(conn != NULL);
    bool said_all = false;
    for (int turns = 0; conn->state != SL_CTL_CLOSED; turns++) {
        require(turns < 1000000);
        if (bytes.len) {
            ssize_t n = send(fds[1], bytes.ptr, bytes.len < piece ? bytes.len : piece, MSG_NOSIGNAL);
            if (n > 0)
                bytes = sl_str_sub(bytes, (size_t)n, bytes.len);
            else if (errno != EAGAIN)
                bytes.len = 0;
        } else if (!said_all) {
            said_all = true;
            (void)shutdown(fds[1], SHUT_WR);
        }
        short events = sl_ctl_conn_events(conn);
        struct pollfd p = {fds[0], events, 0};
        (void)poll(&p, 1, 0);
        now += said_all ? 50000000 : 1;
        (void)sl_ctl_conn_run(conn, p.revents & (events | POLLERR), now);
        collect(fds[1], answers);
    }
    sl_ctl_conn_free(conn);
    collect(fds[1], answers);
    (void)close(fds[1]);
}

static bool has(const sl_buf *buf, const char *text)
{
    return sl_str_find(sl_buf_str(buf), sl_str_c(text)) != SL_NPOS;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > 100000)
        return 0;
    sl_str bytes = sl_str_of((const char *)data + 1, size - 1);
    sl_buf whole, pieces;
    sl_buf_init(&whole, 64u << 20);
    sl_buf_init(&pieces, 64u << 20);
    converse(bytes, SIZE_MAX, &whole);
    converse(bytes, 1u + data[0], &pieces);
    require(whole.len == 0 || sl_str_starts(sl_buf_str(&whole), SL_STR("HTTP/1.1 ")));
    /* Being asked for a body depends on whether it was there already; of several faults, any may be named. */
    bool refused = has(&whole, "\"bad_request\"");
    require(refused == has(&pieces, "\"bad_request\""));
    if (!refused && !has(&pieces, "100 Continue") && !has(&whole, "100 Continue"))
        require(sl_str_eq(sl_buf_str(&whole), sl_buf_str(&pieces)));
    sl_buf_done(&whole);
    sl_buf_done(&pieces);
    return 0;
}
