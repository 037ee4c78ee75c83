/* Log lines: the guide's sample byte for byte, quoting, JSON, damaged records. */
#include "src/telemetry/log_line.h"

#include <math.h>
#include <sightline/log.h>
#include <stdio.h>

#include "src/wire/otlp_encode.h"
#include "src/wire/otlp_read.h"
#include "tests/harness/sl_test.h"

#define T0 1763116245123000000u /* 2025-11-14T10:30:45.123Z */

/* A record under construction. */
typedef struct rec {
    uint8_t bytes[64 * 1024];
    sl_pb_cursor c;
} rec;

static void begin(rec *r, uint64_t time_ns, sl_severity severity)
{
    r->c = sl_pb_cursor_of(r->bytes, sizeof r->bytes);
    (void)sl_pb_put_fixed64(&r->c, 1, time_ns);
    (void)sl_pb_put_uint(&r->c, 2, (uint64_t)severity);
}

static void attr(rec *r, sl_attr a)
{
    CHECK(sl_otlp_put_attr(&r->c, 6, &a, SL_OTLP_NO_LIMIT) != 0);
}

static void body(rec *r, sl_value v)
{
    uint8_t *mark = sl_pb_open(&r->c, 5, 4);
    CHECK(mark && sl_otlp_put_value(&r->c, &v, SL_OTLP_NO_LIMIT) && sl_pb_close(&r->c, mark, 4));
}

static sl_str bytes(const rec *r)
{
    return sl_str_of((const char *)r->bytes, (size_t)(r->c.at - r->bytes));
}

static void expect(const char *file, int line, const rec *r, sl_log_format format, const char *text)
{
    sl_buf out;
    sl_buf_init(&out, 1u << 20);
    int error = sl_log_line(bytes(r), format, &out);
    if (error)
        sl_test_failed(file, line, "error %s", sl_error_name(error));
    sl_test_check_str(file, line, "line", sl_buf_str(&out), sl_str_c(text));
    sl_buf_done(&out);
}
#define EXPECT_TEXT(r, text) expect(__FILE__, __LINE__, (r), SL_LOG_TEXT, (text))
#define EXPECT_JSON(r, text) expect(__FILE__, __LINE__, (r), SL_LOG_JSON, (text))

SL_TEST(log_line_is_the_sample)
{
    static rec r;
    begin(&r, T0, SL_INFO);
    attr(&r, sl_attr_str("workflow_id", "abc123"));
    attr(&r, sl_attr_str("workflow_name", "rag-pipeline"));
    body(&r, sl_value_cstr("Starting workflow execution"));
    EXPECT_TEXT(&r, "2025-11-14T10:30:45.123Z INFO workflow_id=abc123 workflow_name=\"rag-pipeline\" "
                    "message=\"Starting workflow execution\"\n");
    begin(&r, T0 + 333000000, SL_INFO);
    attr(&r, sl_attr_str("step_id", "step1"));
    attr(&r, sl_attr_str("step_type", "Llm"));
    body(&r, sl_value_cstr("Executing step"));
    EXPECT_TEXT(&r, "2025-11-14T10:30:45.456Z INFO step_id=\"step1\" step_type=Llm message=\"Executing step\"\n");
    begin(&r, T0 + 666000000, SL_DEBUG);
    attr(&r, sl_attr_str("step_id", "step1"));
    attr(&r, sl_attr_str("provider", "anthropic"));
    attr(&r, sl_attr_str("model", "claude-3-5-sonnet"));
    body(&r, sl_value_cstr("Calling LLM provider"));
    EXPECT_TEXT(&r, "2025-11-14T10:30:45.789Z DEBUG step_id=\"step1\" provider=\"anthropic\" "
                    "model=\"claude-3-5-sonnet\" message=\"Calling LLM provider\"\n");
    begin(&r, T0 + 2111000000, SL_INFO);
    attr(&r, sl_attr_str("step_id", "step1"));
    attr(&r, sl_attr_int("duration_ms", 1778));
    body(&r, sl_value_cstr("Step completed successfully"));
    EXPECT_TEXT(&r, "2025-11-14T10:30:47.234Z INFO step_id=\"step1\" duration_ms=1778 "
                    "message=\"Step completed successfully\"\n");
    begin(&r, T0 + 7444000000, SL_INFO);
    attr(&r, sl_attr_str("workflow_id", "abc123"));
    body(&r, sl_value_cstr("Workflow completed successfully"));
    EXPECT_TEXT(&r, "2025-11-14T10:30:52.567Z INFO workflow_id=abc123 message=\"Workflow completed successfully\"\n");
}

SL_TEST(log_line_carries_the_trace)
{
    static rec r;
    static const uint8_t trace[16] = {1, 2, 3, 0xAB}, span[8] = {0xFF, 1};
    begin(&r, T0, SL_WARN);
    attr(&r, sl_attr_str("provider", "openai"));
    body(&r, sl_value_cstr("slow"));
    (void)sl_pb_put_bytes(&r.c, 9, trace, 16);
    (void)sl_pb_put_bytes(&r.c, 10, span, 8);
    EXPECT_TEXT(&r, "2025-11-14T10:30:45.123Z WARN provider=\"openai\" trace_id=010203ab000000000000000000000000 "
                    "span_id=ff01000000000000 message=\"slow\"\n");
    EXPECT_JSON(&r, "{\"timestamp\":\"2025-11-14T10:30:45.123Z\",\"level\":\"WARN\",\"message\":\"slow\","
                    "\"trace_id\":\"010203ab000000000000000000000000\",\"span_id\":\"ff01000000000000\","
                    "\"provider\":\"openai\"}\n");
    /* Ids of a wrong length are none. */
    begin(&r, T0, SL_WARN);
    body(&r, sl_value_cstr("x"));
    (void)sl_pb_put_bytes(&r.c, 9, trace, 15);
    EXPECT_TEXT(&r, "2025-11-14T10:30:45.123Z WARN message=\"x\"\n");
}

SL_TEST(log_line_quotes)
{
    static const struct {
        const char *key, *value, *shown;
    } cases[] = {
        {"a", "", "a=\"\""},
        {"a", "plain", "a=\"plain\""},
        {"a", "say \"hi\" \\ there", "a=\"say \\\"hi\\\" \\\\ there\""},
        {"a", "two\nlines\r\n\tand", "a=\"two\\nlines\\r\\n\\tand\""},
        {"a", "\x1b[31mred\x7f", "a=\"\\u001b[31mred\\u007f\""},
        {"a", "caf\xC3\xA9 \xF0\x9F\x98\x80", "a=\"caf\xC3\xA9 \xF0\x9F\x98\x80\""},
        {"a", "bad\xFF\xC3", "a=\"bad\xEF\xBF\xBD\xEF\xBF\xBD\""},
        {"a",
         "c1\xC2\x9B"
         "x",
         "a=\"c1\\u009bx\""},
        {"workflow_id", "abc", "workflow_id=abc"},
        {"workflow_id", "two words", "workflow_id=\"two words\""},
        {"workflow_id", "a=b", "workflow_id=\"a=b\""},
        {"workflow_id", "", "workflow_id=\"\""},
        {"status", "success", "status=success"},
        {"error_type", "timeout", "error_type=timeout"},
        {"step_types", "x", "step_types=\"x\""},
        {"step_typ", "x", "step_typ=\"x\""},
        {"my key=\"x\"", "v", "my_key__x_=\"v\""},
        {"message", "mine", "attributes.message=\"mine\""},
        {"level", "mine", "attributes.level=\"mine\""},
        {"trace_id", "mine", "trace_id=mine"},
        {"attributes.level", "mine", "attributes.attributes.level=\"mine\""},
        {"attributes.attributes.message", "mine", "attributes.attributes.attributes.message=\"mine\""},
        {"attributes.trace_id", "mine", "attributes.trace_id=\"mine\""},
        {"attributes.", "mine", "attributes.=\"mine\""},
        {"attributes.levels", "mine", "attributes.levels=\"mine\""},
        {"attribute.level", "mine", "attribute.level=\"mine\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        static rec r;
        char want[256];
        begin(&r, T0, SL_INFO);
        /* Past the encoder, which would repair bad strings before they get here. */
        sl_str key = sl_str_c(cases[i].key), value = sl_str_c(cases[i].value);
        uint8_t *kv = sl_pb_open(&r.c, 6, 2);
        (void)sl_pb_put_str(&r.c, 1, key);
        uint8_t *any = sl_pb_open(&r.c, 2, 2);
        (void)sl_pb_put_str(&r.c, 1, value);
        CHECK(sl_pb_close(&r.c, any, 2) && sl_pb_close(&r.c, kv, 2));
        body(&r, sl_value_cstr("m"));
        snprintf(want, sizeof want, "2025-11-14T10:30:45.123Z INFO %s message=\"m\"\n", cases[i].shown);
        EXPECT_TEXT(&r, want);
    }
}

/* Appends an attribute as it is: the encoder would repair bad strings. */
static void raw_attr(rec *r, sl_str key, sl_str value)
{
    uint8_t *kv = sl_pb_open(&r->c, 6, 3);
    (void)sl_pb_put_str(&r->c, 1, key);
    uint8_t *any = sl_pb_open(&r->c, 2, 3);
    (void)sl_pb_put_str(&r->c, 1, value);
    CHECK(sl_pb_close(&r->c, any, 3) && sl_pb_close(&r->c, kv, 3));
}

/* What a byte among letters becomes inside quotes. */
static sl_str escaped(unsigned c, char text[8])
{
    static const char named[] = "\"\"\\\\\nn\rr\tt";
    for (size_t i = 0; i + 1 < sizeof named; i += 2) {
        if ((unsigned char)named[i] == c)
            return sl_str_of(text, (size_t)snprintf(text, 8, "\\%c", named[i + 1]));
    }
    if (c >= 0x80)
        return SL_STR("\xEF\xBF\xBD");
    return sl_str_of(
        text, (size_t)(c < 0x20 || c == 0x7F ? snprintf(text, 8, "\\u%04x", c) : snprintf(text, 8, "%c", (int)c)));
}

/* Every byte at every place of texts that are looked at in words: once in the value, once in the message. */
SL_TEST(log_line_escapes_every_character_at_every_place)
{
    static rec r;
    for (unsigned c = 0; c < 256; c++) {
        for (size_t len = 1; len <= 18; len += len < 8 ? 3 : 1) {
            for (size_t at = 0; at < len; at++) {
                char value[18], want[160], text[8];
                memset(value, 'x', len);
                value[at] = (char)c;
                sl_str shown = escaped(c, text);
                begin(&r, T0, SL_INFO);
                raw_attr(&r, SL_STR("k"), sl_str_of(value, len));
                (void)snprintf(want, sizeof want, "2025-11-14T10:30:45.123Z INFO k=\"%.*s%.*s%.*s\" message=\"\"\n",
                               (int)at, "xxxxxxxxxxxxxxxxxx", (int)shown.len, shown.ptr, (int)(len - at - 1),
                               "xxxxxxxxxxxxxxxxxx");
                EXPECT_TEXT(&r, want);
            }
        }
    }
}

/* Attributes with lengths of one byte take a shorter way: both sides of it, for key and value. */
SL_TEST(log_line_short_and_long_attributes)
{
    static rec r;
    static char text[400], want[1200];
    memset(text, 't', sizeof text);
    for (size_t key = 1; key <= 255; key += key < 100 ? 9 : 1) {
        for (size_t len = 0; len <= 140; len += key < 100 && len < 20 ? 1 : 5) {
            sl_attr plain = {sl_str_of(text, key), sl_value_str(sl_str_of(text, len))};
            begin(&r, T0, SL_INFO);
            attr(&r, plain);
            plain.value = sl_value_int((int64_t)len - 70);
            attr(&r, plain);
            plain.value = sl_value_double((double)len + 0.5);
            attr(&r, plain);
            (void)snprintf(want, sizeof want,
                           "2025-11-14T10:30:45.123Z INFO %.*s=\"%.*s\" %.*s=%d %.*s=%d.5 message=\"\"\n", (int)key,
                           text, (int)len, text, (int)key, text, (int)len - 70, (int)key, text, (int)len);
            EXPECT_TEXT(&r, want);
        }
    }
}

/* An attribute whose lengths do not add up is no shorter way to anything. */
SL_TEST(log_line_refuses_damaged_short_attributes)
{
    static rec r;
    attr((begin(&r, T0, SL_INFO), &r), sl_attr_str("key", "value"));
    size_t start = bytes(&r).len - 16; /* 32 0e 0a 03 k e y 12 07 0a 05 v a l u e */
    CHECK_EQ(r.bytes[start], 0x32);
    sl_buf out;
    sl_buf_init(&out, 1u << 20);
    for (size_t at = 1; at < 11; at++) {
        for (unsigned c = 0; c < 256; c++) {
            uint8_t before = r.bytes[start + at];
            r.bytes[start + at] = (uint8_t)c;
            sl_otlp_pair pair;
            int right = sl_otlp_read_pair(sl_str_of((char *)r.bytes + start + 2, 14), &pair);
            bool list = !right && (pair.value.type == SL_VALUE_ARRAY || pair.value.type == SL_VALUE_MAP);
            int error = sl_log_line(bytes(&r), SL_LOG_TEXT, &out);
            if (at != 1 && !list) /* what a list holds is read later */
                CHECK_EQ(error, right);
            CHECK(error == 0 ? out.data[out.len - 1] == '\n' : out.len == 0);
            sl_buf_clear(&out);
            r.bytes[start + at] = before;
        }
    }
    sl_buf_done(&out);
}

SL_TEST(log_line_shows_every_type)
{
    static rec r;
    sl_value items[3] = {sl_value_int(1), sl_value_cstr("two\"s"), sl_value_bool(false)};
    sl_attr inner[2] = {sl_attr_int("deep", 7), sl_attr_str("status", "ok")};
    sl_attr outer[2] = {sl_attr_of("in", sl_value_map(inner, 2)), sl_attr_bool("flag", true)};
    sl_attr none[1] = {sl_attr_of("m", sl_value_map(NULL, 0))};
    begin(&r, T0, SL_ERROR_LEVEL);
    attr(&r, sl_attr_int("i", INT64_MIN));
    attr(&r, sl_attr_double("d", 0.25));
    attr(&r, sl_attr_double("nan", NAN));
    attr(&r, sl_attr_double("inf", -INFINITY));
    attr(&r, sl_attr_bool("b", true));
    attr(&r, sl_attr_of("e", sl_value_empty()));
    attr(&r, sl_attr_of("x", sl_value_bytes("\x00\xFF", 2)));
    attr(&r, sl_attr_of("list", sl_value_array(items, 3)));
    attr(&r, sl_attr_of("map", sl_value_map(outer, 2)));
    attr(&r, none[0]);
    body(&r, sl_value_cstr("all"));
    EXPECT_TEXT(&r, "2025-11-14T10:30:45.123Z ERROR i=-9223372036854775808 d=0.25 nan=NaN inf=-Infinity b=true e=null "
                    "x=\"00ff\" list=\"[1,\\\"two\\\\\\\"s\\\",false]\" map.in.deep=7 map.in.status=\"ok\" "
                    "map.flag=true m=\"{}\" message=\"all\"\n");
    EXPECT_JSON(&r, "{\"timestamp\":\"2025-11-14T10:30:45.123Z\",\"level\":\"ERROR\",\"message\":\"all\","
                    "\"i\":-9223372036854775808,\"d\":0.25,\"nan\":\"NaN\",\"inf\":\"-Infinity\",\"b\":true,"
                    "\"e\":null,\"x\":\"00ff\",\"list\":[1,\"two\\\"s\",false],\"map.in.deep\":7,"
                    "\"map.in.status\":\"ok\",\"map.flag\":true,\"m\":{}}\n");
}

SL_TEST(log_line_bodies_and_events)
{
    static rec r;
    sl_attr members[1] = {sl_attr_str("k", "v")};
    begin(&r, T0, SL_SEVERITY_UNSET);
    EXPECT_TEXT(&r, "2025-11-14T10:30:45.123Z INFO message=\"\"\n");
    (void)sl_pb_put_str(&r.c, 12, SL_STR("gen_ai.evaluation.result"));
    body(&r, sl_value_map(members, 1));
    EXPECT_TEXT(&r, "2025-11-14T10:30:45.123Z INFO event_name=\"gen_ai.evaluation.result\" "
                    "message=\"{\\\"k\\\":\\\"v\\\"}\"\n");
    EXPECT_JSON(&r, "{\"timestamp\":\"2025-11-14T10:30:45.123Z\",\"level\":\"INFO\",\"message\":"
                    "\"{\\\"k\\\":\\\"v\\\"}\",\"event_name\":\"gen_ai.evaluation.result\"}\n");
    begin(&r, T0, SL_SEVERITY_UNSET);
    (void)sl_pb_put_str(&r.c, 3, SL_STR("NOTICE"));
    body(&r, sl_value_int(5));
    EXPECT_TEXT(&r, "2025-11-14T10:30:45.123Z NOTICE message=\"5\"\n");
    begin(&r, T0, SL_SEVERITY_UNSET);
    (void)sl_pb_put_str(&r.c, 3, SL_STR("two words"));
    EXPECT_TEXT(&r, "2025-11-14T10:30:45.123Z INFO message=\"\"\n");
    /* Without a time of its own it has that of its observation. */
    begin(&r, 0, SL_CRITICAL);
    (void)sl_pb_put_fixed64(&r.c, 11, T0);
    EXPECT_TEXT(&r, "2025-11-14T10:30:45.123Z CRITICAL message=\"\"\n");
}

SL_TEST(log_line_survives_deep_values)
{
    static rec r;
    static sl_value chain[80];
    static sl_attr links[80];
    chain[0] = sl_value_int(1);
    for (size_t i = 1; i < 80; i++) {
        links[i] = sl_attr_of("n", chain[i - 1]);
        chain[i] = sl_value_map(&links[i], 1);
    }
    begin(&r, T0, SL_INFO);
    attr(&r, sl_attr_of("root", chain[79]));
    body(&r, chain[79]);
    sl_buf out;
    sl_buf_init(&out, 1u << 20);
    CHECK_EQ(sl_log_line(bytes(&r), SL_LOG_TEXT, &out), 0);
    CHECK(sl_str_find(sl_buf_str(&out), SL_STR("root.n.n.n")) != SL_NPOS);
    CHECK_EQ(sl_log_line(bytes(&r), SL_LOG_JSON, &out), 0);
    sl_buf_done(&out);
}

SL_TEST(log_line_long_paths_become_json)
{
    static rec r;
    char key[200];
    memset(key, 'k', sizeof key - 1);
    key[sizeof key - 1] = '\0';
    sl_attr chain[8];
    chain[0] = sl_attr_int(key, 1);
    for (size_t i = 1; i < 8; i++)
        chain[i] = sl_attr_of(key, sl_value_map(&chain[i - 1], 1));
    begin(&r, T0, SL_INFO);
    attr(&r, chain[7]);
    sl_buf out;
    sl_buf_init(&out, 1u << 20);
    CHECK_EQ(sl_log_line(bytes(&r), SL_LOG_TEXT, &out), 0);
    CHECK(sl_str_find(sl_buf_str(&out), SL_STR("=\"{")) != SL_NPOS);
    sl_buf_done(&out);
}

SL_TEST(log_line_refuses_damage_whole)
{
    static rec r;
    sl_attr members[1] = {sl_attr_str("key", "value")};
    begin(&r, T0, SL_INFO);
    attr(&r, sl_attr_str("workflow_id", "abc123"));
    attr(&r, sl_attr_of("map", sl_value_map(members, 1)));
    body(&r, sl_value_cstr("message"));
    sl_str whole = bytes(&r);
    sl_buf out;
    sl_buf_init(&out, 1u << 20);
    (void)sl_buf_put_c(&out, "before\n");
    for (size_t cut = 1; cut < whole.len; cut++) {
        static uint8_t copy[1024];
        memcpy(copy, whole.ptr, whole.len);
        if (sl_log_line(sl_str_of(whole.ptr, cut), SL_LOG_TEXT, &out) != 0)
            CHECK_STR(sl_buf_str(&out), "before\n");
        sl_buf_clear(&out);
        (void)sl_buf_put_c(&out, "before\n");
        copy[cut] ^= 0x55;
        for (int format = 0; format < 2; format++) {
            if (sl_log_line(sl_str_of((char *)copy, whole.len), (sl_log_format)format, &out) != 0)
                CHECK_STR(sl_buf_str(&out), "before\n");
            CHECK(out.data[out.len - 1] == '\n');
            sl_buf_clear(&out);
            (void)sl_buf_put_c(&out, "before\n");
        }
    }
    sl_buf_done(&out);
}

/* A request of one resource, one scope and `count` records. */
static sl_str request_of(sl_str record, size_t count, uint8_t *room, size_t size)
{
    sl_pb_cursor c = sl_pb_cursor_of(room, size);
    uint8_t *resource = sl_pb_open(&c, 1, 4);
    (void)sl_pb_put_str(&c, 1, SL_STR(""));
    uint8_t *scope = sl_pb_open(&c, 2, 4);
    for (size_t i = 0; i < count; i++)
        CHECK(sl_pb_put_str(&c, 2, record));
    CHECK(sl_pb_close(&c, scope, 4) && sl_pb_close(&c, resource, 4));
    return sl_str_of((char *)room, (size_t)(c.at - room));
}

SL_TEST(log_lines_of_a_request)
{
    static rec r;
    static uint8_t room[8192];
    begin(&r, T0, SL_INFO);
    body(&r, sl_value_cstr("x"));
    sl_str request = request_of(bytes(&r), 3, room, sizeof room);
    sl_buf out;
    size_t lines = 0;
    sl_buf_init(&out, 1u << 20);
    CHECK_EQ(sl_log_lines(request, SL_LOG_TEXT, &out, &lines), 0);
    CHECK_EQ(lines, 3);
    CHECK_STR(sl_buf_str(&out), "2025-11-14T10:30:45.123Z INFO message=\"x\"\n"
                                "2025-11-14T10:30:45.123Z INFO message=\"x\"\n"
                                "2025-11-14T10:30:45.123Z INFO message=\"x\"\n");
    sl_buf_clear(&out);
    CHECK_EQ(sl_log_lines(sl_str_of(NULL, 0), SL_LOG_TEXT, &out, &lines), 0);
    CHECK_EQ(lines, 0);
    request = request_of(SL_STR("\xFF"), 2, room, sizeof room);
    CHECK_EQ(sl_log_lines(request, SL_LOG_TEXT, &out, &lines), SL_EPARSE);
    CHECK_EQ(lines, 0);
    CHECK_EQ(out.len, 0);
    sl_buf_done(&out);
}

/* Lines of one request share the text of their second: each is as if it were alone. */
SL_TEST(log_lines_have_their_own_times)
{
    static const uint64_t ms[] = {0,
                                  1,
                                  999,
                                  1000,
                                  1001,
                                  1763116245123,
                                  1763116245007,
                                  1763116245999,
                                  1763116246000,
                                  1763116245000,
                                  1735689599999,
                                  1735689600000,
                                  5,
                                  1763116245123};
    static rec r;
    static uint8_t room[8192];
    sl_pb_cursor c = sl_pb_cursor_of(room, sizeof room);
    uint8_t *resource = sl_pb_open(&c, 1, 4), *scope = sl_pb_open(&c, 2, 4);
    sl_buf each, all;
    sl_buf_init(&each, 1u << 20);
    sl_buf_init(&all, 1u << 20);
    for (size_t i = 0; i < sizeof ms / sizeof *ms; i++) {
        begin(&r, ms[i] * 1000000u + 999999, SL_INFO);
        CHECK(sl_pb_put_str(&c, 2, bytes(&r)));
        CHECK_EQ(sl_log_line(bytes(&r), SL_LOG_JSON, &each), 0);
    }
    CHECK(sl_pb_close(&c, scope, 4) && sl_pb_close(&c, resource, 4));
    CHECK_EQ(sl_log_lines(sl_str_of((char *)room, (size_t)(c.at - room)), SL_LOG_JSON, &all, NULL), 0);
    CHECK(sl_str_eq(sl_buf_str(&all), sl_buf_str(&each)));
    CHECK(sl_str_find(sl_buf_str(&all), SL_STR("2024-12-31T23:59:59.999Z")) != SL_NPOS);
    sl_buf_done(&each);
    sl_buf_done(&all);
}

/* Lines of one request share what is known of keys: whatever came before, each line is as if it were alone. */
static void check_keys_by_chance(sl_log_format format, uint32_t chance)
{
    static const uint8_t id[16] = {1};
    static const char *const keys[] = {
        "model",         "level", "message", "span_id", "trace_id",     "timestamp",        "event_name",
        "finish_reason", "a key", "outcome", "status",  "attributes.x", "attributes.level", "gr\xC3\xBC\xC3\x9F",
        "mode",          ""};
    static rec r;
    static uint8_t room[65536];
    sl_pb_cursor c = sl_pb_cursor_of(room, sizeof room);
    uint8_t *resource = sl_pb_open(&c, 1, 4), *scope = sl_pb_open(&c, 2, 4);
    sl_buf each, all;
    sl_buf_init(&each, 1u << 20);
    sl_buf_init(&all, 1u << 20);
    for (size_t i = 0; i < 60; i++) {
        begin(&r, T0, SL_INFO);
        unsigned count = (chance = chance * 1664525u + 1013904223u) >> 24 & 31;
        for (unsigned k = 0; k < count; k++) {
            chance = chance * 1664525u + 1013904223u;
            const char *key = keys[(chance >> 28) > 9 ? chance >> 20 & 15 : k & 15];
            attr(&r, chance & 1u << 16 ? sl_attr_str(key, chance & 1u << 17 ? "bare" : "two words")
                                       : sl_attr_int(key, (int64_t)(chance >> 3)));
        }
        body(&r, sl_value_cstr("m"));
        if (chance & 1u << 18) {
            (void)sl_pb_put_bytes(&r.c, 9, id, 16);
            (void)sl_pb_put_bytes(&r.c, 10, id, 8);
        }
        if (chance & 1u << 19)
            (void)sl_pb_put_str(&r.c, 12, SL_STR("e"));
        CHECK(sl_pb_put_str(&c, 2, bytes(&r)));
        CHECK_EQ(sl_log_line(bytes(&r), format, &each), 0);
    }
    CHECK(sl_pb_close(&c, scope, 4) && sl_pb_close(&c, resource, 4));
    CHECK_EQ(sl_log_lines(sl_str_of((char *)room, (size_t)(c.at - room)), format, &all, NULL), 0);
    CHECK(sl_str_eq(sl_buf_str(&all), sl_buf_str(&each)));
    sl_buf_done(&each);
    sl_buf_done(&all);
}

SL_TEST(log_lines_share_what_is_known_of_keys)
{
    for (uint32_t seed = 1; seed <= 20; seed++) {
        check_keys_by_chance(SL_LOG_TEXT, seed);
        check_keys_by_chance(SL_LOG_JSON, seed);
    }
}

/* What a line has shown serves the next ones, but for one that was taken back. */
SL_TEST(log_lines_behind_a_damaged_record)
{
    static const char *const models[] = {"a", "b", "b", "b", "a"};
    static const char *const wanted[] = {"model=\"a\"", "model=\"b\"", "model=\"b\"", "model=\"a\""};
    static rec r;
    static uint8_t room[8192];
    sl_pb_cursor c = sl_pb_cursor_of(room, sizeof room);
    uint8_t *resource = sl_pb_open(&c, 1, 4), *scope = sl_pb_open(&c, 2, 4);
    for (size_t i = 0; i < 5; i++) {
        begin(&r, T0, i == 2 ? SL_CRITICAL : SL_INFO);
        attr(&r, sl_attr_str("model", models[i]));
        if (i == 1)
            (void)sl_pb_put_bytes(&r.c, 6,
                                  "\x0A\x05"
                                  "a",
                                  3);
        CHECK(sl_pb_put_str(&c, 2, bytes(&r)));
    }
    CHECK(sl_pb_close(&c, scope, 4) && sl_pb_close(&c, resource, 4));
    sl_buf out;
    size_t lines = 0;
    sl_buf_init(&out, 1u << 20);
    CHECK_EQ(sl_log_lines(sl_str_of((char *)room, (size_t)(c.at - room)), SL_LOG_TEXT, &out, &lines), SL_EPARSE);
    CHECK_EQ(lines, 4);
    sl_str rest = sl_buf_str(&out);
    for (size_t i = 0; i < 4; i++) {
        size_t end = sl_str_chr(rest, '\n');
        CHECK(sl_str_find(sl_str_sub(rest, 0, end), sl_str_c(wanted[i])) != SL_NPOS);
        rest = sl_str_sub(rest, end + 1, SL_NPOS);
    }
    CHECK_EQ(rest.len, 0);
    sl_buf_done(&out);
}

SL_TEST(log_line_survives_no_memory)
{
    static rec r;
    static uint8_t room[8192];
    sl_value items[1] = {sl_value_int(1)};
    begin(&r, T0, SL_INFO);
    attr(&r, sl_attr_of("list", sl_value_array(items, 1)));
    body(&r, sl_value_cstr("a message that is long enough to make the buffer grow more than once, twice even"));
    sl_str request = request_of(bytes(&r), 20, room, sizeof room);
    for (long n = 0; n < 50; n++) {
        sl_buf out;
        size_t lines = 0;
        sl_buf_init(&out, 1u << 20);
        sl_test_fail_alloc(n);
        int error = sl_log_lines(request, SL_LOG_TEXT, &out, &lines);
        bool failed = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        CHECK(failed ? error == SL_ENOMEM : error == 0);
        CHECK(out.len == 0 || out.data[out.len - 1] == '\n');
        sl_buf_done(&out);
        if (!failed)
            break;
    }
}

SL_TEST(log_format_names)
{
    sl_log_format format = SL_LOG_TEXT;
    CHECK_EQ(sl_log_format_parse(SL_STR(" JSON "), &format), 0);
    CHECK_EQ(format, SL_LOG_JSON);
    CHECK_EQ(sl_log_format_parse(SL_STR("Text"), &format), 0);
    CHECK_EQ(format, SL_LOG_TEXT);
    format = SL_LOG_JSON;
    CHECK_EQ(sl_log_format_parse(SL_STR("xml"), &format), SL_EPARSE);
    CHECK_EQ(sl_log_format_parse(SL_STR(""), &format), SL_EPARSE);
    CHECK_EQ(format, SL_LOG_JSON);
}

SL_TEST(severity_names)
{
    static const struct {
        const char *text;
        sl_severity severity;
        const char *shown;
    } cases[] = {{"trace", SL_TRACE, "TRACE"},
                 {"Debug", SL_DEBUG, "DEBUG"},
                 {"INFO", SL_INFO, "INFO"},
                 {"warn", SL_WARN, "WARN"},
                 {"WARNING", SL_WARN, "WARN"},
                 {"error", SL_ERROR_LEVEL, "ERROR"},
                 {"critical", SL_CRITICAL, "CRITICAL"},
                 {" fatal ", SL_CRITICAL, "CRITICAL"}};
    sl_severity severity = SL_SEVERITY_UNSET;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK_EQ(sl_severity_parse(sl_str_c(cases[i].text), &severity), 0);
        CHECK_EQ(severity, cases[i].severity);
        CHECK_STR(sl_str_c(sl_severity_name(severity)), cases[i].shown);
    }
    CHECK_EQ(sl_severity_parse(SL_STR("loud"), &severity), SL_EPARSE);
    CHECK_EQ(severity, SL_CRITICAL);
    CHECK_STR(sl_str_c(sl_severity_name((sl_severity)12)), "INFO");
    CHECK_STR(sl_str_c(sl_severity_name((sl_severity)4)), "TRACE");
    CHECK_STR(sl_str_c(sl_severity_name((sl_severity)20)), "ERROR");
    CHECK_STR(sl_str_c(sl_severity_name((sl_severity)99)), "CRITICAL");
    CHECK_STR(sl_str_c(sl_severity_name((sl_severity)-3)), "INFO");
}

/* A record that has both `level` and `attributes.level`: JSON with one key twice is read in a different way by each. */
SL_TEST(log_line_has_no_name_twice)
{
    static const char *const names[] = {"timestamp", "level", "message", "event_name", "trace_id", "span_id"};
    static const uint8_t id[16] = {1};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        static rec r;
        char once[64], want[512];
        (void)snprintf(once, sizeof once, "attributes.%s", names[i]);
        begin(&r, T0, SL_INFO);
        attr(&r, sl_attr_str(names[i], "a"));
        attr(&r, sl_attr_str(once, "b"));
        body(&r, sl_value_cstr("m"));
        (void)sl_pb_put_bytes(&r.c, 9, id, 16);
        (void)sl_pb_put_bytes(&r.c, 10, id, 8);
        (void)sl_pb_put_str(&r.c, 12, SL_STR("e"));
        (void)snprintf(
            want, sizeof want,
            "{\"timestamp\":\"2025-11-14T10:30:45.123Z\",\"level\":\"INFO\",\"message\":\"m\",\"event_name\":"
            "\"e\",\"trace_id\":\"01000000000000000000000000000000\",\"span_id\":\"0100000000000000\","
            "\"attributes.%s\":\"a\",\"attributes.attributes.%s\":\"b\"}\n",
            names[i], names[i]);
        EXPECT_JSON(&r, want);
    }
}

SL_TEST(log_line_tells_its_bare_keys)
{
    size_t count = 0;
    for (sl_str key; (key = sl_log_bare_key(count)).len; count++) {
        static rec r;
        char want[128], name[64];
        REQUIRE(sl_str_to_c(key, name, sizeof name));
        begin(&r, T0, SL_INFO);
        attr(&r, sl_attr_str(name, "x"));
        body(&r, sl_value_cstr("m"));
        (void)snprintf(want, sizeof want, "2025-11-14T10:30:45.123Z INFO %s=x message=\"m\"\n", name);
        EXPECT_TEXT(&r, want);
    }
    CHECK(count > 10);
    CHECK_EQ(sl_log_bare_key(count + 1).len, 0);
    CHECK_EQ(sl_log_bare_key((size_t)-1).len, 0);
}
