/* OTLP values as plain JSON and as text. */
#include "src/wire/otlp_plain.h"

#include <math.h>

#include "src/wire/json_scan.h"
#include "src/wire/otlp_encode.h"
#include "tests/harness/sl_test.h"

/* The contents of an AnyValue, read back. */
static sl_otlp_any any_of(sl_buf *buf, const sl_value *value)
{
    sl_otlp_any any;
    memset(&any, 0, sizeof any);
    sl_buf_clear(buf);
    CHECK_EQ(sl_otlp_buf_value(buf, 2, value, SL_OTLP_NO_LIMIT), 0);
    sl_otlp_pair pair;
    CHECK_EQ(sl_otlp_read_pair(sl_buf_str(buf), &pair), 0);
    return pair.value;
}

static const sl_value inner[] = {{.type = SL_VALUE_BOOL, .as.boolean = true}, {.type = SL_VALUE_EMPTY}};
static const sl_value items[] = {{.type = SL_VALUE_INT, .as.integer = -1},
                                 {.type = SL_VALUE_DOUBLE, .as.real = 1.5},
                                 {.type = SL_VALUE_BYTES, .as.str = {"\x01\x02\x03", 3}},
                                 {.type = SL_VALUE_ARRAY, .as.array = {inner, 2}},
                                 {.type = SL_VALUE_STRING, .as.str = {"q\"", 2}}};
static const sl_attr pairs[] = {{{"a", 1}, {.type = SL_VALUE_ARRAY, .as.array = {items, 5}}},
                                {{"b", 1}, {.type = SL_VALUE_DOUBLE, .as.real = (double)INFINITY}}};

SL_TEST(each_type)
{
    static const struct {
        sl_value value;
        const char *json, *text;
    } table[] = {
        {{.type = SL_VALUE_EMPTY}, "null", ""},
        {{.type = SL_VALUE_STRING, .as.str = {"a\"\n", 3}}, "\"a\\\"\\n\"", "a\"\n"},
        {{.type = SL_VALUE_STRING, .as.str = {"", 0}}, "\"\"", ""},
        {{.type = SL_VALUE_BOOL, .as.boolean = true}, "true", "true"},
        {{.type = SL_VALUE_BOOL}, "false", "false"},
        {{.type = SL_VALUE_INT, .as.integer = INT64_MIN}, "-9223372036854775808", "-9223372036854775808"},
        {{.type = SL_VALUE_DOUBLE, .as.real = 0.1}, "0.1", "0.1"},
        {{.type = SL_VALUE_DOUBLE, .as.real = (double)NAN}, "\"NaN\"", "NaN"},
        {{.type = SL_VALUE_BYTES, .as.str = {"\x00\xFF", 2}}, "\"AP8=\"", "AP8="},
        {{.type = SL_VALUE_ARRAY}, "[]", "[]"},
        {{.type = SL_VALUE_ARRAY, .as.array = {items, 5}},
         "[-1,1.5,\"AQID\",[true,null],\"q\\\"\"]",
         "[-1,1.5,\"AQID\",[true,null],\"q\\\"\"]"},
        {{.type = SL_VALUE_MAP, .as.map = {pairs, 2}},
         "{\"a\":[-1,1.5,\"AQID\",[true,null],\"q\\\"\"],\"b\":\"Infinity\"}",
         "{\"a\":[-1,1.5,\"AQID\",[true,null],\"q\\\"\"],\"b\":\"Infinity\"}"},
    };
    sl_buf value, out;
    sl_buf_init(&value, 1u << 16);
    sl_buf_init(&out, 1u << 16);
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        sl_otlp_any any = any_of(&value, &table[i].value);
        sl_jw w;
        sl_buf_clear(&out);
        sl_jw_init(&w, &out);
        sl_otlp_plain_json(&w, &any);
        CHECK_EQ(sl_jw_finish(&w), 0);
        CHECK_STR(sl_buf_str(&out), table[i].json);
        sl_buf_clear(&out);
        CHECK_EQ(sl_otlp_plain_text(&out, &any), 0);
        CHECK_STR(sl_buf_str(&out), table[i].text);
    }
    sl_buf_done(&value);
    sl_buf_done(&out);
}

/* An array within an array, `depth` times, as a decoder may be given it: more than the encoder would write. */
static sl_otlp_any nested(sl_buf *buf, unsigned depth)
{
    sl_buf_clear(buf);
    for (unsigned i = 0; i < depth; i++) {
        sl_buf outer;
        sl_buf_init(&outer, 1u << 20);
        /* AnyValue{array: ArrayValue{values: [inner]}} */
        sl_buf list;
        sl_buf_init(&list, 1u << 20);
        (void)sl_pb_buf_str(&list, 1, sl_buf_str(buf));
        (void)sl_pb_buf_str(&outer, 5, sl_buf_str(&list));
        sl_buf_clear(buf);
        (void)sl_buf_put_str(buf, sl_buf_str(&outer));
        sl_buf_done(&list);
        sl_buf_done(&outer);
    }
    sl_otlp_any any;
    memset(&any, 0, sizeof any);
    CHECK_EQ(sl_otlp_read_any(sl_buf_str(buf), &any), 0);
    return any;
}

SL_TEST(depth_is_bounded)
{
    sl_buf value, out;
    sl_buf_init(&value, 1u << 20);
    sl_buf_init(&out, 1u << 16);
    for (unsigned depth = 1; depth < 200; depth += 7) {
        sl_otlp_any any = nested(&value, depth);
        sl_json_value root;
        sl_buf_clear(&out);
        CHECK_EQ(sl_otlp_plain_text(&out, &any), 0);
        CHECK_EQ(sl_json_parse(sl_buf_str(&out), &root, NULL), 0);
        CHECK(out.len <= 2 * 32 + 4);
    }
    sl_buf_done(&value);
    sl_buf_done(&out);
}

SL_TEST(attributes_as_an_object)
{
    sl_buf message, out;
    sl_buf_init(&message, 4096);
    sl_buf_init(&out, 4096);
    CHECK_EQ(sl_otlp_buf_attrs(&message, 3, pairs, 2, SL_OTLP_NO_LIMIT), 0);
    sl_jw w;
    sl_jw_init(&w, &out);
    CHECK_EQ(sl_otlp_plain_object(&w, sl_buf_str(&message), 3), 0);
    CHECK_EQ(sl_jw_finish(&w), 0);
    CHECK_STR(sl_buf_str(&out), "{\"a\":[-1,1.5,\"AQID\",[true,null],\"q\\\"\"],\"b\":\"Infinity\"}");
    for (size_t len = 0; len < message.len; len++) {
        sl_buf_clear(&out);
        sl_jw_init(&w, &out);
        int error = sl_otlp_plain_object(&w, sl_str_sub(sl_buf_str(&message), 0, len), 3);
        CHECK(error == SL_EPARSE || (error == 0 && sl_jw_finish(&w) == 0));
    }
    sl_buf_done(&message);
    sl_buf_done(&out);
}

SL_TEST(a_full_buffer)
{
    sl_value value = {.type = SL_VALUE_MAP, .as.map = {pairs, 2}};
    sl_buf bytes;
    sl_buf_init(&bytes, 4096);
    sl_otlp_any any = any_of(&bytes, &value);
    for (size_t max = 1; max < 40; max++) {
        sl_buf out;
        sl_buf_init(&out, max);
        CHECK_EQ(sl_otlp_plain_text(&out, &any), SL_ELIMIT);
        sl_buf_done(&out);
    }
    sl_buf_done(&bytes);
}
