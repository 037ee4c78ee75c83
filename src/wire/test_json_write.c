/* The JSON writer: shapes, escapes, misuse, and that the scanner accepts whatever it wrote. */
#include "src/wire/json_write.h"

#include <math.h>

#include "src/wire/json_scan.h"
#include "tests/harness/sl_test.h"

SL_TEST(json_write_shapes)
{
    sl_buf buf;
    sl_jw w;
    sl_buf_init(&buf, 4096);
    sl_jw_init(&w, &buf);
    sl_jw_object(&w);
    sl_jw_member_str(&w, "s", SL_STR("x"));
    sl_jw_member_i64(&w, "i", INT64_MIN);
    sl_jw_member_u64(&w, "u", UINT64_MAX);
    sl_jw_member_double(&w, "d", 0.25);
    sl_jw_member_bool(&w, "b", true);
    sl_jw_member_null(&w, "n");
    sl_jw_member_raw(&w, "r", SL_STR("[1]"));
    sl_jw_member_c(&w, "c", NULL);
    sl_jw_member_array(&w, "a");
    sl_jw_i64(&w, 1);
    sl_jw_array(&w);
    sl_jw_end(&w);
    sl_jw_object(&w);
    sl_jw_end(&w);
    sl_jw_bool(&w, false);
    sl_jw_end(&w);
    sl_jw_member_object(&w, "o");
    sl_jw_key(&w, SL_STR("k\n"));
    sl_jw_hex(&w, (const uint8_t *)"\x01\xAB", 2);
    sl_jw_key(&w, SL_STR("l"));
    sl_jw_u64_string(&w, 7);
    sl_jw_end(&w);
    sl_jw_end(&w);
    CHECK_EQ(sl_jw_finish(&w), 0);
    CHECK_STR(
        sl_buf_str(&buf),
        "{\"s\":\"x\",\"i\":-9223372036854775808,\"u\":18446744073709551615,\"d\":0.25,\"b\":true,\"n\":null,\"r\":[1],"
        "\"c\":\"\",\"a\":[1,[],{},false],\"o\":{\"k\\n\":\"01ab\",\"l\":\"7\"}}");
    CHECK_EQ(sl_json_scan(sl_buf_str(&buf), NULL, NULL, NULL, NULL), 0);
    sl_buf_done(&buf);
}

SL_TEST(json_write_escapes)
{
    static const struct {
        sl_str text;
        const char *want;
    } rows[] = {
        {{"", 0}, ""},
        {{"a\"\\/", 4}, "a\\\"\\\\/"},
        {{"\b\f\n\r\t", 5}, "\\b\\f\\n\\r\\t"},
        {{"\0\x01\x1f\x7f", 4}, "\\u0000\\u0001\\u001f\x7f"},
        {{"\xC3\xA9\xE2\x82\xAC\xF0\x9D\x84\x9E", 9}, "\xC3\xA9\xE2\x82\xAC\xF0\x9D\x84\x9E"},
        {{"a\xFF"
          "b",
          3},
         "a\xEF\xBF\xBD"
         "b"},
        {{"\xC3", 1}, "\xEF\xBF\xBD"},
        {{"\xE2\x82", 2}, "\xEF\xBF\xBD"},
        {{"\xF0\x9F\x98\"", 4}, "\xEF\xBF\xBD\\\""},
        {{"\xE2\x82\xE2\x82\xAC", 5}, "\xEF\xBF\xBD\xE2\x82\xAC"},
        {{"a\x80\x80\n", 4}, "a\xEF\xBF\xBD\xEF\xBF\xBD\\n"},
        {{"\xED\xA0\x80", 3}, "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
        {{"\xC3\xA9\xC3(", 4}, "\xC3\xA9\xEF\xBF\xBD("},
    };
    sl_buf buf;
    sl_buf_init(&buf, 4096);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sl_buf_clear(&buf);
        CHECK_EQ(sl_json_put_escaped(&buf, rows[i].text), 0);
        CHECK_STR(sl_buf_str(&buf), rows[i].want);
    }
    sl_buf_done(&buf);
}

SL_TEST(json_write_reads_back)
{
    sl_buf buf;
    char back[512];
    sl_buf_init(&buf, 4096);
    for (int c = 0; c < 256; c++) {
        char text[3] = {'a', (char)c, 'b'};
        sl_str view = sl_str_of(text, 3), got;
        sl_json_value value;
        sl_buf_clear(&buf);
        CHECK_EQ(sl_json_put_string(&buf, view), 0);
        REQUIRE(sl_json_parse(sl_buf_str(&buf), &value, NULL) == 0);
        CHECK_EQ(sl_json_string(value, back, sizeof back, &got), 0);
        CHECK_STR_EQ(got, c < 0x80 ? view
                                   : SL_STR("a\xEF\xBF\xBD"
                                            "b"));
    }
    sl_buf_done(&buf);
}

SL_TEST(json_write_doubles)
{
    static const double numbers[] = {0, -0.0, 1, -1.5, 1e300, 1e-300, 5e-324, 123456789.125, 1e21, 1e20};
    sl_buf buf;
    sl_buf_init(&buf, 4096);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        sl_jw w;
        sl_json_value value;
        double back = 7;
        sl_buf_clear(&buf);
        sl_jw_init(&w, &buf);
        sl_jw_double(&w, numbers[i]);
        CHECK_EQ(sl_jw_finish(&w), 0);
        REQUIRE(sl_json_parse(sl_buf_str(&buf), &value, NULL) == 0);
        CHECK_EQ(sl_json_double(value, &back), 0);
        CHECK(back == numbers[i]);
    }
    sl_jw w;
    sl_buf_clear(&buf);
    sl_jw_init(&w, &buf);
    sl_jw_array(&w);
    sl_jw_double(&w, NAN);
    w.nonfinite = SL_JW_STRING;
    sl_jw_double(&w, NAN);
    sl_jw_double(&w, INFINITY);
    sl_jw_double(&w, -INFINITY);
    sl_jw_end(&w);
    CHECK_EQ(sl_jw_finish(&w), 0);
    CHECK_STR(sl_buf_str(&buf), "[null,\"NaN\",\"Infinity\",\"-Infinity\"]");
    sl_buf_done(&buf);
}

/* One wrong use each; finish must say so. */
static void misuse(sl_jw *w, int kind)
{
    switch (kind) {
    case 0: /* a container left open */
        sl_jw_object(w);
        break;
    case 1: /* a value without its name */
        sl_jw_object(w);
        sl_jw_i64(w, 1);
        sl_jw_end(w);
        break;
    case 2: /* a name in an array */
        sl_jw_array(w);
        sl_jw_key(w, SL_STR("a"));
        sl_jw_end(w);
        break;
    case 3: /* two names */
        sl_jw_object(w);
        sl_jw_key(w, SL_STR("a"));
        sl_jw_key(w, SL_STR("b"));
        sl_jw_null(w);
        sl_jw_end(w);
        break;
    case 4: /* a name without its value */
        sl_jw_object(w);
        sl_jw_key(w, SL_STR("a"));
        sl_jw_end(w);
        break;
    case 5: /* one end too many */
        sl_jw_null(w);
        sl_jw_end(w);
        break;
    case 6: /* two values */
        sl_jw_null(w);
        sl_jw_null(w);
        break;
    default: /* a name at the top */
        sl_jw_key(w, SL_STR("a"));
        break;
    }
}

SL_TEST(json_write_misuse)
{
    for (int kind = 0; kind < 8; kind++) {
        sl_buf buf;
        sl_jw w;
        sl_buf_init(&buf, 4096);
        sl_jw_init(&w, &buf);
        misuse(&w, kind);
        if (sl_jw_finish(&w) != SL_EINVAL)
            sl_test_failed(__FILE__, __LINE__, "misuse %d unnoticed", kind);
        sl_buf_done(&buf);
    }
}

SL_TEST(json_write_depth_and_limits)
{
    sl_buf buf;
    sl_jw w;
    sl_buf_init(&buf, 4096);
    for (int extra = 0; extra < 2; extra++) {
        sl_buf_clear(&buf);
        sl_jw_init(&w, &buf);
        for (int i = 0; i < SL_MAX_JSON_DEPTH + extra; i++)
            sl_jw_array(&w);
        for (int i = 0; i < SL_MAX_JSON_DEPTH; i++)
            sl_jw_end(&w);
        CHECK_EQ(sl_jw_finish(&w), extra ? SL_ELIMIT : 0);
    }
    sl_buf_done(&buf);
    for (size_t max = 1; max < 12; max++) {
        sl_buf_init(&buf, max);
        sl_jw_init(&w, &buf);
        sl_jw_object(&w);
        sl_jw_member_c(&w, "a", "bcdef");
        sl_jw_end(&w);
        CHECK_EQ(sl_jw_finish(&w), SL_ELIMIT);
        sl_buf_done(&buf);
    }
}
