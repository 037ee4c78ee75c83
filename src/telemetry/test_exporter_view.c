/* The exporter to a live view: what it sends, and that a view which is not there costs nothing and is no failure. */
#include "src/telemetry/exporter_view.h"

#include "src/net/lite/test_http_server.h"
#include "tests/harness/sl_test.h"

static const sl_str spans = {"\x0a\x02\x12\x00", 4};

static bool make(int port, const char *end, sl_exporter *exporter)
{
    char url[64];
    const char *why;
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d%s", port, end);
    return sl_exporter_view_new(sl_str_c(url), exporter, &why) == 0;
}

static int deliver(const sl_exporter *exporter)
{
    uint64_t retry = 0, rejected = 0;
    int error = exporter->deliver(exporter->user, SL_SIGNAL_TRACES, spans, 1, 1000, &retry, &rejected);
    CHECK(retry == 0 && rejected == 0);
    return error;
}

static bool wants(const sl_exporter *exporter)
{
    return exporter->wants(exporter->user, SL_SIGNAL_TRACES, spans);
}

SL_TEST(view_gets_spans)
{
    static http_server server;
    const http_act script[] = {{.answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"}};
    sl_exporter exporter;
    REQUIRE(http_start(&server, script, 1, false));
    REQUIRE(make(server.port, "///", &exporter));
    CHECK(exporter.immediate);
    CHECK(wants(&exporter));
    CHECK(!exporter.wants(exporter.user, SL_SIGNAL_LOGS, spans));
    CHECK_EQ(deliver(&exporter), 0);
    CHECK_EQ(deliver(&exporter), 0);
    CHECK(wants(&exporter));
    CHECK_EQ(server.requests, 2);
    CHECK_EQ(server.connections, 1);
    CHECK(strstr(server.last, "POST /v1/traces HTTP/1.1\r\n") == server.last);
    CHECK(strstr(server.last, "application/x-protobuf\r\n") != NULL);
    CHECK_EQ(server.last_body, spans.len);
    exporter.free(exporter.user);
    http_stop(&server);
}

SL_TEST(view_that_is_not_there_is_left_alone)
{
    static http_server server;
    const http_act script[] = {{.answer = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"}};
    sl_exporter exporter;
    REQUIRE(http_start(&server, script, 1, false));
    REQUIRE(make(server.port, "", &exporter));
    CHECK_EQ(deliver(&exporter), 0); /* somebody else listens there */
    CHECK(!wants(&exporter));
    exporter.free(exporter.user);
    http_stop(&server);
    REQUIRE(make(server.port, "", &exporter)); /* nobody does */
    CHECK(wants(&exporter));
    CHECK_EQ(deliver(&exporter), 0);
    CHECK(!wants(&exporter));
    exporter.free(exporter.user);
}

SL_TEST(view_that_refuses_one_request_gets_the_next)
{
    static http_server server;
    const http_act script[] = {{.answer = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"},
                               {.answer = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"}};
    sl_exporter exporter;
    REQUIRE(http_start(&server, script, 2, false));
    REQUIRE(make(server.port, "", &exporter));
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(deliver(&exporter), 0);
        CHECK(wants(&exporter));
    }
    exporter.free(exporter.user);
    http_stop(&server);
}

SL_TEST(view_needs_an_address)
{
    static const char *const bad[] = {"", "x", "ftp://x", "https://x:1", "http://", "http://a b"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        sl_exporter exporter;
        const char *why = NULL;
        CHECK_EQ(sl_exporter_view_new(sl_str_c(bad[i]), &exporter, &why), SL_ECONFIG);
        CHECK(why && *why);
    }
    for (long i = 0; i < 20; i++) {
        sl_exporter exporter;
        const char *why;
        sl_test_fail_alloc(i);
        int error = sl_exporter_view_new(SL_STR("http://h:1"), &exporter, &why);
        if (!error)
            exporter.free(exporter.user);
        bool failed = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        CHECK_EQ(error, failed ? SL_ENOMEM : 0);
    }
}
