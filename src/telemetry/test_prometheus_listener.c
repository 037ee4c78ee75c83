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

/* ---- OTEL_METRICS_EXPORTER=prometheus ---- */

/* What the SDK has said last. */
static void note(void *user, int error, const char *message)
{
    (void)error;
    (void)snprintf(user, 512, "%s", message);
}

/* An SDK as the environment says, with that host (NULL: not set) and port. */
static int sdk_of_environment(const char *host, uint16_t port, const char *disabled, char said[512], sl_sdk **ret_sdk)
{
    char text[16];
    const sl_sdk_options options = {.on_error = note, .on_error_user = said};
    said[0] = 0;
    (void)snprintf(text, sizeof text, "%u", port);
    (void)setenv("OTEL_METRICS_EXPORTER", "prometheus", 1);
    (void)setenv("OTEL_TRACES_EXPORTER", "none", 1);
    (void)setenv("OTEL_LOGS_EXPORTER", "none", 1);
    (void)setenv("OTEL_SDK_DISABLED", disabled, 1);
    (void)setenv("OTEL_EXPORTER_PROMETHEUS_PORT", text, 1);
    if (host)
        (void)setenv("OTEL_EXPORTER_PROMETHEUS_HOST", host, 1);
    int error = sl_sdk_new(&options, ret_sdk);
    static const char *const names[] = {"OTEL_METRICS_EXPORTER", "OTEL_TRACES_EXPORTER",
                                        "OTEL_LOGS_EXPORTER",    "OTEL_EXPORTER_PROMETHEUS_PORT",
                                        "OTEL_SDK_DISABLED",     "OTEL_EXPORTER_PROMETHEUS_HOST"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        (void)unsetenv(names[i]);
    return error;
}

static uint16_t free_port(void)
{
    uint16_t port;
    close(nf_listen(&port));
    return port;
}

/* Whether anybody listens there. */
static bool is_open(const char *address, uint16_t port)
{
    struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = htons(port)};
    (void)inet_pton(AF_INET, address, &peer.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool open = connect(fd, (struct sockaddr *)&peer, sizeof peer) == 0;
    close(fd);
    return open;
}

SL_TEST(the_environment_turns_it_on)
{
    static const char *const hosts[] = {NULL, "localhost", "127.0.0.1", "0.0.0.0"};
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        uint16_t port = free_port();
        char said[512];
        sl_sdk *sdk = NULL;
        REQUIRE(sdk_of_environment(hosts[i], port, "false", said, &sdk) == 0);
        CHECK_STR(sl_str_c(said), "");
        const sl_instrument_options mine = {.kind = SL_COUNTER, .name = "mine"};
        sl_instrument_record(sl_instrument_new(sl_meter_named(sdk, "test"), &mine), 5, NULL, 0);
        nf_message m = nf_ask(port, "GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n");
        CHECK_EQ(m.status, 200);
        CHECK(m.data && strstr(m.data, "mine_total{otel_scope_name=\"test\"} 5\n"));
        if (!hosts[i] || hosts[i][0] != '0')
            CHECK(!is_open("127.0.0.2", port)); /* nowhere but there */
        nf_message_free(&m);
        CHECK_EQ(sl_sdk_shutdown(sdk, 2000), 0);
        sl_sdk_free(sdk);
        CHECK(!is_open("127.0.0.1", port)); /* gone with its SDK */
    }
}

SL_TEST(a_port_that_is_taken_fails_the_start_and_says_so)
{
    uint16_t port;
    char said[512];
    sl_sdk *sdk = NULL;
    int fd = nf_listen(&port);
    CHECK_EQ(sdk_of_environment("127.0.0.1", port, "false", said, &sdk), SL_ECONFIG);
    CHECK(!sdk);
    CHECK(strstr(said, "OTEL_METRICS_EXPORTER=prometheus: ") != NULL);
    CHECK(strstr(said, "is taken by another program") != NULL);
    CHECK_EQ(sdk_of_environment("no-such-host.invalid", 0, "false", said, &sdk), SL_ECONFIG);
    CHECK(strstr(said, "no-such-host.invalid") != NULL);
    close(fd);
}

SL_TEST(who_is_disabled_does_not_listen)
{
    uint16_t port = free_port();
    char said[512];
    sl_sdk *sdk = NULL;
    REQUIRE(sdk_of_environment("127.0.0.1", port, "true", said, &sdk) == 0);
    CHECK(!is_open("127.0.0.1", port));
    sl_sdk_free(sdk);
}

/* Longer than any host name: never every address instead. */
SL_TEST(a_host_too_long_is_not_all_addresses)
{
    for (size_t len = 252; len <= 258; len++) {
        char host[300], said[512];
        sl_sdk *sdk = NULL;
        memset(host, 'a', sizeof host);
        host[len] = 0;
        uint16_t port = free_port();
        int error = sdk_of_environment(host, port, "false", said, &sdk);
        if (!error) {
            CHECK(!is_open("127.0.0.2", port)); /* localhost alone */
        } else {
            CHECK_EQ(error, SL_ECONFIG);
            CHECK(said[0] != 0);
        }
        sl_sdk_free(sdk);
    }
}
