/* Answers of OTLP servers: both encodings, RetryInfo, verdicts, truncation. */
#include "src/wire/otlp_response.h"

#include <stdlib.h>

#include "src/wire/base64.h"
#include "src/wire/pb.h"
#include "tests/harness/sl_test.h"

SL_TEST(full_success)
{
    sl_otlp_response r;
    CHECK_EQ(sl_otlp_response_parse(SL_STR(""), false, &r), 0);
    CHECK(!r.partial && r.rejected == 0 && r.message[0] == '\0');
    CHECK_EQ(sl_otlp_response_parse(SL_STR(""), true, &r), 0);
    CHECK_EQ(sl_otlp_response_parse(SL_STR("{}"), true, &r), 0);
    CHECK(!r.partial);
    CHECK_EQ(sl_otlp_response_parse(SL_STR("{\"partialSuccess\":{}}"), true, &r), 0);
    CHECK(!r.partial);
    CHECK_EQ(sl_otlp_response_parse(SL_STR("\x0a\x00"), false, &r), 0);
    CHECK(!r.partial);
}

SL_TEST(partial_success)
{
    sl_otlp_response r;
    CHECK_EQ(sl_otlp_response_parse(SL_STR("\x0a\x06\x08\x05\x12\x02no"), false, &r), 0);
    CHECK(r.partial && r.rejected == 5);
    CHECK_STR(sl_str_c(r.message), "no");
    CHECK_EQ(sl_otlp_response_parse(SL_STR("\x0a\x06\x12\x04warn"), false, &r), 0);
    CHECK(r.partial && r.rejected == 0);
    static const char *const json[] = {
        "{\"partialSuccess\":{\"rejectedSpans\":\"5\",\"errorMessage\":\"no\"}}",
        "{\"partialSuccess\":{\"rejectedLogRecords\":5,\"errorMessage\":\"no\"},\"other\":1}",
        "{\"partialSuccess\":{\"rejectedDataPoints\":\"5\",\"errorMessage\":\"\\u006eo\"}}",
    };
    for (size_t i = 0; i < 3; i++) {
        CHECK_EQ(sl_otlp_response_parse(sl_str_c(json[i]), true, &r), 0);
        CHECK(r.partial && r.rejected == 5);
        CHECK_STR(sl_str_c(r.message), "no");
    }
    CHECK_EQ(sl_otlp_response_parse(SL_STR("[]"), true, &r), SL_EPARSE);
    CHECK_EQ(sl_otlp_response_parse(SL_STR("{\"partialSuccess\":"), true, &r), SL_EPARSE);
    CHECK_EQ(sl_otlp_response_parse(SL_STR("<html>"), false, &r), SL_EPARSE);
    CHECK_EQ(r.rejected, 5); /* untouched */
}

/* Status{code, message, details: [other, RetryInfo{seconds, nanos}]} */
static void make_status(sl_buf *buf, const char *type, uint64_t seconds, uint64_t nanos)
{
    size_t any = 0, value = 0, delay = 0;
    (void)sl_pb_buf_uint(buf, 1, 8);
    (void)sl_pb_buf_str(buf, 2, SL_STR("slow down"));
    (void)sl_pb_buf_open(buf, 3, &any);
    (void)sl_pb_buf_str(buf, 1, SL_STR("type.googleapis.com/google.rpc.DebugInfo"));
    (void)sl_pb_buf_str(buf, 2, SL_STR("\xff\xff"));
    sl_pb_buf_close(buf, any);
    (void)sl_pb_buf_open(buf, 3, &any);
    (void)sl_pb_buf_str(buf, 1, sl_str_c(type));
    (void)sl_pb_buf_open(buf, 2, &value);
    (void)sl_pb_buf_open(buf, 1, &delay);
    if (seconds)
        (void)sl_pb_buf_uint(buf, 1, seconds);
    if (nanos)
        (void)sl_pb_buf_uint(buf, 2, nanos);
    sl_pb_buf_close(buf, delay);
    sl_pb_buf_close(buf, value);
    sl_pb_buf_close(buf, any);
    CHECK_EQ(buf->failed, 0);
}

#define RETRY "type.googleapis.com/google.rpc.RetryInfo"

SL_TEST(retry_info)
{
    static const struct {
        const char *type;
        uint64_t seconds, nanos;
        bool has;
        uint64_t ms;
    } table[] = {
        {RETRY, 3, 0, true, 3000},
        {RETRY, 0, 500000000, true, 500},
        {RETRY, 1, 1, true, 1001},
        {RETRY, 0, 0, true, 0},
        {RETRY, UINT64_MAX, 0, true, 0},
        {RETRY, INT64_MAX, 0, true, 315576000000000},
        {RETRY, 1, 5000000000, true, 1706}, /* nanos are 32 bits */
        {"example.com/google.rpc.RetryInfo", 1, 0, true, 1000},
        {"google.rpc.RetryInfo", 1, 0, true, 1000},
        {"type.googleapis.com/google.rpc.Help", 1, 0, false, 0},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        sl_buf buf, text;
        sl_buf_init(&buf, 10000);
        sl_buf_init(&text, 10000);
        make_status(&buf, table[i].type, table[i].seconds, table[i].nanos);
        sl_otlp_status s;
        REQUIRE(sl_otlp_status_parse(sl_buf_str(&buf), false, &s) == 0);
        CHECK_EQ(s.code, 8);
        CHECK_STR(sl_str_c(s.message), "slow down");
        CHECK_EQ(s.has_retry_info, table[i].has);
        CHECK_EQ(s.retry_delay_ms, table[i].ms);
        CHECK_EQ(sl_base64_encode(&text, sl_buf_str(&buf)), 0);
        sl_otlp_status again;
        CHECK_EQ(sl_otlp_status_parse_base64(sl_buf_str(&text), &again), 0);
        CHECK_EQ(again.retry_delay_ms, table[i].ms);
        sl_str bare = sl_buf_str(&text); /* gRPC sends it without padding */
        while (bare.len && bare.ptr[bare.len - 1] == '=')
            bare.len--;
        CHECK_EQ(sl_otlp_status_parse_base64(bare, &again), 0);
        CHECK_EQ(again.retry_delay_ms, table[i].ms);
        for (size_t cut = 0; cut < buf.len; cut++) {
            char *exact = malloc(cut + 1);
            REQUIRE(exact);
            memcpy(exact, buf.data, cut);
            (void)!sl_otlp_status_parse(sl_str_of(exact, cut), false, &again);
            free(exact);
        }
        sl_buf_done(&buf);
        sl_buf_done(&text);
    }
}

SL_TEST(status_in_json_and_garbage)
{
    sl_otlp_status s;
    CHECK_EQ(sl_otlp_status_parse(SL_STR("{\"code\":3,\"message\":\"bad \\u00e4\"}"), true, &s), 0);
    CHECK_EQ(s.code, 3);
    CHECK_STR(sl_str_c(s.message), "bad \xC3\xA4");
    CHECK_EQ(sl_otlp_status_parse(SL_STR("nope"), true, &s), SL_EPARSE);
    CHECK_EQ(sl_otlp_status_parse_base64(SL_STR("!!"), &s), SL_EPARSE);
    CHECK_EQ(sl_otlp_status_parse_base64(SL_STR("A"), &s), SL_EPARSE);
    static char huge[10000];
    memset(huge, 'A', sizeof huge);
    CHECK_EQ(sl_otlp_status_parse_base64(sl_str_of(huge, sizeof huge), &s), SL_ELIMIT);
}

SL_TEST(long_messages_are_cut)
{
    static char body[3000];
    sl_pb_cursor c = sl_pb_cursor_of(body, sizeof body);
    static char text[2000];
    for (size_t i = 0; i < sizeof text; i += 2)
        memcpy(text + i, "\xC3\xA4", 2);
    CHECK(sl_pb_put_bytes(&c, 2, text, sizeof text));
    sl_otlp_status s;
    CHECK_EQ(sl_otlp_status_parse(sl_str_of(body, (size_t)((char *)c.at - body)), false, &s), 0);
    CHECK_EQ(strlen(s.message), 510);
    sl_buf json;
    sl_buf_init(&json, 10000);
    CHECK_EQ(sl_buf_put_c(&json, "{\"message\":\""), 0);
    for (int i = 0; i < 500; i++)
        CHECK_EQ(sl_buf_put_c(&json, "\\u00e4"), 0);
    CHECK_EQ(sl_buf_put_c(&json, "\"}"), 0);
    CHECK_EQ(sl_otlp_status_parse(sl_buf_str(&json), true, &s), 0);
    CHECK_EQ(strlen(s.message), 510);
    sl_buf_done(&json);
}

SL_TEST(verdicts)
{
    for (int status = 100; status < 600; status++) {
        sl_otlp_verdict want = status / 100 == 2 ? SL_OTLP_DONE : SL_OTLP_DROP;
        if (status == 429 || status == 502 || status == 503 || status == 504)
            want = SL_OTLP_RETRY;
        CHECK_EQ(sl_otlp_http_verdict(status), want);
    }
    static const int retry[] = {1, 4, 10, 11, 14, 15};
    for (int code = -1; code < 20; code++) {
        bool again = false;
        for (size_t i = 0; i < 6; i++)
            again = again || retry[i] == code;
        sl_otlp_verdict plain = code == 0 ? SL_OTLP_DONE : again ? SL_OTLP_RETRY : SL_OTLP_DROP;
        CHECK_EQ(sl_otlp_grpc_verdict(code, false), plain);
        CHECK_EQ(sl_otlp_grpc_verdict(code, true), code == 8 ? SL_OTLP_RETRY : plain);
    }
}

/* docs/specification.md, "JSON Protobuf Encoding": int64 as a string or a number, unknown members ignored, null absent.
 */
SL_TEST(partial_success_in_json)
{
    static const struct {
        const char *body;
        int error;
        int64_t rejected;
        const char *message;
    } rows[] = {
        {"{}", 0, 0, ""},
        {"{\"partialSuccess\":null}", 0, 0, ""},
        {"{\"partialSuccess\":{}}", 0, 0, ""},
        {"{\"partialSuccess\":[]}", 0, 0, ""},
        {"{\"partialSuccess\":{\"rejectedSpans\":\"5\"}}", 0, 5, ""},
        {"{\"partialSuccess\":{\"rejectedSpans\":5}}", 0, 5, ""},
        {"{\"partialSuccess\":{\"rejectedSpans\":5.0}}", 0, 5, ""},
        {"{\"partialSuccess\":{\"rejectedLogRecords\":\"6\",\"errorMessage\":null}}", 0, 6, ""},
        {"{\"partialSuccess\":{\"rejectedDataPoints\":\"9223372036854775807\"}}", 0, INT64_MAX, ""},
        {"{\"partialSuccess\":{\"rejectedDataPoints\":\"9223372036854775808\"}}", 0, 0, ""},
        {"{\"partialSuccess\":{\"rejectedSpans\":\"-5\"}}", 0, 0, ""},
        {"{\"partialSuccess\":{\"rejectedSpans\":1.5}}", 0, 0, ""},
        {"{\"partialSuccess\":{\"rejectedSpans\":true}}", 0, 0, ""},
        {"{\"partialSuccess\":{\"rejectedSpans\":\"\"}}", 0, 0, ""},
        {"{\"partial_success\":{\"rejectedSpans\":5}}", 0, 0, ""}, /* other spellings are unknown members */
        {"{\"x\":[1,{}],\"partialSuccess\":{\"errorMessage\":\"a\\u00e4\\n\",\"y\":{}}}", 0, 0, "a\xC3\xA4\n"},
        {"{\"partialSuccess\":{\"errorMessage\":\"\\ud800\\u0000\"}}", 0, 0, "\xEF\xBF\xBD "},
        {"{\"partialSuccess\":{\"errorMessage\":5}}", 0, 0, ""},
        {"[]", SL_EPARSE, 0, ""},
        {"null", SL_EPARSE, 0, ""},
        {"{", SL_EPARSE, 0, ""},
        {"{}x", SL_EPARSE, 0, ""},
        {"<html>", SL_EPARSE, 0, ""},
        {" ", SL_EPARSE, 0, ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sl_otlp_response r;
        memset(&r, 0, sizeof r);
        CHECK_EQ(sl_otlp_response_parse(sl_str_c(rows[i].body), true, &r), rows[i].error);
        CHECK_EQ(r.rejected, rows[i].rejected);
        CHECK_STR(sl_str_c(r.message), rows[i].message);
        CHECK_EQ(r.partial, rows[i].rejected != 0 || rows[i].message[0] != '\0');
    }
}
