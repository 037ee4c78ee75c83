/* Reading OTLP and turning it into JSON: every field once, truncation at every byte, flipped bytes. */
#include "src/wire/otlp_read.h"

#include <stdlib.h>

#include "src/wire/json_scan.h"
#include "src/wire/otlp_json.h"
#include "tests/harness/sl_test.h"

#define ID16 "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10"
#define ID8 "\x11\x12\x13\x14\x15\x16\x17\x18"

static const sl_attr key = {{"key", 3}, {SL_VALUE_STRING, {{"v\"1", 3}}}};

static void put_event(sl_buf *b, uint32_t field, bool link)
{
    size_t mark = 0;
    (void)sl_pb_buf_open(b, field, &mark);
    if (link) {
        (void)sl_pb_buf_str(b, 1, SL_STR(ID16));
        (void)sl_pb_buf_str(b, 2, SL_STR(ID8));
        (void)sl_pb_buf_str(b, 3, SL_STR("l=1"));
        (void)sl_otlp_buf_attr(b, 4, &key, SL_OTLP_NO_LIMIT);
        (void)sl_pb_buf_uint(b, 5, 6);
        (void)sl_pb_buf_fixed32(b, 6, 0x101);
    } else {
        (void)sl_pb_buf_fixed64(b, 1, 77);
        (void)sl_pb_buf_str(b, 2, SL_STR("event"));
        (void)sl_otlp_buf_attr(b, 3, &key, SL_OTLP_NO_LIMIT);
        (void)sl_pb_buf_uint(b, 4, 5);
    }
    sl_pb_buf_close(b, mark);
}

static void make_span(sl_buf *b)
{
    size_t mark = 0;
    (void)sl_pb_buf_str(b, 1, SL_STR(ID16));
    (void)sl_pb_buf_str(b, 2, SL_STR(ID8));
    (void)sl_pb_buf_str(b, 3, SL_STR("a=b"));
    (void)sl_pb_buf_str(b, 4, SL_STR(ID8));
    (void)sl_pb_buf_str(b, 5, SL_STR("chat"));
    (void)sl_pb_buf_uint(b, 6, 3);
    (void)sl_pb_buf_fixed64(b, 7, 1700000000000000001ull);
    (void)sl_pb_buf_fixed64(b, 8, 1700000000000000002ull);
    (void)sl_otlp_buf_attr(b, 9, &key, SL_OTLP_NO_LIMIT);
    put_event(b, 11, false);
    (void)sl_pb_buf_uint(b, 10, 1);
    const sl_attr n = sl_attr_int("n", -5);
    (void)sl_otlp_buf_attr(b, 9, &n, SL_OTLP_NO_LIMIT); /* not beside the first one */
    (void)sl_pb_buf_uint(b, 12, 2);
    put_event(b, 13, true);
    (void)sl_pb_buf_uint(b, 14, 3);
    (void)sl_pb_buf_open(b, 15, &mark);
    (void)sl_pb_buf_str(b, 2, SL_STR("failed"));
    (void)sl_pb_buf_uint(b, 3, 2);
    sl_pb_buf_close(b, mark);
    (void)sl_pb_buf_fixed32(b, 16, 0x301);
    (void)sl_pb_buf_uint(b, 99, 1); /* of the future */
}

static void make_log(sl_buf *b)
{
    const sl_attr pairs[] = {sl_attr_double("d", 0.5), sl_attr_bool("b", true),
                             sl_attr_of("x", sl_value_bytes("\x00\xff", 2))};
    const sl_value body = sl_value_map(pairs, 3);
    (void)sl_pb_buf_fixed64(b, 1, 10);
    (void)sl_pb_buf_uint(b, 2, 17);
    (void)sl_pb_buf_str(b, 3, SL_STR("ERROR"));
    (void)sl_otlp_buf_value(b, 5, &body, SL_OTLP_NO_LIMIT);
    (void)sl_otlp_buf_attr(b, 6, &key, SL_OTLP_NO_LIMIT);
    (void)sl_pb_buf_uint(b, 7, 4);
    (void)sl_pb_buf_fixed32(b, 8, 1);
    (void)sl_pb_buf_str(b, 9, SL_STR(ID16));
    (void)sl_pb_buf_str(b, 10, SL_STR(ID8));
    (void)sl_pb_buf_fixed64(b, 11, 12);
    (void)sl_pb_buf_str(b, 12, SL_STR("my.event"));
}

static void put_exemplar(sl_buf *b, uint32_t field)
{
    size_t mark = 0;
    (void)sl_pb_buf_open(b, field, &mark);
    (void)sl_pb_buf_fixed64(b, 2, 5);
    (void)sl_pb_buf_fixed64(b, 6, (uint64_t)-4);
    (void)sl_pb_buf_str(b, 4, SL_STR(ID8));
    (void)sl_pb_buf_str(b, 5, SL_STR(ID16));
    (void)sl_otlp_buf_attr(b, 7, &key, SL_OTLP_NO_LIMIT);
    sl_pb_buf_close(b, mark);
}

static void put_packed(sl_buf *b, uint32_t field, const uint64_t *values, size_t count)
{
    uint8_t bytes[64];
    sl_pb_cursor c = sl_pb_cursor_of(bytes, sizeof bytes);
    for (size_t i = 0; i < count; i++)
        c.at = sl_pb_raw_fixed64(c.at, values[i]);
    (void)sl_pb_buf_bytes(b, field, bytes, (size_t)(c.at - bytes));
}

/* A sum with one integer point, or a histogram with one point. */
static void make_metric(sl_buf *b, bool histogram)
{
    size_t data = 0, point = 0;
    (void)sl_pb_buf_str(b, 1, SL_STR("requests"));
    (void)sl_pb_buf_str(b, 2, SL_STR("help"));
    (void)sl_pb_buf_str(b, 3, SL_STR("{request}"));
    (void)sl_pb_buf_open(b, histogram ? 9 : 7, &data);
    (void)sl_pb_buf_open(b, 1, &point);
    (void)sl_pb_buf_fixed64(b, 2, 100);
    (void)sl_pb_buf_fixed64(b, 3, 200);
    if (histogram) {
        const uint64_t counts[] = {1, 2, 3}, bounds[] = {sl_pb_double_bits(0.5), sl_pb_double_bits(10)};
        (void)sl_pb_buf_fixed64(b, 4, 6);
        (void)sl_pb_buf_double(b, 5, 12.25);
        put_packed(b, 6, counts, 3);
        put_packed(b, 7, bounds, 2);
        put_exemplar(b, 8);
        (void)sl_otlp_buf_attr(b, 9, &key, SL_OTLP_NO_LIMIT);
        (void)sl_pb_buf_double(b, 11, 0.25);
        (void)sl_pb_buf_fixed64(b, 12, 0x7FF0000000000000ull);
    } else {
        (void)sl_pb_buf_fixed64(b, 6, (uint64_t)-42);
        (void)sl_otlp_buf_attr(b, 7, &key, SL_OTLP_NO_LIMIT);
        put_exemplar(b, 5);
        (void)sl_pb_buf_uint(b, 8, 1);
    }
    sl_pb_buf_close(b, point);
    (void)sl_pb_buf_uint(b, 2, 2);
    if (!histogram)
        (void)sl_pb_buf_uint(b, 3, 1);
    sl_pb_buf_close(b, data);
}

static void make_request(sl_otlp_signal signal, sl_buf *out)
{
    sl_buf resource, scope, item;
    sl_buf_init(&resource, 10000);
    sl_buf_init(&scope, 10000);
    sl_buf_init(&item, 10000);
    const sl_attr service = sl_attr_str("service.name", "svc");
    (void)sl_otlp_buf_resource(&resource, &service, 1, 0);
    (void)sl_otlp_buf_scope(&scope, SL_STR("lib"), SL_STR("2"), NULL, 0, 0);
    sl_otlp_request request;
    sl_otlp_request_init(&request);
    sl_otlp_request_begin(&request, signal, sl_buf_str(&resource), SL_STR("u"));
    CHECK_EQ(sl_otlp_request_scope(&request, 1, sl_buf_str(&scope), SL_STR("")), 0);
    for (int i = 0; i < (signal == SL_OTLP_METRICS ? 2 : 1); i++) {
        sl_buf_clear(&item);
        if (signal == SL_OTLP_TRACES)
            make_span(&item);
        else if (signal == SL_OTLP_LOGS)
            make_log(&item);
        else
            make_metric(&item, i == 1);
        CHECK_EQ(item.failed, 0);
        CHECK_EQ(sl_otlp_request_item(&request, 1, sl_buf_str(&item)), 0);
    }
    CHECK_EQ(sl_otlp_request_end(&request, out), 0);
    sl_otlp_request_done(&request);
    sl_buf_done(&resource);
    sl_buf_done(&scope);
    sl_buf_done(&item);
}

SL_TEST(span_fields)
{
    sl_buf b;
    sl_buf_init(&b, 10000);
    make_span(&b);
    sl_otlp_span s;
    REQUIRE(sl_otlp_read_span(sl_buf_str(&b), &s) == 0);
    CHECK_STR(s.trace_id, ID16);
    CHECK_STR(s.span_id, ID8);
    CHECK_STR(s.parent_span_id, ID8);
    CHECK_STR(s.tracestate, "a=b");
    CHECK_STR(s.name, "chat");
    CHECK(s.kind == 3 && s.flags == 0x301 && s.status_code == 2);
    CHECK_STR(s.status_message, "failed");
    CHECK(s.start_ns == 1700000000000000001ull && s.end_ns == 1700000000000000002ull);
    CHECK(s.dropped_attrs == 1 && s.dropped_events == 2 && s.dropped_links == 3);
    CHECK_EQ(sl_otlp_count(s.self, SL_OTLP_SPAN_ATTRS), 2);
    sl_str bytes;
    sl_otlp_event e;
    sl_otlp_iter it = sl_otlp_items(s.self, SL_OTLP_SPAN_EVENTS);
    REQUIRE(sl_otlp_next(&it, &bytes) && sl_otlp_read_event(bytes, &e) == 0);
    CHECK(e.time_ns == 77 && e.dropped_attrs == 5);
    CHECK_STR(e.name, "event");
    CHECK_EQ(sl_otlp_count(e.self, SL_OTLP_EVENT_ATTRS), 1);
    sl_otlp_link l;
    it = sl_otlp_items(s.self, SL_OTLP_SPAN_LINKS);
    REQUIRE(sl_otlp_next(&it, &bytes) && sl_otlp_read_link(bytes, &l) == 0);
    CHECK_STR(l.tracestate, "l=1");
    CHECK(l.dropped_attrs == 6 && l.flags == 0x101);
    CHECK_EQ(sl_otlp_count(l.self, SL_OTLP_LINK_ATTRS), 1);
    sl_otlp_any any;
    CHECK_EQ(sl_otlp_find_attr(s.self, SL_OTLP_SPAN_ATTRS, SL_STR("n"), &any), 0);
    CHECK_EQ(any.integer, -5);
    CHECK_EQ(sl_otlp_find_attr(s.self, SL_OTLP_SPAN_ATTRS, SL_STR("none"), &any), SL_ENOENT);
    sl_buf_done(&b);
}

SL_TEST(log_fields)
{
    sl_buf b;
    sl_buf_init(&b, 10000);
    make_log(&b);
    sl_otlp_log l;
    REQUIRE(sl_otlp_read_log(sl_buf_str(&b), &l) == 0);
    CHECK(l.time_ns == 10 && l.observed_ns == 12 && l.severity == 17 && l.flags == 1 && l.dropped_attrs == 4);
    CHECK_STR(l.severity_text, "ERROR");
    CHECK_STR(l.event_name, "my.event");
    CHECK_STR(l.trace_id, ID16);
    CHECK_STR(l.span_id, ID8);
    CHECK_EQ(l.body.type, SL_VALUE_MAP);
    CHECK_EQ(sl_otlp_count(l.body.str, SL_OTLP_ARRAY_ITEMS), 3);
    CHECK_EQ(sl_otlp_count(l.self, SL_OTLP_LOG_ATTRS), 1);
    sl_buf_done(&b);
}

SL_TEST(metric_fields)
{
    sl_buf b;
    sl_buf_init(&b, 10000);
    sl_otlp_metric m;
    sl_str bytes;
    make_metric(&b, false);
    REQUIRE(sl_otlp_read_metric(sl_buf_str(&b), &m) == 0);
    CHECK(m.kind == SL_OTLP_SUM && m.temporality == 2 && m.monotonic);
    CHECK_STR(m.name, "requests");
    CHECK_STR(m.unit, "{request}");
    CHECK_STR(m.description, "help");
    sl_otlp_iter it = sl_otlp_items(m.data, SL_OTLP_METRIC_POINTS);
    sl_otlp_number n;
    REQUIRE(sl_otlp_next(&it, &bytes) && sl_otlp_read_number(bytes, &n) == 0);
    CHECK(n.is_int && n.integer == -42 && n.real == -42.0 && n.start_ns == 100 && n.time_ns == 200 && n.flags == 1);
    sl_otlp_exemplar e;
    it = sl_otlp_items(n.self, SL_OTLP_NUMBER_EXEMPLARS);
    REQUIRE(sl_otlp_next(&it, &bytes) && sl_otlp_read_exemplar(bytes, &e) == 0);
    CHECK(e.is_int && e.integer == -4 && e.time_ns == 5);
    CHECK_STR(e.trace_id, ID16);
    sl_buf_clear(&b);
    make_metric(&b, true);
    REQUIRE(sl_otlp_read_metric(sl_buf_str(&b), &m) == 0);
    CHECK(m.kind == SL_OTLP_HISTOGRAM && m.temporality == 2);
    it = sl_otlp_items(m.data, SL_OTLP_METRIC_POINTS);
    sl_otlp_histogram h;
    REQUIRE(sl_otlp_next(&it, &bytes) && sl_otlp_read_histogram(bytes, &h) == 0);
    CHECK(h.count == 6 && h.has_sum && h.sum == 12.25 && h.has_min && h.min == 0.25 && h.has_max);
    CHECK_EQ(sl_otlp_packed_count(h.bucket_counts), 3);
    CHECK_EQ(sl_otlp_packed_u64(h.bucket_counts, 2), 3);
    CHECK_EQ(sl_otlp_packed_u64(h.bucket_counts, 3), 0);
    CHECK(sl_otlp_packed_double(h.bounds, 1) == 10.0);
    CHECK_EQ(sl_otlp_count(h.self, SL_OTLP_HISTOGRAM_EXEMPLARS), 1);
    sl_buf_done(&b);
}

#define IDS "\"traceId\":\"0102030405060708090a0b0c0d0e0f10\",\"spanId\":\"1112131415161718\""
#define ATTR "{\"key\":\"key\",\"value\":{\"stringValue\":\"v\\\"1\"}}"
#define RESOURCE "{\"resource\":{\"attributes\":[{\"key\":\"service.name\",\"value\":{\"stringValue\":\"svc\"}}]},"
#define SCOPE "[{\"scope\":{\"name\":\"lib\",\"version\":\"2\"},"
#define EXEMPLAR                                                                                                       \
    "\"exemplars\":[{\"filteredAttributes\":[" ATTR "],\"timeUnixNano\":\"5\",\"asInt\":\"-4\","                       \
    "\"spanId\":\"1112131415161718\",\"traceId\":\"0102030405060708090a0b0c0d0e0f10\"}]"

static const char *const want_json[] = {
    "{\"resourceSpans\":[" RESOURCE "\"scopeSpans\":" SCOPE "\"spans\":[{" IDS ",\"traceState\":\"a=b\","
    "\"parentSpanId\":\"1112131415161718\",\"flags\":769,\"name\":\"chat\",\"kind\":3,"
    "\"startTimeUnixNano\":\"1700000000000000001\",\"endTimeUnixNano\":\"1700000000000000002\","
    "\"attributes\":[" ATTR ",{\"key\":\"n\",\"value\":{\"intValue\":\"-5\"}}],\"droppedAttributesCount\":1,"
    "\"events\":[{\"timeUnixNano\":\"77\",\"name\":\"event\",\"attributes\":[" ATTR "],\"droppedAttributesCount\":5}],"
    "\"droppedEventsCount\":2,\"links\":[{" IDS ",\"traceState\":\"l=1\",\"attributes\":[" ATTR "],"
    "\"droppedAttributesCount\":6,\"flags\":257}],\"droppedLinksCount\":3,"
    "\"status\":{\"message\":\"failed\",\"code\":2}}]}],\"schemaUrl\":\"u\"}]}",
    "{\"resourceLogs\":[" RESOURCE "\"scopeLogs\":" SCOPE "\"logRecords\":[{\"timeUnixNano\":\"10\","
    "\"observedTimeUnixNano\":\"12\",\"severityNumber\":17,\"severityText\":\"ERROR\",\"body\":{\"kvlistValue\":"
    "{\"values\":[{\"key\":\"d\",\"value\":{\"doubleValue\":0.5}},{\"key\":\"b\",\"value\":{\"boolValue\":true}},"
    "{\"key\":\"x\",\"value\":{\"bytesValue\":\"AP8=\"}}]}},\"attributes\":[" ATTR "],\"droppedAttributesCount\":4,"
    "\"flags\":1," IDS ",\"eventName\":\"my.event\"}]}],\"schemaUrl\":\"u\"}]}",
    "{\"resourceMetrics\":[" RESOURCE "\"scopeMetrics\":" SCOPE "\"metrics\":[{\"name\":\"requests\","
    "\"description\":\"help\",\"unit\":\"{request}\",\"sum\":{\"dataPoints\":[{\"attributes\":[" ATTR "],"
    "\"startTimeUnixNano\":\"100\",\"timeUnixNano\":\"200\",\"asInt\":\"-42\"," EXEMPLAR ",\"flags\":1}],"
    "\"aggregationTemporality\":2,\"isMonotonic\":true}},{\"name\":\"requests\",\"description\":\"help\","
    "\"unit\":\"{request}\",\"histogram\":{\"dataPoints\":[{\"attributes\":[" ATTR "],\"startTimeUnixNano\":\"100\","
    "\"timeUnixNano\":\"200\",\"count\":\"6\",\"sum\":12.25,\"bucketCounts\":[\"1\",\"2\",\"3\"],"
    "\"explicitBounds\":[0.5,10]," EXEMPLAR ",\"min\":0.25,\"max\":\"Infinity\"}],\"aggregationTemporality\":2}}]}],"
    "\"schemaUrl\":\"u\"}]}",
};

SL_TEST(json_of_every_signal)
{
    for (int signal = 0; signal < 3; signal++) {
        sl_buf request, json;
        sl_buf_init(&request, 100000);
        sl_buf_init(&json, 100000);
        make_request((sl_otlp_signal)signal, &request);
        CHECK_EQ(sl_otlp_to_json((sl_otlp_signal)signal, sl_buf_str(&request), &json), 0);
        CHECK_STR(sl_buf_str(&json), want_json[signal]);
        sl_json_value root;
        CHECK_EQ(sl_json_parse(sl_buf_str(&json), &root, NULL), 0);
        sl_buf_done(&request);
        sl_buf_done(&json);
    }
}

/* Reads everything that can be reached. */
static void read_all(sl_str bytes)
{
    sl_otlp_records records = sl_otlp_records_of(bytes);
    while (sl_otlp_records_next(&records)) {
        sl_otlp_span span;
        sl_otlp_log log;
        sl_otlp_metric metric;
        sl_otlp_number number;
        sl_otlp_histogram histogram;
        sl_str item;
        (void)!sl_otlp_read_span(records.item, &span);
        (void)!sl_otlp_read_log(records.item, &log);
        if (sl_otlp_read_metric(records.item, &metric))
            continue;
        sl_otlp_iter it = sl_otlp_items(metric.data, SL_OTLP_METRIC_POINTS);
        while (sl_otlp_next(&it, &item)) {
            (void)!sl_otlp_read_number(item, &number);
            (void)!sl_otlp_read_histogram(item, &histogram);
        }
    }
}

static void check_bytes(sl_otlp_signal signal, const char *data, size_t len)
{
    char *exact = malloc(len + 1);
    REQUIRE(exact);
    memcpy(exact, data, len);
    read_all(sl_str_of(exact, len));
    sl_buf json;
    sl_buf_init(&json, 100000);
    sl_json_value root;
    if (sl_otlp_to_json(signal, sl_str_of(exact, len), &json) == 0)
        CHECK_EQ(sl_json_parse(sl_buf_str(&json), &root, NULL), 0);
    else
        CHECK_EQ(json.len, 0);
    sl_buf_done(&json);
    free(exact);
}

SL_TEST(cut_and_damaged_anywhere)
{
    for (int signal = 0; signal < 3; signal++) {
        sl_buf request;
        sl_buf_init(&request, 100000);
        make_request((sl_otlp_signal)signal, &request);
        for (size_t i = 0; i < request.len; i++) {
            check_bytes((sl_otlp_signal)signal, request.data, i);
            const char flips[] = {1, 4, (char)0x80, (char)0xFF};
            for (size_t k = 0; k < sizeof flips; k++) {
                request.data[i] = (char)(request.data[i] ^ flips[k]);
                check_bytes((sl_otlp_signal)signal, request.data, request.len);
                request.data[i] = (char)(request.data[i] ^ flips[k]);
            }
        }
        sl_buf_done(&request);
    }
}

SL_TEST(json_of_deep_values_stays_valid)
{
    sl_value nested[SL_MAX_VALUE_DEPTH];
    nested[0] = sl_value_int(7);
    sl_attr pairs[SL_MAX_VALUE_DEPTH];
    for (size_t i = 1; i < SL_MAX_VALUE_DEPTH; i++) {
        pairs[i] = sl_attr_of("k", nested[i - 1]);
        nested[i] = i % 2 ? sl_value_array(&nested[i - 1], 1) : sl_value_map(&pairs[i], 1);
    }
    sl_buf item, out, json;
    sl_buf_init(&item, 100000);
    sl_buf_init(&out, 100000);
    sl_buf_init(&json, 100000);
    CHECK_EQ(sl_otlp_buf_value(&item, 5, &nested[SL_MAX_VALUE_DEPTH - 1], SL_OTLP_NO_LIMIT), 0);
    sl_otlp_request request;
    sl_otlp_request_init(&request);
    sl_otlp_request_begin(&request, SL_OTLP_LOGS, SL_STR(""), SL_STR(""));
    CHECK_EQ(sl_otlp_request_scope(&request, 1, SL_STR(""), SL_STR("")), 0);
    CHECK_EQ(sl_otlp_request_item(&request, 1, sl_buf_str(&item)), 0);
    CHECK_EQ(sl_otlp_request_end(&request, &out), 0);
    CHECK_EQ(sl_otlp_to_json(SL_OTLP_LOGS, sl_buf_str(&out), &json), 0);
    sl_json_value root;
    CHECK_EQ(sl_json_parse(sl_buf_str(&json), &root, NULL), 0);
    sl_otlp_request_done(&request);
    sl_buf_done(&item);
    sl_buf_done(&out);
    sl_buf_done(&json);
}

SL_TEST(json_of_damaged_text_and_limit)
{
    sl_buf item, out;
    sl_buf_init(&item, 1000);
    sl_buf_init(&out, 10);
    make_request(SL_OTLP_TRACES, &item);
    CHECK_EQ(sl_buf_put_c(&out, "kept"), 0);
    CHECK_EQ(sl_otlp_to_json(SL_OTLP_TRACES, sl_buf_str(&item), &out), SL_ELIMIT);
    CHECK_STR(sl_buf_str(&out), "kept");
    sl_buf_done(&out);
    sl_buf_done(&item);
    sl_buf_init(&out, 1000);
    CHECK_EQ(sl_otlp_to_json(SL_OTLP_TRACES, SL_STR(""), &out), 0);
    CHECK_STR(sl_buf_str(&out), "{}");
    sl_buf_clear(&out);
    CHECK_EQ(sl_otlp_to_json(SL_OTLP_TRACES,
                             SL_STR("\x0a\x05\x1a\x03"
                                    "a\xff\n"),
                             &out),
             0);
    CHECK_STR(sl_buf_str(&out), "{\"resourceSpans\":[{\"schemaUrl\":\"a\xEF\xBF\xBD\\n\"}]}");
    sl_buf_done(&out);
}

/* What the reader of a message does with fields that it does not know or that are not as they should be. */
SL_TEST(fields_of_other_kinds_are_skipped)
{
    static const struct {
        sl_str bytes;
        bool good;
        const char *name;
        uint32_t kind;
    } rows[] = {
#define ROW(text, good, name, kind) {{text, sizeof(text) - 1}, good, name, kind}
        ROW("", true, "", 0),
        ROW("\x2a\x01n\x30\x03", true, "n", 3),
        ROW("\x30\x03\x2a\x01n", true, "n", 3),                                    /* any order */
        ROW("\x2a\x01n\x30\x03\x2a\x01m\x30\x02", true, "m", 2),                   /* the last one counts */
        ROW("\x28\x05\x2a\x01n", true, "n", 0),                                    /* name as a varint */
        ROW("\x32\x01x\x2a\x01n", true, "n", 0),                                   /* kind as text */
        ROW("\xfa\x07\x01x\x2a\x01n", true, "n", 0),                               /* field 127 */
        ROW("\xf8\xff\xff\xff\x0f\x01\x2a\x01n", true, "n", 0),                    /* the highest number */
        ROW("\x2b\x08\x01\x2c\x2a\x01n", true, "n", 0),                            /* name as a group */
        ROW("\x30\x83\x80\x80\x80\x00\x2a\x00", true, "", 3),                      /* a padded varint */
        ROW("\x30\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", true, "", UINT32_MAX), /* a negative enum */
        ROW("\x7a\x00\x2a\x01n", true, "n", 0),                                    /* an empty status */
        ROW("\x7a\x02\x1a\x05\x2a\x01n", false, "", 0),                            /* a status that is cut */
        ROW("\x2a\x02n", false, "", 0),
        ROW("\x2a\xff\xff\xff\xff\xff\xff\xff\xff\x7fn", false, "", 0),
        ROW("\x2e\x01n", false, "", 0), /* wire type 6 */
        ROW("\x2f\x01n", false, "", 0),
        ROW("\x2c", false, "", 0),
        ROW("\x02\x01n", false, "", 0), /* field 0 */
#undef ROW
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sl_otlp_span span_view;
        memset(&span_view, 0x5A, sizeof span_view);
        char *exact = malloc(rows[i].bytes.len + 1);
        memcpy(exact, rows[i].bytes.ptr, rows[i].bytes.len);
        int error = sl_otlp_read_span(sl_str_of(exact, rows[i].bytes.len), &span_view);
        if (error != (rows[i].good ? 0 : SL_EPARSE))
            sl_test_failed(__FILE__, __LINE__, "row %zu: %d", i, error);
        if (!error) {
            CHECK_STR(span_view.name, rows[i].name);
            CHECK_EQ(span_view.kind, rows[i].kind);
        } else {
            CHECK_EQ(span_view.kind, 0x5A5A5A5A); /* untouched */
        }
        free(exact);
    }
}

SL_TEST(records_of_empty_and_broken_envelopes)
{
    static const struct {
        sl_str bytes;
        size_t items;
        int error;
    } rows[] = {
#define ROW(text, items, error) {{text, sizeof(text) - 1}, items, error}
        ROW("", 0, 0),
        ROW("\x0a\x00", 0, 0),
        ROW("\x0a\x02\x12\x00", 0, 0),
        ROW("\x0a\x04\x12\x02\x12\x00", 1, 0),
        ROW("\x0a\x08\x12\x02\x12\x00\x12\x02\x12\x00", 2, 0),
        ROW("\x0a\x04\x12\x02\x12\x00\x0a\x00\x0a\x04\x12\x02\x12\x00", 2, 0),
        ROW("\x0a\x04\x12\x02\x12\x00\x0a\x05", 1, SL_EPARSE),
        ROW("\x0a\x04\x12\x03\x12\x00", 0, SL_EPARSE),
        ROW("\x0a\x04\x12\x02\x12\x01", 0, SL_EPARSE),
        ROW("\x10\x01\x0a\x04\x12\x02\x12\x00", 1, 0),
        ROW("\x0a\x06\x18\x01\x12\x02\x12\x00", 1, 0),
#undef ROW
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sl_otlp_records records = sl_otlp_records_of(rows[i].bytes);
        size_t items = 0;
        while (sl_otlp_records_next(&records))
            items++;
        CHECK_EQ(items, rows[i].items);
        CHECK_EQ(records.error, rows[i].error);
        CHECK(!sl_otlp_records_next(&records)); /* it stays at its end */
    }
}

SL_TEST(packed_numbers)
{
    static const char bytes[] = "\x01\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\xf0?";
    for (size_t len = 0; len < sizeof bytes; len++) {
        sl_str run = sl_str_of(bytes, len);
        CHECK_EQ(sl_otlp_packed_count(run), len / 8);
        CHECK(sl_otlp_packed_u64(run, 0) == (len >= 8 ? 1 : 0));
        CHECK(sl_otlp_packed_u64(run, 1) == (len >= 16 ? UINT64_MAX : 0));
        CHECK(sl_otlp_packed_double(run, 2) == (len >= 24 ? 1.0 : 0.0));
        CHECK(sl_otlp_packed_u64(run, SIZE_MAX) == 0);
        /* Of a histogram point only whole runs are taken. */
        sl_buf point;
        sl_otlp_histogram view;
        sl_buf_init(&point, 100);
        CHECK_EQ(sl_pb_buf_str(&point, 6, run), 0);
        CHECK_EQ(sl_otlp_read_histogram(sl_buf_str(&point), &view), len % 8 ? SL_EPARSE : 0);
        sl_buf_done(&point);
    }
}
