/* Tests of the SDK object as programs use it. */
#include <sightline/sdk.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/base/sync.h"
#include "src/net/lite/test_http_server.h"
#include "src/telemetry/sdk_impl.h"
#include "src/wire/otlp_read.h"
#include "tests/harness/sl_test.h"

typedef struct sums {
    _Atomic size_t items[SL_SIGNAL_COUNT];
    _Atomic size_t freed;
    _Atomic int answer;
} sums;

static int sums_deliver(void *user, sl_signal signal, sl_str request, size_t items, uint64_t timeout_ms,
                        uint64_t *ret_retry_after_ms, uint64_t *ret_rejected)
{
    (void)request;
    (void)timeout_ms;
    (void)ret_retry_after_ms;
    (void)ret_rejected;
    sums *s = user;
    if (s->answer)
        return s->answer;
    s->items[signal] += items;
    return 0;
}

static void sums_free(void *user)
{
    ((sums *)user)->freed++;
}

typedef struct said {
    _Atomic unsigned count;
    char last[512];
} said;

static void on_error(void *user, int error, const char *message)
{
    (void)error;
    said *s = user;
    (void)snprintf(s->last, sizeof s->last, "%s", message);
    s->count++;
}

static sl_sdk_options options_of(sl_exporter *exporter, sums *s, said *errors)
{
    *exporter =
        (sl_exporter){.name = "sums", .user = s, .signals = SL_SIGNALS_ALL, .deliver = sums_deliver, .free = sums_free};
    sl_sdk_options o;
    memset(&o, 0, sizeof o);
    o.ignore_environment = true;
    o.no_default_exporters = true;
    o.exporters = exporter;
    o.exporter_count = 1;
    o.on_error = on_error;
    o.on_error_user = errors;
    return o;
}

/* Some of everything. */
static void record(sl_sdk *sdk, int n)
{
    sl_tracer *tracer = sl_tracer_named(sdk, "t");
    sl_logger *logger = sl_logger_named(sdk, "l");
    sl_meter *meter = sl_meter_named(sdk, "m");
    sl_instrument_options o = {.kind = SL_COUNTER, .name = "c"};
    sl_series *series = sl_instrument_bind(sl_instrument_new(meter, &o), NULL, 0);
    for (int i = 0; i < n; i++) {
        sl_span *span = sl_span_start(tracer, SL_STR("s"), NULL);
        sl_span_set_int(span, "i", i);
        sl_log(logger, SL_INFO, "message", NULL, 0);
        sl_counter_add(series, 1);
        sl_span_end(span);
    }
}

SL_TEST(records_and_exports_everything)
{
    sums s = {0};
    said errors = {0};
    sl_exporter e;
    sl_sdk_options o = options_of(&e, &s, &errors);
    sl_sdk *sdk = NULL;
    REQUIRE(sl_sdk_new(&o, &sdk) == 0);
    record(sdk, 100);
    CHECK_EQ(sl_sdk_flush(sdk, 5000), 0);
    CHECK_EQ(s.items[SL_SIGNAL_TRACES], 100);
    CHECK_EQ(s.items[SL_SIGNAL_LOGS], 100);
    CHECK(s.items[SL_SIGNAL_METRICS] > 0);
    sl_sdk_stats stats;
    sl_sdk_get_stats(sdk, SL_SIGNAL_TRACES, &stats);
    CHECK_EQ(stats.started, 100);
    CHECK_EQ(stats.ended, 100);
    CHECK_EQ(stats.exported, 100);
    sl_sdk_get_stats(sdk, SL_SIGNAL_LOGS, &stats);
    CHECK_EQ(stats.started, 100);
    CHECK_EQ(stats.exported, 100);
    CHECK_EQ(sl_sdk_shutdown(sdk, 1000), 0);
    CHECK_EQ(sl_sdk_shutdown(sdk, 1000), SL_ECLOSED);
    CHECK_EQ(sl_sdk_flush(sdk, 1000), SL_ECLOSED);
    record(sdk, 5); /* nothing happens any more */
    sl_sdk_get_stats(sdk, SL_SIGNAL_TRACES, &stats);
    CHECK_EQ(stats.ended, 100);
    CHECK(sl_sdk_health(sdk) != NULL);
    sl_sdk_free(sdk);
    CHECK_EQ(s.freed, 1);
    CHECK_EQ(errors.count, 0);
}

SL_TEST(the_default_sdk)
{
    sl_sdk *sdk = NULL;
    sl_sdk_options o;
    memset(&o, 0, sizeof o);
    o.ignore_environment = true;
    o.no_default_exporters = true;
    CHECK_EQ(sl_sdk_flush(NULL, 10), SL_EINVAL);
    CHECK(sl_sdk_or_default(NULL) == NULL);
    REQUIRE(sl_sdk_new(&o, &sdk) == 0);
    CHECK(sl_sdk_set_default(sdk) == NULL);
    CHECK(sl_sdk_or_default(NULL) == sdk);
    record(NULL, 3);
    sl_sdk_stats stats;
    sl_sdk_get_stats(NULL, SL_SIGNAL_TRACES, &stats);
    CHECK_EQ(stats.ended, 3);
    CHECK_EQ(sl_sdk_flush(NULL, 1000), 0);
    sl_sdk_free(sdk);
    CHECK(sl_sdk_or_default(NULL) == NULL);
    sl_sdk_free(NULL);
    CHECK(sl_sdk_health(NULL) == NULL);
}

SL_TEST(disabled_by_the_environment)
{
    sums s = {0};
    said errors = {0};
    sl_exporter e;
    sl_sdk_options o = options_of(&e, &s, &errors);
    o.ignore_environment = false;
    setenv("OTEL_SDK_DISABLED", "true", 1);
    sl_sdk *sdk = NULL;
    REQUIRE(sl_sdk_new(&o, &sdk) == 0);
    unsetenv("OTEL_SDK_DISABLED");
    record(sdk, 3);
    CHECK_EQ(sl_sdk_flush(sdk, 1000), 0);
    CHECK_EQ(s.items[SL_SIGNAL_TRACES], 0);
    CHECK_EQ(s.freed, 1);
    sl_sdk_free(sdk);
}

SL_TEST(a_configuration_that_cannot_be_fails_the_start)
{
    said errors = {0};
    sl_sdk_options o;
    memset(&o, 0, sizeof o);
    o.on_error = on_error;
    o.on_error_user = &errors;
    setenv("LLAMA_DEPLOY_APISERVER_TRACING_ENABLED", "true", 1);
    setenv("LLAMA_DEPLOY_APISERVER_TRACING_EXPORTER", "carrier-pigeon", 1);
    sl_sdk *sdk = NULL;
    CHECK_EQ(sl_sdk_new(&o, &sdk), SL_ECONFIG);
    unsetenv("LLAMA_DEPLOY_APISERVER_TRACING_ENABLED");
    unsetenv("LLAMA_DEPLOY_APISERVER_TRACING_EXPORTER");
    CHECK(sdk == NULL);
    CHECK_EQ(errors.count, 1);
    CHECK(strstr(errors.last, "carrier-pigeon") != NULL);
    setenv("OTEL_TRACES_EXPORTER", "otlp", 1);
    setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", 1);
    CHECK_EQ(sl_sdk_new(&o, &sdk), SL_ENOTSUP); /* the core library */
    CHECK(strstr(errors.last, "built without") != NULL);
    unsetenv("OTEL_TRACES_EXPORTER");
    unsetenv("OTEL_EXPORTER_OTLP_PROTOCOL");
}

SL_TEST(exports_over_http_by_the_environment)
{
    http_act script[] = {{.answer = "HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n"},
                         {.answer =
                              "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 6\r\n\r\n"
                              "\x0a\x04\x08\x02\x12",
                          .answer_len = 0}};
    static const char partial[] =
        "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 4\r\n\r\n\x0a\x02\x08\x02";
    script[1].answer = partial;
    http_server server;
    REQUIRE(http_start(&server, script, 2, false));
    char endpoint[80];
    (void)snprintf(endpoint, sizeof endpoint, "http://127.0.0.1:%d", server.port);
    setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint, 1);
    setenv("OTEL_METRICS_EXPORTER", "none", 1);
    setenv("OTEL_LOGS_EXPORTER", "none", 1);
    sl_sdk_internal_options internal = {
        .retry_initial_ms = 5, .export_only_when_set = true, .default_service_name = "d"};
    sl_sdk *sdk = NULL;
    CHECK_EQ(sl_sdk_new_internal(NULL, &internal, &sdk), 0);
    unsetenv("OTEL_EXPORTER_OTLP_ENDPOINT");
    unsetenv("OTEL_METRICS_EXPORTER");
    unsetenv("OTEL_LOGS_EXPORTER");
    REQUIRE(sdk);
    record(sdk, 10);
    CHECK_EQ(sl_sdk_flush(sdk, 5000), 0);
    CHECK_EQ(server.requests, 2);
    CHECK(strstr(server.last, "POST /v1/traces HTTP/1.1") != NULL);
    CHECK(strstr(server.last, "User-Agent: OTel-OTLP-Exporter-C/") != NULL);
    sl_sdk_stats stats;
    sl_sdk_get_stats(sdk, SL_SIGNAL_TRACES, &stats);
    CHECK_EQ(stats.exported, 8);
    CHECK_EQ(stats.dropped, 2);
    sl_sdk_free(sdk);
    http_stop(&server);
}

SL_TEST(a_recording_process_and_its_exporting_parent)
{
    sums s = {0};
    said errors = {0};
    sl_exporter e;
    sl_sdk_options o = options_of(&e, &s, &errors);
    sl_segment_options so;
    memset(&so, 0, sizeof so);
    so.wake_fd = -1;
    sl_segment *segment = NULL;
    REQUIRE(sl_segment_new(&so, &segment) == 0);
    sl_sdk_options record_options;
    memset(&record_options, 0, sizeof record_options);
    record_options.ignore_environment = true;
    sl_sdk_internal_options internal = {.segment = segment, .record_only = true};
    sl_sdk *recorder = NULL;
    REQUIRE(sl_sdk_new_internal(&record_options, &internal, &recorder) == 0);
    CHECK(recorder->pipeline == NULL && recorder->collector == NULL);
    record(recorder, 7);
    sl_sdk_stats stats;
    sl_sdk_get_stats(recorder, SL_SIGNAL_TRACES, &stats);
    CHECK_EQ(stats.ended, 7);
    CHECK_EQ(sl_sdk_flush(recorder, 100), 0);
    internal = (sl_sdk_internal_options){.segment = segment};
    sl_sdk *exporter = NULL;
    REQUIRE(sl_sdk_new_internal(&o, &internal, &exporter) == 0);
    CHECK_EQ(sl_sdk_flush(exporter, 5000), 0);
    CHECK_EQ(s.items[SL_SIGNAL_TRACES], 7);
    CHECK_EQ(s.items[SL_SIGNAL_LOGS], 7);
    sl_sdk_free(recorder);
    sl_sdk_free(exporter);
    sl_segment_free(segment);
}

SL_TEST(a_forked_child_does_nothing)
{
    sums s = {0};
    said errors = {0};
    sl_exporter e;
    sl_sdk_options o = options_of(&e, &s, &errors);
    sl_sdk *sdk = NULL;
    REQUIRE(sl_sdk_new(&o, &sdk) == 0);
    record(sdk, 1);
    pid_t child = fork();
    if (child == 0) {
        record(sdk, 100);
        bool ok = sl_sdk_flush(sdk, 1000) == SL_ECLOSED && sl_sdk_shutdown(sdk, 1000) == SL_ECLOSED;
        sl_sdk_free(sdk);
        _exit(ok ? 0 : 1);
    }
    int status = 1;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    CHECK_EQ(sl_sdk_flush(sdk, 1000), 0);
    CHECK_EQ(s.items[SL_SIGNAL_TRACES], 1);
    sl_sdk_free(sdk);
}

/* Attributes, events and what was dropped, of spans and records. */
typedef struct seen {
    _Atomic size_t attrs, events, dropped, records;
} seen;

/* The number in a field of a message; 0 when it is not there. */
static size_t number_in(sl_str message, uint32_t field)
{
    sl_pb_reader r = sl_pb_reader_of(message);
    sl_pb_field f;
    while (sl_pb_next(&r, &f)) {
        if (f.number == field)
            return (size_t)f.value;
    }
    return 0;
}

static int seen_deliver(void *user, sl_signal signal, sl_str request, size_t items, uint64_t timeout_ms,
                        uint64_t *ret_retry_after_ms, uint64_t *ret_rejected)
{
    (void)items;
    (void)timeout_ms;
    (void)ret_retry_after_ms;
    (void)ret_rejected;
    seen *x = user;
    bool is_span = signal == SL_SIGNAL_TRACES;
    sl_otlp_records it = sl_otlp_records_of(request);
    while (sl_otlp_records_next(&it)) {
        x->records++;
        x->attrs += sl_otlp_count(it.item, is_span ? 9 : 6);
        x->events += is_span ? sl_otlp_count(it.item, 11) : 0;
        x->dropped += number_in(it.item, is_span ? 10 : 7) + (is_span ? number_in(it.item, 12) : 0);
    }
    return it.error;
}

/* A limit of 0 in the environment allows none, and says that there was something. */
SL_TEST(limits_of_zero)
{
    seen x = {0};
    sl_exporter e = {.name = "seen", .user = &x, .signals = SL_SIGNALS_ALL, .deliver = seen_deliver};
    sl_sdk_options o;
    memset(&o, 0, sizeof o);
    o.no_default_exporters = true;
    o.exporters = &e;
    o.exporter_count = 1;
    setenv("OTEL_ATTRIBUTE_COUNT_LIMIT", "0", 1);
    setenv("OTEL_SPAN_EVENT_COUNT_LIMIT", "0", 1);
    setenv("SIGHTLINE_SELF_METRICS", "false", 1);
    sl_sdk *sdk = NULL;
    int error = sl_sdk_new(&o, &sdk);
    unsetenv("OTEL_ATTRIBUTE_COUNT_LIMIT");
    unsetenv("OTEL_SPAN_EVENT_COUNT_LIMIT");
    unsetenv("SIGHTLINE_SELF_METRICS");
    REQUIRE(error == 0);
    sl_span *span = sl_span_start(sl_tracer_named(sdk, "t"), SL_STR("s"), NULL);
    sl_span_set_int(span, "i", 1);
    sl_span_set_int(span, "session.id", 2); /* a key with priority is none the less over the limit */
    sl_span_add_event(span, SL_STR("e"), 0, NULL, 0);
    sl_span_end(span);
    sl_attr attr = sl_attr_int("i", 1);
    sl_log(sl_logger_named(sdk, "l"), SL_INFO, "message", &attr, 1);
    CHECK_EQ(sl_sdk_flush(sdk, 5000), 0);
    CHECK_EQ(x.records, 2);
    CHECK_EQ(x.attrs, 0);
    CHECK_EQ(x.events, 0);
    CHECK_EQ(x.dropped, 4); /* two attributes and an event of the span, one attribute of the record */
    sl_sdk_free(sdk);
}

typedef struct largest {
    _Atomic size_t bytes, requests, points, metrics;
} largest;

static int largest_deliver(void *user, sl_signal signal, sl_str request, size_t items, uint64_t timeout_ms,
                           uint64_t *ret_retry_after_ms, uint64_t *ret_rejected)
{
    (void)signal;
    (void)timeout_ms;
    (void)ret_retry_after_ms;
    (void)ret_rejected;
    largest *x = user;
    x->bytes = request.len > x->bytes ? request.len : x->bytes;
    x->requests++;
    x->points += items;
    sl_otlp_records it = sl_otlp_records_of(request);
    while (sl_otlp_records_next(&it))
        x->metrics++;
    return it.error;
}

SL_TEST(large_collections_are_split)
{
    largest x = {0};
    sl_exporter e = {.name = "x", .user = &x, .signals = SL_SIGNAL_BIT(SL_SIGNAL_METRICS), .deliver = largest_deliver};
    sl_sdk_options o;
    memset(&o, 0, sizeof o);
    o.ignore_environment = o.no_default_exporters = true;
    o.exporters = &e;
    o.exporter_count = 1;
    o.batch[SL_SIGNAL_METRICS].max_batch_bytes = 20000;
    sl_sdk *sdk = NULL;
    REQUIRE(sl_sdk_new(&o, &sdk) == 0);
    enum { METRICS = 100, SERIES = 10 };
    for (int i = 0; i < METRICS; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "c%d", i);
        sl_instrument_options io = {.kind = SL_COUNTER, .name = name};
        sl_instrument *instrument = sl_instrument_new(sl_meter_named(sdk, i % 2 ? "a" : "b"), &io);
        for (int k = 0; k < SERIES; k++) {
            sl_attr attr = sl_attr_int("k", k);
            sl_counter_add(sl_instrument_bind(instrument, &attr, 1), 1);
        }
    }
    CHECK_EQ(sl_sdk_flush(sdk, 5000), 0);
    CHECK(x.requests > 2);
    CHECK(x.bytes <= 20000);
    CHECK(x.metrics >= METRICS);
    CHECK(x.points >= METRICS * SERIES);
    sl_sdk_stats stats;
    sl_sdk_get_stats(sdk, SL_SIGNAL_METRICS, &stats);
    CHECK_EQ(stats.exported, x.points);
    CHECK_EQ(stats.ended, x.points);
    sl_sdk_free(sdk);
}

SL_TEST(prometheus_shows_the_sdk_itself)
{
    sums s = {0};
    said errors = {0};
    sl_exporter e;
    sl_sdk_options o = options_of(&e, &s, &errors);
    sl_sdk *sdk = NULL;
    REQUIRE(sl_sdk_new(&o, &sdk) == 0);
    record(sdk, 20);
    CHECK_EQ(sl_sdk_flush(sdk, 5000), 0);
    char *text = NULL;
    size_t len = 0;
    REQUIRE(sl_prometheus_gather(sdk, SL_PROMETHEUS_TEXT, &text, &len) == 0);
    CHECK(strstr(text, "otel_sdk_span_started_total") != NULL);
    CHECK(strstr(text, "otel_sdk_exporter_span_exported_total") != NULL);
    CHECK(strstr(text, "otel_sdk_exporter_operation_duration_seconds_bucket") != NULL);
    free(text);
    sl_sdk_free(sdk);
}

SL_TEST(a_dead_backend_costs_the_caller_nothing)
{
    sums s = {.answer = SL_ERETRY};
    said errors = {0};
    sl_exporter e;
    sl_sdk_options o = options_of(&e, &s, &errors);
    o.batch[SL_SIGNAL_TRACES].max_pending_bytes = 1u << 20;
    sl_sdk *sdk = NULL;
    REQUIRE(sl_sdk_new(&o, &sdk) == 0);
    sl_tracer *tracer = sl_tracer_named(sdk, "t");
    long waits = sl_test_waits();
    enum { SPANS = 100000 };
    for (int i = 0; i < SPANS; i++) {
        sl_span *span = sl_span_start(tracer, SL_STR("name"), NULL);
        sl_span_set_str(span, "key", "value");
        sl_span_end(span);
    }
    CHECK(sl_test_waits() - waits < SPANS / 1000); /* none but the kernel's own */
    sl_sdk_stats stats;
    uint64_t start = sl_mono_ns();
    (void)sl_sdk_shutdown(sdk, 500);
    CHECK(sl_mono_ns() - start < 10000000000u); /* twenty deadlines: it ends, even on a busy machine */
    sl_sdk_get_stats(sdk, SL_SIGNAL_TRACES, &stats);
    CHECK_EQ(stats.started, SPANS);
    CHECK_EQ(stats.ended, SPANS);
    CHECK_EQ(stats.exported + stats.dropped, SPANS);
    sl_sdk_free(sdk);
    CHECK(errors.count > 0 && errors.count < 20);
}

SL_TEST(every_allocation_failing_in_turn)
{
    bool hit = true;
    long n = 0;
    for (; hit && n < 3000; n++) {
        sums s = {0};
        said errors = {0};
        sl_exporter e;
        sl_sdk_options o = options_of(&e, &s, &errors);
        o.log_to_stderr = false;
        sl_sdk *sdk = NULL;
        sl_test_fail_alloc(n);
        int error = sl_sdk_new(&o, &sdk);
        if (!error) {
            record(sdk, 3);
            (void)(sl_sdk_flush(sdk, 1000) == 0);
            (void)sl_sdk_shutdown(sdk, 1000);
            sl_sdk_stats stats;
            sl_sdk_get_stats(sdk, SL_SIGNAL_TRACES, &stats);
            CHECK_EQ(stats.exported + stats.dropped, stats.ended);
            sl_sdk_free(sdk);
        } else {
            CHECK_EQ(error, SL_ENOMEM);
            CHECK(sdk == NULL);
        }
        hit = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        CHECK_EQ(s.freed, 1);
    }
    CHECK(!hit);
    CHECK(n > 50);
}
