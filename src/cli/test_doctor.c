/* The checks of `doctor` over planted environments, pages and servers. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/mem.h"
#include "src/cli/doctor_env.h"
#include "src/cli/doctor_net.h"
#include "tests/harness/sl_test.h"

/* An environment of NAME, VALUE pairs. */
static const char *find(void *user, const char *name)
{
    const char *const *pairs = user;
    for (; *pairs; pairs += 2) {
        if (strcmp(pairs[0], name) == 0)
            return pairs[1];
    }
    return NULL;
}

static sl_doctor *examine(const char *const *pairs)
{
    sl_doctor *doctor = sl_calloc(1, sizeof *doctor);
    sl_doctor_init(doctor);
    sl_env env = {.get = find, .user = (void *)(uintptr_t)pairs};
    sl_doctor_environment(doctor, &env);
    sl_doctor_multiproc(doctor, &env);
    sl_doctor_endpoints(doctor, &env, 200);
    return doctor;
}

static void discharge(sl_doctor *doctor)
{
    sl_doctor_done(doctor);
    sl_free(doctor);
}

/* True when a row of that name and level mentions `text`. */
static bool has(const sl_doctor *doctor, sl_doctor_level level, const char *name, const char *text)
{
    for (size_t i = 0; i < doctor->count; i++) {
        const sl_doctor_row *row = &doctor->rows[i];
        if (row->level == level && sl_str_eq_c(row->name, name) && sl_str_find(row->seen, sl_str_c(text)) != SL_NPOS)
            return true;
    }
    return false;
}

SL_TEST(an_empty_environment_is_sound)
{
    static const char *const env[] = {NULL};
    sl_doctor *doctor = examine(env);
    CHECK_EQ(doctor->failures, 0);
    CHECK(has(doctor, SL_DOCTOR_OK, "environment", ""));
    CHECK(has(doctor, SL_DOCTOR_OK, "sampler", "every trace"));
    CHECK(has(doctor, SL_DOCTOR_WARN, "traces exporter", "no endpoint is set"));
    CHECK(has(doctor, SL_DOCTOR_OK, "log level", "INFO"));
    discharge(doctor);
}

SL_TEST(each_fault_of_the_environment)
{
    static const struct {
        const char *env[7];
        sl_doctor_level level;
        const char *name;
        const char *text;
    } rows[] = {
        {{"OTEL_TRACES_EXPORTER", "none", "OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1"},
         SL_DOCTOR_WARN,
         "traces exporter",
         "although"},
        {{"OTEL_TRACES_EXPORTER", "console"}, SL_DOCTOR_OK, "traces exporter", ""},
        {{"OTEL_TRACES_SAMPLER", "parentbased_always_off"}, SL_DOCTOR_WARN, "sampler", "always_off"},
        {{"OTEL_TRACES_SAMPLER", "traceidratio", "OTEL_TRACES_SAMPLER_ARG", "0"}, SL_DOCTOR_WARN, "sampler", "ratio 0"},
        {{"OTEL_TRACES_SAMPLER", "traceidratio", "OTEL_TRACES_SAMPLER_ARG", "0.001"},
         SL_DOCTOR_WARN,
         "sampler",
         "1 trace in 1000"},
        {{"LLMROUTER_OTEL_SAMPLE_RATE", "0.1"}, SL_DOCTOR_OK, "sampler", "10 %"},
        {{"OTEL_TRACES_SAMPLER", "always_off", "OTEL_TRACES_EXPORTER", "console"},
         SL_DOCTOR_FAIL,
         "sampler",
         "always_off"},
        {{"OTEL_TRACES_SAMPLER", "sometimes"}, SL_DOCTOR_WARN, "environment", "OTEL_TRACES_SAMPLER"},
        {{"OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1"}, SL_DOCTOR_FAIL, "endpoint", "refused"},
        {{"OTEL_TRACES_EXPORTER", "jaeger", "OTEL_EXPORTER_JAEGER_ENDPOINT", "127.0.0.1:1"},
         SL_DOCTOR_FAIL,
         "endpoint",
         "http://127.0.0.1:1/api/traces (Jaeger, Thrift): "},
        {{"OTEL_TRACES_EXPORTER", "zipkin", "OTEL_EXPORTER_ZIPKIN_ENDPOINT", "http://127.0.0.1:1"},
         SL_DOCTOR_FAIL,
         "endpoint",
         "http://127.0.0.1:1/api/v2/spans (Zipkin, JSON): "},
        {{"LLAMA_DEPLOY_APISERVER_TRACING_ENABLED", "true", "LLAMA_DEPLOY_APISERVER_TRACING_EXPORTER", "jaeger",
          "LLAMA_DEPLOY_APISERVER_TRACING_ENDPOINT", "127.0.0.1:1"},
         SL_DOCTOR_FAIL,
         "endpoint",
         "http://127.0.0.1:1/api/traces (Jaeger, Thrift): "},
        {{"OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317"}, SL_DOCTOR_OK, "endpoint", "gRPC is used"},
        {{"OTEL_EXPORTER_OTLP_ENDPOINT", "not a url"}, SL_DOCTOR_WARN, "environment", "OTEL_EXPORTER_OTLP_ENDPOINT"},
        {{"LOG_LEVEL", "loud"}, SL_DOCTOR_FAIL, "log level", "loud"},
        {{"LOG_LEVEL", "critical"}, SL_DOCTOR_OK, "log level", "critical"},
        {{"LOG_QUERIES", "yes"}, SL_DOCTOR_WARN, "privacy", "LOG_QUERIES"},
        {{"OTEL_SDK_DISABLED", "true"}, SL_DOCTOR_WARN, "telemetry", "OTEL_SDK_DISABLED"},
        {{"LLAMA_DEPLOY_APISERVER_TRACING_EXPORTER", "otlp"}, SL_DOCTOR_WARN, "tracing", "not enabled"},
        {{"PROMETHEUS_MULTIPROC_DIR", "/nonexistent"}, SL_DOCTOR_FAIL, "multiprocess folder", "/nonexistent"},
        {{"PROMETHEUS_MULTIPROC_DIR", "/etc/passwd"}, SL_DOCTOR_FAIL, "multiprocess folder", "no folder"},
        {{"PROMETHEUS_MULTIPROC_DIR", "/dev/shm"}, SL_DOCTOR_OK, "multiprocess folder", "can be written"},
        {{"OTEL_EXPORTER_OTLP_HEADERS", "a=planted-secret"}, SL_DOCTOR_OK, "exporter headers", "not shown"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sl_doctor *doctor = examine(rows[i].env);
        CHECK(has(doctor, rows[i].level, rows[i].name, rows[i].text));
        if (!has(doctor, rows[i].level, rows[i].name, rows[i].text))
            fprintf(stderr, "row %zu: %s=%s\n", i, rows[i].env[0], rows[i].env[1]);
        for (size_t r = 0; r < doctor->count; r++)
            CHECK(sl_str_find(doctor->rows[r].seen, SL_STR("planted-secret")) == SL_NPOS);
        discharge(doctor);
    }
}

SL_TEST(names_that_nobody_reads)
{
    char *environment[] = {"OTEL_SERVICE_NAME=x",  "OTEL_TRACE_SAMPLER=x", "PATH=/bin",
                           "SIGHTLINE_NONSENSE=1", "SIGHTLINE_KEY=k",      NULL};
    sl_doctor *doctor = sl_calloc(1, sizeof *doctor);
    sl_doctor_init(doctor);
    sl_doctor_unknown_names(doctor, environment);
    CHECK_EQ(doctor->count, 2);
    CHECK(has(doctor, SL_DOCTOR_WARN, "environment", "OTEL_TRACE_SAMPLER is set"));
    CHECK(has(doctor, SL_DOCTOR_WARN, "environment", "SIGHTLINE_NONSENSE is set"));
    discharge(doctor);
}

SL_TEST(metrics_pages)
{
    static const struct {
        const char *type;
        const char *page;
        sl_doctor_level level;
        const char *text;
    } rows[] = {{"text/plain; version=0.0.4", "sightline_build_info{version=\"1\"} 1\n", SL_DOCTOR_OK, "1 samples"},
                {"application/openmetrics-text", "sightline_build_info 1\n# EOF\n", SL_DOCTOR_OK, ""},
                {"text/plain", "up 1\n", SL_DOCTOR_WARN, "not with Sightline's"},
                {"text/html", "<html>\n", SL_DOCTOR_FAIL, "no page"},
                {"text/plain", "sightline_build_info 1\nbad line here\n", SL_DOCTOR_FAIL, "line 2"},
                {"text/plain", "sightline_build_info 1\na 1\na 2\n", SL_DOCTOR_FAIL, "stands twice"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sl_doctor *doctor = sl_calloc(1, sizeof *doctor);
        sl_doctor_init(doctor);
        sl_doctor_metrics_page(doctor, "http://h/metrics", sl_str_c(rows[i].type), sl_str_c(rows[i].page));
        CHECK(has(doctor, rows[i].level, "metrics", rows[i].text));
        CHECK_EQ(doctor->count, 1);
        discharge(doctor);
    }
    sl_doctor *doctor = sl_calloc(1, sizeof *doctor);
    sl_doctor_init(doctor);
    sl_doctor_metrics_page(
        doctor, "u", SL_STR("text/plain"),
        SL_STR("sightline_build_info 1\notel_sdk_exporter_span_exported_total{error_type=\"timeout\"} 3\n"
               "otel_sdk_exporter_span_exported_total{} 9\n"));
    CHECK(has(doctor, SL_DOCTOR_WARN, "export", "3 lost or refused (timeout)"));
    CHECK_EQ(doctor->count, 2);
    discharge(doctor);
}

SL_TEST(connecting)
{
    char reason[SL_DOCTOR_REASON_MAX] = "";
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(fd >= 0 && bind(fd, (struct sockaddr *)&address, size) == 0 && listen(fd, 4) == 0);
    REQUIRE(getsockname(fd, (struct sockaddr *)&address, &size) == 0);
    CHECK_EQ(sl_doctor_connect(SL_STR("127.0.0.1"), ntohs(address.sin_port), 1000, reason), 0);
    close(fd);
    CHECK_EQ(sl_doctor_connect(SL_STR("127.0.0.1"), ntohs(address.sin_port), 1000, reason), SL_ECONNECT);
    CHECK(strstr(reason, "refused"));
    CHECK_EQ(sl_doctor_connect(SL_STR("does-not-exist.invalid"), 1, 1000, reason), SL_ERESOLVE);
}

SL_TEST(both_forms_of_the_report)
{
    sl_doctor *doctor = sl_calloc(1, sizeof *doctor);
    sl_buf out;
    sl_buf_init(&out, 1 << 16);
    sl_doctor_init(doctor);
    sl_doctor_say(doctor, SL_DOCTOR_OK, "first", NULL, "seen %d", 1);
    sl_doctor_say(doctor, SL_DOCTOR_FAIL, "second", "mend it", "http://user:planted@host/x \033[2J");
    CHECK_EQ(sl_doctor_text(doctor, false, &out), 0);
    CHECK_STR(sl_buf_str(&out), "ok   first: seen 1\nFAIL second: http://************@host/x  [2J; mend it\n");
    sl_buf_clear(&out);
    CHECK_EQ(sl_doctor_json(doctor, &out), 0);
    CHECK_STR(sl_buf_str(&out),
              "{\"ok\":false,\"failures\":1,\"warnings\":0,\"checks\":[{\"name\":\"first\",\"status\":\"ok\",\"seen\":"
              "\"seen 1\","
              "\"remedy\":\"\"},{\"name\":\"second\",\"status\":\"FAIL\",\"seen\":\"http://************@host/x  [2J\","
              "\"remedy\":\"mend it\"}]}\n");
    for (int i = 0; i < SL_DOCTOR_MAX_ROWS + 10; i++)
        sl_doctor_say(doctor, SL_DOCTOR_WARN, "more", NULL, "x");
    CHECK_EQ(doctor->count, SL_DOCTOR_MAX_ROWS);
    CHECK_EQ(doctor->warnings, SL_DOCTOR_MAX_ROWS + 10);
    sl_buf_done(&out);
    discharge(doctor);
}
