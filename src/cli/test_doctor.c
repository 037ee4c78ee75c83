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
#include "src/wire/json_scan.h"
#include "tests/harness/sl_chance.h"
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

/* A report is pasted into tickets: no password of a URL is in it, wherever the URL stands and wherever it is cut. */
SL_TEST(passwords_of_urls_are_blotted_out)
{
    static const struct {
        const char *seen, *shown;
    } cases[] = {
        {"http://host/x", "http://host/x"},
        {"http://me@host/x", "http://**@host/x"},
        {"http://me:secret@host", "http://*********@host"},
        {"http://me:se@cret@host:1/x", "http://**********@host:1/x"},
        {"http://host/a@b", "http://host/a@b"},
        {"nats://a:b@h1,nats://c:d@h2", "nats://***@h1,nats://***@h2"},
        {"a http://a:b@h, then https://c:d@i; e@f", "a http://***@h, then https://***@i; e@f"},
        {"\"http://a:b@h\"", "\"http://***@h\""},
        {"://", "://"},
        {"http://@h", "http://@h"},
        {"a@b://c@d", "a@b://*@d"},
        {"mail@example.test", "mail@example.test"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sl_doctor *doctor = sl_calloc(1, sizeof *doctor);
        sl_doctor_init(doctor);
        sl_doctor_say(doctor, SL_DOCTOR_FAIL, "n", cases[i].seen, "%s", cases[i].seen);
        CHECK_STR(doctor->rows[0].seen, cases[i].shown);
        CHECK_STR(doctor->rows[0].remedy, cases[i].shown);
        discharge(doctor);
    }
    /* However long what stands before: cut anywhere in the URL, nothing of the password is left. */
    for (size_t before = SL_DOCTOR_MAX_TEXT - 40; before < SL_DOCTOR_MAX_TEXT; before++) {
        char text[2 * SL_DOCTOR_MAX_TEXT];
        memset(text, '.', before);
        (void)snprintf(text + before, sizeof text - before, "http://me:SESAME@host/");
        sl_doctor *doctor = sl_calloc(1, sizeof *doctor);
        sl_doctor_init(doctor);
        sl_doctor_say(doctor, SL_DOCTOR_WARN, "n", text, "%s", text);
        CHECK(sl_str_find(doctor->rows[0].seen, SL_STR("me:S")) == SL_NPOS);
        CHECK(sl_str_find(doctor->rows[0].remedy, SL_STR("me:S")) == SL_NPOS);
        CHECK(doctor->rows[0].seen.len < SL_DOCTOR_MAX_TEXT);
        discharge(doctor);
    }
}

/* Both forms are whole characters, and one line for each row, whatever the texts hold. */
SL_TEST(rows_of_any_bytes)
{
    static const char *const pieces[] = {"a", " ", "\n", "\033", "\x7f", "\xc3\xa9", "\xe2\x82\xac", "\"", "\\"};
    uint64_t state = 9;
    for (unsigned round = 0; round < 100; round++) {
        sl_doctor *doctor = sl_calloc(1, sizeof *doctor);
        sl_buf out;
        sl_json_value root;
        sl_buf_init(&out, 1u << 20);
        sl_doctor_init(doctor);
        unsigned rows = 1 + sl_chance(&state, 5), failures = 0;
        for (unsigned r = 0; r < rows; r++) {
            char text[4 * SL_DOCTOR_MAX_TEXT] = "";
            size_t len = 0, wanted = sl_chance(&state, 2) ? 3 * SL_DOCTOR_MAX_TEXT : 30;
            while (len < wanted)
                len += (size_t)sprintf(text + len, "%s", pieces[sl_chance(&state, 9)]);
            sl_doctor_level level = (sl_doctor_level)sl_chance(&state, 3);
            failures += level == SL_DOCTOR_FAIL;
            sl_doctor_say(doctor, level, "name", sl_chance(&state, 2) ? text : NULL, "%s", text);
        }
        CHECK_EQ(sl_doctor_text(doctor, false, &out), 0);
        CHECK(sl_utf8_valid(sl_buf_str(&out)));
        size_t lines = 0;
        for (size_t i = 0; i < out.len; i++) {
            lines += out.data[i] == '\n';
            CHECK(out.data[i] == '\n' || (unsigned char)out.data[i] >= 0x20);
        }
        CHECK_EQ(lines, rows);
        sl_buf_clear(&out);
        CHECK_EQ(sl_doctor_json(doctor, &out), 0);
        CHECK_EQ(sl_json_parse(sl_buf_str(&out), &root, NULL), 0);
        CHECK_EQ(sl_json_count(sl_json_get(root, "checks")), rows);
        CHECK_EQ(sl_json_get(root, "ok").type, failures ? SL_JSON_FALSE : SL_JSON_TRUE);
        sl_buf_done(&out);
        discharge(doctor);
    }
}
