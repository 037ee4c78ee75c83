/* The control server: answers, refusals, hanging and greedy clients, stopping. */
#include "src/net/lite/ctl_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "src/base/clock.h"
#include "src/net/lite/addr.h"
#include "tests/harness/sl_test.h"

/* ---- handlers ---- */

static void hello(void *user, const sl_ctl_request *request, sl_ctl_response *response)
{
    (void)request;
    response->content_type = "text/plain";
    (void)sl_buf_put_c(&response->body, user ? (const char *)user : "hello\n");
}

static void echo(void *user, const sl_ctl_request *request, sl_ctl_response *response)
{
    char value[16] = "none";
    (void)user;
    (void)sl_ctl_query(request, SL_STR("q"), value, sizeof value);
    sl_str header = sl_ctl_header(request, SL_STR("x-test"));
    (void)sl_buf_printf(&response->body, "%u|%.*s|%.*s|%s|%.*s|", request->method, (int)request->path.len,
                        request->path.ptr, (int)request->path_rest.len,
                        request->path_rest.ptr ? request->path_rest.ptr : "", value, (int)header.len,
                        header.ptr ? header.ptr : "");
    (void)sl_buf_put_str(&response->body, request->body);
    sl_ctl_add_header(response, SL_STR("X-Fine"), SL_STR("yes"));
    sl_ctl_add_header(response, SL_STR("X-Split"), SL_STR("a\r\nX-Evil: 1"));
    sl_ctl_add_header(response, SL_STR("bad name"), SL_STR("v"));
}

#define BIG_BYTES (20u * 1024 * 1024)
static void big(void *user, const sl_ctl_request *request, sl_ctl_response *response)
{
    (void)user, (void)request;
    if (sl_buf_reserve(&response->body, BIG_BYTES) != 0)
        return;
    memset(response->body.data, 'b', BIG_BYTES);
    response->body.len = BIG_BYTES;
}

static void fails(void *user, const sl_ctl_request *request, sl_ctl_response *response)
{
    (void)user, (void)request;
    response->body.failed = SL_ENOMEM;
}

static void nothing(void *user, const sl_ctl_request *request, sl_ctl_response *response)
{
    (void)user, (void)request;
    response->status = 204;
}

static _Atomic int streams_freed;
typedef struct counting {
    int left; /* -1: for ever, with nothing to say */
} counting;

static bool count_down(void *user, sl_buf *out)
{
    counting *c = user;
    if (c->left < 0)
        return true;
    (void)sl_buf_printf(out, "line %d\n", c->left);
    return --c->left > 0;
}

static void count_free(void *user)
{
    streams_freed++;
    free(user);
}

static void streams(void *user, const sl_ctl_request *request, sl_ctl_response *response)
{
    char n[8];
    (void)user;
    counting *c = malloc(sizeof *c);
    c->left = sl_ctl_query(request, SL_STR("n"), n, sizeof n) ? atoi(n) : 3;
    response->content_type = "text/plain";
    response->stream = count_down;
    response->stream_free = count_free;
    response->stream_user = c;
}

static const sl_ctl_route routes[] = {
    {"/", 0, hello, NULL},
    {"/echo", SL_CTL_GET | SL_CTL_POST, echo, NULL},
    {"/tree/*", SL_CTL_GET | SL_CTL_DELETE, echo, NULL},
    {"/post", SL_CTL_POST, echo, NULL},
    {"/big", 0, big, NULL},
    {"/fails", 0, fails, NULL},
    {"/nothing", 0, nothing, NULL},
    {"/stream", 0, streams, NULL},
};
#define ROUTES (sizeof routes / sizeof *routes)

/* ---- fixture ---- */

typedef struct fixture {
    sl_ctl_server *server;
    uint16_t port, second_port;
} fixture;

static int listen_on_loopback(uint16_t *ret_port)
{
    sl_addr want, got;
    int fd = -1;
    if (sl_addr_parse(SL_STR("0"), "127.0.0.1", &want, NULL) != 0 || sl_addr_listen(&want, NULL, &fd, &got, NULL) != 0)
        return -1;
    *ret_port = got.port;
    return fd;
}

static bool start(fixture *f, const sl_ctl_options *options)
{
    static const sl_ctl_route other[] = {{"/", 0, hello, "other\n"}};
    f->server = sl_ctl_server_new(options);
    if (!f->server)
        return false;
    int first = listen_on_loopback(&f->port), second = listen_on_loopback(&f->second_port);
    /* One of them as a supervisor might have left it. */
    (void)fcntl(second, F_SETFL, 0);
    return sl_ctl_server_add(f->server, first, routes, ROUTES) == 0 &&
           sl_ctl_server_add(f->server, second, other, 1) == 0 && sl_ctl_server_start(f->server) == 0;
}

static int dial(uint16_t port)
{
    struct sockaddr_in to;
    struct timeval patience = {10, 0};
    memset(&to, 0, sizeof to);
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void say(int fd, const char *text)
{
    size_t len = strlen(text);
    CHECK(send(fd, text, len, MSG_NOSIGNAL) == (ssize_t)len);
}

static char heard[256 * 1024];

/* Reads until the peer closes, or `stop_at` is seen. */
static const char *hear(int fd, const char *stop_at)
{
    size_t len = 0;
    while (len + 1 < sizeof heard) {
        heard[len] = '\0';
        if (stop_at && strstr(heard, stop_at))
            break;
        ssize_t n = recv(fd, heard + len, sizeof heard - 1 - len, 0);
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    heard[len] = '\0';
    return heard;
}

/* One request on a connection of its own. */
static const char *ask(uint16_t port, const char *request)
{
    int fd = dial(port);
    if (fd < 0)
        return "";
    say(fd, request);
    (void)shutdown(fd, SHUT_WR);
    const char *answer = hear(fd, NULL);
    close(fd);
    return answer;
}

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

#define CHECK_HAS(text, part)                                                                                          \
    do {                                                                                                               \
        const char *text_ = (text);                                                                                    \
        if (!strstr(text_, part))                                                                                      \
            sl_test_failed(__FILE__, __LINE__, "\"%s\" is not in \"%.600s\"", part, text_);                            \
    } while (0)

/* ---- answers ---- */

SL_TEST(ctl_answers)
{
    fixture f;
    REQUIRE(start(&f, NULL));
    CHECK_STR(sl_str_c(ask(f.port, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")),
              "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\nCache-Control: no-store\r\n\r\n"
              "hello\n");
    CHECK_HAS(ask(f.second_port, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"), "\r\n\r\nother\n");
    CHECK(strstr(ask(f.port, "HEAD / HTTP/1.1\r\nHost: x\r\n\r\n"), "Content-Length: 6\r\n") != NULL);
    CHECK(strstr(heard, "hello") == NULL);
    CHECK_HAS(ask(f.port, "GET /echo?a=1&q=x%20+y HTTP/1.1\r\nHost: x\r\nX-Test: v\r\n\r\n"),
              "\r\n\r\n1|/echo||x  y|v|");
    CHECK_HAS(heard, "X-Fine: yes\r\n");
    CHECK(strstr(heard, "Evil") == NULL && strstr(heard, "bad name") == NULL);
    CHECK_HAS(ask(f.port, "GET /echo?q=%00 HTTP/1.1\r\nHost: x\r\n\r\n"), "\r\n\r\n1|/echo||none||");
    CHECK_HAS(ask(f.port, "GET /tree/a/b HTTP/1.1\r\nHost: x\r\n\r\n"), "\r\n\r\n1|/tree/a/b|a/b|none||");
    CHECK_HAS(ask(f.port, "DELETE /tree/ HTTP/1.1\r\nHost: x\r\n\r\n"), "\r\n\r\n8|/tree/||none||");
    CHECK_HAS(ask(f.port, "POST /post HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"), "2|/post||none||body");
    CHECK_HAS(ask(f.port, "POST /post HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                          "3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"),
              "2|/post||none||abcdefg");
    CHECK(begins(ask(f.port, "GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"), "HTTP/1.1 204 "));
    CHECK(strstr(heard, "Content-") == NULL);
    CHECK_HAS(ask(f.port, "GET / HTTP/1.0\r\n\r\n"), "Connection: close\r\n");
    sl_ctl_stats stats;
    sl_ctl_server_stats(f.server, &stats);
    CHECK_EQ(stats.requests, 11);
    CHECK_EQ(stats.bad_requests, 0);
    sl_ctl_server_free(f.server);
}

SL_TEST(ctl_refuses)
{
    static const struct {
        const char *request, *status, *has;
    } cases[] = {
        {"GET /none HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 ",
         "{\"error\":{\"message\":\"nothing is at this path\",\"type\":\"not_found\",\"code\":404}}"},
        {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 405 ", "Allow: GET, HEAD\r\n"},
        {"GET /post HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 405 ", "Allow: POST\r\n"},
        {"PUT /tree/x HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 405 ", "Allow: GET, HEAD, DELETE\r\n"},
        {"OPTIONS /post HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 405 ", "\"method_not_allowed\""},
        {"GET /fails HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 500 ", "\"internal_error\""},
        {"POST /post HTTP/1.1\r\nHost: x\r\nContent-Length: 65537\r\n\r\n", "HTTP/1.1 413 ", "Connection: close\r\n"},
        {"GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400 ", "\"bad_request\""},
        {"GET / HTTP/1.1\nHost: x\n\n", "HTTP/1.1 400 ", "Connection: close\r\n"},
        {"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 400 ", ""},
        {"POST /post HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "HTTP/1.1 400 ", ""},
        {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello TLS\r\n\r\n", "HTTP/1.1 400 ", ""},
        {"GET / HTTP/2.0\r\nHost: x\r\n\r\n", "HTTP/1.1 505 ", ""},
    };
    fixture f;
    REQUIRE(start(&f, NULL));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *answer = ask(f.port, cases[i].request);
        if (!begins(answer, cases[i].status))
            sl_test_failed(__FILE__, __LINE__, "case %zu: %.200s", i, answer);
        CHECK_HAS(answer, cases[i].has);
    }
    sl_ctl_server_free(f.server);
}

SL_TEST(ctl_refuses_what_is_too_large)
{
    fixture f;
    REQUIRE(start(&f, NULL));
    static char request[300 * 1024];
    size_t len = (size_t)snprintf(request, sizeof request, "GET / HTTP/1.1\r\nHost: x\r\nX: ");
    memset(request + len, 'a', 40 * 1024);
    request[len + 40 * 1024] = '\0';
    CHECK(begins(ask(f.port, request), "HTTP/1.1 431 "));
    len = (size_t)snprintf(request, sizeof request, "GET / HTTP/1.1\r\nHost: x\r\n");
    for (int i = 0; i < 120; i++)
        len += (size_t)snprintf(request + len, sizeof request - len, "X-%d: y\r\n", i);
    snprintf(request + len, sizeof request - len, "\r\n");
    CHECK(begins(ask(f.port, request), "HTTP/1.1 431 "));
    len = (size_t)snprintf(request, sizeof request,
                           "POST /post HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n18000\r\n");
    memset(request + len, 'a', 0x18000);
    snprintf(request + len + 0x18000, 20, "\r\n0\r\n\r\n");
    CHECK(begins(ask(f.port, request), "HTTP/1.1 413 "));
    sl_ctl_server_free(f.server);
}

SL_TEST(ctl_takes_any_split)
{
    static const char request[] = "POST /post HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                                  "3;x=y\r\nabc\r\n1\r\nd\r\n0\r\nT: v\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n";
    fixture f;
    REQUIRE(start(&f, NULL));
    int fd = dial(f.port);
    for (size_t cut = 1; cut < sizeof request - 1; cut++) {
        CHECK(send(fd, request, cut, MSG_NOSIGNAL) == (ssize_t)cut);
        struct pollfd p = {fd, POLLIN, 0};
        (void)poll(&p, 1, 1); /* let it arrive alone */
        say(fd, request + cut);
        CHECK_HAS(hear(fd, "hello\n"), "|none||abcd");
    }
    close(fd);
    sl_ctl_server_free(f.server);
}

SL_TEST(ctl_answers_pipelined_requests_in_order)
{
    static char requests[200 * 64];
    size_t len = 0;
    for (int i = 0; i < 200; i++)
        len += (size_t)snprintf(requests + len, sizeof requests - len, "GET /echo?q=%d HTTP/1.1\r\nHost: x\r\n\r\n", i);
    fixture f;
    REQUIRE(start(&f, NULL));
    const char *at = ask(f.port, requests);
    for (int i = 0; i < 200; i++) {
        char want[32];
        snprintf(want, sizeof want, "1|/echo||%d||", i);
        at = strstr(at, want);
        REQUIRE(at != NULL);
    }
    sl_ctl_stats stats;
    sl_ctl_server_stats(f.server, &stats);
    CHECK_EQ(stats.accepted, 1);
    CHECK_EQ(stats.requests, 200);
    sl_ctl_server_free(f.server);
}

SL_TEST(ctl_asks_for_the_body)
{
    fixture f;
    REQUIRE(start(&f, NULL));
    int fd = dial(f.port);
    say(fd, "POST /post HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    CHECK_STR(sl_str_c(hear(fd, "\r\n\r\n")), "HTTP/1.1 100 Continue\r\n\r\n");
    say(fd, "body");
    CHECK_HAS(hear(fd, "body"), "HTTP/1.1 200 OK");
    /* Not when the body is too large anyway. */
    say(fd, "POST /post HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\nExpect: 100-continue\r\n\r\n");
    CHECK(begins(hear(fd, NULL), "HTTP/1.1 413 "));
    close(fd);
    sl_ctl_server_free(f.server);
}

SL_TEST(ctl_streams)
{
    fixture f;
    REQUIRE(start(&f, NULL));
    streams_freed = 0;
    CHECK_HAS(ask(f.port, "GET /stream?n=3 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
              "\r\n\r\n7\r\nline 3\n\r\n7\r\nline 2\n\r\n7\r\nline 1\n\r\n0\r\n\r\n");
    CHECK_HAS(heard, "Transfer-Encoding: chunked\r\n");
    CHECK_EQ(streams_freed, 1);
    CHECK_HAS(ask(f.port, "GET /stream?n=2 HTTP/1.0\r\n\r\n"), "\r\n\r\nline 2\nline 1\n");
    CHECK(strstr(heard, "chunked") == NULL);
    CHECK_EQ(streams_freed, 2);
    CHECK_HAS(ask(f.port, "HEAD /stream HTTP/1.1\r\nHost: x\r\n\r\n"), "HTTP/1.1 200 OK");
    CHECK_EQ(streams_freed, 3);
    /* The connection goes on after a stream. */
    int fd = dial(f.port);
    say(fd, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n");
    CHECK_HAS(hear(fd, "hello\n"), "0\r\n\r\nHTTP/1.1 200 OK");
    close(fd);
    /* A client that leaves an endless stream frees it. */
    fd = dial(f.port);
    say(fd, "GET /stream?n=-1 HTTP/1.1\r\nHost: x\r\n\r\n");
    (void)hear(fd, "\r\n\r\n");
    struct linger hard = {1, 0};
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(fd);
    for (int i = 0; i < 200 && streams_freed < 5; i++)
        usleep(10000);
    CHECK_EQ(streams_freed, 5);
    sl_ctl_server_free(f.server);
}

/* ---- clients that hang ---- */

/* Milliseconds until a fresh client has its answer; -1 without one. */
static long probe(uint16_t port)
{
    uint64_t before = sl_mono_ns();
    bool ok = begins(ask(port, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), "HTTP/1.1 200");
    return ok ? (long)((sl_mono_ns() - before) / 1000000) : -1;
}

SL_TEST(ctl_answers_beside_slow_heads)
{
    fixture f;
    REQUIRE(start(&f, NULL));
    int slow[80];
    for (size_t i = 0; i < 80; i++) {
        slow[i] = dial(f.port);
        if (slow[i] >= 0)
            say(slow[i],
                i % 2 ? "GET / HTTP/1.1\r\nHos" : "POST /post HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab");
    }
    for (int i = 0; i < 5; i++) {
        long ms = probe(f.port);
        if (ms < 0 || ms > 2000)
            sl_test_failed(__FILE__, __LINE__, "a probe took %ld ms", ms);
        for (size_t j = 0; j < 80; j++)
            (void)send(slow[j], "x", 1, MSG_NOSIGNAL); /* they trickle on */
    }
    sl_ctl_stats stats;
    sl_ctl_server_stats(f.server, &stats);
    CHECK(stats.evicted > 0);
    for (size_t i = 0; i < 80; i++)
        close(slow[i]);
    sl_ctl_server_free(f.server);
}

SL_TEST(ctl_answers_beside_idle_connections)
{
    fixture f;
    REQUIRE(start(&f, NULL));
    int idle[100];
    for (size_t i = 0; i < 100; i++) {
        idle[i] = dial(f.port);
        say(idle[i], "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        CHECK_HAS(hear(idle[i], "hello\n"), "200 OK");
        if (i % 10 == 0)
            usleep(3000);
    }
    CHECK(probe(f.port) >= 0);
    for (size_t i = 0; i < 100; i++)
        close(idle[i]);
    sl_ctl_server_free(f.server);
}

SL_TEST(ctl_answers_beside_slow_readers)
{
    fixture f;
    REQUIRE(start(&f, NULL));
    int slow[4];
    for (size_t i = 0; i < 4; i++) {
        slow[i] = dial(f.port);
        say(slow[i], "GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    }
    for (int i = 0; i < 20; i++) {
        long ms = probe(f.port);
        if (ms < 0 || ms > 3000 * SL_TEST_SLOW)
            sl_test_failed(__FILE__, __LINE__, "a probe took %ld ms", ms);
    }
    /* One of them reads in the end, and gets all of it. */
    size_t total = 0;
    for (ssize_t n; (n = recv(slow[0], heard, sizeof heard, 0)) > 0;)
        total += (size_t)n;
    CHECK(total > BIG_BYTES && total < BIG_BYTES + 300);
    for (size_t i = 0; i < 4; i++)
        close(slow[i]);
    sl_ctl_server_free(f.server);
}

SL_TEST(ctl_times_out)
{
    sl_ctl_options options = {0, 0, 150, 300, 200};
    fixture f;
    REQUIRE(start(&f, &options));
    int never = dial(f.port), half = dial(f.port), idle = dial(f.port), deaf = dial(f.port);
    say(half, "GET / HT");
    say(idle, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    say(deaf, "GET /big HTTP/1.1\r\nHost: x\r\n\r\n");
    uint64_t before = sl_mono_ns();
    CHECK_STR(sl_str_c(hear(never, NULL)), "");
    CHECK(begins(hear(half, NULL), "HTTP/1.1 408 "));
    CHECK(sl_mono_ns() - before < 5000000000u);
    CHECK_HAS(hear(idle, NULL), "hello\n"); /* and closed by the server, or this would not return */
    usleep(400000);
    size_t total = 0;
    for (ssize_t n; (n = recv(deaf, heard, sizeof heard, 0)) > 0;)
        total += (size_t)n;
    CHECK(total < BIG_BYTES);
    sl_ctl_stats stats;
    sl_ctl_server_stats(f.server, &stats);
    CHECK_EQ(stats.timeouts, 3); /* an idle connection that was of use before is no time-out */
    close(never);
    close(half);
    close(idle);
    close(deaf);
    sl_ctl_server_free(f.server);
}

/* ---- many clients ---- */

static void *ask_many(void *user)
{
    uint16_t port = *(uint16_t *)user;
    char buffer[512];
    size_t ok = 0;
    for (int i = 0; i < 25; i++) {
        int fd = dial(port);
        if (fd < 0)
            continue;
        (void)send(fd, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 46, MSG_NOSIGNAL);
        ssize_t n = recv(fd, buffer, sizeof buffer, 0);
        ok += n > 12 && memcmp(buffer, "HTTP/1.1 200", 12) == 0;
        close(fd);
    }
    return (void *)ok;
}

SL_TEST(ctl_serves_more_clients_than_it_has_places)
{
    fixture f;
    REQUIRE(start(&f, NULL));
    pthread_t threads[96];
    for (size_t i = 0; i < 96; i++)
        REQUIRE(pthread_create(&threads[i], NULL, ask_many, &f.port) == 0);
    size_t ok = 0;
    for (size_t i = 0; i < 96; i++) {
        void *result;
        pthread_join(threads[i], &result);
        ok += (size_t)result;
    }
    CHECK_EQ(ok, 96 * 25);
    sl_ctl_server_free(f.server);
}

/* ---- life cycle ---- */

static void *stop_soon(void *user)
{
    uint64_t before = sl_mono_ns();
    sl_ctl_server_stop(user, 300);
    return (void *)(uintptr_t)((sl_mono_ns() - before) / 1000000);
}

SL_TEST(ctl_stops_gracefully)
{
    fixture f;
    REQUIRE(start(&f, NULL));
    streams_freed = 0;
    int idle = dial(f.port), endless = dial(f.port), reading = dial(f.port);
    say(idle, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    (void)hear(idle, "hello\n");
    say(endless, "GET /stream?n=-1 HTTP/1.1\r\nHost: x\r\n\r\n");
    (void)hear(endless, "\r\n\r\n");
    say(reading, "POST /post HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbo");
    pthread_t stopper;
    void *took_ms = NULL;
    usleep(50000);
    REQUIRE(pthread_create(&stopper, NULL, stop_soon, f.server) == 0);
    usleep(100000);
    say(reading, "dy"); /* the rest of a request that the stop found half read */
    pthread_join(stopper, &took_ms);
    CHECK((uintptr_t)took_ms >= 250 && (uintptr_t)took_ms < 1500);
    CHECK_HAS(hear(reading, NULL), "|body");
    CHECK_HAS(heard, "Connection: close\r\n");
    CHECK_STR(sl_str_c(hear(idle, NULL)), "");
    CHECK_EQ(streams_freed, 1);
    CHECK_EQ(dial(f.port), -1);
    sl_ctl_server_stop(f.server, 1000); /* again: nothing */
    close(idle);
    close(endless);
    close(reading);
    sl_ctl_server_free(f.server);
}

SL_TEST(ctl_stops_at_once_when_idle)
{
    fixture f;
    REQUIRE(start(&f, NULL));
    CHECK(probe(f.port) >= 0);
    uint64_t before = sl_mono_ns();
    sl_ctl_server_stop(f.server, 30000);
    CHECK(sl_mono_ns() - before < 2000000000u);
    CHECK_EQ(sl_ctl_server_start(f.server), SL_EINVAL);
    sl_ctl_server_free(f.server);
    sl_ctl_server_free(NULL);
}

SL_TEST(ctl_refuses_misuse)
{
    uint16_t port;
    sl_ctl_server *server = sl_ctl_server_new(NULL);
    REQUIRE(server != NULL);
    CHECK_EQ(sl_ctl_server_add(server, -1, routes, ROUTES), SL_EINVAL);
    for (int i = 0; i < 8; i++)
        CHECK_EQ(sl_ctl_server_add(server, listen_on_loopback(&port), routes, ROUTES), 0);
    CHECK_EQ(sl_ctl_server_add(server, listen_on_loopback(&port), routes, ROUTES), SL_ELIMIT);
    CHECK_EQ(dial(port), -1); /* taken over, and closed */
    CHECK_EQ(sl_ctl_server_start(server), 0);
    CHECK_EQ(sl_ctl_server_start(server), SL_EINVAL);
    CHECK_EQ(sl_ctl_server_add(server, listen_on_loopback(&port), routes, ROUTES), SL_EINVAL);
    sl_ctl_server_free(server);
}

SL_TEST(ctl_survives_no_memory)
{
    for (long n = 0; n < 20; n++) {
        uint16_t port;
        sl_test_fail_alloc(n);
        sl_ctl_server *server = sl_ctl_server_new(NULL);
        bool added = server && sl_ctl_server_add(server, listen_on_loopback(&port), routes, ROUTES) == 0;
        bool failed = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        CHECK_EQ(added, !failed);
        sl_ctl_server_free(server);
        if (!failed)
            break;
    }
    fixture f;
    REQUIRE(start(&f, NULL));
    for (long n = 0; n < 12; n++) {
        sl_test_fail_alloc(n);
        (void)ask(f.port, "POST /post HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
        sl_test_fail_alloc(-1);
        CHECK(probe(f.port) >= 0);
    }
    sl_ctl_server_free(f.server);
}
