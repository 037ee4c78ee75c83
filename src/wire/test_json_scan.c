/*
 * The JSON scanner: the grammar of RFC 8259 as tables of good and bad texts (each also cut at every length), watched
 * paths, walking and converting.
 */
#include "src/wire/json_scan.h"

#include <stdlib.h>

#include "tests/harness/sl_test.h"

#define T(s)                                                                                                           \
    {                                                                                                                  \
        s, sizeof(s) - 1                                                                                               \
    }

static const sl_str good_texts[] = {
    T("null"),
    T("true"),
    T("false"),
    T("0"),
    T("-0"),
    T("1"),
    T("-1"),
    T("10"),
    T("0.5"),
    T("-0.5e10"),
    T("1E+2"),
    T("1e-2"),
    T("123456789012345678901234567890"),
    T("1e99999"),
    T("\"\""),
    T("\"a\""),
    T(" \t\r\n1 \t\r\n"),
    T("[]"),
    T("[ ]"),
    T("{}"),
    T("{ }"),
    T("[1]"),
    T("[1,2]"),
    T("[1 , 2 ]"),
    T("[[],[[]]]"),
    T("{\"a\":1}"),
    T("{ \"a\" : 1 , \"b\" : [ ] }"),
    T("{\"a\":1,\"a\":2}"),
    T("{\"\":0}"),
    T("{\"a\":{\"b\":{}}}"),
    T("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""),
    T("\"\\u0000\\uABCD\\uabcd\""),
    T("\"\\uD834\\uDD1E\""),
    T("\"\\uD834\""),
    T("\"\\uDD1E\\uD834\""),
    T("\"\x7f\""),
    T("\"\xC2\x80\xDF\xBF\""),
    T("\"\xE0\xA0\x80\xED\x9F\xBF\xEE\x80\x80\xEF\xBF\xBF\""),
    T("\"\xF0\x90\x80\x80\xF4\x8F\xBF\xBF\""),
    T("[\"a long plain string of more than sixteen bytes\"]"),
    T("\"0123456789abcde\\n0123456789abcdef\xC3\xA9 0123456789\""),
    T("[1,[2,{\"a\":[3,null,true,false,\"x\"]}],-4.5e-6]"),
    /* Section 6, numbers: every form, and values that no double holds. */
    T("0e0"),
    T("0E+0"),
    T("-0.0"),
    T("0.000000000000000000000000000000000000000000000000000000000000000000000000000000000000000001"),
    T("1e0001"),
    T("20e-00"),
    T("1.0E+10"),
    T("-1e-999999"),
    T("[123e65]"),
    T("-9223372036854775809"),
    T("18446744073709551616.5"),
    /* Section 7, strings: noncharacters, private use, and what other formats refuse. */
    T("\"\\u0000\""),
    T("\"\\uFFFF\\uFFFE\\uDBFF\\uDFFF\""),
    T("\"\\uD800\\u0041\""),
    T("\"\\uDC00\\uDC00\""),
    T("\"\xEF\xBF\xBE\xEF\xBF\xBF\xEE\x80\x80\""),
    T("\"\xF3\xBF\xBF\xBF\xF0\x9F\x98\x80\""),
    T("\"\xEF\xBB\xBF\""),             /* a mark within a string is text */
    T("\"\xE2\x80\xA8\xE2\x80\xA9\""), /* line separators of other languages */
    T("\"/ \\/ // /* */ #\""),
    T("\"'\""),
    T("{\"\\u0000\":1,\"a\\nb\":2,\"\xC3\xA4\":3}"),
    /* Sections 2, 4 and 5: white space everywhere, empty names, names alike. */
    T("\t\n\r [\t\n\r ]\t\n\r "),
    T("{\t\n\r \"a\"\t\n\r :\t\n\r 1\t\n\r ,\t\n\r \"b\":2}"),
    T("{\"\":{\"\":{\"\":[]}}}"),
    T("{\"a\":1,\"a\":1,\"\\u0061\":1}"),
    T("[null,1,\"1\",{}]"),
    T("[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]"),
};

static const sl_str bad_texts[] = {
    T(""),
    T(" "),
    T("nul"),
    T("nulll"),
    T("True"),
    T("tru"),
    T("NaN"),
    T("Infinity"),
    T("-"),
    T("+1"),
    T("01"),
    T("-01"),
    T("00"),
    T("1."),
    T(".5"),
    T("1.e1"),
    T("1e"),
    T("1e+"),
    T("1e1.5"),
    T("0x1"),
    T("1 2"),
    T("1,"),
    T("--1"),
    T("- 1"),
    T("\""),
    T("\"a"),
    T("\"\\\""),
    T("\"\\"),
    T("\"\\x\""),
    T("\"\\u12\""),
    T("\"\\u12g4\""),
    T("\"\\U1234\""),
    T("'a'"),
    T("\"\n\""),
    T("\"\t\""),
    T("\"\x1f\""),
    T("\"\0\""),
    T("\"0123456789abcdef\x01\""),
    T("["),
    T("[1"),
    T("[1,"),
    T("[1,]"),
    T("[,1]"),
    T("[,]"),
    T("[1 2]"),
    T("[1,,2]"),
    T("[1}"),
    T("]"),
    T("[]]"),
    T("[\"a\":1]"),
    T("[1]x"),
    T("{"),
    T("{\"a\""),
    T("{\"a\":"),
    T("{\"a\":}"),
    T("{\"a\":1"),
    T("{\"a\":1,"),
    T("{\"a\":1,}"),
    T("{,}"),
    T("{,\"a\":1}"),
    T("{a:1}"),
    T("{1:1}"),
    T("{\"a\" 1}"),
    T("{\"a\",1}"),
    T("{\"a\"::1}"),
    T("{\"a\":1 \"b\":2}"),
    T("{\"a\":1]"),
    T("}"),
    T("{}{}"),
    T("{}}"),
    T("[] //"),
    T("/**/1"),
    T("#1"),
    T("\xEF\xBB\xBF{}"),
    T("\xEF\xBB\xBF"),
    T("\xFF"),
    T("\xC2\xA0"
      "1"),
    T("\f1"),
    T("\v1"),
    T("\0"),
    T("1\0"),
    T("[\0]"),
    T("\"\x80\""),
    T("\"\xBF\""),
    T("\"\xC0\x80\""),
    T("\"\xC1\xBF\""),
    T("\"\xC2\""),
    T("\"\xC2\x41\""),
    T("\"\xE0\x80\x80\""),
    T("\"\xE0\x9F\xBF\""),
    T("\"\xED\xA0\x80\""),
    T("\"\xED\xBF\xBF\""),
    T("\"\xE1\x80\""),
    T("\"\xE1\x41\x80\""),
    T("\"\xF0\x80\x80\x80\""),
    T("\"\xF0\x8F\xBF\xBF\""),
    T("\"\xF4\x90\x80\x80\""),
    T("\"\xF5\x80\x80\x80\""),
    T("\"\xF1\x80\x80\""),
    T("\"\xFE\""),
    T("\"\xFF\""),
    T("\"0123456789abcdef0123456789abcdef\xFF\""),
    /* Section 6: what other number grammars allow. */
    T("1_000"),
    T("1,000"),
    T("-.5"),
    T("-e1"),
    T("1e"),
    T("1E"),
    T("1e-"),
    T("1eE2"),
    T("1e+-2"),
    T("1e 2"),
    T("1 e2"),
    T("1. 5"),
    T("1.5."),
    T("1..5"),
    T("0b1"),
    T("0o7"),
    T("007"),
    T("-007"),
    T("0x1F"),
    T("1f"),
    T("1L"),
    T("1n"),
    T("-Infinity"),
    T("-NaN"),
    T("nan"),
    T("inf"),
    T("+0"),
    T("++1"),
    T("-+1"),
    T("1+2"),
    T("1-"),
    T("-\xD9\xA1"),
    T("\xEF\xBC\x91"), /* a full-width digit */
    T("[1a]"),
    T("[-]"),
    T("[0e]"),
    T("[.]"),
    T("[1.]"),
    /* Section 3: the words, and only they. */
    T("nullx"),
    T("NULL"),
    T("False"),
    T("TRUE"),
    T("undefined"),
    T("fals"),
    T("truetrue"),
    T("null null"),
    T("\"null"),
    T("nul\0"),
    /* Section 7. */
    T("\"\\a\""),
    T("\"\\0\""),
    T("\"\\'\""),
    T("\"\\v\""),
    T("\"\\x41\""),
    T("\"\\\n\""),
    T("\"\\\xC3\xA4\""),
    T("\"\\u\""),
    T("\"\\u1\""),
    T("\"\\u123\""),
    T("\"\\u{41}\""),
    T("\"\\u 041\""),
    T("\"\\u+041\""),
    T("\"\\uD834\\u\""),
    T("\"\\uD834\\uD\""),
    T("\"\\uD834\\\""),
    T("\"\\u00G0\""),
    T("\"\r\""),
    T("\"a\0b\""),
    T("\"\x1b\""),
    T("\"a\"b\""),
    T("\"a\" \"b\""),
    T("`a`"),
    T("\xE2\x80\x9C"
      "a\xE2\x80\x9D"),
    /* Sections 4 and 5. */
    T("[1;2]"),
    T("[1:2]"),
    T("[a]"),
    T("[\"a]"),
    T("[\"a\"\"b\"]"),
    T("[1,\n2,\n"),
    T("[1]]"),
    T("[}"),
    T("[[1]"),
    T("[{}"),
    T("[{]}"),
    T("(1)"),
    T("{\"a\":1,\"b\"}"),
    T("{\"a\":1,\"b\":}"),
    T("{\"a\":1;\"b\":2}"),
    T("{\"a\"=1}"),
    T("{\"a\"=>1}"),
    T("{\"a\":1,,\"b\":2}"),
    T("{\"a\":1 2}"),
    T("{'a':1}"),
    T("{null:1}"),
    T("{[]:1}"),
    T("{\"a\":b}"),
    T("{\"a\":1}}"),
    T("{\"a\":[1}"),
    T("{\"a\":{]}"),
    T("{\"a\""),
    T("{\"a"),
    T(":"),
    T(","),
    T("{:1}"),
    T("{\"a\" \"b\"}"),
    /* Section 2 and 8.1: nothing beside the value; no mark, no other encoding. */
    T("1\n2"),
    T("{} //"),
    T("{} #"),
    T("{} /* */"),
    T("[1] ]"),
    T("\xEF\xBB\xBF 1"),
    T("\xFE\xFF\0"
      "1"),
    T("\xFF\xFE"
      "1\0"),
    T("1\0\0\0"),
    T("[\xE2\x81\xA0]"),
    T("[\xE2\x80\x83"
      "1]"),
    T("[1\x0c]"),
    T("[1\x0b]"),
    T("\x1e"
      "1"),
    T(")]}'\n1"),
    T("\xC0\xAF"),
    T("[\xFF]"),
    T("{\"\xC3\":1}"),
    T("{\"a\xED\xA0\x80\":1}"),
    T("\"\xF8\x88\x80\x80\x80\""),
    T("\"\xFC\x84\x80\x80\x80\x80\""),
    T("\"\xC3\""),
    T("\"\xE2\x82\""),
    T("\"\xF0\x9F\x98\""),
};

/* Validates an exact heap copy, so that a sanitizer sees reads behind the end. */
static int validate(sl_str text, sl_json_error *ret_error)
{
    char *copy = malloc(text.len ? text.len : 1);
    if (text.len)
        memcpy(copy, text.ptr, text.len);
    int error = sl_json_scan(sl_str_of(copy, text.len), NULL, NULL, NULL, ret_error);
    free(copy);
    return error;
}

SL_TEST(json_grammar_accepted)
{
    for (size_t i = 0; i < sizeof good_texts / sizeof good_texts[0]; i++) {
        sl_json_error error = {0, NULL};
        if (validate(good_texts[i], &error) != 0)
            sl_test_failed(__FILE__, __LINE__, "%.*s: %s at %zu", (int)good_texts[i].len, good_texts[i].ptr,
                           error.reason, error.offset);
    }
}

SL_TEST(json_grammar_refused)
{
    for (size_t i = 0; i < sizeof bad_texts / sizeof bad_texts[0]; i++) {
        sl_json_error error = {SL_NPOS, NULL};
        if (validate(bad_texts[i], &error) != SL_EPARSE)
            sl_test_failed(__FILE__, __LINE__, "accepted row %zu: %.*s", i, (int)bad_texts[i].len, bad_texts[i].ptr);
        CHECK(error.reason && error.offset <= bad_texts[i].len);
    }
}

SL_TEST(json_cut_containers_are_refused)
{
    for (size_t i = 0; i < sizeof good_texts / sizeof good_texts[0]; i++) {
        sl_str text = sl_str_trim(good_texts[i]);
        for (size_t len = 0; len < text.len; len++) {
            int error = validate(sl_str_sub(text, 0, len), NULL);
            if (text.ptr[0] == '[' || text.ptr[0] == '{' || text.ptr[0] == '"')
                CHECK_EQ(error, SL_EPARSE);
        }
    }
}

SL_TEST(json_depth_limit)
{
    for (size_t depth = SL_MAX_JSON_DEPTH; depth <= SL_MAX_JSON_DEPTH + 1; depth++) {
        char text[2 * (SL_MAX_JSON_DEPTH + 1)];
        sl_json_error error = {0, NULL};
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        CHECK_EQ(validate(sl_str_of(text, 2 * depth), &error), depth == SL_MAX_JSON_DEPTH ? 0 : SL_ELIMIT);
        CHECK_EQ(error.offset, depth == SL_MAX_JSON_DEPTH ? 0 : SL_MAX_JSON_DEPTH);
    }
}

SL_TEST(json_error_places)
{
    static const struct {
        const char *text;
        size_t offset;
        const char *reason;
    } rows[] = {
        {"{\"a\":1,}", 7, "member name expected"},
        {"[1 2]", 3, "',' or ']' expected"},
        {"{\"a\":1 2}", 7, "',' or '}' expected"},
        {"{\"a\" 1}", 5, "':' expected"},
        {"[\"ab\\x\"]", 4, "bad escape in a string"},
        {"\"a\nb\"", 2, "control character in a string"},
        {"\"a\xFF\"", 2, "ill-formed UTF-8"},
        {"{} x", 3, "text behind the value"},
        {"[1", 2, "unterminated array"},
        {"{", 1, "unterminated object"},
        {"-x", 1, "digit expected"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sl_json_error error = {0, NULL};
        CHECK_EQ(validate(sl_str_c(rows[i].text), &error), SL_EPARSE);
        CHECK_EQ(error.offset, rows[i].offset);
        CHECK_STR(sl_str_c(error.reason), rows[i].reason);
    }
}

SL_TEST(json_every_byte_at_every_place_of_a_string)
{
    /* The wide steps must see what the narrow ones see. */
    char text[40];
    for (int c = 0; c < 256; c++) {
        bool plain = c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
        for (size_t at = 1; at < sizeof text - 1; at++) {
            memset(text, 'a', sizeof text);
            text[0] = text[sizeof text - 1] = '"';
            text[at] = (char)c;
            CHECK_EQ(validate(sl_str_of(text, sizeof text), NULL), plain ? 0 : SL_EPARSE);
        }
    }
}

/* ---- Watched paths ---- */

enum { MODEL, STREAM, USAGE_WANTED, OPTIONS, CHOICES, REASON, TOKENS, PATHS };

static const char *const paths[PATHS] = {
    "model",
    "stream",
    "stream_options.include_usage",
    "stream_options",
    "choices",
    "choices[*].finish_reason",
    "usage.prompt_tokens",
};

static sl_str found_text(sl_str text, const sl_json_found *found)
{
    return sl_json_at(text, found).raw;
}

SL_TEST(json_watch_finds_values)
{
    static const char text[] =
        " {\"messages\":[{\"role\":\"user\",\"model\":\"no\",\"content\":\"\\\"model\\\":\\\"x\\\"\"}],\n"
        "\"mo\\u0064el\" : \"gpt-4\" ,\"stream\":true,\"stream_options\":{\"x\":[1],\"include_usage\":false},\n"
        "\"choices\":[{\"finish_reason\":null},{\"finish_reason\":\"stop\",\"a\":{\"finish_reason\":1}},{\"finish_"
        "reason\":null}],"
        "\"usage\":{\"total\":1,\"prompt_tokens\":17}} ";
    sl_json_watch watch;
    sl_json_found found[PATHS], root;
    sl_str view = sl_str_c(text);
    REQUIRE(sl_json_watch_init(&watch, paths, PATHS) == 0);
    REQUIRE(sl_json_scan(view, &watch, found, &root, NULL) == 0);
    CHECK_STR(found_text(view, &found[MODEL]), "\"gpt-4\"");
    CHECK_EQ(found[MODEL].type, SL_JSON_STRING);
    CHECK_EQ(found[MODEL].count, 1);
    CHECK_EQ(found[STREAM].type, SL_JSON_TRUE);
    CHECK_EQ(found[USAGE_WANTED].type, SL_JSON_FALSE);
    CHECK_STR(found_text(view, &found[OPTIONS]), "{\"x\":[1],\"include_usage\":false}");
    CHECK_EQ(found[OPTIONS].items, 2);
    CHECK_EQ(found[CHOICES].type, SL_JSON_ARRAY);
    CHECK_EQ(found[CHOICES].items, 3);
    CHECK_STR(found_text(view, &found[REASON]), "\"stop\"");
    CHECK_EQ(found[REASON].count, 3);
    CHECK_STR(found_text(view, &found[TOKENS]), "17");
    for (size_t i = 0; i < PATHS; i++)
        CHECK(!found[i].duplicate);
    CHECK_EQ(root.type, SL_JSON_OBJECT);
    CHECK_EQ(root.begin, 1);
    CHECK_EQ(root.end, view.len - 1);
    CHECK_EQ(root.items, 6);
}

SL_TEST(json_watch_absent_and_other_shapes)
{
    static const char *const texts[] = {"{}",
                                        "[]",
                                        "1",
                                        "{\"stream_options\":1,\"choices\":{\"finish_reason\":1},\"usage\":[1]}",
                                        "[{\"model\":1}]",
                                        "{\"a\":{\"model\":1}}",
                                        "{\"choices\":[[{\"finish_reason\":1}]]}",
                                        "{\"mode\":1,\"models\":2,\"\":3}"};
    sl_json_watch watch;
    REQUIRE(sl_json_watch_init(&watch, paths, PATHS) == 0);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        sl_json_found found[PATHS];
        CHECK_EQ(sl_json_scan(sl_str_c(texts[i]), &watch, found, NULL, NULL), 0);
        CHECK_EQ(found[MODEL].type, SL_JSON_NONE);
        CHECK_EQ(found[REASON].type, SL_JSON_NONE);
        CHECK_EQ(found[USAGE_WANTED].type, SL_JSON_NONE);
        CHECK_EQ(found[TOKENS].type, SL_JSON_NONE);
        CHECK_EQ(sl_json_at(sl_str_c(texts[i]), &found[MODEL]).raw.len, 0);
    }
}

SL_TEST(json_watch_reports_duplicates)
{
    sl_json_watch watch;
    sl_json_found found[PATHS];
    REQUIRE(sl_json_watch_init(&watch, paths, PATHS) == 0);
    sl_str text = SL_STR("{\"model\":\"a\",\"x\":{\"model\":1},\"m\\u006fdel\":\"b\",\"stream\":true}");
    CHECK_EQ(sl_json_scan(text, &watch, found, NULL, NULL), 0);
    CHECK(found[MODEL].duplicate);
    CHECK_EQ(found[MODEL].count, 2);
    CHECK_STR(found_text(text, &found[MODEL]), "\"b\"");
    CHECK(!found[STREAM].duplicate);
    text = SL_STR("{\"stream_options\":{\"include_usage\":true},\"stream_options\":{}}");
    CHECK_EQ(sl_json_scan(text, &watch, found, NULL, NULL), 0);
    CHECK(found[OPTIONS].duplicate);
    CHECK(found[USAGE_WANTED].duplicate);
    /* The same name in different objects is no duplicate. */
    text = SL_STR("{\"choices\":[{\"finish_reason\":1},{\"finish_reason\":2}]}");
    CHECK_EQ(sl_json_scan(text, &watch, found, NULL, NULL), 0);
    CHECK(!found[REASON].duplicate);
    text = SL_STR("{\"choices\":[{\"finish_reason\":1,\"finish_reason\":2}]}");
    CHECK_EQ(sl_json_scan(text, &watch, found, NULL, NULL), 0);
    CHECK(found[REASON].duplicate);
    CHECK(!found[CHOICES].duplicate);
}

SL_TEST(json_watch_paths_refused)
{
    sl_json_watch watch;
    static const char *const bad[][2] = {{"", NULL},      {".a", NULL},   {"a.", NULL},
                                         {"a..b", NULL},  {"a[0]", NULL}, {"a[*", NULL},
                                         {"a[*]b", NULL}, {"a", "a"},     {"a.b[*].c", "a.b[*].c"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CHECK_EQ(sl_json_watch_init(&watch, bad[i], bad[i][1] ? 2 : 1), SL_EINVAL);
    static const char *const good[] = {"a", "a.b", "a[*]", "a[*][*].c", "[*]", "[*].a", "x y.z"};
    CHECK_EQ(sl_json_watch_init(&watch, good, sizeof good / sizeof good[0]), 0);
    CHECK_EQ(sl_json_watch_init(&watch, good, SL_JSON_MAX_PATHS + 1), SL_ELIMIT);
    static const char *const deep[] = {
        "a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a."
        "a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a"};
    CHECK_EQ(sl_json_watch_init(&watch, deep, 1), SL_ELIMIT);
    sl_json_found found[7];
    CHECK_EQ(sl_json_watch_init(&watch, good, 7), 0);
    sl_str text = SL_STR("[1,{\"a\":2},[3]]");
    CHECK_EQ(sl_json_scan(text, &watch, found, NULL, NULL), 0);
    CHECK_EQ(found[4].count, 3);
    CHECK_STR(found_text(text, &found[5]), "2");
}

/* ---- Walking and converting ---- */

SL_TEST(json_iterates)
{
    sl_json_value root, key, value;
    sl_json_iter iter;
    REQUIRE(sl_json_parse(SL_STR(" { \"a\" : [1, 2 ,3] , \"b\":{\"c\":null}, \"d\" : \"x,}\" } "), &root, NULL) == 0);
    CHECK_EQ(root.type, SL_JSON_OBJECT);
    CHECK_EQ(sl_json_count(root), 3);
    CHECK_EQ(sl_json_count(sl_json_get(root, "a")), 3);
    CHECK_STR(sl_json_get(root, "d").raw, "\"x,}\"");
    CHECK_EQ(sl_json_get(sl_json_get(root, "b"), "c").type, SL_JSON_NULL);
    CHECK_EQ(sl_json_get(root, "x").type, SL_JSON_NONE);
    CHECK_EQ(sl_json_get(sl_json_get(root, "x"), "y").type, SL_JSON_NONE);
    CHECK_EQ(sl_json_count(value = sl_json_get(root, "d")), 0);
    sl_json_iter_init(&iter, sl_json_get(root, "a"));
    for (int64_t i = 1; i <= 3; i++) {
        int64_t number = 0;
        CHECK(sl_json_iter_next(&iter, &key, &value));
        CHECK_EQ(key.type, SL_JSON_NONE);
        CHECK_EQ(sl_json_i64(value, &number), 0);
        CHECK_EQ(number, i);
    }
    CHECK(!sl_json_iter_next(&iter, &key, &value));
    CHECK(!sl_json_iter_next(&iter, &key, &value));
    REQUIRE(sl_json_parse(SL_STR("{\"a\":1,\"\\u0061\":2}"), &root, NULL) == 0);
    CHECK_STR(sl_json_get(root, "a").raw, "2");
}

SL_TEST(json_walking_what_was_not_validated_is_safe)
{
    for (size_t i = 0; i < sizeof bad_texts / sizeof bad_texts[0]; i++) {
        char *copy = malloc(bad_texts[i].len + 1);
        memcpy(copy, bad_texts[i].ptr, bad_texts[i].len);
        sl_json_value value = {SL_JSON_OBJECT, {copy, bad_texts[i].len}};
        (void)sl_json_count(value);
        (void)sl_json_get(value, "a");
        value.type = SL_JSON_ARRAY;
        (void)sl_json_count(value);
        value.type = SL_JSON_STRING;
        (void)sl_json_string_is(value, SL_STR("a"));
        free(copy);
    }
}

SL_TEST(json_strings)
{
    static const struct {
        const char *json;
        sl_str text;
    } rows[] = {
        {"\"\"", T("")},
        {"\"abc\"", T("abc")},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", T("\"\\/\b\f\n\r\t")},
        {"\"a\\u0000b\"", T("a\0b")},
        {"\"\\u00e9\\u20AC\"", T("\xC3\xA9\xE2\x82\xAC")},
        {"\"\\uD834\\uDD1E\"", T("\xF0\x9D\x84\x9E")},
        {"\"\\uD834x\"", T("\xEF\xBF\xBDx")},
        {"\"\\uD834\\n\"", T("\xEF\xBF\xBD\n")},
        {"\"\\uDD1E\"", T("\xEF\xBF\xBD")},
        {"\"\\uD834\\uD834\\uDD1E\"", T("\xEF\xBF\xBD\xF0\x9D\x84\x9E")},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sl_json_value value;
        char buffer[64];
        sl_str text;
        REQUIRE(sl_json_parse(sl_str_c(rows[i].json), &value, NULL) == 0);
        CHECK_EQ(sl_json_string(value, buffer, sizeof buffer, &text), 0);
        CHECK_STR_EQ(text, rows[i].text);
        CHECK(sl_json_string_is(value, rows[i].text));
        CHECK(!sl_json_string_is(value, SL_STR("something else")));
        CHECK(rows[i].text.len == 0 || !sl_json_string_is(value, sl_str_sub(rows[i].text, 0, rows[i].text.len - 1)));
        for (size_t size = 0; size < rows[i].text.len; size++) {
            size_t len = 0;
            CHECK_EQ(sl_json_unescape(sl_json_string_raw(value), buffer, size, &len), SL_ELIMIT);
        }
    }
    sl_json_value number = {SL_JSON_NUMBER, T("1")};
    sl_str text;
    CHECK_EQ(sl_json_string(number, NULL, 0, &text), SL_EINVAL);
    size_t len;
    char buffer[8];
    CHECK_EQ(sl_json_unescape(SL_STR("\\x"), buffer, sizeof buffer, &len), SL_EPARSE);
    CHECK_EQ(sl_json_unescape(SL_STR("a\\"), buffer, sizeof buffer, &len), SL_EPARSE);
}

SL_TEST(json_numbers)
{
    static const struct {
        const char *text;
        int error;
        int64_t number;
    } rows[] = {
        {"0", 0, 0},
        {"-0", 0, 0},
        {"17", 0, 17},
        {"-5", 0, -5},
        {"9223372036854775807", 0, INT64_MAX},
        {"-9223372036854775808", 0, INT64_MIN},
        {"9223372036854775808", SL_ELIMIT, 0},
        {"5.0", 0, 5},
        {"5e2", 0, 500},
        {"1.5", SL_EPARSE, 0},
        {"1e-1", SL_EPARSE, 0},
        {"1e30", SL_ELIMIT, 0},
        {"1e400", SL_ELIMIT, 0},
        {"\"5\"", SL_EINVAL, 0},
        {"null", SL_EINVAL, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sl_json_value value;
        int64_t number = 0;
        REQUIRE(sl_json_parse(sl_str_c(rows[i].text), &value, NULL) == 0);
        CHECK_EQ(sl_json_i64(value, &number), rows[i].error);
        CHECK_EQ(number, rows[i].number);
    }
    sl_json_value value = {SL_JSON_NUMBER, T("-2.5e1")};
    double number = 0;
    bool flag = false;
    CHECK_EQ(sl_json_double(value, &number), 0);
    CHECK(number == -25.0);
    CHECK_EQ(sl_json_bool(value, &flag), SL_EINVAL);
    value.type = SL_JSON_TRUE;
    CHECK_EQ(sl_json_bool(value, &flag), 0);
    CHECK(flag);
    CHECK_EQ(sl_json_double(value, &number), SL_EINVAL);
    CHECK_STR(sl_str_c(sl_json_type_name(SL_JSON_OBJECT)), "an object");
}

/* Every pair of bytes behind every beginning that leaves the scanner in another state: refused or accepted, never read
 * beyond; and what is accepted is accepted again with blanks around it. */
SL_TEST(json_every_two_bytes_in_every_state)
{
    static const char *const begins[] = {"",       "1",      "-",      "1.",         "1e",       "1e+",
                                         "0",      "\"",     "\"\\",   "\"\\u0",     "[",        "[1",
                                         "[1,",    "{",      "{\"a\"", "{\"a\":",    "{\"a\":1", "tru",
                                         "\"\xC3", "\"\xE0", "\"\xED", "\"\xF0\x90", "\"\xF4",   "[\"a\""};
    for (size_t b = 0; b < sizeof begins / sizeof begins[0]; b++) {
        size_t len = strlen(begins[b]);
        for (unsigned pair = 0; pair < 65536; pair += pair % 256 < 0x80 ? 1 : 5) {
            char text[12], wide[16];
            memcpy(text, begins[b], len);
            text[len] = (char)(pair >> 8);
            text[len + 1] = (char)pair;
            if (sl_json_scan(sl_str_of(text, len + 2), NULL, NULL, NULL, NULL) != 0)
                continue;
            memset(wide, ' ', sizeof wide);
            memcpy(wide + 2, text, len + 2);
            CHECK_EQ(sl_json_scan(sl_str_of(wide, len + 4), NULL, NULL, NULL, NULL), 0);
            CHECK(sl_utf8_valid(sl_str_of(text, len + 2)));
        }
    }
}

/* Mixed and long nesting at the limit: what is open counts, not what was. */
SL_TEST(json_depth_counts_what_is_open)
{
    char text[8 * SL_MAX_JSON_DEPTH];
    size_t len = 0;
    for (size_t i = 0; i < SL_MAX_JSON_DEPTH / 2; i++) {
        memcpy(text + len, "[{\"\":", 5);
        len += 5;
    }
    memcpy(text + len, "1", 1);
    len++;
    for (size_t i = 0; i < SL_MAX_JSON_DEPTH / 2; i++) {
        memcpy(text + len, "}]", 2);
        len += 2;
    }
    sl_json_value root;
    CHECK_EQ(sl_json_parse(sl_str_of(text, len), &root, NULL), 0);
    CHECK_EQ(sl_json_count(root), 1);
    static char wide[4 * 5000 + 2];
    wide[0] = '[';
    for (size_t i = 0; i < 5000; i++)
        memcpy(wide + 1 + 4 * i, "[] ,", 4);
    wide[4 * 5000] = ']';
    CHECK_EQ(sl_json_parse(sl_str_of(wide, 4 * 5000 + 1), &root, NULL), 0);
    CHECK_EQ(sl_json_count(root), 5000);
}

SL_TEST(json_numbers_as_doubles)
{
    static const struct {
        const char *text;
        int error;
        double number;
    } rows[] = {
        {"0", 0, 0},
        {"-0", 0, 0},
        {"1.5", 0, 1.5},
        {"-1.5e2", 0, -150},
        {"1E-2", 0, 0.01},
        {"1e308", 0, 1e308},
        {"1e309", SL_ELIMIT, 0},
        {"-1e309", SL_ELIMIT, 0},
        {"1e-400", 0, 0},
        {"5e-324", 0, 5e-324},
        {"9007199254740993", 0, 9007199254740992.0},
        {"\"1\"", SL_EINVAL, 0},
        {"true", SL_EINVAL, 0},
        {"[]", SL_EINVAL, 0},
        {"0.1000000000000000055511151231257827021181583404541015625", 0, 0.1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sl_json_value value;
        double number = 0;
        REQUIRE(sl_json_parse(sl_str_c(rows[i].text), &value, NULL) == 0);
        CHECK_EQ(sl_json_double(value, &number), rows[i].error);
        CHECK(number == rows[i].number);
    }
    static const struct {
        const char *text;
        int error;
        int64_t number;
    } whole[] = {
        {"-0.0", 0, 0},
        {"1e18", SL_ELIMIT, 0},
        {"9007199254740991.0", 0, 9007199254740991},
        {"9007199254740992.0", SL_ELIMIT, 0},
        {"-9007199254740991e0", 0, -9007199254740991},
        {"100e-2", 0, 1},
        {"1e-400", 0, 0},
        {"0.5e1", 0, 5},
        {"-9223372036854775809", SL_ELIMIT, 0},
        {"99999999999999999999999999", SL_ELIMIT, 0},
        {"0.0000001", SL_EPARSE, 0},
        {"false", SL_EINVAL, 0},
    };
    for (size_t i = 0; i < sizeof whole / sizeof whole[0]; i++) {
        sl_json_value value;
        int64_t number = 0;
        REQUIRE(sl_json_parse(sl_str_c(whole[i].text), &value, NULL) == 0);
        CHECK_EQ(sl_json_i64(value, &number), whole[i].error);
        CHECK_EQ(number, whole[i].number);
    }
}
