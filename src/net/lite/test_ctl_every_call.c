/*
 * Each call of the control server's thread failing in turn: one request at most has no answer, none has a wrong one,
 * and the server goes on and stops when it is told.
 */
#include "tests/harness/sl_fail_call.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>

#include "src/net/lite/addr.h"
#include "src/net/lite/ctl_server.h"

#define COUNT(rows) (sizeof(rows) / sizeof *(rows))
#define LONG_BYTES 300000u /* more than a socket takes at once */

/* ---- the server ---- */

static void answer_short(void *user, const sl_ctl_request *request, sl_ctl_response *response)
{
    (void)user;
    (void)sl_buf_printf(&response->body, "short %zu", request->body.len);
}

static void answer_long(void *user, const sl_ctl_request *request, sl_ctl_response *response)
{
    (void)user, (void)request;
    if (sl_buf_reserve(&response->body, LONG_BYTES) != 0)
        return;
    memset(response->body.data, 'l', LONG_BYTES);
    response->body.len = LONG_BYTES;
}

static bool three_lines(void *user, sl_buf *out)
{
    int *left = user;
    (void)sl_buf_put_c(out, "line\n");
    return --*left > 0;
}

static _Atomic int streams; /* that are not freed yet */

static void free_lines(void *user)
{
    streams--;
    free(user);
}

static void answer_stream(void *user, const sl_ctl_request *request, sl_ctl_response *response)
{
    (void)user, (void)request;
    int *left = malloc(sizeof *left);
    *left = 3;
    streams++;
    response->stream = three_lines;
    response->stream_free = free_lines;
    response->stream_user = left;
}

static const sl_ctl_route routes[] = {{"/short", SL_CTL_GET | SL_CTL_POST, answer_short, NULL},
                                      {"/long", SL_CTL_GET, answer_long, NULL},
                                      {"/stream", SL_CTL_GET, answer_stream, NULL}};

/* ---- a client that goes around the functions that fail ---- */

static int dial(uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct timeval patience = {3, 0};
    int fd = (int)syscall(SYS_socket, AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)syscall(SYS_setsockopt, fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (syscall(SYS_connect, fd, &a, sizeof a) == 0)
        return fd;
    close(fd);
    return -1;
}

/* All that comes until the server closes; how many bytes. */
static size_t hear_all(int fd, char *room, size_t size)
{
    size_t len = 0;
    long n;
    while (len < size - 1 && (n = syscall(SYS_recvfrom, fd, room + len, size - 1 - len, 0, NULL, NULL)) > 0)
        len += (size_t)n;
    room[len] = 0;
    return len;
}

typedef struct ask {
    const char *request, *ends_with;
    size_t body;
} ask;

static const ask asks[] = {
    {"GET /short HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "\r\n\r\nshort 0", 7},
    {"POST /short HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", "\r\n\r\nshort 5", 7},
    {"GET /long HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "lllll", LONG_BYTES},
    {"GET /stream HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "0\r\n\r\n", 0},
};

/* 1: the right answer, 0: none, or one that is seen to be broken off; anything else is a failure. */
static int asked(uint16_t port, const ask *a)
{
    static char room[LONG_BYTES + 4096];
    int fd = dial(port);
    if (fd < 0)
        return 0;
    size_t request = strlen(a->request), want = strlen(a->ends_with);
    bool sent = syscall(SYS_sendto, fd, a->request, request, MSG_NOSIGNAL, NULL, 0) == (long)request;
    size_t len = sent ? hear_all(fd, room, sizeof room) : 0;
    close(fd);
    const char *head_end = strstr(room, "\r\n\r\n"), *length = strstr(room, "Content-Length: ");
    if (len == 0 || !head_end)
        return 0;
    size_t body = len - (size_t)(head_end + 4 - room);
    bool right = len >= want && memcmp(room + len - want, a->ends_with, want) == 0;
    bool whole = length ? body == strtoul(length + 16, NULL, 10) : right;
    if (strncmp(room, "HTTP/1.1 200 ", 13) != 0 || (whole && (!right || (a->body && body != a->body))))
        sl_test_failed(__FILE__, __LINE__, "call %d, errno %d: %.200s", (int)sl_fail.call, sl_fail.error, room);
    return whole && right;
}

/* Every kind of request once while a call fails, and once behind it. */
static bool serve_with(sl_fail_row row, long nth)
{
    const sl_addr addr = {.host = "127.0.0.1"};
    sl_addr got;
    int fd = -1, good = 0;
    sl_ctl_server *server = sl_ctl_server_new(NULL);
    bool ready = server && sl_addr_listen(&addr, NULL, &fd, &got, NULL) == 0 &&
                 sl_ctl_server_add(server, fd, routes, COUNT(routes)) == 0;
    sl_fail_arm_others(row, nth);
    ready = ready && sl_ctl_server_start(server) == 0;
    CHECK(ready);
    for (size_t i = 0; ready && i < COUNT(asks); i++)
        good += asked(got.port, &asks[i]);
    bool hit = sl_fail_disarm();
    CHECK(good >= (int)COUNT(asks) - 1);
    for (size_t i = 0; ready && i < COUNT(asks); i++) {
        if (asked(got.port, &asks[i]) != 1)
            sl_test_failed(__FILE__, __LINE__, "behind call %d number %ld, errno %d: no answer to %.30s", (int)row.call,
                           nth, row.error, asks[i].request);
    }
    sl_ctl_server_stop(server, 1000);
    sl_ctl_server_free(server);
    CHECK_EQ(streams, 0);
    return hit;
}

SL_TEST(a_call_that_fails_costs_one_request_at_most)
{
    static const sl_fail_row rows[] = {
        {SL_CALL_ACCEPT, EMFILE}, {SL_CALL_ACCEPT, ECONNABORTED}, {SL_CALL_ACCEPT, EINTR}, {SL_CALL_ACCEPT, EAGAIN},
        {SL_CALL_ACCEPT, ENOMEM}, {SL_CALL_RECV, ECONNRESET},     {SL_CALL_RECV, EAGAIN},  {SL_CALL_RECV, EINTR},
        {SL_CALL_RECV, 0},        {SL_CALL_SEND, EPIPE},          {SL_CALL_SEND, EAGAIN},  {SL_CALL_SEND, EINTR},
        {SL_CALL_SEND, 0},        {SL_CALL_POLL, EINTR},          {SL_CALL_POLL, ENOMEM},  {SL_CALL_SETSOCKOPT, EINVAL},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        long nth = 0;
        size_t fds = sl_fail_open_fds();
        while (nth < 60 && serve_with(rows[i], nth))
            nth++;
        if (nth < 4) /* as many as there are requests */
            sl_test_failed(__FILE__, __LINE__, "call %d, errno %d: only %ld of them", (int)rows[i].call, rows[i].error,
                           nth);
        CHECK_EQ(sl_fail_open_fds(), fds);
    }
}
