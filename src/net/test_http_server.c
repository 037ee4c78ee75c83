/* The HTTP server, over real sockets. */
#include "src/net/http_server.h"

#include "src/base/mem.h"
#include "tests/harness/net_fixture.h"

typedef struct site {
    nf_loop l;
    sl_http_server *server;
    uint16_t port;
    int listen_fd;
    /* What the handler has seen; written on the loop's thread. */
    _Atomic int heads, requests, done, refused, connections, opened;
    _Atomic int last_outcome, last_refused;
    _Atomic uint64_t gone_ns;
    sl_exchange *held; /* /hold: never answered by itself */
    uv_timer_t pacer;
    sl_exchange *streaming;
    int frames_left;
    uint64_t big_left;
} site;

/* ---- a small site ---- */

static char block[32768];

/* /big: 64 MiB in blocks, as fast as the client takes them. */
static void pump(site *s, sl_exchange *x)
{
    while (s->big_left > 0) {
        size_t n = s->big_left < sizeof block ? (size_t)s->big_left : sizeof block;
        s->big_left -= n;
        if (sl_exchange_write(x, sl_str_of(block, n), s->big_left == 0))
            return;
    }
}

static void on_frame(uv_timer_t *timer)
{
    site *s = timer->data;
    if (!s->streaming || s->frames_left-- == 0) {
        sl_exchange *x = s->streaming;
        s->streaming = NULL;
        (void)uv_timer_stop(timer);
        if (x)
            (void)sl_exchange_write(x, SL_STR("end"), true);
        return;
    }
    (void)sl_exchange_write(s->streaming, SL_STR("frame "), false);
}

static void on_head(void *user, sl_exchange *x)
{
    site *s = user;
    s->heads++;
    if (sl_str_eq(sl_exchange_head(x)->target, SL_STR("/no")))
        sl_exchange_error(x, 401, "invalid_request_error", "invalid_api_key", "no \"entry\"");
}

static void start_stream(site *s, sl_exchange *x, bool sized)
{
    sl_http_stream stream = {.status = 200, .content_type = "text/plain", .has_length = sized, .length = 8};
    (void)sl_exchange_begin(x, &stream);
    s->streaming = x;
    s->frames_left = sized ? 1 : 20;
    if (sized) {
        (void)sl_exchange_write(x, SL_STR("four"), false);
        s->streaming = NULL;
        (void)sl_exchange_write(x, SL_STR("more"), true);
        return;
    }
    (void)uv_timer_start(&s->pacer, on_frame, 10, 10);
}

static void on_request(void *user, sl_exchange *x)
{
    site *s = user;
    sl_str target = sl_exchange_head(x)->target;
    sl_str body = sl_exchange_body(x);
    s->requests++;
    if (sl_str_eq(target, SL_STR("/hold"))) {
        s->held = x;
    } else if (sl_str_eq(target, SL_STR("/stream")) || sl_str_eq(target, SL_STR("/sized"))) {
        start_stream(s, x, target.ptr[2] == 'i');
    } else if (sl_str_eq(target, SL_STR("/big"))) {
        s->big_left = 64u << 20;
        sl_http_stream stream = {.status = 200};
        (void)sl_exchange_begin(x, &stream);
        pump(s, x);
    } else if (sl_str_eq(target, SL_STR("/short"))) {
        sl_http_stream stream = {.status = 200, .has_length = true, .length = 10, .first = SL_STR("four")};
        (void)sl_exchange_begin(x, &stream);
        (void)sl_exchange_write(x, SL_STR(""), true);
    } else if (sl_str_eq(target, SL_STR("/abort"))) {
        sl_http_stream stream = {.status = 200, .first = SL_STR("part")};
        (void)sl_exchange_begin(x, &stream);
        sl_exchange_abort(x);
    } else if (sl_str_eq(target, SL_STR("/nothing"))) {
        sl_http_reply reply = {.status = 204};
        sl_exchange_respond(x, &reply);
    } else {
        char *taken = NULL;
        bool took = body.len > 60000 && sl_exchange_take_body(x, &taken);
        sl_http_reply reply = {.status = 200, .content_type = "text/plain", .body = body};
        if (body.len == 0)
            reply.body = SL_STR("hello");
        sl_exchange_respond(x, &reply);
        if (took)
            sl_free(taken);
    }
}

static void on_writable(void *user, sl_exchange *x)
{
    pump(user, x);
}

static void on_done(void *user, sl_exchange *x, int outcome)
{
    site *s = user;
    if (x == s->held)
        s->held = NULL;
    if (x == s->streaming)
        s->streaming = NULL;
    s->last_outcome = outcome;
    if (outcome == SL_ECLOSED)
        s->gone_ns = sl_mono_ns();
    s->done++;
}

static void on_refused(void *user, int status)
{
    site *s = user;
    s->last_refused = status;
    s->refused++;
}

static void on_connection(void *user, int change)
{
    site *s = user;
    s->connections += change;
    if (change > 0)
        s->opened++;
}

static void close_site(void *user)
{
    site *s = user;
    sl_http_server_close(s->server);
    uv_close((uv_handle_t *)&s->pacer, NULL);
}

static site *site_start(const sl_http_server_options *options)
{
    site *s = calloc(1, sizeof *s);
    sl_http_handler handler = {s, on_head, on_request, on_writable, on_done, on_refused, on_connection};
    if (sl_loop_init(&s->l.loop) != 0 || sl_http_server_new(&s->l.loop, &handler, options, &s->server) != 0)
        abort();
    s->listen_fd = nf_listen(&s->port);
    if (sl_http_server_listen(s->server, s->listen_fd) != 0)
        abort();
    (void)uv_timer_init(&s->l.loop.uv, &s->pacer);
    s->pacer.data = s;
    nf_loop_start(&s->l, close_site, s);
    return s;
}

static void site_stop(site *s)
{
    nf_loop_stop(&s->l);
    sl_loop_done(&s->l.loop);
    close(s->listen_fd);
    CHECK_EQ(s->connections, 0);
    free(s);
}

/* Waits until a counter has reached a value. */
static bool reaches(const _Atomic int *counter, int value, unsigned ms)
{
    for (unsigned i = 0; i < ms; i++) {
        if (*counter >= value)
            return true;
        nf_sleep_ms(1);
    }
    return false;
}

/* ---- whole answers ---- */

SL_TEST(answers_have_length_and_date)
{
    site *s = site_start(NULL);
    nf_message m = nf_ask(s->port, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK_EQ(m.status, 200);
    CHECK(m.complete);
    CHECK_STR(m.body, "hello");
    CHECK(nf_field_is(&m, "Content-Length", "5"));
    CHECK(nf_field_is(&m, "Content-Type", "text/plain"));
    CHECK(nf_field(&m, "Date") != NULL && strstr(nf_field(&m, "Date"), " GMT") != NULL);
    CHECK(nf_field(&m, "Connection") == NULL);
    nf_message_free(&m);
    m = nf_ask(s->port, "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK_EQ(m.status, 200);
    CHECK(nf_field_is(&m, "Content-Length", "5"));
    CHECK_EQ(m.len, m.head_len);
    nf_message_free(&m);
    m = nf_ask(s->port, "GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK_EQ(m.status, 204);
    CHECK(nf_field(&m, "Content-Length") == NULL);
    nf_message_free(&m);
    site_stop(s);
}

SL_TEST(a_connection_serves_many_requests_one_after_the_other)
{
    site *s = site_start(NULL);
    int fd = nf_connect(s->port);
    for (int i = 0; i < 50; i++) {
        nf_message m;
        char text[160];
        int len =
            snprintf(text, sizeof text, "POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nbody %04d", i, i);
        REQUIRE(nf_send(fd, text, (size_t)len) && nf_read_message(fd, false, false, &m));
        CHECK_EQ(m.status, 200);
        CHECK_STR_EQ(m.body, sl_str_of(text + len - 9, 9));
        nf_message_free(&m);
    }
    CHECK_EQ(s->opened, 1);
    CHECK(reaches(&s->done, 50, 3000));
    close(fd);
    site_stop(s);
}

SL_TEST(pipelined_requests_are_answered_in_order)
{
    site *s = site_start(NULL);
    int fd = nf_connect(s->port);
    char text[8192];
    size_t len = 0;
    for (int i = 0; i < 40; i++)
        len += (size_t)snprintf(text + len, sizeof text - len,
                                "POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n%04d", i, i);
    REQUIRE(nf_send(fd, text, len));
    for (int i = 0; i < 40; i++) {
        nf_message m;
        char wanted[8];
        (void)snprintf(wanted, sizeof wanted, "%04d", i);
        REQUIRE(nf_read_message(fd, false, false, &m));
        CHECK_STR(m.body, wanted);
        nf_message_free(&m);
    }
    close(fd);
    site_stop(s);
}

SL_TEST(a_pipelined_request_waits_for_a_streamed_answer)
{
    site *s = site_start(NULL);
    int fd = nf_connect(s->port);
    REQUIRE(nf_send_c(fd, "GET /stream HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    nf_sleep_ms(60);
    CHECK_EQ(s->requests, 1);
    CHECK(reaches(&s->requests, 2, 2000));
    nf_sleep_ms(20);
    char bytes[8192];
    ssize_t n = recv(fd, bytes, sizeof bytes - 1, 0);
    REQUIRE(n > 0);
    bytes[n] = 0;
    char *second = strstr(bytes, "0\r\n\r\nHTTP/1.1 200 OK");
    CHECK(second != NULL);
    CHECK(second && strstr(second, "hello") != NULL);
    close(fd);
    site_stop(s);
}

SL_TEST(every_split_of_a_request_reads_the_same)
{
    static const char *const requests[] = {
        "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nhello world",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nT: "
        "v\r\n\r\n",
    };
    site *s = site_start(NULL);
    for (size_t r = 0; r < 2; r++) {
        size_t len = strlen(requests[r]);
        int fd = nf_connect(s->port);
        for (size_t cut = 1; cut < len; cut++) {
            nf_message m;
            REQUIRE(nf_send(fd, requests[r], cut));
            if (cut % 8 == 0)
                nf_sleep_ms(1);
            REQUIRE(nf_send(fd, requests[r] + cut, len - cut) && nf_read_message(fd, false, false, &m));
            CHECK_EQ(m.status, 200);
            CHECK_STR(m.body, "hello world");
            nf_message_free(&m);
        }
        close(fd);
    }
    CHECK_EQ(s->refused, 0);
    site_stop(s);
}

SL_TEST(a_request_byte_by_byte)
{
    static const char text[] =
        "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: a\r\n\r\n";
    site *s = site_start(NULL);
    int fd = nf_connect(s->port);
    for (size_t i = 0; i < sizeof text - 1; i++) {
        REQUIRE(nf_send(fd, text + i, 1));
        if (i % 5 == 0)
            nf_sleep_ms(1);
    }
    nf_message m;
    REQUIRE(nf_read_message(fd, false, false, &m));
    CHECK_STR(m.body, "abc");
    nf_message_free(&m);
    REQUIRE(nf_read_message(fd, false, false, &m));
    CHECK_STR(m.body, "hello");
    nf_message_free(&m);
    close(fd);
    site_stop(s);
}

SL_TEST(large_bodies_come_whole)
{
    size_t size = 32u << 20;
    site *s = site_start(NULL);
    int fd = nf_connect(s->port);
    char *body = malloc(size);
    for (size_t i = 0; i < size; i++)
        body[i] = (char)(i * 2654435761u >> 13);
    char head[128];
    int len = snprintf(head, sizeof head, "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n\r\n", size);
    REQUIRE(nf_send(fd, head, (size_t)len) && nf_send(fd, body, size));
    nf_message m;
    REQUIRE(nf_read_message(fd, false, false, &m));
    CHECK_EQ(m.status, 200);
    CHECK_EQ(m.body.len, size);
    CHECK(m.body.len == size && memcmp(m.body.ptr, body, size) == 0);
    nf_message_free(&m);
    free(body);
    close(fd);
    site_stop(s);
}

SL_TEST(expect_100_continue_is_answered)
{
    site *s = site_start(NULL);
    int fd = nf_connect(s->port);
    REQUIRE(nf_send_c(fd, "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"));
    char interim[64];
    ssize_t n = recv(fd, interim, sizeof interim, 0);
    CHECK_STR_EQ(sl_str_of(interim, n > 0 ? (size_t)n : 0), SL_STR("HTTP/1.1 100 Continue\r\n\r\n"));
    nf_message m;
    REQUIRE(nf_send_c(fd, "body") && nf_read_message(fd, false, false, &m));
    CHECK_STR(m.body, "body");
    nf_message_free(&m);
    close(fd);
    site_stop(s);
}

SL_TEST(http_1_0_closes_unless_asked)
{
    site *s = site_start(NULL);
    int fd = nf_connect(s->port);
    nf_message m;
    REQUIRE(nf_send_c(fd, "GET / HTTP/1.0\r\n\r\n") && nf_read_message(fd, false, false, &m));
    CHECK(nf_field_is(&m, "Connection", "close"));
    CHECK(nf_closed_within(fd, 1000));
    nf_message_free(&m);
    close(fd);
    fd = nf_connect(s->port);
    REQUIRE(nf_send_c(fd, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n") && nf_read_message(fd, false, false, &m));
    CHECK(nf_field_is(&m, "Connection", "keep-alive"));
    CHECK(!nf_closed_within(fd, 50));
    nf_message_free(&m);
    close(fd);
    /* A stream to HTTP/1.0 has no chunks and ends with the connection. */
    m = nf_ask(s->port, "GET /stream HTTP/1.0\r\n\r\n");
    CHECK(nf_field(&m, "Transfer-Encoding") == NULL);
    CHECK(m.body.len > 3 && memcmp(m.body.ptr + m.body.len - 3, "end", 3) == 0);
    nf_message_free(&m);
    site_stop(s);
}

/* ---- refusals ---- */

typedef struct refusal {
    const char *request;
    int status;
} refusal;

static const refusal refusals[] = {
    {"GET / HTTP/1.1\r\n\r\n", 400},
    {"GET / HTTP/1.1\nHost: a\n\n", 400},
    {"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc", 400},
    {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX", 400},
    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 400},
    {"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505},
    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 70000\r\n\r\n", 413},
    {"BREW / HTTP/1.1\r\nHost: a\r\n\r\n", 501},
};

SL_TEST(bad_requests_are_refused_in_openai_s_shape_and_the_connection_closed)
{
    sl_http_server_options options = {.max_body_bytes = 65536, .body_timeout_ms = 300};
    site *s = site_start(&options);
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        int fd = nf_connect(s->port);
        nf_message m = {.status = -1};
        REQUIRE(nf_send_c(fd, refusals[i].request));
        REQUIRE(nf_read_message(fd, false, false, &m));
        if (m.status != refusals[i].status)
            sl_test_failed(__FILE__, __LINE__, "case %zu: %d", i, m.status);
        CHECK(nf_field_is(&m, "Connection", "close"));
        CHECK(nf_field_is(&m, "Content-Type", "application/json"));
        CHECK(m.body.len > 10 && memcmp(m.body.ptr, "{\"error\":{", 10) == 0);
        CHECK(strstr(m.data, "\"param\":null") != NULL);
        CHECK(nf_closed_within(fd, 2000));
        nf_message_free(&m);
        close(fd);
    }
    CHECK_EQ(s->requests, 0);
    site_stop(s);
}

SL_TEST(a_chunked_body_over_the_limit_is_413)
{
    sl_http_server_options options = {.max_body_bytes = 65536};
    site *s = site_start(&options);
    int fd = nf_connect(s->port);
    REQUIRE(nf_send_c(fd, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"));
    for (int i = 0; i < 3; i++)
        REQUIRE(nf_send_c(fd, "8000\r\n") && nf_send(fd, block, 0x8000) && nf_send_c(fd, "\r\n"));
    nf_message m;
    REQUIRE(nf_read_message(fd, false, false, &m));
    CHECK_EQ(m.status, 413);
    CHECK_EQ(s->last_outcome, SL_ETOOBIG);
    nf_message_free(&m);
    close(fd);
    site_stop(s);
}

SL_TEST(heads_over_the_limits_are_431)
{
    site *s = site_start(NULL);
    char *text = malloc(65536);
    int len = snprintf(text, 64, "GET / HTTP/1.1\r\nHost: a\r\nX: ");
    memset(text + len, 'x', 40000);
    strcpy(text + len + 40000, "\r\n\r\n");
    nf_message m = nf_ask(s->port, text);
    CHECK_EQ(m.status, 431);
    nf_message_free(&m);
    len = snprintf(text, 64, "GET / HTTP/1.1\r\nHost: a\r\n");
    for (int i = 0; i < 100; i++)
        len += snprintf(text + len, 32, "x-%d: 1\r\n", i);
    strcpy(text + len, "\r\n");
    m = nf_ask(s->port, text);
    CHECK_EQ(m.status, 431);
    CHECK_EQ(s->refused, 2);
    CHECK_EQ(s->last_refused, 431);
    nf_message_free(&m);
    free(text);
    site_stop(s);
}

SL_TEST(an_early_answer_leaves_a_usable_connection)
{
    site *s = site_start(NULL);
    int fd = nf_connect(s->port);
    nf_message m;
    /* The body comes in the same piece, later, or in chunks: it is skipped. */
    static const char *const firsts[] = {
        "POST /no HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        "POST /no HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "GET /no HTTP/1.1\r\nHost: a\r\n\r\n",
    };
    for (size_t i = 0; i < 3; i++) {
        REQUIRE(nf_send_c(fd, firsts[i]) && nf_read_message(fd, false, false, &m));
        CHECK_EQ(m.status, 401);
        CHECK(strstr(m.data, "no \\\"entry\\\"") != NULL);
        nf_message_free(&m);
        REQUIRE(nf_send_c(fd, "GET / HTTP/1.1\r\nHost: a\r\n\r\n") && nf_read_message(fd, false, false, &m));
        CHECK_EQ(m.status, 200);
        nf_message_free(&m);
    }
    REQUIRE(nf_send_c(fd, "POST /no HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"));
    REQUIRE(nf_read_message(fd, false, false, &m));
    CHECK_EQ(m.status, 401);
    nf_message_free(&m);
    REQUIRE(nf_send_c(fd, "helloGET / HTTP/1.1\r\nHost: a\r\n\r\n") && nf_read_message(fd, false, false, &m));
    CHECK_STR(m.body, "hello");
    nf_message_free(&m);
    CHECK_EQ(s->requests, 4);
    close(fd);
    /* A body too long to be skipped: the connection ends. */
    fd = nf_connect(s->port);
    REQUIRE(nf_send_c(fd, "POST /no HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"));
    REQUIRE(nf_read_message(fd, false, false, &m));
    CHECK(nf_field_is(&m, "Connection", "close"));
    CHECK(nf_closed_within(fd, 2000));
    nf_message_free(&m);
    close(fd);
    site_stop(s);
}

/* ---- time ---- */

SL_TEST(slow_clients_time_out)
{
    sl_http_server_options options = {.head_timeout_ms = 100, .body_timeout_ms = 100, .idle_timeout_ms = 100};
    site *s = site_start(&options);
    nf_message m;
    int fd = nf_connect(s->port);
    CHECK(nf_closed_within(fd, 1000)); /* idle: closed without a word */
    close(fd);
    fd = nf_connect(s->port);
    REQUIRE(nf_send_c(fd, "GET / HT"));
    REQUIRE(nf_read_message(fd, false, false, &m));
    CHECK_EQ(m.status, 408);
    nf_message_free(&m);
    close(fd);
    fd = nf_connect(s->port);
    REQUIRE(nf_send_c(fd, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhel"));
    REQUIRE(nf_read_message(fd, false, false, &m));
    CHECK_EQ(m.status, 408);
    CHECK_EQ(s->last_outcome, SL_ETIMEOUT);
    nf_message_free(&m);
    close(fd);
    site_stop(s);
}

SL_TEST(a_slow_body_that_goes_on_is_not_timed_out)
{
    sl_http_server_options options = {.body_timeout_ms = 200};
    site *s = site_start(&options);
    int fd = nf_connect(s->port);
    nf_message m;
    REQUIRE(nf_send_c(fd, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n"));
    for (int i = 0; i < 8; i++) {
        nf_sleep_ms(60);
        REQUIRE(nf_send_c(fd, "x"));
    }
    REQUIRE(nf_read_message(fd, false, false, &m));
    CHECK_STR(m.body, "xxxxxxxx");
    nf_message_free(&m);
    close(fd);
    site_stop(s);
}

SL_TEST(a_reader_that_stops_is_dropped)
{
    sl_http_server_options options = {.write_timeout_ms = 150};
    site *s = site_start(&options);
    int fd = nf_connect(s->port);
    REQUIRE(nf_send_c(fd, "GET /big HTTP/1.1\r\nHost: a\r\n\r\n"));
    CHECK(reaches(&s->done, 1, 3000));
    CHECK_EQ(s->last_outcome, SL_ETIMEOUT);
    close(fd);
    site_stop(s);
}

/* ---- streams ---- */

SL_TEST(streams_come_in_chunks_as_they_are_written)
{
    site *s = site_start(NULL);
    uint64_t start = sl_mono_ns();
    int fd = nf_connect(s->port);
    REQUIRE(nf_send_c(fd, "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n"));
    char first[512];
    ssize_t n = recv(fd, first, sizeof first, 0);
    CHECK(n > 0);
    CHECK(sl_mono_ns() - start < 100000000);
    while (n > 0 && !(n >= 5 && memcmp(first + n - 5, "0\r\n\r\n", 5) == 0))
        n = recv(fd, first, sizeof first, 0);
    CHECK(n > 0);
    CHECK(sl_mono_ns() - start > 150000000);
    close(fd);
    nf_message m = nf_ask(s->port, "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK(m.complete);
    CHECK_EQ(m.body.len, 20 * 6 + 3);
    nf_message_free(&m);
    m = nf_ask(s->port, "GET /sized HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK(nf_field_is(&m, "Content-Length", "8"));
    CHECK_STR(m.body, "fourmore");
    nf_message_free(&m);
    site_stop(s);
}

SL_TEST(an_answer_that_is_not_whole_does_not_look_whole)
{
    site *s = site_start(NULL);
    nf_message m = nf_ask(s->port, "GET /abort HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK(!m.complete);
    nf_message_free(&m);
    m = nf_ask(s->port, "GET /short HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK(!m.complete);
    nf_message_free(&m);
    CHECK(reaches(&s->done, 2, 3000));
    site_stop(s);
}

SL_TEST(a_slow_reader_costs_little_memory)
{
    site *s = site_start(NULL);
    int fd = nf_connect(s->port);
    REQUIRE(nf_send_c(fd, "GET /big HTTP/1.1\r\nHost: a\r\n\r\n"));
    char *bytes = malloc(1 << 20);
    size_t got = 0;
    size_t most = 0;
    for (;;) {
        ssize_t n = recv(fd, bytes, 1 << 20, 0);
        if (n <= 0)
            break;
        got += (size_t)n;
        size_t blocks = sl_test_live_blocks();
        most = blocks > most ? blocks : most;
        if (got >= (64u << 20) + 10 && memcmp(bytes + n - 5, "0\r\n\r\n", 5) == 0)
            break;
        if (got < 8u << 20)
            nf_sleep_ms(1);
    }
    CHECK(got > 64u << 20);
    CHECK(most < 40); /* at most a handful of queued pieces of 32 KiB */
    CHECK_EQ(s->last_outcome, 0);
    free(bytes);
    close(fd);
    site_stop(s);
}

/* ---- clients that leave ---- */

static void expect_gone(site *s, int fd, int hard)
{
    if (hard) {
        struct linger l = {1, 0};
        (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof l);
    }
    uint64_t left = sl_mono_ns();
    close(fd);
    CHECK(reaches(&s->done, 1, 1000));
    CHECK_EQ(s->last_outcome, SL_ECLOSED);
    CHECK(s->gone_ns - left < 30000000);
}

SL_TEST(a_client_that_leaves_while_waiting_is_noticed)
{
    for (int hard = 0; hard < 2; hard++) {
        site *s = site_start(NULL);
        int fd = nf_connect(s->port);
        REQUIRE(nf_send_c(fd, "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n"));
        CHECK(reaches(&s->requests, 1, 1000));
        nf_sleep_ms(5);
        expect_gone(s, fd, hard);
        site_stop(s);
    }
}

SL_TEST(a_client_that_leaves_within_a_stream_is_noticed)
{
    for (int hard = 0; hard < 2; hard++) {
        site *s = site_start(NULL);
        int fd = nf_connect(s->port);
        REQUIRE(nf_send_c(fd, "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n"));
        char bytes[256];
        CHECK(recv(fd, bytes, sizeof bytes, 0) > 0);
        expect_gone(s, fd, hard);
        site_stop(s);
    }
}

SL_TEST(a_client_that_only_ends_its_side_is_served)
{
    static const char *const requests[] = {
        "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /stream HTTP/1.0\r\n\r\n",
    };
    site *s = site_start(NULL);
    for (size_t i = 0; i < 3; i++) {
        int fd = nf_connect(s->port);
        REQUIRE(nf_send_c(fd, requests[i]));
        nf_sleep_ms(i == 0 ? 30 : 0);
        REQUIRE(shutdown(fd, SHUT_WR) == 0);
        nf_message m;
        REQUIRE(nf_read_message(fd, false, false, &m));
        CHECK_EQ(m.status, 200);
        CHECK(m.complete);
        if (i == 0)
            CHECK_EQ(m.body.len, 20 * 6 + 3);
        nf_message_free(&m);
        CHECK(nf_closed_within(fd, 1000));
        close(fd);
    }
    site_stop(s);
}

SL_TEST(fresh_connections_are_answered_while_others_stall)
{
    site *s = site_start(NULL);
    int stalled[20];
    for (int i = 0; i < 20; i++) {
        stalled[i] = nf_connect(s->port);
        REQUIRE(nf_send_c(stalled[i], i % 2 ? "GET / HT" : "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx"));
    }
    nf_message m = nf_ask(s->port, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK_EQ(m.status, 200);
    nf_message_free(&m);
    for (int i = 0; i < 20; i++)
        close(stalled[i]);
    site_stop(s);
}

SL_TEST(connections_over_the_limit_are_turned_away)
{
    sl_http_server_options options = {.max_connections = 2};
    site *s = site_start(&options);
    int a = nf_connect(s->port);
    int b = nf_connect(s->port);
    CHECK(reaches(&s->opened, 2, 1000));
    int c = nf_connect(s->port);
    CHECK(nf_closed_within(c, 1000));
    CHECK(!nf_closed_within(a, 20));
    close(a);
    close(b);
    close(c);
    site_stop(s);
}

/* ---- draining ---- */

typedef struct drain {
    site *s;
    uv_async_t go;
    _Atomic int drained;
} drain;

static void on_drained(void *user)
{
    drain *d = user;
    d->drained++;
}

static void on_go(uv_async_t *async)
{
    drain *d = async->data;
    sl_http_server_drain(d->s->server, on_drained, d);
    uv_close((uv_handle_t *)async, NULL);
}

SL_TEST(draining_finishes_what_is_under_way)
{
    drain d = {.s = calloc(1, sizeof *d.s)};
    site *s = d.s;
    sl_http_handler handler = {s, on_head, on_request, on_writable, on_done, on_refused, on_connection};
    REQUIRE(sl_loop_init(&s->l.loop) == 0 && sl_http_server_new(&s->l.loop, &handler, NULL, &s->server) == 0);
    s->listen_fd = nf_listen(&s->port);
    REQUIRE(sl_http_server_listen(s->server, s->listen_fd) == 0);
    (void)uv_timer_init(&s->l.loop.uv, &s->pacer);
    s->pacer.data = s;
    (void)uv_async_init(&s->l.loop.uv, &d.go, on_go);
    d.go.data = &d;
    nf_loop_start(&s->l, close_site, s);
    int idle = nf_connect(s->port);
    int busy = nf_connect(s->port);
    nf_message m;
    REQUIRE(nf_send_c(busy, "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n"));
    CHECK(reaches(&s->requests, 1, 1000));
    (void)uv_async_send(&d.go);
    CHECK(nf_closed_within(idle, 1000));
    CHECK_EQ(d.drained, 0);
    REQUIRE(nf_read_message(busy, false, false, &m));
    CHECK(m.complete);
    CHECK_EQ(m.body.len, 20 * 6 + 3);
    CHECK(nf_closed_within(busy, 1000));
    CHECK(reaches(&d.drained, 1, 1000));
    nf_message_free(&m);
    /* The queue of the socket is still there for the next process. */
    int waiting = nf_connect(s->port);
    CHECK(!nf_closed_within(waiting, 50));
    close(waiting);
    close(idle);
    close(busy);
    site_stop(s);
}

SL_TEST(draining_an_idle_server_says_so_from_the_loop)
{
    drain d = {.s = NULL};
    sl_loop *loop = calloc(1, sizeof *loop);
    sl_http_server *server;
    sl_http_handler handler = {.on_request = on_request, .on_done = on_done};
    REQUIRE(sl_loop_init(loop) == 0 && sl_http_server_new(loop, &handler, NULL, &server) == 0);
    sl_http_server_drain(server, on_drained, &d);
    CHECK_EQ(d.drained, 0);
    (void)uv_run(&loop->uv, UV_RUN_NOWAIT);
    CHECK_EQ(d.drained, 1);
    sl_http_server_close(server);
    sl_loop_done(loop);
    free(loop);
}

SL_TEST(closing_ends_what_is_under_way)
{
    site *s = site_start(NULL);
    int fd = nf_connect(s->port);
    REQUIRE(nf_send_c(fd, "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n"));
    CHECK(reaches(&s->requests, 1, 1000));
    site_stop(s);
    close(fd);
}

SL_TEST(a_server_without_memory)
{
    sl_loop *loop = calloc(1, sizeof *loop);
    sl_http_server *server;
    sl_http_handler handler = {.on_request = on_request, .on_done = on_done};
    REQUIRE(sl_loop_init(loop) == 0);
    for (int n = 0; n < 2; n++) {
        sl_test_fail_alloc(n);
        CHECK_EQ(sl_http_server_new(loop, &handler, NULL, &server), SL_ENOMEM);
    }
    sl_test_fail_alloc(-1);
    sl_loop_done(loop);
    free(loop);
}

/* Reads what has come; the connection does not block. */
static size_t take(int fd, char *text, size_t len, size_t cap)
{
    ssize_t n = recv(fd, text + len, cap - 1 - len, MSG_DONTWAIT);
    len += n > 0 ? (size_t)n : 0;
    text[len] = 0;
    return len;
}

/* One failed allocation must not make a listener deaf: libuv waits until the connection is taken. */
SL_TEST(a_connection_without_memory_is_served_later)
{
    site *s = calloc(1, sizeof *s);
    sl_http_handler handler = {s, NULL, on_request, NULL, on_done, NULL, on_connection};
    REQUIRE(sl_loop_init(&s->l.loop) == 0);
    REQUIRE(sl_http_server_new(&s->l.loop, &handler, NULL, &s->server) == 0);
    s->listen_fd = nf_listen(&s->port);
    REQUIRE(sl_http_server_listen(s->server, s->listen_fd) == 0);
    int fds[2] = {nf_connect(s->port), nf_connect(s->port)};
    sl_test_fail_alloc(0);
    uv_run(&s->l.loop.uv, UV_RUN_ONCE);
    CHECK(sl_test_alloc_failed());
    CHECK_EQ(s->opened, 0);
    for (int i = 0; i < 2; i++) {
        char text[1024] = "";
        size_t len = 0;
        CHECK(nf_send_c(fds[i], "GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
        for (int turn = 0; turn < 1000 && !strstr(text, "hello"); turn++) {
            uv_run(&s->l.loop.uv, UV_RUN_NOWAIT);
            len = take(fds[i], text, len, sizeof text);
            nf_sleep_ms(1);
        }
        CHECK(strstr(text, "200 OK") && strstr(text, "hello"));
        close(fds[i]);
    }
    CHECK_EQ(s->opened, 2);
    sl_http_server_close(s->server);
    sl_loop_done(&s->l.loop);
    CHECK_EQ(s->connections, 0);
    close(s->listen_fd);
    free(s);
}

/* ---- what the head says of the connection ---- */

typedef struct framing {
    const char *request;
    int status;
    const char *body; /* of the answer, as it comes on the wire */
    bool stays;       /* the connection serves a second request */
} framing;

#define AGAIN "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

static const framing framings[] = {
    {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200, "hello", true},
    {"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 200, "hello", false},
    {"GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n", 200, "hello", false},
    {"GET / HTTP/1.0\r\n\r\n", 200, "hello", false},
    {"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 200, "hello", true},
    {"GET / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx", 200, "x", false},
    {"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", 200, "", true},
    {"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n", 204, "", true},
    {"HEAD /stream HTTP/1.1\r\nHost: a\r\n\r\n", 200, "", true},
    {"GET /sized HTTP/1.1\r\nHost: a\r\n\r\n", 200, "fourmore", true},
    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 200, "hello", true},
    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;ext=\"a\"\r\nabc\r\n0\r\nX-Trailer: 1\r\n\r\n",
     200, "abc", true},
    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 200, "hello", true},
    {"POST /no HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", 401, NULL, true},
    {"POST /no HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 401, NULL, true},
};

/* The answer to a request, and whether a second one behind it in the same piece is served. */
SL_TEST(connections_stay_as_the_head_says)
{
    site *s = site_start(NULL);
    for (size_t i = 0; i < sizeof framings / sizeof *framings; i++) {
        const framing *f = &framings[i];
        char text[1024];
        (void)snprintf(text, sizeof text, "%s%s", f->request, AGAIN);
        int fd = nf_connect(s->port);
        nf_message m = {.status = -1};
        CHECK(nf_send_c(fd, text));
        bool bare = strncmp(f->request, "HEAD", 4) == 0;
        bool read = nf_read_message(fd, false, bare, &m);
        if (!read || m.status != f->status || (!bare && !m.complete) || (f->body && !sl_str_eq_c(m.body, f->body)))
            sl_test_failed(__FILE__, __LINE__, "row %zu: %d '%.*s'", i, m.status, (int)m.body.len,
                           m.body.ptr ? m.body.ptr : "");
        if (read)
            nf_message_free(&m);
        bool again = nf_read_message(fd, false, false, &m);
        if (again != f->stays)
            sl_test_failed(__FILE__, __LINE__, "row %zu: the connection %s", i, again ? "stays" : "ends");
        if (again) {
            CHECK_EQ(m.status, 200);
            CHECK_STR(m.body, "hello");
            nf_message_free(&m);
        }
        close(fd);
    }
    site_stop(s);
}
