/* A worker's requests to its queue: what is sent, what comes back, what does not, and what is cancelled. */
#include "src/flow/worker_http.h"

#include "src/base/mem.h"
#include "tests/harness/net_fixture.h"

typedef struct site {
    sl_loop loop;
    sl_upstream *upstream;
    sl_origin *origin;
    nf_server server;
    const char *answer; /* NULL: none, the connection is closed */
    char last[8192];
    int ends, status;
    char text[512]; /* of the answer's JSON; "-": none */
} site;

static void serve(nf_server *server, int fd, int number)
{
    site *s = server->user;
    nf_message m;
    (void)number;
    while (nf_read_message(fd, true, false, &m)) {
        (void)sl_str_to_c(sl_str_of(m.data, m.len), s->last, sizeof s->last);
        nf_message_free(&m);
        server->requests++;
        if (!s->answer || !nf_send_c(fd, s->answer))
            return;
    }
}

static void site_open(site *s)
{
    memset(s, 0, sizeof *s);
    nf_server_start(&s->server, serve, s);
    if (sl_loop_init(&s->loop) || sl_upstream_new(&s->loop, NULL, &s->upstream))
        abort();
    sl_origin_options o = {.host = SL_STR("127.0.0.1"), .port = s->server.port};
    CHECK_EQ(sl_upstream_origin(s->upstream, &o, &s->origin), 0);
}

static void site_close(site *s)
{
    sl_upstream_close(s->upstream);
    while (uv_run(&s->loop.uv, UV_RUN_ONCE))
        ;
    sl_upstream_free(s->upstream);
    sl_loop_done(&s->loop);
    nf_server_stop(&s->server);
}

static void on_answer(void *user, int status, json_t *answer)
{
    site *s = user;
    s->ends++;
    s->status = status;
    char *text = answer ? json_dumps(answer, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    (void)snprintf(s->text, sizeof s->text, "%s", text ? text : "-");
    free(text);
}

static sl_ask_options options_of(site *s)
{
    return (sl_ask_options){.origin = s->origin,
                            .authority = SL_STR("queue:8001"),
                            .path = SL_STR("/queues/t/messages?x=1"),
                            .body = SL_STR("{}"),
                            .wait_ms = 5000,
                            .fn = on_answer,
                            .user = s};
}

static void ask_and_wait(site *s, const sl_ask_options *o)
{
    uint64_t end = sl_mono_ns() + (uint64_t)NF_PATIENCE_MS * 1000000;
    s->ends = 0;
    CHECK(sl_ask_start(o) != NULL);
    while (!s->ends && sl_mono_ns() < end)
        (void)uv_run(&s->loop.uv, UV_RUN_ONCE);
    CHECK_EQ(s->ends, 1);
}

#define OK_JSON "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{\"a\":[1]}"

SL_TEST(what_is_asked_goes_as_it_was_given)
{
    site s;
    site_open(&s);
    s.answer = OK_JSON;
    sl_ask_options o = options_of(&s);
    ask_and_wait(&s, &o);
    CHECK_EQ(s.status, 200);
    CHECK_STR(sl_str_c(s.text), "{\"a\":[1]}");
    CHECK(strncmp(s.last, "POST /queues/t/messages?x=1 HTTP/1.1\r\n", 38) == 0);
    CHECK(strstr(s.last, "\r\nHost: queue:8001\r\n") && strstr(s.last, "\r\nContent-Type: application/json\r\n"));
    CHECK(strstr(s.last, "\r\nContent-Length: 2\r\n\r\n{}") != NULL);
    CHECK(!strstr(s.last, "Authorization") && !strstr(s.last, "traceparent") && !strstr(s.last, "Idempotency-Key"));
    o.key = SL_STR("s3cret");
    o.traceparent = SL_STR("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    o.idempotency_key = SL_STR("task:7");
    o.body = sl_str_of(NULL, 0);
    ask_and_wait(&s, &o);
    CHECK(strstr(s.last, "\r\nAuthorization: Bearer s3cret\r\n") != NULL);
    CHECK(strstr(s.last, "\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n") != NULL);
    CHECK(strstr(s.last, "\r\nIdempotency-Key: task:7\r\n") != NULL);
    CHECK(strstr(s.last, "\r\nContent-Length: 0\r\n\r\n") != NULL);
    CHECK_EQ(s.server.connection_count, 1); /* kept */
    site_close(&s);
}

SL_TEST(answers_of_every_kind)
{
    static const struct {
        const char *answer;
        int status;
        const char *text;
    } cases[] = {
        {OK_JSON, 200, "{\"a\":[1]}"},
        {"HTTP/1.1 201 Created\r\nContent-Length: 4\r\n\r\nnull", 201, "null"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, "-"},
        {"HTTP/1.1 204 No Content\r\n\r\n", 204, "-"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>", 200, "-"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{\"", 200, "-"},
        {"HTTP/1.1 409 Conflict\r\nContent-Length: 14\r\n\r\n{\"detail\":\"x\"}", 409, "{\"detail\":\"x\"}"},
        {"HTTP/1.1 413 Large\r\nContent-Length: 0\r\n\r\n", 413, "-"},
        {"HTTP/1.1 500 Oops\r\nContent-Length: 1\r\n\r\n5", 500, "5"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\n\r\n", 200, "[]"},
        {"nonsense\r\n\r\n", 0, "-"},
        {NULL, 0, "-"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        site s;
        site_open(&s);
        s.answer = cases[i].answer;
        sl_ask_options o = options_of(&s);
        ask_and_wait(&s, &o);
        if (s.status != cases[i].status || strcmp(s.text, cases[i].text) != 0)
            sl_test_failed(__FILE__, __LINE__, "case %zu: %d %s", i, s.status, s.text);
        site_close(&s);
    }
}

SL_TEST(nobody_is_there)
{
    site s;
    site_open(&s);
    int fd = nf_listen(&s.server.port);
    uint16_t port = s.server.port;
    close(fd);
    sl_origin_options other = {.host = SL_STR("127.0.0.1"), .port = port};
    CHECK_EQ(sl_upstream_origin(s.upstream, &other, &s.origin), 0);
    sl_ask_options o = options_of(&s);
    ask_and_wait(&s, &o);
    CHECK_EQ(s.status, 0);
    CHECK_STR(sl_str_c(s.text), "-");
    site_close(&s);
}

static void serve_silence(nf_server *server, int fd, int number)
{
    nf_message m;
    (void)number;
    if (!nf_read_message(fd, true, false, &m))
        return;
    nf_message_free(&m);
    server->requests++;
    (void)nf_closed_within(fd, NF_PATIENCE_MS);
}

/* Cancelled before it was sent, and while the other side thinks: no callback, and the connection is closed. */
SL_TEST(what_is_cancelled_says_nothing)
{
    site s;
    memset(&s, 0, sizeof s);
    nf_server_start(&s.server, serve_silence, &s);
    REQUIRE(sl_loop_init(&s.loop) == 0 && sl_upstream_new(&s.loop, NULL, &s.upstream) == 0);
    sl_origin_options origin = {.host = SL_STR("127.0.0.1"), .port = s.server.port};
    CHECK_EQ(sl_upstream_origin(s.upstream, &origin, &s.origin), 0);
    sl_ask_options o = options_of(&s);
    sl_ask_cancel(sl_ask_start(&o));
    sl_ask *ask = sl_ask_start(&o);
    for (int i = 0; i < 2000 && !s.server.requests; i++) {
        (void)uv_run(&s.loop.uv, UV_RUN_NOWAIT);
        nf_sleep_ms(1);
    }
    CHECK_EQ(s.server.requests, 1);
    sl_ask_cancel(ask);
    sl_ask_cancel(NULL);
    CHECK_EQ(s.ends, 0);
    o.wait_ms = 60;
    ask_and_wait(&s, &o); /* patience has an end */
    CHECK_EQ(s.status, 0);
    site_close(&s);
}

SL_TEST(requests_without_memory)
{
    site s;
    site_open(&s);
    s.answer = OK_JSON;
    sl_ask_options o = options_of(&s);
    for (long n = 0; n < 4; n++) {
        sl_test_fail_alloc(n);
        sl_ask *ask = sl_ask_start(&o);
        bool failed = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        if (failed && !ask)
            continue;
        CHECK(ask != NULL);
        sl_ask_cancel(ask);
    }
    ask_and_wait(&s, &o);
    CHECK_EQ(s.status, 200);
    site_close(&s);
}

/* A head that is too long for a request is refused before anything is sent. */
SL_TEST(heads_have_a_limit)
{
    static char key[10000];
    site s;
    site_open(&s);
    memset(key, 'k', sizeof key);
    sl_ask_options o = options_of(&s);
    o.key = sl_str_of(key, sizeof key);
    CHECK(sl_ask_start(&o) == NULL);
    CHECK_EQ(s.server.requests, 0);
    site_close(&s);
}

/* ---- segments ---- */

SL_TEST(segments_of_paths)
{
    static const struct {
        const char *text, *coded;
    } cases[] = {{"", ""},
                 {"plain", "plain"},
                 {"a.b-c_d~e", "a.b-c_d~e"},
                 {"a b", "a%20b"},
                 {"a/b", "a%2Fb"},
                 {"50%", "50%25"},
                 {"?#&=+", "%3F%23%26%3D%2B"},
                 {"\xc3\xa9", "%C3%A9"},
                 {"\x01\x7f\xff", "%01%7F%FF"},
                 {"AZaz09", "AZaz09"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sl_buf out;
        sl_buf_init(&out, 100);
        CHECK_EQ(sl_ask_put_segment(&out, sl_str_c(cases[i].text)), 0);
        CHECK_STR(sl_buf_str(&out), cases[i].coded);
        sl_buf_done(&out);
    }
    sl_buf out;
    sl_buf_init(&out, 100);
    CHECK_EQ(sl_ask_put_segment(&out, sl_str_of("a\0b", 3)), 0);
    CHECK_STR(sl_buf_str(&out), "a%00b");
    sl_buf_done(&out);
    sl_buf_init(&out, 5);
    CHECK(sl_ask_put_segment(&out, SL_STR("too long")) != 0);
    sl_buf_done(&out);
}
