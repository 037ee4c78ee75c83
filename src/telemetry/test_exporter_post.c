/* Exporters jaeger and zipkin against a scripted server: what is posted, how answers are judged, several resources. */
#include "src/telemetry/exporter_post.h"

#include "src/base/sync.h"
#include "src/net/lite/test_http_server.h"
#include "src/wire/test_span_fixture.h"

typedef struct reports {
    char last[512];
    unsigned count;
} reports;

static void on_error(void *user, int error, const char *message)
{
    (void)error;
    reports *s = user;
    s->count++;
    (void)snprintf(s->last, sizeof s->last, "%s", message);
}

static int make(const char *name, const char *path, int port, reports *s, uint64_t timeout_ms, sl_exporter *ret)
{
    char url[96], why[256] = "";
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d%s", port, path);
    sl_exporter_spec spec;
    memset(&spec, 0, sizeof spec);
    spec.kind = sl_exporter_kind_named(sl_str_c(name), SL_SIGNAL_TRACES);
    spec.peer.url = sl_str_c(url);
    spec.timeout_ms = timeout_ms;
    spec.reporter = sl_reporter_new(on_error, s, false);
    int error = sl_exporter_make(&spec, ret, why, sizeof why);
    sl_reporter_unref(spec.reporter);
    return error;
}

static void no_ids(sl_buf *b)
{
    fx_span_head(b, SL_STR(""), FX_SPAN, "a", 1);
}

/* A request of `resources` resources, each of one good span and one that has no place in either system. */
static void make_request(sl_buf *request, int resources)
{
    sl_buf_init(request, 1u << 20);
    for (int i = 0; i < resources; i++) {
        size_t mark = fx_open(request, 1);
        fx_resource_spans(request, "svc", "lib", (void (*const[])(sl_buf *)){fx_full_span, no_ids, NULL});
        sl_pb_buf_close(request, mark);
    }
}

typedef struct outcome {
    int error;
    uint64_t retry_ms, rejected;
} outcome;

static outcome deliver(const sl_exporter *e, sl_str request, uint64_t timeout_ms)
{
    outcome o = {0, 0, 0};
    o.error = e->deliver(e->user, SL_SIGNAL_TRACES, request, 2, timeout_ms, &o.retry_ms, &o.rejected);
    return o;
}

#define OK "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"

SL_TEST(what_is_posted)
{
    static const struct {
        const char *name, *path, *type;
    } table[] = {{"jaeger", "/api/traces", "application/x-thrift"}, {"zipkin", "/api/v2/spans", "application/json"}};
    for (size_t i = 0; i < 2; i++) {
        http_act act = {.answer = OK};
        http_server s;
        reports said = {"", 0};
        sl_exporter e;
        sl_buf request;
        make_request(&request, 1);
        REQUIRE(http_start(&s, &act, 1, false));
        REQUIRE(make(table[i].name, table[i].path, s.port, &said, 0, &e) == 0);
        CHECK_STR(sl_str_c(e.name), table[i].name);
        CHECK_EQ(e.signals, SL_SIGNAL_BIT(SL_SIGNAL_TRACES));
        outcome o = deliver(&e, sl_buf_str(&request), 2000);
        CHECK_EQ(o.error, 0);
        CHECK_EQ(o.rejected, 1);
        CHECK_EQ(said.count, 0);
        CHECK_EQ(s.requests, 1);
        char line[96];
        (void)snprintf(line, sizeof line, "POST %s HTTP/1.1\r\n", table[i].path);
        CHECK(strncmp(s.last, line, strlen(line)) == 0);
        CHECK(strstr(s.last, table[i].type) != NULL);
        CHECK(s.last_body > 100);
        e.free(e.user);
        http_stop(&s);
        sl_buf_done(&request);
    }
}

SL_TEST(answers_are_judged_as_those_of_otlp)
{
    static const struct {
        const char *answer;
        int error;
        uint64_t retry_ms;
        const char *said;
    } table[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 0, 0, ""},
        {OK, 0, 0, ""},
        {"HTTP/1.1 204 No\r\n\r\n", 0, 0, ""},
        {"HTTP/1.1 429 Slow\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n", SL_ERETRY, 3000, "HTTP 429"},
        {"HTTP/1.1 502 Bad\r\nContent-Length: 0\r\n\r\n", SL_ERETRY, 0, "HTTP 502"},
        {"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nfull", SL_ERETRY, 0, "HTTP 503: full"},
        {"HTTP/1.1 504 Late\r\nContent-Length: 0\r\n\r\n", SL_ERETRY, 0, "HTTP 504"},
        {"HTTP/1.1 400 Bad\r\nContent-Length: 14\r\n\r\ncannot parse x", SL_EREFUSED, 0, "HTTP 400: cannot parse x"},
        {"HTTP/1.1 500 Oops\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n", SL_EREFUSED, 0, "HTTP 500"},
        {"HTTP/1.1 302 There\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", SL_EREFUSED, 0, "HTTP 302"},
        {"HTTP/1.1 401 No\r\nContent-Length: 30\r\n\r\nbad key Bearer sk-abcdef1234567", SL_EREFUSED, 0, "HTTP 401"},
    };
    sl_buf request;
    make_request(&request, 1);
    for (size_t i = 0; i < sizeof table / sizeof table[0] * 2; i++) {
        http_act act = {.answer = table[i / 2].answer};
        http_server s;
        reports said = {"", 0};
        sl_exporter e;
        REQUIRE(http_start(&s, &act, 1, false));
        REQUIRE(make(i % 2 ? "zipkin" : "jaeger", "/x", s.port, &said, 0, &e) == 0);
        outcome o = deliver(&e, sl_buf_str(&request), 2000);
        CHECK_EQ(o.error, table[i / 2].error);
        CHECK_EQ(o.retry_ms, table[i / 2].retry_ms);
        CHECK_EQ(o.rejected, o.error ? 0 : 1);
        CHECK(strstr(said.last, table[i / 2].said) != NULL);
        CHECK(!said.last[0] || strncmp(said.last, i % 2 ? "zipkin: " : "jaeger: ", 8) == 0);
        CHECK(strstr(said.last, "sk-abcdef1234567") == NULL);
        e.free(e.user);
        http_stop(&s);
    }
    sl_buf_done(&request);
}

SL_TEST(a_post_for_each_resource)
{
    http_act script[3] = {{.answer = OK}, {.answer = OK}, {.answer = "HTTP/1.1 503 B\r\nContent-Length: 0\r\n\r\n"}};
    http_server s;
    reports said = {"", 0};
    sl_exporter e;
    sl_buf request;
    make_request(&request, 3);
    REQUIRE(http_start(&s, script, 3, false));
    REQUIRE(make("jaeger", "/api/traces", s.port, &said, 0, &e) == 0);
    outcome o = deliver(&e, sl_buf_str(&request), 5000);
    CHECK_EQ(o.error, SL_ERETRY); /* the whole is sent again: nothing counts as rejected yet */
    CHECK_EQ(o.rejected, 0);
    CHECK_EQ(s.requests, 3);
    e.free(e.user);
    http_stop(&s);
    sl_buf_done(&request);
}

SL_TEST(nothing_to_send_is_not_sent)
{
    reports said = {"", 0};
    sl_exporter e;
    sl_buf request;
    sl_buf_init(&request, 4096);
    size_t mark = fx_open(&request, 1);
    fx_resource_spans(&request, "svc", NULL, (void (*const[])(sl_buf *)){no_ids, no_ids, NULL});
    sl_pb_buf_close(&request, mark);
    REQUIRE(make("zipkin", "/", 1, &said, 0, &e) == 0); /* nobody listens there */
    outcome o = deliver(&e, sl_buf_str(&request), 1000);
    CHECK_EQ(o.error, 0);
    CHECK_EQ(o.rejected, 2);
    o = deliver(&e, SL_STR(""), 1000);
    CHECK(o.error == 0 && o.rejected == 0);
    e.free(e.user);
    sl_buf_done(&request);
}

SL_TEST(malformed_requests_are_final)
{
    static const char *const names[] = {"jaeger", "zipkin"};
    for (size_t i = 0; i < 2; i++) {
        reports said = {"", 0};
        sl_exporter e;
        REQUIRE(make(names[i], "/", 1, &said, 0, &e) == 0);
        CHECK_EQ(deliver(&e, SL_STR("\x0a\x05\x12"), 1000).error, SL_EPARSE);
        CHECK_EQ(deliver(&e, SL_STR("\x0a\x02\x12\x09"), 1000).error, SL_EPARSE);
        CHECK(strstr(said.last, "cannot be encoded") != NULL);
        e.free(e.user);
    }
}

SL_TEST(peers_that_do_not_answer)
{
    sl_buf request;
    make_request(&request, 1);
    reports said = {"", 0};
    sl_exporter e;
    REQUIRE(make("jaeger", "/", 1, &said, 0, &e) == 0);
    CHECK_EQ(deliver(&e, sl_buf_str(&request), 2000).error, SL_ERETRY);
    CHECK(strstr(said.last, "127.0.0.1") != NULL);
    e.free(e.user);
    /* One that takes the request and says nothing costs the exporter's own time, when that is shorter. */
    http_act act = {.hang = true};
    http_server s;
    REQUIRE(http_start(&s, &act, 1, false));
    REQUIRE(make("zipkin", "/", s.port, &said, 60, &e) == 0);
    uint64_t begin = sl_mono_ns();
    CHECK_EQ(deliver(&e, sl_buf_str(&request), 20000).error, SL_ERETRY);
    uint64_t ms = (sl_mono_ns() - begin) / 1000000u;
    CHECK(ms >= 50 && ms < 10000);
    e.free(e.user);
    http_stop(&s);
    sl_buf_done(&request);
}

SL_TEST(urls)
{
    static const struct {
        const char *text;
        bool tls;
        const char *url; /* NULL: refused */
    } table[] = {
        {"h", false, "http://h/p"},
        {"h:1", false, "http://h:1/p"},
        {"h:1", true, "https://h:1/p"},
        {"http://h:1", true, "http://h:1/p"},
        {"https://h/", false, "https://h/p"},
        {"https://h/own", false, "https://h/own"},
        {"https://h?x=1", false, "https://h?x=1"},
        {"[::1]:9", false, "http://[::1]:9/p"},
        {"", false, NULL},
        {"ftp://h", false, NULL},
        {"a b", false, NULL},
        {"http:///x", false, NULL},
    };
    sl_arena arena;
    sl_arena_init(&arena, 4096, 1u << 16);
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        sl_str url = sl_exporter_post_url(&arena, sl_str_c(table[i].text), table[i].tls, "/p");
        if (table[i].url)
            CHECK_STR(url, table[i].url);
        else
            CHECK(url.ptr == NULL);
    }
    static char long_host[4000];
    memset(long_host, 'h', sizeof long_host - 1);
    CHECK(sl_exporter_post_url(&arena, sl_str_c(long_host), false, "/p").ptr == NULL);
    sl_arena_done(&arena);
}

SL_TEST(every_allocation_failing_in_turn)
{
    sl_buf request;
    make_request(&request, 1);
    for (size_t i = 0; i < 2; i++) {
        for (long n = 0;; n++) {
            http_act act = {.answer = OK};
            http_server s;
            reports said = {"", 0};
            sl_exporter e;
            REQUIRE(http_start(&s, &act, 1, false));
            int port = s.port;
            sl_test_fail_alloc(n);
            int error = make(i ? "zipkin" : "jaeger", "/", port, &said, 0, &e);
            if (!error) {
                error = deliver(&e, sl_buf_str(&request), 2000).error;
                e.free(e.user);
            }
            bool failed = sl_test_alloc_failed();
            sl_test_fail_alloc(-1);
            http_stop(&s);
            CHECK(failed || error == 0);
            if (!failed)
                break;
        }
    }
    sl_buf_done(&request);
}
