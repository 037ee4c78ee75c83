/* Tests of the console text and of the file exporter. */
#include "src/telemetry/console.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "src/telemetry/exporter_factory.h"
#include "src/wire/otlp_encode.h"
#include "src/wire/otlp_json.h"
#include "tests/harness/sl_test.h"

typedef struct span_text {
    const char *trace, *id, *parent, *name;
    uint64_t start, end;
    bool failed;
} span_text;

/* A request of these spans. */
static void request_of(const span_text *spans, size_t count, sl_buf *out)
{
    sl_otlp_request r;
    sl_buf resource;
    sl_buf_init(&resource, 1000);
    sl_buf_init(out, 1u << 20);
    sl_attr service = sl_attr_str("service.name", "svc");
    CHECK_EQ(sl_otlp_buf_resource(&resource, &service, 1, 0), 0);
    sl_otlp_request_init(&r);
    sl_otlp_request_begin(&r, SL_OTLP_TRACES, sl_buf_str(&resource), SL_STR(""));
    CHECK_EQ(sl_otlp_request_scope(&r, 0, SL_STR(""), SL_STR("")), 0);
    for (size_t i = 0; i < count; i++) {
        sl_buf span;
        sl_buf_init(&span, 100000);
        (void)sl_pb_buf_str(&span, 1, sl_str_c(spans[i].trace));
        (void)sl_pb_buf_str(&span, 2, sl_str_c(spans[i].id));
        if (spans[i].parent)
            (void)sl_pb_buf_str(&span, 4, sl_str_c(spans[i].parent));
        (void)sl_pb_buf_str(&span, 5, sl_str_c(spans[i].name));
        (void)sl_pb_buf_uint(&span, 6, 2);
        (void)sl_pb_buf_fixed64(&span, 7, spans[i].start);
        (void)sl_pb_buf_fixed64(&span, 8, spans[i].end);
        sl_attr attr = sl_attr_str("k", "a\"b\x1b[31m\n");
        (void)sl_otlp_buf_attr(&span, 9, &attr, SL_OTLP_NO_LIMIT);
        if (spans[i].failed)
            (void)sl_pb_buf_str(&span, 15,
                                SL_STR("\x12\x03"
                                       "bad\x18\x02"));
        CHECK_EQ(sl_otlp_request_item(&r, 0, sl_buf_str(&span)), 0);
        sl_buf_done(&span);
    }
    CHECK_EQ(sl_otlp_request_end(&r, out), 0);
    sl_otlp_request_done(&r);
    sl_buf_done(&resource);
}

#define TRACE_A "aaaaaaaaaaaaaaaa"
#define TRACE_B "bbbbbbbbbbbbbbbb"

SL_TEST(a_tree_for_each_trace)
{
    span_text spans[] = {{TRACE_A, "child---", "root----", "inner", 1500000, 2500000, true},
                         {TRACE_B, "other---", "faraway-", "elsewhere", 5, 10, false},
                         {TRACE_A, "root----", NULL, "outer", 1000000, 13000000000, false},
                         {TRACE_A, "grand---", "child---", "leaf", 1600000, 1700000, false}};
    sl_buf request, text;
    request_of(spans, 4, &request);
    sl_buf_init(&text, 1u << 20);
    CHECK_EQ(sl_console_text(SL_SIGNAL_TRACES, sl_buf_str(&request), &text), 0);
    CHECK_STR(sl_buf_str(&text), "trace 61616161616161616161616161616161  svc\n"
                                 "  outer  SERVER  13.00 s\n"
                                 "    k=\"a\\\"b\\x1b[31m\\n\"\n"
                                 "    inner  SERVER  1.00 ms  ERROR \"bad\"\n"
                                 "      k=\"a\\\"b\\x1b[31m\\n\"\n"
                                 "      leaf  SERVER  100.0 us\n"
                                 "        k=\"a\\\"b\\x1b[31m\\n\"\n"
                                 "trace 62626262626262626262626262626262  svc\n"
                                 "  elsewhere  SERVER  0.0 us\n"
                                 "    k=\"a\\\"b\\x1b[31m\\n\"\n");
    sl_buf_done(&text);
    sl_buf_done(&request);
}

SL_TEST(cycles_and_lost_parents_show_every_span_once)
{
    span_text spans[] = {{TRACE_A, "x-------", "y-------", "one", 1, 2, false},
                         {TRACE_A, "y-------", "x-------", "two", 1, 2, false},
                         {TRACE_A, "z-------", "z-------", "self", 1, 2, false}};
    sl_buf request, text;
    request_of(spans, 3, &request);
    sl_buf_init(&text, 1u << 20);
    CHECK_EQ(sl_console_text(SL_SIGNAL_TRACES, sl_buf_str(&request), &text), 0);
    for (size_t i = 0; i < 3; i++) {
        size_t at = sl_str_find(sl_buf_str(&text), sl_str_c(spans[i].name));
        CHECK(at != SL_NPOS);
        CHECK(sl_str_find(sl_str_sub(sl_buf_str(&text), at + 1, text.len), sl_str_c(spans[i].name)) == SL_NPOS);
    }
    sl_buf_done(&text);
    sl_buf_done(&request);
}

SL_TEST(damaged_requests_are_survived)
{
    span_text spans[] = {{TRACE_A, "x-------", NULL, "one", 1, 2, true}};
    sl_buf request, text;
    request_of(spans, 1, &request);
    for (size_t cut = 0; cut <= request.len; cut++) {
        for (int signal = 0; signal < SL_SIGNAL_COUNT; signal++) {
            sl_buf_init(&text, 1u << 20);
            int error = sl_console_text((sl_signal)signal, sl_str_of(request.data, cut), &text);
            CHECK(error == 0 || error == SL_EPARSE);
            sl_buf_done(&text);
        }
    }
    sl_buf_done(&request);
}

/* ---- values, events, data points: requests as JSON, read back ---- */

static void text_of(sl_signal signal, const char *json, sl_buf *ret_text)
{
    static const sl_otlp_signal kinds[SL_SIGNAL_COUNT] = {SL_OTLP_TRACES, SL_OTLP_METRICS, SL_OTLP_LOGS};
    sl_buf request;
    sl_buf_init(&request, 1u << 20);
    sl_buf_init(ret_text, 1u << 20);
    CHECK_EQ(sl_otlp_from_json(kinds[signal], sl_str_c(json), &request), 0);
    CHECK_EQ(sl_console_text(signal, sl_buf_str(&request), ret_text), 0);
    sl_buf_done(&request);
}

#define SPAN_OPENS                                                                                                     \
    "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"traceId\":\"61616161616161616161616161616161\",\"spanId\":"   \
    "\"6262626262626262\",\"name\":\"s\",\"startTimeUnixNano\":\"1000\",\"endTimeUnixNano\":\"4000\","
#define SPAN_CLOSES "}]}]}]}"

SL_TEST(values_of_every_kind)
{
    static const struct {
        const char *value, *shown;
    } rows[] = {
        {"{\"stringValue\":\"a b\"}", "\"a b\""},
        {"{\"stringValue\":\"\"}", "\"\""},
        {"{\"stringValue\":\"tab\\tquote\\\"back\\\\esc\\u001b\"}", "\"tab\\tquote\\\"back\\\\esc\\x1b\""},
        {"{\"boolValue\":true}", "true"},
        {"{\"boolValue\":false}", "false"},
        {"{\"intValue\":\"-9223372036854775808\"}", "-9223372036854775808"},
        {"{\"intValue\":7}", "7"},
        {"{\"doubleValue\":0.5}", "0.5"},
        {"{\"doubleValue\":-1e300}", "-1e+300"},
        {"{\"arrayValue\":{\"values\":[]}}", "[]"},
        {"{\"arrayValue\":{\"values\":[{\"intValue\":1},{\"stringValue\":\"x\"},{\"boolValue\":true}]}}",
         "[1, \"x\", true]"},
        {"{\"arrayValue\":{\"values\":[{\"arrayValue\":{\"values\":[{\"intValue\":1}]}}]}}", "[[1]]"},
        {"{\"kvlistValue\":{\"values\":[]}}", "{}"},
        {"{\"kvlistValue\":{\"values\":[{\"key\":\"a\",\"value\":{\"intValue\":1}},{\"key\":\"b\\n\",\"value\":{"
         "\"kvlistValue\":{\"values\":[{\"key\":\"c\",\"value\":{\"doubleValue\":2.5}}]}}}]}}",
         "{a=1, b\\n={c=2.5}}"},
        {"{\"bytesValue\":\"AAECf/8=\"}", "0x0001027fff"},
        {"{}", "null"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char json[1024], wanted[1024];
        sl_buf text;
        (void)snprintf(json, sizeof json, SPAN_OPENS "\"attributes\":[{\"key\":\"k\",\"value\":%s}]" SPAN_CLOSES,
                       rows[i].value);
        (void)snprintf(wanted, sizeof wanted,
                       "trace 61616161616161616161616161616161  unknown_service\n  s  INTERNAL  3.0 us\n    k=%s\n",
                       rows[i].shown);
        text_of(SL_SIGNAL_TRACES, json, &text);
        CHECK_STR(sl_buf_str(&text), wanted);
        sl_buf_done(&text);
    }
}

/* What is nested beyond all sense ends in an empty list, and what is long is cut between characters. */
SL_TEST(values_have_bounds)
{
    char *json = malloc(20000);
    size_t len = (size_t)sprintf(json, SPAN_OPENS "\"attributes\":[{\"key\":\"k\",\"value\":");
    for (int i = 0; i < 12; i++)
        len += (size_t)sprintf(json + len, "{\"arrayValue\":{\"values\":[");
    len += (size_t)sprintf(json + len, "{\"intValue\":1}");
    for (int i = 0; i < 12; i++)
        len += (size_t)sprintf(json + len, "]}}");
    (void)sprintf(json + len, "}]" SPAN_CLOSES);
    sl_buf text;
    text_of(SL_SIGNAL_TRACES, json, &text);
    CHECK(sl_str_find(sl_buf_str(&text), SL_STR("k=[[[[[[[[[]]]]]]]]]\n")) != SL_NPOS);
    sl_buf_done(&text);
    len = (size_t)sprintf(json, SPAN_OPENS "\"attributes\":[{\"key\":\"k\",\"value\":{\"stringValue\":\"");
    for (int i = 0; i < 1000; i++)
        len += (size_t)sprintf(json + len, "\xe2\x82\xac");
    (void)sprintf(json + len, "\"}}]" SPAN_CLOSES);
    text_of(SL_SIGNAL_TRACES, json, &text);
    CHECK(sl_utf8_valid(sl_buf_str(&text)));
    CHECK(sl_str_find(sl_buf_str(&text), SL_STR("\xe2\x82\xac...[954 bytes more]\"\n")) != SL_NPOS);
    sl_buf_done(&text);
    free(json);
}

SL_TEST(events_and_status_of_a_span)
{
    sl_buf text;
    text_of(SL_SIGNAL_TRACES,
            SPAN_OPENS "\"kind\":3,\"status\":{\"code\":1},\"events\":[{\"timeUnixNano\":\"2500\",\"name\":\"first "
                       "token\",\"attributes\":[{\"key\":\"a\",\"value\":{\"intValue\":1}},{\"key\":\"b\",\"value\":{"
                       "\"intValue\":2}}]},{\"timeUnixNano\":\"500\",\"name\":\"before\\n\"}]" SPAN_CLOSES,
            &text);
    CHECK_STR(sl_buf_str(&text), "trace 61616161616161616161616161616161  unknown_service\n"
                                 "  s  CLIENT  3.0 us  OK\n"
                                 "    event first token +1.5 us a=1 b=2\n"
                                 "    event before\\n +0.0 us \n");
    sl_buf_done(&text);
    text_of(SL_SIGNAL_TRACES, SPAN_OPENS "\"kind\":99,\"status\":{\"code\":2}" SPAN_CLOSES, &text);
    CHECK(sl_str_find(sl_buf_str(&text), SL_STR("  s  INTERNAL  3.0 us  ERROR\n")) != SL_NPOS);
    sl_buf_done(&text);
}

#define METRIC_OPENS "{\"resourceMetrics\":[{\"scopeMetrics\":[{\"metrics\":[{\"name\":\"m\",\"unit\":\"s\","
#define METRIC_CLOSES "}]}]}]}"

SL_TEST(data_points_of_every_kind)
{
    static const struct {
        const char *data, *shown;
    } rows[] = {
        {"\"gauge\":{\"dataPoints\":[{\"asDouble\":0.25}]}", "metric m{} 0.25 s\n"},
        {"\"gauge\":{\"dataPoints\":[{\"asInt\":\"-3\"}]}", "metric m{} -3 s\n"},
        {"\"sum\":{\"dataPoints\":[{\"asInt\":\"5\",\"attributes\":[{\"key\":\"a\",\"value\":{\"stringValue\":\"x\"}},"
         "{\"key\":\"b\",\"value\":{\"boolValue\":true}}]},{\"asInt\":\"6\"}]}",
         "metric m{a=\"x\", b=true} 5 s\nmetric m{} 6 s\n"},
        {"\"histogram\":{\"dataPoints\":[{\"count\":\"3\",\"sum\":4.5,\"bucketCounts\":[\"1\",\"2\"],"
         "\"explicitBounds\":["
         "1],\"attributes\":[{\"key\":\"a\",\"value\":{\"intValue\":1}}]}]}",
         "metric m{a=1} count=3 sum=4.5 s\n"},
        {"\"sum\":{\"dataPoints\":[]}", ""},
        {"\"summary\":{\"dataPoints\":[{\"count\":\"1\",\"sum\":2}]}", ""}, /* nobody here makes such */
        {"\"description\":\"nothing else\"", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char json[1024];
        sl_buf text;
        (void)snprintf(json, sizeof json, METRIC_OPENS "%s" METRIC_CLOSES, rows[i].data);
        text_of(SL_SIGNAL_METRICS, json, &text);
        if (!sl_str_eq_c(sl_buf_str(&text), rows[i].shown))
            sl_test_failed(__FILE__, __LINE__, "%s: %.*s", rows[i].data, (int)text.len, text.data);
        sl_buf_done(&text);
    }
    sl_buf text; /* a name may not steer the terminal, and a metric need not have a unit */
    text_of(
        SL_SIGNAL_METRICS,
        "{\"resourceMetrics\":[{\"scopeMetrics\":[{\"metrics\":[{\"name\":\"m\\u001b[2J\",\"gauge\":{\"dataPoints\":[{"
        "\"asInt\":\"1\"}]}}]}]}]}",
        &text);
    CHECK_STR(sl_buf_str(&text), "metric m\\x1b[2J{} 1\n");
    sl_buf_done(&text);
}

/* Each allocation failing in turn: an error, or the whole text; nothing is left behind. */
SL_TEST(no_memory_for_the_text)
{
    span_text spans[] = {{TRACE_A, "child---", "root----", "inner", 1500000, 2500000, true},
                         {TRACE_A, "root----", NULL, "outer", 1000000, 13000000000, false}};
    sl_buf request, text, whole;
    request_of(spans, 2, &request);
    sl_buf_init(&whole, 1u << 20);
    CHECK_EQ(sl_console_text(SL_SIGNAL_TRACES, sl_buf_str(&request), &whole), 0);
    bool hit = true;
    for (long n = 0; hit && n < 100; n++) {
        sl_buf_init(&text, 1u << 20);
        sl_test_fail_alloc(n);
        int error = sl_console_text(SL_SIGNAL_TRACES, sl_buf_str(&request), &text);
        hit = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        CHECK_EQ(error, hit ? SL_ENOMEM : 0);
        if (!error)
            CHECK_STR_EQ(sl_buf_str(&text), sl_buf_str(&whole));
        sl_buf_done(&text);
    }
    CHECK(!hit);
    sl_buf_done(&whole);
    sl_buf_done(&request);
}

SL_TEST(the_file_exporter_appends_json_lines)
{
    char path[] = "/tmp/sl_console_XXXXXX", why[128];
    int fd = mkstemp(path);
    REQUIRE(fd >= 0);
    sl_exporter_spec spec = {.kind = sl_exporter_kind_named(SL_STR("file"), SL_SIGNAL_TRACES),
                             .signal = SL_SIGNAL_TRACES,
                             .path = sl_str_c(path)};
    span_text spans[] = {{TRACE_A, "x-------", NULL, "one", 1, 2, false}};
    sl_buf request;
    request_of(spans, 1, &request);
    for (int round = 0; round < 2; round++) {
        sl_exporter e;
        REQUIRE(sl_exporter_make(&spec, &e, why, sizeof why) == 0);
        uint64_t retry = 0, rejected = 0;
        CHECK_EQ(e.deliver(e.user, SL_SIGNAL_TRACES, sl_buf_str(&request), 1, 1000, &retry, &rejected), 0);
        e.free(e.user);
    }
    char text[8192];
    ssize_t len = read(fd, text, sizeof text);
    REQUIRE(len > 0);
    sl_str rest = sl_str_of(text, (size_t)len), line;
    unsigned lines = 0;
    while (sl_str_split(&rest, '\n', &line)) {
        if (!line.len)
            continue;
        lines++;
        CHECK(sl_str_starts(line, SL_STR("{\"resourceSpans\":[")));
        CHECK(sl_str_find(line, SL_STR("\"traceId\":\"61616161616161616161616161616161\"")) != SL_NPOS);
    }
    CHECK_EQ(lines, 2);
    close(fd);
    unlink(path);
    sl_buf_done(&request);
}

/* A full disk cuts a line; the next one stands on its own. */
SL_TEST(the_file_exporter_begins_anew_after_a_torn_line)
{
    char path[] = "/tmp/sl_console_XXXXXX", why[128], text[8192];
    int fd = mkstemp(path);
    REQUIRE(fd >= 0);
    sl_exporter_spec spec = {.kind = sl_exporter_kind_named(SL_STR("file"), SL_SIGNAL_TRACES),
                             .signal = SL_SIGNAL_TRACES,
                             .path = sl_str_c(path)};
    span_text spans[] = {{TRACE_A, "x-------", NULL, "one", 1, 2, false}};
    sl_buf request;
    request_of(spans, 1, &request);
    sl_exporter e;
    REQUIRE(sl_exporter_make(&spec, &e, why, sizeof why) == 0);
    uint64_t retry = 0, rejected = 0;
    CHECK_EQ(e.deliver(e.user, SL_SIGNAL_TRACES, sl_buf_str(&request), 1, 1000, &retry, &rejected), 0);
    off_t line = lseek(fd, 0, SEEK_END);
    struct rlimit before, small;
    REQUIRE(getrlimit(RLIMIT_FSIZE, &before) == 0);
    small = before;
    small.rlim_cur = (rlim_t)line + 10;
    signal(SIGXFSZ, SIG_IGN);
    REQUIRE(setrlimit(RLIMIT_FSIZE, &small) == 0);
    for (int round = 0; round < 2; round++) /* ten bytes, then none */
        CHECK_EQ(e.deliver(e.user, SL_SIGNAL_TRACES, sl_buf_str(&request), 1, 1000, &retry, &rejected), SL_EIO);
    REQUIRE(setrlimit(RLIMIT_FSIZE, &before) == 0);
    for (int round = 0; round < 2; round++)
        CHECK_EQ(e.deliver(e.user, SL_SIGNAL_TRACES, sl_buf_str(&request), 1, 1000, &retry, &rejected), 0);
    e.free(e.user);
    ssize_t len = pread(fd, text, sizeof text, 0);
    CHECK_EQ(len, 3 * line + 11); /* three lines, ten bytes and their end */
    CHECK_EQ(text[line + 10], '\n');
    CHECK(memcmp(text, text + line + 11, (size_t)line) == 0 && memcmp(text, text + 2 * line + 11, (size_t)line) == 0);
    close(fd);
    unlink(path);
    sl_buf_done(&request);
}

SL_TEST(a_file_that_cannot_be_opened_fails_the_start)
{
    char why[128] = "";
    sl_exporter e;
    sl_exporter_spec spec = {.kind = sl_exporter_kind_named(SL_STR("file"), SL_SIGNAL_TRACES),
                             .path = SL_STR("/nonexistent/dir/x.jsonl")};
    CHECK_EQ(sl_exporter_make(&spec, &e, why, sizeof why), SL_EIO);
    CHECK(strstr(why, "/nonexistent/dir/x.jsonl") != NULL);
}
