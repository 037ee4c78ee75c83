/*
 * The listener in front of a server, over sockets: what goes on as it came and what does not, answers of every framing,
 * servers that break off or are not there, and requests that a quota refuses.
 */
#include "src/cli/exec_front.h"

#include "src/probe/test_metrics_page.h"
#include "tests/harness/net_fixture.h"

/* The server: answers by the path, keeps the last request. */
typedef struct backend {
    nf_server server;
    pthread_mutex_t lock;
    nf_message last;
} backend;

typedef struct answer {
    const char *path;
    const char *text; /* head and body */
    bool closes;
} answer;

#define LONG_BYTES (3u << 20)

static const answer answers[] = {
    {"/length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-One: 1\r\n\r\nhello", false},
    {"/empty", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false},
    {"/none", "HTTP/1.1 204 No Content\r\nX-One: 1\r\n\r\n", false},
    {"/same", "HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n", false},
    {"/chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n", false},
    {"/close", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end", true},
    {"/hop",
     "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Own\r\nX-Own: secret\r\nKeep-Alive: timeout=5\r\n"
     "Upgrade: h2c\r\nX-Kept: yes\r\nContent-Length: 2\r\n\r\nok",
     false},
    {"/twice", "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n\r\nok", false},
    {"/missing", "HTTP/1.1 404 Not Found\r\nContent-Type: text/x\r\nContent-Length: 3\r\n\r\nno!", false},
    {"/broken", "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nonly this", true},
    {"/cut", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", true},
    {"/garbage", "no HTTP at all\r\n\r\n", true},
    {"/two-lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", true},
    {"/nothing", "", true},
};

static void keep(backend *b, nf_message *m)
{
    (void)pthread_mutex_lock(&b->lock);
    nf_message_free(&b->last);
    b->last = *m;
    (void)pthread_mutex_unlock(&b->lock);
}

static bool is_for(const nf_message *m, const char *path)
{
    const char *target = strchr(m->data, ' ');
    return target && strncmp(target + 1, path, strlen(path)) == 0 && strchr(" ?", target[1 + strlen(path)]) != NULL;
}

/* A long body in pieces. */
static bool send_long(int fd)
{
    static char piece[65536];
    memset(piece, 'z', sizeof piece);
    char head[128];
    (void)snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %u\r\n\r\n", LONG_BYTES);
    bool sent = nf_send_c(fd, head);
    for (size_t at = 0; at < LONG_BYTES && sent; at += sizeof piece)
        sent = nf_send(fd, piece, sizeof piece);
    return sent;
}

static void serve(nf_server *server, int fd, int number)
{
    backend *b = server->user;
    nf_message m;
    (void)number;
    while (nf_read_message(fd, true, false, &m)) {
        const answer *found = NULL;
        bool head = strncmp(m.data, "HEAD", 4) == 0, is_long = is_for(&m, "/long");
        for (size_t i = 0; i < sizeof answers / sizeof *answers && !found; i++)
            found = is_for(&m, answers[i].path) ? &answers[i] : NULL;
        keep(b, &m);
        if (is_long) {
            if (!send_long(fd))
                return;
            continue;
        }
        const char *text = found ? found->text : "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        const char *body = strstr(text, "\r\n\r\n");
        (void)nf_send(fd, text, head && body ? (size_t)(body - text) + 4 : strlen(text));
        if (found && found->closes)
            return;
    }
}

typedef struct fixture {
    backend b;
    sl_exec_front *front;
    int listen_fd;
    uint16_t port;
} fixture;

static bool start(fixture *f, const sl_quota_watch *watch)
{
    memset(f, 0, sizeof *f);
    (void)pthread_mutex_init(&f->b.lock, NULL);
    nf_server_start(&f->b.server, serve, &f->b);
    f->listen_fd = nf_listen(&f->port);
    sl_exec_front_options o = {.listen_fd = f->listen_fd, .watch = watch};
    o.server.port = f->b.server.port;
    (void)snprintf(o.server.host, sizeof o.server.host, "127.0.0.1");
    int error = sl_exec_front_start(&o, &f->front);
    CHECK_EQ(error, 0);
    return error == 0;
}

static void stop(fixture *f)
{
    sl_exec_front_stop(f->front);
    nf_server_stop(&f->b.server);
    nf_message_free(&f->b.last);
    close(f->listen_fd);
    (void)pthread_mutex_destroy(&f->b.lock);
}

static nf_message get(const fixture *f, const char *method, const char *path)
{
    char request[512];
    (void)snprintf(request, sizeof request, "%s %s HTTP/1.1\r\nHost: h\r\n\r\n", method, path);
    return nf_ask(f->port, request);
}

/* ---- answers ---- */

SL_TEST(answers_come_as_they_are)
{
    static const struct {
        const char *path;
        int status;
        const char *body, *field, *value;
        bool complete;
    } rows[] = {
        {"/length", 200, "hello", "X-One", "1", true},
        {"/length?x=1&y=%20", 200, "hello", "Content-Length", "5", true},
        {"/empty", 200, "", "Content-Length", "0", true},
        {"/none", 204, "", "X-One", "1", true},
        {"/chunked", 200, "abcdefg", NULL, NULL, true},
        {"/close", 200, "until the end", NULL, NULL, true},
        {"/twice", 200, "ok", "Set-Cookie", "a=1", true},
        {"/missing", 404, "no!", "Content-Type", "text/x", true},
        {"/hop", 200, "ok", "X-Kept", "yes", true},
        /* What breaks off is seen to be broken. */
        {"/broken", 200, "only this", "Content-Length", "50", false},
        {"/cut", 200, "abc", NULL, NULL, false},
    };
    fixture f;
    REQUIRE(start(&f, NULL));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        nf_message m = get(&f, "GET", rows[i].path);
        if (m.status != rows[i].status || !sl_str_eq_c(m.body, rows[i].body) || m.complete != rows[i].complete)
            sl_test_failed(__FILE__, __LINE__, "%s: %d, %.60s", rows[i].path, m.status, m.data ? m.data : "nothing");
        if (rows[i].field && !(m.data && nf_field_is(&m, rows[i].field, rows[i].value)))
            sl_test_failed(__FILE__, __LINE__, "%s: no %s: %s", rows[i].path, rows[i].field, rows[i].value);
        nf_message_free(&m);
    }
    stop(&f);
}

SL_TEST(fields_of_one_connection_stay_there)
{
    fixture f;
    REQUIRE(start(&f, NULL));
    nf_message m = get(&f, "GET", "/hop");
    static const char *const gone[] = {"X-Own", "Keep-Alive", "Upgrade"};
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++)
        CHECK(!nf_field(&m, gone[i]));
    CHECK(strstr(m.data, "secret") == NULL);
    const char *date = nf_field(&m, "Date");
    CHECK(date && !strstr(date, "\r\nDate:"));
    nf_message_free(&m);
    m = get(&f, "GET", "/twice");
    CHECK(strstr(m.data, "Set-Cookie: a=1\r\n") && strstr(m.data, "Set-Cookie: b=2\r\n"));
    nf_message_free(&m);
    stop(&f);
}

SL_TEST(answers_to_head_and_of_no_content_have_no_body)
{
    fixture f;
    REQUIRE(start(&f, NULL));
    nf_message m = get(&f, "HEAD", "/length");
    CHECK_EQ(m.status, 200);
    CHECK(nf_field_is(&m, "Content-Length", "5"));
    CHECK_EQ(m.len, m.head_len);
    nf_message_free(&m);
    m = get(&f, "GET", "/none");
    CHECK(!nf_field(&m, "Content-Length") && !nf_field(&m, "Transfer-Encoding")); /* RFC 9110, 8.6 */
    nf_message_free(&m);
    /* The connection is good for the next request. */
    int fd = nf_connect(f.port);
    static const char *const paths[] = {"HEAD /length", "GET /same", "GET /none", "GET /length"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        char request[128];
        (void)snprintf(request, sizeof request, "%s HTTP/1.1\r\nHost: h\r\n\r\n", paths[i]);
        REQUIRE(nf_send_c(fd, request));
        bool bodyless = i < 2;
        REQUIRE(nf_read_message(fd, false, bodyless, &m));
        static const int statuses[] = {200, 304, 204, 200};
        CHECK_EQ(m.status, statuses[i]);
        CHECK(m.complete);
        nf_message_free(&m);
    }
    close(fd);
    stop(&f);
}

SL_TEST(a_long_answer_to_a_slow_reader_is_whole)
{
    fixture f;
    REQUIRE(start(&f, NULL));
    int fd = nf_connect(f.port);
    REQUIRE(nf_send_c(fd, "GET /long HTTP/1.1\r\nHost: h\r\n\r\n"));
    nf_sleep_ms(150); /* what nobody takes is not read from the server either */
    nf_message m;
    REQUIRE(nf_read_message(fd, false, false, &m));
    CHECK(m.complete);
    CHECK_EQ(m.body.len, LONG_BYTES);
    bool right = true;
    for (size_t i = 0; i < m.body.len; i++)
        right = right && m.body.ptr[i] == 'z';
    CHECK(right);
    nf_message_free(&m);
    close(fd);
    stop(&f);
}

SL_TEST(a_client_that_leaves_ends_its_call_alone)
{
    fixture f;
    REQUIRE(start(&f, NULL));
    for (int i = 0; i < 10; i++) {
        int fd = nf_connect(f.port);
        REQUIRE(nf_send_c(fd, i % 2 ? "GET /long HTTP/1.1\r\nHost: h\r\n\r\n"
                                    : "POST /length HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhalf"));
        if (i % 2) {
            char some[4096];
            CHECK(recv(fd, some, sizeof some, 0) > 0);
        }
        close(fd);
        nf_message m = get(&f, "GET", "/length");
        CHECK_EQ(m.status, 200);
        nf_message_free(&m);
    }
    stop(&f);
}

/* ---- requests ---- */

SL_TEST(requests_go_on_as_they_came)
{
    static const struct {
        const char *request;
        const char *has[5], *has_not[4];
        const char *body;
    } rows[] = {
        {"GET /a?b=%2F HTTP/1.1\r\nHost: example.org\r\nX-A: 1\r\nx-a: 2\r\nAuthorization: Bearer k\r\n\r\n",
         {"GET /a?b=%2F HTTP/1.1\r\n", "Host: example.org\r\n", "X-A: 1\r\n", "x-a: 2\r\n",
          "Authorization: Bearer k\r\n"},
         {"Content-Length", "Transfer-Encoding"},
         ""},
        {"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Type: x/y\r\n\r\n12345",
         {"POST /a HTTP/1.1\r\n", "Content-Length: 5\r\n", "Content-Type: x/y\r\n"},
         {"Transfer-Encoding"},
         "12345"},
        {"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", {"Content-Length: 0\r\n"}, {NULL}, ""},
        {"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
         {"Content-Length: 3\r\n"},
         {"Transfer-Encoding", "chunked"},
         "abc"},
        {"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
         {"Content-Length: 0\r\n"},
         {"Transfer-Encoding"},
         ""},
        {"PUT /a HTTP/1.1\r\nHost: h\r\nConnection: close, X-Own\r\nX-Own: 1\r\nKeep-Alive: 1\r\nTE: trailers\r\n"
         "X-Kept: 1\r\nContent-Length: 1\r\n\r\n.",
         {"X-Kept: 1\r\n"},
         {"X-Own", "Keep-Alive", "TE:", "close"},
         "."},
        {"GET /a HTTP/1.1\r\nHost: h\r\ntraceparent: 00-11111111111111111111111111111111-2222222222222222-01\r\n"
         "tracestate: a=b\r\nbaggage: c=d\r\n\r\n",
         {"traceparent: 00-11111111111111111111111111111111-2222222222222222-01\r\n", "tracestate: a=b\r\n",
          "baggage: c=d\r\n"},
         {NULL},
         ""},
        {"OPTIONS /a HTTP/1.1\r\nHost: h\r\nOrigin: http://o\r\n\r\n",
         {"OPTIONS /a", "Origin: http://o\r\n"},
         {NULL},
         ""},
        {"GET /a HTTP/1.0\r\n\r\n", {"GET /a HTTP/1.1\r\n", "Host: 127.0.0.1:"}, {NULL}, ""},
    };
    fixture f;
    REQUIRE(start(&f, NULL));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        nf_message m = nf_ask(f.port, rows[i].request);
        if (m.status != 200)
            sl_test_failed(__FILE__, __LINE__, "row %zu: status %d", i, m.status);
        nf_message_free(&m);
        const char *seen = f.b.last.data ? f.b.last.data : "";
        for (size_t k = 0; k < 5 && rows[i].has[k]; k++) {
            if (!strstr(seen, rows[i].has[k]))
                sl_test_failed(__FILE__, __LINE__, "row %zu: no %s in %s", i, rows[i].has[k], seen);
        }
        for (size_t k = 0; k < 4 && rows[i].has_not[k]; k++) {
            if (strstr(seen, rows[i].has_not[k]))
                sl_test_failed(__FILE__, __LINE__, "row %zu: %s in %s", i, rows[i].has_not[k], seen);
        }
        CHECK_STR(f.b.last.body, rows[i].body);
    }
    stop(&f);
}

SL_TEST(who_waits_to_be_asked_is_asked)
{
    fixture f;
    nf_message m;
    char first[64] = "";
    REQUIRE(start(&f, NULL));
    int fd = nf_connect(f.port);
    REQUIRE(nf_send_c(fd, "POST /length HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"));
    CHECK(recv(fd, first, 25, MSG_WAITALL) == 25);
    CHECK_STR(sl_str_c(first), "HTTP/1.1 100 Continue\r\n\r\n");
    REQUIRE(nf_send_c(fd, "body"));
    REQUIRE(nf_read_message(fd, false, false, &m));
    CHECK_EQ(m.status, 200);
    CHECK(!strstr(f.b.last.data, "Expect"));
    CHECK_STR(f.b.last.body, "body");
    nf_message_free(&m);
    close(fd);
    stop(&f);
}

SL_TEST(a_large_body_goes_on_whole)
{
    static char body[4u << 20];
    char head[128];
    fixture f;
    nf_message m;
    REQUIRE(start(&f, NULL));
    for (size_t i = 0; i < sizeof body; i++)
        body[i] = (char)('a' + i % 23);
    int fd = nf_connect(f.port);
    (void)snprintf(head, sizeof head, "POST /length HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n", sizeof body);
    REQUIRE(nf_send_c(fd, head) && nf_send(fd, body, sizeof body));
    REQUIRE(nf_read_message(fd, false, false, &m));
    CHECK_EQ(m.status, 200);
    CHECK(f.b.last.body.len == sizeof body && memcmp(f.b.last.body.ptr, body, sizeof body) == 0);
    nf_message_free(&m);
    close(fd);
    stop(&f);
}

SL_TEST(requests_of_many_clients_do_not_mix)
{
    fixture f;
    int fds[24];
    REQUIRE(start(&f, NULL));
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++) {
        fds[i] = nf_connect(f.port);
        REQUIRE(nf_send_c(fds[i], i % 3 == 0   ? "GET /length HTTP/1.1\r\nHost: h\r\n\r\n"
                                  : i % 3 == 1 ? "GET /chunked HTTP/1.1\r\nHost: h\r\n\r\n"
                                               : "GET /missing HTTP/1.1\r\nHost: h\r\n\r\n"));
    }
    for (size_t i = sizeof fds / sizeof *fds; i-- > 0;) {
        static const char *const bodies[] = {"hello", "abcdefg", "no!"};
        nf_message m = {.status = -1};
        CHECK(nf_read_message(fds[i], false, false, &m));
        CHECK_STR(m.body, bodies[i % 3]);
        nf_message_free(&m);
        close(fds[i]);
    }
    stop(&f);
}

/* ---- servers that cannot answer ---- */

SL_TEST(what_is_no_answer_is_502)
{
    static const char *const paths[] = {"/garbage", "/two-lengths", "/nothing"};
    fixture f;
    REQUIRE(start(&f, NULL));
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        nf_message m = get(&f, "GET", paths[i]);
        if (m.status != 502 || !strstr(m.data, "\"code\":\"upstream_error\"") || !strstr(m.data, "127.0.0.1:"))
            sl_test_failed(__FILE__, __LINE__, "%s: %s", paths[i], m.data ? m.data : "nothing");
        CHECK(m.complete);
        nf_message_free(&m);
    }
    nf_message m = get(&f, "GET", "/length");
    CHECK_EQ(m.status, 200);
    nf_message_free(&m);
    stop(&f);
}

SL_TEST(a_server_that_is_not_there_is_502_and_may_come)
{
    sl_exec_front_options o = {.server = {.host = "127.0.0.1"}};
    uint16_t port;
    sl_exec_front *front = NULL;
    int free_fd = nf_listen(&o.server.port); /* a port that nobody else takes meanwhile */
    close(free_fd);
    o.listen_fd = nf_listen(&port);
    REQUIRE(sl_exec_front_start(&o, &front) == 0);
    nf_message m = nf_ask(port, "POST /completion HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}");
    CHECK_EQ(m.status, 502);
    if (!m.data || !strstr(m.data, "onnection refused"))
        sl_test_failed(__FILE__, __LINE__, "%s", m.data ? m.data : "nothing");
    nf_message_free(&m);
    sl_exec_front_stop(front);
    close(o.listen_fd);
    sl_exec_front_stop(NULL);
}

SL_TEST(it_ends_while_requests_are_under_way)
{
    fixture f;
    int fds[4];
    REQUIRE(start(&f, NULL));
    for (size_t i = 0; i < 4; i++) {
        fds[i] = nf_connect(f.port);
        REQUIRE(nf_send_c(fds[i], i % 2 ? "GET /long HTTP/1.1\r\nHost: h\r\n\r\n" : "GET /len"));
    }
    nf_sleep_ms(50);
    stop(&f);
    for (size_t i = 0; i < 4; i++) {
        CHECK(nf_closed_within(fds[i], 2000));
        close(fds[i]);
    }
}

/* ---- quotas ---- */

#define SECOND 1000000000u

SL_TEST(what_asks_for_tokens_is_refused_while_a_quota_is_exceeded)
{
    static const struct {
        const char *request;
        bool work;
    } rows[] = {
        {"POST /completion HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}", true},
        {"POST /v1/chat/completions?x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}", true},
        {"POST /v1/embeddings HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", true},
        {"POST /tokenize HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}", false},
        {"GET /health HTTP/1.1\r\nHost: h\r\n\r\n", false},
        {"GET /completion HTTP/1.1\r\nHost: h\r\n\r\n", false},
    };
    fixture f;
    sl_sdk *sdk = page_sdk();
    sl_probe_metrics *host = sdk ? page_host(sdk) : NULL;
    sl_quota_watch *watch = NULL;
    const sl_quota_limits limits = {.limit = {[SL_QUOTA_QUEUE] = 3}};
    REQUIRE(host && sl_quota_watch_new(sdk, &limits, &watch) == 0 && start(&f, watch));
    for (unsigned second = 1; second < 4; second++) {
        bool exceeded = second == 2;
        sl_probe_metrics_load(host, 1, exceeded ? 5 : 0);
        sl_probe_metrics_tick(host, second * (uint64_t)SECOND, 0);
        sl_quota_watch_tick(watch, second * (uint64_t)SECOND);
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
            nf_message m = nf_ask(f.port, rows[i].request);
            int wanted = exceeded && rows[i].work ? 429 : 200;
            if (m.status != wanted)
                sl_test_failed(__FILE__, __LINE__, "second %u: %.40s: %d", second, rows[i].request, m.status);
            if (m.status == 429)
                CHECK(nf_field_is(&m, "Retry-After", "1") &&
                      strstr(m.data, "\"message\":\"the quota queue of this server is exceeded") &&
                      strstr(m.data, "\"code\":\"quota_exceeded\""));
            nf_message_free(&m);
        }
    }
    stop(&f);
    sl_quota_watch_free(watch);
    sl_probe_metrics_free(host);
    sl_sdk_free(sdk);
}

/* A client that waits to be asked for its body is told before it sends it. */
SL_TEST(a_refusal_does_not_wait_for_the_body)
{
    fixture f;
    nf_message m = {.status = -1};
    sl_sdk *sdk = page_sdk();
    sl_probe_metrics *host = sdk ? page_host(sdk) : NULL;
    sl_quota_watch *watch = NULL;
    const sl_quota_limits limits = {.limit = {[SL_QUOTA_QUEUE] = 3}};
    REQUIRE(host && sl_quota_watch_new(sdk, &limits, &watch) == 0 && start(&f, watch));
    sl_probe_metrics_load(host, 1, 5);
    sl_probe_metrics_tick(host, SECOND, 0);
    sl_quota_watch_tick(watch, SECOND);
    int fd = nf_connect(f.port);
    REQUIRE(nf_send_c(fd, "POST /completion HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n"
                          "Content-Length: 1000000\r\n\r\n"));
    REQUIRE(nf_read_message(fd, false, false, &m));
    CHECK_EQ(m.status, 429);
    nf_message_free(&m);
    close(fd);
    stop(&f);
    sl_quota_watch_free(watch);
    sl_probe_metrics_free(host);
    sl_sdk_free(sdk);
}
