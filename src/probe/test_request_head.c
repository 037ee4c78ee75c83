/* Heads of requests as the probe notes them. */
#include "src/probe/request_head.h"

#include "tests/harness/sl_test.h"

SL_TEST(a_head_with_everything)
{
    sl_request_head h;
    sl_request_head_parse(SL_STR("POST /v1/chat/completions?key HTTP/1.1\nTraceparent:  00-a \ntracestate: x=1\n"
                                 "baggage: k=v\nuser-agent: a: b\r\nhost: h:80\ncontent-type: application/json\n"
                                 "content-length: 3\nother\n"),
                          &h);
    CHECK_STR(h.method, "POST");
    CHECK_STR(h.path, "/v1/chat/completions");
    CHECK_STR(h.traceparent, "00-a");
    CHECK_STR(h.tracestate, "x=1");
    CHECK_STR(h.baggage, "k=v");
    CHECK_STR(h.user_agent, "a: b");
    CHECK_STR(h.host, "h:80");
    CHECK_STR(h.content_type, "application/json");
}

SL_TEST(half_a_head)
{
    static const char text[] = "GET /health HTTP/1.1\nhost: localhost\n";
    for (size_t len = 0; len < sizeof text; len++) {
        sl_request_head h;
        sl_request_head_parse(sl_str_of(text, len), &h);
        CHECK(sl_str_starts(SL_STR("GET"), h.method));
        CHECK(sl_str_starts(SL_STR("/health"), h.path));
        CHECK(sl_str_starts(SL_STR("localhost"), h.host));
    }
    sl_request_head h;
    sl_request_head_parse(SL_STR("\n\n:\n"), &h);
    CHECK_EQ(h.method.len + h.path.len + h.host.len, 0);
}

SL_TEST(of_two_parents_neither_counts)
{
    sl_request_head h;
    sl_request_head_parse(SL_STR("GET / H\ntraceparent: 00-a\ntraceparent: 00-b\n"), &h);
    CHECK_EQ(h.traceparent.len, 0);
    sl_request_head_parse(
        SL_STR("GET / H\ntraceparent: 00-a\ntraceparent: 00-b\ntraceparent: 00-c\nhost: x\nhost: y\n"), &h);
    CHECK_EQ(h.traceparent.len, 0);
    CHECK_STR(h.host, "y");
}

SL_TEST(routes_have_few_values)
{
    static const struct {
        const char *path, *route;
    } rows[] = {
        {"/slots/3", "/slots/{id}"},
        {"/slots/31", "/slots/{id}"},
        {"/v1/models/gpt-4", "/v1/models/gpt-4"},
        {"/v1/models/llama_3_1_8b", "/v1/models/{id}"},
        {"/v2/threads/9f86d081884c7d659a2feaa0c55ad015/x", "/v2/threads/{id}/x"},
        {"/a/b/c/d/e/f", "/a/b/c/d"},
        {"", "/"},
        {"/", "/"},
        {"*", "/{id}"},
        {"//", "/{id}"},
        {"/x%20y", "/{id}"},
        {"/averyveryverylongwordthatisnoroute", "/{id}"},
        {"/\xff\xfe", "/{id}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char buffer[64];
        sl_request_head_route(sl_str_c(rows[i].path), buffer, sizeof buffer);
        CHECK_STR(sl_str_c(buffer), rows[i].route);
    }
    char small[8];
    sl_request_head_route(SL_STR("/abc/defgh"), small, sizeof small);
    CHECK_STR(sl_str_c(small), "/abc");
}
