/*
 * The JSON mapping of OTLP, as rows of protobuf in a shorthand and the JSON it gives.
 *
 * Shorthand: a field is its number and a value: {…} a message, '…' text, xHEX bytes, =N a varint, zN a zigzag varint,
 * qN eight bytes, wN four bytes, dN a double, (…) packed values without numbers, g…g a group. Blanks do not count.
 * Sources: opentelemetry-proto, docs/specification.md, "JSON Protobuf Encoding"; the JSON mapping of protobuf.
 */
#include "src/wire/otlp_json.h"

#include <stdio.h>
#include <stdlib.h>

#include "src/wire/json_scan.h"
#include "tests/harness/sl_test.h"

static const char *put_fields(const char *at, sl_buf *out);

/* One value; `number` 0: without its tag. */
static const char *put_value(const char *at, uint32_t number, sl_buf *out)
{
    char kind = *at++, *end = NULL;
    uint8_t bytes[32];
    sl_buf inner;
    sl_buf_init(&inner, 1u << 20);
    uint32_t wire = kind == '=' || kind == 'z'   ? SL_PB_VARINT
                    : kind == 'q' || kind == 'd' ? SL_PB_FIXED64
                    : kind == 'w'                ? SL_PB_FIXED32
                    : kind == 'g'                ? SL_PB_GROUP
                                                 : SL_PB_LEN;
    if (number)
        (void)sl_pb_buf_varint(out, number << 3 | wire);
    if (kind == '{' || kind == 'g') {
        at = put_fields(at, &inner) + 1;
    } else if (kind == '(') {
        while (*at != ')')
            at = *at == ' ' ? at + 1 : put_value(at, 0, &inner);
        at++;
    } else if (kind == '\'') {
        for (; *at != '\''; at++)
            (void)sl_buf_put_char(&inner, *at);
        at++;
    } else if (kind == 'x') {
        for (; sl_hex_value(at[0]) >= 0; at += 2)
            (void)sl_buf_put_char(&inner, (char)(sl_hex_value(at[0]) * 16 + sl_hex_value(at[1])));
    } else if (kind == 'd') {
        (void)sl_buf_put(out, bytes, (size_t)(sl_pb_raw_fixed64(bytes, sl_pb_double_bits(strtod(at, &end))) - bytes));
    } else {
        uint64_t value = *at == '-' ? (uint64_t)strtoll(at, &end, 10) : strtoull(at, &end, 10);
        uint8_t *to = kind == 'q'   ? sl_pb_raw_fixed64(bytes, value)
                      : kind == 'w' ? sl_pb_raw_fixed32(bytes, (uint32_t)value)
                                    : sl_pb_raw_varint(bytes, kind == 'z' ? sl_pb_zigzag((int64_t)value) : value);
        (void)sl_buf_put(out, bytes, (size_t)(to - bytes));
    }
    if (wire == SL_PB_LEN)
        (void)sl_pb_buf_varint(out, inner.len);
    (void)sl_buf_put_str(out, sl_buf_str(&inner));
    if (wire == SL_PB_GROUP)
        (void)sl_pb_buf_varint(out, number << 3 | SL_PB_GROUP_END);
    sl_buf_done(&inner);
    return end ? end : at;
}

/* Fields up to the end of the text or of the message. */
static const char *put_fields(const char *at, sl_buf *out)
{
    for (;;) {
        while (*at == ' ')
            at++;
        if (*at < '0' || *at > '9')
            return at;
        char *end;
        uint32_t number = (uint32_t)strtoul(at, &end, 10);
        at = put_value(end, number, out);
    }
}

/* A record within its envelope, and what its JSON stands in. */
static const struct {
    const char *before, *after;
} envelopes[] = {
    {"{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[", "]}]}]}"},
    {"{\"resourceLogs\":[{\"scopeLogs\":[{\"logRecords\":[", "]}]}]}"},
    {"{\"resourceMetrics\":[{\"scopeMetrics\":[{\"metrics\":[", "]}]}]}"},
};

/* What is read from the JSON gives the same JSON again. */
static void check_way_back(sl_otlp_signal signal, sl_str json)
{
    sl_buf request, again;
    sl_buf_init(&request, 1u << 20);
    sl_buf_init(&again, 1u << 20);
    int error = sl_otlp_from_json(signal, json, &request);
    if (!error)
        error = sl_otlp_to_json(signal, sl_buf_str(&request), &again);
    if (error || !sl_str_eq(sl_buf_str(&again), json))
        sl_test_failed(__FILE__, __LINE__, "back: %d\n  %.*s\n  %.*s", error, (int)again.len, again.data, (int)json.len,
                       json.ptr);
    sl_buf_done(&request);
    sl_buf_done(&again);
}

static void check_json(sl_otlp_signal signal, sl_str request, const char *what, sl_str want)
{
    sl_buf out;
    sl_buf_init(&out, 1u << 20);
    int error = sl_otlp_to_json(signal, request, &out);
    if (error || !sl_str_eq(sl_buf_str(&out), want))
        sl_test_failed(__FILE__, __LINE__, "%s: %d\n  %.*s\n  %.*s", what, error, (int)out.len, out.data, (int)want.len,
                       want.ptr);
    CHECK_EQ(sl_json_scan(sl_buf_str(&out), NULL, NULL, NULL, NULL), 0);
    check_way_back(signal, sl_buf_str(&out));
    sl_buf_done(&out);
}

/* Checks a record in the shorthand; then that every cut of it is refused or read, never read beyond. */
static void check_record(sl_otlp_signal signal, const char *record, const char *json)
{
    sl_buf text, request, want;
    sl_buf_init(&text, 1u << 20);
    sl_buf_init(&request, 1u << 20);
    sl_buf_init(&want, 1u << 20);
    (void)sl_buf_printf(&text, "1{2{2{%s}}}", record);
    (void)sl_buf_put_char(&text, '\0');
    CHECK(*put_fields(text.data, &request) == '\0');
    (void)sl_buf_printf(&want, "%s%s%s", envelopes[signal].before, json, envelopes[signal].after);
    check_json(signal, sl_buf_str(&request), record, sl_buf_str(&want));
    for (size_t cut = 0; cut < request.len; cut++) {
        char *exact = malloc(cut + 1);
        memcpy(exact, request.data, cut);
        sl_buf_clear(&want);
        int error = sl_otlp_to_json(signal, sl_str_of(exact, cut), &want);
        CHECK(error == 0 ? cut == 0 : error == SL_EPARSE && want.len == 0);
        free(exact);
    }
    sl_buf_done(&text);
    sl_buf_done(&request);
    sl_buf_done(&want);
}

typedef struct row {
    const char *record, *json;
} row;

SL_TEST(json_of_spans)
{
    static const row rows[] = {
        {"", "{}"},
        /* Ids are hex, not base64; empty ones are left out. */
        {"1x0102030405060708090a0b0c0d0e0fFF 2x00000000000000AB 4x",
         "{\"traceId\":\"0102030405060708090a0b0c0d0e0fff\",\"spanId\":\"00000000000000ab\"}"},
        {"4x1112131415161718 3'a=b,c=d'", "{\"traceState\":\"a=b,c=d\",\"parentSpanId\":\"1112131415161718\"}"},
        /* 64-bit numbers are strings, 32-bit ones and enums numbers, whatever their value. */
        {"7q18446744073709551615 8q0 6=3 16w4294967295 10=7",
         "{\"flags\":4294967295,\"kind\":3,\"startTimeUnixNano\":\"18446744073709551615\",\"endTimeUnixNano\":\"0\","
         "\"droppedAttributesCount\":7}"},
        {"6=77", "{\"kind\":77}"},
        {"15{3=2 2'no'}", "{\"status\":{\"message\":\"no\",\"code\":2}}"},
        {"15{}", "{\"status\":{}}"},
        {"11{1q5 2'e' 3{1'k'} 4=1} 12=2",
         "{\"events\":[{\"timeUnixNano\":\"5\",\"name\":\"e\",\"attributes\":[{\"key\":\"k\"}],"
         "\"droppedAttributesCount\":1}],\"droppedEventsCount\":2}"},
        {"13{1xAA 2xBB 3's=1' 6w257 5=3} 14=9",
         "{\"links\":[{\"traceId\":\"aa\",\"spanId\":\"bb\",\"traceState\":\"s=1\",\"droppedAttributesCount\":3,"
         "\"flags\":257}],\"droppedLinksCount\":9}"},
        /* Of a field that stands twice the last one counts; a repeated one may be scattered. */
        {"5'a' 5'b'", "{\"name\":\"b\"}"},
        {"9{1'a'} 5'n' 9{1'b'}", "{\"name\":\"n\",\"attributes\":[{\"key\":\"a\"},{\"key\":\"b\"}]}"},
        /* Unknown numbers, wire types that do not fit, groups. */
        {"5'n' 99'x' 100=1 101q1 102w1", "{\"name\":\"n\"}"},
        {"5=1 6'x' 7=5 16q1", "{}"},
        {"5'n' 20g 1=1 2'x' 3g 4w1 g g 6=1", "{\"name\":\"n\",\"kind\":1}"},
        {"5g 1=1 g 6=1", "{\"kind\":1}"},
        /* Text that is no UTF-8, and what JSON escapes. */
        {"5x61FF62220A00", "{\"name\":\"a\xEF\xBF\xBD"
                           "b\\\"\\n\\u0000\"}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        check_record(SL_OTLP_TRACES, rows[i].record, rows[i].json);
}

SL_TEST(json_of_values)
{
    static const row rows[] = {
        {"", "{}"},
        {"1''", "{\"stringValue\":\"\"}"},
        {"1'a'", "{\"stringValue\":\"a\"}"},
        {"2=0", "{\"boolValue\":false}"},
        {"2=7", "{\"boolValue\":true}"},
        {"3=0", "{\"intValue\":\"0\"}"},
        {"3=-1", "{\"intValue\":\"-1\"}"},
        {"3=-9223372036854775808", "{\"intValue\":\"-9223372036854775808\"}"},
        {"3=9223372036854775807", "{\"intValue\":\"9223372036854775807\"}"},
        {"4d0.5", "{\"doubleValue\":0.5}"},
        {"4d-0", "{\"doubleValue\":-0}"},
        {"4dnan", "{\"doubleValue\":\"NaN\"}"},
        {"4dinf", "{\"doubleValue\":\"Infinity\"}"},
        {"4d-inf", "{\"doubleValue\":\"-Infinity\"}"},
        {"7x", "{\"bytesValue\":\"\"}"},
        {"7x00", "{\"bytesValue\":\"AA==\"}"},
        {"7xfbff", "{\"bytesValue\":\"+/8=\"}"},
        {"7xfbfffe", "{\"bytesValue\":\"+//+\"}"},
        {"5{}", "{\"arrayValue\":{\"values\":[]}}"},
        {"5{1{} 1{3=1} 1{5{1{1'x'}}}}",
         "{\"arrayValue\":{\"values\":[{},{\"intValue\":\"1\"},{\"arrayValue\":{\"values\":"
         "[{\"stringValue\":\"x\"}]}}]}}"},
        {"6{}", "{\"kvlistValue\":{\"values\":[]}}"},
        {"6{1{1'k' 2{2=1}} 1{1'l'}}",
         "{\"kvlistValue\":{\"values\":[{\"key\":\"k\",\"value\":{\"boolValue\":true}},{\"key\":\"l\"}]}}"},
        {"1'a' 3=5", "{\"intValue\":\"5\"}"}, /* a oneof: the last one set */
        {"3=5 1'a'", "{\"stringValue\":\"a\"}"},
        {"99'x'", "{}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char record[512], json[512];
        snprintf(record, sizeof record, "5{%s}", rows[i].record);
        snprintf(json, sizeof json, "{\"body\":%s}", rows[i].json);
        check_record(SL_OTLP_LOGS, record, json);
    }
}

SL_TEST(json_of_logs)
{
    static const row rows[] = {
        {"1q1 11q2 2=17 3'ERROR' 7=3 8w1 9xAB 10xCD 12'my.event'",
         "{\"timeUnixNano\":\"1\",\"observedTimeUnixNano\":\"2\",\"severityNumber\":17,\"severityText\":\"ERROR\","
         "\"droppedAttributesCount\":3,\"flags\":1,\"traceId\":\"ab\",\"spanId\":\"cd\",\"eventName\":\"my.event\"}"},
        {"9x 10x", "{}"},
        {"6{1'a' 2{1'b'}}", "{\"attributes\":[{\"key\":\"a\",\"value\":{\"stringValue\":\"b\"}}]}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        check_record(SL_OTLP_LOGS, rows[i].record, rows[i].json);
}

SL_TEST(json_of_metrics)
{
    static const row rows[] = {
        {"1'm' 2'd' 3'By'", "{\"name\":\"m\",\"description\":\"d\",\"unit\":\"By\"}"},
        {"5{1{3q1 4d2.5}}", "{\"gauge\":{\"dataPoints\":[{\"timeUnixNano\":\"1\",\"asDouble\":2.5}]}}"},
        {"7{1{2q1 3q2 6q-3 8=1} 2=2 3=1}",
         "{\"sum\":{\"dataPoints\":[{\"startTimeUnixNano\":\"1\",\"timeUnixNano\":\"2\",\"asInt\":\"-3\",\"flags\":1}],"
         "\"aggregationTemporality\":2,\"isMonotonic\":true}}"},
        {"7{1{4d1 6q2} 1{6q2 4d1}}", "{\"sum\":{\"dataPoints\":[{\"asInt\":\"2\"},{\"asDouble\":1}]}}"}, /* oneof */
        {"5{} 7{}", "{\"sum\":{}}"},
        {"9{1{4q3 5d1.5 6(q1 q2) 7(d0.5) 11d0.25 12d1} 2=1}",
         "{\"histogram\":{\"dataPoints\":[{\"count\":\"3\",\"sum\":1.5,\"bucketCounts\":[\"1\",\"2\"],"
         "\"explicitBounds\":[0.5],\"min\":0.25,\"max\":1}],\"aggregationTemporality\":1}}"},
        /* Repeated numbers one by one, and both ways at once ("Encoding", Repeated Elements). */
        {"9{1{6q1 6q2 7d0.5}}",
         "{\"histogram\":{\"dataPoints\":[{\"bucketCounts\":[\"1\",\"2\"],\"explicitBounds\":[0.5]}]}}"},
        {"9{1{6(q1 q2) 4q9 6q3 6(q4)}}",
         "{\"histogram\":{\"dataPoints\":[{\"count\":\"9\",\"bucketCounts\":[\"1\",\"2\",\"3\",\"4\"]}]}}"},
        {"9{1{6() 7()}}", "{\"histogram\":{\"dataPoints\":[{\"bucketCounts\":[],\"explicitBounds\":[]}]}}"},
        {"10{1{4q3 6z-2 7q1 8{1z-5 2(=1 =300)} 9{1z5 2=7 2=8} 14d0.1} 2=2}",
         "{\"exponentialHistogram\":{\"dataPoints\":[{\"count\":\"3\",\"scale\":-2,\"zeroCount\":\"1\",\"positive\":{"
         "\"offset\":-5,\"bucketCounts\":[\"1\",\"300\"]},\"negative\":{\"offset\":5,\"bucketCounts\":[\"7\",\"8\"]},"
         "\"zeroThreshold\":0.1}],\"aggregationTemporality\":2}}"},
        {"11{1{4q2 5d3 6{1d0.5 2d1.5} 6{1d1 2dnan}}}", "{\"summary\":{\"dataPoints\":[{\"count\":\"2\",\"sum\":3,"
                                                       "\"quantileValues\":[{\"quantile\":0.5,\"value\":1.5},"
                                                       "{\"quantile\":1,\"value\":\"NaN\"}]}]}}"},
        {"7{1{6q1 5{2q7 3d0.5 4xAA 5xBB 7{1'k'}} 5{6q-9}}}",
         "{\"sum\":{\"dataPoints\":[{\"asInt\":\"1\",\"exemplars\":[{\"filteredAttributes\":[{\"key\":\"k\"}],"
         "\"timeUnixNano\":\"7\",\"asDouble\":0.5,\"spanId\":\"aa\",\"traceId\":\"bb\"},{\"asInt\":\"-9\"}]}]}}"},
        {"12{1'k' 2{1'v'}}", "{\"metadata\":[{\"key\":\"k\",\"value\":{\"stringValue\":\"v\"}}]}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        check_record(SL_OTLP_METRICS, rows[i].record, rows[i].json);
}

SL_TEST(json_of_envelopes)
{
    static const row rows[] = {
        {"", "{}"},
        {"1{}", "{\"resourceSpans\":[{}]}"},
        {"1{1{1{1'service.name' 2{1's'}} 2=1} 3'url'}", "{\"resourceSpans\":[{\"resource\":{\"attributes\":[{\"key\":"
                                                        "\"service.name\",\"value\":{\"stringValue\":\"s\"}}],"
                                                        "\"droppedAttributesCount\":1},\"schemaUrl\":\"url\"}]}"},
        {"1{1{3{1'u' 2't' 3'a' 3'b' 4'c'}}}", "{\"resourceSpans\":[{\"resource\":{\"entityRefs\":[{\"schemaUrl\":\"u\","
                                              "\"type\":\"t\",\"idKeys\":[\"a\",\"b\"],"
                                              "\"descriptionKeys\":[\"c\"]}]}}]}"},
        {"1{2{1{1'n' 2'v' 3{1'k'} 4=2} 3'url'}}", "{\"resourceSpans\":[{\"scopeSpans\":[{\"scope\":{\"name\":\"n\","
                                                  "\"version\":\"v\",\"attributes\":[{\"key\":\"k\"}],"
                                                  "\"droppedAttributesCount\":2},\"schemaUrl\":\"url\"}]}]}"},
        {"1{} 2'unknown' 1{2{}}", "{\"resourceSpans\":[{},{\"scopeSpans\":[{}]}]}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sl_buf request;
        sl_buf_init(&request, 1u << 16);
        (void)put_fields(rows[i].record, &request);
        check_json(SL_OTLP_TRACES, sl_buf_str(&request), rows[i].record, sl_str_c(rows[i].json));
        sl_buf_done(&request);
    }
}

/* A log record whose body is `depth` arrays within each other. */
static void nest(size_t depth, sl_buf *out)
{
    size_t len = 0;
    char *bytes = malloc(16 * (depth + 8)), *at = bytes + 16 * (depth + 8);
    /* From the inside: AnyValue{array_value{values: …}}, then body, record, scope, resource. */
    for (size_t i = 0; i < 2 * depth + 4; i++) {
        static const uint32_t envelope[] = {5, 2, 2, 1};
        uint32_t number = i >= 2 * depth ? envelope[i - 2 * depth] : i % 2 ? 5 : 1;
        uint8_t head[16], *end = sl_pb_raw_varint(sl_pb_raw_tag(head, number, SL_PB_LEN), len);
        at -= end - head;
        memcpy(at, head, (size_t)(end - head));
        len += (size_t)(end - head);
    }
    CHECK_EQ(sl_buf_put(out, at, len), 0);
    free(bytes);
}

/* Deep values end in {}; behind a full buffer the depth was once no longer counted, and the stack ran out. */
SL_TEST(json_of_deep_values)
{
    static const size_t depths[] = {1, 20, 40, 60, 100, 1000, 100000};
    for (size_t i = 0; i < sizeof depths / sizeof depths[0]; i++) {
        sl_buf request, out;
        sl_buf_init(&request, 1u << 22);
        nest(depths[i], &request);
        for (size_t max = 1; max < 1000; max += 37) {
            sl_buf_init(&out, max);
            int error = sl_otlp_to_json(SL_OTLP_LOGS, sl_buf_str(&request), &out);
            CHECK(error == 0 || (error == SL_ELIMIT && out.len == 0));
            sl_buf_done(&out);
        }
        sl_buf_init(&out, 1u << 20);
        CHECK_EQ(sl_otlp_to_json(SL_OTLP_LOGS, sl_buf_str(&request), &out), 0);
        CHECK_EQ(sl_json_scan(sl_buf_str(&out), NULL, NULL, NULL, NULL), 0);
        sl_buf_done(&out);
        sl_buf_done(&request);
    }
}

SL_TEST(json_without_memory)
{
    sl_buf request;
    sl_buf_init(&request, 1u << 16);
    (void)put_fields("1{2{2{5{6{1{1'k' 2{7x000102030405060708090a0b0c0d0e0f}} 1{1'l' 2{1'text'}}}}}}}", &request);
    for (long n = 0;; n++) {
        sl_buf out;
        sl_buf_init(&out, 1u << 16);
        (void)sl_buf_put_c(&out, "kept");
        sl_test_fail_alloc(n);
        int error = sl_otlp_to_json(SL_OTLP_LOGS, sl_buf_str(&request), &out);
        bool failed = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        CHECK_EQ(error, failed ? SL_ENOMEM : 0);
        CHECK(!failed || sl_str_eq_c(sl_buf_str(&out), "kept"));
        sl_buf_done(&out);
        if (!failed)
            break;
    }
    sl_buf_done(&request);
}

/* ---- back ---- */

static int from_json(const char *json, sl_buf *out)
{
    char *exact = malloc(strlen(json) + 1); /* so that a sanitizer sees reads beyond */
    memcpy(exact, json, strlen(json));
    int error = sl_otlp_from_json(SL_OTLP_TRACES, sl_str_of(exact, strlen(json)), out);
    free(exact);
    return error;
}

#define SPAN(members) "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{" members "}]}]}]}"
#define VALUE(members) SPAN("\"attributes\":[{\"key\":\"k\",\"value\":{" members "}}]")

/* What others write otherwise than we do: it means the same. */
SL_TEST(json_that_others_write)
{
    static const struct {
        const char *json, *want;
    } rows[] = {
        {"{}", "{}"},
        {" {\"unknown\" : [1,{\"a\":null}] , \"resourceSpans\" : null}", "{}"},
        {"{\"resourceSpans\":[]}", "{}"},
        {SPAN("\"startTimeUnixNano\":1544712660000000000,\"kind\":\"3\""),
         SPAN("\"kind\":3,\"startTimeUnixNano\":\"1544712660000000000\"")},
        {SPAN("\"endTimeUnixNano\":5e3,\"traceId\":\"ABCD\",\"parentSpanId\":\"\",\"name\":null"),
         SPAN("\"traceId\":\"abcd\",\"endTimeUnixNano\":\"5000\"")},
        {SPAN("\"endTimeUnixNano\":\"18446744073709551615\""), SPAN("\"endTimeUnixNano\":\"18446744073709551615\"")},
        {SPAN("\"na\\u006de\":\"\\u00e9\\ud800\\n\""), SPAN("\"name\":\"\xc3\xa9\xef\xbf\xbd\\n\"")},
        {SPAN("\"name\":\"a\",\"name\":\"b\""), SPAN("\"name\":\"b\"")},
        {VALUE("\"intValue\":-7"), VALUE("\"intValue\":\"-7\"")},
        {VALUE("\"doubleValue\":\"-Infinity\""), VALUE("\"doubleValue\":\"-Infinity\"")},
        {VALUE("\"doubleValue\":\"2.5\""), VALUE("\"doubleValue\":2.5")},
        {VALUE("\"bytesValue\":\"-_8\""), VALUE("\"bytesValue\":\"+/8=\"")},
        {VALUE("\"stringValue\":\"\""), VALUE("\"stringValue\":\"\"")},
        {VALUE("\"arrayValue\":{}"), VALUE("\"arrayValue\":{\"values\":[]}")},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sl_buf request, json;
        sl_buf_init(&request, 1u << 16);
        sl_buf_init(&json, 1u << 16);
        CHECK_EQ(from_json(rows[i].json, &request), 0);
        CHECK_EQ(sl_otlp_to_json(SL_OTLP_TRACES, sl_buf_str(&request), &json), 0);
        CHECK_STR(sl_buf_str(&json), rows[i].want);
        sl_buf_done(&request);
        sl_buf_done(&json);
    }
}

SL_TEST(json_that_is_no_request)
{
    static const char *const texts[] = {
        "",
        "[]",
        "null",
        "{\"resourceSpans\":{}}",
        "{\"resourceSpans\":[1]}",
        "{\"resourceSpans\":[{}],}",
        SPAN("\"name\":1"),
        SPAN("\"kind\":\"SPAN_KIND_CLIENT\""),
        SPAN("\"kind\":4294967296"),
        SPAN("\"kind\":-1"),
        SPAN("\"kind\":1.5"),
        SPAN("\"kind\":\"\""),
        SPAN("\"startTimeUnixNano\":\"18446744073709551616\""),
        SPAN("\"startTimeUnixNano\":true"),
        SPAN("\"traceId\":\"abc\""),
        SPAN("\"traceId\":\"AAAAAAAAAAAAAAAAAAAAAA==\""),
        SPAN("\"status\":[]"),
        VALUE("\"boolValue\":1"),
        VALUE("\"intValue\":\"9223372036854775808\""),
        VALUE("\"doubleValue\":\"nan\""),
        VALUE("\"bytesValue\":\"a\""),
        VALUE("\"arrayValue\":[]"),
        VALUE("\"kvlistValue\":{\"values\":[1]}"),
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        sl_buf request;
        sl_buf_init(&request, 1u << 16);
        (void)sl_buf_put_c(&request, "kept");
        if (from_json(texts[i], &request) != SL_EPARSE)
            sl_test_failed(__FILE__, __LINE__, "read: %s", texts[i]);
        CHECK_STR(sl_buf_str(&request), "kept");
        sl_buf_done(&request);
    }
    static const char good[] = VALUE("\"kvlistValue\":{\"values\":[{\"key\":\"a\",\"value\":{\"intValue\":\"1\"}}]}");
    for (size_t cut = 0; cut < strlen(good); cut++) { /* every cut of it is refused; less room than it needs as well */
        sl_buf request, small;
        sl_buf_init(&request, 1u << 16);
        sl_buf_init(&small, 1 + cut % 20);
        CHECK_EQ(sl_otlp_from_json(SL_OTLP_TRACES, sl_str_of(good, cut), &request), SL_EPARSE);
        CHECK_EQ(sl_otlp_from_json(SL_OTLP_TRACES, sl_str_c(good), &small), SL_ELIMIT);
        CHECK_EQ(small.len, 0);
        sl_buf_done(&request);
        sl_buf_done(&small);
    }
}
