/* Zipkin v2 JSON: whole texts derived by hand from the mapping; what comes of it is always valid JSON without a name
 * twice. */
#include "src/wire/zipkin_json.h"

#include <stdio.h>

#include "src/wire/json_scan.h"
#include "src/wire/test_span_fixture.h"

typedef struct list {
    sl_buf request, json;
    size_t written, skipped;
    int error;
} list;

static void make(list *l, const char *service, const char *scope, void (*const *writers)(sl_buf *))
{
    memset(l, 0, sizeof *l);
    sl_buf_init(&l->request, 1u << 20);
    sl_buf_init(&l->json, 1u << 20);
    fx_resource_spans(&l->request, service, scope, writers);
    l->error = sl_otlp_to_zipkin(sl_buf_str(&l->request), &l->json, &l->written, &l->skipped);
}

static void done(list *l)
{
    sl_buf_done(&l->request);
    sl_buf_done(&l->json);
}

#define WRITERS(...) ((void (*const[])(sl_buf *)){__VA_ARGS__, NULL})

/* A tag of the first span, as JSON; empty when it has none. */
static sl_str member_of(sl_str json, const char *object, const char *name)
{
    sl_json_value root, span, none;
    sl_json_iter it;
    if (sl_json_parse(json, &root, NULL) || root.type != SL_JSON_ARRAY)
        return SL_STR("no list");
    sl_json_iter_init(&it, root);
    if (!sl_json_iter_next(&it, &none, &span))
        return SL_STR("no span");
    sl_json_value in = object ? sl_json_get(span, object) : span;
    sl_json_value value = sl_json_get(in, name);
    return value.type == SL_JSON_NONE ? SL_STR("") : value.raw;
}

SL_TEST(the_smallest_list)
{
    list l;
    make(&l, "svc", NULL, WRITERS(fx_small_span));
    CHECK_EQ(l.error, 0);
    CHECK_EQ(l.written, 1);
    CHECK_EQ(l.skipped, 0);
    CHECK_STR(sl_buf_str(&l.json),
              "[{\"traceId\":\"fe0102030405060708090a0b0c0d0e0f\",\"id\":\"8000000000000002\",\"name\":\"a\","
              "\"timestamp\":1700000000000000,\"duration\":1233,\"localEndpoint\":{\"serviceName\":\"svc\"},"
              "\"tags\":{\"process.pid\":\"7\"}}]");
    done(&l);
}

SL_TEST(everything_that_a_span_can_have)
{
    list l;
    make(&l, "svc", "lib", WRITERS(fx_full_span));
    CHECK_EQ(l.error, 0);
    CHECK_STR(
        sl_buf_str(&l.json),
        "[{\"traceId\":\"fe0102030405060708090a0b0c0d0e0f\",\"parentId\":\"0000000000000003\","
        "\"id\":\"8000000000000002\",\"kind\":\"CLIENT\",\"name\":\"call\","
        "\"timestamp\":1700000000000000,\"duration\":1233,\"localEndpoint\":{\"serviceName\":\"svc\"},"
        "\"remoteEndpoint\":{\"serviceName\":\"api.example\"},"
        "\"annotations\":[{\"timestamp\":1700000000000005,\"value\":\"\\\"retry\\\":{\\\"reason\\\":\\\"429\\\"}\"},"
        "{\"timestamp\":1700000000000009,\"value\":\"bare\"}],"
        "\"tags\":{\"otel.status_code\":\"ERROR\",\"error\":\"boom\","
        "\"otel.scope.name\":\"lib\",\"otel.scope.version\":\"1.2\","
        "\"otel.library.name\":\"lib\",\"otel.library.version\":\"1.2\",\"w3c.tracestate\":\"k=v\","
        "\"otlp.link.0\":\"10101010101010102020202020202020|0000000000000009||{}|0\","
        "\"otlp.link.1\":\"10101010101010102020202020202020|8000000000000002||{\\\"why\\\":\\\"batch\\\"}|0\","
        "\"otel.dropped_attributes_count\":\"2\",\"otel.dropped_events_count\":\"3\","
        "\"otel.dropped_links_count\":\"4\",\"server.address\":\"api.example\",\"n\":\"-5\",\"d\":\"0.5\","
        "\"t\":\"true\",\"raw\":\"AP8=\",\"list\":\"[1,\\\"x\\\\\\\"y\\\"]\",\"process.pid\":\"7\"}}]");
    done(&l);
}

/* ---- kind, status, times ---- */

static uint32_t kind_now, status_now;
static const char *message_now;
static uint64_t start_now, end_now;

static void span_now(sl_buf *b)
{
    fx_span_head(b, FX_TRACE, FX_SPAN, "", kind_now);
    if (status_now)
        fx_status(b, status_now, message_now);
    if (end_now) {
        (void)sl_pb_buf_fixed64(b, 7, start_now); /* the last one counts */
        (void)sl_pb_buf_fixed64(b, 8, end_now);
    }
}

SL_TEST(kinds_and_statuses)
{
    static const struct {
        uint32_t kind, status;
        const char *message, *kind_json, *status_json, *error_json;
    } table[] = {
        {0, 0, NULL, "", "", ""},
        {1, 0, NULL, "", "", ""},
        {2, 1, NULL, "\"SERVER\"", "\"OK\"", ""},
        {3, 1, "fine", "\"CLIENT\"", "\"OK\"", ""},
        {4, 2, NULL, "\"PRODUCER\"", "\"ERROR\"", "\"\""},
        {5, 2, "why\n", "\"CONSUMER\"", "\"ERROR\"", "\"why\\n\""},
        {6, 3, "x", "", "", ""},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        kind_now = table[i].kind;
        status_now = table[i].status;
        message_now = table[i].message;
        list l;
        make(&l, NULL, NULL, WRITERS(span_now));
        CHECK_STR(member_of(sl_buf_str(&l.json), NULL, "kind"), table[i].kind_json);
        CHECK_STR(member_of(sl_buf_str(&l.json), "tags", "otel.status_code"), table[i].status_json);
        CHECK_STR(member_of(sl_buf_str(&l.json), "tags", "error"), table[i].error_json);
        CHECK_STR(member_of(sl_buf_str(&l.json), NULL, "name"), "");
        CHECK_STR(member_of(sl_buf_str(&l.json), "localEndpoint", "serviceName"), "\"unknown_service\"");
        done(&l);
    }
    status_now = 0;
}

SL_TEST(times_are_whole_microseconds)
{
    static const struct {
        uint64_t start, end;
        const char *timestamp, *duration;
    } table[] = {
        {1234567, 1234568, "1234", "1"}, {1000, 2234, "1", "1"}, {1999, 4000, "1", "2"},
        {5000, 5000, "5", ""},           {5000, 4000, "5", ""},  /* a clock that went back */ {0, 10000, "", "10"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        start_now = table[i].start;
        end_now = table[i].end;
        list l;
        make(&l, "s", NULL, WRITERS(span_now));
        CHECK_STR(member_of(sl_buf_str(&l.json), NULL, "timestamp"), table[i].timestamp);
        CHECK_STR(member_of(sl_buf_str(&l.json), NULL, "duration"), table[i].duration);
        done(&l);
    }
    end_now = 0;
}

/* ---- remote endpoint ---- */

static const struct remote {
    uint32_t kind;
    const char *pairs[8];
    int64_t port;
    const char *want;
} remotes[] = {
    {3, {"server.address", "a", "peer.service", "p", NULL}, 0, "{\"serviceName\":\"p\"}"},
    {4, {"peer.address", "x", "net.peer.name", "n", NULL}, 0, "{\"serviceName\":\"n\"}"},
    {3, {"network.peer.address", "10.1.2.3", NULL}, 443, "{\"ipv4\":\"10.1.2.3\",\"port\":443}"},
    {3, {"network.peer.address", "fe80::1", NULL}, 0, "{\"ipv6\":\"fe80::1\"}"},
    {3, {"network.peer.address", "/run/x.sock", NULL}, 70000, "{\"serviceName\":\"/run/x.sock\"}"},
    {3, {"db.name", "d", "net.sock.peer.addr", "1.2.3.4", NULL}, 0, "{\"ipv4\":\"1.2.3.4\"}"},
    {3, {"db.name", "d", "peer.service", "", NULL}, 0, "{\"serviceName\":\"d\"}"},
    {3, {"other", "o", NULL}, 0, ""},
    {2, {"peer.service", "p", NULL}, 0, ""},
    {1, {"peer.service", "p", NULL}, 0, ""},
    {5, {"peer.service", "p", NULL}, 0, ""},
};
static const struct remote *remote_now;

static void span_with_peer(sl_buf *b)
{
    fx_span_head(b, FX_TRACE, FX_SPAN, "r", remote_now->kind);
    for (const char *const *p = remote_now->pairs; *p; p += 2)
        fx_str(b, 9, p[0], p[1]);
    if (remote_now->port)
        fx_attr(b, 9, "network.peer.port", sl_value_int(remote_now->port));
}

SL_TEST(remote_endpoints_by_rank)
{
    for (size_t i = 0; i < sizeof remotes / sizeof remotes[0]; i++) {
        remote_now = &remotes[i];
        list l;
        make(&l, "s", NULL, WRITERS(span_with_peer));
        CHECK_STR(member_of(sl_buf_str(&l.json), NULL, "remoteEndpoint"), remotes[i].want);
        CHECK(member_of(sl_buf_str(&l.json), "tags", remotes[i].pairs[0]).len > 0);
        done(&l);
    }
}

/* ---- names once ---- */

static void span_with_repeats(sl_buf *b)
{
    fx_span_head(b, FX_TRACE, FX_SPAN, "r", 1);
    fx_str(b, 9, "otel.scope.name", "mine");
    fx_str(b, 9, "process.pid", "span's");
    fx_str(b, 9, "twice", "first");
    fx_str(b, 9, "twice", "second");
    fx_str(b, 9, "service.name", "as an attribute");
    fx_str(b, 9, "otlp.link.0", "mine");
    fx_link(b, FX_OTHER, FX_FAR, NULL, NULL);
}

SL_TEST(a_name_is_written_once)
{
    list l;
    make(&l, "svc", "lib", WRITERS(span_with_repeats));
    CHECK_STR(member_of(sl_buf_str(&l.json), NULL, "tags"),
              "{\"otel.scope.name\":\"lib\",\"otel.scope.version\":\"1.2\",\"otel.library.name\":\"lib\","
              "\"otel.library.version\":\"1.2\","
              "\"otlp.link.0\":\"10101010101010102020202020202020|0000000000000009||{}|0\","
              "\"process.pid\":\"span's\",\"twice\":\"first\",\"service.name\":\"as an attribute\"}");
    done(&l);
}

static void span_with_many_attributes(sl_buf *b)
{
    fx_span_head(b, FX_TRACE, FX_SPAN, "m", 1);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 1000; i++) {
            char key[16];
            (void)snprintf(key, sizeof key, "k%d", i);
            fx_attr(b, 9, key, sl_value_int(round));
        }
    }
}

SL_TEST(many_names_once_each)
{
    list l;
    make(&l, "s", NULL, WRITERS(span_with_many_attributes, fx_small_span, span_with_many_attributes));
    CHECK_EQ(l.written, 3);
    sl_json_value root, key, span;
    sl_json_iter it;
    REQUIRE(sl_json_parse(sl_buf_str(&l.json), &root, NULL) == 0);
    static const size_t counts[] = {1001, 1, 1001};
    sl_json_iter_init(&it, root);
    for (size_t i = 0; i < 3; i++) {
        REQUIRE(sl_json_iter_next(&it, &key, &span));
        CHECK_EQ(sl_json_count(sl_json_get(span, "tags")), counts[i]);
    }
    CHECK_STR(member_of(sl_buf_str(&l.json), "tags", "k999"), "\"0\"");
    done(&l);
}

/* ---- `error` that says no ---- */

static sl_value error_now;

static void span_with_error_attribute(sl_buf *b)
{
    fx_span_head(b, FX_TRACE, FX_SPAN, "e", 1);
    fx_attr(b, 9, "error", error_now);
}

SL_TEST(an_error_tag_that_says_no_is_left_out)
{
    const struct {
        sl_value value;
        const char *want;
    } table[] = {{sl_value_bool(false), ""},
                 {sl_value_cstr("false"), ""},
                 {sl_value_bool(true), "\"true\""},
                 {sl_value_cstr("bad"), "\"bad\""}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        error_now = table[i].value;
        list l;
        make(&l, "s", NULL, WRITERS(span_with_error_attribute));
        CHECK_STR(member_of(sl_buf_str(&l.json), "tags", "error"), table[i].want);
        done(&l);
    }
}

/* ---- faults ---- */

static void span_without_trace(sl_buf *b)
{
    fx_span_head(b, SL_STR(""), FX_SPAN, "a", 1);
}

static void span_of_zeros(sl_buf *b)
{
    fx_span_head(b, FX_TRACE, SL_STR("\0\0\0\0\0\0\0\0"), "a", 1);
}

static void span_with_bad_text(sl_buf *b)
{
    fx_span_head(b, FX_TRACE, FX_SPAN, "a\xFF\"\x01", 1);
    fx_event(b, "\xFE", FX_START, "\xFD", "\xFC", 0);
}

SL_TEST(spans_that_zipkin_would_refuse_are_counted)
{
    list l;
    make(&l, "s", NULL, WRITERS(span_without_trace, span_with_bad_text, span_of_zeros));
    CHECK_EQ(l.error, 0);
    CHECK_EQ(l.written, 1);
    CHECK_EQ(l.skipped, 2);
    CHECK_STR(member_of(sl_buf_str(&l.json), NULL, "name"), "\"a\xEF\xBF\xBD\\\"\\u0001\"");
    done(&l);
    make(&l, "s", NULL, WRITERS(span_of_zeros));
    CHECK_EQ(l.written, 0);
    CHECK_STR(sl_buf_str(&l.json), "[]");
    done(&l);
}

SL_TEST(cut_anywhere_it_is_refused_or_valid)
{
    list l;
    make(&l, "svc", "lib", WRITERS(fx_full_span, fx_small_span));
    size_t refused = 0;
    for (size_t len = 0; len < l.request.len; len++) {
        size_t written = 77, skipped = 77;
        sl_json_value root;
        sl_buf out;
        sl_buf_init(&out, 1u << 20);
        int error = sl_otlp_to_zipkin(sl_str_sub(sl_buf_str(&l.request), 0, len), &out, &written, &skipped);
        refused += error != 0;
        CHECK(error == 0 || (error == SL_EPARSE && out.len == 0 && written == 77));
        CHECK(error || sl_json_parse(sl_buf_str(&out), &root, NULL) == 0);
        sl_buf_done(&out);
    }
    CHECK(refused > l.request.len / 2);
    done(&l);
}

SL_TEST(any_bit_changed_it_is_refused_or_valid)
{
    list l;
    make(&l, "svc", "lib", WRITERS(fx_full_span));
    sl_buf out;
    sl_buf_init(&out, 1u << 20);
    for (size_t bit = 0; bit < l.request.len * 8; bit++) {
        size_t written, skipped;
        sl_json_value root;
        l.request.data[bit / 8] = (char)(l.request.data[bit / 8] ^ (char)(1u << bit % 8));
        sl_buf_clear(&out);
        int error = sl_otlp_to_zipkin(sl_buf_str(&l.request), &out, &written, &skipped);
        CHECK(error || sl_json_parse(sl_buf_str(&out), &root, NULL) == 0);
        l.request.data[bit / 8] = (char)(l.request.data[bit / 8] ^ (char)(1u << bit % 8));
    }
    sl_buf_done(&out);
    done(&l);
}

SL_TEST(a_buffer_that_is_full_is_left_as_it_was)
{
    list l;
    make(&l, "svc", "lib", WRITERS(fx_full_span));
    for (size_t max = 1; max < l.json.len; max += 5) {
        size_t written = 9, skipped = 9;
        sl_buf out;
        sl_buf_init(&out, max);
        CHECK_EQ(sl_otlp_to_zipkin(sl_buf_str(&l.request), &out, &written, &skipped), SL_ELIMIT);
        CHECK(out.len == 0 && written == 9 && skipped == 9);
        sl_buf_done(&out);
    }
    done(&l);
}

SL_TEST(every_allocation_failing_in_turn)
{
    list l;
    make(&l, "svc", "lib", WRITERS(fx_full_span, span_with_many_attributes));
    for (long n = 0;; n++) {
        size_t written, skipped;
        sl_buf out;
        sl_buf_init(&out, 1u << 20);
        sl_test_fail_alloc(n);
        int error = sl_otlp_to_zipkin(sl_buf_str(&l.request), &out, &written, &skipped);
        bool failed = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        CHECK(failed ? error == SL_ENOMEM && out.len == 0 : error == 0);
        sl_buf_done(&out);
        if (!failed)
            break;
    }
    done(&l);
}
