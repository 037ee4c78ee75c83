/* The prometheus exporter's listener: paths, formats, methods, addresses that cannot be, and no memory. */
#include "src/telemetry/prometheus_listener.h"

#include <sightline/metrics.h>

#include "tests/harness/net_fixture.h"

static sl_sdk *new_sdk(void)
{
    const sl_sdk_options options = {.ignore_environment = true, .no_default_exporters = true};
    sl_sdk *sdk = NULL;
    CHECK_EQ(sl_sdk_new(&options, &sdk), 0);
    return sdk;
}

static sl_prometheus_listener *listen_on(sl_sdk *sdk, uint16_t *ret_port)
{
    const sl_addr wanted = {.host = "127.0.0.1"};
    sl_prometheus_listener *listener = NULL;
    char reason[SL_ADDR_REASON_MAX] = "";
    CHECK_EQ(sl_prometheus_listener_new(sdk, &wanted, &listener, reason), 0);
    if (listener)
        *ret_port = sl_prometheus_listener_addr(listener)->port;
    return listener;
}

SL_TEST(paths_and_formats)
{
    static const struct {
        const char *request;
        int status;
        const char *type, *has, *has_not;
    } rows[] = {
        {"GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n", 200, "text/plain; version=0.0.4", "# TYPE ", "# EOF"},
        {"GET / HTTP/1.1\r\nHost: h\r\n\r\n", 200, "text/plain; version=0.0.4",
         "mine_total{otel_scope_name=\"test\"} 3\n", "# EOF"},
        {"GET /metrics?x=1 HTTP/1.1\r\nHost: h\r\nAccept: text/plain\r\n\r\n", 200, "text/plain",
         "mine_total{otel_scope_name=\"test\"} 3\n", "# EOF"},
        {"GET /metrics HTTP/1.1\r\nHost: h\r\nAccept: application/openmetrics-text;version=1.0.0,*/*;q=0.1\r\n\r\n",
         200, "application/openmetrics-text; version=1.0.0", "# EOF\n", "no such"},
        {"GET /metrics HTTP/1.1\r\nHost: h\r\nAccept: image/png\r\n\r\n", 200, "text/plain", "mine_total", "# EOF"},
        {"HEAD /metrics HTTP/1.1\r\nHost: h\r\n\r\n", 200, "text/plain", "Content-Length", "mine_total"},
        {"POST /metrics HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", 405, "application/json", "Allow: GET",
         "mine"},
        {"GET /metricsx HTTP/1.1\r\nHost: h\r\n\r\n", 404, "application/json", "error", "mine"},
        {"GET /metrics HTTP/1.1\r\n\r\n", 400, "application/json", "error", "mine"},
    };
    uint16_t port = 0;
    sl_sdk *sdk = new_sdk();
    sl_prometheus_listener *listener = listen_on(sdk, &port);
    REQUIRE(listener != NULL);
    const sl_instrument_options mine = {.kind = SL_COUNTER, .name = "mine"};
    sl_instrument *counter = sl_instrument_new(sl_meter_named(sdk, "test"), &mine);
    sl_instrument_record(counter, 3, NULL, 0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        nf_message m = nf_ask(port, rows[i].request);
        const char *type = m.data ? nf_field(&m, "Content-Type") : NULL;
        if (m.status != rows[i].status || !type || strncmp(type, rows[i].type, strlen(rows[i].type)) != 0 ||
            !strstr(m.data, rows[i].has) || strstr(m.data, rows[i].has_not))
            sl_test_failed(__FILE__, __LINE__, "row %zu: %d, %.300s", i, m.status, m.data ? m.data : "nothing");
        nf_message_free(&m);
    }
    sl_prometheus_listener_free(listener);
    sl_prometheus_listener_free(NULL);
    sl_sdk_free(sdk);
}

SL_TEST(several_scrapers_at_once)
{
    uint16_t port = 0;
    int fds[12];
    sl_sdk *sdk = new_sdk();
    sl_prometheus_listener *listener = listen_on(sdk, &port);
    REQUIRE(listener != NULL);
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++) {
        fds[i] = nf_connect(port);
        CHECK(nf_send_c(fds[i], "GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n"));
    }
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++) {
        nf_message m = {.status = -1};
        CHECK(nf_read_message(fds[i], false, false, &m));
        CHECK(m.status == 200 && m.complete);
        nf_message_free(&m);
        close(fds[i]);
    }
    sl_prometheus_listener_free(listener);
    sl_sdk_free(sdk);
}

SL_TEST(addresses_that_cannot_be)
{
    uint16_t port = 0;
    sl_sdk *sdk = new_sdk();
    sl_prometheus_listener *first = listen_on(sdk, &port), *second = NULL;
    REQUIRE(first != NULL);
    const sl_addr wanted[] = {
        {.host = "127.0.0.1", .port = port}, {.host = "name.invalid", .port = 0}, {.host = "192.0.2.1", .port = 0}};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        char reason[SL_ADDR_REASON_MAX] = "";
        CHECK_EQ(sl_prometheus_listener_new(sdk, &wanted[i], &second, reason), SL_ECONFIG);
        CHECK(reason[0] && !second);
        CHECK(strstr(reason, wanted[i].host) != NULL);
    }
    sl_prometheus_listener_free(first);
    /* The port is free again at once. */
    char reason[SL_ADDR_REASON_MAX] = "";
    CHECK_EQ(sl_prometheus_listener_new(sdk, &wanted[0], &second, reason), 0);
    sl_prometheus_listener_free(second);
    sl_sdk_free(sdk);
}

SL_TEST(a_listener_without_memory_is_not_made)
{
    sl_sdk *sdk = new_sdk();
    const sl_addr wanted = {.host = "127.0.0.1"};
    for (long n = 0; n < 40; n++) {
        sl_prometheus_listener *listener = NULL;
        char reason[SL_ADDR_REASON_MAX] = "";
        sl_test_fail_alloc(n);
        int error = sl_prometheus_listener_new(sdk, &wanted, &listener, reason);
        bool reached = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        CHECK_EQ(error, reached ? SL_ENOMEM : 0);
        CHECK_EQ(listener != NULL, !error);
        sl_prometheus_listener_free(listener);
        if (!reached)
            break;
    }
    sl_sdk_free(sdk);
}
