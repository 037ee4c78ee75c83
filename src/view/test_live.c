/* The live view: grouping, JSON, eviction, prefixes, paths, threads, no memory. */
#include "src/view/live.h"

#include <arpa/inet.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "src/base/limits.h"
#include "src/export/gzip.h"
#include "src/net/lite/addr.h"
#include "src/view/test_live_fixture.h"
#include "src/wire/otlp_json.h"
#include "tests/harness/sl_test.h"

static void expect_list(const char *file, int line, sl_live *live, const sl_live_filter *filter, const char *want)
{
    sl_buf out;
    sl_buf_init(&out, 1u << 20);
    sl_test_check_eq(file, line, "error", sl_live_list_json(live, filter, &out), 0);
    sl_test_check_str(file, line, "list", sl_buf_str(&out), sl_str_c(want));
    sl_buf_done(&out);
}
#define EXPECT_LIST(...) expect_list(__FILE__, __LINE__, __VA_ARGS__)

static void expect_trace(const char *file, int line, sl_live *live, const char *id, int error, const char *want)
{
    sl_buf out;
    sl_buf_init(&out, 1u << 20);
    sl_test_check_eq(file, line, id, sl_live_trace_json(live, sl_str_c(id), &out), error);
    if (want)
        sl_test_check_str(file, line, "trace", sl_buf_str(&out), sl_str_c(want));
    sl_buf_done(&out);
}
#define EXPECT_TRACE(...) expect_trace(__FILE__, __LINE__, __VA_ARGS__)

/* ---- floods ---- */

#define SPAN_BYTES 400u

/* A span as the recorder writes it: the trace id first, which ends in the lowest byte of `trace`. */
static sl_str encoded(char *bytes, uint64_t trace)
{
    memset(bytes, 7, SPAN_BYTES);
    bytes[0] = 0x0a;
    bytes[1] = 16;
    for (unsigned i = 0; i < 8; i++)
        bytes[17 - i] = (char)(trace >> (8 * i));
    return sl_str_of(bytes, SPAN_BYTES);
}

/* Offers `count` spans, each of a new trace, within a second; returns how many are wanted. */
static unsigned offer(sl_live *live, unsigned count, uint64_t second, uint64_t *trace)
{
    char bytes[SPAN_BYTES];
    unsigned wanted = 0;
    for (unsigned i = 0; i < count; i++)
        wanted += sl_live_wants(live, encoded(bytes, ++*trace), second * 1000000000u + i);
    return wanted;
}

/* Without room for a burst: below the limit every span is wanted; above it one trace in 2, 4, 8 …; the next calm second
 * ends it. */
SL_TEST(live_thins_floods)
{
    static const struct {
        unsigned offered, least, most;
    } seconds[] = {
        {5000, 5000, 5000},  {5001, 5000, 5001}, {2500, 1250, 2500},  {2500, 2500, 2500}, {50000, 7500, 20000},
        {50000, 3000, 3250}, {10000, 600, 650},  {10000, 5000, 5000}, {4500, 2250, 2250}, {4500, 4500, 4500},
    };
    const sl_live_options small = {.max_bytes = 1};
    sl_live *live = sl_live_new(&small);
    REQUIRE(live != NULL);
    uint64_t left_out = 0, trace = 0;
    for (size_t i = 0; i < sizeof seconds / sizeof *seconds; i++) {
        unsigned wanted = offer(live, seconds[i].offered, i + 1, &trace);
        CHECK(wanted >= seconds[i].least && wanted <= seconds[i].most);
        left_out += seconds[i].offered - wanted;
    }
    sl_live_stats stats;
    sl_live_get_stats(live, &stats);
    CHECK_EQ(stats.thinned_spans, left_out);
    sl_live_free(live);
}

/* Half of the view's bytes come in at any speed; then floods are thinned; calm gives the room back. */
SL_TEST(live_keeps_a_burst)
{
    const unsigned room = 8u * 1024 * 1024 / SPAN_BYTES;
    sl_live *live = sl_live_new(NULL);
    uint64_t trace = 0;
    REQUIRE(live != NULL);
    CHECK_EQ(offer(live, room, 1, &trace), room);
    CHECK(offer(live, 100000, 2, &trace) < 40000);
    CHECK(offer(live, 100000, 3, &trace) < 12000);
    for (uint64_t second = 4; second < 8; second++)
        (void)offer(live, 10, second, &trace);
    unsigned some = room / 2; /* four seconds of 2 MiB, and what was owed */
    CHECK_EQ(offer(live, some, 8, &trace), some);
    CHECK_EQ(offer(live, room, 70, &trace), room);
    sl_live_free(live);
}

/* What begins before a flood is kept to its end; what was left out stays so when the flood is over. */
SL_TEST(live_keeps_traces_whole_in_a_flood)
{
    char bytes[SPAN_BYTES];
    const sl_live_options small = {.max_bytes = 1};
    sl_live *live = sl_live_new(&small);
    REQUIRE(live != NULL);
    uint64_t trace = 0, before = 1000, flood = (uint64_t)1 << 40;
    CHECK_EQ(offer(live, 1000, 1, &trace), 1000);
    (void)offer(live, 5000, 1, &flood);
    unsigned whole = 0;
    for (trace = 1; trace <= before; trace++)
        whole += sl_live_wants(live, encoded(bytes, trace), 1500000000u);
    CHECK_EQ(whole, before);
    flood = (uint64_t)1 << 41;
    (void)offer(live, 5000000, 2, &flood);
    bool first[512];
    unsigned kept = 0;
    for (unsigned i = 0; i < 512; i++) {
        first[i] = sl_live_wants(live, encoded(bytes, ((uint64_t)1 << 42) + i), 2000000000u);
        kept += first[i];
    }
    CHECK_EQ(kept, 4); /* one in 128 */
    for (unsigned i = 0; i < 512; i++)
        CHECK_EQ(sl_live_wants(live, encoded(bytes, ((uint64_t)1 << 42) + i), 90000000000u), first[i]);
    for (size_t len = 0; len < 18; len++) /* what does not begin with a trace id is let through */
        CHECK(sl_live_wants(live, sl_str_sub(encoded(bytes, 1), 0, len), 1000000000u));
    CHECK(sl_live_wants(live, SL_STR("\x12\x08xxxxxxxxxxxxxxxxxxxxxxxxxx"), 1000000000u));
    sl_live_free(live);
}

SL_TEST(live_groups_spans_in_any_order)
{
    static const spec child = {1, 0x12, 0x11, "chat model", 2000, 8000, 3, 0};
    static const spec root = {1, 0x11, 0, "POST /v1/chat/completions", 1000, 9000, 2, 0};
    static const spec worker = {1, 0x13, 0x12, "decode", 3000, 7000, 1, 2};
    static const spec other = {2, 0x21, 0x99, "alone", 0, 5, 5, 1};
    sl_live *live = sl_live_new(NULL);
    REQUIRE(live != NULL);
    EXPECT_LIST(live, NULL, "[]");
    CHECK_EQ(add(live, "gateway", &child, 1), 0);
    EXPECT_LIST(live, NULL,
                "[{\"trace_id\":\"00000001000000000000000000000000\",\"root\":\"chat model\",\"service\":\"gateway\","
                "\"start\":\"2025-11-14T10:30:45.123Z\",\"duration_ns\":6000,\"spans\":1,\"error\":false}]");
    CHECK_EQ(add(live, "elsewhere", &other, 1), 0);
    CHECK_EQ(add(live, "gateway", &root, 1), 0);
    CHECK_EQ(add(live, "llama", &worker, 1), 0);
    EXPECT_LIST(live, NULL,
                "[{\"trace_id\":\"00000001000000000000000000000000\",\"root\":\"POST /v1/chat/completions\","
                "\"service\":\"gateway\",\"start\":\"2025-11-14T10:30:45.123Z\",\"duration_ns\":8000,\"spans\":3,"
                "\"error\":true},"
                "{\"trace_id\":\"00000002000000000000000000000000\",\"root\":\"alone\",\"service\":\"elsewhere\","
                "\"start\":\"2025-11-14T10:30:45.123Z\",\"duration_ns\":5,\"spans\":1,\"error\":false}]");
    sl_live_filter filter = {1, {NULL, 0}};
    EXPECT_LIST(live, &filter,
                "[{\"trace_id\":\"00000001000000000000000000000000\",\"root\":\"POST /v1/chat/completions\","
                "\"service\":\"gateway\",\"start\":\"2025-11-14T10:30:45.123Z\",\"duration_ns\":8000,\"spans\":3,"
                "\"error\":true}]");
    filter = (sl_live_filter){5, SL_STR("elsewhere")};
    EXPECT_LIST(live, &filter,
                "[{\"trace_id\":\"00000002000000000000000000000000\",\"root\":\"alone\",\"service\":\"elsewhere\","
                "\"start\":\"2025-11-14T10:30:45.123Z\",\"duration_ns\":5,\"spans\":1,\"error\":false}]");
    filter.service = SL_STR("nobody");
    EXPECT_LIST(live, &filter, "[]");
    EXPECT_TRACE(live, "00000002", 0,
                 "{\"trace_id\":\"00000002000000000000000000000000\",\"spans\":[{\"span_id\":\"0000002100000000\","
                 "\"parent_span_id\":\"0000009900000000\",\"name\":\"alone\",\"kind\":\"CONSUMER\","
                 "\"service\":\"elsewhere\",\"start_ns\":1763116245123000000,\"duration_ns\":5,\"status\":\"OK\","
                 "\"attributes\":{},\"events\":[],\"links\":[]}]}");
    sl_buf out;
    sl_buf_init(&out, 1u << 20);
    CHECK_EQ(sl_live_trace_json(live, SL_STR("00000001000000000000000000000000"), &out), 0);
    (void)sl_buf_put_char(&out, 0);
    const char *post = strstr(out.data, "\"POST /v1"), *chat = strstr(out.data, "\"chat model\""),
               *decode = strstr(out.data, "\"decode\"");
    CHECK(post && chat && decode && post < chat && chat < decode); /* by start */
    CHECK(strstr(out.data, "\"parent_span_id\":null") != NULL);
    CHECK(strstr(out.data, "\"kind\":\"SERVER\"") && strstr(out.data, "\"kind\":\"CLIENT\""));
    sl_buf_done(&out);
    sl_live_free(live);
}

/* Everything that a span can hold, as bytes behind its plain fields. */
static void put_details(sl_buf *buf)
{
    sl_value items[2] = {sl_value_int(1), sl_value_cstr("two")};
    sl_attr members[1] = {sl_attr_bool("deep", true)};
    sl_attr attrs[] = {sl_attr_str("gen_ai.request.model", "m\"1"),
                       sl_attr_int("gen_ai.usage.input_tokens", 12),
                       sl_attr_double("d", 0.5),
                       sl_attr_double("nan", NAN),
                       sl_attr_bool("b", false),
                       sl_attr_of("none", sl_value_empty()),
                       sl_attr_of("bytes", sl_value_bytes("\0\1\2", 3)),
                       sl_attr_of("list", sl_value_array(items, 2)),
                       sl_attr_of("map", sl_value_map(members, 1))};
    size_t event = 0, link = 0, status = 0;
    CHECK_EQ(sl_otlp_buf_attrs(buf, 9, attrs, sizeof attrs / sizeof *attrs, SL_OTLP_NO_LIMIT), 0);
    CHECK_EQ(sl_pb_buf_open(buf, 11, &event), 0);
    CHECK_EQ(sl_pb_buf_fixed64(buf, 1, T0 + 50), 0);
    CHECK_EQ(sl_pb_buf_str(buf, 2, SL_STR("gen_ai.first_token")), 0);
    CHECK_EQ(sl_otlp_buf_attr(buf, 3, &attrs[2], SL_OTLP_NO_LIMIT), 0);
    sl_pb_buf_close(buf, event);
    CHECK_EQ(sl_pb_buf_open(buf, 13, &link), 0);
    put_number_id(buf, 1, 7, 16);
    put_number_id(buf, 2, 8, 8);
    sl_pb_buf_close(buf, link);
    CHECK_EQ(sl_pb_buf_open(buf, 15, &status), 0);
    CHECK_EQ(sl_pb_buf_str(buf, 2, SL_STR("went wrong")), 0);
    CHECK_EQ(sl_pb_buf_uint(buf, 3, 2), 0);
    sl_pb_buf_close(buf, status);
    CHECK_EQ(sl_pb_buf_str(buf, 3, SL_STR("v=1")), 0);
}

SL_TEST(live_shows_all_of_a_span)
{
    static const spec one = {3, 0x31, 0, "op", 0, 100, 1, 0};
    sl_buf more, request;
    sl_buf_init(&more, 1u << 20);
    sl_buf_init(&request, 1u << 20);
    put_details(&more);
    put_resource(&request, "svc", &one, 1, sl_buf_str(&more));
    sl_live *live = sl_live_new(NULL);
    REQUIRE(live != NULL);
    CHECK_EQ(sl_live_add(live, sl_buf_str(&request)), 0);
    EXPECT_TRACE(live, "0000000300000000", 0,
                 "{\"trace_id\":\"00000003000000000000000000000000\",\"spans\":[{\"span_id\":\"0000003100000000\","
                 "\"parent_span_id\":null,\"name\":\"op\",\"kind\":\"INTERNAL\",\"service\":\"svc\","
                 "\"start_ns\":1763116245123000000,\"duration_ns\":100,\"status\":\"ERROR\","
                 "\"status_message\":\"went wrong\",\"attributes\":{\"gen_ai.request.model\":\"m\\\"1\","
                 "\"gen_ai.usage.input_tokens\":12,\"d\":0.5,\"nan\":\"NaN\",\"b\":false,\"none\":null,"
                 "\"bytes\":\"AAEC\",\"list\":[1,\"two\"],\"map\":{\"deep\":true}},"
                 "\"events\":[{\"name\":\"gen_ai.first_token\",\"time_ns\":1763116245123000050,"
                 "\"attributes\":{\"d\":0.5}}],"
                 "\"links\":[{\"trace_id\":\"00000007000000000000000000000000\",\"span_id\":\"0000000800000000\","
                 "\"attributes\":{}}],\"tracestate\":\"v=1\"}]}");
    sl_live_free(live);
    sl_buf_done(&more);
    sl_buf_done(&request);
}

/* Times that no signed number holds, as a clock that is off gives them, must not make the list unreadable. */
SL_TEST(live_numbers_can_be_read_by_all)
{
    static const spec specs[] = {{1, 1, 0, "wrong", 0, UINT64_MAX - T0, 2, 0},
                                 {2, 2, 0, "later", UINT64_MAX - T0, 0, 2, 0}};
    sl_live *live = sl_live_new(NULL);
    REQUIRE(live != NULL);
    CHECK_EQ(add(live, "s", specs, 2), 0);
    sl_buf out;
    sl_buf_init(&out, 1u << 20);
    CHECK_EQ(sl_live_list_json(live, NULL, &out), 0);
    CHECK_EQ(sl_live_trace_json(live, SL_STR("00000001"), &out), 0);
    CHECK_EQ(sl_live_trace_json(live, SL_STR("00000002"), &out), 0);
    CHECK(sl_str_find(sl_buf_str(&out), SL_STR(":9223372036854775807")) != SL_NPOS);
    sl_str rest = sl_buf_str(&out);
    for (size_t i = 0; i + 19 < rest.len; i++) { /* no number of 20 digits, none above INT64_MAX of 19 */
        size_t digits = 0;
        while (i + digits < rest.len && rest.ptr[i + digits] >= '0' && rest.ptr[i + digits] <= '9')
            digits++;
        CHECK(digits < 19 || rest.ptr[i - 1] == '"' || memcmp(rest.ptr + i, "9223372036854775807", 19) <= 0);
        i += digits;
    }
    sl_buf_done(&out);
    sl_live_free(live);
}

SL_TEST(live_finds_by_prefix)
{
    spec a = {0xABCD0001, 1, 0, "a", 0, 1, 1, 0}, b = {0xABCD0002, 2, 0, "b", 0, 1, 1, 0};
    sl_live *live = sl_live_new(NULL);
    CHECK_EQ(add(live, "s", &a, 1), 0);
    CHECK_EQ(add(live, "s", &b, 1), 0);
    EXPECT_TRACE(live, "abcd", SL_EEXIST, "");
    EXPECT_TRACE(live, "ABCD0001", 0, NULL);
    EXPECT_TRACE(live, "abcd000", SL_EEXIST, "");
    EXPECT_TRACE(live, "abce", SL_ENOENT, "");
    EXPECT_TRACE(live, "abc", SL_EPARSE, "");
    EXPECT_TRACE(live, "", SL_EPARSE, "");
    EXPECT_TRACE(live, "abcd0001zz", SL_EPARSE, "");
    EXPECT_TRACE(live, "abcd00010000000000000000000000000", SL_EPARSE, "");
    sl_live_free(live);
}

SL_TEST(live_forgets_the_oldest)
{
    sl_live_options options = {10, 0};
    sl_live *live = sl_live_new(&options);
    for (uint32_t i = 1; i <= 25; i++) {
        spec s = {i << 16, i, 0, "s", 0, 1, 1, 0};
        CHECK_EQ(add(live, "s", &s, 1), 0);
        if (i == 12) {
            spec again = {5 << 16, 99, 5, "late", 0, 1, 1, 0};
            CHECK_EQ(add(live, "s", &again, 1), 0); /* number 5 is young again */
        }
    }
    sl_live_stats stats;
    sl_live_get_stats(live, &stats);
    CHECK_EQ(stats.traces, 10);
    CHECK_EQ(stats.spans, 10);
    CHECK_EQ(stats.received_spans, 26);
    CHECK_EQ(stats.evicted_traces, 15);
    EXPECT_TRACE(live, "000f", SL_ENOENT, "");
    EXPECT_TRACE(live, "0010", 0, NULL);
    EXPECT_TRACE(live, "0019", 0, NULL);
    sl_live_free(live);
}

SL_TEST(live_keeps_to_its_bytes)
{
    sl_live_options options = {0, 64 * 1024};
    sl_live *live = sl_live_new(&options);
    sl_buf more, request;
    char text[4000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    sl_attr attr = sl_attr_str("long", text);
    sl_buf_init(&more, 1u << 20);
    sl_buf_init(&request, 1u << 20);
    CHECK_EQ(sl_otlp_buf_attr(&more, 9, &attr, SL_OTLP_NO_LIMIT), 0);
    for (uint32_t i = 1; i <= 100; i++) {
        spec s = {i << 16, i, 0, "s", 0, 1, 1, 0};
        sl_buf_clear(&request);
        put_resource(&request, "s", &s, 1, sl_buf_str(&more));
        CHECK_EQ(sl_live_add(live, sl_buf_str(&request)), 0);
        sl_live_stats stats;
        sl_live_get_stats(live, &stats);
        CHECK(stats.bytes <= 64 * 1024 && stats.traces >= 1);
    }
    /* One trace takes a quarter at most, and loses what comes later. */
    for (uint32_t i = 1; i <= 100; i++) {
        spec s = {0x770000, i, 0, "s", 0, 1, 1, 0};
        sl_buf_clear(&request);
        put_resource(&request, "s", &s, 1, sl_buf_str(&more));
        CHECK_EQ(sl_live_add(live, sl_buf_str(&request)), 0);
    }
    sl_live_stats stats;
    sl_live_get_stats(live, &stats);
    CHECK(stats.traces > 5);
    CHECK(stats.dropped_spans > 90);
    /* A span that is too large by itself leaves no empty trace. */
    sl_buf_clear(&more);
    for (int i = 0; i < 5; i++)
        CHECK_EQ(sl_otlp_buf_attr(&more, 9, &attr, SL_OTLP_NO_LIMIT), 0);
    spec s = {0x990000, 1, 0, "s", 0, 1, 1, 0};
    sl_buf_clear(&request);
    put_resource(&request, "s", &s, 1, sl_buf_str(&more));
    CHECK_EQ(sl_live_add(live, sl_buf_str(&request)), 0);
    EXPECT_TRACE(live, "00990000", SL_ENOENT, "");
    sl_live_free(live);
    sl_buf_done(&more);
    sl_buf_done(&request);
}

SL_TEST(live_survives_damage)
{
    static const spec specs[2] = {{1, 1, 0, "first", 0, 1, 1, 0}, {1, 2, 1, "second", 0, 1, 1, 0}};
    sl_buf request, more;
    sl_buf_init(&request, 1u << 20);
    sl_buf_init(&more, 1u << 20);
    put_details(&more);
    put_resource(&request, "svc", specs, 2, sl_buf_str(&more));
    for (size_t i = 0; i < request.len; i++) {
        sl_live *live = sl_live_new(NULL);
        char *copy = malloc(request.len);
        sl_buf out;
        sl_buf_init(&out, 1u << 20);
        memcpy(copy, request.data, request.len);
        copy[i] = (char)(copy[i] ^ 0x41);
        int error = sl_live_add(live, sl_str_of(copy, request.len));
        CHECK(error == 0 || error == SL_EPARSE);
        error = sl_live_add(live, sl_str_of(copy, i));
        CHECK(error == 0 || error == SL_EPARSE);
        CHECK_EQ(sl_live_list_json(live, NULL, &out), 0);
        error = sl_live_trace_json(live, SL_STR("00000001"), &out);
        CHECK(error == 0 || error == SL_ENOENT || error == SL_EEXIST);
        sl_buf_done(&out);
        free(copy);
        sl_live_free(live);
    }
    sl_buf_done(&request);
    sl_buf_done(&more);
}

SL_TEST(live_survives_no_memory)
{
    static const spec specs[2] = {{1, 1, 0, "first", 0, 1, 1, 0}, {2, 2, 1, "second", 0, 1, 1, 0}};
    sl_buf request;
    sl_buf_init(&request, 1u << 20);
    put_resource(&request, "svc", specs, 2, sl_str_of(NULL, 0));
    for (long n = 0; n < 40; n++) {
        sl_buf out;
        sl_buf_init(&out, 1u << 20);
        sl_test_fail_alloc(n);
        sl_live *live = sl_live_new(NULL);
        int error = live ? sl_live_add(live, sl_buf_str(&request)) : SL_ENOMEM;
        if (!error)
            error = sl_live_list_json(live, NULL, &out);
        if (!error)
            error = sl_live_trace_json(live, SL_STR("00000001"), &out);
        bool failed = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        CHECK_EQ(error, failed ? SL_ENOMEM : 0);
        sl_buf_done(&out);
        sl_live_free(live);
        if (!failed)
            break;
    }
    sl_live_free(NULL);
    sl_buf_done(&request);
}

/* ---- the exporter and the paths ---- */

static void ask(sl_live *live, const char *path, const char *query, int status, const char *part)
{
    sl_ctl_route routes[SL_LIVE_ROUTES];
    sl_ctl_request request;
    sl_ctl_response response;
    sl_live_routes(live, routes);
    memset(&request, 0, sizeof request);
    memset(&response, 0, sizeof response);
    request.method = SL_CTL_GET;
    request.path = sl_str_c(path);
    request.query = sl_str_c(query);
    response.status = 200;
    sl_buf_init(&response.body, 1u << 20);
    sl_buf_init(&response.headers, 1024);
    bool single = sl_str_starts(request.path, SL_STR("/traces/"));
    if (single)
        request.path_rest = sl_str_sub(request.path, 8, SL_NPOS);
    const sl_ctl_route *route = &routes[single ? 1 : 0];
    CHECK_EQ(route->methods, SL_CTL_GET);
    route->fn(route->user, &request, &response);
    CHECK_EQ(response.status, status);
    if (sl_str_find(sl_buf_str(&response.body), sl_str_c(part)) == SL_NPOS)
        sl_test_failed(__FILE__, __LINE__, "%s?%s: no %s in %.*s", path, query, part, (int)response.body.len,
                       response.body.data);
    sl_buf_done(&response.body);
    sl_buf_done(&response.headers);
}

SL_TEST(live_paths)
{
    sl_live *live = sl_live_new(NULL);
    sl_exporter exporter = sl_live_exporter(live);
    CHECK(exporter.immediate && exporter.signals == SL_SIGNAL_BIT(SL_SIGNAL_TRACES));
    sl_buf request;
    uint64_t retry = 0, rejected = 0;
    spec a = {0x11112222, 1, 0, "a", 0, 1, 1, 0};
    sl_buf_init(&request, 1u << 20);
    put_resource(&request, "my service", &a, 1, sl_str_of(NULL, 0));
    CHECK_EQ(exporter.deliver(exporter.user, SL_SIGNAL_TRACES, sl_buf_str(&request), 1, 100, &retry, &rejected), 0);
    CHECK_EQ(exporter.deliver(exporter.user, SL_SIGNAL_LOGS, sl_buf_str(&request), 1, 100, &retry, &rejected),
             SL_EINVAL);
    sl_buf_done(&request);
    ask(live, "/traces", "", 200, "\"root\":\"a\"");
    ask(live, "/traces", "limit=5&service=my%20service", 200, "\"root\":\"a\"");
    ask(live, "/traces", "service=my+service", 200, "\"root\":\"a\"");
    ask(live, "/traces", "service=other", 200, "[]");
    ask(live, "/traces", "limit=0", 400, "\"bad_request\"");
    ask(live, "/traces", "limit=x", 400, "\"bad_request\"");
    ask(live, "/traces", "limit=99999999999", 200, "\"root\":\"a\"");
    ask(live, "/traces", "limit=&service=", 200, "\"root\":\"a\"");
    ask(live, "/traces", "other=%zz", 200, "\"root\":\"a\"");
    /* What is asked for and cannot be read is refused, not left out: everything would be shown. */
    ask(live, "/traces", "limit=%zz", 400, "\"bad_request\"");
    ask(live, "/traces", "limit=000000000000000000000000000001", 400, "\"bad_request\"");
    ask(live, "/traces", "service=%4", 400, "\"bad_request\"");
    char longest[300] = "service=";
    memset(longest + 8, 's', 255);
    ask(live, "/traces", longest, 200, "[]");
    longest[8 + 255] = 's';
    ask(live, "/traces", longest, 400, "at most 255 bytes");
    ask(live, "/traces/11112222", "", 200, "\"spans\":[");
    ask(live, "/traces/1111222200000000000000000000000", "", 200, "\"spans\":[");
    ask(live, "/traces/ffffffff", "", 404, "{\"error\":{\"message\":");
    ask(live, "/traces/nonsense", "", 404, "{\"error\":{\"message\":");
    ask(live, "/traces/", "", 404, "\"not_found\"");
    sl_live_free(live);
}

/* What other processes send, through a real server: its fields and its limits belong to the answer. */
static int post(uint16_t port, const char *fields, sl_str body, char *ret_answer, size_t size)
{
    char head[512];
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)snprintf(head, sizeof head,
                   "POST /v1/traces HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%sContent-Length: %zu\r\n\r\n", fields,
                   body.len);
    size_t have = 0;
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0 && write(fd, head, strlen(head)) > 0) {
        size_t sent = 0;
        ssize_t n = 1;
        while (sent < body.len && (n = send(fd, body.ptr + sent, body.len - sent, MSG_NOSIGNAL)) > 0)
            sent += (size_t)n;
        while (have + 1 < size && (n = read(fd, ret_answer + have, size - 1 - have)) > 0)
            have += (size_t)n;
    }
    ret_answer[have] = '\0';
    close(fd);
    return strncmp(ret_answer, "HTTP/1.1 ", 9) == 0 ? (int)strtol(ret_answer + 9, NULL, 10) : 0;
}

#define PROTOBUF "Content-Type: application/x-protobuf\r\n"

#define AS_JSON "Content-Type: application/json\r\n"
#define PACKED "Content-Encoding: gzip\r\n"

/* The same spans as JSON, and compressed; answers come as the requests do. */
static void check_encodings(sl_live *live, uint16_t port, sl_str request)
{
    char answer[4096];
    sl_buf json, packed, zeros;
    sl_buf_init(&json, 1u << 20);
    sl_buf_init(&packed, 1u << 20);
    sl_buf_init(&zeros, 64u << 20);
    REQUIRE(sl_otlp_to_json(SL_OTLP_TRACES, request, &json) == 0);
    for (char *at = json.data; (at = memmem(at, (size_t)(json.data + json.len - at), "elsewhere", 9)); at += 9)
        memcpy(at, "by json  ", 9);
    CHECK_EQ(post(port, AS_JSON, sl_buf_str(&json), answer, sizeof answer), 200);
    CHECK(strstr(answer, "Content-Type: application/json\r\n") && strstr(answer, "\r\n\r\n{}"));
    ask(live, "/traces", "service=by+json++", 200, "\"root\":\"a\"");
    REQUIRE(sl_gzip_pack(sl_buf_str(&json), &packed) == 0);
    CHECK_EQ(post(port, AS_JSON PACKED, sl_buf_str(&packed), answer, sizeof answer), 200);
    CHECK_EQ(post(port, AS_JSON, sl_buf_str(&packed), answer, sizeof answer), 400);
    CHECK(strstr(answer, "{\"code\":3,\"message\":\"the body is no ExportTraceServiceRequest") != NULL);
    CHECK_EQ(post(port, AS_JSON PACKED, sl_str_sub(sl_buf_str(&packed), 0, packed.len - 4), answer, sizeof answer),
             400);
    CHECK_EQ(post(port, PROTOBUF PACKED, request, answer, sizeof answer), 400);
    sl_buf_clear(&packed);
    REQUIRE(sl_gzip_pack(request, &packed) == 0);
    CHECK_EQ(post(port, PROTOBUF PACKED, sl_buf_str(&packed), answer, sizeof answer), 200);
    CHECK(strstr(answer, "Content-Type: application/x-protobuf\r\n") != NULL);
    while (zeros.len < SL_LIVE_POST_BYTES + 4096) /* a few kilobytes that would unpack to more than is taken */
        (void)sl_buf_put(&zeros, (const char[4096]){0}, 4096);
    sl_buf_clear(&packed);
    REQUIRE(sl_gzip_pack(sl_buf_str(&zeros), &packed) == 0);
    CHECK_EQ(post(port, PROTOBUF PACKED, sl_buf_str(&packed), answer, sizeof answer), 413);
    sl_buf_done(&json);
    sl_buf_done(&packed);
    sl_buf_done(&zeros);
}

SL_TEST(live_takes_spans_of_other_processes)
{
    sl_live *live = sl_live_new(NULL);
    sl_ctl_route routes[SL_LIVE_ROUTES];
    const sl_ctl_options options = {.max_body_bytes = SL_LIVE_POST_BYTES};
    sl_ctl_server *server = sl_ctl_server_new(&options);
    sl_addr any, real;
    char answer[4096];
    int fd;
    sl_live_routes(live, routes);
    REQUIRE(sl_addr_parse(SL_STR("127.0.0.1:0"), "127.0.0.1", &any, NULL) == 0);
    REQUIRE(sl_addr_listen(&any, NULL, &fd, &real, NULL) == 0);
    REQUIRE(sl_ctl_server_add(server, fd, routes, SL_LIVE_ROUTES) == 0 && sl_ctl_server_start(server) == 0);
    sl_buf request;
    spec a = {0x11112222, 1, 0, "a", 0, 1, 1, 0};
    sl_buf_init(&request, 64u << 20);
    put_resource(&request, "elsewhere", &a, 1, sl_str_of(NULL, 0));
    sl_str good = sl_buf_str(&request);
    CHECK_EQ(post(real.port, PROTOBUF, good, answer, sizeof answer), 200);
    CHECK(strstr(answer, "Content-Type: application/x-protobuf\r\n") != NULL);
    ask(live, "/traces", "service=elsewhere", 200, "\"root\":\"a\"");
    CHECK_EQ(post(real.port, "Content-Type: application/x-protobuf; x=y\r\nContent-Encoding: identity\r\n", good,
                  answer, sizeof answer),
             200);
    CHECK_EQ(post(real.port, PROTOBUF, sl_str_of(NULL, 0), answer, sizeof answer), 200);
    CHECK_EQ(post(real.port, PROTOBUF, sl_str_sub(good, 0, good.len - 3), answer, sizeof answer), 400);
    CHECK(strstr(answer, "\x08\x03\x12") && strstr(answer, "no ExportTraceServiceRequest"));
    CHECK_EQ(post(real.port, PROTOBUF, SL_STR("{\"resourceSpans\":[]}"), answer, sizeof answer), 400);
    CHECK_EQ(post(real.port, "Content-Type: text/plain\r\n", good, answer, sizeof answer), 415);
    CHECK(strstr(answer, "application/x-protobuf") != NULL);
    CHECK_EQ(post(real.port, "", good, answer, sizeof answer), 415);
    CHECK_EQ(post(real.port, PROTOBUF "Content-Encoding: br\r\n", good, answer, sizeof answer), 415);
    CHECK(strstr(answer, "Accept-Encoding: gzip\r\n") && strstr(answer, "compressed by gzip"));
    check_encodings(live, real.port, good);
    sl_live_stats stats;
    sl_live_get_stats(live, &stats);
    CHECK_EQ(stats.traces, 1);
    while (request.len <= SL_LIVE_POST_BYTES)
        (void)sl_buf_put(&request, "0123456789abcdef", 16);
    CHECK_EQ(post(real.port, PROTOBUF, sl_buf_str(&request), answer, sizeof answer), 413);
    sl_ctl_server_free(server);
    sl_buf_done(&request);
    sl_live_free(live);
}

/* ---- threads ---- */

static void *feed(void *user)
{
    for (uint32_t i = 0; i < 300; i++) {
        spec s = {i << 16, i, 0, "s", 0, 1, 1, 0};
        CHECK_EQ(add(user, "s", &s, 1), 0);
    }
    return NULL;
}

SL_TEST(live_serves_threads)
{
    sl_live_options options = {50, 0};
    sl_live *live = sl_live_new(&options);
    pthread_t threads[3];
    for (size_t i = 0; i < 3; i++)
        REQUIRE(pthread_create(&threads[i], NULL, feed, live) == 0);
    for (int i = 0; i < 100; i++) {
        sl_buf out;
        sl_buf_init(&out, 1u << 20);
        CHECK_EQ(sl_live_list_json(live, NULL, &out), 0);
        sl_buf_done(&out);
    }
    for (size_t i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    sl_live_stats stats;
    sl_live_get_stats(live, &stats);
    CHECK_EQ(stats.traces, 50);
    CHECK_EQ(stats.received_spans, 900);
    sl_live_free(live);
}
