/* Tests of the OTLP/gRPC exporter: what each answer of a collector means for the data, and what is told about it. */
#include "src/export/otlp_grpc.h"

#include <signal.h>

#include "src/base/clock.h"
#include "src/export/test_grpc_server.h"
#include "src/telemetry/exporter_factory.h"
#include "tests/harness/sl_test.h"

typedef struct said {
    int count;
    int error;
    char last[512];
} said;

static void on_error(void *user, int error, const char *message)
{
    said *s = user;
    s->count++;
    s->error = error;
    (void)snprintf(s->last, sizeof s->last, "%s", message);
}

/* An exporter of `spec` to a port, made by the name that OTEL_*_EXPORTER has. */
static int make(sl_exporter_spec *spec, const char *scheme, int port, said *errors, sl_exporter *ret)
{
    char url[96], why[256] = "";
    (void)signal(SIGPIPE, SIG_IGN);
    memset(errors, 0, sizeof *errors);
    (void)snprintf(url, sizeof url, "%s://127.0.0.1:%d", scheme, port);
    spec->kind = sl_exporter_kind_named(SL_STR("otlp"), spec->signal);
    spec->protocol = SL_OTLP_GRPC;
    spec->peer.url = sl_str_c(url);
    spec->reporter = sl_reporter_new(on_error, errors, false);
    int error = sl_exporter_make(spec, ret, why, sizeof why);
    sl_reporter_unref(spec->reporter);
    if (error)
        (void)snprintf(errors->last, sizeof errors->last, "%s", why);
    return error;
}

static int deliver(const sl_exporter *e, sl_signal signal, uint64_t timeout_ms, uint64_t *retry_ms, uint64_t *rejected)
{
    *retry_ms = *rejected = 0;
    return e->deliver(e->user, signal, SL_STR("\x0a\x00"), 1, timeout_ms, retry_ms, rejected);
}

/* google.rpc.Status with a RetryInfo of 2 s, as base64 without padding. */
static const char retry_info[] = "CAgaMAoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIECgIIAg";

/* A delivery to a server that answers as `r` says. */
typedef struct delivery {
    said errors;
    int error;
    uint64_t retry_ms, rejected;
} delivery;

static void deliver_to(const reply *r, sl_signal signal, delivery *ret)
{
    grpc_server s;
    sl_exporter e;
    sl_exporter_spec spec = {.signal = signal};
    server_start(&s, r, 1, NULL, false);
    REQUIRE(make(&spec, "http", s.port, &ret->errors, &e) == 0);
    ret->error = deliver(&e, signal, 3000, &ret->retry_ms, &ret->rejected);
    e.free(e.user);
    server_stop(&s);
}

SL_TEST(what_each_status_means)
{
    static const struct {
        reply reply;
        int error;
        uint64_t rejected;
        const char *told;
    } rows[] = {
        {{.status = 0}, 0, 0, ""},
        /* Partly refused: 3 items, with a reason. */
        {{.status = 0, .body = "\x0a\x08\x08\x03\x12\x04none", .body_len = 10}, 0, 3, "none"},
        /* To be tried again. */
        {{.status = 1, .trailers_only = true}, SL_ERETRY, 0, "CANCELLED"},
        {{.status = 4, .trailers_only = true}, SL_ERETRY, 0, "DEADLINE_EXCEEDED"},
        {{.status = 10, .trailers_only = true}, SL_ERETRY, 0, "ABORTED"},
        {{.status = 11, .trailers_only = true}, SL_ERETRY, 0, "OUT_OF_RANGE"},
        {{.status = 14, .message = "busy%20now", .trailers_only = true}, SL_ERETRY, 0, "busy now"},
        {{.status = 15, .trailers_only = true}, SL_ERETRY, 0, "DATA_LOSS"},
        /* Lost. */
        {{.status = 2, .trailers_only = true}, SL_EREFUSED, 0, "UNKNOWN"},
        {{.status = 3, .message = "bad span", .trailers_only = true}, SL_EREFUSED, 0, "bad span"},
        {{.status = 7, .trailers_only = true}, SL_EREFUSED, 0, "PERMISSION_DENIED"},
        {{.status = 8, .trailers_only = true}, SL_EREFUSED, 0, "RESOURCE_EXHAUSTED"}, /* does not say when */
        {{.status = 12, .trailers_only = true}, SL_EREFUSED, 0, "UNIMPLEMENTED"},
        {{.status = 16, .trailers_only = true}, SL_EREFUSED, 0, "UNAUTHENTICATED"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        delivery d;
        deliver_to(&rows[i].reply, SL_SIGNAL_TRACES, &d);
        if (d.error != rows[i].error || d.rejected != rows[i].rejected || !strstr(d.errors.last, rows[i].told))
            sl_test_failed(__FILE__, __LINE__, "row %zu: %d, %llu rejected, \"%s\"", i, d.error,
                           (unsigned long long)d.rejected, d.errors.last);
        CHECK_EQ(d.errors.count, rows[i].told[0] != 0);
    }
}

SL_TEST(a_collector_may_say_when)
{
    static const int statuses[] = {8, 14};
    for (size_t i = 0; i < 2; i++) {
        reply r = {.status = statuses[i], .details = retry_info, .trailers_only = true};
        delivery d;
        deliver_to(&r, SL_SIGNAL_LOGS, &d);
        CHECK_EQ(d.error, SL_ERETRY);
        CHECK_EQ(d.retry_ms, 2000);
    }
}

SL_TEST(each_signal_has_its_service)
{
    static const struct {
        sl_signal signal;
        const char *path;
    } rows[] = {
        {SL_SIGNAL_TRACES, ":path: /opentelemetry.proto.collector.trace.v1.TraceService/Export\n"},
        {SL_SIGNAL_METRICS, ":path: /opentelemetry.proto.collector.metrics.v1.MetricsService/Export\n"},
        {SL_SIGNAL_LOGS, ":path: /opentelemetry.proto.collector.logs.v1.LogsService/Export\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        reply ok = {0};
        grpc_server s;
        said errors;
        sl_exporter e;
        const sl_http_post_header headers[] = {{SL_STR("x-tenant"), SL_STR("a b")}, {SL_STR("api-key"), SL_STR("k")}};
        sl_exporter_spec spec = {.signal = rows[i].signal, .peer = {.headers = headers, .header_count = 2}};
        uint64_t retry_ms, rejected;
        server_start(&s, &ok, 1, NULL, false);
        REQUIRE(make(&spec, "http", s.port, &errors, &e) == 0);
        CHECK_EQ(e.signals, SL_SIGNAL_BIT(rows[i].signal));
        CHECK_STR(sl_str_c(e.name), "otlp/grpc");
        CHECK_EQ(deliver(&e, rows[i].signal, 3000, &retry_ms, &rejected), 0);
        pthread_mutex_lock(&s.lock);
        CHECK(strstr(s.headers, rows[i].path) != NULL);
        CHECK(strstr(s.headers, "x-tenant: a b\n") != NULL);
        CHECK(strstr(s.headers, "api-key: k\n") != NULL);
        CHECK(strstr(s.headers, "user-agent: ") != NULL);
        CHECK_STR_EQ(sl_buf_str(&s.request), sl_str_of("\0\0\0\0\2\x0a\0", 7));
        pthread_mutex_unlock(&s.lock);
        e.free(e.user);
        server_stop(&s);
    }
}

SL_TEST(who_is_not_there_is_tried_again)
{
    reply ok = {0};
    grpc_server s;
    said errors;
    sl_exporter e;
    sl_exporter_spec spec = {.signal = SL_SIGNAL_TRACES};
    uint64_t retry_ms, rejected;
    server_start(&s, &ok, 1, NULL, false);
    int port = s.port;
    server_stop(&s);
    REQUIRE(make(&spec, "http", port, &errors, &e) == 0); /* the collector may start later than we */
    CHECK_EQ(deliver(&e, SL_SIGNAL_TRACES, 1000, &retry_ms, &rejected), SL_ERETRY);
    CHECK_EQ(errors.count, 1);
    CHECK(strstr(errors.last, "otlp: ") == errors.last);
    CHECK(strstr(errors.last, "127.0.0.1") != NULL);
    e.free(e.user);
}

SL_TEST(its_own_time_counts_when_it_is_shorter)
{
    reply silent = {.hang = true};
    grpc_server s;
    said errors;
    sl_exporter e;
    sl_exporter_spec spec = {.signal = SL_SIGNAL_TRACES, .timeout_ms = 150};
    uint64_t retry_ms, rejected;
    server_start(&s, &silent, 1, NULL, false);
    REQUIRE(make(&spec, "http", s.port, &errors, &e) == 0);
    uint64_t before = sl_mono_ns();
    CHECK_EQ(deliver(&e, SL_SIGNAL_TRACES, 30000, &retry_ms, &rejected), SL_ERETRY);
    CHECK(sl_mono_ns() - before < 10000u * 1000000u);
    e.free(e.user);
    server_stop(&s);
}

/* What comes again and again for the same data is not tried again. */
SL_TEST(a_peer_that_speaks_otherwise)
{
    static const struct {
        reply reply;
        int error;
    } rows[] = {
        {{.http_status = "404", .content_type = "text/html", .no_status = true}, SL_EREFUSED},
        {{.http_status = "503", .content_type = "text/html", .no_status = true}, SL_ERETRY},
        {{.http_status = "401", .content_type = "text/html", .no_status = true}, SL_EREFUSED},
        {{.no_status = true}, SL_EREFUSED},
        {{.drop = true}, SL_ERETRY},
        {{.reset = NGHTTP2_ENHANCE_YOUR_CALM}, SL_EREFUSED},
        {{.reset = NGHTTP2_INADEQUATE_SECURITY}, SL_EREFUSED},
        {{.reset = NGHTTP2_REFUSED_STREAM}, SL_ERETRY},
        {{.reset = NGHTTP2_CANCEL}, SL_ERETRY},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        delivery d;
        deliver_to(&rows[i].reply, SL_SIGNAL_TRACES, &d);
        if (d.error != rows[i].error || !d.errors.last[0])
            sl_test_failed(__FILE__, __LINE__, "row %zu: %d, \"%s\"", i, d.error, d.errors.last);
    }
}

/* The message's length, or its compression, is not what the prefix says. */
SL_TEST(a_malformed_message_is_final)
{
    static const reply rows[] = {{.body = "not gzip", .body_len = 8, .encoding = "gzip"},
                                 {.body = "body", .body_len = 4, .encoding = "br"}}; /* as we cannot undo */
    delivery d;
    for (size_t i = 0; i < 2; i++) {
        deliver_to(&rows[i], SL_SIGNAL_TRACES, &d);
        CHECK_EQ(d.error, SL_EPROTO);
    }
    CHECK(strstr(d.errors.last, "malformed gRPC message") != NULL);
}

SL_TEST(settings_that_cannot_work_fail_the_start)
{
    static const struct {
        const char *name, *value;
    } bad[] = {
        {"te", "trailers"},
        {"Content-Type", "x"},
        {"grpc-timeout", "1S"},
        {":path", "/x"},
        {"", "x"},
        {"user-agent", "x"},
        {"x y", "x"},
        {"host", "x"},
        {"X-Big", "x"},
        {"connection", "close"},
        {"transfer-encoding", ""},
        {"x-line", "a\nb"},
    };
    said errors;
    sl_exporter e;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const sl_http_post_header header = {sl_str_c(bad[i].name), sl_str_c(bad[i].value)};
        sl_exporter_spec spec = {.signal = SL_SIGNAL_TRACES, .peer = {.headers = &header, .header_count = 1}};
        int error = make(&spec, "http", 1, &errors, &e);
        if (error != SL_ECONFIG || !strstr(errors.last, "a header that gRPC does not allow") ||
            !strstr(errors.last, bad[i].name))
            sl_test_failed(__FILE__, __LINE__, "row %zu: %d, \"%s\"", i, error, errors.last);
    }
    sl_exporter_spec spec = {.signal = SL_SIGNAL_TRACES, .peer = {.ca_file = SL_STR("/nonexistent.pem")}};
    CHECK_EQ(make(&spec, "https", 1, &errors, &e), SL_ECONFIG);
    CHECK(strstr(errors.last, "/nonexistent.pem") != NULL);
    CHECK_EQ(make(&spec, "ftp", 1, &errors, &e), SL_ECONFIG);
    CHECK(strstr(errors.last, "ftp://127.0.0.1:1") != NULL);
}

SL_TEST(an_exporter_without_memory_is_not_made)
{
    bool hit = true;
    for (long n = 0; hit && n < 50; n++) {
        char why[256] = "";
        const sl_http_post_header header = {SL_STR("a"), SL_STR("b")};
        sl_exporter_spec spec = {.kind = sl_exporter_kind_named(SL_STR("otlp"), SL_SIGNAL_TRACES),
                                 .protocol = SL_OTLP_GRPC,
                                 .peer = {.url = SL_STR("http://127.0.0.1:1"), .headers = &header, .header_count = 1}};
        sl_exporter e;
        sl_test_fail_alloc(n);
        int error = sl_exporter_make(&spec, &e, why, sizeof why);
        hit = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        CHECK_EQ(error, hit ? SL_ENOMEM : 0);
        if (!error)
            e.free(e.user);
    }
    CHECK(!hit);
}
