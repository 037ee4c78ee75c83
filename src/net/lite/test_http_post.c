/* Tests of the POST client against a server that plays a script. */
#include "src/net/lite/http_post.h"

#include <errno.h>

#include "src/base/clock.h"
#include "src/net/lite/test_http_server.h"
#include "tests/harness/sl_test.h"

#define OK_EMPTY "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

static sl_http_post *client_of(const http_server *s, const sl_net_ops *ops)
{
    char url[64];
    const char *why = "";
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d/v1/traces?x=1", s->port);
    sl_http_post_header header = {SL_STR("authorization"), SL_STR("Bearer t")};
    sl_http_post_options o;
    memset(&o, 0, sizeof o);
    o.url = sl_str_c(url);
    o.content_type = SL_STR("application/x-protobuf");
    o.user_agent = SL_STR("agent/1");
    o.headers = &header;
    o.header_count = 1;
    o.max_answer_bytes = 100000;
    o.ops = ops;
    sl_http_post *c = NULL;
    CHECK_EQ(sl_http_post_new(&o, &c, &why), 0);
    return c;
}

static int post(sl_http_post *c, sl_str body, uint64_t ms, sl_http_answer *answer)
{
    memset(answer, 0, sizeof *answer);
    return sl_http_post_send(c, body, sl_mono_ns() + ms * 1000000u, answer);
}

/* One request against one act. */
static int post_once(const http_act *act, sl_http_answer *answer, char *body, size_t size)
{
    http_server s;
    if (!http_start(&s, act, 1, false))
        return -1000;
    sl_http_post *c = client_of(&s, NULL);
    int error = post(c, SL_STR("hello"), 2000, answer);
    if (!error)
        (void)sl_str_to_c(answer->body, body, size);
    CHECK((error != 0) == (sl_http_post_error(c)[0] != 0));
    sl_http_post_free(c);
    http_stop(&s);
    return error;
}

SL_TEST(sends_and_keeps_the_connection)
{
    http_act act = {.answer = "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 3\r\n\r\nabc"};
    http_server s;
    REQUIRE(http_start(&s, &act, 1, false));
    sl_http_post *c = client_of(&s, NULL);
    sl_http_answer answer;
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(post(c, SL_STR("hello"), 2000, &answer), 0);
        CHECK_EQ(answer.status, 200);
        CHECK_STR(answer.body, "abc");
        CHECK_STR(answer.content_type, "a/b");
    }
    CHECK_EQ(sl_http_post_connections(c), 1);
    CHECK_EQ(s.last_body, 5);
    CHECK(strncmp(s.last, "POST /v1/traces?x=1 HTTP/1.1\r\n", 30) == 0);
    CHECK(strstr(s.last, "\r\nauthorization: Bearer t\r\n") != NULL);
    CHECK(strstr(s.last, "\r\nContent-Length: 5\r\n") != NULL);
    CHECK(strstr(s.last, "\r\nUser-Agent: agent/1\r\n") != NULL);
    sl_http_post_free(c);
    http_stop(&s);
}

SL_TEST(bodies_in_every_framing)
{
    static const struct {
        const char *answer;
        const char *body;
        bool close;
    } table[] = {
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", "abcde", false},
        {"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\nno", "no", false},
        {"HTTP/1.0 200 OK\r\n\r\nuntil the end", "until the end", true},
        {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 P\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", "x",
         false},
        {"HTTP/1.1 204 None\r\n\r\n", "", false},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        for (unsigned pause = 0; pause < 2; pause++) { /* at once, and cut at every byte */
            http_act act = {.answer = table[i].answer, .close = table[i].close, .byte_pause_us = pause * 200};
            sl_http_answer answer;
            char body[64] = "";
            CHECK_EQ(post_once(&act, &answer, body, sizeof body), 0);
            CHECK_STR(sl_str_c(body), table[i].body);
        }
    }
}

SL_TEST(what_is_no_answer)
{
    static const struct {
        const char *answer;
        int error;
        bool close;
    } table[] = {
        {"garbage\r\n\r\n", SL_EPROTO, false},
        {"HTTP/1.1 200 OK\nContent-Length: 0\n\n", SL_EPROTO, false},
        {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", SL_EPROTO, false},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", SL_EPROTO, false},
        {"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n", SL_ETOOBIG, false},
        {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", SL_ECLOSED, true},
        {"HTTP/1.1 200", SL_ECLOSED, true},
        {"", SL_ECLOSED, true},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        http_act act = {.answer = table[i].answer, .close = table[i].close};
        sl_http_answer answer;
        char body[64];
        CHECK_EQ(post_once(&act, &answer, body, sizeof body), table[i].error);
    }
}

SL_TEST(hanging_and_absent_peers)
{
    http_act act = {.hang = true};
    http_server s;
    REQUIRE(http_start(&s, &act, 1, false));
    sl_http_post *c = client_of(&s, NULL);
    sl_http_answer answer;
    uint64_t start = sl_mono_ns();
    CHECK_EQ(post(c, SL_STR("x"), 150, &answer), SL_ETIMEOUT);
    CHECK(sl_mono_ns() - start < 1000000000u);
    http_stop(&s);
    CHECK_EQ(post(c, SL_STR("x"), 1000, &answer), SL_ECONNECT);
    CHECK(strstr(sl_http_post_error(c), "refused") != NULL);
    sl_http_post_free(c);
}

SL_TEST(a_closed_kept_connection_is_replaced)
{
    http_act script[] = {{.answer = OK_EMPTY}, {.close = true}, {.answer = OK_EMPTY}};
    http_server s;
    REQUIRE(http_start(&s, script, 3, false));
    sl_http_post *c = client_of(&s, NULL);
    sl_http_answer answer;
    CHECK_EQ(post(c, SL_STR("x"), 1000, &answer), 0);
    CHECK_EQ(post(c, SL_STR("x"), 1000, &answer), 0);
    CHECK_EQ(sl_http_post_connections(c), 2);
    CHECK_EQ(s.requests, 3);
    sl_http_post_free(c);
    http_stop(&s);
}

SL_TEST(connection_close_is_obeyed)
{
    http_act act = {.answer = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", .close = true};
    http_server s;
    REQUIRE(http_start(&s, &act, 1, false));
    sl_http_post *c = client_of(&s, NULL);
    sl_http_answer answer;
    for (int i = 0; i < 3; i++)
        CHECK_EQ(post(c, SL_STR("x"), 1000, &answer), 0);
    CHECK_EQ(sl_http_post_connections(c), 3);
    sl_http_post_free(c);
    http_stop(&s);
}

SL_TEST(an_early_refusal_is_read)
{
    http_act act = {.answer = "HTTP/1.1 413 Too Big\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
                    .refuse_early = true};
    http_server s;
    REQUIRE(http_start(&s, &act, 1, false));
    sl_http_post *c = client_of(&s, NULL);
    sl_http_answer answer;
    size_t len = 8u << 20;
    char *big = calloc(1, len);
    int error = post(c, sl_str_of(big, len), 5000, &answer);
    CHECK(error == SL_ECLOSED || (error == 0 && answer.status == 413)); /* a reset may overtake the answer */
    free(big);
    sl_http_post_free(c);
    http_stop(&s);
}

SL_TEST(slow_readers_get_everything)
{
    http_act act = {.answer = OK_EMPTY, .read_pause_us = 200};
    http_server s;
    REQUIRE(http_start(&s, &act, 1, false));
    sl_http_post *c = client_of(&s, NULL);
    sl_http_answer answer;
    size_t len = 8u << 20;
    char *big = calloc(1, len);
    CHECK_EQ(post(c, sl_str_of(big, len), 10000, &answer), 0);
    CHECK_EQ(s.last_body, len);
    free(big);
    sl_http_post_free(c);
    http_stop(&s);
}

SL_TEST(ipv6)
{
    http_act act = {.answer = OK_EMPTY};
    http_server s;
    if (!http_start(&s, &act, 1, true))
        SL_SKIP("no IPv6 loopback");
    char url[64];
    const char *why;
    (void)snprintf(url, sizeof url, "http://[::1]:%d/", s.port);
    sl_http_post_options o = {.url = sl_str_c(url), .content_type = SL_STR("a/b"), .user_agent = SL_STR("x")};
    sl_http_post *c = NULL;
    REQUIRE(sl_http_post_new(&o, &c, &why) == 0);
    sl_http_answer answer;
    CHECK_EQ(post(c, SL_STR("x"), 1000, &answer), 0);
    CHECK(strstr(s.last, "\r\nHost: [::1]:") != NULL);
    sl_http_post_free(c);
    http_stop(&s);
}

SL_TEST(bad_options)
{
    static const char *const urls[] = {"",         "http://",     "https://localhost/",
                                       "ftp://x/", "http://a b/", "localhost:4318"};
    const char *why = NULL;
    sl_http_post *c = NULL;
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        sl_http_post_options o = {.url = sl_str_c(urls[i]), .content_type = SL_STR("a/b"), .user_agent = SL_STR("x")};
        CHECK_EQ(sl_http_post_new(&o, &c, &why), SL_ECONFIG);
        CHECK(why && why[0]);
    }
    static const sl_http_post_header bad[] = {
        {{"content-length", 14}, {"1", 1}}, {{"a b", 3}, {"1", 1}}, {{"a", 1}, {"1\r\nb: 2", 7}}};
    for (size_t i = 0; i < 3; i++) {
        sl_http_post_options o = {.url = SL_STR("http://h/"),
                                  .content_type = SL_STR("a/b"),
                                  .user_agent = SL_STR("x"),
                                  .headers = &bad[i],
                                  .header_count = 1};
        CHECK_EQ(sl_http_post_new(&o, &c, &why), SL_ECONFIG);
    }
    CHECK(c == NULL);
}

SL_TEST(a_name_that_does_not_exist)
{
    const char *why;
    sl_http_post_options o = {
        .url = SL_STR("http://no-such-host.invalid:1/"), .content_type = SL_STR("a/b"), .user_agent = SL_STR("x")};
    sl_http_post *c = NULL;
    REQUIRE(sl_http_post_new(&o, &c, &why) == 0);
    sl_http_answer answer;
    CHECK_EQ(post(c, SL_STR("x"), 1000, &answer), SL_ERESOLVE);
    sl_http_post_free(c);
}

/* ---- the seam ---- */

typedef struct faults {
    int left;
    int code; /* errno; 0: a short write or the end of the stream */
    bool hit;
} faults;

static bool fault(faults *f)
{
    if (f->left-- != 0)
        return false;
    f->hit = true;
    errno = f->code;
    return true;
}

static int fault_connect(void *user, int fd, const struct sockaddr *addr, socklen_t len)
{
    return fault(user) ? -1 : sl_net_ops_libc.connect(NULL, fd, addr, len);
}

static ssize_t fault_send(void *user, int fd, const void *data, size_t len, int flags)
{
    return fault(user) ? -1 : sl_net_ops_libc.send(NULL, fd, data, len > 7 ? 7 : len, flags);
}

static ssize_t fault_recv(void *user, int fd, void *data, size_t len)
{
    return fault(user) ? -1 : sl_net_ops_libc.recv(NULL, fd, data, len > 5 ? 5 : len);
}

SL_TEST(every_call_of_the_kernel_failing_in_turn)
{
    static const int codes[] = {ECONNRESET, EINTR, EPIPE};
    for (size_t k = 0; k < sizeof codes / sizeof codes[0]; k++) {
        bool hit = true;
        for (int n = 0; hit && n < 200; n++) {
            http_act act = {.answer = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"};
            http_server s;
            REQUIRE(http_start(&s, &act, 1, false));
            faults f = {n, codes[k], false};
            sl_net_ops ops = {&f, fault_connect, fault_send, fault_recv, sl_net_ops_libc.resolve};
            sl_http_post *c = client_of(&s, &ops);
            sl_http_answer answer;
            int error = post(c, SL_STR("hello"), 1000, &answer);
            hit = f.hit;
            CHECK(error == 0 || (hit && (error == SL_ECLOSED || error == SL_ECONNECT)));
            CHECK(codes[k] != EINTR || n == 0 || error == 0);
            CHECK_EQ(post(c, SL_STR("hello"), 1000, &answer), 0);
            CHECK_STR(answer.body, "abc");
            sl_http_post_free(c);
            http_stop(&s);
        }
        CHECK(!hit);
    }
}

SL_TEST(every_allocation_failing_in_turn)
{
    http_act act = {.answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"};
    http_server s;
    REQUIRE(http_start(&s, &act, 1, false));
    char url[64];
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d/", s.port);
    bool hit = true;
    for (long n = 0; hit && n < 100; n++) {
        sl_http_post_options o = {.url = sl_str_c(url), .content_type = SL_STR("a/b"), .user_agent = SL_STR("x")};
        sl_http_post *c = NULL;
        const char *why;
        sl_http_answer answer;
        sl_test_fail_alloc(n);
        int error = sl_http_post_new(&o, &c, &why);
        if (!error) {
            error = post(c, SL_STR("x"), 1000, &answer);
            sl_http_post_free(c);
        }
        hit = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        CHECK_EQ(error, hit ? SL_ENOMEM : 0);
    }
    CHECK(!hit);
    http_stop(&s);
}

/* Bytes behind an answer are not the next answer: the connection goes, in every framing; without them it stays. */
SL_TEST(surplus_bytes_are_no_answer)
{
    static const struct {
        const char *answer;
        unsigned connections; /* of three requests */
    } table[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", 1},
        {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", 3},
        {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc\n", 3},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 1},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nHTTP/1.1 500 No\r\n\r\n", 3},
        {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc", 3},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        http_act act = {.answer = table[i].answer};
        http_server s;
        REQUIRE(http_start(&s, &act, 1, false));
        sl_http_post *c = client_of(&s, NULL);
        for (int k = 0; k < 3; k++) {
            sl_http_answer answer;
            CHECK_EQ(post(c, SL_STR("hello"), 2000, &answer), 0);
            CHECK_EQ(answer.status, 200);
            CHECK_STR(answer.body, "abc");
        }
        CHECK_EQ(sl_http_post_connections(c), table[i].connections);
        sl_http_post_free(c);
        http_stop(&s);
    }
}
